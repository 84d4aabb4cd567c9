/* plan_fill: the device fills in the queue of an outline. */
#ifndef PLAN_FILL_H
#define PLAN_FILL_H

#include "gpu_internal.h"
#include "plan_outline.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Passed by value. Pointers are device memory, except for new_blocks; the counts in plan and queue are not read: a
 * captured launch serves all plans that fit the arrays. */
typedef struct fill_arguments {
    plan_outline *outline;
    tree_shape shape;
    tree_plan plan;
    plan_queue queue;
    uint32_t *partial_item, *arrivals;
    few_token *few_tokens; /* [few_capacity] NULL: they are not wanted */
    uint32_t few_capacity;
    const uint32_t *new_blocks; /* [..][max_blocks] pinned: entry i of plan.blocks, where a step needs a new one */
    uint32_t max_blocks;
    uint32_t num_blocks; /* thread blocks */
} fill_arguments;

/* What the kernel copies from pinned memory first. */
typedef struct outline_copy {
    const char *from;
    char *to; /* the outline, or its masks */
    uint32_t num_bytes; /* a multiple of 8; addresses are multiples of 16 */
    uint64_t number;    /* stored to *taken after the copy */
    volatile uint64_t *taken;
    uint32_t *barrier;
} outline_copy;

/* Copies, then fills in everything. */
cudaError_t plan_fill_new(const fill_arguments *a, const outline_copy *copy, cudaStream_t stream);

/* Nothing but slots where the plan is new; otherwise each path that grows has one token more. slots [num_queries] may
 * be NULL. */
cudaError_t plan_fill_step(const fill_arguments *a, uint64_t *slots, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
