/* Claim: as test_gpu_one_token, for the kernels' own source run on the host. */
#include "test_gpu_one_token.c"
