/* launch_fusion: the price of launches and of intermediate arrays. Standard attention in three launches with everything
 * materialised, two launches with partial states (step 7), and one (step 8, and the last rung).
 *
 * measure_launch_fusion [CSV] */
#include "measure_gpu.h"

static const uint32_t branches[] = {1, 4, 16, 64};
static const char *const steps[] = {"step_7_merge_ahead", "step_8_one_launch", NULL /* the last one */};

static __global__ void nothing() {}

int main(int argc, char **argv)
{
    if (!bench_has_gpu())
        return 0;
    FILE *csv = bench_open(argc > 1 ? argv[1] : "figures/launch_fusion.csv", "make measure (measure_launch_fusion)");
    fprintf(csv, "# branches of 64 tokens behind 2048; fp16, 32/8 heads, head_dim 128, block_tokens 8, cold, "
                 "plan cost\n"
                 "branches,launch_us,standard_us,two_launches_us,one_launch_us,last_us,floor_us\n");
    for (uint32_t b : branches) {
        char nodes[20];
        double us[3];
        snprintf(nodes, sizeof nodes, "1,%u", b);
        bench_case c = bench_create(nodes, "2048,64", 32, 8, 128, TREE_FP16);
        bench_plan p = bench_plan_create(&c, TREE_COST);
        for (int s = 0; s < 3; s++)
            us[s] = bench_time(&c, [&](uint32_t set) { bench_attention(&c, &p, bench_step(steps[s]), set); }, true);
        double launch_us = bench_time(&c, [&](uint32_t) { nothing<<<1, 32, 0, c.stream>>>(); }, false);
        fprintf(csv, "%u,%.2f,%.2f,%.2f,%.2f,%.2f,%.2f\n", b, launch_us, bench_standard(&c), us[0], us[1], us[2],
                bench_floor(&c));
        fflush(csv);
        bench_plan_destroy(&p);
        bench_destroy(&c);
    }
    bench_close(csv);
}
