/* A worker's shared memory, and the copies that fill it before it is needed. First read by step 6.
 *
 * A worker is a thread block of 4 warps. Two workers share a multiprocessor: while one waits, the other computes. */
#ifndef WORKER_COPY_CUH
#define WORKER_COPY_CUH

#include "gpu_internal.h"
#include "swizzle.cuh"

enum {
    WORKER_WARPS = QUEUE_TILE_ROWS / WARP_ROWS,
    WORKER_THREADS = WORKER_WARPS * WARP,
    WORKERS_PER_SM = 2,
    WORKER_SHARED_BYTES = 72 * 1024, /* a multiprocessor of sm_80 or sm_90 has room for two */
    STAGES = 2,                      /* tile n lies in stage n % STAGES */
    TILE_BYTES = 16384,              /* K or V of a tile: queue_tile_tokens */
    MAX_TILE_TOKENS = 128,
    MY_TOKENS = 8,                   /* of each tile, a thread copies 16 bytes of so many tokens, for every head_dim */

    /* Prefetch distances, in tiles: K and V LEAD; slots and query numbers 2 * LEAD; records 3 * LEAD. */
    LEAD = STAGES - 1,
    SLOT_RING = 2 * LEAD,
    RECORD_RING = 4 * LEAD,
    QUERY_RING = 4 * LEAD /* tasks whose query numbers are in use or being copied */
};
static_assert((int)LEAD == (int)QUEUE_START_TILES, "a worker starts with the records of its first tiles");

template <int HEAD_DIM> struct worker_tile {
    enum {
        TOKENS = TILE_BYTES / (HEAD_DIM * 2),
        CHUNKS = HEAD_DIM / 8,                /* of 16 bytes, in a key or value */
        AT_ONCE = WORKER_THREADS / CHUNKS,    /* tokens that the thread block copies at a time */
        MAX_SLICE = TOKENS < 64 ? TOKENS : 64 /* limited by registers */
    };
};

struct alignas(1024) worker_shared {
    char kv[STAGES][2][TILE_BYTES];
    uint32_t kv_slots[SLOT_RING][MAX_TILE_TOKENS]; /* permuted: the MY_TOKENS slots of a thread are neighbours */
    queue_query queries[QUERY_RING][QUEUE_TILE_ROWS];
    queue_tile tiles[RECORD_RING];
    queue_start start;
    float m[WORKER_WARPS][8], l[WORKER_WARPS][8]; /* softmax states that meet in store_shared_rows */
};
static_assert(sizeof(worker_shared) <= WORKER_SHARED_BYTES, "as many workers as gpu_num_workers says");

/* A worker's tiles are tiles[first .. first + count) of the queue. Below, n counts them from 0. All threads have the
 * same values, except for num_copied, which only warp 1 counts. */
struct worker_list {
    uint32_t first, count;
    uint32_t num_copied; /* tasks whose query numbers were copied or are being copied */
};

/* The record of tile n. */
static __device__ __forceinline__ queue_tile worker_record(const worker_shared &shared, uint32_t n)
{
    const uint4 *from = (const uint4 *)&shared.tiles[n % RECORD_RING];
    const uint4 words[2] = {from[0], from[1]};
    queue_tile tile;
    memcpy(&tile, words, sizeof tile);
    return tile;
}

/* ---- prefetch: each address arrives before the copy that needs it starts. A tile's record names its list of slots,
 *      and the slots are where K and V lie: three dependent loads, LEAD tiles apart. All threads copy K and V; each of
 *      the small arrays has one warp that copies it. ---- */

/* By one warp. */
static __device__ __forceinline__ void copy_record(const attention_arguments &a, worker_shared &shared,
                                                   const worker_list &list, uint32_t n)
{
    const uint32_t lane = threadIdx.x % WARP;
    if (n < list.count && lane < 2)
        cp_async<16>((char *)&shared.tiles[n % RECORD_RING] + lane * 16,
                     (const char *)&a.queue.tiles[list.first + n] + lane * 16);
}

/* By one warp. */
template <int HEAD_DIM>
static __device__ __forceinline__ void copy_slots(const attention_arguments &a, worker_shared &shared,
                                                  const worker_list &list, uint32_t n)
{
    enum { AT_ONCE = worker_tile<HEAD_DIM>::AT_ONCE };
    if (n >= list.count)
        return;
    const queue_tile &tile = shared.tiles[n % RECORD_RING];
    const uint32_t *from = a.queue.kv_slots + tile.first_token;
    const uint32_t num_tokens = tile.num_tokens;
#pragma unroll
    for (int i = 0; i < worker_tile<HEAD_DIM>::TOKENS; i += WARP) {
        const uint32_t token = i + threadIdx.x % WARP;
        if (token < num_tokens)
            cp_async<4>(&shared.kv_slots[n % SLOT_RING][token % AT_ONCE * MY_TOKENS + token / AT_ONCE], from + token);
    }
}

