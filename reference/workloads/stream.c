/* Streams: topics, drifting queries, and the noise of both. */
#include "stream.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "exact_math_internal.h"

#define REGIME(topics, dwell, rho, scale, focus) {8, 2, 64, topics, dwell, rho, scale, focus, 0.5, 1}

const stream_preset stream_presets[] = {
    {"stationary", REGIME(1, 0, 0.99, 2, 0), "one topic; queries drift over about 100 tokens"},
    {"stationary_slow", REGIME(1, 0, 0.999, 4, 0), "one topic, sharp attention; queries drift over about 1000 tokens"},
    {"topics", REGIME(16, 256, 0.95, 2, 0.25), "a topic for 256 tokens, old ones return; queries drift over about 20 tokens"},
    {"topics_sharp", REGIME(16, 256, 0.95, 4, 0.25), "as topics, with sharp attention"},
    {"topics_slow", REGIME(16, 256, 0.99, 4, 0.25), "as topics_sharp; queries drift over about 100 tokens"},
    {"topics_short", REGIME(16, 64, 0.999, 4, 0.25), "as topics_sharp; a topic for 64 tokens, drift over about 1000"},
};
const uint32_t num_stream_presets = sizeof stream_presets / sizeof stream_presets[0];

const stream_preset *stream_preset_from_name(const char *name)
{
    for (uint32_t i = 0; i < num_stream_presets; i++)
        if (strcmp(stream_presets[i].name, name) == 0)
            return &stream_presets[i];
    return NULL;
}

struct stream {
    stream_config config;
    uint64_t state, num_tokens;
    uint32_t topic;
    float *mean_key;   /* [num_topics][num_kv_heads][head_dim] */
    float *mean_value; /* as mean_key */
    double *drift;     /* [num_heads][head_dim] */
};

/* splitmix64 */
static uint64_t random_bits(stream *s)
{
    uint64_t z = s->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Nearly normal, mean 0, variance 1: the sum of twelve uniform numbers. In integers, since log and cos differ between
 * mathematical libraries. */
static double noise(stream *s)
{
    int32_t sum = 0;
    for (int words = 0; words < 3; words++)
        for (uint64_t bits = random_bits(s), i = 0; i < 4; i++, bits >>= 16)
            sum += (int32_t)(bits & 0xffff);
    return (sum - 12 * 32767.5) / 65536;
}

static tree_status check_config(const stream_config *c)
{
    tree_shape shape = {1, c->num_heads, c->num_kv_heads, c->head_dim, 1, 1, TREE_FP32};
    tree_status status = tree_shape_check(&shape);
    if (status != TREE_OK)
        return status;
    bool good = c->num_topics >= 1 && c->num_topics <= STREAM_MAX_TOPICS && c->rho >= 0 && c->rho <= 1 &&
                c->focus >= 0 && c->focus <= 1 && c->logit_scale >= 0 && isfinite(c->logit_scale) &&
                c->value_noise >= 0 && isfinite(c->value_noise);
    return good ? TREE_OK : TREE_INVAL;
}

tree_status stream_create(stream **result, const stream_config *config)
{
    tree_status status = check_config(config);
    if (status != TREE_OK)
        return status;
    uint64_t token_size = (uint64_t)config->num_kv_heads * config->head_dim;
    uint64_t num_means = config->num_topics * token_size, num_drifts = (uint64_t)config->num_heads * config->head_dim;
    if (token_size > SIZE_MAX / sizeof(double) / config->num_topics || num_drifts > SIZE_MAX / sizeof(double))
        return TREE_OVERFLOW;
    stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return TREE_NOMEM;
    s->config = *config;
    s->state = config->seed;
    s->mean_key = malloc(num_means * sizeof *s->mean_key);
    s->mean_value = malloc(num_means * sizeof *s->mean_value);
    s->drift = malloc(num_drifts * sizeof *s->drift);
    if (s->mean_key == NULL || s->mean_value == NULL || s->drift == NULL) {
        stream_destroy(s);
        return TREE_NOMEM;
    }
    for (uint64_t i = 0; i < num_means; i++)
        s->mean_key[i] = (float)noise(s);
    for (uint64_t i = 0; i < num_means; i++)
        s->mean_value[i] = (float)noise(s);
    for (uint64_t i = 0; i < num_drifts; i++)
        s->drift[i] = noise(s);
    *result = s;
    return TREE_OK;
}

void stream_destroy(stream *s)
{
    if (s == NULL)
        return;
    free(s->mean_key);
    free(s->mean_value);
    free(s->drift);
    free(s);
}

/* Another topic than the current one. */
static void change_topic(stream *s)
{
    uint32_t others = s->config.num_topics - 1;
    if (others > 0)
        s->topic = (s->topic + 1 + (uint32_t)((random_bits(s) >> 32) * others >> 32)) % s->config.num_topics;
}

void stream_next(stream *s, float *query, float *key, float *value)
{
    const stream_config *c = &s->config;
    if (c->dwell_tokens > 0 && s->num_tokens > 0 && s->num_tokens % c->dwell_tokens == 0)
        change_topic(s);
    s->num_tokens++;
    uint64_t token_size = (uint64_t)c->num_kv_heads * c->head_dim;
    const float *mean_key = s->mean_key + s->topic * token_size, *mean_value = s->mean_value + s->topic * token_size;
    for (uint64_t i = 0; i < token_size; i++)
        key[i] = (float)(mean_key[i] + noise(s));
    for (uint64_t i = 0; i < token_size; i++)
        value[i] = (float)(mean_value[i] + c->value_noise * noise(s));
    double fresh = sqrt(1 - c->rho * c->rho), of_topic = sqrt(c->focus), of_drift = sqrt(1 - c->focus);
    uint32_t group_size = c->num_heads / c->num_kv_heads;
    for (uint32_t head = 0; head < c->num_heads; head++) {
        double *drift_h = s->drift + (uint64_t)head * c->head_dim;
        const float *mean_h = mean_key + (uint64_t)(head / group_size) * c->head_dim;
        for (uint32_t d = 0; d < c->head_dim; d++) {
            drift_h[d] = c->rho * drift_h[d] + fresh * noise(s);
            query[(uint64_t)head * c->head_dim + d] =
                (float)(c->logit_scale * (of_topic * mean_h[d] + of_drift * drift_h[d]));
        }
    }
}

uint32_t stream_topic(const stream *s)
{
    return s->topic;
}
