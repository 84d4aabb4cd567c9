/* Claim: data that the GPU still reads stay as they were: blocks of a pruned branch until their epoch is retired, the
 * host's plan, shape and list of copies once the call is back, the plan on the device until the stream has reached its
 * update; and the earlier contents of the workspace make no difference. */
#define _POSIX_C_SOURCE 200809L /* nanosleep */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpu_support.h"
#include "kv_gpu.h"
#include "test.h"

#ifndef CUDART_CB
#define CUDART_CB
#endif

/* ---- a gate in a stream: what is enqueued behind it waits until the host opens it ---- */

enum { GATE_SECONDS = 15 };

static atomic_bool gate_is_open, gate_gave_up;

static void CUDART_CB wait_at_gate(void *unused)
{
    const struct timespec millisecond = {0, 1000000};
    (void)unused;
    for (int i = 0; i < GATE_SECONDS * 1000 && !atomic_load(&gate_is_open); i++)
        nanosleep(&millisecond, NULL);
    if (!atomic_load(&gate_is_open))
        atomic_store(&gate_gave_up, true);
}

static void close_gate(cudaStream_t stream)
{
    atomic_store(&gate_is_open, false);
    atomic_store(&gate_gave_up, false);
    cuda_ok(cudaLaunchHostFunc(stream, wait_at_gate, NULL), "a gate");
}

static void open_gate(cudaStream_t stream)
{
    check(!atomic_load(&gate_gave_up), "nothing waits for what is enqueued: %d s", GATE_SECONDS);
    atomic_store(&gate_is_open, true);
    cuda_ok(cudaStreamSynchronize(stream), "what waited at the gate");
}

static cudaStream_t create_stream(void)
{
    cudaStream_t stream;
    cuda_ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    return stream;
}

/* ---- results ---- */

/* The bits of a run, on the host. */
typedef struct kept_run {
    float *out, *lse;
} kept_run;

static kept_run keep_run(const gpu_case *gpu)
{
    kept_run kept = {malloc(gpu->out.bytes + 1), malloc(gpu->lse.bytes + 1)};
    check(kept.out && kept.lse, "memory");
    memcpy(kept.out, gpu->h_out, gpu->out.bytes);
    memcpy(kept.lse, gpu->h_lse, gpu->lse.bytes);
    return kept;
}

static void kept_free(kept_run *kept)
{
    free(kept->out);
    free(kept->lse);
}

static bool kept_differs(const kept_run *a, const kept_run *b, const gpu_case *gpu)
{
    return memcmp(a->out, b->out, gpu->out.bytes) != 0;
}

static void check_kept(const float *out, const float *lse, const kept_run *kept, const attention_case *c,
                       uint32_t num_queries, const char *what)
{
    uint64_t num_rows = (uint64_t)num_queries * c->shape.num_heads;
    check_same_bits(out, kept->out, num_rows * c->shape.head_dim, what);
    check_same_bits(lse, kept->lse, num_rows, what);
}

static void read_results(gpu_case *gpu)
{
    d_read(&gpu->out, gpu->h_out, "out");
    d_read(&gpu->lse, gpu->h_lse, "lse");
}

static void clear_results(gpu_case *gpu)
{
    d_clear(&gpu->out);
    d_clear(&gpu->lse);
    cuda_ok(cudaDeviceSynchronize(), "cleared");
}

static void enqueue(gpu_case *gpu, const tree_gpu_step *step, cudaStream_t stream)
{
    gpu_case_enqueue(gpu, step, (float *)gpu->out.data, (float *)gpu->lse.data, stream);
}

/* ---- blocks of a pruned branch ---- */

enum { NUM_READERS = 4, NUM_LAUNCHES = 20, MAX_RELEASED = 64 };

/* Branches 0 .. 3 live on, branch 4 is pruned while it is read, branch 5 was pruned before. */
typedef struct epoch_setting {
    attention_case c;
    gpu_case gpu;
    cudaStream_t reads, writes;
    d_array poison, slots; /* rows of NaN, and where they go */
    uint32_t released[MAX_RELEASED], num_released;
} epoch_setting;

