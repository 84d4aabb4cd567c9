/* Claim: attention by any plan also gives the importance of every token for every query that sees it, -1 for all
 * others, and no bit of out and lse changes; hidden tokens and dead slots may hold anything. Errors are refused before
 * anything is written. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "importance_model.h"
#include "test.h"
#include "tree_importance_cpu.h"

typedef struct importance_result {
    guarded out, lse, importance;
} importance_result;

/* The workspace is full of NaN, and the zone after it is checked. */
static tree_status run_cpu(importance_result *result, const attention_case *c, uint64_t num_slots, const float *norm,
                           const tree_plan *plan, uint32_t num_threads)
{
    enum { ZONE_BYTES = 256 };
    size_t bytes = tree_importance_cpu_workspace_bytes(plan, &c->shape, num_threads);
    size_t room = (bytes + ZONE_BYTES + 63) & ~(size_t)63;
    unsigned char *workspace = aligned_alloc(64, room);
    check(workspace, "%zu bytes", room);
    memset(workspace, 0xff, room);
    void *key = attention_stored(c->key, c->num_kv, c->shape.storage);
    void *value = attention_stored(c->value, c->num_kv, c->shape.storage);
    tree_status status = tree_importance_cpu(result->out.data, result->lse.data, result->importance.data, num_slots,
                                             c->query, key, value, norm, plan, &c->shape, c->scale, workspace, bytes,
                                             num_threads, c->backend->isa);
    for (size_t i = bytes; i < room; i++)
        check(workspace[i] == 0xff, "nothing is written %zu bytes behind the workspace", i - bytes);
    free(key);
    free(value);
    free(workspace);
    return status;
}

static importance_result run_importance(const attention_case *c, uint64_t num_slots, const float *norm,
                                        const tree_plan *plan, uint32_t num_threads)
{
    importance_result result = {guarded_create(c->num_out), guarded_create(c->num_lse),
                                guarded_create(c->shape.num_queries * num_slots)};
    tree_status status =
        c->backend->isa == TREE_ISA_AUTO
            ? tree_importance_ref(result.out.data, result.lse.data, result.importance.data, num_slots, c->query,
                                  c->key, c->value, norm, plan, &c->shape, c->scale)
            : run_cpu(&result, c, num_slots, norm, plan, num_threads);
    check(status == TREE_OK, "%s", tree_status_string(status));
    guarded_check(&result.out, "out");
    guarded_check(&result.lse, "lse");
    guarded_check(&result.importance, "importance");
    return result;
}

static void free_result(importance_result *result)
{
    guarded_destroy(&result->out);
    guarded_destroy(&result->lse);
    guarded_destroy(&result->importance);
}

/* Slots of the longest table, and some more. */
static uint64_t slots_of(const attention_case *c)
{
    uint32_t length = 0;
    for (uint32_t i = 0; i < c->num_tables; i++)
        length = c->grown.tables[i].length > length ? c->grown.tables[i].length : length;
    return length + 2u * c->shape.block_tokens;
}

/* out and lse are those of attention alone; importance is right; more threads change no bit. Returns the largest
 * error / largest importance. */
static double check_plan(const attention_case *c, const tree_plan *plan, const float *norm,
                         const importance_truth *truth, const char *what)
{
    attention_result alone = attention_run(c, plan);
    importance_result one = run_importance(c, truth->num_slots, norm, plan, 1);
    check_same_bits(one.out.data, alone.out.data, c->num_out, what);
    check_same_bits(one.lse.data, alone.lse.data, c->num_lse, what);
    double worst = check_importance(one.importance.data, truth, c->backend->u.sum, what);
    for (uint32_t num_threads = 2; c->backend->isa != TREE_ISA_AUTO && num_threads <= 3; num_threads++) {
        importance_result many = run_importance(c, truth->num_slots, norm, plan, num_threads);
        check_same_bits(many.importance.data, one.importance.data, one.importance.count, what);
        check_same_bits(many.out.data, one.out.data, c->num_out, what);
        check_same_bits(many.lse.data, one.lse.data, c->num_lse, what);
        free_result(&many);
    }
    free_result(&one);
    attention_result_free(&alone);
    return worst;
}

