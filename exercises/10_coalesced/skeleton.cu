#include "exercise.h"

/* Scores of num_tokens keys, by one warp: scores[t] = query . key[t].
 *   scores  [num_tokens]            written
 *   query   [head_dim]              read as query[d]
 *   key     [num_tokens][head_dim]  each element is read once, by load(&key[...])
 * head_dim is a multiple of 32. threadIdx.x is the lane, 0 to 31. */
__global__ void exercise_scores(float *scores, const float *query, const float *key, uint32_t num_tokens,
                                uint32_t head_dim)
{
    uint32_t lane = threadIdx.x;
    /* your code: here each lane has a key of its own, as in rung 0. Let the lanes share each key instead */
    for (uint32_t t = lane; t < num_tokens; t += WARP) {
        float score = 0;
        for (uint32_t d = 0; d < head_dim; d++)
            score += query[d] * load(&key[t * head_dim + d]);
        scores[t] = score;
    }
}
