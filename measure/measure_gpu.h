/* measure_gpu: what the programs behind the GPU figures share. A tree with K and V in device memory, and the time of
 * kernels over it, replayed from a CUDA graph. Anything that goes wrong ends the program with one line. */
#ifndef MEASURE_GPU_H
#define MEASURE_GPU_H

#include <stdio.h>

#include <functional>

extern "C" {
#include "kv_branch.h"
#include "kv_tree.h"
#include "replay.h"
#include "traffic.h"
#include "tree_plan.h"
}
#include "standard_attention_gpu.h"
#include "tree_attention_gpu.h"

/* False, and one line on stderr, where no GPU can run the steps. */
bool bench_has_gpu(void);

/* Comment lines with device, driver, clocks, commit, command and how times were taken. The recorded csv stays as it is
 * until bench_close: measure/provenance.h. */
FILE *bench_open(const char *path, const char *command);
void bench_close(FILE *csv);

/* Hardware counters, before anything is measured: runs the program once more, under ncu and with --count behind its
 * arguments. That run goes through the same lines in the same order, but times and checks nothing and writes no csv:
 * where a line asks for counters it shows ncu one call. bench_count then gives out, line by line, what was counted; if
 * nothing could be, one line on stderr says why. In that other run it only takes --count from the arguments. */
void bench_count_all(int *argc, char **argv);

/* It divides the lengths of the level trees' nodes, so that no branch has to copy a started block. */
enum { BENCH_BLOCK_TOKENS = 8 };

/* One step over a tree, with K and V of one layer: as many sets as make cold reads cold, 600 MB in all, at most 64. */
struct bench_case {
    workload *work;
    kv_pool *pool;
    replay *play;
    kv_tree *tree;
    kv_table *tables; /* [num_queries] */
    tree_shape shape;
    uint32_t num_sets;
    uint64_t set_bytes;  /* K, then V */
    char *d_kv;          /* [num_sets][set_bytes] */
    float *d_query, *d_out, *d_lse, *h_query;
    cudaStream_t stream;
};

/* Level trees as workload_levels; random K, V and queries. */
bench_case bench_create(const char *nodes, const char *tokens, uint32_t num_heads, uint32_t num_kv_heads,
                        uint32_t head_dim, tree_storage storage);

/* The step of this iteration, from 1, of any workload, which the case then owns. */
bench_case bench_create_at(workload *work, uint32_t iteration, uint32_t num_heads, uint32_t num_kv_heads,
                           uint32_t head_dim, tree_storage storage);
void bench_destroy(bench_case *c);

/* Microseconds of call(set), median of 7 replays of a graph that has it for each set: cold; or as often for set 0:
 * warm. */
double bench_time(const bench_case *c, const std::function<void(uint32_t set)> &call, bool is_cold);

struct bench_counters {
    double dram_bytes, l2_hit_percent; /* -1: not counted */
};
/* Of a call on set 0, just after all other sets: cold; or after them and set 0: warm. Once for each line that
 * bench_count_all is to count for. */
bench_counters bench_count(const bench_case *c, const std::function<void(uint32_t set)> &call, bool is_cold);

/* What no kernel can beat: the larger of a plain cold read of the tree's own K and V, in the same kind of graph, and
 * the products at the rate of a large matrix product plus a launch. */
double bench_floor(const bench_case *c);
#define BENCH_MATRIX_FLOPS 790e12 /* bf16 on an H200, measured with cuBLAS on 2026-11-20 */
#define BENCH_LAUNCH_US 0.55

/* A plan on the device with its workspace. */
struct bench_plan {
    tree_plan *plan;
    tree_plan_gpu *gpu;
    void *d_workspace;
    size_t workspace_bytes;
    double plan_us, upload_us; /* on the host, medians of 5: tree_plan_build; tree_plan_gpu_update */
    tree_traffic traffic;
};
bench_plan bench_plan_create(const bench_case *c, tree_strategy strategy);
void bench_plan_destroy(bench_plan *p);

void bench_attention(const bench_case *c, const bench_plan *p, const tree_gpu_step *step, uint32_t set);

/* The largest error of out and lse of some queries against double precision, after one call. */
double bench_error(const bench_case *c, const bench_plan *p, const tree_gpu_step *step);

const tree_gpu_step *bench_step(const char *name); /* NULL: the last one */

/* A line of a csv with these columns, counters cold. name: of the tree. Checks the result against double precision. */
#define BENCH_COLUMNS                                                                                                  \
    "# dram_bytes, l2_hit_percent: ncu, one cold call, clocks as they are; -1: not counted\n"                          \
    "tree,queries,heads,kv_heads,plan,step,cold_us,warm_us,floor_us,score,plan_us,upload_us,items,partials,"           \
    "plan_bytes,logical_bytes,unique_bytes,dram_bytes,l2_hit_percent,workspace_bytes,max_error"
void bench_line(FILE *csv, const char *name, const bench_case *c, double floor_us, tree_strategy strategy,
                const tree_gpu_step *step);

#define BENCH_MUST(condition, what)                                                                                    \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, what);                                                  \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)
#define BENCH_CUDA(call)                                                                                               \
    do {                                                                                                               \
        cudaError_t bench_error_ = (call);                                                                             \
        BENCH_MUST(bench_error_ == cudaSuccess, cudaGetErrorString(bench_error_));                                     \
    } while (0)

#endif
