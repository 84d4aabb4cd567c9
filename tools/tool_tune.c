/* treeattn tune: fits the prices of plan cost to this GPU, on trees of its own, judges them by others, and writes a
 * profile. Nothing is written before everything is measured. */
#define _POSIX_C_SOURCE 200809L
#include "tool_tune.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "measure.h"

#ifndef TREEATTN_COMMIT
#define TREEATTN_COMMIT "unknown"
#endif

/* None of them is one of the 22 trees of figure gpu_trees: these may judge as well. At 16/1 heads a tree has to be
 * large, or all of its sets would stay in the L2 cache. */
static const tune_tree fit_trees[] = {
    {"1,1", "392,16", 32, 8},
    {"1,1", "760,16", 32, 8},
    {"1,1", "1984,56", 32, 8},
    {"1,1", "2496,72", 32, 8},
    {"1,3", "1400,120", 32, 8},
    {"1,8", "1000,40", 32, 8},
    {"1,16", "320,48", 32, 8},
    {"1,2,32", "8,200,40", 32, 8},
    {"1,5,40", "64,320,24", 32, 8},
    {"1,30", "3600,160", 32, 8},
    {"1,3,12,48,192,768", "200,16,200,64,32,240", 32, 8},
    {"1,1", "384,24", 32, 32},
    {"1,1", "600,24", 32, 32},
    {"1,3", "1200,80", 32, 32},
    {"1,3", "1640,104", 32, 32},
    {"1,24", "3600,160", 32, 32},
    {"1,2,48", "16,264,40", 32, 32},
    {"1,3,12,48,192,768", "200,16,200,64,32,240", 32, 32},
    {"1,10", "768,48", 32, 32},
    {"1,2", "3000,200", 16, 1},
    {"1,14", "2400,88", 16, 1},
    {"1,240", "240,32", 16, 1},
    {"1,14,56", "1000,240,40", 16, 1},
    {"1,3,12,48,192,768", "200,16,200,64,32,240", 16, 1},
    {"1,12", "3000,300", 16, 1},
    {"1,192", "320,24", 16, 1},
    {"1,3,48", "16,280,40", 16, 1},
    {"1,12,48", "1000,240,40", 16, 1},
    {"1,5,160", "8,200,24", 16, 1},
    {"1,1", "640,24", 32, 8},
    {"1,1", "1024,32", 32, 8},
    {"1,1", "4096,64", 32, 8},
    {"1,1", "16384,64", 32, 8},
    {"1,2", "768,64", 32, 8},
    {"1,4", "3000,128", 32, 8},
    {"1,6", "12000,256", 32, 8},
    {"1,12", "2504,104", 32, 8},
    {"1,16", "1504,16|400", 32, 8},
    {"1,24", "1504,64", 32, 8},
    {"1,48", "3000,96", 32, 8},
    {"1,100", "1024,48", 32, 8},
    {"1,200", "1504,40", 32, 8},
    {"1,800", "1200,40", 32, 8},
    {"6", "1000", 32, 8},
    {"1,3,24", "512,128,48", 32, 8},
    {"1,8,32,128", "704,120,40,24", 32, 8},
    {"1,2,6,36,216", "128,64,64,32,16", 32, 8},
    {"1,1", "1024,32", 32, 32},
    {"1,6", "3000,128", 32, 32},
    {"1,40", "1504,48", 32, 32},
    {"1,200", "1000,32", 32, 32},
    {"1,3,24", "512,128,48", 32, 32},
    {"1,1", "4096,64", 16, 1},
    {"1,1", "16384,64", 16, 1},
    {"1,4", "6000,128", 16, 1},
    {"1,24", "4000,64", 16, 1},
    {"1,100", "3000,48", 16, 1},
    {"1,400", "2400,40", 16, 1},
    {"1,8,32,128", "2400,240,80,40", 16, 1},
};
static const tune_tree judge_trees[] = {
    {"1,1", "1336,24", 32, 8},
    {"1,6", "520,40", 32, 8},
    {"1,1", "704,16", 32, 32},
    {"1,1", "6000,48", 16, 1},
    {"1,20", "3504,160", 16, 1},
    {"1,6,72", "8,240,40", 16, 1},
    {"1,1", "512,16", 32, 8},
    {"1,1", "8192,64", 32, 8},
    {"1,3", "1536,96", 32, 8},
    {"1,10", "1000,48", 32, 8},
    {"1,32", "2048,16", 32, 8},
    {"1,80", "904,64", 32, 8},
    {"1,300", "2000,48", 32, 8},
    {"1,600", "1000,24", 32, 8},
    {"1,20", "20000,104", 32, 8},
    {"1,4,32", "600,200,40", 32, 8},
    {"1,6,60,600", "400,104,32,16", 32, 8},
    {"1,2,4,8,16", "504,248,120,64,32", 32, 8},
    {"1,2", "2048,128", 32, 32},
    {"1,16", "1000,64", 32, 32},
    {"1,4,64", "800,200,32", 32, 32},
    {"1,1", "8192,64", 16, 1},
    {"1,3", "6144,96", 16, 1},
    {"1,32", "4096,32", 16, 1},
    {"1,5,50,300", "2000,400,104,32", 16, 1},
};
enum {
    NUM_FIT = sizeof fit_trees / sizeof fit_trees[0],
    NUM_JUDGE = sizeof judge_trees / sizeof judge_trees[0],
    NUM_STEPS = NUM_FIT + TUNE_STEPS + NUM_JUDGE,
    MAX_PATH = 4096
};

