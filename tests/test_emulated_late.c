/* Claim: a GPU that is late still reads what was meant for it: an update waits as long as the host must not write, also
 * where it needs larger memory; its waiting leaves no error behind, and its refusals no capture broken. And attention
 * that begins early reads nothing that the previous launch still writes: no new token of a list, and without a list
 * nothing but the plan. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_internal.h"
#include "gpu_support.h"
#include "plan_steps.h"
#include "plan_trees.h"
#include "test.h"

enum { BLOCK_TOKENS = 4, SPARE_TOKENS = 40, NUM_BLOCKS = 1 << 16 };

static void put(tree_plan_gpu **gpu, const tree_plan *plan)
{
    const tree_shape shape = {plan->num_queries, 2, 2, 64, NUM_BLOCKS, BLOCK_TOKENS, TREE_FP16};
    int cuda_error = -1;
    gpu_ok(*gpu ? tree_plan_gpu_update(*gpu, plan, NULL, &cuda_error)
                : tree_plan_gpu_create(gpu, plan, &shape, NULL, &cuda_error),
           &cuda_error, "a plan on the device");
}

static tree_plan *plan_of(const kv_tree *tree)
{
    return plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_NODE});
}

/* In a step all paths begin a block. It has not run when three updates follow; the last one's outline is larger, and at
 * the same places its paths have other blocks. */
static void run_larger_outline(const void *unused)
{
    (void)unused;
    tree_plan_gpu *gpu = NULL;
    kv_tree *tree = plan_tree_levels("1,40/300,8", BLOCK_TOKENS, SPARE_TOKENS);
    kv_tree *larger = plan_tree_levels("1,100/300,9", BLOCK_TOKENS, SPARE_TOKENS);
    tree_plan *plan = plan_of(tree), *larger_plan = plan_of(larger);
    d_array slots = d_create(tree->num_queries * sizeof(uint64_t));
    put(&gpu, plan);
    advance(gpu, &slots);
    const void *new_blocks = gpu->new_blocks, *outline = gpu->outline.device;
    emulate_late(true);
    for (uint32_t q = 0; q < tree->num_queries; q++)
        check(plan_tree_grow(tree, q, 1), "a token");
    check(tree_plan_grow(plan, tree) && tree_plan_gpu_grow(gpu, plan), "the device follows");
    advance(gpu, &slots);
    put(&gpu, plan);
    put(&gpu, plan);
    put(&gpu, larger_plan);
    emulate_late(false);
    check(gpu->new_blocks == new_blocks && gpu->outline.device != outline, "the outline alone has new memory");
    check_slots(tree, &slots, true);
    d_destroy(&slots);
    tree_plan_gpu_destroy(gpu);
    tree_plan_destroy(plan);
    tree_plan_destroy(larger_plan);
    plan_tree_destroy(tree);
    plan_tree_destroy(larger);
}

