#include "exercise.h"

kv_copy exercise_copy(const kv_table *table, const uint32_t *ref, uint32_t block_tokens, uint32_t num_tokens,
                      uint32_t free_block)
{
    kv_copy copy = {0, 0, 0};
    uint32_t used = table->length % block_tokens;
    if (num_tokens == 0 || used == 0)
        return copy;
    uint32_t last = table->blocks[table->num_blocks - 1];
    if (ref[last] > 1)
        copy = (kv_copy){last, free_block, used};
    return copy;
}
