/* mistake_model: mistakes with one token of many, to see which comparison notices them.
 *
 * The mistakes are made in the truth, not in the implementation: a result without a token is compared with a truth that
 * has it. So the comparisons are tested with any correct implementation, on any machine. */
#ifndef MISTAKE_MODEL_H
#define MISTAKE_MODEL_H

#include "attention_model.h"

typedef enum mistake {
    NO_MISTAKE,
    TOKEN_LOST,      /* a token that the path has in truth */
    TOKEN_DOUBLED,   /* counted twice */
    TOKEN_EXCHANGED, /* a stranger's token in the place of the path's own */
    VALUES_SWAPPED,  /* two tokens of the path have each other's values */
    NUM_MISTAKES
} mistake;

extern const char *const mistake_name[NUM_MISTAKES];

enum { NUM_TRIALS = 40 };

/* Trials in which each comparison found something. */
typedef struct noticed {
    uint32_t out, lse, mean_out, mean_lse;
} noticed;

/* NUM_TRIALS random tokens, each of them wrong for all queries that see it; truth is that of the case, out and lse are
 * its correct result. Leaves truth as it was. */
noticed mistake_try(const attention_case *c, attention_truth *truth, const float *out, const float *lse,
                    const roundoffs *u, mistake kind);

/* Tries every kind and notes the counts. Fails the running case unless the means of out and of lse notice each kind in
 * every trial (of lse: not values that were swapped), and no comparison reports an error where there is no mistake. */
void mistake_check_all(const attention_case *c, attention_truth *truth, const float *out, const float *lse,
                       const roundoffs *u, const char *what);

#endif
