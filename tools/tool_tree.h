/* tool_tree: one step of attention over a tree from the command line, with numbers that a pencil can follow: pool,
 * block tables, nodes, plan, and K, V and Q of floats.
 *
 * Token numbers: in order of first appearance, query by query, along each path. A copied token keeps its number. */
#ifndef TOOL_TREE_H
#define TOOL_TREE_H

#include "tool_input.h"
#include "tool_limits.h"
#include "tree_attention.h"

/* Rows for a verb's table of options; `which`: the queries and heads if none is given. */
#define TOOL_TREE_OPTIONS(which) \
    {"--tree", "'NODES / TOKENS'", "levels of a tree: '1,2 / 6,3|4' has two leaves, of 3 and 4 tokens, behind 6"}, \
    {"--trace", "FILE.ttr", "a step of a trace instead (-: standard input); see --ordinal and --iteration"}, \
    TOOL_TRACE_OPTIONS("--ordinal"), \
    {"--iteration", "K", "which step of a trace, from 1 (the one with the most queries)"}, \
    {"--strategy", TOOL_STRATEGIES, "how the items are formed (node)"}, \
    {"--piece-tokens", "N", "the strategy cuts after N tokens (its own N)"}, \
    {"--max-rows", "N", "most queries of one item (the strategy's own)"}, \
    {"--query", "N", "which query, from 0 (" which ")"}, \
    {"--head", "N", "which query head, from 0 (" which ")"}, \
    {"--block-tokens", "N", "tokens of a block, a power of two from 1 to 256 (16)"}, \
    {"--heads", "HEADS/KV", "query heads and KV heads (1/1)"}, \
    {"--head-dim", "N", "dimension of a head, 1 to 1024 (4)"}, \
    TOOL_LIMIT_OPTIONS

typedef struct tool_tree {
    workload *work;
    tool_scene scene;
    kv_table *tables; /* [shape.num_queries] */
    kv_tree *nodes;
    tree_plan *plan;
    tree_shape shape;
    float scale;              /* 1 / sqrt(head_dim) */
    float *query;             /* [num_queries][num_heads][head_dim] */
    const float *key, *value; /* [num_blocks][num_kv_heads][block_tokens][head_dim]; NaN in slots of no query */
    uint32_t *slot_token;     /* [num_blocks * block_tokens] the token's number; KV_NONE: in no table */
    uint32_t num_tokens;      /* that at least one query sees */
    double bytes;             /* of all of this, for tool_need_memory */
    bool seeded;
    uint64_t seed;
} tool_tree;

/* From the options above. Bad input and input beyond the limits end the program with status 2. Without --seed:
 *   key    of token t, KV head g: 1 at place (t + g) % head_dim, else 0
 *   value  of token t: element 0 is t; element d is 1 if d divides t, else 0
 *   query  row r = query * num_heads + head: element d is {2, 0, 4, -2}[(d + r) % 4]
 * With --seed: multiples of 1/4 in -2 .. 2. */
tool_tree tool_tree_open(const tool_call *call);
void tool_tree_close(tool_tree *tree);

/* --query and --head, with the range in the message; `absent` if not given. */
uint32_t tool_tree_query(const tool_call *call, const tool_tree *tree, uint32_t absent);
uint32_t tool_tree_head(const tool_call *call, const tool_tree *tree, uint32_t absent);

/* The number of the token in a slot; KV_NONE: no query sees one there. */
uint32_t tool_tree_token(const tool_tree *tree, uint32_t block, uint32_t slot);

/* The key or value [head_dim] of a token by its number, without a block table. */
void tool_tree_vector(const tool_tree *tree, uint32_t token, uint32_t kv_head, bool is_value, float *vector);

#endif
