/* oracle: how far a result may be from the truth, derived and not tuned. The one oracle of all tests and programs.
 * Without memory it ends the program with one line and status 1.
 *
 *   attention_truth truth = attention_truth_create(query, key, value, &paths, &shape, scale);
 *   verdict v = attention_verdict(out, lse, &truth, &u);
 *   if (v.text[0] != '\0') ... v.text names the first error beyond its limit ...
 *
 * The truth is computed in double from copies of each query's own tokens, found from block tables alone: no tree, no
 * plan, no running maximum. The implementation's roundoffs are u_out, u_weight, u_state (of partial states), and u of
 * scores and sums. p_t is the weight of token t.
 *
 * 1. Every element, on any data. With
 *      A = sum of p_t |v_t|                             of each element of out
 *      B = max over t of |scale| sum of |q_d k_td|      of each row (a query and a head)
 *    a correct implementation keeps
 *      |out - truth| <= u_out |truth| + (u_weight + u_state + 2 sqrt(head_dim) u B + 16 u) A
 *      |lse - truth| <= 2^-24 |truth| + 4 sqrt(head_dim) u B + 8 u (1 + |truth|)      (lse is float everywhere)
 *    (score error about sqrt(head_dim) u B, once in the numerator and once in the denominator of softmax; Blanchard,
 *    Higham and Higham, doi 10.1093/imanum/draa038). A NaN or an infinity where the truth is finite always fails, and
 *    so does a number where the truth is NaN.
 *
 * 2. The mean error of R rows. Limit 1 does not notice one token among thousands: in bf16 out may be wrong by A / 128,
 *    of which one token of 4096 causes a 32nd. But rounding errors have both signs, so that most of them cancel, over
 *    tokens and over rows (Higham and Mary, doi 10.1137/18M1226312), while a token that was lost, doubled or exchanged
 *    moves all rows that see it: lse by p_t, out by p_t (v_t - out). With
 *      C = sum of p_t |scale| sqrt(sum of (q_d k_td)^2 + (q . k_t)^2)
 *          of each row, the usual size of a score's partial sums; B is their size if all products have one sign
 *      s = sqrt(head_dim) u C + 2 min(u, 2^-24) (1 + |lse|)
 *          of each row, the error of lse: scores, and the sum of weights, which is float even beside tensor cores
 *      Q = sum of (p_t v_t)^2
 *          of each element of out: a weight's error, uniform in +-u p_t, adds the variance u^2 (p_t v_t)^2 / 3;
 *          partial states add as much, and u_state^2 out^2 / 3 for the part that their errors share
 *      E = (2 sqrt(head_dim) u C + 16 u) A + u_out |out|
 *          of each element of out, the other errors: as in 1., with C for B
 *      N = min of Q / D and A^2 / Q, D = sum of (p_t x mean element of v_t)^2
 *          independent errors in a row of out. At most its elements: Q / D is fewer where values have a mean. At most
 *          its tokens, A^2 / Q, since the error of a weight is the same for all elements
 *    and rms the root mean square over the elements of a row, a correct implementation keeps
 *      |mean of (lse - truth)| <= mean of 2^-24 |lse| + (1 + 3 / sqrt(R)) mean of s
 *      rms of mean of (out - truth) <= rms of mean of E
 *          + (1 + 3 / sqrt(N R)) rms of sqrt((u_weight^2 + u_state^2) mean of Q / 3 R + u_state^2 (mean of out)^2 / 3)
 *    The 1 is for errors that do not cancel (a constant rounded once, tensor cores that truncate), the 3 for those
 *    that do: three standard deviations, of which each is an upper bound. R counts rows of equal queries once, since
 *    they round alike. The limit is checked for each row, for the rows of each query that share a KV head, and for all
 *    rows that share one. A single row has the widest limit. Data without randomness may exceed limit 2: weights that
 *    are almost equal all round in the same direction. */
#ifndef ORACLE_H
#define ORACLE_H

#include "kv_tree.h"
#include "tree_attention_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The slots that each query sees, from the root on: block * block_tokens + slot. */
typedef struct token_paths {
    uint32_t num_queries;
    uint64_t *first; /* [num_queries + 1] query q sees slots[first[q] .. first[q + 1]) */
    uint64_t *slots;
} token_paths;

/* drafts: [num_tables], or NULL: one query per table, at its end. */
token_paths token_paths_create(const kv_table *tables, const kv_draft *drafts, uint32_t num_tables,
                               uint32_t block_tokens);
