/* plan_queue: a plan as the GPU runs it.
 *
 *   cut    an item becomes tasks of at most QUEUE_TILE_ROWS rows, and a task becomes tiles of tokens for each KV head
 *   deal   each worker, a thread block of the persistent kernel, gets a list of tiles; all take about the same time
 *   fill   token lists, masks and the places of partial states, in the order in which the tiles read them
 *
 * Plain C over plain arrays, for tests and for the reader. For a kernel the host decides no more than the deal
 * (plan_deal.h, plan_outline.h), and the device fills in the same arrays (plan_fill.cu). */
#ifndef PLAN_QUEUE_H
#define PLAN_QUEUE_H

#include "plan_deal.h"
#include "tree_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    QUEUE_SLICE = 16,     /* rows of a warp; masked tokens that a warp computes, or skips, at once */
    QUEUE_START_TILES = 1 /* tiles that are copied into a worker's start record */
};

#define QUEUE_NO_MASK UINT32_MAX

/* Some of an item's queries x some query heads of each KV head, with all of the item's tokens. */
typedef struct queue_task {
    uint32_t item;          /* of the plan */
    uint32_t first_partial; /* of its first query; those of its other queries follow */
    uint16_t num_queries;
    uint16_t first_head, num_heads; /* in the group of each KV head; all of it, unless it exceeds QUEUE_TILE_ROWS */
    uint16_t reserved;
    uint32_t first_token, num_tokens; /* kv_slots[first_token ..): the item's tokens in range order, but from its
                                         first mask on interleaved across warps, QUEUE_SLICE at a time */
    uint32_t first_mask;    /* masks[first_mask + t], bit i: query i sees token t; QUEUE_NO_MASK: all see every token */
    uint32_t reserved_2;
} queue_task;

/* At most queue_tile_tokens of a task's tokens, for one KV head, with everything that the kernel needs of the task. The
 * tiles of a (task, KV head) follow each other on one worker. */
typedef struct queue_tile {
    uint32_t first_token;      /* kv_slots[first_token ..) */
    uint32_t first_mask;       /* masks[first_mask ..), or QUEUE_NO_MASK: all queries see all of its tokens */
    uint32_t first_partial;    /* queries[first_partial ..) */
    uint32_t number;           /* of the tile in its task, from 0 */
    uint32_t head;             /* first query head */
    uint16_t num_tokens, kv_head;
    uint8_t num_queries, num_heads;
    uint8_t is_first, is_last; /* of its task */
    uint8_t is_masked;         /* some tile of its task has masks */
    uint8_t reserved;
    uint16_t reciprocal;       /* of num_heads: row / num_heads = row * reciprocal >> 15 for the rows of a tile */
} queue_tile;

/* The first record that a worker loads. */
typedef struct queue_start {
    uint32_t first_tile, num_tiles;
    uint32_t kv_head, num_sharing; /* in a small queue: the worker's KV head, and how many workers have tiles of it */
    queue_tile tiles[QUEUE_START_TILES]; /* copies of its first tiles; zeros beyond num_tiles */
} queue_start;

#define QUEUE_ONLY_STATE UINT32_MAX

/* The query of a partial state of the plan. */
typedef struct queue_query {
    uint32_t query;
    uint32_t state; /* where the kernel stores the partial state: the states of a query are neighbours, in merge order;
                       QUEUE_ONLY_STATE: the query has no other, so the kernel writes the result instead */
} queue_query;

typedef struct plan_queue {
    uint32_t num_workers, num_tasks, num_tiles, num_tokens, num_masks, num_partials;
    bool is_small;          /* a KV head has at most QUEUE_SMALL_ROWS rows (queries x heads of a group), and no worker
                               has tiles of two KV heads: the last worker of each KV head can merge (step 11) */
    bool needs_merge;       /* some query has several partial states, or none. If not, the kernel writes every result,
                               and no worker waits (step 11) */
    queue_task *tasks;      /* [num_tasks] */
    queue_tile *tiles;      /* [num_tiles] worker by worker, in the order in which it runs them */
    uint32_t *worker_first; /* [num_workers + 1] worker w runs tiles[worker_first[w] .. worker_first[w + 1]) */
    queue_start *starts;    /* [num_workers] the same bounds, as the records that workers load */
    uint32_t *kv_slots;     /* [num_tokens] slot of KV head 0 in key and value: block * num_kv_heads * block_tokens +
                               slot in the block; that of KV head h is h * block_tokens further on */
    queue_query *queries;   /* [num_partials] */
    uint64_t *masks;        /* [num_masks] */
    uint32_t *slice_place;  /* masked item by masked item: where each slice of its tokens from its first mask on went;
                               for plan_queue_masks, on the host alone */
} plan_queue;

/* Builds the queue of a plan for a shape that tree_plan_fits accepts. TREE_NOMEM; TREE_OVERFLOW if a count exceeds
 * 2^31, the slots of the pool 2^32 or num_heads 2^16. On error *queue is untouched. An earlier queue is not freed.
 *
 * Dealing: a task costs 49152 bytes plus, for each of its tokens, K and V of one KV head and 2 x head_dim / 128 bytes
 * for each of its rows, rounded up to 16. Two ways are tried, and the one with the smaller largest load is taken:
 *   in the plan's order       the tasks of KV head 0, then those of KV head 1, ... form a line; each worker owns an
 *                             equal part of it, and a task goes to the owner of its middle
 *   the most expensive first  each (task, KV head) goes to a worker with the least load so far; taken if both are equal
 * In a small queue each KV head has workers of its own, and a line over these. A worker runs its tasks in the order in
 * which they were dealt.
 *
 * Cost: linear in the plan (items, ranges, partials, mask words) and in the queue (tasks x KV heads, tiles, tokens,
 * masks, workers), and log(workers) for each task and KV head. Each task has a mask word for each token of a masked
 * item: n packed rows over n tokens take n^2 / (queries of a task) words. */
tree_status plan_queue_build(plan_queue *queue, const tree_plan *plan, const tree_shape *shape, uint32_t num_workers);

/* The tasks of plan_queue_build, and nothing else: they do not depend on the workers. */
tree_status plan_queue_cut(plan_queue *queue, const tree_plan *plan, const tree_shape *shape);

/* masks [num_masks]: those of the queue for new masks of its plan, as tree_plan_set_keep writes them. Tokens keep their
 * places. Of the queue, it reads num_tasks, tasks and slice_place. Cost: linear in the ranges of masked items and in
 * num_masks. */
void plan_queue_masks(uint64_t *masks, const plan_queue *queue, const tree_plan *plan);

/* Frees all arrays but those that plan_queue_masks reads. */
void plan_queue_trim(plan_queue *queue);

/* Leaves an empty queue. */
void plan_queue_free(plan_queue *queue);

#ifdef __cplusplus
}
#endif
#endif
