/* Claim: emulated, every step runs plans over evicted tokens: each query gets the attention over the tokens that it
 * keeps, and nothing that it has evicted reaches it; an empty partial state changes nothing; new masks
 * alone give the result of a new plan. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_support.h"
#include "keep_model.h"
#include "test.h"

enum { MAX_STEPS = 16 };

typedef struct keep_test {
    attention_case c;
    keep_set set;
    gpu_case gpu;
    float *out[MAX_STEPS], *lse[MAX_STEPS]; /* remembered; NULL: the step does not run */
} keep_test;

/* Every query keeps all tokens. */
static void begin(keep_test *t, tree_storage storage, const char *tree, attention_size size)
{
    memset(t, 0, sizeof *t);
    check(tree_gpu_num_steps <= MAX_STEPS, "room for all steps");
    emulate_seed(test_seed());
    attention_case_build(&t->c, storage_backend(storage), tree, 4, size);
    t->set = keep_set_create(t->c.tree);
    gpu_case_create(&t->gpu, &t->c);
}

static void forget(keep_test *t)
{
    for (int s = 0; s < MAX_STEPS; s++) {
        free(t->out[s]);
        free(t->lse[s]);
    }
    gpu_case_destroy(&t->gpu);
    keep_set_free(&t->set);
    attention_case_free(&t->c);
}

static tree_plan *plan_of(const keep_test *t, tree_strategy strategy, tree_keep_masks masks)
{
    tree_plan_config config = {.strategy = strategy, .piece_tokens = 16, .num_workers = 4,
                               .group_size = t->c.shape.num_heads / t->c.shape.num_kv_heads};
    return keep_plan(&t->set, config, masks);
}

/* truth NULL: not compared with it. remember: the results are kept; otherwise those of the queries first .. end must
 * be the ones that were. */
static void run_steps(keep_test *t, const attention_truth *truth, bool remember, uint32_t first, uint32_t end)
{
    uint64_t heads = t->c.shape.num_heads, elements = heads * t->c.shape.head_dim;
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
        const tree_gpu_step *step = &tree_gpu_steps[s];
        if (!runs_step(step, t->c.shape.storage))
            continue;
        roundoffs u = gpu_roundoffs(step, t->c.shape.storage);
        gpu_case_run(&t->gpu, step);
        if (truth)
            check_attention(t->gpu.h_out, t->gpu.h_lse, truth, &u, step->name);
        if (!remember) {
            check_same_bits(t->gpu.h_out + first * elements, t->out[s] + first * elements, (end - first) * elements,
                            step->name);
            check_same_bits(t->gpu.h_lse + first * heads, t->lse[s] + first * heads, (end - first) * heads, step->name);
            continue;
        }
        free(t->out[s]);
        free(t->lse[s]);
        t->out[s] = malloc(t->gpu.out.bytes + 1);
        t->lse[s] = malloc(t->gpu.lse.bytes + 1);
        check(t->out[s] && t->lse[s], "memory");
        memcpy(t->out[s], t->gpu.h_out, t->gpu.out.bytes);
        memcpy(t->lse[s], t->gpu.h_lse, t->gpu.lse.bytes);
    }
}

static attention_truth truth_of(const attention_case *c)
{
    return attention_truth_create(c->query, c->key, c->value, &c->paths, &c->shape, c->scale);
}

/* ---- agreement ---- */

typedef struct poison_case {
    tree_storage storage;
    float filling;
    uint32_t strategies;
} poison_case;

enum {
    PATHS = 1 << TREE_FLASH | 1 << TREE_FLASH_DECODING | 1 << TREE_RADIX,
    NODES = 1 << TREE_NODE | 1 << TREE_NODE_CHUNK,
    MASKS = 1 << TREE_TREE_MASK | 1 << TREE_FLATTEN | 1 << TREE_COST
};

static const poison_case poisons[] = {
    {TREE_FP32, NAN, ALL_STRATEGIES},         {TREE_FP16, NAN, MASKS | 1 << TREE_NODE},
    {TREE_BF16, NAN, PATHS | 1 << TREE_COST}, {TREE_FP32, -INFINITY, MASKS | NODES},
    {TREE_FP16, 60000, 1 << TREE_FLATTEN},    {TREE_BF16, INFINITY, 1 << TREE_NODE_CHUNK},
};

