/* Fills in the queue of an outline (plan_outline.h): the arrays that plan_queue_build makes on the host, element by
 * element in parallel.
 *   threads    256 per thread block; a thread block takes a job, some tokens of an item; or a worker for each of its
 *              warps; or, if the plan is new, a share of the copies
 *   price      each step fills in everything again: kv_slots and masks, 12 bytes for each token of an item */
#include "device.cuh"

#include "gpu_internal.h"
#include "grid.cuh"
#include "plan_fill.h"
#include "wait_for_all.cuh"

enum {
    THREADS = 256,
    WARPS = THREADS / WARP,
    QUEUE_WARPS = QUEUE_TILE_ROWS / QUEUE_SLICE, /* of a worker of the queue: each has QUEUE_SLICE rows of a tile */
    JOB_SLICES = OUTLINE_JOB_TOKENS / QUEUE_SLICE + 2
};

struct job_shared {
    uint32_t count[QUEUE_WARPS];  /* slices of the item that belong to a warp */
    uint32_t before[QUEUE_WARPS]; /* those before the chunk */
    uint32_t place[JOB_SLICES];   /* of the slices of the chunk */
};

/* An item after some steps. */
struct item_view {
    tree_item item; /* of the plan */
    uint32_t first_token, num_tokens, first_mask, num_unmasked, first_task;
    uint32_t num_words; /* of the mask of a token */
    bool is_masked;
};

static __device__ uint32_t grown(outline_line line, uint32_t steps) { return line.now + steps * line.per_step; }

static __device__ item_view view_item(const plan_outline *o, uint32_t index, uint32_t steps)
{
    const outline_item from = OUTLINE_ARRAY(const outline_item, o, items)[index];
    item_view view;
    view.item = OUTLINE_ARRAY(const tree_item, o, plan_items)[index];
    view.first_token = grown(from.first_token, steps);
    view.num_tokens = grown(from.num_tokens, steps);
    view.first_mask = grown(from.first_mask, steps);
    view.num_unmasked = from.num_unmasked;
    view.first_task = from.first_task;
    view.num_words = (view.item.num_rows + 63) / 64;
    view.is_masked = from.num_unmasked != DEAL_NO_MASK;
    return view;
}

