/* Plays workloads for the verbs, and holds the fast path against the definition. */
#define _POSIX_C_SOURCE 200809L
#include "tool_scene.h"

#include <math.h>
#include <stdlib.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "attention.h"
#include "half.h"
#include "tree_attention_cpu.h"

static uint32_t enough_blocks(const workload *work, uint32_t block_tokens)
{
    replay_needs needs;
    kv_status status = replay_count_needs(&needs, work, block_tokens);
    if (status == KV_OK && needs.most_blocks >= UINT32_MAX)
        status = KV_RANGE;
    if (status != KV_OK)
        tool_fail("the workload cannot be played: %s", kv_status_string(status));
    return needs.most_blocks > 0 ? (uint32_t)needs.most_blocks : 1;
}

tool_scene tool_scene_open(const workload *work, uint32_t block_tokens, uint32_t num_blocks,
                           const replay_events *events)
{
    tool_scene scene = {.workload = work, .block_tokens = block_tokens, .num_blocks = num_blocks};
    if (num_blocks == 0)
        scene.num_blocks = enough_blocks(work, block_tokens);
    kv_pool_config config = {.num_blocks = scene.num_blocks, .block_tokens = block_tokens,
                             .max_branches = work->max_live_branches > 0 ? work->max_live_branches : 1};
    kv_status status = kv_pool_create(&scene.pool, &config);
    if (status != KV_OK)
        tool_fail("a pool of %u blocks of %u tokens: %s", scene.num_blocks, block_tokens, kv_status_string(status));
    status = replay_create(&scene.replay, work, scene.pool, events);
    if (status != KV_OK)
        tool_fail("the workload cannot be played: %s", kv_status_string(status));
    return scene;
}

bool tool_scene_next(tool_scene *scene)
{
    uint32_t iteration = scene->step.iteration;
    kv_status status = replay_step(scene->replay, &scene->step);
    if (status == KV_NOBLOCKS)
        tool_fail("the pool of %u blocks of %u tokens is too small: refused at operation %u, after iteration %u; "
                  "nothing was lost, a larger pool (or a prune) lets it go on",
                  scene->num_blocks, scene->block_tokens, replay_position(scene->replay), iteration);
    if (status != KV_OK)
        tool_fail("operation %u: %s", replay_position(scene->replay), kv_status_string(status));
    return !scene->step.done;
}

kv_table *tool_scene_tables(const tool_scene *scene)
{
    kv_table *tables = tool_allocate(scene->step.num_queries, sizeof *tables);
    kv_status status = kv_branch_tables(scene->pool, scene->step.queries, scene->step.num_queries, tables);
    if (status != KV_OK)
        tool_fail("block tables: %s", kv_status_string(status));
    return tables;
}

kv_tree *tool_scene_tree(const tool_scene *scene)
{
    kv_table *tables = tool_scene_tables(scene);
    kv_tree *tree;
    kv_status status = kv_tree_build(&tree, tables, scene->step.num_queries, scene->block_tokens, scene->num_blocks);
    if (status != KV_OK)
        tool_fail("the tree of the block tables: %s", kv_status_string(status));
    free(tables);
    return tree;
}

tree_plan *tool_scene_plan(const kv_tree *tree, const tree_plan_config *config)
{
    tree_plan *plan;
    tree_status status = tree_plan_build(&plan, tree, config);
    if (status != TREE_OK)
        tool_fail("plan %s: %s", tree_strategy_name[config->strategy], tree_status_string(status));
    return plan;
}

void tool_scene_close(tool_scene *scene)
{
    replay_destroy(scene->replay);
    kv_pool_destroy(scene->pool, true, NULL);
}

float tool_scale(uint32_t head_dim)
{
    return (float)(1 / sqrt(head_dim));
}

static float stored(float value, tree_storage storage)
{
    if (storage == TREE_FP16)
        return fp16_to_float(fp16_from_float(value));
    return storage == TREE_BF16 ? bf16_to_float(bf16_from_float(value)) : value;
}

/* Uniform in [-1.73, 1.73), so of variance 1. */
static float next_query(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (float)((double)((z ^ z >> 31) >> 40) * 0x1p-23 - 1) * 1.7320508f;
}

/* A and B of one query and head; its out and lse are known. */
static void measure_spread(tool_truth *truth, uint64_t row, const float *key, const float *value, uint32_t num_tokens)
{
    uint32_t head_dim = truth->shape.head_dim;
    const float *q_qh = truth->query + row * head_dim;
    double *magnitude = truth->magnitude + row * head_dim, scale = tool_scale(head_dim);
    for (uint32_t t = 0; t < num_tokens; t++) {
        double dot = 0, spread = 0;
        for (uint32_t d = 0; d < head_dim; d++) {
            double product = (double)q_qh[d] * key[(uint64_t)t * head_dim + d];
            dot += product;
            spread += fabs(product);
        }
        double p = exp(scale * dot - truth->lse[row]);
        for (uint32_t d = 0; d < head_dim; d++)
            magnitude[d] += p * fabs(value[(uint64_t)t * head_dim + d]);
        truth->spread[row] = fmax(truth->spread[row], scale * spread);
    }
}

