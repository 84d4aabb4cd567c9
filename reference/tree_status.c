/* Sentences for status codes. */
#include "tree_status.h"

const char *tree_status_string(tree_status status)
{
    switch (status) {
    case TREE_OK: return "ok";
    case TREE_INVAL: return "an argument is outside what its function documents";
    case TREE_BAD_SHAPE: return "the shape is impossible, or differs from the plan's";
    case TREE_BAD_PLAN: return "the plan names a block outside the pool, or breaks a rule of its own";
    case TREE_NOMEM: return "the host is out of memory";
    case TREE_OVERFLOW: return "a count does not fit its type";
    case TREE_WORKSPACE: return "the workspace is too small or misaligned";
    case TREE_UNSUPPORTED: return "this storage type or instruction set is not supported here";
    }
    return "unknown status";
}
