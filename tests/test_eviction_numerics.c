/* Claim: three variants of the published kernels fail where their arithmetic must, and the reference does not: a
 * softmax without a maximum at scores of 89 and -104, a sentinel score in a fully masked row, and scores added in fp16,
 * which tie by the hundred. The variants live in this file. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "eviction_cases.h"
#include "half.h"
#include "test.h"

/* ---- variant: no maximum, fp32 ---- */

static float max_free_out(const float *score, const float *value, int count)
{
    float sum = 0, out = 0;
    for (int t = 0; t < count; t++) {
        sum += expf(score[t]);
        out += expf(score[t]) * value[t];
    }
    return out / sum;
}

/* ---- variant: a masked score is -1e35, which is also the first maximum ---- */

static float sentinel_out(const float *score, const float *value, const bool *live, int count)
{
    float max_score = -1e35f, sum = 0, out = 0;
    for (int t = 0; t < count; t++) {
        float s = live[t] ? score[t] : -1e35f;
        float larger = fmaxf(max_score, s), rescale = expf(max_score - larger), p = expf(s - larger);
        max_score = larger;
        sum = sum * rescale + p;
        out = out * rescale + p * value[t];
    }
    return out / sum;
}

/* One head of head_dim 1: out of the reference for the same scores, and the lse. */
static double reference_out(const float *score, const float *value, uint32_t count, double *lse)
{
    const float query = 1;
    uint64_t slots[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    uint32_t positions[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    tree_shape shape = {1, 1, 1, 1, 1, 8, TREE_FP32};
    double weights[8], out;
    attention_weights(weights, &out, lse, &query, score, value, &(token_list){count, slots, positions}, &shape, 1);
    return out;
}

static void run_max_free(const void *unused)
{
    (void)unused;
    static const float offsets[] = {0, 80, 85, 89, 100, -80, -100, -104, -200, 1e4f, -1e4f};
    const float value[4] = {1, 2, 3, 4};
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        float score[4], offset = offsets[i];
        for (int t = 0; t < 4; t++)
            score[t] = offset;
        bool fails = isnan(max_free_out(score, value, 4));
        check(fails == (offset >= 89 || offset <= -104), "scores of %g: the variant %s", offset,
              fails ? "fails" : "works");
        double out = reference_out(score, value, 4, NULL);
        check(fabs(out - 2.5) <= 1e-11, "scores of %g: %.17g", offset, out);
    }
}

static void run_one_score(const void *unused)
{
    (void)unused;
    const float score[4] = {0, 89, 1, 2}, value[4] = {1, 2, 3, 4};
    check(isnan(max_free_out(score, value, 4)), "one score of 89 spoils the variant's row");
    double out = reference_out(score, value, 4, NULL);
    check(fabs(out - 2) <= 1e-12, "%.17g", out);
}

static void run_sentinel(const void *unused)
{
    (void)unused;
    const float score[4] = {1, 2, 3, 4}, value[4] = {10, 20, 30, 40};
    const bool dead[4] = {false, false, false, false}, some[4] = {false, true, false, false};
    float out = sentinel_out(score, value, dead, 4);
    check(out == 25, "a row that sees nothing: %g, the mean of the dead slots", out);
    out = sentinel_out(score, value, some, 4);
    check(out == 20, "a row that sees one token: %g", out);
    double lse;
    check(reference_out(score, value, 0, &lse) == 0 && lse == -INFINITY, "the reference: no token, no output");
    const float hidden[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    check(reference_out(hidden, value, 4, &lse) == 0 && lse == -INFINITY, "all scores -infinity: the same");
}

/* ---- variant: scores in fp16, added over the heads in fp16 ---- */

typedef struct deviation {
    float score_std;
    uint32_t least_ties, most_ties; /* tokens that share the variant's minimum */
} deviation;

static const deviation deviations[] = {{3, 1, 3}, {8, 20, 500}, {16, 1000, 1900}};

enum { HEADS = 32, KV_HEADS = 8, DIM = 128, TOKENS = 2048, GROUP = HEADS / KV_HEADS };

/* rounded to fp16 */
static float half_of(double x) { return fp16_to_float(fp16_from_float((float)x)); }

/* variant, truth [TOKENS], added to: the scores of fp16, and the same in long double. */
static void score_tokens(float *variant, double *truth, const eviction_stream *stream, const float *query, float scale)
{
    for (uint32_t h = 0; h < HEADS; h++) {
        static long double a[TOKENS];
        long double sum = 0;
        for (uint32_t t = 0; t < TOKENS; t++) {
            const float *k = stream_key(stream, t) + h / GROUP * DIM;
            double score = 0;
            for (uint32_t d = 0; d < DIM; d++)
                score += (double)query[h * DIM + d] * k[d];
            sum += a[t] = expl(score * scale);
        }
        for (uint32_t t = 0; t < TOKENS; t++) {
            const float *v = stream_value(stream, t) + h / GROUP * DIM;
            double weight = (double)(a[t] / sum);
            float of_head = 0, p = half_of(weight);
            for (uint32_t d = 0; d < DIM; d++) {
                of_head += fabsf(half_of(p * v[d]));
                truth[t] += fabs(weight * v[d]) / (HEADS * DIM);
            }
            variant[t] = half_of(variant[t] + half_of(of_head));
        }
    }
}

static void check_deviation(const deviation *c, const eviction_stream *stream, const float *query)
{
    eviction_pool pool = eviction_pool_create(stream, 16);
    float scale = c->score_std / sqrtf(DIM);
    double *weights = malloc((size_t)HEADS * TOKENS * sizeof *weights);
    double *importance = malloc(TOKENS * sizeof *importance);
    double *truth = calloc(TOKENS, sizeof *truth);
    float *variant = calloc(TOKENS, sizeof *variant);
    check(weights && importance && truth && variant, "out of memory");
    attention_weights(weights, NULL, NULL, query, pool.key, pool.value, &pool.tokens, &pool.shape, scale);
    importance_ref(importance, weights, pool.norm, &pool.tokens, &pool.shape);

    score_tokens(variant, truth, stream, query, scale);
    uint32_t num_ties = 0, lowest = 0, rank = 0;
    for (uint32_t t = 0; t < TOKENS; t++) {
        if (variant[t] < variant[lowest])
            lowest = t;
    }
    for (uint32_t t = 0; t < TOKENS; t++) {
        num_ties += variant[t] == variant[lowest];
        rank += truth[t] < truth[lowest];
    }
    check(c->least_ties <= num_ties && num_ties <= c->most_ties, "%u tokens share the variant's minimum %g", num_ties,
          variant[lowest]);
    test_note("fp16, std %g: %u ties at %g, the victim's true rank is %u", c->score_std, num_ties, variant[lowest],
              rank);

    uint64_t key = eviction_victim(importance, &pool.tokens, (eviction_range){0, UINT32_MAX});
    check(key != EVICTION_NONE && key != EVICTION_NOT_FINITE, "no victim");
    double least = truth[0];
    for (uint32_t t = 0; t < TOKENS; t++) {
        least = fmin(least, truth[t]);
        check(fabs(importance[t] - truth[t]) <= 1e-6 * truth[t], "token %u: %.9g for %.9g", t, importance[t], truth[t]);
    }
    double of_victim = truth[eviction_key_position(key)];
    check(of_victim <= least * (1 + 1e-4), "our victim has %.9g, the minimum is %.9g", of_victim, least);
    uint32_t equal_keys = 0;
    for (uint32_t t = 0; t < TOKENS; t++)
        equal_keys += eviction_key((float)importance[t], 0) >> 32 == key >> 32;
    check(equal_keys == 1, "%u tokens share our minimum", equal_keys);
    free(weights);
    free(importance);
    free(truth);
    free(variant);
    eviction_pool_destroy(&pool);
}

static void run_fp16(const void *unused)
{
    (void)unused;
    static float query[HEADS * DIM];
    eviction_stream s = eviction_stream_random(KV_HEADS, KV_HEADS, DIM, TOKENS, 1);
    s.num_heads = HEADS; /* one query is enough */
    for (int i = 0; i < HEADS * DIM; i++)
        query[i] = (float)test_normal();
    for (size_t i = 0; i < (size_t)TOKENS * KV_HEADS * DIM; i++)
        s.values[i] = half_of(test_normal());
    for (size_t i = 0; i < sizeof deviations / sizeof deviations[0]; i++)
        check_deviation(&deviations[i], &s, query);
    eviction_stream_destroy(&s);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "the shipped variants fail by their arithmetic, and the reference does not");
    test_add(run_max_free, NULL, "max_free");
    test_add(run_one_score, NULL, "max_free_one_score");
    test_add(run_sentinel, NULL, "sentinel");
    test_add(run_fp16, NULL, "fp16");
    return test_end();
}
