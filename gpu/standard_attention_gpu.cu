/* Unfused attention: each launch runs over all tokens and leaves arrays in memory for the next.
 *   price   K and V of a token are written and read again for each query that sees it, and again for each head
 *   threads gather, expand   one warp for each token and head, a lane for each 16 bytes of its K and V
 *           attention        one thread block for each query and head: a warp scores a token at a time, lane i has
 *                            elements i, i + 32, ...; for the values, thread i has element i % head_dim of every
 *                            (256 / head_dim)th token */
#include "device.cuh"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "gpu_internal.h"
#include "standard_attention_gpu.h"
#include "storage.cuh"

enum { THREADS = 256, WARPS = THREADS / WARP, PIECE = 16, MAX_BLOCKS = 0x7fffffff };

struct standard_paths_gpu {
    uint32_t num_queries, block_tokens, max_block;
    uint64_t num_tokens;   /* S */
    uint64_t *first_token; /* [num_queries + 1] on the device, as slots */
    uint64_t *slots;       /* [num_tokens] block * block_tokens + slot, query after query, each path from its root */
};

/* Passed to the kernels. A token on several paths counts once for each. */
typedef struct standard_arguments {
    float *out, *lse;
    const float *query;
    const void *key, *value;
    tree_shape shape;
    float scale;
    uint32_t token_pieces;
    uint64_t num_tokens;
    const uint64_t *first_token, *slots;
    uint4 *copied_key, *copied_value; /* [num_tokens][num_kv_heads][token_pieces] */
    uint4 *head_key, *head_value;     /* [num_tokens][num_heads][token_pieces] */
    float *scores, *weights;          /* [num_heads][num_tokens] */
} standard_arguments;

static __device__ void copy_token(uint4 *to, const uint4 *from, uint32_t token_pieces)
{
    for (uint32_t i = threadIdx.x; i < token_pieces; i += WARP)
        to[i] = from[i];
}

/* Warp n of the grid copies token n / num_kv_heads of KV head n % num_kv_heads. */
static __global__ void gather(standard_arguments a)
{
    uint64_t n = (uint64_t)blockIdx.x * WARPS + threadIdx.y, token = n / a.shape.num_kv_heads;
    if (token >= a.num_tokens)
        return;
    uint64_t block = a.slots[token] / a.shape.block_tokens, slot = a.slots[token] % a.shape.block_tokens;
    uint64_t kv_head = n % a.shape.num_kv_heads;
    uint64_t from = ((block * a.shape.num_kv_heads + kv_head) * a.shape.block_tokens + slot) * a.token_pieces;
    copy_token(a.copied_key + n * a.token_pieces, (const uint4 *)a.key + from, a.token_pieces);
    copy_token(a.copied_value + n * a.token_pieces, (const uint4 *)a.value + from, a.token_pieces);
}

/* Warp n of the grid copies token n / num_heads for head n % num_heads. */
static __global__ void expand_heads(standard_arguments a)
{
    uint64_t n = (uint64_t)blockIdx.x * WARPS + threadIdx.y, token = n / a.shape.num_heads;
    if (token >= a.num_tokens)
        return;
    uint64_t kv_head = n % a.shape.num_heads / (a.shape.num_heads / a.shape.num_kv_heads);
    uint64_t from = (token * a.shape.num_kv_heads + kv_head) * a.token_pieces;
    copy_token(a.head_key + n * a.token_pieces, a.copied_key + from, a.token_pieces);
    copy_token(a.head_value + n * a.token_pieces, a.copied_value + from, a.token_pieces);
}

static __device__ float warp_sum(float x)
{
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, distance);
    return x;
}

/* The largest x of all threads, or the sum, in every thread. part: [THREADS] shared. */
template <bool IS_MAX> static __device__ float block_reduce(float x, float *part)
{
    __syncthreads(); /* all threads have read the previous result */
    part[threadIdx.x] = x;
    __syncthreads();
    for (uint32_t half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            float mine = part[threadIdx.x], other = part[threadIdx.x + half];
            part[threadIdx.x] = IS_MAX ? (other > mine ? other : mine) : mine + other;
        }
        __syncthreads();
    }
    return part[0];
}

