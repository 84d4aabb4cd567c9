/* Step 7: one launch. The workers merge too.
 *   idea    a worker without tiles left waits until all others are there too (one counter), then the workers share out
 *           the queries and heads. States are merged in the order of the plan's list, so that the same plan gives the
 *           same bits. And one launch need not wait for the end of another: on sm_90 it begins as soon as there is
 *           room, reads its plan, and waits only before it reads what the one before may have written
 *   wins    23 to 23 us on 64 branches of 64 tokens behind 2048 (figures/ladder.csv); 3 percent there
 *           in another run, 4 to 9 on fewer branches (figures/launch_fusion.csv), early start and merging together
 *   price   a wait of two trips to the L2 cache. Who waits must not keep those from running that it waits for: the
 *           launch is cooperative, all workers are on the GPU at once. 8 warps a multiprocessor merge, where a
 *           launch of its own would have more
 *   leaves  a masked task computes all its rows against all its tokens, and each lane asks memory for its bits: step 8
 *   threads as step 6; merge: a warp for each query and head */
#include "worker.cuh"

template <int HEAD_DIM, typename T>
static __global__ void __launch_bounds__(WORKER_THREADS, WORKERS_PER_SM)
    attend(const __grid_constant__ attention_arguments a)
{
    SHARED_MEMORY(char, memory);
    worker_shared &shared = *(worker_shared *)memory;
    begin_next_launch();
    /* its loads have long arrived when they are needed */
    merge_place merges = merge_begin(a, threadIdx.x / TILE_WARP * gridDim.x + blockIdx.x, gridDim.x * WORKER_WARPS);
    worker_run<HEAD_DIM, T, worker_absorb<HEAD_DIM, T>>(a, shared);
    worker_wait_for_all(a.arrivals);
    merge_all<HEAD_DIM, T, true>(a, merges);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    return launch_kernel_as(LAUNCH_COOPERATIVE | LAUNCH_EARLY, a.queue.num_workers, WORKER_THREADS,
                            sizeof(worker_shared), stream, attend<HEAD_DIM, T>, a);
}

cudaError_t step_7_one_launch(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
