/* Scores that stay in the worker's shared memory, for a task that has all tokens of its query. First read by evict_5.
 *
 *     keep, keep_maxima  each tile's scores and the running maximum of each row, to a stage, as floats
 *     pack_tile          with the next tile: from the stage to the ring, in 3 bytes
 *     keep_softmax       at the task's end: m and l of its rows, which are those of the whole query
 *     sum_tile           with each tile of the next task: the weights exp(score - lse) of one tile of this task, and
 *                        their mass over the heads of the group: one float for each token, to memory
 *     sum_rest           what is left when there is no next task, or a shorter one
 *     ---- barrier of the grid ----
 *     sum_all            each warp an equal part of the sum jobs: masses times norms are the importance of 32 tokens
 *
 *   ring    tile n of the next task may lie where tile n of this one was, which had been summed before
 *   threads keep: warp 0, which has all rows. pack_tile, sum_tile: the other warps, which would wait; a lane has two
 *           tokens. sum_all: a lane has a token
 *   L2      masses are marked as the last to be dropped, and once they were read they are dropped without being written
 *           to memory: so the next kernel finds L2 as free as before
 *
 * Numerics notes. 3200 scores of four rows as floats would take 51 KB, and there are 43. So a score is kept as a whole
 * number of 24 bits: (CHIP_BIAS + running maximum - score) x 2^16, in units of log2. The weight is off by at most
 * 2^-17 x ln 2 = 5e-6 of itself. 2^-239 of the running maximum and less is 0; but a weight below 2^-126 is 0 in
 * attention too. A NaN makes l a NaN, and with it each weight of the row. */
#ifndef WORKER_ON_CHIP_CUH
#define WORKER_ON_CHIP_CUH

#include <stddef.h>

#include "worker_scores.cuh"
#include "worker_warpgroup.cuh"

#ifndef TREEATTN_EMULATE /* emulate.h has the same function */
/* Drops a line of 128 bytes from L2 without writing it to memory: its contents are undefined from here on. */
static __device__ __forceinline__ void discard_l2(float *line)
{
    asm volatile("discard.global.L2 [%0], 128;" ::"l"(line) : "memory");
}
#endif

/* The task that is being summed: the last one whose scores were kept. */
struct chip_task {
    uint32_t first_place; /* in the ring, of its first tile */
    uint32_t end;         /* the worker's tile that was next when the task had ended: from there on, one tile is summed
                             with each */
    uint32_t num_tokens;
    uint32_t reserved;
    float *masses;        /* of its first token */
    float2 softmax[CHIP_ROWS]; /* m, 1 / l */
};

struct chip_shared : masked_shared {
    char scores[CHIP_BYTES];      /* two stages, then the ring: lists.chip_tiles of lists.chip_tile_bytes */
    float stage_m[2][CHIP_ROWS];
    float2 softmax[CHIP_ROWS];    /* of the current task, at its end */
    chip_task task;
};
static_assert(sizeof(chip_shared) <= 113 * 1024, "room for two workers on a multiprocessor of sm_90");

enum { CHIP_BIAS = 16, CHIP_UNIT = 65536, CHIP_MOST = 0xffffff };

/* A score as a whole number. exponent: of 2, the weight's. */
static __device__ __forceinline__ uint32_t chip_code(float exponent)
{
    const float code = (CHIP_BIAS - exponent) * CHIP_UNIT;
    return code < CHIP_MOST ? __float2uint_rn(code) : (uint32_t)CHIP_MOST;
}

/* A worker's scores on the chip. A tile in a stage: for each pair of tokens, and each row, two floats. In the ring: for
 * each pair of tokens and row, the high 16 bits of both codes; then the low 8 bits; then the maximum of each row. */
