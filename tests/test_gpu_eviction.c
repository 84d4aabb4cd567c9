/* Claim: on the GPU, every step of eviction scores each token that a query sees, whatever the plan: within 1e-4 of the
 * reference; its victim is the smallest of these importances; out and lse have the bits of attention alone; the same
 * bits again, no token scored that is not seen, nothing written besides. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eviction_support.h"
#include "keep_model.h"
#include "test.h"

static const struct eviction_tree {
    const char *tree;
    uint32_t block_tokens;
    attention_size size;
    tree_storage storage;
    uint32_t strategies;
} trees[] = {
    {"one_token", 16, {1, 1, 64}, TREE_FP16, 1 << TREE_FLASH},
    {"partial_last_block", 16, {2, 4, 128}, TREE_BF16, 1 << TREE_FLASH | 1 << TREE_NODE_CHUNK},
    {"star:3", 4, {1, 5, 64}, TREE_BF16, 1 << TREE_NODE | 1 << TREE_TREE_MASK},
    {"chain:4", 1, {2, 8, 64}, TREE_FP16, 1 << TREE_FLATTEN | 1 << TREE_RADIX},
    {"binary:3", 16, {1, 7, 128}, TREE_FP16, 1 << TREE_COST},
    {"empty_branch", 16, {1, 9, 64}, TREE_FP16, 1 << TREE_COST | 1 << TREE_TREE_MASK},
    {"forked_inside_block", 4, {1, 2, 64}, TREE_BF16, 1 << TREE_TREE_MASK},
    {"forest", 16, {1, 1, 256}, TREE_BF16, 1 << TREE_NODE},
    {"full_block", 4, {1, 130, 64}, TREE_FP16, 1 << TREE_FLASH},
    {"full_block", 4, {40, 1, 64}, TREE_BF16, 1 << TREE_FLASH},
    {"1,40/170,3", 16, {1, 3, 64}, TREE_BF16, 1 << TREE_COST}, /* several tiles, several tasks that share them */
    {"1,2/140,9", 4, {2, 2, 64}, TREE_FP16, 1 << TREE_FLASH_DECODING}, /* a small queue */
    {"1/1100", 16, {2, 2, 64}, TREE_BF16, 1 << TREE_FLASH},  /* summed when the task ends: one state each, */
    {"1,3/40,0", 16, {2, 4, 64}, TREE_FP16, 1 << TREE_NODE}, /* three queries of one task, */
    {"1,3/40,0", 16, {1, 5, 128}, TREE_BF16, 1 << TREE_FLASH | 1 << TREE_NODE}, /* and an odd group */
    {"9/150", 16, {2, 4, 128}, TREE_FP16, 1 << TREE_FLASH},   /* scores on the chip: each worker has several tasks, */
    {"2,9/9,150", 4, {1, 3, 256}, TREE_BF16, 1 << TREE_FLASH}, /* of different lengths, */
    {"5/4000", 16, {1, 8, 128}, TREE_BF16, 1 << TREE_FLASH},  /* too many tokens for it */
};

enum { NUM_TREES = sizeof trees / sizeof trees[0] };
static const double TOLERANCE = 1e-4;

static void run_tree(const void *argument)
{
    const struct eviction_tree *tree = argument;
    attention_case c;
    eviction_case e = {0};
    need_gpu();
    attention_case_build_small(&c, storage_backend(tree->storage), tree->tree, tree->block_tokens, tree->size, 60000);
    attention_fill_unseen(&c, KV_NONE, NAN);
    for (uint32_t strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        if (!(tree->strategies >> strategy & 1))
            continue;
        tree_plan *plan = attention_plan(&c, (tree_strategy)strategy, 0, 0);
        eviction_case_create(&e, &c, plan);
        eviction_case_check_steps(&e, TOLERANCE);
        eviction_case_destroy(&e);
        tree_plan_destroy(plan);
    }
    attention_case_free(&c);
}


/* ---- one small tree for what follows: two branches of the same tokens, and what they have alone ---- */

typedef struct small {
    attention_case c;
    tree_plan *plan;
    eviction_case e;
} small;

