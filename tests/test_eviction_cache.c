/* Claim: a branch under a budget keeps at most the budget, sees the same tokens in either form, is refused nothing but
 * what its header names, and depends on its own history alone. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "compare.h"
#include "eviction_cache.h"
#include "eviction_cases.h"
#include "test.h"

enum { HEADS = 4, KV_HEADS = 2, DIM = 5, OUT = HEADS * DIM, MAX_STEPS = 400, MAX_POSITIONS = 700 };

static eviction_config config_of(const char *policy, uint32_t budget, eviction_form form)
{
    return (eviction_config){.num_heads = HEADS, .num_kv_heads = KV_HEADS, .head_dim = DIM, .budget = budget,
                             .form = form, .policy = eviction_policy_from_name(policy), .seed = 7};
}

static eviction_cache *create(eviction_config config)
{
    eviction_cache *cache = NULL;
    tree_status status = eviction_cache_create(&cache, &config);
    check(status == TREE_OK, "%s", tree_status_string(status));
    return cache;
}

static eviction_stream random_stream(uint32_t num_tokens)
{
    return eviction_stream_random(HEADS, KV_HEADS, DIM, num_tokens, 2);
}

static eviction_step step_at(eviction_cache *cache, float *out, const eviction_stream *s, uint32_t t)
{
    eviction_step step = {0};
    tree_status status =
        eviction_cache_step(cache, out, stream_query(s, t), stream_key(s, t), stream_value(s, t), &step);
    check(status == TREE_OK, "token %u: %s", t, tree_status_string(status));
    return step;
}

static bool keeps(const eviction_cache *cache, uint32_t position)
{
    eviction_view view;
    eviction_cache_view(cache, &view);
    for (uint32_t t = 0; t < view.tokens->num_tokens; t++)
        if (view.tokens->positions[t] == position)
            return true;
    return false;
}

static uint32_t num_kept(const eviction_cache *cache)
{
    eviction_view view;
    eviction_cache_view(cache, &view);
    return view.tokens->num_tokens;
}

/* The list is in order, slots are in the pool and unique, kept slots hold the stream's tokens, free slots NaN. `doomed`
 * slots of deferred victims may hold anything. The pool is no larger than it must be. */
static void check_pool(const eviction_cache *cache, const eviction_stream *s, uint32_t doomed, uint32_t most_slots)
{
    eviction_view v;
    eviction_cache_view(cache, &v);
    uint32_t num_slots = v.shape->num_blocks * v.shape->block_tokens;
    check(num_slots <= (most_slots + 31) / 16 * 16, "%u slots for %u", num_slots, most_slots);
    bool used[MAX_POSITIONS] = {false};
    for (uint32_t t = 0; t < v.tokens->num_tokens; t++) {
        uint64_t slot = v.tokens->slots[t];
        uint32_t position = v.tokens->positions[t];
        check(slot < num_slots && !used[slot], "slot %llu", (unsigned long long)slot);
        check(t == 0 || v.tokens->positions[t - 1] < position, "positions ascend");
        used[slot] = true;
        for (uint32_t g = 0; g < KV_HEADS; g++) {
            uint64_t offset = tree_kv_offset(v.shape, (uint32_t)slot / 16, g, slot % 16);
            check(!memcmp(v.key + offset, stream_key(s, position) + g * DIM, DIM * sizeof(float))
                      && !memcmp(v.value + offset, stream_value(s, position) + g * DIM, DIM * sizeof(float))
                      && v.norm[offset / DIM] == value_norm(stream_value(s, position) + g * DIM, DIM),
                  "position %u is not as it was written", position);
        }
    }
    uint32_t num_other = 0;
    for (uint32_t slot = 0; slot < num_slots; slot++) {
        bool poisoned = !used[slot];
        for (uint32_t g = 0; g < KV_HEADS && poisoned; g++) {
            uint64_t offset = tree_kv_offset(v.shape, slot / 16, g, slot % 16);
            for (uint32_t d = 0; d < DIM; d++)
                poisoned = poisoned && isnan(v.key[offset + d]) && isnan(v.value[offset + d]);
            poisoned = poisoned && isnan(v.norm[offset / DIM]);
        }
        num_other += !used[slot] && !poisoned;
    }
    check(num_other == doomed, "%u unlisted slots hold something, not %u", num_other, doomed);
}

/* ---- forms ---- */

