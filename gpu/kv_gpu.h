/* kv_gpu: what the allocator asks of the memory that holds K and V, on the GPU: the copies of copy-on-write, and
 * the new rows of a decode step. Layout and storage as in tree_attention_gpu; a call works on one layer.
 *
 * The order of a step on one stream: the copies of kv_branch_append_many, the rows of the new tokens, attention. */
#ifndef KV_GPU_H
#define KV_GPU_H

#include <cuda_runtime_api.h>

#include "kv_branch.h"
#include "tree_shape.h"

#ifdef __cplusplus
extern "C" {
#endif

/* In both: key and value are aligned to 16 bytes and a row of head_dim elements is a multiple of 16 bytes; num_queries
 * and num_heads of the shape do not matter beyond tree_shape_check. TREE_BAD_SHAPE as tree_shape_check;
 * TREE_UNSUPPORTED (the row), TREE_INVAL (an array is misaligned; what each function says), TREE_OVERFLOW (more than
 * 2^31 thread blocks in a launch), and as tree_gpu_device_check. Nothing is written on error, but by copies that were
 * enqueued before CUDA refused to launch more. */

/* Carries out the copies in their order: a later one may read or write what an earlier one wrote. `copies` is on the
 * host and read before the return; one launch for up to 128 copies that do not touch each other's blocks.
 * TREE_INVAL: a block >= num_blocks, from_block and to_block the same, num_tokens > block_tokens. */
tree_status kv_copy_gpu(void *key, void *value, const kv_copy *copies, uint32_t num_copies, const tree_shape *shape,
                        cudaStream_t stream, int *cuda_error);

/* Writes row i to slot slots[i] = block * block_tokens + slot. Two rows must not have the same slot.
 *   key_rows, value_rows  [num_rows][num_kv_heads][head_dim]  shape->storage, on the device, aligned to 16 bytes
 *   slots                 [num_rows]  on the device, so that a captured graph may be given others; a slot beyond the
 *                         pool is not written: KV_NO_SLOT for the rows that only fill up a batch */
#define KV_NO_SLOT UINT64_MAX
tree_status kv_append_gpu(void *key, void *value, const void *key_rows, const void *value_rows, const uint64_t *slots,
                          uint32_t num_rows, const tree_shape *shape, cudaStream_t stream, int *cuda_error);

/* On the host: the slots of the last num_tokens tokens of a table, which has as many. */
void kv_last_slots(uint64_t *slots, const kv_table *table, uint32_t num_tokens, uint32_t block_tokens);

#ifdef __cplusplus
}
#endif
#endif
