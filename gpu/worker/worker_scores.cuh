/* From the scores of attention to importance and victims. First read by evict_3.
 *
 *     find_kept_rows     at a task's beginning: where the scores of this lane's rows go
 *     keep               each tile's scores, raw: query x key, before scale and mask
 *     keep_state         at the task's end (find_target calls it): m and l of each row
 *     sum_task           if the task's queries have no other state, their lse is known: their weights are added up over
 *                        the group at once, times the norms, so that one number for each token stays
 *     ---- barrier of the grid ----
 *     merge_and_score    each warp an equal part of the score jobs: 32 tokens of a query, one for each lane. Weights
 *                        exp(score - lse), their mass over the heads of a group, times the norms: importance, and the
 *                        smallest key of the query
 *
 *   reads   16 or 32 heads at once: their scores are independent loads, 128 bytes for a warp each; those of the next job
 *           are requested before this one is computed
 *   order   a sum runs over heads in one lane, so it has the same bits each time; the minimum of keys is over integers
 *
 * Numerics notes. m is the number that the tiles subtracted from the products score x scale x log2(e), unrounded, and l
 * the sum of the powers of 2: so a weight is the one that attention used, divided by its sum, however large the scores
 * are. Where m is so large that the tiles rounded the products first (tile_softmax), so does this code. */
#ifndef WORKER_SCORES_CUH
#define WORKER_SCORES_CUH

#include "eviction_internal.h"
#include "keep_in_l2.cuh"
#include "wait_for_all.cuh"
#include "worker_masks.cuh"

#define NO_ROW UINT32_MAX

/* ---- the softmax of a row ---- */

#define LARGE_SCORE 65536.0f /* as in tile_softmax */

/* Of a head, over all tokens of the query: weight = 2^(score x factor - m) x inverse. */
struct head_softmax {
    float m, inverse, factor, reserved;
};

/* m, l: those of all the query's tokens. l is 0 if it sees none: every weight is 0 then. */
static __device__ __forceinline__ head_softmax softmax_of(float m, float l, float scale_2)
{
    return {m == -INFINITY ? 0 : m, l == 0 ? 0 : 1 / l, fabsf(m) > LARGE_SCORE ? 1 : scale_2, 0};
}

/* head.factor is 1 where the product is rounded before m is subtracted. */
static __device__ __forceinline__ float weight_of(float score, const head_softmax &head, bool is_large, float scale_2)
{
    if (is_large && head.factor == 1)
        score = __fmul_rn(score, scale_2);
    return exp2_approx(fmaf(score, head.factor, -head.m)) * head.inverse;
}

/* ---- during attention ---- */

struct evicting_shared : masked_shared {
    float norms[STAGES][MAX_TILE_TOKENS]; /* of tasks that may be summed */
    score_job first_job[WORKER_WARPS];    /* of each warp; its slots, and its query's bounds in merge_partials */
    uint32_t first_slots[WORKER_WARPS][WARP], first_states[WORKER_WARPS][2];
};
static_assert(sizeof(evicting_shared) <= WORKER_SHARED_BYTES, "as many workers as gpu_num_workers says");

/* Where the scores of this lane's two rows begin, in units of SCORE_ROUND; NO_ROW: there is no such row. norms: the row of
 * norms of a task that is summed. */
struct kept_rows {
    uint32_t row[2], norms;

    /* Writes a slice's scores, which begin with token t of the item. Whole sectors of 32 bytes, so the last one may
     * hold scores of no token. */
    template <int TOKENS>
    __device__ __forceinline__ void keep(float *scores, const float score[TOKENS / 8][4], uint32_t t,
                                         int num_tokens) const
    {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float *to = scores + (uint64_t)row[h] * SCORE_ROUND + t + threadIdx.x % 4 * 2;
            if (row[h] == NO_ROW)
                continue;
#pragma unroll
            for (int j = 0; j < TOKENS / 8; j++)
                if (8 * j < num_tokens)
                    store_l2(to + 8 * j, score[j][2 * h], score[j][2 * h + 1]);
        }
    }
};

/* By warp 2: starts the copy of the norms of tile n, if a query of its task has no other state. task: that of tile n.
 * Call it with worker::prefetch, before the commit. */
