/* What the builders of workloads share. */
#ifndef WORKLOAD_INTERNAL_H
#define WORKLOAD_INTERNAL_H

#include "workload.h"

/* An empty list with room for all operations to come. KV_RANGE for a list that could never be finished, before
 * anything is built. KV_NOMEM. */
kv_status workload_begin(workload **w, const workload_size *size);

/* Hands over the finished list, or destroys it and returns the reason. */
kv_status workload_finish(workload **result, workload *w);

/* A branch with num_tokens tokens; 0: an empty one. */
uint32_t workload_add_prompt(workload *w, uint32_t num_tokens, const char *label);

#endif
