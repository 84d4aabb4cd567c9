/* Claim: under forgetting.h a branch keeps the tokens that its policy, written down here once more in double over a
 * pool that evicts nothing, would keep, and decodes as a text without the others, within the bound of
 * transformer_model.h. A budget that is never reached gives the transformer's own logits; a fork goes on with its
 * parent's record; a refused call changes nothing; pruned branches give everything back. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forgetting.h"
#include "test.h"
#include "transformer_forest_model.h"

enum { MAX_LINES = 6, LAYERS = 2, CONTEXT = 200, BLOCK_TOKENS = 4 };
static const double near = 1e-4; /* scores in float against double: relative */

/* One branch, decoded three times: under the rule; by a transformer of a pool that evicts nothing, whose attention is
 * `attend` below; and in double over its text. */
typedef struct line {
    kv_branch forgetful, full;
    text_truth truth;
    forgetting_rule rule;
    bool kept[LAYERS][CONTEXT];
    double mass[LAYERS][CONTEXT]; /* attention received so far */
    double total[CONTEXT];        /* score summed over the layers, of this step */
    float logits[32], logits_full[32];
} line;

typedef struct world {
    weights_file file;
    model_weights *weights;
    kv_pool *pool, *pool_full;
    forgetting *f;
    transformer *full;
    line lines[MAX_LINES];
    uint32_t num_lines, num_forgotten, num_checked, num_same_bits;
    double worst, margin; /* error / limit; of a choice by layer, relative */
} world;

static bool is(const forgetting_rule *rule, const char *name)
{
    return rule->policy && !strcmp(rule->policy->name, name);
}

/* Whether the policy may forget a position of a text of `length` tokens. */
static bool is_candidate(const forgetting_rule *rule, uint32_t position, uint32_t length)
{
    uint32_t sinks = rule->budget / 2 < 4 ? rule->budget / 2 : 4;
    if (is(rule, "sink_window"))
        return position >= sinks && position < length - (rule->budget - sinks);
    return !is(rule, "h2o") || position < length - rule->budget / 2;
}

/* Forgets lowest scores, one after another, in one layer. */
static void forget_in_layer(world *w, line *x, uint32_t layer, const double *score, uint32_t length)
{
    uint32_t count = 0;
    for (uint32_t t = 0; t < length; t++)
        count += x->kept[layer][t];
    for (; count > x->rule.budget; count--) {
        uint32_t lowest = 0;
        double least = INFINITY, second = INFINITY;
        for (uint32_t t = 0; t < length; t++) {
            if (!x->kept[layer][t])
                continue;
            second = fmin(second, fmax(score[t], least));
            if (score[t] < least) {
                least = score[t];
                lowest = t;
            }
        }
        w->margin = fmin(w->margin, second / least - 1);
        x->kept[layer][lowest] = false;
    }
}

static void attend_line(world *w, line *x, const transformer_attention *a, uint32_t index, float *out)
{
    const tree_shape *s = a->shape;
    const kv_table *table = &a->tables[index];
    double weight[CONTEXT], score[CONTEXT] = {0};
    uint32_t length = table->length; /* position t is in slot t */
    for (uint32_t h = 0; h < s->num_heads; h++) {
        const float *q = a->query + ((size_t)index * s->num_heads + h) * s->head_dim;
        double sum = 0, result[64] = {0};
        for (uint32_t pass = 0; pass < 2; pass++)
            for (uint32_t t = 0; t < length; t++) {
                uint64_t at = tree_kv_offset(s, table->blocks[t / BLOCK_TOKENS], h / (s->num_heads / s->num_kv_heads),
                                             t % BLOCK_TOKENS);
                if (!x->kept[a->layer][t])
                    continue;
                double dot = 0, norm = 0;
                for (uint32_t d = 0; d < s->head_dim; d++) {
                    dot += (double)q[d] * a->key[at + d];
                    norm += fabs((double)a->value[at + d]);
                }
                if (pass == 0) {
                    sum += weight[t] = exp(dot * a->scale);
                    continue;
                }
                weight[t] /= sum;
                for (uint32_t d = 0; d < s->head_dim; d++)
                    result[d] += weight[t] * a->value[at + d];
                x->mass[a->layer][t] += weight[t];
                score[t] += is(&x->rule, "longflow") ? weight[t] * norm : 0;
            }
        for (uint32_t d = 0; d < s->head_dim; d++)
            out[h * s->head_dim + d] = (float)result[d];
    }
    for (uint32_t t = 0; t < length; t++)
        x->total[t] = (a->layer ? x->total[t] : 0) + (is(&x->rule, "h2o") ? x->mass[a->layer][t] : score[t]);
    if (x->rule.by_layer)
        forget_in_layer(w, x, a->layer, score, length);
}

