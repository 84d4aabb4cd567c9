/* kv_memory: K and V of a pool's blocks in all layers, as floats. */
#ifndef KV_MEMORY_H
#define KV_MEMORY_H

#include <stdbool.h>

#include "kv_branch.h"
#include "tree_shape.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kv_memory {
    uint32_t num_layers;
    tree_shape shape;     /* of one layer; num_queries is not used */
    uint64_t layer_slots; /* num_blocks * num_kv_heads * block_tokens: norms of a layer */
    float *key, *value;   /* [num_layers][num_blocks][num_kv_heads][block_tokens][head_dim] */
    float *norm;          /* [num_layers][num_blocks][num_kv_heads][block_tokens] value_norm; NULL: not kept */
    uint64_t copied_bytes;
} kv_memory;

/* false: out of memory, or more bytes than can be addressed; nothing is kept. */
bool kv_memory_create(kv_memory *memory, const tree_shape *shape, uint32_t num_layers, bool keeps_norms);
void kv_memory_destroy(kv_memory *memory);

/* num_tokens slots of a block, from `from_slot` on, to another place, in all layers. */
void kv_memory_copy(kv_memory *memory, uint32_t from_block, uint32_t from_slot, uint32_t to_block, uint32_t to_slot,
                    uint32_t num_tokens);

/* As kv_branch_fork, but the child gets blocks of its own with copies of all tokens. Statuses as kv_branch_create and
 * kv_branch_append; nothing has changed then. Not for a pool that evicts. */
kv_status kv_memory_copy_branch(kv_memory *memory, kv_pool *pool, kv_branch branch, kv_branch *child);

/* k and v [count][num_kv_heads][head_dim] of new tokens, into slots [count] (block * block_tokens + slot) of a
 * layer. */
void kv_memory_write(kv_memory *memory, uint32_t layer, const uint64_t *slots, uint32_t count, const float *k,
                     const float *v);

#ifdef __cplusplus
}
#endif
#endif
