/* treeattn bench: the fast path against the ceilings of this machine, grouped against per-branch reading, and the cost
 * of the host work. It measures and asserts nothing; both numbers of a ratio come from the same run. */
#include "tool_bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kv_branch.h"
#include "measure.h"
#include "tool_input.h"
#include "tool_limits.h"
#include "machine.h"
#include "tool_profile.h"
#include "provenance.h"
#include "tool_scene.h"

enum {
    MAX_REPEATS = 1001,
    NUM_PLANS = 4,
    NUM_TIMED = 2 * NUM_PLANS, /* cold, then warm */
    CALLS = 3 * NUM_PLANS,     /* of attention in a repeat: warm ones run twice */
    CACHES = 16,               /* times the largest cache, which the default of --max-memory adds */
    STEP_PRODUCTS = 256,       /* multiply-adds of the fast path in one step of --max-work */
    HOST_MIB = 32,             /* of the largest case of the host work, rounded up */
    HOST_STEPS = 2200000       /* of all host work in a repeat: block table entries, in two cases, and appends */
};

typedef struct bench {
    const tool_call *call;
    double plan_bytes, steps; /* of the cases that are planned */
    uint32_t num_threads, repeats;
    tree_shape shape; /* heads, head_dim, storage */
    tree_isa isa;
    double read_us, peak_gflops; /* medians, taken with the last case; read: `read_bytes` from memory */
    size_t read_bytes;
    char *read_data;
    tool_table *table;
} bench;

/* One row: the measured thing, its median time, and its ceiling if there is one. */
static void put_row(bench *b, const char *what, const char *plan, const char *state, double us, double ceiling_us,
                    const char *bound, double plan_gbps, double gflops)
{
    tool_row(b->table);
    tool_put_text(b->table, "measured", what);
    tool_put_text(b->table, "plan", plan);
    tool_put_text(b->table, "cache", state);
    tool_put_real(b->table, "us", us, 4);
    tool_put_real(b->table, "ceiling_us", ceiling_us, 4);
    tool_put_text(b->table, "bound", bound);
    tool_put_real(b->table, "score", ceiling_us / us, 3);
    tool_put_real(b->table, "plan_gbps", plan_gbps, 4);
    tool_put_real(b->table, "gflops", gflops, 4);
}

/* ---- attention ---- */

static const tree_strategy strategies[NUM_PLANS] = {TREE_COST, TREE_NODE, TREE_FLATTEN, TREE_RADIX};

typedef struct timed_plan {
    tree_plan *plan;
    double us[MAX_REPEATS];
} timed_plan;

/* A step to be measured: planned and counted before any case is measured. */
typedef struct bench_case {
    const char *name;
    tree_shape shape;
    double path_tokens, unique_tokens;
    uint32_t num_sets;
    void *workspace; /* of all plans, one after the other */
    size_t workspace_bytes;
    timed_plan timed[NUM_TIMED];
} bench_case;

/* Against --max-memory, whose default grows with the caches. */
static void need_memory(const bench *b, double bytes, const char *name)
{
    const double mib = 1 << 20;
    double limit = tool_memory_limit(b->call);
    if (!tool_given(b->call, "--max-memory"))
        limit += ceil(CACHES * (double)measure_cache_bytes() / mib);
    if (bytes > limit * mib)
        tool_bad_input("bench, %s, needs %.0f MiB of memory, more than --max-memory %.0f", name, ceil(bytes / mib),
                       limit);
}

/* Rounded up as in measure_allocate. */
static double allocated(double bytes)
{
    const double page = 2 << 20;
    return ceil(bytes / page) * page;
}

static double token_bytes(const tree_shape *shape)
{
    return 2.0 * shape->num_kv_heads * shape->head_dim * (double)tree_storage_bytes(shape->storage);
}

