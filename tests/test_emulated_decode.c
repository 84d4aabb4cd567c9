/* Claim: as test_gpu_decode, for the kernels' own source run on the host. */
#include "test_gpu_decode.c"
