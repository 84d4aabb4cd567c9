/* Importance over a tree of KV blocks, by any plan: the text that the faster versions translate.
 *
 * Tree notes. A shared token has an importance for each query that sees it. A query's softmax spans all items that
 * contain the query, so no item can score alone: lse is known after the last one.
 *
 * Numerics notes. The weights come from an lse in double. That of the output is a float: at scores of 10^4 it is off by
 * 5 * 10^-4, and every weight with it. A token that a query does not see is skipped before its key is read. */
#include "tree_importance.h"

#include <assert.h>
#include <stdlib.h>

#include "exact_math_internal.h"
#include "softmax_state.h"
#include "tree_attention.h"

#define NOT_SEEN UINT64_MAX

/* Whether row `row` of an item with num_rows rows sees token t of the range. */
static bool row_sees(const tree_plan *plan, const tree_range *range, uint32_t num_rows, uint32_t row, uint32_t t)
{
    if (range->mask == TREE_NO_MASK)
        return true;
    uint64_t words_per_token = ((uint64_t)num_rows + 63) / 64;
    const uint64_t *mask_t = plan->masks + range->mask + t * words_per_token;
    return mask_t[row / 64] >> (row % 64) & 1;
}

/* The tokens of one range that one row sees.
 *   places  [num_slots] block * block_tokens + slot in the block, by slot of the query's table */
static void find_range(uint64_t *places, const tree_plan *plan, const tree_item *item, const tree_range *range,
                       uint32_t row)
{
    for (uint32_t t = 0; t < range->num_tokens; t++) {
        if (!row_sees(plan, range, item->num_rows, row, t))
            continue;
        uint64_t slot = (uint64_t)range->first_slot + t;
        uint64_t i = range->first_block + slot / plan->block_tokens, slot_in_block = slot % plan->block_tokens;
        places[(uint64_t)plan->table_index[i] * plan->block_tokens + slot_in_block] =
            (uint64_t)plan->blocks[i] * plan->block_tokens + slot_in_block;
    }
}

/* The tokens that one query sees, from all items that contain it; NOT_SEEN for the other slots. */
static void find_tokens(uint64_t *places, uint64_t num_slots, const tree_plan *plan, uint32_t query)
{
    for (uint64_t s = 0; s < num_slots; s++)
        places[s] = NOT_SEEN;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        for (uint32_t row = 0; row < item->num_rows; row++)
            for (uint32_t r = 0; plan->rows[item->first_row + row] == query && r < item->num_ranges; r++)
                find_range(places, plan, item, &plan->ranges[item->first_range + r], row);
    }
}

/* scores [num_slots] of the tokens that are seen; returns their lse, in double.
 *   q_qh  [head_dim] of one query and head */
static double score_head(double *scores, const float *q_qh, const float *key, const uint64_t *places,
                         uint64_t num_slots, uint32_t kv_head, const tree_shape *shape, float scale)
{
    softmax_state state;
    softmax_state_empty(&state, 0);
    for (uint64_t s = 0; s < num_slots; s++) {
        if (places[s] == NOT_SEEN)
            continue;
        uint32_t block = (uint32_t)(places[s] / shape->block_tokens), slot = places[s] % shape->block_tokens;
        const float *k_bt = key + tree_kv_offset(shape, block, kv_head, slot);
        double score = 0;
        for (uint32_t d = 0; d < shape->head_dim; d++)
            score += (double)q_qh[d] * k_bt[d];
        scores[s] = score * scale;
        softmax_state_absorb(&state, scores[s], NULL, 0);
    }
    return softmax_state_lse(&state);
}

/* Room for one query. */
typedef struct importance_room {
    uint64_t *places;                   /* [num_slots] */
    double *scores, *mass, *importance; /* [num_slots] of a head, of a GQA group, of the query */
} importance_room;

/* room->mass: the weights of one query, summed over the heads of a group.
 *   query_q  [num_heads][head_dim] */
