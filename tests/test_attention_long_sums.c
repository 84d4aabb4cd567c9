/* Claim: sums do not drift. The error for values of one sign stays below the same bound for any number of tokens and of
 * merged partial states. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_model.h"
#include "test.h"

/* tree_attention_cpu adds 128 products, then 32 tiles, in float; the rest in double. n terms of any kind cost a sum at
 * most n roundoffs; equal ones, which all are rounded the same way until the sum doubles, 3/8 n. A few come on top. */
enum { MOST_TERMS = 128 + 32 + 16, MOST_EQUAL_TERMS = 3 * (128 + 32) / 8 + 4, HEAD_DIM = 8 };

typedef struct long_case {
    const char *spec; /* a prefix and two short leaves: masks, pieces and merges take part */
    uint32_t piece_tokens;
} long_case;

#define MANY (TEST_SANITIZED ? "1,2/4000,40" : "1,2/40000,40")
static long_case long_cases[] = {{"1,2/1000,40", 1}, {NULL, 0}, {NULL, 16}}; /* NULL: MANY */

/* Numbers whose multiples are rounded up, down and in turns; a column of V each. */
static void fill_values(attention_case *c)
{
    static const float column[HEAD_DIM] = {0.1f, 1 / 3.0f, 0.7f, 0.0299f, 1.3f, 0.55f, 0.011f, 0.9f};
    for (uint64_t i = 0; i < c->num_kv; i++)
        c->value[i] = storage_round(column[i % HEAD_DIM], c->shape.storage);
}

static void build(attention_case *c, const attention_backend *backend, const long_case *one)
{
    attention_case_build(c, backend, one->spec, 256, (attention_size){1, 1, HEAD_DIM});
    fill_values(c);
    attention_fill_unseen(c, KV_NONE, NAN);
    c->scale = 1;
}

/* Query 0: every weight is 1, out is the mean of equal values, lse the logarithm of their number. */
static void run_equal_weights(const attention_backend *backend, const void *argument)
{
    const long_case *one = argument;
    attention_case c;
    build(&c, backend, one);
    for (uint64_t i = 0; i < c.num_out; i++)
        c.query[i] = 0;
    double worst = 0;
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(&c, strategy, one->piece_tokens, 0);
        attention_result result = attention_run(&c, plan);
        for (uint64_t i = 0; i < c.num_out; i++) {
            double truth = c.value[c.paths.slots[0] * HEAD_DIM + i % HEAD_DIM];
            double error = fabs(result.out.data[i] / truth - 1) * 0x1p24;
            check(error <= MOST_EQUAL_TERMS, "%s: out %.9g of values %.9g, error %.3g roundoffs",
                  tree_strategy_name[strategy], result.out.data[i], truth, error);
            worst = error > worst ? error : worst;
        }
        for (uint64_t i = 0; i < c.num_lse; i++) {
            uint64_t q = i / c.shape.num_heads;
            double truth = log((double)(c.paths.first[q + 1] - c.paths.first[q]));
            check(fabs(result.lse.data[i] - truth) <= 0x1p-24 * (MOST_EQUAL_TERMS + truth),
                  "%s: lse %.9g, expected %.9g", tree_strategy_name[strategy], result.lse.data[i], truth);
        }
        attention_result_free(&result);
        tree_plan_destroy(plan);
    }
    test_note("worst error %.3g of %d roundoffs", worst, MOST_EQUAL_TERMS);
    attention_case_free(&c);
}

/* Scores that rise slowly with small steps up and down: every tile has another maximum, so that all that was summed is
 * rescaled again and again; and weights with as many digits as a float has. */
