#include "exercise.h"

/* Absorbs one token into the state of the tokens so far:
 *   m = the largest score      l = sum of exp(score - m)      o = sum of exp(score - m) * value
 *   value  [head_dim]
 * The state of no tokens is m = -INFINITY, l = 0, o = 0. A token with a score of -INFINITY is hidden: it changes
 * nothing. */
void exercise_absorb(softmax_state *state, double score, const float *value, uint32_t head_dim)
{
    /* your code: the new m; the factor for the old l and o; then the token's own share */
}
