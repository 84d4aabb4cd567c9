/* Claim: each (task, KV head) goes to the worker that plan_queue.h names: workers' tiles are in the order in which the
 * tasks were dealt, and the costs, the even shares and the least loads are computed here independently. */
#include <inttypes.h>
#include <stdlib.h>

#include "plan_queue.h"
#include "plan_trees.h"
#include "test.h"

/* The worker of each (task, KV head), and its position among that worker's tasks. */
typedef struct dealt {
    const plan_queue *queue;
    const tree_shape *shape;
    uint32_t num_tasks, num_heads; /* KV heads */
    uint64_t *cost;                /* [num_tasks] */
    uint32_t *worker, *when;       /* [num_tasks][num_heads] */
} dealt;

static void *array_of(uint64_t count, size_t bytes)
{
    void *array = calloc(count + 1, bytes);
    check(array, "memory");
    return array;
}

/* The task whose first state and first head of the group a tile names. */
static uint32_t task_of(const dealt *d, const queue_tile *tile)
{
    uint32_t group_size = d->shape->num_heads / d->shape->num_kv_heads;
    for (uint32_t i = 0; i < d->num_tasks; i++)
        if (d->queue->tasks[i].first_partial == tile->first_partial
            && d->queue->tasks[i].first_head == tile->head % group_size)
            return i;
    check(false, "a tile of no task");
    return 0;
}

/* 48 KiB to start and end it; for each token K and V, and 2 bytes for each row, rounded up to 16, and 128 elements. */
static uint64_t cost_of(const dealt *d, const queue_task *task)
{
    uint64_t rows = task->num_queries * task->num_heads, tiles = rows / 16 + (rows % 16 > 0);
    uint64_t element = d->shape->storage == TREE_FP32 ? 4 : 2;
    return 49152 + (uint64_t)task->num_tokens
                       * (2 * element * d->shape->head_dim + 16 * tiles * (2 * d->shape->head_dim / 128));
}

static dealt look(const plan_queue *queue, const tree_shape *shape)
{
    dealt d = {queue, shape, queue->num_tasks, shape->num_kv_heads, array_of(queue->num_tasks, sizeof(uint64_t)),
               array_of((uint64_t)queue->num_tasks * shape->num_kv_heads, sizeof(uint32_t)),
               array_of((uint64_t)queue->num_tasks * shape->num_kv_heads, sizeof(uint32_t))};
    for (uint32_t i = 0; i < d.num_tasks; i++) {
        d.cost[i] = cost_of(&d, &queue->tasks[i]);
        for (uint32_t h = 0; h < d.num_heads; h++)
            d.worker[i * d.num_heads + h] = KV_NONE;
    }
    for (uint32_t w = 0; w < queue->num_workers; w++) {
        uint32_t count = 0;
        for (uint32_t t = queue->worker_first[w]; t < queue->worker_first[w + 1]; t++) {
            if (!queue->tiles[t].is_first)
                continue;
            uint32_t i = task_of(&d, &queue->tiles[t]) * d.num_heads + queue->tiles[t].kv_head;
            check(d.worker[i] == KV_NONE, "task %" PRIu32 " was dealt once", i / d.num_heads);
            d.worker[i] = w;
            d.when[i] = count++;
        }
    }
    for (uint32_t i = 0; i < d.num_tasks * d.num_heads; i++)
        check(d.worker[i] != KV_NONE, "task %" PRIu32 " was dealt", i / d.num_heads);
    return d;
}

static void forget(dealt *d)
{
    free(d->cost);
    free(d->worker);
    free(d->when);
}

/* Tasks in `order`, all KV heads of a task in turn, are each worker's in this order. */
static bool is_in_order(const dealt *d, const uint32_t *order)
{
    uint32_t *count = array_of(d->queue->num_workers, sizeof *count);
    bool good = true;
    for (uint32_t i = 0; i < d->num_tasks; i++)
        for (uint32_t h = 0; h < d->num_heads; h++) {
            uint32_t at = order[i] * d->num_heads + h;
            good = good && d->when[at] == count[d->worker[at]]++;
        }
    free(count);
    return good;
}

