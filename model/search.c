/* search: see search.h. */
#include "search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "search_internal.h"

const char *const search_verdict_name[SEARCH_NUM_VERDICTS] = {"kept", "lost", "duplicate", "illegal"};

/* A continuation of a line by one character, or the line itself if it is complete. */
typedef struct continuation {
    search_line *line;
    uint32_t token;      /* LINE_END: the value word; LINE_DONE: the line is complete */
    bool dropped;        /* less probable than `least` */
    bool is_largest;     /* by noise, of its line's continuations that are not dropped */
    double probability;  /* of the character */
    double phi, noisy, score;
    double phi_slack, score_slack;
} continuation;

enum { LINE_END = SEARCH_MAX_VOCABULARY, LINE_DONE };

/* A state that is kept: the line that led to it, with its value word and line end. */
typedef struct kept_state {
    search_line line;
    game_state state;
    uint32_t thought; /* SEARCH_NONE: the prompt */
} kept_state;

typedef struct tree_search {
    search_run run;
    kept_state states[SEARCH_MAX_BREADTH];
    uint32_t num_states;
    search_line *lines[2]; /* [breadth][proposals] of all states: now, and after the next character */
    uint32_t *counts[2];   /* [breadth] */
    float *logits[2];      /* [breadth][proposals][vocabulary] */
    search_line **pending; /* [breadth * proposals] */
    continuation *options; /* [proposals * (vocabulary + 1)] */
} tree_search;

/* --- continuations ------------------------------------------------------------------------------------------------ */

/* Of those that are not dropped; -infinity if all are. */
static double largest(const continuation *options, uint32_t count)
{
    double most = -INFINITY;
    for (uint32_t i = 0; i < count; i++)
        most = !options[i].dropped && options[i].noisy > most ? options[i].noisy : most;
    return most;
}

/* Scores of a line's continuations from their noisy log probabilities: -log(exp(-score of the line) - exp(-most) +
 * exp(-noisy)), so that the largest of them is the line's own score. With z = exp(score of the line - most) and
 * g = exp(score of the line - noisy) that is the line's score - log(1 + g - z), and a change of the three moves it by
 * (1, -z, g) / (1 + g - z). With the largest one's and its own log probability written out as logits, all of which may
 * change by 1, that is at most score_slack. */
static void condition(continuation *options, uint32_t count, const search_line *line, double unit)
{
    double most = largest(options, count);
    for (uint32_t i = 0; i < count; i++) {
        continuation *o = &options[i];
        double top =
            o->noisy > most ? o->noisy : most; /* a dropped one may be above: its score if it were not dropped */
        double z = exp(line->score - top), more = z * expm1(top - o->noisy), g = more + z;
        if (o->noisy == top) { /* as the line itself */
            o->score = line->score;
            o->score_slack = line->score_slack;
            o->is_largest = !o->dropped;
        } else if (more > 1e12) {
            o->score = o->noisy;
            o->score_slack = o->phi_slack;
        } else {
            o->score = line->score - log1p(more);
            o->score_slack = (line->score_slack + more * line->phi_slack +
                              (g + z + more * (1 - 2 * o->probability)) * unit) / (1 + more);
        }
    }
}

/* The continuations of an unfinished line. y and n are one continuation: the end of the line. A line end before the
 * value word is none. */
static uint32_t continue_line(const search_run *run, continuation *options, search_line *line)
{
    double temperature = run->config.temperature, divisor = temperature > 0 ? temperature : 1, unit = 1 / divisor;
    const float *logits = line->logits;
    double sum = search_log_sum(logits, run->vocabulary, divisor);
    double yes = logits[run->yes] / divisor, no = logits[run->no] / divisor;
    uint32_t count = 0;
    for (uint32_t c = 0; c <= run->vocabulary; c++) {
        if (c == run->yes || c == run->no || c == run->line_end)
            continue;
        bool is_end = c == run->vocabulary;
        double x = is_end ? fmax(yes, no) + log1p(exp(-fabs(yes - no))) : logits[c] / divisor;
        continuation *o = &options[count++];
        double p = exp(x - sum); /* log p moves by its logit's change minus the mean change: by 2 (1 - p) at most */
        *o = (continuation){.line = line, .token = is_end ? LINE_END : c, .probability = p, .phi = line->phi + x - sum,
                            .phi_slack = line->phi_slack + 2 * (1 - p) * unit};
        o->noisy = o->phi + (temperature > 0 ? search_noise(line->key, o->token) : 0);
        o->score = o->phi;
        o->score_slack = o->phi_slack;
        o->dropped = !(o->phi >= run->log_least);
    }
    if (temperature > 0)
        condition(options, count, line, unit);
    return count;
}

