/* The three kinds of a trace: reasoning trees, draft trees, accepted lengths. */
#include <stdio.h>

#include "trace_internal.h"

enum { MAX_ACCEPTED = 1 << 16, MAX_ACC_FIELDS = 50 };

/* --- nodes: what trees and draft trees share ---------------------------------------------------------------------- */

/* ID and PARENT: IDs count up, a parent stands before its child, so no cycle can be written. */
static bool id_and_parent(trace_reader *r, uint32_t id, uint32_t *parent, trace_facts *f)
{
    char what[64];
    snprintf(what, sizeof what, "ID %u (they count up)", id);
    int64_t value;
    size_t column = r->at - r->begin + 2;
    if (!trace_number_field(r, what, 0, TRACE_MAX_NODES, &value))
        return false;
    if (value != id)
        return trace_fail_at(r, r->line, column, "expected %s, found %lld", what, (long long)value);
    snprintf(what, sizeof what, id ? "a PARENT before node %u," : "PARENT -1 for the root,", id);
    if (!trace_number_field(r, what, id ? 0 : -1, id ? (int64_t)id - 1 : -1, &value))
        return false;
    *parent = id ? (uint32_t)value : TRACE_NONE;
    if (!trace_grow(r, &f->nodes, id, &f->capacity, sizeof *f->nodes))
        return false;
    f->nodes[id].has_children = false;
    f->nodes[id].path = id ? f->nodes[value].path : 0;
    if (id)
        f->nodes[value].has_children = true;
    return true;
}

static uint32_t count_leaves(const trace_facts *f, uint32_t num_nodes)
{
    uint32_t leaves = 0;
    for (uint32_t node = 0; node < num_nodes; node++)
        leaves += !f->nodes[node].has_children;
    return leaves;
}

/* --- kind reason -------------------------------------------------------------------------------------------------- */

static bool read_node(trace_reader *r, trace_tree *tree, uint32_t id, trace_facts *f)
{
    trace_node *node = &tree->nodes[id];
    int64_t start, end;
    if (!trace_expect_word(r, "node") || !id_and_parent(r, id, &node->parent, f))
        return false;
    if (!trace_count_field(r, "TOKENS", 0, KV_MAX_LENGTH, &node->num_tokens))
        return false;
    f->nodes[id].path += node->num_tokens;
    if (f->nodes[id].path > KV_MAX_LENGTH)
        return trace_fail_at(r, r->line, 1, "expected at most %u tokens from the root to a node", KV_MAX_LENGTH);
    int64_t begin = id ? (int64_t)tree->nodes[node->parent].end + 1 : 1 - (int64_t)node->num_tokens;
    size_t column = r->at - r->begin + 2;
    if (!trace_number_field(r, "START", -(int64_t)KV_MAX_LENGTH, KV_MAX_LENGTH + 1, &start))
        return false;
    if (start != begin)
        return trace_fail_at(r, r->line, column, "expected START %lld, %s, found %lld", (long long)begin,
                       id ? "the parent's END + 1" : "1 - TOKENS for the root", (long long)start);
    column = r->at - r->begin + 2;
    if (!trace_number_field(r, "END", id ? 0 : -(int64_t)KV_MAX_LENGTH, KV_MAX_LENGTH, &end))
        return false;
    if (end - start + 1 != node->num_tokens)
        return trace_fail_at(r, r->line, column, "expected END %lld, as TOKENS = END - START + 1, found %lld",
                       (long long)(start + node->num_tokens - 1), (long long)end);
    node->start = (int32_t)start;
    node->end = (int32_t)end;
    return trace_end_of_record(r);
}

static bool read_tree_sums(trace_reader *r, trace_tree *tree, const trace_facts *f)
{
    for (uint32_t id = 0; id < tree->num_nodes; id++) {
        tree->num_tokens += tree->nodes[id].num_tokens;
        if (!f->nodes[id].has_children)
            tree->path_tokens += f->nodes[id].path;
    }
    tree->num_leaves = count_leaves(f, tree->num_nodes);
    return trace_expect_word(r, "end") && trace_exact_field(r, "TOKENS", tree->num_tokens) &&
           trace_exact_field(r, "LEAVES", tree->num_leaves) && trace_exact_field(r, "PATHS", tree->path_tokens) &&
           trace_end_of_record(r);
}

bool trace_read_tree(trace_reader *r, trace_tree *tree, trace_facts *f)
{
    int64_t ordinal;
    uint32_t num_nodes, capacity = 0, last = 0;
    if (!trace_count_field(r, "SRC", 0, KV_MAX_LENGTH, &tree->source) ||
        !trace_number_field(r, "ORDINAL", -1, KV_MAX_LENGTH, &ordinal) ||
        !trace_count_field(r, "NODES", 1, TRACE_MAX_NODES, &num_nodes))
        return false;
    size_t column = r->at - r->begin + 2;
    uint32_t line = r->line;
    if (!trace_count_field(r, "ITERS", 0, KV_MAX_LENGTH, &tree->last_iteration) || !trace_end_of_record(r))
        return false;
    tree->ordinal = (int32_t)ordinal;
    for (uint32_t id = 0; id < num_nodes; id++) {
        char expected[64];
        snprintf(expected, sizeof expected, "node %u of %u", id, num_nodes);
        if (!trace_need_record(r, expected) || !trace_grow(r, &tree->nodes, id, &capacity, sizeof *tree->nodes) ||
            !read_node(r, tree, id, f))
            return false;
        if (tree->nodes[id].end > (int32_t)last)
            last = (uint32_t)tree->nodes[id].end;
        tree->num_nodes = id + 1;
    }
    if (last != tree->last_iteration)
        return trace_fail_at(r, line, column, "expected ITERS %u, the largest END, found %u", last,
                             tree->last_iteration);
    return trace_need_record(r, "end TOKENS LEAVES PATHS") && read_tree_sums(r, tree, f);
}

