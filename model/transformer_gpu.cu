/* The transformer on the GPU as an object: its memory, the plan of a step, and the graph that is launched for it. The
 * step itself is in transformer.cu. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kv_gpu.h"
#include "transformer_gpu_internal.h"

static model_status finish_with(transformer_gpu *t, const gpu_outcome *o)
{
    return gpu_outcome_status(o, t->message, sizeof t->message);
}

/* ---- memory ---- */

void transformer_gpu_destroy(transformer_gpu *t)
{
    if (!t)
        return;
    if (t->stream)
        cudaStreamSynchronize(t->stream);
    if (t->graph)
        cudaGraphExecDestroy(t->graph);
    tree_plan_gpu_destroy(t->gpu_plan);
    tree_plan_destroy(t->plan);
    kv_tree_destroy(t->tree);
    products_destroy(&t->multiplier);
    void *const on_device[] = {t->x, t->y, t->query, t->attended, t->logits, t->h, t->turns, t->places, t->kv, t->workspace};
    for (void *memory : on_device)
        cudaFree(memory);
    cudaFreeHost(t->given);
    cudaFreeHost(t->next);
    if (t->stream)
        cudaStreamDestroy(t->stream);
    branch_step_destroy(&t->step);
    free(t->tables);
    free(t->copies);
    free(t);
}

template <typename T> static void allocate(gpu_outcome *o, T **memory, uint64_t count)
{
    if (o->status == TREE_OK)
        gpu_note(o, cudaMalloc((void **)memory, count * sizeof(T)));
}

/* As fill_defaults of transformer.c: 8 KV heads are the unit of num_workers. */
static void fill_plan_config(tree_plan_config *plan, const model_shape *m)
{
    int device = 0, multiprocessors = 132;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
    if (!plan->group_size)
        plan->group_size = m->heads / m->kv_heads;
    if (!plan->num_workers)
        plan->num_workers = (uint32_t)multiprocessors * 8 / m->kv_heads;
}

model_status transformer_gpu_create(transformer_gpu **result, const weights_gpu *w, kv_pool *pool,
                                    const transformer_gpu_config *config, char *message, size_t message_bytes)
{
    const model_shape &m = w->shape;
    gpu_outcome o = {TREE_OK, 0};
    transformer_gpu *t = (transformer_gpu *)calloc(1, sizeof *t);
    if (!t)
        return MODEL_NOMEM;
    t->config = *config, t->weights = w, t->pool = pool;
    if (!t->config.max_branches)
        t->config.max_branches = 64;
    fill_plan_config(&t->config.plan, &m);
    model_status status = branch_step_create(&t->step, pool, &t->config.plan, t->config.max_branches,
                                             m.context ? m.context : UINT32_MAX);
    if (status == MODEL_OK && t->step.evicts)
        status = MODEL_UNSUPPORTED;
    if (status != MODEL_OK) {
        transformer_gpu_destroy(t);
        return status;
    }
    const uint64_t n = t->config.max_branches, y_rows = (m.heads + 2 * m.kv_heads) * m.head_dim;
    const uint64_t attended = m.heads * m.head_dim, widest = m.width > m.hidden ? m.width : m.hidden;
    t->shape = {(uint32_t)n,   m.heads, m.kv_heads, m.head_dim, t->step.num_blocks, t->step.block_tokens,
                w->storage};
    t->kv_bytes = 2 * tree_kv_offset(&t->shape, t->shape.num_blocks, 0, 0);
    t->tables = (kv_table *)calloc(n, sizeof *t->tables);
    t->copies = (kv_copy *)calloc(n, sizeof *t->copies);
    if (!t->tables || !t->copies)
        o.status = TREE_NOMEM;
    allocate(&o, &t->x, n * m.width);
    allocate(&o, &t->y, n * (y_rows > 2 * m.hidden ? y_rows : 2 * m.hidden));
    allocate(&o, &t->query, n * attended);
    allocate(&o, &t->attended, n * attended);
    allocate(&o, &t->logits, n * m.vocabulary);
    allocate(&o, (uint16_t **)&t->h, n * (attended > widest ? attended : widest));
    allocate(&o, &t->turns, n * (m.head_dim / 2));
    allocate(&o, &t->places, n);
    allocate(&o, &t->kv, 2 * m.layers * t->kv_bytes);
    if (o.status == TREE_OK) {
        gpu_note(&o, cudaMallocHost((void **)&t->given, n * sizeof *t->given));
        gpu_note(&o, cudaMallocHost((void **)&t->next, n * sizeof *t->next));
        gpu_note(&o, cudaStreamCreateWithFlags(&t->stream, cudaStreamNonBlocking));
        gpu_note(&o, products_create(&t->multiplier, t->stream));
    }
    if (o.status == TREE_OK) {
        gpu_note(&o, weights_gpu_fill(t->kv, m.layers * t->kv_bytes, 1, 1, w->storage, t->stream));
        gpu_note(&o, cudaMemsetAsync(t->attended, 0, n * attended * sizeof(float), t->stream));
        gpu_note(&o, cudaStreamSynchronize(t->stream));
    }
    if (o.status == TREE_OK)
        return *result = t, MODEL_OK;
    transformer_gpu_destroy(t);
    return gpu_outcome_status(&o, message, message_bytes);
}

