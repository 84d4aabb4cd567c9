/* workload: see workload.h. The list itself and the walk that checks it. */
#include "workload.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const workload_kind_name[WORKLOAD_NUM_KINDS] = {"create",   "fork",  "append", "decode", "query",
                                                            "truncate", "adopt", "prune",  "step"};

workload *workload_create(void)
{
    return calloc(1, sizeof(workload));
}

void workload_destroy(workload *w)
{
    if (!w)
        return;
    free(w->operations);
    free(w->labels);
    free(w->label_of);
    free(w);
}

/* Makes room for `needed` elements; a list that could not grow keeps KV_NOMEM. */
static bool make_room(workload *w, void *array, size_t needed, size_t *capacity, size_t element_bytes)
{
    if (needed <= *capacity)
        return true;
    size_t wanted = needed + needed / 2 + 16;
    void *old, *grown;
    memcpy(&old, array, sizeof old);
    grown = realloc(old, wanted * element_bytes);
    if (!grown) {
        w->status = KV_NOMEM;
        return false;
    }
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return true;
}

static void count_operation(workload *w, workload_kind kind, uint32_t value)
{
    switch (kind) {
    case WORKLOAD_CREATE:
    case WORKLOAD_FORK:
        if (++w->live_branches > w->max_live_branches)
            w->max_live_branches = w->live_branches;
        break;
    case WORKLOAD_APPEND:
        w->num_tokens += value;
        break;
    case WORKLOAD_DECODE:
        w->num_tokens++;
        break;
    case WORKLOAD_ADOPT:
    case WORKLOAD_PRUNE:
        w->live_branches--;
        break;
    case WORKLOAD_STEP:
        w->num_steps++;
        break;
    default:
        break;
    }
    if (w->num_tokens > UINT32_MAX || w->num_operations == UINT32_MAX)
        w->status = KV_RANGE;
}

/* Offset of a copy of the text in w->labels; offset 0 holds the empty text. */
static uint32_t keep_label(workload *w, const char *label)
{
    size_t bytes = label ? strlen(label) + 1 : 1;
    if (bytes == 1 && w->labels_bytes > 0)
        return 0;
    if (!make_room(w, &w->labels, w->labels_bytes + bytes + 1, &w->labels_capacity, 1))
        return 0;
    if (w->labels_bytes == 0)
        w->labels[w->labels_bytes++] = 0;
    if (bytes == 1)
        return 0;
    if (w->labels_bytes + bytes > UINT32_MAX) {
        w->status = KV_RANGE;
        return 0;
    }
    uint32_t offset = (uint32_t)w->labels_bytes;
    memcpy(w->labels + offset, label, bytes);
    w->labels_bytes += bytes;
    return offset;
}

static bool is_birth(workload_kind kind)
{
    return kind == WORKLOAD_CREATE || kind == WORKLOAD_FORK;
}

/* Every operation enters the list here, so every birth is counted. */
static void add_labelled(workload *w, workload_kind kind, uint32_t branch, uint32_t value, const char *label)
{
    assert((unsigned)kind < WORKLOAD_NUM_KINDS && "the kind is one of workload_kind");
    if (w->status != KV_OK ||
        !make_room(w, &w->operations, (size_t)w->num_operations + 1, &w->operations_capacity, sizeof *w->operations))
        return;
    if (is_birth(kind)) {
        if (!make_room(w, &w->label_of, (size_t)w->num_branches + 1, &w->label_of_capacity, sizeof *w->label_of))
            return;
        w->label_of[w->num_branches] = keep_label(w, label);
        if (w->status != KV_OK)
            return;
        w->num_branches++;
    }
    w->operations[w->num_operations++] = (workload_operation){kind, branch, value};
    count_operation(w, kind, value);
}

void workload_add(workload *w, workload_kind kind, uint32_t branch, uint32_t value)
{
    add_labelled(w, kind, branch, value, NULL);
}