void token_paths_destroy(token_paths *paths);

typedef struct attention_truth {
    uint32_t num_queries, num_heads, num_kv_heads, head_dim;
    double *out;           /* [num_queries][num_heads][head_dim] */
    double *magnitude;     /* A, as out */
    double *square;        /* Q, as out */
    double *lse;           /* [num_queries][num_heads] */
    double *score;         /* B, as lse */
    double *typical_score; /* C, as lse */
    double *common;        /* D, as lse */
    bool *repeats;         /* as lse: the row has the query of the row before with the same KV head */
} attention_truth;

/* query, key and value as the implementation sees them: rounded to its storage type before. */
attention_truth attention_truth_create(const float *query, const float *key, const float *value,
                                       const token_paths *paths, const tree_shape *shape, float scale);

/* The same row by row, for K and V that lie in no pool, or for a sample of the rows (a sampled row is then a query with
 * one head). begin takes the queries of all rows, [num_queries][num_heads][head_dim]; after it each row is added once,
 * row = query * num_heads + head, with its query [head_dim] and K and V of its tokens in order, [num_tokens][head_dim].
 * Different rows may be added at the same time. */
attention_truth attention_truth_begin(const float *query, uint32_t num_queries, uint32_t num_heads,
                                      uint32_t num_kv_heads, uint32_t head_dim);
void attention_truth_row(attention_truth *truth, uint64_t row, const float *query, const float *key,
                         const float *value, uint64_t num_tokens, float scale);

void attention_truth_destroy(attention_truth *truth);

/* Unit roundoff of a storage type: 2^-24, 2^-11, 2^-8. */
double storage_roundoff(tree_storage storage);

/* `value` as the storage type holds it. */
float storage_round(float value, tree_storage storage);

typedef struct roundoffs {
    double out;    /* of the type in which out is stored */
    double weight; /* of the type in which exp(score - m) is multiplied by V; 0 in double */
    double sum;    /* of the accumulation, and of lse */
    double state;  /* of the type in which partial states are stored: o is at most A of its own tokens */
} roundoffs;

/* Of tree_attention_cpu, which writes float and keeps its states in float. `isa`: the one that runs, not AUTO. */
roundoffs cpu_roundoffs(tree_storage storage, tree_isa isa);

double out_limit(const attention_truth *truth, uint64_t index, const roundoffs *u);
double lse_limit(const attention_truth *truth, uint64_t index, const roundoffs *u);

typedef struct comparison {
    uint64_t num_bad;
    uint64_t first_bad;    /* index of the first element beyond its limit */
    double error, limit;   /* there */
    double worst;          /* largest error / limit; infinity if a NaN was met */
    uint64_t worst_index;  /* its element */
} comparison;

comparison compare_out(const float *out, const attention_truth *truth, const roundoffs *u);
comparison compare_lse(const float *lse, const attention_truth *truth, const roundoffs *u);

/* Some rows: those of some queries and some heads. */
typedef struct row_group {
    uint32_t first_query, num_queries, first_head, num_heads;
} row_group;

typedef struct mean_error {
    double error, limit; /* error: with its sign (lse), root mean square of elements (out) */
} mean_error;

/* Rows whose lse is not finite do not count; 0 and 0 if there are no others. */
mean_error mean_error_of_out(const float *out, const attention_truth *truth, const row_group *group,
                             const roundoffs *u);
mean_error mean_error_of_lse(const float *lse, const attention_truth *truth, const row_group *group,
                             const roundoffs *u);

typedef struct mean_comparison {
    uint64_t num_bad;
    row_group first_bad;
    double error, limit; /* there */
    double worst;        /* largest |error| / limit */
} mean_comparison;

/* Each row, each query's rows of a KV head, all rows of a KV head. */
mean_comparison compare_mean_out(const float *out, const attention_truth *truth, const roundoffs *u);
mean_comparison compare_mean_lse(const float *lse, const attention_truth *truth, const roundoffs *u);

/* All four comparisons. */
typedef struct verdict {
    double worst;        /* the largest error / limit of all four */
    double error, limit; /* of the element of out whose error / limit is the largest */
    char text[200];      /* the first element or mean beyond its limit; "": everything is within */
} verdict;

/* lse may be NULL. */
verdict attention_verdict(const float *out, const float *lse, const attention_truth *truth, const roundoffs *u);

#ifdef __cplusplus
}
#endif
#endif
