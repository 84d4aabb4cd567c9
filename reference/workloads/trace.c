/* trace: see trace.h. A cursor walks the lines, a record at a time; three small state machines build the kinds. */
#include "trace.h"

#include <assert.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv_text_internal.h"

enum { MAX_LINE = 160, MAX_ACCEPTED = 1 << 16, MAX_ACC_FIELDS = 50 };

typedef struct reader {
    const char *text;
    size_t length;
    size_t next;       /* where the line after this one starts */
    size_t begin, end; /* this line, its newline excluded */
    size_t at;         /* next byte of this line */
    uint32_t line;
    const char *file;
    trace_error *error;
    kv_status status;
} reader;

/* --- errors ------------------------------------------------------------------------------------------------------- */

static bool fail_at(reader *r, uint32_t line, size_t column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static bool fail_at(reader *r, uint32_t line, size_t column, const char *format, ...)
{
    r->status = KV_FORMAT;
    if (r->error) {
        va_list arguments;
        va_start(arguments, format);
        r->error->file = r->file;
        r->error->line = line;
        r->error->column = (uint32_t)column;
        vsnprintf(r->error->message, sizeof r->error->message, format, arguments);
        va_end(arguments);
    }
    return false;
}

/* The word at byte `at` as a message may show it: short, and printable whatever the file holds. */
typedef struct shown_word {
    char text[28];
} shown_word;

static shown_word show_word(const reader *r, size_t at)
{
    shown_word shown;
    size_t n = 0;
    if (kv_text_has_utf8_mark(r->text, r->length, at))
        return (shown_word){"a byte-order mark"};
    while (at < r->end && r->text[at] != ' ' && n < sizeof shown.text - 1) {
        unsigned char byte = (unsigned char)r->text[at++];
        shown.text[n++] = byte > 0x20 && byte < 0x7f ? (char)byte : '?';
    }
    shown.text[n] = 0;
    if (n == 0)
        strcpy(shown.text, at < r->end ? "a blank" : "the end of the line");
    return shown;
}

static bool fail_word(reader *r, size_t at, const char *expected)
{
    shown_word shown = show_word(r, at);
    return fail_at(r, r->line, at - r->begin + 1, "expected %s, found %s", expected, shown.text);
}

static bool no_memory(reader *r)
{
    r->status = KV_NOMEM;
    return false;
}

/* --- lines and fields --------------------------------------------------------------------------------------------- */

static bool step_line(reader *r)
{
    if (r->next >= r->length)
        return false;
    const char *newline = memchr(r->text + r->next, '\n', r->length - r->next);
    r->begin = r->at = r->next;
    r->end = newline ? (size_t)(newline - r->text) : r->length;
    r->next = r->end + 1;
    r->line++;
    if (newline && r->end > r->begin && r->text[r->end - 1] == '\r') /* CRLF */
        r->end--;
    const char *stray = memchr(r->text + r->begin, '\r', r->end - r->begin);
    if (stray)
        return fail_at(r, r->line, (size_t)(stray - r->text) - r->begin + 1,
                       "expected a newline after the carriage return");
    if (r->end - r->begin > MAX_LINE)
        return fail_at(r, r->line, MAX_LINE + 1, "expected at most %d bytes in a line", MAX_LINE);
    if (!newline)
        return fail_at(r, r->line, r->end - r->begin + 1, "expected a newline at the end of the file: it was cut");
    return true;
}

/* Moves to the next record. False at the end of the file and on error: r->status tells which. */
static bool next_record(reader *r)
{
    while (step_line(r))
        if (r->begin < r->end && r->text[r->begin] != '#')
            return true;
    return false;
}

static bool need_record(reader *r, const char *expected)
{
    if (next_record(r))
        return true;
    if (r->status == KV_OK)
        fail_at(r, r->line + 1, 1, "expected %s, found the end of the file", expected);
    return false;
}

/* Length of the word at r->at. */
static size_t word_length(const reader *r)
{
    size_t end = r->at;
    while (end < r->end && r->text[end] != ' ')
        end++;
    return end - r->at;
}

static bool is_word(const reader *r, const char *word)
{
    return word_length(r) == strlen(word) && memcmp(r->text + r->at, word, strlen(word)) == 0;
}

/* The record begins with this word. */
static bool expect_word(reader *r, const char *word)
{
    if (!is_word(r, word))
        return fail_word(r, r->at, word);
    r->at += strlen(word);
    return true;
}

/* Steps over the one blank that separates fields. */
static bool next_field(reader *r, const char *expected)
{
    if (r->at >= r->end || r->text[r->at] != ' ')
        return fail_word(r, r->at, expected);
    r->at++;
    if (word_length(r) == 0)
        return fail_word(r, r->at, expected);
    return true;
}

static bool end_of_record(reader *r)
{
    return r->at == r->end || fail_word(r, r->at, "the end of the line");
}

static bool name_field(reader *r, char *name, size_t name_bytes)
{
    if (!next_field(r, "a name"))
        return false;
    size_t length = word_length(r);
    if (length >= name_bytes)
        return fail_at(r, r->line, r->at - r->begin + 1, "expected a name of less than %zu bytes", name_bytes);
    memcpy(name, r->text + r->at, length);
    name[length] = 0;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] <= 0x20 || (unsigned char)name[i] >= 0x7f)
            return fail_word(r, r->at + i, "a name of printable characters");
    r->at += length;
    return true;
}

