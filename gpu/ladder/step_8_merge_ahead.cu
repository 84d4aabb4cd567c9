/* Step 8: merge ahead. A warp requests many states before it needs the first.
 *   idea    a state is 256 bytes (head_dim 128) behind a trip of 700 cycles to L2, so latency is all: a warp requests
 *           eight rows of o at once, straight to registers, and the next eight before it adds these up; the bounds of its
 *           lists are loaded before the first tile is. Where there are more queries and heads than warps, a warp takes
 *           four heads of a query at a time. Rows of partial o are in the order in which the matrix instructions leave
 *           them, so that each lane writes 16 bytes and not 4
 *   wins    to be measured
 *   price   128 registers, of which the worker has 255 anyway; one warp per query and head computes the weights of eight
 *           rows, also where a query has two
 *   leaves  a masked task computes all of its rows against all of its tokens, and each lane loads its masks from
 *           memory: step 9
 *   threads as step 7; merge: lane i computes the weight of row i % 8 */
#include "merge_ahead.cuh"
#include "wait_for_all.cuh"
#include "worker_redo.cuh"

template <int HEAD_DIM, typename T>
static __global__ void __launch_bounds__(WORKER_THREADS, WORKERS_PER_SM)
    attend(const __grid_constant__ attention_arguments a)
{
    SHARED_MEMORY(char, memory);
    worker_shared &shared = *(worker_shared *)memory;
    worker<HEAD_DIM, T, split_rows_then_tokens, fragment_order> w;
    /* its loads have landed long before they are needed */
    merge_cursor merges = merge_start(a, threadIdx.x / WARP * gridDim.x + blockIdx.x, gridDim.x * WORKER_WARPS);

    /* find this item's blocks: from here on, LEAD tiles ahead */
    w.find_tiles(a, shared);
    w.request_queries(a, shared);
    for (uint32_t n = 0; n < LEAD; n++) {
        worker_prefetch<HEAD_DIM>(a, shared, w.list, n);
        cp_async_commit();
    }
    while (w.tile < w.list.count) {
        w.begin_task(a, shared);
        queue_tile tile;
        do {
            tile = worker_record(shared, w.tile);
            cp_async_wait<LEAD - 1>(); /* this thread's copies of the tile have landed; behind the barrier, those of all */
            __syncthreads();           /* have, and no warp reads the tile before: its stage is free */
            worker_prefetch<HEAD_DIM>(a, shared, w.list, w.tile + LEAD);
            cp_async_commit();

            /* score the keys, absorb into the running maximum and sum */
            absorb_tile<HEAD_DIM, T>(w.state, w.q, w.share, tile, shared.kv[w.tile % STAGES],
                                     a.queue.masks + tile.first_mask, a.scale);
            w.tile++;
        } while (!tile.is_last);
        w.end_task(a, shared, tile);
    }
    redo_spoilt<absorb_tile<HEAD_DIM, T>>(a, shared, w);

    /* merge partial states, normalize */
    wait_for_all(a.arrivals);
    merge_all<HEAD_DIM, T>(a, merges);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    return launch_kernel_as(LAUNCH_COOPERATIVE, a.queue.num_workers, WORKER_THREADS, sizeof(worker_shared), stream,
                            attend<HEAD_DIM, T>, a);
}

cudaError_t step_8_merge_ahead(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
