/* Claim: a decode loop in one captured graph, with forks, prunes and truncations between its steps, gives in each step
 * the same bits as an update of the plan and a call that is not captured; they are within the bound of the truth; and
 * the slots that it writes for new tokens are those of the tables. */
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "gpu_support.h"
#include "half.h"
#include "kv_gpu.h"
#include "kv_tree.h"
#include "oracle.h"
#include "test.h"

enum { PLACES = 8, NUM_STEPS = 60, CHANGE_EVERY = 12, CHECK_EVERY = 9, WORKSPACE = 1 << 20 };

typedef struct decode_case {
    tree_strategy strategy;
    uint32_t block_tokens;
} decode_case;

typedef struct decode {
    const decode_case *of;
    tree_shape shape;
    float scale;
    size_t num_out, num_lse, num_kv;
    float *query, *key, *value;
    kv_pool *pool;
    kv_branch branches[PLACES]; /* 0: none */
    kv_table tables[PLACES];
    kv_tree *tree;
    tree_plan *plan;
    tree_plan_gpu *grows, *updated; /* the device follows; the host sends each plan */
    d_array d_query, d_key, d_value, out[2], lse[2], workspace, slots;
    cudaStream_t stream;
    cudaGraphExec_t graph;
    uint64_t version;
    const tree_gpu_step *step;
    uint32_t num_followed, num_captured, num_skipped, ahead;
} decode;

static float *create_random(size_t count, float size)
{
    float *array = malloc(count * sizeof *array);
    check(array, "memory");
    for (size_t i = 0; i < count; i++)
        array[i] = fp16_to_float(fp16_from_float(((float)test_below(1 << 16) / (1 << 15) - 1) * size));
    return array;
}

static d_array send(const float *array, size_t count)
{
    void *stored = stored_create(array, count, TREE_FP16);
    d_array sent = d_copy_of(stored, count * sizeof(uint16_t));
    free(stored);
    return sent;
}

static void begin(decode *d, const decode_case *of)
{
    kv_append append;
    *d = (decode){.of = of, .shape = {PLACES, 8, 2, 64, 60 + 1280 / of->block_tokens, of->block_tokens, TREE_FP16},
                  .scale = 0.125f, .step = last_step(TREE_FP16)};
    kv_pool_config config = {.num_blocks = d->shape.num_blocks, .block_tokens = of->block_tokens,
                             .order = KV_ORDER_SHUFFLE};
    d->num_out = PLACES * 8 * 64;
    d->num_lse = PLACES * 8;
    d->num_kv = (size_t)tree_kv_offset(&d->shape, d->shape.num_blocks, 0, 0);
    d->query = create_random(d->num_out, 4);
    d->key = create_random(d->num_kv, 1);
    d->value = create_random(d->num_kv, 1);
    d->d_query = d_copy_of(d->query, d->num_out * sizeof(float));
    d->d_key = send(d->key, d->num_kv);
    d->d_value = send(d->value, d->num_kv);
    for (int i = 0; i < 2; i++) {
        d->out[i] = d_create(d->num_out * sizeof(float));
        d->lse[i] = d_create(d->num_lse * sizeof(float));
    }
    d->workspace = d_create(WORKSPACE);
    d->slots = d_create(PLACES * sizeof(uint64_t));
    cuda_ok(cudaDeviceSynchronize(), "the setting");
    cuda_ok(cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking), "a stream");
    check(kv_pool_create(&d->pool, &config) == KV_OK && kv_branch_create(d->pool, &d->branches[0]) == KV_OK, "a pool");
    check(kv_branch_append(d->pool, d->branches[0], 75, &append) == KV_OK, "a prompt");
    for (int i = 1; i < 5; i++)
        check(kv_branch_fork(d->pool, d->branches[0], &d->branches[i]) == KV_OK, "a fork");
}

static void end(decode *d)
{
    cuda_ok(cudaStreamSynchronize(d->stream), "the loop");
    cuda_ok(cudaGraphExecDestroy(d->graph), "a graph");
    cuda_ok(cudaStreamDestroy(d->stream), "a stream");
    tree_plan_gpu_destroy(d->grows);
    tree_plan_gpu_destroy(d->updated);
    tree_plan_destroy(d->plan);
    kv_tree_destroy(d->tree);
    check(kv_pool_destroy(d->pool, true, NULL) == KV_OK, "the pool");
    for (int i = 0; i < 2; i++) {
        d_destroy(&d->out[i]);
        d_destroy(&d->lse[i]);
    }
    d_destroy(&d->d_query);
    d_destroy(&d->d_key);
    d_destroy(&d->d_value);
    d_destroy(&d->workspace);
    d_destroy(&d->slots);
    free(d->query);
    free(d->key);
    free(d->value);
}

