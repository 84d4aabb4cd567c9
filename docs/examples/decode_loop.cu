/* A decode loop on the GPU: branches that fork and are pruned, drafts that are accepted, and all layers of a step in
 * one CUDA graph. Most steps cost the host no plan and no copy: the plan on the device grows by itself.
 *
 *   build   nvcc -std=c++17 -c decode_loop.cu $(pkg-config --cflags treeattn_gpu)
 *           c++ decode_loop.o $(pkg-config --libs treeattn_gpu)
 *
 *   most steps       nothing, while tree_plan_gpu_steps_ahead says so
 *   a block begins   tables, kv_tree_grow, tree_plan_grow, tree_plan_gpu_grow      integers, nothing is enqueued
 *   where one says   kv_tree_build, tree_plan_build, tree_plan_gpu_update          a small kernel
 *   no               capture again, if tree_plan_gpu_version changed
 *   then             cudaGraphLaunch: tree_plan_gpu_advance, and for each layer new K and V, attention
 *
 * The graph has a query for each of MAX_BRANCHES places; a place without a branch has an empty table, and its query
 * sees nothing. K, V and queries are random here; an engine has them on the device. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <kv_gpu.h>
#include <tree_attention_gpu.h>
#include <treeattn.h>

enum { NUM_LAYERS = 2, MAX_BRANCHES = 6, NUM_STEPS = 26, PROMPT = 43, NUM_DRAFTS = 3 };
enum { NUM_BLOCKS = 64, BLOCK_TOKENS = 8 };
enum { NUM_HEADS = 4, NUM_KV_HEADS = 2, HEAD_DIM = 64, ROW = NUM_KV_HEADS * HEAD_DIM };
enum { KV = NUM_BLOCKS * BLOCK_TOKENS * ROW, Q = MAX_BRANCHES * NUM_HEADS * HEAD_DIM }; /* elements of one layer */
static const tree_shape shape = {MAX_BRANCHES, NUM_HEADS, NUM_KV_HEADS, HEAD_DIM, NUM_BLOCKS, BLOCK_TOKENS, TREE_FP16};
static const float scale = 0.125f;

/* What an engine keeps. */
static kv_pool *pool;
static kv_branch branches[MAX_BRANCHES]; /* 0: no branch in this place */
static uint32_t steps_ahead;             /* steps for which the plan needs no look, if branches only grow */
static kv_tree *tree;
static tree_plan *plan;
static tree_plan_gpu *gpu_plan;
static uint64_t captured_version;
static cudaStream_t d_stream;
static cudaGraphExec_t graph;
static void *key[NUM_LAYERS], *value[NUM_LAYERS], *new_keys[NUM_LAYERS], *new_values[NUM_LAYERS], *workspace;
static float *query, *out[NUM_LAYERS];
static uint64_t *slots; /* of the new tokens, on the device */
enum { WORKSPACE = 1 << 20 }; /* bytes: for all plans of this loop */

static void need(int status, const char *what)
{
    if (status == 0) return;
    fprintf(stderr, "%s: status %d\n", what, status);
    exit(1);
}

static void *device(size_t bytes)
{
    void *memory;
    need(cudaMalloc(&memory, bytes), "cudaMalloc");
    return memory;
}

/* fp16 numbers from -1/2 to 1/2 on the device. */
static void send_random(void *to, int count)
{
    uint16_t *rows = (uint16_t *)malloc((size_t)count * sizeof *rows);
    for (int i = 0; i < count; i++) rows[i] = fp16_from_float((float)rand() / (float)RAND_MAX - 0.5f);
    need(cudaMemcpy(to, rows, (size_t)count * sizeof *rows, cudaMemcpyHostToDevice), "K or V");
    free(rows);
}

static void send_model_step(int num_tokens)
{
    float numbers[Q];
    for (int i = 0; i < Q; i++) numbers[i] = (float)rand() / (float)RAND_MAX * 8 - 4;
    need(cudaMemcpy(query, numbers, sizeof numbers, cudaMemcpyHostToDevice), "query");
    for (int layer = 0; layer < NUM_LAYERS; layer++)
        send_random(new_keys[layer], num_tokens * ROW), send_random(new_values[layer], num_tokens * ROW);
}

