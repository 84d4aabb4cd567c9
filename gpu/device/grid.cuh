/* Barriers between thread blocks (from step 8) and launches that overlap (step 12). */
#ifndef GRID_CUH
#define GRID_CUH

#include "device.cuh"
#include "launch.h"

#ifndef TREEATTN_EMULATE /* emulate.h has the same functions */

/* As launch_kernel. how: LAUNCH_COOPERATIVE | LAUNCH_EARLY (launch.h), or 0. */
template <typename... Parameters, typename... Arguments>
static cudaError_t launch_kernel_as(unsigned how, dim3 grid, dim3 threads, size_t shared_bytes, cudaStream_t stream,
                                    void (*kernel)(Parameters...), Arguments... arguments)
{
    enum { EARLY_ARCH = 90 };
    cudaLaunchAttribute attributes[2] = {};
    unsigned num_attributes = 0;
    if (how & LAUNCH_COOPERATIVE) {
        attributes[num_attributes].id = cudaLaunchAttributeCooperative;
        attributes[num_attributes++].val.cooperative = 1;
    }
    if (how & LAUNCH_EARLY) {
        cudaFuncAttributes built = {};
        cudaError_t error = cudaFuncGetAttributes(&built, (const void *)kernel);
        if (error != cudaSuccess)
            return error;
        attributes[num_attributes].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attributes[num_attributes].val.programmaticStreamSerializationAllowed = 1;
        num_attributes += built.ptxVersion >= EARLY_ARCH; /* code for an older GPU has no wait_for_previous_launch */
    }
    return launch_kernel_with(attributes, num_attributes, grid, threads, shared_bytes, stream, kernel, arguments...);
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

/* Programmatic dependent launch: once all thread blocks have called this or ended, the next launch in the stream may
 * start, if it is LAUNCH_EARLY. */
static __device__ __forceinline__ void allow_next_launch()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/* In a LAUNCH_EARLY launch: returns when the previous launch in the stream has ended and its results are visible. */
static __device__ __forceinline__ void wait_for_previous_launch()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

#endif
#endif
