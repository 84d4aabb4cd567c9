/* Claim: the queue that the GPU runs is the plan: every row meets every token of its item once for each head, in tiles
 * that follow each other on one worker, under the plan's masks, with a place for each state; no worker has much more
 * work than the others; and the same plan gives the same queue. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "keep_model.h"
#include "plan_queue.h"
#include "plan_trees.h"
#include "test.h"

typedef struct heads {
    uint32_t num_kv_heads, group_size, head_dim;
} heads;

static const heads head_cases[] = {{1, 1, 64}, {2, 4, 128}, {3, 3, 64}, {1, 7, 256}, {2, 130, 64}, {1, 71, 256}};
static const uint32_t worker_cases[] = {1, 7, 264};

enum { NUM_HEAD_CASES = sizeof head_cases / sizeof head_cases[0] };

/* What the plan says, token by token and row by row. */
typedef struct expected {
    const tree_plan *plan;
    tree_shape shape;
    uint32_t group_size;
    uint32_t *partial_item; /* [num_partials] */
    uint64_t *first_token;  /* [num_items] of the arrays below */
    uint32_t *first_masked; /* [num_items] tokens of the item before its first mask */
    uint32_t *row_of_kv;    /* [loaded_tokens] entry of queue.kv_slots */
    uint64_t *mask_words;   /* [loaded_tokens] index into plan->masks, or NO_WORDS: all rows see it */
    uint8_t *covered;       /* [num_partials][num_heads] */
    uint32_t *token_of_kv;  /* [rows of KV head 0 .. ] token of placed_item that lies there */
    uint32_t placed_item;
    uint32_t *taken_by;     /* [most tokens of an item] number of the last task that had it */
    uint32_t task;          /* its number */
} expected;

#define NO_WORDS UINT64_MAX

static void *create_array(uint64_t count, size_t bytes)
{
    void *array = calloc(count + 1, bytes);
    check(array, "%" PRIu64 " elements", count);
    return array;
}

static void expand_item(expected *e, const tree_item *item, uint64_t t)
{
    const tree_plan *plan = e->plan;
    uint32_t words = (item->num_rows + 63) / 64;
    for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
        const tree_range *range = &plan->ranges[r];
        for (uint32_t i = 0; i < range->num_tokens; i++, t++) {
            uint32_t slot = range->first_slot + i, block = plan->blocks[range->first_block + slot / plan->block_tokens];
            e->row_of_kv[t] = block * e->shape.num_kv_heads * plan->block_tokens + slot % plan->block_tokens;
            e->mask_words[t] = range->mask == TREE_NO_MASK ? NO_WORDS : range->mask + (uint64_t)i * words;
        }
    }
}

static expected expect(const tree_plan *plan, const tree_shape *shape)
{
    expected e = {plan, *shape, shape->num_heads / shape->num_kv_heads,
                  create_array(plan->num_partials, sizeof(uint32_t)), create_array(plan->num_items, sizeof(uint64_t)),
                  create_array(plan->num_items, sizeof(uint32_t)),
                  create_array(plan->loaded_tokens, sizeof(uint32_t)),
                  create_array(plan->loaded_tokens, sizeof(uint64_t)),
                  create_array((uint64_t)plan->num_partials * shape->num_heads, 1),
                  create_array((uint64_t)shape->num_blocks * shape->num_kv_heads * shape->block_tokens,
                               sizeof(uint32_t)),
                  UINT32_MAX, create_array(plan->loaded_tokens, sizeof(uint32_t)), 0};
    uint64_t first_token = 0;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        e.first_token[i] = first_token;
        expand_item(&e, &plan->items[i], first_token);
        while (e.first_masked[i] < plan->items[i].num_tokens
               && e.mask_words[first_token + e.first_masked[i]] == NO_WORDS)
            e.first_masked[i]++;
        first_token += plan->items[i].num_tokens;
        for (uint32_t row = 0; row < plan->items[i].num_rows; row++)
            e.partial_item[plan->items[i].first_partial + row] = i;
    }
    check(first_token == plan->loaded_tokens, "the items' tokens");
    return e;
}

