/* tool_agreement: the fast path against the oracle (measure/oracle.h), on a scene's step with random queries. */
#ifndef TOOL_AGREEMENT_H
#define TOOL_AGREEMENT_H

#include "oracle.h"
#include "tool_scene.h"

typedef struct tool_queries {
    tree_shape shape;
    float *query; /* [num_queries][num_heads][head_dim] as the storage type holds them */
    attention_truth truth;
} tool_queries;

/* Random queries for the step that was just played, and the true attention over the branches' lists of tokens, from
 * which the store makes K and V without reading a block. */
tool_queries tool_queries_create(const tool_scene *scene, uint32_t num_heads, uint64_t seed);
void tool_queries_destroy(tool_queries *queries);

typedef struct tool_agreement {
    tree_isa isa; /* the instruction set that runs; not AUTO */
    uint32_t num_plans;
    verdict worst; /* that of the plan with the largest error / limit */
} tool_agreement;

/* Runs tree_attention_cpu by this plan and adds its verdict; start from {.isa = ...}. Everything agrees as long as
 * worst.text is "". */
void tool_agreement_add(tool_agreement *agreement, const tool_scene *scene, const tool_queries *queries,
                        const tree_plan *plan);

#endif
