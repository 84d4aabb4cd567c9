/* What a worker of the queue does besides the arithmetic of a slice: copy tiles ahead, begin a task, and turn the
 * states of its warps into partial states. Explained by step 6; the last parts by steps 7 and 8.
 *
 * A worker is a thread block of 4 warps; two of them share a multiprocessor, so that while one waits, the other
 * computes. The rows of a task (queries x query heads) decide how its warps share a tile of 64 tokens (head_dim 128),
 * warps_m x warps_n = 4:
 *
 *     rows <= 16   1 x 4   every warp has the same 16 rows and a slice of 16 tokens
 *     rows <= 32   2 x 2   warp w has rows 16 * (w % 2) .. and a slice of 32 tokens
 *     rows <= 64   4 x 1   every warp has its own 16 rows and all 64 tokens
 *
 * A step with OWN_ROWS has 4 x 1 always. */
#ifndef WORKER_CUH
#define WORKER_CUH

#include "merge.cuh"
#include "tile.cuh"
#include "warpgroup.cuh"

enum {
    WORKER_WARPS = QUEUE_TILE_ROWS / SLICE_ROWS,
    WORKER_THREADS = WORKER_WARPS * TILE_WARP,
    STAGES = 2,
    LEAD = STAGES - 1,  /* tiles that are on their way while one is computed */
    TILE_BYTES = 16384, /* K or V of a tile: queue_tile_tokens */
    MAX_TILE_TOKENS = 128,
    MY_TOKENS = 8,      /* of a tile, that a thread copies 16 bytes of: whatever head_dim is */
    WORKERS_PER_SM = 2,
    TOKEN_RING = 2 * LEAD, RECORD_RING = 4 * LEAD,
    ROW_RING = 4 * LEAD /* tasks whose rows are on their way or in use */
};
static_assert((int)LEAD == (int)QUEUE_START_TILES, "a worker starts with the records of the first tiles");

template <int HEAD_DIM> struct worker_tile {
    enum {
        TOKENS = TILE_BYTES / (HEAD_DIM * 2),
        CHUNKS = HEAD_DIM / 8,                 /* of 16 bytes, of a token */
        AT_ONCE = WORKER_THREADS / CHUNKS,     /* tokens that the threads copy at a time */
        MAX_SLICE = TOKENS < 64 ? TOKENS : 64  /* registers decide */
    };
};

struct alignas(1024) worker_shared {
    char kv[STAGES][2][TILE_BYTES];
    uint64_t masks[STAGES][MAX_TILE_TOKENS]; /* from step 8 on */
    uint32_t tokens[TOKEN_RING][MAX_TILE_TOKENS]; /* those that one thread copies lie behind each other */
    queue_row rows[ROW_RING][QUEUE_TILE_ROWS];
    queue_tile tiles[RECORD_RING];
    queue_start start;
    float m[WORKER_WARPS][8], l[WORKER_WARPS][8];
    bool is_last; /* step 9 */
};

/* Where a worker is; the same for all threads. It counts its tiles from 0. */
struct worker_place {
    uint32_t first, count; /* tiles[first .. first + count) of the queue */
    uint32_t only_row;     /* ALL_ROWS; or the query row of a task that is done again */
    uint32_t copied_tasks; /* tasks that copies of rows were started for; only warp 1 counts them */
    uint32_t task;         /* number of the one that is computed */
};

static __device__ __forceinline__ queue_tile worker_record(const worker_shared &shared, uint32_t n)
{
    const uint4 *from = (const uint4 *)&shared.tiles[n % RECORD_RING];
    uint4 words[2] = {from[0], from[1]};
    queue_tile tile;
    memcpy(&tile, words, sizeof tile);
    return tile;
}

/* ---- tiles ahead: a tile's K and V, with its masks; the token list of the tile LEAD further on, and the rows of the
 *      task that begins with it; the record of that 2 * LEAD further on. So each address has arrived before it is
 *      needed. K and V are copied by all threads, the small things by one warp each. ---- */

/* By one warp. */
static __device__ __forceinline__ void worker_copy_record(const attention_arguments &a, worker_shared &shared,
                                                          const worker_place &at, uint32_t n)
{
    uint32_t lane = threadIdx.x % TILE_WARP;
    if (n < at.count && lane < 2)
        cp_async<16>((char *)&shared.tiles[n % RECORD_RING] + lane * 16,
                     (const char *)&a.queue.tiles[at.first + n] + lane * 16);
}

