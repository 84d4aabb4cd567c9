/* Included first by every kernel file: CUDA, declarations of shared memory, and a launch that returns CUDA's error.
 * With TREEATTN_EMULATE, the emulator replaces all of it. */
#ifndef DEVICE_CUH
#define DEVICE_CUH

#include <stdint.h>

#include "exact_math_internal.h"

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

/* Enqueues kernel(arguments...). CUDA refuses an empty grid; here it means that there is nothing to do. */
template <typename... Parameters, typename... Arguments>
static cudaError_t launch_kernel_with(cudaLaunchAttribute *attributes, unsigned num_attributes, dim3 grid, dim3 threads,
                                      size_t shared_bytes, cudaStream_t stream, void (*kernel)(Parameters...),
                                      Arguments... arguments)
{
    enum { BYTES_BY_DEFAULT = 48 * 1024 }; /* a kernel that needs more shared memory has to opt in */
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = threads;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = attributes;
    config.numAttrs = num_attributes;
    if (grid.x == 0)
        return cudaSuccess;
    if (shared_bytes > BYTES_BY_DEFAULT) {
        cudaError_t error = cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                 (int)shared_bytes);
        if (error != cudaSuccess)
            return error;
    }
    return cudaLaunchKernelEx(&config, kernel, arguments...);
}

template <typename... Parameters, typename... Arguments>
static cudaError_t launch_kernel(dim3 grid, dim3 threads, size_t shared_bytes, cudaStream_t stream,
                                 void (*kernel)(Parameters...), Arguments... arguments)
{
    return launch_kernel_with(NULL, 0, grid, threads, shared_bytes, stream, kernel, arguments...);
}
#endif
#endif