template <int HEAD_DIM> struct chip_scores {
    enum { TOKENS = worker_tile<HEAD_DIM>::TOKENS, PAIRS = TOKENS / 2 };

    static __device__ __forceinline__ uint32_t num_rows(const eviction_arguments &e)
    {
        return e.shape.num_heads / e.shape.num_kv_heads;
    }

    static __device__ __forceinline__ float2 *stage(const eviction_arguments &e, chip_shared &shared, uint32_t n)
    {
        return (float2 *)shared.scores + n % 2 * PAIRS * num_rows(e);
    }

    /* The place after `place`, n <= chip_tiles further on, is where the ring begins again, if it exceeds its end. */
    static __device__ __forceinline__ uint32_t place_after(const eviction_arguments &e, uint32_t place, uint32_t n)
    {
        return place + n < e.lists.chip_tiles ? place + n : place + n - e.lists.chip_tiles;
    }

    static __device__ __forceinline__ uint32_t *ring(const eviction_arguments &e, chip_shared &shared, uint32_t place)
    {
        return (uint32_t *)(shared.scores + 2 * PAIRS * 8 * num_rows(e) + place * e.lists.chip_tile_bytes);
    }

    static __device__ __forceinline__ uint16_t *low_bits(uint32_t *tile, uint32_t rows)
    {
        return (uint16_t *)(tile + PAIRS * rows);
    }

    static __device__ __forceinline__ float *maxima(uint32_t *tile, uint32_t rows)
    {
        return (float *)(low_bits(tile, rows) + PAIRS * rows);
    }

    /* By warp 0, which has the rows: the scores of a slice from token t of tile n on, raw. */
    template <int SLICE>
    static __device__ __forceinline__ void keep(const eviction_arguments &e, chip_shared &shared, uint32_t n,
                                                const float score[SLICE / 8][4], uint32_t t)
    {
        const uint32_t rows = num_rows(e), row = threadIdx.x / 4;
        if (row >= rows)
            return;
        float2 *to = stage(e, shared, n) + (t / 2 + threadIdx.x % 4) * rows + row;
#pragma unroll
        for (int j = 0; j < SLICE / 8; j++)
            to[4 * j * rows] = make_float2(score[j][0], score[j][1]);
    }

    /* By warp 0, after tile n. */
    static __device__ __forceinline__ void keep_maxima(const eviction_arguments &e, chip_shared &shared, uint32_t n,
                                                       const tile_state<HEAD_DIM> &state)
    {
        if (threadIdx.x / 4 < num_rows(e) && threadIdx.x % 4 == 0)
            shared.stage_m[n % 2][threadIdx.x / 4] = state.m[0];
    }

    /* By the warps without rows: tile n, from its stage to the ring. */
    static __device__ __forceinline__ void pack_tile(const eviction_arguments &e, chip_shared &shared, uint32_t n,
                                                     uint32_t place)
    {
        const uint32_t rows = num_rows(e), pair = threadIdx.x - WARP;
        if (pair >= PAIRS)
            return;
        const float scale_2 = tile_scale(e.scale);
        uint32_t *high = ring(e, shared, place);
#pragma unroll 4
        for (uint32_t row = 0; row < rows; row++) {
            const float m = shared.stage_m[n % 2][row], base = m == -INFINITY ? 0 : m;
            float2 score = stage(e, shared, n)[pair * rows + row];
            float factor = scale_2;
            if (fabsf(base) > LARGE_SCORE) {
                score = make_float2(__fmul_rn(score.x, scale_2), __fmul_rn(score.y, scale_2));
                factor = 1;
            }
            const uint32_t x = chip_code(fmaf(score.x, factor, -base)), y = chip_code(fmaf(score.y, factor, -base));
            high[pair * rows + row] = x >> 8 | y >> 8 << 16;
            low_bits(high, rows)[pair * rows + row] = (uint16_t)((x & 0xff) | (y & 0xff) << 8);
            if (pair == 0)
                maxima(high, rows)[row] = m;
        }
    }

    /* The masses of token t of the task being summed, and of the next one, t even. */
    static __device__ __forceinline__ void sum_pair(const eviction_arguments &e, chip_shared &shared, uint32_t t)
    {
        const uint32_t rows = num_rows(e), pair = t % TOKENS / 2;
        uint32_t *tile = ring(e, shared, place_after(e, shared.task.first_place, t / TOKENS));
        float2 mass = make_float2(0, 0);
#pragma unroll 4
        for (uint32_t row = 0; row < rows; row++) {
            const uint32_t high = tile[pair * rows + row], low = low_bits(tile, rows)[pair * rows + row];
            const float2 softmax = shared.task.softmax[row];
            const float shift = CHIP_BIAS + (maxima(tile, rows)[row] - softmax.x), step = -1.0f / CHIP_UNIT;
            const float x = (float)((high & 0xffff) << 8 | (low & 0xff)), y = (float)(high >> 16 << 8 | low >> 8);
            mass.x = fmaf(exp2_approx(fmaf(x, step, shift)), softmax.y, mass.x);
            mass.y = fmaf(exp2_approx(fmaf(y, step, shift)), softmax.y, mass.y);
        }
        float *to = shared.task.masses + t / SCORE_ROUND * SCORE_ROUND * e.shape.num_heads + t % SCORE_ROUND;
        store_l2(to, mass.x, mass.y, L2_EVICT_LAST);
    }

    /* By the warps without rows, the last of them first, while the worker computes its tile n. */
    static __device__ __forceinline__ void sum_tile(const eviction_arguments &e, chip_shared &shared, uint32_t n)
    {
        const uint32_t pair = threadIdx.x - (WORKER_THREADS - PAIRS), t = (n - shared.task.end) * TOKENS + 2 * pair;
        if (pair < PAIRS && t < shared.task.num_tokens)
            sum_pair(e, shared, t);
    }

    /* By all threads, when tile n is next: what is left of the task being summed. */
    static __device__ __forceinline__ void sum_rest(const eviction_arguments &e, chip_shared &shared, uint32_t n)
    {
        for (uint32_t t = (n - shared.task.end) * TOKENS + 2 * threadIdx.x; t < shared.task.num_tokens;
             t += 2 * WORKER_THREADS)
            sum_pair(e, shared, t);
    }

    /* By warp 0, at the task's end: m and l of its rows. */
    static __device__ __forceinline__ void keep_softmax(const eviction_arguments &e, chip_shared &shared,
                                                        const tile_state<HEAD_DIM> &state)
    {
        const uint32_t row = threadIdx.x / 4;
        if (threadIdx.x >= WARP)
            return;
        float l = state.l[0];
        l += __shfl_xor_sync(ALL_LANES, l, 1);
        l += __shfl_xor_sync(ALL_LANES, l, 2);
        if (row < num_rows(e) && threadIdx.x % 4 == 0) /* no token: every weight is 0 */
            shared.softmax[row] = make_float2(state.m[0] == -INFINITY ? 0 : state.m[0], l == 0 ? 0 : 1 / l);
    }

    /* After a barrier; another one follows. The task that ended before tile n, with its first tile at first_place, will
     * be summed from here on. */
    static __device__ __forceinline__ void finish(const eviction_arguments &e, chip_shared &shared,
                                                  const queue_tile &last, uint32_t n, uint32_t first_place)
    {
        sum_rest(e, shared, n);
        pack_tile(e, shared, n - 1, place_after(e, first_place, last.number));
        __syncthreads();
        if (threadIdx.x < CHIP_ROWS)
            shared.task.softmax[threadIdx.x] = shared.softmax[threadIdx.x];
        if (threadIdx.x == 0) {
            shared.task.first_place = first_place;
            shared.task.end = n;
            shared.task.num_tokens = last.number * TOKENS + last.num_tokens;
            const uint64_t first_row = __ldg(&e.lists.first_rows[last.first_partial]);
            shared.task.masses = e.scores + (first_row * e.shape.num_heads + last.kv_head) * SCORE_ROUND;
        }
    }
};

