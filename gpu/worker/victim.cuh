/* The choice of a victim, as all rungs of eviction make it: a key for each token, and the smallest one of a query. */
#ifndef VICTIM_CUH
#define VICTIM_CUH

#include "device.cuh"

#include <math.h>

#include "eviction_internal.h"

/* As eviction_key in reference/eviction/importance.c. */
static __device__ __forceinline__ uint64_t importance_key(float importance, uint32_t position)
{
    if (!(importance >= 0 && importance < INFINITY))
        return EVICTION_NOT_FINITE;
    const uint32_t bits = importance == 0 ? 0 : __float_as_uint(importance);
    return (uint64_t)(bits + 1) << 32 | position;
}

/* The smallest key over the lanes of a warp takes part in the victim of the query: a minimum of integers, which is the
 * same in whatever order warps arrive. */
static __device__ __forceinline__ void offer_victim(const eviction_arguments &e, uint32_t query, uint64_t key)
{
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        const uint64_t other = __shfl_xor_sync(ALL_LANES, key, distance);
        key = other < key ? other : key;
    }
    if (threadIdx.x % WARP == 0 && key != EVICTION_NONE)
        atomicMin((unsigned long long *)&e.victims[query], (unsigned long long)key);
}

#endif
