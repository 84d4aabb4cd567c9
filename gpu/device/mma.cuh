/* The tensor core instruction of steps 4 to 9, and the approximate functions that softmax needs. Explained by step 4.
 *
 * mma_16x8x16 multiplies a 16 x 16 matrix A by a 16 x 8 matrix B and adds the product to D. No lane has a whole matrix:
 * each holds a fragment. Lane i, with row = i / 4 and pair = 2 * (i % 4), has two neighbouring elements per register:
 *
 *      A, 16 rows of M, 16 of K            B, 16 of K, 8 columns of N        D, 16 rows of M, 8 columns of N, float
 *           k: pair     8 + pair                n: row                            n: pair, pair + 1
 *   m: row      a[0]      a[2]         k: pair      b[0]                  m: row      d[0], d[1]
 *      row + 8  a[1]      a[3]            8 + pair  b[1]                     row + 8  d[2], d[3]
 *
 * Two fragments of D side by side have the layout of one fragment of A. So a lane's scores of 16 tokens become its part
 * of the left matrix of weights x values, without any exchange between lanes. */
#ifndef MMA_CUH
#define MMA_CUH

#include "device.cuh"
#include "storage.cuh"

#define LOG2_E 1.44269504088896341f /* for exp2_approx */

#ifndef TREEATTN_EMULATE /* emulate.h has the same functions */

template <typename T> __device__ void mma_16x8x16(float d[4], const uint32_t a[4], const uint32_t b[2]);

template <> __device__ __forceinline__ void mma_16x8x16<__half>(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <>
__device__ __forceinline__ void mma_16x8x16<__nv_bfloat16>(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* 1 / x to within a unit in the last place. */
static __device__ __forceinline__ float reciprocal_approx(float x)
{
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* 2^x to within 2 units in the last place; results below 2^-126 are 0. */
static __device__ __forceinline__ float exp2_approx(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif
#endif
