/* The matrix products of a step: cuBLAS, or a plain loop where the kernels are emulated. */
#ifndef PRODUCTS_CUH
#define PRODUCTS_CUH

#include "device.cuh"
#include "storage.cuh"
#include "tree_shape.h"

#ifdef TREEATTN_EMULATE

struct products {
    int unused;
};

static inline cudaError_t products_create(products *, cudaStream_t) { return cudaSuccess; }
static inline void products_destroy(products *) {}

template <typename T>
static void plain_product(float *y, const T *matrix, const T *h, uint32_t rows, uint32_t columns, uint32_t n, bool adds)
{
    for (uint32_t i = 0; i < n * rows; i++) {
        float sum = 0;
        for (uint32_t c = 0; c < columns; c++)
            sum += to_float(matrix[(i % rows) * columns + c]) * to_float(h[i / rows * columns + c]);
        y[i] = adds ? y[i] + sum : sum;
    }
}

static inline cudaError_t product_enqueue(const products *, float *y, const void *matrix, const void *h, uint32_t rows,
                                   uint32_t columns, uint32_t n, bool adds, tree_storage storage)
{
    return emulate_enqueue([=] {
        if (storage == TREE_FP16)
            plain_product(y, (const __half *)matrix, (const __half *)h, rows, columns, n, adds);
        else
            plain_product(y, (const __nv_bfloat16 *)matrix, (const __nv_bfloat16 *)h, rows, columns, n, adds);
        return cudaSuccess;
    });
}

#else
#include <cublas_v2.h>

enum { PRODUCTS_WORKSPACE = 32 << 20 }; /* bytes; NVIDIA's advice for Hopper */

struct products {
    cublasHandle_t handle;
    void *workspace; /* of the caller, so that a captured product allocates nothing */
};

static inline cudaError_t cublas_error(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS        ? cudaSuccess
           : status == CUBLAS_STATUS_ALLOC_FAILED ? cudaErrorMemoryAllocation
                                                  : cudaErrorUnknown;
}

static inline void products_destroy(products *p)
{
    if (p->handle)
        cublasDestroy(p->handle);
    cudaFree(p->workspace);
    *p = {};
}

static inline cudaError_t products_create(products *p, cudaStream_t stream)
{
    cudaError_t error = cudaMalloc(&p->workspace, PRODUCTS_WORKSPACE);
    if (error == cudaSuccess)
        error = cublas_error(cublasCreate(&p->handle));
    if (error == cudaSuccess)
        error = cublas_error(cublasSetStream(p->handle, stream));
    if (error == cudaSuccess)
        error = cublas_error(cublasSetWorkspace(p->handle, p->workspace, PRODUCTS_WORKSPACE));
    return error;
}

/* y = matrix h, adds: y += matrix h, for n vectors h [n][columns], y [n][rows], matrix [rows][columns]; sums in float.
 * cuBLAS counts columns first: there matrix is [columns] by [rows] and is transposed. */
static inline cudaError_t product_enqueue(const products *p, float *y, const void *matrix, const void *h, uint32_t rows,
                                   uint32_t columns, uint32_t n, bool adds, tree_storage storage)
{
    const cudaDataType type = storage == TREE_FP16 ? CUDA_R_16F : CUDA_R_16BF;
    const float one = 1, keep = adds;
    return cublas_error(cublasGemmEx(p->handle, CUBLAS_OP_T, CUBLAS_OP_N, (int)rows, (int)n, (int)columns, &one, matrix,
                                     type, (int)columns, h, type, (int)columns, &keep, y, CUDA_R_32F, (int)rows,
                                     CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
}
#endif
#endif