/* Puts the best `wanted` first, best first. Of those that are dropped, NaN or minus infinity none is chosen. */
static uint32_t choose(continuation *options, uint32_t count, uint32_t wanted)
{
    uint32_t chosen = 0;
    for (; chosen < wanted && chosen < count; chosen++) {
        uint32_t best = count;
        for (uint32_t i = chosen; i < count; i++)
            if (!options[i].dropped && options[i].score > -INFINITY &&
                (best == count || options[i].score > options[best].score))
                best = i;
        if (best == count)
            break;
        continuation moved = options[best];
        memmove(&options[chosen + 1], &options[chosen], (best - chosen) * sizeof moved); /* equals stay in order */
        options[chosen] = moved;
    }
    return chosen;
}

static void text_of(char text[SEARCH_MAX_LINE + 1], const search_run *run, const continuation *o)
{
    strcpy(text, o->line->text);
    size_t length = strlen(text);
    if (o->token < run->vocabulary && length < SEARCH_MAX_LINE) {
        text[length] = run->decoder.vocabulary[o->token];
        text[length + 1] = '\0';
    }
}

/* The least change of all logits that reverses the order of two continuations. Two of the same line differ by one log
 * probability alone. */
static double order_margin(const continuation *better, const continuation *other, double unit)
{
    if (better->line == other->line && better->token < LINE_DONE && other->token < LINE_DONE)
        return (better->noisy - other->noisy) / (2 * unit);
    return (better->score - other->score) / (better->score_slack + other->score_slack);
}

/* Of a continuation that is dropped: the least change that lifts it above `least` and into the choice, or that makes it
 * the largest of its line. */
static double drop_margin(const search_run *run, const continuation *options, uint32_t count, uint32_t chosen,
                          uint32_t dropped, double unit)
{
    const continuation *o = &options[dropped];
    double lift = (run->log_least - o->phi) / o->phi_slack, margin = chosen < run->config.proposals ? lift : INFINITY;
    if (!(lift < run->result->margin.logits))
        return INFINITY; /* not the smallest one */
    for (uint32_t i = 0; i < count && margin > lift; i++) {
        const continuation *other = &options[i];
        double reverse = i < chosen                                    ? order_margin(other, o, unit)
                         : other->line == o->line && other->is_largest ? (other->noisy - o->noisy) / (2 * unit)
                                                                       : INFINITY;
        margin = fmin(margin, fmax(lift, reverse));
    }
    return margin;
}

/* Every choice: chosen against not chosen, and near the limit `least`. */
static void note_margins(search_run *run, const continuation *options, uint32_t count, uint32_t chosen, uint32_t level)
{
    double unit = run->config.temperature > 0 ? 1 / run->config.temperature : 1;
    bool limited = run->log_least > -INFINITY;
    for (uint32_t i = 0; i < count; i++) {
        const continuation *a = &options[i];
        char text[SEARCH_MAX_LINE + 1], other_text[SEARCH_MAX_LINE + 1];
        text_of(text, run, a);
        if (a->dropped)
            search_note_margin(run, drop_margin(run, options, count, chosen, i, unit), level, "", text);
        else if (limited && a->token != LINE_DONE && (i < chosen || a->is_largest))
            search_note_margin(run, (a->phi - run->log_least) / a->phi_slack, level, text, "");
        for (uint32_t j = chosen; i < chosen && j < count; j++) {
            double margin = options[j].dropped ? INFINITY : order_margin(a, &options[j], unit);
            if (!(margin < run->result->margin.logits))
                continue;
            text_of(other_text, run, &options[j]);
            search_note_margin(run, margin, level, text, other_text);
        }
    }
}

