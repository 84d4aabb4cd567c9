/* A workload from a tree that is given by levels: workload_levels. */
#include <stdio.h>
#include <string.h>

#include "workload_internal.h"

enum { MAX_LEVELS = 64, MAX_COUNTS = 1024 };

static kv_status level_error(kv_text_error *error, uint32_t line, size_t column, const char *expected,
                             const char *found)
{
    if (error) {
        error->line = line;
        error->column = (uint32_t)column + 1;
        snprintf(error->message, sizeof error->message, "%s%s", expected, found);
    }
    return KV_FORMAT;
}

/* A line of counts: commas separate the levels, and bars the counts of siblings within a level. */
typedef struct counts {
    uint32_t num_levels, num_counts;
    uint32_t first[MAX_LEVELS + 1]; /* level i has count[first[i] .. first[i + 1]) */
    uint32_t count[MAX_COUNTS], column[MAX_COUNTS];
} counts;

static kv_status read_counts(counts *c, const char *text, bool siblings, uint32_t limit, const char *expected,
                             uint32_t line, kv_text_error *error)
{
    const char *at = text;
    char divider = ',';
    c->num_levels = c->num_counts = 0;
    do {
        uint64_t value = 0;
        const char *begin = at;
        while (*at >= '0' && *at <= '9' && value <= limit)
            value = value * 10 + (uint64_t)(*at++ - '0');
        if (at == begin || value == 0 || value > limit || (*at != 0 && *at != ',' && !(siblings && *at == '|')))
            return level_error(error, line, (size_t)(at - text), expected,
                               *at == '\r' ? ", found a carriage return" : "");
        if (divider == ',' && c->num_levels == MAX_LEVELS)
            return level_error(error, line, (size_t)(begin - text), "expected at most 64 levels", "");
        if (c->num_counts == MAX_COUNTS)
            return level_error(error, line, (size_t)(begin - text), "expected at most 1024 counts", "");
        if (divider == ',')
            c->first[c->num_levels++] = c->num_counts;
        c->column[c->num_counts] = (uint32_t)(begin - text);
        c->count[c->num_counts++] = (uint32_t)value;
        divider = *at;
    } while (*at++ != 0);
    c->first[c->num_levels] = c->num_counts;
    return KV_OK;
}

typedef struct levels {
    counts nodes, tokens;
} levels;

static uint32_t num_lengths(const levels *l, uint32_t i)
{
    return l->tokens.first[i + 1] - l->tokens.first[i];
}

/* Tokens of node j of level i. */
static uint32_t length_of(const levels *l, uint32_t i, uint32_t j)
{
    return l->tokens.count[l->tokens.first[i] + j % num_lengths(l, i)];
}

static kv_status check_levels(const levels *l, const char *tokens, kv_text_error *error)
{
    if (l->tokens.num_levels != l->nodes.num_levels)
        return level_error(error, 2, strlen(tokens), "expected as many token counts as there are levels", "");
    for (uint32_t i = 0; i < l->nodes.num_levels; i++)
        if (num_lengths(l, i) > l->nodes.count[i])
            return level_error(error, 2, l->tokens.column[l->tokens.first[i] + l->nodes.count[i]],
                               "expected at most as many lengths as the level has nodes", "");
    return KV_OK;
}

static kv_status parse_levels(levels *l, const char *nodes, const char *tokens, kv_text_error *error)
{
    kv_status status = read_counts(&l->nodes, nodes, false, KV_MAX_BRANCHES,
                                   "expected counts of nodes from 1 to 1048576, as in 1,16,64", 1, error);
    for (uint32_t i = 1; status == KV_OK && i < l->nodes.num_levels; i++)
        if (l->nodes.count[i] < l->nodes.count[i - 1])
            status = level_error(error, 1, l->nodes.column[i],
                                 "expected at least as many nodes as in the level before", "");
    if (status == KV_OK)
        status = read_counts(&l->tokens, tokens, true, KV_MAX_LENGTH,
                             "expected counts of tokens from 1 to 1073741824, as in 1024,256,32 or 1024,6|9", 2, error);
    return status == KV_OK ? check_levels(l, tokens, error) : status;
}

/* The nodes of level i fork from those of the level before, which are pruned; a root is created. Returns the name of
 * the level's first node. */
static uint32_t fork_level(workload *w, const levels *l, uint32_t i, uint32_t parents)
{
    const uint32_t *num_nodes = l->nodes.count;
    uint32_t first = w->num_branches;
    for (uint32_t j = 0; j < num_nodes[i] && w->status == KV_OK; j++) {
        char label[32];
        snprintf(label, sizeof label, "%u.%u", i, j);
        if (i == 0)
            workload_add_create(w, label);
        else
            workload_add_fork(w, parents + (uint32_t)((uint64_t)j * num_nodes[i - 1] / num_nodes[i]), label);
    }
    for (uint32_t j = 0; i > 0 && j < num_nodes[i - 1]; j++)
        workload_add(w, WORKLOAD_PRUNE, parents + j, 0);
    return first;
}

static void add_levels(workload *w, const levels *l)
{
    uint32_t first = 0, last = l->nodes.num_levels - 1;
    for (uint32_t i = 0; i <= last; i++) {
        first = fork_level(w, l, i, first);
        for (uint32_t j = 0; j < l->nodes.count[i]; j++) {
            uint32_t num_tokens = length_of(l, i, j) - (i == last); /* a leaf's last token is decoded */
            if (num_tokens > 0)
                workload_add(w, WORKLOAD_APPEND, first + j, num_tokens);
        }
    }
    for (uint32_t j = 0; j < l->nodes.count[last]; j++)
        workload_add(w, WORKLOAD_DECODE, first + j, 0);
    workload_add(w, WORKLOAD_STEP, 0, 0);
    for (uint32_t j = 0; j < l->nodes.count[last]; j++)
        workload_add(w, WORKLOAD_PRUNE, first + j, 0);
}

static workload_size size_of_levels(const levels *l)
{
    workload_size size = {.num_operations = 1}; /* STEP */
    for (uint32_t i = 0; i < l->nodes.num_levels; i++) {
        uint32_t decodes = i + 1 == l->nodes.num_levels, lengths = num_lengths(l, i);
        for (uint32_t k = 0; k < lengths; k++) {
            uint64_t nodes = (l->nodes.count[i] - k + lengths - 1) / lengths; /* that have the k-th length */
            uint32_t length = length_of(l, i, k);
            size.num_operations += nodes * (2 + decodes + (length > decodes)); /* APPEND */
            size.num_branches += nodes;
            size.num_tokens += nodes * length;
        }
    }
    return size;
}

kv_status workload_size_levels(workload_size *size, const char *nodes, const char *tokens, kv_text_error *error)
{
    levels l;
    kv_status status = parse_levels(&l, nodes, tokens, error);
    if (status == KV_OK)
        *size = size_of_levels(&l);
    return status;
}

kv_status workload_levels(workload **result, const char *nodes, const char *tokens, kv_text_error *error)
{
    levels l;
    kv_status status = parse_levels(&l, nodes, tokens, error);
    if (status != KV_OK)
        return status;
    workload_size size = size_of_levels(&l);
    workload *w;
    if ((status = workload_begin(&w, &size)) != KV_OK)
        return status;
    add_levels(w, &l);
    return workload_finish(result, w);
}