static void check_strategies(const attention_case *c, uint32_t piece_tokens, uint32_t max_rows, double most)
{
    float *norm = importance_norms(c);
    importance_truth truth = importance_truth_create(c, NULL, norm, slots_of(c));
    double worst = 0;
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(c, strategy, piece_tokens, max_rows);
        worst = fmax(worst, check_plan(c, plan, norm, &truth, tree_strategy_name[strategy]));
        tree_plan_destroy(plan);
    }
    test_note("largest error %.2g of the largest importance", worst);
    check(worst <= most, "error %.2g of the largest importance, at most %.2g", worst, most);
    importance_truth_destroy(&truth);
    free(norm);
}

/* ---- trees, groups, sizes ---- */

static const double most_ordinary = 1e-5;

static void run_tree(const attention_backend *backend, const void *name)
{
    attention_case c;
    attention_case_build_small(&c, backend, name, 16, (attention_size){2, 2, 16}, 100000);
    attention_fill_unseen(&c, KV_NONE, NAN);
    check_strategies(&c, 0, 0, most_ordinary);
    attention_case_free(&c);
}

typedef struct sized_case {
    const char *name, *spec;
    uint32_t block_tokens;
    attention_size size;
} sized_case;

static const sized_case sizes[] = {
    {"group_of_1", "comb:3", 16, {3, 1, 8}},
    {"group_of_4", "comb:3", 16, {2, 4, 64}},
    {"group_of_8", "comb:3", 16, {1, 8, 32}},
    {"head_dim_1", "comb:3", 16, {1, 3, 1}},
    {"head_dim_128", "star:3", 16, {1, 4, 128}},
    {"head_dim_20_in_blocks_of_1", "comb:3", 1, {2, 2, 20}},
    {"blocks_of_64", "star:5", 64, {2, 1, 16}},
    {"blocks_of_256", "1,2/300,40", 256, {1, 2, 16}},
    {"65_branches", "star:65", 16, {1, 1, 8}},
    {"items_in_pieces", "1,2/4200,9", 16, {1, 2, 8}},
};

static void run_size(const attention_backend *backend, const void *argument)
{
    const sized_case *one = argument;
    attention_case c;
    attention_case_build(&c, backend, one->spec, one->block_tokens, one->size);
    attention_fill_unseen(&c, KV_NONE, NAN);
    check_strategies(&c, 0, 0, most_ordinary);
    attention_case_free(&c);
}

/* Scores of +-10^4: all weight is on one token, most of the others underflow. Only the derived limit holds. */
static void run_extreme_scores(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, backend, "star:3", 16, (attention_size){2, 2, 16});
    c.scale = 2500;
    check_strategies(&c, 0, 0, INFINITY);
    attention_case_free(&c);
}

/* Every score is -infinity: no token has weight, and none is hidden. */
static void run_no_weight(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, backend, "comb:3", 16, (attention_size){2, 2, 1});
    for (uint64_t i = 0; i < c.num_out; i++)
        c.query[i] = 1;
    for (uint64_t i = 0; i < c.num_kv; i++)
        c.key[i] = -INFINITY;
    uint64_t num_slots = slots_of(&c);
    float *norm = importance_norms(&c);
    tree_plan *plan = attention_plan(&c, TREE_FLATTEN, 0, 0);
    importance_result result = run_importance(&c, num_slots, norm, plan, 2);
    for (uint32_t q = 0; q < c.shape.num_queries; q++)
        for (uint64_t s = 0; s < num_slots; s++)
            check(result.importance.data[q * num_slots + s] == (s < c.grown.tables[q].length ? 0 : -1),
                  "query %u slot %u: %g", q, (unsigned)s, result.importance.data[q * num_slots + s]);
    free_result(&result);
    tree_plan_destroy(plan);
    free(norm);
    attention_case_free(&c);
}

static void run_random(const attention_backend *backend, const void *unused)
{
    (void)unused;
    static const uint32_t head_dims[] = {4, 16, 33, 64};
    for (int i = 0; i < 6; i++) {
        attention_case c;
        attention_case_build_random(&c, backend, head_dims, 4, 30000);
        uint32_t piece_tokens = i % 2 ? 1 + test_below(40) : 0, max_rows = i % 2 ? 1 + test_below(3) : 0;
        check_strategies(&c, piece_tokens, max_rows, 1e-4); /* some have scores four times as large */
        attention_case_free(&c);
    }
}

