/* The whole invariant of a pool, recomputed from the block tables. The numbers are those of docs/allocator.md.
 *
 * Nothing in the pool is trusted: ids and links are bounded before they are followed. Price: 28 bytes per block. */
#include "kv_pool_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* One block, according to the tables. */
typedef struct note {
    uint32_t count;       /* tables that list it */
    uint32_t last_record; /* the last of those, plus 1 */
    uint32_t index;       /* where they list it */
    uint32_t predecessor; /* the block before it there; KV_NO_BLOCK at index 0 */
    uint32_t num_partial; /* of them, those that see only a part */
    uint32_t visible;     /* tokens that the fullest view sees */
    uint32_t keepers;     /* of the tables, those that keep a token of it */
    bool idle;            /* on the free list or in quarantine */
} note;

typedef struct audit {
    const kv_pool *pool;
    note *notes; /* [num_blocks] */
    kv_violation *violation;
} audit;

/* Every check goes through this function. True: it holds. The first violation is kept. */
static bool holds(audit *a, uint32_t invariant, const char *what, uint64_t found, uint64_t expected, uint32_t block,
                  uint32_t record)
{
    if (found == expected) return true;
    *a->violation = (kv_violation){invariant, block, record, found, expected, what};
    return false;
}

static bool pool_holds(audit *a, uint32_t invariant, const char *what, uint64_t found, uint64_t expected)
{
    return holds(a, invariant, what, found, expected, KV_NO_BLOCK, KV_NO_RECORD);
}

static bool at_most(audit *a, uint32_t invariant, const char *what, uint64_t found, uint64_t limit, uint32_t record)
{
    return found <= limit || holds(a, invariant, what, found, limit, KV_NO_BLOCK, record);
}

/* One table entry: I5, I8, I9. */
static bool note_entry(audit *a, uint32_t record, uint32_t index)
{
    const kv_record *s = &a->pool->records[record];
    uint32_t block = s->blocks[index], predecessor = index > 0 ? s->blocks[index - 1] : KV_NO_BLOCK;
    if (!at_most(a, 5, "block id", block, a->pool->config.num_blocks - 1, record)) return false;
    note *n = &a->notes[block];
    if (!holds(a, 5, "second mention in one table", n->last_record == record + 1, false, block, record)) return false;
    if (n->count == 0) {
        n->index = index;
        n->predecessor = predecessor;
    }
    n->count++;
    n->last_record = record + 1;
    bool tail = index + 1 == s->num_blocks && kv_tail_tokens(a->pool, s) != 0;
    uint32_t visible = tail ? kv_tail_tokens(a->pool, s) : a->pool->config.block_tokens;
    if (visible > n->visible) n->visible = visible;
    n->num_partial += tail;
    n->keepers += a->pool->config.evicts && kv_kept_in(a->pool, s, index) > 0;
    return holds(a, 8, "index of the block in the table", index, n->index, block, record) &&
           holds(a, 9, "block before it in the table", predecessor, n->predecessor, block, record);
}

/* I18 and I20 for one record: keep words, and what is known without reading positions. */
static bool check_kept(audit *a, uint32_t record)
{
    const kv_record *s = &a->pool->records[record];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->num_blocks; i++) {
        kept += kv_kept_in(a->pool, s, i);
        for (uint32_t w = 0; w < a->pool->words_per_block; w++) {
            uint64_t stray = kv_words(a->pool, s, i)[w] & ~kv_written_bits(a->pool, s, i, w);
            if (!holds(a, 18, "bits behind the written slots", stray, 0, s->blocks[i], record)) return false;
        }
    }
    if (!holds(a, 18, "kept tokens", s->num_kept, kept, KV_NO_BLOCK, record)) return false;
    return at_most(a, 20, "next position", (uint64_t)s->next_position + s->promised_tokens, KV_MAX_LENGTH, record) &&
           at_most(a, 20, "first private position", s->first_private, s->next_position, record);
}