static tree_status attend(void *context, float *out, const transformer_attention *a)
{
    world *w = context;
    for (uint32_t i = 0; i < a->num_branches; i++)
        for (uint32_t k = 0; k < w->num_lines; k++)
            if (w->lines[k].full == a->branches[i])
                attend_line(w, &w->lines[k], a, i, out + (size_t)i * a->shape->num_heads * a->shape->head_dim);
    return TREE_OK;
}

/* ---- the world ---- */

static void open_world(world *w, const forgetting_rule *rule, bool own_attention)
{
    model_shape shape = forest_shape;
    shape.context = CONTEXT;
    *w = (world){.file = weights_file_random(&shape), .margin = INFINITY};
    check(model_weights_parse(&w->weights, w->file.bytes, w->file.num_bytes, NULL, 0) == MODEL_OK, "weights");
    kv_pool_config pool = {.num_blocks = 300, .block_tokens = BLOCK_TOKENS, .max_branches = MAX_LINES};
    transformer_config config = {.max_branches = MAX_LINES, .plan.strategy = TREE_FLASH, .num_threads = 1};
    check(kv_pool_create(&w->pool_full, &pool) == KV_OK, "pool");
    pool.evicts = true;
    check(kv_pool_create(&w->pool, &pool) == KV_OK, "pool");
    check(forgetting_create(&w->f, w->weights, w->pool, MAX_LINES, &config, rule) == MODEL_OK, "forgetting");
    config.attend = own_attention ? NULL : attend;
    config.context = w;
    check(transformer_create(&w->full, w->weights, w->pool_full, &config) == MODEL_OK, "transformer");
    line *x = &w->lines[w->num_lines++];
    *x = (line){.truth = text_truth_create(&w->file), .rule = rule ? *rule : (forgetting_rule){0}};
    check(kv_branch_create(w->pool, &x->forgetful) == KV_OK, "root");
    check(kv_branch_create(w->pool_full, &x->full) == KV_OK, "root");
}

static void prune_line(world *w, uint32_t index)
{
    check(kv_branch_prune(w->pool, w->lines[index].forgetful) == KV_OK &&
              kv_branch_prune(w->pool_full, w->lines[index].full) == KV_OK, "prune");
    text_truth_destroy(&w->lines[index].truth);
    w->lines[index] = w->lines[--w->num_lines];
}

static void close_world(world *w)
{
    kv_pool_stats stats;
    while (w->num_lines)
        prune_line(w, 0);
    kv_pool_get_stats(w->pool, &stats);
    check(stats.used_blocks == 0 && kv_pool_check(w->pool, NULL, 0) == KV_OK, "%u blocks in use", stats.used_blocks);
    test_note("%u tokens, %u forgotten, logits %u times the same bits; error / limit %.3f, margin %.2g", w->num_checked,
              w->num_forgotten, w->num_same_bits, w->worst, w->margin);
    forgetting_destroy(w->f);
    transformer_destroy(w->full);
    check(kv_pool_destroy(w->pool, false, NULL) == KV_OK, "empty");
    check(kv_pool_destroy(w->pool_full, false, NULL) == KV_OK, "empty");
    model_weights_destroy(w->weights);
    weights_file_destroy(&w->file);
}

static line *fork_line(world *w, uint32_t index)
{
    line *from = &w->lines[index], *x = &w->lines[w->num_lines++];
    check(w->num_lines <= MAX_LINES, "room for a line");
    *x = *from;
    x->truth = text_truth_copy(&from->truth);
    check(forgetting_fork(w->f, from->forgetful, &x->forgetful) == MODEL_OK &&
              kv_branch_fork(w->pool_full, from->full, &x->full) == KV_OK, "fork");
    return x;
}

