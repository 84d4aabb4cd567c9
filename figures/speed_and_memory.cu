/* speed_and_memory: 1 to 256 branches of 64 tokens behind a prefix of 2048, computed three ways: copied for each branch
 * and unfused (standard), shared blocks read per branch (radix), and one pass for all branches (cost).
 *
 * measure_speed_and_memory [CSV] */
#include "measure_gpu.h"

static const uint32_t branches[] = {1, 16, 64, 128, 256};

static double plan_us(const bench_case *c, tree_strategy strategy)
{
    bench_plan p = bench_plan_create(c, strategy);
    bench_error(c, &p, bench_step(NULL));
    double us = bench_time(c, [&](uint32_t set) { bench_attention(c, &p, bench_step(NULL), set); }, true);
    bench_plan_destroy(&p);
    return us;
}

int main(int argc, char **argv)
{
    if (!bench_has_gpu())
        return 0;
    FILE *csv = bench_open(argc > 1 ? argv[1] : "figures/speed_and_memory.csv",
                           "make measure (measure_speed_and_memory)");
    fprintf(csv, "# fp16, 32/8 heads, head_dim 128, block_tokens 8, last rung, cold; MiB of K and V of one layer\n"
                 "branches,standard_us,per_sequence_us,tree_us,floor_us,copied_mib,shared_mib\n");
    for (uint32_t b : branches) {
        char nodes[20];
        snprintf(nodes, sizeof nodes, "1,%u", b);
        bench_case c = bench_create(nodes, "2048,64", 32, 8, 128, TREE_FP16);
        double block_mib = BENCH_BLOCK_TOKENS * 8 * 128 * 4 / 1048576.0;
        fprintf(csv, "%u,%.2f,%.2f,%.2f,%.2f,%.2f,%.2f\n", b, bench_standard(&c), plan_us(&c, TREE_RADIX),
                plan_us(&c, TREE_COST), bench_floor(&c), b * (2048 + 64) / BENCH_BLOCK_TOKENS * block_mib,
                c.shape.num_blocks * block_mib);
        fflush(csv);
        bench_destroy(&c);
    }
    bench_close(csv);
}