/* The range that holds token t of the item. */
static __device__ uint32_t find_range(const plan_outline *o, const item_view &view, uint32_t t, uint32_t steps)
{
    const outline_range *ranges = OUTLINE_ARRAY(const outline_range, o, ranges);
    uint32_t low = view.item.first_range, high = low + view.item.num_ranges - 1;
    while (low < high) {
        const uint32_t middle = low + (high - low + 1) / 2;
        if (grown(ranges[middle].first_token, steps) <= t)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* The mask words of token `in_range` of a range; NULL: all rows see it. */
static __device__ const uint64_t *mask_of(const plan_outline *o, const item_view &view, uint32_t range,
                                          uint32_t in_range)
{
    if (OUTLINE_ARRAY(const tree_range, o, plan_ranges)[range].mask == TREE_NO_MASK)
        return NULL;
    return OUTLINE_ARRAY(const uint64_t, o, mask_words)
           + OUTLINE_ARRAY(const outline_range, o, ranges)[range].first_word
           + (o->has_token_masks ? (uint64_t)in_range * view.num_words : 0);
}

/* ---- interleave (plan_queue.c): where masked tokens go ---- */

/* The warp of slice i: the one that has the first row that sees its first token. */
static __device__ uint32_t slice_warp(const plan_outline *o, const item_view &view, uint32_t i, uint32_t steps)
{
    const uint32_t t = view.num_unmasked + i * QUEUE_SLICE, range = find_range(o, view, t, steps);
    const uint32_t first = grown(OUTLINE_ARRAY(const outline_range, o, ranges)[range].first_token, steps);
    const uint64_t *words = mask_of(o, view, range, t - first);
    uint32_t row = view.item.num_rows - 1;
    if (!words)
        return 0;
    for (uint32_t w = 0; w < view.num_words; w++) {
        if (words[w]) {
            row = w * 64 + (uint32_t)__ffsll((long long)words[w]) - 1;
            break;
        }
    }
    return row % o->max_queries * o->max_heads / QUEUE_SLICE;
}

static __device__ void count_slices(const plan_outline *o, const item_view &view, job_shared &shared, uint32_t num_full,
                                    uint32_t first_slice, uint32_t steps)
{
    if (threadIdx.x < QUEUE_WARPS)
        shared.count[threadIdx.x] = shared.before[threadIdx.x] = 0;
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < num_full; i += THREADS) {
        const uint32_t warp = slice_warp(o, view, i, steps);
        atomicAdd(&shared.count[warp], 1u);
        if (i < first_slice)
            atomicAdd(&shared.before[warp], 1u);
    }
    __syncthreads();
}

/* By one warp, slices first .. end, in order: each lane has a slice, and counts those of the same warp before it. */
static __device__ void rank_slices(const plan_outline *o, const item_view &view, job_shared &shared, uint32_t num_full,
                                   uint32_t first, uint32_t end, uint32_t steps)
{
    const uint32_t lane = threadIdx.x % WARP;
    uint32_t next[QUEUE_WARPS];
    for (uint32_t w = 0; w < QUEUE_WARPS; w++)
        next[w] = shared.before[w];
    for (uint32_t begin = first; begin < end; begin += WARP) {
        const uint32_t i = begin + lane;
        const uint32_t warp = i < end && i < num_full ? slice_warp(o, view, i, steps) : (uint32_t)QUEUE_WARPS;
        uint32_t rank = 0, place = 0;
        for (uint32_t w = 0; w < QUEUE_WARPS; w++) {
            const uint32_t same = __ballot_sync(ALL_LANES, warp == w);
            if (warp == w)
                rank = next[w] + __popc(same & ((1u << lane) - 1));
            next[w] += __popc(same);
        }
        for (uint32_t w = 0; w < QUEUE_WARPS; w++) {
            const uint32_t before = rank + (w < warp);
            place += shared.count[w] < before ? shared.count[w] : before;
        }
        if (i < end)
            shared.place[i - first] = warp < QUEUE_WARPS ? place : i;
    }
}

/* shared.place of slices first .. end. */
static __device__ void place_slices(const plan_outline *o, const item_view &view, job_shared &shared, uint32_t first,
                                    uint32_t end, uint32_t steps)
{
    uint32_t num_full = (view.num_tokens - view.num_unmasked) / QUEUE_SLICE;
    if (view.item.num_rows * o->max_heads <= QUEUE_SLICE) /* one warp has all rows: all slices stay */
        num_full = 0;
    else
        count_slices(o, view, shared, num_full, first, steps);
    if (threadIdx.x < WARP)
        rank_slices(o, view, shared, num_full, first, end, steps);
    __syncthreads();
}

/* ---- tokens ---- */

static __device__ uint64_t mask_bits(const uint64_t *words, uint32_t first, uint32_t count)
{
    const uint32_t shift = first % 64;
    uint64_t bits = words[first / 64] >> shift;
    if (shift + count > 64)
        bits |= words[first / 64 + 1] << (64 - shift);
    return count == 64 ? bits : bits & (((uint64_t)1 << count) - 1);
}

/* The slot of a token of a range: that of its newest token may lie in a block that the host has named since. */
static __device__ uint32_t slot_of(const fill_arguments &a, uint32_t range, uint32_t in_range, uint32_t steps)
{
    const plan_outline *o = a.outline;
    const tree_range from = OUTLINE_ARRAY(const tree_range, o, plan_ranges)[range];
    const outline_line num_tokens = OUTLINE_ARRAY(const outline_range, o, ranges)[range].num_tokens;
    const uint32_t at = from.first_slot + in_range, in_block = at % a.shape.block_tokens;
    const uint32_t entry = from.first_block + at / a.shape.block_tokens;
    uint32_t block;
    if (steps && num_tokens.per_step && in_block == 0 && in_range + 1 == grown(num_tokens, steps)) {
        block = ((const volatile uint32_t *)a.new_blocks)[(uint64_t)o->turn * a.max_blocks + entry];
        a.plan.blocks[entry] = block;
    } else {
        block = steps ? a.plan.blocks[entry] : OUTLINE_ARRAY(const uint32_t, o, blocks)[entry];
    }
    return block * a.shape.num_kv_heads * a.shape.block_tokens + in_block;
}

/* The masks of a token for each task of its item, and for the items of the plan. */
static __device__ void fill_masks(const fill_arguments &a, const item_view &view, uint32_t range, uint32_t in_range,
                                  uint32_t place)
{
    const plan_outline *o = a.outline;
    const uint64_t *words = mask_of(o, view, range, in_range);
    uint64_t *mask = a.queue.masks + view.first_mask + place;
    for (uint32_t row = 0; row < view.item.num_rows; row += o->max_queries, mask += view.num_tokens) {
        const uint32_t rest = view.item.num_rows - row, count = rest < o->max_queries ? rest : o->max_queries;
        *mask = words ? mask_bits(words, row, count) : UINT64_MAX >> (64 - count);
    }
    uint64_t *to = a.plan.masks + OUTLINE_ARRAY(const tree_range, o, plan_ranges)[range].mask
                   + (uint64_t)in_range * view.num_words;
    for (uint32_t w = 0; words && w < view.num_words; w++)
        to[w] = words[w];
}

/* Bit q: query q of the plan is a row of the item, and sees a token with these mask words (NULL: all rows do). */
static __device__ uint32_t queries_of(const plan_outline *o, const item_view &view, const uint64_t *words)
{
    const uint32_t *rows = OUTLINE_ARRAY(const uint32_t, o, rows) + view.item.first_row;
    uint32_t queries = 0;
    for (uint32_t row = 0; row < view.item.num_rows; row++)
        queries |= !words || words[row / 64] >> row % 64 & 1 ? 1u << rows[row] : 0;
    return queries;
}

/* At most OUTLINE_JOB_TOKENS tokens of an item. */
static __device__ void fill_chunk(const fill_arguments &a, const item_view &view, job_shared &shared, uint32_t first,
                                  uint32_t end, uint32_t steps)
{
    const plan_outline *o = a.outline;
    const uint32_t unmasked = view.is_masked ? view.num_unmasked : view.num_tokens;
    const uint32_t first_slice = first < unmasked ? 0 : (first - unmasked) / QUEUE_SLICE;
    if (end > unmasked)
        place_slices(o, view, shared, first_slice, (end - unmasked + QUEUE_SLICE - 1) / QUEUE_SLICE, steps);
    for (uint32_t t = first + threadIdx.x; t < end; t += THREADS) {
        const uint32_t range = find_range(o, view, t, steps);
        const uint32_t in_range = t - grown(OUTLINE_ARRAY(const outline_range, o, ranges)[range].first_token, steps);
        uint32_t place = t;
        if (t >= unmasked)
            place = unmasked + shared.place[(t - unmasked) / QUEUE_SLICE - first_slice] * QUEUE_SLICE
                    + (t - unmasked) % QUEUE_SLICE;
        const uint32_t slot = slot_of(a, range, in_range, steps);
        a.queue.kv_slots[view.first_token + place] = slot;
        if (a.few_tokens)
            a.few_tokens[view.first_token + t] = {slot, queries_of(o, view, mask_of(o, view, range, in_range))};
        if (view.is_masked)
            fill_masks(a, view, range, in_range, place);
    }
    __syncthreads(); /* shared.place was read */
}

/* ---- items and tasks ---- */

static __device__ void fill_item(const fill_arguments &a, const item_view &view, uint32_t index, uint32_t steps)
{
    const plan_outline *o = a.outline;
    const uint32_t num_parts = (view.item.num_rows + o->max_queries - 1) / o->max_queries;
    for (uint32_t i = threadIdx.x; i < view.item.num_ranges; i += THREADS) {
        const uint32_t r = view.item.first_range + i;
        tree_range range = OUTLINE_ARRAY(const tree_range, o, plan_ranges)[r];
        range.num_tokens = grown(OUTLINE_ARRAY(const outline_range, o, ranges)[r].num_tokens, steps);
        a.plan.ranges[r] = range;
    }
    for (uint32_t i = threadIdx.x; i < num_parts * o->num_head_parts; i += THREADS) {
        const uint32_t part = i / o->num_head_parts, row = part * o->max_queries, rest = view.item.num_rows - row;
        const uint32_t head = i % o->num_head_parts * o->max_heads, heads = o->group_size - head;
        queue_task task = {};
        task.item = index;
        task.first_partial = view.item.first_partial + row;
        task.num_queries = (uint16_t)(rest < o->max_queries ? rest : o->max_queries);
        task.first_head = (uint16_t)head;
        task.num_heads = (uint16_t)(heads < o->max_heads ? heads : o->max_heads);
        task.first_token = view.first_token;
        task.num_tokens = view.num_tokens;
        task.first_mask = view.is_masked ? view.first_mask + part * view.num_tokens : QUEUE_NO_MASK;
        a.queue.tasks[view.first_task + i] = task;
    }
    if (threadIdx.x == 0) {
        tree_item item = view.item;
        item.num_tokens = view.num_tokens;
        a.plan.items[index] = item;
    }
}

static __device__ void fill_job(const fill_arguments &a, job_shared &shared, uint32_t n, uint32_t steps)
{
    const plan_outline *o = a.outline;
    const outline_job *jobs = OUTLINE_ARRAY(const outline_job, o, jobs), job = jobs[n];
    const item_view view = view_item(o, job.item, steps);
    const bool is_last = n + 1 == o->num_jobs || jobs[n + 1].item != job.item;
    const uint32_t end = is_last ? view.num_tokens : job.first_token + OUTLINE_JOB_TOKENS;
    if (job.first_token == 0)
        fill_item(a, view, job.item, steps);
    for (uint32_t first = job.first_token; first < end; first += OUTLINE_JOB_TOKENS)
        fill_chunk(a, view, shared, first, end - first < OUTLINE_JOB_TOKENS ? end : first + OUTLINE_JOB_TOKENS, steps);
}

/* ---- workers: tiles and starts ---- */

/* Tile `number` of a task, for a KV head (add_tiles of plan_queue.c). The task is not read: another thread block
 * writes it in the same launch. */
static __device__ queue_tile make_tile(const fill_arguments &a, const item_view &view, uint32_t share, uint32_t number)
{
    const plan_outline *o = a.outline;
    const uint32_t index = share / a.shape.num_kv_heads - view.first_task, kv_head = share % a.shape.num_kv_heads;
    const uint32_t part = index / o->num_head_parts, row = part * o->max_queries, rest = view.item.num_rows - row;
    const uint32_t head = index % o->num_head_parts * o->max_heads, heads = o->group_size - head;
    const uint32_t tile_tokens = o->tile_tokens, done = number * tile_tokens;
    const uint32_t left = view.num_tokens - done;
    queue_tile tile = {};
    tile.first_partial = view.item.first_partial + row;
    tile.number = number;
    tile.head = kv_head * o->group_size + head;
    tile.num_tokens = (uint16_t)(left < tile_tokens ? left : tile_tokens);
    tile.kv_head = (uint16_t)kv_head;
    tile.num_queries = (uint8_t)(rest < o->max_queries ? rest : o->max_queries);
    tile.num_heads = (uint8_t)(heads < o->max_heads ? heads : o->max_heads);
    tile.first_token = view.first_token + done;
    tile.first_mask = QUEUE_NO_MASK;
    if (view.is_masked && done + tile.num_tokens > view.num_unmasked)
        tile.first_mask = view.first_mask + part * view.num_tokens + done;
    tile.is_first = number == 0;
    tile.is_last = left == tile.num_tokens;
    tile.is_masked = view.is_masked;
    tile.reciprocal = (uint16_t)((32768 + tile.num_heads - 1) / tile.num_heads);
    return tile;
}

/* The item of a task: the last one whose first task is not behind it. */
static __device__ uint32_t find_item(const plan_outline *o, uint32_t task)
{
    const outline_item *items = OUTLINE_ARRAY(const outline_item, o, items);
    uint32_t low = 0, high = o->num_items - 1;
    while (low < high) {
        const uint32_t middle = low + (high - low + 1) / 2;
        if (items[middle].first_task <= task)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Workers of the same KV head that have tiles. */
static __device__ uint32_t count_sharing(const plan_outline *o, uint32_t kv_head, uint32_t num_kv_heads)
{
    const outline_worker *workers = OUTLINE_ARRAY(const outline_worker, o, workers);
    const uint32_t first = (uint32_t)((uint64_t)o->num_workers * kv_head / num_kv_heads);
    const uint32_t end = (uint32_t)((uint64_t)o->num_workers * (kv_head + 1) / num_kv_heads);
    uint32_t count = 0;
    for (uint32_t w = first; w < end; w++)
        count += workers[w + 1].first_share != workers[w].first_share;
    return count;
}

/* By one warp: a worker's shares in turn, a tile for each lane. */
static __device__ void fill_worker(const fill_arguments &a, uint32_t w, uint32_t steps)
{
    const plan_outline *o = a.outline;
    const outline_worker *workers = OUTLINE_ARRAY(const outline_worker, o, workers);
    const uint32_t *shares = OUTLINE_ARRAY(const uint32_t, o, shares);
    const uint32_t lane = threadIdx.x % WARP, tile_tokens = o->tile_tokens;
    const uint32_t first_share = workers[w].first_share, end_share = workers[w + 1].first_share;
    queue_start start = {};
    start.first_tile = workers[w].first_tile;
    for (uint32_t s = first_share; s < end_share; s++) {
        const item_view view = view_item(o, find_item(o, shares[s] / a.shape.num_kv_heads), steps);
        const uint32_t num_tiles = (view.num_tokens + tile_tokens - 1) / tile_tokens;
        for (uint32_t n = lane; n < num_tiles; n += WARP)
            a.queue.tiles[start.first_tile + start.num_tiles + n] = make_tile(a, view, shares[s], n);
        for (uint32_t n = start.num_tiles; n < QUEUE_START_TILES && n < start.num_tiles + num_tiles; n++)
            start.tiles[n] = make_tile(a, view, shares[s], n - start.num_tiles);
        start.num_tiles += num_tiles;
    }
    if (o->is_small && start.num_tiles) {
        start.kv_head = shares[first_share] % a.shape.num_kv_heads;
        start.num_sharing = count_sharing(o, start.kv_head, a.shape.num_kv_heads);
    }
    if (lane == 0)
        a.queue.starts[w] = start;
}

/* ---- arrays of a new plan that no step changes ---- */

static __device__ uint32_t count_tokens(const plan_outline *o, uint32_t steps)
{
    if (o->num_items == 0)
        return 0;
    const outline_item last = OUTLINE_ARRAY(const outline_item, o, items)[o->num_items - 1];
    return grown(last.first_token, steps) + grown(last.num_tokens, steps);
}

template <typename T>
static __device__ void copy_array(T *to, const T *from, uint32_t count, uint32_t thread, uint32_t num_threads)
{
    for (uint32_t i = thread; i < count; i += num_threads)
        to[i] = from[i];
}

/* Entry i of the merge lists: the list that holds it. */
static __device__ uint32_t find_query(const plan_outline *o, uint32_t i)
{
    const uint32_t *merge_first = OUTLINE_ARRAY(const uint32_t, o, merge_first);
    uint32_t low = 0, high = o->num_queries - 1;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (merge_first[middle + 1] > i)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static __device__ void fill_new(const fill_arguments &a, uint32_t steps, uint32_t thread, uint32_t num_threads)
{
    const plan_outline *o = a.outline;
    const tree_item *items = OUTLINE_ARRAY(const tree_item, o, plan_items);
    const uint32_t *merge_first = OUTLINE_ARRAY(const uint32_t, o, merge_first);
    const uint32_t *partials = OUTLINE_ARRAY(const uint32_t, o, merge_partials);
    copy_array(a.plan.blocks, OUTLINE_ARRAY(const uint32_t, o, blocks), o->num_blocks, thread, num_threads);
    copy_array(a.plan.rows, OUTLINE_ARRAY(const uint32_t, o, rows), o->num_queries, thread, num_threads);
    copy_array(a.plan.merge_first, merge_first, o->num_queries + 1, thread, num_threads);
    copy_array(a.plan.merge_partials, partials, o->num_partials, thread, num_threads);
    for (uint32_t i = thread; i < o->num_partials; i += num_threads) {
        const uint32_t q = find_query(o, i);
        const bool is_only = merge_first[q + 1] - merge_first[q] == 1;
        a.queue.queries[partials[i]] = {q, is_only ? QUEUE_ONLY_STATE : i};
    }
    for (uint32_t i = thread; i < o->num_items; i += num_threads) {
        for (uint32_t row = 0; row < items[i].num_rows; row++)
            a.partial_item[items[i].first_partial + row] = i;
    }
    for (uint32_t i = thread; i < 1 + a.shape.num_kv_heads; i += num_threads)
        a.arrivals[i] = 0;
    for (uint32_t i = count_tokens(o, steps) + thread; a.few_tokens && i < a.few_capacity; i += num_threads)
        a.few_tokens[i] = {FEW_END, 0};
}

/* ---- the kernels ---- */

/* All jobs and workers, and for a new plan everything else. */
static __device__ void fill_all(const fill_arguments &a, job_shared &shared, uint32_t steps, bool is_new)
{
    const uint32_t num_jobs = a.outline->num_jobs, num_workers = a.outline->num_workers;
    for (uint32_t n = blockIdx.x; n < num_jobs; n += gridDim.x)
        fill_job(a, shared, n, steps);
    /* from the last thread block on, which has the fewest jobs */
    const uint32_t block = gridDim.x - 1 - blockIdx.x;
    for (uint32_t w = block * WARPS + threadIdx.x / WARP; w < num_workers; w += gridDim.x * WARPS)
        fill_worker(a, w, steps);
    if (is_new)
        fill_new(a, steps, block * THREADS + threadIdx.x, gridDim.x * THREADS);
}

/* Slots of the newest tokens. */
static __device__ void fill_slots(const fill_arguments &a, uint64_t *slots, uint32_t steps)
{
    const plan_outline *o = a.outline;
    const uint32_t *ends = OUTLINE_ARRAY(const uint32_t, o, ends);
    const uint32_t head_slots = a.shape.num_kv_heads * a.shape.block_tokens;
    for (uint32_t q = blockIdx.x * THREADS + threadIdx.x; q < o->num_queries; q += gridDim.x * THREADS) {
        slots[q] = UINT64_MAX; /* KV_SKIP_SLOT */
        if (ends[q] == OUTLINE_FIXED)
            continue;
        const outline_line num_tokens = OUTLINE_ARRAY(const outline_range, o, ranges)[ends[q]].num_tokens;
        const uint32_t slot = slot_of(a, ends[q], grown(num_tokens, steps) - 1, steps);
        slots[q] = (uint64_t)(slot / head_slots) * a.shape.block_tokens + slot % head_slots;
    }
}

/* One launch instead of a copy and a launch: on the host, each costs as much as half of an outline. */
static __global__ void __launch_bounds__(THREADS)
    fill_plan(const __grid_constant__ fill_arguments a, const __grid_constant__ outline_copy copy)
{
    SHARED_VARIABLE(shared, job_shared);
    copy_array((uint64_t *)copy.to, (const uint64_t *)copy.from, copy.num_bytes / 8, blockIdx.x * THREADS + threadIdx.x,
               gridDim.x * THREADS);
    wait_for_all(copy.barrier);
    if (blockIdx.x == 0 && threadIdx.x == 0)
        *copy.taken = copy.number; /* all thread blocks have read their part */
    fill_all(a, shared, a.outline->steps, true);
    __threadfence(); /* a launch_early reads the plan once all thread blocks here have ended */
}

/* The last thread block to end writes the number of steps, which all others have read by then. Counting also makes what
 * a thread block has written visible to a launch_early, as the fence of fill_plan does. */
static __global__ void __launch_bounds__(THREADS) fill_step(const __grid_constant__ fill_arguments a, uint64_t *slots)
{
    SHARED_VARIABLE(shared, job_shared);
    plan_outline *o = a.outline;
    const bool is_new = o->is_new;
    const uint32_t steps = o->steps + (!is_new && o->steps < o->num_steps);
    if (!is_new)
        fill_all(a, shared, steps, false);
    if (slots)
        fill_slots(a, slots, steps);
    __syncthreads();
    if (threadIdx.x == 0 && count_arrival(&o->num_arrived, gridDim.x - 1) == gridDim.x - 1) {
        o->steps = steps;
        o->is_new = 0;
    }
}

cudaError_t plan_fill_new(const fill_arguments *a, const outline_copy *copy, cudaStream_t stream)
{
    return launch_cooperative(a->num_blocks, THREADS, 0, stream, fill_plan, *a, *copy);
}

cudaError_t plan_fill_step(const fill_arguments *a, uint64_t *slots, cudaStream_t stream)
{
    return launch_kernel(a->num_blocks, THREADS, 0, stream, fill_step, *a, slots);
}
