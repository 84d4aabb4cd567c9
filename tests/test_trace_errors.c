/* Claim: a wrong trace is refused with the line and column of the error and the text that was expected there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"
#include "trace.h"

static const char *const good_text[] = {
    "ttr 1 reason demo\n"
    "# a comment\n"
    "\n"
    "tree 7 0 4 5\n"
    "node 0 -1 3 -2 0\n"
    "node 1 0 2 1 2\n"
    "node 2 0 5 1 5\n"
    "node 3 1 1 3 3\n"
    "end 11 2 14\n",
    "ttr 1 draft demo\n"
    "draft 0 4 4 2\n"
    "dnode 0 -1 0\n"
    "dnode 1 0 0\n"
    "dnode 2 0 1\n"
    "dnode 3 1 0\n"
    "end 2 8\n",
    "ttr 1 accept demo\n"
    "rec one 10 1 3 2\n"
    "acc 1 2\n"
    "acc 0\n"
    "end 3\n",
};

/* Line `replaced` of the good text becomes `text`, or goes if text is NULL. */
typedef struct wrong_line {
    const char *name;
    trace_kind kind;
    uint32_t replaced;
    const char *text;
    uint32_t line, column; /* of the error */
    const char *message;   /* part of it */
} wrong_line;

static const wrong_line wrong_lines[] = {
    {"no_header", TRACE_REASON, 1, NULL, 3, 1, "expected ttr, found tree"},
    {"version_2", TRACE_REASON, 1, "ttr 2 reason demo", 1, 5, "version from 1 to 1"},
    {"unknown_kind", TRACE_REASON, 1, "ttr 1 forest demo", 1, 7, "reason, draft or accept, found forest"},
    {"kind_missing", TRACE_REASON, 1, "ttr 1", 1, 6, "reason, draft or accept, found the end of the line"},
    {"name_missing", TRACE_REASON, 1, "ttr 1 reason", 1, 13, "expected a name"},
    {"name_too_long", TRACE_REASON, 1, "ttr 1 reason 1234567890123456789012345678901234567890123456789012345678901234",
     1, 14, "less than 64 bytes"},
    {"header_goes_on", TRACE_REASON, 1, "ttr 1 reason demo 5", 1, 18, "end of the line"},
    {"other_kinds_record", TRACE_REASON, 4, "draft 0 4 4 2", 4, 1, "expected tree, found draft"},
    {"unknown_word", TRACE_REASON, 6, "nod 1 0 2 1 2", 6, 1, "expected node, found nod"},
    {"unprintable_word", TRACE_REASON, 6, "no\x01\xff 1 0 2 1 2", 6, 1, "found no??"},
    {"leading_blank", TRACE_REASON, 6, " node 1 0 2 1 2", 6, 1, "expected node, found a blank"},
    {"two_blanks", TRACE_REASON, 6, "node 1 0  2 1 2", 6, 10, "TOKENS from 0 to 1073741824, found a blank"},
    {"trailing_blank", TRACE_REASON, 6, "node 1 0 2 1 2 ", 6, 15, "end of the line"},
    {"tab_between", TRACE_REASON, 6, "node 1 0\t2 1 2", 6, 8, "PARENT"},
    {"carriage_return_twice", TRACE_REASON, 6, "node 1 0 2 1 2\r\r", 6, 15, "newline after the carriage return"},
    {"carriage_return_inside", TRACE_REASON, 6, "node 1 0\r 2 1 2", 6, 9, "newline after the carriage return"},
    {"carriage_return_in_a_comment", TRACE_REASON, 2, "# a\rb", 2, 4, "newline after the carriage return"},
    {"byte_order_mark_inside", TRACE_REASON, 4, "\xef\xbb\xbftree 7 0 4 5", 4, 1, "tree, found a byte-order mark"},
    {"byte_order_mark_twice", TRACE_REASON, 1, "\xef\xbb\xbf\xef\xbb\xbfttr 1 reason demo", 1, 1,
     "ttr, found a byte-order mark"},
    {"byte_order_mark_of_utf_16", TRACE_REASON, 1, "\xff\xfettr 1 reason demo", 1, 1, "byte-order mark of UTF-16"},
    {"stray_field", TRACE_REASON, 6, "node 1 0 2 1 2 9", 6, 15, "end of the line"},
    {"field_missing", TRACE_REASON, 6, "node 1 0 2 1", 6, 13, "END from 0"},
    {"id_skipped", TRACE_REASON, 6, "node 2 0 2 1 2", 6, 6, "ID 1 (they count up), found 2"},
    {"id_again", TRACE_REASON, 7, "node 1 0 5 1 5", 7, 6, "ID 2 (they count up), found 1"},
    {"parent_is_itself", TRACE_REASON, 6, "node 1 1 2 1 2", 6, 8, "a PARENT before node 1, from 0 to 0, found 1"},
    {"parent_comes_later", TRACE_REASON, 6, "node 1 3 2 1 2", 6, 8, "a PARENT before node 1"},
    {"cycle", TRACE_REASON, 7, "node 2 3 5 1 5", 7, 8, "a PARENT before node 2, from 0 to 1, found 3"},
    {"parent_negative", TRACE_REASON, 6, "node 1 -1 2 1 2", 6, 8, "a PARENT before node 1"},
    {"root_has_parent", TRACE_REASON, 5, "node 0 0 3 -2 0", 5, 8, "PARENT -1 for the root"},
    {"tokens_negative", TRACE_REASON, 6, "node 1 0 -2 1 2", 6, 10, "TOKENS from 0 to 1073741824, found -2"},
    {"tokens_beyond_limit", TRACE_REASON, 6, "node 1 0 1073741825 1 2", 6, 10, "TOKENS from 0 to 1073741824"},
    {"tokens_beyond_64_bits", TRACE_REASON, 6, "node 1 0 18446744073709551618 1 2", 6, 10, "TOKENS from 0"},
    {"tokens_hexadecimal", TRACE_REASON, 6, "node 1 0 0x2 1 2", 6, 10, "TOKENS from 0 to 1073741824, found 0x2"},
    {"tokens_with_plus", TRACE_REASON, 6, "node 1 0 +2 1 2", 6, 10, "TOKENS from 0 to 1073741824, found +2"},
    {"tokens_with_fraction", TRACE_REASON, 6, "node 1 0 2.0 1 2", 6, 10, "TOKENS from 0 to 1073741824, found 2.0"},
    {"tokens_differ_from_span", TRACE_REASON, 6, "node 1 0 3 1 2", 6, 14, "END 3, as TOKENS = END - START + 1"},
    {"end_off_by_one", TRACE_REASON, 6, "node 1 0 2 1 3", 6, 14, "END 2, as TOKENS = END - START + 1, found 3"},
    {"start_before_parents_end", TRACE_REASON, 8, "node 3 1 1 2 2", 8, 12, "START 3, the parent's END + 1, found 2"},
    {"start_after_parents_end", TRACE_REASON, 8, "node 3 1 1 4 4", 8, 12, "START 3, the parent's END + 1, found 4"},
    {"root_starts_at_0", TRACE_REASON, 5, "node 0 -1 3 0 2", 5, 13, "START -2, 1 - TOKENS for the root, found 0"},
    {"minus_alone", TRACE_REASON, 5, "node 0 - 3 -2 0", 5, 8, "PARENT -1 for the root"},
    {"path_beyond_limit", TRACE_REASON, 6, "node 1 0 1073741824 1 1073741824", 6, 1, "at most 1073741824 tokens"},
    {"fewer_nodes_than_declared", TRACE_REASON, 8, NULL, 8, 1, "expected node, found end"},
    {"more_nodes_than_declared", TRACE_REASON, 4, "tree 7 0 3 5", 8, 1, "expected end, found node"},
    {"nodes_huge", TRACE_REASON, 4, "tree 7 0 1048577 5", 4, 10, "NODES from 1 to 1048576, found 1048577"},
    {"nodes_at_limit_but_absent", TRACE_REASON, 4, "tree 7 0 1048576 5", 9, 1, "expected node, found end"},
    {"nodes_0", TRACE_REASON, 4, "tree 7 0 0 5", 4, 10, "NODES from 1"},
    {"ordinal_minus_2", TRACE_REASON, 4, "tree 7 -2 4 5", 4, 8, "ORDINAL from -1"},
    {"source_negative", TRACE_REASON, 4, "tree -7 0 4 5", 4, 6, "SRC from 0"},
    {"iterations_wrong", TRACE_REASON, 4, "tree 7 0 4 6", 4, 12, "ITERS 5, the largest END, found 6"},
    {"sum_of_tokens_wrong", TRACE_REASON, 9, "end 12 2 14", 9, 5, "TOKENS 11, as counted, found 12"},
    {"sum_of_tokens_beyond_64_bits", TRACE_REASON, 9, "end 18446744073709551627 2 14", 9, 5, "TOKENS from 0"},
    {"sum_of_leaves_wrong", TRACE_REASON, 9, "end 11 3 14", 9, 8, "LEAVES 2, as counted, found 3"},
    {"sum_of_paths_wrong", TRACE_REASON, 9, "end 11 2 13", 9, 10, "PATHS 14, as counted, found 13"},
    {"sums_go_on", TRACE_REASON, 9, "end 11 2 14 1", 9, 12, "end of the line"},
    {"end_missing", TRACE_REASON, 9, NULL, 9, 1, "expected end TOKENS LEAVES PATHS, found the end of the file"},
    {"tree_missing", TRACE_REASON, 4, NULL, 4, 1, "expected tree, found node"},
    {"draft_parent_later", TRACE_DRAFT, 4, "dnode 1 2 0", 4, 9, "a PARENT before node 1"},
    {"draft_rank_negative", TRACE_DRAFT, 5, "dnode 2 0 -1", 5, 11, "RANK from 0"},
    {"draft_node_instead", TRACE_DRAFT, 5, "node 2 0 1", 5, 1, "expected dnode, found node"},
    {"draft_depth_wrong", TRACE_DRAFT, 2, "draft 0 4 4 3", 2, 13, "DEPTH 2, as counted, found 3"},
    {"draft_leaves_wrong", TRACE_DRAFT, 7, "end 3 8", 7, 5, "LEAVES 2"},
    {"draft_pairs_wrong", TRACE_DRAFT, 7, "end 2 9", 7, 7, "PAIRS 8, as counted, found 9"},
    {"draft_end_missing", TRACE_DRAFT, 7, NULL, 7, 1, "end LEAVES PAIRS"},
    {"accept_length_negative", TRACE_ACCEPT, 3, "acc 1 -2", 3, 7, "a length from 0"},
    {"accept_length_huge", TRACE_ACCEPT, 3, "acc 1 65537", 3, 7, "a length from 0 to 65536"},
    {"accept_no_length", TRACE_ACCEPT, 4, "acc", 4, 4, "a length"},
    {"accept_too_many", TRACE_ACCEPT, 4, "acc 0 0", 4, 6, "STEPS is 3"},
    {"accept_too_few", TRACE_ACCEPT, 4, NULL, 4, 1, "expected acc, found end"},
    {"accept_steps_0", TRACE_ACCEPT, 2, "rec one 10 1 0 0", 2, 14, "STEPS from 1"},
    {"accept_recorded_beyond_steps", TRACE_ACCEPT, 2, "rec one 10 1 3 4", 2, 16, "at most STEPS"},
    {"accept_exact_2", TRACE_ACCEPT, 2, "rec one 10 2 3 2", 2, 12, "EXACT from 0 to 1"},
    {"accept_sum_wrong", TRACE_ACCEPT, 5, "end 4", 5, 5, "SUM 3, as counted, found 4"},
    {"accept_name_missing", TRACE_ACCEPT, 2, "rec", 2, 4, "expected a name"},
    {"accept_name_unprintable", TRACE_ACCEPT, 2, "rec o\x7f! 10 1 3 2", 2, 6, "printable"},
};

