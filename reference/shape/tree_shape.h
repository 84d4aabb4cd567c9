/* tree_shape: the sizes of one step of attention, and where an element lies in the pool. */
#ifndef TREE_SHAPE_H
#define TREE_SHAPE_H

#include <stddef.h>
#include <stdint.h>

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
 * power of two up to 256, storage is not a tree_storage, or a buffer would exceed 2^48 elements. */
tree_status tree_shape_check(const tree_shape *shape);

/* Index of the first element of (block, kv_head, slot) in key and value. 64 bits: a pool may have more than 2^32
 * elements. */
static inline uint64_t tree_kv_offset(const tree_shape *shape, uint32_t block, uint32_t kv_head, uint32_t slot)
{
    return (((uint64_t)block * shape->num_kv_heads + kv_head) * shape->block_tokens + slot) * shape->head_dim;
}

#ifdef __cplusplus
}
#endif
#endif
