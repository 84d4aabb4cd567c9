/* Block tables: fork, append, truncate, adopt, prune. Every call first counts the blocks that it needs, then takes
 * them; after the first is taken nothing can fail, so there is no rollback code. */
#include "kv_pool_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- room on the host; nothing that a dump shows changes ---- */

static void forget_grown_table(kv_record *record)
{
    free(record->grown);
    free(record->grown_words);
    record->grown = NULL;
    record->grown_words = NULL;
}

static size_t word_bytes(const kv_pool *pool, uint64_t num_blocks)
{
    return (size_t)num_blocks * pool->words_per_block * sizeof(uint64_t);
}

static kv_status grow_table(const kv_pool *pool, kv_record *record, uint64_t num_blocks)
{
    if (num_blocks <= record->capacity) return KV_OK;
    uint64_t capacity = record->capacity < 4 ? 8 : (uint64_t)record->capacity * 2;
    if (capacity < num_blocks) capacity = num_blocks;
    uint64_t entry_bytes = sizeof *record->grown + word_bytes(pool, 1);
    if (capacity > UINT32_MAX || capacity > SIZE_MAX / entry_bytes) return KV_NOMEM;
    record->grown = malloc((size_t)capacity * sizeof *record->grown);
    if (pool->config.evicts) record->grown_words = malloc(word_bytes(pool, capacity));
    if (!record->grown || (pool->config.evicts && !record->grown_words)) {
        forget_grown_table(record);
        return KV_NOMEM;
    }
    record->grown_capacity = (uint32_t)capacity;
    return KV_OK;
}

/* The caller's view of the old table ends here, together with the change, and not in a call that fails. */
static void use_grown_table(const kv_pool *pool, kv_record *record)
{
    if (!record->grown) return;
    if (record->num_blocks > 0) memcpy(record->grown, record->blocks, record->num_blocks * sizeof *record->blocks);
    free(record->blocks);
    record->blocks = record->grown;
    record->capacity = record->grown_capacity;
    record->grown = NULL;
    if (!pool->config.evicts) return;
    if (record->num_blocks > 0) memcpy(record->grown_words, record->words, word_bytes(pool, record->num_blocks));
    free(record->words);
    record->words = record->grown_words;
    record->grown_words = NULL;
}

/* A table has room for at most 4 times its blocks, or for a small minimum. If realloc cannot shrink it, it keeps its
 * room. */
static void shrink_table(const kv_pool *pool, kv_record *record, uint32_t num_blocks)
{
    enum { FEW = 64 };
    uint64_t enough = num_blocks < FEW / 2 ? FEW : 2 * (uint64_t)num_blocks;
    if (record->capacity <= 2 * enough) return;
    uint32_t *blocks = realloc(record->blocks, (size_t)enough * sizeof *blocks);
    if (!blocks) return;
    record->blocks = blocks;
    record->capacity = (uint32_t)enough;
    if (!pool->config.evicts) return;
    uint64_t *words = realloc(record->words, word_bytes(pool, enough));
    if (words) record->words = words;
}

/* ---- life and death of a record ---- */

/* A dead record with room for num_blocks, not yet taken: birth() follows. */
static kv_status dead_record(kv_pool *pool, uint32_t num_blocks, uint32_t *index)
{
    if (pool->num_live == pool->config.max_branches) return KV_NOBRANCH;
    bool unused = pool->free_record == KV_NO_RECORD;
    *index = unused ? pool->num_records : pool->free_record;
    if (unused) {
        kv_status status = kv_records_reserve(pool, pool->num_records + 1);
        if (status != KV_OK) return status;
        memset(&pool->records[*index], 0, sizeof(kv_record));
    }
    kv_record *record = &pool->records[*index];
    kv_status status = grow_table(pool, record, num_blocks);
    if (status != KV_OK) return status;
    pool->kept_entries -= record->capacity;
    use_grown_table(pool, record);
    shrink_table(pool, record, num_blocks);
    return KV_OK;
}

