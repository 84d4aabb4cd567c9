/* eviction_forest: the branches of a shared tree, each under a budget of tokens. A forest is a pool that evicts, the
 * keys, values and norms of its blocks, a policy and a scope. The specification of eviction in a tree, with simple
 * loops.
 *
 *   a step         append the new tokens (into holes; copy-on-write), attend, score, evict. Eviction is eager: the
 *                  victims are gone at the end of the step, so a fork finds no eviction pending
 *   private, mask  a branch chooses among its own tokens (private) or among all that it keeps (mask). Its outputs and
 *                  victims depend on its own history alone: a replay without siblings gives the same bits
 *   vote           a token that several branches keep is evicted in all of them, or in none. Its score is the largest
 *                  of theirs. All of them must be above their budget, and all branches that list its block must take
 *                  part in the step: a branch that does not step votes to keep
 *
 *   vote, budget 5   position   0   1   2   3   4   5   6    A and B share 0 .. 3 and have two tokens too many
 *                    A         .9  .1  .4  .8  .5  .6  .6    largest scores of 0 .. 3: .9 .7 .4 .9
 *                    B         .8  .7  .2  .9  .3  .8  .8    victims: B's 4 (.3), then 2 of both (.4), then A's 4 (.5)
 *
 *   price          a step: attention in double for each branch, and a sort of its tokens by position and by score. A
 *                  victim: O(slots of the branch's table); in scope vote, O(blocks of all tables of the step). Memory:
 *                  K, V and norms of the whole pool; 8 bytes of history for each position of a branch, kept or not
 *
 * Inherited tokens. In scope private, a branch that inherited more tokens than its budget keeps all of them, and one
 * token of its own. In scope vote, it keeps those that the vote spares. above_budget counts such steps. The branch's
 * own tokens may then be victims even if policy or pins protect them. */
#ifndef EVICTION_FOREST_H
#define EVICTION_FOREST_H

#include "eviction_policy.h"
#include "kv_evict.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct eviction_forest_config {
    kv_pool_config pool; /* its `evicts` is set */
    uint32_t num_heads, num_kv_heads, head_dim;
    const eviction_policy *policy;
    kv_scope scope;
    uint32_t budget;     /* tokens that a branch keeps after a step; with an interval, interval - 1 more */
    uint32_t num_sinks;  /* at least so many first positions are never evicted; 0: only those of the policy */
    uint32_t num_recent; /* and so many last ones */
    bool compacts;       /* after evictions, the kept tokens of a branch are packed: kv_branch_compact */
    float scale;         /* 0: 1 / sqrt(head_dim) */
    uint64_t seed;
} eviction_forest_config;

typedef struct eviction_forest eviction_forest;

/* KV_INVAL: budget 0, more sinks and recent tokens than the budget holds, no policy, an unknown scope, a shape that
 * tree_shape_check refuses; and as kv_pool_create. On error *forest is untouched. */
kv_status eviction_forest_create(eviction_forest **forest, const eviction_forest_config *config);
void eviction_forest_destroy(eviction_forest *forest);

/* As the functions of kv_branch.h. Histories of the tokens and the last queries go with the branch: fork copies them,
 * truncate drops those at positions >= length. On error nothing has changed. */
kv_status eviction_forest_branch(eviction_forest *forest, kv_branch *branch);
kv_status eviction_forest_fork(eviction_forest *forest, kv_branch branch, kv_branch *child);
kv_status eviction_forest_truncate(eviction_forest *forest, kv_branch branch, uint32_t length);
kv_status eviction_forest_adopt(eviction_forest *forest, kv_branch branch, kv_branch winner);
kv_status eviction_forest_prune(eviction_forest *forest, kv_branch branch);

/* num_tokens tokens without a query: keys, values [num_tokens][num_kv_heads][head_dim]. Nothing is evicted before the
 * branch steps. */
kv_status eviction_forest_append(eviction_forest *forest, kv_branch branch, uint32_t num_tokens, const float *keys,
                                 const float *values);

/* One branch in a step. */
typedef struct eviction_forest_result {
    tree_status status;      /* TREE_OK; TREE_NOT_FINITE: the query, a key that it meets, the importance of a token or a
                                score of the policy is NaN or infinite. The new tokens of this branch are dropped again,
                                it has no victims, and in a vote it keeps its tokens. The others step as usual */
    uint32_t num_tokens;     /* that its attention saw, the new ones included */
    uint32_t num_victims;
    const uint32_t *victims; /* [num_victims] positions, ascending; valid until the next step */
} eviction_forest_result;

/* One step of the branches [count]: each appends its tokens and has one query, at its newest token.
 *   num_tokens    [count] tokens that each appends, may be 0; NULL: one each
 *   out           [count][num_heads][head_dim]  written: attention over the tokens that the branch keeps, with the new
 *   query         [count][num_heads][head_dim]
 *   key, value    [sum of num_tokens][num_kv_heads][head_dim] in the order of the branches
 *   results       [count] written
 * KV_INVAL if a branch is named twice; KV_NOBLOCKS, KV_NOMEM, KV_STALE, KV_RANGE: nothing has changed or is written. */
kv_status eviction_forest_step(eviction_forest *forest, const kv_branch *branches, uint32_t count,
                               const uint32_t *num_tokens, float *out, const float *query, const float *key,
                               const float *value, eviction_forest_result *results);

/* The tokens that the branch keeps, as many as its kv_keep says: positions in ascending order, and their places in the
 * pool. Either may be NULL. KV_STALE, KV_NOMEM. */
kv_status eviction_forest_tokens(const eviction_forest *forest, kv_branch branch, uint64_t *slots, uint32_t *positions);

/* Sums over all steps so far. */
typedef struct eviction_forest_counts {
    uint64_t steps, queries;
    uint64_t read_tokens;     /* tokens that the queries attended to */
    uint64_t distinct_tokens; /* the same, but a slot of the pool counts once per step: one pass for all branches */
    uint64_t evicted_tokens;  /* victims, counted in each branch that forgets them */
    uint64_t voted_tokens;    /* slots of the pool that died by a vote of several branches */
    uint64_t freed_blocks;    /* by evictions and compactions */
    uint64_t above_budget;    /* queries whose branch ended the step with budget + interval tokens or more */
} eviction_forest_counts;

/* The parts, for plans over the same blocks: kv_tree_build, tree_plan_build_keep, tree_importance_ref. */
typedef struct eviction_forest_parts {
    kv_pool *pool; /* for reading: branches change through this header only */
    float *key, *value; /* [num_blocks][num_kv_heads][block_tokens][head_dim] */
    float *norm;        /* [num_blocks][num_kv_heads][block_tokens] */
    tree_shape shape;   /* num_queries is 0 */
    float scale;
    eviction_forest_counts counts;
} eviction_forest_parts;

void eviction_forest_get(const eviction_forest *forest, eviction_forest_parts *parts);

#ifdef __cplusplus
}
#endif
#endif
