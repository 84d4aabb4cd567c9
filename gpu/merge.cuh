/* merge partial states: a query's states, in the order of its list, become out and lse. Steps 0 to 6 launch it as a
 * second kernel; from step 7 on, the kernel that makes the states calls merge_begin and merge_all itself.
 *   threads one warp for each query and head; for 2 or 4 heads, if there are more of them than warps. Rows of o come
 *           to shared memory in batches, the next one while this one is added up. Lane i weighs state i / heads of
 *           head i % heads, exp(m - largest m); then all lanes add the states one after the other, each having
 *           head_dim / 32 of their elements
 *   price   code that runs once a launch waits for its instructions: loops here are short and hardly unrolled */
#ifndef MERGE_CUH
#define MERGE_CUH

#include "device.cuh"

#include <math.h>

#include "gpu_internal.h"
#include "mma.cuh"

enum {
    MERGE_WARP = 32, MERGE_WARPS = 4,
    MERGE_STAGES = 2,
    MERGE_STAGE_BYTES = 8192 /* rows of o of a batch */
};
#define MERGE_ALL_LANES 0xffffffffu

template <int HEAD_DIM> struct merge_size {
    enum {
        FIT = MERGE_STAGE_BYTES / (HEAD_DIM * 4),
        ROWS = FIT < MERGE_WARP ? FIT : MERGE_WARP, /* of a batch; a lane weighs one */
        MOST = 2 * ROWS < MERGE_WARP ? 2 * ROWS : MERGE_WARP, /* of one that needs no other beside it */
        ELEMENTS = HEAD_DIM / MERGE_WARP            /* of a row, that a lane adds up */
    };
};

struct alignas(16) merge_shared {
    char o[MERGE_WARPS][MERGE_STAGES][MERGE_STAGE_BYTES];
};

/* The states of a query: [first, end). No count: to subtract would be to wait for both. */
struct merge_list {
    uint32_t first, end;
};

/* What a warp has to merge: job, job + num_warps, ... of num_jobs = queries x num_heads / heads. */
struct merge_place {
    uint32_t num_warps, heads_log; /* heads at once: 1 << heads_log */
    uint32_t job, num_jobs;
    merge_list list, next[2];      /* of the job; of the two after it, on their way */
    uint32_t alone, done;          /* heads of the job that are done, where each is merged alone; states of the next */
    bool is_over;                  /* the job */
};

static __device__ __forceinline__ merge_list merge_ask(const attention_arguments &a, const merge_place &at,
                                                       uint32_t job)
{
    if (job >= at.num_jobs)
        return {0, 0};
    uint32_t query = job / (a.shape.num_heads >> at.heads_log);
    return {__ldg(&a.plan.merge_first[query]), __ldg(&a.plan.merge_first[query + 1])};
}

/* Past queries with one state, which have their result already if QUEUED. */
template <bool QUEUED>
static __device__ __forceinline__ void merge_next_job(const attention_arguments &a, merge_place &at)
{
    do {
        at.job += at.num_warps;
        at.list = at.next[0];
        at.next[0] = at.next[1];
        at.next[1] = merge_ask(a, at, at.job + 2 * at.num_warps);
    } while (QUEUED && at.list.end - at.list.first == 1 && at.job < at.num_jobs);
    at.alone = at.done = 0;
    at.is_over = false;
}

/* Before the first job of warp n. Reads the plan alone, so that it may be called before the states are there. */
static __device__ __forceinline__ merge_place merge_begin(const attention_arguments &a, uint32_t n, uint32_t num_warps)
{
    const uint32_t num_heads = a.shape.num_heads;
    const uint32_t all = a.plan.num_queries * num_heads; /* below 2^31: steps.cu */
    merge_place at = {};
    at.num_warps = num_warps;
    at.heads_log = all > 2 * num_warps && num_heads % 4 == 0 ? 2 : all > num_warps && num_heads % 2 == 0 ? 1 : 0;
    at.num_jobs = all >> at.heads_log;
    at.job = n - num_warps; /* before the first one */
    at.next[0] = merge_ask(a, at, n);
    at.next[1] = merge_ask(a, at, n + num_warps);
    at.is_over = true;
    return at;
}

