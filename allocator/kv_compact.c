/* Compaction: kept tokens move together, so that blocks become free. The moves are instructions, as copies are. */
#include "kv_evict.h"
#include "kv_pool_internal.h"

#include <assert.h>
#include <string.h>

/* ---- moves ---- */

/* A token of the branch goes to a slot of its table in which nothing is kept. Its position goes with it. */
static kv_move move_token(kv_pool *pool, kv_record *record, uint32_t from, uint32_t to)
{
    uint32_t block_tokens = pool->config.block_tokens;
    kv_move move = {record->blocks[from / block_tokens], from & (block_tokens - 1), record->blocks[to / block_tokens],
                    to & (block_tokens - 1)};
    uint32_t position = pool->positions[kv_place(pool, record, from)];
    kv_forget_token(pool, record, from);
    kv_keep_token(pool, record, to);
    pool->positions[kv_place(pool, record, to)] = position;
    pool->moved_tokens++;
    return move;
}

/* ---- blocks of the branch alone ---- */

enum { MAX_KEPT = 256 }; /* in a block */

/* The emptiest blocks are emptied; of equally full ones, the last. A table entry is a source if it keeps fewer tokens
 * than `kept`, or as many and is among the last num_ties of those. */
typedef struct sources {
    uint32_t first, num_sources, num_moves; /* among the entries from `first` on */
    uint32_t kept, num_ties;
} sources;

static sources choose_sources(const kv_pool *pool, const kv_record *record)
{
    uint32_t num_with[MAX_KEPT + 1] = {0}, tokens = 0;
    sources s = {.first = kv_num_shared(pool, record)};
    for (uint32_t i = s.first; i < record->num_blocks; i++) {
        uint32_t kept = kv_kept_in(pool, record, i);
        num_with[kept]++;
        tokens += kept;
    }
    uint32_t left = record->num_blocks - s.first - kv_blocks_of(pool, tokens);
    s.num_sources = left;
    for (; left > num_with[s.kept]; s.kept++) {
        left -= num_with[s.kept];
        s.num_moves += num_with[s.kept] * s.kept;
    }
    s.num_ties = left;
    s.num_moves += left * s.kept;
    return s;
}

/* Marks in `leaving`, scratch that is 0 between calls: 1 for a source. */
static void mark_sources(kv_pool *pool, const kv_record *record, const sources *s)
{
    uint32_t ties = s->num_ties;
    for (uint32_t i = record->num_blocks; i-- > s->first;) {
        uint32_t kept = kv_kept_in(pool, record, i);
        bool tie = kept == s->kept && ties > 0;
        ties -= tie;
        pool->leaving[record->blocks[i]] = kept < s->kept || tie;
    }
}

/* The first slot from `slot` on in a block that is no source, in which nothing is kept. */
static uint32_t next_target(const kv_pool *pool, const kv_record *record, uint32_t slot)
{
    uint32_t block_tokens = pool->config.block_tokens;
    for (;; slot++) {
        if (slot % block_tokens == 0)
            while (pool->leaving[record->blocks[slot / block_tokens]]) slot += block_tokens;
        if (!kv_keeps_slot(pool, record, slot)) return slot;
    }
}

static void set_longer(kv_pool *pool, kv_record *record, uint32_t length)
{
    if (length <= record->length) return;
    kv_tail_detach(pool, kv_index_of(pool, record));
    kv_set_length(pool, record, length);
    kv_tail_attach(pool, kv_index_of(pool, record), KV_NO_RECORD);
}

static void empty_sources(kv_pool *pool, kv_record *record, const sources *s, kv_move *moves)
{
    uint32_t block_tokens = pool->config.block_tokens, moved = 0, to = s->first * block_tokens;
    for (uint32_t i = s->first; i < record->num_blocks; i++) {
        if (!pool->leaving[record->blocks[i]]) continue;
        for (uint32_t slot = i * block_tokens; slot < (i + 1) * block_tokens; slot++) {
            if (!kv_keeps_slot(pool, record, slot)) continue;
            to = next_target(pool, record, to);
            moves[moved++] = move_token(pool, record, slot, to);
        }
    }
    assert(moved == s->num_moves && "a compaction moves what it counted");
    for (uint32_t i = s->first; i < record->num_blocks; i++) pool->leaving[record->blocks[i]] = 0;
    set_longer(pool, record, to + 1); /* the last block may have been filled beyond its end */
}

kv_status kv_branch_compact(kv_pool *pool, kv_branch branch, kv_move *moves, uint32_t max_moves, uint32_t *num_moves)
{
    kv_record *record = kv_find(pool, branch);
    *num_moves = 0;
    if (!pool->config.evicts) return kv_pool_refuse(pool, KV_INVAL);
    if (!record) return kv_pool_refuse(pool, KV_STALE);
    sources s = choose_sources(pool, record);
    *num_moves = s.num_moves;
    if (s.num_moves > max_moves) return kv_pool_refuse(pool, KV_RANGE);
    pool->num_released = 0;
    if (s.num_sources > 0) {
        mark_sources(pool, record, &s);
        empty_sources(pool, record, &s, moves);
        kv_bury(pool, record);
    }
    pool->operations++;
    return KV_OK;
}

