/* Decoding on the GPU: four branches behind one prompt, two layers, one plan for both of them.
 *
 *   build   cc gpu_step.c $(pkg-config --cflags --libs treeattn_gpu)
 *
 * The order on one stream, in each step: the copies of copy-on-write, K and V of the new tokens, attention. K, V and
 * queries are random here; an engine has them on the device already. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <kv_gpu.h>
#include <tree_attention_gpu.h>
#include <treeattn.h>

enum { NUM_LAYERS = 2, NUM_BRANCHES = 4, NUM_STEPS = 3, PROMPT = 40, NUM_BLOCKS = 16, BLOCK_TOKENS = 16 };
enum { NUM_HEADS = 8, NUM_KV_HEADS = 2, HEAD_DIM = 64, ROW = NUM_KV_HEADS * HEAD_DIM };
enum { KV = NUM_BLOCKS * BLOCK_TOKENS * ROW, Q = NUM_BRANCHES * NUM_HEADS * HEAD_DIM }; /* elements of one layer */
static const tree_shape shape = {NUM_BRANCHES, NUM_HEADS, NUM_KV_HEADS, HEAD_DIM, NUM_BLOCKS, BLOCK_TOKENS, TREE_FP16};
static const tree_plan_config config = {.strategy = TREE_COST, .group_size = NUM_HEADS / NUM_KV_HEADS};

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
static void send_random(void *d_rows, size_t count)
{
    uint16_t *h_rows = malloc(count * sizeof *h_rows);
    for (size_t i = 0; i < count; i++) h_rows[i] = fp16_from_float((float)rand() / (float)RAND_MAX - 0.5f);
    need(cudaMemcpy(d_rows, h_rows, count * sizeof *h_rows, cudaMemcpyHostToDevice), "K or V");
    free(h_rows);
}

/* Largest difference between the GPU's out and that of the CPU on the same plan, K and V. */
static double difference_to_cpu(const float *d_out, const float *query, const void *d_key, const void *d_value,
                                const tree_plan *plan)
{
    static float expected[Q], out[Q];
    static uint16_t key[KV], value[KV];
    size_t bytes = tree_attention_cpu_workspace_bytes(plan, &shape, 1);
    void *workspace = aligned_alloc(64, (bytes + 63) / 64 * 64);
    need(cudaMemcpy(key, d_key, sizeof key, cudaMemcpyDeviceToHost), "key");
    need(cudaMemcpy(value, d_value, sizeof value, cudaMemcpyDeviceToHost), "value");
    need(cudaMemcpy(out, d_out, sizeof out, cudaMemcpyDeviceToHost), "out");
    need(tree_attention_cpu(expected, NULL, query, key, value, plan, &shape, 0.125f, workspace, bytes, 1,
                            TREE_ISA_AUTO), "tree_attention_cpu");
    free(workspace);
    double largest = 0;
    for (int i = 0; i < Q; i++) largest = fmax(largest, isnan(out[i]) ? INFINITY : fabs((double)out[i] - expected[i]));
    return largest;
}

