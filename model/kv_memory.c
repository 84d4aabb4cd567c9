#include "kv_memory.h"

#include <stdlib.h>
#include <string.h>

#include "importance.h"

bool kv_memory_create(kv_memory *memory, const tree_shape *shape, uint32_t num_layers, bool keeps_norms)
{
    if (tree_shape_check(shape) != TREE_OK)
        return false;
    *memory = (kv_memory){.num_layers = num_layers, .shape = *shape};
    memory->layer_slots = (uint64_t)shape->num_blocks * shape->num_kv_heads * shape->block_tokens;
    /* below 2^48 elements for each layer, by tree_shape_check */
    memory->key = calloc(memory->layer_slots * num_layers, shape->head_dim * sizeof(float));
    memory->value = calloc(memory->layer_slots * num_layers, shape->head_dim * sizeof(float));
    memory->norm = keeps_norms ? calloc(memory->layer_slots * num_layers, sizeof(float)) : NULL;
    if (memory->key && memory->value && (memory->norm || !keeps_norms))
        return true;
    kv_memory_destroy(memory);
    return false;
}

void kv_memory_destroy(kv_memory *memory)
{
    free(memory->key);
    free(memory->value);
    free(memory->norm);
    *memory = (kv_memory){.key = NULL};
}

void kv_memory_copy(kv_memory *memory, uint32_t from_block, uint32_t from_slot, uint32_t to_block, uint32_t to_slot,
                    uint32_t num_tokens)
{
    uint32_t head_dim = memory->shape.head_dim;
    size_t bytes = (size_t)num_tokens * head_dim * sizeof(float);
    for (uint32_t layer = 0; layer < memory->num_layers; layer++)
        for (uint32_t kv_head = 0; kv_head < memory->shape.num_kv_heads; kv_head++) {
            uint64_t first = layer * memory->layer_slots * head_dim;
            uint64_t from = first + tree_kv_offset(&memory->shape, from_block, kv_head, from_slot);
            uint64_t to = first + tree_kv_offset(&memory->shape, to_block, kv_head, to_slot);
            memcpy(memory->key + to, memory->key + from, bytes);
            memcpy(memory->value + to, memory->value + from, bytes);
            if (memory->norm)
                memcpy(memory->norm + to / head_dim, memory->norm + from / head_dim, num_tokens * sizeof(float));
            memory->copied_bytes += 2 * bytes;
        }
}

kv_status kv_memory_copy_branch(kv_memory *memory, kv_pool *pool, kv_branch branch, kv_branch *child)
{
    kv_table from, to;
    kv_append append;
    kv_branch copy = 0;
    kv_status status = kv_branch_table(pool, branch, &from);
    uint32_t length = status == KV_OK ? from.length : 0, block_tokens = memory->shape.block_tokens;
    if (status != KV_OK || (status = kv_branch_create(pool, &copy)) != KV_OK)
        return status;
    if (length && (status = kv_branch_append(pool, copy, length, &append)) != KV_OK) {
        kv_branch_prune(pool, copy);
        return status;
    }
    kv_branch_table(pool, branch, &from); /* both live: no call can fail */
    kv_branch_table(pool, copy, &to);
    for (uint32_t i = 0; i < to.num_blocks; i++) {
        uint32_t left = length - i * block_tokens;
        kv_memory_copy(memory, from.blocks[i], 0, to.blocks[i], 0, left < block_tokens ? left : block_tokens);
    }
    *child = copy;
    return KV_OK;
}

void kv_memory_write(kv_memory *memory, uint32_t layer, const uint64_t *slots, uint32_t count, const float *k,
                     const float *v)
{
    uint32_t head_dim = memory->shape.head_dim, block_tokens = memory->shape.block_tokens;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t kv_head = 0; kv_head < memory->shape.num_kv_heads; kv_head++) {
            uint64_t at = layer * memory->layer_slots * head_dim +
                          tree_kv_offset(&memory->shape, (uint32_t)(slots[i] / block_tokens), kv_head,
                                         (uint32_t)(slots[i] % block_tokens));
            memcpy(memory->key + at, k, head_dim * sizeof(float));
            memcpy(memory->value + at, v, head_dim * sizeof(float));
            if (memory->norm)
                memory->norm[at / head_dim] = value_norm(v, head_dim);
            k += head_dim, v += head_dim;
        }
}
