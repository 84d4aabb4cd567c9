/* A plan as the GPU runs it, in four steps: cut items into tasks, deal tasks to workers, interleave masked tokens, fill
 * the arrays that workers read. */
#include "plan_queue.h"

#include <stdlib.h>
#include <string.h>

enum { WARPS = QUEUE_TILE_ROWS / QUEUE_SLICE }; /* of a worker: each has QUEUE_SLICE rows of its tile */

#define ALL_TOKENS DEAL_NO_MASK

typedef struct queue_builder {
    const tree_plan *plan;
    const tree_shape *shape;
    plan_deal deal;
    uint64_t num_slices, max_slices;
    uint32_t *next_tile;    /* [num_workers] scratch */
    uint32_t *slice_warp;   /* [max_slices of an item] scratch */
    plan_queue queue;
} queue_builder;

/* ---- cut: items to tasks ---- */

/* Slices of an item's tokens from its first mask on; the last one may be part-filled. */
static uint32_t count_slices(const tree_item *item, uint32_t num_unmasked)
{
    return num_unmasked == ALL_TOKENS ? 0 : (item->num_tokens - num_unmasked + QUEUE_SLICE - 1) / QUEUE_SLICE;
}

static uint32_t num_slices_of(const queue_builder *b, uint32_t item)
{
    return count_slices(&b->plan->items[item], b->deal.num_unmasked[item]);
}

static void count_all_slices(queue_builder *b)
{
    for (uint32_t i = 0; i < b->plan->num_items; i++) {
        uint32_t num_slices = num_slices_of(b, i);
        b->num_slices += num_slices;
        b->max_slices = num_slices > b->max_slices ? num_slices : b->max_slices;
    }
}

/* Adds a task for each max_heads heads of a group. */
static void add_tasks(queue_builder *b, queue_task task, uint32_t *count)
{
    for (uint32_t head = 0; head < b->deal.group_size; head += b->deal.max_heads) {
        uint32_t rest = b->deal.group_size - head;
        task.first_head = (uint16_t)head;
        task.num_heads = (uint16_t)(rest < b->deal.max_heads ? rest : b->deal.max_heads);
        b->queue.tasks[(*count)++] = task;
    }
}

static void cut_items(queue_builder *b)
{
    uint32_t count = 0, first_token = 0, first_mask = 0;
    for (uint32_t i = 0; i < b->plan->num_items; i++) {
        const tree_item *item = &b->plan->items[i];
        bool is_masked = b->deal.num_unmasked[i] != ALL_TOKENS;
        for (uint32_t row = 0; row < item->num_rows; row += b->deal.max_queries) {
            uint32_t rest = item->num_rows - row;
            queue_task task = {.item = i, .first_partial = item->first_partial + row,
                               .num_queries = (uint16_t)(rest < b->deal.max_queries ? rest : b->deal.max_queries),
                               .first_token = first_token, .num_tokens = item->num_tokens,
                               .first_mask = is_masked ? first_mask : QUEUE_NO_MASK};
            first_mask += is_masked ? item->num_tokens : 0;
            add_tasks(b, task, &count);
        }
        first_token += item->num_tokens;
    }
}

/* The bounds of the workers' tiles. */
static void fill_worker_first(queue_builder *b)
{
    uint32_t num_kv_heads = b->shape->num_kv_heads, *first = b->queue.worker_first;
    for (uint32_t i = 0; i < b->queue.num_tasks; i++) {
        for (uint32_t kv_head = 0; kv_head < num_kv_heads; kv_head++)
            first[b->deal.worker[(uint64_t)i * num_kv_heads + kv_head] + 1] +=
                deal_num_tiles(&b->deal, b->queue.tasks[i].num_tokens);
    }
    for (uint32_t w = 0; w < b->queue.num_workers; w++)
        first[w + 1] += first[w];
}

