/* Claim: on the GPU, every step of the ladder gives each query the attention over its own path, whatever the plan:
 * within the derived limit, the same bits again, nothing read that is not seen, nothing written that is not out or lse,
 * and bad input is refused before any write. */
#include <cuda_runtime_api.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_model.h"
#include "test.h"
#include "tree_attention_gpu.h"

static const attention_size sizes[] = {{2, 4, 64}, {2, 3, 64}, {5, 1, 64}, {2, 4, 128}, {2, 3, 128}, {5, 1, 128}};
static const uint32_t block_sizes[] = {1, 16};

enum { NUM_SIZES = sizeof sizes / sizeof sizes[0], ZONE_BYTES = 1024, ZONE = 0xff, MAX_TREES = 32 };

/* ---- the device ---- */

/* Skips the case where there is no GPU to run it; fails it if REQUIRE_GPU is set, and not to 0. */
static void need_gpu(void)
{
    const char *require = getenv("REQUIRE_GPU");
    int cuda_error = 0;
    tree_status status = tree_gpu_device_check(&cuda_error);
    if (status == TREE_OK)
        return;
    check(!require || !*require || !strcmp(require, "0"), "REQUIRE_GPU is set, but %s (CUDA: %s)",
          tree_status_string(status), tree_cuda_error_string(cuda_error));
    test_skip("%s (CUDA: %s)", tree_status_string(status), tree_cuda_error_string(cuda_error));
}

static void cuda_ok(cudaError_t error, const char *what) { check(!error, "%s: %s", what, cudaGetErrorString(error)); }

/* Device memory of NaN between two zones of them that nobody may touch. */
typedef struct d_array {
    char *data, *storage;
    size_t bytes;
} d_array;

static d_array d_create(size_t bytes)
{
    d_array array = {NULL, NULL, bytes};
    cuda_ok(cudaMalloc((void **)&array.storage, bytes + 2 * ZONE_BYTES), "cudaMalloc");
    cuda_ok(cudaMemset(array.storage, ZONE, bytes + 2 * ZONE_BYTES), "cudaMemset");
    array.data = array.storage + ZONE_BYTES;
    return array;
}

static d_array d_copy_of(const void *h_data, size_t bytes)
{
    d_array array = d_create(bytes);
    cuda_ok(cudaMemcpy(array.data, h_data, bytes, cudaMemcpyHostToDevice), "copy to the device");
    return array;
}

static bool all_untouched(const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != ZONE)
            return false;
    }
    return true;
}

/* Checks the zones, copies the data to h_data unless that is NULL; returns whether anything was written to it. */
static bool d_read(const d_array *array, void *h_data, const char *what)
{
    unsigned char *all = malloc(array->bytes + 2 * ZONE_BYTES);
    check(all, "memory");
    cuda_ok(cudaMemcpy(all, array->storage, array->bytes + 2 * ZONE_BYTES, cudaMemcpyDeviceToHost), what);
    check(all_untouched(all, ZONE_BYTES), "%s: nothing is written before the array", what);
    check(all_untouched(all + ZONE_BYTES + array->bytes, ZONE_BYTES), "%s: nothing is written behind the array", what);
    bool written = !all_untouched(all + ZONE_BYTES, array->bytes);
    if (h_data)
        memcpy(h_data, all + ZONE_BYTES, array->bytes);
    free(all);
    return written;
}

static void d_destroy(d_array *array)
{
    cuda_ok(cudaFree(array->storage), "cudaFree");
    array->storage = array->data = NULL;
}

/* ---- a step as an implementation under test ---- */

typedef struct gpu_backend {
    attention_backend base; /* first: run_gpu gets a pointer to it */
    const tree_gpu_step *step;
} gpu_backend;

