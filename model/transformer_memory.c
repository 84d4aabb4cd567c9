#include <math.h>
#include <stdlib.h>

#include "transformer_internal.h"

static bool make_rows(transformer *t, uint32_t max_branches)
{
    const model_shape *s = &t->weights->shape;
    uint32_t half = s->head_dim / 2, q_width = s->heads * s->head_dim, kv_width = s->kv_heads * s->head_dim;
    struct { float **array; uint32_t width; } rows[] = {
        {&t->x, s->width}, {&t->h, s->width}, {&t->q, q_width}, {&t->attended, q_width}, {&t->k, kv_width},
        {&t->v, kv_width}, {&t->gate, s->hidden}, {&t->up, s->hidden}, {&t->cosine, half}, {&t->sine, half}};
    size_t num_floats = 0, num_rows = sizeof rows / sizeof *rows;
    for (size_t i = 0; i < num_rows; i++)
        num_floats += rows[i].width;
    t->rows = calloc(max_branches, num_floats * sizeof *t->rows);
    t->frequency = calloc(half, sizeof *t->frequency);
    float *next = t->rows;
    for (size_t i = 0; next && i < num_rows; i++) {
        *rows[i].array = next;
        next += (size_t)max_branches * rows[i].width;
    }
    return t->rows && t->frequency;
}

bool transformer_has_blas(void) { return product_has_blas(); }
bool transformer_prefers_blas(void) { return product_prefers_blas(); }

model_status transformer_create(transformer **result, const model_weights *weights, kv_pool *pool,
                                const transformer_config *config)
{
    if (!tree_isa_available(config->isa) || (config->blas && !product_has_blas()))
        return MODEL_UNSUPPORTED;
    transformer *t = calloc(1, sizeof *t);
    if (!t)
        return MODEL_NOMEM;
    const model_shape *s = &weights->shape;
    t->weights = weights;
    t->config = *config;
    uint32_t num_threads = product_threads(config->num_threads);
    uint32_t max_branches = config->max_branches ? config->max_branches : 64;
    t->config.num_threads = num_threads;
    t->product = (product_config){.num_threads = num_threads, .isa = config->isa, .blas = config->blas};
    if (config->blas)
        product_prepare_blas();

    tree_plan_config plan = config->plan;
    plan.target = TREE_TARGET_CPU;
    plan.group_size = plan.group_size ? plan.group_size : s->heads / s->kv_heads;
    plan.num_workers = plan.num_workers ? plan.num_workers : num_threads;
    model_status status = branch_step_create(&t->step, pool, &plan, max_branches, s->context);
    t->shape = (tree_shape){.num_heads = s->heads, .num_kv_heads = s->kv_heads, .head_dim = s->head_dim,
                            .num_blocks = t->step.num_blocks, .block_tokens = t->step.block_tokens};
    if (status == MODEL_OK && !kv_memory_create(&t->kv, &t->shape, s->layers, config->keeps_norms))
        status = MODEL_NOMEM;
    if (status == MODEL_OK && !make_rows(t, max_branches))
        status = MODEL_NOMEM;
    if (status != MODEL_OK) {
        transformer_destroy(t);
        return status;
    }
    for (uint32_t i = 0; i < s->head_dim / 2; i++)
        t->frequency[i] = pow(s->rope_base, -2.0 * i / s->head_dim);
    *result = t;
    return MODEL_OK;
}

void transformer_destroy(transformer *t)
{
    if (!t)
        return;
    free(t->rows);
    free(t->frequency);
    free(t->workspace);
    kv_memory_destroy(&t->kv);
    branch_step_destroy(&t->step);
    free(t);
}

/* ---- beside the steps ---- */

model_status transformer_copy_branch(transformer *t, kv_branch branch, kv_branch *child)
{
    if (t->step.evicts)
        return MODEL_INVAL;
    return model_status_of_kv(kv_memory_copy_branch(&t->kv, t->step.pool, branch, child));
}

void transformer_move(transformer *t, const kv_move *moves, uint32_t num_moves)
{
    for (uint32_t i = 0; i < num_moves; i++)
        kv_memory_copy(&t->kv, moves[i].from_block, moves[i].from_slot, moves[i].to_block, moves[i].to_slot, 1);
}

void transformer_kv(const transformer *t, uint32_t layer, const float **key, const float **value)
{
    uint64_t first = layer * t->kv.layer_slots * t->kv.shape.head_dim;
    *key = t->kv.key + first;
    *value = t->kv.value + first;
}

void transformer_get_counts(const transformer *t, transformer_counts *counts)
{
    *counts = t->counts;
    counts->copied_bytes = t->kv.copied_bytes;
}
