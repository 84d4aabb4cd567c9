/* Claim: model/game.h has the rules of the Game of 24: its steps are those of the scripted search, its solver agrees
 * with all expressions of four cards, its checker takes exactly the texts of the steps, and its answers add up to 24.
 * */
#include "game.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "game_of_24.h"
#include "test.h"

static game_state cards_of(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    char text[32];
    game_state state;
    snprintf(text, sizeof text, "%u %u %u %u", a, b, c, d);
    check(game_state_from_cards(&state, text), "'%s' is a set", text);
    return state;
}

/* Calls `visit` for each of the 1820 sets. */
static uint32_t for_all_sets(void (*visit)(const uint32_t cards[4]))
{
    uint32_t num_sets = 0;
    for (uint32_t a = 1; a <= GAME_MAX_CARD; a++)
        for (uint32_t b = a; b <= GAME_MAX_CARD; b++)
            for (uint32_t c = b; c <= GAME_MAX_CARD; c++)
                for (uint32_t d = c; d <= GAME_MAX_CARD; d++, num_sets++)
                    visit((const uint32_t[4]){a, b, c, d});
    return num_sets;
}

/* --- an oracle: every expression of four numbers, in doubles ------------------------------------------------------ */

static double calculate(double a, int operator, double b)
{
    return operator == 0 ? a + b : operator == 1 ? a - b : operator == 2 ? a * b : a / b;
}

static bool is_24(double x)
{
    return fabs(x - 24) < 1e-9; /* false for NaN */
}

/* The four numbers in this order, all operators, all five ways to put parentheses. */
static bool order_makes_24(const double n[4])
{
    for (int code = 0; code < 64; code++) {
        int x = code % 4, y = code / 4 % 4, z = code / 16;
        double ab = calculate(n[0], x, n[1]), bc = calculate(n[1], y, n[2]), cd = calculate(n[2], z, n[3]);
        if (is_24(calculate(calculate(ab, y, n[2]), z, n[3])) || is_24(calculate(calculate(n[0], x, bc), z, n[3])) ||
            is_24(calculate(ab, y, cd)) || is_24(calculate(n[0], x, calculate(bc, z, n[3]))) ||
            is_24(calculate(n[0], x, calculate(n[1], y, cd))))
            return true;
    }
    return false;
}

static bool some_order_makes_24(const uint32_t cards[4])
{
    for (int code = 0; code < 256; code++) {
        int at[4] = {code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6};
        int used = 1 << at[0] | 1 << at[1] | 1 << at[2] | 1 << at[3];
        double n[4] = {cards[at[0]], cards[at[1]], cards[at[2]], cards[at[3]]};
        if (used == 15 && order_makes_24(n))
            return true;
    }
    return false;
}

/* --- a calculator for "4*(9-(13-10))" ----------------------------------------------------------------------------- */

static double sum_of(const char **at, uint32_t *used);

static double atom(const char **at, uint32_t *used)
{
    if (**at == '(') {
        ++*at;
        double value = sum_of(at, used);
        check(**at == ')', "a closing parenthesis at '%s'", *at);
        ++*at;
        return value;
    }
    char *end;
    long value = strtol(*at, &end, 10);
    check(end > *at && value >= 1 && value <= GAME_MAX_CARD, "a card at '%s'", *at);
    *at = end;
    used[value]++;
    return (double)value;
}

static double product_of(const char **at, uint32_t *used)
{
    double value = atom(at, used);
    while (**at == '*' || **at == '/') {
        char operator = *(*at)++;
        double right = atom(at, used);
        value = operator == '*' ? value * right : value / right;
    }
    return value;
}

static double sum_of(const char **at, uint32_t *used)
{
    double value = product_of(at, used);
    while (**at == '+' || **at == '-') {
        char operator = *(*at)++;
        double right = product_of(at, used);
        value = operator == '+' ? value + right : value - right;
    }
    return value;
}

/* --- all sets ----------------------------------------------------------------------------------------------------- */