/* States of a batch, as many of the job's heads: all that fit; else head after head. */
struct merge_batch {
    uint32_t query, head, heads_log, first, count;
    float m, l;             /* of this lane's state and head */
    bool is_first, is_last; /* of the query's */
};

/* Takes the next batch and starts its copies; count 0 and !is_last: there is none. A warp's only one may go beyond its
 * stage, into the other. The caller closes the group. */
template <int HEAD_DIM, bool QUEUED>
static __device__ __forceinline__ merge_batch merge_fetch(const attention_arguments &a, merge_place &at, char *stage)
{
    enum { ROWS = merge_size<HEAD_DIM>::ROWS, MOST = merge_size<HEAD_DIM>::MOST };
    const uint32_t lane = threadIdx.x % MERGE_WARP, num_heads = a.shape.num_heads;
    merge_batch batch = {};
    batch.m = -INFINITY;
    if (at.is_over)
        merge_next_job<QUEUED>(a, at);
    if (at.job >= at.num_jobs)
        return batch;
    const uint32_t parts = num_heads >> at.heads_log, count = at.list.end - at.list.first;
    const uint32_t most = at.num_jobs <= at.num_warps ? MOST : ROWS, left = count - at.done;
    const bool fits = count << at.heads_log <= most;
    const uint32_t rows = fits ? most : (uint32_t)ROWS;
    batch.query = at.job / parts;
    batch.head = ((at.job - batch.query * parts) << at.heads_log) + at.alone;
    batch.heads_log = fits ? at.heads_log : 0;
    batch.first = at.list.first + at.done;
    batch.count = left < rows ? left : rows;
    batch.is_first = at.done == 0;
    batch.is_last = batch.count == left;

    const uint32_t *ids = a.plan.merge_partials + batch.first;
    const uint32_t heads = 1 << batch.heads_log, state = lane >> batch.heads_log;
    if (state < batch.count) {
        uint64_t id = QUEUED ? batch.first + state : __ldg(ids + state);
        uint64_t place = id * num_heads + batch.head + lane % heads;
        batch.m = __ldcg(&a.m[place]); /* past L1, which may hold what another launch left there */
        batch.l = __ldcg(&a.l[place]);
    }
    const float *from = a.o + ((uint64_t)batch.first * num_heads + batch.head) * HEAD_DIM;
#pragma unroll 2
    for (uint32_t i = 0; i < batch.count; i++, stage += heads * HEAD_DIM * 4) {
        if (!QUEUED)
            from = a.o + ((uint64_t)__ldg(ids + i) * num_heads + batch.head) * HEAD_DIM;
        for (uint32_t column = lane * 4; column < heads * HEAD_DIM; column += MERGE_WARP * 4)
            cp_async<16>(stage + column * 4, from + column);
        from += num_heads * HEAD_DIM;
    }

    at.done = batch.is_last ? 0 : at.done + batch.count;
    at.alone += batch.is_last;
    at.is_over = batch.is_last && (fits || at.alone == 1u << at.heads_log);
    return batch;
}

/* Softmax state of this lane's head; of the head that is added up, elements 2 * lane and the next one of each 64. */
template <int HEAD_DIM> struct merge_state {
    float m, l, o[merge_size<HEAD_DIM>::ELEMENTS];
};

