/* Claim: costs that the headers call linear are linear, counted in steps (step_count.h): four times the branches,
 * blocks or tokens, at most 4.6 times the steps, whatever is shared with whom. */
#include <stdlib.h>

#include "kv_branch.h"
#include "step_count.h"
#include "test.h"

enum { SMALL = 2000, LARGE = 4 * SMALL, BLOCK_TOKENS = 256 };

static kv_pool *pool_of(uint32_t num_blocks, uint32_t max_branches)
{
    kv_pool_config config = {.num_blocks = num_blocks, .block_tokens = BLOCK_TOKENS, .max_branches = max_branches};
    kv_pool *pool;
    check(kv_pool_create(&pool, &config) == KV_OK, "a pool");
    return pool;
}

static kv_branch root_of(kv_pool *pool, uint32_t num_tokens)
{
    kv_branch root;
    kv_append append;
    check(kv_branch_create(pool, &root) == KV_OK, "a branch");
    check(kv_branch_append(pool, root, num_tokens, &append) == KV_OK, "%u tokens", num_tokens);
    return root;
}

/* Every part of one block, in an order that is neither rising nor falling. */
static uint32_t mixed_length(uint32_t i) { return 1 + i * 97 % (BLOCK_TOKENS - 1); }

static uint32_t all_of_block(uint32_t i)
{
    (void)i;
    return BLOCK_TOKENS;
}

static uint32_t same_part(uint32_t i)
{
    (void)i;
    return BLOCK_TOKENS / 2;
}

static void fork_crowd(kv_pool *pool, kv_branch *branches, uint32_t count, uint32_t (*length)(uint32_t))
{
    kv_branch root = root_of(pool, BLOCK_TOKENS);
    for (uint32_t i = 0; i < count; i++)
        check(kv_branch_fork_at(pool, root, length(i), &branches[i]) == KV_OK, "fork %u", i);
}

typedef enum crowd_act { FORK, TRUNCATE, ADOPT, APPEND_MANY, PRUNE, PRUNE_BACKWARDS, LOAD, CHECK, NUM_ACTS } crowd_act;
static const char *const act_name[NUM_ACTS] = {"forked", "cut_shorter", "adopted", "appended_to", "pruned",
                                               "pruned_backwards", "loaded", "checked"};

typedef struct crowd_case {
    crowd_act act;
    uint32_t (*length)(uint32_t);
} crowd_case;

static void append_one_to_all(kv_pool *pool, const kv_branch *branches, uint32_t count)
{
    uint32_t *ones = malloc(count * sizeof *ones);
    kv_append *appends = malloc(count * sizeof *appends);
    check(ones && appends, "the test itself is out of memory");
    for (uint32_t i = 0; i < count; i++) ones[i] = 1;
    step_count_start();
    check(kv_branch_append_many(pool, branches, ones, count, appends) == KV_OK, "one token each");
    free(ones);
    free(appends);
}

static void load_dump(const kv_pool *pool)
{
    size_t bytes = kv_pool_dump(pool, NULL, 0);
    char *text = malloc(bytes);
    check(text, "the test itself is out of memory");
    step_count_start();
    kv_pool_dump(pool, text, bytes);
    kv_pool *loaded;
    check(kv_pool_load(&loaded, text, bytes - 1, NULL) == KV_OK, "a dump loads");
    kv_pool_destroy(loaded, true, NULL);
    free(text);
}

static void adopt_all(kv_pool *pool, const kv_branch *branches, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        kv_branch winner;
        check(kv_branch_fork(pool, branches[i], &winner) == KV_OK, "a draft");
        check(kv_branch_adopt(pool, branches[i], winner) == KV_OK, "accepted");
    }
}

