/* Copies and appends in device memory. Both move rows of K and V in pieces of 16 bytes, neighbours by neighbouring
 * threads. */
#include "device.cuh"

#include <assert.h>

#include "gpu_internal.h"
#include "kv_gpu.h"

enum { COPIES_PER_LAUNCH = 128, THREADS = 128, PIECE = 16, MAX_BLOCKS = 0x7fffffff };

/* Of the pool, in pieces of 16 bytes. */
typedef struct kv_pieces {
    uint4 *key, *value;
    uint32_t num_blocks, num_kv_heads, block_tokens, row_pieces;
} kv_pieces;

/* A kernel's parameters hold 4 KiB. */
typedef struct copy_batch {
    kv_copy copies[COPIES_PER_LAUNCH];
} copy_batch;

static __device__ uint64_t first_piece(const kv_pieces &kv, uint64_t block, uint32_t kv_head, uint32_t slot)
{
    return ((block * kv.num_kv_heads + kv_head) * kv.block_tokens + slot) * kv.row_pieces;
}

/* Thread block n has copy n / num_kv_heads of KV head n % num_kv_heads: its slots lie behind each other. */
static __global__ void copy_slots(kv_pieces kv, copy_batch batch)
{
    const kv_copy copy = batch.copies[blockIdx.x / kv.num_kv_heads];
    uint32_t kv_head = blockIdx.x % kv.num_kv_heads, num_pieces = copy.num_tokens * kv.row_pieces;
    uint64_t from = first_piece(kv, copy.from_block, kv_head, 0), to = first_piece(kv, copy.to_block, kv_head, 0);
    for (uint32_t i = threadIdx.x; i < num_pieces; i += blockDim.x) {
        kv.key[to + i] = kv.key[from + i];
        kv.value[to + i] = kv.value[from + i];
    }
}

/* Thread block n has row n: its KV heads lie behind each other there, and block_tokens rows apart here. */
static __global__ void append_rows(kv_pieces kv, const uint4 *key_rows, const uint4 *value_rows, const uint64_t *slots)
{
    uint64_t slot = slots[blockIdx.x], block = slot / kv.block_tokens;
    if (block >= kv.num_blocks)
        return;
    uint32_t num_pieces = kv.num_kv_heads * kv.row_pieces;
    for (uint32_t i = threadIdx.x; i < num_pieces; i += blockDim.x) {
        uint64_t from = (uint64_t)blockIdx.x * num_pieces + i;
        uint64_t to = first_piece(kv, block, i / kv.row_pieces, (uint32_t)(slot % kv.block_tokens)) + i % kv.row_pieces;
        kv.key[to] = key_rows[from];
        kv.value[to] = value_rows[from];
    }
}

static bool aligned(const void *array) { return (uintptr_t)array % PIECE == 0; }

static tree_status check_pool(kv_pieces *kv, void *key, void *value, const tree_shape *shape)
{
    tree_status status = tree_shape_check(shape);
    if (status != TREE_OK)
        return status;
    uint64_t row_bytes = (uint64_t)shape->head_dim * tree_storage_bytes(shape->storage);
    if (row_bytes % PIECE != 0)
        return TREE_UNSUPPORTED;
    if (!aligned(key) || !aligned(value))
        return TREE_INVAL;
    uint64_t row_pieces = row_bytes / PIECE;
    if (shape->num_kv_heads > MAX_BLOCKS / COPIES_PER_LAUNCH || row_pieces > UINT32_MAX / 256
        || row_pieces * shape->num_kv_heads > UINT32_MAX)
        return TREE_OVERFLOW;
    *kv = {(uint4 *)key, (uint4 *)value, shape->num_blocks, shape->num_kv_heads, shape->block_tokens,
           (uint32_t)row_pieces};
    return TREE_OK;
}

static bool copy_is_sound(const kv_copy *copy, const tree_shape *shape)
{
    return copy->from_block < shape->num_blocks && copy->to_block < shape->num_blocks
           && copy->from_block != copy->to_block && copy->num_tokens <= shape->block_tokens;
}

/* Whether a copy of the batch writes a block that `copy` touches, or reads the one that it writes. */
static bool must_follow(const kv_copy *copy, const copy_batch *batch, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const kv_copy *other = &batch->copies[i];
        if (other->to_block == copy->from_block || other->to_block == copy->to_block
            || other->from_block == copy->to_block)
            return true;
    }
    return false;
}

static cudaError_t launch_copies(const kv_pieces &kv, const copy_batch &batch, uint32_t count, cudaStream_t stream)
{
    return count ? launch_kernel(count * kv.num_kv_heads, THREADS, 0, stream, copy_slots, kv, batch) : cudaSuccess;
}

tree_status kv_copy_gpu(void *key, void *value, const kv_copy *copies, uint32_t num_copies, const tree_shape *shape,
                        cudaStream_t stream, int *cuda_error)
{
    kv_pieces kv;
    copy_batch batch;
    uint32_t count = 0;
    cudaError_t error = cudaSuccess;
    gpu_status(cudaSuccess, cuda_error);
    tree_status status = check_pool(&kv, key, value, shape);
    for (uint32_t i = 0; i < num_copies && status == TREE_OK; i++) {
        if (copies[i].num_tokens && !copy_is_sound(&copies[i], shape))
            status = TREE_INVAL;
    }
    if (status != TREE_OK)
        return status;
    for (uint32_t i = 0; i < num_copies && error == cudaSuccess; i++) {
        if (copies[i].num_tokens == 0)
            continue;
        if (count == COPIES_PER_LAUNCH || must_follow(&copies[i], &batch, count)) {
            error = launch_copies(kv, batch, count, stream);
            count = 0;
        }
        batch.copies[count++] = copies[i];
    }
    if (error == cudaSuccess)
        error = launch_copies(kv, batch, count, stream);
    return gpu_status(error, cuda_error);
}

tree_status kv_append_gpu(void *key, void *value, const void *key_rows, const void *value_rows, const uint64_t *slots,
                          uint32_t num_rows, const tree_shape *shape, cudaStream_t stream, int *cuda_error)
{
    kv_pieces kv;
    gpu_status(cudaSuccess, cuda_error);
    tree_status status = check_pool(&kv, key, value, shape);
    if (status != TREE_OK)
        return status;
    if (!aligned(key_rows) || !aligned(value_rows) || (uintptr_t)slots % sizeof *slots != 0)
        return TREE_INVAL;
    if (num_rows > MAX_BLOCKS)
        return TREE_OVERFLOW;
    if (num_rows == 0)
        return TREE_OK;
    return gpu_status(launch_kernel(num_rows, THREADS, 0, stream, append_rows, kv, (const uint4 *)key_rows,
                             (const uint4 *)value_rows, slots),
                      cuda_error);
}

void kv_last_slots(uint64_t *slots, const kv_table *table, uint32_t num_tokens, uint32_t block_tokens)
{
    assert(num_tokens <= table->length && "the table has these tokens");
    for (uint32_t i = 0; i < num_tokens; i++) {
        uint32_t token = table->length - num_tokens + i;
        slots[i] = (uint64_t)table->blocks[token / block_tokens] * block_tokens + token % block_tokens;
    }
}