/* What the pool says: kept [length], their number. */
static uint32_t kept_of(const world *w, const line *x, bool *kept)
{
    kv_table table;
    kv_keep keep;
    uint32_t count = 0;
    memset(kept, 0, CONTEXT * sizeof *kept);
    check(kv_branch_table(w->pool, x->forgetful, &table) == KV_OK, "alive");
    check(kv_branch_keep(w->pool, x->forgetful, &keep) == KV_OK, "alive");
    for (uint32_t s = 0; s < table.length; s++)
        if (kv_keep_slot(&keep, BLOCK_TOKENS, s)) {
            uint32_t slot = table.blocks[s / BLOCK_TOKENS] * BLOCK_TOKENS + s % BLOCK_TOKENS;
            kept[kv_pool_positions(w->pool)[slot]] = true;
            count++;
        }
    check(count == keep.num_kept && keep.next_position == x->truth.length, "%u tokens, position %u", count,
          keep.next_position);
    return count;
}

/* After a step of all lines: the tokens that x keeps are those of the policy. */
static void check_kept(world *w, line *x)
{
    bool kept[CONTEXT];
    uint32_t length = x->truth.length, count = kept_of(w, x, kept), budget = x->rule.budget;
    if (!x->rule.policy || x->rule.by_layer) {
        check(count == length, "%u of %u tokens", count, length);
        return;
    }
    uint32_t before = 0;
    for (uint32_t t = 0; t < length; t++) {
        before += x->kept[0][t];
        check(x->kept[0][t] || !kept[t], "position %u came back", t);
    }
    uint32_t interval = x->rule.policy->interval;
    uint32_t expected = interval && before >= budget + interval ? budget : before;
    check(count == expected, "%u of %u tokens, budget %u", count, before, budget);
    for (uint32_t t = 0; t < length; t++)
        for (uint32_t k = 0; k < length && interval == 1 && !is(&x->rule, "random"); k++)
            if (x->kept[0][t] && !kept[t]) { /* t went; k stays, or went, too */
                check(is_candidate(&x->rule, t, length), "position %u of %u was protected", t, length);
                check(!kept[k] || !is_candidate(&x->rule, k, length) ||
                          x->total[t] < x->total[k] * (1 + near) || (x->total[t] == x->total[k] && t < k),
                      "position %u went with %.9g, %u stays with %.9g", t, x->total[t], k, x->total[k]);
            }
    if (is(&x->rule, "sink_window") && count == budget) /* by hand */
        for (uint32_t t = 0; t < length; t++)
            check(kept[t] == (t < 4 || t + budget - 4 >= length), "position %u of %u", t, length);
    w->num_forgotten += before - count;
    for (uint32_t l = 0; l < LAYERS; l++)
        memcpy(x->kept[l], kept, sizeof kept);
}

/* A random token for every line, in all three ways. */
static void step(world *w)
{
    kv_branch forgetful[MAX_LINES], full[MAX_LINES];
    uint32_t tokens[MAX_LINES], v = w->file.shape.vocabulary;
    float logits[MAX_LINES * 32], logits_full[MAX_LINES * 32];
    for (uint32_t i = 0; i < w->num_lines; i++) {
        forgetful[i] = w->lines[i].forgetful;
        full[i] = w->lines[i].full;
        tokens[i] = test_below(v);
        for (uint32_t l = 0; l < LAYERS; l++)
            w->lines[i].kept[l][w->lines[i].truth.length] = true;
        memcpy(w->lines[i].truth.kept, w->lines[i].kept[0], CONTEXT * sizeof(bool));
        text_truth_append(&w->lines[i].truth, tokens[i]);
    }
    model_status status = forgetting_step(w->f, forgetful, tokens, w->num_lines, logits);
    check(status == MODEL_OK, "step, length %u: %s", w->lines[0].truth.length, model_status_string(status));
    check(transformer_step(w->full, full, tokens, w->num_lines, logits_full) == MODEL_OK, "step");
    for (uint32_t i = 0; i < w->num_lines; i++) {
        line *x = &w->lines[i];
        const float *own = logits + i * v, *other = logits_full + i * v;
        double error = x->rule.by_layer ? 0 : text_truth_worst(&x->truth, own);
        for (uint32_t c = 0; c < v; c++) /* both are within the limit of the truth, or by layer, of one much like it */
            error = fmax(error, fabs((double)own[c] - other[c]) / (2 * x->truth.limit));
        w->worst = fmax(w->worst, error);
        check(error <= 1, "line %u, length %u: error %.3g limits", i, x->truth.length, error);
        check(!x->rule.by_layer || w->margin > near, "by layer, a choice was too close: margin %.2g", w->margin);
        w->num_same_bits += !memcmp(own, other, v * sizeof *own);
        w->num_checked++;
        check_kept(w, x);
    }
    check(kv_pool_check(w->pool, NULL, 0) == KV_OK, "the pool's invariants");
}

