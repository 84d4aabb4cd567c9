/* Eviction: a branch clears its own bits. What follows for blocks and tables is in kv_keep.c. */
#include "kv_evict.h"
#include "kv_pool_internal.h"

#include <string.h>

const char *const kv_scope_name[KV_NUM_SCOPES] = {"private", "mask", "vote"};

/* ---- views ---- */

static kv_keep view(const kv_pool *pool, const kv_record *record)
{
    return (kv_keep){record->words,    pool->words_per_block, record->num_blocks,
                     record->num_kept, record->next_position, record->first_private};
}

kv_status kv_branch_keep(const kv_pool *pool, kv_branch branch, kv_keep *keep)
{
    return kv_branch_keeps(pool, &branch, 1, keep);
}

kv_status kv_branch_keeps(const kv_pool *pool, const kv_branch *branches, uint32_t count, kv_keep *keeps)
{
    if (!pool->config.evicts) return KV_INVAL;
    for (uint32_t i = 0; i < count; i++)
        if (!kv_find(pool, branches[i])) return KV_STALE;
    for (uint32_t i = 0; i < count; i++) keeps[i] = view(pool, kv_find(pool, branches[i]));
    return KV_OK;
}

const uint32_t *kv_pool_positions(const kv_pool *pool)
{
    return pool->positions;
}

/* Four numbers at once, on any machine. */
typedef uint32_t four __attribute__((vector_size(16)));

/* Whether a slot of the block has this position, kept or not. */
static bool any_at(const kv_pool *pool, uint32_t block, uint32_t position)
{
    uint32_t block_tokens = pool->config.block_tokens, i = 0, equal = 0;
    const uint32_t *positions = pool->positions + (uint64_t)block * block_tokens;
    const four wanted = {position, position, position, position};
    four equals = {0};
    for (; i + 4 <= block_tokens; i += 4) {
        four some;
        memcpy(&some, positions + i, sizeof some);
        equals |= (four)(some == wanted);
    }
    for (; i < block_tokens; i++) equal |= positions[i] == position;
    return equal || equals[0] | equals[1] | equals[2] | equals[3];
}

kv_status kv_branch_find(const kv_pool *pool, kv_branch branch, uint32_t position, uint32_t *slot)
{
    if (!pool->config.evicts) return KV_INVAL;
    const kv_record *record = kv_find(pool, branch);
    if (!record) return KV_STALE;
    uint32_t block_tokens = pool->config.block_tokens;
    for (uint32_t i = record->num_blocks; i-- > 0;) { /* own tokens, the usual victims, are at the end */
        if (!any_at(pool, record->blocks[i], position)) continue;
        for (uint32_t s = i * block_tokens; s < (i + 1) * block_tokens; s++) {
            if (pool->positions[kv_place(pool, record, s)] != position || !kv_keeps_slot(pool, record, s)) continue;
            *slot = s;
            return KV_OK;
        }
    }
    return KV_RANGE;
}

/* ---- one branch ---- */

static kv_status may_evict(const kv_pool *pool, const kv_record *record, kv_scope scope, uint32_t slot)
{
    if (slot >= record->length) return KV_RANGE;
    if (!kv_keeps_slot(pool, record, slot)) return KV_INVAL;
    bool inherited = pool->positions[kv_place(pool, record, slot)] < record->first_private;
    return scope == KV_SCOPE_PRIVATE && inherited ? KV_INVAL : KV_OK;
}

static void remember(kv_pool *pool, kv_record *record, const uint32_t *slots, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) kv_keep_token(pool, record, slots[i]);
    pool->dead = KV_DEAD_NONE; /* each block has its keepers back */
}

