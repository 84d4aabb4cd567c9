/* Copies, moves and appends in device memory, and the norms of values. Keys and values are read and written in pieces
 * of 16 bytes, so that neighbouring threads access neighbouring pieces. */
#include "device.cuh"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "gpu_internal.h"
#include "kv_gpu.h"
#include "row.cuh"

enum {
    COPIES_PER_LAUNCH = 128,
    MOVES_PER_LAUNCH = 240,
    THREADS = 128,
    WARPS = THREADS / WARP,
    PIECE = 16,
    MAX_BLOCKS = 0x7fffffff
};

/* K and V of the pool, in pieces of 16 bytes. */
typedef struct kv_pieces {
    uint4 *key, *value;
    uint32_t num_blocks, num_kv_heads, block_tokens, token_pieces;
} kv_pieces;

/* As many as fit into a kernel's parameters, 4 KiB. */
typedef struct copy_batch {
    kv_copy copies[COPIES_PER_LAUNCH];
} copy_batch;

typedef struct move_batch {
    kv_move moves[MOVES_PER_LAUNCH];
} move_batch;

static __device__ uint64_t first_piece(const kv_pieces &kv, uint64_t block, uint32_t kv_head, uint32_t slot)
{
    return ((block * kv.num_kv_heads + kv_head) * kv.block_tokens + slot) * kv.token_pieces;
}

/* Thread block n has KV head n % num_kv_heads of copy n / num_kv_heads; its slots are contiguous. */
static __global__ void copy_slots(kv_pieces kv, copy_batch batch)
{
    const kv_copy copy = batch.copies[blockIdx.x / kv.num_kv_heads];
    uint32_t kv_head = blockIdx.x % kv.num_kv_heads, num_pieces = copy.num_tokens * kv.token_pieces;
    uint64_t from = first_piece(kv, copy.from_block, kv_head, 0), to = first_piece(kv, copy.to_block, kv_head, 0);
    for (uint32_t i = threadIdx.x; i < num_pieces; i += blockDim.x) {
        kv.key[to + i] = kv.key[from + i];
        kv.value[to + i] = kv.value[from + i];
    }
}

/* Thread block n has KV head n % num_kv_heads of copy n / num_kv_heads. */
static __global__ void copy_norms(float *norm, uint32_t num_kv_heads, uint32_t block_tokens, copy_batch batch)
{
    const kv_copy copy = batch.copies[blockIdx.x / num_kv_heads];
    const uint64_t kv_head = blockIdx.x % num_kv_heads;
    const float *from = norm + ((uint64_t)copy.from_block * num_kv_heads + kv_head) * block_tokens;
    float *to = norm + ((uint64_t)copy.to_block * num_kv_heads + kv_head) * block_tokens;
    for (uint32_t i = threadIdx.x; i < copy.num_tokens; i += blockDim.x)
        to[i] = from[i];
}

/* Thread block n has move n: its KV heads are block_tokens slots apart. norm may be NULL. */
static __global__ void move_slots(kv_pieces kv, float *norm, move_batch batch)
{
    const kv_move move = batch.moves[blockIdx.x];
    for (uint32_t i = threadIdx.x; i < kv.num_kv_heads * kv.token_pieces; i += blockDim.x) {
        const uint32_t kv_head = i / kv.token_pieces, piece = i % kv.token_pieces;
        const uint64_t from = first_piece(kv, move.from_block, kv_head, move.from_slot) + piece;
        const uint64_t to = first_piece(kv, move.to_block, kv_head, move.to_slot) + piece;
        kv.key[to] = kv.key[from];
        kv.value[to] = kv.value[from];
        if (norm && piece == 0)
            norm[to / kv.token_pieces] = norm[from / kv.token_pieces];
    }
}

/* Warp n of the grid has KV head n % num_kv_heads of token n / num_kv_heads. Its lanes add up the elements of every
 * 32nd piece; then the lanes' sums are added in the order of warp_sum. */
