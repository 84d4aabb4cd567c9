/* growth: how the work of a call grows with its input, 10^3 to 10^6, for each contract that the headers state.
 *
 *   size     the quantity in which the header says the cost is linear: operations, blocks, or tree and plan together
 *   steps    basic blocks of the library that ran (tests/step_count.h): no clock, the same on every machine
 *   ms       time of the processor; counting the steps makes a call take two to four times as long
 *   exponent of the steps and of the time over the size: median of the slopes between all pairs of sizes that take a
 *            millisecond or more. 1 is linear. The program ends with status 1 if the exponent of the steps is above
 *            1.1, or that of the time above 1.2: caches raise the time of long inputs, but work inside libc
 *            shows in the time alone.
 *
 * A series ends early where its next size would take seconds or gigabytes. Takes about two minutes.
 * measure_growth [CSV [WORD]]: with WORD only the series whose name contains it. */
#define _POSIX_C_SOURCE 200809L
#include "provenance.h"

#include <inttypes.h>
#include <math.h>
#include <time.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "kv_branch.h"
#include "kv_tree.h"
#include "measure.h"
#include "plan_queue.h"
#include "replay.h"
#include "step_count.h"
#include "traffic.h"
#include "tree_plan.h"

enum { NUM_SIZES = 7, REPEATS = 3, BLOCK_TOKENS = 16 };
static const double STEPS_LIMIT = 1.1, TIME_LIMIT = 1.2, LEAST_MS = 1, MOST_MS = 600, MOST_SIZE = 1e7;

/* One call on an input of n: its steps and time, and the size in which its cost is linear. */
typedef struct sample {
    double size, ms, steps;
} sample;

typedef struct growth_series {
    const char *call, *input;
    sample (*run)(const struct growth_series *series, uint32_t n);
    tree_strategy strategy;
    uint32_t (*parent)(uint32_t token, uint32_t n); /* of draft trees */
} growth_series;

static void must(bool good)
{
    figure_check(good, "a call of the library failed");
}

static void *numbers(size_t count)
{
    void *array = calloc(count + 1, sizeof(uint64_t));
    must(array != NULL);
    return array;
}

/* Processor time, so that other programs do not count. */
static double now_ms(void)
{
    struct timespec now;
    must(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) == 0);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static double started_ms;

static void start(void)
{
    step_count_start();
    started_ms = now_ms();
}

static sample stop(double size)
{
    double ms = now_ms() - started_ms;
    return (sample){size, ms, (double)step_count()};
}

/* ---- allocator ---- */

static kv_pool *pool_of(uint32_t num_blocks, uint32_t block_tokens, uint32_t num_branches)
{
    kv_pool *pool;
    must(kv_pool_create(&pool, &(kv_pool_config){.num_blocks = num_blocks, .block_tokens = block_tokens,
                                                 .max_branches = num_branches}) == KV_OK);
    return pool;
}

static kv_branch branch_of(kv_pool *pool, uint32_t num_tokens)
{
    kv_branch branch;
    kv_append append;
    must(kv_branch_create(pool, &branch) == KV_OK && kv_branch_append(pool, branch, num_tokens, &append) == KV_OK);
    return branch;
}

/* n forks of one block at the lengths that length_of names, then n prunes. */
static sample fork_and_prune(uint32_t n, uint32_t block_tokens, bool mixed)
{
    kv_pool *pool = pool_of(1, block_tokens, n + 1);
    kv_branch root = branch_of(pool, block_tokens), *forks = numbers(n);
    start();
    for (uint32_t i = 0; i < n; i++)
        must((mixed ? kv_branch_fork_at(pool, root, i * 97 % 255 + 1, &forks[i])
                    : kv_branch_fork(pool, root, &forks[i])) == KV_OK);
    for (uint32_t i = 0; i < n; i++)
        must(kv_branch_prune(pool, forks[i]) == KV_OK);
    sample s = stop(n);
    kv_pool_destroy(pool, true, NULL);
    free(forks);
    return s;
}

static sample run_fork(const growth_series *series, uint32_t n)
{
    (void)series;
    return fork_and_prune(n, BLOCK_TOKENS, false);
}

static sample run_fork_at(const growth_series *series, uint32_t n)
{
    (void)series;
    return fork_and_prune(n, 256, true);
}

static sample run_fork_long(const growth_series *series, uint32_t n)
{
    (void)series;
    kv_pool *pool = pool_of(n, 1, 2);
    kv_branch root = branch_of(pool, n), child;
    start();
    must(kv_branch_fork(pool, root, &child) == KV_OK && kv_branch_prune(pool, child) == KV_OK);
    sample s = stop(n);
    kv_pool_destroy(pool, true, NULL);
    return s;
}

