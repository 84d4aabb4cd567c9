/* Sentences for status codes. */
#include "tree_status.h"

const char *tree_status_string(tree_status status)
{
    switch (status) {
    case TREE_OK: return "ok";
    case TREE_INVAL: return "an argument is outside what its function documents";
    case TREE_BAD_SHAPE: return "the shape is impossible, or differs from the plan's";
    case TREE_BAD_PLAN: return "the plan names a block outside the pool, or breaks a rule of its own";
    case TREE_NOMEM: return "out of memory, on the host or on the GPU that was asked";
    case TREE_OVERFLOW: return "a count does not fit its type";
    case TREE_WORKSPACE: return "the workspace is too small or misaligned";
    case TREE_UNSUPPORTED: return "this storage type, head_dim or instruction set is not supported here";
    case TREE_NO_DEVICE: return "no CUDA driver, or no GPU that it shows";
    case TREE_OLD_DRIVER: return "the CUDA driver is older than the CUDA that this was built with";
    case TREE_NO_KERNEL_IMAGE: return "this was built without the architecture of this GPU";
    case TREE_CUDA_ERROR: return "a CUDA call failed";
    case TREE_NOT_FINITE: return "an importance is NaN or infinite, so no token is the least important";
    }
    return "unknown status";
}