template <typename T>
static __global__ void sum_norms(float *norm, kv_pieces kv, const uint64_t *slots, uint32_t num_tokens)
{
    enum { ELEMENTS = PIECE / sizeof(T) };
    const uint64_t n = (uint64_t)blockIdx.x * WARPS + threadIdx.x / WARP, token = n / kv.num_kv_heads;
    if (token >= num_tokens)
        return;
    const uint64_t slot = slots[token], block = slot / kv.block_tokens;
    if (block >= kv.num_blocks)
        return;
    const uint64_t first = first_piece(kv, block, (uint32_t)(n % kv.num_kv_heads), (uint32_t)(slot % kv.block_tokens));
    float sum = 0;
    for (uint32_t i = threadIdx.x % WARP; i < kv.token_pieces; i += WARP) {
        const uint4 piece = kv.value[first + i];
        for (int d = 0; d < ELEMENTS; d++)
            sum += fabsf(to_float(((const T *)&piece)[d]));
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0)
        norm[first / kv.token_pieces] = sum;
}

/* Thread block n has new token n: its KV heads are contiguous in new_keys, and block_tokens slots apart in the pool. */
static __global__ void append_tokens(kv_pieces kv, const uint4 *new_keys, const uint4 *new_values,
                                     const uint64_t *slots)
{
    uint64_t slot = slots[blockIdx.x], block = slot / kv.block_tokens;
    if (block >= kv.num_blocks)
        return;
    uint32_t num_pieces = kv.num_kv_heads * kv.token_pieces;
    for (uint32_t i = threadIdx.x; i < num_pieces; i += blockDim.x) {
        uint64_t from = (uint64_t)blockIdx.x * num_pieces + i;
        uint64_t to = first_piece(kv, block, i / kv.token_pieces, (uint32_t)(slot % kv.block_tokens));
        to += i % kv.token_pieces;
        kv.key[to] = new_keys[from];
        kv.value[to] = new_values[from];
    }
}

static bool aligned(const void *array) { return (uintptr_t)array % PIECE == 0; }

static bool is_norm(const float *norm) { return norm && (uintptr_t)norm % sizeof *norm == 0; }

