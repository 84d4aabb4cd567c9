/* Claim: each strategy forms the items that its rule says, and a bad config is refused before anything is written. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "plan_trees.h"
#include "test.h"

/* A plan as text: items in order, "rows[tokens+tokens*...]", * marks a masked range. */
static const char *describe(const tree_plan *plan)
{
    static char text[4096];
    size_t at = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%" PRIu32 "[", i ? " " : "", item->num_rows);
        for (uint32_t r = 0; r < item->num_ranges; r++) {
            const tree_range *range = &plan->ranges[item->first_range + r];
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%" PRIu32 "%s", r ? "+" : "", range->num_tokens,
                                   range->mask == TREE_NO_MASK ? "" : "*");
        }
        at += (size_t)snprintf(text + at, sizeof text - at, "]");
        check(at < sizeof text - 100, "room for the text");
    }
    return text;
}

typedef struct rule_case {
    const char *name, *levels;
    tree_plan_config config;
    const char *expected;
} rule_case;

static const rule_case rules[] = {
    {"flash", "1,2/10,3", {.strategy = TREE_FLASH}, "1[10+3] 1[10+3]"},
    {"flash_never_cuts", "1,2/10,3", {.strategy = TREE_FLASH, .piece_tokens = 4, .max_rows = 9}, "1[10+3] 1[10+3]"},
    {"flash_decoding", "1,2/10,3", {.strategy = TREE_FLASH_DECODING, .piece_tokens = 6},
     "1[6] 1[4+2] 1[1] 1[6] 1[4+2] 1[1]"},
    {"flash_decoding_exact", "1,1/4,4", {.strategy = TREE_FLASH_DECODING, .piece_tokens = 4}, "1[4] 1[4]"},
    {"flash_decoding_long", "1/300", {.strategy = TREE_FLASH_DECODING}, "1[128] 1[128] 1[44]"},
    {"radix", "1,2/10,3", {.strategy = TREE_RADIX, .piece_tokens = 6}, "1[6] 1[4] 1[3] 1[6] 1[4] 1[3]"},
    {"tree_mask", "1,2/10,3", {.strategy = TREE_TREE_MASK}, "2[10+3*+3*]"},
    {"tree_mask_sliced", "1,3/10,3", {.strategy = TREE_TREE_MASK, .max_rows = 2}, "2[10+3*+3*+3*] 1[10+3*+3*+3]"},
    {"tree_mask_one_query", "1,1/10,3", {.strategy = TREE_TREE_MASK}, "1[10+3]"},
    {"node", "1,2/10,3", {.strategy = TREE_NODE}, "2[10] 1[3] 1[3]"},
    {"node_sliced", "1,5/10,3", {.strategy = TREE_NODE, .max_rows = 2}, "2[10] 2[10] 1[10] 1[3] 1[3] 1[3] 1[3] 1[3]"},
    {"node_32_rows", "1,33/10,1", {.strategy = TREE_NODE, .max_rows = 0}, NULL},
    {"node_chunk", "1,2/10,3", {.strategy = TREE_NODE_CHUNK, .piece_tokens = 4}, "2[4] 2[4] 2[2] 1[3] 1[3]"},
    {"node_chunk_sliced", "1,3/5,1", {.strategy = TREE_NODE_CHUNK, .piece_tokens = 4, .max_rows = 2},
     "2[4] 1[4] 2[1] 1[1] 1[1] 1[1] 1[1]"},
    {"flatten", "1,2/5,3", {.strategy = TREE_FLATTEN, .piece_tokens = 4}, "2[4] 2[1+3*] 1[3]"},
    {"flatten_two_leaves", "1,3/4,3", {.strategy = TREE_FLATTEN, .piece_tokens = 4}, "3[4] 2[3*+1*] 2[2*+2*] 1[1]"},
    {"flatten_sliced", "1,3/5,1", {.strategy = TREE_FLATTEN, .max_rows = 2}, "2[5+1*+1*+1*] 1[5+1*+1*+1]"},
    {"flatten_forest", "2,2/3,1", {.strategy = TREE_FLATTEN, .piece_tokens = 5}, "2[3*+1*+1*] 1[2+1]"},
    {"cost_absorbs_chain", "1,1,1/10,3,7", {.strategy = TREE_COST}, "1[10+3+7]"},
    {"cost_packs_leaves", "1,4/2000,1", {.strategy = TREE_COST, .piece_tokens = 1000}, "4[1000] 4[1000+1*+1*+1*+1*]"},
    {"cost_cuts_shared", "1,2/600,300", {.strategy = TREE_COST, .piece_tokens = 256},
     "2[256] 2[256] 2[88] 1[300] 1[300]"},
    {"cost_rest_joins", "1/80", {.strategy = TREE_COST, .piece_tokens = 64}, "1[80]"},
    {"cost_rest_beyond_quarter", "1/81", {.strategy = TREE_COST, .piece_tokens = 64}, "1[64] 1[17]"},
    {"cost_long_shared_stays_own", "1,8/4000,1000", {.strategy = TREE_COST, .piece_tokens = 4000},
     "8[4000] 1[1000] 1[1000] 1[1000] 1[1000] 1[1000] 1[1000] 1[1000] 1[1000]"},
    {"cost_short_shared_is_absorbed", "1,2/5,2000", {.strategy = TREE_COST, .piece_tokens = 4000},
     "1[5+2000] 1[5+2000]"},
    {"cost_rows_cut", "1,5/40,200", {.strategy = TREE_COST, .max_rows = 2, .piece_tokens = 1000}, NULL},
    {"cost_packs_on_gpu", "1,4/2000,64", {.strategy = TREE_COST, .piece_tokens = 2000}, "4[2000+64*+64*+64*+64*]"},
    {"cost_packs_not_on_cpu", "1,4/2000,64", {.strategy = TREE_COST, .target = TREE_TARGET_CPU, .piece_tokens = 2000},
     "4[2000] 1[64] 1[64] 1[64] 1[64]"},
    {"cost_forest_of_small", "4/5", {.strategy = TREE_COST}, "4[5*+5*+5*+5*]"},
    {"cost_packs_within_piece", "1,6/200,40", {.strategy = TREE_COST, .group_size = 1, .piece_tokens = 100},
     "6[100] 6[100] 2[40*+40*] 2[40*+40*] 2[40*+40*]"},
    {"cost_two_workers", "1/3000", {.strategy = TREE_COST, .num_workers = 2}, "1[3000]"},
    {"cost_132_workers", "1/1024", {.strategy = TREE_COST},
     "1[128] 1[128] 1[128] 1[128] 1[128] 1[128] 1[128] 1[128]"},
    {"cost_short_rest_joins", "1/1040", {.strategy = TREE_COST},
     "1[128] 1[128] 1[128] 1[128] 1[128] 1[128] 1[128] 1[144]"},
    {"cost_longer_rest", "1/1041", {.strategy = TREE_COST},
     "1[128] 1[128] 1[128] 1[128] 1[128] 1[128] 1[128] 1[128] 1[17]"},
};

