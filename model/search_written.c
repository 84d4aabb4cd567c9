/* search_written: one branch in which the model writes down a search of its own; every line is checked. search.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "search_internal.h"

/* A state that legal lines have reached. */
typedef struct reached_state {
    game_state state;
    uint32_t from; /* index; SEARCH_NONE: the cards */
    game_step step;
} reached_state;

typedef struct written_search {
    search_run run;
    search_line line;
    reached_state *reached;
    uint32_t num_reached, reached_capacity, lines_capacity;
    uint32_t num_tokens, line_start; /* of result->text */
} written_search;

/* --- one character ------------------------------------------------------------------------------------------------ */

/* The token with the largest logit, or at a temperature of the largest noisy one: a draw from softmax. SEARCH_NONE: all
 * are NaN. */
static uint32_t choose_token(written_search *w)
{
    search_run *run = &w->run;
    double temperature = run->config.temperature, divisor = temperature > 0 ? temperature : 1;
    double best = -INFINITY, second = -INFINITY;
    uint32_t token = SEARCH_NONE, other = SEARCH_NONE;
    for (uint32_t c = 0; c < run->vocabulary; c++) {
        double x = w->line.logits[c] / divisor + (temperature > 0 ? search_noise(w->line.key, c) : 0);
        if (x > best) {
            second = best, other = token;
            best = x, token = c;
        } else if (x > second) {
            second = x, other = c;
        }
    }
    if (other != SEARCH_NONE) {
        const char *start = run->result->text + w->line_start;
        char chosen[SEARCH_MAX_LINE + 1] = "", rest[SEARCH_MAX_LINE + 1];
        uint32_t length = w->num_tokens - w->line_start,
                 shown = length < SEARCH_MAX_LINE - 1 ? length : SEARCH_MAX_LINE - 1;
        memcpy(chosen, start + length - shown, shown);
        memcpy(rest, chosen, sizeof rest);
        chosen[shown] = run->decoder.vocabulary[token];
        rest[shown] = run->decoder.vocabulary[other];
        chosen[shown + 1] = rest[shown + 1] = '\0';
        search_note_margin(run, (best - second) * divisor / 2, 0, chosen, rest);
    }
    return token;
}

/* --- the checker -------------------------------------------------------------------------------------------------- */

static uint32_t find_reached(const written_search *w, const char *text)
{
    game_state state;
    if (!game_state_from_text(&state, text))
        return SEARCH_NONE;
    for (uint32_t i = w->num_reached; i-- > 0;)
        if (game_state_equal(&w->reached[i].state, &state))
            return i;
    return SEARCH_NONE;
}

static model_status add_reached(written_search *w, const game_state *state, uint32_t from, const game_step *step)
{
    if (w->num_reached == w->reached_capacity) {
        uint32_t wanted = w->reached_capacity * 2 + 32;
        reached_state *grown = realloc(w->reached, wanted * sizeof *grown);
        if (!grown)
            return MODEL_NOMEM;
        w->reached = grown;
        w->reached_capacity = wanted;
    }
    w->reached[w->num_reached++] = (reached_state){.state = *state, .from = from};
    if (step)
        w->reached[w->num_reached - 1].step = *step;
    return MODEL_OK;
}

static void take_solution(written_search *w, uint32_t from, const game_step *last)
{
    search_result *result = w->run.result;
    uint32_t count = GAME_CARDS - 1;
    result->solved = true;
    result->num_steps = count;
    result->steps[--count] = *last;
    for (; count > 0; from = w->reached[from].from)
        result->steps[--count] = w->reached[from].step;
}

/* "6+4=10 6-4=2 6*4=24!": the first steps of a state of two numbers, in their order; at 24 it ends. */
static bool check_pair(written_search *w, uint32_t from, const char *text, search_written_line *line)
{
    game_step steps[GAME_MAX_STEPS];
    uint32_t num_steps = game_steps(steps, &w->reached[from].state);
    for (uint32_t i = 0; i < num_steps; i++) {
        size_t length = strcspn(steps[i].text, ">");
        if (strncmp(text, steps[i].text, length) != 0)
            return false;
        text += length;
        line->num_nodes++;
        if (game_state_is_goal(&steps[i].after)) {
            if (strcmp(text, "!") != 0)
                return false;
            take_solution(w, from, &steps[i]);
            return true;
        }
        if (i + 1 == num_steps)
            return *text == '\0';
        if (*text++ != ' ')
            return false;
    }
    return false;
}

