/* roofline: why decoding waits for memory. Floating-point operations per second against operations per loaded byte of K
 * and V, for per-branch reading (plan flash) and one pass for all branches (plan cost), beside the ceilings of the machine:
 * reading memory, multiply-adds in scalar code and in SIMD. The GPU's points are those of figures/l2_amortization.csv.
 *
 * measure_roofline [CSV] */
#include "provenance.h"

#include <inttypes.h>
#include <math.h>

#include "measure.h"
#include "tree_plan.h"

enum { PREFIX = 2048, OWN = 64, BLOCK_TOKENS = 16, HEADS = 32, KV_HEADS = 8, HEAD_DIM = 128, REPEATS = 25 };
static const uint32_t branches[] = {1, 4, 16, 64};
enum { NUM_BRANCHES = sizeof branches / sizeof branches[0] };
static const double token_bytes = 2.0 * KV_HEADS * HEAD_DIM * 2; /* bf16; fp16 on the GPU */

/* q.k and weight x v: a multiplication and an addition per element and query head each. */
static double operations(double path_tokens)
{
    return 4.0 * HEADS * HEAD_DIM * path_tokens;
}

/* 10^9 operations per second of plain C without SIMD: 12 independent sums, a multiplication and an addition at a time. */
static double scalar_gflops(uint32_t num_threads)
{
    enum { ROUNDS = 2000000, SUMS = 12 };
    double start = measure_now_us();
#pragma omp parallel for num_threads(num_threads) schedule(static, 1)
    for (uint32_t thread = 0; thread < num_threads; thread++) {
        volatile float one = 1;
        float sum[SUMS] = {0}, factor = one;
        for (uint32_t i = 0; i < ROUNDS; i++) {
            for (int j = 0; j < SUMS; j++) {
                sum[j] = sum[j] * factor + factor;
#if defined(__x86_64__)
                __asm__ volatile("" : "+x"(sum[j])); /* one number in a register: no SIMD */
#endif
            }
        }
        float total = 0;
        for (int j = 0; j < SUMS; j++)
            total += sum[j];
        volatile float sink = total;
        (void)sink;
    }
    return 2.0 * SUMS * ROUNDS * num_threads / (measure_now_us() - start) * 1e-3;
}

/* The best of all turns: in a turn, ceilings and both plans are measured one after another. */
typedef struct ceilings {
    double scalar_gflops, simd_fp32_gflops, simd_bf16_gflops, memory_gbps;
} ceilings;

typedef struct point {
    double us, operations, loaded_bytes;
} point;

static const tree_strategy strategies[2] = {TREE_FLASH, TREE_COST};

static void measure_branches(point points[2], ceilings *all, uint32_t num_branches, const char *memory,
                             size_t memory_bytes, uint32_t num_threads)
{
    tree_shape shape = {.num_queries = num_branches, .num_heads = HEADS, .num_kv_heads = KV_HEADS,
                        .head_dim = HEAD_DIM, .block_tokens = BLOCK_TOKENS, .storage = TREE_BF16};
    kv_tree *tree = measure_star(num_branches, PREFIX, OWN, BLOCK_TOKENS, &shape.num_blocks);
    uint32_t num_sets =
        (uint32_t)(4 * (double)measure_cache_bytes() / (token_bytes * (double)tree->unique_tokens)) + 2;
    measure_sets sets = measure_sets_create(&shape, num_sets);
    tree_plan *plans[2];
    void *workspace[2];
    size_t workspace_bytes[2];
    double us[2] = {INFINITY, INFINITY};
    for (int i = 0; i < 2; i++) {
        tree_plan_config config = {.strategy = strategies[i], .target = TREE_TARGET_CPU,
                                   .group_size = HEADS / KV_HEADS, .num_workers = num_threads};
        figure_check(tree_plan_build(&plans[i], tree, &config) == TREE_OK, "no plan");
        workspace_bytes[i] = tree_attention_cpu_workspace_bytes(plans[i], &shape, num_threads);
        workspace[i] = measure_allocate(workspace_bytes[i]);
    }
    for (uint32_t repeat = 0, set = 0; repeat < REPEATS; repeat++) {
        all->scalar_gflops = fmax(all->scalar_gflops, scalar_gflops(num_threads));
        all->simd_fp32_gflops = fmax(all->simd_fp32_gflops, measure_peak_gflops(TREE_FP32, num_threads));
        all->simd_bf16_gflops = fmax(all->simd_bf16_gflops, measure_peak_gflops(TREE_BF16, num_threads));
        all->memory_gbps = fmax(all->memory_gbps, (double)memory_bytes * 1e-3 /
                                                      measure_read_us(memory, memory_bytes, num_threads));
        for (int i = 0; i < 2; i++, set = (set + 1) % num_sets)
            us[i] = fmin(us[i], measure_attention_us(&sets, set, plans[i], workspace[i], workspace_bytes[i],
                                                     num_threads));
    }
    for (int i = 0; i < 2; i++) {
        points[i] = (point){us[i], operations((double)tree->path_tokens),
                            token_bytes * (double)plans[i]->loaded_tokens};
        tree_plan_destroy(plans[i]);
        free(workspace[i]);
    }
    measure_sets_destroy(&sets);
    kv_tree_destroy(tree);
}

