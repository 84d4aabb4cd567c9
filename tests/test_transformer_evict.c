/* Claim: in a pool that evicts, every branch attends to the tokens that it keeps, at their positions: random evictions
 * of shared and private tokens, holes that new tokens take, dead blocks and compaction give the logits of a transformer
 * in double that leaves the forgotten tokens out, within the bound of transformer_model.h, for every strategy. In a
 * pool that does not evict, a caller's attention can do the same with keep words of its own, layer by layer. */
#include "test.h"
#include "transformer_forest_model.h"
#include "tree_attention.h"
#include "tree_plan_keep.h"

static void run_evictions(const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    forest f;
    transformer_config config = {.max_branches = FOREST_BRANCHES, .plan = {.strategy = strategy, .piece_tokens = 8},
                                 .reference = strategy % 2, .num_threads = 1, .keeps_norms = strategy % 3 == 0};
    for (uint32_t i = 0; i < (uint32_t)strategy; i++)
        test_random(); /* a forest of its own for each strategy */
    forest_create(&f, &config, 200, 4, FOREST_EVICTS);
    forest_add_root(&f);
    uint32_t num_evicted = 0, num_moved = 0, order[FOREST_BRANCHES];
    for (uint32_t step = 0; step < 50; step++) {
        uint32_t branch = test_below(f.num_branches), event = test_below(8);
        bool full = f.num_branches == FOREST_BRANCHES;
        if (step > 8 && event < 2 && !full)
            forest_fork(&f, branch);
        else if (event == 2 && f.num_branches > 3)
            forest_prune(&f, branch);
        else if (step > 8 && event == 3 && f.branches[branch].truth.length > 4)
            forest_truncate(&f, branch, f.branches[branch].truth.length - 2);
        for (uint32_t i = 0; i < f.num_branches; i++) {
            const text_truth *truth = &f.branches[i].truth;
            for (uint32_t position = 0; position + 1 < truth->length; position++)
                if (truth->kept[position] && test_below(20) == 0) {
                    forest_evict(&f, i, position);
                    num_evicted++;
                }
            if (test_below(3) == 0)
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

/* ---- keep words of the caller's ---- */

/* A token at position % 5 == 2 is forgotten when 3 newer ones are there. */
static bool is_forgotten(uint32_t position, uint32_t length) { return position % 5 == 2 && position + 4 < length; }

static tree_status attend_without_them(void *context, float *out, const transformer_attention *a)
{
    tree_strategy strategy = *(const tree_strategy *)context;
    kv_keep keeps[FOREST_BRANCHES];
    uint64_t words[FOREST_BRANCHES][64] = {{0}}; /* a word for each block: context / block_tokens is less */
    for (uint32_t i = 0; i < a->num_branches; i++) {
        keeps[i] = (kv_keep){.words = words[i], .words_per_block = 1, .num_blocks = a->tables[i].num_blocks,
                             .next_position = a->tables[i].length};
        for (uint32_t slot = 0; slot < a->tables[i].length; slot++)
            if (!is_forgotten(slot, a->tables[i].length)) {
                words[i][slot / a->shape->block_tokens] |= UINT64_C(1) << slot % a->shape->block_tokens;
                keeps[i].num_kept++;
            }
    }
    tree_plan *plan;
    tree_plan_config config = {.strategy = strategy};
    tree_status status = tree_plan_build_keep(&plan, a->tree, &config, keeps, TREE_KEEP_NEEDED);
    if (status != TREE_OK)
        return status;
    status = tree_attention_ref(out, NULL, a->query, a->key, a->value, plan, a->shape, a->scale);
    tree_plan_destroy(plan);
    return status;
}

static void run_callers(const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    forest f;
    transformer_config config = {.max_branches = FOREST_BRANCHES, .plan.strategy = TREE_NODE, .num_threads = 1,
                                 .attend = attend_without_them, .context = &strategy};
    forest_create(&f, &config, 200, 4, FOREST_SHARED_ONLY);
    forest_add_root(&f);
    for (uint32_t step = 0; step < 35; step++) {
        uint32_t order[FOREST_BRANCHES];
        if (step > 8 && step % 4 == 0 && f.num_branches < FOREST_BRANCHES)
            forest_fork(&f, test_below(f.num_branches));
        for (uint32_t i = 0; i < f.num_branches; i++) {
            order[i] = i;
            for (uint32_t position = 0; position < f.branches[i].truth.length; position++)
                f.branches[i].truth.kept[position] = !is_forgotten(position, f.branches[i].truth.length + 1);
        }
        forest_step(&f, order, f.num_branches);
    }
    test_note("%u tokens; error / limit %.3f", f.num_checked, f.worst);
    forest_destroy(&f);
}

int main(int argc, char **argv)
{
    static tree_strategy strategies[TREE_NUM_STRATEGIES];
    test_begin(argc, argv, "a branch that forgets decodes as a text without the forgotten tokens");
    for (int i = 0; i < TREE_NUM_STRATEGIES; i++) {
        strategies[i] = (tree_strategy)i;
        test_add(run_evictions, &strategies[i], "%s", tree_strategy_name[i]);
        test_add(run_callers, &strategies[i], "callers_%s", tree_strategy_name[i]);
    }
    return test_end();
}
