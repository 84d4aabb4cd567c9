/* game: the Game of 24 as the model reads and writes it. Exact numbers, legal steps, their text, a checker and an
 * exhaustive solver; no model and no KV cache.
 *
 * The goal: make 24 from four numbers, the cards 1 to 13, with + - * /, each number used once. A state is the numbers
 * left, in rising order; a step replaces two of them by their result. Text is one character a token: model/README.md
 * ("Characters and lines") is the grammar that training and this file share.
 *
 *   state  "4 9 10 13"        numbers in lowest terms, "5/2", in rising order
 *   step   "13-10=3>3 4 9"    two numbers of the state, the result, the state after it
 *
 * The checker has no grammar of its own: a line is legal if it is the text of one of the steps that game_steps lists,
 * so it takes any bytes. */
#ifndef GAME_H
#define GAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    GAME_CARDS = 4,
    GAME_MAX_CARD = 13,
    GAME_GOAL = 24,
    GAME_MAX_STEPS = 36, /* 6 pairs: + and * in one order, - and / in both */
    GAME_MAX_TEXT = 96,  /* of a state, a step or an expression, with its 0 */
    GAME_NUM_SETS = 1820, /* of four cards, order aside */
    GAME_NUM_SOLVABLE = 1362
};

/* An exact fraction in lowest terms, bottom > 0. Four cards keep both below 2^24. */
typedef struct game_number {
    int64_t top, bottom;
} game_number;

typedef struct game_state {
    uint32_t count;
    game_number numbers[GAME_CARDS]; /* [count] in rising order */
} game_state;

typedef struct game_step {
    game_number left, right, result;
    char operator; /* + - * / */
    game_state after;
    char text[GAME_MAX_TEXT]; /* "13-10=3>3 4 9" */
} game_step;

/* "4 9 10 13", in any order, with blanks around each number. False if the text is anything else than four whole numbers
 * from 1 to 13; *state is untouched then. */
bool game_state_from_cards(game_state *state, const char *text);

/* The numbers, separated by a blank. */
void game_state_text(char text[GAME_MAX_TEXT], const game_state *state);

/* A state in that text, exactly; false for any other text, and for a number above or below the bar of more than seven
 * digits. Such a state need not follow from cards. */
bool game_state_from_text(game_state *state, const char *text);

bool game_state_equal(const game_state *a, const game_state *b);

/* Whether the model has never been trained on this set of cards: model/README.md, "Split". */
bool game_is_held_out(const game_state *cards);

/* Whether the one number left is 24. */
bool game_state_is_goal(const game_state *state);

/* All steps with different texts, in a fixed order. steps [GAME_MAX_STEPS]. Here and below, the state is one that cards
 * lead to: larger numbers may overflow. */
uint32_t game_steps(game_step *steps, const game_state *state);

/* The step of this text, without its line end and without a value word. False: no step from this state has it. */
bool game_find_step(game_step *step, const game_state *state, const char *text);

/* The steps of a solution: at most three, *num_steps of them. False: 24 cannot be reached. num_nodes, if not NULL,
 * receives the number of states that the search has visited, depth first in the order of game_steps, the first one not
 * counted. */
bool game_solve(game_step steps[GAME_CARDS - 1], uint32_t *num_steps, const game_state *state, uint64_t *num_nodes);

/* The steps from `cards` as one expression, "(9-(13-10))*4". False if they are not steps of that game. */
bool game_expression(char text[GAME_MAX_TEXT], const game_state *cards, const game_step *steps, uint32_t num_steps);

#ifdef __cplusplus
}
#endif
#endif
