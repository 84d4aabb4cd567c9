/* Writes what treeattn think finds: a tree that grows level by level, or a written-out search line by line; then the
 * same search in three kinds of memory. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tool_demo.h"
#include "tool_think.h"

bool think_compares(const think_request *request)
{
    return request->mode == THINK_TREE && !request->rule.policy;
}

double think_value(double log_odds)
{
    return 1 / (1 + exp(-log_odds));
}

double think_value_margin(double log_odds)
{
    double percent = 100 * think_value(log_odds), least = INFINITY;
    for (int side = 0; side < 2; side++) {
        double half = floor(percent - 0.5) + 0.5 + side; /* where the printed number changes */
        if (half > 0 && half < 100)
            least = fmin(least, fabs(log_odds - log(half / (100 - half))) / 2);
    }
    return least;
}

/* ---- the title ---- */

void think_write_title(const think_outcome *outcome)
{
    const think_request *request = outcome->request;
    tool_palette palette = tool_palette_for(stdout);
    char cards[GAME_MAX_TEXT];
    game_state_text(cards, &request->cards);
    if (request->brief) {
        machine_info machine = machine_look();
        demo_write_machine(&machine);
        putchar('\n');
    }
    printf("%s24 from %s%s, by a model of %.1f million parameters%s\n", palette.bold, cards, palette.plain,
           (double)outcome->weights->num_parameters / 1e6,
           request->mode == THINK_WRITTEN ? "" : ". Right: value, 0 to 1");
    if (!outcome->solvable)
        printf("24 cannot be reached from %s: an exhaustive search visits %" PRIu64 " states, none is 24\n", cards,
               outcome->num_states);
    if (request->mode == THINK_TREE && !request->brief)
        printf("From each state it writes %slines, at most %u, and rates them; the best %u of a level stay\n",
               request->search.temperature > 0 ? "" : "its most probable ", request->search.proposals,
               request->search.breadth);
}

/* ---- the answer ---- */

static void write_answer(const think_outcome *outcome, const search_result *result, const char *indent)
{
    tool_palette palette = tool_palette_for(stdout);
    char text[GAME_MAX_TEXT];
    if (result->solved && game_expression(text, &result->cards, result->steps, result->num_steps))
        printf("%s%s%s = 24%s, checked\n", indent, palette.good, text, palette.plain);
    else if (outcome->solvable)
        printf("No solution found, although there is one: try %s--temperature 1 and another --seed\n",
               outcome->request->mode == THINK_TREE ? "a greater --breadth, or " : "");
    else
        puts("No solution found, as there is none");
}

/* ---- the tree ---- */

/* "13-10=3 9-3=6 ": the steps before a thought, without the states. */
static void write_path(const search_result *result, uint32_t thought, size_t *width)
{
    if (thought == SEARCH_NONE)
        return;
    const search_thought *t = &result->thoughts[thought];
    write_path(result, t->parent, width);
    *width += (size_t)printf("%.*s ", (int)strcspn(t->text, ">"), t->text);
}

static const char *fate_of(const search_thought *t)
{
    static const char *const fates[SEARCH_NUM_VERDICTS] = {
        [SEARCH_KEPT] = "kept",
        [SEARCH_LOST] = "pruned",
        [SEARCH_DUPLICATE] = "pruned: the same numbers as a better one",
        [SEARCH_ILLEGAL] = "pruned: not legal",
    };
    return fates[t->verdict];
}

enum { TEXT_WIDTH = 44 };

static void write_thought(const tool_palette *palette, const search_thought *t)
{
    bool kept = t->verdict == SEARCH_KEPT;
    printf("%s%*s%-*s %5.2f  %s%s\n", kept ? palette->good : palette->dim, 2 + 2 * (int)t->level, "",
           TEXT_WIDTH - 2 * (int)t->level, t->text, think_value(t->log_odds), fate_of(t), palette->plain);
}

/* The kept ones, one a line, each with the steps before it. */
static void write_kept(const think_outcome *outcome, const search_result *result, uint32_t first,
                       const tool_palette *palette)
{
    for (uint32_t i = first; i < result->num_thoughts; i++) {
        const search_thought *t = &result->thoughts[i];
        if (t->verdict != SEARCH_KEPT)
            continue;
        size_t width = 4;
        fputs("    ", stdout);
        write_path(result, t->parent, &width);
        printf("%s%s%s", palette->good, t->text, palette->plain);
        width += t->num_tokens;
        printf("%*s %5.2f", (int)(width < 34 ? 34 - width : 0), "", think_value(t->log_odds));
        if (result->solved && t->level == SEARCH_LEVELS)
            write_answer(outcome, result, "  ");
        else
            putchar('\n');
    }
}

