/* The outline of a queue: counts and first places, as lines; then the arrays, each in one pass. */
#include "plan_outline.h"

#include <stdlib.h>
#include <string.h>

#include "tree_plan_items_internal.h"

/* ---- begin: which ranges grow, and how much room that takes ---- */

static uint32_t words_of(const tree_item *item) { return (uint32_t)(((uint64_t)item->num_rows + 63) / 64); }

/* Whether all tokens of each masked range have the same mask words, as in every plan without evicted tokens. */
static bool has_range_masks(const tree_plan *plan)
{
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        uint32_t words = words_of(item);
        for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
            const tree_range *range = &plan->ranges[r];
            if (range->mask == TREE_NO_MASK || range->num_tokens == 0)
                continue;
            const uint64_t *first = plan->masks + range->mask;
            if (memcmp(first + words, first, (size_t)(range->num_tokens - 1) * words * sizeof *first) != 0)
                return false;
        }
    }
    return true;
}

/* Scratch: num_growing, next_share, grows. */
static bool reserve(outline_builder *b, uint32_t num_workers)
{
    uint64_t bytes = 4 * ((uint64_t)b->plan->num_items + num_workers) + b->plan->num_ranges;
    uint64_t room = bytes + bytes / 4 + 64;
    if (room <= SIZE_MAX && bytes > b->capacity) {
        free(b->memory);
        b->memory = malloc((size_t)room);
        b->capacity = b->memory ? (size_t)room : 0;
    }
    if (bytes > b->capacity)
        return false;
    b->num_growing = (uint32_t *)b->memory;
    b->next_share = b->num_growing + b->plan->num_items;
    b->grows = (uint8_t *)(b->next_share + num_workers);
    return true;
}

/* Whether the mask of the range's first token has a bit. The device gives this mask to new tokens as well, which their
 * query sees even if all tokens before were evicted. */
static bool is_seen(const tree_plan *plan, const tree_item *item, const tree_range *range)
{
    uint64_t bits = 0;
    for (uint32_t w = 0; range->mask != TREE_NO_MASK && w < words_of(item); w++)
        bits |= plan->masks[range->mask + w];
    return range->mask == TREE_NO_MASK || bits != 0;
}

/* In a plan whose tokens have masks of their own, nothing grows: the masks of new tokens would have to be sent. */
static void find_growing(outline_builder *b)
{
    const tree_plan *plan = b->plan;
    b->num_steps = b->head.has_token_masks ? 0 : OUTLINE_STEPS;
    memset(b->num_growing, 0, plan->num_items * sizeof *b->num_growing);
    memset(b->grows, 0, plan->num_ranges);
    for (uint32_t q = 0; q < plan->num_queries; q++) {
        const struct tree_plan_growth *end = &plan->growth[q];
        if (end->range == KV_NONE)
            continue;
        b->grows[end->range] = 1;
        b->num_growing[end->item]++;
        const bool follows = is_seen(plan, &plan->items[end->item], &plan->ranges[end->range]);
        b->num_steps = follows ? plan_min(b->num_steps, end->room) : 0;
    }
}

static void count_room(outline_builder *b)
{
    const plan_deal *deal = &b->deal;
    b->room = (outline_room){.num_tasks = deal->num_tasks};
    for (uint32_t i = 0; i < b->plan->num_items; i++) {
        const tree_item *item = &b->plan->items[i];
        uint64_t num_parts = deal_num_parts(deal, item->num_rows);
        uint64_t num_tokens = item->num_tokens + (uint64_t)b->num_steps * b->num_growing[i];
        b->room.num_tokens += num_tokens;
        b->room.num_masks += deal->num_unmasked[i] == DEAL_NO_MASK ? 0 : num_parts * num_tokens;
        b->room.num_tiles += num_parts * deal->num_head_parts * b->shape->num_kv_heads
                             * deal_num_tiles(deal, num_tokens);
    }
}

static bool has_overflow(const outline_room *room)
{
    return room->num_tokens > INT32_MAX || room->num_masks > INT32_MAX || room->num_tiles > INT32_MAX;
}

static void count_jobs_and_words(outline_builder *b, uint64_t *num_jobs, uint64_t *num_words)
{
    const tree_plan *plan = b->plan;
    *num_words = b->head.has_token_masks ? plan->num_mask_words : 0;
    *num_jobs = 0;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        *num_jobs += item->num_tokens / OUTLINE_JOB_TOKENS + 1;
        for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges && !b->head.has_token_masks; r++)
            *num_words += plan->ranges[r].mask == TREE_NO_MASK ? 0 : words_of(item);
    }
}

static uint32_t place(uint64_t *end, uint64_t count, size_t bytes)
{
    uint64_t at = *end;
    *end = (at + count * bytes + 15) & ~UINT64_C(15);
    return (uint32_t)at;
}

