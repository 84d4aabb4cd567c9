/* Claim: as test_gpu_merge, for the kernels' own source run on the host; fewer cases, since fibers are slow. */
#include "test_gpu_merge.c"
