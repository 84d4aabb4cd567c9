/* tool_bench: the two halves of the verb bench. */
#ifndef TOOL_BENCH_H
#define TOOL_BENCH_H

#include "tool_options.h"

/* bench --gpu: one call on this GPU, cold and warm, beside its floor and the GPU's ceilings. */
int tool_bench_gpu(const tool_call *call);

#endif
