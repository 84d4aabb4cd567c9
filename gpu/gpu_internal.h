/* Shared by the files of gpu/: the arguments of every rung, a plan on the device, CUDA's errors as statuses. */
#ifndef GPU_INTERNAL_H
#define GPU_INTERNAL_H

#include "few_rows.h"
#include "plan_outline.h"
#include "plan_queue.h"
#include "tree_attention_gpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Passed to each kernel by value. All pointers are device memory. */
typedef struct attention_arguments {
    float *out, *lse; /* lse may be NULL */
    const float *query;
    const void *key, *value; /* shape.storage */
    tree_shape shape;
    float scale;
    tree_plan plan;               /* counts as on the host, arrays on the device, no growth */
    const uint32_t *partial_item; /* [num_partials] the item of each partial state */
    plan_queue queue;             /* counts as on the host, arrays on the device */
    few_rows few;                 /* from step 13 */
    uint32_t *arrivals; /* [1 + num_kv_heads] counters of workers that have finished: [0] all of them; [1 + h] in
                           a small queue, those of KV head h. 0 between launches, but for the highest bit of [0] */
    float *m, *l; /* [num_partials][num_heads] */
    void *o;      /* [num_partials][num_heads][head_dim] shape.storage: divided by l, so that no element exceeds V;
                     in fragment order from step 7 on (merge_ahead.cuh) */
} attention_arguments;

/* Memory for lists (plan_memory.cuh): on the device, and twice in pinned memory, because the copy of one update may
 * still be running while the host writes the next. */
typedef struct plan_memory {
    size_t capacity;       /* a multiple of 16 */
    char *device;          /* [capacity] */
    char *staging;         /* [2][capacity] pinned */
    uint32_t turn;         /* half of staging that the next update writes */
    cudaEvent_t copied[2]; /* after the copy from each half */
} plan_memory;

/* Outlines on their way to the device, whose kernel reads them in pinned memory. There are two places, because the
 * kernel of one update may still read while the host writes the next. */
typedef struct outline_memory {
    size_t capacity;          /* a multiple of 16 */
    char *device;             /* [capacity] */
    char *staging;            /* [2][capacity] pinned */
    uint64_t number;          /* of outlines and masks that were sent: place number % 2 of staging */
    volatile uint64_t *taken; /* pinned: the last number that the device has read */
    uint32_t *barrier;        /* on the device, of wait_for_all */
} outline_memory;

/* Elements of the arrays of a plan on the device, that they have room for. */
typedef struct plan_room {
    uint64_t items, ranges, blocks, queries, partials, mask_words, tasks, tiles, tokens, masks;
} plan_room;

enum { NEW_BLOCK_TURNS = 3 }; /* updates whose new blocks are kept: those that steps may still read, and one to write */

/* The part of attention_arguments that depends on the plan. Its arrays are in `arrays` and keep their places from plan
 * to plan, as long as these fit; plan_fill.cu fills them in from the outline in outline.device. */
struct tree_plan_gpu {
    tree_shape shape; /* that the plan was made for */
    uint32_t num_workers;
    tree_plan plan;
    plan_queue queue;
    uint32_t *partial_item, *arrivals;
    few_token *few_tokens; /* [few_capacity], whether the plan is such or not */
    uint32_t few_capacity;
    bool fills_few, is_few; /* they are filled in; step 13 reads them */
    const uint64_t *new_slots; /* of the caller */
    uint32_t num_new_slots;
    outline_memory outline;
    plan_room room;
    char *arrays;                 /* [arrays_bytes] */
    size_t arrays_bytes;
    uint32_t *new_blocks;         /* [NEW_BLOCK_TURNS][most_blocks] pinned */
    uint64_t most_blocks;
    uint32_t turn;                /* of new_blocks */
    uint32_t steps, steps_ahead;  /* that the host has seen since the update; that it need not see before the next */
    const plan_outline *h_outline; /* as it was sent; NULL: masks were sent since, from the same memory */
    bool has_token_masks;          /* of the outline on the device */
    uint32_t mask_place;           /* its mask_words */
    uint64_t version;
    outline_builder builder;
};

/* Enqueues the kernels of a step. All arguments have been checked. */
typedef cudaError_t step_launch(const attention_arguments *a, cudaStream_t stream);

typedef struct tree_gpu_kernels {
    step_launch *launch;
} tree_gpu_kernels;

/* gpu/ladder/ */
cudaError_t step_0_naive(const attention_arguments *a, cudaStream_t stream);
cudaError_t step_1_coalesced(const attention_arguments *a, cudaStream_t stream);
cudaError_t step_2_split(const attention_arguments *a, cudaStream_t stream);
cudaError_t step_3_shared_tile(const attention_arguments *a, cudaStream_t stream);
cudaError_t step_4_tensor_cores(const attention_arguments *a, cudaStream_t stream);
cudaError_t step_5_pipeline(const attention_arguments *a, cudaStream_t stream);
cudaError_t step_6_queue(const attention_arguments *a, cudaStream_t stream);
cudaError_t step_7_merge_ahead(const attention_arguments *a, cudaStream_t stream);
cudaError_t step_8_one_launch(const attention_arguments *a, cudaStream_t stream);
cudaError_t step_9_masks(const attention_arguments *a, cudaStream_t stream);
cudaError_t step_10_warpgroup(const attention_arguments *a, cudaStream_t stream);
cudaError_t step_11_last_arriver(const attention_arguments *a, cudaStream_t stream);
cudaError_t step_12_early_launch(const attention_arguments *a, cudaStream_t stream);
cudaError_t step_13_few_rows(const attention_arguments *a, cudaStream_t stream);

/* The last step of the table that takes this storage on the current device; NULL if none does. */
const tree_gpu_step *tree_gpu_last_step(tree_storage storage);

/* Whether the current device runs steps that need warpgroups. */
bool gpu_has_warpgroups(void);

/* Fills the arguments of a step. As tree_plan_fits; TREE_BAD_SHAPE: the plan was made for another shape. */
tree_status attention_fill(attention_arguments *a, float *out, float *lse, const float *query, const void *key,
                           const void *value, const tree_plan_gpu *plan, const tree_shape *shape, float scale,
                           void *workspace, size_t workspace_bytes);

/* TREE_INVAL, TREE_OVERFLOW and TREE_WORKSPACE as tree_attention_gpu. */
tree_status attention_check(const attention_arguments *a, const void *workspace, size_t workspace_bytes);

/* Sets m, l and o of the arguments to their places in a workspace, which depend on its size alone: a captured launch
 * may run later plans. */
void attention_place_partials(attention_arguments *a, void *workspace, size_t workspace_bytes);

/* The status for a CUDA error, which is also stored in *cuda_error unless that is NULL. */
tree_status gpu_status(cudaError_t error, int *cuda_error);

/* The error of loading an empty kernel, which is built for the same architectures as all others. */
cudaError_t gpu_probe_kernel(void);

/* How many workers (thread blocks of the steps with a queue) the current device runs at once. */
cudaError_t gpu_num_workers(uint32_t *num_workers);

#ifdef __cplusplus
}
#endif
#endif