/* While the case is measured: the memory to read, K and V of all sets, query, out, and all plans made so far. */
static double case_bytes(const bench *b, const bench_case *one)
{
    double set_tokens = (double)one->shape.num_blocks * one->shape.block_tokens;
    double rows = (double)one->shape.num_queries * one->shape.num_heads;
    return allocated((double)b->read_bytes) + b->plan_bytes + allocated((double)one->workspace_bytes) +
           2 * allocated(one->num_sets * set_tokens * token_bytes(&one->shape) / 2) +
           2 * allocated(rows * one->shape.head_dim * sizeof(float));
}

static tree_plan *plan_case(bench *b, bench_case *one, const kv_tree *tree, tree_strategy strategy)
{
    tree_plan_config config = {.strategy = strategy, .target = TREE_TARGET_CPU, .num_workers = b->num_threads,
                               .group_size = one->shape.num_heads / one->shape.num_kv_heads};
    uint64_t bytes;
    tree_status status = tree_plan_bytes(&bytes, tree, &config);
    if (status == TREE_OVERFLOW)
        tool_bad_input("plan %s: %s", tree_strategy_name[strategy], tree_status_string(status));
    if (status != TREE_OK)
        tool_fail("plan %s: %s", tree_strategy_name[strategy], tree_status_string(status));
    b->plan_bytes += (double)bytes;
    need_memory(b, case_bytes(b, one), one->name);
    tree_plan *plan = tool_scene_plan(tree, &config);
    size_t workspace_bytes = tree_attention_cpu_workspace_bytes(plan, &one->shape, b->num_threads);
    if (workspace_bytes > one->workspace_bytes)
        one->workspace_bytes = workspace_bytes;
    return plan;
}

static bench_case *plan_tree(bench *b, const char *name, const kv_tree *tree, uint32_t num_blocks)
{
    bench_case *one = tool_allocate(1, sizeof *one);
    one->name = name;
    one->shape = b->shape;
    one->shape.num_queries = tree->num_queries;
    one->shape.num_blocks = num_blocks;
    one->path_tokens = (double)tree->path_tokens;
    one->unique_tokens = (double)tree->unique_tokens;
    if (tree->unique_tokens == 0)
        tool_bad_input("bench, %s: expected a step that has queries", name);
    double unique_bytes = token_bytes(&one->shape) * one->unique_tokens;
    one->num_sets = (uint32_t)(4 * (double)measure_cache_bytes() / unique_bytes) + 2;
    need_memory(b, case_bytes(b, one), name);
    /* a plan visits each node of each path; a node has at least one token */
    double products = one->path_tokens * one->shape.num_heads * one->shape.head_dim;
    b->steps += NUM_TIMED * one->path_tokens + (double)CALLS * b->repeats * products / STEP_PRODUCTS;
    tool_need_work(b->call, b->steps, "bench, %s, with %u repeats,", name, b->repeats);
    for (int i = 0; i < NUM_TIMED; i++)
        one->timed[i].plan = plan_case(b, one, tree, strategies[i % NUM_PLANS]);
    return one;
}

static bench_case *plan_workload(bench *b, const char *name, const workload *work, uint32_t iteration)
{
    replay_totals totals;
    kv_status status = replay_measure(&totals, work, b->shape.block_tokens);
    if (status != KV_OK)
        tool_fail("%s: %s", name, kv_status_string(status));
    tool_scene scene = tool_scene_open(work, b->shape.block_tokens, totals.peak_blocks);
    tool_play_to(&scene, iteration);
    kv_tree *tree = tool_scene_tree(&scene);
    bench_case *one = plan_tree(b, name, tree, totals.peak_blocks);
    kv_tree_destroy(tree);
    tool_scene_close(&scene);
    return one;
}

static bench_case *plan_levels(bench *b, const char *name, const char *nodes, const char *tokens)
{
    workload *work;
    if (workload_levels(&work, nodes, tokens, NULL) != KV_OK)
        tool_fail("%s: out of memory", name);
    bench_case *one = plan_workload(b, name, work, 1);
    workload_destroy(work);
    return one;
}

