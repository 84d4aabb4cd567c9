/* Claim: the two attentions that materialise agree with the truth on every tree, leave exactly the arrays that their
 * header states, byte for byte, and read no token that a query does not see. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_model.h"
#include "standard_attention.h"
#include "test.h"

typedef tree_status attention_function(float *out, float *lse, const float *query, const float *key,
                                       const float *value, const kv_tree *tree, const tree_shape *shape, float scale,
                                       standard_arrays *arrays);

static const struct {
    const char *name;
    attention_function *run;
} functions[] = {{"standard", standard_attention_ref}, {"dense_mask", dense_mask_attention_ref}};

/* Scores and weights are stored as floats: one roundoff each beside those of out. */
static const roundoffs float_arrays = {0x1p-24, 0x1p-24, 0x1p-24, 0};

typedef struct standard_case {
    uint32_t function;
    const char *spec;
    uint32_t block_tokens, draft_tokens;
    attention_size size;
} standard_case;

static void build(attention_case *c, const standard_case *one)
{
    if (one->draft_tokens)
        attention_case_build_drafts(c, &attention_ref_backend, one->spec, one->block_tokens, one->size,
                                    one->draft_tokens);
    else
        attention_case_build(c, &attention_ref_backend, one->spec, one->block_tokens, one->size);
}

static attention_result run_function(const attention_case *c, uint32_t function, standard_arrays *arrays)
{
    attention_result result = {guarded_create(c->num_out), guarded_create(c->num_lse)};
    tree_status status = functions[function].run(result.out.data, result.lse.data, c->query, c->key, c->value, c->tree,
                                                 &c->shape, c->scale, arrays);
    check(status == TREE_OK, "%s", tree_status_string(status));
    guarded_check(&result.out, "out");
    guarded_check(&result.lse, "lse");
    return result;
}

static void run_case(const void *argument)
{
    const standard_case *one = argument;
    const float fillings[] = {NAN, INFINITY, 1e30f};
    attention_case c;
    build(&c, one);
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    attention_result clean = run_function(&c, one->function, NULL);
    const char *name = functions[one->function].name;
    double worst = check_attention(clean.out.data, clean.lse.data, &truth, &float_arrays, name);
    test_note("%u queries, worst error/limit %.2g", c.shape.num_queries, worst);
    for (int i = 0; i < 3; i++) {
        attention_fill_unseen(&c, KV_NONE, fillings[i]);
        attention_result poisoned = run_function(&c, one->function, NULL);
        check_same_bits(poisoned.out.data, clean.out.data, c.num_out, "poison in unseen slots");
        check_same_bits(poisoned.lse.data, clean.lse.data, c.num_lse, "poison in unseen slots");
        attention_result_free(&poisoned);
    }
    attention_result_free(&clean);
    attention_truth_destroy(&truth);
    attention_case_free(&c);
}

/* What one query does not see and another does: NaN in it leaves the one query's row as it was, bit by bit. */
static void run_strangers(const void *argument)
{
    uint32_t function = *(const uint32_t *)argument;
    attention_case c;
    attention_case_build(&c, &attention_ref_backend, "comb:5", 16, (attention_size){2, 2, 8});
    attention_result clean = run_function(&c, function, NULL);
    uint64_t elements = c.num_out / c.shape.num_queries;
    float *key = malloc(c.num_kv * sizeof *key), *value = malloc(c.num_kv * sizeof *value);
    check(key && value, "memory");
    memcpy(key, c.key, c.num_kv * sizeof *key);
    memcpy(value, c.value, c.num_kv * sizeof *value);
    for (uint32_t q = 0; q < c.shape.num_queries; q++) {
        attention_fill_unseen(&c, q, NAN);
        attention_result poisoned = run_function(&c, function, NULL);
        check_same_bits(poisoned.out.data + q * elements, clean.out.data + q * elements, elements, "other branches");
        attention_result_free(&poisoned);
        memcpy(c.key, key, c.num_kv * sizeof *key);
        memcpy(c.value, value, c.num_kv * sizeof *value);
    }
    free(key);
    free(value);
    attention_result_free(&clean);
    attention_case_free(&c);
}

