/* Named trees, grown through the real allocator, shared by tests and benchmarks.
 *
 *   tree_case c;
 *   tree_case_build(&c, "comb", 16, KV_ORDER_SHUFFLE);
 *   ... c.tree, c.tables, c.pool ...
 *   tree_case_free(&c);
 *
 * Specs: a name of tree_case_names, some with a number behind a colon; or levels "1,16,64/1024,256,32": nodes per level
 * and tokens per node, level by level; node j hangs under node j * above / here, its level having `here` nodes.
 * At most TREE_CASE_MAX_LEVELS of them. A wrong spec or a failing allocator fails the running test. */
#ifndef CASES_H
#define CASES_H

#include "kv_branch.h"
#include "kv_tree.h"

enum { TREE_CASE_MAX_LEVELS = 32 };

typedef struct tree_case {
    char name[96];         /* spec, block_tokens and order: "star:8 block_tokens=16 shuffle" */
    kv_pool *pool;
    uint32_t block_tokens;
    uint32_t num_blocks;   /* of the pool: blocks of K and V to allocate */
    uint32_t num_branches; /* = number of tables = number of queries of the tree */
    kv_branch *branches;   /* [num_branches] handles, all alive */
    kv_table *tables;      /* [num_branches] views into the pool */
    kv_tree *tree;         /* of these tables */
} tree_case;

/* The trees:
 *   one_token            1 branch of 1 token
 *   full_block           1 branch that ends with its block
 *   partial_last_block   1 branch of 3 blocks and 1 token (block_tokens 1: 4 tokens)
 *   star:N               N branches behind one prefix of 5 blocks and 3 tokens; default 8
 *   chain:N              N branches, each the one before and 7 tokens; default 6
 *   comb:N               a spine of N teeth: each tooth a branch that leaves the spine 21 tokens further on; default 8
 *   binary:N             full binary tree of N levels, 11 tokens per node; default 4
 *   ragged               branches of 1 to 700 tokens behind prefixes of 0 to 300
 *   empty_branch         empty branches before, between and behind others
 *   forked_inside_block  forks at every slot of a block, with and without tokens of their own
 *   forest               three trees without a common token
 *   giant_leaf           a leaf of 3000 tokens beside 15 leaves of 1
 *   random:SEED          20 to 60 random forks, appends, truncates and prunes; default test_seed() */
extern const char *const tree_case_names[];
extern const uint32_t num_tree_case_names;

void tree_case_build(tree_case *c, const char *spec, uint32_t block_tokens, kv_order order);

/* Tables and tree anew, after the branches were changed through c->pool. Handles that died must be gone from
 * c->branches. */
void tree_case_refresh(tree_case *c);

/* Checks the pool, prunes every branch, checks that every block is free, then frees all. */
void tree_case_free(tree_case *c);

#endif
