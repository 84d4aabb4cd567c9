/* decoding: the latency of a whole decode step of a model of Llama-3-8B's shape, with random weights, on the workloads
 * of DeFT's Table 3, for several plans. Every iteration is replayed and planned on the host; every Nth runs on the GPU.
 * One small task runs as a whole, to check that.
 *
 * measure_decoding [CSV [FOLDER_OF_TRACES [COARSER]]]     COARSER: N is so many times larger, for a trial */
#include <math.h>
#include <string.h>

#include <string>

#include "measure.h"
#include "measure_gpu.h"
#include "provenance.h"
#include "trace.h"
#include "transformer_gpu.h"

enum { PAPER_TREES = 10, BLOCK_TOKENS = 16, WINDOW = 3 /* iterations that run in sequence; the first is not counted */ };
enum { STANDARD_EVERY = 10 /* windows: it is slow */ };

/* Llama-3-8B, but for the head, which is the embedding here: the products load the same bytes. */
static const model_shape llama = {128256, 32, 4096, 32, 8, 128, 14336, 0, 500000, 1e-5};

/* Table 3 and 4 of DeFT's poster: seconds of a run on an A100. */
struct deft_numbers {
    double radix_s, flatten_s, radix_attention_s, flatten_attention_s;
};

struct column {
    const char *name;
    uint32_t every;
    const char *task;                   /* reasoning, trees first_tree and the num_trees - 1 that follow; or NULL */
    int32_t first_tree, num_trees;
    uint32_t few_shot, prompt, steps;   /* branches behind a prompt; or 0 */
    uint32_t stars;                     /* leaves of speculative decoding; or 0 */
    deft_numbers deft;                  /* 0: it is not in the table */
};
static const column table_3[] = {
    {"few-shot 20", 20, NULL, 0, 0, 20, 4000, 399, 0, {12.37, 9.98, 5.99, 3.47}},
    {"few-shot 30", 20, NULL, 0, 0, 30, 4000, 399, 0, {14.08, 10.99, 7.30, 4.07}},
    {"few-shot 50", 20, NULL, 0, 0, 50, 4000, 399, 0, {16.54, 12.48, 9.96, 5.87}},
    {"sorting", 250, "sorting", 0, 10, 0, 0, 0, 0, {104.79, 94.67, 39.37, 28.41}},
    {"document", 250, "document", 0, 10, 0, 0, 0, 0, {69.61, 66.95, 24.69, 21.45}},
    {"keyword", 50, "keyword", 0, 10, 0, 0, 0, 0, {11.25, 10.90, 3.11, 2.57}},
    {"set", 50, "set", 0, 10, 0, 0, 0, 0, {17.03, 16.10, 5.13, 3.83}},
    {"speculative 32", 50, NULL, 0, 0, 0, 0, 0, 32, {54.66, 42.23, 25.73, 13.15}},
    {"speculative 64", 50, NULL, 0, 0, 0, 0, 0, 64, {69.75, 46.60, 40.47, 16.79}},
    {"speculative 128", 50, NULL, 0, 0, 0, 0, 0, 128, {108.56, 56.96, 76.10, 24.46}},
    {"speculative 256", 50, NULL, 0, 0, 0, 0, 0, 256, {188.66, 84.27, 145.43, 41.78}},
};

/* One task as a whole, and its every 50th iteration. */
static const column task_twice[] = {{"set t9, whole", 1, "set", 9, 1, 0, 0, 0, 0, {0, 0, 0, 0}},
                                    {"set t9, sampled", 50, "set", 9, 1, 0, 0, 0, 0, {0, 0, 0, 0}}};

/* The model of model/, with random weights: 64 branches behind a prompt, as in a search. */
static const model_shape reasoner = {26, 6, 256, 4, 2, 64, 640, 1024, 10000, 1e-5};
static const column reasoner_step = {"reasoner", 1, NULL, 0, 0, 64, 100, 100, 0, {0, 0, 0, 0}};

