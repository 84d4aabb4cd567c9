/* A plan as the GPU runs it: tasks, and which worker runs which. */
#include "plan_queue.h"

#include <stdlib.h>
#include <string.h>

/* What a task costs, in bytes that its worker could have read meanwhile: docs/gpu.md. */
enum {
    TASK_BYTES = 49152,    /* starting and ending it */
    ROW_STEP = 16,         /* rows of a tile are computed so many at a time */
    ROW_TOKEN_BYTES = 2    /* one row and one token */
};

typedef struct queue_builder {
    const tree_plan *plan;
    const tree_shape *shape;
    uint32_t group_size, max_rows, max_heads, tile_tokens;
    uint64_t num_tasks, num_tiles, num_tokens, num_masks;
    uint32_t *unmasked; /* [num_items] tokens of an item before the first that has a mask, or NO_MASK */
    uint64_t *cost;    /* [num_tasks] */
    uint32_t *order;   /* [num_tasks] the dearest first */
    uint32_t *worker;  /* [num_tasks][num_kv_heads] who runs it */
    uint64_t *load;    /* [num_workers] */
    uint32_t *heap;    /* [num_workers] the worker with the least load on top */
    uint32_t *place, *warp; /* [most_tokens of an item with masks] */
    uint64_t most_tokens;
    plan_queue queue;
} queue_builder;

#define NO_MASK UINT32_MAX

/* Tokens before the first that has a mask, or NO_MASK. */
static uint32_t count_unmasked(const tree_plan *plan, const tree_item *item)
{
    uint32_t count = 0;
    for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
        if (plan->ranges[r].mask != TREE_NO_MASK)
            return count;
        count += plan->ranges[r].num_tokens;
    }
    return NO_MASK;
}

static uint64_t task_cost(const queue_builder *b, const queue_task *task)
{
    uint64_t rows = ((uint64_t)task->num_queries * task->num_heads + ROW_STEP - 1) / ROW_STEP * ROW_STEP;
    uint64_t token_bytes = 2 * (uint64_t)b->shape->head_dim * tree_storage_bytes(b->shape->storage);
    uint64_t row_bytes = ROW_TOKEN_BYTES * (uint64_t)b->shape->head_dim / 128;
    return TASK_BYTES + task->num_tokens * (token_bytes + rows * row_bytes);
}

static uint32_t num_tiles_of(const queue_builder *b, uint32_t num_tokens)
{
    return (num_tokens + b->tile_tokens - 1) / b->tile_tokens;
}

static void count_tasks(queue_builder *b)
{
    for (uint32_t i = 0; i < b->plan->num_items; i++) {
        const tree_item *item = &b->plan->items[i];
        uint32_t count = (item->num_rows + b->max_rows - 1) / b->max_rows * b->queue.head_slices;
        b->num_tasks += count;
        b->num_tiles += (uint64_t)count * num_tiles_of(b, item->num_tokens) * b->shape->num_kv_heads;
        b->num_tokens += item->num_tokens;
        b->unmasked[i] = count_unmasked(b->plan, item);
        if (b->unmasked[i] == NO_MASK)
            continue;
        b->most_tokens = item->num_tokens > b->most_tokens ? item->num_tokens : b->most_tokens;
        b->num_masks += (uint64_t)count / b->queue.head_slices * item->num_tokens;
    }
}

static void add_task(queue_builder *b, queue_task task, uint32_t *count)
{
    for (uint32_t head = 0; head < b->group_size; head += b->max_heads) {
        task.first_head = (uint16_t)head;
        task.num_heads = (uint16_t)(b->group_size - head < b->max_heads ? b->group_size - head : b->max_heads);
        b->cost[*count] = task_cost(b, &task);
        b->queue.tasks[(*count)++] = task;
    }
}

static void cut_items(queue_builder *b)
{
    uint32_t count = 0, first_token = 0, first_mask = 0;
    for (uint32_t i = 0; i < b->plan->num_items; i++) {
        const tree_item *item = &b->plan->items[i];
        bool masked = b->unmasked[i] != NO_MASK;
        for (uint32_t row = 0; row < item->num_rows; row += b->max_rows) {
            uint32_t rest = item->num_rows - row;
            queue_task task = {.item = i, .first_partial = item->first_partial + row,
                               .num_queries = (uint16_t)(rest < b->max_rows ? rest : b->max_rows),
                               .first_token = first_token, .num_tokens = item->num_tokens,
                               .first_mask = masked ? first_mask : QUEUE_NO_MASK};
            first_mask += masked ? item->num_tokens : 0;
            add_task(b, task, &count);
        }
        first_token += item->num_tokens;
    }
}

