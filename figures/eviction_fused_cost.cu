/* eviction_fused_cost: the price of choosing a victim, for each step of the ladder of eviction: beside attention alone, by
 * the last rung, in the same run. Independent branches, as a server has them.
 *
 * measure_eviction_fused_cost [CSV] */
#include "measure_gpu.h"

#include <string.h>

enum { HEADS = 32, KV_HEADS = 8, LENGTH = 3200, BATCH = 16 };
static const double max_memory_gb = 90; /* K and V of all sets, and the largest workspace: what needs more is left out */

struct panel {
    uint32_t head_dim;
    tree_storage storage;
    uint32_t batch, length;
};

static const panel panels[] = {
    {128, TREE_BF16, BATCH, 512},  {128, TREE_BF16, BATCH, 1024}, {128, TREE_BF16, BATCH, 2048},
    {128, TREE_BF16, BATCH, 4096}, {128, TREE_BF16, BATCH, 8192}, {128, TREE_BF16, BATCH, 16384},
    {128, TREE_BF16, 1, LENGTH},   {128, TREE_BF16, 2, LENGTH},   {128, TREE_BF16, 4, LENGTH},
    {128, TREE_BF16, 8, LENGTH},   {128, TREE_BF16, 16, LENGTH},  {128, TREE_BF16, 32, LENGTH},
    {128, TREE_BF16, 64, LENGTH},  {128, TREE_BF16, 128, LENGTH}, {128, TREE_BF16, 256, LENGTH},
    {64, TREE_BF16, 1, LENGTH},    {64, TREE_BF16, 4, LENGTH},    {64, TREE_BF16, 16, LENGTH},
    {64, TREE_BF16, 64, LENGTH},   {64, TREE_BF16, 128, LENGTH},  {256, TREE_BF16, 1, LENGTH},
    {256, TREE_BF16, 4, LENGTH},   {256, TREE_BF16, 16, LENGTH},  {256, TREE_BF16, 64, LENGTH},
    {256, TREE_BF16, 128, LENGTH}, {128, TREE_FP16, 1, LENGTH},   {128, TREE_FP16, 4, LENGTH},
    {128, TREE_FP16, 16, LENGTH},  {128, TREE_FP16, 64, LENGTH},  {128, TREE_FP16, 128, LENGTH},
};

/* Bytes for each token of each branch, if no cache keeps any: K and V, and beyond them, by step:
 *   materialised   scores written, read, weights written, read twice; contributions in float written, read twice
 *   second pass    K and V again
 *   keys again     K again, norms
 *   fused          scores written and read, norms: at most */
static double bytes_per_token(const panel &p, const char *step)
{
    const double kv = 2.0 * KV_HEADS * p.head_dim * tree_storage_bytes(p.storage);
    const double scores = 4.0 * HEADS, norms = 4.0 * KV_HEADS;
    if (!step)
        return kv;
    if (!strncmp(step, "evict_0", 7))
        return kv + 5 * scores + 3 * scores * p.head_dim;
    if (!strncmp(step, "evict_1", 7))
        return 2 * kv;
    if (!strncmp(step, "evict_2", 7))
        return 1.5 * kv + norms;
    return kv + 2 * scores + norms;
}

static void write_line(FILE *csv, const panel &p, const char *step, double us, double ratio)
{
    fprintf(csv, "%u,%s,%u,%u,%s,%.2f,%.4f,%.0f\n", p.head_dim, p.storage == TREE_FP16 ? "fp16" : "bf16", p.batch,
            p.length, step ? step : "attention", us, ratio, bytes_per_token(p, step) * p.batch * p.length);
    fflush(csv);
    fprintf(stderr, "%3u %s batch %3u length %5u %-24s %9.1f us, %6.3f times\n", p.head_dim,
            p.storage == TREE_FP16 ? "fp16" : "bf16", p.batch, p.length, step ? step : "attention", us, ratio);
}

/* Those that run here. */
static std::vector<const tree_eviction_step *> find_steps(const bench_case *c, const bench_plan *plan)
{
    std::vector<const tree_eviction_step *> steps;
    const double kv_bytes = (double)c->set_bytes * c->num_sets;
    for (uint32_t s = 0; s < tree_eviction_num_steps; s++) {
        const tree_eviction_step *step = &tree_eviction_steps[s];
        const double bytes = kv_bytes + (double)tree_eviction_gpu_workspace_bytes(plan->plan, &c->shape, step);
        if (tree_eviction_step_takes(step, c->shape.storage) && bytes <= max_memory_gb * 1e9)
            steps.push_back(step);
        else
            fprintf(stderr, "%s is left out: %u branches, %.0f GB\n", step->name, c->shape.num_queries, bytes * 1e-9);
    }
    return steps;
}

static void measure(FILE *csv, const panel &p)
{
    char nodes[20], tokens[20];
    snprintf(nodes, sizeof nodes, "%u", p.batch);
    snprintf(tokens, sizeof tokens, "%u", p.length);
    bench_case c = bench_create(nodes, tokens, HEADS, KV_HEADS, p.head_dim, p.storage);
    bench_plan plan = bench_plan_create(&c, TREE_COST);
    std::vector<const tree_eviction_step *> steps = find_steps(&c, &plan);
    bench_eviction e = bench_eviction_create(&c, &plan, steps);
    std::vector<std::function<void(uint32_t)>> calls = {
        [&](uint32_t set) { bench_attention(&c, &plan, bench_step(NULL), set); }};
    /* The last step before the others: with few branches it is the kernel of the step before it, and behind that one it
     * would find its code in the cache. */
    const size_t n = steps.size();
    for (size_t i = 0; i < n; i++) {
        const tree_eviction_step *step = steps[(i + n - 1) % n];
        bench_eviction_check(&c, &plan, &e, step);
        calls.push_back([&, step](uint32_t set) { bench_evict(&c, &plan, &e, step, set); });
    }
    const std::vector<double> us = bench_times(&c, calls);
    write_line(csv, p, NULL, us[0], 1);
    for (size_t i = 0; i < n; i++)
        write_line(csv, p, steps[i]->name, us[(i + 1) % n + 1], us[(i + 1) % n + 1] / us[0]);
    bench_eviction_destroy(&e);
    bench_plan_destroy(&plan);
    bench_destroy(&c);
}

int main(int argc, char **argv)
{
    if (!bench_has_gpu())
        return 0;
    FILE *csv = bench_open(argc > 1 ? argv[1] : "figures/eviction_fused_cost.csv",
                           "make measure (measure_eviction_fused_cost)");
    fprintf(csv, "# independent branches, %d/%d heads, block_tokens %d, plan cost, cold L2; replays of the variants of a "
                 "case alternate; ratio: to attention alone, the last rung\n"
                 "# bytes: predicted, all branches, if no cache keeps any\n"
                 "# left out: steps that need more than %.0f GB\n"
                 "head_dim,storage,batch,length,variant,us,ratio,bytes\n",
            HEADS, KV_HEADS, BENCH_BLOCK_TOKENS, max_memory_gb);
    for (const panel &p : panels)
        measure(csv, p);
    bench_close(csv);
}
