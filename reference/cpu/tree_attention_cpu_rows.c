/* The rows of the fast path: see tree_attention_cpu_rows.h.
 *
 * NaN notes. A masked weight is 0, but 0 * NaN and 0 * infinity are NaN: a tile in which a masked token's value is not
 * finite is computed query by query, with 0 for the values that the query does not see. Every token keeps its place in
 * the tile, so no sum has another order, and a NaN in one branch changes no bit of another.
 *
 * Numerics notes. A float sum over all tokens would drift: once it is large, each further term loses its low bits,
 * always in the same direction. So an item of many tiles is summed in pieces, and the pieces are added in double. */
#include "tree_attention_cpu_rows.h"

#include <math.h>
#include <string.h>

#include "half.h"

enum { WORDS = CPU_TILE_TOKENS / 64 };

/* ---- workspace ---- */

cpu_call cpu_call_of(const tree_plan *plan, const tree_shape *shape, float scale, const cpu_kernel *kernel)
{
    cpu_call call = {.plan = plan,
                     .shape = shape,
                     .kernel = kernel,
                     .score_scale = scale * 0x1.715476p+0f,
                     .group_size = shape->num_heads / shape->num_kv_heads,
                     .most_query_units = shape->head_dim < CPU_QUERY_UNITS ? CPU_QUERY_UNITS
                                                                           : cpu_round_up(shape->head_dim, 2),
                     .o_stride = cpu_round_up(shape->head_dim, CPU_PANEL),
                     .max_total_rows = 1};
    for (uint32_t i = 0; i < plan->num_items; i++) {
        uint32_t num_queries = plan->items[i].num_rows, num_rows = num_queries * call.group_size;
        call.max_queries = num_queries > call.max_queries ? num_queries : call.max_queries;
        if (cpu_in_pieces(&plan->items[i]) && num_rows > call.max_total_rows)
            call.max_total_rows = num_rows;
    }
    return call;
}

void cpu_partials_place(cpu_partials *partials, const cpu_call *call, char *base, size_t *used)
{
    size_t num_states = (size_t)call->plan->num_partials * call->shape->num_heads;
    partials->o = cpu_carve(base, used, num_states * call->o_stride * sizeof(float));
    partials->m = cpu_carve(base, used, num_states * sizeof(float));
    partials->l = cpu_carve(base, used, num_states * sizeof(float));
}

void cpu_row_scratch_place(cpu_row_scratch *scratch, const cpu_call *call, char *base, size_t *used)
{
    size_t query_bytes = (size_t)call->max_queries * call->group_size * call->most_query_units * 4;
    size_t total_rows = call->max_total_rows;
    for (int kind = 0; kind < 2; kind++)
        scratch->query[kind] = cpu_carve(base, used, query_bytes);
    scratch->operands.key = cpu_carve(base, used, (size_t)CPU_TILE_TOKENS * call->most_query_units * 4);
    scratch->operands.value = cpu_carve(base, used, (size_t)CPU_TILE_TOKENS * call->o_stride * 4);
    scratch->operands.p = cpu_carve(base, used, (size_t)CPU_ROWS * CPU_TILE_TOKENS * 4);
    scratch->visible = cpu_carve(base, used, ((size_t)call->max_queries + 1) * WORDS * sizeof(uint64_t));
    scratch->o = cpu_carve(base, used, total_rows * call->o_stride * sizeof(double));
    scratch->m = cpu_carve(base, used, total_rows * sizeof(double));
    scratch->l = cpu_carve(base, used, total_rows * sizeof(double));
}

/* ---- states ---- */

static void begin_totals(const cpu_rows *rows, cpu_row_scratch *scratch)
{
    memset(scratch->o, 0, (size_t)rows->num_rows * rows->o_stride * sizeof *scratch->o);
    for (uint32_t row = 0; row < rows->num_rows; row++) {
        scratch->m[row] = -INFINITY;
        scratch->l[row] = 0;
    }
}

