#include "exercise.h"

void exercise_score(double *score, const eviction_view *view)
{
    const tree_shape *s = view->shape;
    uint32_t n = view->tokens->num_tokens;
    for (uint32_t t = 0; t < n; t++) {
        uint64_t block = view->tokens->slots[t] / s->block_tokens, slot = view->tokens->slots[t] % s->block_tokens;
        score[t] = 0;
        for (uint32_t head = 0; head < s->num_heads; head++) {
            uint32_t kv_head = head / (s->num_heads / s->num_kv_heads);
            double norm = (double)view->norm[(block * s->num_kv_heads + kv_head) * s->block_tokens + slot];
            score[t] += view->weights[(uint64_t)head * n + t] * norm;
        }
    }
}