/* How attention is computed. */
struct way {
    const char *name;
    tree_strategy strategy;
    transformer_gpu_attend *attend;
};
static tree_status no_attention(void *, const transformer_gpu_attention *, int *) { return TREE_OK; }
static tree_status standard(void *context, const transformer_gpu_attention *a, int *cuda_error);
static const way ways[] = {{"radix", TREE_RADIX, NULL},
                           {"flatten", TREE_FLATTEN, NULL},
                           {"cost", TREE_COST, NULL},
                           {"none", TREE_COST, no_attention},
                           {"standard", TREE_COST, standard}};
enum { NUM_WAYS = sizeof ways / sizeof ways[0] };

/* The paths of one step, for standard attention. */
struct standard_context {
    standard_paths_gpu *paths;
    char *workspace;
    size_t workspace_bytes;
};

static tree_status standard(void *context, const transformer_gpu_attention *a, int *cuda_error)
{
    const standard_context *s = (const standard_context *)context;
    return standard_attention_gpu(a->out, NULL, a->query, a->key, a->value, s->paths, a->shape, a->scale, s->workspace,
                                  s->workspace_bytes, a->stream, cuda_error);
}

/* One way of one column. */
struct runner {
    const way *of;
    transformer_gpu *transformer;
    standard_context standard;
    bool is_left_out; /* standard attention whose arrays do not fit */
    std::vector<uint32_t> next;
    uint64_t num_samples, num_planned;
    double device_us, wall_us, sampled_plan_us; /* sums over the samples: device, planning to result, planning */
    double plan_us;                             /* sum over all iterations */
    double capture_us;                          /* sum: graphs captured anew, in wall_us of no sample */
};

/* What all ways of a column share. */
struct run {
    const column *of;
    kv_pool *pool;
    std::vector<kv_copy> copies;
    std::vector<kv_table> tables;
    std::vector<runner> runners;
    cudaEvent_t begin, end;
    uint32_t max_queries;
    uint64_t iterations, sampled, queries, path_tokens, unique_tokens, sampled_path_tokens;
    double pool_us; /* sum: forks, prunes, appends, and the replay */
};

static void must(const runner &r, model_status status, const char *what)
{
    if (status != MODEL_OK)
        fprintf(stderr, "%s: %s: %s\n", r.of->name, model_status_string(status), transformer_gpu_message(r.transformer));
    BENCH_MUST(status == MODEL_OK, what);
}

static void note_copy(void *context, const kv_copy *copy) { ((run *)context)->copies.push_back(*copy); }

static std::vector<workload *> workloads_of(const column &c, const trace *trees, const trace *accepts)
{
    std::vector<workload *> works;
    workload *work;
    if (c.few_shot) {
        BENCH_MUST(workload_few_shot(&work, c.prompt, c.few_shot, c.steps) == KV_OK, "a few-shot prompt");
        works.push_back(work);
    } else if (c.stars) {
        const trace_accept *accept = trace_find_accept(accepts, "apps0-len6000");
        BENCH_MUST(accept && workload_from_accept(&work, accept, c.stars, 0, 0) == KV_OK, "accepted lengths");
        works.push_back(work);
    }
    for (int32_t i = c.first_tree; i < c.first_tree + c.num_trees; i++) {
        const trace_tree *tree = trace_find(trees, i);
        BENCH_MUST(tree && workload_from_tree(&work, tree, 0, 0) == KV_OK, "a tree of the paper");
        works.push_back(work);
    }
    return works;
}

/* ---- one iteration ---- */

/* Paths and workspace of standard attention for the tree of this step; false if they do not fit the device. */
static bool prepare_standard(runner &r)
{
    standard_context &s = r.standard;
    const kv_tree *tree = transformer_gpu_host_tree(r.transformer);
    size_t free_bytes = 0, all_bytes = 0;
    int cuda_error;
    standard_paths_gpu_destroy(s.paths);
    s.paths = NULL;
    BENCH_MUST(standard_paths_gpu_create(&s.paths, tree, &cuda_error) == TREE_OK, "paths");
    const size_t bytes = standard_attention_gpu_workspace_bytes(s.paths, transformer_gpu_shape(r.transformer));
    if (bytes <= s.workspace_bytes)
        return true;
    BENCH_CUDA(cudaFree(s.workspace));
    s.workspace = NULL, s.workspace_bytes = 0;
    BENCH_CUDA(cudaMemGetInfo(&free_bytes, &all_bytes));
    const size_t wanted = bytes + bytes / 4;
    if (wanted > free_bytes - free_bytes / 16)
        return false;
    BENCH_CUDA(cudaMalloc((void **)&s.workspace, wanted));
    s.workspace_bytes = wanted;
    return true;
}