static void small_create(small *s, const char *tree, attention_size size, tree_storage storage, tree_strategy strategy)
{
    need_gpu();
    attention_case_build(&s->c, storage_backend(storage), tree, 4, size);
    s->plan = attention_plan(&s->c, strategy, 0, 0);
    eviction_case_create(&s->e, &s->c, s->plan);
}

static void small_destroy(small *s)
{
    eviction_case_destroy(&s->e);
    tree_plan_destroy(s->plan);
    attention_case_free(&s->c);
}

static uint64_t pool_slot(const attention_case *c, uint32_t query, uint64_t table_slot)
{
    return (uint64_t)c->grown.tables[query].blocks[table_slot / c->shape.block_tokens] * c->shape.block_tokens
           + table_slot % c->shape.block_tokens;
}

static void fill(float *array, uint64_t count, float x)
{
    for (uint64_t i = 0; i < count; i++)
        array[i] = x;
}

/* All keys are 0 and all values 1, so that all importances of a query are equal: the oldest candidate goes. Then one
 * token has smaller values. */
static void run_ties(const void *argument)
{
    const tree_storage *storage = argument;
    small s;
    small_create(&s, "1,2/70,9", (attention_size){2, 4, 64}, *storage, TREE_FLATTEN);
    fill(s.c.key, s.c.num_kv, 0);
    fill(s.c.value, s.c.num_kv, 1);
    s.e.candidates[1] = (eviction_range){20, 60};
    eviction_case_upload(&s.e);
    for (uint32_t n = 0; n < tree_eviction_num_steps; n++) {
        if (!runs_eviction_step(&tree_eviction_steps[n], *storage))
            continue;
        eviction_case_run(&s.e, &tree_eviction_steps[n]);
        eviction_case_check(&s.e, tree_eviction_steps[n].name, TOLERANCE);
        check(eviction_key_position(s.e.h_victims[0]) == 3, "the oldest of all: position %u",
              eviction_key_position(s.e.h_victims[0]));
        check(eviction_key_position(s.e.h_victims[1]) == 20, "the oldest candidate: position %u",
              eviction_key_position(s.e.h_victims[1]));
    }
    fill(attention_value(&s.c, pool_slot(&s.c, 0, 41), 1), 64, 0.5f);
    const uint32_t smallest = eviction_case_position(&s.e, 0, 41);
    s.e.candidates[1].end = smallest; /* the first that is none */
    eviction_case_upload(&s.e);
    for (uint32_t n = 0; n < tree_eviction_num_steps; n++) {
        if (!runs_eviction_step(&tree_eviction_steps[n], *storage))
            continue;
        eviction_case_run(&s.e, &tree_eviction_steps[n]);
        check(eviction_key_position(s.e.h_victims[0]) == smallest, "the token with the smaller values: position %u",
              eviction_key_position(s.e.h_victims[0]));
        check(eviction_key_position(s.e.h_victims[1]) == 20, "which is no candidate here: position %u",
              eviction_key_position(s.e.h_victims[1]));
    }
    small_destroy(&s);
}

/* Products query x key + 0 .. 63 / 16, exact in every type, so that only the softmax and the sums round. The heads' queries
 * differ a little, so that their largest scores round differently. */
typedef struct large_score {
    float query, key, scale;
    tree_storage storage;
    double tolerance;
    tree_strategy strategy;
} large_score;

