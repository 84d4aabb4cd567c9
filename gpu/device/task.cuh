/* A task as steps 4 and 5 run it, one per thread block: which 16 of its rows (queries x query heads of one KV head)
 * each warp has, how queries are loaded, and how states are written. Each rung has its own loop over the tokens. */
#ifndef TASK_CUH
#define TASK_CUH

#include "tile.cuh"

/* The two rows of a lane, h = 0 and 1 (tile.cuh), each as a query of the task and a query head. */
struct lane_rows {
    queue_task task;
    uint32_t kv_head, query[2], head[2]; /* query >= task.num_queries: there is no such row */
    uint32_t mask_query[2];              /* query, at most the task's last: its masks are read even where no row is */
};

/* Thread block n has task n / num_kv_heads and KV head n % num_kv_heads. */
static __device__ __forceinline__ lane_rows task_find_rows(const attention_arguments &a)
{
    lane_rows at;
    uint32_t group_size = a.shape.num_heads / a.shape.num_kv_heads;
    at.task = a.queue.tasks[blockIdx.x / a.shape.num_kv_heads];
    at.kv_head = blockIdx.x % a.shape.num_kv_heads;
    for (int h = 0; h < 2; h++) {
        uint32_t row = threadIdx.x / WARP * WARP_ROWS + threadIdx.x % WARP / 4 + 8 * h;
        at.query[h] = row / at.task.num_heads;
        at.head[h] = at.kv_head * group_size + at.task.first_head + row % at.task.num_heads;
        at.mask_query[h] = at.query[h] < at.task.num_queries ? at.query[h] : at.task.num_queries - 1u;
    }
    return at;
}

template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void task_load_queries(uint32_t q[HEAD_DIM / 16][4], const attention_arguments &a,
                                                         const lane_rows &at)
{
    const float *from[2] = {NULL, NULL};
    for (int h = 0; h < 2; h++) {
        if (at.query[h] < at.task.num_queries) {
            uint64_t query = a.queue.queries[at.task.first_partial + at.query[h]].query;
            from[h] = a.query + (query * a.shape.num_heads + at.head[h]) * HEAD_DIM;
        }
    }
    tile_floats<HEAD_DIM> x;
    tile_load<HEAD_DIM>(x, from[0], from[1]);
    tile_round<HEAD_DIM, T>(q, x, a.scale);
}

/* `visible` (tile.cuh) of the slice that begins with token t of the task. */
template <int TOKENS>
static __device__ __forceinline__ uint32_t task_visible(const attention_arguments &a, const lane_rows &at, uint32_t t)
{
    const int left = (int)(at.task.num_tokens - t);
    if (at.task.first_mask == QUEUE_NO_MASK)
        return tile_first_tokens<TOKENS>(left);
    return tile_visible<TOKENS>(a.queue.masks + at.task.first_mask + t, left, at.mask_query);
}

/* Whether token t of the task must be loaded: it exists, and only_query, if there is one, sees it. */
static __device__ __forceinline__ bool task_needs(const attention_arguments &a, const queue_task &task, uint32_t t,
                                                  uint32_t only_query)
{
    return t < task.num_tokens && (only_query == ALL_QUERIES || a.queue.masks[task.first_mask + t] >> only_query & 1);
}

/* Index of the first element of K and V of token t of the task. */
template <int HEAD_DIM>
static __device__ __forceinline__ uint64_t task_token_offset(const attention_arguments &a, const lane_rows &at,
                                                             uint32_t t)
{
    uint64_t slot = a.queue.kv_slots[at.task.first_token + t];
    return (slot + at.kv_head * a.shape.block_tokens) * HEAD_DIM;
}

/* Writes the partial states of all queries or of one. tile_sum_rows was called. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void task_store(const attention_arguments &a, const lane_rows &at,
                                                  const tile_state<HEAD_DIM> &state, uint32_t only_query)
{
    uint32_t pair = threadIdx.x % 4 * 2;
    for (int h = 0; h < 2; h++) {
        if (at.query[h] >= at.task.num_queries || (only_query != ALL_QUERIES && at.query[h] != only_query))
            continue;
        uint64_t partial = ((uint64_t)at.task.first_partial + at.query[h]) * a.shape.num_heads + at.head[h];
        T *o = (T *)a.o + partial * HEAD_DIM;
        float inverse = state.l[h] == 0 ? 0 : 1 / state.l[h];
#pragma unroll
        for (int j = 0; j < HEAD_DIM / 8; j++)
            *(uint32_t *)&o[8 * j + pair] = pack_pair<T>(state.o[j][2 * h] * inverse, state.o[j][2 * h + 1] * inverse);
        if (pair == 0) {
            a.m[partial] = state.m[h] * LN_2;
            a.l[partial] = state.l[h];
        }
    }
}

/* Computes and writes the partial states of this thread block's task. absorb_task(state, q, at, only_query) absorbs all
 * tokens of the task: for all queries, or for one, with zeros in place of the tokens that this query does not see. */
template <int HEAD_DIM, typename T, typename ABSORB_TASK>
static __device__ __forceinline__ void task_run(const attention_arguments &a, ABSORB_TASK absorb_task)
{
    const lane_rows at = task_find_rows(a);
    uint32_t q[HEAD_DIM / 16][4];
    tile_state<HEAD_DIM> state;
    task_load_queries<HEAD_DIM, T>(q, a, at);
    absorb_task(state, q, at, ALL_QUERIES);
    const bool is_masked = at.task.first_mask != QUEUE_NO_MASK;
    if (!__syncthreads_or(is_masked && tile_has_nan<HEAD_DIM>(state))) {
        task_store<HEAD_DIM, T>(a, at, state, ALL_QUERIES);
        return;
    }
    /* a NaN in a hidden V may have contaminated rows that do not see it: again, one query at a time */
    for (uint32_t query = 0; query < at.task.num_queries; query++) {
        absorb_task(state, q, at, query);
        task_store<HEAD_DIM, T>(a, at, state, query);
    }
}

#endif