/* ---- who runs what ---- */

/* Sorted by cost to a precision of 1/256 of the largest; equal ones keep their order, so that tasks over the same
 * tokens run at the same time and meet in the L2 cache. */
static void sort_tasks(queue_builder *b)
{
    uint32_t first[257] = {0};
    uint64_t most = 1;
    for (uint32_t i = 0; i < b->num_tasks; i++)
        most = b->cost[i] > most ? b->cost[i] : most;
    for (uint32_t i = 0; i < b->num_tasks; i++)
        first[255 - b->cost[i] * 255 / most + 1]++;
    for (int i = 0; i < 256; i++)
        first[i + 1] += first[i];
    for (uint32_t i = 0; i < b->num_tasks; i++)
        b->order[first[255 - b->cost[i] * 255 / most]++] = i;
}

/* The top's load has grown: restores the order of the heap. */
static void sink_top(queue_builder *b)
{
    uint32_t at = 0, count = b->queue.num_workers, top = b->heap[0];
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && b->load[b->heap[child + 1]] < b->load[b->heap[child]])
            child++;
        if (b->load[b->heap[child]] >= b->load[top])
            break;
        b->heap[at] = b->heap[child];
    }
    b->heap[at] = top;
}

/* The dearest task to the worker with the least load. Returns the largest load. */
static uint64_t deal_dearest_first(queue_builder *b)
{
    uint32_t num_kv_heads = b->shape->num_kv_heads;
    uint64_t most = 0;
    memset(b->load, 0, b->queue.num_workers * sizeof *b->load);
    for (uint32_t w = 0; w < b->queue.num_workers; w++)
        b->heap[w] = w;
    sort_tasks(b);
    for (uint32_t i = 0; i < b->num_tasks; i++) {
        uint32_t *worker = b->worker + (uint64_t)b->order[i] * num_kv_heads;
        for (uint32_t kv_head = 0; kv_head < num_kv_heads; kv_head++) {
            worker[kv_head] = b->heap[0];
            b->load[worker[kv_head]] += b->cost[b->order[i]];
            most = b->load[worker[kv_head]] > most ? b->load[worker[kv_head]] : most;
            sink_top(b);
        }
    }
    return most;
}

/* The first worker the first tasks of KV head 0, and so on: best for plans that were cut into even shares. */
static uint64_t deal_in_order(queue_builder *b)
{
    uint32_t num_kv_heads = b->shape->num_kv_heads, num_workers = b->queue.num_workers;
    uint64_t all = 0, begun = 0, most = 0;
    memset(b->load, 0, num_workers * sizeof *b->load);
    for (uint32_t i = 0; i < b->num_tasks; i++) {
        b->order[i] = i;
        all += b->cost[i] * num_kv_heads;
    }
    for (uint32_t kv_head = 0; kv_head < num_kv_heads; kv_head++) {
        for (uint32_t i = 0; i < b->num_tasks; begun += b->cost[i++]) {
            double middle = (double)(begun + b->cost[i] / 2) / (double)all;
            uint32_t worker = middle < 1 ? (uint32_t)(middle * num_workers) : num_workers - 1;
            b->worker[(uint64_t)i * num_kv_heads + kv_head] = worker;
            b->load[worker] += b->cost[i];
            most = b->load[worker] > most ? b->load[worker] : most;
        }
    }
    return most;
}

/* Of a small queue: the same for each KV head, among workers of its own. */
static void deal_by_head(queue_builder *b)
{
    uint32_t num_kv_heads = b->shape->num_kv_heads, num_workers = b->queue.num_workers;
    uint64_t all = 0, begun = 0;
    for (uint32_t i = 0; i < b->num_tasks; i++) {
        b->order[i] = i;
        all += b->cost[i];
    }
    for (uint32_t i = 0; i < b->num_tasks; begun += b->cost[i++]) {
        double middle = (double)(begun + b->cost[i] / 2) / (double)all;
        for (uint32_t kv_head = 0; kv_head < num_kv_heads; kv_head++) {
            uint32_t first = (uint32_t)((uint64_t)num_workers * kv_head / num_kv_heads);
            uint32_t end = (uint32_t)((uint64_t)num_workers * (kv_head + 1) / num_kv_heads);
            b->worker[(uint64_t)i * num_kv_heads + kv_head] = first + (uint32_t)(middle * (end - first));
        }
    }
}