static void run_large(const void *argument)
{
    const large_score *large = argument;
    small s;
    small_create(&s, "1,2/150,9", (attention_size){2, 4, 128}, large->storage, large->strategy);
    fill(s.c.query, s.c.num_out, 0);
    fill(s.c.key, s.c.num_kv, 0);
    s.c.scale = large->scale;
    for (uint64_t row = 0; row < s.c.num_out; row += 128) {
        s.c.query[row] = large->query - copysignf((float)(row / 128 % 8), large->query) * (fabsf(large->query) > 1);
        s.c.query[row + 1] = 1;
    }
    for (uint64_t slot = 0; slot < s.e.num_pool_slots; slot++) {
        for (uint32_t g = 0; g < 2; g++) {
            attention_key(&s.c, slot, g)[0] = large->key;
            attention_key(&s.c, slot, g)[1] = (float)test_below(64) / 16;
        }
    }
    eviction_case_upload(&s.e);
    for (uint32_t n = 0; n < tree_eviction_num_steps; n++) {
        if (!runs_eviction_step(&tree_eviction_steps[n], large->storage))
            continue;
        /* the first rungs round scores and lse to float, here by up to 2^-11 */
        const char *name = tree_eviction_steps[n].name;
        const bool is_fused = strstr(name, "_fused") || strstr(name, "_warpgroup") || strstr(name, "_on_chip");
        eviction_case_run(&s.e, &tree_eviction_steps[n]);
        eviction_case_check(&s.e, name, is_fused ? large->tolerance : fmax(large->tolerance, 1e-3));
    }
    small_destroy(&s);
}

/* Every score is NaN, so that no maximum is found; then every one is -infinity, which counts as no token. */
static void run_no_score(const void *argument)
{
    const tree_storage *storage = argument;
    small s;
    small_create(&s, "1,2/20,9", (attention_size){2, 4, 64}, *storage, TREE_RADIX);
    fill(s.c.query, s.c.num_out, 1);
    for (int infinite = 0; infinite < 2; infinite++) {
        fill(s.c.key, s.c.num_kv, infinite ? -INFINITY : NAN);
        eviction_case_upload(&s.e);
        for (uint32_t n = 0; n < tree_eviction_num_steps; n++) {
            if (!runs_eviction_step(&tree_eviction_steps[n], *storage))
                continue;
            eviction_case_run(&s.e, &tree_eviction_steps[n]);
            eviction_case_check(&s.e, tree_eviction_steps[n].name, TOLERANCE);
            check((s.e.h_victims[0] == EVICTION_NOT_FINITE) == !infinite, "%s", tree_eviction_steps[n].name);
        }
    }
    small_destroy(&s);
}

/* What one query does not see makes no difference to it: NaN in K, V and norms. */
static void run_unseen(const void *argument)
{
    const tree_storage *storage = argument;
    for (uint32_t strategy = TREE_TREE_MASK; strategy < TREE_NUM_STRATEGIES; strategy += 2) {
        small s;
        float *importance[16] = {NULL};
        uint64_t victims[16];
        check(tree_eviction_num_steps <= 16, "room for all steps");
        small_create(&s, "1,2,4/9,12,5", (attention_size){1, 3, 64}, *storage, (tree_strategy)strategy);
        const uint32_t query = strategy % s.c.shape.num_queries;
        for (int poisoned = 0; poisoned < 2; poisoned++) {
            for (uint32_t n = 0; n < tree_eviction_num_steps; n++) {
                if (!runs_eviction_step(&tree_eviction_steps[n], *storage))
                    continue;
                eviction_case_run(&s.e, &tree_eviction_steps[n]);
                const float *row = s.e.h_importance + query * s.e.num_slots;
                if (!poisoned) {
                    importance[n] = malloc(s.e.num_slots * sizeof *row);
                    check(importance[n], "memory");
                    memcpy(importance[n], row, s.e.num_slots * sizeof *row);
                    victims[n] = s.e.h_victims[query];
                    continue;
                }
                check_same_bits(row, importance[n], s.e.num_slots, tree_eviction_steps[n].name);
                check(victims[n] == s.e.h_victims[query], "%s: the same victim", tree_eviction_steps[n].name);
                free(importance[n]);
            }
            attention_fill_unseen(&s.c, query, NAN);
            eviction_case_upload(&s.e);
        }
        small_destroy(&s);
    }
}

