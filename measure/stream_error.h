/* stream_error: how far the output of a policy's cache is from the output over all tokens, on a synthetic stream. */
#ifndef STREAM_ERROR_H
#define STREAM_ERROR_H

#include <stdio.h>

#include "eviction_cache.h"
#include "stream.h"

/* A stream's tokens, and the output of attention over all of them so far. Ends the program without memory. */
typedef struct stream_record {
    stream_config config;
    uint32_t num_tokens;
    float *query; /* [num_tokens][num_heads][head_dim] */
    float *key;   /* [num_tokens][num_kv_heads][head_dim] */
    float *value; /* as key */
    float *out;   /* as query */
} stream_record;

stream_record stream_record_create(const stream_config *config, uint32_t num_tokens);
void stream_record_destroy(stream_record *record);

static inline const float *stream_record_query(const stream_record *record, uint32_t token)
{
    return record->query + (uint64_t)token * record->config.num_heads * record->config.head_dim;
}

/* |out - out of all tokens| / |out of all tokens|, over all heads and channels of a token, for the tokens from
 * first_token on: their mean, the largest, and the token that has it. */
typedef struct stream_error {
    double mean, worst;
    uint32_t worst_token;
} stream_error;

stream_error stream_error_of(const stream_record *record, const eviction_policy *policy, uint32_t budget,
                             uint32_t first_token);

/* The baseline of the figures: each step evicts a kept token at random, so old ones become rare. The policy "random"
 * keeps a uniform sample of all positions instead: where topics change, it has fewer tokens of the current one. */
extern const eviction_policy random_victim;

/* A comment line of a csv: "# topics: 16 topics, 256 tokens each; rho 0.95, scale 2". */
void stream_preset_describe(FILE *csv, const stream_preset *preset);

#endif
