/* Block tables made by hand, and the brute-force oracle of hand_trees.h. */
#include "hand_trees.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

const char *const hand_order_name[HAND_NUM_ORDERS] = {"identity", "reversed", "shuffled"};

static void *resize(void *old, size_t count, size_t bytes)
{
    void *grown = realloc(old, (count ? count : 1) * bytes);
    check(grown, "out of memory: %zu x %zu bytes", count, bytes);
    return grown;
}

/* ---- making tables ---- */

hand_forest hand_create(uint32_t block_tokens) { return (hand_forest){.block_tokens = block_tokens}; }

void hand_free(hand_forest *forest)
{
    for (uint32_t t = 0; t < forest->num_tables; t++) {
        free(forest->blocks[t]);
        free((void *)(uintptr_t)forest->drafts[t].parent);
    }
    free(forest->blocks);
    free(forest->tables);
    free(forest->drafts);
    *forest = hand_create(forest->block_tokens);
}

uint32_t hand_table(hand_forest *forest, uint32_t length, uint32_t num_blocks, const uint32_t *blocks)
{
    uint32_t t = forest->num_tables++;
    forest->tables = resize(forest->tables, forest->num_tables, sizeof *forest->tables);
    forest->blocks = resize(forest->blocks, forest->num_tables, sizeof *forest->blocks);
    forest->drafts = resize(forest->drafts, forest->num_tables, sizeof *forest->drafts);
    forest->blocks[t] = resize(NULL, num_blocks, sizeof **forest->blocks);
    for (uint32_t i = 0; i < num_blocks; i++) {
        forest->blocks[t][i] = blocks[i];
        if (blocks[i] >= forest->num_blocks) forest->num_blocks = blocks[i] + 1;
    }
    forest->tables[t] = (kv_table){forest->blocks[t], num_blocks, length, 100 + t};
    forest->drafts[t] = (kv_draft){0, NULL};
    return t;
}

void hand_append(hand_forest *forest, uint32_t t, uint32_t num_tokens)
{
    kv_table *table = &forest->tables[t];
    uint32_t num_blocks = (table->length + num_tokens + forest->block_tokens - 1) / forest->block_tokens;
    forest->blocks[t] = resize(forest->blocks[t], num_blocks, sizeof **forest->blocks);
    for (uint32_t i = table->num_blocks; i < num_blocks; i++)
        forest->blocks[t][i] = forest->num_blocks++;
    *table = (kv_table){forest->blocks[t], num_blocks, table->length + num_tokens, table->version};
}

uint32_t hand_root(hand_forest *forest, uint32_t num_tokens)
{
    uint32_t t = hand_table(forest, 0, 0, NULL);
    hand_append(forest, t, num_tokens);
    return t;
}

uint32_t hand_fork_in_place(hand_forest *forest, uint32_t from, uint32_t keep, uint32_t num_tokens)
{
    uint32_t num_blocks = (keep + forest->block_tokens - 1) / forest->block_tokens;
    uint32_t t = hand_table(forest, keep, num_blocks, forest->blocks[from]);
    hand_append(forest, t, num_tokens);
    return t;
}

uint32_t hand_fork(hand_forest *forest, uint32_t from, uint32_t keep, uint32_t num_tokens)
{
    uint32_t t = hand_fork_in_place(forest, from, keep, 0);
    if (num_tokens && keep % forest->block_tokens)
        forest->blocks[t][forest->tables[t].num_blocks - 1] = forest->num_blocks++;
    hand_append(forest, t, num_tokens);
    return t;
}

void hand_draft(hand_forest *forest, uint32_t t, uint32_t num_tokens, const uint32_t *parent)
{
    uint32_t *copy = resize(NULL, num_tokens, sizeof *copy);
    memcpy(copy, parent, num_tokens * sizeof *copy);
    forest->drafts[t] = (kv_draft){num_tokens, copy};
}

void hand_number(hand_forest *forest, hand_order order)
{
    uint32_t *name = resize(NULL, forest->num_blocks, sizeof *name);
    for (uint32_t i = 0; i < forest->num_blocks; i++)
        name[i] = order == HAND_REVERSED ? forest->num_blocks - 1 - i : i;
    for (uint32_t i = forest->num_blocks; order == HAND_SHUFFLED && i > 1; i--) {
        uint32_t j = test_below(i), swap = name[i - 1];
        name[i - 1] = name[j];
        name[j] = swap;
    }
    for (uint32_t t = 0; t < forest->num_tables; t++)
        for (uint32_t i = 0; i < forest->tables[t].num_blocks; i++)
            forest->blocks[t][i] = name[forest->blocks[t][i]];
    free(name);
}