/* By one warp. */
template <int HEAD_DIM>
static __device__ __forceinline__ void worker_copy_tokens(const attention_arguments &a, worker_shared &shared,
                                                          const worker_place &at, uint32_t n)
{
    enum { AT_ONCE = worker_tile<HEAD_DIM>::AT_ONCE };
    if (n >= at.count)
        return;
    const queue_tile &tile = shared.tiles[n % RECORD_RING];
    const uint32_t *from = a.queue.tokens + tile.first_token;
    uint32_t num_tokens = tile.num_tokens;
#pragma unroll
    for (int i = 0; i < worker_tile<HEAD_DIM>::TOKENS; i += TILE_WARP) {
        uint32_t token = i + threadIdx.x % TILE_WARP;
        if (token < num_tokens)
            cp_async<4>(&shared.tokens[n % TOKEN_RING][token % AT_ONCE * MY_TOKENS + token / AT_ONCE], from + token);
    }
}

/* By one warp. */
static __device__ __forceinline__ void worker_copy_rows(const attention_arguments &a, worker_shared &shared,
                                                        worker_place &at, uint32_t n)
{
    const queue_tile &tile = shared.tiles[n % RECORD_RING];
    if (n >= at.count || !tile.is_first)
        return;
    for (uint32_t row = threadIdx.x % TILE_WARP; row < tile.num_rows; row += TILE_WARP)
        cp_async<8>(&shared.rows[at.copied_tasks % ROW_RING][row], &a.queue.rows[tile.first_partial + row]);
    at.copied_tasks++;
}

/* By one warp; step 8. */
template <int HEAD_DIM>
static __device__ __forceinline__ void worker_copy_masks(const attention_arguments &a, worker_shared &shared,
                                                         const worker_place &at, uint32_t n, uint32_t stage)
{
    const queue_tile &tile = shared.tiles[n % RECORD_RING];
    if (n >= at.count || tile.first_mask == QUEUE_NO_MASK)
        return;
    for (uint32_t token = threadIdx.x % TILE_WARP; token < tile.num_tokens; token += TILE_WARP)
        cp_async<8>(&shared.masks[stage][token], &a.queue.masks[tile.first_mask + token]);
}

/* K and V of a tile into a stage, zeros behind its end, and for what only_row does not see. Thread t copies chunk
 * t % CHUNKS of every AT_ONCE-th token. masks: of the tile's tokens, where only_row is a row. */
template <int HEAD_DIM, bool IS_FULL>
static __device__ __forceinline__ void worker_copy_kv(const char *key, const char *value, uint32_t row_bytes,
                                                      const uint32_t *tokens, uint32_t num_tokens,
                                                      char stage[2][TILE_BYTES], const uint64_t *masks,
                                                      uint32_t only_row)
{
    enum { CHUNKS = worker_tile<HEAD_DIM>::CHUNKS, AT_ONCE = worker_tile<HEAD_DIM>::AT_ONCE };
    uint32_t first = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
    const uint4 *mine = (const uint4 *)(tokens + first * MY_TOKENS), low = mine[0], high = mine[1];
    const uint32_t row[MY_TOKENS] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    const ptrdiff_t from_key_to_value = value - key;
#pragma unroll
    for (int j = 0; j < MY_TOKENS; j++) {
        uint32_t token = first + j * AT_ONCE;
        bool valid = IS_FULL || (token < num_tokens && (!masks || masks[token] >> only_row & 1));
        char *to = tile_chunk<HEAD_DIM>(stage[0], token, chunk);
        const char *from = address_at(key, valid ? row[j] : 0, row_bytes);
        cp_async_16(to, from, valid);
        cp_async_16(to + TILE_BYTES, from + from_key_to_value, valid);
    }
}

/* Starts the copies that belong to tile n; its K and V go to `stage`. The caller closes the group, also where nothing
 * is left to copy. */
