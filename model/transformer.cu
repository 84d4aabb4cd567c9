/* transformer.cu: one decode step of all branches on the GPU, beside transformer.c. Matrix products by cuBLAS, attention
 * by tree_attention_gpu, the rest by the small kernels here: one idea each. All of a step is one CUDA graph.
 *
 *   begin      x = embedding[token]                        and the turns of RoPE at its position
 *   layer      h = normalize(x)        qkv = W_qkv h
 *              rotate(q, k); k, v -> their slot            attended = attention(q, K, V)
 *              h = round(attended)     x += W_out h
 *              h = normalize(x)        gate, up = W_gate_up h
 *              h = swiglu(gate, up)    x += W_down h
 *   end        h = normalize(x)        logits = embedding h   next = the largest logit
 *
 * x and the results of products are float; h, what a product reads, has the storage type, as model weights, K and V. */
#include <math.h>

#include "early_launch.cuh"
#include "kv_gpu.h"
#include "row.cuh"
#include "transformer_gpu_internal.h"

enum { THREADS = 256, WARPS = THREADS / WARP };

/* ---- kernels: thread block n has place n, or the threads have elements ---- */

template <typename T>
static __global__ void begin_step(float *x, float2 *turns, place *places, const T *embedding, const place *given,
                                  uint32_t width, uint32_t head_dim, double rope_base)
{
    wait_for_previous_launch();
    const place mine = given[blockIdx.x];
    if (threadIdx.x == 0)
        places[blockIdx.x] = mine;
    for (uint32_t i = threadIdx.x; i < width; i += blockDim.x)
        x[(size_t)blockIdx.x * width + i] = to_float(embedding[(size_t)mine.token * width + i]);
    for (uint32_t i = threadIdx.x; i < head_dim / 2; i += blockDim.x) {
        const double angle = mine.position * pow(rope_base, -2.0 * i / head_dim);
        turns[(size_t)blockIdx.x * (head_dim / 2) + i] = {(float)cos(angle), (float)sin(angle)};
    }
}

struct block_sums {
    float of_warp[WARPS];
};

/* The sum over a thread block; every thread gets it. */
static __device__ float block_sum(float x, block_sums &sums)
{
    x = warp_sum(x);
    if (threadIdx.x % WARP == 0)
        sums.of_warp[threadIdx.x / WARP] = x;
    __syncthreads();
    x = 0;
    for (int warp = 0; warp < WARPS; warp++)
        x += sums.of_warp[warp];
    return x;
}

/* RMSNorm. */
template <typename T>
static __global__ void normalize(T *h, const float *x, const float *gain, uint32_t width, float epsilon)
{
    SHARED_VARIABLE(sums, block_sums);
    const float *mine = x + (size_t)blockIdx.x * width;
    float sum = 0;
    wait_for_previous_launch();
    for (uint32_t i = threadIdx.x; i < width; i += THREADS)
        sum += mine[i] * mine[i];
    const float scale = 1 / sqrtf(block_sum(sum, sums) / width + epsilon);
    for (uint32_t i = threadIdx.x; i < width; i += THREADS)
        h[(size_t)blockIdx.x * width + i] = from_float<T>(mine[i] * scale * gain[i]);
}

/* Thread block (n, head): queries first, then keys, then values; threads i have the elements i and i + head_dim / 2. */
template <typename T>
static __global__ void rotate(float *query, T *key, T *value, const float *qkv, const float2 *turns,
                              const place *places, tree_shape shape)
{
    const uint32_t half = shape.head_dim / 2, i = threadIdx.x, head = blockIdx.y;
    const uint32_t num_heads = shape.num_heads, num_kv_heads = shape.num_kv_heads;
    wait_for_previous_launch();
    allow_next_launch();
    const float *from = qkv + ((size_t)blockIdx.x * gridDim.y + head) * shape.head_dim;
    const float2 turn = turns[blockIdx.x * half + i];
    const float a = from[i], b = from[i + half];
    const float turned_a = a * turn.x - b * turn.y, turned_b = a * turn.y + b * turn.x;
    if (head < num_heads) {
        float *to = query + ((size_t)blockIdx.x * num_heads + head) * shape.head_dim;
        to[i] = turned_a, to[i + half] = turned_b;
        return;
    }
    const uint64_t slot = places[blockIdx.x].slot, block = slot / shape.block_tokens;
    if (block >= shape.num_blocks)
        return;
    const bool is_key = head < num_heads + num_kv_heads;
    const uint32_t kv_head = (head - num_heads) % num_kv_heads;
    T *to = (is_key ? key : value) /* tree_kv_offset */
            + ((block * num_kv_heads + kv_head) * shape.block_tokens + slot % shape.block_tokens) * shape.head_dim;
    to[i] = from_float<T>(is_key ? turned_a : a);
    to[i + half] = from_float<T>(is_key ? turned_b : b);
}

template <typename T> static __global__ void round_all(T *h, const float *from, uint32_t count)
{
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    wait_for_previous_launch();
    if (i < count)
        h[i] = from_float<T>(from[i]);
}

/* silu(gate) * up */
template <typename T> static __global__ void swiglu(T *h, const float *gate_up, uint32_t hidden, uint32_t count)
{
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    wait_for_previous_launch();
    if (i >= count)
        return;
    const float *gate = gate_up + (size_t)(i / hidden) * 2 * hidden + i % hidden;
    h[i] = from_float<T>(gate[0] / (1 + expf(-gate[0])) * gate[hidden]);
}

