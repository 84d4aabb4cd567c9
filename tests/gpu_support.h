/* gpu_support: the code that the GPU tests share. An attention case on the device, which every step and plan can
 * run. */
#ifndef GPU_SUPPORT_H
#define GPU_SUPPORT_H

#include <cuda_runtime_api.h>

#include "attention_model.h"
#include "tree_attention_gpu.h"

/* Skips the case where there is no GPU to run it; fails it if REQUIRE_GPU is set, and not to 0. */
void need_gpu(void);

void cuda_ok(cudaError_t error, const char *what);

/* Fails the case unless the status is TREE_OK and *cuda_error, CUDA's own status of the same call, is 0. */
void gpu_ok(tree_status status, const int *cuda_error, const char *what);

/* Device memory full of 0xff bytes, which are NaN in every storage type, between two zones of them that must not be
 * touched. */
typedef struct d_array {
    char *data, *storage;
    size_t bytes;
} d_array;

d_array d_create(size_t bytes);
d_array d_copy_of(const void *h_data, size_t bytes);
void d_write(d_array *array, size_t offset, const void *h_data, size_t bytes);
void d_clear(d_array *array); /* 0xff again */

/* Checks the zones, copies the data to h_data unless that is NULL; returns whether anything was written to it. */
bool d_read(const d_array *array, void *h_data, const char *what);
void d_destroy(d_array *array);

/* The floats as the storage type holds them; to be freed. */
void *stored_create(const float *array, uint64_t count, tree_storage storage);
void stored_copy(void *stored, const float *array, uint64_t count, tree_storage storage);

bool takes_storage(const tree_gpu_step *step, tree_storage storage);

/* Whether a test that runs every step runs this one: if it takes the storage. Emulated, because fibers are slow, steps
 * that share most of their lines run with one of the two storage types of 16 bits each: 6 and 7, 10 to 13; and 8, which
 * has the loop of 7 and the merge of 9. */
bool runs_step(const tree_gpu_step *step, tree_storage storage);

/* The last step that does. */
const tree_gpu_step *last_step(tree_storage storage);

/* The backend for attention_case_build: K, V and queries rounded to this type. */
const attention_backend *storage_backend(tree_storage storage);
extern const char *const storage_name[3];

/* Steps that take no fp32 are those on tensor cores: weights rounded to the storage type, sums to 2^-22. */
roundoffs gpu_roundoffs(const tree_gpu_step *step, tree_storage storage);

/* An attention case on the device. Memory is allocated once, the plan is exchanged. */
typedef struct gpu_case {
    const attention_case *c;
    d_array query, key, value, out, lse, workspace;
    size_t workspace_bytes;
    tree_plan_gpu *plan;
    float *h_out, *h_lse; /* of the last run */
} gpu_case;

void gpu_case_create(gpu_case *gpu, const attention_case *c);
void gpu_case_destroy(gpu_case *gpu);

/* Uploads queries, K and V once more, after those of the case were changed. */
void gpu_case_upload(gpu_case *gpu);

/* The first plan is created, those that follow update it. Leaves a workspace of its size, full of NaN. */
void gpu_case_plan(gpu_case *gpu, const tree_plan *plan);

/* Leaves the result in h_out and h_lse; nothing else but the workspace is written. The workspace holds the leftovers
 * of the run before, unless d_clear(&gpu->workspace) comes between. */
void gpu_case_run(gpu_case *gpu, const tree_gpu_step *step);

/* As gpu_case_run without the copy back: enqueued on a stream, to out and lse given. */
void gpu_case_enqueue(gpu_case *gpu, const tree_gpu_step *step, float *out, float *lse, cudaStream_t stream);

/* Every step that runs (runs_step) with the storage of the case, on the plan of each strategy of the mask (bit 1 <<
 * strategy), is within the limit, and gives the same bits again from the workspace that it left. Returns the worst
 * error / limit. */
enum { ALL_STRATEGIES = (1 << TREE_NUM_STRATEGIES) - 1 };
double gpu_check_case(const attention_case *c, uint32_t strategies);

/* The same with one plan. piece_tokens 0: the strategy's own. */
double gpu_check_plan(const attention_case *c, tree_strategy strategy, uint32_t piece_tokens);

bool query_sees(const attention_case *c, uint32_t query, uint64_t slot);

#endif
