/* treeattn step --tree: the walk of one query as text, step by step on a terminal, or as a table. */
#define _POSIX_C_SOURCE 200809L
#include "tool_step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool_terminal.h"
#include "tool_walk.h"

enum { SHOWN_ELEMENTS = 4, SHOWN_QUERIES = 8, SCREEN_COLUMNS = 80 };

/* ---- text ---- */

/* Elements beyond the first few are shown as three dots. */
static const char *shown_floats(char text[96], const float *vector, uint32_t head_dim)
{
    int at = 0;
    for (uint32_t d = 0; d < head_dim && d < SHOWN_ELEMENTS; d++)
        at += snprintf(text + at, 96 - (size_t)at, "%s%g", d > 0 ? " " : "[", (double)vector[d]);
    snprintf(text + at, 96 - (size_t)at, "%s]", head_dim > SHOWN_ELEMENTS ? " ..." : "");
    return text;
}

static void write_decimals(FILE *file, const double *vector, uint32_t head_dim)
{
    for (uint32_t d = 0; d < head_dim && d < SHOWN_ELEMENTS; d++)
        fprintf(file, "%s%.4f", d > 0 ? " " : "[", vector[d]);
    fprintf(file, "%s]", head_dim > SHOWN_ELEMENTS ? " ..." : "");
}

static void write_state(FILE *file, const char *indent, double m, double l, const double *o, uint32_t head_dim)
{
    fprintf(file, "%sm %.4f   l %.4f   o ", indent, m, l);
    write_decimals(file, o, head_dim);
    fputc('\n', file);
}

static void write_heading(FILE *file, const tool_walk *walk)
{
    const tool_tree *tree = walk->tree;
    char query[96], kv_head[32] = "";
    if (tree->shape.num_heads > 1)
        snprintf(kv_head, sizeof kv_head, ", KV head %u", walk->kv_head);
    fprintf(file, "query %u of %u, head %u of %u%s: %s\nstrategy %s: %u %s, %u of them for this query\n", walk->query,
            tree->shape.num_queries, walk->head, tree->shape.num_heads, kv_head,
            shown_floats(query, tool_walk_query(walk), tree->shape.head_dim),
            tree_strategy_name[tree->plan->config.strategy], tree->plan->num_items,
            tree->plan->num_items == 1 ? "item" : "items", walk->num_items);
    fprintf(file,
            "  score    query . key / sqrt(%u)\n"
            "  m        the largest score so far\n"
            "  weight   exp(score - m)\n"
            "  l, o     the sums of weight and of weight x value\n"
            "  rescale  exp(old m - m): l and o times this, when m grows\n",
            tree->shape.head_dim);
}

static void write_item_heading(FILE *file, const tool_walk *walk, uint32_t index)
{
    const tree_plan *plan = walk->tree->plan;
    const tree_item *item = &plan->items[index];
    fprintf(file, "\nitem %u: %s", index, item->num_rows == 1 ? "query" : "queries");
    for (uint32_t row = 0; row < item->num_rows && row < SHOWN_QUERIES; row++)
        fprintf(file, " %u", plan->rows[item->first_row + row]);
    if (item->num_rows > SHOWN_QUERIES)
        fprintf(file, " and %u more", item->num_rows - SHOWN_QUERIES);
    fprintf(file, ", %u %s. Query %u begins with m -inf, l 0, o 0.\n", item->num_tokens,
            item->num_tokens == 1 ? "token" : "tokens", walk->query);
}

static void write_range_heading(FILE *file, const tool_walk *walk, const walk_step *step)
{
    const tree_item *item = &walk->tree->plan->items[step->item];
    const tree_range *range = &walk->tree->plan->ranges[item->first_range + step->range];
    fprintf(file, "  range %u: %u %s from block %u, slot %u on; ", step->range, range->num_tokens,
            range->num_tokens == 1 ? "token" : "tokens", step->block, step->slot);
    if (range->mask != TREE_NO_MASK)
        fputs("a mask says which queries see them\n", file);
    else if (item->num_rows > 1)
        fputs("all queries of the item see them\n", file);
    else
        fprintf(file, "query %u sees all of them\n", walk->query);
}

