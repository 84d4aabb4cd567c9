/* standard_attention_gpu: the baseline, three launches that write each intermediate result to memory. It shows what
 * unfused attention costs: standard_attention.h has the bytes of each array. On the GPU the copies of K and V have the
 * storage type, scores and weights are float.
 *
 *   gather            K and V of each query's path are copied, as if nothing were shared
 *   expand heads      K and V are copied once more for each query head
 *   attention         scores, softmax and weights x values, with scores and weights in memory */
#ifndef STANDARD_ATTENTION_GPU_H
#define STANDARD_ATTENTION_GPU_H

#include <cuda_runtime_api.h>

#include "tree_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The path of each query as a list of slots, in device memory; an engine has block tables instead. */
typedef struct standard_paths_gpu standard_paths_gpu;

/* Allocates and waits for the copy. Keeps no pointer into the tree. TREE_NOMEM, and as tree_gpu_device_check. On error
 * *paths is untouched. */
tree_status standard_paths_gpu_create(standard_paths_gpu **paths, const kv_tree *tree, int *cuda_error);

/* Waits for kernels that still read it. NULL is allowed. */
void standard_paths_gpu_destroy(standard_paths_gpu *paths);

/* 0 if the shape is refused or the arrays do not fit an address space. More than 4 x S x num_heads x head_dim elements,
 * for S tokens on all paths. */
size_t standard_attention_gpu_workspace_bytes(const standard_paths_gpu *paths, const tree_shape *shape);

/* As standard_attention_ref, enqueued on `stream`. Alignments, workspace and statuses as tree_attention_gpu. Any
 * storage, head_dim 64, 128 or 256. */
tree_status standard_attention_gpu(float *out, float *lse, const float *query, const void *key, const void *value,
                                   const standard_paths_gpu *paths, const tree_shape *shape, float scale,
                                   void *workspace, size_t workspace_bytes, cudaStream_t stream, int *cuda_error);

#ifdef __cplusplus
}
#endif
#endif
