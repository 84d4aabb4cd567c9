/* Decoding under a budget on the GPU: three branches behind one prompt, one layer. Attention chooses the victims.
 *
 *   build   cc evict_gpu.c $(pkg-config --cflags --libs treeattn_gpu)
 *
 * The order on one stream, in each step: positions of the new tokens, copies of K, V and norms, the new K and V, their
 * norms, attention, victims to the host. The kernel chooses for one layer: an engine has a pool, a plan and lists for
 * each of its layers. From step 9 on, the last branch waits: it stays in the batch, without a new token. K, V and
 * queries are random here. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <eviction_gpu.h>
#include <kv_gpu.h>
#include <tree_attention_gpu.h>
#include <treeattn.h>

enum { NUM_BRANCHES = 3, PROMPT = 40, BUDGET = 47, RECENT = 2, NUM_STEPS = 11, NUM_BLOCKS = 5, BLOCK_TOKENS = 16 };
enum { NUM_HEADS = 8, NUM_KV_HEADS = 2, HEAD_DIM = 64, ROW = NUM_KV_HEADS * HEAD_DIM, NUM_SLOTS = 3 * BLOCK_TOKENS };
enum { KV = NUM_BLOCKS * BLOCK_TOKENS * ROW, Q = NUM_BRANCHES * NUM_HEADS * HEAD_DIM };
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

/* On the stream; `array` stays as it is until the stream has been synchronized. */
static void send(void *d_array, const void *array, size_t bytes, cudaStream_t stream)
{
    need(cudaMemcpyAsync(d_array, array, bytes, cudaMemcpyHostToDevice, stream), "to the GPU");
}

/* K and V of new tokens: fp16 numbers from -1/2 to 1/2. */
static void send_random(void *d_keys, void *d_values, size_t num_tokens, cudaStream_t stream)
{
    static uint16_t rows[2][PROMPT * ROW];
    for (size_t i = 0; i < 2 * num_tokens * ROW; i++)
        rows[i % 2][i / 2] = fp16_from_float((float)rand() / (float)RAND_MAX - 0.5f);
    send(d_keys, rows[0], num_tokens * ROW * 2, stream);
    send(d_values, rows[1], num_tokens * ROW * 2, stream);
}

/* Whether the CPU finds the same out and victims on the same plan, K, V and norms. */
static bool as_on_the_cpu(const float *d_out, const uint64_t *victims, const float *query, const void *d_key,
                          const void *d_value, const float *d_norm, const tree_plan *plan, const kv_table *tables,
                          const uint32_t *positions, const eviction_range *candidates)
{
    static float expected[Q], out[Q], importance[NUM_BRANCHES][NUM_SLOTS], norm[KV / HEAD_DIM];
    static uint16_t key[KV], value[KV];
    size_t bytes = (tree_importance_cpu_workspace_bytes(plan, &shape, 1) + 63) / 64 * 64;
    void *workspace = aligned_alloc(64, bytes);
    need(cudaMemcpy(key, d_key, sizeof key, cudaMemcpyDeviceToHost), "key");
    need(cudaMemcpy(value, d_value, sizeof value, cudaMemcpyDeviceToHost), "value");
    need(cudaMemcpy(norm, d_norm, sizeof norm, cudaMemcpyDeviceToHost), "norm");
    need(cudaMemcpy(out, d_out, sizeof out, cudaMemcpyDeviceToHost), "out");
    need(tree_importance_cpu(expected, NULL, importance[0], NUM_SLOTS, query, key, value, norm, plan, &shape, 0.125f,
                             workspace, bytes, 1, TREE_ISA_AUTO), "tree_importance_cpu");
    free(workspace);
    for (int i = 0; i < Q; i++)
        if (!(fabs((double)out[i] - expected[i]) < 2e-3)) return false;
    for (int q = 0; q < NUM_BRANCHES; q++) {
        uint32_t of_slot[NUM_SLOTS] = {0};
        for (uint32_t s = 0; s < tables[q].length; s++)
            of_slot[s] = positions[tables[q].blocks[s / BLOCK_TOKENS] * BLOCK_TOKENS + s % BLOCK_TOKENS];
        uint64_t victim = eviction_victim_of_slots(importance[q], of_slot, NUM_SLOTS, candidates[q]);
        if (eviction_key_position(victims[q]) != eviction_key_position(victim)) return false;
    }
    return true;
}

