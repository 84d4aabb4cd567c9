/* eviction_error: how far attention over a policy's kept tokens is from attention over all tokens, for each regime of
 * the synthetic streams, policy and budget.
 *
 * measure_eviction_error [CSV] */
#include "provenance.h"
#include "stream_error.h"

enum { NUM_TOKENS = 3072, FIRST_TOKEN = 1536, NUM_SEEDS = 2 };

static const char *const policies[] = {"random", "sink_window", "longflow", "exact_deletion", "current_mass", "h2o", "vatp", "rkv"};
static const uint32_t budgets[] = {128, 256, 512, 1024, 1536};
enum {
    NUM_POLICIES = sizeof policies / sizeof policies[0],
    NUM_BUDGETS = sizeof budgets / sizeof budgets[0],
    NUM_JOBS = NUM_POLICIES * NUM_BUDGETS * NUM_SEEDS
};

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
            stream_error_of(&records[seed], eviction_policy_from_name(policies[policy]), budgets[budget], FIRST_TOKEN);
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
            for (int seed = 0; seed < NUM_SEEDS; seed++)
                fprintf(csv, ",%.4f", errors[policy][budget][seed].mean);
            fprintf(csv, "\n");
        }
    }
    for (int seed = 0; seed < NUM_SEEDS; seed++)
        stream_record_destroy(&records[seed]);
    fflush(csv);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : TREEATTN_SOURCE_DIR "/figures/eviction_error.csv";
    FILE *csv = figure_open(path, "measure_eviction_error", "exact arithmetic of the reference, no clock");
    fprintf(csv, "# %d tokens per stream, errors of tokens from %d on; %d/%d heads, head_dim %d; seeds 1 to %d\n"
                 "# mean: over tokens and seeds; worst: the largest of any token and seed\n",
            NUM_TOKENS, FIRST_TOKEN, stream_presets[0].config.num_heads, stream_presets[0].config.num_kv_heads,
            stream_presets[0].config.head_dim, NUM_SEEDS);
    for (uint32_t i = 0; i < num_stream_presets; i++)
        fprintf(csv, "# %s: %s\n", stream_presets[i].name, stream_presets[i].sentence);
    fprintf(csv, "regime,policy,budget,mean,worst");
    for (int seed = 0; seed < NUM_SEEDS; seed++)
        fprintf(csv, ",mean_%d", seed + 1);
    fprintf(csv, "\n");
    for (uint32_t i = 0; i < num_stream_presets; i++)
        measure(csv, &stream_presets[i]);
    figure_close(csv);
    return 0;
}
