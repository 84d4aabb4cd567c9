/* Claim: a plan over evicted tokens covers each token that a query keeps once, and no other, under every strategy. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "hand_trees.h"
#include "keep_model.h"
#include "plan_trees.h"
#include "test.h"

typedef struct keep_case {
    const plan_tree_case *tree;
    tree_strategy strategy;
} keep_case;

/* Whether later evictions of any tokens, or of private ones, fit the plan. */
static void expect_set(tree_plan *plan, keep_set *set, bool only_private, const char *what)
{
    keep_evict_random(set, 30, only_private);
    check(tree_plan_set_keep(plan, set->tree, set->keeps), "%s: later evictions fit", what);
    keep_expect_covered(plan, set, what);
}

static void run_tree(const kv_tree *tree, tree_plan_config config)
{
    const char *name = tree_strategy_name[config.strategy];
    keep_set set = keep_set_create(tree);
    tree_plan *all, *plan = plan_tree_plan(tree, config), *needed = keep_plan(&set, config, TREE_KEEP_NEEDED);
    keep_expect_equal(needed, plan, name);
    tree_plan_destroy(plan);
    tree_plan_destroy(needed);

    plan = keep_plan(&set, config, TREE_KEEP_PRIVATE);
    expect_set(plan, &set, true, "private");
    tree_plan_destroy(plan);

    keep_evict_random(&set, 1 + test_below(99), false);
    plan = keep_plan(&set, config, TREE_KEEP_PRIVATE);
    needed = keep_plan(&set, config, TREE_KEEP_NEEDED);
    all = keep_plan(&set, config, TREE_KEEP_ALL);
    check(needed->num_mask_words <= plan->num_mask_words && plan->num_mask_words <= all->num_mask_words,
          "%s: more masks, more words", name);
    tree_plan_destroy(needed);
    expect_set(plan, &set, true, "private");
    expect_set(all, &set, false, "all");
    tree_plan_destroy(plan);
    plan = keep_plan(&set, config, TREE_KEEP_ALL);
    keep_expect_equal(all, plan, "set later, and built with");
    tree_plan_destroy(plan);
    tree_plan_destroy(all);
    keep_set_free(&set);
}

/* All rows x tokens are counted many times, so trees with many pairs come with one paging. */
static void run_named(const void *argument)
{
    const keep_case *c = argument;
    static const uint32_t block_tokens[] = {1, 16, 128};
    bool is_large = !strcmp(c->tree->name, "chain_300_all_ask") || !strcmp(c->tree->name, "star_of_one_token");
    for (int i = is_large; i < (is_large ? 2 : 3); i++) {
        kv_tree *tree = plan_tree_case_create(c->tree, block_tokens[i], 0);
        run_tree(tree, (tree_plan_config){.strategy = c->strategy});
        plan_tree_destroy(tree);
    }
}

static void run_random(const void *argument)
{
    tree_plan_config config = {.strategy = *(const tree_strategy *)argument};
    for (int i = 0; i < 20; i++) {
        kv_tree *tree = plan_tree_random(1 + test_below(40), 1 + test_below(100), 1u << test_below(9), 0);
        config.max_rows = test_below(2) * (1 + test_below(90));
        config.piece_tokens = test_below(2) * (1 + test_below(150));
        config.target = (tree_target)test_below(2);
        run_tree(tree, config);
        plan_tree_destroy(tree);
    }
}

/* Forks of all kinds, found from block tables. */
static void run_tables(const void *argument)
{
    for (int i = 0; i < 20; i++) {
        hand_forest forest = hand_random(1u << test_below(6), 12, 90);
        kv_tree *tree = hand_build(&forest, false);
        run_tree(tree, (tree_plan_config){.strategy = *(const tree_strategy *)argument});
        kv_tree_destroy(tree);
        hand_free(&forest);
    }
}

/* ---- which ranges get a mask ---- */

static uint32_t count_masked(const tree_plan *plan)
{
    uint32_t count = 0;
    for (uint32_t r = 0; r < plan->num_ranges; r++)
        count += plan->ranges[r].mask != TREE_NO_MASK;
    return count;
}

