/* A barrier for the whole grid. First read by step 8. */
#ifndef WAIT_FOR_ALL_CUH
#define WAIT_FOR_ALL_CUH

#include "grid.cuh"

/* The barrier in two halves, for a kernel that has something to do in between. All thread blocks must run at the same
 * time: a cooperative launch. When all have arrived, the highest bit of *arrivals has flipped and the other bits are 0
 * again, ready for the next launch: each thread block adds 1, but block 0 adds the rest of 2^31. Returns a ticket for
 * wait_for_others. */
static __device__ __forceinline__ uint32_t arrive(uint32_t *arrivals)
{
    __syncthreads();
    if (threadIdx.x != 0)
        return 0;
    __threadfence();
    return atomicAdd(arrivals, blockIdx.x == 0 ? 0x80000000u - (gridDim.x - 1) : 1);
}

/* Returns when all thread blocks have arrived; everything that they wrote before is then visible. */
static __device__ __forceinline__ void wait_for_others(const uint32_t *arrivals, uint32_t ticket)
{
    if (threadIdx.x == 0) {
        while (!((load_acquire(arrivals) ^ ticket) & 0x80000000u))
            ;
    }
    __syncthreads();
}

static __device__ __forceinline__ void wait_for_all(uint32_t *arrivals)
{
    wait_for_others(arrivals, arrive(arrivals));
}

#endif
