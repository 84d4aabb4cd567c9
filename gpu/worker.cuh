/* What a worker of the queue does besides the arithmetic of a slice: copy tiles ahead, begin a task, and turn the
 * states of its warps into partial states. Explained by step 6; the last parts by steps 7 and 8.
 *
 * A worker is a thread block of 4 warps; two of them share a multiprocessor, so that while one waits, the other
 * computes. The rows of a task (queries x query heads) decide how its warps share it, warps_m x warps_n = 4:
 *
 *     rows <= 16   1 x 4   every warp has the same 16 rows and every fourth slice of 16 tokens
 *     rows <= 32   2 x 2   warp w has rows 16 * (w % 2) .. and every second slice
 *     rows <= 64   4 x 1   every warp has its own 16 rows and all tokens
 *     rows <= 128  4 x 1   every warp has its own 2 x 16 rows: what it loads of K and V serves two products */
#ifndef WORKER_CUH
#define WORKER_CUH

#include "merge.cuh"
#include "tile.cuh"

enum {
    WORKER_WARPS = 4,
    WORKER_THREADS = WORKER_WARPS * TILE_WARP,
    STAGES = 3,
    LEAD = STAGES - 1,  /* tiles that are on their way while one is computed */
    TILE_BYTES = 16384, /* K or V of a tile: queue_tile_tokens */
    MAX_TILE_TOKENS = 128,
    WORKERS_PER_SM = 2,
    TOKEN_RING = 2 * LEAD, RECORD_RING = 4 * LEAD,
    ROW_RING = 8        /* tasks whose rows are on their way or in use: 2 * LEAD + 1, rounded up */
};

/* Matrices of 16 rows that a warp may have: registers decide. */
template <int HEAD_DIM> struct worker_matrices { enum { M = HEAD_DIM <= 128 ? 2 : 1 }; };

struct alignas(1024) worker_shared {
    char kv[STAGES][2][TILE_BYTES];
    uint64_t masks[STAGES][MAX_TILE_TOKENS]; /* step 8 */
    uint32_t tokens[TOKEN_RING][MAX_TILE_TOKENS];
    queue_row rows[ROW_RING][QUEUE_TASK_QUERIES];
    queue_tile tiles[RECORD_RING];
    float m[WORKER_WARPS][8], l[WORKER_WARPS][8];
};

/* Where a worker is in its list; the same for all threads. Tiles are counted as in the queue. */
struct worker_place {
    uint32_t first, end;  /* its tiles */
    uint32_t copied_tasks, task; /* tasks that copies of rows were started for; number of the one being computed */
};

/* ---- tiles ahead: a tile's K and V; the token list of the tile LEAD further on, and the rows of the task that begins
 *      with it; the record of that 2 * LEAD further on. So each address has arrived before it is needed. ---- */

static __device__ __forceinline__ void worker_copy_record(const attention_arguments &a, worker_shared &shared,
                                                          uint32_t i, uint32_t end)
{
    if (i < end && threadIdx.x / 2 == WORKER_THREADS / 2 - 1)
        cp_async<16>((char *)&shared.tiles[i % RECORD_RING] + threadIdx.x % 2 * 16,
                     (const char *)&a.queue.tiles[i] + threadIdx.x % 2 * 16);
}

static __device__ __forceinline__ void worker_copy_tokens(const attention_arguments &a, worker_shared &shared,
                                                          worker_place &at, uint32_t i)
{
    const queue_tile &tile = shared.tiles[i % RECORD_RING];
    if (i >= at.end)
        return;
    if (threadIdx.x < tile.num_tokens)
        cp_async<4>(&shared.tokens[i % TOKEN_RING][threadIdx.x], &a.queue.tokens[tile.first_token + threadIdx.x]);
    if (!tile.is_first)
        return;
    if (threadIdx.x < tile.num_rows)
        cp_async<8>(&shared.rows[at.copied_tasks % ROW_RING][threadIdx.x],
                    &a.queue.rows[tile.first_partial + threadIdx.x]);
    at.copied_tasks++;
}

/* K and V of a tile into a stage, zeros behind its end. Thread t copies chunk t % (HEAD_DIM / 8) of every
 * AT_ONCE-th token. */
