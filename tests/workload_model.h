/* The plain model of a workload: every branch is a private list of token ids. No blocks and no sharing. */
#ifndef WORKLOAD_MODEL_H
#define WORKLOAD_MODEL_H

#include "workload.h"

typedef struct model_branch {
    uint32_t *tokens;
    uint32_t length;
    bool alive;
} model_branch;

typedef struct workload_model {
    const workload *score;
    model_branch *branches; /* [num_branches] by name */
    uint32_t next;          /* operation */
    uint32_t next_token;
    uint32_t *queries;      /* [num_queries] names with a query in this step */
    uint32_t num_queries;
} workload_model;

void workload_model_begin(workload_model *model, const workload *score);
void workload_model_end(workload_model *model);

/* Up to and including the next STEP: true. False: no step was left. */
bool workload_model_step(workload_model *model);

/* Different tokens that living branches hold. */
uint64_t workload_model_unique(const workload_model *model);

/* Sum of the lengths of the branches with a query. */
uint64_t workload_model_path(const workload_model *model);

#endif
