/* Block tables: fork, append, truncate, adopt, prune. Every call counts first, then takes; from its first take on
 * nothing can fail, so there is no rollback code. */
#include "kv_pool_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static kv_slot *find(const kv_pool *pool, kv_branch branch)
{
    uint32_t index = (uint32_t)branch;
    if (index >= pool->num_slots) return NULL;
    kv_slot *slot = &pool->slots[index];
    return slot->live && slot->generation == branch >> 32 ? slot : NULL;
}

static uint32_t index_of(const kv_pool *pool, const kv_slot *slot)
{
    return (uint32_t)(slot - pool->slots);
}

static void set_length(kv_pool *pool, kv_slot *slot, uint32_t length)
{
    pool->logical_tokens += (uint64_t)length - slot->length;
    slot->length = length;
}

static void set_num_blocks(kv_pool *pool, kv_slot *slot, uint32_t num_blocks)
{
    pool->table_blocks += (uint64_t)num_blocks - slot->num_blocks;
    slot->num_blocks = num_blocks;
}

static void set_credit(kv_pool *pool, kv_slot *slot, uint32_t promised_tokens, uint32_t credit_blocks)
{
    pool->reserved_blocks += credit_blocks - slot->credit_blocks;
    slot->promised_tokens = promised_tokens;
    slot->credit_blocks = credit_blocks;
}

/* ---- room on the host; nothing that a dump shows changes ---- */

static kv_status grow_table(kv_slot *slot, uint64_t num_blocks)
{
    if (num_blocks <= slot->capacity) return KV_OK;
    uint64_t capacity = slot->capacity < 4 ? 8 : (uint64_t)slot->capacity * 2;
    if (capacity < num_blocks) capacity = num_blocks;
    if (capacity > UINT32_MAX || capacity > SIZE_MAX / sizeof(uint32_t)) return KV_NOMEM;
    slot->grown = malloc((size_t)capacity * sizeof *slot->grown);
    if (!slot->grown) return KV_NOMEM;
    slot->grown_capacity = (uint32_t)capacity;
    return KV_OK;
}

/* The caller's view of the old table dies here, with the change, and not in a call that fails later. */
static void use_grown_table(kv_slot *slot)
{
    if (!slot->grown) return;
    if (slot->num_blocks > 0) memcpy(slot->grown, slot->blocks, slot->num_blocks * sizeof *slot->blocks);
    free(slot->blocks);
    slot->blocks = slot->grown;
    slot->capacity = slot->grown_capacity;
    slot->grown = NULL;
}

/* A table has memory for at most 4 times its blocks, or for a few; where giving the rest back needs memory and there is
 * none, it stays. */
static void shrink_table(kv_slot *slot, uint32_t num_blocks)
{
    enum { FEW = 64 };
    uint64_t enough = num_blocks < FEW / 2 ? FEW : 2 * (uint64_t)num_blocks;
    if (slot->capacity <= 2 * enough) return;
    uint32_t *blocks = realloc(slot->blocks, (size_t)enough * sizeof *blocks);
    if (!blocks) return;
    slot->blocks = blocks;
    slot->capacity = (uint32_t)enough;
}

/* ---- life and death of a slot ---- */

/* A dead slot with room for num_blocks, not yet taken: birth() follows. */
static kv_status dead_slot(kv_pool *pool, uint32_t num_blocks, uint32_t *index)
{
    if (pool->num_live == pool->config.max_branches) return KV_NOBRANCH;
    bool unused = pool->free_slot == KV_NO_SLOT;
    *index = unused ? pool->num_slots : pool->free_slot;
    if (unused) {
        kv_status status = kv_slots_reserve(pool, pool->num_slots + 1);
        if (status != KV_OK) return status;
        memset(&pool->slots[*index], 0, sizeof(kv_slot));
    }
    kv_slot *slot = &pool->slots[*index];
    kv_status status = grow_table(slot, num_blocks);
    if (status != KV_OK) return status;
    pool->kept_entries -= slot->capacity;
    use_grown_table(slot);
    shrink_table(slot, num_blocks);
    return KV_OK;
}

static void birth(kv_pool *pool, uint32_t index)
{
    kv_slot *slot = &pool->slots[index];
    if (index == pool->num_slots) {
        pool->num_slots++;
        slot->generation = 1;
    } else {
        pool->free_slot = slot->next;
    }
    slot->live = true;
    slot->version = ++pool->version;
    pool->num_live++;
}

