/* gpu_bench of a GPU that is not there, for tests/test_tool_bench_gpu.sh and test_tool_tune.sh. One call: times and
 * ceilings are constants, and counts are those of the tree and the plan that the program requested. Plans beside each
 * other: their times follow from their items. FAKE_GPU=none: it refuses; slow: 20 ms for each tree; noisy: times are off
 * by up to 0.5 %, drifting: by up to a half, together; small: one tree stays in the L2 cache; hostile: fitted prices
 * that are good for some trees are bad for others. */
#define _POSIX_C_SOURCE 200809L
#include "gpu_bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kv_branch.h"
#include "replay.h"
#include "traffic.h"

#define FAKE_NAME "NVIDIA Fake"
enum { FAKE_MULTIPROCESSORS = 132 };

static bool is_fake(const char *kind)
{
    const char *fake = getenv("FAKE_GPU");
    return fake && strcmp(fake, kind) == 0;
}

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "fake_gpu_bench: %s\n", what);
        exit(1);
    }
}

/* The step of a workload, with its pool. */
typedef struct fake_step {
    const workload *work;
    kv_pool *pool;
    replay *play;
    kv_tree *tree;
    tree_shape shape;
} fake_step;

static fake_step step_of(const gpu_bench_request *request)
{
    fake_step f = {.work = request->work, .shape = request->shape};
    kv_pool_config config = {.block_tokens = BENCH_BLOCK_TOKENS, .max_branches = request->work->max_live_branches};
    replay_totals totals;
    replay_result step = {.iteration = 0};
    must(replay_measure(&totals, request->work, config.block_tokens) == KV_OK, "blocks");
    config.num_blocks = totals.peak_blocks;
    must(kv_pool_create(&f.pool, &config) == KV_OK && replay_create(&f.play, request->work, f.pool, NULL) == KV_OK, "pool");
    while (step.iteration < request->iteration) must(replay_step(f.play, &step) == KV_OK && !step.done, "a step");
    kv_table *tables = calloc(step.num_queries, sizeof *tables);
    must(tables && kv_branch_tables(f.pool, step.queries, step.num_queries, tables) == KV_OK, "tables");
    must(kv_tree_build(&f.tree, tables, step.num_queries, config.block_tokens, config.num_blocks) == KV_OK, "nodes");
    f.shape.num_queries = step.num_queries;
    f.shape.num_blocks = config.num_blocks;
    f.shape.block_tokens = config.block_tokens;
    free(tables);
    return f;
}

static void end_step(fake_step *f)
{
    kv_tree_destroy(f->tree);
    replay_destroy(f->play);
    kv_pool_destroy(f->pool, false, NULL);
}

/* Queries and bytes. */
static void count_request(gpu_bench_result *r, const gpu_bench_request *request)
{
    tree_plan *plan;
    tree_traffic traffic;
    fake_step f = step_of(request);
    tree_plan_config how = {.strategy = request->strategy, .prices = request->prices,
                            .group_size = f.shape.num_heads / f.shape.num_kv_heads};
    must(tree_plan_build(&plan, f.tree, &how) == TREE_OK, "plan");
    must(tree_traffic_count(&traffic, plan, &f.shape, TRAFFIC_PACKED) == TREE_OK, "bytes");
    r->num_queries = f.shape.num_queries;
    r->num_items = plan->num_items;
    r->num_partials = plan->num_partials;
    r->unique_bytes = traffic.unique_bytes;
    r->plan_bytes = traffic.plan_bytes;
    r->logical_bytes = traffic.logical_bytes;
    tree_plan_destroy(plan);
    end_step(&f);
}

static gpu_bench_status refuse(char why[GPU_BENCH_WHY])
{
    snprintf(why, GPU_BENCH_WHY, "no CUDA device (CUDA: no CUDA-capable device is detected)");
    return GPU_BENCH_NO_GPU;
}

gpu_bench_status gpu_bench_measure(gpu_bench_result *result, const gpu_bench_request *request, char why[GPU_BENCH_WHY])
{
    enum { LAST = 12 };
    if (is_fake("none"))
        return refuse(why);
    if (request->rung > LAST) {
        snprintf(why, GPU_BENCH_WHY, "expected a rung, 0 to %d; got %d", LAST, request->rung);
        return GPU_BENCH_BAD_INPUT;
    }
    gpu_bench_result r = {.device = "NVIDIA Fake, 1 multiprocessor", .dram_gbps = 1000, .l2_gbps = 2000.4,
                          .matrix_tflops = 100, .launch_us = 0.5, .cold_us = 16, .warm_us = 12.345, .floor_us = 4,
                          .plan_us = 7, .upload_us = 20, .gpu = FAKE_NAME,
                          .num_multiprocessors = FAKE_MULTIPROCESSORS, .max_error = 0.00012, .workspace_bytes = 4096};
    count_request(&r, request);
    if (r.unique_bytes < 1000000) r.cold_us = r.floor_us = NAN;
    snprintf(r.rung, sizeof r.rung, "step_%d_fake", request->rung == GPU_BENCH_LAST_RUNG ? LAST : request->rung);
    workload_destroy(request->work);
    *result = r;
    return GPU_BENCH_OK;
}

