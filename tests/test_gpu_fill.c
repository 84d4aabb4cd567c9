/* Claim: the device fills in the queue that plan_queue_build makes on the host, element by element; a step on the
 * device makes of it the queue of the plan that tree_plan_grow has grown; where the device cannot follow, nothing
 * changes. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_internal.h"
#include "gpu_support.h"
#include "keep_model.h"
#include "plan_steps.h"
#include "plan_trees.h"
#include "test.h"

typedef struct heads {
    uint32_t num_kv_heads, group_size, head_dim;
} heads;

static const heads head_cases[] = {{2, 4, 128}, {1, 1, 64}, {3, 3, 64}, {1, 7, 256}, {2, 70, 64}};
enum { NUM_HEAD_CASES = sizeof head_cases / sizeof head_cases[0], NUM_BLOCKS = 1 << 16 };

static tree_shape shape_of(const tree_plan *plan, heads h)
{
    return (tree_shape){plan->num_queries, h.num_kv_heads * h.group_size, h.num_kv_heads, h.head_dim, NUM_BLOCKS,
                        plan->block_tokens, TREE_FP16};
}

/* ---- the arrays on the device ---- */

static void *d_copy(const void *device, uint64_t count, size_t bytes)
{
    void *host = malloc(count * bytes + 1);
    check(host, "memory");
    cuda_ok(cudaMemcpy(host, device, count * bytes, cudaMemcpyDeviceToHost), "an array of the plan");
    return host;
}

static void check_array(const void *device, const void *expected, uint64_t count, size_t bytes, const char *what)
{
    char *got = d_copy(device, count, bytes);
    for (uint64_t i = 0; i < count; i++)
        check(!memcmp(got + i * bytes, (const char *)expected + i * bytes, bytes), "%s[%" PRIu64 "] of %" PRIu64, what,
              i, count);
    free(got);
}

/* Mask words of the plan's tokens; those that only make room may hold anything. */
static void check_plan_masks(const tree_plan_gpu *gpu, const tree_plan *plan)
{
    uint64_t *got = d_copy(gpu->plan.masks, plan->num_mask_words, sizeof *got);
    for (uint32_t i = 0; i < plan->num_items; i++) {
        uint64_t words = ((uint64_t)plan->items[i].num_rows + 63) / 64;
        for (uint32_t r = plan->items[i].first_range; r < plan->items[i].first_range + plan->items[i].num_ranges; r++) {
            const tree_range *range = &plan->ranges[r];
            if (range->mask != TREE_NO_MASK)
                check(!memcmp(got + range->mask, plan->masks + range->mask, range->num_tokens * words * sizeof *got),
                      "masks of range %" PRIu32, r);
        }
    }
    free(got);
}

static void check_plan(const tree_plan_gpu *gpu, const tree_plan *plan)
{
    uint32_t *partial_item = d_copy(gpu->partial_item, plan->num_partials, sizeof *partial_item);
    check_array(gpu->plan.items, plan->items, plan->num_items, sizeof *plan->items, "items");
    check_array(gpu->plan.ranges, plan->ranges, plan->num_ranges, sizeof *plan->ranges, "ranges");
    check_array(gpu->plan.rows, plan->rows, plan->num_queries, sizeof *plan->rows, "rows");
    check_array(gpu->plan.merge_first, plan->merge_first, plan->num_queries + 1, sizeof *plan->merge_first, "lists");
    check_array(gpu->plan.merge_partials, plan->merge_partials, plan->num_partials, sizeof *plan->merge_partials,
                "partials");
    for (uint32_t i = 0; i < plan->num_items; i++)
        for (uint32_t row = 0; row < plan->items[i].num_rows; row++)
            check(partial_item[plan->items[i].first_partial + row] == i, "the item of a partial state");
    free(partial_item);
    check_plan_masks(gpu, plan);
}

