/* eviction_error: how far attention over a policy's kept tokens is from attention over all tokens, for each regime of
 * the synthetic streams, policy and budget.
 *
 * measure_eviction_error [CSV] */
#include "provenance.h"
#include "stream_error.h"

enum { NUM_TOKENS = 3072, FIRST_TOKEN = 1536, NUM_SEEDS = 2 };

static const char *const regimes[] = {"stationary", "stationary_slow", "topics", "topics_slow", "topics_short"};
static const char *const policies[] = {"random_victim", "random", "sink_window", "longflow", "exact_deletion", "h2o",
                                       "current_mass",  "vatp",   "rkv",         "snapkv",   "longflow_l2"};
static const uint32_t budgets[] = {128, 256, 512, 1024};
enum {
    NUM_REGIMES = sizeof regimes / sizeof regimes[0],
    NUM_POLICIES = sizeof policies / sizeof policies[0],
    NUM_BUDGETS = sizeof budgets / sizeof budgets[0],
    NUM_JOBS = NUM_POLICIES * NUM_BUDGETS * NUM_SEEDS
};

static const eviction_policy *policy_of(const char *name)
{
    return strcmp(name, random_victim.name) == 0 ? &random_victim : eviction_policy_from_name(name);
}

/* One regime: every seed is recorded once, then all policies and budgets run over the records. */
static void measure(FILE *csv, const stream_preset *preset)
{
    stream_record records[NUM_SEEDS];
    stream_error errors[NUM_POLICIES][NUM_BUDGETS][NUM_SEEDS];
#pragma omp parallel for schedule(dynamic, 1)
    for (int seed = 0; seed < NUM_SEEDS; seed++) {
        stream_config config = preset->config;
        config.seed = (uint64_t)seed + 1;
        records[seed] = stream_record_create(&config, NUM_TOKENS);
    }
#pragma omp parallel for schedule(dynamic, 1)
    for (int job = NUM_JOBS - 1; job >= 0; job--) { /* the largest budgets first */
        int budget = job / (NUM_POLICIES * NUM_SEEDS), policy = job / NUM_SEEDS % NUM_POLICIES, seed = job % NUM_SEEDS;
        errors[policy][budget][seed] =
            stream_error_of(&records[seed], policy_of(policies[policy]), budgets[budget], FIRST_TOKEN);
    }
    for (int policy = 0; policy < NUM_POLICIES; policy++) {
        for (int budget = 0; budget < NUM_BUDGETS; budget++) {
            double mean = 0, worst = 0;
            fprintf(csv, "%s,%s,%u", preset->name, policies[policy], budgets[budget]);
            for (int seed = 0; seed < NUM_SEEDS; seed++) {
                stream_error error = errors[policy][budget][seed];
                mean += error.mean / NUM_SEEDS;
                worst = error.worst > worst ? error.worst : worst;
            }
            fprintf(csv, ",%.4f,%.3f", mean, worst);
            for (int seed = 0; seed < NUM_SEEDS; seed++) fprintf(csv, ",%.4f", errors[policy][budget][seed].mean);
            fprintf(csv, "\n");
        }
    }
    for (int seed = 0; seed < NUM_SEEDS; seed++) stream_record_destroy(&records[seed]);
    fflush(csv);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : TREEATTN_SOURCE_DIR "/figures/eviction_error.csv";
    FILE *csv = figure_open(path, "measure_eviction_error", "exact arithmetic of the reference, no clock");
    fprintf(csv,
            "# %d tokens per stream, errors of tokens from %d on; %d/%d heads, head_dim %d; seeds 1 to %d\n"
            "# mean: over tokens and seeds; worst: the largest of any token and seed\n",
            NUM_TOKENS, FIRST_TOKEN, stream_presets[0].config.num_heads, stream_presets[0].config.num_kv_heads,
            stream_presets[0].config.head_dim, NUM_SEEDS);
    for (int i = 0; i < NUM_REGIMES; i++) stream_preset_describe(csv, stream_preset_from_name(regimes[i]));
    fprintf(csv, "regime,policy,budget,mean,worst");
    for (int seed = 0; seed < NUM_SEEDS; seed++) fprintf(csv, ",mean_%d", seed + 1);
    fprintf(csv, "\n");
    for (int i = 0; i < NUM_REGIMES; i++) measure(csv, stream_preset_from_name(regimes[i]));
    figure_close(csv);
    return 0;
}