/* ---- the file ---- */

typedef struct out_file {
    char path[MAX_PATH]; /* "": standard output */
    char part[MAX_PATH + 32];
} out_file;

static FILE *open_part(const out_file *out)
{
    unlink(out->part);
    return fopen(out->part, "wx");
}

/* Ends the program if the file could not be written: before a minute is spent. */
static out_file prepare(const tool_call *call, const char *gpu)
{
    out_file out;
    char name[TOOL_PROFILE_TEXT];
    const char *path = tool_text(call, "--out", NULL);
    if (path != NULL && *path == '\0')
        tool_bad_usage(call->verb, "--out: expected the name of a file, or -; got ''");
    tool_profile_name(name, gpu);
    int length = path != NULL ? snprintf(out.path, MAX_PATH, "%s", path)
                              : snprintf(out.path, MAX_PATH, "%s.profile", *name ? name : "gpu");
    if (length >= MAX_PATH)
        tool_bad_usage(call->verb, "--out: the name is too long");
    if (strcmp(out.path, "-") == 0) {
        if (call->format != TOOL_TEXT)
            tool_bad_usage(call->verb, "--format: works only with a table, and --out - writes none");
        out.path[0] = '\0';
        return out;
    }
    struct stat found;
    if (stat(out.path, &found) == 0 && !S_ISREG(found.st_mode))
        tool_bad_input("tune: %s: expected a file, or a name for a new one", out.path);
    snprintf(out.part, sizeof out.part, "%s.part-%ld", out.path, (long)getpid());
    FILE *file = open_part(&out);
    if (file == NULL)
        tool_bad_input("tune: %s: %s", out.path, strerror(errno));
    fclose(file);
    unlink(out.part);
    return out;
}

/* Whole or not at all. A profile that cannot be written goes to standard output, and the status is 1. */
static void write_profile(const out_file *out, const tool_profile *profile)
{
    if (out->path[0] == '\0') {
        tool_profile_write(stdout, profile);
        return;
    }
    FILE *file = open_part(out);
    int error = errno;
    bool good = file != NULL;
    if (good) {
        tool_profile_write(file, profile);
        good = ferror(file) == 0;
        good = fclose(file) == 0 && good && rename(out->part, out->path) == 0;
        error = errno;
    }
    if (good)
        return;
    unlink(out->part);
    tool_profile_write(stdout, profile);
    tool_fail("tune: %s could not be written (%s): the profile is on standard output", out->path, strerror(error));
}

/* ---- the verb ---- */

static void show(uint32_t done, void *context) { tool_progress_show(context, done, NUM_STEPS); }
static void show_search(uint32_t done, void *context) { show(NUM_FIT + done, context); }

