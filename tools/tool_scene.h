/* tool_scene: a workload being played on a pool of its own, with or without K and V for its blocks. */
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
    kv_store *store; /* random K and V; NULL: none */
    replay *replay;
    replay_result step; /* the one that was just played */
    uint32_t block_tokens, num_blocks;
    kv_branch *queries; /* of tool_scene_query_all; NULL: the step's own */
    uint32_t *query_names;
} tool_scene;

/* num_blocks 0: as many blocks as a replay of this workload could need (replay_count_needs). Ends the program if the
 * pool cannot be created. */
tool_scene tool_scene_open(const workload *work, uint32_t block_tokens, uint32_t num_blocks);

/* The same with K and V for all blocks: num_blocks, block_tokens, num_kv_heads, head_dim and storage of the shape. */
tool_scene tool_scene_open_with_kv(const workload *work, const tree_shape *shape, uint64_t seed);

/* Plays one step; false: the workload is over. Ends the program with status 1 if the pool is too small. */
bool tool_scene_next(tool_scene *scene);

/* Puts one query at the end of every living branch, in place of the step's queries, until the next step. */
void tool_scene_query_all(tool_scene *scene);

/* Tables of the queries of this step, in the order of the queries; the caller frees the array alone. */
kv_table *tool_scene_tables(const tool_scene *scene);

/* Nodes of the queries of this step. */
kv_tree *tool_scene_tree(const tool_scene *scene);

tree_plan *tool_scene_plan(const kv_tree *tree, const tree_plan_config *config);

void tool_scene_close(tool_scene *scene);

#endif
