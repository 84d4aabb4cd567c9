/* kv_tree_explain: which entry of which table keeps the tables from forming a tree.
 *
 * Works from the definition and not as the builder does: each block has one predecessor in all tables. Runs after a
 * refusal, so it may be slower. Price: 28 bytes of scratch per block of the pool. */
#include "kv_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One block, according to the tables read so far. */
typedef struct note {
    uint32_t table, index;   /* where it was listed first; KV_NONE: nowhere */
    uint32_t predecessor;    /* the block before it there, KV_NONE at the front */
    uint32_t last_table;     /* the last table that listed it */
    uint32_t end, end_table; /* the past that sees most of the block ends behind token end - 1, or with the block */
    uint32_t draft_table;    /* the table whose draft tokens lie in it; KV_NONE: none */
} note;

typedef struct explainer {
    const kv_table *tables;
    const kv_draft *drafts; /* NULL: none */
    uint32_t num_tables, block_tokens, pool_blocks;
    note *notes;            /* [pool_blocks] */
    char *message;
    size_t message_bytes;
} explainer;

static kv_status fault(const explainer *e, kv_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static kv_status fault(const explainer *e, kv_status status, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    if (e->message && e->message_bytes)
        vsnprintf(e->message, e->message_bytes, format, values);
    va_end(values);
    return status;
}

static uint32_t blocks_for(const explainer *e, uint32_t num_tokens)
{
    return (num_tokens + e->block_tokens - 1) / e->block_tokens;
}

static uint32_t draft_tokens(const explainer *e, uint32_t table) { return e->drafts ? e->drafts[table].num_tokens : 0; }

/* ---- arguments ---- */

static kv_status explain_draft(const explainer *e, uint32_t t)
{
    const kv_draft *draft = &e->drafts[t];
    if (draft->num_tokens > e->tables[t].length)
        return fault(e, KV_INVAL, "table %u: %u draft tokens, but a length of %u", t, draft->num_tokens,
                     e->tables[t].length);
    if (draft->num_tokens && !draft->parent)
        return fault(e, KV_INVAL, "table %u: %u draft tokens, but no parents", t, draft->num_tokens);
    for (uint32_t i = 0; i < draft->num_tokens; i++)
        if (draft->parent[i] != KV_NONE && draft->parent[i] >= i)
            return fault(e, KV_INVAL, "table %u: draft token %u continues draft token %u, which is not before it", t, i,
                         draft->parent[i]);
    return KV_OK;
}

static kv_status explain_table(const explainer *e, uint32_t t)
{
    const kv_table *table = &e->tables[t];
    if (table->length > KV_MAX_LENGTH)
        return fault(e, KV_RANGE, "table %u: length %u, at most %u", t, table->length, KV_MAX_LENGTH);
    if (table->num_blocks < blocks_for(e, table->length))
        return fault(e, KV_INVAL, "table %u: %u blocks, but its length of %u needs %u", t, table->num_blocks,
                     table->length, blocks_for(e, table->length));
    if (table->length && !table->blocks)
        return fault(e, KV_INVAL, "table %u: length %u, but no array of blocks", t, table->length);
    for (uint32_t i = 0; i < blocks_for(e, table->length); i++)
        if (table->blocks[i] >= e->pool_blocks)
            return fault(e, KV_RANGE, "table %u index %u: block %u, but the pool has %u", t, i, table->blocks[i],
                         e->pool_blocks);
    return e->drafts ? explain_draft(e, t) : KV_OK;
}

static kv_status explain_arguments(const explainer *e)
{
    uint64_t num_queries = 0, num_draft_tokens = 0;
    if (e->block_tokens == 0 || e->block_tokens > 256 || (e->block_tokens & (e->block_tokens - 1)))
        return fault(e, KV_INVAL, "block_tokens %u, expected a power of two from 1 to 256", e->block_tokens);
    if (e->num_tables && !e->tables)
        return fault(e, KV_INVAL, "%u tables, but no array of tables", e->num_tables);
    for (uint32_t t = 0; t < e->num_tables; t++) {
        kv_status status = explain_table(e, t);
        if (status)
            return status;
        num_draft_tokens += draft_tokens(e, t);
        num_queries += draft_tokens(e, t) ? draft_tokens(e, t) : 1;
    }
    if (num_queries + num_draft_tokens > KV_NONE / 16)
        return fault(e, KV_RANGE, "%llu queries and draft tokens, at most %u",
                     (unsigned long long)(num_queries + num_draft_tokens), KV_NONE / 16);
    return KV_OK;
}

/* ---- blocks ---- */

static kv_status two_predecessors(const explainer *e, uint32_t t, uint32_t i, uint32_t predecessor)
{
    const uint32_t block = e->tables[t].blocks[i];
    const note *n = &e->notes[block];
    char here[24] = "at the front", there[24] = "at the front";
    if (predecessor != KV_NONE)
        snprintf(here, sizeof here, "behind block %u", predecessor);
    if (n->predecessor != KV_NONE)
        snprintf(there, sizeof there, "behind block %u", n->predecessor);
    return fault(e, KV_INVAL, "table %u index %u: block %u stands %s, in table %u index %u %s", t, i, block, here,
                 n->table, n->index, there);
}

/* The blocks that hold tokens of the table's past: all but its draft tokens. */
static kv_status explain_past(const explainer *e, uint32_t t)
{
    const uint32_t *blocks = e->tables[t].blocks, past = e->tables[t].length - draft_tokens(e, t);
    for (uint32_t i = 0; i < blocks_for(e, past); i++) {
        note *n = &e->notes[blocks[i]];
        uint32_t predecessor = i ? blocks[i - 1] : KV_NONE;
        uint32_t block_end = (i + 1) * e->block_tokens, end = past < block_end ? past : block_end;
        if (n->last_table == t)
            return fault(e, KV_INVAL, "table %u index %u: block %u for the second time", t, i, blocks[i]);
        if (n->table == KV_NONE)
            *n = (note){t, i, predecessor, t, 0, t, KV_NONE};
        if (n->predecessor != predecessor)
            return two_predecessors(e, t, i, predecessor);
        n->last_table = t;
        if (end > n->end) {
            n->end = end;
            n->end_table = t;
        }
    }
    return KV_OK;
}

/* Draft tokens share no slot with another table: the first may lie behind a past in a part-filled block. */
static kv_status explain_draft_blocks(const explainer *e, uint32_t t)
{
    const uint32_t *blocks = e->tables[t].blocks, past = e->tables[t].length - draft_tokens(e, t);
    if (!draft_tokens(e, t))
        return KV_OK;
    for (uint32_t i = past / e->block_tokens; i < blocks_for(e, e->tables[t].length); i++) {
        note *n = &e->notes[blocks[i]];
        bool behind_past = i * e->block_tokens < past;
        if (n->draft_table == t)
            return fault(e, KV_INVAL, "table %u index %u: block %u for the second time", t, i, blocks[i]);
        if (n->draft_table != KV_NONE)
            return fault(e, KV_INVAL, "table %u index %u: block %u holds draft tokens of table %u already", t, i,
                         blocks[i], n->draft_table);
        if (n->table != KV_NONE && (!behind_past || n->end > past))
            return fault(e, KV_INVAL, "table %u index %u: block %u for draft tokens holds tokens of table %u", t, i,
                         blocks[i], n->end_table);
        n->draft_table = t;
    }
    return KV_OK;
}

static kv_status explain_blocks(const explainer *e)
{
    kv_status status = KV_OK;
    for (uint32_t t = 0; t < e->num_tables && !status; t++)
        status = explain_past(e, t);
    for (uint32_t t = 0; t < e->num_tables && !status; t++)
        status = explain_draft_blocks(e, t);
    return status;
}

kv_status kv_tree_explain(const kv_table *tables, const kv_draft *drafts, uint32_t num_tables, uint32_t block_tokens,
                          uint32_t pool_blocks, char *message, size_t message_bytes)
{
    explainer e = {.tables = tables, .drafts = drafts, .num_tables = num_tables, .block_tokens = block_tokens,
                   .pool_blocks = pool_blocks, .message = message, .message_bytes = message_bytes};
    if (message && message_bytes)
        message[0] = 0;
    kv_status status = explain_arguments(&e);
    if (status)
        return status;
    size_t bytes = ((size_t)pool_blocks + 1) * sizeof *e.notes;
    if (!(e.notes = malloc(bytes)))
        return KV_NOMEM;
    memset(e.notes, 0xff, bytes); /* KV_NONE everywhere */
    status = explain_blocks(&e);
    free(e.notes);
    return status;
}
