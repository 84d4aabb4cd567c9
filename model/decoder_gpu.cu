/* The library that decoder_gpu_load.c loads. */
#include "decoder_gpu.h"

#include <stdlib.h>

#include "transformer_gpu.h"

struct decoder {
    weights_gpu *weights;
    transformer_gpu *transformer;
};

static model_status step(void *self, const kv_branch *branches, const uint32_t *tokens, uint32_t num_branches,
                         float *logits)
{
    return transformer_gpu_step(((decoder *)self)->transformer, branches, tokens, num_branches, logits, NULL);
}

static model_status copy_branch(void *self, kv_branch branch, kv_branch *child)
{
    return transformer_gpu_copy_branch(((decoder *)self)->transformer, branch, child);
}

static void get_counts(const void *self, transformer_counts *counts)
{
    transformer_gpu_get_counts(((const decoder *)self)->transformer, counts);
}

static const char *message_of(const void *self) { return transformer_gpu_message(((const decoder *)self)->transformer); }

static void close(void *self)
{
    decoder *d = (decoder *)self;
    transformer_gpu_destroy(d->transformer);
    weights_gpu_destroy(d->weights);
    free(d);
}

model_status decoder_gpu_open(decoder_gpu *result, const model_weights *weights, kv_pool *pool, uint32_t max_branches,
                              const tree_plan_config *plan, char *message, size_t message_bytes)
{
    decoder *d = (decoder *)calloc(1, sizeof *d);
    transformer_gpu_config config = {};
    config.max_branches = max_branches;
    config.plan = *plan;
    if (!d)
        return MODEL_NOMEM;
    model_status status = weights_gpu_create(&d->weights, weights, TREE_FP16, message, message_bytes);
    if (status == MODEL_OK)
        status = transformer_gpu_create(&d->transformer, d->weights, pool, &config, message, message_bytes);
    if (status != MODEL_OK)
        return close(d), status;
    *result = {d, step, copy_branch, get_counts, message_of, close};
    return MODEL_OK;
}
