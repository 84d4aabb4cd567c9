/* softmax_state: the softmax of one row over the tokens absorbed so far.
 *
 *   m = max over the tokens of score            l = sum of exp(score - m)            o = sum of exp(score - m) * value
 *
 * Any set of tokens has exactly one such state, so tokens may be absorbed in any order and sets of tokens may be
 * merged: softmax needs no second pass. The state of no tokens is m = -infinity, l = 0, o = 0.
 *
 * Numerics notes. (-infinity) - (-infinity) is NaN, so a score of -infinity and an empty state, whose weight is always
 * 0, are skipped, not computed. A score of +infinity or NaN makes l NaN, and a NaN in l or o stays: no later token
 * removes it. Under -ffast-math a compiler assumes that infinity does not exist, so this file refuses it. */
#ifndef SOFTMAX_STATE_H
#define SOFTMAX_STATE_H

#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#error "softmax_state.h is wrong under -ffast-math, -Ofast and -ffinite-math-only: compile this file without"
#endif

#include <math.h>
#include <stdint.h>

typedef struct softmax_state {
    double m, l;
    double *o; /* [head_dim], the caller's */
} softmax_state;

/* m = -infinity, l = 0, o = 0: the identity of merge. */
static inline void softmax_state_empty(softmax_state *state, uint32_t head_dim)
{
    state->m = -INFINITY;
    state->l = 0;
    for (uint32_t d = 0; d < head_dim; d++)
        state->o[d] = 0;
}

/* One more token:  m' = max(m, score)
 *                  l' = l * exp(m - m') + exp(score - m')
 *                  o' = o * exp(m - m') + exp(score - m') * value */
static inline void softmax_state_absorb(softmax_state *state, double score, const float *value, uint32_t head_dim)
{
    if (score == -INFINITY)
        return;
    double m = score > state->m ? score : state->m;
    double rescale = exp(state->m - m);
    double weight = exp(score - m);
    state->m = m;
    state->l = state->l * rescale + weight;
    for (uint32_t d = 0; d < head_dim; d++)
        state->o[d] = state->o[d] * rescale + weight * value[d];
}

/* The union of two disjoint sets of tokens:  m' = max(m1, m2)
 *                                            l' = l1 * exp(m1 - m') + l2 * exp(m2 - m')
 *                                            o' = o1 * exp(m1 - m') + o2 * exp(m2 - m') */
static inline void softmax_state_merge(softmax_state *state, const softmax_state *other, uint32_t head_dim)
{
    if (other->l == 0)
        return;
    double m = other->m > state->m ? other->m : state->m;
    double rescale = exp(state->m - m);
    double other_rescale = exp(other->m - m);
    state->m = m;
    state->l = state->l * rescale + other->l * other_rescale;
    for (uint32_t d = 0; d < head_dim; d++)
        state->o[d] = state->o[d] * rescale + other->o[d] * other_rescale;
}

/* out = o / l, the mean of the values weighted by softmax; 0 where no token was seen. */
static inline void softmax_state_normalize(float *out, const softmax_state *state, uint32_t head_dim)
{
    for (uint32_t d = 0; d < head_dim; d++)
        out[d] = state->l == 0 ? 0 : (float)(state->o[d] / state->l);
}

/* log of the sum of exp(score) = m + ln l; -infinity where no token was seen. */
static inline double softmax_state_lse(const softmax_state *state)
{
    return state->m + log(state->l);
}

#endif
