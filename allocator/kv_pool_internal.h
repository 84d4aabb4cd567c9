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
} kv_record;

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

/* Defaults filled in; KV_INVAL, KV_OVERFLOW. */
kv_status kv_pool_config_check(kv_pool_config *config);

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

/* Room for num_records records. KV_NOMEM. */
kv_status kv_records_reserve(kv_pool *pool, uint32_t num_records);

/* As kv_pool_check, but returns the violation as data. KV_NOMEM. */
kv_status kv_pool_find_violation(const kv_pool *pool, kv_violation *violation);
void kv_violation_write(const kv_violation *violation, char *message, size_t message_bytes);

#endif
