#ifndef EXERCISE_H
#define EXERCISE_H

#include "tree_shape.h"

uint64_t exercise_key_offset(const tree_shape *shape, uint32_t block, uint32_t head, uint32_t slot);

#endif
