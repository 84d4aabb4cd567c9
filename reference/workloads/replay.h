/* replay: plays a workload on a kv_pool, one step at a time.
 *
 *   replay_create(&replay, workload, pool, &events);
 *   replay_result step;
 *   while (replay_step(replay, &step) == KV_OK && !step.done)
 *       ... step.queries: handles of the branches with a query; their tables are as this step's attention sees them
 *
 * The replay moves integers only. The owner of K and V learns of every copy and every new token through events. */
#ifndef REPLAY_H
#define REPLAY_H

#include "kv_branch.h"
#include "workload.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Calls to the owner of K and V, in the order in which it must act. Any function may be NULL. The functions cannot
 * refuse: an owner that fails records the failure, for its caller to check later (kv_store_status). */
typedef struct replay_events {
    void *context;
    /* A branch was born (CREATE, FORK), shortened (TRUNCATE), took over another (ADOPT) or died (PRUNE). A FORK whose
     * parent is pruned by the next operation is carried out and reported as CREATE and ADOPT. */
    void (*branch)(void *context, workload_kind kind, uint32_t branch, uint32_t value);
    /* Carry out now, before the tokens that follow. */
    void (*copy)(void *context, const kv_copy *copy);
    /* The token at `position` of the branch lies at (block, slot). token: unique in this replay, counts up from 0. */
    void (*token)(void *context, uint32_t branch, uint32_t position, uint32_t block, uint32_t slot, uint32_t token);
    /* The slots first_slot .. block_tokens - 1 of these blocks may be overwritten: no living branch sees them any more.
     * Not called while an epoch of the pool is open, as a kernel may still read them: the code that retires the epoch
     * calls kv_pool_released. */
    void (*released)(void *context, const uint32_t *blocks, uint32_t num_blocks, uint32_t first_slot);
} replay_events;

typedef struct replay_result {
    bool done;          /* no step was left: the operations after the last step are done, no queries */
    uint32_t iteration; /* from 1 */
    uint32_t num_queries;
    const kv_branch *queries;    /* [num_queries] handles, valid until the next replay_step */
    const uint32_t *query_names; /* [num_queries] the same branches in the workload's names */
} replay_result;

typedef struct replay replay;

/* The workload and the pool must outlive the replay; the pool may hold other branches too. events is copied; may be
 * NULL. KV_INVAL or KV_RANGE if workload_check refuses, KV_NOMEM. */
kv_status replay_create(replay **result, const workload *workload, kv_pool *pool, const replay_events *events);

/* Plays the operations up to and including the next STEP. KV_NOBLOCKS, KV_NOBRANCH, KV_NOMEM: the replay stopped before
 * an operation, which changed nothing; the pool is consistent, and the same call continues from there once there is
 * room. After the last step every call yields `done`. Cost of a whole replay: O(operations + tokens + table_entries of
 * replay_needs). A fork copies its parent's table, so a path of n tokens that is forked at each token costs n^2 / (2
 * block_tokens) table entries. */
kv_status replay_step(replay *replay, replay_result *result);

/* Handle of a branch by its name; 0 if it is unborn or dead. */
kv_branch replay_handle(const replay *replay, uint32_t branch);

/* Index of the next operation, for messages: workload->operations[.] is where it stopped. */
uint32_t replay_position(const replay *replay);

/* Prunes the branches that the replay still holds in the pool, without events, and frees the replay. Allowed after any
 * step. */
void replay_destroy(replay *replay);

/* Counts of a whole replay, taken from the pool and its block tables, not from the workload. */
typedef struct replay_totals {
    uint32_t iterations;
    uint64_t queries_sum;
    uint64_t unique_tokens_sum; /* U: slots that a living branch sees, summed over the iterations */
    uint64_t path_tokens_sum;   /* S: lengths of the tables with a query, summed over the iterations */
    uint32_t peak_queries, peak_branches, peak_blocks;
    uint64_t copies, copied_tokens; /* copy-on-write instructions */
    uint32_t leaked_blocks;         /* still used after the last operation */
} replay_totals;

/* Adds the step that replay_step just returned to totals that begin as zeros. At `done`: fills peaks, copies,
 * leaked_blocks. */
void replay_count(replay_totals *totals, const kv_pool *pool, const replay_result *step);

/* The needs of a whole replay, from the lengths of the branches alone, before there is a pool. */
typedef struct replay_needs {
    uint64_t most_blocks;        /* a pool of this size always suffices; peak_blocks of replay_measure is exact */
    uint64_t table_entries;      /* written by forks and appends, dropped by other operations: a replay's time */
    uint64_t most_table_entries; /* of all living branches at once: 4 bytes each */
    uint64_t path_tokens;        /* S, as path_tokens_sum */
    uint32_t peak_queries;
} replay_needs;

/* As replay_create; also KV_INVAL for a block_tokens that a pool refuses. O(operations + branches). */
kv_status replay_count_needs(replay_needs *needs, const workload *workload, uint32_t block_tokens);

#define REPLAY_MEASURE_BLOCKS (1u << 24)

/* A dry run on a pool of its own, to size the real one: peak_blocks is exactly the number of blocks that this workload
 * needs. block_tokens as in the pool's config. As replay_create; also KV_INVAL for a block_tokens that the pool
 * refuses, KV_NOBLOCKS if more than REPLAY_MEASURE_BLOCKS blocks are needed at once. Price: the whole replay, once. */
kv_status replay_measure(replay_totals *totals, const workload *workload, uint32_t block_tokens);

#ifdef __cplusplus
}
#endif
#endif