static void assign_workers(queue_builder *b)
{
    uint32_t num_kv_heads = b->shape->num_kv_heads, *first = b->queue.worker_first;
    if (b->queue.is_small) {
        deal_by_head(b);
    } else {
        uint64_t in_order = deal_in_order(b);
        if (deal_dearest_first(b) > in_order)
            deal_in_order(b);
    }
    for (uint32_t i = 0; i < b->num_tasks; i++) {
        for (uint32_t kv_head = 0; kv_head < num_kv_heads; kv_head++)
            first[b->worker[(uint64_t)i * num_kv_heads + kv_head] + 1] +=
                num_tiles_of(b, b->queue.tasks[i].num_tokens);
    }
    for (uint32_t w = 0; w < b->queue.num_workers; w++)
        first[w + 1] += first[w];
}

static void add_tiles(queue_builder *b, const queue_task *task, uint32_t kv_head, uint32_t *next)
{
    uint32_t unmasked = b->unmasked[task->item];
    queue_tile tile = {.first_token = task->first_token, .first_partial = task->first_partial,
                       .head = kv_head * b->group_size + task->first_head, .kv_head = (uint16_t)kv_head,
                       .num_queries = (uint8_t)task->num_queries, .num_heads = (uint8_t)task->num_heads,
                       .is_masked = task->first_mask != QUEUE_NO_MASK,
                       .reciprocal = (uint16_t)((32768 + task->num_heads - 1) / task->num_heads)};
    for (uint32_t done = 0; done < task->num_tokens; done += tile.num_tokens, tile.number++) {
        uint32_t left = task->num_tokens - done;
        tile.num_tokens = (uint16_t)(left < b->tile_tokens ? left : b->tile_tokens);
        tile.first_token = task->first_token + done;
        tile.first_mask = done + tile.num_tokens <= unmasked ? QUEUE_NO_MASK : task->first_mask + done;
        tile.is_first = done == 0;
        tile.is_last = left == tile.num_tokens;
        b->queue.tiles[(*next)++] = tile;
    }
}

/* Each worker's tiles, in the order in which the tasks were dealt. */
static void fill_tiles(queue_builder *b)
{
    uint32_t num_kv_heads = b->shape->num_kv_heads, *next = b->heap; /* the heap has done its work */
    memcpy(next, b->queue.worker_first, b->queue.num_workers * sizeof *next);
    for (uint32_t i = 0; i < b->num_tasks; i++) {
        const uint32_t *worker = b->worker + (uint64_t)b->order[i] * num_kv_heads;
        for (uint32_t kv_head = 0; kv_head < num_kv_heads; kv_head++)
            add_tiles(b, &b->queue.tasks[b->order[i]], kv_head, &next[worker[kv_head]]);
    }
}

/* Of a small queue: each worker's KV head, and how many workers have that. */
static void fill_only_heads(queue_builder *b)
{
    uint32_t *num_sharing = b->heap; /* [num_kv_heads], no more than workers; the heap has done its work */
    memset(num_sharing, 0, b->shape->num_kv_heads * sizeof *num_sharing);
    for (uint32_t w = 0; w < b->queue.num_workers; w++) {
        queue_start *start = &b->queue.starts[w];
        if (start->num_tiles) {
            start->kv_head = b->queue.tiles[start->first_tile].kv_head;
            num_sharing[start->kv_head]++;
        }
    }
    for (uint32_t w = 0; w < b->queue.num_workers; w++) {
        queue_start *start = &b->queue.starts[w];
        start->num_sharing = start->num_tiles ? num_sharing[start->kv_head] : 0;
    }
}

static void fill_starts(queue_builder *b)
{
    for (uint32_t w = 0; w < b->queue.num_workers; w++) {
        uint32_t first = b->queue.worker_first[w], count = b->queue.worker_first[w + 1] - first;
        queue_start *start = &b->queue.starts[w];
        start->first_tile = first;
        start->num_tiles = count;
        for (uint32_t i = 0; i < QUEUE_START_TILES && i < count; i++)
            start->tiles[i] = b->queue.tiles[first + i];
    }
    if (b->queue.is_small)
        fill_only_heads(b);
}

/* ---- tokens, rows and masks ---- */

/* Bits first .. first + count of a token's mask words. */
static uint64_t mask_bits(const uint64_t *words, uint32_t first, uint32_t count)
{
    uint64_t bits = words[first / 64] >> (first % 64);
    if (first % 64 + count > 64)
        bits |= words[first / 64 + 1] << (64 - first % 64);
    return count == 64 ? bits : bits & (((uint64_t)1 << count) - 1);
}

/* The warp that has the first row that sees the token. */
static uint32_t warp_of(const queue_builder *b, const uint64_t *words, uint32_t num_rows)
{
    uint32_t row = 0;
    while (row + 1 < num_rows && !(words[row / 64] >> (row % 64) & 1))
        row++;
    return row % b->max_rows * b->max_heads / QUEUE_SLICE;
}

