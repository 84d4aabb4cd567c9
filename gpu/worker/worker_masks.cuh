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

#endif
