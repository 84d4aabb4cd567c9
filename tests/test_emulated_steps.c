/* Claim: the kernels' own source, run on the host with a fiber for each CUDA thread, gives each query the attention over
 * its own path: every step, on the plan of every strategy, within the derived limit; the same bits in whatever order
 * blocks, warps, lanes and copies come; no token read that is not seen, nothing written except out and lse. Whether a
 * GPU agrees is tested by test_gpu_agreement. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_support.h"
#include "test.h"

/* Every head_dim and storage type; rows of an item that are less than a matrix's 16, more, and more than a tile's. */
static const struct emulated_tree {
    const char *tree;
    uint32_t block_tokens;
    attention_size size;
    tree_storage storage;
} trees[] = {
    {"one_token", 16, {1, 1, 64}, TREE_FP32},
    {"one_token", 1, {2, 2, 256}, TREE_FP16},
    {"full_block", 16, {1, 3, 128}, TREE_BF16},
    {"partial_last_block", 16, {2, 1, 64}, TREE_FP16},
    {"star:3", 16, {2, 1, 64}, TREE_FP32},
    {"star:3", 4, {1, 5, 64}, TREE_BF16},
    {"1,17/4,1", 1, {1, 1, 64}, TREE_FP16},
    {"1,17/15,1", 1, {1, 1, 64}, TREE_BF16}, /* its last row sees the last token of a slice and no other of it */
    {"chain:4", 1, {1, 2, 128}, TREE_FP16},
    {"comb:3", 16, {1, 1, 64}, TREE_BF16},
    {"binary:3", 16, {1, 7, 64}, TREE_FP16},
    {"star:2", 4, {1, 1, 256}, TREE_BF16},
    {"empty_branch", 16, {1, 2, 64}, TREE_FP32},
    {"empty_branch", 16, {1, 9, 64}, TREE_FP16},
    {"forked_inside_block", 4, {1, 2, 64}, TREE_BF16},
    {"forest", 16, {1, 1, 64}, TREE_FP16},
    {"ragged", 16, {1, 1, 64}, TREE_FP32},
    {"1/63", 16, {1, 1, 128}, TREE_BF16}, /* one token less than a tile */
    {"full_block", 4, {1, 130, 64}, TREE_BF16},
    {"empty_branch", 16, {2, 1, 64}, TREE_FP16}, /* from here, a row for each warp to merge: small queues */
    {"1,2/140,9", 4, {2, 2, 64}, TREE_BF16},
    {"1,40/70,3", 16, {1, 3, 64}, TREE_BF16}, /* more than one tile, several tasks that share its tokens */
};

enum { NUM_TREES = sizeof trees / sizeof trees[0], MAX_ELEMENTS = 30000, NUM_ORDERS = 5 };

/* Slots that no query sees are NaN. */
static void run_tree(const void *argument)
{
    const struct emulated_tree *tree = argument;
    attention_case c;
    emulate_seed(test_seed());
    attention_case_build_small(&c, storage_backend(tree->storage), tree->tree, tree->block_tokens, tree->size,
                               MAX_ELEMENTS);
    attention_fill_unseen(&c, KV_NONE, NAN);
    test_note("worst error/limit %.2g", gpu_check_case(&c, ALL_STRATEGIES));
    attention_case_free(&c);
}

/* Scores so far apart that the running maximum rises again and again; and negated. */
static void run_steep(const void *argument)
{
    tree_storage storage = *(const tree_storage *)argument;
    attention_case c;
    emulate_seed(test_seed());
    attention_case_build_small(&c, storage_backend(storage), "ragged", 4, (attention_size){1, 3, 64}, MAX_ELEMENTS);
    c.scale = storage == TREE_BF16 ? -20 : 20;
    attention_fill_unseen(&c, KV_NONE, NAN);
    test_note("worst error/limit %.2g", gpu_check_case(&c, 1 << TREE_FLASH | 1 << TREE_COST));
    attention_case_free(&c);
}

/* Draft trees, with more rows in an item than a mask word has bits. */
static void run_drafts(const void *argument)
{
    attention_case c;
    (void)argument;
    emulate_seed(test_seed());
    attention_case_build_drafts(&c, storage_backend(TREE_FP16), "1,2/3,36", 4, (attention_size){1, 1, 64}, 34);
    check(c.shape.num_queries > 64, "%u queries", c.shape.num_queries);
    attention_fill_unseen(&c, KV_NONE, NAN);
    test_note("worst error/limit %.2g", gpu_check_case(&c, 1 << TREE_TREE_MASK));
    attention_case_free(&c);
}

