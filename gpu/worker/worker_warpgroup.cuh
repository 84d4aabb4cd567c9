/* A tile computed by a warpgroup: 64 rows x the tokens of the tile. First read by step 10. */
#ifndef WORKER_WARPGROUP_CUH
#define WORKER_WARPGROUP_CUH

#include "wgmma.cuh"
#include "worker_masks.cuh"
#include "worker_redo.cuh"

/* Every warp has its own 16 rows and all tokens of a tile, even in a task of few rows. */
struct own_rows {
    static __device__ __forceinline__ uint32_t warps_m(const queue_tile &) { return WORKER_WARPS; }
};

template <int HEAD_DIM, typename T> struct warpgroup_tile {
    enum { SLICE = worker_tile<HEAD_DIM>::MAX_SLICE, SLICES = worker_tile<HEAD_DIM>::TOKENS / SLICE };
    enum { PANEL = tile_panel<HEAD_DIM>::BYTES };
    typedef float scores[SLICES][SLICE / 8][4];

    /* score the keys of a tile: starts the products and does not wait for them. */
    static __device__ __forceinline__ void begin_scores(scores &score, const uint32_t q[HEAD_DIM / 16][4],
                                                        const char *keys)
    {
        warpgroup_begin();
#pragma unroll
        for (int slice = 0; slice < SLICES; slice++) {
            const shared_at k = warp_address(shared_address(keys)) + slice * SLICE * PANEL_ROW;
#pragma unroll
            for (int i = 0; i < HEAD_DIM / 16; i++)
                warpgroup_scores<T, SLICE>(score[slice][0], q[i], k + i / 4 * PANEL + i % 4 * 32, i > 0);
        }
        warpgroup_commit();
    }

    /* o += weights x the values of a slice. */
    static __device__ __forceinline__ void add_values(tile_state<HEAD_DIM> &state,
                                                      const uint32_t weights[SLICE / 16][4], const char *values)
    {
        const shared_at v = warp_address(shared_address(values));
        warpgroup_begin();
#pragma unroll
        for (int i = 0; i < SLICE / 16; i++)
            warpgroup_values<T, HEAD_DIM>(state.o[0], weights[i], v + i * 16 * PANEL_ROW, PANEL);
        warpgroup_commit();
        warpgroup_wait();
    }

    /* absorb into the running maximum and sum: waits for the scores, then absorbs slice by slice. */
    static __device__ __forceinline__ void absorb_scores(tile_state<HEAD_DIM> &state, scores &score,
                                                         const tile_share &share, const queue_tile &tile,
                                                         const char *values, const uint64_t *masks, float scale)
    {
        const bool has_rows = threadIdx.x / WARP * WARP_ROWS < tile_rows(tile);
#pragma unroll
        for (int slice = 0; slice < SLICES; slice++) {
            const uint32_t first = slice * SLICE;
            const int num_tokens = (int)(tile.num_tokens - first);
            const uint32_t visible = tile.first_mask == QUEUE_NO_MASK
                                         ? tile_first_tokens<SLICE>(num_tokens)
                                         : tile_visible<SLICE>(masks + first, num_tokens, share.query);
            uint32_t weights[SLICE / 16][4] = {};
            warpgroup_wait();
            if (has_rows)
                tile_softmax<HEAD_DIM, T, SLICE>(state, weights, score[slice], visible, scale);
            add_values(state, weights, values + first * PANEL_ROW);
        }
    }

    /* A whole tile in one call, for the redo. This thread's copies have landed; wgmma does not see them yet. */
    static __device__ __forceinline__ void absorb(tile_state<HEAD_DIM> &state, const uint32_t q[HEAD_DIM / 16][4],
                                                  const tile_share &share, const queue_tile &tile,
                                                  const char kv[2][TILE_BYTES], const uint64_t *masks, float scale)
    {
        scores score;
        warpgroup_fence();
        __syncthreads();
        begin_scores(score, q, kv[0]);
        absorb_scores(state, score, share, tile, kv[1], masks, scale);
    }
};

/* redo_spoilt, but inlined: if the kernel contained a call, ptxas would serialize the wgmma of its loop (warning
 * C7510). */
template <int HEAD_DIM, typename T, typename ORDER, typename ARGUMENTS>
static __device__ __forceinline__ void redo_spoilt_here(const ARGUMENTS &a, worker_shared &shared,
                                                        const worker<HEAD_DIM, T, own_rows, ORDER> &w)
{
    if (w.first_spoilt != NOTHING_SPOILT)
        redo_tasks<HEAD_DIM, T, own_rows, ORDER, warpgroup_tile<HEAD_DIM, T>::absorb>(
            a, shared, w.list.first + w.first_spoilt, w.list.first + w.list.count);
}

#endif
