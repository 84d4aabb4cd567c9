/* Claim: the builders write the operations that the trace's meaning asks for, read by hand from a text form, and a
 * list that breaks a rule is refused at the operation that breaks it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"
#include "workload.h"

/* One character an operation kind: c0 f1<0 a0+3 d1 q1 t1=2 o0<1 p0 | */
static char *print_operations(const workload *w)
{
    char *text = malloc((size_t)w->num_operations * 32 + 1), *out = text;
    for (uint32_t i = 0; i < w->num_operations; i++) {
        const workload_operation *o = &w->operations[i];
        static const char *const format[WORKLOAD_NUM_KINDS] = {"c%u", "f%u<%u", "a%u+%u", "d%u", "q%u",
                                                               "t%u=%u", "o%u<%u", "p%u", "|"};
        if (i)
            *out++ = ' ';
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        out += sprintf(out, format[o->kind], o->branch, o->value);
#pragma GCC diagnostic pop
    }
    *out = 0;
    return text;
}

static void expect_operations(kv_status status, workload *w, const char *expected)
{
    check(status == KV_OK, "built, status %d", status);
    char *text = print_operations(w);
    check(strcmp(text, expected) == 0, "\n  %s, got\n  %s", expected, text);
    check(workload_check(w, NULL, NULL, 0) == KV_OK, "passes its own check");
    check(w->live_branches == 0, "all branches are pruned in the end");
    free(text);
    workload_destroy(w);
}

static trace *read_text(const char *text)
{
    trace *t = NULL;
    trace_error error;
    kv_status status = trace_read(&t, text, strlen(text), "built-in", &error);
    check(status == KV_OK, "line %u: %s", error.line, error.message);
    return t;
}

typedef struct tree_case {
    const char *name, *text;
    uint32_t prompt_tokens, max_steps;
    const char *expected;
} tree_case;

#define CHAIN_AND_LEAF "ttr 1 reason x\ntree 0 0 4 4\nnode 0 -1 3 -2 0\nnode 1 0 2 1 2\nnode 2 0 1 1 1\n" \
                       "node 3 1 2 3 4\nend 8 2 11\n"
#define EMPTY_NODES "ttr 1 reason x\ntree 0 0 6 2\nnode 0 -1 3 -2 0\nnode 1 0 0 1 0\nnode 2 0 1 1 1\n" \
                    "node 3 1 2 1 2\nnode 4 2 0 2 1\nnode 5 4 1 2 2\nend 7 2 10\n"

static const tree_case tree_cases[] = {
    {"prompt_only", "ttr 1 reason x\ntree 0 0 1 0\nnode 0 -1 3 -2 0\nend 3 1 3\n", 0, 0, "c0 a0+3 p0"},
    {"one_child", "ttr 1 reason x\ntree 0 0 2 2\nnode 0 -1 3 -2 0\nnode 1 0 2 1 2\nend 5 1 5\n", 0, 0,
     "c0 a0+3 f1<0 p0 d1 | d1 | p1"},
    {"child_forks_after_parents_end", CHAIN_AND_LEAF, 0, 0,
     "c0 a0+3 f1<0 f2<0 p0 d1 d2 | p2 d1 | f3<1 p1 d3 | d3 | p3"},
    {"other_prompt", CHAIN_AND_LEAF, 7, 0, "c0 a0+7 f1<0 f2<0 p0 d1 d2 | p2 d1 | f3<1 p1 d3 | d3 | p3"},
    {"cut_inside_a_node", CHAIN_AND_LEAF, 0, 1, "c0 a0+3 f1<0 f2<0 p0 d1 d2 | p2 p1"},
    {"cut_where_a_node_ends", CHAIN_AND_LEAF, 0, 2, "c0 a0+3 f1<0 f2<0 p0 d1 d2 | p2 d1 | p1"},
    {"limit_beyond_the_end", CHAIN_AND_LEAF, 0, 99, "c0 a0+3 f1<0 f2<0 p0 d1 d2 | p2 d1 | f3<1 p1 d3 | d3 | p3"},
    {"empty_nodes_fork_at_once", EMPTY_NODES, 0, 0,
     "c0 a0+3 f1<0 f2<0 p0 f3<1 p1 d2 d3 | f4<2 p2 f5<4 p4 d3 d5 | p3 p5"},
    {"empty_prompt", "ttr 1 reason x\ntree 0 0 2 1\nnode 0 -1 0 1 0\nnode 1 0 1 1 1\nend 1 1 1\n", 0, 0,
     "c0 f1<0 p0 d1 | p1"},
    {"empty_leaf_at_the_end",
     "ttr 1 reason x\ntree 0 0 3 1\nnode 0 -1 1 0 0\nnode 1 0 1 1 1\nnode 2 1 0 2 1\nend 2 1 2\n", 0, 0,
     "c0 a0+1 f1<0 p0 d1 | f2<1 p1 p2"},
};