static tree_status lay_out(outline_builder *b)
{
    const tree_plan *plan = b->plan;
    plan_outline *head = &b->head;
    uint64_t num_jobs, num_words, end = sizeof *head;
    count_jobs_and_words(b, &num_jobs, &num_words);
    head->mask_words = place(&end, num_words, sizeof(uint64_t));
    head->plan_items = place(&end, plan->num_items, sizeof(tree_item));
    head->plan_ranges = place(&end, plan->num_ranges, sizeof(tree_range));
    head->blocks = place(&end, plan->num_blocks, sizeof(uint32_t));
    head->rows = place(&end, plan->num_queries, sizeof(uint32_t));
    head->merge_first = place(&end, (uint64_t)plan->num_queries + 1, sizeof(uint32_t));
    head->merge_partials = place(&end, plan->num_partials, sizeof(uint32_t));
    head->items = place(&end, plan->num_items, sizeof(outline_item));
    head->ranges = place(&end, plan->num_ranges, sizeof(outline_range));
    head->jobs = place(&end, num_jobs, sizeof(outline_job));
    head->workers = place(&end, (uint64_t)b->deal.num_workers + 1, sizeof(outline_worker));
    head->shares = place(&end, b->deal.num_tasks * b->shape->num_kv_heads, sizeof(uint32_t));
    head->ends = place(&end, plan->num_queries, sizeof(uint32_t));
    head->num_jobs = (uint32_t)num_jobs;
    head->num_mask_words = (uint32_t)num_words;
    head->num_bytes = (uint32_t)end;
    return end <= UINT32_MAX && b->deal.num_tasks * b->shape->num_kv_heads <= INT32_MAX ? TREE_OK : TREE_OVERFLOW;
}

tree_status plan_outline_begin(outline_builder *b, const tree_plan *plan, const tree_shape *shape,
                               uint32_t num_workers)
{
    tree_status status = plan_deal_count(&b->deal, plan, shape, num_workers);
    b->plan = plan;
    b->shape = shape;
    if (status != TREE_OK)
        return status;
    if (!reserve(b, num_workers))
        return TREE_NOMEM;
    plan_deal_tasks(&b->deal, plan, shape);
    b->head = (plan_outline){
        .num_queries = plan->num_queries, .num_items = plan->num_items, .num_ranges = plan->num_ranges,
        .num_blocks = plan->num_blocks, .num_partials = plan->num_partials, .num_workers = num_workers,
        .is_small = b->deal.is_small, .has_token_masks = !has_range_masks(plan), .max_queries = b->deal.max_queries,
        .max_heads = b->deal.max_heads, .num_head_parts = b->deal.num_head_parts, .group_size = b->deal.group_size,
        .tile_tokens = b->deal.tile_tokens, .is_new = 1};
    find_growing(b);
    count_room(b);
    if (has_overflow(&b->room)) {
        b->num_steps = 0;
        count_room(b);
    }
    b->head.num_steps = b->num_steps;
    return lay_out(b);
}

/* ---- write ---- */

static void write_ranges(const outline_builder *b, const tree_item *item, outline_range *ranges, uint64_t **words)
{
    const tree_plan *plan = b->plan;
    outline_line first_token = {0, 0};
    uint32_t num_words = words_of(item);
    for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
        const tree_range *range = &plan->ranges[r];
        outline_line num_tokens = {range->num_tokens, b->grows[r]};
        ranges[r] = (outline_range){.first_token = first_token, .num_tokens = num_tokens, .first_word = range->mask};
        first_token.now += num_tokens.now;
        first_token.per_step += num_tokens.per_step;
        if (range->mask == TREE_NO_MASK || b->head.has_token_masks)
            continue;
        ranges[r].first_word = (uint32_t)(*words - b->words);
        for (uint32_t w = 0; w < num_words; w++)
            *(*words)++ = plan->masks[range->mask + w];
    }
}

static void write_items(const outline_builder *b, plan_outline *outline)
{
    const tree_plan *plan = b->plan;
    outline_item *items = OUTLINE_ARRAY(outline_item, outline, items);
    outline_range *ranges = OUTLINE_ARRAY(outline_range, outline, ranges);
    outline_line first_token = {0, 0}, first_mask = {0, 0};
    uint32_t first_task = 0;
    uint64_t *words = b->words;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        uint32_t num_parts = deal_num_parts(&b->deal, item->num_rows), num_unmasked = b->deal.num_unmasked[i];
        outline_line num_tokens = {item->num_tokens, b->num_growing[i]};
        items[i] = (outline_item){first_token, num_tokens, first_mask, num_unmasked, first_task};
        write_ranges(b, item, ranges, &words);
        first_token.now += num_tokens.now;
        first_token.per_step += num_tokens.per_step;
        if (num_unmasked != DEAL_NO_MASK) {
            first_mask.now += num_parts * num_tokens.now;
            first_mask.per_step += num_parts * num_tokens.per_step;
        }
        first_task += num_parts * b->deal.num_head_parts;
    }
}

