/* Claim: a stream has the statistics that its parameters name, the same bits for the same seed on every machine, and
 * refuses parameters outside their range. */
#include <math.h>
#include <string.h>

#include "stream.h"
#include "test.h"

enum { MAX_HEADS = 8, MAX_DIM = 64, MAX_ROWS = MAX_HEADS * MAX_DIM, MAX_TOKENS = 4096 };

typedef struct token {
    float query[MAX_ROWS], key[MAX_ROWS], value[MAX_ROWS];
    uint32_t topic;
} token;

static token tokens[MAX_TOKENS];

static void read_tokens(const stream_config *config, uint32_t count)
{
    stream *s;
    memset(tokens, 0, sizeof tokens);
    check(stream_create(&s, config) == TREE_OK, "created");
    check(stream_topic(s) == 0, "the first topic");
    for (uint32_t t = 0; t < count; t++) {
        stream_next(s, tokens[t].query, tokens[t].key, tokens[t].value);
        tokens[t].topic = stream_topic(s);
    }
    stream_destroy(s);
}

typedef struct moments {
    double n, sum, squares;
} moments;

static void add(moments *m, double x)
{
    m->n++;
    m->sum += x;
    m->squares += x * x;
}

static double mean(const moments *m) { return m->sum / m->n; }
static double deviation(const moments *m) { return sqrt(m->squares / m->n - mean(m) * mean(m)); }

static double score(const stream_config *c, uint32_t query, uint32_t head, uint32_t key)
{
    double sum = 0;
    uint32_t kv_head = head / (c->num_heads / c->num_kv_heads);
    for (uint32_t d = 0; d < c->head_dim; d++)
        sum += (double)tokens[query].query[head * c->head_dim + d] * tokens[key].key[kv_head * c->head_dim + d];
    return sum / sqrt(c->head_dim);
}

/* Scores of the query's own topic and of others, for the last 16 queries: deviation and difference of the means. */
static void run_scores(const void *argument)
{
    const stream_preset *preset = argument;
    const stream_config *c = &preset->config;
    const uint32_t count = 2048;
    double within = 0, others = 0, rows = 0, other_rows = 0;
    read_tokens(c, count);
    for (uint32_t query = count - 1; query >= 128; query -= 64) {
        for (uint32_t head = 0; head < c->num_heads; head++) {
            moments same = {0}, other = {0};
            for (uint32_t key = 0; key < count; key++)
                add(tokens[key].topic == tokens[query].topic ? &same : &other, score(c, query, head, key));
            within += deviation(&same);
            rows++;
            if (other.n > 0) {
                others += mean(&same) - mean(&other);
                other_rows++;
            }
        }
    }
    within /= rows;
    test_note("deviation=%.3f scale=%g", within, c->logit_scale);
    check(fabs(within / c->logit_scale - 1) <= 0.05, "deviation %.3f of the scores, not %g", within, c->logit_scale);
    check((other_rows > 0) == (c->num_topics > 1), "other topics were active");
    if (other_rows == 0)
        return;
    double expected = c->logit_scale * sqrt(c->focus * c->head_dim), gap = others / other_rows;
    test_note("gap=%.3f predicted=%.3f", gap, expected);
    check(fabs(gap / expected - 1) <= 0.1, "the active topic's scores are %.3f higher, not %.3f", gap, expected);
}

/* Correlation of a query's channels with those `lag` tokens before. */
static double correlation(const stream_config *c, uint32_t count, uint32_t lag)
{
    double product = 0, square = 0;
    uint32_t num_channels = c->num_heads * c->head_dim;
    for (uint32_t t = lag; t < count; t++) {
        for (uint32_t i = 0; i < num_channels; i++) {
            product += (double)tokens[t].query[i] * tokens[t - lag].query[i];
            square += (double)tokens[t].query[i] * tokens[t].query[i];
        }
    }
    return product / square;
}

static const double rhos[] = {0, 0.5, 0.95, 0.99, 0.999, 1};

static void run_drift(const void *argument)
{
    const double rho = *(const double *)argument;
    static const uint32_t lags[] = {1, 2, 8, 64};
    stream_config c = {8, 8, 64, 1, 0, rho, 3, 0, 1, test_seed()};
    read_tokens(&c, 2048);
    for (int i = 0; i < 4; i++) {
        double found = correlation(&c, 2048, lags[i]), expected = pow(rho, lags[i]);
        test_note("lag=%u correlation=%.4f predicted=%.4f", lags[i], found, expected);
        check(fabs(found - expected) <= 0.015, "correlation %.4f at lag %u, not %.4f", found, lags[i], expected);
    }
    moments first = {0}, last = {0};
    for (uint32_t i = 0; i < MAX_ROWS; i++) {
        add(&first, tokens[0].query[i]);
        add(&last, tokens[2047].query[i]);
    }
    check(fabs(deviation(&first) / 3 - 1) <= 0.12, "first query: deviation %.3f, not 3", deviation(&first));
    check(fabs(deviation(&last) / 3 - 1) <= 0.12, "last query: deviation %.3f, not 3", deviation(&last));
}

