/* merge partial states with all loads in flight: up to 32 rows of o are requested at once, and the warp waits for them
 * once. First read by step 13, which says why. The jobs of a warp and the order of a row in memory: merge_ahead.cuh. */
#ifndef MERGE_AT_ONCE_CUH
#define MERGE_AT_ONCE_CUH

#include "merge_ahead.cuh"

/* States of a job: row r belongs to head r % HEADS and to state r / HEADS. Lane i has m and l of row i % ROWS. */
template <int HEAD_DIM, typename T, int HEADS> struct merge_group {
    enum { ROWS = HEAD_DIM <= 128 ? WARP : WARP / 2, STATES = ROWS / HEADS }; /* rows take at most 64 registers */
    merge_row<HEAD_DIM, T> rows[ROWS];
    float m, l;
    uint32_t count; /* states */
};

/* Requests states [first, first + STATES) of the job, or up to its end. */
template <int HEAD_DIM, typename T, int HEADS>
static __device__ __forceinline__ void merge_request(const attention_arguments &a, const merge_cursor &cursor,
                                                     uint32_t first, merge_group<HEAD_DIM, T, HEADS> &group)
{
    enum { ROWS = group.ROWS, STATES = group.STATES };
    const uint32_t num_heads = a.shape.num_heads, head = cursor.head_group * HEADS, left = cursor.range.end - first;
    const uint32_t row = threadIdx.x % ROWS;
    group.count = left < STATES ? left : (uint32_t)STATES;
    group.m = -INFINITY;
    group.l = 0;
    if (row / HEADS < group.count) {
        const uint64_t index = (uint64_t)(first + row / HEADS) * num_heads + head + row % HEADS;
        group.m = __ldcg(&a.m[index]);
        group.l = __ldcg(&a.l[index]);
    }
    const T *from = (const T *)a.o + ((uint64_t)first * num_heads + head) * HEAD_DIM;
#pragma unroll
    for (uint32_t r = 0; r < ROWS; r++) {
        if (r / HEADS < group.count)
            merge_load<HEAD_DIM, T>(group.rows[r], from + r % HEADS * HEAD_DIM);
        if (r % HEADS == HEADS - 1)
            from += num_heads * HEAD_DIM;
    }
}

/* Softmax states of the heads of a job. m, l: those of head lane % HEADS. */
template <int HEAD_DIM, int HEADS> struct merge_sum {
    float m, l, o[HEADS][HEAD_DIM / WARP];
};

/* Waits for m, l and the rows, in this order. */
template <int HEAD_DIM, typename T, int HEADS>
static __device__ __forceinline__ void merge_add(merge_sum<HEAD_DIM, HEADS> &sum,
                                                 const merge_group<HEAD_DIM, T, HEADS> &group)
{
    enum { ROWS = group.ROWS, ELEMENTS = HEAD_DIM / WARP };
    float m = group.m;
#pragma unroll
    for (int distance = HEADS; distance < ROWS; distance *= 2)
        m = fmaxf(m, __shfl_xor_sync(ALL_LANES, m, distance));
    m = fmaxf(m, sum.m);
    const float base = m == -INFINITY ? 0 : m;
    const float rescale = exp2_approx((sum.m - base) * LOG2_E);
    const float weight = group.l * exp2_approx((group.m - base) * LOG2_E);
    float l = weight;
#pragma unroll
    for (int distance = HEADS; distance < ROWS; distance *= 2)
        l += __shfl_xor_sync(ALL_LANES, l, distance);
    sum.m = m;
    sum.l = sum.l * rescale + l;
#pragma unroll
    for (int head = 0; head < HEADS; head++) {
        const float factor = __shfl_sync(ALL_LANES, rescale, head);
#pragma unroll
        for (int j = 0; j < ELEMENTS; j++)
            sum.o[head][j] *= factor;
    }
#pragma unroll
    for (uint32_t r = 0; r < ROWS; r++) {
        if (r / HEADS >= group.count)
            break;
        const float factor = __shfl_sync(ALL_LANES, weight, r);
#pragma unroll
        for (int j = 0; j < ELEMENTS; j++)
            sum.o[r % HEADS][j] += factor * to_float(group.rows[r].x[j]);
    }
}

/* normalize */
template <int HEAD_DIM, int HEADS>
static __device__ __forceinline__ void merge_write(const attention_arguments &a, const merge_cursor &cursor,
                                                   const merge_sum<HEAD_DIM, HEADS> &sum)
{
    const uint64_t qh = (uint64_t)cursor.query * a.shape.num_heads + cursor.head_group * HEADS;
    const float inverse = sum.l == 0 ? 0 : 1 / sum.l;
#pragma unroll
    for (int head = 0; head < HEADS; head++)
        merge_store<HEAD_DIM>(a.out + (qh + head) * HEAD_DIM, sum.o[head], __shfl_sync(ALL_LANES, inverse, head));
    if (a.lse && threadIdx.x % WARP < HEADS)
        a.lse[qh + threadIdx.x % WARP] = sum.m + logf(sum.l);
}

template <int HEAD_DIM, typename T, int HEADS>
static __device__ __forceinline__ void merge_jobs_at_once(const attention_arguments &a, merge_cursor &cursor)
{
    if (cursor.range.end - cursor.range.first == 1)
        merge_next_job(a, cursor, a.shape.num_heads / HEADS);
    while (cursor.query < a.plan.num_queries) {
        merge_sum<HEAD_DIM, HEADS> sum = {};
        sum.m = -INFINITY;
        merge_group<HEAD_DIM, T, HEADS> group;
        for (uint32_t first = cursor.range.first; first < cursor.range.end; first += group.STATES) {
            merge_request<HEAD_DIM, T, HEADS>(a, cursor, first, group);
            merge_add<HEAD_DIM, T, HEADS>(sum, group);
        }
        merge_write<HEAD_DIM, HEADS>(a, cursor, sum);
        merge_next_job(a, cursor, a.shape.num_heads / HEADS);
    }
}

/* All jobs of a warp. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void merge_all_at_once(const attention_arguments &a, merge_cursor &cursor)
{
    if (cursor.heads == 4)
        merge_jobs_at_once<HEAD_DIM, T, 4>(a, cursor);
    else
        merge_jobs_at_once<HEAD_DIM, T, 1>(a, cursor);
}

#endif
