/* Claim: kv_tree_check notices every single wrong number of a tree. */
#include <stdlib.h>
#include <string.h>

#include "hand_trees.h"
#include "test.h"

static hand_forest f;
static kv_tree *tree;
static bool with_drafts;

static void expect_corrupt(const char *what, uint32_t index, uint64_t value)
{
    char message[200] = "";
    kv_status status;
    if (with_drafts) status = kv_tree_check_drafts(tree, f.tables, f.drafts, f.num_tables, message, sizeof message);
    else status = kv_tree_check(tree, f.tables, f.num_tables, message, sizeof message);
    check(status == KV_CORRUPT && message[0], "%s %u = %llu: status %d '%s'", what, index, (unsigned long long)value,
          status, message);
}

static void change_u32(uint32_t *number, const char *what, uint32_t index)
{
    const uint32_t right = *number;
    const uint32_t wrong[] = {right + 1, right - 1, right ^ 2, 0, 1, KV_NONE, KV_NONE - 1, 1u << 31, right + 256};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        *number = wrong[i];
        if (wrong[i] != right) expect_corrupt(what, index, wrong[i]);
    }
    *number = right;
}

static void change_u64(uint64_t *number, const char *what, uint32_t index)
{
    const uint64_t right = *number;
    for (uint64_t wrong = 0; wrong < 2; wrong++) {
        *number = wrong ? right + 1 : right - 1;
        expect_corrupt(what, index, *number);
    }
    *number = right;
}

static void make(bool drafts)
{
    static const uint32_t parent[] = {KV_NONE, 0, 0, 1, KV_NONE};
    with_drafts = drafts;
    f = hand_create(4);
    hand_root(&f, 0);
    hand_root(&f, 26);
    hand_fork(&f, 1, 14, 7);
    hand_fork(&f, 1, 14, 3 + 5);
    hand_fork(&f, 1, 23, 0);
    hand_fork(&f, 1, 20, 0);
    hand_root(&f, 9);
    if (drafts) hand_draft(&f, 3, 5, parent);
    hand_number(&f, HAND_SHUFFLED);
    tree = hand_build(&f, drafts);
}

static void drop(void)
{
    char message[200];
    kv_status status = with_drafts
                           ? kv_tree_check_drafts(tree, f.tables, f.drafts, f.num_tables, message, sizeof message)
                           : kv_tree_check(tree, f.tables, f.num_tables, message, sizeof message);
    check(status == KV_OK, "%s", message); /* all changes were taken back */
    kv_tree_destroy(tree);
    hand_free(&f);
}

static void run_node_fields(const void *argument)
{
    static const char *const name[] = {"parent", "first_token", "num_tokens", "first_block", "first_slot", "first_row",
                                       "num_rows"};
    static const size_t offset[] = {offsetof(kv_node, parent), offsetof(kv_node, first_token),
                                    offsetof(kv_node, num_tokens), offsetof(kv_node, first_block),
                                    offsetof(kv_node, first_slot), offsetof(kv_node, first_row),
                                    offsetof(kv_node, num_rows)};
    make(argument != NULL);
    for (uint32_t node = 0; node < tree->num_nodes; node++)
        for (size_t i = 0; i < sizeof offset / sizeof *offset; i++)
            change_u32((uint32_t *)((char *)&tree->nodes[node] + offset[i]), name[i], node);
    drop();
}

static void run_arrays(const void *argument)
{
    make(argument != NULL);
    for (uint32_t i = 0; i < tree->num_nodes; i++) {
        uint32_t run = (tree->nodes[i].first_slot + tree->nodes[i].num_tokens + 3) / 4;
        for (uint32_t j = 0; j < run; j++)
            change_u32(&tree->blocks[tree->nodes[i].first_block + j], "block", tree->nodes[i].first_block + j);
    }
    for (uint32_t q = 0; q < tree->num_queries; q++) {
        change_u32(&tree->rows[q], "row", q);
        change_u32(&tree->query_node[q], "query_node", q);
        if (!with_drafts) change_u64(&tree->versions[q], "version", q);
    }
    drop();
}