/* Six shared tokens, then three of query 0 and four of query 1. Query 1 has evicted token 2 of the shared ones, query 0
 * its own last one, behind which its path may grow by 32 tokens. */
static void run_masks_by_hand(const void *argument)
{
    (void)argument;
    static const uint32_t parent[] = {KV_NONE, 0, 0}, num_tokens[] = {6, 3, 4};
    kv_tree *tree = plan_tree_create(&(plan_tree_nodes){3, parent, num_tokens, NULL, 0}, 16, 0);
    keep_set set = keep_set_create(tree);
    const tree_plan_config node = {.strategy = TREE_NODE};
    uint32_t first = tree->rows[0], second = tree->rows[1];
    tree_plan *plan = keep_plan(&set, node, TREE_KEEP_PRIVATE);
    check(count_masked(plan) == 2 && plan->ranges[0].mask == TREE_NO_MASK, "the two private ranges");
    tree_plan_destroy(plan);
    plan = keep_plan(&set, node, TREE_KEEP_ALL);
    check(count_masked(plan) == 3, "all ranges");
    tree_plan_destroy(plan);
    plan = keep_plan(&set, (tree_plan_config){.strategy = TREE_FLASH}, TREE_KEEP_PRIVATE);
    check(count_masked(plan) == 2 && plan->ranges[0].mask == TREE_NO_MASK && plan->ranges[2].mask == TREE_NO_MASK,
          "a shared range is not private, even in an item of one query");
    tree_plan_destroy(plan);
    keep_evict(&set, second, 2);
    keep_evict(&set, first, 8);
    plan = keep_plan(&set, node, TREE_KEEP_NEEDED);
    check(count_masked(plan) == 2 && plan->num_mask_words == 6 + 3 + 32 && plan->masked_pairs == 2,
          "%" PRIu32 " masks, %" PRIu32 " words, %" PRIu64 " hidden pairs", count_masked(plan), plan->num_mask_words,
          plan->masked_pairs);
    for (uint32_t t = 0; t < 6; t++)
        check(plan->masks[plan->ranges[0].mask + t] == (t == 2 ? 1 : 3), "mask of shared token %" PRIu32, t);
    for (uint32_t t = 0; t < 3; t++)
        check(plan->masks[plan->ranges[1].mask + t] == (t < 2), "mask of query 0's token %" PRIu32, t);
    check(plan->ranges[2].mask == TREE_NO_MASK, "query 1 keeps its own tokens");
    tree_plan_destroy(plan);
    keep_set_free(&set);
    plan_tree_destroy(tree);
}

/* ---- refusals ---- */

/* Whether each range that needs a mask has one. Plans of one tree and config have the same ranges. */
static bool has_masks(const tree_plan *plan, const tree_plan *needed)
{
    bool has = true;
    for (uint32_t r = 0; r < plan->num_ranges; r++)
        has &= plan->ranges[r].mask != TREE_NO_MASK || needed->ranges[r].mask == TREE_NO_MASK;
    return has;
}

/* A few tokens more are evicted: set_keep follows if it can, and otherwise changes nothing. */
static bool try_set(const keep_set *set, tree_plan_config config, tree_keep_masks masks)
{
    tree_plan *plan = keep_plan(set, config, masks), *same = keep_plan(set, config, masks);
    keep_set later = keep_set_copy(set);
    for (int i = 0; i < 3; i++) {
        uint32_t query = test_below(set->tree->num_queries), length = keep_length(set->tree, query);
        keep_evict(&later, query, length ? test_below(length) : 0);
    }
    tree_plan *needed = keep_plan(&later, config, TREE_KEEP_NEEDED);
    bool fits = has_masks(plan, needed);
    check(tree_plan_set_keep(plan, set->tree, later.keeps) == fits, "set_keep is %sto follow", fits ? "" : "not ");
    if (fits)
        keep_expect_covered(plan, &later, "followed");
    else
        keep_expect_equal(plan, same, "refused");
    keep_set_free(&later);
    tree_plan_destroy(needed);
    tree_plan_destroy(same);
    tree_plan_destroy(plan);
    return fits;
}

