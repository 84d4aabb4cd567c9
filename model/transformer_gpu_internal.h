/* What transformer.cu (a step's kernels), transformer_gpu.cu (memory, plan, graph) and weights_gpu.cu share. */
#ifndef TRANSFORMER_GPU_INTERNAL_H
#define TRANSFORMER_GPU_INTERNAL_H

#include "branch_step.h"
#include "products.cuh"
#include "transformer_gpu.h"

/* Matrices [rows][columns] of the storage type, rows outputs; norms float. All on the device. */
struct layer_gpu {
    const float *attention_norm, *mlp_norm; /* [width] */
    const void *qkv;     /* [(heads + 2 kv_heads) head_dim][width] */
    const void *out;     /* [width][heads head_dim] */
    const void *gate_up; /* [2 hidden][width] gate, then up */
    const void *down;    /* [width][hidden] */
};

struct weights_gpu {
    model_shape shape;
    tree_storage storage;
    char *matrices;
    float *norms; /* [2 layers + 1][width] */
    uint64_t num_elements;
    const void *embedding; /* [vocabulary][width] also the head */
    const float *final_norm;
    layer_gpu *layers;
};

/* A place of a step: the new token of a branch. Slot KV_SKIP_SLOT: no branch is here. */
struct place {
    uint32_t token, position;
    uint64_t slot;
};

struct transformer_gpu {
    transformer_gpu_config config;
    const weights_gpu *weights;
    kv_pool *pool;
    tree_shape shape;  /* of attention */
    uint64_t kv_bytes; /* of K of one layer */
    cudaStream_t stream;
    products multiplier;
    /* on the device, a row for each place */
    float *x, *y, *query, *attended, *logits; /* y: the result of a product that is not added to x */
    void *h;
    float2 *turns;
    place *places;
    char *kv; /* K, then V, of each layer */
    void *workspace;
    size_t workspace_bytes;
    /* pinned: the host writes `given` before a step; the step writes `next` */
    place *given;
    uint32_t *next;
    /* the plan, as in docs/examples/decode_loop.cu */
    uint32_t num_tables, steps_ahead;
    kv_table *tables; /* [max_branches] */
    kv_tree *tree;
    tree_plan *plan;
    tree_plan_gpu *gpu_plan;
    uint64_t version; /* of the plan that the graph was captured with */
    cudaGraphExec_t graph;
    /* of transformer_gpu_step */
    branch_step step; /* room for the new tokens: its plan is not used */
    kv_copy *copies;  /* [max_branches] */
    transformer_counts counts;
    char message[200];
};

/* The first error of several calls; those behind it are not made. */
struct gpu_outcome {
    tree_status status;
    int cuda_error;
};

static inline void gpu_note(gpu_outcome *o, cudaError_t error)
{
    if (o->status != TREE_OK || error == cudaSuccess)
        return;
    o->status = error == cudaErrorMemoryAllocation ? TREE_NOMEM : TREE_CUDA_ERROR;
    o->cuda_error = error;
}

/* MODEL_OK; or the status, with a sentence in message. */
model_status gpu_outcome_status(const gpu_outcome *o, char *message, size_t message_bytes);

/* Enqueues all layers of a step. */
void transformer_gpu_enqueue(gpu_outcome *o, const transformer_gpu *t);

/* Random numbers from -size to size, in the storage type. */
cudaError_t weights_gpu_fill(void *to, uint64_t count, uint32_t seed, float size, tree_storage storage, cudaStream_t stream);

#endif
