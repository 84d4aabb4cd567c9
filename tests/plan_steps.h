/* plan_steps: a step of a plan on the device, and the slots that it has to name. */
#ifndef PLAN_STEPS_H
#define PLAN_STEPS_H

#include <inttypes.h>
#include <stdlib.h>

#include "gpu_support.h"
#include "kv_tree.h"
#include "test.h"

/* Whether query q alone sees the node that ends its path: then the path may grow on the device. */
static inline bool is_sole(const kv_tree *tree, uint32_t q)
{
    return tree->query_node[q] != KV_NONE && tree->nodes[tree->query_node[q]].num_rows == 1;
}

/* Of the newest token of query q's path. */
static inline uint64_t newest_slot(const kv_tree *tree, uint32_t q)
{
    const kv_node *node = &tree->nodes[tree->query_node[q]];
    const uint32_t at = node->first_slot + node->num_tokens - 1;
    return (uint64_t)tree->blocks[node->first_block + at / tree->block_tokens] * tree->block_tokens
           + at % tree->block_tokens;
}

/* grows: the last step has lengthened paths. */
static inline void check_slots(const kv_tree *tree, const d_array *d_slots, bool grows)
{
    uint64_t *slots = (uint64_t *)malloc(d_slots->bytes + 1);
    check(slots, "memory");
    d_read(d_slots, slots, "slots");
    for (uint32_t q = 0; q < tree->num_queries; q++)
        check(slots[q] == (grows && is_sole(tree, q) ? newest_slot(tree, q) : UINT64_MAX), "the slot of query %" PRIu32,
              q);
    free(slots);
}

static inline void advance(tree_plan_gpu *gpu, d_array *slots)
{
    int cuda_error = -1;
    gpu_ok(tree_plan_gpu_advance(gpu, (uint64_t *)slots->data, NULL, &cuda_error), &cuda_error, "a step");
}

#endif
