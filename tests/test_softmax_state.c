/* Claim: softmax needs no second pass. The state (m, l, o) of a set of tokens is the same for every order
 * and every split of the tokens, the empty state is the identity of merge, and neither operation creates a NaN. */
#include <float.h>
#include <string.h>

#include "attention.h"
#include "softmax_state.h"
#include "test.h"

enum { HEAD_DIM = 5, MAX_TOKENS = 64 };

typedef struct tokens {
    uint32_t count;
    double score[MAX_TOKENS];
    float value[MAX_TOKENS][HEAD_DIM];
} tokens;

typedef struct held_state {
    softmax_state state;
    double o[HEAD_DIM];
} held_state;

static void begin(held_state *held)
{
    held->state.o = held->o;
    softmax_state_empty(&held->state, HEAD_DIM);
}

static void absorb_tokens(held_state *held, const tokens *given, uint32_t first, uint32_t end)
{
    for (uint32_t t = first; t < end; t++)
        softmax_state_absorb(&held->state, given->score[t], given->value[t], HEAD_DIM);
}

static void merge(held_state *held, const held_state *other)
{
    softmax_state_merge(&held->state, &other->state, HEAD_DIM);
}

static tokens random_tokens(uint32_t count, double spread)
{
    tokens made = {.count = count};
    for (uint32_t t = 0; t < count; t++) {
        made.score[t] = spread > 0 ? spread * test_normal() : 0;
        for (int d = 0; d < HEAD_DIM; d++)
            made.value[t][d] = (float)test_normal();
    }
    return made;
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-13 * (1 + fabs(b));
}

static void check_near(const held_state *a, const held_state *b, const char *what)
{
    check(a->state.m == b->state.m, "%s: m %g and %g", what, a->state.m, b->state.m);
    check(near(a->state.l, b->state.l), "%s: l %g and %g", what, a->state.l, b->state.l);
    for (int d = 0; d < HEAD_DIM; d++)
        check(near(a->o[d], b->o[d]), "%s: o[%d] %g and %g", what, d, a->o[d], b->o[d]);
}

static void check_same(const held_state *a, const held_state *b, const char *what)
{
    check(!memcmp(&a->state.m, &b->state.m, sizeof a->state.m), "%s: m %g and %g", what, a->state.m, b->state.m);
    check(!memcmp(&a->state.l, &b->state.l, sizeof a->state.l), "%s: l %g and %g", what, a->state.l, b->state.l);
    check(!memcmp(a->o, b->o, sizeof a->o), "%s: o[0] %g and %g", what, a->o[0], b->o[0]);
}

static void run_empty(const void *unused)
{
    (void)unused;
    held_state held;
    float out[HEAD_DIM];
    begin(&held);
    softmax_state_normalize(out, &held.state, HEAD_DIM);
    check(held.state.m == -INFINITY && held.state.l == 0, "m %g l %g", held.state.m, held.state.l);
    check(softmax_state_lse(&held.state) == -INFINITY, "lse %g", softmax_state_lse(&held.state));
    for (int d = 0; d < HEAD_DIM; d++)
        check(held.o[d] == 0 && out[d] == 0, "o %g out %g", held.o[d], out[d]);
}

static void run_identity(const void *unused)
{
    (void)unused;
    tokens given = random_tokens(7, 3);
    held_state nothing, other_nothing, left, right, alone;
    begin(&nothing);
    begin(&other_nothing);
    begin(&left);
    begin(&right);
    begin(&alone);
    absorb_tokens(&alone, &given, 0, given.count);
    absorb_tokens(&left, &given, 0, given.count);
    merge(&left, &nothing);
    merge(&right, &alone);
    check_same(&left, &alone, "state merged with nothing");
    check_same(&right, &alone, "nothing merged with state");
    merge(&nothing, &other_nothing);
    check_same(&nothing, &other_nothing, "nothing merged with nothing");
}