/* ---- the plan ---- */

static void drop_graph(transformer_gpu *t)
{
    if (t->graph)
        cudaGraphExecDestroy(t->graph);
    t->graph = NULL;
}

/* Room for the partial states of the plan; half as much again, so that a search that grows seldom asks. */
static void reserve_workspace(gpu_outcome *o, transformer_gpu *t)
{
    const size_t bytes = tree_attention_gpu_workspace_bytes(t->plan, &t->shape);
    if (o->status != TREE_OK || bytes <= t->workspace_bytes)
        return;
    gpu_note(o, cudaStreamSynchronize(t->stream));
    drop_graph(t);
    cudaFree(t->workspace);
    t->workspace = NULL;
    t->workspace_bytes = 0;
    gpu_note(o, cudaMalloc(&t->workspace, bytes + bytes / 2));
    if (o->status == TREE_OK)
        t->workspace_bytes = bytes + bytes / 2;
}

/* A plan from nothing but the tables, where the one before cannot grow. */
static tree_status build_plan(transformer_gpu *t, bool same_tree)
{
    tree_plan *plan;
    if (!same_tree) {
        kv_tree *tree;
        kv_status status = kv_tree_build(&tree, t->tables, t->shape.num_queries, t->shape.block_tokens,
                                         t->shape.num_blocks);
        if (status != KV_OK)
            return status == KV_NOMEM ? TREE_NOMEM : TREE_INVAL;
        kv_tree_destroy(t->tree);
        t->tree = tree;
    }
    tree_status status = tree_plan_build(&plan, t->tree, &t->config.plan);
    if (status != TREE_OK)
        return status;
    tree_plan_destroy(t->plan);
    t->plan = plan;
    return TREE_OK;
}

model_status transformer_gpu_plan(transformer_gpu *t, const kv_table *tables, uint32_t num_tables)
{
    const uint32_t n = t->shape.num_queries;
    gpu_outcome o = {TREE_OK, 0};
    assert(num_tables <= n && "a step has at most max_branches branches");
    bool only_grew = t->gpu_plan && num_tables == t->num_tables && t->steps_ahead > 0;
    for (uint32_t i = 0; i < num_tables && only_grew; i++)
        only_grew = tables[i].version == t->tables[i].version && tables[i].length == t->tables[i].length + 1;
    memcpy(t->tables, tables, num_tables * sizeof *tables);
    for (uint32_t i = num_tables; i < n; i++) { /* an empty table never changes, so its version stays */
        t->tables[i] = {};
        t->tables[i].version = 1;
    }
    t->num_tables = num_tables;
    if (only_grew) {
        t->steps_ahead--;
        return MODEL_OK;
    }
    const bool same_tree = t->tree && kv_tree_grow(t->tree, t->tables, n);
    const bool same_plan = same_tree && t->plan && tree_plan_grow(t->plan, t->tree);
    if (!same_plan || !t->gpu_plan || !tree_plan_gpu_grow(t->gpu_plan, t->plan)) {
        if (!same_plan)
            o.status = build_plan(t, same_tree);
        reserve_workspace(&o, t);
        if (o.status == TREE_OK)
            o.status = t->gpu_plan
                           ? tree_plan_gpu_update(t->gpu_plan, t->plan, t->stream, &o.cuda_error)
                           : tree_plan_gpu_create(&t->gpu_plan, t->plan, &t->shape, t->stream, &o.cuda_error);
    }
    t->steps_ahead = o.status == TREE_OK ? tree_plan_gpu_steps_ahead(t->gpu_plan) : 0;
    return finish_with(t, &o);
}

