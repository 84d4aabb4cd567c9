/* Items become tasks, tasks go to workers: plan_deal.h. */
#include "plan_deal.h"

#include <stdlib.h>
#include <string.h>

/* What a task costs, in bytes that its worker could have read in the same time: docs/gpu.md. */
enum {
    TASK_BYTES = 49152,    /* starting and ending it */
    ROW_STEP = 16,         /* rows of a tile are computed in groups of so many */
    ROW_TOKEN_BYTES = 2    /* one row and one token, per 128 elements */
};

/* ---- cut ---- */

static void set_sizes(plan_deal *deal, const tree_shape *shape, uint32_t num_workers)
{
    deal->num_workers = num_workers;
    deal->group_size = shape->num_heads / shape->num_kv_heads;
    deal->tile_tokens = queue_tile_tokens(shape->head_dim);
    deal->max_heads = deal->group_size < QUEUE_TILE_ROWS ? deal->group_size : QUEUE_TILE_ROWS;
    deal->max_queries = QUEUE_TILE_ROWS / deal->max_heads;
    deal->num_head_parts = (deal->group_size + deal->max_heads - 1) / deal->max_heads;
}

static void count_items(plan_deal *deal, const tree_plan *plan, const tree_shape *shape)
{
    deal->num_tasks = deal->num_tiles = deal->num_tokens = deal->num_masks = 0;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        uint64_t num_parts = deal_num_parts(deal, item->num_rows);
        deal->num_tasks += num_parts * deal->num_head_parts;
        deal->num_tiles += num_parts * deal->num_head_parts * deal_num_tiles(deal, item->num_tokens)
                           * shape->num_kv_heads;
        deal->num_tokens += item->num_tokens;
        deal->num_unmasked[i] = deal_count_unmasked(plan, item);
        if (deal->num_unmasked[i] != DEAL_NO_MASK)
            deal->num_masks += num_parts * item->num_tokens;
    }
}

static bool has_overflow(const plan_deal *deal, const tree_shape *shape)
{
    uint64_t num_head_blocks = (uint64_t)shape->num_blocks * shape->num_kv_heads, most = INT32_MAX;
    return deal->num_tasks > most || deal->num_tiles > most || deal->num_tokens > most || deal->num_masks > most
           || num_head_blocks > UINT32_MAX / shape->block_tokens;
}

static uint64_t bytes_of(const plan_deal *deal, uint64_t num_items, uint64_t num_kv_heads)
{
    return 8 * (deal->num_workers + deal->num_tasks)
           + 4 * (num_items + deal->num_workers + deal->num_tasks + deal->num_tasks * num_kv_heads);
}

/* Those of 8 bytes first. */
static void lay_out(plan_deal *deal, uint32_t num_items)
{
    deal->load = (uint64_t *)deal->memory;
    deal->cost = deal->load + deal->num_workers;
    deal->num_unmasked = (uint32_t *)(deal->cost + deal->num_tasks);
    deal->heap = deal->num_unmasked + num_items;
    deal->order = deal->heap + deal->num_workers;
    deal->worker = deal->order + deal->num_tasks;
}

static uint64_t count_tasks(const plan_deal *deal, const tree_plan *plan)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < plan->num_items; i++)
        count += (uint64_t)deal_num_parts(deal, plan->items[i].num_rows) * deal->num_head_parts;
    return count <= INT32_MAX ? count : 0; /* more are refused later */
}

static bool reserve(plan_deal *deal, const tree_plan *plan, const tree_shape *shape)
{
    deal->num_tasks = count_tasks(deal, plan);
    uint64_t bytes = bytes_of(deal, plan->num_items, shape->num_kv_heads), room = bytes + bytes / 4 + 64;
    if (room <= SIZE_MAX && bytes > deal->capacity) {
        free(deal->memory);
        deal->memory = malloc((size_t)room);
        deal->capacity = deal->memory ? (size_t)room : 0;
    }
    if (bytes <= deal->capacity)
        lay_out(deal, plan->num_items);
    return bytes <= deal->capacity;
}