/* A decimal number, minimum <= value <= maximum; a minus only before a number that may be negative. */
static bool number_field(reader *r, const char *what, int64_t minimum, int64_t maximum, int64_t *value)
{
    char expected[80];
    snprintf(expected, sizeof expected, "%s from %lld to %lld", what, (long long)minimum, (long long)maximum);
    if (!next_field(r, expected))
        return false;
    size_t at = r->at, end = r->at + word_length(r);
    bool negative = r->text[at] == '-' && minimum < 0;
    uint64_t limit = negative ? (uint64_t)-minimum : maximum > 0 ? (uint64_t)maximum : 0, magnitude = 0;
    if (negative)
        at++;
    if (!kv_text_number(r->text, r->end, &at, &magnitude) || at < end || magnitude > limit)
        return fail_word(r, r->at, expected);
    *value = negative ? -(int64_t)magnitude : (int64_t)magnitude;
    if (*value < minimum || *value > maximum)
        return fail_word(r, r->at, expected);
    r->at = end;
    return true;
}

static bool count_field(reader *r, const char *what, uint32_t minimum, uint32_t maximum, uint32_t *value)
{
    int64_t wide;
    if (!number_field(r, what, minimum, maximum, &wide))
        return false;
    *value = (uint32_t)wide;
    return true;
}

/* A number that must be what was computed. */
static bool exact_field(reader *r, const char *what, uint64_t computed)
{
    int64_t value;
    if (!number_field(r, what, 0, INT64_C(1) << 58, &value))
        return false;
    size_t column = r->at - r->begin;
    while (column > 0 && r->text[r->begin + column - 1] != ' ')
        column--;
    if ((uint64_t)value != computed)
        return fail_at(r, r->line, column + 1, "expected %s %llu, as counted, found %llu", what,
                       (unsigned long long)computed, (unsigned long long)value);
    return true;
}

/* Room for one more element; grows by half, so memory follows what was read. */
static bool grow(reader *r, void *array, uint32_t count, uint32_t *capacity, size_t element_bytes)
{
    if (count < *capacity)
        return true;
    uint32_t wanted = *capacity + *capacity / 2 + 4;
    void *grown, *old;
    memcpy(&old, array, sizeof old);
    grown = realloc(old, wanted * element_bytes);
    if (!grown)
        return no_memory(r);
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return true;
}

/* --- nodes: what trees and draft trees share ---------------------------------------------------------------------- */

/* Facts of the nodes read so far, thrown away when the tree is complete. */
typedef struct node_facts {
    uint64_t path;    /* tokens from the root to its end; in draft trees nodes */
    bool has_children;
} node_facts;

typedef struct facts {
    node_facts *nodes;
    uint32_t capacity;
} facts;

