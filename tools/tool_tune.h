/* tool_tune: prices of plan cost for this GPU, between the verb tune and its search. */
#ifndef TOOL_TUNE_H
#define TOOL_TUNE_H

#include "gpu_bench.h"
#include "tool_profile.h"
#include "tool_scene.h"

/* A tree of the verb's own, by its levels. */
typedef struct tune_tree {
    const char *nodes, *tokens;
    uint32_t num_heads, num_kv_heads;
} tune_tree;

/* A plan that was measured: its time, as a multiple of the default prices' plan in the same batch. */
typedef struct tune_plan {
    uint64_t hash;
    double ratio;
} tune_plan;

/* A tree with what is known of it. */
typedef struct tune_case {
    const tune_tree *of;
    tool_scene scene;
    workload *work;
    kv_tree *tree;
    gpu_bench_request request;
    tree_plan_config config;    /* of plan cost, without prices */
    bool is_cold;               /* false: it stays in the L2 cache, and is left out */
    double default_us;          /* in the first batch */
    double other_ratio;         /* of the fastest other plan */
    tree_strategy other;
    tune_plan *plans;           /* [num_plans] */
    uint32_t num_plans, room;
    FILE *log;                  /* a line for each time; NULL: none */
} tune_case;

void tune_write_log_heading(FILE *log);
tune_case tune_case_open(const tune_tree *tree, const gpu_bench_gpu *gpu, FILE *log);
void tune_case_close(tune_case *c);

/* Measures plan cost with `prices`, with the default prices, and all other plans, in one batch. The result of the first
 * is checked. */
void tune_measure_all(tune_case *c, const tree_prices *prices);

/* time with these prices / time with the default ones. The case must know it: tune_measure_all, or the search. */
double tune_ratio(const tune_case *c, const tree_prices *prices);

/* The mean over the cases of ln(time / time with the default prices), and TUNE_PENALTY times the part by which the time
 * exceeds TUNE_SLACK x that of the fastest other plan. */
#define TUNE_PENALTY 4
#define TUNE_SLACK 1.02
double tune_loss(const tune_case *cases, uint32_t num_cases, const tree_prices *prices);

/* Coordinate search from the default prices: for each price in turn, all its candidates are measured on all cases, and
 * the best is taken if it lowers the loss by more than TUNE_GAIN. Ends after a round without a change, or TUNE_ROUNDS, or
 * when `limit_us` of measure_now_us has passed. progress(done, context): of TUNE_STEPS. */
#define TUNE_GAIN 0.001
enum { TUNE_ROUNDS = 3, TUNE_PRICES = 14, TUNE_STEPS = TUNE_ROUNDS * TUNE_PRICES };
void tune_search(tree_prices *prices, tune_case *cases, uint32_t num_cases, double limit_us,
                 void (*progress)(uint32_t done, void *context), void *context);

#endif
