/* The builders of workload.h: traces, few-shot stars, level trees, draft trees, random forests. */
#include "workload.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An empty list with room for all operations to come. KV_RANGE for a list that could never be finished, before
 * anything is built. */
static kv_status begin(workload **w, const workload_size *size)
{
    if (size->num_operations > UINT32_MAX || size->num_tokens > UINT32_MAX)
        return KV_RANGE;
    *w = workload_create();
    if (!*w)
        return KV_NOMEM;
    (*w)->operations = malloc(size->num_operations * sizeof *(*w)->operations);
    if ((*w)->operations) {
        (*w)->operations_capacity = size->num_operations;
        return KV_OK;
    }
    workload_destroy(*w);
    return KV_NOMEM;
}

/* Hands over what was built, or destroys it. */
static kv_status finish(workload **result, workload *w)
{
    kv_status status = w->status;
    if (status == KV_OK && w->max_live_branches > KV_MAX_BRANCHES)
        status = KV_RANGE;
    if (status == KV_OK)
        status = workload_check(w, NULL, NULL, 0);
    if (status == KV_OK)
        *result = w;
    else
        workload_destroy(w);
    return status;
}

static uint32_t add_prompt(workload *w, uint32_t num_tokens, const char *label)
{
    uint32_t branch = workload_add_create(w, label);
    if (num_tokens)
        workload_add(w, WORKLOAD_APPEND, branch, num_tokens);
    return branch;
}

/* --- a reasoning tree --------------------------------------------------------------------------------------------- */

typedef struct tree_walk {
    workload *w;
    const trace_tree *tree;
    uint32_t *first_child; /* [num_nodes + 1] into children */
    uint32_t *children;
    uint32_t *name;        /* [num_nodes] branch of a node */
    uint32_t *active;      /* nodes that ask in the coming step */
    uint32_t num_active;
    uint32_t *ending;      /* nodes that fork or are pruned now */
    uint32_t num_ending;
} tree_walk;

/* Children of each node in order of their ids, by counting. */
static void list_children(tree_walk *t)
{
    uint32_t n = t->tree->num_nodes;
    for (uint32_t i = 1; i < n; i++) {
        assert(t->tree->nodes[i].parent < i && "a parent stands before its child");
        t->first_child[t->tree->nodes[i].parent + 1]++;
    }
    for (uint32_t i = 0; i < n; i++)
        t->first_child[i + 1] += t->first_child[i];
    uint32_t *next = t->ending; /* lent: nothing ends yet */
    memcpy(next, t->first_child, n * sizeof *next);
    for (uint32_t i = 1; i < n; i++)
        t->children[next[t->tree->nodes[i].parent]++] = i;
}

/* Every node in `ending` forks into its children and is pruned. A child of 0 tokens ends at once, so it joins. */
static void end_nodes(tree_walk *t)
{
    for (uint32_t i = 0; i < t->num_ending; i++) {
        uint32_t node = t->ending[i];
        for (uint32_t c = t->first_child[node]; c < t->first_child[node + 1]; c++) {
            uint32_t child = t->children[c];
            char label[16];
            snprintf(label, sizeof label, "%u", child);
            t->name[child] = workload_add_fork(t->w, t->name[node], label);
            if (t->tree->nodes[child].num_tokens)
                t->active[t->num_active++] = child;
            else
                t->ending[t->num_ending++] = child;
        }
        workload_add(t->w, WORKLOAD_PRUNE, t->name[node], 0);
    }
    t->num_ending = 0;
}

static void decode_nodes(tree_walk *t)
{
    for (uint32_t i = 0; i < t->num_active; i++)
        workload_add(t->w, WORKLOAD_DECODE, t->name[t->active[i]], 0);
    workload_add(t->w, WORKLOAD_STEP, 0, 0);
}

/* Moves the nodes whose last iteration this was from `active` to `ending`. */
static void select_ending(tree_walk *t, int32_t iteration)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->num_active; i++) {
        uint32_t node = t->active[i];
        if (t->tree->nodes[node].end == iteration)
            t->ending[t->num_ending++] = node;
        else
            t->active[kept++] = node;
    }
    t->num_active = kept;
}

