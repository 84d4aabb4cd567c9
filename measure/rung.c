/* rung: one rung of the GPU ladder over one tree: its idea; its result beside tree_attention_ref's, within the limits
 * that tests/compare.h derives; its time, and how much of the floor it reaches. Emulated on the CPU: no time.
 *
 *     rung STEP ['NODES / TOKENS']      as make rung calls it
 *
 * Exit status: 0; 1: the results differ by more than the limit; 2: bad STEP or TREE; 77: built for a GPU, and there is
 * none. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "gpu_bench.h"
#include "gpu_support.h"
#include "test.h"
#include "workload.h"

#ifdef TREEATTN_EMULATE
static const attention_size size = {2, 2, 64};
static const char default_tree[] = "1,6 / 200,20";
static const uint64_t max_path_tokens = 20000; /* a quarter of a minute for step 0, a second for most */
#else
static const attention_size size = {8, 4, 128};
static const char default_tree[] = "1,64 / 2048,64";
static const uint64_t max_path_tokens = 4000000; /* the reference takes seconds for a million */
#endif
enum { BLOCK_TOKENS = 8, MAX_TEXT = 1000 }; /* the blocks of the figures: measure_gpu.h */

static void refuse(const char *format, const char *what)
{
    fprintf(stderr, "make rung: ");
    fprintf(stderr, format, what);
    fprintf(stderr, "\n");
    exit(2);
}

/* ---- arguments ---- */

typedef struct levels {
    char nodes[MAX_TEXT], spec[MAX_TEXT]; /* "1,64" and "1,64/2048,64", without white space */
    const char *tokens;                   /* in spec */
} levels;

static const tree_gpu_step *read_step(const char *text)
{
    char *end, expected[100];
    unsigned long number = strtoul(text, &end, 10);
    snprintf(expected, sizeof expected, "STEP: expected a rung, 0 to %u; got '%%.80s'", tree_gpu_num_steps - 1);
    if (*text < '0' || *text > '9' || *end != '\0' || number >= tree_gpu_num_steps) refuse(expected, text);
    return &tree_gpu_steps[number];
}

/* The tokens of all paths: leaves alone are queries, and siblings have the same number. */
static uint64_t count_path_tokens(const char *nodes, const char *tokens)
{
    uint64_t path = 0, leaves = 0;
    for (const char *at = tokens; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) path += strtoull(at, NULL, 10);
    for (const char *at = nodes; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) leaves = strtoull(at, NULL, 10);
    return path > UINT32_MAX || leaves > UINT32_MAX ? UINT64_MAX : path * leaves;
}

/* What tests/cases.c, which builds the tree, does not take. */
static void check_case(const levels *tree)
{
    uint32_t num_levels = 1;
    for (const char *at = tree->nodes; *at; at++) num_levels += *at == ',';
    if (strchr(tree->tokens, '|'))
        refuse("TREE, tokens: expected one number per level; got '%.80s' ('|' is not for make rung)", tree->tokens);
    if (num_levels > TREE_CASE_MAX_LEVELS) {
        char most[100];
        snprintf(most, sizeof most, "%d levels; got %u", TREE_CASE_MAX_LEVELS, num_levels);
        refuse("TREE: expected at most %s", most);
    }
}

static void read_tree(levels *tree, const char *text)
{
    size_t length = 0;
    workload_size counts;
    kv_text_error error = {.line = 0};
    if (!strchr(text, '/') || strlen(text) >= MAX_TEXT)
        refuse("TREE: expected 'NODES / TOKENS', as in '1,64 / 2048,64'; got '%.80s'", text);
    for (const char *at = text; *at; at++) { /* white space only serves readers */
        if (!isspace((unsigned char)*at)) tree->spec[length++] = *at;
    }
    tree->spec[length] = '\0';
    snprintf(tree->nodes, sizeof tree->nodes, "%.*s", (int)strcspn(tree->spec, "/"), tree->spec);
    tree->tokens = strchr(tree->spec, '/') + 1;
    kv_status status = workload_size_levels(&counts, tree->nodes, tree->tokens, &error);
    if (status == KV_FORMAT) {
        char where[MAX_TEXT];
        snprintf(where, sizeof where, "%s, column %u: %s", error.line == 1 ? "nodes" : "tokens", error.column,
                 error.message);
        refuse("TREE, %s", where);
    }
    if (status != KV_OK) refuse("TREE: %s", kv_status_string(status));
    check_case(tree);
    if (count_path_tokens(tree->nodes, tree->tokens) > max_path_tokens) {
        char most[100];
        snprintf(most, sizeof most, "%llu path tokens (leaves x tokens from root to leaf)",
                 (unsigned long long)max_path_tokens);
        refuse("TREE: too large to be checked here, at most %s", most);
    }
}

/* ---- the check ---- */

typedef struct check_call {
    const tree_gpu_step *step;
    const levels *tree;
} check_call;

static bool has_passed;

/* The largest error beside the reference, and the limit where error / limit is largest. */
typedef struct difference {
    double error, worst, error_there, limit_there;
} difference;

static void compare_element(difference *d, float mine, float reference, double limit)
{
    if (mine == reference) /* infinite lse too */
        return;
    const double error = fabs((double)mine - reference);
    check(error <= limit, "%g instead of %g: off by %.2g, limit %.2g", mine, reference, error, limit);
    d->error = fmax(d->error, error);
    if (error / limit > d->worst) *d = (difference){d->error, error / limit, error, limit};
}

