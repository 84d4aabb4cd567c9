/* h2o: the attention mass that a token has received so far; the last tokens, half of the budget, are protected.
 *   idea    a few "heavy hitters" receive most of the attention, step after step: keep them, and the last budget / 2
 *   price   one running sum for each token
 *   limits  an old token has had more steps to collect mass, and keeps its sum when it no longer matters */
#include "eviction_view_internal.h"

static eviction_range candidates(const eviction_view *view)
{
    return eviction_between(view, 0, view->budget / 2);
}

static void observe(double *history, const eviction_view *view)
{
    uint32_t num_tokens = view->tokens->num_tokens;
    for (uint32_t t = 0; t < num_tokens; t++)
        for (uint32_t h = 0; h < view->shape->num_heads; h++)
            history[t] += view->weights[(uint64_t)h * num_tokens + t];
}

static void score(double *score, const double *history, const eviction_view *view)
{
    for (uint32_t t = 0; t < view->tokens->num_tokens; t++)
        score[t] = history[t];
}

const eviction_policy policy_h2o = {
    .name = "h2o",
    .variant = "as published, with one kept set for all heads; the original chooses for each head",
    .source = "H2O, Zhang et al., NeurIPS 2023",
    .window = 1,
    .interval = 1,
    .candidates = candidates,
    .observe = observe,
    .score = score,
};
