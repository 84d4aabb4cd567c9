/* gpu_bench of a GPU that is not there, for tests/test_tool_bench_gpu.sh: times and ceilings are constants, and counts
 * are those of the tree and the plan that the program requested. FAKE_GPU=none: it refuses. */
#include "gpu_bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv_branch.h"
#include "replay.h"
#include "traffic.h"

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "fake_gpu_bench: %s\n", what);
        exit(1);
    }
}

/* Queries and bytes. */
static void count_request(gpu_bench_result *r, const gpu_bench_request *request)
{
    kv_pool_config config = {.block_tokens = BENCH_BLOCK_TOKENS, .max_branches = request->work->max_live_branches};
    replay_totals totals;
    replay_result step = {.iteration = 0};
    kv_pool *pool;
    replay *play;
    kv_tree *tree;
    tree_plan *plan;
    tree_traffic traffic;
    must(replay_measure(&totals, request->work, config.block_tokens) == KV_OK, "blocks");
    config.num_blocks = totals.peak_blocks;
    must(kv_pool_create(&pool, &config) == KV_OK && replay_create(&play, request->work, pool, NULL) == KV_OK, "pool");
    while (step.iteration < request->iteration) must(replay_step(play, &step) == KV_OK && !step.done, "a step");
    kv_table *tables = calloc(step.num_queries, sizeof *tables);
    must(tables && kv_branch_tables(pool, step.queries, step.num_queries, tables) == KV_OK, "tables");
    must(kv_tree_build(&tree, tables, step.num_queries, config.block_tokens, config.num_blocks) == KV_OK, "nodes");
    tree_shape shape = request->shape;
    shape.num_queries = step.num_queries;
    shape.num_blocks = config.num_blocks;
    shape.block_tokens = config.block_tokens;
    tree_plan_config how = {.strategy = request->strategy, .group_size = shape.num_heads / shape.num_kv_heads};
    must(tree_plan_build(&plan, tree, &how) == TREE_OK, "plan");
    must(tree_traffic_count(&traffic, plan, &shape, TRAFFIC_PACKED) == TREE_OK, "bytes");
    r->num_queries = step.num_queries;
    r->num_items = plan->num_items;
    r->num_partials = plan->num_partials;
    r->unique_bytes = traffic.unique_bytes;
    r->plan_bytes = traffic.plan_bytes;
    r->logical_bytes = traffic.logical_bytes;
    tree_plan_destroy(plan);
    kv_tree_destroy(tree);
    free(tables);
    replay_destroy(play);
    kv_pool_destroy(pool, false, NULL);
}

gpu_bench_status gpu_bench_measure(gpu_bench_result *result, const gpu_bench_request *request, char why[GPU_BENCH_WHY])
{
    enum { LAST = 12 };
    const char *fake = getenv("FAKE_GPU");
    if (fake && strcmp(fake, "none") == 0) {
        snprintf(why, GPU_BENCH_WHY, "no CUDA device (CUDA: no CUDA-capable device is detected)");
        return GPU_BENCH_NO_GPU;
    }
    if (request->rung > LAST) {
        snprintf(why, GPU_BENCH_WHY, "expected a rung, 0 to %d; got %d", LAST, request->rung);
        return GPU_BENCH_BAD_INPUT;
    }
    gpu_bench_result r = {.device = "NVIDIA Fake, 1 multiprocessor", .dram_gbps = 1000, .l2_gbps = 2000.4,
                          .matrix_tflops = 100, .launch_us = 0.5, .cold_us = 16, .warm_us = 12.345, .floor_us = 4,
                          .plan_us = 7, .upload_us = 20, .max_error = 0.00012, .workspace_bytes = 4096};
    count_request(&r, request);
    if (r.unique_bytes < 1000000) r.cold_us = r.floor_us = NAN;
    snprintf(r.rung, sizeof r.rung, "step_%d_fake", request->rung == GPU_BENCH_LAST_RUNG ? LAST : request->rung);
    workload_destroy(request->work);
    *result = r;
    return GPU_BENCH_OK;
}
