/* Runs the fast path on a scene and compares it with the oracle. */
#define _POSIX_C_SOURCE 200809L
#include "tool_agreement.h"

#include <math.h>
#include <stdlib.h>

#ifdef _OPENMP
#include <omp.h>
#endif

static float scale_of(uint32_t head_dim)
{
    return (float)(1 / sqrt(head_dim));
}

/* Uniform in [-1.73, 1.73), so of variance 1. */
static float next_query(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (float)((double)((z ^ z >> 31) >> 40) * 0x1p-23 - 1) * 1.7320508f;
}

/* The heads of one query that share a KV head, whose K and V are gathered once. */
static void add_truth(tool_queries *queries, const kv_store *store, uint32_t branch, uint32_t query, uint32_t kv_head)
{
    uint32_t head_dim = queries->shape.head_dim, group_size = queries->shape.num_heads / queries->shape.num_kv_heads;
    uint32_t num_tokens;
    kv_store_tokens(store, branch, &num_tokens);
    float *key = tool_allocate((size_t)num_tokens * head_dim, sizeof *key);
    float *value = tool_allocate((size_t)num_tokens * head_dim, sizeof *value);
    kv_store_gather(store, branch, kv_head, key, value);
    for (uint32_t head = kv_head * group_size; head < (kv_head + 1) * group_size; head++) {
        uint64_t row = (uint64_t)query * queries->shape.num_heads + head;
        attention_truth_row(&queries->truth, row, queries->query + row * head_dim, key, value, num_tokens,
                            scale_of(head_dim));
    }
    free(key);
    free(value);
}

tool_queries tool_queries_create(const tool_scene *scene, uint32_t num_heads, uint64_t seed)
{
    tool_queries queries = {.shape = kv_store_shape(scene->store, scene->step.num_queries, num_heads)};
    const tree_shape *shape = &queries.shape;
    size_t elements = (size_t)shape->num_queries * num_heads * shape->head_dim;
    queries.query = tool_allocate(elements, sizeof *queries.query);
    for (size_t i = 0; i < elements; i++) queries.query[i] = storage_round(next_query(&seed), shape->storage);
    queries.truth =
        attention_truth_begin(queries.query, shape->num_queries, num_heads, shape->num_kv_heads, shape->head_dim);
    int64_t num_pairs = (int64_t)shape->num_queries * shape->num_kv_heads;
#pragma omp parallel for schedule(dynamic)
    for (int64_t pair = 0; pair < num_pairs; pair++) {
        uint32_t query = (uint32_t)(pair / shape->num_kv_heads), kv_head = (uint32_t)(pair % shape->num_kv_heads);
        add_truth(&queries, scene->store, scene->step.query_names[query], query, kv_head);
    }
    return queries;
}

void tool_queries_destroy(tool_queries *queries)
{
    free(queries->query);
    attention_truth_destroy(&queries->truth);
}

static uint32_t num_threads(void)
{
#ifdef _OPENMP
    return (uint32_t)omp_get_max_threads();
#else
    return 1;
#endif
}

static void run_fast_path(float *out, float *lse, const tool_queries *queries, kv_store *store, const tree_plan *plan,
                          tree_isa isa)
{
    size_t bytes = tree_attention_cpu_workspace_bytes(plan, &queries->shape, num_threads());
    void *workspace = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (workspace == NULL) tool_fail("out of memory: a workspace of %zu bytes", bytes);
    tree_status status =
        tree_attention_cpu(out, lse, queries->query, kv_store_key(store), kv_store_value(store), plan, &queries->shape,
                           scale_of(queries->shape.head_dim), workspace, bytes, num_threads(), isa);
    if (status != TREE_OK) tool_fail("attention: %s", tree_status_string(status));
    free(workspace);
}

void tool_agreement_add(tool_agreement *agreement, const tool_scene *scene, const tool_queries *queries,
                        const tree_plan *plan)
{
    size_t rows = (size_t)queries->shape.num_queries * queries->shape.num_heads;
    float *out = tool_allocate(rows * queries->shape.head_dim, sizeof *out);
    float *lse = tool_allocate(rows, sizeof *lse);
    run_fast_path(out, lse, queries, scene->store, plan, agreement->isa);
    roundoffs u = cpu_roundoffs(queries->shape.storage, agreement->isa);
    verdict found = attention_verdict(out, lse, &queries->truth, &u);
    if (agreement->num_plans++ == 0 || found.worst > agreement->worst.worst) agreement->worst = found;
    free(out);
    free(lse);
}
