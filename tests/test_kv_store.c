/* Claim: the blocks of a branch, read through its table, hold the keys and values of its private list of tokens, in
 * every storage type; and slots that no branch sees hold the poison. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "half.h"
#include "kv_store.h"
#include "test.h"
#include "workload_model.h"

enum { HEADS = 2, DIM = 5 };

typedef struct store_case {
    const char *name;
    tree_storage storage;
    kv_poison poison;
    uint32_t block_tokens;
    float key_scale;
} store_case;

static const store_case store_cases[] = {
    {"fp32_nan", TREE_FP32, KV_POISON_NAN, 4, 0},       {"fp16_nan", TREE_FP16, KV_POISON_NAN, 4, 0},
    {"bf16_nan", TREE_BF16, KV_POISON_NAN, 4, 0},       {"fp32_inf", TREE_FP32, KV_POISON_INF, 4, 0},
    {"fp16_inf", TREE_FP16, KV_POISON_INF, 8, 0},       {"bf16_inf", TREE_BF16, KV_POISON_INF, 8, 0},
    {"fp32_decoy", TREE_FP32, KV_POISON_DECOY, 4, 0},   {"fp16_decoy", TREE_FP16, KV_POISON_DECOY, 4, 3.0f},
    {"bf16_decoy", TREE_BF16, KV_POISON_DECOY, 16, 8.0f}, {"one_token_blocks", TREE_FP32, KV_POISON_NAN, 1, 0},
    {"blocks_of_256", TREE_BF16, KV_POISON_NAN, 256, 0},
};

/* A workload in play, with its store and its model. */
typedef struct stage {
    workload *w;
    kv_pool *pool;
    kv_store *store;
    replay *r;
    workload_model model;
    replay_totals totals;
    uint32_t block_tokens;
} stage;

static void stage_begin(stage *s, workload *w, const store_case *c)
{
    *s = (stage){.w = w, .block_tokens = c->block_tokens};
    check(replay_measure(&s->totals, w, c->block_tokens) == KV_OK, "measured");
    kv_store_config config = {c->storage, s->totals.peak_blocks, c->block_tokens, HEADS, DIM, test_random(), c->poison,
                              c->key_scale};
    kv_pool_config pool_config = {.num_blocks = s->totals.peak_blocks, .block_tokens = c->block_tokens,
                                  .max_branches = w->max_live_branches};
    check(kv_store_create(&s->store, &config) == KV_OK, "store");
    check(kv_pool_create(&s->pool, &pool_config) == KV_OK, "pool");
    replay_events events = kv_store_events(s->store);
    check(replay_create(&s->r, w, s->pool, &events) == KV_OK, "replay");
    workload_model_begin(&s->model, w);
}

static bool stage_step(stage *s)
{
    replay_result step;
    check(replay_step(s->r, &step) == KV_OK, "step");
    check(workload_model_step(&s->model) == !step.done, "as many steps");
    check(kv_store_status(s->store) == KV_OK, "the store follows");
    return !step.done;
}

static void stage_end(stage *s)
{
    replay_destroy(s->r);
    kv_store_destroy(s->store);
    check(kv_pool_destroy(s->pool, false, NULL) == KV_OK, "nothing is left");
    workload_model_end(&s->model);
    workload_destroy(s->w);
}

static float element(const stage *s, tree_storage storage, const void *array, uint32_t block, uint32_t head,
                     uint32_t slot, uint32_t i)
{
    tree_shape shape = kv_store_shape(s->store, 1, HEADS);
    uint64_t at = tree_kv_offset(&shape, block, head, slot) + i;
    if (storage == TREE_FP32)
        return ((const float *)array)[at];
    uint16_t code = ((const uint16_t *)array)[at];
    return storage == TREE_FP16 ? fp16_to_float(code) : bf16_to_float(code);
}

