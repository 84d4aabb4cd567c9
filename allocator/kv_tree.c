/* kv_tree: nodes from block tables. Each table gets a segment: the tokens that no earlier table sees.
 *
 *   table 0   a a a a a a a a          segment 0: all of it
 *   table 1   a a a a a b b            segment 1: the b's, anchored in segment 0 behind its first 5 tokens
 *   table 2   a a a a a b b c          segment 2: c, anchored in segment 1 behind token 7
 *   table 3   a a a                    segment 3: empty, anchored in segment 0 behind token 3
 *
 * Each anchor cuts the segment that holds it; the parts are the nodes: aaa, aa, aaa, bb, c.
 *
 *   price   one pass over the tables, one over the result; scratch of 1.25 bytes per block of the pool
 *   limits  tables form a tree if each block has one predecessor in all of them; this alone is checked */
#include "kv_tree.h"

#include <stdlib.h>
#include <string.h>

typedef struct segment {
    uint32_t start, end;  /* tokens [start, end) of the table; draft tokens belong to no segment */
    uint32_t anchor;      /* table whose segment holds token start - 1; KV_NONE if start is 0 */
    uint32_t first_query;
} segment;

enum { PAGE_BLOCKS = 16 }; /* block ids whose owners lie together */

typedef struct pending {
    uint32_t table, parent;
} pending;

typedef struct builder {
    const kv_table *tables;
    const kv_draft *drafts;   /* NULL: none */
    uint32_t num_tables, block_tokens, pool_blocks;
    uint32_t num_queries, num_draft_tokens;

    uint32_t *owner_page;     /* [pool_blocks / PAGE_BLOCKS + 1] by block / PAGE_BLOCKS; page 0 has no owner */
    uint8_t *taken;           /* [pool_blocks] whether a table lists the block; same allocation as owner_page */
    void *scratch;            /* one allocation for all arrays below */
    const uint32_t **source;  /* [max_nodes] the entries of a table that list the node's blocks */
    kv_node *nodes;           /* [max_nodes] */
    segment *segments;        /* [num_tables] */
    uint32_t *owners;         /* [max_pages + 1][PAGE_BLOCKS] tables, see owner_of */
    uint32_t num_pages;
    uint32_t *anchored;       /* [num_tables] tables that have an anchor, by anchor, start, table */
    uint32_t *sorted;         /* [num_tables] room to sort */
    uint32_t *first_anchored; /* [num_tables + 1] anchored[first_anchored[t] ..] are anchored in table t */
    pending *stack;           /* [num_tables] */
    uint32_t *rows;           /* [num_queries] */
    uint32_t *query_node;     /* [num_queries] */
    uint32_t *child, *sibling, *draft_node; /* [num_draft_tokens + 1] */

    uint32_t num_anchored, num_pending, num_nodes, num_rows;
    uint64_t num_blocks, unique_tokens, path_tokens;
} builder;

static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }

static uint32_t blocks_for(const builder *b, uint32_t num_tokens)
{
    return (num_tokens + b->block_tokens - 1) / b->block_tokens;
}

static uint32_t draft_tokens(const builder *b, uint32_t table) { return b->drafts ? b->drafts[table].num_tokens : 0; }

/* ---- arguments ---- */

static kv_status check_draft(const kv_draft *draft, const kv_table *table)
{
    if (draft->num_tokens > table->length || (draft->num_tokens && !draft->parent))
        return KV_INVAL;
    for (uint32_t i = 0; i < draft->num_tokens; i++)
        if (draft->parent[i] != KV_NONE && draft->parent[i] >= i)
            return KV_INVAL;
    return KV_OK;
}