static void birth(kv_pool *pool, uint32_t index)
{
    kv_record *record = &pool->records[index];
    if (index == pool->num_records) {
        pool->num_records++;
        record->generation = 1;
    } else {
        pool->free_record = record->next;
    }
    record->live = true;
    record->version = ++pool->version;
    pool->num_live++;
}

static void drop_from(kv_pool *pool, kv_record *record, uint32_t first)
{
    if (pool->config.evicts) kv_forget_blocks(pool, record, first, record->num_blocks);
    if (record->num_blocks > first) kv_blocks_drop(pool, record->blocks + first, record->num_blocks - first);
    kv_set_num_blocks(pool, record, first);
}

/* Dead records keep their tables, up to a total size, so that the next fork fills one without malloc. */
static void keep_table(kv_pool *pool, kv_record *record)
{
    if (record->generation == 0 || pool->kept_entries + (uint64_t)record->capacity > KV_MAX_KEPT_ENTRIES) {
        free(record->blocks);
        free(record->words);
        record->blocks = NULL;
        record->words = NULL;
        record->capacity = 0;
    }
    pool->kept_entries += record->capacity;
}

static void death(kv_pool *pool, kv_record *record)
{
    record->live = false;
    record->next_position = record->first_private = 0;
    record->generation++; /* 2^32 - 1 wraps to 0: no handle names this record again */
    keep_table(pool, record);
    pool->num_live--;
    if (record->generation == 0) {
        pool->num_retired++;
        return;
    }
    record->next = pool->free_record;
    pool->free_record = kv_index_of(pool, record);
}

/* ---- create, fork, prune ---- */

kv_status kv_branch_create(kv_pool *pool, kv_branch *branch)
{
    uint32_t index;
    kv_status status = dead_record(pool, 0, &index);
    if (status != KV_OK) return kv_pool_refuse(pool, status);
    birth(pool, index);
    *branch = kv_handle(index, pool->records[index].generation);
    pool->operations++;
    return KV_OK;
}

/* The length of a parent's child: of its table, up to the last token that the child keeps. */
static uint32_t child_length(const kv_pool *pool, const kv_record *parent, uint32_t length)
{
    return pool->config.evicts ? kv_kept_length(pool, parent, length) : length;
}

/* In tokens; where positions are known, in positions. */
static uint32_t longest(const kv_pool *pool, const kv_record *record)
{
    return pool->config.evicts ? record->next_position : record->length;
}

kv_status kv_branch_fork_at(kv_pool *pool, kv_branch branch, uint32_t length, kv_branch *child)
{
    kv_record *parent = kv_find(pool, branch);
    if (!parent) return kv_pool_refuse(pool, KV_STALE);
    if (length > longest(pool, parent)) return kv_pool_refuse(pool, KV_RANGE);
    uint32_t table_length = child_length(pool, parent, length), num_blocks = kv_blocks_of(pool, table_length);
    uint32_t parent_index = kv_index_of(pool, parent), index;
    kv_status status = dead_record(pool, num_blocks, &index);
    if (status != KV_OK) return kv_pool_refuse(pool, status);

    parent = &pool->records[parent_index]; /* the records may have moved */
    kv_record *record = &pool->records[index];
    birth(pool, index);
    if (num_blocks > 0) memcpy(record->blocks, parent->blocks, num_blocks * sizeof *record->blocks);
    kv_blocks_share(pool, record->blocks, num_blocks);
    kv_set_num_blocks(pool, record, num_blocks);
    kv_set_length(pool, record, table_length);
    kv_tail_attach(pool, index, table_length == parent->length ? parent_index : KV_NO_RECORD);
    if (pool->config.evicts) {
        kv_inherit(pool, record, parent, length);
        if (parent->first_private < length) parent->first_private = length;
    }
    *child = kv_handle(index, record->generation);
    pool->operations++;
    return KV_OK;
}