/* One branch: list against the model, gathered keys and values against those that its table leads to. */
static void check_branch(stage *s, const store_case *c, uint32_t name, uint8_t *used)
{
    kv_table table;
    uint32_t length;
    const uint32_t *tokens = kv_store_tokens(s->store, name, &length);
    const model_branch *model = &s->model.branches[name];
    check(length == model->length, "branch %u: list of %u, got %u", name, model->length, length);
    check(length == 0 || !memcmp(tokens, model->tokens, length * sizeof *tokens), "branch %u: list of tokens", name);
    check(kv_branch_table(s->pool, replay_handle(s->r, name), &table) == KV_OK, "lives");
    check(table.length == length, "table of %u", length);
    float *key = malloc(((size_t)length + 1) * DIM * sizeof *key);
    float *value = malloc(((size_t)length + 1) * DIM * sizeof *value);
    for (uint32_t head = 0; head < HEADS; head++) {
        kv_store_gather(s->store, name, head, key, value);
        for (uint32_t t = 0; t < length; t++) {
            uint32_t block = table.blocks[t / s->block_tokens], slot = t % s->block_tokens;
            used[(size_t)block * s->block_tokens + slot] = 1;
            for (uint32_t i = 0; i < DIM; i++) {
                float k = element(s, c->storage, kv_store_key(s->store), block, head, slot, i);
                float v = element(s, c->storage, kv_store_value(s->store), block, head, slot, i);
                check(k == key[t * DIM + i] && v == value[t * DIM + i], "branch %u head %u token %u [%u]", name, head,
                      t, i);
            }
        }
    }
    free(key);
    free(value);
}

static bool is_poison(const store_case *c, float k, float v)
{
    if (c->poison == KV_POISON_NAN)
        return isnan(k) && isnan(v);
    if (c->poison == KV_POISON_INF)
        return isinf(k) && isinf(v);
    return k == 0 && v >= 65504.0f;
}

/* Free blocks hold poison in every slot. */
static void check_poison(stage *s, const store_case *c, const uint8_t *used)
{
    for (uint32_t block = 0; block < s->totals.peak_blocks; block++)
        for (uint32_t slot = 0; slot < s->block_tokens; slot++) {
            if (kv_pool_references(s->pool, block) > 0)
                continue;
            check(!used[(size_t)block * s->block_tokens + slot], "a free block is in no table");
            for (uint32_t head = 0; head < HEADS; head++)
                for (uint32_t i = 0; i < DIM; i++) {
                    float k = element(s, c->storage, kv_store_key(s->store), block, head, slot, i);
                    float v = element(s, c->storage, kv_store_value(s->store), block, head, slot, i);
                    check(is_poison(c, k, v), "free block %u slot %u holds %g and %g", block, slot, k, v);
                }
        }
}

static void run_store(const void *argument)
{
    const store_case *c = argument;
    for (uint32_t round = 0; round < 5; round++) {
        workload_random_config config = {test_random(), 25, 8, 12};
        workload *w = NULL;
        stage s;
        check(workload_random(&w, &config) == KV_OK, "built");
        stage_begin(&s, w, c);
        bool more = true;
        while (more) {
            more = stage_step(&s);
            uint8_t *used = calloc((size_t)s.totals.peak_blocks, s.block_tokens);
            for (uint32_t name = 0; name < w->num_branches; name++)
                if (s.model.branches[name].alive)
                    check_branch(&s, c, name, used);
            check_poison(&s, c, used);
            free(used);
        }
        stage_end(&s);
    }
}

/* A truncated branch that holds its last block alone: the dropped slots hold poison at once. */
static void run_truncated_tail(const void *argument)
{
    (void)argument;
    static const store_case c = {"", TREE_FP32, KV_POISON_NAN, 8, 0};
    workload *w = workload_create();
    uint32_t a = workload_add_create(w, NULL);
    workload_add(w, WORKLOAD_APPEND, a, 14);
    workload_add(w, WORKLOAD_TRUNCATE, a, 11);
    workload_add(w, WORKLOAD_STEP, 0, 0);
    uint32_t b = workload_add_fork(w, a, NULL);
    workload_add(w, WORKLOAD_TRUNCATE, b, 9); /* shared: the other branch still sees slots 1 and 2 */
    workload_add(w, WORKLOAD_STEP, 0, 0);
    workload_add(w, WORKLOAD_PRUNE, a, 0);
    workload_add(w, WORKLOAD_PRUNE, b, 0);
    stage s;
    stage_begin(&s, w, &c);
    for (uint32_t step = 0; step < 2; step++) {
        kv_table table;
        check(stage_step(&s), "a step");
        check(kv_branch_table(s.pool, replay_handle(s.r, a), &table) == KV_OK, "lives");
        for (uint32_t slot = 0; slot < 8; slot++) {
            float k = element(&s, TREE_FP32, kv_store_key(s.store), table.blocks[1], 1, slot, 0);
            check(!isnan(k) == (slot < 3), "slot %u holds %g", slot, k);
        }
    }
    check(!stage_step(&s), "the end");
    stage_end(&s);
}

