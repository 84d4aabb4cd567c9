/* eviction_throughput: tokens per second of a model that writes a long answer, with the whole cache and with one that
 * forgets, at equal batch and at the largest batch that fits a memory.
 *
 * Measured: attention of one layer, alone and with a victim for each sequence, at batch and length. Computed from it: the
 * time of a step, layers x the layer's mean time over the answer + one read of the weights at this GPU's dram_gbps. The
 * rest of a step is left out: products of activations, sampling, the program around the model.
 *
 * measure_eviction_throughput [CSV] */
#include "measure_gpu.h"

#include <string.h>

#include <map>
#include <tuple>

enum { HEADS = 16, KV_HEADS = 8, HEAD_DIM = 128, LAYERS = 28 };     /* Qwen3-1.7B */
enum { PROMPT = 512, OUTPUT = 16384, BUDGET = 3200, VARIANTS = 3 }; /* LongFlow's figure of throughput */
static const double weights_gb = 3.4;

static const uint32_t lengths[] = {PROMPT, 1856, BUDGET, 6144, 10240, PROMPT + OUTPUT};
static const uint32_t batches[] = {1, 2, 4, 8, 16, 32, 64};
static const double memories_gb[] = {8, 16, 24, 32, 40, 60, 80};
static const double paper_gb = 40; /* the memory of the A100 in LongFlow's figure */

enum variant { ATTENTION, FUSED, SECOND_PASS };
static const char *const variant_name[VARIANTS] = {"attention", "fused", "second_pass"};

enum cache { FULL, CAPPED, CAPPED_SECOND_PASS, CAPPED_FREE, CACHES };
static const char *const cache_name[CACHES] = {"full", "capped", "capped_second_pass", "capped_without_eviction"};

/* The last step whose name begins so, and that runs here. */
static const tree_eviction_step *find_step(const bench_case *c, const char *start)
{
    for (uint32_t s = tree_eviction_num_steps; s-- > 0;)
        if (!strncmp(tree_eviction_steps[s].name, start, strlen(start))
            && tree_eviction_step_takes(&tree_eviction_steps[s], c->shape.storage))
            return &tree_eviction_steps[s];
    BENCH_MUST(false, start);
    return NULL;
}

/* Measured times of one layer: batch, length, variant. */
typedef std::map<std::tuple<uint32_t, uint32_t, int>, double> layer_times;

/* All variants at the budget; attention alone at other lengths. */
static void measure(FILE *csv, layer_times &times, uint32_t batch, uint32_t length)
{
    char nodes[20], tokens[20];
    if (times.count({batch, length, ATTENTION}))
        return;
    snprintf(nodes, sizeof nodes, "%u", batch);
    snprintf(tokens, sizeof tokens, "%u", length);
    bench_case c = bench_create(nodes, tokens, HEADS, KV_HEADS, HEAD_DIM, TREE_BF16);
    bench_plan plan = bench_plan_create(&c, TREE_COST);
    bench_eviction e = {};
    std::vector<std::function<void(uint32_t)>> calls = {
        [&](uint32_t set) { bench_attention(&c, &plan, bench_step(NULL), set); }};
    if (length == BUDGET) {
        const std::vector<const tree_eviction_step *> steps = {find_step(&c, "evict_"), find_step(&c, "evict_1")};
        e = bench_eviction_create(&c, &plan, steps);
        for (const tree_eviction_step *step : steps) {
            bench_eviction_check(&c, &plan, &e, step);
            calls.push_back([&, step](uint32_t set) { bench_evict(&c, &plan, &e, step, set); });
        }
    }
    std::vector<double> us = bench_times(&c, calls);
    for (size_t i = 0; i < us.size(); i++) {
        times[{batch, length, (int)i}] = us[i];
        fprintf(csv, "measured,0,%u,%u,%s,%.2f,0,0\n", batch, length, variant_name[i], us[i]);
        fprintf(stderr, "batch %3u length %5u %-12s %9.1f us\n", batch, length, variant_name[i], us[i]);
    }
    fflush(csv);
    if (length == BUDGET)
        bench_eviction_destroy(&e);
    bench_plan_destroy(&plan);
    bench_destroy(&c);
}

