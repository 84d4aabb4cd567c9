/* Recorded streams, and a policy's error on them. */
#include "stream_error.h"

#include <math.h>
#include <stdlib.h>

#include "provenance.h"

static void must(tree_status status)
{
    figure_check(status == TREE_OK, tree_status_string(status));
}

static float *create_floats(uint64_t count)
{
    float *floats = malloc(count * sizeof *floats);
    figure_check(floats != NULL, "out of memory");
    return floats;
}

static eviction_cache *create_cache(const stream_config *config, const eviction_policy *policy, uint32_t budget)
{
    eviction_cache *cache;
    eviction_config cache_config = {.num_heads = config->num_heads, .num_kv_heads = config->num_kv_heads,
                                    .head_dim = config->head_dim, .budget = budget, .policy = policy,
                                    .seed = config->seed};
    must(eviction_cache_create(&cache, &cache_config));
    return cache;
}

static void step(eviction_cache *cache, float *out, const stream_record *record, uint32_t token)
{
    eviction_step result;
    uint64_t kv_size = (uint64_t)record->config.num_kv_heads * record->config.head_dim;
    must(eviction_cache_step(cache, out, stream_record_query(record, token), record->key + token * kv_size,
                             record->value + token * kv_size, &result));
}

stream_record stream_record_create(const stream_config *config, uint32_t num_tokens)
{
    stream *s;
    uint64_t query_size = (uint64_t)config->num_heads * config->head_dim;
    uint64_t kv_size = (uint64_t)config->num_kv_heads * config->head_dim;
    stream_record r = {.config = *config, .num_tokens = num_tokens};
    r.query = create_floats(num_tokens * query_size);
    r.key = create_floats(num_tokens * kv_size);
    r.value = create_floats(num_tokens * kv_size);
    r.out = create_floats(num_tokens * query_size);
    must(stream_create(&s, config));
    for (uint32_t t = 0; t < num_tokens; t++)
        stream_next(s, r.query + t * query_size, r.key + t * kv_size, r.value + t * kv_size);
    stream_destroy(s);

    eviction_cache *all = create_cache(config, eviction_policy_from_name("full"), num_tokens);
    for (uint32_t t = 0; t < num_tokens; t++)
        step(all, r.out + t * query_size, &r, t);
    eviction_cache_destroy(all);
    return r;
}

void stream_record_destroy(stream_record *record)
{
    free(record->query);
    free(record->key);
    free(record->value);
    free(record->out);
}

static double relative_distance(const float *out, const float *expected, uint64_t count)
{
    double distance = 0, norm = 0;
    for (uint64_t i = 0; i < count; i++) {
        distance += ((double)out[i] - expected[i]) * ((double)out[i] - expected[i]);
        norm += (double)expected[i] * expected[i];
    }
    return sqrt(distance / norm);
}

stream_error stream_error_of(const stream_record *record, const eviction_policy *policy, uint32_t budget,
                             uint32_t first_token)
{
    uint64_t query_size = (uint64_t)record->config.num_heads * record->config.head_dim;
    eviction_cache *cache = create_cache(&record->config, policy, budget);
    float *out = create_floats(query_size);
    stream_error error = {0, 0, first_token};
    for (uint32_t t = 0; t < record->num_tokens; t++) {
        step(cache, out, record, t);
        if (t < first_token)
            continue;
        double distance = relative_distance(out, record->out + t * query_size, query_size);
        error.mean += distance / (record->num_tokens - first_token);
        if (distance > error.worst) {
            error.worst = distance;
            error.worst_token = t;
        }
    }
    free(out);
    eviction_cache_destroy(cache);
    return error;
}

/* splitmix64's finish */
static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void score_random(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    const token_list *tokens = view->tokens;
    uint64_t now = tokens->positions[tokens->num_tokens - 1];
    for (uint32_t t = 0; t < tokens->num_tokens; t++)
        score[t] = (double)(mix(view->seed + mix(now << 32 | tokens->positions[t])) >> 40); /* exact in a float */
}

const eviction_policy random_victim = {
    .name = "random_victim",
    .variant = "a new score for each token and step",
    .source = "baseline",
    .window = 1,
    .interval = 1,
    .candidates = eviction_all,
    .score = score_random,
};

void stream_preset_describe(FILE *csv, const stream_preset *preset)
{
    const stream_config *c = &preset->config;
    fprintf(csv, "# %s: ", preset->name);
    if (c->dwell_tokens == 0)
        fprintf(csv, "one topic; ");
    else
        fprintf(csv, "%u topics, %u tokens each; ", c->num_topics, c->dwell_tokens);
    fprintf(csv, "rho %g, scale %g\n", c->rho, c->logit_scale);
}