static void run_tree(const void *argument)
{
    const tree_case *c = argument;
    trace *t = read_text(c->text);
    workload *w = NULL;
    kv_status status = workload_from_tree(&w, trace_find(t, 0), c->prompt_tokens, c->max_steps);
    trace_destroy(t);
    expect_operations(status, w, c->expected);
}

static const char accept_text[] = "ttr 1 accept x\nrec one 10 1 4 4\nacc 1 2 0 3\nend 6\n";
static const char draft_text[] = "ttr 1 draft x\ndraft 0 4 4 2\ndnode 0 -1 0\ndnode 1 0 0\ndnode 2 0 1\ndnode 3 2 0\n"
                                 "end 2 8\n";

static void run_accept(const void *argument)
{
    (void)argument;
    trace *t = read_text(accept_text);
    workload *w = NULL;
    kv_status status = workload_from_accept(&w, trace_find_accept(t, "one"), 2, 0, 0);
    check(trace_find_accept(t, "two") == NULL, "no record of that name");
    expect_operations(status, w, "c0 a0+10 f1<0 f2<0 d1 d2 | p1 p2 a0+2 f3<0 f4<0 d3 d4 | p3 p4 "
                                 "f5<0 f6<0 d5 d6 | p5 p6 a0+3 f7<0 f8<0 d7 d8 | p7 p8 p0");
    status = workload_from_accept(&w, trace_find_accept(t, "one"), 1, 5, 2);
    expect_operations(status, w, "c0 a0+5 f1<0 d1 | p1 a0+2 f2<0 d2 | p2 p0");
    check(workload_from_accept(&w, trace_find_accept(t, "one"), 0, 0, 0) == KV_INVAL, "no leaf, no query");
    trace_destroy(t);
}

static void run_accept_draft(const void *argument)
{
    (void)argument;
    trace *accepts = read_text(accept_text), *drafts = read_text(draft_text);
    workload *w = NULL;
    const trace_draft *draft = trace_find_draft(drafts, 4);
    kv_status status = workload_from_accept_draft(&w, trace_find_accept(accepts, "one"), draft, 0, 3);
    expect_operations(status, w,
                      "c0 a0+10 f1<0 a1+1 f2<1 a2+1 f3<1 a3+1 f4<3 a4+1 q1 q2 q3 q4 | o0<2 p1 p3 p4 "
                      "f5<0 a5+1 f6<5 a6+1 f7<5 a7+1 f8<7 a8+1 q5 q6 q7 q8 | p5 p6 p7 p8 "
                      "f9<0 a9+1 f10<9 a10+1 f11<9 a11+1 f12<11 a12+1 q9 q10 q11 q12 | p9 p10 p11 p12 p0");
    status = workload_draft(&w, draft, 6);
    expect_operations(status, w, "c0 a0+6 f1<0 a1+1 f2<1 a2+1 f3<1 a3+1 f4<3 a4+1 q1 q2 q3 q4 | p1 p2 p3 p4 p0");
    trace_destroy(accepts);
    accepts = read_text("ttr 1 accept x\nrec one 10 1 3 3\nacc 1 4 1\nend 6\n");
    status = workload_from_accept_draft(&w, trace_find_accept(accepts, "one"), draft, 0, 0);
    check(status == KV_INVAL, "4 tokens cannot be accepted from a tree of depth 2");
    trace_destroy(accepts);
    trace_destroy(drafts);
}

