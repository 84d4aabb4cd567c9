/* treeattn plan: the items, loaded tokens, partial states and masks that each strategy makes of a tree, and the bytes
 * that follow. Only plans are computed, no attention. */
#define _POSIX_C_SOURCE 200809L
#include "tool_options.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool_input.h"
#include "tool_limits.h"
#include "tool_profile.h"
#include "tool_scene.h"
#include "traffic.h"

/* Of a tree, for each query and block: tables, nodes, rows, entries, and the memory of building it. */
enum { QUERY_BYTES = 160, TREE_BLOCK_BYTES = 12 };

typedef struct plan_request {
    tree_shape shape;
    tree_plan_config config;
    bool all_strategies, all_variants;
    bool wide; /* false: a screen's width; columns that do not depend on the strategy are left out */
    traffic_variant variant;
    const tool_call *call;
    double bytes; /* bytes in use already */
} plan_request;

static tree_target read_target(const tool_call *call)
{
    const char *name = tool_text(call, "--target", "gpu");
    if (strcmp(name, "gpu") == 0)
        return TREE_TARGET_GPU;
    if (strcmp(name, "cpu") == 0)
        return TREE_TARGET_CPU;
    tool_bad_usage(call->verb, "--target: expected gpu or cpu, got '%s'", name);
}