static void run_totals(const void *argument)
{
    make(argument != NULL);
    change_u64(&tree->unique_tokens, "unique_tokens", 0);
    change_u64(&tree->path_tokens, "path_tokens", 0);
    tree->num_nodes--;
    expect_corrupt("num_nodes", 0, tree->num_nodes);
    tree->num_nodes++;
    for (uint32_t less = 1; less < tree->num_queries; less++) {
        tree->num_queries -= less;
        expect_corrupt("num_queries", 0, tree->num_queries);
        tree->num_queries += less;
    }
    f.num_tables--;
    expect_corrupt("num_tables", 0, f.num_tables);
    f.num_tables++;
    f.tables[1].length++;
    expect_corrupt("length", 1, f.tables[1].length);
    f.tables[1].length--;
    drop();
}

static void run_rows_exchanged(const void *argument)
{
    make(argument != NULL);
    for (uint32_t a = 0; a < tree->num_queries; a++)
        for (uint32_t b = 0; b < a; b++) {
            uint32_t swap = tree->rows[a];
            tree->rows[a] = tree->rows[b];
            tree->rows[b] = swap;
            expect_corrupt("rows exchanged", a, b);
            tree->rows[b] = tree->rows[a];
            tree->rows[a] = swap;
        }
    drop();
}

/* A tree that is right in all but the order of siblings: built from tables in another order, then renamed. */
static void run_siblings_exchanged(const void *argument)
{
    (void)argument;
    with_drafts = false;
    f = hand_create(4);
    hand_root(&f, 20);
    hand_fork(&f, 0, 12, 5);
    hand_fork(&f, 0, 12, 6);
    const kv_table other[] = {f.tables[0], f.tables[2], f.tables[1]};
    check(kv_tree_build(&tree, other, 3, 4, f.num_blocks) == KV_OK, "build");
    static const uint32_t name[] = {0, 2, 1};
    const uint32_t node[] = {tree->query_node[0], tree->query_node[2], tree->query_node[1]};
    for (uint32_t i = 0; i < 3; i++) {
        tree->rows[i] = name[tree->rows[i]];
        tree->query_node[i] = node[i];
        tree->versions[i] = f.tables[i].version;
    }
    expect_corrupt("siblings", 0, 0);
    kv_tree_destroy(tree);
    hand_free(&f);
}

/* One table, one node, cut in two: the same tokens, but not maximal. */
static void run_cut_without_reason(const void *argument)
{
    (void)argument;
    static kv_node nodes[] = {{KV_NONE, 0, 8, 0, 0, 0, 1}, {0, 8, 4, 2, 0, 0, 1}};
    static uint32_t blocks[] = {0, 1, 2}, rows[] = {0}, query_node[] = {1};
    static uint64_t versions[] = {100};
    kv_tree cut = {.block_tokens = 4, .num_nodes = 2, .num_queries = 1, .num_blocks = 3, .unique_tokens = 12,
                   .path_tokens = 12, .nodes = nodes, .blocks = blocks, .rows = rows, .query_node = query_node,
                   .versions = versions};
    with_drafts = false;
    f = hand_create(4);
    hand_root(&f, 12);
    tree = &cut;
    expect_corrupt("cut", 0, 0);
    nodes[0].num_tokens = 12;
    cut.num_nodes = 1;
    query_node[0] = 0;
    char message[200];
    check(kv_tree_check(tree, f.tables, 1, message, sizeof message) == KV_OK, "%s", message);
    hand_free(&f);
}

/* Two equal branches that should share a node have one each. */
static void run_node_twice(const void *argument)
{
    (void)argument;
    static kv_node nodes[] = {{KV_NONE, 0, 4, 0, 0, 0, 1}, {KV_NONE, 0, 4, 1, 0, 1, 1}};
    static uint32_t blocks[] = {0, 0}, rows[] = {0, 1}, query_node[] = {0, 1};
    static uint64_t versions[] = {100, 101};
    kv_tree twice = {.block_tokens = 4, .num_nodes = 2, .num_queries = 2, .num_blocks = 2, .unique_tokens = 8,
                     .path_tokens = 8, .nodes = nodes, .blocks = blocks, .rows = rows, .query_node = query_node,
                     .versions = versions};
    with_drafts = false;
    f = hand_create(4);
    hand_root(&f, 4);
    hand_fork(&f, 0, 4, 0);
    tree = &twice;
    expect_corrupt("node", 1, 0);
    hand_free(&f);
}

