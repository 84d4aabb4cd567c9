/* Claim: the softmax is right for scores of any size and order (huge, equal, rising, falling, the largest one last,
 * -infinity, +infinity) and for values that cancel. The query is (1, 0, 0 ...) and scale is 1, so the first element of
 * a key is its score. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attention_model.h"
#include "test.h"

typedef float score_of_token(uint64_t t, uint64_t length);

static float all_large(uint64_t t, uint64_t length) { return (void)t, (void)length, 1e4f; }
static float all_small(uint64_t t, uint64_t length) { return (void)t, (void)length, -3e4f; }
static float all_zero(uint64_t t, uint64_t length) { return (void)t, (void)length, 0; }
static float signs_alternate(uint64_t t, uint64_t length) { return (void)length, t % 2 ? 1e4f : -1e4f; }
static float rising(uint64_t t, uint64_t length) { return (void)length, (float)t * 0.5f; }
static float falling(uint64_t t, uint64_t length) { return (void)length, (float)t * -0.5f; }
static float rising_steeply(uint64_t t, uint64_t length) { return (void)length, (float)t * 128; }
static float falling_steeply(uint64_t t, uint64_t length) { return (void)length, (float)t * -128; }
static float largest_first(uint64_t t, uint64_t length) { return (void)length, t == 0 ? 50 : 1; }
static float largest_last(uint64_t t, uint64_t length) { return t == length - 1 ? 50 : 1; }
static float tiny(uint64_t t, uint64_t length) { return (void)length, (float)t * 0x1p-24f; }
static float mostly_nothing(uint64_t t, uint64_t length) { return (void)length, t % 3 == 1 ? (float)t : -INFINITY; }
static float nothing_but_last(uint64_t t, uint64_t length) { return t == length - 1 ? -30 : -INFINITY; }
static float nothing_first(uint64_t t, uint64_t length) { return t < length / 2 ? -INFINITY : 2; }
static float nothing_last(uint64_t t, uint64_t length) { return t > length / 2 ? -INFINITY : -2; }

typedef struct pattern {
    const char *name;
    score_of_token *score;
} pattern;

static const pattern patterns[] = {
    {"all_1e4", all_large},
    {"all_minus_3e4", all_small},
    {"all_zero", all_zero},
    {"plus_and_minus_1e4", signs_alternate},
    {"rising", rising},
    {"falling", falling},
    {"rising_steeply", rising_steeply},
    {"falling_steeply", falling_steeply},
    {"largest_first", largest_first},
    {"largest_last", largest_last},
    {"tiny", tiny},
    {"mostly_minus_infinity", mostly_nothing},
    {"minus_infinity_but_the_last", nothing_but_last},
    {"minus_infinity_first", nothing_first},
    {"minus_infinity_last", nothing_last},
};

static void build_chain(attention_case *c, const attention_backend *backend)
{
    attention_case_build(c, backend, "chain:6", 8, (attention_size){1, 2, 12});
    c->scale = 1;
    for (uint64_t i = 0; i < c->num_out; i++)
        c->query[i] = i % 12 == 0;
}

/* One pattern along the longest path; the other paths of a chain have the same tokens in front. */
static void set_scores(const attention_case *c, score_of_token *score)
{
    uint64_t longest = 0;
    for (uint32_t q = 0; q < c->shape.num_queries; q++) {
        uint64_t length = c->paths.first[q + 1] - c->paths.first[q];
        longest = length > longest ? length : longest;
    }
    for (uint32_t q = 0; q < c->shape.num_queries; q++) {
        for (uint64_t i = c->paths.first[q]; i < c->paths.first[q + 1]; i++)
            attention_key(c, c->paths.slots[i], 0)[0] =
                storage_round(score(i - c->paths.first[q], longest), c->shape.storage);
    }
}

static void run_pattern(const attention_backend *backend, const void *argument)
{
    const pattern *one = argument;
    attention_case c;
    build_chain(&c, backend);
    set_scores(&c, one->score);
    attention_fill_unseen(&c, KV_NONE, NAN);
    attention_check_strategies(&c);
    attention_case_free(&c);
}

static float all_nothing(uint64_t t, uint64_t length) { return (void)t, (void)length, -INFINITY; }

