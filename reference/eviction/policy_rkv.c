/* rkv: keeps tokens that have weight for the last 8 queries and keys unlike the others. Evicts 128 at a time.
 *   idea    a reasoning model repeats itself. Of many near-duplicate tokens one is enough: the latest is kept
 *   price   a cosine for each pair of kept tokens and KV head, every 128 steps
 *   limits  budget + 127 tokens before an eviction. Redundancy weighs 0.93 and importance 0.07, but a softmax over all
 *           tokens makes redundancy nearly uniform, about 1 / num_tokens each. With a budget below 16, the window is
 *           half of the budget */
#include <stdbool.h>

#include "eviction_view_internal.h"

enum { WINDOW = 8, POOL = 7, INTERVAL = 128 };
static const double lambda = 0.07, threshold = 0.5;

static uint32_t window_of(const eviction_view *view)
{
    return view->budget / 2 < WINDOW ? view->budget / 2 : WINDOW;
}

static eviction_range candidates(const eviction_view *view)
{
    return eviction_between(view, 0, window_of(view));
}

/* importance [n]: mean over the last queries of the softmax, over the n tokens before the window, of the largest score
 * in the GQA group */
static void importance_of_group(double *importance, double *scores, uint32_t n, uint32_t g, const eviction_view *view)
{
    uint32_t group_size = view->shape->num_heads / view->shape->num_kv_heads;
    uint32_t num_queries = view->num_queries < window_of(view) ? view->num_queries : window_of(view);
    for (uint32_t t = 0; t < n; t++)
        importance[t] = 0;
    for (uint32_t i = 0; i < num_queries; i++) {
        const float *query = view_query(view, i);
        for (uint32_t t = 0; t < n; t++) {
            scores[t] = -INFINITY;
            for (uint32_t h = g * group_size; h < (g + 1) * group_size; h++)
                scores[t] = fmax(scores[t], token_score(view, query, h, t));
        }
        softmax(scores, n);
        for (uint32_t t = 0; t < n; t++)
            importance[t] += scores[t] / num_queries;
    }
}

/* Adds softmax over all tokens of their redundancy, times `factor`: redundancy[j] = mean over i of cosine(k_i, k_j),
 * where k_i adds nothing to itself, nor to the latest of its near-duplicates. */
static void add_redundancy(double *score, double factor, uint32_t g, const eviction_view *view)
{
    uint32_t n = view->tokens->num_tokens, head_dim = view->shape->head_dim;
    double *redundancy = view->scratch, *length = view->scratch + n;
    for (uint32_t i = 0; i < n; i++) {
        const float *k_i = view->key + token_offset(view->shape, view->tokens->slots[i], g);
        double sum = 0;
        for (uint32_t d = 0; d < head_dim; d++)
            sum += (double)k_i[d] * k_i[d];
        length[i] = sqrt(sum) + 1e-8;
        redundancy[i] = 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        const float *k_i = view->key + token_offset(view->shape, view->tokens->slots[i], g);
        bool exempted = false;
        for (uint32_t j = n; j-- > 0;) { /* the latest first */
            const float *k_j = view->key + token_offset(view->shape, view->tokens->slots[j], g);
            double dot = 0;
            for (uint32_t d = 0; d < head_dim; d++)
                dot += (double)k_i[d] * k_j[d];
            double cosine = dot / (length[i] * length[j]);
            if (i == j)
                continue;
            if (cosine > threshold && !exempted)
                exempted = true;
            else
                redundancy[j] += cosine / n;
        }
    }
    softmax(redundancy, n);
    for (uint32_t t = 0; t < n; t++)
        score[t] += factor * redundancy[t];
}

static void score(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    uint32_t num_tokens = view->tokens->num_tokens, num_kv_heads = view->shape->num_kv_heads;
    uint32_t n = tokens_before(view, candidates(view).end);
    double *importance = view->scratch, *scores = view->scratch + num_tokens;
    for (uint32_t t = 0; t < num_tokens; t++)
        score[t] = 0;
    for (uint32_t g = 0; g < num_kv_heads; g++) {
        importance_of_group(importance, scores, n, g, view);
        for (uint32_t t = 0; t < n; t++) {
            double pooled = 0;
            for (uint32_t i = t < POOL / 2 ? 0 : t - POOL / 2; i <= t + POOL / 2 && i < n; i++)
                pooled = fmax(pooled, importance[i]);
            score[t] += lambda * pooled / num_kv_heads;
        }
        add_redundancy(score, -(1 - lambda) / num_kv_heads, g, view);
    }
}

const eviction_policy policy_rkv = {
    .name = "rkv",
    .variant = "as published, with one kept set for all heads: the mean over KV heads; the original chooses for each. "
               "Where a key has no near-duplicate, the original's code exempts token 0: left out",
    .source = "R-KV, Cai et al., NeurIPS 2025; repository Zefan-Cai/R-KV",
    .window = WINDOW,
    .interval = INTERVAL,
    .candidates = candidates,
    .score = score,
};
