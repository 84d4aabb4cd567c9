/* Claim: what replay and demo call agreement goes away when one visible value is wrong, a little, wildly, or NaN, and
 * only then. */
/* The program's own code; it is in no library. First, because it names the POSIX version that it needs. */
#include "../tools/tool_output.c"
#include "../tools/tool_options.c"
#include "../tools/tool_scene.c"
#include "../tools/tool_agreement.c"

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
    tree_shape shape = {.num_blocks = 64, .block_tokens = 16, .num_heads = 4, .num_kv_heads = 2, .head_dim = 8};
    tool_scene scene = tool_scene_open_with_kv(work, &shape, 1);
    check(tool_scene_next(&scene) && scene.step.num_queries == 3, "a step of 3 queries");
    kv_table *tables = tool_scene_tables(&scene);
    tool_queries queries = tool_queries_create(&scene, 4, test_seed());
    uint32_t token = f->visible ? 3 : tables[0].length; /* 27 of 32 slots are filled */
    uint64_t at = tree_kv_offset(&queries.shape, tables[0].blocks[token / 16], 1, token % 16);
    ((float *)kv_store_value(scene.store))[at] += f->add;
    kv_tree *tree = tool_scene_tree(&scene);
    for (int strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan_config plan_config = {.strategy = (tree_strategy)strategy};
        tree_plan *plan = tool_scene_plan(tree, &plan_config);
        tool_agreement agreement = {.isa = tree_isa_best()};
        tool_agreement_add(&agreement, &scene, &queries, plan);
        const verdict *worst = &agreement.worst;
        check((worst->text[0] == '\0') == f->within, "%s: error %g, limit %g, '%s'", tree_strategy_name[strategy],
              worst->error, worst->limit, worst->text);
        check(!f->within || (worst->error <= worst->limit && worst->limit < 1e-4), "error %g, limit %g", worst->error,
              worst->limit);
        check(f->within || !(worst->error <= worst->limit), "error %g is the one beyond limit %g", worst->error,
              worst->limit);
        tree_plan_destroy(plan);
    }
    kv_tree_destroy(tree);
    tool_queries_destroy(&queries);
    free(tables);
    tool_scene_close(&scene);
    workload_destroy(work);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "agreement goes away when one visible value is wrong");
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        test_add(run_fault, &faults[i], "fault_%s", faults[i].name);
    return test_end();
}