template <int HEAD_DIM>
static __device__ __forceinline__ void worker_copy_kv(const attention_arguments &a, const queue_tile &tile,
                                                      const uint32_t *tokens, char stage[2][TILE_BYTES])
{
    enum { CHUNKS = HEAD_DIM / 8, AT_ONCE = WORKER_THREADS / CHUNKS, MINE = TILE_BYTES / (HEAD_DIM * 2) / AT_ONCE };
    uint32_t first = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS, num_tokens = tile.num_tokens, row[MINE];
    uint64_t head = (uint64_t)tile.kv_head * a.shape.block_tokens * (HEAD_DIM * 2) + chunk * 16;
    const char *key = (const char *)a.key + head, *value = (const char *)a.value + head;
#pragma unroll
    for (int j = 0; j < MINE; j++) /* all first: the copies, to the compiler, might change them */
        row[j] = first + j * AT_ONCE < num_tokens ? tokens[first + j * AT_ONCE] : 0;
#pragma unroll
    for (int j = 0; j < MINE; j++) {
        uint32_t token = first + j * AT_ONCE;
        uint64_t offset = (uint64_t)row[j] * (HEAD_DIM * 2);
        char *to = tile_chunk<HEAD_DIM>(stage[0], token, chunk);
        cp_async_16(to, key + offset, token < num_tokens);
        cp_async_16(to + TILE_BYTES, value + offset, token < num_tokens);
    }
}

/* Starts the copies that belong to tile i. The caller closes the group, also where nothing is left to copy. */
template <int HEAD_DIM>
static __device__ __forceinline__ void worker_copy(const attention_arguments &a, worker_shared &shared,
                                                   worker_place &at, uint32_t i)
{
    if (i < at.end) {
        const queue_tile &tile = shared.tiles[i % RECORD_RING];
        worker_copy_kv<HEAD_DIM>(a, tile, shared.tokens[i % TOKEN_RING], shared.kv[(i - at.first) % STAGES]);
    }
    worker_copy_tokens(a, shared, at, i + LEAD);
    worker_copy_record(a, shared, i + 2 * LEAD, at.end);
}

/* Step 8: the masks of tile i. */
static __device__ __forceinline__ void worker_copy_masks(const attention_arguments &a, worker_shared &shared,
                                                         const worker_place &at, uint32_t i)
{
    const queue_tile &tile = shared.tiles[i % RECORD_RING];
    if (i < at.end && tile.first_mask != QUEUE_NO_MASK && threadIdx.x < tile.num_tokens)
        cp_async<8>(&shared.masks[(i - at.first) % STAGES][threadIdx.x], &a.queue.masks[tile.first_mask + threadIdx.x]);
}

/* Finds the worker's tiles, and brings what the first ones need, so that worker_copy can begin. */
static __device__ __forceinline__ worker_place worker_start(const attention_arguments &a, worker_shared &shared)
{
    worker_place at = {a.queue.worker_first[blockIdx.x], a.queue.worker_first[blockIdx.x + 1], 0, 0};
    for (uint32_t i = at.first; i < at.first + 2 * LEAD; i++)
        worker_copy_record(a, shared, i, at.end);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    for (uint32_t i = at.first; i < at.first + LEAD; i++)
        worker_copy_tokens(a, shared, at, i);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    return at;
}

/* ---- a task's rows ---- */

static __device__ __forceinline__ uint32_t tile_rows(const queue_tile &tile) { return tile.num_rows * tile.num_heads; }

/* The query of a row, as a row of the task. */
static __device__ __forceinline__ uint32_t tile_query_row(const queue_tile &tile, uint32_t row)
{
    return row * tile.inverse >> 15;
}

static __device__ __forceinline__ uint32_t worker_warps_m(const queue_tile &tile)
{
    uint32_t rows = tile_rows(tile);
    return rows <= 16 ? 1 : rows <= 32 ? 2 : 4;
}

/* The tile's row that is this lane's first (h = 0) or second (h = 1) of its warp's matrix m. */
static __device__ __forceinline__ uint32_t worker_row(uint32_t warps_m, uint32_t m, uint32_t h)
{
    return (threadIdx.x / TILE_WARP % warps_m + m * warps_m) * SLICE_ROWS + threadIdx.x % TILE_WARP / 4 + 8 * h;
}