static void run_fits(const void *argument)
{
    tree_plan_config config = {.strategy = *(const tree_strategy *)argument, .piece_tokens = 20};
    uint32_t num_fits = 0, num_tries = 120;
    for (uint32_t i = 0; i < num_tries; i++) {
        kv_tree *tree = plan_tree_levels(i % 2 ? "1,3,6/30,20,30" : "2,4/3,70", 16, 0);
        keep_set set = keep_set_create(tree);
        keep_evict_random(&set, 10, true);
        num_fits += try_set(&set, config, (tree_keep_masks)(i % 3));
        keep_set_free(&set);
        plan_tree_destroy(tree);
    }
    check(num_fits > 40 && num_fits < num_tries, "%" PRIu32 " of %" PRIu32 " fit", num_fits, num_tries);
}

/* Another tree, or keep words of other tables: refused, and nothing changes. */
static void run_other_trees(const void *argument)
{
    const tree_plan_config config = {.strategy = *(const tree_strategy *)argument};
    const char *const levels[] = {"1,2,4/30,20,10", "1,2,4/30,21,9", "1,2,4/30,20,11", "1,4,4/30,20,10",
                                  "1,2,5/30,20,10"};
    kv_tree *trees[5];
    keep_set sets[5];
    for (int i = 0; i < 5; i++) {
        test_reseed(); /* the same order of queries and blocks, as far as there are as many */
        trees[i] = plan_tree_levels(levels[i], 16, 20);
        sets[i] = keep_set_create(trees[i]);
    }
    tree_plan *plan = keep_plan(&sets[0], config, TREE_KEEP_ALL), *same = keep_plan(&sets[0], config, TREE_KEEP_ALL);
    for (int i = 1; i < 5; i++) {
        check(!tree_plan_set_keep(plan, trees[i], sets[i].keeps), "%s is another tree", levels[i]);
        check(i != 2 || !tree_plan_set_keep(plan, trees[0], sets[i].keeps), "a token that the tree has not");
        keep_expect_equal(plan, same, levels[i]);
    }
    uint32_t swap = trees[0]->rows[0];
    trees[0]->rows[0] = trees[0]->rows[3];
    trees[0]->rows[3] = swap;
    check(!tree_plan_set_keep(plan, trees[0], sets[0].keeps), "other rows");
    trees[0]->rows[3] = trees[0]->rows[0];
    trees[0]->rows[0] = swap;
    check(tree_plan_set_keep(plan, trees[0], sets[0].keeps), "its own tree");
    keep_expect_equal(plan, same, "the same keep words");
    tree_plan_destroy(plan);
    tree_plan_destroy(same);
    for (int i = 0; i < 5; i++) {
        keep_set_free(&sets[i]);
        plan_tree_destroy(trees[i]);
    }
}

static void expect_build(tree_status expected, const kv_tree *tree, tree_plan_config config, const kv_keep *keeps,
                         tree_keep_masks masks, const char *what)
{
    tree_plan *untouched = (tree_plan *)&config, *plan = untouched;
    tree_status status = tree_plan_build_keep(&plan, tree, &config, keeps, masks);
    check(status == expected && plan == untouched, "%s: %s", what, tree_status_string(status));
}

