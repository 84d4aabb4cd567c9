/* merge partial states: a query's states, in the order of its list, become out and lse. Steps 0 to 6 launch it as a
 * second kernel; from step 7 on, the kernel that makes the states calls merge_begin and merge_all itself.
 *   threads one warp for each query and head; for 4 heads, if there are more of them than warps. Eight rows of o are
 *           asked for at once, and eight more before they are added up; each lane has head_dim / 32 elements of a row.
 *           Lane i weighs row i % 8: l x exp(m - largest m)
 *   price   a trip to the L2 cache, in which a warp that has one query does nothing else. So only that trip is waited
 *           for: lists are read before the states are there, and o goes straight to the registers that add it up */
#ifndef MERGE_AHEAD_CUH
#define MERGE_AHEAD_CUH

#include "device.cuh"

#include <math.h>

#include "gpu_internal.h"
#include "mma.cuh"

enum { MERGE_WARP = 32, MERGE_WARPS = 4 };
#define MERGE_ALL_LANES 0xffffffffu

/* The states of a query: [first, end). No count: to subtract would be to wait for both. */
struct merge_list {
    uint32_t first, end;
};

/* What a warp has to merge: of jobs 0, 1, ..., of which a query has num_heads / heads, those of one warp. */
struct merge_place {
    uint32_t heads;            /* at once: 1 or 4 */
    uint32_t query, part;      /* of the job */
    uint32_t step, step_part;  /* from a warp's job to its next: queries, and parts besides */
    uint32_t done;             /* states of the job that were asked for */
    bool is_over;              /* the job */
    merge_list list, next;     /* of the job; of the one after it, on its way */
};

static __device__ __forceinline__ merge_list merge_ask(const attention_arguments &a, uint32_t query)
{
    if (query >= a.plan.num_queries)
        return {0, 0};
    return {__ldg(&a.plan.merge_first[query]), __ldg(&a.plan.merge_first[query + 1])};
}

/* The query of the warp's next job. */
static __device__ __forceinline__ uint32_t merge_query_after(const merge_place &at, uint32_t parts)
{
    return at.query + at.step + (at.part + at.step_part >= parts);
}

/* To the next job; past queries with one state, which have their result already if QUEUED. */
template <bool QUEUED>
static __device__ __forceinline__ void merge_next_job(const attention_arguments &a, merge_place &at, uint32_t parts)
{
    do {
        at.list = at.next;
        at.query = merge_query_after(at, parts);
        at.part += at.step_part;
        at.part -= at.part >= parts ? parts : 0;
        at.next = merge_ask(a, merge_query_after(at, parts));
    } while (QUEUED && at.list.end - at.list.first == 1 && at.query < a.plan.num_queries);
    at.done = 0;
    at.is_over = false;
}

/* Before the first job of warp n. Reads the plan alone, so that it may be called before the states are there. */
static __device__ __forceinline__ merge_place merge_begin(const attention_arguments &a, uint32_t n, uint32_t num_warps)
{
    const uint32_t num_heads = a.shape.num_heads;
    merge_place at = {};
    at.heads = a.plan.num_queries * num_heads > num_warps && num_heads % 4 == 0 ? 4 : 1; /* below 2^31: steps.cu */
    const uint32_t parts = num_heads / at.heads;
    at.step = num_warps / parts;
    at.step_part = num_warps % parts;
    at.query = n / parts;
    at.part = n % parts;
    at.list = merge_ask(a, at.query);
    at.next = merge_ask(a, merge_query_after(at, parts));
    return at;
}

/* ---- rows of o: a lane has PIECE neighbouring elements, and those of each MERGE_WARP * PIECE further on ---- */

template <int HEAD_DIM, typename T> struct merge_row {
    enum { ELEMENTS = HEAD_DIM / MERGE_WARP, MOST = 16 / sizeof(T), PIECE = ELEMENTS < MOST ? ELEMENTS : MOST };
    enum { BYTES = ELEMENTS * sizeof(T), AT_ONCE = BYTES <= 16 ? 8 : 4 }; /* rows; registers decide */
    T x[ELEMENTS];
};

/* Past L1, which may hold what another launch left there. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void merge_load(merge_row<HEAD_DIM, T> &row, const T *from)
{
    enum { PIECE = merge_row<HEAD_DIM, T>::PIECE, BYTES = PIECE * sizeof(T) };
#pragma unroll
    for (int j = 0; j < merge_row<HEAD_DIM, T>::ELEMENTS; j += PIECE) {
        const T *piece = from + threadIdx.x % MERGE_WARP * PIECE + j * MERGE_WARP;
        if constexpr (BYTES == 16) {
            uint4 x = __ldcg((const uint4 *)piece);
            memcpy(&row.x[j], &x, sizeof x);
        } else if constexpr (BYTES == 8) {
            uint2 x = __ldcg((const uint2 *)piece);
            memcpy(&row.x[j], &x, sizeof x);
        } else {
            uint32_t x = __ldcg((const uint32_t *)piece);
            memcpy(&row.x[j], &x, sizeof x);
        }
    }
}

/* From step 6 on, rows of o lie as the matrix instructions leave them: of each 32 elements, the four pairs of a lane
 * (mma.cuh) behind each other, so that it writes 16 bytes at once: less than 32 neighbouring bytes at a time would make
 * L2 ask memory for the rest. Where an even element lies, or which lies there. */