static void write_jobs(const outline_builder *b, outline_job *job)
{
    for (uint32_t i = 0; i < b->plan->num_items; i++) {
        uint32_t num_jobs = b->plan->items[i].num_tokens / OUTLINE_JOB_TOKENS + 1;
        for (uint32_t n = 0; n < num_jobs; n++)
            *job++ = (outline_job){i, n * OUTLINE_JOB_TOKENS};
    }
}

/* Counts of shares and tiles become first ones. */
static void write_workers(const outline_builder *b, outline_worker *workers)
{
    const plan_deal *deal = &b->deal;
    uint32_t num_kv_heads = b->shape->num_kv_heads, num_shares = 0, num_tiles = 0;
    const uint32_t *worker = deal->worker;
    memset(workers, 0, (deal->num_workers + (size_t)1) * sizeof *workers);
    for (uint32_t i = 0; i < b->plan->num_items; i++) {
        const tree_item *item = &b->plan->items[i];
        uint64_t shares = (uint64_t)deal_num_parts(deal, item->num_rows) * deal->num_head_parts * num_kv_heads;
        uint32_t tiles = deal_num_tiles(deal, item->num_tokens + (uint64_t)b->num_steps * b->num_growing[i]);
        for (uint64_t n = 0; n < shares; n++, worker++) {
            workers[*worker].first_share++;
            workers[*worker].first_tile += tiles;
        }
    }
    for (uint32_t w = 0; w <= deal->num_workers; w++) {
        outline_worker count = workers[w];
        workers[w] = (outline_worker){num_shares, num_tiles};
        num_shares += count.first_share;
        num_tiles += count.first_tile;
    }
}

static void write_shares(const outline_builder *b, const outline_worker *workers, uint32_t *shares)
{
    const plan_deal *deal = &b->deal;
    uint32_t num_kv_heads = b->shape->num_kv_heads;
    for (uint32_t w = 0; w < deal->num_workers; w++)
        b->next_share[w] = workers[w].first_share;
    for (uint32_t i = 0; i < deal->num_tasks; i++) {
        uint32_t first = deal->order[i] * num_kv_heads;
        for (uint32_t share = first; share < first + num_kv_heads; share++)
            shares[b->next_share[deal->worker[share]]++] = share;
    }
}

static void write_ends(const outline_builder *b, uint32_t *ends)
{
    for (uint32_t q = 0; q < b->plan->num_queries; q++)
        ends[q] = b->plan->growth[q].range;
}

static void copy(void *to, const void *from, uint64_t bytes)
{
    if (bytes)
        memcpy(to, from, (size_t)bytes);
}

void plan_outline_write(outline_builder *b, plan_outline *outline)
{
    const tree_plan *plan = b->plan;
    *outline = b->head;
    b->words = OUTLINE_ARRAY(uint64_t, outline, mask_words);
    if (b->head.has_token_masks)
        copy(b->words, plan->masks, plan->num_mask_words * sizeof *plan->masks);
    copy(OUTLINE_ARRAY(char, outline, plan_items), plan->items, plan->num_items * sizeof *plan->items);
    copy(OUTLINE_ARRAY(char, outline, plan_ranges), plan->ranges, plan->num_ranges * sizeof *plan->ranges);
    copy(OUTLINE_ARRAY(char, outline, blocks), plan->blocks, plan->num_blocks * sizeof *plan->blocks);
    copy(OUTLINE_ARRAY(char, outline, rows), plan->rows, plan->num_queries * sizeof *plan->rows);
    copy(OUTLINE_ARRAY(char, outline, merge_first), plan->merge_first,
         ((uint64_t)plan->num_queries + 1) * sizeof *plan->merge_first);
    copy(OUTLINE_ARRAY(char, outline, merge_partials), plan->merge_partials,
         plan->num_partials * sizeof *plan->merge_partials);
    write_items(b, outline);
    write_jobs(b, OUTLINE_ARRAY(outline_job, outline, jobs));
    write_workers(b, OUTLINE_ARRAY(outline_worker, outline, workers));
    write_shares(b, OUTLINE_ARRAY(outline_worker, outline, workers), OUTLINE_ARRAY(uint32_t, outline, shares));
    write_ends(b, OUTLINE_ARRAY(uint32_t, outline, ends));
}

void plan_outline_free(outline_builder *b)
{
    plan_deal_free(&b->deal);
    free(b->memory);
    *b = (outline_builder){0};
}
