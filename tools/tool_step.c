/* treeattn step: walks the softmax of one query token by token, then splits the tokens in two parts and merges them,
 * with the same result. With --tree or --trace: tool_step_tree.c. */
#include "tool_step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "softmax_state.h"
#include "tool_terminal.h"
#include "tool_tree.h"

enum { HEAD_DIM = 4, MAX_TOKENS = 4096 };

/* One line of the output: a state, and the operation that led to it. */
typedef struct step_line {
    const char *operation;    /* "absorb", "left", "right", "merge", "two_passes" */
    uint32_t first_token, num_tokens;
    double score, rescale;    /* NaN where there is none */
    double m, l, out[HEAD_DIM];
} step_line;

typedef struct step_input {
    float query[HEAD_DIM];
    float key[MAX_TOKENS][HEAD_DIM], value[MAX_TOKENS][HEAD_DIM];
    uint32_t num_tokens;
} step_input;

/* Multiples of 1/4 in -2 .. 2, so that scores are exact and the same everywhere. */
static float next_value(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (float)((int)((z ^ z >> 31) % 17) - 8) / 4;
}

static void fill(step_input *input, uint32_t num_tokens, uint64_t seed)
{
    input->num_tokens = num_tokens;
    for (int d = 0; d < HEAD_DIM; d++)
        input->query[d] = next_value(&seed);
    for (uint32_t token = 0; token < num_tokens; token++) {
        for (int d = 0; d < HEAD_DIM; d++)
            input->key[token][d] = next_value(&seed);
        for (int d = 0; d < HEAD_DIM; d++)
            input->value[token][d] = next_value(&seed);
    }
}

static double score_of(const step_input *input, uint32_t token)
{
    double dot = 0;
    for (int d = 0; d < HEAD_DIM; d++)
        dot += (double)input->query[d] * input->key[token][d];
    return dot / sqrt(HEAD_DIM);
}

static step_line line_of(const char *operation, uint32_t first_token, uint32_t num_tokens, const softmax_state *state)
{
    step_line line = {.operation = operation, .first_token = first_token, .num_tokens = num_tokens,
                      .score = NAN, .rescale = NAN,
                      .m = state->m, .l = state->l};
    for (int d = 0; d < HEAD_DIM; d++)
        line.out[d] = state->l == 0 ? 0 : state->o[d] / state->l;
    return line;
}

/* Collects a table for csv and JSON; prints a line at once for text, and with --wait waits for Enter after it. */
typedef struct step_writer {
    tool_table *table; /* NULL: text */
    bool wait;
} step_writer;

static void write_cell(double value)
{
    if (isnan(value))
        printf("  %8s", "");
    else
        printf("  %8.4f", value);
}

static void write_text_line(const step_line *line)
{
    char tokens[24];
    if (line->num_tokens == 1)
        snprintf(tokens, sizeof tokens, "%u", line->first_token);
    else
        snprintf(tokens, sizeof tokens, "%u..%u", line->first_token, line->first_token + line->num_tokens - 1);
    printf("%-10s %9s", line->operation, tokens);
    write_cell(line->score);
    write_cell(line->m);
    write_cell(line->l);
    write_cell(line->rescale);
    for (int d = 0; d < HEAD_DIM; d++)
        write_cell(line->out[d]);
}

static void write_table_row(tool_table *table, const step_line *line)
{
    static const char *const out_names[HEAD_DIM] = {"out_0", "out_1", "out_2", "out_3"};
    tool_row(table);
    tool_put_text(table, "operation", line->operation);
    tool_put_count(table, "first_token", line->first_token);
    tool_put_count(table, "num_tokens", line->num_tokens);
    tool_put_decimal(table, "score", line->score, 6);
    tool_put_decimal(table, "m", line->m, 6);
    tool_put_decimal(table, "l", line->l, 6);
    tool_put_decimal(table, "rescale", line->rescale, 6);
    for (int d = 0; d < HEAD_DIM; d++)
        tool_put_decimal(table, out_names[d], line->out[d], 6);
}

static void write_line(const step_writer *writer, const step_line *line)
{
    if (writer->table != NULL) {
        write_table_row(writer->table, line);
        return;
    }
    write_text_line(line);
    if (!writer->wait)
        putchar('\n');
    else
        for (int c = getchar(); c != '\n' && c != EOF; c = getchar())
            ;
}

/* Absorbs tokens [first, first + count) into an empty state; writes a line for each if writer is not NULL. */
static void walk(softmax_state *state, const step_input *input, uint32_t first, uint32_t count,
                 const step_writer *writer)
{
    softmax_state_empty(state, HEAD_DIM);
    for (uint32_t token = first; token < first + count; token++) {
        double m_before = state->m, score = score_of(input, token);
        softmax_state_absorb(state, score, input->value[token], HEAD_DIM);
        if (writer == NULL)
            continue;
        step_line line = line_of("absorb", token, 1, state);
        line.score = score;
        line.rescale = exp(m_before - state->m);
        write_line(writer, &line);
    }
}