/* The good text with one line replaced; freed by the caller. */
static char *with_line(const char *text, uint32_t replaced, const char *replacement)
{
    char *result = malloc(strlen(text) + (replacement ? strlen(replacement) : 0) + 2);
    char *out = result;
    for (uint32_t line = 1; *text; line++) {
        size_t length = strcspn(text, "\n");
        if (line != replaced)
            out += sprintf(out, "%.*s\n", (int)length, text);
        else if (replacement)
            out += sprintf(out, "%s\n", replacement);
        text += length + 1;
    }
    *out = 0;
    return result;
}

static void refused(const char *text, size_t length, kv_status status, uint32_t line, uint32_t column, const char *part)
{
    trace *t = NULL;
    trace_error error = {.line = 12345};
    kv_status got = trace_read(&t, text, length, "demo.ttr", &error);
    check(got == status, "status %d, got %d", status, got);
    check(t == NULL, "the result is untouched");
    check(error.line == line && error.column == column, "error at %u:%u, got %u:%u %s", line, column, error.line,
          error.column, error.message);
    check(strstr(error.message, part), "'%s' in '%s'", part, error.message);
    check(strcmp(error.file, "demo.ttr") == 0, "the file is named");
    check(trace_read(&t, text, length, "demo.ttr", NULL) == status, "the same without an error to fill");
}