static void forget(expected *e)
{
    free(e->partial_item);
    free(e->first_token);
    free(e->first_masked);
    free(e->row_of_kv);
    free(e->mask_words);
    free(e->covered);
    free(e->token_of_kv);
    free(e->taken_by);
}

/* Where the item's tokens lie. */
static void place_item(expected *e, uint32_t item)
{
    const uint32_t *row_of_kv = e->row_of_kv + e->first_token[item];
    if (e->placed_item == item)
        return;
    e->placed_item = item;
    for (uint32_t t = 0; t < e->plan->items[item].num_tokens; t++)
        e->token_of_kv[row_of_kv[t]] = t;
}

/* Bit r: row first_row + r of the item sees its token t. */
static uint64_t visible_rows(const expected *e, uint32_t item, uint32_t first_row, uint32_t num_rows, uint32_t t)
{
    uint64_t words = e->mask_words[e->first_token[item] + t], bits = 0;
    for (uint32_t r = 0; r < num_rows; r++) {
        uint32_t row = first_row + r;
        bits |= (words == NO_WORDS ? 1 : e->plan->masks[words + row / 64] >> (row % 64) & 1) << r;
    }
    return bits;
}

/* Some rows, some tokens and their masks: of a tile, or of a whole task. */
typedef struct piece {
    uint32_t first_partial, num_rows;
    uint32_t first_token, num_tokens, first_mask; /* in the queue */
} piece;

/* Tokens come in any order, but each once for the task that has number e->task. */
static void check_piece(expected *e, const plan_queue *queue, const piece *p)
{
    check(p->num_rows >= 1 && p->num_rows <= QUEUE_TILE_ROWS && p->first_partial < e->plan->num_partials,
          "%" PRIu32 " rows from %" PRIu32, p->num_rows, p->first_partial);
    uint32_t i = e->partial_item[p->first_partial];
    const tree_item *item = &e->plan->items[i];
    uint32_t row = p->first_partial - item->first_partial;
    check(row + p->num_rows <= item->num_rows, "rows of one item");
    check((uint64_t)p->first_token + p->num_tokens <= queue->num_tokens, "tokens within the queue");
    check(p->first_mask == QUEUE_NO_MASK || (uint64_t)p->first_mask + p->num_tokens <= queue->num_masks,
          "masks within the queue");
    place_item(e, i);
    for (uint32_t n = 0; n < p->num_tokens; n++) {
        uint32_t at = queue->kv_slots[p->first_token + n];
        uint64_t all = UINT64_MAX >> (64 - p->num_rows);
        uint64_t bits = p->first_mask == QUEUE_NO_MASK ? all : queue->masks[p->first_mask + n];
        check((uint64_t)at < (uint64_t)e->shape.num_blocks * e->shape.num_kv_heads * e->shape.block_tokens,
              "a row of K: %" PRIu32, at);
        uint32_t t = e->token_of_kv[at];
        check(t < item->num_tokens && e->row_of_kv[e->first_token[i] + t] == at,
              "item %" PRIu32 ": row %" PRIu32 " of K is none of its", i, at);
        check(e->taken_by[t] != e->task, "item %" PRIu32 " token %" PRIu32 " comes twice", i, t);
        e->taken_by[t] = e->task;
        check(bits == visible_rows(e, i, row, p->num_rows, t), "item %" PRIu32 " token %" PRIu32 ": mask %" PRIx64, i,
              t, bits);
    }
}

static void cover(expected *e, uint32_t first_partial, uint32_t num_rows, uint32_t first_head, uint32_t num_heads)
{
    check(num_heads >= 1 && num_heads * num_rows <= QUEUE_TILE_ROWS, "%" PRIu32 " x %" PRIu32
          " rows fit a tile", num_rows, num_heads);
    check(first_head + num_heads <= e->shape.num_heads, "heads within the shape");
    for (uint64_t p = first_partial; p < first_partial + (uint64_t)num_rows; p++) {
        for (uint32_t h = first_head; h < first_head + num_heads; h++)
            check(e->covered[p * e->shape.num_heads + h]++ == 0, "state %" PRIu64 " head %" PRIu32 " is made twice", p,
                  h);
    }
}

