/* Claim: as test_gpu_one_token, of the kernels' own lines on the host. */
#include "test_gpu_one_token.c"
