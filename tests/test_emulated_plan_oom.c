/* Claim: whichever allocation of the host or of CUDA fails, a refused update of a plan changes nothing: the device goes
 * on with the plan before, and follows its paths. */
#include <errno.h>

#include "failing_malloc.h"
#include "gpu_internal.h"
#include "gpu_support.h"
#include "plan_steps.h"
#include "plan_trees.h"
#include "test.h"

enum { BLOCK_TOKENS = 4, SPARE_TOKENS = 40, NUM_BLOCKS = 1 << 16 };

static tree_plan *plan_of(const kv_tree *tree)
{
    return plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_NODE});
}

static int64_t allocations_left = INT64_MAX;

static bool allocation_fails(void) { return allocations_left-- <= 0; }

/* The emulated cudaMalloc and cudaMallocHost; a kernel's shared memory, 1 to 1023 bytes here, is always there. */
int __real_posix_memalign(void **memory, size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    return bytes > 1023 && allocation_fails() ? ENOMEM : __real_posix_memalign(memory, alignment, bytes);
}

static void run_refused_memory(const void *unused)
{
    (void)unused;
    tree_plan_gpu *gpu = NULL;
    int cuda_error = 0;
    kv_tree *tree = plan_tree_levels("1,7/300,8", BLOCK_TOKENS, SPARE_TOKENS);
    kv_tree *larger = plan_tree_levels("1,99/3000,8", BLOCK_TOKENS, 0);
    tree_plan *plan = plan_of(tree), *larger_plan = plan_of(larger);
    const tree_shape shape = {plan->num_queries, 2, 2, 64, NUM_BLOCKS, BLOCK_TOKENS, TREE_FP16};
    d_array slots = d_create(tree->num_queries * sizeof(uint64_t));
    tree_status status = TREE_NOMEM;
    int64_t num_refused = 0;
    for (; status == TREE_NOMEM; num_refused++) {
        allocations_left = num_refused;
        status = tree_plan_gpu_create(&gpu, plan, &shape, NULL, &cuda_error);
        allocations_left = INT64_MAX;
        check(status == TREE_OK || !gpu, "*gpu_plan is untouched");
    }
    check(status == TREE_OK && num_refused > 7, "created: %s", tree_status_string(status));
    advance(gpu, &slots);
    status = TREE_NOMEM;
    for (num_refused = 0; status == TREE_NOMEM; num_refused++) {
        /* the host's scratch stays, so that a later attempt gets further with as many allocations */
        const uint64_t version = tree_plan_gpu_version(gpu);
        allocations_left = num_refused / 3;
        status = tree_plan_gpu_update(gpu, larger_plan, NULL, &cuda_error);
        allocations_left = INT64_MAX;
        if (status != TREE_NOMEM)
            break;
        check(tree_plan_gpu_version(gpu) == version, "the same version");
        for (uint32_t q = 0; q < tree->num_queries; q++)
            check(plan_tree_grow(tree, q, 1), "a token");
        check(tree_plan_grow(plan, tree) && tree_plan_gpu_grow(gpu, plan), "the device follows");
        advance(gpu, &slots);
        check_slots(tree, &slots, true);
    }
    check(status == TREE_OK && num_refused == 12, "%d attempts of an update: %s", (int)num_refused,
          tree_status_string(status));
    d_destroy(&slots);
    tree_plan_gpu_destroy(gpu);
    tree_plan_destroy(plan);
    tree_plan_destroy(larger_plan);
    plan_tree_destroy(tree);
    plan_tree_destroy(larger);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "a plan on the device when memory runs out");
    test_add(run_refused_memory, NULL, "refused_memory");
    return test_end();
}