static void weigh_group(const importance_room *room, uint64_t num_slots, const float *query_q, const float *key,
                        uint32_t kv_head, const tree_shape *shape, float scale)
{
    uint32_t group_size = shape->num_heads / shape->num_kv_heads;
    for (uint64_t s = 0; s < num_slots; s++)
        room->mass[s] = 0;
    for (uint32_t head = kv_head * group_size; head < (kv_head + 1) * group_size; head++) {
        /* score the keys */
        const float *q_qh = query_q + (uint64_t)head * shape->head_dim;
        double lse = score_head(room->scores, q_qh, key, room->places, num_slots, kv_head, shape, scale);

        /* weigh the tokens */
        for (uint64_t s = 0; s < num_slots; s++)
            if (room->places[s] != NOT_SEEN && lse != -INFINITY)
                room->mass[s] += exp(room->scores[s] - lse);
    }
}

/* importance_q [num_slots] of one query. */
static void score_query(float *importance_q, uint64_t num_slots, const float *query_q, const float *key,
                        const float *norm, const tree_plan *plan, uint32_t query, const tree_shape *shape, float scale,
                        const importance_room *room)
{
    /* find this query's blocks */
    find_tokens(room->places, num_slots, plan, query);
    for (uint64_t s = 0; s < num_slots; s++)
        room->importance[s] = 0;
    for (uint32_t kv_head = 0; kv_head < shape->num_kv_heads; kv_head++) {
        weigh_group(room, num_slots, query_q, key, kv_head, shape, scale);

        /* sum over the groups */
        for (uint64_t s = 0; s < num_slots; s++) {
            if (room->places[s] == NOT_SEEN)
                continue;
            uint64_t block = room->places[s] / shape->block_tokens, slot = room->places[s] % shape->block_tokens;
            float norm_bt = norm[(block * shape->num_kv_heads + kv_head) * shape->block_tokens + slot];
            room->importance[s] += norm_bt * room->mass[s];
        }
    }
    double channels = (double)shape->num_heads * shape->head_dim;
    for (uint64_t s = 0; s < num_slots; s++)
        importance_q[s] = room->places[s] == NOT_SEEN ? -1 : (float)(room->importance[s] / channels);
}

uint64_t tree_importance_slots(const tree_plan *plan)
{
    uint64_t num_table_blocks = 0;
    for (uint32_t i = 0; i < plan->num_ranges; i++) {
        const tree_range *range = &plan->ranges[i];
        uint64_t last_slot = (uint64_t)range->first_slot + range->num_tokens - 1;
        uint64_t index = plan->table_index[range->first_block + last_slot / plan->block_tokens];
        num_table_blocks = index >= num_table_blocks ? index + 1 : num_table_blocks;
    }
    return num_table_blocks * plan->block_tokens;
}

tree_status tree_importance_ref(float *out, float *lse, float *importance, uint64_t num_slots, const float *query,
                                const float *key, const float *value, const float *norm, const tree_plan *plan,
                                const tree_shape *shape, float scale)
{
    assert(plan && "importance needs a plan");
    tree_status status = tree_plan_fits(plan, shape);
    if (status != TREE_OK)
        return status;
    if (num_slots < tree_importance_slots(plan))
        return TREE_INVAL;
    uint64_t *places = malloc((size_t)num_slots * sizeof *places + 1);
    double *numbers = malloc(3 * (size_t)num_slots * sizeof *numbers + 1);
    status = places && numbers ? tree_attention_ref(out, lse, query, key, value, plan, shape, scale) : TREE_NOMEM;
    uint64_t query_stride = (uint64_t)shape->num_heads * shape->head_dim;
    importance_room room = {places, numbers, numbers + num_slots, numbers + 2 * num_slots};
    for (uint32_t q = 0; status == TREE_OK && q < plan->num_queries; q++)
        score_query(importance + q * num_slots, num_slots, query + q * query_stride, key, norm, plan, q, shape, scale,
                    &room);
    free(places);
    free(numbers);
    return status;
}

uint64_t eviction_victim_of_slots(const float *importance, const uint32_t *positions, uint64_t num_slots,
                                  eviction_range candidates)
{
    uint64_t victim = EVICTION_NONE;
    for (uint64_t s = 0; s < num_slots; s++) {
        if (importance[s] == -1)
            continue;
        uint64_t key = eviction_key(importance[s], positions[s]);
        bool candidate = candidates.first <= positions[s] && positions[s] < candidates.end;
        if ((candidate || key == EVICTION_NOT_FINITE) && key < victim)
            victim = key;
    }
    return victim;
}
