/* tree_attention_cpu: the fast path for the same attention. OpenMP over items and KV heads, SIMD chosen at run time.
 *
 * Same arguments as tree_attention_ref, plus a workspace that the caller owns; K and V in any tree_storage. Each K and
 * V tile of an item is loaded from memory once and used by all rows (queries x group_size) of the item while it is in
 * the L1 and L2 cache. The result has the same bits for any number of threads, because the plan fixes the order of
 * every sum. A NaN or infinity that a query does not see changes none of the query's bits.
 *
 * Precision, for K, V and queries as stored. Errors of out are in units of A = sum of weight x |value|.
 *   portable, avx2, avx512   All arithmetic is float. Sums do not drift: one float sum takes the 128 products of a
 *                            tile, another up to 32 tile sums, a double sum all of these: at most 176 x 2^-24 A.
 *   avx512_bf16, amx         With bf16 storage the weights exp(score - maximum) are rounded to bf16 for the product
 *                            with V. bf16 has 8 binary digits, so a weight is off by at most 2^-8 of itself, and out by
 *                            2^-8 A more; the sum of the weights is taken before rounding, so lse is as precise as
 *                            above. amx adds 32 products to a sum at a time, in another order than avx512_bf16. Both
 *                            take subnormal numbers (below 2^-126) as 0: bf16, and also products and sums. With other
 *                            storage both run as avx512.
 * On random data of variance 1 and 1000 tokens, the largest error of out is 3e-4 with avx512_bf16 and amx, and 1e-7
 * with the others. Which one TREE_ISA_AUTO takes: tree_isa_best. Pass TREE_ISA_AVX512 for float weights.
 *
 * Range: one float sum takes up to 4096 tokens of an item, so tokens x |value| must stay below 3e38.
 * tree_attention_ref, which sums in double, has no such limit. */
#ifndef TREE_ATTENTION_CPU_H
#define TREE_ATTENTION_CPU_H

#include "tree_isa.h"
#include "tree_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of workspace for this plan and shape with at most max_threads threads (0: OpenMP's default): the partial
 * states, and for each thread a queue of tiles. 0 if tree_plan_fits refuses. */
size_t tree_attention_cpu_workspace_bytes(const tree_plan *plan, const tree_shape *shape, uint32_t max_threads);

/* As tree_attention_ref.
 *   key, value   shape->storage
 *   query        float; with bf16 or fp16 storage it is rounded to the storage type first, as on a GPU
 *   workspace    [workspace_bytes], aligned to 64 bytes; contents do not matter, and nothing in it survives the call
 *   num_threads  0: OpenMP's default. The workspace must be sized for at least that many.
 *   isa          TREE_ISA_AUTO, or one that is available
 * After fork(): if the parent has called with several threads, the child must pass num_threads 1 or call from a thread
 * that it has started itself. Otherwise GCC's OpenMP waits forever for threads that the child does not have.
 * Returns the statuses of tree_plan_fits, TREE_UNSUPPORTED (isa not available), TREE_WORKSPACE (too small or
 * misaligned). Nothing is written on error. */
tree_status tree_attention_cpu(float *out, float *lse, const float *query, const void *key, const void *value,
                               const tree_plan *plan, const tree_shape *shape, float scale, void *workspace,
                               size_t workspace_bytes, uint32_t num_threads, tree_isa isa);

#ifdef __cplusplus
}
#endif
#endif