/* Scores ln 1, ln 2, ln 3, ln 4: weights 1/10, 2/10, 3/10, 4/10. */
static void run_by_hand(const void *unused)
{
    (void)unused;
    tokens given = {4, {log(1), log(2), log(3), log(4)}, {{10, 1}, {20, 1}, {30, 1}, {40, -1}}};
    held_state held;
    float out[HEAD_DIM];
    begin(&held);
    absorb_tokens(&held, &given, 0, 4);
    softmax_state_normalize(out, &held.state, HEAD_DIM);
    check(held.state.m == log(4), "m %g", held.state.m);
    check(near(held.state.l, 2.5), "l %g, the weights over the largest", held.state.l);
    check(near(softmax_state_lse(&held.state), log(10)), "lse %g", softmax_state_lse(&held.state));
    check(out[0] == 30 && fabsf(out[1] - 0.2f) <= 1e-7f && out[2] == 0, "out %g %g %g", out[0], out[1], out[2]);
}

static void run_one_token(const void *unused)
{
    (void)unused;
    const double scores[] = {0, -1e300, 1e300, -87, DBL_MIN};
    for (int i = 0; i < 5; i++) {
        tokens given = random_tokens(1, 1);
        held_state held;
        float out[HEAD_DIM];
        given.score[0] = scores[i];
        begin(&held);
        absorb_tokens(&held, &given, 0, 1);
        softmax_state_normalize(out, &held.state, HEAD_DIM);
        check(!memcmp(out, given.value[0], sizeof out), "score %g: the token's own value", scores[i]);
        check(softmax_state_lse(&held.state) == scores[i], "lse %g for %g", softmax_state_lse(&held.state), scores[i]);
    }
}

static void run_commutative(const void *unused)
{
    (void)unused;
    for (int round = 0; round < 1000; round++) {
        tokens given = random_tokens(20, round % 7 * 20.0);
        uint32_t cut = test_below(21);
        held_state a, b, ab, ba;
        begin(&a);
        begin(&b);
        absorb_tokens(&a, &given, 0, cut);
        absorb_tokens(&b, &given, cut, 20);
        begin(&ab);
        begin(&ba);
        merge(&ab, &a);
        merge(&ab, &b);
        merge(&ba, &b);
        merge(&ba, &a);
        check_same(&ab, &ba, "either order");
    }
}

static void run_split_anywhere(const void *unused)
{
    (void)unused;
    tokens given = random_tokens(MAX_TOKENS, 5);
    held_state all;
    begin(&all);
    absorb_tokens(&all, &given, 0, MAX_TOKENS);
    for (uint32_t first = 0; first <= MAX_TOKENS; first++) {
        for (uint32_t second = first; second <= MAX_TOKENS; second++) {
            held_state part[3], total;
            const uint32_t cut[4] = {0, first, second, MAX_TOKENS};
            begin(&total);
            for (int i = 0; i < 3; i++) {
                begin(&part[i]);
                absorb_tokens(&part[i], &given, cut[i], cut[i + 1]);
                merge(&total, &part[i]);
            }
            check_near(&total, &all, "three parts");
        }
    }
}

static void run_associative(const void *unused)
{
    (void)unused;
    for (int round = 0; round < 200; round++) {
        tokens given = random_tokens(30, 10);
        held_state part[3], left, right, tail;
        for (uint32_t i = 0; i < 3; i++) {
            begin(&part[i]);
            absorb_tokens(&part[i], &given, 10 * i, 10 * (i + 1));
        }
        begin(&left);
        begin(&right);
        begin(&tail);
        for (int i = 0; i < 3; i++)
            merge(&left, &part[i]);
        merge(&tail, &part[1]);
        merge(&tail, &part[2]);
        merge(&right, &part[0]);
        merge(&right, &tail);
        check_near(&left, &right, "(a b) c and a (b c)");
    }
}

static void run_any_order(const void *unused)
{
    (void)unused;
    tokens rising = random_tokens(MAX_TOKENS, 0);
    for (uint32_t t = 0; t < MAX_TOKENS; t++)
        rising.score[t] = t * 2.5;
    held_state first;
    begin(&first);
    absorb_tokens(&first, &rising, 0, MAX_TOKENS); /* the maximum rises with each token */
    for (int round = 0; round < 100; round++) {
        held_state shuffled;
        for (uint32_t t = MAX_TOKENS - 1; t > 0; t--) {
            uint32_t other = round == 0 ? MAX_TOKENS - 1 - t : test_below(t + 1);
            if (round == 0 && other >= t)
                continue;
            tokens copy = rising;
            rising.score[t] = copy.score[other];
            rising.score[other] = copy.score[t];
            memcpy(rising.value[t], copy.value[other], sizeof copy.value[0]);
            memcpy(rising.value[other], copy.value[t], sizeof copy.value[0]);
        }
        begin(&shuffled);
        absorb_tokens(&shuffled, &rising, 0, MAX_TOKENS);
        check_near(&shuffled, &first, round == 0 ? "falling" : "shuffled");
    }
}

