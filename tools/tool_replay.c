/* treeattn replay: performs every fork, append and prune of a trace on the allocator and adds up its blocks and tokens;
 * with --attention it also computes the attention of the steps, on random K and V, and compares it with the oracle. */
#include "tool_options.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tool_agreement.h"
#include "tool_input.h"
#include "tool_limits.h"
#include "traffic.h"

/* Sums over the iterations, taken from the pool and its block tables. */
typedef struct replay_sums {
    uint64_t queries, unique_tokens, path_tokens; /* slots of used blocks; slots in the tables of queries */
    uint64_t filled_tokens, query_lengths;        /* the same, without the empty slots of last blocks */
    uint32_t iterations, peak_queries;
} replay_sums;

static void add_step(replay_sums *sums, const tool_scene *scene)
{
    kv_pool_stats stats;
    kv_pool_get_stats(scene->pool, &stats);
    sums->iterations++;
    sums->queries += scene->step.num_queries;
    sums->unique_tokens += (uint64_t)stats.used_blocks * stats.block_tokens;
    sums->filled_tokens += stats.physical_tokens;
    if (scene->step.num_queries > sums->peak_queries)
        sums->peak_queries = scene->step.num_queries;
    for (uint32_t q = 0; q < scene->step.num_queries; q++) {
        kv_table table = {.length = 0};
        kv_branch_table(scene->pool, scene->step.queries[q], &table);
        sums->path_tokens += (uint64_t)table.num_blocks * stats.block_tokens;
        sums->query_lengths += table.length;
    }
}

/* --attention: the request, and the results so far. */
typedef struct replay_attention {
    bool wanted;
    const tool_call *call;
    double bytes; /* bytes in use already */
    uint32_t every;
    tree_shape shape; /* num_queries is left 0 */
    tree_plan_config config;
    tool_agreement agreement;
    uint32_t iterations;
    uint64_t path_tokens; /* of the queries that were computed */
    uint64_t logical_bytes, plan_bytes;
} replay_attention;

static void need_attention_work(const replay_attention *attention, uint64_t path_tokens)
{
    double steps = (double)path_tokens * attention->shape.num_heads * attention->shape.head_dim;
    tool_need_work(attention->call, steps,
                   "attention over %" PRIu64 " tokens of the queries' paths, with %u heads of %u,", path_tokens,
                   attention->shape.num_heads, attention->shape.head_dim);
}

static void compute(replay_attention *attention, const tool_scene *scene)
{
    kv_tree *tree = tool_scene_tree(scene);
    attention->path_tokens += tree->path_tokens;
    need_attention_work(attention, attention->path_tokens);
    uint64_t plan_bytes;
    if (tree_plan_bytes(&plan_bytes, tree, &attention->config) == TREE_OK)
        tool_need_memory(attention->call, attention->bytes + (double)plan_bytes, "the plan of iteration %u",
                         scene->step.iteration);
    tree_plan *plan = tool_scene_plan(tree, &attention->config);
    tool_queries queries = tool_queries_create(scene, attention->shape.num_heads, scene->step.iteration);
    tool_agreement_add(&attention->agreement, scene, &queries, plan);
    tree_traffic traffic;
    if (tree_traffic_count(&traffic, plan, &queries.shape, TRAFFIC_PACKED) != TREE_OK)
        tool_fail("byte counts of iteration %u", scene->step.iteration);
    attention->iterations++;
    attention->logical_bytes += traffic.logical_bytes;
    attention->plan_bytes += traffic.plan_bytes;
    tool_queries_destroy(&queries);
    tree_plan_destroy(plan);
    kv_tree_destroy(tree);
}

/* K and V of the pool, and for the step with the most queries: query, out, lse, their truth and the limits of
 * errors. */
static double attention_bytes(const tree_shape *shape, uint32_t num_queries)
{
    double element_bytes = (double)tree_storage_bytes(shape->storage);
    double kv = 2.0 * shape->num_blocks * shape->block_tokens * shape->num_kv_heads * shape->head_dim * element_bytes;
    double row_bytes = (2 * sizeof(float) + 3 * sizeof(double)) * (shape->head_dim + 1.0) + 2 * sizeof(double);
    return kv + (double)num_queries * shape->num_heads * row_bytes;
}