/* I4, I10 and I11 for one record. */
static bool check_record(audit *a, uint32_t record)
{
    const kv_record *s = &a->pool->records[record];
    if (!s->live) {
        return holds(a, 11, "length of a dead record", s->length, 0, KV_NO_BLOCK, record) &&
               holds(a, 11, "table of a dead record", s->num_blocks, 0, KV_NO_BLOCK, record) &&
               holds(a, 11, "promise to a dead record", s->promised_tokens, 0, KV_NO_BLOCK, record) &&
               holds(a, 11, "kept tokens of a dead record", s->num_kept, 0, KV_NO_BLOCK, record) &&
               holds(a, 11, "credit of a dead record", s->credit_blocks, 0, KV_NO_BLOCK, record);
    }
    uint64_t promised_length = (uint64_t)s->length + s->promised_tokens;
    if (!at_most(a, 4, "length", promised_length, KV_MAX_LENGTH, record)) return false;
    uint32_t expected = kv_blocks_of(a->pool, s->length);
    if (!holds(a, 4, "blocks in the table", s->num_blocks, expected, KV_NO_BLOCK, record)) return false;
    uint32_t credit = 0, copies = 1 + (kv_tail_tokens(a->pool, s) != 0); /* see kv_branch_reserve */
    if (s->promised_tokens > 0) credit = kv_blocks_of(a->pool, promised_length) - expected + copies;
    if (!at_most(a, 10, "credit for the promised tokens", s->credit_blocks, credit, record)) return false;
    if (!at_most(a, 16, "table version", s->version, a->pool->version, record)) return false;
    for (uint32_t i = 0; i < s->num_blocks; i++)
        if (!note_entry(a, record, i)) return false;
    return !a->pool->config.evicts || check_kept(a, record);
}

/* I16: every dead record that is not retired is on the list of free records once. */
static bool check_records(audit *a)
{
    const kv_pool *pool = a->pool;
    uint32_t num_live = 0, num_retired = 0, num_listed = 0;
    for (uint32_t i = 0; i < pool->num_records; i++) {
        if (!check_record(a, i)) return false;
        num_live += pool->records[i].live;
        num_retired += pool->records[i].generation == 0;
    }
    uint32_t num_dead = pool->num_records - num_live - num_retired;
    for (uint32_t i = pool->free_record; i != KV_NO_RECORD; i = pool->records[i].next) {
        if (!at_most(a, 16, "record on the list of free records", i + UINT64_C(1), pool->num_records, i)) return false;
        const kv_record *s = &pool->records[i];
        bool reusable = !s->live && s->generation != 0;
        if (!holds(a, 16, "reusable record on the list of free records", reusable, true, KV_NO_BLOCK, i)) return false;
        if (!at_most(a, 16, "free records", ++num_listed, num_dead, i)) return false; /* a cycle ends here */
    }
    return pool_holds(a, 16, "free records", num_listed, num_dead) &&
           pool_holds(a, 16, "live branches", pool->num_live, num_live) &&
           pool_holds(a, 16, "retired records", pool->num_retired, num_retired) &&
           at_most(a, 16, "live branches", num_live, pool->config.max_branches, KV_NO_RECORD);
}

static bool check_idle(audit *a, const char *what, const uint32_t *ring, uint32_t head, uint32_t count)
{
    const kv_pool *pool = a->pool;
    if (!at_most(a, 1, what, count, pool->config.num_blocks, KV_NO_RECORD)) return false;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t block = ring[kv_ring_index(pool, head, i)];
        if (!at_most(a, 3, what, block, pool->config.num_blocks - 1, KV_NO_RECORD)) return false;
        note *n = &a->notes[block];
        if (!holds(a, 3, "block listed as free a second time", n->idle, false, block, KV_NO_RECORD)) return false;
        if (!holds(a, 3, "tables that list a free block", n->count, 0, block, KV_NO_RECORD)) return false;
        n->idle = true;
    }
    return true;
}

/* One partial view of a block. `previous` comes before it in the list and sees `tokens` tokens of the block. */
static bool check_view(audit *a, uint32_t block, uint32_t record, uint32_t previous, uint32_t tokens)
{
    const kv_pool *pool = a->pool;
    if (!at_most(a, 12, "record of a partial view", record + UINT64_C(1), pool->num_records, record)) return false;
    const kv_record *s = &pool->records[record];
    return holds(a, 12, "live partial view", s->live && s->num_blocks > 0, true, block, record) &&
           holds(a, 12, "block of a partial view", s->blocks[s->num_blocks - 1], block, block, record) &&
           holds(a, 12, "link back", s->previous, previous, block, record) &&
           at_most(a, 12, "tokens of a partial view", kv_tail_tokens(pool, s), tokens, record);
}

static bool check_run(audit *a, uint32_t block, uint32_t first, uint32_t last)
{
    return holds(a, 12, "last view of a run", a->pool->records[first].far_end, last, block, first) &&
           holds(a, 12, "first view of a run", a->pool->records[last].far_end, first, block, last);
}

