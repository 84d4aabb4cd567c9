/* Workloads of speculative decoding: stars of one-token drafts, and draft trees of a trace. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "workload_internal.h"

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
    kv_status status = workload_begin(&w, &size);
    if (status != KV_OK)
        return status;
    uint32_t num_steps = accept_steps(accept, max_steps);
    uint32_t past = workload_add_prompt(w, accept_prompt(accept, prompt_tokens), "past");
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
    return workload_finish(result, w);
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
    uint32_t past = workload_add_prompt(w, prompt_tokens, "past");
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
    kv_status status = workload_begin(&w, &size);
    if (status != KV_OK)
        return status;
    uint32_t *first_at = first_of_depth(draft);
    status = KV_NOMEM;
    if (first_at)
        status = add_speculation(w, accept, draft, first_at, accept_prompt(accept, prompt_tokens),
                                 accept_steps(accept, max_steps));
    free(first_at);
    if (status == KV_OK)
        return workload_finish(result, w);
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
    uint32_t past = workload_add_prompt(w, past_tokens, "past");
    keep_drafts(w, draft, past, ask_drafts(w, draft, past), TRACE_NONE);
    workload_add(w, WORKLOAD_PRUNE, past, 0);
    return workload_finish(result, w);
}