/* A kernel of an open epoch reads what the tables listed when it began: truncate and prune poison none of it. */
static void run_open_epoch(const void *argument)
{
    (void)argument;
    static const store_case c = {"", TREE_FP32, KV_POISON_NAN, 8, 0};
    workload *w = workload_create();
    uint32_t a = workload_add_create(w, NULL);
    workload_add(w, WORKLOAD_APPEND, a, 14);
    workload_add(w, WORKLOAD_STEP, 0, 0);
    workload_add(w, WORKLOAD_TRUNCATE, a, 11);
    workload_add(w, WORKLOAD_STEP, 0, 0);
    workload_add(w, WORKLOAD_PRUNE, a, 0);
    stage s;
    uint64_t epoch;
    stage_begin(&s, w, &c);
    check(stage_step(&s) && kv_pool_epoch_begin(s.pool, &epoch) == KV_OK, "a step, and its epoch");
    check(stage_step(&s) && !stage_step(&s), "truncated, then pruned");
    for (uint32_t t = 0; t < 14; t++) {
        float k = element(&s, TREE_FP32, kv_store_key(s.store), t / 8, 1, t % 8, 0);
        check(!isnan(k), "token %u holds %g while a kernel may read it", t, k);
    }
    const uint32_t *blocks;
    uint32_t num_blocks;
    check(kv_pool_epoch_retire(s.pool, epoch) == KV_OK, "retired");
    kv_pool_released(s.pool, &blocks, &num_blocks);
    check(num_blocks == 2 && blocks[0] == 1 && blocks[1] == 0, "%u blocks to overwrite now", num_blocks);
    stage_end(&s);
}

/* Rows depend on seed, token, head and K or V, on nothing else; they are about normal. */
static void run_rows(const void *argument)
{
    (void)argument;
    kv_store_config config = {TREE_FP32, 1, 16, 4, 256, 1, KV_POISON_OFF, 2.0f};
    kv_store *store = NULL, *again = NULL, *other = NULL;
    check(kv_store_create(&store, &config) == KV_OK && kv_store_create(&again, &config) == KV_OK, "stores");
    config.seed = 2;
    check(kv_store_create(&other, &config) == KV_OK, "another seed");
    static float vector[256], twin[256];
    double sum = 0, squares = 0, count = 0;
    for (uint32_t token = 0; token < 200; token++)
        for (uint32_t head = 0; head < 4; head++) {
            kv_store_vector(store, token, head, false, vector);
            kv_store_vector(again, token, head, false, twin);
            check(memcmp(vector, twin, sizeof vector) == 0, "the same again");
            for (uint32_t i = 0; i < 256; i++, count++) {
                check(fabsf(vector[i]) <= 2 * 4.9f, "within 4.9 deviations: %g", vector[i]);
                sum += vector[i];
                squares += (double)vector[i] * vector[i];
            }
            kv_store_vector(store, token, head, true, twin);
            check(memcmp(vector, twin, sizeof vector) != 0, "V is not K");
            kv_store_vector(store, token + 1, head, false, twin);
            check(memcmp(vector, twin, sizeof vector) != 0, "another token");
            kv_store_vector(store, token, (head + 1) % 4, false, twin);
            check(memcmp(vector, twin, sizeof vector) != 0, "another head");
            kv_store_vector(other, token, head, false, twin);
            check(memcmp(vector, twin, sizeof vector) != 0, "another seed");
        }
    double mean = sum / count, deviation = sqrt(squares / count - mean * mean);
    check(fabs(mean) <= 0.02, "mean %g", mean); /* 4.5 standard errors of 204,800 elements */
    check(fabs(deviation - 2) <= 0.02, "deviation %g", deviation);
    test_note("mean=%.4f deviation=%.4f", mean, deviation);
    kv_store_destroy(store);
    kv_store_destroy(again);
    kv_store_destroy(other);
}

