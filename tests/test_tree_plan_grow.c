/* Claim: a plan that grew with its tree covers what a fresh plan covers, and refuses where its items would change. */
#include <inttypes.h>
#include <string.h>

#include "kv_branch.h"
#include "plan_trees.h"
#include "test.h"

static const tree_strategy strategies[] = {TREE_FLASH, TREE_FLASH_DECODING, TREE_RADIX, TREE_TREE_MASK,
                                           TREE_NODE,  TREE_NODE_CHUNK,     TREE_FLATTEN, TREE_COST};

static void check_plan(const tree_plan *plan, const kv_tree *tree, const char *when)
{
    char message[200];
    check(tree_plan_check(plan, tree, message, sizeof message) == TREE_OK, "%s %s: %s",
          tree_strategy_name[plan->config.strategy], when, message);
}

static uint64_t covered_pairs(const tree_plan *plan)
{
    uint64_t pairs = 0;
    for (uint32_t i = 0; i < plan->num_items; i++)
        pairs += (uint64_t)plan->items[i].num_rows * plan->items[i].num_tokens;
    return pairs - plan->masked_pairs;
}

/* One step: some queries get longer. Returns whether the plan could follow. */
static bool step(tree_plan **plan, kv_tree *tree, const tree_plan_config *config)
{
    for (uint32_t q = 0; q < tree->num_queries; q++)
        if (test_below(4))
            plan_tree_grow(tree, q, 1 + (test_below(20) == 0));
    bool grown = tree_plan_grow(*plan, tree);
    if (!grown) {
        tree_plan_destroy(*plan);
        check(tree_plan_build(plan, tree, config) == TREE_OK, "a fresh plan");
    }
    return grown;
}

static void run_300_steps(const void *argument)
{
    tree_plan_config config = {.strategy = *(const tree_strategy *)argument};
    static const uint32_t pieces[] = {0, 13, 100};
    for (int i = 0; i < 3; i++) {
        kv_tree *tree = i == 1 ? plan_tree_random(30, 60, 8, 700) : plan_tree_levels("1,3,9/100,40,1", 16, 700);
        config.piece_tokens = pieces[i];
        config.max_rows = i == 2 ? 2 : 0;
        tree_plan *plan = plan_tree_plan(tree, config);
        uint32_t num_grown = 0;
        for (int s = 0; s < 300; s++) {
            num_grown += step(&plan, tree, &config);
            check(covered_pairs(plan) == tree->path_tokens, "covers S after step %d", s);
            if (s % 10 == 9)
                check_plan(plan, tree, "after some steps");
        }
        bool never = config.strategy == TREE_TREE_MASK || config.strategy == TREE_FLATTEN;
        bool always = config.strategy == TREE_FLASH || config.strategy == TREE_NODE;
        check(never ? num_grown == 0 : always ? num_grown == 300 : num_grown > 0 && num_grown < 300,
              "%s grew in %" PRIu32 " of 300 steps", tree_strategy_name[config.strategy], num_grown);
        test_note("piece=%" PRIu32 " grew in %" PRIu32 " of 300 steps", config.piece_tokens, num_grown);
        tree_plan_destroy(plan);
        plan_tree_destroy(tree);
    }
}