/* `count` branches that all end in one block; the steps of doing `act` to all of them. */
static uint64_t crowd_steps(const crowd_case *c, uint32_t count)
{
    char message[160];
    kv_pool *pool = pool_of(count + 2, count + 2);
    kv_branch *branches = malloc(count * sizeof *branches);
    check(branches, "the test itself is out of memory");
    step_count_start();
    fork_crowd(pool, branches, count, c->length);
    if (c->act != FORK) step_count_start();
    if (c->act == APPEND_MANY) append_one_to_all(pool, branches, count);
    if (c->act == LOAD) load_dump(pool);
    if (c->act == CHECK) check(kv_pool_check(pool, message, sizeof message) == KV_OK, "%s", message);
    if (c->act == ADOPT) adopt_all(pool, branches, count);
    for (uint32_t i = 0; c->act == TRUNCATE && i < count; i++)
        check(kv_branch_truncate(pool, branches[i], (c->length(i) + 1) / 2) == KV_OK, "cut");
    for (uint32_t i = 0; c->act == PRUNE && i < count; i++) kv_branch_prune(pool, branches[i]);
    for (uint32_t i = count; c->act == PRUNE_BACKWARDS && i-- > 0;) kv_branch_prune(pool, branches[i]);
    uint64_t steps = step_count();
    check(kv_pool_check(pool, message, sizeof message) == KV_OK, "%s", message);
    kv_pool_destroy(pool, true, NULL);
    free(branches);
    return steps;
}

static void expect_linear(uint64_t small, uint64_t large)
{
    test_note("%llu steps, %llu at 4 times the size", (unsigned long long)small, (unsigned long long)large);
    check(small >= SMALL, "%llu steps: nothing was counted", (unsigned long long)small);
    check(large * 10 <= small * 46, "%llu steps, %llu at 4 times the size", (unsigned long long)small,
          (unsigned long long)large);
}

static void run_crowd(const void *argument)
{
    expect_linear(crowd_steps(argument, SMALL), crowd_steps(argument, LARGE));
}

/* A branch of `count` blocks. */
typedef enum table_act { GROW, GROW_BY_TOKEN, FORK_TABLE, SHRINK, DROP, RETIRE, NUM_TABLE_ACTS } table_act;
static const char *const table_act_name[NUM_TABLE_ACTS] = {"appended", "appended_token_by_token", "forked",
                                                           "truncated", "pruned", "retired"};

static uint64_t table_steps(table_act act, uint32_t count)
{
    kv_pool *pool = pool_of(count, 2);
    kv_append append;
    kv_branch root = root_of(pool, act == GROW_BY_TOKEN ? 0 : 1), child;
    uint64_t epoch;
    step_count_start();
    for (uint32_t i = 0; act == GROW_BY_TOKEN && i < 4 * count; i++)
        check(kv_branch_append(pool, root, 1, &append) == KV_OK, "a token");
    if (act != GROW_BY_TOKEN)
        check(kv_branch_append(pool, root, (count - 1) * BLOCK_TOKENS, &append) == KV_OK, "all blocks");
    if (act > GROW_BY_TOKEN) step_count_start();
    if (act == FORK_TABLE) check(kv_branch_fork(pool, root, &child) == KV_OK, "a fork");
    if (act == SHRINK) check(kv_branch_truncate(pool, root, 0) == KV_OK, "cut");
    if (act == RETIRE) check(kv_pool_epoch_begin(pool, &epoch) == KV_OK, "an epoch");
    if (act == DROP || act == RETIRE) check(kv_branch_prune(pool, root) == KV_OK, "pruned");
    if (act == RETIRE) check(kv_pool_epoch_retire(pool, epoch) == KV_OK, "retired");
    uint64_t steps = step_count();
    kv_pool_destroy(pool, true, NULL);
    return steps;
}

static void run_table(const void *argument)
{
    const table_act *act = argument;
    expect_linear(table_steps(*act, SMALL), table_steps(*act, LARGE));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        uint32_t (*length)(uint32_t);
    } crowds[] = {{"mixed_lengths", mixed_length}, {"one_part", same_part}, {"a_full_block", all_of_block}};
    test_begin(argc, argv, "linear costs are linear, counted in steps");
    for (int act = 0; act < NUM_ACTS; act++)
        for (int i = 0; i < 3; i++)
            test_add(run_crowd, &(crowd_case){(crowd_act)act, crowds[i].length}, "crowd_in_%s_is_%s_linearly",
                     crowds[i].name, act_name[act]);
    for (int act = 0; act < NUM_TABLE_ACTS; act++)
        test_add(run_table, &(table_act){(table_act)act}, "table_is_%s_linearly", table_act_name[act]);
    return test_end();
}