/* The results of one step. */
typedef struct kept_run {
    float *out, *lse;
} kept_run;

static kept_run keep_run(const gpu_case *gpu)
{
    kept_run kept = {malloc(gpu->out.bytes), malloc(gpu->lse.bytes)};
    check(kept.out && kept.lse, "memory");
    memcpy(kept.out, gpu->h_out, gpu->out.bytes);
    memcpy(kept.lse, gpu->h_lse, gpu->lse.bytes);
    return kept;
}

static void check_kept(const gpu_case *gpu, const kept_run *kept, uint32_t first_query, uint32_t num_queries,
                       const char *what)
{
    uint64_t num_heads = gpu->c->shape.num_heads, elements = num_heads * gpu->c->shape.head_dim;
    check_same_bits(gpu->h_out + first_query * elements, kept->out + first_query * elements, num_queries * elements,
                    what);
    check_same_bits(gpu->h_lse + first_query * num_heads, kept->lse + first_query * num_heads, num_queries * num_heads,
                    what);
}

static void free_kept(kept_run *kept)
{
    free(kept->out);
    free(kept->lse);
}

/* Many states per query, masks, and more tiles than the steps' pipelines have stages. */
static void run_orders(const void *argument)
{
    const tree_storage *storage = argument;
    attention_case c;
    gpu_case gpu;
    attention_case_build(&c, storage_backend(*storage), "1,3/150,9", 16, (attention_size){1, 2, 64});
    tree_plan *plans[] = {attention_plan(&c, TREE_FLATTEN, 50, 0), attention_plan(&c, TREE_NODE, 0, 0)};
    gpu_case_create(&gpu, &c);
    for (int p = 0; p < 2; p++) {
        gpu_case_plan(&gpu, plans[p]);
        for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
            if (!runs_step(&tree_gpu_steps[s], *storage))
                continue;
            emulate_seed(test_seed());
            gpu_case_run(&gpu, &tree_gpu_steps[s]);
            kept_run kept = keep_run(&gpu);
            for (uint64_t order = 1; order < NUM_ORDERS; order++) {
                emulate_seed(test_seed() + order);
                gpu_case_run(&gpu, &tree_gpu_steps[s]);
                check_kept(&gpu, &kept, 0, c.shape.num_queries, tree_gpu_steps[s].name);
            }
            free_kept(&kept);
        }
        tree_plan_destroy(plans[p]);
    }
    gpu_case_destroy(&gpu);
    attention_case_free(&c);
}

/* Every step that takes the storage; first: keeps its results, else compares those of one query with what was kept. */
static void run_steps(gpu_case *gpu, kept_run kept[], bool first, uint32_t query)
{
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
        if (!runs_step(&tree_gpu_steps[s], gpu->c->shape.storage))
            continue;
        gpu_case_run(gpu, &tree_gpu_steps[s]);
        if (first) {
            kept[s] = keep_run(gpu);
        } else {
            check_kept(gpu, &kept[s], query, 1, tree_gpu_steps[s].name);
            free_kept(&kept[s]);
        }
    }
}

/* One query does not see NaN, or the largest numbers: they make no difference to it. */
typedef struct poison {
    tree_storage storage;
    float filling;
    uint32_t strategies;
} poison;

static void run_poison(const void *argument)
{
    const poison *one = argument;
    kept_run kept[16];
    check(tree_gpu_num_steps <= 16, "room for all steps");
    emulate_seed(test_seed());
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        attention_case c;
        gpu_case gpu;
        if (!(one->strategies >> strategy & 1))
            continue;
        attention_case_build(&c, storage_backend(one->storage), "1,2,4/9,12,5", 4, (attention_size){1, 3, 64});
        uint32_t query = strategy % c.shape.num_queries;
        tree_plan *plan = attention_plan(&c, strategy, 0, 0);
        gpu_case_create(&gpu, &c);
        gpu_case_plan(&gpu, plan);
        run_steps(&gpu, kept, true, query);
        attention_fill_unseen(&c, query, one->filling);
        gpu_case_upload(&gpu);
        run_steps(&gpu, kept, false, query);
        gpu_case_destroy(&gpu);
        tree_plan_destroy(plan);
        attention_case_free(&c);
    }
}