static void run_all_minus_infinity(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    build_chain(&c, backend);
    set_scores(&c, all_nothing);
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(&c, strategy, 7, 0);
        attention_result result = attention_run(&c, plan);
        for (uint64_t i = 0; i < c.num_out; i++)
            check(result.out.data[i] == 0, "%s: out %g", tree_strategy_name[strategy], result.out.data[i]);
        for (uint64_t i = 0; i < c.num_lse; i++)
            check(result.lse.data[i] == -INFINITY, "%s: lse %g", tree_strategy_name[strategy], result.lse.data[i]);
        attention_result_free(&result);
        tree_plan_destroy(plan);
    }
    attention_case_free(&c);
}

static void check_spoilt(const attention_case *c, const tree_plan *plan, uint32_t query, const char *what)
{
    attention_result result = attention_run(c, plan);
    const float *out = result.out.data + query * (uint64_t)24, *lse = result.lse.data + query * (uint64_t)2;
    for (uint32_t d = 0; d < 24; d++)
        check(isnan(out[d]), "%s: out %g", what, out[d]);
    check(isnan(lse[0]) && isnan(lse[1]), "%s: lse %g %g", what, lse[0], lse[1]);
    attention_result_free(&result);
}

/* One score of +infinity, or one of NaN, at the first, a middle and the last token: in pieces of 7, and in pieces of 1,
 * where a partial state has seen no other score. */
static void run_plus_infinity(const attention_backend *backend, const void *argument)
{
    float score = *(const float *)argument;
    attention_case c;
    build_chain(&c, backend);
    uint32_t last = c.shape.num_queries - 1;
    uint64_t first = c.paths.first[last], length = c.paths.first[last + 1] - first;
    const uint64_t places[] = {0, length / 2, length - 1};
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        for (uint32_t piece = 1; piece <= 7; piece += 6) {
            tree_plan *plan = attention_plan(&c, strategy, piece, 0);
            for (int i = 0; i < 3; i++) {
                char what[96];
                snprintf(what, sizeof what, "%s: token %u of score %g", tree_strategy_name[strategy],
                         (unsigned)places[i], score);
                float *key = attention_key(&c, c.paths.slots[first + places[i]], 0), before = key[0];
                key[0] = score;
                check_spoilt(&c, plan, last, what);
                key[0] = before;
            }
            tree_plan_destroy(plan);
        }
    }
    attention_case_free(&c);
}

/* A NaN as the only score of a whole piece of tree_attention_cpu (4096 tokens), or of all tokens. */
static void run_nan_alone(const attention_backend *backend, const void *argument)
{
    bool others = *(const bool *)argument;
    attention_case c;
    attention_case_build(&c, backend, "1/9000", 256, (attention_size){1, 2, 12});
    c.scale = 1;
    for (uint64_t i = 0; i < c.num_out; i++)
        c.query[i] = i % 12 == 0;
    for (uint64_t i = 0; i < 9000; i++)
        attention_key(&c, c.paths.slots[i], 0)[0] = others && (i < 4096 || i >= 8192) ? 1 : -INFINITY;
    attention_key(&c, c.paths.slots[5000], 0)[0] = NAN;
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(&c, strategy, 0, 0);
        check_spoilt(&c, plan, 0, tree_strategy_name[strategy]);
        tree_plan_destroy(plan);
    }
    attention_case_free(&c);
}

/* Neighbours +big and -big: |out| is far below the magnitudes that were added. */
static void run_values_cancel(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, backend, "comb:4", 16, (attention_size){2, 2, 16});
    for (uint64_t i = 0; i < c.num_kv; i++)
        c.value[i] = storage_round(i / 16 % 2 ? 30000 : -30000, backend->storage);
    attention_fill_unseen(&c, KV_NONE, INFINITY);
    attention_check_strategies(&c);
    attention_case_free(&c);
}

static void run_large_keys(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, backend, "comb:4", 16, (attention_size){2, 2, 64});
    for (uint64_t i = 0; i < c.num_kv; i++)
        c.key[i] = storage_round(c.key[i] * 64, backend->storage);
    attention_check_strategies(&c);
    attention_case_free(&c);
}

static void run_denormals(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, backend, "comb:4", 16, (attention_size){1, 2, 16});
    float smallest = backend->storage == TREE_FP16 ? 0x1p-24f : 0x1p-126f;
    for (uint64_t i = 0; i < c.num_kv; i++) {
        c.key[i] = storage_round(c.key[i] * smallest * 8, backend->storage);
        c.value[i] = storage_round(c.value[i] * 0x1p-14f, backend->storage);
    }
    attention_check_strategies(&c);
    attention_case_free(&c);
}