static sample run_append(const growth_series *series, uint32_t n)
{
    (void)series;
    kv_pool *pool = pool_of(n / BLOCK_TOKENS + 1, BLOCK_TOKENS, 1);
    kv_branch branch = branch_of(pool, 0);
    kv_append append;
    start();
    for (uint32_t i = 0; i < n; i++)
        must(kv_branch_append(pool, branch, 1, &append) == KV_OK);
    sample s = stop(n);
    kv_pool_destroy(pool, true, NULL);
    return s;
}

/* n branches with a block of their own behind one that all share. */
typedef struct forest {
    kv_pool *pool;
    kv_branch *branches;
    kv_table *tables;
    uint32_t *one;
    kv_append *appends;
} forest;

static forest forest_of(uint32_t n)
{
    forest f = {pool_of(2 * n + 1, BLOCK_TOKENS, n + 1), numbers(n), calloc(n, sizeof *f.tables), numbers(n),
                calloc(n, sizeof *f.appends)};
    must(f.tables && f.appends);
    f.branches[0] = branch_of(f.pool, BLOCK_TOKENS);
    for (uint32_t i = 1; i < n; i++)
        must(kv_branch_fork(f.pool, f.branches[0], &f.branches[i]) == KV_OK);
    for (uint32_t i = 0; i < n; i++)
        f.one[i] = 1;
    return f;
}

static void decode(forest *f, uint32_t n)
{
    must(kv_branch_append_many(f->pool, f->branches, f->one, n, f->appends) == KV_OK
         && kv_branch_tables(f->pool, f->branches, n, f->tables) == KV_OK);
}

static void forest_end(forest *f)
{
    kv_pool_destroy(f->pool, true, NULL);
    free(f->branches);
    free(f->tables);
    free(f->one);
    free(f->appends);
}

static sample run_append_many(const growth_series *series, uint32_t n)
{
    (void)series;
    forest f = forest_of(n);
    start();
    decode(&f, n);
    sample s = stop(n);
    forest_end(&f);
    return s;
}

static sample run_pool_check(const growth_series *series, uint32_t n)
{
    (void)series;
    forest f = forest_of(n);
    decode(&f, n);
    char message[200];
    start();
    must(kv_pool_check(f.pool, message, sizeof message) == KV_OK);
    sample s = stop(n);
    forest_end(&f);
    return s;
}

static sample run_tree_build(const growth_series *series, uint32_t n)
{
    (void)series;
    forest f = forest_of(n);
    kv_tree *tree;
    decode(&f, n);
    start();
    must(kv_tree_build(&tree, f.tables, n, BLOCK_TOKENS, 2 * n + 1) == KV_OK);
    sample s = stop(n);
    kv_tree_destroy(tree);
    forest_end(&f);
    return s;
}

/* A decode step: the tables, kv_tree_grow and tree_plan_grow. */
static sample run_grow(const growth_series *series, uint32_t n)
{
    forest f = forest_of(n);
    kv_tree *tree;
    tree_plan *plan;
    decode(&f, n);
    must(kv_tree_build(&tree, f.tables, n, BLOCK_TOKENS, 2 * n + 1) == KV_OK);
    must(tree_plan_build(&plan, tree, &(tree_plan_config){.strategy = series->strategy}) == TREE_OK);
    decode(&f, n);
    start();
    must(kv_tree_grow(tree, f.tables, n) && tree_plan_grow(plan, tree));
    sample s = stop(n);
    tree_plan_destroy(plan);
    kv_tree_destroy(tree);
    forest_end(&f);
    return s;
}

/* n tables of one block, whose ids are the multiples of a power of two. */
static sample run_tree_build_strided(const growth_series *series, uint32_t n)
{
    (void)series;
    enum { STRIDE = 64 };
    kv_table *tables = calloc(n, sizeof *tables);
    uint32_t *ids = numbers(n);
    must(tables != NULL);
    for (uint32_t i = 0; i < n; i++) {
        ids[i] = i * STRIDE;
        tables[i] = (kv_table){.blocks = &ids[i], .num_blocks = 1, .length = 1};
    }
    kv_tree *tree;
    start();
    must(kv_tree_build(&tree, tables, n, BLOCK_TOKENS, n * STRIDE) == KV_OK);
    sample s = stop((double)n * (1 + STRIDE / 16.0)); /* and a byte for each block of the pool */
    kv_tree_destroy(tree);
    free(tables);
    free(ids);
    return s;
}

/* ---- drafts: a past of one block, then n tokens, each with a query ---- */

