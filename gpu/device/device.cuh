/* What every kernel file includes first: CUDA, shared memory, and launches that return what CUDA says. Or, with
 * TREEATTN_EMULATE, what stands in for all of it on the host. */
#ifndef DEVICE_CUH
#define DEVICE_CUH

#include <stdint.h>

#include "exact_math_internal.h"
#include "launch.h"

enum { WARP = 32 }; /* lanes of a warp */
#define ALL_LANES 0xffffffffu

#ifdef TREEATTN_EMULATE
#include "emulate.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

/* The dynamic shared memory of the thread block. */
#define SHARED_MEMORY(type, name) extern __shared__ __align__(1024) type name[]

/* A variable in shared memory, SHARED_VARIABLE(name, type); at a kernel's beginning. */
#define SHARED_VARIABLE(name, ...) __shared__ __align__(16) __VA_ARGS__ name

/* Enqueues kernel(arguments...). A grid of nothing is an error to CUDA, here it is nothing to do. how: of launch.h. */
template <typename... Parameters, typename... Arguments>
static cudaError_t launch_kernel_as(unsigned how, dim3 grid, dim3 threads, size_t shared_bytes, cudaStream_t stream,
                                    void (*kernel)(Parameters...), Arguments... arguments)
{
    enum { WITHOUT_ASKING = 48 * 1024, EARLY_ARCH = 90 };
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
        num_attributes += built.ptxVersion >= EARLY_ARCH; /* else the kernel does not wait */
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = threads;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = attributes;
    config.numAttrs = num_attributes;
    if (grid.x == 0)
        return cudaSuccess;
    if (shared_bytes > WITHOUT_ASKING) {
        cudaError_t error = cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                 (int)shared_bytes);
        if (error != cudaSuccess)
            return error;
    }
    return cudaLaunchKernelEx(&config, kernel, arguments...);
}
#endif

template <typename... Parameters, typename... Arguments>
static cudaError_t launch_kernel(dim3 grid, dim3 threads, size_t shared_bytes, cudaStream_t stream,
                                 void (*kernel)(Parameters...), Arguments... arguments)
{
    return launch_kernel_as(0, grid, threads, shared_bytes, stream, kernel, arguments...);
}
#endif
