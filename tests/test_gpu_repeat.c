/* Claim: the same plan gives the same bits, launched a thousand times, from a graph, after an update in the middle, and
 * where a launch that may begin early reads what the one before it writes. */
#include <stdlib.h>
#include <string.h>

#include "gpu_support.h"
#include "test.h"

/* A tree with a global wait before its merges, and one whose rows the last workers merge (small queue). */
static const struct repeated {
    const char *name, *tree, *chained;
    attention_size size;
    tree_strategy strategy;
    uint32_t piece_tokens;
    tree_storage storage;
} repeated_cases[] = {
    {"fp16", "binary:3", "1,4,16/70,40,5", {2, 4, 128}, TREE_FLATTEN, 24, TREE_FP16},
    {"bf16", "binary:3", "1,4,16/70,40,5", {2, 4, 128}, TREE_FLATTEN, 24, TREE_BF16},
    {"few_rows_fp16", "1/2112", "1/500", {8, 4, 128}, TREE_COST, 0, TREE_FP16},
    {"few_rows_bf16", "1,2/900,70", "1,2/500,9", {4, 2, 64}, TREE_COST, 0, TREE_BF16},
};

static void run_thousand(const void *argument)
{
    const struct repeated *repeated = argument;
    const tree_storage *storage = &repeated->storage;
    attention_case c;
    gpu_case gpu;
    need_gpu();
    attention_case_build(&c, storage_backend(*storage), repeated->tree, 16, repeated->size);
    tree_plan *plan = attention_plan(&c, repeated->strategy, repeated->piece_tokens, 0);
    gpu_case_create(&gpu, &c);
    gpu_case_plan(&gpu, plan);
    float *first = malloc(gpu.out.bytes);
    check(first, "memory");
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
        if (!takes_storage(&tree_gpu_steps[s], *storage))
            continue;
        gpu_case_run(&gpu, &tree_gpu_steps[s]);
        memcpy(first, gpu.h_out, gpu.out.bytes);
        for (int i = 0; i < 1000; i++) {
            gpu_case_enqueue(&gpu, &tree_gpu_steps[s], (float *)gpu.out.data, (float *)gpu.lse.data, NULL);
            if (i % 100 == 99) {
                cuda_ok(cudaDeviceSynchronize(), tree_gpu_steps[s].name);
                d_read(&gpu.out, gpu.h_out, "out");
                check_same_bits(gpu.h_out, first, c.num_out, tree_gpu_steps[s].name);
            }
        }
    }
    free(first);
    gpu_case_destroy(&gpu);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

/* Replayed from a graph; then the plan is replaced by one of the same size while kernels are enqueued. */
static void run_graph(const void *argument)
{
    const tree_storage *storage = argument;
    attention_case c;
    gpu_case gpu;
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    int cuda_error = -1;
    need_gpu();
    attention_case_build(&c, storage_backend(*storage), "comb:4", 16, (attention_size){2, 4, 128});
    tree_plan *plan = attention_plan(&c, TREE_COST, 0, 0);
    gpu_case_create(&gpu, &c);
    gpu_case_plan(&gpu, plan);
    gpu_case_run(&gpu, last_step(*storage));
    float *first = malloc(gpu.out.bytes);
    check(first, "memory");
    memcpy(first, gpu.h_out, gpu.out.bytes);

    cuda_ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    cuda_ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "capture");
    gpu_case_enqueue(&gpu, last_step(*storage), (float *)gpu.out.data, (float *)gpu.lse.data, stream);
    cuda_ok(cudaStreamEndCapture(stream, &graph), "capture");
    cuda_ok(cudaGraphInstantiate(&exec, graph, 0), "a graph");
    for (int i = 0; i < 10; i++) {
        d_clear(&gpu.out);
        cuda_ok(cudaDeviceSynchronize(), "cleared");
        for (int j = 0; j < 20; j++)
            cuda_ok(cudaGraphLaunch(exec, stream), "a replay");
        gpu_ok(tree_plan_gpu_update(gpu.plan, plan, stream, &cuda_error), &cuda_error, "the plan again, behind them");
        cuda_ok(cudaGraphLaunch(exec, stream), "a replay");
        cuda_ok(cudaStreamSynchronize(stream), "the replays");
        d_read(&gpu.out, gpu.h_out, "out");
        check_same_bits(gpu.h_out, first, c.num_out, "from a graph");
    }
    cuda_ok(cudaGraphExecDestroy(exec), "the graph's end");
    cuda_ok(cudaGraphDestroy(graph), "the graph's end");
    cuda_ok(cudaStreamDestroy(stream), "the stream's end");
    free(first);
    gpu_case_destroy(&gpu);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