/* This lane's queries of the task. */
template <int HEAD_DIM, typename T, int M>
static __device__ __forceinline__ void worker_load_queries(const attention_arguments &a, const queue_tile &tile,
                                                           const queue_row *rows, uint32_t q[M][HEAD_DIM / 16][4])
{
    uint32_t num_rows = tile_rows(tile), warps_m = worker_warps_m(tile);
#pragma unroll
    for (int m = 0; m < M; m++) {
        const float *from[2] = {NULL, NULL};
        if (m * warps_m * SLICE_ROWS >= num_rows)
            continue;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            uint32_t row = worker_row(warps_m, m, h), query_row = tile_query_row(tile, row);
            if (row < num_rows) {
                uint64_t head = tile.head + row - query_row * tile.num_heads;
                from[h] = a.query + ((uint64_t)rows[query_row].query * a.shape.num_heads + head) * HEAD_DIM;
            }
        }
        tile_query<HEAD_DIM, T>(q[m], from[0], from[1]);
    }
}

/* This warp's slices of a tile are worker_first_slice, + warps_n, ... */
template <int HEAD_DIM> static __device__ __forceinline__ uint32_t worker_first_slice(const queue_tile &tile)
{
    enum { SLICES = TILE_BYTES / (HEAD_DIM * 2) / SLICE_TOKENS };
    uint32_t warps_m = worker_warps_m(tile), warps_n = WORKER_WARPS / warps_m;
    return (threadIdx.x / TILE_WARP / warps_m - tile.number * SLICES) % warps_n;
}

/* Bits of tile_softmax for matrix m and a slice of a masked tile; masks: of its tokens, of which num_tokens are
 * left. */
static __device__ __forceinline__ uint32_t worker_visible(const queue_tile &tile, uint32_t m, const uint64_t *masks,
                                                          uint32_t num_tokens)
{
    uint32_t warps_m = worker_warps_m(tile);
    uint32_t row[2] = {tile_query_row(tile, worker_row(warps_m, m, 0)),
                       tile_query_row(tile, worker_row(warps_m, m, 1))};
    return tile_visible(masks, (int)num_tokens, row, tile.num_rows);
}

/* ---- from the states of the warps to partial states ---- */

/* Where the sum of a row goes, and by what it is multiplied: a partial state; or out, where this is the query's only
 * state. One of the row's threads writes the rest of the state, or lse. */
struct worker_target {
    float *o;
    float scale;
};

template <int HEAD_DIM>
static __device__ __forceinline__ worker_target worker_find_target(const attention_arguments &a, const queue_tile &tile,
                                                                   const queue_row *rows, uint32_t row, float m,
                                                                   float l, bool writes_rest)
{
    uint32_t query_row = tile_query_row(tile, row), head = tile.head + row - query_row * tile.num_heads;
    queue_row at = rows[query_row];
    bool is_result = at.state == QUEUE_ONLY_STATE;
    uint64_t place = (uint64_t)(is_result ? at.query : at.state) * a.shape.num_heads + head;
    m *= LN_2;
    if (writes_rest && !is_result) {
        __stcg(&a.m[place], m);
        __stcg(&a.l[place], l);
    } else if (writes_rest && a.lse)
        a.lse[place] = m + logf(l);
    return {(is_result ? a.out : a.o) + place * HEAD_DIM, is_result ? (l == 0 ? 0 : 1 / l) : 1};
}

/* Every warp has rows of its own: straight from the registers, those that belong to the queries [first, end). */
template <int HEAD_DIM, int M>
static __device__ __forceinline__ void worker_store_own(const attention_arguments &a, const queue_tile &tile,
                                                        const queue_row *rows, const tile_state<HEAD_DIM> state[M],
                                                        uint32_t first, uint32_t end)
{
    uint32_t pair = threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < 2 * M; i++) {
        const tile_state<HEAD_DIM> &s = state[i / 2];
        const int h = i % 2;
        uint32_t row = worker_row(WORKER_WARPS, i / 2, h);
        if (row < first * tile.num_heads || row >= end * tile.num_heads)
            continue;
        worker_target to = worker_find_target<HEAD_DIM>(a, tile, rows, row, s.m[h], s.l[h], pair == 0);
#pragma unroll
        for (int j = 0; j < HEAD_DIM / 8; j++)
            __stcg((float2 *)(to.o + 8 * j + pair),
                   make_float2(s.o[j][2 * h] * to.scale, s.o[j][2 * h + 1] * to.scale));
    }
}

