/* The ladder as a table, and what every step has in common: the checks before the first launch, and the arguments. */
#include <assert.h>

#include "gpu_internal.h"

enum {
    ANY_STORAGE = 1 << TREE_FP32 | 1 << TREE_FP16 | 1 << TREE_BF16,
    HALF_STORAGE = 1 << TREE_FP16 | 1 << TREE_BF16,
    MAX_BLOCKS = 0x7fffffff /* of one launch; each has at least one warp */
};

const tree_gpu_step tree_gpu_steps[] = {
    {"step_0_naive", "the reference, one warp for each partial state and head", ANY_STORAGE, false, step_0_naive},
    {"step_1_coalesced", "the lanes of a warp share each key, the heads of a group share K and V", ANY_STORAGE, false,
     step_1_coalesced},
    {"step_2_split", "the warps of a thread block share the tokens of a row, and merge", ANY_STORAGE, false,
     step_2_split},
    {"step_3_shared_tile", "K and V of an item are loaded once for all of its rows", ANY_STORAGE, false,
     step_3_shared_tile},
    {"step_4_tensor_cores", "rows x group of heads are one matrix, scores and values its products", HALF_STORAGE, false,
     step_4_tensor_cores},
    {"step_5_pipeline", "two tiles are on their way from memory while one is computed", HALF_STORAGE, false,
     step_5_pipeline},
    {"step_6_queue", "the host deals the work out to workers that stay, in tiles that fit it", HALF_STORAGE, false,
     step_6_queue},
    {"step_7_one_launch", "the workers wait for each other and merge in the same launch", HALF_STORAGE, false,
     step_7_one_launch},
    {"step_8_masks", "masks travel with their tile, and slices that nobody sees are passed over", HALF_STORAGE, false,
     step_8_masks},
    {"step_9_warpgroup", "four warps multiply what lies in shared memory, without loading it", HALF_STORAGE, true,
     step_9_warpgroup},
};
const uint32_t tree_gpu_num_steps = sizeof tree_gpu_steps / sizeof tree_gpu_steps[0];

static bool has_warpgroups()
{
#if defined TREEATTN_EMULATE
    return true;
#elif defined TREEATTN_SM_90A
    int device = 0, major = 0;
    return cudaGetDevice(&device) == cudaSuccess
           && cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess && major == 9;
#else
    return false;
#endif
}

bool tree_gpu_step_takes(const tree_gpu_step *step, tree_storage storage)
{
    return step->storages >> storage & 1 && (!step->needs_warpgroups || has_warpgroups());
}

static const tree_gpu_step *last_step(tree_storage storage)
{
    for (uint32_t i = tree_gpu_num_steps; i-- > 0;)
        if (tree_gpu_step_takes(&tree_gpu_steps[i], storage))
            return &tree_gpu_steps[i];
    return NULL;
}

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
void attention_place_partials(attention_arguments *a, void *workspace)
{
    uint64_t num_states = (uint64_t)a->plan.num_partials * a->shape.num_heads;
    a->o = workspace;
    a->m = (float *)((char *)workspace + num_states * a->shape.head_dim * tree_storage_bytes(a->shape.storage));
    a->l = a->m + num_states;
}

/* num_queries and num_blocks were compared with the plan itself. */
static bool made_for(const tree_plan_gpu *plan, const tree_shape *shape)
{
    const tree_shape *other = &plan->shape;
    return other->num_heads == shape->num_heads && other->num_kv_heads == shape->num_kv_heads
           && other->head_dim == shape->head_dim && other->block_tokens == shape->block_tokens
           && other->storage == shape->storage;
}

static tree_status check_arguments(const attention_arguments *a, const void *workspace, size_t workspace_bytes,
                                   const tree_gpu_step *step)
{
    uint64_t num_heads = a->shape.num_heads;
    if (!step || !tree_gpu_step_takes(step, a->shape.storage))
        return TREE_UNSUPPORTED;
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

tree_status tree_attention_gpu(float *out, float *lse, const float *query, const void *key, const void *value,
                               const tree_plan_gpu *plan, const tree_shape *shape, float scale, void *workspace,
                               size_t workspace_bytes, cudaStream_t stream, const tree_gpu_step *step,
                               int *cuda_error)
{
    assert(plan && shape && "attention needs a plan and a shape");
    gpu_status(cudaSuccess, cuda_error);
    tree_status status = tree_plan_fits(&plan->plan, shape);
    if (status == TREE_OK && !made_for(plan, shape))
        status = TREE_BAD_SHAPE;
    if (status != TREE_OK)
        return status;

    attention_arguments a = {};
    a.out = out;
    a.lse = lse;
    a.query = query;
    a.key = key;
    a.value = value;
    a.shape = *shape;
    a.scale = scale;
    a.plan = plan->plan;
    a.partial_item = plan->partial_item;
    a.queue = plan->queue;
    a.arrivals = plan->arrivals;
    attention_place_partials(&a, workspace);

    step = step ? step : last_step(shape->storage);
    status = check_arguments(&a, workspace, workspace_bytes, step);
    return status == TREE_OK ? gpu_status(step->launch(&a, stream), cuda_error) : status;
}
