/* Claim: every strategy covers each (query, token that it sees) pair exactly once, on any tree, in any paging. */
#include <inttypes.h>
#include <string.h>

#include "plan_trees.h"
#include "test.h"

typedef struct coverage_case {
    const plan_tree_case *tree;
    tree_strategy strategy;
} coverage_case;

static void note_plan(const tree_plan *plan)
{
    test_note("%s bt=%" PRIu32 " rows<=%" PRIu32 " piece=%" PRIu32 " items=%" PRIu32 " partials=%" PRIu32
              " loaded=%" PRIu64 " masked=%" PRIu64,
              tree_strategy_name[plan->config.strategy], plan->block_tokens, plan->config.max_rows,
              plan->config.piece_tokens, plan->num_items, plan->num_partials, plan->loaded_tokens, plan->masked_pairs);
}

/* Only DeFT's slices keep ranges that none of their rows sees. */
static void check_ranges_are_seen(const tree_plan *plan)
{
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
            uint64_t seen = plan->ranges[r].mask == TREE_NO_MASK;
            for (uint32_t w = 0; !seen && w < (item->num_rows + 63) / 64; w++)
                seen = plan->masks[plan->ranges[r].mask + w];
            check(seen, "range %" PRIu32 " of item %" PRIu32 " is seen by no row", r, i);
        }
    }
}

static void run_named(const void *argument)
{
    const coverage_case *c = argument;
    static const uint32_t block_tokens[] = {1, 4, 16, 256};
    for (int i = 0; i < 4; i++) {
        kv_tree *tree = plan_tree_case_create(c->tree, block_tokens[i], 0);
        tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = c->strategy});
        check(plan->loaded_tokens >= plan->unique_tokens || tree->num_queries == 0, "no plan loads less than U");
        if (c->strategy != TREE_FLATTEN && c->strategy != TREE_TREE_MASK)
            check_ranges_are_seen(plan);
        if (block_tokens[i] == 16)
            note_plan(plan);
        tree_plan_destroy(plan);
        plan_tree_destroy(tree);
    }
}

static void run_random(const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    for (int i = 0; i < 120; i++) {
        kv_tree *tree = plan_tree_random(1 + test_below(60), 1 + test_below(200), 1u << test_below(6), 0);
        tree_plan_config config = {.strategy = strategy, .target = (tree_target)test_below(2),
                                   .group_size = 1 + test_below(8),
                                   .num_workers = test_below(3) ? 0 : 1 + test_below(300)};
        if (test_below(2))
            config.max_rows = 1 + test_below(100);
        if (test_below(2))
            config.piece_tokens = 1 + test_below(150);
        tree_plan *plan = plan_tree_plan(tree, config);
        for (uint32_t n = 0; n < plan->num_items && config.max_rows && strategy > TREE_RADIX; n++)
            check(plan->items[n].num_rows <= config.max_rows, "item %" PRIu32 " has %" PRIu32 " rows", n,
                  plan->items[n].num_rows);
        tree_plan_destroy(plan);
        plan_tree_destroy(tree);
    }
}

/* Draft tokens, empty branches and forks inside a block, through real block tables. */
static void run_tables(const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    static const uint32_t a[] = {0, 1, 2, 3}, b[] = {0, 1, 4}, c[] = {0, 1, 2, 5, 6};
    static const uint32_t parent[] = {KV_NONE, 0, 0, 1, KV_NONE};
    const kv_table tables[] = {{a, 4, 62, 1}, {b, 3, 40, 2}, {c, 5, 70, 3}, {NULL, 0, 0, 4}, {a, 1, 9, 5}};
    const kv_draft drafts[] = {{0, NULL}, {0, NULL}, {5, parent}, {0, NULL}, {0, NULL}};
    kv_tree *tree;
    check(kv_tree_build(&tree, tables, 5, 16, 7) == KV_OK, "a tree from tables");
    tree_plan_destroy(plan_tree_plan(tree, (tree_plan_config){.strategy = strategy, .piece_tokens = 7}));
    kv_tree_destroy(tree);
    check(kv_tree_build_drafts(&tree, tables, drafts, 5, 16, 7) == KV_OK, "a tree with drafts");
    check(tree->num_queries == 9, "five draft tokens, four branch ends: %" PRIu32, tree->num_queries);
    tree_plan_destroy(plan_tree_plan(tree, (tree_plan_config){.strategy = strategy}));
    kv_tree_destroy(tree);
}

/* A plan keeps nothing of its tree, names what the tree names, and says what it used. */
static void run_copies(const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    kv_tree *tree = plan_tree_levels("1,5,10/30,20,10", 4, 0);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = strategy});
    check(plan->num_blocks == tree->num_blocks
          && !memcmp(plan->blocks, tree->blocks, tree->num_blocks * sizeof *tree->blocks), "same blocks");
    check(!memcmp(plan->rows, tree->rows, tree->num_queries * sizeof *tree->rows), "same rows");
    check(plan->max_block == tree->num_blocks - 1, "largest block %" PRIu32, plan->max_block);
    check(plan->config.strategy == strategy && plan->config.max_rows && plan->config.group_size == 4
          && plan->config.num_workers == 132, "defaults are filled in");
    kv_tree *same = plan_tree_levels("1,5,10/30,20,10", 4, 0);
    plan_tree_destroy(tree);
    check(plan->rows[0] < 10 && plan->merge_first[10] == plan->num_partials, "the tree is gone, the plan is whole");
    tree_plan_destroy(plan);
    plan_tree_destroy(same);
}

int main(int argc, char **argv)
{
    static coverage_case cases[64][TREE_NUM_STRATEGIES];
    static tree_strategy strategies[TREE_NUM_STRATEGIES];
    test_begin(argc, argv, "every strategy covers each pair of query and token exactly once");
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++) {
        strategies[s] = (tree_strategy)s;
        for (int t = 0; t < num_plan_tree_cases; t++) {
            cases[t][s] = (coverage_case){&plan_tree_cases[t], (tree_strategy)s};
            test_add(run_named, &cases[t][s], "%s_covers_each_pair_once_%s", tree_strategy_name[s],
                     plan_tree_cases[t].name);
        }
        test_add(run_random, &strategies[s], "%s_covers_each_pair_once_random", tree_strategy_name[s]);
        test_add(run_tables, &strategies[s], "%s_from_tables", tree_strategy_name[s]);
        test_add(run_copies, &strategies[s], "%s_copies", tree_strategy_name[s]);
    }
    return test_end();
}
