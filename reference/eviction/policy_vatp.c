/* vatp: h2o's running sum times the L1 norm of the value.
 *   idea    a weight on a value near 0 changes nothing, so weights alone misjudge such a token. Attention sinks have
 *           values near 0 too, but a model needs them, so they are exempt
 *   price   as h2o. The norm of a token never changes, so the sum of (mass * norm) is (sum of mass) * norm:
 *           importance_ref, added up
 *   limits  as h2o */
#include "eviction_view_internal.h"

static eviction_range candidates(const eviction_view *view)
{
    uint32_t num_sinks = view->budget / 4 < 4 ? view->budget / 4 : 4;
    return eviction_between(view, num_sinks, view->budget / 2);
}

static void observe(double *history, const eviction_view *view)
{
    importance_ref(view->scratch, view->weights, view->norm, view->tokens, view->shape);
    for (uint32_t t = 0; t < view->tokens->num_tokens; t++)
        history[t] += view->scratch[t];
}

static void score(double *score, const double *history, const eviction_view *view)
{
    for (uint32_t t = 0; t < view->tokens->num_tokens; t++)
        score[t] = history[t];
}

const eviction_policy policy_vatp = {
    .name = "vatp",
    .variant = "on h2o's sums, as published; one kept set for all heads, and 4 sinks (a quarter of a budget below 16)",
    .source = "VATP, Guo et al., EMNLP 2024, arXiv 2406.12335",
    .window = 1,
    .interval = 1,
    .candidates = candidates,
    .observe = observe,
    .score = score,
};
