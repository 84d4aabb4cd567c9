/* The inside of a pool, shared by kv_pool, kv_branch, their text form and the tests that enumerate states. */
#ifndef KV_POOL_INTERNAL_H
#define KV_POOL_INTERNAL_H

#include "kv_branch.h"
#include "kv_pool.h"

#define KV_NO_BLOCK UINT32_MAX
#define KV_NO_RECORD UINT32_MAX
#define KV_MAX_KEPT_ENTRIES (1u << 20) /* in tables of dead branches: 4 MiB */
#define KV_MAX_COUNTER (UINT64_C(1) << 54) /* limit of a loaded counter: none can wrap in use */

/* A branch, living or dead. A later branch reuses the record of a dead one and the memory of its table, up to
 * KV_MAX_KEPT_ENTRIES in all. */
typedef struct kv_record {
    uint32_t *blocks;          /* [capacity], num_blocks of them valid */
    uint32_t *grown;           /* a larger table, put in place once the whole append is certain; else NULL */
    uint32_t num_blocks, capacity, grown_capacity;
    uint32_t length;           /* tokens */
    uint32_t generation;       /* from 1; 0: retired for good */
    uint32_t promised_tokens;  /* of kv_branch_reserve, not appended yet */
    uint32_t credit_blocks;    /* free blocks set aside for them */
    uint32_t pending_blocks;   /* blocks that the append being counted will take */
    uint32_t next, previous;   /* partial views of one block, fullest first; `next` also links dead records */
    uint32_t far_end;          /* in the first and last view of a run of equally long views: the run's other end */
    bool live, listed;         /* listed: named in the append_many being counted */
    uint64_t version;

    /* In a pool that evicts; otherwise NULL and 0. */
    uint64_t *words;           /* [capacity][words_per_block] keep words of the table's blocks */
    uint64_t *grown_words;     /* go with `grown` */
    uint32_t num_kept;         /* bits set in them */
    uint32_t next_position, first_private;
    uint32_t pending_hole;     /* slot that the append being counted will take, or KV_NO_HOLE */
    bool takes_over;           /* in that append it takes its last block from branches that keep nothing in it */
} kv_record;

/* Whether blocks in which no branch keeps a token are still listed: never between calls. */
typedef enum kv_dead { KV_DEAD_NONE = 0, KV_DEAD_OWN, KV_DEAD_SHARED } kv_dead;

struct kv_pool {
    kv_pool_config config;     /* defaults filled in */

    uint32_t *ref;             /* [num_blocks] tables that list the block; hold_block and drop_block alone write it */
    uint32_t *num_partial;     /* [num_blocks] partial views among them: their branch ends inside the block */
    uint32_t *first_partial;   /* [num_blocks] record of the fullest of those */
    uint32_t *leaving;         /* [num_blocks] scratch, 0 between calls: listed branches that leave it by copy */

    uint32_t *free_list;       /* [num_blocks] ring; LIFO and SHUFFLE take at its end, FIFO at free_head */
    uint32_t *quarantine;      /* [num_blocks] ring, oldest epoch first */
    uint32_t *epoch_blocks;    /* [max_epochs] blocks that epoch e quarantined, at e % max_epochs */
    uint32_t *released;        /* [num_blocks] */
    uint32_t free_head, num_free, quarantine_head, num_quarantined, num_released;
    uint64_t first_epoch, next_epoch; /* unretired: first_epoch <= e < next_epoch */
    uint64_t random;           /* state of KV_ORDER_SHUFFLE */

    kv_record *records;            /* [record_capacity], num_records ever used */
    uint32_t num_records, record_capacity, num_live, num_retired;
    uint32_t free_record;        /* dead record to be reused next */
    uint32_t kept_entries;     /* capacity of the dead records' tables */

    uint32_t reserved_blocks, shared_blocks, high_water_blocks;
    uint64_t logical_tokens, table_blocks, physical_tokens;
    uint64_t copies, copied_tokens, operations, failures, version;