static int by_task(const void *left, const void *right)
{
    const queue_tile *a = left, *b = right;
    if (a->first_partial != b->first_partial)
        return a->first_partial < b->first_partial ? -1 : 1;
    if (a->head != b->head)
        return a->head < b->head ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

/* Tiles of a task follow each other on one worker; a start copies the first ones. */
static void check_order(const queue_start *start, const queue_tile *tiles)
{
    static const queue_tile none = {0};
    for (uint32_t i = 0; i < start->num_tiles; i++)
        check(i == 0 || tiles[i - 1].is_last ? tiles[i].is_first && tiles[i].number == 0
                                             : !tiles[i].is_first && tiles[i].number == tiles[i - 1].number + 1,
              "tile %" PRIu32 " of a worker", i);
    for (uint32_t i = 0; i < QUEUE_START_TILES; i++)
        check(!memcmp(&start->tiles[i], i < start->num_tiles ? &tiles[i] : &none, sizeof none), "a start's tiles");
}

/* same_deal: each worker has the tiles of the queue; otherwise all workers together do. */
static void check_tiles(const tree_plan_gpu *gpu, const plan_queue *queue, bool same_deal)
{
    queue_start *starts = d_copy(gpu->queue.starts, queue->num_workers, sizeof *starts);
    queue_tile *all = malloc((queue->num_tiles + (size_t)1) * sizeof *all);
    uint32_t count = 0;
    check(all, "memory");
    for (uint32_t w = 0; w < queue->num_workers; w++) {
        const uint32_t first = queue->worker_first[w], num_tiles = queue->worker_first[w + 1] - first;
        check(!same_deal || (starts[w].num_tiles == num_tiles && starts[w].kv_head == queue->starts[w].kv_head
                             && starts[w].num_sharing == queue->starts[w].num_sharing),
              "the start of worker %" PRIu32, w);
        check(count + starts[w].num_tiles <= queue->num_tiles, "no tiles but those of the queue");
        queue_tile *tiles = d_copy(gpu->queue.tiles + starts[w].first_tile, starts[w].num_tiles, sizeof *tiles);
        check_order(&starts[w], tiles);
        check(!same_deal || !memcmp(tiles, queue->tiles + first, num_tiles * sizeof *tiles), "tiles of worker %" PRIu32,
              w);
        memcpy(all + count, tiles, starts[w].num_tiles * sizeof *tiles);
        count += starts[w].num_tiles;
        free(tiles);
    }
    check(count == queue->num_tiles, "%" PRIu32 " of %" PRIu32 " tiles", count, queue->num_tiles);
    qsort(all, count, sizeof *all, by_task);
    qsort(queue->tiles, count, sizeof *queue->tiles, by_task);
    check(!memcmp(all, queue->tiles, count * sizeof *all), "all tiles");
    free(all);
    free(starts);
}

/* Each token of each item, in plan order; bit q: row q of the plan sees it. */
static void check_few(const tree_plan_gpu *gpu, const tree_plan *plan, heads h)
{
    few_token *got = d_copy(gpu->few_tokens, gpu->few_capacity, sizeof *got);
    const uint32_t block_slots = h.num_kv_heads * plan->block_tokens;
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
            const tree_range *range = &plan->ranges[r];
            for (uint32_t t = 0; t < range->num_tokens; t++, count++) {
                const uint32_t at = range->first_slot + t;
                const uint32_t block = plan->blocks[range->first_block + at / plan->block_tokens];
                uint32_t queries = 0;
                for (uint32_t row = 0; row < item->num_rows; row++) /* at most 32: one mask word */
                    if (range->mask == TREE_NO_MASK || plan->masks[range->mask + t] >> row & 1)
                        queries |= 1u << plan->rows[item->first_row + row];
                check(count < gpu->few_capacity
                          && got[count].slot == block * block_slots + at % plan->block_tokens
                          && got[count].queries == queries,
                      "token %" PRIu32 " of the list", count);
            }
        }
    }
    for (; count < gpu->few_capacity; count++)
        check(got[count].slot == FEW_END, "the end of the list");
    free(got);
}