static void drop_from(kv_pool *pool, kv_slot *slot, uint32_t num_kept)
{
    if (slot->num_blocks > num_kept) kv_blocks_drop(pool, slot->blocks + num_kept, slot->num_blocks - num_kept);
    set_num_blocks(pool, slot, num_kept);
}

/* Dead slots keep their tables, which the next fork fills without malloc, up to a total. */
static void keep_table(kv_pool *pool, kv_slot *slot)
{
    if (slot->generation == 0 || pool->kept_entries + (uint64_t)slot->capacity > KV_MAX_KEPT_ENTRIES) {
        free(slot->blocks);
        slot->blocks = NULL;
        slot->capacity = 0;
    }
    pool->kept_entries += slot->capacity;
}

static void death(kv_pool *pool, kv_slot *slot)
{
    slot->live = false;
    slot->generation++; /* 2^32 - 1 wraps to 0: no handle names this slot again */
    keep_table(pool, slot);
    pool->num_live--;
    if (slot->generation == 0) {
        pool->num_retired++;
        return;
    }
    slot->next = pool->free_slot;
    pool->free_slot = index_of(pool, slot);
}

/* ---- create, fork, prune ---- */

kv_status kv_branch_create(kv_pool *pool, kv_branch *branch)
{
    uint32_t index;
    kv_status status = dead_slot(pool, 0, &index);
    if (status != KV_OK) return kv_pool_refuse(pool, status);
    birth(pool, index);
    *branch = kv_handle(index, pool->slots[index].generation);
    pool->operations++;
    return KV_OK;
}

kv_status kv_branch_fork_at(kv_pool *pool, kv_branch branch, uint32_t length, kv_branch *child)
{
    kv_slot *parent = find(pool, branch);
    if (!parent) return kv_pool_refuse(pool, KV_STALE);
    if (length > parent->length) return kv_pool_refuse(pool, KV_RANGE);
    uint32_t num_blocks = kv_blocks_of(pool, length);
    uint32_t parent_index = index_of(pool, parent), index;
    kv_status status = dead_slot(pool, num_blocks, &index);
    if (status != KV_OK) return kv_pool_refuse(pool, status);

    parent = &pool->slots[parent_index]; /* the slots may have moved */
    kv_slot *slot = &pool->slots[index];
    birth(pool, index);
    if (num_blocks > 0) memcpy(slot->blocks, parent->blocks, num_blocks * sizeof *slot->blocks);
    kv_blocks_share(pool, slot->blocks, num_blocks);
    set_num_blocks(pool, slot, num_blocks);
    set_length(pool, slot, length);
    kv_tail_attach(pool, index, length == parent->length ? parent_index : KV_NO_SLOT);
    *child = kv_handle(index, slot->generation);
    pool->operations++;
    return KV_OK;
}

kv_status kv_branch_fork(kv_pool *pool, kv_branch branch, kv_branch *child)
{
    kv_slot *parent = find(pool, branch);
    if (!parent) return kv_pool_refuse(pool, KV_STALE);
    return kv_branch_fork_at(pool, branch, parent->length, child);
}

kv_status kv_branch_prune(kv_pool *pool, kv_branch branch)
{
    kv_slot *slot = find(pool, branch);
    if (!slot) return kv_pool_refuse(pool, KV_STALE);
    pool->num_released = 0;
    kv_tail_detach(pool, index_of(pool, slot));
    drop_from(pool, slot, 0);
    set_length(pool, slot, 0);
    set_credit(pool, slot, 0, 0);
    death(pool, slot);
    pool->operations++;
    return KV_OK;
}

/* ---- append: count, make room, take ---- */

/* What a list of appends asks of the pool. */
typedef struct demand {
    uint64_t blocks;   /* to be taken */
    uint64_t reserved; /* that must stay free for other promises afterwards */
} demand;