/* The whole step on the device, timed. */
static void run_step(run &u, runner &r, uint32_t num_queries, double plan_us, bool counts)
{
    float ms;
    cudaStream_t stream = transformer_gpu_stream(r.transformer);
    BENCH_CUDA(cudaStreamSynchronize(stream)); /* the skipped steps of other iterations */
    const double capturing = measure_now_us();
    must(r, transformer_gpu_capture(r.transformer), "a graph");
    const double start = measure_now_us();
    BENCH_CUDA(cudaEventRecord(u.begin, stream));
    must(r, transformer_gpu_copy(r.transformer, u.copies.data(), (uint32_t)u.copies.size()), "copies");
    must(r, transformer_gpu_launch(r.transformer, r.next.data()), "a step");
    BENCH_CUDA(cudaEventRecord(u.end, stream));
    must(r, transformer_gpu_finish(r.transformer, NULL, r.next.data()), "the end of a step");
    const double wall_us = measure_now_us() - start + plan_us;
    BENCH_CUDA(cudaEventElapsedTime(&ms, u.begin, u.end));
    for (uint32_t i = num_queries; i < r.next.size(); i++)
        r.next[i] = 0;
    r.capture_us += start - capturing;
    if (!counts)
        return;
    r.num_samples++;
    r.device_us += ms * 1000;
    r.wall_us += wall_us;
    r.sampled_plan_us += plan_us;
}

/* is_run: the step runs on the device; counts: and is a sample. */
static void iterate(run &u, uint32_t num_queries, uint64_t window, bool is_run, bool counts)
{
    for (runner &r : u.runners) {
        const bool is_standard = r.of->attend == standard;
        if (is_standard && (!is_run || window % STANDARD_EVERY != 0 || r.is_left_out))
            continue;
        const double start = measure_now_us();
        must(r, transformer_gpu_plan(r.transformer, u.tables.data(), num_queries), "a plan");
        const double plan_us = measure_now_us() - start;
        if (r.of->attend == NULL) /* the others need no plan */
            r.plan_us += plan_us, r.num_planned++;
        if (!is_run) {
            must(r, transformer_gpu_skip(r.transformer), "a step of the plan");
        } else if (!is_standard || prepare_standard(r)) {
            run_step(u, r, num_queries, plan_us, counts);
        } else {
            r.is_left_out = true;
        }
    }
}

static void replay_one(run &u, workload *work, uint32_t every)
{
    replay *play;
    replay_result step;
    replay_events events = {};
    events.context = &u;
    events.copy = note_copy;
    BENCH_MUST(replay_create(&play, work, u.pool, &events) == KV_OK, "a replay");
    for (uint64_t i = 0;; i++) {
        const uint64_t in_window = i % every;
        const bool is_run = every == 1 || in_window < WINDOW, counts = every == 1 ? i > 0 : is_run && in_window > 0;
        u.copies.clear();
        const double start = measure_now_us();
        BENCH_MUST(replay_step(play, &step) == KV_OK, "a step of a workload");
        if (step.done)
            break;
        u.pool_us += measure_now_us() - start;
        BENCH_MUST(kv_branch_tables(u.pool, step.queries, step.num_queries, u.tables.data()) == KV_OK, "tables");
        iterate(u, step.num_queries, u.iterations / every, is_run, counts);
        uint64_t path_tokens = 0;
        for (uint32_t q = 0; q < step.num_queries; q++)
            path_tokens += u.tables[q].length;
        u.iterations++;
        u.sampled += counts;
        u.queries += step.num_queries;
        u.path_tokens += path_tokens;
        u.sampled_path_tokens += counts ? path_tokens : 0;
        /* the host's plan lags behind while the device follows by itself: a token for each query and step */
        const tree_plan *plan = transformer_gpu_host_plan(u.runners[0].transformer);
        u.unique_tokens += plan->unique_tokens + path_tokens - plan->path_tokens;
    }
    replay_destroy(play);
}