/* Each query has other candidates, among them none. */
static void run_candidates(const void *argument)
{
    const tree_storage *storage = argument;
    small s;
    small_create(&s, "star:6", (attention_size){2, 2, 128}, *storage, TREE_COST);
    const eviction_range ranges[] = {{0, 0}, {0, 10}, {7, 8}, {20, 5}, {4, UINT32_MAX}, {500000, UINT32_MAX}};
    check(s.c.shape.num_queries == 6, "a query for each range");
    memcpy(s.e.candidates, ranges, sizeof ranges);
    eviction_case_upload(&s.e);
    eviction_case_check_steps(&s.e, TOLERANCE);
    check(s.e.h_victims[0] == EVICTION_NONE && s.e.h_victims[3] == EVICTION_NONE && s.e.h_victims[5] == EVICTION_NONE,
          "no candidates, no victim");
    check(eviction_key_position(s.e.h_victims[2]) == 7, "the only candidate");
    small_destroy(&s);
}

/* Evicted tokens are hidden by masks; the lists do not change when the masks do. */
static void run_evicted(const void *argument)
{
    const tree_storage *storage = argument;
    attention_case c;
    eviction_case e;
    int cuda_error = -1;
    need_gpu();
    for (uint32_t strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy += 3) {
        attention_case_build(&c, storage_backend(*storage), "1,3/37,20", 16, (attention_size){1, 4, 64});
        keep_set set = keep_set_create(c.tree);
        keep_evict_random(&set, 30, false);
        tree_plan *plan = keep_plan(&set, (tree_plan_config){.strategy = (tree_strategy)strategy}, TREE_KEEP_ALL);
        eviction_case_create(&e, &c, plan);
        e.has_evicted = true;
        eviction_case_check_steps(&e, TOLERANCE);
        keep_evict_random(&set, 60, false);
        check(tree_plan_set_keep(plan, c.tree, set.keeps), "new masks");
        gpu_ok(tree_plan_gpu_update_masks(e.gpu.plan, plan, NULL, &cuda_error), &cuda_error, "new masks");
        eviction_case_upload(&e);
        eviction_case_check_steps(&e, TOLERANCE);
        eviction_case_destroy(&e);
        tree_plan_destroy(plan);
        keep_set_free(&set);
        attention_case_free(&c);
    }
}

/* The same bits again: emulated, in other orders of threads; after updates of plan and lists. */
static void run_again(const void *argument)
{
    const tree_storage *storage = argument;
    small s;
    small_create(&s, "1,3/150,9", (attention_size){1, 4, 64}, *storage, TREE_NODE_CHUNK);
    tree_plan *other = attention_plan(&s.c, TREE_FLATTEN, 4, 0);
    float *importance = malloc(s.e.importance.bytes), *out = malloc(s.e.gpu.out.bytes);
    uint64_t *victims = malloc(s.e.victims.bytes);
    check(importance && out && victims, "memory");
    for (uint32_t n = 0; n < tree_eviction_num_steps; n++) {
        if (!runs_eviction_step(&tree_eviction_steps[n], *storage))
            continue;
        eviction_case_run(&s.e, &tree_eviction_steps[n]);
        memcpy(importance, s.e.h_importance, s.e.importance.bytes);
        memcpy(out, s.e.gpu.h_out, s.e.gpu.out.bytes);
        memcpy(victims, s.e.h_victims, s.e.victims.bytes);
        for (uint64_t again = 1; again < 4; again++) {
#ifdef TREEATTN_EMULATE
            emulate_seed(test_seed() + again);
#endif
            if (again == 2) { /* another plan in between, with more states than a warp has lanes */
                eviction_case_plan(&s.e, other);
                eviction_case_upload(&s.e);
                eviction_case_run(&s.e, &tree_eviction_steps[n]);
                eviction_case_check(&s.e, tree_eviction_steps[n].name, TOLERANCE);
                eviction_case_plan(&s.e, s.plan);
            }
            eviction_case_run(&s.e, &tree_eviction_steps[n]);
            check(memcmp(importance, s.e.h_importance, s.e.importance.bytes) == 0, "importance has the same bits");
            check(memcmp(out, s.e.gpu.h_out, s.e.gpu.out.bytes) == 0, "out has the same bits");
            check(memcmp(victims, s.e.h_victims, s.e.victims.bytes) == 0, "the same victims");
        }
    }
    free(importance);
    free(out);
    free(victims);
    tree_plan_destroy(other);
    small_destroy(&s);
}