static void write_absorb(FILE *file, const tool_walk *walk, const walk_step *step, const double *o)
{
    const tool_tree *tree = walk->tree;
    uint32_t head_dim = tree->shape.head_dim;
    uint64_t offset = tree_kv_offset(&tree->shape, step->block, walk->kv_head, step->slot);
    char place[64], key[96], value[96];
    snprintf(place, sizeof place, "    block %u, slot %u: token %u", step->block, step->slot, step->token);
    shown_floats(key, tree->key + offset, head_dim);
    shown_floats(value, tree->value + offset, head_dim);
    size_t length = strlen(place) + strlen(key) + strlen(value) + strlen(", key , value ");
    fprintf(file, "%s, key %s,%svalue %s\n", place, key, length > SCREEN_COLUMNS ? "\n      " : " ", value);
    const char sign = signbit(step->m) ? '+' : '-'; /* "exp(1.0000 + 0.5000)", not "- -0.5000" */
    if (step->l_before == 0)
        fprintf(file, "      score %.4f is the first: weight 1\n", step->score);
    else if (step->score > step->m_before)
        fprintf(file, "      score %.4f becomes m: rescale exp(%.4f %c %.4f) = %.4f, weight 1\n", step->score,
                step->m_before, sign, fabs(step->m), step->rescale);
    else
        fprintf(file, "      score %.4f, m stays: weight exp(%.4f %c %.4f) = %.4f\n", step->score, step->score, sign,
                fabs(step->m), step->weight);
    write_state(file, "      ", step->m, step->l, o, head_dim);
}

static void write_merge(FILE *file, const tool_walk *walk, const walk_step *step, const double *o)
{
    uint32_t head_dim = walk->tree->shape.head_dim;
    const walk_step *left = &walk->steps[step->left];
    char name[32];
    snprintf(name, sizeof name, "  item %u left ", step->item);
    write_state(file, name, left->m, left->l, walk->o + step->left * head_dim, head_dim);
    if (step->l_before == 0) {
        fputs("    the first state: taken as it is\n", file);
        return;
    }
    fprintf(file, "    the larger m is %.4f: l, o so far x %.4f, the item's x %.4f\n", step->m, step->rescale,
            step->weight);
    write_state(file, "    ", step->m, step->l, o, head_dim);
}

static void write_out(FILE *file, const tool_walk *walk)
{
    uint32_t head_dim = walk->tree->shape.head_dim;
    fputs("out = o / l = ", file);
    for (uint32_t d = 0; d < head_dim && d < SHOWN_ELEMENTS; d++)
        fprintf(file, "%s%.4f", d > 0 ? " " : "[", (double)walk->out[d]);
    fprintf(file, "%s], lse = m + ln l = %.4f\n", head_dim > SHOWN_ELEMENTS ? " ..." : "", (double)walk->lse);
}

/* A step, with the headings that come before it. */
static void write_step(FILE *file, const void *context, size_t index)
{
    const tool_walk *walk = context;
    const walk_step *step = &walk->steps[index];
    const double *o = walk->o + index * walk->tree->shape.head_dim;
    if (index == 0)
        write_heading(file, walk);
    if (tool_walk_begins_item(walk, index))
        write_item_heading(file, walk, step->item);
    if (tool_walk_begins_range(walk, index))
        write_range_heading(file, walk, step);
    if (tool_walk_begins_merge(walk, index))
        fprintf(file, "\nmerge: the %u partial state%s of query %u, in the order of its path\n", walk->num_merges,
                walk->num_merges == 1 ? "" : "s", walk->query);
    if (step->kind == WALK_ABSORB)
        write_absorb(file, walk, step, o);
    else if (step->kind == WALK_HIDDEN)
        fprintf(file, "    block %u, slot %u: token %u is hidden from query %u by the mask: skipped\n", step->block,
                step->slot, step->token, walk->query);
    else if (step->kind == WALK_MERGE)
        write_merge(file, walk, step, o);
    else
        write_out(file, walk);
}

static size_t next_item(const void *walk, size_t index)
{
    return tool_walk_next_item(walk, index);
}

/* ---- table ---- */

/* "key_0" .. "key_1023" and so on: a table does not copy the names of its columns. */
typedef struct column_names {
    char (*names)[16];
    uint32_t head_dim;
} column_names;

static const char *const groups[] = {"key", "value", "o", "out"};
enum { KEY, VALUE, O, OUT, NUM_GROUPS };

