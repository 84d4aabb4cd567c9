/* Claim: on the GPU, agreement with the truth holds over sizes: lengths around tile boundaries, deep chains, many
 * branches, every group size, block size and head_dim. */
#include <math.h>

#include "gpu_support.h"
#include "test.h"

typedef struct grid_case {
    const char *spec;
    uint32_t block_tokens;
    attention_size size;
} grid_case;

static const grid_case grid[] = {
    {"1,2/14,1", 1, {1, 4, 128}},     {"1,2/15,1", 16, {1, 4, 128}},    {"1,3/16,15", 16, {2, 4, 64}},
    {"1,3/31,1", 4, {2, 4, 128}},     {"1,2/32,33", 16, {1, 2, 256}},   {"1,2/63,1", 16, {1, 4, 128}},
    {"1,5/64,65", 64, {1, 4, 128}},   {"1,3/127,1", 16, {1, 8, 128}},   {"1,3/128,129", 256, {1, 4, 64}},
    {"chain:150", 16, {1, 4, 64}},    {"1,2/255,2", 2, {1, 4, 256}},    {"1,200/40,3", 16, {1, 1, 64}},
    {"1,4096/17,1", 16, {1, 1, 64}},
};

static void run_case(const void *argument)
{
    const grid_case *one = argument;
    double worst = 0;
    need_gpu();
    for (int storage = TREE_FP16; storage <= TREE_BF16; storage++) {
        attention_case c;
        attention_case_build_small(&c, storage_backend((tree_storage)storage), one->spec, one->block_tokens, one->size,
                                   30000000);
        attention_fill_unseen(&c, KV_NONE, NAN);
        worst = fmax(worst, gpu_check_case(&c, 1u << TREE_RADIX | 1u << TREE_FLATTEN | 1u << TREE_COST));
        attention_case_free(&c);
    }
    test_note("worst error/limit %.2g", worst);
}

static const uint32_t group_sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 33, 130};

static void run_group(const void *argument)
{
    uint32_t group_size = *(const uint32_t *)argument;
    attention_case c;
    need_gpu();
    attention_case_build(&c, storage_backend(group_size % 2 ? TREE_FP16 : TREE_BF16), "comb:4", 16,
                         (attention_size){2, group_size, 64});
    attention_fill_unseen(&c, KV_NONE, INFINITY);
    test_note("worst error/limit %.2g", gpu_check_case(&c, 1u << TREE_RADIX | 1u << TREE_FLATTEN | 1u << TREE_COST));
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "on the GPU, every step agrees with the truth over sizes");
    for (size_t i = 0; i < sizeof grid / sizeof *grid; i++)
        test_add(run_case, &grid[i], "every_step_agrees_on_case_%zu_block_%u_dim_%u", i,
                 grid[i].block_tokens, grid[i].size.head_dim);
    for (size_t i = 0; i < sizeof group_sizes / sizeof *group_sizes; i++)
        test_add(run_group, &group_sizes[i], "every_step_agrees_on_group_of_%u", group_sizes[i]);
    return test_end();
}