/* Keys and values of one topic: their means over tokens differ from channel to channel, by 1 and independently of each
 * other; their noise is as named. */
static void run_means(const void *argument)
{
    (void)argument;
    stream_config c = {2, 2, 64, 1, 0, 0.9, 1, 0.5, 0.25, test_seed()};
    read_tokens(&c, 2048);
    moments key_means = {0}, value_means = {0}, key_noise = {0}, value_noise = {0}, products = {0};
    for (uint32_t i = 0; i < 128; i++) {
        moments key = {0}, value = {0};
        for (uint32_t t = 0; t < 2048; t++) {
            add(&key, tokens[t].key[i]);
            add(&value, tokens[t].value[i]);
        }
        add(&key_means, mean(&key));
        add(&value_means, mean(&value));
        add(&products, mean(&key) * mean(&value));
        add(&key_noise, deviation(&key));
        add(&value_noise, deviation(&value));
    }
    test_note("deviations of means: key=%.3f value=%.3f, of noise: %.4f %.4f", deviation(&key_means),
              deviation(&value_means), mean(&key_noise), mean(&value_noise));
    check(fabs(mean(&key_means)) <= 0.3 && fabs(deviation(&key_means) - 1) <= 0.2, "mean keys");
    check(fabs(mean(&value_means)) <= 0.3 && fabs(deviation(&value_means) - 1) <= 0.2, "mean values");
    check(fabs(mean(&products)) <= 0.3, "mean keys and values have correlation %.3f", mean(&products));
    check(fabs(mean(&key_noise) - 1) <= 0.01, "noise of keys: %.4f", mean(&key_noise));
    check(fabs(mean(&value_noise) - 0.25) <= 0.0025, "noise of values: %.4f", mean(&value_noise));
}

/* A topic stays for dwell_tokens tokens and is followed by another one; each is drawn some time. */
static void run_topics(const void *argument)
{
    (void)argument;
    stream_config c = {1, 1, 1, 5, 7, 0, 1, 1, 0, test_seed()};
    uint32_t visits[5] = {0};
    read_tokens(&c, 4096);
    check(tokens[0].topic == 0, "the first topic is %u", tokens[0].topic);
    for (uint32_t t = 1; t < 4096; t++) {
        check(tokens[t].topic < 5, "topic %u", tokens[t].topic);
        check((tokens[t].topic != tokens[t - 1].topic) == (t % 7 == 0), "token %u: topic %u after %u", t,
              tokens[t].topic, tokens[t - 1].topic);
        visits[tokens[t].topic] += t % 7 == 0;
    }
    for (int i = 0; i < 5; i++)
        check(visits[i] > 4096 / 7 / 5 * 0.75, "topic %d was drawn %u times", i, visits[i]);
    /* Focus 1 and no noise: a topic's query and value return with it. */
    const token *first[5] = {NULL};
    for (uint32_t t = 0; t < 4096; t++) {
        const token *known = first[tokens[t].topic];
        if (known == NULL)
            known = first[tokens[t].topic] = &tokens[t];
        check(known->query[0] == tokens[t].query[0] && known->value[0] == tokens[t].value[0], "token %u", t);
    }
    check(first[0]->query[0] != first[1]->query[0] && first[0]->value[0] != first[1]->value[0], "topics differ");
    c.dwell_tokens = 0;
    read_tokens(&c, 4096);
    for (uint32_t t = 0; t < 4096; t++)
        check(tokens[t].topic == 0, "token %u: topic %u without an end", t, tokens[t].topic);
    c.num_topics = 1;
    c.dwell_tokens = 3;
    read_tokens(&c, 100);
    check(tokens[99].topic == 0, "one topic follows itself");
}

/* FNV-1a */
static uint64_t hash_tokens(uint32_t count)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (uint32_t t = 0; t < count; t++)
        for (uint32_t i = 0; i < 3 * MAX_ROWS; i++) {
            uint32_t bits;
            const float *x = i < MAX_ROWS ? tokens[t].query : i < 2 * MAX_ROWS ? tokens[t].key : tokens[t].value;
            memcpy(&bits, &x[i % MAX_ROWS], sizeof bits);
            hash = (hash ^ bits) * UINT64_C(0x100000001b3);
        }
    return hash;
}

static void run_bits(const void *argument)
{
    (void)argument;
    stream_config c = stream_preset_from_name("topics")->config;
    read_tokens(&c, 600);
    uint64_t hash = hash_tokens(600);
    test_note("hash=%016llx", (unsigned long long)hash);
    check(hash == UINT64_C(0x533736203b8d2024), "bits that all machines have: %016llx", (unsigned long long)hash);
    read_tokens(&c, 600);
    check(hash_tokens(600) == hash, "the same seed, the same bits");
    c.seed++;
    read_tokens(&c, 600);
    check(hash_tokens(600) != hash, "another seed, other bits");
}

