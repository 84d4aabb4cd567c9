/* A model's matrices on the device: those of a file, rounded to 16 bits, or random ones. */
#include <stdio.h>
#include <stdlib.h>

#include "half.h"
#include "transformer_gpu_internal.h"

template <typename T> static __global__ void fill_elements(T *to, uint64_t count, uint32_t seed, float size)
{
    const uint64_t step = (uint64_t)gridDim.x * blockDim.x;
    for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < count; i += step) {
        uint64_t z = i + seed * 0x9e3779b97f4a7c15u; /* splitmix64's finalizer */
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        to[i] = from_float<T>(((float)(z >> 40) / (1 << 23) - 1) * size);
    }
}

cudaError_t weights_gpu_fill(void *to, uint64_t count, uint32_t seed, float size, tree_storage storage, cudaStream_t stream)
{
    enum { BLOCKS = 1056, THREADS = 256 };
    const uint32_t blocks = count < (uint64_t)BLOCKS * THREADS ? (uint32_t)((count + THREADS - 1) / THREADS) : (uint32_t)BLOCKS;
    return storage == TREE_FP16
               ? launch_kernel(blocks, THREADS, 0, stream, fill_elements<__half>, (__half *)to, count, seed, size)
               : launch_kernel(blocks, THREADS, 0, stream, fill_elements<__nv_bfloat16>, (__nv_bfloat16 *)to, count,
                               seed, size);
}

model_status gpu_outcome_status(const gpu_outcome *o, char *message, size_t message_bytes)
{
    if (o->status == TREE_OK)
        return MODEL_OK;
    if (message && message_bytes)
        snprintf(message, message_bytes, "%s (CUDA: %s)", tree_status_string(o->status),
                 tree_cuda_error_string(o->cuda_error));
    return o->status == TREE_NOMEM ? MODEL_NOMEM : MODEL_DEVICE;
}

static model_status refuse_shape(const model_shape *m, tree_storage storage, char *message, size_t message_bytes)
{
    const char *why = NULL;
    model_status status = MODEL_UNSUPPORTED;
    if (storage != TREE_FP16 && storage != TREE_BF16)
        why = "on the GPU a model has 16 bits: fp16 or bf16";
    else if (m->head_dim != 64 && m->head_dim != 128 && m->head_dim != 256)
        why = "on the GPU head_dim is 64, 128 or 256";
    else if (m->width % 8 || m->hidden % 8)
        why = "on the GPU width and hidden are multiples of 8";
    if (!m->vocabulary || !m->layers || !m->width || !m->heads || !m->kv_heads || !m->hidden || m->heads % m->kv_heads) {
        why = "a number of the model's shape is 0, or heads is no multiple of kv_heads";
        status = MODEL_INVAL;
    }
    if (why && message && message_bytes)
        snprintf(message, message_bytes, "%s", why);
    return why ? status : MODEL_OK;
}

/* Elements of one matrix or several. */
static uint64_t qkv_elements(const model_shape *m) { return (uint64_t)(m->heads + 2 * m->kv_heads) * m->head_dim * m->width; }
static uint64_t out_elements(const model_shape *m) { return (uint64_t)m->heads * m->head_dim * m->width; }
static uint64_t mlp_elements(const model_shape *m) { return (uint64_t)m->hidden * m->width; }
static uint64_t embedding_elements(const model_shape *m) { return (uint64_t)m->vocabulary * m->width; }

void weights_gpu_destroy(weights_gpu *w)
{
    if (!w)
        return;
    cudaFree(w->matrices);
    cudaFree(w->norms);
    free(w->layers);
    free(w);
}

uint64_t weights_gpu_bytes(const weights_gpu *w) { return 2 * w->num_elements; }

/* Memory, and the place of everything in it. */
static model_status allocate(weights_gpu **result, const model_shape *m, tree_storage storage, char *message,
                             size_t message_bytes)
{
    gpu_outcome o = {TREE_OK, 0};
    const uint64_t layer_elements = qkv_elements(m) + out_elements(m) + 3 * mlp_elements(m);
    model_status status = refuse_shape(m, storage, message, message_bytes);
    if (status != MODEL_OK)
        return status;
    weights_gpu *w = (weights_gpu *)calloc(1, sizeof *w);
    if (w)
        w->shape = *m, w->storage = storage, w->layers = (layer_gpu *)calloc(m->layers, sizeof *w->layers);
    o.status = w && w->layers ? tree_gpu_device_check(&o.cuda_error) : TREE_NOMEM;
    if (o.status == TREE_OK) {
        w->num_elements = embedding_elements(m) + m->layers * layer_elements;
        gpu_note(&o, cudaMalloc((void **)&w->matrices, 2 * w->num_elements));
        gpu_note(&o, cudaMalloc((void **)&w->norms, (2 * m->layers + 1) * (size_t)m->width * sizeof(float)));
    }
    if (o.status != TREE_OK) {
        weights_gpu_destroy(w);
        return gpu_outcome_status(&o, message, message_bytes);
    }
    w->embedding = w->matrices;
    w->final_norm = w->norms + 2 * m->layers * (size_t)m->width;
    for (uint32_t layer = 0; layer < m->layers; layer++) {
        layer_gpu *l = &w->layers[layer];
        const char *matrix = w->matrices + 2 * (embedding_elements(m) + layer * layer_elements);
        l->attention_norm = w->norms + 2 * layer * (size_t)m->width;
        l->mlp_norm = l->attention_norm + m->width;
        l->qkv = matrix, matrix += 2 * qkv_elements(m);
        l->out = matrix, matrix += 2 * out_elements(m);
        l->gate_up = matrix, matrix += 4 * mlp_elements(m);
        l->down = matrix;
    }
    *result = w;
    return MODEL_OK;
}