static void walk_tree(tree_walk *t, uint32_t prompt_tokens, uint32_t num_steps)
{
    list_children(t);
    t->name[0] = add_prompt(t->w, prompt_tokens, "0");
    t->ending[t->num_ending++] = 0;
    end_nodes(t);
    for (uint32_t k = 1; k <= num_steps && t->w->status == KV_OK; k++) {
        decode_nodes(t);
        select_ending(t, (int32_t)k);
        if (k < num_steps || num_steps == t->tree->last_iteration)
            end_nodes(t);
    }
    for (uint32_t i = 0; i < t->num_ending; i++)
        workload_add(t->w, WORKLOAD_PRUNE, t->name[t->ending[i]], 0);
    for (uint32_t i = 0; i < t->num_active; i++)
        workload_add(t->w, WORKLOAD_PRUNE, t->name[t->active[i]], 0);
}

static uint32_t tree_steps(const trace_tree *tree, uint32_t max_steps)
{
    return max_steps && max_steps < tree->last_iteration ? max_steps : tree->last_iteration;
}

static uint32_t tree_prompt(const trace_tree *tree, uint32_t prompt_tokens)
{
    return prompt_tokens ? prompt_tokens : tree->nodes[0].num_tokens;
}

workload_size workload_size_from_tree(const trace_tree *tree, uint32_t prompt_tokens, uint32_t max_steps)
{
    uint32_t prompt = tree_prompt(tree, prompt_tokens);
    int32_t num_steps = (int32_t)tree_steps(tree, max_steps); /* at most the largest END */
    bool whole = (uint32_t)num_steps == tree->last_iteration;
    workload_size size = {.num_operations = 2 + (prompt > 0) + (uint64_t)num_steps, .num_branches = 1,
                          .num_tokens = prompt};
    for (uint32_t i = 1; i < tree->num_nodes; i++) {
        const trace_node *node = &tree->nodes[i];
        if (node->start > num_steps && !whole)
            continue; /* not born when the steps end */
        int32_t last = node->end < num_steps ? node->end : num_steps;
        uint32_t num_decoded = (uint32_t)(last - node->start + 1);
        size.num_operations += 2 + (uint64_t)num_decoded; /* FORK, PRUNE */
        size.num_tokens += num_decoded;
        size.num_branches++;
    }
    return size;
}

kv_status workload_from_tree(workload **result, const trace_tree *tree, uint32_t prompt_tokens, uint32_t max_steps)
{
    size_t n = (size_t)tree->num_nodes + 1;
    workload_size size = workload_size_from_tree(tree, prompt_tokens, max_steps);
    tree_walk t = {.tree = tree};
    kv_status status = begin(&t.w, &size);
    if (status != KV_OK)
        return status;
    uint32_t *arrays = calloc(5 * n, sizeof *arrays);
    if (!arrays) {
        workload_destroy(t.w);
        return KV_NOMEM;
    }
    t.first_child = arrays;
    t.children = arrays + n;
    t.name = arrays + 2 * n;
    t.active = arrays + 3 * n;
    t.ending = arrays + 4 * n;
    walk_tree(&t, tree_prompt(tree, prompt_tokens), tree_steps(tree, max_steps));
    free(arrays);
    return finish(result, t.w);
}

/* --- speculative decoding ----------------------------------------------------------------------------------------- */

static uint32_t accept_steps(const trace_accept *accept, uint32_t max_steps)
{
    return max_steps && max_steps < accept->num_steps ? max_steps : accept->num_steps;
}

static uint32_t accept_prompt(const trace_accept *accept, uint32_t prompt_tokens)
{
    return prompt_tokens ? prompt_tokens : accept->prompt_tokens;
}

/* The past alone: its birth, its prompt, its end. */
static workload_size past_size(uint32_t prompt)
{
    return (workload_size){.num_operations = 2 + (prompt > 0), .num_branches = 1, .num_tokens = prompt};
}

workload_size workload_size_from_accept(const trace_accept *accept, uint32_t num_leaves, uint32_t prompt_tokens,
                                        uint32_t max_steps)
{
    uint32_t num_steps = accept_steps(accept, max_steps);
    workload_size size = past_size(accept_prompt(accept, prompt_tokens));
    for (uint32_t k = 1; k < num_steps; k++) {
        size.num_operations += accept->accepted[k] > 0;
        size.num_tokens += accept->accepted[k];
    }
    size.num_operations += num_steps * (3 * (uint64_t)num_leaves + 1); /* FORK, DECODE, PRUNE; STEP */
    size.num_branches += (uint64_t)num_steps * num_leaves;
    size.num_tokens += (uint64_t)num_steps * num_leaves;
    return size;
}

