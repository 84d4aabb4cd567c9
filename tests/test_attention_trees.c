/* Claim: attention is right on trees of any shape: forests, deep chains, wide stars, a leaf of thousands of tokens
 * beside leaves of one, queries at inner nodes, trees of draft tokens. */
#include <math.h>

#include "attention_model.h"
#include "test.h"

typedef struct named_tree {
    const char *name, *spec;
    uint32_t block_tokens;
    attention_size size;
} named_tree;

static const named_tree trees[] = {
    {"forest", "forest", 16, {2, 2, 32}},
    {"forest_of_single_tokens", "40/1", 4, {1, 2, 16}},
    {"two_roots_below_each_other", "2,6/33,5", 16, {1, 4, 16}},
    {"deep_binary", "binary:6", 4, {1, 2, 16}},
    {"wide_star", "star:300", 16, {1, 1, 8}},
    {"65_branches", "star:65", 16, {1, 4, 16}},
    {"64_branches", "star:64", 16, {1, 4, 16}},
    {"33_branches", "star:33", 16, {1, 4, 16}},
    {"32_branches", "star:32", 16, {1, 4, 16}},
    {"comb_of_20", "comb:20", 16, {1, 2, 16}},
    {"inner_nodes_of_a_chain", "chain:40", 16, {1, 3, 16}},
    {"levels", "1,4,16/40,13,3", 8, {2, 2, 16}},
    {"giant_leaf", "giant_leaf", 16, {1, 1, 4}},
};

static void run_tree(const attention_backend *backend, const void *argument)
{
    const named_tree *one = argument;
    attention_case c;
    attention_case_build(&c, backend, one->spec, one->block_tokens, one->size);
    attention_fill_unseen(&c, KV_NONE, NAN);
    test_note("%u queries %u nodes U %u S %u", c.tree->num_queries, c.tree->num_nodes, (unsigned)c.tree->unique_tokens,
              (unsigned)c.tree->path_tokens);
    attention_check_strategies(&c);
    attention_case_free(&c);
}

/* 1000 branches, each the one before and 7 tokens: one query merges up to 1000 partial states. */
static void run_deep_chain(const attention_backend *backend, const void *unused)
{
    (void)unused;
    const tree_strategy strategies[] = {TREE_NODE, TREE_FLATTEN, TREE_COST};
    attention_case c;
    attention_case_build(&c, backend, "chain:1000", 16, (attention_size){1, 1, 1});
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    for (int i = 0; i < 3; i++) {
        const char *name = tree_strategy_name[strategies[i]];
        tree_plan *plan = attention_plan(&c, strategies[i], 0, 0);
        attention_result result = attention_run(&c, plan);
        double worst = check_attention(result.out.data, result.lse.data, &truth, &backend->u, name);
        test_note("%s %u partial states, worst error/limit %.2g", name, plan->num_partials, worst);
        check(plan->num_partials > c.shape.num_queries, "partial states were merged");
        attention_result_free(&result);
        tree_plan_destroy(plan);
    }
    attention_truth_destroy(&truth);
    attention_case_free(&c);
}

static void run_drafts(const attention_backend *backend, const void *argument)
{
    uint32_t draft_tokens = *(const uint32_t *)argument;
    const char *const specs[] = {"partial_last_block", "star:5", "forest", "1,4/37,40"};
    for (int i = 0; i < 4; i++) {
        attention_case c;
        attention_case_build_drafts(&c, backend, specs[i], i % 2 ? 16 : 8, (attention_size){1, 2, 16}, draft_tokens);
        attention_fill_unseen(&c, KV_NONE, NAN);
        check(c.shape.num_queries > c.num_tables || draft_tokens < 2, "draft tokens have queries too");
        test_note("%s %u queries", specs[i], c.shape.num_queries);
        attention_check_strategies(&c);
        attention_case_free(&c);
    }
}

int main(int argc, char **argv)
{
    static const uint32_t draft_tokens[] = {1, 2, 16, 36};
    test_begin(argc, argv, "attention is right on trees of any shape");
    for (size_t i = 0; i < sizeof trees / sizeof trees[0]; i++)
        attention_add_one_storage(run_tree, &trees[i], (uint32_t)i, "every_strategy_agrees_on_%s", trees[i].name);
    attention_add_one_storage(run_deep_chain, NULL, 0, "every_strategy_agrees_on_chain_of_depth_1000");
    for (size_t i = 0; i < sizeof draft_tokens / sizeof draft_tokens[0]; i++)
        attention_add(run_drafts, &draft_tokens[i], "every_strategy_agrees_on_draft_trees_of_%u_tokens",
                      draft_tokens[i]);
    return test_end();
}