void think_write_level(const think_outcome *outcome, const search_result *result)
{
    tool_palette palette = tool_palette_for(stdout);
    uint32_t counts[SEARCH_NUM_VERDICTS] = {0}, first = result->num_thoughts;
    while (first > 0 && result->thoughts[first - 1].level == result->num_levels)
        first--;
    for (uint32_t i = first; i < result->num_thoughts; i++)
        counts[result->thoughts[i].verdict]++;
    printf("%slevel %u%s: %u line%s, %u kept; pruned: %u not legal, %u repeated, %u rated lower\n", palette.bold,
           result->num_levels, palette.plain, result->num_thoughts - first,
           result->num_thoughts - first == 1 ? "" : "s", counts[SEARCH_KEPT], counts[SEARCH_ILLEGAL],
           counts[SEARCH_DUPLICATE], counts[SEARCH_LOST]);
    if (outcome->request->brief) {
        write_kept(outcome, result, first, &palette);
        return;
    }
    for (uint32_t i = first; i < result->num_thoughts; i++) {
        const search_thought *t = &result->thoughts[i];
        if (t->parent != SEARCH_NONE && (i == first || t->parent != result->thoughts[i - 1].parent)) {
            size_t width = 0;
            fputs("  ", stdout);
            write_path(result, result->thoughts[t->parent].parent, &width);
            printf("%s\n", result->thoughts[t->parent].text);
        }
        write_thought(&palette, t);
    }
}

/* ---- the written-out search ---- */

void think_write_line(const search_result *result)
{
    tool_palette palette = tool_palette_for(stdout);
    const search_written_line *line = &result->lines[result->num_lines - 1];
    printf("  %s%-*.*s%s%s\n", line->legal ? "" : palette.dim, line->legal ? 0 : TEXT_WIDTH + 14,
           (int)line->num_characters, result->text + line->first, line->legal ? "" : palette.plain,
           line->legal ? "" : "  not legal");
}

/* ---- the end ---- */

static void write_place(const think_outcome *outcome, think_place place)
{
    static const char *const names[] = {"copied per branch", "shared blocks", "shared, grouped reading"};
    const think_run *run = &outcome->runs[place];
    if (!run->result) {
        printf("  %-26s does not fit into %u blocks\n", names[place], run->num_blocks);
        return;
    }
    const search_result *r = run->result;
    printf("  %-26s %6u %8.1f %11.1f %9.1f %6.0f\n", names[place], r->peak_blocks,
           (double)(r->peak_blocks * outcome->block_bytes) / 0x1p20, (double)run->counts.copied_bytes / 0x1p20,
           (double)run->counts.plan_bytes / 0x1p20, 1e3 * run->seconds);
}

static void write_places(const think_outcome *outcome)
{
    tool_palette palette = tool_palette_for(stdout);
    printf("%s%-28s%s %6s %8s %11s %9s %6s\n", palette.bold, "K and V of this search", palette.plain, "blocks", "MiB",
           "MiB copied", "MiB read", "ms");
    for (int place = 0; place < THINK_NUM_PLACES; place++)
        write_place(outcome, (think_place)place);
}

static void write_speed(const think_outcome *outcome)
{
    const think_run *copied = &outcome->runs[THINK_COPIED];
    const think_run *timed = think_compares(outcome->request) ? &outcome->runs[THINK_GROUPED] : &outcome->shown;
    const search_result *r = outcome->shown.result;
    printf("  %" PRIu64 " steps, %" PRIu64 " tokens, %" PRIu64 " forks: %.0f tokens per second", r->decode_steps,
           r->tokens, r->forks, (double)r->tokens / timed->seconds);
    if (copied->result)
        printf(", %.2fx those of copies", copied->seconds / timed->seconds);
    putchar('\n');
}

static void write_narrowed(const search_result *result, const think_run *run)
{
    if (result->narrowed > 0 && result->text)
        printf("  %u blocks are too few for the whole text: it ends where they do\n", run->num_blocks);
    else if (result->narrowed > 0)
        printf("  %u block%s too few for all lines: %" PRIu64 " %s pruned early, the worst first\n", run->num_blocks,
               run->num_blocks == 1 ? " is" : "s are", result->narrowed, result->narrowed == 1 ? "was" : "were");
}

/* Of the values as they are printed. */
static double printed_margin(const search_result *result)
{
    double least = INFINITY;
    for (uint32_t i = 0; i < result->num_thoughts; i++)
        least = fmin(least, think_value_margin(result->thoughts[i].log_odds));
    return least;
}

