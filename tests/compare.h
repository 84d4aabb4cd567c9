/* compare: how far a result may be from the truth, derived and not tuned.
 *
 * The truth is computed in double from copies of each query's own tokens, found from block tables alone: no tree, no
 * plan, no running maximum. With
 *   A = sum of p_t |v_t|  (per output element)      B = max over t of |scale| sum of |q_d k_td|  (per query and head)
 * a correct implementation whose out, weights, partial states and sums have roundoffs u_out, u_weight, u_state and u
 * keeps
 *   |out - truth| <= u_out |truth| + (u_weight + u_state + 2 sqrt(head_dim) u B + 16 u) A
 *   |lse - truth| <= 2^-24 |truth| + 4 sqrt(head_dim) u B + 8 u (1 + |truth|)      (lse is float everywhere)
 * (score error about sqrt(d) u B, once in the numerator and once in the denominator of softmax; Blanchard, Higham and
 * Higham, doi 10.1093/imanum/draa038). A NaN or an infinity where the truth is finite always fails. */
#ifndef COMPARE_H
#define COMPARE_H

#include "kv_tree.h"
#include "tree_attention.h"

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
    uint32_t num_queries, num_heads, head_dim;
    double *out;       /* [num_queries][num_heads][head_dim] */
    double *magnitude; /* A, as out */
    double *lse;       /* [num_queries][num_heads] */
    double *score;     /* B, as lse */
} attention_truth;

/* query, key and value as the implementation sees them: rounded to its storage type before. */
attention_truth attention_truth_create(const float *query, const float *key, const float *value,
                                       const token_paths *paths, const tree_shape *shape, float scale);
void attention_truth_destroy(attention_truth *truth);

/* Unit roundoff of a storage type: 2^-24, 2^-11, 2^-8. */
double storage_roundoff(tree_storage storage);

/* `value` as the storage type holds it. */
float storage_round(float value, tree_storage storage);

typedef struct roundoffs {
    double out;    /* of the type in which out is stored */
    double weight; /* of the type in which exp(score - m) meets V; 0 in double */
    double sum;    /* of the accumulation, and of lse */
    double state;  /* of the type in which partial states are stored: o is at most A of its own tokens */
} roundoffs;

double out_limit(const attention_truth *truth, uint64_t index, const roundoffs *u);
double lse_limit(const attention_truth *truth, uint64_t index, const roundoffs *u);

typedef struct comparison {
    uint64_t num_bad;
    uint64_t first_bad;    /* index of the first element beyond its limit */
    double error, limit;   /* there */
    double worst;          /* largest error / limit; infinity if a NaN was met */
} comparison;

comparison compare_out(const float *out, const attention_truth *truth, const roundoffs *u);
comparison compare_lse(const float *lse, const attention_truth *truth, const roundoffs *u);

/* Fails the running case with the first bad element, or returns the larger of both worsts. lse may be NULL. */
double check_attention(const float *out, const float *lse, const attention_truth *truth, const roundoffs *u,
                       const char *what);

/* Fails the running case unless both arrays have the same bits (two NaN of one kind are the same). */
void check_same_bits(const float *a, const float *b, uint64_t count, const char *what);

/* An array filled with NaN between two zones that nobody may touch. */
typedef struct guarded {
    float *data;    /* [count] */
    uint64_t count;
    float *storage;
} guarded;

guarded guarded_create(uint64_t count);
void guarded_check(const guarded *array, const char *what); /* fails the running case if a zone was touched */
bool guarded_untouched(const guarded *array);               /* nothing was written to data at all */
void guarded_destroy(guarded *array);

#endif
