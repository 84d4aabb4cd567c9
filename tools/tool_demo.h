/* tool_demo: what treeattn demo found, the same on every machine, apart from how it is written. */
#ifndef TOOL_DEMO_H
#define TOOL_DEMO_H

#include "game_of_24.h"
#include "machine.h"
#include "tool_picture.h"
#include "tool_scene.h"
#include "tree_attention_cpu.h"

enum { DEMO_MAX_LINES = 40 };

/* A node of the tree, or several that are shown as one line. */
typedef struct demo_line {
    uint32_t depth, num_nodes, num_tokens, num_blocks, references;
    bool kept; /* a thought that outlives the level */
    char text[72];
} demo_line;

/* The pool at one moment. */
typedef struct demo_state {
    uint32_t num_branches, used_blocks, num_lines, lines_left_out;
    demo_line lines[DEMO_MAX_LINES];
} demo_state;

/* One way to keep and read the same step. */
typedef struct demo_way {
    const char *name;
    uint64_t num_blocks, kv_bytes, logical_bytes, plan_bytes; /* kv_bytes: all layers; the others: one layer and step */
} demo_way;

enum { DEMO_NUM_WAYS = 3, DEMO_LAYERS = 32, DEMO_LEVEL = 2 };

typedef struct demo_result {
    const game_of_24 *game;
    uint32_t block_tokens;
    demo_state before, after;            /* the prune of level DEMO_LEVEL */
    uint32_t widest_iteration, num_queries;
    uint64_t unique_tokens, path_tokens; /* of that step */
    demo_way ways[DEMO_NUM_WAYS];
    uint32_t num_strategies;             /* that were run against the reference */
    tree_isa isa;                        /* with which they ran */
    bool agreement;
    replay_totals totals;                /* of the whole search */
} demo_result;

/* picture: whether gnuplot drew the widest step. Only complete files are listed. */
void demo_write_text(const demo_result *demo, const machine_info *machine, const char *folder, tool_picture picture);
void demo_write_json(const demo_result *demo, const machine_info *machine, const char *folder, tool_picture picture);

extern const char demo_next_step[];

#endif