/* --- a level: lines grow by a character at a time ----------------------------------------------------------------- */

/* The line after this continuation; its branch and its logits are still to come. */
static search_line continued(const search_run *run, const continuation *o)
{
    search_line line = *o->line;
    line.branch = 0;
    line.phi = o->phi;
    line.score = line.rank = o->score;
    line.phi_slack = o->phi_slack;
    line.score_slack = o->score_slack;
    if (o->token == LINE_END) {
        line.done = true;
        line.log_odds = (double)line.logits[run->yes] - (double)line.logits[run->no];
    } else if (o->token < run->vocabulary) {
        line.token = o->token;
        line.key = search_next_key(line.key, o->token);
        line.text[line.num_tokens++] = run->decoder.vocabulary[o->token];
        line.text[line.num_tokens] = '\0';
    }
    return line;
}

/* The first continuation of a line takes over its branch, each further one forks it first. A line without one is pruned
 * before anything is forked. */
static model_status give_branches(search_run *run, search_line *old, uint32_t num_old, const continuation *chosen,
                                  search_line *next, uint32_t *num_next)
{
    uint32_t uses[SEARCH_MAX_PROPOSALS] = {0};
    for (uint32_t i = 0; i < *num_next; i++)
        uses[chosen[i].line - old]++;
    for (uint32_t i = 0; i < num_old; i++)
        if (uses[i] == 0)
            search_prune(run, &old[i]);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < *num_next; i++) {
        search_line *from = chosen[i].line, line = next[i];
        if (--uses[from - old] == 0) {
            line.branch = from->branch;
            from->branch = 0;
        } else {
            model_status status = search_fork(run, from, &line);
            if (status != MODEL_OK && status != MODEL_NOBLOCKS && status != MODEL_NOBRANCH)
                return status;
            run->result->narrowed += status != MODEL_OK;
            if (status != MODEL_OK)
                continue;
        }
        next[kept++] = line;
    }
    *num_next = kept;
    return MODEL_OK;
}

/* One more character of the unfinished lines of state s. */
static model_status grow_state(tree_search *t, uint32_t s, uint32_t level)
{
    search_run *run = &t->run;
    uint32_t proposals = run->config.proposals, num_old = t->counts[0][s], count = 0, num_next;
    search_line *old = t->lines[0] + (size_t)s * proposals, *next = t->lines[1] + (size_t)s * proposals;
    for (uint32_t i = 0; i < num_old; i++) {
        if (old[i].done)
            t->options[count++] = (continuation){.line = &old[i], .token = LINE_DONE, .phi = old[i].phi,
                                                 .noisy = old[i].score, .score = old[i].score,
                                                 .phi_slack = old[i].phi_slack, .score_slack = old[i].score_slack};
        else if (old[i].num_tokens < SEARCH_MAX_LINE && old[i].length < run->decoder.context)
            count += continue_line(run, t->options + count, &old[i]);
        else
            run->result->unfinished++;
    }
    num_next = choose(t->options, count, proposals);
    note_margins(run, t->options, count, num_next, level);
    for (uint32_t i = 0; i < num_next; i++)
        next[i] = continued(run, &t->options[i]);
    model_status status = give_branches(run, old, num_old, t->options, next, &num_next);
    t->counts[1][s] = num_next;
    return status;
}

static void remove_pruned(tree_search *t)
{
    for (uint32_t s = 0; s < t->num_states; s++) {
        search_line *lines = t->lines[0] + (size_t)s * t->run.config.proposals;
        uint32_t left = 0;
        for (uint32_t i = 0; i < t->counts[0][s]; i++)
            if (lines[i].branch)
                lines[left++] = lines[i];
        for (uint32_t i = left; i < t->counts[0][s]; i++)
            lines[i].branch = 0; /* pruned, or moved to the front */
        t->counts[0][s] = left;
    }
}