kv_status workload_from_accept(workload **result, const trace_accept *accept, uint32_t num_leaves,
                               uint32_t prompt_tokens, uint32_t max_steps)
{
    if (num_leaves == 0)
        return KV_INVAL;
    if (num_leaves >= KV_MAX_BRANCHES) /* the past lives beside them */
        return KV_RANGE;
    workload_size size = workload_size_from_accept(accept, num_leaves, prompt_tokens, max_steps);
    workload *w;
    kv_status status = begin(&w, &size);
    if (status != KV_OK)
        return status;
    uint32_t num_steps = accept_steps(accept, max_steps);
    uint32_t past = add_prompt(w, accept_prompt(accept, prompt_tokens), "past");
    for (uint32_t k = 1; k <= num_steps && w->status == KV_OK; k++) {
        uint32_t first = w->num_branches;
        for (uint32_t i = 0; i < num_leaves && w->status == KV_OK; i++)
            workload_add_fork(w, past, NULL);
        for (uint32_t i = 0; i < num_leaves && w->status == KV_OK; i++)
            workload_add(w, WORKLOAD_DECODE, first + i, 0);
        workload_add(w, WORKLOAD_STEP, 0, 0);
        for (uint32_t i = 0; i < num_leaves && w->status == KV_OK; i++)
            workload_add(w, WORKLOAD_PRUNE, first + i, 0);
        if (k < num_steps && accept->accepted[k])
            workload_add(w, WORKLOAD_APPEND, past, accept->accepted[k]);
    }
    workload_add(w, WORKLOAD_PRUNE, past, 0);
    return finish(result, w);
}

/* Every draft token becomes a branch of `past` and asks. Returns the name of node 0; the others follow it. */
static uint32_t ask_drafts(workload *w, const trace_draft *draft, uint32_t past)
{
    uint32_t first = w->num_branches;
    for (uint32_t i = 0; i < draft->num_nodes && w->status == KV_OK; i++) {
        char label[32];
        snprintf(label, sizeof label, "draft %u", i);
        uint32_t branch = workload_add_fork(w, i ? first + draft->parent[i] : past, label);
        workload_add(w, WORKLOAD_APPEND, branch, 1);
    }
    for (uint32_t i = 0; i < draft->num_nodes && w->status == KV_OK; i++)
        workload_add(w, WORKLOAD_QUERY, first + i, 0);
    workload_add(w, WORKLOAD_STEP, 0, 0);
    return first;
}

/* winner: index of the node whose path the past adopts; TRACE_NONE: none. */
static void keep_drafts(workload *w, const trace_draft *draft, uint32_t past, uint32_t first, uint32_t winner)
{
    if (winner != TRACE_NONE)
        workload_add(w, WORKLOAD_ADOPT, past, first + winner);
    for (uint32_t i = 0; i < draft->num_nodes; i++)
        if (i != winner)
            workload_add(w, WORKLOAD_PRUNE, first + i, 0);
}

/* first_at[d]: first node of depth d, for d <= draft->depth. */
static uint32_t *first_of_depth(const trace_draft *draft)
{
    uint32_t *first_at = malloc(((size_t)draft->depth + 1 + draft->num_nodes) * sizeof *first_at);
    if (!first_at)
        return NULL;
    uint32_t *depth = first_at + draft->depth + 1;
    depth[0] = 0;
    for (uint32_t i = 1; i < draft->num_nodes; i++) {
        assert(draft->parent[i] < i && "a parent stands before its child");
        depth[i] = depth[draft->parent[i]] + 1;
        assert(depth[i] <= draft->depth && "depth is that of the deepest node");
    }
    for (uint32_t i = draft->num_nodes; i-- > 0;) /* backwards: the first of a depth is written last */
        first_at[depth[i]] = i;
    return first_at;
}

static kv_status add_speculation(workload *w, const trace_accept *accept, const trace_draft *draft,
                                 const uint32_t *first_at, uint32_t prompt_tokens, uint32_t num_steps)
{
    uint32_t past = add_prompt(w, prompt_tokens, "past");
    for (uint32_t k = 1; k <= num_steps && w->status == KV_OK; k++) {
        uint32_t kept = k < num_steps ? accept->accepted[k] : 0;
        if (kept > draft->depth + 1)
            return KV_INVAL;
        uint32_t first = ask_drafts(w, draft, past);
        keep_drafts(w, draft, past, first, kept ? first_at[kept - 1] : TRACE_NONE);
    }
    workload_add(w, WORKLOAD_PRUNE, past, 0);
    return w->status;
}