static void run_forms(const void *argument)
{
    const char *policy = *(const char *const *)argument;
    enum { BUDGET = 21 };
    eviction_stream s = random_stream(300);
    eviction_cache *eager = create(config_of(policy, BUDGET, EVICTION_EAGER));
    eviction_cache *deferred = create(config_of(policy, BUDGET, EVICTION_DEFERRED));
    uint32_t interval = eviction_policy_from_name(policy)->interval, num_evicted = 0;
    for (uint32_t t = 0; t < 300; t++) {
        float out[2][OUT];
        eviction_step a = step_at(eager, out[0], &s, t), b = step_at(deferred, out[1], &s, t);
        check_same_bits(out[0], out[1], OUT, "out");
        check(a.num_tokens == b.num_tokens && a.num_victims == b.num_victims, "token %u: counts", t);
        check(!memcmp(a.victims, b.victims, a.num_victims * sizeof *a.victims), "token %u: victims", t);
        for (uint32_t i = 0; i < a.num_victims; i++)
            check(!keeps(eager, a.victims[i]) && !keeps(deferred, a.victims[i]), "%u is still kept", a.victims[i]);
        num_evicted += a.num_victims;
        check(num_kept(eager) == t + 1 - num_evicted && num_kept(deferred) == t + 1 - num_evicted, "kept tokens");
        check(!interval || num_kept(eager) < BUDGET + interval, "%u kept", num_kept(eager));
        check_pool(eager, &s, 0, interval ? BUDGET + interval : 2 * (t + 1));
        if (interval == 1)
            check_pool(deferred, &s, b.num_victims, BUDGET + 1);
    }
    check(!interval || num_evicted >= 128, "%u evicted", num_evicted);
    eviction_cache_destroy(eager);
    eviction_cache_destroy(deferred);
    eviction_stream_destroy(&s);
}

/* A free slot is taken before a victim is chosen, the lowest first; then the victim's own slot. A deferred victim's
 * bytes stay until then. */
static void run_slots(const void *unused)
{
    (void)unused;
    enum { BUDGET = 20 };
    eviction_stream s = random_stream(80);
    for (int form = EVICTION_EAGER; form <= EVICTION_DEFERRED; form++) {
        eviction_cache *cache = create(config_of("longflow", BUDGET, (eviction_form)form));
        uint64_t victim_slot = 0, slot_of[80];
        for (uint32_t t = 0; t < 80; t++) {
            float out[OUT];
            eviction_step step = step_at(cache, out, &s, t);
            eviction_view v;
            eviction_cache_view(cache, &v);
            check(step.num_victims == (t >= BUDGET), "token %u: %u victims", t, step.num_victims);
            slot_of[t] = t <= BUDGET ? t : victim_slot;
            for (uint32_t i = 0; i < v.tokens->num_tokens; i++)
                check(v.tokens->slots[i] == slot_of[v.tokens->positions[i]], "position %u: slot %llu for %llu",
                      v.tokens->positions[i], (unsigned long long)v.tokens->slots[i],
                      (unsigned long long)slot_of[v.tokens->positions[i]]);
            if (!step.num_victims)
                continue;
            victim_slot = slot_of[step.victims[0]];
            float first = v.key[tree_kv_offset(v.shape, (uint32_t)victim_slot / 16, 0, victim_slot % 16)];
            check(form == EVICTION_EAGER ? isnan(first) : first == stream_key(&s, step.victims[0])[0],
                  "token %u: the victim's slot holds %g", t, first);
        }
        eviction_cache_destroy(cache);
    }
    eviction_stream_destroy(&s);
}

/* ---- budgets ---- */

static void attention_model(float *out, const eviction_stream *s, const uint32_t *positions, uint32_t count,
                            uint32_t query)
{
    static float key[MAX_STEPS * DIM], value[MAX_STEPS * DIM];
    for (uint32_t h = 0; h < HEADS; h++) {
        uint32_t g = h / (HEADS / KV_HEADS);
        double out_h[DIM];
        for (uint32_t i = 0; i < count; i++) {
            memcpy(key + i * DIM, stream_key(s, positions[i]) + g * DIM, DIM * sizeof *key);
            memcpy(value + i * DIM, stream_value(s, positions[i]) + g * DIM, DIM * sizeof *value);
        }
        attention_ref(out_h, NULL, stream_query(s, query) + h * DIM, key, value, count, DIM, 1 / sqrtf(DIM));
        for (uint32_t d = 0; d < DIM; d++)
            out[h * DIM + d] = (float)out_h[d];
    }
}