uint32_t workload_add_create(workload *w, const char *label)
{
    uint32_t branch = w->num_branches;
    add_labelled(w, WORKLOAD_CREATE, branch, 0, label);
    return branch;
}

uint32_t workload_add_fork(workload *w, uint32_t parent, const char *label)
{
    uint32_t branch = w->num_branches;
    add_labelled(w, WORKLOAD_FORK, branch, parent, label);
    return branch;
}

const char *workload_label(const workload *w, uint32_t branch)
{
    return branch < w->num_branches ? w->labels + w->label_of[branch] : "";
}

/* --- the check ---------------------------------------------------------------------------------------------------- */

typedef struct branch_state {
    uint32_t length;
    bool alive;
    bool waits; /* has a query at the next STEP */
} branch_state;

/* The counts of the workload are public and not trusted: they are compared with these at the end. */
typedef struct walk {
    branch_state *branches; /* [max_branches] */
    uint32_t *waiting;      /* [max_branches] names with a query at the next STEP, each listed once */
    uint32_t max_branches;
    uint32_t num_branches, live_branches, max_live_branches, num_steps; /* so far, as in workload */
    uint64_t num_tokens;
    uint32_t num_waiting;
    char *message;
    size_t message_bytes;
} walk;

static kv_status refuse(const walk *c, kv_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static kv_status refuse(const walk *c, kv_status status, const char *format, ...)
{
    if (c->message && c->message_bytes) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(c->message, c->message_bytes, format, arguments);
        va_end(arguments);
    }
    return status;
}

static kv_status must_live(const walk *c, uint32_t branch)
{
    if (branch >= c->num_branches || !c->branches[branch].alive)
        return refuse(c, KV_INVAL, "branch %u does not live", branch);
    if (c->branches[branch].waits)
        return refuse(c, KV_INVAL, "branch %u is touched between DECODE or QUERY and STEP", branch);
    return KV_OK;
}

static kv_status lengthen(walk *c, uint32_t branch, uint32_t num_tokens)
{
    branch_state *b = &c->branches[branch];
    if (num_tokens > KV_MAX_LENGTH - b->length)
        return refuse(c, KV_RANGE, "branch %u would pass %u tokens", branch, KV_MAX_LENGTH);
    b->length += num_tokens;
    c->num_tokens += num_tokens;
    if (c->num_tokens > UINT32_MAX) /* token ids have 32 bits */
        return refuse(c, KV_RANGE, "the branches would pass %u tokens in all", UINT32_MAX);
    return KV_OK;
}

static void die(walk *c, uint32_t branch)
{
    c->branches[branch].alive = false;
    c->live_branches--;
}

static kv_status be_born(walk *c, const workload_operation *o)
{
    if (o->branch != c->num_branches)
        return refuse(c, KV_INVAL, "the next name is %u, not %u", c->num_branches, o->branch);
    if (c->num_branches == c->max_branches)
        return refuse(c, KV_INVAL, "branch %u is one more than num_branches", o->branch);
    uint32_t length = 0;
    if (o->kind == WORKLOAD_FORK) {
        kv_status status = must_live(c, o->value);
        if (status != KV_OK)
            return status;
        length = c->branches[o->value].length;
    }
    c->branches[c->num_branches++] = (branch_state){.length = length, .alive = true};
    if (++c->live_branches > c->max_live_branches)
        c->max_live_branches = c->live_branches;
    return KV_OK;
}

static kv_status ask(walk *c, const workload_operation *o)
{
    branch_state *b = &c->branches[o->branch];
    if (o->kind == WORKLOAD_QUERY && b->length == 0)
        return refuse(c, KV_INVAL, "branch %u has no token for a query", o->branch);
    b->waits = true;
    c->waiting[c->num_waiting++] = o->branch;
    return o->kind == WORKLOAD_DECODE ? lengthen(c, o->branch, 1) : KV_OK;
}