workload_size workload_size_from_accept_draft(const trace_accept *accept, const trace_draft *draft,
                                              uint32_t prompt_tokens, uint32_t max_steps)
{
    uint32_t num_steps = accept_steps(accept, max_steps);
    workload_size size = past_size(accept_prompt(accept, prompt_tokens));
    size.num_operations += num_steps * (4 * (uint64_t)draft->num_nodes + 1); /* FORK, APPEND, QUERY, PRUNE; STEP */
    size.num_branches += (uint64_t)num_steps * draft->num_nodes;
    size.num_tokens += (uint64_t)num_steps * draft->num_nodes;
    return size;
}

kv_status workload_from_accept_draft(workload **result, const trace_accept *accept, const trace_draft *draft,
                                     uint32_t prompt_tokens, uint32_t max_steps)
{
    if (draft->num_nodes >= KV_MAX_BRANCHES)
        return KV_RANGE;
    workload_size size = workload_size_from_accept_draft(accept, draft, prompt_tokens, max_steps);
    workload *w;
    kv_status status = begin(&w, &size);
    if (status != KV_OK)
        return status;
    uint32_t *first_at = first_of_depth(draft);
    status = KV_NOMEM;
    if (first_at)
        status = add_speculation(w, accept, draft, first_at, accept_prompt(accept, prompt_tokens),
                                 accept_steps(accept, max_steps));
    free(first_at);
    if (status == KV_OK)
        return finish(result, w);
    workload_destroy(w);
    return status;
}

kv_status workload_draft(workload **result, const trace_draft *draft, uint32_t past_tokens)
{
    if (draft->num_nodes >= KV_MAX_BRANCHES)
        return KV_RANGE;
    workload *w = workload_create();
    if (!w)
        return KV_NOMEM;
    uint32_t past = add_prompt(w, past_tokens, "past");
    keep_drafts(w, draft, past, ask_drafts(w, draft, past), TRACE_NONE);
    workload_add(w, WORKLOAD_PRUNE, past, 0);
    return finish(result, w);
}

/* --- few-shot ----------------------------------------------------------------------------------------------------- */

kv_status workload_few_shot(workload **result, uint32_t prompt_tokens, uint32_t num_branches, uint32_t num_steps)
{
    if (prompt_tokens == 0 || num_branches == 0 || num_steps == 0)
        return KV_INVAL;
    if (num_branches >= KV_MAX_BRANCHES) /* the prompt lives beside them */
        return KV_RANGE;
    workload_size size = {.num_operations = 3 + 2 * (uint64_t)num_branches + num_steps * ((uint64_t)num_branches + 1),
                          .num_branches = 1 + (uint64_t)num_branches,
                          .num_tokens = prompt_tokens + (uint64_t)num_branches * num_steps};
    workload *w;
    kv_status status = begin(&w, &size);
    if (status != KV_OK)
        return status;
    uint32_t prompt = add_prompt(w, prompt_tokens, "prompt");
    for (uint32_t i = 0; i < num_branches; i++)
        workload_add_fork(w, prompt, NULL);
    workload_add(w, WORKLOAD_PRUNE, prompt, 0);
    for (uint32_t k = 0; k < num_steps && w->status == KV_OK; k++) {
        for (uint32_t i = 1; i <= num_branches; i++)
            workload_add(w, WORKLOAD_DECODE, prompt + i, 0);
        workload_add(w, WORKLOAD_STEP, 0, 0);
    }
    for (uint32_t i = 1; i <= num_branches; i++)
        workload_add(w, WORKLOAD_PRUNE, prompt + i, 0);
    return finish(result, w);
}

/* --- level trees -------------------------------------------------------------------------------------------------- */

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

/* A line of counts: levels divided by commas, and with siblings the counts of a level by bars. */
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
    if ((status = begin(&w, &size)) != KV_OK)
        return status;
    add_levels(w, &l);
    return finish(result, w);
}

/* --- random forests ----------------------------------------------------------------------------------------------- */