/* Branches that grow into new blocks, and a plan that follows in place. */
static void run_grown(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, backend, "1,4/32,5", 16, (attention_size){2, 2, 16});
    tree_plan *plan = attention_plan(&c, TREE_NODE, 0, 0);
    uint64_t num_slots = tree_importance_slots(plan);
    kv_append append;
    kv_status status = kv_branch_append(c.grown.pool, c.grown.branches[1], 30, &append);
    check(status == KV_OK, "%s", kv_status_string(status));
    status = kv_branch_tables(c.grown.pool, c.grown.branches, c.num_tables, c.grown.tables);
    check(status == KV_OK, "%s", kv_status_string(status));
    check(kv_tree_grow(c.tree, c.grown.tables, c.num_tables) && tree_plan_grow(plan, c.tree), "grown in place");
    check(tree_importance_slots(plan) == num_slots + 32, "two blocks more");
    token_paths_destroy(&c.paths);
    c.paths = token_paths_create(c.grown.tables, NULL, c.num_tables, c.grown.block_tokens);
    float *norm = importance_norms(&c);
    importance_truth truth = importance_truth_create(&c, NULL, norm, num_slots + 32);
    check_plan(&c, plan, norm, &truth, "grown");
    importance_truth_destroy(&truth);
    free(norm);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

/* ---- evicted tokens ---- */

/* A token that no query keeps. */
static void poison_forgotten(attention_case *c, const keep_set *set)
{
    uint64_t num_slots = (uint64_t)c->shape.num_blocks * c->shape.block_tokens;
    bool *kept = calloc(num_slots, sizeof *kept);
    check(kept, "memory");
    for (uint32_t q = 0; q < c->shape.num_queries; q++)
        for (uint64_t i = c->paths.first[q]; i < c->paths.first[q + 1]; i++)
            kept[c->paths.slots[i]] |=
                kv_keep_slot(&set->keeps[q], c->shape.block_tokens, (uint32_t)(i - c->paths.first[q]));
    for (uint64_t slot = 0; slot < num_slots; slot++)
        for (uint32_t kv_head = 0; !kept[slot] && kv_head < c->shape.num_kv_heads; kv_head++)
            for (uint32_t d = 0; d < c->shape.head_dim; d++)
                attention_key(c, slot, kv_head)[d] = attention_value(c, slot, kv_head)[d] = NAN;
    free(kept);
}

static void run_evicted(const attention_backend *backend, const void *name)
{
    attention_case c;
    attention_case_build_small(&c, backend, name, 16, (attention_size){2, 2, 16}, 100000);
    keep_set set = keep_set_create(c.tree);
    keep_evict_random(&set, 40, false);
    poison_forgotten(&c, &set);
    float *norm = importance_norms(&c);
    importance_truth truth = importance_truth_create(&c, &set, norm, slots_of(&c));
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = keep_plan(&set, (tree_plan_config){.strategy = strategy, .group_size = 2, .num_workers = 4},
                                    strategy % 3);
        check_plan(&c, plan, norm, &truth, tree_strategy_name[strategy]);
        tree_plan_destroy(plan);
    }
    importance_truth_destroy(&truth);
    keep_set_free(&set);
    free(norm);
    attention_case_free(&c);
}

