/* Claim: on the GPU, every step of eviction scores each token that a query sees, whatever the plan: within 1e-4 of the
 * reference; its victim is the smallest of these importances; out and lse have the bits of attention alone; the same bits
 * again, no token scored that is not seen, nothing written besides. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eviction_support.h"
#include "test.h"

static const struct eviction_tree {
    const char *tree;
    uint32_t block_tokens;
    attention_size size;
    tree_storage storage;
    uint32_t strategies;
} trees[] = {
    {"one_token", 16, {1, 1, 64}, TREE_FP16, 1 << TREE_FLASH},
    {"partial_last_block", 16, {2, 4, 128}, TREE_BF16, 1 << TREE_FLASH | 1 << TREE_NODE_CHUNK},
    {"star:3", 4, {1, 5, 64}, TREE_BF16, 1 << TREE_NODE | 1 << TREE_TREE_MASK},
    {"chain:4", 1, {2, 8, 64}, TREE_FP16, 1 << TREE_FLATTEN | 1 << TREE_RADIX},
    {"binary:3", 16, {1, 7, 128}, TREE_FP16, 1 << TREE_COST},
    {"empty_branch", 16, {1, 9, 64}, TREE_FP16, 1 << TREE_COST | 1 << TREE_TREE_MASK},
    {"forked_inside_block", 4, {1, 2, 64}, TREE_BF16, 1 << TREE_TREE_MASK},
    {"forest", 16, {1, 1, 256}, TREE_BF16, 1 << TREE_NODE},
    {"full_block", 4, {1, 130, 64}, TREE_FP16, 1 << TREE_FLASH},
    {"full_block", 4, {40, 1, 64}, TREE_BF16, 1 << TREE_FLASH},
    {"1,40/170,3", 16, {1, 3, 64}, TREE_BF16, 1 << TREE_COST}, /* several tiles, several tasks that share them */
    {"1,2/140,9", 4, {2, 2, 64}, TREE_FP16, 1 << TREE_FLASH_DECODING}, /* a small queue */
};

enum { NUM_TREES = sizeof trees / sizeof trees[0] };
static const double TOLERANCE = 1e-4;

static void run_tree(const void *argument)
{
    const struct eviction_tree *tree = argument;
    attention_case c;
    eviction_case e = {0};
    need_gpu();
    attention_case_build_small(&c, storage_backend(tree->storage), tree->tree, tree->block_tokens, tree->size, 60000);
    attention_fill_unseen(&c, KV_NONE, NAN);
    for (uint32_t strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        if (!(tree->strategies >> strategy & 1))
            continue;
        tree_plan *plan = attention_plan(&c, (tree_strategy)strategy, 0, 0);
        eviction_case_create(&e, &c, plan);
        eviction_case_check_steps(&e, TOLERANCE);
        eviction_case_destroy(&e);
        tree_plan_destroy(plan);
    }
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "on the GPU, every step of eviction scores each token and finds the victims");
    for (uint32_t t = 0; t < NUM_TREES; t++)
        test_add(run_tree, &trees[t], "importance_on_%s_group_%u_head_dim_%u_%s", trees[t].tree,
                 trees[t].size.group_size, trees[t].size.head_dim, storage_name[trees[t].storage]);
    return test_end();
}
