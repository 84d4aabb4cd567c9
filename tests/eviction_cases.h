/* eviction_cases: streams of tokens for tests of eviction. */
#ifndef EVICTION_CASES_H
#define EVICTION_CASES_H

#include <stddef.h>

#include "importance.h"

typedef struct eviction_stream {
    uint32_t num_heads, num_kv_heads, head_dim, num_tokens;
    float *queries;       /* [num_tokens][num_heads][head_dim] */
    float *keys, *values; /* [num_tokens][num_kv_heads][head_dim] */
    uint32_t *ranks;      /* [num_tokens] of an exact stream: importance grows with the rank; no two are equal */
} eviction_stream;

/* From test_random. Scores have the standard deviation score_std at scale 1 / sqrt(head_dim); sizes of values differ by
 * a factor of 20. */
eviction_stream eviction_stream_random(uint32_t num_heads, uint32_t num_kv_heads, uint32_t head_dim,
                                       uint32_t num_tokens, float score_std);

/* Keys are 0, so all weights are equal, whatever computes them; every channel of a value has one size, exact in fp16
 * and bf16, the signs are random. Any correct implementation orders these tokens in the same way: victims can be
 * compared by index. At most 3584 tokens. */
eviction_stream eviction_stream_exact(uint32_t num_heads, uint32_t num_kv_heads, uint32_t head_dim,
                                      uint32_t num_tokens);

void eviction_stream_destroy(eviction_stream *stream);

static inline const float *stream_query(const eviction_stream *s, uint32_t t)
{
    return s->queries + (size_t)t * s->num_heads * s->head_dim;
}
static inline const float *stream_key(const eviction_stream *s, uint32_t t)
{
    return s->keys + (size_t)t * s->num_kv_heads * s->head_dim;
}
static inline const float *stream_value(const eviction_stream *s, uint32_t t)
{
    return s->values + (size_t)t * s->num_kv_heads * s->head_dim;
}

/* A pool that holds tokens of a stream in random slots; free slots are NaN. */
typedef struct eviction_pool {
    tree_shape shape;
    float *key, *value, *norm;
    token_list tokens; /* all tokens of the stream, by position */
} eviction_pool;

eviction_pool eviction_pool_create(const eviction_stream *stream, uint32_t block_tokens);
void eviction_pool_destroy(eviction_pool *pool);

#endif
