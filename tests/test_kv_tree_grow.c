/* Claim: kv_tree_grow gives the tree that a new build would give, or false and nothing changed; and false only when a
 * shared end, a changed branch or used-up spare entries leave no other way. */
#include <stdlib.h>
#include <string.h>

#include "hand_trees.h"
#include "test.h"

typedef struct snapshot {
    kv_tree tree;
    kv_node *nodes;
    uint32_t *blocks;
} snapshot;

static snapshot take(const kv_tree *tree)
{
    snapshot s = {*tree, malloc((tree->num_nodes + 1) * sizeof(kv_node)), malloc((tree->num_blocks + 1) * 4)};
    check(s.nodes && s.blocks, "out of memory");
    memcpy(s.nodes, tree->nodes, tree->num_nodes * sizeof(kv_node));
    memcpy(s.blocks, tree->blocks, tree->num_blocks * sizeof *s.blocks);
    return s;
}

static void expect_unchanged(snapshot *s, const kv_tree *tree)
{
    check(!memcmp(&s->tree, tree, sizeof *tree), "the tree's numbers changed");
    check(!memcmp(s->nodes, tree->nodes, tree->num_nodes * sizeof *s->nodes), "nodes changed");
    check(!memcmp(s->blocks, tree->blocks, tree->num_blocks * sizeof *s->blocks), "blocks changed");
    free(s->nodes);
    free(s->blocks);
}

static uint32_t run_blocks(const kv_tree *tree, uint32_t node)
{
    return (tree->nodes[node].first_slot + tree->nodes[node].num_tokens + tree->block_tokens - 1) / tree->block_tokens;
}

static uint32_t capacity(const kv_tree *tree, uint32_t node)
{
    uint32_t end = node + 1 < tree->num_nodes ? tree->nodes[node + 1].first_block : tree->num_blocks;
    return end - tree->nodes[node].first_block;
}

/* Entries behind a node's run are spare, and say so; a node that others see has none. */
static void expect_spare(const kv_tree *tree)
{
    for (uint32_t i = 0; i < tree->num_nodes; i++)
        check(tree->nodes[i].num_rows == 1 || capacity(tree, i) == run_blocks(tree, i), "node %u: %u spare entries", i,
              capacity(tree, i) - run_blocks(tree, i));
    for (uint32_t i = 0; i < tree->num_nodes; i++)
        for (uint32_t j = run_blocks(tree, i); j < capacity(tree, i); j++)
            check(tree->blocks[tree->nodes[i].first_block + j] == KV_NONE, "node %u: spare entry %u is %u", i, j,
                  tree->blocks[tree->nodes[i].first_block + j]);
}

/* By the header's words, from the tree and the tables' new lengths. */
static bool should_grow(const kv_tree *tree, const hand_forest *f, const uint32_t *old_length)
{
    for (uint32_t t = 0; t < f->num_tables; t++) {
        uint32_t node = tree->query_node[t];
        if (f->tables[t].length == old_length[t]) continue;
        if (node == KV_NONE || tree->nodes[node].num_rows != 1) return false;
        uint32_t first = f->tables[t].length - tree->nodes[node].first_token + tree->nodes[node].first_slot;
        if ((first + tree->block_tokens - 1) / tree->block_tokens > capacity(tree, node)) return false;
    }
    return true;
}

static void step(hand_forest *f, uint32_t *old_length)
{
    uint32_t share = 1 + test_below(4), max_tokens = 1 + test_below(3 * f->block_tokens);
    for (uint32_t t = 0; t < f->num_tables; t++) {
        old_length[t] = f->tables[t].length;
        if (test_below(4) < share) hand_append(f, t, test_below(4) ? 1 : 1 + test_below(max_tokens));
    }
}

/* Appends as an allocator does: a part-filled block that another table lists is replaced first. */
static void own_last_blocks(hand_forest *f)
{
    for (uint32_t t = 0; t < f->num_tables; t++) {
        uint32_t last = f->tables[t].num_blocks - 1;
        if (f->tables[t].length % f->block_tokens == 0) continue;
        f->blocks[t][last] = f->num_blocks++;
    }
}

