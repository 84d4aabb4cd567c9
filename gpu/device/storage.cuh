/* Storage types of K and V, and the dispatch from a shape to the template that was compiled for it. */
#ifndef STORAGE_CUH
#define STORAGE_CUH

#include "device.cuh"

#include <math.h>

static __device__ __forceinline__ float to_float(float x) { return x; }
static __device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
static __device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

/* Rounded to nearest, ties to even. */
template <typename T> static __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ __half from_float<__half>(float x) { return __float2half_rn(x); }
template <> __device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x)
{
    return __float2bfloat16_rn(x);
}

/* The type of sums over tokens. double for fp32: in float, a sum of values of one sign drifts by 1e-3 of itself over
 * 131,072 tokens. With 16 bits, the rounding of K and V themselves is coarser than that. */
template <typename T> struct sum_of {
    typedef float type;
};
template <> struct sum_of<float> {
    typedef double type;
};
template <typename T> using sum_type = typename sum_of<T>::type;

static __device__ __forceinline__ float multiply_add(float x, float y, float sum) { return fmaf(x, y, sum); }
static __device__ __forceinline__ double multiply_add(float x, float y, double sum)
{
    return fma((double)x, (double)y, sum);
}

/* Two floats rounded to T, ties to even, in one register; low comes first in memory. */
template <typename T> static __device__ __forceinline__ uint32_t pack_pair(float low, float high);

template <> __device__ __forceinline__ uint32_t pack_pair<__half>(float low, float high)
{
    __half2 pair = __floats2half2_rn(low, high);
    return *(uint32_t *)&pair;
}

template <> __device__ __forceinline__ uint32_t pack_pair<__nv_bfloat16>(float low, float high)
{
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *(uint32_t *)&pair;
}

/* launcher<HEAD_DIM, T>(arguments, stream) for the head_dim and storage of arguments.shape. */
#define DISPATCH_HEAD_DIM(launcher, T, arguments, stream)                                                              \
    ((arguments).shape.head_dim == 64    ? launcher<64, T>(arguments, stream)                                          \
     : (arguments).shape.head_dim == 128 ? launcher<128, T>(arguments, stream)                                         \
                                         : launcher<256, T>(arguments, stream))

#define DISPATCH_HALF(launcher, arguments, stream)                                                                     \
    ((arguments).shape.storage == TREE_FP16 ? DISPATCH_HEAD_DIM(launcher, __half, arguments, stream)                   \
                                            : DISPATCH_HEAD_DIM(launcher, __nv_bfloat16, arguments, stream))

#define DISPATCH_ANY(launcher, arguments, stream)                                                                      \
    ((arguments).shape.storage == TREE_FP32 ? DISPATCH_HEAD_DIM(launcher, float, arguments, stream)                    \
                                            : DISPATCH_HALF(launcher, arguments, stream))

#endif
