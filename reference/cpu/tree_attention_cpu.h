/* tree_attention_cpu: the same attention, fast. OpenMP over (item, KV head), SIMD chosen at run time.
 *
 * Same arguments as tree_attention_ref, plus the workspace that the caller owns; K and V in any tree_storage.
 * Each K and V tile of an item is loaded from memory once and meets all rows (queries x group_size) of the item while
 * it is in the L1 and L2 cache. One thread or many: the same bits, because the plan fixes the order of every sum; a
 * NaN or infinity that a query does not see changes none of its bits either.
 *
 * Sums do not drift: float adds the 128 products of a tile, then up to 32 tile sums; beyond that, double. Their error
 * is at most 176 x 2^-24 of the sum of weight x |value|, however many tokens there are. Up to 4096 tokens of an item
 * meet in one float: tokens x |value| must stay below 3e38, where tree_attention_ref goes on. */
#ifndef TREE_ATTENTION_CPU_H
#define TREE_ATTENTION_CPU_H

#include "tree_isa.h"
#include "tree_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of workspace for this plan and shape with at most max_threads threads: partial states and a tile per thread.
 * 0 if tree_plan_fits refuses. */
size_t tree_attention_cpu_workspace_bytes(const tree_plan *plan, const tree_shape *shape, uint32_t max_threads);

/* As tree_attention_ref.
 *   key, value   shape->storage
 *   query        float; with bf16 or fp16 storage it is rounded to the storage type first, as on a GPU
 *   workspace    [workspace_bytes], aligned to 64 bytes; contents do not matter, nothing survives the call
 *   num_threads  0: OpenMP's default. The workspace must be sized for at least that many.
 *   isa          TREE_ISA_AUTO, or one that is available
 * After fork(), the child of a process that has called with several threads passes num_threads 1, or calls from a
 * thread that it has started itself; otherwise GCC's OpenMP waits for ever for threads that the child does not have.
 * Also TREE_WORKSPACE (too small, misaligned), TREE_UNSUPPORTED (isa not available). Nothing is written on error. */
tree_status tree_attention_cpu(float *out, float *lse, const float *query, const void *key, const void *value,
                               const tree_plan *plan, const tree_shape *shape, float scale, void *workspace,
                               size_t workspace_bytes, uint32_t num_threads, tree_isa isa);

#ifdef __cplusplus
}
#endif
#endif
