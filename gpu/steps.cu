/* The ladder as a table, and what every step has in common: the checks before the first launch. */
#include <assert.h>

#include "gpu_internal.h"

const tree_gpu_step tree_gpu_steps[] = {
    {"step_0_naive", "the reference, one warp for each partial state and head", 1u << TREE_FP32, step_0_naive},
};
const uint32_t tree_gpu_num_steps = sizeof tree_gpu_steps / sizeof tree_gpu_steps[0];

/* A launch has at most 2^31 - 1 thread blocks, and each has at least one warp. */
enum { MAX_BLOCKS = 0x7fffffff };

static const tree_gpu_step *last_step(tree_storage storage)
{
    for (uint32_t i = tree_gpu_num_steps; i-- > 0;)
        if (tree_gpu_steps[i].storages >> storage & 1)
            return &tree_gpu_steps[i];
    return NULL;
}

static bool aligned(const void *array, size_t bytes) { return (uintptr_t)array % bytes == 0; }

size_t tree_attention_gpu_workspace_bytes(const tree_plan *plan, const tree_shape *shape)
{
    if (tree_shape_check(shape, plan) != TREE_OK)
        return 0;
    uint64_t num_states = (uint64_t)plan->num_partials * shape->num_heads;
    uint64_t state_bytes = ((uint64_t)shape->head_dim + 2) * sizeof(float);
    if (num_states > (SIZE_MAX - 256) / state_bytes)
        return 0;
    size_t bytes = (size_t)(num_states * state_bytes);
    return bytes ? bytes : 256;
}

static tree_status check_call(const tree_plan *plan, const tree_shape *shape, const void *workspace,
                              size_t workspace_bytes, const tree_gpu_step *step)
{
    if (!step || !(step->storages >> shape->storage & 1))
        return TREE_UNSUPPORTED;
    if (shape->head_dim != 64 && shape->head_dim != 128 && shape->head_dim != 256)
        return TREE_UNSUPPORTED;
    if ((uint64_t)plan->num_partials * shape->num_heads > MAX_BLOCKS
        || (uint64_t)plan->num_queries * shape->num_heads > MAX_BLOCKS)
        return TREE_OVERFLOW;
    if (!workspace || !aligned(workspace, 256) || workspace_bytes < tree_attention_gpu_workspace_bytes(plan, shape))
        return TREE_WORKSPACE;
    return TREE_OK;
}

tree_status tree_attention_gpu(float *out, float *lse, const float *query, const void *key, const void *value,
                               const tree_plan_gpu *plan, const tree_shape *shape, float scale, void *workspace,
                               size_t workspace_bytes, cudaStream_t stream, const tree_gpu_step *step,
                               int *cuda_error)
{
    assert(plan && "attention needs a plan");
    gpu_status(cudaSuccess, cuda_error);
    tree_status status = tree_shape_check(shape, &plan->plan);
    if (status != TREE_OK)
        return status;
    step = step ? step : last_step(shape->storage);
    status = check_call(&plan->plan, shape, workspace, workspace_bytes, step);
    if (status != TREE_OK)
        return status;
    if (!aligned(out, 16) || !aligned(lse, 4) || !aligned(query, 16) || !aligned(key, 16) || !aligned(value, 16))
        return TREE_INVAL;
    return gpu_status(step->launch(out, lse, query, key, value, &plan->plan, plan->partial_item, shape, scale,
                                   workspace, stream),
                      cuda_error);
}
