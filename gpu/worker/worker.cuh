/* A worker of the queue from its first tile to its last: the loop of steps 6 to 9, and how steps 7 to 9 come to merge
 * in the same launch. What is in shared memory: worker_copy.cuh. The rows of a task: worker_task.cuh. */
#ifndef WORKER_CUH
#define WORKER_CUH

#include "grid.cuh"
#include "wgmma.cuh"
#include "worker_task.cuh"

/* ---- what a step does with a tile ---- */

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
    if (at.only_row == ALL_ROWS || row == tiles[i].num_queries) {
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
            worker_load_queries<HEAD_DIM, OWN_ROWS>(a, worker_record(shared, 0), shared.queries[0], first_task);
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
            const queue_query *rows = shared.queries[at.task++ % ROW_RING], *next_rows = shared.queries[at.task % ROW_RING];
            const bool is_all = at.only_row == ALL_ROWS;
            tile_floats<HEAD_DIM> next_task = {};
            if (EARLY && n + 1 < at.count)
                worker_load_queries<HEAD_DIM, OWN_ROWS>(a, worker_record(shared, n + 1), next_rows, next_task);
            if (!__syncthreads_or(is_all && tile.is_masked && tile_has_nan<HEAD_DIM>(state)))
                worker_store<HEAD_DIM, T, OWN_ROWS>(a, shared, tile, rows, state, shared.kv[stage][0],
                                                    is_all ? 0 : at.only_row,
                                                    is_all ? tile.num_queries : at.only_row + 1);
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
