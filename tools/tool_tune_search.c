/* The search of treeattn tune. Prices are compared by the measured times of the plans that they make: a plan that was
 * measured once is known by its hash. */
#include "tool_tune.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "measure.h"

/* ---- cases ---- */

tune_case tune_case_open(const tune_tree *tree, const gpu_bench_gpu *gpu, FILE *log)
{
    tune_case c = {.of = tree, .is_cold = true, .log = log};
    replay_totals totals;
    if (workload_levels(&c.work, tree->nodes, tree->tokens, NULL) != KV_OK
        || replay_measure(&totals, c.work, BENCH_BLOCK_TOKENS) != KV_OK)
        tool_fail("tune: %s / %s: no tree", tree->nodes, tree->tokens);
    c.scene = tool_scene_open(c.work, BENCH_BLOCK_TOKENS, totals.peak_blocks);
    tool_scene_next(&c.scene);
    c.tree = tool_scene_tree(&c.scene);
    c.request = (gpu_bench_request){.work = c.work, .iteration = 1, .strategy = TREE_COST, .rung = GPU_BENCH_LAST_RUNG,
                                    .shape = {.num_heads = tree->num_heads, .num_kv_heads = tree->num_kv_heads,
                                              .head_dim = 128, .storage = TREE_FP16}};
    c.config = (tree_plan_config){.strategy = TREE_COST, .group_size = tree->num_heads / tree->num_kv_heads,
                                  .num_workers = gpu->num_multiprocessors * 8 / tree->num_kv_heads};
    return c;
}

void tune_case_close(tune_case *c)
{
    free(c->plans);
    kv_tree_destroy(c->tree);
    tool_scene_close(&c->scene);
    workload_destroy(c->work);
}

/* ---- plans ---- */

static uint64_t hash_words(uint64_t hash, const void *data, size_t bytes)
{
    const uint32_t *words = data;
    for (size_t i = 0; i < bytes / sizeof *words; i++)
        hash = (hash ^ words[i]) * 0x100000001b3u;
    return hash;
}

/* Two plans of one tree with the same items and ranges are the same plan. */
static uint64_t hash_of(const tune_case *c, const tree_prices *prices)
{
    tree_plan_config config = c->config;
    config.prices = *prices;
    tree_plan *plan = tool_scene_plan(c->tree, &config);
    uint64_t hash = hash_words(0xcbf29ce484222325u, plan->items, plan->num_items * sizeof *plan->items);
    hash = hash_words(hash, plan->ranges, plan->num_ranges * sizeof *plan->ranges);
    tree_plan_destroy(plan);
    return hash;
}

static const tune_plan *find_plan(const tune_case *c, uint64_t hash)
{
    for (uint32_t i = 0; i < c->num_plans; i++)
        if (c->plans[i].hash == hash)
            return &c->plans[i];
    return NULL;
}

static void remember(tune_case *c, uint64_t hash, double ratio)
{
    if (find_plan(c, hash) != NULL)
        return;
    if (c->num_plans == c->room) {
        c->room = 2 * c->room + 16;
        c->plans = realloc(c->plans, c->room * sizeof *c->plans);
        if (c->plans == NULL)
            tool_fail("out of memory");
    }
    c->plans[c->num_plans++] = (tune_plan){hash, ratio};
}

void tune_write_log_heading(FILE *log)
{
    fputs("tree,heads,kv_heads,plan,token_bytes,item_bytes,partial_bytes,row_bytes,mask_bytes,masked_rows,tile_rows,"
          "max_tile,share_bytes,merge_bytes,wait_bytes,share_workers,cut_tokens,rest_tokens,rest_part,us\n", log);
}

static void write_log(const tune_case *c, const tree_plan_config *config, double us)
{
    const tree_prices *p = &config->prices;
    fprintf(c->log, "\"%s / %s\",%u,%u,%s,%u,%u,%u,%u,%u,%u,%u,%u,%u,%u,%u,%u,%u,%u,%u,%.3f\n", c->of->nodes, c->of->tokens,
            c->of->num_heads, c->of->num_kv_heads, tree_strategy_name[config->strategy], p->token_bytes, p->item_bytes,
            p->partial_bytes, p->row_bytes, p->mask_bytes, p->masked_rows, p->tile_rows, p->max_tile, p->share_bytes,
            p->merge_bytes, p->wait_bytes, p->share_workers, p->cut_tokens, p->rest_tokens, p->rest_part, us);
}

