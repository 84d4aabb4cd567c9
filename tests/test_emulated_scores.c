/* Claim: as test_gpu_scores, of the kernels' own lines on the host; shorter sums, since fibers are slow. */
#include "test_gpu_scores.c"