static __device__ __forceinline__ uint32_t merge_turned(uint32_t x)
{
    return x / 32 * 32 + x % 8 / 2 * 8 + x % 32 / 8 * 2;
}

/* The same elements of out, each times factor. */
template <int HEAD_DIM, typename T, bool QUEUED>
static __device__ __forceinline__ void merge_store(float *to, const sum_type<T> *sum, float factor)
{
    enum { PIECE = merge_row<HEAD_DIM, T>::PIECE };
#pragma unroll
    for (int j = 0; j < HEAD_DIM / MERGE_WARP; j += 2) {
        uint32_t place = (j / PIECE * MERGE_WARP + threadIdx.x % MERGE_WARP) * PIECE + j % PIECE;
        *(float2 *)(to + (QUEUED ? merge_turned(place) : place)) =
            make_float2((float)sum[j] * factor, (float)sum[j + 1] * factor);
    }
}

/* ---- AT_ONCE rows at a time ---- */

/* States of a job, on their way: row r is of head r % HEADS and of state r / HEADS. */
template <int HEAD_DIM, typename T> struct merge_batch {
    merge_row<HEAD_DIM, T> rows[merge_row<HEAD_DIM, T>::AT_ONCE];
    float m, l; /* of row lane % AT_ONCE */
    uint32_t count;         /* states */
    uint64_t place;         /* of the first head in lse */
    bool is_first, is_last; /* of the query's states */
};

/* Asks for the next states. count 0 and !is_last: there are none. */
template <int HEAD_DIM, typename T, bool QUEUED, int HEADS>
static __device__ __forceinline__ void merge_fetch(const attention_arguments &a, merge_place &at,
                                                   merge_batch<HEAD_DIM, T> &batch)
{
    enum { ROWS = merge_row<HEAD_DIM, T>::AT_ONCE };
    const uint32_t lane = threadIdx.x % MERGE_WARP, num_heads = a.shape.num_heads;
    batch.count = 0;
    batch.is_last = false;
    if (at.is_over || (QUEUED && at.list.end - at.list.first == 1))
        merge_next_job<QUEUED>(a, at, num_heads / HEADS);
    if (at.query >= a.plan.num_queries)
        return;
    const uint32_t first = at.list.first + at.done, left = at.list.end - first;
    batch.place = (uint64_t)at.query * num_heads + at.part * HEADS;
    batch.count = left < ROWS / HEADS ? left : ROWS / HEADS;
    batch.is_first = at.done == 0;
    batch.is_last = at.is_over = batch.count == left;
    at.done += batch.count;

    const uint32_t *ids = a.plan.merge_partials + first;
    const uint32_t state = lane % ROWS / HEADS;
    batch.m = -INFINITY;
    batch.l = 0;
    if (state < batch.count) {
        uint64_t place = (uint64_t)(QUEUED ? first + state : __ldg(ids + state)) * num_heads + at.part * HEADS
                         + lane % HEADS;
        batch.m = __ldcg(&a.m[place]);
        batch.l = __ldcg(&a.l[place]);
    }
    const T *from = (const T *)a.o + ((uint64_t)first * num_heads + at.part * HEADS) * HEAD_DIM;
#pragma unroll
    for (uint32_t r = 0; r < ROWS; r++) {
        if (r / HEADS < batch.count) {
            if (!QUEUED)
                from = (const T *)a.o + ((uint64_t)__ldg(ids + r / HEADS) * num_heads + at.part * HEADS) * HEAD_DIM;
            merge_load<HEAD_DIM, T>(batch.rows[r], from + r % HEADS * HEAD_DIM);
            if (QUEUED && r % HEADS == HEADS - 1)
                from += num_heads * HEAD_DIM;
        }
    }
}

/* Softmax states of the heads of a job. m, l: of head lane % HEADS. */
template <int HEAD_DIM, typename T, int HEADS> struct merge_state {
    float m;
    sum_type<T> l, o[HEADS][HEAD_DIM / MERGE_WARP];
};

/* exp(x), as exact as the sum that it is multiplied into. */
template <typename SUM> static __device__ __forceinline__ SUM merge_exp(float x);
template <> __device__ __forceinline__ float merge_exp<float>(float x) { return exp2_approx(x * LOG2_E); }
template <> __device__ __forceinline__ double merge_exp<double>(float x) { return exp((double)x); }