    /* If config.evicts; otherwise NULL and 0. */
    uint32_t *positions;       /* [num_blocks][block_tokens] */
    uint32_t *keepers;         /* [num_blocks] branches that keep a token of the block */
    uint32_t words_per_block;
    kv_dead dead;              /* KV_DEAD_OWN: listed by the calling branch alone */
    uint64_t kept_tokens, evicted_tokens, moved_tokens;
};

/* A violated invariant: found - expected has the sign that tells a leak from a double free. */
typedef struct kv_violation {
    uint32_t invariant; /* number in docs/allocator.md, 0: none */
    uint32_t block, record;
    uint64_t found, expected;
    const char *what;
} kv_violation;

static inline uint32_t kv_blocks_of(const kv_pool *pool, uint64_t length)
{
    return (uint32_t)((length + pool->config.block_tokens - 1) / pool->config.block_tokens);
}

/* Tokens that the branch sees in its last block if that is part-filled, else 0. */
static inline uint32_t kv_tail_tokens(const kv_pool *pool, const kv_record *record)
{
    return record->length & (pool->config.block_tokens - 1);
}

static inline kv_branch kv_handle(uint32_t record, uint32_t generation)
{
    return (uint64_t)generation << 32 | record;
}

static inline uint32_t kv_used_blocks(const kv_pool *pool)
{
    return pool->config.num_blocks - pool->num_free - pool->num_quarantined;
}

static inline kv_status kv_pool_refuse(kv_pool *pool, kv_status status)
{
    pool->failures++;
    return status;
}

static inline kv_record *kv_find(const kv_pool *pool, kv_branch branch)
{
    uint32_t index = (uint32_t)branch;
    if (index >= pool->num_records) return NULL;
    kv_record *record = &pool->records[index];
    return record->live && record->generation == branch >> 32 ? record : NULL;
}

static inline uint32_t kv_index_of(const kv_pool *pool, const kv_record *record)
{
    return (uint32_t)(record - pool->records);
}

static inline void kv_set_length(kv_pool *pool, kv_record *record, uint32_t length)
{
    pool->logical_tokens += (uint64_t)length - record->length;
    record->length = length;
}

static inline void kv_set_num_blocks(kv_pool *pool, kv_record *record, uint32_t num_blocks)
{
    pool->table_blocks += (uint64_t)num_blocks - record->num_blocks;
    record->num_blocks = num_blocks;
}

static inline void kv_set_credit(kv_pool *pool, kv_record *record, uint32_t promised_tokens, uint32_t credit_blocks)
{
    pool->reserved_blocks += credit_blocks - record->credit_blocks;
    record->promised_tokens = promised_tokens;
    record->credit_blocks = credit_blocks;
}

/* Defaults filled in; KV_INVAL, KV_OVERFLOW. */
kv_status kv_pool_config_check(kv_pool_config *config);

/* Slots of the block that at least one branch sees. */
uint32_t kv_visible_tokens(const kv_pool *pool, uint32_t block);

/* Only these functions change reference counts. take: free blocks; share: blocks that a table lists already; load: any
 * blocks, while a dump is read; drop: the last block first. Between detach and attach a branch counts as seeing its
 * whole last block, so these functions meet full views only. */
void kv_blocks_take(kv_pool *pool, uint32_t *blocks, uint32_t count);
void kv_blocks_share(kv_pool *pool, const uint32_t *blocks, uint32_t count);
void kv_blocks_load(kv_pool *pool, const uint32_t *blocks, uint32_t count);
void kv_blocks_drop(kv_pool *pool, const uint32_t *blocks, uint32_t count);
void kv_tail_detach(kv_pool *pool, uint32_t record);
/* `twin`: a record among the block's partial views that sees equally many tokens; KV_NO_RECORD: the function searches
 * for one, in at most block_tokens - 1 steps. */
void kv_tail_attach(kv_pool *pool, uint32_t record, uint32_t twin);

/* The position of entry `index` in a ring that begins at `head`. */
static inline uint32_t kv_ring_index(const kv_pool *pool, uint32_t head, uint32_t index)
{
    uint64_t at = (uint64_t)head + index;
    return (uint32_t)(at < pool->config.num_blocks ? at : at - pool->config.num_blocks);
}