static void swap_lines(tree_search *t)
{
    search_line *lines = t->lines[0];
    uint32_t *counts = t->counts[0];
    float *logits = t->logits[0];
    t->lines[0] = t->lines[1], t->lines[1] = lines;
    t->counts[0] = t->counts[1], t->counts[1] = counts;
    t->logits[0] = t->logits[1], t->logits[1] = logits;
}

/* Draws the lines of all states. */
static model_status grow_level(tree_search *t, uint32_t level)
{
    search_run *run = &t->run;
    uint32_t proposals = run->config.proposals;
    for (uint32_t s = 0; s < t->num_states; s++) { /* the first line of each state is the state itself */
        search_line *line = t->lines[0] + (size_t)s * proposals;
        *line = t->states[s].line;
        t->states[s].line.branch = 0;
        line->phi = line->score = line->rank = line->phi_slack = line->score_slack = 0;
        line->done = false;
        line->num_tokens = 0;
        line->text[0] = '\0';
        t->counts[0][s] = 1;
    }
    for (bool unfinished = true; unfinished;) {
        model_status status = MODEL_OK;
        memset(t->counts[1], 0, t->num_states * sizeof *t->counts[1]);
        for (uint32_t s = 0; s < t->num_states && status == MODEL_OK; s++)
            status = grow_state(t, s, level);
        swap_lines(t); /* also after an error: the branches are in lines[1] and lines[0] */
        if (status != MODEL_OK)
            return status;
        uint32_t num_pending = 0, num_all = 0;
        for (uint32_t s = 0; s < t->num_states; s++)
            for (uint32_t i = 0; i < t->counts[0][s]; i++) {
                search_line *line = t->lines[0] + (size_t)s * proposals + i;
                float *logits = t->logits[0] + ((size_t)s * proposals + i) * run->vocabulary;
                line->logits = logits;
                t->pending[num_all++] = line;
                num_pending += !line->done;
            }
        unfinished = num_pending > 0;
        status = search_step(run, t->pending, num_all);
        if (status != MODEL_OK)
            return status;
        remove_pruned(t);
    }
    return MODEL_OK;
}

/* --- the end of a level: which states are kept -------------------------------------------------------------------- */

/* The lines of a state in the order of their texts: an order by score would be one more choice that rounding can
 * reverse. */
static void sort_lines(search_line *lines, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        search_line line = lines[i];
        uint32_t at = i;
        for (; at > 0 && strcmp(lines[at - 1].text, line.text) > 0; at--)
            lines[at] = lines[at - 1];
        lines[at] = line;
    }
}

static model_status add_thoughts(tree_search *t, uint32_t level)
{
    for (uint32_t s = 0; s < t->num_states; s++) {
        sort_lines(t->lines[0] + (size_t)s * t->run.config.proposals, t->counts[0][s]);
        for (uint32_t i = 0; i < t->counts[0][s]; i++) {
            search_line *line = t->lines[0] + (size_t)s * t->run.config.proposals + i;
            search_thought *thought = search_add_thought(&t->run);
            if (!thought)
                return MODEL_NOMEM;
            *thought = (search_thought){.parent = t->states[s].thought, .level = level,
                                        .num_tokens = line->num_tokens, .log_probability = line->phi,
                                        .log_odds = line->log_odds, .verdict = SEARCH_LOST};
            memcpy(thought->text, line->text, sizeof thought->text);
            if (!game_find_step(&thought->step, &t->states[s].state, line->text))
                thought->verdict = SEARCH_ILLEGAL;
        }
    }
    return MODEL_OK;
}

/* Whether the thought may be kept: of the last level only a solution. */
static bool may_win(const search_thought *thought, uint32_t level)
{
    return thought->verdict == SEARCH_LOST && (level < SEARCH_LEVELS || game_state_is_goal(&thought->step.after));
}

