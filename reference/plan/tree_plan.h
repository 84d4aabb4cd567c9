/* tree_plan: the work of one attention step, as data. A strategy is a plan, not a kernel.
 *
 * A plan is a list of items. An item pairs some rows (queries) with some ranges of tokens, for every KV head: the
 * function or kernel that runs it loads each token once for all of the item's rows. The strategies of the literature
 * differ only in how they form items, so one reference function and one kernel run them all, and a plan predicts its
 * traffic.
 *
 *   tree                     flash, per query     node, per node         flatten, per 4 tokens across nodes
 *   a a a a a b b            q0: aaaaabb          q0 q1: aaaaa           q0 q1: aaaa
 *            \c c c          q1: aaaaaccc         q0: bb    q1: ccc      q0 q1: a bb c  (b masked from q1, c from q0)
 *                                                                        q1: cc
 *
 * Every pair of a query and a token that it sees is covered exactly once: tree_plan_check. A query covered by several
 * items gets a partial state (m, l, o) from each, merged in the order of its merge list. */
#ifndef TREE_PLAN_H
#define TREE_PLAN_H

#include "kv_tree.h"
#include "tree_shape.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tree_strategy {
    TREE_FLASH,          /* Flash-Attention: a query and its whole path */
    TREE_FLASH_DECODING, /* Flash-Decoding: the path cut every piece_tokens */
    TREE_RADIX,          /* Radix Attention: as flash_decoding over shared storage, cut at nodes as well */
    TREE_TREE_MASK,      /* SpecInfer: all queries and tokens in one item; one mask bit for each query and token */
    TREE_NODE,           /* DeFT-Node: a node and the queries below it, at most max_rows */
    TREE_NODE_CHUNK,     /* DeFT-Node-Chunk: as node, nodes cut every piece_tokens */
    TREE_FLATTEN,        /* DeFT-Flatten: all nodes in one list, cut every piece_tokens across nodes; bit mask */
    TREE_COST,           /* ours: nodes absorbed, packed or cut by a cost model */
    TREE_NUM_STRATEGIES
} tree_strategy;

/* "flash", "flash_decoding", "radix", "tree_mask", "node", "node_chunk", "flatten", "cost". */
extern const char *const tree_strategy_name[TREE_NUM_STRATEGIES];

/* false for an unknown name; *strategy is untouched then. */
bool tree_strategy_from_name(const char *name, tree_strategy *strategy);

/* The machine whose prices `cost` uses: docs/plans.md. */
typedef enum tree_target { TREE_TARGET_GPU = 0, TREE_TARGET_CPU } tree_target;

/* Prices of `cost`, in bytes that one processor of the machine could read in the same time, and sizes of its items.
 * Prices are at most 2^24, item, share and wait at most 2^30, sizes at most 2^20. */
typedef struct tree_prices {
    uint32_t token_bytes;   /* K and V of a token, at least 1; 0 in a config: all prices are those of the target */
    uint32_t item_bytes;    /* starting and ending an item */
    uint32_t partial_bytes; /* a partial state of one row, written and read */
    uint32_t row_bytes;     /* one row of the score matrix and one token */
    uint32_t mask_bytes;    /* a token that not all rows see: its mask words, and the work of applying them */
    uint32_t masked_rows;   /* upper bound on rows charged per masked token; any number */
    uint32_t tile_rows;     /* queries x group_size are rounded up to a multiple of this, a power of two */
    uint32_t max_tile;      /* queries x group_size of an item, at least 1 */
    uint32_t share_bytes;   /* cut into even shares, each worth at least this; 0: pieces of one length */
    uint32_t merge_bytes;   /* one more partial state on a query's path: 0 to cut long paths like short ones */
    uint32_t wait_bytes;    /* the wait of all workers for each other and the merge that follows: queries are alone
                             * where they save it, or most of it; 0: never */
    uint32_t share_workers; /* at most one share for so many workers, at least 1 */
    uint32_t cut_tokens;    /* shares end at multiples of this, at least 1: tokens of a tile */
    uint32_t rest_tokens;   /* a rest of up to so many tokens joins the share before it, */
    uint32_t rest_part;     /* if it has at most a 1 / rest_part of that share's; at least 1 */
} tree_prices;

