/* Claim: whichever allocation of the host fails, making the lists of eviction returns TREE_NOMEM, they stay what they were,
 * and nothing leaks. */
#include <inttypes.h>
#include <stdlib.h>

#include "eviction_support.h"
#include "failing_malloc.h"
#include "test.h"

static int64_t allocations_left = INT64_MAX;

static bool allocation_fails(void) { return allocations_left-- <= 0; }

static void run_create_and_update(const void *argument)
{
    (void)argument;
    attention_case c;
    tree_eviction_gpu *untouched = (tree_eviction_gpu *)&c, *lists = untouched;
    tree_status status = TREE_NOMEM;
    int64_t num_refused = -1;
    int cuda_error = 0;
    attention_case_build(&c, storage_backend(TREE_FP16), "1,3/50,21", 16, (attention_size){1, 2, 64});
    tree_plan *plan = attention_plan(&c, TREE_FLASH, 0, 0), *larger = attention_plan(&c, TREE_FLATTEN, 5, 1);
    while (status == TREE_NOMEM) {
        check(lists == untouched, "*eviction is untouched");
        allocations_left = ++num_refused;
        status = tree_eviction_gpu_create(&lists, plan, &c.shape, NULL, &cuda_error);
        check(status == TREE_OK || allocations_left < 0, "a status of its own: %s", tree_status_string(status));
        allocations_left = INT64_MAX;
    }
    check(status == TREE_OK && num_refused == 8, "%" PRId64 " allocations: %s", num_refused,
          tree_status_string(status));
    const int64_t num_create = num_refused;
    num_refused = -1;
    for (status = TREE_NOMEM; status == TREE_NOMEM;) {
        allocations_left = ++num_refused;
        status = tree_eviction_gpu_update(lists, larger, NULL, &cuda_error);
        allocations_left = INT64_MAX;
    }
    check(status == TREE_OK && num_refused == 7, "%" PRId64 " allocations: %s", num_refused,
          tree_status_string(status));
    test_note("%" PRId64 " allocations of a creation, %" PRId64 " of an update refused", num_create, num_refused);
    tree_eviction_gpu_destroy(lists);
    tree_plan_destroy(plan);
    tree_plan_destroy(larger);
    attention_case_free(&c);
}

/* After a refused update the lists still serve the plan that they were made from. */
static void run_after_refusal(const void *argument)
{
    (void)argument;
    attention_case c;
    eviction_case e;
    int cuda_error = 0;
    attention_case_build(&c, storage_backend(TREE_FP16), "1,3/50,21", 16, (attention_size){1, 2, 64});
    tree_plan *plan = attention_plan(&c, TREE_FLASH, 0, 0), *larger = attention_plan(&c, TREE_FLATTEN, 5, 1);
    eviction_case_create(&e, &c, plan);
    for (int64_t left = 0; left < 7; left++) {
        allocations_left = left;
        tree_status status = tree_eviction_gpu_update(e.lists, larger, NULL, &cuda_error);
        allocations_left = INT64_MAX;
        check(status == TREE_NOMEM, "%" PRId64 " allocations: %s", left, tree_status_string(status));
    }
    eviction_case_check_steps(&e, 1e-4);
    eviction_case_destroy(&e);
    tree_plan_destroy(plan);
    tree_plan_destroy(larger);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "whichever allocation fails, the lists of eviction return TREE_NOMEM");
    test_add(run_create_and_update, NULL, "create_and_update");
    test_add(run_after_refusal, NULL, "lists_after_a_refused_update");
    return test_end();
}
