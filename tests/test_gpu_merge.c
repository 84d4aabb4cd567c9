/* Claim: on the GPU, partial states are merged correctly whatever their number, and however many queries and heads each
 * merging warp has; the warp's earlier merges do not matter. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_support.h"
#include "test.h"

enum { KV_HEADS = 2, GROUP_SIZE = 4, NUM_HEADS = KV_HEADS * GROUP_SIZE };

typedef struct merge_case {
    uint32_t head_dim, tenths; /* queries x heads for each warp */
    uint32_t first_count;      /* of counts; those before are left out */
} merge_case;

/* Counts: around what fits a batch or two of them, whatever head_dim is and how many heads share it. */
#ifdef TREEATTN_EMULATE
static const merge_case cases[] = {{128, 15, 0}, {128, 45, 2}, {256, 15, 0}};
static const uint32_t counts[] = {3, 7, 17};
#else
static const merge_case cases[] = {
    {64, 3, 0},   {64, 10, 0},  {64, 15, 0},  {64, 45, 0}, {128, 3, 0},  {128, 10, 0}, {128, 15, 0},
    {128, 19, 0}, {128, 25, 0}, {128, 45, 0}, {256, 3, 0}, {256, 15, 0}, {256, 45, 0},
};
static const uint32_t counts[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 21, 31, 32, 33, 49};
#endif

static uint32_t num_queries_for(uint32_t tenths)
{
    enum { WARPS_OF_A_MULTIPROCESSOR = 8 };
    int device = 0, num_sms = 0;
    cuda_ok(cudaGetDevice(&device), "device");
    cuda_ok(cudaDeviceGetAttribute(&num_sms, cudaDevAttrMultiProcessorCount, device), "multiprocessors");
    uint32_t warps = (uint32_t)num_sms * WARPS_OF_A_MULTIPROCESSOR;
    return (warps * tenths / 10 + NUM_HEADS - 1) / NUM_HEADS;
}

/* Each token of a path is an item of its own, and makes a state. */
static void run_case(const void *argument)
{
    const merge_case *one = argument;
    double worst = 0;
    char tree[100];
    need_gpu();
    for (size_t i = one->first_count; i < sizeof counts / sizeof *counts; i++) {
        if (TEST_SANITIZED && i % 2) continue; /* more than one batch of them, and less */
        attention_case c;
        uint32_t num_queries = num_queries_for(one->tenths);
        if (counts[i] == 1)
            snprintf(tree, sizeof tree, "%u/1", num_queries);
        else
            snprintf(tree, sizeof tree, "1,%u/%u,1", num_queries, counts[i] - 1);
        attention_case_build(&c, storage_backend(TREE_FP16), tree, 4,
                             (attention_size){KV_HEADS, GROUP_SIZE, one->head_dim});
        worst = fmax(worst, gpu_check_plan(&c, TREE_RADIX, 1));
        attention_case_free(&c);
    }
    test_note("worst error/limit %.2g", worst);
}

/* All queries but the last one come out as NaN, also those that the same warp merges before it: its bits stay. */
static void run_behind_nan(const void *argument)
{
    attention_case c;
    gpu_case gpu;
    char tree[100];
    (void)argument;
    need_gpu();
    snprintf(tree, sizeof tree, "1,%u/2,1", num_queries_for(45));
    attention_case_build(&c, storage_backend(TREE_FP16), tree, 4, (attention_size){KV_HEADS, GROUP_SIZE, 128});
    tree_plan *plan = attention_plan(&c, TREE_RADIX, 1, 0);
    gpu_case_create(&gpu, &c);
    gpu_case_plan(&gpu, plan);
    const uint64_t count = (uint64_t)NUM_HEADS * c.shape.head_dim, first = c.num_out - count;
    float *kept = malloc(tree_gpu_num_steps * count * sizeof *kept);
    check(kept, "memory");
    for (int poisoned = 0; poisoned < 2; poisoned++) {
        if (poisoned) {
            attention_fill_unseen(&c, c.shape.num_queries - 1, NAN);
            gpu_case_upload(&gpu);
        }
        for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
            if (!runs_step(&tree_gpu_steps[s], TREE_FP16))
                continue;
            gpu_case_run(&gpu, &tree_gpu_steps[s]);
            check(!poisoned || isnan(gpu.h_out[0]), "%s: query 0 sees a NaN", tree_gpu_steps[s].name);
            if (poisoned)
                check_same_bits(gpu.h_out + first, kept + s * count, count, tree_gpu_steps[s].name);
            else
                memcpy(kept + s * count, gpu.h_out + first, count * sizeof *kept);
        }
    }
    free(kept);
    gpu_case_destroy(&gpu);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "any number of partial states is merged correctly");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        test_add(run_case, &cases[i], "any_number_of_states_head_dim_%u_%u.%u_a_warp", cases[i].head_dim,
                 cases[i].tenths / 10, cases[i].tenths % 10);
    test_add(run_behind_nan, NULL, "state_behind_a_nan_state");
    return test_end();
}