static void check_all_covered(expected *e, const char *by)
{
    uint64_t count = (uint64_t)e->plan->num_partials * e->shape.num_heads;
    for (uint64_t i = 0; i < count; i++)
        check(e->covered[i] == 1, "the %s make state %" PRIu64 " of head %" PRIu64 " once", by,
              i / e->shape.num_heads, i % e->shape.num_heads);
    memset(e->covered, 0, count);
}

static bool has_masks(const expected *e, uint32_t item)
{
    return e->first_masked[item] < e->plan->items[item].num_tokens;
}

/* The warp whose rows hold the first row that sees token t of the item; 0 where all rows see it. */
static uint32_t warp_of(const expected *e, uint32_t item, uint32_t t)
{
    uint32_t num_heads = e->group_size < QUEUE_TILE_ROWS ? e->group_size : QUEUE_TILE_ROWS, row = 0;
    while (row + 1 < e->plan->items[item].num_rows && !visible_rows(e, item, row, 1, t))
        row++;
    return row % (QUEUE_TILE_ROWS / num_heads) * num_heads / QUEUE_SLICE;
}

/* Tokens before the first mask keep their places. Behind them come slices of neighbouring tokens, one of each warp in
 * turn, as long as it has some; the rest, less than a slice, keeps its place as well. */
static void check_interleaved(expected *e, const plan_queue *queue, const queue_task *task)
{
    enum { WARPS = QUEUE_TILE_ROWS / QUEUE_SLICE };
    const uint32_t *slots = queue->kv_slots + task->first_token;
    uint32_t masked = e->first_masked[task->item], num_slices = (task->num_tokens - masked) / QUEUE_SLICE;
    uint32_t left[WARPS] = {0}, taken[WARPS] = {0};
    place_item(e, task->item);
    for (uint32_t n = 0; n < task->num_tokens; n++) {
        uint32_t t = e->token_of_kv[slots[n]], in_slice = (n - masked) % QUEUE_SLICE;
        if (n < masked || n >= masked + num_slices * QUEUE_SLICE)
            check(t == n, "item %" PRIu32 ": token %" PRIu32 " moved to %" PRIu32, task->item, t, n);
        else
            check((t - masked) % QUEUE_SLICE == in_slice && t - in_slice == e->token_of_kv[slots[n - in_slice]],
                  "item %" PRIu32 ": the slice of token %" PRIu32 " stays together", task->item, t);
    }
    for (uint32_t i = 0; i < num_slices; i++)
        left[warp_of(e, task->item, masked + i * QUEUE_SLICE)]++;
    for (uint32_t i = 0; i < num_slices; i++) {
        uint32_t warp = warp_of(e, task->item, e->token_of_kv[slots[masked + i * QUEUE_SLICE]]);
        for (uint32_t w = 0; w < WARPS; w++)
            check(!left[w] || taken[warp] < taken[w] + (warp <= w), "item %" PRIu32 ": slice %" PRIu32 " is of warp %"
                  PRIu32 ", but it is the turn of %" PRIu32, task->item, i, warp, w);
        taken[warp]++;
        left[warp]--;
    }
}

static void check_tasks(expected *e, const plan_queue *queue)
{
    for (uint32_t i = 0; i < queue->num_tasks; i++) {
        const queue_task *task = &queue->tasks[i];
        const piece whole = {task->first_partial, task->num_queries, task->first_token, task->num_tokens,
                             task->first_mask};
        e->task++;
        check_piece(e, queue, &whole);
        check(task->item == e->partial_item[task->first_partial]
              && task->num_tokens == e->plan->items[task->item].num_tokens, "all tokens of its item");
        check((task->first_mask != QUEUE_NO_MASK) == has_masks(e, task->item), "masks where the item has some");
        if (i == 0 || task->item != task[-1].item)
            check_interleaved(e, queue, task);
        for (uint32_t kv_head = 0; kv_head < e->shape.num_kv_heads; kv_head++)
            cover(e, task->first_partial, task->num_queries, kv_head * e->group_size + task->first_head, task->num_heads);
        check((uint32_t)task->first_head + task->num_heads <= e->group_size, "heads of one group");
    }
    check_all_covered(e, "tasks");
}