template <int HEAD_DIM, bool MASKS_TRAVEL>
static __device__ __forceinline__ void worker_copy(const attention_arguments &a, worker_shared &shared,
                                                   worker_place &at, uint32_t n, uint32_t stage)
{
    const uint32_t warp = threadIdx.x / TILE_WARP;
    if (warp == 0)
        worker_copy_tokens<HEAD_DIM>(a, shared, at, n + LEAD);
    else if (warp == 1)
        worker_copy_rows(a, shared, at, n + LEAD);
    else if (warp == 2 && MASKS_TRAVEL)
        worker_copy_masks<HEAD_DIM>(a, shared, at, n, stage);
    else if (warp == 3)
        worker_copy_record(a, shared, at, n + 2 * LEAD);
    if (n >= at.count)
        return;
    const queue_tile tile = worker_record(shared, n);
    uint32_t row_bytes = a.shape.head_dim * 2; /* HEAD_DIM * 2, but no constant: address_at */
    uint64_t head = (uint64_t)tile.kv_head * a.shape.block_tokens * (HEAD_DIM * 2)
                    + threadIdx.x % worker_tile<HEAD_DIM>::CHUNKS * 16;
    const char *key = (const char *)a.key + head, *value = (const char *)a.value + head;
    const uint32_t *tokens = shared.tokens[n % TOKEN_RING];
    if (tile.num_tokens == worker_tile<HEAD_DIM>::TOKENS && at.only_row == ALL_ROWS)
        worker_copy_kv<HEAD_DIM, true>(key, value, row_bytes, tokens, tile.num_tokens, shared.kv[stage], NULL, 0);
    else
        worker_copy_kv<HEAD_DIM, false>(key, value, row_bytes, tokens, tile.num_tokens, shared.kv[stage],
                                        at.only_row == ALL_ROWS || tile.first_mask == QUEUE_NO_MASK
                                            ? NULL : a.queue.masks + tile.first_mask, at.only_row);
}

/* Brings what the first tiles need, once their records are there, so that worker_copy can begin. */
template <int HEAD_DIM>
static __device__ __forceinline__ void worker_copy_first(const attention_arguments &a, worker_shared &shared,
                                                         worker_place &at)
{
    const uint32_t warp = threadIdx.x / TILE_WARP;
    for (uint32_t n = 0; n < LEAD; n++) {
        if (warp == 0)
            worker_copy_tokens<HEAD_DIM>(a, shared, at, n);
        else if (warp == 1)
            worker_copy_rows(a, shared, at, n);
        else if (warp == 3)
            worker_copy_record(a, shared, at, LEAD + n);
    }
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
}

/* Finds the worker's tiles. */
template <int HEAD_DIM>
static __device__ __forceinline__ worker_place worker_start(const attention_arguments &a, worker_shared &shared)
{
    const queue_start *start = &a.queue.starts[blockIdx.x];
    if (threadIdx.x < sizeof *start / 16)
        cp_async<16>((char *)&shared.start + threadIdx.x * 16, (const char *)start + threadIdx.x * 16);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    worker_place at = {shared.start.first_tile, shared.start.num_tiles, ALL_ROWS, 0, 0};
    if (threadIdx.x < LEAD)
        shared.tiles[threadIdx.x] = shared.start.tiles[threadIdx.x];
    __syncthreads();
    worker_copy_first<HEAD_DIM>(a, shared, at);
    return at;
}

/* ---- a task's rows ---- */

static __device__ __forceinline__ uint32_t tile_rows(const queue_tile &tile) { return tile.num_rows * tile.num_heads; }

/* The query of a row, as a row of the task. */
static __device__ __forceinline__ uint32_t tile_query_row(const queue_tile &tile, uint32_t row)
{
    return row * tile.inverse >> 15;
}

template <bool OWN_ROWS> static __device__ __forceinline__ uint32_t worker_warps_m(const queue_tile &tile)
{
    uint32_t rows = tile_rows(tile);
    return OWN_ROWS || rows > 32 ? 4 : rows > 16 ? 2 : 1;
}

/* The tile's row that is this lane's first (h = 0) or second (h = 1). */
static __device__ __forceinline__ uint32_t worker_row(uint32_t warps_m, uint32_t h)
{
    return threadIdx.x / TILE_WARP % warps_m * SLICE_ROWS + threadIdx.x % TILE_WARP / 4 + 8 * h;
}

/* Asks for this lane's queries of a task. */
template <int HEAD_DIM, bool OWN_ROWS>
static __device__ __forceinline__ void worker_load_queries(const attention_arguments &a, const queue_tile &tile,
                                                           const queue_row *rows, tile_floats<HEAD_DIM> &x)
{
    uint32_t num_rows = tile_rows(tile), warps_m = worker_warps_m<OWN_ROWS>(tile);
    const float *from[2] = {NULL, NULL};
#pragma unroll
    for (int h = 0; h < 2; h++) {
        uint32_t row = worker_row(warps_m, h), query_row = tile_query_row(tile, row);
        if (row < num_rows) {
            uint64_t head = tile.head + row - query_row * tile.num_heads;
            from[h] = a.query + ((uint64_t)rows[query_row].query * a.shape.num_heads + head) * HEAD_DIM;
        }
    }
    tile_load<HEAD_DIM>(x, from[0], from[1]);
}

