/* treeattn attend: runs tree_attention_ref, the specification, on a tree: a place for a debugger to stop. Prints out
 * and lse of each query, with --partials the partial states that the plan's items leave. */
#include "tool_tree.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "attention.h"
#include "softmax_state.h"

enum { SHOWN_ELEMENTS = 8, SHOWN_TABLES = 8, SHOWN_BLOCKS = 16 };

typedef struct attend_result {
    const tool_tree *tree;
    float *out, *lse;                  /* as tree_attention_ref */
    softmax_state *partials;           /* [num_heads][num_partials]; NULL: not wanted */
    double *sums;                      /* their o */
    double *difference;                /* [num_queries][num_heads] from attention_ref, relative */
    uint32_t first_query, end_query, first_head, end_head; /* that are printed */
    double bytes;                      /* of all of this and the tree, for tool_need_memory */
} attend_result;

/* ---- compute ---- */

static void need_work(const tool_call *call, const tool_tree *tree)
{
    double pairs = 2.0 * (double)tree->plan->path_tokens; /* attention_ref has two passes */
    for (uint32_t i = 0; i < tree->plan->num_items; i++)
        pairs += (double)tree->plan->items[i].num_rows * tree->plan->items[i].num_tokens;
    tool_need_work(call, pairs * tree->shape.num_heads * tree->shape.head_dim,
                   "attention over %" PRIu64 " tokens of the queries' paths, with %u/%u heads of %u elements,",
                   tree->plan->path_tokens, tree->shape.num_heads, tree->shape.num_kv_heads, tree->shape.head_dim);
}

static double longest_path(const tool_tree *tree)
{
    uint32_t longest = 0;
    for (uint32_t q = 0; q < tree->shape.num_queries; q++)
        longest = tree->tables[q].length > longest ? tree->tables[q].length : longest;
    return longest;
}

/* Partial states of every head, out and lse, and a branch alone. Returns the bytes, those of the tree included. */
static double need_results(const tool_call *call, const tool_tree *tree, bool partials)
{
    double head_dim = tree->shape.head_dim, states = (double)tree->plan->num_partials + 1;
    double state_bytes = sizeof(softmax_state) + head_dim * sizeof(double);
    double rows = (double)tree->shape.num_queries * tree->shape.num_heads;
    double bytes = states * state_bytes * (partials ? 1 + (double)tree->shape.num_heads : 1);
    bytes += rows * (head_dim * sizeof(float) + sizeof(float) + sizeof(double));
    bytes += longest_path(tree) * head_dim * 2 * sizeof(float) + tree->bytes;
    tool_need_memory(call, bytes, "attention of %u queries, %u partial states", tree->shape.num_queries,
                     tree->plan->num_partials);
    return bytes;
}

static void check_status(tree_status status)
{
    if (status != TREE_OK)
        tool_fail("attention: %s", tree_status_string(status));
}

static void compute_partials(attend_result *result)
{
    const tool_tree *tree = result->tree;
    size_t num_partials = tree->plan->num_partials, num_states = num_partials * tree->shape.num_heads;
    result->partials = tool_allocate(num_states, sizeof *result->partials);
    result->sums = tool_allocate(num_states * tree->shape.head_dim, sizeof *result->sums);
    for (size_t i = 0; i < num_states; i++) result->partials[i].o = result->sums + i * tree->shape.head_dim;
    for (uint32_t head = 0; head < tree->shape.num_heads; head++)
        check_status(tree_attention_ref_partials(result->partials + head * num_partials, tree->query, tree->key,
                                                 tree->value, tree->plan, head, &tree->shape, tree->scale));
}

/* Differences of one row (query and head), relative to the largest element of out and to lse. */
static double row_difference(const float *out, float lse, const double *alone, double alone_lse, uint32_t head_dim)
{
    double largest = 0, difference = 0;
    for (uint32_t d = 0; d < head_dim; d++) {
        largest = fmax(largest, fabs(alone[d]));
        difference = fmax(difference, fabs((double)out[d] - alone[d]));
    }
    double of_out = largest > 0 ? difference / largest : difference;
    return fmax(of_out, fabs((double)lse - alone_lse) / fmax(1, fabs(alone_lse)));
}

/* A branch alone: its tokens by their numbers, contiguous, without blocks and plan. */
static void compare_query(attend_result *result, uint32_t query, float *key, float *value, double *alone)
{
    const tool_tree *tree = result->tree;
    const tree_shape *shape = &tree->shape;
    const kv_table *table = &tree->tables[query];
    uint32_t group_size = shape->num_heads / shape->num_kv_heads;
    for (uint32_t head = result->first_head; head < result->end_head; head++) {
        bool has_kv = head > result->first_head && head % group_size != 0; /* of the head before */
        for (uint32_t t = 0; t < table->length && !has_kv; t++) {
            uint32_t token = tool_tree_token(tree, table->blocks[t / shape->block_tokens], t % shape->block_tokens);
            tool_tree_vector(tree, token, head / group_size, false, key + (size_t)t * shape->head_dim);
            tool_tree_vector(tree, token, head / group_size, true, value + (size_t)t * shape->head_dim);
        }
        uint64_t row = (uint64_t)query * shape->num_heads + head, first = row * shape->head_dim;
        double lse;
        attention_ref(alone, &lse, tree->query + first, key, value, table->length, shape->head_dim, tree->scale);
        result->difference[row] = row_difference(result->out + first, result->lse[row], alone, lse, shape->head_dim);
    }
}

