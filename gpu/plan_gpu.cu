/* A plan in device memory: one allocation, laid out on the host in pinned memory and copied once. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "plan_memory.cuh"

static void fill_partial_item(uint32_t *partial_item, const tree_plan *plan)
{
    for (uint32_t i = 0; i < plan->num_items; i++)
        for (uint32_t row = 0; row < plan->items[i].num_rows; row++)
            partial_item[plan->items[i].first_partial + row] = i;
}

/* Points the arrays of `gpu` to their places, and copies them to staging unless that is NULL. Returns the bytes. Masks
 * come first, those of the plan before those of the queue: update_masks copies no others. */
static size_t lay_out(tree_plan_gpu *gpu, const tree_plan *plan, const plan_queue *queue, char *device, char *staging)
{
    size_t end = 0;
    gpu->plan = *plan;
    gpu->plan.growth = NULL;
    gpu->queue = *queue;
    gpu->queue.slice_place = NULL;
    gpu->plan.masks = place(plan->masks, plan->num_mask_words, device, staging, &end);
    gpu->queue.masks = place(queue->masks, queue->num_masks, device, staging, &end);
    gpu->plan.items = place(plan->items, plan->num_items, device, staging, &end);
    gpu->plan.ranges = place(plan->ranges, plan->num_ranges, device, staging, &end);
    gpu->plan.blocks = place(plan->blocks, plan->num_blocks, device, staging, &end);
    gpu->plan.table_index = place(plan->table_index, plan->num_blocks, device, staging, &end);
    gpu->plan.rows = place(plan->rows, plan->num_queries, device, staging, &end);
    gpu->plan.merge_first = place(plan->merge_first, (uint64_t)plan->num_queries + 1, device, staging, &end);
    gpu->plan.merge_partials = place(plan->merge_partials, plan->num_partials, device, staging, &end);
    gpu->queue.tasks = place(queue->tasks, queue->num_tasks, device, staging, &end);
    gpu->queue.tiles = place(queue->tiles, queue->num_tiles, device, staging, &end);
    gpu->queue.starts = place(queue->starts, queue->num_workers, device, staging, &end);
    gpu->queue.kv_slots = place(queue->kv_slots, queue->num_tokens, device, staging, &end);
    gpu->queue.queries = place(queue->queries, queue->num_partials, device, staging, &end);
    gpu->arrivals = place((const uint32_t *)NULL, 1 + (uint64_t)gpu->shape.num_kv_heads, device, staging, &end);
    if (staging)
        fill_partial_item((uint32_t *)(staging + end), plan);
    gpu->partial_item = place((const uint32_t *)NULL, plan->num_partials, device, NULL, &end);
    return end;
}

static tree_status check_plan(const tree_plan *plan, const tree_shape *shape)
{
    tree_status status = tree_plan_fits(plan, shape);
    if (status != TREE_OK)
        return status;
    if (shape->head_dim != 64 && shape->head_dim != 128 && shape->head_dim != 256)
        return TREE_UNSUPPORTED;
    return TREE_OK;
}

tree_status tree_plan_gpu_update(tree_plan_gpu *gpu_plan, const tree_plan *plan, cudaStream_t stream, int *cuda_error)
{
    assert(gpu_plan && plan && "an update needs a plan on the device and one on the host");
    tree_plan_gpu next = *gpu_plan;
    plan_queue queue;
    next.shape.num_queries = plan->num_queries;
    gpu_status(cudaSuccess, cuda_error);
    tree_status status = check_plan(plan, &next.shape);
    if (status == TREE_OK)
        status = plan_queue_build(&queue, plan, &next.shape, next.num_workers);
    if (status != TREE_OK)
        return status;
    auto lay_out_next = [&](char *device, char *staging) { return lay_out(&next, plan, &queue, device, staging); };
    status = setup_status(memory_upload(&next.memory, lay_out_next, stream), cuda_error);
    if (status != TREE_OK) {
        plan_queue_free(&queue);
        return status;
    }
    plan_queue_free(&gpu_plan->host_queue);
    plan_queue_trim(&queue);
    next.host_queue = queue;
    *gpu_plan = next;
    return TREE_OK;
}

