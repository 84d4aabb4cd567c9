/* Claim: whichever allocation fails, forgetting.h's functions return MODEL_NOMEM and leak nothing; the branches have
 * their tokens as before, and pruning them gives everything back. */
#include <stdlib.h>

#include "failing_malloc.h"
#include "forgetting.h"
#include "test.h"
#include "transformer_forest_model.h"

static uint64_t fail_at; /* that many allocations from now, one fails; 0: none */

static bool allocation_fails(void) { return fail_at > 0 && --fail_at == 0; }

void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return allocation_fails() ? NULL : __real_aligned_alloc(alignment, bytes);
}

/* The functions in the order in which a search calls them. */
typedef enum call { CREATE, FIRST_STEP, SET_RULE, FORK, STEP, NUM_CALLS } call;

static const forgetting_rule rule = {.budget = 4};
enum { LENGTH = 7 };

/* Everything up to `failing`, whose at-th allocation fails. *before: tokens of the root before that call. */
static model_status run_until(forgetting **f, kv_pool *pool, const model_weights *weights, call failing, uint64_t at,
                              uint32_t *before)
{
    transformer_config config = {.max_branches = 3, .isa = TREE_ISA_PORTABLE, .num_threads = 1};
    forgetting_rule longflow = rule;
    kv_branch branches[2];
    static const uint32_t tokens[2] = {3, 4};
    model_status status = MODEL_OK;
    longflow.policy = eviction_policy_from_name("longflow");
    *before = 0;
    check(kv_branch_create(pool, &branches[0]) == KV_OK, "root");
    for (call c = CREATE; c <= failing && status == MODEL_OK; c++) {
        fail_at = c == failing ? at : 0;
        switch (c) {
        case CREATE: status = forgetting_create(f, weights, pool, 4, &config, NULL); break;
        case FIRST_STEP: status = forgetting_step(*f, branches, tokens, 1, NULL); break;
        case SET_RULE: status = forgetting_set_rule(*f, branches[0], &longflow); break;
        case FORK: status = forgetting_fork(*f, branches[0], &branches[1]); break;
        default: status = forgetting_step(*f, branches, tokens, 2, NULL);
        }
        fail_at = 0;
        check(c == failing || status == MODEL_OK, "call %d: %s", (int)c, model_status_string(status));
        for (uint32_t i = 1; c == FIRST_STEP && i < LENGTH && status == MODEL_OK; i++)
            check(forgetting_step(*f, branches, tokens, 1, NULL) == MODEL_OK, "step");
        if (c == FIRST_STEP && c < failing)
            *before = LENGTH;
    }
    kv_keep keep;
    check(kv_branch_keep(pool, branches[0], &keep) == KV_OK, "alive");
    check(status == MODEL_OK || keep.next_position == *before, "%u tokens", keep.next_position);
    check(status == MODEL_OK || keep.num_kept == *before, "%u kept", keep.num_kept);
    for (uint32_t i = 0; i < 2; i++)
        if (i == 0 || failing == STEP || (failing == FORK && status == MODEL_OK))
            check(kv_branch_prune(pool, branches[i]) == KV_OK, "prune");
    return status;
}

static void run_call(const void *argument)
{
    call failing = *(const call *)argument;
    weights_file file = weights_file_random(&forest_shape);
    model_weights *weights;
    check(model_weights_parse(&weights, file.bytes, file.num_bytes, NULL, 0) == MODEL_OK, "weights");
    uint32_t failed = 0;
    model_status status = MODEL_NOMEM;
    for (uint64_t at = 1; status == MODEL_NOMEM; at++) {
        kv_pool_config config = {.num_blocks = 20, .block_tokens = 4, .max_branches = 4, .evicts = true};
        kv_pool *pool;
        forgetting *f = NULL;
        uint32_t before;
        check(kv_pool_create(&pool, &config) == KV_OK, "pool");
        status = run_until(&f, pool, weights, failing, at, &before);
        check(status == MODEL_OK || status == MODEL_NOMEM, "%s", model_status_string(status));
        check(failing != CREATE || (status == MODEL_OK) == (f != NULL), "untouched");
        failed += status == MODEL_NOMEM;
        check(kv_pool_check(pool, NULL, 0) == KV_OK, "the pool's invariants");
        forgetting_destroy(f);
        check(kv_pool_destroy(pool, false, NULL) == KV_OK, "no branch is left");
    }
    test_note("%u failures", failed);
    check(failed >= 4, "%u failures", failed);
    model_weights_destroy(weights);
    weights_file_destroy(&file);
}

int main(int argc, char **argv)
{
    static const char *const names[NUM_CALLS] = {"create", "first_step", "set_rule", "fork", "step"};
    static call calls[NUM_CALLS];
    test_begin(argc, argv, "every failing allocation under forgetting is reported, and nothing is lost");
    for (call c = CREATE; c < NUM_CALLS; c++) {
        calls[c] = c;
        test_add(run_call, &calls[c], "%s", names[c]);
    }
    return test_end();
}
