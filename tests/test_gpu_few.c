/* Claim: a plan of few rows runs without a queue, and gives each query the attention over its own path: whatever the
 * number of rows and clusters, with masks, drafts and branches without tokens, and beside NaN that a query does not
 * see. Plans beyond the limits run as before. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_internal.h"
#include "gpu_support.h"
#include "test.h"

static const struct few_case {
    const char *tree;
    uint32_t block_tokens;
    attention_size size;
    tree_storage storage;
    uint32_t draft_tokens;
    bool is_few;
} few_cases[] = {
    {"1/150", 16, {1, 1, 128}, TREE_FP16, 0, true},
    {"1,1/100,40", 8, {1, 4, 128}, TREE_BF16, 0, true},
    {"1,3/70,20", 4, {2, 4, 64}, TREE_FP16, 0, true},
    {"1,3/40,20", 16, {1, 16, 64}, TREE_BF16, 0, true},   /* a cluster for each query */
    {"1,2/40,20", 16, {1, 12, 64}, TREE_FP16, 0, true},   /* and one that has rows of both */
    {"1/60", 1, {1, 8, 256}, TREE_BF16, 0, true},
    {"1/60", 16, {1, 9, 256}, TREE_FP16, 0, false},       /* more registers than a thread has */
    {"1/9", 16, {2, 5, 128}, TREE_BF16, 12, true},        /* a draft tree */
    {"empty_branch", 16, {1, 2, 128}, TREE_FP16, 0, true},
    {"1,33/40,2", 16, {1, 1, 64}, TREE_FP16, 0, false},   /* more queries than a word has bits */
};

enum { NUM_FEW_CASES = sizeof few_cases / sizeof few_cases[0] };

static void build(attention_case *c, const struct few_case *few)
{
    if (few->draft_tokens)
        attention_case_build_drafts(c, storage_backend(few->storage), few->tree, few->block_tokens, few->size,
                                    few->draft_tokens);
    else
        attention_case_build(c, storage_backend(few->storage), few->tree, few->block_tokens, few->size);
    attention_fill_unseen(c, KV_NONE, NAN);
}

static const tree_strategy strategies[] = {TREE_FLASH, TREE_TREE_MASK, TREE_NODE, TREE_FLATTEN, TREE_COST};

static void run_agreement(const void *argument)
{
    const struct few_case *few = argument;
    attention_case c;
    gpu_case gpu;
    double worst = 0;
    need_gpu();
    build(&c, few);
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    const tree_gpu_step *step = last_step(few->storage);
    const roundoffs u = gpu_roundoffs(step, few->storage);
    const uint64_t no_slot = UINT64_MAX;
    float *first = NULL;
    d_array new_slots = d_copy_of(&no_slot, sizeof no_slot);
    gpu_case_create(&gpu, &c);
    check((first = malloc(gpu.out.bytes + 1)), "memory");
    for (size_t s = 0; s < sizeof strategies / sizeof strategies[0]; s++) {
        const char *name = tree_strategy_name[strategies[s]];
        tree_plan *plan = attention_plan(&c, strategies[s], 0, 0);
        gpu_case_plan(&gpu, plan);
        check(tree_plan_gpu_new_slots(gpu.plan, (uint64_t *)new_slots.data, 1) == TREE_OK, "all K and V are old");
        check(gpu.plan->is_few == few->is_few, "%s: a plan of few rows", name);
        gpu_case_run(&gpu, step);
        worst = fmax(worst, check_attention(gpu.h_out, gpu.h_lse, &truth, &u, name));
        memcpy(first, gpu.h_out, gpu.out.bytes);
        gpu_case_run(&gpu, step);
        check_same_bits(gpu.h_out, first, c.num_out, name);
        tree_plan_destroy(plan);
    }
    test_note("worst error/limit %.2g", worst);
    free(first);
    d_destroy(&new_slots);
    gpu_case_destroy(&gpu);
    attention_truth_destroy(&truth);
    attention_case_free(&c);
}

/* What a query does not see may be NaN: its bits stay. */
static void run_hidden(const void *argument)
{
    const struct few_case *few = argument;
    attention_case c;
    gpu_case gpu;
    need_gpu();
    build(&c, few);
    const tree_gpu_step *step = last_step(few->storage);
    const size_t row_floats = (size_t)c.shape.num_heads * c.shape.head_dim;
    tree_plan *plan = attention_plan(&c, TREE_TREE_MASK, 0, 0);
    gpu_case_create(&gpu, &c);
    gpu_case_plan(&gpu, plan);
    gpu_case_run(&gpu, step);
    float *expected = malloc(gpu.out.bytes);
    check(expected, "memory");
    memcpy(expected, gpu.h_out, gpu.out.bytes);
    attention_fill_unseen(&c, 1, NAN);
    gpu_case_upload(&gpu);
    gpu_case_run(&gpu, step);
    check_same_bits(gpu.h_out + row_floats, expected + row_floats, row_floats, "the query that sees no NaN");
    for (size_t i = 0; i < row_floats; i++)
        check(isnan(gpu.h_out[i]), "a query that sees NaN");
    free(expected);
    gpu_case_destroy(&gpu);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

/* As measured on an H200, whose 132 multiprocessors run 264 workers: docs/gpu.md, "Few rows, form by form". */
static void run_limits(const void *unused)
{
    static const struct {
        uint32_t num_heads, num_kv_heads, num_queries, tokens, tokens_that_wait;
    } limits[] = {{32, 8, 1, 6144, 1536}, {32, 8, 4, 6144, 1536}, {32, 8, 5, 2304, 768},   {32, 8, 8, 2304, 768},
                  {32, 8, 9, 1152, 384},  {32, 8, 32, 576, 192},  {32, 32, 1, 1536, 384},  {16, 1, 1, 9216, 1536},
                  {16, 1, 4, 9216, 1536}, {16, 1, 5, 4608, 1536},  {32, 8, 33, 0, 0}};
    (void)unused;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        const tree_shape shape = {.num_queries = limits[i].num_queries, .num_heads = limits[i].num_heads,
                                  .num_kv_heads = limits[i].num_kv_heads, .head_dim = 128, .storage = TREE_FP16};
        const uint64_t tokens = few_rows_limit(shape.num_queries, &shape, 264, true);
        const uint64_t that_wait = few_rows_limit(shape.num_queries, &shape, 264, false);
        check(tokens == limits[i].tokens && that_wait == limits[i].tokens_that_wait, "%u/%u heads, %u queries: %u, %u",
              shape.num_heads, shape.num_kv_heads, shape.num_queries, (unsigned)tokens, (unsigned)that_wait);
    }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "plans of few rows");
    test_add(run_limits, NULL, "limits");
    for (int i = 0; i < NUM_FEW_CASES; i++)
        test_add(run_agreement, &few_cases[i], "agree_%s_block_%u_heads_%u_%u_head_dim_%u_%s", few_cases[i].tree,
                 few_cases[i].block_tokens, few_cases[i].size.num_kv_heads, few_cases[i].size.group_size,
                 few_cases[i].size.head_dim, storage_name[few_cases[i].storage]);
    for (int i = 2; i < 5; i++)
        test_add(run_hidden, &few_cases[i], "hidden_nan_%s_group_%u", few_cases[i].tree,
                 few_cases[i].size.group_size);
    return test_end();
}
