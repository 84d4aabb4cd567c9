#include "exercise.h"

/* out = sum of exp(score[t]) * value[t] / sum of exp(score[t]), by one thread block of 128 threads.
 *   out    [128]              written; thread d computes element d
 *   score  [num_tokens]
 *   value  [num_tokens][128]
 * Shared memory holds the weights of a tile of 32 tokens, which the first warp writes and all four warps read.
 * your code: one __syncthreads() is missing in this kernel. Add it at the right place; change nothing else. */
__global__ void exercise_attend(float *out, const float *score, const float *value, uint32_t num_tokens)
{
    SHARED_MEMORY(float, weight); /* [TILE] */
    float sum = 0, l = 0;
    for (uint32_t first = 0; first < num_tokens; first += TILE) {
        uint32_t left = num_tokens - first, count = left < TILE ? left : (uint32_t)TILE;
        if (threadIdx.x < count)
            weight[threadIdx.x] = expf(score[first + threadIdx.x]);
        __syncthreads();
        for (uint32_t t = 0; t < count; t++) {
            sum += weight[t] * value[(first + t) * THREADS + threadIdx.x];
            l += weight[t];
        }
    }
    out[threadIdx.x] = sum / l;
}
