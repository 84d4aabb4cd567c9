#include "exercise.h"

/* Merges two states of one query over different tokens: `state` becomes the state of all these tokens.
 *   m = the largest score      l = sum of exp(score - m)      o = sum of exp(score - m) * value, [head_dim]
 * `other` is not changed; its tokens and those of `state` are different ones, so none counts twice.
 * Either of them, or both, may be the state of no tokens: m = -INFINITY, l = 0, o = 0. */
void exercise_merge(softmax_state *state, const softmax_state *other, uint32_t head_dim)
{
    /* your code: the common m; a factor for each of the two; then the sums */
}