/* As an editor of another system saves it: a byte-order mark, if wanted, and CRLF; freed by the caller. */
static char *saved_elsewhere(const char *text, bool marked)
{
    char *result = malloc(2 * strlen(text) + 4), *out = result;
    out += sprintf(out, "%s", marked ? "\xef\xbb\xbf" : "");
    for (; *text; *out++ = *text++)
        if (*text == '\n')
            *out++ = '\r';
    *out = 0;
    return result;
}

static void run_wrong_line(const void *argument)
{
    const wrong_line *c = argument;
    char *text = with_line(good_text[c->kind], c->replaced, c->text);
    refused(text, strlen(text), KV_FORMAT, c->line, c->column, c->message);
    char *elsewhere = saved_elsewhere(text, false); /* what is wrong stays where it is */
    refused(elsewhere, strlen(elsewhere), KV_FORMAT, c->line, c->column, c->message);
    free(elsewhere);
    free(text);
}

static void expect_good(const trace_kind *kind, const char *text)
{
    trace *t = NULL;
    trace_error error;
    check(trace_read(&t, text, strlen(text), "demo.ttr", &error) == KV_OK, "accepted, got %s", error.message);
    check(t->kind == *kind && !strcmp(t->name, "demo"), "kind %d, name %s", t->kind, t->name);
    check(t->num_trees + t->num_drafts + t->num_accepts == 1, "one part");
    if (*kind == TRACE_REASON) {
        const trace_tree *tree = trace_find(t, 0);
        check(tree && tree->source == 7 && tree->num_nodes == 4 && tree->last_iteration == 5, "tree");
        check(tree->num_tokens == 11 && tree->num_leaves == 2 && tree->path_tokens == 14, "sums");
        const trace_node *root = &tree->nodes[0], *last = &tree->nodes[3];
        check(root->parent == TRACE_NONE && root->num_tokens == 3 && root->start == -2 && root->end == 0, "root");
        check(last->parent == 1 && last->num_tokens == 1 && last->start == 3 && last->end == 3, "node 3");
    } else if (*kind == TRACE_DRAFT) {
        const trace_draft *draft = trace_find_draft(t, 4);
        check(draft && draft->num_nodes == 4 && draft->num_leaves == 2 && draft->depth == 2, "draft tree");
        check(draft->num_pairs == 8 && draft->parent[0] == TRACE_NONE && draft->parent[3] == 1, "parents");
        check(draft->rank[0] == 0 && draft->rank[2] == 1, "ranks");
    } else {
        const trace_accept *accept = trace_find_accept(t, "one");
        check(accept && accept->prompt_tokens == 10 && accept->exact && accept->num_steps == 3, "record");
        check(accept->num_recorded == 2 && accept->num_tokens == 3, "counts");
        check(accept->accepted[0] == 1 && accept->accepted[1] == 2 && accept->accepted[2] == 0, "lengths");
    }
    trace_destroy(t);
}

