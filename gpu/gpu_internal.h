/* Shared by the files of gpu/: a plan on the device, CUDA's errors as statuses, the launchers of the steps. */
#ifndef GPU_INTERNAL_H
#define GPU_INTERNAL_H

#include "tree_attention_gpu.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tree_plan_gpu {
    tree_plan plan;               /* numbers as on the host, arrays in device memory, no growth */
    const uint32_t *partial_item; /* [num_partials] item that writes it; in device memory */
    void *memory;                 /* holds all of them */
};

/* A launcher has the type of tree_gpu_step.launch. */
cudaError_t step_0_naive(float *out, float *lse, const float *query, const void *key, const void *value,
                         const tree_plan *device_plan, const uint32_t *partial_item, const tree_shape *shape,
                         float scale, void *workspace, cudaStream_t stream);

/* The status for CUDA's answer, which is also left in *cuda_error unless that is NULL. */
tree_status gpu_status(cudaError_t error, int *cuda_error);

/* What the driver says to loading a kernel that does nothing, but is built for the architectures of all others. */
cudaError_t gpu_probe_kernel(void);

#ifdef __cplusplus
}
#endif
#endif
