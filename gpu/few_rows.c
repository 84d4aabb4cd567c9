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

/* Tokens, if each warp has so many slices. */
static uint64_t tokens_of(uint32_t num_slices, uint32_t num_queries, const tree_shape *shape, uint32_t num_workers)
{
    return (uint64_t)num_slices * SLICE * FEW_WARPS << few_rows_cluster(num_queries, shape, num_workers);
}

bool few_rows_fit(const tree_plan *plan, const tree_shape *shape, uint32_t num_workers)
{
    const uint32_t n = plan->num_queries;
    if (shape->storage == TREE_FP32 || n == 0 || n > FEW_QUERIES || num_clusters(n, shape) > MAX_CLUSTERS)
        return false;
    if (shape->head_dim == 256 && n * (shape->num_heads / shape->num_kv_heads) > FEW_TILE_ROWS / 2)
        return false; /* too many registers */
    const bool are_many = num_clusters(n, shape) << few_rows_cluster(n, shape, num_workers) > MANY_BLOCKS;
    return plan->loaded_tokens <= tokens_of(are_many ? 4 : 6, n, shape, num_workers);
}

bool few_rows_may_wait(const tree_plan *plan, const tree_shape *shape, uint32_t num_workers)
{
    return plan->loaded_tokens <= tokens_of(1, plan->num_queries, shape, num_workers);
}