/* If each query has one state, the states of query q begin at q. */
static bool needs_merge(const tree_plan *plan)
{
    uint32_t q = 0;
    while (q < plan->num_queries && plan->merge_first[q + 1] == q + 1)
        q++;
    return q < plan->num_queries;
}

tree_status plan_deal_count(plan_deal *deal, const tree_plan *plan, const tree_shape *shape, uint32_t num_workers)
{
    set_sizes(deal, shape, num_workers);
    if (shape->num_heads > UINT16_MAX)
        return TREE_OVERFLOW;
    if (!reserve(deal, plan, shape))
        return TREE_NOMEM;
    count_items(deal, plan, shape);
    if (has_overflow(deal, shape))
        return TREE_OVERFLOW;
    deal->is_small = deal->num_tasks && (uint64_t)plan->num_queries * deal->group_size <= QUEUE_SMALL_ROWS
                     && shape->num_kv_heads <= num_workers;
    deal->needs_merge = needs_merge(plan);
    return TREE_OK;
}

static uint64_t task_cost(const tree_shape *shape, const tree_item *item, uint64_t num_queries, uint64_t num_heads)
{
    uint64_t rows = (num_queries * num_heads + ROW_STEP - 1) / ROW_STEP * ROW_STEP;
    uint64_t token_bytes = 2 * (uint64_t)shape->head_dim * tree_storage_bytes(shape->storage);
    uint64_t row_bytes = ROW_TOKEN_BYTES * (uint64_t)shape->head_dim / 128;
    return TASK_BYTES + item->num_tokens * (token_bytes + rows * row_bytes);
}

/* In the order of the tasks: item by item, queries before heads. */
static void price_tasks(plan_deal *deal, const tree_plan *plan, const tree_shape *shape)
{
    uint64_t *cost = deal->cost;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        for (uint32_t row = 0; row < item->num_rows; row += deal->max_queries) {
            uint32_t rest = item->num_rows - row, num_queries = rest < deal->max_queries ? rest : deal->max_queries;
            for (uint32_t head = 0; head < deal->group_size; head += deal->max_heads) {
                uint32_t heads = deal->group_size - head;
                *cost++ = task_cost(shape, item, num_queries, heads < deal->max_heads ? heads : deal->max_heads);
            }
        }
    }
}

/* ---- deal ---- */

/* Sorts tasks by cost, in steps of 1/255 of the largest. Equal ones keep their order, so that tasks over the same
 * tokens run at the same time and share them in the L2 cache. */
static void sort_tasks(plan_deal *deal)
{
    uint32_t first[257] = {0};
    uint64_t most = 1;
    for (uint32_t i = 0; i < deal->num_tasks; i++)
        most = deal->cost[i] > most ? deal->cost[i] : most;
    for (uint32_t i = 0; i < deal->num_tasks; i++)
        first[255 - deal->cost[i] * 255 / most + 1]++;
    for (int i = 0; i < 256; i++)
        first[i + 1] += first[i];
    for (uint32_t i = 0; i < deal->num_tasks; i++)
        deal->order[first[255 - deal->cost[i] * 255 / most]++] = i;
}

/* The load of the bin on top has grown: restores the order of the heap. */
static void sink_top(plan_deal *deal, uint32_t count)
{
    uint32_t at = 0, top = deal->heap[0], *heap = deal->heap;
    const uint64_t *load = deal->load;
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && load[heap[child + 1]] < load[heap[child]])
            child++;
        if (load[heap[child]] >= load[top])
            break;
        heap[at] = heap[child];
    }
    heap[at] = top;
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The most expensive task first, each KV head of it to a worker with the least load. Returns the largest load.
 *
 * d divides both the KV heads and the workers: then d KV heads of a task find d workers with the same, least load.
 * So they go to a bin of d workers, and the heap holds the bins. */