/* The kernels divide by multiplying; rows that only fill a tile up must not look like rows of the task. */
static void check_reciprocal(const queue_tile *tile)
{
    for (uint32_t row = 0; row < 128; row++)
        check((row * tile->reciprocal) >> 15 == row / tile->num_heads, "row %" PRIu32 " of %" PRIu32 " heads", row,
              tile->num_heads);
}

static void check_tile(expected *e, const plan_queue *queue, const queue_tile *tile, uint32_t done)
{
    const piece some = {tile->first_partial, tile->num_queries, tile->first_token, tile->num_tokens, tile->first_mask};
    e->task += tile->is_first;
    check_piece(e, queue, &some);
    uint32_t item = e->partial_item[tile->first_partial], most = queue_tile_tokens(e->shape.head_dim);
    check(tile->num_tokens == most || (tile->is_last && tile->num_tokens >= 1 && tile->num_tokens < most),
          "%" PRIu32 " tokens", tile->num_tokens);
    check(tile->is_last == (done + tile->num_tokens == e->plan->items[item].num_tokens), "the last tile ends the item");
    check(tile->is_masked == has_masks(e, item), "is_masked");
    check((tile->first_mask == QUEUE_NO_MASK) == (done + tile->num_tokens <= e->first_masked[item]),
          "masks only for tiles that reach the item's first mask");
    check(tile->kv_head == tile->head / e->group_size
          && tile->kv_head == (tile->head + tile->num_heads - 1) / e->group_size, "heads of one KV head");
    check_reciprocal(tile);
}

static bool same_task(const queue_tile *a, const queue_tile *b)
{
    return a->first_partial == b->first_partial && a->head == b->head && a->kv_head == b->kv_head
           && a->num_queries == b->num_queries && a->num_heads == b->num_heads;
}

static void check_tiles(expected *e, const plan_queue *queue)
{
    check(queue->worker_first[0] == 0 && queue->worker_first[queue->num_workers] == queue->num_tiles, "all tiles");
    for (uint32_t w = 0; w < queue->num_workers; w++) {
        uint32_t done = 0;
        check(queue->worker_first[w] <= queue->worker_first[w + 1], "worker %" PRIu32, w);
        for (uint32_t i = queue->worker_first[w]; i < queue->worker_first[w + 1]; i++) {
            const queue_tile *tile = &queue->tiles[i];
            bool begins = i == queue->worker_first[w] || tile[-1].is_last;
            check(tile->is_first == begins, "a task begins where another ends, on one worker");
            check(begins || same_task(tile - 1, tile), "the tiles of a task follow each other");
            check(tile->number == (begins ? 0 : tile[-1].number + 1), "in their order");
            done = begins ? 0 : done + tile[-1].num_tokens;
            check_tile(e, queue, tile, done);
            if (begins)
                cover(e, tile->first_partial, tile->num_queries, tile->head, tile->num_heads);
        }
        check(queue->worker_first[w] == queue->worker_first[w + 1]
              || queue->tiles[queue->worker_first[w + 1] - 1].is_last, "a worker ends its last task");
    }
    check_all_covered(e, "tiles");
}

/* In a small queue: the worker's KV head, and how many workers have it. */
static void check_only_head(const plan_queue *queue, uint32_t worker)
{
    const queue_start *start = &queue->starts[worker];
    uint32_t num_sharing = 0;
    for (uint32_t i = start->first_tile; i < start->first_tile + start->num_tiles; i++)
        check(queue->tiles[i].kv_head == start->kv_head, "worker %" PRIu32 " has one KV head", worker);
    for (uint32_t w = 0; w < queue->num_workers; w++) {
        const queue_start *other = &queue->starts[w];
        num_sharing += other->num_tiles && queue->tiles[other->first_tile].kv_head == start->kv_head;
    }
    check(start->num_sharing == num_sharing, "%" PRIu32 " workers share KV head %" PRIu32 ", not %" PRIu32, num_sharing,
          start->kv_head, start->num_sharing);
}

