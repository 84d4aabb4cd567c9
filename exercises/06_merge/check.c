/* The project's attention over trees, with the student's function in place of softmax_state_merge. */
#include "exercise.h"

#define softmax_state_merge exercise_merge
#include "../../reference/tree_attention.c"
#undef softmax_state_merge

#include <stdio.h>
#include <string.h>

#include "attention.h"
#include "forest.h"

enum { DIM = 4, TOKENS = 9 };

typedef struct room {
    softmax_state state;
    double o[DIM];
} room;

/* Query 0 of the tiny tree: the state of tokens [first, end), their scores raised by `raise`. */
static void absorb(room *r, int first, int end, double raise)
{
    static const double scores[4] = {1, 0, 2, -1};
    r->state.o = r->o;
    softmax_state_empty(&r->state, DIM);
    for (int t = first; t < end; t++) {
        const float value[DIM] = {(float)t, 1, t % 2 == 0, t % 3 == 0};
        softmax_state_absorb(&r->state, scores[t % 4] + raise, value, DIM);
    }
}

static void expect_state(const softmax_state *expected, const softmax_state *got)
{
    expect(expected->m == got->m, "m: expected %.9g, got %.9g", expected->m, got->m);
    expect(fabs(expected->l - got->l) <= 1e-9, "l: expected %.9g, got %.9g", expected->l, got->l);
    for (uint32_t d = 0; d < DIM; d++) expect_number("element of o", d, expected->o[d], got->o[d], 1e-9);
}

static void merge(room *a, const room *b)
{
    exercise_merge(&a->state, &b->state, DIM);
}

static void attend(const forest *f, tree_strategy strategy)
{
    float out[FOREST_MAX_BRANCHES * DIM] = {0}, path_key[64 * DIM], path_value[64 * DIM];
    double alone[DIM];
    tree_plan *plan;
    const tree_plan_config config = {.strategy = strategy, .piece_tokens = 4};
    must(tree_plan_build(&plan, f->tree, &config) == TREE_OK, "no plan");
    must(tree_attention_ref(out, NULL, f->query, f->key, f->value, plan, &f->shape, f->scale) == TREE_OK, "no output");
    for (uint32_t q = 0; q < f->num_branches; q++) {
        for (uint32_t t = 0; t < f->tables[q].length; t++) {
            uint32_t at = table_place(&f->tables[q], f->shape.block_tokens, t) * DIM;
            memcpy(path_key + t * DIM, f->key + at, DIM * sizeof *path_key);
            memcpy(path_value + t * DIM, f->value + at, DIM * sizeof *path_value);
        }
        attention_ref(alone, NULL, f->query + q * DIM, path_key, path_value, f->tables[q].length, DIM, f->scale);
        for (uint32_t d = 0; d < DIM; d++) {
            char where[80];
            snprintf(where, sizeof where, "strategy %s, out: query * 4 + element", tree_strategy_name[strategy]);
            expect_number(where, q * DIM + d, alone[d], (double)out[q * DIM + d], 1e-5);
        }
    }
    tree_plan_destroy(plan);
}

int main(void)
{
    room a, b, all, kept;

    property("two states with the same m: l and o are added");
    absorb(&a, 0, 4, 0), absorb(&b, 4, TOKENS, 0), absorb(&all, 0, TOKENS, 0);
    merge(&a, &b);
    expect_state(&all.state, &a.state);

    property("the other m is larger: the own sums are rescaled");
    absorb(&a, 0, 2, 0), absorb(&b, 2, TOKENS, 0);
    merge(&a, &b);
    expect_state(&all.state, &a.state);

    property("the own m is larger: the other's sums are rescaled");
    absorb(&b, 0, 2, 0), absorb(&a, 2, TOKENS, 0);
    merge(&a, &b);
    expect_state(&all.state, &a.state);

    property("the other state is not changed");
    absorb(&a, 2, TOKENS, 0), absorb(&b, 0, 2, 0), absorb(&kept, 0, 2, 0);
    merge(&a, &b);
    expect_state(&kept.state, &b.state);

    property("an empty other state changes nothing");
    absorb(&a, 0, TOKENS, 0), absorb(&b, 0, 0, 0);
    merge(&a, &b);
    expect_state(&all.state, &a.state);

    property("merged into an empty state, the other state is the result");
    absorb(&a, 0, 0, 0), absorb(&b, 0, TOKENS, 0);
    merge(&a, &b);
    expect_state(&all.state, &a.state);

    property("two empty states stay empty, and no number becomes NaN");
    absorb(&a, 0, 0, 0), absorb(&b, 0, 0, 0);
    merge(&a, &b);
    expect_state(&b.state, &a.state);

    property("scores of 1000 do not overflow");
    absorb(&a, 0, 2, 1000), absorb(&b, 2, TOKENS, 1000), absorb(&kept, 0, TOKENS, 1000);
    merge(&a, &b);
    expect_state(&kept.state, &a.state);

    property("every split of nine tokens into three parts gives the same state");
    for (int i = 0; i <= TOKENS; i++)
        for (int j = i; j <= TOKENS; j++) {
            absorb(&a, j, TOKENS, 0), absorb(&b, 0, i, 0), absorb(&kept, i, j, 0);
            merge(&b, &kept);
            merge(&a, &b);
            expect_state(&all.state, &a.state);
        }

    property("attention by all eight strategies equals that of each branch alone");
    for (int i = 0; i < 3; i++) {
        forest f;
        if (i == 0)
            forest_tiny(&f);
        else
            forest_random(&f, 4, 1, 1, DIM);
        for (int s = 0; s < TREE_NUM_STRATEGIES; s++) attend(&f, (tree_strategy)s);
        forest_destroy(&f);
    }
    return finish();
}
