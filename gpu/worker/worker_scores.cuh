/* From the scores of attention to importance and victims. First read by evict_3.
 *
 *     find_kept_rows     at a task's beginning: where the scores of this lane's rows go
 *     keep               each tile's scores, raw: query x key, before scale and mask
 *     keep_state         at the task's end (find_target calls it): m and l of each row
 *     ---- barrier of the grid ----
 *     score_all          each warp an equal part of the score jobs: 32 tokens of a query, one for each lane. Weights
 *                        exp(score - lse), their mass over the heads of a group, times the norms: importance, and the
 *                        smallest key of the query
 *
 *   reads   32 heads at once: their scores are independent loads, and 4 KB in one stretch for a warp
 *   writes  scores that go to memory cost more than their bytes: among the reads of K and V, a byte written took as
 *           long as three bytes read (H200, 128 sequences of 3200 tokens: 55 MB, 33 us). So L2 is told to keep them, if
 *           they are few (eviction_gpu.cu). It cannot be told to drop K and V first: cp.async with such a hint was an
 *           illegal instruction there
 *   order   a sum runs over heads in one lane, so it has the same bits each time; the minimum of keys is over integers
 *
 * Numerics notes. m is the number that the tiles subtracted from the products score x scale x log2(e), unrounded, and l
 * the sum of the powers of 2: so a weight is the one that attention used, divided by its sum, however large the scores
 * are. Where m is so large that the tiles rounded the products first (tile_softmax), so does this code. */
#ifndef WORKER_SCORES_CUH
#define WORKER_SCORES_CUH

#include "victim.cuh"
#include "worker.cuh"

#define NO_ROW UINT32_MAX

#ifndef TREEATTN_EMULATE /* emulate.h has the same functions */
/* Starts to load a line into L2. */
static __device__ __forceinline__ void prefetch_l2(const void *global)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(global));
}

/* Stores past L1. policy: of L2, as createpolicy makes them (eviction_arguments). */
static __device__ __forceinline__ void store_l2(float *to, float x, float y, uint64_t policy)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("st.global.L2::cache_hint.v2.f32 [%0], {%1, %2}, %3;" ::"l"(to), "f"(x), "f"(y), "l"(policy)
                 : "memory");
#else
    __stcg((float2 *)to, make_float2(x, y));
#endif
}
#endif

/* ---- during attention ---- */

/* Where the scores of this lane's two rows begin, in pieces of SCORE_ROUND; NO_ROW: there is no such row. All heads'
 * scores of SCORE_ROUND tokens are neighbours: a job reads one stretch of memory, and a task writes parts of it. */
struct kept_rows {
    uint32_t row[2];
    float *scores;
    uint64_t policy;
    uint32_t num_heads;

    /* Writes a slice's scores, which begin with token t of the item. Whole sectors of 32 bytes, so the last one may
     * hold scores of no token. */
    template <int TOKENS>
    __device__ __forceinline__ void keep(const float score[TOKENS / 8][4], uint32_t t, int num_tokens) const
    {
        const uint32_t in_piece = t % SCORE_ROUND + threadIdx.x % 4 * 2;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float *to = scores + ((uint64_t)row[h] + t / SCORE_ROUND * num_heads) * SCORE_ROUND + in_piece;
            if (row[h] == NO_ROW)
                continue;
#pragma unroll
            for (int j = 0; j < TOKENS / 8; j++)
                if (8 * j < num_tokens)
                    store_l2(to + 8 * j / SCORE_ROUND * num_heads * SCORE_ROUND + 8 * j % SCORE_ROUND,
                             score[j][2 * h], score[j][2 * h + 1], policy);
        }
    }
};

/* For a task that is computed again: its scores were kept the first time. */
struct keep_nothing {
    template <int TOKENS> __device__ __forceinline__ void keep(const float[TOKENS / 8][4], uint32_t, int) const {}
};

/* first: the task's first tile. */
static __device__ __forceinline__ kept_rows find_kept_rows(const eviction_arguments &e, const queue_tile &first,
                                                           uint32_t warps_m)
{
    kept_rows kept = {{NO_ROW, NO_ROW}, e.scores, e.score_policy, e.shape.num_heads};
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const uint32_t row = lane_row(warps_m, h), i = tile_query_of_row(first, row);
        if (row < tile_rows(first)) /* below 2^32: count_lists */
            kept.row[h] = __ldg(&e.lists.first_rows[first.first_partial + i]) * e.shape.num_heads + first.head + row
                          - i * first.num_heads;
    }
    return kept;
}

