/* Walks every reachable state of a small pool that evicts, and makes every call in each of them, with the oracle of
 * pool_keep_model.h as the judge: as pool_states_model.h does for pools that do not evict.
 *
 * States are restored by kv_pool_load. A state is what later calls can tell apart: tables, kept slots, the order of
 * their positions in each branch, the first private one, promises, the quarantine. Blocks and branches are
 * interchangeable, so states that differ in their numbering alone count once, and so do all orders of the free list. */
#ifndef POOL_KEEP_STATES_MODEL_H
#define POOL_KEEP_STATES_MODEL_H

#include <stdbool.h>
#include <stdint.h>

typedef struct keep_scope {
    uint32_t num_blocks, block_tokens, max_branches; /* at most 4 blocks, 4 tokens, 3 branches */
    bool promises;
    uint32_t max_epochs; /* 0: without epochs */
} keep_scope;

typedef struct keep_count {
    uint64_t states, transitions, holes_taken, blocks_died, dead_blocks_shared, tails_left, tails_taken_over;
    uint64_t compactions, compactions_shared, refused_blocks;
} keep_count;

/* A difference fails the running case (test.h). */
keep_count keep_states_walk(const keep_scope *scope);

#endif