/* Evicted tokens hold poison, first for all, then for each but one query. */
static void run_poison(const void *argument)
{
    const poison_case *one = argument;
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        keep_test t;
        if (!(one->strategies >> strategy & 1))
            continue;
        begin(&t, one->storage, strategy % 2 ? "1,2,3/9,6,5" : "1,3/18,5", (attention_size){1, 1 + strategy % 3, 64});
        keep_evict_random(&t.set, 25 + 7 * strategy, false);
        keep_filter_paths(&t.c.paths, &t.set);
        attention_truth truth = truth_of(&t.c);
        tree_plan *plan = plan_of(&t, strategy, (tree_keep_masks)(strategy % 3));
        gpu_case_plan(&t.gpu, plan);
        attention_fill_unseen(&t.c, KV_NONE, one->filling);
        gpu_case_upload(&t.gpu);
        run_steps(&t, &truth, true, 0, 0);
        uint32_t query = test_below(t.c.shape.num_queries);
        attention_fill_unseen(&t.c, query, one->filling);
        gpu_case_upload(&t.gpu);
        run_steps(&t, NULL, false, query, query + 1);
        attention_truth_destroy(&truth);
        tree_plan_destroy(plan);
        forget(&t);
    }
}

/* Query 0 keeps no token of the prefix, query 1 none of its own, query 2 none at all. */
static void check_nothing_left(tree_storage storage, tree_strategy strategy)
{
    enum { PREFIX = 21 };
    keep_test t;
    begin(&t, storage, "1,4/21,9", (attention_size){1, 2, 64});
    for (uint32_t slot = 0; slot < keep_length(t.c.tree, 2); slot++) {
        keep_evict(&t.set, slot < PREFIX ? 0 : 1, slot);
        keep_evict(&t.set, 2, slot);
    }
    keep_filter_paths(&t.c.paths, &t.set);
    attention_fill_unseen(&t.c, KV_NONE, NAN);
    gpu_case_upload(&t.gpu);
    attention_truth truth = truth_of(&t.c);
    tree_plan *plan = plan_of(&t, strategy, TREE_KEEP_NEEDED);
    gpu_case_plan(&t.gpu, plan);
    run_steps(&t, &truth, true, 0, 0);
    uint64_t heads = t.c.shape.num_heads, elements = heads * t.c.shape.head_dim;
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
        for (uint64_t i = 2 * elements; t.out[s] && i < 3 * elements; i++)
            check(t.out[s][i] == 0, "%s: no token is left, and out is %g", tree_gpu_steps[s].name, (double)t.out[s][i]);
        for (uint64_t i = 2 * heads; t.out[s] && i < 3 * heads; i++)
            check(t.lse[s][i] == -INFINITY, "%s: no token is left, and lse is %g", tree_gpu_steps[s].name,
                  (double)t.lse[s][i]);
    }
    attention_truth_destroy(&truth);
    tree_plan_destroy(plan);
    forget(&t);
}

static void run_nothing_left(const void *argument)
{
    static const uint32_t strategies[3] = {ALL_STRATEGIES, 1 << TREE_FLASH | 1 << TREE_NODE, MASKS};
    tree_storage storage = *(const tree_storage *)argument;
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++)
        if (strategies[storage] >> strategy & 1)
            check_nothing_left(storage, strategy);
}

/* ---- new masks ---- */

static void update_masks(keep_test *t, tree_plan *plan)
{
    int cuda_error = -1;
    check(tree_plan_set_keep(plan, t->c.tree, t->set.keeps), "evictions fit the plan");
    gpu_ok(tree_plan_gpu_update_masks(t->gpu.plan, plan, NULL, &cuda_error), &cuda_error, "new masks");
}

typedef struct update_case {
    const char *tree;
    tree_strategy strategy;
    tree_storage storage;
    attention_size size;
    bool one_warp; /* the rows of each item are those of one warp: the order of tokens does not depend on masks */
} update_case;

static const update_case updates[] = {
    {"1,3/21,9", TREE_NODE, TREE_FP32, {2, 2, 64}, true},
    {"1,3/41,20", TREE_COST, TREE_FP16, {1, 2, 64}, true},
    {"1,3/21,9", TREE_FLATTEN, TREE_BF16, {2, 2, 64}, true},
    {"1,19/4,3", TREE_TREE_MASK, TREE_FP16, {1, 1, 64}, false}, /* an odd number of mask words */
    {"1,18/5,3", TREE_COST, TREE_BF16, {1, 1, 64}, false},
};