static void run_bad_input(const void *argument)
{
    (void)argument;
    static const uint32_t a[] = {0, 1}, b[] = {0, 2};
    const kv_table tables[] = {{a, 2, 20, 1}, {b, 2, 20, 2}};
    const kv_draft drafts[] = {{0, NULL}, {0, NULL}};
    const tree_plan_config node = {.strategy = TREE_NODE};
    char message[200];
    kv_tree *tree = plan_tree_levels("1,2/20,10", 16, 0), *drafted;
    keep_set set = keep_set_create(tree);
    expect_build(TREE_INVAL, tree, (tree_plan_config){.strategy = TREE_NUM_STRATEGIES}, set.keeps, TREE_KEEP_ALL,
                 "a strategy that is none");
    expect_build(TREE_INVAL, tree, node, set.keeps, (tree_keep_masks)3, "masks that are none");
    for (int i = 0; i < 3; i++) {
        kv_keep keeps[] = {set.keeps[0], set.keeps[1]};
        keeps[1].num_blocks += i == 0 ? 1 : i == 1 ? UINT32_MAX : 0;
        keeps[1].words_per_block += i == 2;
        expect_build(TREE_INVAL, tree, node, keeps, TREE_KEEP_NEEDED, "keep words of another table");
        tree_plan *plan = keep_plan(&set, node, TREE_KEEP_ALL);
        check(!tree_plan_set_keep(plan, tree, keeps), "keep words of another table");
        check(tree_plan_check_keep(plan, tree, keeps, message, sizeof message) == TREE_BAD_PLAN
              && strstr(message, "query 1: keep words"), "'%s'", message);
        tree_plan_destroy(plan);
    }
    check(kv_tree_build_drafts(&drafted, tables, drafts, 2, 16, 3) == KV_OK, "a tree with drafts");
    tree_plan *plan = plan_tree_plan(drafted, node);
    for (uint32_t i = 0; i < plan->num_blocks; i++)
        check(plan->table_index[i] == KV_NONE, "no index in a tree with drafts");
    expect_build(TREE_INVAL, drafted, node, set.keeps, TREE_KEEP_NEEDED, "a tree with drafts");
    check(!tree_plan_set_keep(plan, drafted, set.keeps), "a tree with drafts");
    tree_plan_destroy(plan);
    kv_tree_destroy(drafted);
    keep_set_free(&set);
    plan_tree_destroy(tree);
}

/* The check notices a token that is seen but evicted, and one that is kept but not seen. A row that sees no token is no
 * fault. */
static void run_check(const void *argument)
{
    const tree_plan_config config = {.strategy = *(const tree_strategy *)argument};
    char message[200];
    kv_tree *tree = plan_tree_levels("1,3/30,20", 16, 0);
    keep_set set = keep_set_create(tree);
    tree_plan *plan = keep_plan(&set, config, TREE_KEEP_ALL);
    keep_evict(&set, 1, 33);
    check(tree_plan_check_keep(plan, tree, set.keeps, message, sizeof message) == TREE_BAD_PLAN
          && strstr(message, "query 1 sees token 33 in item") && strstr(message, "evicted"), "'%s'", message);
    check(tree_plan_check(plan, tree, message, sizeof message) == TREE_OK, "without keep words: %s", message);
    check(tree_plan_set_keep(plan, tree, set.keeps), "set");
    keep_take_hole(&set, 1, 33);
    check(tree_plan_check_keep(plan, tree, set.keeps, message, sizeof message) == TREE_BAD_PLAN
          && strstr(message, "query 1 never sees token 33"), "'%s'", message);
    check(tree_plan_check(plan, tree, message, sizeof message) == TREE_BAD_PLAN, "the tree alone: '%s'", message);
    for (uint32_t slot = 0; slot < 50; slot++)
        keep_evict(&set, 1, slot);
    check(tree_plan_set_keep(plan, tree, set.keeps), "query 1 keeps nothing");
    keep_expect_covered(plan, &set, "query 1 keeps nothing");
    tree_plan_destroy(plan);
    keep_set_free(&set);
    plan_tree_destroy(tree);
}

/* Three states of one query, of which the middle one is empty: the order of the other two is still checked. */
static void run_check_order(const void *argument)
{
    (void)argument;
    const tree_plan_config config = {.strategy = TREE_FLASH_DECODING, .piece_tokens = 10};
    char message[200];
    kv_tree *tree = plan_tree_levels("1/30", 16, 0);
    keep_set set = keep_set_create(tree);
    for (uint32_t slot = 10; slot < 20; slot++)
        keep_evict(&set, 0, slot);
    tree_plan *plan = keep_plan(&set, config, TREE_KEEP_NEEDED);
    check(plan->num_partials == 3, "three states");
    plan->merge_partials[0] = 2;
    plan->merge_partials[2] = 0;
    check(tree_plan_check_keep(plan, tree, set.keeps, message, sizeof message) == TREE_BAD_PLAN
          && strstr(message, "merges token 0 (item 0) after token 29"), "'%s'", message);
    tree_plan_destroy(plan);
    keep_set_free(&set);
    plan_tree_destroy(tree);
}