/* Its blocks that no other branch lists, last block first, are released: at once, or with the open epoch. */
static void prune_last(epoch_setting *s)
{
    tree_case *grown = &s->c.grown;
    kv_branch last = grown->branches[--grown->num_branches];
    kv_table table;
    check(kv_branch_table(grown->pool, last, &table) == KV_OK, "its table");
    s->num_released = 0;
    for (uint32_t i = table.num_blocks; i-- > 0 && s->num_released < MAX_RELEASED;) {
        if (kv_pool_references(grown->pool, table.blocks[i]) == 1)
            s->released[s->num_released++] = table.blocks[i];
    }
    check(s->num_released > 0 && s->num_released < MAX_RELEASED, "%u blocks", s->num_released);
    check(kv_branch_prune(grown->pool, last) == KV_OK, "prune");
}

static void check_released(const epoch_setting *s, bool all)
{
    const uint32_t *blocks;
    uint32_t num_blocks;
    kv_pool_released(s->c.grown.pool, &blocks, &num_blocks);
    check(num_blocks == (all ? s->num_released : 0), "%u of %u blocks", num_blocks, s->num_released);
    check(!all || !memcmp(blocks, s->released, num_blocks * sizeof *blocks), "those of the pruned branch");
}

static bool was_released(const epoch_setting *s, uint32_t block)
{
    for (uint32_t i = 0; i < s->num_released; i++) {
        if (s->released[i] == block)
            return true;
    }
    return false;
}

static void append_poison(epoch_setting *s, uint32_t num_rows)
{
    int cuda_error = -1;
    gpu_ok(kv_append_gpu(s->gpu.key.data, s->gpu.value.data, s->poison.data, s->poison.data, (uint64_t *)s->slots.data,
                         num_rows, &s->c.shape, s->writes, &cuda_error),
           &cuda_error, "an append");
}

static void set_up_epoch(epoch_setting *s)
{
    need_gpu();
    memset(s, 0, sizeof *s);
    attention_case_build(&s->c, storage_backend(TREE_FP16), "1,6/40,50", 16, (attention_size){2, 4, 64});
    attention_case_narrow(&s->c, NUM_READERS + 1);
    tree_plan *plan = attention_plan(&s->c, TREE_FLATTEN, 0, 0);
    prune_last(s);
    gpu_case_create(&s->gpu, &s->c);
    gpu_case_plan(&s->gpu, plan);
    tree_plan_destroy(plan);
    s->reads = create_stream();
    s->writes = create_stream();
    s->poison = d_create(16 * 2 * 64 * sizeof(uint16_t));
    s->slots = d_create(16 * sizeof(uint64_t));
    append_poison(s, 16); /* to KV_SKIP_SLOT: its first launch may wait for all streams */
    cuda_ok(cudaDeviceSynchronize(), "the setting");
}

static void tear_down_epoch(epoch_setting *s)
{
    cuda_ok(cudaStreamDestroy(s->reads), "a stream's end");
    cuda_ok(cudaStreamDestroy(s->writes), "a stream's end");
    d_destroy(&s->poison);
    d_destroy(&s->slots);
    gpu_case_destroy(&s->gpu);
    attention_case_free(&s->c);
}

/* 16 tokens of NaN to each branch in turn, until there are no blocks left. Returns how many blocks it took; all were
 * released by the prune, or none. */
static uint32_t append_until_full(epoch_setting *s, bool are_released)
{
    kv_append append;
    kv_table table;
    uint64_t slots[16];
    uint32_t num_blocks = 0;
    kv_pool *pool = s->c.grown.pool;
    for (uint32_t i = 0;; i++) {
        kv_branch branch = s->c.grown.branches[i % NUM_READERS];
        kv_status status = kv_branch_append(pool, branch, 16, &append);
        if (status == KV_NOBLOCKS)
            return num_blocks;
        check(status == KV_OK && append.copy.num_tokens == 0, "an append: %s", kv_status_string(status));
        check(kv_branch_table(pool, branch, &table) == KV_OK, "its table");
        for (uint32_t b = append.first_new_block; b < table.num_blocks; b++)
            check(was_released(s, table.blocks[b]) == are_released, "block %u is %s", table.blocks[b],
                  are_released ? "one that was waited for" : "still being read");
        num_blocks += append.num_new_blocks;
        kv_last_slots(slots, &table, 16, 16);
        cuda_ok(cudaMemcpyAsync(s->slots.data, slots, sizeof slots, cudaMemcpyHostToDevice, s->writes), "slots");
        append_poison(s, 16);
    }
}

