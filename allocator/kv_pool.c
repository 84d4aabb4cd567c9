/* Blocks: their reference counts, the free list, and when a freed block may be issued again.
 *
 * Price: 28 bytes of host memory per block of the pool. Every function here is O(1) per block. */
#include "kv_pool_internal.h"

#include <assert.h>
#include <stdlib.h>

enum { DEFAULT_BLOCK_TOKENS = 16, MAX_BLOCK_TOKENS = 256, DEFAULT_BRANCHES = 1024, DEFAULT_EPOCHS = 8 };

const char *kv_status_string(kv_status status)
{
    switch (status) {
    case KV_OK: return "success";
    case KV_INVAL: return "an argument is outside what its function documents";
    case KV_OVERFLOW: return "the pool's bytes exceed 2^47 or half the address space";
    case KV_NOMEM: return "the host is out of memory";
    case KV_NOBLOCKS: return "not enough free blocks: prune or retire an epoch, then retry";
    case KV_NOBRANCH: return "max_branches are alive: prune, then retry";
    case KV_STALE: return "the handle names no living branch";
    case KV_RANGE: return "a length, count or id is beyond its limit";
    case KV_BUSY: return "living branches or unretired epochs forbid it";
    case KV_FORMAT: return "the text is no dump of a pool";
    case KV_CORRUPT: return "an invariant of the pool does not hold";
    }
    return "unknown status";
}

kv_status kv_pool_config_check(kv_pool_config *config)
{
    if (config->block_tokens == 0) config->block_tokens = DEFAULT_BLOCK_TOKENS;
    if (config->max_branches == 0) config->max_branches = DEFAULT_BRANCHES;
    if (config->max_epochs == 0) config->max_epochs = DEFAULT_EPOCHS;
    if (config->num_blocks == 0 || config->num_blocks == UINT32_MAX) return KV_INVAL;
    if (config->block_tokens > MAX_BLOCK_TOKENS) return KV_INVAL;
    if ((config->block_tokens & (config->block_tokens - 1)) != 0) return KV_INVAL;
    if (config->max_branches > KV_MAX_BRANCHES || config->max_epochs > KV_MAX_EPOCHS) return KV_INVAL;
    if ((unsigned)config->order > KV_ORDER_SHUFFLE) return KV_INVAL;
    uint64_t limit = UINT64_C(1) << 47;
    if (limit > SIZE_MAX / 2) limit = SIZE_MAX / 2;
    if (config->block_bytes > limit / config->num_blocks) return KV_OVERFLOW;
    return KV_OK;
}

static uint32_t *new_array(uint32_t count)
{
    return calloc(count, sizeof(uint32_t));
}

static void free_memory(kv_pool *pool)
{
    for (uint32_t i = 0; i < pool->num_records; i++) {
        free(pool->records[i].blocks);
        free(pool->records[i].words);
    }
    free(pool->records);
    free(pool->ref);
    free(pool->num_partial);
    free(pool->first_partial);
    free(pool->leaving);
    free(pool->free_list);
    free(pool->quarantine);
    free(pool->epoch_blocks);
    free(pool->released);
    free(pool->positions);
    free(pool->keepers);
    free(pool);
}

static bool allocate_arrays(kv_pool *pool)
{
    uint32_t num_blocks = pool->config.num_blocks;
    pool->ref = new_array(num_blocks);
    pool->num_partial = new_array(num_blocks);
    pool->first_partial = new_array(num_blocks);
    pool->leaving = new_array(num_blocks);
    pool->free_list = new_array(num_blocks);
    pool->quarantine = new_array(num_blocks);
    pool->released = new_array(num_blocks);
    pool->epoch_blocks = new_array(pool->config.max_epochs);
    if (pool->config.evicts) {
        pool->words_per_block = (pool->config.block_tokens + 63) / 64;
        pool->keepers = new_array(num_blocks);
        pool->positions = calloc(num_blocks, pool->config.block_tokens * sizeof(uint32_t));
        if (!pool->keepers || !pool->positions) return false;
    }
    return pool->ref && pool->num_partial && pool->first_partial && pool->leaving && pool->free_list &&
           pool->quarantine && pool->released && pool->epoch_blocks;
}