/* What this warp does of each tile of a task. */
struct worker_part {
    uint32_t warps_n, slice; /* warps that share the tokens; tokens of a slice */
    uint32_t warp, slices;   /* its number of warps_n; slices of a tile */
    uint32_t row[2];         /* query rows of the lane's rows; where those are none, the last one */
    uint64_t rows;           /* bit r: some of its rows are of query row r */
};

template <int HEAD_DIM, bool OWN_ROWS>
static __device__ __forceinline__ worker_part worker_find_part(const queue_tile &tile)
{
    enum { TOKENS = worker_tile<HEAD_DIM>::TOKENS, LEAST = SLICE_TOKENS, MOST = worker_tile<HEAD_DIM>::MAX_SLICE };
    worker_part part;
    uint32_t warps_m = worker_warps_m<OWN_ROWS>(tile), shift = warps_m == 4 ? 0 : 3 - warps_m;
    uint32_t share = TOKENS >> shift, first_row = threadIdx.x / TILE_WARP % warps_m * SLICE_ROWS;
    part.warps_n = 1 << shift;
    part.slice = share < LEAST ? (uint32_t)LEAST : share < MOST ? share : (uint32_t)MOST;
    part.slices = TOKENS / LEAST >> (part.slice == LEAST ? 0 : part.slice == 2 * LEAST ? 1 : 2);
    part.warp = threadIdx.x / TILE_WARP >> (2 - shift);
    for (int h = 0; h < 2; h++) {
        uint32_t row = tile_query_row(tile, worker_row(warps_m, h));
        part.row[h] = row < tile.num_rows ? row : tile.num_rows - 1u;
    }
    uint32_t first = tile_query_row(tile, first_row), last = tile_query_row(tile, first_row + SLICE_ROWS - 1);
    part.rows = first < 64 ? UINT64_MAX << first : 0;
    part.rows &= last < 63 ? ((uint64_t)2 << last) - 1 : UINT64_MAX;
    return part;
}

/* The first token of its first slice of a tile; those of the others are warps_n slices further on. */
static __device__ __forceinline__ uint32_t worker_first_token(const worker_part &part, const queue_tile &tile)
{
    return ((part.warp - tile.number * part.slices) & (part.warps_n - 1)) * part.slice;
}

/* A slice of up to TOKENS tokens, of which num_tokens are there; masks: of its tokens, if it is masked. */
template <int HEAD_DIM, typename T, int TOKENS>
static __device__ __forceinline__ void worker_absorb_slice(tile_state<HEAD_DIM> &state,
                                                           const uint32_t q[HEAD_DIM / 16][4],
                                                           const worker_part &part, const char *keys,
                                                           const char *values, bool is_masked, const uint64_t *masks,
                                                           uint32_t num_tokens, float scale)
{
    if (TOKENS > SLICE_TOKENS && num_tokens <= TOKENS / 2) {
        worker_absorb_slice<HEAD_DIM, T, (TOKENS > SLICE_TOKENS ? TOKENS / 2 : TOKENS)>(
            state, q, part, keys, values, is_masked, masks, num_tokens, scale);
        return;
    }
    uint32_t visible = is_masked ? tile_visible<TOKENS>(masks, (int)num_tokens, part.row)
                                 : tile_first_tokens<TOKENS>((int)num_tokens);
    tile_absorb<HEAD_DIM, T, TOKENS>(state, q, keys, values, visible, scale);
}

