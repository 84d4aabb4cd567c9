#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include "transformer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "traffic.h"
#include "transformer_internal.h"
#include "tree_attention.h"

/* ---- one row ---- */

static void rms_norm(float *out, const float *x, const float *weight, uint32_t width, double eps)
{
    double sum = 0;
    for (uint32_t i = 0; i < width; i++)
        sum += (double)x[i] * x[i];
    float factor = (float)(1 / sqrt(sum / width + eps));
    for (uint32_t i = 0; i < width; i++)
        out[i] = x[i] * factor * weight[i];
}

/* Rotates the pairs (i, i + head_dim / 2) of each head. */
static void rope(float *heads, uint32_t num_heads, uint32_t head_dim, const float *cosine, const float *sine)
{
    uint32_t half = head_dim / 2;
    for (uint32_t head = 0; head < num_heads; head++) {
        float *low = heads + (size_t)head * head_dim, *high = low + half;
        for (uint32_t i = 0; i < half; i++) {
            float a = low[i], b = high[i];
            low[i] = a * cosine[i] - b * sine[i];
            high[i] = b * cosine[i] + a * sine[i];
        }
    }
}

/* gate = silu(gate) * up */
static void swiglu(float *gate, const float *up, uint32_t hidden)
{
    for (uint32_t i = 0; i < hidden; i++)
        gate[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
}

/* ---- the model ---- */

/* The time since the last lap belongs to this part of the step. */
static void lap(transformer *t, double *part_us)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double now_us = 1e6 * (double)now.tv_sec + 1e-3 * (double)now.tv_nsec;
    *part_us += now_us - t->lap_us;
    t->lap_us = now_us;
}

/* x [width] of each branch, and the rotation of its position. */
static void embed(transformer *t, const uint32_t *tokens)
{
    uint32_t width = t->weights->shape.width, half = t->weights->shape.head_dim / 2;
    for (uint32_t row = 0; row < t->shape.num_queries; row++) {
        memcpy(t->x + (size_t)row * width, t->weights->embedding + (size_t)tokens[row] * width, width * sizeof(float));
        for (uint32_t i = 0; i < half; i++) {
            double angle = t->step.positions[row] * t->frequency[i];
            t->cosine[row * half + i] = (float)cos(angle);
            t->sine[row * half + i] = (float)sin(angle);
        }
    }
}

static void norm_rows(transformer *t, const float *weight)
{
    uint32_t width = t->weights->shape.width;
#pragma omp parallel for num_threads(t->config.num_threads)
    for (uint32_t row = 0; row < t->shape.num_queries; row++)
        rms_norm(t->h + (size_t)row * width, t->x + (size_t)row * width, weight, width, t->weights->shape.norm_eps);
    lap(t, &t->counts.rest_us);
}

/* y [num_outputs] of each branch = x [num_inputs] W, or y + x W. */
static void multiply(transformer *t, float *y, const float *x, const float *w, uint32_t num_inputs,
                     uint32_t num_outputs, bool adds)
{
    product(y, x, w, t->shape.num_queries, num_inputs, num_outputs, adds, &t->product);
    t->counts.weight_bytes += (uint64_t)num_inputs * num_outputs * sizeof(float);
    lap(t, &t->counts.products_us);
}

/* Rotated q and k; K and V of the new tokens go into their slots. */
static void rotate_and_store(transformer *t, uint32_t layer)
{
    const model_shape *s = &t->weights->shape;
    uint32_t half = s->head_dim / 2;
    for (uint32_t row = 0; row < t->shape.num_queries; row++) {
        const float *cosine = t->cosine + row * half, *sine = t->sine + row * half;
        rope(t->q + (size_t)row * s->heads * s->head_dim, s->heads, s->head_dim, cosine, sine);
        rope(t->k + (size_t)row * s->kv_heads * s->head_dim, s->kv_heads, s->head_dim, cosine, sine);
    }
    kv_memory_write(&t->kv, layer, t->step.slots, t->shape.num_queries, t->k, t->v);
    lap(t, &t->counts.rest_us);
}

static tree_status attend(transformer *t, uint32_t layer)
{
    const branch_step *step = &t->step;
    const tree_shape *s = &t->shape;
    transformer_attention a = {
        .layer = layer, .num_branches = step->num_branches, .branches = step->branches, .tables = step->tables,
        .keeps = step->evicts ? step->keeps : NULL, .slots = step->slots, .positions = step->positions,
        .tree = step->tree, .plan = step->plan, .shape = s, .scale = (float)(1 / sqrt(s->head_dim)), .query = t->q,
        .norm = t->kv.norm ? t->kv.norm + layer * t->kv.layer_slots : NULL};
    tree_status status;
    transformer_kv(t, layer, &a.key, &a.value);
    if (t->config.attend)
        status = t->config.attend(t->config.context, t->attended, &a);
    else if (t->config.reference)
        status = tree_attention_ref(t->attended, NULL, a.query, a.key, a.value, a.plan, s, a.scale);
    else
        status = tree_attention_cpu(t->attended, NULL, a.query, a.key, a.value, a.plan, s, a.scale, t->workspace,
                                    t->workspace_bytes, t->config.num_threads, t->config.isa);
    lap(t, &t->counts.attention_us);
    return status;
}

