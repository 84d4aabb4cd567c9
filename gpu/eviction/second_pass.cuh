/* A second pass over the tokens, after attention: the scores once more, now that lse is known. Rungs 1 and 2.
 *
 *   keys      the left matrix of mma_16x8x16: 16 tokens, straight from memory into registers. A dot product does not
 *             depend on the order of its terms, so a lane loads 8 neighbouring elements of a key at once, 16 bytes, and
 *             the queries are in the same order:
 *                 lane 4 * t + c   tokens t and t + 8, elements 32 * i + 8 * c .. + 7
 *                                  the first four are k = 2c, 2c + 1, 2c + 8, 2c + 9 of product 2 * i, the others of
 *                                  the next one
 *   queries   the right matrix: 8 columns, of which a GQA group of 4 uses half. Tensor cores, so that arithmetic takes
 *             far less time than the loads
 *   threads   a thread block has up to 4 jobs, neighbours in the list and so mostly of one query, which is loaded once
 *             for all of them; warp w has the KV heads w, w + 8, ...; four lanes share the weights of a token. No
 *             product mixes tokens: a NaN in a hidden key stays with its token */
#ifndef SECOND_PASS_CUH
#define SECOND_PASS_CUH

#include "job.cuh"
#include "mma.cuh"

enum {
    PASS_WARPS = 8,
    PASS_JOBS = 4,      /* most jobs of a thread block */
    PASS_TOKENS = 16,   /* of a product: a tile */
    PASS_HEADS = 8,     /* of a product */
    PASS_ELEMENTS = 32, /* of a key in one load of four lanes */
    PASS_TILES = SCORE_TOKENS / PASS_TOKENS
};

struct pass_shared {
    uint32_t query[PASS_JOBS], slot[PASS_JOBS][SCORE_TOKENS]; /* slots as job_token.slot */
    float sum[PASS_WARPS][PASS_JOBS][SCORE_TOKENS]; /* norm x mass, summed over the KV heads of a warp */
};

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

/* The weight of a token for one head: exp(score x scale - lse), at most 1 but for rounding. The product is not rounded;
 * lse is, to a float: at 10^4 by 2^-11, and weights by as much. */
static __device__ __forceinline__ float pass_weight(float score, float scale, float lse)
{
    return lse == -INFINITY ? 0 : expf(fmaf(score, scale, -lse));
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

/* This lane's part of a query: of the 8 heads from `head` on, of which num_heads exist. */
template <int HEAD_DIM> struct pass_row {
    pass_queries<HEAD_DIM> q;
    float lse[2]; /* of heads lane % 4 * 2 and the next one */
};

template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void pass_load_row(pass_row<HEAD_DIM> &row, const eviction_arguments &e,
                                                     uint32_t query, uint32_t head, uint32_t num_heads)
{
    const uint32_t mine = threadIdx.x % WARP / 4, pair = threadIdx.x % 4 * 2;
    const uint64_t qh = (uint64_t)query * e.shape.num_heads + head;
    pass_load_queries<HEAD_DIM, T>(row.q, mine < num_heads ? e.query + (qh + mine) * HEAD_DIM : NULL);
#pragma unroll
    for (int i = 0; i < 2; i++)
        row.lse[i] = pair + i < num_heads ? e.lse[qh + pair + i] : -INFINITY;
}

/* Adds norm x mass of a job's tokens, for 8 heads of one KV head, to sum[token]. */
template <int HEAD_DIM, typename T, bool READS_VALUES>
static __device__ __forceinline__ void pass_add_heads(float sum[SCORE_TOKENS], const eviction_arguments &e,
                                                      const uint32_t slots[SCORE_TOKENS], uint32_t kv_head,
                                                      const pass_row<HEAD_DIM> &row)
{
    const uint32_t lane = threadIdx.x % WARP;
#pragma unroll
    for (int n = 0; n < PASS_TILES; n++) {
        const uint32_t token = n * PASS_TOKENS + lane / 4;
        const uint64_t slot[2] = {job_slot(e, slots[token], kv_head), job_slot(e, slots[token + 8], kv_head)};
        pass_rows<HEAD_DIM> keys, values;
        float score[4];
        pass_load<HEAD_DIM>(keys, e.key, slot);
        if (READS_VALUES)
            pass_load<HEAD_DIM>(values, e.value, slot);
        pass_scores<HEAD_DIM, T>(score, keys, row.q);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const float norm = READS_VALUES ? pass_norm<HEAD_DIM, T>(values, h) : e.norm[slot[h]];
            const float mass = pass_sum_lanes(pass_weight(score[2 * h], e.scale, row.lse[0])
                                              + pass_weight(score[2 * h + 1], e.scale, row.lse[1]));
            if (lane % 4 == 0)
                sum[token + 8 * h] += norm * mass;
        }
    }
}

