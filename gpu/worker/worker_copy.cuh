/* What a worker of the queue has in shared memory, and how it gets there: where its tiles are, and each tile's K and V,
 * tokens, rows and masks, on their way before they are needed. Explained by step 6; masks by step 8.
 *
 * A worker is a thread block of 4 warps; two of them share a multiprocessor, so that while one waits, the other
 * computes. */
#ifndef WORKER_COPY_CUH
#define WORKER_COPY_CUH

#include "gpu_internal.h"
#include "swizzle.cuh"

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
    uint32_t kv_slots[TOKEN_RING][MAX_TILE_TOKENS]; /* those that one thread copies lie behind each other */
    queue_query queries[ROW_RING][QUEUE_TILE_ROWS];
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
    const uint32_t *from = a.queue.kv_slots + tile.first_token;
    uint32_t num_tokens = tile.num_tokens;
#pragma unroll
    for (int i = 0; i < worker_tile<HEAD_DIM>::TOKENS; i += TILE_WARP) {
        uint32_t token = i + threadIdx.x % TILE_WARP;
        if (token < num_tokens)
            cp_async<4>(&shared.kv_slots[n % TOKEN_RING][token % AT_ONCE * MY_TOKENS + token / AT_ONCE], from + token);
    }
}

/* By one warp. */
static __device__ __forceinline__ void worker_copy_rows(const attention_arguments &a, worker_shared &shared,
                                                        worker_place &at, uint32_t n)
{
    const queue_tile &tile = shared.tiles[n % RECORD_RING];
    if (n >= at.count || !tile.is_first)
        return;
    for (uint32_t row = threadIdx.x % TILE_WARP; row < tile.num_queries; row += TILE_WARP)
        cp_async<8>(&shared.queries[at.copied_tasks % ROW_RING][row], &a.queue.queries[tile.first_partial + row]);
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
    const uint32_t *tokens = shared.kv_slots[n % TOKEN_RING];
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

#endif
