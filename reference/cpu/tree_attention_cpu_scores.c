/* Importance on the fast path: see tree_attention_cpu_scores.h.
 *
 * The scores of a tile are written where they stay, so the attention pass has no further work. A query's maximum and
 * sum are known after the merge; then each tile's scores are read once: 4 bytes for each row and token. A token is
 * weighed by one thread, in one order, so the number of threads changes no bit.
 *
 * NaN notes. The norm of a hidden token may be NaN: its importance is computed, and not written. */
#include "tree_attention_cpu_scores.h"

#include <math.h>
#include <string.h>

/* ---- workspace ---- */

/* Both passes over the plan: counts, and if the arrays are there, fills them. */
static void list_tiles(cpu_scores *scores, const cpu_call *call)
{
    const tree_plan *plan = call->plan;
    scores->num_rows = scores->num_tiles = 0;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        uint32_t range = item->first_range, token = 0, left = item->num_tokens;
        if (scores->first_row)
            scores->first_row[i] = scores->num_rows;
        while (left) {
            uint32_t count = left < CPU_TILE_TOKENS ? left : CPU_TILE_TOKENS;
            if (scores->tiles) {
                for (; token >= plan->ranges[range].num_tokens; range++)
                    token -= plan->ranges[range].num_tokens;
                scores->tiles[scores->num_tiles] = (cpu_scored_tile){item, range, token, count, scores->num_rows};
                token += count;
            }
            scores->num_rows += (uint64_t)item->num_rows * call->group_size;
            scores->num_tiles++;
            left -= count;
        }
    }
}

void cpu_scores_place(cpu_scores *scores, const cpu_call *call, uint32_t num_threads, char *base, size_t *used)
{
    const tree_shape *shape = call->shape;
    size_t row_bytes = CPU_TILE_TOKENS * sizeof(float), num_states = (size_t)shape->num_queries * shape->num_heads;
    scores->first_row = NULL;
    scores->tiles = NULL;
    list_tiles(scores, call);
    scores->rows = cpu_carve(base, used, scores->num_rows * shape->num_kv_heads * row_bytes);
    scores->first_row = cpu_carve(base, used, call->plan->num_items * sizeof *scores->first_row);
    scores->tiles = cpu_carve(base, used, scores->num_tiles * sizeof *scores->tiles);
    scores->m = cpu_carve(base, used, num_states * sizeof(float));
    scores->scale = cpu_carve(base, used, num_states * sizeof(float));
    scores->tile_norm = cpu_carve(base, used, (size_t)num_threads * shape->num_kv_heads * row_bytes);
    if (base)
        list_tiles(scores, call);
}

float *cpu_scores_of(const cpu_scores *scores, const cpu_call *call, const tree_item *item, uint32_t kv_head)
{
    uint64_t row = kv_head * scores->num_rows + scores->first_row[item - call->plan->items];
    return scores->rows + row * CPU_TILE_TOKENS;
}

/* ---- importance ---- */

void cpu_scores_put(const cpu_scores *scores, const cpu_call *call, uint32_t query, uint32_t head,
                    const cpu_merged *merged)
{
    size_t state = (size_t)query * call->shape->num_heads + head;
    double channels = (double)call->shape->num_heads * call->shape->head_dim;
    scores->m[state] = merged->m == -INFINITY ? 0 : merged->m;
    scores->scale[state] = merged->l == 0 ? 0 : (float)(1 / (merged->l * channels));
}

/* Tokens of a tile that are consecutive slots of one block. */
typedef struct token_run {
    uint32_t at, count; /* tokens of the tile */
    uint32_t block, slot;
    uint64_t table_slot;
    const uint64_t *mask; /* of its first token; NULL: every row sees every token */
} token_run;