/* The arguments of a call, so that one at a time can be wrong. */
typedef struct call {
    float *importance;
    uint64_t num_slots, *victims;
    const float *norm;
    const uint32_t *positions;
    const eviction_range *candidates;
    const tree_eviction_gpu *lists;
    tree_shape shape;
} call;

static tree_status run_call(small *s, const call *a)
{
    int cuda_error = -1;
    gpu_case *gpu = &s->e.gpu;
    return tree_eviction_gpu_run((float *)gpu->out.data, NULL, a->importance, a->num_slots, a->victims,
                                 (const float *)gpu->query.data, gpu->key.data, gpu->value.data, a->norm, a->positions,
                                 a->candidates, gpu->plan, a->lists, &a->shape, s->c.scale, s->e.workspace.data,
                                 s->e.workspace_bytes, NULL, NULL, &cuda_error);
}

static void expect_refused(small *s, const call *a, tree_status expected, const char *what)
{
    tree_status status = run_call(s, a);
    check(status == expected, "%s: %s", what, tree_status_string(status));
    cuda_ok(cudaDeviceSynchronize(), what);
    check(!d_read(&s->e.gpu.out, NULL, what) && !d_read(&s->e.importance, NULL, what)
              && !d_read(&s->e.victims, NULL, what),
          "%s: nothing is written", what);
}