/* Grown from short to long, a plan of the strategies that always follow is the fresh plan, array for array. */
static void run_same_as_fresh(const void *argument)
{
    tree_plan_config config = {.strategy = *(const tree_strategy *)argument};
    kv_tree *tree = plan_tree_levels("1,4,8/30,20,3", 4, 300);
    tree_plan *plan = plan_tree_plan(tree, config);
    for (uint32_t q = 0; q < tree->num_queries; q++)
        check(plan_tree_grow(tree, q, 10 * q + 7), "room for query %" PRIu32, q);
    check(tree_plan_grow(plan, tree), "grows");
    tree_plan *fresh = plan_tree_plan(tree, config);
    check(plan->num_items == fresh->num_items && plan->num_ranges == fresh->num_ranges, "as many items and ranges");
    check(!memcmp(plan->items, fresh->items, plan->num_items * sizeof *plan->items), "items");
    check(!memcmp(plan->ranges, fresh->ranges, plan->num_ranges * sizeof *plan->ranges), "ranges");
    check(!memcmp(plan->blocks, fresh->blocks, plan->num_blocks * sizeof *plan->blocks), "blocks");
    check(plan->max_block == fresh->max_block && plan->loaded_tokens == fresh->loaded_tokens
          && plan->unique_tokens == fresh->unique_tokens && plan->path_tokens == fresh->path_tokens, "sums");
    tree_plan_destroy(fresh);
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

static void *copy_of(const void *array, size_t bytes)
{
    static char room[1 << 16];
    check(bytes <= sizeof room, "room");
    return memcpy(room, array, bytes);
}

/* All queries but one could grow: nothing may change. */
static void run_refusal_changes_nothing(const void *argument)
{
    tree_plan_config config = {.strategy = *(const tree_strategy *)argument, .piece_tokens = 20};
    kv_tree *tree = plan_tree_levels("1,6/30,3", 4, 300);
    tree_plan *plan = plan_tree_plan(tree, config);
    for (uint32_t q = 0; q < tree->num_queries; q++)
        plan_tree_grow(tree, q, 1);
    plan_tree_grow(tree, 3, 200);
    uint64_t loaded = plan->loaded_tokens, unique = plan->unique_tokens;
    tree_range *before = copy_of(plan->ranges, plan->num_ranges * sizeof *before);
    check(!tree_plan_grow(plan, tree), "200 tokens more do not fit");
    check(plan->loaded_tokens == loaded && plan->unique_tokens == unique, "sums as before");
    check(!memcmp(plan->ranges, before, plan->num_ranges * sizeof *before), "ranges as before");
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

static void run_limit(const void *argument)
{
    tree_plan_config config = {.strategy = *(const tree_strategy *)argument, .piece_tokens = 40};
    uint32_t limit = config.strategy == TREE_COST ? 60 : 50; /* 1.5 and 1.25 pieces */
    kv_tree *tree = plan_tree_levels("1/38", 4, 300);
    tree_plan *plan = plan_tree_plan(tree, config);
    for (uint32_t length = 39; length <= limit; length++)
        check(plan_tree_grow(tree, 0, 1) && tree_plan_grow(plan, tree), "up to %" PRIu32 " tokens", length);
    check(plan->num_items == 1 && plan->items[0].num_tokens == limit, "one item of %" PRIu32 " tokens", limit);
    check_plan(plan, tree, "at the limit");
    check(plan_tree_grow(tree, 0, 1) && !tree_plan_grow(plan, tree), "not beyond");
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* Not even where a single query could: these strategies keep the form that a fresh build has. */
static void run_never(const void *argument)
{
    tree_plan_config config = {.strategy = *(const tree_strategy *)argument, .piece_tokens = 40};
    kv_tree *tree = plan_tree_levels("1/38", 4, 300);
    tree_plan *plan = plan_tree_plan(tree, config);
    check(tree_plan_grow(plan, tree), "nothing grew");
    check(plan_tree_grow(tree, 0, 1) && !tree_plan_grow(plan, tree), "one token grew");
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* cost packs small leaves under masks, which have room for 32 tokens more. */
static void run_masked_limit(const void *argument)
{
    (void)argument;
    kv_tree *tree = plan_tree_levels("1,4/100,2", 16, 300);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_COST});
    check(plan->masked_pairs > 0, "leaves are packed");
    for (uint32_t s = 0; s < 32; s++) {
        for (uint32_t q = 0; q < 4; q++)
            check(plan_tree_grow(tree, q, 1), "room in the tree");
        check(tree_plan_grow(plan, tree), "step %" PRIu32, s);
        check_plan(plan, tree, "in a mask");
    }
    check(plan_tree_grow(tree, 2, 1) && !tree_plan_grow(plan, tree), "no room for a 33rd token");
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* What cost makes without a given piece: how far the last item may grow. */
typedef struct room_case {
    const char *name, *levels;
    tree_plan_config config;
    uint32_t num_items, length, limit; /* of the last item */
} room_case;

static const room_case rooms[] = {
    {"gpu_half_its_length_and_a_tile", "1/38", {.strategy = TREE_COST}, 1, 38, 38 + 19 + 64},
    {"gpu_last_share", "1/1024", {.strategy = TREE_COST}, 8, 128, 128 + 64 + 64},
    {"gpu_odd_share", "1/1041", {.strategy = TREE_COST}, 9, 17, 17 + 8 + 64},
    {"gpu_alone_half_the_longest_path_and_a_tile", "1,32/208,64", {.strategy = TREE_COST}, 32, 272, (272 + 64) * 3 / 2},
    {"gpu_alone_in_pieces", "1,32/208,64", {.strategy = TREE_COST, .group_size = 8, .num_workers = 1056}, 160, 16, 64 * 3 / 2},
    {"gpu_given_piece", "1/38", {.strategy = TREE_COST, .piece_tokens = 40}, 1, 38, 60},
    {"cpu_one_and_a_half_pieces", "1/38", {.strategy = TREE_COST, .target = TREE_TARGET_CPU}, 1, 38, 96},
    {"cpu_wide_group", "1/38", {.strategy = TREE_COST, .target = TREE_TARGET_CPU, .group_size = 100}, 1, 38, 384},
    {"cpu_rest_of_a_quarter", "1/80", {.strategy = TREE_COST, .target = TREE_TARGET_CPU}, 1, 80, 96},
};

static void run_room(const void *argument)
{
    const room_case *c = argument;
    kv_tree *tree = plan_tree_levels(c->levels, 16, 500);
    tree_plan *plan = plan_tree_plan(tree, c->config);
    const tree_item *last = &plan->items[plan->num_items - 1];
    const uint32_t query = plan->rows[last->first_row];
    check(plan->num_items == c->num_items && last->num_tokens == c->length, "%" PRIu32 " items, the last of %" PRIu32,
          plan->num_items, last->num_tokens);
    while (last->num_tokens < c->limit)
        check(plan_tree_grow(tree, query, 1) && tree_plan_grow(plan, tree), "stopped at %" PRIu32,
              last->num_tokens);
    check_plan(plan, tree, "at the limit");
    check(plan_tree_grow(tree, query, 1) && !tree_plan_grow(plan, tree), "not beyond %" PRIu32, c->limit);
    plan_tree_destroy(tree);
    tree_plan_destroy(plan);
}

/* The same queries at nodes of the same numbers and lengths, but longer or shorter lists of blocks. */
static void run_another_block_list(const void *argument)
{
    tree_plan_config config = {.strategy = *(const tree_strategy *)argument};
    kv_tree *tree = plan_tree_levels("1,6/30,3", 4, 40);
    tree_plan *plan = plan_tree_plan(tree, config);
    for (uint32_t spare = 20; spare <= 60; spare += 40) {
        kv_tree *other = plan_tree_levels("1,6/30,3", 4, spare);
        check(other->num_blocks != tree->num_blocks, "another list");
        memcpy(other->query_node, tree->query_node, tree->num_queries * sizeof *tree->query_node);
        check(!tree_plan_grow(plan, other), "%" PRIu32 " blocks", other->num_blocks);
        check(plan_tree_grow(other, 2, 1) && !tree_plan_grow(plan, other), "nor after growth");
        plan_tree_destroy(other);
    }
    check_plan(plan, tree, "after refusals");
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* The ends of all paths are the same, but not the tokens before them: 30 tokens in other blocks, of other nodes. */
static void run_another_inner_node(const void *argument)
{
    tree_plan_config config = {.strategy = *(const tree_strategy *)argument};
    kv_tree *tree = plan_tree_levels("1,6/30,3", 4, 300), *longer = plan_tree_levels("1,6/31,3", 4, 300);
    memcpy(longer->query_node, tree->query_node, tree->num_queries * sizeof *tree->query_node);
    check(tree->num_blocks == longer->num_blocks, "as many blocks");
    tree_plan *plan = plan_tree_plan(tree, config);
    check(!tree_plan_grow(plan, longer), "a longer prefix");
    check(plan_tree_grow(longer, 0, 1) && !tree_plan_grow(plan, longer), "a longer prefix, and growth");
    check_plan(plan, tree, "after refusals");
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
    plan_tree_destroy(longer);
}

/* The same tree but for one number. */
static void run_another_count(const void *argument)
{
    tree_plan_config config = {.strategy = *(const tree_strategy *)argument};
    kv_tree *tree = plan_tree_levels("1,6/30,3", 4, 300);
    tree_plan *plan = plan_tree_plan(tree, config);
    kv_tree other = *tree;
    other.block_tokens = 8;
    check(!tree_plan_grow(plan, &other), "another paging");
    other = *tree;
    other.num_queries--;
    check(!tree_plan_grow(plan, &other), "a query less");
    other = *tree;
    other.num_blocks++;
    check(!tree_plan_grow(plan, &other), "a block more");
    other = *tree;
    other.unique_tokens++;
    check(!tree_plan_grow(plan, &other), "another U");
    other = *tree;
    other.path_tokens++;
    check(!tree_plan_grow(plan, &other), "another S");
    uint32_t first = tree->query_node[0];
    tree->query_node[0] = tree->query_node[1];
    tree->query_node[1] = first;
    check(!tree_plan_grow(plan, tree), "two queries at each other's ends");
    tree->query_node[1] = tree->query_node[0];
    tree->query_node[0] = first;
    check(tree_plan_grow(plan, tree), "the tree itself");
    check_plan(plan, tree, "after refusals");
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

static void run_other_trees(const void *argument)
{
    (void)argument;
    kv_tree *tree = plan_tree_levels("1,6/30,3", 4, 300), *paged = plan_tree_levels("1,6/30,3", 8, 300);
    kv_tree *wider = plan_tree_levels("1,7/30,3", 4, 300), *deeper = plan_tree_levels("1,1,6/2,28,3", 4, 300);
    kv_tree *shorter = plan_tree_levels("1,6/30,2", 4, 301);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_FLASH});
    check(tree_plan_grow(plan, tree), "no growth is no obstacle");
    check(!tree_plan_grow(plan, paged) && !tree_plan_grow(plan, wider), "another paging, another query");
    check(!tree_plan_grow(plan, deeper) && !tree_plan_grow(plan, shorter), "other nodes, a shorter path");
    check_plan(plan, tree, "after refusals");
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
    plan_tree_destroy(paged);
    plan_tree_destroy(wider);
    plan_tree_destroy(deeper);
    plan_tree_destroy(shorter);
}

/* The whole chain: allocator, tree, plan; branches forked inside a block, decoding token by token. */
static void run_with_allocator(const void *argument)
{
    tree_plan_config config = {.strategy = *(const tree_strategy *)argument};
    kv_pool *pool;
    kv_branch branches[9];
    kv_table tables[9];
    uint32_t num_grown = 0, num_tokens[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    kv_append appends[9];
    check(kv_pool_create(&pool, &(kv_pool_config){.num_blocks = 400, .block_tokens = 16}) == KV_OK, "pool");
    check(kv_branch_create(pool, &branches[0]) == KV_OK, "branch");
    check(kv_branch_append(pool, branches[0], 133, appends) == KV_OK, "prompt");
    for (int b = 1; b < 9; b++)
        check(kv_branch_fork(pool, branches[b / 3], &branches[b]) == KV_OK
              && kv_branch_append(pool, branches[b], (uint32_t)b * 5, appends) == KV_OK, "fork %d", b);
    check(kv_branch_append_many(pool, branches, num_tokens, 9, appends) == KV_OK, "first tokens");
    kv_tree *tree = NULL;
    tree_plan *plan = NULL;
    for (int s = 0; s < 150; s++) {
        check(kv_branch_tables(pool, branches, 9, tables) == KV_OK, "tables");
        if (!tree || !kv_tree_grow(tree, tables, 9) || !tree_plan_grow(plan, tree)) {
            kv_tree_destroy(tree);
            tree_plan_destroy(plan);
            check(kv_tree_build(&tree, tables, 9, 16, 400) == KV_OK, "tree");
            check(tree_plan_build(&plan, tree, &config) == TREE_OK, "plan");
        } else {
            num_grown++;
        }
        check_plan(plan, tree, "over the allocator");
        check(kv_branch_append_many(pool, branches, num_tokens, 9, appends) == KV_OK, "decode");
    }
    test_note("grew in %" PRIu32 " of 150 steps", num_grown);
    bool never = config.strategy == TREE_TREE_MASK || config.strategy == TREE_FLATTEN;
    check(never ? num_grown == 0 : num_grown > 75, "grew in %" PRIu32 " of 150 steps", num_grown);
    kv_tree_destroy(tree);
    tree_plan_destroy(plan);
    check(kv_pool_destroy(pool, true, NULL) == KV_OK, "pool");
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "a plan that grew with its tree covers what a fresh plan covers");
    for (size_t s = 0; s < sizeof strategies / sizeof *strategies; s++) {
        const char *name = tree_strategy_name[strategies[s]];
        bool always = strategies[s] == TREE_FLASH || strategies[s] == TREE_NODE;
        bool never = strategies[s] == TREE_TREE_MASK || strategies[s] == TREE_FLATTEN;
        test_add(run_300_steps, &strategies[s], "%s_300_steps", name);
        test_add(run_with_allocator, &strategies[s], "%s_with_allocator", name);
        test_add(run_another_block_list, &strategies[s], "%s_another_block_list", name);
        test_add(run_another_count, &strategies[s], "%s_another_count", name);
        test_add(run_another_inner_node, &strategies[s], "%s_another_inner_node", name);
        if (always)
            test_add(run_same_as_fresh, &strategies[s], "%s_same_as_fresh", name);
        else
            test_add(run_refusal_changes_nothing, &strategies[s], "%s_refusal_changes_nothing", name);
        if (never)
            test_add(run_never, &strategies[s], "%s_never", name);
        else if (!always)
            test_add(run_limit, &strategies[s], "%s_limit", name);
    }
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
        test_add(run_room, &rooms[i], "cost_room_%s", rooms[i].name);
    test_add(run_masked_limit, NULL, "cost_masked_limit");
    test_add(run_other_trees, NULL, "other_trees");
    return test_end();
}
