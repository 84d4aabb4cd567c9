/* Claim: in a pool that evicts, every branch attends to the tokens that it keeps, at their positions: random evictions
 * of shared and private tokens, holes that new tokens take, dead blocks and compaction give the logits of a transformer
 * in double that leaves the forgotten tokens out, within the bound of transformer_model.h, for every strategy. */
#include "test.h"
#include "transformer_forest_model.h"

static void run_evictions(const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    forest f;
    transformer_config config = {.max_branches = FOREST_BRANCHES, .plan = {.strategy = strategy, .piece_tokens = 8},
                                 .reference = strategy % 2, .num_threads = 1, .keeps_norms = strategy % 3 == 0};
    for (uint32_t i = 0; i < (uint32_t)strategy; i++)
        test_random(); /* a forest of its own for each strategy */
    forest_create(&f, &config, 200, 4, true);
    forest_add_root(&f);
    uint32_t num_evicted = 0, num_moved = 0, order[FOREST_BRANCHES];
    for (uint32_t step = 0; step < (TEST_SANITIZED ? 30u : 50u); step++) {
        uint32_t branch = test_below(f.num_branches), event = test_below(8);
        bool full = f.num_branches == FOREST_BRANCHES;
        if (step > 8 && event < 2 && !full)
            forest_fork(&f, branch);
        else if (event == 2 && f.num_branches > 3)
            forest_prune(&f, branch);
        else if (event == 3 && f.branches[branch].truth.length > 4)
            forest_truncate(&f, branch, f.branches[branch].truth.length - 2);
        for (uint32_t i = 0; i < f.num_branches; i++) {
            const text_truth *truth = &f.branches[i].truth;
            for (uint32_t position = 0; position + 1 < truth->length; position++)
                if (truth->kept[position] && test_below(20) == 0) {
                    forest_evict(&f, i, position);
                    num_evicted++;
                }
            if (test_below(4) == 0)
                num_moved += forest_compact(&f, i);
        }
        uint32_t count = 0;
        for (uint32_t i = 0; i < f.num_branches; i++)
            if (f.branches[i].truth.length < forest_shape.context)
                order[count++] = i;
        if (count)
            forest_step(&f, order, count);
    }
    kv_pool_stats stats;
    kv_pool_get_stats(f.pool, &stats);
    test_note("%u tokens, %u evictions, %u compactions that moved; error / limit %.3f", f.num_checked, num_evicted,
              num_moved, f.worst);
    check(num_evicted > 20 && num_moved > 0, "%u evictions, %u moves", num_evicted, num_moved);
    forest_destroy(&f);
}

int main(int argc, char **argv)
{
    static tree_strategy strategies[TREE_NUM_STRATEGIES];
    test_begin(argc, argv, "a branch that forgets decodes as a text without the forgotten tokens");
    for (int i = 0; i < TREE_NUM_STRATEGIES; i++) {
        strategies[i] = (tree_strategy)i;
        test_add(run_evictions, &strategies[i], "%s", tree_strategy_name[i]);
    }
    return test_end();
}
