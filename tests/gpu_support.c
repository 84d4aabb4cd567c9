/* An attention case on the device, and the steps of the ladder as implementations under test. */
#include "gpu_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "half.h"
#include "test.h"

enum { ZONE_BYTES = 1024, ZONE = 0xff };

/* ---- the device ---- */

void need_gpu(void)
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

void cuda_ok(cudaError_t error, const char *what) { check(!error, "%s: %s", what, cudaGetErrorString(error)); }

void gpu_ok(tree_status status, const int *cuda_error, const char *what)
{
    check(status == TREE_OK && *cuda_error == 0, "%s: %s (CUDA: %s)", what, tree_status_string(status),
          tree_cuda_error_string(*cuda_error));
}

d_array d_create(size_t bytes)
{
    d_array array = {NULL, NULL, bytes};
    cuda_ok(cudaMalloc((void **)&array.storage, bytes + 2 * ZONE_BYTES), "cudaMalloc");
    array.data = array.storage + ZONE_BYTES;
    cuda_ok(cudaMemset(array.storage, ZONE, bytes + 2 * ZONE_BYTES), "cudaMemset");
    return array;
}

d_array d_copy_of(const void *h_data, size_t bytes)
{
    d_array array = d_create(bytes);
    d_write(&array, 0, h_data, bytes);
    return array;
}

void d_write(d_array *array, size_t offset, const void *h_data, size_t bytes)
{
    check(offset + bytes <= array->bytes, "%zu bytes at %zu of %zu", bytes, offset, array->bytes);
    cuda_ok(cudaMemcpy(array->data + offset, h_data, bytes, cudaMemcpyHostToDevice), "copy to the device");
}

void d_clear(d_array *array) { cuda_ok(cudaMemset(array->data, ZONE, array->bytes), "cudaMemset"); }

static bool all_untouched(const unsigned char *bytes, size_t count)
{
    return count == 0 || (bytes[0] == ZONE && memcmp(bytes, bytes + 1, count - 1) == 0);
}

bool d_read(const d_array *array, void *h_data, const char *what)
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

void d_destroy(d_array *array)
{
    cuda_ok(cudaFree(array->storage), "cudaFree");
    *array = (d_array){NULL, NULL, 0};
}

/* ---- storage types and steps ---- */

const char *const storage_name[3] = {"fp32", "fp16", "bf16"};

void stored_copy(void *stored, const float *array, uint64_t count, tree_storage storage)
{
    uint16_t *codes = stored;
    if (storage == TREE_FP32)
        memcpy(stored, array, count * sizeof *array);
    for (uint64_t i = 0; storage != TREE_FP32 && i < count; i++)
        codes[i] = storage == TREE_FP16 ? fp16_from_float(array[i]) : bf16_from_float(array[i]);
}

void *stored_create(const float *array, uint64_t count, tree_storage storage)
{
    void *stored = malloc(count * tree_storage_bytes(storage) + 1);
    check(stored, "%llu elements", (unsigned long long)count);
    stored_copy(stored, array, count, storage);
    return stored;
}

bool takes_storage(const tree_gpu_step *step, tree_storage storage) { return tree_gpu_step_takes(step, storage); }

bool runs_step(const tree_gpu_step *step, tree_storage storage)
{
#ifdef TREEATTN_EMULATE
    static const struct {
        const char *name;
        tree_storage left_out;
    } once[] = {{"step_6_queue", TREE_BF16},
                {"step_8_one_launch", TREE_FP16},
                {"step_7_merge_ahead", TREE_FP16},
                {"step_10_warpgroup", TREE_BF16},
                {"step_11_last_arriver", TREE_FP16},
                {"step_12_early_launch", TREE_BF16},
                {"step_13_few_rows", TREE_FP16}};
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++)
        if (storage == once[i].left_out && strcmp(step->name, once[i].name) == 0)
            return false;
#endif
    return takes_storage(step, storage);
}