/* Where warps leave COLUMNS columns of o of 8 rows; columns are turned by 8 for each row, so that the lanes of a warp
 * write to different banks. */
template <int COLUMNS>
static __device__ __forceinline__ float *worker_column(char *buffer, uint32_t warp, uint32_t row, uint32_t column)
{
    return (float *)buffer + (warp * 8 + row) * COLUMNS + (column ^ row % 4 * 8);
}

/* Warps w, w + warps_m, ... have states of the same rows: they meet in `buffer`, 8 rows of each warp at a time. */
template <int HEAD_DIM>
static __device__ __forceinline__ void worker_store_shared(const attention_arguments &a, worker_shared &shared,
                                                           const queue_tile &tile, const queue_row *rows,
                                                           const tile_state<HEAD_DIM> &state, char *buffer,
                                                           uint32_t first, uint32_t end)
{
    enum { COLUMNS = HEAD_DIM < 128 ? HEAD_DIM : 128, QUADS = COLUMNS / 4, AT_ONCE = WORKER_THREADS / QUADS };
    uint32_t warp = threadIdx.x / TILE_WARP, lane = threadIdx.x % TILE_WARP, warps_m = worker_warps_m(tile);
    uint32_t column = threadIdx.x % QUADS * 4, num_rows = tile_rows(tile);
#pragma unroll
    for (int pass = 0; pass < 2 * HEAD_DIM / COLUMNS; pass++) {
        const int h = pass % 2, first_column = pass / 2 * COLUMNS;
        if (8u * h >= num_rows)
            continue;
        __syncthreads(); /* the buffer is free */
        if (lane % 4 == 0) {
            shared.m[warp][lane / 4] = state.m[h];
            shared.l[warp][lane / 4] = state.l[h];
        }
#pragma unroll
        for (int j = 0; j < COLUMNS / 8; j++) {
            const float *o = state.o[first_column / 8 + j] + 2 * h;
            *(float2 *)worker_column<COLUMNS>(buffer, warp, lane / 4, 8 * j + lane % 4 * 2) = make_float2(o[0], o[1]);
        }
        __syncthreads();
        for (uint32_t i = threadIdx.x / QUADS; i < 8 * warps_m; i += AT_ONCE) {
            uint32_t row = i / 8 * SLICE_ROWS + 8 * h + i % 8;
            if (row < first * tile.num_heads || row >= end * tile.num_heads)
                continue;
            float m = -INFINITY, l = 0;
            float4 sum = make_float4(0, 0, 0, 0);
            for (uint32_t w = i / 8; w < WORKER_WARPS; w += warps_m)
                m = fmaxf(m, shared.m[w][i % 8]);
            for (uint32_t w = i / 8; w < WORKER_WARPS; w += warps_m) {
                float weight = m == -INFINITY ? 0 : exp2_approx(shared.m[w][i % 8] - m);
                float4 o = *(const float4 *)worker_column<COLUMNS>(buffer, w, i % 8, column);
                l += weight * shared.l[w][i % 8];
                sum.x += weight * o.x;
                sum.y += weight * o.y;
                sum.z += weight * o.z;
                sum.w += weight * o.w;
            }
            worker_target to = worker_find_target<HEAD_DIM>(a, tile, rows, row, m, l, first_column + column == 0);
            __stcg((float4 *)(to.o + first_column + column),
                   make_float4(sum.x * to.scale, sum.y * to.scale, sum.z * to.scale, sum.w * to.scale));
        }
    }
}

/* Writes the rows of the queries [first, end) of the task. buffer: 16 KB that nobody else uses until the next
 * barrier. */
template <int HEAD_DIM, int M>
static __device__ __forceinline__ void worker_store(const attention_arguments &a, worker_shared &shared,
                                                    const queue_tile &tile, const queue_row *rows,
                                                    tile_state<HEAD_DIM> state[M], char *buffer, uint32_t first,
                                                    uint32_t end)
{
#pragma unroll
    for (int m = 0; m < M; m++)
        tile_sum_rows<HEAD_DIM>(state[m]);
    if (worker_warps_m(tile) == WORKER_WARPS)
        worker_store_own<HEAD_DIM, M>(a, tile, rows, state, first, end);
    else
        worker_store_shared<HEAD_DIM>(a, shared, tile, rows, state[0], buffer, first, end);
}