/* After an append the last block is the branch's own: of the credit for copies only a block for forks to come stays. */
static uint32_t credit_after(const kv_pool *pool, const kv_slot *slot, uint32_t num_tokens)
{
    if (num_tokens == 0) return slot->credit_blocks;
    if (num_tokens >= slot->promised_tokens) return 0;
    uint32_t left = slot->credit_blocks > slot->pending_blocks ? slot->credit_blocks - slot->pending_blocks : 0;
    uint32_t length = slot->length + num_tokens, last = slot->length + slot->promised_tokens;
    uint32_t needed = kv_blocks_of(pool, last) - kv_blocks_of(pool, length) + 1;
    return left < needed ? left : needed;
}

/* A shared block is copied by all listed branches but, if they are all its holders, the last of them. */
static bool must_copy(const kv_pool *pool, const kv_slot *slot, uint32_t num_tokens)
{
    if (num_tokens == 0 || kv_tail_tokens(pool, slot) == 0) return false;
    uint32_t block = slot->blocks[slot->num_blocks - 1];
    return pool->ref[block] - pool->leaving[block] > 1;
}

static kv_status count_append(kv_pool *pool, kv_branch branch, uint32_t num_tokens, demand *total)
{
    kv_slot *slot = find(pool, branch);
    if (!slot) return KV_STALE;
    if (slot->listed) return KV_INVAL;
    uint64_t length = (uint64_t)slot->length + num_tokens;
    if (length > KV_MAX_LENGTH) return KV_RANGE;
    slot->listed = true;
    slot->pending_blocks = kv_blocks_of(pool, length) - slot->num_blocks;
    if (must_copy(pool, slot, num_tokens)) {
        pool->leaving[slot->blocks[slot->num_blocks - 1]]++;
        slot->pending_blocks++;
    }
    total->blocks += slot->pending_blocks;
    total->reserved -= slot->credit_blocks - credit_after(pool, slot, num_tokens);
    return KV_OK;
}

static void forget_count(kv_pool *pool, kv_branch branch)
{
    kv_slot *slot = find(pool, branch);
    slot->listed = false;
    if (slot->num_blocks > 0) pool->leaving[slot->blocks[slot->num_blocks - 1]] = 0;
}

static void forget_growth(kv_pool *pool, const kv_branch *branches, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        kv_slot *slot = find(pool, branches[i]);
        free(slot->grown);
        slot->grown = NULL;
    }
}