int main(void)
{
    tree_status status = tree_gpu_device_check(NULL);
    if (status != TREE_OK) return fprintf(stderr, "no GPU: %s\n", tree_status_string(status)), 77;

    /* once: memory on the device, a stream */
    void *key[NUM_LAYERS], *value[NUM_LAYERS];
    void *key_rows = device(PROMPT * ROW * 2), *value_rows = device(PROMPT * ROW * 2);
    float *out = device(Q * sizeof(float)), *d_query = device(Q * sizeof(float)), query[Q];
    uint64_t *d_slots = device(PROMPT * sizeof *d_slots), slots[PROMPT];
    for (int layer = 0; layer < NUM_LAYERS; layer++) key[layer] = device(KV * 2), value[layer] = device(KV * 2);
    cudaStream_t stream;
    need(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");

    /* the prompt, then three forks */
    kv_pool *pool;
    kv_pool_config pool_config = {.num_blocks = NUM_BLOCKS, .block_tokens = BLOCK_TOKENS};
    kv_branch branches[NUM_BRANCHES];
    kv_append appends[NUM_BRANCHES];
    kv_table tables[NUM_BRANCHES];
    need(kv_pool_create(&pool, &pool_config), "pool");
    need(kv_branch_create(pool, &branches[0]), "branch");
    need(kv_branch_append(pool, branches[0], PROMPT, appends), "append");
    need(kv_branch_table(pool, branches[0], tables), "table");
    kv_last_slots(slots, tables, PROMPT, BLOCK_TOKENS);
    need(cudaMemcpy(d_slots, slots, sizeof slots, cudaMemcpyHostToDevice), "slots");
    for (int layer = 0; layer < NUM_LAYERS; layer++) {
        send_random(key_rows, PROMPT * ROW), send_random(value_rows, PROMPT * ROW);
        need(kv_append_gpu(key[layer], value[layer], key_rows, value_rows, d_slots, PROMPT, &shape, stream, NULL),
             "rows");
        need(cudaStreamSynchronize(stream), "prompt");
    }
    for (int i = 1; i < NUM_BRANCHES; i++) need(kv_branch_fork(pool, branches[0], &branches[i]), "fork");

    kv_tree *tree = NULL;
    tree_plan *plan = NULL;
    tree_plan_gpu *gpu_plan = NULL;
    void *workspace = NULL;
    size_t workspace_bytes = 0;
    int wrong = 0;
    for (int step = 0; step < NUM_STEPS; step++) {
        /* integers, on the host: one token for each branch */
        const uint32_t one_token[NUM_BRANCHES] = {1, 1, 1, 1};
        kv_copy copies[NUM_BRANCHES];
        uint32_t num_copies = 0;
        need(kv_branch_append_many(pool, branches, one_token, NUM_BRANCHES, appends), "append");
        need(kv_branch_tables(pool, branches, NUM_BRANCHES, tables), "tables");
        for (int i = 0; i < NUM_BRANCHES; i++) {
            if (appends[i].copy.num_tokens) copies[num_copies++] = appends[i].copy;
            kv_last_slots(&slots[i], &tables[i], 1, BLOCK_TOKENS);
        }

        /* tree and plan: kept while they grow in place, otherwise built again */
        bool kept = plan && kv_tree_grow(tree, tables, NUM_BRANCHES) && tree_plan_grow(plan, tree);
        if (!kept) {
            tree_plan_destroy(plan), kv_tree_destroy(tree);
            need(kv_tree_build(&tree, tables, NUM_BRANCHES, BLOCK_TOKENS, NUM_BLOCKS), "tree");
            need(tree_plan_build(&plan, tree, &config), "plan");
        }
        if (gpu_plan) need(tree_plan_gpu_update(gpu_plan, plan, stream, NULL), "update");
        else need(tree_plan_gpu_create(&gpu_plan, plan, &shape, stream, NULL), "plan on the GPU");
        if (tree_attention_gpu_workspace_bytes(plan, &shape) > workspace_bytes) {
            workspace_bytes = tree_attention_gpu_workspace_bytes(plan, &shape);
            cudaFree(workspace); /* waits for the kernels that use it */
            workspace = device(workspace_bytes);
        }

        /* each layer, on the stream */
        need(cudaMemcpy(d_slots, slots, NUM_BRANCHES * sizeof *slots, cudaMemcpyHostToDevice), "slots");
        for (int layer = 0; layer < NUM_LAYERS; layer++) {
            void *k = key[layer], *v = value[layer];
            send_random(key_rows, NUM_BRANCHES * ROW), send_random(value_rows, NUM_BRANCHES * ROW);
            for (int i = 0; i < Q; i++) query[i] = (float)rand() / (float)RAND_MAX * 8 - 4;
            need(cudaMemcpy(d_query, query, sizeof query, cudaMemcpyHostToDevice), "query");
            need(kv_copy_gpu(k, v, copies, num_copies, &shape, stream, NULL), "copies");
            need(kv_append_gpu(k, v, key_rows, value_rows, d_slots, NUM_BRANCHES, &shape, stream, NULL), "rows");
            need(tree_attention_gpu(out, NULL, d_query, k, v, gpu_plan, &shape, 0.125f, workspace, workspace_bytes,
                                    stream, NULL, NULL), "attention");
            need(cudaStreamSynchronize(stream), "step"); /* for the check alone */
            double difference = difference_to_cpu(out, query, k, v, plan);
            wrong |= !(difference < 2e-3);
            printf("step %d layer %d: %u copies, plan %s, out %s\n", step, layer, num_copies, kept ? "kept" : "built",
                   difference < 2e-3 ? "as on the CPU" : "WRONG");
        }
    }

    tree_plan_gpu_destroy(gpu_plan);
    tree_plan_destroy(plan);
    kv_tree_destroy(tree);
    for (int layer = 0; layer < NUM_LAYERS; layer++) cudaFree(key[layer]), cudaFree(value[layer]);
    cudaFree(key_rows), cudaFree(value_rows), cudaFree(out), cudaFree(d_query), cudaFree(d_slots), cudaFree(workspace);
    cudaStreamDestroy(stream);
    return kv_pool_destroy(pool, true, NULL) || wrong;
}