/* ---- shared blocks ---- */

/* Entries [first, end) of a table, all shared, and the new blocks in their place. */
typedef struct replacement {
    uint32_t first, end, num_new, num_moves;
    uint32_t length; /* of the table afterwards */
} replacement;

static replacement plan_replacement(const kv_pool *pool, const kv_record *record, uint32_t first)
{
    replacement r = {.first = first, .end = kv_num_shared(pool, record)};
    if (r.end < r.first) r.end = r.first;
    for (uint32_t i = r.first; i < r.end; i++) r.num_moves += kv_kept_in(pool, record, i);
    r.num_new = kv_blocks_of(pool, r.num_moves);
    r.length = r.first * pool->config.block_tokens + r.num_moves;
    uint32_t gone = r.end - r.first - r.num_new; /* entries by which the table becomes shorter */
    if (r.end < record->num_blocks) r.length = record->length - gone * pool->config.block_tokens;
    return r;
}

/* Blocks for its promise: as kv_credit_needed with the new length. */
static uint32_t credit_afterwards(const kv_pool *pool, const kv_record *record, const replacement *r)
{
    if (record->promised_tokens == 0) return 0;
    uint64_t length = r->length;
    return kv_blocks_of(pool, length + record->promised_tokens) - kv_blocks_of(pool, length) + 1;
}

/* The kept tokens of entry `index` go to the slots from `to` on, in new blocks. Those begin no later in the table, so
 * entries that are not read yet stay as they are. */
static uint32_t move_entry(kv_pool *pool, kv_record *record, uint32_t index, uint32_t to, kv_move *moves)
{
    uint32_t block_tokens = pool->config.block_tokens, old = record->blocks[index], moved = 0;
    uint64_t words[MAX_KEPT / 64];
    memcpy(words, kv_words(pool, record, index), pool->words_per_block * sizeof *words);
    kv_forget_blocks(pool, record, index, index + 1);
    kv_blocks_drop(pool, &old, 1);
    for (uint32_t bit = 0; bit < block_tokens; bit++) {
        if (!(words[bit / 64] >> bit % 64 & 1)) continue;
        uint32_t slot = to + moved, *block = &record->blocks[slot / block_tokens];
        if (slot % block_tokens == 0) {
            kv_blocks_take(pool, block, 1);
            memset(pool->positions + kv_place(pool, record, slot), 0, block_tokens * sizeof *pool->positions);
        }
        kv_keep_token(pool, record, slot);
        pool->positions[kv_place(pool, record, slot)] = pool->positions[(uint64_t)old * block_tokens + bit];
        moves[moved++] = (kv_move){old, bit, *block, slot % block_tokens};
    }
    return moved;
}

static void replace_shared(kv_pool *pool, kv_record *record, const replacement *r, kv_move *moves)
{
    uint32_t moved = 0, behind = record->num_blocks - r->end, to = r->first + r->num_new;
    kv_tail_detach(pool, kv_index_of(pool, record));
    for (uint32_t i = r->first; i < r->end; i++)
        moved += move_entry(pool, record, i, r->first * pool->config.block_tokens + moved, moves + moved);
    assert(moved == r->num_moves && "a compaction moves what it counted");
    memmove(record->blocks + to, record->blocks + r->end, behind * sizeof *record->blocks);
    memmove(kv_words(pool, record, to), kv_words(pool, record, r->end),
            (size_t)behind * pool->words_per_block * sizeof *record->words);
    kv_set_num_blocks(pool, record, to + behind);
    kv_set_length(pool, record, r->length);
    kv_tail_attach(pool, kv_index_of(pool, record), KV_NO_RECORD);
    record->version = ++pool->version;
    pool->moved_tokens += moved;
}

kv_status kv_branch_compact_shared(kv_pool *pool, kv_branch branch, uint32_t first_index, kv_move *moves,
                                   uint32_t max_moves, uint32_t *num_moves)
{
    kv_record *record = kv_find(pool, branch);
    *num_moves = 0;
    if (!pool->config.evicts) return kv_pool_refuse(pool, KV_INVAL);
    if (!record) return kv_pool_refuse(pool, KV_STALE);
    if (first_index > record->num_blocks) return kv_pool_refuse(pool, KV_RANGE);
    replacement r = plan_replacement(pool, record, first_index);
    *num_moves = r.num_moves;
    if (r.num_moves > max_moves) return kv_pool_refuse(pool, KV_RANGE);
    uint32_t credit = credit_afterwards(pool, record, &r);
    uint64_t promised = (uint64_t)pool->reserved_blocks - record->credit_blocks + credit;
    if (r.first < r.end && promised + r.num_new > pool->num_free) return kv_pool_refuse(pool, KV_NOBLOCKS);
    pool->num_released = 0;
    if (r.first < r.end) {
        kv_set_credit(pool, record, record->promised_tokens, credit);
        replace_shared(pool, record, &r, moves);
        kv_high_water(pool);
        kv_bury(pool, record);
    }
    pool->operations++;
    return KV_OK;
}
