#include "exercise.h"

/* Scores the tokens that a branch keeps, after each step of decoding. Of these tokens the one with the lowest score is
 * forgotten; of equal ones, the oldest.
 *   score          [num_tokens]  written, finite
 *   view->tokens   num_tokens, positions[num_tokens] ascending, slots[num_tokens] in the pool; the last one is new
 *   view->weights  [num_heads][num_tokens]  softmax weights of the current query
 *   view->norm     [slots][num_kv_heads]    sum of |value| of the token in each slot of the pool
 *   view->shape    num_heads, num_kv_heads, head_dim, ... */
void exercise_score(double *score, const eviction_view *view)
{
    /* your code: which token contributes least to the output of all heads? */
    for (uint32_t t = 0; t < view->tokens->num_tokens; t++)
        score[t] = 0;
}