/* ---- interleave: where masked tokens go ----
 *
 * A warp has QUEUE_SLICE rows of the tile and skips slices of tokens that none of them sees. The masked tokens of
 * packed leaves are sorted as their rows are, so in that order only one warp at a time would have tokens to compute:
 *
 *   in the plan      0 0 0 0 1 1 1 2 2 3        each number is a slice, and the warp that sees it
 *   round-robin      0 1 2 3 0 1 2 0 1 0 */

/* The warp that has the first row that sees the token. */
static uint32_t warp_of(const queue_builder *b, const uint64_t *mask_words, uint32_t num_rows)
{
    uint32_t row = 0;
    while (row + 1 < num_rows && !(mask_words[row / 64] >> (row % 64) & 1))
        row++;
    return row % b->deal.max_queries * b->deal.max_heads / QUEUE_SLICE;
}

/* slice_warp[i]: the warp of the first token of slice i. A token that all rows see counts as warp 0's. */
static void find_slice_warps(queue_builder *b, uint32_t index, uint32_t num_slices, uint32_t count[WARPS])
{
    const tree_plan *plan = b->plan;
    const tree_item *item = &plan->items[index];
    uint32_t words = (item->num_rows + 63) / 64, r = item->first_range, skipped = 0;
    for (uint32_t i = 0; i < num_slices; i++) {
        uint32_t t = b->deal.num_unmasked[index] + i * QUEUE_SLICE;
        for (; t - skipped >= plan->ranges[r].num_tokens; r++)
            skipped += plan->ranges[r].num_tokens;
        const tree_range *range = &plan->ranges[r];
        b->slice_warp[i] = 0;
        if (range->mask != TREE_NO_MASK)
            b->slice_warp[i] = warp_of(b, plan->masks + range->mask + (uint64_t)(t - skipped) * words, item->num_rows);
        count[b->slice_warp[i]]++;
    }
}

/* Round-robin: slice n of a warp comes after the first n slices of every warp, and after slice n of each warp with a
 * lower number, as far as those warps have so many. */
static void interleave_item(queue_builder *b, uint32_t index, uint32_t *slice_place)
{
    const tree_item *item = &b->plan->items[index];
    uint32_t count[WARPS] = {0}, next[WARPS] = {0}, num_slices = num_slices_of(b, index);
    uint32_t num_full = (item->num_tokens - b->deal.num_unmasked[index]) / QUEUE_SLICE;
    for (uint32_t i = 0; i < num_slices; i++)
        slice_place[i] = i;
    if (item->num_rows * b->deal.max_heads <= QUEUE_SLICE) /* one warp has all rows */
        return;
    find_slice_warps(b, index, num_full, count);
    for (uint32_t i = 0; i < num_full; i++) {
        uint32_t warp = b->slice_warp[i], n = next[warp]++, place = 0;
        for (uint32_t w = 0; w < WARPS; w++) {
            uint32_t before = w < warp ? n + 1 : n;
            place += count[w] < before ? count[w] : before;
        }
        slice_place[i] = place;
    }
}

static void interleave(queue_builder *b)
{
    uint32_t *slice_place = b->queue.slice_place;
    for (uint32_t i = 0; i < b->plan->num_items; i++) {
        if (b->deal.num_unmasked[i] == ALL_TOKENS)
            continue;
        interleave_item(b, i, slice_place);
        slice_place += num_slices_of(b, i);
    }
}

/* The place of token t of an item in the item's list. */
static uint32_t place_of(const uint32_t *slice_place, uint32_t num_unmasked, uint32_t t)
{
    if (t < num_unmasked)
        return t;
    uint32_t at = t - num_unmasked;
    return num_unmasked + slice_place[at / QUEUE_SLICE] * QUEUE_SLICE + at % QUEUE_SLICE;
}

/* How many tokens from token t on have places that follow each other. */
static uint32_t run_from(uint32_t num_unmasked, uint32_t t)
{
    return t < num_unmasked ? num_unmasked - t : QUEUE_SLICE - (t - num_unmasked) % QUEUE_SLICE;
}

