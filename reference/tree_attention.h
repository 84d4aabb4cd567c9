/* tree_attention: attention of many queries over a tree of KV blocks, by any plan. The specification.
 *
 *   value  out[q][h] = sum over the tokens t that q sees of softmax_t(scale * query[q][h] . key[t]) * value[t]
 *   price  about 100 times slower than tree_attention_cpu: plain loops, double accumulation, nothing reordered
 *   limits float storage only; any head_dim, any group size
 *   source DeFT, ICLR 2025; online softmax, Milakov & Gimelshein 2018; merge of partial states, Dao et al. 2023 */
#ifndef TREE_ATTENTION_H
#define TREE_ATTENTION_H

#include "tree_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Attention of each query over its own path in the tree.
 *   out    [num_queries][num_heads][head_dim]   written
 *   lse    [num_queries][num_heads]             natural log, written; NULL if not wanted
 *   query, key, value                           float; shape->storage must be TREE_FP32
 *   plan   items over these blocks, from tree_plan_build; its strategy changes the result by rounding at most
 *   scale  multiplies q.k, usually 1 / sqrt(head_dim)
 * A query that sees no token yields out = 0, lse = -infinity. A NaN in a visible key or value reaches the queries that
 * see it, and no other. A score of -infinity counts as no token; a score of +infinity or NaN gives NaN.
 * Returns the statuses of tree_plan_fits, TREE_UNSUPPORTED for fp16 and bf16, TREE_NOMEM. Nothing is written on error.
 * Mirrors: cpu/tree_attention_cpu.c, gpu/ */
tree_status tree_attention_ref(float *out, float *lse, const float *query, const float *key, const float *value,
                               const tree_plan *plan, const tree_shape *shape, float scale);

/* The partial states of one head, which tree_attention_ref merges: for a debugger, a drawing, a test.
 *   partials [plan->num_partials]  written; each o is the caller's, [head_dim]. Row r of an item is
 *                                  partials[item->first_partial + r]; query q merges those of its merge list
 *   head     below shape->num_heads, asserted
 * Statuses as tree_attention_ref, without TREE_NOMEM: nothing is allocated. */
struct softmax_state; /* softmax_state.h */
tree_status tree_attention_ref_partials(struct softmax_state *partials, const float *query, const float *key,
                                        const float *value, const tree_plan *plan, uint32_t head,
                                        const tree_shape *shape, float scale);

#ifdef __cplusplus
}
#endif
#endif