/* A budget that is never exceeded changes nothing: the bits of plain attention. */
static void run_no_op(const void *argument)
{
    const char *policy = *(const char *const *)argument;
    static const uint32_t budgets[] = {90, 91, 1000, UINT32_MAX};
    eviction_stream s = random_stream(90);
    uint32_t positions[90];
    for (uint32_t t = 0; t < 90; t++)
        positions[t] = t;
    for (int b = 0; b < 8; b++) {
        eviction_cache *cache = create(config_of(policy, budgets[b / 2], (eviction_form)(b % 2)));
        for (uint32_t t = 0; t < 90; t++) {
            float out[OUT], wanted[OUT];
            eviction_step step = step_at(cache, out, &s, t);
            attention_model(wanted, &s, positions, t + 1, t);
            check_same_bits(out, wanted, OUT, "out");
            check(step.num_tokens == t + 1 && step.num_victims == 0, "token %u: %u victims", t, step.num_victims);
        }
        eviction_cache_destroy(cache);
    }
    eviction_stream_destroy(&s);
}

/* With evictions: the bits of plain attention over the kept tokens and the new one. */
static void run_kept_alone(const void *argument)
{
    const char *policy = *(const char *const *)argument;
    eviction_stream s = random_stream(300);
    for (uint32_t budget = 1; budget <= 25; budget += 8) {
        eviction_cache *cache = create(config_of(policy, budget, EVICTION_DEFERRED));
        for (uint32_t t = 0; t < 300; t++) {
            eviction_view v;
            uint32_t positions[MAX_STEPS];
            float out[OUT], wanted[OUT];
            eviction_cache_view(cache, &v);
            uint32_t count = v.tokens->num_tokens;
            memcpy(positions, v.tokens->positions, count * sizeof *positions);
            positions[count] = t;
            eviction_step step = step_at(cache, out, &s, t);
            attention_model(wanted, &s, positions, count + 1, t);
            check_same_bits(out, wanted, OUT, "out");
            check(step.num_tokens == count + 1, "token %u: %u tokens", t, step.num_tokens);
        }
        eviction_cache_destroy(cache);
    }
    eviction_stream_destroy(&s);
}

/* Budget 1, and the victim that has just been written. Weights are equal, so the smaller value goes. */
static void run_budget_1(const void *unused)
{
    (void)unused;
    eviction_stream s = eviction_stream_exact(HEADS, KV_HEADS, DIM, 100);
    for (int form = EVICTION_EAGER; form <= EVICTION_DEFERRED; form++) {
        eviction_cache *cache = create(config_of("longflow", 1, (eviction_form)form));
        uint32_t best = 0, num_own = 0;
        for (uint32_t t = 0; t < 100; t++) {
            float out[OUT];
            eviction_step step = step_at(cache, out, &s, t);
            check(step.num_tokens == (t ? 2 : 1) && step.num_victims == (t > 0), "token %u", t);
            if (t == 0)
                continue;
            uint32_t loser = s.ranks[t] < s.ranks[best] ? t : best;
            check(step.victims[0] == loser, "token %u: %u goes", t, step.victims[0]);
            best = loser == best ? t : best;
            num_own += loser == t;
            check(num_kept(cache) == 1 && keeps(cache, best), "token %u: the other stays", t);
        }
        check(num_own >= 50, "%u tokens went in their own step", num_own);
        eviction_cache_destroy(cache);
    }
    eviction_stream_destroy(&s);
}

/* Victims by index: the kept tokens are those of the highest ranks, at any time. */
static void run_exact(const void *unused)
{
    (void)unused;
    eviction_stream s = eviction_stream_exact(HEADS, KV_HEADS, DIM, 300);
    for (uint32_t budget = 2; budget < 80; budget = 2 * budget + 3) {
        eviction_cache *cache = create(config_of("longflow", budget, EVICTION_EAGER));
        for (uint32_t t = 0; t < 300; t++) {
            float out[OUT];
            step_at(cache, out, &s, t);
            for (uint32_t i = 0; i <= t; i++) {
                uint32_t num_better = 0;
                for (uint32_t j = 0; j <= t; j++)
                    num_better += s.ranks[j] > s.ranks[i];
                check(keeps(cache, i) == (num_better < budget), "after %u, budget %u: position %u", t, budget, i);
            }
        }
        eviction_cache_destroy(cache);
    }
    eviction_stream_destroy(&s);
}

/* Queries and values are 0, so all scores are equal: the oldest candidate goes. */
static void run_ties(const void *argument)
{
    const char *policy = *(const char *const *)argument;
    enum { BUDGET = 22 };
    eviction_stream s = random_stream(300);
    memset(s.queries, 0, (size_t)300 * HEADS * DIM * sizeof *s.queries);
    memset(s.values, 0, (size_t)300 * KV_HEADS * DIM * sizeof *s.values);
    eviction_cache *cache = create(config_of(policy, BUDGET, EVICTION_EAGER));
    for (uint32_t t = 0, oldest = strcmp(policy, "sink_window") ? 0 : 4; t < 300; t++) {
        float out[OUT];
        eviction_step step = step_at(cache, out, &s, t);
        for (uint32_t v = 0; v < step.num_victims; v++)
            check(step.victims[v] == oldest + v, "after %u: %u goes before %u", t, step.victims[v], oldest + v);
        check(step.num_victims == (t >= BUDGET), "after %u: %u victims", t, step.num_victims);
        oldest += step.num_victims;
    }
    eviction_cache_destroy(cache);
    eviction_stream_destroy(&s);
}

