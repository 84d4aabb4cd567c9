/* Claim: finding a tree, checking it and growing it cost what the header says, counted in steps (step_count.h): four
 * times the tables, blocks or draft tokens, at most 4.6 times the steps, whatever ids the blocks have. */
#include <stdlib.h>

#include "kv_tree.h"
#include "step_count.h"
#include "test.h"

enum { SMALL = 2000, BLOCK_TOKENS = 256, MAX_BLOCKS = 1 << 24 };

typedef enum call { BUILD, CHECK, GROW, NUM_CALLS } call;
static const char *const call_name[NUM_CALLS] = {"build", "check", "grow"};

/* Tables over one array of ids, with drafts if any table has one. */
typedef struct forest {
    uint32_t num_tables;
    kv_table *tables;
    kv_draft *drafts;
    uint32_t *blocks, *parent;
    bool has_drafts;
} forest;

static void *must_malloc(size_t bytes)
{
    void *memory = malloc(bytes);
    check(memory, "the test itself is out of memory");
    return memory;
}

static forest forest_of(uint32_t num_tables, uint32_t num_blocks, uint32_t num_drafts)
{
    forest f = {num_tables, must_malloc(num_tables * sizeof(kv_table)), must_malloc(num_tables * sizeof(kv_draft)),
                must_malloc(num_blocks * sizeof(uint32_t)), must_malloc((num_drafts + 1) * sizeof(uint32_t)), false};
    for (uint32_t i = 0; i < num_blocks; i++) f.blocks[i] = i;
    for (uint32_t i = 0; i < num_tables; i++) f.drafts[i] = (kv_draft){0, NULL};
    return f;
}

static void forest_free(forest *f)
{
    free(f->tables);
    free(f->drafts);
    free(f->blocks);
    free(f->parent);
}

static forest one_block_each(uint32_t n)
{
    forest f = forest_of(n, n, 0);
    for (uint32_t i = 0; i < n; i++) f.tables[i] = (kv_table){&f.blocks[i], 1, BLOCK_TOKENS, 1 + i};
    return f;
}

/* Ids that any multiplicative hash by the golden ratio sends to neighbouring places. */
static forest alike_ids(uint32_t n)
{
    forest f = one_block_each(n);
    uint32_t found = 0;
    for (uint32_t id = 0; id < MAX_BLOCKS && found < n; id++)
        if ((id * 2654435769u) >> 21 == 0) f.blocks[found++] = id;
    check(found == n, "%u ids of %u", found, n);
    return f;
}

/* Ids far apart: a power of two between each two. */
static forest distant_ids(uint32_t n)
{
    forest f = one_block_each(n);
    for (uint32_t i = 0; i < n; i++) f.blocks[i] = i * 2048;
    return f;
}

static forest one_table(uint32_t n)
{
    forest f = forest_of(1, n, 0);
    f.tables[0] = (kv_table){f.blocks, n, n * BLOCK_TOKENS - 1, 1};
    return f;
}

/* All see parts of one block, in an order that is neither rising nor falling. */
static forest parts_of_a_block(uint32_t n)
{
    forest f = forest_of(n, 1, 0);
    for (uint32_t i = 0; i < n; i++) f.tables[i] = (kv_table){f.blocks, 1, 1 + i * 97 % (BLOCK_TOKENS - 1), 1 + i};
    return f;
}

static forest drafts_of(uint32_t n, bool chain)
{
    forest f = forest_of(1, n / BLOCK_TOKENS + 2, n);
    for (uint32_t i = 0; i < n; i++) f.parent[i] = !chain || i == 0 ? KV_NONE : i - 1;
    f.tables[0] = (kv_table){f.blocks, n / BLOCK_TOKENS + 2, n + 7, 1};
    f.drafts[0] = (kv_draft){n, f.parent};
    f.has_drafts = true;
    return f;
}

static forest chain_of_drafts(uint32_t n) { return drafts_of(n, true); }
static forest star_of_drafts(uint32_t n) { return drafts_of(n, false); }

/* Each draft token continues one of the last few. */
static forest bushy_drafts(uint32_t n)
{
    forest f = drafts_of(n, true);
    for (uint32_t i = 8; i < n; i++) f.parent[i] = i - 1 - i % 7;
    return f;
}

static forest small_drafts(uint32_t n)
{
    forest f = forest_of(n, n, 4);
    for (uint32_t i = 0; i < 4; i++) f.parent[i] = i == 0 ? KV_NONE : (i - 1) / 2;
    for (uint32_t i = 0; i < n; i++) {
        f.tables[i] = (kv_table){&f.blocks[i], 1, 9, 1 + i};
        f.drafts[i] = (kv_draft){4, f.parent};
    }
    f.has_drafts = true;
    return f;
}

static kv_tree *build(const forest *f)
{
    kv_tree *tree;
    kv_status status = f->has_drafts ? kv_tree_build_drafts(&tree, f->tables, f->drafts, f->num_tables, BLOCK_TOKENS,
                                                            MAX_BLOCKS)
                                     : kv_tree_build(&tree, f->tables, f->num_tables, BLOCK_TOKENS, MAX_BLOCKS);
    check(status == KV_OK, "a tree: %s", kv_status_string(status));
    return tree;
}

static void check_tree(const kv_tree *tree, const forest *f)
{
    char message[200];
    kv_status status = kv_tree_check_drafts(tree, f->tables, f->has_drafts ? f->drafts : NULL, f->num_tables, message,
                                            sizeof message);
    check(status == KV_OK, "%s", message);
}

typedef struct growth_case {
    call what;
    forest (*make)(uint32_t n);
} growth_case;

static uint64_t steps_of(const growth_case *c, uint32_t n)
{
    forest f = c->make(n);
    step_count_start();
    kv_tree *tree = build(&f);
    if (c->what != BUILD) step_count_start();
    if (c->what == CHECK) check_tree(tree, &f);
    if (c->what == GROW) check(kv_tree_grow(tree, f.tables, f.num_tables), "nothing to add");
    uint64_t steps = step_count();
    kv_tree_destroy(tree);
    forest_free(&f);
    return steps;
}

static void run(const void *argument)
{
    uint64_t small = steps_of(argument, SMALL), large = steps_of(argument, 4 * SMALL);
    test_note("%llu steps, %llu at 4 times the size", (unsigned long long)small, (unsigned long long)large);
    check(small >= SMALL, "%llu steps: nothing was counted", (unsigned long long)small);
    check(large * 10 <= small * 46, "%llu steps, %llu at 4 times the size", (unsigned long long)small,
          (unsigned long long)large);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        forest (*make)(uint32_t n);
        bool grows;
    } forests[] = {{"one_block_each", one_block_each, true}, {"ids_that_hash_alike", alike_ids, true},
                   {"ids_far_apart", distant_ids, true},     {"one_table", one_table, false},
                   {"parts_of_a_block", parts_of_a_block, true}, {"chain_of_drafts", chain_of_drafts, false},
                   {"star_of_drafts", star_of_drafts, false}, {"bushy_drafts", bushy_drafts, false},
                   {"small_drafts", small_drafts, false}};
    test_begin(argc, argv, "finding, checking and growing a tree cost what the header says");
    for (size_t i = 0; i < sizeof forests / sizeof *forests; i++)
        for (call what = BUILD; what < NUM_CALLS; what++)
            if (what != GROW || forests[i].grows)
                test_add(run, &(growth_case){what, forests[i].make}, "%s_is_linear_in_%s", call_name[what],
                         forests[i].name);
    return test_end();
}
