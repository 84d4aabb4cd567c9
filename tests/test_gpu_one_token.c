/* Claim: on the GPU, at every step, the comparison that all tests use notices one token of 4096 that was lost, counted
 * twice, exchanged, or given another's value, on random data, in each of 40 trials; and accepts the step's own
 * result. */
#include "gpu_support.h"
#include "mistake_model.h"
#include "test.h"

#ifdef TREEATTN_EMULATE
enum { EVERY_STEP = 0 }; /* fibers are slow: of the steps that take fp32 too, the first one with it */
#else
enum { EVERY_STEP = 1 };
#endif

static void run_mistakes(const void *argument)
{
    tree_storage storage = *(const tree_storage *)argument;
    attention_case c;
    gpu_case gpu;
    need_gpu();
    attention_case_build(&c, storage_backend(storage), "1,2/4088,8", 16, (attention_size){1, 8, 128});
    tree_plan *plan = attention_plan(&c, TREE_NODE, 512, 0);
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    gpu_case_create(&gpu, &c);
    gpu_case_plan(&gpu, plan);
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
        roundoffs u = gpu_roundoffs(&tree_gpu_steps[s], storage);
        bool takes_fp32 = tree_gpu_steps[s].storages >> TREE_FP32 & 1;
        if (!runs_step(&tree_gpu_steps[s], storage) || (!EVERY_STEP && takes_fp32 && (s || storage != TREE_FP32)))
            continue;
        gpu_case_run(&gpu, &tree_gpu_steps[s]);
        mistake_check_all(&c, &truth, gpu.h_out, gpu.h_lse, &u, tree_gpu_steps[s].name);
    }
    gpu_case_destroy(&gpu);
    attention_truth_destroy(&truth);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    static const tree_storage storages[] = {TREE_FP32, TREE_FP16, TREE_BF16};
    test_begin(argc, argv, "on the GPU, one wrong token of 4096 is noticed on random data");
    for (int s = 0; s < 3; s++)
        test_add(run_mistakes, &storages[s], "wrong_token_is_noticed_in_40_of_40_trials_%s", storage_name[s]);
    return test_end();
}