/* ---- pins ---- */

static void run_pins(const void *argument)
{
    const char *policy = *(const char *const *)argument;
    static const struct {
        uint32_t sinks, recent;
    } pins[] = {{3, 0}, {0, 7}, {5, 9}, {0, 20}, {20, 0}, {12, 8}};
    eviction_stream s = random_stream(180);
    for (size_t i = 0; i < sizeof pins / sizeof pins[0]; i++) {
        eviction_config config = config_of(policy, 20, EVICTION_DEFERRED);
        config.num_sinks = pins[i].sinks;
        config.num_recent = pins[i].recent;
        config.prompt_policy = eviction_policy_from_name("longflow");
        eviction_cache *cache = NULL;
        if (eviction_cache_create(&cache, &config) == TREE_INVAL) {
            check(strcmp(policy, "longflow") && strcmp(policy, "random"), "%u + %u fit", pins[i].sinks, pins[i].recent);
            continue;
        }
        uint32_t num_victims = 0;
        for (uint32_t t = 0; t < 180; t++) {
            float out[OUT];
            eviction_step step = step_at(cache, out, &s, t);
            for (uint32_t v = 0; v < step.num_victims; v++)
                check(step.victims[v] >= pins[i].sinks && step.victims[v] + pins[i].recent <= t, "after %u: %u goes", t,
                      step.victims[v]);
            num_victims += step.num_victims;
        }
        check(num_victims >= 128 || !config.policy->interval, "%u victims", num_victims);
        eviction_cache_destroy(cache);
    }
    eviction_stream_destroy(&s);
}

static void run_refusals(const void *unused)
{
    (void)unused;
    typedef struct refusal {
        const char *policy, *prompt_policy;
        uint32_t heads, kv_heads, dim, budget, sinks, recent;
        tree_status status;
    } refusal;
    static const refusal cases[] = {
        {"longflow", NULL, 4, 2, 5, 0, 0, 0, TREE_INVAL},
        {NULL, NULL, 4, 2, 5, 10, 0, 0, TREE_INVAL},
        {"longflow", NULL, 4, 3, 5, 10, 0, 0, TREE_BAD_SHAPE},
        {"longflow", NULL, 4, 0, 5, 10, 0, 0, TREE_BAD_SHAPE},
        {"longflow", NULL, 0, 0, 5, 10, 0, 0, TREE_BAD_SHAPE},
        {"longflow", NULL, 4, 2, 0, 10, 0, 0, TREE_BAD_SHAPE},
        {"longflow", "longflow", 4, 2, 5, 10, 11, 0, TREE_INVAL},
        {"longflow", "longflow", 4, 2, 5, 10, 0, 11, TREE_INVAL},
        {"longflow", "longflow", 4, 2, 5, 10, 6, 5, TREE_INVAL},
        {"longflow", "longflow", 4, 2, 5, 10, UINT32_MAX, UINT32_MAX, TREE_INVAL},
        {"longflow", "longflow", 4, 2, 5, 10, 5, 5, TREE_OK},
        {"longflow", "longflow", 4, 2, 5, 10, 10, 0, TREE_OK},
        {"longflow", "longflow", 4, 2, 5, UINT32_MAX, 3, 4, TREE_OK},
        {"h2o", "longflow", 4, 2, 5, 10, 6, 0, TREE_INVAL}, /* 5 are recent by itself */
        {"h2o", "longflow", 4, 2, 5, 10, 5, 0, TREE_OK},
        {"longflow", NULL, 4, 2, 5, 10, 6, 0, TREE_INVAL}, /* snapkv keeps a window of 5 in the prompt */
        {"sink_window", "longflow", 4, 2, 5, 10, 4, 6, TREE_OK},
        {"sink_window", "longflow", 4, 2, 5, 10, 5, 0, TREE_INVAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const refusal *r = &cases[i];
        eviction_cache *cache = NULL;
        tree_status status = eviction_cache_create(
            &cache, &(eviction_config){r->heads, r->kv_heads, r->dim, r->budget, r->sinks, r->recent, EVICTION_EAGER,
                                       r->policy ? eviction_policy_from_name(r->policy) : NULL,
                                       r->prompt_policy ? eviction_policy_from_name(r->prompt_policy) : NULL, 0, 0});
        check(status == r->status, "case %zu: %s", i, tree_status_string(status));
        check((cache != NULL) == (status == TREE_OK), "case %zu: a cache only with TREE_OK", i);
        eviction_cache_destroy(cache);
    }
}

/* ---- prompts ---- */

static void run_prompts(const void *argument)
{
    const char *policy = *(const char *const *)argument;
    enum { BUDGET = 40 };
    static const uint32_t lengths[] = {0, 1, 7, BUDGET - 1, BUDGET, BUDGET + 1, BUDGET + 33, 300};
    eviction_stream s = random_stream(MAX_STEPS);
    const eviction_policy *p = eviction_policy_from_name(policy);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint32_t length = lengths[i], victims = p->interval && length > BUDGET ? length - BUDGET : 0;
        eviction_cache *cache = create(config_of(policy, BUDGET, i % 2 ? EVICTION_DEFERRED : EVICTION_EAGER));
        eviction_step step = {77, 77, NULL};
        tree_status status = eviction_cache_prompt(cache, s.queries, s.keys, s.values, length, &step);
        check(status == TREE_OK, "%s", tree_status_string(status));
        check(step.num_tokens == length && step.num_victims == victims, "length %u: %u victims", length,
              step.num_victims);
        check(num_kept(cache) == length - victims, "length %u: %u kept", length, num_kept(cache));
        for (uint32_t v = 0; v < victims; v++)
            check(!keeps(cache, step.victims[v]) && step.victims[v] + 20 < length, "%u", step.victims[v]);
        check_pool(cache, &s, 0, p->interval ? BUDGET + p->interval : 2 * length);
        if (length)
            check(eviction_cache_prompt(cache, s.queries, s.keys, s.values, 5, NULL) == TREE_INVAL, "a second prompt");
        for (uint32_t t = length; t < length + 20; t++) {
            float out[OUT];
            step = step_at(cache, out, &s, t);
            check(!p->interval || num_kept(cache) < BUDGET + p->interval, "length %u: %u kept", length,
                  num_kept(cache));
        }
        eviction_cache_destroy(cache);
    }
    eviction_stream_destroy(&s);
}

