/* Claim: as test_gpu_fill, for the kernels' own source run on the host. */
#include "test_gpu_fill.c"
