/* Mistakes with one token, made in the truth. */
#include "mistake_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

const char *const mistake_name[NUM_MISTAKES] = {"none", "lost", "doubled", "exchanged", "values_swapped"};

typedef struct token_pair {
    uint64_t own, other; /* slots: of the path; outside (lost, exchanged) or of the path too (values_swapped) */
} token_pair;

static bool sees(const attention_case *c, uint32_t query, uint64_t slot)
{
    for (uint64_t i = c->paths.first[query]; i < c->paths.first[query + 1]; i++) {
        if (c->paths.slots[i] == slot)
            return true;
    }
    return false;
}

static uint64_t random_slot(const attention_case *c, bool is_seen)
{
    for (;;) {
        uint64_t slot = test_below(c->shape.num_blocks * c->shape.block_tokens);
        bool found = false;
        for (uint32_t q = 0; q < c->shape.num_queries; q++)
            found |= sees(c, q, slot);
        if (found == is_seen)
            return slot;
    }
}

/* exp(score - lse) of a row and a slot. */
static double weight_of(const attention_case *c, const attention_truth *truth, uint32_t query, uint32_t head,
                        uint64_t slot)
{
    const float *q = attention_query(c, query, head);
    const float *key = attention_key(c, slot, head / (c->shape.num_heads / c->shape.num_kv_heads));
    double score = 0;
    for (uint32_t d = 0; d < c->shape.head_dim; d++)
        score += (double)q[d] * key[d];
    return exp(score * c->scale - truth->lse[(uint64_t)query * c->shape.num_heads + head]);
}

/* A token of `weight` of the row's present sum is added; taken away, if the weight is negative. */
static void add_token(attention_truth *truth, uint64_t row, double weight, const float *value)
{
    double *out = truth->out + row * truth->head_dim;
    for (uint32_t d = 0; d < truth->head_dim; d++)
        out[d] = (out[d] + weight * value[d]) / (1 + weight);
    truth->lse[row] += log1p(weight);
}

static void change_row(const attention_case *c, attention_truth *truth, uint32_t query, uint32_t head, mistake kind,
                       token_pair tokens)
{
    uint32_t kv_head = head / (c->shape.num_heads / c->shape.num_kv_heads);
    uint64_t row = (uint64_t)query * c->shape.num_heads + head;
    const float *own = attention_value(c, tokens.own, kv_head), *other = attention_value(c, tokens.other, kv_head);
    double own_weight = weight_of(c, truth, query, head, tokens.own);
    double other_weight = weight_of(c, truth, query, head, tokens.other);
    if (kind == TOKEN_DOUBLED || kind == TOKEN_EXCHANGED)
        add_token(truth, row, -own_weight, own);
    if (kind == TOKEN_LOST)
        add_token(truth, row, other_weight, other);
    if (kind == TOKEN_EXCHANGED)
        add_token(truth, row, other_weight / (1 - own_weight), other);
    for (uint32_t d = 0; kind == VALUES_SWAPPED && d < truth->head_dim; d++)
        truth->out[row * truth->head_dim + d] += (own_weight - other_weight) * (other[d] - own[d]);
}

static void make_mistake(const attention_case *c, attention_truth *truth, mistake kind)
{
    token_pair tokens = {random_slot(c, true), random_slot(c, kind == VALUES_SWAPPED)};
    for (uint32_t query = 0; query < c->shape.num_queries; query++) {
        if (!sees(c, query, tokens.own) || (kind == VALUES_SWAPPED && !sees(c, query, tokens.other)))
            continue;
        for (uint32_t head = 0; head < c->shape.num_heads; head++)
            change_row(c, truth, query, head, kind, tokens);
    }
}

noticed mistake_try(const attention_case *c, attention_truth *truth, const float *out, const float *lse,
                    const roundoffs *u, mistake kind)
{
    noticed counts = {0};
    size_t out_bytes = c->num_out * sizeof(double), lse_bytes = c->num_lse * sizeof(double);
    double *kept_out = malloc(out_bytes), *kept_lse = malloc(lse_bytes);
    check(kept_out && kept_lse, "memory");
    memcpy(kept_out, truth->out, out_bytes);
    memcpy(kept_lse, truth->lse, lse_bytes);
    for (int trial = 0; trial < NUM_TRIALS; trial++) {
        if (kind != NO_MISTAKE)
            make_mistake(c, truth, kind);
        counts.out += compare_out(out, truth, u).num_bad > 0;
        counts.lse += compare_lse(lse, truth, u).num_bad > 0;
        counts.mean_out += compare_mean_out(out, truth, u).num_bad > 0;
        counts.mean_lse += compare_mean_lse(lse, truth, u).num_bad > 0;
        memcpy(truth->out, kept_out, out_bytes);
        memcpy(truth->lse, kept_lse, lse_bytes);
    }
    free(kept_out);
    free(kept_lse);
    return counts;
}

void mistake_check_all(const attention_case *c, attention_truth *truth, const float *out, const float *lse,
                       const roundoffs *u, const char *what)
{
    test_note("%s, out, lse, mean out, mean lse:", what);
    test_reseed(); /* the same trials for each backend, whatever ran before it */
    for (mistake kind = NO_MISTAKE; kind < NUM_MISTAKES; kind++) {
        noticed counts = mistake_try(c, truth, out, lse, u, kind);
        uint32_t wanted = kind == NO_MISTAKE ? 0 : NUM_TRIALS, wanted_lse = kind == VALUES_SWAPPED ? 0 : wanted;
        test_note("%s %u %u %u %u", mistake_name[kind], counts.out, counts.lse, counts.mean_out, counts.mean_lse);
        check(counts.mean_out == wanted && counts.mean_lse == wanted_lse, "%s, %s: %u and %u of %d trials", what,
              mistake_name[kind], counts.mean_out, counts.mean_lse, NUM_TRIALS);
        check(kind != NO_MISTAKE || counts.out + counts.lse == 0, "%s: no false alarm", what);
    }
}
