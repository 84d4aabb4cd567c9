/* The student's scores in the project's cache of one branch, on three synthetic streams. */
#include "exercise.h"

#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "eviction_cache.h"
#include "stream.h"

enum { TOKENS = 256, BUDGET = 32, HEADS = 4, KV_HEADS = 2, DIM = 16, FIRST_MEASURED = 64 };

static bool all_finite = true, all_written = true;

static void score_student(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    uint32_t n = view->tokens->num_tokens;
    double *given = malloc(n * sizeof *given); /* of exactly this size */
    must(given != NULL, "out of memory");
    for (uint32_t t = 0; t < n; t++) given[t] = 0x1p100;
    exercise_score(given, view);
    for (uint32_t t = 0; t < n; t++) {
        all_finite &= isfinite(given[t]) != 0;
        all_written &= given[t] != 0x1p100;
        score[t] = isfinite(given[t]) ? given[t] : 0;
    }
    free(given);
}

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* A new random score for each token and step, as in measure/stream_error.c. */
static void score_random(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    const token_list *tokens = view->tokens;
    uint64_t now = tokens->positions[tokens->num_tokens - 1];
    for (uint32_t t = 0; t < tokens->num_tokens; t++)
        score[t] = (double)(mix(view->seed + mix(now << 32 | tokens->positions[t])) >> 40);
}

static const eviction_policy yours = {.name = "yours",
                                      .variant = "",
                                      .source = "",
                                      .window = 1,
                                      .interval = 1,
                                      .candidates = eviction_all,
                                      .score = score_student};
static const eviction_policy at_random = {.name = "random",
                                          .variant = "",
                                          .source = "",
                                          .window = 1,
                                          .interval = 1,
                                          .candidates = eviction_all,
                                          .score = score_random};

static float query[TOKENS][HEADS][DIM], key[TOKENS][KV_HEADS][DIM], value[TOKENS][KV_HEADS][DIM];
static float expected[TOKENS][HEADS][DIM], out[HEADS][DIM];

static void run(float (*to)[HEADS][DIM], uint32_t step, const eviction_policy *policy, uint32_t budget, uint64_t seed,
                double *error)
{
    eviction_cache *cache;
    const eviction_config config = {.num_heads = HEADS,
                                    .num_kv_heads = KV_HEADS,
                                    .head_dim = DIM,
                                    .budget = budget,
                                    .policy = policy,
                                    .seed = seed};
    must(eviction_cache_create(&cache, &config) == TREE_OK, "no cache");
    *error = 0;
    for (uint32_t t = 0; t < TOKENS; t++) {
        float *output = (float *)to[step * t];
        const float *all = (const float *)expected[t];
        must(eviction_cache_step(cache, output, (float *)query[t], (float *)key[t], (float *)value[t], NULL) == TREE_OK,
             "no step");
        double distance = 0, norm = 0;
        for (uint32_t i = 0; i < HEADS * DIM; i++) {
            double e = (double)all[i], d = (double)output[i] - e;
            distance += d * d, norm += e * e;
        }
        if (t >= FIRST_MEASURED) *error += sqrt(distance / norm) / (TOKENS - FIRST_MEASURED);
    }
    eviction_cache_destroy(cache);
}

/* Means over three streams. limit: times the error of random eviction. */
static void compare(const char *name, stream_config config, double limit)
{
    const eviction_policy *policies[] = {&at_random, eviction_policy_from_name("longflow"), &yours};
    double errors[3] = {0, 0, 0}, error;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        stream *s;
        config.seed = seed;
        must(stream_create(&s, &config) == TREE_OK, "no stream");
        for (uint32_t t = 0; t < TOKENS; t++) stream_next(s, (float *)query[t], (float *)key[t], (float *)value[t]);
        stream_destroy(s);
        run(expected, 1, eviction_policy_from_name("full"), TOKENS, seed, &error);
        for (int p = 0; p < 3; p++) {
            run(&out, 0, policies[p], BUDGET, seed, &error);
            errors[p] += error / 3;
        }
    }
    score("%-13s error of random %5.3f, of longflow %5.3f, of yours %5.3f", name, errors[0], errors[1], errors[2]);
    expect(errors[2] < limit * errors[0], "expected an error below %.4f, got %.4f", limit * errors[0], errors[2]);
}

int main(void)
{
    stream_config config = {.num_heads = HEADS,
                            .num_kv_heads = KV_HEADS,
                            .head_dim = DIM,
                            .num_topics = 1,
                            .rho = 0.9999,
                            .logit_scale = 4,
                            .value_noise = 0.5};
    property("at most half the error of random eviction on the stream `drifting`");
    compare("drifting", config, 0.5);

    property("better than random eviction on the stream `topics`");
    config.num_topics = 4, config.dwell_tokens = 64, config.focus = 0.25, config.rho = 0.99, config.logit_scale = 2;
    compare("topics", config, 1);

    property("better than random eviction on the stream `sharp topics`");
    config.logit_scale = 4;
    compare("sharp topics", config, 1);

    property("every token has a score");
    expect(all_written, "expected num_tokens scores to be written, got fewer");

    property("every score is finite");
    expect(all_finite, "a score is NaN or infinite");
    return finish();
}
