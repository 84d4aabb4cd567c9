/* Claim: twice the branches take at most twice the thread blocks: no step's launches grow with items x queries. */
#include <stdio.h>

#include "gpu_support.h"
#include "test.h"

/* Thread blocks of one call with a node plan of `num_branches` branches of one token behind one of one. */
static unsigned long long count_blocks(const tree_gpu_step *step, tree_storage storage, unsigned num_branches)
{
    attention_case c;
    gpu_case gpu;
    char tree[40];
    snprintf(tree, sizeof tree, "1,%u/1,1", num_branches);
    attention_case_build(&c, storage_backend(storage), tree, 1, (attention_size){1, 2, 64});
    tree_plan *plan = attention_plan(&c, TREE_NODE, 0, 0);
    gpu_case_create(&gpu, &c);
    gpu_case_plan(&gpu, plan);
    const unsigned long long before = emulate_num_blocks();
    gpu_case_run(&gpu, step);
    const unsigned long long num_blocks = emulate_num_blocks() - before;
    gpu_case_destroy(&gpu);
    tree_plan_destroy(plan);
    attention_case_free(&c);
    return num_blocks;
}

static void run_step(const void *argument)
{
    const tree_gpu_step *step = argument;
    const tree_storage storage = takes_storage(step, TREE_FP32) ? TREE_FP32 : TREE_BF16;
    emulate_seed(test_seed());
    const unsigned long long few = count_blocks(step, storage, 48), many = count_blocks(step, storage, 96);
    test_note("%llu thread blocks for 48 branches, %llu for 96", few, many);
    check(few > 0 && many <= 2 * few, "%llu thread blocks for 48 branches, %llu for 96", few, many);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "the thread blocks of a step grow no faster than the branches");
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++)
        test_add(run_step, &tree_gpu_steps[s], "%s_launches_blocks_in_proportion", tree_gpu_steps[s].name);
    return test_end();
}
