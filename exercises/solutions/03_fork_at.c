#include "exercise.h"

kv_status exercise_fork_at(kv_table *child, uint32_t *blocks, uint32_t *ref, const kv_table *parent, uint32_t length,
                           uint32_t block_tokens)
{
    if (length > parent->length)
        return KV_RANGE;
    child->length = length;
    child->num_blocks = (length + block_tokens - 1) / block_tokens;
    for (uint32_t i = 0; i < child->num_blocks; i++) {
        blocks[i] = parent->blocks[i];
        ref[blocks[i]]++;
    }
    return KV_OK;
}
