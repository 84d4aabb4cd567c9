/* transformer_forest_model: branches that are decoded three times: in a shared pool, alone in copied memory, and in
 * double over their whole text (transformer_model.h). */
#ifndef TRANSFORMER_FOREST_MODEL_H
#define TRANSFORMER_FOREST_MODEL_H

#include "transformer.h"
#include "transformer_model.h"

enum { FOREST_BRANCHES = 9 };

typedef struct forest_branch {
    kv_branch shared, alone;
    text_truth truth;
    float *logits, *logits_alone; /* [vocabulary] after the last token, of both */
} forest_branch;

typedef struct forest {
    weights_file file;
    model_weights *weights;
    kv_pool *pool, *pool_alone;
    transformer *shared, *alone;
    forest_branch branches[FOREST_BRANCHES];
    uint32_t num_branches;
    bool same_bits;               /* shared and alone must agree bit by bit */
    double worst, worst_alone;    /* error / limit so far: against the truth, and against the branch alone */
    uint32_t num_checked, num_close; /* sampled tokens; those for which two were within the bounds of each other */
} forest;

/* A small model whose every part matters: norm_eps is as large as the mean squares, the rotation is fast, 26 = 16 + 10
 * outputs of the head. */
extern const model_shape forest_shape;

/* `alone` runs plain loops and the reference over the plan flash. Where tokens are forgotten, there is no `alone`. */
typedef enum forest_kind { FOREST_AND_ALONE, FOREST_SHARED_ONLY, FOREST_EVICTS } forest_kind;

void forest_create(forest *f, const transformer_config *config, uint32_t num_blocks, uint32_t block_tokens,
                   forest_kind kind);
void forest_destroy(forest *f);

void forest_add_root(forest *f);
void forest_fork(forest *f, uint32_t branch);
void forest_prune(forest *f, uint32_t branch);
void forest_truncate(forest *f, uint32_t branch, uint32_t length);

/* In a pool that evicts: the branch forgets the token at a position that it keeps; packs its own blocks, true if K and
 * V have moved. */
void forest_evict(forest *f, uint32_t branch, uint32_t position);
bool forest_compact(forest *f, uint32_t branch);

/* Samples a token for each of the branches [count] and appends it, in all three ways. */
void forest_step(forest *f, const uint32_t *branches, uint32_t count);

#endif
