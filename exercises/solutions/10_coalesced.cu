#include "exercise.h"

__global__ void exercise_scores(float *scores, const float *query, const float *key, uint32_t num_tokens,
                                uint32_t head_dim)
{
    uint32_t lane = threadIdx.x;
    for (uint32_t t = 0; t < num_tokens; t++) {
        float score = 0;
        for (uint32_t d = lane; d < head_dim; d += WARP)
            score += query[d] * load(&key[t * head_dim + d]);
        score = warp_sum(score);
        if (lane == 0)
            scores[t] = score;
    }
}