/* Runs twice in the same workspace, which begins as NaN: the second time it holds the leftovers of the first. */
static tree_status run_gpu(const attention_backend *backend, float *out, float *lse, const float *query,
                           const float *key, const float *value, const tree_plan *plan, const tree_shape *shape,
                           float scale)
{
    const tree_gpu_step *step = ((const gpu_backend *)backend)->step;
    uint64_t num_lse = (uint64_t)shape->num_queries * shape->num_heads, num_out = num_lse * shape->head_dim;
    uint64_t num_kv = tree_kv_offset(shape, shape->num_blocks, 0, 0);
    size_t workspace_bytes = tree_attention_gpu_workspace_bytes(plan, shape);
    check(workspace_bytes > 0, "a workspace");
    d_array d_query = d_copy_of(query, num_out * sizeof *query), d_key = d_copy_of(key, num_kv * sizeof *key);
    d_array d_value = d_copy_of(value, num_kv * sizeof *value), d_workspace = d_create(workspace_bytes);
    tree_plan_gpu *gpu_plan = NULL;
    int cuda_error = -1;
    tree_status status = tree_plan_gpu_create(&gpu_plan, plan, &cuda_error);
    check(status == TREE_OK && cuda_error == 0, "plan: %s", tree_status_string(status));

    float *first = malloc(num_out * sizeof *first + 1), *first_lse = malloc(num_lse * sizeof *first_lse + 1);
    check(first && first_lse, "memory");
    for (int i = 0; i < 2; i++) {
        d_array d_out = d_create(num_out * sizeof *out), d_lse = d_create(num_lse * sizeof *lse);
        status = tree_attention_gpu((float *)d_out.data, (float *)d_lse.data, (const float *)d_query.data, d_key.data,
                                    d_value.data, gpu_plan, shape, scale, d_workspace.data, workspace_bytes, NULL,
                                    step, &cuda_error);
        check(status == TREE_OK, "%s: %s (CUDA: %s)", step->name, tree_status_string(status),
              tree_cuda_error_string(cuda_error));
        cuda_ok(cudaDeviceSynchronize(), "the kernels");
        d_read(&d_out, i ? out : first, "out");
        d_read(&d_lse, i ? lse : first_lse, "lse");
        d_destroy(&d_out);
        d_destroy(&d_lse);
    }
    check_same_bits(out, first, num_out, "out of the second run");
    check_same_bits(lse, first_lse, num_lse, "lse of the second run");
    free(first);
    free(first_lse);
    d_read(&d_workspace, NULL, "workspace");
    tree_plan_gpu_destroy(gpu_plan);
    d_destroy(&d_query);
    d_destroy(&d_key);
    d_destroy(&d_value);
    d_destroy(&d_workspace);
    return TREE_OK;
}

static gpu_backend backend_of(const tree_gpu_step *step)
{
    gpu_backend gpu = {{step->name, TREE_FP32, {0x1p-24, 0x1p-24, 0x1p-24}, TREE_ISA_AUTO, 1, run_gpu}, step};
    return gpu;
}

/* ---- agreement ---- */

/* What every slot that `query` does not see holds is no matter to this query; KV_NONE: to all queries. */
static void check_poison(attention_case *c, const tree_plan *plan, uint32_t query, const attention_result *clean)
{
    uint64_t elements = (uint64_t)c->shape.num_heads * c->shape.head_dim;
    uint32_t first = query == KV_NONE ? 0 : query, count = query == KV_NONE ? c->shape.num_queries : 1;
    attention_fill_unseen(c, query, NAN);
    attention_result poisoned = attention_run(c, plan);
    check_same_bits(poisoned.out.data + first * elements, clean->out.data + first * elements, count * elements,
                    "out with poison in the unseen slots");
    check_same_bits(poisoned.lse.data + (uint64_t)first * c->shape.num_heads,
                    clean->lse.data + (uint64_t)first * c->shape.num_heads, (uint64_t)count * c->shape.num_heads,
                    "lse with poison in the unseen slots");
    attention_result_free(&poisoned);
}

static double check_case(const gpu_backend *gpu, const char *spec, tree_strategy strategy, uint32_t block_tokens,
                         attention_size size)
{
    attention_case c;
    attention_case_build_small(&c, &gpu->base, spec, block_tokens, size, 4000000);
    tree_plan *plan = attention_plan(&c, strategy, 0, 0);
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    attention_result clean = attention_run(&c, plan);
    double worst = check_attention(clean.out.data, clean.lse.data, &truth, &gpu->base.u, gpu->step->name);
    check_poison(&c, plan, KV_NONE, &clean);
    check_poison(&c, plan, test_below(c.shape.num_queries), &clean);
    attention_result_free(&clean);
    attention_truth_destroy(&truth);
    tree_plan_destroy(plan);
    attention_case_free(&c);
    return worst;
}

typedef struct tree_and_strategy {
    const char *spec;
    tree_strategy strategy;
} tree_and_strategy;

static void run_tree(const void *argument)
{
    const tree_and_strategy *one = argument;
    need_gpu();
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
        gpu_backend gpu = backend_of(&tree_gpu_steps[s]);
        double worst = 0;
        for (int i = 0; i < NUM_SIZES; i++) {
            for (int b = 0; b < 2; b++)
                worst = fmax(worst, check_case(&gpu, one->spec, one->strategy, block_sizes[b], sizes[i]));
        }
        test_note("%s: %d sizes, worst error/limit %.2g", gpu.step->name, 2 * NUM_SIZES, worst);
    }
}

