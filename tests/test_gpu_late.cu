/* Claim: on a GPU, attention that begins before the previous launch has ended does not read what that launch still
 * writes: new tokens that the caller has named, or everything, where nothing is named. The launch that writes may be
 * the one before, or the one before that. */
#include <string.h>

#include <cuda_runtime.h>

extern "C" {
#include "gpu_internal.h"
#include "gpu_support.h"
#include "plan_steps.h"
#include "test.h"
}

enum { SPIN_US = 100, THREADS = 256 };

/* The next launch may begin at once; the copy comes much later. */
static __global__ void write_late(uint4 *to, const uint4 *from, size_t count)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
    uint64_t begin, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(begin));
    do
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    while (now - begin < SPIN_US * 1000);
    for (size_t i = threadIdx.x; i < count; i += THREADS)
        to[i] = from[i];
}

/* Lets the next launch begin, and ends after the one before. */
static __global__ void pass_on()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

static void launch_pass(cudaStream_t stream)
{
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = 1;
    config.blockDim = 32;
    config.stream = stream;
    config.attrs = &early;
    config.numAttrs = 1;
    cuda_ok(cudaLaunchKernelEx(&config, pass_on), "a launch in between");
}

static const struct late_case {
    const char *name, *tree;
    attention_size size;
    uint32_t num_new; /* newest slots that are named; 0: nothing is */
    uint32_t num_between;
} late_cases[] = {
    {"one_new_token", "1/2000", {8, 4, 128}, 1, 0},
    {"one_new_token_two_ahead", "1/2000", {8, 4, 128}, 1, 1},
    {"new_tokens", "1,3/900,40", {2, 5, 64}, 3, 0},
    {"new_tokens_two_ahead", "1,3/900,40", {2, 5, 64}, 3, 1},
    {"nothing_named", "1/1000", {8, 4, 128}, 0, 0},
    {"nothing_named_two_ahead", "1/1000", {8, 4, 128}, 0, 1},
};

static void run_late(const void *argument)
{
    const late_case *late = (const late_case *)argument;
    attention_case c;
    gpu_case gpu;
    uint64_t new_slots[3];
    cudaStream_t stream;
    need_gpu();
    const tree_gpu_step *step = last_step(TREE_FP16);
    if (!step->needs_warpgroups)
        test_skip("a GPU without early launches");
    attention_case_build(&c, storage_backend(TREE_FP16), late->tree, 16, late->size);
    tree_plan *plan = attention_plan(&c, TREE_COST, 0, 0);
    gpu_case_create(&gpu, &c);
    gpu_case_plan(&gpu, plan);
    float *expected = (float *)malloc(gpu.out.bytes);
    check(expected, "memory");

    /* K and V once more, and with other numbers in what is new */
    const tree_shape *shape = &c.shape;
    const size_t block_bytes = (size_t)shape->num_kv_heads * 16 * shape->head_dim * 2;
    d_array kv = d_create(gpu.key.bytes);
    cuda_ok(cudaMemcpy(kv.data, gpu.key.data, gpu.key.bytes, cudaMemcpyDeviceToDevice), "keys");
    for (uint32_t q = 0; q < late->num_new; q++)
        new_slots[q] = newest_slot(c.tree, q);
    d_array slots = d_copy_of(new_slots, sizeof new_slots);
    check(tree_plan_gpu_new_slots(gpu.plan, late->num_new ? (uint64_t *)slots.data : NULL, late->num_new) == TREE_OK,
          "new slots");
    check(gpu.plan->is_few, "a plan of few rows");
    gpu_case_run(&gpu, step);
    memcpy(expected, gpu.h_out, gpu.out.bytes);
    cuda_ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    for (int i = 0; i < 20; i++) {
        if (late->num_new == 0)
            cuda_ok(cudaMemset(gpu.key.data, 0x3f, gpu.key.bytes), "keys");
        for (uint32_t q = 0; q < late->num_new; q++)
            cuda_ok(cudaMemset(gpu.key.data + new_slots[q] / 16 * block_bytes, 0x3f, block_bytes), "a block");
        d_clear(&gpu.out);
        cuda_ok(cudaDeviceSynchronize(), "the device");
        write_late<<<1, THREADS, 0, stream>>>((uint4 *)gpu.key.data, (const uint4 *)kv.data, gpu.key.bytes / 16);
        for (uint32_t n = 0; n < late->num_between; n++)
            launch_pass(stream);
        gpu_case_enqueue(&gpu, step, (float *)gpu.out.data, (float *)gpu.lse.data, stream);
        cuda_ok(cudaDeviceSynchronize(), "attention");
        d_read(&gpu.out, gpu.h_out, "out");
        check_same_bits(gpu.h_out, expected, c.num_out, "behind a launch that writes late");
    }
    cuda_ok(cudaStreamDestroy(stream), "a stream");
    d_destroy(&slots);
    d_destroy(&kv);
    free(expected);
    gpu_case_destroy(&gpu);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "attention behind a launch that writes late");
    for (const late_case &late : late_cases)
        test_add(run_late, &late, "%s", late.name);
    return test_end();
}