static void run_random(const void *argument)
{
    const uint32_t block_tokens = *(const uint32_t *)argument;
    uint32_t grown = 0, refused = 0;
    for (uint32_t i = 0; i < 60; i++) {
        uint32_t old_length[16];
        hand_forest f = hand_random(block_tokens, 10, 3 * block_tokens + 5);
        if (i % 2) own_last_blocks(&f);
        kv_tree *tree = hand_build(&f, false);
        for (uint32_t s = 0; s < 12; s++) {
            expect_spare(tree);
            step(&f, old_length);
            snapshot before = take(tree);
            bool expected = should_grow(tree, &f, old_length);
            check(kv_tree_grow(tree, f.tables, f.num_tables) == expected, "forest %u step %u: expected %d", i, s,
                  expected);
            kv_tree *anew = hand_build(&f, false);
            if (expected) {
                grown++;
                hand_expect_equal(tree, anew);
                hand_expect_tree(&f, tree, false);
                kv_tree_destroy(anew);
                free(before.nodes);
                free(before.blocks);
            } else {
                refused++;
                expect_unchanged(&before, tree);
                kv_tree_destroy(tree);
                tree = anew;
            }
        }
        kv_tree_destroy(tree);
        hand_free(&f);
    }
    check(grown > 50 && refused > 50, "%u grown, %u refused", grown, refused);
    test_note("grown=%u refused=%u", grown, refused);
}

/* A prefix of 20 tokens, then branches: 0 and 1 alone behind it, 2 and 3 equal, 4 ends at the prefix, 5 empty. */
static hand_forest make_forest(void)
{
    hand_forest f = hand_create(4);
    hand_root(&f, 26);
    hand_fork(&f, 0, 20, 7);
    hand_fork(&f, 0, 20, 3);
    hand_fork(&f, 2, 23, 0);
    hand_fork(&f, 0, 20, 0);
    hand_root(&f, 0);
    return f;
}

enum { NUM_TABLES = 6 };

typedef struct change {
    const char *name;
    uint32_t more[NUM_TABLES]; /* tokens appended to each */
    bool grows;
} change;

static const change changes[] = {
    {"nothing", {0}, true},
    {"one_branch", {1}, true},
    {"two_branches", {1, 1}, true},
    {"into_the_next_block", {3, 2}, true},
    {"over_three_blocks", {12, 13}, true},
    {"to_the_last_spare_entry", {2 + 4 * 4, 1 + 4 * 4}, true},
    {"past_the_last_spare_entry", {2 + 4 * 4 + 1}, false},
    {"past_the_last_spare_entry_of_the_second", {1, 1 + 4 * 4 + 1}, false},
    {"shared_end", {1, 0, 1}, false},
    {"end_of_the_prefix", {1, 1, 0, 0, 1}, false},
    {"empty_branch", {1, 1, 0, 0, 0, 1}, false},
};

static void run_change(const void *argument)
{
    const change *c = argument;
    hand_forest f = make_forest();
    kv_tree *tree = hand_build(&f, false);
    snapshot before = take(tree);
    for (uint32_t t = 0; t < NUM_TABLES; t++)
        hand_append(&f, t, c->more[t]);
    check(kv_tree_grow(tree, f.tables, f.num_tables) == c->grows, "expected %d", c->grows);
    if (!c->grows) {
        expect_unchanged(&before, tree);
    } else {
        kv_tree *anew = hand_build(&f, false);
        hand_expect_equal(tree, anew);
        expect_spare(tree);
        kv_tree_destroy(anew);
        free(before.nodes);
        free(before.blocks);
    }
    kv_tree_destroy(tree);
    hand_free(&f);
}

static void refuse(const kv_table *tables, uint32_t num_tables, const char *why)
{
    hand_forest f = make_forest();
    kv_tree *tree = hand_build(&f, false);
    snapshot before = take(tree);
    check(!kv_tree_grow(tree, tables, num_tables), "%s", why);
    expect_unchanged(&before, tree);
    kv_tree_destroy(tree);
    hand_free(&f);
}