/* ---- growth ---- */

/* Some tables get longer; their new tokens are kept. */
static void grow_tables(kv_tree *tree, keep_set *set, uint32_t num_tokens)
{
    keep_set grown;
    for (uint32_t q = 0; q < tree->num_queries; q++)
        if (q % 3)
            plan_tree_grow(tree, q, num_tokens);
    grown = keep_set_create(tree);
    for (uint32_t q = 0; q < tree->num_queries; q++)
        for (uint32_t slot = 0; slot < set->lengths[q]; slot++)
            if (!kv_keep_slot(&set->keeps[q], tree->block_tokens, slot))
                keep_evict(&grown, q, slot);
    keep_set_free(set);
    *set = grown;
}

/* New tokens count as kept, also behind an evicted one; set_keep knows them. */
static void run_grow(const void *argument)
{
    const tree_plan_config config = {.strategy = *(const tree_strategy *)argument};
    bool never = config.strategy == TREE_TREE_MASK || config.strategy == TREE_FLATTEN;
    for (int masks = TREE_KEEP_NEEDED; masks <= TREE_KEEP_ALL; masks++) {
        kv_tree *tree = plan_tree_levels("1,3,9/20,15,10", 16, 300);
        keep_set set = keep_set_create(tree);
        for (uint32_t q = 0; q < 9; q++)
            keep_evict(&set, q, 35 + q / 3); /* the first token of its last range, of some */
        tree_plan *plan = keep_plan(&set, config, (tree_keep_masks)masks);
        for (int step = 0; step < 4; step++) {
            grow_tables(tree, &set, 8);
            check(tree_plan_grow(plan, tree) == !never, "8 tokens more");
            if (never)
                break;
            keep_expect_covered(plan, &set, "grown");
            for (uint32_t q = 0; q < 9; q++)
                keep_evict(&set, q, keep_length(tree, q) - 1 - q % 8);
            check(tree_plan_set_keep(plan, tree, set.keeps), "one token evicted of each query");
            keep_expect_covered(plan, &set, "grown, then set");
        }
        grow_tables(tree, &set, 1);
        check(!tree_plan_grow(plan, tree), "room for 32 tokens");
        tree_plan_destroy(plan);
        keep_set_free(&set);
        plan_tree_destroy(tree);
    }
}

int main(int argc, char **argv)
{
    static keep_case cases[64][TREE_NUM_STRATEGIES];
    static tree_strategy strategies[TREE_NUM_STRATEGIES];
    test_begin(argc, argv, "a plan over evicted tokens covers each token that a query keeps once, and no other");
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++) {
        strategies[s] = (tree_strategy)s;
        for (int t = 0; t < num_plan_tree_cases; t++) {
            if (!strcmp(plan_tree_cases[t].name, "rows_4096")) /* 16 million pairs */
                continue;
            cases[t][s] = (keep_case){&plan_tree_cases[t], (tree_strategy)s};
            test_add(run_named, &cases[t][s], "%s_%s", tree_strategy_name[s], plan_tree_cases[t].name);
        }
        test_add(run_random, &strategies[s], "%s_random", tree_strategy_name[s]);
        test_add(run_tables, &strategies[s], "%s_from_tables", tree_strategy_name[s]);
        test_add(run_fits, &strategies[s], "%s_follows_or_refuses", tree_strategy_name[s]);
        test_add(run_other_trees, &strategies[s], "%s_other_trees", tree_strategy_name[s]);
        test_add(run_check, &strategies[s], "%s_check", tree_strategy_name[s]);
        test_add(run_grow, &strategies[s], "%s_grows", tree_strategy_name[s]);
    }
    test_add(run_masks_by_hand, NULL, "masks_by_hand");
    test_add(run_check_order, NULL, "check_order_across_an_empty_state");
    test_add(run_bad_input, NULL, "bad_input");
    return test_end();
}