/* Query 0 reads poison: its own tokens, and no other query's bit may change. Hidden tokens have poisoned norms too. */
static void run_poison(const attention_backend *backend, const void *argument)
{
    float poison = *(const float *)argument;
    attention_case c;
    attention_case_build(&c, backend, "star:6", 16, (attention_size){2, 2, 16});
    uint64_t num_slots = slots_of(&c);
    float *norm = importance_norms(&c);
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(&c, strategy, 0, 0);
        importance_result clean = run_importance(&c, num_slots, norm, plan, 2);
        float *old_value = malloc(c.num_kv * sizeof *old_value), *old_key = malloc(c.num_kv * sizeof *old_key);
        check(old_value && old_key, "memory");
        memcpy(old_value, c.value, c.num_kv * sizeof *old_value);
        memcpy(old_key, c.key, c.num_kv * sizeof *old_key);
        for (uint64_t i = c.paths.first[0]; i < c.paths.first[1]; i++) {
            uint64_t slot = c.paths.slots[i];
            bool shared = false;
            for (uint64_t j = c.paths.first[1]; j < c.paths.first[c.shape.num_queries]; j++)
                shared |= c.paths.slots[j] == slot;
            for (uint32_t kv_head = 0; !shared && kv_head < c.shape.num_kv_heads; kv_head++)
                attention_key(&c, slot, kv_head)[0] = attention_value(&c, slot, kv_head)[1] = poison;
        }
        float *poisoned = importance_norms(&c);
        importance_result dirty = run_importance(&c, num_slots, poisoned, plan, 2);
        check_same_bits(dirty.importance.data + num_slots, clean.importance.data + num_slots,
                        (c.shape.num_queries - 1) * num_slots, tree_strategy_name[strategy]);
        uint32_t *positions = calloc(num_slots, sizeof *positions);
        check(positions, "memory");
        uint64_t victim = eviction_victim_of_slots(dirty.importance.data, positions, num_slots,
                                                   (eviction_range){0, 1});
        check(victim == EVICTION_NOT_FINITE, "%s: the query that reads poison has no victim",
              tree_strategy_name[strategy]);
        free(positions);
        free(poisoned);
        memcpy(c.value, old_value, c.num_kv * sizeof *old_value);
        memcpy(c.key, old_key, c.num_kv * sizeof *old_key);
        free(old_value);
        free(old_key);
        free_result(&clean);
        free_result(&dirty);
        tree_plan_destroy(plan);
    }
    free(norm);
    attention_case_free(&c);
}

/* ---- exact arithmetic ---- */

/* K = 0, so that every weight is 1 / n; values are powers of two, so that equal norms give equal importances, and the
 * victim is known without rounding: the smallest norm, and of those the oldest. */
static void run_exact(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, backend, "comb:5", 16, (attention_size){2, 4, 16});
    memset(c.key, 0, c.num_kv * sizeof *c.key);
    for (uint64_t slot = 0; slot < (uint64_t)c.shape.num_blocks * c.shape.block_tokens; slot++) {
        float power = ldexpf(1, (int)test_below(6) - 3);
        for (uint32_t kv_head = 0; kv_head < c.shape.num_kv_heads; kv_head++)
            for (uint32_t d = 0; d < c.shape.head_dim; d++)
                attention_value(&c, slot, kv_head)[d] = d % 2 ? power : -power;
    }
    uint64_t num_slots = slots_of(&c);
    float *norm = importance_norms(&c);
    uint32_t *positions = calloc(num_slots, sizeof *positions);
    check(positions, "memory");
    for (uint32_t s = 0; s < num_slots; s++)
        positions[s] = s ^ 5; /* the oldest is not the first */
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(&c, strategy, 0, 0);
        importance_result result = run_importance(&c, num_slots, norm, plan, 1);
        for (uint32_t q = 0; q < c.shape.num_queries; q++) {
            uint32_t expected = UINT32_MAX;
            float least = INFINITY;
            for (uint64_t i = c.paths.first[q]; i < c.paths.first[q + 1]; i++) {
                float value = fabsf(attention_value(&c, c.paths.slots[i], 0)[0]);
                uint32_t position = positions[i - c.paths.first[q]];
                if (value < least || (value == least && position < expected)) {
                    least = value;
                    expected = position;
                }
            }
            uint64_t victim = eviction_victim_of_slots(result.importance.data + q * num_slots, positions, num_slots,
                                                       (eviction_range){0, UINT32_MAX});
            check(victim != EVICTION_NONE && eviction_key_position(victim) == expected,
                  "%s query %u: victim %u, expected %u", tree_strategy_name[strategy], q,
                  eviction_key_position(victim), expected);
        }
        free_result(&result);
        tree_plan_destroy(plan);
    }
    free(positions);
    free(norm);
    attention_case_free(&c);
}

/* ---- victims ---- */

