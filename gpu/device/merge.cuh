/* Partial states: how one warp writes, reads and merges them. Steps 0 to 6 merge this way, in a launch of its own.
 *   threads   one warp for each query and head. It walks the query's partial states in the order of the merge list, so
 *             that the same plan gives the same bits
 *   price     latency: a warp waits for each partial state before it requests the next */
#ifndef MERGE_CUH
#define MERGE_CUH

#include "gpu_internal.h"
#include "softmax_state.cuh"

enum { MERGE_WARPS = 4 }; /* of a thread block */

/* Writes a state to place partial * num_heads + head of the workspace. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void store_partial(const attention_arguments &a, uint64_t place,
                                                     const softmax_state<HEAD_DIM, T> &state)
{
    softmax_state_normalize((T *)a.o + place * HEAD_DIM, state);
    if (threadIdx.x % WARP == 0) {
        a.m[place] = state.m;
        a.l[place] = (float)state.l;
    }
}

/* Bypasses L1, which may hold stale data of an earlier launch. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ softmax_state<HEAD_DIM, T> load_partial(const attention_arguments &a, uint64_t place)
{
    softmax_state<HEAD_DIM, T> state;
    state.m = __ldcg(&a.m[place]);
    state.l = __ldcg(&a.l[place]);
    for (int j = 0; j < state.ELEMENTS; j++)
        state.o[j] = state.l * to_float(__ldcg((const T *)a.o + place * HEAD_DIM + threadIdx.x % WARP + j * WARP));
    return state;
}

/* out and lse of one query and head. partials[i]: the partial state that entry i of the merge lists names; NULL:
 * partial state i. */
template <int HEAD_DIM, typename T>
static __device__ void merge_query(const attention_arguments &a, uint64_t query, uint32_t head,
                                   const uint32_t *partials)
{
    /* merge partial states */
    softmax_state<HEAD_DIM, T> total;
    softmax_state_empty(total);
    for (uint32_t i = a.plan.merge_first[query]; i < a.plan.merge_first[query + 1]; i++) {
        const uint64_t partial = partials ? partials[i] : i;
        softmax_state_merge(total, load_partial<HEAD_DIM, T>(a, partial * a.shape.num_heads + head));
    }

    /* normalize */
    const uint64_t qh = query * a.shape.num_heads + head;
    softmax_state_normalize(a.out + qh * HEAD_DIM, total);
    if (a.lse && threadIdx.x % WARP == 0)
        a.lse[qh] = softmax_state_lse(total);
}

/* Warp n of the grid has head n % num_heads of query n / num_heads. */
template <int HEAD_DIM, typename T> static __global__ void merge(attention_arguments a)
{
    const uint64_t n = (uint64_t)blockIdx.x * MERGE_WARPS + threadIdx.x / WARP, query = n / a.shape.num_heads;
    if (query < a.plan.num_queries)
        merge_query<HEAD_DIM, T>(a, query, (uint32_t)(n % a.shape.num_heads), a.plan.merge_partials);
}

template <int HEAD_DIM, typename T>
static cudaError_t launch_merge(const attention_arguments &a, cudaStream_t stream)
{
    const uint64_t num_warps = (uint64_t)a.plan.num_queries * a.shape.num_heads;
    return launch_kernel((uint32_t)((num_warps + MERGE_WARPS - 1) / MERGE_WARPS), MERGE_WARPS * WARP, 0, stream,
                         merge<HEAD_DIM, T>, a);
}

#endif
