#ifndef EXERCISE_H
#define EXERCISE_H

#include "kv_pool.h"

/* The block may be taken by another append from now on. */
void exercise_free(kv_pool *pool, uint32_t block);

void exercise_drop(kv_pool *pool, uint32_t *ref, const uint32_t *blocks, uint32_t count);

#endif