static void run_copies(const void *unused)
{
    (void)unused;
    attention_case c;
    standard_arrays arrays;
    attention_case_build(&c, &attention_ref_backend, "comb:5", 16, (attention_size){2, 3, 8});
    attention_result result = run_function(&c, 0, &arrays);
    uint64_t num_tokens = c.tree->path_tokens;
    uint64_t bytes = 8 * num_tokens * 2 * 8 + 8 * num_tokens * 6 * 8 + 2 * 4 * num_tokens * 6;
    check(arrays.num_tokens == num_tokens && arrays.bytes == bytes, "%u bytes for %u", (unsigned)arrays.bytes,
          (unsigned)bytes);
    check(!arrays.mask && !arrays.masked, "no mask");
    for (uint32_t q = 0; q <= c.shape.num_queries; q++)
        check(arrays.first_token[q] == c.paths.first[q], "copies of query %u begin at %u", q,
              (unsigned)arrays.first_token[q]);
    for (uint64_t t = 0; t < num_tokens; t++) {
        for (uint32_t h = 0; h < 6; h++) {
            uint64_t row = (t * 6 + h) * 8, kv_row = (t * 2 + h / 3) * 8;
            const float *key = attention_key(&c, c.paths.slots[t], h / 3);
            const float *value = attention_value(&c, c.paths.slots[t], h / 3);
            check_same_bits(arrays.key + kv_row, key, 8, "gathered key");
            check_same_bits(arrays.value + kv_row, value, 8, "gathered value");
            check_same_bits(arrays.head_key + row, key, 8, "key of a head");
            check_same_bits(arrays.head_value + row, value, 8, "value of a head");
        }
    }
    for (uint32_t row = 0; row < 6 * c.shape.num_queries; row++) {
        uint32_t head = row / c.shape.num_queries, q = row % c.shape.num_queries;
        double sum = 0;
        for (uint64_t t = c.paths.first[q]; t < c.paths.first[q + 1]; t++)
            sum += arrays.weights[head * num_tokens + t];
        check(fabs(sum - 1) <= 1e-5, "weights of query %u head %u add up to %g", q, head, sum);
    }
    standard_arrays_free(&arrays);
    check(!arrays.key && !arrays.bytes, "freed arrays are NULL");
    attention_result_free(&result);
    attention_case_free(&c);
}

static void run_mask(const void *unused)
{
    (void)unused;
    attention_case c;
    standard_arrays arrays;
    attention_case_build(&c, &attention_ref_backend, "comb:5", 16, (attention_size){2, 3, 8});
    attention_result result = run_function(&c, 1, &arrays);
    uint64_t num_tokens = c.tree->unique_tokens, num_queries = c.shape.num_queries, pairs = num_tokens * num_queries;
    uint64_t bytes = 8 * num_tokens * 2 * 8 + 8 * num_tokens * 6 * 8 + 3 * 4 * pairs * 6 + 4 * pairs;
    check(arrays.num_tokens == num_tokens && arrays.bytes == bytes, "%u bytes for %u", (unsigned)arrays.bytes,
          (unsigned)bytes);
    for (uint64_t q = 0; q < num_queries; q++) {
        uint64_t visible = 0, length = c.paths.first[q + 1] - c.paths.first[q];
        for (uint64_t t = 0; t < num_tokens; t++) {
            float mask = arrays.mask[q * num_tokens + t];
            check(mask == 0 || mask == -INFINITY, "a mask of %g", mask);
            visible += mask == 0;
            for (uint64_t h = 0; h < 6; h++) {
                uint64_t i = (h * num_queries + q) * num_tokens + t;
                check(arrays.masked[i] == (mask == 0 ? arrays.scores[i] : -INFINITY), "masked score");
                check(mask == 0 || arrays.weights[i] == 0, "weight %g of a token that is not seen", arrays.weights[i]);
                check(isfinite(arrays.scores[i]), "every pair of the tree is scored, seen or not");
            }
        }
        check(visible == length, "query %u sees %u tokens of %u", (unsigned)q, (unsigned)visible, (unsigned)length);
    }
    standard_arrays_free(&arrays);
    attention_result_free(&result);
    attention_case_free(&c);
}

