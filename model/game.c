/* game: see game.h. */
#include "game.h"

#include <stdio.h>
#include <string.h>

#include "weights.h"

/* --- numbers ------------------------------------------------------------------------------------------------------ */

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static game_number reduced(int64_t top, int64_t bottom)
{
    int64_t divisor = common_divisor(top, bottom);
    return (game_number){top / divisor, bottom / divisor};
}

static int compare(const game_number *a, const game_number *b)
{
    int64_t left = a->top * b->bottom, right = b->top * a->bottom;
    return (left > right) - (left < right);
}

/* a op b; the caller has made sure that the result is a number and not negative. */
static game_number combine(const game_number *a, char operator, const game_number *b)
{
    switch (operator) {
    case '+': return reduced(a->top * b->bottom + b->top * a->bottom, a->bottom * b->bottom);
    case '-': return reduced(a->top * b->bottom - b->top * a->bottom, a->bottom * b->bottom);
    case '*': return reduced(a->top * b->top, a->bottom * b->bottom);
    default: return reduced(a->top * b->bottom, a->bottom * b->top);
    }
}

/* --- text --------------------------------------------------------------------------------------------------------- */

static size_t put_number(char *text, size_t used, const game_number *n)
{
    size_t room = used < GAME_MAX_TEXT ? GAME_MAX_TEXT - used : 0;
    int length = n->bottom == 1 ? snprintf(text + used, room, "%lld", (long long)n->top)
                                : snprintf(text + used, room, "%lld/%lld", (long long)n->top, (long long)n->bottom);
    return used + (size_t)length;
}

static size_t put_character(char *text, size_t used, char c)
{
    if (used + 1 < GAME_MAX_TEXT) {
        text[used] = c;
        text[used + 1] = '\0';
    }
    return used + 1;
}

static size_t put_state(char *text, size_t used, const game_state *state)
{
    for (uint32_t i = 0; i < state->count; i++) {
        if (i > 0)
            used = put_character(text, used, ' ');
        used = put_number(text, used, &state->numbers[i]);
    }
    return used;
}

void game_state_text(char text[GAME_MAX_TEXT], const game_state *state)
{
    text[0] = '\0';
    put_state(text, 0, state);
}

static void insert(game_state *state, const game_number *n)
{
    uint32_t i = state->count++;
    for (; i > 0 && compare(&state->numbers[i - 1], n) > 0; i--)
        state->numbers[i] = state->numbers[i - 1];
    state->numbers[i] = *n;
}

/* A whole number of at most `digits` digits; *at moves behind it. -1: there is none. */
static int64_t read_whole(const char **at, int digits)
{
    const char *text = *at;
    int64_t value = 0;
    int length = 0;
    for (; text[length] >= '0' && text[length] <= '9'; length++) {
        if (length == digits)
            return -1;
        value = 10 * value + (text[length] - '0');
    }
    *at = text + length;
    return length > 0 ? value : -1;
}

bool game_state_from_cards(game_state *state, const char *text)
{
    game_state read = {.count = 0};
    for (;;) {
        while (*text == ' ')
            text++;
        if (*text == '\0')
            break;
        int64_t value = read_whole(&text, 2);
        if (read.count == GAME_CARDS || value < 1 || value > GAME_MAX_CARD || (*text != ' ' && *text != '\0'))
            return false;
        insert(&read, &(game_number){value, 1});
    }
    if (read.count != GAME_CARDS)
        return false;
    *state = read;
    return true;
}

bool game_state_from_text(game_state *state, const char *text)
{
    enum { DIGITS = 7 };
    game_state read = {.count = 0};
    const char *at = text;
    char again[GAME_MAX_TEXT];
    for (;;) {
        game_number n = {.top = read_whole(&at, DIGITS), .bottom = 1};
        if (n.top >= 0 && *at == '/') {
            at++;
            n.bottom = read_whole(&at, DIGITS);
        }
        if (n.top < 0 || n.bottom < 1 || read.count == GAME_CARDS)
            return false;
        read.numbers[read.count++] = n;
        if (*at == '\0')
            break;
        if (*at++ != ' ')
            return false;
    }
    for (uint32_t i = 0; i < read.count; i++) {
        if (common_divisor(read.numbers[i].top, read.numbers[i].bottom) != 1)
            return false;
        if (i > 0 && compare(&read.numbers[i - 1], &read.numbers[i]) > 0)
            return false;
    }
    game_state_text(again, &read);
    if (strcmp(again, text) != 0) /* a zero in front, or 5/1 */
        return false;
    *state = read;
    return true;
}

bool game_state_equal(const game_state *a, const game_state *b)
{
    bool equal = a->count == b->count;
    for (uint32_t i = 0; equal && i < a->count; i++)
        equal = compare(&a->numbers[i], &b->numbers[i]) == 0;
    return equal;
}

bool game_is_held_out(const game_state *cards)
{
    char text[GAME_MAX_TEXT];
    game_state_text(text, cards);
    return model_crc32(0, text, strlen(text)) % 5 == 4;
}