static bool same_file(const char *path, const char *other)
{
    struct stat a, b;
    return stat(path, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* An old log is emptied only when it is known to be another file than the profile's. */
static FILE *open_log(const tool_call *call, const out_file *out)
{
    const char *path = tool_text(call, "--log", NULL);
    if (path == NULL)
        return NULL;
    if (*path == '\0' || strcmp(path, "-") == 0)
        tool_bad_usage(call->verb, "--log: expected the name of a file, got '%s'", path);
    if (strcmp(path, out->path) == 0 || same_file(path, out->path))
        tool_bad_usage(call->verb, "--log: %s is the file of the profile", path);
    FILE *log = fopen(path, "w");
    if (log == NULL)
        tool_bad_input("tune: %s: %s", path, strerror(errno));
    if (same_file(path, out->path)) { /* two names of a new file */
        unlink(path);
        tool_bad_usage(call->verb, "--log: %s is the file of the profile", path);
    }
    tune_write_log_heading(log);
    return log;
}

/* A log that misses lines is no reason to lose the profile. */
static void close_log(const tool_call *call, FILE *log)
{
    if (log != NULL && (ferror(log) || fclose(log) != 0))
        tool_warn("tune: %s could not be written: %s", tool_text(call, "--log", ""), strerror(errno));
}

static void open_cases(tune_case *cases, const tune_tree *trees, uint32_t count, const gpu_bench_gpu *gpu, FILE *log)
{
    for (uint32_t i = 0; i < count; i++)
        cases[i] = tune_case_open(&trees[i], gpu, log);
}

/* Fills [count] lines of the profile, without the trees that could not be measured. */
static uint32_t put_cases(tool_profile_tree *lines, const tune_case *cases, uint32_t count, const tree_prices *prices)
{
    uint32_t num_lines = 0;
    for (uint32_t i = 0; i < count; i++) {
        const tune_case *c = &cases[i];
        if (!c->is_cold) {
            tool_warn("tune: %s / %s at %u/%u heads is left out: all sets of K and V of so small a tree stay in the L2 "
                      "cache", c->of->nodes, c->of->tokens, c->of->num_heads, c->of->num_kv_heads);
            continue;
        }
        tool_profile_tree *line = &lines[num_lines++];
        *line = (tool_profile_tree){.num_heads = c->of->num_heads, .num_kv_heads = c->of->num_kv_heads,
                                    .default_us = c->default_us, .fitted_us = c->default_us * tune_ratio(c, prices),
                                    .other_us = c->default_us * c->other_ratio, .other = c->other};
        snprintf(line->tree, sizeof line->tree, "%s / %s", c->of->nodes, c->of->tokens);
    }
    return num_lines;
}

static void describe(tool_profile *profile, const gpu_bench_gpu *gpu)
{
    time_t now = time(NULL);
    struct tm today;
    snprintf(profile->gpu, sizeof profile->gpu, "%s", gpu->name);
    snprintf(profile->driver, sizeof profile->driver, "%s", gpu->driver);
    snprintf(profile->commit, sizeof profile->commit, "%s", TREEATTN_COMMIT);
    snprintf(profile->rung, sizeof profile->rung, "%s", gpu->rung);
    strftime(profile->date, sizeof profile->date, "%Y-%m-%d", gmtime_r(&now, &today));
    profile->measured = 1;
    profile->multiprocessors = gpu->num_multiprocessors;
    profile->l2_mib = (double)gpu->l2_bytes / (1 << 20);
    profile->dram_gbps = gpu->dram_gbps;
    profile->l2_gbps = gpu->l2_gbps;
    profile->matrix_tflops = gpu->matrix_tflops;
    profile->launch_us = gpu->launch_us;
}

static void put_rows(tool_table *table, const char *use, const tool_profile_tree *lines, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const tool_profile_tree *t = &lines[i];
        tool_row(table);
        tool_put_text(table, "use", use);
        tool_put_text(table, "tree", t->tree);
        tool_put_count(table, "heads", t->num_heads);
        tool_put_count(table, "kv_heads", t->num_kv_heads);
        tool_put_decimal(table, "default_us", t->default_us, 2);
        tool_put_decimal(table, "fitted_us", t->fitted_us, 2);
        tool_put_decimal(table, "other_us", t->other_us, 2);
        tool_put_text(table, "other", tree_strategy_name[t->other]);
        tool_put_decimal(table, "default_behind_percent", tool_profile_behind(t, false), 1);
        tool_put_decimal(table, "fitted_behind_percent", tool_profile_behind(t, true), 1);
    }
}

static void write_result(const tool_call *call, const out_file *out, const tool_profile *profile)
{
    tool_table *table = tool_table_create();
    put_rows(table, "fit", profile->fit, profile->num_fit);
    put_rows(table, "judge", profile->judge, profile->num_judge);
    if (call->format == TOOL_TEXT)
        printf("%s, %u multiprocessors, %s; cold us of plan cost with the default and the fitted prices, and of the\n"
               "fastest other plan; behind: slower than that\n\n", profile->gpu, profile->multiprocessors,
               profile->rung);
    tool_table_write(table, stdout, call->format, false);
    if (call->format == TOOL_TEXT)
        printf("\nfitted / default, geometric mean: %.3f of %u trees that fit, %.3f of %u that judge\nprofile: %s\n",
               tool_profile_ratio(profile->fit, profile->num_fit), profile->num_fit,
               tool_profile_ratio(profile->judge, profile->num_judge), profile->num_judge, out->path);
}

static int run(const tool_call *call)
{
    gpu_bench_gpu gpu;
    char why[GPU_BENCH_WHY];
    uint32_t seconds = tool_count(call, "--seconds", 60, 1, 600);
    signal(SIGXFSZ, SIG_IGN); /* a write beyond the file size limit fails, as on a full disk */
    if (tool_given(call, "--out")) /* before a GPU is looked for */
        prepare(call, "");
    if (gpu_bench_look(&gpu, why) != GPU_BENCH_OK)
        tool_fail("tune: %s", why);
    const out_file out = prepare(call, gpu.name);
    FILE *log = open_log(call, &out);
    double limit_us = measure_now_us() + seconds * 1e6;
    tune_case fit[NUM_FIT], judge[NUM_JUDGE];
    open_cases(fit, fit_trees, NUM_FIT, &gpu, log);
    open_cases(judge, judge_trees, NUM_JUDGE, &gpu, log);
    tool_profile *profile = tool_allocate(1, sizeof *profile);
    describe(profile, &gpu);
    tree_prices *prices = &profile->prices;
    *prices = *tree_prices_of(TREE_TARGET_GPU);
    tool_progress progress = tool_progress_begin("tune");
    for (uint32_t i = 0; i < NUM_FIT; i++) {
        show(i, &progress);
        tune_measure_all(&fit[i], prices);
    }
    tune_search(prices, fit, NUM_FIT, limit_us, show_search, &progress);
    for (uint32_t i = 0; i < NUM_JUDGE; i++) {
        show(NUM_FIT + TUNE_STEPS + i, &progress);
        tune_measure_all(&judge[i], prices);
    }
    tool_progress_end(&progress);
    close_log(call, log);
    const tree_prices *unfitted = tree_prices_of(TREE_TARGET_GPU);
    if (tune_loss(judge, NUM_JUDGE, prices) > tune_loss(judge, NUM_JUDGE, unfitted)) {
        tool_warn("tune: the fitted prices are worse on the trees that judge: the profile has the default ones");
        *prices = *unfitted;
    }
    profile->num_fit = put_cases(profile->fit, fit, NUM_FIT, prices);
    profile->num_judge = put_cases(profile->judge, judge, NUM_JUDGE, prices);
    if (profile->num_fit == 0 || profile->num_judge == 0)
        tool_fail("tune: all sets of K and V of every tree stay in the L2 cache of this GPU");
    write_profile(&out, profile);
    if (out.path[0] != '\0')
        write_result(call, &out, profile);
    for (uint32_t i = 0; i < NUM_FIT; i++)
        tune_case_close(&fit[i]);
    for (uint32_t i = 0; i < NUM_JUDGE; i++)
        tune_case_close(&judge[i]);
    free(profile);
    return TOOL_OK;
}

static const tool_option options[] = {
    {"--out", "FILE", "the profile (of an H200 nvidia_h200.profile; -: standard output, without the table)"},
    {"--log", "FILE", "every time that was measured, with its tree and prices, as csv"},
    {"--seconds", "N", "the search ends after N seconds; the trees that judge take some ten more (60)"},
    {NULL, NULL, NULL},
};

const tool_verb tool_tune = {
    .name = "tune",
    .summary = "fits the prices of plan cost to this GPU and writes them as a profile",
    .formats = "text csv json",
    .options = options,
    .example = "  treeattn tune --out my_gpu.profile\n",
    .run = run,
};