enum { CHAIN = 24 };

/* What each launch makes is the next one's query. Returns where the last one's is. */
static float *run_chain(gpu_case *gpu, const tree_gpu_step *step, float *const outs[2], bool each_alone)
{
    const attention_case *c = gpu->c;
    const float *query = (const float *)gpu->query.data;
    int cuda_error = -1;
    for (int i = 0; i < CHAIN; i++) {
        float *out = outs[i % 2];
        gpu_ok(tree_attention_gpu(out, NULL, query, gpu->key.data, gpu->value.data, gpu->plan, &c->shape, c->scale,
                                  gpu->workspace.data, gpu->workspace_bytes, NULL, step, &cuda_error),
               &cuda_error, step->name);
        if (each_alone)
            cuda_ok(cudaDeviceSynchronize(), step->name);
        query = out;
    }
    cuda_ok(cudaDeviceSynchronize(), step->name);
    return (float *)query;
}

static void run_query_of_the_last(const void *argument)
{
    const struct repeated *repeated = argument;
    const tree_storage *storage = &repeated->storage;
    attention_case c;
    gpu_case gpu;
    need_gpu();
    attention_case_build(&c, storage_backend(*storage), repeated->chained, 16, repeated->size);
    c.scale *= 8; /* so that a query has something to say */
    tree_plan *plan = attention_plan(&c, TREE_COST, 0, 0);
    gpu_case_create(&gpu, &c);
    gpu_case_plan(&gpu, plan);
    d_array other = d_create(gpu.out.bytes);
    float *const outs[2] = {(float *)gpu.out.data, (float *)other.data};
    float *alone = malloc(gpu.out.bytes), *together = malloc(gpu.out.bytes);
    check(alone && together, "memory");
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
        const tree_gpu_step *step = &tree_gpu_steps[s];
        if (!takes_storage(step, *storage))
            continue;
        const float *last = run_chain(&gpu, step, outs, true);
        cuda_ok(cudaMemcpy(alone, last, gpu.out.bytes, cudaMemcpyDeviceToHost), "out");
        for (int again = 0; again < 5; again++) {
            d_clear(&gpu.out);
            d_clear(&other);
            last = run_chain(&gpu, step, outs, false);
            cuda_ok(cudaMemcpy(together, last, gpu.out.bytes, cudaMemcpyDeviceToHost), "out");
            check_same_bits(together, alone, c.num_out, step->name);
        }
    }
    free(alone);
    free(together);
    d_destroy(&other);
    gpu_case_destroy(&gpu);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    static const tree_storage storages[] = {TREE_FP16, TREE_BF16};
    test_begin(argc, argv, "on the GPU, the same plan gives the same bits");
    for (size_t i = 0; i < sizeof repeated_cases / sizeof repeated_cases[0]; i++) {
        test_add(run_thousand, &repeated_cases[i], "a_thousand_launches_%s", repeated_cases[i].name);
        test_add(run_query_of_the_last, &repeated_cases[i], "query_is_the_last_out_%s", repeated_cases[i].name);
    }
    for (int s = 0; s < 2; s++)
        test_add(run_graph, &storages[s], "from_a_graph_and_after_updates_%s", storage_name[storages[s]]);
    return test_end();
}