/* Both sides keep within their limits of the truth, so they differ by their sum at most. */
static void compare_all(const gpu_case *gpu, const tree_gpu_step *step, const tree_plan *plan)
{
    const attention_case *c = gpu->c;
    const roundoffs mine = gpu_roundoffs(step, c->shape.storage), reference = attention_ref_backend.u;
    tree_shape shape = c->shape;
    float *out = malloc((c->num_out + c->num_lse) * sizeof *out), *lse = out + c->num_out;
    check(out, "memory");
    shape.storage = TREE_FP32; /* K and V are rounded to fp16 already */
    tree_status status = tree_attention_ref(out, lse, c->query, c->key, c->value, plan, &shape, c->scale);
    check(status == TREE_OK, "tree_attention_ref: %s", tree_status_string(status));
    attention_truth truth = attention_truth_create(c->query, c->key, c->value, &c->paths, &c->shape, c->scale);
    difference of_out = {0}, of_lse = {0};
    for (uint64_t i = 0; i < c->num_out; i++)
        compare_element(&of_out, gpu->h_out[i], out[i], out_limit(&truth, i, &mine) + out_limit(&truth, i, &reference));
    for (uint64_t i = 0; i < c->num_lse; i++)
        compare_element(&of_lse, gpu->h_lse[i], lse[i], lse_limit(&truth, i, &mine) + lse_limit(&truth, i, &reference));
    test_note("beside tree_attention_ref: out at most %.1e off, lse %.1e; closest to its limit: %.1e of %.1e (out), "
              "%.1e of %.1e (lse)",
              of_out.error, of_lse.error, of_out.error_there, of_out.limit_there, of_lse.error_there,
              of_lse.limit_there);
    attention_truth_destroy(&truth);
    free(out);
}

static void run_check(const void *argument)
{
    const check_call *call = argument;
    attention_case c;
    gpu_case gpu;
    attention_case_build(&c, storage_backend(TREE_FP16), call->tree->spec, BLOCK_TOKENS, size);
    tree_plan_config config = {.strategy = TREE_COST, .group_size = size.group_size};
    tree_plan *plan = NULL;
    check(tree_plan_build(&plan, c.tree, &config) == TREE_OK, "a plan of %s", call->tree->spec);
    printf(
        "tree   %s: %u queries, %llu tokens stored once, %llu on all paths; %u/%u heads, head_dim %u, fp16; plan cost, "
        "items: %u\n",
        call->tree->spec, c.shape.num_queries, (unsigned long long)c.tree->unique_tokens,
        (unsigned long long)c.tree->path_tokens, c.shape.num_heads, c.shape.num_kv_heads, c.shape.head_dim,
        plan->num_items);
    gpu_case_create(&gpu, &c);
    gpu_case_plan(&gpu, plan);
    gpu_case_run(&gpu, call->step);
    compare_all(&gpu, call->step, plan);
    gpu_case_destroy(&gpu);
    tree_plan_destroy(plan);
    attention_case_free(&c);
    has_passed = true;
}

/* ---- the time ---- */

static void print_time(const tree_gpu_step *step, const levels *tree)
{
#ifdef TREEATTN_EMULATE
    (void)step, (void)tree;
    printf("time   emulated on the CPU, no time\n");
#else
    gpu_bench_request request = {.iteration = 1, .rung = (int)(step - tree_gpu_steps), .strategy = TREE_COST,
                                 .shape = {.num_heads = 32, .num_kv_heads = 8, .head_dim = 128, .storage = TREE_FP16}};
    gpu_bench_result r;
    char why[GPU_BENCH_WHY];
    if (workload_levels(&request.work, tree->nodes, tree->tokens, NULL) != KV_OK) refuse("%s", "out of memory");
    if (gpu_bench_measure(&r, &request, why) != GPU_BENCH_OK)
        printf("time   none: %s\n", why);
    else if (isnan(r.cold_us))
        printf("time   %.1f us, warm L2: the tree is too small to be read cold\n", r.warm_us);
    else
        printf("time   %.1f us, cold L2; the floor is %.1f us: reaches %.2f of the floor\n", r.cold_us, r.floor_us,
               r.floor_us / r.cold_us);
#endif
}

int main(int argc, char **argv)
{
    levels tree;
    const tree_gpu_step *step = read_step(argc > 1 ? argv[1] : "");
    read_tree(&tree, argc > 2 && *argv[2] ? argv[2] : default_tree);
    int cuda_error = 0;
    tree_status status = tree_gpu_device_check(&cuda_error);
    if (status != TREE_OK) {
        printf("no GPU: %s (CUDA: %s)\n", tree_status_string(status), tree_cuda_error_string(cuda_error));
        return 77;
    }
    printf("rung   %s: %s\n", step->name, step->lesson);
    if (!tree_gpu_step_takes(step, TREE_FP16)) {
        printf("time   none: this GPU, or this build of the library, cannot run it (wgmma needs sm_90a)\n");
        return 0;
    }
    const check_call call = {step, &tree};
    test_add(run_check, &call, "%s", "check");
    if (!has_passed) return 1;
    print_time(step, &tree);
    return 0;
}