static void run_victims(const void *unused)
{
    (void)unused;
    static const uint32_t positions[] = {7, 2, 9, 4, 0};
    static const struct {
        float importance[5];
        eviction_range candidates;
        uint64_t victim; /* its position, EVICTION_NONE or EVICTION_NOT_FINITE */
    } cases[] = {
        {{3, 5, 1, 2, 4}, {0, 10}, 9},                           /* the least important */
        {{3, 5, 1, 2, 4}, {0, 9}, 4},                            /* of the candidates */
        {{3, 5, 1, 2, 4}, {5, 8}, 7},
        {{3, 3, 3, 3, 4}, {0, 10}, 2},                           /* ties: the oldest */
        {{3, 0.0f, 3, -0.0f, 4}, {0, 10}, 2},                    /* -0 is 0 */
        {{3, -1, -1, 5, 4}, {0, 10}, 7},                         /* no token in a slot of -1 */
        {{-1, -1, -1, -1, -1}, {0, 10}, EVICTION_NONE},
        {{3, 5, 1, 2, 4}, {5, 7}, EVICTION_NONE},
        {{3, NAN, 1, 2, 4}, {0, 10}, EVICTION_NOT_FINITE},
        {{3, 5, 1, 2, INFINITY}, {3, 8}, EVICTION_NOT_FINITE},   /* of a token that is no candidate */
        {{3, 5, 1, -0.5f, 4}, {0, 10}, EVICTION_NOT_FINITE},     /* no importance is negative */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t key = eviction_victim_of_slots(cases[i].importance, positions, 5, cases[i].candidates);
        bool is_position = cases[i].victim != EVICTION_NONE && cases[i].victim != EVICTION_NOT_FINITE;
        check(is_position ? key != EVICTION_NONE && eviction_key_position(key) == cases[i].victim && key >> 32
                          : key == cases[i].victim,
              "case %u: key %llx", (unsigned)i, (unsigned long long)key);
    }
}

/* ---- errors ---- */

/* Nothing is written. */
static void expect_refusal(const attention_case *c, uint64_t num_slots, const tree_plan *plan, const tree_shape *shape,
                           void *workspace, size_t bytes, tree_isa isa, tree_status expected, const char *what)
{
    importance_result result = {guarded_create(c->num_out), guarded_create(c->num_lse),
                                guarded_create(c->shape.num_queries * (num_slots + 1))};
    float *norm = importance_norms(c);
    tree_status status = c->backend->isa == TREE_ISA_AUTO
                             ? tree_importance_ref(result.out.data, result.lse.data, result.importance.data, num_slots,
                                                   c->query, c->key, c->value, norm, plan, shape, c->scale)
                             : tree_importance_cpu(result.out.data, result.lse.data, result.importance.data, num_slots,
                                                   c->query, c->key, c->value, norm, plan, shape, c->scale, workspace,
                                                   bytes, 1, isa);
    check(status == expected, "%s: %s", what, tree_status_string(status));
    check(guarded_untouched(&result.out) && guarded_untouched(&result.lse) && guarded_untouched(&result.importance),
          "%s: nothing is written", what);
    free(norm);
    free_result(&result);
}

static void run_errors(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, backend, "comb:3", 16, (attention_size){2, 2, 8});
    tree_plan *plan = attention_plan(&c, TREE_FLATTEN, 0, 0);
    uint64_t num_slots = tree_importance_slots(plan);
    check(num_slots + 32 >= slots_of(&c) && num_slots <= slots_of(&c) - 16, "whole blocks of the longest table");
    size_t bytes = tree_importance_cpu_workspace_bytes(plan, &c.shape, 1);
    check(bytes > tree_attention_cpu_workspace_bytes(plan, &c.shape, 1), "room for the scores");
    char *workspace = aligned_alloc(64, ((bytes + 63) & ~(size_t)63) + 64);
    check(workspace, "memory");
    tree_shape shape = c.shape;
    tree_isa isa = backend->isa;
    expect_refusal(&c, num_slots - 1, plan, &shape, workspace, bytes, isa, TREE_INVAL, "num_slots too small");
    shape.num_heads = 3;
    check(tree_importance_cpu_workspace_bytes(plan, &shape, 1) == 0, "no workspace for a bad shape");
    expect_refusal(&c, num_slots, plan, &shape, workspace, bytes, isa, TREE_BAD_SHAPE, "heads do not divide");
    shape = c.shape;
    shape.num_blocks = plan->max_block;
    expect_refusal(&c, num_slots, plan, &shape, workspace, bytes, isa, TREE_BAD_PLAN, "a block outside the pool");
    shape = c.shape;
    if (isa == TREE_ISA_AUTO) {
        shape.storage = TREE_BF16;
        expect_refusal(&c, num_slots, plan, &shape, NULL, 0, isa, TREE_UNSUPPORTED, "the reference is fp32");
    } else {
        expect_refusal(&c, num_slots, plan, &shape, NULL, bytes, isa, TREE_WORKSPACE, "no workspace");
        expect_refusal(&c, num_slots, plan, &shape, workspace, bytes - 1, isa, TREE_WORKSPACE, "too small");
        expect_refusal(&c, num_slots, plan, &shape, workspace + 4, bytes, isa, TREE_WORKSPACE, "misaligned");
        expect_refusal(&c, num_slots, plan, &shape, workspace, bytes, TREE_NUM_ISAS, TREE_UNSUPPORTED, "no such isa");
    }
    free(workspace);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

