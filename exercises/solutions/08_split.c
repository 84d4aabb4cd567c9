#include "exercise.h"

void exercise_split(tree_range *left, tree_range *right, const tree_range *range, uint32_t at, uint32_t num_rows,
                    uint32_t block_tokens)
{
    *left = *range;
    *right = *range;
    left->num_tokens = at;
    right->num_tokens = range->num_tokens - at;
    right->first_block = range->first_block + (range->first_slot + at) / block_tokens;
    right->first_slot = (range->first_slot + at) % block_tokens;
    if (range->mask != TREE_NO_MASK)
        right->mask = range->mask + at * ((num_rows + 63) / 64);
}
