/* game_of_24: see game_of_24.h. */
#include "game_of_24.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GOAL = 24, SURE = 1000, MAX_BREADTH = 64, MAX_LEVEL = 3, MAX_STEPS = 30 /* 6 pairs x 5 ways */ };

/* An exact fraction that is not negative, and its expression. Four numbers below 100 keep top and bottom below 2^40. */
typedef struct number {
    int64_t top, bottom; /* lowest terms, bottom > 0 */
    char text[48];       /* expression over the input */
    char operator;       /* the outermost one of text; 0: an input number */
} number;

/* The numbers left, in rising order. */
typedef struct state {
    number numbers[4];
    uint32_t count;
    uint32_t thought; /* the last thought on the way here; TRACE_NONE: the prompt */
    uint32_t branch;
} state;

typedef struct step {
    state after;
    char text[112];
} step;

typedef struct search {
    game_of_24 *game;
    uint32_t thoughts_capacity;
    state level[MAX_BREADTH]; /* kept, best first */
    uint32_t num_level;
    state *candidates; /* [num_candidates] states after the thoughts of this level */
    uint32_t num_candidates;
} search;

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

static int compare(const number *a, const number *b)
{
    int64_t left = a->top * b->bottom, right = b->top * a->bottom;
    return (left > right) - (left < right);
}

/* An operand of an outer operator, in parentheses if the value would change without them. */
static void operand(char *text, size_t bytes, const number *n, char operator, bool is_right)
{
    bool weak = n->operator == '+' || n->operator == '-';
    bool strong_outside = operator == '*' || operator == '/';
    bool bound_left = is_right && (operator == '/' || (operator == '-' && weak));
    bool parentheses = n->operator && ((weak && strong_outside) || bound_left);
    snprintf(text, bytes, parentheses ? "(%s)" : "%s", n->text);
}

static number combine(const number *a, char operator, const number *b)
{
    number r = {.operator = operator};
    switch (operator) {
    case '+':
        r.top = a->top * b->bottom + b->top * a->bottom;
        r.bottom = a->bottom * b->bottom;
        break;
    case '-':
        r.top = a->top * b->bottom - b->top * a->bottom;
        r.bottom = a->bottom * b->bottom;
        break;
    case '*':
        r.top = a->top * b->top;
        r.bottom = a->bottom * b->bottom;
        break;
    default:
        r.top = a->top * b->bottom;
        r.bottom = a->bottom * b->top;
        break;
    }
    int64_t divisor = common_divisor(r.top, r.bottom);
    r.top /= divisor;
    r.bottom /= divisor;
    char left[sizeof r.text], right[sizeof r.text];
    operand(left, sizeof left, a, operator, false);
    operand(right, sizeof right, b, operator, true);
    snprintf(r.text, sizeof r.text, "%.20s %c %.20s", left, operator, right);
    return r;
}

static int print_number(char *text, size_t bytes, const number *n)
{
    if (n->bottom == 1)
        return snprintf(text, bytes, "%lld", (long long)n->top);
    return snprintf(text, bytes, "%lld/%lld", (long long)n->top, (long long)n->bottom);
}

static bool divides_goal(const number *n)
{
    return n->bottom == 1 && n->top > 0 && GOAL % n->top == 0;
}

/* Minus the distance to 24, rounded towards 0 but never to 0: only 24 itself scores better than -1. */
static int32_t closeness(const number *n)
{
    int64_t distance = n->top - GOAL * n->bottom;
    if (distance == 0)
        return SURE;
    int64_t whole = (distance < 0 ? -distance : distance) / n->bottom;
    return whole < 1 ? -1 : whole > INT32_MAX ? -INT32_MAX : -(int32_t)whole;
}

/* --- states ------------------------------------------------------------------------------------------------------- */

static void insert_number(state *s, const number *n)
{
    uint32_t i = s->count++;
    for (; i > 0 && compare(&s->numbers[i - 1], n) > 0; i--)
        s->numbers[i] = s->numbers[i - 1];
    s->numbers[i] = *n;
}

static bool same_numbers(const state *a, const state *b)
{
    bool same = a->count == b->count;
    for (uint32_t i = 0; same && i < a->count; i++)
        same = compare(&a->numbers[i], &b->numbers[i]) == 0;
    return same;
}

/* "10 - 4 = 6 (left: 6 9 13)" */
static void print_step(step *p, const number *a, char operator, const number *b, const number *made)
{
    char left[24], right[24], result[24], rest[64] = "";
    print_number(left, sizeof left, a);
    print_number(right, sizeof right, b);
    print_number(result, sizeof result, made);
    size_t used = 0;
    for (uint32_t i = 0; i < p->after.count && used < sizeof rest - 1; i++) {
        char one[24];
        print_number(one, sizeof one, &p->after.numbers[i]);
        used += (size_t)snprintf(rest + used, sizeof rest - used, " %s", one);
    }
    snprintf(p->text, sizeof p->text, "%.17s %c %.17s = %.17s (left:%.40s)", left, operator, right, result, rest);
}

