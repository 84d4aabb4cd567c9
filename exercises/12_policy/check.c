/* The student's scores in the project's cache of one branch, on three synthetic streams. */
#include "exercise.h"

#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "stream_error.h"

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

static const eviction_policy yours = {.name = "yours",
                                      .variant = "",
                                      .source = "",
                                      .window = 1,
                                      .interval = 1,
                                      .candidates = eviction_all,
                                      .score = score_student};

/* Means over three streams. limit: times the error of random eviction. */
static void compare(const char *name, stream_config config, double limit)
{
    const eviction_policy *policies[] = {&random_victim, eviction_policy_from_name("longflow"), &yours};
    double errors[3] = {0, 0, 0};
    for (config.seed = 1; config.seed <= 3; config.seed++) {
        stream_record record = stream_record_create(&config, TOKENS);
        for (int p = 0; p < 3; p++) errors[p] += stream_error_of(&record, policies[p], BUDGET, FIRST_MEASURED).mean / 3;
        stream_record_destroy(&record);
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
