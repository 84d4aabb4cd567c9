/* Whether a shape is possible. */
#include "tree_shape.h"

#include <stdbool.h>

/* No buffer has so many elements: 2^48 floats are more than an address space. */
#define MAX_ELEMENTS (UINT64_C(1) << 48)

static bool product_fits(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    const uint64_t factors[3] = {b, c, d};
    for (int i = 0; i < 3; i++) {
        if (factors[i] && a > MAX_ELEMENTS / factors[i])
            return false;
        a *= factors[i];
    }
    return true;
}

tree_status tree_shape_check(const tree_shape *shape)
{
    uint32_t block_tokens = shape->block_tokens;
    if (!shape->num_heads || !shape->num_kv_heads || !shape->head_dim || !shape->num_blocks)
        return TREE_BAD_SHAPE;
    if (shape->num_heads % shape->num_kv_heads != 0)
        return TREE_BAD_SHAPE;
    if (!block_tokens || block_tokens > 256 || (block_tokens & (block_tokens - 1)) != 0)
        return TREE_BAD_SHAPE;
    if (shape->storage != TREE_FP32 && shape->storage != TREE_FP16 && shape->storage != TREE_BF16)
        return TREE_BAD_SHAPE;
    if (!product_fits(shape->num_queries, shape->num_heads, shape->head_dim, 1)
        || !product_fits(shape->num_blocks, shape->num_kv_heads, block_tokens, shape->head_dim))
        return TREE_BAD_SHAPE;
    return TREE_OK;
}