typedef float block_array[THREADS];

/* Thread block n has query n / num_heads and head n % num_heads. */
template <int HEAD_DIM, typename T> static __global__ void attend(standard_arguments a)
{
    SHARED_VARIABLE(part, block_array);
    uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    uint64_t qh = blockIdx.x, head = qh % a.shape.num_heads, q = qh / a.shape.num_heads;
    uint64_t first = a.first_token[q], end = a.first_token[q + 1];
    const float *q_qh = a.query + qh * HEAD_DIM;
    const T *head_key = (const T *)a.head_key, *head_value = (const T *)a.head_value;
    float *scores_h = a.scores + head * a.num_tokens, *weights_h = a.weights + head * a.num_tokens;

    /* score the keys */
    for (uint64_t t = first + warp; t < end; t += WARPS) {
        const T *k_th = head_key + (t * a.shape.num_heads + head) * HEAD_DIM;
        float dot = 0;
        for (int d = lane; d < HEAD_DIM; d += WARP)
            dot = fmaf(q_qh[d], to_float(k_th[d]), dot);
        dot = warp_sum(dot);
        if (lane == 0)
            scores_h[t] = dot * a.scale;
    }
    __syncthreads();

    /* softmax */
    float m = -INFINITY, l = 0;
    for (uint64_t t = first + threadIdx.x; t < end; t += THREADS)
        m = scores_h[t] > m ? scores_h[t] : m;
    m = block_reduce<true>(m, part);
    for (uint64_t t = first + threadIdx.x; t < end; t += THREADS) {
        float weight = scores_h[t] == -INFINITY ? 0 : expf(scores_h[t] - m);
        weights_h[t] = weight;
        l += weight;
    }
    l = block_reduce<false>(l, part); /* its barriers make the weights of all threads visible */

    /* sum the values; a score of -infinity counts as no token, its V may be NaN */
    float o = 0;
    for (uint64_t t = first + threadIdx.x / HEAD_DIM; t < end; t += THREADS / HEAD_DIM) {
        const T *v_th = head_value + (t * a.shape.num_heads + head) * HEAD_DIM;
        if (scores_h[t] != -INFINITY)
            o = fmaf(weights_h[t], to_float(v_th[threadIdx.x % HEAD_DIM]), o);
    }
    __syncthreads();
    part[threadIdx.x] = o;
    __syncthreads();

    /* normalize */
    if (threadIdx.x < HEAD_DIM) {
        for (int i = threadIdx.x + HEAD_DIM; i < THREADS; i += HEAD_DIM)
            o += part[i];
        a.out[qh * HEAD_DIM + threadIdx.x] = l == 0 ? 0 : o / l;
    }
    if (a.lse && threadIdx.x == 0)
        a.lse[qh] = m + logf(l);
}

static uint64_t num_blocks_for(uint64_t num_warps) { return (num_warps + WARPS - 1) / WARPS; }

template <int HEAD_DIM, typename T> static cudaError_t launch(const standard_arguments &a, cudaStream_t stream)
{
    const dim3 warps(WARP, WARPS);
    cudaError_t error = cudaSuccess;
    if (a.num_tokens > 0) {
        error = launch_kernel((unsigned)num_blocks_for(a.num_tokens * a.shape.num_kv_heads), warps, 0, stream, gather,
                              a);
        if (error == cudaSuccess)
            error = launch_kernel((unsigned)num_blocks_for(a.num_tokens * a.shape.num_heads), warps, 0, stream,
                                  expand_heads, a);
    }
    if (error == cudaSuccess && a.shape.num_queries > 0)
        error = launch_kernel(a.shape.num_queries * a.shape.num_heads, THREADS, 0, stream, (attend<HEAD_DIM, T>), a);
    return error;
}

/* ---- host ---- */

static void list_slots(uint64_t *slots, const kv_node *node, const kv_tree *tree)
{
    for (uint32_t i = 0; i < node->num_tokens; i++) {
        uint64_t slot = (uint64_t)node->first_slot + i;
        slots[i] = (uint64_t)tree->blocks[node->first_block + slot / tree->block_tokens] * tree->block_tokens
                   + slot % tree->block_tokens;
    }
}

