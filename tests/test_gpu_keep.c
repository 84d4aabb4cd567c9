/* Claim: on a GPU, every step gives each query the attention over the tokens that it keeps; evicted tokens have no
 * influence; and new masks come in stream order: a call sees those that were enqueued before it, and no later ones. */
#include <math.h>
#include <string.h>

#include "gpu_support.h"
#include "keep_model.h"
#include "test.h"

enum { NUM_ROUNDS = 6 };

static tree_plan *plan_of(const attention_case *c, const keep_set *set, tree_strategy strategy, tree_keep_masks masks)
{
    tree_plan_config config = {.strategy = strategy, .group_size = c->shape.num_heads / c->shape.num_kv_heads};
    return keep_plan(set, config, masks);
}

/* The truth for the tokens that the set keeps now. */
static attention_truth truth_of(attention_case *c, const keep_set *set)
{
    token_paths_destroy(&c->paths);
    c->paths = token_paths_create(c->grown.tables, NULL, c->num_tables, c->grown.block_tokens);
    keep_filter_paths(&c->paths, set);
    return attention_truth_create(c->query, c->key, c->value, &c->paths, &c->shape, c->scale);
}

/* Slots that no query keeps are NaN; some queries keep no token of an item, or none at all. */
static void run_agrees(const void *argument)
{
    tree_storage storage = *(const tree_storage *)argument;
    double worst = 0;
    need_gpu();
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        attention_case c;
        gpu_case gpu;
        attention_case_build(&c, storage_backend(storage), "1,3,9/300,70,130", 16, (attention_size){2, 4, 128});
        keep_set set = keep_set_create(c.tree);
        keep_evict_random(&set, 15 + 8 * strategy, false);
        attention_truth truth = truth_of(&c, &set);
        attention_fill_unseen(&c, KV_NONE, NAN);
        tree_plan *plan = plan_of(&c, &set, strategy, (tree_keep_masks)(strategy % 3));
        gpu_case_create(&gpu, &c);
        gpu_case_plan(&gpu, plan);
        for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
            roundoffs u = gpu_roundoffs(&tree_gpu_steps[s], storage);
            if (!runs_step(&tree_gpu_steps[s], storage))
                continue;
            gpu_case_run(&gpu, &tree_gpu_steps[s]);
            worst = fmax(worst, check_attention(gpu.h_out, gpu.h_lse, &truth, &u, tree_gpu_steps[s].name));
        }
        gpu_case_destroy(&gpu);
        tree_plan_destroy(plan);
        attention_truth_destroy(&truth);
        keep_set_free(&set);
        attention_case_free(&c);
    }
    test_note("worst error/limit %.2g", worst);
}

/* Evictions and calls in turn, all enqueued before any is waited for. */
static void check_stream(attention_case *c, const tree_gpu_step *step)
{
    gpu_case gpu;
    d_array out[NUM_ROUNDS], lse[NUM_ROUNDS];
    attention_truth truth[NUM_ROUNDS];
    roundoffs u = gpu_roundoffs(step, c->shape.storage);
    cudaStream_t stream;
    int cuda_error = -1;
    keep_set set = keep_set_create(c->tree);
    tree_plan *plan = plan_of(c, &set, TREE_COST, TREE_KEEP_ALL);
    gpu_case_create(&gpu, c);
    gpu_case_plan(&gpu, plan);
    cuda_ok(cudaDeviceSynchronize(), "the plan");
    cuda_ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    for (int i = 0; i < NUM_ROUNDS; i++) {
        out[i] = d_create(c->num_out * sizeof(float));
        lse[i] = d_create(c->num_lse * sizeof(float));
    }
    for (int i = 0; i < NUM_ROUNDS; i++) {
        keep_evict_random(&set, 20, false);
        truth[i] = truth_of(c, &set);
        check(tree_plan_set_keep(plan, c->tree, set.keeps), "every range has a mask");
        gpu_ok(tree_plan_gpu_update_masks(gpu.plan, plan, stream, &cuda_error), &cuda_error, "new masks");
        gpu_case_enqueue(&gpu, step, (float *)out[i].data, (float *)lse[i].data, stream);
    }
    cuda_ok(cudaStreamSynchronize(stream), step->name);
    for (int i = 0; i < NUM_ROUNDS; i++) {
        d_read(&out[i], gpu.h_out, "out");
        d_read(&lse[i], gpu.h_lse, "lse");
        check_attention(gpu.h_out, gpu.h_lse, &truth[i], &u, step->name);
        d_destroy(&out[i]);
        d_destroy(&lse[i]);
        attention_truth_destroy(&truth[i]);
    }
    cuda_ok(cudaStreamDestroy(stream), "a stream");
    gpu_case_destroy(&gpu);
    tree_plan_destroy(plan);
    keep_set_free(&set);
}

static void run_stream(const void *argument)
{
    tree_storage storage = *(const tree_storage *)argument;
    attention_case c;
    need_gpu();
    attention_case_build(&c, storage_backend(storage), "1,20/300,70", 16, (attention_size){2, 4, 128});
    check_stream(&c, &tree_gpu_steps[storage == TREE_FP32 ? 0 : 4]);
    check_stream(&c, last_step(storage));
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    static const tree_storage storages[] = {TREE_FP32, TREE_FP16, TREE_BF16};
    test_begin(argc, argv, "on a GPU, every step gives each query the attention over the tokens that it keeps");
    for (int s = 0; s < 3; s++) {
        test_add(run_agrees, &storages[s], "kept_tokens_%s", storage_name[storages[s]]);
        test_add(run_stream, &storages[s], "new_masks_in_stream_order_%s", storage_name[storages[s]]);
    }
    return test_end();
}
