/* Launches that overlap (programmatic dependent launch): step 12. */
#ifndef EARLY_LAUNCH_CUH
#define EARLY_LAUNCH_CUH

#include "device.cuh"

#ifndef TREEATTN_EMULATE /* emulate.h has the same functions */

/* As launch_kernel, but may start before the previous launch in the stream ends, once that one calls allow_next_launch;
 * the kernel must call wait_for_previous_launch before it reads results of earlier work. Needs sm_90; elsewhere a launch
 * like any other. is_cooperative: as launch_cooperative too. */
template <typename... Parameters, typename... Arguments>
static cudaError_t launch_early(bool is_cooperative, dim3 grid, dim3 threads, size_t shared_bytes, cudaStream_t stream,
                                void (*kernel)(Parameters...), Arguments... arguments)
{
    enum { EARLY_ARCH = 90 };
    cudaLaunchAttribute attributes[2] = {};
    unsigned num_attributes = 0;
    cudaFuncAttributes built = {};
    cudaError_t error = cudaFuncGetAttributes(&built, (const void *)kernel);
    if (error != cudaSuccess)
        return error;
    if (is_cooperative) {
        attributes[num_attributes].id = cudaLaunchAttributeCooperative;
        attributes[num_attributes++].val.cooperative = 1;
    }
    if (built.ptxVersion >= EARLY_ARCH) { /* code for an older GPU has no wait_for_previous_launch */
        attributes[num_attributes].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attributes[num_attributes++].val.programmaticStreamSerializationAllowed = 1;
    }
    return launch_kernel_with(attributes, num_attributes, grid, threads, shared_bytes, stream, kernel, arguments...);
}

/* Programmatic dependent launch: once all thread blocks have called this or ended, the next launch in the stream may
 * start, if it is a launch_early. */
static __device__ __forceinline__ void allow_next_launch()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/* In a launch_early: returns when the previous launch in the stream has ended and its results are visible. */
static __device__ __forceinline__ void wait_for_previous_launch()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

#endif
#endif