/* ID and PARENT: IDs count up, a parent stands before its child, so no cycle can be written. */
static bool id_and_parent(reader *r, uint32_t id, uint32_t *parent, facts *f)
{
    char what[64];
    snprintf(what, sizeof what, "ID %u (they count up)", id);
    int64_t value;
    size_t column = r->at - r->begin + 2;
    if (!number_field(r, what, 0, TRACE_MAX_NODES, &value))
        return false;
    if (value != id)
        return fail_at(r, r->line, column, "expected %s, found %lld", what, (long long)value);
    snprintf(what, sizeof what, id ? "a PARENT before node %u," : "PARENT -1 for the root,", id);
    if (!number_field(r, what, id ? 0 : -1, id ? (int64_t)id - 1 : -1, &value))
        return false;
    *parent = id ? (uint32_t)value : TRACE_NONE;
    if (!grow(r, &f->nodes, id, &f->capacity, sizeof *f->nodes))
        return false;
    f->nodes[id].has_children = false;
    f->nodes[id].path = id ? f->nodes[value].path : 0;
    if (id)
        f->nodes[value].has_children = true;
    return true;
}

static uint32_t count_leaves(const facts *f, uint32_t num_nodes)
{
    uint32_t leaves = 0;
    for (uint32_t node = 0; node < num_nodes; node++)
        leaves += !f->nodes[node].has_children;
    return leaves;
}

/* --- kind reason -------------------------------------------------------------------------------------------------- */

static bool read_node(reader *r, trace_tree *tree, uint32_t id, facts *f)
{
    trace_node *node = &tree->nodes[id];
    int64_t start, end;
    if (!expect_word(r, "node") || !id_and_parent(r, id, &node->parent, f))
        return false;
    if (!count_field(r, "TOKENS", 0, KV_MAX_LENGTH, &node->num_tokens))
        return false;
    f->nodes[id].path += node->num_tokens;
    if (f->nodes[id].path > KV_MAX_LENGTH)
        return fail_at(r, r->line, 1, "expected at most %u tokens from the root to a node", KV_MAX_LENGTH);
    int64_t begin = id ? (int64_t)tree->nodes[node->parent].end + 1 : 1 - (int64_t)node->num_tokens;
    size_t column = r->at - r->begin + 2;
    if (!number_field(r, "START", -(int64_t)KV_MAX_LENGTH, KV_MAX_LENGTH + 1, &start))
        return false;
    if (start != begin)
        return fail_at(r, r->line, column, "expected START %lld, %s, found %lld", (long long)begin,
                       id ? "the parent's END + 1" : "1 - TOKENS for the root", (long long)start);
    column = r->at - r->begin + 2;
    if (!number_field(r, "END", id ? 0 : -(int64_t)KV_MAX_LENGTH, KV_MAX_LENGTH, &end))
        return false;
    if (end - start + 1 != node->num_tokens)
        return fail_at(r, r->line, column, "expected END %lld, as TOKENS = END - START + 1, found %lld",
                       (long long)(start + node->num_tokens - 1), (long long)end);
    node->start = (int32_t)start;
    node->end = (int32_t)end;
    return end_of_record(r);
}

static bool read_tree_sums(reader *r, trace_tree *tree, const facts *f)
{
    for (uint32_t id = 0; id < tree->num_nodes; id++) {
        tree->num_tokens += tree->nodes[id].num_tokens;
        if (!f->nodes[id].has_children)
            tree->path_tokens += f->nodes[id].path;
    }
    tree->num_leaves = count_leaves(f, tree->num_nodes);
    return expect_word(r, "end") && exact_field(r, "TOKENS", tree->num_tokens) &&
           exact_field(r, "LEAVES", tree->num_leaves) && exact_field(r, "PATHS", tree->path_tokens) && end_of_record(r);
}

