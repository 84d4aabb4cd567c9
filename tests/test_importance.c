/* Claim: importance is the mean of |a * value| over heads and channels, deletion_error is the error of deleting a
 * token, and the smallest key is the least important candidate, the oldest of equals. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "eviction_cases.h"
#include "eviction_policy.h"
#include "test.h"

typedef struct config {
    const char *name;
    uint32_t num_heads, num_kv_heads, head_dim, num_tokens, block_tokens;
    float score_std;
} config;

static const config configs[] = {
    {"one_head", 1, 1, 1, 7, 1, 1},         {"group_of_1", 3, 3, 5, 40, 16, 1}, {"group_of_4", 8, 2, 5, 40, 4, 2},
    {"one_kv_head", 4, 1, 12, 33, 16, 0.5}, {"sharp", 4, 2, 7, 64, 1, 8},       {"one_token", 4, 2, 3, 1, 16, 1},
};

/* A stream, its pool, and the weights of its last query. */
typedef struct scene {
    eviction_stream stream;
    eviction_pool pool;
    double *weights, *out, *lse, *result;
    float scale;
} scene;

static scene scene_of(eviction_stream stream, uint32_t block_tokens, float scale)
{
    scene s = {.stream = stream, .pool = eviction_pool_create(&stream, block_tokens), .scale = scale};
    size_t heads = stream.num_heads;
    s.weights = malloc((heads * stream.num_tokens + 1) * sizeof *s.weights);
    s.out = malloc(heads * stream.head_dim * sizeof *s.out);
    s.lse = malloc(heads * sizeof *s.lse);
    s.result = malloc(((size_t)stream.num_tokens + 1) * sizeof *s.result);
    check(s.weights && s.out && s.lse && s.result, "out of memory");
    attention_weights(s.weights, s.out, s.lse, stream_query(&stream, stream.num_tokens - 1), s.pool.key, s.pool.value,
                      &s.pool.tokens, &s.pool.shape, scale);
    return s;
}

static scene scene_random(const config *c)
{
    eviction_stream stream =
        eviction_stream_random(c->num_heads, c->num_kv_heads, c->head_dim, c->num_tokens, c->score_std);
    return scene_of(stream, c->block_tokens, 1 / sqrtf((float)c->head_dim));
}

static void scene_destroy(scene *s)
{
    eviction_stream_destroy(&s->stream);
    eviction_pool_destroy(&s->pool);
    free(s->weights);
    free(s->out);
    free(s->lse);
    free(s->result);
}

/* ---- independent models: straight from the stream, in the order of the formulas ---- */

static double model_score(const scene *s, uint32_t h, uint32_t t)
{
    const eviction_stream *m = &s->stream;
    const float *q = stream_query(m, m->num_tokens - 1), *k = stream_key(m, t);
    uint32_t g = h / (m->num_heads / m->num_kv_heads);
    double dot = 0;
    for (uint32_t d = m->head_dim; d-- > 0;)
        dot += (double)q[h * m->head_dim + d] * k[g * m->head_dim + d];
    return (double)s->scale * dot;
}

static double model_value(const scene *s, uint32_t h, uint32_t t, uint32_t d)
{
    const eviction_stream *m = &s->stream;
    return stream_value(m, t)[h / (m->num_heads / m->num_kv_heads) * m->head_dim + d];
}

/* without: a token that is left out; num_tokens: none */
static double model_weight(const scene *s, uint32_t h, uint32_t t, uint32_t without)
{
    double denominator = 0; /* sum of exp(score_i - score_t) */
    for (uint32_t i = 0; i < s->stream.num_tokens; i++)
        if (i != without)
            denominator += exp(model_score(s, h, i) - model_score(s, h, t));
    return 1 / denominator;
}

