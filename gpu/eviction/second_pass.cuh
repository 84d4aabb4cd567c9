/* A second pass over the tokens, after attention: the scores once more, now that lse is known. Rungs 1 and 2.
 *
 *   keys      the left matrix of mma_16x8x16: 16 tokens, straight from memory into registers. A dot product does not depend
 *             on the order of its terms, so a lane loads 8 neighbouring elements of a key at once, 16 bytes, and the
 *             queries are in the same order:
 *                 lane 4 * t + c   tokens t and t + 8, elements 32 * i + 8 * c .. + 7
 *                                  the first four are k = 2c, 2c + 1, 2c + 8, 2c + 9 of product 2 * i, the others of the
 *                                  next one
 *   queries   the right matrix: 8 columns, of which a GQA group of 4 uses half. Tensor cores, so that arithmetic takes far
 *             less time than the loads
 *   threads   a thread block has a job, and its warp w the KV heads w, w + 8, ...; four lanes share the weights of a token.
 *             No product mixes tokens: a NaN in a hidden key stays with its token */
#ifndef SECOND_PASS_CUH
#define SECOND_PASS_CUH

#include "job.cuh"
#include "mma.cuh"

enum { PASS_WARPS = 8, PASS_TOKENS = 16, PASS_HEADS = 8, PASS_TILES = SCORE_TOKENS / PASS_TOKENS, PASS_ELEMENTS = 32 };

typedef float pass_sums[PASS_WARPS][SCORE_TOKENS];

/* This lane's part of K or V of 16 tokens: of its tokens t (h = 0) and t + 8. */
template <int HEAD_DIM> struct pass_rows {
    uint4 piece[2][HEAD_DIM / PASS_ELEMENTS];
};

template <int HEAD_DIM>
static __device__ __forceinline__ void pass_load(pass_rows<HEAD_DIM> &rows, const void *array, const uint64_t slot[2])
{
#pragma unroll
    for (int i = 0; i < HEAD_DIM / PASS_ELEMENTS; i++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            rows.piece[h][i] = __ldg((const uint4 *)array + slot[h] * (HEAD_DIM / 8) + 4 * i + threadIdx.x % 4);
}

/* This lane's part of the queries of 8 heads, of which it has head lane / 4; rounded to T, as attention does. */
template <int HEAD_DIM> struct pass_queries {
    uint32_t pair[HEAD_DIM / PASS_ELEMENTS][4];
};

/* q_qh: the query of this lane's head; NULL: zeros. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void pass_load_queries(pass_queries<HEAD_DIM> &q, const float *q_qh)
{
#pragma unroll
    for (int i = 0; i < HEAD_DIM / PASS_ELEMENTS; i++) {
        float4 low = make_float4(0, 0, 0, 0), high = low;
        if (q_qh) {
            const float4 *from = (const float4 *)(q_qh + PASS_ELEMENTS * i + 8 * (threadIdx.x % 4));
            low = __ldg(from);
            high = __ldg(from + 1);
        }
        q.pair[i][0] = pack_pair<T>(low.x, low.y);
        q.pair[i][1] = pack_pair<T>(low.z, low.w);
        q.pair[i][2] = pack_pair<T>(high.x, high.y);
        q.pair[i][3] = pack_pair<T>(high.z, high.w);
    }
}

/* score the keys: 16 tokens x 8 heads. score[2 * h + e]: of this lane's token h and head lane % 4 * 2 + e. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void pass_scores(float score[4], const pass_rows<HEAD_DIM> &keys,
                                                   const pass_queries<HEAD_DIM> &q)
{
    score[0] = score[1] = score[2] = score[3] = 0;
#pragma unroll
    for (int i = 0; i < HEAD_DIM / PASS_ELEMENTS; i++) {
        const uint4 k = keys.piece[0][i], k_8 = keys.piece[1][i];
        const uint32_t first[4] = {k.x, k_8.x, k.y, k_8.y}, second[4] = {k.z, k_8.z, k.w, k_8.w};
        mma_16x8x16<T>(score, first, q.pair[i]);
        mma_16x8x16<T>(score, second, q.pair[i] + 2);
    }
}

/* The sum over the four lanes that share a token; all of them get it. */
static __device__ __forceinline__ float pass_sum_lanes(float x)
{
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}

/* sum over d of |value|, of this lane's token h. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ float pass_norm(const pass_rows<HEAD_DIM> &values, int h)
{
    float sum = 0;
#pragma unroll
    for (int i = 0; i < HEAD_DIM / PASS_ELEMENTS; i++)
#pragma unroll
        for (int d = 0; d < 8; d++)
            sum += fabsf(to_float(((const T *)&values.piece[h][i])[d]));
    return pass_sum_lanes(sum);
}

/* Adds to sum[n][h], the importance of this lane's token h of tile n, the part of 8 heads of one KV head: the first of
 * them is query head `head`, num_heads of them exist. */
template <int HEAD_DIM, typename T, bool READS_VALUES>
static __device__ __forceinline__ void pass_add_heads(float sum[PASS_TILES][2], const eviction_arguments &e,
                                                      const score_job &job, const job_token token[PASS_TILES][2],
                                                      uint32_t kv_head, uint32_t head, uint32_t num_heads)
{
    const uint32_t lane = threadIdx.x % WARP, mine = lane / 4, pair = lane % 4 * 2;
    const uint64_t qh = (uint64_t)job.query * e.shape.num_heads + head;
    pass_queries<HEAD_DIM> q;
    pass_load_queries<HEAD_DIM, T>(q, mine < num_heads ? e.query + (qh + mine) * HEAD_DIM : NULL);
    const float lse[2] = {pair < num_heads ? e.lse[qh + pair] : -INFINITY,
                          pair + 1 < num_heads ? e.lse[qh + pair + 1] : -INFINITY};
#pragma unroll
    for (int n = 0; n < PASS_TILES; n++) {
        const uint64_t slot[2] = {job_slot(e, token[n][0], kv_head), job_slot(e, token[n][1], kv_head)};
        pass_rows<HEAD_DIM> keys, values;
        float score[4];
        pass_load<HEAD_DIM>(keys, e.key, slot);
        if (READS_VALUES)
            pass_load<HEAD_DIM>(values, e.value, slot);
        pass_scores<HEAD_DIM, T>(score, keys, q);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const float norm = READS_VALUES ? pass_norm<HEAD_DIM, T>(values, h) : e.norm[slot[h]];
            const float mass = job_weight(score[2 * h] * e.scale, lse[0])
                               + job_weight(score[2 * h + 1] * e.scale, lse[1]);
            sum[n][h] += norm * pass_sum_lanes(mass);
        }
    }
}