/* Of a CPU its online processors; 0: the library's own number, which is for a GPU. */
static uint32_t default_workers(tree_target target)
{
    if (target != TREE_TARGET_CPU)
        return 0;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

static void refuse_cost_options(const tool_call *call)
{
    static const char *const names[] = {"--target", "--workers", "--profile", NULL};
    tool_refuse(call, names, "works only with the strategy cost, not with %s", tool_text(call, "--strategy", ""));
}

/* Prices of a GPU, and as many workers as it has: num_workers is for 8 KV heads. */
static void read_profile(plan_request *request)
{
    static const char *const names[] = {"--profile", NULL};
    tool_profile *profile = tool_profile_given(request->call);
    if (profile == NULL)
        return;
    if (request->config.target == TREE_TARGET_CPU)
        tool_refuse(request->call, names, "works only with --target gpu");
    request->config.prices = profile->prices;
    if (!tool_given(request->call, "--workers")) {
        uint32_t workers = profile->multiprocessors * 8 / request->shape.num_kv_heads;
        request->config.num_workers = workers > 0 ? workers : 1;
    }
    free(profile);
}

static plan_request read_request(const tool_call *call)
{
    plan_request request = {.shape = tool_shape(call, 32, 8, 128, TREE_BF16),
                            .all_strategies = true, .variant = TRAFFIC_PACKED, .call = call};
    const char *strategy = tool_text(call, "--strategy", "all"), *variant = tool_text(call, "--variant", "packed");
    if (strcmp(strategy, "all") != 0) {
        request.all_strategies = false;
        request.config.strategy = tool_strategy(call, "--strategy");
    }
    request.config.target = read_target(call);
    if (!request.all_strategies && request.config.strategy != TREE_COST)
        refuse_cost_options(call);
    request.config.piece_tokens = tool_count(call, "--piece-tokens", 0, 1, 1u << 30);
    request.config.max_rows = tool_count(call, "--max-rows", 0, 1, 1u << 20);
    request.config.num_workers = tool_count(call, "--workers", default_workers(request.config.target), 1, 1u << 20);
    read_profile(&request);
    request.config.group_size = request.shape.num_heads / request.shape.num_kv_heads;
    if (request.config.group_size > 1u << 16)
        tool_bad_usage(call->verb, "--heads: expected at most 65536 query heads for each KV head");
    if (strcmp(variant, "all") == 0) {
        request.all_variants = true;
        return request;
    }
    int v = 0;
    while (v < TRAFFIC_NUM_VARIANTS && strcmp(variant, traffic_variant_name[v]) != 0)
        v++;
    if (v == TRAFFIC_NUM_VARIANTS)
        tool_bad_usage(call->verb, "--variant: expected packed, deft_counted, deft_issued or all, got '%s'", variant);
    request.variant = (traffic_variant)v;
    return request;
}

static void put_traffic(tool_table *table, const tree_traffic *traffic, bool wide)
{
    if (wide) {
        tool_put_count(table, "logical_bytes", traffic->logical_bytes);
        tool_put_count(table, "unique_bytes", traffic->unique_bytes);
    }
    tool_put_count(table, "plan_bytes", traffic->plan_bytes);
    tool_put_count(table, "query_bytes", traffic->query_bytes);
    tool_put_count(table, "mask_bytes", traffic->mask_bytes);
    tool_put_count(table, "partial_bytes", traffic->partial_bytes);
}

static void put_plan(tool_table *table, const tree_plan *plan, const plan_request *request, traffic_variant variant)
{
    tree_traffic traffic;
    tree_status status = tree_traffic_count(&traffic, plan, &request->shape, variant);
    if (status != TREE_OK)
        tool_fail("byte counts: %s", tree_status_string(status));
    tool_row(table);
    tool_put_text(table, "strategy", tree_strategy_name[plan->config.strategy]);
    if (request->wide)
        tool_put_text(table, "variant", traffic_variant_name[variant]);
    tool_put_count(table, "items", plan->num_items);
    tool_put_count(table, "loaded_tokens", plan->loaded_tokens);
    tool_put_count(table, "partial_rows", plan->num_partials);
    tool_put_count(table, "masked_pairs", plan->masked_pairs);
    put_traffic(table, &traffic, request->wide);
}

static void put_no_plan(tool_table *table, const char *name, const char *variant, bool wide)
{
    tool_row(table);
    tool_put_text(table, "strategy", name);
    if (wide)
        tool_put_text(table, "variant", variant);
    tool_put_nothing(table, "items");
    tool_put_nothing(table, "loaded_tokens");
    tool_put_nothing(table, "partial_rows");
    tool_put_nothing(table, "masked_pairs");
}

static void put_materialised(tool_table *table, const char *name, const tree_traffic *traffic, bool wide)
{
    put_no_plan(table, name, "materialised", wide);
    put_traffic(table, traffic, wide);
}

/* NULL: the plan is too large. If the strategy was named, the program ends; among all strategies it is left out, with a
 * message, and its row stays empty. */
static tree_plan *build_plan(const kv_tree *tree, const plan_request *request, const tree_plan_config *config)
{
    const char *name = tree_strategy_name[config->strategy];
    uint64_t plan_bytes = 0;
    tree_status status = tree_plan_bytes(&plan_bytes, tree, config);
    double bytes = request->bytes + (double)plan_bytes;
    if (status == TREE_OK && tool_has_memory(request->call, bytes)) {
        tree_plan *plan;
        status = tree_plan_build(&plan, tree, config);
        if (status == TREE_OK)
            return plan;
        if (request->all_strategies && status == TREE_NOMEM) {
            tool_warn("%s is left out: the host has no memory for its plan of %.0f MiB", name,
                      ceil((double)plan_bytes / (1 << 20)));
            return NULL;
        }
    }
    if (status != TREE_OK && status != TREE_OVERFLOW)
        tool_fail("plan %s: %s", name, tree_status_string(status));
    if (!request->all_strategies && status == TREE_OVERFLOW)
        tool_bad_input("plan %s: %s", name, tree_status_string(status));
    if (!request->all_strategies)
        tool_need_memory(request->call, bytes, "plan %s", name);
    if (status == TREE_OVERFLOW)
        tool_warn("%s is left out: %s", name, tree_status_string(status));
    else
        tool_warn("%s is left out: its plan needs %.0f MiB of memory, more than --max-memory %u", name,
                  ceil(bytes / (1 << 20)), tool_memory_limit(request->call));
    return NULL;
}

static void put_left_out(tool_table *table, const plan_request *request, const char *name, traffic_variant variant)
{
    put_no_plan(table, name, traffic_variant_name[variant], request->wide);
    if (request->wide) {
        tool_put_nothing(table, "logical_bytes");
        tool_put_nothing(table, "unique_bytes");
    }
    tool_put_nothing(table, "plan_bytes");
    tool_put_nothing(table, "query_bytes");
    tool_put_nothing(table, "mask_bytes");
    tool_put_nothing(table, "partial_bytes");
}

static void put_strategies(tool_table *table, const kv_tree *tree, const plan_request *request)
{
    for (int strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan_config config = request->config;
        if (request->all_strategies)
            config.strategy = (tree_strategy)strategy;
        else if (config.strategy != (tree_strategy)strategy)
            continue;
        tree_plan *plan = build_plan(tree, request, &config);
        for (int variant = 0; variant < TRAFFIC_NUM_VARIANTS; variant++) {
            if (!request->all_variants && request->variant != (traffic_variant)variant)
                continue;
            if (plan != NULL)
                put_plan(table, plan, request, (traffic_variant)variant);
            else
                put_left_out(table, request, tree_strategy_name[strategy], (traffic_variant)variant);
        }
        tree_plan_destroy(plan);
    }
    tree_traffic standard, dense;
    if (request->all_strategies && tree_traffic_standard(&standard, tree, &request->shape) == TREE_OK &&
        tree_traffic_dense_mask(&dense, tree, &request->shape) == TREE_OK) {
        put_materialised(table, "standard", &standard, request->wide);
        put_materialised(table, "dense_mask", &dense, request->wide);
    }
}

static void put_items(tool_table *table, const tree_plan *plan, const plan_request *request)
{
    enum { ITEM_BYTES = 8 * 64 }; /* of eight cells */
    tool_need_memory(request->call, request->bytes + (double)plan->num_items * ITEM_BYTES, "a table of %u items",
                     plan->num_items);
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        const tree_range *first = &plan->ranges[item->first_range];
        bool masked = false;
        for (uint32_t r = 0; r < item->num_ranges; r++)
            masked = masked || first[r].mask != TREE_NO_MASK;
        tool_row(table);
        tool_put_count(table, "item", i);
        tool_put_count(table, "rows", item->num_rows);
        tool_put_count(table, "first_query", plan->rows[item->first_row]);
        tool_put_count(table, "ranges", item->num_ranges);
        tool_put_count(table, "tokens", item->num_tokens);
        tool_put_count(table, "first_block", plan->blocks[first->first_block + first->first_slot / plan->block_tokens]);
        tool_put_text(table, "masked", masked ? "yes" : "no");
        tool_put_count(table, "first_partial", item->first_partial);
    }
}

