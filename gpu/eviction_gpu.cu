/* eviction_gpu: the lists of score jobs, the checks, and the launch of one rung. The kernels are in gpu/eviction: the
 * last rung is the fastest, evict_0 the one to read first. */
#include <assert.h>
#include <stdlib.h>

#include "eviction_internal.h"
#include "tree_importance.h"

enum { MAX_HEADS = 1024 }; /* their softmax states fit a warp's part of shared memory */

static bool aligned(const void *array, size_t bytes) { return (uintptr_t)array % bytes == 0; }

static uint64_t round_up(uint64_t bytes) { return (bytes + 255) & ~(uint64_t)255; }

/* ---- lists ---- */

static uint64_t rounds_of(const tree_item *item)
{
    return ((uint64_t)item->num_tokens + SCORE_ROUND - 1) / SCORE_ROUND;
}

static uint64_t jobs_of(const tree_item *item)
{
    return ((uint64_t)item->num_tokens + SCORE_TOKENS - 1) / SCORE_TOKENS;
}

/* Room for the scores of a KV head's group on the chip (worker_on_chip.cuh): two tiles as floats; then tiles with 3
 * bytes for each row and token, and a float for each row. None at head_dim 64,
 * where it was slower (docs/eviction.md). */
static void count_chip_tiles(eviction_lists *lists, const tree_shape *shape)
{
    const uint32_t tokens = queue_tile_tokens(shape->head_dim), rows = shape->num_heads / shape->num_kv_heads;
    lists->chip_tile_bytes = rows * (3 * tokens + 4);
    lists->chip_tiles = 0;
    if (rows <= CHIP_ROWS && shape->head_dim >= 128)
        lists->chip_tiles = (CHIP_BYTES - 2 * rows * tokens * (uint32_t)sizeof(float)) / lists->chip_tile_bytes;
}

/* The counts of the lists of a plan that fits the shape. */
static tree_status count_lists(eviction_lists *lists, const tree_plan *plan, const tree_shape *shape)
{
    uint64_t num_jobs = 0, rounds = 0;
    *lists = {};
    if (shape->num_heads > MAX_HEADS)
        return TREE_UNSUPPORTED;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        num_jobs += plan->items[i].num_rows * jobs_of(&plan->items[i]);
        rounds += plan->items[i].num_rows * rounds_of(&plan->items[i]);
    }
    if (num_jobs > INT32_MAX || rounds >= UINT32_MAX / shape->num_heads)
        return TREE_OVERFLOW;
    lists->num_jobs = (uint32_t)num_jobs;
    lists->num_pairs = rounds * SCORE_ROUND;
    lists->num_blocks = plan->num_blocks ? plan->max_block + 1 : 0;
    lists->num_slots = tree_importance_slots(plan);
    count_chip_tiles(lists, shape);
    return TREE_OK;
}

/* The lists on the host. */
typedef struct list_builder {
    const tree_plan *plan;
    const tree_shape *shape;
    plan_queue tasks;        /* the tasks alone */
    eviction_lists lists;
    uint32_t *partial_task;  /* [num_partials] first task that has it */
} list_builder;

static bool allocate(list_builder *b)
{
    const tree_plan *plan = b->plan;
    b->lists.jobs = (score_job *)calloc((size_t)b->lists.num_jobs + 1, sizeof *b->lists.jobs);
    b->lists.first_rows = (uint32_t *)calloc((size_t)plan->num_partials + 1, sizeof *b->lists.first_rows);
    b->lists.table_index = (uint32_t *)calloc((size_t)b->lists.num_blocks + 1, sizeof *b->lists.table_index);
    b->lists.on_chip = (uint32_t *)calloc((size_t)plan->num_partials + 1, sizeof *b->lists.on_chip);
    b->partial_task = (uint32_t *)calloc((size_t)plan->num_partials + 1, sizeof *b->partial_task);
    return b->lists.jobs && b->lists.first_rows && b->lists.table_index && b->lists.on_chip && b->partial_task;
}

static void free_lists(list_builder *b)
{
    plan_queue_free(&b->tasks);
    free(b->lists.jobs);
    free(b->lists.first_rows);
    free(b->lists.table_index);
    free(b->lists.on_chip);
    free(b->partial_task);
}

