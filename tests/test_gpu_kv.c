/* Claim: copies, moves and appends on the GPU do as the allocator says, in order, with K, V and norms; norms are the
 * sums of |value| as stored; the unfused baseline agrees with the truth. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_support.h"
#include "half.h"
#include "kv_gpu.h"
#include "standard_attention_gpu.h"
#include "test.h"

enum {
    BLOCKS = 12,
    HEADS = 2,
    TOKENS = 16,
    DIM = 64,
    ROW = HEADS * DIM,
    COUNT = BLOCKS * HEADS * TOKENS * DIM,
    NORMS = BLOCKS * HEADS * TOKENS
};

#ifdef TREEATTN_EMULATE /* slower */
enum { MAX_ELEMENTS = 30000 };
#else
enum { MAX_ELEMENTS = 4000000 };
#endif

static const tree_shape pool = {0, HEADS, HEADS, DIM, BLOCKS, TOKENS, TREE_FP16};

static void fill(uint16_t *array, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) array[i] = (uint16_t)test_below(30000);
}

static void compare(const d_array *array, const uint16_t *expected, const char *what)
{
    static uint16_t got[COUNT];
    d_read(array, got, what);
    check(!memcmp(got, expected, sizeof got), "%s", what);
}

/* Chains of copies, where a later one reads what an earlier one wrote. */
static void run_copies(const void *unused)
{
    (void)unused;
    static uint16_t key[COUNT], value[COUNT];
    kv_copy copies[400];
    int cuda_error = -1;
    need_gpu();
    fill(key, COUNT);
    fill(value, COUNT);
    d_array d_key = d_copy_of(key, sizeof key), d_value = d_copy_of(value, sizeof value);
    for (uint32_t i = 0; i < 400; i++) {
        uint32_t from = test_below(BLOCKS), to = (from + 1 + test_below(BLOCKS - 1)) % BLOCKS;
        uint32_t num_tokens = test_below(TOKENS + 1);
        copies[i] = (kv_copy){.from_block = from, .to_block = to, .num_tokens = num_tokens};
        for (uint32_t h = 0; h < HEADS; h++) {
            size_t a = ((size_t)from * HEADS + h) * TOKENS * DIM, b = ((size_t)to * HEADS + h) * TOKENS * DIM;
            memcpy(key + b, key + a, num_tokens * DIM * sizeof *key);
            memcpy(value + b, value + a, num_tokens * DIM * sizeof *value);
        }
    }
    gpu_ok(kv_copy_gpu(d_key.data, d_value.data, copies, 400, &pool, NULL, &cuda_error), &cuda_error, "copies");
    cuda_ok(cudaDeviceSynchronize(), "copies");
    compare(&d_key, key, "key after copies");
    compare(&d_value, value, "value after copies");
    copies[3].to_block = BLOCKS;
    copies[3].num_tokens = 1;
    check(kv_copy_gpu(d_key.data, d_value.data, copies, 400, &pool, NULL, &cuda_error) == TREE_INVAL,
          "a block too far");
    compare(&d_key, key, "nothing is written on error");
    d_destroy(&d_key);
    d_destroy(&d_value);
}

static void fill_norms(float *norm)
{
    for (uint32_t i = 0; i < NORMS; i++) norm[i] = (float)test_below(30000);
}

static void compare_norms(const d_array *array, const float *expected, const char *what)
{
    static float got[NORMS];
    d_read(array, got, what);
    check(!memcmp(got, expected, sizeof got), "%s", what);
}

