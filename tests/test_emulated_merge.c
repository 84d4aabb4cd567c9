/* Claim: as test_gpu_merge, of the kernels' own lines on the host; fewer cases, since fibers are slow. */
#include "test_gpu_merge.c"
