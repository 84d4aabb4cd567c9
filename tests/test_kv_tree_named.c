/* Claim: the nodes of named trees are the maximal runs of tokens that the same branches see, whatever the block size
 * and the blocks' names. */
#include <stdio.h>

#include "hand_trees.h"
#include "test.h"

static void one_token(hand_forest *f) { hand_root(f, 1); }
static void full_block(hand_forest *f) { hand_root(f, f->block_tokens); }
static void partial_last_block(hand_forest *f) { hand_root(f, 3 * f->block_tokens + 1); }

static void star(hand_forest *f)
{
    uint32_t root = hand_root(f, 5 * f->block_tokens + 3);
    for (uint32_t i = 0; i < 9; i++)
        hand_fork(f, root, 5 * f->block_tokens, 20 + i);
}

/* The branch that was forked first is longer than the fork. */
static void star_of_continued_parent(hand_forest *f)
{
    uint32_t root = hand_root(f, 70);
    for (uint32_t i = 0; i < 9; i++)
        hand_fork(f, root, 37, i);
    hand_append(f, root, 50);
}

static void chain(hand_forest *f)
{
    uint32_t last = hand_root(f, 7);
    for (uint32_t i = 0; i < 12; i++)
        last = hand_fork(f, last, f->tables[last].length, 7);
}

static void chain_in_place(hand_forest *f)
{
    uint32_t last = hand_root(f, 7);
    for (uint32_t i = 0; i < 12; i++)
        last = hand_fork_in_place(f, last, f->tables[last].length, 7);
}

/* The longest first: every later one is a prefix. */
static void chain_of_prefixes(hand_forest *f)
{
    uint32_t longest = hand_root(f, 60);
    for (uint32_t length = 55; length > 0; length -= 5)
        hand_fork(f, longest, length, 0);
}

static void deep_chain(hand_forest *f)
{
    uint32_t last = hand_root(f, 3);
    for (uint32_t i = 1; i < 1000; i++)
        last = hand_fork_in_place(f, last, f->tables[last].length, 1 + i % 3);
}

static void comb(hand_forest *f)
{
    uint32_t spine = hand_root(f, 300);
    for (uint32_t at = 280; at > 20; at -= 21)
        hand_fork(f, spine, at, 5);
}

static void binary(hand_forest *f)
{
    hand_root(f, 11);
    for (uint32_t level = 1; level < 6; level++)
        for (uint32_t t = 0, count = f->num_tables; t < count; t++) {
            hand_fork(f, t, 11 * level, 11);
            hand_append(f, t, 11);
        }
}

static void ragged(hand_forest *f)
{
    static const uint32_t keep[] = {300, 0, 13, 299, 150, 300, 17}, more[] = {1, 700, 2, 50, 333, 16, 0};
    uint32_t root = hand_root(f, 300);
    for (uint32_t i = 0; i < sizeof keep / sizeof *keep; i++)
        hand_fork(f, root, keep[i], more[i]);
}

static void empty_branch(hand_forest *f)
{
    hand_root(f, 0);
    uint32_t root = hand_root(f, 20);
    hand_root(f, 0);
    hand_fork(f, root, 20, 3);
    hand_fork(f, root, 0, 0);
}

static void all_empty(hand_forest *f)
{
    for (int i = 0; i < 5; i++)
        hand_root(f, 0);
}

static void no_tables(hand_forest *f) { (void)f; }

static void forked_inside_block(hand_forest *f)
{
    uint32_t root = hand_root(f, 3 * f->block_tokens);
    for (uint32_t slot = 0; slot <= f->block_tokens; slot += 1 + f->block_tokens / 16)
        hand_fork(f, root, f->block_tokens + slot, slot % 3);
}

/* Shortest first: each sees more of the block than all before. */
static void block_filled_in_steps(hand_forest *f)
{
    uint32_t last = hand_root(f, f->block_tokens + 1);
    for (uint32_t step = 1; step < f->block_tokens; step += 1 + f->block_tokens / 16) {
        last = hand_fork_in_place(f, last, f->tables[last].length, 1 + f->block_tokens / 16);
        hand_fork(f, last, f->tables[last].length, 0);
    }
    hand_fork_in_place(f, last, f->tables[last].length, 3 * f->block_tokens);
}