static void run_few_shot(const void *argument)
{
    (void)argument;
    workload *w = NULL;
    kv_status status = workload_few_shot(&w, 5, 2, 2);
    expect_operations(status, w, "c0 a0+5 f1<0 f2<0 p0 d1 d2 | d1 d2 | p1 p2");
    check(workload_few_shot(&w, 0, 2, 2) == KV_INVAL && workload_few_shot(&w, 5, 0, 2) == KV_INVAL &&
          workload_few_shot(&w, 5, 2, 0) == KV_INVAL, "counts of 0");
    check(workload_few_shot(&w, 5, KV_MAX_BRANCHES + 1, 2) == KV_RANGE, "too many branches");
    check(workload_few_shot(&w, KV_MAX_LENGTH, 1, 1) == KV_RANGE, "too long a branch");
}

typedef struct level_case {
    const char *name, *nodes, *tokens;
    const char *expected; /* operations, or the message of an error */
    uint32_t line, column; /* line 0: no error */
} level_case;

static const level_case level_cases[] = {
    {"one_level", "1", "4", "c0 a0+3 d0 | p0", 0, 0},
    {"one_token", "1", "1", "c0 d0 | p0", 0, 0},
    {"two_roots", "2", "2", "c0 c1 a0+1 a1+1 d0 d1 | p0 p1", 0, 0},
    {"star", "1,3", "4,1", "c0 a0+4 f1<0 f2<0 f3<0 p0 d1 d2 d3 | p1 p2 p3", 0, 0},
    {"three_levels", "1,2,4", "8,4,2",
     "c0 a0+8 f1<0 f2<0 p0 a1+4 a2+4 f3<1 f4<1 f5<2 f6<2 p1 p2 a3+1 a4+1 a5+1 a6+1 d3 d4 d5 d6 | p3 p4 p5 p6", 0, 0},
    {"uneven", "2,3", "1,1", "c0 c1 a0+1 a1+1 f2<0 f3<0 f4<1 p0 p1 d2 d3 d4 | p2 p3 p4", 0, 0},
    {"siblings_differ", "1,3", "4,1|3", "c0 a0+4 f1<0 f2<0 f3<0 p0 a2+2 d1 d2 d3 | p1 p2 p3", 0, 0},
    {"roots_and_leaves_differ", "2,2", "4|5,3|2", "c0 c1 a0+4 a1+5 f2<0 f3<1 p0 p1 a2+2 a3+1 d2 d3 | p2 p3", 0, 0},
    {"no_nodes", "", "4", "counts of nodes", 1, 1},
    {"a_letter", "1,x", "4,1", "counts of nodes", 1, 3},
    {"a_blank", "1, 3", "4,1", "counts of nodes", 1, 3},
    {"comma_at_the_end", "1,3,", "4,1", "counts of nodes", 1, 5},
    {"zero_nodes", "1,0", "4,1", "counts of nodes", 1, 4},
    {"negative", "-1", "4", "counts of nodes", 1, 1},
    {"too_many_nodes", "1,1048577", "4,1", "counts of nodes", 1, 10},
    {"count_of_30_digits", "1,100000000000000000000000000000", "4,1", "counts of nodes", 1, 11},
    {"fewer_below", "4,2", "4,1", "at least as many nodes", 1, 3},
    {"too_few_tokens", "1,3", "4", "as many token counts", 2, 2},
    {"too_many_tokens", "1,3", "4,1,1", "as many token counts", 2, 6},
    {"zero_tokens", "1,3", "4,0", "counts of tokens", 2, 4},
    {"bar_between_nodes", "1|2,3", "4,1", "counts of nodes", 1, 2},
    {"bar_at_the_end", "1,3", "4,1|", "counts of tokens", 2, 5},
    {"more_lengths_than_nodes", "1,2", "4,1|2|3", "at most as many lengths as the level has nodes", 2, 7},
    {"tokens_beyond_limit", "1,3", "4,1073741825", "counts of tokens", 2, 13},
};

