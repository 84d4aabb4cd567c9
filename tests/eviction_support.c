/* A step of eviction against the reference and against attention alone. */
#include "eviction_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"
#include "tree_importance.h"

static void *memory_of(uint64_t count, size_t bytes)
{
    void *memory = calloc(count + 1, bytes);
    check(memory, "memory");
    return memory;
}

static uint64_t longest_table(const attention_case *c)
{
    uint64_t num_blocks = 0;
    for (uint32_t q = 0; q < c->num_tables; q++)
        num_blocks = c->grown.tables[q].num_blocks > num_blocks ? c->grown.tables[q].num_blocks : num_blocks;
    return num_blocks * c->shape.block_tokens;
}

/* Neighbouring slots change places, and then all are moved up: an order that is not that of the slots. */
static void fill_positions(eviction_case *e)
{
    const attention_case *c = e->gpu.c;
    for (uint32_t q = 0; q < c->num_tables; q++) {
        const kv_table *table = &c->grown.tables[q];
        for (uint64_t slot = 0; slot < (uint64_t)table->num_blocks * c->shape.block_tokens; slot++) {
            uint64_t block = table->blocks[slot / c->shape.block_tokens];
            e->positions[block * c->shape.block_tokens + slot % c->shape.block_tokens] = (uint32_t)(slot ^ 5) + 3;
        }
    }
}

void eviction_case_create(eviction_case *e, const attention_case *c, const tree_plan *plan)
{
    memset(e, 0, sizeof *e);
    gpu_case_create(&e->gpu, c);
    e->num_pool_slots = (uint64_t)c->shape.num_blocks * c->shape.block_tokens;
    e->num_slots = longest_table(c) + 3;
    e->norm = memory_of(e->num_pool_slots * c->shape.num_kv_heads, sizeof *e->norm);
    e->positions = memory_of(e->num_pool_slots, sizeof *e->positions);
    e->candidates = memory_of(c->shape.num_queries, sizeof *e->candidates);
    e->expected = memory_of(c->shape.num_queries * e->num_slots, sizeof *e->expected);
    e->h_importance = memory_of(c->shape.num_queries * e->num_slots, sizeof *e->h_importance);
    e->h_victims = memory_of(c->shape.num_queries, sizeof *e->h_victims);
    fill_positions(e);
    for (uint32_t q = 0; q < c->shape.num_queries; q++)
        e->candidates[q] = (eviction_range){0, UINT32_MAX};
    e->d_norm = d_create(e->num_pool_slots * c->shape.num_kv_heads * sizeof *e->norm);
    e->d_positions = d_create(e->num_pool_slots * sizeof *e->positions);
    e->d_candidates = d_create(c->shape.num_queries * sizeof *e->candidates);
    e->importance = d_create(c->shape.num_queries * e->num_slots * sizeof(float));
    e->victims = d_create(c->shape.num_queries * sizeof(uint64_t));
    eviction_case_plan(e, plan);
    eviction_case_upload(e);
}

void eviction_case_destroy(eviction_case *e)
{
    d_read(&e->workspace, NULL, "workspace");
    d_destroy(&e->d_norm);
    d_destroy(&e->d_positions);
    d_destroy(&e->d_candidates);
    d_destroy(&e->importance);
    d_destroy(&e->victims);
    d_destroy(&e->workspace);
    tree_eviction_gpu_destroy(e->lists);
    gpu_case_destroy(&e->gpu);
    free(e->norm);
    free(e->positions);
    free(e->candidates);
    free(e->expected);
    free(e->h_importance);
    free(e->h_victims);
}

void eviction_case_plan(eviction_case *e, const tree_plan *plan)
{
    int cuda_error = -1;
    const tree_shape *shape = &e->gpu.c->shape;
    e->plan = plan;
    gpu_case_plan(&e->gpu, plan);
    tree_status status = e->lists ? tree_eviction_gpu_update(e->lists, plan, NULL, &cuda_error)
                                  : tree_eviction_gpu_create(&e->lists, plan, shape, NULL, &cuda_error);
    gpu_ok(status, &cuda_error, "lists on the device");
    size_t most = 0;
    for (uint32_t s = 0; s < tree_eviction_num_steps; s++) {
        size_t bytes = tree_eviction_gpu_workspace_bytes(plan, shape, &tree_eviction_steps[s]);
        check(bytes > 0, "a workspace of %s", tree_eviction_steps[s].name);
        most = bytes > most ? bytes : most;
    }
    if (e->workspace.data) {
        d_read(&e->workspace, NULL, "workspace");
        d_destroy(&e->workspace);
    }
    e->workspace = d_create(most);
    e->workspace_bytes = most;
}