static uint64_t largest(const uint64_t *load, uint32_t count)
{
    uint64_t most = 0;
    for (uint32_t w = 0; w < count; w++)
        most = load[w] > most ? load[w] : most;
    return most;
}

/* All tasks of KV head 0 end to end, then those of KV head 1, ...: the worker in whose even share the middle of a task
 * lies. by_head: workers first .. end of each KV head share its tasks instead. */
static uint32_t even_worker(const dealt *d, uint32_t task, uint32_t head, bool by_head)
{
    uint64_t before = 0, all = 0, workers = d->queue->num_workers, first = 0, end = workers;
    for (uint32_t i = 0; i < d->num_tasks; i++) {
        all += d->cost[i];
        before += i < task ? d->cost[i] : 0;
    }
    if (by_head) {
        first = workers * head / d->num_heads;
        end = workers * (head + 1) / d->num_heads;
    } else {
        before += all * head;
        all *= d->num_heads;
    }
    uint64_t worker = first + (before + d->cost[task] / 2) * (end - first) / all;
    return (uint32_t)(worker < workers ? worker : workers - 1);
}

static bool is_even(const dealt *d, bool by_head)
{
    for (uint32_t i = 0; i < d->num_tasks; i++)
        for (uint32_t h = 0; h < d->num_heads; h++)
            if (d->worker[i * d->num_heads + h] != even_worker(d, i, h, by_head))
                return false;
    return true;
}

/* The most expensive first: the largest load if each goes to a worker with the least. */
static uint64_t expensive_first(const dealt *d, const uint32_t *order, uint64_t *load)
{
    uint32_t num_workers = d->queue->num_workers;
    for (uint32_t w = 0; w < num_workers; w++)
        load[w] = 0;
    for (uint32_t i = 0; i < d->num_tasks * d->num_heads; i++) {
        uint32_t idle = 0;
        for (uint32_t w = 1; w < num_workers; w++)
            idle = load[w] < load[idle] ? w : idle;
        load[idle] += d->cost[order[i / d->num_heads]];
    }
    return largest(load, num_workers);
}

/* So they were dealt: each went to a worker that had no more to do than any other. */
static void check_least_load(const dealt *d, const uint32_t *order, uint64_t *load)
{
    for (uint32_t w = 0; w < d->queue->num_workers; w++)
        load[w] = 0;
    for (uint32_t i = 0; i < d->num_tasks * d->num_heads; i++) {
        uint32_t task = order[i / d->num_heads], to = d->worker[task * d->num_heads + i % d->num_heads];
        for (uint32_t w = 0; w < d->queue->num_workers; w++)
            check(load[to] <= load[w], "task %" PRIu32 " went to worker %" PRIu32 ", but %" PRIu32 " had less to do",
                  task, to, w);
        load[to] += d->cost[task];
    }
}

/* In steps of 1/255 of the largest cost; equal ones in the plan's order. */
static void sort_by_cost(const dealt *d, uint32_t *order)
{
    uint64_t most = 1;
    uint32_t count = 0;
    for (uint32_t i = 0; i < d->num_tasks; i++)
        most = d->cost[i] > most ? d->cost[i] : most;
    for (int step = 255; step >= 0; step--)
        for (uint32_t i = 0; i < d->num_tasks; i++)
            if (d->cost[i] * 255 / most == (uint64_t)step)
                order[count++] = i;
}

static void check_dealing(const plan_queue *queue, const tree_shape *shape, uint32_t *num_even, uint32_t *num_least)
{
    dealt d = look(queue, shape);
    uint32_t num_workers = queue->num_workers;
    uint32_t *as_planned = array_of(d.num_tasks, sizeof *as_planned), *by_cost = array_of(d.num_tasks, sizeof *by_cost);
    uint64_t *even_load = array_of(num_workers, sizeof *even_load), *load = array_of(num_workers, sizeof *load);
    for (uint32_t i = 0; i < d.num_tasks; i++) {
        as_planned[i] = i;
        for (uint32_t h = 0; h < d.num_heads; h++)
            even_load[even_worker(&d, i, h, false)] += d.cost[i];
    }
    sort_by_cost(&d, by_cost);
    if (queue->is_small) {
        check(is_even(&d, true) && is_in_order(&d, as_planned), "each KV head has workers of its own");
    } else if (largest(even_load, num_workers) < expensive_first(&d, by_cost, load)) {
        check(is_even(&d, false) && is_in_order(&d, as_planned), "in the plan's order, where that ends sooner");
        ++*num_even;
    } else {
        check(is_in_order(&d, by_cost), "the most expensive first");
        check_least_load(&d, by_cost, load);
        ++*num_least;
    }
    free(as_planned);
    free(by_cost);
    free(even_load);
    free(load);
    forget(&d);
}