/* Half of the launches run before the prune, half wait until the appends have landed. */
static void run_epoch(const void *argument)
{
    const tree_gpu_step *step = argument;
    epoch_setting s;
    uint64_t epoch;
    cudaEvent_t done;
    need_gpu();
    if (!takes_storage(step, TREE_FP16))
        test_skip("%s is not for this GPU", step->name);
    set_up_epoch(&s);
    kv_pool *pool = s.c.grown.pool;
    gpu_case_run(&s.gpu, step);
    kept_run kept = keep_run(&s.gpu);
    clear_results(&s.gpu);
    cuda_ok(cudaEventCreateWithFlags(&done, cudaEventDisableTiming), "an event");

    check(kv_pool_epoch_begin(pool, &epoch) == KV_OK, "an epoch");
    for (int i = 0; i < NUM_LAUNCHES; i++) {
        if (i == NUM_LAUNCHES / 2)
            close_gate(s.reads);
        enqueue(&s.gpu, step, s.reads);
    }
    cuda_ok(cudaEventRecord(done, s.reads), "an event");
    prune_last(&s);
    check_released(&s, false); /* nothing that may be overwritten */
    check(append_until_full(&s, false) > 0, "other blocks are there to take");
    cuda_ok(cudaStreamSynchronize(s.writes), "the appends");
    check(cudaEventQuery(done) == cudaErrorNotReady, "the launches are still to come");
    cudaGetLastError();
    open_gate(s.reads);
    cuda_ok(cudaEventSynchronize(done), "the launches");
    read_results(&s.gpu);
    check_kept(s.gpu.h_out, s.gpu.h_lse, &kept, &s.c, NUM_READERS + 1, "the branch pruned while it was read");

    check(append_until_full(&s, false) == 0, "not before the epoch is retired");
    check(kv_pool_epoch_retire(pool, epoch) == KV_OK, "retire");
    check_released(&s, true);
    check(append_until_full(&s, true) == s.num_released, "then all %u blocks are there", s.num_released);
    cuda_ok(cudaStreamSynchronize(s.writes), "the appends");
    gpu_case_run(&s.gpu, step);
    check_kept(s.gpu.h_out, s.gpu.h_lse, &kept, &s.c, NUM_READERS, "branches that live on");
    check(isnan(s.gpu.h_lse[NUM_READERS * s.c.shape.num_heads]), "a read of the pruned branch is noticed");
    cuda_ok(cudaEventDestroy(done), "an event's end");
    kept_free(&kept);
    tear_down_epoch(&s);
}

/* ---- plans ---- */

/* Two trees over the same K and V: in the other one query q asks the path of query n - 1 - q. */
typedef struct plan_setting {
    attention_case c, other;
    gpu_case gpu; /* whose workspace does for all plans */
    cudaStream_t stream;
} plan_setting;

static kv_tree *create_turned_tree(const attention_case *c)
{
    kv_tree *tree = NULL;
    kv_table *tables = malloc(c->num_tables * sizeof *tables);
    check(tables, "memory");
    for (uint32_t i = 0; i < c->num_tables; i++)
        tables[i] = c->grown.tables[c->num_tables - 1 - i];
    kv_status status = kv_tree_build(&tree, tables, c->num_tables, c->shape.block_tokens, c->shape.num_blocks);
    check(status == KV_OK, "a tree: %s", kv_status_string(status));
    free(tables);
    return tree;
}