/* All query heads of one query and KV head, whose keys and values are gathered once. */
static void find_truth(tool_truth *truth, const kv_store *store, uint32_t branch, uint32_t query, uint32_t kv_head)
{
    uint32_t head_dim = truth->shape.head_dim, group_size = truth->shape.num_heads / truth->shape.num_kv_heads;
    uint32_t num_tokens;
    kv_store_tokens(store, branch, &num_tokens);
    float *key = tool_allocate((size_t)num_tokens * head_dim, sizeof *key);
    float *value = tool_allocate((size_t)num_tokens * head_dim, sizeof *value);
    kv_store_gather(store, branch, kv_head, key, value);
    for (uint32_t head = kv_head * group_size; head < (kv_head + 1) * group_size; head++) {
        uint64_t row = (uint64_t)query * truth->shape.num_heads + head;
        attention_ref(truth->out + row * head_dim, &truth->lse[row], truth->query + row * head_dim, key, value,
                      num_tokens, head_dim, tool_scale(head_dim));
        measure_spread(truth, row, key, value, num_tokens);
    }
    free(key);
    free(value);
}

tool_truth tool_truth_create(const tool_scene *scene, const kv_store *store, uint32_t num_heads, uint64_t seed)
{
    tool_truth truth = {.shape = kv_store_shape(store, scene->step.num_queries, num_heads)};
    size_t rows = (size_t)truth.shape.num_queries * num_heads, elements = rows * truth.shape.head_dim;
    truth.query = tool_allocate(elements, sizeof *truth.query);
    truth.out = tool_allocate(elements, sizeof *truth.out);
    truth.magnitude = tool_allocate(elements, sizeof *truth.magnitude);
    truth.lse = tool_allocate(rows, sizeof *truth.lse);
    truth.spread = tool_allocate(rows, sizeof *truth.spread);
    for (size_t i = 0; i < elements; i++)
        truth.query[i] = stored(next_query(&seed), truth.shape.storage);
    int64_t num_pairs = (int64_t)truth.shape.num_queries * truth.shape.num_kv_heads;
#pragma omp parallel for schedule(dynamic)
    for (int64_t pair = 0; pair < num_pairs; pair++) {
        uint32_t query = (uint32_t)(pair / truth.shape.num_kv_heads);
        uint32_t kv_head = (uint32_t)(pair % truth.shape.num_kv_heads);
        find_truth(&truth, store, scene->step.query_names[query], query, kv_head);
    }
    return truth;
}

void tool_truth_destroy(tool_truth *truth)
{
    free(truth->query);
    free(truth->out);
    free(truth->magnitude);
    free(truth->lse);
    free(truth->spread);
}

static uint32_t num_threads(void)
{
#ifdef _OPENMP
    return (uint32_t)omp_get_max_threads();
#else
    return 1;
#endif
}

static void run_fast_path(float *out, float *lse, const tool_truth *truth, const kv_store *store, const tree_plan *plan)
{
    size_t bytes = tree_attention_cpu_workspace_bytes(plan, &truth->shape, num_threads());
    void *workspace = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (workspace == NULL)
        tool_fail("out of memory: a workspace of %zu bytes", bytes);
    tree_status status = tree_attention_cpu(out, lse, truth->query, kv_store_key((kv_store *)store),
                                            kv_store_value((kv_store *)store), plan, &truth->shape,
                                            tool_scale(truth->shape.head_dim), workspace, bytes, num_threads(),
                                            TREE_ISA_AUTO);
    if (status != TREE_OK)
        tool_fail("attention: %s", tree_status_string(status));
    free(workspace);
}

/* u_weight: bf16 products round the probabilities to bf16. */
static double weight_roundoff(const tool_truth *truth)
{
    return truth->shape.storage == TREE_BF16 && tree_isa_best() == TREE_ISA_AVX512_BF16 ? 0x1p-8 : 0;
}

static void compare_out(tool_agreement *agreement, const tool_truth *truth, const float *out)
{
    const double u = 0x1p-24, u_weight = weight_roundoff(truth), root = sqrt(truth->shape.head_dim);
    uint64_t count = (uint64_t)truth->shape.num_queries * truth->shape.num_heads * truth->shape.head_dim;
    for (uint64_t i = 0; i < count; i++) {
        double spread = truth->spread[i / truth->shape.head_dim];
        double limit = (u_weight + 2 * root * u * spread + 16 * u) * truth->magnitude[i] + u * fabs(truth->out[i]);
        double error = fabs((double)out[i] - truth->out[i]);
        agreement->within = agreement->within && error <= limit; /* false for NaN */
        bool worse = isnan(error) || error * agreement->limit > agreement->error * limit;
        if (agreement->num_compared == 0 || (worse && !isnan(agreement->error))) { /* the first NaN is the worst */
            agreement->error = error;
            agreement->limit = limit;
        }
        agreement->num_compared++;
    }
}

static void compare_lse(tool_agreement *agreement, const tool_truth *truth, const float *lse)
{
    const double u = 0x1p-24, root = sqrt(truth->shape.head_dim);
    for (uint64_t row = 0; row < (uint64_t)truth->shape.num_queries * truth->shape.num_heads; row++) {
        double limit = 4 * root * u * truth->spread[row] + 8 * u * (1 + fabs(truth->lse[row]));
        agreement->within = agreement->within && fabs((double)lse[row] - truth->lse[row]) <= limit;
    }
}

void tool_agreement_add(tool_agreement *agreement, const tool_truth *truth, const kv_store *store,
                        const tree_plan *plan)
{
    size_t rows = (size_t)truth->shape.num_queries * truth->shape.num_heads;
    float *out = tool_allocate(rows * truth->shape.head_dim, sizeof *out);
    float *lse = tool_allocate(rows, sizeof *lse);
    run_fast_path(out, lse, truth, store, plan);
    compare_out(agreement, truth, out);
    compare_lse(agreement, truth, lse);
    free(out);
    free(lse);
}
