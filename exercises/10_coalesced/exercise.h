#ifndef EXERCISE_H
#define EXERCISE_H

#include "device.cuh" /* in place of CUDA: the emulator */

/* Loads an element of a key. The loads of a warp's lanes, each lane's nth one, are one request: the check counts the
 * pieces of 32 bytes that it touches. */
float load(const float *element);

/* The sum of x over the 32 lanes of the warp; each lane gets it, and each lane has to call it. */
static inline float warp_sum(float x)
{
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, distance);
    return x;
}

__global__ void exercise_scores(float *scores, const float *query, const float *key, uint32_t num_tokens,
                                uint32_t head_dim);

#endif
