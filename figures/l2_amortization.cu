/* l2_amortization: per-branch reading (radix) and one pass for all branches (cost), 1 to 256 branches of 64 tokens
 * behind a prefix of 2048: bandwidth by each of the three byte counts, cold and warm.
 *
 * measure_l2_amortization [CSV] */
#include "measure_gpu.h"

static const uint32_t branches[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};
static const tree_strategy strategies[] = {TREE_RADIX, TREE_COST};

static bench_case create(uint32_t b)
{
    char nodes[20];
    snprintf(nodes, sizeof nodes, "1,%u", b);
    return bench_create(nodes, "2048,64", 32, 8, 128, TREE_FP16);
}

int main(int argc, char **argv)
{
    if (!bench_has_gpu())
        return 0;
    bench_count_all(&argc, argv);
    FILE *csv = bench_open(argc > 1 ? argv[1] : "figures/l2_amortization.csv",
                           "make measure (measure_l2_amortization)");
    fprintf(csv, "# fp16, 32/8 heads, head_dim 128, block_tokens 8, last rung; dram_bytes, l2_hit_percent: ncu, one "
                 "call, clocks as they are; -1: not counted\n"
                 "plan,branches,state,us,logical_bytes,plan_bytes,unique_bytes,dram_bytes,l2_hit_percent,floor_us\n");
    for (tree_strategy strategy : strategies) {
        for (uint32_t b : branches) {
            bench_case c = create(b);
            bench_plan p = bench_plan_create(&c, strategy);
            bench_error(&c, &p, bench_step(NULL));
            auto call = [&](uint32_t set) { bench_attention(&c, &p, bench_step(NULL), set); };
            for (int warm = 0; warm < 2; warm++) {
                double us = bench_time(&c, call, !warm);
                bench_counters counters = bench_count(&c, call, !warm);
                fprintf(csv, "%s,%u,%s,%.2f,%llu,%llu,%llu,%.0f,%.1f,%.2f\n", tree_strategy_name[strategy], b,
                        warm ? "warm" : "cold", us, (unsigned long long)p.traffic.logical_bytes,
                        (unsigned long long)p.traffic.plan_bytes, (unsigned long long)p.traffic.unique_bytes,
                        counters.dram_bytes, counters.l2_hit_percent, bench_floor(&c));
                fflush(csv);
            }
            bench_plan_destroy(&p);
            bench_destroy(&c);
        }
    }
    bench_close(csv);
}