/* The same chains for norms. */
static void run_norm_copies(const void *unused)
{
    (void)unused;
    static float norm[NORMS];
    kv_copy copies[400];
    int cuda_error = -1;
    need_gpu();
    fill_norms(norm);
    d_array d_norm = d_copy_of(norm, sizeof norm);
    for (uint32_t i = 0; i < 400; i++) {
        uint32_t from = test_below(BLOCKS), to = (from + 1 + test_below(BLOCKS - 1)) % BLOCKS;
        uint32_t num_tokens = test_below(TOKENS + 1);
        copies[i] = (kv_copy){.from_block = from, .to_block = to, .num_tokens = num_tokens};
        for (uint32_t h = 0; h < HEADS; h++)
            memcpy(norm + (to * HEADS + h) * TOKENS, norm + (from * HEADS + h) * TOKENS, num_tokens * sizeof *norm);
    }
    gpu_ok(kv_copy_norms_gpu((float *)d_norm.data, copies, 400, &pool, NULL, &cuda_error), &cuda_error, "copies");
    cuda_ok(cudaDeviceSynchronize(), "copies of norms");
    compare_norms(&d_norm, norm, "norms after copies");
    copies[3] = (kv_copy){.from_block = BLOCKS, .to_block = 0, .num_tokens = 1};
    check(kv_copy_norms_gpu((float *)d_norm.data, copies, 400, &pool, NULL, &cuda_error) == TREE_INVAL,
          "a block too far");
    check(kv_copy_norms_gpu(NULL, copies, 1, &pool, NULL, &cuda_error) == TREE_INVAL, "no norms");
    compare_norms(&d_norm, norm, "nothing is written on error");
    d_destroy(&d_norm);
}

/* Half of all slots, in random order, to the other half: more moves than one launch takes in a larger pool. */
static void run_moves(const void *argument)
{
    const bool *has_norm = argument;
    enum { POOL_BLOCKS = 40, SLOTS = POOL_BLOCKS * TOKENS, MOVES = SLOTS / 2, ALL = SLOTS * ROW };
    static uint16_t key[ALL], value[ALL], got[ALL];
    static float norm[SLOTS * HEADS], got_norm[SLOTS * HEADS];
    uint32_t order[SLOTS];
    kv_move moves[MOVES];
    tree_shape shape = pool;
    int cuda_error = -1;
    need_gpu();
    shape.num_blocks = POOL_BLOCKS;
    fill(key, ALL);
    fill(value, ALL);
    for (uint32_t i = 0; i < SLOTS * HEADS; i++) norm[i] = (float)i;
    d_array d_key = d_copy_of(key, sizeof key), d_value = d_copy_of(value, sizeof value);
    d_array d_norm = d_copy_of(norm, sizeof norm);
    for (uint32_t i = 0; i < SLOTS; i++) {
        uint32_t other = test_below(i + 1);
        order[i] = order[other];
        order[other] = i;
    }
    for (uint32_t i = 0; i < MOVES; i++) {
        uint32_t from = order[2 * i], to = order[2 * i + 1];
        moves[i] = (kv_move){from / TOKENS, from % TOKENS, to / TOKENS, to % TOKENS};
        for (uint32_t h = 0; h < HEADS; h++) {
            size_t a = ((size_t)moves[i].from_block * HEADS + h) * TOKENS + moves[i].from_slot;
            size_t b = ((size_t)moves[i].to_block * HEADS + h) * TOKENS + moves[i].to_slot;
            memcpy(key + b * DIM, key + a * DIM, DIM * sizeof *key);
            memcpy(value + b * DIM, value + a * DIM, DIM * sizeof *value);
            norm[b] = *has_norm ? norm[a] : norm[b];
        }
    }
    gpu_ok(kv_move_gpu(d_key.data, d_value.data, *has_norm ? (float *)d_norm.data : NULL, moves, MOVES, &shape, NULL,
                       &cuda_error),
           &cuda_error, "moves");
    cuda_ok(cudaDeviceSynchronize(), "moves");
    d_read(&d_key, got, "key");
    check(!memcmp(got, key, sizeof key), "keys after moves");
    d_read(&d_value, got, "value");
    check(!memcmp(got, value, sizeof value), "values after moves");
    const kv_move bad[] = {{POOL_BLOCKS, 0, 0, 0}, {0, TOKENS, 0, 0}, {0, 0, POOL_BLOCKS, 0}, {0, 0, 0, TOKENS}};
    for (int i = 0; i < 4; i++) {
        moves[MOVES - 1] = bad[i];
        check(kv_move_gpu(d_key.data, d_value.data, NULL, moves, MOVES, &shape, NULL, &cuda_error) == TREE_INVAL,
              "a block or slot too far");
    }
    d_read(&d_norm, got_norm, "norm");
    check(!memcmp(got_norm, norm, sizeof norm), "norms after moves; nothing is written on error");
    d_read(&d_key, got, "key");
    check(!memcmp(got, key, sizeof key), "nothing is written on error");
    d_destroy(&d_key);
    d_destroy(&d_value);
    d_destroy(&d_norm);
}

