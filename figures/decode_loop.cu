/* decode_loop: host and device time of each step of a decode loop over several searches at once, which fork and prune.
 * All layers of a step are one CUDA graph. The plan on the device grows by itself (tree_plan_gpu_grow), or the host
 * sends one in every step (tree_plan_gpu_update); the results have the same bits.
 *
 * measure_decode_loop [CSV [FOLDER_OF_TRACES]] */
#include <cuda_fp16.h>
#include <string.h>

#include <string>

#include "measure.h"
#include "measure_gpu.h"
#include "provenance.h"
#include "trace.h"

enum {
    NUM_TREES = 7,
    NUM_STEPS = 1000,
    NUM_LAYERS = 8,
    MAX_QUERIES = 72, /* queries of the graph; those that no branch has see nothing */
    BLOCK_TOKENS = 16,
    NUM_BLOCKS = 8192,
    NUM_HEADS = 32,
    NUM_KV_HEADS = 8,
    HEAD_DIM = 128,
    ROW = NUM_KV_HEADS * HEAD_DIM,
    CHECK_EVERY = 25 /* steps between those whose results are compared */
};

static const tree_shape shape = {MAX_QUERIES, NUM_HEADS, NUM_KV_HEADS, HEAD_DIM, NUM_BLOCKS, BLOCK_TOKENS, TREE_FP16};
static const size_t out_count = (size_t)MAX_QUERIES * NUM_HEADS * HEAD_DIM;

/* One step, as it is written to the csv. */
struct step_times {
    uint32_t queries, event; /* as the csv says */
    uint64_t path_tokens;
    double pool_us, plan_us, launch_us, capture_us, device_us;
    uint64_t sum; /* of the bits of out, if compared */
};

/* The searches, their branches, and everything on the device. */
struct loop {
    workload *work[NUM_TREES];
    replay *play[NUM_TREES];
    kv_pool *pool;
    kv_branch branches[MAX_QUERIES];
    kv_table tables[MAX_QUERIES];
    std::vector<kv_copy> copies;
    bool changed;          /* a branch was born, shortened or has died */
    uint32_t num_skipped;  /* steps that the host has not looked at */
    uint32_t num_queries;  /* of the step before */
    kv_tree *tree;
    tree_plan *plan;
    tree_plan_gpu *gpu;
    uint64_t version;
    char *d_key, *d_value, *d_rows;
    float *d_query, *d_out;
    uint64_t *d_slots;
    void *d_workspace;
    size_t workspace_bytes;
    cudaStream_t stream;
    cudaGraphExec_t graph;
    cudaEvent_t begin, end;
};

static __global__ void fill_random(__half *to, uint64_t count, uint32_t seed, float scale)
{
    const uint64_t step = (uint64_t)gridDim.x * blockDim.x;
    for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < count; i += step) {
        uint32_t x = (uint32_t)i * 2654435761u ^ seed;
        x ^= x >> 15, x *= 2246822519u, x ^= x >> 13;
        to[i] = __float2half(((float)(x & 0xffff) / 65536 - 0.5f) * scale);
    }
}

static __global__ void fill_queries(float *to, uint32_t count)
{
    for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
        to[i] = (float)((i * 2654435761u >> 16) & 0xffff) / 16384 - 2;
}

static void note_branch(void *context, workload_kind, uint32_t, uint32_t) { ((loop *)context)->changed = true; }
static void note_copy(void *context, const kv_copy *copy) { ((loop *)context)->copies.push_back(*copy); }

static void need(tree_status status, const char *what) { BENCH_MUST(status == TREE_OK, what); }