/* What a step does with a tile: steps 6 and 7. Others have the same members. */
template <int HEAD_DIM, typename T> struct worker_absorb {
    enum {
        MASKS_TRAVEL = 0, /* with their tile, to shared memory; else absorb gets those of the queue */
        OWN_ROWS = 0
    };
    struct scores {};

    /* Once the tile is there, before the next one is asked for. */
    static __device__ __forceinline__ void begin(scores &, const uint32_t[HEAD_DIM / 16][4], const char *) {}

    /* absorb this warp's slices of a tile. */
    static __device__ __forceinline__ void absorb(tile_state<HEAD_DIM> &state, scores &,
                                                  const uint32_t q[HEAD_DIM / 16][4], const worker_part &part,
                                                  const queue_tile &tile, const char *keys, const char *values,
                                                  const uint64_t *masks, float scale)
    {
        const uint32_t all_warps = part.warps_n * part.slice;
        for (uint32_t first = worker_first_token(part, tile); first < tile.num_tokens; first += all_warps) {
            uint32_t offset = first * PANEL_ROW, left = tile.num_tokens - first;
            worker_absorb_slice<HEAD_DIM, T, worker_tile<HEAD_DIM>::MAX_SLICE>(
                state, q, part, keys + offset, values + offset, tile.first_mask != QUEUE_NO_MASK, masks + first,
                left < part.slice ? left : part.slice, scale);
        }
    }
};

/* ---- from the states of the warps to partial states ---- */

/* Where the sum of a row goes, and by what it is multiplied: a partial state; or out, where this is the query's only
 * state. One of the row's threads writes the rest of the state, or lse. */
struct worker_target {
    uint32_t place; /* row of out or of o */
    bool is_result;
    float inverse;
};

static __device__ __forceinline__ worker_target worker_find_target(const attention_arguments &a, const queue_tile &tile,
                                                                   const queue_row *rows, uint32_t row, float m,
                                                                   float l, bool writes_rest)
{
    uint32_t query_row = tile_query_row(tile, row), head = tile.head + row - query_row * tile.num_heads;
    queue_row at = rows[query_row];
    bool is_result = at.state == QUEUE_ONLY_STATE;
    uint32_t place = (is_result ? at.query : at.state) * a.shape.num_heads + head; /* below 2^31: steps.cu */
    m *= LN_2;
    if (writes_rest && !is_result) {
        __stcg(&a.m[place], m);
        __stcg(&a.l[place], l);
    } else if (writes_rest && a.lse)
        a.lse[place] = m + logf(l);
    return {place, is_result, l == 0 ? 0 : reciprocal_approx(l)};
}

/* Every warp has rows of its own: straight from the registers, those that belong to the queries [first, end). */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void worker_store_own(const attention_arguments &a, const queue_tile &tile,
                                                        const queue_row *rows, const tile_state<HEAD_DIM> &state,
                                                        uint32_t first, uint32_t end)
{
    uint32_t pair = threadIdx.x % 4 * 2;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        uint32_t row = worker_row(WORKER_WARPS, h);
        if (row < first * tile.num_heads || row >= end * tile.num_heads)
            continue;
        worker_target to = worker_find_target(a, tile, rows, row, state.m[h], state.l[h], pair == 0);
        float *result = a.out + (uint64_t)to.place * HEAD_DIM + pair;
        T *partial = (T *)a.o + (uint64_t)to.place * HEAD_DIM + merge_turned(pair);
        if (to.is_result) {
#pragma unroll
            for (int j = 0; j < HEAD_DIM / 8; j++)
                __stcg((float2 *)(result + 8 * j),
                       make_float2(state.o[j][2 * h] * to.inverse, state.o[j][2 * h + 1] * to.inverse));
        } else {
#pragma unroll
            for (int j = 0; j < HEAD_DIM / 8; j += 4) {
                uint32_t x[4];
#pragma unroll
                for (int i = 0; i < 4; i++)
                    x[i] = pack_pair<T>(state.o[j + i][2 * h] * to.inverse, state.o[j + i][2 * h + 1] * to.inverse);
                __stcg((uint4 *)(partial + 8 * j), make_uint4(x[0], x[1], x[2], x[3]));
            }
        }
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
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void worker_store_shared(const attention_arguments &a, worker_shared &shared,
                                                           const queue_tile &tile, const queue_row *rows,
                                                           const tile_state<HEAD_DIM> &state, char *buffer,
                                                           uint32_t first, uint32_t end)
{
    enum { COLUMNS = HEAD_DIM < 128 ? HEAD_DIM : 128, QUADS = COLUMNS / 4, AT_ONCE = WORKER_THREADS / QUADS };
    uint32_t warp = threadIdx.x / TILE_WARP, lane = threadIdx.x % TILE_WARP, warps_m = worker_warps_m<false>(tile);
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
            worker_target to = worker_find_target(a, tile, rows, row, m, l, first_column + column == 0);
            const uint32_t element = first_column + column;
            sum = make_float4(sum.x * to.inverse, sum.y * to.inverse, sum.z * to.inverse, sum.w * to.inverse);
            if (to.is_result) {
                __stcg((float4 *)(a.out + (uint64_t)to.place * HEAD_DIM + element), sum);
            } else {
                T *partial = (T *)a.o + (uint64_t)to.place * HEAD_DIM;
                __stcg((uint32_t *)(partial + merge_turned(element)), pack_pair<T>(sum.x, sum.y));
                __stcg((uint32_t *)(partial + merge_turned(element + 2)), pack_pair<T>(sum.z, sum.w));
            }
        }
    }
}

