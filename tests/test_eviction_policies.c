/* Claim: every policy scores as its publication says: each against a model of a few lines, written from the formulas
 * over plain matrices, with no code shared. A policy without a model fails. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eviction_cache.h"
#include "eviction_cases.h"
#include "test.h"

/* ---- the model's world: the stream, and which of its positions are kept ---- */

enum { MAX_TOKENS = 420 };

typedef struct world {
    const eviction_stream *m;
    uint32_t kept[MAX_TOKENS], n; /* positions, ascending; the last one is the current */
    uint32_t budget;
    uint64_t seed;
    double sum_mass[MAX_TOKENS], sum_importance[MAX_TOKENS]; /* by position, over the steps */
} world;

static double dot(const float *a, const float *b, uint32_t count)
{
    double sum = 0;
    while (count-- > 0)
        sum += (double)a[count] * b[count];
    return sum;
}

static uint32_t group_size(const world *w) { return w->m->num_heads / w->m->num_kv_heads; }
static const float *key_of(const world *w, uint32_t position, uint32_t g)
{
    return stream_key(w->m, position) + g * w->m->head_dim;
}
static const float *value_of(const world *w, uint32_t position, uint32_t g)
{
    return stream_value(w->m, position) + g * w->m->head_dim;
}
static double logit(const world *w, uint32_t query, uint32_t h, uint32_t position)
{
    const float *q = stream_query(w->m, query) + h * w->m->head_dim;
    return dot(q, key_of(w, position, h / group_size(w)), w->m->head_dim) / sqrt(w->m->head_dim);
}

/* a [n]: weights of a query over the kept tokens up to its position. Scores are small: no maximum. */
static void weights(double *a, const world *w, uint32_t query, uint32_t h)
{
    double sum = 0;
    for (uint32_t i = 0; i < w->n; i++)
        sum += a[i] = w->kept[i] <= query ? exp(logit(w, query, h, w->kept[i])) : 0;
    for (uint32_t i = 0; i < w->n; i++)
        a[i] /= sum;
}

static double norm(const world *w, uint32_t position, uint32_t g, int power)
{
    double sum = 0;
    for (uint32_t d = 0; d < w->m->head_dim; d++)
        sum += pow(fabs(value_of(w, position, g)[d]), power);
    return pow(sum, 1.0 / power);
}

/* score [n] = sum over heads of the current weight times the L1 or L2 norm of the value; power 0: of the weight */
static void weighted(double *score, const world *w, int power)
{
    double a[MAX_TOKENS];
    for (uint32_t i = 0; i < w->n; i++)
        score[i] = 0;
    for (uint32_t h = 0; h < w->m->num_heads; h++) {
        weights(a, w, w->kept[w->n - 1], h);
        for (uint32_t i = 0; i < w->n; i++)
            score[i] += a[i] * (power ? norm(w, w->kept[i], h / group_size(w), power) : 1);
    }
}

/* ---- a model for each policy: its candidates, and scores [n] up to a positive factor ---- */

typedef struct model {
    const char *name;
    uint32_t interval;
    uint32_t (*sinks)(uint32_t budget);
    uint32_t (*recent)(uint32_t budget);
    void (*score)(double *score, const world *w);
} model;

static uint32_t none(uint32_t budget) { return budget * 0; }
static uint32_t half(uint32_t budget) { return budget / 2; }
static uint32_t four(uint32_t budget) { return budget >= 8 ? 4 : budget / 2; }
static uint32_t all_but_four(uint32_t budget) { return budget - four(budget); }
static uint32_t four_at_most_a_quarter(uint32_t budget) { return budget >= 16 ? 4 : budget / 4; }
static uint32_t last_8(uint32_t budget) { return budget >= 16 ? 8 : budget / 2; }
static uint32_t last_32(uint32_t budget) { return budget >= 64 ? 32 : budget / 2; }

static void score_position(double *score, const world *w)
{
    for (uint32_t i = 0; i < w->n; i++)
        score[i] = w->kept[i];
}

/* splitmix64 as published by Vigna, of the position, then of the seed and the first result */
static uint64_t splitmix64_next(uint64_t *x)
{
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static void score_random(double *score, const world *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        uint64_t x = w->kept[i];
        uint64_t y = w->seed + splitmix64_next(&x) - 0x9e3779b97f4a7c15u;
        score[i] = (double)(splitmix64_next(&y) / (1u << 20) / (1u << 20)); /* the high 24 bits */
    }
}