static void note_value_margin(tree_search *t, const search_thought *better, const search_thought *other)
{
    search_note_margin(&t->run, (better->log_odds - other->log_odds) / 4, better->level, better->text, other->text);
}

/* Of thoughts that leave the same numbers, the one with the best value stays in the choice. */
static void mark_duplicates(tree_search *t, search_thought *thoughts, uint32_t count, uint32_t level)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < count && may_win(&thoughts[i], level); j++) {
            const search_thought *other = &thoughts[j];
            bool better = other->log_odds > thoughts[i].log_odds || (other->log_odds == thoughts[i].log_odds && j < i);
            if (j == i || !may_win(other, level) || !better ||
                !game_state_equal(&other->step.after, &thoughts[i].step.after))
                continue;
            note_value_margin(t, other, &thoughts[i]);
            thoughts[i].verdict = SEARCH_DUPLICATE;
        }
}

/* Marks the best `count`. */
static void mark_kept(tree_search *t, search_thought *thoughts, uint32_t num_thoughts, uint32_t level, uint32_t count)
{
    for (uint32_t kept = 0; kept < count; kept++) {
        search_thought *best = NULL;
        for (uint32_t i = 0; i < num_thoughts; i++)
            if (may_win(&thoughts[i], level) && (!best || thoughts[i].log_odds > best->log_odds))
                best = &thoughts[i];
        if (!best)
            return;
        best->verdict = SEARCH_KEPT;
    }
    for (uint32_t i = 0; i < num_thoughts; i++)
        for (uint32_t j = 0; thoughts[i].verdict == SEARCH_KEPT && j < num_thoughts; j++)
            if (may_win(&thoughts[j], level))
                note_value_margin(t, &thoughts[i], &thoughts[j]);
}

static void prune_all(tree_search *t)
{
    for (uint32_t s = 0; s < t->num_states; s++)
        for (uint32_t i = 0; i < t->counts[0][s]; i++)
            search_prune(&t->run, t->lines[0] + (size_t)s * t->run.config.proposals + i);
}

/* The kept lines become the states of the next level; all others are pruned. */
static void select_states(tree_search *t, uint32_t first_thought)
{
    search_thought *thoughts = t->run.result->thoughts;
    kept_state next[SEARCH_MAX_BREADTH] = {{.thought = SEARCH_NONE}};
    uint32_t num_next = 0, index = first_thought;
    for (uint32_t s = 0; s < t->num_states; s++)
        for (uint32_t i = 0; i < t->counts[0][s]; i++, index++) {
            search_line *line = t->lines[0] + (size_t)s * t->run.config.proposals + i;
            if (thoughts[index].verdict != SEARCH_KEPT)
                continue;
            next[num_next] = (kept_state){.line = *line, .state = thoughts[index].step.after, .thought = index};
            next[num_next++].line.rank = line->log_odds;
            line->branch = 0;
        }
    prune_all(t);
    memset(t->counts[0], 0, t->num_states * sizeof *t->counts[0]);
    memcpy(t->states, next, num_next * sizeof *next);
    t->num_states = num_next;
}

/* Appends a character to every kept state. */
static model_status append_to_states(tree_search *t, uint32_t token)
{
    search_run *run = &t->run;
    for (uint32_t s = 0; s < t->num_states; s++) {
        search_line *line = &t->states[s].line;
        line->token = token;
        line->key = search_next_key(line->key, line->token);
        line->done = false;
        float *logits = t->logits[1] + (size_t)s * run->vocabulary; /* lines[1] is not in use now */
        line->logits = logits;
        t->pending[s] = line;
    }
    model_status status = search_step(run, t->pending, t->num_states);
    if (status != MODEL_OK)
        return status;
    uint32_t left = 0;
    for (uint32_t s = 0; s < t->num_states; s++) {
        if (t->states[s].line.branch)
            t->states[left++] = t->states[s];
        else
            run->result->thoughts[t->states[s].thought].verdict = SEARCH_LOST;
    }
    t->num_states = left;
    return MODEL_OK;
}