/* ---- the needle ---- */

static bool query_sees(const attention_case *c, uint32_t q, uint64_t slot)
{
    for (uint64_t i = c->paths.first[q]; i < c->paths.first[q + 1]; i++) {
        if (c->paths.slots[i] == slot)
            return true;
    }
    return false;
}

/* The key at one slot scores 100, all others a few: who sees it returns its value row, bit for bit. */
static uint32_t check_needle(attention_case *c, const tree_plan *plan, uint64_t slot, const attention_result *clean)
{
    uint32_t found = 0, dim = c->shape.head_dim, group_size = c->shape.num_heads / c->shape.num_kv_heads;
    attention_lift_key(c, slot, 100);
    attention_result result = attention_run(c, plan);
    for (uint32_t q = 0; q < c->shape.num_queries; q++) {
        bool sees = query_sees(c, q, slot);
        found += sees;
        for (uint32_t h = 0; h < c->shape.num_heads; h++) {
            uint64_t first = ((uint64_t)q * c->shape.num_heads + h) * dim;
            check_same_bits(result.out.data + first,
                            sees ? attention_value(c, slot, h / group_size) : clean->out.data + first, dim,
                            sees ? "the needle's value row" : "a query that does not see the needle");
        }
    }
    attention_result_free(&result);
    return found;
}

/* At every slot in turn that some query sees. */
static void run_needle(const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    need_gpu();
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
        gpu_backend gpu = backend_of(&tree_gpu_steps[s]);
        attention_case c;
        attention_case_build(&c, &gpu.base, "comb:4", 16, (attention_size){2, 2, 64});
        attention_share_queries(&c);
        attention_fill_unseen(&c, KV_NONE, NAN);
        tree_plan *plan = attention_plan(&c, strategy, 24, 0);
        attention_result clean = attention_run(&c, plan);
        float *key = malloc(c.num_kv * sizeof *key);
        check(key, "memory");
        memcpy(key, c.key, c.num_kv * sizeof *key);
        uint64_t num_slots = (uint64_t)c.shape.num_blocks * c.shape.block_tokens, found = 0;
        for (uint64_t slot = 0; slot < num_slots; slot++) {
            bool seen = false;
            for (uint32_t q = 0; q < c.shape.num_queries && !seen; q++)
                seen = query_sees(&c, q, slot);
            if (seen)
                found += check_needle(&c, plan, slot, &clean);
            memcpy(c.key, key, c.num_kv * sizeof *key);
        }
        check(found == c.tree->path_tokens, "each position of each path was once the needle");
        free(key);
        attention_result_free(&clean);
        tree_plan_destroy(plan);
        attention_case_free(&c);
    }
}

/* ---- other uses ---- */

/* Queries at draft tokens of one table; more rows in an item than a mask word has bits. */
static void run_drafts(const void *unused)
{
    (void)unused;
    need_gpu();
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
        gpu_backend gpu = backend_of(&tree_gpu_steps[s]);
        attention_case c;
        attention_case_build_drafts(&c, &gpu.base, "1,4/37,40", 16, (attention_size){2, 2, 64}, 36);
        check(c.shape.num_queries > 64, "%u queries", c.shape.num_queries);
        attention_fill_unseen(&c, KV_NONE, NAN);
        attention_check_strategies(&c);
        attention_case_free(&c);
    }
}

static void run_head_dim_256(const void *unused)
{
    (void)unused;
    need_gpu();
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
        gpu_backend gpu = backend_of(&tree_gpu_steps[s]);
        attention_case c;
        attention_case_build(&c, &gpu.base, "binary:3", 16, (attention_size){1, 7, 256});
        attention_fill_unseen(&c, KV_NONE, NAN);
        attention_check_strategies(&c);
        attention_case_free(&c);
    }
}

/* ---- calls one by one ---- */

/* One sound call, which each refusal spoils in one place. */
typedef struct gpu_call {
    attention_case c;
    tree_plan *plan;
    tree_plan_gpu *gpu_plan;
    d_array out, lse, query, key, value, workspace;
    /* what is passed */
    tree_shape shape;
    size_t workspace_bytes;
    char *d_out, *d_query, *d_key, *d_value, *d_lse, *d_workspace;
} gpu_call;