cpu_rows cpu_rows_begin(const cpu_partials *partials, const float *query, const cpu_call *call, const cpu_tile *tile,
                        cpu_row_scratch *scratch)
{
    const tree_shape *shape = call->shape;
    const tree_item *item = tile->item;
    uint32_t group_size = call->group_size, *packed = scratch->query[tile->is_long];
    size_t first_state = ((size_t)tile->kv_head * call->plan->num_partials + item->first_partial) * group_size;
    cpu_rows rows = {.num_rows = item->num_rows * group_size,
                     .rows_per_query = group_size,
                     .head_dim = shape->head_dim,
                     .score_scale = call->score_scale,
                     .query = packed,
                     .o = partials->o + first_state * call->o_stride,
                     .m = partials->m + first_state,
                     .l = partials->l + first_state,
                     .query_stride = call->kernel->query_units(shape->head_dim),
                     .o_stride = call->o_stride};
    for (uint32_t row = 0; row < rows.num_rows; row++) {
        size_t q = call->plan->rows[item->first_row + row / group_size];
        size_t head = tile->kv_head * group_size + row % group_size;
        const float *q_qh = query + (q * shape->num_heads + head) * shape->head_dim;
        call->kernel->pack_query(packed + (size_t)row * rows.query_stride, q_qh, shape->head_dim, shape->storage);
        rows.m[row] = -INFINITY;
        rows.l[row] = 0;
    }
    if (cpu_in_pieces(item))
        begin_totals(&rows, scratch);
    return rows;
}

/* Merges the states of a piece into the totals and empties them; after the last piece they become the totals. */
void cpu_rows_end_piece(const cpu_rows *rows, const cpu_tile *tile, const cpu_call *call, cpu_row_scratch *scratch)
{
    for (uint32_t row = 0; row < rows->num_rows; row++) {
        double *total = scratch->o + (size_t)row * rows->o_stride, m = scratch->m[row];
        float *o = rows->o + (size_t)row * rows->o_stride;
        double m_new = m >= rows->m[row] ? m : rows->m[row], shift = m_new == -INFINITY ? 0 : m_new;
        double keep = exp2(m - shift), weight = exp2(rows->m[row] - shift);
        call->kernel->add_state(total, keep, o, weight, rows->head_dim);
        scratch->m[row] = m_new;
        scratch->l[row] = scratch->l[row] * keep + rows->l[row] * weight;
        rows->m[row] = tile->last ? (float)m_new : -INFINITY;
        rows->l[row] = tile->last ? (float)scratch->l[row] : 0;
        if (tile->last)
            call->kernel->scale_state(o, total, 1, rows->head_dim);
    }
}

/* ---- one tile ---- */

static bool sees(const tree_plan *plan, uint32_t mask, uint32_t query)
{
    return mask == TREE_NO_MASK || (plan->masks[mask + query / 64] >> (query % 64) & 1);
}

/* The plan's masks are words of queries per token; a tile needs words of tokens per query. */
static void transpose_masks(cpu_tile *tile, uint64_t *visible, const tree_plan *plan)
{
    uint32_t num_queries = tile->item->num_rows;
    memset(visible, 0, (size_t)num_queries * WORDS * sizeof *visible);
    for (uint32_t t = 0; t < tile->num_tokens; t++)
        for (uint32_t query = 0; query < num_queries; query++)
            visible[query * WORDS + t / 64] |= (uint64_t)sees(plan, tile->mask[t], query) << (t % 64);
    tile->visible = visible;
    tile->visible_stride = WORDS;
}

static void see_all(cpu_tile *tile, uint64_t *visible)
{
    for (uint32_t word = 0; word < WORDS; word++) {
        uint32_t count = tile->num_tokens > 64 * word ? tile->num_tokens - 64 * word : 0;
        visible[word] = count >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1;
    }
    tile->visible = visible;
    tile->visible_stride = 0;
}

static bool masked_values_finite(const cpu_tile *tile, const tree_shape *shape)
{
    uint32_t exponent = shape->storage == TREE_FP16 ? 0x7c00u : 0x7f80u, bad = 0;
    for (uint32_t t = 0; t < tile->num_tokens; t++) {
        if (tile->mask[t] == TREE_NO_MASK)
            continue;
        if (shape->storage == TREE_FP32) {
            const float *v_t = (const float *)tile->value[t];
            for (uint32_t d = 0; d < shape->head_dim; d++)
                bad |= (half_bits(v_t[d]) & 0x7f800000u) == 0x7f800000u;
        } else {
            const uint16_t *v_t = (const uint16_t *)tile->value[t];
            for (uint32_t d = 0; d < shape->head_dim; d++)
                bad |= (v_t[d] & exponent) == exponent;
        }
    }
    return !bad;
}