/* ---- 0 * NaN: a value that one row of a masked task sees may be NaN, and spoils the o of all of them. Where o has a
 *      NaN, the task is not written; when its other tiles are done, the worker does it again, row by row. ---- */

/* The tiles from `i` on to the end of their task, for one row: what it does not see is copied as zeros. */
template <int HEAD_DIM, typename T, int M>
static __device__ __forceinline__ void worker_absorb_row(const attention_arguments &a, worker_shared &shared,
                                                         uint32_t i, uint32_t row,
                                                         const uint32_t q[M][HEAD_DIM / 16][4],
                                                         tile_state<HEAD_DIM> state[M])
{
    enum { CHUNKS = HEAD_DIM / 8, TOKENS = TILE_BYTES / (HEAD_DIM * 2) };
    for (bool is_last = false; !is_last; i++) {
        const queue_tile tile = a.queue.tiles[i];
        const uint64_t *masks = tile.first_mask == QUEUE_NO_MASK ? NULL : a.queue.masks + tile.first_mask;
        uint32_t chunk = threadIdx.x % CHUNKS, warps_n = WORKER_WARPS / worker_warps_m(tile);
        for (uint32_t token = threadIdx.x / CHUNKS; token < TOKENS; token += WORKER_THREADS / CHUNKS) {
            bool valid = token < tile.num_tokens && (!masks || masks[token] >> row & 1);
            uint32_t kv_row = valid ? a.queue.tokens[tile.first_token + token] : 0;
            uint64_t offset = tile_offset<HEAD_DIM>(a.shape, kv_row, tile.kv_head) + chunk * 8;
            cp_async_16(tile_chunk<HEAD_DIM>(shared.kv[0][0], token, chunk), (const T *)a.key + offset, valid);
            cp_async_16(tile_chunk<HEAD_DIM>(shared.kv[0][1], token, chunk), (const T *)a.value + offset, valid);
        }
        cp_async_commit();
        cp_async_wait<0>();
        __syncthreads();
        for (uint32_t slice = worker_first_slice<HEAD_DIM>(tile); slice * SLICE_TOKENS < tile.num_tokens;
             slice += warps_n) {
            uint32_t first = slice * SLICE_TOKENS, offset = first * HEAD_DIM * 2, left = tile.num_tokens - first;
            uint32_t visible[M];
            for (int m = 0; m < M; m++)
                visible[m] = masks ? worker_visible(tile, m, masks + first, left) : tile_first_tokens((int)left);
            tile_absorb<HEAD_DIM, T, M>(state, q, shared.kv[0][0] + offset, shared.kv[0][1] + offset, visible, a.scale);
        }
        __syncthreads();
        is_last = tile.is_last;
    }
}

/* The masked task that begins with tile i. */
template <int HEAD_DIM, typename T>
static __device__ __noinline__ void worker_row_by_row(const attention_arguments &a, worker_shared &shared, uint32_t i)
{
    enum { M = worker_matrices<HEAD_DIM>::M };
    const queue_tile tile = a.queue.tiles[i];
    const queue_row *rows = a.queue.rows + tile.first_partial;
    uint32_t q[M][HEAD_DIM / 16][4] = {};
    worker_load_queries<HEAD_DIM, T, M>(a, tile, rows, q);
    for (uint32_t row = 0; row < tile.num_rows; row++) {
        tile_state<HEAD_DIM> state[M];
        __syncthreads(); /* what the last store left in shared.kv was read */
        for (int m = 0; m < M; m++)
            tile_clear<HEAD_DIM>(state[m]);
        worker_absorb_row<HEAD_DIM, T, M>(a, shared, i, row, q, state);
        worker_store<HEAD_DIM, M>(a, shared, tile, rows, state, shared.kv[0][0], row, row + 1);
    }
}

/* ---- step 7: the same launch merges ---- */

/* Returns when all workers have come here; what they wrote before can be read then. All of them run at the same time.
 * The counter's highest bit turns when the last one comes, and the others are 0 again. */
static __device__ __forceinline__ void worker_wait_for_all(uint32_t *arrivals)
{
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        uint32_t before = atomicAdd(arrivals, blockIdx.x == 0 ? 0x80000000u - (gridDim.x - 1) : 1);
        while (!((load_acquire(arrivals) ^ before) & 0x80000000u))
            ;
    }
    __syncthreads();
}

#endif