/* The largest difference between the GPU's out and the CPU's, over all layers. */
static double difference_to_cpu(const tree_plan *of)
{
    static float expected[Q], got[Q], h_query[Q];
    static uint16_t h_key[KV], h_value[KV];
    tree_shape s = shape;
    double largest = 0;
    s.num_queries = of->num_queries;
    size_t count = (size_t)of->num_queries * NUM_HEADS * HEAD_DIM;
    size_t bytes = (tree_attention_cpu_workspace_bytes(of, &s, 1) + 63) / 64 * 64;
    void *memory = aligned_alloc(64, bytes);
    need(cudaMemcpy(h_query, query, sizeof h_query, cudaMemcpyDeviceToHost), "query");
    for (int layer = 0; layer < NUM_LAYERS; layer++) {
        need(cudaMemcpy(h_key, key[layer], sizeof h_key, cudaMemcpyDeviceToHost), "key");
        need(cudaMemcpy(h_value, value[layer], sizeof h_value, cudaMemcpyDeviceToHost), "value");
        need(cudaMemcpy(got, out[layer], count * sizeof(float), cudaMemcpyDeviceToHost), "out");
        need(tree_attention_cpu(expected, NULL, h_query, h_key, h_value, of, &s, scale, memory, bytes, 1,
                                TREE_ISA_AUTO), "tree_attention_cpu");
        for (size_t i = 0; i < count; i++)
            largest = fmax(largest, isnan(got[i]) ? INFINITY : fabs((double)got[i] - expected[i]));
    }
    free(memory);
    return largest;
}

/* ---- the branches ---- */

static int count_branches(void)
{
    int count = 0;
    for (int i = 0; i < MAX_BRANCHES; i++) count += branches[i] != 0;
    return count;
}

static void fork(int from, int to)
{
    need(kv_branch_fork(pool, branches[from], &branches[to]), "fork");
    steps_ahead = 0;
}

static void prune(int place)
{
    need(kv_branch_prune(pool, branches[place]), "prune");
    branches[place] = 0;
    steps_ahead = 0;
}

/* One token for each branch. The copies of copy-on-write are enqueued for every layer, before the graph that writes the
 * new tokens. */
static int append(void)
{
    kv_branch living[MAX_BRANCHES];
    kv_append appends[MAX_BRANCHES];
    kv_copy copies[MAX_BRANCHES];
    uint32_t one[MAX_BRANCHES], count = 0, num_copies = 0;
    for (int i = 0; i < MAX_BRANCHES; i++)
        if (branches[i]) one[count] = 1, living[count++] = branches[i];
    need(kv_branch_append_many(pool, living, one, count, appends), "append");
    for (uint32_t i = 0; i < count; i++)
        if (appends[i].copy.num_tokens) copies[num_copies++] = appends[i].copy;
    for (int layer = 0; layer < NUM_LAYERS; layer++)
        need(kv_copy_gpu(key[layer], value[layer], copies, num_copies, &shape, d_stream, NULL), "copies");
    return (int)num_copies;
}

/* An empty table never changes, so its version stays. */
static void read_tables(kv_table tables[MAX_BRANCHES])
{
    for (int i = 0; i < MAX_BRANCHES; i++) {
        memset(&tables[i], 0, sizeof tables[i]);
        tables[i].version = 1;
        if (branches[i]) need(kv_branch_table(pool, branches[i], &tables[i]), "table");
    }
}

/* ---- the plan and the graph ---- */

static tree_plan *build_plan(const kv_tree *of)
{
    tree_plan *made;
    tree_plan_config config = {};
    config.strategy = TREE_COST;
    config.group_size = NUM_HEADS / NUM_KV_HEADS;
    need(tree_plan_build(&made, of, &config), "plan");
    return made;
}

/* Says what the step needed. */
static const char *follow(void)
{
    kv_table tables[MAX_BRANCHES];
    if (steps_ahead > 0) return steps_ahead--, "nothing to do";
    read_tables(tables);
    bool same_tree = tree && kv_tree_grow(tree, tables, MAX_BRANCHES);
    bool same_plan = same_tree && tree_plan_grow(plan, tree);
    if (same_plan && tree_plan_gpu_grow(gpu_plan, plan)) {
        steps_ahead = tree_plan_gpu_steps_ahead(gpu_plan);
        return "nothing is sent";
    }
    if (!same_tree) {
        kv_tree_destroy(tree);
        need(kv_tree_build(&tree, tables, MAX_BRANCHES, BLOCK_TOKENS, NUM_BLOCKS), "tree");
    }
    if (!same_plan) {
        tree_plan_destroy(plan);
        plan = build_plan(tree);
    }
    if (gpu_plan) need(tree_plan_gpu_update(gpu_plan, plan, d_stream, NULL), "update");
    else need(tree_plan_gpu_create(&gpu_plan, plan, &shape, d_stream, NULL), "plan on the GPU");
    need(tree_attention_gpu_workspace_bytes(plan, &shape) > WORKSPACE, "a larger workspace");
    need(tree_plan_gpu_new_slots(gpu_plan, slots, MAX_BRANCHES), "new slots"); /* a step writes no other K and V */
    steps_ahead = tree_plan_gpu_steps_ahead(gpu_plan);
    return same_plan ? "the plan is sent" : same_tree ? "a new plan is sent" : "a new tree, a new plan";
}

