/* longflow_l2: longflow with the L2 norm of a value instead of its L1 norm.
 *   idea    the output projection can absorb an orthogonal matrix on V, so this matrix does not change the model's
 *           results. It does not change L2 norms either, but it changes L1 norms: longflow's choice depends on the
 *           basis of V
 *   price   as longflow; the norms here are recomputed, since the pool stores L1
 *   limits  as longflow */
#include <math.h>

#include "eviction_view_internal.h"

static double l2_norm(const float *value, uint32_t head_dim)
{
    double sum = 0;
    for (uint32_t d = 0; d < head_dim; d++)
        sum += (double)value[d] * value[d];
    return sqrt(sum);
}

static void score(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    const tree_shape *shape = view->shape;
    uint32_t num_tokens = view->tokens->num_tokens, group_size = shape->num_heads / shape->num_kv_heads;
    for (uint32_t t = 0; t < num_tokens; t++) {
        score[t] = 0;
        for (uint32_t h = 0; h < shape->num_heads; h++) {
            uint64_t offset = token_offset(shape, view->tokens->slots[t], h / group_size);
            score[t] += view->weights[(uint64_t)h * num_tokens + t] * l2_norm(view->value + offset, shape->head_dim);
        }
    }
}

const eviction_policy policy_longflow_l2 = {
    .name = "longflow_l2",
    .variant = "for teaching: not published",
    .source = "LongFlow, arXiv 2603.11504, with another norm",
    .window = 1,
    .interval = 1,
    .candidates = eviction_all,
    .score = score,
};