kv_status kv_branch_fork(kv_pool *pool, kv_branch branch, kv_branch *child)
{
    kv_record *parent = kv_find(pool, branch);
    if (!parent) return kv_pool_refuse(pool, KV_STALE);
    return kv_branch_fork_at(pool, branch, longest(pool, parent), child);
}

kv_status kv_branch_prune(kv_pool *pool, kv_branch branch)
{
    kv_record *record = kv_find(pool, branch);
    if (!record) return kv_pool_refuse(pool, KV_STALE);
    pool->num_released = 0;
    kv_tail_detach(pool, kv_index_of(pool, record));
    drop_from(pool, record, 0);
    kv_set_length(pool, record, 0);
    kv_set_credit(pool, record, 0, 0);
    death(pool, record);
    kv_bury(pool, record);
    pool->operations++;
    return KV_OK;
}

/* ---- append: count, make room, take ---- */

/* The blocks that a list of appends needs. */
typedef struct demand {
    uint64_t blocks;   /* to be taken */
    uint64_t reserved; /* that must stay free for other promises afterwards */
} demand;

/* The length of the table without its last block, if that is part-filled and the branch keeps nothing in it: then new
 * tokens leave it to the others, and nothing is copied. */
static uint32_t end_of(const kv_pool *pool, const kv_record *record)
{
    if (!pool->config.evicts) return record->length;
    uint32_t tail = kv_tail_tokens(pool, record);
    bool stays = tail == 0 || kv_kept_in(pool, record, record->num_blocks - 1) > 0;
    return stays ? record->length : record->length - tail;
}

/* The entries that reach up to end_of(). */
static uint32_t blocks_at_end(const kv_record *record, uint32_t end)
{
    return record->num_blocks - (end < record->length);
}

/* After an append the branch alone holds its last block, so the credit for copies keeps one block: for the copy after a
 * later fork. num_at_end: 0 if the token takes a hole. */
static uint32_t credit_after(const kv_pool *pool, const kv_record *record, uint32_t num_tokens, uint32_t num_at_end)
{
    if (num_tokens == 0) return record->credit_blocks;
    if (num_tokens >= record->promised_tokens) return 0;
    uint32_t left = record->credit_blocks > record->pending_blocks ? record->credit_blocks - record->pending_blocks : 0;
    uint32_t length = end_of(pool, record) + num_at_end, last = length + record->promised_tokens - num_tokens;
    uint32_t needed = kv_blocks_of(pool, last) - kv_blocks_of(pool, length) + 1;
    return left < needed ? left : needed;
}

/* Of the branches that keep tokens of a shared last block, all copy it but the last. */
static bool must_copy(const kv_pool *pool, const kv_record *record, uint32_t num_tokens)
{
    if (num_tokens == 0 || kv_tail_tokens(pool, record) == 0) return false;
    uint32_t block = record->blocks[record->num_blocks - 1];
    if (!pool->config.evicts) return pool->ref[block] - pool->leaving[block] > 1;
    return end_of(pool, record) == record->length && pool->keepers[block] - pool->leaving[block] > 1;
}