static void run_two_passes(const void *unused)
{
    (void)unused;
    for (uint32_t count = 0; count <= MAX_TOKENS; count++) {
        tokens given = random_tokens(count, 4);
        float query[HEAD_DIM] = {1}, key[MAX_TOKENS][HEAD_DIM] = {{0}}, out[HEAD_DIM];
        double truth[HEAD_DIM], lse;
        for (uint32_t t = 0; t < count; t++)
            given.score[t] = key[t][0] = (float)given.score[t];
        held_state held;
        begin(&held);
        absorb_tokens(&held, &given, 0, count);
        softmax_state_normalize(out, &held.state, HEAD_DIM);
        attention_ref(truth, &lse, query, key[0], given.value[0], count, HEAD_DIM, 1);
        for (int d = 0; d < HEAD_DIM; d++)
            check(fabs(out[d] - truth[d]) <= 0x1p-24 * fabs(truth[d]) + 1e-13, "%u tokens: %g for %g", count, out[d],
                  truth[d]);
        check(count == 0 ? softmax_state_lse(&held.state) == lse : near(softmax_state_lse(&held.state), lse),
              "%u tokens: lse %g for %g", count, softmax_state_lse(&held.state), lse);
    }
}

/* Integers, so that sums and differences of scores are exact. */
static void run_shifted(const void *unused)
{
    (void)unused;
    const double shifts[] = {1, -4096, 1e6, -1e9};
    for (int i = 0; i < 4; i++) {
        tokens given = random_tokens(30, 1);
        held_state plain, shifted;
        for (uint32_t t = 0; t < 30; t++)
            given.score[t] = test_below(20);
        begin(&plain);
        absorb_tokens(&plain, &given, 0, 30);
        for (uint32_t t = 0; t < 30; t++)
            given.score[t] += shifts[i];
        begin(&shifted);
        absorb_tokens(&shifted, &given, 0, 30);
        shifted.state.m -= shifts[i];
        check_same(&shifted, &plain, "m moves by the shift, l and o stay");
    }
}

static void run_minus_infinity(const void *unused)
{
    (void)unused;
    tokens given = random_tokens(10, 3), with_nothing = {0};
    held_state plain, mixed, all_nothing, empty;
    for (uint32_t t = 0; t < 10; t++) {
        for (int repeat = 0; repeat < 2; repeat++) {
            uint32_t place = 3 * t + (uint32_t)repeat;
            with_nothing.score[place] = -INFINITY;
            with_nothing.value[place][0] = NAN;
        }
        with_nothing.score[3 * t + 2] = given.score[t];
        memcpy(with_nothing.value[3 * t + 2], given.value[t], sizeof given.value[0]);
    }
    begin(&plain);
    begin(&mixed);
    begin(&all_nothing);
    begin(&empty);
    absorb_tokens(&plain, &given, 0, 10);
    absorb_tokens(&mixed, &with_nothing, 0, 30);
    absorb_tokens(&all_nothing, &with_nothing, 0, 2);
    check_same(&mixed, &plain, "tokens of score -infinity");
    check_same(&all_nothing, &empty, "nothing but tokens of score -infinity");
}