static void run_levels(const void *argument)
{
    const level_case *c = argument;
    workload *w = NULL;
    kv_text_error error = {0, 0, ""};
    kv_status status = workload_levels(&w, c->nodes, c->tokens, &error);
    if (c->line == 0) {
        expect_operations(status, w, c->expected);
        return;
    }
    check(status == KV_FORMAT && !w, "refused, status %d", status);
    check(error.line == c->line && error.column == c->column, "error at %u:%u, got %u:%u", c->line, c->column,
          error.line, error.column);
    check(strstr(error.message, c->expected), "'%s' in '%s'", c->expected, error.message);
    check(workload_levels(&w, c->nodes, c->tokens, NULL) == KV_FORMAT, "the same without an error to fill");
}

static void run_too_deep(const void *argument)
{
    (void)argument;
    char nodes[200] = "1";
    for (int i = 1; i < 65; i++)
        strcat(nodes, ",1");
    workload *w = NULL;
    kv_text_error error = {0, 0, ""};
    check(workload_levels(&w, nodes, nodes, &error) == KV_FORMAT && strstr(error.message, "64 levels"), "65 levels");
    check(workload_levels(&w, "1,1", "1073741824,1", &error) == KV_RANGE, "a path beyond the limit");
}

/* Hand-written lists, in the letters of print_operations. */
typedef struct check_case {
    const char *name;
    workload_operation operations[6];
    uint32_t num_operations, wrong;
    kv_status status;
    const char *message;
} check_case;

#define C(b) {WORKLOAD_CREATE, b, 0}
#define F(b, p) {WORKLOAD_FORK, b, p}
#define A(b, n) {WORKLOAD_APPEND, b, n}
#define D(b) {WORKLOAD_DECODE, b, 0}
#define Q(b) {WORKLOAD_QUERY, b, 0}
#define T(b, n) {WORKLOAD_TRUNCATE, b, n}
#define O(b, w) {WORKLOAD_ADOPT, b, w}
#define P(b) {WORKLOAD_PRUNE, b, 0}
#define S {WORKLOAD_STEP, 0, 0}