static uint64_t deal_expensive_first(plan_deal *deal, uint32_t num_kv_heads)
{
    uint32_t d = common_divisor(num_kv_heads, deal->num_workers), num_bins = deal->num_workers / d;
    uint64_t most = 0;
    memset(deal->load, 0, num_bins * sizeof *deal->load);
    for (uint32_t bin = 0; bin < num_bins; bin++)
        deal->heap[bin] = bin;
    sort_tasks(deal);
    for (uint32_t i = 0; i < deal->num_tasks; i++) {
        uint32_t task = deal->order[i], *worker = deal->worker + (uint64_t)task * num_kv_heads;
        for (uint32_t kv_head = 0; kv_head < num_kv_heads; kv_head += d) {
            uint32_t bin = deal->heap[0];
            for (uint32_t w = 0; w < d; w++)
                worker[kv_head + w] = bin * d + w;
            deal->load[bin] += deal->cost[task];
            most = deal->load[bin] > most ? deal->load[bin] : most;
            sink_top(deal, num_bins);
        }
    }
    return most;
}

/* The tasks of KV head 0, then those of KV head 1, ..., in equal parts: best for plans that were cut into even shares.
 * Returns the largest load. */
static uint64_t deal_in_order(plan_deal *deal, uint32_t num_kv_heads)
{
    uint32_t num_workers = deal->num_workers;
    uint64_t all = 0, begun = 0, most = 0;
    memset(deal->load, 0, num_workers * sizeof *deal->load);
    for (uint32_t i = 0; i < deal->num_tasks; i++) {
        deal->order[i] = i;
        all += deal->cost[i] * num_kv_heads;
    }
    for (uint32_t kv_head = 0; kv_head < num_kv_heads; kv_head++) {
        for (uint32_t i = 0; i < deal->num_tasks; begun += deal->cost[i++]) {
            double middle = (double)(begun + deal->cost[i] / 2) / (double)all;
            uint32_t worker = middle < 1 ? (uint32_t)(middle * num_workers) : num_workers - 1;
            deal->worker[(uint64_t)i * num_kv_heads + kv_head] = worker;
            deal->load[worker] += deal->cost[i];
            most = deal->load[worker] > most ? deal->load[worker] : most;
        }
    }
    return most;
}

/* For a small queue: in order as well, but each KV head has its own workers. */
static void deal_by_head(plan_deal *deal, uint32_t num_kv_heads)
{
    uint32_t num_workers = deal->num_workers;
    uint64_t all = 0, begun = 0;
    for (uint32_t i = 0; i < deal->num_tasks; i++) {
        deal->order[i] = i;
        all += deal->cost[i];
    }
    for (uint32_t i = 0; i < deal->num_tasks; begun += deal->cost[i++]) {
        double middle = (double)(begun + deal->cost[i] / 2) / (double)all;
        for (uint32_t kv_head = 0; kv_head < num_kv_heads; kv_head++) {
            uint32_t first = (uint32_t)((uint64_t)num_workers * kv_head / num_kv_heads);
            uint32_t end = (uint32_t)((uint64_t)num_workers * (kv_head + 1) / num_kv_heads);
            deal->worker[(uint64_t)i * num_kv_heads + kv_head] = first + (uint32_t)(middle * (end - first));
        }
    }
}

void plan_deal_tasks(plan_deal *deal, const tree_plan *plan, const tree_shape *shape)
{
    price_tasks(deal, plan, shape);
    if (deal->is_small) {
        deal_by_head(deal, shape->num_kv_heads);
        return;
    }
    uint64_t in_order = deal_in_order(deal, shape->num_kv_heads);
    if (deal_expensive_first(deal, shape->num_kv_heads) > in_order)
        deal_in_order(deal, shape->num_kv_heads);
}

void plan_deal_free(plan_deal *deal)
{
    free(deal->memory);
    *deal = (plan_deal){0};
}