void eviction_case_upload(eviction_case *e)
{
    const attention_case *c = e->gpu.c;
    uint32_t block_tokens = c->shape.block_tokens, num_kv_heads = c->shape.num_kv_heads;
    gpu_case_upload(&e->gpu);
    for (uint64_t slot = 0; slot < e->num_pool_slots; slot++) {
        for (uint32_t g = 0; g < num_kv_heads; g++)
            e->norm[(slot / block_tokens * num_kv_heads + g) * block_tokens + slot % block_tokens] =
                value_norm(attention_value(c, slot, g), c->shape.head_dim);
    }
    d_write(&e->d_norm, 0, e->norm, e->d_norm.bytes);
    d_write(&e->d_positions, 0, e->positions, e->d_positions.bytes);
    d_write(&e->d_candidates, 0, e->candidates, e->d_candidates.bytes);

    tree_shape shape = c->shape;
    float *out = memory_of(c->num_out, sizeof *out), *lse = memory_of(c->num_lse, sizeof *lse);
    shape.storage = TREE_FP32;
    tree_status status = tree_importance_ref(out, lse, e->expected, e->num_slots, c->query, c->key, c->value, e->norm,
                                             e->plan, &shape, c->scale);
    check(status == TREE_OK, "tree_importance_ref: %s", tree_status_string(status));
    free(out);
    free(lse);
}

uint32_t eviction_case_position(const eviction_case *e, uint32_t query, uint64_t table_slot)
{
    const attention_case *c = e->gpu.c;
    uint64_t block = c->grown.tables[query].blocks[table_slot / c->shape.block_tokens];
    return e->positions[block * c->shape.block_tokens + table_slot % c->shape.block_tokens];
}

void eviction_case_run(eviction_case *e, const tree_eviction_step *step)
{
    gpu_case *gpu = &e->gpu;
    int cuda_error = -1;
    d_clear(&gpu->out);
    d_clear(&gpu->lse);
    d_clear(&e->importance);
    memset(e->h_victims, 0, e->victims.bytes); /* left by a call before: below every key */
    d_write(&e->victims, 0, e->h_victims, e->victims.bytes);
    tree_status status = tree_eviction_gpu_run(
        (float *)gpu->out.data, (float *)gpu->lse.data, (float *)e->importance.data, e->num_slots,
        (uint64_t *)e->victims.data, (const float *)gpu->query.data, gpu->key.data, gpu->value.data,
        (const float *)e->d_norm.data, (const uint32_t *)e->d_positions.data,
        (const eviction_range *)e->d_candidates.data, gpu->plan, e->lists, &gpu->c->shape, gpu->c->scale,
        e->workspace.data, e->workspace_bytes, NULL, step, &cuda_error);
    gpu_ok(status, &cuda_error, step->name);
    cuda_ok(cudaDeviceSynchronize(), step->name);
    d_read(&gpu->out, gpu->h_out, "out");
    d_read(&gpu->lse, gpu->h_lse, "lse");
    d_read(&e->importance, e->h_importance, "importance");
    d_read(&e->victims, e->h_victims, "victims");
}

static bool untouched(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits == UINT32_MAX;
}

/* Of one query: the smallest key of the importance that was written. */
static uint64_t smallest_key(const eviction_case *e, const float *importance, uint32_t query)
{
    const eviction_range range = e->candidates[query];
    uint64_t smallest = EVICTION_NONE;
    for (uint64_t slot = 0; slot < e->num_slots; slot++) {
        if (untouched(importance[slot]) || importance[slot] == -1)
            continue;
        uint32_t position = eviction_case_position(e, query, slot);
        uint64_t key = eviction_key(importance[slot], position);
        if (key == EVICTION_NOT_FINITE)
            return key;
        if (range.first <= position && position < range.end && key < smallest)
            smallest = key;
    }
    return smallest;
}

static void check_victim(const eviction_case *e, uint32_t query, const char *what, double tolerance)
{
    const float *importance = e->h_importance + query * e->num_slots, *expected = e->expected + query * e->num_slots;
    uint64_t victim = e->h_victims[query];
    check(victim == smallest_key(e, importance, query), "%s: query %u, victim %llx: the smallest key is %llx", what,
          query, (unsigned long long)victim, (unsigned long long)smallest_key(e, importance, query));
    if (victim == EVICTION_NONE || victim == EVICTION_NOT_FINITE) {
        check(victim == smallest_key(e, expected, query), "%s: query %u, victim %llx", what, query,
              (unsigned long long)victim);
        return;
    }
    double smallest = INFINITY, of_victim = NAN;
    for (uint64_t slot = 0; slot < e->num_slots; slot++) {
        if (expected[slot] == -1)
            continue;
        uint32_t position = eviction_case_position(e, query, slot);
        if (e->candidates[query].first <= position && position < e->candidates[query].end)
            smallest = fmin(smallest, expected[slot]);
        if (position == eviction_key_position(victim))
            of_victim = expected[slot];
    }
    check(of_victim <= smallest * (1 + tolerance) + 1e-12, "%s: query %u, victim of importance %g, smallest %g", what,
          query, of_victim, smallest);
}