static double measure_timed_us(const bench *b, const bench_case *one, const measure_sets *sets, uint32_t set, int i)
{
    return measure_attention_us(sets, set, one->timed[i].plan, one->workspace, one->workspace_bytes, b->num_threads);
}

static void put_case(bench *b, const bench_case *one, timed_plan *timed, bool cold)
{
    double operations = 4.0 * one->path_tokens * one->shape.num_heads * one->shape.head_dim;
    double memory_us = token_bytes(&one->shape) * one->unique_tokens * b->read_us / (double)b->read_bytes;
    double compute_us = operations / b->peak_gflops * 1e-3, us = measure_median(timed->us, b->repeats);
    bool memory = cold && memory_us > compute_us;
    put_row(b, one->name, tree_strategy_name[timed->plan->config.strategy], cold ? "cold" : "warm", us,
            memory ? memory_us : compute_us, memory ? "memory" : "compute",
            token_bytes(&one->shape) * (double)timed->plan->loaded_tokens / us * 1e-3, operations / us * 1e-3);
}

/* Ceilings and plans take turns, so that a disturbance of the machine affects all of them. */
static void measure_case(bench *b, bench_case *one)
{
    measure_sets sets = measure_sets_create(&one->shape, one->num_sets);
    sets.isa = b->isa;
    one->workspace = measure_allocate(one->workspace_bytes);
    double read_us[MAX_REPEATS], peak[MAX_REPEATS];
    for (uint32_t repeat = 0, set = 0; repeat < b->repeats; repeat++) {
        read_us[repeat] = measure_read_us(b->read_data, b->read_bytes, b->num_threads);
        peak[repeat] = measure_peak_gflops(one->shape.storage, b->num_threads);
        for (int i = 0; i < NUM_PLANS; i++, set = (set + 1) % one->num_sets)
            one->timed[i].us[repeat] = measure_timed_us(b, one, &sets, set, i);
        for (int i = NUM_PLANS; i < NUM_TIMED; i++) {
            for (int twice = 0; twice < 2; twice++)
                one->timed[i].us[repeat] = measure_timed_us(b, one, &sets, 0, i);
        }
    }
    b->read_us = measure_median(read_us, b->repeats);
    b->peak_gflops = measure_median(peak, b->repeats);
    for (int i = 0; i < NUM_TIMED; i++)
        put_case(b, one, &one->timed[i], i < NUM_PLANS);
    put_row(b, "ceiling: memory read", "", "cold", b->read_us, NAN, "", (double)b->read_bytes / b->read_us * 1e-3, NAN);
    put_row(b, "ceiling: multiply-add", "", "", NAN, NAN, "", NAN, b->peak_gflops);
    for (int i = 0; i < NUM_TIMED; i++)
        tree_plan_destroy(one->timed[i].plan);
    free(one->workspace);
    measure_sets_destroy(&sets);
    free(one);
}

/* ---- host work ---- */

typedef struct branches {
    kv_pool *pool;
    uint32_t count;
    kv_branch *handles;
    kv_table *tables;
    uint32_t *ones;
    kv_append *appends;
} branches;

static void need(kv_status status, const char *what)
{
    if (status != KV_OK)
        tool_fail("%s: %s", what, kv_status_string(status));
}