template <int HEAD_DIM>
static __device__ __forceinline__ void prefetch_norms(const eviction_arguments &e, evicting_shared &shared,
                                                      const worker_list &list, uint32_t n, uint32_t task)
{
    enum { AT_ONCE = worker_tile<HEAD_DIM>::AT_ONCE };
    const uint32_t lane = threadIdx.x % WARP;
    const queue_tile &tile = shared.tiles[n % RECORD_RING];
    if (threadIdx.x / WARP != 2 || n >= list.count || tile.is_masked)
        return;
    const queue_query *queries = shared.queries[task % QUERY_RING];
    bool has_sums = false;
    for (uint32_t i = lane; i < tile.num_queries; i += WARP)
        has_sums |= queries[i].state == QUEUE_ONLY_STATE;
    if (!__any_sync(ALL_LANES, has_sums))
        return;
    const uint32_t *slots = shared.kv_slots[n % SLOT_RING]; /* permuted: worker_copy.cuh */
    const float *norms = e.norm + tile.kv_head * e.shape.block_tokens;
    for (uint32_t token = lane; token < tile.num_tokens; token += WARP)
        cp_async<4>(&shared.norms[n % STAGES][token], norms + slots[token % AT_ONCE * MY_TOKENS + token / AT_ONCE]);
}

/* By warp 2: the norms of a tile, which begins with token t of its task, go beside its scores. */
static __device__ __forceinline__ void keep_norms(const eviction_arguments &e, const kept_rows &kept,
                                                  const float norms[MAX_TILE_TOKENS], uint32_t t, uint32_t num_tokens)
{
    float *to = e.scores + (uint64_t)kept.norms * SCORE_ROUND + t;
    if (threadIdx.x / WARP != 2 || kept.norms == NO_ROW)
        return;
    for (uint32_t token = threadIdx.x % WARP * 2; token < num_tokens; token += 2 * WARP)
        store_l2(to + token, norms[token], token + 1 < num_tokens ? norms[token + 1] : 0);
}

/* For a task that is computed again: its scores were kept the first time. */
struct keep_nothing {
    template <int TOKENS>
    __device__ __forceinline__ void keep(float *, const float[TOKENS / 8][4], uint32_t, int) const {}
};

/* Whether sum_task adds up the weights of this partial state. The host counts on the same rule: is_summed in
 * eviction_gpu.cu. */
static __device__ __forceinline__ bool is_summed(const eviction_arguments &e, const queue_tile &tile,
                                                 const queue_query &query, uint32_t row_rounds)
{
    return query.state == QUEUE_ONLY_STATE && !tile.is_masked
           && (uint32_t)tile.num_heads * e.shape.num_kv_heads == e.shape.num_heads
           && (tile_rows(tile) + 1) * (uint64_t)row_rounds <= e.lists.worker_rounds;
}

/* The worker's own rows, which its next task overwrites: they stay in L2. */
static __device__ __forceinline__ uint32_t worker_round(const eviction_arguments &e)
{
    return e.lists.num_rounds + blockIdx.x * e.lists.worker_rounds; /* below 2^32: count_lists */
}

