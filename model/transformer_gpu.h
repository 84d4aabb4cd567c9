/* transformer_gpu: transformer.h's decoding step on the GPU: products by cuBLAS, attention by tree_attention_gpu, a
 * step one CUDA graph. The same code runs the small model of model/ and shapes of the size of Llama-3-8B.
 *
 *   weights_gpu_create(&w, weights, TREE_FP16, ...)          once
 *   transformer_gpu_create(&t, w, pool, &config, ...)
 *   transformer_gpu_step(t, branches, tokens, 2, logits, NULL)
 *
 * The caller owns the pool and forks, prunes and truncates its branches, as with transformer.h. The matrices, K and V,
 * and what a product reads have 16 bits; sums, and the vector that the layers add to, are float. All functions use the
 * calling thread's current device. */
#ifndef TRANSFORMER_GPU_H
#define TRANSFORMER_GPU_H

#include <cuda_runtime_api.h>

#include "transformer.h"
#include "tree_attention_gpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A model's matrices on the device, in fp16 or bf16. Several transformers may read them. */
typedef struct weights_gpu weights_gpu;

/* MODEL_UNSUPPORTED: storage is fp32, head_dim is not 64, 128 or 256, or width or hidden is no multiple of 8;
 * MODEL_INVAL: a number of the shape is 0, or heads is no multiple of kv_heads; MODEL_NOMEM; MODEL_DEVICE. One sentence
 * in message[message_bytes], which may be NULL. On error *w is untouched. */
model_status weights_gpu_create(weights_gpu **w, const model_weights *weights, tree_storage storage, char *message,
                                size_t message_bytes);

/* Random numbers, made on the device, of a size that keeps activations near 1: for measurements. The shape has no
 * limits but those of the device. A seed gives the same numbers on every device. */
model_status weights_gpu_create_random(weights_gpu **w, const model_shape *shape, tree_storage storage, uint32_t seed,
                                       char *message, size_t message_bytes);
void weights_gpu_destroy(weights_gpu *w);

/* Bytes of the matrices that the products of a step load. */
uint64_t weights_gpu_bytes(const weights_gpu *w);

/* Attention of one layer, to be enqueued on `stream`, for a caller that replaces it: a measurement. All arrays are on
 * the device. */
typedef struct transformer_gpu_attention {
    uint32_t layer;
    float *out;               /* [num_queries][heads][head_dim] to be written */
    const float *query;
    const void *key, *value;  /* of this layer */
    const kv_tree *tree;
    const tree_plan_gpu *plan;
    const tree_shape *shape;
    float scale;
    void *workspace;
    size_t workspace_bytes;
    cudaStream_t stream;
} transformer_gpu_attention;
typedef tree_status transformer_gpu_attend(void *context, const transformer_gpu_attention *attention, int *cuda_error);

typedef struct transformer_gpu_config {
    uint32_t max_branches;   /* rows of a step, whether branches use them or not; 0: 64 */
    tree_plan_config plan;   /* strategy; group_size and num_workers are filled in where 0 */
    transformer_gpu_attend *attend; /* NULL: the transformer's own */
    void *context;           /* of attend */
    bool captures_always;    /* a new graph for each step: for an attend that depends on the tree */
} transformer_gpu_config;

typedef struct transformer_gpu transformer_gpu;

/* w and pool must live as long as the transformer; the pool is empty, or K and V of its tokens are unknown (finite, but
 * any numbers). MODEL_UNSUPPORTED: a pool that evicts; MODEL_NOMEM: K and V of the whole pool are allocated here;
 * MODEL_DEVICE. On error *t is untouched; message as weights_gpu_create. */
model_status transformer_gpu_create(transformer_gpu **t, const weights_gpu *w, kv_pool *pool,
                                    const transformer_gpu_config *config, char *message, size_t message_bytes);
void transformer_gpu_destroy(transformer_gpu *t);

/* Appends tokens[i] to branches[i], for all branches or for none, and waits for the result.
 *   logits  [num_branches][vocabulary] of the next token, on the host; NULL if not wanted
 *   next    [num_branches] the token of the largest logit; NULL if not wanted
 * MODEL_INVAL, MODEL_CONTEXT, MODEL_NOBLOCKS, MODEL_STALE as transformer_step: nothing has changed. MODEL_NOMEM,
 * MODEL_DEVICE: every branch has its tokens as before, but may have a copy of its last block, whose K and V are unknown
 * if CUDA failed; transformer_gpu_message says why. */
model_status transformer_gpu_step(transformer_gpu *t, const kv_branch *branches, const uint32_t *tokens,
                                  uint32_t num_branches, float *logits, uint32_t *next);

/* As transformer_copy_branch. */
model_status transformer_gpu_copy_branch(transformer_gpu *t, kv_branch branch, kv_branch *child);

/* As transformer_get_counts. The parts of a step are not timed by themselves: rest_us has all of the device's time. */
void transformer_gpu_get_counts(const transformer_gpu *t, transformer_counts *counts);

/* One sentence about the last MODEL_NOMEM or MODEL_DEVICE. */
const char *transformer_gpu_message(const transformer_gpu *t);

/* ---- the parts of transformer_gpu_step, for a caller that appends by itself and takes times ---- */

/* Enqueues copies of copy-on-write, in all layers. */
model_status transformer_gpu_copy(transformer_gpu *t, const kv_copy *copies, uint32_t num_copies);

/* Tree and plan of these tables, which have their new tokens: sent to the device, or followed there
 * (tree_plan_gpu_grow). */
model_status transformer_gpu_plan(transformer_gpu *t, const kv_table *tables, uint32_t num_tables);

/* Captures a graph if the plan's version has changed; a step that is timed calls it before. */
model_status transformer_gpu_capture(transformer_gpu *t);

/* Enqueues the step of the tables that transformer_gpu_plan was given. */
model_status transformer_gpu_launch(transformer_gpu *t, const uint32_t *tokens);

/* The plan alone makes its step: instead of transformer_gpu_launch, for an iteration that a measurement leaves out. */
model_status transformer_gpu_skip(transformer_gpu *t);

/* Waits. logits, next: as transformer_gpu_step. */
model_status transformer_gpu_finish(transformer_gpu *t, float *logits, uint32_t *next);

cudaStream_t transformer_gpu_stream(const transformer_gpu *t);

/* Of the last transformer_gpu_plan, on the host. */
const kv_tree *transformer_gpu_host_tree(const transformer_gpu *t);
const tree_plan *transformer_gpu_host_plan(const transformer_gpu *t);
const tree_shape *transformer_gpu_shape(const transformer_gpu *t);

#ifdef __cplusplus
}
#endif
#endif