/* The integral over the cache's length, from PROMPT to `end`, of attention's time: lines between the measured lengths. */
static double sum_us(const layer_times &times, uint32_t batch, uint32_t end)
{
    double sum = 0;
    for (size_t i = 1; i < sizeof lengths / sizeof lengths[0] && lengths[i] <= end; i++)
        sum += (lengths[i] - lengths[i - 1]) / 2.0
               * (times.at({batch, lengths[i - 1], ATTENTION}) + times.at({batch, lengths[i], ATTENTION}));
    return sum;
}

/* The mean time of one layer over the steps of the answer. A capped cache grows to the budget, then stays there. */
static double mean_us(FILE *csv, layer_times &times, uint32_t batch, cache kind)
{
    const int at_budget = kind == CAPPED ? FUSED : kind == CAPPED_SECOND_PASS ? SECOND_PASS : ATTENTION;
    for (uint32_t length : lengths)
        if (kind == FULL || length <= BUDGET)
            measure(csv, times, batch, length);
    if (kind == FULL)
        return sum_us(times, batch, PROMPT + OUTPUT) / OUTPUT;
    return (sum_us(times, batch, BUDGET) + (PROMPT + OUTPUT - BUDGET) * times.at({batch, BUDGET, at_budget})) / OUTPUT;
}

/* Sequences beside the weights: K and V of all layers at the cache's largest length, and norms where it forgets. */
static uint32_t largest_batch(double memory_gb, cache kind)
{
    const double kv_bytes = 2.0 * KV_HEADS * HEAD_DIM * 2, norm_bytes = kind == FULL ? 0 : 4.0 * KV_HEADS;
    const double tokens = kind == FULL ? PROMPT + OUTPUT : BUDGET;
    return (uint32_t)((memory_gb - weights_gb) * 1e9 / ((kv_bytes + norm_bytes) * LAYERS * tokens));
}

static void write_line(FILE *csv, layer_times &times, const char *row, double memory_gb, uint32_t batch, cache kind)
{
    const double us = mean_us(csv, times, batch, kind);
    const double step_us = LAYERS * us + weights_gb * 1e6 / bench_ceilings_of_gpu().dram_gbps;
    fprintf(csv, "%s,%.0f,%u,0,%s,%.2f,%.1f,%.1f\n", row, memory_gb, batch, cache_name[kind], us, step_us,
            batch * 1e6 / step_us);
    fflush(csv);
}

int main(int argc, char **argv)
{
    if (!bench_has_gpu())
        return 0;
    layer_times times;
    FILE *csv = bench_open(argc > 1 ? argv[1] : "figures/eviction_throughput.csv",
                           "make measure (measure_eviction_throughput)");
    fprintf(csv,
            "# rows measured: us of one layer, %d/%d heads, head_dim %d, bf16, block_tokens %d, plan cost, cold L2\n"
            "# rows equal and largest: us, its mean over the answer; step_us = layers x us + weights_gb / dram_gbps; "
            "tokens_per_s = batch / step_us; the rest of a step is not counted\n"
            "# parameters\n# layers: %d\n# weights_gb: %.1f\n# prompt: %d\n# output: %d\n# budget: %d\n# paper_gb: %.0f\n"
            "row,memory_gb,batch,length,variant,us,step_us,tokens_per_s\n",
            HEADS, KV_HEADS, HEAD_DIM, BENCH_BLOCK_TOKENS, LAYERS, weights_gb, PROMPT, OUTPUT, BUDGET, paper_gb);
    std::vector<uint32_t> equal(std::begin(batches), std::end(batches));
    equal.push_back(largest_batch(paper_gb, FULL));
    equal.push_back(largest_batch(paper_gb, CAPPED));
    for (int kind = 0; kind < CACHES; kind++)
        for (uint32_t batch : equal)
            write_line(csv, times, "equal", 0, batch, (cache)kind);
    for (int kind = 0; kind < CACHES; kind++)
        for (double memory_gb : memories_gb)
            write_line(csv, times, "largest", memory_gb, largest_batch(memory_gb, (cache)kind), (cache)kind);
    bench_close(csv);
}
