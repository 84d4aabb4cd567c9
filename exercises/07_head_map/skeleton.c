#include "exercise.h"

/* The index, in the array of keys, of the first element of the key that query head `head` reads at (block, slot).
 *   keys  [num_blocks][num_kv_heads][block_tokens][head_dim]
 * Query heads are in groups of num_heads / num_kv_heads that follow each other; a group reads one KV head. A pool may
 * have more than 2^32 elements. */
uint64_t exercise_key_offset(const tree_shape *shape, uint32_t block, uint32_t head, uint32_t slot)
{
    /* your code: the KV head of this query head, then the index */
    return 0;
}