/* Every storage type, head_dim whose pieces are fewer and more than lanes; fp16 sums beyond 65504. */
static void run_norms(const void *argument)
{
    const tree_storage storage = *(const tree_storage *)argument;
    enum { MAX_DIM = 264, MAX_COUNT = BLOCKS * HEADS * TOKENS * MAX_DIM };
    static const uint32_t dims[] = {8, 64, 128, MAX_DIM};
    static float value[MAX_COUNT], got[NORMS];
    uint64_t slots[7] = {
        3, TOKENS * 2 + 15, KV_SKIP_SLOT, (uint64_t)TOKENS * (BLOCKS - 1), TOKENS * 5 + 7, (uint64_t)TOKENS * BLOCKS,
        0};
    int cuda_error = -1;
    need_gpu();
    for (uint32_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        tree_shape shape = pool;
        float expected[NORMS];
        shape.storage = storage;
        shape.head_dim = dims[i];
        const uint32_t count = BLOCKS * HEADS * TOKENS * dims[i];
        for (uint32_t e = 0; e < count; e++) {
            float x = ((float)test_below(60000) - 30000) / (e % 3 ? 1 : 4096);
            value[e] = storage == TREE_FP16   ? fp16_to_float(fp16_from_float(x))
                       : storage == TREE_BF16 ? bf16_to_float(bf16_from_float(x))
                                              : x;
        }
        memset(expected, 0xff, sizeof expected);
        for (uint32_t s = 0; s < 7; s++) {
            for (uint32_t h = 0; h < HEADS && slots[s] < TOKENS * BLOCKS; h++) {
                uint64_t at = (slots[s] / TOKENS * HEADS + h) * TOKENS + slots[s] % TOKENS;
                double sum = 0;
                for (uint32_t d = 0; d < dims[i]; d++) sum += fabs(value[at * dims[i] + d]);
                expected[at] = (float)sum;
            }
        }
        void *stored = stored_create(value, count, storage);
        d_array d_value = d_copy_of(stored, count * tree_storage_bytes(storage)), d_norm = d_create(sizeof got);
        d_array d_slots = d_copy_of(slots, sizeof slots);
        gpu_ok(kv_norms_gpu((float *)d_norm.data, d_value.data, (uint64_t *)d_slots.data, 7, &shape, NULL, &cuda_error),
               &cuda_error, "norms");
        cuda_ok(cudaDeviceSynchronize(), "norms");
        d_read(&d_norm, got, "norms");
        for (uint32_t n = 0; n < NORMS; n++)
            check(isnan(expected[n]) ? isnan(got[n]) : fabsf(got[n] - expected[n]) <= dims[i] * 0x1p-24f * expected[n],
                  "head_dim %u, norm %u: %g instead of %g", dims[i], n, got[n], expected[n]);
        check(kv_norms_gpu(NULL, d_value.data, (uint64_t *)d_slots.data, 7, &shape, NULL, &cuda_error) == TREE_INVAL,
              "no norms");
        free(stored);
        d_destroy(&d_value);
        d_destroy(&d_norm);
        d_destroy(&d_slots);
    }
}

