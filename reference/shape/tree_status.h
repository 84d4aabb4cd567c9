/* Status codes of plans, attention and traffic. */
#ifndef TREE_STATUS_H
#define TREE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tree_status {
    TREE_OK = 0,
    TREE_INVAL = -1,     /* an argument is outside its documented range */
    TREE_BAD_SHAPE = -2, /* num_heads % num_kv_heads, head_dim 0, block_tokens no power of two, shape and plan differ */
    TREE_BAD_PLAN = -3,  /* an item names a block outside the pool, or the plan breaks a rule of its own */
    TREE_NOMEM = -4,     /* the host, or in a GPU call the GPU, is out of memory */
    TREE_OVERFLOW = -5,  /* a count does not fit its type */
    TREE_WORKSPACE = -6, /* the workspace is smaller than *_workspace_bytes, or misaligned */
    TREE_UNSUPPORTED = -7, /* this function does not support the storage type, head_dim or instruction set */
    TREE_NO_DEVICE = -8, /* no CUDA driver, or the driver reports no GPU */
    TREE_OLD_DRIVER = -9, /* the CUDA driver is older than the CUDA that the GPU code was built with */
    TREE_NO_KERNEL_IMAGE = -10, /* the GPU code was built without this GPU's architecture */
    TREE_CUDA_ERROR = -11, /* CUDA refused for another reason; see tree_cuda_error_string */
    TREE_NOT_FINITE = -12 /* an importance or a policy's score is NaN or infinite: no token is the least important */
} tree_status;

/* One sentence for a status, never NULL. */
const char *tree_status_string(tree_status status);

#ifdef __cplusplus
}
#endif
#endif
