/* Claim: as test_gpu_eviction_rungs, for the kernels' own source run on the host. */
#include "test_gpu_eviction_rungs.c"
