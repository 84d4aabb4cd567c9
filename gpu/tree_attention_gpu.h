/* tree_attention_gpu: the attention of tree_attention_ref on an NVIDIA GPU, as a ladder of kernels, tree_gpu_steps.
 *
 * All arrays are on the device. A call allocates nothing and synchronizes nothing: plan once, keep the workspace, call
 * it for every layer, capture it in a CUDA graph if you like. Every function uses the calling thread's current device.
 * Where a function takes cuda_error (may be NULL), it stores 0 there, or the cudaError_t behind the status. */
#ifndef TREE_ATTENTION_GPU_H
#define TREE_ATTENTION_GPU_H

#include <cuda_runtime_api.h>

#include "tree_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* TREE_OK: this machine can run the steps. TREE_NO_DEVICE, TREE_OLD_DRIVER, TREE_NO_KERNEL_IMAGE, TREE_NOMEM,
 * TREE_CUDA_ERROR. The first call in a process may take a second: CUDA starts. */
tree_status tree_gpu_device_check(int *cuda_error);

/* CUDA's description of a cuda_error, never NULL. */
const char *tree_cuda_error_string(int cuda_error);

/* A plan on the device, with the queue of tasks that the later steps run: made for one shape and one device. */
typedef struct tree_plan_gpu tree_plan_gpu;

/* Allocates, then enqueues a small kernel on `stream`, which reads pinned memory: work that follows on the same
 * stream sees the whole plan. The device reads 4 bytes for each block of the plan and for each KV head of a task, and
 * less than 80 for each range, item and query. Keeps no pointer into `plan`. The shape's num_queries and num_blocks may
 * differ from those of the calls.
 * TREE_BAD_SHAPE and TREE_BAD_PLAN as tree_plan_fits; TREE_UNSUPPORTED (head_dim other than 64, 128, 256);
 * TREE_OVERFLOW (more than 2^31 tasks, tiles, tokens or masks in the queue, 2^32 keys in the pool, 2^16 heads);
 * TREE_NOMEM; TREE_CUDA_ERROR if the stream is being captured; and as tree_gpu_device_check. On error *gpu_plan is
 * untouched. */
tree_status tree_plan_gpu_create(tree_plan_gpu **gpu_plan, const tree_plan *plan, const tree_shape *shape,
                                 cudaStream_t stream, int *cuda_error);

/* Replaces the plan, after tree_plan_grow or by another for the same shape, in the order of `stream`: kernels enqueued
 * there before still see the old one. It allocates, on the host as on the device, only if the new plan is larger than
 * all before; then it waits for the device. It waits until the device has read the update before the previous one. As
 * tree_plan_gpu_create; on error nothing changed. */
tree_status tree_plan_gpu_update(tree_plan_gpu *gpu_plan, const tree_plan *plan, cudaStream_t stream,
                                 int *cuda_error);

/* Replaces the masks alone, after tree_plan_set_keep on the plan that gpu_plan holds: copies 8 bytes for each masked
 * token and 64 queries, in the order of `stream`; where the plan before had no token with a mask of its own, it is sent
 * as a whole. TREE_INVAL: the plan differs in more than its masks (counts are compared, contents are not). Otherwise as
 * tree_plan_gpu_update. */
tree_status tree_plan_gpu_update_masks(tree_plan_gpu *gpu_plan, const tree_plan *plan, cudaStream_t stream,
                                       int *cuda_error);

/* A decode loop whose steps only lengthen paths needs no update: the plan on the device grows by itself. After
 * tree_plan_grow returned true for `plan`, the plan that gpu_plan was made from: whether the device can follow, with
 * one token more on each path that ends in a node of its own, and none on any other. Nothing is enqueued; where a path
 * begins a block, its id is left in pinned memory for the step. false: nothing has changed, call tree_plan_gpu_update.
 * Also false after 64 steps, where the plan has no more room, where paths have become too long for the kernels of step
 * 13, or where tokens have masks of their own (evicted ones). O(num_queries). */
bool tree_plan_gpu_grow(tree_plan_gpu *gpu_plan, const tree_plan *plan);

/* How many steps of this kind may follow without a call to tree_plan_gpu_grow, nor to kv_tree_grow and tree_plan_grow:
 * until a path begins a block, or the room ends. The next call then has the tokens of all of them. In such a step the
 * host has nothing to do for the plan. */
uint32_t tree_plan_gpu_steps_ahead(const tree_plan_gpu *gpu_plan);

/* Enqueues the step itself, a small kernel before the attention of all layers. Call it once for each step, the step of
 * an update included, which it leaves as it is; or capture it at the beginning of a graph that is launched once for
 * each step. The plan is then as after tree_plan_grow and tree_plan_gpu_update, bit for bit but for the deal: which
 * worker has a task, which no result depends on.
 * slots [num_queries] on the device, or NULL: the slot of the newest token of each path that grows, for kv_append_gpu;
 * KV_SKIP_SLOT of any other. TREE_INVAL: slots is not aligned to 8 bytes. Otherwise as tree_gpu_device_check. */
tree_status tree_plan_gpu_advance(tree_plan_gpu *gpu_plan, uint64_t *slots, cudaStream_t stream, int *cuda_error);