static void check_filled(const tree_plan_gpu *gpu, const tree_plan *plan, heads h, bool same_deal)
{
    const tree_shape shape = shape_of(plan, h);
    plan_queue queue;
    cuda_ok(cudaDeviceSynchronize(), "the device");
    check(plan_queue_build(&queue, plan, &shape, gpu->num_workers) == TREE_OK, "a queue");
    check(gpu->queue.is_small == queue.is_small, "a small queue");
    check(gpu->queue.needs_merge == queue.needs_merge, "whether to merge");
    check_plan(gpu, plan);
    check_array(gpu->queue.tasks, queue.tasks, queue.num_tasks, sizeof *queue.tasks, "tasks");
    check_array(gpu->queue.kv_slots, queue.kv_slots, queue.num_tokens, sizeof *queue.kv_slots, "kv_slots");
    check_array(gpu->queue.masks, queue.masks, queue.num_masks, sizeof *queue.masks, "masks");
    check_array(gpu->queue.queries, queue.queries, queue.num_partials, sizeof *queue.queries, "queries");
    check_tiles(gpu, &queue, same_deal);
    if (gpu->fills_few)
        check_few(gpu, plan, h);
    plan_queue_free(&queue);
}

static void put(tree_plan_gpu **gpu, const tree_plan *plan, heads h)
{
    const tree_shape shape = shape_of(plan, h);
    int cuda_error = -1;
    gpu_ok(*gpu ? tree_plan_gpu_update(*gpu, plan, NULL, &cuda_error)
                : tree_plan_gpu_create(gpu, plan, &shape, NULL, &cuda_error),
           &cuda_error, "a plan on the device");
}

/* ---- plans ---- */

/* Small and large plans in turn, on one object. */
static void run_plans(const void *argument)
{
    const heads *h = argument;
    tree_plan_gpu *gpu = NULL;
    need_gpu();
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        for (int i = 0; i < 3; i++) {
            kv_tree *tree = i ? plan_tree_random(1 + test_below(30), 1 + test_below(100), 16, 0)
                              : plan_tree_levels("1,3,24/2100,40,21", 16, 0);
            tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = strategy, .group_size = h->group_size,
                                                                      .max_rows = test_below(2) * 70});
            put(&gpu, plan, *h);
            check_filled(gpu, plan, *h, true);
            tree_plan_destroy(plan);
            plan_tree_destroy(tree);
        }
    }
    tree_plan_gpu_destroy(gpu);
}

/* Trees of other block sizes need plans of their own. */
static void run_blocks(const void *unused)
{
    (void)unused;
    need_gpu();
    for (uint32_t block_tokens = 1; block_tokens <= 256; block_tokens *= 4) {
        tree_plan_gpu *gpu = NULL;
        kv_tree *tree = plan_tree_random(20, 100, block_tokens, 0);
        tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_COST});
        put(&gpu, plan, head_cases[0]);
        check_filled(gpu, plan, head_cases[0], true);
        tree_plan_gpu_destroy(gpu);
        tree_plan_destroy(plan);
        plan_tree_destroy(tree);
    }
}

/* Masks of single tokens; then new ones, in an update of their own. The first ones may be those of ranges. */
static void run_keeps(const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    need_gpu();
    for (uint32_t i = 0; i < 2 * NUM_HEAD_CASES; i++) {
        const heads h = head_cases[i / 2];
        tree_plan_gpu *gpu = NULL;
        int cuda_error = -1;
        kv_tree *tree = plan_tree_levels("1,9,30/100,30,20", 16, 0);
        keep_set set = keep_set_create(tree);
        if (i % 2)
            keep_evict_random(&set, 20, false);
        tree_plan *plan = keep_plan(&set, (tree_plan_config){.strategy = strategy, .group_size = h.group_size},
                                    TREE_KEEP_ALL);
        put(&gpu, plan, h);
        check_filled(gpu, plan, h, true);
        for (int round = 0; round < 3; round++) {
            keep_evict_random(&set, 20, false);
            check(tree_plan_set_keep(plan, tree, set.keeps), "every range has a mask");
            gpu_ok(tree_plan_gpu_update_masks(gpu, plan, NULL, &cuda_error), &cuda_error, "new masks");
            check_filled(gpu, plan, h, true);
        }
        check(!tree_plan_gpu_grow(gpu, plan), "tokens have masks of their own");
        tree_plan_gpu_destroy(gpu);
        tree_plan_destroy(plan);
        keep_set_free(&set);
        plan_tree_destroy(tree);
    }
}

