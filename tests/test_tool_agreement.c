/* Claim: what replay and demo call agreement goes away when one visible value is wrong, a little, wildly, or NaN, and
 * only then. */
/* The program's own code; it is in no library. First, because it names the POSIX version that it needs. */
#include "../tools/tool_output.c"
#include "../tools/tool_options.c"
#include "../tools/tool_scene.c"

#include "test.h"

typedef struct fault {
    const char *name;
    float add;      /* to one value of a visible slot */
    bool visible;   /* false: to a slot behind the end instead */
    bool within;    /* what is to be found */
} fault;

static const fault faults[] = {
    {"none", 0, true, true},          {"little", 0.01f, true, false}, {"wild", 1e30f, true, false},
    {"nan", NAN, true, false},        {"infinite", INFINITY, true, false},
    {"unseen_nan", NAN, false, true},
};

static void run_fault(const void *argument)
{
    const fault *f = argument;
    workload *work;
    check(workload_levels(&work, "1,3", "20,7", NULL) == KV_OK, "levels");
    kv_store_config config = {.num_blocks = 64, .block_tokens = 16, .num_kv_heads = 2, .head_dim = 8, .seed = 1};
    kv_store *store;
    check(kv_store_create(&store, &config) == KV_OK, "store");
    replay_events events = kv_store_events(store);
    tool_scene scene = tool_scene_open(work, 16, 64, &events);
    check(tool_scene_next(&scene) && scene.step.num_queries == 3, "a step of 3 queries");
    kv_table *tables = tool_scene_tables(&scene);
    tool_truth truth = tool_truth_create(&scene, store, 4, test_seed());
    uint32_t token = f->visible ? 3 : tables[0].length; /* 27 of 32 slots are filled */
    uint64_t at = tree_kv_offset(&truth.shape, tables[0].blocks[token / 16], 1, token % 16);
    ((float *)kv_store_value(store))[at] += f->add;
    kv_tree *tree = tool_scene_tree(&scene);
    for (int strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan_config plan_config = {.strategy = (tree_strategy)strategy};
        tree_plan *plan = tool_scene_plan(tree, &plan_config);
        tool_agreement agreement = {.within = true};
        tool_agreement_add(&agreement, &truth, store, plan);
        check(agreement.within == f->within, "%s: within %d, error %g, limit %g", tree_strategy_name[strategy],
              agreement.within, agreement.error, agreement.limit);
        check(agreement.num_compared == 3 * 4 * 8, "%llu elements", (unsigned long long)agreement.num_compared);
        check(!f->within || (agreement.error <= agreement.limit && agreement.limit < 1e-4), "error %g, limit %g",
              agreement.error, agreement.limit);
        check(f->within || !(agreement.error <= agreement.limit), "error %g is the one beyond limit %g",
              agreement.error, agreement.limit);
        tree_plan_destroy(plan);
    }
    kv_tree_destroy(tree);
    tool_truth_destroy(&truth);
    free(tables);
    tool_scene_close(&scene);
    kv_store_destroy(store);
    workload_destroy(work);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "agreement goes away when one visible value is wrong");
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        test_add(run_fault, &faults[i], "fault_%s", faults[i].name);
    return test_end();
}
