/* Claim: attention by any plan also gives the importance of every token for every query that sees it, -1 for all others,
 * and changes no bit of out and lse by it; hidden tokens and dead slots may hold anything. */
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

/* out and lse are those of attention alone; importance is right; more threads change no bit. Returns the largest error /
 * largest importance. */
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

static void check_strategies(const attention_case *c, double most)
{
    float *norm = importance_norms(c);
    importance_truth truth = importance_truth_create(c, NULL, norm, slots_of(c));
    double worst = 0;
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(c, strategy, 0, 0);
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
    check_strategies(&c, most_ordinary);
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
    check_strategies(&c, most_ordinary);
    attention_case_free(&c);
}

/* Scores of +-10^4: all weight on one token, most of the others underflow. Every token may be hidden behind rounding, so
 * only the derived limit holds. */
static void run_extreme_scores(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, backend, "star:3", 16, (attention_size){2, 2, 16});
    c.scale = 2500;
    check_strategies(&c, INFINITY);
    attention_case_free(&c);
}

/* ---- evicted tokens ---- */

static void run_evicted(const attention_backend *backend, const void *name)
{
    attention_case c;
    attention_case_build_small(&c, backend, name, 16, (attention_size){2, 2, 16}, 100000);
    float *norm = importance_norms(&c);
    keep_set set = keep_set_create(c.tree);
    keep_evict_random(&set, 40, false);
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
    attention_add(run_exact, NULL, "exact_arithmetic");
    for (uint32_t i = 0; i < 2; i++)
        attention_add_one_storage(run_poison, &poisons[i], i, "poison_%s", i ? "inf" : "nan");
    return test_end();
}