/* ---- a column ---- */

static run begin_run(const column &c, const weights_gpu *w, const std::vector<workload *> &works, bool with_standard)
{
    run u = {};
    char message[300];
    kv_pool_config pool = {};
    pool.block_tokens = BLOCK_TOKENS;
    u.of = &c;
    for (workload *work : works) {
        replay_totals totals;
        BENCH_MUST(replay_measure(&totals, work, BLOCK_TOKENS) == KV_OK, "the blocks of a workload");
        pool.num_blocks = totals.peak_blocks > pool.num_blocks ? totals.peak_blocks : pool.num_blocks;
        pool.max_branches = work->max_live_branches > pool.max_branches ? work->max_live_branches : pool.max_branches;
        u.max_queries = totals.peak_queries > u.max_queries ? totals.peak_queries : u.max_queries;
    }
    BENCH_MUST(kv_pool_create(&u.pool, &pool) == KV_OK, "a pool");
    BENCH_CUDA(cudaEventCreate(&u.begin));
    BENCH_CUDA(cudaEventCreate(&u.end));
    u.tables.resize(u.max_queries);
    u.runners.resize(with_standard ? NUM_WAYS : NUM_WAYS - 1);
    for (size_t i = 0; i < u.runners.size(); i++) {
        runner &r = u.runners[i];
        transformer_gpu_config config = {};
        config.max_branches = u.max_queries;
        config.plan.strategy = ways[i].strategy;
        config.attend = ways[i].attend;
        config.context = &r.standard;
        config.captures_always = ways[i].attend == standard;
        r.of = &ways[i];
        r.next.resize(u.max_queries);
        if (transformer_gpu_create(&r.transformer, w, u.pool, &config, message, sizeof message) != MODEL_OK)
            BENCH_MUST(false, message);
    }
    return u;
}

static void end_run(run &u)
{
    for (runner &r : u.runners) {
        transformer_gpu_destroy(r.transformer);
        standard_paths_gpu_destroy(r.standard.paths);
        cudaFree(r.standard.workspace);
    }
    BENCH_MUST(kv_pool_destroy(u.pool, true, NULL) == KV_OK, "the pool's end");
    cudaEventDestroy(u.begin), cudaEventDestroy(u.end);
}

static double ratio(double above, double below) { return below > 0 ? above / below : 0; }

/* A line for each way: means in us per step. */
static void write_lines(FILE *csv, const run &u, uint32_t every)
{
    const deft_numbers &d = u.of->deft;
    const double n = (double)u.iterations, none_us = u.runners[3].device_us / (double)u.runners[3].num_samples;
    for (const runner &r : u.runners) {
        if (r.num_samples == 0)
            continue;
        const double samples = (double)r.num_samples, device_us = r.device_us / samples;
        const double plan_us = r.num_planned ? r.plan_us / (double)r.num_planned : 0;
        const double launch_us = (r.wall_us - r.sampled_plan_us - r.device_us) / samples;
        fprintf(csv, "\"%s\",%s,%u,%.2f,%llu,%u,%llu,%.1f,%.1f,%.2f,%.2f,%.1f,%.1f,%.1f,%.1f,%.0f,%.0f,%.0f,%.3f,%.3f,%.3f\n",
                u.of->name, r.of->name, u.max_queries, (double)u.queries / n, (unsigned long long)u.iterations, every,
                (unsigned long long)r.num_samples, device_us, device_us - none_us, plan_us, launch_us,
                device_us + launch_us + plan_us, r.wall_us / samples, u.pool_us / n, r.capture_us / n,
                (double)u.unique_tokens / n, (double)u.path_tokens / n,
                u.sampled ? (double)u.sampled_path_tokens / (double)u.sampled : NAN, ratio(d.radix_s, d.flatten_s),
                ratio(d.radix_attention_s, d.flatten_attention_s), ratio(d.radix_s, d.radix_s - d.radix_attention_s));
        fprintf(stderr, "%-24s %-9s device %8.1f us, attention %8.1f, plan %6.1f, step %8.1f (%llu samples)\n", u.of->name,
                r.of->name, device_us, device_us - none_us, plan_us, device_us + launch_us + plan_us,
                (unsigned long long)r.num_samples);
    }
    fflush(csv);
}