static void measure(double *us, const tune_case *c, const tree_plan_config *configs, uint32_t count, bool checked)
{
    char why[GPU_BENCH_WHY];
    if (gpu_bench_times(us, &c->request, configs, count, checked, why) != GPU_BENCH_OK)
        tool_fail("tune: %s / %s: %s", c->of->nodes, c->of->tokens, why);
    for (uint32_t i = 0; i < count && c->log != NULL; i++)
        write_log(c, &configs[i], us[i]);
}

static tree_plan_config config_of(const tune_case *c, const tree_prices *prices)
{
    tree_plan_config config = c->config;
    config.prices = *prices;
    return config;
}

static const tree_prices *default_prices(void) { return tree_prices_of(TREE_TARGET_GPU); }

void tune_measure_all(tune_case *c, const tree_prices *prices)
{
    enum { FITTED, DEFAULT, OTHERS };
    tree_plan_config configs[OTHERS + TREE_NUM_STRATEGIES];
    double us[OTHERS + TREE_NUM_STRATEGIES];
    uint32_t count = OTHERS;
    configs[FITTED] = config_of(c, prices);
    configs[DEFAULT] = config_of(c, default_prices());
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++)
        if (s != TREE_COST)
            configs[count++] = (tree_plan_config){.strategy = (tree_strategy)s};
    measure(us, c, configs, count, true);
    c->is_cold = !isnan(us[DEFAULT]);
    if (!c->is_cold)
        return;
    uint32_t best = OTHERS;
    for (uint32_t i = OTHERS; i < count; i++)
        best = us[i] < us[best] ? i : best;
    c->default_us = us[DEFAULT];
    c->other_ratio = us[best] / us[DEFAULT];
    c->other = configs[best].strategy;
    remember(c, hash_of(c, default_prices()), 1); /* first: where both make the same plan, its ratio is 1 */
    remember(c, hash_of(c, prices), us[FITTED] / us[DEFAULT]);
}

double tune_ratio(const tune_case *c, const tree_prices *prices)
{
    const tune_plan *plan = find_plan(c, hash_of(c, prices));
    if (plan == NULL)
        tool_fail("tune: %s / %s: a plan that was not measured", c->of->nodes, c->of->tokens);
    return plan->ratio;
}

static double loss_of(const tune_case *c, double ratio)
{
    return log(ratio) + TUNE_PENALTY * fmax(0, log(ratio / c->other_ratio / TUNE_SLACK));
}

double tune_loss(const tune_case *cases, uint32_t num_cases, const tree_prices *prices)
{
    double sum = 0, count = 0;
    for (uint32_t i = 0; i < num_cases; i++) {
        if (!cases[i].is_cold)
            continue;
        sum += loss_of(&cases[i], tune_ratio(&cases[i], prices));
        count++;
    }
    return count > 0 ? sum / count : 0;
}

/* ---- search ---- */

enum { MAX_VALUES = 12 }; /* of a price, and NONE */

/* A price and its candidates, among them its default, in powers of the square root of two where it is a time; token_bytes,
 * the unit, stays. */