/* ---- steps ---- */

/* One token more for each query whose path ends in a node of its own. False: no room. */
static bool grow_tree(kv_tree *tree)
{
    for (uint32_t q = 0; q < tree->num_queries; q++)
        if (is_sole(tree, q) && !plan_tree_grow(tree, q, 1))
            return false;
    return true;
}

typedef struct step_case {
    tree_strategy strategy;
    heads h;
    uint32_t block_tokens;
} step_case;

/* Steps until the plan or the device has no more room; then an update, and more steps. Returns all steps that the
 * device made by itself. */
static uint32_t follow(kv_tree *tree, const step_case *c, uint32_t num_steps, uint32_t *num_plans)
{
    const tree_plan_config config = {.strategy = c->strategy, .group_size = c->h.group_size};
    tree_plan_gpu *gpu = NULL;
    tree_plan *plan = plan_tree_plan(tree, config);
    uint32_t count = 0;
    d_array slots = d_create(tree->num_queries * sizeof(uint64_t));
    put(&gpu, plan, c->h);
    advance(gpu, &slots);
    check_filled(gpu, plan, c->h, true);
    check_slots(tree, &slots, true);
    for (uint32_t step = 0; step < num_steps && grow_tree(tree); step++) {
        bool grown = tree_plan_grow(plan, tree), follows = grown && tree_plan_gpu_grow(gpu, plan);
        if (!grown) {
            tree_plan_destroy(plan);
            plan = plan_tree_plan(tree, config);
        }
        if (!follows) {
            put(&gpu, plan, c->h);
            ++*num_plans;
        }
        count += follows;
        advance(gpu, &slots);
        if (!follows || step % 5 == 0 || step < 3)
            check_filled(gpu, plan, c->h, !follows);
        check_slots(tree, &slots, true);
    }
    d_destroy(&slots);
    tree_plan_gpu_destroy(gpu);
    tree_plan_destroy(plan);
    return count;
}

static void run_steps(const void *argument)
{
    const step_case *c = argument;
    uint32_t num_plans = 0, count = 0;
    need_gpu();
    kv_tree *tree = plan_tree_levels("1,3,24/300,40,21", c->block_tokens, 80);
    count += follow(tree, c, 75, &num_plans);
    plan_tree_destroy(tree);
    check(count >= 60 && num_plans > 0, "%" PRIu32 " steps on the device, %" PRIu32 " plans", count, num_plans);
    for (int i = 0; i < 2; i++) {
        tree = plan_tree_random(1 + test_below(30), 1 + test_below(100), c->block_tokens, 20);
        count += follow(tree, c, 18, &num_plans);
        plan_tree_destroy(tree);
    }
    test_note("%" PRIu32 " steps on the device, %" PRIu32 " updates", count, num_plans);
}

