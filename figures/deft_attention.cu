/* deft_attention: attention of one step, each strategy on DeFT's workloads. Without the traces of its repository the
 * recorded lines of reasoning tasks and draft trees stay; few-shot prompts and speculative stars need none.
 *
 * measure_deft_attention [CSV [FOLDER_OF_TRACES]] */
#include <string.h>

#include "measure_gpu.h"
#include "provenance.h"
#include "trace.h"

enum { PAPER_TREES = 10, EVERY = 1000 }; /* of each task; iterations */

static const struct {
    const char *name, *nodes, *tokens;
} trees[] = {
    {"few-shot 20", "1,20", "4000,200"},     {"few-shot 30", "1,30", "4000,200"},
    {"few-shot 50", "1,50", "4000,200"},     {"speculative 32", "1,32", "1016,1"},
    {"speculative 64", "1,64", "1016,1"},    {"speculative 128", "1,128", "1016,1"},
    {"speculative 256", "1,256", "1016,1"},
};
static const char *const tasks[] = {"sorting", "document", "keyword", "set"};
static const uint32_t drafts[] = {32, 64, 128, 256};

static void measure(FILE *csv, const char *name, bench_case c)
{
    double floor_us = bench_floor(&c);
    for (uint32_t strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++)
        bench_line(csv, name, &c, floor_us, (tree_strategy)strategy, bench_step(NULL));
    bench_destroy(&c);
}

static trace *read_trace(const char *folder, const char *file)
{
    char path[1000];
    trace *t;
    trace_error error;
    snprintf(path, sizeof path, "%s/%s.ttr", folder, file);
    BENCH_MUST(trace_read_file(&t, path, &error) == KV_OK, error.message);
    return t;
}

/* Every thousandth iteration of a task's ten trees, and the middle of a shorter one. */
static void measure_task(FILE *csv, const char *folder, const char *task)
{
    char file[100], name[100];
    snprintf(file, sizeof file, "reason_%s", task);
    trace *t = read_trace(folder, file);
    for (int32_t ordinal = 0; ordinal < PAPER_TREES; ordinal++) {
        const trace_tree *tree = trace_find(t, ordinal);
        BENCH_MUST(tree, "a tree of the paper is missing");
        uint32_t every = tree->last_iteration < EVERY ? tree->last_iteration / 2 : (uint32_t)EVERY;
        for (uint32_t i = every; i < tree->last_iteration; i += every) {
            workload *work;
            BENCH_MUST(workload_from_tree(&work, tree, 0, i) == KV_OK, "a tree of the paper");
            snprintf(name, sizeof name, "%s t%d i%u", task, ordinal, i);
            measure(csv, name, bench_create_at(work, i, 32, 8, 128, TREE_FP16));
        }
    }
    trace_destroy(t);
}

/* Past tokens and a draft tree, every node of it a query. */
static void measure_draft(FILE *csv, const trace *t, uint32_t label)
{
    char name[100];
    workload *work;
    const trace_draft *draft = trace_find_draft(t, label);
    BENCH_MUST(draft && workload_draft(&work, draft, 1016) == KV_OK, "a draft tree");
    snprintf(name, sizeof name, "draft %u", label);
    measure(csv, name, bench_create_at(work, 1, 32, 8, 128, TREE_FP16));
}

int main(int argc, char **argv)
{
    if (!bench_has_gpu())
        return 0;
    bench_count_all(&argc, argv);
    const char *folder = argc > 2 ? argv[2] : "../shared/traces";
    FILE *csv = bench_open(argc > 1 ? argv[1] : "figures/deft_attention.csv", "make measure (measure_deft_attention)");
    fprintf(csv, "# fp16, 32/8 heads, head_dim 128, block_tokens 8, last rung; tN iM: tree and iteration of a trace\n"
                 BENCH_COLUMNS "\n");
    for (const auto &t : trees)
        measure(csv, t.name, bench_create(t.nodes, t.tokens, 32, 8, 128, TREE_FP16));
    static const char *const kept[] = {"\"sorting t", "\"document t", "\"keyword t", "\"set t", "\"draft ", NULL};
    if (!figure_has_trace("deft_attention", "reasoning tasks and draft trees keep their", folder, "spec_draft.ttr")) {
        if (bench_keep(csv, kept) == 0)
            fprintf(stderr, "deft_attention: there are none of them, because there is no recorded data\n");
    } else {
        for (const char *task : tasks)
            measure_task(csv, folder, task);
        trace *t = read_trace(folder, "spec_draft");
        for (uint32_t label : drafts)
            measure_draft(csv, t, label);
        trace_destroy(t);
    }
    bench_close(csv);
}
