/* few_rows: a small plan as step 13 reads it: one list of all tokens of all items, each with the queries that see
 * it. */
#ifndef FEW_ROWS_H
#define FEW_ROWS_H

#include "tree_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    FEW_QUERIES = 32,   /* bits of few_token.queries */
    FEW_TOKENS = 16384, /* most tokens of the list */
    FEW_WARPS = 6,      /* of a thread block */
    FEW_NEW_SLOTS = 32, /* that a warp compares with: one for each lane */
    FEW_TILE_ROWS = 16  /* most rows (queries x heads of a group) of a cluster */
};

#define FEW_END UINT32_MAX

typedef struct few_token {
    uint32_t slot;    /* of KV head 0, as in plan_queue.kv_slots; FEW_END: the list ends before */
    uint32_t queries; /* bit q: query q sees the token */
} few_token;

/* Passed to the kernel by value, in attention_arguments. */
typedef struct few_rows {
    few_token *tokens;   /* [capacity] in plan order, FEW_END behind the last; NULL: the plan is none of this kind */
    uint32_t capacity;
    uint32_t num_new;    /* slots of new_slots */
    const uint64_t *new_slots; /* tree_plan_gpu_new_slots; NULL: nothing is known of K and V */
} few_rows;

/* Most loaded_tokens of a plan with so many queries that step 13 runs itself, rather than step 12: those with which it
 * was measured to be no slower. 0: it runs no such plan. knows_old: the caller has said which K and V are new.
 * num_workers: two for each multiprocessor (gpu_num_workers). */
uint64_t few_rows_limit(uint32_t num_queries, const tree_shape *shape, uint32_t num_workers, bool knows_old);

/* Clusters for each KV head. */
uint32_t few_rows_tiles(uint32_t num_queries, const tree_shape *shape);

/* Thread blocks of a cluster, 2 to 16, as a power of two: with so many, all clusters have no more than there are
 * multiprocessors. */
uint32_t few_rows_cluster(uint32_t num_queries, const tree_shape *shape, uint32_t num_workers);

#ifdef __cplusplus
}
#endif
#endif
