/* merge partial states with many loads in flight: the states of a query, in the order of its list, become out and lse.
 * First read by step 7, which says why.
 *   threads a warp merges one query and head at a time, or one query and 4 heads if there are more queries x heads than
 *           warps. A lane has head_dim / 32 elements of each row of o. Eight rows of o are requested at once, and the
 *           next eight before these are added up. Lane i computes the weight of row i % 8: l x exp(m - largest m)
 *   order   rows of partial o are in fragment order */
#ifndef MERGE_AHEAD_CUH
#define MERGE_AHEAD_CUH

#include "device.cuh"

#include <math.h>

#include "gpu_internal.h"
#include "mma.cuh"

/* The states of a query: [first, end). Stored as two bounds: a count would stall on both loads. */
struct merge_range {
    uint32_t first, end;
};

/* One warp's share of the merge jobs. A job is a query and `heads` of its heads, a head group. */
struct merge_cursor {
    uint32_t heads;                  /* of a job: 1 or 4 */
    uint32_t query, head_group;      /* of the current job */
    uint32_t query_step, group_step; /* from one job of the warp to the next */
    uint32_t done;                   /* number of states of the job that were requested */
    bool is_over;                    /* all states of the job were requested */
    merge_range range, next;         /* of the job; of the next job, being loaded */
};

static __device__ __forceinline__ merge_range merge_load_range(const attention_arguments &a, uint32_t query)
{
    if (query >= a.plan.num_queries)
        return {0, 0};
    return {__ldg(&a.plan.merge_first[query]), __ldg(&a.plan.merge_first[query + 1])};
}

/* The query of the warp's next job. */
static __device__ __forceinline__ uint32_t query_of_next_job(const merge_cursor &cursor, uint32_t num_groups)
{
    return cursor.query + cursor.query_step + (cursor.head_group + cursor.group_step >= num_groups);
}

/* Goes to the next job. Skips queries with one state: their task has written the result. */
static __device__ __forceinline__ void merge_next_job(const attention_arguments &a, merge_cursor &cursor,
                                                      uint32_t num_groups)
{
    do {
        cursor.range = cursor.next;
        cursor.query = query_of_next_job(cursor, num_groups);
        cursor.head_group += cursor.group_step;
        cursor.head_group -= cursor.head_group >= num_groups ? num_groups : 0;
        cursor.next = merge_load_range(a, query_of_next_job(cursor, num_groups));
    } while (cursor.range.end - cursor.range.first == 1 && cursor.query < a.plan.num_queries);
    cursor.done = 0;
    cursor.is_over = false;
}

/* The cursor of warp n, before its first job. Reads only the plan, so it may be called before any state is written. */
static __device__ __forceinline__ merge_cursor merge_start(const attention_arguments &a, uint32_t n, uint32_t num_warps)
{
    const uint32_t num_heads = a.shape.num_heads;
    merge_cursor cursor = {};
    /* below 2^31: check_arguments */
    cursor.heads = a.plan.num_queries * num_heads > num_warps && num_heads % 4 == 0 ? 4 : 1;
    const uint32_t num_groups = num_heads / cursor.heads;
    cursor.query_step = num_warps / num_groups;
    cursor.group_step = num_warps % num_groups;
    cursor.query = n / num_groups;
    cursor.head_group = n % num_groups;
    cursor.range = merge_load_range(a, cursor.query);
    cursor.next = merge_load_range(a, query_of_next_job(cursor, num_groups));
    return cursor;
}

/* ---- rows of o ---- */

/* Fragment order: of each 32 elements, the four pairs that the matrix instructions leave in one lane (mma.cuh) are
 * neighbours. So a lane writes 16 bytes at once, and four lanes 64. Smaller writes would fill a sector of 32 bytes only
 * in part, and L2 would load the rest of it from memory. */
struct fragment_order {
    /* The place of an even element. Its own inverse: pairs of elements form a 4 x 4 matrix, which it transposes. */
    static __device__ __forceinline__ uint32_t place(uint32_t x)
    {
        return x / 32 * 32 + x % 8 / 2 * 8 + x % 32 / 8 * 2;
    }

