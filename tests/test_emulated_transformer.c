/* Claim: as test_gpu_transformer, for the kernels' own source run on the host, with plain loops as products. */
#include "test_gpu_transformer.c"
