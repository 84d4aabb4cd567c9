/* Claim: as test_gpu_eviction, for the kernels' own source run on the host; on small trees, since fibers are slow. */
#include "test_gpu_eviction.c"
