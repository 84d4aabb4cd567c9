/* transformer_model: random weights files, and a transformer in double over the text of one branch, written apart from
 * model/: one token after another, whole rows of K and V in the order of their positions, no pool, no tree, no plan.
 *
 * The bound. A truth of several texts computes each step once exactly and NUM_NOISY times with noise: every number that
 * a float program stores is off by a random part of its rounding error, with u = 2^-24 and r uniform in -1 .. 1:
 *   a sum of n products p_i    sqrt(n) u sqrt(sum of p_i^2) r      partial sums are about sqrt(sum of p_i^2) large, and
 *                                                                  n roundings of random sign add up to sqrt(n)
 *   any other number x         2 u x r
 * The noise travels through the layers as rounding errors do. s is the root mean square, over the row of logits and the
 * noisy runs, of its effect; a correct program is within 16 s: of the few dozen logits of a row none is 4 standard
 * deviations off, and s itself, of few runs, may be 4 times too small. (Stochastic arithmetic: Vignes, doi
 * 10.1016/0378-4754(93)90003-D.) */
#ifndef TRANSFORMER_MODEL_H
#define TRANSFORMER_MODEL_H

#include <stdbool.h>
#include <stddef.h>

#include "weights.h"

/* A file in memory, made of random numbers by test_random, and its numbers in the order of the file. */
typedef struct weights_file {
    model_shape shape;
    char *bytes;
    size_t num_bytes, header_bytes; /* the payload follows the header */
    double *numbers;                /* matrices [rows][columns] multiplied out, norms as they are */
    size_t num_numbers;
} weights_file;

weights_file weights_file_random(const model_shape *shape);
void weights_file_destroy(weights_file *file);

/* Header lines, with each {crc32} behind them as the format says, an empty line and the payload; the caller frees. */
char *weights_file_join(const char *lines, const void *payload, size_t payload_bytes, size_t *num_bytes);

/* The lines of a header for a shape, without crc32, in text[capacity]. */
void weights_file_lines(const model_shape *shape, uint64_t payload_bytes, char *text, size_t capacity);

enum { NUM_NOISY = 4 };

/* One branch: K and V of its text, in the exact run and the noisy ones. */
typedef struct text_truth {
    const weights_file *file;
    uint32_t length;
    bool *kept;                     /* [context] false: forgotten, no later token attends to it */
    double *key, *value;            /* [1 + NUM_NOISY][layers][context][kv_heads * head_dim] */
    double *logits;                 /* [vocabulary] after the last token */
    double limit;                   /* of each of them */
} text_truth;

text_truth text_truth_create(const weights_file *file);
text_truth text_truth_copy(const text_truth *truth);
void text_truth_append(text_truth *truth, uint32_t token);
void text_truth_destroy(text_truth *truth);

/* Largest |logit - truth| / limit; infinity for a NaN. */
double text_truth_worst(const text_truth *truth, const float *logits);

#endif