static uint32_t in_star(uint32_t token, uint32_t n) { (void)token, (void)n; return KV_NONE; }
static uint32_t in_chain(uint32_t token, uint32_t n) { (void)n; return token ? token - 1 : KV_NONE; }
static uint32_t in_binary(uint32_t token, uint32_t n) { (void)n; return token ? (token - 1) / 2 : KV_NONE; }
static uint32_t in_caterpillar(uint32_t token, uint32_t n)
{
    return token < n / 2 ? in_chain(token, n) : token - n / 2;
}

typedef struct drafts {
    uint32_t *blocks, *parent;
    uint32_t num_blocks;
    kv_table table;
    kv_draft draft;
} drafts;

static drafts drafts_of(const growth_series *series, uint32_t n)
{
    drafts d = {numbers(n), numbers(n), 1 + (n + BLOCK_TOKENS - 1) / BLOCK_TOKENS, {0}, {0}};
    for (uint32_t i = 0; i < d.num_blocks; i++)
        d.blocks[i] = i;
    for (uint32_t i = 0; i < n; i++)
        d.parent[i] = series->parent(i, n);
    d.table = (kv_table){.blocks = d.blocks, .num_blocks = d.num_blocks, .length = BLOCK_TOKENS + n};
    d.draft = (kv_draft){n, d.parent};
    return d;
}

static kv_tree *draft_tree(const drafts *d)
{
    kv_tree *tree;
    must(kv_tree_build_drafts(&tree, &d->table, &d->draft, 1, BLOCK_TOKENS, d->num_blocks) == KV_OK);
    return tree;
}

static void drafts_end(drafts *d, kv_tree *tree)
{
    kv_tree_destroy(tree);
    free(d->blocks);
    free(d->parent);
}

static sample run_build_drafts(const growth_series *series, uint32_t n)
{
    drafts d = drafts_of(series, n);
    start();
    kv_tree *tree = draft_tree(&d);
    sample s = stop(n);
    drafts_end(&d, tree);
    return s;
}

static sample run_tree_check(const growth_series *series, uint32_t n)
{
    drafts d = drafts_of(series, n);
    kv_tree *tree = draft_tree(&d);
    char message[200];
    start();
    must(kv_tree_check_drafts(tree, &d.table, &d.draft, 1, message, sizeof message) == KV_OK);
    sample s = stop(n);
    drafts_end(&d, tree);
    return s;
}

/* ---- plans ---- */

static double plan_size(const tree_plan *plan)
{
    return (double)plan->num_items + plan->num_ranges + plan->num_partials + plan->num_mask_words;
}

static tree_plan *plan_of(const growth_series *series, const kv_tree *tree)
{
    tree_plan *plan;
    must(tree_plan_build(&plan, tree, &(tree_plan_config){.strategy = series->strategy}) == TREE_OK);
    return plan;
}

static sample run_plan(const growth_series *series, uint32_t n)
{
    drafts d = drafts_of(series, n);
    kv_tree *tree = draft_tree(&d);
    start();
    tree_plan *plan = plan_of(series, tree);
    sample s = stop(3.0 * n + plan_size(plan)); /* nodes, queries, block entries */
    tree_plan_destroy(plan);
    drafts_end(&d, tree);
    return s;
}

static sample run_plan_check(const growth_series *series, uint32_t n)
{
    drafts d = drafts_of(series, n);
    kv_tree *tree = draft_tree(&d);
    tree_plan *plan = plan_of(series, tree);
    double size = n + plan_size(plan);
    for (uint32_t i = 0; i < plan->num_items; i++)
        size += (double)plan->items[i].num_rows * plan->items[i].num_tokens;
    start();
    must(tree_plan_check(plan, tree, NULL, 0) == TREE_OK);
    sample s = stop(size);
    tree_plan_destroy(plan);
    drafts_end(&d, tree);
    return s;
}

static tree_shape shape_of(const tree_plan *plan)
{
    return (tree_shape){.num_queries = plan->num_queries, .num_heads = 32, .num_kv_heads = 8, .head_dim = 128,
                        .num_blocks = plan->max_block + 1, .block_tokens = BLOCK_TOKENS, .storage = TREE_BF16};
}

static sample run_traffic(const growth_series *series, uint32_t n)
{
    drafts d = drafts_of(series, n);
    kv_tree *tree = draft_tree(&d);
    tree_plan *plan = plan_of(series, tree);
    tree_shape shape = shape_of(plan);
    tree_traffic traffic;
    start();
    must(tree_traffic_count(&traffic, plan, &shape, TRAFFIC_PACKED) == TREE_OK);
    sample s = stop((double)plan->num_items + plan->num_ranges + plan->num_queries);
    tree_plan_destroy(plan);
    drafts_end(&d, tree);
    return s;
}

