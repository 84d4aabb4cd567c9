/* A workload from a tree that is given by levels: workload_levels. */
#include <stdio.h>
#include <string.h>

#include "workload_internal.h"

enum { MAX_LEVELS = 64 };

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

/* Counts divided by commas. column[i]: where the i-th begins. */
static kv_status read_levels(const char *text, uint32_t limit, const char *expected, uint32_t line, uint32_t *count,
                             uint32_t *num_counts, uint32_t *column, kv_text_error *error)
{
    const char *at = text;
    *num_counts = 0;
    do {
        uint64_t value = 0;
        const char *begin = at;
        while (*at >= '0' && *at <= '9' && value <= limit)
            value = value * 10 + (uint64_t)(*at++ - '0');
        if (at == begin || value == 0 || value > limit || (*at != 0 && *at != ','))
            return level_error(error, line, (size_t)(at - text), expected,
                               *at == '\r' ? ", found a carriage return" : "");
        if (*num_counts == MAX_LEVELS)
            return level_error(error, line, (size_t)(begin - text), "expected at most 64 levels", "");
        column[*num_counts] = (uint32_t)(begin - text);
        count[(*num_counts)++] = (uint32_t)value;
    } while (*at++ == ',');
    return KV_OK;
}

typedef struct levels {
    uint32_t num_levels;
    uint32_t nodes[MAX_LEVELS], tokens[MAX_LEVELS];
} levels;

static kv_status parse_levels(levels *l, const char *nodes, const char *tokens, kv_text_error *error)
{
    uint32_t column[MAX_LEVELS], num_tokens;
    kv_status status = read_levels(nodes, KV_MAX_BRANCHES, "expected counts of nodes from 1 to 1048576, as in 1,16,64",
                                   1, l->nodes, &l->num_levels, column, error);
    for (uint32_t i = 1; status == KV_OK && i < l->num_levels; i++)
        if (l->nodes[i] < l->nodes[i - 1])
            status = level_error(error, 1, column[i], "expected at least as many nodes as in the level before", "");
    if (status == KV_OK)
        status = read_levels(tokens, KV_MAX_LENGTH, "expected counts of tokens from 1 to 1073741824, as in 1024,256,32",
                             2, l->tokens, &num_tokens, column, error);
    if (status == KV_OK && num_tokens != l->num_levels)
        status = level_error(error, 2, strlen(tokens), "expected as many token counts as there are levels", "");
    return status;
}

/* The nodes of level i fork from those of the level before, which are pruned; a root is created. Returns the name of
 * the level's first node. */
static uint32_t fork_level(workload *w, const levels *l, uint32_t i, uint32_t parents)
{
    uint32_t first = w->num_branches;
    for (uint32_t j = 0; j < l->nodes[i] && w->status == KV_OK; j++) {
        char label[32];
        snprintf(label, sizeof label, "%u.%u", i, j);
        if (i == 0)
            workload_add_create(w, label);
        else
            workload_add_fork(w, parents + (uint32_t)((uint64_t)j * l->nodes[i - 1] / l->nodes[i]), label);
    }
    for (uint32_t j = 0; i > 0 && j < l->nodes[i - 1]; j++)
        workload_add(w, WORKLOAD_PRUNE, parents + j, 0);
    return first;
}

static void add_levels(workload *w, const levels *l)
{
    uint32_t first = 0, last = l->num_levels - 1;
    for (uint32_t i = 0; i <= last; i++) {
        first = fork_level(w, l, i, first);
        uint32_t num_tokens = l->tokens[i] - (i == last); /* a leaf's last token is decoded */
        for (uint32_t j = 0; num_tokens && j < l->nodes[i]; j++)
            workload_add(w, WORKLOAD_APPEND, first + j, num_tokens);
    }
    for (uint32_t j = 0; j < l->nodes[last]; j++)
        workload_add(w, WORKLOAD_DECODE, first + j, 0);
    workload_add(w, WORKLOAD_STEP, 0, 0);
    for (uint32_t j = 0; j < l->nodes[last]; j++)
        workload_add(w, WORKLOAD_PRUNE, first + j, 0);
}

static workload_size size_of_levels(const levels *l)
{
    workload_size size = {.num_operations = 1}; /* STEP */
    for (uint32_t i = 0; i < l->num_levels; i++) {
        bool decodes = i + 1 == l->num_levels;
        size.num_operations += (uint64_t)l->nodes[i] * (2 + decodes + (l->tokens[i] > decodes)); /* APPEND */
        size.num_branches += l->nodes[i];
        size.num_tokens += (uint64_t)l->nodes[i] * l->tokens[i];
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
