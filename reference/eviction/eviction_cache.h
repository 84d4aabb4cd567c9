/* eviction_cache: one branch with a fixed budget of tokens, the setting of LongFlow. A step writes the new token,
 * attends, scores the tokens and chooses a victim.
 *
 *   deferred  the victim's slot stays as it is until a later token overwrites it, as in LongFlow
 *   eager     the victim's slot is free at the end of its own step. The next step sees the same tokens in both forms
 *
 *   price     attention in double, and one list of the kept tokens in the order of their positions, so that every sum
 *             and every choice depends on the branch's history alone, not on slots. Memory: budget + interval slots
 *   limits    one layer; float. Free slots are in a list. LongFlow has none and finds a free slot by its score of 0,
 *             but a live token whose weights underflow has that score too
 *   source    LongFlow, arXiv 2603.11504. Its B slots hold the new token too: they are a budget of B - 1 here */
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
    uint32_t num_sinks;  /* at least so many first positions are never evicted; 0: only those of the policy */
    uint32_t num_recent; /* and so many last ones */
    eviction_form form;
    const eviction_policy *policy;
    const eviction_policy *prompt_policy; /* of eviction_cache_prompt; NULL: snapkv */
    float scale;         /* 0: 1 / sqrt(head_dim) */
    uint64_t seed;
} eviction_config;

typedef struct eviction_cache eviction_cache;

typedef struct eviction_step {
    uint32_t num_tokens;     /* that this step's attention saw, the new one included */
    uint32_t num_victims;
    const uint32_t *victims; /* [num_victims] positions, ascending, until the next step */
} eviction_step;

/* TREE_BAD_SHAPE; TREE_INVAL (budget 0, no policy, more sinks and recent tokens than the budget holds); TREE_NOMEM. On
 * error *cache is untouched. */
tree_status eviction_cache_create(eviction_cache **cache, const eviction_config *config);
void eviction_cache_destroy(eviction_cache *cache);

/* One token, at the next position.
 *   out         [num_heads][head_dim]     written: attention over the kept tokens and the new one
 *   query       [num_heads][head_dim]
 *   key, value  [num_kv_heads][head_dim]
 *   step                                  written on success; NULL if not wanted
 * TREE_NOT_FINITE: query or key, the importance of a token, or a score of the policy is NaN or infinite; out is
 * written, and the cache is as before the call. TREE_NOMEM, and TREE_OVERFLOW after 2^32 - 1 positions: nothing has
 * changed. */
tree_status eviction_cache_step(eviction_cache *cache, float *out, const float *query, const float *key,
                                const float *value, eviction_step *step);

/* A prompt in an empty cache: num_tokens at once, queries [num_tokens][num_heads][head_dim], keys and values
 * [num_tokens][num_kv_heads][head_dim]. If the prompt is longer than the budget, prompt_policy chooses the
 * tokens that stay. The history of a policy includes every query of the prompt.
 * step: num_tokens is the prompt's. TREE_INVAL: the cache is not empty; otherwise as eviction_cache_step. */
tree_status eviction_cache_prompt(eviction_cache *cache, const float *queries, const float *keys, const float *values,
                                  uint32_t num_tokens, eviction_step *step);

/* The kept tokens in the order of their positions, and the pool that holds them, as a view until the next step. Its
 * queries are past ones; weights, out and scratch are NULL. */
void eviction_cache_view(const eviction_cache *cache, eviction_view *view);

/* A copy of the branch's whole state. A deferred victim is evicted first, in both. TREE_NOMEM. */
tree_status eviction_cache_fork(eviction_cache **child, eviction_cache *cache);

#ifdef __cplusplus
}
#endif
#endif