model_status transformer_gpu_skip(transformer_gpu *t)
{
    gpu_outcome o = {TREE_OK, 0};
    o.status = tree_plan_gpu_advance(t->gpu_plan, NULL, t->stream, &o.cuda_error);
    return finish_with(t, &o);
}

/* ---- the graph ---- */

model_status transformer_gpu_capture(transformer_gpu *t)
{
    gpu_outcome o = {TREE_OK, 0};
    cudaGraph_t graph = NULL;
    if (t->graph && t->version == tree_plan_gpu_version(t->gpu_plan) && !t->config.captures_always)
        return MODEL_OK;
    drop_graph(t);
    gpu_note(&o, cudaStreamBeginCapture(t->stream, cudaStreamCaptureModeThreadLocal));
    if (o.status == TREE_OK) {
        o.status = tree_plan_gpu_advance(t->gpu_plan, NULL, t->stream, &o.cuda_error);
        transformer_gpu_enqueue(&o, t);
        const cudaError_t ended = cudaStreamEndCapture(t->stream, &graph);
        gpu_note(&o, ended);
    }
    if (o.status == TREE_OK)
        gpu_note(&o, cudaGraphInstantiate(&t->graph, graph, 0));
    if (graph)
        cudaGraphDestroy(graph);
    t->version = tree_plan_gpu_version(t->gpu_plan);
    return finish_with(t, &o);
}

model_status transformer_gpu_launch(transformer_gpu *t, const uint32_t *tokens)
{
    gpu_outcome o = {TREE_OK, 0};
    model_status status = transformer_gpu_capture(t);
    if (status != MODEL_OK)
        return status;
    for (uint32_t i = 0; i < t->shape.num_queries; i++) {
        t->given[i] = {0, 0, KV_SKIP_SLOT};
        if (i >= t->num_tables)
            continue;
        t->given[i].token = tokens[i];
        t->given[i].position = t->tables[i].length - 1;
        kv_last_slots(&t->given[i].slot, &t->tables[i], 1, t->shape.block_tokens);
    }
    gpu_note(&o, cudaGraphLaunch(t->graph, t->stream));
    return finish_with(t, &o);
}

model_status transformer_gpu_finish(transformer_gpu *t, float *logits, uint32_t *next)
{
    gpu_outcome o = {TREE_OK, 0};
    gpu_note(&o, cudaStreamSynchronize(t->stream));
    if (logits && o.status == TREE_OK)
        gpu_note(&o, cudaMemcpy(logits, t->logits, t->num_tables * (size_t)t->weights->shape.vocabulary * sizeof *logits,
                                cudaMemcpyDeviceToHost));
    if (next && o.status == TREE_OK)
        memcpy(next, t->next, t->num_tables * sizeof *next);
    return finish_with(t, &o);
}

/* ---- a step ---- */

model_status transformer_gpu_copy(transformer_gpu *t, const kv_copy *copies, uint32_t num_copies)
{
    gpu_outcome o = {TREE_OK, 0};
    for (uint32_t i = 0; i < num_copies; i++)
        t->counts.copied_bytes += copies[i].num_tokens * 4ull * t->weights->shape.layers * t->shape.num_kv_heads
                                  * t->shape.head_dim;
    for (uint32_t layer = 0; num_copies && layer < t->weights->shape.layers && o.status == TREE_OK; layer++) {
        char *key = t->kv + 2 * layer * t->kv_bytes;
        o.status = kv_copy_gpu(key, key + t->kv_bytes, copies, num_copies, &t->shape, t->stream, &o.cuda_error);
    }
    return finish_with(t, &o);
}

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e6 * (double)now.tv_sec + 1e-3 * (double)now.tv_nsec;
}

