/* Offsets and scores of the tokens of a list, and a softmax. Every policy includes it, and exact_math with it. */
#ifndef EVICTION_VIEW_INTERNAL_H
#define EVICTION_VIEW_INTERNAL_H

#include <math.h>

#include "eviction_policy.h"
#include "exact_math_internal.h"

/* Index of the first element of a slot in key and value; divided by head_dim, its index in norm. */
static inline uint64_t token_offset(const tree_shape *shape, uint64_t slot, uint32_t kv_head)
{
    return tree_kv_offset(shape, (uint32_t)(slot / shape->block_tokens), kv_head,
                          (uint32_t)(slot % shape->block_tokens));
}

/* Score of token t of the list for head h of a query [num_heads][head_dim]. */
static inline double token_score(const eviction_view *view, const float *query, uint32_t h, uint32_t t)
{
    const tree_shape *shape = view->shape;
    uint32_t kv_head = h / (shape->num_heads / shape->num_kv_heads);
    const float *q_h = query + (uint64_t)h * shape->head_dim;
    const float *k_t = view->key + token_offset(shape, view->tokens->slots[t], kv_head);
    double dot = 0;
    for (uint32_t d = 0; d < shape->head_dim; d++)
        dot += (double)q_h[d] * k_t[d];
    return view->scale * dot;
}

/* x[t] = exp(x[t]) / sum of exp(x), with the largest subtracted first. */
static inline void softmax(double *x, uint32_t count)
{
    double largest = -INFINITY, sum = 0;
    for (uint32_t t = 0; t < count; t++)
        largest = fmax(largest, x[t]);
    for (uint32_t t = 0; t < count; t++)
        sum += x[t] = exp(x[t] - largest);
    for (uint32_t t = 0; t < count; t++)
        x[t] /= sum;
}

/* Tokens of the list at positions before `position`: they are the first ones. */
static inline uint32_t tokens_before(const eviction_view *view, uint32_t position)
{
    uint32_t count = 0;
    while (count < view->tokens->num_tokens && view->tokens->positions[count] < position)
        count++;
    return count;
}

/* The query [num_heads][head_dim] of `age` positions before the current one. */
static inline const float *view_query(const eviction_view *view, uint32_t age)
{
    return view->queries + (uint64_t)(view->num_queries - 1 - age) * view->shape->num_heads * view->shape->head_dim;
}

#endif