/* A prompt policy that keeps everything: the next step evicts down to the budget. */
static void run_whole_prompt(const void *unused)
{
    (void)unused;
    eviction_stream s = random_stream(120);
    for (int form = EVICTION_EAGER; form <= EVICTION_DEFERRED; form++) {
        eviction_config config = config_of("longflow", 20, (eviction_form)form);
        config.prompt_policy = eviction_policy_from_name("full");
        eviction_cache *cache = create(config);
        eviction_step step;
        tree_status status = eviction_cache_prompt(cache, s.queries, s.keys, s.values, 100, &step);
        check(status == TREE_OK && step.num_victims == 0 && num_kept(cache) == 100, "%u kept", num_kept(cache));
        for (uint32_t t = 100; t < 120; t++) {
            float out[OUT];
            step = step_at(cache, out, &s, t);
            check(step.num_victims == (t == 100 ? 81 : 1) && num_kept(cache) == 20, "%u victims", step.num_victims);
            if (form == EVICTION_EAGER)
                check_pool(cache, &s, 0, 101);
        }
        eviction_cache_destroy(cache);
    }
    eviction_stream_destroy(&s);
}

/* A refused prompt leaves a large pool behind; what a shorter prompt brings along is large enough for it. */
static void run_refused_prompt(const void *unused)
{
    (void)unused;
    eviction_stream s = random_stream(400);
    eviction_config config = config_of("rkv", 150, EVICTION_EAGER);
    config.prompt_policy = eviction_policy_from_name("full");
    eviction_cache *cache = create(config);
    float last = s.values[300 * KV_HEADS * DIM - 1];
    s.values[300 * KV_HEADS * DIM - 1] = NAN;
    check(eviction_cache_prompt(cache, s.queries, s.keys, s.values, 300, NULL) == TREE_NOT_FINITE, "NaN in a prompt");
    s.values[300 * KV_HEADS * DIM - 1] = last;
    check(eviction_cache_prompt(cache, s.queries, s.keys, s.values, 5, NULL) == TREE_OK, "a shorter one");
    for (uint32_t t = 5; t < 400; t++) {
        float out[OUT];
        eviction_step step = step_at(cache, out, &s, t);
        check(step.num_victims == (t == 277 ? 128 : 0), "token %u: %u victims", t, step.num_victims);
    }
    eviction_cache_destroy(cache);
    eviction_stream_destroy(&s);
}

