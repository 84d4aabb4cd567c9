#include "eviction_internal.h"
cudaError_t evict_4_warpgroup(const eviction_arguments *, cudaStream_t) { return cudaErrorInvalidValue; }