/* Thread block n has the jobs from n * num_jobs on, at most as many as it has warps: warp w finds the tokens of job w,
 * then scores all jobs, then finishes job w. */
template <int HEAD_DIM, typename T, bool READS_VALUES>
static __global__ void __launch_bounds__(PASS_WARPS *WARP)
    second_pass(const __grid_constant__ eviction_arguments e, uint32_t num_jobs)
{
    SHARED_VARIABLE(shared, pass_shared);
    const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, num_warps = blockDim.x / WARP;
    const uint32_t first_job = blockIdx.x * num_jobs, group_size = e.shape.num_heads / e.shape.num_kv_heads;
    num_jobs = e.lists.num_jobs - first_job < num_jobs ? e.lists.num_jobs - first_job : num_jobs;

    /* find the tokens */
    score_job job = {};
    job_target target = {};
    if (warp < num_jobs) {
        job = e.lists.jobs[first_job + warp];
        shared.query[warp] = job.query;
        shared.slot[warp][lane] = job_find(e, job, lane).slot;
        target = job_find_target(e, job);
    }
    for (uint32_t j = 0; j < num_jobs; j++)
        shared.sum[warp][j][lane] = 0;
    __syncthreads();

    /* score the keys, weigh the tokens */
    for (uint32_t kv_head = warp; kv_head < e.shape.num_kv_heads; kv_head += num_warps) {
        for (uint32_t first = 0; first < group_size; first += PASS_HEADS) {
            pass_row<HEAD_DIM> row;
            for (uint32_t j = 0; j < num_jobs; j++) {
                if (j == 0 || shared.query[j] != shared.query[j - 1])
                    pass_load_row<HEAD_DIM, T>(row, e, shared.query[j], kv_head * group_size + first,
                                               group_size - first);
                pass_add_heads<HEAD_DIM, T, READS_VALUES>(shared.sum[warp][j], e, shared.slot[j], kv_head, row);
            }
        }
    }
    __syncthreads();

    /* sum over the groups */
    if (warp >= num_jobs)
        return;
    float importance = 0;
    for (uint32_t w = 0; w < num_warps; w++)
        importance += shared.sum[w][warp][lane];
    job_finish(e, job, target, importance / ((float)e.shape.num_heads * HEAD_DIM));
}

/* How many jobs a thread block takes: one where more would leave multiprocessors without work. */
static uint32_t pass_num_jobs(const eviction_arguments &e, uint32_t num_warps)
{
    const uint32_t most = num_warps < PASS_JOBS ? num_warps : (uint32_t)PASS_JOBS;
    return e.lists.num_jobs / most < 2 * e.queue.num_workers ? 1 : most;
}

/* Attention by the last step of its ladder, then the second pass. */
template <int HEAD_DIM, typename T, bool READS_VALUES>
static cudaError_t launch_second_pass(const eviction_arguments &e, cudaStream_t stream)
{
    const uint32_t num_kv_heads = e.shape.num_kv_heads;
    const uint32_t num_warps = num_kv_heads < PASS_WARPS ? num_kv_heads : (uint32_t)PASS_WARPS;
    const uint32_t num_jobs = pass_num_jobs(e, num_warps), num_blocks = (e.lists.num_jobs + num_jobs - 1) / num_jobs;
    cudaError_t error = tree_gpu_last_step(e.shape.storage)->kernels->launch(&e, stream);
    if (error == cudaSuccess)
        error = launch_clear_victims(e, stream);
    if (error == cudaSuccess)
        error = launch_kernel(num_blocks, num_warps * WARP, 0, stream, second_pass<HEAD_DIM, T, READS_VALUES>, e,
                              num_jobs);
    return error;
}

#endif