static void check_starts(const plan_queue *queue)
{
    const queue_tile none[QUEUE_START_TILES] = {0};
    check(!queue->is_small || queue->num_tasks, "a worker merges");
    for (uint32_t w = 0; w < queue->num_workers; w++) {
        const queue_start *start = &queue->starts[w];
        uint32_t num_tiles = queue->worker_first[w + 1] - queue->worker_first[w];
        uint32_t num_copies = num_tiles < QUEUE_START_TILES ? num_tiles : QUEUE_START_TILES;
        check(start->first_tile == queue->worker_first[w] && start->num_tiles == num_tiles, "start %" PRIu32, w);
        check(!memcmp(start->tiles, queue->tiles + start->first_tile, num_copies * sizeof *start->tiles)
              && !memcmp(start->tiles + num_copies, none, (QUEUE_START_TILES - num_copies) * sizeof *start->tiles),
              "copies of its first tiles, then zeros");
        if (queue->is_small && num_tiles)
            check_only_head(queue, w);
        else
            check(start->kv_head == 0 && start->num_sharing == 0, "no head of its own");
    }
}

static void check_rows(const expected *e, const plan_queue *queue)
{
    const tree_plan *plan = e->plan;
    uint32_t num_only = 0;
    check(queue->num_partials == plan->num_partials, "a row for each state");
    for (uint32_t p = 0; p < plan->num_partials; p++) {
        const tree_item *item = &plan->items[e->partial_item[p]];
        uint32_t q = plan->rows[item->first_row + p - item->first_partial], state = queue->queries[p].state;
        uint32_t first = plan->merge_first[q], end = plan->merge_first[q + 1];
        check(queue->queries[p].query == q, "state %" PRIu32 " is query %" PRIu32 "'s", p, q);
        check(end - first == 1 ? state == QUEUE_ONLY_STATE
                               : state >= first && state < end && plan->merge_partials[state] == p,
              "state %" PRIu32 " lies at %" PRIu32, p, state);
        num_only += end - first == 1;
    }
    check(queue->needs_merge == (num_only < plan->num_queries), "%" PRIu32 " of %" PRIu32 " queries have one state",
          num_only, plan->num_queries);
}

static tree_shape shape_of(const tree_plan *plan, heads h)
{
    return (tree_shape){plan->num_queries, h.num_kv_heads * h.group_size, h.num_kv_heads, h.head_dim,
                        plan->max_block + 1, plan->block_tokens, TREE_BF16};
}

static plan_queue build(const tree_plan *plan, const tree_shape *shape, uint32_t num_workers)
{
    plan_queue queue;
    tree_status status = plan_queue_build(&queue, plan, shape, num_workers);
    check(status == TREE_OK, "a queue: %s", tree_status_string(status));
    check(queue.num_workers == num_workers, "%" PRIu32 " workers", num_workers);
    return queue;
}

static void check_queue(const tree_plan *plan, heads h, uint32_t num_workers)
{
    tree_shape shape = shape_of(plan, h);
    expected e = expect(plan, &shape);
    plan_queue queue = build(plan, &shape, num_workers);
    check_tasks(&e, &queue);
    check_tiles(&e, &queue);
    check_starts(&queue);
    check_rows(&e, &queue);
    plan_queue_free(&queue);
    check(!queue.tiles && !queue.num_tiles, "nothing is left");
    forget(&e);
}

typedef struct named_case {
    const plan_tree_case *tree;
    tree_strategy strategy;
} named_case;

static void run_named(const void *argument)
{
    const named_case *c = argument;
    const uint32_t step = TEST_SANITIZED ? 2 : 1; /* a strategy has every second of them there, the next one the others */
    for (uint32_t i = c->strategy % step; i < NUM_HEAD_CASES; i += step) {
        kv_tree *tree = plan_tree_case_create(c->tree, i % 2 ? 16 : 1, 0);
        tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = c->strategy, .max_rows = i == 4 ? 5 : 0,
                                                                  .group_size = head_cases[i].group_size});
        check_queue(plan, head_cases[i], worker_cases[i % 3]);
        tree_plan_destroy(plan);
        plan_tree_destroy(tree);
    }
}

