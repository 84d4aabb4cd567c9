/* eviction_gpu: attention, importance and victims on an NVIDIA GPU, for every query of a plan. A ladder of its own, so
 * that fusion can be seen to pay: tree_eviction_steps.
 *
 * Rules as in tree_attention_gpu.h: all arrays are on the device; a call allocates nothing, synchronizes nothing, and
 * can be captured in a CUDA graph. */
#ifndef EVICTION_GPU_H
#define EVICTION_GPU_H

#include "importance.h"
#include "tree_attention_gpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The lists by which a plan's tokens are scored: which query and which slots of its table each piece of an item belongs
 * to. Made from a plan for one device; as tree_plan_gpu in all its rules. Wherever the plan needs tree_plan_gpu_update,
 * they need an update too; they do not depend on masks (tree_plan_gpu_update_masks). */
typedef struct tree_eviction_gpu tree_eviction_gpu;

/* Also TREE_UNSUPPORTED: more than 1024 query heads. */
tree_status tree_eviction_gpu_create(tree_eviction_gpu **eviction, const tree_plan *plan, const tree_shape *shape,
                                     cudaStream_t stream, int *cuda_error);
tree_status tree_eviction_gpu_update(tree_eviction_gpu *eviction, const tree_plan *plan, cudaStream_t stream,
                                     int *cuda_error);
void tree_eviction_gpu_destroy(tree_eviction_gpu *eviction);

/* A rung of the ladder of eviction. */
typedef struct tree_eviction_step {
    const char *name;   /* of its file: "evict_0_materialised" */
    const char *lesson; /* one sentence */
    bool needs_warpgroups;
    const struct tree_eviction_kernels *kernels; /* private to the library */
} tree_eviction_step;

extern const tree_eviction_step tree_eviction_steps[]; /* [tree_eviction_num_steps] in reading order */
extern const uint32_t tree_eviction_num_steps;

/* Whether the step takes this type, on the current device. */
bool tree_eviction_step_takes(const tree_eviction_step *step, tree_storage storage);

/* Bytes of workspace for this plan, shape and step, NULL as in tree_eviction_gpu_run. The fused steps keep the score of
 * each (query, token of its items, query head), 4 bytes, and at most 256 KB for each worker (two on each multiprocessor
 * of the current device). 0 if tree_plan_fits refuses, if no step takes the storage, or beyond an address space. */
size_t tree_eviction_gpu_workspace_bytes(const tree_plan *plan, const tree_shape *shape,
                                         const tree_eviction_step *step);

/* Attention as tree_attention_gpu; fp16 and bf16 only. And
 *   importance  [num_queries][num_slots] float, as tree_importance_ref, but slots that the query does not see are not
 *               written; NULL if only victims are wanted, num_slots does not matter then
 *   victims     [num_queries] keys of eviction_key, the smallest over the candidates of each query: EVICTION_NONE,
 *               EVICTION_NOT_FINITE; NULL if not wanted
 *   norm        [num_blocks][num_kv_heads][block_tokens] float: value_norm of each token, kv_norms_gpu
 *   positions   [num_blocks][block_tokens] position of the token in each slot: a copy of kv_pool_positions, kept up to
 *               date by the caller
 *   candidates  [num_queries] positions that may be evicted; NULL: all
 *   step        of tree_eviction_steps; NULL: the last step that takes shape->storage on this device
 * The same plan and step give the same bits each time: no sum depends on the order in which thread blocks run.
 * Returns as tree_attention_gpu; also TREE_BAD_SHAPE (the lists were made from another plan) and TREE_INVAL (num_slots
 * is smaller than the slots of the longest table; no norm; victims without positions; candidates not aligned to 8
 * bytes). */
tree_status tree_eviction_gpu_run(float *out, float *lse, float *importance, uint64_t num_slots, uint64_t *victims,
                                  const float *query, const void *key, const void *value, const float *norm,
                                  const uint32_t *positions, const eviction_range *candidates,
                                  const tree_plan_gpu *plan, const tree_eviction_gpu *eviction,
                                  const tree_shape *shape, float scale, void *workspace, size_t workspace_bytes,
                                  cudaStream_t stream, const tree_eviction_step *step, int *cuda_error);

#ifdef __cplusplus
}
#endif
#endif
