/* measure_gpu: shared by the programs behind the GPU figures. A tree with K and V in device memory, and the time of
 * kernels over it, replayed from a CUDA graph. Anything that goes wrong ends the program with one line. */
#ifndef MEASURE_GPU_H
#define MEASURE_GPU_H

#include <stdio.h>

#include <functional>
#include <vector>

extern "C" {
#include "kv_branch.h"
#include "kv_tree.h"
#include "replay.h"
#include "traffic.h"
#include "tree_plan.h"
}
#include "eviction_gpu.h"
#include "gpu_protocol.h"
#include "kv_gpu.h"
#include "standard_attention_gpu.h"
#include "tree_attention_gpu.h"

/* False, and one line on stderr, where no GPU can run the steps. */
bool bench_has_gpu(void);

/* The ceilings of the GPU, measured when first needed, in half a second. */
struct bench_ceilings {
    double dram_gbps;     /* read of 2 GB, more than L2 holds; or of half the free memory, if that is less */
    double l2_gbps;       /* repeated read of two thirds of the size of L2 */
    double matrix_tflops; /* product of two matrices of 8192 x 8192, random fp16, sums in fp32, by cuBLAS */
    double launch_us;     /* an empty kernel in a CUDA graph */
};
const bench_ceilings &bench_ceilings_of_gpu(void);

/* Its name, caches, driver and clocks. */
void bench_device(char *text, size_t text_bytes);

/* Comment lines with device, driver, clocks, commit, command, how times were taken, and the ceilings ("# dram_gbps:
 * 4551"), from which the scripts of the figures draw their lines. The recorded csv stays as it is until bench_close:
 * measure/provenance.h. If it has counters and ncu counted nothing, it stays for good: the program says so and ends. */
FILE *bench_open(const char *path, const char *command);
void bench_close(FILE *csv);

/* Lines of the recorded csv that begin with one of `starts` stay: figure_keep. */
int bench_keep(FILE *csv, const char *const *starts);

/* Hardware counters, before anything is measured: runs the program once more, under ncu and with --count behind its
 * arguments. That run goes through the same lines in the same order, but times and checks nothing and writes no csv:
 * where a line needs counters, that run shows ncu one call. bench_count then returns the counters, line by line; if
 * nothing was counted, one line on stderr says why. In the run under ncu, this function only removes --count from the
 * arguments. */
void bench_count_all(int *argc, char **argv);

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

/* Level trees as workload_levels; random K, V and queries; fp16 or bf16. */
bench_case bench_create(const char *nodes, const char *tokens, uint32_t num_heads, uint32_t num_kv_heads,
                        uint32_t head_dim, tree_storage storage);

/* The step of this iteration, from 1, of any workload, which the case then owns. */
bench_case bench_create_at(workload *work, uint32_t iteration, uint32_t num_heads, uint32_t num_kv_heads,
                           uint32_t head_dim, tree_storage storage);
void bench_destroy(bench_case *c);

/* Device memory of such a case with the heads, head_dim and storage of `shape`, without plan and workspace. */
double bench_bytes(const workload *work, const tree_shape *shape);

/* Microseconds of call(set), the median of 7 replays of a graph. Cold: the graph calls it once for each set; warm: as
 * often for set 0. */
double bench_time(const bench_case *c, const std::function<void(uint32_t set)> &call, bool is_cold);

/* The same for several calls, cold, whose replays alternate: a drift of the clock changes all of them alike, so that
 * their ratios hold. */
std::vector<double> bench_times(const bench_case *c, const std::vector<std::function<void(uint32_t set)>> &calls);

/* The clock of the multiprocessors, MHz, while a call is replayed as bench_time does it, cold: their cycles divided by
 * the time of 7 replays, none of which bench_time times. -1, and one line on stderr: not measured. */
double bench_clock_mhz(const bench_case *c, const std::function<void(uint32_t set)> &call);

