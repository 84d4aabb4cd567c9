/* Claim: the tree of random forests is the one that brute force finds, and tables are refused if, and only if, some
 * block stands behind two different blocks or twice in a table. */
#include <stdlib.h>

#include "hand_trees.h"
#include "test.h"

typedef struct shape {
    uint32_t block_tokens, max_tables, max_tokens;
    bool drafts;
} shape;

enum { NUM_FORESTS = 150 };

static void run(const void *argument)
{
    const shape *s = argument;
    uint64_t nodes = 0, queries = 0, largest = 0;
    for (uint32_t i = 0; i < NUM_FORESTS; i++) {
        hand_forest f = hand_random(s->block_tokens, s->max_tables, s->max_tokens);
        if (s->drafts) hand_random_drafts(&f, s->max_tokens);
        hand_number(&f, (hand_order)(i % HAND_NUM_ORDERS));
        kv_tree *tree = hand_build(&f, s->drafts);
        nodes += tree->num_nodes;
        queries += tree->num_queries;
        if (tree->num_nodes > largest) largest = tree->num_nodes;
        kv_tree_destroy(tree);
        hand_free(&f);
    }
    test_note("forests=%d queries=%llu nodes=%llu largest=%llu", NUM_FORESTS, (unsigned long long)queries,
              (unsigned long long)nodes, (unsigned long long)largest);
}

/* By definition: before[b] is the block before block b wherever that is listed. */
static bool is_tree(const hand_forest *f)
{
    enum { UNSEEN = -2, FRONT = -1 };
    int64_t *before = malloc((f->num_blocks + 1) * sizeof *before);
    bool fine = true;
    check(before, "out of memory");
    for (uint32_t b = 0; b < f->num_blocks; b++)
        before[b] = UNSEEN;
    for (uint32_t t = 0; t < f->num_tables; t++) {
        uint32_t used = (f->tables[t].length + f->block_tokens - 1) / f->block_tokens;
        for (uint32_t i = 0; i < used; i++) {
            int64_t previous = i ? (int64_t)f->blocks[t][i - 1] : FRONT;
            if (before[f->blocks[t][i]] == UNSEEN) before[f->blocks[t][i]] = previous;
            if (before[f->blocks[t][i]] != previous) fine = false;
            for (uint32_t j = 0; j < i; j++)
                if (f->blocks[t][i] == f->blocks[t][j]) fine = false;
        }
    }
    free(before);
    return fine;
}

/* One or two entries of a random forest's tables are replaced by other blocks. */
static void run_damaged(const void *argument)
{
    const shape *s = argument;
    uint32_t refused = 0, accepted = 0;
    for (uint32_t i = 0; i < 4 * NUM_FORESTS; i++) {
        hand_forest f = hand_random(s->block_tokens, s->max_tables, s->max_tokens);
        kv_tree *const untouched = (kv_tree *)&f, *tree = untouched;
        for (uint32_t damage = 0; damage < 1 + i % 2; damage++) {
            uint32_t t = f.num_tables ? test_below(f.num_tables) : 0;
            if (f.num_tables && f.tables[t].num_blocks)
                f.blocks[t][test_below(f.tables[t].num_blocks)] = test_below(f.num_blocks);
        }
        kv_status status = kv_tree_build(&tree, f.tables, f.num_tables, f.block_tokens, f.num_blocks);
        kv_status explained = kv_tree_explain(f.tables, NULL, f.num_tables, f.block_tokens, f.num_blocks, NULL, 0);
        check(explained == status, "forest %u: status %d explained as %d", i, status, explained);
        if (is_tree(&f)) {
            check(status == KV_OK, "forest %u: status %d of a tree", i, status);
            kv_tree_destroy(tree);
            kv_tree_destroy(hand_build(&f, false));
            accepted++;
        } else {
            check(status == KV_INVAL && tree == untouched, "forest %u: status %d, no tree", i, status);
            refused++;
        }
        hand_free(&f);
    }
    check(refused && accepted, "%u refused, %u accepted", refused, accepted);
    test_note("refused=%u accepted=%u", refused, accepted);
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {1, 2, 4, 16, 256};
    test_begin(argc, argv, "the tree of random forests is the one that brute force finds");
    for (uint32_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t size = sizes[i];
        test_add(run, &(shape){size, 3, 3 * size, false}, "as_by_brute_force_small_block_%u", size);
        test_add(run, &(shape){size, 12, 5, false}, "as_by_brute_force_short_block_%u", size);
        test_add(run, &(shape){size, 12, 3 * size + 3, false}, "as_by_brute_force_middle_block_%u", size);
        test_add(run, &(shape){size, 70, size / 2 + 9, false}, "as_by_brute_force_wide_block_%u", size);
        test_add(run, &(shape){size, 4, size + 7, true}, "as_by_brute_force_small_drafts_block_%u", size);
        test_add(run, &(shape){size, 20, 12, true}, "as_by_brute_force_wide_drafts_block_%u", size);
        test_add(run_damaged, &(shape){size, 6, 3 * size + 1, false}, "refused_if_damaged_block_%u", size);
    }
    return test_end();
}
