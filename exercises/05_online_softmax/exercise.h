#ifndef EXERCISE_H
#define EXERCISE_H

#include "softmax_state.h" /* m, l and o; your function does what softmax_state_absorb does */

void exercise_absorb(softmax_state *state, double score, const float *value, uint32_t head_dim);

#endif