static void run_not_a_number(const void *unused)
{
    (void)unused;
    const double scores[] = {NAN, INFINITY};
    for (int i = 0; i < 2; i++) {
        for (uint32_t place = 0; place < 4; place++) {
            tokens given = random_tokens(4, 1);
            held_state held, clean, empty;
            float out[HEAD_DIM];
            begin(&held);
            begin(&clean);
            begin(&empty);
            absorb_tokens(&clean, &given, 0, 4);
            given.score[place] = scores[i];
            absorb_tokens(&held, &given, 0, 4);
            merge(&held, &clean);
            merge(&held, &empty);
            merge(&empty, &held);
            softmax_state_normalize(out, &empty.state, HEAD_DIM);
            check(isnan(softmax_state_lse(&empty.state)), "score %g at %u: lse %g", scores[i], place,
                  softmax_state_lse(&empty.state));
            for (int d = 0; d < HEAD_DIM; d++)
                check(isnan(out[d]), "score %g at %u: out[%d] %g", scores[i], place, d, out[d]);
        }
    }
}

/* The maximum of such a state is that of no tokens, but it is none. */
static void run_nothing_but_nan(const void *unused)
{
    (void)unused;
    tokens given = random_tokens(4, 1), one = {.count = 1, .score = {NAN}};
    for (int order = 0; order < 3; order++) { /* merged into others, others into it, into nothing */
        held_state spoilt, clean, *total = order == 1 ? &spoilt : &clean;
        float out[HEAD_DIM];
        begin(&spoilt);
        begin(&clean);
        absorb_tokens(&spoilt, &one, 0, 1);
        absorb_tokens(&clean, &given, 0, order == 2 ? 0 : 4);
        merge(total, order == 1 ? &clean : &spoilt);
        softmax_state_normalize(out, &total->state, HEAD_DIM);
        check(isnan(softmax_state_lse(&total->state)), "order %d: lse %g", order, softmax_state_lse(&total->state));
        for (int d = 0; d < HEAD_DIM; d++)
            check(isnan(out[d]), "order %d: out[%d] %g", order, d, out[d]);
    }
}

static void run_value_not_a_number(const void *unused)
{
    (void)unused;
    tokens given = random_tokens(4, 1);
    held_state held;
    float out[HEAD_DIM];
    given.value[1][2] = NAN;
    given.score[1] = -1e4; /* its weight is 0 */
    begin(&held);
    absorb_tokens(&held, &given, 0, 4);
    softmax_state_normalize(out, &held.state, HEAD_DIM);
    for (int d = 0; d < HEAD_DIM; d++)
        check(isnan(out[d]) == (d == 2), "out[%d] %g", d, out[d]);
    check(isfinite(softmax_state_lse(&held.state)), "lse %g", softmax_state_lse(&held.state));
}

static void run_extremes(const void *unused)
{
    (void)unused;
    const double sizes[] = {1e4, 1e30, 1e300};
    for (int i = 0; i < 3; i++) {
        tokens given = random_tokens(4, 0);
        held_state held;
        float out[HEAD_DIM];
        for (uint32_t t = 0; t < 4; t++)
            given.score[t] = t == 2 ? sizes[i] : -sizes[i];
        begin(&held);
        absorb_tokens(&held, &given, 0, 4);
        softmax_state_normalize(out, &held.state, HEAD_DIM);
        check(!memcmp(out, given.value[2], sizeof out), "%g: the winner takes all", sizes[i]);
        given.score[2] = -sizes[i];
        begin(&held);
        absorb_tokens(&held, &given, 0, 4);
        check(held.state.l == 4 && held.state.m == -sizes[i], "%g: l %g", sizes[i], held.state.l);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const void *);
    } cases[] = {
        {"empty", run_empty},
        {"empty_is_identity", run_identity},
        {"by_hand", run_by_hand},
        {"one_token", run_one_token},
        {"merge_is_commutative", run_commutative},
        {"merge_is_associative", run_associative},
        {"split_anywhere", run_split_anywhere},
        {"any_order", run_any_order},
        {"agrees_with_two_passes", run_two_passes},
        {"shifted_scores", run_shifted},
        {"score_minus_infinity_absorbs_nothing", run_minus_infinity},
        {"score_not_a_number_stays", run_not_a_number},
        {"only_score_not_a_number_stays", run_nothing_but_nan},
        {"value_not_a_number_stays_in_its_element", run_value_not_a_number},
        {"extreme_scores", run_extremes},
    };
    test_begin(argc, argv, "the softmax of a set of tokens does not depend on the order or the split of the set");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        test_add(cases[i].run, NULL, "%s", cases[i].name);
    return test_end();
}