static void write_row(FILE *csv, const char *machine, const char *plan, uint32_t num_branches, point p)
{
    fprintf(csv, "%s,%s,%" PRIu32 ",%.2f,%.0f,%.0f,%.2f,%.1f\n", machine, plan, num_branches, p.us, p.operations,
            p.loaded_bytes, p.operations / p.loaded_bytes, p.operations / p.us * 1e-3);
}

/* The points and ceilings of the GPU, from its own figure; none if that csv is not there. */
static void copy_gpu(FILE *csv, const char *path, int only_ceilings)
{
    char line[1024], text[512];
    double number;
    FILE *gpu = fopen(path, "r");
    while (gpu != NULL && fgets(line, sizeof line, gpu) != NULL) {
        char plan[32];
        uint32_t num_branches;
        double us, logical_bytes, plan_bytes;
        line[strcspn(line, "\n")] = '\0';
        if (only_ceilings) {
            if (sscanf(line, "# device: %511[^\n]", text) == 1)
                fprintf(csv, "# gpu_device: %s\n", text);
            else if (sscanf(line, "# commit: %511[^\n]", text) == 1)
                fprintf(csv, "# gpu: from figures/l2_amortization.csv, commit %s; fp16, cold L2; plan radix reads per "
                             "branch\n", text);
            else if (sscanf(line, "# dram_gbps: %lf", &number) == 1)
                fprintf(csv, "# gpu_memory_gbps: %g\n", number);
            else if (sscanf(line, "# matrix_tflops: %lf", &number) == 1)
                fprintf(csv, "# gpu_matrix_gflops: %g\n", number * 1000);
        } else if (sscanf(line, "%31[a-z_],%" SCNu32 ",cold,%lf,%lf,%lf", plan, &num_branches, &us, &logical_bytes,
                          &plan_bytes) == 5) {
            for (int i = 0; i < NUM_BRANCHES; i++) {
                if (branches[i] == num_branches)
                    write_row(csv, "gpu", plan, num_branches,
                              (point){us, operations(logical_bytes / token_bytes), plan_bytes});
            }
        }
    }
    if (gpu != NULL)
        fclose(gpu);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : TREEATTN_SOURCE_DIR "/figures/roofline.csv";
    FILE *csv = figure_open(path, "make measure (measure_roofline)",
                            "the fastest of 25; ceilings and both plans take turns; cold: K and V sets rotated "
                            "through 4 times the largest cache");
    ceilings all = {0};
    point points[NUM_BRANCHES][2];
    uint32_t num_threads = measure_threads();
    size_t memory_bytes = (4 * measure_cache_bytes() + ((size_t)64 << 20)) / 4096 * 4096;
    char *memory = measure_allocate(memory_bytes);
    for (int b = 0; b < NUM_BRANCHES; b++)
        measure_branches(points[b], &all, branches[b], memory, memory_bytes, num_threads);
    free(memory);
    fprintf(csv, "# threads: %" PRIu32 ", instruction set %s, largest cache %zu MiB\n"
                 "# tree: %d shared + %d own tokens per branch; %d/%d heads, head_dim %d, bf16, block_tokens %d\n"
                 "# memory_gbps: %.2f\n# scalar_gflops: %.1f\n# simd_fp32_gflops: %.1f\n# simd_bf16_gflops: %.1f\n",
            num_threads, tree_isa_name[tree_isa_best()], measure_cache_bytes() >> 20, PREFIX, OWN, HEADS, KV_HEADS,
            HEAD_DIM, BLOCK_TOKENS, all.memory_gbps, all.scalar_gflops, all.simd_fp32_gflops, all.simd_bf16_gflops);
    copy_gpu(csv, TREEATTN_SOURCE_DIR "/figures/l2_amortization.csv", 1);
    fprintf(csv, "machine,plan,branches,us,operations,loaded_bytes,operations_per_byte,gflops\n");
    for (int i = 0; i < 2; i++)
        for (int b = 0; b < NUM_BRANCHES; b++)
            write_row(csv, "cpu", tree_strategy_name[strategies[i]], branches[b], points[b][i]);
    copy_gpu(csv, TREEATTN_SOURCE_DIR "/figures/l2_amortization.csv", 0);
    figure_close(csv);
    return 0;
}
