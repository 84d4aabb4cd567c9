/* gpu_bench: one call of tree attention on this GPU, cold and warm, beside its floor, for programs in C: treeattn
 * bench --gpu and make rung. As the figures measure it: measure_gpu.h. */
#ifndef GPU_BENCH_H
#define GPU_BENCH_H

#include "gpu_protocol.h"
#include "tree_plan.h"
#include "workload.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GPU_BENCH_LAST_RUNG = -1 };

typedef struct gpu_bench_request {
    workload *work;     /* freed by a measurement; its step `iteration`, from 1, has at least one query */
    uint32_t iteration;
    tree_shape shape;   /* num_heads, num_kv_heads, head_dim (64, 128, 256), storage (fp16, bf16); the others are not read */
    tree_strategy strategy;
    int rung;           /* of the ladder, or GPU_BENCH_LAST_RUNG: the last that runs on this GPU */
} gpu_bench_request;

typedef struct gpu_bench_result {
    char device[512];   /* name, caches, driver, clocks */
    char rung[64];      /* its name: "step_12_early_launch" */
    double dram_gbps, l2_gbps, matrix_tflops, launch_us; /* ceilings, measured in this run: bench_ceilings */
    double cold_us;     /* NAN: all sets of so small a tree stay in the L2 cache */
    double warm_us;
    double floor_us;    /* of a perfect kernel, cold: bench_floor; NAN as cold_us */
    double plan_us, upload_us; /* on the host */
    double max_error;   /* of out in some rows; a wrong result ends the program */
    uint32_t num_queries, num_items, num_partials;
    uint64_t unique_bytes, plan_bytes, logical_bytes; /* tree_traffic */
    uint64_t workspace_bytes;
} gpu_bench_result;

typedef enum gpu_bench_status {
    GPU_BENCH_OK,
    GPU_BENCH_NO_GPU,   /* none that can run this, or a program that was built without CUDA */
    GPU_BENCH_BAD_INPUT /* a rung that is none, or more memory than the GPU has free */
} gpu_bench_status;

enum { GPU_BENCH_WHY = 512 };

/* Takes a few seconds. Other than GPU_BENCH_OK: `why` has one sentence, the result is not filled, and work stays the
 * caller's. A failure of CUDA on the way ends the program with one line and status 1. */
gpu_bench_status gpu_bench_measure(gpu_bench_result *result, const gpu_bench_request *request, char why[GPU_BENCH_WHY]);

#ifdef __cplusplus
}
#endif
#endif