static void run_random(const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    for (int i = 0; i < (TEST_SANITIZED ? 15 : 60); i++) {
        static const uint32_t head_dims[] = {64, 128, 256};
        heads h = {1 + test_below(4), 1 + test_below(20), head_dims[i % 3]};
        kv_tree *tree = plan_tree_random(1 + test_below(40), 1 + test_below(200), 1u << test_below(9), 0);
        tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = strategy, .group_size = h.group_size,
                                                                  .piece_tokens = test_below(2) * 50,
                                                                  .max_rows = test_below(2) * 100});
        check_queue(plan, h, 1 + test_below(300));
        tree_plan_destroy(plan);
        plan_tree_destroy(tree);
    }
}

/* ---- new masks ---- */

/* Tokens keep their places; the masks are those of the plan again. Only what is left of a trimmed queue is read. */
static void check_new_masks(tree_plan *plan, keep_set *set, heads h)
{
    tree_shape shape = shape_of(plan, h);
    plan_queue queue = build(plan, &shape, 7), trimmed = build(plan, &shape, 7);
    keep_evict_random(set, 40, false);
    check(tree_plan_set_keep(plan, set->tree, set->keeps), "every range has a mask");
    plan_queue_trim(&trimmed);
    check(!trimmed.masks && !trimmed.kv_slots && trimmed.tasks, "tasks are left");
    plan_queue_masks(queue.masks, &trimmed, plan);
    expected e = expect(plan, &shape);
    for (uint32_t i = 0; i < queue.num_tasks; i++) {
        const queue_task *task = &queue.tasks[i];
        const piece whole = {task->first_partial, task->num_queries, task->first_token, task->num_tokens,
                             task->first_mask};
        e.task++;
        check_piece(&e, &queue, &whole);
    }
    plan_queue_free(&queue);
    plan_queue_free(&trimmed);
    forget(&e);
}

static void run_new_masks(const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    for (uint32_t i = 0; i < NUM_HEAD_CASES; i++) {
        kv_tree *tree = i ? plan_tree_random(1 + test_below(30), 1 + test_below(100), 1u << test_below(9), 0)
                          : plan_tree_levels("1,9,150/100,30,20", 16, 0);
        keep_set set = keep_set_create(tree);
        keep_evict_random(&set, 20, false);
        tree_plan *plan = keep_plan(&set, (tree_plan_config){.strategy = strategy, .piece_tokens = test_below(2) * 50},
                                    TREE_KEEP_ALL);
        check_new_masks(plan, &set, head_cases[i]);
        tree_plan_destroy(plan);
        keep_set_free(&set);
        plan_tree_destroy(tree);
    }
}

/* ---- balance ---- */

static uint32_t num_tasks_of(const plan_queue *queue, uint32_t worker)
{
    uint32_t count = 0;
    for (uint32_t i = queue->worker_first[worker]; i < queue->worker_first[worker + 1]; i++)
        count += queue->tiles[i].is_first;
    return count;
}

/* Tasks of one size: no worker has two more than another. */
static void run_equal_tasks(const void *unused)
{
    (void)unused;
    kv_tree *tree = plan_tree_levels("90/300", 16, 0);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_FLASH});
    for (uint32_t num_workers = 1; num_workers < 1000; num_workers += num_workers / 3 + 1) {
        tree_shape shape = shape_of(plan, (heads){8, 4, 128});
        plan_queue queue = build(plan, &shape, num_workers);
        for (uint32_t w = 0; w < num_workers; w++) {
            uint32_t count = num_tasks_of(&queue, w), share = 720 / num_workers;
            check(count == share || count == share + 1, "worker %" PRIu32 " of %" PRIu32 " has %" PRIu32 " tasks", w,
                  num_workers, count);
        }
        plan_queue_free(&queue);
    }
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* Tasks of 3000 to 60000 tokens, so large that their tokens are nearly all of their cost: no worker has more than the
 * mean and the most expensive task; a worker begins with its most expensive task. */
