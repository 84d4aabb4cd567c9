/* Claim: on the GPU, a call that cannot succeed is refused with the status that names the reason, before anything is
 * written: a machine without a GPU, shapes and plans that do not fit, misaligned arrays, a workspace too small, and
 * whatever CUDA answers. */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gpu_internal.h"
#include "gpu_support.h"
#include "kv_gpu.h"
#include "standard_attention_gpu.h"
#include "test.h"

/* The arguments of tree_attention_gpu. */
typedef struct call {
    float *out, *lse;
    const float *query;
    const char *key, *value;
    const tree_plan_gpu *plan;
    tree_shape shape;
    char *workspace;
    size_t workspace_bytes;
} call;

typedef struct refusal {
    const char *name;
    tree_status status;
    void (*spoil)(call *c);
} refusal;

static void no_heads(call *c) { c->shape.num_heads = 0; }
static void no_kv_heads(call *c) { c->shape.num_kv_heads = 0; }
static void no_head_dim(call *c) { c->shape.head_dim = 0; }
static void no_blocks(call *c) { c->shape.num_blocks = 0; }
static void heads_do_not_divide(call *c) { c->shape.num_kv_heads = 4; }
static void block_of_24(call *c) { c->shape.block_tokens = 24; }
static void unknown_storage(call *c) { c->shape.storage = (tree_storage)17; }
static void too_many_elements(call *c) { c->shape.num_blocks = UINT32_MAX, c->shape.head_dim = 1 << 24; }
static void one_query_more(call *c) { c->shape.num_queries++; }
static void one_query_less(call *c) { c->shape.num_queries--; }
static void other_num_heads(call *c) { c->shape.num_heads *= 2; }
static void other_num_kv_heads(call *c) { c->shape.num_kv_heads = 1; }
static void other_head_dim(call *c) { c->shape.head_dim = 128; }
static void other_block_tokens(call *c) { c->shape.block_tokens = 32; }
static void other_storage(call *c) { c->shape.storage = TREE_BF16; }
static void pool_too_small(call *c) { c->shape.num_blocks = 1; }
static void out_misaligned(call *c) { c->out++; }
static void lse_misaligned(call *c) { c->lse = (float *)((char *)c->lse + 2); }
static void query_misaligned(call *c) { c->query += 2; }
static void key_misaligned(call *c) { c->key += 8; }
static void value_misaligned(call *c) { c->value += 2; }
static void no_workspace(call *c) { c->workspace = NULL; }
static void workspace_misaligned(call *c) { c->workspace += 128; }
static void workspace_of_0(call *c) { c->workspace_bytes = 0; }
static void workspace_too_small(call *c) { c->workspace_bytes--; }

static const refusal refusals[] = {
    {"num_heads_0", TREE_BAD_SHAPE, no_heads},
    {"num_kv_heads_0", TREE_BAD_SHAPE, no_kv_heads},
    {"head_dim_0", TREE_BAD_SHAPE, no_head_dim},
    {"num_blocks_0", TREE_BAD_SHAPE, no_blocks},
    {"heads_not_a_multiple_of_kv_heads", TREE_BAD_SHAPE, heads_do_not_divide},
    {"block_tokens_24", TREE_BAD_SHAPE, block_of_24},
    {"unknown_storage", TREE_BAD_SHAPE, unknown_storage},
    {"beyond_2_48_elements", TREE_BAD_SHAPE, too_many_elements},
    {"plan_of_one_query_less", TREE_BAD_SHAPE, one_query_more},
    {"plan_of_one_query_more", TREE_BAD_SHAPE, one_query_less},
    {"plan_made_for_other_num_heads", TREE_BAD_SHAPE, other_num_heads},
    {"plan_made_for_other_num_kv_heads", TREE_BAD_SHAPE, other_num_kv_heads},
    {"plan_made_for_other_head_dim", TREE_BAD_SHAPE, other_head_dim},
    {"plan_made_for_other_block_tokens", TREE_BAD_SHAPE, other_block_tokens},
    {"plan_made_for_other_storage", TREE_BAD_SHAPE, other_storage},
    {"plan_names_block_behind_pool", TREE_BAD_PLAN, pool_too_small},
    {"out_misaligned", TREE_INVAL, out_misaligned},
    {"lse_misaligned", TREE_INVAL, lse_misaligned},
    {"query_misaligned", TREE_INVAL, query_misaligned},
    {"key_misaligned", TREE_INVAL, key_misaligned},
    {"value_misaligned", TREE_INVAL, value_misaligned},
    {"workspace_null", TREE_WORKSPACE, no_workspace},
    {"workspace_misaligned", TREE_WORKSPACE, workspace_misaligned},
    {"workspace_of_0_bytes", TREE_WORKSPACE, workspace_of_0},
    {"workspace_of_one_byte_less", TREE_WORKSPACE, workspace_too_small},
};