const tree_gpu_step *last_step(tree_storage storage)
{
    const tree_gpu_step *last = NULL;
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++)
        last = takes_storage(&tree_gpu_steps[s], storage) ? &tree_gpu_steps[s] : last;
    return last;
}

const attention_backend *storage_backend(tree_storage storage)
{
    static const attention_backend backends[] = {
        {"gpu_fp32", TREE_FP32, {0, 0, 0, 0}, TREE_ISA_AUTO, 1, NULL},
        {"gpu_fp16", TREE_FP16, {0, 0, 0, 0}, TREE_ISA_AUTO, 1, NULL},
        {"gpu_bf16", TREE_BF16, {0, 0, 0, 0}, TREE_ISA_AUTO, 1, NULL},
    };
    return &backends[storage];
}

roundoffs gpu_roundoffs(const tree_gpu_step *step, tree_storage storage)
{
    bool tensor_cores = !takes_storage(step, TREE_FP32);
    roundoffs u = {0x1p-24, tensor_cores ? storage_roundoff(storage) : 0x1p-24, tensor_cores ? 0x1p-22 : 0x1p-24,
                   storage_roundoff(storage)};
    return u;
}

/* ---- a case on the device ---- */

void gpu_case_create(gpu_case *gpu, const attention_case *c)
{
    size_t element = tree_storage_bytes(c->shape.storage);
    memset(gpu, 0, sizeof *gpu);
    gpu->c = c;
    gpu->query = d_create(c->num_out * sizeof(float));
    gpu->key = d_create(c->num_kv * element);
    gpu->value = d_create(c->num_kv * element);
    gpu->out = d_create(c->num_out * sizeof(float));
    gpu->lse = d_create(c->num_lse * sizeof(float));
    gpu->h_out = malloc(gpu->out.bytes + 1);
    gpu->h_lse = malloc(gpu->lse.bytes + 1);
    check(gpu->h_out && gpu->h_lse, "memory");
    gpu_case_upload(gpu);
}

void gpu_case_upload(gpu_case *gpu)
{
    const attention_case *c = gpu->c;
    void *key = stored_create(c->key, c->num_kv, c->shape.storage);
    void *value = stored_create(c->value, c->num_kv, c->shape.storage);
    d_write(&gpu->query, 0, c->query, gpu->query.bytes);
    d_write(&gpu->key, 0, key, gpu->key.bytes);
    d_write(&gpu->value, 0, value, gpu->value.bytes);
    free(key);
    free(value);
}

void gpu_case_plan(gpu_case *gpu, const tree_plan *plan)
{
    int cuda_error = -1;
    size_t bytes = tree_attention_gpu_workspace_bytes(plan, &gpu->c->shape);
    tree_status status = gpu->plan ? tree_plan_gpu_update(gpu->plan, plan, NULL, &cuda_error)
                                   : tree_plan_gpu_create(&gpu->plan, plan, &gpu->c->shape, NULL, &cuda_error);
    gpu_ok(status, &cuda_error, "a plan on the device");
    check(bytes > 0, "a workspace");
    if (gpu->workspace.data) {
        d_read(&gpu->workspace, NULL, "workspace");
        d_destroy(&gpu->workspace);
    }
    gpu->workspace = d_create(bytes);
    gpu->workspace_bytes = bytes;
}

void gpu_case_enqueue(gpu_case *gpu, const tree_gpu_step *step, float *out, float *lse, cudaStream_t stream)
{
    int cuda_error = -1;
    tree_status status = tree_attention_gpu(out, lse, (const float *)gpu->query.data, gpu->key.data, gpu->value.data,
                                            gpu->plan, &gpu->c->shape, gpu->c->scale, gpu->workspace.data,
                                            gpu->workspace_bytes, stream, step, &cuda_error);
    gpu_ok(status, &cuda_error, step->name);
}