static kv_status adopt(walk *c, const workload_operation *o)
{
    kv_status status = must_live(c, o->value);
    if (status != KV_OK)
        return status;
    if (o->value == o->branch)
        return refuse(c, KV_INVAL, "branch %u adopts itself", o->branch);
    c->branches[o->branch].length = c->branches[o->value].length;
    die(c, o->value);
    return KV_OK;
}

static kv_status end_step(walk *c)
{
    for (uint32_t i = 0; i < c->num_waiting; i++)
        c->branches[c->waiting[i]].waits = false;
    c->num_waiting = 0;
    c->num_steps++;
    return KV_OK;
}

static kv_status walk_operation(walk *c, const workload_operation *o)
{
    if (is_birth(o->kind))
        return be_born(c, o);
    if (o->kind == WORKLOAD_STEP)
        return end_step(c);
    kv_status status = must_live(c, o->branch);
    if (status != KV_OK)
        return status;
    switch (o->kind) {
    case WORKLOAD_APPEND:
        return lengthen(c, o->branch, o->value);
    case WORKLOAD_DECODE:
    case WORKLOAD_QUERY:
        return ask(c, o);
    case WORKLOAD_TRUNCATE:
        if (o->value > c->branches[o->branch].length)
            return refuse(c, KV_RANGE, "branch %u has %u tokens", o->branch, c->branches[o->branch].length);
        c->branches[o->branch].length = o->value;
        return KV_OK;
    case WORKLOAD_ADOPT:
        return adopt(c, o);
    case WORKLOAD_PRUNE:
        die(c, o->branch);
        return KV_OK;
    default:
        return refuse(c, KV_INVAL, "kind %d is unknown", (int)o->kind);
    }
}

static kv_status compare(const walk *c, const char *name, uint64_t count, uint64_t walked)
{
    if (count == walked)
        return KV_OK;
    return refuse(c, KV_INVAL, "%s is %llu, the operations make %llu", name, (unsigned long long)count,
                  (unsigned long long)walked);
}

/* A replay sizes its arrays by these counts. */
static kv_status compare_counts(const walk *c, const workload *w)
{
    kv_status status = compare(c, "num_branches", w->num_branches, c->num_branches);
    if (status == KV_OK)
        status = compare(c, "live_branches", w->live_branches, c->live_branches);
    if (status == KV_OK)
        status = compare(c, "max_live_branches", w->max_live_branches, c->max_live_branches);
    if (status == KV_OK)
        status = compare(c, "num_steps", w->num_steps, c->num_steps);
    return status == KV_OK ? compare(c, "num_tokens", w->num_tokens, c->num_tokens) : status;
}

static kv_status walk_all(walk *c, const workload *w, uint32_t *operation)
{
    uint32_t i = 0;
    kv_status status = KV_OK;
    while (status == KV_OK && i < w->num_operations)
        status = walk_operation(c, &w->operations[i++]);
    if (status == KV_OK && c->num_waiting)
        status = refuse(c, KV_INVAL, "branch %u waits for a STEP that never comes", c->waiting[0]);
    if (status != KV_OK && operation)
        *operation = i - 1;
    if (status == KV_OK && (status = compare_counts(c, w)) != KV_OK && operation)
        *operation = i;
    return status;
}

kv_status workload_check(const workload *w, uint32_t *operation, char *message, size_t message_bytes)
{
    walk c = {.max_branches = w->num_branches, .message = message, .message_bytes = message_bytes};
    c.branches = calloc((size_t)w->num_branches + 1, sizeof *c.branches);
    c.waiting = calloc((size_t)w->num_branches + 1, sizeof *c.waiting);
    kv_status status = w->status;
    if (!c.branches || !c.waiting)
        status = KV_NOMEM;
    if (status == KV_OK)
        status = walk_all(&c, w, operation);
    free(c.branches);
    free(c.waiting);
    return status;
}
