/* tool_scene: a workload being played on a pool of its own, and the attention of the step that was just played. */
#ifndef TOOL_SCENE_H
#define TOOL_SCENE_H

#include "kv_store.h"
#include "kv_tree.h"
#include "replay.h"
#include "tool_options.h"
#include "tree_plan.h"

typedef struct tool_scene {
    const workload *workload;
    kv_pool *pool;
    replay *replay;
    replay_result step;
    uint32_t block_tokens, num_blocks;
} tool_scene;

/* num_blocks 0: as many as a replay of this workload could need (replay_count_needs). Ends the program if the pool
 * cannot be had. */
tool_scene tool_scene_open(const workload *work, uint32_t block_tokens, uint32_t num_blocks,
                           const replay_events *events);

/* Plays one step; false: the workload is over. Ends the program with status 1 if the pool is too small. */
bool tool_scene_next(tool_scene *scene);

/* Tables of the queries of this step, in the order of the queries; the caller frees the array alone. */
kv_table *tool_scene_tables(const tool_scene *scene);

/* Nodes of the queries of this step. */
kv_tree *tool_scene_tree(const tool_scene *scene);

tree_plan *tool_scene_plan(const kv_tree *tree, const tree_plan_config *config);

void tool_scene_close(tool_scene *scene);

/* What the definition (attention.c on each branch's private list of tokens) says about this step, and how far rounding
 * may lead away from it. With A = sum of p |v|, B = max of scale * sum of |q_d k_d|, u = 2^-24:
 *   |out - truth| <= (u_weight + 2 sqrt(head_dim) u B + 16 u) A + u |truth|
 *   |lse - truth| <= 4 sqrt(head_dim) u B + 8 u (1 + |truth|)
 * u_weight is the roundoff of the probabilities where a path rounds them (bf16 products), otherwise 0. */
typedef struct tool_truth {
    tree_shape shape;
    float *query;                      /* [num_queries][num_heads][head_dim] as the storage type holds them */
    double *out, *magnitude;           /* as query; magnitude: A */
    double *lse, *spread;              /* [num_queries][num_heads]; spread: B */
} tool_truth;

tool_truth tool_truth_create(const tool_scene *scene, const kv_store *store, uint32_t num_heads, uint64_t seed);
void tool_truth_destroy(tool_truth *truth);

typedef struct tool_agreement {
    uint64_t num_compared;
    double error, limit; /* of out, where error / limit is largest */
    bool within;         /* every out and every lse */
} tool_agreement;

/* Runs tree_attention_cpu by this plan and adds what it finds; start from {.within = true}. */
void tool_agreement_add(tool_agreement *agreement, const tool_truth *truth, const kv_store *store,
                        const tree_plan *plan);

float tool_scale(uint32_t head_dim); /* 1 / sqrt(head_dim) */

#endif