/* `count` branches of `length` tokens, of which the first `shared` are one prefix. */
static branches grow_branches(uint32_t count, uint32_t shared, uint32_t length, uint32_t block_tokens)
{
    branches all = {.count = count, .handles = tool_allocate(count, sizeof *all.handles),
                    .tables = tool_allocate(count, sizeof *all.tables),
                    .ones = tool_allocate(count, sizeof *all.ones),
                    .appends = tool_allocate(count, sizeof *all.appends)};
    kv_pool_config config = {.num_blocks = (count + 1) * (length / block_tokens + 8), .block_tokens = block_tokens,
                             .max_branches = count + 2};
    kv_append append;
    kv_branch root;
    need(kv_pool_create(&all.pool, &config), "pool");
    need(kv_branch_create(all.pool, &root), "root");
    need(kv_branch_append(all.pool, root, shared, &append), "prefix");
    for (uint32_t i = 0; i < count; i++) {
        need(kv_branch_fork(all.pool, root, &all.handles[i]), "fork");
        need(kv_branch_append(all.pool, all.handles[i], length - shared, &append), "append");
        all.ones[i] = 1;
    }
    return all;
}

static void drop_branches(branches *all)
{
    kv_pool_destroy(all->pool, true, NULL);
    free(all->handles);
    free(all->tables);
    free(all->ones);
    free(all->appends);
}

/* Planning from block tables, then steps in which every branch decodes a token. */
static void bench_planning(bench *b, const char *name, uint32_t shared)
{
    enum { COUNT = 1024, LENGTH = 4096 };
    branches all = grow_branches(COUNT, shared, LENGTH, 16);
    uint32_t pool_blocks = (COUNT + 1) * (LENGTH / 16 + 8);
    tree_plan_config config = {.strategy = TREE_COST, .group_size = 4};
    double build_us[MAX_REPEATS], grow_us[MAX_REPEATS], append_us[MAX_REPEATS];
    uint32_t num_grown = 0;
    kv_tree *tree = NULL;
    tree_plan *plan = NULL;
    for (uint32_t repeat = 0; repeat < b->repeats; repeat++) {
        double start = measure_now_us();
        need(kv_branch_append_many(all.pool, all.handles, all.ones, COUNT, all.appends), "append");
        append_us[repeat] = measure_now_us() - start;
        need(kv_branch_tables(all.pool, all.handles, COUNT, all.tables), "tables");
        if (tree) {
            start = measure_now_us();
            bool grown = kv_tree_grow(tree, all.tables, COUNT) && tree_plan_grow(plan, tree);
            grow_us[num_grown] = measure_now_us() - start;
            num_grown += grown;
            tree_plan_destroy(plan);
            kv_tree_destroy(tree);
        }
        start = measure_now_us();
        need(kv_tree_build(&tree, all.tables, COUNT, 16, pool_blocks), "tree");
        plan = tool_scene_plan(tree, &config);
        build_us[repeat] = measure_now_us() - start;
    }
    tree_plan_destroy(plan);
    kv_tree_destroy(tree);
    char what[96];
    snprintf(what, sizeof what, "plan 1024 branches of 4096 tokens, %s", name);
    put_row(b, what, "cost", "", measure_median(build_us, b->repeats), NAN, "", NAN, NAN);
    snprintf(what, sizeof what, "step without fork or prune, %s (%u of %u grew)", name, num_grown, b->repeats - 1);
    put_row(b, what, "cost", "", num_grown ? measure_median(grow_us, num_grown) : NAN, NAN, "", NAN, NAN);
    snprintf(what, sizeof what, "append a token to each of 1024 branches, %s", name);
    put_row(b, what, "", "", measure_median(append_us, b->repeats), NAN, "", NAN, NAN);
    drop_branches(&all);
}

