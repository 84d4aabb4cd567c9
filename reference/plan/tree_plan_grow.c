/* tree_plan_grow: a plan follows paths that got longer, in place. */
#include "tree_plan_items_internal.h"

static bool can_grow(const tree_plan *plan, const kv_tree *tree)
{
    const struct tree_plan_growth *growth = plan->growth;
    uint64_t grown = 0;
    if (tree->num_queries != plan->num_queries || tree->num_blocks != plan->num_blocks
        || tree->block_tokens != plan->block_tokens)
        return false;
    for (uint32_t q = 0; q < plan->num_queries; q++) {
        uint32_t node = growth[q].node;
        if (tree->query_node[q] != node || (node != KV_NONE && node >= tree->num_nodes))
            return false;
        /* a node that shrank wraps to a number beyond any room */
        uint32_t num_tokens = node == KV_NONE ? 0 : tree->nodes[node].num_tokens - growth[q].node_tokens;
        if (num_tokens > growth[q].room)
            return false;
        grown += num_tokens;
    }
    /* Only the last nodes of paths were compared. A change to any other node shows in the sums. */
    return tree->unique_tokens == plan->unique_tokens + grown && tree->path_tokens == plan->path_tokens + grown;
}

/* Only the row of the query that grew sees the new tokens. */
static void grow_masks(tree_plan *plan, const tree_item *item, const tree_range *range, uint32_t row,
                       uint32_t num_tokens)
{
    uint32_t num_words = (uint32_t)(((uint64_t)item->num_rows + 63) / 64);
    plan_fill_masks(plan->masks + range->mask + (uint64_t)range->num_tokens * num_words, num_words, row, 1, num_tokens);
    plan->masked_pairs += (uint64_t)num_tokens * (item->num_rows - 1);
}

static void grow_query(tree_plan *plan, const kv_tree *tree, struct tree_plan_growth *growth)
{
    const kv_node *node = &tree->nodes[growth->node];
    uint32_t num_tokens = node->num_tokens - growth->node_tokens;
    tree_item *item = &plan->items[growth->item];
    tree_range *range = &plan->ranges[growth->range];
    uint32_t block = node->first_block + plan_node_blocks(node, growth->node_tokens, tree->block_tokens);
    uint32_t end = node->first_block + plan_node_blocks(node, node->num_tokens, tree->block_tokens);
    for (; block < end; block++) {
        plan->blocks[block] = tree->blocks[block];
        plan->max_block = plan_max(plan->max_block, tree->blocks[block]);
    }
    if (range->mask != TREE_NO_MASK)
        grow_masks(plan, item, range, node->first_row - item->first_row, num_tokens);
    range->num_tokens += num_tokens;
    item->num_tokens += num_tokens;
    plan->loaded_tokens += num_tokens;
    growth->node_tokens += num_tokens;
    growth->room -= num_tokens;
}

bool tree_plan_grow(tree_plan *plan, const kv_tree *tree)
{
    if (!can_grow(plan, tree))
        return false;
    struct tree_plan_growth *growth = plan->growth;
    for (uint32_t q = 0; q < plan->num_queries; q++)
        if (growth[q].node != KV_NONE && tree->nodes[growth[q].node].num_tokens != growth[q].node_tokens)
            grow_query(plan, tree, &growth[q]);
    plan->unique_tokens = tree->unique_tokens;
    plan->path_tokens = tree->path_tokens;
    return true;
}
