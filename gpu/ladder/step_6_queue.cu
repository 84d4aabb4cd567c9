/* Step 6: a queue. A persistent kernel: the grid is no longer one thread block per task, but as many workers as the GPU
 * runs at once. Each worker has a list of tiles, which the host has planned (plan_queue.h).
 *   idea    the host knows what each task costs, so it balances the load: the most expensive task first, to the worker
 *           with the least load so far. A worker does not drain its pipeline between tasks: while it computes the last
 *           tile of one, it prefetches the first tile of the next. And the number of rows decides how the four warps
 *           split a tile: with few rows they split the tokens, with many each has its own 16 rows
 *   wins    46.0 to 25.8 us on 64 branches with 64 tokens each behind 2048 (figures/ladder.csv)
 *   price   the host expands the plan further: a record of 32 bytes for each tile of each KV head. 72 KB of shared
 *           memory per worker
 *   leaves  a warp that merges waits for one partial state after the other: step 7
 *   loop    worker.cuh explains it: find tiles, prefetch, begin a task, absorb its tiles, end it
 *   threads 4 warps, warps_m x warps_n: 16 rows each x slices of at least 16 tokens
 *           tile of 64 tokens (head_dim 128)   K  [ 0-15 | 16-31 | 32-47 | 48-63 ]   warps_n = 4: one slice each
 *           stages: tile n + 1 is copied while tile n is computed. Two workers share a multiprocessor, so that one
 *           computes while the other waits; a third stage was slower (docs/gpu.md) */
#include "merge.cuh"
#include "worker_redo.cuh"

cudaError_t gpu_num_workers(uint32_t *num_workers)
{
    enum { RESERVED = 1024 }; /* bytes of shared memory that CUDA reserves per thread block */
    int device = 0, num_sms = 0, shared_bytes = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&num_sms, cudaDevAttrMultiProcessorCount, device);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device);
    const uint32_t fit = (uint32_t)shared_bytes / (WORKER_SHARED_BYTES + RESERVED);
    *num_workers = (uint32_t)num_sms * (fit < WORKERS_PER_SM ? fit : (uint32_t)WORKERS_PER_SM);
    return error == cudaSuccess && *num_workers == 0 ? cudaErrorInvalidConfiguration : error;
}

template <int HEAD_DIM, typename T>
static __global__ void __launch_bounds__(WORKER_THREADS, WORKERS_PER_SM)
    attend(const __grid_constant__ attention_arguments a)
{
    SHARED_MEMORY(char, memory);
    worker_shared &shared = *(worker_shared *)memory;
    worker<HEAD_DIM, T> w;

    /* find this item's blocks: from here on, LEAD tiles ahead */
    w.find_tiles(a, shared);
    w.request_queries(a, shared);
    for (uint32_t n = 0; n < LEAD; n++) {
        w.prefetch(a, shared, n);
        cp_async_commit();
    }
    while (w.tile < w.list.count) {
        w.begin_task(a, shared);
        queue_tile tile;
        do {
            tile = worker_record(shared, w.tile);
            cp_async_wait<LEAD - 1>(); /* this thread's copies of the tile have landed; */
            __syncthreads();           /* so have those of all threads, and the stage of the previous tile is free */
            w.prefetch(a, shared, w.tile + LEAD);
            cp_async_commit();

            /* score the keys, absorb into the running maximum and sum */
            absorb_tile<HEAD_DIM, T>(w.state, w.q, w.share, tile, shared.kv[w.tile % STAGES],
                                     a.queue.masks + tile.first_mask, a.scale);
            w.tile++;
        } while (!tile.is_last);
        w.end_task(a, shared, tile);
    }
    redo_spoilt<absorb_tile<HEAD_DIM, T>>(a, shared, w);
}

/* One warp for each query and head. For a query with one partial state, end_task has already written the result. */
template <int HEAD_DIM, typename T> static __global__ void merge_queue(attention_arguments a)
{
    const uint64_t n = (uint64_t)blockIdx.x * MERGE_WARPS + threadIdx.x / WARP, query = n / a.shape.num_heads;
    if (query < a.plan.num_queries && a.plan.merge_first[query + 1] - a.plan.merge_first[query] != 1)
        merge_query<HEAD_DIM, T>(a, query, (uint32_t)(n % a.shape.num_heads), NULL);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    const uint64_t num_merges = (uint64_t)a.plan.num_queries * a.shape.num_heads;
    cudaError_t error = launch_kernel(a.queue.num_workers, WORKER_THREADS, sizeof(worker_shared), stream,
                                      attend<HEAD_DIM, T>, a);
    if (error != cudaSuccess)
        return error;
    return launch_kernel((uint32_t)((num_merges + MERGE_WARPS - 1) / MERGE_WARPS), MERGE_WARPS * WARP, 0, stream,
                         merge_queue<HEAD_DIM, T>, a);
}

cudaError_t step_6_queue(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