/* Writes the rows of the queries [first, end) of the task. buffer: 16 KB that nobody else uses until the next
 * barrier. */
template <int HEAD_DIM, typename T, bool OWN_ROWS>
static __device__ __forceinline__ void worker_store(const attention_arguments &a, worker_shared &shared,
                                                    const queue_tile &tile, const queue_row *rows,
                                                    tile_state<HEAD_DIM> &state, char *buffer, uint32_t first,
                                                    uint32_t end)
{
    tile_sum_rows<HEAD_DIM>(state);
    if (worker_warps_m<OWN_ROWS>(tile) == WORKER_WARPS)
        worker_store_own<HEAD_DIM, T>(a, tile, rows, state, first, end);
    else
        worker_store_shared<HEAD_DIM, T>(a, shared, tile, rows, state, buffer, first, end);
}

/* ---- 0 * NaN: a value that one row of a masked task sees may be NaN, and spoils the o of all of them. Where o has a
 *      NaN, the task is not written; when its other tiles are done, the worker does it again, row by row. ---- */

/* Goes to the next row that is done again: of masked tasks, from the one on that begins with tile `spoilt` of the
 * queue. end: of the worker's tiles. false: there is none. */
template <int HEAD_DIM>
static __device__ __noinline__ bool worker_next_row(const attention_arguments &a, worker_shared &shared,
                                                    worker_place &at, uint32_t spoilt, uint32_t end)
{
    const queue_tile *tiles = a.queue.tiles;
    uint32_t i = at.first, row = at.only_row + 1;
    if (at.only_row == ALL_ROWS || row == tiles[i].num_rows) {
        for (i = at.only_row == ALL_ROWS ? spoilt : at.first + at.count; i < end; i++) {
            if (tiles[i].is_masked && tiles[i].is_first)
                break;
        }
        row = 0;
    }
    if (i == end)
        return false;
    at = {i, 1, row, 0, 0};
    while (!tiles[i + at.count - 1].is_last)
        at.count++;
    __syncthreads(); /* what the last store left in shared memory was read */
    if (threadIdx.x / TILE_WARP == 3) {
        for (uint32_t n = 0; n < LEAD; n++)
            worker_copy_record(a, shared, at, n);
    }
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    worker_copy_first<HEAD_DIM>(a, shared, at);
    return true;
}

/* ---- all of a worker's tiles ---- */