static uint32_t num_solvable, num_held_out, num_solvable_held_out;
static uint64_t num_nodes;

static void check_solution(const uint32_t cards[4])
{
    game_state state = cards_of(cards[3], cards[1], cards[0], cards[2]);
    game_step steps[GAME_CARDS - 1];
    uint32_t num_steps = 0, used[GAME_MAX_CARD + 1] = {0};
    uint64_t nodes;
    bool solved = game_solve(steps, &num_steps, &state, &nodes);
    num_nodes += nodes;
    num_held_out += game_is_held_out(&state);
    num_solvable_held_out += solved && game_is_held_out(&state);
    check(solved == some_order_makes_24(cards), "%u %u %u %u: %d", cards[0], cards[1], cards[2], cards[3], solved);
    if (!solved)
        return;
    num_solvable++;
    char text[GAME_MAX_TEXT];
    check(num_steps == 3 && game_expression(text, &state, steps, num_steps), "three steps and an expression");
    const char *at = text;
    check(is_24(sum_of(&at, used)) && *at == '\0', "%s is 24", text);
    for (int i = 0; i < 4; i++)
        used[cards[i]]--;
    for (int i = 0; i <= GAME_MAX_CARD; i++)
        check(used[i] == 0, "%s uses each card once", text);
    for (uint32_t i = 0; i < 3; i++) { /* each step is one of the state before it */
        game_step step;
        check(game_find_step(&step, i == 0 ? &state : &steps[i - 1].after, steps[i].text), "'%s'", steps[i].text);
        check(game_state_equal(&step.after, &steps[i].after), "'%s'", steps[i].text);
    }
}

static void test_all_sets(const void *unused)
{
    (void)unused;
    num_solvable = num_held_out = num_solvable_held_out = 0;
    num_nodes = 0;
    check(for_all_sets(check_solution) == GAME_NUM_SETS, "all sets");
    check(num_held_out == 348 && num_solvable_held_out == 269, "%u sets are held out, %u of them can make 24",
          num_held_out, num_solvable_held_out);
    check(num_solvable == GAME_NUM_SOLVABLE, "%u of them can make 24", num_solvable);
    test_note("%u solvable, %llu nodes", num_solvable, (unsigned long long)num_nodes);
}

/* "10 - 4 = 6 (left: 6 9 13)" as "10-4=6>6 9 13". */
static void as_line(char line[GAME_MAX_TEXT], const char *text)
{
    size_t used = 0;
    bool left = false;
    for (; *text && used + 1 < GAME_MAX_TEXT; text++) {
        if (*text == '(') {
            line[used++] = '>';
            text += strlen("(left:");
            left = true;
        } else if ((*text != ' ' || left) && *text != ')') {
            line[used++] = *text;
        }
    }
    line[used] = '\0';
}

/* The scripted search lists the same steps, in the same texts: of a part of the sets. */
static void compare_steps(const uint32_t cards[4])
{
    game_of_24_config config = {{cards[0], cards[1], cards[2], cards[3]}, 2};
    if ((cards[0] * 7 + cards[1] * 5 + cards[2] * 3 + cards[3]) % (TEST_SANITIZED ? 16 : 4) != 0)
        return;
    game_of_24 *game = NULL;
    check(game_of_24_search(&game, &config) == KV_OK, "searched");
    for (uint32_t first = 0; first < game->num_thoughts;) {
        const game_of_24_thought *thoughts = &game->thoughts[first];
        uint32_t count = 0;
        while (first + count < game->num_thoughts && thoughts[count].parent == thoughts[0].parent)
            count++;
        game_state state = cards_of(cards[0], cards[1], cards[2], cards[3]);
        char line[GAME_MAX_TEXT];
        if (thoughts[0].parent != TRACE_NONE) {
            as_line(line, game->thoughts[thoughts[0].parent].text);
            check(game_state_from_text(&state, strchr(line, '>') + 1), "the state of '%s'", line);
        }
        game_step steps[GAME_MAX_STEPS], step;
        check(game_steps(steps, &state) == count, "%u steps before '%s'", count, thoughts[0].text);
        for (uint32_t i = 0; i < count; i++) {
            as_line(line, thoughts[i].text);
            check(game_find_step(&step, &state, line), "'%s' is a step", line);
        }
        first += count;
    }
    game_of_24_destroy(game);
}