/* ---- fill: tiles and starts ---- */

static void add_tiles(queue_builder *b, const queue_task *task, uint32_t kv_head, uint32_t *next)
{
    uint32_t num_unmasked = b->deal.num_unmasked[task->item];
    queue_tile tile = {.first_token = task->first_token, .first_partial = task->first_partial,
                       .head = kv_head * b->deal.group_size + task->first_head, .kv_head = (uint16_t)kv_head,
                       .num_queries = (uint8_t)task->num_queries, .num_heads = (uint8_t)task->num_heads,
                       .is_masked = task->first_mask != QUEUE_NO_MASK,
                       .reciprocal = (uint16_t)((32768 + task->num_heads - 1) / task->num_heads)};
    for (uint32_t done = 0; done < task->num_tokens; done += tile.num_tokens, tile.number++) {
        uint32_t left = task->num_tokens - done;
        tile.num_tokens = (uint16_t)(left < b->deal.tile_tokens ? left : b->deal.tile_tokens);
        tile.first_token = task->first_token + done;
        tile.first_mask = done + tile.num_tokens <= num_unmasked ? QUEUE_NO_MASK : task->first_mask + done;
        tile.is_first = done == 0;
        tile.is_last = left == tile.num_tokens;
        b->queue.tiles[(*next)++] = tile;
    }
}

/* Each worker's tiles, in the order in which its tasks were dealt. */
static void fill_tiles(queue_builder *b)
{
    uint32_t num_kv_heads = b->shape->num_kv_heads;
    memcpy(b->next_tile, b->queue.worker_first, b->queue.num_workers * sizeof *b->next_tile);
    for (uint32_t i = 0; i < b->queue.num_tasks; i++) {
        const uint32_t *worker = b->deal.worker + (uint64_t)b->deal.order[i] * num_kv_heads;
        for (uint32_t kv_head = 0; kv_head < num_kv_heads; kv_head++)
            add_tiles(b, &b->queue.tasks[b->deal.order[i]], kv_head, &b->next_tile[worker[kv_head]]);
    }
}

/* For a small queue: kv_head and num_sharing. The workers of a KV head follow each other; some may have no tiles. */
static void fill_only_heads(queue_builder *b)
{
    uint32_t num_workers = b->queue.num_workers, num_kv_heads = b->shape->num_kv_heads;
    for (uint32_t kv_head = 0; kv_head < num_kv_heads; kv_head++) {
        queue_start *first = b->queue.starts + (uint64_t)num_workers * kv_head / num_kv_heads;
        queue_start *end = b->queue.starts + (uint64_t)num_workers * (kv_head + 1) / num_kv_heads;
        uint32_t num_sharing = 0;
        for (const queue_start *start = first; start < end; start++)
            num_sharing += start->num_tiles != 0;
        for (queue_start *start = first; start < end; start++) {
            start->kv_head = start->num_tiles ? kv_head : 0;
            start->num_sharing = start->num_tiles ? num_sharing : 0;
        }
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

/* ---- fill: tokens, masks and queries ---- */

static void fill_kv_slots(queue_builder *b, uint32_t index, const uint32_t *slice_place, uint32_t *kv_slots)
{
    const tree_plan *plan = b->plan;
    const tree_item *item = &plan->items[index];
    uint32_t num_unmasked = b->deal.num_unmasked[index], t = 0;
    uint32_t block_slots = b->shape->num_kv_heads * plan->block_tokens;
    uint32_t block_shift = (uint32_t)__builtin_ctz(plan->block_tokens), in_block = plan->block_tokens - 1;
    for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
        const tree_range *range = &plan->ranges[r];
        const uint32_t *blocks = plan->blocks + range->first_block;
        uint32_t end_slot = range->first_slot + range->num_tokens;
        for (uint32_t at = range->first_slot; at < end_slot; at++, t++)
            kv_slots[place_of(slice_place, num_unmasked, t)] =
                blocks[at >> block_shift] * block_slots + (at & in_block);
    }
}

/* Bits first .. first + count of some words; first < 64. */
static uint64_t mask_bits(const uint64_t *words, uint32_t first, uint32_t count)
{
    uint64_t bits = words[0] >> first;
    if (first + count > 64)
        bits |= words[1] << (64 - first);
    return count == 64 ? bits : bits & (((uint64_t)1 << count) - 1);
}

/* masks[..]: from the task's first mask on. */
static void fill_masks(uint64_t *masks, const tree_plan *plan, const queue_task *task, const uint32_t *slice_place,
                       uint32_t num_unmasked)
{
    static const uint64_t all[2] = {UINT64_MAX, UINT64_MAX};
    const tree_item *item = &plan->items[task->item];
    uint32_t num_words = (item->num_rows + 63) / 64, first = task->first_partial - item->first_partial;
    uint32_t num_queries = task->num_queries, t = 0;
    for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
        const tree_range *range = &plan->ranges[r];
        bool is_masked = range->mask != TREE_NO_MASK;
        const uint64_t *words = is_masked ? plan->masks + range->mask + first / 64 : all;
        uint32_t step = is_masked ? num_words : 0;
        for (uint32_t end = t + range->num_tokens, count; t < end; t += count) {
            uint64_t *run = masks + place_of(slice_place, num_unmasked, t);
            count = run_from(num_unmasked, t);
            count = count < end - t ? count : end - t;
            for (uint32_t i = 0; i < count; i++, words += step)
                run[i] = mask_bits(words, first % 64, num_queries);
        }
    }
}