/* A new LIFO or FIFO pool yields blocks 0, 1, 2, ... */
static void fill_free_list(kv_pool *pool)
{
    uint32_t num_blocks = pool->config.num_blocks;
    bool from_head = pool->config.order == KV_ORDER_FIFO;
    for (uint32_t i = 0; i < num_blocks; i++) pool->free_list[i] = from_head ? i : num_blocks - 1 - i;
    pool->num_free = num_blocks;
}

kv_status kv_pool_create(kv_pool **pool, const kv_pool_config *config)
{
    if (!pool || !config) return KV_INVAL;
    kv_pool_config checked = *config;
    kv_status status = kv_pool_config_check(&checked);
    if (status != KV_OK) return status;
    kv_pool *created = calloc(1, sizeof *created);
    if (!created) return KV_NOMEM;
    created->config = checked;
    if (!allocate_arrays(created)) {
        free_memory(created);
        return KV_NOMEM;
    }
    fill_free_list(created);
    created->free_record = KV_NO_RECORD;
    created->random = checked.seed;
    created->first_epoch = created->next_epoch = 1;
    *pool = created;
    return KV_OK;
}

kv_status kv_pool_destroy(kv_pool *pool, bool force, kv_pool_stats *stats)
{
    bool busy = pool->num_live > 0 || pool->first_epoch < pool->next_epoch;
    if (busy && !force) return kv_pool_refuse(pool, KV_BUSY);
    if (stats) kv_pool_get_stats(pool, stats);
    free_memory(pool);
    return KV_OK;
}

kv_status kv_records_reserve(kv_pool *pool, uint32_t num_records)
{
    if (num_records <= pool->record_capacity) return KV_OK;
    uint64_t capacity = pool->record_capacity < 8 ? 8 : (uint64_t)pool->record_capacity * 2;
    if (capacity < num_records) capacity = num_records;
    if (capacity > UINT32_MAX || capacity > SIZE_MAX / sizeof(kv_record)) return KV_NOMEM;
    kv_record *records = realloc(pool->records, (size_t)capacity * sizeof *records);
    if (!records) return KV_NOMEM;
    pool->records = records;
    pool->record_capacity = (uint32_t)capacity;
    return KV_OK;
}

/* ---- the free list and the quarantine ---- */

static void put_free(kv_pool *pool, uint32_t block)
{
    pool->free_list[kv_ring_index(pool, pool->free_head, pool->num_free)] = block;
    pool->num_free++;
}

