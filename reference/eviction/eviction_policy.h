/* eviction_policy: which tokens to forget. A policy gives each kept token a score; the cache evicts the lowest ones. */
#ifndef EVICTION_POLICY_H
#define EVICTION_POLICY_H

#include "importance.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A policy sees one branch and one layer, after the attention of a step. */
typedef struct eviction_view {
    const token_list *tokens;      /* kept tokens, in the order of their positions */
    const tree_shape *shape;       /* of the pool that holds them, fp32 */
    const float *key, *value, *norm; /* pools; norm as in importance_ref */
    const double *weights;         /* [num_heads][num_tokens] of the current query */
    const float *queries;          /* [num_queries][num_heads][head_dim] the last ones, the current one last */
    uint32_t num_queries;          /* at most the policy's window */
    uint32_t budget;               /* tokens */
    float scale;
    uint64_t seed;                 /* for random */
} eviction_view;

typedef struct eviction_policy {
    const char *name;    /* "longflow" */
    const char *variant; /* "as published", or the difference */
    const char *source;
    uint32_t window;     /* queries that the view must hold */
    uint32_t interval;   /* tokens above the budget before an eviction: 1 for most; the budget is the size after it */
    /* Tokens that may be evicted, by position: sinks and recent tokens are outside. */
    eviction_range (*candidates)(const eviction_view *view);
    /* score [num_tokens]: the lowest is evicted first; ties: the oldest. history [num_tokens]: one number for each token
     * that stays with it from step to step, 0 for a new token. */
    void (*score)(double *score, double *history, const eviction_view *view);
} eviction_policy;

extern const eviction_policy *const eviction_policies[]; /* [num_eviction_policies] */
extern const uint32_t num_eviction_policies;

/* NULL for an unknown name. */
const eviction_policy *eviction_policy_from_name(const char *name);

#ifdef __cplusplus
}
#endif
#endif