/* A prompt that fits, and the same tokens one by one: the same cache, for every policy. */
static void run_prompt_by_steps(const void *argument)
{
    const char *policy = *(const char *const *)argument;
    eviction_stream s = random_stream(260);
    eviction_cache *whole = create(config_of(policy, 30, EVICTION_EAGER));
    eviction_cache *single = create(config_of(policy, 30, EVICTION_EAGER));
    tree_status status = eviction_cache_prompt(whole, s.queries, s.keys, s.values, 30, NULL);
    check(status == TREE_OK, "%s", tree_status_string(status));
    for (uint32_t t = 0; t < 260; t++) {
        float out[2][OUT];
        eviction_step a = step_at(single, out[0], &s, t), b;
        if (t < 30)
            continue;
        b = step_at(whole, out[1], &s, t);
        check_same_bits(out[0], out[1], OUT, "out");
        check(a.num_victims == b.num_victims && !memcmp(a.victims, b.victims, a.num_victims * sizeof *a.victims),
              "token %u: victims", t);
    }
    eviction_cache_destroy(whole);
    eviction_cache_destroy(single);
    eviction_stream_destroy(&s);
}

/* ---- forks ---- */

typedef struct record {
    float out[MAX_STEPS][OUT];
    uint32_t num_victims[MAX_STEPS], victims[MAX_STEPS];
} record;

static void play(eviction_cache *cache, const eviction_stream *s, uint32_t t, record *r)
{
    eviction_step step = step_at(cache, r->out[t], s, t);
    r->num_victims[t] = step.num_victims;
    r->victims[t] = step.num_victims ? step.victims[step.num_victims / 2] : 0;
}

/* The second stream begins as the first, up to `fork`. */
static void run_fork(const void *argument)
{
    const char *policy = *(const char *const *)argument;
    static record together[2], alone[2];
    static const uint32_t forks[] = {0, 10, 21, 22, 23, 100, 149, 150};
    for (size_t f = 0; f < 2 * sizeof forks / sizeof forks[0]; f++) {
        uint32_t fork = forks[f / 2], length = fork + 140;
        eviction_form form = f % 2 ? EVICTION_DEFERRED : EVICTION_EAGER;
        eviction_stream s[2] = {random_stream(length), random_stream(length)};
        memcpy(s[1].queries, s[0].queries, (size_t)fork * HEADS * DIM * sizeof(float));
        memcpy(s[1].keys, s[0].keys, (size_t)fork * KV_HEADS * DIM * sizeof(float));
        memcpy(s[1].values, s[0].values, (size_t)fork * KV_HEADS * DIM * sizeof(float));
        eviction_cache *parent = create(config_of(policy, 21, form)), *child = NULL;
        for (uint32_t t = 0; t < fork; t++)
            play(parent, &s[0], t, &together[0]);
        check(eviction_cache_fork(&child, parent) == TREE_OK, "fork");
        check(num_kept(parent) == num_kept(child), "kept tokens");
        check_pool(parent, &s[0], 0, MAX_POSITIONS); /* deferred victims are gone, in both */
        check_pool(child, &s[0], 0, MAX_POSITIONS);
        for (uint32_t t = fork; t < length; t++) { /* in turns */
            play(parent, &s[0], t, &together[0]);
            play(child, &s[1], t, &together[1]);
        }
        eviction_cache_destroy(parent);
        eviction_cache_destroy(child);
        for (int branch = 0; branch < 2; branch++) {
            eviction_cache *solo = create(config_of(policy, 21, form));
            for (uint32_t t = 0; t < length; t++)
                play(solo, &s[branch], t, &alone[branch]);
            eviction_cache_destroy(solo);
            for (uint32_t t = branch ? fork : 0; t < length; t++) {
                check_same_bits(together[branch].out[t], alone[branch].out[t], OUT, branch ? "child" : "parent");
                check(together[branch].num_victims[t] == alone[branch].num_victims[t]
                          && together[branch].victims[t] == alone[branch].victims[t],
                      "fork %u, token %u: victims", fork, t);
            }
        }
        eviction_stream_destroy(&s[0]);
        eviction_stream_destroy(&s[1]);
    }
}

/* ---- NaN and infinity ---- */

