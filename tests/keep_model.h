/* Keep words made by hand for any tree without drafts, and the tokens that a plan covers, counted without masks of the
 * library's. */
#ifndef KEEP_MODEL_H
#define KEEP_MODEL_H

#include "oracle.h"
#include "tree_plan_keep.h"

typedef struct keep_set {
    const kv_tree *tree;
    kv_keep *keeps;    /* [num_queries] */
    uint64_t *words;   /* that keeps view */
    uint32_t *lengths; /* [num_queries] slots of the tables, when created */
} keep_set;

/* Every query keeps the tokens of its path. */
keep_set keep_set_create(const kv_tree *tree);
keep_set keep_set_copy(const keep_set *set);
void keep_set_free(keep_set *set);

uint32_t keep_length(const kv_tree *tree, uint32_t query); /* slots of the query's table */

/* One token. No effect if it is evicted already, or no slot of the table. */
void keep_evict(keep_set *set, uint32_t query, uint32_t slot);
/* The evicted token's slot has a new one. */
void keep_take_hole(keep_set *set, uint32_t query, uint32_t slot);

/* Each token that a query keeps is evicted for it with a chance of percent in 100; some queries lose nothing, some
 * everything. only_private: tokens of nodes that one query alone sees. */
void keep_evict_random(keep_set *set, uint32_t percent, bool only_private);

/* Takes the evicted slots out of the paths; those of kv_tree_build's queries, each a whole table. */
void keep_filter_paths(token_paths *paths, const keep_set *set);

/* Fails the running case unless the plan covers each kept token of each query once, and no other, and its counts are
 * right; tree_plan_check_keep must agree. */
void keep_expect_covered(const tree_plan *plan, const keep_set *set, const char *what);

/* Fails the running case unless both plans are the same in all their arrays and counts. */
void keep_expect_equal(const tree_plan *plan, const tree_plan *expected, const char *what);

/* The plan, checked as above. */
tree_plan *keep_plan(const keep_set *set, tree_plan_config config, tree_keep_masks masks);

#endif
