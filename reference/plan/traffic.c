/* traffic: predicts the bytes that a plan moves. The formulas are in traffic.h. */
#include "traffic.h"

const char *const traffic_variant_name[TRAFFIC_NUM_VARIANTS] = {"packed", "deft_counted", "deft_issued"};

/* K and V of one token for num_heads heads. */
static uint64_t token_bytes(const tree_shape *shape, uint32_t num_heads)
{
    return 2 * (uint64_t)num_heads * shape->head_dim * tree_storage_bytes(shape->storage);
}

/* One row of Q or of out. */
static uint64_t row_bytes(const tree_shape *shape)
{
    return (uint64_t)shape->num_heads * shape->head_dim * tree_storage_bytes(shape->storage);
}

/* ---- sums over the items ---- */

typedef struct item_sums {
    uint64_t pairs;         /* rows x tokens */
    uint64_t mask_words;    /* of the masked ranges, without their room to grow */
    uint64_t row_mask_words;/* the same, read once per row */
    uint64_t whole_words;   /* if every token of an item with a mask had mask words */
    uint64_t merged;        /* partials of queries that have at least two */
} item_sums;

static void add_item(item_sums *sums, const tree_plan *plan, const tree_item *item)
{
    uint64_t num_words = ((uint64_t)item->num_rows + 63) / 64, masked_tokens = 0;
    for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++)
        if (plan->ranges[r].mask != TREE_NO_MASK)
            masked_tokens += plan->ranges[r].num_tokens;
    sums->pairs += (uint64_t)item->num_rows * item->num_tokens;
    sums->mask_words += masked_tokens * num_words;
    sums->row_mask_words += masked_tokens * num_words * item->num_rows;
    sums->whole_words += masked_tokens ? item->num_tokens * num_words : 0;
}

static item_sums sum_items(const tree_plan *plan)
{
    item_sums sums = {0, 0, 0, 0, 0};
    for (uint32_t i = 0; i < plan->num_items; i++)
        add_item(&sums, plan, &plan->items[i]);
    for (uint32_t q = 0; q < plan->num_queries; q++) {
        uint32_t count = plan->merge_first[q + 1] - plan->merge_first[q];
        sums.merged += count > 1 ? count : 0;
    }
    return sums;
}

/* ---- variants ---- */

static void count_packed(tree_traffic *traffic, const tree_plan *plan, const item_sums *sums, const tree_shape *shape)
{
    traffic->plan_bytes = plan->loaded_tokens * token_bytes(shape, shape->num_kv_heads);
    traffic->query_bytes = plan->num_partials * row_bytes(shape);
    traffic->mask_bytes = 8 * sums->mask_words * shape->num_kv_heads;
    traffic->partial_bytes = 8 * sums->merged * shape->num_heads * ((uint64_t)shape->head_dim + 1);
}

static void count_deft_counted(tree_traffic *traffic, const tree_plan *plan, const item_sums *sums,
                               const tree_shape *shape)
{
    tree_strategy strategy = plan->config.strategy;
    uint64_t num_tokens = plan->loaded_tokens;
    if (strategy == TREE_TREE_MASK) {
        num_tokens = sums->pairs;
        traffic->mask_bytes = 8 * sums->whole_words;
    } else if (strategy == TREE_FLATTEN) {
        num_tokens = plan->unique_tokens;
        traffic->mask_bytes = 8 * plan->unique_tokens;
    }
    traffic->plan_bytes = num_tokens * token_bytes(shape, shape->num_heads);
    traffic->query_bytes = plan->num_queries * row_bytes(shape);
}