static void call_create(gpu_call *call, const gpu_backend *gpu)
{
    attention_case_build(&call->c, &gpu->base, "comb:4", 16, (attention_size){2, 3, 64});
    call->shape = call->c.shape;
    call->plan = attention_plan(&call->c, TREE_FLATTEN, 0, 0);
    call->workspace_bytes = tree_attention_gpu_workspace_bytes(call->plan, &call->shape);
    check(tree_plan_gpu_create(&call->gpu_plan, call->plan, NULL) == TREE_OK, "a plan on the device");
    call->out = d_create(call->c.num_out * sizeof(float));
    call->lse = d_create(call->c.num_lse * sizeof(float));
    call->query = d_copy_of(call->c.query, call->c.num_out * sizeof(float));
    call->key = d_copy_of(call->c.key, call->c.num_kv * sizeof(float));
    call->value = d_copy_of(call->c.value, call->c.num_kv * sizeof(float));
    call->workspace = d_create(call->workspace_bytes);
    call->d_out = call->out.data;
    call->d_lse = call->lse.data;
    call->d_query = call->query.data;
    call->d_key = call->key.data;
    call->d_value = call->value.data;
    call->d_workspace = call->workspace.data;
}

static tree_status call_run(const gpu_call *call, const tree_gpu_step *step, cudaStream_t stream)
{
    int cuda_error = -1;
    tree_status status = tree_attention_gpu((float *)call->d_out, (float *)call->d_lse, (const float *)call->d_query,
                                            call->d_key, call->d_value, call->gpu_plan, &call->shape, call->c.scale,
                                            call->d_workspace, call->workspace_bytes, stream, step, &cuda_error);
    check(cuda_error == 0, "CUDA: %s", tree_cuda_error_string(cuda_error));
    return status;
}

static void call_destroy(gpu_call *call)
{
    d_destroy(&call->out);
    d_destroy(&call->lse);
    d_destroy(&call->query);
    d_destroy(&call->key);
    d_destroy(&call->value);
    d_destroy(&call->workspace);
    tree_plan_gpu_destroy(call->gpu_plan);
    tree_plan_destroy(call->plan);
    attention_case_free(&call->c);
}

static void odd_heads(gpu_call *call) { call->shape.num_heads = 7; }
static void no_blocks(gpu_call *call) { call->shape.num_blocks = 0; }
static void block_tokens_of_another(gpu_call *call) { call->shape.block_tokens = 32; }
static void queries_of_another(gpu_call *call) { call->shape.num_queries++; }
static void pool_too_small(gpu_call *call) { call->shape.num_blocks = call->plan->max_block; }
static void fp16_keys(gpu_call *call) { call->shape.storage = TREE_FP16; }
static void bf16_keys(gpu_call *call) { call->shape.storage = TREE_BF16; }
static void head_dim_32(gpu_call *call) { call->shape.head_dim = 32; }
static void head_dim_96(gpu_call *call) { call->shape.head_dim = 96; }
static void byte_missing(gpu_call *call) { call->workspace_bytes--; }
static void no_workspace(gpu_call *call) { call->d_workspace = NULL; }
static void workspace_misaligned(gpu_call *call) { call->d_workspace += 16; }
static void out_misaligned(gpu_call *call) { call->d_out += 4; }
static void lse_misaligned(gpu_call *call) { call->d_lse += 2; }
static void query_misaligned(gpu_call *call) { call->d_query += 8; }
static void key_misaligned(gpu_call *call) { call->d_key += 4; }
static void value_misaligned(gpu_call *call) { call->d_value += 2; }

typedef struct refusal {
    const char *name;
    tree_status status;
    void (*spoil)(gpu_call *call);
} refusal;

static const refusal refusals[] = {
    {"heads_no_multiple_of_kv_heads", TREE_BAD_SHAPE, odd_heads},
    {"pool_of_no_blocks", TREE_BAD_SHAPE, no_blocks},
    {"block_tokens_of_another_plan", TREE_BAD_SHAPE, block_tokens_of_another},
    {"queries_of_another_plan", TREE_BAD_SHAPE, queries_of_another},
    {"pool_smaller_than_plan", TREE_BAD_PLAN, pool_too_small},
    {"fp16_storage", TREE_UNSUPPORTED, fp16_keys},
    {"bf16_storage", TREE_UNSUPPORTED, bf16_keys},
    {"head_dim_32", TREE_UNSUPPORTED, head_dim_32},
    {"head_dim_96", TREE_UNSUPPORTED, head_dim_96},
    {"workspace_a_byte_too_small", TREE_WORKSPACE, byte_missing},
    {"workspace_null", TREE_WORKSPACE, no_workspace},
    {"workspace_misaligned", TREE_WORKSPACE, workspace_misaligned},
    {"out_misaligned", TREE_INVAL, out_misaligned},
    {"lse_misaligned", TREE_INVAL, lse_misaligned},
    {"query_misaligned", TREE_INVAL, query_misaligned},
    {"key_misaligned", TREE_INVAL, key_misaligned},
    {"value_misaligned", TREE_INVAL, value_misaligned},
};