/* The prices that cost uses if a config has none. */
const tree_prices *tree_prices_of(tree_target target);

typedef struct tree_plan_config {
    tree_strategy strategy;
    tree_target target;    /* for cost */
    uint32_t max_rows;     /* queries of one item; 0: the strategy's own (32 for DeFT's, all for tree_mask,
                            * 64 / group_size for cost, or 1 where queries are alone, 1024 / group_size on a CPU);
                            * flash, flash_decoding and radix always take 1 */
    uint32_t piece_tokens; /* tokens of a piece; 0: the strategy's own (128; cost chooses); 0 in a plan: never cut */
    uint32_t group_size;   /* num_heads / num_kv_heads, for cost; 0: 4 */
    uint32_t num_workers;  /* SMs or cores that cost balances over, at 8 KV heads; 0: 132 */
    tree_prices prices;    /* for cost, of this very machine; all 0: those of the target */
} tree_plan_config;

#define TREE_NO_MASK UINT32_MAX

/* Tokens that are consecutive in storage order: token t of the range lies in block
 * blocks[first_block + (first_slot + t) / block_tokens], slot (first_slot + t) % block_tokens. */
typedef struct tree_range {
    uint32_t first_block; /* index into plan->blocks */
    uint32_t first_slot;
    uint32_t num_tokens;
    uint32_t mask;        /* index into plan->masks, or TREE_NO_MASK: every row of the item sees every token */
} tree_range;

/* Rows plan->rows[first_row .. first_row + num_rows); row r writes partial state first_partial + r.
 * Mask words of token t of a masked range: masks[range.mask + t * words .. + words), words = ceil(num_rows / 64);
 * bit j of word w set: row 64 * w + j sees the token. No bit beyond the last row is set; each row sees at least one
 * token of its item, except in plans over evicted tokens (tree_plan_keep.h). */
typedef struct tree_item {
    uint32_t first_row, num_rows;
    uint32_t first_range, num_ranges;
    uint32_t num_tokens;    /* sum over its ranges */
    uint32_t first_partial;
} tree_item;

typedef struct tree_plan {
    tree_plan_config config; /* defaults filled in */
    uint32_t block_tokens;
    uint32_t num_queries, num_items, num_ranges, num_blocks;
    uint32_t num_partials;   /* sum of num_rows over the items (R in DeFT's tables) */
    uint32_t num_mask_words;
    uint32_t max_block;      /* largest block id named; 0 if none */
    uint64_t unique_tokens, path_tokens; /* U and S of the tree */
    uint64_t loaded_tokens;  /* sum of num_tokens over the items: the tokens that plan_bytes counts */
    uint64_t masked_pairs;   /* (row, token) pairs of the items that a mask hides: computed, but not used */
    tree_item *items;        /* [num_items] */
    tree_range *ranges;      /* [num_ranges] */
    uint32_t *blocks;        /* [num_blocks] same indices as the tree's `blocks` */
    uint32_t *table_index;   /* [num_blocks] index of the block in the tables that list it; KV_NONE in a tree with
                              * drafts, whose paths are not tables */
    uint32_t *rows;          /* [num_queries] query ids, the tree's `rows` */
    uint64_t *masks;         /* [num_mask_words] */
    uint32_t *merge_first;   /* [num_queries + 1] query q merges merge_partials[merge_first[q] .. merge_first[q + 1]) */
    uint32_t *merge_partials;/* [num_partials] in order along the path; an empty list: the query sees no token */
    struct tree_plan_growth *growth; /* [num_queries] private to tree_plan_grow: where each path ends */
} tree_plan;