/* Steps and updates in turn, none of which has run when the next one is enqueued. */
static void run_updates(const void *unused)
{
    (void)unused;
    tree_plan_gpu *gpu = NULL;
    kv_tree *tree = plan_tree_levels("1,7/300,8", BLOCK_TOKENS, SPARE_TOKENS);
    tree_plan *plan = plan_of(tree);
    d_array slots[SPARE_TOKENS];
    put(&gpu, plan);
    emulate_late(true);
    for (int i = 0; i < SPARE_TOKENS; i++) {
        slots[i] = d_create(tree->num_queries * sizeof(uint64_t));
    }
    for (int i = 0; i < SPARE_TOKENS; i++) {
        put(&gpu, plan);
        check(cudaGetLastError() == cudaSuccess, "no error is left for the next call");
        advance(gpu, &slots[i]);
    }
    emulate_late(false);
    for (int i = 0; i < SPARE_TOKENS; i++) {
        check_slots(tree, &slots[i], true);
        d_destroy(&slots[i]);
    }
    tree_plan_gpu_destroy(gpu);
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* What a capture refuses leaves it as it was. */
static void run_captured(const void *unused)
{
    (void)unused;
    tree_plan_gpu *gpu = NULL, *refused = NULL;
    int cuda_error = 0;
    cudaGraph_t graph;
    kv_tree *tree = plan_tree_levels("1,7/300,8", BLOCK_TOKENS, 0), *larger = plan_tree_levels("1,99/3000,8", 4, 0);
    tree_plan *plan = plan_of(tree), *larger_plan = plan_of(larger);
    const tree_shape shape = {plan->num_queries, 2, 2, 64, NUM_BLOCKS, BLOCK_TOKENS, TREE_FP16};
    put(&gpu, plan);
    cuda_ok(cudaStreamBeginCapture(NULL, cudaStreamCaptureModeThreadLocal), "a capture");
    check(tree_plan_gpu_create(&refused, plan, &shape, NULL, &cuda_error) == TREE_CUDA_ERROR && !refused, "a plan");
    check(tree_plan_gpu_update(gpu, plan, NULL, &cuda_error) == TREE_CUDA_ERROR, "an update");
    check(tree_plan_gpu_update(gpu, larger_plan, NULL, &cuda_error) == TREE_CUDA_ERROR, "a larger plan");
    cuda_ok(cudaStreamEndCapture(NULL, &graph), "a capture");
    cuda_ok(cudaGraphDestroy(graph), "a graph");
    tree_plan_gpu_destroy(gpu);
    tree_plan_destroy(plan);
    tree_plan_destroy(larger_plan);
    plan_tree_destroy(tree);
    plan_tree_destroy(larger);
}

/* ---- K and V that the previous launch writes ---- */

enum { LATE_BLOCK_TOKENS = 32 }; /* more than a slice: a new block is new as a whole */

typedef struct late_writer {
    gpu_case *gpu;
    bool queries_too;
} late_writer;

static void write_kv(void *context)
{
    const late_writer *writer = context;
    const attention_case *c = writer->gpu->c;
    void *key = stored_create(c->key, c->num_kv, c->shape.storage);
    void *value = stored_create(c->value, c->num_kv, c->shape.storage);
    d_write(&writer->gpu->key, 0, key, writer->gpu->key.bytes);
    d_write(&writer->gpu->value, 0, value, writer->gpu->value.bytes);
    if (writer->queries_too)
        d_write(&writer->gpu->query, 0, c->query, writer->gpu->query.bytes);
    free(key);
    free(value);
}

/* Other numbers in all slots of the block of `slot`; not NaN, after which the kernel would read everything again. */
static void spoil_block(gpu_case *gpu, uint64_t slot)
{
    const tree_shape *shape = &gpu->c->shape;
    const size_t bytes = (size_t)shape->num_kv_heads * shape->block_tokens * shape->head_dim * sizeof(uint16_t);
    unsigned char *other = malloc(bytes);
    check(other, "memory");
    memset(other, 0x3f, bytes);
    d_write(&gpu->key, slot / shape->block_tokens * bytes, other, bytes);
    d_write(&gpu->value, slot / shape->block_tokens * bytes, other, bytes);
    free(other);
}

static const struct late_case {
    const char *name, *tree;
    attention_size size;
    uint32_t num_promised; /* of the paths' newest slots; 0: nothing is promised */
} late_cases[] = {
    {"one_new_token", "1/150", {1, 4, 128}, 1},
    {"a_new_token_for_each_branch", "1,3/90,9", {1, 4, 64}, 3},
    {"nothing_promised", "1,3/90,9", {1, 4, 64}, 0},
};

/* What is new has other values until the previous launch has ended, which is when all threads wait for it. */
static void run_new_tokens(const void *argument)
{
    const struct late_case *late = argument;
    attention_case c;
    gpu_case gpu;
    uint64_t new_slots[3];
    attention_case_build(&c, storage_backend(TREE_BF16), late->tree, LATE_BLOCK_TOKENS, late->size);
    tree_plan *plan = attention_plan(&c, TREE_COST, 0, 0);
    const tree_gpu_step *step = last_step(TREE_BF16);
    gpu_case_create(&gpu, &c);
    gpu_case_plan(&gpu, plan);
    gpu_case_run(&gpu, step);
    float *expected = malloc(gpu.out.bytes);
    check(expected, "memory");
    memcpy(expected, gpu.h_out, gpu.out.bytes);
    for (uint32_t q = 0; q < late->num_promised; q++)
        new_slots[q] = newest_slot(c.tree, q);
    d_array slots = d_copy_of(new_slots, sizeof new_slots);
    check(gpu.plan->is_few, "a plan of few rows");
    check(tree_plan_gpu_new_slots(gpu.plan, late->num_promised ? (uint64_t *)slots.data : NULL, late->num_promised)
              == TREE_OK,
          "a promise");
    if (late->num_promised == 0)
        d_clear(&gpu.query);
    for (uint64_t slot = 0; late->num_promised == 0 && slot < c.num_kv / late->size.num_kv_heads / late->size.head_dim;
         slot += LATE_BLOCK_TOKENS)
        spoil_block(&gpu, slot);
    for (uint32_t q = 0; q < late->num_promised; q++)
        spoil_block(&gpu, new_slots[q]);
    late_writer writer = {&gpu, late->num_promised == 0};
    emulate_previous(write_kv, &writer);
    gpu_case_run(&gpu, step);
    check_same_bits(gpu.h_out, expected, c.num_out, "tokens that are new");
    d_destroy(&slots);
    free(expected);
    gpu_case_destroy(&gpu);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

/* Old K and V are read early: those that are not promised to be new, and change, are not seen. Otherwise the cases
 * above would say nothing. */
static void run_broken_promise(const void *argument)
{
    (void)argument;
    attention_case c;
    gpu_case gpu;
    const uint64_t none = UINT64_MAX;
    attention_case_build(&c, storage_backend(TREE_BF16), "1/130", LATE_BLOCK_TOKENS, (attention_size){1, 4, 128});
    tree_plan *plan = attention_plan(&c, TREE_COST, 0, 0);
    gpu_case_create(&gpu, &c);
    gpu_case_plan(&gpu, plan);
    gpu_case_run(&gpu, last_step(TREE_BF16));
    float *expected = malloc(gpu.out.bytes);
    check(expected, "memory");
    memcpy(expected, gpu.h_out, gpu.out.bytes);
    d_array slots = d_copy_of(&none, sizeof none);
    check(tree_plan_gpu_new_slots(gpu.plan, (uint64_t *)slots.data, 1) == TREE_OK, "a promise");
    spoil_block(&gpu, newest_slot(c.tree, 0));
    late_writer writer = {&gpu, false};
    emulate_previous(write_kv, &writer);
    gpu_case_run(&gpu, last_step(TREE_BF16));
    check(memcmp(gpu.h_out, expected, gpu.out.bytes), "a token that was read before it was written");
    free(expected);
    d_destroy(&slots);
    gpu_case_destroy(&gpu);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

static void run_promises(const void *unused)
{
    (void)unused;
    tree_plan_gpu *gpu = NULL;
    kv_tree *tree = plan_tree_levels("1,2/30,8", BLOCK_TOKENS, 0);
    tree_plan *plan = plan_of(tree);
    uint64_t slots[FEW_NEW_SLOTS + 1];
    put(&gpu, plan);
    const uint64_t version = tree_plan_gpu_version(gpu);
    check(tree_plan_gpu_new_slots(gpu, (uint64_t *)((char *)slots + 4), 1) == TREE_INVAL, "misaligned");
    check(tree_plan_gpu_new_slots(gpu, NULL, 0) == TREE_OK && tree_plan_gpu_version(gpu) == version, "as it was");
    check(tree_plan_gpu_new_slots(gpu, slots, FEW_NEW_SLOTS + 1) == TREE_OK && !gpu->new_slots, "too many: none");
    check(tree_plan_gpu_new_slots(gpu, slots, FEW_NEW_SLOTS) == TREE_OK && gpu->new_slots == slots, "a list");
    check(tree_plan_gpu_version(gpu) == version + 1, "captured calls are old");
    tree_plan_gpu_destroy(gpu);
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* Where paths outgrow step 13, the device does not follow: another kernel is to be captured. */
static void run_limit(const void *unused)
{
    (void)unused;
    tree_plan_gpu *gpu = NULL;
    char spec[40];
    uint32_t num_workers = 0;
    const tree_shape shape = {1, 2, 2, 64, NUM_BLOCKS, BLOCK_TOKENS, TREE_FP16};
    cuda_ok(gpu_num_workers(&num_workers), "workers");
    snprintf(spec, sizeof spec, "1/%u", (unsigned)few_rows_limit(1, &shape, num_workers, false) - 2);
    kv_tree *tree = plan_tree_levels(spec, BLOCK_TOKENS, SPARE_TOKENS);
    tree_plan *plan = plan_of(tree);
    put(&gpu, plan);
    check(gpu->is_few && tree_plan_gpu_steps_ahead(gpu) <= 2, "two tokens more");
    for (int i = 0; i < 3; i++) {
        check(plan_tree_grow(tree, 0, 1) && tree_plan_grow(plan, tree), "a token");
        check(tree_plan_gpu_grow(gpu, plan) == (i < 2), "the device follows to the limit");
    }
    const uint64_t version = tree_plan_gpu_version(gpu);
    put(&gpu, plan);
    check(!gpu->is_few && tree_plan_gpu_version(gpu) > version, "another kernel");
    tree_plan_gpu_destroy(gpu);
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* A GPU that has no room for the clusters: step 13 runs step 12, with its bits. */
static void run_refused_cluster(const void *argument)
{
    attention_case c;
    gpu_case gpu;
    float *first = NULL;
    (void)argument;
    attention_case_build(&c, storage_backend(TREE_FP16), "1,3/70,20", 4, (attention_size){2, 4, 64});
    tree_plan *plan = attention_plan(&c, TREE_COST, 0, 0);
    gpu_case_create(&gpu, &c);
    gpu_case_plan(&gpu, plan);
    check(gpu.plan->is_few, "a plan of few rows");
    check((first = malloc(gpu.out.bytes + 1)), "memory");
    gpu_case_run(&gpu, &tree_gpu_steps[tree_gpu_num_steps - 2]);
    memcpy(first, gpu.h_out, gpu.out.bytes);
    emulate_largest_cluster(1);
    gpu_case_run(&gpu, &tree_gpu_steps[tree_gpu_num_steps - 1]);
    emulate_largest_cluster(16);
    check_same_bits(gpu.h_out, first, c.num_out, "step 13 against step 12");
    free(first);
    gpu_case_destroy(&gpu);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "updates of a plan on a GPU that is late");
    test_add(run_larger_outline, NULL, "larger_outline");
    test_add(run_updates, NULL, "updates");
    test_add(run_captured, NULL, "captured");
    for (size_t i = 0; i < sizeof late_cases / sizeof late_cases[0]; i++)
        test_add(run_new_tokens, &late_cases[i], "%s", late_cases[i].name);
    test_add(run_broken_promise, NULL, "a_broken_promise");
    test_add(run_promises, NULL, "promises");
    test_add(run_limit, NULL, "limit_of_few_rows");
    test_add(run_refused_cluster, NULL, "refused_cluster");
    return test_end();
}