/* Each of these is a call that would succeed but for one thing. */
static void run_other_tables(const void *argument)
{
    (void)argument;
    hand_forest f = make_forest();
    hand_append(&f, 0, 3);
    kv_table good = f.tables[0];
    refuse(f.tables, NUM_TABLES - 1, "a table is missing");
    f.tables[0].version++;
    refuse(f.tables, NUM_TABLES, "another version of a longer table");
    f.tables[0] = good;
    f.tables[0].num_blocks--;
    refuse(f.tables, NUM_TABLES, "a table shorter than its length needs");
    f.tables[0] = good;
    f.tables[3].version = 7;
    refuse(f.tables, NUM_TABLES, "another version of a table of the same length");
    f.tables[3].version = 103;
    f.tables[1].length--;
    refuse(f.tables, NUM_TABLES, "a shorter table");
    f.tables[1].length++;
    kv_tree *tree = NULL;
    check(kv_tree_build(&tree, f.tables, 0, 4, 0) == KV_OK && kv_tree_grow(tree, f.tables, 0), "no tables at all");
    kv_tree_destroy(tree);
    hand_free(&f);
}

/* An engine's own tables say version 0: nothing is known of them. The same length may hide other blocks. */
static void run_unknown_versions(const void *argument)
{
    const bool longer = argument != NULL;
    hand_forest f = make_forest();
    for (uint32_t t = 0; t < NUM_TABLES; t++) f.tables[t].version = 0;
    kv_tree *tree = hand_build(&f, false);
    snapshot before = take(tree);
    check(!kv_tree_grow(tree, f.tables, NUM_TABLES), "tables of which nothing is known");
    for (uint32_t i = 0; i < f.tables[1].num_blocks; i++) f.blocks[1][i] = f.num_blocks++; /* preempted, then resumed */
    if (longer) hand_append(&f, 1, 1);
    check(!kv_tree_grow(tree, f.tables, NUM_TABLES), "a rewritten table of the same version");
    expect_unchanged(&before, tree);
    kv_tree_destroy(tree);
    hand_free(&f);
}

/* One table without a version among known ones. */
static void run_one_unknown_version(const void *argument)
{
    (void)argument;
    hand_forest f = make_forest();
    f.tables[3].version = 0;
    kv_tree *tree = hand_build(&f, false);
    hand_append(&f, 0, 1);
    check(!kv_tree_grow(tree, f.tables, NUM_TABLES), "table 3 may be another");
    kv_tree_destroy(tree);
    hand_free(&f);
}

/* A long branch has more to spare than a short one: one block in eight. */
static void run_spare_follows_length(const void *argument)
{
    (void)argument;
    hand_forest f = hand_create(16);
    hand_root(&f, 4096);
    kv_tree *tree = hand_build(&f, false);
    uint32_t steps = 0;
    do
        hand_append(&f, 0, 1);
    while (kv_tree_grow(tree, f.tables, 1) && ++steps < 4096);
    check(steps == 32 * 16, "%u tokens until the spare entries were used up", steps);
    kv_tree_destroy(tree);
    hand_free(&f);
}

/* A node that begins in slot 1 of its first block: that slot is not its to grow into. */
static void run_begins_inside_block(const void *argument)
{
    (void)argument;
    hand_forest f = hand_create(4);
    hand_root(&f, 6);
    hand_fork_in_place(&f, 0, 5, 0);
    kv_tree *tree = hand_build(&f, false);
    check(tree->num_nodes == 2 && tree->nodes[1].first_slot == 1, "%u nodes", tree->num_nodes);
    for (uint32_t left = 4 * capacity(tree, 1) - 2; left > 0; left--) {
        hand_append(&f, 0, 1);
        check(kv_tree_grow(tree, f.tables, 2), "%u slots are left", left);
        hand_expect_tree(&f, tree, false);
    }
    hand_append(&f, 0, 1);
    check(!kv_tree_grow(tree, f.tables, 2), "no slot is left");
    kv_tree_destroy(tree);
    hand_free(&f);
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {1, 2, 4, 16, 256};
    test_begin(argc, argv, "kv_tree_grow gives the tree that a new build would give, or false and nothing changed");
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        test_add(run_change, &changes[i], "%s", changes[i].name);
    test_add(run_other_tables, NULL, "other_tables");
    test_add(run_unknown_versions, NULL, "refuses_rewritten_tables_of_version_0");
    test_add(run_unknown_versions, "", "refuses_rewritten_longer_tables_of_version_0");
    test_add(run_one_unknown_version, NULL, "refuses_one_table_of_version_0");
    test_add(run_begins_inside_block, NULL, "begins_inside_block");
    test_add(run_spare_follows_length, NULL, "spare_follows_length");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        test_add(run_random, &sizes[i], "random_block_%u", sizes[i]);
    return test_end();
}