/* Several branches go on from the same part-filled block, which the first shows them only in part. */
static void continued_inside_block(hand_forest *f)
{
    uint32_t half = f->block_tokens / 2 + 1;
    uint32_t shorter = hand_root(f, f->block_tokens + half);
    uint32_t longer = hand_fork_in_place(f, shorter, f->block_tokens + half, 2 * f->block_tokens);
    hand_fork_in_place(f, longer, f->block_tokens + half, f->block_tokens - half);
    hand_fork_in_place(f, longer, 2 * f->block_tokens, 9);
    hand_fork_in_place(f, shorter, f->block_tokens + half, 0);
    hand_fork(f, longer, f->block_tokens + 1, 4);
}

static void forest(hand_forest *f)
{
    uint32_t a = hand_root(f, 40), b = hand_root(f, 1), c = hand_root(f, 100);
    hand_fork(f, c, 64, 10);
    hand_fork(f, a, 33, 2);
    hand_fork(f, b, 1, 30);
    hand_fork(f, a, 40, 2);
    hand_root(f, 17);
}

static void prefix_of_another(hand_forest *f)
{
    uint32_t longer = hand_root(f, 50);
    hand_fork(f, longer, 21, 0);
    hand_fork(f, 1, 21, 0);
}

static void prefix_before_another(hand_forest *f)
{
    uint32_t shorter = hand_root(f, 21);
    hand_fork_in_place(f, shorter, 21, 29);
}

static void equal_branches(hand_forest *f)
{
    uint32_t root = hand_root(f, 37);
    for (uint32_t i = 0; i < 4; i++)
        hand_fork(f, root, 37, 0);
    hand_fork(f, root, 16, 0);
    hand_fork(f, root, 16, 0);
}

static void giant_leaf(hand_forest *f)
{
    uint32_t root = hand_root(f, 64);
    for (uint32_t i = 0; i < 16; i++)
        hand_fork(f, root, 64, i == 7 ? 5000 : 1);
}

static const struct tree {
    const char *name;
    void (*grow)(hand_forest *forest);
    uint32_t num_nodes; /* with block_tokens 1; 0: not stated here */
} trees[] = {
    {"one_token", one_token, 1},
    {"full_block", full_block, 1},
    {"partial_last_block", partial_last_block, 1},
    {"star", star, 11},
    {"star_of_continued_parent", star_of_continued_parent, 10},
    {"chain", chain, 13},
    {"chain_in_place", chain_in_place, 13},
    {"chain_of_prefixes", chain_of_prefixes, 12},
    {"deep_chain", deep_chain, 1000},
    {"comb", comb, 27},
    {"binary", binary, 63},
    {"ragged", ragged, 0},
    {"empty_branch", empty_branch, 2},
    {"all_empty", all_empty, 0},
    {"no_tables", no_tables, 0},
    {"forked_inside_block", forked_inside_block, 0},
    {"block_filled_in_steps", block_filled_in_steps, 0},
    {"continued_inside_block", continued_inside_block, 0},
    {"forest", forest, 10},
    {"prefix_of_another", prefix_of_another, 2},
    {"prefix_before_another", prefix_before_another, 2},
    {"equal_branches", equal_branches, 2},
    {"giant_leaf", giant_leaf, 17},
};

typedef struct shape {
    const struct tree *tree;
    uint32_t block_tokens;
} shape;

static void run(const void *argument)
{
    const shape *s = argument;
    for (hand_order order = 0; order < HAND_NUM_ORDERS; order++) {
        hand_forest f = hand_create(s->block_tokens);
        s->tree->grow(&f);
        hand_number(&f, order);
        kv_tree *tree = hand_build(&f, false);
        if (s->block_tokens == 1 && s->tree->num_nodes)
            check(tree->num_nodes == s->tree->num_nodes, "%u nodes, expected %u", tree->num_nodes, s->tree->num_nodes);
        if (order == HAND_IDENTITY)
            test_note("tables=%u nodes=%u unique=%llu path=%llu", f.num_tables, tree->num_nodes,
                      (unsigned long long)tree->unique_tokens, (unsigned long long)tree->path_tokens);
        kv_tree_destroy(tree);
        hand_free(&f);
    }
}

