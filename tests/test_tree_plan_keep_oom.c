/* Claim: whichever allocation fails, building and checking a plan over evicted tokens return TREE_NOMEM, write nothing
 * and leak nothing; new keep words need no memory. */
#include <inttypes.h>
#include <stdlib.h>

#include "failing_malloc.h"
#include "keep_model.h"
#include "plan_trees.h"
#include "test.h"

static int64_t allocations_left = INT64_MAX;

static bool allocation_fails(void) { return allocations_left-- <= 0; }

static void run(const void *argument)
{
    const tree_plan_config config = {.strategy = *(const tree_strategy *)argument};
    char message[160];
    kv_tree *tree = plan_tree_levels("1,3,9/50,21,10", 16, 0);
    keep_set set = keep_set_create(tree);
    tree_plan *untouched = (tree_plan *)tree, *plan = untouched;
    tree_status status = TREE_NOMEM;
    int64_t num_refused = -1;
    keep_evict_random(&set, 30, false);
    while (status == TREE_NOMEM) {
        check(plan == untouched, "*plan is untouched");
        allocations_left = ++num_refused;
        status = tree_plan_build_keep(&plan, tree, &config, set.keeps, TREE_KEEP_ALL);
        check(status == TREE_OK || allocations_left < 0, "a status of its own: %s", tree_status_string(status));
        allocations_left = INT64_MAX;
    }
    /* those of tree_plan_build, and room for the masks */
    check(status == TREE_OK && num_refused == (config.strategy == TREE_COST ? 7 : 3), "%" PRId64 " allocations: %s",
          num_refused, tree_status_string(status));

    keep_evict_random(&set, 30, false);
    allocations_left = 0;
    bool is_set = tree_plan_set_keep(plan, tree, set.keeps);
    check(allocations_left == 0 && is_set, "nothing was allocated");
    num_refused = -1;
    do {
        allocations_left = ++num_refused;
        status = tree_plan_check_keep(plan, tree, set.keeps, message, sizeof message);
        allocations_left = INT64_MAX;
    } while (status == TREE_NOMEM);
    check(status == TREE_OK && num_refused >= 7, "%" PRId64 " allocations: %s", num_refused, message);
    tree_plan_destroy(plan);
    keep_set_free(&set);
    plan_tree_destroy(tree);
}

int main(int argc, char **argv)
{
    static tree_strategy strategies[TREE_NUM_STRATEGIES];
    test_begin(argc, argv, "whichever allocation fails, a plan over evicted tokens is refused with TREE_NOMEM");
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++) {
        strategies[s] = (tree_strategy)s;
        test_add(run, &strategies[s], "%s", tree_strategy_name[s]);
    }
    return test_end();
}