#define EXPECT_REFUSED(s, good, status, field, wrong) \
    do { \
        call a = *(good); \
        a.field = (wrong); \
        expect_refused(s, &a, status, #field " = " #wrong); \
    } while (0)

static void run_refused(const void *argument)
{
    (void)argument;
    small s;
    tree_eviction_gpu *lists = NULL;
    int cuda_error = -1;
    small_create(&s, "1,2/30,9", (attention_size){2, 2, 64}, TREE_FP16, TREE_FLASH);
    const call good = {(float *)s.e.importance.data, s.e.num_slots, (uint64_t *)s.e.victims.data,
                       (const float *)s.e.d_norm.data, (const uint32_t *)s.e.d_positions.data,
                       (const eviction_range *)s.e.d_candidates.data, s.e.lists, s.c.shape};
    d_clear(&s.e.victims);
    EXPECT_REFUSED(&s, &good, TREE_INVAL, num_slots, 39);
    EXPECT_REFUSED(&s, &good, TREE_INVAL, norm, NULL);
    EXPECT_REFUSED(&s, &good, TREE_INVAL, positions, NULL);
    EXPECT_REFUSED(&s, &good, TREE_INVAL, victims, (uint64_t *)(s.e.victims.data + 4));
    EXPECT_REFUSED(&s, &good, TREE_INVAL, candidates, (const eviction_range *)(s.e.d_candidates.data + 4));
    EXPECT_REFUSED(&s, &good, TREE_INVAL, importance, (float *)(s.e.importance.data + 1));
    EXPECT_REFUSED(&s, &good, TREE_BAD_SHAPE, shape.head_dim, 128);

    tree_plan *other = attention_plan(&s.c, TREE_NODE, 0, 0);
    gpu_ok(tree_eviction_gpu_create(&lists, other, &s.c.shape, NULL, &cuda_error), &cuda_error, "other lists");
    EXPECT_REFUSED(&s, &good, TREE_BAD_SHAPE, lists, lists);
    tree_eviction_gpu_destroy(lists);
    tree_eviction_gpu_destroy(NULL);

    tree_shape shape = s.c.shape;
    lists = NULL;
    shape.head_dim = 96;
    check(tree_eviction_gpu_create(&lists, other, &shape, NULL, &cuda_error) == TREE_UNSUPPORTED && !lists, "head_dim");
    shape = s.c.shape;
    shape.num_heads = shape.num_kv_heads = 1025;
    check(tree_eviction_gpu_create(&lists, other, &shape, NULL, &cuda_error) == TREE_UNSUPPORTED && !lists, "heads");
    check(tree_eviction_gpu_workspace_bytes(other, &shape, NULL) == 0, "no workspace for 1025 heads");
    shape.num_kv_heads = 2;
    check(tree_eviction_gpu_create(&lists, other, &shape, NULL, &cuda_error) == TREE_BAD_SHAPE && !lists, "groups");
    shape = s.c.shape;
    shape.storage = TREE_FP32;
    check(tree_eviction_gpu_workspace_bytes(other, &shape, NULL) == 0, "no step takes fp32");
    for (uint32_t n = 0; n < tree_eviction_num_steps; n++)
        check(!tree_eviction_step_takes(&tree_eviction_steps[n], TREE_FP32), "no step takes fp32");
    check(run_call(&s, &good) == TREE_OK, "nothing wrong");
    cuda_ok(cudaDeviceSynchronize(), "nothing wrong");
    tree_plan_destroy(other);
    small_destroy(&s);
}

#ifndef TREEATTN_EMULATE
static const struct eviction_tree large_trees[] = {
    {"1/3200", 16, {8, 4, 128}, TREE_FP16, 1 << TREE_COST},
    {"16/3200", 16, {8, 4, 128}, TREE_BF16, 1 << TREE_COST},
    {"1,16/2000,300", 16, {8, 4, 64}, TREE_FP16, 1 << TREE_COST | 1 << TREE_FLATTEN},
    {"1,64/1500,64", 16, {2, 8, 128}, TREE_BF16, 1 << TREE_COST | 1 << TREE_NODE},
    {"3/1500", 16, {4, 5, 256}, TREE_FP16, 1 << TREE_COST},
    {"90/700", 16, {8, 4, 128}, TREE_BF16, 1 << TREE_COST | 1 << TREE_FLASH},
    {"40/3200", 16, {8, 4, 256}, TREE_FP16, 1 << TREE_FLASH},
};

/* As the smaller ones; then from a graph, again and again. */
static void run_large_tree(const void *argument)
{
    const struct eviction_tree *tree = argument;
    attention_case c;
    eviction_case e;
    need_gpu();
    attention_case_build(&c, storage_backend(tree->storage), tree->tree, tree->block_tokens, tree->size);
    for (uint32_t strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        if (!(tree->strategies >> strategy & 1))
            continue;
        tree_plan *plan = attention_plan(&c, (tree_strategy)strategy, 0, 0);
        eviction_case_create(&e, &c, plan);
        eviction_case_check_steps(&e, TOLERANCE);
        eviction_case_destroy(&e);
        tree_plan_destroy(plan);
    }
    attention_case_free(&c);
}

static void run_graph(const void *argument)
{
    const tree_storage *storage = argument;
    small s;
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    int cuda_error = -1;
    small_create(&s, "1,8/300,40", (attention_size){2, 4, 128}, *storage, TREE_COST);
    gpu_case *gpu = &s.e.gpu;
    for (uint32_t n = 0; n < tree_eviction_num_steps; n++) {
        if (!runs_eviction_step(&tree_eviction_steps[n], *storage))
            continue;
        eviction_case_run(&s.e, &tree_eviction_steps[n]);
        float *importance = malloc(s.e.importance.bytes);
        uint64_t *victims = malloc(s.e.victims.bytes);
        check(importance && victims, "memory");
        memcpy(importance, s.e.h_importance, s.e.importance.bytes);
        memcpy(victims, s.e.h_victims, s.e.victims.bytes);
        cuda_ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
        cuda_ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "capture");
        gpu_ok(tree_eviction_gpu_run((float *)gpu->out.data, NULL, (float *)s.e.importance.data, s.e.num_slots,
                                     (uint64_t *)s.e.victims.data, (const float *)gpu->query.data, gpu->key.data,
                                     gpu->value.data, (const float *)s.e.d_norm.data,
                                     (const uint32_t *)s.e.d_positions.data,
                                     (const eviction_range *)s.e.d_candidates.data, gpu->plan, s.e.lists, &s.c.shape,
                                     s.c.scale, s.e.workspace.data, s.e.workspace_bytes, stream,
                                     &tree_eviction_steps[n], &cuda_error),
               &cuda_error, tree_eviction_steps[n].name);
        cuda_ok(cudaStreamEndCapture(stream, &graph), "capture");
        cuda_ok(cudaGraphInstantiate(&exec, graph, 0), "a graph");
        for (int i = 0; i < 10; i++) {
            d_clear(&s.e.importance);
            d_clear(&s.e.victims);
            cuda_ok(cudaDeviceSynchronize(), "cleared");
            for (int j = 0; j < 20; j++)
                cuda_ok(cudaGraphLaunch(exec, stream), "a replay");
            gpu_ok(tree_eviction_gpu_update(s.e.lists, s.plan, stream, &cuda_error), &cuda_error, "the lists again");
            cuda_ok(cudaGraphLaunch(exec, stream), "a replay");
            cuda_ok(cudaStreamSynchronize(stream), "the replays");
            d_read(&s.e.importance, s.e.h_importance, "importance");
            d_read(&s.e.victims, s.e.h_victims, "victims");
            check(memcmp(importance, s.e.h_importance, s.e.importance.bytes) == 0, "importance from a graph");
            check(memcmp(victims, s.e.h_victims, s.e.victims.bytes) == 0, "victims from a graph");
        }
        cuda_ok(cudaGraphExecDestroy(exec), "the graph's end");
        cuda_ok(cudaGraphDestroy(graph), "the graph's end");
        cuda_ok(cudaStreamDestroy(stream), "the stream's end");
        free(importance);
        free(victims);
    }
    small_destroy(&s);
}
#endif

