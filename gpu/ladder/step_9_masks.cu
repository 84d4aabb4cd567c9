/* Step 9: cheap masks. The last rung on every GPU but sm_90.
 *   idea    plans that pack many short nodes into one item (flatten, tree masks, small leaves) give each token a mask
 *           word, with a bit for each query. These words are prefetched to shared memory with their tile, and a warp
 *           skips a slice of 16 tokens that none of its rows sees: it computes neither scores nor values
 *   wins    23.4 to 22.3 us on 64 branches with 64 tokens each behind 2048 (figures/ladder.csv)
 *   price   2 KB more of shared memory per worker, and 8 bytes per masked token to copy
 *   leaves  K and V of a skipped slice are still loaded, since another warp may need them. And with many rows, each of
 *           the four warps reads all of K and V from shared memory, fragment by fragment (ldmatrix): step 10
 *   loop    as step 6
 *   threads as step 6; lane i tests whether its warp sees tokens i and i + 32 of the warp's share of a tile */
#include "merge_ahead.cuh"
#include "wait_for_all.cuh"
#include "worker_masks.cuh"
#include "worker_redo.cuh"

/* As absorb_tile, but skips the slices that no row of this warp sees. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void absorb_seen_slices(tile_state<HEAD_DIM> &state,
                                                          const uint32_t q[HEAD_DIM / 16][4], const tile_share &share,
                                                          const queue_tile &tile, const char kv[2][TILE_BYTES],
                                                          const uint64_t *masks, float scale)
{
    const bool is_masked = tile.first_mask != QUEUE_NO_MASK;
    const uint32_t stride = share.warps_n * share.slice_tokens;
    for (uint32_t first = first_token(share, tile); first < tile.num_tokens; first += stride) {
        const uint32_t left = tile.num_tokens - first;
        const uint32_t end = first + (left < share.slice_tokens ? left : share.slice_tokens);
        uint32_t step = share.slice_tokens, seen = UINT32_MAX;
        if (is_masked) {
            seen = seen_slices(queries_of_warp(tile), masks + first, end - first);
            /* more than two of four: cheaper as one large slice than one by one */
            step = __popc(seen) <= 2 ? (uint32_t)SLICE_TOKENS : share.slice_tokens;
        }
        for (uint32_t t = first; t < end; t += step, seen >>= 1) {
            const uint32_t offset = t * PANEL_ROW, num_tokens = end - t < step ? end - t : step;
            if (seen & 1 || step > SLICE_TOKENS)
                absorb_slice<HEAD_DIM, T, worker_tile<HEAD_DIM>::MAX_SLICE>(
                    state, q, share, kv[0] + offset, kv[1] + offset, is_masked, masks + t, num_tokens, scale);
        }
    }
}

template <int HEAD_DIM, typename T>
static __global__ void __launch_bounds__(WORKER_THREADS, WORKERS_PER_SM)
    attend(const __grid_constant__ attention_arguments a)
{
    SHARED_MEMORY(char, memory);
    masked_shared &shared = *(masked_shared *)memory;
    worker<HEAD_DIM, T, split_rows_then_tokens, fragment_order> w;

    /* find this item's blocks: from here on, LEAD tiles ahead */
    w.find_tiles(a, shared);
    w.request_queries(a, shared);
    for (uint32_t n = 0; n < LEAD; n++) {
        w.prefetch(a, shared, n);
        prefetch_masks(a, shared, w.list, n);
        cp_async_commit();
    }
    /* while K and V are on their way: the warp's first merge list */
    merge_cursor merges = merge_start(a, threadIdx.x / WARP * gridDim.x + blockIdx.x, gridDim.x * WORKER_WARPS);
    while (w.tile < w.list.count) {
        w.begin_task(a, shared);
        queue_tile tile;
        do {
            tile = worker_record(shared, w.tile);
            cp_async_wait<LEAD - 1>(); /* this thread's copies of the tile have landed; */
            __syncthreads();           /* so have those of all threads, and the stage of the previous tile is free */
            w.prefetch(a, shared, w.tile + LEAD);
            prefetch_masks(a, shared, w.list, w.tile + LEAD);
            cp_async_commit();

            /* score the keys, absorb into the running maximum and sum */
            absorb_seen_slices<HEAD_DIM, T>(w.state, w.q, w.share, tile, shared.kv[w.tile % STAGES],
                                            shared.masks[w.tile % STAGES], a.scale);
            w.tile++;
        } while (!tile.is_last);
        w.end_task(a, shared, tile);
    }
    redo_spoilt<absorb_seen_slices<HEAD_DIM, T>>(a, shared, w);

    /* merge partial states, normalize */
    wait_for_all(a.arrivals);
    merge_all<HEAD_DIM, T>(a, merges);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    return launch_cooperative(a.queue.num_workers, WORKER_THREADS, sizeof(masked_shared), stream,
                              attend<HEAD_DIM, T>, a);
}

cudaError_t step_9_masks(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
