/* A barrier for the whole grid. First read by step 8. */
#ifndef WAIT_FOR_ALL_CUH
#define WAIT_FOR_ALL_CUH

#include "grid.cuh"

/* Returns when all thread blocks have arrived here; everything that they wrote before is then visible. All of them must
 * run at the same time: a cooperative launch. When all have arrived, the highest bit of *arrivals has flipped and the
 * other bits are 0 again, ready for the next launch: each thread block adds 1, but block 0 adds the rest of 2^31. */
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