static void run_rising_scores(const attention_backend *backend, const void *argument)
{
    const long_case *one = argument;
    attention_case c;
    build(&c, backend, one);
    for (uint64_t i = 0; i < c.num_out; i++)
        c.query[i] = i % HEAD_DIM == 0;
    for (uint64_t i = 0; i < c.paths.first[1]; i++) {
        double rise = (double)i / (double)c.paths.first[1];
        attention_key(&c, c.paths.slots[i], 0)[0] = storage_round((float)(rise + 0.001 * (i % 7)), c.shape.storage);
    }
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    const roundoffs *u = &backend->u;
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(&c, strategy, one->piece_tokens, 0);
        attention_result result = attention_run(&c, plan);
        for (uint64_t i = 0; i < c.num_out; i++) {
            double limit = out_limit(&truth, i, u) + MOST_TERMS * u->sum * truth.magnitude[i];
            double error = fabs(result.out.data[i] - truth.out[i]);
            check(error <= limit, "%s: out %.9g, expected %.9g, error / limit %.3g", tree_strategy_name[strategy],
                  result.out.data[i], truth.out[i], error / limit);
        }
        for (uint64_t i = 0; i < c.num_lse; i++) {
            double limit = lse_limit(&truth, i, u) + MOST_TERMS * u->sum;
            check(fabs(result.lse.data[i] - truth.lse[i]) <= limit, "%s: lse %.9g, expected %.9g",
                  tree_strategy_name[strategy], result.lse.data[i], truth.lse[i]);
        }
        attention_result_free(&result);
        tree_plan_destroy(plan);
    }
    attention_truth_destroy(&truth);
    attention_case_free(&c);
}

/* The first token scores 123/128, all others 0: l is a long sum of equal terms whose last bits are lost, almost all in
 * one direction: 75 roundoffs in one float sum over the 312 tiles, 468 in one over 2,500 pieces of 16. */
static void run_one_high_score(const attention_backend *backend, const void *argument)
{
    enum { LEAST_TERMS = 3 * (32 + 32) / 8 + 4 }; /* a tile's sum has 32 terms a lane at most */
    const float high = 123 / 128.0f;
    attention_case c;
    build(&c, backend, argument);
    for (uint64_t i = 0; i < c.num_out; i++)
        c.query[i] = i % HEAD_DIM == 0;
    for (uint64_t i = 0; i < c.num_kv; i++)
        c.key[i] = 0;
    attention_key(&c, c.paths.slots[0], 0)[0] = high;
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(&c, strategy, ((const long_case *)argument)->piece_tokens, 0);
        attention_result result = attention_run(&c, plan);
        for (uint64_t q = 0; q < c.num_lse; q++) {
            double num_others = (double)(c.paths.first[q + 1] - c.paths.first[q] - 1);
            double truth = high + log1p(num_others * exp(-high)), error = fabs(result.lse.data[q] - truth) * 0x1p24;
            check(error <= LEAST_TERMS + truth, "%s: lse %.9g, expected %.9g, error %.3g roundoffs",
                  tree_strategy_name[strategy], result.lse.data[q], truth, error);
        }
        attention_result_free(&result);
        tree_plan_destroy(plan);
    }
    attention_case_free(&c);
}

/* Long items of several KV heads side by side: each thread has sums of its own. */
static void run_threads(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, backend, "1,2/5000,4200", 256, (attention_size){2, 2, HEAD_DIM});
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    attention_backend three = *backend;
    three.num_threads = 3;
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(&c, strategy, 0, 0);
        attention_result alone = attention_run(&c, plan);
        c.backend = &three;
        attention_result together = attention_run(&c, plan);
        c.backend = backend;
        check_attention(alone.out.data, alone.lse.data, &truth, &backend->u, tree_strategy_name[strategy]);
        check_same_bits(together.out.data, alone.out.data, c.num_out, "out of three threads");
        check_same_bits(together.lse.data, alone.lse.data, c.num_lse, "lse of three threads");
        attention_result_free(&alone);
        attention_result_free(&together);
        tree_plan_destroy(plan);
    }
    attention_truth_destroy(&truth);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "sums do not drift, however many terms they have");
    for (size_t i = 0; i < sizeof long_cases / sizeof long_cases[0]; i++) {
        long_case *one = &long_cases[i];
        one->spec = one->spec ? one->spec : MANY;
        uint32_t tokens = (uint32_t)strtoul(strchr(one->spec, '/') + 1, NULL, 10);
        attention_add_one_storage(run_equal_weights, one, 0, "%u_equal_weights_in_pieces_of_%u", tokens,
                                  one->piece_tokens); /* fp32: values of 24 bits lose the most */
        attention_add_one_storage(run_one_high_score, one, (uint32_t)i + 1, "%u_one_high_score_in_pieces_of_%u", tokens,
                                  one->piece_tokens);
        attention_add_one_storage(run_rising_scores, one, (uint32_t)i + 2, "%u_rising_scores_in_pieces_of_%u", tokens,
                                  one->piece_tokens);
    }
    attention_add(run_threads, NULL, "same_bits_with_three_threads");
    return test_end();
}