static void run_weights(const void *argument)
{
    const config *c = argument;
    scene s = scene_random(c);
    for (uint32_t h = 0; h < c->num_heads; h++) {
        double sum = 0;
        for (uint32_t t = 0; t < c->num_tokens; t++) {
            double weight = s.weights[h * c->num_tokens + t], wanted = model_weight(&s, h, t, c->num_tokens);
            check(fabs(weight - wanted) <= 1e-12 * wanted, "head %u token %u: %.17g for %.17g", h, t, weight, wanted);
            check(weight <= 1, "head %u token %u: weight %.17g", h, t, weight);
            sum += weight;
        }
        check(fabs(sum - 1) <= 1e-12, "head %u: the weights add up to %.17g", h, sum);
    }
    scene_destroy(&s);
}

/* out and lse have the bits of attention_ref over the same keys, contiguous. */
static void run_attention(const void *argument)
{
    const config *c = argument;
    scene s = scene_random(c);
    size_t head_floats = (size_t)c->num_tokens * c->head_dim;
    float *key = malloc(head_floats * sizeof *key), *value = malloc(head_floats * sizeof *value);
    double *out = malloc(c->head_dim * sizeof *out), lse;
    check(key && value && out, "out of memory");
    for (uint32_t h = 0; h < c->num_heads; h++) {
        uint32_t g = h / (c->num_heads / c->num_kv_heads);
        for (uint32_t t = 0; t < c->num_tokens; t++) {
            memcpy(key + t * c->head_dim, stream_key(&s.stream, t) + g * c->head_dim, c->head_dim * sizeof *key);
            memcpy(value + t * c->head_dim, stream_value(&s.stream, t) + g * c->head_dim, c->head_dim * sizeof *value);
        }
        attention_ref(out, &lse, stream_query(&s.stream, c->num_tokens - 1) + h * c->head_dim, key, value,
                      c->num_tokens, c->head_dim, s.scale);
        check(!memcmp(out, s.out + h * c->head_dim, c->head_dim * sizeof *out), "head %u: out", h);
        check(!memcmp(&lse, &s.lse[h], sizeof lse), "head %u: lse %.17g for %.17g", h, s.lse[h], lse);
    }
    free(key);
    free(value);
    free(out);
    scene_destroy(&s);
}

static void run_collapse(const void *argument)
{
    const config *c = argument;
    scene s = scene_random(c);
    importance_ref(s.result, s.weights, s.pool.norm, &s.pool.tokens, &s.pool.shape);
    for (uint32_t t = 0; t < c->num_tokens; t++) {
        double sum = 0;
        for (uint32_t h = 0; h < c->num_heads; h++)
            for (uint32_t d = 0; d < c->head_dim; d++)
                sum += fabs(model_weight(&s, h, t, c->num_tokens) * model_value(&s, h, t, d));
        double wanted = sum / c->num_heads / c->head_dim;
        check(fabs(s.result[t] - wanted) <= 1e-7 * wanted, "token %u: %.17g for %.17g", t, s.result[t], wanted);
    }
    scene_destroy(&s);
}

static void run_deletion(const void *argument)
{
    const config *c = argument;
    scene s = scene_random(c);
    deletion_error(s.result, s.weights, s.out, s.pool.value, &s.pool.tokens, &s.pool.shape);
    if (c->num_tokens == 1)
        check(s.result[0] == INFINITY, "the only token: %g", s.result[0]);
    for (uint32_t without = 0; c->num_tokens > 1 && without < c->num_tokens; without++) {
        double sum = 0;
        for (uint32_t h = 0; h < c->num_heads; h++) {
            for (uint32_t d = 0; d < c->head_dim; d++) {
                double change = s.out[h * c->head_dim + d];
                for (uint32_t t = 0; t < c->num_tokens; t++)
                    if (t != without)
                        change -= model_weight(&s, h, t, without) * model_value(&s, h, t, d);
                sum += change * change;
            }
        }
        double wanted = sqrt(sum);
        check(fabs(s.result[without] - wanted) <= 1e-12 * (1 + wanted), "token %u: %.17g for %.17g", without,
              s.result[without], wanted);
    }
    scene_destroy(&s);
}