static kv_status make_room(kv_pool *pool, const kv_branch *branches, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        kv_slot *slot = find(pool, branches[i]);
        kv_status status = grow_table(slot, (uint64_t)slot->num_blocks + slot->pending_blocks);
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

static kv_copy copy_tail(kv_pool *pool, kv_slot *slot)
{
    uint32_t last = slot->num_blocks - 1;
    kv_copy copy = {.from_block = slot->blocks[last], .num_tokens = kv_tail_tokens(pool, slot)};
    kv_blocks_take(pool, &slot->blocks[last], 1);
    copy.to_block = slot->blocks[last];
    kv_blocks_drop(pool, &copy.from_block, 1);
    slot->version = ++pool->version;
    pool->copies++;
    pool->copied_tokens += copy.num_tokens;
    return copy;
}

static void commit_append(kv_pool *pool, kv_branch branch, uint32_t num_tokens, kv_append *append)
{
    kv_slot *slot = find(pool, branch);
    *append = (kv_append){slot->num_blocks, slot->pending_blocks, {0, 0, 0}};
    use_grown_table(slot);
    set_credit(pool, slot, num_tokens < slot->promised_tokens ? slot->promised_tokens - num_tokens : 0,
               credit_after(pool, slot, num_tokens));
    uint32_t num_blocks = kv_blocks_of(pool, (uint64_t)slot->length + num_tokens);
    bool copied = must_copy(pool, slot, num_tokens);
    kv_tail_detach(pool, index_of(pool, slot));
    if (copied) {
        append->first_new_block--;
        append->copy = copy_tail(pool, slot);
    }
    if (num_blocks > slot->num_blocks)
        kv_blocks_take(pool, slot->blocks + slot->num_blocks, num_blocks - slot->num_blocks);
    assert(slot->pending_blocks == num_blocks - slot->num_blocks + copied && "an append takes what it counted");
    set_num_blocks(pool, slot, num_blocks);
    set_length(pool, slot, slot->length + num_tokens);
    kv_tail_attach(pool, index_of(pool, slot), KV_NO_SLOT);
}

kv_status kv_branch_append_many(kv_pool *pool, const kv_branch *branches, const uint32_t *num_tokens, uint32_t count,
                                kv_append *appends)
{
    kv_status status = prepare(pool, branches, num_tokens, count);
    if (status != KV_OK) return kv_pool_refuse(pool, status);
    pool->num_released = 0;
    for (uint32_t i = 0; i < count; i++) commit_append(pool, branches[i], num_tokens[i], &appends[i]);
    if (kv_used_blocks(pool) > pool->high_water_blocks) pool->high_water_blocks = kv_used_blocks(pool);
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
    kv_slot *slot = find(pool, branch);
    if (!slot) return kv_pool_refuse(pool, KV_STALE);
    if (length > slot->length) return kv_pool_refuse(pool, KV_RANGE);
    pool->num_released = 0;
    set_credit(pool, slot, 0, 0);
    pool->operations++;
    if (length == slot->length) return KV_OK;
    kv_tail_detach(pool, index_of(pool, slot));
    drop_from(pool, slot, kv_blocks_of(pool, length));
    shrink_table(slot, slot->num_blocks);
    set_length(pool, slot, length);
    kv_tail_attach(pool, index_of(pool, slot), KV_NO_SLOT);
    slot->version = ++pool->version;
    return KV_OK;
}

static void swap_tables(kv_slot *a, kv_slot *b)
{
    uint32_t *blocks = a->blocks;
    uint32_t capacity = a->capacity;
    a->blocks = b->blocks;
    a->capacity = b->capacity;
    b->blocks = blocks;
    b->capacity = capacity;
}

kv_status kv_branch_adopt(kv_pool *pool, kv_branch branch, kv_branch winner)
{
    kv_slot *slot = find(pool, branch), *taken = find(pool, winner);
    if (!slot || !taken) return kv_pool_refuse(pool, KV_STALE);
    if (slot == taken) return kv_pool_refuse(pool, KV_INVAL);
    pool->num_released = 0;
    kv_tail_detach(pool, index_of(pool, slot));
    kv_tail_detach(pool, index_of(pool, taken));
    drop_from(pool, slot, 0);
    swap_tables(slot, taken);
    slot->num_blocks = taken->num_blocks; /* moved, so the sum over the tables stays */
    taken->num_blocks = 0;
    set_length(pool, slot, taken->length);
    set_length(pool, taken, 0);
    set_credit(pool, slot, 0, 0);
    set_credit(pool, taken, 0, 0);
    kv_tail_attach(pool, index_of(pool, slot), KV_NO_SLOT);
    slot->version = ++pool->version;
    death(pool, taken);
    pool->operations++;
    return KV_OK;
}

kv_status kv_branch_reserve(kv_pool *pool, kv_branch branch, uint32_t num_tokens)
{
    kv_slot *slot = find(pool, branch);
    if (!slot) return kv_pool_refuse(pool, KV_STALE);
    uint64_t length = (uint64_t)slot->length + num_tokens;
    if (length > KV_MAX_LENGTH) return kv_pool_refuse(pool, KV_RANGE);
    uint32_t credit = 0;
    if (num_tokens > 0) /* 1: a copy behind forks to come; must_copy: one that is due already */
        credit = kv_blocks_of(pool, length) - slot->num_blocks + 1 + must_copy(pool, slot, num_tokens);
    uint64_t others = pool->reserved_blocks - slot->credit_blocks;
    if (others + credit > pool->num_free) return kv_pool_refuse(pool, KV_NOBLOCKS);
    set_credit(pool, slot, num_tokens, credit);
    pool->operations++;
    return KV_OK;
}

/* ---- views ---- */

static kv_table view(const kv_slot *slot)
{
    return (kv_table){slot->blocks, slot->num_blocks, slot->length, slot->version};
}

kv_status kv_branch_table(const kv_pool *pool, kv_branch branch, kv_table *table)
{
    const kv_slot *slot = find(pool, branch);
    if (!slot) return KV_STALE;
    *table = view(slot);
    return KV_OK;
}

kv_status kv_branch_tables(const kv_pool *pool, const kv_branch *branches, uint32_t count, kv_table *tables)
{
    for (uint32_t i = 0; i < count; i++)
        if (!find(pool, branches[i])) return KV_STALE;
    for (uint32_t i = 0; i < count; i++) tables[i] = view(find(pool, branches[i]));
    return KV_OK;
}
