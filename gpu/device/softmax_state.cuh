/* softmax_state on the device: the functions of reference/softmax_state.h, with one state held by one warp. m and l are
 * the same in all lanes; lane i has the elements i, i + 32, ... of o, so that a warp's 32 loads of a value are
 * neighbours in memory.
 *
 * Numerics notes. As in the reference: a score of -infinity and an empty state are left out; a score of +infinity or
 * NaN makes l NaN, and that stays. The sums are float, or double where K and V are fp32 (sum_type, storage.cuh). */
#ifndef SOFTMAX_STATE_CUH
#define SOFTMAX_STATE_CUH

#include "device.cuh"

#include <math.h>

#include "storage.cuh"

template <int HEAD_DIM, typename T> struct softmax_state {
    enum { ELEMENTS = HEAD_DIM / WARP }; /* of o in a lane: o[j] is element lane + j * WARP */
    float m;
    sum_type<T> l, o[ELEMENTS];
};

/* m = -infinity, l = 0, o = 0: the identity of merge. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void softmax_state_empty(softmax_state<HEAD_DIM, T> &state)
{
    state.m = -INFINITY;
    state.l = 0;
    for (int j = 0; j < state.ELEMENTS; j++)
        state.o[j] = 0;
}

/* Adds one token. score is the same in all lanes; v_bt [HEAD_DIM] is in global or shared memory. The reference rescales
 * l and o at each token; here they are rescaled only when m grows, since otherwise the factor is 1. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void softmax_state_absorb(softmax_state<HEAD_DIM, T> &state, float score,
                                                            const T *v_bt)
{
    if (score == -INFINITY)
        return;
    if (score > state.m) {
        const sum_type<T> rescale = exp((sum_type<T>)state.m - score);
        state.m = score;
        state.l *= rescale;
        for (int j = 0; j < state.ELEMENTS; j++)
            state.o[j] *= rescale;
    }
    const float weight = expf(score - state.m);
    state.l += weight;
    for (int j = 0; j < state.ELEMENTS; j++)
        state.o[j] = multiply_add(weight, to_float(v_bt[threadIdx.x % WARP + j * WARP]), state.o[j]);
}

/* The union of two disjoint sets of tokens. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void softmax_state_merge(softmax_state<HEAD_DIM, T> &state,
                                                           const softmax_state<HEAD_DIM, T> &other)
{
    if (other.l == 0)
        return;
    const float m = other.m > state.m ? other.m : state.m;
    const sum_type<T> rescale = exp((sum_type<T>)state.m - m), other_rescale = exp((sum_type<T>)other.m - m);
    state.m = m;
    state.l = state.l * rescale + other.l * other_rescale;
    for (int j = 0; j < state.ELEMENTS; j++)
        state.o[j] = state.o[j] * rescale + other.o[j] * other_rescale;
}

/* out = o / l, 0 where no token was seen; out [HEAD_DIM]. */
template <int HEAD_DIM, typename T, typename OUT>
static __device__ __forceinline__ void softmax_state_normalize(OUT *out, const softmax_state<HEAD_DIM, T> &state)
{
    const sum_type<T> inverse = state.l == 0 ? 0 : 1 / state.l;
    for (int j = 0; j < state.ELEMENTS; j++)
        out[threadIdx.x % WARP + j * WARP] = from_float<OUT>((float)(state.o[j] * inverse));
}

/* log of the sum of exp(score); -infinity where no token was seen. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ float softmax_state_lse(const softmax_state<HEAD_DIM, T> &state)
{
    return state.m + logf((float)state.l);
}

#endif