static model_status check_line(written_search *w)
{
    search_result *result = w->run.result;
    if (result->num_lines == w->lines_capacity) {
        uint32_t wanted = w->lines_capacity * 2 + 32;
        search_written_line *grown = realloc(result->lines, wanted * sizeof *grown);
        if (!grown)
            return MODEL_NOMEM;
        result->lines = grown;
        w->lines_capacity = wanted;
    }
    search_written_line *line = &result->lines[result->num_lines++];
    *line = (search_written_line){.first = w->line_start, .num_characters = w->num_tokens - w->line_start};
    char text[2 * GAME_MAX_TEXT];
    if (line->num_characters >= sizeof text)
        return MODEL_OK;
    memcpy(text, result->text + line->first, line->num_characters);
    text[line->num_characters] = '\0';
    char *colon = strstr(text, ": ");
    if (!colon)
        return MODEL_OK;
    *colon = '\0';
    uint32_t from = find_reached(w, text);
    if (from == SEARCH_NONE)
        return MODEL_OK;
    if (w->reached[from].state.count == 2) {
        line->legal = check_pair(w, from, colon + 2, line);
        return MODEL_OK;
    }
    game_step step;
    line->num_nodes = 1;
    line->legal = game_find_step(&step, &w->reached[from].state, colon + 2);
    return line->legal ? add_reached(w, &step.after, from, &step) : MODEL_OK;
}

/* --- the search --------------------------------------------------------------------------------------------------- */

/* Writes until 24 is reached, or the context is full. A search over paper that is too short stops there: MODEL_NOBLOCKS
 * of a branch that has been writing is an end, not an error. */
static model_status write_text(written_search *w)
{
    search_run *run = &w->run;
    search_result *result = run->result;
    for (bool over = false; !over && w->line.length < run->decoder.context;) {
        search_line *line = &w->line;
        line->token = choose_token(w);
        if (line->token == SEARCH_NONE)
            break;
        line->key = search_next_key(line->key, line->token);
        char c = run->decoder.vocabulary[line->token];
        result->text[w->num_tokens++] = c;
        over = c == '!';
        if (c == '\n' || over) {
            w->num_tokens -= c == '\n';
            model_status status = check_line(w);
            w->num_tokens += c == '\n';
            w->line_start = w->num_tokens;
            if (status != MODEL_OK)
                return status;
            if (run->config.on_level)
                run->config.on_level(run->config.context, result);
        }
        model_status status = over ? MODEL_OK : search_step(run, &line, 1);
        if (status == MODEL_NOBLOCKS) {
            result->narrowed++;
            break;
        }
        if (status != MODEL_OK)
            return status;
    }
    return MODEL_OK;
}

model_status search_written(search_result **result, const search_decoder *decoder, const search_config *config,
                            const game_state *cards)
{
    written_search *w = calloc(1, sizeof *w);
    model_status status = w ? search_begin(&w->run, decoder, config, cards) : MODEL_NOMEM;
    if (status != MODEL_OK) {
        free(w);
        return status;
    }
    float *logits = calloc(w->run.vocabulary, sizeof *logits);
    w->run.result->text = calloc((size_t)decoder->context + GAME_MAX_TEXT, 1);
    status = logits && w->run.result->text ? add_reached(w, cards, SEARCH_NONE, NULL) : MODEL_NOMEM;
    w->line.logits = logits;
    if (status == MODEL_OK)
        status = search_prompt(&w->run, 'S', &w->line);
    if (status == MODEL_OK) {
        char *text = w->run.result->text;
        text[0] = 'S';
        game_state_text(text + 1, cards);
        strcat(text, "\n");
        w->num_tokens = w->line_start = (uint32_t)strlen(text);
        status = write_text(w);
    }
    if (status == MODEL_OK && w->line_start < w->num_tokens) /* cut off within a line */
        status = check_line(w);
    search_prune(&w->run, &w->line);
    free(logits);
    free(w->reached);
    status = search_finish(&w->run, status, result);
    free(w);
    return status;
}