hand_forest hand_random(uint32_t block_tokens, uint32_t max_tables, uint32_t max_tokens)
{
    hand_forest forest = hand_create(block_tokens);
    uint32_t num_tables = test_below(max_tables + 1);
    while (forest.num_tables < num_tables) {
        uint32_t num_tokens = test_below(4) ? test_below(max_tokens + 1) : test_below(3);
        if (!forest.num_tables || !test_below(8)) {
            hand_root(&forest, num_tokens);
            continue;
        }
        uint32_t from = test_below(forest.num_tables), length = forest.tables[from].length;
        uint32_t keep = test_below(3) ? test_below(length + 1) : length;
        if (test_below(4) == 0) keep -= keep % block_tokens;
        if (test_below(2)) hand_fork(&forest, from, keep, num_tokens);
        else hand_fork_in_place(&forest, from, keep, num_tokens);
    }
    return forest;
}

static void random_draft(hand_forest *forest, uint32_t t, uint32_t num_tokens)
{
    uint32_t past = forest->tables[t].length, *parent = resize(NULL, num_tokens, sizeof *parent);
    uint32_t reach = 1 + test_below(num_tokens); /* 1: a chain */
    for (uint32_t i = 0; i < num_tokens; i++) {
        uint32_t back = 1 + test_below(reach);
        parent[i] = back > i ? KV_NONE : i - back;
    }
    if (past % forest->block_tokens) /* its slots must be its own */
        forest->blocks[t][forest->tables[t].num_blocks - 1] = forest->num_blocks++;
    hand_append(forest, t, num_tokens);
    hand_draft(forest, t, num_tokens, parent);
    free(parent);
    if (test_below(2))
        hand_fork_in_place(forest, t, test_below(2) ? past : test_below(past + 1), 0);
}

void hand_random_drafts(hand_forest *forest, uint32_t max_draft_tokens)
{
    for (uint32_t t = 0, num_tables = forest->num_tables; t < num_tables; t++)
        if (test_below(3)) random_draft(forest, t, 1 + test_below(max_draft_tokens));
}

/* ---- the oracle ---- */

typedef struct oracle {
    const hand_forest *forest;
    const kv_tree *tree;
    uint32_t num_queries, num_words, max_length;
    uint64_t *seen_by;   /* [num_blocks * block_tokens][num_words] set of queries that see the slot */
    uint32_t *node_of;   /* [num_blocks * block_tokens] the node that was found to hold the slot */
    uint64_t *slots;     /* [max_length] of one query, root first */
    uint8_t *is_draft;   /* [max_length] */
    uint32_t *path;      /* [max_length] of one query, its nodes root first */
    uint32_t *other;     /* [max_length] */
    uint32_t *least;     /* [num_nodes] least query that sees the node */
} oracle;

static uint32_t *table_query(const hand_forest *forest, bool drafts, uint32_t *num_queries)
{
    uint32_t *first = resize(NULL, forest->num_tables + 1, sizeof *first);
    *num_queries = 0;
    for (uint32_t t = 0; t <= forest->num_tables; t++) {
        first[t] = *num_queries;
        if (t < forest->num_tables)
            *num_queries += drafts && forest->drafts[t].num_tokens ? forest->drafts[t].num_tokens : 1;
    }
    return first;
}

static uint64_t slot_at(const oracle *o, uint32_t table, uint32_t position)
{
    uint32_t block_tokens = o->forest->block_tokens;
    return (uint64_t)o->forest->blocks[table][position / block_tokens] * block_tokens + position % block_tokens;
}

/* The slots that a query sees, root first: the past, then its ancestors among the draft tokens, then itself. */
static uint32_t list_slots(const oracle *o, bool drafts, uint32_t table, uint32_t draft)
{
    const kv_draft *d = &o->forest->drafts[table];
    uint32_t past = o->forest->tables[table].length - (drafts ? d->num_tokens : 0), count = past, depth = 0;
    for (uint32_t i = 0; i < past; i++) {
        o->slots[i] = slot_at(o, table, i);
        o->is_draft[i] = 0;
    }
    if (!drafts || !d->num_tokens) return count;
    for (uint32_t i = draft; i != KV_NONE; i = d->parent[i])
        depth++;
    count += depth;
    for (uint32_t i = draft, at = count; i != KV_NONE; i = d->parent[i]) {
        o->slots[--at] = slot_at(o, table, past + i);
        o->is_draft[at] = 1;
    }
    return count;
}

static bool same_set(const oracle *o, uint64_t a, uint64_t b)
{
    return !memcmp(o->seen_by + a * o->num_words, o->seen_by + b * o->num_words, o->num_words * sizeof *o->seen_by);
}

static bool in_set(const oracle *o, uint64_t slot, uint32_t query)
{
    return o->seen_by[slot * o->num_words + query / 64] >> query % 64 & 1;
}

