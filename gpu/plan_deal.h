/* plan_deal: cuts the items of a plan into tasks, and deals each task, for each KV head, to a worker. The first half of
 * a queue (plan_queue.h), and all of it that the host decides for a plan on the GPU (plan_outline.h). */
#ifndef PLAN_DEAL_H
#define PLAN_DEAL_H

#include "tree_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    QUEUE_TILE_ROWS = 64, /* most rows of a task: its queries x their query heads of one KV head */
    QUEUE_SMALL_ROWS = 4  /* most rows of a KV head in a small queue: one for each warp of a worker */
};

/* Most tokens of a tile: 16 KiB of K at two bytes per element. */
static inline uint32_t queue_tile_tokens(uint32_t head_dim) { return 8192 / head_dim; }

#define DEAL_NO_MASK UINT32_MAX

typedef struct plan_deal {
    uint32_t num_workers;
    uint32_t group_size, tile_tokens;
    uint32_t max_queries, max_heads; /* of a task */
    uint32_t num_head_parts;         /* tasks that share the heads of a group */
    uint64_t num_tasks, num_tiles, num_tokens, num_masks;
    bool is_small, needs_merge; /* plan_queue.h */
    uint32_t *num_unmasked; /* [num_items] tokens of the item before its first mask; DEAL_NO_MASK: it has none */
    uint64_t *cost;         /* [num_tasks] */
    uint32_t *order;        /* [num_tasks] in which they were dealt */
    uint32_t *worker;       /* [num_tasks][num_kv_heads] that runs the task */
    uint64_t *load;         /* [num_workers] scratch */
    uint32_t *heap;         /* [num_workers] scratch: the bin with the least load on top */
    char *memory;           /* [capacity] of all arrays; kept from deal to deal */
    size_t capacity;
} plan_deal;

/* Counts, and num_unmasked. A new deal begins as zeros; an earlier one is replaced, and its memory is used again.
 * TREE_NOMEM; TREE_OVERFLOW as plan_queue_build. Cost: linear in the items, and in the ranges before their first
 * mask. */
tree_status plan_deal_count(plan_deal *deal, const tree_plan *plan, const tree_shape *shape, uint32_t num_workers);

/* Then the rest, by the rules of plan_queue_build. Cost: linear in the tasks x KV heads, and for each task
 * num_kv_heads / d x log(num_workers / d), where d is the greatest common divisor of num_kv_heads and num_workers. */
void plan_deal_tasks(plan_deal *deal, const tree_plan *plan, const tree_shape *shape);

void plan_deal_free(plan_deal *deal);

/* Tokens of the item before its first mask; DEAL_NO_MASK: it has none. */
static inline uint32_t deal_count_unmasked(const tree_plan *plan, const tree_item *item)
{
    uint32_t count = 0;
    for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
        if (plan->ranges[r].mask != TREE_NO_MASK)
            return count;
        count += plan->ranges[r].num_tokens;
    }
    return DEAL_NO_MASK;
}

static inline uint32_t deal_num_tiles(const plan_deal *deal, uint64_t num_tokens)
{
    return (uint32_t)((num_tokens + deal->tile_tokens - 1) / deal->tile_tokens);
}

/* Tasks of an item with so many rows that differ in their queries; each is num_head_parts tasks. */
static inline uint32_t deal_num_parts(const plan_deal *deal, uint32_t num_rows)
{
    return (uint32_t)(((uint64_t)num_rows + deal->max_queries - 1) / deal->max_queries);
}

#ifdef __cplusplus
}
#endif
#endif