model_status weights_gpu_create_random(weights_gpu **result, const model_shape *m, tree_storage storage, uint32_t seed,
                                       char *message, size_t message_bytes)
{
    enum { MATRICES = 4 };
    weights_gpu *w = NULL;
    gpu_outcome o = {TREE_OK, 0};
    model_status status = allocate(&w, m, storage, message, message_bytes);
    if (status != MODEL_OK)
        return status;
    auto fill = [&](const void *matrix, uint64_t elements, uint32_t columns) { /* outputs of variance 1 */
        if (o.status == TREE_OK)
            gpu_note(&o, weights_gpu_fill((void *)matrix, elements, seed++, sqrtf(3.0f / (float)columns), storage, NULL));
    };
    const size_t num_norms = (2 * m->layers + 1) * (size_t)m->width;
    float *ones = (float *)malloc(num_norms * sizeof *ones);
    for (size_t i = 0; ones && i < num_norms; i++)
        ones[i] = 1;
    o.status = ones ? TREE_OK : TREE_NOMEM;
    if (ones)
        gpu_note(&o, cudaMemcpy(w->norms, ones, num_norms * sizeof *ones, cudaMemcpyHostToDevice));
    free(ones);
    fill(w->embedding, embedding_elements(m), m->width);
    for (uint32_t layer = 0; layer < m->layers; layer++) {
        const layer_gpu *l = &w->layers[layer];
        fill(l->qkv, qkv_elements(m), m->width);
        fill(l->out, out_elements(m), m->heads * m->head_dim);
        fill(l->gate_up, 2 * mlp_elements(m), m->width);
        fill(l->down, mlp_elements(m), m->hidden);
    }
    if (o.status == TREE_OK)
        gpu_note(&o, cudaDeviceSynchronize());
    if (o.status == TREE_OK)
        return *result = w, MODEL_OK;
    weights_gpu_destroy(w);
    return gpu_outcome_status(&o, message, message_bytes);
}

/* Sends matrices [columns][rows] of model_weights as [rows][columns], rounded. */
struct sender {
    gpu_outcome outcome;
    tree_storage storage;
    uint16_t *rounded; /* room for the largest matrix */
};

static const void *send(sender *s, const void *to, const float *matrix, uint32_t rows, uint32_t columns)
{
    const uint64_t elements = (uint64_t)rows * columns;
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < columns; c++) {
            const float x = matrix[(uint64_t)c * rows + r];
            s->rounded[(uint64_t)r * columns + c] = s->storage == TREE_FP16 ? fp16_from_float(x) : bf16_from_float(x);
        }
    }
    if (s->outcome.status == TREE_OK)
        gpu_note(&s->outcome, cudaMemcpy((void *)to, s->rounded, 2 * elements, cudaMemcpyHostToDevice));
    return (const char *)to + 2 * elements;
}

static void send_norm(sender *s, const float *to, const float *norm, uint32_t width)
{
    if (s->outcome.status == TREE_OK)
        gpu_note(&s->outcome, cudaMemcpy((void *)to, norm, width * sizeof *norm, cudaMemcpyHostToDevice));
}

model_status weights_gpu_create(weights_gpu **result, const model_weights *weights, tree_storage storage, char *message,
                                size_t message_bytes)
{
    const model_shape *m = &weights->shape;
    const uint32_t q_rows = m->heads * m->head_dim, kv_rows = m->kv_heads * m->head_dim;
    const uint64_t most = embedding_elements(m) + qkv_elements(m) + mlp_elements(m);
    weights_gpu *w = NULL;
    model_status status = allocate(&w, m, storage, message, message_bytes);
    if (status != MODEL_OK)
        return status;
    sender s = {{TREE_OK, 0}, storage, (uint16_t *)malloc(2 * most)};
    if (!s.rounded)
        s.outcome.status = TREE_NOMEM;
    if (s.rounded) {
        send(&s, w->embedding, weights->head, m->vocabulary, m->width);
        send_norm(&s, w->final_norm, weights->final_norm, m->width);
    }
    for (uint32_t layer = 0; s.rounded && layer < m->layers; layer++) {
        const model_layer *from = &weights->layer[layer];
        const layer_gpu *to = &w->layers[layer];
        const void *next = send(&s, to->qkv, from->wq, q_rows, m->width);
        next = send(&s, next, from->wk, kv_rows, m->width);
        send(&s, next, from->wv, kv_rows, m->width);
        send(&s, to->out, from->wo, m->width, q_rows);
        next = send(&s, to->gate_up, from->w_gate, m->hidden, m->width);
        send(&s, next, from->w_up, m->hidden, m->width);
        send(&s, to->down, from->w_down, m->width, m->hidden);
        send_norm(&s, to->attention_norm, from->attention_norm, m->width);
        send_norm(&s, to->mlp_norm, from->mlp_norm, m->width);
    }
    free(s.rounded);
    if (s.outcome.status == TREE_OK)
        return *result = w, MODEL_OK;
    weights_gpu_destroy(w);
    return gpu_outcome_status(&s.outcome, message, message_bytes);
}
