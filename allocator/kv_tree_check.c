/* kv_tree_check: the invariant of kv_tree.h, computed from the tables in another way than the builder's.
 *
 * Each table's path is walked from its end to the root and compared, run by run, with the table; a draft token needs
 * its own node and the one before. If all paths are right, no two nodes overlap and no two could be joined, the tree is
 * that of these tables. */
#include "kv_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct checker {
    const kv_tree *tree;
    const kv_table *tables;
    const kv_draft *drafts; /* NULL: none */
    uint32_t num_tables;
    char *message;
    size_t message_bytes;
    uint32_t *ended;        /* [num_nodes] queries that end at the node */
    uint32_t *num_rows;     /* [num_nodes] queries that see it */
    uint32_t *first_query;  /* [num_nodes] least query that sees it */
    uint8_t *is_draft;      /* [num_nodes] a draft token's node: never joined with others */
    uint64_t *spans;        /* [num_blocks] block << 16 | slots' first << 8 | slots' last */
} checker;

static kv_status corrupt(const checker *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static kv_status corrupt(const checker *c, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    if (c->message && c->message_bytes)
        vsnprintf(c->message, c->message_bytes, format, values);
    va_end(values);
    return KV_CORRUPT;
}

static uint32_t node_end(const kv_node *node) { return node->first_token + node->num_tokens; }

static uint32_t node_blocks(const kv_tree *tree, const kv_node *node)
{
    return (uint32_t)(((uint64_t)node->first_slot + node->num_tokens + tree->block_tokens - 1) / tree->block_tokens);
}

/* Parents before children, depth first, positions that continue the parent's, blocks inside `blocks`. */
static kv_status check_node(const checker *c, uint32_t index)
{
    const kv_tree *tree = c->tree;
    const kv_node *node = &tree->nodes[index];
    uint32_t expected = 0, open = index ? index - 1 : KV_NONE;
    if (node->parent != KV_NONE && node->parent >= index)
        return corrupt(c, "node %u: parent %u is not before it", index, node->parent);
    while (open != KV_NONE && open != node->parent)
        open = tree->nodes[open].parent;
    if (open != node->parent)
        return corrupt(c, "node %u: not depth first, parent %u is closed", index, node->parent);
    if (node->parent != KV_NONE)
        expected = node_end(&tree->nodes[node->parent]);
    if (node->num_tokens == 0 || node->first_token != expected)
        return corrupt(c, "node %u: tokens %u + %u, expected some at %u", index, node->first_token, node->num_tokens,
                       expected);
    uint64_t end = index + 1 < tree->num_nodes ? node[1].first_block : tree->num_blocks;
    if (node->first_slot >= tree->block_tokens || (uint64_t)node->first_block + node_blocks(tree, node) > end)
        return corrupt(c, "node %u: blocks %u + %u of %llu, first slot %u", index, node->first_block,
                       node_blocks(tree, node), (unsigned long long)end, node->first_slot);
    return KV_OK;
}

static kv_status check_nodes(const checker *c)
{
    uint64_t unique_tokens = 0;
    for (uint32_t i = 0; i < c->tree->num_nodes; i++) {
        kv_status status = check_node(c, i);
        if (status)
            return status;
        unique_tokens += c->tree->nodes[i].num_tokens;
    }
    if (unique_tokens != c->tree->unique_tokens)
        return corrupt(c, "unique_tokens %llu, the nodes have %llu", (unsigned long long)c->tree->unique_tokens,
                       (unsigned long long)unique_tokens);
    return KV_OK;
}

/* The node's tokens lie where the table has positions `position`, `position` + 1, ... */
static kv_status check_run(const checker *c, uint32_t query, uint32_t index, const kv_table *table, uint32_t position)
{
    const kv_tree *tree = c->tree;
    const kv_node *node = &tree->nodes[index];
    uint32_t first = position / tree->block_tokens;
    if (node->first_slot != position % tree->block_tokens)
        return corrupt(c, "query %u: node %u begins in slot %u, the table in %u", query, index, node->first_slot,
                       position % tree->block_tokens);
    for (uint32_t i = 0; i < node_blocks(tree, node); i++)
        if (tree->blocks[node->first_block + i] != table->blocks[first + i])
            return corrupt(c, "query %u: node %u block %u is %u, the table has %u", query, index, i,
                           tree->blocks[node->first_block + i], table->blocks[first + i]);
    return KV_OK;
}

/* From node `index`, where the past of `query` ends, to the root: `past` tokens of the table. */
static kv_status check_past(const checker *c, uint32_t query, uint32_t index, const kv_table *table, uint32_t past)
{
    if ((index == KV_NONE ? 0 : node_end(&c->tree->nodes[index])) != past)
        return corrupt(c, "query %u: %u tokens on its path, the table has %u", query,
                       index == KV_NONE ? 0 : node_end(&c->tree->nodes[index]), past);
    for (; index != KV_NONE; index = c->tree->nodes[index].parent) {
        kv_status status = check_run(c, query, index, table, c->tree->nodes[index].first_token);
        if (status)
            return status;
    }
    return KV_OK;
}

/* A draft token: a node of its own behind that of the token it continues, which was checked before. */
static kv_status check_draft(const checker *c, uint32_t query, const kv_table *table, uint32_t position,
                             uint32_t parent)
{
    const uint32_t index = c->tree->query_node[query];
    if (index == KV_NONE || c->tree->nodes[index].num_tokens != 1)
        return corrupt(c, "query %u: node %u for a draft token, expected one of 1 token", query, index);
    if (c->tree->nodes[index].parent != parent)
        return corrupt(c, "query %u: node %u continues node %u, expected %u", query, index,
                       c->tree->nodes[index].parent, parent);
    c->is_draft[index] = 1;
    return check_run(c, query, index, table, position);
}

/* The queries of one table, from `first` on. All drafts of the table have one past, so it is walked once. */
static kv_status check_table(const checker *c, uint32_t t, uint32_t first)
{
    const kv_table *table = &c->tables[t];
    const uint32_t *query_node = c->tree->query_node, drafts = c->drafts ? c->drafts[t].num_tokens : 0;
    uint32_t past = table->length - drafts, past_node = query_node[first];
    if (drafts && past_node != KV_NONE)
        past_node = c->tree->nodes[past_node].parent;
    kv_status status = check_past(c, first, past_node, table, past);
    for (uint32_t i = 0; i < drafts && !status; i++) {
        uint32_t parent = c->drafts[t].parent[i];
        if (parent != KV_NONE && parent >= i)
            return corrupt(c, "table %u: draft token %u continues token %u", t, i, parent);
        parent = parent == KV_NONE ? past_node : query_node[first + parent];
        status = check_draft(c, first + i, table, past + i, parent);
    }
    return status;
}

static kv_status check_queries(const checker *c)
{
    const kv_tree *tree = c->tree;
    uint64_t path_tokens = 0;
    uint32_t query = 0;
    for (uint32_t t = 0; t < c->num_tables; t++) {
        uint32_t drafts = c->drafts ? c->drafts[t].num_tokens : 0, first = query, last = query + (drafts ? drafts : 1);
        for (; query < last; query++) {
            uint32_t end = query < tree->num_queries ? tree->query_node[query] : KV_NONE;
            if (query >= tree->num_queries || (end != KV_NONE && end >= tree->num_nodes))
                return corrupt(c, "query %u of %u ends at node %u", query, tree->num_queries, end);
            path_tokens += end == KV_NONE ? 0 : node_end(&tree->nodes[end]);
        }
        kv_status status = check_table(c, t, first);
        if (status)
            return status;
        if (!c->drafts && tree->versions[t] != c->tables[t].version)
            return corrupt(c, "table %u: version %llu, the tree has %llu", t, (unsigned long long)c->tables[t].version,
                           (unsigned long long)tree->versions[t]);
    }
    if (query != tree->num_queries)
        return corrupt(c, "num_queries %u, expected %u", tree->num_queries, query);
    if (path_tokens != tree->path_tokens)
        return corrupt(c, "path_tokens %llu, the paths have %llu", (unsigned long long)tree->path_tokens,
                       (unsigned long long)path_tokens);
    return KV_OK;
}

static void count_rows(const checker *c)
{
    const kv_tree *tree = c->tree;
    memset(c->first_query, 0xff, tree->num_nodes * sizeof *c->first_query);
    for (uint32_t query = tree->num_queries; query-- > 0;) {
        if (tree->query_node[query] == KV_NONE)
            continue;
        c->ended[tree->query_node[query]]++;
        c->num_rows[tree->query_node[query]]++;
        c->first_query[tree->query_node[query]] = query;
    }
    for (uint32_t i = tree->num_nodes; i-- > 0;) {
        uint32_t parent = tree->nodes[i].parent;
        if (parent == KV_NONE)
            continue;
        c->num_rows[parent] += c->num_rows[i];
        if (c->first_query[i] < c->first_query[parent])
            c->first_query[parent] = c->first_query[i];
    }
}

/* rows[first .. first + count) are the queries that end at `node`, ascending. */
static kv_status check_ended(const checker *c, uint32_t node, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        uint32_t query = c->tree->rows[i];
        if (query >= c->tree->num_queries || c->tree->query_node[query] != node)
            return corrupt(c, "row %u: query %u does not end at node %u", i, query, node);
        if (i > first && c->tree->rows[i - 1] >= query)
            return corrupt(c, "row %u: query %u behind query %u", i, query, c->tree->rows[i - 1]);
    }
    return KV_OK;
}

