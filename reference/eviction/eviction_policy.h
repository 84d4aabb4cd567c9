/* eviction_policy: the choice of tokens to forget. A policy scores each kept token; the tokens with the lowest scores
 * are evicted.
 *
 * To add one: a file policy_NAME.c that defines `const eviction_policy policy_NAME`, its line in the table of
 * eviction_policy.c, and its model in tests/test_eviction_policies.c.
 *
 * Every policy here keeps one set of tokens for all heads: scores of single heads are summed. Where the publication
 * lets each head keep its own set, `variant` says so. */
#ifndef EVICTION_POLICY_H
#define EVICTION_POLICY_H

#include "importance.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A policy sees one branch and one layer, after the attention of a step. */
typedef struct eviction_view {
    const token_list *tokens;        /* kept tokens, in the order of their positions */
    const tree_shape *shape;         /* of the pool that holds them, fp32 */
    const float *key, *value, *norm; /* pools; norm as in importance_ref */
    const double *weights;           /* [num_heads][num_tokens] of the current query */
    const double *out;               /* [num_heads][head_dim] of the current query */
    const float *queries;            /* [num_queries][num_heads][head_dim] of the last positions, the current last */
    uint32_t num_queries;            /* at least 1, at most the policy's window */
    uint32_t budget;                 /* tokens */
    float scale;
    uint64_t seed;                   /* for random */
    double *scratch;                 /* [2][num_tokens] for the policy's use */
} eviction_view;

typedef struct eviction_policy {
    const char *name;    /* "longflow" */
    const char *variant; /* "as published", or the difference */
    const char *source;
    uint32_t window;     /* queries that the view must hold; at least 1 */
    uint32_t interval;   /* an eviction starts at this many tokens above the budget, and ends at the budget. 1 for most;
                          * 0: nothing is ever evicted */
    /* Positions that may be evicted: sinks and recent tokens are outside. The range depends only on the budget and the
     * last position, and excludes at most `budget` positions. */
    eviction_range (*candidates)(const eviction_view *view);
    /* Called after every step: adds this step to history [num_tokens]: one number for each token, kept from step to
     * step, 0 for a new token. NULL: the policy has no history. */
    void (*observe)(double *history, const eviction_view *view);
    /* Called when tokens must go. score [num_tokens], written: the lowest is evicted first; ties: the oldest. Scores
     * are compared as floats. */
    void (*score)(double *score, const double *history, const eviction_view *view);
} eviction_policy;

extern const eviction_policy *const eviction_policies[]; /* [num_eviction_policies] */
extern const uint32_t num_eviction_policies;

/* NULL for an unknown name. */
const eviction_policy *eviction_policy_from_name(const char *name);

/* ---- ranges that several policies use ---- */

eviction_range eviction_all(const eviction_view *view);
/* All but the first num_sinks positions and the last num_recent. */
eviction_range eviction_between(const eviction_view *view, uint32_t num_sinks, uint32_t num_recent);

#ifdef __cplusplus
}
#endif
#endif
