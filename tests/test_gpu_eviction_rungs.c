/* Claim: every rung of eviction takes the same arguments: importance alone, victims alone, no lse; a workspace
 * that is too small is refused before anything is written; rungs 0 and 1 need no norms, since they read V; what is not
 * finite is told to the queries that see it, and to no other; the same bits again, in whatever order jobs run. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eviction_support.h"
#include "test.h"

/* 159 tokens are 5 jobs of a query. */
#ifdef TREEATTN_EMULATE
#define NUM_BRANCHES "1,9/150,9"
#else
#define NUM_BRANCHES "1,900/150,9"
#endif

/* Emulated, jobs and warps take turns in another order each time. */
static void draw_order(uint64_t seed)
{
#ifdef TREEATTN_EMULATE
    emulate_seed(seed);
#else
    (void)seed;
#endif
}

static void build(attention_case *c, tree_plan **plan, eviction_case *e, tree_storage storage)
{
    need_gpu();
    attention_case_build(c, storage_backend(storage), "1,2/70,9", 4, (attention_size){2, 3, 64});
    *plan = attention_plan(c, TREE_TREE_MASK, 0, 0);
    eviction_case_create(e, c, *plan);
}

static void destroy(attention_case *c, tree_plan *plan, eviction_case *e)
{
    eviction_case_destroy(e);
    tree_plan_destroy(plan);
    attention_case_free(c);
}

typedef struct run_choice {
    bool lse, importance, victims;
    size_t workspace_bytes;
} run_choice;

static tree_status run_with(eviction_case *e, const tree_eviction_step *step, const run_choice *choice)
{
    gpu_case *gpu = &e->gpu;
    const size_t enough = tree_eviction_gpu_workspace_bytes(e->plan, &gpu->c->shape, step);
    static const uint64_t smallest[8]; /* EVICTION_NOT_FINITE */
    int cuda_error = -1;
    check(e->victims.bytes <= sizeof smallest, "few queries");
    d_clear(&gpu->out);
    d_clear(&gpu->lse);
    d_clear(&e->importance);
    d_clear(&e->victims);
    if (choice->victims && choice->workspace_bytes >= enough) /* left by a call before */
        d_write(&e->victims, 0, smallest, e->victims.bytes);
    tree_status status = tree_eviction_gpu_run(
        (float *)gpu->out.data, choice->lse ? (float *)gpu->lse.data : NULL,
        choice->importance ? (float *)e->importance.data : NULL, e->num_slots,
        choice->victims ? (uint64_t *)e->victims.data : NULL, (const float *)gpu->query.data, gpu->key.data,
        gpu->value.data, (const float *)e->d_norm.data, (const uint32_t *)e->d_positions.data, NULL, gpu->plan,
        e->lists, &gpu->c->shape, gpu->c->scale, e->workspace.data, choice->workspace_bytes, NULL, step, &cuda_error);
    cuda_ok(cudaDeviceSynchronize(), step->name);
    check(d_read(&gpu->out, gpu->h_out, "out") == (status == TREE_OK), "%s: out", step->name);
    check(d_read(&gpu->lse, gpu->h_lse, "lse") == (status == TREE_OK && choice->lse), "%s: lse", step->name);
    check(d_read(&e->importance, e->h_importance, "importance") == (status == TREE_OK && choice->importance),
          "%s: importance", step->name);
    check(d_read(&e->victims, e->h_victims, "victims") == (status == TREE_OK && choice->victims), "%s: victims",
          step->name);
    return status;
}

/* More jobs than thread blocks of one job would fill multiprocessors: thread blocks with jobs of two queries. */
static void run_many_jobs(const void *argument)
{
    const tree_eviction_step *step = argument;
    attention_case c;
    eviction_case e;
    need_gpu();
    draw_order(test_seed());
    attention_case_build(&c, storage_backend(TREE_FP16), NUM_BRANCHES, 4, (attention_size){5, 2, 64});
    tree_plan *plan = attention_plan(&c, TREE_FLASH, 0, 0);
    eviction_case_create(&e, &c, plan);
    eviction_case_run(&e, step);
    eviction_case_check(&e, step->name, 1e-4);
    destroy(&c, plan, &e);
}

/* Each output alone has the bits that it has beside the others. */
static void run_choices(const void *argument)
{
    const tree_eviction_step *step = argument;
    attention_case c;
    tree_plan *plan;
    eviction_case e;
    build(&c, &plan, &e, TREE_BF16);
    const size_t bytes = tree_eviction_gpu_workspace_bytes(plan, &c.shape, step);
    const run_choice all = {true, true, true, bytes};
    check(run_with(&e, step, &all) == TREE_OK, "%s: everything", step->name);
    eviction_case_check(&e, step->name, 1e-4);
    float *out = malloc(e.gpu.out.bytes), *importance = malloc(e.importance.bytes);
    uint64_t *victims = malloc(e.victims.bytes);
    check(out && importance && victims, "memory");
    memcpy(out, e.gpu.h_out, e.gpu.out.bytes);
    memcpy(importance, e.h_importance, e.importance.bytes);
    memcpy(victims, e.h_victims, e.victims.bytes);
    for (int mask = 0; mask < 8; mask++) {
        const run_choice some = {mask & 1, mask >> 1 & 1, mask >> 2 & 1, bytes};
        draw_order(test_seed() + (uint64_t)mask);
        check(run_with(&e, step, &some) == TREE_OK, "%s: choice %d", step->name, mask);
        check(!memcmp(out, e.gpu.h_out, e.gpu.out.bytes), "%s: out of choice %d", step->name, mask);
        check(!some.importance || !memcmp(importance, e.h_importance, e.importance.bytes),
              "%s: importance of choice %d", step->name, mask);
        check(!some.victims || !memcmp(victims, e.h_victims, e.victims.bytes), "%s: victims of choice %d", step->name,
              mask);
    }
    free(out);
    free(importance);
    free(victims);
    destroy(&c, plan, &e);
}