/* place[t]: where token t of the item comes in the queue. Warps have rows of their own: one after the other they would
 * compute packed leaves, while the others wait. So slices of masked tokens are dealt out, one of each warp's in
 * turn. */
static void place_tokens(const queue_builder *b, const tree_item *item, uint32_t unmasked, uint32_t *place)
{
    enum { WARPS = QUEUE_TILE_ROWS / QUEUE_SLICE };
    const tree_plan *plan = b->plan;
    const uint32_t words = (item->num_rows + 63) / 64;
    for (uint32_t t = 0; t < item->num_tokens; t++)
        place[t] = t;
    if (item->num_rows * b->max_heads <= QUEUE_SLICE)
        return;

    /* first, in place: which warp has each slice, and how many each has */
    uint32_t count[WARPS] = {0}, next[WARPS] = {0}, range = item->first_range, skipped = 0;
    uint32_t num_slices = (item->num_tokens - unmasked) / QUEUE_SLICE, *warp = b->warp;
    for (uint32_t i = 0; i < num_slices; i++) {
        uint32_t t = unmasked + i * QUEUE_SLICE;
        for (; t - skipped >= plan->ranges[range].num_tokens; range++)
            skipped += plan->ranges[range].num_tokens;
        const tree_range *at = &plan->ranges[range];
        warp[i] = at->mask == TREE_NO_MASK
                      ? 0 : warp_of(b, plan->masks + at->mask + (uint64_t)(t - skipped) * words, item->num_rows);
        count[warp[i]]++;
    }
    /* slice n of a warp comes after n slices, or all that there are, of each other warp; and after one more of those
     * before it */
    for (uint32_t i = 0; i < num_slices; i++) {
        uint32_t n = next[warp[i]]++, to = 0;
        for (uint32_t w = 0; w < WARPS; w++) {
            uint32_t before = w < warp[i] ? n + 1 : n;
            to += count[w] < before ? count[w] : before;
        }
        for (uint32_t t = 0; t < QUEUE_SLICE; t++)
            place[unmasked + i * QUEUE_SLICE + t] = unmasked + to * QUEUE_SLICE + t;
    }
}

static void fill_item(queue_builder *b, const tree_item *item, const uint32_t *place, uint32_t *tokens)
{
    const tree_plan *plan = b->plan;
    uint32_t block_rows = b->shape->num_kv_heads * plan->block_tokens;
    for (uint32_t r = 0; r < item->num_ranges; r++) {
        const tree_range *range = &plan->ranges[item->first_range + r];
        for (uint32_t t = 0; t < range->num_tokens; t++) {
            uint32_t at = range->first_slot + t;
            tokens[place ? *place++ : t] = plan->blocks[range->first_block + at / plan->block_tokens] * block_rows
                                           + at % plan->block_tokens;
        }
        tokens += place ? 0 : range->num_tokens;
    }
}

static void fill_masks(queue_builder *b, const queue_task *task, const uint32_t *place)
{
    const tree_plan *plan = b->plan;
    const tree_item *item = &plan->items[task->item];
    const uint64_t all[2] = {UINT64_MAX, 0};
    uint32_t words = (item->num_rows + 63) / 64, first = task->first_partial - item->first_partial;
    uint64_t *mask = b->queue.masks + task->first_mask;
    for (uint32_t r = 0; r < item->num_ranges; r++) {
        const tree_range *range = &plan->ranges[item->first_range + r];
        for (uint32_t t = 0; t < range->num_tokens; t++)
            mask[*place++] = range->mask == TREE_NO_MASK
                                 ? mask_bits(all, 0, task->num_queries)
                                 : mask_bits(plan->masks + range->mask + (uint64_t)t * words, first, task->num_queries);
    }
}

static void fill_tokens(queue_builder *b)
{
    uint32_t first_token = 0, task = 0;
    for (uint32_t i = 0; i < b->plan->num_items; i++) {
        const tree_item *item = &b->plan->items[i];
        uint32_t *place = b->unmasked[i] != NO_MASK ? b->place : NULL;
        if (place)
            place_tokens(b, item, b->unmasked[i], place);
        fill_item(b, item, place, b->queue.kv_slots + first_token);
        for (; task < b->num_tasks && b->queue.tasks[task].item == i; task++) {
            if (place && b->queue.tasks[task].first_head == 0)
                fill_masks(b, &b->queue.tasks[task], place);
        }
        first_token += item->num_tokens;
    }
}

