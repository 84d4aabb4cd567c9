/* trace: see trace.h. This file reads a whole trace; trace_record.c reads its lines, trace_kinds.c what they mean. */
#include "trace.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kv_text_internal.h"
#include "trace_internal.h"

static const char *const kind_word[] = {"reason", "draft", "accept"};
static const char *const record_word[] = {"tree", "draft", "rec"};

/* Editors and shells of other systems put a byte-order mark in front: UTF-8's changes nothing. */
static bool skip_mark(trace_reader *r)
{
    if (kv_text_has_utf8_mark(r->text, r->length, 0))
        r->next = 3;
    if (!kv_text_has_utf16_mark(r->text, r->length, 0))
        return true;
    return trace_fail_at(r, 1, 1, "expected ASCII text, found the byte-order mark of UTF-16");
}

static bool read_header(trace_reader *r, trace *t)
{
    uint32_t version;
    if (!trace_need_record(r, "ttr 1 KIND NAME") || !trace_expect_word(r, "ttr") ||
        !trace_count_field(r, "version", 1, 1, &version) || !trace_next_field(r, "reason, draft or accept"))
        return false;
    uint32_t kind = 0;
    while (kind < 3 && !trace_is_word(r, kind_word[kind]))
        kind++;
    if (kind == 3)
        return trace_fail_word(r, r->at, "reason, draft or accept");
    t->kind = (trace_kind)kind;
    r->at += strlen(kind_word[kind]);
    return trace_name_field(r, t->name, sizeof t->name) && trace_end_of_record(r);
}

/* One tree, draft tree or record, whose first word is read. It is counted before it is filled: what was begun is freed
 * by trace_destroy, whatever happens. */
static bool read_part(trace_reader *r, trace *t, uint32_t *capacity, trace_facts *f)
{
    switch (t->kind) {
    case TRACE_REASON:
        if (!trace_grow(r, &t->trees, t->num_trees, capacity, sizeof *t->trees))
            return false;
        memset(&t->trees[t->num_trees], 0, sizeof *t->trees);
        return trace_read_tree(r, &t->trees[t->num_trees++], f);
    case TRACE_DRAFT:
        if (!trace_grow(r, &t->drafts, t->num_drafts, capacity, sizeof *t->drafts))
            return false;
        memset(&t->drafts[t->num_drafts], 0, sizeof *t->drafts);
        return trace_read_draft(r, &t->drafts[t->num_drafts++], f);
    case TRACE_ACCEPT:
        if (!trace_grow(r, &t->accepts, t->num_accepts, capacity, sizeof *t->accepts))
            return false;
        memset(&t->accepts[t->num_accepts], 0, sizeof *t->accepts);
        return trace_read_accept(r, &t->accepts[t->num_accepts++]);
    }
    return false;
}

static bool read_parts(trace_reader *r, trace *t)
{
    trace_facts f = {NULL, 0};
    uint32_t capacity = 0;
    bool ok = trace_need_record(r, record_word[t->kind]);
    while (ok) {
        ok = trace_expect_word(r, record_word[t->kind]) && read_part(r, t, &capacity, &f);
        if (ok && !trace_next_record(r)) {
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
    trace_reader r = {.text = text, .length = length, .file = file, .error = error, .status = KV_OK};
    if (length > TRACE_MAX_BYTES) {
        trace_fail_at(&r, 0, 0, "expected at most %u bytes", TRACE_MAX_BYTES);
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
    trace_reader r = {.file = file, .error = error};
    char *text = NULL;
    size_t length = 0;
    kv_status status = read_stream(stream, &text, &length);
    if (status == KV_INVAL)
        trace_fail_at(&r, 0, 0, "expected a file that can be read");
    if (status == KV_OK)
        status = trace_read(result, text, length, file, error);
    free(text);
    return status;
}

kv_status trace_read_file(trace **result, const char *file, trace_error *error)
{
    assert(result && file);
    trace_reader r = {.file = file, .error = error};
    FILE *stream = fopen(file, "rb");
    if (!stream) {
        trace_fail_at(&r, 0, 0, "expected a file that can be read");
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
