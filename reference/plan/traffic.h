/* traffic: predicts the bytes that a plan moves.
 *
 * Three counts of K and V, never mixed up:
 *   logical_bytes  the bytes that all queries would read if nothing were shared: S tokens
 *   plan_bytes     the bytes that the plan's items load
 *   dram_bytes     the bytes that DRAM delivered: measured by a hardware counter, not predicted here
 * All counts are for one layer and one step. */
#ifndef TRAFFIC_H
#define TRAFFIC_H

#include "tree_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum traffic_variant {
    TRAFFIC_PACKED,       /* ours: the query heads of a group share each load of K and V */
    TRAFFIC_DEFT_COUNTED, /* DeFT's own count: every query head has K and V of its own, partials are free */
    TRAFFIC_DEFT_ISSUED,  /* loads of kernels like DeFT's: every query head loads K, V, masks and token indices */
    TRAFFIC_NUM_VARIANTS
} traffic_variant;

extern const char *const traffic_variant_name[TRAFFIC_NUM_VARIANTS]; /* "packed", "deft_counted", "deft_issued" */

typedef struct tree_traffic {
    uint64_t logical_bytes;  /* K and V of S tokens */
    uint64_t unique_bytes;   /* K and V of U tokens: a lower bound for every plan */
    uint64_t plan_bytes;     /* K and V that the items load */
    uint64_t query_bytes;    /* Q read by the items */
    uint64_t out_bytes;      /* out written once */
    uint64_t mask_bytes;     /* mask words (and, DEFT_ISSUED, token indices) read */
    uint64_t partial_bytes;  /* partial states or materialised intermediates, written and read */
} tree_traffic;

/* Counts a plan, in O(items + ranges + queries). TREE_BAD_SHAPE and TREE_BAD_PLAN as tree_plan_fits, TREE_INVAL for
 * an unknown variant; nothing is written then.
 *   H query heads, G KV heads, D head_dim, e bytes of the storage type, nq queries,
 *   L  loaded_tokens                        P  sum over the items of num_rows x num_tokens
 *   R  num_partials                         R2 those of queries that have at least two
 *   M  mask words of the masked ranges      V  words of tokens in items that have a mask at all (their whole length)
 *
 *                                packed            deft_counted          deft_issued
 *   K and V of one token         2 G D e           2 H D e               2 H D e
 *   plan tokens
 *     flash, radix, flash_decoding     L           L (= S)               L
 *     tree_mask                  L                 P (= nq U)            P
 *     node, node_chunk, cost     L                 L                     L
 *     flatten                    L                 U                     L
 *   Q                            R H D e           nq H D e              R H D e
 *   out                          nq H D e          nq H D e              nq H D e
 *   masks
 *     tree_mask                  8 M G             8 V                   8 M H x rows
 *     flatten                    8 M G             8 U                   16 H piece_tokens x items (mask and index)
 *     cost                       8 M G             0                     8 M H
 *     node, node_chunk           0                 0                     8 H L (index)
 *     radix                      0                 0                     8 H L (index, 4 bytes, read by two kernels)
 *     flash, flash_decoding      0                 0                     0
 *   partials
 *     flash, tree_mask           8 H (D + 1) R2    0                     0
 *     flash_decoding, cost       8 H (D + 1) R2    0                     8 H (D + 1) R
 *     radix                      8 H (D + 1) R2    0                     4 H L (scores, fp16, written and read)
 *     node, node_chunk, flatten  8 H (D + 1) R2    0                     12 H (D + 1) R (zeroed, written and read)
 *
 * Partials are D + 1 floats per row and head, as DeFT and the CPU path keep them; our GPU kernels keep them in half the
 * bytes. Q and out are counted in the storage type. */
tree_status tree_traffic_count(tree_traffic *traffic, const tree_plan *plan, const tree_shape *shape,
                               traffic_variant variant);

/* The traffic of the two functions that materialise, from U, S and the shape alone; standard_attention.h lists their
 * arrays.
 * standard, over a copy per query:  plan_bytes 2 G D e S, partial_bytes 2 S (2 G D e + 2 H D e + 8 H): the copy, the
 *   expanded heads, scores and weights in fp32, each written and read.
 * dense_mask, as DeFT counts Medusa: plan_bytes 2 H D e U (logical and unique likewise with H heads), mask_bytes
 *   2 nq U, partial_bytes 20 nq U H: scores, scaled, masked (fp16, written and read), softmax (fp32 written, fp16
 *   written and read); its gathering copies are not counted.
 * TREE_BAD_SHAPE as tree_shape_check, or if the tree has another num_queries or block_tokens. O(1). */
tree_status tree_traffic_standard(tree_traffic *traffic, const kv_tree *tree, const tree_shape *shape);
tree_status tree_traffic_dense_mask(tree_traffic *traffic, const kv_tree *tree, const tree_shape *shape);

#ifdef __cplusplus
}
#endif
#endif