static void run_good(const void *argument)
{
    const trace_kind *kind = argument;
    expect_good(kind, good_text[*kind]);
}

static void run_saved_elsewhere(const void *argument)
{
    const trace_kind *kind = argument;
    for (int marked = 0; marked < 2; marked++) {
        char *text = saved_elsewhere(good_text[*kind], marked);
        expect_good(kind, text);
        free(text);
    }
    char marked[512];
    snprintf(marked, sizeof marked, "\xef\xbb\xbf%s", good_text[*kind]);
    expect_good(kind, marked);
}

/* Of each kind, bytes in front of the first line: half a mark, UTF-16 of both orders. */
static void run_marks(const void *argument)
{
    (void)argument;
    static const char *const mark[] = {"\xef\xbb", "\xef", "\xff\xfe", "\xfe\xff"};
    for (int i = 0; i < 4; i++) {
        char text[512];
        snprintf(text, sizeof text, "%s%s", mark[i], good_text[0]);
        refused(text, strlen(text), KV_FORMAT, 1, 1, i < 2 ? "expected ttr, found ?" : "mark of UTF-16");
        refused(mark[i], strlen(mark[i]), KV_FORMAT, 1, i < 2 ? (uint32_t)strlen(mark[i]) + 1 : 1,
                i < 2 ? "it was cut" : "mark of UTF-16");
    }
    refused("ttr 1 reason demo\rtree 7 0 4 5\r", 30, KV_FORMAT, 1, 18, "newline after the carriage return");
}

