/* plan_queue: a plan as the GPU runs it. Items become tasks of at most one tile of rows, tasks become
 * tiles of tokens, once for each KV head, and each worker (a thread block that stays) has its list of tiles, so that
 * all end at about the same time.
 *
 * Plain C over plain arrays: the host builds it, tests look at it, and a copy of it goes to the device. */
#ifndef PLAN_QUEUE_H
#define PLAN_QUEUE_H

#include "tree_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows of a task: its queries times their query heads of one KV head. A mask has a bit for each query. */
enum { QUEUE_TILE_ROWS = 64 };
enum { QUEUE_SMALL_ROWS = 4 }; /* warps of a worker */
enum { QUEUE_SLICE = 16 }; /* rows of a warp; tokens that it computes, or passes over, at a time */

/* Tokens of a tile: 16 KiB of K in two bytes an element. */
static inline uint32_t queue_tile_tokens(uint32_t head_dim) { return 8192 / head_dim; }

/* Some of an item's queries, some query heads of each KV head, all of the item's tokens. */
typedef struct queue_task {
    uint32_t item;          /* of the plan */
    uint32_t first_partial; /* of its first query; the others follow */
    uint16_t num_queries;
    uint16_t first_head, num_heads; /* of the group of each KV head: all, unless a group has more than a tile's rows */
    uint16_t reserved;
    uint32_t first_token, num_tokens; /* kv_slots[first_token ..), all ranges of the item behind each other; masked ones
                                         are dealt out in slices: one that the rows of each warp see, in turn */
    uint32_t first_mask;    /* masks[first_mask + t]: bit i: query i sees token t; QUEUE_NO_MASK: all see all */
    uint32_t reserved_2;
} queue_task;

#define QUEUE_NO_MASK UINT32_MAX

/* Up to queue_tile_tokens of a task, for one KV head, with what the kernel must know of the task. The tiles of a
 * (task, KV head) follow each other on one worker. */
typedef struct queue_tile {
    uint32_t first_token;   /* kv_slots[first_token ..) */
    uint32_t first_mask;    /* masks[first_mask ..), or QUEUE_NO_MASK: all queries see all of its tokens */
    uint32_t first_partial; /* queries[first_partial ..) */
    uint32_t number;        /* of the tile in its task */
    uint32_t head;          /* first query head */
    uint16_t num_tokens, kv_head;
    uint8_t num_queries, num_heads;
    uint8_t is_first, is_last; /* of its task */
    uint8_t is_masked, reserved; /* some tile of its task has masks */
    uint16_t reciprocal;       /* row / num_heads = row * reciprocal >> 15, for the rows of a tile */
} queue_tile;

/* What a worker asks memory for first. */
enum { QUEUE_START_TILES = 1 };
typedef struct queue_start {
    uint32_t first_tile, num_tiles;
    uint32_t kv_head, num_sharing; /* of a small queue: its only KV head, and how many workers have tiles of that */
    queue_tile tiles[QUEUE_START_TILES]; /* copies of its first ones; those that it has not: zeros */
} queue_start;

/* A query of an item. */
typedef struct queue_query {
    uint32_t query;
    uint32_t state; /* place of the partial state: those of a query lie behind each other, as they are merged;
                       QUEUE_ONLY_STATE: the query has no other, and what is made is the result */
} queue_query;

#define QUEUE_ONLY_STATE UINT32_MAX

typedef struct plan_queue {
    uint32_t num_workers, num_tasks, num_tiles, num_tokens, num_masks, num_partials;
    uint32_t head_slices;   /* tasks that share the heads of a group */
    bool is_small;          /* one warp can merge each row, queries x heads of a group, of a KV head; no worker has
                               tiles of two KV heads */
    queue_task *tasks;      /* [num_tasks] */
    queue_tile *tiles;      /* [num_tiles] worker by worker, in the order in which it runs them */
    uint32_t *worker_first; /* [num_workers + 1] worker w runs tiles[worker_first[w] .. worker_first[w + 1]) */
    queue_start *starts;    /* [num_workers] the same for the device */
    uint32_t *kv_slots;     /* [num_tokens] slot of KV head 0 in key and value: block * num_kv_heads * block_tokens +
                               slot; that of head h is h * block_tokens further on */
    queue_query *queries;   /* [num_partials] of each partial state of the plan */
    uint64_t *masks;        /* [num_masks] */
} plan_queue;

/* TREE_NOMEM; TREE_OVERFLOW if a count passes 2^31, the slots of the pool 2^32 or num_heads 2^16. On error *queue is
 * untouched. The shape was checked against the plan. Frees nothing of an earlier queue.
 *
 * Dealing: a task costs 49152 bytes plus, for each of its tokens, K and V of one KV head and 2 x head_dim / 128 bytes
 * for each of its rows, rounded up to 16. Two ways are tried, and the one with the smaller largest load is taken:
 *   in the plan's order   the tasks of KV head 0, then those of KV head 1, ... form a line; each worker owns an equal
 *                         part of it, and a task goes to the owner of its middle
 *   the dearest first     each (task, KV head) goes to a worker with the least load so far; taken if both are equal
 * In a small queue each KV head has workers of its own, and a line over these. A worker runs its tasks in the order in
 * which they were dealt.
 *
 * Cost: linear in the plan (items, ranges, partials, mask words) and in the queue (tasks x KV heads, tiles, tokens,
 * masks, workers), and log(workers) for each task and KV head. Each task has a mask word for each token of a masked
 * item: n packed rows over n tokens take n^2 / (queries of a task) words. */
tree_status plan_queue_build(plan_queue *queue, const tree_plan *plan, const tree_shape *shape, uint32_t num_workers);

void plan_queue_free(plan_queue *queue);

#ifdef __cplusplus
}
#endif
#endif
