/* Claim: the error that the figures of eviction draw is the distance between attention over the kept tokens and attention
 * over all, as a loop over the stream's tokens finds it. */
#include <math.h>

#include "stream_error.h"
#include "test.h"

enum { HEADS = 4, KV_HEADS = 2, DIM = 8, TOKENS = 60, FIRST = 20, BUDGET = 12, SINKS = 4 };

static stream_record create_record(void)
{
    stream_config config = {HEADS, KV_HEADS, DIM, 3, 10, 0.9, 3, 0.25, 0.5, test_seed()};
    return stream_record_create(&config, TOKENS);
}

/* out [DIM] of one head at token `now`, over the tokens before `end` and those from `start` to `now`. */
static void attend(double *out, const stream_record *r, uint32_t now, uint32_t head, uint32_t end, uint32_t start)
{
    double weight[TOKENS], sum = 0;
    uint32_t kv_head = head / (HEADS / KV_HEADS);
    for (uint32_t d = 0; d < DIM; d++)
        out[d] = 0;
    for (uint32_t t = 0; t <= now; t++) {
        double dot = 0;
        for (uint32_t d = 0; d < DIM; d++)
            dot += (double)stream_record_query(r, now)[head * DIM + d] * r->key[(t * KV_HEADS + kv_head) * DIM + d];
        weight[t] = t < end || t >= start ? exp(dot / sqrt(DIM)) : 0;
        sum += weight[t];
    }
    for (uint32_t t = 0; t <= now; t++)
        for (uint32_t d = 0; d < DIM; d++)
            out[d] += weight[t] / sum * r->value[(t * KV_HEADS + kv_head) * DIM + d];
}

/* A window needs no scores: its kept tokens are known. The token of a step is attended to before one is evicted. */
static void run_window(const void *argument)
{
    (void)argument;
    stream_record r = create_record();
    stream_error expected = {0, 0, 0}, error = stream_error_of(&r, eviction_policy_from_name("sink_window"), BUDGET, FIRST);
    for (uint32_t t = FIRST; t < TOKENS; t++) {
        double distance = 0, norm = 0;
        for (uint32_t head = 0; head < HEADS; head++) {
            double kept[DIM], all[DIM];
            attend(kept, &r, t, head, SINKS, t - (BUDGET - SINKS));
            attend(all, &r, t, head, TOKENS, 0);
            for (uint32_t d = 0; d < DIM; d++) {
                distance += (kept[d] - all[d]) * (kept[d] - all[d]);
                norm += all[d] * all[d];
            }
        }
        expected.mean += sqrt(distance / norm) / (TOKENS - FIRST);
        if (sqrt(distance / norm) > expected.worst) {
            expected.worst = sqrt(distance / norm);
            expected.worst_token = t;
        }
    }
    test_note("mean=%.6f worst=%.6f", error.mean, error.worst);
    check(expected.mean > 0.05 && expected.worst > 1.2 * expected.mean, "a window makes errors: %.3f", expected.mean);
    check(fabs(error.mean / expected.mean - 1) <= 1e-5, "mean %.8f, not %.8f", error.mean, expected.mean);
    check(fabs(error.worst / expected.worst - 1) <= 1e-5, "worst %.8f, not %.8f", error.worst, expected.worst);
    check(error.worst_token == expected.worst_token, "at token %u, not %u", error.worst_token, expected.worst_token);
    stream_record_destroy(&r);
}

/* Nothing is evicted, so nothing is lost, to the last bit. */
static void run_nothing(const void *argument)
{
    (void)argument;
    stream_record r = create_record();
    stream_error full = stream_error_of(&r, eviction_policy_from_name("full"), BUDGET, FIRST);
    check(full.mean == 0 && full.worst == 0, "the whole cache: %g", full.worst);
    stream_error longflow = stream_error_of(&r, eviction_policy_from_name("longflow"), TOKENS, 0);
    check(longflow.mean == 0 && longflow.worst == 0, "a budget of all tokens: %g", longflow.worst);
    longflow = stream_error_of(&r, eviction_policy_from_name("longflow"), TOKENS - 2, 0);
    check(longflow.worst > 0, "two tokens less");
    stream_record_destroy(&r);
}

/* LongFlow's largest error is right after a change of topic, as the caption of eviction_error says: the new queries attend
 * to tokens that had no weight before. */
static void run_worst(const void *argument)
{
    (void)argument;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        stream_config config = stream_preset_from_name("topics")->config;
        config.num_heads = 4;
        config.head_dim = 32;
        config.dwell_tokens = 128;
        config.seed = seed;
        stream_record r = stream_record_create(&config, 640);
        stream_error error = stream_error_of(&r, eviction_policy_from_name("longflow"), 96, 256);
        test_note("seed %u: worst=%.3f mean=%.3f, %u tokens after a change", (unsigned)seed, error.worst, error.mean,
                  error.worst_token % config.dwell_tokens);
        check(error.worst > 2 * error.mean, "worst %.3f, mean %.3f", error.worst, error.mean);
        check(error.worst_token % config.dwell_tokens < 16, "at token %u", error.worst_token);
        stream_record_destroy(&r);
    }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "the error that the figures of eviction draw is that of a loop over the stream's tokens");
    test_add(run_window, NULL, "window_by_hand");
    test_add(run_nothing, NULL, "nothing_evicted");
    test_add(run_worst, NULL, "worst_after_a_change_of_topic");
    return test_end();
}
