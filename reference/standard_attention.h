/* standard_attention: two baselines that materialise their intermediate arrays, to show the price of doing so.
 *
 * Bytes of the arrays between the steps, for S = path_tokens and U = unique_tokens of the tree, nq queries,
 * d = head_dim, H = num_heads, G = num_kv_heads, floats of 4 bytes:
 *
 *   standard_attention_ref, a copy of the keys per query     dense_mask_attention_ref, after Medusa
 *     gather         K and V of each path   8 S G d            gather         K and V of each node   8 U G d
 *     expand heads   K and V of each head   8 S H d            expand heads   K and V of each head   8 U H d
 *     scores                                4 S H              scores                                4 nq U H
 *     softmax        the weights            4 S H              mask                                  4 nq U
 *     PV             out                                       masked         scores + mask          4 nq U H
 *                                                              softmax        the weights            4 nq U H
 *                                                              PV             out
 *
 * The first pays for a token once per query that sees it, the second for every (query, token) pair of the tree, seen or
 * not. tree_attention_ref keeps none of these arrays. Both take the tree and no plan; queries may end at inner nodes,
 * also those of draft trees. */
#ifndef STANDARD_ATTENTION_H
#define STANDARD_ATTENTION_H

#include "tree_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The intermediate arrays of one call. "token" counts the copies: S of them, query after query, each path from its
 * root (first_token[q] .. first_token[q + 1]); or U of them, node after node (first_token[node] ..). */
typedef struct standard_arrays {
    uint64_t num_tokens;          /* S or U */
    uint64_t *first_token;        /* [num_queries + 1] or [num_nodes + 1] */
    float *key, *value;           /* [num_tokens][num_kv_heads][head_dim] gathered */
    float *head_key, *head_value; /* [num_tokens][num_heads][head_dim]    expanded */
    float *scores;                /* [num_heads][S] or [num_heads][num_queries][U] */
    float *mask;                  /* [num_queries][U] 0: the query sees the token, else -infinity; dense mask only */
    float *masked;                /* [num_heads][num_queries][U] scores + mask; dense mask only */
    float *weights;               /* as scores: softmax */
    uint64_t bytes;               /* of all float arrays above */
} standard_arrays;

/* As tree_attention_ref, with `tree` in place of a plan.
 *   arrays  written, to be freed with standard_arrays_free; NULL: the arrays are freed before the return
 * TREE_BAD_SHAPE as tree_shape_check, or if the tree has another num_queries or block_tokens; TREE_BAD_PLAN if it names
 * a block >= num_blocks; TREE_UNSUPPORTED for storage other than float; TREE_NOMEM. Nothing is written then. */
tree_status standard_attention_ref(float *out, float *lse, const float *query, const float *key, const float *value,
                                   const kv_tree *tree, const tree_shape *shape, float scale,
                                   standard_arrays *arrays);
tree_status dense_mask_attention_ref(float *out, float *lse, const float *query, const float *key, const float *value,
                                     const kv_tree *tree, const tree_shape *shape, float scale,
                                     standard_arrays *arrays);

/* Frees the arrays and sets them to NULL; the struct itself is the caller's. */
void standard_arrays_free(standard_arrays *arrays);

#ifdef __cplusplus
}
#endif
#endif
