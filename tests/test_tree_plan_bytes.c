/* Claim: the bytes of a plan are known before it is built: those of its arrays, and those that tree_plan_grow keeps. */
#include <inttypes.h>

#include "plan_trees.h"
#include "test.h"

/* All that tree_plan.h names. */
static uint64_t bytes_of_arrays(const tree_plan *plan)
{
    uint64_t words = 2 * (uint64_t)plan->num_blocks + 2 * (uint64_t)plan->num_queries + 1 + plan->num_partials;
    return sizeof *plan + plan->num_items * sizeof *plan->items + plan->num_ranges * sizeof *plan->ranges +
           plan->num_mask_words * sizeof *plan->masks + words * sizeof(uint32_t);
}

static void expect_bytes(const kv_tree *tree, tree_plan_config config)
{
    enum { MOST_GROWTH_BYTES = 32 }; /* of a query */
    uint64_t bytes = 0;
    check(tree_plan_bytes(&bytes, tree, &config) == TREE_OK, "counted");
    tree_plan *plan = plan_tree_plan(tree, config);
    uint64_t least = bytes_of_arrays(plan), most = least + plan->num_queries * MOST_GROWTH_BYTES + 64;
    check(bytes >= least && bytes <= most, "%s: %" PRIu64 " to %" PRIu64 " bytes, got %" PRIu64,
          tree_strategy_name[config.strategy], least, most, bytes);
    tree_plan_destroy(plan);
}

static void run_strategy(const void *argument)
{
    static const char *const levels[] = {"1/1", "1,3,9/50,21,10", "1,300/20,3", "70/33", "1,1,1,90/1,1,1,1"};
    tree_strategy strategy = *(const tree_strategy *)argument;
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        kv_tree *tree = plan_tree_levels(levels[i], 16, 0);
        expect_bytes(tree, (tree_plan_config){.strategy = strategy});
        expect_bytes(tree, (tree_plan_config){.strategy = strategy, .piece_tokens = 7, .max_rows = 5});
        plan_tree_destroy(tree);
    }
}

/* A bit for each query and token that not all queries see. */
static void run_tree_mask(const void *argument)
{
    (void)argument;
    enum { NUM_QUERIES = 1000, NUM_TOKENS = 300, WORDS = (NUM_QUERIES + 63) / 64 };
    kv_tree *tree = plan_tree_levels("1000/300", 16, 0);
    uint64_t bytes = 0, masks = (uint64_t)NUM_QUERIES * NUM_TOKENS * WORDS * sizeof(uint64_t);
    tree_plan_config config = {.strategy = TREE_TREE_MASK};
    check(tree_plan_bytes(&bytes, tree, &config) == TREE_OK, "counted");
    check(bytes > masks && bytes < masks + masks / 10, "%" PRIu64 " bytes of masks, %" PRIu64 " in all", masks, bytes);
    plan_tree_destroy(tree);
}

static void run_refused(const void *argument)
{
    (void)argument;
    kv_tree *tree = plan_tree_levels("1,3/5,2", 16, 0);
    uint64_t bytes = 77;
    tree_plan_config config = {.strategy = TREE_NUM_STRATEGIES};
    check(tree_plan_bytes(&bytes, tree, &config) == TREE_INVAL && bytes == 77, "an unknown strategy");
    plan_tree_destroy(tree);
}

int main(int argc, char **argv)
{
    static tree_strategy strategies[TREE_NUM_STRATEGIES];
    test_begin(argc, argv, "the bytes of a plan are known before it is built");
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++) {
        strategies[s] = (tree_strategy)s;
        test_add(run_strategy, &strategies[s], "bytes_of_%s", tree_strategy_name[s]);
    }
    test_add(run_tree_mask, NULL, "tree_mask_takes_a_bit_for_each_query_and_token");
    test_add(run_refused, NULL, "refused");
    return test_end();
}