static void run_random(const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    uint32_t num_even = 0, num_least = 0, num_small = 0;
    for (int i = 0; i < 60; i++) {
        static const uint32_t head_dims[] = {64, 128, 256};
        uint32_t num_kv_heads = 1 + test_below(4), group_size = 1 + test_below(test_below(5) ? 6 : 100);
        kv_tree *tree = plan_tree_random(1 + test_below(test_below(3) ? 12 : 2), 1 + test_below(600), 16, 0);
        tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = strategy, .group_size = group_size,
                                                                  .num_workers = 1 + test_below(100)});
        tree_shape shape = {plan->num_queries, num_kv_heads * group_size, num_kv_heads, head_dims[i % 3],
                            plan->max_block + 1, 16, i % 2 ? TREE_BF16 : TREE_FP32};
        plan_queue queue;
        check(plan_queue_build(&queue, plan, &shape, 1 + test_below(test_below(3) ? 40 : 300)) == TREE_OK, "a queue");
        num_small += queue.is_small;
        check_dealing(&queue, &shape, &num_even, &num_least);
        plan_queue_free(&queue);
        tree_plan_destroy(plan);
        plan_tree_destroy(tree);
    }
    test_note("%" PRIu32 " in the plan's order, %" PRIu32 " the most expensive first, %" PRIu32 " small", num_even, num_least,
              num_small);
    check(num_least > 0 && num_small > 0, "some are dealt by cost, some are small");
}

/* Groups of two tasks of three parts, or of three tasks of two. In the plan's order each worker gets six parts;
 * the most expensive first gives one worker seven. Where lengths vary and workers are added, it is the other way round. */
static void run_even_groups(const void *unused)
{
    enum { MOST_GROUPS = 12 };
    uint32_t num_even = 0, num_least = 0;
    (void)unused;
    for (int i = 0; i < 60; i++) {
        uint32_t parent[3 * MOST_GROUPS], num_tokens[3 * MOST_GROUPS], count = 0, num_kv_heads = 1 + test_below(3);
        uint32_t num_groups = 2 + test_below(MOST_GROUPS - 1), off = test_below(3) ? 0 : test_below(5);
        for (uint32_t g = 0; g < num_groups; g++)
            for (uint32_t n = 0; n < 2 + g % 2; n++) {
                parent[count] = KV_NONE;
                num_tokens[count++] = (g % 2 ? 8000 : 12000) + test_below(1 + 500 * off);
            }
        kv_tree *tree = plan_tree_create(&(plan_tree_nodes){count, parent, num_tokens, NULL, 0}, 16, 0);
        tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_FLASH});
        tree_shape shape = {plan->num_queries, 5 * num_kv_heads, num_kv_heads, 128, plan->max_block + 1, 16, TREE_BF16};
        plan_queue queue;
        check(plan_queue_build(&queue, plan, &shape, num_groups * num_kv_heads + off) == TREE_OK, "a queue");
        check(!queue.is_small, "a queue of many rows");
        check_dealing(&queue, &shape, &num_even, &num_least);
        plan_queue_free(&queue);
        tree_plan_destroy(plan);
        plan_tree_destroy(tree);
    }
    test_note("%" PRIu32 " in the plan's order, %" PRIu32 " the most expensive first", num_even, num_least);
    check(num_even > 10 && num_least > 10, "both happen");
}

int main(int argc, char **argv)
{
    static tree_strategy strategies[TREE_NUM_STRATEGIES];
    test_begin(argc, argv, "each task goes to the worker that the rules name");
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++) {
        strategies[s] = (tree_strategy)s;
        test_add(run_random, &strategies[s], "random_trees_%s", tree_strategy_name[s]);
    }
    test_add(run_even_groups, NULL, "even_groups");
    return test_end();
}
