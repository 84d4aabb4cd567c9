/* treeattn bench --gpu: one call of the GPU's attention over a tree, or over a step of a trace. Times and ceilings come
 * from the same run. Input is checked first, so that its mistakes are the same with and without a GPU. */
#include "tool_bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_bench.h"
#include "provenance.h"
#include "tool_input.h"
#include "tool_limits.h"
#include "tool_profile.h"

enum {
    MAX_NAME = 4352,
    PLANNINGS = 7, /* of a measurement */
    ROWS = 8       /* whose truth is computed */
};

typedef struct gpu_bench {
    const tool_call *call;
    gpu_bench_request request;
    char name[MAX_NAME]; /* of the tree */
    tool_profile *profile; /* NULL: none */
} gpu_bench;

static void refuse_others(const tool_call *call)
{
    static const char *const names[] = {"--threads", "--repeats", "--isa", NULL};
    static const char *const blocks[] = {"--block-tokens", NULL};
    tool_refuse(call, names, "works only without --gpu");
    tool_refuse(call, blocks, "works only without --gpu, whose blocks have %d tokens", BENCH_BLOCK_TOKENS);
}

static tree_shape read_shape(const tool_call *call)
{
    tree_shape shape = tool_shape(call, 32, 8, 128, TREE_FP16);
    shape.block_tokens = BENCH_BLOCK_TOKENS;
    if (shape.storage == TREE_FP32)
        tool_bad_usage(call->verb, "--storage: expected fp16 or bf16 with --gpu, got 'fp32'");
    if (shape.head_dim != 64 && shape.head_dim != 128 && shape.head_dim != 256)
        tool_bad_usage(call->verb, "--head-dim: expected 64, 128 or 256 with --gpu, got '%u'", shape.head_dim);
    return shape;
}

/* Fills name, work and iteration. */
static void read_workload(gpu_bench *b)
{
    static const char *const trace_names[] = {"--trace", "--iteration", NULL};
    const char *tree = tool_text(b->call, "--gpu", ""), *file = tool_text(b->call, "--trace", NULL);
    if (strcmp(tree, "step") != 0) {
        tool_refuse(b->call, trace_names, "works only with --gpu step, not with a tree");
        b->request.work = tool_workload_from_levels(b->call, "--gpu", tree);
        b->request.iteration = 1;
        snprintf(b->name, sizeof b->name, "%s", tree);
        return;
    }
    if (file == NULL)
        tool_bad_usage(b->call->verb, "--gpu step: expected --trace FILE, whose step it is");
    uint32_t iteration = tool_count(b->call, "--iteration", 0, 1, UINT32_MAX);
    b->request.work = tool_workload_from_file(b->call, file, "--ordinal", iteration);
    b->request.iteration = tool_iteration(b->request.work, iteration);
    snprintf(b->name, sizeof b->name, "%s, step %u", file, b->request.iteration);
}

static double longest_path(const tool_scene *scene)
{
    kv_table *tables = tool_scene_tables(scene);
    uint32_t longest = 0;
    for (uint32_t q = 0; q < scene->step.num_queries; q++)
        longest = tables[q].length > longest ? tables[q].length : longest;
    free(tables);
    return longest;
}

/* Ends the program if the step has no query, or if the host would need more than the limits allow. */
static void need_host(const gpu_bench *b)
{
    const tree_shape *shape = &b->request.shape;
    const workload *work = b->request.work;
    replay_needs needs;
    replay_totals totals;
    double bytes = tool_need_replay(b->call, work, shape->block_tokens, 0, &needs);
    kv_status status = replay_measure(&totals, work, shape->block_tokens);
    if (status != KV_OK)
        tool_fail("%s: %s", b->name, kv_status_string(status));
    tool_scene scene = tool_scene_open(work, shape->block_tokens, totals.peak_blocks);
    tool_play_to(&scene, b->request.iteration);
    kv_tree *tree = tool_scene_tree(&scene);
    if (tree->unique_tokens == 0)
        tool_bad_input("bench, %s: expected a step that has queries", b->name);
    const double path_tokens = (double)tree->path_tokens, longest = longest_path(&scene);
    tree_plan_config config = {.strategy = b->request.strategy, .group_size = shape->num_heads / shape->num_kv_heads,
                               .prices = b->request.prices};
    uint64_t plan_bytes = 0;
    if (tree_plan_bytes(&plan_bytes, tree, &config) == TREE_OVERFLOW)
        tool_bad_input("plan %s: %s", tree_strategy_name[config.strategy], tree_status_string(TREE_OVERFLOW));
    bytes += 2 * (double)plan_bytes + 2.0 * longest * shape->head_dim * sizeof(float);
    tool_need_memory(b->call, bytes, "bench, %s,", b->name);
    tool_need_work(b->call, PLANNINGS * path_tokens + ROWS * longest * shape->head_dim, "bench, %s,", b->name);
    kv_tree_destroy(tree);
    tool_scene_close(&scene);
}