/* Builds the plan of a strategy. The plan does not need the tree afterwards. TREE_INVAL for a bad config (unknown
 * strategy, piece_tokens beyond 2^30, group_size beyond 2^16, a price out of its bounds), TREE_NOMEM, TREE_OVERFLOW if a count does not fit 32
 * bits. On error *plan is untouched. Items are in the order of their nodes, depth first, so the items of a query follow
 * its path. Cost: linear in the tree (nodes, queries, block entries) and in the plan (items, ranges, partials, mask
 * words); cost searches the list of a unit once for each cut, O(log nodes). Memory: one allocation of 24 bytes for each
 * item, 16 for each range, 8 for each mask word and block entry, 4 for each partial, and 28 for each query.
 * The plan may be much larger than its tree. For a chain of n nodes of one token, with a query that ends at each (draft
 * tokens), and for a star of n such leaves under one root:
 *                          chain                            star
 *   flash, flash_decoding  n^2 / 2 ranges                   2 n ranges
 *   radix                  n^2 / 2 items and partials       2 n items and partials
 *   node, node_chunk       n^2 / 2 partials                 2 n partials
 *   tree_mask              n^2 / 64 mask words              n^2 / 64 mask words
 *   flatten                n^2 / (2 max_rows) ranges        2 n piece_tokens / max_rows ranges
 *   cost                   n^2 / (2 max_rows) ranges        n ranges
 * For a chain of 10^4 draft tokens, cost makes 3 million ranges, 50 MB. A plan that is too large is refused:
 * TREE_OVERFLOW, TREE_NOMEM. */
tree_status tree_plan_build(tree_plan **plan, const kv_tree *tree, const tree_plan_config *config);

/* Bytes of the plan that tree_plan_build would return: a tree_mask plan takes num_queries / 8 bytes for each token of
 * the tree. Statuses as tree_plan_build, but no plan is allocated; *bytes is untouched on error. Price: the counting
 * pass of a build. */
tree_status tree_plan_bytes(uint64_t *bytes, const kv_tree *tree, const tree_plan_config *config);

/* For use after kv_tree_grow returned true for the tree that the plan was built from. If the strategy's items keep
 * their form, the plan follows the growth in place and the result is true. Otherwise the result is false and nothing
 * has changed: build again. Also false for a tree with other queries, paths, lengths or block lists; block ids that the
 * plan has copied are not compared. O(num_queries + new blocks), plus, for cost, the mask words of the new tokens.
 *   flash, node                        always
 *   flash_decoding, radix, node_chunk  while the last piece of each path has at most 1.25 piece_tokens
 *   cost                               while that piece has at most 1.5, and a masked end of a path grew by at most 32
 *   tree_mask, flatten                 never: the masks or the cuts behind the growth would move */
bool tree_plan_grow(tree_plan *plan, const kv_tree *tree);

/* TREE_OK, or TREE_BAD_PLAN with the fault in message: an index out of bounds, a pair (query, token) covered
 * twice or never, a merge list out of order, a sum that differs. TREE_NOMEM. Computed from the tree alone.
 * Slow: O(sum over items of rows x tokens), and log(blocks) for each token and block entry of the tree; 12 bytes for
 * each slot of the blocks that the tree uses. In a chain of n draft tokens every plan has n^2 / 2 pairs or more. */
tree_status tree_plan_check(const tree_plan *plan, const kv_tree *tree, char *message, size_t message_bytes);

/* Whether attention of this shape can run the plan: as tree_shape_check, and TREE_BAD_SHAPE if the plan has another
 * num_queries or block_tokens, TREE_BAD_PLAN if it names a block >= num_blocks. Every attention function calls it
 * before anything else. O(1). */
tree_status tree_plan_fits(const tree_plan *plan, const tree_shape *shape);

void tree_plan_destroy(tree_plan *plan);

#ifdef __cplusplus
}
#endif
#endif
