/* A workload from a reasoning tree of a trace: workload_from_tree. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workload_internal.h"

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
    t->name[0] = workload_add_prompt(t->w, prompt_tokens, "0");
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
    kv_status status = workload_begin(&t.w, &size);
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
    return workload_finish(result, t.w);
}
