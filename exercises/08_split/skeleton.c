#include "exercise.h"

/* Splits a range of tokens before token `at`, 0 < at < range->num_tokens: left gets the first `at` tokens, right the
 * others.
 *   first_block  index in the plan's list of blocks; token t of a range lies in block first_block +
 *                (first_slot + t) / block_tokens of that list, in slot (first_slot + t) % block_tokens
 *   mask         index of the mask words of the range's first token, or TREE_NO_MASK. Each token has
 *                ceil(num_rows / 64) words, one bit for each row of the item */
void exercise_split(tree_range *left, tree_range *right, const tree_range *range, uint32_t at, uint32_t num_rows,
                    uint32_t block_tokens)
{
    *left = *range;
    *right = *range;
    /* your code: what is different in left, and what in right? */
}