/* scale is the caller's: 0, negative, large. */
static void run_scales(const attention_backend *backend, const void *unused)
{
    (void)unused;
    const float scales[] = {0, -1, 1, 3.5f};
    attention_case c;
    attention_case_build(&c, backend, "comb:4", 16, (attention_size){1, 3, 20});
    for (int i = 0; i < 4; i++) {
        c.scale = scales[i];
        attention_check_strategies(&c);
    }
    attention_case_free(&c);
}

typedef struct zero_scale {
    const char *name;
    float key;    /* first element of every second key: the query's is 1 */
    bool visible; /* to all queries; otherwise the other half of the branches sees it */
} zero_scale;

static const zero_scale zero_scales[] = {
    {"1e38_visible", 1e38f, true},           {"minus_1e38_visible", -1e38f, true},
    {"infinity_visible", INFINITY, true},    {"minus_infinity_visible", -INFINITY, true},
    {"not_a_number_visible", NAN, true},     {"infinity_hidden", INFINITY, false},
    {"minus_infinity_hidden", -INFINITY, false}, {"not_a_number_hidden", NAN, false},
};

/* Scale 0: all that a query sees weighs the same, however large q.k; 0 x infinity is NaN; hidden tokens stay hidden. */
static void run_zero_scale(const attention_backend *backend, const void *argument)
{
    const zero_scale *one = argument;
    attention_case c;
    attention_case_build(&c, backend, "1,4/20,9", 8, (attention_size){1, 2, 12});
    c.scale = 0;
    for (uint64_t i = 0; i < c.num_out; i++)
        c.query[i] = i % 12 == 0;
    float key = storage_round(backend->storage == TREE_FP16 && isfinite(one->key) ? copysignf(65504, one->key)
                                                                                  : one->key, backend->storage);
    if (one->visible)
        for (uint64_t i = c.paths.first[0]; i < c.paths.first[1]; i += 2)
            attention_key(&c, c.paths.slots[i], 0)[0] = key;
    else
        attention_fill_unseen(&c, 0, key);
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    bool spoilt = one->visible && !isfinite(one->key);
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(&c, strategy, 7, 0);
        attention_result result = attention_run(&c, plan);
        const float *out = result.out.data, *lse = result.lse.data;
        for (uint64_t i = 0; i < 2; i++) {
            double expected = spoilt ? NAN : log((double)(c.paths.first[1] - c.paths.first[0]));
            check(spoilt ? isnan(lse[i]) : fabs(lse[i] - expected) <= 1e-6, "%s: lse %g, expected %g",
                  tree_strategy_name[strategy], lse[i], expected);
        }
        for (uint64_t i = 0; i < 24; i++) {
            double limit = 0x1p-24 * fabs(truth.out[i]) + (backend->u.weight + 0x1p-20) * truth.magnitude[i];
            check(spoilt ? isnan(out[i]) : fabs(out[i] - truth.out[i]) <= limit, "%s: out %g, expected %g",
                  tree_strategy_name[strategy], out[i], spoilt ? NAN : truth.out[i]);
        }
        attention_result_free(&result);
        tree_plan_destroy(plan);
    }
    attention_truth_destroy(&truth);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    static const bool alone = false, with_others = true;
    static const float plus_infinity = INFINITY, not_a_number = NAN;
    test_begin(argc, argv, "the softmax is right for scores of any size and order");
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
        attention_add(run_pattern, &patterns[i], "scores_%s", patterns[i].name);
    attention_add(run_all_minus_infinity, NULL, "scores_all_minus_infinity");
    attention_add(run_plus_infinity, &plus_infinity, "one_score_plus_infinity");
    attention_add(run_plus_infinity, &not_a_number, "one_score_not_a_number");
    attention_add(run_nan_alone, &alone, "not_a_number_and_nothing_else");
    attention_add(run_nan_alone, &with_others, "not_a_number_and_nothing_else_in_a_piece");
    attention_add(run_values_cancel, NULL, "values_cancel");
    attention_add(run_large_keys, NULL, "large_keys");
    attention_add(run_denormals, NULL, "denormal_keys");
    attention_add(run_scales, NULL, "any_scale");
    for (size_t i = 0; i < sizeof zero_scales / sizeof zero_scales[0]; i++)
        attention_add(run_zero_scale, &zero_scales[i], "scale_0_key_%s", zero_scales[i].name);
    return test_end();
}
