/* Step 8: masks that cost little.
 *   idea    plans that pack many short nodes into one item (flatten, tree masks, small leaves) give each token a
 *           bit for each row. These bits travel with their tile, and a slice of 16 tokens that none of a warp's
 *           rows sees is passed over: neither scores nor values are computed
 *   wins    23 to 22 us on 64 branches of 64 tokens behind 2048 (figures/ladder.csv)
 *   price   8 bytes a token more in shared memory, for masked tiles alone
 *   leaves  K and V of such a slice are loaded all the same, since another warp may need them; the matrix
 *           instruction is that of 2020: each of the four warps loads all of K and V from shared memory. Step 9
 *   loop    worker_run (worker.cuh): find blocks, copy ahead, absorb, write partial states
 *   threads as step 6; lane i asks for token i % 16 of a slice whether its warp sees it */
#include "worker.cuh"

/* Bit i: some row of this warp sees some token of slice i, of the num_tokens <= 64 that masks belong to. */
static __device__ __forceinline__ uint32_t seen_slices(const worker_part &part, const uint64_t *masks,
                                                       uint32_t num_tokens)
{
    const uint32_t lane = threadIdx.x % TILE_WARP;
    uint32_t slices = 0;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t token = i * TILE_WARP + lane;
        uint32_t seen = __ballot_sync(TILE_ALL_LANES, token < num_tokens && (masks[token] & part.rows));
        slices |= ((seen & 0xffff) != 0) << 2 * i | ((seen >> 16) != 0) << (2 * i + 1);
    }
    return slices;
}

template <int HEAD_DIM, typename T> struct masked_absorb : worker_absorb<HEAD_DIM, T> {
    enum { MASKS_TRAVEL = 1 };
    using typename worker_absorb<HEAD_DIM, T>::scores;

    /* absorb this warp's slices of a tile. */
    static __device__ __forceinline__ void absorb(tile_state<HEAD_DIM> &state, scores &,
                                                  const uint32_t q[HEAD_DIM / 16][4], const worker_part &part,
                                                  const queue_tile &tile, const char *keys, const char *values,
                                                  const uint64_t *masks, float scale)
    {
        const bool is_masked = tile.first_mask != QUEUE_NO_MASK;
        const uint32_t all_warps = part.warps_n * part.slice;
        for (uint32_t first = worker_first_token(part, tile); first < tile.num_tokens; first += all_warps) {
            uint32_t left = tile.num_tokens - first, end = first + (left < part.slice ? left : part.slice);
            uint32_t step = part.slice, seen = UINT32_MAX;
            if (is_masked) {
                seen = seen_slices(part, masks + first, end - first);
                /* beyond two, all at once is cheaper than one after the other */
                step = __popc(seen) <= 2 ? (uint32_t)SLICE_TOKENS : part.slice;
            }
            for (uint32_t t = first; t < end; t += step, seen >>= 1) {
                uint32_t offset = t * PANEL_ROW, num_tokens = end - t < step ? end - t : step;
                if (seen & 1 || step > SLICE_TOKENS)
                    worker_absorb_slice<HEAD_DIM, T, worker_tile<HEAD_DIM>::MAX_SLICE>(
                        state, q, part, keys + offset, values + offset, is_masked, masks + t, num_tokens, scale);
            }
        }
    }
};

template <int HEAD_DIM, typename T>
static __global__ void __launch_bounds__(WORKER_THREADS, WORKERS_PER_SM)
    attend(const __grid_constant__ attention_arguments a)
{
    SHARED_MEMORY(char, memory);
    worker_shared &shared = *(worker_shared *)memory;
    /* its loads have long arrived when they are needed */
    merge_place merges = merge_begin(a, threadIdx.x / TILE_WARP * gridDim.x + blockIdx.x, gridDim.x * WORKER_WARPS);
    begin_next_launch();
    worker_run<HEAD_DIM, T, masked_absorb<HEAD_DIM, T>>(a, shared);

    /* merge partial states, normalize */
    worker_wait_for_all(a.arrivals);
    merge_all<HEAD_DIM, T, true>(a, merges);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    return launch_kernel_as(LAUNCH_COOPERATIVE | LAUNCH_EARLY, a.queue.num_workers, WORKER_THREADS,
                            sizeof(worker_shared), stream, attend<HEAD_DIM, T>, a);
}

cudaError_t step_8_masks(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
