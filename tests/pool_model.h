/* The oracle of the allocator's tests: beside a pool it keeps, for every branch, a private copy of its whole token
 * list, and for every block an array of slots that is written as the pool's instructions say.
 *
 * Every token has a signature of its own. Each model_ call predicts the status, the copy, the new and the released
 * blocks and the statistics from recounted tables alone, makes the same call on the pool, compares, carries out the
 * copy, and reads the branch's tokens back through its table. A call that is predicted to fail must leave the dump
 * byte for byte. Slots that were never written, or were freed, hold POISON. A difference fails the running case. */
#ifndef POOL_MODEL_H
#define POOL_MODEL_H

#include "kv_branch.h"
#include "kv_pool.h"

enum { POISON = 0, MODEL_NONE = -1 };

/* In a pool that evicts. */
typedef struct model_token {
    uint32_t position, signature, block, slot;
} model_token;

typedef struct model_branch {
    bool live;
    kv_branch handle;
    uint32_t length, num_blocks;
    uint32_t *tokens; /* [num_blocks * block_tokens of the pool] signatures */
    uint32_t *table;  /* [num_blocks of the pool] */
    uint64_t version;
    uint32_t promised, credit;
    uint32_t guaranteed;          /* tokens that the header promises, whatever the credit */
    bool forked_now, forked_once; /* since the promise: behind its last append; before an append */
    model_token *kept;            /* [num_blocks * block_tokens] in a pool that evicts, instead of `tokens` */
    uint32_t num_kept, next_position, first_private;
} model_branch;

/* Counts of events so far; a random run that leaves one at 0 did not test that event. */
typedef struct model_coverage {
    uint64_t creates, forks, forks_inside_block, appends, appends_of_many, truncates, adopts, prunes, reserves, epochs;
    uint64_t promises_needed; /* appends that would have been refused without their promise */
    uint64_t copies, copies_avoided, tokens_written, tokens_read, blocks_released, blocks_quarantined;
    uint64_t refused_blocks, refused_branches, refused_stale, refused_range, refused_invalid, refused_busy;
    uint64_t full_checks;
    uint64_t evictions, votes, thaws, compactions, compactions_shared; /* from here on: pools that evict */
    uint64_t holes_taken, blocks_died, dead_blocks_shared, tails_left, tails_taken_over, tokens_moved;
    uint64_t inherited_refused;
} model_coverage;

typedef struct pool_model {
    kv_pool *pool;
    kv_pool_config config;
    uint32_t max_branches, num_live;
    model_branch *branches;    /* [max_branches] */
    uint32_t *slots;           /* [num_blocks][block_tokens] signatures */
    uint32_t *count, *visible; /* [num_blocks] recounted after every call */
    uint32_t *holding;         /* [num_blocks] branches that keep a token of it */
    uint32_t *was, *was_seen;  /* [num_blocks] `count` and `visible` before the call */
    uint32_t *was_written;     /* [num_blocks][block_tokens] `slots` before the call */
    uint32_t *copying, *last_seen, *sorted; /* [num_blocks] scratch */
    uint32_t *at;              /* [num_blocks][block_tokens] scratch */
    uint64_t version_before;
    uint64_t *held_by;         /* [num_blocks] epoch in whose quarantine the block waits, 0: none */
    uint32_t *waiting;         /* [num_blocks] these blocks, in the order in which they were freed */
    uint32_t num_waiting;
    uint32_t *released;        /* [num_blocks] that the next call is to report */
    uint32_t num_released;
    uint64_t newest_version;
    uint64_t first_epoch, next_epoch;
    uint32_t next_signature;
    kv_pool_stats expected;    /* counters here; the rest is recounted */
    kv_branch dead[64];        /* handles that died, a ring */
    uint32_t num_dead;
    char *before, *after;      /* dumps */
    size_t dump_capacity;
    bool thorough;             /* after every call: kv_pool_check, all branches read back */
    model_coverage coverage;
} pool_model;

pool_model *model_new(const kv_pool_config *config, bool thorough);

/* Prunes all branches, retires all epochs, expects every block to be free, and frees the model. */
void model_end(pool_model *m);

/* Branches are named by their index in m->branches. Each returns the status, which was the predicted one. */
kv_status model_create(pool_model *m, int *branch);
kv_status model_fork_at(pool_model *m, int parent, uint32_t length, int *child);
kv_status model_append(pool_model *m, int branch, uint32_t num_tokens);
kv_status model_append_many(pool_model *m, const int *branches, const uint32_t *num_tokens, uint32_t count);
kv_status model_truncate(pool_model *m, int branch, uint32_t length);
kv_status model_adopt(pool_model *m, int branch, int winner);
kv_status model_prune(pool_model *m, int branch);
kv_status model_reserve(pool_model *m, int branch, uint32_t num_tokens);
kv_status model_epoch_begin(pool_model *m);
kv_status model_epoch_retire(pool_model *m, uint64_t epoch);

/* The steps around each call: the dump before one that must fail, the verdict after it, and the statistics. */
void model_before_call(pool_model *m, kv_status predicted);
bool model_after_call(pool_model *m, kv_status predicted, kv_status status, const char *call); /* true: succeeded */
void model_compare_stats(pool_model *m);
kv_pool_stats model_recounted_stats(const pool_model *m);
void model_recount(pool_model *m);
void model_finish_call(pool_model *m);
uint32_t model_blocks_for(const pool_model *m, uint64_t length);
void model_take_version(pool_model *m, model_branch *b);
void model_check_new_block(pool_model *m, uint32_t block);
void model_check_released(pool_model *m);
void model_poison(pool_model *m, uint32_t block, uint32_t from);
void model_count_append(model_branch *b, uint32_t num_tokens);
void model_count_fork(model_branch *b);
void model_forget_promise(model_branch *b);
int model_unused_branch(const pool_model *m);
void model_make_live(pool_model *m, int branch, kv_branch handle);
void model_make_dead(pool_model *m, model_branch *b);
uint32_t model_new_signature(pool_model *m);

/* A dead or forged handle, offered to each function in turn. */
void model_stale(pool_model *m);

/* One random call. */
void model_step(pool_model *m);

/* kv_pool_check, and every branch read back through its table. */
void model_check(pool_model *m);

#endif
