#include "exercise.h"

/* Forks a branch at a length: the child has the first `length` tokens of its parent.
 *   child   num_blocks and length are written
 *   blocks  the child's table, written; room for as many entries as the child needs
 *   ref     [blocks of the pool]  reference counts, changed: each block that the child lists gains one
 * No token is copied. Returns KV_OK; KV_RANGE if the parent has fewer tokens, and then nothing is written. */
kv_status exercise_fork_at(kv_table *child, uint32_t *blocks, uint32_t *ref, const kv_table *parent, uint32_t length,
                           uint32_t block_tokens)
{
    /* your code: refuse, count the blocks, then copy the entries of the table and count the references */
    return KV_OK;
}