static kv_status check_rows(const checker *c)
{
    const kv_tree *tree = c->tree;
    uint32_t row = 0;
    for (uint32_t i = 0; i < tree->num_nodes; i++) {
        if (tree->nodes[i].first_row != row || tree->nodes[i].num_rows != c->num_rows[i] || !c->num_rows[i])
            return corrupt(c, "node %u: rows %u + %u, expected %u + %u", i, tree->nodes[i].first_row,
                           tree->nodes[i].num_rows, row, c->num_rows[i]);
        kv_status status = check_ended(c, i, row, c->ended[i]);
        if (status)
            return status;
        row += c->ended[i];
    }
    return check_ended(c, KV_NONE, row, tree->num_queries - row);
}

/* Children in the order of the first query that needs them; a node and its only child have different queries. */
static kv_status check_families(const checker *c)
{
    const kv_tree *tree = c->tree;
    for (uint32_t i = 1; i < tree->num_nodes; i++) {
        uint32_t parent = tree->nodes[i].parent, sibling = i - 1;
        if (parent == i - 1) {
            if (c->num_rows[parent] == c->num_rows[i] && !c->is_draft[i])
                return corrupt(c, "nodes %u and %u have the same queries", parent, i);
            continue;
        }
        while (tree->nodes[sibling].parent != parent)
            sibling = tree->nodes[sibling].parent;
        if (c->first_query[sibling] > c->first_query[i])
            return corrupt(c, "node %u, needed by query %u, stands before node %u, needed by query %u", sibling,
                           c->first_query[sibling], i, c->first_query[i]);
    }
    return KV_OK;
}

