/* tool_walk: every step that tree_attention_ref takes for one query and head, recorded: the tokens of each item, then
 * the merge of the partial states, then out and lse. The arithmetic is softmax_state.h's own, in the same order, so out
 * and lse equal those of tree_attention_ref bit for bit. */
#ifndef TOOL_WALK_H
#define TOOL_WALK_H

#include "tool_tree.h"

typedef enum walk_kind {
    WALK_ABSORB = 0, /* a token that the query sees */
    WALK_HIDDEN,     /* a token of the item that a mask hides from the query: skipped */
    WALK_MERGE,      /* a partial state goes into the total */
    WALK_OUT,        /* the total is normalized */
    WALK_NUM_KINDS
} walk_kind;

extern const char *const walk_kind_name[WALK_NUM_KINDS]; /* "absorb", "hidden", "merge", "out" */

typedef struct walk_step {
    walk_kind kind;
    uint32_t item, range;        /* range: of the item, from 0. WALK_MERGE: the item of the partial state */
    uint32_t t;                  /* token of the range, from 0 */
    uint32_t block, slot, token; /* WALK_ABSORB, WALK_HIDDEN */
    size_t left;                 /* WALK_MERGE: the last step of the item, which left the partial state */
    double score;
    double m_before, l_before; /* of the state, before this step */
    double rescale;            /* exp(m_before - m): on the old l and o */
    double weight;             /* exp(score - m); WALK_MERGE: exp(m of the partial state - m) */
    double m, l;               /* after it; their o: walk->o */
} walk_step;

typedef struct tool_walk {
    const tool_tree *tree;
    uint32_t query, head, kv_head;
    uint32_t num_items;  /* that have the query as a row */
    uint32_t num_merges; /* length of the query's merge list */
    uint64_t num_tokens; /* absorbed */
    size_t num_steps;
    walk_step *steps;
    double *o;  /* [num_steps][head_dim] after each step */
    float *out; /* [head_dim] */
    float lse;
    double bytes; /* of tree and walk, for tool_need_memory */
} tool_walk;

/* Ends the program if the walk needs more memory than is allowed. The tree must outlive the walk. */
tool_walk tool_walk_create(const tool_call *call, const tool_tree *tree, uint32_t query, uint32_t head);
void tool_walk_destroy(tool_walk *walk);

/* [head_dim], of the walk's query and head. */
const float *tool_walk_query(const tool_walk *walk);

/* The first step of the item, or of the merge, after step `index`; the last step if there is none. */
size_t tool_walk_next_item(const tool_walk *walk, size_t index);

/* Whether step `index` is the first of its item, of its range, of the merge. */
bool tool_walk_begins_item(const tool_walk *walk, size_t index);
bool tool_walk_begins_range(const tool_walk *walk, size_t index);
bool tool_walk_begins_merge(const tool_walk *walk, size_t index);

#endif