/* The tasks of an item follow each other; those that differ in their heads alone share their masks. */
void plan_queue_masks(uint64_t *masks, const plan_queue *queue, const tree_plan *plan)
{
    const uint32_t *slice_place = queue->slice_place;
    for (uint32_t i = 0, end; i < queue->num_tasks; i = end) {
        uint32_t item = queue->tasks[i].item, num_unmasked = ALL_TOKENS;
        if (queue->tasks[i].first_mask != QUEUE_NO_MASK)
            num_unmasked = deal_count_unmasked(plan, &plan->items[item]);
        for (end = i; end < queue->num_tasks && queue->tasks[end].item == item; end++) {
            const queue_task *task = &queue->tasks[end];
            if (num_unmasked != ALL_TOKENS && task->first_head == 0)
                fill_masks(masks + task->first_mask, plan, task, slice_place, num_unmasked);
        }
        slice_place += count_slices(&plan->items[item], num_unmasked);
    }
}

static void fill_tokens(queue_builder *b)
{
    const uint32_t *slice_place = b->queue.slice_place;
    uint32_t *kv_slots = b->queue.kv_slots;
    for (uint32_t i = 0; i < b->plan->num_items; i++) {
        fill_kv_slots(b, i, slice_place, kv_slots);
        kv_slots += b->plan->items[i].num_tokens;
        slice_place += num_slices_of(b, i);
    }
    plan_queue_masks(b->queue.masks, &b->queue, b->plan);
}

static void fill_queries(queue_builder *b)
{
    const tree_plan *plan = b->plan;
    for (uint32_t q = 0; q < plan->num_queries; q++) {
        uint32_t first = plan->merge_first[q], end = plan->merge_first[q + 1];
        for (uint32_t i = first; i < end; i++)
            b->queue.queries[plan->merge_partials[i]] = (queue_query){q, end - first == 1 ? QUEUE_ONLY_STATE : i};
    }
}

/* ---- build ---- */

static void *array_of(uint64_t count, size_t bytes) { return calloc(count ? (size_t)count : 1, bytes); }

static bool allocate_tasks(queue_builder *b)
{
    return (b->queue.tasks = array_of(b->queue.num_tasks, sizeof *b->queue.tasks));
}

