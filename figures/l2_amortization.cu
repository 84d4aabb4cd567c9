/* l2_amortization: a pass a branch over shared blocks (radix) and one pass for all (cost), 1 to 256 branches of 64
 * tokens behind 2048: bandwidth by each of the three byte counts. dram_bytes and the hit rate of L2 come from hardware
 * counters: the program runs itself under ncu, if there is one.
 *
 * measure_l2_amortization [CSV]
 * measure_l2_amortization --once BRANCHES PLAN SET     one call, for ncu */
#include <stdlib.h>
#include <string.h>

#include <cuda_profiler_api.h>

#include "measure_gpu.h"

static const uint32_t branches[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};
static const tree_strategy strategies[] = {TREE_RADIX, TREE_COST};

static bench_case create(uint32_t b)
{
    char nodes[20];
    snprintf(nodes, sizeof nodes, "1,%u", b);
    return bench_create(nodes, "2048,64", 32, 8, 128, TREE_FP16);
}

/* Cold: another set was read before. Warm: the same. */
static int run_once(uint32_t b, const char *name, bool is_warm)
{
    tree_strategy strategy;
    BENCH_MUST(tree_strategy_from_name(name, &strategy), name);
    bench_case c = create(b);
    bench_plan p = bench_plan_create(&c, strategy);
    for (uint32_t s = 1; s < c.num_sets; s++)
        bench_attention(&c, &p, bench_step(NULL), s);
    if (is_warm)
        bench_attention(&c, &p, bench_step(NULL), 0);
    BENCH_CUDA(cudaStreamSynchronize(c.stream));
    BENCH_CUDA(cudaProfilerStart());
    bench_attention(&c, &p, bench_step(NULL), 0);
    BENCH_CUDA(cudaStreamSynchronize(c.stream));
    BENCH_CUDA(cudaProfilerStop());
    return 0;
}

/* Bytes that memory delivered, and the L2 hit rate in percent; -1 where there is no ncu. */
static void count(const char *self, uint32_t b, tree_strategy strategy, bool is_warm, double counters[2])
{
    char command[1000], line[2000];
    counters[0] = counters[1] = -1;
    snprintf(command, sizeof command,
             "ncu --csv --print-units base --replay-mode application --cache-control none --clock-control none "
             "--profile-from-start off --metrics "
             "dram__bytes_read.sum,lts__t_sector_hit_rate.pct %s --once %u %s %s 2>/dev/null",
             self, b, tree_strategy_name[strategy], is_warm ? "warm" : "cold");
    FILE *pipe = popen(command, "r");
    while (pipe && fgets(line, sizeof line, pipe)) {
        const char *metrics[2] = {"dram__bytes_read.sum", "lts__t_sector_hit_rate.pct"};
        for (int i = 0; i < 2; i++) {
            char *last = strrchr(line, ','), digits[40];
            if (!strstr(line, metrics[i]) || !(last = strstr(strstr(line, metrics[i]), "\",\"")))
                continue;
            /* ...,"metric","unit","1,234" */
            last = strstr(last + 3, "\",\"");
            size_t n = 0;
            for (last = last ? last + 3 : last; last && *last && *last != '"' && n + 1 < sizeof digits; last++) {
                if (*last != ',')
                    digits[n++] = *last;
            }
            digits[n] = 0;
            counters[i] = atof(digits);
        }
    }
    if (pipe)
        pclose(pipe);
}

int main(int argc, char **argv)
{
    if (!bench_has_gpu())
        return 0;
    if (argc == 5 && !strcmp(argv[1], "--once"))
        return run_once((uint32_t)atoi(argv[2]), argv[3], !strcmp(argv[4], "warm"));
    FILE *csv = bench_open(argc > 1 ? argv[1] : "figures/l2_amortization.csv",
                           "make measure (measure_l2_amortization)");
    fprintf(csv, "# fp16, 32/8 heads, head_dim 128, block_tokens 8, last rung; dram_bytes, l2_hit_percent: ncu, one "
                 "call, clocks as they are; -1: no ncu\n"
                 "plan,branches,state,us,logical_bytes,plan_bytes,unique_bytes,dram_bytes,l2_hit_percent,floor_us\n");
    for (tree_strategy strategy : strategies) {
        for (uint32_t b : branches) {
            bench_case c = create(b);
            bench_plan p = bench_plan_create(&c, strategy);
            bench_error(&c, &p, bench_step(NULL));
            for (int warm = 0; warm < 2; warm++) {
                double counters[2];
                double us =
                    bench_time(&c, [&](uint32_t set) { bench_attention(&c, &p, bench_step(NULL), set); }, !warm);
                count(argv[0], b, strategy, warm, counters);
                fprintf(csv, "%s,%u,%s,%.2f,%llu,%llu,%llu,%.0f,%.1f,%.2f\n", tree_strategy_name[strategy], b,
                        warm ? "warm" : "cold", us, (unsigned long long)p.traffic.logical_bytes,
                        (unsigned long long)p.traffic.plan_bytes, (unsigned long long)p.traffic.unique_bytes,
                        counters[0], counters[1], bench_floor(&c));
                fflush(csv);
            }
            bench_plan_destroy(&p);
            bench_destroy(&c);
        }
    }
    BENCH_MUST(!fclose(csv), "the csv could not be written");
}
