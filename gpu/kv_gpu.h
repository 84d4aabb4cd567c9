/* kv_gpu: writing K and V in device memory: the copies of copy-on-write, the moves of compaction, and the keys and
 * values of new tokens, with the norms of values for eviction. Layout and storage as in tree_attention_gpu; a call
 * works on one layer.
 *
 * The order of a decode step on one stream: the copies of kv_branch_append_many (also of norms), the new tokens, their
 * norms, attention. */
#ifndef KV_GPU_H
#define KV_GPU_H

#include <cuda_runtime_api.h>

#include "kv_evict.h"
#include "tree_shape.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All functions: key and value are aligned to 16 bytes, norm to 4; head_dim elements are a multiple of 16 bytes;
 * num_queries and num_heads of the shape do not matter beyond tree_shape_check. TREE_BAD_SHAPE as tree_shape_check;
 * TREE_UNSUPPORTED (head_dim), TREE_INVAL (an array is misaligned, or norm is NULL; or the reason that the function
 * names), TREE_OVERFLOW (more than 2^31 thread blocks in a launch), and as tree_gpu_device_check. Nothing is written on
 * error, except by copies and moves that were enqueued before CUDA refused to launch more. */

/* Carries out the copies in their order: a later one may read or write what an earlier one wrote. `copies` is on the
 * host and read before the return; one launch for up to 128 copies that do not touch each other's blocks.
 * TREE_INVAL: a block >= num_blocks, from_block and to_block the same, num_tokens > block_tokens. */
tree_status kv_copy_gpu(void *key, void *value, const kv_copy *copies, uint32_t num_copies, const tree_shape *shape,
                        cudaStream_t stream, int *cuda_error);

/* Writes K and V of new token i to slots[i] = block * block_tokens + slot. No two tokens may have the same slot.
 *   new_keys, new_values  [num_tokens][num_kv_heads][head_dim]  shape->storage, on the device, aligned to 16 bytes
 *   slots                 [num_tokens]  on the device, so that a captured graph can be replayed with others; a slot
 *                         beyond the pool is not written: KV_SKIP_SLOT for tokens that only pad a batch */
#define KV_SKIP_SLOT UINT64_MAX
tree_status kv_append_gpu(void *key, void *value, const void *new_keys, const void *new_values, const uint64_t *slots,
                          uint32_t num_tokens, const tree_shape *shape, cudaStream_t stream, int *cuda_error);

/* Norms of the values in `slots` [num_tokens], as they are in the pool, rounded to its storage type:
 * norm[block][kv_head][slot] = sum over d of |value|, for eviction, in float and always in the same order. Call it
 * after kv_append_gpu with the same slots; a slot beyond the pool, KV_SKIP_SLOT, is skipped. */
tree_status kv_norms_gpu(float *norm, const void *value, const uint64_t *slots, uint32_t num_tokens,
                         const tree_shape *shape, cudaStream_t stream, int *cuda_error);

/* Carries out the moves of one kv_branch_compact or kv_branch_compact_shared, which do not depend on each other: K, V,
 * and norms unless norm is NULL. `moves` is on the host and read before the return; one launch for up to 240 moves.
 * TREE_INVAL: a block or slot beyond the pool. */
tree_status kv_move_gpu(void *key, void *value, float *norm, const kv_move *moves, uint32_t num_moves,
                        const tree_shape *shape, cudaStream_t stream, int *cuda_error);

/* kv_copy_gpu for norms: copies the norms of the first num_tokens slots of each copy. */
tree_status kv_copy_norms_gpu(float *norm, const kv_copy *copies, uint32_t num_copies, const tree_shape *shape,
                              cudaStream_t stream, int *cuda_error);

/* On the host: the last num_tokens slots of a table, which has at least as many. They are those of the newest tokens,
 * unless an append took a hole (kv_append). */
void kv_last_slots(uint64_t *slots, const kv_table *table, uint32_t num_tokens, uint32_t block_tokens);

#ifdef __cplusplus
}
#endif
#endif
