/* NaN and masks. In a matrix product a hidden value is multiplied by a weight of 0, but 0 * NaN is NaN: one NaN or
 * infinite value that one row of a masked task sees spoils every row of the task. end_task detects this and writes
 * nothing; after its last tile the worker computes this task and all later masked ones again, one query at a time, with
 * zeros for the keys and values that are hidden from this query. The results have the
 * same bits as if the hidden values were finite.
 *
 * This is rare, so the code is simple: nothing is prefetched. */
#ifndef WORKER_REDO_CUH
#define WORKER_REDO_CUH

#include "worker.cuh"

/* Copies K and V of a tile, with zeros for tokens that the task's query i does not see. */
template <int HEAD_DIM>
static __device__ __forceinline__ void copy_visible(const attention_arguments &a, char stage[2][TILE_BYTES],
                                                    const queue_tile &tile, uint32_t i)
{
    enum { CHUNKS = worker_tile<HEAD_DIM>::CHUNKS, AT_ONCE = worker_tile<HEAD_DIM>::AT_ONCE };
    const uint32_t chunk = threadIdx.x % CHUNKS;
#pragma unroll 1
    for (uint32_t token = threadIdx.x / CHUNKS; token < worker_tile<HEAD_DIM>::TOKENS; token += AT_ONCE) {
        bool sees = token < tile.num_tokens;
        if (sees && tile.first_mask != QUEUE_NO_MASK)
            sees = a.queue.masks[tile.first_mask + token] >> i & 1;
        const uint32_t slot = sees ? a.queue.kv_slots[tile.first_token + token] : 0;
        const uint64_t from = ((uint64_t)slot + tile.kv_head * a.shape.block_tokens) * HEAD_DIM + chunk * 8;
        char *to = tile_chunk<HEAD_DIM>(stage[0], token, chunk);
        cp_async_16(to, (const uint16_t *)a.key + from, sees);
        cp_async_16(to + TILE_BYTES, (const uint16_t *)a.value + from, sees);
    }
    cp_async_commit();
    cp_async_wait<0>();
}

/* Computes and writes query i of the task whose tiles begin at tiles. */
template <int HEAD_DIM, typename T, typename SPLIT, typename ORDER, auto ABSORB, typename ARGUMENTS>
static __device__ __forceinline__ void redo_query(const ARGUMENTS &a, worker_shared &shared,
                                                  const queue_tile *tiles, uint32_t i)
{
    const queue_query *queries = a.queue.queries + tiles->first_partial;
    const uint32_t warps_m = SPLIT::warps_m(*tiles);
    const tile_share share = find_share<HEAD_DIM>(*tiles, warps_m);
    tile_floats<HEAD_DIM> x;
    uint32_t q[HEAD_DIM / 16][4];
    tile_state<HEAD_DIM> state;
    load_queries<HEAD_DIM>(a, *tiles, queries, warps_m, x);
    tile_round<HEAD_DIM, T>(q, x, a.scale);
    tile_clear<HEAD_DIM>(state);
    queue_tile tile;
    do {
        tile = *tiles++;
        __syncthreads(); /* shared.kv[0] was read */
        copy_visible<HEAD_DIM>(a, shared.kv[0], tile, i);
        __syncthreads();
        ABSORB(state, q, share, tile, shared.kv[0], a.queue.masks + tile.first_mask, a.scale);
    } while (!tile.is_last);
    __syncthreads();
    store_rows<HEAD_DIM, T, ORDER>(a, shared, tile, queries, state, warps_m, shared.kv[0][0], i, i + 1);
}

/* All masked tasks among tiles [first, end) of the queue. */
template <int HEAD_DIM, typename T, typename SPLIT, typename ORDER, auto ABSORB, typename ARGUMENTS>
static __device__ __forceinline__ void redo_tasks(const ARGUMENTS &a, worker_shared &shared, uint32_t first,
                                               uint32_t end)
{
    for (uint32_t n = first; n < end; n++) {
        const queue_tile *tile = &a.queue.tiles[n];
        for (uint32_t i = 0; tile->is_masked && tile->is_first && i < tile->num_queries; i++)
            redo_query<HEAD_DIM, T, SPLIT, ORDER, ABSORB>(a, shared, tile, i);
    }
}

/* redo_tasks as a call, so that the registers it needs do not add to those of the loop. */
template <int HEAD_DIM, typename T, typename SPLIT, typename ORDER, auto ABSORB, typename ARGUMENTS>
static __device__ __noinline__ void call_redo_tasks(const ARGUMENTS &a, worker_shared &shared, uint32_t first,
                                                    uint32_t end)
{
    redo_tasks<HEAD_DIM, T, SPLIT, ORDER, ABSORB>(a, shared, first, end);
}

/* After a worker's last tile: computes the masked tasks again, from the first spoilt one on. ABSORB: the rung's
 * absorb_tile. */
template <auto ABSORB, int HEAD_DIM, typename T, typename SPLIT, typename ORDER, typename ARGUMENTS>
static __device__ __forceinline__ void redo_spoilt(const ARGUMENTS &a, worker_shared &shared,
                                                   const worker<HEAD_DIM, T, SPLIT, ORDER> &w)
{
    if (w.first_spoilt != NOTHING_SPOILT)
        call_redo_tasks<HEAD_DIM, T, SPLIT, ORDER, ABSORB>(a, shared, w.list.first + w.first_spoilt,
                                                           w.list.first + w.list.count);
}

#endif
