/* Random cases, the plan of each strategy, each implementation on the CPU: soak_attention [RUNS [SEED]], 10,000 by
 * default. Every correct result must pass all comparisons of oracle.h. Prints a csv line for each implementation:
 * runs, results beyond a limit, and the largest error / limit of each comparison. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "attention_model.h"
#include "test.h"

enum { MAX_BACKENDS = 32, MAX_ELEMENTS = 400000 };

static tally total[MAX_BACKENDS];

static void run_random(const attention_backend *backend, tally *of_backend)
{
    static const uint32_t head_dims[] = {8, 20, 64, 80, 128, 256};
    attention_case c;
    attention_case_build_random(&c, backend, head_dims, 6, MAX_ELEMENTS);
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(&c, strategy, test_below(2) ? 0 : 1 + test_below(300), 0);
        attention_result result = attention_run(&c, plan);
        tally_attention(of_backend, result.out.data, result.lse.data, &truth, &backend->u);
        attention_result_free(&result);
        tree_plan_destroy(plan);
    }
    attention_truth_destroy(&truth);
    attention_case_free(&c);
}

static void soak(const void *argument)
{
    uint64_t runs = *(const uint64_t *)argument, num_bad = 0;
    for (uint64_t done = 0; done < runs;) {
        const attention_backend *backend;
        for (uint32_t b = 0; (backend = attention_backend_at(b)) != NULL; b++, done += TREE_NUM_STRATEGIES)
            run_random(backend, &total[b]);
    }
    for (uint32_t b = 0; b < MAX_BACKENDS; b++)
        num_bad += total[b].num_bad;
    check(num_bad == 0, "%" PRIu64 " correct results are beyond a limit", num_bad);
}

int main(int argc, char **argv)
{
    uint64_t runs = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000;
    char *seeded[] = {argv[0], "--seed", argc > 2 ? argv[2] : "1", NULL};
    if (runs == 0 || argc > 3) {
        fprintf(stderr, "usage: soak_attention [RUNS [SEED]]\n");
        return 2;
    }
    test_begin(3, seeded, "no correct result is beyond a limit");
    test_add(soak, &runs, "soak");
    printf("backend,runs,beyond,out,lse,mean_out,mean_lse\n");
    for (uint32_t b = 0; attention_backend_at(b); b++)
        printf("%s,%" PRIu64 ",%" PRIu64 ",%.2f,%.2f,%.2f,%.2f\n", attention_backend_at(b)->name, total[b].num_runs,
               total[b].num_bad, total[b].out, total[b].lse, total[b].mean_out, total[b].mean_lse);
    return test_end();
}
