/* Claim: copies and appends on the GPU do what the allocator asks, in order; the unfused baseline agrees with the
 * truth. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_support.h"
#include "kv_gpu.h"
#include "standard_attention_gpu.h"
#include "test.h"

enum { BLOCKS = 12, HEADS = 2, TOKENS = 16, DIM = 64, ROW = HEADS * DIM, COUNT = BLOCKS * HEADS * TOKENS * DIM };

static const tree_shape pool = {0, HEADS, HEADS, DIM, BLOCKS, TOKENS, TREE_FP16};

static void fill(uint16_t *array, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        array[i] = (uint16_t)test_below(30000);
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
                                   4000000);
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
    test_begin(argc, argv, "on the GPU, copies and appends do what the allocator asks; the unfused baseline agrees");
    test_add(run_copies, NULL, "copies_that_read_copies");
    test_add(run_append, NULL, "append_through_slots");
    for (uint32_t t = 0; t < num_tree_case_names; t++)
        test_add(run_standard, tree_case_names[t], "standard_agrees_on_%s", tree_case_names[t]);
    return test_end();
}