/* A path over draft tokens is no table. */
static void run_drafts(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build_drafts(&c, backend, "star:3", 16, (attention_size){1, 1, 4}, 3);
    tree_plan *plan = attention_plan(&c, TREE_NODE, 0, 0);
    expect_refusal(&c, 10000, plan, &c.shape, NULL, 0, backend->isa, TREE_INVAL, "drafts");
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

/* lse is not wanted, and the smallest num_slots. */
static void run_no_lse(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, backend, "comb:3", 16, (attention_size){2, 2, 8});
    tree_plan *plan = attention_plan(&c, TREE_NODE, 0, 0);
    uint64_t num_slots = tree_importance_slots(plan);
    float *norm = importance_norms(&c);
    importance_result with = run_importance(&c, num_slots, norm, plan, 1);
    importance_result without = run_importance(&c, num_slots, norm, plan, 1);
    float *lse = without.lse.data;
    memset(without.importance.data, 0, without.importance.count * sizeof(float));
    without.lse.data = NULL;
    tree_status status = backend->isa == TREE_ISA_AUTO
                             ? tree_importance_ref(without.out.data, NULL, without.importance.data, num_slots, c.query,
                                                   c.key, c.value, norm, plan, &c.shape, c.scale)
                             : run_cpu(&without, &c, num_slots, norm, plan, 1);
    check(status == TREE_OK, "%s", tree_status_string(status));
    check_same_bits(without.importance.data, with.importance.data, with.importance.count, "without lse");
    check_same_bits(without.out.data, with.out.data, with.out.count, "without lse");
    without.lse.data = lse;
    free_result(&with);
    free_result(&without);
    free(norm);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    static const float poisons[] = {NAN, INFINITY};
    static const char *const evicted[] = {"comb:5", "star:20", "ragged", "giant_leaf", "forked_inside_block"};
    test_begin(argc, argv, "attention by any plan also gives the importance of every token for every query");
    for (uint32_t i = 0; i < num_tree_case_names; i++)
        attention_add_one_storage(run_tree, tree_case_names[i], i, "tree_%s", tree_case_names[i]);
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        attention_add_one_storage(run_size, &sizes[i], i, "%s", sizes[i].name);
    for (uint32_t i = 0; i < sizeof evicted / sizeof evicted[0]; i++)
        attention_add_one_storage(run_evicted, evicted[i], i, "evicted_%u", i);
    attention_add(run_extreme_scores, NULL, "scores_of_10000");
    attention_add_one_storage(run_grown, NULL, 0, "plan_that_grew");
    attention_add(run_no_weight, NULL, "scores_of_minus_infinity");
    attention_add(run_exact, NULL, "exact_arithmetic");
    for (uint32_t i = 0; i < 2; i++)
        attention_add_one_storage(run_poison, &poisons[i], i, "poison_%s", i ? "inf" : "nan");
    attention_add(run_random, NULL, "random");
    test_add(run_victims, NULL, "victims_of_slots");
    attention_add_one_storage(run_errors, NULL, 0, "errors");
    attention_add_one_storage(run_drafts, NULL, 0, "drafts_are_refused");
    attention_add_one_storage(run_no_lse, NULL, 0, "without_lse");
    return test_end();
}