static void run_rule(const void *argument)
{
    const rule_case *c = argument;
    kv_tree *tree = plan_tree_levels(c->levels, 16, 0);
    tree_plan *plan = plan_tree_plan(tree, c->config);
    if (c->expected)
        check(!strcmp(describe(plan), c->expected), "'%s', expected '%s'", describe(plan), c->expected);
    for (uint32_t i = 0; i < plan->num_items; i++)
        check(plan->items[i].num_rows <= plan->config.max_rows, "rows of item %" PRIu32, i);
    test_note("%s", describe(plan));
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* The tree of docs/plans.md: six shared tokens, then three of query 0 and four of query 1. */
typedef struct page_case {
    tree_strategy strategy;
    uint32_t piece_tokens, num_partials;
    uint64_t loaded_tokens, masked_pairs;
    const char *expected;
} page_case;

static const page_case pages[TREE_NUM_STRATEGIES] = {
    {TREE_FLASH, 4, 2, 19, 0, "1[6+3] 1[6+4]"},
    {TREE_FLASH_DECODING, 4, 6, 19, 0, "1[4] 1[2+2] 1[1] 1[4] 1[2+2] 1[2]"},
    {TREE_RADIX, 4, 6, 19, 0, "1[4] 1[2] 1[3] 1[4] 1[2] 1[4]"},
    {TREE_TREE_MASK, 4, 2, 13, 7, "2[6+3*+4*]"},
    {TREE_NODE, 4, 4, 13, 0, "2[6] 1[3] 1[4]"},
    {TREE_NODE_CHUNK, 4, 6, 13, 0, "2[4] 2[2] 1[3] 1[4]"},
    {TREE_FLATTEN, 4, 7, 13, 6, "2[4] 2[2+2*] 2[1*+3*] 1[1]"},
    {TREE_COST, 0, 2, 13, 7, "2[6+3*+4*]"},
};

static void run_page(const void *argument)
{
    const page_case *c = argument;
    const uint32_t parent[] = {KV_NONE, 0, 0}, num_tokens[] = {6, 3, 4};
    kv_tree *tree = plan_tree_create(&(plan_tree_nodes){3, parent, num_tokens, NULL, 0}, 16, 0);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = c->strategy,
                                                              .piece_tokens = c->piece_tokens});
    check(!strcmp(describe(plan), c->expected), "'%s', expected '%s'", describe(plan), c->expected);
    check(plan->loaded_tokens == c->loaded_tokens && plan->num_partials == c->num_partials
          && plan->masked_pairs == c->masked_pairs, "loaded %" PRIu64 " partials %" PRIu32 " masked %" PRIu64,
          plan->loaded_tokens, plan->num_partials, plan->masked_pairs);
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* Rows of an item where none are given: DeFT's take 32, tree_mask all. */
static void run_default_rows(const void *argument)
{
    (void)argument;
    static const uint32_t expected[TREE_NUM_STRATEGIES] = {1, 1, 1, 70, 32, 32, 32, 16};
    kv_tree *tree = plan_tree_levels("1,70/10,1", 16, 0);
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++) {
        tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = (tree_strategy)s});
        check(plan->config.max_rows == expected[s], "%s: %" PRIu32, tree_strategy_name[s], plan->config.max_rows);
        tree_plan_destroy(plan);
    }
    plan_tree_destroy(tree);
}

