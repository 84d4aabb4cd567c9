/* Which tile a thread computes next, and which bytes it prefetches for the tiles after that. */
#ifndef TREE_ATTENTION_CPU_QUEUE_H
#define TREE_ATTENTION_CPU_QUEUE_H

#include "tree_attention_cpu_tile.h"

enum { CPU_SHORT, CPU_LONG, CPU_NUM_KINDS }; /* of items: tree_attention_cpu_queue.c */

enum {
    CPU_QUEUE_TOKENS = 512, /* tokens that are prefetched before they are packed: 256 KB in bf16 at head_dim 128 */
    CPU_QUEUE_TILES = 16
};

/* Shared by the threads of a call. A thread takes a task by drawing the kind's next ticket, so each task is computed
 * once. Which thread computes a task does not change its bits. */
typedef struct cpu_tickets {
    int64_t next[CPU_NUM_KINDS];
    uint64_t num_tokens[CPU_NUM_KINDS]; /* of all items of the kind */
} cpu_tickets;

/* A thread's position among the items of one kind. */
typedef struct cpu_stream {
    const tree_item *item;       /* NULL: none is open */
    uint32_t kv_head, end_head;  /* KV heads [kv_head, end_head) of the open item are left */
    uint32_t range, token, tile; /* the next one */
} cpu_stream;

/* The next tiles of one thread. */
typedef struct cpu_queue {
    const tree_plan *plan;
    const tree_shape *shape;
    const char *key, *value;
    cpu_tickets *tickets;
    uint64_t num_kind_tokens[CPU_NUM_KINDS]; /* a copy: drawing a ticket moves the line of `tickets` between cores */
    cpu_stream streams[CPU_NUM_KINDS];
    uint64_t taken[CPU_NUM_KINDS];   /* tokens of each kind that were queued */
    cpu_tile tiles[CPU_QUEUE_TILES]; /* a ring */
    uint32_t first, end, num_tokens; /* tiles [first, end) are queued */
    cpu_prefetch prefetch;
} cpu_queue;

void cpu_tickets_begin(cpu_tickets *tickets, const tree_plan *plan, const tree_shape *shape);

void cpu_queue_begin(cpu_queue *queue, const void *key, const void *value, const tree_plan *plan,
                     const tree_shape *shape, cpu_tickets *tickets);

/* The next tile, valid until the next call; its masks are not transposed yet. NULL: no tile is left. */
cpu_tile *cpu_queue_next(cpu_queue *queue);

#endif
