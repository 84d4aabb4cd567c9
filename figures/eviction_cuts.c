/* eviction_cuts: which of LongFlow's three approximations costs how much. Each score takes back one more of them.
 *
 *   longflow        importance for the query of this step
 *   exact_deletion  denominator: the exact error of deleting the token, for the query of this step
 *   exact_next      query: the same for the true query of the next step
 *   horizon_W       horizon: the squares of that error, added over queries among the next W steps
 *
 * The last ones look into the future: they are oracles, no policies.
 *
 * measure_eviction_cuts [CSV] */
#include <math.h>
#include <stdlib.h>

#include "provenance.h"
#include "stream_error.h"

enum { NUM_TOKENS = 3072, FIRST_TOKEN = 1536, BUDGET = 512, NUM_SEEDS = 2, NUM_SAMPLES = 8 };

static const char *const regimes[] = {"stationary", "stationary_slow", "topics", "topics_short"};

/* The stream that the running policy sees: its future queries are there. */
static _Thread_local const stream_record *record;

/* score [num_tokens] = root of the sum, over at most NUM_SAMPLES queries among the next `horizon`, of the squared error
 * of deleting the token. Behind the last query of the stream: its own. */
static void score_future(double *score, const eviction_view *view, uint32_t horizon)
{
    const token_list *tokens = view->tokens;
    const tree_shape *shape = view->shape;
    uint32_t n = tokens->num_tokens, now = tokens->positions[n - 1], stride = (horizon + NUM_SAMPLES - 1) / NUM_SAMPLES;
    double *weights = malloc(((uint64_t)shape->num_heads * (n + shape->head_dim) + n) * sizeof *weights);
    figure_check(weights != NULL, "out of memory");
    double *out = weights + (uint64_t)shape->num_heads * n, *error = out + (uint64_t)shape->num_heads * shape->head_dim;
    for (uint32_t t = 0; t < n; t++)
        score[t] = 0;
    for (uint32_t ahead = stride; ahead <= horizon; ahead += stride) {
        uint32_t token = now + ahead < record->num_tokens ? now + ahead : record->num_tokens - 1;
        attention_weights(weights, out, NULL, stream_record_query(record, token), view->key, view->value, tokens, shape,
                          view->scale);
        deletion_error(error, weights, out, view->value, tokens, shape);
        for (uint32_t t = 0; t < n; t++)
            score[t] += error[t] * error[t];
    }
    for (uint32_t t = 0; t < n; t++)
        score[t] = fmin(sqrt(score[t]), 1e30);
    free(weights);
}

static void score_next(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    score_future(score, view, 1);
}

static void score_16(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    score_future(score, view, 16);
}

static void score_128(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    score_future(score, view, 128);
}

static void score_1024(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    score_future(score, view, 1024);
}

#define ORACLE(title, score_function) \
    {.name = title, .window = 1, .interval = 1, .candidates = eviction_all, .score = score_function}
static const eviction_policy oracles[] = {ORACLE("exact_next", score_next), ORACLE("horizon_16", score_16),
                                          ORACLE("horizon_128", score_128), ORACLE("horizon_1024", score_1024)};
enum { NUM_ORACLES = sizeof oracles / sizeof oracles[0], NUM_SCORES = 3 + NUM_ORACLES };
enum { NUM_JOBS = NUM_SCORES * NUM_SEEDS };

static void measure(FILE *csv, const stream_preset *preset)
{
    stream_record records[NUM_SEEDS];
    stream_error errors[NUM_JOBS];
    const eviction_policy *policies[NUM_SCORES] = {&random_victim, eviction_policy_from_name("longflow"),
                                                   eviction_policy_from_name("exact_deletion")};
    for (int i = 0; i < NUM_ORACLES; i++)
        policies[3 + i] = &oracles[i];
#pragma omp parallel for schedule(dynamic, 1)
    for (int seed = 0; seed < NUM_SEEDS; seed++) {
        stream_config config = preset->config;
        config.seed = (uint64_t)seed + 1;
        records[seed] = stream_record_create(&config, NUM_TOKENS);
    }
#pragma omp parallel for schedule(dynamic, 1)
    for (int job = NUM_JOBS - 1; job >= 0; job--) { /* the slow ones first */
        record = &records[job % NUM_SEEDS];
        errors[job] = stream_error_of(record, policies[job / NUM_SEEDS], BUDGET, FIRST_TOKEN);
    }
    for (int i = 0; i < NUM_SCORES; i++) {
        stream_error all = {0, 0, 0};
        for (int seed = 0; seed < NUM_SEEDS; seed++) {
            stream_error one = errors[i * NUM_SEEDS + seed];
            all.mean += one.mean / NUM_SEEDS;
            all.worst = one.worst > all.worst ? one.worst : all.worst;
        }
        fprintf(csv, "%s,%s,%d,%.4f,%.3f\n", preset->name, policies[i]->name, i, all.mean, all.worst);
    }
    for (int seed = 0; seed < NUM_SEEDS; seed++)
        stream_record_destroy(&records[seed]);
    fflush(csv);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : TREEATTN_SOURCE_DIR "/figures/eviction_cuts.csv";
    FILE *csv = figure_open(path, "measure_eviction_cuts", "exact arithmetic of the reference, no clock");
    fprintf(csv, "# %d tokens per stream, errors of tokens from %d on; budget %d; %d/%d heads, head_dim %d; "
                 "seeds 1 to %d\n"
                 "# mean: over tokens and seeds; worst: the largest of any token and seed\n"
                 "# horizon_16, 128, 1024: %d queries, evenly spaced\n"
                 "# random_victim and longflow: policies; exact_deletion: the exact error of a deletion instead of "
                 "importance\n",
            NUM_TOKENS, FIRST_TOKEN, BUDGET, stream_presets[0].config.num_heads, stream_presets[0].config.num_kv_heads,
            stream_presets[0].config.head_dim, NUM_SEEDS, NUM_SAMPLES);
    for (size_t i = 0; i < sizeof regimes / sizeof regimes[0]; i++)
        stream_preset_describe(csv, stream_preset_from_name(regimes[i]));
    fprintf(csv, "regime,score,place,mean,worst\n");
    for (size_t i = 0; i < sizeof regimes / sizeof regimes[0]; i++)
        measure(csv, stream_preset_from_name(regimes[i]));
    figure_close(csv);
    return 0;
}
