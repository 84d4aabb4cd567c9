#include "exercise.h"

uint64_t exercise_key_offset(const tree_shape *shape, uint32_t block, uint32_t head, uint32_t slot)
{
    uint32_t kv_head = head / (shape->num_heads / shape->num_kv_heads);
    return (((uint64_t)block * shape->num_kv_heads + kv_head) * shape->block_tokens + slot) * shape->head_dim;
}