static void run_errors(const void *argument)
{
    uint32_t function = *(const uint32_t *)argument;
    attention_case c;
    attention_case_build(&c, &attention_ref_backend, "comb:4", 16, (attention_size){2, 3, 8});
    uint32_t largest = 0;
    for (uint64_t i = 0; i < c.paths.first[c.shape.num_queries]; i++)
        largest = c.paths.slots[i] / 16 > largest ? (uint32_t)(c.paths.slots[i] / 16) : largest;
    tree_shape shapes[5];
    const tree_status wanted[5] = {TREE_BAD_SHAPE, TREE_BAD_SHAPE, TREE_BAD_SHAPE, TREE_UNSUPPORTED, TREE_BAD_PLAN};
    for (int i = 0; i < 5; i++)
        shapes[i] = c.shape;
    shapes[0].num_kv_heads = 4;
    shapes[1].num_queries++;
    shapes[2].block_tokens = 32;
    shapes[3].storage = TREE_BF16;
    shapes[4].num_blocks = largest;
    for (int i = 0; i < 5; i++) {
        guarded out = guarded_create(c.num_out), lse = guarded_create(c.num_lse);
        standard_arrays arrays, untouched;
        memset(&arrays, 0x5a, sizeof arrays);
        memset(&untouched, 0x5a, sizeof untouched);
        tree_status status = functions[function].run(out.data, lse.data, c.query, c.key, c.value, c.tree, &shapes[i],
                                                     c.scale, &arrays);
        check(status == wanted[i], "shape %d: %s", i, tree_status_string(status));
        check(guarded_untouched(&out) && guarded_untouched(&lse), "shape %d: nothing is written", i);
        check(!memcmp(&arrays, &untouched, sizeof arrays), "shape %d: no arrays are handed out", i);
        guarded_destroy(&out);
        guarded_destroy(&lse);
    }
    attention_case_free(&c);
}

static void run_minus_infinity(const void *argument)
{
    uint32_t function = *(const uint32_t *)argument;
    attention_case c;
    attention_case_build(&c, &attention_ref_backend, "comb:4", 16, (attention_size){1, 2, 8});
    for (uint64_t i = 0; i < c.num_out; i++)
        c.query[i] = i % 8 == 0;
    for (int all = 0; all < 2; all++) {
        for (uint64_t i = 0; i < c.num_kv; i += 8)
            c.key[i] = all || i / 8 % 3 == 0 ? -INFINITY : c.key[i];
        attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
        attention_result result = run_function(&c, function, NULL);
        check_attention(result.out.data, result.lse.data, &truth, &float_arrays, "scores of -infinity");
        check(!all || (result.out.data[0] == 0 && result.lse.data[0] == -INFINITY), "no token counts");
        attention_result_free(&result);
        attention_truth_destroy(&truth);
    }
    attention_case_free(&c);
}

/* A score of +infinity or NaN spoils the queries that see it, and no other; with scale 0 too: 0 x infinity is NaN. */
static void run_spoilt_score(const void *argument)
{
    uint32_t function = *(const uint32_t *)argument;
    const float keys[] = {INFINITY, NAN};
    attention_case c;
    attention_case_build(&c, &attention_ref_backend, "1,3/20,9", 16, (attention_size){1, 2, 8});
    for (uint64_t i = 0; i < c.num_out; i++)
        c.query[i] = i % 8 == 0;
    uint64_t last_of_0 = c.paths.slots[c.paths.first[1] - 1];
    for (int i = 0; i < 4; i++) {
        c.scale = i < 2;
        float *key = attention_key(&c, last_of_0, 0), before = key[0];
        attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
        key[0] = keys[i % 2];
        attention_result result = run_function(&c, function, NULL);
        for (int d = 0; d < 16; d++) {
            check(isnan(result.out.data[d]), "scale %g, key %g: out %g", c.scale, keys[i % 2], result.out.data[d]);
            result.out.data[d] = (float)truth.out[d];
        }
        for (int head = 0; head < 2; head++) {
            check(isnan(result.lse.data[head]), "scale %g: lse %g", c.scale, result.lse.data[head]);
            result.lse.data[head] = (float)truth.lse[head];
        }
        check_attention(result.out.data, result.lse.data, &truth, &float_arrays, "queries that do not see it");
        attention_result_free(&result);
        attention_truth_destroy(&truth);
        key[0] = before;
    }
    attention_case_free(&c);
}

/* 40,000 tokens of score 1 = 1e8 + 1 - 1e8, the first of 1 + 123/128, and of -1000 times that: dot products, their
 * exponentials and the values are summed in double, and the largest score may be far below 0. */