static void write_result(const gpu_bench *b, const gpu_bench_result *r)
{
    const tree_shape *shape = &b->request.shape;
    tool_table *table = tool_table_create();
    tool_row(table);
    tool_put_text(table, "tree", b->name);
    tool_put_count(table, "queries", r->num_queries);
    tool_put_count(table, "heads", shape->num_heads);
    tool_put_count(table, "kv_heads", shape->num_kv_heads);
    tool_put_count(table, "head_dim", shape->head_dim);
    tool_put_text(table, "storage", shape->storage == TREE_FP16 ? "fp16" : "bf16");
    tool_put_text(table, "plan", tree_strategy_name[b->request.strategy]);
    tool_put_text(table, "step", r->rung);
    tool_put_decimal(table, "cold_us", r->cold_us, 2);
    tool_put_decimal(table, "warm_us", r->warm_us, 2);
    tool_put_decimal(table, "floor_us", r->floor_us, 2);
    tool_put_decimal(table, "score", r->floor_us / r->cold_us, 3);
    tool_put_decimal(table, "plan_us", r->plan_us, 0);
    tool_put_decimal(table, "upload_us", r->upload_us, 0);
    tool_put_count(table, "items", r->num_items);
    tool_put_count(table, "partials", r->num_partials);
    tool_put_count(table, "plan_bytes", r->plan_bytes);
    tool_put_count(table, "logical_bytes", r->logical_bytes);
    tool_put_count(table, "unique_bytes", r->unique_bytes);
    tool_put_count(table, "workspace_bytes", r->workspace_bytes);
    tool_put_real(table, "max_error", r->max_error, 2);
    tool_put_decimal(table, "dram_gbps", r->dram_gbps, 0);
    tool_put_decimal(table, "l2_gbps", r->l2_gbps, 0);
    tool_put_decimal(table, "matrix_tflops", r->matrix_tflops, 0);
    tool_put_decimal(table, "launch_us", r->launch_us, 2);
    if (b->profile != NULL)
        tool_put_text(table, "profile", tool_text(b->call, "--profile", ""));
    if (b->call->format != TOOL_JSON)
        provenance_write(stdout, b->call->format == TOOL_CSV ? "# " : "", r->device, "treeattn bench --gpu",
                         GPU_STATISTIC);
    tool_table_write(table, stdout, b->call->format, true);
    if (isnan(r->cold_us))
        tool_warn("bench --gpu: not measured cold: all sets of K and V of so small a tree stay in the L2 cache");
}

int tool_bench_gpu(const tool_call *call)
{
    refuse_others(call);
    gpu_bench b = {.call = call, .request = {.shape = read_shape(call), .strategy = TREE_COST}};
    if (tool_given(call, "--strategy"))
        b.request.strategy = tool_strategy(call, "--strategy");
    b.profile = tool_profile_given(call);
    if (b.profile != NULL && b.request.strategy != TREE_COST)
        tool_bad_usage(call->verb, "--profile: works only with the strategy cost, whose prices it has");
    if (b.profile != NULL)
        b.request.prices = b.profile->prices;
    b.request.rung = (int)tool_integer(call, "--rung", GPU_BENCH_LAST_RUNG, 0, 99);
    read_workload(&b);
    need_host(&b);
    gpu_bench_result result;
    char why[GPU_BENCH_WHY];
    gpu_bench_status status = gpu_bench_measure(&result, &b.request, why);
    if (status == GPU_BENCH_BAD_INPUT)
        tool_bad_input("bench --gpu: %s", why);
    if (status != GPU_BENCH_OK)
        tool_fail("bench --gpu: %s", why);
    if (b.profile != NULL)
        tool_profile_warn(call, b.profile, result.gpu, result.num_multiprocessors);
    write_result(&b, &result);
    free(b.profile);
    return TOOL_OK;
}
