/* Claim: the mean errors of the oracle count each row of their group once and no other row, and skip rows without a
 * finite lse; each roundoff widens the limits that it belongs to; the verdict is made of all four comparisons. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "test.h"

enum { QUERIES = 3, HEADS = 4, KV_HEADS = 2, DIM = 2, ROWS = QUERIES * HEADS };

/* A truth whose rows all look alike: lse 0, and values of 1 with half the weight each. */
typedef struct made_up {
    double out[ROWS * DIM], magnitude[ROWS * DIM], square[ROWS * DIM], lse[ROWS], score[ROWS], typical[ROWS],
        common[ROWS];
    bool repeats[ROWS];
    attention_truth truth;
} made_up;

static void make_up(made_up *m)
{
    memset(m, 0, sizeof *m);
    m->truth = (attention_truth){QUERIES,   HEADS,  KV_HEADS, DIM,        m->out,    m->magnitude,
                                 m->square, m->lse, m->score, m->typical, m->common, m->repeats};
    for (int i = 0; i < ROWS * DIM; i++) {
        m->out[i] = 1;
        m->magnitude[i] = 1;
        m->square[i] = 0.5;
    }
    for (int row = 0; row < ROWS; row++) {
        m->typical[row] = m->score[row] = 1;
        m->common[row] = 0.5;
    }
}

static const roundoffs coarse = {0, 0x1p-8, 0x1p-22, 0x1p-8};

/* Row r is off by 2^r: the sum of a group says which rows it counted. */
static void run_rows_of_a_group(const void *argument)
{
    made_up m;
    float lse[ROWS];
    (void)argument;
    make_up(&m);
    for (int row = 0; row < ROWS; row++) lse[row] = (float)(1 << row);
    for (uint32_t first_query = 0; first_query < QUERIES; first_query++) {
        for (uint32_t first_head = 0; first_head < HEADS; first_head++) {
            const row_group group = {first_query, QUERIES - first_query, first_head, HEADS - first_head};
            double sum = 0;
            for (uint32_t q = first_query; q < QUERIES; q++) {
                for (uint32_t head = first_head; head < HEADS; head++) sum += 1 << (q * HEADS + head);
            }
            const mean_error mean = mean_error_of_lse(lse, &m.truth, &group, &coarse);
            const double want = sum / (group.num_queries * group.num_heads);
            check(fabs(mean.error - want) <= 1e-12 * want, "mean of queries from %u, heads from %u: %g for %g",
                  first_query, first_head, mean.error, want);
        }
    }
}

static void run_rows_of_out(const void *argument)
{
    made_up m;
    float out[ROWS * DIM];
    (void)argument;
    make_up(&m);
    for (int i = 0; i < ROWS * DIM; i++)
        out[i] = 1 + (float)(i / DIM + 1) * 0x1p-10f * (i / DIM % 2 ? -1 : 1); /* signs cancel within a mean */
    const row_group all = {0, QUERIES, 0, HEADS}, last = {QUERIES - 1, 1, HEADS - 1, 1};
    const mean_error mean = mean_error_of_out(out, &m.truth, &all, &coarse);
    const mean_error one = mean_error_of_out(out, &m.truth, &last, &coarse);
    check(fabs(mean.error - 0x1p-10 * ROWS / 2 / ROWS) <= 1e-12, "all rows: %g", mean.error);
    check(fabs(one.error - 0x1p-10 * ROWS) <= 1e-12, "the last row: %g", one.error);
}

static void run_rows_without_lse(const void *argument)
{
    made_up m;
    float lse[ROWS] = {0}, out[ROWS * DIM];
    const row_group all = {0, QUERIES, 0, HEADS};
    (void)argument;
    make_up(&m);
    for (int i = 0; i < ROWS * DIM; i++) out[i] = 1;
    m.lse[1] = lse[1] = -INFINITY;
    out[2] = out[3] = 100;
    lse[5] = 0.5f;
    const mean_error of_lse = mean_error_of_lse(lse, &m.truth, &all, &coarse);
    const mean_error of_out = mean_error_of_out(out, &m.truth, &all, &coarse);
    check(fabs(of_lse.error - 0.5 / (ROWS - 1)) <= 1e-12, "lse: %g", of_lse.error);
    check(of_out.error == 0, "out of a row without lse: %g", of_out.error);
    for (int row = 0; row < ROWS; row++) m.lse[row] = -INFINITY;
    check(mean_error_of_lse(lse, &m.truth, &all, &coarse).limit == 0, "no row at all");
}

