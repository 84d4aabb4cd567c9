/* Stores whose lines L2 drops last: for data that comes back soon, beside a stream that does not. Without the hint they
 * would be written to memory and read again, and writes among reads slow down both. First read by evict_3. */
#ifndef KEEP_IN_L2_CUH
#define KEEP_IN_L2_CUH

#include "device.cuh"

#ifndef TREEATTN_EMULATE /* emulate.h has the same functions */

#define L2_EVICT_LAST 0x14F0000000000000ull /* as createpolicy.fractional.L2::evict_last makes it */

static __device__ __forceinline__ void store_l2(float *to, float x, float y)
{
    asm volatile("st.global.L2::cache_hint.v2.f32 [%0], {%1, %2}, %3;" ::"l"(to), "f"(x), "f"(y), "l"(L2_EVICT_LAST)
                 : "memory");
}

static __device__ __forceinline__ void store_l2(float *to, float4 x)
{
    asm volatile("st.global.L2::cache_hint.v4.f32 [%0], {%1, %2, %3, %4}, %5;" ::"l"(to), "f"(x.x), "f"(x.y), "f"(x.z),
                 "f"(x.w), "l"(L2_EVICT_LAST)
                 : "memory");
}

/* Starts to load a line into L2. */
static __device__ __forceinline__ void prefetch_l2(const void *global)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(global));
}

#endif
#endif
