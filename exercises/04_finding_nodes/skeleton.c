#include "exercise.h"

/* Finds the nodes of the tables first_row .. first_row + num_rows - 1, from token first_token on. Returns their number.
 *   nodes   written, a parent before its children: first_token, num_tokens, first_row, num_rows
 *   tables  in such an order that the tables of each node are neighbours; one that ends at a node comes before those
 *           that go on
 * A node is a longest run of tokens that the same tables share. For two tables:
 * exercise_shared(&tables[a], &tables[b], block_tokens) tokens. */
uint32_t exercise_find_nodes(kv_node *nodes, const kv_table *tables, uint32_t first_row, uint32_t num_rows,
                             uint32_t first_token, uint32_t block_tokens)
{
    uint32_t num_nodes = 0;
    /* your code: up to which token do all these tables agree? That is a node, if it has a token. Then cut the tables
     * into groups that share the next token, and call this function for each group. */
    return num_nodes;
}