static tree_status check_pool(kv_pieces *kv, void *key, void *value, const tree_shape *shape)
{
    tree_status status = tree_shape_check(shape);
    if (status != TREE_OK)
        return status;
    uint64_t token_bytes = (uint64_t)shape->head_dim * tree_storage_bytes(shape->storage);
    if (token_bytes % PIECE != 0)
        return TREE_UNSUPPORTED;
    if (!aligned(key) || !aligned(value))
        return TREE_INVAL;
    uint64_t token_pieces = token_bytes / PIECE;
    if (shape->num_kv_heads > MAX_BLOCKS / COPIES_PER_LAUNCH || token_pieces > UINT32_MAX / 256
        || token_pieces * shape->num_kv_heads > UINT32_MAX)
        return TREE_OVERFLOW;
    *kv = {(uint4 *)key, (uint4 *)value, shape->num_blocks, shape->num_kv_heads, shape->block_tokens,
           (uint32_t)token_pieces};
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

/* launch(batch, count) for the copies in their order: a batch holds copies that do not touch each other's blocks. */
template <typename LAUNCH>
static cudaError_t launch_copies(const kv_copy *copies, uint32_t num_copies, LAUNCH launch)
{
    copy_batch batch;
    uint32_t count = 0;
    cudaError_t error = cudaSuccess;
    for (uint32_t i = 0; i < num_copies && error == cudaSuccess; i++) {
        if (copies[i].num_tokens == 0)
            continue;
        if (count == COPIES_PER_LAUNCH || must_follow(&copies[i], &batch, count)) {
            error = launch(batch, count);
            count = 0;
        }
        batch.copies[count++] = copies[i];
    }
    return error == cudaSuccess && count > 0 ? launch(batch, count) : error;
}

static tree_status check_copies(const kv_copy *copies, uint32_t num_copies, const tree_shape *shape)
{
    for (uint32_t i = 0; i < num_copies; i++)
        if (copies[i].num_tokens && !copy_is_sound(&copies[i], shape))
            return TREE_INVAL;
    return TREE_OK;
}

tree_status kv_copy_gpu(void *key, void *value, const kv_copy *copies, uint32_t num_copies, const tree_shape *shape,
                        cudaStream_t stream, int *cuda_error)
{
    kv_pieces kv;
    gpu_status(cudaSuccess, cuda_error);
    tree_status status = check_pool(&kv, key, value, shape);
    if (status == TREE_OK)
        status = check_copies(copies, num_copies, shape);
    if (status != TREE_OK)
        return status;
    auto launch = [&](const copy_batch &batch, uint32_t count) {
        return launch_kernel(count * kv.num_kv_heads, THREADS, 0, stream, copy_slots, kv, batch);
    };
    return gpu_status(launch_copies(copies, num_copies, launch), cuda_error);
}

tree_status kv_copy_norms_gpu(float *norm, const kv_copy *copies, uint32_t num_copies, const tree_shape *shape,
                              cudaStream_t stream, int *cuda_error)
{
    kv_pieces kv;
    gpu_status(cudaSuccess, cuda_error);
    tree_status status = check_pool(&kv, NULL, NULL, shape);
    if (status == TREE_OK)
        status = is_norm(norm) ? check_copies(copies, num_copies, shape) : TREE_INVAL;
    if (status != TREE_OK)
        return status;
    auto launch = [&](const copy_batch &batch, uint32_t count) {
        return launch_kernel(count * kv.num_kv_heads, THREADS, 0, stream, copy_norms, norm, kv.num_kv_heads,
                             kv.block_tokens, batch);
    };
    return gpu_status(launch_copies(copies, num_copies, launch), cuda_error);
}

static bool move_is_sound(const kv_move *move, const tree_shape *shape)
{
    return move->from_block < shape->num_blocks && move->to_block < shape->num_blocks
           && move->from_slot < shape->block_tokens && move->to_slot < shape->block_tokens;
}

tree_status kv_move_gpu(void *key, void *value, float *norm, const kv_move *moves, uint32_t num_moves,
                        const tree_shape *shape, cudaStream_t stream, int *cuda_error)
{
    kv_pieces kv;
    cudaError_t error = cudaSuccess;
    gpu_status(cudaSuccess, cuda_error);
    tree_status status = check_pool(&kv, key, value, shape);
    if (status == TREE_OK && norm && !is_norm(norm))
        status = TREE_INVAL;
    for (uint32_t i = 0; i < num_moves && status == TREE_OK; i++)
        status = move_is_sound(&moves[i], shape) ? TREE_OK : TREE_INVAL;
    if (status != TREE_OK)
        return status;
    for (uint32_t first = 0; first < num_moves && error == cudaSuccess; first += MOVES_PER_LAUNCH) {
        move_batch batch;
        uint32_t left = num_moves - first, count = left < MOVES_PER_LAUNCH ? left : (uint32_t)MOVES_PER_LAUNCH;
        memcpy(batch.moves, moves + first, count * sizeof *moves);
        error = launch_kernel(count, THREADS, 0, stream, move_slots, kv, norm, batch);
    }
    return gpu_status(error, cuda_error);
}

tree_status kv_append_gpu(void *key, void *value, const void *new_keys, const void *new_values, const uint64_t *slots,
                          uint32_t num_tokens, const tree_shape *shape, cudaStream_t stream, int *cuda_error)
{
    kv_pieces kv;
    gpu_status(cudaSuccess, cuda_error);
    tree_status status = check_pool(&kv, key, value, shape);
    if (status != TREE_OK)
        return status;
    if (!aligned(new_keys) || !aligned(new_values) || (uintptr_t)slots % sizeof *slots != 0)
        return TREE_INVAL;
    if (num_tokens > MAX_BLOCKS)
        return TREE_OVERFLOW;
    if (num_tokens == 0)
        return TREE_OK;
    return gpu_status(launch_kernel(num_tokens, THREADS, 0, stream, append_tokens, kv, (const uint4 *)new_keys,
                             (const uint4 *)new_values, slots),
                      cuda_error);
}

tree_status kv_norms_gpu(float *norm, const void *value, const uint64_t *slots, uint32_t num_tokens,
                         const tree_shape *shape, cudaStream_t stream, int *cuda_error)
{
    kv_pieces kv;
    gpu_status(cudaSuccess, cuda_error);
    tree_status status = check_pool(&kv, NULL, (void *)value, shape);
    if (status != TREE_OK)
        return status;
    if (!is_norm(norm) || (uintptr_t)slots % sizeof *slots != 0)
        return TREE_INVAL;
    const uint64_t num_blocks = ((uint64_t)num_tokens * kv.num_kv_heads + WARPS - 1) / WARPS;
    if (num_blocks > MAX_BLOCKS)
        return TREE_OVERFLOW;
    auto sum = shape->storage == TREE_FP32   ? sum_norms<float>
               : shape->storage == TREE_FP16 ? sum_norms<__half>
                                             : sum_norms<__nv_bfloat16>;
    return gpu_status(launch_kernel((uint32_t)num_blocks, THREADS, 0, stream, sum, norm, kv, slots, num_tokens),
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