static kv_status count_append(kv_pool *pool, kv_branch branch, uint32_t num_tokens, demand *total)
{
    kv_record *record = kv_find(pool, branch);
    if (!record) return KV_STALE;
    if (record->listed) return KV_INVAL;
    uint64_t end = end_of(pool, record), length = end + num_tokens;
    if (length > KV_MAX_LENGTH) return KV_RANGE;
    if (pool->config.evicts && (uint64_t)record->next_position + num_tokens > KV_MAX_LENGTH) return KV_RANGE;
    record->listed = true;
    record->takes_over = false;
    record->pending_hole = pool->config.evicts && num_tokens == 1 ? kv_lowest_hole(pool, record) : KV_NO_HOLE;
    uint32_t num_at_end = record->pending_hole == KV_NO_HOLE ? num_tokens : 0;
    record->pending_blocks = kv_blocks_of(pool, end + num_at_end) - blocks_at_end(record, (uint32_t)end);
    if (must_copy(pool, record, num_at_end)) {
        pool->leaving[record->blocks[record->num_blocks - 1]]++;
        record->pending_blocks++;
    } else if (pool->config.evicts && num_at_end > 0 && end % pool->config.block_tokens != 0) {
        uint32_t block = record->blocks[record->num_blocks - 1];
        record->takes_over = pool->ref[block] - pool->leaving[block] > 1;
    }
    total->blocks += record->pending_blocks;
    total->reserved -= record->credit_blocks - credit_after(pool, record, num_tokens, num_at_end);
    return KV_OK;
}

static void forget_count(kv_pool *pool, kv_branch branch)
{
    kv_record *record = kv_find(pool, branch);
    record->listed = false;
    if (record->num_blocks > 0) pool->leaving[record->blocks[record->num_blocks - 1]] = 0;
}

static void forget_growth(kv_pool *pool, const kv_branch *branches, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        forget_grown_table(kv_find(pool, branches[i]));
    }
}

static kv_status make_room(kv_pool *pool, const kv_branch *branches, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        kv_record *record = kv_find(pool, branches[i]);
        kv_status status = grow_table(pool, record, (uint64_t)record->num_blocks + record->pending_blocks);
        if (status != KV_OK) {
            forget_growth(pool, branches, i);
            return status;
        }
    }
    return KV_OK;
}

static kv_status prepare(kv_pool *pool, const kv_branch *branches, const uint32_t *num_tokens, uint32_t count)
{
    demand total = {0, pool->reserved_blocks};
    kv_status status = KV_OK;
    uint32_t counted = 0;
    while (counted < count) {
        status = count_append(pool, branches[counted], num_tokens[counted], &total);
        if (status != KV_OK) break;
        counted++;
    }
    for (uint32_t i = 0; i < counted; i++) forget_count(pool, branches[i]);
    if (status != KV_OK) return status;
    if (total.blocks + total.reserved > pool->num_free) return KV_NOBLOCKS;
    return make_room(pool, branches, count);
}

static kv_copy copy_tail(kv_pool *pool, kv_record *record)
{
    uint32_t last = record->num_blocks - 1;
    kv_copy copy = {.from_block = record->blocks[last], .num_tokens = kv_tail_tokens(pool, record)};
    kv_blocks_take(pool, &record->blocks[last], 1);
    copy.to_block = record->blocks[last];
    kv_blocks_drop(pool, &copy.from_block, 1);
    if (pool->config.evicts) kv_copy_keeper(pool, &copy);
    record->version = ++pool->version;
    pool->copies++;
    pool->copied_tokens += copy.num_tokens;
    return copy;
}

/* The branch drops its part-filled last block, in which it keeps nothing. */
static void leave_tail(kv_pool *pool, kv_record *record, uint32_t end)
{
    drop_from(pool, record, record->num_blocks - 1);
    kv_set_length(pool, record, end);
    record->version = ++pool->version;
}

/* New tokens behind those of the table. */
static void extend(kv_pool *pool, kv_record *record, uint32_t num_tokens, kv_append *append)
{
    uint32_t end = num_tokens > 0 ? end_of(pool, record) : record->length;
    uint32_t num_blocks = kv_blocks_of(pool, (uint64_t)end + num_tokens);
    bool copied = must_copy(pool, record, num_tokens);
    kv_tail_detach(pool, kv_index_of(pool, record));
    if (end < record->length) leave_tail(pool, record, end);
    append->first_new_block = record->num_blocks;
    if (copied) {
        append->first_new_block--;
        append->copy = copy_tail(pool, record);
    }
    if (num_blocks > record->num_blocks) {
        uint32_t num_new = num_blocks - record->num_blocks;
        kv_blocks_take(pool, record->blocks + record->num_blocks, num_new);
        if (pool->config.evicts) memset(kv_words(pool, record, record->num_blocks), 0, word_bytes(pool, num_new));
        kv_set_num_blocks(pool, record, num_blocks);
    }
    assert(record->pending_blocks == num_blocks - append->first_new_block && "an append takes what it counted");
    kv_set_length(pool, record, record->length + num_tokens);
    kv_tail_attach(pool, kv_index_of(pool, record), KV_NO_RECORD);
    if (pool->config.evicts) kv_write_tokens(pool, record, end, num_tokens);
}

