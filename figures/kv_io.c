/* kv_io: the bytes that each strategy moves on the workloads of the DeFT paper, summed over whole runs.
 *
 * Each workload is played on the allocator, one token per block; at every iteration the tree is found from the block
 * tables, each strategy plans it, and the plan's bytes are counted. With N, every Nth iteration only; sums of U and S
 * are over all iterations in any case. A task of ten trees gives their mean. Takes half a minute.
 *
 * measure_kv_io [CSV [TRACE_FOLDER [N]]] */
#include <inttypes.h>
#include <math.h>

#include "kv_branch.h"
#include "kv_tree.h"
#include "provenance.h"
#include "replay.h"
#include "traffic.h"
#include "tree_plan.h"

enum { NUM_LAYERS = 32, VARIANTS = 2, MAX_TABLES = 1024 };

static const traffic_variant variants[VARIANTS] = {TRAFFIC_PACKED, TRAFFIC_DEFT_COUNTED};

typedef struct io_case {
    const char *name, *file;
    int32_t first_ordinal, last_ordinal; /* reason: trees; accept: leaves of the star */
} io_case;

static const io_case cases[] = {
    {"sorting", "reason_sorting.ttr", 0, 9},   {"document", "reason_document.ttr", 0, 9},
    {"keyword", "reason_keyword.ttr", 0, 9},   {"set", "reason_set.ttr", 0, 9},
    {"few-shot 20", "fewshot_rule.ttr", 20, 20}, {"few-shot 30", "fewshot_rule.ttr", 30, 30},
    {"few-shot 50", "fewshot_rule.ttr", 50, 50}, {"spec 32", "spec_accept.ttr", 32, 32},
    {"spec 64", "spec_accept.ttr", 64, 64},    {"spec 128", "spec_accept.ttr", 128, 128},
    {"spec 256", "spec_accept.ttr", 256, 256},
};
enum { NUM_CASES = sizeof cases / sizeof cases[0] };

/* Sums over iterations. Those of `bytes` are over the sampled ones. */
typedef struct io_sums {
    uint64_t iterations, sampled, queries, unique_tokens, path_tokens, sampled_path_tokens;
    tree_traffic bytes[TREE_NUM_STRATEGIES][VARIANTS];
    uint64_t items[TREE_NUM_STRATEGIES], partial_rows[TREE_NUM_STRATEGIES], masked_pairs[TREE_NUM_STRATEGIES];
} io_sums;

static void must(kv_status status)
{
    figure_check(status == KV_OK, kv_status_string(status));
}

static void add_traffic(tree_traffic *sum, const tree_traffic *step)
{
    sum->logical_bytes += step->logical_bytes;
    sum->unique_bytes += step->unique_bytes;
    sum->plan_bytes += step->plan_bytes;
    sum->query_bytes += step->query_bytes;
    sum->out_bytes += step->out_bytes;
    sum->mask_bytes += step->mask_bytes;
    sum->partial_bytes += step->partial_bytes;
}

static void add_plans(io_sums *sums, const kv_tree *tree, uint32_t num_blocks)
{
    tree_shape shape = {.num_queries = tree->num_queries, .num_heads = 32, .num_kv_heads = 8, .head_dim = 128,
                        .num_blocks = num_blocks, .block_tokens = tree->block_tokens, .storage = TREE_FP16};
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++) {
        tree_plan_config config = {.strategy = (tree_strategy)s};
        tree_plan *plan;
        figure_check(tree_plan_build(&plan, tree, &config) == TREE_OK, tree_strategy_name[s]);
        for (int v = 0; v < VARIANTS; v++) {
            tree_traffic traffic;
            figure_check(tree_traffic_count(&traffic, plan, &shape, variants[v]) == TREE_OK, "byte counts");
            add_traffic(&sums->bytes[s][v], &traffic);
        }
        sums->items[s] += plan->num_items;
        sums->partial_rows[s] += plan->num_partials;
        sums->masked_pairs[s] += plan->masked_pairs;
        tree_plan_destroy(plan);
    }
}

static void add_step(io_sums *sums, const kv_pool *pool, const replay_result *step, bool sample)
{
    kv_table tables[MAX_TABLES];
    kv_pool_stats stats;
    uint64_t path_tokens = 0;
    figure_check(step->num_queries <= MAX_TABLES, "more queries than this figure is made for");
    must(kv_pool_get_stats(pool, &stats));
    must(kv_branch_tables(pool, step->queries, step->num_queries, tables));
    for (uint32_t q = 0; q < step->num_queries; q++)
        path_tokens += tables[q].length;
    sums->iterations++;
    sums->queries += step->num_queries;
    sums->unique_tokens += (uint64_t)stats.used_blocks * stats.block_tokens;
    sums->path_tokens += path_tokens;
    if (!sample)
        return;
    kv_tree *tree;
    must(kv_tree_build(&tree, tables, step->num_queries, stats.block_tokens, stats.num_blocks));
    sums->sampled++;
    sums->sampled_path_tokens += path_tokens;
    add_plans(sums, tree, stats.num_blocks);
    kv_tree_destroy(tree);
}