static bool allocate(queue_builder *b)
{
    plan_queue *queue = &b->queue;
    bool has_tasks = allocate_tasks(b);
    b->next_tile = array_of(queue->num_workers, sizeof *b->next_tile);
    b->slice_warp = array_of(b->max_slices, sizeof *b->slice_warp);
    queue->tiles = array_of(queue->num_tiles, sizeof *queue->tiles);
    queue->worker_first = array_of((uint64_t)queue->num_workers + 1, sizeof *queue->worker_first);
    queue->starts = array_of(queue->num_workers, sizeof *queue->starts);
    queue->kv_slots = array_of(queue->num_tokens, sizeof *queue->kv_slots);
    queue->queries = array_of(b->plan->num_partials, sizeof *queue->queries);
    queue->masks = array_of(queue->num_masks, sizeof *queue->masks);
    queue->slice_place = array_of(b->num_slices, sizeof *queue->slice_place);
    return has_tasks && b->next_tile && b->slice_warp && queue->tiles && queue->worker_first && queue->starts
           && queue->kv_slots && queue->queries && queue->masks && queue->slice_place;
}

static tree_status count(queue_builder *b)
{
    tree_status status = plan_deal_count(&b->deal, b->plan, b->shape, b->queue.num_workers);
    if (status)
        return status;
    b->queue.num_tasks = (uint32_t)b->deal.num_tasks;
    b->queue.num_tiles = (uint32_t)b->deal.num_tiles;
    b->queue.num_tokens = (uint32_t)b->deal.num_tokens;
    b->queue.num_masks = (uint32_t)b->deal.num_masks;
    b->queue.num_partials = b->plan->num_partials;
    b->queue.is_small = b->deal.is_small;
    b->queue.needs_merge = b->deal.needs_merge;
    count_all_slices(b);
    return TREE_OK;
}

static tree_status build(queue_builder *b)
{
    tree_status status = count(b);
    if (status)
        return status;
    if (!allocate(b))
        return TREE_NOMEM;
    cut_items(b);
    plan_deal_tasks(&b->deal, b->plan, b->shape);
    fill_worker_first(b);
    interleave(b);
    fill_tiles(b);
    fill_starts(b);
    fill_tokens(b);
    fill_queries(b);
    return TREE_OK;
}

static tree_status finish(queue_builder *b, tree_status status, plan_queue *queue)
{
    plan_deal_free(&b->deal);
    free(b->next_tile);
    free(b->slice_warp);
    if (status)
        plan_queue_free(&b->queue);
    else
        *queue = b->queue;
    return status;
}

tree_status plan_queue_build(plan_queue *queue, const tree_plan *plan, const tree_shape *shape, uint32_t num_workers)
{
    queue_builder b = {.plan = plan, .shape = shape, .queue.num_workers = num_workers};
    return finish(&b, build(&b), queue);
}

tree_status plan_queue_cut(plan_queue *queue, const tree_plan *plan, const tree_shape *shape)
{
    queue_builder b = {.plan = plan, .shape = shape};
    tree_status status = count(&b);
    if (status == TREE_OK && !allocate_tasks(&b))
        status = TREE_NOMEM;
    if (status == TREE_OK)
        cut_items(&b);
    return finish(&b, status, queue);
}

void plan_queue_trim(plan_queue *queue)
{
    free(queue->tiles);
    free(queue->worker_first);
    free(queue->starts);
    free(queue->kv_slots);
    free(queue->queries);
    free(queue->masks);
    queue->tiles = NULL;
    queue->worker_first = NULL;
    queue->starts = NULL;
    queue->kv_slots = NULL;
    queue->queries = NULL;
    queue->masks = NULL;
}

void plan_queue_free(plan_queue *queue)
{
    plan_queue_trim(queue);
    free(queue->tasks);
    free(queue->slice_place);
    *queue = (plan_queue){0};
}