    template <int HEAD_DIM, typename T>
    static __device__ __forceinline__ void write_fragment(T *row, const float o[HEAD_DIM / 8][4], int first,
                                                          float factor)
    {
        T *mine = row + place(threadIdx.x % 4 * 2);
#pragma unroll
        for (int j = 0; j < HEAD_DIM / 8; j += 4) {
            uint32_t x[4];
#pragma unroll
            for (int i = 0; i < 4; i++)
                x[i] = pack_pair<T>(o[j + i][first] * factor, o[j + i][first + 1] * factor);
            __stcg((uint4 *)(mine + 8 * j), make_uint4(x[0], x[1], x[2], x[3]));
        }
    }

    template <typename T> static __device__ __forceinline__ void write_four(T *row, uint32_t element, float4 x)
    {
        __stcg((uint32_t *)(row + place(element)), pack_pair<T>(x.x, x.y));
        __stcg((uint32_t *)(row + place(element + 2)), pack_pair<T>(x.z, x.w));
    }
};

/* A lane's elements of a row, 4, 8 or 16 bytes: those at places lane * ELEMENTS, + 1, ... */
template <int HEAD_DIM, typename T> struct merge_row {
    enum { ELEMENTS = HEAD_DIM / WARP };
    T x[ELEMENTS];
};

/* Bypasses L1, which may hold stale data of an earlier launch. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void merge_load(merge_row<HEAD_DIM, T> &row, const T *from)
{
    const T *mine = from + threadIdx.x % WARP * merge_row<HEAD_DIM, T>::ELEMENTS;
    if constexpr (sizeof row == 16) {
        const uint4 x = __ldcg((const uint4 *)mine);
        memcpy(&row, &x, sizeof x);
    } else if constexpr (sizeof row == 8) {
        const uint2 x = __ldcg((const uint2 *)mine);
        memcpy(&row, &x, sizeof x);
    } else {
        const uint32_t x = __ldcg((const uint32_t *)mine);
        memcpy(&row, &x, sizeof x);
    }
}

/* Writes the same elements of out, each times factor. */
template <int HEAD_DIM>
static __device__ __forceinline__ void merge_store(float *to, const float sum[HEAD_DIM / WARP], float factor)
{
    enum { ELEMENTS = HEAD_DIM / WARP };
#pragma unroll
    for (int j = 0; j < ELEMENTS; j += 2)
        *(float2 *)(to + fragment_order::place(threadIdx.x % WARP * ELEMENTS + j)) =
            make_float2(sum[j] * factor, sum[j + 1] * factor);
}

/* ---- eight rows at a time ---- */

enum { MERGE_ROWS = 8 };

/* States of a job, being loaded: row r belongs to head r % HEADS and to state r / HEADS. */
template <int HEAD_DIM, typename T> struct merge_batch {
    merge_row<HEAD_DIM, T> rows[MERGE_ROWS];
    float m, l;             /* of row lane % MERGE_ROWS */
    uint32_t count;         /* states */
    uint64_t qh;            /* query * num_heads + first head */
    bool is_first, is_last; /* whether it has the query's first state, its last */
};

/* Requests the next states of the warp's jobs. If there are none, count is 0 and is_last is false. */
template <int HEAD_DIM, typename T, int HEADS>
static __device__ __forceinline__ void merge_fetch(const attention_arguments &a, merge_cursor &cursor,
                                                   merge_batch<HEAD_DIM, T> &batch)
{
    const uint32_t lane = threadIdx.x % WARP, num_heads = a.shape.num_heads;
    batch.count = 0;
    batch.is_last = false;
    if (cursor.is_over || cursor.range.end - cursor.range.first == 1)
        merge_next_job(a, cursor, num_heads / HEADS);
    if (cursor.query >= a.plan.num_queries)
        return;
    const uint32_t first = cursor.range.first + cursor.done, left = cursor.range.end - first;
    batch.qh = (uint64_t)cursor.query * num_heads + cursor.head_group * HEADS;
    batch.count = left < MERGE_ROWS / HEADS ? left : MERGE_ROWS / HEADS;
    batch.is_first = cursor.done == 0;
    batch.is_last = cursor.is_over = batch.count == left;
    cursor.done += batch.count;

    const uint32_t state = lane % MERGE_ROWS / HEADS;
    batch.m = -INFINITY;
    batch.l = 0;
    if (state < batch.count) {
        const uint64_t index = (uint64_t)(first + state) * num_heads + cursor.head_group * HEADS + lane % HEADS;
        batch.m = __ldcg(&a.m[index]);
        batch.l = __ldcg(&a.l[index]);
    }
    const T *from = (const T *)a.o + ((uint64_t)first * num_heads + cursor.head_group * HEADS) * HEAD_DIM;
#pragma unroll
    for (uint32_t r = 0; r < MERGE_ROWS; r++) {
        if (r / HEADS < batch.count) {
            merge_load<HEAD_DIM, T>(batch.rows[r], from + r % HEADS * HEAD_DIM);
            if (r % HEADS == HEADS - 1)
                from += num_heads * HEAD_DIM;
        }
    }
}