static void take_solution(search_run *run, uint32_t thought)
{
    search_result *result = run->result;
    result->solved = true;
    result->num_steps = result->thoughts[thought].level;
    for (; thought != SEARCH_NONE; thought = result->thoughts[thought].parent)
        result->steps[result->thoughts[thought].level - 1] = result->thoughts[thought].step;
}

static model_status run_level(tree_search *t, uint32_t level)
{
    search_run *run = &t->run;
    search_result *result = run->result;
    uint32_t first = result->num_thoughts;
    model_status status = grow_level(t, level);
    if (status == MODEL_OK)
        status = add_thoughts(t, level);
    if (status != MODEL_OK)
        return status;
    search_thought *thoughts = result->thoughts + first;
    uint32_t count = result->num_thoughts - first;
    mark_duplicates(t, thoughts, count, level);
    mark_kept(t, thoughts, count, level, level < SEARCH_LEVELS ? run->config.breadth : 1);
    select_states(t, first);
    if (level < SEARCH_LEVELS) {
        status = append_to_states(t, run->yes); /* whatever its value: the search takes it at its best */
        if (status == MODEL_OK)
            status = append_to_states(t, run->line_end);
    } else if (t->num_states > 0) {
        take_solution(run, t->states[0].thought);
    }
    if (status == MODEL_OK) {
        result->num_levels = level;
        if (run->config.on_level)
            run->config.on_level(run->config.context, result);
    }
    return status;
}

/* --- memory of a search ------------------------------------------------------------------------------------------- */

static bool allocate(tree_search *t)
{
    size_t breadth = t->run.config.breadth, all = breadth * t->run.config.proposals;
    bool complete = true;
    for (int i = 0; i < 2; i++) {
        t->lines[i] = calloc(all, sizeof *t->lines[i]);
        t->counts[i] = calloc(breadth, sizeof *t->counts[i]);
        t->logits[i] = calloc(all * t->run.vocabulary, sizeof *t->logits[i]);
        complete = complete && t->lines[i] && t->counts[i] && t->logits[i];
    }
    t->pending = calloc(all, sizeof *t->pending);
    t->options = calloc((size_t)t->run.config.proposals * (t->run.vocabulary + 1), sizeof *t->options);
    return complete && t->pending && t->options;
}

static void release(tree_search *t)
{
    size_t all = (size_t)t->run.config.breadth * t->run.config.proposals;
    for (int i = 0; i < 2; i++) {
        for (size_t k = 0; t->lines[i] && k < all; k++)
            search_prune(&t->run, &t->lines[i][k]);
        free(t->lines[i]);
        free(t->counts[i]);
        free(t->logits[i]);
    }
    for (uint32_t s = 0; s < t->num_states; s++)
        search_prune(&t->run, &t->states[s].line);
    free(t->pending);
    free(t->options);
}

model_status search_tree(search_result **result, const search_decoder *decoder, const search_config *config,
                         const game_state *cards)
{
    if (config->breadth < 1 || config->breadth > SEARCH_MAX_BREADTH || config->proposals < 1 ||
        config->proposals > SEARCH_MAX_PROPOSALS)
        return MODEL_INVAL;
    tree_search *t = calloc(1, sizeof *t);
    model_status status = t ? search_begin(&t->run, decoder, config, cards) : MODEL_NOMEM;
    if (status != MODEL_OK) {
        free(t);
        return status;
    }
    status = allocate(t) ? MODEL_OK : MODEL_NOMEM;
    if (status == MODEL_OK) {
        t->num_states = 1;
        t->states[0] = (kept_state){.state = *cards, .thought = SEARCH_NONE};
        t->states[0].line.logits = t->logits[1];
        status = search_prompt(&t->run, 'W', &t->states[0].line);
    }
    for (uint32_t level = 1; level <= SEARCH_LEVELS && status == MODEL_OK && t->num_states > 0; level++)
        status = run_level(t, level);
    release(t);
    status = search_finish(&t->run, status, result);
    free(t);
    return status;
}