/* ---- after the barrier: jobs, SUM_JOBS at once. Their loads are copies to shared memory, all requested before the
 *      first is needed, in short loops ---- */

enum { SUM_JOBS = 7, SUM_HEADS = 8 };

/* Of a warp. */
struct sum_memory {
    float mass[SUM_JOBS][SUM_HEADS][WARP]; /* mass[job][0] first has the tokens' slots */
    float norm[SUM_JOBS][SUM_HEADS][WARP];
    uint32_t position[SUM_JOBS][WARP];
    float sum[SUM_JOBS][WARP];
};
static_assert(WORKER_WARPS * sizeof(sum_memory) <= sizeof worker_shared::kv, "in the free stages");

/* A warp's part of the sum jobs. */
struct sum_cursor {
    const score_job *next;
    uint32_t left, count; /* jobs, with the current ones; the current ones */
    score_job job;        /* lane i has current job i */
};

static __device__ __forceinline__ void sum_load_jobs(sum_cursor &cursor)
{
    const uint32_t lane = threadIdx.x % WARP;
    cursor.count = cursor.left < SUM_JOBS ? cursor.left : (uint32_t)SUM_JOBS;
    if (lane < cursor.count) {
        const uint4 *from = (const uint4 *)(cursor.next + lane);
        const uint4 words[2] = {__ldg(from), __ldg(from + 1)};
        memcpy(&cursor.job, words, sizeof cursor.job);
    }
    cursor.next += cursor.count;
}

