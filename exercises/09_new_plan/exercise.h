#ifndef EXERCISE_H
#define EXERCISE_H

#include "kv_tree.h"
#include "tree_shape.h"

enum { EXERCISE_MAX_ITEMS = 64, EXERCISE_MAX_NODES = 16 };

/* Each of the rows tree->rows[first_row .. first_row + num_rows) sees all tokens of all these nodes. */
typedef struct exercise_item {
    uint32_t first_row, num_rows;
    uint32_t num_nodes, nodes[EXERCISE_MAX_NODES]; /* indices into tree->nodes, along a path, from its root on */
} exercise_item;

uint32_t exercise_plan(exercise_item *items, const kv_tree *tree, const tree_shape *shape);

#endif
