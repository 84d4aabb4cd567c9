#include "exercise.h"

/* A branch is pruned: each block of its table loses one reference.
 *   ref     [blocks of the pool]  reference counts, changed
 *   blocks  [count]               the branch's table; each block is in it once
 * A block whose count becomes 0 is free: call exercise_free(pool, block), once. Take the blocks from the end of the
 * table to its beginning: the pool hands out first the block that was freed last. */
void exercise_drop(kv_pool *pool, uint32_t *ref, const uint32_t *blocks, uint32_t count)
{
    /* your code: 4 lines */
}
