#include "rung.h"

#include "measure_gpu.h"

double rung_time(const tree_gpu_step *step, const char *nodes, const char *tokens, double *floor_us)
{
    bench_case c = bench_create(nodes, tokens, 32, 8, 128, TREE_FP16);
    bench_plan p = bench_plan_create(&c, TREE_COST);
    *floor_us = bench_floor(&c);
    const double us = bench_time(&c, [&](uint32_t set) { bench_attention(&c, &p, step, set); }, true);
    bench_plan_destroy(&p);
    bench_destroy(&c);
    return us;
}
