#include "few_rows.h"

enum {
    MAX_LOG_SIZE = 4,
    WARPS = 4,       /* of a thread block */
    SLICE = 16,      /* tokens */
    MAX_SLICES = 8,  /* of a warp */
    MAX_CLUSTERS = 64
};

uint32_t few_rows_tiles(uint32_t num_queries, const tree_shape *shape)
{
    const uint64_t num_rows = (uint64_t)num_queries * (shape->num_heads / shape->num_kv_heads);
    return (uint32_t)((num_rows + FEW_TILE_ROWS - 1) / FEW_TILE_ROWS);
}

uint32_t few_rows_cluster(uint32_t num_queries, const tree_shape *shape, uint32_t num_workers)
{
    const uint64_t num_clusters = (uint64_t)few_rows_tiles(num_queries, shape) * shape->num_kv_heads;
    uint32_t log_size = MAX_LOG_SIZE;
    while (log_size > 1 && num_clusters << log_size > num_workers / 2)
        log_size--;
    return log_size;
}

bool few_rows_fit(const tree_plan *plan, const tree_shape *shape, uint32_t num_workers)
{
    const uint32_t tiles = few_rows_tiles(plan->num_queries, shape);
    if (shape->storage == TREE_FP32 || plan->num_queries == 0 || plan->num_queries > FEW_QUERIES
        || (uint64_t)tiles * shape->num_kv_heads > MAX_CLUSTERS)
        return false;
    if (shape->head_dim == 256 && plan->num_queries * (shape->num_heads / shape->num_kv_heads) > FEW_TILE_ROWS / 2)
        return false; /* too many registers */
    const uint64_t num_warps = (uint64_t)WARPS << few_rows_cluster(plan->num_queries, shape, num_workers);
    return plan->loaded_tokens <= num_warps * SLICE * MAX_SLICES;
}