static void fill_rows(list_builder *b)
{
    const tree_plan *plan = b->plan;
    uint32_t rounds = 0;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        for (uint32_t row = 0; row < plan->items[i].num_rows; row++) {
            b->lists.first_rows[plan->items[i].first_partial + row] = rounds;
            rounds += (uint32_t)rounds_of(&plan->items[i]);
        }
    }
    b->lists.first_rows[plan->num_partials] = rounds;
    for (uint32_t t = b->tasks.num_tasks; t-- > 0;) {
        for (uint32_t i = 0; i < b->tasks.tasks[t].num_queries; i++)
            b->partial_task[b->tasks.tasks[t].first_partial + i] = t;
    }
}

/* Whether one task has all tokens of the query, and there is room for them. */
static bool stays_on_chip(const list_builder *b, uint32_t query, const queue_task *task)
{
    const uint32_t tokens = queue_tile_tokens(b->shape->head_dim);
    const uint32_t num_states = b->plan->merge_first[query + 1] - b->plan->merge_first[query];
    return num_states == 1 && task->num_queries == 1 && (task->num_tokens + tokens - 1) / tokens <= b->lists.chip_tiles;
}

static void fill_on_chip(list_builder *b)
{
    const tree_plan *plan = b->plan;
    for (uint32_t q = 0; q < plan->num_queries; q++) {
        for (uint32_t i = plan->merge_first[q]; i < plan->merge_first[q + 1]; i++) {
            const uint32_t partial = plan->merge_partials[i];
            b->lists.on_chip[partial] = stays_on_chip(b, q, &b->tasks.tasks[b->partial_task[partial]]);
        }
    }
}

/* The jobs of a partial state; returns where the next ones go. */
static score_job *add_jobs(const list_builder *b, score_job *job, uint32_t query, uint32_t partial)
{
    const queue_task *task = &b->tasks.tasks[b->partial_task[partial]];
    for (uint32_t first = 0; first < task->num_tokens; first += SCORE_TOKENS) {
        uint32_t left = task->num_tokens - first;
        *job = {};
        job->query = query;
        job->first_row = b->lists.first_rows[partial];
        job->row_rounds = b->lists.first_rows[partial + 1] - job->first_row;
        job->first = first;
        job->kv_slots = task->first_token + first;
        job->masks = task->first_mask == QUEUE_NO_MASK ? QUEUE_NO_MASK : task->first_mask + first;
        job->num_tokens = (uint16_t)(left < SCORE_TOKENS ? left : (uint32_t)SCORE_TOKENS);
        job->mask_bit = (uint16_t)(partial - task->first_partial);
        job++;
    }
    return job;
}

/* Those of scores in memory first. */
static void fill_lists(list_builder *b)
{
    const tree_plan *plan = b->plan;
    score_job *job = b->lists.jobs, *first_sum = job;
    fill_rows(b);
    fill_on_chip(b);
    for (uint32_t on_chip = 0; on_chip < 2; on_chip++) {
        first_sum = job;
        for (uint32_t q = 0; q < plan->num_queries; q++) {
            for (uint32_t i = plan->merge_first[q]; i < plan->merge_first[q + 1]; i++)
                if (b->lists.on_chip[plan->merge_partials[i]] == on_chip)
                    job = add_jobs(b, job, q, plan->merge_partials[i]);
        }
    }
    b->lists.num_sum_jobs = (uint32_t)(job - first_sum);
    for (uint32_t i = 0; i < plan->num_blocks; i++)
        if (plan->blocks[i] <= plan->max_block) /* others are in no range */
            b->lists.table_index[plan->blocks[i]] = plan->table_index[i];
}

static tree_status build_lists(list_builder *b)
{
    const tree_shape *shape = b->shape;
    tree_status status = tree_plan_fits(b->plan, shape);
    if (status == TREE_OK && shape->head_dim != 64 && shape->head_dim != 128 && shape->head_dim != 256)
        status = TREE_UNSUPPORTED;
    if (status == TREE_OK)
        status = count_lists(&b->lists, b->plan, shape);
    if (status == TREE_OK)
        status = plan_queue_cut(&b->tasks, b->plan, shape);
    if (status == TREE_OK && !allocate(b))
        status = TREE_NOMEM;
    if (status == TREE_OK)
        fill_lists(b);
    return status;
}