static const struct {
    size_t offset;
    uint32_t values[MAX_VALUES]; /* up to a value NONE */
} grid[TUNE_PRICES] = {
#define NONE UINT32_MAX
    {offsetof(tree_prices, merge_bytes), {0, 780, 1104, 1560, 1856, 2208, 2624, 3120, 3712, 4416, 6240, NONE}},
    {offsetof(tree_prices, wait_bytes), {0, 46336, 65536, 92672, 108800, 131072, 185344, 262144, NONE}},
    {offsetof(tree_prices, share_bytes), {16384, 24576, 34816, 49152, 69632, 98304, 139264, 196608, 278528, NONE}},
    {offsetof(tree_prices, rest_part), {1, 2, 4, 8, 16, 32, NONE}},
    {offsetof(tree_prices, rest_tokens), {0, 8, 16, 24, 32, 48, NONE}},
    {offsetof(tree_prices, item_bytes), {8192, 11584, 16384, 23168, 32768, 46336, 65536, 92672, 131072, NONE}},
    {offsetof(tree_prices, partial_bytes), {780, 1104, 1560, 2208, 3120, 4416, 6240, 8832, 12480, NONE}},
    {offsetof(tree_prices, share_workers), {2, 3, 4, 5, 6, 8, NONE}},
    {offsetof(tree_prices, row_bytes), {1, 2, 3, 4, 6, 8, 12, NONE}},
    {offsetof(tree_prices, mask_bytes), {16, 32, 64, 128, 256, 384, 512, 768, 1024, 1536, NONE}},
    {offsetof(tree_prices, masked_rows), {16, 32, 64, 128, NONE}},
    {offsetof(tree_prices, max_tile), {32, 64, 128, 256, NONE}},
    {offsetof(tree_prices, tile_rows), {4, 8, 16, 32, 64, NONE}},
    {offsetof(tree_prices, cut_tokens), {32, 64, 128, NONE}},
};

static tree_prices with(const tree_prices *prices, size_t offset, uint32_t value)
{
    tree_prices changed = *prices;
    memcpy((char *)&changed + offset, &value, sizeof value);
    return changed;
}

/* Adds the losses of these prices on the case. Plans that it does not know are measured, in one batch, beside the plan of
 * the default prices. */
static void add_losses(double *losses, tune_case *c, const tree_prices *prices, uint32_t count)
{
    tree_plan_config configs[1 + MAX_VALUES];
    uint64_t hashes[MAX_VALUES], unknown[1 + MAX_VALUES];
    double us[1 + MAX_VALUES];
    uint32_t num_unknown = 1;
    configs[0] = config_of(c, default_prices());
    for (uint32_t i = 0; i < count; i++) {
        hashes[i] = hash_of(c, &prices[i]);
        bool known = find_plan(c, hashes[i]) != NULL;
        for (uint32_t j = 1; j < num_unknown; j++)
            known = known || unknown[j] == hashes[i];
        if (known)
            continue;
        configs[num_unknown] = config_of(c, &prices[i]);
        unknown[num_unknown++] = hashes[i];
    }
    if (num_unknown > 1)
        measure(us, c, configs, num_unknown, false);
    for (uint32_t i = 1; i < num_unknown; i++)
        remember(c, unknown[i], us[i] / us[0]);
    for (uint32_t i = 0; i < count; i++)
        losses[i] += loss_of(c, find_plan(c, hashes[i])->ratio);
}

/* Whether a candidate of this price was better, and taken. The present value is one of the candidates. */
static bool search_price(tree_prices *prices, tune_case *cases, uint32_t num_cases, int price)
{
    tree_prices candidates[MAX_VALUES];
    double losses[MAX_VALUES] = {0};
    uint32_t count = 0, num_cold = 0, present = MAX_VALUES;
    for (const uint32_t *value = grid[price].values; *value != NONE; value++)
        candidates[count++] = with(prices, grid[price].offset, *value);
    for (uint32_t i = 0; i < num_cases; i++) {
        if (!cases[i].is_cold)
            continue;
        add_losses(losses, &cases[i], candidates, count);
        num_cold++;
    }
    for (uint32_t i = 0; i < count; i++)
        present = memcmp(&candidates[i], prices, sizeof *prices) == 0 ? i : present;
    assert(present < count && "the grid has the default value of each price");
    uint32_t best = present;
    for (uint32_t i = 0; i < count; i++)
        if (losses[i] < losses[best] && losses[i] < losses[present] - TUNE_GAIN * num_cold)
            best = i;
    *prices = candidates[best];
    return best != present;
}

void tune_search(tree_prices *prices, tune_case *cases, uint32_t num_cases, double limit_us,
                 void (*progress)(uint32_t done, void *context), void *context)
{
    *prices = *default_prices();
    int since_change = 0; /* prices in a row that stayed as they were */
    for (uint32_t step = 0; step < TUNE_STEPS && since_change < TUNE_PRICES; step++) {
        if (measure_now_us() > limit_us)
            return;
        bool changed = search_price(prices, cases, num_cases, (int)(step % TUNE_PRICES));
        since_change = changed ? 1 : since_change + 1;
        progress(step + 1, context);
    }
}