static uint64_t next_random(kv_pool *pool)
{
    uint64_t z = pool->random += UINT64_C(0x9E3779B97F4A7C15); /* splitmix64 */
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static uint32_t get_free(kv_pool *pool)
{
    assert(pool->num_free > 0 && "an append was counted before it takes");
    uint32_t last = pool->num_free - 1;
    if (pool->config.order == KV_ORDER_FIFO) {
        uint32_t block = pool->free_list[pool->free_head];
        pool->free_head = kv_ring_index(pool, pool->free_head, 1);
        pool->num_free = last;
        return block;
    }
    uint32_t chosen = last;
    if (pool->config.order == KV_ORDER_SHUFFLE) chosen = (uint32_t)(next_random(pool) % pool->num_free);
    uint32_t block = pool->free_list[chosen];
    pool->free_list[chosen] = pool->free_list[last];
    pool->num_free = last;
    return block;
}

/* The block may be issued and overwritten from here on. */
static void release(kv_pool *pool, uint32_t block)
{
    pool->released[pool->num_released++] = block;
    put_free(pool, block);
}

static void release_or_wait(kv_pool *pool, uint32_t block)
{
    if (pool->first_epoch == pool->next_epoch) {
        release(pool, block);
        return;
    }
    pool->quarantine[kv_ring_index(pool, pool->quarantine_head, pool->num_quarantined)] = block;
    pool->num_quarantined++;
    pool->epoch_blocks[(pool->next_epoch - 1) % pool->config.max_epochs]++;
}

kv_status kv_pool_epoch_begin(kv_pool *pool, uint64_t *epoch)
{
    if (pool->next_epoch - pool->first_epoch == pool->config.max_epochs) return kv_pool_refuse(pool, KV_BUSY);
    *epoch = pool->next_epoch++;
    pool->epoch_blocks[*epoch % pool->config.max_epochs] = 0;
    pool->operations++;
    return KV_OK;
}

kv_status kv_pool_epoch_retire(kv_pool *pool, uint64_t epoch)
{
    if (epoch < pool->first_epoch || epoch >= pool->next_epoch) return kv_pool_refuse(pool, KV_RANGE);
    uint32_t num_blocks = 0;
    for (; pool->first_epoch <= epoch; pool->first_epoch++)
        num_blocks += pool->epoch_blocks[pool->first_epoch % pool->config.max_epochs];
    pool->num_released = 0;
    for (uint32_t i = 0; i < num_blocks; i++) {
        release(pool, pool->quarantine[pool->quarantine_head]);
        pool->quarantine_head = kv_ring_index(pool, pool->quarantine_head, 1);
    }
    pool->num_quarantined -= num_blocks;
    pool->operations++;
    return KV_OK;
}

/* ---- reference counts ---- */

uint32_t kv_visible_tokens(const kv_pool *pool, uint32_t block)
{
    if (pool->ref[block] > pool->num_partial[block]) return pool->config.block_tokens;
    if (pool->num_partial[block] == 0) return 0;
    return kv_tail_tokens(pool, &pool->records[pool->first_partial[block]]);
}

static void hold_block(kv_pool *pool, uint32_t block)
{
    if (pool->ref[block] == pool->num_partial[block])
        pool->physical_tokens += pool->config.block_tokens - kv_visible_tokens(pool, block);
    if (++pool->ref[block] == 2) pool->shared_blocks++;
}

static void drop_block(kv_pool *pool, uint32_t block)
{
    assert(pool->ref[block] > pool->num_partial[block] && "a tail is detached before its block is dropped");
    pool->ref[block]--;
    if (pool->ref[block] == pool->num_partial[block])
        pool->physical_tokens -= pool->config.block_tokens - kv_visible_tokens(pool, block);
    if (pool->ref[block] == 1) pool->shared_blocks--;
    if (pool->ref[block] == 0) release_or_wait(pool, block);
}

void kv_blocks_take(kv_pool *pool, uint32_t *blocks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        blocks[i] = get_free(pool);
        assert(pool->ref[blocks[i]] == 0 && "a free block has no reference");
        hold_block(pool, blocks[i]);
    }
}

void kv_blocks_share(kv_pool *pool, const uint32_t *blocks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        assert(pool->ref[blocks[i]] > 0 && "only take lifts a count off 0");
        hold_block(pool, blocks[i]);
    }
}

void kv_blocks_load(kv_pool *pool, const uint32_t *blocks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) hold_block(pool, blocks[i]);
}

void kv_blocks_drop(kv_pool *pool, const uint32_t *blocks, uint32_t count)
{
    for (uint32_t i = count; i-- > 0;) drop_block(pool, blocks[i]);
}

/* The partial views of a block are a list, fullest first. Views of equally many tokens are a run, whose two ends point
 * to each other, so a search takes one step for each run: block_tokens - 1 at most, however many views there are. */

static bool begins_run(const kv_pool *pool, const kv_record *record)
{
    if (record->previous == KV_NO_RECORD) return true;
    return kv_tail_tokens(pool, &pool->records[record->previous]) != kv_tail_tokens(pool, record);
}

static bool ends_run(const kv_pool *pool, const kv_record *record)
{
    if (record->next == KV_NO_RECORD) return true;
    return kv_tail_tokens(pool, &pool->records[record->next]) != kv_tail_tokens(pool, record);
}