/* The partial views of a block are linked fullest first, in runs of views of equally many tokens. */
static bool check_views(audit *a, uint32_t block)
{
    const kv_pool *pool = a->pool;
    const note *n = &a->notes[block];
    if (!holds(a, 12, "partial views", pool->num_partial[block], n->num_partial, block, KV_NO_RECORD)) return false;
    uint32_t record = pool->first_partial[block], previous = KV_NO_RECORD, first = record;
    uint32_t tokens = pool->config.block_tokens;
    for (uint32_t i = 0; i < n->num_partial; i++) {
        if (!check_view(a, block, record, previous, tokens)) return false;
        bool new_run = kv_tail_tokens(pool, &pool->records[record]) < tokens;
        if (new_run && i > 0 && !check_run(a, block, first, previous)) return false;
        if (new_run) first = record;
        tokens = kv_tail_tokens(pool, &pool->records[record]);
        previous = record;
        record = pool->records[record].next;
    }
    return n->num_partial == 0 || (check_run(a, block, first, previous) &&
                                   holds(a, 12, "end of the partial views", record, KV_NO_RECORD, block, previous));
}

/* I19: a block in which no branch keeps a token is listed by none. */
static bool check_keepers(audit *a, uint32_t block)
{
    const note *n = &a->notes[block];
    uint32_t record = n->last_record - 1;
    return holds(a, 19, "branches that keep a token", a->pool->keepers[block], n->keepers, block, record) &&
           holds(a, 19, "dead block in a table", n->count > 0 && n->keepers == 0, false, block, record);
}

/* I1, I2 and the sums over blocks of I12. */
static bool check_blocks(audit *a)
{
    const kv_pool *pool = a->pool;
    uint32_t used = 0, shared = 0;
    uint64_t physical = 0;
    for (uint32_t i = 0; i < pool->config.num_blocks; i++) {
        const note *n = &a->notes[i];
        if (!holds(a, 2, "reference count", pool->ref[i], n->count, i, n->last_record - 1)) return false;
        if (!holds(a, 12, "scratch count", pool->leaving[i], 0, i, KV_NO_RECORD)) return false;
        if (pool->config.evicts && !check_keepers(a, i)) return false;
        if (!check_views(a, i)) return false;
        used += n->count > 0;
        shared += n->count > 1;
        physical += n->visible;
    }
    uint64_t sum = (uint64_t)used + pool->num_free + pool->num_quarantined;
    return pool_holds(a, 1, "used + free + quarantined blocks", sum, pool->config.num_blocks) &&
           pool_holds(a, 12, "shared blocks", pool->shared_blocks, shared) &&
           pool_holds(a, 12, "physical tokens", pool->physical_tokens, physical) &&
           at_most(a, 12, "used blocks beyond the high water", used, pool->high_water_blocks, KV_NO_RECORD) &&
           at_most(a, 12, "high water", pool->high_water_blocks, pool->config.num_blocks, KV_NO_RECORD);
}

static bool check_sums(audit *a)
{
    const kv_pool *pool = a->pool;
    uint64_t length = 0, blocks = 0, credit = 0, kept = 0, tokens = 0;
    for (uint32_t i = 0; i < pool->num_records; i++) {
        length += pool->records[i].length;
        blocks += pool->records[i].num_blocks;
        credit += pool->records[i].credit_blocks;
        tokens += pool->records[i].num_kept;
        kept += pool->records[i].live ? 0 : pool->records[i].capacity;
    }
    uint64_t most_copied = pool->copies * (pool->config.block_tokens - 1);
    return pool_holds(a, 10, "reserved blocks", pool->reserved_blocks, credit) &&
           at_most(a, 10, "reserved blocks", credit, pool->num_free, KV_NO_RECORD) &&
           pool_holds(a, 12, "logical tokens", pool->logical_tokens, length) &&
           pool_holds(a, 12, "table blocks", pool->table_blocks, blocks) &&
           pool_holds(a, 12, "kept tokens", pool->kept_tokens, tokens) &&
           pool_holds(a, 12, "dead blocks left by a call", pool->dead, KV_DEAD_NONE) &&
           pool_holds(a, 12, "entries kept in tables of dead branches", pool->kept_entries, kept) &&
           at_most(a, 12, "entries kept in tables of dead branches", kept, KV_MAX_KEPT_ENTRIES, KV_NO_RECORD) &&
           at_most(a, 12, "copies", pool->copies, pool->copied_tokens, KV_NO_RECORD) &&
           at_most(a, 12, "copied tokens", pool->copied_tokens, most_copied, KV_NO_RECORD);
}

/* I15 */
static bool check_epochs(audit *a)
{
    const kv_pool *pool = a->pool;
    uint64_t open = pool->next_epoch - pool->first_epoch, sum = 0;
    if (!at_most(a, 15, "unretired epochs", open, pool->config.max_epochs, KV_NO_RECORD)) return false;
    for (uint64_t epoch = pool->first_epoch; epoch < pool->next_epoch; epoch++)
        sum += pool->epoch_blocks[epoch % pool->config.max_epochs];
    return pool_holds(a, 15, "quarantined blocks", pool->num_quarantined, sum);
}