static kv_status check_arguments(builder *b)
{
    uint64_t num_queries = 0, num_draft_tokens = 0;
    if (b->block_tokens == 0 || b->block_tokens > 256 || (b->block_tokens & (b->block_tokens - 1)))
        return KV_INVAL;
    if (b->num_tables && !b->tables)
        return KV_INVAL;
    for (uint32_t t = 0; t < b->num_tables; t++) {
        const kv_table *table = &b->tables[t];
        if (table->length > KV_MAX_LENGTH)
            return KV_RANGE;
        if (table->num_blocks < blocks_for(b, table->length) || (table->length && !table->blocks))
            return KV_INVAL;
        if (b->drafts && check_draft(&b->drafts[t], table))
            return KV_INVAL;
        num_draft_tokens += draft_tokens(b, t);
        num_queries += draft_tokens(b, t) ? draft_tokens(b, t) : 1;
    }
    if (num_queries + num_draft_tokens > KV_NONE / 16)
        return KV_RANGE;
    b->num_queries = (uint32_t)num_queries;
    b->num_draft_tokens = (uint32_t)num_draft_tokens;
    return KV_OK;
}

/* ---- scratch ---- */

static void *carve(char **at, size_t count, size_t bytes)
{
    void *part = *at;
    *at += count * bytes;
    return part;
}

static kv_status allocate_scratch(builder *b)
{
    size_t tables = b->num_tables, queries = b->num_queries, drafts = (size_t)b->num_draft_tokens + 1;
    size_t max_nodes = 2 * tables + drafts; /* a table adds at most one segment and one cut */
    size_t all_pages = (size_t)b->pool_blocks / PAGE_BLOCKS + 1;
    size_t owners = (all_pages < 2 * tables ? all_pages : 2 * tables) * PAGE_BLOCKS + PAGE_BLOCKS; /* two per table */
    size_t bytes = max_nodes * (sizeof *b->source + sizeof *b->nodes) +
                   tables * (sizeof *b->segments + sizeof *b->stack) +
                   sizeof(uint32_t) * (owners + 3 * tables + 1 + 2 * queries + 3 * drafts);
    b->owner_page = calloc(all_pages * sizeof *b->owner_page + b->pool_blocks, 1);
    b->scratch = malloc(bytes);
    if (!b->owner_page || !b->scratch)
        return KV_NOMEM;
    b->taken = (uint8_t *)(b->owner_page + all_pages);
    char *at = b->scratch;
    b->source = carve(&at, max_nodes, sizeof *b->source);
    b->nodes = carve(&at, max_nodes, sizeof *b->nodes);
    b->segments = carve(&at, tables, sizeof *b->segments);
    b->stack = carve(&at, tables, sizeof *b->stack);
    b->owners = carve(&at, owners, sizeof *b->owners);
    memset(b->owners, 0xff, PAGE_BLOCKS * sizeof *b->owners);
    b->anchored = carve(&at, tables, sizeof(uint32_t));
    b->sorted = carve(&at, tables, sizeof(uint32_t));
    b->first_anchored = carve(&at, tables + 1, sizeof(uint32_t));
    b->rows = carve(&at, queries, sizeof(uint32_t));
    b->query_node = carve(&at, queries, sizeof(uint32_t));
    b->child = carve(&at, drafts, sizeof(uint32_t));
    b->sibling = carve(&at, drafts, sizeof(uint32_t));
    b->draft_node = carve(&at, drafts, sizeof(uint32_t));
    return KV_OK;
}

/* ---- tables to segments ---- */

static uint32_t common_blocks(const uint32_t *a, const uint32_t *b, uint32_t count)
{
    enum { STRIDE = 32 };
    uint32_t i = 0;
    while (i + STRIDE <= count && !memcmp(a + i, b + i, STRIDE * sizeof *a))
        i += STRIDE;
    while (i < count && a[i] == b[i])
        i++;
    return i;
}

/* Maps a block to the table that continues it; KV_NONE: none. Kept for two kinds of block only: the first block that a
 * table took, where other tables may join it; and the part-filled block where a table ends: the table that sees most of
 * it. Owners lie in pages that are found by block id: a caller could choose ids that a hash maps to one place. */
