/* Whether this machine can run the kernels, and CUDA's errors as statuses. */
#include "gpu_internal.h"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "the kernels need sm_80 or newer"
#endif

static __global__ void probe() {}

cudaError_t gpu_probe_kernel(void)
{
    cudaFuncAttributes attributes;
    return cudaFuncGetAttributes(&attributes, (const void *)probe);
}

/* The runtime reports a missing driver as an insufficient one; only its version tells them apart. */
static tree_status insufficient_driver(void)
{
    int version = 0;
    return cudaDriverGetVersion(&version) == cudaSuccess && version > 0 ? TREE_OLD_DRIVER : TREE_NO_DEVICE;
}

tree_status gpu_status(cudaError_t error, int *cuda_error)
{
    if (cuda_error)
        *cuda_error = (int)error;
    switch (error) {
    case cudaSuccess: return TREE_OK;
    case cudaErrorMemoryAllocation: return TREE_NOMEM;
    case cudaErrorNoDevice:
    case cudaErrorStubLibrary: return TREE_NO_DEVICE;
    case cudaErrorInsufficientDriver: return insufficient_driver();
    case cudaErrorUnsupportedPtxVersion: return TREE_OLD_DRIVER;
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorJitCompilerNotFound: return TREE_NO_KERNEL_IMAGE;
    default: return TREE_CUDA_ERROR;
    }
}

tree_status tree_gpu_device_check(int *cuda_error)
{
    int num_devices = 0;
    cudaError_t error = cudaGetDeviceCount(&num_devices);
    if (error == cudaSuccess && num_devices == 0)
        error = cudaErrorNoDevice;
    if (error == cudaSuccess)
        error = gpu_probe_kernel();
    cudaGetLastError(); /* reported here, so that the next launch does not report it again */
    return gpu_status(error, cuda_error);
}

const char *tree_cuda_error_string(int cuda_error) { return cudaGetErrorString((cudaError_t)cuda_error); }