/* ---- append and reserve, for compaction ---- */

/* Blocks to be set aside for the promise as the table is now. */
uint32_t kv_credit_needed(const kv_pool *pool, const kv_record *record, uint32_t num_tokens);
void kv_high_water(kv_pool *pool);

/* ---- keep words: kv_keep.c. Pools that evict only ---- */

static inline uint64_t *kv_words(const kv_pool *pool, const kv_record *record, uint32_t index)
{
    return record->words + (uint64_t)index * pool->words_per_block;
}

static inline bool kv_keeps_slot(const kv_pool *pool, const kv_record *record, uint32_t slot)
{
    uint32_t bit = slot & (pool->config.block_tokens - 1);
    return kv_words(pool, record, slot / pool->config.block_tokens)[bit / 64] >> bit % 64 & 1;
}

/* The bits of word w of entry `index` whose slots are below the table's length. */
static inline uint64_t kv_written_bits(const kv_pool *pool, const kv_record *record, uint32_t index, uint32_t w)
{
    uint32_t written = record->length - index * pool->config.block_tokens;
    if (written > pool->config.block_tokens) written = pool->config.block_tokens;
    if (written <= w * 64) return 0;
    return written - w * 64 < 64 ? (UINT64_C(1) << (written - w * 64)) - 1 : UINT64_MAX;
}

/* The place in pool->positions of a slot of the table. */
static inline uint64_t kv_place(const kv_pool *pool, const kv_record *record, uint32_t slot)
{
    uint32_t block_tokens = pool->config.block_tokens;
    return (uint64_t)record->blocks[slot / block_tokens] * block_tokens + (slot & (block_tokens - 1));
}

/* Tokens that the branch keeps in entry `index` of its table. */
uint32_t kv_kept_in(const kv_pool *pool, const kv_record *record, uint32_t index);

/* Sets or clears the bit of a slot, and sets pool->dead. A bit that is set must be clear, and the other way round. */
void kv_keep_token(kv_pool *pool, kv_record *record, uint32_t slot);
void kv_forget_token(kv_pool *pool, kv_record *record, uint32_t slot);
void kv_forget_blocks(kv_pool *pool, kv_record *record, uint32_t first, uint32_t end);

/* New tokens in the slots first .. first + count - 1, at the next positions. */
void kv_write_tokens(kv_pool *pool, kv_record *record, uint32_t first, uint32_t count);

/* Entries [0, num_shared) are listed by other branches too. Counts never grow along a table. O(log blocks). */
uint32_t kv_num_shared(const kv_pool *pool, const kv_record *record);
uint32_t kv_lowest_hole(const kv_pool *pool, const kv_record *record);

/* Slots up to the last one that is kept at a position below `limit`. */
uint32_t kv_kept_length(const kv_pool *pool, const kv_record *record, uint32_t limit);
/* The child's keep state: that of the parent's tokens below `limit`. Its blocks and length are there already. */
void kv_inherit(kv_pool *pool, kv_record *child, const kv_record *parent, uint32_t limit);

/* After truncate has cut the table: positions from `limit` on are forgotten. */
void kv_forget_from(kv_pool *pool, kv_record *record, uint32_t limit);
/* The branch that a copy-on-write block was made for keeps in it what it kept in the old one. */
void kv_copy_keeper(kv_pool *pool, const kv_copy *copy);

/* A table and its keep words have been filled from elsewhere: their sums. */
void kv_keep_loaded(kv_pool *pool, kv_record *record);

/* Dead blocks leave all tables. `record` made the call. */
void kv_bury(kv_pool *pool, kv_record *record);
/* Branches that keep nothing in the last block of `record` drop it from their tables. */
void kv_take_over(kv_pool *pool, const kv_record *record);

/* Room for num_records records. KV_NOMEM. */
kv_status kv_records_reserve(kv_pool *pool, uint32_t num_records);

/* As kv_pool_check, but returns the violation as data. KV_NOMEM. */
kv_status kv_pool_find_violation(const kv_pool *pool, kv_violation *violation);
void kv_violation_write(const kv_violation *violation, char *message, size_t message_bytes);

#endif