static void refuse_attention_options(const tool_call *call)
{
    static const char *const names[] = {"--every", "--heads", "--head-dim", "--storage", "--isa", NULL};
    tool_refuse(call, names, "works only with --attention");
}

static replay_attention attention_create(const tool_call *call, const workload *work, uint32_t *num_blocks)
{
    replay_needs needs;
    double bytes = tool_need_replay(call, work, tool_block_tokens(call), *num_blocks, &needs);
    replay_attention attention = {.wanted = tool_given(call, "--attention"),
                                  .agreement = {.isa = tool_isa(call)}};
    attention.call = call;
    attention.bytes = bytes;
    attention.every = tool_count(call, "--every", 1, 1, UINT32_MAX);
    tree_shape shape = tool_shape(call, 8, 2, 64, TREE_FP32);
    if (!attention.wanted) {
        refuse_attention_options(call);
        return attention;
    }
    attention.config = (tree_plan_config){.strategy = tool_strategy(call, "--attention"),
                                          .group_size = shape.num_heads / shape.num_kv_heads};
    attention.shape = shape;
    if (attention.every == 1) /* otherwise each iteration is counted before it is computed */
        need_attention_work(&attention, needs.path_tokens);
    if (*num_blocks == 0) { /* no more than are used, since K and V take memory */
        replay_totals totals;
        kv_status status = replay_measure(&totals, work, shape.block_tokens);
        if (status != KV_OK)
            tool_fail("the workload cannot be played: %s", kv_status_string(status));
        *num_blocks = totals.peak_blocks > 0 ? totals.peak_blocks : 1;
    }
    attention.shape.num_blocks = *num_blocks;
    attention.bytes += attention_bytes(&attention.shape, needs.peak_queries);
    tool_need_memory(call, attention.bytes, "attention over %u blocks, %u queries at most", *num_blocks,
                     needs.peak_queries);
    return attention;
}

static uint64_t count_kind(const workload *work, workload_kind kind)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < work->num_operations; i++)
        count += work->operations[i].kind == kind;
    return count;
}

static replay_sums play(tool_scene *scene, replay_attention *attention)
{
    replay_sums sums = {.iterations = 0};
    tool_progress progress = tool_progress_begin("replay");
    while (tool_scene_next(scene)) {
        add_step(&sums, scene);
        if (attention->wanted && scene->step.iteration % attention->every == 0)
            compute(attention, scene);
        tool_progress_show(&progress, scene->step.iteration, scene->workload->num_steps);
    }
    tool_progress_end(&progress);
    return sums;
}

static void put_attention(tool_table *table, const replay_attention *attention)
{
    tool_put_text(table, "strategy", tree_strategy_name[attention->config.strategy]);
    tool_put_count(table, "attention_iterations", attention->iterations);
    if (attention->iterations > 0) {
        tool_put_real(table, "max_error", attention->agreement.worst.error, 4);
        tool_put_real(table, "error_limit", attention->agreement.worst.limit, 4);
        tool_put_text(table, "within_limit", attention->agreement.worst.text[0] == '\0' ? "yes" : "no");
    } else {
        tool_warn("attention was computed at no iteration: the trace ends before the first one that --every selects");
        tool_put_nothing(table, "max_error");
        tool_put_nothing(table, "error_limit");
        tool_put_nothing(table, "within_limit");
    }
    tool_put_count(table, "logical_bytes", attention->logical_bytes);
    tool_put_count(table, "plan_bytes", attention->plan_bytes);
    tool_put_nothing(table, "dram_bytes"); /* of a hardware counter, which is not read here */
}

