/* Claim: on the GPU, every step agrees with the truth at the extremes: the deepest and the widest trees, forests,
 * branches without a token, scores of any size and order, any scale, values that cancel. */
#include <math.h>

#include "gpu_support.h"
#include "test.h"

/* ---- trees ---- */

static const struct tree_size {
    const char *tree;
    uint32_t block_tokens;
    attention_size size;
} tree_sizes[] = {
    {"chain:1", 16, {2, 4, 64}},      {"chain:2", 1, {2, 4, 128}},      {"chain:10", 16, {2, 3, 128}},
    {"chain:100", 16, {1, 5, 64}},    {"chain:1000", 16, {1, 1, 64}},   {"comb:200", 16, {1, 2, 64}},
    {"1,1/40,1", 16, {2, 7, 64}},     {"1,2/1,1", 1, {1, 3, 256}},      {"1,3/33,5", 16, {2, 5, 128}},
    {"1,16/33,5", 16, {2, 7, 64}},    {"1,63/33,5", 4, {1, 2, 64}},     {"1,65/33,5", 16, {1, 3, 64}},
    {"1,257/33,5", 16, {1, 1, 128}},  {"1,1024/33,2", 16, {1, 1, 64}},  {"1,4096/9,1", 1, {1, 1, 64}},
    {"7,21/20,9", 16, {2, 4, 64}},    {"500,500/3,1", 4, {1, 2, 64}},   {"2,40,80/70,1,33", 16, {1, 4, 128}},
    {"empty_branch", 4, {2, 5, 128}}, {"giant_leaf", 256, {1, 3, 128}}, {"forked_inside_block", 64, {1, 7, 64}},
};

enum { NUM_TREES = sizeof tree_sizes / sizeof tree_sizes[0] };

static void run_tree(const void *argument)
{
    const struct tree_size *one = argument;
    double worst = 0;
    need_gpu();
    for (tree_storage storage = TREE_FP16; storage <= TREE_BF16; storage++) {
        attention_case c;
        attention_case_build(&c, storage_backend(storage), one->tree, one->block_tokens, one->size);
        attention_fill_unseen(&c, KV_NONE, NAN);
        test_note("%s: %u queries, %u nodes", storage_name[storage], c.shape.num_queries, c.tree->num_nodes);
        worst = fmax(worst, gpu_check_case(&c, ALL_STRATEGIES));
        attention_case_free(&c);
    }
    test_note("worst error/limit %.2g", worst);
}

/* ---- scores: the query is (1, 0, 0 ...) and scale 1, so that the first element of a key is its score ---- */

typedef float score_of_token(uint64_t t, uint64_t length);

static float all_zero(uint64_t t, uint64_t length) { return (void)t, (void)length, 0; }
static float all_large(uint64_t t, uint64_t length) { return (void)t, (void)length, 1e4f; }
static float all_small(uint64_t t, uint64_t length) { return (void)t, (void)length, -3e4f; }
static float signs_alternate(uint64_t t, uint64_t length) { return (void)length, t % 2 ? 1e4f : -1e4f; }
static float rising(uint64_t t, uint64_t length) { return (void)length, (float)t * 0.5f; }
static float falling(uint64_t t, uint64_t length) { return (void)length, (float)t * -0.5f; }
static float rising_steeply(uint64_t t, uint64_t length) { return (void)length, (float)t * 128; }
static float falling_steeply(uint64_t t, uint64_t length) { return (void)length, (float)t * -128; }
static float rising_slowly(uint64_t t, uint64_t length) { return (void)length, (float)(t / 16) * 5; }
static float largest_first(uint64_t t, uint64_t length) { return (void)length, t == 0 ? 50 : 1; }
static float largest_last(uint64_t t, uint64_t length) { return t == length - 1 ? 50 : 1; }
static float mostly_nothing(uint64_t t, uint64_t length) { return (void)length, t % 3 == 1 ? (float)t : -INFINITY; }
static float nothing_first(uint64_t t, uint64_t length) { return t < length / 2 ? -INFINITY : 2; }
static float nothing_last(uint64_t t, uint64_t length) { return t > length / 2 ? -INFINITY : -2; }

static const struct pattern {
    const char *name;
    score_of_token *score;
} patterns[] = {
    {"all_zero", all_zero},
    {"all_1e4", all_large},
    {"all_minus_3e4", all_small},
    {"plus_and_minus_1e4", signs_alternate},
    {"rising", rising},
    {"falling", falling},
    {"rising_steeply", rising_steeply},
    {"falling_steeply", falling_steeply},
    {"rising_slowly", rising_slowly},
    {"largest_first", largest_first},
    {"largest_last", largest_last},
    {"mostly_minus_infinity", mostly_nothing},
    {"minus_infinity_first", nothing_first},
    {"minus_infinity_last", nothing_last},
};

