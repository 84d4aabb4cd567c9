/* Keep words: the bits, the count of branches that keep a block, and dead blocks. The inside of kv_evict.h.
 *
 * Price, in a pool that evicts: 4 bytes for each slot and each block of the pool; 8 * words_per_block for each table
 * entry. */
#include "kv_pool_internal.h"

#include <assert.h>
#include <string.h>

/* ---- bits ---- */

static uint32_t bits_in(const uint64_t *words, uint32_t count)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < count; i++) bits += (uint32_t)__builtin_popcountll(words[i]);
    return bits;
}

uint32_t kv_kept_in(const kv_pool *pool, const kv_record *record, uint32_t index)
{
    return bits_in(kv_words(pool, record, index), pool->words_per_block);
}

static bool keeps_any(const kv_pool *pool, const kv_record *record, uint32_t index)
{
    const uint64_t *words = kv_words(pool, record, index);
    for (uint32_t i = 0; i < pool->words_per_block; i++)
        if (words[i] != 0) return true;
    return false;
}

static void add_kept(kv_pool *pool, kv_record *record, uint32_t tokens)
{
    record->num_kept += tokens;
    pool->kept_tokens += tokens;
}

static void lose_kept(kv_pool *pool, kv_record *record, uint32_t tokens)
{
    record->num_kept -= tokens;
    pool->kept_tokens -= tokens;
}

static void lose_keeper(kv_pool *pool, uint32_t block)
{
    if (--pool->keepers[block] > 0) return;
    if (pool->ref[block] > 1)
        pool->dead = KV_DEAD_SHARED;
    else if (pool->dead == KV_DEAD_NONE)
        pool->dead = KV_DEAD_OWN;
}

void kv_keep_token(kv_pool *pool, kv_record *record, uint32_t slot)
{
    uint32_t index = slot / pool->config.block_tokens, bit = slot & (pool->config.block_tokens - 1);
    assert(!kv_keeps_slot(pool, record, slot) && "a token is written where none is kept");
    if (!keeps_any(pool, record, index)) pool->keepers[record->blocks[index]]++;
    kv_words(pool, record, index)[bit / 64] |= UINT64_C(1) << bit % 64;
    add_kept(pool, record, 1);
}

void kv_forget_token(kv_pool *pool, kv_record *record, uint32_t slot)
{
    uint32_t index = slot / pool->config.block_tokens, bit = slot & (pool->config.block_tokens - 1);
    assert(kv_keeps_slot(pool, record, slot) && "a token is forgotten once");
    kv_words(pool, record, index)[bit / 64] &= ~(UINT64_C(1) << bit % 64);
    if (!keeps_any(pool, record, index)) lose_keeper(pool, record->blocks[index]);
    lose_kept(pool, record, 1);
}

void kv_forget_blocks(kv_pool *pool, kv_record *record, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++) {
        uint32_t kept = kv_kept_in(pool, record, i);
        if (kept == 0) continue;
        memset(kv_words(pool, record, i), 0, pool->words_per_block * sizeof *record->words);
        lose_keeper(pool, record->blocks[i]);
        lose_kept(pool, record, kept);
    }
}

void kv_write_tokens(kv_pool *pool, kv_record *record, uint32_t first, uint32_t count)
{
    for (uint32_t slot = first; slot < first + count; slot++) {
        kv_keep_token(pool, record, slot);
        pool->positions[kv_place(pool, record, slot)] = record->next_position++;
    }
}

void kv_copy_keeper(kv_pool *pool, const kv_copy *copy)
{
    uint64_t block_tokens = pool->config.block_tokens;
    memcpy(pool->positions + copy->to_block * block_tokens, pool->positions + copy->from_block * block_tokens,
           copy->num_tokens * sizeof *pool->positions);
    pool->keepers[copy->from_block]--;
    pool->keepers[copy->to_block] = 1;
}

void kv_keep_loaded(kv_pool *pool, kv_record *record)
{
    for (uint32_t i = 0; i < record->num_blocks; i++) {
        uint32_t kept = kv_kept_in(pool, record, i);
        pool->keepers[record->blocks[i]] += kept > 0;
        add_kept(pool, record, kept);
    }
}

/* ---- holes ---- */