/* The same tokens in other slots of other blocks: the same bits. */
static void run_slots(const void *unused)
{
    (void)unused;
    static const uint32_t sizes[] = {1, 4, 16, 64};
    double wanted[60];
    for (size_t i = 0; i < 4; i++) {
        test_reseed();
        scene s = scene_of(eviction_stream_random(8, 2, 5, 60, 2), sizes[i], 0.5f);
        importance_ref(s.result, s.weights, s.pool.norm, &s.pool.tokens, &s.pool.shape);
        if (i == 0)
            memcpy(wanted, s.result, sizeof wanted);
        check(!memcmp(wanted, s.result, sizeof wanted), "block_tokens %u: other bits", sizes[i]);
        scene_destroy(&s);
    }
}

static void run_exact(const void *unused)
{
    (void)unused;
    scene s = scene_of(eviction_stream_exact(8, 2, 12, 500), 16, 1);
    importance_ref(s.result, s.weights, s.pool.norm, &s.pool.tokens, &s.pool.shape);
    for (uint32_t t = 0; t < 500; t++)
        for (uint32_t i = 0; i < t; i++)
            check((s.result[t] < s.result[i]) == (s.stream.ranks[t] < s.stream.ranks[i]) && s.result[t] != s.result[i],
                  "tokens %u and %u are not in the order of their ranks", t, i);
    uint64_t key = eviction_victim(s.result, &s.pool.tokens, (eviction_range){0, UINT32_MAX});
    check(s.stream.ranks[eviction_key_position(key)] == 0, "victim %u", eviction_key_position(key));
    scene_destroy(&s);
}

/* ---- sizes of scores ---- */

typedef struct logits {
    const char *name;
    float score[4];
    float weight[4];
} logits;

static const logits all_logits[] = {
    {"of_10000", {1e4f, 1e4f, -1e4f, -1e4f}, {0.5f, 0.5f, 0, 0}},
    {"of_89", {89, 89, 89, 89}, {0.25f, 0.25f, 0.25f, 0.25f}},
    {"of_minus_104", {-104, -104, -104, -104}, {0.25f, 0.25f, 0.25f, 0.25f}},
    {"hidden", {-INFINITY, 3, -INFINITY, 3}, {0, 0.5f, 0, 0.5f}},
    {"all_hidden", {-INFINITY, -INFINITY, -INFINITY, -INFINITY}, {0, 0, 0, 0}},
    {"plus_infinity", {1, INFINITY, 1, -INFINITY}, {NAN, NAN, NAN, NAN}},
    {"nan", {1, 2, NAN, -INFINITY}, {NAN, NAN, NAN, NAN}},
};

static void run_logits(const void *argument)
{
    const logits *l = argument;
    float query = 1, value[4] = {1, -2, 3, -4}, norm[4] = {1, 2, 3, 4};
    uint64_t slots[4] = {0, 1, 2, 3};
    uint32_t positions[4] = {2, 3, 5, 8};
    token_list tokens = {4, slots, positions};
    tree_shape shape = {1, 1, 1, 1, 1, 4, TREE_FP32};
    double weights[4], importance[4];
    attention_weights(weights, NULL, NULL, &query, l->score, value, &tokens, &shape, 1);
    importance_ref(importance, weights, norm, &tokens, &shape);
    for (int t = 0; t < 4; t++) {
        bool right = isnan(l->weight[t]) ? isnan(weights[t]) && isnan(importance[t])
                                         : fabs(weights[t] - l->weight[t]) <= 1e-11
                                               && fabs(importance[t] - l->weight[t] * norm[t]) <= 1e-10;
        check(right, "token %d: weight %g, importance %g", t, weights[t], importance[t]);
    }
    uint64_t key = eviction_victim(importance, &tokens, (eviction_range){0, 9});
    if (isnan(l->weight[0]))
        check(key == EVICTION_NOT_FINITE, "a silent victim: %llx", (unsigned long long)key);
    else
        check(key >> 32 >= 1 && key != EVICTION_NONE, "no victim");
}