int main(void)
{
    tree_status status = tree_gpu_device_check(NULL);
    if (status != TREE_OK) return fprintf(stderr, "no GPU: %s\n", tree_status_string(status)), 77;

    /* once: memory on the device, a stream */
    void *key = device(KV * 2), *value = device(KV * 2), *key_rows = device(PROMPT * ROW * 2);
    void *value_rows = device(PROMPT * ROW * 2), *workspace = NULL;
    float *norm = device(KV / HEAD_DIM * sizeof *norm);
    float *out = device(Q * sizeof *out), *d_query = device(Q * sizeof *d_query);
    uint32_t *d_positions = device(NUM_BLOCKS * BLOCK_TOKENS * sizeof *d_positions);
    uint64_t *d_slots = device(PROMPT * sizeof *d_slots), *d_victims = device(NUM_BRANCHES * sizeof *d_victims);
    eviction_range *d_candidates = device(NUM_BRANCHES * sizeof *d_candidates);
    cudaStream_t stream;
    need(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");

    /* the prompt, then two forks */
    kv_pool *pool;
    kv_pool_config pool_config = {.num_blocks = NUM_BLOCKS, .block_tokens = BLOCK_TOKENS, .evicts = true};
    kv_branch branches[NUM_BRANCHES];
    kv_append appends[NUM_BRANCHES];
    kv_table tables[NUM_BRANCHES];
    kv_keep keeps[NUM_BRANCHES];
    uint64_t slots[PROMPT];
    need(kv_pool_create(&pool, &pool_config), "pool");
    need(kv_branch_create(pool, &branches[0]), "branch");
    need(kv_branch_append(pool, branches[0], PROMPT, appends), "append");
    need(kv_branch_table(pool, branches[0], tables), "table");
    const uint32_t *positions = kv_pool_positions(pool); /* [NUM_BLOCKS][BLOCK_TOKENS], up to date after each call */
    kv_last_slots(slots, tables, PROMPT, BLOCK_TOKENS);
    send(d_slots, slots, sizeof slots, stream);
    send(d_positions, positions, NUM_BLOCKS * BLOCK_TOKENS * sizeof *positions, stream);
    send_random(key_rows, value_rows, PROMPT, stream);
    need(kv_append_gpu(key, value, key_rows, value_rows, d_slots, PROMPT, &shape, stream, NULL), "prompt");
    need(kv_norms_gpu(norm, value, d_slots, PROMPT, &shape, stream, NULL), "norms");
    need(cudaStreamSynchronize(stream), "prompt");
    for (int i = 1; i < NUM_BRANCHES; i++) need(kv_branch_fork(pool, branches[0], &branches[i]), "fork");

    kv_tree *tree = NULL;
    tree_plan *plan = NULL;
    tree_plan_gpu *gpu_plan = NULL;
    tree_eviction_gpu *lists = NULL;
    size_t workspace_bytes = 0;
    bool right = true;
    for (int step = 0; step < NUM_STEPS; step++) {
        /* on the host: a token for each branch, in a hole or at the end */
        const uint32_t num_tokens[NUM_BRANCHES] = {1, 1, step < 9};
        eviction_range candidates[NUM_BRANCHES];
        kv_copy copies[NUM_BRANCHES];
        uint32_t num_copies = 0, num_at_end = 0;
        need(kv_branch_append_many(pool, branches, num_tokens, NUM_BRANCHES, appends), "append");
        need(kv_branch_tables(pool, branches, NUM_BRANCHES, tables), "tables");
        need(kv_branch_keeps(pool, branches, NUM_BRANCHES, keeps), "keeps");
        for (int i = 0; i < NUM_BRANCHES; i++) {
            candidates[i] = (eviction_range){keeps[i].first_private, keeps[i].next_position - RECENT};
            if (keeps[i].num_kept <= BUDGET) candidates[i].end = 0; /* no candidates, no victim */
            slots[i] = KV_SKIP_SLOT;
            if (num_tokens[i] == 0) continue;
            uint32_t slot = appends[i].hole == KV_NO_HOLE ? tables[i].length - 1 : appends[i].hole;
            uint32_t block = tables[i].blocks[slot / BLOCK_TOKENS];
            slots[i] = (uint64_t)block * BLOCK_TOKENS + slot % BLOCK_TOKENS;
            right &= positions[slots[i]] == keeps[i].next_position - 1; /* the newest token's slot */
            num_at_end += appends[i].hole == KV_NO_HOLE;
            if (appends[i].copy.num_tokens) copies[num_copies++] = appends[i].copy;
            /* of the whole block, since copy-on-write copies positions too */
            send(d_positions + (uint64_t)block * BLOCK_TOKENS, positions + (uint64_t)block * BLOCK_TOKENS,
                 BLOCK_TOKENS * sizeof *positions, stream);
        }

        /* tree, plan and lists: where no table grew at its end and no block died, the masks alone change */
        bool same = plan && kv_tree_grow(tree, tables, NUM_BRANCHES) && tree_plan_grow(plan, tree) &&
                    tree_plan_set_keep(plan, tree, keeps);
        bool masks_alone = same && num_at_end == 0;
        if (!same) {
            tree_plan_destroy(plan), kv_tree_destroy(tree);
            need(kv_tree_build(&tree, tables, NUM_BRANCHES, BLOCK_TOKENS, NUM_BLOCKS), "tree");
            need(tree_plan_build_keep(&plan, tree, &config, keeps, TREE_KEEP_PRIVATE), "plan");
        }
        if (!gpu_plan) {
            need(tree_plan_gpu_create(&gpu_plan, plan, &shape, stream, NULL), "plan on the GPU");
            need(tree_eviction_gpu_create(&lists, plan, &shape, stream, NULL), "lists on the GPU");
        } else if (masks_alone) {
            need(tree_plan_gpu_update_masks(gpu_plan, plan, stream, NULL), "masks");
        } else {
            need(tree_plan_gpu_update(gpu_plan, plan, stream, NULL), "update");
            need(tree_eviction_gpu_update(lists, plan, stream, NULL), "update of the lists");
        }
        if (tree_eviction_gpu_workspace_bytes(plan, &shape, NULL) > workspace_bytes) {
            workspace_bytes = tree_eviction_gpu_workspace_bytes(plan, &shape, NULL);
            cudaFree(workspace); /* waits for the kernels that use it */
            workspace = device(workspace_bytes);
        }

        /* on the stream; the queries are numbers of fp16, since the kernel rounds them to that */
        float query[Q];
        uint64_t victims[NUM_BRANCHES];
        for (int i = 0; i < Q; i++) query[i] = fp16_to_float(fp16_from_float((float)rand() / (float)RAND_MAX * 8 - 4));
        send(d_query, query, sizeof query, stream);
        send(d_slots, slots, NUM_BRANCHES * sizeof *slots, stream);
        send(d_candidates, candidates, sizeof candidates, stream);
        send_random(key_rows, value_rows, NUM_BRANCHES, stream);
        need(kv_copy_gpu(key, value, copies, num_copies, &shape, stream, NULL), "copies");
        need(kv_copy_norms_gpu(norm, copies, num_copies, &shape, stream, NULL), "copies of norms");
        need(kv_append_gpu(key, value, key_rows, value_rows, d_slots, NUM_BRANCHES, &shape, stream, NULL), "rows");
        need(kv_norms_gpu(norm, value, d_slots, NUM_BRANCHES, &shape, stream, NULL), "norms");
        need(tree_eviction_gpu_run(out, NULL, NULL, 0, d_victims, d_query, key, value, norm, d_positions, d_candidates,
                                   gpu_plan, lists, &shape, 0.125f, workspace, workspace_bytes, stream, NULL, NULL),
             "attention");
        need(cudaMemcpyAsync(victims, d_victims, sizeof victims, cudaMemcpyDeviceToHost, stream), "victims");
        need(cudaStreamSynchronize(stream), "step"); /* the next append needs the holes */

        bool equal = as_on_the_cpu(out, victims, query, key, value, norm, plan, tables, positions, candidates);
        right &= equal;
        printf("step %2d: %u copies, %s", step, num_copies,
               masks_alone ? "new masks" : same ? "plan grown" : "plan built");
        for (int i = 0; i < NUM_BRANCHES; i++) {
            uint32_t slot, position = eviction_key_position(victims[i]);
            if (victims[i] == EVICTION_NONE) continue;
            need(victims[i] == EVICTION_NOT_FINITE, "a NaN in K, V or query");
            need(kv_branch_find(pool, branches[i], position, &slot), "victim");
            need(kv_branch_evict(pool, branches[i], KV_SCOPE_PRIVATE, &slot, 1), "evict");
            printf(", %d forgets %u", i, position);
        }
        printf(", %s\n", equal ? "as on the CPU" : "WRONG");
    }

    tree_plan_gpu_destroy(gpu_plan), tree_eviction_gpu_destroy(lists);
    tree_plan_destroy(plan), kv_tree_destroy(tree);
    cudaFree(key), cudaFree(value), cudaFree(key_rows), cudaFree(value_rows), cudaFree(norm), cudaFree(out);
    cudaFree(d_query), cudaFree(d_positions), cudaFree(d_slots), cudaFree(d_victims), cudaFree(d_candidates);
    cudaFree(workspace), cudaStreamDestroy(stream);
    return kv_pool_destroy(pool, true, NULL) || !right;
}