static void count_deft_issued(tree_traffic *traffic, const tree_plan *plan, const item_sums *sums,
                              const tree_shape *shape)
{
    uint64_t num_heads = shape->num_heads, state = 4 * num_heads * ((uint64_t)shape->head_dim + 1);
    uint64_t num_tokens = plan->loaded_tokens;
    switch (plan->config.strategy) {
    case TREE_FLASH_DECODING:
        traffic->partial_bytes = 2 * state * plan->num_partials;
        break;
    case TREE_RADIX:
        traffic->mask_bytes = 8 * num_heads * num_tokens;
        traffic->partial_bytes = 4 * num_heads * num_tokens;
        break;
    case TREE_TREE_MASK:
        num_tokens = sums->pairs;
        traffic->mask_bytes = 8 * num_heads * sums->row_mask_words;
        break;
    case TREE_NODE: case TREE_NODE_CHUNK:
        traffic->mask_bytes = 8 * num_heads * num_tokens;
        traffic->partial_bytes = 3 * state * plan->num_partials;
        break;
    case TREE_FLATTEN:
        traffic->mask_bytes = 16 * num_heads * plan->config.piece_tokens * plan->num_items;
        traffic->partial_bytes = 3 * state * plan->num_partials;
        break;
    case TREE_COST:
        traffic->mask_bytes = 8 * num_heads * sums->mask_words;
        traffic->partial_bytes = 2 * state * plan->num_partials;
        break;
    case TREE_FLASH: case TREE_NUM_STRATEGIES:
        break;
    }
    traffic->plan_bytes = num_tokens * token_bytes(shape, shape->num_heads);
    traffic->query_bytes = plan->num_partials * row_bytes(shape);
}

tree_status tree_traffic_count(tree_traffic *traffic, const tree_plan *plan, const tree_shape *shape,
                               traffic_variant variant)
{
    tree_status status = tree_plan_fits(plan, shape);
    if (status)
        return status;
    if ((unsigned)variant >= TRAFFIC_NUM_VARIANTS)
        return TREE_INVAL;
    uint64_t token = token_bytes(shape, variant == TRAFFIC_PACKED ? shape->num_kv_heads : shape->num_heads);
    item_sums sums = sum_items(plan);
    *traffic = (tree_traffic){.logical_bytes = plan->path_tokens * token, .unique_bytes = plan->unique_tokens * token,
                              .out_bytes = plan->num_queries * row_bytes(shape)};
    if (variant == TRAFFIC_PACKED)
        count_packed(traffic, plan, &sums, shape);
    else if (variant == TRAFFIC_DEFT_COUNTED)
        count_deft_counted(traffic, plan, &sums, shape);
    else
        count_deft_issued(traffic, plan, &sums, shape);
    return TREE_OK;
}

/* ---- the two functions that materialise ---- */

static tree_status check_tree(const kv_tree *tree, const tree_shape *shape)
{
    tree_status status = tree_shape_check(shape);
    if (!status && (tree->num_queries != shape->num_queries || tree->block_tokens != shape->block_tokens))
        status = TREE_BAD_SHAPE;
    return status;
}

tree_status tree_traffic_standard(tree_traffic *traffic, const kv_tree *tree, const tree_shape *shape)
{
    tree_status status = check_tree(tree, shape);
    if (status)
        return status;
    uint64_t token = token_bytes(shape, shape->num_kv_heads), rows = tree->num_queries * row_bytes(shape);
    uint64_t arrays = token + token_bytes(shape, shape->num_heads) + 8 * (uint64_t)shape->num_heads;
    *traffic = (tree_traffic){.logical_bytes = tree->path_tokens * token, .unique_bytes = tree->unique_tokens * token,
                              .plan_bytes = tree->path_tokens * token, .query_bytes = rows, .out_bytes = rows,
                              .partial_bytes = 2 * tree->path_tokens * arrays};
    return TREE_OK;
}

tree_status tree_traffic_dense_mask(tree_traffic *traffic, const kv_tree *tree, const tree_shape *shape)
{
    tree_status status = check_tree(tree, shape);
    if (status)
        return status;
    uint64_t token = token_bytes(shape, shape->num_heads), rows = tree->num_queries * row_bytes(shape);
    uint64_t pairs = tree->num_queries * tree->unique_tokens;
    *traffic = (tree_traffic){.logical_bytes = tree->path_tokens * token, .unique_bytes = tree->unique_tokens * token,
                              .plan_bytes = tree->unique_tokens * token, .query_bytes = rows, .out_bytes = rows,
                              .mask_bytes = 2 * pairs, .partial_bytes = 20 * pairs * shape->num_heads};
    return TREE_OK;
}