typedef struct setting {
    attention_case c;
    gpu_case gpu;
    tree_plan *plan;
} setting;

static void set_up(setting *s, tree_storage storage)
{
    need_gpu();
    attention_case_build(&s->c, storage_backend(storage), "comb:4", 16, (attention_size){2, 3, 64});
    s->plan = attention_plan(&s->c, TREE_FLATTEN, 0, 0);
    gpu_case_create(&s->gpu, &s->c);
    gpu_case_plan(&s->gpu, s->plan);
}

static void tear_down(setting *s)
{
    gpu_case_destroy(&s->gpu);
    tree_plan_destroy(s->plan);
    attention_case_free(&s->c);
}

static call call_of(const setting *s)
{
    return (call){(float *)s->gpu.out.data, (float *)s->gpu.lse.data, (const float *)s->gpu.query.data,
                  s->gpu.key.data, s->gpu.value.data, s->gpu.plan, s->c.shape, s->gpu.workspace.data,
                  s->gpu.workspace_bytes};
}

static tree_status make(const call *c, const tree_gpu_step *step, int *cuda_error)
{
    return tree_attention_gpu(c->out, c->lse, c->query, c->key, c->value, c->plan, &c->shape, 1, c->workspace,
                              c->workspace_bytes, NULL, step, cuda_error);
}

static void check_untouched(const setting *s, const char *what)
{
    cuda_ok(cudaDeviceSynchronize(), what);
    check(!d_read(&s->gpu.out, NULL, "out") && !d_read(&s->gpu.lse, NULL, "lse"), "%s: nothing is written on error",
          what);
}

/* CUDA was not asked: *cuda_error is 0. */
static void check_refused(const setting *s, const call *c, const tree_gpu_step *step, tree_status wanted)
{
    const char *name = step ? step->name : "step NULL";
    int cuda_error = -1;
    tree_status status = make(c, step, &cuda_error);
    check(status == wanted, "%s: %s", name, tree_status_string(status));
    check(cuda_error == 0, "%s: CUDA: %s", name, tree_cuda_error_string(cuda_error));
    check(make(c, step, NULL) == wanted, "%s: the same without cuda_error", name);
    check_untouched(s, name);
}

static void run_refusal(const void *argument)
{
    const refusal *one = argument;
    setting s;
    set_up(&s, TREE_FP16);
    call c = call_of(&s);
    one->spoil(&c);
    check_refused(&s, &c, NULL, one->status);
    for (uint32_t i = 0; i < tree_gpu_num_steps; i++)
        check_refused(&s, &c, &tree_gpu_steps[i], one->status);
    tear_down(&s);
}

static void run_storage(const void *unused)
{
    (void)unused;
    uint32_t num_refused = 0;
    setting s;
    set_up(&s, TREE_FP32);
    call c = call_of(&s);
    for (uint32_t i = 0; i < tree_gpu_num_steps; i++) {
        if (takes_storage(&tree_gpu_steps[i], TREE_FP32))
            continue;
        check_refused(&s, &c, &tree_gpu_steps[i], TREE_UNSUPPORTED);
        num_refused++;
    }
    check(num_refused > 0, "some step takes no fp32");
    tear_down(&s);
}