template <int HEAD_DIM>
static __device__ __forceinline__ void merge_absorb(const attention_arguments &a, merge_state<HEAD_DIM> &state,
                                                    const merge_batch &batch, const char *stage)
{
    enum { ELEMENTS = merge_size<HEAD_DIM>::ELEMENTS };
    const uint32_t lane = threadIdx.x % MERGE_WARP, heads = 1 << batch.heads_log;
    float m = batch.is_first ? -INFINITY : state.m, new_m = batch.m;
    for (uint32_t distance = heads; distance < MERGE_WARP; distance *= 2)
        new_m = fmaxf(new_m, __shfl_xor_sync(MERGE_ALL_LANES, new_m, distance));
    new_m = fmaxf(new_m, m);
    float base = new_m == -INFINITY ? 0 : new_m, rescale = expf(m - base), weight = expf(batch.m - base);
    float sum = batch.l * weight;
    for (uint32_t distance = heads; distance < MERGE_WARP; distance *= 2)
        sum += __shfl_xor_sync(MERGE_ALL_LANES, sum, distance);
    state.m = new_m;
    state.l = (batch.is_first ? 0 : state.l * rescale) + sum;
    cp_async_wait<1>(); /* only the next batch is still on its way */
    __syncwarp();
    for (uint32_t head = 0; head < heads; head++) {
        float factor = __shfl_sync(MERGE_ALL_LANES, rescale, head);
#pragma unroll
        for (int j = 0; j < ELEMENTS; j++)
            state.o[j] = batch.is_first ? 0 : state.o[j] * factor;
        const float *o = (const float *)stage + head * HEAD_DIM + lane * 2;
#pragma unroll 4
        for (uint32_t i = head; i < batch.count << batch.heads_log; i += heads, o += heads * HEAD_DIM) {
            factor = __shfl_sync(MERGE_ALL_LANES, weight, i);
#pragma unroll
            for (int j = 0; j < ELEMENTS; j += 2) {
                float2 pair = *(const float2 *)(o + j * MERGE_WARP);
                state.o[j] += factor * pair.x;
                state.o[j + 1] += factor * pair.y;
            }
        }

        /* normalize */
        uint64_t place = (uint64_t)batch.query * a.shape.num_heads + batch.head + head;
        factor = __shfl_sync(MERGE_ALL_LANES, state.l == 0 ? 0 : 1 / state.l, head);
        if (batch.is_last) {
#pragma unroll
            for (int j = 0; j < ELEMENTS; j += 2)
                *(float2 *)&a.out[place * HEAD_DIM + lane * 2 + j * MERGE_WARP] =
                    make_float2(state.o[j] * factor, state.o[j + 1] * factor);
        }
        if (batch.is_last && a.lse && lane == head)
            a.lse[place] = state.m + logf(state.l);
    }
}

/* All that a warp has to merge. shared: of its thread block. */
template <int HEAD_DIM, bool QUEUED>
static __device__ __forceinline__ void merge_all(const attention_arguments &a, merge_place &at, merge_shared &shared)
{
    char(*stages)[MERGE_STAGE_BYTES] = shared.o[threadIdx.x / MERGE_WARP];
    merge_state<HEAD_DIM> state = {};
    uint32_t stage = 0;
    merge_batch batch = merge_fetch<HEAD_DIM, QUEUED>(a, at, stages[0]);
    cp_async_commit();
    while (batch.count || batch.is_last) {
        __syncwarp(); /* the other stage was read */
        merge_batch next = merge_fetch<HEAD_DIM, QUEUED>(a, at, stages[stage ^ 1]);
        cp_async_commit();
        merge_absorb<HEAD_DIM>(a, state, batch, stages[stage]);
        batch = next;
        stage ^= 1;
    }
}

template <int HEAD_DIM, bool QUEUED> static __global__ void merge(attention_arguments a)
{
    SHARED_MEMORY(char, memory);
    uint32_t warps = blockDim.x / MERGE_WARP;
    merge_place at = merge_begin(a, blockIdx.x * warps + threadIdx.x / MERGE_WARP, gridDim.x * warps);
    merge_all<HEAD_DIM, QUEUED>(a, at, *(merge_shared *)memory);
}

template <int HEAD_DIM, bool QUEUED = false>
static cudaError_t launch_merge(const attention_arguments &a, cudaStream_t stream)
{
    uint64_t num_warps = (uint64_t)a.plan.num_queries * a.shape.num_heads;
    return launch_kernel((uint32_t)((num_warps + MERGE_WARPS - 1) / MERGE_WARPS), MERGE_WARPS * MERGE_WARP,
                         sizeof(merge_shared), stream, merge<HEAD_DIM, QUEUED>, a);
}

#endif
