#ifndef EXERCISE_H
#define EXERCISE_H

#include "tree_plan.h" /* tree_range, TREE_NO_MASK */

void exercise_split(tree_range *left, tree_range *right, const tree_range *range, uint32_t at, uint32_t num_rows,
                    uint32_t block_tokens);

#endif