static uint32_t write_result(const tool_call *call, const tool_scene *scene, const replay_sums *sums,
                             const replay_attention *attention)
{
    kv_pool_stats stats;
    kv_pool_get_stats(scene->pool, &stats);
    tool_table *table = tool_table_create();
    tool_row(table);
    tool_put_count(table, "iterations", sums->iterations);
    tool_put_count(table, "queries_sum", sums->queries);
    tool_put_count(table, "unique_tokens_sum", sums->unique_tokens);
    tool_put_count(table, "path_tokens_sum", sums->path_tokens);
    tool_put_count(table, "peak_blocks", stats.high_water_blocks);
    tool_put_count(table, "leaked_blocks", stats.used_blocks);
    tool_put_count(table, "block_tokens", scene->block_tokens);
    tool_put_count(table, "peak_queries", sums->peak_queries);
    tool_put_count(table, "filled_tokens_sum", sums->filled_tokens);
    tool_put_count(table, "query_lengths_sum", sums->query_lengths);
    tool_put_count(table, "forks", count_kind(scene->workload, WORKLOAD_FORK));
    tool_put_count(table, "prunes", count_kind(scene->workload, WORKLOAD_PRUNE));
    tool_put_count(table, "copies", stats.copies);
    tool_put_count(table, "copied_tokens", stats.copied_tokens);
    if (attention->wanted)
        put_attention(table, attention);
    tool_table_write(table, stdout, call->format, true);
    if (attention->wanted && call->format == TOOL_TEXT)
        puts("\nByte counts are those of one layer, summed over attention_iterations. dram_bytes come from a "
             "hardware\ncounter, which replay does not read.");
    return stats.used_blocks;
}

static int run(const tool_call *call)
{
    uint32_t block_tokens = tool_block_tokens(call);
    uint32_t max_iterations = tool_count(call, "--max-iterations", 0, 1, UINT32_MAX);
    uint32_t num_blocks = tool_count(call, "--blocks", 0, 1, UINT32_MAX - 1);
    workload *work = tool_workload_from_file(call, call->operand, "--tree", max_iterations);
    replay_attention attention = attention_create(call, work, &num_blocks);
    tool_scene scene = attention.wanted ? tool_scene_open_with_kv(work, &attention.shape, 1)
                                        : tool_scene_open(work, block_tokens, num_blocks);
    replay_sums sums = play(&scene, &attention);
    uint32_t leaked_blocks = write_result(call, &scene, &sums, &attention);
    tool_scene_close(&scene);
    workload_destroy(work);
    if (leaked_blocks > 0)
        tool_fail("%u blocks leaked", leaked_blocks);
    if (attention.agreement.worst.text[0] != '\0')
        tool_fail("attention differs from the definition by more than rounding explains: %s",
                  attention.agreement.worst.text);
    return TOOL_OK;
}

static const tool_option options[] = {
    TOOL_TRACE_OPTIONS("--tree"),
    {"--block-tokens", "N", "tokens of a block, a power of two from 1 to 256 (16)"},
    {"--blocks", "N", "blocks of the pool (as many as the trace needs)"},
    TOOL_LIMIT_OPTIONS,
    {"--max-iterations", "N", "stop after N iterations (all)"},
    {"--attention", TOOL_STRATEGIES, "compute attention too, by this strategy's plans, on random K and V"},
    {"--every", "N", "compute it at every Nth iteration (1)"},
    TOOL_SHAPE_OPTIONS("8/2", "64", "fp32"),
    TOOL_ISA_OPTION,
    {NULL, NULL, NULL},
};

const tool_verb tool_replay = {
    .name = "replay",
    .summary = "replays a trace on the allocator and adds up its blocks and tokens",
    .operand = "FILE.ttr", /* -: standard input */
    .formats = "text csv json",
    .options = options,
    .example = "  treeattn replay docs/examples/traces/reason.ttr --format csv\n"
               "  treeattn replay docs/examples/traces/reason.ttr --attention flatten --every 5\n"
               "  treeattn replay docs/examples/traces/accept.ttr --star 4 --block-tokens 1\n"
               "  treeattn replay docs/examples/traces/accept.ttr --draft docs/examples/traces/draft.ttr:8\n"
               "  treeattn replay - < docs/examples/traces/reason.ttr\n",
    .run = run,
};