static void absorb(const cpu_rows *rows, const cpu_tile *tile, const cpu_call *call, cpu_prefetch *prefetch,
                   cpu_row_scratch *scratch)
{
    call->kernel->pack_tile(&scratch->operands, tile, call->shape->head_dim, call->shape->storage);
    call->kernel->absorb_tile(rows, tile, prefetch, &scratch->operands);
}

static void absorb_query_by_query(const cpu_rows *rows, const cpu_tile *tile, const cpu_call *call,
                                  cpu_prefetch *prefetch, cpu_row_scratch *scratch)
{
    for (uint32_t query = 0; query < tile->item->num_rows; query++) {
        cpu_tile own = *tile;
        own.visible = tile->visible + (size_t)query * tile->visible_stride;
        own.visible_stride = 0;
        for (uint32_t t = 0; t < tile->num_tokens; t++)
            if (!sees(call->plan, tile->mask[t], query))
                own.value[t] = NULL;
        cpu_rows own_rows = *rows;
        size_t skipped = (size_t)query * rows->rows_per_query;
        own_rows.num_rows = rows->rows_per_query;
        own_rows.query += skipped * rows->query_stride;
        own_rows.o += skipped * rows->o_stride;
        own_rows.m += skipped;
        own_rows.l += skipped;
        if (rows->scores)
            own_rows.scores += skipped * CPU_TILE_TOKENS;
        absorb(&own_rows, &own, call, prefetch, scratch);
    }
}

void cpu_rows_absorb(const cpu_rows *rows, cpu_tile *tile, const cpu_call *call, cpu_prefetch *prefetch,
                     cpu_row_scratch *scratch)
{
    if (tile->masked)
        transpose_masks(tile, scratch->visible, call->plan);
    else
        see_all(tile, scratch->visible);
    if (tile->masked && !masked_values_finite(tile, call->shape))
        absorb_query_by_query(rows, tile, call, prefetch, scratch);
    else
        absorb(rows, tile, call, prefetch, scratch);
}

/* ---- merge ---- */

cpu_merged cpu_rows_merge(const cpu_partials *partials, const cpu_call *call, uint32_t query, uint32_t head,
                          cpu_row_scratch *scratch)
{
    const tree_plan *plan = call->plan;
    uint32_t group_size = call->group_size, head_dim = call->shape->head_dim;
    uint32_t begin = plan->merge_first[query], end = plan->merge_first[query + 1];
    size_t head_states = (size_t)(head / group_size) * plan->num_partials, of_group = head % group_size;
    cpu_merged merged = {.m = -INFINITY, .l = 0, .o = scratch->o};
    for (uint32_t i = begin; i < end; i++) {
        float m_i = partials->m[(head_states + plan->merge_partials[i]) * group_size + of_group];
        merged.m = merged.m >= m_i ? merged.m : m_i;
    }
    float shift = merged.m == -INFINITY ? 0 : merged.m;
    memset(merged.o, 0, head_dim * sizeof *merged.o);
    for (uint32_t i = begin; i < end; i++) {
        size_t state = (head_states + plan->merge_partials[i]) * group_size + of_group;
        double weight = exp2f(partials->m[state] - shift);
        merged.l += weight * partials->l[state];
        call->kernel->add_state(merged.o, 1, partials->o + state * call->o_stride, weight, head_dim);
    }
    return merged;
}

void cpu_rows_normalize(float *out, float *lse, const cpu_merged *merged, const cpu_call *call)
{
    call->kernel->scale_state(out, merged->o, merged->l == 0 ? 0 : 1 / merged->l, call->shape->head_dim);
    if (lse)
        *lse = (float)((merged->m + log2(merged->l)) * 0x1.62e42fefa39efp-1); /* ln 2 */
}