static uint32_t owner_of(const builder *b, uint32_t block)
{
    return b->owners[(size_t)b->owner_page[block / PAGE_BLOCKS] * PAGE_BLOCKS + block % PAGE_BLOCKS];
}

static void set_owner(builder *b, uint32_t block, uint32_t table)
{
    uint32_t *page = &b->owner_page[block / PAGE_BLOCKS];
    if (*page == 0) {
        *page = ++b->num_pages;
        memset(b->owners + (size_t)*page * PAGE_BLOCKS, 0xff, PAGE_BLOCKS * sizeof *b->owners);
    }
    b->owners[(size_t)*page * PAGE_BLOCKS + block % PAGE_BLOCKS] = table;
}

/* Takes blocks that no table may have taken before. Two loops without exits: they take most of the build's time. */
static kv_status claim(builder *b, const uint32_t *blocks, uint32_t count)
{
    uint32_t largest = 0;
    uint8_t taken = 0;
    for (uint32_t i = 0; i < count; i++)
        largest = blocks[i] > largest ? blocks[i] : largest;
    if (count && largest >= b->pool_blocks)
        return KV_RANGE;
    for (uint32_t i = 0; i < count; i++) {
        taken |= b->taken[blocks[i]];
        b->taken[blocks[i]] = 1;
    }
    return taken ? KV_INVAL : KV_OK;
}

/* Follows earlier tables from the front: *num_shared blocks are shared, the last of them with table *follow. A block
 * that an earlier table lists must stand where its owner has it, behind the same block; then both tables agree on
 * everything before it as well. */
static kv_status follow_tables(const builder *b, const uint32_t *blocks, uint32_t num_blocks, uint32_t *num_shared,
                               uint32_t *follow)
{
    uint32_t i = 0;
    while (i < num_blocks) {
        if (blocks[i] >= b->pool_blocks)
            return KV_RANGE;
        if (!b->taken[blocks[i]])
            break;
        uint32_t owner = owner_of(b, blocks[i]);
        if (owner == KV_NONE) /* another table took it together with the block before */
            return KV_INVAL;
        const uint32_t *other = b->tables[owner].blocks;
        uint32_t limit = min_u32(num_blocks, blocks_for(b, b->segments[owner].end));
        if (i >= limit || other[i] != blocks[i] || (i && other[i - 1] != blocks[i - 1]))
            return KV_INVAL;
        i += common_blocks(other + i, blocks + i, limit - i);
        *follow = owner;
    }
    *num_shared = i;
    return KV_OK;
}

/* Finds where the table's segment starts, and the table whose segment holds token start - 1. `anchor` is the table that
 * it followed. block_tokens is 4; [..] is the last shared block, | the start of the table's segment:
 *
 *   1. the anchor sees all that is shared        followed  a a a a [a a a a] a a a a
 *                                                table     a a a a [a a a a]|b b
 *
 *   2. the table ends inside the block: its      followed  a a a a [a a a a] a a a a
 *      segment is empty                          table     a a a a [a a]|
 *
 *   3. the anchor ends inside the block; the     followed  a a a a [a a]
 *      table sees more of it and now owns it     table     a a a a [a a|b b] b b
 *
 *   4. the anchor's own segment starts behind    first     a a a a [a a]
 *      the table's last token, in the same       second    a a a a [a a|b b] b b
 *      block: the anchor is further back         table     a a a a [a]|            anchored in the first */
