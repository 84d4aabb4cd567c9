/* full: keeps the whole cache. The other policies are compared with it.
 *   price  memory and time grow with the length of the branch */
#include "eviction_view_internal.h"

static void score(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    for (uint32_t t = 0; t < view->tokens->num_tokens; t++)
        score[t] = 0;
}

const eviction_policy policy_full = {
    .name = "full",
    .variant = "evicts nothing",
    .source = "no eviction",
    .window = 1,
    .interval = 0,
    .candidates = eviction_all,
    .score = score,
};