static sample run_queue(const growth_series *series, uint32_t n)
{
    drafts d = drafts_of(series, n);
    kv_tree *tree = draft_tree(&d);
    tree_plan *plan = plan_of(series, tree);
    tree_shape shape = shape_of(plan);
    plan_queue queue;
    start();
    must(plan_queue_build(&queue, plan, &shape, 264) == TREE_OK);
    sample s = stop(plan_size(plan) + 8.0 * queue.num_tasks + queue.num_tiles + queue.num_tokens
                                  + queue.num_masks + queue.num_partials);
    plan_queue_free(&queue);
    tree_plan_destroy(plan);
    drafts_end(&d, tree);
    return s;
}

/* ---- workloads ---- */

/* Ends the sample that was started before the workload was built. */
static sample replay_of(workload *work)
{
    replay_totals totals;
    replay_needs needs;
    must(work->status == KV_OK && replay_measure(&totals, work, BLOCK_TOKENS) == KV_OK);
    sample s = stop((double)work->num_operations + (double)work->num_tokens);
    must(replay_count_needs(&needs, work, BLOCK_TOKENS) == KV_OK);
    s.size += (double)needs.table_entries;
    workload_destroy(work);
    return s;
}

/* A reasoning tree that is a chain of n nodes of one token. */
static sample run_replay_chain(const growth_series *series, uint32_t n)
{
    (void)series;
    trace_tree tree = {.num_nodes = n, .num_leaves = 1, .num_tokens = n, .path_tokens = n, .last_iteration = n - 1,
                       .nodes = calloc(n, sizeof *tree.nodes)};
    workload *work;
    must(tree.nodes != NULL);
    for (uint32_t i = 0; i < n; i++)
        tree.nodes[i] = (trace_node){i ? i - 1 : TRACE_NONE, 1, (int32_t)i, (int32_t)i};
    start();
    must(workload_from_tree(&work, &tree, 0, 0) == KV_OK);
    sample s = replay_of(work);
    free(tree.nodes);
    return s;
}

/* n steps of speculative decoding, one token accepted in each. */
static sample run_replay_accept(const growth_series *series, uint32_t n)
{
    (void)series;
    trace_accept accept = {.prompt_tokens = 1, .num_steps = n, .num_recorded = n, .num_tokens = n,
                           .accepted = numbers(n)};
    workload *work;
    for (uint32_t i = 0; i < n; i++)
        accept.accepted[i] = 1;
    start();
    must(workload_from_accept(&work, &accept, 1, 0, 0) == KV_OK);
    sample s = replay_of(work);
    free(accept.accepted);
    return s;
}

/* ---- a series, its exponents ---- */

static sample median_of(const growth_series *series, uint32_t n)
{
    double ms[REPEATS];
    sample s;
    uint32_t count = 0;
    do {
        s = series->run(series, n);
        ms[count++] = s.ms;
    } while (count < (s.ms < MOST_MS / 4 ? REPEATS : 1));
    s.ms = measure_median(ms, count);
    return s;
}

typedef struct exponents {
    double steps, ms; /* NAN where fewer than two sizes take long enough */
} exponents;

static exponents exponents_of(const sample *samples, uint32_t count)
{
    double steps[NUM_SIZES * NUM_SIZES], ms[NUM_SIZES * NUM_SIZES];
    uint32_t num = 0;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = i + 1; samples[i].ms >= LEAST_MS && j < count; j++, num++) {
            double size = log(samples[j].size / samples[i].size);
            steps[num] = log(samples[j].steps / samples[i].steps) / size;
            ms[num] = log(samples[j].ms / samples[i].ms) / size;
        }
    return num ? (exponents){measure_median(steps, num), measure_median(ms, num)} : (exponents){NAN, NAN};
}

