#include "few_rows.h"

enum {
    MAX_LOG_SIZE = 4,
    SLICE = 16,      /* tokens that a warp computes at once */
    MAX_CLUSTERS = 64,
    MANY_BLOCKS = 64 /* thread blocks that together take most of the memory's bandwidth */
};

uint32_t few_rows_tiles(uint32_t num_queries, const tree_shape *shape)
{
    const uint64_t num_rows = (uint64_t)num_queries * (shape->num_heads / shape->num_kv_heads);
    return (uint32_t)((num_rows + FEW_TILE_ROWS - 1) / FEW_TILE_ROWS);
}

static uint64_t num_clusters(uint32_t num_queries, const tree_shape *shape)
{
    return (uint64_t)few_rows_tiles(num_queries, shape) * shape->num_kv_heads;
}

uint32_t few_rows_cluster(uint32_t num_queries, const tree_shape *shape, uint32_t num_workers)
{
    uint32_t log_size = MAX_LOG_SIZE;
    while (log_size > 1 && num_clusters(num_queries, shape) << log_size > num_workers / 2)
        log_size--;
    return log_size;
}

/* Whether the kernel can run such a plan. */
static bool fits(uint32_t num_queries, const tree_shape *shape)
{
    if (shape->storage == TREE_FP32 || num_queries == 0 || num_queries > FEW_QUERIES
        || num_clusters(num_queries, shape) > MAX_CLUSTERS)
        return false;
    /* with more rows of this head_dim, too many registers */
    return shape->head_dim < 256 || num_queries * (shape->num_heads / shape->num_kv_heads) <= FEW_TILE_ROWS / 2;
}

uint64_t few_rows_limit(uint32_t num_queries, const tree_shape *shape, uint32_t num_workers, bool knows_old)
{
    if (!fits(num_queries, shape))
        return 0;
    const uint32_t log_size = few_rows_cluster(num_queries, shape, num_workers);
    const uint64_t num_blocks = num_clusters(num_queries, shape) << log_size;
    /* of a warp; tiles load their tokens apart, so that several of them pay for shorter lists alone */
    const uint32_t num_slices =
        !knows_old ? 1 : num_blocks <= MANY_BLOCKS ? 6 : few_rows_tiles(num_queries, shape) == 1 ? 4 : 3;
    return (uint64_t)num_slices * SLICE * FEW_WARPS << log_size;
}