static void find_anchor(builder *b, uint32_t table, uint32_t num_shared, uint32_t anchor)
{
    segment *s = &b->segments[table];
    uint32_t last_shared = b->tables[table].blocks[num_shared - 1];
    uint32_t seen = min_u32(num_shared * b->block_tokens, s->end);
    if (owner_of(b, last_shared) != KV_NONE)
        anchor = owner_of(b, last_shared);
    s->start = min_u32(seen, b->segments[anchor].end);
    if (s->start < seen) /* case 3 */
        set_owner(b, last_shared, table);
    else if (seen % b->block_tokens)
        set_owner(b, last_shared, anchor);
    while (s->start <= b->segments[anchor].start) /* case 4 */
        anchor = b->segments[anchor].anchor;
    s->anchor = anchor;
    b->anchored[b->num_anchored++] = table;
}

static kv_status insert_table(builder *b, uint32_t table)
{
    segment *s = &b->segments[table];
    const uint32_t *blocks = b->tables[table].blocks;
    uint32_t num_blocks = blocks_for(b, s->end), num_shared, follow = KV_NONE;
    s->start = 0;
    s->anchor = KV_NONE;
    if (!num_blocks)
        return KV_OK;
    kv_status status = follow_tables(b, blocks, num_blocks, &num_shared, &follow);
    if (!status)
        status = claim(b, blocks + num_shared, num_blocks - num_shared);
    if (status)
        return status;
    if (num_shared)
        find_anchor(b, table, num_shared, follow);
    if (num_shared < num_blocks) {
        set_owner(b, blocks[num_shared], table);
        if (s->end % b->block_tokens)
            set_owner(b, blocks[num_blocks - 1], table);
    }
    return KV_OK;
}

/* The slots of draft tokens belong to one table alone. Where they begin inside a block, no past may see their slots,
 * and the block has no owner from then on: a second draft behind the same tokens would use the same slots. */
static kv_status claim_draft(builder *b, uint32_t table)
{
    const uint32_t *blocks = b->tables[table].blocks;
    uint32_t past = b->segments[table].end, first = past / b->block_tokens;
    if (!b->drafts[table].num_tokens)
        return KV_OK;
    if (past % b->block_tokens) {
        uint32_t owner = owner_of(b, blocks[first]);
        if (owner == KV_NONE || b->segments[owner].end > past)
            return KV_INVAL;
        set_owner(b, blocks[first++], KV_NONE);
    }
    return claim(b, blocks + first, blocks_for(b, b->tables[table].length) - first);
}

static kv_status find_segments(builder *b)
{
    uint32_t query = 0;
    for (uint32_t t = 0; t < b->num_tables; t++) {
        uint32_t drafts = draft_tokens(b, t);
        b->segments[t].end = b->tables[t].length - drafts;
        b->segments[t].first_query = query;
        query += drafts ? drafts : 1;
        kv_status status = insert_table(b, t);
        if (status)
            return status;
    }
    for (uint32_t t = 0; b->drafts && t < b->num_tables; t++) {
        kv_status status = claim_draft(b, t);
        if (status)
            return status;
    }
    return KV_OK;
}

/* A stable sort by one byte of the start; skipped where all keys have the same byte. */
static void sort_by_start(builder *b, uint32_t shift)
{
    uint32_t count[257] = {0};
    for (uint32_t i = 0; i < b->num_anchored; i++)
        count[(b->segments[b->anchored[i]].start >> shift & 255) + 1]++;
    for (uint32_t digit = 0; digit < 256; digit++) {
        if (count[digit + 1] == b->num_anchored)
            return;
        count[digit + 1] += count[digit];
    }
    for (uint32_t i = 0; i < b->num_anchored; i++)
        b->sorted[count[b->segments[b->anchored[i]].start >> shift & 255]++] = b->anchored[i];
    uint32_t *swap = b->anchored;
    b->anchored = b->sorted;
    b->sorted = swap;
}

