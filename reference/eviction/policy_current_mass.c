/* current_mass: the attention mass of the current query; the last tokens, half of the budget, are protected.
 *   idea    h2o without a history. LongFlow's repository runs this policy under the name H2O
 *   price   one sum over the heads for each token
 *   limits  as longflow; a large weight on a value near 0 counts in full */
#include "eviction_view_internal.h"

static eviction_range candidates(const eviction_view *view)
{
    return eviction_between(view, 0, view->budget / 2);
}

static void score(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    uint32_t num_tokens = view->tokens->num_tokens;
    for (uint32_t t = 0; t < num_tokens; t++) {
        score[t] = 0;
        for (uint32_t h = 0; h < view->shape->num_heads; h++)
            score[t] += view->weights[(uint64_t)h * num_tokens + t];
    }
}

const eviction_policy policy_current_mass = {
    .name = "current_mass",
    .variant = "as in LongFlow's repository, where it is called H2O",
    .source = "baseline of LongFlow, arXiv 2603.11504",
    .window = 1,
    .interval = 1,
    .candidates = candidates,
    .score = score,
};