static void bench_allocator(bench *b)
{
    enum { LENGTH = 100000, STEPS = 20000 };
    branches one = grow_branches(1, 0, LENGTH, 16);
    double fork_us[MAX_REPEATS], prune_us[MAX_REPEATS], append_us[MAX_REPEATS];
    for (uint32_t repeat = 0; repeat < b->repeats; repeat++) {
        kv_branch child;
        double start = measure_now_us();
        need(kv_branch_fork(one.pool, one.handles[0], &child), "fork");
        fork_us[repeat] = measure_now_us() - start;
        start = measure_now_us();
        need(kv_branch_prune(one.pool, child), "prune");
        prune_us[repeat] = measure_now_us() - start;
    }
    drop_branches(&one);
    for (uint32_t repeat = 0; repeat < b->repeats; repeat++) {
        branches fresh = grow_branches(1, 0, 16, 16);
        kv_pool_destroy(fresh.pool, true, NULL);
        kv_pool_config config = {.num_blocks = STEPS / 16 + 2};
        need(kv_pool_create(&fresh.pool, &config), "pool");
        need(kv_branch_create(fresh.pool, fresh.handles), "branch");
        double start = measure_now_us();
        for (uint32_t step = 0; step < STEPS; step++)
            need(kv_branch_append(fresh.pool, fresh.handles[0], 1, fresh.appends), "append");
        append_us[repeat] = (measure_now_us() - start) / STEPS;
        drop_branches(&fresh);
    }
    put_row(b, "fork of a 100,000-token branch", "", "", measure_median(fork_us, b->repeats), NAN, "", NAN, NAN);
    put_row(b, "prune of that fork", "", "", measure_median(prune_us, b->repeats), NAN, "", NAN, NAN);
    put_row(b, "append, per token", "", "", measure_median(append_us, b->repeats), NAN, "", NAN, NAN);
}

/* ---- */

static void write_provenance(const tool_call *call, const bench *b)
{
    if (call->format == TOOL_JSON)
        return;
    machine_info machine = machine_look();
    const char *lead = call->format == TOOL_CSV ? "# " : "";
    char device[256], statistic[256];
    snprintf(device, sizeof device, "%s, %u threads, largest cache %zu MiB", machine.cpu, b->num_threads,
             measure_cache_bytes() >> 20);
    snprintf(statistic, sizeof statistic,
             "median of %u; ceilings and cases take turns in one run; cold: K and V sets rotated through 4 times the "
             "largest cache; warm: the same set twice, the second timed", b->repeats);
    provenance_write(stdout, lead, device, "treeattn bench", statistic);
    printf("%sinstruction set: %s; compiler: %s\n", lead, tree_isa_name[b->isa], machine.compiler);
    printf("%sshape: %u/%u heads, head_dim %u, %u tokens per block; ceiling: the larger of unique bytes / memory read "
           "and operations / multiply-add peak\n", lead, b->shape.num_heads, b->shape.num_kv_heads, b->shape.head_dim,
           b->shape.block_tokens);
}

/* NULL: no --trace. */
static void refuse_trace_options(const tool_call *call)
{
    static const char *const names[] = {"--ordinal", "--record", "--star", "--draft", "--prompt", "--iteration", NULL};
    tool_refuse(call, names, "works only with --trace");
}

static workload *read_workload(const tool_call *call, const tree_shape *shape, uint32_t iteration)
{
    if (!tool_given(call, "--trace")) {
        refuse_trace_options(call);
        return NULL;
    }
    workload *work = tool_workload_from_file(call, tool_text(call, "--trace", NULL), "--ordinal", iteration);
    replay_needs needs;
    double bytes = tool_need_replay(call, work, shape->block_tokens, 0, &needs);
    /* K and V twice, and the sets that fill the cache */
    bytes += 4.0 * (double)needs.most_blocks * shape->block_tokens * shape->num_kv_heads * shape->head_dim *
             (double)tree_storage_bytes(shape->storage);
    tool_need_memory(call, bytes, "K and V of %.0f blocks, twice,", (double)needs.most_blocks);
    return work;
}

