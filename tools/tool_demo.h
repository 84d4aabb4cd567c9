/* tool_demo: the results of treeattn demo, the same on every machine, and the functions that write them. */
#ifndef TOOL_DEMO_H
#define TOOL_DEMO_H

#include "game_of_24.h"
#include "machine.h"
#include "tool_agreement.h"
#include "tool_picture.h"

enum { DEMO_MAX_LINES = 40 };

/* A node of the tree with the thought that wrote its last token, or several losing thoughts as one line. */
typedef struct demo_line {
    uint32_t depth, num_thoughts;
    uint32_t own_tokens;             /* of the text of the thought: one for each byte */
    uint32_t num_tokens, num_blocks; /* of the node: only blocks that exactly its branches list */
    uint32_t references;             /* branches that list the node's blocks */
    uint32_t references_after;       /* the same once the losers of the level are pruned */
    uint32_t first_block;
    bool kept; /* a thought that outlives the level */
    char text[72];
} demo_line;

/* The pool at one moment. */
typedef struct demo_state {
    uint32_t num_branches, used_blocks, num_lines, lines_left_out;
    demo_line lines[DEMO_MAX_LINES];
} demo_state;

/* One way to store and read the same step. */
typedef struct demo_way {
    const char *name;
    uint64_t num_blocks, kv_bytes, logical_bytes, plan_bytes; /* kv_bytes: all layers; the others: one layer and step */
} demo_way;

enum { DEMO_NUM_WAYS = 3, DEMO_LAYERS = 32, DEMO_LEVEL = 2 };

/* The whole search once more, with at most `budget` tokens for each branch (treeattn evict). */
typedef struct demo_eviction {
    uint32_t budget, peak_blocks;
    double kept_tokens;               /* that a query sees, in the mean */
    double mean_error, random_error;  /* of the output: longflow, random */
} demo_eviction;

typedef struct demo_result {
    const game_of_24 *game;
    uint32_t block_tokens;
    demo_state before, after;            /* the prune of level DEMO_LEVEL */
    uint64_t unique_tokens, path_tokens; /* before it: U and S of one query for each branch */
    uint64_t token_bytes;                /* K and V of one token, one layer */
    demo_way ways[DEMO_NUM_WAYS];
    tool_agreement agreement;            /* of every strategy's plan, for these queries */
    replay_totals totals;                /* of the whole search */
    demo_eviction eviction;
} demo_result;

/* The folder of the files that were written, and the command to try next. */
typedef struct demo_files {
    const char *folder;
    tool_picture picture; /* whether gnuplot drew it; only complete files are listed */
    const char *next;     /* a command */
} demo_files;

void demo_write_machine(const machine_info *machine); /* a line of 80 columns */
void demo_write_screen(const demo_result *demo, const machine_info *machine, const demo_files *files,
                       const char *more); /* 80 columns, 23 lines; more: the command for demo_write_all */
void demo_write_all(const demo_result *demo, const machine_info *machine, const demo_files *files);
void demo_write_json(const demo_result *demo, const machine_info *machine, const demo_files *files);

#endif
