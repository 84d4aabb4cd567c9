#ifndef EXERCISE_H
#define EXERCISE_H

#include "kv_branch.h"

kv_status exercise_fork_at(kv_table *child, uint32_t *blocks, uint32_t *ref, const kv_table *parent, uint32_t length,
                           uint32_t block_tokens);

#endif