/* The strategies that plan each query alone visit all nodes of its path. */
static void need_paths(const tool_call *call, const kv_tree *tree)
{
    uint32_t *depth = tool_allocate(tree->num_nodes, sizeof *depth);
    uint64_t path_nodes = 0;
    for (uint32_t n = 0; n < tree->num_nodes; n++)
        depth[n] = tree->nodes[n].parent == KV_NONE ? 1 : depth[tree->nodes[n].parent] + 1;
    for (uint32_t q = 0; q < tree->num_queries; q++)
        path_nodes += tree->query_node[q] == KV_NONE ? 0 : depth[tree->query_node[q]];
    free(depth);
    tool_need_work(call, (double)path_nodes, "a plan of %u queries with %.0f million nodes on their paths",
                   tree->num_queries, (double)path_nodes / 1e6);
}

/* Nodes and tokens of the levels beside those that are stored. */
static void write_sharing(const kv_tree *tree, const workload *levels)
{
    printf("given: %u nodes, %" PRIu64 " tokens; stored: %u nodes, %" PRIu64 " tokens\n", levels->num_branches,
           levels->num_tokens, tree->num_nodes, tree->unique_tokens);
    if (tree->unique_tokens > levels->num_tokens)
        printf("  Only full blocks of %u tokens are shared: a branch that continues a part-filled\n"
               "  block has its own copy of that block, and a node that fills no block is copied\n"
               "  whole. --block-tokens 1 shares every token.\n",
               tree->block_tokens);
    else if (tree->num_nodes < levels->num_branches)
        puts("  Nodes that the same branches see are one node.");
}

static void write_legend(void)
{
    puts("\nitems          an item: some queries, and tokens that are loaded once for all of them\n"
         "loaded_tokens  tokens that the items load, at each KV head\n"
         "partial_rows   partial states: an item leaves one for each of its queries\n"
         "masked_pairs   (query, token) pairs of an item that its bit mask hides: computed for nothing\n"
         "plan_bytes, query_bytes, mask_bytes   K and V, queries, masks: loaded by the items\n"
         "partial_bytes  partial states of queries in more than one item, written and read\n"
         "standard, dense_mask   have no items; partial_bytes are scores and copies, written and read");
}

static void write_items_legend(void)
{
    puts("\nrows           queries of the item; first_query is one of them\n"
         "ranges         runs of consecutive tokens, tokens in all; first_block is the block of the first\n"
         "masked         yes: a bit mask says which query sees which token; no: each query sees all\n"
         "first_partial  number of the partial state of its first query");
}