/* 40000 partial states of 65534 heads. */
static void run_too_many_warps(const void *unused)
{
    (void)unused;
    enum { NUM_PARTIALS = 40000 };
    setting s;
    set_up(&s, TREE_FP16);
    tree_plan forged = *s.plan;
    tree_plan_gpu *plan = NULL;
    int cuda_error = -1;
    call c = call_of(&s);
    c.shape.num_heads = 65534;
    forged.num_partials = NUM_PARTIALS;
    forged.merge_partials = calloc(NUM_PARTIALS, sizeof *forged.merge_partials);
    check(forged.merge_partials, "memory");
    memcpy(forged.merge_partials, s.plan->merge_partials, s.plan->num_partials * sizeof *forged.merge_partials);
    gpu_ok(tree_plan_gpu_create(&plan, &forged, &c.shape, NULL, &cuda_error), &cuda_error, "a plan");
    c.plan = plan;
    check_refused(&s, &c, NULL, TREE_OVERFLOW);
    tree_plan_gpu_destroy(plan);
    free(forged.merge_partials);
    tear_down(&s);
}

/* ---- plans on the device ---- */

typedef struct plan_refusal {
    const char *name;
    tree_status status;
    void (*spoil)(tree_shape *shape, tree_plan *plan);
} plan_refusal;

static void head_dim_80(tree_shape *s, tree_plan *p) { (void)p, s->head_dim = 80; }
static void head_dim_32(tree_shape *s, tree_plan *p) { (void)p, s->head_dim = 32; }
static void head_dim_512(tree_shape *s, tree_plan *p) { (void)p, s->head_dim = 512; }
static void three_kv_heads_of_eight(tree_shape *s, tree_plan *p) { (void)p, s->num_heads = 8, s->num_kv_heads = 3; }
static void plan_of_blocks_of_32(tree_shape *s, tree_plan *p) { (void)s, p->block_tokens = 32; }
static void plan_of_another_query(tree_shape *s, tree_plan *p) { (void)p, s->num_queries++; }
static void block_behind_the_pool(tree_shape *s, tree_plan *p) { p->max_block = s->num_blocks; }
static void heads_131072(tree_shape *s, tree_plan *p) { (void)p, s->num_heads = s->num_kv_heads = 1u << 17; }
static void rows_of_k_2_33(tree_shape *s, tree_plan *p) { (void)p, s->num_blocks = 1u << 28; }

static const plan_refusal plan_refusals[] = {
    {"head_dim_80", TREE_UNSUPPORTED, head_dim_80},
    {"head_dim_32", TREE_UNSUPPORTED, head_dim_32},
    {"head_dim_512", TREE_UNSUPPORTED, head_dim_512},
    {"heads_not_a_multiple_of_kv_heads", TREE_BAD_SHAPE, three_kv_heads_of_eight},
    {"other_block_tokens", TREE_BAD_SHAPE, plan_of_blocks_of_32},
    {"other_num_queries", TREE_BAD_SHAPE, plan_of_another_query},
    {"block_behind_the_pool", TREE_BAD_PLAN, block_behind_the_pool},
    {"heads_131072", TREE_OVERFLOW, heads_131072},
    {"rows_of_k_2_33", TREE_OVERFLOW, rows_of_k_2_33},
};

static void run_plan_refusal(const void *argument)
{
    const plan_refusal *one = argument;
    setting s;
    set_up(&s, TREE_FP16);
    tree_plan spoiled = *s.plan;
    tree_shape shape = s.c.shape;
    tree_plan_gpu *untouched = (tree_plan_gpu *)&s, *plan = untouched;
    int cuda_error = -1;
    one->spoil(&shape, &spoiled);
    tree_status status = tree_plan_gpu_create(&plan, &spoiled, &shape, NULL, &cuda_error);
    check(status == one->status && cuda_error == 0, "%s (CUDA: %s)", tree_status_string(status),
          tree_cuda_error_string(cuda_error));
    check(plan == untouched, "*gpu_plan is untouched");
    check(tree_plan_gpu_create(&plan, &spoiled, &shape, NULL, NULL) == one->status, "the same without cuda_error");
    tear_down(&s);
}

