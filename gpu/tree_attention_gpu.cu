/* tree_attention_gpu: the checks, and the launch of one rung. The kernels are in gpu/ladder: the last rung is the
 * fastest, step 0 the one to read beside reference/tree_attention.c. */
#include <assert.h>

#include "gpu_internal.h"

enum { MAX_BLOCKS = 0x7fffffff }; /* thread blocks of one launch; each has at least one warp */

static bool aligned(const void *array, size_t bytes) { return (uintptr_t)array % bytes == 0; }

size_t tree_attention_gpu_workspace_bytes(const tree_plan *plan, const tree_shape *shape)
{
    if (tree_plan_fits(plan, shape) != TREE_OK)
        return 0;
    uint64_t num_states = (uint64_t)plan->num_partials * shape->num_heads;
    uint64_t state_bytes = shape->head_dim * tree_storage_bytes(shape->storage) + 2 * sizeof(float);
    if (num_states > (SIZE_MAX - 256) / state_bytes)
        return 0;
    size_t bytes = (size_t)(num_states * state_bytes);
    return bytes ? bytes : 256;
}

/* o first: it is read 16 bytes at a time. */
void attention_place_partials(attention_arguments *a, void *workspace, size_t workspace_bytes)
{
    uint64_t o_bytes = a->shape.head_dim * tree_storage_bytes(a->shape.storage);
    uint64_t num_states = workspace_bytes / (o_bytes + 2 * sizeof(float)); /* as many as fit */
    a->o = workspace;
    a->m = (float *)((uintptr_t)workspace + num_states * o_bytes);
    a->l = a->m + num_states;
}

/* num_queries and num_blocks are not compared here: tree_plan_fits has checked them. */
static bool made_for(const tree_plan_gpu *plan, const tree_shape *shape)
{
    const tree_shape *other = &plan->shape;
    return other->num_heads == shape->num_heads && other->num_kv_heads == shape->num_kv_heads
           && other->head_dim == shape->head_dim && other->block_tokens == shape->block_tokens
           && other->storage == shape->storage;
}

tree_status attention_check(const attention_arguments *a, const void *workspace, size_t workspace_bytes)
{
    uint64_t num_heads = a->shape.num_heads;
    if (!aligned(a->out, 16) || !aligned(a->lse, 4) || !aligned(a->query, 16) || !aligned(a->key, 16)
        || !aligned(a->value, 16))
        return TREE_INVAL;
    if (a->plan.num_partials * num_heads > MAX_BLOCKS || a->plan.num_queries * num_heads > MAX_BLOCKS)
        return TREE_OVERFLOW;
    if (!workspace || !aligned(workspace, 256)
        || workspace_bytes < tree_attention_gpu_workspace_bytes(&a->plan, &a->shape))
        return TREE_WORKSPACE;
    return TREE_OK;
}

tree_status attention_fill(attention_arguments *a, float *out, float *lse, const float *query, const void *key,
                           const void *value, const tree_plan_gpu *plan, const tree_shape *shape, float scale,
                           void *workspace, size_t workspace_bytes)
{
    tree_status status = tree_plan_fits(&plan->plan, shape);
    if (status == TREE_OK && !made_for(plan, shape))
        status = TREE_BAD_SHAPE;
    if (status != TREE_OK)
        return status;

    a->out = out;
    a->lse = lse;
    a->query = query;
    a->key = key;
    a->value = value;
    a->shape = *shape;
    a->scale = scale;
    a->plan = plan->plan;
    a->partial_item = plan->partial_item;
    a->queue = plan->queue;
    a->arrivals = plan->arrivals;
    if (plan->is_few)
        a->few = {plan->few_tokens, plan->few_capacity, plan->num_new_slots, plan->new_slots};
    attention_place_partials(a, workspace, workspace_bytes);
    return TREE_OK;
}

tree_status tree_attention_gpu(float *out, float *lse, const float *query, const void *key, const void *value,
                               const tree_plan_gpu *plan, const tree_shape *shape, float scale, void *workspace,
                               size_t workspace_bytes, cudaStream_t stream, const tree_gpu_step *step,
                               int *cuda_error)
{
    assert(plan && shape && "attention needs a plan and a shape");
    attention_arguments a = {};
    gpu_status(cudaSuccess, cuda_error);
    tree_status status =
        attention_fill(&a, out, lse, query, key, value, plan, shape, scale, workspace, workspace_bytes);
    if (status != TREE_OK)
        return status;
    step = step ? step : tree_gpu_last_step(shape->storage);
    if (!step || !tree_gpu_step_takes(step, shape->storage))
        return TREE_UNSUPPORTED;
    status = attention_check(&a, workspace, workspace_bytes);
    if (status != TREE_OK)
        return status;

    /* The launch enqueues these sections; they run later, over thread blocks instead of loops, in one launch or two:
     *     find this item's blocks                      a.plan (steps 0 to 3), a.queue (from step 4)
     *     score the keys
     *     absorb into the running maximum and sum      of partial states, which go to a.m, a.l, a.o
     *     merge partial states
     *     normalize                                    to a.out and a.lse */
    return gpu_status(step->kernels->launch(&a, stream), cuda_error);
}