static void write_heading(const kv_tree *tree, const plan_request *request)
{
    uint64_t token_bytes = 2 * (uint64_t)request->shape.num_kv_heads * request->shape.head_dim *
                           tree_storage_bytes(request->shape.storage);
    printf("%u queries, %u nodes; %" PRIu64 " unique tokens (U), %" PRIu64 " tokens on all paths (S)\n",
           tree->num_queries, tree->num_nodes, tree->unique_tokens, tree->path_tokens);
    printf("%u/%u heads, head_dim %u, %u tokens per block; of one layer and step: unique_bytes %" PRIu64
           ", logical_bytes %" PRIu64 "\n\n", request->shape.num_heads, request->shape.num_kv_heads,
           request->shape.head_dim, tree->block_tokens, tree->unique_tokens * token_bytes,
           tree->path_tokens * token_bytes);
}

static int run(const tool_call *call)
{
    plan_request request = read_request(call);
    bool items = tool_given(call, "--items");
    request.wide = call->format != TOOL_TEXT || request.all_variants;
    if (items && request.all_strategies)
        tool_bad_usage(call->verb, "--items: works only with one --strategy");
    if (items && tool_given(call, "--variant"))
        tool_bad_usage(call->verb, "--variant: works only without --items, which lists no bytes");
    workload *work = tool_workload(call);
    replay_needs needs;
    request.bytes = tool_need_replay(call, work, request.shape.block_tokens, 0, &needs);
    request.bytes += (double)needs.peak_queries * QUERY_BYTES + (double)needs.most_blocks * TREE_BLOCK_BYTES;
    tool_need_memory(call, request.bytes, "the tree of %u queries and its replay", needs.peak_queries);
    tool_scene scene = tool_scene_open(work, request.shape.block_tokens, 0);
    tool_play_to(&scene, tool_count(call, "--iteration", 0, 1, UINT32_MAX));
    kv_tree *tree = tool_scene_tree(&scene);
    need_paths(call, tree);
    request.shape.num_queries = tree->num_queries;
    request.shape.num_blocks = scene.num_blocks;
    tool_table *table = tool_table_create();
    if (items) {
        tree_plan *plan = build_plan(tree, &request, &request.config);
        put_items(table, plan, &request);
        tree_plan_destroy(plan);
    } else {
        put_strategies(table, tree, &request);
    }
    if (call->format == TOOL_TEXT && tool_given(call, "--tree"))
        write_sharing(tree, work);
    if (call->format == TOOL_TEXT)
        write_heading(tree, &request);
    tool_table_write(table, stdout, call->format, false);
    if (call->format == TOOL_TEXT)
        items ? write_items_legend() : write_legend();
    kv_tree_destroy(tree);
    tool_scene_close(&scene);
    workload_destroy(work);
    return TOOL_OK;
}

static const tool_option options[] = {
    {"--tree", "'NODES / TOKENS'",
     "levels of a tree: '1,4 / 100,8' has 4 leaves of 8 tokens, '1,4 / 100,6|9' of 6, 9, 6, 9"},
    {"--trace", "FILE.ttr", "a step of a trace instead (-: standard input); see --ordinal and --iteration"},
    TOOL_TRACE_OPTIONS("--ordinal"),
    {"--iteration", "K", "which step, from 1 (the one with the most queries)"},
    {"--strategy", TOOL_STRATEGIES "|all", "how items are formed (all)"},
    {"--target", "gpu|cpu", "the machine for which the strategy cost plans (gpu)"},
    {"--workers", "N", "SMs or cores over which cost balances (gpu: 132, cpu: the online processors)"},
    TOOL_PROFILE_OPTION("prices and workers of cost on a GPU"),
    {"--variant", "packed|deft_counted|deft_issued|all", "how bytes are counted (packed)"},
    {"--items", NULL, "list the items of one strategy"},
    {"--piece-tokens", "N", "a strategy cuts after N tokens (its own N)"},
    {"--max-rows", "N", "most queries of one item (the strategy's own)"},
    TOOL_LIMIT_OPTIONS,
    {"--block-tokens", "N", "tokens of a block, a power of two from 1 to 256 (16)"},
    TOOL_SHAPE_OPTIONS("32/8", "128", "bf16"),
    {NULL, NULL, NULL},
};

const tool_verb tool_plan = {
    .name = "plan",
    .summary = "shows the items and bytes that each strategy makes of a tree",
    .formats = "text csv json",
    .options = options,
    .example = "  treeattn plan --tree '1,16,64 / 1024,256,32' --strategy flatten --items\n"
               "  treeattn plan --tree '1,2 / 48,6|9' --strategy cost --target cpu --workers 8\n"
               "  treeattn plan --tree '1,1 / 512,16' --strategy cost --items --profile rtx_4090\n"
               "  treeattn plan --trace docs/examples/traces/accept.ttr --star 4 --iteration 2\n",
    .run = run,
};
