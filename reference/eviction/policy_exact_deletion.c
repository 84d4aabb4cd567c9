/* exact_deletion: the exact change of this step's output if the token were deleted.
 *   idea    the oracle behind longflow: it keeps the denominator, which longflow drops, and the direction of the
 *           change. If it is hardly better than longflow, the loss comes from scoring with the current query alone
 *   price   head_dim operations for each (token, query head): as much as attention itself
 *   limits  the current query alone */
#include <float.h>

#include "eviction_view_internal.h"

static void score(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    deletion_error(score, view->weights, view->out, view->value, view->tokens, view->shape);
    for (uint32_t t = 0; t < view->tokens->num_tokens; t++)
        if (score[t] > FLT_MAX) /* infinite if a head has all its weight on this token: it goes last, no error */
            score[t] = FLT_MAX;
}

const eviction_policy policy_exact_deletion = {
    .name = "exact_deletion",
    .variant = "for teaching: not published",
    .source = "equation 1 of docs/eviction.md",
    .window = 1,
    .interval = 1,
    .candidates = eviction_all,
    .score = score,
};
