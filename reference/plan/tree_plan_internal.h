/* Shared by the files of tree_plan: how a strategy says which items it wants.
 *
 * Every strategy runs twice over the tree, first counting, then filling arrays of the counted size. */
#ifndef TREE_PLAN_INTERNAL_H
#define TREE_PLAN_INTERNAL_H

#include "tree_plan.h"

#define PLAN_UNCUT (UINT64_C(1) << 62) /* piece_tokens of what is never cut */
#define PLAN_MASK_ROOM 32              /* tokens that a masked range at the end of a path may grow by, in cost */

/* What tree_plan_grow must know of a query: the range that its path ends with. */
typedef struct plan_growth {
    uint32_t node;        /* tree->query_node, KV_NONE too */
    uint32_t node_tokens; /* when last seen */
    uint32_t item, range;
    uint32_t room;        /* tokens that this range may still take */
} plan_growth;

/* Where a list of tokens is cut. */
typedef struct plan_cut {
    uint64_t piece_tokens;
    uint64_t tail_tokens;  /* a rest of so many tokens joins the piece before it */
    uint64_t grown_tokens; /* a piece at the end of a path may grow to so many tokens */
} plan_cut;

typedef struct plan_builder {
    const kv_tree *tree;
    tree_plan_config config;
    tree_plan *plan;       /* NULL while counting */
    plan_growth *growth;   /* [num_queries] when filling */
    uint32_t *list;        /* [num_nodes] scratch */
    uint64_t *list_start;  /* [num_nodes + 1] tokens of the list before each of its nodes; cost only */
    uint32_t num_listed;   /* nodes that list_start is about */
    uint32_t block_shift;  /* block_tokens is 1 << block_shift */
    uint32_t mask_room;    /* PLAN_MASK_ROOM or 0 */
    bool skip_unseen;      /* an item leaves out the ranges that none of its rows sees */
    uint64_t num_items, num_ranges, num_mask_words, num_partials, max_item_tokens;
    uint64_t loaded_tokens, masked_pairs;
} plan_builder;

/* Cuts the tokens of the nodes list[0 .. count), in this order, into pieces. A piece becomes one item for each
 * max_rows of its rows: those of [first_row, end_row) that see a node of the piece. Nodes of the list that lie on one
 * path, or follow each other in the tree, make these rows one run. */
void plan_add_list(plan_builder *b, const uint32_t *list, uint32_t count, uint32_t first_row, uint32_t end_row,
                   const plan_cut *cut);

/* The same in two steps, for a caller that cuts by itself. Fills list_start for b->list[0 .. count); returns the tokens
 * of the list. */
uint64_t plan_measure_list(plan_builder *b, uint32_t count);

/* Tokens [from, from + num_tokens) of the measured list become one piece, which may grow by `growth` tokens where it is
 * the end of a path. O(log nodes of the list) before its ranges are added. */
void plan_add_tokens(plan_builder *b, uint64_t from, uint64_t num_tokens, uint32_t first_row, uint32_t end_row,
                     uint64_t growth);

/* The nodes from the root to `node`, in b->list; returns their number. */
uint32_t plan_path(plan_builder *b, uint32_t node);

/* What cost decided about a tree; tree_plan_cost.c. */
typedef struct plan_cost plan_cost;

tree_status plan_cost_decide(plan_cost **cost, const kv_tree *tree, tree_plan_config *config);
void plan_cost_add(plan_builder *b, const plan_cost *cost);
void plan_cost_destroy(plan_cost *cost);

#endif