static void run_stream(const void *argument)
{
    const trace_kind *kind = argument;
    FILE *stream = tmpfile();
    trace *t = NULL;
    check(stream && fputs(good_text[*kind], stream) >= 0, "a file of the good text");
    rewind(stream);
    check(trace_read_stream(&t, stream, "standard input", NULL) == KV_OK && t->kind == *kind, "read");
    trace_destroy(t);
    t = NULL;
    trace_error error;
    check(trace_read_stream(&t, stream, "standard input", &error) == KV_FORMAT && !t, "its end is an empty file");
    check(error.line == 1 && !strcmp(error.file, "standard input"), "the name is for messages");
    fclose(stream);
}

static void run_endless_stream(const void *argument)
{
    (void)argument;
    FILE *stream = fopen("/dev/zero", "rb");
    if (!stream)
        test_skip("no /dev/zero");
    trace *t = NULL;
    trace_error error;
    check(trace_read_stream(&t, stream, "zeros", &error) == KV_RANGE && !t, "refused");
    check(strstr(error.message, "at most 67108864 bytes"), "got '%s'", error.message);
    fclose(stream);
}

/* The first of several that fit; a name is not its beginning, and an unfinished tree (-1) has no name. */
static void run_find(const void *argument)
{
    (void)argument;
    const char *trees = "ttr 1 reason x\ntree 5 -1 1 0\nnode 0 -1 1 0 0\nend 1 1 1\n"
                        "tree 6 3 1 0\nnode 0 -1 1 0 0\nend 1 1 1\ntree 7 3 1 0\nnode 0 -1 1 0 0\nend 1 1 1\n";
    const char *accepts = "ttr 1 accept x\nrec one-b 1 1 1 1\nacc 1\nend 1\nrec one 2 1 1 1\nacc 1\nend 1\n";
    trace *t = NULL;
    check(trace_read(&t, trees, strlen(trees), "demo.ttr", NULL) == KV_OK && t->num_trees == 3, "three trees");
    check(trace_find(t, 3) && trace_find(t, 3)->source == 6, "the first of ordinal 3");
    check(!trace_find(t, -1) && !trace_find(t, 4), "none of ordinal -1 or 4");
    trace_destroy(t);
    check(trace_read(&t, accepts, strlen(accepts), "demo.ttr", NULL) == KV_OK && t->num_accepts == 2, "two records");
    check(trace_find_accept(t, "one") && trace_find_accept(t, "one")->prompt_tokens == 2, "the whole name");
    check(!trace_find_accept(t, "on") && !trace_find_accept(t, ""), "and no other");
    trace_destroy(t);
}

