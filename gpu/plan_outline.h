/* plan_outline: all that the host sends of a plan. The device fills in the queue from it (plan_fill.cu), so that an
 * update costs the host, and the copy, as much as the plan has blocks, ranges and queries, and a queue has tasks: not
 * its tokens x KV heads.
 *
 *   host     cut, deal (plan_deal.h); then an outline: one piece of memory, a head with the places of its arrays
 *   device   tasks, tiles, starts, slots, masks, queries: the arrays of plan_queue.h, as plan_queue_build makes them
 *
 * Paths that grow by a token in each step need no other outline: each count and each first place in it is a line,
 * now + steps x per_step. The deal does not follow the steps; results do not depend on it. */
#ifndef PLAN_OUTLINE_H
#define PLAN_OUTLINE_H

#include "plan_deal.h"
#include "tree_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    OUTLINE_STEPS = 64,      /* most steps of an outline: the arrays on the device have room for so many */
    OUTLINE_JOB_TOKENS = 2048 /* tokens that one thread block fills in */
};

typedef struct outline_line {
    uint32_t now, per_step;
} outline_line;

/* An item of the plan. */
typedef struct outline_item {
    outline_line first_token; /* of the queue */
    outline_line num_tokens;
    outline_line first_mask;  /* of the item's first task; only if num_unmasked is not DEAL_NO_MASK */
    uint32_t num_unmasked;    /* tokens before its first mask */
    uint32_t first_task;
} outline_item;

/* A range of the plan. */
typedef struct outline_range {
    outline_line first_token; /* of its item */
    outline_line num_tokens;
    uint32_t first_word;      /* of its masks: outline.mask_words[first_word ..) */
    uint32_t reserved;
} outline_range;

/* Tokens [first_token, first_token + OUTLINE_JOB_TOKENS) of an item; an item's last job has the rest. */
typedef struct outline_job {
    uint32_t item, first_token;
} outline_job;

/* A worker's tiles have a place of their own, with room for all steps. */
typedef struct outline_worker {
    uint32_t first_share; /* shares[first_share ..), up to those of the next worker */
    uint32_t first_tile;
} outline_worker;

#define OUTLINE_FIXED UINT32_MAX /* a query whose path does not grow: others see its last token, or it sees none */

/* Arrays are given as bytes from the outline's beginning: the same on the host and on the device. */
typedef struct plan_outline {
    uint32_t num_queries, num_items, num_ranges, num_blocks, num_partials;
    uint32_t num_jobs, num_workers, is_small;
    uint32_t num_mask_words; /* sent: of ranges, or of tokens */
    uint32_t has_token_masks; /* each token has mask words of its own; otherwise each masked range has */
    uint32_t max_queries, max_heads, num_head_parts, group_size;
    uint32_t turn;        /* which new blocks are meant: plan_gpu.cu */
    uint32_t num_steps;   /* most steps: no range outgrows its room in the plan, nor the arrays theirs */
    /* written by the device as well */
    uint32_t steps;       /* done so far */
    uint32_t is_new;      /* the next step is the plan's own: it adds no tokens */
    uint32_t num_arrived; /* thread blocks */
    uint32_t num_bytes;   /* of all */
    uint32_t plan_items, plan_ranges, blocks, rows, merge_first, merge_partials; /* as in the plan */
    uint32_t items, ranges, jobs, workers; /* [num_items], [num_ranges], [num_jobs], [num_workers + 1] */
    uint32_t shares;      /* [tasks x KV heads] task * num_kv_heads + KV head, worker by worker, as they were dealt */
    uint32_t ends;        /* [num_queries] range that ends the query's path and grows with it, or OUTLINE_FIXED */
    uint32_t mask_words;  /* [num_mask_words] of 64 bits */
    uint32_t tile_tokens; /* most tokens of a tile */
} plan_outline;

#define OUTLINE_ARRAY(type, outline, offset) ((type *)((char *)(outline) + (outline)->offset))

/* Elements of the arrays on the device, after the last step. */
typedef struct outline_room {
    uint64_t num_tasks, num_tiles, num_tokens, num_masks;
} outline_room;

typedef struct outline_builder {
    const tree_plan *plan;
    const tree_shape *shape;
    plan_deal deal;        /* kept from plan to plan: its memory */
    plan_outline head;
    outline_room room;
    uint32_t num_steps;
    uint64_t *words;       /* of the outline that is being written */
    uint32_t *num_growing; /* [num_items] ranges that grow */
    uint32_t *next_share;  /* [num_workers] */
    uint8_t *grows;        /* [num_ranges] */
    char *memory;          /* [capacity] of these three, kept as well */
    size_t capacity;
} outline_builder;

/* First pass: counts, deals; head.num_bytes and room are known then. A new builder begins as zeros. Statuses as
 * plan_queue_build; TREE_OVERFLOW also for an outline of 2^32 bytes. */
tree_status plan_outline_begin(outline_builder *b, const tree_plan *plan, const tree_shape *shape,
                               uint32_t num_workers);

/* Second pass: writes the outline to memory [head.num_bytes], aligned to 16 bytes. */
void plan_outline_write(outline_builder *b, plan_outline *outline);

void plan_outline_free(outline_builder *b);

static inline uint32_t outline_at(outline_line line, uint32_t steps) { return line.now + steps * line.per_step; }

#ifdef __cplusplus
}
#endif
#endif