template <int HEAD_DIM, typename T, bool READS_VALUES>
static __global__ void __launch_bounds__(PASS_WARPS *WARP) second_pass(const __grid_constant__ eviction_arguments e)
{
    SHARED_VARIABLE(part, pass_sums);
    const score_job job = e.lists.jobs[blockIdx.x];
    const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, num_warps = blockDim.x / WARP;
    const uint32_t group_size = e.shape.num_heads / e.shape.num_kv_heads;

    /* find this lane's tokens */
    job_token token[PASS_TILES][2];
#pragma unroll
    for (int i = 0; i < 2 * PASS_TILES; i++)
        token[i / 2][i % 2] = job_find(e, job, 8 * i + lane / 4);
    job_target target = {};
    if (warp == 0)
        target = job_find_target(e, job);

    /* score the keys, weigh the tokens */
    float sum[PASS_TILES][2] = {};
    for (uint32_t kv_head = warp; kv_head < e.shape.num_kv_heads; kv_head += num_warps) {
        for (uint32_t first = 0; first < group_size; first += PASS_HEADS)
            pass_add_heads<HEAD_DIM, T, READS_VALUES>(sum, e, job, token, kv_head, kv_head * group_size + first,
                                                      group_size - first);
    }
    for (int i = 0; i < 2 * PASS_TILES; i++)
        if (lane % 4 == 0)
            part[warp][8 * i + lane / 4] = sum[i / 2][i % 2];
    __syncthreads();

    /* sum over the groups */
    if (warp > 0)
        return;
    float importance = 0;
    for (uint32_t w = 0; w < num_warps; w++)
        importance += part[w][lane];
    job_finish(e, job, target, importance / ((float)e.shape.num_heads * HEAD_DIM));
}

/* Attention by the last step of its ladder, then the second pass. */
template <int HEAD_DIM, typename T, bool READS_VALUES>
static cudaError_t launch_second_pass(const eviction_arguments &e, cudaStream_t stream)
{
    const uint32_t num_kv_heads = e.shape.num_kv_heads;
    const uint32_t warps = num_kv_heads < PASS_WARPS ? num_kv_heads : (uint32_t)PASS_WARPS;
    cudaError_t error = tree_gpu_last_step(e.shape.storage)->kernels->launch(&e, stream);
    if (error == cudaSuccess)
        error = launch_clear_victims(e, stream);
    if (error == cudaSuccess)
        error = launch_kernel(e.lists.num_jobs, warps * WARP, 0, stream, second_pass<HEAD_DIM, T, READS_VALUES>, e);
    return error;
}

#endif