static void run_long_line(const void *argument)
{
    (void)argument;
    char line[162];
    memset(line, 'x', sizeof line);
    line[0] = '#';
    line[160] = 0;
    char *text = with_line(good_text[0], 2, line);
    trace *t = NULL;
    check(trace_read(&t, text, strlen(text), "demo.ttr", NULL) == KV_OK, "160 bytes are accepted");
    trace_destroy(t);
    char *elsewhere = saved_elsewhere(text, true);
    check(trace_read(&t, elsewhere, strlen(elsewhere), "demo.ttr", NULL) == KV_OK, "a CRLF is not among them");
    trace_destroy(t);
    free(elsewhere);
    free(text);
    line[160] = 'x';
    line[161] = 0;
    text = with_line(good_text[0], 2, line);
    refused(text, strlen(text), KV_FORMAT, 2, 161, "at most 160 bytes");
    free(text);
}

static void run_acc_of_51(const void *argument)
{
    (void)argument;
    char text[400];
    size_t used = (size_t)sprintf(text, "ttr 1 accept demo\nrec one 10 1 51 0\nacc");
    for (int i = 0; i < 51; i++)
        used += (size_t)sprintf(text + used, " 1");
    used += (size_t)sprintf(text + used, "\nend 51\n");
    refused(text, used, KV_FORMAT, 3, 104, "at most 50 lengths");
}

static void run_nul_byte(const void *argument)
{
    (void)argument;
    char text[200];
    size_t length = strlen(good_text[0]);
    memcpy(text, good_text[0], length);
    text[length - 2] = 0; /* in the last number */
    refused(text, length, KV_FORMAT, 9, 10, "PATHS");
}

static void run_empty(const void *argument)
{
    const char *text = argument;
    refused(text, strlen(text), KV_FORMAT, text[0] ? 2 : 1, 1, "ttr 1 KIND NAME, found the end of the file");
}

static void run_no_tree(const void *argument)
{
    (void)argument;
    const char *text = "ttr 1 reason demo\n";
    refused(text, strlen(text), KV_FORMAT, 2, 1, "expected tree, found the end of the file");
}

/* Accepted: the whole text, and the text up to the `end` of a tree with what comments follow. Nothing else. */
static void run_cut(const void *argument)
{
    const trace_kind *kind = argument;
    static const char *const begin[] = {"tree", "draft 0", "rec"};
    const char *one = good_text[*kind], *second = strstr(one, begin[*kind]);
    check(second, "the text has a part to repeat");
    char text[512];
    int length = snprintf(text, sizeof text, "%s# between\n%s", one, second);
    size_t first_end = strlen(one), comment_end = first_end + strlen("# between\n");
    uint32_t accepted = 0;
    for (size_t cut = 0; cut <= (size_t)length; cut++) {
        char *copy = malloc(cut + 1); /* the exact size: a sanitizer sees a read beyond it */
        memcpy(copy, text, cut);
        trace *t = NULL;
        trace_error error = {.line = 0};
        kv_status status = trace_read(&t, copy, cut, "demo.ttr", &error);
        bool whole = cut == first_end || cut == comment_end || cut == (size_t)length;
        check(status == (whole ? KV_OK : KV_FORMAT), "cut after %zu of %d bytes: status %d", cut, length, status);
        check(whole || error.line > 0, "cut after %zu bytes: the line is named", cut);
        accepted += status == KV_OK;
        trace_destroy(t);
        free(copy);
    }
    check(accepted == 3, "three ways to be whole, got %u", accepted);
    test_note("bytes=%d accepted=%u", length, accepted);
}

