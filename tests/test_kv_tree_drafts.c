/* Claim: each draft token is a node and a query of its own, that sees the past, its ancestors among the draft tokens
 * and itself, wherever the past ends and whichever tables share it. */
#include "hand_trees.h"
#include "test.h"

#define NONE KV_NONE

enum { MAX_DRAFT = 64 };

typedef struct draft {
    const char *name;
    uint32_t num_tokens, parent[MAX_DRAFT];
} draft;

/* medusa_64: the draft tree of 64 tokens that DeFT's speculative workload ships, token 0 the one just produced. */
static const draft drafts[] = {
    {"none", 0, {0}},
    {"one", 1, {NONE}},
    {"chain", 5, {NONE, 0, 1, 2, 3}},
    {"star", 5, {NONE, 0, 0, 0, 0}},
    {"all_roots", 4, {NONE, NONE, NONE, NONE}},
    {"two_chains_interleaved", 6, {NONE, NONE, 0, 1, 2, 3}},
    {"level_by_level", 7, {NONE, 0, 0, 1, 1, 2, 2}},
    {"depth_first", 7, {NONE, 0, 1, 1, 0, 4, 4}},
    {"last_child_deep", 8, {NONE, 0, 0, 0, 3, 4, 5, NONE}},
    {"medusa_64", 64,
     {NONE, 0, 1, 0, 1, 0, 2, 3, 1, 0, 1, 0, 1, 5, 1, 2, 0, 1, 0, 1, 4, 3, 0, 1, 2, 9, 1, 0, 0, 7, 8, 3, 2, 11,
      5, 2, 2, 6, 4, 2, 10, 16, 3, 2, 2, 2, 18, 12, 3, 22, 4, 13, 9, 5, 27, 14, 3, 7, 8, 28, 17, 6, 3, 19}},
};

/* Pasts: what the first table holds before its draft; the block is filled up, empty, or in between. */
typedef struct past {
    const char *name;
    uint32_t blocks, tokens; /* blocks * block_tokens + tokens */
} past;

static const past pasts[] = {
    {"no_past", 0, 0}, {"past_of_blocks", 3, 0}, {"past_inside_block", 2, 5}, {"past_of_one", 0, 1}};

typedef struct shape {
    const draft *draft;
    const past *past;
    uint32_t block_tokens;
} shape;

static void expect_nodes(const kv_tree *tree, uint32_t first_query, const draft *d, uint32_t past_tokens)
{
    for (uint32_t i = 0; i < d->num_tokens; i++) {
        uint32_t index = tree->query_node[first_query + i], depth = 0;
        for (uint32_t j = d->parent[i]; j != NONE; j = d->parent[j])
            depth++;
        check(tree->nodes[index].num_tokens == 1 && tree->nodes[index].first_token == past_tokens + depth,
              "draft token %u: %u tokens at %u", i, tree->nodes[index].num_tokens, tree->nodes[index].first_token);
        check(tree->nodes[index].first_slot == (past_tokens + i) % tree->block_tokens, "draft token %u: slot %u", i,
              tree->nodes[index].first_slot);
        if (d->parent[i] != NONE)
            check(tree->nodes[index].parent == tree->query_node[first_query + d->parent[i]], "draft token %u: parent",
                  i);
    }
}

static void run_alone(const void *argument)
{
    const shape *s = argument;
    for (hand_order order = 0; order < HAND_NUM_ORDERS; order++) {
        hand_forest f = hand_create(s->block_tokens);
        uint32_t past_tokens = s->past->blocks * s->block_tokens + s->past->tokens;
        hand_root(&f, past_tokens + s->draft->num_tokens);
        hand_draft(&f, 0, s->draft->num_tokens, s->draft->parent);
        hand_number(&f, order);
        kv_tree *tree = hand_build(&f, true);
        expect_nodes(tree, 0, s->draft, past_tokens);
        check(tree->num_nodes == s->draft->num_tokens + (past_tokens > 0), "%u nodes", tree->num_nodes);
        check(tree->versions == NULL, "versions of a tree with drafts");
        kv_tree_destroy(tree);
        hand_free(&f);
    }
}

