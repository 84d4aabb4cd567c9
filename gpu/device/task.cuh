/* A thread block's task: steps 4 and 5. */
#ifndef TASK_CUH
#define TASK_CUH

#include "tile.cuh"

/* ---- from step 4: the rows of a thread block that has one task and one KV head, 16 for each of its warps ---- */

/* What this lane works on: of its two rows, h = 0 and 1, the query row in the task and the head. */
struct lane_rows {
    queue_task task;
    uint32_t kv_head, row[2], head[2]; /* row at or past task.num_queries: none */
    uint32_t mask_row[2];              /* whose masks they obey: the same; none: the last row's */
};

/* Thread block n has task n / num_kv_heads and KV head n % num_kv_heads; the tile's rows are the task's rows times its
 * query heads, 16 of them a warp. */
static __device__ __forceinline__ lane_rows tile_find_rows(const attention_arguments &a)
{
    lane_rows at;
    uint32_t group_size = a.shape.num_heads / a.shape.num_kv_heads;
    at.task = a.queue.tasks[blockIdx.x / a.shape.num_kv_heads];
    at.kv_head = blockIdx.x % a.shape.num_kv_heads;
    for (int h = 0; h < 2; h++) {
        uint32_t tile_row = threadIdx.x / TILE_WARP * SLICE_ROWS + threadIdx.x % TILE_WARP / 4 + 8 * h;
        at.row[h] = tile_row / at.task.num_heads;
        at.head[h] = at.kv_head * group_size + at.task.first_head + tile_row % at.task.num_heads;
        at.mask_row[h] = at.row[h] < at.task.num_queries ? at.row[h] : at.task.num_queries - 1u;
    }
    return at;
}

/* The lane's part of the queries. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void tile_load_queries(uint32_t q[HEAD_DIM / 16][4], const attention_arguments &a,
                                                         const lane_rows &at)
{
    const float *from[2] = {NULL, NULL};
    for (int h = 0; h < 2; h++) {
        if (at.row[h] < at.task.num_queries) {
            uint64_t query = a.queue.queries[at.task.first_partial + at.row[h]].query;
            from[h] = a.query + (query * a.shape.num_heads + at.head[h]) * HEAD_DIM;
        }
    }
    tile_floats<HEAD_DIM> x;
    tile_load<HEAD_DIM>(x, from[0], from[1]);
    tile_round<HEAD_DIM, T>(q, x, a.scale);
}

/* Whether the row sees token t of the task; ALL_ROWS: every token is wanted. */
static __device__ __forceinline__ bool tile_row_sees(const attention_arguments &a, const queue_task &task, uint32_t row,
                                                     uint32_t t)
{
    return row == ALL_ROWS || a.queue.masks[task.first_mask + t] >> row & 1;
}

/* Writes the partial states of all rows or of one; after tile_sum_rows. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void tile_store(const attention_arguments &a, const lane_rows &at,
                                                  const tile_state<HEAD_DIM> &state, uint32_t only_row)
{
    uint32_t pair = threadIdx.x % 4 * 2;
    for (int h = 0; h < 2; h++) {
        if (at.row[h] >= at.task.num_queries || (only_row != ALL_ROWS && at.row[h] != only_row))
            continue;
        uint64_t partial = ((uint64_t)at.task.first_partial + at.row[h]) * a.shape.num_heads + at.head[h];
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

/* Index of the first element of K and V of an entry of queue.kv_slots. */
template <int HEAD_DIM>
static __device__ __forceinline__ uint64_t tile_offset(const tree_shape &shape, uint32_t token, uint32_t kv_head)
{
    return ((uint64_t)token + kv_head * shape.block_tokens) * HEAD_DIM;
}

#endif
