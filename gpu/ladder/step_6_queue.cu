/* Step 6: a queue. The grid is no longer the list of tasks but as many workers as the GPU holds at once; each has
 * a list of tiles that the host made: plan_queue.
 *   idea    the host knows what each task costs, so it deals them out: the dearest first, to whoever has least. A
 *           worker that ends one task is already copying the next one's tiles. And the shape of the work follows
 *           the rows: few rows, and the warps share the tokens; many, and each warp has its own 16 of them.
 *           The loop over the tiles is worker_run (worker.cuh), which steps 7 and 8 call too
 *   wins    43 to 23 us on 64 branches of 64 tokens behind 2048 (figures/ladder.csv)
 *   price   the host expands the plan: 32 bytes a tile and KV head; 72 KB of shared memory a worker
 *   leaves  merge is a second launch, which begins when the last worker has ended: step 7
 *   threads 4 warps, warps_m x warps_n: rows x slices of 16 tokens
 *           tile of 64 tokens (head_dim 128)   K  [ 0-15 | 16-31 | 32-47 | 48-63 ]   warps_n = 4: one slice each
 *           stages   copied: tile i + 1        computed: i              (two workers a multiprocessor: one
 *           of them computes while the other waits; a third stage is worth nothing any more) */
#include "worker.cuh"

template <int HEAD_DIM, typename T>
static __global__ void __launch_bounds__(WORKER_THREADS, WORKERS_PER_SM)
    attend(const __grid_constant__ attention_arguments a)
{
    SHARED_MEMORY(char, memory);
    worker_run<HEAD_DIM, T, worker_absorb<HEAD_DIM, T>>(a, *(worker_shared *)memory);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    cudaError_t error = launch_kernel(a.queue.num_workers, WORKER_THREADS, sizeof(worker_shared), stream,
                                      attend<HEAD_DIM, T>, a);
    return error == cudaSuccess ? launch_merge<HEAD_DIM, T, true>(a, stream) : error;
}

cudaError_t step_6_queue(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