bool game_state_is_goal(const game_state *state)
{
    return state->count == 1 && state->numbers[0].top == GAME_GOAL && state->numbers[0].bottom == 1;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

/* numbers[i] op numbers[j], unless a step with the same text is among them already (equal numbers in the state). */
static void add_step(game_step *steps, uint32_t *num_steps, const game_state *from, uint32_t i, uint32_t j,
                     char operator)
{
    game_step *step = &steps[*num_steps];
    *step = (game_step){.left = from->numbers[i], .right = from->numbers[j], .operator = operator};
    step->result = combine(&step->left, operator, &step->right);
    for (uint32_t k = 0; k < from->count; k++)
        if (k != i && k != j)
            insert(&step->after, &from->numbers[k]);
    insert(&step->after, &step->result);
    size_t used = put_number(step->text, 0, &step->left);
    used = put_character(step->text, used, operator);
    used = put_number(step->text, used, &step->right);
    used = put_character(step->text, used, '=');
    used = put_number(step->text, used, &step->result);
    used = put_character(step->text, used, '>');
    put_state(step->text, used, &step->after);
    for (uint32_t k = 0; k < *num_steps; k++)
        if (strcmp(steps[k].text, step->text) == 0)
            return;
    (*num_steps)++;
}

uint32_t game_steps(game_step *steps, const game_state *state)
{
    uint32_t num_steps = 0;
    for (uint32_t small = 0; small < state->count; small++)
        for (uint32_t large = small + 1; large < state->count; large++) {
            add_step(steps, &num_steps, state, large, small, '+');
            add_step(steps, &num_steps, state, large, small, '-');
            add_step(steps, &num_steps, state, large, small, '*');
            if (state->numbers[small].top)
                add_step(steps, &num_steps, state, large, small, '/');
            if (state->numbers[large].top)
                add_step(steps, &num_steps, state, small, large, '/');
        }
    return num_steps;
}

bool game_find_step(game_step *step, const game_state *state, const char *text)
{
    game_step steps[GAME_MAX_STEPS];
    uint32_t num_steps = game_steps(steps, state);
    for (uint32_t i = 0; i < num_steps; i++)
        if (strcmp(steps[i].text, text) == 0) {
            *step = steps[i];
            return true;
        }
    return false;
}

/* --- the solver --------------------------------------------------------------------------------------------------- */

static bool solve(game_step *solution, uint32_t *num_steps, const game_state *state, uint64_t *num_nodes)
{
    if (state->count <= 1) {
        *num_steps = 0;
        return game_state_is_goal(state);
    }
    game_step steps[GAME_MAX_STEPS];
    uint32_t found = game_steps(steps, state);
    for (uint32_t i = 0; i < found; i++) {
        ++*num_nodes;
        if (solve(solution + 1, num_steps, &steps[i].after, num_nodes)) {
            solution[0] = steps[i];
            ++*num_steps;
            return true;
        }
    }
    return false;
}

bool game_solve(game_step steps[GAME_CARDS - 1], uint32_t *num_steps, const game_state *state, uint64_t *num_nodes)
{
    uint64_t nodes = 0;
    bool solved = solve(steps, num_steps, state, &nodes);
    if (num_nodes)
        *num_nodes = nodes;
    return solved;
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

typedef struct term {
    game_number value;
    char operator; /* the outermost one; 0: a card */
    char text[GAME_MAX_TEXT];
} term;

/* Takes the term of this value out of the list. */
static bool take(term *taken, term *terms, uint32_t *count, const game_number *value)
{
    for (uint32_t i = 0; i < *count; i++)
        if (compare(&terms[i].value, value) == 0) {
            *taken = terms[i];
            terms[i] = terms[--*count];
            return true;
        }
    return false;
}

static size_t put_operand(char *text, size_t used, const term *operand, char operator, bool is_right)
{
    bool weak = operand->operator == '+' || operand->operator == '-';
    bool strong_outside = operator == '*' || operator == '/';
    bool bound_left = is_right && (operator == '/' || (operator == '-' && weak));
    bool parentheses = operand->operator && ((weak && strong_outside) || bound_left);
    if (parentheses)
        used = put_character(text, used, '(');
    for (const char *c = operand->text; *c; c++)
        used = put_character(text, used, *c);
    return parentheses ? put_character(text, used, ')') : used;
}

bool game_expression(char text[GAME_MAX_TEXT], const game_state *cards, const game_step *steps, uint32_t num_steps)
{
    term terms[GAME_CARDS];
    uint32_t count = cards->count;
    for (uint32_t i = 0; i < count; i++) {
        terms[i] = (term){.value = cards->numbers[i]};
        put_number(terms[i].text, 0, &cards->numbers[i]);
    }
    for (uint32_t i = 0; i < num_steps; i++) {
        term left, right, made = {.value = steps[i].result, .operator = steps[i].operator};
        if (!take(&left, terms, &count, &steps[i].left) || !take(&right, terms, &count, &steps[i].right))
            return false;
        size_t used = put_operand(made.text, 0, &left, made.operator, false);
        used = put_character(made.text, used, made.operator);
        put_operand(made.text, used, &right, made.operator, true);
        terms[count++] = made;
    }
    if (count != 1)
        return false;
    snprintf(text, GAME_MAX_TEXT, "%s", terms[0].text);
    return true;
}