/* A fork into a free place, a prune, or a shorter branch. */
static void change_branches(decode *d)
{
    uint32_t from = test_below(PLACES), to = test_below(PLACES);
    while (!d->branches[from])
        from = (from + 1) % PLACES;
    if (!d->branches[to]) {
        check(kv_branch_fork(d->pool, d->branches[from], &d->branches[to]) == KV_OK, "a fork");
    } else if (to != from && test_below(2)) {
        check(kv_branch_prune(d->pool, d->branches[to]) == KV_OK, "a prune");
        d->branches[to] = 0;
    } else {
        check(kv_branch_table(d->pool, d->branches[to], &d->tables[to]) == KV_OK, "a table");
        uint32_t length = d->tables[to].length - test_below(20);
        check(kv_branch_truncate(d->pool, d->branches[to], length) == KV_OK, "a shorter branch");
    }
}

/* K and V of new tokens are there already; copies are carried out on both sides. */
static void append(decode *d)
{
    for (int i = 0; i < PLACES; i++) {
        kv_append one;
        if (!d->branches[i])
            continue;
        check(kv_branch_append(d->pool, d->branches[i], 1, &one) == KV_OK, "a token");
        for (uint32_t h = 0; h < 2 && one.copy.num_tokens; h++) {
            uint64_t from = tree_kv_offset(&d->shape, one.copy.from_block, h, 0);
            uint64_t to = tree_kv_offset(&d->shape, one.copy.to_block, h, 0);
            memcpy(d->key + to, d->key + from, one.copy.num_tokens * 64 * sizeof(float));
            memcpy(d->value + to, d->value + from, one.copy.num_tokens * 64 * sizeof(float));
        }
        int cuda_error = -1;
        gpu_ok(kv_copy_gpu(d->d_key.data, d->d_value.data, &one.copy, 1, &d->shape, d->stream, &cuda_error),
               &cuda_error, "a copy");
    }
    for (int i = 0; i < PLACES; i++) {
        d->tables[i] = (kv_table){.version = 1};
        check(!d->branches[i] || kv_branch_table(d->pool, d->branches[i], &d->tables[i]) == KV_OK, "a table");
    }
}

static void put(decode *d, tree_plan_gpu **gpu)
{
    int cuda_error = -1;
    gpu_ok(*gpu ? tree_plan_gpu_update(*gpu, d->plan, d->stream, &cuda_error)
                : tree_plan_gpu_create(gpu, d->plan, &d->shape, d->stream, &cuda_error),
           &cuda_error, "a plan");
    check(tree_plan_gpu_new_slots(*gpu, (const uint64_t *)d->slots.data, PLACES) == TREE_OK, "new slots");
}

static void follow(decode *d)
{
    const tree_plan_config config = {.strategy = d->of->strategy, .group_size = 4, .num_workers = 8};
    bool same_tree = d->tree && kv_tree_grow(d->tree, d->tables, PLACES);
    bool same_plan = same_tree && tree_plan_grow(d->plan, d->tree);
    if (!same_tree) {
        kv_tree_destroy(d->tree);
        check(kv_tree_build(&d->tree, d->tables, PLACES, d->of->block_tokens, d->shape.num_blocks) == KV_OK, "a tree");
    }
    if (!same_plan) {
        tree_plan_destroy(d->plan);
        check(tree_plan_build(&d->plan, d->tree, &config) == TREE_OK, "a plan");
    }
    bool skips = same_plan && d->ahead > 0 && test_below(4), follows = skips;
    if (!skips)
        follows = same_plan && tree_plan_gpu_grow(d->grows, d->plan);
    d->num_followed += follows;
    d->num_skipped += skips;
    if (!follows)
        put(d, &d->grows);
    d->ahead = skips ? d->ahead - 1 : tree_plan_gpu_steps_ahead(d->grows);
    put(d, &d->updated);
}

static void attend(decode *d, const tree_plan_gpu *gpu, int i)
{
    int cuda_error = -1;
    tree_status status = tree_attention_gpu((float *)d->out[i].data, (float *)d->lse[i].data,
                                            (const float *)d->d_query.data, d->d_key.data, d->d_value.data, gpu,
                                            &d->shape, d->scale, d->workspace.data, WORKSPACE, d->stream, d->step,
                                            &cuda_error);
    gpu_ok(status, &cuda_error, d->step->name);
}