static void sort_anchored(builder *b)
{
    uint32_t *first = b->first_anchored;
    for (uint32_t shift = 0; shift < 32; shift += 8)
        sort_by_start(b, shift);
    memset(first, 0, (b->num_tables + 1) * sizeof *first);
    for (uint32_t i = 0; i < b->num_anchored; i++)
        first[b->segments[b->anchored[i]].anchor + 1]++;
    for (uint32_t t = 0; t < b->num_tables; t++)
        first[t + 1] += first[t];
    for (uint32_t i = b->num_anchored; i-- > 0;) /* from the back: first[t + 1] becomes the start of t's */
        b->sorted[--first[b->segments[b->anchored[i]].anchor + 1]] = b->anchored[i];
    for (uint32_t t = 0; t < b->num_tables; t++)
        first[t] = first[t + 1];
    first[b->num_tables] = b->num_anchored;
    uint32_t *swap = b->anchored;
    b->anchored = b->sorted;
    b->sorted = swap;
}

/* ---- segments to nodes ---- */

/* The node's tokens are [position, position + num_tokens) of the table's storage. */
static uint32_t add_node(builder *b, uint32_t parent, uint32_t table, uint32_t position, uint32_t num_tokens)
{
    kv_node *node = &b->nodes[b->num_nodes];
    node->parent = parent;
    node->first_token = parent == KV_NONE ? 0 : b->nodes[parent].first_token + b->nodes[parent].num_tokens;
    node->num_tokens = num_tokens;
    node->first_block = (uint32_t)b->num_blocks;
    node->first_slot = position % b->block_tokens;
    node->first_row = b->num_rows;
    node->num_rows = 0;
    b->source[b->num_nodes] = b->tables[table].blocks + position / b->block_tokens;
    b->num_blocks += blocks_for(b, node->first_slot + num_tokens);
    b->unique_tokens += num_tokens;
    return b->num_nodes++;
}

static void add_row(builder *b, uint32_t query, uint32_t node)
{
    b->rows[b->num_rows++] = query;
    b->query_node[query] = node;
    b->nodes[node].num_rows++;
    b->path_tokens += b->nodes[node].first_token + b->nodes[node].num_tokens;
}

/* Draft tokens behind `node` (KV_NONE: the past is empty), depth first without a stack. */
static void add_drafts(builder *b, uint32_t table, uint32_t node)
{
    uint32_t count = draft_tokens(b, table), past = b->segments[table].end;
    const uint32_t *parent = count ? b->drafts[table].parent : NULL;
    for (uint32_t i = 0; i <= count; i++)
        b->child[i] = KV_NONE;
    for (uint32_t i = count; i-- > 0;) {
        uint32_t *child = &b->child[parent[i] == KV_NONE ? count : parent[i]];
        b->sibling[i] = *child;
        *child = i;
    }
    for (uint32_t i = b->child[count]; i != KV_NONE;) {
        uint32_t up = parent[i] == KV_NONE ? node : b->draft_node[parent[i]];
        b->draft_node[i] = add_node(b, up, table, past + i, 1);
        add_row(b, b->segments[table].first_query + i, b->draft_node[i]);
        if (b->child[i] != KV_NONE) {
            i = b->child[i];
            continue;
        }
        while (i != KV_NONE && b->sibling[i] == KV_NONE)
            i = parent[i];
        if (i != KV_NONE)
            i = b->sibling[i];
    }
}

static bool ends_at_anchor(const builder *b, uint32_t table)
{
    return b->segments[table].start == b->segments[table].end && !draft_tokens(b, table);
}

/* Spare entries of a node that one branch alone sees, for its growth. */
static uint32_t spare_blocks(uint32_t num_blocks) { return num_blocks / 8 > 4 ? num_blocks / 8 : 4; }

/* Cuts a segment into nodes. The tables anchored at the cuts wait on the stack: those of the deepest cut on top, and of
 * one cut the first table on top. */