/* Runs the plan as if it had just been created, and leaves that on the device; returns the one that was there. */
static tree_plan_gpu *create_anew(keep_test *t, const tree_plan *plan)
{
    tree_plan_gpu *before = t->gpu.plan;
    t->gpu.plan = NULL;
    gpu_case_plan(&t->gpu, plan);
    return before;
}

/* Evicts twice, one update for each half of the staging memory; then returns to the first keep words, and with them to
 * the first bits. */
static void run_update(const void *argument)
{
    const update_case *one = argument;
    keep_test t;
    begin(&t, one->storage, one->tree, one->size);
    keep_evict_random(&t.set, 20, false);
    keep_set first = keep_set_copy(&t.set);
    tree_plan *plan = plan_of(&t, one->strategy, TREE_KEEP_ALL);
    gpu_case_plan(&t.gpu, plan);
    test_note("%u mask words", plan->num_mask_words);
    check(one->strategy != TREE_TREE_MASK || plan->num_mask_words % 2, "the queue's masks are aligned behind them");
    for (int round = 0; round < 2; round++) {
        keep_evict_random(&t.set, 30, false);
        update_masks(&t, plan);
    }
    keep_filter_paths(&t.c.paths, &t.set);
    attention_truth truth = truth_of(&t.c);
    run_steps(&t, &truth, true, 0, 0);
    tree_plan_gpu *updated = create_anew(&t, plan);
    if (one->one_warp)
        run_steps(&t, NULL, false, 0, t.c.shape.num_queries);
    tree_plan_gpu_destroy(t.gpu.plan);
    t.gpu.plan = updated;

    keep_set_free(&t.set);
    t.set = first;
    update_masks(&t, plan);
    run_steps(&t, NULL, true, 0, 0);
    updated = create_anew(&t, plan);
    run_steps(&t, NULL, false, 0, t.c.shape.num_queries);
    tree_plan_gpu_destroy(updated);
    attention_truth_destroy(&truth);
    tree_plan_destroy(plan);
    forget(&t);
}

/* A plan that differs in its counts is refused, and the one on the device still runs. */
static void run_refused(const void *argument)
{
    (void)argument;
    keep_test t;
    int cuda_error = -1;
    begin(&t, TREE_FP32, "1,3/21,9", (attention_size){1, 2, 64});
    tree_plan *plan = plan_of(&t, TREE_NODE, TREE_KEEP_ALL), *others[4];
    gpu_case_plan(&t.gpu, plan);
    run_steps(&t, NULL, true, 0, 0);
    others[0] = plan_of(&t, TREE_NODE, TREE_KEEP_NEEDED);
    others[1] = plan_of(&t, TREE_NODE_CHUNK, TREE_KEEP_ALL);
    others[2] = plan_of(&t, TREE_COST, TREE_KEEP_ALL);
    others[3] = plan_of(&t, TREE_FLASH, TREE_KEEP_PRIVATE);
    for (int i = 0; i < 4; i++) {
        check(tree_plan_gpu_update_masks(t.gpu.plan, others[i], NULL, &cuda_error) == TREE_INVAL && cuda_error == 0,
              "plan %d has other counts", i);
        tree_plan_destroy(others[i]);
    }
    run_steps(&t, NULL, false, 0, t.c.shape.num_queries);
    tree_plan_destroy(plan);
    forget(&t);
}

int main(int argc, char **argv)
{
    static const tree_storage storages[] = {TREE_FP32, TREE_FP16, TREE_BF16};
    test_begin(argc, argv, "emulated, every step gives each query the attention over the tokens that it keeps");
    for (size_t i = 0; i < sizeof poisons / sizeof poisons[0]; i++)
        test_add(run_poison, &poisons[i], "evicted_%g_changes_nothing_%s", (double)poisons[i].filling,
                 storage_name[poisons[i].storage]);
    for (int s = 0; s < 3; s++)
        test_add(run_nothing_left, &storages[s], "where_nothing_is_left_%s", storage_name[storages[s]]);
    for (size_t i = 0; i < sizeof updates / sizeof updates[0]; i++)
        test_add(run_update, &updates[i], "new_masks_alone_%s_%s", tree_strategy_name[updates[i].strategy],
                 storage_name[updates[i].storage]);
    test_add(run_refused, NULL, "other_plans_are_refused");
    return test_end();
}
