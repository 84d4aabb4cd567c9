/* Claim: as test_gpu_few, for the kernels' own source run on the host. */
#include "test_gpu_few.c"