/* Behind one prefix: two tables with this draft, one in between without, one whose past is inside another's. */
static void run_together(const void *argument)
{
    const shape *s = argument;
    for (hand_order order = 0; order < HAND_NUM_ORDERS; order++) {
        hand_forest f = hand_create(s->block_tokens);
        uint32_t shared = s->past->blocks * s->block_tokens, own = s->past->tokens, n = s->draft->num_tokens;
        hand_root(&f, shared + own + n);
        hand_fork(&f, 0, shared, own);
        hand_fork(&f, 0, shared, own + n);
        hand_fork(&f, 0, shared / 2 + own / 2, n);
        hand_fork_in_place(&f, 0, shared + own, 0);
        hand_draft(&f, 0, n, s->draft->parent);
        hand_draft(&f, 2, n, s->draft->parent);
        hand_draft(&f, 3, n, s->draft->parent);
        hand_number(&f, order);
        kv_tree *tree = hand_build(&f, true);
        uint32_t queries = n ? n : 1;
        check(tree->num_queries == 3 * queries + 2, "%u queries", tree->num_queries);
        expect_nodes(tree, 0, s->draft, shared + own);
        expect_nodes(tree, queries + 1, s->draft, shared + own);
        expect_nodes(tree, 2 * queries + 1, s->draft, shared / 2 + own / 2);
        kv_tree_destroy(tree);
        hand_free(&f);
    }
}

/* Drafts of no token at all: the tree of kv_tree_build, without room to grow. */
static void run_empty_drafts(const void *argument)
{
    (void)argument;
    for (uint32_t i = 0; i < 50; i++) {
        hand_forest f = hand_random(4, 12, 20);
        kv_tree *with = hand_build(&f, true), *without = hand_build(&f, false);
        hand_expect_equal(with, without);
        check(with->num_blocks <= without->num_blocks, "%u blocks", with->num_blocks);
        if (f.num_tables) check(!kv_tree_grow(with, f.tables, f.num_tables), "a tree with drafts grew");
        kv_tree_destroy(with);
        kv_tree_destroy(without);
        hand_free(&f);
    }
}

/* The caller accepts a path: kv_draft's order is free as long as parents come first, so any order that keeps that gives
 * the same tree, up to the names of the queries and the slots. */
static void run_orders_agree(const void *argument)
{
    const draft *level = &drafts[6], *depth = &drafts[7];
    static const uint32_t same[] = {0, 1, 4, 2, 3, 5, 6}; /* level_by_level's token i is depth_first's same[i] */
    kv_tree *tree[2];
    (void)argument;
    for (int i = 0; i < 2; i++) {
        hand_forest f = hand_create(2);
        hand_root(&f, 10);
        hand_draft(&f, 0, 7, i ? depth->parent : level->parent);
        tree[i] = hand_build(&f, true);
        hand_free(&f);
    }
    for (uint32_t i = 0; i < 7; i++)
        check(tree[0]->query_node[i] == tree[1]->query_node[same[i]], "token %u: nodes %u and %u", i,
              tree[0]->query_node[i], tree[1]->query_node[same[i]]);
    for (uint32_t i = 0; i < tree[0]->num_nodes; i++)
        check(tree[0]->nodes[i].parent == tree[1]->nodes[i].parent, "node %u", i);
    kv_tree_destroy(tree[0]);
    kv_tree_destroy(tree[1]);
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {1, 16};
    test_begin(argc, argv, "each draft token is a node of its own that sees the past, its ancestors and itself");
    for (size_t d = 0; d < sizeof drafts / sizeof *drafts; d++)
        for (size_t p = 0; p < sizeof pasts / sizeof *pasts; p++)
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
                shape x = {&drafts[d], &pasts[p], sizes[s]};
                test_add(run_alone, &x, "each_token_sees_its_ancestors_%s_%s_block_%u",
                         drafts[d].name, pasts[p].name, sizes[s]);
                test_add(run_together, &x, "each_token_sees_its_ancestors_%s_%s_block_%u_together",
                         drafts[d].name, pasts[p].name, sizes[s]);
            }
    test_add(run_empty_drafts, NULL, "empty_drafts");
    test_add(run_orders_agree, NULL, "orders_agree");
    return test_end();
}
