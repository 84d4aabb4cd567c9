/* What the files of the trace reader share. Functions that return bool: false after a failure, whose status and message
 * are then in the reader. */
#ifndef TRACE_INTERNAL_H
#define TRACE_INTERNAL_H

#include "trace.h"

typedef struct trace_reader {
    const char *text;
    size_t length;
    size_t next;       /* where the line after this one starts */
    size_t begin, end; /* this line, its newline excluded */
    size_t at;         /* next byte of this line */
    uint32_t line;
    const char *file;
    trace_error *error;
    kv_status status;
} trace_reader;

/* ---- trace_record.c ---- */

/* KV_FORMAT, with a message. column counts from 1. */
bool trace_fail_at(trace_reader *r, uint32_t line, size_t column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool trace_fail_word(trace_reader *r, size_t at, const char *expected);

/* Moves to the next record. False also at the end of the file, with status KV_OK; trace_need_record refuses that. */
bool trace_next_record(trace_reader *r);
bool trace_need_record(trace_reader *r, const char *expected);

bool trace_is_word(const trace_reader *r, const char *word);
bool trace_expect_word(trace_reader *r, const char *word); /* the first word of a record */
bool trace_next_field(trace_reader *r, const char *expected); /* steps over the one blank that separates fields */
bool trace_end_of_record(trace_reader *r);

/* The next field: a name, a decimal number from minimum to maximum, a number that must equal the computed one. A minus
 * is allowed only where the number may be negative. */
bool trace_name_field(trace_reader *r, char *name, size_t name_bytes);
bool trace_number_field(trace_reader *r, const char *what, int64_t minimum, int64_t maximum, int64_t *value);
bool trace_count_field(trace_reader *r, const char *what, uint32_t minimum, uint32_t maximum, uint32_t *value);
bool trace_exact_field(trace_reader *r, const char *what, uint64_t computed);

/* Room for one more element. *array grows by half, so memory follows the records that were read. */
bool trace_grow(trace_reader *r, void *array, uint32_t count, uint32_t *capacity, size_t element_bytes);

/* ---- trace_kinds.c ---- */

/* Facts of the nodes read so far, dropped when the trace is complete. */
typedef struct node_facts {
    uint64_t path; /* tokens from the root to the node's end; in draft trees nodes */
    bool has_children;
} node_facts;

typedef struct trace_facts {
    node_facts *nodes;
    uint32_t capacity;
} trace_facts;

/* The rest of a tree, draft tree or record of lengths, whose first word is read. */
bool trace_read_tree(trace_reader *r, trace_tree *tree, trace_facts *f);
bool trace_read_draft(trace_reader *r, trace_draft *draft, trace_facts *f);
bool trace_read_accept(trace_reader *r, trace_accept *accept);

#endif