void eviction_case_check(const eviction_case *e, const char *what, double tolerance)
{
    double worst = 0;
    for (uint32_t q = 0; q < e->gpu.c->shape.num_queries; q++) {
        for (uint64_t slot = 0; slot < e->num_slots; slot++) {
            const uint64_t place = q * e->num_slots + slot;
            float importance = e->h_importance[place], expected = e->expected[place];
            if (expected == -1) {
                check(untouched(importance), "%s: query %u does not see slot %llu: %g", what, q,
                      (unsigned long long)slot, (double)importance);
                continue;
            }
            if (!isfinite(expected)) {
                check(!isfinite(importance) && !untouched(importance), "%s: query %u, slot %llu: %g, not %g", what, q,
                      (unsigned long long)slot, (double)importance, (double)expected);
                continue;
            }
            double error = fabs((double)importance - expected) / (expected + 1e-12 / tolerance);
            check(error <= tolerance, "%s: query %u, slot %llu: importance %g, not %g", what, q,
                  (unsigned long long)slot, (double)importance, (double)expected);
            worst = fmax(worst, error);
        }
        check_victim(e, q, what, tolerance);
    }
    test_note("%s: worst relative error %.2g", what, worst);
}

/* The step of attention that has the same loop and the same merge, or that runs as it is. NULL for evict_0. */
static const tree_gpu_step *attention_of(const tree_eviction_step *step, tree_storage storage)
{
    if (strcmp(step->name, "evict_1_second_pass") == 0 || strcmp(step->name, "evict_2_keys_again") == 0)
        return last_step(storage);
    static const char *const pairs[][2] = {{"evict_3_fused", "step_9_masks"},
                                             {"evict_4_warpgroup", "step_10_warpgroup"},
                                             {"evict_5_on_chip", "step_10_warpgroup"}};
    for (size_t p = 0; p < sizeof pairs / sizeof pairs[0]; p++) {
        for (uint32_t s = 0; strcmp(step->name, pairs[p][0]) == 0 && s < tree_gpu_num_steps; s++) {
            if (strcmp(tree_gpu_steps[s].name, pairs[p][1]) == 0)
                return &tree_gpu_steps[s];
        }
    }
    return NULL;
}

bool runs_eviction_step(const tree_eviction_step *step, tree_storage storage)
{
#ifdef TREEATTN_EMULATE
    static const struct {
        const char *name;
        tree_storage left_out;
    } once[] = {{"evict_0_materialised", TREE_BF16},
                {"evict_1_second_pass", TREE_FP16},
                {"evict_2_keys_again", TREE_BF16}};
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++)
        if (storage == once[i].left_out && strcmp(step->name, once[i].name) == 0)
            return false;
#endif
    return tree_eviction_step_takes(step, storage);
}

/* out and lse of a step that keeps everything in float, by the oracle. */
static void check_float_result(const eviction_case *e, const char *what)
{
    const attention_case *c = e->gpu.c;
    const roundoffs u = {0x1p-24, 0x1p-24, 0x1p-24, 0};
    attention_truth truth = attention_truth_create(c->query, c->key, c->value, &c->paths, &c->shape, c->scale);
    check_attention(e->gpu.h_out, e->gpu.h_lse, &truth, &u, what);
    attention_truth_destroy(&truth);
}

void eviction_case_check_steps(eviction_case *e, double tolerance)
{
    const attention_case *c = e->gpu.c;
    float *out = memory_of(c->num_out, sizeof *out), *lse = memory_of(c->num_lse, sizeof *lse);
    uint32_t num_runs = 0;
    for (uint32_t s = 0; s < tree_eviction_num_steps; s++) {
        const tree_eviction_step *step = &tree_eviction_steps[s];
        if (!runs_eviction_step(step, c->shape.storage))
            continue;
        eviction_case_run(e, step);
        eviction_case_check(e, step->name, tolerance);
        num_runs++;
        const tree_gpu_step *attention = attention_of(step, c->shape.storage);
        if (!attention) {
            if (!e->has_evicted)
                check_float_result(e, step->name);
            continue;
        }
        memcpy(out, e->gpu.h_out, c->num_out * sizeof *out);
        memcpy(lse, e->gpu.h_lse, c->num_lse * sizeof *lse);
        gpu_case_run(&e->gpu, attention);
        check_same_bits(out, e->gpu.h_out, c->num_out, step->name);
        check_same_bits(lse, e->gpu.h_lse, c->num_lse, step->name);
    }
    check(num_runs > 0, "some step takes %s", storage_name[c->shape.storage]);
    free(out);
    free(lse);
}