uint32_t kv_num_shared(const kv_pool *pool, const kv_record *record)
{
    uint32_t low = 0, high = record->num_blocks; /* entries below `low` are shared, those from `high` on are not */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (pool->ref[record->blocks[middle]] > 1)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t kv_lowest_hole(const kv_pool *pool, const kv_record *record)
{
    if (record->num_kept == record->length) return KV_NO_HOLE;
    uint32_t per_block = pool->words_per_block, block_tokens = pool->config.block_tokens;
    uint64_t at = (uint64_t)kv_num_shared(pool, record) * per_block, end = (uint64_t)record->num_blocks * per_block;
    uint64_t full = block_tokens < 64 ? (UINT64_C(1) << block_tokens) - 1 : UINT64_MAX;
    while (at + per_block < end && record->words[at] == full) at++;
    for (; at < end; at++) {
        uint32_t index = (uint32_t)(at / per_block), w = (uint32_t)(at % per_block);
        uint64_t holes = ~record->words[at] & kv_written_bits(pool, record, index, w);
        if (holes != 0) return index * block_tokens + w * 64 + (uint32_t)__builtin_ctzll(holes);
    }
    return KV_NO_HOLE;
}

/* ---- positions below a limit ---- */

uint32_t kv_kept_length(const kv_pool *pool, const kv_record *record, uint32_t limit)
{
    if (limit == record->next_position) return record->length;
    uint32_t length = record->length;
    for (; length > 0; length--)
        if (kv_keeps_slot(pool, record, length - 1) && pool->positions[kv_place(pool, record, length - 1)] < limit)
            break;
    return length;
}

void kv_inherit(kv_pool *pool, kv_record *child, const kv_record *parent, uint32_t limit)
{
    size_t bytes = (size_t)child->num_blocks * pool->words_per_block * sizeof *child->words;
    if (bytes > 0) memcpy(child->words, parent->words, bytes);
    child->next_position = child->first_private = limit;
    bool all = limit == parent->next_position;
    uint32_t slots = child->num_blocks * pool->config.block_tokens;
    for (uint32_t slot = 0; !all && slot < slots; slot++) {
        uint32_t bit = slot & (pool->config.block_tokens - 1);
        if (kv_keeps_slot(pool, child, slot) && pool->positions[kv_place(pool, child, slot)] >= limit)
            kv_words(pool, child, slot / pool->config.block_tokens)[bit / 64] &= ~(UINT64_C(1) << bit % 64);
    }
    kv_keep_loaded(pool, child);
}

void kv_forget_from(kv_pool *pool, kv_record *record, uint32_t limit)
{
    uint32_t slots = record->num_blocks * pool->config.block_tokens; /* the last block's bits behind its new end, too */
    for (uint32_t slot = 0; slot < slots; slot++)
        if (kv_keeps_slot(pool, record, slot) && pool->positions[kv_place(pool, record, slot)] >= limit)
            kv_forget_token(pool, record, slot);
    record->next_position = limit;
    if (record->first_private > limit) record->first_private = limit;
    kv_bury(pool, record);
}

/* ---- blocks that leave tables ---- */

/* A block leaves if no branch keeps a token of it; or if it is `taken` and this branch keeps none. */
static bool leaves(const kv_pool *pool, const kv_record *record, uint32_t index, uint32_t taken)
{
    uint32_t block = record->blocks[index];
    return pool->keepers[block] == 0 || (block == taken && !keeps_any(pool, record, index));
}

static void close_up(kv_pool *pool, kv_record *record, uint32_t taken)
{
    uint32_t staying = 0;
    for (uint32_t i = 0; i < record->num_blocks; i++) {
        if (leaves(pool, record, i, taken)) continue;
        record->blocks[staying] = record->blocks[i];
        memmove(kv_words(pool, record, staying), kv_words(pool, record, i),
                pool->words_per_block * sizeof *record->words);
        staying++;
    }
}

/* True if the table has changed. */
static bool drop_leaving(kv_pool *pool, kv_record *record, uint32_t taken)
{
    uint32_t num_blocks = record->num_blocks, staying = 0;
    for (uint32_t i = 0; i < num_blocks; i++) staying += !leaves(pool, record, i, taken);
    if (staying == num_blocks) return false;
    uint32_t empty = num_blocks * pool->config.block_tokens - record->length; /* slots at the end, never written */
    if (leaves(pool, record, num_blocks - 1, taken)) empty = 0;
    kv_tail_detach(pool, kv_index_of(pool, record));
    for (uint32_t i = num_blocks; i-- > 0;)
        if (leaves(pool, record, i, taken)) kv_blocks_drop(pool, &record->blocks[i], 1);
    close_up(pool, record, taken);
    kv_set_num_blocks(pool, record, staying);
    kv_set_length(pool, record, staying * pool->config.block_tokens - empty);
    kv_tail_attach(pool, kv_index_of(pool, record), KV_NO_RECORD);
    record->version = ++pool->version;
    uint32_t needed = kv_credit_needed(pool, record, record->promised_tokens);
    if (record->credit_blocks > needed) kv_set_credit(pool, record, record->promised_tokens, needed);
    return true;
}

/* The promise of a branch whose own call has made its table shorter may need a block more, for new tokens in place of
 * those that its last block had room for: from the free blocks that are not promised. Without open epochs, the call has
 * freed one. */
static void renew(kv_pool *pool, kv_record *record)
{
    uint32_t lacking = kv_credit_needed(pool, record, record->promised_tokens) - record->credit_blocks;
    uint32_t unpromised = pool->num_free - pool->reserved_blocks;
    if (lacking > unpromised) lacking = unpromised;
    kv_set_credit(pool, record, record->promised_tokens, record->credit_blocks + lacking);
}

void kv_bury(kv_pool *pool, kv_record *record)
{
    kv_dead dead = pool->dead;
    pool->dead = KV_DEAD_NONE;
    if (dead == KV_DEAD_NONE) return;
    bool changed = record->live && drop_leaving(pool, record, KV_NO_BLOCK);
    for (uint32_t i = 0; dead == KV_DEAD_SHARED && i < pool->num_records; i++)
        if (pool->records[i].live) drop_leaving(pool, &pool->records[i], KV_NO_BLOCK);
    if (changed) renew(pool, record);
}

void kv_take_over(kv_pool *pool, const kv_record *record)
{
    uint32_t block = record->blocks[record->num_blocks - 1];
    for (uint32_t i = 0; i < pool->num_records; i++)
        if (pool->records[i].live) drop_leaving(pool, &pool->records[i], block);
}