static void add_segment(builder *b, uint32_t table, uint32_t node)
{
    const segment *s = &b->segments[table];
    uint32_t at = b->first_anchored[table], last = b->first_anchored[table + 1];
    for (uint32_t from = s->start, to; from < s->end; from = to) {
        uint32_t first = at;
        to = at < last ? b->segments[b->anchored[at]].start : s->end;
        node = add_node(b, node, table, from, to - from);
        if (to == s->end && !draft_tokens(b, table))
            add_row(b, s->first_query, node);
        for (; at < last && b->segments[b->anchored[at]].start == to; at++)
            if (ends_at_anchor(b, b->anchored[at]))
                add_row(b, b->segments[b->anchored[at]].first_query, node);
        for (uint32_t i = at; i-- > first;)
            if (!ends_at_anchor(b, b->anchored[i]))
                b->stack[b->num_pending++] = (pending){b->anchored[i], node};
        if (to == s->end && at == first && !b->drafts)
            b->num_blocks += spare_blocks(blocks_for(b, b->nodes[node].first_slot + to - from));
    }
    add_drafts(b, table, node);
}

static kv_status find_nodes(builder *b)
{
    for (uint32_t t = 0; t < b->num_tables; t++) {
        if (b->segments[t].anchor != KV_NONE || b->tables[t].length == 0)
            continue;
        b->stack[b->num_pending++] = (pending){t, KV_NONE};
        while (b->num_pending) {
            pending next = b->stack[--b->num_pending];
            add_segment(b, next.table, next.parent);
        }
    }
    for (uint32_t t = 0; t < b->num_tables; t++) {
        if (b->tables[t].length == 0) {
            b->rows[b->num_rows++] = b->segments[t].first_query;
            b->query_node[b->segments[t].first_query] = KV_NONE;
        }
    }
    for (uint32_t i = b->num_nodes; i-- > 0;)
        if (b->nodes[i].parent != KV_NONE)
            b->nodes[b->nodes[i].parent].num_rows += b->nodes[i].num_rows;
    return b->num_blocks < KV_NONE ? KV_OK : KV_RANGE;
}

/* ---- nodes to tree ---- */

static void copy_blocks(const builder *b, kv_tree *tree)
{
    for (uint32_t i = 0; i < tree->num_nodes; i++) {
        const kv_node *node = &tree->nodes[i];
        uint32_t end = i + 1 < tree->num_nodes ? node[1].first_block : tree->num_blocks;
        uint32_t run = blocks_for(b, node->first_slot + node->num_tokens);
        memcpy(tree->blocks + node->first_block, b->source[i], run * sizeof *tree->blocks);
        for (uint32_t j = node->first_block + run; j < end; j++)
            tree->blocks[j] = KV_NONE;
    }
}

/* The tree and its arrays are one allocation. */
static kv_status finish(const builder *b, kv_tree **result)
{
    size_t num_versions = b->drafts ? 0 : b->num_queries;
    size_t bytes = sizeof(kv_tree) + num_versions * sizeof(uint64_t) + b->num_nodes * sizeof(kv_node) +
                   ((size_t)b->num_blocks + 2 * (size_t)b->num_queries) * sizeof(uint32_t);
    kv_tree *tree = malloc(bytes);
    if (!tree)
        return KV_NOMEM;
    char *at = (char *)(tree + 1);
    *tree = (kv_tree){.block_tokens = b->block_tokens, .num_nodes = b->num_nodes, .num_queries = b->num_queries,
                      .num_blocks = (uint32_t)b->num_blocks, .unique_tokens = b->unique_tokens,
                      .path_tokens = b->path_tokens};
    tree->versions = carve(&at, num_versions, sizeof(uint64_t));
    tree->nodes = carve(&at, b->num_nodes, sizeof(kv_node));
    tree->blocks = carve(&at, b->num_blocks, sizeof(uint32_t));
    tree->rows = carve(&at, b->num_queries, sizeof(uint32_t));
    tree->query_node = carve(&at, b->num_queries, sizeof(uint32_t));
    memcpy(tree->nodes, b->nodes, b->num_nodes * sizeof(kv_node));
    memcpy(tree->rows, b->rows, b->num_queries * sizeof(uint32_t));
    memcpy(tree->query_node, b->query_node, b->num_queries * sizeof(uint32_t));
    copy_blocks(b, tree);
    for (size_t i = 0; i < num_versions; i++)
        tree->versions[i] = b->tables[i].version;
    if (b->drafts)
        tree->versions = NULL;
    *result = tree;
    return KV_OK;
}