static void measure(FILE *csv, const column &c, const weights_gpu *w, const trace *trees, const trace *accepts,
                    uint32_t every)
{
    std::vector<workload *> works = workloads_of(c, trees, accepts);
    run u = begin_run(c, w, works, c.deft.radix_s > 0);
    for (workload *work : works) {
        replay_one(u, work, every);
        workload_destroy(work);
    }
    write_lines(csv, u, every);
    end_run(u);
}

static trace *read_trace(const char *folder, const char *file)
{
    trace *t;
    trace_error error;
    const std::string path = std::string(folder) + "/" + file + ".ttr";
    BENCH_MUST(trace_read_file(&t, path.c_str(), &error) == KV_OK, error.message);
    return t;
}

int main(int argc, char **argv)
{
    if (!bench_has_gpu())
        return 0;
    const char *folder = argc > 2 ? argv[2] : "../shared/traces";
    const uint32_t coarser = argc > 3 ? (uint32_t)atoi(argv[3]) : 1;
    if (!figure_has_trace("decoding", "all steps keep their", folder, "spec_accept.ttr"))
        return 0;
    weights_gpu *w;
    char message[300];
    FILE *csv = bench_open(argc > 1 ? argv[1] : "figures/decoding.csv", "make measure (measure_decoding)");
    if (weights_gpu_create_random(&w, &llama, TREE_BF16, 1, message, sizeof message) != MODEL_OK)
        BENCH_MUST(false, message);
    fprintf(csv, "# a decode step of a model of Llama-3-8B's shape: 32 layers, width 4096, 32/8 heads, head_dim 128, SwiGLU "
                 "14336, vocabulary 128256, random bf16 weights of %.2f GB; one CUDA graph, block_tokens %d, last rung\n"
                 "# all iterations are replayed and planned; of every Nth, column every, %d run in sequence and %d count; "
                 "standard: of every %dth of these\n"
                 "# us per step, means. device: of the graph; attention: device without that of none; plan: host, all "
                 "iterations; launch: host, not hidden; step: their sum\n"
                 "# wall: planning to result, of the samples; pool: forks, prunes, appends and the replay; capture: of new graphs\n"
                 "# reasoner: the small model of model/, 64 branches behind 100 tokens, random fp16 weights\n"
                 "# deft: 0: none; ratios of Tables 3 and 4 of its poster, A100: radix/flatten of decoding and attention, "
                 "radix/(radix - attention)\n"
                 "workload,plan,max_queries,queries,iterations,every,samples,device_us,attention_us,plan_us,launch_us,"
                 "step_us,wall_us,pool_us,capture_us,unique_tokens,path_tokens,sampled_path_tokens,deft_decoding,deft_attention,"
                 "deft_bound\n",
            (double)weights_gpu_bytes(w) / 1e9, BLOCK_TOKENS, WINDOW, WINDOW - 1, STANDARD_EVERY);
    trace *accepts = read_trace(folder, "spec_accept");
    for (const column &c : table_3) {
        trace *trees = c.task ? read_trace(folder, (std::string("reason_") + c.task).c_str()) : NULL;
        measure(csv, c, w, trees, accepts, c.every * coarser);
        trace_destroy(trees);
    }
    trace *trees = read_trace(folder, "reason_set");
    for (const column &c : task_twice)
        measure(csv, c, w, trees, accepts, c.every);
    weights_gpu *small;
    if (weights_gpu_create_random(&small, &reasoner, TREE_FP16, 1, message, sizeof message) != MODEL_OK)
        BENCH_MUST(false, message);
    measure(csv, reasoner_step, small, NULL, accepts, reasoner_step.every);
    weights_gpu_destroy(small);
    trace_destroy(trees);
    trace_destroy(accepts);
    weights_gpu_destroy(w);
    bench_close(csv);
}
