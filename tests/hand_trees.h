/* Block tables made by hand, token by token, without a pool; and their tree by brute force.
 *
 * A forest is grown with ids 0, 1, 2, ... in order of creation, then hand_number gives them other names. */
#ifndef HAND_TREES_H
#define HAND_TREES_H

#include "kv_tree.h"

typedef struct hand_forest {
    uint32_t block_tokens;
    uint32_t num_tables, num_blocks; /* blocks 0 .. num_blocks - 1 are in use */
    kv_table *tables;
    uint32_t **blocks;               /* [num_tables] the ids that tables[i].blocks views */
    kv_draft *drafts;                /* [num_tables] num_tokens 0 until hand_draft */
} hand_forest;

typedef enum hand_order { HAND_IDENTITY, HAND_REVERSED, HAND_SHUFFLED, HAND_NUM_ORDERS } hand_order;
extern const char *const hand_order_name[HAND_NUM_ORDERS];

hand_forest hand_create(uint32_t block_tokens);
void hand_free(hand_forest *forest);

/* A table of num_tokens tokens of its own; its index. */
uint32_t hand_root(hand_forest *forest, uint32_t num_tokens);

/* A table of the first `keep` tokens of `from`, then num_tokens of its own, behind a copy of the part-filled block.
 * hand_fork_in_place lists that block itself, so that the tables share whatever both see of it. */
uint32_t hand_fork(hand_forest *forest, uint32_t from, uint32_t keep, uint32_t num_tokens);
uint32_t hand_fork_in_place(hand_forest *forest, uint32_t from, uint32_t keep, uint32_t num_tokens);

/* Appends tokens to a table in place. */
void hand_append(hand_forest *forest, uint32_t table, uint32_t num_tokens);

/* The table's last num_tokens tokens are a draft with these parents (copied). */
void hand_draft(hand_forest *forest, uint32_t table, uint32_t num_tokens, const uint32_t *parent);

/* Renames all blocks; shuffled by test_random. */
void hand_number(hand_forest *forest, hand_order order);

/* A table of given blocks, unchanged: for input that is no tree. */
uint32_t hand_table(hand_forest *forest, uint32_t length, uint32_t num_blocks, const uint32_t *blocks);

/* Up to max_tables random forks, in place or not, of prefixes of every kind. hand_random_drafts turns some of the
 * tables into a past with a random draft, and lists some of these blocks in tables that see none of the draft. */
hand_forest hand_random(uint32_t block_tokens, uint32_t max_tables, uint32_t max_tokens);
void hand_random_drafts(hand_forest *forest, uint32_t max_draft_tokens);

/* Fails the running case unless `tree` is the tree of these tables, by the set of queries that see each
 * (block, slot): nodes, positions, blocks, rows, order and counts. With drafts: the tree of kv_tree_build_drafts. */
void hand_expect_tree(const hand_forest *forest, const kv_tree *tree, bool drafts);

/* Builds, compares as above, calls kv_tree_check; the caller destroys. */
kv_tree *hand_build(const hand_forest *forest, bool drafts);

/* Fails the running case unless both trees are the same, spare entries aside. */
void hand_expect_equal(const kv_tree *tree, const kv_tree *expected);

#endif