static void test_same_steps(const void *unused)
{
    (void)unused;
    check(for_all_sets(compare_steps) == GAME_NUM_SETS, "all sets");
}

/* --- texts -------------------------------------------------------------------------------------------------------- */

static void test_by_hand(const void *unused)
{
    (void)unused;
    static const char *const walks[][4] = {
        {"13 10 9 4", "13-10=3>3 4 9", "9-3=6>4 6", "6*4=24>24"},
        {"3 3 8 8", "8/3=8/3>8/3 3 8", "3-8/3=1/3>1/3 8", "8/1/3=24>24"},
        {"1 5 5 5", "1/5=1/5>1/5 5 5", "5-1/5=24/5>24/5 5", "5*24/5=24>24"},
        {"4 4 4 4", "4*4=16>4 4 16", "4+4=8>8 16", "16+8=24>24"},
    };
    static const char *const answers[] = {"(9-(13-10))*4", "8/(3-8/3)", "5*(5-1/5)", "4*4+4+4"};
    for (size_t w = 0; w < sizeof walks / sizeof walks[0]; w++) {
        game_state state, cards;
        game_step steps[3];
        char text[GAME_MAX_TEXT];
        check(game_state_from_cards(&state, walks[w][0]), "'%s'", walks[w][0]);
        cards = state;
        for (int i = 0; i < 3; i++) {
            check(game_find_step(&steps[i], &state, walks[w][i + 1]), "'%s'", walks[w][i + 1]);
            state = steps[i].after;
        }
        check(game_state_is_goal(&state) && game_expression(text, &cards, steps, 3), "24");
        check(strcmp(text, answers[w]) == 0, "%s, expected %s", text, answers[w]);
    }
    static const char *const lines[] = {"13+4=17>9 10 17", "13-4=9>9 9 10",   "13*4=52>9 10 52",
                                        "13/4=13/4>13/4 9 10", "4/13=4/13>4/13 9 10"};
    static const char *const illegal[] = {"",
                                          "13-10=3",
                                          "13-10=3>3 9 4",
                                          "13-10=3>3 4 9y",
                                          "10-13=3>3 4 9",
                                          "10+13=23>4 9 23",
                                          "13-10=3>4 9",
                                          "13-10=4>4 4 9",
                                          "12-10=2>2 4 9",
                                          "13-10=3>3  4 9",
                                          " 13-10=3>3 4 9",
                                          "13-10=03>3 4 9",
                                          "13-10=3>3/1 4 9",
                                          "10-4=6>6 9 13\n"};
    game_state state = cards_of(4, 9, 10, 13);
    game_step step, steps[GAME_MAX_STEPS];
    check(game_steps(steps, &state) == 30, "6 pairs with 5 steps each");
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        check(game_find_step(&step, &state, lines[i]), "'%s' is legal", lines[i]);
    for (size_t i = 0; i < sizeof illegal / sizeof illegal[0]; i++)
        check(!game_find_step(&step, &state, illegal[i]), "'%s' is not", illegal[i]);
    state = cards_of(4, 4, 4, 4);
    check(game_steps(steps, &state) == 4, "4+4, 4-4, 4*4, 4/4");
    check(game_state_from_text(&state, "0 7"), "a zero");
    check(game_steps(steps, &state) == 4, "7+0, 7-0, 7*0, 0/7 and no 7/0");
    check(!game_expression((char[GAME_MAX_TEXT]){0}, &state, steps, 0), "no expression of two numbers without a step");
}