/* --- kind draft --------------------------------------------------------------------------------------------------- */

static bool read_draft_node(trace_reader *r, trace_draft *draft, uint32_t id, uint32_t *rank_capacity, trace_facts *f)
{
    if (!trace_expect_word(r, "dnode") || !id_and_parent(r, id, &draft->parent[id], f))
        return false;
    uint32_t depth = (uint32_t)f->nodes[id].path++; /* path counts nodes, this one included from here on */
    if (!trace_grow(r, &draft->rank, id, rank_capacity, sizeof *draft->rank) ||
        !trace_count_field(r, "RANK", 0, KV_MAX_LENGTH, &draft->rank[id]))
        return false;
    draft->num_pairs += (uint64_t)depth + 1;
    return trace_end_of_record(r);
}

bool trace_read_draft(trace_reader *r, trace_draft *draft, trace_facts *f)
{
    uint32_t num_nodes, capacity = 0, rank_capacity = 0, deepest = 0;
    if (!trace_count_field(r, "INDEX", 0, KV_MAX_LENGTH, &draft->index) ||
        !trace_count_field(r, "LABEL", 0, KV_MAX_LENGTH, &draft->label) ||
        !trace_count_field(r, "NODES", 1, TRACE_MAX_NODES, &num_nodes))
        return false;
    size_t column = r->at - r->begin + 2;
    uint32_t line = r->line;
    if (!trace_count_field(r, "DEPTH", 0, TRACE_MAX_NODES, &draft->depth) || !trace_end_of_record(r))
        return false;
    for (uint32_t id = 0; id < num_nodes; id++) {
        char expected[64];
        snprintf(expected, sizeof expected, "dnode %u of %u", id, num_nodes);
        if (!trace_need_record(r, expected) || !trace_grow(r, &draft->parent, id, &capacity, sizeof *draft->parent) ||
            !read_draft_node(r, draft, id, &rank_capacity, f))
            return false;
        if (f->nodes[id].path - 1 > deepest)
            deepest = (uint32_t)f->nodes[id].path - 1;
    }
    draft->num_nodes = num_nodes;
    draft->num_leaves = count_leaves(f, num_nodes);
    if (deepest != draft->depth)
        return trace_fail_at(r, line, column, "expected DEPTH %u, as counted, found %u", deepest, draft->depth);
    return trace_need_record(r, "end LEAVES PAIRS") && trace_expect_word(r, "end") &&
           trace_exact_field(r, "LEAVES", draft->num_leaves) && trace_exact_field(r, "PAIRS", draft->num_pairs) &&
           trace_end_of_record(r);
}

/* --- kind accept -------------------------------------------------------------------------------------------------- */

static bool read_acc(trace_reader *r, trace_accept *accept, uint32_t num_steps, uint32_t *capacity)
{
    uint32_t fields = 0;
    if (!trace_expect_word(r, "acc"))
        return false;
    do {
        if (fields++ == MAX_ACC_FIELDS)
            return trace_fail_at(r, r->line, r->at - r->begin + 1, "expected at most %d lengths in a line",
                                 MAX_ACC_FIELDS);
        if (accept->num_steps == num_steps)
            return trace_fail_at(r, r->line, r->at - r->begin + 1, "expected the end of the line: STEPS is %u",
                                 num_steps);
        if (!trace_grow(r, &accept->accepted, accept->num_steps, capacity, sizeof *accept->accepted) ||
            !trace_count_field(r, "a length", 0, MAX_ACCEPTED, &accept->accepted[accept->num_steps]))
            return false;
        accept->num_tokens += accept->accepted[accept->num_steps++];
    } while (r->at < r->end);
    return true;
}

bool trace_read_accept(trace_reader *r, trace_accept *accept)
{
    uint32_t num_steps, exact, capacity = 0;
    if (!trace_name_field(r, accept->name, sizeof accept->name) ||
        !trace_count_field(r, "PROMPT", 0, KV_MAX_LENGTH, &accept->prompt_tokens) ||
        !trace_count_field(r, "EXACT", 0, 1, &exact) || !trace_count_field(r, "STEPS", 1, KV_MAX_LENGTH, &num_steps) ||
        !trace_count_field(r, "RECORDED, at most STEPS,", 0, num_steps, &accept->num_recorded) ||
        !trace_end_of_record(r))
        return false;
    accept->exact = exact != 0;
    while (accept->num_steps < num_steps)
        if (!trace_need_record(r, "acc and more lengths") || !read_acc(r, accept, num_steps, &capacity))
            return false;
    return trace_need_record(r, "end SUM") && trace_expect_word(r, "end") &&
           trace_exact_field(r, "SUM", accept->num_tokens) && trace_end_of_record(r);
}
