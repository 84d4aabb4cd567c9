/* sink_window: the first 4 tokens and the last budget - 4.
 *   idea    the weights of a softmax always sum to 1, and models learn to put unneeded weight on the first tokens. A
 *           window without these "attention sinks" fails; with 4 of them it works
 *   price   none: each step has a single candidate, so no score is needed
 *   limits  no token outlives the window, however often it is attended to. With a budget below 8, half of the budget
 *           are sinks */
#include "eviction_view_internal.h"

static eviction_range candidates(const eviction_view *view)
{
    uint32_t num_sinks = view->budget / 2 < 4 ? view->budget / 2 : 4;
    return eviction_between(view, num_sinks, view->budget - num_sinks);
}

static void score(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    for (uint32_t t = 0; t < view->tokens->num_tokens; t++)
        score[t] = 0; /* ties: the oldest candidate goes */
}

const eviction_policy policy_sink_window = {
    .name = "sink_window",
    .variant = "as published, but keys keep the positions at which they were written; the original counts positions "
               "in the cache",
    .source = "StreamingLLM, Xiao et al., ICLR 2024",
    .window = 1,
    .interval = 1,
    .candidates = candidates,
    .score = score,
};