/* ---- ties ---- */

static void check_oldest(scene *s, const char *what)
{
    importance_ref(s->result, s->weights, s->pool.norm, &s->pool.tokens, &s->pool.shape);
    uint64_t key = eviction_victim(s->result, &s->pool.tokens, (eviction_range){0, UINT32_MAX});
    check(eviction_key_position(key) == 0 && key != EVICTION_NOT_FINITE, "%s: %u goes", what,
          eviction_key_position(key));
    key = eviction_victim(s->result, &s->pool.tokens, (eviction_range){3, UINT32_MAX});
    check(eviction_key_position(key) == 3, "%s: of position 3 and later, %u goes", what, eviction_key_position(key));
}

static void run_ties(const void *unused)
{
    (void)unused;
    eviction_stream m = eviction_stream_random(4, 2, 5, 20, 1);
    memset(m.values, 0, 20 * 2 * 5 * sizeof *m.values);
    scene s = scene_of(m, 4, 1);
    check_oldest(&s, "all values 0");
    scene_destroy(&s);

    m = eviction_stream_random(4, 2, 5, 20, 1);
    memset(m.keys, 0, 20 * 2 * 5 * sizeof *m.keys);
    for (int i = 0; i < 20 * 2 * 5; i++)
        m.values[i] = i / 5 % 2 ? 2 : -1;
    s = scene_of(m, 4, 1);
    for (int i = 0; i < 4 * 20; i++)
        check(fabs(s.weights[i] - 0.05) <= 1e-16, "all keys 0: weight %.17g", s.weights[i]);
    check_oldest(&s, "all keys 0, equal values");
    scene_destroy(&s);

    m = eviction_stream_random(4, 2, 5, 20, 1);
    for (int t = 1; t < 20; t++) {
        memcpy(m.keys + t * 10, m.keys, 10 * sizeof *m.keys);
        memcpy(m.values + t * 10, m.values, 10 * sizeof *m.values);
    }
    s = scene_of(m, 4, 1);
    check_oldest(&s, "the same token 20 times");
    scene_destroy(&s);
}

/* ---- keys ---- */

static void run_keys(const void *unused)
{
    (void)unused;
    static const float ascending[] = {0,           FLT_TRUE_MIN, 2 * FLT_TRUE_MIN, FLT_MIN, 1e-20f, 0.5f,
                                      0.50000006f, 1,            1e30f,            FLT_MAX};
    const int count = sizeof ascending / sizeof ascending[0];
    for (int i = 1; i < count; i++)
        check(eviction_key(ascending[i - 1], UINT32_MAX) < eviction_key(ascending[i], 0), "%g and %g",
              ascending[i - 1], ascending[i]);
    for (int i = 0; i < count; i++) {
        check(eviction_key(ascending[i], 6) < eviction_key(ascending[i], 7), "of %g, the oldest", ascending[i]);
        check(eviction_key(ascending[i], 0) > EVICTION_NOT_FINITE, "%g is finite", ascending[i]);
        check(eviction_key(ascending[i], UINT32_MAX) < EVICTION_NONE, "%g is a candidate", ascending[i]);
        check(eviction_key_position(eviction_key(ascending[i], 77)) == 77, "position of %g", ascending[i]);
    }
    check(eviction_key(-0.0f, 5) == eviction_key(0, 5), "-0 counts as 0");
    static const float refused[] = {NAN, INFINITY, -INFINITY, -1, -FLT_TRUE_MIN};
    for (int i = 0; i < 5; i++)
        check(eviction_key(refused[i], 5) == EVICTION_NOT_FINITE, "%g", refused[i]);
    check(eviction_key(copysignf(NAN, -1), 5) == EVICTION_NOT_FINITE, "-NaN");
    for (int i = 0; i < 10000; i++) {
        float a = (float)exp(80 * test_normal()), b = (float)exp(80 * test_normal());
        if (isfinite(a) && isfinite(b) && a != b)
            check((a < b) == (eviction_key(a, 1) < eviction_key(b, 1)), "%g and %g", a, b);
    }
}