/* All layers of a step. Nothing here depends on lengths, blocks or the number of items. */
static void capture(void)
{
    cudaGraph_t captured;
    if (graph) need(cudaGraphExecDestroy(graph), "the graph before");
    need(cudaStreamBeginCapture(d_stream, cudaStreamCaptureModeThreadLocal), "capture");
    need(tree_plan_gpu_advance(gpu_plan, slots, d_stream, NULL), "advance");
    for (int layer = 0; layer < NUM_LAYERS; layer++) {
        need(kv_append_gpu(key[layer], value[layer], new_keys[layer], new_values[layer], slots, MAX_BRANCHES, &shape,
                           d_stream, NULL), "new tokens");
        need(tree_attention_gpu(out[layer], NULL, query, key[layer], value[layer], gpu_plan, &shape, scale, workspace,
                                WORKSPACE, d_stream, NULL, NULL), "attention");
    }
    need(cudaStreamEndCapture(d_stream, &captured), "capture");
    need(cudaGraphInstantiate(&graph, captured, 0), "graph");
    need(cudaGraphDestroy(captured), "capture");
    captured_version = tree_plan_gpu_version(gpu_plan);
}

/* For the check alone: the tree and the plan of this step, made from nothing but the tables. */
static double difference_to_fresh_plan(void)
{
    kv_table tables[MAX_BRANCHES];
    kv_tree *fresh;
    read_tables(tables);
    need(kv_tree_build(&fresh, tables, MAX_BRANCHES, BLOCK_TOKENS, NUM_BLOCKS), "tree");
    tree_plan *of = build_plan(fresh);
    double difference = difference_to_cpu(of);
    tree_plan_destroy(of);
    kv_tree_destroy(fresh);
    return difference;
}

/* ---- drafts ---- */

/* A branch guesses NUM_DRAFTS tokens, one behind the other, each of which is a query. Rejected ones are cut off again.
 * Such a step has other queries, so its plan is one of its own, and its calls are not captured. */
static double verify(int place, int num_accepted)
{
    static const uint32_t parent[NUM_DRAFTS] = {KV_NONE, 0, 1};
    const kv_draft draft = {NUM_DRAFTS, parent};
    kv_append appended;
    kv_table table;
    kv_tree *drafts;
    tree_plan_gpu *gpu = NULL;
    tree_shape s = shape;
    uint64_t places[NUM_DRAFTS];
    need(kv_branch_append(pool, branches[place], NUM_DRAFTS, &appended), "drafts");
    need(kv_branch_table(pool, branches[place], &table), "table");
    need(kv_tree_build_drafts(&drafts, &table, &draft, 1, BLOCK_TOKENS, NUM_BLOCKS), "tree of drafts");
    tree_plan *of = build_plan(drafts);
    s.num_queries = NUM_DRAFTS;
    need(tree_plan_gpu_create(&gpu, of, &s, d_stream, NULL), "plan of drafts");
    kv_last_slots(places, &table, NUM_DRAFTS, BLOCK_TOKENS);
    need(cudaMemcpy(slots, places, sizeof places, cudaMemcpyHostToDevice), "slots");
    send_model_step(NUM_DRAFTS);
    for (int layer = 0; layer < NUM_LAYERS; layer++) {
        void *k = key[layer], *v = value[layer];
        need(kv_copy_gpu(k, v, &appended.copy, 1, &s, d_stream, NULL), "copy");
        need(kv_append_gpu(k, v, new_keys[layer], new_values[layer], slots, NUM_DRAFTS, &s, d_stream, NULL), "drafts");
        need(tree_attention_gpu(out[layer], NULL, query, k, v, gpu, &s, scale, workspace, WORKSPACE, d_stream, NULL,
                                NULL), "attention");
    }
    need(cudaStreamSynchronize(d_stream), "drafts");
    double difference = difference_to_cpu(of);
    uint32_t kept = table.length - NUM_DRAFTS + (uint32_t)num_accepted;
    need(kv_branch_truncate(pool, branches[place], kept), "rejected drafts");
    steps_ahead = 0;
    tree_plan_gpu_destroy(gpu);
    tree_plan_destroy(of);
    kv_tree_destroy(drafts);
    return difference;
}