static void compare_alone(attend_result *result)
{
    const tool_tree *tree = result->tree;
    size_t rows = (size_t)tree->shape.num_queries * tree->shape.num_heads, longest = (size_t)longest_path(tree);
    float *key = tool_allocate(longest * tree->shape.head_dim, sizeof *key);
    float *value = tool_allocate(longest * tree->shape.head_dim, sizeof *value);
    double *alone = tool_allocate(tree->shape.head_dim, sizeof *alone);
    result->difference = tool_allocate(rows, sizeof *result->difference);
    for (uint32_t q = result->first_query; q < result->end_query; q++) compare_query(result, q, key, value, alone);
    free(key);
    free(value);
    free(alone);
}

static attend_result compute(const tool_call *call, const tool_tree *tree, bool partials)
{
    attend_result result = {.tree = tree, .end_query = tree->shape.num_queries, .end_head = tree->shape.num_heads};
    if (tool_given(call, "--query")) {
        result.first_query = tool_tree_query(call, tree, 0);
        result.end_query = result.first_query + 1;
    }
    if (tool_given(call, "--head")) {
        result.first_head = tool_tree_head(call, tree, 0);
        result.end_head = result.first_head + 1;
    }
    need_work(call, tree);
    result.bytes = need_results(call, tree, partials);
    size_t rows = (size_t)tree->shape.num_queries * tree->shape.num_heads;
    result.out = tool_allocate(rows * tree->shape.head_dim, sizeof *result.out);
    result.lse = tool_allocate(rows, sizeof *result.lse);
    check_status(tree_attention_ref(result.out, result.lse, tree->query, tree->key, tree->value, tree->plan,
                                    &tree->shape, tree->scale));
    if (partials)
        compute_partials(&result);
    compare_alone(&result);
    return result;
}

static void destroy(attend_result *result)
{
    free(result->out);
    free(result->lse);
    free(result->partials);
    free(result->sums);
    free(result->difference);
}

/* ---- text ---- */

static void write_tables(const tool_tree *tree)
{
    for (uint32_t q = 0; q < tree->shape.num_queries && q < SHOWN_TABLES; q++) {
        const kv_table *table = &tree->tables[q];
        printf("query %u: len=%u blocks=[", q, table->length);
        for (uint32_t b = 0; b < table->num_blocks && b < SHOWN_BLOCKS; b++)
            printf("%s%u", b > 0 ? " " : "", table->blocks[b]);
        puts(table->num_blocks > SHOWN_BLOCKS ? " ...]" : "]");
    }
    if (tree->shape.num_queries > SHOWN_TABLES)
        printf("... and %u more queries\n", tree->shape.num_queries - SHOWN_TABLES);
}

static void write_heading(const tool_tree *tree)
{
    printf("%u tokens, %" PRIu64 " stored, %" PRIu64 " along the paths; %u tokens per block\n", tree->num_tokens,
           tree->nodes->unique_tokens, tree->nodes->path_tokens, tree->shape.block_tokens);
    write_tables(tree);
    printf("strategy %s: %u items, %u partial states; %u/%u heads, head_dim %u\n",
           tree_strategy_name[tree->plan->config.strategy], tree->plan->num_items, tree->plan->num_partials,
           tree->shape.num_heads, tree->shape.num_kv_heads, tree->shape.head_dim);
}

static void write_vector(const double *vector, uint32_t head_dim)
{
    for (uint32_t d = 0; d < head_dim && d < SHOWN_ELEMENTS; d++) printf("%s%.4f", d > 0 ? " " : "[", vector[d]);
    puts(head_dim > SHOWN_ELEMENTS ? " ...]" : "]");
}

static bool is_printed(const attend_result *result, uint32_t query)
{
    return query >= result->first_query && query < result->end_query;
}

static void write_partials(const attend_result *result)
{
    const tree_plan *plan = result->tree->plan;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        bool named = false;
        for (uint32_t row = 0; row < item->num_rows; row++) {
            uint32_t query = plan->rows[item->first_row + row];
            if (!is_printed(result, query))
                continue;
            if (!named)
                printf("item %u: %u %s, %u tokens in %u %s\n", i, item->num_rows,
                       item->num_rows == 1 ? "query" : "queries", item->num_tokens, item->num_ranges,
                       item->num_ranges == 1 ? "range" : "ranges");
            named = true;
            for (uint32_t head = result->first_head; head < result->end_head; head++) {
                const softmax_state *state =
                    &result->partials[(size_t)head * plan->num_partials + item->first_partial + row];
                printf("  query %u, head %u: m %.4f   l %.4f   o ", query, head, state->m, state->l);
                write_vector(state->o, result->tree->shape.head_dim);
            }
        }
    }
    puts("");
}