/* first_token, then slots. Returns the largest block. */
static uint32_t list_paths(uint64_t *first_token, const kv_tree *tree)
{
    uint64_t *slots = first_token + tree->num_queries + 1;
    uint32_t max_block = 0;
    first_token[0] = 0;
    for (uint32_t q = 0; q < tree->num_queries; q++) {
        uint32_t last = tree->query_node[q];
        uint64_t length = last == KV_NONE ? 0 : (uint64_t)tree->nodes[last].first_token + tree->nodes[last].num_tokens;
        first_token[q + 1] = first_token[q] + length;
        for (uint32_t n = last; n != KV_NONE; n = tree->nodes[n].parent)
            list_slots(slots + first_token[q] + tree->nodes[n].first_token, &tree->nodes[n], tree);
    }
    for (uint64_t t = 0; t < first_token[tree->num_queries]; t++) {
        uint32_t block = (uint32_t)(slots[t] / tree->block_tokens);
        max_block = block > max_block ? block : max_block;
    }
    return max_block;
}

tree_status standard_paths_gpu_create(standard_paths_gpu **result, const kv_tree *tree, int *cuda_error)
{
    assert(tree && "paths are those of a tree");
    uint64_t count = tree->num_queries + (uint64_t)1 + tree->path_tokens;
    standard_paths_gpu *paths = (standard_paths_gpu *)calloc(1, sizeof *paths);
    uint64_t *host = (uint64_t *)malloc(count * sizeof *host);
    tree_status status = paths && host ? TREE_OK : TREE_NOMEM;
    gpu_status(cudaSuccess, cuda_error);
    if (status == TREE_OK)
        status = gpu_status(cudaMalloc((void **)&paths->first_token, count * sizeof *host), cuda_error);
    if (status == TREE_OK) {
        paths->num_queries = tree->num_queries;
        paths->block_tokens = tree->block_tokens;
        paths->num_tokens = tree->path_tokens;
        paths->slots = paths->first_token + tree->num_queries + 1;
        paths->max_block = list_paths(host, tree);
        status = gpu_status(cudaMemcpy(paths->first_token, host, count * sizeof *host, cudaMemcpyHostToDevice),
                            cuda_error);
    }
    free(host);
    if (status != TREE_OK) {
        cudaGetLastError(); /* reported here, so that the next launch does not report it again */
        standard_paths_gpu_destroy(paths);
        return status;
    }
    *result = paths;
    return TREE_OK;
}

void standard_paths_gpu_destroy(standard_paths_gpu *paths)
{
    if (!paths)
        return;
    if (paths->first_token) {
        cudaDeviceSynchronize();
        cudaFree(paths->first_token);
    }
    free(paths);
}

static tree_status check_shape(const standard_paths_gpu *paths, const tree_shape *shape)
{
    tree_status status = tree_shape_check(shape);
    if (status != TREE_OK)
        return status;
    if (paths->num_queries != shape->num_queries || paths->block_tokens != shape->block_tokens)
        return TREE_BAD_SHAPE;
    if (paths->num_tokens && paths->max_block >= shape->num_blocks)
        return TREE_BAD_PLAN;
    return shape->head_dim == 64 || shape->head_dim == 128 || shape->head_dim == 256 ? TREE_OK : TREE_UNSUPPORTED;
}

static uint64_t round_up(uint64_t bytes) { return (bytes + 255) & ~(uint64_t)255; }

size_t standard_attention_gpu_workspace_bytes(const standard_paths_gpu *paths, const tree_shape *shape)
{
    if (check_shape(paths, shape) != TREE_OK)
        return 0;
    uint64_t token_bytes = shape->head_dim * tree_storage_bytes(shape->storage);
    uint64_t copies = (uint64_t)shape->num_kv_heads + shape->num_heads;
    if (paths->num_tokens > (SIZE_MAX / 4) / (copies * token_bytes + 8 * (uint64_t)shape->num_heads))
        return 0;
    uint64_t kv_bytes = round_up(paths->num_tokens * shape->num_kv_heads * token_bytes);
    uint64_t head_bytes = round_up(paths->num_tokens * shape->num_heads * token_bytes);
    uint64_t score_bytes = round_up(paths->num_tokens * shape->num_heads * sizeof(float));
    return 256 + 2 * (kv_bytes + head_bytes + score_bytes);
}