static void run_sums(const void *argument)
{
    uint32_t function = *(const uint32_t *)argument;
    const float scales[] = {1, -1000}, high = 123 / 128.0f;
    attention_case c;
    attention_case_build(&c, &attention_ref_backend, "1/40000", 256, (attention_size){1, 1, 4});
    for (uint64_t i = 0; i < c.num_kv; i++) {
        const float key[] = {1e8f, 1, -1e8f, 0};
        c.key[i] = key[i % 4];
        c.value[i] = 0.1f;
    }
    attention_key(&c, c.paths.slots[0], 0)[3] = high;
    for (int d = 0; d < 4; d++)
        c.query[d] = 1;
    for (int i = 0; i < 2; i++) {
        c.scale = scales[i];
        attention_result result = run_function(&c, function, NULL);
        double truth = scales[i] + log(39999 + exp(scales[i] * (double)high));
        check(fabs(result.lse.data[0] - truth) <= 0x1p-23 * fabs(truth), "lse %.9g, expected %.9g", result.lse.data[0],
              truth);
        for (int d = 0; d < 4; d++)
            check(fabs(result.out.data[d] - 0.1) <= 0x1p-24, "out %.9g, expected 0.1", result.out.data[d]);
        attention_result_free(&result);
    }
    attention_case_free(&c);
}

/* All that is seen is a score of NaN. */
static void run_nan_alone(const void *argument)
{
    attention_case c;
    attention_case_build(&c, &attention_ref_backend, "1/1", 16, (attention_size){1, 1, 4});
    attention_key(&c, c.paths.slots[0], 0)[0] = NAN;
    attention_result result = run_function(&c, *(const uint32_t *)argument, NULL);
    for (int d = 0; d < 4; d++)
        check(isnan(result.out.data[d]), "out %g", result.out.data[d]);
    check(isnan(result.lse.data[0]), "lse %g", result.lse.data[0]);
    attention_result_free(&result);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    static const standard_case trees[] = {
        {0, "one_token", 16, 0, {2, 2, 64}},      {0, "full_block", 16, 0, {1, 3, 80}},
        {0, "star:6", 16, 0, {2, 4, 64}},         {0, "chain:6", 1, 0, {1, 5, 32}},
        {0, "comb:5", 16, 0, {1, 7, 128}},        {0, "binary:4", 4, 0, {1, 8, 16}},
        {0, "empty_branch", 16, 0, {2, 1, 16}},   {0, "forked_inside_block", 8, 0, {1, 2, 8}},
        {0, "forest", 16, 0, {1, 71, 8}},         {0, "random:3", 16, 0, {1, 2, 8}},
        {0, "star:5", 8, 9, {2, 2, 16}},          {0, "partial_last_block", 16, 12, {1, 2, 256}},
        {0, "1,4/37,40", 16, 20, {1, 3, 1}},
    };
    enum { NUM_TREES = sizeof trees / sizeof trees[0] };
    static standard_case cases[2 * NUM_TREES];
    static const uint32_t indices[] = {0, 1};
    test_begin(argc, argv, "the attentions that materialise agree with the truth and leave the arrays that they state");
    for (uint32_t f = 0; f < 2; f++) {
        for (uint32_t i = 0; i < NUM_TREES; i++) {
            standard_case *one = &cases[f * NUM_TREES + i];
            char spec[64];
            *one = trees[i];
            one->function = f;
            strcpy(spec, one->spec);
            for (char *p = spec; *p; p++)
                *p = strchr(":,/", *p) ? '_' : *p;
            test_add(run_case, one, "%s_agrees_on_%s%s", functions[f].name, spec, one->draft_tokens ? "_drafts" : "");
        }
        test_add(run_strangers, &indices[f], "%s_tokens_of_strangers", functions[f].name);
        test_add(run_errors, &indices[f], "%s_errors", functions[f].name);
        test_add(run_minus_infinity, &indices[f], "%s_scores_minus_infinity", functions[f].name);
        test_add(run_spoilt_score, &indices[f], "%s_score_infinite_or_nan", functions[f].name);
        test_add(run_nan_alone, &indices[f], "%s_only_score_nan", functions[f].name);
        test_add(run_sums, &indices[f], "%s_sums_in_double", functions[f].name);
    }
    test_add(run_copies, NULL, "standard_arrays_are_the_copies");
    test_add(run_mask, NULL, "dense_mask_arrays_are_the_tree");
    return test_end();
}
