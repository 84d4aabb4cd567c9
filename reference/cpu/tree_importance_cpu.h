/* tree_importance_cpu: tree_importance_ref on the fast path. It keeps the scores of the attention pass, so it reads
 * keys and values once: docs/fast_path.md. */
#ifndef TREE_IMPORTANCE_CPU_H
#define TREE_IMPORTANCE_CPU_H

#include "tree_attention_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of workspace: that of tree_attention_cpu, and 4 bytes for each (query, token of its items, query head), where
 * the tokens of an item are rounded up to 128. 0 if tree_plan_fits refuses. */
size_t tree_importance_cpu_workspace_bytes(const tree_plan *plan, const tree_shape *shape, uint32_t max_threads);

/* As tree_attention_cpu, with the same bits in out and lse; importance, norm and num_slots as in
 * tree_importance_ref. importance has the same bits for any number of threads.
 * Precision. All arithmetic on scores and weights is float, with avx512_bf16 and amx too. With B = the largest |scale|
 * x sum over d of |q_d k_td| of a query, each of its importances is off by at most (4 sqrt(head_dim) B + 34) x 2^-24
 * of itself. */
tree_status tree_importance_cpu(float *out, float *lse, float *importance, uint64_t num_slots, const float *query,
                                const void *key, const void *value, const float *norm, const tree_plan *plan,
                                const tree_shape *shape, float scale, void *workspace, size_t workspace_bytes,
                                uint32_t num_threads, tree_isa isa);

#ifdef __cplusplus
}
#endif
#endif