static void write_outputs(const attend_result *result)
{
    const tree_shape *shape = &result->tree->shape;
    double worst = 0, *out = tool_allocate(shape->head_dim, sizeof *out);
    for (uint32_t q = result->first_query; q < result->end_query; q++) {
        for (uint32_t head = result->first_head; head < result->end_head; head++) {
            size_t row = (size_t)q * shape->num_heads + head;
            for (uint32_t d = 0; d < shape->head_dim; d++) out[d] = (double)result->out[row * shape->head_dim + d];
            printf("query %u, head %u: lse %.4f   out ", q, head, (double)result->lse[row]);
            write_vector(out, shape->head_dim);
            worst = fmax(worst, result->difference[row]);
        }
    }
    free(out);
    printf("\nA strategy changes the result by rounding at most: from attention_ref, which\n"
           "computes each branch alone, out and lse differ by %.1e of their size at most.\n", worst);
}

/* ---- table ---- */

/* "o_0" .. "o_1023": a table does not copy the names of its columns. */
typedef char column_name[16];

static column_name *name_columns(const char *group, uint32_t head_dim)
{
    column_name *names = tool_allocate(head_dim, sizeof *names);
    for (uint32_t d = 0; d < head_dim; d++) snprintf(names[d], sizeof names[d], "%s_%u", group, d);
    return names;
}

static void put_partials(tool_table *table, const attend_result *result, column_name *names)
{
    const tree_plan *plan = result->tree->plan;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        for (uint32_t row = 0; row < item->num_rows; row++) {
            uint32_t query = plan->rows[item->first_row + row], partial = item->first_partial + row;
            for (uint32_t head = result->first_head; head < result->end_head && is_printed(result, query); head++) {
                const softmax_state *state = &result->partials[(size_t)head * plan->num_partials + partial];
                tool_row(table);
                tool_put_count(table, "item", i);
                tool_put_count(table, "query", query);
                tool_put_count(table, "head", head);
                tool_put_count(table, "partial", partial);
                tool_put_real(table, "m", state->m, 17);
                tool_put_real(table, "l", state->l, 17);
                for (uint32_t d = 0; d < result->tree->shape.head_dim; d++)
                    tool_put_real(table, names[d], state->o[d], 17);
            }
        }
    }
}

static void put_outputs(tool_table *table, const attend_result *result, column_name *names)
{
    const tree_shape *shape = &result->tree->shape;
    for (uint32_t q = result->first_query; q < result->end_query; q++) {
        for (uint32_t head = result->first_head; head < result->end_head; head++) {
            size_t row = (size_t)q * shape->num_heads + head;
            tool_row(table);
            tool_put_count(table, "query", q);
            tool_put_count(table, "head", head);
            tool_put_count(table, "tokens", result->tree->tables[q].length);
            tool_put_real(table, "lse", (double)result->lse[row], 9);
            for (uint32_t d = 0; d < shape->head_dim; d++)
                tool_put_real(table, names[d], (double)result->out[row * shape->head_dim + d], 9);
            tool_put_real(table, "relative_difference", result->difference[row], 3);
        }
    }
}

static void write_table(const tool_call *call, const attend_result *result)
{
    enum { CELL_BYTES = 64, OTHER_COLUMNS = 6 };
    const tool_tree *tree = result->tree;
    double rows = result->partials != NULL ? (double)tree->plan->num_partials : (double)tree->shape.num_queries;
    rows *= result->end_head - result->first_head;
    tool_need_memory(call, result->bytes + rows * (OTHER_COLUMNS + (double)tree->shape.head_dim) * CELL_BYTES,
                     "a table of %.0f rows", rows);
    column_name *names = name_columns(result->partials != NULL ? "o" : "out", tree->shape.head_dim);
    tool_table *table = tool_table_create();
    if (result->partials != NULL)
        put_partials(table, result, names);
    else
        put_outputs(table, result, names);
    tool_table_write(table, stdout, call->format, false);
    free(names);
}

/* ---- the verb ---- */

static int run(const tool_call *call)
{
    tool_tree tree = tool_tree_open(call);
    attend_result result = compute(call, &tree, tool_given(call, "--partials"));
    if (call->format != TOOL_TEXT) {
        write_table(call, &result);
    } else {
        write_heading(&tree);
        puts("");
        if (result.partials != NULL)
            write_partials(&result);
        write_outputs(&result);
    }
    destroy(&result);
    tool_tree_close(&tree);
    return TOOL_OK;
}

static const tool_option options[] = {
    TOOL_TREE_OPTIONS("all"),
    {"--seed", "N", "random keys, values and queries instead of the rule"},
    {"--partials", NULL, "the partial states of the items too; as csv and JSON, these alone"},
    {NULL, NULL, NULL},
};

const tool_verb tool_attend = {
    .name = "attend",
    .summary = "runs the specification on a tree and prints its outputs",
    .formats = "text csv json",
    .options = options,
    .example = "  treeattn attend --tree '1,2 / 6,3|4' --block-tokens 4 --partials\n"
               "  treeattn attend --tree '1,2,4 / 40,9,5' --strategy flatten --heads 4/2 --head-dim 8 --query 3\n",
    .run = run,
};
