/* compare: the oracle (measure/oracle.h) inside a test case, and arrays that notice a write outside them. */
#ifndef COMPARE_H
#define COMPARE_H

#include "oracle.h"

/* attention_verdict: fails the running case with its text, or returns the largest error / limit. lse may be NULL. */
double check_attention(const float *out, const float *lse, const attention_truth *truth, const roundoffs *u,
                       const char *what);

/* The largest error / limit of each comparison, and how often one exceeded 1; does not fail the case. */
typedef struct tally {
    uint64_t num_runs, num_bad;
    double out, lse, mean_out, mean_lse;
} tally;
void tally_attention(tally *total, const float *out, const float *lse, const attention_truth *truth,
                     const roundoffs *u);

/* Fails the running case unless both arrays have the same bits (two NaN of one kind are the same). */
void check_same_bits(const float *a, const float *b, uint64_t count, const char *what);

/* An array filled with NaN between two zones that must stay untouched. */
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
