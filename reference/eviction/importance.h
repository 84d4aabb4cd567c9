/* importance: the contribution of each token to the output of this step, computed from attention's own weights. The
 * specification.
 *
 *   weight      a[h][t] = exp(score[h][t] - lse[h])                    softmax weight of token t for query head h
 *   mass        A[g][t] = sum of a[h][t] over the heads h of group g
 *   norm        n[g][t] = sum over d of |value[t][g][d]|               depends on the token alone: computed once
 *   importance  I[t]    = sum over g of n[g][t] * A[g][t] / (num_heads * head_dim)
 *
 * I[t] is the mean, over heads and channels, of |a[h][t] * value[t]|: the share of token t in the output. There is
 * no history: the current query alone decides. The unit of I is that of a value.
 *
 *   source  LongFlow, arXiv 2603.11504; docs/eviction.md derives its three approximations
 *
 * Numerics notes. a <= 1 however large the scores are, since lse is at least the largest score. A query that sees no
 * token has no weights; a score that is NaN or +infinity makes every importance of that head NaN.
 * Tree notes. Sums run over the tokens in the order of their positions, so the result depends on the branch's history
 * alone, not on the blocks and slots that hold it. */
#ifndef IMPORTANCE_H
#define IMPORTANCE_H

#include "tree_shape.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The tokens that one query sees, in the order of their positions. slot = block * block_tokens + slot in the block. */
typedef struct token_list {
    uint32_t num_tokens;
    const uint64_t *slots;     /* [num_tokens] places in the pool */
    const uint32_t *positions; /* [num_tokens] ascending */
} token_list;

/* sum over d of |value[d]|, summed in double in the order of d. */
float value_norm(const float *value, uint32_t head_dim);

/* Weights of one query.
 *   weights    [num_heads][num_tokens]  a[h][t], written; 0 if lse is -infinity
 *   out        [num_heads][head_dim], lse [num_heads]: written; NULL if not wanted
 *   query      [num_heads][head_dim]
 *   key, value pool, as in tree_attention_ref; shape->storage must be TREE_FP32 */
void attention_weights(double *weights, double *out, double *lse, const float *query, const float *key,
                       const float *value, const token_list *tokens, const tree_shape *shape, float scale);

/* importance [num_tokens], written, from the weights and the norms.
 *   norm  [num_blocks][num_kv_heads][block_tokens]  value_norm of each token, written together with its value */
void importance_ref(double *importance, const double *weights, const float *norm, const token_list *tokens,
                    const tree_shape *shape);

/* error [num_tokens]: the exact L2 norm of the change of the whole output if token t were deleted for this query.
 * out[h] - out_without_t[h] = a / (1 - a) * (value[t] - out[h]) is squared, summed over heads and channels, and the
 * root is taken. +infinity where a[h][t] is 1. The oracle for importance. */
void deletion_error(double *error, const double *weights, const double *out, const float *value,
                    const token_list *tokens, const tree_shape *shape);

/* ---- victims ---- */

/* Orders candidates: the smallest key is evicted. The high word grows with the importance, the low word is the
 * position: of equal importance, the oldest goes. -0 counts as 0.
 * EVICTION_NOT_FINITE, below every other key: importance is NaN, infinite or negative, so that a minimum over keys
 * reports it instead of hiding it. */
#define EVICTION_NOT_FINITE UINT64_C(0)
#define EVICTION_NONE UINT64_MAX /* of no candidates */
uint64_t eviction_key(float importance, uint32_t position);
static inline uint32_t eviction_key_position(uint64_t key) { return (uint32_t)key; }

/* Positions that may be evicted: first <= position < end; none if end <= first. Attention sinks end at `first`, a
 * recent window of n tokens begins at `end` = next_position - n, or at 0 if there are fewer; in scope private, `first`
 * is at least first_private (both: kv_keep). */
typedef struct eviction_range {
    uint32_t first, end;
} eviction_range;

/* The smallest key over the candidates of a query: EVICTION_NONE if there is none, EVICTION_NOT_FINITE if the
 * importance of one of its tokens, candidate or not, is not finite. */
uint64_t eviction_victim(const double *importance, const token_list *tokens, eviction_range candidates);

#ifdef __cplusplus
}
#endif
#endif