static void begin_loop(loop *l, const trace *t)
{
    const uint64_t elements = tree_kv_offset(&shape, NUM_BLOCKS, 0, 0);
    const kv_pool_config config = {.num_blocks = NUM_BLOCKS, .block_tokens = BLOCK_TOKENS};
    const replay_events events = {.context = l, .branch = note_branch, .copy = note_copy};
    *l = {};
    BENCH_MUST(kv_pool_create(&l->pool, &config) == KV_OK, "a pool");
    for (int32_t i = 0; i < NUM_TREES; i++) {
        const trace_tree *tree = trace_find(t, i);
        BENCH_MUST(tree && workload_from_tree(&l->work[i], tree, 0, NUM_STEPS) == KV_OK, "a search");
        BENCH_MUST(replay_create(&l->play[i], l->work[i], l->pool, &events) == KV_OK, "a replay");
    }
    l->workspace_bytes = 64 << 20;
    BENCH_CUDA(cudaMalloc(&l->d_key, 2 * elements));
    BENCH_CUDA(cudaMalloc(&l->d_value, 2 * elements));
    BENCH_CUDA(cudaMalloc(&l->d_rows, 2 * MAX_QUERIES * ROW));
    BENCH_CUDA(cudaMalloc(&l->d_query, out_count * sizeof(float)));
    BENCH_CUDA(cudaMalloc(&l->d_out, out_count * sizeof(float)));
    BENCH_CUDA(cudaMalloc(&l->d_slots, MAX_QUERIES * sizeof(uint64_t)));
    BENCH_CUDA(cudaMalloc(&l->d_workspace, l->workspace_bytes));
    BENCH_CUDA(cudaStreamCreateWithFlags(&l->stream, cudaStreamNonBlocking));
    BENCH_CUDA(cudaEventCreate(&l->begin));
    BENCH_CUDA(cudaEventCreate(&l->end));
    fill_random<<<1024, 256, 0, l->stream>>>((__half *)l->d_key, elements, 1, 2);
    fill_random<<<1024, 256, 0, l->stream>>>((__half *)l->d_value, elements, 2, 2);
    fill_random<<<1024, 256, 0, l->stream>>>((__half *)l->d_rows, MAX_QUERIES * ROW, 3, 2);
    fill_queries<<<256, 256, 0, l->stream>>>(l->d_query, (uint32_t)out_count);
    BENCH_CUDA(cudaStreamSynchronize(l->stream));
}

static void end_loop(loop *l)
{
    tree_plan_gpu_destroy(l->gpu);
    tree_plan_destroy(l->plan);
    kv_tree_destroy(l->tree);
    for (int i = 0; i < NUM_TREES; i++)
        replay_destroy(l->play[i]), workload_destroy(l->work[i]);
    BENCH_MUST(kv_pool_destroy(l->pool, true, NULL) == KV_OK, "the pool's end");
    cudaGraphExecDestroy(l->graph);
    for (void *memory : {(void *)l->d_key, (void *)l->d_value, (void *)l->d_rows, (void *)l->d_query, (void *)l->d_out,
                         (void *)l->d_slots, l->d_workspace})
        cudaFree(memory);
    cudaEventDestroy(l->begin), cudaEventDestroy(l->end), cudaStreamDestroy(l->stream);
}

/* The step and all layers. They share K and V here: one layer's pool is larger than the L2 cache. */
static void enqueue_layers(loop *l)
{
    int cuda_error;
    need(tree_plan_gpu_advance(l->gpu, l->d_slots, l->stream, &cuda_error), "a step of the plan");
    for (int layer = 0; layer < NUM_LAYERS; layer++) {
        need(kv_append_gpu(l->d_key, l->d_value, l->d_rows, l->d_rows, l->d_slots, MAX_QUERIES, &shape, l->stream,
                           &cuda_error), "new tokens");
        need(tree_attention_gpu(l->d_out, NULL, l->d_query, l->d_key, l->d_value, l->gpu, &shape, 0.0884f,
                                l->d_workspace, l->workspace_bytes, l->stream, NULL, &cuda_error), "attention");
    }
}

