/* What replay.c and replay_measure.c share. */
#ifndef REPLAY_INTERNAL_H
#define REPLAY_INTERNAL_H

#include "replay.h"

/* Whether operation i is a FORK whose parent is pruned by the next operation: the child takes over its table. */
bool replay_is_last_child(const workload *score, uint32_t i);

#endif
