#include "exercise.h"

void exercise_absorb(softmax_state *state, double score, const float *value, uint32_t head_dim)
{
    if (score == -INFINITY)
        return;
    double m = score > state->m ? score : state->m;
    double rescale = exp(state->m - m);
    double weight = exp(score - m);
    state->m = m;
    state->l = state->l * rescale + weight;
    for (uint32_t d = 0; d < head_dim; d++)
        state->o[d] = state->o[d] * rescale + weight * (double)value[d];
}