static void run_poison_off(const void *argument)
{
    (void)argument;
    kv_store_config config = {TREE_BF16, 3, 16, 2, 8, 1, KV_POISON_OFF, 0};
    kv_store *store = NULL;
    check(kv_store_create(&store, &config) == KV_OK, "store");
    const uint16_t *key = kv_store_key(store), *value = kv_store_value(store);
    for (uint32_t i = 0; i < 3 * 16 * 2 * 8; i++)
        check(key[i] == 0 && value[i] == 0, "zeros at the start");
    uint32_t length = 5;
    check(kv_store_tokens(store, 7, &length) == NULL && length == 0, "an unborn branch has no tokens");
    tree_shape shape = kv_store_shape(store, 9, 6);
    check(shape.num_queries == 9 && shape.num_heads == 6 && shape.num_kv_heads == 2 && shape.head_dim == 8 &&
          shape.num_blocks == 3 && shape.block_tokens == 16 && shape.storage == TREE_BF16, "shape");
    kv_store_destroy(store);
}

typedef struct refusal {
    const char *name;
    kv_store_config config;
    kv_status status;
} refusal;

static const refusal refusals[] = {
    {"no_blocks", {TREE_FP32, 0, 16, 2, 8, 1, KV_POISON_OFF, 0}, KV_INVAL},
    {"block_tokens_0", {TREE_FP32, 4, 0, 2, 8, 1, KV_POISON_OFF, 0}, KV_INVAL},
    {"block_tokens_24", {TREE_FP32, 4, 24, 2, 8, 1, KV_POISON_OFF, 0}, KV_INVAL},
    {"block_tokens_512", {TREE_FP32, 4, 512, 2, 8, 1, KV_POISON_OFF, 0}, KV_INVAL},
    {"no_heads", {TREE_FP32, 4, 16, 0, 8, 1, KV_POISON_OFF, 0}, KV_INVAL},
    {"head_dim_0", {TREE_FP32, 4, 16, 2, 0, 1, KV_POISON_OFF, 0}, KV_INVAL},
    {"unknown_storage", {(tree_storage)3, 4, 16, 2, 8, 1, KV_POISON_OFF, 0}, KV_INVAL},
    {"unknown_poison", {TREE_FP32, 4, 16, 2, 8, 1, KV_NUM_POISONS, 0}, KV_INVAL},
    {"beyond_64_bits", {TREE_FP32, UINT32_MAX, 256, UINT32_MAX, UINT32_MAX, 1, KV_POISON_OFF, 0}, KV_OVERFLOW},
    {"beyond_memory", {TREE_FP32, UINT32_MAX, 256, 1024, 1024, 1, KV_POISON_OFF, 0}, KV_OVERFLOW},
};

static void run_refused(const void *argument)
{
    const refusal *c = argument;
    kv_store *store = NULL;
    kv_status status = kv_store_create(&store, &c->config);
    check(status == c->status && !store, "status %d, got %d", c->status, status);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "a branch's blocks hold the keys and values of its list of tokens");
    for (size_t i = 0; i < sizeof store_cases / sizeof store_cases[0]; i++)
        test_add(run_store, &store_cases[i], "store_%s", store_cases[i].name);
    test_add(run_truncated_tail, NULL, "truncated_tail");
    test_add(run_rows, NULL, "rows");
    test_add(run_open_epoch, NULL, "nothing_is_poisoned_while_an_epoch_is_open");
    test_add(run_poison_off, NULL, "poison_off");
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        test_add(run_refused, &refusals[i], "refused_%s", refusals[i].name);
    return test_end();
}