static void score_longflow(double *score, const world *w) { weighted(score, w, 1); }
static void score_longflow_l2(double *score, const world *w) { weighted(score, w, 2); }
static void score_current_mass(double *score, const world *w) { weighted(score, w, 0); }
static void score_h2o(double *score, const world *w)
{
    for (uint32_t i = 0; i < w->n; i++)
        score[i] = w->sum_mass[w->kept[i]];
}
static void score_vatp(double *score, const world *w)
{
    for (uint32_t i = 0; i < w->n; i++)
        score[i] = w->sum_importance[w->kept[i]];
}

/* out with token i and without it */
static void score_exact_deletion(double *score, const world *w)
{
    double a[MAX_TOKENS];
    memset(score, 0, w->n * sizeof *score);
    for (uint32_t h = 0; h < w->m->num_heads; h++) {
        weights(a, w, w->kept[w->n - 1], h);
        for (uint32_t d = 0; d < w->m->head_dim; d++) {
            double with = 0;
            for (uint32_t j = 0; j < w->n; j++)
                with += a[j] * value_of(w, w->kept[j], h / group_size(w))[d];
            for (uint32_t i = 0; i < w->n; i++) {
                double without = (with - a[i] * value_of(w, w->kept[i], h / group_size(w))[d]) / (1 - a[i]);
                score[i] += (with - without) * (with - without);
            }
        }
    }
    for (uint32_t i = 0; i < w->n; i++)
        score[i] = sqrt(score[i]);
}

static void score_snapkv(double *score, const world *w)
{
    uint32_t last = w->kept[w->n - 1], window = last_32(w->budget);
    double mass[MAX_TOKENS + 4] = {0}, a[MAX_TOKENS]; /* mass[i + 2] of token i */
    for (uint32_t q = 0; q < window && q <= last; q++)
        for (uint32_t h = 0; h < w->m->num_heads; h++) {
            weights(a, w, last - q, h);
            for (uint32_t i = 0; i < w->n && w->kept[i] + window <= last; i++)
                mass[i + 2] += a[i];
        }
    for (uint32_t i = 0; i < w->n; i++)
        score[i] = (mass[i] + mass[i + 1] + mass[i + 2] + mass[i + 3] + mass[i + 4]) / 5;
}

static void softmax(double *x, uint32_t count)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += x[i] = exp(x[i]);
    for (uint32_t i = 0; i < count; i++)
        x[i] /= sum;
}

static void score_rkv(double *score, const world *w)
{
    uint32_t n = w->n, window = last_8(w->budget), before = 0, last = w->kept[n - 1];
    while (before < n && w->kept[before] + window <= last)
        before++;
    static double cosine[MAX_TOKENS][MAX_TOKENS];
    memset(score, 0, n * sizeof *score);
    for (uint32_t g = 0; g < w->m->num_kv_heads; g++) {
        double mean[MAX_TOKENS] = {0}, redundancy[MAX_TOKENS] = {0};
        for (uint32_t q = 0; q < window; q++) {
            double a[MAX_TOKENS];
            for (uint32_t i = 0; i < before; i++) {
                a[i] = logit(w, last - q, g * group_size(w), w->kept[i]);
                for (uint32_t h = 1; h < group_size(w); h++)
                    a[i] = fmax(a[i], logit(w, last - q, g * group_size(w) + h, w->kept[i]));
            }
            softmax(a, before);
            for (uint32_t i = 0; i < before; i++)
                mean[i] += a[i] / window;
        }
        for (uint32_t i = 0; i < n; i++) {
            uint32_t latest = n;
            for (uint32_t j = 0; j < n; j++) {
                const float *a = key_of(w, w->kept[i], g), *b = key_of(w, w->kept[j], g);
                uint32_t D = w->m->head_dim;
                cosine[i][j] = i == j ? 0 : dot(a, b, D) / (sqrt(dot(a, a, D)) * sqrt(dot(b, b, D)));
                if (cosine[i][j] > 0.5)
                    latest = j;
            }
            if (latest < n)
                cosine[i][latest] = 0;
        }
        for (uint32_t j = 0; j < n; j++)
            for (uint32_t i = 0; i < n; i++)
                redundancy[j] += cosine[i][j] / n;
        softmax(redundancy, n);
        for (uint32_t i = 0; i < before; i++) {
            double pooled = 0;
            for (uint32_t j = 0; j < before; j++)
                if (j + 3 >= i && j <= i + 3)
                    pooled = fmax(pooled, mean[j]);
            score[i] += 0.07 * pooled - 0.93 * redundancy[i];
        }
    }
}

