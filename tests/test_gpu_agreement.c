/* Claim: on the GPU, every step of the ladder gives each query the attention over its own path, whatever the plan:
 * within the derived limit, the same bits again, no token read that is not seen, nothing written except out and lse. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_support.h"
#include "test.h"

static const attention_size sizes[] = {{2, 4, 64}, {2, 3, 64}, {5, 1, 64}, {2, 4, 128}, {2, 3, 128}, {5, 1, 128}};
static const uint32_t block_sizes[] = {1, 16};

enum { NUM_SIZES = sizeof sizes / sizeof sizes[0], MAX_ELEMENTS = 1000000 };

/* The results of every step, one after another. */
typedef struct clean_runs {
    float *out, *lse; /* [tree_gpu_num_steps] x those of the case */
} clean_runs;

/* Runs every step; first: keeps the results, else compares those of queries first_query .. + num_queries. */
static void run_steps(gpu_case *gpu, clean_runs *clean, bool first, uint32_t first_query, uint32_t num_queries)
{
    const attention_case *c = gpu->c;
    uint64_t num_heads = c->shape.num_heads, elements = num_heads * c->shape.head_dim;
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
        float *out = clean->out + s * c->num_out, *lse = clean->lse + s * c->num_lse;
        if (!takes_storage(&tree_gpu_steps[s], c->shape.storage))
            continue;
        gpu_case_run(gpu, &tree_gpu_steps[s]);
        if (first) {
            memcpy(out, gpu->h_out, gpu->out.bytes);
            memcpy(lse, gpu->h_lse, gpu->lse.bytes);
        }
        check_same_bits(gpu->h_out + first_query * elements, out + first_query * elements, num_queries * elements,
                        tree_gpu_steps[s].name);
        check_same_bits(gpu->h_lse + first_query * num_heads, lse + first_query * num_heads, num_queries * num_heads,
                        tree_gpu_steps[s].name);
    }
}

/* Values in slots that no query sees change no result; values that one query does not see do not change its own. */
static void check_poison(attention_case *c, tree_strategy strategy)
{
    gpu_case gpu;
    clean_runs clean = {malloc((tree_gpu_num_steps * c->num_out + 1) * sizeof(float)),
                        malloc((tree_gpu_num_steps * c->num_lse + 1) * sizeof(float))};
    uint32_t query = test_below(c->shape.num_queries);
    check(clean.out && clean.lse, "memory");
    tree_plan *plan = attention_plan(c, strategy, 0, 0);
    gpu_case_create(&gpu, c);
    gpu_case_plan(&gpu, plan);
    run_steps(&gpu, &clean, true, 0, c->shape.num_queries);
    attention_fill_unseen(c, KV_NONE, NAN);
    gpu_case_upload(&gpu);
    run_steps(&gpu, &clean, false, 0, c->shape.num_queries);
    attention_fill_unseen(c, query, NAN);
    gpu_case_upload(&gpu);
    run_steps(&gpu, &clean, false, query, 1);
    gpu_case_destroy(&gpu);
    tree_plan_destroy(plan);
    free(clean.out);
    free(clean.lse);
}

/* Every size and block size with one storage type, every storage type with each head_dim and each block size. */
static void run_tree(const void *argument)
{
    const char *spec = argument;
    double worst = 0;
    need_gpu();
    for (uint32_t i = 0; i < 2 * NUM_SIZES; i++) {
        attention_case c;
        tree_storage storage = (tree_storage)((i / 2 + i % 2) % 3);
        attention_case_build_small(&c, storage_backend(storage), spec, block_sizes[i % 2], sizes[i / 2], MAX_ELEMENTS);
        worst = fmax(worst, gpu_check_case(&c, ALL_STRATEGIES));
        check_poison(&c, (tree_strategy)(i % TREE_NUM_STRATEGIES));
        attention_case_free(&c);
    }
    test_note("worst error/limit %.2g", worst);
}

/* Queries at draft tokens of one table; more rows in an item than a mask word has bits. */
static void run_drafts(const void *argument)
{
    const tree_storage *storage = argument;
    attention_case c;
    need_gpu();
    attention_case_build_drafts(&c, storage_backend(*storage), "1,4/37,40", 16, (attention_size){2, 2, 64}, 36);
    check(c.shape.num_queries > 64, "%u queries", c.shape.num_queries);
    attention_fill_unseen(&c, KV_NONE, NAN);
    test_note("worst error/limit %.2g", gpu_check_case(&c, ALL_STRATEGIES));
    for (uint32_t strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++)
        check_poison(&c, (tree_strategy)strategy);
    attention_case_free(&c);
}

static void run_head_dim_256(const void *argument)
{
    const tree_storage *storage = argument;
    attention_case c;
    need_gpu();
    attention_case_build(&c, storage_backend(*storage), "binary:3", 16, (attention_size){1, 7, 256});
    attention_fill_unseen(&c, KV_NONE, NAN);
    test_note("worst error/limit %.2g", gpu_check_case(&c, ALL_STRATEGIES));
    attention_case_free(&c);
}

/* lse NULL, another stream, the step left to the library: out has the same bits. */
static void run_options(const void *argument)
{
    const tree_storage *storage = argument;
    attention_case c;
    gpu_case gpu;
    cudaStream_t stream;
    const tree_gpu_step *last;
    int cuda_error = -1;
    need_gpu();
    attention_case_build(&c, storage_backend(*storage), "comb:4", 16, (attention_size){2, 3, 64});
    tree_plan *plan = attention_plan(&c, TREE_FLATTEN, 0, 0);
    gpu_case_create(&gpu, &c);
    gpu_case_plan(&gpu, plan);
    last = last_step(*storage);
    check(last, "a step for %s", storage_name[*storage]);
    gpu_case_run(&gpu, last);

    float *without = malloc(gpu.out.bytes);
    check(without, "memory");
    d_clear(&gpu.out);
    d_clear(&gpu.lse);
    cuda_ok(cudaDeviceSynchronize(), "cudaMemset");
    cuda_ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    gpu_ok(tree_attention_gpu((float *)gpu.out.data, NULL, (const float *)gpu.query.data, gpu.key.data, gpu.value.data,
                              gpu.plan, &c.shape, c.scale, gpu.workspace.data, gpu.workspace_bytes, stream, NULL,
                              &cuda_error),
           &cuda_error, "a call without lse and step");
    cuda_ok(cudaStreamSynchronize(stream), "the kernels");
    check(d_read(&gpu.out, without, "out") && !d_read(&gpu.lse, NULL, "lse"), "out alone is written");
    check_same_bits(without, gpu.h_out, c.num_out, "out without lse");
    cuda_ok(cudaStreamDestroy(stream), "the stream's end");
    free(without);
    gpu_case_destroy(&gpu);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    static const tree_storage storages[] = {TREE_FP32, TREE_FP16, TREE_BF16};
    test_begin(argc, argv, "on the GPU, every step gives each query the attention over its own path");
    for (uint32_t t = 0; t < num_tree_case_names; t++)
        test_add(run_tree, tree_case_names[t], "every_step_agrees_on_%s", tree_case_names[t]);
    for (int s = 0; s < 3; s++) {
        test_add(run_drafts, &storages[s], "every_step_agrees_on_draft_tree_of_more_than_64_rows_%s", storage_name[s]);
        test_add(run_head_dim_256, &storages[s], "every_step_agrees_on_head_dim_256_group_of_7_%s", storage_name[s]);
        test_add(run_options, &storages[s], "same_bits_with_lse_null_other_stream_step_null_%s", storage_name[s]);
    }
    return test_end();
}