static void add_run(io_sums *sums, const workload *work, uint32_t every)
{
    kv_pool *pool;
    kv_pool_config config = {.num_blocks = (uint32_t)work->num_tokens + work->num_branches, .block_tokens = 1,
                             .max_branches = work->max_live_branches};
    replay *play;
    replay_result step;
    must(kv_pool_create(&pool, &config));
    must(replay_create(&play, work, pool, NULL));
    for (must(replay_step(play, &step)); !step.done; must(replay_step(play, &step)))
        add_step(sums, pool, &step, step.iteration % every == 0);
    replay_destroy(play);
    must(kv_pool_destroy(pool, false, NULL));
}

static io_sums run_case(const io_case *c, const trace *records, uint32_t every)
{
    io_sums sums = {.iterations = 0};
    for (int32_t ordinal = c->first_ordinal; ordinal <= c->last_ordinal; ordinal++) {
        workload *work;
        if (records->kind == TRACE_REASON) {
            figure_check(trace_find(records, ordinal) != NULL, "a tree is not in the trace");
            must(workload_from_tree(&work, trace_find(records, ordinal), 0, 0));
        } else {
            const trace_accept *accept = trace_find_accept(records, "apps0-len6000");
            figure_check(accept != NULL, "a record is not in the trace");
            must(workload_from_accept(&work, accept, (uint32_t)ordinal, 0, 0));
        }
        add_run(&sums, work, every);
        workload_destroy(work);
    }
    return sums;
}

static void write_case(FILE *csv, const io_case *c, const io_sums *sums)
{
    double runs = c->last_ordinal - c->first_ordinal + 1;
    /* From the sampled iterations to all: path tokens are known for both. 1 if all were sampled. */
    double scale = NUM_LAYERS * (double)sums->path_tokens / (double)sums->sampled_path_tokens / runs;
    for (int v = 0; v < VARIANTS; v++) {
        for (int s = 0; s < TREE_NUM_STRATEGIES; s++) {
            const tree_traffic *bytes = &sums->bytes[s][v];
            uint64_t token_bytes = variants[v] == TRAFFIC_PACKED ? 2 * 8 * 128 * 2 : 2 * 32 * 128 * 2;
            double logical = NUM_LAYERS * (double)token_bytes * (double)sums->path_tokens / runs;
            double plan = scale * (double)bytes->plan_bytes, reduction = 100 * (1 - plan / logical);
            if (fabs(reduction) < 0.005)
                reduction = 0; /* no minus sign for rounding */
            fprintf(csv, "%s,%s,%s,%.1f,%.1f,%.1f,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,%.2f,%.1f,%.1f,%.2f\n",
                    c->name,
                    tree_strategy_name[s], traffic_variant_name[variants[v]], (double)sums->iterations / runs,
                    (double)sums->unique_tokens / runs, (double)sums->path_tokens / runs, logical,
                    NUM_LAYERS * (double)token_bytes * (double)sums->unique_tokens / runs, plan,
                    scale * (double)bytes->query_bytes, scale * (double)bytes->mask_bytes,
                    scale * (double)bytes->partial_bytes, reduction,
                    (double)sums->items[s] / (double)sums->sampled,
                    (double)sums->partial_rows[s] / (double)sums->sampled,
                    100 * (double)sums->masked_pairs[s] / (double)sums->sampled_path_tokens);
        }
    }
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : TREEATTN_SOURCE_DIR "/figures/kv_io.csv";
    const char *folder = argc > 2 ? argv[2] : TREEATTN_SOURCE_DIR "/../shared/traces";
    uint32_t every = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 1;
    figure_check(every >= 1, "N: expected a number from 1 on");
    trace *records[NUM_CASES];
    for (int i = 0; i < NUM_CASES; i++) {
        char file[4096];
        trace_error error;
        if (!figure_has_trace("kv_io", "all panels keep their", folder, cases[i].file))
            return 0;
        snprintf(file, sizeof file, "%s/%s", folder, cases[i].file);
        figure_check(trace_read_file(&records[i], file, &error) == KV_OK, error.message);
    }
    FILE *csv = figure_open(path, "measure_kv_io", "sums over a run's iterations, means over a task's ten runs");
    fprintf(csv, "# plans of every iteration whose number divides by %" PRIu32 "; sums of tokens over all; no clock\n"
                 "# bytes of %d layers, 32/8 heads, head_dim 128, fp16, one token per block\n"
                 "# items, partial_rows: of one iteration; masked_percent: (query, token) pairs hidden by masks, of S\n"
                 "workload,strategy,variant,iterations,unique_tokens_sum,path_tokens_sum,logical_bytes,unique_bytes,"
                 "plan_bytes,query_bytes,mask_bytes,partial_bytes,reduction_percent,items,partial_rows,"
                 "masked_percent\n",
            every, NUM_LAYERS);
    for (int i = 0; i < NUM_CASES; i++) {
        io_sums sums = run_case(&cases[i], records[i], every);
        write_case(csv, &cases[i], &sums);
        trace_destroy(records[i]);
    }
    figure_close(csv);
    return 0;
}
