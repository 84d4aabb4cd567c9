#include "exercise.h"

void exercise_drop(kv_pool *pool, uint32_t *ref, const uint32_t *blocks, uint32_t count)
{
    for (uint32_t i = count; i-- > 0;) {
        ref[blocks[i]]--;
        if (ref[blocks[i]] == 0)
            exercise_free(pool, blocks[i]);
    }
}