static void test_bad_text(const void *unused)
{
    (void)unused;
    static const char *const good[] = {"1 1 1 1", "13 13 13 13", " 4  9 10 13 ", "01 2 3 4"};
    static const char *const bad[] = {"", " ", "1 2 3", "1 2 3 4 5", "0 1 2 3", "14 1 2 3", "-1 2 3 4", "+1 2 3 4",
                                      "1,2,3,4", "1 2 3 4x", "1 2 3 x", "1.0 2 3 4", "1\t2 3 4", "1 2 3 4\n",
                                      "99999999999999999999 1 2 3", "1e1 2 3 4", "1/1 2 3 4", "W1 2 3 4"};
    static const char *const no_state[] = {"",   " ",  "1 ", " 1", "1  2",      "2 1",      "4/2",  "1/0", "0/3",
                                           "01", "1/", "/1", "-1", "1 2 3 4 5", "12345678", "1 2y", "5/1"};
    static const char *const states[] = {"0", "24", "1/2", "3 4 9", "1/3 1/2 1", "2 2 2 2", "0 0"};
    game_state state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        check(game_state_from_cards(&state, good[i]) && state.count == 4, "'%s' is a set", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        state.count = 77;
        check(!game_state_from_cards(&state, bad[i]) && state.count == 77, "'%s' is no set", bad[i]);
    }
    for (size_t i = 0; i < sizeof no_state / sizeof no_state[0]; i++)
        check(!game_state_from_text(&state, no_state[i]), "'%s' is no state", no_state[i]);
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        char text[GAME_MAX_TEXT];
        check(game_state_from_text(&state, states[i]), "'%s' is a state", states[i]);
        game_state_text(text, &state);
        check(strcmp(text, states[i]) == 0, "'%s' again", text);
    }
}

/* Damaged texts of states, cards and steps: accepted only if they are what they would be written as. */
static void test_fuzz(const void *unused)
{
    (void)unused;
    static const char alphabet[] = "\n 0123456789+-*/=>:!ynWS\xff";
    uint32_t num_legal = 0;
    for (int round = 0; round < (TEST_SANITIZED ? 4000 : 20000); round++) {
        game_state state = cards_of(1 + test_below(13), 1 + test_below(13), 1 + test_below(13), 1 + test_below(13)),
                   read;
        game_step steps[GAME_MAX_STEPS], step;
        uint32_t num_steps = game_steps(steps, &state);
        for (uint32_t depth = test_below(3); depth > 0; depth--) {
            state = steps[test_below(num_steps)].after;
            num_steps = game_steps(steps, &state);
        }
        const char *original = steps[test_below(num_steps)].text;
        size_t length = strlen(original);
        char *text = malloc(length + 1), again[GAME_MAX_TEXT]; /* a sanitizer sees a read beyond it */
        check(text, "the test itself is out of memory");
        memcpy(text, original, length + 1);
        for (uint32_t n = test_below(3); n > 0; n--)
            text[test_below((uint32_t)length)] = alphabet[test_below(sizeof alphabet)]; /* its 0 as well */
        bool is_step = false;
        for (uint32_t i = 0; i < num_steps; i++)
            is_step |= strcmp(steps[i].text, text) == 0;
        bool found = game_find_step(&step, &state, text);
        check(found == is_step && (!found || strcmp(step.text, text) == 0), "'%s'", text);
        num_legal += found;
        const char *after = strchr(text, '>');
        if (after && game_state_from_text(&read, after + 1)) {
            game_state_text(again, &read);
            check(strcmp(after + 1, again) == 0, "'%s'", after + 1);
        }
        if (game_state_from_cards(&read, text))
            check(read.count == GAME_CARDS, "a set");
        free(text);
    }
    check(num_legal > 400, "%u legal", num_legal);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "rules, solver, checker and texts of the Game of 24");
    test_add(test_by_hand, NULL, "by_hand");
    test_add(test_all_sets, NULL, "all_sets");
    test_add(test_same_steps, NULL, "steps_of_the_scripted_search");
    test_add(test_bad_text, NULL, "bad_text");
    test_add(test_fuzz, NULL, "fuzz");
    return test_end();
}