/* Adds a step unless the same text is among them already (equal numbers in the state). */
static void propose(step *steps, uint32_t *num_steps, const state *from, uint32_t i, uint32_t j, char operator)
{
    const number *a = &from->numbers[i], *b = &from->numbers[j];
    step *p = &steps[*num_steps];
    number made = combine(a, operator, b);
    p->after = (state){.count = 0};
    for (uint32_t k = 0; k < from->count; k++)
        if (k != i && k != j)
            insert_number(&p->after, &from->numbers[k]);
    insert_number(&p->after, &made);
    print_step(p, a, operator, b, &made);
    for (uint32_t k = 0; k < *num_steps; k++)
        if (strcmp(steps[k].text, p->text) == 0)
            return;
    (*num_steps)++;
}

/* All steps from a state: larger number first, the other way only for a quotient. steps: [MAX_STEPS]. */
static uint32_t propose_all(step *steps, const state *from)
{
    uint32_t num_steps = 0;
    for (uint32_t small = 0; small < from->count; small++)
        for (uint32_t large = small + 1; large < from->count; large++) {
            propose(steps, &num_steps, from, large, small, '+');
            propose(steps, &num_steps, from, large, small, '-');
            propose(steps, &num_steps, from, large, small, '*');
            if (from->numbers[small].top)
                propose(steps, &num_steps, from, large, small, '/');
            if (from->numbers[large].top)
                propose(steps, &num_steps, from, small, large, '/');
        }
    return num_steps;
}

static int32_t score_pairs(const step *steps, uint32_t num_steps)
{
    int32_t score = 0;
    for (uint32_t i = 0; i < num_steps; i++) {
        const state *pair = &steps[i].after;
        bool seen = false;
        for (uint32_t j = 0; j < i && !seen; j++)
            seen = same_numbers(pair, &steps[j].after);
        bool first = divides_goal(&pair->numbers[0]), second = divides_goal(&pair->numbers[1]);
        bool whole = pair->numbers[0].bottom == 1 && pair->numbers[1].bottom == 1;
        if (!seen)
            score += 4 * (first && second) + (whole && (first || second));
    }
    return score;
}

static int32_t score_state(const state *s)
{
    if (s->count == 1)
        return closeness(&s->numbers[0]);
    step steps[MAX_STEPS];
    uint32_t num_steps = propose_all(steps, s);
    if (s->count == 3)
        return score_pairs(steps, num_steps);
    int32_t best = INT32_MIN;
    for (uint32_t i = 0; i < num_steps; i++) {
        int32_t near = closeness(&steps[i].after.numbers[0]);
        best = near > best ? near : best;
    }
    return best;
}

/* --- the search --------------------------------------------------------------------------------------------------- */

static kv_status add_thought(search *s, uint32_t level, const state *from, const step *p)
{
    game_of_24 *game = s->game;
    if (game->num_thoughts == s->thoughts_capacity) {
        uint32_t wanted = s->thoughts_capacity * 2 + 64;
        game_of_24_thought *grown = realloc(game->thoughts, wanted * sizeof *grown);
        if (!grown)
            return KV_NOMEM;
        game->thoughts = grown;
        s->thoughts_capacity = wanted;
    }
    game_of_24_thought *t = &game->thoughts[game->num_thoughts];
    *t = (game_of_24_thought){.parent = from->thought, .level = level, .score = score_state(&p->after)};
    memcpy(t->text, p->text, sizeof t->text);
    t->num_tokens = (uint32_t)strlen(t->text) + 1; /* and the newline */
    t->branch = workload_add_fork(game->workload, from->branch, t->text);
    state *after = &s->candidates[s->num_candidates++];
    *after = p->after;
    after->thought = game->num_thoughts++;
    after->branch = t->branch;
    return game->workload->status;
}

/* Every kept state forks into its thoughts and is pruned: its children hold its tokens. */
static kv_status expand_level(search *s, uint32_t level)
{
    kv_status status = KV_OK;
    s->num_candidates = 0;
    for (uint32_t i = 0; i < s->num_level && status == KV_OK; i++) {
        step steps[MAX_STEPS];
        uint32_t num_steps = propose_all(steps, &s->level[i]);
        for (uint32_t k = 0; k < num_steps && status == KV_OK; k++)
            status = add_thought(s, level, &s->level[i], &steps[k]);
        workload_add(s->game->workload, WORKLOAD_PRUNE, s->level[i].branch, 0);
    }
    return status;
}

/* In each iteration, one token of every unfinished thought. */
static void decode_level(search *s)
{
    workload *w = s->game->workload;
    bool unfinished = true;
    for (uint32_t k = 0; unfinished; k++) {
        unfinished = false;
        for (uint32_t i = 0; i < s->num_candidates; i++) {
            const game_of_24_thought *t = &s->game->thoughts[s->candidates[i].thought];
            if (k < t->num_tokens)
                workload_add(w, WORKLOAD_DECODE, t->branch, 0);
            unfinished |= k + 1 < t->num_tokens;
        }
        workload_add(w, WORKLOAD_STEP, 0, 0);
    }
}