/* A step that takes no other storage than fp32 refuses it; one that does is not asked here. */
static void run_refusal(const void *argument)
{
    const refusal *one = argument;
    need_gpu();
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
        const tree_gpu_step *step = &tree_gpu_steps[s];
        gpu_backend gpu = backend_of(step);
        gpu_call call;
        call_create(&call, &gpu);
        one->spoil(&call);
        if (call.shape.storage == TREE_FP32 || !(step->storages >> call.shape.storage & 1)) {
            tree_status status = call_run(&call, step, NULL);
            check(status == one->status, "%s: %s", step->name, tree_status_string(status));
        }
        cuda_ok(cudaDeviceSynchronize(), "after the refusal");
        check(!d_read(&call.out, NULL, "out") && !d_read(&call.lse, NULL, "lse"), "nothing is written on error");
        check(!d_read(&call.workspace, NULL, "workspace"), "nothing is written to the workspace on error");
        call_destroy(&call);
    }
}

/* lse NULL, another stream, the step left to the library: out has the same bits. */
static void run_options(const void *unused)
{
    (void)unused;
    need_gpu();
    gpu_backend gpu = backend_of(&tree_gpu_steps[tree_gpu_num_steps - 1]);
    gpu_call call;
    cudaStream_t stream;
    call_create(&call, &gpu);
    float *with = malloc(call.out.bytes), *without = malloc(call.out.bytes);
    check(with && without, "memory");
    check(call_run(&call, gpu.step, NULL) == TREE_OK, "a sound call");
    cuda_ok(cudaDeviceSynchronize(), "the kernels");
    check(d_read(&call.out, with, "out") && d_read(&call.lse, NULL, "lse"), "out and lse are written");

    cuda_ok(cudaMemset(call.out.data, ZONE, call.out.bytes), "cudaMemset");
    cuda_ok(cudaMemset(call.lse.data, ZONE, call.lse.bytes), "cudaMemset");
    cuda_ok(cudaStreamCreate(&stream), "a stream");
    call.d_lse = NULL;
    check(call_run(&call, NULL, stream) == TREE_OK, "a call without lse");
    cuda_ok(cudaStreamSynchronize(stream), "the kernels");
    check(d_read(&call.out, without, "out") && !d_read(&call.lse, NULL, "lse"), "out alone is written");
    check_same_bits(without, with, call.c.num_out, "out without lse");
    cuda_ok(cudaStreamDestroy(stream), "the stream's end");
    free(with);
    free(without);
    call_destroy(&call);
}

static void add_trees(void)
{
    static tree_and_strategy cases[MAX_TREES * TREE_NUM_STRATEGIES]; /* test_add keeps no copy */
    uint32_t num_cases = 0;
    for (uint32_t t = 0; t < num_tree_case_names && t < MAX_TREES; t++) {
        for (uint32_t s = 0; s < TREE_NUM_STRATEGIES; s++) {
            tree_and_strategy *one = &cases[num_cases++];
            *one = (tree_and_strategy){tree_case_names[t], (tree_strategy)s};
            test_add(run_tree, one, "%s_%s", tree_strategy_name[s], one->spec);
        }
    }
}

int main(int argc, char **argv)
{
    static const tree_strategy strategies[] = {TREE_FLASH, TREE_FLASH_DECODING, TREE_RADIX, TREE_TREE_MASK,
                                               TREE_NODE, TREE_NODE_CHUNK, TREE_FLATTEN, TREE_COST};
    test_begin(argc, argv, "on the GPU, every step gives each query the attention over its own path");
    add_trees();
    for (uint32_t s = 0; s < TREE_NUM_STRATEGIES; s++)
        test_add(run_needle, &strategies[s], "%s_needle_at_every_position", tree_strategy_name[s]);
    test_add(run_drafts, NULL, "draft_tree_of_more_than_64_rows");
    test_add(run_head_dim_256, NULL, "head_dim_256_group_of_7");
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        test_add(run_refusal, &refusals[i], "refuses_%s", refusals[i].name);
    test_add(run_options, NULL, "lse_null_other_stream_step_null");
    return test_end();
}