void kv_tail_detach(kv_pool *pool, uint32_t record)
{
    kv_record *left = &pool->records[record];
    if (kv_tail_tokens(pool, left) == 0) return;
    uint32_t block = left->blocks[left->num_blocks - 1];
    pool->physical_tokens -= kv_visible_tokens(pool, block);
    bool begins = begins_run(pool, left), ends = ends_run(pool, left);
    if (begins != ends) { /* its neighbour becomes an end */
        uint32_t heir = begins ? left->next : left->previous;
        pool->records[heir].far_end = left->far_end;
        pool->records[left->far_end].far_end = heir;
    }
    if (left->previous == KV_NO_RECORD) pool->first_partial[block] = left->next;
    else pool->records[left->previous].next = left->next;
    if (left->next != KV_NO_RECORD) pool->records[left->next].previous = left->previous;
    pool->num_partial[block]--;
    pool->physical_tokens += kv_visible_tokens(pool, block);
}

/* The last of the block's views that see at least `tokens` of it. */
static uint32_t last_as_full(const kv_pool *pool, uint32_t block, uint32_t tokens)
{
    uint32_t last = KV_NO_RECORD, at = pool->num_partial[block] == 0 ? KV_NO_RECORD : pool->first_partial[block];
    while (at != KV_NO_RECORD && kv_tail_tokens(pool, &pool->records[at]) >= tokens) {
        last = pool->records[at].far_end;
        at = pool->records[last].next;
    }
    return last;
}

void kv_tail_attach(kv_pool *pool, uint32_t record, uint32_t twin)
{
    kv_record *joined = &pool->records[record];
    uint32_t tokens = kv_tail_tokens(pool, joined);
    if (tokens == 0) return;
    uint32_t block = joined->blocks[joined->num_blocks - 1];
    pool->physical_tokens -= kv_visible_tokens(pool, block);
    uint32_t previous = twin == KV_NO_RECORD ? last_as_full(pool, block, tokens) : twin;
    uint32_t next = pool->num_partial[block] == 0 ? KV_NO_RECORD : pool->first_partial[block];
    if (previous != KV_NO_RECORD) next = pool->records[previous].next;
    joined->previous = previous;
    joined->next = next;
    joined->far_end = record;
    if (previous == KV_NO_RECORD) pool->first_partial[block] = record;
    else pool->records[previous].next = record;
    if (next != KV_NO_RECORD) pool->records[next].previous = record;
    if (!begins_run(pool, joined) && ends_run(pool, joined)) {
        joined->far_end = pool->records[previous].far_end;
        pool->records[joined->far_end].far_end = record;
    }
    pool->num_partial[block]++;
    pool->physical_tokens += kv_visible_tokens(pool, block);
}

/* ---- queries about the pool ---- */

kv_status kv_pool_get_stats(const kv_pool *pool, kv_pool_stats *stats)
{
    uint32_t used = kv_used_blocks(pool);
    *stats = (kv_pool_stats){
        .num_blocks = pool->config.num_blocks,
        .block_tokens = pool->config.block_tokens,
        .free_blocks = pool->num_free,
        .used_blocks = used,
        .quarantined_blocks = pool->num_quarantined,
        .shared_blocks = pool->shared_blocks,
        .reserved_blocks = pool->reserved_blocks,
        .high_water_blocks = pool->high_water_blocks,
        .live_branches = pool->num_live,
        .open_epochs = (uint32_t)(pool->next_epoch - pool->first_epoch),
        .logical_tokens = pool->logical_tokens,
        .table_blocks = pool->table_blocks,
        .physical_tokens = pool->physical_tokens,
        .tail_waste_tokens = (uint64_t)used * pool->config.block_tokens - pool->physical_tokens,
        .copies = pool->copies,
        .copied_tokens = pool->copied_tokens,
        .kept_tokens = pool->kept_tokens,
        .evicted_tokens = pool->evicted_tokens,
        .moved_tokens = pool->moved_tokens,
        .operations = pool->operations,
        .failures = pool->failures,
    };
    return KV_OK;
}

uint32_t kv_pool_references(const kv_pool *pool, uint32_t block)
{
    return block < pool->config.num_blocks ? pool->ref[block] : 0;
}

void kv_pool_released(const kv_pool *pool, const uint32_t **blocks, uint32_t *num_blocks)
{
    *blocks = pool->released;
    *num_blocks = pool->num_released;
}