/* The key at one slot scores 60, all others a few. A row that sees it and loses it is far off, and so is a row that
 * does not see it and takes it. */
static void check_needle(attention_case *c, gpu_case *gpu, uint64_t slot)
{
    uint64_t row = c->shape.head_dim;
    float *key = attention_key(c, slot, 0), *saved = malloc(row * sizeof *saved);
    check(saved && c->shape.num_kv_heads == 1, "a row of the only KV head");
    memcpy(saved, key, row * sizeof *saved);
    attention_lift_key(c, slot, 60);
    attention_truth truth = attention_truth_create(c->query, c->key, c->value, &c->paths, &c->shape, c->scale);
    gpu_case_upload(gpu);
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
        roundoffs u = gpu_roundoffs(&tree_gpu_steps[s], c->shape.storage);
        if (!runs_step(&tree_gpu_steps[s], c->shape.storage))
            continue;
        gpu_case_run(gpu, &tree_gpu_steps[s]);
        check_attention(gpu->h_out, gpu->h_lse, &truth, &u, tree_gpu_steps[s].name);
    }
    memcpy(key, saved, row * sizeof *saved);
    attention_truth_destroy(&truth);
    free(saved);
}

static void run_needle(const void *argument)
{
    const tree_storage *storage = argument;
    attention_case c;
    gpu_case gpu;
    uint32_t num_needles = 0;
    emulate_seed(test_seed());
    attention_case_build(&c, storage_backend(*storage), "1,2/9,5", 4, (attention_size){1, 2, 64});
    attention_share_queries(&c);
    tree_plan *plan = attention_plan(&c, *storage == TREE_FP32 ? TREE_NODE : TREE_FLATTEN, 7, 0);
    gpu_case_create(&gpu, &c);
    gpu_case_plan(&gpu, plan);
    for (uint64_t slot = 0; slot < (uint64_t)c.shape.num_blocks * c.shape.block_tokens; slot++) {
        if (!query_sees(&c, 0, slot) && !query_sees(&c, 1, slot))
            continue;
        check_needle(&c, &gpu, slot);
        num_needles++;
    }
    check(num_needles == c.tree->unique_tokens, "a needle at each token: %u", num_needles);
    gpu_case_destroy(&gpu);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    static const tree_storage storages[] = {TREE_FP32, TREE_FP16, TREE_BF16};
    static const poison nans[] = {{TREE_FP32, NAN, ALL_STRATEGIES}, {TREE_FP16, NAN, ALL_STRATEGIES},
                                  {TREE_BF16, NAN, ALL_STRATEGIES}};
    static const poison large[] = {{TREE_FP16, 60000, 1 << TREE_TREE_MASK | 1 << TREE_FLATTEN | 1 << TREE_COST},
                                   {TREE_BF16, 1e38f, 1 << TREE_TREE_MASK | 1 << TREE_FLATTEN | 1 << TREE_COST}};
    test_begin(argc, argv, "emulated, every step gives each query the attention over its own path");
    for (int i = 0; i < NUM_TREES; i++)
        test_add(run_tree, &trees[i], "every_step_agrees_on_%s_group_%u_head_dim_%u_%s", trees[i].tree,
                 trees[i].size.group_size, trees[i].size.head_dim, storage_name[trees[i].storage]);
    test_add(run_drafts, NULL, "every_step_agrees_on_draft_tree_of_more_than_64_rows");
    for (int s = 0; s < 3; s++)
        test_add(run_steep, &storages[s], "every_step_agrees_on_steep_scores_%s", storage_name[storages[s]]);
    for (int s = 0; s < 2; s++)
        test_add(run_orders, &storages[s], "any_order_of_threads_same_bits_%s", storage_name[storages[s]]);
    for (int s = 0; s < 3; s++)
        test_add(run_poison, &nans[s], "unseen_nan_changes_nothing_%s", storage_name[nans[s].storage]);
    for (int s = 0; s < 2; s++)
        test_add(run_poison, &large[s], "unseen_large_numbers_change_nothing_%s", storage_name[large[s].storage]);
    for (int s = 0; s < 2; s++)
        test_add(run_needle, &storages[s], "each_token_counts_once_%s", storage_name[storages[s]]);
    return test_end();
}
