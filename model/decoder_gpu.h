/* decoder_gpu: transformer_gpu for a program that must also start where there is no CUDA: the library with the kernels
 * is loaded when it is needed. */
#ifndef DECODER_GPU_H
#define DECODER_GPU_H

#include "transformer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Functions as those of transformer.h; each takes self first. */
typedef struct decoder_gpu {
    void *self;
    model_status (*step)(void *self, const kv_branch *branches, const uint32_t *tokens, uint32_t num_branches,
                         float *logits);
    model_status (*copy_branch)(void *self, kv_branch branch, kv_branch *child);
    void (*get_counts)(const void *self, transformer_counts *counts);
    const char *(*message)(const void *self); /* about the last MODEL_NOMEM or MODEL_DEVICE */
    void (*close)(void *self);
} decoder_gpu;

/* The model in fp16, with its matrices on the current device. max_branches 0: 64; plan as in transformer_gpu_config.
 * As transformer_gpu_create; MODEL_DEVICE also where this program was built without CUDA or without cuBLAS, or its
 * library cannot be loaded. One sentence in message[message_bytes]. On error *decoder is untouched. */
model_status decoder_gpu_open(decoder_gpu *decoder, const model_weights *weights, kv_pool *pool, uint32_t max_branches,
                              const tree_plan_config *plan, char *message, size_t message_bytes);

#ifdef __cplusplus
}
#endif
#endif