tree_status tree_eviction_gpu_update(tree_eviction_gpu *eviction, const tree_plan *plan, cudaStream_t stream,
                                     int *cuda_error)
{
    assert(eviction && plan && "an update needs lists on the device and a plan on the host");
    list_builder b = {};
    tree_shape shape = eviction->shape;
    shape.num_queries = plan->num_queries;
    b.plan = plan;
    b.shape = &shape;
    gpu_status(cudaSuccess, cuda_error);
    tree_status status = build_lists(&b);
    if (status == TREE_OK) {
        eviction_lists lists = b.lists;
        auto lay_out = [&](char *device, char *staging) {
            size_t end = 0;
            lists.jobs = place(b.lists.jobs, lists.num_jobs, device, staging, &end);
            lists.first_rows = place(b.lists.first_rows, (uint64_t)plan->num_partials + 1, device, staging, &end);
            lists.on_chip = place(b.lists.on_chip, plan->num_partials, device, staging, &end);
            lists.table_index = place(b.lists.table_index, lists.num_blocks, device, staging, &end);
            return end;
        };
        status = setup_status(memory_upload(&eviction->memory, lay_out, stream), cuda_error);
        if (status == TREE_OK) {
            eviction->lists = lists;
            eviction->shape = shape;
            eviction->num_partials = plan->num_partials;
        }
    }
    free_lists(&b);
    return status;
}

tree_status tree_eviction_gpu_create(tree_eviction_gpu **eviction, const tree_plan *plan, const tree_shape *shape,
                                     cudaStream_t stream, int *cuda_error)
{
    assert(plan && shape && "lists on the device are made from a plan on the host, for a shape");
    tree_eviction_gpu *made = (tree_eviction_gpu *)calloc(1, sizeof *made);
    if (!made)
        return TREE_NOMEM;
    made->shape = *shape;
    tree_status status = tree_plan_fits(plan, shape);
    if (status == TREE_OK)
        status = setup_status(memory_prepare(&made->memory), cuda_error);
    if (status == TREE_OK)
        status = tree_eviction_gpu_update(made, plan, stream, cuda_error);
    if (status != TREE_OK) {
        tree_eviction_gpu_destroy(made);
        return status;
    }
    *eviction = made;
    return TREE_OK;
}

void tree_eviction_gpu_destroy(tree_eviction_gpu *eviction)
{
    if (!eviction)
        return;
    memory_destroy(&eviction->memory);
    free(eviction);
}

/* ---- run ---- */

bool tree_eviction_step_takes(const tree_eviction_step *step, tree_storage storage)
{
    return storage != TREE_FP32 && (!step->needs_warpgroups || gpu_has_warpgroups());
}

static const tree_eviction_step *last_step(tree_storage storage)
{
    for (uint32_t i = tree_eviction_num_steps; i-- > 0;)
        if (tree_eviction_step_takes(&tree_eviction_steps[i], storage))
            return &tree_eviction_steps[i];
    return NULL;
}

/* The fused steps: m and l of each partial state, then the scores. */
static uint64_t state_bytes(const tree_plan *plan, const tree_shape *shape)
{
    return round_up((uint64_t)plan->num_partials * shape->num_heads * 2 * sizeof(float));
}

uint64_t fused_scratch_bytes(const tree_plan *plan, const eviction_lists *counts, const tree_shape *shape)
{
    return state_bytes(plan, shape) + counts->num_pairs * shape->num_heads * sizeof(float);
}

enum { MAX_SCORES_IN_L2 = 8 << 20 }; /* bytes. Scores that stay leave less room for others: above, they slowed down */

void fused_place_scratch(eviction_arguments *e)
{
    const uint64_t states = state_bytes(&e->plan, &e->shape);
    const uint64_t stored = (uint64_t)e->lists.num_jobs * SCORE_ROUND * e->shape.num_heads * sizeof(float);
    e->states = (float *)e->scratch;
    e->scores = (float *)((char *)e->scratch + states);
    e->score_policy = stored <= MAX_SCORES_IN_L2 ? L2_EVICT_LAST : L2_EVICT_NORMAL;
}