/* The first plan on the device is the largest of all, so that no update allocates: that would wait for the device. */
static void place_largest_plan(plan_setting *s)
{
    size_t most = 0;
    tree_strategy largest = TREE_FLASH;
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(&s->c, strategy, 0, 0);
        size_t bytes = tree_attention_gpu_workspace_bytes(plan, &s->c.shape);
        largest = bytes > most ? strategy : largest;
        most = bytes > most ? bytes : most;
        tree_plan_destroy(plan);
    }
    tree_plan *plan = attention_plan(&s->c, largest, 16, 1);
    gpu_case_plan(&s->gpu, plan);
    check(s->gpu.workspace_bytes >= most, "%zu bytes of workspace for plans of %zu", s->gpu.workspace_bytes, most);
    tree_plan_destroy(plan);
}

static void set_up_plans(plan_setting *s)
{
    need_gpu();
    attention_case_build(&s->c, storage_backend(TREE_FP16), "1,3,6/90,45,30", 16, (attention_size){2, 4, 64});
    s->other = s->c;
    s->other.tree = create_turned_tree(&s->c);
    gpu_case_create(&s->gpu, &s->c);
    place_largest_plan(s);
    s->stream = create_stream();
    cuda_ok(cudaDeviceSynchronize(), "the setting");
}

static void tear_down_plans(plan_setting *s)
{
    cuda_ok(cudaStreamDestroy(s->stream), "a stream's end");
    gpu_case_destroy(&s->gpu);
    kv_tree_destroy(s->other.tree);
    attention_case_free(&s->c);
}

static void scribble(void *array, uint64_t count, size_t bytes)
{
    if (count)
        memset(array, 0xff, (size_t)count * bytes);
}

static void scribble_and_destroy(tree_plan *plan)
{
    scribble(plan->items, plan->num_items, sizeof *plan->items);
    scribble(plan->ranges, plan->num_ranges, sizeof *plan->ranges);
    scribble(plan->blocks, plan->num_blocks, sizeof *plan->blocks);
    scribble(plan->rows, plan->num_queries, sizeof *plan->rows);
    scribble(plan->masks, plan->num_mask_words, sizeof *plan->masks);
    scribble(plan->merge_first, (uint64_t)plan->num_queries + 1, sizeof *plan->merge_first);
    scribble(plan->merge_partials, plan->num_partials, sizeof *plan->merge_partials);
    tree_plan_destroy(plan);
}

/* Enqueues an update; nothing is left of the plan on the host when this is back. */
static void update(plan_setting *s, const attention_case *c, tree_strategy strategy)
{
    int cuda_error = -1;
    tree_plan *plan = attention_plan(c, strategy, 0, 0);
    gpu_ok(tree_plan_gpu_update(s->gpu.plan, plan, s->stream, &cuda_error), &cuda_error, "an update");
    scribble_and_destroy(plan);
}

/* As enqueue; nothing is left of the shape on the host when this is back. */
static void enqueue_and_scribble(gpu_case *gpu, const tree_plan_gpu *plan, const tree_gpu_step *step,
                                 cudaStream_t stream)
{
    tree_shape shape = gpu->c->shape;
    int cuda_error = -1;
    float *out = (float *)gpu->out.data, *lse = (float *)gpu->lse.data;
    tree_status status = tree_attention_gpu(out, lse, (const float *)gpu->query.data, gpu->key.data, gpu->value.data,
                                            plan, &shape, gpu->c->scale, gpu->workspace.data, gpu->workspace_bytes,
                                            stream, step, &cuda_error);
    gpu_ok(status, &cuda_error, step->name);
    memset(&shape, 0xff, sizeof shape);
}

/* By itself, with nothing else under way. */
static kept_run clean_run(plan_setting *s, const attention_case *c, tree_strategy strategy, const tree_gpu_step *step)
{
    clear_results(&s->gpu);
    update(s, c, strategy);
    enqueue(&s->gpu, step, s->stream);
    cuda_ok(cudaStreamSynchronize(s->stream), step->name);
    read_results(&s->gpu);
    return keep_run(&s->gpu);
}

/* Each step that takes fp16, with the clean runs of a strategy on both trees. */
typedef void plan_body(plan_setting *s, tree_strategy strategy, const tree_gpu_step *step, const kept_run *kept,
                       const kept_run *other_kept);

