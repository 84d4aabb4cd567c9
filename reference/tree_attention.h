/* tree_attention: attention of many queries over a tree of KV blocks, by any plan. The specification.
 *
 *   what   out[q][h] = sum over the tokens t that q sees of softmax_t(scale * query[q][h] . key[t]) * value[t]
 *   price  about 100 times slower than tree_attention_cpu: plain loops, double accumulation, nothing reordered
 *   limits float storage only; any head_dim, any group size
 *   source DeFT, ICLR 2025; online softmax, Milakov & Gimelshein 2018; merge of partial states, Dao et al. 2023 */
#ifndef TREE_ATTENTION_H
#define TREE_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#include "tree_plan.h"
#include "tree_status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Type in which K and V are stored. Queries, out and lse are float on the CPU. */
typedef enum tree_storage { TREE_FP32 = 0, TREE_FP16, TREE_BF16 } tree_storage;

static inline size_t tree_storage_bytes(tree_storage storage) { return storage == TREE_FP32 ? 4 : 2; }

/*   query  [num_queries][num_heads][head_dim]                  out the same
 *   lse    [num_queries][num_heads]                            natural log
 *   key    [num_blocks][num_kv_heads][block_tokens][head_dim]  value the same; a head's part of a block is contiguous
 * Query head h reads KV head h / group_size, group_size = num_heads / num_kv_heads. */
typedef struct tree_shape {
    uint32_t num_queries;
    uint32_t num_heads, num_kv_heads;
    uint32_t head_dim;
    uint32_t num_blocks, block_tokens;
    tree_storage storage;
} tree_shape;

/* TREE_OK; TREE_BAD_SHAPE if a field is 0 (num_queries may be), num_heads % num_kv_heads != 0, block_tokens is not a
 * power of two up to 256, storage is no tree_storage, a buffer would pass 2^48 elements, or the plan is for other
 * num_queries or block_tokens; TREE_BAD_PLAN if the plan names a block >= num_blocks. plan NULL: the shape alone.
 * Every attention function asks this first. */
tree_status tree_shape_check(const tree_shape *shape, const tree_plan *plan);

/* Index of the first element of (block, kv_head, slot) in key and value. 64 bits: pools pass 2^32 elements. */
static inline uint64_t tree_kv_offset(const tree_shape *shape, uint32_t block, uint32_t kv_head, uint32_t slot)
{
    return (((uint64_t)block * shape->num_kv_heads + kv_head) * shape->block_tokens + slot) * shape->head_dim;
}

/* Attention of each query over its own path in the tree.
 *   out    [num_queries][num_heads][head_dim]   written
 *   lse    [num_queries][num_heads]             natural log, written; NULL if not wanted
 *   query, key, value                           float; shape->storage must be TREE_FP32
 *   plan   items over these blocks, from tree_plan_build; the choice does not change the result beyond rounding
 *   scale  multiplies q.k, usually 1 / sqrt(head_dim)
 * A query that sees no token yields out = 0, lse = -infinity. A NaN in a visible key or value reaches the queries that
 * see it, and no other. A score of -infinity counts as no token; a score of +infinity or NaN gives NaN.
 * Returns as tree_shape_check, TREE_UNSUPPORTED for fp16 and bf16, TREE_NOMEM. Nothing is written on error.
 * Mirrors: tree_attention_cpu.c, gpu/ */
tree_status tree_attention_ref(float *out, float *lse, const float *query, const float *key, const float *value,
                               const tree_plan *plan, const tree_shape *shape, float scale);

#ifdef __cplusplus
}
#endif
#endif