static void commit_append(kv_pool *pool, kv_branch branch, uint32_t num_tokens, kv_append *append)
{
    kv_record *record = kv_find(pool, branch);
    uint32_t hole = record->pending_hole;
    *append = (kv_append){record->num_blocks, record->pending_blocks, {0, 0, 0}, hole};
    use_grown_table(pool, record);
    kv_set_credit(pool, record, num_tokens < record->promised_tokens ? record->promised_tokens - num_tokens : 0,
                  credit_after(pool, record, num_tokens, hole == KV_NO_HOLE ? num_tokens : 0));
    if (hole == KV_NO_HOLE) extend(pool, record, num_tokens, append);
    else kv_write_tokens(pool, record, hole, 1);
}

/* Before the first branch of a list writes: others leave the blocks that listed branches take over. */
static void take_over(kv_pool *pool, const kv_branch *branches, uint32_t count)
{
    bool changed = false;
    for (uint32_t i = 0; i < count; i++) {
        kv_record *record = kv_find(pool, branches[i]);
        if (!record->takes_over) continue;
        kv_take_over(pool, record);
        changed = true;
    }
    for (uint32_t i = 0; changed && i < count; i++) { /* blocks before a hole may have gone */
        kv_record *record = kv_find(pool, branches[i]);
        if (record->pending_hole != KV_NO_HOLE) record->pending_hole = kv_lowest_hole(pool, record);
    }
}

void kv_high_water(kv_pool *pool)
{
    if (kv_used_blocks(pool) > pool->high_water_blocks) pool->high_water_blocks = kv_used_blocks(pool);
}

kv_status kv_branch_append_many(kv_pool *pool, const kv_branch *branches, const uint32_t *num_tokens, uint32_t count,
                                kv_append *appends)
{
    kv_status status = prepare(pool, branches, num_tokens, count);
    if (status != KV_OK) return kv_pool_refuse(pool, status);
    pool->num_released = 0;
    if (pool->config.evicts) take_over(pool, branches, count);
    for (uint32_t i = 0; i < count; i++) commit_append(pool, branches[i], num_tokens[i], &appends[i]);
    kv_high_water(pool);
    pool->operations++;
    return KV_OK;
}

kv_status kv_branch_append(kv_pool *pool, kv_branch branch, uint32_t num_tokens, kv_append *append)
{
    return kv_branch_append_many(pool, &branch, &num_tokens, 1, append);
}

/* ---- truncate, adopt, reserve ---- */

kv_status kv_branch_truncate(kv_pool *pool, kv_branch branch, uint32_t length)
{
    kv_record *record = kv_find(pool, branch);
    if (!record) return kv_pool_refuse(pool, KV_STALE);
    if (length > longest(pool, record)) return kv_pool_refuse(pool, KV_RANGE);
    pool->num_released = 0;
    kv_set_credit(pool, record, 0, 0);
    pool->operations++;
    if (length == longest(pool, record)) return KV_OK;
    uint32_t table_length = child_length(pool, record, length);
    kv_tail_detach(pool, kv_index_of(pool, record));
    drop_from(pool, record, kv_blocks_of(pool, table_length));
    shrink_table(pool, record, record->num_blocks);
    if (table_length < record->length) record->version = ++pool->version;
    kv_set_length(pool, record, table_length);
    kv_tail_attach(pool, kv_index_of(pool, record), KV_NO_RECORD);
    if (pool->config.evicts) kv_forget_from(pool, record, length);
    return KV_OK;
}

