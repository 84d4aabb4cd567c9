/* trace: reads `ttr` version 1, tree shapes and accepted lengths as integers.
 *
 *   ttr 1 KIND NAME                  first record; KIND is reason, draft or accept
 *   tree SRC ORDINAL NODES ITERS     reason: node ID PARENT TOKENS START END ..., end TOKENS LEAVES PATHS
 *   draft INDEX LABEL NODES DEPTH    draft:  dnode ID PARENT RANK ...,            end LEAVES PAIRS
 *   rec NAME PROMPT EXACT STEPS RECORDED   accept: acc A A A ...,                 end SUM
 *
 * A record is a line of at most 160 bytes, its fields separated by one blank; empty lines and lines that begin with #
 * are skipped. A line ends with a newline, or with a carriage return and a newline; a UTF-8 byte-order mark before the
 * first line is skipped. UTF-16 with a byte-order mark and any other carriage return are refused by name. Files are
 * hostile until proved otherwise: every count, order and check sum is verified, memory grows with the bytes read and
 * not with declared counts, time is linear, nothing recurses, and the locale has no effect. A truncated file is
 * refused, unless it was cut right after the `end` line of a tree: the format does not say how many trees there are.
 * Limits: 64 MiB per file, 2^20 nodes per tree, 2^30 tokens per path. */
#ifndef TRACE_H
#define TRACE_H

#include <stdio.h>

#include "kv_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TRACE_NONE UINT32_MAX /* parent of a root */
#define TRACE_MAX_NODES (1u << 20)
#define TRACE_MAX_BYTES (64u << 20)

typedef enum trace_kind { TRACE_REASON = 0, TRACE_DRAFT, TRACE_ACCEPT } trace_kind;

/* A query at iterations start <= k <= end, one token each. The root has start = 1 - num_tokens, end = 0; a child
 * starts in the iteration after its parent's end. If num_tokens is 0, end = start - 1 and the node never is a query. */
typedef struct trace_node {
    uint32_t parent; /* less than the node's own index; TRACE_NONE for node 0 */
    uint32_t num_tokens;
    int32_t start, end;
} trace_node;

typedef struct trace_tree {
    uint32_t source;
    int32_t ordinal;         /* -1: the search was not finished */
    uint32_t last_iteration; /* largest end */
    uint32_t num_nodes, num_leaves;
    uint64_t num_tokens;  /* of all nodes */
    uint64_t path_tokens; /* summed over all root-to-leaf paths */
    trace_node *nodes;    /* [num_nodes] */
} trace_tree;

/* Draft tokens of one speculative step. Node 0 is the token just produced. */
typedef struct trace_draft {
    uint32_t index, label; /* label: the size that the file gives it */
    uint32_t num_nodes, num_leaves, depth;
    uint64_t num_pairs; /* visible (query, key) pairs inside the tree */
    uint32_t *parent;   /* [num_nodes] as trace_node */
    uint32_t *rank;     /* [num_nodes] top-k rank of the token */
} trace_draft;

typedef struct trace_accept {
    char name[64];
    uint32_t prompt_tokens;
    bool exact; /* measured, not estimated */
    uint32_t num_steps, num_recorded; /* steps from num_recorded on were invented by DeFT's driver */
    uint64_t num_tokens; /* sum of accepted */
    uint32_t *accepted;  /* [num_steps]; accepted[0] belongs to the prefill */
} trace_accept;

typedef struct trace {
    trace_kind kind;
    char name[64];
    uint32_t num_trees, num_drafts, num_accepts; /* those of other kinds are 0 */
    trace_tree *trees;
    trace_draft *drafts;
    trace_accept *accepts;
} trace;

typedef struct trace_error {
    const char *file;      /* the caller's string */
    uint32_t line, column; /* from 1; 0: the file as a whole */
    char message[160];     /* the expected and the found text */
} trace_error;

/* Reads text[length]; `file` is only for messages. KV_FORMAT, KV_RANGE beyond TRACE_MAX_BYTES, both with *error filled;
 * KV_NOMEM. *result is untouched then. error may be NULL. */
kv_status trace_read(trace **result, const char *text, size_t length, const char *file, trace_error *error);

/* The same from a file, or from a stream to its end; the stream is not closed. At most TRACE_MAX_BYTES + 1 bytes are
 * kept, however long the stream is. Also KV_INVAL if it cannot be read: *error says why. */
kv_status trace_read_file(trace **result, const char *file, trace_error *error);
kv_status trace_read_stream(trace **result, FILE *stream, const char *file, trace_error *error);

void trace_destroy(trace *trace);

/* The first tree with this ordinal (>= 0), draft tree with this label, record with this name; NULL if none. */
const trace_tree *trace_find(const trace *trace, int32_t ordinal);
const trace_draft *trace_find_draft(const trace *trace, uint32_t label);
const trace_accept *trace_find_accept(const trace *trace, const char *name);

#ifdef __cplusplus
}
#endif
#endif