/* Two streams in turn do not disturb each other. */
static void run_two(const void *argument)
{
    (void)argument;
    stream_config c = stream_preset_from_name("topics_short")->config;
    stream *a, *b;
    token other = {0};
    read_tokens(&c, 200);
    check(stream_create(&a, &c) == TREE_OK && stream_create(&b, &c) == TREE_OK, "created");
    for (uint32_t t = 0; t < 200; t++) {
        stream_next(a, other.query, other.key, other.value);
        check(memcmp(other.query, tokens[t].query, sizeof other.query) == 0, "query %u", t);
        check(memcmp(other.key, tokens[t].key, sizeof other.key) == 0, "key %u", t);
        stream_next(b, other.query, other.key, other.value);
        check(memcmp(other.value, tokens[t].value, sizeof other.value) == 0, "value %u", t);
    }
    stream_destroy(a);
    stream_destroy(b);
}

static const struct bad {
    const char *name;
    stream_config config;
    tree_status status;
} bad[] = {
    {"no_heads", {0, 1, 8, 1, 0, 0, 1, 0, 1, 0}, TREE_BAD_SHAPE},
    {"no_kv_heads", {1, 0, 8, 1, 0, 0, 1, 0, 1, 0}, TREE_BAD_SHAPE},
    {"heads_in_unequal_groups", {8, 3, 8, 1, 0, 0, 1, 0, 1, 0}, TREE_BAD_SHAPE},
    {"head_dim_0", {1, 1, 0, 1, 0, 0, 1, 0, 1, 0}, TREE_BAD_SHAPE},
    {"huge_shape", {UINT32_MAX, UINT32_MAX, UINT32_MAX, 1, 0, 0, 1, 0, 1, 0}, TREE_BAD_SHAPE},
    {"huge_means", {1u << 17, 1u << 17, 1u << 31, STREAM_MAX_TOPICS, 0, 0, 1, 0, 1, 0}, TREE_OVERFLOW},
    {"no_topics", {1, 1, 8, 0, 0, 0, 1, 0, 1, 0}, TREE_INVAL},
    {"too_many_topics", {1, 1, 8, STREAM_MAX_TOPICS + 1, 0, 0, 1, 0, 1, 0}, TREE_INVAL},
    {"rho_below_0", {1, 1, 8, 1, 0, -0.1, 1, 0, 1, 0}, TREE_INVAL},
    {"rho_above_1", {1, 1, 8, 1, 0, 1.001, 1, 0, 1, 0}, TREE_INVAL},
    {"rho_nan", {1, 1, 8, 1, 0, NAN, 1, 0, 1, 0}, TREE_INVAL},
    {"scale_below_0", {1, 1, 8, 1, 0, 0, -1, 0, 1, 0}, TREE_INVAL},
    {"scale_infinite", {1, 1, 8, 1, 0, 0, INFINITY, 0, 1, 0}, TREE_INVAL},
    {"scale_nan", {1, 1, 8, 1, 0, 0, NAN, 0, 1, 0}, TREE_INVAL},
    {"focus_below_0", {1, 1, 8, 1, 0, 0, 1, -0.5, 1, 0}, TREE_INVAL},
    {"focus_above_1", {1, 1, 8, 1, 0, 0, 1, 1.5, 1, 0}, TREE_INVAL},
    {"focus_nan", {1, 1, 8, 1, 0, 0, 1, NAN, 1, 0}, TREE_INVAL},
    {"value_noise_below_0", {1, 1, 8, 1, 0, 0, 1, 0, -1, 0}, TREE_INVAL},
    {"value_noise_nan", {1, 1, 8, 1, 0, 0, 1, 0, NAN, 0}, TREE_INVAL},
};

static void run_bad(const void *argument)
{
    const struct bad *b = argument;
    stream *s = (stream *)&tokens;
    tree_status status = stream_create(&s, &b->config);
    check(status == b->status, "status %d, not %d", status, b->status);
    check(s == (stream *)&tokens, "the result is untouched");
}

static void run_names(const void *argument)
{
    (void)argument;
    check(num_stream_presets >= 6, "%u presets", num_stream_presets);
    for (uint32_t i = 0; i < num_stream_presets; i++) {
        check(stream_preset_from_name(stream_presets[i].name) == &stream_presets[i], "name %u is found", i);
        check(stream_presets[i].sentence[0] != '\0', "preset %u has a sentence", i);
    }
    check(stream_preset_from_name("topic") == NULL, "a part of a name is none");
    check(stream_preset_from_name("") == NULL, "nor is the empty one");
    stream_destroy(NULL);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "a stream has the statistics of its parameters, and a seed's bits on every machine");
    for (uint32_t i = 0; i < num_stream_presets; i++)
        test_add(run_scores, &stream_presets[i], "scores_%s", stream_presets[i].name);
    for (size_t i = 0; i < sizeof rhos / sizeof rhos[0]; i++)
        test_add(run_drift, &rhos[i], "drift_rho_%g", rhos[i]);
    test_add(run_means, NULL, "means_and_noise");
    test_add(run_topics, NULL, "topics_change");
    test_add(run_bits, NULL, "bits_of_a_seed");
    test_add(run_two, NULL, "two_streams_in_turn");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        test_add(run_bad, &bad[i], "bad_%s", bad[i].name);
    test_add(run_names, NULL, "names");
    return test_end();
}
