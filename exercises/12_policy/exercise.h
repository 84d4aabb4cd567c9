#ifndef EXERCISE_H
#define EXERCISE_H

#include "eviction_policy.h"

void exercise_score(double *score, const eviction_view *view);

#endif