/* first: the task's first tile; queries: those of the task. */
static __device__ __forceinline__ kept_rows find_kept_rows(const eviction_arguments &e, const queue_tile &first,
                                                           const queue_query *queries, uint32_t warps_m)
{
    kept_rows kept = {{NO_ROW, NO_ROW}, NO_ROW};
    const uint32_t *bounds = e.lists.first_rows + first.first_partial;
    const uint32_t rounds = __ldg(bounds + 1) - __ldg(bounds);
    for (uint32_t i = 0; i < first.num_queries; i++)
        if (is_summed(e, first, queries[i], rounds))
            kept.norms = worker_round(e) + tile_rows(first) * rounds;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const uint32_t row = lane_row(warps_m, h), i = tile_query_of_row(first, row);
        if (row >= tile_rows(first))
            continue;
        const uint32_t begin = __ldg(bounds + i), head = first.head + row - i * first.num_heads;
        kept.row[h] = is_summed(e, first, queries[i], rounds) ? worker_round(e) + row * rounds
                                                              : begin * e.shape.num_heads + head * rounds;
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

/* One query of a task: norm x mass of each token goes to `to`. scores [num_heads][length], norms [length]. Everything
 * comes from L2, most of it requested at once: QUADS times four neighbouring tokens of four heads. */
template <int QUADS>
static __device__ __forceinline__ void sum_query(float *to, const float *scores, const float *norms,
                                                 const head_softmax *heads, uint32_t num_heads, uint32_t length,
                                                 uint32_t num_tokens, bool is_large, float scale_2)
{
    enum { HEADS = 4, STRIDE = 4 * WORKER_THREADS };
    for (uint32_t t = threadIdx.x * 4; t < num_tokens; t += QUADS * STRIDE) {
        float4 norm[QUADS], mass[QUADS] = {};
#pragma unroll
        for (int i = 0; i < QUADS; i++)
            if (t + i * STRIDE < num_tokens)
                norm[i] = __ldcg((const float4 *)(norms + t + i * STRIDE));
        for (uint32_t first = 0; first < num_heads; first += HEADS) {
            float4 score[QUADS][HEADS];
#pragma unroll
            for (int i = 0; i < QUADS; i++)
#pragma unroll
                for (uint32_t h = 0; h < HEADS; h++)
                    if (first + h < num_heads && t + i * STRIDE < num_tokens)
                        score[i][h] = __ldcg((const float4 *)(scores + (first + h) * length + t + i * STRIDE));
#pragma unroll
            for (uint32_t h = 0; h < HEADS; h++) {
                if (first + h >= num_heads)
                    break;
                const head_softmax head = heads[first + h];
#pragma unroll
                for (int i = 0; i < QUADS; i++) {
                    mass[i].x += weight_of(score[i][h].x, head, is_large, scale_2);
                    mass[i].y += weight_of(score[i][h].y, head, is_large, scale_2);
                    mass[i].z += weight_of(score[i][h].z, head, is_large, scale_2);
                    mass[i].w += weight_of(score[i][h].w, head, is_large, scale_2);
                }
            }
        }
#pragma unroll
        for (int i = 0; i < QUADS; i++)
            if (t + i * STRIDE < num_tokens)
                store_l2(to + t + i * STRIDE, make_float4(mass[i].x * norm[i].x, mass[i].y * norm[i].y,
                                                          mass[i].z * norm[i].z, mass[i].w * norm[i].w));
    }
}

/* After a task's end: for its queries that have no other state, leaves norm x mass of this KV head in row kv_head of
 * the partial state's scores. last: the task's last tile; buffer: 1 KB that nothing else
 * uses until the next barrier. */
template <int HEAD_DIM>
static __device__ __forceinline__ void sum_task(const eviction_arguments &e, const queue_tile &last,
                                                const queue_query *queries, char *buffer)
{
    enum { QUADS = HEAD_DIM <= 128 ? 4 : 1 }; /* limited by registers: those of the next queries are in use */
    head_softmax *softmax = (head_softmax *)buffer;
    const float scale_2 = tile_scale(e.scale);
    const uint32_t num_tokens = last.number * worker_tile<HEAD_DIM>::TOKENS + last.num_tokens;
    const uint32_t *bounds = e.lists.first_rows + last.first_partial;
    const uint32_t rounds = __ldg(bounds + 1) - __ldg(bounds), length = rounds * SCORE_ROUND;
    bool is_large = false, has_sums = false;
    for (uint32_t i = 0; i < last.num_queries; i++)
        has_sums |= is_summed(e, last, queries[i], rounds);
    if (!has_sums)
        return;
    __syncthreads(); /* all warps have written their scores and states */
    if (threadIdx.x < tile_rows(last)) {
        const uint32_t i = tile_query_of_row(last, threadIdx.x), head = last.head + threadIdx.x - i * last.num_heads;
        const uint64_t place = (uint64_t)(last.first_partial + i) * e.shape.num_heads + head;
        const float2 state = __ldcg((const float2 *)e.states + place);
        softmax[threadIdx.x] = softmax_of(state.x, state.y, scale_2);
        is_large = softmax[threadIdx.x].factor == 1;
    }
    is_large = __syncthreads_or(is_large);
    for (uint32_t i = 0; i < last.num_queries; i++) {
        if (!is_summed(e, last, queries[i], rounds))
            continue;
        const float *from = e.scores + (uint64_t)worker_round(e) * SCORE_ROUND;
        float *to = e.scores
                    + ((uint64_t)__ldg(bounds + i) * e.shape.num_heads + (uint64_t)last.kv_head * rounds) * SCORE_ROUND;
        sum_query<QUADS>(to, from + i * last.num_heads * length, from + tile_rows(last) * length,
                         softmax + i * last.num_heads, last.num_heads, length, num_tokens, is_large, scale_2);
    }
}

/* ---- after the barrier: jobs ---- */

/* A warp's part of a list of jobs. */
struct job_part {
    uint32_t first, count;
};

/* Equal parts, the larger ones for the last warps, since the first ones merge. */
static __device__ __forceinline__ job_part find_part(uint32_t num_jobs)
{
    const uint32_t num_warps = gridDim.x * WORKER_WARPS, n = threadIdx.x / WARP * gridDim.x + blockIdx.x;
    const uint32_t least = num_jobs / num_warps, first_larger = num_warps - num_jobs % num_warps;
    return {n * least + (n > first_larger ? n - first_larger : 0), least + (n >= first_larger)};
}

static __device__ __forceinline__ score_job load_job(const score_job *from)
{
    const uint4 words[2] = {__ldg((const uint4 *)from), __ldg((const uint4 *)from + 1)};
    score_job job;
    memcpy(&job, words, sizeof job);
    return job;
}

/* A warp's part of the jobs, three stages ahead of the one that is computed: record, slot, and then all that it needs
 * (score_batch). Each stage loads from addresses that the stage before has loaded. */
struct score_cursor {
    const score_job *next;
    uint32_t num_records, num_batches; /* still to load */
    score_job record, job;             /* of the next but one, of the next */
    uint32_t kv_slot;                  /* of this lane's token of `job` */
};

static __device__ __forceinline__ void score_load_record(score_cursor &cursor)
{
    if (cursor.num_records == 0)
        return;
    cursor.record = load_job(cursor.next++);
    cursor.num_records--;
}

/* The next job: its slots are requested, and the record of the one behind it. */
static __device__ __forceinline__ void score_next_job(const eviction_arguments &e, score_cursor &cursor)
{
    const uint32_t lane = threadIdx.x % WARP;
    cursor.job = cursor.record;
    cursor.kv_slot = lane < cursor.job.num_tokens ? __ldg(e.queue.kv_slots + cursor.job.kv_slots + lane) : 0;
    score_load_record(cursor);
}

static __device__ __forceinline__ score_cursor score_find(const eviction_arguments &e)
{
    const job_part part = find_part(e.lists.num_score_jobs);
    score_cursor cursor = {};
    cursor.next = e.lists.jobs + part.first;
    cursor.num_records = cursor.num_batches = part.count;
    return cursor;
}

/* Before find_tiles, which waits for it: copies the record of the warp's first job. */
static __device__ __forceinline__ void prefetch_job(const eviction_arguments &e, evicting_shared &shared)
{
    const score_cursor cursor = score_find(e);
    const uint32_t lane = threadIdx.x % WARP;
    if (cursor.num_records && lane < sizeof(score_job) / 16)
        cp_async<16>((char *)&shared.first_job[threadIdx.x / WARP] + lane * 16, (const char *)cursor.next + lane * 16);
}

/* With the first tiles, before the commit: copies the plan's part of what that job needs. */
static __device__ __forceinline__ void prefetch_job_slots(const eviction_arguments &e, evicting_shared &shared)
{
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    if (score_find(e).num_records == 0)
        return;
    const score_job &job = shared.first_job[warp];
    if (lane < job.num_tokens)
        cp_async<4>(&shared.first_slots[warp][lane], e.queue.kv_slots + job.kv_slots + lane);
    if (lane < 2)
        cp_async<4>(&shared.first_states[warp][lane], &e.plan.merge_first[job.query + lane]);
}

/* ---- after the barrier: the softmax of a query ---- */

enum { MAX_SCORE_HEADS = 1024 }; /* checked by eviction_gpu.cu */
static_assert(WORKER_WARPS * MAX_SCORE_HEADS * sizeof(head_softmax) <= sizeof worker_shared::kv, "in the free stages");

/* The merge list of a query; this lane's entry of the first WARP. */
struct score_states {
    uint32_t first, end, partial;
};

static __device__ __forceinline__ uint32_t score_load_partial(const eviction_arguments &e, uint32_t first, uint32_t end)
{
    const uint32_t i = first + threadIdx.x % WARP;
    return i < end ? __ldg(&e.plan.merge_partials[i]) : 0;
}

/* The union of a head's partial states. */
static __device__ __forceinline__ head_softmax unite_states(const eviction_arguments &e, uint32_t head,
                                                            score_states states, float scale_2)
{
    enum { AT_ONCE = 16 };
    const uint32_t num_states = states.end - states.first;
    float m = -INFINITY, l = 0;
    for (uint32_t first = 0; first < num_states; first += AT_ONCE) {
        float2 state[AT_ONCE];
        if (first && first % WARP == 0)
            states.partial = score_load_partial(e, states.first + first, states.end);
#pragma unroll
        for (uint32_t i = 0; i < AT_ONCE; i++) {
            const uint64_t partial = __shfl_sync(ALL_LANES, states.partial, (first + i) % WARP);
            state[i] = make_float2(-INFINITY, 0);
            if (first + i < num_states && head < e.shape.num_heads)
                state[i] = __ldcg((const float2 *)e.states + partial * e.shape.num_heads + head);
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
    return softmax_of(m, l, scale_2);
}

/* Leaves the softmax of all heads in shared memory, zeros beyond the last. Returns whether the products of some head
 * must be rounded first. */
static __device__ __forceinline__ bool find_softmax(const eviction_arguments &e, const score_states &states,
                                                    head_softmax *softmax, float scale_2)
{
    bool is_large = false;
    __syncwarp(); /* that of the query before was read */
    for (uint32_t first = 0; first < e.shape.num_heads; first += WARP) {
        const uint32_t head = first + threadIdx.x % WARP;
        /* the first entries of a long list have to be loaded again for the next heads */
        const score_states all = {states.first, states.end,
                                  first ? score_load_partial(e, states.first, states.end) : states.partial};
        softmax[head] = unite_states(e, head, all, scale_2);
        is_large |= softmax[head].factor == 1;
    }
    __syncwarp();
    return __any_sync(ALL_LANES, is_large);
}

/* ---- after the barrier: importance ---- */

/* Where a token is: its position, and its slot in the tables that list its block. Only if it is wanted. */
struct token_place {
    uint32_t position;
    uint64_t table_slot;
};

static __device__ __forceinline__ token_place find_token(const eviction_arguments &e, uint32_t kv_slot)
{
    const uint32_t block_tokens = e.shape.block_tokens, slot = kv_slot & (block_tokens - 1);
    const uint32_t block = kv_slot / (block_tokens * e.shape.num_kv_heads);
    token_place place = {};
    if (e.victims)
        place.position = __ldg(&e.positions[(uint64_t)block * block_tokens + slot]);
    if (e.importance)
        place.table_slot = (uint64_t)__ldg(&e.lists.table_index[block]) * block_tokens + slot;
    return place;
}

/* As eviction_key in reference/eviction/importance.c. */
static __device__ __forceinline__ uint64_t importance_key(float importance, uint32_t position)
{
    if (!(importance >= 0 && importance < INFINITY))
        return EVICTION_NOT_FINITE;
    const uint32_t bits = importance == 0 ? 0 : __float_as_uint(importance);
    return (uint64_t)(bits + 1) << 32 | position;
}

/* The smallest key over the lanes of a warp takes part in the victim of the query. */
static __device__ __forceinline__ void offer_victim(const eviction_arguments &e, uint32_t query, uint64_t key)
{
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        const uint64_t other = __shfl_xor_sync(ALL_LANES, key, distance);
        key = other < key ? other : key;
    }
    if (threadIdx.x % WARP == 0 && key != EVICTION_NONE)
        atomicMin((unsigned long long *)&e.victims[query], (unsigned long long)key);
}

/* The victim of the current query, as far as this lane's tokens go. */
struct victim_search {
    eviction_range candidates;
    uint64_t smallest;

    __device__ __forceinline__ void begin(const eviction_arguments &e, uint32_t query)
    {
        smallest = EVICTION_NONE;
        candidates = {0, UINT32_MAX};
        if (e.candidates) {
            const uint2 range = __ldg((const uint2 *)&e.candidates[query]);
            candidates = {range.x, range.y};
        }
    }

    /* A token that the query sees. */
    __device__ __forceinline__ void add(const eviction_arguments &e, uint32_t query, const token_place &place,
                                        float importance)
    {
        const uint64_t key = importance_key(importance, place.position);
        const bool counts = key == EVICTION_NOT_FINITE
                            || (candidates.first <= place.position && place.position < candidates.end);
        if (e.importance)
            e.importance[query * e.num_slots + place.table_slot] = importance;
        smallest = counts && key < smallest ? key : smallest;
    }

    __device__ __forceinline__ void end(const eviction_arguments &e, uint32_t query) const
    {
        if (e.victims)
            offer_victim(e, query, smallest);
    }
};

static __device__ __forceinline__ float importance_unit(const eviction_arguments &e)
{
    return 1 / ((float)e.shape.num_heads * (float)e.shape.head_dim);
}

/* What a lane needs of its token of a job. SHARING neighbouring heads belong to one KV head. */
template <int SHARING> struct score_batch {
    enum { HEADS = SHARING == 1 ? 16 : 32 }; /* at once; limited by registers */
    score_job job;                    /* num_tokens 0: no more jobs */
    uint32_t kv_slot;
    bool sees;
    token_place place;
    float score[HEADS];               /* of the first heads */
    float norm[HEADS / SHARING];
};

/* The norms, from KV head (first_head * reciprocal >> 21) on. reciprocal: 2^21 / group_size, rounded up: exact for up
 * to MAX_SCORE_HEADS heads. */
template <int SHARING>
static __device__ __forceinline__ void score_fetch_norms(const eviction_arguments &e, score_batch<SHARING> &batch,
                                                         uint32_t first_head, uint32_t reciprocal)
{
    const bool valid = threadIdx.x % WARP < batch.job.num_tokens;
#pragma unroll
    for (uint32_t i = 0; i < batch.HEADS; i += SHARING) {
        const uint32_t head = first_head + i, kv_head = head * reciprocal >> 21;
        batch.norm[i / SHARING] =
            valid && head < e.shape.num_heads ? __ldg(e.norm + batch.kv_slot + kv_head * e.shape.block_tokens) : 0;
    }
}

/* The scores of heads first_row, ... Zeros for those that do not exist. */
template <int SHARING>
static __device__ __forceinline__ void score_fetch_scores(const eviction_arguments &e, score_batch<SHARING> &batch,
                                                          uint32_t first_row)
{
    const score_job &job = batch.job;
    const uint32_t lane = threadIdx.x % WARP, length = job.row_rounds * SCORE_ROUND;
    const uint32_t num_rows = lane < job.num_tokens ? e.shape.num_heads : 0;
    const uint64_t round = (uint64_t)job.first_row * e.shape.num_heads + (uint64_t)first_row * job.row_rounds;
    const float *from = e.scores + round * SCORE_ROUND + job.first + lane;
#pragma unroll
    for (uint32_t i = 0; i < batch.HEADS; i++)
        batch.score[i] = first_row + i < num_rows ? __ldcg(from + (uint64_t)i * length) : 0;
}

/* Requests all that a job needs but its scores, which attention writes: so before the barrier as well as behind it. */
template <int SHARING>
static __device__ __forceinline__ void score_fetch(const eviction_arguments &e, score_batch<SHARING> &batch,
                                                   uint32_t reciprocal)
{
    const uint32_t lane = threadIdx.x % WARP;
    score_fetch_norms(e, batch, 0, reciprocal);
    batch.sees = lane < batch.job.num_tokens;
    if (batch.sees && batch.job.masks != QUEUE_NO_MASK)
        batch.sees = __ldg(&e.queue.masks[batch.job.masks + lane]) >> batch.job.mask_bit & 1;
    batch.place = find_token(e, batch.kv_slot);
}

/* The sum over the heads of a batch of weight x norm, which begin with `softmax`. */
template <int SHARING>
static __device__ __forceinline__ float score_absorb(const score_batch<SHARING> &batch, const head_softmax *softmax,
                                                     bool is_large, float scale_2)
{
    float sum = 0;
#pragma unroll
    for (int i = 0; i < batch.HEADS; i += SHARING) {
        float mass = 0;
#pragma unroll
        for (int j = i; j < i + SHARING; j++)
            mass += weight_of(batch.score[j], softmax[j], is_large, scale_2);
        sum = fmaf(mass, batch.norm[i / SHARING], sum);
    }
    return sum;
}

/* One warp's jobs. */
template <int SHARING> struct scorer {
    score_cursor cursor;
    score_batch<SHARING> batch; /* of the current job */
    score_states states;        /* of its query */
    victim_search victim;
    bool is_large;
    uint32_t reciprocal;
    float scale_2;

    __device__ __forceinline__ void begin_query(const eviction_arguments &e, uint32_t first_state, uint32_t end_state)
    {
        victim.begin(e, batch.job.query);
        states = {first_state, end_state, score_load_partial(e, first_state, end_state)};
    }

    /* Before this thread block arrives at the barrier: requests all of the first job but its scores. */
    __device__ __forceinline__ void begin(const eviction_arguments &e, const evicting_shared &shared)
    {
        const uint32_t group_size = e.shape.num_heads / e.shape.num_kv_heads;
        const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
        reciprocal = ((1u << 21) + group_size - 1) / group_size;
        scale_2 = tile_scale(e.scale);
        cursor = score_find(e);
        batch.job.num_tokens = 0;
        if (cursor.num_batches == 0)
            return;
        cp_async_wait<0>();
        __syncwarp();
        batch.job = shared.first_job[warp];
        batch.kv_slot = lane < batch.job.num_tokens ? shared.first_slots[warp][lane] : 0;
        score_fetch(e, batch, reciprocal);
        begin_query(e, shared.first_states[warp][0], shared.first_states[warp][1]);
        cursor.next++;
        cursor.num_records--;
        cursor.num_batches--;
        score_load_record(cursor);
    }

    /* The next job, of which nothing was requested but its slot. */
    __device__ __forceinline__ void fetch_next(const eviction_arguments &e, score_batch<SHARING> &next)
    {
        next.job.num_tokens = 0;
        if (cursor.num_batches == 0)
            return;
        cursor.num_batches--;
        next.job = cursor.job;
        next.kv_slot = cursor.kv_slot;
        score_fetch(e, next, reciprocal);
        score_fetch_scores(e, next, 0);
        score_next_job(e, cursor);
    }

    __device__ __forceinline__ float sum_of_job(const eviction_arguments &e, const head_softmax *softmax)
    {
        float sum = score_absorb(batch, softmax, is_large, scale_2);
        for (uint32_t first = batch.HEADS; first < e.shape.num_heads; first += batch.HEADS) {
            score_fetch_norms(e, batch, first, reciprocal);
            score_fetch_scores(e, batch, first);
            sum += score_absorb(batch, softmax + first, is_large, scale_2);
        }
        return sum;
    }

    /* After the barrier. softmax: of all heads, in shared memory. */
    __device__ __forceinline__ void run(const eviction_arguments &e, head_softmax *softmax)
    {
        bool is_new = true;
        score_fetch_scores(e, batch, 0);
        score_next_job(e, cursor);
        while (batch.job.num_tokens) {
            score_batch<SHARING> next;
            if (is_new)
                is_large = find_softmax(e, states, softmax, scale_2);
            fetch_next(e, next);
            const float importance = sum_of_job(e, softmax) * importance_unit(e);
            if (batch.sees)
                victim.add(e, batch.job.query, batch.place, importance);
            is_new = next.job.num_tokens == 0 || next.job.query != batch.job.query;
            if (is_new)
                victim.end(e, batch.job.query);
            batch = next;
            if (is_new && batch.job.num_tokens)
                begin_query(e, __ldg(&e.plan.merge_first[batch.job.query]),
                            __ldg(&e.plan.merge_first[batch.job.query + 1]));
        }
    }
};

/* ---- after the barrier: what sum_task has left ---- */

/* One warp's jobs of sums: only those over KV heads remain. */
struct summer {
    const score_job *next;
    uint32_t num_records, num_jobs; /* still to load; still to do */
    score_job record, job;          /* of the next job but one; of the next */
    uint32_t kv_slot[4];            /* of this lane's tokens of `job` */

    __device__ __forceinline__ void load_record()
    {
        if (num_records == 0)
            return;
        record = load_job(next++);
        num_records--;
    }

    __device__ __forceinline__ void next_job(const eviction_arguments &e)
    {
        const uint32_t t = threadIdx.x % WARP * 4;
        job = record;
#pragma unroll
        for (uint32_t i = 0; i < 4; i++)
            kv_slot[i] = num_jobs && t + i < job.num_tokens ? __ldg(e.queue.kv_slots + job.kv_slots + t + i) : 0;
        load_record();
    }

    /* Before the barrier: requests the first record. */
    __device__ __forceinline__ void begin(const eviction_arguments &e)
    {
        const job_part part = find_part(e.lists.num_sum_jobs);
        next = e.lists.sum_jobs + part.first;
        num_records = num_jobs = part.count;
        load_record();
    }

    /* The sum over KV heads for this lane's tokens of a job. */
    static __device__ __forceinline__ float4 add_rows(const eviction_arguments &e, const score_job &job)
    {
        enum { AT_ONCE = 8 };
        const uint32_t t = threadIdx.x % WARP * 4, length = job.row_rounds * SCORE_ROUND;
        const float *from = e.scores + (uint64_t)job.first_row * e.shape.num_heads * SCORE_ROUND + job.first + t;
        float4 sum = make_float4(0, 0, 0, 0);
        for (uint32_t first = 0; first < e.shape.num_kv_heads; first += AT_ONCE) {
            float4 row[AT_ONCE];
#pragma unroll
            for (uint32_t i = 0; i < AT_ONCE; i++) {
                row[i] = make_float4(0, 0, 0, 0);
                if (first + i < e.shape.num_kv_heads && t < job.num_tokens)
                    row[i] = __ldcg((const float4 *)(from + (uint64_t)(first + i) * length));
            }
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++)
                sum = make_float4(sum.x + row[i].x, sum.y + row[i].y, sum.z + row[i].z, sum.w + row[i].w);
        }
        return sum;
    }

    /* After the barrier. */
    __device__ __forceinline__ void run(const eviction_arguments &e)
    {
        victim_search victim;
        bool is_new = true;
        next_job(e);
        while (num_jobs) {
            const score_job current = job;
            const uint32_t t = threadIdx.x % WARP * 4;
            token_place place[4];
#pragma unroll
            for (int i = 0; i < 4; i++)
                place[i] = find_token(e, kv_slot[i]);
            if (is_new)
                victim.begin(e, current.query);
            num_jobs--;
            const float4 sum = add_rows(e, current);
            next_job(e);
            const float sums[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
            for (uint32_t i = 0; i < 4; i++)
                if (t + i < current.num_tokens)
                    victim.add(e, current.query, place[i], sums[i] * importance_unit(e));
            is_new = num_jobs == 0 || job.query != current.query;
            if (is_new)
                victim.end(e, current.query);
        }
    }
};

/* At the kernel's end: the barrier of the grid, then merge(), then all jobs of this warp. */
template <int SHARING, typename MERGE>
static __device__ __forceinline__ void merge_and_score_jobs(const eviction_arguments &e, evicting_shared &shared,
                                                            MERGE merge)
{
    scorer<SHARING> scores;
    summer sums;
    scores.begin(e, shared);
    sums.begin(e);
    wait_for_all(e.arrivals);
    merge();
    scores.run(e, (head_softmax *)shared.kv + threadIdx.x / WARP * MAX_SCORE_HEADS);
    sums.run(e);
}

template <typename MERGE>
static __device__ __forceinline__ void merge_and_score(const eviction_arguments &e, evicting_shared &shared, MERGE merge)
{
    if (e.shape.num_heads / e.shape.num_kv_heads % 4 == 0)
        merge_and_score_jobs<4>(e, shared, merge);
    else
        merge_and_score_jobs<1>(e, shared, merge);
}

#endif
