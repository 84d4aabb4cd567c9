/* Records the walk of one query. The loops are those of reference/tree_attention.c for one row. */
#include "tool_walk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "softmax_state.h"

const char *const walk_kind_name[WALK_NUM_KINDS] = {"absorb", "hidden", "merge", "out"};

/* The partial state that an item left for the query. */
typedef struct walked_item {
    uint32_t item, partial;
    size_t last_step;
    softmax_state state;
} walked_item;

static const uint32_t NO_ROW = UINT32_MAX;

static uint32_t row_of(const tree_plan *plan, const tree_item *item, uint32_t query)
{
    for (uint32_t row = 0; row < item->num_rows; row++)
        if (plan->rows[item->first_row + row] == query)
            return row;
    return NO_ROW;
}

static bool row_sees(const tree_plan *plan, const tree_item *item, const tree_range *range, uint32_t row, uint32_t t)
{
    if (range->mask == TREE_NO_MASK)
        return true;
    uint64_t words = ((uint64_t)item->num_rows + 63) / 64;
    return plan->masks[range->mask + t * words + row / 64] >> (row % 64) & 1;
}

const float *tool_walk_query(const tool_walk *walk)
{
    const tree_shape *shape = &walk->tree->shape;
    return walk->tree->query + ((uint64_t)walk->query * shape->num_heads + walk->head) * shape->head_dim;
}

static double score_of(const tool_walk *walk, const float *key)
{
    const float *query = tool_walk_query(walk);
    double score = 0;
    for (uint32_t d = 0; d < walk->tree->shape.head_dim; d++)
        score += (double)query[d] * key[d];
    return score * walk->tree->scale;
}

static walk_step *begin_step(tool_walk *walk, walk_kind kind, const softmax_state *state)
{
    walk_step *step = &walk->steps[walk->num_steps];
    *step = (walk_step){.kind = kind, .m_before = state->m, .l_before = state->l, .score = NAN, .rescale = NAN,
                        .weight = NAN};
    return step;
}

static void end_step(tool_walk *walk, walk_step *step, const softmax_state *state)
{
    uint32_t head_dim = walk->tree->shape.head_dim;
    step->m = state->m;
    step->l = state->l;
    memcpy(walk->o + walk->num_steps * head_dim, state->o, head_dim * sizeof *walk->o);
    walk->num_steps++;
}

static void walk_range(tool_walk *walk, softmax_state *state, uint32_t item_index, uint32_t range_index, uint32_t row)
{
    const tool_tree *tree = walk->tree;
    const tree_item *item = &tree->plan->items[item_index];
    const tree_range *range = &tree->plan->ranges[item->first_range + range_index];
    for (uint32_t t = 0; t < range->num_tokens; t++) {
        bool sees = row_sees(tree->plan, item, range, row, t);
        walk_step *step = begin_step(walk, sees ? WALK_ABSORB : WALK_HIDDEN, state);
        uint64_t at = (uint64_t)range->first_slot + t;
        step->item = item_index;
        step->range = range_index;
        step->t = t;
        step->block = tree->plan->blocks[range->first_block + at / tree->shape.block_tokens];
        step->slot = (uint32_t)(at % tree->shape.block_tokens);
        step->token = tool_tree_token(tree, step->block, step->slot);
        if (sees) {
            uint64_t offset = tree_kv_offset(&tree->shape, step->block, walk->kv_head, step->slot);
            step->score = score_of(walk, tree->key + offset);
            softmax_state_absorb(state, step->score, tree->value + offset, tree->shape.head_dim);
            step->rescale = exp(step->m_before - state->m);
            step->weight = exp(step->score - state->m);
            walk->num_tokens++;
        }
        end_step(walk, step, state);
    }
}

/* Of the item that left the partial state. */
static const walked_item *find_partial(const walked_item *items, uint32_t num_items, uint32_t partial)
{
    uint32_t i = 0;
    while (i < num_items && items[i].partial != partial) i++;
    if (i == num_items)
        tool_fail("partial state %u is in the merge list of a query that no row of its item has", partial);
    return &items[i];
}