static int run(const tool_call *call)
{
    if (tool_given(call, "--gpu"))
        return tool_bench_gpu(call);
    static const char *const gpu_names[] = {"--rung", "--strategy", "--profile", NULL};
    tool_refuse(call, gpu_names, "works only with --gpu");
    bench b = {.call = call, .shape = tool_shape(call, 32, 8, 128, TREE_BF16), .isa = tool_isa(call)};
    b.num_threads = tool_count(call, "--threads", machine_look().num_threads, 1, 1024);
    b.repeats = tool_count(call, "--repeats", 31, 3, MAX_REPEATS);
    b.read_bytes = (4 * measure_cache_bytes() + ((size_t)64 << 20)) / 4096 * 4096;
    uint32_t iteration = tool_count(call, "--iteration", 0, 1, UINT32_MAX);
    need_memory(&b, allocated((double)b.read_bytes) + HOST_MIB * (double)(1 << 20), "memory read and host work");
    b.steps = (double)HOST_STEPS * b.repeats;
    tool_need_work(call, b.steps, "bench, host work, with %u repeats,", b.repeats);
    bench_case *cases[3];
    uint32_t num_cases = 0;
    cases[num_cases++] = plan_levels(&b, "1,64 / 2048,64", "1,64", "2048,64");
    cases[num_cases++] = plan_levels(&b, "1,20 / 4000,200", "1,20", "4000,200");
    workload *work = read_workload(call, &b.shape, iteration);
    if (work) {
        cases[num_cases++] = plan_workload(&b, "trace step", work, iteration);
        workload_destroy(work);
    }
    for (uint32_t i = 0; i < num_cases; i++)
        need_memory(&b, case_bytes(&b, cases[i]), cases[i]->name); /* and the plans of all */
    b.table = tool_table_create();
    b.read_data = measure_allocate(b.read_bytes);
    tool_progress progress = tool_progress_begin("bench");
    uint32_t num_parts = num_cases + 3, part = 0;
    for (uint32_t i = 0; i < num_cases; i++) {
        tool_progress_show(&progress, part++, num_parts);
        measure_case(&b, cases[i]);
    }
    tool_progress_show(&progress, part++, num_parts);
    bench_planning(&b, "nothing shared", 0);
    tool_progress_show(&progress, part++, num_parts);
    bench_planning(&b, "2048 shared", 2048);
    tool_progress_show(&progress, part, num_parts);
    bench_allocator(&b);
    tool_progress_end(&progress);
    write_provenance(call, &b);
    tool_table_write(b.table, stdout, call->format, false);
    free(b.read_data);
    return TOOL_OK;
}

static const tool_option options[] = {
    {"--gpu", "TREE", "measure this GPU instead, on a tree: '1,64 / 2048,64'; or 'step': the step of --trace"},
    {"--rung", "N", "with --gpu: a rung of the ladder, from 0 (the last that this GPU runs)"},
    {"--strategy", TOOL_STRATEGIES, "with --gpu: how the items are formed (cost)"},
    TOOL_PROFILE_OPTION("with --gpu: the prices of plan cost"),
    {"--trace", "FILE.ttr", "measure a step of a trace too (-: standard input); see --ordinal and --iteration"},
    TOOL_TRACE_OPTIONS("--ordinal"),
    {"--max-memory", "MIB", "refuse input that needs more memory (512, and 16 times the largest cache)"},
    TOOL_WORK_OPTION,
    {"--iteration", "K", "which step, from 1 (the one with the most queries)"},
    {"--threads", "N", "threads (all)"},
    {"--repeats", "N", "repetitions; every time is the median of them (31)"},
    {"--block-tokens", "N", "tokens of a block, a power of two from 1 to 256 (16)"},
    TOOL_SHAPE_OPTIONS("32/8", "128", "bf16; with --gpu fp16"),
    TOOL_ISA_OPTION,
    {NULL, NULL, NULL},
};

const tool_verb tool_bench = {
    .name = "bench",
    .summary = "measures the fast path, or a GPU, against the ceilings of this machine",
    .formats = "text csv json",
    .options = options,
    .example = "  treeattn bench --repeats 3 --format csv > bench.csv\n"
               "  treeattn bench --gpu '1,64 / 2048,64' --profile h200\n",
    .run = run,
};