static const model models[] = {
    {"full", 0, none, none, score_position},
    {"random", 1, none, none, score_random},
    {"sink_window", 1, four, all_but_four, score_position},
    {"longflow", 1, none, none, score_longflow},
    {"longflow_l2", 1, none, none, score_longflow_l2},
    {"current_mass", 1, none, half, score_current_mass},
    {"h2o", 1, none, half, score_h2o},
    {"vatp", 1, four_at_most_a_quarter, half, score_vatp},
    {"rkv", 128, none, last_8, score_rkv},
    {"snapkv", 1, none, last_32, score_snapkv},
    {"exact_deletion", 1, none, none, score_exact_deletion},
};

static const model *model_of(const eviction_policy *policy)
{
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        if (!strcmp(models[i].name, policy->name))
            return &models[i];
    return NULL;
}

/* ---- a stream through the cache, and beside it the model ---- */

typedef struct config {
    const char *name;
    uint32_t num_heads, num_kv_heads, head_dim, budget;
} config;

static const config configs[] = {
    {"group_of_1", 2, 2, 5, 24},
    {"group_of_4", 8, 2, 3, 20},
    {"one_kv_head", 3, 1, 11, 70},
    {"small_budget", 2, 1, 4, 5},
};

typedef struct subject {
    const eviction_policy *policy;
    const config *config;
    const eviction_policy *prompt_policy;
} subject;

static void add_step(world *w, uint32_t position)
{
    w->kept[w->n++] = position;
    double mass[MAX_TOKENS], importance[MAX_TOKENS];
    weighted(mass, w, 0);
    weighted(importance, w, 1);
    for (uint32_t i = 0; i < w->n; i++) {
        w->sum_mass[w->kept[i]] += mass[i];
        w->sum_importance[w->kept[i]] += importance[i];
    }
}

/* The victims are candidates, `count` of them, and no survivor among the candidates has a lower score: the largest
 * score of a victim is at most the smallest of a survivor, but for rounding to float. Then they leave the model too. */
static void check_victims(world *w, const model *m, const eviction_step *step, uint32_t count)
{
    double score[MAX_TOKENS], most = -INFINITY, least = INFINITY, size = 0;
    uint32_t num_kept = 0, num_victims = 0, last = w->kept[w->n - 1];
    check(step->num_tokens == w->n, "position %u: %u tokens for %u", last, step->num_tokens, w->n);
    check(step->num_victims == count, "position %u: %u victims for %u", last, step->num_victims, count);
    if (!count)
        return;
    m->score(score, w);
    for (uint32_t i = 0; i < w->n; i++) {
        uint32_t position = w->kept[i];
        bool candidate = position >= m->sinks(w->budget) && position + m->recent(w->budget) <= last;
        bool victim = num_victims < count && step->victims[num_victims] == position;
        check(candidate || !victim, "position %u: %u is no candidate", last, position);
        size = fmax(size, fabs(score[i]));
        if (victim)
            most = fmax(most, score[i]);
        else if (candidate)
            least = fmin(least, score[i]);
        num_victims += victim;
        if (!victim)
            w->kept[num_kept++] = position;
    }
    check(num_victims == count, "position %u: a victim is not kept, or the list is not ascending", last);
    check(most <= least + 2e-7 * size, "position %u: a victim has %.9g, a survivor %.9g", last, most, least);
    w->n = num_kept;
}

static eviction_cache *cache_of(const subject *s)
{
    eviction_cache *cache = NULL;
    tree_status status = eviction_cache_create(
        &cache, &(eviction_config){.num_heads = s->config->num_heads, .num_kv_heads = s->config->num_kv_heads,
                                   .head_dim = s->config->head_dim, .budget = s->config->budget, .policy = s->policy,
                                   .prompt_policy = s->prompt_policy, .seed = test_seed()});
    check(status == TREE_OK, "%s", tree_status_string(status));
    return cache;
}

static eviction_step step_at(eviction_cache *cache, const eviction_stream *s, uint32_t t)
{
    float out[64];
    eviction_step step;
    tree_status status =
        eviction_cache_step(cache, out, stream_query(s, t), stream_key(s, t), stream_value(s, t), &step);
    check(status == TREE_OK, "token %u: %s", t, tree_status_string(status));
    return step;
}

static const model *checked_model(const subject *s)
{
    const model *m = model_of(s->policy);
    check(m != NULL, "%s has no model in this test", s->policy->name);
    check(m->interval == s->policy->interval, "interval %u for %u", s->policy->interval, m->interval);
    check(s->policy->variant && *s->policy->variant && s->policy->source && *s->policy->source, "labels");
    check(eviction_policy_from_name(s->policy->name) == s->policy, "found by its name");
    return m;
}

