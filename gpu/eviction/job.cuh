/* A job as rungs 0 to 2 run it: at most 32 tokens of one query. All heads of a job are in one thread block, which sums
 * their part in its importance: no sum over heads needs an atomic operation. */
#ifndef JOB_CUH
#define JOB_CUH

#include "storage.cuh"
#include "victim.cuh"

/* A token of a job. slot: in key and value, for KV head 0, as queue.kv_slots has it; that of KV head h is h x
 * block_tokens further on. */
struct job_token {
    bool is_seen;
    uint32_t slot;
};

/* Token i of the job; one past its end has the place of the first, and is not seen. */
static __device__ __forceinline__ job_token job_find(const eviction_arguments &e, const score_job &job, uint32_t i)
{
    const uint32_t valid = i < job.num_tokens ? i : 0;
    job_token token;
    token.slot = e.queue.kv_slots[job.kv_slots + valid];
    token.is_seen = i < job.num_tokens
                    && (job.masks == QUEUE_NO_MASK || e.queue.masks[job.masks + valid] >> job.mask_bit & 1);
    return token;
}

/* The index of a norm, and, times head_dim, that of K and V. slot: job_token.slot. */
static __device__ __forceinline__ uint64_t job_slot(const eviction_arguments &e, uint32_t slot, uint32_t kv_head)
{
    return (uint64_t)slot + (uint64_t)kv_head * e.shape.block_tokens;
}

/* Where the importance of this lane's token goes, and whether the token may be evicted. Loaded by one warp before the
 * work begins, so that the loads are over when it ends. */
struct job_target {
    bool is_seen, is_candidate;
    uint32_t position;
    uint64_t place; /* in importance */
};

static __device__ __forceinline__ job_target job_find_target(const eviction_arguments &e, const score_job &job)
{
    const job_token token = job_find(e, job, threadIdx.x % WARP);
    const uint32_t head_slots = e.shape.num_kv_heads * e.shape.block_tokens;
    const uint32_t block = token.slot / head_slots, slot = token.slot % head_slots;
    job_target to = {token.is_seen, token.is_seen, 0, 0};
    if (e.importance)
        to.place = job.query * e.num_slots + (uint64_t)e.lists.table_index[block] * e.shape.block_tokens + slot;
    if (e.victims)
        to.position = e.positions[(uint64_t)block * e.shape.block_tokens + slot];
    if (e.candidates) {
        const eviction_range range = e.candidates[job.query];
        to.is_candidate = to.is_seen && range.first <= to.position && to.position < range.end;
    }
    return to;
}

/* By the same warp: lane i has the importance of token i. Writes it, and offers the smallest key of the job as the
 * query's victim. */
static __device__ __forceinline__ void job_finish(const eviction_arguments &e, const score_job &job,
                                                  const job_target &to, float importance)
{
    if (e.importance && to.is_seen)
        e.importance[to.place] = importance;
    if (!e.victims)
        return;
    uint64_t key = to.is_seen ? importance_key(importance, to.position) : EVICTION_NONE;
    if (key != EVICTION_NOT_FINITE && !to.is_candidate)
        key = EVICTION_NONE;
    offer_victim(e, job.query, key);
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