static bool same_counts(const tree_plan *a, const tree_plan *b)
{
    return a->num_queries == b->num_queries && a->num_items == b->num_items && a->num_ranges == b->num_ranges
           && a->num_blocks == b->num_blocks && a->num_partials == b->num_partials
           && a->num_mask_words == b->num_mask_words && a->loaded_tokens == b->loaded_tokens
           && a->block_tokens == b->block_tokens && a->config.strategy == b->config.strategy;
}

/* Enqueues the copy of the masks of plan and queue. */
static cudaError_t upload_masks(tree_plan_gpu *gpu, const tree_plan *plan, cudaStream_t stream)
{
    size_t plan_bytes = (plan->num_mask_words * sizeof(uint64_t) + 15) & ~(size_t)15;
    size_t bytes = plan_bytes + gpu->host_queue.num_masks * sizeof(uint64_t);
    char *staging = gpu->memory.staging + gpu->memory.turn * gpu->memory.capacity;
    cudaError_t error = refuse_capture(stream);
    if (error != cudaSuccess || !bytes)
        return error;
    error = cudaEventSynchronize(gpu->memory.copied[gpu->memory.turn]);
    if (error != cudaSuccess)
        return error;
    memcpy(staging, plan->masks, plan->num_mask_words * sizeof(uint64_t));
    plan_queue_masks((uint64_t *)(staging + plan_bytes), &gpu->host_queue, plan);
    error = cudaMemcpyAsync(gpu->memory.device, staging, bytes, cudaMemcpyHostToDevice, stream);
    if (error == cudaSuccess)
        error = cudaEventRecord(gpu->memory.copied[gpu->memory.turn], stream);
    gpu->memory.turn ^= 1;
    return error;
}

tree_status tree_plan_gpu_update_masks(tree_plan_gpu *gpu_plan, const tree_plan *plan, cudaStream_t stream,
                                       int *cuda_error)
{
    assert(gpu_plan && plan && "an update needs a plan on the device and one on the host");
    gpu_status(cudaSuccess, cuda_error);
    if (!same_counts(&gpu_plan->plan, plan))
        return TREE_INVAL;
    tree_status status = setup_status(upload_masks(gpu_plan, plan, stream), cuda_error);
    if (status == TREE_OK)
        gpu_plan->plan.masked_pairs = plan->masked_pairs;
    return status;
}

static cudaError_t prepare(tree_plan_gpu *gpu, const tree_shape *shape)
{
    gpu->shape = *shape;
    cudaError_t error = gpu_num_workers(&gpu->num_workers);
    return error == cudaSuccess ? memory_prepare(&gpu->memory) : error;
}

tree_status tree_plan_gpu_create(tree_plan_gpu **gpu_plan, const tree_plan *plan, const tree_shape *shape,
                                 cudaStream_t stream, int *cuda_error)
{
    assert(plan && shape && "a plan on the device is made from one on the host, for a shape");
    gpu_status(cudaSuccess, cuda_error);
    tree_status status = check_plan(plan, shape);
    if (status != TREE_OK)
        return status;
    tree_plan_gpu *gpu = (tree_plan_gpu *)calloc(1, sizeof *gpu);
    if (!gpu)
        return TREE_NOMEM;
    status = setup_status(prepare(gpu, shape), cuda_error);
    if (status == TREE_OK)
        status = tree_plan_gpu_update(gpu, plan, stream, cuda_error);
    if (status != TREE_OK) {
        tree_plan_gpu_destroy(gpu);
        return status;
    }
    *gpu_plan = gpu;
    return TREE_OK;
}

void tree_plan_gpu_destroy(tree_plan_gpu *gpu_plan)
{
    if (!gpu_plan)
        return;
    memory_destroy(&gpu_plan->memory);
    plan_queue_free(&gpu_plan->host_queue);
    free(gpu_plan);
}
