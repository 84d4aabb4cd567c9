/* Items from lists of nodes: a strategy names lists and the places to cut them; tree_plan_items.c makes the items.
 *
 * A strategy makes the same calls twice: once to count, then to fill a plan of the counted size. */
#ifndef TREE_PLAN_ITEMS_INTERNAL_H
#define TREE_PLAN_ITEMS_INTERNAL_H

#include "tree_plan.h"

#define PLAN_UNCUT (UINT64_C(1) << 62) /* piece_tokens of a list that is never cut */
#define PLAN_MASK_ROOM 32              /* tokens by which a masked range at the end of a path may grow */

/* Where a query's path ends in the plan, for tree_plan_grow. */
struct tree_plan_growth {
    uint32_t node;        /* tree->query_node, KV_NONE too */
    uint32_t node_tokens; /* when last seen */
    uint32_t item, range; /* the item and range that hold the path's last token; KV_NONE: others see it as well */
    uint32_t room;        /* tokens that this range may still take */
};

/* Where a list of tokens is cut. */
typedef struct plan_cut {
    uint64_t piece_tokens;
    uint64_t tail_tokens;  /* a remainder of at most this many tokens joins the piece before it */
    uint64_t grown_tokens; /* a piece at the end of a path may grow to this many tokens */
} plan_cut;

/* Consecutive tokens of a list: from token `from` of node list[first] up to, but not including, token `to` of
 * list[last]. */
typedef struct plan_piece {
    uint32_t first, from, last, to;
    uint64_t num_tokens;
} plan_piece;

typedef struct plan_items {
    const kv_tree *tree;
    tree_plan *plan;      /* NULL in the counting pass */
    uint32_t max_rows;    /* of an item */
    uint32_t block_shift; /* block_tokens is 1 << block_shift */
    uint32_t mask_room;   /* PLAN_MASK_ROOM or 0 */
    bool skip_unseen;     /* an item leaves out the ranges that none of its rows sees */
    uint64_t num_items, num_ranges, num_mask_words, num_partials;
    uint64_t max_item_tokens, loaded_tokens, masked_pairs;
} plan_items;

/* Begins a pass over the strategy's calls: counting for plan NULL, else filling it. */
void plan_items_begin(plan_items *items, tree_plan *plan);

/* Cuts the tokens of the nodes list[0 .. count), in this order, into pieces and adds each. */
void plan_add_list(plan_items *items, const uint32_t *list, uint32_t count, uint32_t first_row, uint32_t end_row,
                   const plan_cut *cut);

/* Adds one item for each max_rows of the rows in [first_row, end_row) that see a node of the piece. The nodes of the
 * list lie on one path, or follow each other in the tree, so these rows are one run. Where the piece is the end of a
 * path, it may grow by `growth` tokens. */
void plan_add_piece(plan_items *items, const uint32_t *list, const plan_piece *piece, uint32_t first_row,
                    uint32_t end_row, uint64_t growth);

/* The same mask words for each of num_tokens tokens: rows first_seen .. first_seen + num_seen of an item see them. */
void plan_fill_masks(uint64_t *masks, uint32_t num_words, uint32_t first_seen, uint32_t num_seen, uint32_t num_tokens);

/* Room for more mask words, zeros behind the old ones. The plan may move; NULL, and it is as before: out of memory. */
tree_plan *plan_add_mask_words(tree_plan *plan, uint32_t num_words);

/* The only query whose path ends with this node, if no other query sees the node; else KV_NONE. */
static inline uint32_t plan_sole_query(const kv_tree *tree, uint32_t node)
{
    if (tree->nodes[node].num_rows != 1)
        return KV_NONE;
    uint32_t query = tree->rows[tree->nodes[node].first_row];
    return tree->query_node[query] == node ? query : KV_NONE;
}

/* Entries of tree->blocks that the first num_tokens tokens of a node take. */
static inline uint32_t plan_node_blocks(const kv_node *node, uint32_t num_tokens, uint32_t block_tokens)
{
    return (uint32_t)(((uint64_t)node->first_slot + num_tokens + block_tokens - 1) / block_tokens);
}

static inline uint32_t plan_max(uint32_t a, uint32_t b) { return a > b ? a : b; }
static inline uint32_t plan_min(uint32_t a, uint32_t b) { return a < b ? a : b; }

#endif
