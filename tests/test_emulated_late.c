/* Claim: a GPU that is late still reads what was meant for it: an update waits as long as the host must not write, also
 * where it needs larger memory; its waiting leaves no error behind, and its refusals no capture broken. */
#include "gpu_internal.h"
#include "gpu_support.h"
#include "plan_steps.h"
#include "plan_trees.h"
#include "test.h"

enum { BLOCK_TOKENS = 4, SPARE_TOKENS = 40, NUM_BLOCKS = 1 << 16 };

static void put(tree_plan_gpu **gpu, const tree_plan *plan)
{
    const tree_shape shape = {plan->num_queries, 2, 2, 64, NUM_BLOCKS, BLOCK_TOKENS, TREE_FP16};
    int cuda_error = -1;
    gpu_ok(*gpu ? tree_plan_gpu_update(*gpu, plan, NULL, &cuda_error)
                : tree_plan_gpu_create(gpu, plan, &shape, NULL, &cuda_error),
           &cuda_error, "a plan on the device");
}

static tree_plan *plan_of(const kv_tree *tree)
{
    return plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_NODE});
}

/* In a step all paths begin a block. It has not run when three updates follow; the last one's outline is larger, and at
 * the same places its paths have other blocks. */
static void run_larger_outline(const void *unused)
{
    (void)unused;
    tree_plan_gpu *gpu = NULL;
    kv_tree *tree = plan_tree_levels("1,40/300,8", BLOCK_TOKENS, SPARE_TOKENS);
    kv_tree *larger = plan_tree_levels("1,100/300,9", BLOCK_TOKENS, SPARE_TOKENS);
    tree_plan *plan = plan_of(tree), *larger_plan = plan_of(larger);
    d_array slots = d_create(tree->num_queries * sizeof(uint64_t));
    put(&gpu, plan);
    advance(gpu, &slots);
    const void *new_blocks = gpu->new_blocks, *outline = gpu->outline.device;
    emulate_late(true);
    for (uint32_t q = 0; q < tree->num_queries; q++)
        check(plan_tree_grow(tree, q, 1), "a token");
    check(tree_plan_grow(plan, tree) && tree_plan_gpu_grow(gpu, plan), "the device follows");
    advance(gpu, &slots);
    put(&gpu, plan);
    put(&gpu, plan);
    put(&gpu, larger_plan);
    emulate_late(false);
    check(gpu->new_blocks == new_blocks && gpu->outline.device != outline, "the outline alone has new memory");
    check_slots(tree, &slots, true);
    d_destroy(&slots);
    tree_plan_gpu_destroy(gpu);
    tree_plan_destroy(plan);
    tree_plan_destroy(larger_plan);
    plan_tree_destroy(tree);
    plan_tree_destroy(larger);
}

/* Steps and updates in turn, none of which has run when the next one is enqueued. */
static void run_updates(const void *unused)
{
    (void)unused;
    tree_plan_gpu *gpu = NULL;
    kv_tree *tree = plan_tree_levels("1,7/300,8", BLOCK_TOKENS, SPARE_TOKENS);
    tree_plan *plan = plan_of(tree);
    d_array slots[SPARE_TOKENS];
    put(&gpu, plan);
    emulate_late(true);
    for (int i = 0; i < SPARE_TOKENS; i++) {
        slots[i] = d_create(tree->num_queries * sizeof(uint64_t));
    }
    for (int i = 0; i < SPARE_TOKENS; i++) {
        put(&gpu, plan);
        check(cudaGetLastError() == cudaSuccess, "no error is left for the next call");
        advance(gpu, &slots[i]);
    }
    emulate_late(false);
    for (int i = 0; i < SPARE_TOKENS; i++) {
        check_slots(tree, &slots[i], true);
        d_destroy(&slots[i]);
    }
    tree_plan_gpu_destroy(gpu);
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* What a capture refuses leaves it as it was. */
static void run_captured(const void *unused)
{
    (void)unused;
    tree_plan_gpu *gpu = NULL, *refused = NULL;
    int cuda_error = 0;
    cudaGraph_t graph;
    kv_tree *tree = plan_tree_levels("1,7/300,8", BLOCK_TOKENS, 0), *larger = plan_tree_levels("1,99/3000,8", 4, 0);
    tree_plan *plan = plan_of(tree), *larger_plan = plan_of(larger);
    const tree_shape shape = {plan->num_queries, 2, 2, 64, NUM_BLOCKS, BLOCK_TOKENS, TREE_FP16};
    put(&gpu, plan);
    cuda_ok(cudaStreamBeginCapture(NULL, cudaStreamCaptureModeThreadLocal), "a capture");
    check(tree_plan_gpu_create(&refused, plan, &shape, NULL, &cuda_error) == TREE_CUDA_ERROR && !refused, "a plan");
    check(tree_plan_gpu_update(gpu, plan, NULL, &cuda_error) == TREE_CUDA_ERROR, "an update");
    check(tree_plan_gpu_update(gpu, larger_plan, NULL, &cuda_error) == TREE_CUDA_ERROR, "a larger plan");
    cuda_ok(cudaStreamEndCapture(NULL, &graph), "a capture");
    cuda_ok(cudaGraphDestroy(graph), "a graph");
    tree_plan_gpu_destroy(gpu);
    tree_plan_destroy(plan);
    tree_plan_destroy(larger_plan);
    plan_tree_destroy(tree);
    plan_tree_destroy(larger);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "updates of a plan on a GPU that is late");
    test_add(run_larger_outline, NULL, "larger_outline");
    test_add(run_updates, NULL, "updates");
    test_add(run_captured, NULL, "captured");
    return test_end();
}