static column_names name_columns(uint32_t head_dim)
{
    column_names columns = {tool_allocate((size_t)NUM_GROUPS * head_dim, sizeof *columns.names), head_dim};
    for (uint32_t i = 0; i < NUM_GROUPS * head_dim; i++)
        snprintf(columns.names[i], sizeof columns.names[i], "%s_%u", groups[i / head_dim], i % head_dim);
    return columns;
}

/* NULL: a column of no value. */
static void put_floats(tool_table *table, const column_names *columns, int group, const float *vector)
{
    for (uint32_t d = 0; d < columns->head_dim; d++)
        tool_put_real(table, columns->names[(uint32_t)group * columns->head_dim + d], vector ? (double)vector[d] : NAN,
                      9);
}

static void put_step(tool_table *table, const column_names *columns, const tool_walk *walk, size_t index)
{
    const walk_step *step = &walk->steps[index];
    const tool_tree *tree = walk->tree;
    bool has_token = step->kind == WALK_ABSORB || step->kind == WALK_HIDDEN, has_item = step->kind != WALK_OUT;
    tool_row(table);
    tool_put_count(table, "step", index);
    tool_put_text(table, "operation", walk_kind_name[step->kind]);
    const struct { const char *name; uint32_t value; bool given; } places[] = {
        {"item", step->item, has_item},    {"range", step->range, has_token}, {"block", step->block, has_token},
        {"slot", step->slot, has_token}, {"token", step->token, has_token}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (places[i].given)
            tool_put_count(table, places[i].name, places[i].value);
        else
            tool_put_nothing(table, places[i].name);
    }
    tool_put_real(table, "score", step->score, 17);
    tool_put_real(table, "rescale", step->rescale, 17);
    tool_put_real(table, "weight", step->weight, 17);
    tool_put_real(table, "m", step->m, 17);
    tool_put_real(table, "l", step->l, 17);
    uint64_t offset = tree_kv_offset(&tree->shape, step->block, walk->kv_head, step->slot);
    put_floats(table, columns, KEY, step->kind == WALK_ABSORB ? tree->key + offset : NULL);
    put_floats(table, columns, VALUE, step->kind == WALK_ABSORB ? tree->value + offset : NULL);
    for (uint32_t d = 0; d < columns->head_dim; d++)
        tool_put_real(table, columns->names[O * columns->head_dim + d], walk->o[index * columns->head_dim + d], 17);
    put_floats(table, columns, OUT, step->kind == WALK_OUT ? walk->out : NULL);
    tool_put_real(table, "lse", step->kind == WALK_OUT ? (double)walk->lse : NAN, 9);
}

static void write_table(const tool_call *call, const tool_walk *walk)
{
    enum { CELL_BYTES = 64, OTHER_COLUMNS = 13 };
    double num_cells = (double)walk->num_steps * (OTHER_COLUMNS + NUM_GROUPS * (double)walk->tree->shape.head_dim);
    tool_need_memory(call, walk->bytes + num_cells * CELL_BYTES, "a table of %zu steps", walk->num_steps);
    column_names columns = name_columns(walk->tree->shape.head_dim);
    tool_table *table = tool_table_create();
    for (size_t i = 0; i < walk->num_steps; i++) put_step(table, &columns, walk, i);
    tool_table_write(table, stdout, call->format, false);
    free(columns.names);
}

/* ---- the verb ---- */

int tool_step_tree(const tool_call *call)
{
    static const char *const names[] = {"--tokens", NULL}, *const waits[] = {"--wait", NULL};
    tool_refuse(call, names, "works only without --tree and --trace, which say how many tokens there are");
    if (call->format != TOOL_TEXT)
        tool_refuse(call, waits, "works only with --format text");
    tool_tree tree = tool_tree_open(call);
    uint32_t query = tool_tree_query(call, &tree, 0), head = tool_tree_head(call, &tree, 0);
    tool_walk walk = tool_walk_create(call, &tree, query, head);
    if (call->format != TOOL_TEXT)
        write_table(call, &walk);
    else
        tool_show_steps(&(tool_steps){&walk, walk.num_steps, write_step, next_item}, tool_given(call, "--wait"));
    tool_walk_destroy(&walk);
    tool_tree_close(&tree);
    return TOOL_OK;
}