static int compare_spans(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* No slot of a block belongs to two nodes. */
static kv_status check_unique(const checker *c)
{
    const kv_tree *tree = c->tree;
    uint32_t num_spans = 0;
    for (uint32_t i = 0; i < tree->num_nodes; i++) {
        const kv_node *node = &tree->nodes[i];
        uint32_t left = node->num_tokens, slot = node->first_slot;
        for (uint32_t j = 0; j < node_blocks(tree, node); j++) {
            uint32_t count = left < tree->block_tokens - slot ? left : tree->block_tokens - slot;
            c->spans[num_spans++] = (uint64_t)tree->blocks[node->first_block + j] << 16 | slot << 8 |
                                    (slot + count - 1);
            left -= count;
            slot = 0;
        }
    }
    qsort(c->spans, num_spans, sizeof *c->spans, compare_spans);
    for (uint32_t i = 1; i < num_spans; i++)
        if (c->spans[i] >> 16 == c->spans[i - 1] >> 16 && (c->spans[i - 1] & 255) >= (c->spans[i] >> 8 & 255))
            return corrupt(c, "block %u: slot %u belongs to two nodes", (uint32_t)(c->spans[i] >> 16),
                           (uint32_t)(c->spans[i] >> 8 & 255));
    return KV_OK;
}

/* Runs before any number of the tree is used as an index. */
static kv_status check_all(const checker *c)
{
    kv_status status = check_nodes(c);
    if (!status)
        status = check_queries(c);
    if (status)
        return status;
    count_rows(c);
    status = check_rows(c);
    if (!status)
        status = check_families(c);
    return status ? status : check_unique(c);
}

kv_status kv_tree_check_drafts(const kv_tree *tree, const kv_table *tables, const kv_draft *drafts,
                               uint32_t num_tables, char *message, size_t message_bytes)
{
    checker c = {.tree = tree, .tables = tables, .drafts = drafts, .num_tables = num_tables, .message = message,
                 .message_bytes = message_bytes};
    if (message && message_bytes)
        message[0] = 0;
    if (!drafts != (tree->versions != NULL))
        return corrupt(&c, "the tree was built %s drafts", drafts ? "without" : "with");
    size_t nodes = (size_t)tree->num_nodes + 1;
    c.ended = calloc(nodes, sizeof *c.ended);
    c.num_rows = calloc(nodes, sizeof *c.num_rows);
    c.first_query = calloc(nodes, sizeof *c.first_query);
    c.is_draft = calloc(nodes, sizeof *c.is_draft);
    c.spans = calloc((size_t)tree->num_blocks + 1, sizeof *c.spans);
    bool complete = c.ended && c.num_rows && c.first_query && c.is_draft && c.spans;
    kv_status status = complete ? check_all(&c) : KV_NOMEM;
    free(c.ended);
    free(c.num_rows);
    free(c.first_query);
    free(c.is_draft);
    free(c.spans);
    return status;
}

kv_status kv_tree_check(const kv_tree *tree, const kv_table *tables, uint32_t num_tables, char *message,
                        size_t message_bytes)
{
    return kv_tree_check_drafts(tree, tables, NULL, num_tables, message, message_bytes);
}