static void run_plans(const void *argument, plan_body *body)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    plan_setting s;
    set_up_plans(&s);
    for (uint32_t i = 0; i < tree_gpu_num_steps; i++) {
        const tree_gpu_step *step = &tree_gpu_steps[i];
        if (!takes_storage(step, TREE_FP16))
            continue;
        kept_run other_kept = clean_run(&s, &s.other, strategy, step), kept = clean_run(&s, &s.c, strategy, step);
        check(kept_differs(&kept, &other_kept, &s.gpu), "the trees differ");
        clear_results(&s.gpu);
        body(&s, strategy, step, &kept, &other_kept);
        kept_free(&kept);
        kept_free(&other_kept);
    }
    tear_down_plans(&s);
}

/* Copy and launch come when plan and shape are long gone. */
static void check_update(plan_setting *s, tree_strategy strategy, const tree_gpu_step *step, const kept_run *kept,
                         const kept_run *other_kept)
{
    (void)kept;
    close_gate(s->stream);
    update(s, &s->other, strategy);
    enqueue_and_scribble(&s->gpu, s->gpu.plan, step, s->stream);
    open_gate(s->stream);
    read_results(&s->gpu);
    check_kept(s->gpu.h_out, s->gpu.h_lse, other_kept, &s->c, s->c.shape.num_queries, step->name);
}

/* A new plan allocates, which may wait for the stream: launches instead of a gate. Then it is destroyed behind launches
 * that read it, and another one made in its place. */
static void check_create(plan_setting *s, tree_strategy strategy, const tree_gpu_step *step, const kept_run *kept,
                         const kept_run *other_kept)
{
    tree_plan_gpu *plan = NULL, *next = NULL;
    tree_plan *h_plan = attention_plan(&s->other, strategy, 0, 0), *h_next = attention_plan(&s->c, strategy, 0, 0);
    int cuda_error = -1;
    for (int i = 0; i < 50; i++)
        enqueue(&s->gpu, step, s->stream);
    tree_shape shape = s->c.shape;
    gpu_ok(tree_plan_gpu_create(&plan, h_plan, &shape, s->stream, &cuda_error), &cuda_error, "a plan");
    memset(&shape, 0xff, sizeof shape);
    scribble_and_destroy(h_plan);
    for (int i = 0; i < 50; i++)
        enqueue_and_scribble(&s->gpu, plan, step, s->stream);
    tree_plan_gpu_destroy(plan);
    gpu_ok(tree_plan_gpu_create(&next, h_next, &s->c.shape, s->stream, &cuda_error), &cuda_error, "the next plan");
    scribble_and_destroy(h_next);
    cuda_ok(cudaStreamSynchronize(s->stream), step->name);
    read_results(&s->gpu);
    check_kept(s->gpu.h_out, s->gpu.h_lse, other_kept, &s->c, s->c.shape.num_queries, step->name);
    enqueue_and_scribble(&s->gpu, next, step, s->stream);
    tree_plan_gpu_destroy(next);
    read_results(&s->gpu);
    check_kept(s->gpu.h_out, s->gpu.h_lse, kept, &s->c, s->c.shape.num_queries, step->name);
}

static void run_update(const void *argument) { run_plans(argument, check_update); }
static void run_create(const void *argument) { run_plans(argument, check_create); }

/* Results of several launches, one after another. */
typedef struct results {
    d_array out, lse;
    uint32_t count;
} results;

static results results_create(const gpu_case *gpu, uint32_t count)
{
    results all = {d_create(count * gpu->out.bytes), d_create(count * gpu->lse.bytes), count};
    cuda_ok(cudaDeviceSynchronize(), "cleared");
    return all;
}

static void enqueue_result(plan_setting *s, const results *all, uint32_t i, const tree_gpu_step *step)
{
    gpu_case_enqueue(&s->gpu, step, (float *)(all->out.data + i * s->gpu.out.bytes),
                     (float *)(all->lse.data + i * s->gpu.lse.bytes), s->stream);
}

