/* forgetting: a transformer whose branches live under a budget of tokens. After each step a branch above its budget
 * evicts the tokens that its policy (eviction_policy.h) scores lowest.
 *
 *   one set   all layers keep the same tokens: a token's score is the sum over the layers, and the pool forgets it, so
 *             holes and dead blocks are memory again. Scope mask: a branch chooses among all that it keeps, whatever
 *             its siblings do
 *   by layer  each layer keeps tokens of its own, as LongFlow does. The pool's blocks hold all layers, so no block
 *             becomes free: to measure what the freedom is worth
 *
 * The caller creates, forks by forgetting_fork, and prunes by kv_branch_prune. A branch without a rule keeps all, and
 * adds up the history of every policy, so that its forks may take any rule: the tokens before the first eviction are
 * computed once for all rules.
 *
 *   price   attention on one thread for each branch, over its list of kept tokens, without a plan; the weights of the
 *           step in double, for the policy; 8 bytes of history for each layer and position; the last queries */
#ifndef FORGETTING_H
#define FORGETTING_H

#include "eviction_policy.h"
#include "transformer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct forgetting_rule {
    const eviction_policy *policy; /* NULL: no rule */
    uint32_t budget;     /* tokens that a branch keeps after a step; with an interval, interval - 1 more */
    bool by_layer;
    uint64_t seed;       /* of random */
} forgetting_rule;

typedef struct forgetting forgetting;

/* The pool must have `evicts`, and max_pool_branches as its max_branches. config: as transformer_create, whose `attend`
 * and `keeps_norms` are set here. rule: of branches that the caller creates; NULL: none. */
model_status forgetting_create(forgetting **f, const model_weights *weights, kv_pool *pool, uint32_t max_pool_branches,
                               const transformer_config *config, const forgetting_rule *rule);
void forgetting_destroy(forgetting *f);

/* From the next step on. Only for a branch without a rule that has had a step: MODEL_INVAL otherwise. */
model_status forgetting_set_rule(forgetting *f, kv_branch branch, const forgetting_rule *rule);

/* As transformer_step and kv_branch_fork. After an error of a step the branches have their tokens as before, but the
 * histories may have the failed step: end the search. */
model_status forgetting_step(forgetting *f, const kv_branch *branches, const uint32_t *tokens, uint32_t count,
                             float *logits);
model_status forgetting_fork(forgetting *f, kv_branch branch, kv_branch *child);

#ifdef __cplusplus
}
#endif
#endif
