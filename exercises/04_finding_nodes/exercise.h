#ifndef EXERCISE_H
#define EXERCISE_H

#include "kv_tree.h" /* kv_node; here its first_token, num_tokens, first_row and num_rows are written */

/* The number of tokens that two tables have in common. */
static inline uint32_t exercise_shared(const kv_table *a, const kv_table *b, uint32_t block_tokens)
{
    uint32_t shortest = a->length < b->length ? a->length : b->length, t = 0;
    while (t < shortest && a->blocks[t / block_tokens] == b->blocks[t / block_tokens]) t++;
    return t;
}

uint32_t exercise_find_nodes(kv_node *nodes, const kv_table *tables, uint32_t first_row, uint32_t num_rows,
                             uint32_t first_token, uint32_t block_tokens);

#endif