/* Right but for the order: a child of node 1 is listed behind node 1's sibling, so node 1's rows have a gap. */
static void run_not_depth_first(const void *argument)
{
    (void)argument;
    static kv_node nodes[] = {{KV_NONE, 0, 4, 0, 0, 0, 3}, {0, 4, 4, 1, 0, 0, 2}, {0, 4, 4, 2, 0, 1, 1},
                              {1, 8, 4, 3, 0, 2, 1}};
    static uint32_t blocks[] = {0, 1, 2, 3}, rows[] = {0, 1, 2}, query_node[] = {1, 2, 3};
    static uint64_t versions[] = {100, 101, 102};
    kv_tree listed = {.block_tokens = 4, .num_nodes = 4, .num_queries = 3, .num_blocks = 4, .unique_tokens = 16,
                      .path_tokens = 28, .nodes = nodes, .blocks = blocks, .rows = rows, .query_node = query_node,
                      .versions = versions};
    with_drafts = false;
    f = hand_create(4);
    hand_table(&f, 8, 2, (const uint32_t[]){0, 1});
    hand_table(&f, 8, 2, (const uint32_t[]){0, 2});
    hand_table(&f, 12, 3, (const uint32_t[]){0, 1, 3});
    tree = &listed;
    expect_corrupt("order", 3, 0);
    hand_free(&f);
}

/* The same slots and depths, but token 3 continues token 1 in the tree and token 2 in the draft. */
static void run_other_parents(const void *argument)
{
    static const uint32_t built[] = {KV_NONE, 0, 0, 1}, other[] = {KV_NONE, 0, 0, 2}, wild[] = {KV_NONE, 0, 2, 1};
    (void)argument;
    with_drafts = true;
    f = hand_create(4);
    hand_root(&f, 9);
    hand_draft(&f, 0, 4, built);
    tree = hand_build(&f, true);
    const kv_draft right = f.drafts[0];
    f.drafts[0].parent = other;
    expect_corrupt("parent", 3, 2);
    f.drafts[0].parent = wild;
    char message[200];
    check(kv_tree_check_drafts(tree, f.tables, f.drafts, 1, message, sizeof message) == KV_CORRUPT, "a wild parent");
    check(strstr(message, "draft token 2 continues token 2"), "%s", message);
    f.drafts[0] = right;
    drop();
}

/* A draft's node that has one token more, with sums that add up. */
static void run_draft_of_two_tokens(const void *argument)
{
    static const uint32_t parent[] = {KV_NONE};
    (void)argument;
    with_drafts = true;
    f = hand_create(4);
    hand_root(&f, 6);
    hand_draft(&f, 0, 1, parent);
    tree = hand_build(&f, true);
    for (int longer = 1; longer >= 0; longer--) {
        tree->nodes[1].num_tokens = 1 + (uint32_t)longer;
        tree->unique_tokens = tree->path_tokens = 6 + (uint32_t)longer;
        if (longer) expect_corrupt("num_tokens", 1, 2);
    }
    drop();
}

static void run_wrong_kind(const void *argument)
{
    make(argument != NULL);
    char message[200];
    kv_status status = with_drafts ? kv_tree_check(tree, f.tables, f.num_tables, message, sizeof message)
                                   : kv_tree_check_drafts(tree, f.tables, f.drafts, f.num_tables, message,
                                                          sizeof message);
    check(status == KV_CORRUPT && message[0], "status %d", status);
    check(kv_tree_check(tree, f.tables, f.num_tables, NULL, 0) == (with_drafts ? KV_CORRUPT : KV_OK), "no message");
    drop();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const void *argument);
    } cases[] = {{"node_fields", run_node_fields}, {"arrays", run_arrays}, {"totals", run_totals},
                 {"rows_exchanged", run_rows_exchanged}, {"wrong_kind", run_wrong_kind}};
    test_begin(argc, argv, "kv_tree_check notices every single wrong number of a tree");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_add(cases[i].run, NULL, "%s", cases[i].name);
        test_add(cases[i].run, &cases[i], "%s_with_drafts", cases[i].name);
    }
    test_add(run_other_parents, NULL, "drafts_of_other_parents");
    test_add(run_draft_of_two_tokens, NULL, "draft_of_two_tokens");
    test_add(run_siblings_exchanged, NULL, "siblings_exchanged");
    test_add(run_cut_without_reason, NULL, "cut_without_reason");
    test_add(run_not_depth_first, NULL, "not_depth_first");
    test_add(run_node_twice, NULL, "node_twice");
    return test_end();
}