typedef struct forest {
    workload *w;
    const workload_random_config *config;
    uint64_t state;
    uint32_t num_live;
    uint32_t *live;   /* [max_branches] names */
    uint32_t *length; /* [max_branches] of live[i] */
} forest;

/* splitmix64 */
static uint32_t random_below(forest *f, uint32_t limit)
{
    uint64_t z = f->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(((z ^ z >> 31) >> 32) * limit >> 32);
}

static void forest_remove(forest *f, uint32_t i)
{
    f->live[i] = f->live[--f->num_live];
    f->length[i] = f->length[f->num_live];
}

static void forest_grow(forest *f, uint32_t i)
{
    uint32_t num_tokens = 1 + random_below(f, f->config->max_tokens);
    if (num_tokens > KV_MAX_LENGTH - f->length[i] - 1) /* one token is left for a DECODE */
        return;
    workload_add(f->w, WORKLOAD_APPEND, f->live[i], num_tokens);
    f->length[i] += num_tokens;
}

static void forest_fork(forest *f, uint32_t i)
{
    if (f->num_live == f->config->max_branches)
        return;
    f->live[f->num_live] = workload_add_fork(f->w, f->live[i], NULL);
    f->length[f->num_live++] = f->length[i];
}

static void forest_create(forest *f)
{
    if (f->num_live == f->config->max_branches)
        return;
    f->live[f->num_live] = workload_add_create(f->w, NULL);
    f->length[f->num_live++] = 0;
}

static void forest_adopt(forest *f, uint32_t i)
{
    uint32_t winner = random_below(f, f->num_live);
    if (winner == i)
        return;
    workload_add(f->w, WORKLOAD_ADOPT, f->live[i], f->live[winner]);
    f->length[i] = f->length[winner];
    forest_remove(f, winner);
}

static void forest_change(forest *f)
{
    if (f->num_live == 0) {
        forest_create(f);
        return;
    }
    uint32_t i = random_below(f, f->num_live), dice = random_below(f, 100);
    if (dice < 8) {
        forest_create(f);
    } else if (dice < 40) {
        forest_fork(f, i);
    } else if (dice < 70) {
        forest_grow(f, i);
    } else if (dice < 80) {
        f->length[i] = random_below(f, f->length[i] + 1);
        workload_add(f->w, WORKLOAD_TRUNCATE, f->live[i], f->length[i]);
    } else if (dice < 85) {
        forest_adopt(f, i);
    } else {
        workload_add(f->w, WORKLOAD_PRUNE, f->live[i], 0);
        forest_remove(f, i);
    }
}

/* Most branches decode, a few ask where they stand, a few wait. */
static void forest_step(forest *f)
{
    for (uint32_t i = 0; i < f->num_live; i++) {
        uint32_t dice = random_below(f, 100);
        if (dice < 70 && f->length[i] < KV_MAX_LENGTH) {
            workload_add(f->w, WORKLOAD_DECODE, f->live[i], 0);
            f->length[i]++;
        } else if (dice < 85 && f->length[i] > 0) {
            workload_add(f->w, WORKLOAD_QUERY, f->live[i], 0);
        }
    }
    workload_add(f->w, WORKLOAD_STEP, 0, 0);
}

kv_status workload_random(workload **result, const workload_random_config *config)
{
    if (config->max_branches == 0 || config->max_tokens == 0)
        return KV_INVAL;
    if (config->max_branches > KV_MAX_BRANCHES || config->max_tokens > KV_MAX_LENGTH)
        return KV_RANGE;
    uint32_t *arrays = calloc(2 * (size_t)config->max_branches, sizeof *arrays);
    forest f = {.w = workload_create(), .config = config, .state = config->seed};
    if (!arrays || !f.w) {
        free(arrays);
        workload_destroy(f.w);
        return KV_NOMEM;
    }
    f.live = arrays;
    f.length = arrays + config->max_branches;
    for (uint32_t k = 0; k < config->num_steps && f.w->status == KV_OK; k++) {
        for (uint32_t changes = 1 + random_below(&f, 4); changes > 0; changes--)
            forest_change(&f);
        forest_step(&f);
    }
    for (uint32_t i = 0; i < f.num_live; i++)
        workload_add(f.w, WORKLOAD_PRUNE, f.live[i], 0);
    free(arrays);
    return finish(result, f.w);
}