static void capture(loop *l)
{
    cudaGraph_t graph;
    if (l->graph)
        BENCH_CUDA(cudaGraphExecDestroy(l->graph));
    BENCH_CUDA(cudaStreamBeginCapture(l->stream, cudaStreamCaptureModeThreadLocal));
    enqueue_layers(l);
    BENCH_CUDA(cudaStreamEndCapture(l->stream, &graph));
    BENCH_CUDA(cudaGraphInstantiate(&l->graph, graph, 0));
    BENCH_CUDA(cudaGraphDestroy(graph));
    BENCH_CUDA(cudaGraphUpload(l->graph, l->stream));
    BENCH_CUDA(cudaStreamSynchronize(l->stream));
    l->version = tree_plan_gpu_version(l->gpu);
}

/* Forks, prunes and appends; the branches with a query first, then queries that see nothing. */
static uint32_t step_pool(loop *l)
{
    uint32_t count = 0;
    replay_result result;
    l->copies.clear();
    l->changed = false;
    for (int i = 0; i < NUM_TREES; i++) {
        BENCH_MUST(replay_step(l->play[i], &result) == KV_OK, "a step of a search");
        BENCH_MUST(count + result.num_queries <= MAX_QUERIES, "as many queries as the graph has");
        memcpy(l->branches + count, result.queries, result.num_queries * sizeof *result.queries);
        count += result.num_queries;
    }
    return count;
}

static const tree_plan_config plan_config = {.strategy = TREE_COST, .group_size = NUM_HEADS / NUM_KV_HEADS};

/* What the device cannot follow by itself is sent. Returns the event. */
static uint32_t step_plan(loop *l, uint32_t num_queries, bool sends_always)
{
    int cuda_error;
    const bool only_grew = l->gpu && !l->changed && num_queries == l->num_queries;
    l->num_queries = num_queries;
    if (only_grew && !sends_always && l->num_skipped < tree_plan_gpu_steps_ahead(l->gpu)) {
        l->num_skipped++;
        return 0;
    }
    l->num_skipped = 0;
    BENCH_MUST(kv_branch_tables(l->pool, l->branches, num_queries, l->tables) == KV_OK, "tables");
    for (uint32_t i = num_queries; i < MAX_QUERIES; i++)
        l->tables[i] = {.version = 1};
    const bool same_tree = l->tree && kv_tree_grow(l->tree, l->tables, MAX_QUERIES);
    const bool same_plan = same_tree && tree_plan_grow(l->plan, l->tree);
    if (same_plan && !sends_always && tree_plan_gpu_grow(l->gpu, l->plan))
        return 1;
    if (!same_tree) {
        kv_tree_destroy(l->tree);
        BENCH_MUST(kv_tree_build(&l->tree, l->tables, MAX_QUERIES, BLOCK_TOKENS, NUM_BLOCKS) == KV_OK, "a tree");
    }
    if (!same_plan) {
        tree_plan_destroy(l->plan);
        need(tree_plan_build(&l->plan, l->tree, &plan_config), "a plan");
    }
    if (l->gpu)
        need(tree_plan_gpu_update(l->gpu, l->plan, l->stream, &cuda_error), "an update");
    else
        need(tree_plan_gpu_create(&l->gpu, l->plan, &shape, l->stream, &cuda_error), "a plan on the device");
    BENCH_MUST(tree_attention_gpu_workspace_bytes(l->plan, &shape) <= l->workspace_bytes, "the workspace");
    return !same_tree ? 4 : same_plan ? 2 : 3;
}

static uint64_t sum_bits(const loop *l)
{
    std::vector<uint32_t> out(out_count);
    uint64_t sum = 0;
    BENCH_CUDA(cudaMemcpy(out.data(), l->d_out, out_count * sizeof(float), cudaMemcpyDeviceToHost));
    for (uint32_t bits : out)
        sum = sum * 1099511628211u + bits;
    return sum;
}

