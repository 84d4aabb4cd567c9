/* Merging a small queue without a barrier of the grid. First read by step 11. */
#ifndef LAST_ARRIVER_CUH
#define LAST_ARRIVER_CUH

#include "grid.cuh"
#include "merge_ahead.cuh"
#include "worker_copy.cuh"

static_assert((int)QUEUE_SMALL_ROWS == (int)WORKER_WARPS, "a warp for each row");

/* Whether the workers wait for each other: a cooperative launch. */
static inline bool all_wait(const attention_arguments &a)
{
    return a.queue.needs_merge && !a.queue.is_small;
}

/* The merge job of this warp for KV head 0; is_last_arriver shifts it to the worker's own KV head. */
static __device__ __forceinline__ merge_cursor last_arriver_start(const attention_arguments &a)
{
    const uint32_t group_size = a.shape.num_heads / a.shape.num_kv_heads, row = threadIdx.x / WARP;
    const uint32_t query = row / group_size, num_jobs = a.plan.num_queries * a.shape.num_heads;
    return merge_start(a, query * a.shape.num_heads + row % group_size, num_jobs);
}

/* Whether this worker is the last of its KV head to arrive. If so, the partial states of the others are visible, and
 * `merges` is now at the job of that KV head. */
static __device__ __forceinline__ bool is_last_arriver(const attention_arguments &a, const queue_start &start,
                                                       merge_cursor &merges)
{
    if (start.num_tiles == 0)
        return false;
    __syncthreads(); /* all warps have written their states */
    bool is_last = false;
    if (threadIdx.x == 0) {
        const uint32_t last = start.num_sharing - 1;
        is_last = count_arrival(&a.arrivals[1 + start.kv_head], last) == last;
    }
    merges.head_group += start.kv_head * (a.shape.num_heads / a.shape.num_kv_heads);
    return __syncthreads_or(is_last);
}

#endif