static void fill_rows(queue_builder *b)
{
    const tree_plan *plan = b->plan;
    for (uint32_t q = 0; q < plan->num_queries; q++) {
        uint32_t first = plan->merge_first[q], end = plan->merge_first[q + 1];
        for (uint32_t i = first; i < end; i++)
            b->queue.queries[plan->merge_partials[i]] = (queue_query){q, end - first == 1 ? QUEUE_ONLY_STATE : i};
    }
}

static void *array_of(uint64_t count, size_t bytes) { return calloc(count ? (size_t)count : 1, bytes); }

static bool allocate(queue_builder *b)
{
    plan_queue *queue = &b->queue;
    b->cost = array_of(b->num_tasks, sizeof *b->cost);
    b->order = array_of(b->num_tasks, sizeof *b->order);
    b->worker = array_of(b->num_tasks * b->shape->num_kv_heads, sizeof *b->worker);
    b->load = array_of(queue->num_workers, sizeof *b->load);
    b->heap = array_of(queue->num_workers, sizeof *b->heap);
    b->place = array_of(b->most_tokens, sizeof *b->place);
    b->warp = array_of(b->most_tokens, sizeof *b->warp);
    queue->tasks = array_of(b->num_tasks, sizeof *queue->tasks);
    queue->tiles = array_of(b->num_tiles, sizeof *queue->tiles);
    queue->worker_first = array_of((uint64_t)queue->num_workers + 1, sizeof *queue->worker_first);
    queue->starts = array_of(queue->num_workers, sizeof *queue->starts);
    queue->kv_slots = array_of(b->num_tokens, sizeof *queue->kv_slots);
    queue->queries = array_of(b->plan->num_partials, sizeof *queue->queries);
    queue->masks = array_of(b->num_masks, sizeof *queue->masks);
    return b->cost && b->order && b->worker && b->load && b->heap && b->place && b->warp && queue->tasks && queue->tiles
           && queue->worker_first && queue->starts && queue->kv_slots && queue->queries && queue->masks;
}

static tree_status build(queue_builder *b)
{
    uint64_t num_head_blocks = (uint64_t)b->shape->num_blocks * b->shape->num_kv_heads, most = INT32_MAX;
    if (!(b->unmasked = array_of(b->plan->num_items, sizeof *b->unmasked)))
        return TREE_NOMEM;
    count_tasks(b);
    if (b->num_tasks > most || b->num_tiles > most || b->num_tokens > most || b->num_masks > most
        || num_head_blocks > UINT32_MAX / b->shape->block_tokens || b->shape->num_heads > UINT16_MAX)
        return TREE_OVERFLOW;
    b->queue.num_tasks = (uint32_t)b->num_tasks;
    b->queue.num_tiles = (uint32_t)b->num_tiles;
    b->queue.num_tokens = (uint32_t)b->num_tokens;
    b->queue.num_masks = (uint32_t)b->num_masks;
    b->queue.num_partials = b->plan->num_partials;
    b->queue.is_small = b->num_tasks && (uint64_t)b->plan->num_queries * b->group_size <= QUEUE_SMALL_ROWS
                        && b->shape->num_kv_heads <= b->queue.num_workers;
    if (!allocate(b))
        return TREE_NOMEM;
    cut_items(b);
    assign_workers(b);
    fill_tiles(b);
    fill_starts(b);
    fill_tokens(b);
    fill_rows(b);
    return TREE_OK;
}

tree_status plan_queue_build(plan_queue *queue, const tree_plan *plan, const tree_shape *shape, uint32_t num_workers)
{
    uint32_t group_size = shape->num_heads / shape->num_kv_heads;
    queue_builder b = {.plan = plan, .shape = shape, .group_size = group_size,
                       .tile_tokens = queue_tile_tokens(shape->head_dim), .queue.num_workers = num_workers};
    b.max_heads = group_size < QUEUE_TILE_ROWS ? group_size : QUEUE_TILE_ROWS;
    b.max_rows = QUEUE_TILE_ROWS / b.max_heads;
    b.queue.head_slices = (group_size + b.max_heads - 1) / b.max_heads;
    tree_status status = build(&b);
    free(b.unmasked);
    free(b.cost);
    free(b.order);
    free(b.worker);
    free(b.load);
    free(b.heap);
    free(b.place);
    free(b.warp);
    if (status)
        plan_queue_free(&b.queue);
    else
        *queue = b.queue;
    return status;
}

void plan_queue_free(plan_queue *queue)
{
    free(queue->tasks);
    free(queue->tiles);
    free(queue->worker_first);
    free(queue->starts);
    free(queue->kv_slots);
    free(queue->queries);
    free(queue->masks);
    *queue = (plan_queue){0};
}