/* What the device cannot follow changes nothing: the next step that it can follow is right. */
static void run_refusals(const void *unused)
{
    (void)unused;
    need_gpu();
    const heads h = head_cases[0];
    tree_plan_gpu *gpu = NULL;
    int cuda_error = -1;
    kv_tree *tree = plan_tree_levels("1,6/300,40", 16, 90), *other = plan_tree_levels("1,5/300,40", 16, 90);
    const tree_plan_config config = {.strategy = TREE_NODE};
    tree_plan *plan = plan_tree_plan(tree, config), *other_plan = plan_tree_plan(other, config);
    d_array slots = d_create(tree->num_queries * sizeof(uint64_t));
    put(&gpu, plan, h);
    uint64_t version = tree_plan_gpu_version(gpu);
    advance(gpu, &slots);
    check(!tree_plan_gpu_grow(gpu, plan), "no path has grown");
    check(!tree_plan_gpu_grow(gpu, other_plan), "another plan");
    check(plan_tree_grow(tree, 3, 1) && tree_plan_grow(plan, tree) && !tree_plan_gpu_grow(gpu, plan), "one path alone");
    for (uint32_t q = 0; q < 6; q++)
        check(q == 3 || plan_tree_grow(tree, q, 1), "the others");
    check(tree_plan_grow(plan, tree) && tree_plan_gpu_grow(gpu, plan), "then all of them");
    advance(gpu, &slots);
    check_filled(gpu, plan, h, false);
    check(!tree_plan_gpu_grow(gpu, plan), "not twice");
    const uint32_t ahead = tree_plan_gpu_steps_ahead(gpu); /* slot 52 is the fifth of a block */
    check(ahead == 11, "%" PRIu32 " steps until blocks begin", ahead);
    for (uint32_t q = 0; q < 6; q++)
        check(plan_tree_grow(tree, q, ahead + 2), "more tokens");
    check(tree_plan_grow(plan, tree) && !tree_plan_gpu_grow(gpu, plan), "blocks that no step has named");
    uint64_t *half_a_word = (uint64_t *)(slots.data + 4);
    check(tree_plan_gpu_advance(gpu, half_a_word, NULL, &cuda_error) == TREE_INVAL, "slots are misaligned");
    put(&gpu, plan, h);
    check_filled(gpu, plan, h, true);
    for (uint32_t q = 0; q < 6; q++) /* six tokens in all, but two of them on one path */
        check(q == 1 || plan_tree_grow(tree, q, q == 0 ? 2 : 1), "uneven growth");
    check(tree_plan_grow(plan, tree) && !tree_plan_gpu_grow(gpu, plan), "not a token for each path");
    put(&gpu, plan, h);
    check(tree_plan_gpu_version(gpu) == version, "plans that fit stay where they are");
    put(&gpu, other_plan, h);
    check(tree_plan_gpu_version(gpu) != version, "another number of queries");
    d_destroy(&slots);
    tree_plan_gpu_destroy(gpu);
    tree_plan_destroy(plan);
    tree_plan_destroy(other_plan);
    plan_tree_destroy(tree);
    plan_tree_destroy(other);
}

/* Whether there is a merge decides how the last steps are launched, so captured calls become old: with as many queries,
 * in the same arrays. */
static void run_merges(const void *unused)
{
    (void)unused;
    need_gpu();
    const heads h = head_cases[0];
    tree_plan_gpu *gpu = NULL;
    kv_tree *tree = plan_tree_levels("1,40/300,40", 16, 90);
    const tree_strategy strategies[] = {TREE_RADIX, TREE_FLASH, TREE_TREE_MASK, TREE_NODE, TREE_NODE, TREE_TREE_MASK};
    enum { NUM_PLANS = sizeof strategies / sizeof strategies[0] };
    bool before = false;
    for (int round = 0; round < 2; round++) { /* at first, to make room */
        for (int i = 0; i < NUM_PLANS; i++) {
            tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = strategies[i]});
            const bool merges = plan->num_partials > plan->num_queries;
            const void *arrays = gpu ? gpu->arrays : NULL;
            const uint64_t version = gpu ? tree_plan_gpu_version(gpu) : 0;
            put(&gpu, plan, h);
            check(gpu->queue.needs_merge == merges && !gpu->queue.is_small && !gpu->is_few, "plan %d", i);
            if (round > 0)
                check(gpu->arrays == arrays && (tree_plan_gpu_version(gpu) != version) == (merges != before),
                      "the version of plan %d", i);
            check_filled(gpu, plan, h, true);
            before = merges;
            tree_plan_destroy(plan);
        }
    }
    tree_plan_gpu_destroy(gpu);
    plan_tree_destroy(tree);
}