/* Requests the first jobs. Equal parts. */
static __device__ __forceinline__ sum_cursor sum_start(const eviction_arguments &e)
{
    const uint32_t num_warps = gridDim.x * WORKER_WARPS, n = threadIdx.x / WARP * gridDim.x + blockIdx.x;
    const uint32_t least = e.lists.num_sum_jobs / num_warps, num_larger = e.lists.num_sum_jobs % num_warps;
    sum_cursor cursor = {};
    cursor.next = e.lists.jobs + e.lists.num_jobs + n * least + (n < num_larger ? n : num_larger);
    cursor.left = least + (n < num_larger);
    sum_load_jobs(cursor);
    return cursor;
}

/* From here on, the stages must be free. */
static __device__ __forceinline__ void sum_request_slots(const eviction_arguments &e, const sum_cursor &cursor,
                                                         sum_memory &memory)
{
    const uint32_t lane = threadIdx.x % WARP;
#pragma unroll 1
    for (uint32_t i = 0; i < cursor.count; i++) {
        const uint32_t num_tokens = __shfl_sync(ALL_LANES, (uint32_t)cursor.job.num_tokens, i);
        const uint32_t kv_slots = __shfl_sync(ALL_LANES, cursor.job.kv_slots, i);
        if (lane < num_tokens)
            cp_async<4>(&memory.mass[i][0][lane], e.queue.kv_slots + kv_slots + lane);
    }
    cp_async_commit();
}

/* Norms of the KV heads from first_head on; with first_head 0, when the slots were requested, positions too. */
static __device__ __forceinline__ void sum_request_norms(const eviction_arguments &e, const sum_cursor &cursor,
                                                         sum_memory &memory, uint32_t first_head)
{
    const uint32_t lane = threadIdx.x % WARP, num_heads = e.shape.num_kv_heads - first_head;
    cp_async_wait<0>();
#pragma unroll 1
    for (uint32_t i = 0; i < cursor.count; i++) {
        if (lane >= __shfl_sync(ALL_LANES, (uint32_t)cursor.job.num_tokens, i))
            continue;
        const uint32_t kv_slot = __float_as_uint(memory.mass[i][0][lane]);
        const float *norms = e.norm + kv_slot + first_head * e.shape.block_tokens;
        if (e.victims && first_head == 0)
            cp_async<4>(&memory.position[i][lane], &e.positions[find_token(e, kv_slot).pool_slot]);
#pragma unroll
        for (uint32_t h = 0; h < SUM_HEADS; h++)
            if (h < num_heads)
                cp_async<4>(&memory.norm[i][h][lane], norms + h * e.shape.block_tokens);
    }
    cp_async_commit();
}

/* After the barrier. */
static __device__ __forceinline__ void sum_request_masses(const eviction_arguments &e, const sum_cursor &cursor,
                                                          sum_memory &memory, uint32_t first_head)
{
    const uint32_t lane = threadIdx.x % WARP, left = e.shape.num_kv_heads - first_head;
    const uint32_t num_chunks = (left < SUM_HEADS ? left : (uint32_t)SUM_HEADS) * SCORE_ROUND / 4;
    __syncwarp(); /* the slots were read */
#pragma unroll 1
    for (uint32_t i = 0; i < cursor.count; i++) {
        const uint32_t piece = __shfl_sync(ALL_LANES, cursor.job.first_row + cursor.job.first / SCORE_ROUND, i);
        const float *from = e.scores + ((uint64_t)piece * e.shape.num_heads + first_head) * SCORE_ROUND;
        for (uint32_t chunk = lane; chunk < num_chunks; chunk += WARP)
            cp_async<16>(memory.mass[i][0] + 4 * chunk, from + 4 * chunk);
    }
    cp_async_commit();
}