/* kept[i % 2] is what launch i should have given. */
static void check_results(plan_setting *s, results *all, const kept_run *const kept[2], const char *what)
{
    float *out = malloc(all->out.bytes), *lse = malloc(all->lse.bytes);
    check(out && lse, "memory");
    check(d_read(&all->out, out, what) && d_read(&all->lse, lse, what), "%s: results", what);
    for (uint32_t i = 0; i < all->count; i++)
        check_kept(out + i * s->c.num_out, lse + i * s->c.num_lse, kept[i % 2], &s->c, s->c.shape.num_queries, what);
    free(out);
    free(lse);
    d_destroy(&all->out);
    d_destroy(&all->lse);
}

/* A launch before two updates, between, and behind: all still to come when the last one is enqueued. */
static void check_behind_launches(plan_setting *s, tree_strategy strategy, const tree_gpu_step *step,
                                  const kept_run *kept, const kept_run *other_kept)
{
    const kept_run *const expected[2] = {kept, other_kept};
    results all = results_create(&s->gpu, 3);
    close_gate(s->stream);
    for (uint32_t i = 0; i < all.count; i++) {
        if (i > 0)
            update(s, i % 2 ? &s->other : &s->c, strategy);
        enqueue_result(s, &all, i, step);
    }
    open_gate(s->stream);
    check_results(s, &all, expected, step->name);
}

/* The stream is never waited for; the host's copies of the plans take turns. */
static void check_many_updates(plan_setting *s, tree_strategy strategy, const tree_gpu_step *step, const kept_run *kept,
                               const kept_run *other_kept)
{
    const kept_run *const expected[2] = {kept, other_kept};
    results all = results_create(&s->gpu, 60);
    for (uint32_t i = 0; i < all.count; i++) {
        update(s, i % 2 ? &s->other : &s->c, strategy);
        for (int j = 0; j < 5; j++)
            enqueue_result(s, &all, i, step);
    }
    cuda_ok(cudaStreamSynchronize(s->stream), step->name);
    check_results(s, &all, expected, step->name);
}

static void run_behind_launches(const void *argument) { run_plans(argument, check_behind_launches); }
static void run_many_updates(const void *argument) { run_plans(argument, check_many_updates); }

/* ---- the workspace ---- */

static void fill_workspace(gpu_case *gpu, float filling)
{
    size_t count = gpu->workspace.bytes / sizeof(float);
    float *floats = malloc(gpu->workspace.bytes);
    check(floats && gpu->workspace.bytes % sizeof(float) == 0, "memory");
    for (size_t i = 0; i < count; i++)
        floats[i] = filling;
    d_write(&gpu->workspace, 0, floats, gpu->workspace.bytes);
    cuda_ok(cudaDeviceSynchronize(), "the workspace");
    free(floats);
}

static void check_workspace(plan_setting *s, tree_strategy strategy, const tree_gpu_step *step, const kept_run *kept,
                            const kept_run *other_kept)
{
    const float fillings[] = {NAN, INFINITY, -INFINITY, 0, 3e38f, -3e38f};
    (void)other_kept;
    for (size_t i = 0; i < sizeof fillings / sizeof fillings[0]; i++) {
        fill_workspace(&s->gpu, fillings[i]);
        kept_run again = clean_run(s, &s->c, strategy, step);
        check_kept(again.out, again.lse, kept, &s->c, s->c.shape.num_queries, step->name);
        kept_free(&again);
    }
    for (tree_strategy before = 0; before < TREE_NUM_STRATEGIES; before++) {
        kept_run others = clean_run(s, &s->other, before, step), again = clean_run(s, &s->c, strategy, step);
        check_kept(again.out, again.lse, kept, &s->c, s->c.shape.num_queries, step->name);
        kept_free(&others);
        kept_free(&again);
    }
}

static void run_workspace(const void *argument) { run_plans(argument, check_workspace); }

/* ---- copies ---- */

enum { BLOCKS = 200, HEADS = 2, TOKENS = 16, DIM = 64, ROW = TOKENS * DIM, COUNT = BLOCKS * HEADS * ROW, COPIES = 600 };

