/* Masks that are prefetched with their tile. First read by step 9. */
#ifndef WORKER_MASKS_CUH
#define WORKER_MASKS_CUH

#include "worker.cuh"

struct masked_shared : worker_shared {
    uint64_t masks[STAGES][MAX_TILE_TOKENS]; /* a word per token; bit i: query i of the task sees it */
};
static_assert(sizeof(masked_shared) <= WORKER_SHARED_BYTES, "as many workers as gpu_num_workers says");

/* By warp 2: starts the copy of the masks of tile n. Call it with worker::prefetch, before the commit. */
static __device__ __forceinline__ void prefetch_masks(const attention_arguments &a, masked_shared &shared,
                                                      const worker_list &list, uint32_t n)
{
    const queue_tile &tile = shared.tiles[n % RECORD_RING];
    if (threadIdx.x / WARP != 2 || n >= list.count || tile.first_mask == QUEUE_NO_MASK)
        return;
    for (uint32_t token = threadIdx.x % WARP; token < tile.num_tokens; token += WARP)
        cp_async<8>(&shared.masks[n % STAGES][token], &a.queue.masks[tile.first_mask + token]);
}

/* Bit i: query i of the task has one of this warp's rows. */
static __device__ __forceinline__ uint64_t queries_of_warp(const queue_tile &tile)
{
    const uint32_t row = lane_row(split_rows_then_tokens::warps_m(tile), 0) - threadIdx.x % WARP / 4;
    const uint32_t first = tile_query_of_row(tile, row), last = tile_query_of_row(tile, row + WARP_ROWS - 1);
    return (first < 64 ? UINT64_MAX << first : 0) & (last < 63 ? ((uint64_t)2 << last) - 1 : UINT64_MAX);
}

/* Bit i: one of `queries` sees a token of slice i. masks: of num_tokens <= 64 tokens, in slices of 16. */
static __device__ __forceinline__ uint32_t seen_slices(uint64_t queries, const uint64_t *masks, uint32_t num_tokens)
{
    const uint32_t lane = threadIdx.x % WARP;
    uint32_t slices = 0;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const uint32_t token = i * WARP + lane;
        const uint32_t seen = __ballot_sync(ALL_LANES, token < num_tokens && (masks[token] & queries));
        slices |= ((seen & 0xffff) != 0) << 2 * i | ((seen >> 16) != 0) << (2 * i + 1);
    }
    return slices;
}

#endif