static void capture(decode *d)
{
    cudaGraph_t graph;
    int cuda_error = -1;
    if (d->graph)
        cuda_ok(cudaGraphExecDestroy(d->graph), "a graph");
    cuda_ok(cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeThreadLocal), "a capture");
    check(tree_plan_gpu_update(d->grows, d->plan, d->stream, &cuda_error) == TREE_CUDA_ERROR, "no update is captured");
    gpu_ok(tree_plan_gpu_advance(d->grows, (uint64_t *)d->slots.data, d->stream, &cuda_error), &cuda_error, "a step");
    attend(d, d->grows, 0);
    cuda_ok(cudaStreamEndCapture(d->stream, &graph), "a capture");
    cuda_ok(cudaGraphInstantiate(&d->graph, graph, 0), "a graph");
    cuda_ok(cudaGraphDestroy(graph), "a graph");
    d->version = tree_plan_gpu_version(d->grows);
    d->num_captured++;
}

static void check_slots(const decode *d)
{
    uint64_t slots[PLACES], expected;
    d_read(&d->slots, slots, "slots");
    for (int i = 0; i < PLACES; i++) {
        expected = KV_SKIP_SLOT;
        if (d->branches[i])
            kv_last_slots(&expected, &d->tables[i], 1, d->of->block_tokens);
        check(slots[i] == expected, "the slot of place %d", i);
    }
}

static double check_results(const decode *d, bool truly)
{
    float *out[2], *lse[2];
    double worst = 0;
    for (int i = 0; i < 2; i++) {
        out[i] = malloc(d->out[i].bytes);
        lse[i] = malloc(d->lse[i].bytes);
        check(out[i] && lse[i], "memory");
        d_read(&d->out[i], out[i], "out");
        d_read(&d->lse[i], lse[i], "lse");
    }
    check_same_bits(out[0], out[1], d->num_out, "out of a step and of an update");
    check_same_bits(lse[0], lse[1], d->num_lse, "lse of a step and of an update");
    if (truly) {
        token_paths paths = token_paths_create(d->tables, NULL, PLACES, d->of->block_tokens);
        attention_truth truth = attention_truth_create(d->query, d->key, d->value, &paths, &d->shape, d->scale);
        roundoffs u = gpu_roundoffs(d->step, TREE_FP16);
        worst = check_attention(out[0], lse[0], &truth, &u, d->step->name);
        attention_truth_destroy(&truth);
        token_paths_destroy(&paths);
    }
    for (int i = 0; i < 2; i++) {
        free(out[i]);
        free(lse[i]);
    }
    return worst;
}

static void run_decode(const void *argument)
{
    decode d;
    double worst = 0;
    need_gpu();
    begin(&d, argument);
    for (int step = 0; step < NUM_STEPS; step++) {
        if (step && step % CHANGE_EVERY == 0)
            change_branches(&d);
        append(&d);
        follow(&d);
        if (!d.graph || d.version != tree_plan_gpu_version(d.grows))
            capture(&d);
        for (int i = 0; i < 2; i++) {
            d_clear(&d.out[i]);
            d_clear(&d.lse[i]);
        }
        d_clear(&d.slots);
        cuda_ok(cudaDeviceSynchronize(), "cleared");
        cuda_ok(cudaGraphLaunch(d.graph, d.stream), "a graph");
        attend(&d, d.updated, 1);
        cuda_ok(cudaStreamSynchronize(d.stream), "a step");
        check_slots(&d);
        double error = check_results(&d, step % CHECK_EVERY == 0);
        worst = error > worst ? error : worst;
    }
    check(d.num_followed >= NUM_STEPS * 3 / 4, "%u of %d steps without an update", d.num_followed, NUM_STEPS);
    check(d.num_captured <= 6, "%u graphs", d.num_captured);
    check((d.num_skipped > 0) == (d.of->block_tokens > 1), "%u steps without a look", d.num_skipped);
    test_note("worst error/limit %.2g, %u steps without an update, %u without a look, %u graphs", worst, d.num_followed,
              d.num_skipped, d.num_captured);
    end(&d);
}

int main(int argc, char **argv)
{
    static const decode_case cases[] = {{TREE_COST, 8}, {TREE_COST, 1}, {TREE_FLASH, 4}};
    test_begin(argc, argv, "a decode loop in one graph gives the bits of a plan that is sent in each step");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        test_add(run_decode, &cases[i], "graph_%s_block_%u", tree_strategy_name[cases[i].strategy],
                 cases[i].block_tokens);
    return test_end();
}
