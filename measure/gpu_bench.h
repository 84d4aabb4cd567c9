/* gpu_bench: tree attention on this GPU, for programs in C: one call, cold and warm, beside its floor (treeattn bench
 * --gpu, make rung), or several plans over one tree beside each other (treeattn tune). As the figures measure it:
 * measure_gpu.h. */
#ifndef GPU_BENCH_H
#define GPU_BENCH_H

#include "gpu_protocol.h"
#include "tree_plan.h"
#include "workload.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GPU_BENCH_LAST_RUNG = -1, GPU_BENCH_NAME = 256, GPU_BENCH_WHY = 512 };

typedef struct gpu_bench_request {
    workload *work;     /* freed by a measurement; its step `iteration`, from 1, has at least one query */
    uint32_t iteration;
    tree_shape shape;   /* num_heads, num_kv_heads, head_dim (64, 128, 256), storage (fp16, bf16); the others are not read */
    tree_strategy strategy;
    tree_prices prices; /* for cost; all 0: its own */
    int rung;           /* of the ladder, or GPU_BENCH_LAST_RUNG: the last that runs on this GPU */
} gpu_bench_request;

typedef struct gpu_bench_result {
    char device[512];   /* name, caches, driver, clocks */
    char gpu[GPU_BENCH_NAME]; /* the name alone */
    uint32_t num_multiprocessors;
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

/* Takes a few seconds. Other than GPU_BENCH_OK: `why` has one sentence, the result is not filled, and work stays the
 * caller's. A failure of CUDA on the way ends the program with one line and status 1. */
gpu_bench_status gpu_bench_measure(gpu_bench_result *result, const gpu_bench_request *request, char why[GPU_BENCH_WHY]);

/* The GPU at hand and its ceilings. */
typedef struct gpu_bench_gpu {
    char name[GPU_BENCH_NAME], driver[64], rung[64]; /* rung: the last that runs on it */
    uint32_t num_multiprocessors;
    uint64_t l2_bytes;
    double dram_gbps, l2_gbps, matrix_tflops, launch_us;
} gpu_bench_gpu;

/* Takes two seconds at the first call. GPU_BENCH_NO_GPU: `why` has one sentence. */
gpu_bench_status gpu_bench_look(gpu_bench_gpu *gpu, char why[GPU_BENCH_WHY]);

/* Cold times of the plans of configs[count] over the tree of the request, by the last rung: us[count]. The replays of
 * the plans alternate, so that a drift of the clock changes all of them alike: ratios hold. NAN, all of them: all sets of
 * so small a tree stay in the L2 cache. group_size and num_workers are the tree's and the GPU's. checked: the result of
 * the first plan is checked before. The request's strategy, prices and rung are not read, and its work stays the
 * caller's. Otherwise as gpu_bench_measure. */
gpu_bench_status gpu_bench_times(double *us, const gpu_bench_request *request, const tree_plan_config *configs,
                                 uint32_t count, bool checked, char why[GPU_BENCH_WHY]);

#ifdef __cplusplus
}
#endif
#endif