enum { NUM_PATTERNS = sizeof patterns / sizeof patterns[0] };

/* A chain: the longest path begins with all others. */
static void build_scores(attention_case *c, tree_storage storage)
{
    attention_case_build(c, storage_backend(storage), "chain:18", 16, (attention_size){2, 3, 64});
    c->scale = 1;
    for (uint64_t i = 0; i < c->num_out; i++)
        c->query[i] = i % c->shape.head_dim == 0;
}

static void set_scores(const attention_case *c, score_of_token *score)
{
    uint32_t last = c->shape.num_queries - 1;
    uint64_t length = c->paths.first[last + 1] - c->paths.first[last];
    for (uint64_t t = 0; t < length; t++) {
        for (uint32_t kv_head = 0; kv_head < c->shape.num_kv_heads; kv_head++)
            attention_key(c, c->paths.slots[c->paths.first[last] + t], kv_head)[0] =
                storage_round(score(t, length), c->shape.storage);
    }
}

static void run_pattern(const void *argument)
{
    const struct pattern *one = argument;
    double worst = 0;
    need_gpu();
    for (tree_storage storage = TREE_FP32; storage <= TREE_BF16; storage++) {
        attention_case c;
        build_scores(&c, storage);
        set_scores(&c, one->score);
        attention_fill_unseen(&c, KV_NONE, NAN);
        test_note("%s", storage_name[storage]);
        worst = fmax(worst, gpu_check_case(&c, ALL_STRATEGIES));
        attention_case_free(&c);
    }
    test_note("worst error/limit %.2g", worst);
}

/* ---- keys, values and scales ---- */

static void keys_are_large(attention_case *c)
{
    for (uint64_t i = 0; i < c->num_kv; i++)
        c->key[i] = storage_round(c->key[i] * 64, c->shape.storage);
}

static void keys_are_denormal(attention_case *c)
{
    const float smallest = c->shape.storage == TREE_FP16 ? 0x1p-24f : 0x1p-126f;
    for (uint64_t i = 0; i < c->num_kv; i++)
        c->key[i] = storage_round(c->key[i] * smallest * 8, c->shape.storage);
}

/* Neighbours in a block have +30000 and -30000. */
static void values_cancel(attention_case *c)
{
    for (uint64_t i = 0; i < c->num_kv; i++)
        c->value[i] = storage_round(i / c->shape.head_dim % 2 ? 30000 : -30000, c->shape.storage);
}

static void scale_is_0(attention_case *c) { c->scale = 0; }
static void scale_is_minus_1(attention_case *c) { c->scale = -1; }
static void scale_is_large(attention_case *c) { c->scale = 3.5f; }

static const struct change {
    const char *name;
    void (*make)(attention_case *c);
} changes[] = {
    {"large_keys", keys_are_large},
    {"denormal_keys", keys_are_denormal},
    {"values_cancel", values_cancel},
    {"scale_0", scale_is_0},
    {"scale_minus_1", scale_is_minus_1},
    {"scale_3.5", scale_is_large},
};

enum { NUM_CHANGES = sizeof changes / sizeof changes[0] };

static void run_change(const void *argument)
{
    const struct change *one = argument;
    double worst = 0;
    need_gpu();
    for (tree_storage storage = TREE_FP32; storage <= TREE_BF16; storage++) {
        attention_case c;
        attention_case_build(&c, storage_backend(storage), "comb:4", 16, (attention_size){2, 3, 64});
        one->make(&c);
        attention_fill_unseen(&c, KV_NONE, NAN);
        test_note("%s", storage_name[storage]);
        worst = fmax(worst, gpu_check_case(&c, ALL_STRATEGIES));
        attention_case_free(&c);
    }
    test_note("worst error/limit %.2g", worst);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "on the GPU, every step agrees with the truth at the extremes of trees and scores");
    for (uint32_t i = 0; i < NUM_TREES; i++)
        test_add(run_tree, &tree_sizes[i], "every_step_agrees_on_%s_block_%u_group_%u_dim_%u", tree_sizes[i].tree,
                 tree_sizes[i].block_tokens, tree_sizes[i].size.group_size, tree_sizes[i].size.head_dim);
    for (uint32_t i = 0; i < NUM_PATTERNS; i++)
        test_add(run_pattern, &patterns[i], "every_step_agrees_on_scores_%s", patterns[i].name);
    for (uint32_t i = 0; i < NUM_CHANGES; i++)
        test_add(run_change, &changes[i], "every_step_agrees_on_%s", changes[i].name);
    return test_end();
}