/* STEP: worker_absorb, or what another step has instead. */
template <int HEAD_DIM, typename T, typename STEP>
static __device__ __forceinline__ void worker_run(const attention_arguments &a, worker_shared &shared)
{
    enum { EARLY = HEAD_DIM <= 128, OWN_ROWS = STEP::OWN_ROWS }; /* EARLY: registers decide */
    /* find this item's blocks: from here on, LEAD tiles ahead */
    worker_place at = worker_start<HEAD_DIM>(a, shared);
    wait_for_last_launch();
    const uint32_t end = at.first + at.count;
    uint32_t q[HEAD_DIM / 16][4], spoilt = end, task_first = 0;
    tile_state<HEAD_DIM> state;
    worker_part part;
    do {
        tile_floats<HEAD_DIM> first_task = {};
        uint32_t stage = 0;
        if (at.count)
            worker_load_queries<HEAD_DIM, OWN_ROWS>(a, worker_record(shared, 0), shared.rows[0], first_task);
#pragma unroll 1
        for (; stage < LEAD; stage++) {
            worker_copy<HEAD_DIM, STEP::MASKS_TRAVEL>(a, shared, at, stage, stage);
            cp_async_commit();
        }
        tile_round<HEAD_DIM, T>(q, first_task, a.scale);
        for (uint32_t n = 0; n < at.count; n++) {
            const queue_tile tile = worker_record(shared, n);
            if (tile.is_first) {
                task_first = at.first + n;
                part = worker_find_part<HEAD_DIM, OWN_ROWS>(tile);
                tile_clear<HEAD_DIM>(state);
            }

            /* the tile is there, and no warp is at the one before: its stage takes the next copy */
            cp_async_wait<LEAD - 1>();
            if (OWN_ROWS)
                warpgroup_fence();
            __syncthreads();
            const uint32_t now = stage == STAGES - 1 ? 0 : stage + 1;
            typename STEP::scores scores;
            STEP::begin(scores, q, shared.kv[now][0]);
            worker_copy<HEAD_DIM, STEP::MASKS_TRAVEL>(a, shared, at, n + LEAD, stage);
            cp_async_commit();
            stage = now;

            /* score the keys, absorb into the running maximum and sum: slice by slice */
            STEP::absorb(state, scores, q, part, tile, shared.kv[now][0], shared.kv[now][1],
                         STEP::MASKS_TRAVEL ? shared.masks[now] : a.queue.masks + tile.first_mask, a.scale);
            if (!tile.is_last)
                continue;

            /* write the partial states; the next task's queries are asked for meanwhile */
            const queue_row *rows = shared.rows[at.task++ % ROW_RING], *next_rows = shared.rows[at.task % ROW_RING];
            const bool is_all = at.only_row == ALL_ROWS;
            tile_floats<HEAD_DIM> next_task = {};
            if (EARLY && n + 1 < at.count)
                worker_load_queries<HEAD_DIM, OWN_ROWS>(a, worker_record(shared, n + 1), next_rows, next_task);
            if (!__syncthreads_or(is_all && tile.is_masked && tile_has_nan<HEAD_DIM>(state)))
                worker_store<HEAD_DIM, T, OWN_ROWS>(a, shared, tile, rows, state, shared.kv[stage][0],
                                                 is_all ? 0 : at.only_row,
                                                 is_all ? tile.num_rows : at.only_row + 1);
            else if (spoilt == end)
                spoilt = task_first;
            if (!EARLY && n + 1 < at.count)
                worker_load_queries<HEAD_DIM, OWN_ROWS>(a, worker_record(shared, n + 1), next_rows, next_task);
            tile_round<HEAD_DIM, T>(q, next_task, a.scale);
        }
    } while (spoilt != end && worker_next_row<HEAD_DIM>(a, shared, at, spoilt, end));
}

/* ---- step 7: the same launch merges ---- */

/* Returns when all workers have come here; what they wrote before can be read then. All of them run at the same time.
 * The counter's highest bit turns when the last one comes, and the others are 0 again. */
static __device__ __forceinline__ void worker_wait_for_all(uint32_t *arrivals)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        uint32_t before = atomicAdd(arrivals, blockIdx.x == 0 ? 0x80000000u - (gridDim.x - 1) : 1);
        while (!((load_acquire(arrivals) ^ before) & 0x80000000u))
            ;
    }
    __syncthreads();
}

/* ---- step 9: of a small queue, the last worker of each KV head merges, a row with each warp, and nobody waits ---- */

static_assert((int)QUEUE_SMALL_ROWS == (int)WORKER_WARPS, "a warp for each row");

/* What this warp merges, of KV head 0 until worker_is_last has found the worker's own. */
static __device__ __forceinline__ merge_place worker_small_merges(const attention_arguments &a)
{
    const uint32_t group_size = a.shape.num_heads / a.shape.num_kv_heads, row = threadIdx.x / TILE_WARP;
    const uint32_t query = row / group_size, all = a.plan.num_queries * a.shape.num_heads;
    return merge_begin(a, query * a.shape.num_heads + row % group_size, all);
}

/* Whether this worker is the last one of its KV head: then the others' states can be read, and `merges` are those of
 * that head. */
static __device__ __forceinline__ bool worker_is_last(const attention_arguments &a, worker_shared &shared,
                                                      merge_place &merges)
{
    const queue_start &start = shared.start;
    if (start.num_tiles == 0)
        return false;
    __syncthreads();
    if (threadIdx.x == 0) {
        const uint32_t last = start.num_sharing - 1;
        shared.is_last = count_arrival(&a.arrivals[1 + start.kv_head], last) == last;
    }
    __syncthreads();
    merges.part += start.kv_head * (a.shape.num_heads / a.shape.num_kv_heads);
    return shared.is_last;
}

#endif