typedef struct config_case {
    const char *name;
    tree_plan_config config;
    tree_status status;
} config_case;

static const config_case configs[] = {
    {"unknown_strategy", {.strategy = TREE_NUM_STRATEGIES}, TREE_INVAL},
    {"negative_strategy", {.strategy = (tree_strategy)-1}, TREE_INVAL},
    {"largest_piece", {.strategy = TREE_FLATTEN, .piece_tokens = 1u << 30}, TREE_OK},
    {"piece_beyond", {.strategy = TREE_FLATTEN, .piece_tokens = (1u << 30) + 1}, TREE_INVAL},
    {"piece_beyond_unused", {.strategy = TREE_FLASH, .piece_tokens = (1u << 30) + 1}, TREE_INVAL},
    {"largest_group", {.strategy = TREE_COST, .group_size = 1u << 16}, TREE_OK},
    {"group_beyond", {.strategy = TREE_COST, .group_size = (1u << 16) + 1}, TREE_INVAL},
    {"largest_rows", {.strategy = TREE_NODE, .max_rows = UINT32_MAX}, TREE_OK},
    {"largest_rows_cost", {.strategy = TREE_COST, .max_rows = UINT32_MAX}, TREE_OK},
    {"unknown_target", {.strategy = TREE_COST, .target = (tree_target)2}, TREE_INVAL},
    {"largest_workers", {.strategy = TREE_COST, .num_workers = UINT32_MAX}, TREE_OK},
    {"one_worker", {.strategy = TREE_COST, .num_workers = 1}, TREE_OK},
};

static void run_config(const void *argument)
{
    const config_case *c = argument;
    tree_plan *untouched = (tree_plan *)&configs, *plan = untouched;
    kv_tree *tree = plan_tree_levels("1,3/40,20", 4, 0);
    tree_status status = tree_plan_build(&plan, tree, &c->config);
    check(status == c->status, "%s", tree_status_string(status));
    if (status)
        check(plan == untouched, "*plan is untouched");
    else
        tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

static void run_names(const void *argument)
{
    (void)argument;
    tree_strategy strategy = TREE_COST;
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++)
        check(tree_strategy_from_name(tree_strategy_name[s], &strategy) && strategy == (tree_strategy)s, "%s",
              tree_strategy_name[s]);
    strategy = TREE_NODE;
    check(!tree_strategy_from_name("Flash", &strategy) && !tree_strategy_from_name("", &strategy)
          && strategy == TREE_NODE, "unknown names leave it alone");
}