/* ---- cases ---- */

typedef struct arm {
    const char *policy;
    uint32_t budget, steps;
    bool by_layer, own_attention;
} arm;

static void run_policy(const void *argument)
{
    const arm *a = argument;
    forgetting_rule rule = {.policy = eviction_policy_from_name(a->policy), .budget = a->budget,
                            .by_layer = a->by_layer, .seed = 7};
    world w;
    open_world(&w, &rule, a->own_attention);
    for (uint32_t i = 0; i < a->steps; i++) {
        step(&w);
        if (i == 5 || i == a->steps / 2) /* before and after the first token goes */
            fork_line(&w, 0);
        else if (i == a->steps * 2 / 3)
            prune_line(&w, 0);
    }
    if (!a->by_layer)
        check((w.num_forgotten > 0) == (a->budget < a->steps), "%u forgotten", w.num_forgotten);
    close_world(&w);
}

/* Every position has a score of its own, whatever the text: lines of one seed keep the same positions. */
static void run_random(const void *argument)
{
    (void)argument;
    world w;
    bool kept[3][CONTEXT];
    forgetting_rule rule = {.policy = eviction_policy_from_name("random"), .budget = 9, .seed = 1};
    open_world(&w, NULL, false);
    step(&w);
    for (uint64_t i = 0; i < 3; i++) {
        line *x = fork_line(&w, 0);
        x->rule = rule;
        x->rule.seed = i == 2 ? 2 : 1;
        check(forgetting_set_rule(w.f, x->forgetful, &x->rule) == MODEL_OK, "rule");
    }
    for (uint32_t i = 0; i < 25; i++)
        step(&w);
    for (uint32_t i = 0; i < 3; i++)
        check(kept_of(&w, &w.lines[i + 1], kept[i]) == 9, "9 tokens");
    check(!memcmp(kept[0], kept[1], CONTEXT) && memcmp(kept[0], kept[2], CONTEXT), "by the seed alone");
    close_world(&w);
}

/* Rules taken late: histories of the time before them count, and many tokens go at once. */
static void run_late(const void *argument)
{
    static const char *const policies[] = {"sink_window", "longflow", "h2o"};
    (void)argument;
    world w;
    open_world(&w, NULL, false);
    for (uint32_t i = 0; i < 22; i++)
        step(&w);
    for (uint32_t i = 0; i < 3; i++) {
        line *x = fork_line(&w, 0);
        x->rule = (forgetting_rule){.policy = eviction_policy_from_name(policies[i]), .budget = 9};
        check(forgetting_set_rule(w.f, x->forgetful, &x->rule) == MODEL_OK, "rule");
    }
    for (uint32_t i = 0; i < 12; i++)
        step(&w);
    check(w.num_forgotten == 3 * (22 - 9 + 12), "%u forgotten", w.num_forgotten);
    close_world(&w);
}

