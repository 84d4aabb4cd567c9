/* The project's attention over trees, with the student's function in place of softmax_state_absorb. */
#include "exercise.h"

#define softmax_state_absorb exercise_absorb
#include "../../reference/tree_attention.c"
#undef softmax_state_absorb

#include <string.h>

#include "attention.h"
#include "forest.h"

enum { DIM = 4 };
static double o[DIM];
static softmax_state state = {.o = o};
static const float values[4][DIM] = {{0, 1, 1, 1}, {1, 1, 0, 0}, {2, 1, 1, 0}, {3, 1, 0, 1}};
static const double scores[4] = {1, 0, 2, -1}; /* query 0 of the tiny tree, tokens 0 to 3 */

/* The state of tokens list[0 .. count), by its definition. */
static void expect_state(const int *list, int count)
{
    double m = -INFINITY, l = 0;
    for (int i = 0; i < count; i++) m = fmax(m, scores[list[i]]);
    for (int i = 0; i < count; i++) l += exp(scores[list[i]] - m);
    expect(state.m == m, "m after token %d of the list: expected %.9g, got %.9g", count - 1, m, state.m);
    expect(fabs(state.l - l) < 1e-9, "l after token %d of the list: expected %.9g, got %.9g", count - 1, l, state.l);
    for (int d = 0; d < DIM; d++) {
        double sum = 0;
        for (int i = 0; i < count; i++) sum += exp(scores[list[i]] - m) * (double)values[list[i]][d];
        expect_number("element of o", (uint64_t)d, sum, state.o[d], 1e-9);
    }
}

static void absorb(const int *list, int count)
{
    softmax_state_empty(&state, DIM);
    for (int i = 0; i < count; i++) exercise_absorb(&state, scores[list[i]], values[list[i]], DIM);
}

static void attend(const forest *f)
{
    float out[FOREST_MAX_BRANCHES * DIM] = {0}, path_key[64 * DIM], path_value[64 * DIM];
    double alone[DIM];
    tree_plan *plan;
    must(tree_plan_build(&plan, f->tree, &(tree_plan_config){.strategy = TREE_NODE}) == TREE_OK, "no plan");
    must(tree_attention_ref(out, NULL, f->query, f->key, f->value, plan, &f->shape, f->scale) == TREE_OK, "no output");
    for (uint32_t q = 0; q < f->num_branches; q++) {
        for (uint32_t t = 0; t < f->tables[q].length; t++) {
            uint32_t at = table_place(&f->tables[q], f->shape.block_tokens, t) * DIM;
            memcpy(path_key + t * DIM, f->key + at, DIM * sizeof *path_key);
            memcpy(path_value + t * DIM, f->value + at, DIM * sizeof *path_value);
        }
        attention_ref(alone, NULL, f->query + q * DIM, path_key, path_value, f->tables[q].length, DIM, f->scale);
        for (uint32_t d = 0; d < DIM; d++)
            expect_number("out: query * 4 + element", q * DIM + d, alone[d], (double)out[q * DIM + d], 1e-5);
    }
    tree_plan_destroy(plan);
}

int main(void)
{
    static const int order[4] = {0, 1, 2, 3};

    property("the first token: m is its score, l is 1, o is its value");
    absorb(order, 1);
    expect_state(order, 1);

    property("a token with a smaller score adds its share to l and o");
    absorb(order, 2);
    expect_state(order, 2);

    property("a larger score rescales the old l");
    absorb(order, 3);
    expect(state.m == 2 && fabs(state.l - 1.503214725) < 1e-8,
           "m, l after token 2: expected 2, 1.503214725, got %.9g, %.9g", state.m, state.l);

    property("a larger score rescales the old o");
    expect_number("element of o", 0, 2.135335283, state.o[0], 1e-8);

    property("every order of the tokens gives the same state");
    for (int i = 0; i < 256; i++) {
        const int list[4] = {i & 3, i >> 2 & 3, i >> 4 & 3, i >> 6};
        if ((1 << list[0] | 1 << list[1] | 1 << list[2] | 1 << list[3]) != 15) continue;
        absorb(list, 4);
        expect_state(list, 4);
    }

    property("a hidden token, of score -INFINITY, changes nothing");
    softmax_state_empty(&state, DIM);
    exercise_absorb(&state, -INFINITY, values[1], DIM);
    expect(state.m == -INFINITY && state.l == 0, "the empty state: expected m -inf, l 0, got m %g, l %g", state.m,
           state.l);
    absorb(order, 4);
    exercise_absorb(&state, -INFINITY, values[1], DIM);
    expect_state(order, 4);

    property("scores of 1000 do not overflow");
    softmax_state_empty(&state, DIM);
    exercise_absorb(&state, 1000, values[0], DIM);
    exercise_absorb(&state, 1001, values[1], DIM);
    expect(fabs(state.l - (1 + exp(-1))) < 1e-9, "l: expected %.9g, got %.9g", 1 + exp(-1), state.l);

    forest tiny, random;
    property("attention over the tiny tree: out[0] is 3.9507 and 5.4023");
    forest_tiny(&tiny);
    attend(&tiny);
    forest_destroy(&tiny);

    property("attention over 20 random trees equals that of each branch alone");
    for (int i = 0; i < 20; i++) {
        forest_random(&random, 4, 1, 1, DIM);
        attend(&random);
        forest_destroy(&random);
    }
    return finish();
}