/* The limit of out under one roundoff alone, and of lse. */
static void run_limits(const void *argument)
{
    made_up m;
    float out[ROWS * DIM] = {0}, lse[ROWS] = {0};
    const row_group all = {0, QUERIES, 0, HEADS}, one = {0, 1, 0, 1};
    const roundoffs none = {0, 0, 0, 0}, of_weight = {0, 0x1p-8, 0, 0}, of_state = {0, 0, 0, 0x1p-8},
                    of_out = {0x1p-8, 0, 0, 0}, of_sum = {0, 0, 0x1p-22, 0};
    (void)argument;
    make_up(&m);
    check(mean_error_of_out(out, &m.truth, &all, &none).limit == 0, "nothing is rounded");
    const double weight = mean_error_of_out(out, &m.truth, &all, &of_weight).limit;
    const double state = mean_error_of_out(out, &m.truth, &all, &of_state).limit;
    check(weight > 0, "rounded weights");
    /* the variances: 1 / 6 a row for its weights, which 12 rows share, and 1 / 3 that partial states have in common */
    check(fabs(state - 5 * weight) <= 1e-9 * state, "partial states: %g, weights: %g", state, weight);
    check(fabs(mean_error_of_out(out, &m.truth, &all, &of_out).limit - 0x1p-8) <= 1e-12, "a rounded out");
    check(mean_error_of_out(out, &m.truth, &one, &of_weight).limit > 2 * weight, "a single row has a wider limit");
    const double sum = mean_error_of_lse(lse, &m.truth, &all, &of_sum).limit;
    check(sum > 0 && sum < mean_error_of_lse(lse, &m.truth, &one, &of_sum).limit, "lse: %g", sum);
    for (int row = 1; row < ROWS; row++) m.repeats[row] = true;
    const double alike = mean_error_of_lse(lse, &m.truth, &all, &of_sum).limit;
    check(fabs(alike - mean_error_of_lse(lse, &m.truth, &one, &of_sum).limit) <= 1e-12 * alike,
          "rows of one query count once");
}

/* compare_mean_* look at each row, each query's rows of a KV head and all rows of a KV head: an error shows in one. */
static void run_groups_compared(const void *argument)
{
    made_up m;
    (void)argument;
    make_up(&m);
    for (int row = 0; row < ROWS; row++) {
        float lse[ROWS] = {0};
        lse[row] = 1;
        const mean_comparison result = compare_mean_lse(lse, &m.truth, &coarse);
        check(result.num_bad == 3, "row %d shows in %u means", row, (unsigned)result.num_bad);
    }
}

/* attention_verdict makes all four comparisons, and names the one that fails. */
static void run_verdict(const void *argument)
{
    made_up m;
    float out[ROWS * DIM], lse[ROWS];
    (void)argument;
    make_up(&m);
    for (int i = 0; i < ROWS * DIM; i++) out[i] = 1;
    for (int row = 0; row < ROWS; row++) lse[row] = 0;
    verdict right = attention_verdict(out, lse, &m.truth, &coarse);
    check(right.text[0] == '\0' && right.worst == 0 && right.error == 0, "nothing is wrong: '%s'", right.text);

    out[5] = 1.25f;
    verdict wrong = attention_verdict(out, lse, &m.truth, &coarse);
    check(strncmp(wrong.text, "out of query 0 head 2 element 1: 1.25 for 1", 43) == 0, "an element: '%s'", wrong.text);
    check(wrong.error == 0.25 && wrong.limit == out_limit(&m.truth, 5, &coarse) && wrong.worst >= 0.25 / wrong.limit,
          "error %g, limit %g", wrong.error, wrong.limit);
    out[5] = NAN;
    wrong = attention_verdict(out, lse, &m.truth, &coarse);
    check(wrong.text[0] != '\0' && isinf(wrong.worst) && isnan(wrong.error), "a NaN: '%s'", wrong.text);
    out[5] = 1;

    lse[7] = 1;
    wrong = attention_verdict(out, lse, &m.truth, &coarse);
    check(strncmp(wrong.text, "lse of query 1 head 3", 21) == 0, "an element: '%s'", wrong.text);
    check(attention_verdict(out, NULL, &m.truth, &coarse).text[0] == '\0', "lse may be NULL");
    lse[7] = 0;

    for (int i = 0; i < ROWS * DIM; i++) out[i] = (float)(1 + 0.9 * out_limit(&m.truth, 0, &coarse));
    wrong = attention_verdict(out, lse, &m.truth, &coarse);
    check(strncmp(wrong.text, "mean error of out", 17) == 0, "each within its limit, the mean not: '%s'", wrong.text);
    for (int i = 0; i < ROWS * DIM; i++) out[i] = 1;
    for (int row = 0; row < ROWS; row++) lse[row] = (float)(0.9 * lse_limit(&m.truth, 0, &coarse));
    wrong = attention_verdict(out, lse, &m.truth, &coarse);
    check(strncmp(wrong.text, "mean error of lse", 17) == 0, "each within its limit, the mean not: '%s'", wrong.text);
}