static void run_refusals(const void *argument)
{
    (void)argument;
    world w;
    forgetting *f = NULL;
    forgetting_rule rule = {.policy = eviction_policy_from_name("longflow"), .budget = 6}, none = rule, unnamed = rule;
    transformer_config config = {.max_branches = 2, .num_threads = 1};
    none.budget = 0;
    unnamed.policy = NULL;
    open_world(&w, NULL, false);
    check(forgetting_create(&f, w.weights, w.pool_full, 2, &config, &rule) == MODEL_INVAL, "a pool that keeps all");
    check(forgetting_create(&f, w.weights, w.pool, 2, &config, &none) == MODEL_INVAL, "no budget");
    model_weights longer = *w.weights;
    longer.shape.context = 1025;
    check(forgetting_create(&f, &longer, w.pool, 2, &config, &rule) == MODEL_INVAL && !f, "context above 1024");

    kv_branch root = w.lines[0].forgetful, child, stale;
    check(forgetting_set_rule(w.f, root, &rule) == MODEL_INVAL, "before its first step");
    check(forgetting_fork(w.f, root, &child) == MODEL_OK && kv_branch_prune(w.pool, child) == KV_OK, "an empty branch");
    stale = child;
    for (uint32_t i = 0; i < 4; i++)
        step(&w);
    line *x = fork_line(&w, 0);
    check((uint32_t)x->forgetful == (uint32_t)stale, "the place of the pruned branch is used again");
    check(forgetting_set_rule(w.f, x->forgetful, &none) == MODEL_INVAL, "no budget");
    check(forgetting_set_rule(w.f, x->forgetful, &unnamed) == MODEL_INVAL, "no policy");
    check(forgetting_set_rule(w.f, stale, &rule) == MODEL_INVAL, "a pruned branch");
    x->rule = rule;
    check(forgetting_set_rule(w.f, x->forgetful, &rule) == MODEL_OK, "a rule");
    check(forgetting_set_rule(w.f, x->forgetful, &rule) == MODEL_INVAL, "a second rule");
    for (uint32_t i = 0; i < 4; i++)
        step(&w);

    kv_branch twice[2] = {root, root}, many[MAX_LINES];
    static const uint32_t tokens[2] = {1, 2}, outside = 26;
    check(forgetting_step(w.f, &stale, tokens, 1, NULL) == MODEL_STALE, "a pruned branch");
    check(forgetting_step(w.f, &(kv_branch){UINT64_MAX}, tokens, 1, NULL) == MODEL_STALE, "no branch at all");
    check(forgetting_step(w.f, twice, tokens, 2, NULL) == MODEL_INVAL, "named twice");
    check(forgetting_step(w.f, &root, &outside, 1, NULL) == MODEL_INVAL, "a token outside the vocabulary");
    check(forgetting_fork(w.f, stale, &child) == MODEL_STALE, "a fork of a pruned branch");
    for (uint32_t i = 2; i < MAX_LINES; i++)
        check(forgetting_fork(w.f, root, &many[i]) == MODEL_OK, "fork");
    check(forgetting_fork(w.f, root, &child) == MODEL_NOBRANCH, "too many branches");
    for (uint32_t i = 2; i < MAX_LINES; i++)
        check(kv_branch_prune(w.pool, many[i]) == KV_OK, "prune");
    for (uint32_t i = 0; i < 4; i++) /* as if nothing had been refused */
        step(&w);
    check(w.num_forgotten == 6, "%u forgotten", w.num_forgotten);
    close_world(&w);
}

int main(int argc, char **argv)
{
    static const arm arms[] = {
        {"longflow", 64, 40, false, true}, {"sink_window", 10, 40, false, false}, {"longflow", 10, 40, false, false},
        {"h2o", 10, 40, false, false},     {"longflow", 10, 40, true, false},     {"rkv", 12, 150, false, false},
        {"full", 64, 30, false, true},
    };
    static const char *const names[] = {"never_reached", "sink_window", "longflow", "h2o", "longflow_by_layer", "rkv",
                                        "full"};
    test_begin(argc, argv, "a branch keeps what its policy says, and decodes as a text without the rest");
    for (size_t i = 0; i < sizeof arms / sizeof arms[0]; i++)
        test_add(run_policy, &arms[i], "%s", names[i]);
    test_add(run_random, NULL, "random");
    test_add(run_late, NULL, "rules_taken_late");
    test_add(run_refusals, NULL, "refusals");
    return test_end();
}
