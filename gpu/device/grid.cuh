/* Thread blocks that wait for each other: from step 8. */
#ifndef GRID_CUH
#define GRID_CUH

#include "device.cuh"

#ifndef TREEATTN_EMULATE /* emulate.h has the same functions */

/* As launch_kernel; a cooperative launch: all thread blocks run at the same time, or the launch is refused. */
template <typename... Parameters, typename... Arguments>
static cudaError_t launch_cooperative(dim3 grid, dim3 threads, size_t shared_bytes, cudaStream_t stream,
                                      void (*kernel)(Parameters...), Arguments... arguments)
{
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeCooperative;
    attribute.val.cooperative = 1;
    return launch_kernel_with(&attribute, 1, grid, threads, shared_bytes, stream, kernel, arguments...);
}

/* Acquire: after this load has seen another thread's change of *counter, the writes before that change are visible. */
static __device__ __forceinline__ uint32_t load_acquire(const uint32_t *counter)
{
    uint32_t value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(counter) : "memory");
    return value;
}

/* Increments *counter, or sets it to 0 if it is `last`; returns the value before. Acquire-release: writes of earlier
 * arrivals are visible here, and this thread's to later arrivals. */
static __device__ __forceinline__ uint32_t count_arrival(uint32_t *counter, uint32_t last)
{
    uint32_t before;
    asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;" : "=r"(before) : "l"(counter), "r"(last) : "memory");
    return before;
}

#endif
#endif
