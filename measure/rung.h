/* rung: the part of measure/rung.c that needs a GPU. */
#ifndef RUNG_H
#define RUNG_H

#include "tree_attention_gpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Microseconds of one call with plan cost, cold L2, over a level tree with 32/8 heads, head_dim 128, fp16; and the
 * floor of the same tree, measured in the same run (bench_floor). */
double rung_time(const tree_gpu_step *step, const char *nodes, const char *tokens, double *floor_us);

#ifdef __cplusplus
}
#endif
#endif