/* Rows that are added one by one are those of the whole, whatever their order. */
static void run_rows_one_by_one(const void *argument)
{
    enum { LENGTH = 9 };
    float query[ROWS * DIM], key[LENGTH * DIM], value[LENGTH * DIM];
    (void)argument;
    for (int i = 0; i < ROWS * DIM; i++) query[i] = (float)test_normal();
    for (int d = 0; d < DIM; d++) query[3 * DIM + d] = query[2 * DIM + d]; /* heads 2 and 3 share a KV head */
    for (int i = 0; i < LENGTH * DIM; i++) {
        key[i] = (float)test_normal();
        value[i] = (float)test_normal();
    }
    const tree_shape shape = {QUERIES, HEADS, HEADS, DIM, 1, 16, TREE_FP32};
    float pool_key[HEADS * 16 * DIM] = {0}, pool_value[HEADS * 16 * DIM] = {0};
    for (uint32_t head = 0; head < HEADS; head++) {
        memcpy(pool_key + tree_kv_offset(&shape, 0, head, 0), key, sizeof key);
        memcpy(pool_value + tree_kv_offset(&shape, 0, head, 0), value, sizeof value);
    }
    static const uint32_t blocks[] = {0};
    const kv_table one = {.blocks = blocks, .num_blocks = 1, .length = LENGTH}, tables[QUERIES] = {one, one, one};
    token_paths paths = token_paths_create(tables, NULL, QUERIES, 16);
    attention_truth whole = attention_truth_create(query, pool_key, pool_value, &paths, &shape, 0.5f);
    attention_truth rows = attention_truth_begin(query, QUERIES, HEADS, KV_HEADS, DIM);
    for (uint64_t row = ROWS; row-- > 0;)
        attention_truth_row(&rows, row, query + row * DIM, key, value, LENGTH, 0.5f);
    check(memcmp(whole.out, rows.out, ROWS * DIM * sizeof(double)) == 0, "out");
    check(memcmp(whole.magnitude, rows.magnitude, ROWS * DIM * sizeof(double)) == 0, "A");
    check(memcmp(whole.lse, rows.lse, ROWS * sizeof(double)) == 0, "lse");
    check(memcmp(whole.score, rows.score, ROWS * sizeof(double)) == 0, "B");
    check(rows.repeats[3] && !rows.repeats[2] && !rows.repeats[4], "head 3 repeats the query of head 2");
    token_paths_destroy(&paths);
    attention_truth_destroy(&whole);
    attention_truth_destroy(&rows);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "mean errors count the rows of their group, and each roundoff");
    test_add(run_rows_of_a_group, NULL, "each_row_of_a_group_counts_once");
    test_add(run_rows_of_out, NULL, "signs_cancel_within_a_mean_of_out");
    test_add(run_rows_without_lse, NULL, "rows_without_a_finite_lse_do_not_count");
    test_add(run_limits, NULL, "each_roundoff_widens_its_limit");
    test_add(run_groups_compared, NULL, "one_wrong_row_shows_in_its_three_means");
    test_add(run_verdict, NULL, "verdict_names_the_comparison_that_fails");
    test_add(run_rows_one_by_one, NULL, "rows_one_by_one_are_the_whole");
    return test_end();
}
