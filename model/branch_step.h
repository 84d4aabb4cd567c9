/* branch_step: the host's part of a decoding step. Each branch gets room for one token; then the tree in the block
 * tables and the plan over it are found. Integers only, for a CPU and a GPU.
 *
 *   branch_step_append   the new tokens' slots and positions, and the copies that come before their writes
 *   branch_step_plan     tree and plan: those of the last step grow where they can, otherwise both are built
 *   branch_step_undo     after a failure of either, or of the attention
 */
#ifndef BRANCH_STEP_H
#define BRANCH_STEP_H

#include "kv_evict.h"
#include "tree_plan.h"
#include "weights.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct branch_step {
    kv_pool *pool;
    tree_plan_config config;
    uint32_t num_blocks, block_tokens; /* of the pool */
    uint32_t max_branches;
    uint32_t context;                  /* no branch gets a token at this position or later */
    bool evicts;                       /* the pool does */
    bool grown;                        /* the last plan has grown; false: it was built */
    uint32_t num_branches;             /* of the current step */
    const kv_branch *branches;         /* [num_branches] the caller's */
    kv_append *appends;                /* [num_branches] */
    kv_table *tables;                  /* [num_branches] with the new tokens */
    kv_keep *keeps;                    /* [num_branches] the same; of a pool that evicts */
    uint32_t *positions;               /* [num_branches] of the new token */
    uint64_t *slots;                   /* [num_branches] its place: block * block_tokens + slot */
    uint32_t *ones;                    /* [max_branches] */
    kv_tree *tree;
    tree_plan *plan;
} branch_step;

/* MODEL_INVAL (unknown strategy), MODEL_NOMEM; *step is unusable then, and nothing is kept. */
model_status branch_step_create(branch_step *step, kv_pool *pool, const tree_plan_config *config, uint32_t max_branches,
                                uint32_t context);
void branch_step_destroy(branch_step *step);

/* MODEL_INVAL: more than max_branches, or one named twice; MODEL_CONTEXT, MODEL_NOBLOCKS, MODEL_STALE, MODEL_NOMEM:
 * nothing has changed. Carry out step->appends[i].copy, in order, whatever comes next. */
model_status branch_step_append(branch_step *step, const kv_branch *branches, uint32_t num_branches);

/* MODEL_NOMEM: also for a plan beyond 32 bits. Undo, then. */
model_status branch_step_plan(branch_step *step);

/* Every branch has its tokens as before branch_step_append. A promise of kv_branch_reserve is cancelled. */
void branch_step_undo(branch_step *step);

model_status model_status_of_kv(kv_status status);

#ifdef __cplusplus
}
#endif
#endif