static __device__ __forceinline__ void keep_state(const eviction_arguments &e, uint32_t partial, uint32_t head, float m,
                                                  float l)
{
    __stcg((float2 *)e.states + (uint64_t)partial * e.shape.num_heads + head, make_float2(m, l));
}

/* Before the barrier: no victim yet. */
static __device__ __forceinline__ void clear_victims(const eviction_arguments &e)
{
    for (uint32_t q = blockIdx.x * WORKER_THREADS + threadIdx.x; e.victims && q < e.plan.num_queries;
         q += gridDim.x * WORKER_THREADS)
        e.victims[q] = EVICTION_NONE;
}

/* ---- after the barrier: jobs ---- */

/* A warp's part of the jobs: the current one, loaded ahead. */
struct score_cursor {
    const score_job *next;
    uint32_t left; /* jobs, with the current one */
    score_job job;
    uint32_t kv_slot; /* of this lane's token */
};

static __device__ __forceinline__ void score_load_job(score_cursor &cursor)
{
    const uint4 *from = (const uint4 *)cursor.next++;
    const uint4 words[2] = {__ldg(from), __ldg(from + 1)};
    memcpy(&cursor.job, words, sizeof cursor.job);
}

static __device__ __forceinline__ void score_load_slot(const eviction_arguments &e, score_cursor &cursor)
{
    const uint32_t lane = threadIdx.x % WARP;
    cursor.kv_slot = lane < cursor.job.num_tokens ? __ldg(e.queue.kv_slots + cursor.job.kv_slots + lane) : 0;
}

/* Equal parts, the larger ones for the last warps, since the first ones merge. */
static __device__ __forceinline__ score_cursor score_find(const eviction_arguments &e)
{
    const uint32_t num_warps = gridDim.x * WORKER_WARPS, n = threadIdx.x / WARP * gridDim.x + blockIdx.x;
    const uint32_t least = e.lists.num_jobs / num_warps, first_larger = num_warps - e.lists.num_jobs % num_warps;
    score_cursor cursor = {};
    cursor.next = e.lists.jobs + n * least + (n > first_larger ? n - first_larger : 0);
    cursor.left = least + (n >= first_larger);
    return cursor;
}

/* At the kernel's beginning: the first job, as far as L2. Keeps no register. */
static __device__ __forceinline__ void score_prefetch(const eviction_arguments &e)
{
    const score_cursor cursor = score_find(e);
    if (cursor.left && threadIdx.x % WARP == 0)
        prefetch_l2(cursor.next);
}

/* Before this thread block arrives at the barrier: requests the first job. */
static __device__ __forceinline__ score_cursor score_start(const eviction_arguments &e)
{
    score_cursor cursor = score_find(e);
    if (cursor.left)
        score_load_job(cursor);
    return cursor;
}

/* While it waits: the slots of this job, and its norms as far as L2. */
static __device__ __forceinline__ void score_ahead(const eviction_arguments &e, score_cursor &cursor)
{
    if (!cursor.left)
        return;
    score_load_slot(e, cursor);
    for (uint32_t kv_head = 0; kv_head < e.shape.num_kv_heads; kv_head++)
        prefetch_l2(e.norm + cursor.kv_slot + kv_head * e.shape.block_tokens);
}

/* ---- after the barrier: the softmax of a query ---- */

enum { SCORE_HEADS = 32, MAX_SCORE_HEADS = 1024 }; /* heads at once: one for each lane; heads in all */
#define LARGE_SCORE 65536.0f                       /* as in tile_softmax */

/* Of one head, over all tokens of the query: weight = 2^(score x factor - m) x inverse. */
struct head_softmax {
    float m, inverse, factor, reserved;
};
static_assert(WORKER_WARPS * MAX_SCORE_HEADS * sizeof(head_softmax) <= sizeof worker_shared::kv, "in the free stages");