static void run_unequal_tasks(const void *unused)
{
    (void)unused;
    enum { NUM_TASKS = 100 };
    uint32_t parent[NUM_TASKS], num_tokens[NUM_TASKS];
    uint64_t sum = 0;
    for (uint32_t i = 0; i < NUM_TASKS; i++) {
        parent[i] = KV_NONE;
        num_tokens[i] = 3000 + test_below(57000);
        sum += num_tokens[i];
    }
    kv_tree *tree = plan_tree_create(&(plan_tree_nodes){NUM_TASKS, parent, num_tokens, NULL, 0}, 16, 0);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_FLASH});
    for (uint32_t num_workers = 1; num_workers < 200; num_workers += num_workers / 3 + 1) {
        tree_shape shape = shape_of(plan, (heads){2, 4, 256});
        plan_queue queue = build(plan, &shape, num_workers);
        uint64_t most = 0;
        for (uint32_t w = 0; w < num_workers; w++) {
            uint64_t load = 0;
            uint32_t tokens = 0, before = UINT32_MAX;
            for (uint32_t i = queue.worker_first[w]; i < queue.worker_first[w + 1]; i++) {
                tokens = (queue.tiles[i].is_first ? 0 : tokens) + queue.tiles[i].num_tokens;
                load += queue.tiles[i].num_tokens;
                if (!queue.tiles[i].is_last)
                    continue;
                check(tokens <= before + (before == UINT32_MAX ? 0 : 60000 / 200), "the most expensive first");
                before = tokens;
            }
            most = load > most ? load : most;
        }
        check((double)most <= 1.01 * ((double)(2 * sum) / num_workers + 60000), "%" PRIu32 " workers: %" PRIu64
              " tokens on one, %" PRIu64 " on all", num_workers, most, 2 * sum);
        plan_queue_free(&queue);
    }
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* ---- the same again; limits ---- */

/* One warp for each row of a KV head, and a worker of its own for each task while there are enough. */
static void run_small(const void *unused)
{
    static const struct {
        const char *levels;
        uint32_t num_kv_heads, group_size, num_workers;
        bool is_small;
    } cases[] = {
        {"1/2112", 8, 4, 264, true},      {"1/2112", 8, 5, 264, false},   {"1,4/500,30", 3, 1, 264, true},
        {"1,5/500,30", 3, 1, 264, false}, {"1,2/500,30", 5, 2, 264, true}, {"1/2112", 8, 4, 7, false},
        {"1/2112", 8, 4, 8, true},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        heads h = {cases[i].num_kv_heads, cases[i].group_size, 128};
        kv_tree *tree = plan_tree_levels(cases[i].levels, 16, 0);
        tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_COST, .group_size = h.group_size});
        tree_shape shape = shape_of(plan, h);
        plan_queue queue = build(plan, &shape, cases[i].num_workers);
        check(queue.is_small == cases[i].is_small, "%s, group of %" PRIu32, cases[i].levels, h.group_size);
        for (uint32_t w = 0; queue.is_small && w < queue.num_workers; w++)
            check(queue.num_workers < 264 || num_tasks_of(&queue, w) <= 1, "worker %" PRIu32, w);
        plan_queue_free(&queue);
        check_queue(plan, h, cases[i].num_workers);
        tree_plan_destroy(plan);
        plan_tree_destroy(tree);
    }
}

static void run_deterministic(const void *unused)
{
    (void)unused;
    for (int i = 0; i < TREE_NUM_STRATEGIES; i++) {
        kv_tree *tree = plan_tree_random(60, 100, 16, 0);
        tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = (tree_strategy)i});
        tree_shape shape = shape_of(plan, (heads){2, 4, 128});
        plan_queue a = build(plan, &shape, 264), b = build(plan, &shape, 264);
        check(a.num_tasks == b.num_tasks && a.num_tiles == b.num_tiles && a.num_tokens == b.num_tokens
              && a.num_masks == b.num_masks && a.num_partials == b.num_partials, "counts");
        check(!memcmp(a.tasks, b.tasks, a.num_tasks * sizeof *a.tasks)
              && !memcmp(a.tiles, b.tiles, a.num_tiles * sizeof *a.tiles)
              && !memcmp(a.worker_first, b.worker_first, (a.num_workers + 1) * sizeof *a.worker_first)
              && !memcmp(a.kv_slots, b.kv_slots, a.num_tokens * sizeof *a.kv_slots)
              && !memcmp(a.queries, b.queries, a.num_partials * sizeof *a.queries)
              && !memcmp(a.masks, b.masks, a.num_masks * sizeof *a.masks), "the same plan gives the same queue");
        plan_queue_free(&a);
        plan_queue_free(&b);
        tree_plan_destroy(plan);
        plan_tree_destroy(tree);
    }
}