static void swap_tables(kv_record *a, kv_record *b)
{
    uint32_t *blocks = a->blocks;
    uint64_t *words = a->words;
    uint32_t capacity = a->capacity;
    a->blocks = b->blocks;
    a->words = b->words;
    a->capacity = b->capacity;
    b->blocks = blocks;
    b->words = words;
    b->capacity = capacity;
}

kv_status kv_branch_adopt(kv_pool *pool, kv_branch branch, kv_branch winner)
{
    kv_record *record = kv_find(pool, branch), *taken = kv_find(pool, winner);
    if (!record || !taken) return kv_pool_refuse(pool, KV_STALE);
    if (record == taken) return kv_pool_refuse(pool, KV_INVAL);
    pool->num_released = 0;
    kv_tail_detach(pool, kv_index_of(pool, record));
    kv_tail_detach(pool, kv_index_of(pool, taken));
    drop_from(pool, record, 0);
    swap_tables(record, taken);
    record->num_blocks = taken->num_blocks; /* moved, so the sums over the tables are unchanged */
    record->num_kept = taken->num_kept;
    record->next_position = taken->next_position;
    record->first_private = taken->first_private;
    taken->num_blocks = taken->num_kept = 0;
    kv_set_length(pool, record, taken->length);
    kv_set_length(pool, taken, 0);
    kv_set_credit(pool, record, 0, 0);
    kv_set_credit(pool, taken, 0, 0);
    kv_tail_attach(pool, kv_index_of(pool, record), KV_NO_RECORD);
    record->version = ++pool->version;
    death(pool, taken);
    kv_bury(pool, record);
    pool->operations++;
    return KV_OK;
}

/* 1: a copy after later forks; must_copy: one that is due already. */
uint32_t kv_credit_needed(const kv_pool *pool, const kv_record *record, uint32_t num_tokens)
{
    if (num_tokens == 0) return 0;
    uint32_t end = end_of(pool, record), needed = kv_blocks_of(pool, (uint64_t)end + num_tokens);
    return needed - blocks_at_end(record, end) + 1 + must_copy(pool, record, num_tokens);
}

kv_status kv_branch_reserve(kv_pool *pool, kv_branch branch, uint32_t num_tokens)
{
    kv_record *record = kv_find(pool, branch);
    if (!record) return kv_pool_refuse(pool, KV_STALE);
    uint64_t length = record->length;
    if (length < record->next_position) length = record->next_position;
    if (length + num_tokens > KV_MAX_LENGTH) return kv_pool_refuse(pool, KV_RANGE);
    uint32_t credit = kv_credit_needed(pool, record, num_tokens);
    uint64_t others = pool->reserved_blocks - record->credit_blocks;
    if (others + credit > pool->num_free) return kv_pool_refuse(pool, KV_NOBLOCKS);
    kv_set_credit(pool, record, num_tokens, credit);
    pool->operations++;
    return KV_OK;
}

/* ---- views ---- */

static kv_table view(const kv_record *record)
{
    return (kv_table){record->blocks, record->num_blocks, record->length, record->version};
}

kv_status kv_branch_table(const kv_pool *pool, kv_branch branch, kv_table *table)
{
    const kv_record *record = kv_find(pool, branch);
    if (!record) return KV_STALE;
    *table = view(record);
    return KV_OK;
}

kv_status kv_branch_tables(const kv_pool *pool, const kv_branch *branches, uint32_t count, kv_table *tables)
{
    for (uint32_t i = 0; i < count; i++)
        if (!kv_find(pool, branches[i])) return KV_STALE;
    for (uint32_t i = 0; i < count; i++) tables[i] = view(kv_find(pool, branches[i]));
    return KV_OK;
}
