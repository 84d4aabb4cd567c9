/* Walks every reachable state of a small pool, and checks every call in each of them.
 *
 * A state is: the living branches, their lengths, tables, promises and credits, the order of the free list and of the
 * quarantine. Generations, versions and counters only grow, so they are left out; branches are interchangeable, so
 * states that differ in their numbering alone count once. Every slot of a used block holds a symbol of its own; each
 * call's outcome is predicted from the tables and compared token by token, and kv_pool_check runs after each. */
#ifndef POOL_STATES_MODEL_H
#define POOL_STATES_MODEL_H

#include <stdbool.h>
#include <stdint.h>

enum { STATES_MAX_BLOCKS = 7, STATES_MAX_BRANCHES = 4, STATES_MAX_TOKENS = 28 };

typedef struct states_scope {
    uint32_t num_blocks, block_tokens, max_branches; /* num_blocks * block_tokens <= STATES_MAX_TOKENS */
    bool promises;                                   /* with kv_branch_reserve */
    uint32_t max_epochs;                             /* 0: without epochs; at most 2 */
} states_scope;

typedef struct states_count {
    uint64_t states, numbered_states; /* numbered: as if branches were not interchangeable */
    uint64_t transitions, copies, refused_blocks, refused_branches, refused_range, refused_stale, released;
} states_count;

/* A difference fails the running case (test.h) and names the state and the call. */
states_count states_walk(const states_scope *scope);

#endif