/* The union of a head's partial states [first, end) of the query's merge list. */
static __device__ __forceinline__ head_softmax unite_states(const eviction_arguments &e, uint32_t head, uint32_t first,
                                                            uint32_t end)
{
    enum { AT_ONCE = 16 };
    const float scale_2 = tile_scale(e.scale);
    float m = -INFINITY, l = 0;
    for (; first < end; first += AT_ONCE) {
        float2 state[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            state[i] = make_float2(-INFINITY, 0);
            if (first + i < end && head < e.shape.num_heads) {
                const uint64_t partial = __ldg(&e.plan.merge_partials[first + i]);
                state[i] = __ldcg((const float2 *)e.states + partial * e.shape.num_heads + head);
            }
        }
        float new_m = m;
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
            new_m = fmaxf(new_m, state[i].x);
        const float base = new_m == -INFINITY ? 0 : new_m;
        l *= exp2_approx(m - base);
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
            l += state[i].y * exp2_approx(state[i].x - base);
        m = new_m;
    }
    const bool is_large = fabsf(m) > LARGE_SCORE;
    /* no token: every weight is 0 */
    return {m == -INFINITY ? 0 : m, l == 0 ? 0 : 1 / l, is_large ? 1 : scale_2, 0};
}

/* Leaves the softmax of all heads in shared memory, zeros beyond the last. Returns whether the products of some head
 * must be rounded first. */
static __device__ __forceinline__ bool find_softmax(const eviction_arguments &e, uint32_t query, head_softmax *softmax)
{
    const uint32_t first = __ldg(&e.plan.merge_first[query]), end = __ldg(&e.plan.merge_first[query + 1]);
    bool is_large = false;
    __syncwarp(); /* that of the query before was read */
    for (uint32_t head = threadIdx.x % WARP; head < (e.shape.num_heads + WARP - 1) / WARP * WARP; head += WARP) {
        softmax[head] = unite_states(e, head, first, end);
        is_large |= fabsf(softmax[head].m) > LARGE_SCORE;
    }
    __syncwarp();
    return __any_sync(ALL_LANES, is_large);
}

/* ---- after the barrier: importance ---- */

/* The scores of SCORE_HEADS heads, being loaded, for this lane's token; and the norms. SHARING neighbouring heads
 * belong to one KV head. */
template <int SHARING> struct score_batch {
    float score[SCORE_HEADS], norm[SCORE_HEADS / SHARING];
};

static_assert((int)SCORE_ROUND == (int)SCORE_TOKENS, "a job is a piece of each head");

/* reciprocal: 2^21 / group_size, rounded up: exact for up to MAX_SCORE_HEADS heads. Zeros for heads that do not
 * exist. */
template <int SHARING>
static __device__ __forceinline__ void score_fetch(const eviction_arguments &e, const score_job &job, uint32_t kv_slot,
                                                   uint32_t first_head, uint32_t reciprocal, score_batch<SHARING> &batch)
{
    const uint32_t lane = threadIdx.x % WARP, left = e.shape.num_heads - first_head;
    const uint64_t piece = (uint64_t)(job.first_row + job.first / SCORE_ROUND) * e.shape.num_heads + first_head;
    const float *from = e.scores + piece * SCORE_ROUND + lane;
    const bool valid = lane < job.num_tokens;
#pragma unroll
    for (uint32_t i = 0; i < SCORE_HEADS; i++)
        batch.score[i] = valid && i < left ? __ldcg(from + i * SCORE_ROUND) : 0;
#pragma unroll
    for (uint32_t i = 0; i < SCORE_HEADS; i += SHARING) {
        const uint32_t kv_head = (first_head + i) * reciprocal >> 21;
        batch.norm[i / SHARING] = valid && i < left ? __ldg(e.norm + kv_slot + kv_head * e.shape.block_tokens) : 0;
    }
}

/* The sum over these heads of weight x norm. */
template <int SHARING>
static __device__ __forceinline__ float score_absorb(const score_batch<SHARING> &batch, const head_softmax *softmax,
                                                     bool is_large, float scale_2)
{
    float sum = 0;
#pragma unroll
    for (int i = 0; i < SCORE_HEADS; i += SHARING) {
        float mass = 0;
#pragma unroll
        for (int j = i; j < i + SHARING; j++) {
            const head_softmax head = softmax[j];
            const float score = is_large && head.factor == 1 ? __fmul_rn(batch.score[j], scale_2) : batch.score[j];
            mass = fmaf(exp2_approx(fmaf(score, head.factor, -head.m)), head.inverse, mass);
        }
        sum = fmaf(mass, batch.norm[i / SHARING], sum);
    }
    return sum;
}