struct bench_counters {
    double dram_bytes, l2_hit_percent; /* -1: not counted */
};
/* The counters of a call on set 0. Cold: just after calls on all other sets; warm: after these and one on set 0. To be
 * called once for each line that needs counters. */
bench_counters bench_count(const bench_case *c, const std::function<void(uint32_t set)> &call, bool is_cold);

/* The larger of a plain cold read of the tree's own K and V, in the same kind of graph, and the products at
 * matrix_tflops plus a launch: us. */
double bench_floor(const bench_case *c);

/* Standard attention, which copies each path, expands the heads and keeps scores and weights in memory: us, cold. */
double bench_standard(const bench_case *c);

/* A plan on the device with its workspace. */
struct bench_plan {
    tree_plan *plan;
    tree_plan_gpu *gpu;
    void *d_workspace;
    size_t workspace_bytes;
    uint64_t *d_new_slots; /* [num_queries] of the newest token of each path: what a decode step writes */
    double plan_us, upload_us; /* on the host, medians of 5: tree_plan_build; tree_plan_gpu_update */
    tree_traffic traffic;
};
bench_plan bench_plan_create(const bench_case *c, tree_strategy strategy);
/* The same by a config, whose group_size and num_workers become those of the case and this GPU. */
bench_plan bench_plan_create_by(const bench_case *c, tree_plan_config config);
void bench_plan_destroy(bench_plan *p);

void bench_attention(const bench_case *c, const bench_plan *p, const tree_gpu_step *step, uint32_t set);

/* The largest error of out of some rows, after one call. Ends the program if out or lse is beyond the limits of
 * measure/oracle.h. */
double bench_error(const bench_case *c, const bench_plan *p, const tree_gpu_step *step);

/* Checks the result (bench_error), then times the step cold and warm: us. */
struct bench_measured {
    double max_error, cold_us, warm_us;
};
bench_measured bench_measure(const bench_case *c, const bench_plan *p, const tree_gpu_step *step);

const tree_gpu_step *bench_step(const char *name); /* NULL: the last one */

/* What eviction needs besides a plan. Norms come in sets, as K and V do. */
struct bench_eviction {
    tree_eviction_gpu *lists;
    uint64_t num_slots, norm_count; /* of the longest table; of a set */
    float *d_norm, *d_importance;
    uint32_t *d_positions;
    uint64_t *d_victims;
    void *d_workspace;
    size_t workspace_bytes;
    struct bench_eviction_truth *truth;
};
/* With workspace for these steps. */
bench_eviction bench_eviction_create(const bench_case *c, const bench_plan *p,
                                     const std::vector<const tree_eviction_step *> &steps);
void bench_eviction_destroy(bench_eviction *e);

/* Attention and the victim of each query: the importance of a token is not written. */
void bench_evict(const bench_case *c, const bench_plan *p, const bench_eviction *e, const tree_eviction_step *step,
                 uint32_t set);

/* Ends the program if, after one call, out or lse of some rows is beyond the limits of measure/oracle.h, if an
 * importance of one query is off by more than 1e-4 of its largest, or if the query's victim has more than 1 + 1e-4
 * times the least. */
void bench_eviction_check(const bench_case *c, const bench_plan *p, const bench_eviction *e,
                          const tree_eviction_step *step);

/* A line of a csv with these columns, counters cold. name: of the tree. Checks the result: bench_error. has_clock: one
 * more column, bench_clock_mhz. */
#define BENCH_COLUMNS                                                                                                  \
    "# dram_bytes, l2_hit_percent: ncu, one cold call, clocks as they are; -1: not counted\n"                          \
    "tree,queries,heads,kv_heads,plan,step,cold_us,warm_us,floor_us,score,plan_us,upload_us,items,partials,"           \
    "plan_bytes,logical_bytes,unique_bytes,dram_bytes,l2_hit_percent,workspace_bytes,max_error"
void bench_line(FILE *csv, const char *name, const bench_case *c, double floor_us, tree_strategy strategy,
                const tree_gpu_step *step, bool has_clock = false);

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