/* Softmax states of the heads of a job. m, l: those of head lane % HEADS. */
template <int HEAD_DIM, int HEADS> struct merge_state {
    float m, l, o[HEADS][HEAD_DIM / WARP];
};

template <int HEAD_DIM, typename T, int HEADS>
static __device__ __forceinline__ void merge_absorb(const attention_arguments &a, merge_state<HEAD_DIM, HEADS> &state,
                                                    const merge_batch<HEAD_DIM, T> &batch)
{
    enum { ELEMENTS = HEAD_DIM / WARP };
    const uint32_t lane = threadIdx.x % WARP;
    const float m = batch.is_first ? -INFINITY : state.m;
    float new_m = batch.m;
#pragma unroll
    for (int distance = HEADS; distance < MERGE_ROWS; distance *= 2)
        new_m = fmaxf(new_m, __shfl_xor_sync(ALL_LANES, new_m, distance));
    new_m = fmaxf(new_m, m);
    const float base = new_m == -INFINITY ? 0 : new_m;
    const float rescale = exp2_approx((m - base) * LOG2_E);
    const float weight = batch.l * exp2_approx((batch.m - base) * LOG2_E);
    float sum = weight;
#pragma unroll
    for (int distance = HEADS; distance < MERGE_ROWS; distance *= 2)
        sum += __shfl_xor_sync(ALL_LANES, sum, distance);
    state.m = new_m;
    state.l = (batch.is_first ? 0 : state.l * rescale) + sum;
#pragma unroll
    for (int head = 0; head < HEADS; head++) {
        const float factor = __shfl_sync(ALL_LANES, rescale, head);
#pragma unroll
        for (int j = 0; j < ELEMENTS; j++)
            state.o[head][j] = batch.is_first ? 0 : state.o[head][j] * factor;
    }
#pragma unroll
    for (uint32_t r = 0; r < MERGE_ROWS; r++) {
        if (r / HEADS >= batch.count)
            break;
        const float factor = __shfl_sync(ALL_LANES, weight, r);
#pragma unroll
        for (int j = 0; j < ELEMENTS; j++)
            state.o[r % HEADS][j] += factor * to_float(batch.rows[r].x[j]);
    }
    if (!batch.is_last)
        return;

    /* normalize */
    const float inverse = state.l == 0 ? 0 : 1 / state.l;
#pragma unroll
    for (int head = 0; head < HEADS; head++)
        merge_store<HEAD_DIM>(a.out + (batch.qh + head) * HEAD_DIM, state.o[head],
                              __shfl_sync(ALL_LANES, inverse, head));
    if (a.lse && lane < HEADS)
        a.lse[batch.qh + lane] = state.m + logf(state.l);
}

template <int HEAD_DIM, typename T, int HEADS>
static __device__ __forceinline__ void merge_jobs(const attention_arguments &a, merge_cursor &cursor)
{
    merge_state<HEAD_DIM, HEADS> state = {};
    merge_batch<HEAD_DIM, T> batch = {}, next;
    do {
        merge_fetch<HEAD_DIM, T, HEADS>(a, cursor, next);
        if (batch.count || batch.is_last)
            merge_absorb<HEAD_DIM, T, HEADS>(a, state, batch);
        batch = next;
    } while (batch.count || batch.is_last);
}

/* All jobs of a warp. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void merge_all(const attention_arguments &a, merge_cursor &cursor)
{
    if (cursor.heads == 4)
        merge_jobs<HEAD_DIM, T, 4>(a, cursor);
    else
        merge_jobs<HEAD_DIM, T, 1>(a, cursor);
}

#endif
