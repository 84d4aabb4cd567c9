#include "exercise.h"

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
        __syncthreads(); /* every warp has read the tile */
    }
    out[threadIdx.x] = sum / l;
}