static void write_procedure(const think_request *request)
{
    bool drawn = request->search.temperature > 0;
    if (request->mode != THINK_TREE) {
        printf("\nEach character is %s", drawn ? "drawn" : "the most probable one\n");
    } else {
        printf("\nLines grow by a character at a time. The score of a line is its log probability%s;\nof all that a "
               "state's "
               "lines can become, the %u with the largest score go on, and none below %g\n",
               drawn ? " with noise" : "", request->search.proposals, request->search.least);
    }
    if (drawn)
        printf("%s at a temperature of %g, seed %" PRIu64 "\n", request->mode == THINK_TREE ? "Drawn" : "",
               request->search.temperature, request->search.seed);
    if (request->rule.policy)
        printf("Products: %s. Attention: over the kept tokens of each branch\n",
               request->blas ? "BLAS" : "plain loops");
    else if (request->gpu)
        printf("On a GPU, in fp16, plan %s\n", tree_strategy_name[request->strategy]);
    else
        printf("Products: %s. Attention: %s, plan %s\n", request->blas ? "BLAS" : "plain loops",
               tree_isa_name[request->isa], tree_strategy_name[request->strategy]);
}

static void write_margin(const think_request *request, const search_result *r)
{
    const search_margin *margin = &r->margin;
    if (isinf(margin->logits)) {
        puts("There was no choice");
        return;
    }
    printf("The closest choice: a change of every logit by %.2g could reverse it\n  ", margin->logits);
    if (margin->level > 0)
        printf("level %u: ", margin->level);
    if (margin->chosen[0] == '\0' || margin->other[0] == '\0')
        printf("'%s' has a probability close to %g\n", margin->chosen[0] == '\0' ? margin->other : margin->chosen,
               request->search.least);
    else
        printf("'%s' rather than '%s'\n", margin->chosen, margin->other);
    if (request->mode == THINK_TREE)
        printf("A change by %.2g could change a value as it is printed\n", printed_margin(r));
}

void think_write_end(const think_outcome *outcome, const char *next)
{
    bool is_written = outcome->request->brief && outcome->shown.result->solved && !outcome->shown.result->text;
    if (!is_written) /* behind the line of its last thought */
        write_answer(outcome, outcome->shown.result, "");
    write_narrowed(outcome->shown.result, &outcome->shown);
    if (outcome->request->rule.policy)
        printf("  %s forgot %" PRIu64 " token%s: a branch keeps %u\n", outcome->request->rule.policy->name,
               outcome->shown.num_forgotten, outcome->shown.num_forgotten == 1 ? "" : "s",
               outcome->request->rule.budget);
    if (think_compares(outcome->request)) {
        write_places(outcome);
        if (!outcome->same_texts)
            puts("  the texts are not the same in all three");
    }
    write_speed(outcome);
    if (outcome->request->explain) {
        write_procedure(outcome->request);
        write_margin(outcome->request, outcome->shown.result);
    }
    if (outcome->request->brief)
        printf("next    %s   # its memory, block by block\n", next);
}

/* ---- JSON ---- */

static void put_thoughts(tool_json *json, const search_result *r)
{
    tool_json_open(json, "thoughts", '[');
    for (uint32_t i = 0; i < r->num_thoughts; i++) {
        const search_thought *t = &r->thoughts[i];
        tool_json_open(json, NULL, '{');
        tool_json_count(json, "level", t->level);
        tool_json_integer(json, "parent", t->parent == SEARCH_NONE ? -1 : (int64_t)t->parent);
        tool_json_text(json, "text", t->text);
        tool_json_real(json, "probability", exp(t->log_probability), 3);
        tool_json_real(json, "value", think_value(t->log_odds), 3);
        tool_json_text(json, "fate", search_verdict_name[t->verdict]);
        tool_json_close(json);
    }
    tool_json_close(json);
}

static void put_lines(tool_json *json, const search_result *r)
{
    char text[2 * GAME_MAX_TEXT];
    tool_json_open(json, "lines", '[');
    for (uint32_t i = 0; i < r->num_lines; i++) {
        snprintf(text, sizeof text, "%.*s", (int)r->lines[i].num_characters, r->text + r->lines[i].first);
        tool_json_open(json, NULL, '{');
        tool_json_text(json, "text", text);
        tool_json_bool(json, "legal", r->lines[i].legal);
        tool_json_close(json);
    }
    tool_json_close(json);
}

