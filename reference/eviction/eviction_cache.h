/* eviction_cache: one branch with a fixed budget of tokens, the world of LongFlow. One step: write the new token, attend,
 * score, choose.
 *
 *   deferred  the victim stays until the next step's token overwrites its slot, as LongFlow does
 *   eager     the victim is gone at the end of its own step. The same tokens are visible in the next step */
#ifndef EVICTION_CACHE_H
#define EVICTION_CACHE_H

#include "eviction_policy.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum eviction_form { EVICTION_EAGER = 0, EVICTION_DEFERRED } eviction_form;

typedef struct eviction_config {
    uint32_t num_heads, num_kv_heads, head_dim;
    uint32_t budget;     /* most tokens kept after a step; a policy with an interval keeps up to interval - 1 more */
    uint32_t num_sinks;  /* first positions that are never evicted, beyond the policy's own; 0: none */
    uint32_t num_recent; /* last positions that are never evicted, beyond the policy's own */
    eviction_form form;
    const eviction_policy *policy;
    const eviction_policy *prompt_policy; /* of eviction_cache_prompt; NULL: snapkv */
    float scale;         /* 0: 1 / sqrt(head_dim) */
    uint64_t seed;
} eviction_config;

typedef struct eviction_cache eviction_cache;

typedef struct eviction_step {
    uint32_t num_tokens;    /* that this step's attention saw, the new one included */
    uint32_t num_victims;
    const uint32_t *victims;/* [num_victims] positions, until the next step */
} eviction_step;

/* TREE_BAD_SHAPE; TREE_INVAL (budget 0, pins that leave no candidate, no policy); TREE_NOMEM. On error *cache is
 * untouched. */
tree_status eviction_cache_create(eviction_cache **cache, const eviction_config *config);
void eviction_cache_destroy(eviction_cache *cache);

/* One token, at the next position.
 *   out         [num_heads][head_dim]     written: attention over the kept tokens and the new one
 *   query       [num_heads][head_dim]
 *   key, value  [num_kv_heads][head_dim]
 * TREE_NOT_FINITE: a score or an importance is NaN or infinite; out is written, and the cache is as before the call.
 * TREE_NOMEM: nothing has changed. */
tree_status eviction_cache_step(eviction_cache *cache, float *out, const float *query, const float *key,
                                const float *value, eviction_step *step);

/* A prompt in an empty cache: num_tokens at once, queries [num_tokens][num_heads][head_dim], keys and values
 * [num_tokens][num_kv_heads][head_dim]. If it is longer than the budget, prompt_policy chooses the tokens that stay.
 * step: num_tokens is the prompt's. TREE_INVAL: the cache is not empty; otherwise as eviction_cache_step. */
tree_status eviction_cache_prompt(eviction_cache *cache, const float *queries, const float *keys, const float *values,
                                  uint32_t num_tokens, eviction_step *step);

/* The kept tokens in the order of their positions, and the pool that holds them, as a view until the next step. */
void eviction_cache_view(const eviction_cache *cache, eviction_view *view);

/* A copy of the branch's whole state. A deferred victim is evicted first, in both. TREE_NOMEM. */
tree_status eviction_cache_fork(eviction_cache **child, eviction_cache *cache);

#ifdef __cplusplus
}
#endif
#endif