struct block_choice {
    float logit[THREADS];
    uint32_t token[THREADS];
};

/* The first of the largest logits. */
static __global__ void choose(uint32_t *next, const float *logits, uint32_t vocabulary)
{
    SHARED_VARIABLE(best, block_choice);
    const float *mine = logits + (size_t)blockIdx.x * vocabulary;
    float largest = -INFINITY;
    uint32_t at = 0;
    wait_for_previous_launch();
    for (uint32_t i = threadIdx.x; i < vocabulary; i += THREADS)
        if (mine[i] > largest)
            largest = mine[i], at = i;
    best.logit[threadIdx.x] = largest, best.token[threadIdx.x] = at;
    for (uint32_t half = THREADS / 2; half; half /= 2) {
        __syncthreads();
        const uint32_t i = threadIdx.x, j = i + half;
        if (i < half && (best.logit[j] > best.logit[i] || (best.logit[j] == best.logit[i] && best.token[j] < best.token[i])))
            best.logit[i] = best.logit[j], best.token[i] = best.token[j];
    }
    if (threadIdx.x == 0)
        next[blockIdx.x] = best.token[0];
}

/* ---- one step ---- */

template <typename... Parameters, typename... Arguments>
static void enqueue(gpu_outcome *o, const transformer_gpu *t, dim3 grid, uint32_t threads,
                    void (*kernel)(Parameters...), Arguments... arguments)
{
    if (o->status == TREE_OK)
        gpu_note(o, launch_early(false, grid, threads, 0, t->stream, kernel, arguments...));
}

/* y = matrix h, or y += matrix h. */
static void multiply(gpu_outcome *o, const transformer_gpu *t, float *y, const void *matrix, uint32_t rows,
                     uint32_t columns, bool adds)
{
    if (o->status == TREE_OK)
        gpu_note(o, product_enqueue(&t->multiplier, y, matrix, t->h, rows, columns, t->config.max_branches, adds,
                                    t->shape.storage));
}

static void attend(gpu_outcome *o, const transformer_gpu *t, uint32_t layer, const void *key, const void *value)
{
    const float scale = 1 / sqrtf((float)t->shape.head_dim);
    const transformer_gpu_attention a = {layer,      t->attended, t->query, key,          value,
                                         t->tree,    t->gpu_plan, &t->shape, scale,       t->workspace,
                                         t->workspace_bytes, t->stream};
    if (o->status != TREE_OK)
        return;
    if (t->config.attend)
        o->status = t->config.attend(t->config.context, &a, &o->cuda_error);
    else
        o->status = tree_attention_gpu(a.out, NULL, a.query, a.key, a.value, a.plan, a.shape, a.scale, a.workspace,
                                       a.workspace_bytes, a.stream, NULL, &o->cuda_error);
}

static uint32_t blocks_for(uint32_t count) { return (count + THREADS - 1) / THREADS; }

template <typename T> static void enqueue_layers(gpu_outcome *o, const transformer_gpu *t)
{
    const model_shape &m = t->weights->shape;
    const uint32_t n = t->config.max_branches, heads = m.heads + 2 * m.kv_heads;
    const uint32_t num_attended = n * m.heads * m.head_dim, num_hidden = n * m.hidden;
    const float *x = t->x, *y = t->y, epsilon = (float)m.norm_eps;
    const float2 *turns = t->turns;
    const place *places = t->places;
    T *h = (T *)t->h;
    enqueue(o, t, n, THREADS, begin_step<T>, t->x, t->turns, t->places, (const T *)t->weights->embedding,
            (const place *)t->given, m.width, m.head_dim, m.rope_base);
    for (uint32_t layer = 0; layer < m.layers; layer++) {
        const layer_gpu &w = t->weights->layers[layer];
        char *key = t->kv + 2 * layer * t->kv_bytes, *value = key + t->kv_bytes;
        enqueue(o, t, n, THREADS, normalize<T>, h, x, w.attention_norm, m.width, epsilon);
        multiply(o, t, t->y, w.qkv, heads * m.head_dim, m.width, false);
        enqueue(o, t, dim3(n, heads), m.head_dim / 2, rotate<T>, t->query, (T *)key, (T *)value, y, turns, places,
                t->shape);
        attend(o, t, layer, key, value);
        enqueue(o, t, blocks_for(num_attended), THREADS, round_all<T>, h, (const float *)t->attended, num_attended);
        multiply(o, t, t->x, w.out, m.width, m.heads * m.head_dim, true);
        enqueue(o, t, n, THREADS, normalize<T>, h, x, w.mlp_norm, m.width, epsilon);
        multiply(o, t, t->y, w.gate_up, 2 * m.hidden, m.width, false);
        enqueue(o, t, blocks_for(num_hidden), THREADS, swiglu<T>, h, y, m.hidden, num_hidden);
        multiply(o, t, t->x, w.down, m.width, m.hidden, true);
    }
    enqueue(o, t, n, THREADS, normalize<T>, h, x, t->weights->final_norm, m.width, epsilon);
    multiply(o, t, t->logits, t->weights->embedding, m.vocabulary, m.width, false);
    enqueue(o, t, n, THREADS, choose, t->next, (const float *)t->logits, m.vocabulary);
}

void transformer_gpu_enqueue(gpu_outcome *o, const transformer_gpu *t)
{
    t->shape.storage == TREE_FP16 ? enqueue_layers<__half>(o, t) : enqueue_layers<__nv_bfloat16>(o, t);
}