static void put_run(tool_json *json, const think_outcome *outcome, const think_run *run, think_place place)
{
    const transformer_counts *c = &run->counts;
    tool_json_open(json, NULL, '{');
    tool_json_text(json, "memory", think_place_name[place]);
    tool_json_count(json, "pool_blocks", run->num_blocks);
    tool_json_bool(json, "fits", run->result != NULL);
    if (run->result) {
        tool_json_count(json, "peak_blocks", run->result->peak_blocks);
        tool_json_count(json, "peak_bytes", run->result->peak_blocks * outcome->block_bytes);
        tool_json_count(json, "copied_bytes", c->copied_bytes);
        tool_json_count(json, "logical_bytes", c->logical_bytes);
        tool_json_count(json, "plan_bytes", c->plan_bytes);
        tool_json_count(json, "narrowed", run->result->narrowed);
        tool_json_real(json, "seconds", run->seconds, 4);
        tool_json_real(json, "products_us", c->products_us, 4);
        tool_json_real(json, "attention_us", c->attention_us, 4);
        tool_json_real(json, "host_us", c->host_us, 4);
        tool_json_real(json, "rest_us", c->rest_us, 4);
    }
    tool_json_close(json);
}

static void put_search(tool_json *json, const think_outcome *outcome, const search_result *r)
{
    char answer[GAME_MAX_TEXT];
    bool has_answer = r->solved && game_expression(answer, &r->cards, r->steps, r->num_steps);
    tool_json_open(json, "search", '{');
    tool_json_bool(json, "solvable", outcome->solvable);
    tool_json_bool(json, "solved", r->solved);
    tool_json_text(json, "answer", has_answer ? answer : NULL);
    tool_json_count(json, "steps", r->decode_steps);
    tool_json_count(json, "tokens", r->tokens);
    tool_json_count(json, "forks", r->forks);
    tool_json_count(json, "prunes", r->prunes);
    tool_json_count(json, "peak_branches", r->peak_branches);
    tool_json_count(json, "narrowed", r->narrowed);
    tool_json_count(json, "unfinished", r->unfinished);
    tool_json_real(json, "margin_logits", r->margin.logits, 3);
    tool_json_real(json, "printed_margin_logits", printed_margin(r), 3);
    if (r->text)
        put_lines(json, r);
    else
        put_thoughts(json, r);
    tool_json_close(json);
}

void think_write_json(const think_outcome *outcome)
{
    static const char *const modes[] = {"tree", "chain", "search"};
    const think_request *request = outcome->request;
    char cards[GAME_MAX_TEXT];
    tool_json json = {.file = stdout};
    game_state_text(cards, &request->cards);
    tool_json_open(&json, NULL, '{');
    tool_json_text(&json, "cards", cards);
    tool_json_text(&json, "mode", modes[request->mode]);
    tool_json_count(&json, "breadth", request->search.breadth);
    tool_json_count(&json, "proposals", request->search.proposals);
    tool_json_real(&json, "temperature", request->search.temperature, 6);
    tool_json_real(&json, "least", request->search.least, 3);
    tool_json_count(&json, "seed", request->search.seed);
    tool_json_open(&json, "model", '{');
    tool_json_count(&json, "parameters", outcome->weights->num_parameters);
    tool_json_count(&json, "layers", outcome->weights->shape.layers);
    tool_json_text(&json, "commit", outcome->weights->commit);
    tool_json_bool(&json, "gpu", request->gpu);
    tool_json_text(&json, "products", request->gpu ? NULL : request->blas ? "blas" : "loops");
    tool_json_text(&json, "isa", request->gpu ? NULL : tree_isa_name[request->isa]);
    tool_json_text(&json, "strategy", tree_strategy_name[request->strategy]);
    tool_json_count(&json, "block_tokens", request->block_tokens);
    tool_json_close(&json);
    if (request->rule.policy) {
        tool_json_open(&json, "evict", '{');
        tool_json_text(&json, "policy", request->rule.policy->name);
        tool_json_count(&json, "budget", request->rule.budget);
        tool_json_count(&json, "forgotten_tokens", outcome->shown.num_forgotten);
        tool_json_close(&json);
    }
    put_search(&json, outcome, outcome->shown.result);
    tool_json_bool(&json, "same_texts", outcome->same_texts);
    tool_json_open(&json, "runs", '[');
    for (int place = 0; place < THINK_NUM_PLACES && think_compares(request); place++)
        put_run(&json, outcome, &outcome->runs[place], (think_place)place);
    if (request->mode != THINK_TREE && !request->rule.policy)
        put_run(&json, outcome, &outcome->shown, THINK_GROUPED);
    tool_json_close(&json);
    tool_json_close(&json);
}
