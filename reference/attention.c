/* Attention of one query over contiguous keys, in two passes. */
#include "attention.h"

#include <math.h>

#include "exact_math_internal.h"

static double score_key(const float *query, const float *k_t, uint32_t head_dim, float scale)
{
    double dot = 0;
    for (uint32_t d = 0; d < head_dim; d++)
        dot += (double)query[d] * k_t[d];
    return scale * dot;
}

void attention_ref(double *out, double *lse, const float *query, const float *key, const float *value,
                   size_t num_tokens, uint32_t head_dim, float scale)
{
    /* pass 1: the largest score */
    double max_score = -INFINITY;
    for (size_t t = 0; t < num_tokens; t++) {
        double score = score_key(query, key + t * head_dim, head_dim, scale);
        if (score > max_score)
            max_score = score;
    }

    /* pass 2: the sums */
    double sum = 0;
    for (uint32_t d = 0; d < head_dim; d++)
        out[d] = 0;
    for (size_t t = 0; t < num_tokens; t++) {
        const float *v_t = value + t * head_dim;
        double score = score_key(query, key + t * head_dim, head_dim, scale);
        if (score == -INFINITY) /* weight 0; if all scores are, max_score - score is NaN */
            continue;
        double weight = exp(score - max_score);
        sum += weight;
        for (uint32_t d = 0; d < head_dim; d++)
            out[d] += weight * v_t[d];
    }

    if (sum != 0) {
        for (uint32_t d = 0; d < head_dim; d++)
            out[d] /= sum;
    }
    if (lse)
        *lse = max_score + log(sum);
}