/* All sum jobs of a warp; norms and masses of the first ones were requested. */
static __device__ __forceinline__ void sum_all(const eviction_arguments &e, sum_cursor &cursor, sum_memory &memory)
{
    const uint32_t lane = threadIdx.x % WARP, num_kv_heads = e.shape.num_kv_heads;
    const float unit = 1 / ((float)e.shape.num_heads * (float)e.shape.head_dim);
    uint32_t query = UINT32_MAX, first_head = 0;
    uint64_t smallest = EVICTION_NONE;
    eviction_range candidates = {0, UINT32_MAX};
#pragma unroll 1
    while (cursor.left) {
        const bool is_last = first_head + SUM_HEADS >= num_kv_heads;
        cp_async_wait<0>();
        __syncwarp();
#pragma unroll 1
        for (uint32_t i = 0; i < cursor.count; i++) {
            const uint32_t num_tokens = __shfl_sync(ALL_LANES, (uint32_t)cursor.job.num_tokens, i);
            const uint32_t masks = __shfl_sync(ALL_LANES, cursor.job.masks, i);
            const uint32_t kv_slots = __shfl_sync(ALL_LANES, cursor.job.kv_slots, i);
            const uint32_t job_query = __shfl_sync(ALL_LANES, cursor.job.query, i);
            const uint32_t first_row = __shfl_sync(ALL_LANES, cursor.job.first_row, i);
            const uint32_t first = __shfl_sync(ALL_LANES, cursor.job.first, i);
            float sum = first_head ? memory.sum[i][lane] : 0;
#pragma unroll
            for (uint32_t h = 0; h < SUM_HEADS; h++)
                if (first_head + h < num_kv_heads)
                    sum = fmaf(memory.mass[i][h][lane], memory.norm[i][h][lane], sum);
            memory.sum[i][lane] = sum;
            if (lane < SUM_HEADS && first_head + lane < num_kv_heads) {
                const uint32_t piece = first_row + first / SCORE_ROUND;
                discard_l2(e.scores + ((uint64_t)piece * e.shape.num_heads + first_head + lane) * SCORE_ROUND);
            }
            if (!is_last)
                continue;
            if (job_query != query) {
                if (e.victims && query != UINT32_MAX)
                    offer_victim(e, query, smallest);
                query = job_query;
                smallest = EVICTION_NONE;
                if (e.candidates) {
                    const uint2 range = __ldg((const uint2 *)&e.candidates[query]);
                    candidates = {range.x, range.y};
                }
            }
            if (lane >= num_tokens || (masks != QUEUE_NO_MASK && !(__ldg(&e.queue.masks[masks + lane]) & 1)))
                continue; /* the task has one query: bit 0 */
            const uint32_t position = e.victims ? memory.position[i][lane] : 0;
            const float importance = sum * unit;
            const uint64_t key = importance_key(importance, position);
            const bool counts =
                key == EVICTION_NOT_FINITE || (candidates.first <= position && position < candidates.end);
            if (e.importance)
                e.importance[query * e.num_slots
                             + find_token(e, __ldg(e.queue.kv_slots + kv_slots + lane)).table_slot] = importance;
            smallest = counts && key < smallest ? key : smallest;
        }
        first_head += SUM_HEADS;
        __syncwarp();
        if (is_last) {
            cursor.left -= cursor.count;
            first_head = 0;
            sum_load_jobs(cursor);
        }
        sum_request_slots(e, cursor, memory);
        sum_request_norms(e, cursor, memory, first_head);
        sum_request_masses(e, cursor, memory, first_head);
    }
    cp_async_wait<0>();
    if (e.victims && query != UINT32_MAX)
        offer_victim(e, query, smallest);
}

#endif
