#include "exercise.h"

uint32_t exercise_plan(exercise_item *items, const kv_tree *tree, const tree_shape *shape)
{
    uint64_t storage = tree_storage_bytes(shape->storage);
    uint64_t token_bytes = 2 * (uint64_t)shape->num_kv_heads * shape->head_dim * storage;
    uint64_t row_bytes = shape->num_heads * (shape->head_dim * storage + 8 * ((uint64_t)shape->head_dim + 1));
    exercise_item lists[EXERCISE_MAX_ITEMS]; /* of each node: the tokens that an item for it would load */
    bool absorbed[EXERCISE_MAX_ITEMS];
    uint32_t num_items = 0;
    for (uint32_t i = 0; i < tree->num_nodes; i++) {
        const kv_node *node = &tree->nodes[i];
        uint32_t num_children = 0, rows_of_children = 0, num_tokens = 0;
        for (uint32_t j = i + 1; j < tree->num_nodes; j++) {
            if (tree->nodes[j].parent != i)
                continue;
            num_children++;
            rows_of_children += tree->nodes[j].num_rows;
        }
        exercise_item list = {node->first_row, node->num_rows, 0, {0}};
        if (node->parent != KV_NONE && absorbed[node->parent])
            list = lists[node->parent];
        list.first_row = node->first_row;
        list.num_rows = node->num_rows;
        list.nodes[list.num_nodes++] = i;
        for (uint32_t n = 0; n < list.num_nodes; n++)
            num_tokens += tree->nodes[list.nodes[n]].num_tokens;
        lists[i] = list;
        absorbed[i] = num_children > 0 && rows_of_children == node->num_rows
                      && (num_children - 1) * num_tokens * token_bytes < node->num_rows * row_bytes;
        if (!absorbed[i])
            items[num_items++] = list;
    }
    return num_items;
}