int main(int argc, char **argv)
{
    static const tree_storage storages[] = {TREE_FP16, TREE_BF16};
    static const large_score large[] = {
        {120, 120, 0.7f, TREE_FP16, 1e-5, TREE_FLASH_DECODING}, {-120, 120, 0.7f, TREE_BF16, 1e-5, TREE_FLASH},
        {1, 89, 1, TREE_BF16, 1e-5, TREE_FLASH},                {-1, 104, 1, TREE_FP16, 1e-5, TREE_FLASH},
        {-1, 104, 1, TREE_BF16, 1e-5, TREE_FLASH_DECODING},     {256, 256, 1, TREE_FP16, 1e-2, TREE_FLASH},
        {-256, 256, 1, TREE_BF16, 1e-2, TREE_FLASH_DECODING},
    };
    test_begin(argc, argv, "on the GPU, every step of eviction scores each token and finds the victims");
    for (uint32_t t = 0; t < NUM_TREES; t++)
        test_add(run_tree, &trees[t], "importance_on_%s_group_%u_head_dim_%u_%s", trees[t].tree,
                 trees[t].size.group_size, trees[t].size.head_dim, storage_name[trees[t].storage]);
    for (uint32_t i = 0; i < sizeof large / sizeof large[0]; i++)
        test_add(run_large, &large[i], "scores_near_%d_%s", (int)(large[i].query * large[i].key * large[i].scale),
                 storage_name[large[i].storage]);
    for (int t = 0; t < 2; t++) {
        const char *name = storage_name[storages[t]];
        test_add(run_ties, &storages[t], "of_equal_importance_the_oldest_goes_%s", name);
        test_add(run_no_score, &storages[t], "no_score_is_a_number_%s", name);
        test_add(run_candidates, &storages[t], "only_candidates_go_%s", name);
        test_add(run_unseen, &storages[t], "unseen_nan_changes_nothing_%s", name);
        test_add(run_evicted, &storages[t], "evicted_tokens_are_not_scored_%s", name);
        test_add(run_again, &storages[t], "again_the_same_bits_%s", name);
#ifndef TREEATTN_EMULATE
        test_add(run_graph, &storages[t], "replayed_from_a_graph_%s", name);
#endif
    }
#ifndef TREEATTN_EMULATE
    for (uint32_t t = 0; t < sizeof large_trees / sizeof large_trees[0]; t++)
        test_add(run_large_tree, &large_trees[t], "importance_on_%s_head_dim_%u_%s", large_trees[t].tree,
                 large_trees[t].size.head_dim, storage_name[large_trees[t].storage]);
#endif
    test_add(run_refused, NULL, "wrong_arguments_are_refused");
    return test_end();
}
