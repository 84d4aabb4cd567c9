#ifndef EXERCISE_H
#define EXERCISE_H

#include "kv_branch.h"

kv_copy exercise_copy(const kv_table *table, const uint32_t *ref, uint32_t block_tokens, uint32_t num_tokens,
                      uint32_t free_block);

#endif