/* The host's plan lags behind while the device follows by itself: by a token of its own for each branch and step. */
static void count(transformer_gpu *t)
{
    transformer_counts *c = &t->counts;
    const model_shape &m = t->weights->shape;
    const uint64_t token_bytes = 4ull * m.layers * m.kv_heads * m.head_dim; /* K and V of 16 bits, all layers */
    uint64_t path_tokens = 0;
    for (uint32_t i = 0; i < t->num_tables; i++)
        path_tokens += t->tables[i].length;
    const uint64_t lag = path_tokens - t->plan->path_tokens;
    c->steps++;
    c->tokens += t->num_tables;
    c->path_tokens += path_tokens;
    c->unique_tokens += t->plan->unique_tokens + lag;
    c->logical_bytes += path_tokens * token_bytes;
    c->unique_bytes += (t->plan->unique_tokens + lag) * token_bytes;
    c->plan_bytes += (t->plan->loaded_tokens + lag) * token_bytes;
    c->weight_bytes += weights_gpu_bytes(t->weights);
}

/* As after the first step: for a step that ended early. */
static void forget_plan(transformer_gpu *t)
{
    kv_tree_destroy(t->tree);
    t->tree = NULL;
    t->steps_ahead = 0;
}

model_status transformer_gpu_step(transformer_gpu *t, const kv_branch *branches, const uint32_t *tokens,
                                  uint32_t num_branches, float *logits, uint32_t *next)
{
    uint32_t num_copies = 0;
    for (uint32_t i = 0; i < num_branches; i++)
        if (tokens[i] >= t->weights->shape.vocabulary)
            return MODEL_INVAL;
    model_status status = branch_step_append(&t->step, branches, num_branches);
    if (status != MODEL_OK)
        return status;
    for (uint32_t i = 0; i < num_branches; i++)
        if (t->step.appends[i].copy.num_tokens)
            t->copies[num_copies++] = t->step.appends[i].copy;
    const double start = now_us();
    status = transformer_gpu_copy(t, t->copies, num_copies);
    if (status == MODEL_OK)
        status = transformer_gpu_plan(t, t->step.tables, num_branches);
    const double planned = now_us();
    if (status == MODEL_OK)
        status = transformer_gpu_launch(t, tokens);
    if (status == MODEL_OK)
        status = transformer_gpu_finish(t, logits, next);
    if (status != MODEL_OK) {
        branch_step_undo(&t->step);
        forget_plan(t);
        return status;
    }
    count(t);
    t->counts.host_us += planned - start;
    t->counts.rest_us += now_us() - planned;
    return MODEL_OK;
}

model_status transformer_gpu_copy_branch(transformer_gpu *t, kv_branch branch, kv_branch *result)
{
    kv_table from, to;
    kv_branch child;
    kv_append append;
    model_status status = model_status_of_kv(kv_branch_table(t->pool, branch, &from));
    if (status == MODEL_OK)
        status = model_status_of_kv(kv_branch_create(t->pool, &child));
    if (status != MODEL_OK)
        return status;
    status = model_status_of_kv(kv_branch_append(t->pool, child, from.length, &append));
    kv_branch_table(t->pool, branch, &from);
    kv_branch_table(t->pool, child, &to);
    for (uint32_t i = 0; i < from.num_blocks && status == MODEL_OK; i++) {
        const kv_copy copy = {from.blocks[i], to.blocks[i], t->shape.block_tokens};
        status = transformer_gpu_copy(t, &copy, 1);
    }
    if (status == MODEL_OK)
        return *result = child, MODEL_OK;
    kv_branch_prune(t->pool, child);
    return status;
}

void transformer_gpu_get_counts(const transformer_gpu *t, transformer_counts *counts) { *counts = t->counts; }
const char *transformer_gpu_message(const transformer_gpu *t) { return t->message; }
cudaStream_t transformer_gpu_stream(const transformer_gpu *t) { return t->stream; }
const tree_plan *transformer_gpu_host_plan(const transformer_gpu *t) { return t->plan; }
const kv_tree *transformer_gpu_host_tree(const transformer_gpu *t) { return t->tree; }
const tree_shape *transformer_gpu_shape(const transformer_gpu *t) { return &t->shape; }
