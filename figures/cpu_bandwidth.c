/* The effective bandwidth of branches behind one prefix: per-branch reading (plan flash), which the cache amortises,
 * against one pass for all branches (plan cost), which needs no cache. Writes figures/cpu_bandwidth.csv. */
#include "provenance.h"

#include <inttypes.h>

#include "measure.h"
#include "tree_plan.h"

enum { PREFIX = 2048, SUFFIX = 64, MAX_BRANCHES = 128, BLOCK_TOKENS = 16, REPEATS = 15 };

typedef struct run {
    tree_plan *plan;
    void *workspace;
    size_t workspace_bytes;
    double us[REPEATS];
} run;

static run run_begin(const kv_tree *tree, const tree_shape *shape, tree_strategy strategy, uint32_t num_threads)
{
    run r;
    tree_plan_config config = {.strategy = strategy, .target = TREE_TARGET_CPU, .group_size = 4,
                               .num_workers = num_threads};
    figure_check(tree_plan_build(&r.plan, tree, &config) == TREE_OK, "no plan");
    r.workspace_bytes = tree_attention_cpu_workspace_bytes(r.plan, shape, num_threads);
    r.workspace = measure_allocate(r.workspace_bytes);
    return r;
}

/* The ceilings and both plans take turns, so that a disturbance of the machine affects all of them. */
static void measure_branches(FILE *csv, uint32_t num_branches, const char *memory, size_t memory_bytes,
                         uint32_t num_threads)
{
    tree_shape shape = {.num_queries = num_branches, .num_heads = 32, .num_kv_heads = 8, .head_dim = 128,
                        .block_tokens = BLOCK_TOKENS, .storage = TREE_BF16};
    kv_tree *tree = measure_star(num_branches, PREFIX, SUFFIX, BLOCK_TOKENS, &shape.num_blocks);
    double token_bytes = 2.0 * 8 * 128 * 2, unique_bytes = token_bytes * (double)tree->unique_tokens;
    uint32_t num_sets = (uint32_t)(4 * (double)measure_cache_bytes() / unique_bytes) + 2;
    measure_sets sets = measure_sets_create(&shape, num_sets);
    static const tree_strategy strategies[2] = {TREE_FLASH, TREE_COST};
    run runs[2];
    for (int i = 0; i < 2; i++)
        runs[i] = run_begin(tree, &shape, strategies[i], num_threads);
    size_t cached_bytes = (size_t)(PREFIX * token_bytes);
    double memory_us[REPEATS], cache_us[REPEATS];
    for (uint32_t repeat = 0, set = 0; repeat < REPEATS; repeat++) {
        memory_us[repeat] = measure_read_us(memory, memory_bytes, num_threads);
        measure_read_us(memory, cached_bytes, num_threads);
        cache_us[repeat] = measure_read_us(memory, cached_bytes, num_threads);
        for (int i = 0; i < 2; i++, set = (set + 1) % num_sets)
            runs[i].us[repeat] = measure_attention_us(&sets, set, runs[i].plan, runs[i].workspace,
                                                      runs[i].workspace_bytes, num_threads);
    }
    double memory_gbps = (double)memory_bytes / measure_median(memory_us, REPEATS) * 1e-3;
    double cache_gbps = (double)cached_bytes / measure_median(cache_us, REPEATS) * 1e-3;
    for (int i = 0; i < 2; i++) {
        double us = measure_median(runs[i].us, REPEATS), logical = token_bytes * (double)tree->path_tokens;
        fprintf(csv, "%s,%" PRIu32 ",%.1f,%.2f,%.2f,%.2f,%.2f,%.2f\n", tree_strategy_name[strategies[i]], num_branches,
                us, logical / us * 1e-3, token_bytes * (double)runs[i].plan->loaded_tokens / us * 1e-3,
                unique_bytes / us * 1e-3, memory_gbps, cache_gbps);
        tree_plan_destroy(runs[i].plan);
        free(runs[i].workspace);
    }
    measure_sets_destroy(&sets);
    kv_tree_destroy(tree);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : TREEATTN_SOURCE_DIR "/figures/cpu_bandwidth.csv";
    FILE *csv = figure_open(path, "make measure (measure_cpu_bandwidth)",
                            "median of 15; ceilings and both plans take turns in one run; cold: K and V sets rotated "
                            "through 4 times the largest cache");
    uint32_t num_threads = measure_threads();
    size_t memory_bytes = (4 * measure_cache_bytes() + ((size_t)64 << 20)) / 4096 * 4096;
    char *memory = measure_allocate(memory_bytes);
    fprintf(csv, "# threads: %" PRIu32 ", instruction set %s, largest cache %zu MiB\n"
                 "# tree: %d shared + %d own tokens per branch; 32/8 heads, head_dim 128, bf16, block_tokens %d\n"
                 "plan,branches,us,logical_gbps,plan_gbps,unique_gbps,memory_read_gbps,cache_read_gbps\n",
            num_threads, tree_isa_name[tree_isa_best()], measure_cache_bytes() >> 20, PREFIX, SUFFIX, BLOCK_TOKENS);
    for (uint32_t num_branches = 1; num_branches <= MAX_BRANCHES; num_branches *= 2)
        measure_branches(csv, num_branches, memory, memory_bytes, num_threads);
    free(memory);
    figure_close(csv);
    return 0;
}