static bool read_tree(reader *r, trace_tree *tree, facts *f)
{
    int64_t ordinal;
    uint32_t num_nodes, capacity = 0, last = 0;
    if (!count_field(r, "SRC", 0, KV_MAX_LENGTH, &tree->source) ||
        !number_field(r, "ORDINAL", -1, KV_MAX_LENGTH, &ordinal) ||
        !count_field(r, "NODES", 1, TRACE_MAX_NODES, &num_nodes))
        return false;
    size_t column = r->at - r->begin + 2;
    uint32_t line = r->line;
    if (!count_field(r, "ITERS", 0, KV_MAX_LENGTH, &tree->last_iteration) || !end_of_record(r))
        return false;
    tree->ordinal = (int32_t)ordinal;
    for (uint32_t id = 0; id < num_nodes; id++) {
        char expected[64];
        snprintf(expected, sizeof expected, "node %u of %u", id, num_nodes);
        if (!need_record(r, expected) || !grow(r, &tree->nodes, id, &capacity, sizeof *tree->nodes) ||
            !read_node(r, tree, id, f))
            return false;
        if (tree->nodes[id].end > (int32_t)last)
            last = (uint32_t)tree->nodes[id].end;
        tree->num_nodes = id + 1;
    }
    if (last != tree->last_iteration)
        return fail_at(r, line, column, "expected ITERS %u, the largest END, found %u", last, tree->last_iteration);
    return need_record(r, "end TOKENS LEAVES PATHS") && read_tree_sums(r, tree, f);
}

/* --- kind draft --------------------------------------------------------------------------------------------------- */

static bool read_draft_node(reader *r, trace_draft *draft, uint32_t id, uint32_t *rank_capacity, facts *f)
{
    if (!expect_word(r, "dnode") || !id_and_parent(r, id, &draft->parent[id], f))
        return false;
    uint32_t depth = (uint32_t)f->nodes[id].path++; /* path counts nodes, this one included from here on */
    if (!grow(r, &draft->rank, id, rank_capacity, sizeof *draft->rank) ||
        !count_field(r, "RANK", 0, KV_MAX_LENGTH, &draft->rank[id]))
        return false;
    draft->num_pairs += (uint64_t)depth + 1;
    return end_of_record(r);
}

static bool read_draft(reader *r, trace_draft *draft, facts *f)
{
    uint32_t num_nodes, capacity = 0, rank_capacity = 0, deepest = 0;
    if (!count_field(r, "INDEX", 0, KV_MAX_LENGTH, &draft->index) ||
        !count_field(r, "LABEL", 0, KV_MAX_LENGTH, &draft->label) ||
        !count_field(r, "NODES", 1, TRACE_MAX_NODES, &num_nodes))
        return false;
    size_t column = r->at - r->begin + 2;
    uint32_t line = r->line;
    if (!count_field(r, "DEPTH", 0, TRACE_MAX_NODES, &draft->depth) || !end_of_record(r))
        return false;
    for (uint32_t id = 0; id < num_nodes; id++) {
        char expected[64];
        snprintf(expected, sizeof expected, "dnode %u of %u", id, num_nodes);
        if (!need_record(r, expected) || !grow(r, &draft->parent, id, &capacity, sizeof *draft->parent) ||
            !read_draft_node(r, draft, id, &rank_capacity, f))
            return false;
        if (f->nodes[id].path - 1 > deepest)
            deepest = (uint32_t)f->nodes[id].path - 1;
    }
    draft->num_nodes = num_nodes;
    draft->num_leaves = count_leaves(f, num_nodes);
    if (deepest != draft->depth)
        return fail_at(r, line, column, "expected DEPTH %u, as counted, found %u", deepest, draft->depth);
    return need_record(r, "end LEAVES PAIRS") && expect_word(r, "end") &&
           exact_field(r, "LEAVES", draft->num_leaves) && exact_field(r, "PAIRS", draft->num_pairs) && end_of_record(r);
}

/* --- kind accept -------------------------------------------------------------------------------------------------- */