static tree_status run_layer(transformer *t, uint32_t index)
{
    const model_shape *s = &t->weights->shape;
    const model_layer *layer = &t->weights->layer[index];
    uint32_t q_width = s->heads * s->head_dim, kv_width = s->kv_heads * s->head_dim;

    /* attention */
    norm_rows(t, layer->attention_norm);
    multiply(t, t->q, t->h, layer->wq, s->width, q_width, false);
    multiply(t, t->k, t->h, layer->wk, s->width, kv_width, false);
    multiply(t, t->v, t->h, layer->wv, s->width, kv_width, false);
    rotate_and_store(t, index);
    tree_status status = attend(t, index);
    if (status != TREE_OK)
        return status;
    multiply(t, t->x, t->attended, layer->wo, q_width, s->width, true);

    /* SwiGLU */
    norm_rows(t, layer->mlp_norm);
    multiply(t, t->gate, t->h, layer->w_gate, s->width, s->hidden, false);
    multiply(t, t->up, t->h, layer->w_up, s->width, s->hidden, false);
#pragma omp parallel for num_threads(t->config.num_threads)
    for (uint32_t row = 0; row < t->shape.num_queries; row++)
        swiglu(t->gate + (size_t)row * s->hidden, t->up + (size_t)row * s->hidden, s->hidden);
    lap(t, &t->counts.rest_us);
    multiply(t, t->x, t->gate, layer->w_down, s->hidden, s->width, true);
    return TREE_OK;
}

/* ---- a step ---- */

static model_status make_workspace(transformer *t)
{
    size_t bytes = tree_attention_cpu_workspace_bytes(t->step.plan, &t->shape, t->config.num_threads);
    if (bytes > t->workspace_bytes) {
        free(t->workspace);
        t->workspace_bytes = (bytes + bytes / 2 + 63) / 64 * 64;
        t->workspace = aligned_alloc(64, t->workspace_bytes);
        if (!t->workspace)
            t->workspace_bytes = 0;
    }
    return bytes <= t->workspace_bytes ? MODEL_OK : MODEL_NOMEM;
}

static void count(transformer *t)
{
    transformer_counts *c = &t->counts;
    uint32_t layers = t->weights->shape.layers;
    tree_traffic traffic;
    tree_traffic_count(&traffic, t->step.plan, &t->shape, TRAFFIC_PACKED); /* attention took the same plan and shape */
    c->steps++;
    c->tokens += t->step.num_branches;
    c->path_tokens += t->step.plan->path_tokens;
    c->unique_tokens += t->step.plan->unique_tokens;
    c->logical_bytes += traffic.logical_bytes * layers;
    c->plan_bytes += traffic.plan_bytes * layers;
    c->unique_bytes += traffic.unique_bytes * layers;
}

model_status transformer_step(transformer *t, const kv_branch *branches, const uint32_t *tokens, uint32_t num_branches,
                              float *logits)
{
    const model_shape *s = &t->weights->shape;
    double before_us = 0;
    for (uint32_t i = 0; i < num_branches; i++)
        if (tokens[i] >= s->vocabulary)
            return MODEL_INVAL;
    if (num_branches == 0)
        return MODEL_OK;
    lap(t, &before_us);
    model_status status = branch_step_append(&t->step, branches, num_branches);
    if (status != MODEL_OK)
        return status;
    for (uint32_t i = 0; i < num_branches; i++) {
        const kv_copy *copy = &t->step.appends[i].copy;
        if (copy->num_tokens)
            kv_memory_copy(&t->kv, copy->from_block, 0, copy->to_block, 0, copy->num_tokens);
    }
    t->shape.num_queries = num_branches;
    status = branch_step_plan(&t->step);
    if (status == MODEL_OK)
        status = make_workspace(t);
    lap(t, &t->counts.host_us);

    embed(t, tokens);
    for (uint32_t layer = 0; status == MODEL_OK && layer < s->layers; layer++)
        if (run_layer(t, layer) != TREE_OK)
            status = MODEL_ATTENTION;
    if (status != MODEL_OK) {
        branch_step_undo(&t->step);
        return status;
    }
    if (logits) {
        norm_rows(t, t->weights->final_norm);
        multiply(t, logits, t->h, t->weights->head, s->width, s->vocabulary, false);
    }
    count(t);
    return MODEL_OK;
}