static void run_status_strings(const void *argument)
{
    (void)argument;
    for (int s = TREE_NOT_FINITE; s <= TREE_OK; s++)
        for (int other = TREE_NOT_FINITE - 1; other < s; other++)
            check(strcmp(tree_status_string((tree_status)s), tree_status_string((tree_status)other)), "%d and %d", s,
                  other);
    check(tree_status_string((tree_status)7) != NULL, "never NULL");
}

typedef struct overflow_case {
    tree_strategy strategy;
    uint32_t num_tokens;
    bool chain; /* the nodes are one path, not roots */
} overflow_case;

/* Token counts that no memory holds, but a tree can state. */
static void run_overflow(const void *argument)
{
    const overflow_case *c = argument;
    uint32_t parent[9], num_tokens[9];
    for (int n = 0; n < 9; n++) {
        parent[n] = c->chain && n ? (uint32_t)n - 1 : KV_NONE;
        num_tokens[n] = 8;
    }
    kv_tree *tree = plan_tree_create(&(plan_tree_nodes){9, parent, num_tokens, NULL, 0}, 256, 0);
    for (int n = 0; n < 9; n++)
        tree->nodes[n].num_tokens = c->num_tokens;
    tree_plan *plan = NULL;
    tree_plan_config config = {.strategy = c->strategy, .piece_tokens = 1u << 30};
    tree_status status = tree_plan_build(&plan, tree, &config);
    check(status == TREE_OVERFLOW && !plan, "%s", tree_status_string(status));
    plan_tree_destroy(tree);
}

/* In order along the path, each partial once. */
static void run_merge_lists(const void *argument)
{
    (void)argument;
    kv_tree *tree = plan_tree_levels("1,2,4/5,6,7", 16, 0);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_NODE});
    static const uint32_t expected[4][3] = {{0, 4, 6}, {1, 5, 7}, {2, 8, 10}, {3, 9, 11}}; /* by row */
    for (uint32_t row = 0; row < 4; row++) {
        uint32_t query = plan->rows[row], first = plan->merge_first[query];
        check(plan->merge_first[query + 1] - first == 3, "three nodes on the path");
        check(!memcmp(plan->merge_partials + first, expected[row], sizeof expected[row]), "row %" PRIu32, row);
    }
    tree_plan_destroy(plan);
    tree_plan *flash = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_FLASH});
    for (uint32_t q = 0; q < 4; q++)
        check(flash->merge_first[q + 1] - flash->merge_first[q] == 1, "a list of one");
    tree_plan_destroy(flash);
    plan_tree_destroy(tree);
}

