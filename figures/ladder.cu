/* ladder: every rung on four trees with plan cost, on the first one with every plan.
 *
 * measure_ladder [CSV] */
#include "measure_gpu.h"

static const struct {
    const char *name, *nodes, *tokens;
} trees[] = {
    {"64 branches of 64 behind 2048", "1,64", "2048,64"},
    {"10 branches of 400 behind 4000", "1,10", "4000,400"},
    {"512 leaves on four levels", "1,4,16,512", "1024,256,128,32"},
    {"1 branch of 64 behind 2048", "1,1", "2048,64"},
};

int main(int argc, char **argv)
{
    if (!bench_has_gpu())
        return 0;
    bench_count_all(&argc, argv);
    FILE *csv = bench_open(argc > 1 ? argv[1] : "figures/ladder.csv", "make measure (measure_ladder)");
    fprintf(csv, "# fp16, 32/8 heads, head_dim 128, block_tokens 8\n" BENCH_COLUMNS "\n");
    for (const auto &t : trees) {
        bench_case c = bench_create(t.nodes, t.tokens, 32, 8, 128, TREE_FP16);
        double floor_us = bench_floor(&c);
        for (uint32_t strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
            for (uint32_t s = 0; s < tree_gpu_num_steps && (strategy == TREE_COST || &t == trees); s++) {
                if (tree_gpu_step_takes(&tree_gpu_steps[s], TREE_FP16))
                    bench_line(csv, t.name, &c, floor_us, (tree_strategy)strategy, &tree_gpu_steps[s]);
            }
        }
        bench_destroy(&c);
    }
    bench_close(csv);
}