static void walk_merge(tool_walk *walk, const walked_item *items, softmax_state *total)
{
    const tree_plan *plan = walk->tree->plan;
    uint32_t head_dim = walk->tree->shape.head_dim;
    softmax_state_empty(total, head_dim);
    for (uint32_t i = plan->merge_first[walk->query]; i < plan->merge_first[walk->query + 1]; i++) {
        const walked_item *from = find_partial(items, walk->num_items, plan->merge_partials[i]);
        walk_step *step = begin_step(walk, WALK_MERGE, total);
        step->item = from->item;
        step->left = from->last_step;
        softmax_state_merge(total, &from->state, head_dim);
        step->rescale = exp(step->m_before - total->m);
        step->weight = exp(from->state.m - total->m);
        end_step(walk, step, total);
    }
    walk_step *last = begin_step(walk, WALK_OUT, total);
    softmax_state_normalize(walk->out, total, head_dim);
    walk->lse = (float)softmax_state_lse(total);
    end_step(walk, last, total);
}

/* Counts the items of the query and the steps of the walk. */
static size_t count_steps(tool_walk *walk)
{
    const tree_plan *plan = walk->tree->plan;
    size_t num_steps = 1;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        if (row_of(plan, &plan->items[i], walk->query) == NO_ROW)
            continue;
        walk->num_items++;
        num_steps += plan->items[i].num_tokens;
    }
    walk->num_merges = plan->merge_first[walk->query + 1] - plan->merge_first[walk->query];
    return num_steps + walk->num_merges;
}

tool_walk tool_walk_create(const tool_call *call, const tool_tree *tree, uint32_t query, uint32_t head)
{
    uint32_t head_dim = tree->shape.head_dim;
    tool_walk walk = {.tree = tree, .query = query, .head = head,
                      .kv_head = head / (tree->shape.num_heads / tree->shape.num_kv_heads)};
    size_t num_steps = count_steps(&walk);
    double step_bytes = sizeof *walk.steps + sizeof(double) * (double)head_dim;
    walk.bytes = tree->bytes + (double)(num_steps + walk.num_items) * step_bytes;
    tool_need_memory(call, walk.bytes, "a walk of %zu steps", num_steps);
    walk.steps = tool_allocate(num_steps, sizeof *walk.steps);
    walk.o = tool_allocate(num_steps * head_dim, sizeof *walk.o);
    walk.out = tool_allocate(head_dim, sizeof *walk.out);
    walked_item *items = tool_allocate(walk.num_items, sizeof *items);
    double *sums = tool_allocate(((size_t)walk.num_items + 1) * head_dim, sizeof *sums); /* the last one: the total */
    uint32_t walked = 0;
    for (uint32_t i = 0; i < tree->plan->num_items; i++) {
        const tree_item *item = &tree->plan->items[i];
        uint32_t row = row_of(tree->plan, item, query);
        if (row == NO_ROW)
            continue;
        walked_item *now = &items[walked];
        *now = (walked_item){.item = i, .partial = item->first_partial + row, .state.o = sums + walked * head_dim};
        softmax_state_empty(&now->state, head_dim);
        for (uint32_t r = 0; r < item->num_ranges; r++) walk_range(&walk, &now->state, i, r, row);
        now->last_step = walk.num_steps - 1;
        walked++;
    }
    softmax_state total = {.o = sums + (size_t)walk.num_items * head_dim};
    walk_merge(&walk, items, &total);
    free(items);
    free(sums);
    return walk;
}

void tool_walk_destroy(tool_walk *walk)
{
    free(walk->steps);
    free(walk->o);
    free(walk->out);
}

/* ---- places ---- */

static bool is_token(const walk_step *step)
{
    return step->kind == WALK_ABSORB || step->kind == WALK_HIDDEN;
}

bool tool_walk_begins_item(const tool_walk *walk, size_t index)
{
    const walk_step *step = &walk->steps[index];
    return is_token(step) && (index == 0 || step[-1].item != step->item);
}

bool tool_walk_begins_range(const tool_walk *walk, size_t index)
{
    return is_token(&walk->steps[index]) && walk->steps[index].t == 0;
}

bool tool_walk_begins_merge(const tool_walk *walk, size_t index)
{
    return !is_token(&walk->steps[index]) && (index == 0 || is_token(&walk->steps[index - 1]));
}

size_t tool_walk_next_item(const tool_walk *walk, size_t index)
{
    while (index + 1 < walk->num_steps) {
        index++;
        if (tool_walk_begins_item(walk, index) || tool_walk_begins_merge(walk, index))
            break;
    }
    return index;
}