static const check_case check_cases[] = {
    {"empty_list", {C(0)}, 0, 0, KV_OK, ""},
    {"step_without_queries", {S, S}, 2, 0, KV_OK, ""},
    {"names_count_up", {C(1)}, 1, 0, KV_INVAL, "the next name is 0, not 1"},
    {"name_again", {C(0), P(0), C(0)}, 3, 2, KV_INVAL, "the next name is 1"},
    {"fork_of_the_unborn", {C(0), F(1, 7)}, 2, 1, KV_INVAL, "branch 7 does not live"},
    {"fork_of_itself", {C(0), F(1, 1)}, 2, 1, KV_INVAL, "branch 1 does not live"},
    {"fork_of_the_dead", {C(0), P(0), F(1, 0)}, 3, 2, KV_INVAL, "branch 0 does not live"},
    {"append_to_the_dead", {C(0), P(0), A(0, 1)}, 3, 2, KV_INVAL, "branch 0 does not live"},
    {"prune_twice", {C(0), P(0), P(0)}, 3, 2, KV_INVAL, "branch 0 does not live"},
    {"decode_twice", {C(0), D(0), D(0), S}, 4, 2, KV_INVAL, "touched between DECODE or QUERY and STEP"},
    {"query_twice", {C(0), A(0, 1), Q(0), Q(0), S}, 5, 3, KV_INVAL, "touched between"},
    {"query_then_decode", {C(0), A(0, 1), Q(0), D(0), S}, 5, 3, KV_INVAL, "touched between"},
    {"query_of_an_empty_branch", {C(0), Q(0), S}, 3, 1, KV_INVAL, "no token to ask at"},
    {"fork_between_decode_and_step", {C(0), D(0), F(1, 0), S}, 4, 2, KV_INVAL, "touched between"},
    {"prune_between_decode_and_step", {C(0), D(0), P(0), S}, 4, 2, KV_INVAL, "touched between"},
    {"prune_between_query_and_step", {C(0), A(0, 1), Q(0), P(0), S}, 5, 3, KV_INVAL, "touched between"},
    {"append_between_query_and_step", {C(0), A(0, 1), Q(0), A(0, 1), S}, 5, 3, KV_INVAL, "touched between"},
    {"truncate_between_query_and_step", {C(0), A(0, 1), Q(0), T(0, 0), S}, 5, 3, KV_INVAL, "touched between"},
    {"fork_between_query_and_step", {C(0), A(0, 1), Q(0), F(1, 0), S}, 5, 3, KV_INVAL, "touched between"},
    {"adopt_by_who_asks", {C(0), A(0, 1), F(1, 0), Q(0), O(0, 1), S}, 6, 4, KV_INVAL, "branch 0 is touched between"},
    {"adopt_of_who_asks", {C(0), A(0, 1), F(1, 0), Q(1), O(0, 1), S}, 6, 4, KV_INVAL, "branch 1 is touched between"},
    {"query_in_every_step", {C(0), A(0, 1), Q(0), S, Q(0), S}, 6, 0, KV_OK, ""},
    {"query_without_step", {C(0), A(0, 1), Q(0)}, 3, 2, KV_INVAL, "waits for a STEP"},
    {"decode_in_every_step", {C(0), D(0), S, D(0), S, P(0)}, 6, 0, KV_OK, ""},
    {"decode_without_step", {C(0), D(0)}, 2, 1, KV_INVAL, "waits for a STEP"},
    {"truncate_beyond", {C(0), A(0, 3), T(0, 4)}, 3, 2, KV_RANGE, "branch 0 has 3 tokens"},
    {"truncate_to_all", {C(0), A(0, 3), T(0, 3), P(0)}, 4, 0, KV_OK, ""},
    {"adopt_itself", {C(0), O(0, 0)}, 2, 1, KV_INVAL, "adopts itself"},
    {"adopted_is_dead", {C(0), F(1, 0), O(0, 1), A(1, 1)}, 4, 3, KV_INVAL, "branch 1 does not live"},
    {"length_beyond_limit", {C(0), A(0, KV_MAX_LENGTH), A(0, 1)}, 3, 2, KV_RANGE, "pass 1073741824 tokens"},
};

static void run_check(const void *argument)
{
    const check_case *c = argument;
    workload *w = workload_create();
    for (uint32_t i = 0; i < c->num_operations; i++) {
        const workload_operation *o = &c->operations[i];
        if (o->kind == WORKLOAD_CREATE)
            workload_add_create(w, NULL);
        else if (o->kind == WORKLOAD_FORK)
            workload_add_fork(w, o->value, NULL);
        else
            workload_add(w, o->kind, o->branch, o->value);
        w->operations[i] = *o;
    }
    uint32_t operation = 99;
    char message[120] = "";
    kv_status status = workload_check(w, &operation, message, sizeof message);
    check(status == c->status, "status %d, got %d %s", c->status, status, message);
    check(status == KV_OK || operation == c->wrong, "operation %u, got %u", c->wrong, operation);
    check(strstr(message, c->message), "'%s' in '%s'", c->message, message);
    workload_destroy(w);
}