/* Masked ends of paths have room for fewer steps than a large block has slots. */
static void run_room(const void *unused)
{
    (void)unused;
    need_gpu();
    const heads h = head_cases[0];
    tree_plan_gpu *gpu = NULL;
    kv_tree *tree = plan_tree_levels("1,9/300,5", 256, 90);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_COST, .max_rows = 16});
    d_array slots = d_create(tree->num_queries * sizeof(uint64_t));
    check(plan->num_mask_words > 0, "masks");
    put(&gpu, plan, h);
    advance(gpu, &slots);
    const uint32_t ahead = tree_plan_gpu_steps_ahead(gpu);
    check(ahead > 0 && ahead < 64, "%" PRIu32 " steps ahead", ahead);
    for (uint32_t q = 0; q < tree->num_queries; q++)
        check(plan_tree_grow(tree, q, ahead), "as many tokens");
    check(tree_plan_grow(plan, tree) && tree_plan_gpu_grow(gpu, plan), "plan and device have room for these steps");
    check(tree_plan_gpu_steps_ahead(gpu) == 0, "and for no other");
    for (uint32_t step = 0; step < ahead; step++)
        advance(gpu, &slots);
    check_filled(gpu, plan, h, false);
    check_slots(tree, &slots, true);
    d_destroy(&slots);
    tree_plan_gpu_destroy(gpu);
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* A path that has lost all tokens of its own: no row sees their range, but its next token is seen. */
static void run_lost_ends(const void *argument)
{
    const tree_strategy strategy = *(const tree_strategy *)argument;
    need_gpu();
    const heads h = head_cases[0];
    tree_plan_gpu *gpu = NULL;
    kv_tree *tree = plan_tree_levels("1,6/300,5", 16, 90);
    keep_set set = keep_set_create(tree);
    for (uint32_t slot = 300; slot < 305; slot++)
        keep_evict(&set, 2, slot);
    tree_plan *plan = keep_plan(&set, (tree_plan_config){.strategy = strategy}, TREE_KEEP_ALL);
    d_array slots = d_create(tree->num_queries * sizeof(uint64_t));
    put(&gpu, plan, h);
    advance(gpu, &slots);
    check(grow_tree(tree) && tree_plan_grow(plan, tree), "a token for each path");
    if (!tree_plan_gpu_grow(gpu, plan))
        put(&gpu, plan, h);
    advance(gpu, &slots);
    check_filled(gpu, plan, h, false);
    d_destroy(&slots);
    tree_plan_gpu_destroy(gpu);
    tree_plan_destroy(plan);
    keep_set_free(&set);
    plan_tree_destroy(tree);
}

int main(int argc, char **argv)
{
    static tree_strategy strategies[TREE_NUM_STRATEGIES];
    static step_case steps[TREE_NUM_STRATEGIES * 2];
    test_begin(argc, argv, "the device fills in the queue, and follows paths that grow");
    for (int i = 0; i < NUM_HEAD_CASES; i++)
        test_add(run_plans, &head_cases[i], "plans_%u_kv_heads_group_%u", head_cases[i].num_kv_heads,
                 head_cases[i].group_size);
    test_add(run_blocks, NULL, "block_sizes");
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++) {
        strategies[s] = (tree_strategy)s;
        test_add(run_keeps, &strategies[s], "masks_of_tokens_%s", tree_strategy_name[s]);
        if (s == TREE_TREE_MASK || s == TREE_FLATTEN)
            continue;
        test_add(run_lost_ends, &strategies[s], "lost_ends_%s", tree_strategy_name[s]);
        for (int i = 0; i < 2; i++) {
            steps[2 * s + i] = (step_case){(tree_strategy)s, head_cases[i ? 3 : 0], i ? 4 : 16};
            test_add(run_steps, &steps[2 * s + i], "steps_%s_block_%u", tree_strategy_name[s], i ? 4 : 16);
        }
    }
    test_add(run_room, NULL, "room_of_masks");
    test_add(run_refusals, NULL, "refusals");
    test_add(run_merges, NULL, "whether_there_is_a_merge_changes_the_version");
    return test_end();
}