static kv_status build(kv_tree **tree, builder *b)
{
    kv_status status = tree ? check_arguments(b) : KV_INVAL;
    if (status)
        return status;
    status = allocate_scratch(b);
    if (!status)
        status = find_segments(b);
    if (!status) {
        sort_anchored(b);
        status = find_nodes(b);
    }
    if (!status)
        status = finish(b, tree);
    free(b->owner_page);
    free(b->scratch);
    return status;
}

kv_status kv_tree_build(kv_tree **tree, const kv_table *tables, uint32_t num_tables, uint32_t block_tokens,
                        uint32_t pool_blocks)
{
    builder b = {.tables = tables, .num_tables = num_tables, .block_tokens = block_tokens, .pool_blocks = pool_blocks};
    return build(tree, &b);
}

kv_status kv_tree_build_drafts(kv_tree **tree, const kv_table *tables, const kv_draft *drafts, uint32_t num_tables,
                               uint32_t block_tokens, uint32_t pool_blocks)
{
    builder b = {.tables = tables, .drafts = drafts, .num_tables = num_tables, .block_tokens = block_tokens,
                 .pool_blocks = pool_blocks};
    if (num_tables && !drafts)
        return KV_INVAL;
    return build(tree, &b);
}

/* ---- growth ---- */

static uint32_t query_length(const kv_tree *tree, uint32_t query)
{
    uint32_t node = tree->query_node[query];
    return node == KV_NONE ? 0 : tree->nodes[node].first_token + tree->nodes[node].num_tokens;
}

static bool can_grow(const kv_tree *tree, uint32_t query, const kv_table *table)
{
    uint32_t length = query_length(tree, query), index = tree->query_node[query];
    if (table->version == 0 || table->version != tree->versions[query] || table->length < length ||
        (uint64_t)table->num_blocks * tree->block_tokens < table->length)
        return false;
    if (table->length == length)
        return true;
    if (index == KV_NONE || tree->nodes[index].num_rows != 1)
        return false;
    const kv_node *node = &tree->nodes[index];
    uint32_t end = index + 1 < tree->num_nodes ? node[1].first_block : tree->num_blocks;
    uint64_t slots = (uint64_t)(end - node->first_block) * tree->block_tokens;
    return node->first_slot + (uint64_t)(table->length - node->first_token) <= slots;
}

bool kv_tree_grow(kv_tree *tree, const kv_table *tables, uint32_t num_tables)
{
    if (num_tables != tree->num_queries || !tree->versions)
        return false;
    for (uint32_t query = 0; query < num_tables; query++)
        if (!can_grow(tree, query, &tables[query]))
            return false;
    uint32_t shift = (uint32_t)__builtin_ctz(tree->block_tokens), mask = tree->block_tokens - 1;
    for (uint32_t query = 0; query < num_tables; query++) {
        uint32_t length = query_length(tree, query), added = tables[query].length - length;
        if (!added)
            continue;
        kv_node *node = &tree->nodes[tree->query_node[query]];
        uint32_t old_run = (node->first_slot + node->num_tokens + mask) >> shift;
        uint32_t new_run = (node->first_slot + node->num_tokens + added + mask) >> shift;
        for (uint32_t i = old_run; i < new_run; i++)
            tree->blocks[node->first_block + i] = tables[query].blocks[(node->first_token >> shift) + i];
        node->num_tokens += added;
        tree->unique_tokens += added;
        tree->path_tokens += added;
    }
    return true;
}

void kv_tree_destroy(kv_tree *tree) { free(tree); }