static void run_workspace(const void *argument)
{
    const tree_eviction_step *step = argument;
    attention_case c;
    tree_plan *plan;
    eviction_case e;
    build(&c, &plan, &e, TREE_FP16);
    const size_t bytes = tree_eviction_gpu_workspace_bytes(plan, &c.shape, step);
    const run_choice less = {true, true, true, bytes - 1};
    check(run_with(&e, step, &less) == TREE_WORKSPACE, "%s: a byte less than %zu", step->name, bytes);
    tree_shape huge = c.shape;
    huge.num_heads = huge.num_kv_heads = 2048;
    check(tree_eviction_gpu_workspace_bytes(plan, &huge, step) == 0, "%s: too many heads", step->name);
    destroy(&c, plan, &e);
}

/* Norms are NaN. */
static void run_without_norms(const void *argument)
{
    const tree_eviction_step *step = argument;
    attention_case c;
    tree_plan *plan;
    eviction_case e;
    build(&c, &plan, &e, TREE_FP16);
    const size_t bytes = tree_eviction_gpu_workspace_bytes(plan, &c.shape, step);
    const run_choice all = {true, true, true, bytes};
    d_clear(&e.d_norm);
    check(run_with(&e, step, &all) == TREE_OK, "%s: norms of NaN", step->name);
    uint64_t *kept = malloc(e.victims.bytes);
    check(kept, "memory");
    memcpy(kept, e.h_victims, e.victims.bytes);
    eviction_case_upload(&e);
    check(run_with(&e, step, &all) == TREE_OK, "%s: norms", step->name);
    check(!memcmp(kept, e.h_victims, e.victims.bytes), "%s: the victims do not depend on norms", step->name);
    free(kept);
    destroy(&c, plan, &e);
}

/* A NaN in K, or an infinity in V, of the second branch's last token. */
static void run_not_finite(const void *argument)
{
    const tree_eviction_step *step = argument;
    attention_case c;
    tree_plan *plan;
    eviction_case e;
    build(&c, &plan, &e, TREE_BF16);
    const kv_table *table = &c.grown.tables[1];
    const uint32_t last = table->length - 1;
    const uint64_t slot = (uint64_t)table->blocks[last / 4] * 4 + last % 4;
    for (int of_key = 0; of_key < 2; of_key++) {
        float *element = of_key ? attention_key(&c, slot, 1) : attention_value(&c, slot, 1);
        const float saved = *element;
        *element = of_key ? NAN : INFINITY;
        eviction_case_upload(&e);
        eviction_case_run(&e, step);
        check(e.h_victims[1] == EVICTION_NOT_FINITE, "%s: query 1 is told", step->name);
        check(e.h_victims[0] != EVICTION_NOT_FINITE && e.h_victims[0] != EVICTION_NONE, "%s: query 0 is not",
              step->name);
        e.candidates[0] = e.candidates[1] = (eviction_range){5, 5};
        eviction_case_upload(&e);
        eviction_case_run(&e, step);
        check(e.h_victims[0] == EVICTION_NONE && e.h_victims[1] == EVICTION_NOT_FINITE, "%s: without candidates",
              step->name);
        e.candidates[0] = e.candidates[1] = (eviction_range){0, UINT32_MAX};
        *element = saved;
    }
    destroy(&c, plan, &e);
}

/* K and V that query 0 does not see become NaN, which other queries of the same items do see. */
static void run_hidden(const void *argument)
{
    const tree_eviction_step *step = argument;
    attention_case c;
    tree_plan *plan;
    eviction_case e;
    build(&c, &plan, &e, TREE_FP16);
    const size_t out_bytes = (size_t)c.shape.num_heads * c.shape.head_dim * sizeof(float);
    const size_t importance_bytes = e.num_slots * sizeof(float);
    float *out = malloc(out_bytes), *importance = malloc(importance_bytes);
    check(out && importance, "memory");
    eviction_case_run(&e, step);
    memcpy(out, e.gpu.h_out, out_bytes);
    memcpy(importance, e.h_importance, importance_bytes);
    const uint64_t victim = e.h_victims[0];
    attention_fill_unseen(&c, 0, NAN);
    eviction_case_upload(&e);
    eviction_case_run(&e, step);
    check(!memcmp(out, e.gpu.h_out, out_bytes), "%s: out of query 0", step->name);
    check(!memcmp(importance, e.h_importance, importance_bytes), "%s: importance of query 0", step->name);
    check(e.h_victims[0] == victim, "%s: the victim of query 0", step->name);
    check(e.h_victims[1] == EVICTION_NOT_FINITE, "%s: query 1 sees NaN", step->name);
    free(out);
    free(importance);
    destroy(&c, plan, &e);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "every rung of eviction takes the same arguments");
    for (uint32_t s = 0; s < tree_eviction_num_steps; s++) {
        const tree_eviction_step *step = &tree_eviction_steps[s];
        test_add(run_many_jobs, step, "%s_of_many_jobs", step->name);
        test_add(run_choices, step, "%s_each_output_alone", step->name);
        test_add(run_workspace, step, "%s_refuses_a_small_workspace", step->name);
        if (s < 2) test_add(run_without_norms, step, "%s_needs_no_norms", step->name);
        test_add(run_hidden, step, "%s_reads_no_hidden_nan", step->name);
        test_add(run_not_finite, step, "%s_tells_what_is_not_finite", step->name);
    }
    return test_end();
}
