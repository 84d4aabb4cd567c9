/* gpu_protocol: how every time on a GPU is taken, in the figures and by treeattn bench --gpu. */
#ifndef GPU_PROTOCOL_H
#define GPU_PROTOCOL_H

#define GPU_STATISTIC \
    "median of 7 replays of a CUDA graph, us per call; cold: K and V sets rotated, 600 MB in all and at most 64 sets; " \
    "warm: one set again and again"

/* Divides the lengths of the nodes of most level trees, so that no branch has to copy a part-filled block. */
enum { BENCH_BLOCK_TOKENS = 8 };

#endif