static bool read_acc(reader *r, trace_accept *accept, uint32_t num_steps, uint32_t *capacity)
{
    uint32_t fields = 0;
    if (!expect_word(r, "acc"))
        return false;
    do {
        if (fields++ == MAX_ACC_FIELDS)
            return fail_at(r, r->line, r->at - r->begin + 1, "expected at most %d lengths in a line", MAX_ACC_FIELDS);
        if (accept->num_steps == num_steps)
            return fail_at(r, r->line, r->at - r->begin + 1, "expected the end of the line: STEPS is %u", num_steps);
        if (!grow(r, &accept->accepted, accept->num_steps, capacity, sizeof *accept->accepted) ||
            !count_field(r, "a length", 0, MAX_ACCEPTED, &accept->accepted[accept->num_steps]))
            return false;
        accept->num_tokens += accept->accepted[accept->num_steps++];
    } while (r->at < r->end);
    return true;
}

static bool read_accept(reader *r, trace_accept *accept)
{
    uint32_t num_steps, exact, capacity = 0;
    if (!name_field(r, accept->name, sizeof accept->name) ||
        !count_field(r, "PROMPT", 0, KV_MAX_LENGTH, &accept->prompt_tokens) ||
        !count_field(r, "EXACT", 0, 1, &exact) || !count_field(r, "STEPS", 1, KV_MAX_LENGTH, &num_steps) ||
        !count_field(r, "RECORDED, at most STEPS,", 0, num_steps, &accept->num_recorded) || !end_of_record(r))
        return false;
    accept->exact = exact != 0;
    while (accept->num_steps < num_steps)
        if (!need_record(r, "acc and more lengths") || !read_acc(r, accept, num_steps, &capacity))
            return false;
    return need_record(r, "end SUM") && expect_word(r, "end") && exact_field(r, "SUM", accept->num_tokens) &&
           end_of_record(r);
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

static const char *const kind_word[] = {"reason", "draft", "accept"};
static const char *const record_word[] = {"tree", "draft", "rec"};

/* Editors and shells of other systems put a byte-order mark in front: UTF-8's changes nothing. */
static bool skip_mark(reader *r)
{
    if (kv_text_has_utf8_mark(r->text, r->length, 0))
        r->next = 3;
    if (!kv_text_has_utf16_mark(r->text, r->length, 0))
        return true;
    return fail_at(r, 1, 1, "expected ASCII text, found the byte-order mark of UTF-16");
}

static bool read_header(reader *r, trace *t)
{
    uint32_t version;
    if (!need_record(r, "ttr 1 KIND NAME") || !expect_word(r, "ttr") || !count_field(r, "version", 1, 1, &version) ||
        !next_field(r, "reason, draft or accept"))
        return false;
    uint32_t kind = 0;
    while (kind < 3 && !is_word(r, kind_word[kind]))
        kind++;
    if (kind == 3)
        return fail_word(r, r->at, "reason, draft or accept");
    t->kind = (trace_kind)kind;
    r->at += strlen(kind_word[kind]);
    return name_field(r, t->name, sizeof t->name) && end_of_record(r);
}

/* One tree, draft tree or record, whose first word is read. It is counted before it is filled: what was begun is freed
 * by trace_destroy, whatever happens. */
static bool read_part(reader *r, trace *t, uint32_t *capacity, facts *f)
{
    switch (t->kind) {
    case TRACE_REASON:
        if (!grow(r, &t->trees, t->num_trees, capacity, sizeof *t->trees))
            return false;
        memset(&t->trees[t->num_trees], 0, sizeof *t->trees);
        return read_tree(r, &t->trees[t->num_trees++], f);
    case TRACE_DRAFT:
        if (!grow(r, &t->drafts, t->num_drafts, capacity, sizeof *t->drafts))
            return false;
        memset(&t->drafts[t->num_drafts], 0, sizeof *t->drafts);
        return read_draft(r, &t->drafts[t->num_drafts++], f);
    case TRACE_ACCEPT:
        if (!grow(r, &t->accepts, t->num_accepts, capacity, sizeof *t->accepts))
            return false;
        memset(&t->accepts[t->num_accepts], 0, sizeof *t->accepts);
        return read_accept(r, &t->accepts[t->num_accepts++]);
    }
    return false;
}

static bool read_parts(reader *r, trace *t)
{
    facts f = {NULL, 0};
    uint32_t capacity = 0;
    bool ok = need_record(r, record_word[t->kind]);
    while (ok) {
        ok = expect_word(r, record_word[t->kind]) && read_part(r, t, &capacity, &f);
        if (ok && !next_record(r)) {
            ok = r->status == KV_OK;
            break;
        }
    }
    free(f.nodes);
    return ok;
}

kv_status trace_read(trace **result, const char *text, size_t length, const char *file, trace_error *error)
{
    assert(result && (text || length == 0));
    reader r = {.text = text, .length = length, .file = file, .error = error, .status = KV_OK};
    if (length > TRACE_MAX_BYTES) {
        fail_at(&r, 0, 0, "expected at most %u bytes", TRACE_MAX_BYTES);
        return KV_RANGE;
    }
    trace *t = calloc(1, sizeof *t);
    if (!t)
        return KV_NOMEM;
    if (!skip_mark(&r) || !read_header(&r, t) || !read_parts(&r, t)) {
        trace_destroy(t);
        return r.status;
    }
    *result = t;
    return KV_OK;
}

/* The whole stream: never more than TRACE_MAX_BYTES + 1, whatever its size claims to be. */
static kv_status read_stream(FILE *stream, char **text, size_t *length)
{
    size_t capacity = 0, used = 0;
    char *bytes = NULL;
    do {
        size_t wanted = capacity ? capacity * 2 : 1 << 16;
        if (wanted > (size_t)TRACE_MAX_BYTES + 1)
            wanted = (size_t)TRACE_MAX_BYTES + 1;
        char *grown = realloc(bytes, wanted);
        if (!grown) {
            free(bytes);
            return KV_NOMEM;
        }
        bytes = grown;
        capacity = wanted;
        used += fread(bytes + used, 1, capacity - used, stream);
    } while (used == capacity && used <= TRACE_MAX_BYTES);
    if (ferror(stream)) {
        free(bytes);
        return KV_INVAL;
    }
    *text = bytes;
    *length = used;
    return KV_OK;
}

kv_status trace_read_stream(trace **result, FILE *stream, const char *file, trace_error *error)
{
    assert(result && stream);
    reader r = {.file = file, .error = error};
    char *text = NULL;
    size_t length = 0;
    kv_status status = read_stream(stream, &text, &length);
    if (status == KV_INVAL)
        fail_at(&r, 0, 0, "expected a file that can be read");
    if (status == KV_OK)
        status = trace_read(result, text, length, file, error);
    free(text);
    return status;
}

kv_status trace_read_file(trace **result, const char *file, trace_error *error)
{
    assert(result && file);
    reader r = {.file = file, .error = error};
    FILE *stream = fopen(file, "rb");
    if (!stream) {
        fail_at(&r, 0, 0, "expected a file that can be read");
        return KV_INVAL;
    }
    kv_status status = trace_read_stream(result, stream, file, error);
    fclose(stream);
    return status;
}

void trace_destroy(trace *t)
{
    if (!t)
        return;
    for (uint32_t i = 0; i < t->num_trees; i++)
        free(t->trees[i].nodes);
    for (uint32_t i = 0; i < t->num_drafts; i++) {
        free(t->drafts[i].parent);
        free(t->drafts[i].rank);
    }
    for (uint32_t i = 0; i < t->num_accepts; i++)
        free(t->accepts[i].accepted);
    free(t->trees);
    free(t->drafts);
    free(t->accepts);
    free(t);
}

const trace_tree *trace_find(const trace *t, int32_t ordinal)
{
    for (uint32_t i = 0; ordinal >= 0 && i < t->num_trees; i++)
        if (t->trees[i].ordinal == ordinal)
            return &t->trees[i];
    return NULL;
}

const trace_draft *trace_find_draft(const trace *t, uint32_t label)
{
    for (uint32_t i = 0; i < t->num_drafts; i++)
        if (t->drafts[i].label == label)
            return &t->drafts[i];
    return NULL;
}

const trace_accept *trace_find_accept(const trace *t, const char *name)
{
    for (uint32_t i = 0; i < t->num_accepts; i++)
        if (strcmp(t->accepts[i].name, name) == 0)
            return &t->accepts[i];
    return NULL;
}
