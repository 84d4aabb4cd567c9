/* snapkv: the mass that the last 32 queries of a prompt give to each token, averaged over 5 neighbours.
 *   idea    the end of a prompt shows which parts of it the answer will need. The mean over neighbours keeps the
 *           tokens around an important one, so that a phrase is kept whole
 *   price   attention of 32 queries over the prompt, once
 *   limits  for prompts. During decoding, each step would have to attend with the last 32 queries again: slow, and not
 *           published. With a budget below 64, the window is half of the budget */
#include "eviction_view_internal.h"

enum { WINDOW = 32, POOL = 5 };

static uint32_t window_of(const eviction_view *view)
{
    return view->budget / 2 < WINDOW ? view->budget / 2 : WINDOW;
}

static eviction_range candidates(const eviction_view *view)
{
    return eviction_between(view, 0, window_of(view));
}

/* Adds the weights of one query over the first num_tokens tokens. */
static void add_mass(double *mass, double *scores, const float *query, uint32_t num_tokens, const eviction_view *view)
{
    for (uint32_t h = 0; h < view->shape->num_heads; h++) {
        for (uint32_t t = 0; t < num_tokens; t++)
            scores[t] = token_score(view, query, h, t);
        softmax(scores, num_tokens);
        for (uint32_t t = 0; t < num_tokens; t++)
            mass[t] += scores[t];
    }
}

static void score(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    uint32_t num_tokens = view->tokens->num_tokens, last = view->tokens->positions[num_tokens - 1];
    uint32_t num_queries = view->num_queries < window_of(view) ? view->num_queries : window_of(view);
    double *mass = view->scratch, *scores = view->scratch + num_tokens;
    for (uint32_t t = 0; t < num_tokens; t++)
        mass[t] = 0;
    for (uint32_t i = 0; i < num_queries; i++) /* the last query sees all positions, the one before all but the last */
        add_mass(mass, scores, view_query(view, i), tokens_before(view, last + 1 - i), view);

    uint32_t num_pooled = tokens_before(view, candidates(view).end);
    for (uint32_t t = 0; t < num_tokens; t++) {
        score[t] = 0;
        for (uint32_t i = t < POOL / 2 ? 0 : t - POOL / 2; i <= t + POOL / 2 && i < num_pooled; i++)
            score[t] += mass[i] / POOL; /* beyond the ends: 0, and still in the mean */
    }
}

const eviction_policy policy_snapkv = {
    .name = "snapkv",
    .variant = "for prompts, as published (window 32, mean of 5), with one kept set for all heads; the original "
               "chooses for each",
    .source = "SnapKV, Li et al., NeurIPS 2024",
    .window = WINDOW,
    .interval = 1,
    .candidates = candidates,
    .score = score,
};