/* A refused update leaves the plan that there was. */
static void run_update_refused(const void *unused)
{
    (void)unused;
    setting s;
    set_up(&s, TREE_FP16);
    tree_plan spoiled = *s.plan;
    int cuda_error = -1;
    float *before = malloc(s.gpu.out.bytes);
    check(before, "memory");
    gpu_case_run(&s.gpu, &tree_gpu_steps[0]);
    memcpy(before, s.gpu.h_out, s.gpu.out.bytes);
    spoiled.block_tokens = 32;
    check(tree_plan_gpu_update(s.gpu.plan, &spoiled, NULL, &cuda_error) == TREE_BAD_SHAPE && cuda_error == 0,
          "a plan of other blocks");
    spoiled = *s.plan;
    spoiled.max_block = UINT32_MAX;
    check(tree_plan_gpu_update(s.gpu.plan, &spoiled, NULL, &cuda_error) == TREE_BAD_PLAN && cuda_error == 0,
          "a plan of other pools");
    gpu_case_run(&s.gpu, &tree_gpu_steps[0]);
    check_same_bits(s.gpu.h_out, before, s.c.num_out, "after refused updates");
    free(before);
    tear_down(&s);
}

static void run_workspace_bytes(const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, storage_backend(TREE_FP16), "comb:4", 16, (attention_size){2, 3, 64});
    tree_plan *plan = attention_plan(&c, TREE_FLATTEN, 0, 0);
    tree_shape shape = c.shape;
    size_t bytes = tree_attention_gpu_workspace_bytes(plan, &shape);
    const size_t state = shape.head_dim * tree_storage_bytes(shape.storage) + 2 * sizeof(float);
    check(bytes >= plan->num_partials * 6 * state, "%zu bytes", bytes);
    shape.num_queries++;
    check(tree_attention_gpu_workspace_bytes(plan, &shape) == 0, "a plan of other queries needs none");
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

/* ---- what CUDA answers ---- */

#define LAUNCHER(name, error) \
    static cudaError_t name(const struct attention_arguments *a, cudaStream_t stream) \
    { \
        return (void)a, (void)stream, error; \
    }
LAUNCHER(no_memory, cudaErrorMemoryAllocation)
LAUNCHER(no_device, cudaErrorNoDevice)
LAUNCHER(old_driver, cudaErrorInsufficientDriver)
LAUNCHER(new_ptx, cudaErrorUnsupportedPtxVersion)
LAUNCHER(no_image, cudaErrorNoKernelImageForDevice)
LAUNCHER(no_function, cudaErrorInvalidDeviceFunction)
LAUNCHER(bad_launch, cudaErrorInvalidConfiguration)
LAUNCHER(failed_launch, cudaErrorLaunchFailure)

static const struct answer {
    cudaError_t error;
    tree_status status;
    step_launch *launch;
} answers[] = {
    {cudaErrorMemoryAllocation, TREE_NOMEM, no_memory},
    {cudaErrorNoDevice, TREE_NO_DEVICE, no_device},
    {cudaErrorInsufficientDriver, TREE_OLD_DRIVER, old_driver}, /* here is a driver, so that it must be too old */
    {cudaErrorUnsupportedPtxVersion, TREE_OLD_DRIVER, new_ptx},
    {cudaErrorNoKernelImageForDevice, TREE_NO_KERNEL_IMAGE, no_image},
    {cudaErrorInvalidDeviceFunction, TREE_NO_KERNEL_IMAGE, no_function},
    {cudaErrorInvalidConfiguration, TREE_CUDA_ERROR, bad_launch},
    {cudaErrorLaunchFailure, TREE_CUDA_ERROR, failed_launch},
};