template <int HEAD_DIM, typename T, bool QUEUED, int HEADS>
static __device__ __forceinline__ void merge_absorb(const attention_arguments &a,
                                                    merge_state<HEAD_DIM, T, HEADS> &state,
                                                    const merge_batch<HEAD_DIM, T> &batch)
{
    enum { ELEMENTS = merge_row<HEAD_DIM, T>::ELEMENTS, ROWS = merge_row<HEAD_DIM, T>::AT_ONCE };
    const uint32_t lane = threadIdx.x % MERGE_WARP;
    float m = batch.is_first ? -INFINITY : state.m, new_m = batch.m;
#pragma unroll
    for (int distance = HEADS; distance < ROWS; distance *= 2)
        new_m = fmaxf(new_m, __shfl_xor_sync(MERGE_ALL_LANES, new_m, distance));
    new_m = fmaxf(new_m, m);
    const float base = new_m == -INFINITY ? 0 : new_m;
    const sum_type<T> rescale = merge_exp<sum_type<T>>(m - base);
    const sum_type<T> weight = batch.l * merge_exp<sum_type<T>>(batch.m - base);
    sum_type<T> sum = weight;
#pragma unroll
    for (int distance = HEADS; distance < ROWS; distance *= 2)
        sum += __shfl_xor_sync(MERGE_ALL_LANES, sum, distance);
    state.m = new_m;
    state.l = (batch.is_first ? 0 : state.l * rescale) + sum;
#pragma unroll
    for (int head = 0; head < HEADS; head++) {
        const sum_type<T> factor = __shfl_sync(MERGE_ALL_LANES, rescale, head);
#pragma unroll
        for (int j = 0; j < ELEMENTS; j++)
            state.o[head][j] = batch.is_first ? 0 : state.o[head][j] * factor;
    }
#pragma unroll
    for (uint32_t r = 0; r < ROWS; r++) {
        if (r / HEADS >= batch.count)
            break;
        const sum_type<T> factor = __shfl_sync(MERGE_ALL_LANES, weight, r);
#pragma unroll
        for (int j = 0; j < ELEMENTS; j++)
            state.o[r % HEADS][j] += factor * to_float(batch.rows[r].x[j]);
    }
    if (!batch.is_last)
        return;

    /* normalize */
    const float l = (float)state.l, inverse = l == 0 ? 0 : 1 / l;
#pragma unroll
    for (int head = 0; head < HEADS; head++)
        merge_store<HEAD_DIM, T, QUEUED>(a.out + (batch.place + head) * HEAD_DIM, state.o[head],
                                         __shfl_sync(MERGE_ALL_LANES, inverse, head));
    if (a.lse && lane < HEADS)
        a.lse[batch.place + lane] = state.m + logf(l);
}

template <int HEAD_DIM, typename T, bool QUEUED, int HEADS>
static __device__ __forceinline__ void merge_jobs(const attention_arguments &a, merge_place &at)
{
    merge_state<HEAD_DIM, T, HEADS> state = {};
    merge_batch<HEAD_DIM, T> batch = {}, next;
    do {
        merge_fetch<HEAD_DIM, T, QUEUED, HEADS>(a, at, next);
        if (batch.count || batch.is_last)
            merge_absorb<HEAD_DIM, T, QUEUED, HEADS>(a, state, batch);
        batch = next;
    } while (batch.count || batch.is_last);
}

/* All that a warp has to merge. */
template <int HEAD_DIM, typename T, bool QUEUED>
static __device__ __forceinline__ void merge_all(const attention_arguments &a, merge_place &at)
{
    if (at.heads == 4)
        merge_jobs<HEAD_DIM, T, QUEUED, 4>(a, at);
    else
        merge_jobs<HEAD_DIM, T, QUEUED, 1>(a, at);
}

template <int HEAD_DIM, typename T, bool QUEUED> static __global__ void merge(attention_arguments a)
{
    uint32_t warps = blockDim.x / MERGE_WARP;
    merge_place at = merge_begin(a, blockIdx.x * warps + threadIdx.x / MERGE_WARP, gridDim.x * warps);
    merge_all<HEAD_DIM, T, QUEUED>(a, at);
}

template <int HEAD_DIM, typename T, bool QUEUED = false>
static cudaError_t launch_merge(const attention_arguments &a, cudaStream_t stream)
{
    uint64_t num_warps = (uint64_t)a.plan.num_queries * a.shape.num_heads;
    return launch_kernel((uint32_t)((num_warps + MERGE_WARPS - 1) / MERGE_WARPS), MERGE_WARPS * MERGE_WARP, 0, stream,
                         merge<HEAD_DIM, T, QUEUED>, a);
}

#endif
