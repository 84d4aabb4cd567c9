/* importance_model: the importance of every token of an attention case, computed for one query at a time from the
 * tokens that its block table lists: no tree, no plan. */
#ifndef IMPORTANCE_MODEL_H
#define IMPORTANCE_MODEL_H

#include "attention_model.h"
#include "keep_model.h"
#include "tree_importance.h"

typedef struct importance_truth {
    uint32_t num_queries;
    uint64_t num_slots;
    double *importance; /* [num_queries][num_slots] by importance_ref; -1: the query does not see the slot */
    double *score;      /* [num_queries] largest B of its rows: measure/oracle.h */
    uint32_t head_dim;
} importance_truth;

/* norm [num_blocks][num_kv_heads][block_tokens] of the case's values; the caller frees. */
float *importance_norms(const attention_case *c);

/* keeps NULL: every query keeps its table. num_slots at least those of the longest table. */
importance_truth importance_truth_create(const attention_case *c, const keep_set *keeps, const float *norm,
                                         uint64_t num_slots);
void importance_truth_destroy(importance_truth *truth);

/* Fails the running case unless every importance is within its limit, every other slot is -1, and the victim of each
 * query, of all tokens and of a range of positions, is the least important one or within 1e-4 of it. The position of a
 * token is its slot in the table. u: roundoff of scores and sums. Returns the largest error / largest importance of the
 * query.
 *   |importance - truth| <= truth * (4 sqrt(head_dim) u B + 32 u + 2^-23)
 * (the errors of a score, and of the sum of weights that it is divided by: measure/oracle.h, limit 1; the sums over
 * heads have one sign) */
double check_importance(const float *importance, const importance_truth *truth, double u, const char *what);

#endif
