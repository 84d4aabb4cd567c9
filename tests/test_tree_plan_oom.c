/* Claim: whichever allocation fails, building and checking a plan return TREE_NOMEM, write nothing and leak nothing. */
#include <inttypes.h>
#include <stdlib.h>

#include "failing_malloc.h"
#include "plan_trees.h"
#include "test.h"

static int64_t allocations_left = INT64_MAX;

static bool allocation_fails(void) { return allocations_left-- <= 0; }

/* Fails the first, then the second allocation, ... until the build succeeds. */
static void run_build(const void *argument)
{
    const tree_plan_config config = {.strategy = *(const tree_strategy *)argument};
    kv_tree *tree = plan_tree_levels("1,3,9/50,21,10", 16, 40);
    tree_plan *untouched = (tree_plan *)tree, *plan = untouched;
    tree_status status = TREE_NOMEM;
    int64_t num_refused = -1;
    while (status == TREE_NOMEM) {
        check(plan == untouched, "*plan is untouched");
        allocations_left = ++num_refused;
        status = tree_plan_build(&plan, tree, &config);
        check(status == TREE_OK || allocations_left < 0, "a status of its own: %s", tree_status_string(status));
        allocations_left = INT64_MAX;
    }
    check(status == TREE_OK && num_refused == (config.strategy == TREE_COST ? 6 : 2), "%" PRId64 " allocations: %s",
          num_refused, tree_status_string(status));
    char message[160];
    check(tree_plan_check(plan, tree, message, sizeof message) == TREE_OK, "%s", message);
    test_note("%" PRId64 " allocations refused", num_refused);
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

static void run_check(const void *argument)
{
    (void)argument;
    char message[160];
    kv_tree *tree = plan_tree_levels("1,3,9/50,21,10", 16, 0);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_FLATTEN});
    tree_status status = TREE_NOMEM;
    int64_t num_refused = -1;
    while (status == TREE_NOMEM) {
        allocations_left = ++num_refused;
        status = tree_plan_check(plan, tree, message, sizeof message);
        allocations_left = INT64_MAX;
    }
    check(status == TREE_OK && num_refused >= 7, "%" PRId64 " allocations: %s", num_refused, message);
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* Growing and destroying allocate nothing. */
static void run_grow(const void *argument)
{
    const tree_plan_config config = {.strategy = *(const tree_strategy *)argument};
    kv_tree *tree = plan_tree_levels("1,9/50,10", 16, 40);
    tree_plan *plan = plan_tree_plan(tree, config);
    for (uint32_t q = 0; q < 9; q++)
        check(plan_tree_grow(tree, q, 2), "room");
    allocations_left = 0;
    bool grown = tree_plan_grow(plan, tree);
    int64_t left = allocations_left;
    allocations_left = INT64_MAX;
    check(left == 0, "nothing was allocated");
    check(grown == (config.strategy != TREE_TREE_MASK && config.strategy != TREE_FLATTEN), "grew");
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

int main(int argc, char **argv)
{
    static tree_strategy strategies[TREE_NUM_STRATEGIES];
    test_begin(argc, argv, "whichever allocation fails, building and checking a plan return TREE_NOMEM");
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++) {
        strategies[s] = (tree_strategy)s;
        test_add(run_build, &strategies[s], "build_%s", tree_strategy_name[s]);
        test_add(run_grow, &strategies[s], "grow_%s", tree_strategy_name[s]);
    }
    test_add(run_check, NULL, "check");
    return test_end();
}