static void run_not_finite(const void *argument)
{
    const char *policy = *(const char *const *)argument;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    enum { LENGTH = 170 };
    eviction_stream s = random_stream(LENGTH);
    for (int form = EVICTION_EAGER; form <= EVICTION_DEFERRED; form++) {
        eviction_cache *tried = create(config_of(policy, 21, (eviction_form)form));
        eviction_cache *spared = create(config_of(policy, 21, (eviction_form)form));
        float *spoiled = malloc((size_t)LENGTH * HEADS * DIM * sizeof *spoiled);
        check(spoiled != NULL, "out of memory");
        memcpy(spoiled, s.values, (size_t)30 * KV_HEADS * DIM * sizeof *spoiled);
        spoiled[17 * KV_HEADS * DIM + 3] = NAN;
        check(eviction_cache_prompt(tried, s.queries, s.keys, spoiled, 30, NULL) == TREE_NOT_FINITE, "NaN in a prompt");
        free(spoiled);
        check(num_kept(tried) == 0, "a refused prompt leaves nothing");
        for (uint32_t t = 0; t < LENGTH; t++) {
            float query[OUT], key[KV_HEADS * DIM], value[KV_HEADS * DIM], out[2][OUT];
            memcpy(query, stream_query(&s, t), sizeof query);
            memcpy(key, stream_key(&s, t), sizeof key);
            memcpy(value, stream_value(&s, t), sizeof value);
            float *array = t % 3 == 0 ? query : t % 3 == 1 ? key : value;
            float spoil = bad[test_below(3)];
            array[test_below(KV_HEADS * DIM)] = spoil;
            if (array == query)
                memset(key, 0, sizeof key); /* 0 * infinity */
            memset(out[0], 1, sizeof out[0]);
            eviction_step step = {77, 77, NULL};
            tree_status status = eviction_cache_step(tried, out[0], query, key, value, &step);
            check(status == TREE_NOT_FINITE, "token %u: %s", t, tree_status_string(status));
            check(step.num_tokens == 77, "token %u: the step is written", t);
            int num_bad = 0;
            for (int i = 0; i < OUT; i++)
                num_bad += !isfinite(out[0][i]);
            check(num_bad > 0 || (array == key && isinf(spoil)), "token %u: out is written", t);
            eviction_step a = step_at(tried, out[0], &s, t), b = step_at(spared, out[1], &s, t);
            check_same_bits(out[0], out[1], OUT, "out after a refused step");
            check(a.num_victims == b.num_victims && !memcmp(a.victims, b.victims, a.num_victims * sizeof *a.victims),
                  "token %u: victims after a refused step", t);
            if (eviction_policy_from_name(policy)->interval == 1)
                check_pool(tried, &s, form == EVICTION_DEFERRED ? b.num_victims : 0, 22);
        }
        eviction_cache_destroy(tried);
        eviction_cache_destroy(spared);
    }
    eviction_stream_destroy(&s);
}

/* Scores of +-10000 and more: weights are 0 or 1, and nothing overflows. */
static void run_large_scores(const void *argument)
{
    const char *policy = *(const char *const *)argument;
    eviction_stream s = eviction_stream_random(HEADS, KV_HEADS, DIM, 200, 1e4f);
    eviction_cache *cache = create(config_of(policy, 21, EVICTION_EAGER));
    for (uint32_t t = 0; t < 200; t++) {
        float out[OUT];
        step_at(cache, out, &s, t);
        for (int i = 0; i < OUT; i++)
            check(isfinite(out[i]), "token %u: out %g", t, out[i]);
    }
    eviction_cache_destroy(cache);
    eviction_stream_destroy(&s);
}

/* A token with all the weight of every head is the last that exact_deletion evicts. */
static void run_weight_of_1(const void *unused)
{
    (void)unused;
    eviction_stream s = random_stream(60);
    for (int i = 0; i < 60 * OUT; i++)
        s.queries[i] = 1;
    for (int i = 0; i < KV_HEADS * DIM; i++)
        s.keys[i] = 1000;
    eviction_cache *cache = create(config_of("exact_deletion", 3, EVICTION_EAGER));
    for (uint32_t t = 0; t < 60; t++) {
        float out[OUT];
        step_at(cache, out, &s, t);
        check(keeps(cache, 0), "token %u: 0 has gone", t);
    }
    eviction_cache_destroy(cache);
    eviction_stream_destroy(&s);
}