/* Whether the series is linear, as far as can be told. */
static bool measure(const growth_series *series, FILE *csv)
{
    sample samples[NUM_SIZES];
    uint32_t sizes[NUM_SIZES], count = 0;
    printf("%-16s %-17s", series->call, series->input);
    for (double n = 1000; count < NUM_SIZES; n *= sqrt(10)) {
        sizes[count] = (uint32_t)(n + 0.5);
        samples[count] = median_of(series, sizes[count]);
        printf(" %8.2f", samples[count++].ms);
        fflush(stdout);
        double growth = count > 1 ? samples[count - 1].size / samples[count - 2].size : sqrt(10);
        if (samples[count - 1].ms > MOST_MS || samples[count - 1].size * growth > MOST_SIZE)
            break;
    }
    exponents e = exponents_of(samples, count);
    for (uint32_t i = 0; i < count; i++) {
        fprintf(csv, "%s,%s,%" PRIu32 ",%.0f,%.0f,%.4f,", series->call, series->input, sizes[i], samples[i].size,
                samples[i].steps, samples[i].ms);
        if (i + 1 < count || isnan(e.ms))
            fprintf(csv, ",\n");
        else
            fprintf(csv, "%.3f,%.3f\n", e.steps, e.ms);
    }
    bool linear = !(e.steps > STEPS_LIMIT || e.ms > TIME_LIMIT);
    printf("%*s", 9 * (int)(NUM_SIZES - count), "");
    if (isnan(e.ms))
        printf("  too fast to tell\n");
    else
        printf("  %5.2f %5.2f%s\n", e.steps, e.ms, linear ? "" : "  more than linear");
    return linear;
}

#define DRAFT_SERIES(call, run, strategy)                                                               \
    {call, "star", run, strategy, in_star}, {call, "chain", run, strategy, in_chain},                    \
    {call, "binary", run, strategy, in_binary}, {call, "caterpillar", run, strategy, in_caterpillar}

static const growth_series all_series[] = {
    {"fork and prune", "one block", run_fork, 0, NULL},
    {"fork_at and prune", "mixed lengths", run_fork_at, 0, NULL},
    {"fork and prune", "n blocks", run_fork_long, 0, NULL},
    {"append", "n times a token", run_append, 0, NULL},
    {"append_many", "n branches", run_append_many, 0, NULL},
    {"kv_pool_check", "n branches", run_pool_check, 0, NULL},
    {"kv_tree_build", "n tables", run_tree_build, 0, NULL},
    {"kv_tree_build", "ids 64 apart", run_tree_build_strided, 0, NULL},
    DRAFT_SERIES("build_drafts", run_build_drafts, 0),
    DRAFT_SERIES("kv_tree_check", run_tree_check, 0),
    {"replay", "chain of n nodes", run_replay_chain, 0, NULL},
    {"replay", "n accepted tokens", run_replay_accept, 0, NULL},
    DRAFT_SERIES("plan flash", run_plan, TREE_FLASH),
    DRAFT_SERIES("plan flash_dec.", run_plan, TREE_FLASH_DECODING),
    DRAFT_SERIES("plan radix", run_plan, TREE_RADIX),
    DRAFT_SERIES("plan tree_mask", run_plan, TREE_TREE_MASK),
    DRAFT_SERIES("plan node", run_plan, TREE_NODE),
    DRAFT_SERIES("plan node_chunk", run_plan, TREE_NODE_CHUNK),
    DRAFT_SERIES("plan flatten", run_plan, TREE_FLATTEN),
    DRAFT_SERIES("plan cost", run_plan, TREE_COST),
    {"grow flash", "n branches", run_grow, TREE_FLASH, NULL},
    {"grow cost", "n branches", run_grow, TREE_COST, NULL},
    DRAFT_SERIES("check cost", run_plan_check, TREE_COST),
    DRAFT_SERIES("traffic cost", run_traffic, TREE_COST),
    DRAFT_SERIES("queue cost", run_queue, TREE_COST),
    DRAFT_SERIES("queue tree_mask", run_queue, TREE_TREE_MASK),
};

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : TREEATTN_SOURCE_DIR "/figures/growth.csv";
    bool linear = true;
#ifdef __GLIBC__
    mallopt(M_MMAP_MAX, 0); /* memory once used stays: its pages are not fetched again for each call */
    mallopt(M_TRIM_THRESHOLD, INT32_MAX);
#endif
    FILE *csv = figure_open(path, "measure_growth",
                            "ms: median of 3 (one run from 0.15 s on), steps counted; steps: exact");
    fprintf(csv,
            "# size: what the header says that the cost is linear in\n"
            "# exponents: median of the slopes between sizes of 1 ms or more\n"
            "# star, chain, binary, caterpillar: a past of %d tokens and n draft tokens, each a query\n"
            "call,input,n,size,steps,ms,steps_exponent,ms_exponent\n",
            BLOCK_TOKENS);
    printf("%-34s ms at n = 10^3, 10^3.5, ... 10^6%31s exponents: steps, ms\n", "", "");
    for (size_t i = 0; i < sizeof all_series / sizeof *all_series; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s %s", all_series[i].call, all_series[i].input);
        if (argc < 3 || strstr(name, argv[2]))
            linear = measure(&all_series[i], csv) && linear;
    }
    figure_close(csv);
    return !linear;
}
