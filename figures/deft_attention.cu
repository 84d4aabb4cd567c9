/* deft_attention: attention of one step, each strategy on DeFT's kinds of workloads.
 *
 * measure_deft_attention [CSV] */
#include "measure_gpu.h"

static const struct {
    const char *name, *nodes, *tokens;
} trees[] = {
    {"few-shot 20", "1,20", "4000,200"},           {"few-shot 30", "1,30", "4000,200"},
    {"few-shot 50", "1,50", "4000,200"},           {"speculative 32", "1,32", "1016,1"},
    {"speculative 64", "1,64", "1016,1"},          {"speculative 128", "1,128", "1016,1"},
    {"speculative 256", "1,256", "1016,1"},        {"thoughts 1,10,50", "1,10,50", "1100,1000,300"},
};

int main(int argc, char **argv)
{
    if (!bench_has_gpu())
        return 0;
    FILE *csv = bench_open(argc > 1 ? argv[1] : "figures/deft_attention.csv", "make measure (measure_deft_attention)");
    fprintf(csv, "# fp16, 32/8 heads, head_dim 128, block_tokens 8, last rung\n" BENCH_COLUMNS "\n");
    for (const auto &t : trees) {
        bench_case c = bench_create(t.nodes, t.tokens, 32, 8, 128, TREE_FP16);
        double floor_us = bench_floor(&c);
        for (uint32_t strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++)
            bench_line(csv, t.name, &c, floor_us, (tree_strategy)strategy, bench_step(NULL));
        bench_destroy(&c);
    }
    BENCH_MUST(!fclose(csv), "the csv could not be written");
}