/* ---- the loop ---- */

static void begin(void)
{
    kv_pool_config config = {};
    config.num_blocks = NUM_BLOCKS, config.block_tokens = BLOCK_TOKENS;
    uint64_t places[PROMPT];
    kv_append appended;
    kv_table table;
    void *rows[2] = {device(PROMPT * ROW * 2), device(PROMPT * ROW * 2)};
    uint64_t *d_places = (uint64_t *)device(sizeof places);
    need(cudaStreamCreateWithFlags(&d_stream, cudaStreamNonBlocking), "stream");
    for (int layer = 0; layer < NUM_LAYERS; layer++) {
        key[layer] = device(KV * 2), value[layer] = device(KV * 2), out[layer] = (float *)device(Q * sizeof(float));
        new_keys[layer] = device(MAX_BRANCHES * ROW * 2), new_values[layer] = device(MAX_BRANCHES * ROW * 2);
    }
    query = (float *)device(Q * sizeof(float));
    slots = (uint64_t *)device(MAX_BRANCHES * sizeof *slots);
    workspace = device(WORKSPACE);
    need(kv_pool_create(&pool, &config), "pool");
    need(kv_branch_create(pool, &branches[0]), "branch");
    need(kv_branch_append(pool, branches[0], PROMPT, &appended), "prompt");
    need(kv_branch_table(pool, branches[0], &table), "table");
    kv_last_slots(places, &table, PROMPT, BLOCK_TOKENS);
    need(cudaMemcpy(d_places, places, sizeof places, cudaMemcpyHostToDevice), "slots");
    for (int layer = 0; layer < NUM_LAYERS; layer++) {
        send_random(rows[0], PROMPT * ROW), send_random(rows[1], PROMPT * ROW);
        need(kv_append_gpu(key[layer], value[layer], rows[0], rows[1], d_places, PROMPT, &shape, d_stream, NULL),
             "prompt");
        need(cudaStreamSynchronize(d_stream), "prompt");
    }
    cudaFree(rows[0]), cudaFree(rows[1]), cudaFree(d_places);
    for (int i = 1; i < 4; i++) fork(0, i);
}

static int end(void)
{
    tree_plan_gpu_destroy(gpu_plan);
    tree_plan_destroy(plan);
    kv_tree_destroy(tree);
    for (int layer = 0; layer < NUM_LAYERS; layer++) {
        cudaFree(key[layer]), cudaFree(value[layer]), cudaFree(out[layer]);
        cudaFree(new_keys[layer]), cudaFree(new_values[layer]);
    }
    cudaFree(query), cudaFree(slots), cudaFree(workspace);
    cudaGraphExecDestroy(graph), cudaStreamDestroy(d_stream);
    return kv_pool_destroy(pool, true, NULL);
}

int main(void)
{
    tree_status status = tree_gpu_device_check(NULL);
    if (status != TREE_OK) return fprintf(stderr, "no GPU: %s\n", tree_status_string(status)), 77;
    int wrong = 0, num_captured = 0;
    begin();
    for (int step = 0; step < NUM_STEPS; step++) {
        if (step == 12) fork(1, 4), prune(3); /* the search decides */
        if (step == 20) {
            double difference = verify(2, 2);
            wrong |= !(difference < 2e-3);
            printf("step %2d: 2 of %d drafts accepted, out %s\n", step, NUM_DRAFTS,
                   difference < 2e-3 ? "as on the CPU" : "WRONG");
        }
        int num_copies = append();
        const char *needed = follow();
        if (!graph || captured_version != tree_plan_gpu_version(gpu_plan)) capture(), num_captured++;
        send_model_step(MAX_BRANCHES);
        need(cudaGraphLaunch(graph, d_stream), "graph");
        need(cudaStreamSynchronize(d_stream), "step"); /* an engine reads the step's tokens here */
        double difference = difference_to_fresh_plan();
        wrong |= !(difference < 2e-3);
        printf("step %2d: %d branches, %d copies, %s, out %s\n", step, count_branches(), num_copies, needed,
               difference < 2e-3 ? "as on the CPU" : "WRONG");
    }
    printf("captured %d times\n", num_captured);
    return end() || wrong;
}
