#include "eviction_internal.h"
cudaError_t evict_3_fused(const eviction_arguments *, cudaStream_t) { return cudaErrorInvalidValue; }
