/* forest: trees for the checks. The tiny tree of the book, and trees grown by random appends and forks. */
#ifndef EXERCISE_FOREST_H
#define EXERCISE_FOREST_H

#include "check.h"
#include "kv_branch.h"
#include "kv_tree.h"
#include "tree_shape.h"

enum { FOREST_MAX_BRANCHES = 8, TINY_BRANCHES = 2 };

typedef struct forest {
    kv_pool *pool;
    uint32_t num_branches;
    kv_branch branches[FOREST_MAX_BRANCHES];
    kv_table tables[FOREST_MAX_BRANCHES];
    kv_tree *tree;
    tree_shape shape;
    float *query, *key, *value; /* as in tree_shape.h; slots that no branch lists hold NaN in the tiny tree */
    float scale;
} forest;

/* docs/book/tiny_tree.c: 6 shared tokens, then 3 of branch 0 and 4 of branch 1. Tables [0 2 3] and [0 1 4]. */
void forest_tiny(forest *f);
/* The same tree, step by step, in a pool alone: `steps` of create and append 6; fork; append 3; append 4. */
kv_pool *tiny_pool(kv_branch branches[TINY_BRANCHES], int steps);

/* 2 to 8 branches. */
void forest_random(forest *f, uint32_t block_tokens, uint32_t num_heads, uint32_t num_kv_heads, uint32_t head_dim);
void forest_destroy(forest *f);

/* The place in the pool of a token of a branch, block * block_tokens + slot. */
static inline uint32_t table_place(const kv_table *table, uint32_t block_tokens, uint32_t token)
{
    return table->blocks[token / block_tokens] * block_tokens + token % block_tokens;
}

#endif