static void run_answers(const void *unused)
{
    (void)unused;
    setting s;
    set_up(&s, TREE_FP16);
    call c = call_of(&s);
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        const tree_gpu_kernels kernels = {answers[i].launch};
        const tree_gpu_step step = {"a step that CUDA refuses", "", 1 << TREE_FP16, false, &kernels};
        int cuda_error = -1;
        tree_status status = make(&c, &step, &cuda_error);
        check(status == answers[i].status && cuda_error == (int)answers[i].error, "%s: %s",
              cudaGetErrorString(answers[i].error), tree_status_string(status));
        check(!strcmp(tree_cuda_error_string(cuda_error), cudaGetErrorString(answers[i].error)), "CUDA's sentence");
        check(make(&c, &step, NULL) == answers[i].status, "the same without cuda_error");
    }
    check_untouched(&s, "CUDA's answers");
    tear_down(&s);
}

/* ---- a machine without a GPU: every GPU is hidden from a process that has not asked CUDA yet ---- */

static const char *const complaints[] = {
    "a status that names it", "tree_gpu_device_check finds a GPU", "cuda_error says what CUDA said",
    "a plan on the device", "*gpu_plan is untouched", "paths on the device", "*paths is untouched", "an append",
    "copies",
};

static int complain_without_device(void)
{
    static uint32_t blocks[1] = {0};
    const kv_table table = {blocks, 1, 1, 0};
    const kv_copy copy = {0, 1, 1};
    const tree_shape shape = {1, 1, 1, 64, 2, 16, TREE_FP16};
    const tree_plan_config config = {.strategy = TREE_FLASH};
    kv_tree *tree = NULL;
    tree_plan *plan = NULL;
    tree_plan_gpu *gpu_plan = NULL;
    standard_paths_gpu *paths = NULL;
    int cuda_error = 0, other_error = 0;
    tree_status status = tree_gpu_device_check(&cuda_error);
    if (status != TREE_NO_DEVICE)
        return status == TREE_OK ? 1 : 0;
    if (kv_tree_build(&tree, &table, 1, 16, 2) != KV_OK || tree_plan_build(&plan, tree, &config) != TREE_OK)
        return 0;
    if (cuda_error == 0)
        return 2;
    if (tree_plan_gpu_create(&gpu_plan, plan, &shape, NULL, &other_error) != status || other_error != cuda_error)
        return 3;
    if (gpu_plan)
        return 4;
    if (standard_paths_gpu_create(&paths, tree, &other_error) != status || other_error != cuda_error)
        return 5;
    if (paths)
        return 6;
    if (kv_append_gpu(NULL, NULL, NULL, NULL, NULL, 1, &shape, NULL, NULL) != status)
        return 7;
    if (kv_copy_gpu(NULL, NULL, &copy, 1, &shape, NULL, NULL) != status)
        return 8;
    tree_plan_destroy(plan);
    kv_tree_destroy(tree);
    return -1;
}

static void run_no_device(const void *unused)
{
    (void)unused;
    int status = 0;
    pid_t child = fork();
    check(child >= 0, "fork");
    if (child == 0) {
        setenv("CUDA_VISIBLE_DEVICES", "-1", 1);
        _exit(complain_without_device() + 1);
    }
    check(waitpid(child, &status, 0) == child && WIFEXITED(status), "the child ends");
    check(WEXITSTATUS(status) == 0, "%s", complaints[WEXITSTATUS(status) - 1]);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "on the GPU, a call that cannot succeed is refused before anything is written");
    test_add(run_no_device, NULL, "no_device");
    test_add(run_workspace_bytes, NULL, "workspace_bytes");
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        test_add(run_refusal, &refusals[i], "%s", refusals[i].name);
    test_add(run_storage, NULL, "storage_that_the_step_does_not_take");
    test_add(run_too_many_warps, NULL, "too_many_warps");
    for (size_t i = 0; i < sizeof plan_refusals / sizeof plan_refusals[0]; i++)
        test_add(run_plan_refusal, &plan_refusals[i], "plan_%s", plan_refusals[i].name);
    test_add(run_update_refused, NULL, "update_refused");
    test_add(run_answers, NULL, "what_cuda_answers");
    return test_end();
}
