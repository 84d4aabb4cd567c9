/* Claim: if any allocation fails, attention returns TREE_NOMEM and writes nothing; once memory is back it succeeds. */
#include <stdlib.h>

#include "failing_malloc.h"
#include "importance_model.h"
#include "standard_attention.h"
#include "test.h"
#include "tree_importance_cpu.h"

static uint64_t fail_at, num_calls; /* the fail_at-th call fails, counted from 1; 0: none */

static bool allocation_fails(void)
{
    return ++num_calls == fail_at;
}

typedef tree_status attention_call(const attention_case *c, const tree_plan *plan, float *out, float *lse);

static tree_status call_ref(const attention_case *c, const tree_plan *plan, float *out, float *lse)
{
    return tree_attention_ref(out, lse, c->query, c->key, c->value, plan, &c->shape, c->scale);
}

static tree_status call_standard(const attention_case *c, const tree_plan *plan, float *out, float *lse)
{
    (void)plan;
    return standard_attention_ref(out, lse, c->query, c->key, c->value, c->tree, &c->shape, c->scale, NULL);
}

static tree_status call_dense_mask(const attention_case *c, const tree_plan *plan, float *out, float *lse)
{
    (void)plan;
    return dense_mask_attention_ref(out, lse, c->query, c->key, c->value, c->tree, &c->shape, c->scale, NULL);
}

static const struct named_call {
    const char *name;
    attention_call *call;
    uint64_t num_allocations;
} calls[] = {{"ref", call_ref, 2}, {"standard", call_standard, 7}, {"dense_mask", call_dense_mask, 9}};

static void run_call(const void *argument)
{
    const struct named_call *one = argument;
    attention_case c;
    attention_case_build(&c, &attention_ref_backend, "comb:4", 16, (attention_size){2, 2, 8});
    tree_plan *plan = attention_plan(&c, TREE_FLATTEN, 0, 0);
    for (uint64_t k = 1; k <= one->num_allocations + 1; k++) {
        guarded out = guarded_create(c.num_out), lse = guarded_create(c.num_lse);
        num_calls = 0;
        fail_at = k;
        tree_status status = one->call(&c, plan, out.data, lse.data);
        fail_at = 0;
        if (k <= one->num_allocations) {
            check(status == TREE_NOMEM, "allocation %u fails: %s", (unsigned)k, tree_status_string(status));
            check(guarded_untouched(&out) && guarded_untouched(&lse), "allocation %u fails: nothing is written",
                  (unsigned)k);
        } else {
            check(status == TREE_OK && num_calls == one->num_allocations, "%u allocations, %s", (unsigned)num_calls,
                  tree_status_string(status));
        }
        guarded_destroy(&out);
        guarded_destroy(&lse);
    }
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

static void run_importance(const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, &attention_ref_backend, "comb:4", 16, (attention_size){2, 2, 8});
    tree_plan *plan = attention_plan(&c, TREE_FLATTEN, 0, 0);
    uint64_t num_slots = tree_importance_slots(plan);
    float *norm = importance_norms(&c);
    for (uint64_t k = 1; k <= 5; k++) {
        guarded out = guarded_create(c.num_out), lse = guarded_create(c.num_lse);
        guarded importance = guarded_create(c.shape.num_queries * num_slots);
        num_calls = 0;
        fail_at = k;
        tree_status status = tree_importance_ref(out.data, lse.data, importance.data, num_slots, c.query, c.key,
                                                 c.value, norm, plan, &c.shape, c.scale);
        fail_at = 0;
        check(status == (k <= 4 ? TREE_NOMEM : TREE_OK), "allocation %u fails: %s", (unsigned)k,
              tree_status_string(status));
        check(k > 4 || (guarded_untouched(&out) && guarded_untouched(&lse) && guarded_untouched(&importance)),
              "allocation %u fails: nothing is written", (unsigned)k);
        check(k <= 4 || num_calls == 4, "%u allocations", (unsigned)num_calls);
        guarded_destroy(&out);
        guarded_destroy(&lse);
        guarded_destroy(&importance);
    }
    free(norm);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

/* The fast path works in the caller's workspace: it allocates nothing at all. */
static void run_no_allocation(const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, &attention_ref_backend, "comb:4", 16, (attention_size){2, 2, 8});
    tree_plan *plan = attention_plan(&c, TREE_FLATTEN, 0, 0);
    guarded out = guarded_create(c.num_out), lse = guarded_create(c.num_lse);
    size_t bytes = tree_attention_cpu_workspace_bytes(plan, &c.shape, 1);
    void *workspace = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    check(workspace, "memory");
    num_calls = 0;
    tree_status status = tree_attention_cpu(out.data, lse.data, c.query, c.key, c.value, plan, &c.shape, c.scale,
                                            workspace, bytes, 1, TREE_ISA_AUTO);
    check(status == TREE_OK && num_calls == 0, "%s, %u allocations", tree_status_string(status), (unsigned)num_calls);
    free(workspace);

    uint64_t num_slots = tree_importance_slots(plan);
    guarded importance = guarded_create(c.shape.num_queries * num_slots);
    float *norm = importance_norms(&c);
    bytes = tree_importance_cpu_workspace_bytes(plan, &c.shape, 1);
    workspace = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    check(workspace, "memory");
    num_calls = 0;
    status = tree_importance_cpu(out.data, lse.data, importance.data, num_slots, c.query, c.key, c.value, norm, plan,
                                 &c.shape, c.scale, workspace, bytes, 1, TREE_ISA_AUTO);
    check(status == TREE_OK && num_calls == 0, "%s, %u allocations", tree_status_string(status), (unsigned)num_calls);
    free(workspace);
    free(norm);
    guarded_destroy(&importance);
    guarded_destroy(&out);
    guarded_destroy(&lse);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "whichever allocation fails, attention returns TREE_NOMEM and writes nothing");
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        test_add(run_call, &calls[i], "%s", calls[i].name);
    test_add(run_importance, NULL, "importance_ref");
    test_add(run_no_allocation, NULL, "cpu_allocates_nothing");
    return test_end();
}
