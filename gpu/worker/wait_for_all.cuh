/* A barrier of the whole grid. First read by step 8. */
#ifndef WAIT_FOR_ALL_CUH
#define WAIT_FOR_ALL_CUH

#include "grid.cuh"

/* Returns when all thread blocks have arrived here, and makes what they wrote before visible. All of them must run at
 * the same time: a cooperative launch. The arrival of all flips the highest bit of *arrivals, and leaves the others 0
 * for the next launch: thread block 0 adds what is missing to 2^31, the others 1 each. */
static __device__ __forceinline__ void wait_for_all(uint32_t *arrivals)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        const uint32_t before = atomicAdd(arrivals, blockIdx.x == 0 ? 0x80000000u - (gridDim.x - 1) : 1);
        while (!((load_acquire(arrivals) ^ before) & 0x80000000u))
            ;
    }
    __syncthreads();
}

#endif