/* Returns the number of runs. */
static uint32_t find_runs(token_run runs[CPU_TILE_TOKENS], const cpu_scored_tile *tile, const tree_plan *plan)
{
    uint32_t range = tile->range, token = tile->token, num_runs = 0, num_words = (tile->item->num_rows + 63) / 64;
    for (uint32_t at = 0; at < tile->num_tokens; at += runs[num_runs++].count) {
        for (; token == plan->ranges[range].num_tokens; range++)
            token = 0;
        const tree_range *r = &plan->ranges[range];
        uint32_t position = r->first_slot + token, slot = position % plan->block_tokens;
        uint32_t block = r->first_block + position / plan->block_tokens;
        uint32_t count = plan->block_tokens - slot, left = r->num_tokens - token;
        count = count < left ? count : left;
        count = count < tile->num_tokens - at ? count : tile->num_tokens - at;
        runs[num_runs] = (token_run){
            .at = at,
            .count = count,
            .block = plan->blocks[block],
            .slot = slot,
            .table_slot = (uint64_t)plan->table_index[block] * plan->block_tokens + slot,
            .mask = r->mask == TREE_NO_MASK ? NULL : plan->masks + r->mask + (uint64_t)token * num_words};
        token += count;
    }
    return num_runs;
}

/* norm [num_kv_heads][CPU_TILE_TOKENS] of the tile. */
static void gather_norms(float *norm, const cpu_scores *scores, const tree_shape *shape, const token_run *runs,
                         uint32_t num_runs)
{
    for (uint32_t kv_head = 0; kv_head < shape->num_kv_heads; kv_head++) {
        float *norm_k = norm + (size_t)kv_head * CPU_TILE_TOKENS;
        for (const token_run *run = runs; run < runs + num_runs; run++) {
            uint64_t block_head = (uint64_t)run->block * shape->num_kv_heads + kv_head;
            memcpy(norm_k + run->at, scores->norm + block_head * shape->block_tokens + run->slot,
                   run->count * sizeof *norm_k);
        }
    }
}

/* The tokens of a run that row `row` of the item sees: from importance [CPU_TILE_TOKENS] to their slots. */
static void put_run(float *importance_q, const float *importance, const token_run *run, uint32_t row,
                    uint32_t num_words)
{
    if (!run->mask) {
        memcpy(importance_q + run->table_slot, importance + run->at, run->count * sizeof *importance);
        return;
    }
    for (uint32_t t = 0; t < run->count; t++)
        if (run->mask[(uint64_t)t * num_words + row / 64] >> (row % 64) & 1)
            importance_q[run->table_slot + t] = importance[run->at + t];
}

/* One tile, for all queries that see some of it.
 *   norm  [num_kv_heads][CPU_TILE_TOKENS] room */
static void weigh_tile(const cpu_scores *scores, const cpu_call *call, const cpu_scored_tile *tile, float *norm)
{
    const tree_shape *shape = call->shape;
    uint32_t num_words = (tile->item->num_rows + 63) / 64;
    token_run runs[CPU_TILE_TOKENS];
    uint32_t num_runs = find_runs(runs, tile, call->plan);
    gather_norms(norm, scores, shape, runs, num_runs);
    for (uint32_t row = 0; row < tile->item->num_rows; row++) {
        uint64_t query = call->plan->rows[tile->item->first_row + row];
        uint64_t first = tile->first_row + (uint64_t)row * call->group_size;
        float importance[CPU_TILE_TOKENS];
        cpu_weights weights = {.num_kv_heads = shape->num_kv_heads,
                               .group_size = call->group_size,
                               .scores = scores->rows + first * CPU_TILE_TOKENS,
                               .score_stride = scores->num_rows * CPU_TILE_TOKENS,
                               .norm = norm,
                               .m = scores->m + query * shape->num_heads,
                               .scale = scores->scale + query * shape->num_heads};
        call->kernel->weigh_tokens(importance, &weights, tile->num_tokens);
        for (uint32_t r = 0; r < num_runs; r++)
            put_run(scores->importance + query * scores->num_slots, importance, &runs[r], row, num_words);
    }
}

void cpu_scores_weigh(const cpu_scores *scores, const cpu_call *call, uint32_t thread)
{
    float *norm = scores->tile_norm + (size_t)thread * call->shape->num_kv_heads * CPU_TILE_TOKENS;
    int64_t num_importances = (int64_t)(call->shape->num_queries * scores->num_slots);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < num_importances; i++)
        scores->importance[i] = -1;
#pragma omp for schedule(static)
    for (int64_t i = 0; i < (int64_t)scores->num_tiles; i++)
        weigh_tile(scores, call, &scores->tiles[i], norm);
}