static int by_position(const void *a, const void *b)
{
    uint32_t pa = *(const uint32_t *)a, pb = *(const uint32_t *)b;
    return (pa > pb) - (pa < pb);
}

/* I21: a branch keeps no position twice, and none that it has not reached. `positions` has room for its kept tokens. */
static bool check_positions(audit *a, uint32_t record, uint32_t *positions)
{
    const kv_record *s = &a->pool->records[record];
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < s->length; slot++)
        if (kv_keeps_slot(a->pool, s, slot)) positions[count++] = a->pool->positions[kv_place(a->pool, s, slot)];
    qsort(positions, count, sizeof *positions, by_position);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t here = 1 + (i > 0 && positions[i] == positions[i - 1]);
        if (!holds(a, 21, "tokens at one position", here, 1, KV_NO_BLOCK, record)) return false;
        uint64_t reached = (uint64_t)positions[i] + 1;
        if (!at_most(a, 21, "position of a kept token", reached, s->next_position, record)) return false;
    }
    return true;
}

/* After check_records: the tables and the kept tokens are sound. */
static kv_status check_all_positions(audit *a)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < a->pool->num_records; i++)
        if (a->pool->records[i].num_kept > most) most = a->pool->records[i].num_kept;
    uint32_t *positions = malloc(((size_t)most + 1) * sizeof *positions);
    if (!positions) return KV_NOMEM;
    bool sound = true;
    for (uint32_t i = 0; sound && i < a->pool->num_records; i++) sound = check_positions(a, i, positions);
    free(positions);
    return sound ? KV_OK : KV_CORRUPT;
}

static int by_version(const void *a, const void *b)
{
    uint64_t va = *(const uint64_t *)a, vb = *(const uint64_t *)b;
    return (va > vb) - (va < vb);
}

/* I17: a version names one state of one table. `versions` has room for every live branch. */
static bool check_versions(audit *a, uint64_t *versions)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < a->pool->num_records; i++)
        if (a->pool->records[i].live) versions[count++] = a->pool->records[i].version;
    qsort(versions, count, sizeof *versions, by_version);
    if (count > 0 && !pool_holds(a, 17, "table without a version", versions[0] == 0, false)) return false;
    for (uint32_t i = 1; i < count; i++)
        if (versions[i] == versions[i - 1]) return pool_holds(a, 17, "tables with one version", 2, 1);
    return true;
}

kv_status kv_pool_find_violation(const kv_pool *pool, kv_violation *violation)
{
    audit a = {pool, calloc(pool->config.num_blocks, sizeof(note)), violation};
    uint64_t *versions = malloc(((size_t)pool->num_records + 1) * sizeof *versions);
    kv_status status = KV_NOMEM;
    *violation = (kv_violation){0};
    if (a.notes && versions) {
        bool sound = check_records(&a) &&
                     check_idle(&a, "free blocks", pool->free_list, pool->free_head, pool->num_free) &&
                     check_idle(&a, "quarantined blocks", pool->quarantine, pool->quarantine_head,
                                pool->num_quarantined) &&
                     check_blocks(&a) && check_sums(&a) && check_epochs(&a) && check_versions(&a, versions);
        status = sound ? KV_OK : KV_CORRUPT;
        if (sound && pool->config.evicts) status = check_all_positions(&a);
    }
    free(a.notes);
    free(versions);
    return status;
}

void kv_violation_write(const kv_violation *v, char *message, size_t message_bytes)
{
    bool more = v->found > v->expected;
    uint64_t difference = more ? v->found - v->expected : v->expected - v->found;
    char block[32] = "", record[32] = "";
    if (v->block != KV_NO_BLOCK) snprintf(block, sizeof block, ", block %" PRIu32, v->block);
    if (v->record != KV_NO_RECORD) snprintf(record, sizeof record, ", branch record %" PRIu32, v->record);
    snprintf(message, message_bytes, "I%" PRIu32 " %s: %" PRIu64 ", expected %" PRIu64 " (%c%" PRIu64 ")%s%s",
             v->invariant, v->what, v->found, v->expected, more ? '+' : '-', difference, block, record);
}

kv_status kv_pool_check(const kv_pool *pool, char *message, size_t message_bytes)
{
    kv_violation violation;
    kv_status status = kv_pool_find_violation(pool, &violation);
    if (message_bytes > 0) message[0] = 0;
    if (status == KV_CORRUPT) kv_violation_write(&violation, message, message_bytes);
    return status;
}
