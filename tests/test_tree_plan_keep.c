/* Claim: a plan over evicted tokens covers each token that a query keeps once, and no other, under every strategy. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "keep_model.h"
#include "plan_trees.h"
#include "test.h"

typedef struct keep_case {
    const plan_tree_case *tree;
    tree_strategy strategy;
} keep_case;

/* Whether later evictions of any tokens, or of private ones, fit the plan. */
static void expect_set(tree_plan *plan, keep_set *set, bool only_private, const char *what)
{
    keep_evict_random(set, 30, only_private);
    check(tree_plan_set_keep(plan, set->tree, set->keeps), "%s: later evictions fit", what);
    keep_expect_covered(plan, set, what);
}

static void run_tree(const kv_tree *tree, tree_plan_config config)
{
    const char *name = tree_strategy_name[config.strategy];
    keep_set set = keep_set_create(tree);
    tree_plan *all, *plan = plan_tree_plan(tree, config), *needed = keep_plan(&set, config, TREE_KEEP_NEEDED);
    keep_expect_equal(needed, plan, name);
    tree_plan_destroy(plan);
    tree_plan_destroy(needed);

    plan = keep_plan(&set, config, TREE_KEEP_PRIVATE);
    expect_set(plan, &set, true, "private");
    tree_plan_destroy(plan);

    keep_evict_random(&set, 1 + test_below(99), false);
    plan = keep_plan(&set, config, TREE_KEEP_PRIVATE);
    needed = keep_plan(&set, config, TREE_KEEP_NEEDED);
    all = keep_plan(&set, config, TREE_KEEP_ALL);
    check(needed->num_mask_words <= plan->num_mask_words && plan->num_mask_words <= all->num_mask_words,
          "%s: more masks, more words", name);
    tree_plan_destroy(needed);
    expect_set(plan, &set, true, "private");
    expect_set(all, &set, false, "all");
    tree_plan_destroy(plan);
    plan = keep_plan(&set, config, TREE_KEEP_ALL);
    keep_expect_equal(all, plan, "set later, and built with");
    tree_plan_destroy(plan);
    tree_plan_destroy(all);
    keep_set_free(&set);
}

static void run_named(const void *argument)
{
    const keep_case *c = argument;
    static const uint32_t block_tokens[] = {1, 16, 128};
    for (int i = 0; i < 3; i++) {
        kv_tree *tree = plan_tree_case_create(c->tree, block_tokens[i], 0);
        run_tree(tree, (tree_plan_config){.strategy = c->strategy});
        plan_tree_destroy(tree);
    }
}

int main(int argc, char **argv)
{
    static keep_case cases[64][TREE_NUM_STRATEGIES];
    test_begin(argc, argv, "a plan over evicted tokens covers each token that a query keeps once, and no other");
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++) {
        for (int t = 0; t < num_plan_tree_cases; t++) {
            cases[t][s] = (keep_case){&plan_tree_cases[t], (tree_strategy)s};
            test_add(run_named, &cases[t][s], "%s_%s", tree_strategy_name[s], plan_tree_cases[t].name);
        }
    }
    return test_end();
}