static void mark_duplicates(search *s)
{
    for (uint32_t i = 0; i < s->num_candidates; i++) {
        bool duplicate = false;
        for (uint32_t j = 0; j < i && !duplicate; j++)
            duplicate = same_numbers(&s->candidates[i], &s->candidates[j]);
        s->game->thoughts[s->candidates[i].thought].duplicate = duplicate;
    }
}

/* The best `count` by score, the earlier of equals first; the others are pruned. */
static void select_level(search *s, uint32_t count, int32_t least_score)
{
    s->num_level = 0;
    while (s->num_level < count) {
        const state *best = NULL;
        for (uint32_t i = 0; i < s->num_candidates; i++) {
            const game_of_24_thought *t = &s->game->thoughts[s->candidates[i].thought];
            if (!t->kept && !t->duplicate && t->score >= least_score &&
                (!best || t->score > s->game->thoughts[best->thought].score))
                best = &s->candidates[i];
        }
        if (!best)
            break;
        s->game->thoughts[best->thought].kept = true;
        s->level[s->num_level++] = *best;
    }
    for (uint32_t i = 0; i < s->num_candidates; i++)
        if (!s->game->thoughts[s->candidates[i].thought].kept)
            workload_add(s->game->workload, WORKLOAD_PRUNE, s->candidates[i].branch, 0);
}

static void add_prompt(search *s)
{
    game_of_24 *game = s->game;
    const uint32_t *n = game->config.numbers;
    char label[48];
    snprintf(label, sizeof label, "%u %u %u %u", n[0], n[1], n[2], n[3]);
    snprintf(game->prompt, sizeof game->prompt,
             "Make 24: use each number once, with + - * /. Write one step a line.\nInput: %s\n", label);
    state *root = &s->level[s->num_level++];
    *root = (state){.thought = TRACE_NONE, .branch = workload_add_create(game->workload, label)};
    workload_add(game->workload, WORKLOAD_APPEND, root->branch, (uint32_t)strlen(game->prompt));
    for (uint32_t i = 0; i < 4; i++) {
        number input = {.top = n[i], .bottom = 1};
        snprintf(input.text, sizeof input.text, "%u", n[i]);
        insert_number(root, &input);
    }
}

static kv_status run(search *s)
{
    game_of_24 *game = s->game;
    add_prompt(s);
    for (uint32_t level = 1; level <= MAX_LEVEL; level++) {
        kv_status status = expand_level(s, level);
        if (status != KV_OK)
            return status;
        decode_level(s);
        mark_duplicates(s);
        if (level < MAX_LEVEL)
            select_level(s, game->config.breadth, INT32_MIN);
        else
            select_level(s, 1, SURE); /* the end: only a solution is worth keeping */
    }
    game->solution_thought = TRACE_NONE;
    if (s->num_level) {
        game->solved = true;
        game->solution_thought = s->level[0].thought;
        snprintf(game->solution, sizeof game->solution, "%s = %d", s->level[0].numbers[0].text, GOAL);
        workload_add(game->workload, WORKLOAD_PRUNE, s->level[0].branch, 0);
    }
    return game->workload->status;
}

static kv_status check_config(game_of_24_config *c)
{
    static const uint32_t example[4] = {4, 9, 10, 13};
    const uint32_t *n = c->numbers;
    if (!n[0] && !n[1] && !n[2] && !n[3])
        memcpy(c->numbers, example, sizeof example);
    for (uint32_t i = 0; i < 4; i++)
        if (n[i] < 1 || n[i] > 99)
            return KV_INVAL;
    if (c->breadth == 0)
        c->breadth = 5;
    return c->breadth <= MAX_BREADTH ? KV_OK : KV_INVAL;
}

kv_status game_of_24_search(game_of_24 **result, const game_of_24_config *config)
{
    game_of_24_config used = *config;
    kv_status status = check_config(&used);
    if (status != KV_OK)
        return status;
    search *s = calloc(1, sizeof *s);
    game_of_24 *game = calloc(1, sizeof *game);
    status = KV_NOMEM;
    if (s && game) {
        s->game = game;
        s->candidates = calloc((size_t)MAX_STEPS * MAX_BREADTH, sizeof *s->candidates);
        game->config = used;
        game->workload = workload_create();
        if (s->candidates && game->workload)
            status = run(s);
    }
    if (s)
        free(s->candidates);
    free(s);
    if (status == KV_OK)
        *result = game;
    else
        game_of_24_destroy(game);
    return status;
}

void game_of_24_destroy(game_of_24 *game)
{
    if (!game)
        return;
    workload_destroy(game->workload);
    free(game->thoughts);
    free(game);
}
