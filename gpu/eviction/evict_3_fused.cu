/* evict_3: one pass over K and V. The last rung on every GPU but sm_90.
 *   idea    attention has each score in its registers once: it keeps it, 4 bytes for each query head and token, where
 *           K and V took head_dim elements. A weight is exp(score - lse), and lse is known only when all tokens were
 *           seen: after the barrier of the grid, where the workers merge, they also score. A warp takes 32 tokens of a
 *           query: a lane has one token, adds up its weights over the heads of each group, times its norms, and the
 *           smallest key of the warp goes to the victim of the query by one integer minimum
 *   wins    90.8 to 64.0 us on 16 branches with 3200 tokens each: the second read of K
 *           (figures/eviction_fused_cost.csv)
 *   price   8 bytes for each query, token and query head: a score is written and read. A byte that is written among
 *           reads costs as much as three that are read (worker_scores.cuh). The group's weights cannot be added up
 *           before, since each head has its own lse
 *   leaves  as step 9; and scores that stay on the chip: a worker with more shared memory, one on each multiprocessor,
 *           would have room for those of a task (51 KB for 3200 tokens of four heads), so that none goes to memory
 *   loop    as step 9, with the scores kept
 *   threads as step 9; keep: a lane writes its fragments, four lanes a sector of a row; score: lane i has token i of 32,
 *           all heads */
#include "grid.cuh"
#include "merge_ahead.cuh"
#include "wait_for_all.cuh"
#include "worker_masks.cuh"
#include "worker_redo.cuh"
#include "worker_scores.cuh"

/* As absorb_slice, and keeps the scores. t: the slice's first token in the item. */
template <int HEAD_DIM, typename T, int TOKENS, typename KEPT>
static __device__ __forceinline__ void absorb_kept_slice(tile_state<HEAD_DIM> &state,
                                                         const uint32_t q[HEAD_DIM / 16][4], const tile_share &share,
                                                         const char *keys, const char *values, bool is_masked,
                                                         const uint64_t *masks, uint32_t num_tokens, float scale,
                                                         const KEPT &kept, uint32_t t)
{
    if (TOKENS > SLICE_TOKENS && num_tokens <= TOKENS / 2) {
        absorb_kept_slice<HEAD_DIM, T, (TOKENS > SLICE_TOKENS ? TOKENS / 2 : TOKENS)>(
            state, q, share, keys, values, is_masked, masks, num_tokens, scale, kept, t);
        return;
    }
    const uint32_t visible = is_masked ? tile_visible<TOKENS>(masks, (int)num_tokens, share.query)
                                       : tile_first_tokens<TOKENS>((int)num_tokens);
    float score[TOKENS / 8][4];
    uint32_t weights[TOKENS / 16][4];
    tile_scores<HEAD_DIM, T, TOKENS>(score, q, keys);
    kept.template keep<TOKENS>(score, t, (int)num_tokens);
    tile_softmax<HEAD_DIM, T, TOKENS>(state, weights, score, visible, scale);
    tile_values<HEAD_DIM, T, TOKENS>(state, weights, values);
}

/* As absorb_seen_slices of step 9, and keeps the scores. */
template <int HEAD_DIM, typename T, typename KEPT>
static __device__ __forceinline__ void absorb_kept_slices(tile_state<HEAD_DIM> &state,
                                                          const uint32_t q[HEAD_DIM / 16][4], const tile_share &share,
                                                          const queue_tile &tile, const char kv[2][TILE_BYTES],
                                                          const uint64_t *masks, float scale, const KEPT &kept)
{
    const bool is_masked = tile.first_mask != QUEUE_NO_MASK;
    const uint32_t stride = share.warps_n * share.slice_tokens;
    for (uint32_t first = first_token(share, tile); first < tile.num_tokens; first += stride) {
        const uint32_t left = tile.num_tokens - first;
        const uint32_t end = first + (left < share.slice_tokens ? left : share.slice_tokens);
        uint32_t step = share.slice_tokens, seen = UINT32_MAX;
        if (is_masked) {
            seen = seen_slices(queries_of_warp(tile), masks + first, end - first);
            step = __popc(seen) <= 2 ? (uint32_t)SLICE_TOKENS : share.slice_tokens;
        }
        for (uint32_t t = first; t < end; t += step, seen >>= 1) {
            const uint32_t offset = t * PANEL_ROW, num_tokens = end - t < step ? end - t : step;
            if (seen & 1 || step > SLICE_TOKENS)
                absorb_kept_slice<HEAD_DIM, T, worker_tile<HEAD_DIM>::MAX_SLICE>(
                    state, q, share, kv[0] + offset, kv[1] + offset, is_masked, masks + t, num_tokens, scale, kept,
                    tile.number * worker_tile<HEAD_DIM>::TOKENS + t);
        }
    }
}