void gpu_case_run(gpu_case *gpu, const tree_gpu_step *step)
{
    d_clear(&gpu->out);
    d_clear(&gpu->lse);
    gpu_case_enqueue(gpu, step, (float *)gpu->out.data, (float *)gpu->lse.data, NULL);
    cuda_ok(cudaDeviceSynchronize(), step->name);
    d_read(&gpu->out, gpu->h_out, "out");
    d_read(&gpu->lse, gpu->h_lse, "lse");
}

void gpu_case_destroy(gpu_case *gpu)
{
    if (gpu->workspace.data) {
        d_read(&gpu->workspace, NULL, "workspace");
        d_destroy(&gpu->workspace);
    }
    d_destroy(&gpu->query);
    d_destroy(&gpu->key);
    d_destroy(&gpu->value);
    d_destroy(&gpu->out);
    d_destroy(&gpu->lse);
    tree_plan_gpu_destroy(gpu->plan);
    free(gpu->h_out);
    free(gpu->h_lse);
    memset(gpu, 0, sizeof *gpu);
}

/* ---- agreement ---- */

static double check_step(gpu_case *gpu, const tree_gpu_step *step, const attention_truth *truth, const char *strategy)
{
    char what[100];
    const attention_case *c = gpu->c;
    roundoffs u = gpu_roundoffs(step, c->shape.storage);
    float *first = malloc(gpu->out.bytes + 1), *first_lse = malloc(gpu->lse.bytes + 1);
    check(first && first_lse, "memory");
    snprintf(what, sizeof what, "%s %s %s", step->name, storage_name[c->shape.storage], strategy);
    d_clear(&gpu->workspace);
    gpu_case_run(gpu, step);
    memcpy(first, gpu->h_out, gpu->out.bytes);
    memcpy(first_lse, gpu->h_lse, gpu->lse.bytes);
    double worst = check_attention(first, first_lse, truth, &u, what);
    gpu_case_run(gpu, step);
    check_same_bits(gpu->h_out, first, c->num_out, what);
    check_same_bits(gpu->h_lse, first_lse, c->num_lse, what);
    free(first);
    free(first_lse);
    return worst;
}

static double check_plan(gpu_case *gpu, const attention_truth *truth, tree_strategy strategy, uint32_t piece_tokens)
{
    double worst = 0;
    uint32_t num_runs = 0;
    tree_plan *plan = attention_plan(gpu->c, strategy, piece_tokens, 0);
    gpu_case_plan(gpu, plan);
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
        if (!runs_step(&tree_gpu_steps[s], gpu->c->shape.storage))
            continue;
        worst = fmax(worst, check_step(gpu, &tree_gpu_steps[s], truth, tree_strategy_name[strategy]));
        num_runs++;
    }
    check(num_runs > 0, "some step takes %s", storage_name[gpu->c->shape.storage]);
    tree_plan_destroy(plan);
    return worst;
}

double gpu_check_plan(const attention_case *c, tree_strategy strategy, uint32_t piece_tokens)
{
    gpu_case gpu;
    attention_truth truth = attention_truth_create(c->query, c->key, c->value, &c->paths, &c->shape, c->scale);
    gpu_case_create(&gpu, c);
    double worst = check_plan(&gpu, &truth, strategy, piece_tokens);
    gpu_case_destroy(&gpu);
    attention_truth_destroy(&truth);
    return worst;
}

double gpu_check_case(const attention_case *c, uint32_t strategies)
{
    gpu_case gpu;
    double worst = 0;
    attention_truth truth = attention_truth_create(c->query, c->key, c->value, &c->paths, &c->shape, c->scale);
    gpu_case_create(&gpu, c);
    for (uint32_t strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        if (strategies >> strategy & 1)
            worst = fmax(worst, check_plan(&gpu, &truth, (tree_strategy)strategy, 0));
    }
    gpu_case_destroy(&gpu);
    attention_truth_destroy(&truth);
    return worst;
}

bool query_sees(const attention_case *c, uint32_t query, uint64_t slot)
{
    for (uint64_t i = c->paths.first[query]; i < c->paths.first[query + 1]; i++) {
        if (c->paths.slots[i] == slot)
            return true;
    }
    return false;
}