static void run_labels(const void *argument)
{
    (void)argument;
    workload *w = workload_create();
    for (uint32_t i = 0; i < 100; i++) {
        char label[20];
        snprintf(label, sizeof label, "branch %u", i);
        check(workload_add_create(w, i % 3 ? label : NULL) == i, "names count up");
    }
    for (uint32_t i = 0; i < 100; i++) {
        char label[20];
        snprintf(label, sizeof label, "branch %u", i);
        check(strcmp(workload_label(w, i), i % 3 ? label : "") == 0, "label of %u is %s", i, workload_label(w, i));
    }
    check(strcmp(workload_label(w, 100), "") == 0, "no label beyond the branches");
    workload_destroy(w);
}

static void run_token_limit(const void *argument)
{
    (void)argument;
    workload *w = workload_create();
    for (uint32_t i = 0; i < 4; i++)
        workload_add(w, WORKLOAD_APPEND, workload_add_create(w, NULL), KV_MAX_LENGTH);
    check(w->status == KV_RANGE, "2^32 tokens are one too many for token ids, status %d", w->status);
    uint32_t count = w->num_operations;
    workload_add(w, WORKLOAD_STEP, 0, 0);
    check(w->num_operations == count, "after a failure nothing is added");
    check(workload_check(w, NULL, NULL, 0) == KV_RANGE, "the check reports it");
    workload_destroy(w);
}

static void run_random(const void *argument)
{
    (void)argument;
    uint32_t kinds[WORKLOAD_NUM_KINDS] = {0};
    for (uint64_t seed = 0; seed < 200; seed++) {
        workload_random_config config = {seed, 20, 1 + (uint32_t)seed % 9, 1 + (uint32_t)seed % 40};
        workload *w = NULL, *again = NULL;
        check(workload_random(&w, &config) == KV_OK && workload_random(&again, &config) == KV_OK, "built");
        check(w->num_steps == 20 && w->live_branches == 0, "20 steps, all pruned");
        check(w->max_live_branches <= config.max_branches, "at most %u alive", config.max_branches);
        check(w->num_operations == again->num_operations &&
              !memcmp(w->operations, again->operations, w->num_operations * sizeof *w->operations), "the same again");
        for (uint32_t i = 0; i < w->num_operations; i++)
            kinds[w->operations[i].kind]++;
        workload_destroy(w);
        workload_destroy(again);
    }
    for (uint32_t kind = 0; kind < WORKLOAD_NUM_KINDS; kind++)
        check(kinds[kind] > 0, "%s occurs", workload_kind_name[kind]);
    workload *w = NULL;
    check(workload_random(&w, &(workload_random_config){1, 1, 0, 1}) == KV_INVAL, "no branches");
    check(workload_random(&w, &(workload_random_config){1, 1, 1, 0}) == KV_INVAL, "no tokens");
    check(workload_random(&w, &(workload_random_config){1, 1, KV_MAX_BRANCHES + 1, 1}) == KV_RANGE, "too many");
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "the builders write the operations that the trace's meaning asks for");
    for (size_t i = 0; i < sizeof tree_cases / sizeof tree_cases[0]; i++)
        test_add(run_tree, &tree_cases[i], "tree_%s", tree_cases[i].name);
    test_add(run_accept, NULL, "accept_star");
    test_add(run_accept_draft, NULL, "accept_draft_tree");
    test_add(run_few_shot, NULL, "few_shot");
    for (size_t i = 0; i < sizeof level_cases / sizeof level_cases[0]; i++)
        test_add(run_levels, &level_cases[i], "levels_%s", level_cases[i].name);
    test_add(run_too_deep, NULL, "levels_too_deep_or_long");
    for (size_t i = 0; i < sizeof check_cases / sizeof check_cases[0]; i++)
        test_add(run_check, &check_cases[i], "check_%s", check_cases[i].name);
    test_add(run_labels, NULL, "labels");
    test_add(run_token_limit, NULL, "token_limit");
    test_add(run_random, NULL, "random_forests");
    return test_end();
}