static void run_steps(const void *argument)
{
    const subject *s = argument;
    const model *m = checked_model(s);
    uint32_t num_tokens = s->config->budget + (m->interval > 1 ? 2 * m->interval + 9 : 30);
    eviction_stream stream = eviction_stream_random(s->config->num_heads, s->config->num_kv_heads,
                                                    s->config->head_dim, num_tokens, 1.5f);
    world w = {.m = &stream, .budget = s->config->budget, .seed = test_seed()};
    eviction_cache *cache = cache_of(s);
    uint32_t num_victims = 0;
    for (uint32_t t = 0; t < num_tokens; t++) {
        eviction_step step = step_at(cache, &stream, t);
        add_step(&w, t);
        check_victims(&w, m, &step, m->interval && w.n == w.budget + m->interval ? m->interval : 0);
        num_victims += step.num_victims;
    }
    check(m->interval == 0 || num_victims >= 30, "%u victims", num_victims);
    test_note("%u victims", num_victims);
    eviction_cache_destroy(cache);
    eviction_stream_destroy(&stream);
}

/* A prompt, and then decoding; a policy's history has seen the whole prompt. After a prompt policy that keeps no recent
 * tokens, the last positions are not the last tokens. */
static void run_prompt(const void *argument)
{
    const subject *s = argument;
    const model *m = checked_model(s);
    uint32_t budget = s->config->budget, length = budget + 11, num_tokens = length + (m->interval == 128 ? 130 : 12);
    eviction_stream stream = eviction_stream_random(s->config->num_heads, s->config->num_kv_heads,
                                                    s->config->head_dim, num_tokens, 1.5f);
    world w = {.m = &stream, .budget = budget, .seed = test_seed()};
    eviction_cache *cache = cache_of(s);
    eviction_step step;
    tree_status status = eviction_cache_prompt(cache, stream.queries, stream.keys, stream.values, length, &step);
    check(status == TREE_OK, "%s", tree_status_string(status));
    for (uint32_t t = 0; t < length; t++)
        add_step(&w, t);
    check_victims(&w, model_of(s->prompt_policy), &step, m->interval ? 11 : 0);
    for (uint32_t t = length; t < num_tokens; t++) {
        step = step_at(cache, &stream, t);
        add_step(&w, t);
        check_victims(&w, m, &step, m->interval && w.n == budget + m->interval ? m->interval : 0);
    }
    eviction_cache_destroy(cache);
    eviction_stream_destroy(&stream);
}

/* All policies run at the smallest budgets. */
static void run_budgets(const void *argument)
{
    const subject *s = argument;
    for (uint32_t budget = 1; budget <= 20; budget++) {
        config c = *s->config;
        c.budget = budget;
        eviction_stream stream = eviction_stream_random(c.num_heads, c.num_kv_heads, c.head_dim, budget + 140, 1);
        eviction_cache *cache = cache_of(&(subject){s->policy, &c, NULL});
        for (uint32_t t = 0; t < budget + 140; t++) {
            eviction_step step = step_at(cache, &stream, t);
            check(s->policy->interval == 0 || step.num_tokens - step.num_victims < budget + s->policy->interval,
                  "budget %u: %u tokens", budget, step.num_tokens);
        }
        eviction_cache_destroy(cache);
        eviction_stream_destroy(&stream);
    }
}

static void run_table(const void *unused)
{
    (void)unused;
    check(num_eviction_policies == sizeof models / sizeof models[0], "%u policies, %zu models", num_eviction_policies,
          sizeof models / sizeof models[0]);
    for (uint32_t i = 0; i < num_eviction_policies; i++)
        for (uint32_t j = 0; j < i; j++)
            check(strcmp(eviction_policies[i]->name, eviction_policies[j]->name), "%s twice",
                  eviction_policies[i]->name);
    check(!eviction_policy_from_name("Longflow") && !eviction_policy_from_name(""), "unknown names");
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "every policy chooses as a model of a few lines does");
    test_add(run_table, NULL, "table");
    for (uint32_t p = 0; p < num_eviction_policies; p++) {
        const char *name = eviction_policies[p]->name;
        for (size_t c = 0; c < sizeof configs / sizeof configs[0]; c++) {
            subject s = {eviction_policies[p], &configs[c], eviction_policies[p]};
            test_add(run_steps, &s, "%s_%s", name, configs[c].name);
            test_add(run_prompt, &s, "%s_prompt_%s", name, configs[c].name);
            s.prompt_policy = eviction_policy_from_name("random");
            test_add(run_prompt, &s, "%s_after_random_%s", name, configs[c].name);
        }
        test_add(run_budgets, &(subject){eviction_policies[p], &configs[3], NULL}, "%s_budgets", name);
    }
    return test_end();
}