static void make_copies(kv_copy copies[COPIES], uint16_t *key, uint16_t *value)
{
    for (uint32_t i = 0; i < COPIES; i++) {
        kv_copy copy = {test_below(BLOCKS), 0, test_below(TOKENS + 1)};
        copy.to_block = (copy.from_block + 1 + test_below(BLOCKS - 1)) % BLOCKS;
        for (uint32_t h = 0; h < HEADS; h++) {
            size_t from = ((size_t)copy.from_block * HEADS + h) * ROW, to = ((size_t)copy.to_block * HEADS + h) * ROW;
            memcpy(key + to, key + from, copy.num_tokens * DIM * sizeof *key);
            memcpy(value + to, value + from, copy.num_tokens * DIM * sizeof *value);
        }
        copies[i] = copy;
    }
}

static void check_array(const d_array *array, const uint16_t *expected, const char *what)
{
    static uint16_t got[COUNT];
    d_read(array, got, what);
    check(!memcmp(got, expected, sizeof got), "%s", what);
}

/* More than one launch of them, all behind the gate when the list is gone. */
static void run_copies(const void *unused)
{
    static uint16_t key[COUNT], value[COUNT];
    static kv_copy copies[COPIES];
    const kv_copy nothing_new = {0, 1, TOKENS};
    tree_shape shape = {0, HEADS, HEADS, DIM, BLOCKS, TOKENS, TREE_FP16};
    int cuda_error = -1;
    (void)unused;
    need_gpu();
    for (uint32_t i = 0; i < COUNT; i++) {
        key[i] = (uint16_t)test_below(30000);
        value[i] = (uint16_t)test_below(30000);
    }
    d_array d_key = d_copy_of(key, sizeof key), d_value = d_copy_of(value, sizeof value);
    cudaStream_t stream = create_stream();
    gpu_ok(kv_copy_gpu(d_key.data, d_value.data, &nothing_new, 1, &shape, stream, &cuda_error), &cuda_error, "a copy");
    cuda_ok(cudaStreamSynchronize(stream), "a first launch, which may wait for all streams");
    d_write(&d_key, 0, key, sizeof key);
    d_write(&d_value, 0, value, sizeof value);
    cuda_ok(cudaDeviceSynchronize(), "key and value");
    make_copies(copies, key, value);
    close_gate(stream);
    gpu_ok(kv_copy_gpu(d_key.data, d_value.data, copies, COPIES, &shape, stream, &cuda_error), &cuda_error, "copies");
    memset(copies, 0xff, sizeof copies);
    memset(&shape, 0xff, sizeof shape);
    open_gate(stream);
    check_array(&d_key, key, "key after copies");
    check_array(&d_value, value, "value after copies");
    cuda_ok(cudaStreamDestroy(stream), "a stream's end");
    d_destroy(&d_key);
    d_destroy(&d_value);
}

int main(int argc, char **argv)
{
    static const tree_strategy strategies[] = {TREE_RADIX, TREE_TREE_MASK, TREE_FLATTEN, TREE_COST};
    static const struct {
        const char *name;
        void (*run)(const void *argument);
    } bodies[] = {
        {"host_plan_gone_behind_an_update", run_update},
        {"host_plan_gone_behind_a_create", run_create},
        {"updates_behind_launches", run_behind_launches},
        {"many_updates", run_many_updates},
        {"whatever_the_workspace_held", run_workspace},
    };
    test_begin(argc, argv, "on the GPU, data that are still read stay as they were");
    for (uint32_t i = 0; i < tree_gpu_num_steps; i++) {
        if (tree_gpu_steps[i].storages >> TREE_FP16 & 1)
            test_add(run_epoch, &tree_gpu_steps[i], "pruned_blocks_wait_for_their_epoch_%s", tree_gpu_steps[i].name);
    }
    for (size_t b = 0; b < sizeof bodies / sizeof bodies[0]; b++) {
        for (size_t i = 0; i < sizeof strategies / sizeof strategies[0]; i++)
            test_add(bodies[b].run, &strategies[i], "%s_%s", bodies[b].name, tree_strategy_name[strategies[i]]);
    }
    test_add(run_copies, NULL, "host_list_of_copies_gone");
    return test_end();
}
