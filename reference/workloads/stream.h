/* stream: queries, keys and values of a synthetic decode, one token at a time, without a model.
 *
 *   topic   one is active for dwell_tokens tokens, then another is drawn. Each has a mean key m and a mean value
 *   key     m + noise
 *   value   mean value + value_noise * noise
 *   query   logit_scale * (sqrt(focus) * m + sqrt(1 - focus) * x), with x = rho * x + sqrt(1 - rho^2) * noise for each head
 *
 * Means, noise and x have mean 0 and variance 1 in each channel, so the scores q.k / sqrt(head_dim) of the tokens of one
 * topic have standard deviation logit_scale, and those of the active topic are higher by
 * logit_scale * sqrt(focus * head_dim) in the mean. What a stream cannot tell: whether the queries of a trained model
 * drift as slowly, its attention is as sharp, or its old topics return as often. It has no attention sinks.
 *
 * A seed gives the same bits on every machine. */
#ifndef STREAM_H
#define STREAM_H

#include "tree_shape.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct stream_config {
    uint32_t num_heads, num_kv_heads, head_dim;
    uint32_t num_topics;   /* at least 1, at most STREAM_MAX_TOPICS */
    uint32_t dwell_tokens; /* 0: the first topic stays */
    double rho;            /* 0 <= rho <= 1: how much of the last query the next one keeps */
    double logit_scale;    /* >= 0 */
    double focus;          /* 0 <= focus <= 1: share of the topic in a query */
    double value_noise;    /* >= 0 */
    uint64_t seed;
} stream_config;

#define STREAM_MAX_TOPICS 65536u

/* Regimes for comparisons of eviction policies. Their heads are 8/2 with head_dim 64, their seed is 1. */
typedef struct stream_preset {
    const char *name;
    stream_config config;
    const char *sentence;
} stream_preset;

extern const stream_preset stream_presets[]; /* [num_stream_presets] */
extern const uint32_t num_stream_presets;

/* NULL for an unknown name. */
const stream_preset *stream_preset_from_name(const char *name);

typedef struct stream stream;

/* TREE_BAD_SHAPE; TREE_INVAL (a parameter outside its range, or NaN); TREE_OVERFLOW; TREE_NOMEM. On error *result is
 * untouched. */
tree_status stream_create(stream **result, const stream_config *config);
void stream_destroy(stream *stream);

/* The next token. query [num_heads][head_dim], key and value [num_kv_heads][head_dim]: written. */
void stream_next(stream *stream, float *query, float *key, float *value);

/* The topic of the last token, 0 .. num_topics - 1; of the first one before any. */
uint32_t stream_topic(const stream *stream);

#ifdef __cplusplus
}
#endif
#endif