/* For tasks that are computed again. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void absorb_again(tile_state<HEAD_DIM> &state, const uint32_t q[HEAD_DIM / 16][4],
                                                    const tile_share &share, const queue_tile &tile,
                                                    const char kv[2][TILE_BYTES], const uint64_t *masks, float scale)
{
    absorb_kept_slices<HEAD_DIM, T>(state, q, share, tile, kv, masks, scale, keep_nothing());
}

template <int HEAD_DIM, typename T>
static __global__ void __launch_bounds__(WORKER_THREADS, WORKERS_PER_SM)
    attend(const __grid_constant__ eviction_arguments e)
{
    SHARED_MEMORY(char, memory);
    masked_shared &shared = *(masked_shared *)memory;
    worker<HEAD_DIM, T, split_rows_then_tokens, fragment_order> w;
    /* loads the warp's first merge lists, long before they are needed */
    merge_cursor merges = merge_start(e, threadIdx.x / WARP * gridDim.x + blockIdx.x, gridDim.x * WORKER_WARPS);
    score_prefetch(e);
    clear_victims(e);

    /* find this item's blocks: from here on, LEAD tiles ahead */
    w.find_tiles(e, shared);
    w.request_queries(e, shared);
    for (uint32_t n = 0; n < LEAD; n++) {
        w.prefetch(e, shared, n);
        prefetch_masks(e, shared, w.list, n);
        cp_async_commit();
    }
    while (w.tile < w.list.count) {
        w.begin_task(e, shared);
        queue_tile tile = worker_record(shared, w.tile);
        const kept_rows kept = find_kept_rows(e, tile, split_rows_then_tokens::warps_m(tile));
        do {
            tile = worker_record(shared, w.tile);
            cp_async_wait<LEAD - 1>(); /* this thread's copies of the tile have landed; */
            __syncthreads();           /* so have those of all threads, and the stage of the previous tile is free */
            w.prefetch(e, shared, w.tile + LEAD);
            prefetch_masks(e, shared, w.list, w.tile + LEAD);
            cp_async_commit();

            /* score the keys, keep the scores, absorb into the running maximum and sum */
            absorb_kept_slices<HEAD_DIM, T>(w.state, w.q, w.share, tile, shared.kv[w.tile % STAGES],
                                            shared.masks[w.tile % STAGES], e.scale, kept);
            w.tile++;
        } while (!tile.is_last);
        w.end_task(e, shared, tile);
    }
    redo_spoilt<absorb_again<HEAD_DIM, T>>(e, shared, w);

    /* merge partial states, normalize; importance and victims */
    score_cursor jobs = score_start(e);
    const uint32_t ticket = arrive(e.arrivals);
    score_ahead(e, jobs);
    wait_for_others(e.arrivals, ticket);
    if (e.queue.needs_merge)
        merge_all<HEAD_DIM, T>(e, merges);
    score_all(e, jobs, shared.kv[0][0]);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const eviction_arguments &e, cudaStream_t stream)
{
    return launch_cooperative(e.queue.num_workers, WORKER_THREADS, sizeof(masked_shared), stream,
                              attend<HEAD_DIM, T>, e);
}

cudaError_t evict_3_fused(const eviction_arguments *e, cudaStream_t stream)
{
    eviction_arguments placed = *e;
    fused_place_scratch(&placed);
    return DISPATCH_HALF(launch, placed, stream);
}
