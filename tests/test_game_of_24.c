/* Claim: the Game of 24 search does what its header states: exact arithmetic, one branch per thought, the best kept,
 * the rest pruned, the same result every time; and it solves the example. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "game_of_24.h"
#include "replay.h"
#include "test.h"

static game_of_24 *search(uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t breadth)
{
    game_of_24_config config = {{a, b, c, d}, breadth};
    game_of_24 *game = NULL;
    kv_status status = game_of_24_search(&game, &config);
    check(status == KV_OK, "searched, status %d", status);
    return game;
}

/* --- a calculator of its own, for expressions like "(9 - 4) * 2" -------------------------------------------------- */

typedef struct calculator {
    const char *at;
    uint32_t numbers[8], num_numbers;
} calculator;

static double sum_of(calculator *c);

static double atom(calculator *c)
{
    double value = 0;
    if (*c->at == '(') {
        c->at++;
        value = sum_of(c);
        check(*c->at == ')', "a closing parenthesis at '%s'", c->at);
        c->at++;
        return value;
    }
    check(isdigit((unsigned char)*c->at), "a number at '%s'", c->at);
    while (isdigit((unsigned char)*c->at))
        value = value * 10 + (*c->at++ - '0');
    c->numbers[c->num_numbers++ % 8] = (uint32_t)value;
    return value;
}

static double product_of(calculator *c)
{
    double value = atom(c);
    while (c->at[0] == ' ' && (c->at[1] == '*' || c->at[1] == '/')) {
        char operator = c->at[1];
        c->at += 3;
        double right = atom(c);
        value = operator == '*' ? value * right : value / right;
    }
    return value;
}

