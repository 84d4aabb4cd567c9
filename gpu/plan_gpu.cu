/* A plan in device memory: one allocation, laid out on the host and copied once. */
#include <stdlib.h>
#include <string.h>

#include "gpu_internal.h"

/* Gives the next array its place, aligned to 16 bytes, and returns where in `memory` it will lie. The array, if there
 * is one, goes to staging, unless that is NULL. */
template <typename T> static T *place(const T *array, uint64_t count, char *memory, char *staging, size_t *end)
{
    size_t offset = *end;
    if (staging && array && count)
        memcpy(staging + offset, array, count * sizeof(T));
    *end = (offset + count * sizeof(T) + 15) & ~(size_t)15;
    return (T *)((uintptr_t)memory + offset);
}

/* Points the arrays of `gpu` into its memory, and copies them to staging unless that is NULL. Returns the bytes. */
static size_t lay_out(tree_plan_gpu *gpu, const tree_plan *plan, char *staging)
{
    char *memory = (char *)gpu->memory;
    size_t end = 0;
    gpu->plan = *plan;
    gpu->plan.growth = NULL;
    gpu->plan.masks = place(plan->masks, plan->num_mask_words, memory, staging, &end);
    gpu->plan.items = place(plan->items, plan->num_items, memory, staging, &end);
    gpu->plan.ranges = place(plan->ranges, plan->num_ranges, memory, staging, &end);
    gpu->plan.blocks = place(plan->blocks, plan->num_blocks, memory, staging, &end);
    gpu->plan.rows = place(plan->rows, plan->num_queries, memory, staging, &end);
    gpu->plan.merge_first = place(plan->merge_first, (uint64_t)plan->num_queries + 1, memory, staging, &end);
    gpu->plan.merge_partials = place(plan->merge_partials, plan->num_partials, memory, staging, &end);
    uint32_t *partial_item = staging ? (uint32_t *)(staging + end) : NULL;
    gpu->partial_item = place((const uint32_t *)NULL, plan->num_partials, memory, staging, &end);
    for (uint32_t i = 0; staging && i < plan->num_items; i++)
        for (uint32_t row = 0; row < plan->items[i].num_rows; row++)
            partial_item[plan->items[i].first_partial + row] = i;
    return end;
}

tree_status tree_plan_gpu_create(tree_plan_gpu **gpu_plan, const tree_plan *plan, int *cuda_error)
{
    tree_plan_gpu *gpu = (tree_plan_gpu *)calloc(1, sizeof *gpu);
    size_t bytes = gpu ? lay_out(gpu, plan, NULL) : 0;
    char *staging = gpu ? (char *)calloc(1, bytes) : NULL;
    tree_status status = gpu_status(cudaSuccess, cuda_error);
    if (!staging)
        status = TREE_NOMEM;
    if (!status)
        status = gpu_status(cudaMalloc(&gpu->memory, bytes), cuda_error);
    if (!status) {
        lay_out(gpu, plan, staging);
        status = gpu_status(cudaMemcpy(gpu->memory, staging, bytes, cudaMemcpyHostToDevice), cuda_error);
    }
    free(staging);
    if (status) {
        cudaGetLastError(); /* told here, so that the next launch is not blamed for it */
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
    if (gpu_plan->memory)
        cudaFree(gpu_plan->memory);
    free(gpu_plan);
}