/* A policy of a reader's own: evicts even positions first, scores negative, one of them NaN for a while. */
static bool own_is_nan;
static void score_own(double *score, const double *history, const eviction_view *view)
{
    for (uint32_t t = 0; t < view->tokens->num_tokens; t++) {
        check(history[t] == view->tokens->positions[view->tokens->num_tokens - 1] - view->tokens->positions[t] + 1,
              "history counts the steps");
        score[t] = view->tokens->positions[t] % 2 ? -1 : -2;
    }
    if (own_is_nan)
        score[view->tokens->num_tokens / 2] = view->tokens->positions[0] % 2 ? NAN : INFINITY;
}
static void observe_own(double *history, const eviction_view *view)
{
    for (uint32_t t = 0; t < view->tokens->num_tokens; t++)
        history[t]++;
}
static void run_own_policy(const void *unused)
{
    (void)unused;
    const eviction_policy own = {"own", "of this test", "none", 1, 3, eviction_all, observe_own, score_own};
    eviction_stream s = random_stream(60);
    eviction_config config = config_of("longflow", 10, EVICTION_DEFERRED);
    config.policy = config.prompt_policy = &own;
    eviction_cache *cache = create(config);
    for (uint32_t t = 0, num_refused = 0; t < 60; t++) {
        float out[OUT];
        eviction_step step;
        own_is_nan = true;
        tree_status status =
            eviction_cache_step(cache, out, stream_query(&s, t), stream_key(&s, t), stream_value(&s, t), &step);
        own_is_nan = false;
        bool due = t >= 12 && t % 3 == 0;
        check(status == (due ? TREE_NOT_FINITE : TREE_OK), "token %u: %s", t, tree_status_string(status));
        num_refused += due;
        if (due)
            step = step_at(cache, out, &s, t);
        check(step.num_victims == (due ? 3 : 0), "token %u: %u victims", t, step.num_victims);
        for (uint32_t v = 0; t < 20 && v < step.num_victims; v++)
            check(step.victims[v] % 2 == 0, "token %u: %u goes", t, step.victims[v]);
        check(t < 59 || num_refused == 16, "%u refused", num_refused);
    }
    eviction_cache_destroy(cache);
    eviction_stream_destroy(&s);
}

/* The view's past queries, and a seed of its own. */
static void run_view(const void *unused)
{
    (void)unused;
    eviction_stream s = random_stream(60);
    eviction_cache *cache = create(config_of("rkv", 16, EVICTION_EAGER));
    for (uint32_t t = 0; t < 60; t++) {
        float out[OUT];
        eviction_view v;
        step_at(cache, out, &s, t);
        eviction_cache_view(cache, &v);
        check(v.num_queries == (t < 7 ? t + 1 : 7), "%u queries", v.num_queries);
        check(!memcmp(v.queries + (v.num_queries - 1) * OUT, stream_query(&s, t), OUT * sizeof(float))
                  && !memcmp(v.queries, stream_query(&s, t + 1 - v.num_queries), OUT * sizeof(float)),
              "token %u: the past queries", t);
        check(v.budget == 16 && v.seed == 7 && v.scale == 1 / sqrtf(DIM), "of the config");
    }
    eviction_cache_destroy(cache);

    eviction_config config = config_of("random", 10, EVICTION_EAGER);
    uint32_t num_same = 0;
    eviction_cache *caches[3] = {create(config), create(config), NULL};
    config.seed = 8;
    caches[2] = create(config);
    for (uint32_t t = 0; t < 60; t++) {
        float out[OUT];
        uint32_t victims[3];
        for (int c = 0; c < 3; c++) {
            eviction_step step = step_at(caches[c], out, &s, t);
            victims[c] = step.num_victims ? step.victims[0] : UINT32_MAX;
        }
        check(victims[0] == victims[1], "token %u: the same seed", t);
        num_same += victims[0] == victims[2] && t >= 10;
    }
    check(num_same < 30, "another seed: %u of 50 victims are the same", num_same);
    for (int c = 0; c < 3; c++)
        eviction_cache_destroy(caches[c]);
    eviction_cache_destroy(NULL);
    eviction_stream_destroy(&s);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const void *);
    } of_policy[] = {{"forms", run_forms},     {"no_op", run_no_op},     {"kept_alone", run_kept_alone},
                     {"pins", run_pins},       {"prompts", run_prompts}, {"prompt_by_steps", run_prompt_by_steps},
                     {"fork", run_fork},       {"not_finite", run_not_finite},
                     {"large_scores", run_large_scores}},
      cases[] = {{"slots", run_slots}, {"budget_1", run_budget_1}, {"exact", run_exact}, {"refusals", run_refusals},
                 {"view", run_view},   {"whole_prompt", run_whole_prompt},
                 {"refused_prompt", run_refused_prompt}, {"own_policy", run_own_policy},
                 {"weight_of_1", run_weight_of_1}};
    test_begin(argc, argv, "a branch under a budget depends on its own history alone");
    static const char *const tying[] = {"longflow", "longflow_l2", "exact_deletion", "sink_window"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        test_add(cases[i].run, NULL, "%s", cases[i].name);
    for (size_t i = 0; i < sizeof tying / sizeof tying[0]; i++)
        test_add(run_ties, &tying[i], "ties_%s", tying[i]);
    for (size_t i = 0; i < sizeof of_policy / sizeof of_policy[0]; i++)
        for (uint32_t p = 0; p < num_eviction_policies; p++)
            test_add(of_policy[i].run, &eviction_policies[p]->name, "%s_%s", of_policy[i].name,
                     eviction_policies[p]->name);
    return test_end();
}
