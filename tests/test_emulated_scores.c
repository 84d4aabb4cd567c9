/* Claim: as test_gpu_scores, for the kernels' own source run on the host; shorter sums, since fibers are slow. */
#include "test_gpu_scores.c"