static double sum_of(calculator *c)
{
    double value = product_of(c);
    while (c->at[0] == ' ' && (c->at[1] == '+' || c->at[1] == '-')) {
        char operator = c->at[1];
        c->at += 3;
        double right = product_of(c);
        value = operator == '+' ? value + right : value - right;
    }
    return value;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void check_solution(const game_of_24 *game)
{
    calculator c = {.at = game->solution};
    double value = sum_of(&c);
    check(strcmp(c.at, " = 24") == 0, "'%s' ends in = 24", game->solution);
    check(value > 24 - 1e-9 && value < 24 + 1e-9, "%s is %g", game->solution, value);
    uint32_t wanted[4];
    memcpy(wanted, game->config.numbers, sizeof wanted);
    qsort(wanted, 4, sizeof *wanted, compare_numbers);
    check(c.num_numbers == 4, "four numbers in %s", game->solution);
    qsort(c.numbers, 4, sizeof *c.numbers, compare_numbers);
    check(memcmp(wanted, c.numbers, sizeof wanted) == 0, "%s uses each number once", game->solution);
}

/* --- what every game must keep ------------------------------------------------------------------------------------ */

/* "a op b = c (left: ...)" with the operands taken from the state before and the result found in the state after. */
static void check_thought(const game_of_24 *game, const game_of_24_thought *t)
{
    double a_top, a_bottom = 1, b_top, b_bottom = 1, c_top, c_bottom = 1;
    char a[20], b[20], c[20], operator;
    int left = 0;
    int fields = sscanf(t->text, "%19s %c %19s = %19s (left:%n", a, &operator, b, c, &left);
    check(fields == 4 && left > 0, "'%s'", t->text);
    check(sscanf(a, "%lf/%lf", &a_top, &a_bottom) >= 1 && sscanf(b, "%lf/%lf", &b_top, &b_bottom) >= 1 &&
          sscanf(c, "%lf/%lf", &c_top, &c_bottom) >= 1, "numbers in '%s'", t->text);
    double x = a_top / a_bottom, y = b_top / b_bottom, z = c_top / c_bottom;
    double made = operator == '+' ? x + y : operator == '-' ? x - y : operator == '*' ? x * y : x / y;
    check(made - z <= 1e-9 * (1 + z) && z - made <= 1e-9 * (1 + z), "'%s' is %g", t->text, made);
    check(z >= 0, "no negative number in '%s'", t->text);
    char within[24];
    snprintf(within, sizeof within, " %s", c);
    check(strstr(t->text + left, within), "the result is among what is left in '%s'", t->text);
    if (t->parent != TRACE_NONE) {
        const char *before = strstr(game->thoughts[t->parent].text, "(left:");
        snprintf(within, sizeof within, " %s", a);
        check(strstr(before, within), "'%s' takes %s from '%s'", t->text, a, before);
    }
    uint32_t numbers_left = 0;
    for (const char *at = t->text + left; *at; at++)
        numbers_left += *at == ' ';
    check(numbers_left == 4 - t->level, "%u numbers left in '%s'", 4 - t->level, t->text);
}

static const char *left_of(const game_of_24_thought *t)
{
    return strstr(t->text, "(left:");
}

/* Duplicates by their text: numbers are printed in rising order and lowest terms. Scores of the last level by value. */
static void check_verdict(const game_of_24 *game, uint32_t index)
{
    const game_of_24_thought *t = &game->thoughts[index];
    bool duplicate = false;
    for (uint32_t i = 0; i < index; i++)
        duplicate |= game->thoughts[i].level == t->level && !strcmp(left_of(&game->thoughts[i]), left_of(t));
    check(t->duplicate == duplicate, "'%s' is a duplicate: %d", t->text, duplicate);
    double top, bottom = 1;
    if (t->level == 3) {
        check(sscanf(left_of(t), "(left: %lf/%lf", &top, &bottom) >= 1, "'%s'", t->text);
        double distance = top > 24 * bottom ? top / bottom - 24 : 24 - top / bottom;
        check((t->score == 1000) == (distance < 1e-9), "'%s' scores %d", t->text, t->score);
        check(t->score == 1000 || (-t->score <= distance + 1 && -t->score >= distance - 1), "'%s' scores %d", t->text,
              t->score);
    }
}

static void check_game(const game_of_24 *game)
{
    uint32_t kept[4] = {0};
    int32_t worst_kept[4] = {0};
    check(workload_check(game->workload, NULL, NULL, 0) == KV_OK && game->workload->live_branches == 0, "well-formed");
    check(game->workload->num_branches == game->num_thoughts + 1, "a branch a thought, and the prompt");
    for (uint32_t i = 0; i < game->num_thoughts; i++) {
        const game_of_24_thought *t = &game->thoughts[i];
        check_thought(game, t);
        check_verdict(game, i);
        check(t->num_tokens == strlen(t->text) + 1, "a token per byte, newline included");
        check(strcmp(workload_label(game->workload, t->branch), t->text) == 0, "the label is the thought");
        check(t->level >= 1 && t->level <= 3, "level %u", t->level);
        check((t->level == 1) == (t->parent == TRACE_NONE), "level 1 continues the prompt");
        check(t->level == 1 || (game->thoughts[t->parent].kept && game->thoughts[t->parent].level == t->level - 1),
              "a thought continues one that was kept");
        check(!(t->kept && t->duplicate), "of duplicates only the first is kept");
        if (t->kept && (kept[t->level]++ == 0 || t->score < worst_kept[t->level]))
            worst_kept[t->level] = t->score;
    }
    for (uint32_t i = 0; i < game->num_thoughts; i++) {
        const game_of_24_thought *t = &game->thoughts[i];
        if (t->level < 3 && !t->kept && !t->duplicate)
            check(t->score <= worst_kept[t->level], "'%s' is no better than what was kept", t->text);
    }
    check(kept[1] <= game->config.breadth && kept[2] <= game->config.breadth, "at most `breadth` kept");
    check(kept[3] == game->solved, "at the end only a solution is kept");
    check(game->solved == (game->solution[0] != 0) && game->solved == (game->solution_thought != TRACE_NONE), "solved");
}

static void run_example(const void *argument)
{
    (void)argument;
    game_of_24_config defaults = {{0, 0, 0, 0}, 0};
    game_of_24 *game = NULL;
    check(game_of_24_search(&game, &defaults) == KV_OK, "searched");
    check(game->config.numbers[0] == 4 && game->config.numbers[3] == 13 && game->config.breadth == 5, "defaults");
    check(strstr(game->prompt, "Input: 4 9 10 13\n"), "the prompt has the puzzle");
    check(game->solved, "4 9 10 13 is solved");
    check_solution(game);
    check_game(game);
    test_note("%s", game->solution);
    game_of_24_destroy(game);
}

/* Recorded from a run that check_game accepted: a change of these numbers is a change of the search. */
static void run_golden(const void *argument)
{
    (void)argument;
    game_of_24 *game = search(4, 9, 10, 13, 5);
    uint32_t count[WORKLOAD_NUM_KINDS] = {0}, kept = 0, duplicates = 0;
    for (uint32_t i = 0; i < game->workload->num_operations; i++)
        count[game->workload->operations[i].kind]++;
    for (uint32_t i = 0; i < game->num_thoughts; i++) {
        kept += game->thoughts[i].kept;
        duplicates += game->thoughts[i].duplicate;
    }
    check(strcmp(game->solution, "(9 - (13 - 10)) * 4 = 24") == 0, "got %s", game->solution);
    check(count[WORKLOAD_CREATE] == 1 && count[WORKLOAD_FORK] == 124, "124 thoughts, got %u", count[WORKLOAD_FORK]);
    check(count[WORKLOAD_PRUNE] == 125, "all pruned in the end, got %u", count[WORKLOAD_PRUNE]);
    check(count[WORKLOAD_STEP] == 95 && count[WORKLOAD_DECODE] == 3284, "95 iterations, 3284 tokens, got %u, %u",
          count[WORKLOAD_STEP], count[WORKLOAD_DECODE]);
    check(kept == 11 && duplicates == 15, "11 kept, 15 duplicates, got %u, %u", kept, duplicates);
    game_of_24_destroy(game);
}

static void run_replayed(const void *argument)
{
    const uint32_t *block_tokens = argument;
    game_of_24 *game = search(4, 9, 10, 13, 5);
    replay_totals t;
    check(replay_measure(&t, game->workload, *block_tokens) == KV_OK, "replayed");
    uint64_t tokens = 0;
    for (uint32_t i = 0; i < game->num_thoughts; i++)
        tokens += game->thoughts[i].num_tokens;
    check(t.queries_sum == tokens, "a query a byte of a thought");
    check(t.leaked_blocks == 0, "no block leaks");
    if (*block_tokens <= 16) /* a block of 256 holds the whole prompt and is copied with it */
        check(t.path_tokens_sum > 3 * t.unique_tokens_sum, "the thoughts share most of what they read");
    test_note("peak_blocks=%u copies=%llu", t.peak_blocks, (unsigned long long)t.copies);
    game_of_24_destroy(game);
}

typedef struct puzzle {
    uint32_t numbers[4], breadth;
    bool solved;
} puzzle;

static const puzzle puzzles[] = {
    {{4, 9, 10, 13}, 5, true}, {{1, 2, 3, 4}, 5, true},  {{6, 6, 6, 6}, 5, true},   {{1, 1, 1, 1}, 5, false},
    {{3, 3, 8, 8}, 64, true},  {{1, 5, 5, 5}, 64, true}, {{13, 13, 13, 13}, 64, false}, {{24, 1, 1, 1}, 1, true},
    {{99, 99, 99, 99}, 64, false}, {{4, 9, 10, 13}, 1, true}, {{99, 98, 97, 96}, 64, false}, {{12, 12, 1, 2}, 5, true},
};

static void run_puzzle(const void *argument)
{
    const puzzle *p = argument;
    const uint32_t *n = p->numbers;
    game_of_24 *game = search(n[0], n[1], n[2], n[3], p->breadth);
    check_game(game);
    check(game->solved == p->solved, "solved: %d, got %d (%s)", p->solved, game->solved, game->solution);
    if (game->solved)
        check_solution(game);
    test_note("thoughts=%u %s", game->num_thoughts, game->solution);
    game_of_24_destroy(game);
}

static void run_deterministic(const void *argument)
{
    (void)argument;
    game_of_24 *a = search(2, 7, 8, 9, 5), *b = search(2, 7, 8, 9, 5), *c = search(9, 8, 7, 2, 5);
    check(a->workload->num_operations == b->workload->num_operations &&
          !memcmp(a->workload->operations, b->workload->operations,
                  a->workload->num_operations * sizeof *a->workload->operations), "the same operations");
    check(strcmp(a->solution, c->solution) == 0, "the order of the input does not matter");
    game_of_24_destroy(a);
    game_of_24_destroy(b);
    game_of_24_destroy(c);
}

/* All hands of four cards: every solution is right, and the heuristic finds most solutions. */
static void run_all_hands(const void *argument)
{
    (void)argument;
    uint32_t hands = 0, solved = 0;
    for (uint32_t a = 1; a <= 13; a++)
        for (uint32_t b = a; b <= 13; b++)
            for (uint32_t c = b; c <= 13; c++)
                for (uint32_t d = c; d <= 13; d++, hands++) {
                    game_of_24 *game = search(a, b, c, d, 5);
                    if (game->solved)
                        check_solution(game);
                    solved += game->solved;
                    game_of_24_destroy(game);
                }
    check(hands == 1820, "1820 hands");
    check(solved >= 1200 && solved <= 1362, "1362 can be solved; found %u", solved);
    test_note("solved=%u of 1362 that can be", solved);
}

static void run_refused(const void *argument)
{
    (void)argument;
    static const game_of_24_config wrong[] = {
        {{0, 9, 10, 13}, 5}, {{4, 9, 10, 0}, 5}, {{100, 9, 10, 13}, 5}, {{4, 9, 10, 13}, 65}};
    game_of_24 *game = NULL;
    for (int i = 0; i < 4; i++)
        check(game_of_24_search(&game, &wrong[i]) == KV_INVAL && !game, "config %d", i);
}

int main(int argc, char **argv)
{
    static const uint32_t block_tokens[] = {1, 16, 256};
    test_begin(argc, argv, "the Game of 24 search keeps the best thoughts and prunes the rest");
    test_add(run_example, NULL, "example");
    test_add(run_golden, NULL, "golden");
    for (int i = 0; i < 3; i++)
        test_add(run_replayed, &block_tokens[i], "replayed_by_%u", block_tokens[i]);
    for (size_t i = 0; i < sizeof puzzles / sizeof puzzles[0]; i++) {
        const uint32_t *n = puzzles[i].numbers;
        test_add(run_puzzle, &puzzles[i], "puzzle_%u_%u_%u_%u_breadth_%u", n[0], n[1], n[2], n[3], puzzles[i].breadth);
    }
    test_add(run_deterministic, NULL, "deterministic");
    test_add(run_all_hands, NULL, "all_hands");
    test_add(run_refused, NULL, "refused");
    return test_end();
}
