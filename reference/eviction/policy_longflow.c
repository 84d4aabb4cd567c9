/* longflow: the importance of the current step, and nothing else.
 *   idea    successive queries of one answer are alike, so the token that contributed least to this step's output is
 *           expected to contribute least to the next one. Attention has computed the weights already: no second pass
 *           over K and V, no history
 *   price   one exp for each (token, query head), and one norm for each token and KV head, computed when it is written
 *   limits  if queries change their topic, a token without weight now may be needed later, and is gone by then. No
 *           sinks and no recent window: the newest token is a candidate in its own step */
#include "eviction_view_internal.h"

static void score(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    importance_ref(score, view->weights, view->norm, view->tokens, view->shape);
}

const eviction_policy policy_longflow = {
    .name = "longflow",
    .variant = "as published, with exact scores: the repository rounds them to fp16 and adds them atomically",
    .source = "LongFlow, arXiv 2603.11504",
    .window = 1,
    .interval = 1,
    .candidates = eviction_all,
    .score = score,
};