/* The workspace: the partial states of attention, lse, and the step's own arrays. */
typedef struct places {
    size_t lse, scratch, bytes; /* bytes 0: too many */
} places;

static places find_places(const tree_plan *plan, const eviction_lists *counts, const tree_shape *shape,
                          const tree_eviction_step *step)
{
    places at = {};
    const uint64_t scratch = step->kernels->scratch_bytes(plan, counts, shape);
    const uint64_t lse = (uint64_t)plan->num_queries * shape->num_heads * sizeof(float);
    const size_t states = tree_attention_gpu_workspace_bytes(plan, shape);
    if (states == 0 || lse > SIZE_MAX / 4 || states > SIZE_MAX / 4 || scratch > SIZE_MAX / 4)
        return at;
    at.lse = round_up(states);
    at.scratch = at.lse + round_up(lse);
    at.bytes = at.scratch + scratch;
    return at;
}

size_t tree_eviction_gpu_workspace_bytes(const tree_plan *plan, const tree_shape *shape,
                                         const tree_eviction_step *step)
{
    eviction_lists counts;
    if (tree_plan_fits(plan, shape) != TREE_OK || count_lists(&counts, plan, shape) != TREE_OK)
        return 0;
    step = step ? step : last_step(shape->storage);
    return step ? find_places(plan, &counts, shape, step).bytes : 0;
}

/* Whether the lists were made from the same plan, as far as counts tell. */
static bool lists_fit(const tree_eviction_gpu *eviction, const attention_arguments *a)
{
    const tree_shape *shape = &eviction->shape;
    return shape->num_heads == a->shape.num_heads && shape->num_kv_heads == a->shape.num_kv_heads
           && shape->block_tokens == a->shape.block_tokens && shape->num_queries == a->plan.num_queries
           && eviction->num_partials == a->plan.num_partials;
}

static tree_status check_arguments(const eviction_arguments *e)
{
    if (!e->norm || (e->victims && !e->positions) || (e->importance && e->num_slots < e->lists.num_slots)
        || !aligned(e->importance, 4) || !aligned(e->victims, 8) || !aligned(e->norm, 4) || !aligned(e->positions, 4)
        || !aligned(e->candidates, 8))
        return TREE_INVAL;
    return TREE_OK;
}

tree_status tree_eviction_gpu_run(float *out, float *lse, float *importance, uint64_t num_slots, uint64_t *victims,
                                  const float *query, const void *key, const void *value, const float *norm,
                                  const uint32_t *positions, const eviction_range *candidates,
                                  const tree_plan_gpu *plan, const tree_eviction_gpu *eviction,
                                  const tree_shape *shape, float scale, void *workspace, size_t workspace_bytes,
                                  cudaStream_t stream, const tree_eviction_step *step, int *cuda_error)
{
    assert(plan && eviction && shape && "eviction needs a plan, its lists and a shape");
    eviction_arguments e = {};
    gpu_status(cudaSuccess, cuda_error);
    tree_status status = attention_fill(&e, out, lse, query, key, value, plan, shape, scale, workspace,
                                        tree_attention_gpu_workspace_bytes(&plan->plan, shape));
    if (status == TREE_OK && !lists_fit(eviction, &e))
        status = TREE_BAD_SHAPE;
    if (status != TREE_OK)
        return status;
    step = step ? step : last_step(shape->storage);
    if (!step || !tree_eviction_step_takes(step, shape->storage))
        return TREE_UNSUPPORTED;
    e.importance = importance;
    e.num_slots = num_slots;
    e.victims = victims;
    e.norm = norm;
    e.positions = positions;
    e.candidates = candidates;
    e.lists = eviction->lists;
    status = check_arguments(&e);
    if (status == TREE_OK)
        status = attention_check(&e, workspace, workspace_bytes);
    if (status != TREE_OK)
        return status;
    const places at = find_places(&e.plan, &e.lists, shape, step);
    if (at.bytes == 0 || workspace_bytes < at.bytes)
        return TREE_WORKSPACE;
    e.lse = lse ? lse : (float *)((char *)workspace + at.lse);
    e.scratch = (char *)workspace + at.scratch;
    return gpu_status(step->kernels->launch(&e, stream), cuda_error);
}
