#include "exercise.h"

uint32_t exercise_find_nodes(kv_node *nodes, const kv_table *tables, uint32_t first_row, uint32_t num_rows,
                             uint32_t first_token, uint32_t block_tokens)
{
    uint32_t num_nodes = 0, end_row = first_row + num_rows, end = tables[first_row].length;
    for (uint32_t row = first_row + 1; row < end_row; row++) {
        uint32_t shared = exercise_shared(&tables[row - 1], &tables[row], block_tokens);
        end = shared < end ? shared : end;
    }
    if (end > first_token)
        nodes[num_nodes++] = (kv_node){.first_token = first_token, .num_tokens = end - first_token,
                                       .first_row = first_row, .num_rows = num_rows};
    for (uint32_t row = first_row, next; row < end_row; row = next) {
        next = row + 1;
        while (next < end_row && exercise_shared(&tables[next - 1], &tables[next], block_tokens) > end)
            next++;
        if (tables[row].length > end)
            num_nodes += exercise_find_nodes(nodes + num_nodes, tables, row, next - row, end, block_tokens);
    }
    return num_nodes;
}
