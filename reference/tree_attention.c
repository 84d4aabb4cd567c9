/* Attention over a tree of KV blocks, by any plan: the text that the faster versions translate.
 *
 * Tree notes. An item is a set of rows and a set of tokens; each row of an item leaves a partial state of its own, and
 * a query merges the partial states of all items that contain it. Items are independent, so they may run in any order
 * or in parallel. The plan fixes the order of the merge, so the order of the items does not change the result.
 *
 * Numerics notes. A token that a row does not see is skipped before its key is read: its K and V may be NaN. */
#include "tree_attention.h"

#include <assert.h>
#include <stdlib.h>

#include "exact_math_internal.h"
#include "softmax_state.h"

/* Whether row `row` of an item with num_rows rows sees token t of the range. */
static bool row_sees(const tree_plan *plan, const tree_range *range, uint32_t num_rows, uint32_t row, uint32_t t)
{
    if (range->mask == TREE_NO_MASK)
        return true;
    uint64_t words_per_token = ((uint64_t)num_rows + 63) / 64;
    const uint64_t *mask_t = plan->masks + range->mask + t * words_per_token;
    return mask_t[row / 64] >> (row % 64) & 1;
}

/* The partial state of one row over one range of its item.
 *   q_qh   [head_dim] of one query and head */
static void absorb_range(softmax_state *state, const float *q_qh, const float *key, const float *value,
                         const tree_plan *plan, const tree_item *item, const tree_range *range, uint32_t row,
                         uint32_t kv_head, const tree_shape *shape, float scale)
{
    for (uint32_t t = 0; t < range->num_tokens; t++) {
        /* find this query's blocks */
        if (!row_sees(plan, range, item->num_rows, row, t))
            continue;
        uint64_t slot = (uint64_t)range->first_slot + t;
        uint32_t block = plan->blocks[range->first_block + slot / shape->block_tokens];
        uint64_t offset = tree_kv_offset(shape, block, kv_head, slot % shape->block_tokens);
        const float *k_bt = key + offset;
        const float *v_bt = value + offset;

        /* score the keys */
        double score = 0;
        for (uint32_t d = 0; d < shape->head_dim; d++)
            score += (double)q_qh[d] * k_bt[d];
        score *= scale;

        /* absorb into the running maximum and sum */
        softmax_state_absorb(state, score, v_bt, shape->head_dim);
    }
}

/* All partial states of one head.
 *   partials  [num_partials] written */
static void attend_head(softmax_state *partials, const float *query, const float *key, const float *value,
                        const tree_plan *plan, uint32_t head, const tree_shape *shape, float scale)
{
    uint32_t kv_head = head / (shape->num_heads / shape->num_kv_heads);
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        for (uint32_t row = 0; row < item->num_rows; row++) {
            uint64_t q = plan->rows[item->first_row + row];
            const float *q_qh = query + (q * shape->num_heads + head) * shape->head_dim;
            softmax_state *state = &partials[item->first_partial + row];
            softmax_state_empty(state, shape->head_dim);
            for (uint32_t r = 0; r < item->num_ranges; r++)
                absorb_range(state, q_qh, key, value, plan, item, &plan->ranges[item->first_range + r], row, kv_head,
                             shape, scale);
        }
    }
}

/* out and lse of one head for every query; `total` is room for one state. */
static void merge_head(float *out, float *lse, const softmax_state *partials, softmax_state *total,
                       const tree_plan *plan, uint32_t head, const tree_shape *shape)
{
    for (uint64_t q = 0; q < plan->num_queries; q++) {
        /* merge partial states */
        softmax_state_empty(total, shape->head_dim);
        for (uint32_t i = plan->merge_first[q]; i < plan->merge_first[q + 1]; i++)
            softmax_state_merge(total, &partials[plan->merge_partials[i]], shape->head_dim);

        /* normalize */
        uint64_t qh = q * shape->num_heads + head;
        softmax_state_normalize(out + qh * shape->head_dim, total, shape->head_dim);
        if (lse)
            lse[qh] = (float)softmax_state_lse(total);
    }
}

tree_status tree_attention_ref(float *out, float *lse, const float *query, const float *key, const float *value,
                               const tree_plan *plan, const tree_shape *shape, float scale)
{
    assert(plan && "attention needs a plan");
    tree_status status = tree_plan_fits(plan, shape);
    if (status != TREE_OK)
        return status;
    if (shape->storage != TREE_FP32)
        return TREE_UNSUPPORTED;

    size_t num_states = (size_t)plan->num_partials + 1; /* the last one is merge_head's total */
    softmax_state *states = malloc(num_states * sizeof *states);
    double *sums = calloc(num_states, shape->head_dim * sizeof *sums); /* the states' o */
    if (!states || !sums) {
        free(states);
        free(sums);
        return TREE_NOMEM;
    }
    for (size_t i = 0; i < num_states; i++)
        states[i].o = sums + i * shape->head_dim;

    for (uint32_t head = 0; head < shape->num_heads; head++) {
        attend_head(states, query, key, value, plan, head, shape, scale);
        merge_head(out, lse, states, &states[plan->num_partials], plan, head, shape);
    }
    free(states);
    free(sums);
    return TREE_OK;
}

tree_status tree_attention_ref_partials(softmax_state *partials, const float *query, const float *key,
                                        const float *value, const tree_plan *plan, uint32_t head,
                                        const tree_shape *shape, float scale)
{
    assert(plan && "attention needs a plan");
    tree_status status = tree_plan_fits(plan, shape);
    if (status != TREE_OK)
        return status;
    if (shape->storage != TREE_FP32)
        return TREE_UNSUPPORTED;
    assert(head < shape->num_heads && "head is one of the shape's");
    attend_head(partials, query, key, value, plan, head, shape, scale);
    return TREE_OK;
}
