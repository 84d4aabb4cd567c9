/* prompt_length: 32 branches of 200 tokens behind prompts of 1024 to 20480 tokens, by strategy.
 *
 * measure_prompt_length [CSV] */
#include "measure_gpu.h"

static const uint32_t prompts[] = {1024, 2048, 5120, 10240, 20480};
static const tree_strategy strategies[] = {TREE_RADIX, TREE_NODE_CHUNK, TREE_FLATTEN, TREE_COST};

int main(int argc, char **argv)
{
    if (!bench_has_gpu())
        return 0;
    bench_count_all(&argc, argv);
    FILE *csv = bench_open(argc > 1 ? argv[1] : "figures/prompt_length.csv", "make measure (measure_prompt_length)");
    fprintf(csv, "# 32 branches of 200 tokens; fp16, 32/8 heads, head_dim 128, block_tokens 8, last rung\n"
                 BENCH_COLUMNS "\n");
    for (uint32_t prompt : prompts) {
        char name[20], tokens[20];
        snprintf(name, sizeof name, "%u", prompt);
        snprintf(tokens, sizeof tokens, "%u,200", prompt);
        bench_case c = bench_create("1,32", tokens, 32, 8, 128, TREE_FP16);
        double floor_us = bench_floor(&c);
        for (tree_strategy strategy : strategies)
            bench_line(csv, name, &c, floor_us, strategy, bench_step(NULL));
        bench_destroy(&c);
    }
    bench_close(csv);
}