/* Where a token is: its slot in the pool, and in the tables that list its block. */
struct token_place {
    uint64_t pool_slot, table_slot;
};

static __device__ __forceinline__ token_place find_token(const eviction_arguments &e, uint32_t kv_slot)
{
    const uint32_t block_tokens = e.shape.block_tokens, slot = kv_slot & (block_tokens - 1);
    const uint32_t block = kv_slot / (block_tokens * e.shape.num_kv_heads);
    token_place place = {(uint64_t)block * block_tokens + slot, 0};
    if (e.importance)
        place.table_slot = (uint64_t)__ldg(&e.lists.table_index[block]) * block_tokens + slot;
    return place;
}

template <int SHARING>
static __device__ __forceinline__ void score_jobs(const eviction_arguments &e, score_cursor &cursor,
                                                  head_softmax *softmax)
{
    const uint32_t lane = threadIdx.x % WARP, num_heads = e.shape.num_heads;
    const uint32_t group_size = num_heads / e.shape.num_kv_heads;
    const uint32_t reciprocal = ((1u << 21) + group_size - 1) / group_size;
    const float scale_2 = tile_scale(e.scale), unit = 1 / ((float)num_heads * (float)e.shape.head_dim);
    uint32_t query = UINT32_MAX;
    uint64_t smallest = EVICTION_NONE;
    eviction_range candidates = {0, UINT32_MAX};
    bool is_large = false;
    while (cursor.left) {
        const score_job job = cursor.job;
        const uint32_t kv_slot = cursor.kv_slot;
        score_batch<SHARING> batch;
        score_fetch<SHARING>(e, job, kv_slot, 0, reciprocal, batch);
        if (--cursor.left) {
            score_load_job(cursor);
            score_load_slot(e, cursor);
        }
        bool sees = lane < job.num_tokens;
        if (sees && job.masks != QUEUE_NO_MASK)
            sees = __ldg(&e.queue.masks[job.masks + lane]) >> job.mask_bit & 1;
        const token_place place = find_token(e, kv_slot);
        const uint32_t position = sees && e.victims ? __ldg(&e.positions[place.pool_slot]) : 0;
        if (job.query != query) {
            if (e.victims && query != UINT32_MAX)
                offer_victim(e, query, smallest);
            query = job.query;
            smallest = EVICTION_NONE;
            is_large = find_softmax(e, query, softmax);
            if (e.candidates) {
                const uint2 range = __ldg((const uint2 *)&e.candidates[query]);
                candidates = {range.x, range.y};
            }
        }
        float sum = score_absorb<SHARING>(batch, softmax, is_large, scale_2);
        for (uint32_t first = SCORE_HEADS; first < num_heads; first += SCORE_HEADS) {
            score_fetch<SHARING>(e, job, kv_slot, first, reciprocal, batch);
            sum += score_absorb<SHARING>(batch, softmax + first, is_large, scale_2);
        }
        if (sees) {
            const float importance = sum * unit;
            const uint64_t key = importance_key(importance, position);
            const bool counts =
                key == EVICTION_NOT_FINITE || (candidates.first <= position && position < candidates.end);
            if (e.importance)
                e.importance[query * e.num_slots + place.table_slot] = importance;
            smallest = counts && key < smallest ? key : smallest;
        }
    }
    if (e.victims && query != UINT32_MAX)
        offer_victim(e, query, smallest);
}

/* All jobs of a warp. free_memory: shared memory that nothing else uses from here on. */
static __device__ __forceinline__ void score_all(const eviction_arguments &e, score_cursor &cursor, char *free_memory)
{
    head_softmax *softmax = (head_softmax *)free_memory + threadIdx.x / WARP * MAX_SCORE_HEADS;
    if (e.shape.num_heads / e.shape.num_kv_heads % 4 == 0)
        score_jobs<4>(e, cursor, softmax);
    else
        score_jobs<1>(e, cursor, softmax);
}

#endif