static uint32_t list_path(const kv_tree *tree, uint32_t node, uint32_t *path, uint32_t limit)
{
    uint32_t depth = 0;
    for (uint32_t i = node; i != KV_NONE; i = tree->nodes[i].parent) {
        check(i < tree->num_nodes && depth < limit, "node %u of %u at depth %u", i, tree->num_nodes, depth);
        depth++;
    }
    for (uint32_t i = node, at = depth; i != KV_NONE; i = tree->nodes[i].parent)
        path[--at] = i;
    return depth;
}

/* Slots [first, last) of the query are one maximal run: they must be this node, all of it. */
static void expect_node(const oracle *o, uint32_t query, uint32_t index, uint32_t first, uint32_t last)
{
    const kv_node *node = &o->tree->nodes[index];
    uint32_t block_tokens = o->forest->block_tokens, size = 0;
    bool known = o->node_of[o->slots[first]] == index;
    check(node->first_token == first && node->num_tokens == last - first, "query %u node %u: %u + %u, expected %u + %u",
          query, index, node->first_token, node->num_tokens, first, last - first);
    for (uint32_t i = 0; i < node->num_tokens; i++) {
        uint32_t slot = (node->first_slot + i) % block_tokens;
        uint64_t at = node->first_block + (uint64_t)(node->first_slot + i) / block_tokens;
        check(at < o->tree->num_blocks, "query %u node %u token %u: block entry %llu", query, index, i,
              (unsigned long long)at);
        check((uint64_t)o->tree->blocks[at] * block_tokens + slot == o->slots[first + i],
              "query %u node %u token %u: block %u slot %u", query, index, i, o->tree->blocks[at], slot);
        check(o->node_of[o->slots[first + i]] == KV_NONE || o->node_of[o->slots[first + i]] == index,
              "query %u node %u token %u: also in node %u", query, index, i, o->node_of[o->slots[first + i]]);
        o->node_of[o->slots[first + i]] = index;
    }
    for (uint32_t q = 0; q < o->num_queries && !known; q++)
        size += in_set(o, o->slots[first], q);
    if (known) return;
    check(node->num_rows == size && node->first_row + (uint64_t)size <= o->num_queries, "node %u: rows %u + %u of %u",
          index, node->first_row, node->num_rows, size);
    for (uint32_t r = 0; r < size; r++) {
        uint32_t row = o->tree->rows[node->first_row + r];
        check(row < o->num_queries && in_set(o, o->slots[first], row), "node %u: row %u is query %u", index, r, row);
        if (row < o->least[index]) o->least[index] = row;
    }
}

static uint64_t expect_path(const oracle *o, uint32_t query, uint32_t count)
{
    uint32_t depth = list_path(o->tree, o->tree->query_node[query], o->path, o->max_length), run = 0;
    for (uint32_t first = 0, last; first < count; first = last, run++) {
        for (last = first + 1; last < count; last++)
            if (o->is_draft[last] || !same_set(o, o->slots[first], o->slots[last])) break;
        check(run < depth, "query %u: %u nodes on its path, expected more", query, depth);
        expect_node(o, query, o->path[run], first, last);
    }
    check(run == depth, "query %u: %u nodes on its path, expected %u", query, depth, run);
    return count;
}

/* Depth first, siblings by the first query that needs them: the least queries from the root down ascend as words do
 * in a dictionary. Rows: by the node where a query ends, then by number, those that see nothing last. */
static void expect_order(const oracle *o)
{
    const kv_tree *tree = o->tree;
    for (uint32_t i = 1; i < tree->num_nodes; i++) {
        uint32_t depth = list_path(tree, i, o->path, o->max_length), at = 0;
        uint32_t other = list_path(tree, i - 1, o->other, o->max_length);
        while (at < depth && at < other && o->least[o->path[at]] == o->least[o->other[at]])
            at++;
        check(at < depth && (at == other || o->least[o->path[at]] > o->least[o->other[at]]),
              "node %u stands behind node %u", i, i - 1);
    }
    for (uint32_t r = 1; r < tree->num_queries; r++) {
        uint32_t q = tree->rows[r], p = tree->rows[r - 1];
        check(p < tree->num_queries && q < tree->num_queries, "row %u: query %u", r, q);
        check(tree->query_node[p] < tree->query_node[q] || (tree->query_node[p] == tree->query_node[q] && p < q),
              "row %u: query %u behind query %u", r, q, p);
    }
}