static void run_victims(const void *unused)
{
    (void)unused;
    const uint32_t positions[] = {3, 4, 9, 12, 40};
    const uint64_t slots[] = {0, 1, 2, 3, 4};
    token_list tokens = {5, slots, positions};
    double importance[] = {5, 2, 4, 3, 1};
    static const struct {
        eviction_range candidates;
        uint32_t victim; /* 0: none */
    } cases[] = {{{0, 100}, 40}, {{0, 40}, 4}, {{5, 40}, 12}, {{4, 5}, 4}, {{3, 4}, 3}, {{40, 41}, 40},
                 {{0, 3}, 0},    {{41, 50}, 0}, {{9, 9}, 0},  {{12, 9}, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t key = eviction_victim(importance, &tokens, cases[i].candidates);
        check(cases[i].victim ? eviction_key_position(key) == cases[i].victim : key == EVICTION_NONE,
              "candidates %u to %u: %llx", cases[i].candidates.first, cases[i].candidates.end, (unsigned long long)key);
    }
    static const double spoiled[] = {NAN, INFINITY, -1, 1e39};
    for (int i = 0; i < 4; i++) {
        for (int t = 0; t < 5; t++) {
            double kept = importance[t];
            importance[t] = spoiled[i];
            check(eviction_victim(importance, &tokens, (eviction_range){9, 13}) == EVICTION_NOT_FINITE, "%g at %d",
                  spoiled[i], t);
            importance[t] = kept;
        }
    }
    tokens.num_tokens = 0;
    check(eviction_victim(importance, &tokens, (eviction_range){0, 100}) == EVICTION_NONE, "no token");
}

/* a = 1: the other tokens have weights that underflow. */
static void run_weight_of_1(const void *unused)
{
    (void)unused;
    float query = 1, key[3] = {0, 800, -800}, value[3] = {1, 2, 3}, norm[3] = {1, 2, 3};
    uint64_t slots[3] = {0, 1, 2};
    uint32_t positions[3] = {0, 1, 2};
    token_list tokens = {3, slots, positions};
    tree_shape shape = {1, 1, 1, 1, 3, 1, TREE_FP32};
    double weights[3], out, error[3], importance[3];
    attention_weights(weights, &out, NULL, &query, key, value, &tokens, &shape, 1);
    deletion_error(error, weights, &out, value, &tokens, &shape);
    importance_ref(importance, weights, norm, &tokens, &shape);
    check(weights[0] == 0 && weights[1] == 1 && weights[2] == 0, "weights %g %g %g", weights[0], weights[1],
          weights[2]);
    check(error[0] == 0 && error[1] == INFINITY && error[2] == 0, "errors %g %g %g", error[0], error[1], error[2]);
    check(eviction_key_position(eviction_victim(importance, &tokens, (eviction_range){0, 3})) == 0, "0 ties with 2");
}

/* v = 0 with a large weight scores 0, yet its deletion changes most: there the dropped denominator matters. */
static void run_value_of_0(const void *unused)
{
    (void)unused;
    float query = 1, key[2] = {logf(9), 0}, value[2] = {0, 1}, norm[2] = {0, 1};
    uint64_t slots[2] = {0, 1};
    uint32_t positions[2] = {0, 1};
    token_list tokens = {2, slots, positions};
    tree_shape shape = {1, 1, 1, 1, 2, 1, TREE_FP32};
    double weights[2], out, error[2], importance[2];
    attention_weights(weights, &out, NULL, &query, key, value, &tokens, &shape, 1);
    deletion_error(error, weights, &out, value, &tokens, &shape);
    importance_ref(importance, weights, norm, &tokens, &shape);
    check(importance[0] == 0 && fabs(importance[1] - 0.1) <= 1e-7, "importance %g %g", importance[0], importance[1]);
    check(fabs(out - 0.1) <= 1e-7 && fabs(error[0] - 0.9) <= 1e-6, "out %g, which becomes %g", out, out + error[0]);
}

/* A rotation of V in each KV head: L2 norms do not see it, L1 norms do. */
static void run_basis(const void *unused)
{
    (void)unused;
    const eviction_policy *policies[2] = {eviction_policy_from_name("longflow"),
                                          eviction_policy_from_name("longflow_l2")};
    eviction_stream m = eviction_stream_random(4, 2, 6, 50, 1);
    scene before = scene_of(m, 16, 0.4f);
    for (int i = 0; i < 50 * 2 * 6; i += 2) { /* channels 2d and 2d + 1, by 45 degrees */
        float a = m.values[i], b = m.values[i + 1];
        m.values[i] = (a + b) * sqrtf(0.5f);
        m.values[i + 1] = (a - b) * sqrtf(0.5f);
    }
    eviction_pool pool = eviction_pool_create(&m, 16);
    double largest[2] = {0, 0};
    for (int p = 0; p < 2; p++) {
        double scores[2][50];
        eviction_view view = {.tokens = &before.pool.tokens, .shape = &before.pool.shape, .key = before.pool.key,
                              .value = before.pool.value, .norm = before.pool.norm, .weights = before.weights};
        policies[p]->score(scores[0], NULL, &view);
        view.tokens = &pool.tokens;
        view.value = pool.value;
        view.norm = pool.norm;
        policies[p]->score(scores[1], NULL, &view);
        for (int t = 0; t < 50; t++)
            largest[p] = fmax(largest[p], fabs(scores[1][t] / scores[0][t] - 1));
    }
    check(largest[0] >= 0.05, "L1: %g, the basis matters", largest[0]);
    check(largest[1] <= 1e-6, "L2: %g, the basis does not matter", largest[1]);
    eviction_pool_destroy(&pool);
    scene_destroy(&before);
}

static void run_norm(const void *unused)
{
    (void)unused;
    const float values[] = {1, -2, 0.5f, -0.0f, -4}, small[] = {1e8f, 1, -1e-3f, NAN};
    check(value_norm(values, 5) == 7.5f && value_norm(values, 1) == 1 && value_norm(values, 0) == 0, "sums");
    check(value_norm(small, 2) == (float)(1e8 + 1) && isnan(value_norm(small, 4)), "in double; NaN stays");
    const float large[] = {FLT_MAX, FLT_MAX};
    check(value_norm(large, 2) == INFINITY, "beyond float");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const void *);
    } of_config[] = {{"weights", run_weights}, {"attention", run_attention}, {"collapse", run_collapse},
                     {"deletion", run_deletion}},
      cases[] = {{"norm", run_norm},         {"any_slots", run_slots},         {"exact_stream", run_exact},
                 {"ties", run_ties},         {"keys", run_keys},               {"victims", run_victims},
                 {"weight_of_1", run_weight_of_1}, {"value_of_0", run_value_of_0}, {"basis_of_values", run_basis}};
    test_begin(argc, argv, "importance is the mean of |a * value|, and the least important candidate goes");
    for (size_t i = 0; i < sizeof of_config / sizeof of_config[0]; i++)
        for (size_t c = 0; c < sizeof configs / sizeof configs[0]; c++)
            test_add(of_config[i].run, &configs[c], "%s_%s", of_config[i].name, configs[c].name);
    for (size_t i = 0; i < sizeof all_logits / sizeof all_logits[0]; i++)
        test_add(run_logits, &all_logits[i], "logits_%s", all_logits[i].name);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        test_add(cases[i].run, NULL, "%s", cases[i].name);
    return test_end();
}