static void run_append(const void *unused)
{
    (void)unused;
    static uint16_t key[COUNT], value[COUNT], key_rows[5 * ROW], value_rows[5 * ROW];
    uint64_t slots[5] = {3, TOKENS * 2 + 15, KV_SKIP_SLOT, (uint64_t)TOKENS * (BLOCKS - 1), TOKENS * 5 + 7};
    int cuda_error = -1;
    need_gpu();
    fill(key, COUNT);
    fill(value, COUNT);
    fill(key_rows, 5 * ROW);
    fill(value_rows, 5 * ROW);
    d_array d_key = d_copy_of(key, sizeof key), d_value = d_copy_of(value, sizeof value);
    d_array d_key_rows = d_copy_of(key_rows, sizeof key_rows), d_value_rows = d_copy_of(value_rows, sizeof value_rows);
    d_array d_slots = d_copy_of(slots, sizeof slots);
    gpu_ok(kv_append_gpu(d_key.data, d_value.data, d_key_rows.data, d_value_rows.data, (uint64_t *)d_slots.data, 5,
                         &pool, NULL, &cuda_error),
           &cuda_error, "append");
    cuda_ok(cudaDeviceSynchronize(), "append");
    for (uint32_t i = 0; i < 5; i++) {
        for (uint32_t h = 0; h < HEADS && slots[i] != KV_SKIP_SLOT; h++) {
            size_t to = ((slots[i] / TOKENS * HEADS + h) * TOKENS + slots[i] % TOKENS) * DIM;
            memcpy(key + to, key_rows + i * ROW + h * DIM, DIM * sizeof *key);
            memcpy(value + to, value_rows + i * ROW + h * DIM, DIM * sizeof *value);
        }
    }
    compare(&d_key, key, "key after the append");
    compare(&d_value, value, "value after the append");
    d_destroy(&d_key);
    d_destroy(&d_value);
    d_destroy(&d_key_rows);
    d_destroy(&d_value_rows);
    d_destroy(&d_slots);
}

static void run_standard(const void *argument)
{
    const char *spec = argument;
    double worst = 0;
    need_gpu();
    for (int storage = TREE_FP32; storage <= TREE_BF16; storage++) {
        attention_case c;
        gpu_case gpu;
        standard_paths_gpu *paths = NULL;
        int cuda_error = -1;
        roundoffs u = {0x1p-24, 0x1p-24, 0x1p-24, 0};
        attention_case_build_small(&c, storage_backend((tree_storage)storage), spec, 16, (attention_size){2, 3, 64},
                                   MAX_ELEMENTS);
        attention_fill_unseen(&c, KV_NONE, NAN);
        gpu_case_create(&gpu, &c);
        gpu_ok(standard_paths_gpu_create(&paths, c.tree, &cuda_error), &cuda_error, "paths");
        size_t bytes = standard_attention_gpu_workspace_bytes(paths, &c.shape);
        d_array workspace = d_create(bytes);
        gpu_ok(standard_attention_gpu((float *)gpu.out.data, (float *)gpu.lse.data, (const float *)gpu.query.data,
                                      gpu.key.data, gpu.value.data, paths, &c.shape, c.scale, workspace.data, bytes,
                                      NULL, &cuda_error),
               &cuda_error, "standard attention");
        cuda_ok(cudaDeviceSynchronize(), "standard attention");
        d_read(&gpu.out, gpu.h_out, "out");
        d_read(&gpu.lse, gpu.h_lse, "lse");
        attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
        worst = fmax(worst, check_attention(gpu.h_out, gpu.h_lse, &truth, &u, "standard"));
        attention_truth_destroy(&truth);
        standard_paths_gpu_destroy(paths);
        d_destroy(&workspace);
        gpu_case_destroy(&gpu);
        attention_case_free(&c);
    }
    test_note("worst error/limit %.2g", worst);
}

int main(int argc, char **argv)
{
    static const tree_storage storages[] = {TREE_FP32, TREE_FP16, TREE_BF16};
    static const bool has_norm[] = {false, true};
    test_begin(argc, argv,
               "on the GPU, copies, moves, appends and norms do as the allocator says; the unfused baseline "
               "agrees");
    test_add(run_copies, NULL, "copies_that_read_copies");
    test_add(run_norm_copies, NULL, "copies_of_norms_that_read_copies");
    test_add(run_append, NULL, "append_through_slots");
    for (int i = 0; i < 2; i++) test_add(run_moves, &has_norm[i], "moves_%s_norms", has_norm[i] ? "with" : "without");
    for (int i = 0; i < 3; i++) test_add(run_norms, &storages[i], "norms_of_%s", storage_name[storages[i]]);
    for (uint32_t t = 0; t < num_tree_case_names; t++)
        test_add(run_standard, tree_case_names[t], "standard_agrees_on_%s", tree_case_names[t]);
    return test_end();
}