static void write_split(const step_writer *writer, const step_input *input)
{
    uint32_t half = input->num_tokens / 2;
    double o[2][HEAD_DIM];
    softmax_state left = {.o = o[0]}, right = {.o = o[1]};
    walk(&left, input, 0, half, NULL);
    walk(&right, input, half, input->num_tokens - half, NULL);
    step_line lines[2] = {line_of("left", 0, half, &left), line_of("right", half, input->num_tokens - half, &right)};
    if (half > 0)
        write_line(writer, &lines[0]);
    write_line(writer, &lines[1]);
    double m_before = left.m;
    softmax_state_merge(&left, &right, HEAD_DIM);
    step_line merged = line_of("merge", 0, input->num_tokens, &left);
    merged.rescale = exp(m_before - left.m);
    write_line(writer, &merged);
}

/* The definition: the maximum in a first pass, the sums in a second. */
static void write_two_passes(const step_writer *writer, const step_input *input)
{
    step_line line = {.operation = "two_passes", .num_tokens = input->num_tokens, .score = NAN, .rescale = NAN,
                      .m = -INFINITY};
    for (uint32_t token = 0; token < input->num_tokens; token++)
        line.m = fmax(line.m, score_of(input, token));
    double lse;
    attention_ref(line.out, &lse, input->query, input->key[0], input->value[0], input->num_tokens, HEAD_DIM,
                  (float)(1 / sqrt(HEAD_DIM)));
    line.l = exp(lse - line.m);
    write_line(writer, &line);
}

static void write_heading(const step_input *input)
{
    printf("query [%g %g %g %g], %u tokens.  score = q.k / sqrt(4)   rescale = exp(old m - m), on old l and o\n"
           "m: largest score so far   l: sum of exp(score - m)   out = o / l: the answer if the path ended here\n\n",
           input->query[0], input->query[1], input->query[2], input->query[3], input->num_tokens);
    printf("%-10s %9s  %8s  %8s  %8s  %8s  %8s  %8s  %8s  %8s\n", "operation", "token", "score", "m", "l", "rescale",
           "out[0]", "out[1]", "out[2]", "out[3]");
}

/* Every option but these belongs to the walk over a tree. */
static void refuse_tree_options(const tool_call *call)
{
    static const char *const own[] = {"--tokens", "--seed", "--wait"};
    for (const tool_option *option = call->verb->options; option->name != NULL; option++) {
        const char *const names[] = {option->name, NULL};
        bool is_own = false;
        for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) is_own = is_own || strcmp(option->name, own[i]) == 0;
        if (!is_own)
            tool_refuse(call, names, "works only with --tree or --trace");
    }
}

static int run(const tool_call *call)
{
    if (tool_given(call, "--tree") || tool_given(call, "--trace"))
        return tool_step_tree(call);
    refuse_tree_options(call);
    uint32_t num_tokens = tool_count(call, "--tokens", 8, 1, MAX_TOKENS);
    step_input *input = tool_allocate(1, sizeof *input);
    fill(input, num_tokens, (uint64_t)tool_integer(call, "--seed", 5, 0, INT64_MAX));
    bool text = call->format == TOOL_TEXT;
    step_writer writer = {.table = text ? NULL : tool_table_create(),
                          .wait = text && tool_given(call, "--wait") && tool_can_wait(false)};
    if (text)
        write_heading(input);
    double o[HEAD_DIM];
    softmax_state state = {.o = o};
    walk(&state, input, 0, num_tokens, &writer);
    if (text)
        puts("\nThe same tokens in two parts, each from the empty state, then merged; and by the two-pass definition:");
    write_split(&writer, input);
    write_two_passes(&writer, input);
    if (!text)
        tool_table_write(writer.table, stdout, call->format, false);
    free(input);
    return TOOL_OK;
}

static const tool_option options[] = {
    {"--tokens", "N", "tokens that the query sees, 1 to 4096 (8)"},
    {"--seed", "N", "seed of the keys and values (5); with --tree: random ones instead of the rule"},
    {"--wait", NULL, "on a terminal: Enter shows the next token; with --tree also b back, n next item, q quit"},
    TOOL_TREE_OPTIONS("0"),
    {NULL, NULL, NULL},
};

const tool_verb tool_step = {
    .name = "step",
    .summary = "walks the softmax of one query token by token, alone or over a tree",
    .formats = "text csv json",
    .options = options,
    .example = "  treeattn step --tokens 12 --wait\n"
               "  treeattn step --tree '1,2 / 6,3|4' --block-tokens 4 --wait\n"
               "  treeattn step --tree '1,2 / 6,3|4' --block-tokens 4 --strategy flatten --query 1\n",
    .run = run,
};