kv_status kv_branch_evict(kv_pool *pool, kv_branch branch, kv_scope scope, const uint32_t *slots, uint32_t count)
{
    kv_record *record = kv_find(pool, branch);
    if (!pool->config.evicts) return kv_pool_refuse(pool, KV_INVAL);
    if (!record) return kv_pool_refuse(pool, KV_STALE);
    if (scope != KV_SCOPE_PRIVATE && scope != KV_SCOPE_MASK) return kv_pool_refuse(pool, KV_INVAL);
    for (uint32_t i = 0; i < count; i++) { /* a slot named twice is not kept the second time */
        kv_status status = may_evict(pool, record, scope, slots[i]);
        if (status != KV_OK) {
            remember(pool, record, slots, i);
            return kv_pool_refuse(pool, status);
        }
        kv_forget_token(pool, record, slots[i]);
    }
    pool->num_released = 0;
    pool->evicted_tokens += count;
    kv_bury(pool, record);
    pool->operations++;
    return KV_OK;
}

kv_status kv_branch_thaw(kv_pool *pool, kv_branch branch)
{
    kv_record *record = kv_find(pool, branch);
    if (!pool->config.evicts) return kv_pool_refuse(pool, KV_INVAL);
    if (!record) return kv_pool_refuse(pool, KV_STALE);
    uint32_t first = 0, shared = kv_num_shared(pool, record) * pool->config.block_tokens;
    for (uint32_t slot = 0; slot < shared && slot < record->length; slot++) {
        uint32_t position = pool->positions[kv_place(pool, record, slot)];
        if (kv_keeps_slot(pool, record, slot) && position >= first) first = position + 1;
    }
    if (record->first_private > first) record->first_private = first;
    pool->operations++;
    return KV_OK;
}

/* ---- all branches that list a block ---- */

static void unlist(kv_pool *pool, const kv_branch *branches, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) kv_find(pool, branches[i])->listed = false;
}

/* The entry of the block in the branch's table; num_blocks if it is not listed. */
static uint32_t entry_of(const kv_record *record, uint32_t block)
{
    uint32_t index = 0;
    while (index < record->num_blocks && record->blocks[index] != block) index++;
    return index;
}

/* The slot in the tables of the voters, the same in all. */
static kv_status count_votes(kv_pool *pool, const kv_branch *branches, uint32_t count, uint32_t block, uint32_t slot,
                             uint32_t *table_slot)
{
    uint32_t counted = 0, votes = 0, index = 0;
    kv_status status = KV_OK;
    for (; counted < count; counted++) {
        kv_record *record = kv_find(pool, branches[counted]);
        if (!record)
            status = KV_STALE;
        else if (record->listed)
            status = KV_INVAL;
        if (status != KV_OK) break;
        record->listed = true;
        if (counted == 0) index = entry_of(record, block);
        *table_slot = index * pool->config.block_tokens + slot;
        bool lists = index < record->num_blocks && record->blocks[index] == block;
        if (lists)
            votes += kv_keeps_slot(pool, record, *table_slot);
        else
            status = KV_INVAL;
    }
    unlist(pool, branches, counted);
    if (status != KV_OK) return status;
    return votes == 0 || count < pool->ref[block] ? KV_INVAL : KV_OK;
}

kv_status kv_evict_shared(kv_pool *pool, const kv_branch *branches, uint32_t count, uint32_t block, uint32_t slot)
{
    if (!pool->config.evicts) return kv_pool_refuse(pool, KV_INVAL);
    if (block >= pool->config.num_blocks || slot >= pool->config.block_tokens) return kv_pool_refuse(pool, KV_RANGE);
    uint32_t table_slot = 0;
    kv_status status = count_votes(pool, branches, count, block, slot, &table_slot);
    if (status != KV_OK) return kv_pool_refuse(pool, status);
    pool->num_released = 0;
    kv_record *last = NULL;
    for (uint32_t i = 0; i < count; i++) {
        kv_record *record = kv_find(pool, branches[i]);
        if (!kv_keeps_slot(pool, record, table_slot)) continue;
        kv_forget_token(pool, record, table_slot);
        pool->evicted_tokens++;
        last = record;
    }
    kv_bury(pool, last);
    pool->operations++;
    return KV_OK;
}
