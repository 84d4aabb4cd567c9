/* A worker, which is a thread block of the persistent kernel, as the steps of its loop. First read by step 6;
 * worker_copy.cuh has its shared memory and the copies, worker_task.cuh the rows of a task.
 *
 *     find_tiles, request_queries, prefetch(0 .. LEAD - 1)
 *     for each task
 *         begin_task                  queries become fragments, states empty
 *         for each of its tiles
 *             wait for tile n
 *             prefetch(n + LEAD)      into the stage of tile n - 1
 *             absorb                  each warp its share of tile n
 *         end_task                    request the queries of the next task, write the states of this one
 *     redo_spoilt                     the masked tasks from the first that a hidden NaN has spoilt (worker_redo.cuh)
 *
 * Each rung has this loop in its own file. `absorb` stands for the rung's own function: absorb_tile (worker_task.cuh),
 * absorb_seen_slices (step 9) or begin_scores and absorb_scores (step 10); the other verbs are the worker's, below. */
#ifndef WORKER_CUH
#define WORKER_CUH

#include "worker_task.cuh"

#define NOTHING_SPOILT UINT32_MAX

/* SPLIT: how the warps share a tile. ORDER: in which order a row of partial o is stored. Both: worker_task.cuh. */
template <int HEAD_DIM, typename T, typename SPLIT = split_rows_then_tokens, typename ORDER = plain_order>
struct worker {
    worker_list list;
    uint32_t tile, task;                /* the current ones, or the next between tasks; counted from 0 */
    tile_floats<HEAD_DIM> next_queries; /* of the next task, being loaded */
    uint32_t q[HEAD_DIM / 16][4];       /* of this task, as fragments */
    tile_state<HEAD_DIM> state;
    tile_share share;
    uint32_t first_spoilt;              /* first tile of the first spoilt task, or NOTHING_SPOILT */

    __device__ __forceinline__ void find_tiles(const attention_arguments &a, worker_shared &shared)
    {
        list = worker_find_tiles<HEAD_DIM>(a, shared);
        tile = task = 0;
        first_spoilt = NOTHING_SPOILT;
    }

    __device__ __forceinline__ void request_queries(const attention_arguments &a, worker_shared &shared)
    {
        next_queries = {}; /* otherwise the compiler keeps the old values in registers throughout the loop */
        if (tile == list.count)
            return;
        const queue_tile first = worker_record(shared, tile);
        load_queries<HEAD_DIM>(a, first, shared.queries[task % QUERY_RING], SPLIT::warps_m(first), next_queries);
    }

    /* The caller commits the group of copies. */
    __device__ __forceinline__ void prefetch(const attention_arguments &a, worker_shared &shared, uint32_t n)
    {
        prefetch_tile<HEAD_DIM>(a, shared, list, n);
    }

    __device__ __forceinline__ void begin_task(const attention_arguments &a, const worker_shared &shared)
    {
        const queue_tile first = worker_record(shared, tile);
        share = find_share<HEAD_DIM>(first, SPLIT::warps_m(first));
        tile_round<HEAD_DIM, T>(q, next_queries, a.scale);
        tile_clear<HEAD_DIM>(state);
    }

    /* last: the task's last tile; its stage serves as a buffer. */
    template <typename ARGUMENTS>
    __device__ __forceinline__ void end_task(const ARGUMENTS &a, worker_shared &shared, const queue_tile &last)
    {
        enum { EARLY = HEAD_DIM <= 128 }; /* limited by registers */
        const queue_query *queries = shared.queries[task % QUERY_RING];
        char *buffer = shared.kv[(tile - 1) % STAGES][0];
        task++;
        if (EARLY)
            request_queries(a, shared);
        /* 0 x NaN is NaN: a hidden value may have spoilt rows that do not see it (worker_redo.cuh) */
        if (!__syncthreads_or(last.is_masked && tile_has_nan<HEAD_DIM>(state)))
            store_rows<HEAD_DIM, T, ORDER>(a, shared, last, queries, state, SPLIT::warps_m(last), buffer, 0,
                                           last.num_queries);
        else if (first_spoilt == NOTHING_SPOILT)
            first_spoilt = tile - 1 - last.number;
        if (!EARLY)
            request_queries(a, shared);
    }
};

#endif