/* Words of a mask: 70 rows take two, leaf r sets bit r alone. */
static void run_mask_words(const void *argument)
{
    (void)argument;
    kv_tree *tree = plan_tree_levels("1,70/9,2", 4, 0);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_TREE_MASK});
    check(plan->num_items == 1 && plan->num_ranges == 71 && plan->ranges[0].mask == TREE_NO_MASK, "root unmasked");
    for (uint32_t r = 0; r < 70; r++) {
        const uint64_t *mask = plan->masks + plan->ranges[r + 1].mask;
        for (uint32_t t = 0; t < 2; t++)
            for (uint32_t w = 0; w < 2; w++)
                check(mask[2 * t + w] == (r / 64 == w ? UINT64_C(1) << r % 64 : 0), "leaf %" PRIu32 " word %" PRIu32,
                      r, w);
    }
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* Inner nodes that several children see: a run of bits that crosses from one word to the next. */
static void run_mask_across_words(const void *argument)
{
    (void)argument;
    kv_tree *tree = plan_tree_levels("3,3,150/2,2,1", 4, 0);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_TREE_MASK});
    uint32_t second = 0;
    while (tree->nodes[second].first_row != 50 || tree->nodes[second].num_rows != 50)
        second++;
    const uint64_t *mask = plan->masks + plan->ranges[second].mask;
    check(mask[0] == UINT64_MAX << 50 && mask[1] == (UINT64_C(1) << 36) - 1 && mask[2] == 0,
          "rows 50 to 99: %016" PRIx64 " %016" PRIx64 " %016" PRIx64, mask[2], mask[1], mask[0]);
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* The shared prefix is read once for all its rows, so cost loads little more than U where paths share much. */
static void run_cost_is_no_worse(const void *argument)
{
    (void)argument;
    static const char *const levels[] = {"1,20/4000,200", "1,64/2048,64", "1,16,64/1024,256,32",
                                         "1,2,4,8,16,32,64/16,16,16,16,16,16,16", "1,32/3000,1"};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        kv_tree *tree = plan_tree_levels(levels[i], 16, 0);
        tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_COST});
        tree_plan *node = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_NODE});
        uint64_t bytes = 512 * plan->loaded_tokens + 4 * 1040 * (uint64_t)plan->num_partials;
        uint64_t node_bytes = 512 * node->loaded_tokens + 4 * 1040 * (uint64_t)node->num_partials;
        test_note("%s: items=%" PRIu32 " loaded=%" PRIu64 " U=%" PRIu64 " partials=%" PRIu32 " (node %" PRIu32 ")",
                  levels[i], plan->num_items, plan->loaded_tokens, plan->unique_tokens, plan->num_partials,
                  node->num_partials);
        check(plan->loaded_tokens <= 4 * plan->unique_tokens, "loads at most 4 U");
        check(bytes <= 3 * node_bytes, "at most three times the bytes of node, which does not cut");
        tree_plan_destroy(plan);
        tree_plan_destroy(node);
        plan_tree_destroy(tree);
    }
}

/* A comb: a spine of one-token nodes, each with a tooth. Teeth absorb the spine above them, but not all of it. */
static void run_cost_bounds_chains(const void *argument)
{
    (void)argument;
    enum { SPINE = 500 };
    uint32_t parent[2 * SPINE], num_tokens[2 * SPINE], longest = 0;
    for (uint32_t n = 0; n < 2 * SPINE; n++) {
        parent[n] = n == 0 ? KV_NONE : n < SPINE ? n - 1 : n - SPINE;
        num_tokens[n] = n < SPINE ? 1 : 300;
    }
    kv_tree *tree = plan_tree_create(&(plan_tree_nodes){2 * SPINE, parent, num_tokens, NULL, 0}, 16, 0);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_COST});
    for (uint32_t i = 0; i < plan->num_items; i++)
        longest = plan->items[i].num_ranges > longest ? plan->items[i].num_ranges : longest;
    check(longest > 2 && longest <= 40, "an item has %" PRIu32 " ranges", longest);
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

int main(int argc, char **argv)
{
    static const overflow_case overflows[] = {
        {TREE_TREE_MASK, KV_MAX_LENGTH, false},
        {TREE_FLATTEN, KV_MAX_LENGTH - 1, false},
        {TREE_FLASH, KV_MAX_LENGTH, true}};
    test_begin(argc, argv, "each strategy forms the items that its rule says");
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        test_add(run_rule, &rules[i], "%s", rules[i].name);
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++)
        test_add(run_page, &pages[s], "page_%s", tree_strategy_name[pages[s].strategy]);
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++)
        test_add(run_config, &configs[i], "config_%s", configs[i].name);
    test_add(run_default_rows, NULL, "default_rows");
    test_add(run_names, NULL, "names");
    test_add(run_status_strings, NULL, "status_strings");
    test_add(run_overflow, &overflows[0], "overflow_of_one_item");
    test_add(run_overflow, &overflows[1], "overflow_of_masks");
    test_add(run_overflow, &overflows[2], "overflow_of_a_path_without_masks");
    test_add(run_merge_lists, NULL, "merge_lists");
    test_add(run_mask_words, NULL, "mask_words");
    test_add(run_mask_across_words, NULL, "mask_across_words");
    test_add(run_cost_is_no_worse, NULL, "cost_is_no_worse");
    test_add(run_cost_bounds_chains, NULL, "cost_bounds_chains");
    return test_end();
}
