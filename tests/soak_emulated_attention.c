/* As soak_attention, of every step of the GPU, emulated: soak_emulated_attention [RUNS [SEED]], 10,000 by default. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "gpu_support.h"
#include "test.h"

/* Elements of path tokens x heads x head_dim: of most cases, since fibers are slow, and of one in 16. */
enum { MAX_STEPS = 16, MAX_ELEMENTS = 6000, MORE_ELEMENTS = 60000 };

static tally total[3][MAX_STEPS];

/* A random case on the plan of a random strategy. */
static uint64_t run_random(tree_storage storage)
{
    static const uint32_t head_dims[] = {64, 128, 256};
    attention_case c;
    gpu_case gpu;
    uint64_t runs = 0;
    attention_case_build_random(&c, storage_backend(storage), head_dims, 3,
                                test_below(16) ? MAX_ELEMENTS : MORE_ELEMENTS);
    tree_plan *plan = attention_plan(&c, (tree_strategy)test_below(TREE_NUM_STRATEGIES),
                                     test_below(2) ? 0 : 1 + test_below(300), 0);
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    gpu_case_create(&gpu, &c);
    gpu_case_plan(&gpu, plan);
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
        roundoffs u = gpu_roundoffs(&tree_gpu_steps[s], storage);
        if (!takes_storage(&tree_gpu_steps[s], storage))
            continue;
        gpu_case_run(&gpu, &tree_gpu_steps[s]);
        tally_attention(&total[storage][s], gpu.h_out, gpu.h_lse, &truth, &u);
        runs++;
    }
    gpu_case_destroy(&gpu);
    attention_truth_destroy(&truth);
    tree_plan_destroy(plan);
    attention_case_free(&c);
    return runs;
}

static void soak(const void *argument)
{
    uint64_t runs = *(const uint64_t *)argument, num_bad = 0;
    for (uint64_t done = 0; done < runs;) {
        for (tree_storage storage = TREE_FP32; storage <= TREE_BF16; storage++)
            done += run_random(storage);
    }
    for (uint32_t i = 0; i < 3 * MAX_STEPS; i++)
        num_bad += total[i / MAX_STEPS][i % MAX_STEPS].num_bad;
    check(num_bad == 0, "%" PRIu64 " correct results are beyond a limit", num_bad);
}

int main(int argc, char **argv)
{
    uint64_t runs = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000;
    char *seeded[] = {argv[0], "--seed", argc > 2 ? argv[2] : "1", NULL};
    if (runs == 0 || argc > 3) {
        fprintf(stderr, "usage: soak_emulated_attention [RUNS [SEED]]\n");
        return 2;
    }
    test_begin(3, seeded, "no correct result is beyond a limit");
    test_add(soak, &runs, "soak");
    printf("step,storage,runs,beyond,out,lse,mean_out,mean_lse\n");
    for (uint32_t i = 0; i < 3 * MAX_STEPS; i++) {
        const tally *one = &total[i / MAX_STEPS][i % MAX_STEPS];
        if (one->num_runs)
            printf("%s,%s,%" PRIu64 ",%" PRIu64 ",%.2f,%.2f,%.2f,%.2f\n", tree_gpu_steps[i % MAX_STEPS].name,
                   storage_name[i / MAX_STEPS], one->num_runs, one->num_bad, one->out, one->lse, one->mean_out,
                   one->mean_lse);
    }
    return test_end();
}