static void check_overflow(const tree_plan *plan, const tree_shape *shape, const char *what)
{
    plan_queue queue, untouched;
    memset(&queue, 0x5a, sizeof queue);
    memset(&untouched, 0x5a, sizeof untouched);
    tree_status status = plan_queue_build(&queue, plan, shape, 264);
    check(status == TREE_OVERFLOW, "%s: %s", what, tree_status_string(status));
    check(!memcmp(&queue, &untouched, sizeof queue), "%s: *queue is untouched", what);
}

static void run_limits(const void *unused)
{
    (void)unused;
    kv_tree *tree = plan_tree_levels("1,3/40,5", 16, 0);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_NODE});
    tree_shape shape = shape_of(plan, (heads){1, 1, 64});
    tree_item *item = &plan->items[0];
    shape.num_heads = 65535;
    check_queue(plan, (heads){1, 65535, 64}, 3);
    shape.num_heads = 65536;
    check_overflow(plan, &shape, "65536 heads");
    shape = shape_of(plan, (heads){8, 4, 64});
    shape.num_blocks = UINT32_MAX / (8 * 16);
    plan_queue queue = build(plan, &shape, 3);
    plan_queue_free(&queue);
    shape.num_blocks++;
    check_overflow(plan, &shape, "2^32 rows of K");
    shape.num_blocks = 100;
    uint32_t num_tokens = item->num_tokens, num_rows = item->num_rows;
    item->num_tokens = 1u << 31;
    check_overflow(plan, &shape, "2^31 tokens");
    item->num_tokens = UINT32_MAX - 127;
    check_overflow(plan, &shape, "tokens whose tiles pass 2^32 when they are rounded up");
    item->num_tokens = 1u << 24;
    item->num_rows = 1u << 20;
    check_overflow(plan, &shape, "2^31 tiles");
    shape.num_heads = shape.num_kv_heads = 1u << 31;
    check_overflow(plan, &shape, "2^31 KV heads of 2^14 tasks, more than any memory holds");
    item->num_tokens = num_tokens;
    item->num_rows = num_rows;
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

int main(int argc, char **argv)
{
    static tree_strategy strategies[TREE_NUM_STRATEGIES];
    static named_case cases[32][TREE_NUM_STRATEGIES];
    test_begin(argc, argv, "the queue that the GPU runs is the plan, dealt out evenly");
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++) {
        strategies[s] = (tree_strategy)s;
        for (int t = 0; t < num_plan_tree_cases && t < 32; t++) {
            cases[t][s] = (named_case){&plan_tree_cases[t], strategies[s]};
            test_add(run_named, &cases[t][s], "queue_is_the_plan_%s_%s", plan_tree_cases[t].name,
                     tree_strategy_name[s]);
        }
        test_add(run_new_masks, &strategies[s], "new_masks_in_their_places_%s", tree_strategy_name[s]);
        test_add(run_random, &strategies[s], "queue_is_the_plan_random_trees_%s", tree_strategy_name[s]);
    }
    test_add(run_equal_tasks, NULL, "equal_tasks_are_dealt_out_evenly");
    test_add(run_unequal_tasks, NULL, "unequal_tasks_the_mean_and_the_largest");
    test_add(run_small, NULL, "small_queue_where_each_row_has_a_warp");
    test_add(run_deterministic, NULL, "same_plan_same_queue");
    test_add(run_limits, NULL, "limits_are_refused_unwritten");
    return test_end();
}