/* By warp 1: the query numbers of the task that begins with tile n, if one does. */
static __device__ __forceinline__ void copy_queries(const attention_arguments &a, worker_shared &shared,
                                                    worker_list &list, uint32_t n)
{
    const queue_tile &tile = shared.tiles[n % RECORD_RING];
    if (n >= list.count || !tile.is_first)
        return;
    for (uint32_t i = threadIdx.x % WARP; i < tile.num_queries; i += WARP)
        cp_async<8>(&shared.queries[list.num_copied % QUERY_RING][i], &a.queue.queries[tile.first_partial + i]);
    list.num_copied++;
}

/* Copies K and V of a tile to a stage, zeros past the tile's end. Thread t copies chunk t % CHUNKS of every AT_ONCE-th
 * token. The swizzle has a period of 8 tokens, so each place is the first one plus a constant; with head_dim 256, every
 * other one is the second plus a constant. */
template <int HEAD_DIM, bool IS_FULL>
static __device__ __forceinline__ void copy_kv(const char *key, const char *value, uint32_t token_bytes,
                                               const uint32_t *slots, uint32_t num_tokens, char stage[2][TILE_BYTES])
{
    enum { CHUNKS = worker_tile<HEAD_DIM>::CHUNKS, AT_ONCE = worker_tile<HEAD_DIM>::AT_ONCE };
    enum { PERIOD = AT_ONCE < 8 ? 8 / AT_ONCE : 1 };
    const uint32_t first = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
    const uint4 *mine = (const uint4 *)(slots + first * MY_TOKENS), low = mine[0], high = mine[1];
    const uint32_t slot[MY_TOKENS] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int j = 0; j < MY_TOKENS; j++) {
        const bool valid = IS_FULL || first + j * AT_ONCE < num_tokens;
        const uint32_t from = valid ? slot[j] : 0;
        char *to = tile_chunk<HEAD_DIM>(stage[0], first + j % PERIOD * AT_ONCE, chunk)
                   + (j - j % PERIOD) * AT_ONCE * PANEL_ROW;
        cp_async_16(to, address_at(key, from, token_bytes), valid);
        cp_async_16(to + TILE_BYTES, address_at(value, from, token_bytes), valid);
    }
}

/* Starts the copies of K and V of tile n, and of the slots, query numbers and record that later tiles need. The caller
 * commits the group of copies, even if it is empty. */
template <int HEAD_DIM>
static __device__ __forceinline__ void prefetch_tile(const attention_arguments &a, worker_shared &shared,
                                                     worker_list &list, uint32_t n)
{
    const uint32_t warp = threadIdx.x / WARP;
    if (warp == 0)
        copy_slots<HEAD_DIM>(a, shared, list, n + LEAD);
    else if (warp == 1)
        copy_queries(a, shared, list, n + LEAD);
    else if (warp == 3)
        copy_record(a, shared, list, n + 2 * LEAD);
    if (n >= list.count)
        return;
    const queue_tile tile = worker_record(shared, n);
    const uint32_t token_bytes = a.shape.head_dim * 2; /* HEAD_DIM * 2, but not a constant: address_at */
    const uint64_t head = (uint64_t)tile.kv_head * a.shape.block_tokens * (HEAD_DIM * 2)
                          + threadIdx.x % worker_tile<HEAD_DIM>::CHUNKS * 16;
    const char *key = (const char *)a.key + head, *value = (const char *)a.value + head;
    const uint32_t *slots = shared.kv_slots[n % SLOT_RING];
    if (tile.num_tokens == worker_tile<HEAD_DIM>::TOKENS)
        copy_kv<HEAD_DIM, true>(key, value, token_bytes, slots, tile.num_tokens, shared.kv[n % STAGES]);
    else
        copy_kv<HEAD_DIM, false>(key, value, token_bytes, slots, tile.num_tokens, shared.kv[n % STAGES]);
}

/* Finds this worker's tiles, and copies the records, slots and query numbers that the first prefetch_tile needs. Reads
 * only the queue. */
template <int HEAD_DIM>
static __device__ __forceinline__ worker_list worker_find_tiles(const attention_arguments &a, worker_shared &shared)
{
    const uint32_t warp = threadIdx.x / WARP;
    const queue_start *start = &a.queue.starts[blockIdx.x];
    if (threadIdx.x < sizeof *start / 16)
        cp_async<16>((char *)&shared.start + threadIdx.x * 16, (const char *)start + threadIdx.x * 16);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    worker_list list = {shared.start.first_tile, shared.start.num_tiles, 0};
    if (threadIdx.x < LEAD)
        shared.tiles[threadIdx.x] = shared.start.tiles[threadIdx.x];
    __syncthreads();
    for (uint32_t n = 0; n < LEAD; n++) {
        if (warp == 0)
            copy_slots<HEAD_DIM>(a, shared, list, n);
        else if (warp == 1)
            copy_queries(a, shared, list, n);
        else if (warp == 3)
            copy_record(a, shared, list, LEAD + n);
    }
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    return list;
}

#endif
