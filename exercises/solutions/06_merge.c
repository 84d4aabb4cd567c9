#include "exercise.h"

void exercise_merge(softmax_state *state, const softmax_state *other, uint32_t head_dim)
{
    if (other->l == 0)
        return;
    double m = other->m > state->m ? other->m : state->m;
    double rescale = exp(state->m - m);
    double other_rescale = exp(other->m - m);
    state->m = m;
    state->l = state->l * rescale + other->l * other_rescale;
    for (uint32_t d = 0; d < head_dim; d++)
        state->o[d] = state->o[d] * rescale + other->o[d] * other_rescale;
}
