/* A job as rungs 0 to 2 run it: at most 32 tokens of one query, and a thread block for each job. Their importance is
 * summed inside the thread block, so no sum over heads needs an atomic operation. */
#ifndef JOB_CUH
#define JOB_CUH

#include "eviction_internal.h"
#include "storage.cuh"

/* Where a token of a job lies. */
struct job_token {
    bool is_seen;
    uint32_t block, slot;
};

/* Token i of the job; one past its end counts as its first, unseen. */
static __device__ __forceinline__ job_token job_find(const eviction_arguments &e, const score_job &job, uint32_t i)
{
    job_token token;
    const uint32_t valid = i < job.num_tokens ? i : 0, head_slots = e.shape.num_kv_heads * e.shape.block_tokens;
    const uint32_t kv_slot = e.queue.kv_slots[job.kv_slots + valid];
    token.is_seen = i < job.num_tokens
                    && (job.masks == QUEUE_NO_MASK || e.queue.masks[job.masks + valid] >> job.mask_bit & 1);
    token.block = kv_slot / head_slots;
    token.slot = kv_slot % head_slots;
    return token;
}

/* Its slot in the pool, for one KV head: the index of its norm, and x head_dim that of its K and V. */
static __device__ __forceinline__ uint64_t job_slot(const eviction_arguments &e, const job_token &token,
                                                    uint32_t kv_head)
{
    return ((uint64_t)token.block * e.shape.num_kv_heads + kv_head) * e.shape.block_tokens + token.slot;
}

/* The weight of a token for one head: exp(score - lse), at most 1 but for rounding. */
static __device__ __forceinline__ float job_weight(float score, float lse)
{
    return score == -INFINITY || lse == -INFINITY ? 0 : expf(score - lse);
}

/* As eviction_key. */
static __device__ __forceinline__ uint64_t job_key(float importance, uint32_t position)
{
    if (!(importance >= 0 && importance < INFINITY))
        return EVICTION_NOT_FINITE;
    const uint32_t bits = importance == 0 ? 0 : __float_as_uint(importance);
    return (uint64_t)(bits + 1) << 32 | position;
}

/* Called by one whole warp: lane i has the importance of token i. Writes it, and lowers the query's victim to the smallest
 * key of the job: a minimum of integers, which is the same in whatever order jobs run. */
static __device__ __forceinline__ void job_finish(const eviction_arguments &e, const score_job &job, float importance)
{
    const job_token token = job_find(e, job, threadIdx.x % WARP);
    uint64_t key = EVICTION_NONE;
    if (token.is_seen && e.importance)
        e.importance[job.query * e.num_slots + (uint64_t)e.lists.table_index[token.block] * e.shape.block_tokens
                     + token.slot] = importance;
    if (!e.victims)
        return;
    if (token.is_seen) {
        const uint32_t position = e.positions[(uint64_t)token.block * e.shape.block_tokens + token.slot];
        key = job_key(importance, position);
        if (key != EVICTION_NOT_FINITE && e.candidates
            && (position < e.candidates[job.query].first || position >= e.candidates[job.query].end))
            key = EVICTION_NONE;
    }
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        const uint64_t other = __shfl_xor_sync(ALL_LANES, key, distance);
        key = other < key ? other : key;
    }
    if (threadIdx.x % WARP == 0)
        atomicMin((unsigned long long *)&e.victims[job.query], (unsigned long long)key);
}

enum { CLEAR_THREADS = 128 };

static __global__ void clear_victims(eviction_arguments e)
{
    const uint32_t query = blockIdx.x * CLEAR_THREADS + threadIdx.x;
    if (query < e.plan.num_queries)
        e.victims[query] = EVICTION_NONE;
}

/* Before the jobs. */
static cudaError_t launch_clear_victims(const eviction_arguments &e, cudaStream_t stream)
{
    if (!e.victims)
        return cudaSuccess;
    return launch_kernel((e.plan.num_queries + CLEAR_THREADS - 1) / CLEAR_THREADS, CLEAR_THREADS, 0, stream,
                         clear_victims, e);
}

#endif