/* The three tables in kv_tree.h's drawing. */
static void run_header_example(const void *argument)
{
    (void)argument;
    hand_forest f = hand_create(4);
    hand_table(&f, 12, 3, (const uint32_t[]){0, 1, 2});
    hand_table(&f, 10, 3, (const uint32_t[]){0, 1, 3});
    hand_table(&f, 8, 2, (const uint32_t[]){0, 1});
    kv_tree *tree = hand_build(&f, false);
    check(tree->num_nodes == 3 && tree->unique_tokens == 14 && tree->path_tokens == 30, "%u nodes", tree->num_nodes);
    check(tree->nodes[0].num_tokens == 8 && tree->nodes[1].num_tokens == 4 && tree->nodes[2].num_tokens == 2,
          "%u %u %u tokens", tree->nodes[0].num_tokens, tree->nodes[1].num_tokens, tree->nodes[2].num_tokens);
    check(tree->rows[0] == 2 && tree->rows[1] == 0 && tree->rows[2] == 1, "rows %u %u %u", tree->rows[0],
          tree->rows[1], tree->rows[2]);
    kv_tree_destroy(tree);
    hand_free(&f);
}

/* A node that begins inside a block lists the block again, and tokens of the table beyond its length do not exist. */
static void run_split_inside_block(const void *argument)
{
    (void)argument;
    hand_forest f = hand_create(4);
    hand_table(&f, 7, 3, (const uint32_t[]){5, 6, 7});
    hand_table(&f, 6, 2, (const uint32_t[]){5, 6});
    kv_tree *tree = hand_build(&f, false);
    check(tree->num_nodes == 2 && tree->nodes[1].first_token == 6 && tree->nodes[1].first_slot == 2 &&
          tree->nodes[1].num_tokens == 1, "%u nodes", tree->num_nodes);
    check(tree->blocks[tree->nodes[0].first_block + 1] == 6 && tree->blocks[tree->nodes[1].first_block] == 6,
          "block %u", tree->blocks[tree->nodes[1].first_block]);
    kv_tree_destroy(tree);
    hand_free(&f);
}

/* Branches end inside a long one, at positions whose low bytes fall while the high ones rise. */
static void run_distant_forks(const void *argument)
{
    enum { NUM = 5, END = (1 << 24) + 600 };
    static const uint32_t start[NUM] = {(1 << 24) + 16, 40, (1 << 16) + 16, (1 << 24) + (1 << 8), 1 << 16};
    static const uint32_t sorted[NUM] = {40, 1 << 16, (1 << 16) + 16, (1 << 24) + 16, (1 << 24) + (1 << 8)};
    (void)argument;
    hand_forest f = hand_create(256);
    hand_root(&f, END);
    for (uint32_t i = 0; i < NUM; i++) hand_fork_in_place(&f, 0, start[i], 0);
    kv_tree *tree;
    char message[200];
    check(kv_tree_build(&tree, f.tables, f.num_tables, 256, f.num_blocks) == KV_OK, "a tree");
    check(kv_tree_check(tree, f.tables, f.num_tables, message, sizeof message) == KV_OK, "%s", message);
    uint32_t cut = 0;
    for (uint32_t i = tree->query_node[0]; tree->nodes[i].parent != KV_NONE; i = tree->nodes[i].parent) {
        check(cut < NUM && tree->nodes[i].first_token == sorted[NUM - 1 - cut], "a node begins at token %u",
              tree->nodes[i].first_token);
        cut++;
    }
    check(cut == NUM, "%u cuts", cut);
    kv_tree_destroy(tree);
    hand_free(&f);
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {1, 2, 16, 256};
    test_begin(argc, argv, "the nodes of named trees are the maximal runs that the same branches see");
    test_add(run_header_example, NULL, "header_example");
    test_add(run_split_inside_block, NULL, "split_inside_block");
    test_add(run_distant_forks, NULL, "forks_of_a_branch_of_2_24_tokens");
    for (size_t i = 0; i < sizeof trees / sizeof *trees; i++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            test_add(run, &(shape){&trees[i], sizes[s]}, "nodes_are_maximal_runs_%s_block_%u", trees[i].name, sizes[s]);
    return test_end();
}