/* An engine needs the tokens of a step before the next one, so each step is waited for. */
static step_times run_step(loop *l, uint32_t index, bool sends_always)
{
    step_times s = {};
    float ms;
    int cuda_error;
    const double start = measure_now_us();
    s.queries = step_pool(l);
    const double planning = measure_now_us();
    s.event = step_plan(l, s.queries, sends_always);
    const double planned = measure_now_us();
    s.path_tokens = l->tree->path_tokens + (uint64_t)l->num_skipped * s.queries;
    need(kv_copy_gpu(l->d_key, l->d_value, l->copies.data(), (uint32_t)l->copies.size(), &shape, l->stream,
                     &cuda_error), "copies");
    const double capturing = measure_now_us();
    if (!l->graph || l->version != tree_plan_gpu_version(l->gpu)) {
        capture(l);
        s.capture_us = measure_now_us() - capturing;
    }
    BENCH_CUDA(cudaEventRecord(l->begin, l->stream));
    const double launching = measure_now_us();
    BENCH_CUDA(cudaGraphLaunch(l->graph, l->stream));
    const double launched = measure_now_us();
    BENCH_CUDA(cudaEventRecord(l->end, l->stream));
    BENCH_CUDA(cudaEventSynchronize(l->end));
    BENCH_CUDA(cudaEventElapsedTime(&ms, l->begin, l->end));
    s.pool_us = planning - start;
    s.plan_us = planned - planning;
    s.launch_us = launched - launching;
    s.device_us = ms * 1000;
    s.sum = index % CHECK_EVERY == 0 ? sum_bits(l) : 0;
    return s;
}

static std::vector<step_times> run(const trace *t, bool sends_always)
{
    loop l;
    std::vector<step_times> steps;
    begin_loop(&l, t);
    for (uint32_t i = 0; i < NUM_STEPS; i++)
        steps.push_back(run_step(&l, i, sends_always));
    end_loop(&l);
    return steps;
}

int main(int argc, char **argv)
{
    if (!bench_has_gpu())
        return 0;
    const char *folder = argc > 2 ? argv[2] : "../shared/traces";
    if (!figure_has_trace("decode_loop", "all steps keep their", folder, "reason_document.ttr"))
        return 0;
    trace *t;
    trace_error error;
    const std::string path = std::string(folder) + "/reason_document.ttr";
    BENCH_MUST(trace_read_file(&t, path.c_str(), &error) == KV_OK, error.message);
    run(t, false); /* once for the caches, and for CUDA's own first calls */
    const std::vector<step_times> grows = run(t, false), sends = run(t, true);
    FILE *csv = bench_open(argc > 1 ? argv[1] : "figures/decode_loop.csv", "make measure (measure_decode_loop)");
    fprintf(csv, "# %d searches of document merging at once, %d layers in one CUDA graph; fp16, 32/8 heads, "
                 "head_dim 128, block_tokens %d, plan cost, last rung\n"
                 "# each step alone, us. pool: forks, prunes, appends, and the replay of the trace; plan: tables, "
                 "tree, plan, update; launch: cudaGraphLaunch\n"
                 "# event: 0 nothing, 1 a block begins: the device follows by itself; 2 a plan is sent; 3 and built; "
                 "4 and the tree\n"
                 "# sent: the same with an update in every step\n"
                 "step,queries,path_tokens,event,pool_us,plan_us,launch_us,capture_us,device_us,sent_plan_us,"
                 "sent_launch_us,sent_device_us\n",
            NUM_TREES, NUM_LAYERS, BLOCK_TOKENS);
    for (uint32_t i = 0; i < NUM_STEPS; i++) {
        const step_times &s = grows[i], &sent = sends[i];
        BENCH_MUST(s.sum == sent.sum && s.path_tokens == sent.path_tokens, "both loops give the same bits");
        fprintf(csv, "%u,%u,%llu,%u,%.2f,%.2f,%.2f,%.1f,%.1f,%.2f,%.2f,%.1f\n", i + 1, s.queries,
                (unsigned long long)s.path_tokens, s.event, s.pool_us, s.plan_us, s.launch_us, s.capture_us,
                s.device_us, sent.plan_us, sent.launch_us, sent.device_us);
    }
    trace_destroy(t);
    bench_close(csv);
}