static oracle oracle_create(const hand_forest *forest, const kv_tree *tree, uint32_t num_queries)
{
    oracle o = {.forest = forest, .tree = tree, .num_queries = num_queries, .num_words = num_queries / 64 + 1};
    size_t num_slots = (size_t)forest->num_blocks * forest->block_tokens;
    for (uint32_t t = 0; t < forest->num_tables; t++)
        if (forest->tables[t].length >= o.max_length) o.max_length = forest->tables[t].length + 1;
    o.seen_by = resize(NULL, num_slots * o.num_words, sizeof *o.seen_by);
    memset(o.seen_by, 0, num_slots * o.num_words * sizeof *o.seen_by);
    o.node_of = resize(NULL, num_slots, sizeof *o.node_of);
    memset(o.node_of, 0xff, num_slots * sizeof *o.node_of);
    o.slots = resize(NULL, o.max_length, sizeof *o.slots);
    o.is_draft = resize(NULL, o.max_length, 1);
    o.path = resize(NULL, o.max_length, sizeof *o.path);
    o.other = resize(NULL, o.max_length, sizeof *o.other);
    o.least = resize(NULL, tree->num_nodes, sizeof *o.least);
    memset(o.least, 0xff, tree->num_nodes * sizeof *o.least);
    return o;
}

static void oracle_free(oracle *o)
{
    free(o->seen_by);
    free(o->node_of);
    free(o->slots);
    free(o->is_draft);
    free(o->path);
    free(o->other);
    free(o->least);
}

void hand_expect_tree(const hand_forest *forest, const kv_tree *tree, bool drafts)
{
    uint32_t num_queries, *first = table_query(forest, drafts, &num_queries);
    oracle o = oracle_create(forest, tree, num_queries);
    uint64_t unique_tokens = 0, path_tokens = 0;
    check(tree->num_queries == num_queries && tree->block_tokens == forest->block_tokens, "%u queries, expected %u",
          tree->num_queries, num_queries);
    for (uint32_t t = 0; t < forest->num_tables; t++)
        for (uint32_t q = first[t]; q < first[t + 1]; q++)
            for (uint32_t i = list_slots(&o, drafts, t, q - first[t]); i-- > 0;)
                o.seen_by[o.slots[i] * o.num_words + q / 64] |= 1ull << q % 64;
    for (uint32_t t = 0; t < forest->num_tables; t++)
        for (uint32_t q = first[t]; q < first[t + 1]; q++)
            path_tokens += expect_path(&o, q, list_slots(&o, drafts, t, q - first[t]));
    for (size_t s = 0; s < (size_t)forest->num_blocks * forest->block_tokens; s++)
        unique_tokens += o.node_of[s] != KV_NONE;
    for (uint32_t i = 0; i < tree->num_nodes; i++)
        check(o.least[i] != KV_NONE, "node %u is on no path", i);
    expect_order(&o);
    check(tree->unique_tokens == unique_tokens, "unique_tokens %llu, expected %llu",
          (unsigned long long)tree->unique_tokens, (unsigned long long)unique_tokens);
    check(tree->path_tokens == path_tokens, "path_tokens %llu, expected %llu", (unsigned long long)tree->path_tokens,
          (unsigned long long)path_tokens);
    oracle_free(&o);
    free(first);
}

kv_tree *hand_build(const hand_forest *forest, bool drafts)
{
    kv_tree *tree = NULL;
    char message[200];
    kv_status status;
    if (drafts)
        status = kv_tree_build_drafts(&tree, forest->tables, forest->drafts, forest->num_tables, forest->block_tokens,
                                      forest->num_blocks);
    else
        status = kv_tree_build(&tree, forest->tables, forest->num_tables, forest->block_tokens, forest->num_blocks);
    check(status == KV_OK && tree, "build: status %d", status);
    hand_expect_tree(forest, tree, drafts);
    if (drafts)
        status = kv_tree_check_drafts(tree, forest->tables, forest->drafts, forest->num_tables, message,
                                      sizeof message);
    else
        status = kv_tree_check(tree, forest->tables, forest->num_tables, message, sizeof message);
    check(status == KV_OK, "kv_tree_check: %s", message);
    return tree;
}

void hand_expect_equal(const kv_tree *tree, const kv_tree *expected)
{
    check(tree->num_nodes == expected->num_nodes && tree->num_queries == expected->num_queries &&
          tree->unique_tokens == expected->unique_tokens && tree->path_tokens == expected->path_tokens,
          "%u nodes, %u queries", tree->num_nodes, tree->num_queries);
    for (uint32_t i = 0; i < tree->num_nodes; i++) {
        kv_node a = tree->nodes[i], b = expected->nodes[i];
        uint32_t run = (a.first_slot + a.num_tokens + tree->block_tokens - 1) / tree->block_tokens;
        check(!memcmp(tree->blocks + a.first_block, expected->blocks + b.first_block, run * sizeof *tree->blocks),
              "node %u: other blocks", i);
        a.first_block = b.first_block;
        check(!memcmp(&a, &b, sizeof a), "node %u: other numbers", i);
    }
    for (uint32_t q = 0; q < tree->num_queries; q++)
        check(tree->rows[q] == expected->rows[q] && tree->query_node[q] == expected->query_node[q],
              "row %u is %u, expected %u", q, tree->rows[q], expected->rows[q]);
}
