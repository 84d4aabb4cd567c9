/* Weights, importance, the exact error of a deletion, and the choice of a victim. */
#include "importance.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "eviction_view_internal.h"

float value_norm(const float *value, uint32_t head_dim)
{
    double sum = 0;
    for (uint32_t d = 0; d < head_dim; d++)
        sum += fabs((double)value[d]);
    return (float)sum;
}

/* One head. weights [num_tokens] holds the scores between the passes. out_h NULL: not wanted. */
static double head_weights(double *weights, double *out_h, const float *query, const float *key, const float *value,
                           const token_list *tokens, const tree_shape *shape, uint32_t kv_head, float scale)
{
    uint32_t head_dim = shape->head_dim;

    /* pass 1: the scores and the largest of them */
    double max_score = -INFINITY;
    for (uint32_t t = 0; t < tokens->num_tokens; t++) {
        const float *k_t = key + token_offset(shape, tokens->slots[t], kv_head);
        double dot = 0;
        for (uint32_t d = 0; d < head_dim; d++)
            dot += (double)query[d] * k_t[d];
        weights[t] = scale * dot;
        if (weights[t] > max_score)
            max_score = weights[t];
    }

    /* pass 2: the sums, then the weights */
    double sum = 0;
    for (uint32_t d = 0; out_h && d < head_dim; d++)
        out_h[d] = 0;
    for (uint32_t t = 0; t < tokens->num_tokens; t++) {
        if (weights[t] == -INFINITY) /* no token; if all scores are, max_score - score is NaN */
            continue;
        const float *v_t = value + token_offset(shape, tokens->slots[t], kv_head);
        double weight = exp(weights[t] - max_score);
        sum += weight;
        for (uint32_t d = 0; out_h && d < head_dim; d++)
            out_h[d] += weight * v_t[d];
    }
    for (uint32_t d = 0; out_h && sum != 0 && d < head_dim; d++)
        out_h[d] /= sum;
    double lse = max_score + log(sum);
    for (uint32_t t = 0; t < tokens->num_tokens; t++)
        weights[t] = lse == -INFINITY ? 0 : exp(weights[t] - lse);
    return lse;
}

void attention_weights(double *weights, double *out, double *lse, const float *query, const float *key,
                       const float *value, const token_list *tokens, const tree_shape *shape, float scale)
{
    uint32_t group_size = shape->num_heads / shape->num_kv_heads;
    for (uint32_t h = 0; h < shape->num_heads; h++) {
        double *out_h = out ? out + (uint64_t)h * shape->head_dim : NULL;
        double lse_h = head_weights(weights + (uint64_t)h * tokens->num_tokens, out_h,
                                    query + (uint64_t)h * shape->head_dim, key, value, tokens, shape, h / group_size,
                                    scale);
        if (lse)
            lse[h] = lse_h;
    }
}

void importance_ref(double *importance, const double *weights, const float *norm, const token_list *tokens,
                    const tree_shape *shape)
{
    uint32_t group_size = shape->num_heads / shape->num_kv_heads;
    for (uint32_t t = 0; t < tokens->num_tokens; t++) {
        double sum = 0;
        for (uint32_t g = 0; g < shape->num_kv_heads; g++) {
            double mass = 0;
            for (uint32_t h = g * group_size; h < (g + 1) * group_size; h++)
                mass += weights[(uint64_t)h * tokens->num_tokens + t];
            sum += norm[token_offset(shape, tokens->slots[t], g) / shape->head_dim] * mass;
        }
        importance[t] = sum / ((double)shape->num_heads * shape->head_dim);
    }
}

void deletion_error(double *error, const double *weights, const double *out, const float *value,
                    const token_list *tokens, const tree_shape *shape)
{
    uint32_t group_size = shape->num_heads / shape->num_kv_heads;
    for (uint32_t t = 0; t < tokens->num_tokens; t++) {
        double sum = 0;
        for (uint32_t h = 0; h < shape->num_heads; h++) {
            const float *v_t = value + token_offset(shape, tokens->slots[t], h / group_size);
            const double *out_h = out + (uint64_t)h * shape->head_dim;
            double weight = weights[(uint64_t)h * tokens->num_tokens + t];
            double distance = 0;
            for (uint32_t d = 0; d < shape->head_dim; d++)
                distance += (v_t[d] - out_h[d]) * (v_t[d] - out_h[d]);
            double factor = weight / (1 - weight);
            sum += weight == 1 ? INFINITY : factor * factor * distance;
        }
        error[t] = sqrt(sum);
    }
}

uint64_t eviction_key(float importance, uint32_t position)
{
    if (!(importance >= 0 && importance < INFINITY))
        return EVICTION_NOT_FINITE;
    uint32_t bits = 0;
    if (importance != 0) /* -0 is 0 too, but not in its bits */
        memcpy(&bits, &importance, sizeof bits);
    return (uint64_t)(bits + 1) << 32 | position; /* + 1: the high word 0 is free for EVICTION_NOT_FINITE */
}

uint64_t eviction_victim(const double *importance, const token_list *tokens, eviction_range candidates)
{
    uint64_t smallest = EVICTION_NONE;
    for (uint32_t t = 0; t < tokens->num_tokens; t++) {
        uint32_t position = tokens->positions[t];
        uint64_t key = eviction_key((float)importance[t], position);
        bool candidate = candidates.first <= position && position < candidates.end;
        if (key == EVICTION_NOT_FINITE || (candidate && key < smallest))
            smallest = key;
    }
    return smallest;
}