static char *take(char **end, uint64_t bytes)
{
    char *array = *end;
    *end += round_up(bytes);
    return array;
}

static void place_arrays(standard_arguments *a, void *workspace)
{
    char *end = (char *)workspace;
    uint64_t token_bytes = (uint64_t)a->token_pieces * PIECE;
    uint64_t kv_bytes = a->num_tokens * a->shape.num_kv_heads * token_bytes;
    uint64_t head_bytes = a->num_tokens * a->shape.num_heads * token_bytes;
    uint64_t score_bytes = a->num_tokens * a->shape.num_heads * sizeof(float);
    a->copied_key = (uint4 *)take(&end, kv_bytes);
    a->copied_value = (uint4 *)take(&end, kv_bytes);
    a->head_key = (uint4 *)take(&end, head_bytes);
    a->head_value = (uint4 *)take(&end, head_bytes);
    a->scores = (float *)take(&end, score_bytes);
    a->weights = (float *)take(&end, score_bytes);
}

static bool aligned(const void *array, size_t bytes) { return (uintptr_t)array % bytes == 0; }

static tree_status check_arguments(const standard_arguments *a, const void *workspace, size_t workspace_bytes,
                                   size_t needed_bytes)
{
    uint64_t num_heads = a->shape.num_heads;
    if (!aligned(a->out, 16) || !aligned(a->lse, 4) || !aligned(a->query, 16) || !aligned(a->key, 16)
        || !aligned(a->value, 16))
        return TREE_INVAL;
    if (needed_bytes == 0 || num_blocks_for(a->num_tokens * num_heads) > MAX_BLOCKS
        || a->shape.num_queries * num_heads > MAX_BLOCKS)
        return TREE_OVERFLOW;
    return workspace && aligned(workspace, 256) && workspace_bytes >= needed_bytes ? TREE_OK : TREE_WORKSPACE;
}

template <int HEAD_DIM> static cudaError_t launch_storage(const standard_arguments &a, cudaStream_t stream)
{
    switch (a.shape.storage) {
    case TREE_FP32: return launch<HEAD_DIM, float>(a, stream);
    case TREE_FP16: return launch<HEAD_DIM, __half>(a, stream);
    case TREE_BF16: return launch<HEAD_DIM, __nv_bfloat16>(a, stream);
    }
    return cudaErrorInvalidValue;
}

static cudaError_t launch_shape(const standard_arguments &a, cudaStream_t stream)
{
    switch (a.shape.head_dim) {
    case 64: return launch_storage<64>(a, stream);
    case 128: return launch_storage<128>(a, stream);
    case 256: return launch_storage<256>(a, stream);
    }
    return cudaErrorInvalidValue;
}

tree_status standard_attention_gpu(float *out, float *lse, const float *query, const void *key, const void *value,
                                   const standard_paths_gpu *paths, const tree_shape *shape, float scale,
                                   void *workspace, size_t workspace_bytes, cudaStream_t stream, int *cuda_error)
{
    assert(paths && shape && "attention needs paths and a shape");
    gpu_status(cudaSuccess, cuda_error);
    tree_status status = check_shape(paths, shape);
    if (status != TREE_OK)
        return status;

    standard_arguments a = {};
    a.out = out;
    a.lse = lse;
    a.query = query;
    a.key = key;
    a.value = value;
    a.shape = *shape;
    a.scale = scale;
    a.token_pieces = (uint32_t)(shape->head_dim * tree_storage_bytes(shape->storage) / PIECE);
    a.num_tokens = paths->num_tokens;
    a.first_token = paths->first_token;
    a.slots = paths->slots;
    place_arrays(&a, workspace);

    status = check_arguments(&a, workspace, workspace_bytes, standard_attention_gpu_workspace_bytes(paths, shape));
    return status == TREE_OK ? gpu_status(launch_shape(a, stream), cuda_error) : status;
}
