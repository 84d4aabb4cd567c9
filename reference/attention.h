/* attention: one query over contiguous keys. No tree, no blocks, no running maximum: the definition, against which
 * everything else here is checked.
 *
 *   price  the scores are computed twice, once for their maximum and once for the sums, so that nothing is stored */
#ifndef ATTENTION_H
#define ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* out = sum over t of softmax_t(scale * query . key[t]) * value[t]
 *   out         [head_dim]               written, 0 if there is no token
 *   lse         natural log of the sum of exp(score), written, -infinity if there is no token; NULL if not wanted
 *   query       [head_dim]
 *   key, value  [num_tokens][head_dim]
 * A score of -infinity counts as no token; one that is NaN or +infinity makes out and lse NaN. */
void attention_ref(double *out, double *lse, const float *query, const float *key, const float *value,
                   size_t num_tokens, uint32_t head_dim, float scale);

#ifdef __cplusplus
}
#endif
#endif
