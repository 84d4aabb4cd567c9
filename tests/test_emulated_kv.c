/* Claim: as test_gpu_kv, for the kernels' own source run on the host. */
#include "test_gpu_kv.c"