gpu_bench_status gpu_bench_look(gpu_bench_gpu *gpu, char why[GPU_BENCH_WHY])
{
    if (is_fake("none"))
        return refuse(why);
    *gpu = (gpu_bench_gpu){.name = FAKE_NAME, .driver = "CUDA 13.0, runtime 13.0", .rung = "step_12_fake",
                           .num_multiprocessors = FAKE_MULTIPROCESSORS, .l2_bytes = 50 << 20, .dram_gbps = 1000,
                           .l2_gbps = 2000.4, .matrix_tflops = 100, .launch_us = 0.5};
    return GPU_BENCH_OK;
}

/* Items of all KV heads are dealt to 264 workers, the next one to the worker that is free first; a tile of 64 tokens and 64
 * rows takes 0.5 us, an item 0.4, and merging 3 us, which is longer than the default price says, and 0.3 for each state of
 * a query. */
static double time_of(const tree_plan *plan, const tree_shape *shape)
{
    enum { WORKERS = 2 * FAKE_MULTIPROCESSORS };
    double busy[WORKERS] = {0}, last = 0, work = 0, longest = 0;
    uint32_t states = 0, group = shape->num_heads / shape->num_kv_heads;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const uint32_t rows = (plan->items[i].num_rows * group + 63) / 64, tiles = (plan->items[i].num_tokens + 63) / 64;
        const double task = 0.4 + 0.5 * tiles;
        work += task * rows * shape->num_kv_heads;
        longest = task > longest ? task : longest;
        if (plan->num_items * rows * shape->num_kv_heads > 1500)
            continue; /* so many that the deal does not matter */
        for (uint32_t t = 0; t < rows * shape->num_kv_heads; t++) {
            uint32_t first = 0;
            for (uint32_t w = 1; w < WORKERS && busy[first] > 0; w++) first = busy[w] < busy[first] ? w : first;
            busy[first] += task;
            last = busy[first] > last ? busy[first] : last;
        }
    }
    for (uint32_t q = 0; q < plan->num_queries; q++) {
        const uint32_t count = plan->merge_first[q + 1] - plan->merge_first[q];
        states = count > states ? count : states;
    }
    last = last > work / WORKERS ? last : work / WORKERS;
    last = last > longest ? last : longest;
    return 2 + last + (states > 1 ? 3 + 0.3 * states : 0);
}

/* Between -1 and 1. */
static double noise(void)
{
    static uint32_t state = 1;
    state = state * 1664525 + 1013904223;
    return state / 2147483648.0 - 1;
}

gpu_bench_status gpu_bench_times(double *us, const gpu_bench_request *request, const tree_plan_config *configs,
                                 uint32_t count, bool checked, char why[GPU_BENCH_WHY])
{
    enum { MOST = 128 };
    static fake_step steps[MOST]; /* the program's workloads live until its end */
    static uint32_t num_steps;
    uint32_t s = 0;
    (void)checked, (void)why;
    if (is_fake("slow")) nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    while (s < num_steps && steps[s].work != request->work) s++;
    must(s < MOST, "so many trees");
    if (s == num_steps) steps[num_steps++] = step_of(request);
    const tree_shape *shape = &steps[s].shape;
    const double drift = is_fake("drifting") ? 1 + 0.5 * noise() : 1;
    for (uint32_t i = 0; i < count; i++) {
        tree_plan *plan;
        tree_plan_config config = configs[i];
        config.group_size = shape->num_heads / shape->num_kv_heads;
        config.num_workers = FAKE_MULTIPROCESSORS * 8 / shape->num_kv_heads;
        must(tree_plan_build(&plan, steps[s].tree, &config) == TREE_OK, "plan");
        us[i] = time_of(plan, shape) * drift;
        if (is_fake("noisy")) us[i] *= 1 + 0.005 * noise();
        if (is_fake("small") && shape->num_queries == 1) us[i] = NAN;
        if (is_fake("hostile") && config.strategy == TREE_COST) us[i] = 10 + (checked ? 1e-4 : -1e-4) * config.prices.item_bytes;
        tree_plan_destroy(plan);
    }
    return GPU_BENCH_OK;
}
