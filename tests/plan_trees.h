/* Trees for the tests of plans and traffic, made from parents and token counts without block tables: so a plan is
 * tested on shapes that no allocator yields, and a bug in finding nodes cannot hide one in planning. */
#ifndef PLAN_TREES_H
#define PLAN_TREES_H

#include "kv_tree.h"
#include "tree_plan.h"

/* Nodes in any order, a parent before its children. */
typedef struct plan_tree_nodes {
    uint32_t num_nodes;
    const uint32_t *parent;     /* [num_nodes] KV_NONE for a root */
    const uint32_t *num_tokens; /* [num_nodes] */
    const uint32_t *num_ending; /* [num_nodes] queries whose path ends there; NULL: one at each node without children */
    uint32_t num_empty;         /* queries that see nothing */
} plan_tree_nodes;

/* A node starts in slot first_token % block_tokens of a block of its own. Query ids and block ids are shuffled. Nodes
 * at which a single path ends have room for spare_tokens more. Free with plan_tree_destroy. */
kv_tree *plan_tree_create(const plan_tree_nodes *nodes, uint32_t block_tokens, uint32_t spare_tokens);

/* "1,16,64 / 1024,256,32": nodes of each level / tokens of each of them. Queries at the last level. */
kv_tree *plan_tree_levels(const char *levels, uint32_t block_tokens, uint32_t spare_tokens);

/* As many nodes, parents, lengths up to max_tokens and queries at any node, all at random. */
kv_tree *plan_tree_random(uint32_t num_nodes, uint32_t max_tokens, uint32_t block_tokens, uint32_t spare_tokens);

/* As kv_tree_grow: one query's path becomes num_tokens longer. False, with nothing changed, where kv_tree_grow returns
 * false. */
bool plan_tree_grow(kv_tree *tree, uint32_t query, uint32_t num_tokens);

void plan_tree_destroy(kv_tree *tree);

typedef struct plan_tree_case {
    const char *name;
    const char *levels; /* NULL: made by code */
} plan_tree_case;

extern const plan_tree_case plan_tree_cases[];
extern const int num_plan_tree_cases;

kv_tree *plan_tree_case_create(const plan_tree_case *tree, uint32_t block_tokens, uint32_t spare_tokens);

/* The plan of a strategy, checked; a failure fails the running case. */
tree_plan *plan_tree_plan(const kv_tree *tree, tree_plan_config config);

#endif