/* Random bytes written over a good text: read or refused, never worse. */
static void run_damaged(const void *argument)
{
    const trace_kind *kind = argument;
    static const char alphabet[] = "0123456789 -\nxtreend#\xff";
    char text[512];
    size_t length = strlen(good_text[*kind]);
    uint32_t accepted = 0;
    for (int i = 0; i < 20000; i++) {
        memcpy(text, good_text[*kind], length);
        for (uint32_t n = 1 + test_below(3); n > 0; n--)
            text[test_below((uint32_t)length)] = alphabet[test_below(sizeof alphabet)];
        trace *t = NULL;
        trace_error error = {.line = 0};
        kv_status status = trace_read(&t, text, length, "demo.ttr", &error);
        check(status == KV_OK || (status == KV_FORMAT && error.line > 0), "round %d: status %d", i, status);
        accepted += status == KV_OK;
        trace_destroy(t);
    }
    check(accepted < 20000, "some damage is noticed");
    test_note("accepted=%u of 20000", accepted);
}

static void run_no_file(const void *argument)
{
    const char *file = argument;
    trace *t = NULL;
    trace_error error = {.line = 7};
    check(trace_read_file(&t, file, &error) == KV_INVAL && !t, "a file that cannot be read is KV_INVAL");
    check(error.line == 0 && error.file == file && strstr(error.message, "can be read"), "got '%s'", error.message);
}

static void run_huge_text(const void *argument)
{
    (void)argument;
    size_t length = (size_t)TRACE_MAX_BYTES + 1;
    char *text = malloc(length);
    if (!text)
        test_skip("no memory for %zu bytes", length);
    memset(text, '\n', length);
    refused(text, length, KV_RANGE, 0, 0, "at most 67108864 bytes");
    free(text);
}

int main(int argc, char **argv)
{
    static const trace_kind kinds[] = {TRACE_REASON, TRACE_DRAFT, TRACE_ACCEPT};
    static const char *const kind_name[] = {"reason", "draft", "accept"};
    test_begin(argc, argv, "a wrong trace is refused at the line and column where it is wrong");
    for (int k = 0; k < 3; k++)
        test_add(run_good, &kinds[k], "good_%s", kind_name[k]);
    for (int k = 0; k < 3; k++)
        test_add(run_saved_elsewhere, &kinds[k], "crlf_and_byte_order_mark_%s", kind_name[k]);
    for (int k = 0; k < 3; k++)
        test_add(run_stream, &kinds[k], "stream_%s", kind_name[k]);
    test_add(run_endless_stream, NULL, "endless_stream");
    test_add(run_marks, NULL, "byte_order_marks_that_are_none");
    for (size_t i = 0; i < sizeof wrong_lines / sizeof wrong_lines[0]; i++)
        test_add(run_wrong_line, &wrong_lines[i], "%s", wrong_lines[i].name);
    test_add(run_find, NULL, "find_by_ordinal_and_name");
    test_add(run_long_line, NULL, "long_line");
    test_add(run_acc_of_51, NULL, "acc_of_51_lengths");
    test_add(run_nul_byte, NULL, "nul_byte");
    test_add(run_empty, "", "empty_file");
    test_add(run_empty, "# only a comment\n", "comment_only");
    test_add(run_no_tree, NULL, "header_only");
    for (int k = 0; k < 3; k++)
        test_add(run_cut, &kinds[k], "cut_at_every_byte_%s", kind_name[k]);
    for (int k = 0; k < 3; k++)
        test_add(run_damaged, &kinds[k], "damaged_%s", kind_name[k]);
    test_add(run_no_file, "no/such/file.ttr", "file_absent");
    test_add(run_no_file, ".", "file_is_a_folder");
    test_add(run_huge_text, NULL, "text_beyond_64_mib");
    return test_end();
}