/* What is new in K and V, so that step 13 may load what is old before the previous launch has ended (early launch).
 *   new_slots  [num_new_slots] on the device, aligned to 8 bytes: slots as kv_append_gpu takes them, KV_SKIP_SLOT:
 *              none. Each attention call reads it, as it reads the plan. A slot stands for its whole block. So the
 *              slots of this step's new tokens, the array of kv_append_gpu, are enough where a step writes only these
 *              and the copies that their append makes: a target of copy-on-write, or a reused block, holds a new token
 * The caller promises, for each attention call from now on: all other K and V that the plan names were written before
 * the last tree_plan_gpu_update or tree_plan_gpu_advance of this plan, in the order of the stream, and are not written
 * again before the call; new_slots was written before it too, or by this tree_plan_gpu_advance. Both calls wait for all
 * work before them, and later work waits for them. Replayed graphs keep new_slots and num_new_slots.
 * NULL, as after tree_plan_gpu_create: nothing is promised, and all K and V wait. More than 32 slots: the same. Later
 * updates keep what was said last. TREE_INVAL: new_slots is misaligned. */
tree_status tree_plan_gpu_new_slots(tree_plan_gpu *gpu_plan, const uint64_t *new_slots, uint32_t num_new_slots);

/* Changes with other new_slots, and where an update has moved the plan's arrays, changed the number of queries or how
 * the last steps are launched: then captured calls of tree_plan_gpu_advance and tree_attention_gpu have to be captured
 * again. As long as it stays, they may be replayed with every later plan: those of steps 8 and later, with a workspace
 * that is large enough for it. A captured call of an earlier step holds the sizes of one plan. */
uint64_t tree_plan_gpu_version(const tree_plan_gpu *gpu_plan);

/* Waits for kernels that still read the plan. NULL is allowed. */
void tree_plan_gpu_destroy(tree_plan_gpu *gpu_plan);

/* A rung of the ladder. */
typedef struct tree_gpu_step {
    const char *name;   /* of its file: "step_0_naive" */
    const char *lesson; /* one sentence */
    uint32_t storages;  /* bit 1 << storage: the step takes this type */
    bool needs_warpgroups; /* compute capability 9.x, and a library built for sm_90a */
    const struct tree_gpu_kernels *kernels; /* private to the library */
} tree_gpu_step;

extern const tree_gpu_step tree_gpu_steps[]; /* [tree_gpu_num_steps] in reading order */
extern const uint32_t tree_gpu_num_steps;

/* Whether the step takes this type, on the current device. */
bool tree_gpu_step_takes(const tree_gpu_step *step, tree_storage storage);

/* Bytes of workspace for this plan and shape, enough for every step: the partial states. Their elements have
 * shape->storage, and each rounding adds up to half a unit in the last place to the error of out; fp16: where every V
 * that a row sees is the largest number, 65504, out may be infinite. 0 if tree_plan_fits refuses, or if they do not
 * fit an address space. */
size_t tree_attention_gpu_workspace_bytes(const tree_plan *plan, const tree_shape *shape);

/* As tree_attention_ref, enqueued on `stream`.
 *   out, query      float, aligned to 16 bytes; lse float, or NULL. Steps that take no fp32 (4 and later) round the
 *                   queries to shape->storage
 *   key, value      shape->storage, aligned to 16 bytes
 *   plan            of the same device, made for the same num_heads, num_kv_heads, head_dim, block_tokens and storage;
 *                   calls with one plan follow each other: the same stream, or ordered by events
 *   workspace       [workspace_bytes] on the device, aligned to 256 bytes; its contents do not matter before the call
 *                   or after; calls that may overlap need one each
 *   step            of tree_gpu_steps: the kernels that run; NULL: the last step that takes shape->storage on this
 *                   device
 * head_dim is 64, 128 or 256. The same plan and step give the same bits each time.
 * Scores follow tree_attention_ref wherever float holds them: a finite one may have any size, -infinity is no token,
 * NaN or +infinity makes the row NaN, scale 0 gives the mean of the visible values (NaN where a visible key is
 * infinite). Sums over tokens run in double if K and V are fp32, otherwise in float: of 131,072 equal values in one
 * item, out was off by up to 1.3e-3 of itself (H200, test_gpu_scores); a plan that cuts the item keeps it near 1e-4.
 * Steps 12 and 13 may overlap earlier work in the stream if that work allows it (programmatic dependent launch, sm_90:
 * an earlier call does, other kernels if they say so). Until that work has ended, they read only the plan, and step 13
 * the K and V that tree_plan_gpu_new_slots calls old.
 * Returns as tree_plan_fits; TREE_BAD_SHAPE (the plan was made for another shape); TREE_UNSUPPORTED (the step does
 * not take this storage, or not on this device); TREE_INVAL (an array is misaligned);
 * TREE_WORKSPACE (too small, misaligned); TREE_OVERFLOW (more partial states, or queries x heads, than one launch can
 * have thread blocks); and if CUDA refuses a launch, as tree_gpu_device_check. out and lse are not written on error. */
tree_status tree_attention_gpu(float *out, float *lse, const float *query, const void *key, const void *value,
                               const tree_plan_gpu *plan, const tree_shape *shape, float scale, void *workspace,
                               size_t workspace_bytes, cudaStream_t stream, const tree_gpu_step *step,
                               int *cuda_error);

#ifdef __cplusplus
}
#endif
#endif
