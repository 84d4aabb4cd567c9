/* Claim: the cost of a workload and of its replay is known before either is built, and a chain of nodes has the same
 * cost per node at every length. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"
#include "test.h"

/* --- sizes of workloads ------------------------------------------------------------------------------------------- */

static void expect_size(const workload_size *size, kv_status status, workload *w)
{
    check(status == KV_OK, "built, status %d", status);
    check(size->num_operations == w->num_operations, "%" PRIu64 " operations foretold, %u built",
          size->num_operations, w->num_operations);
    check(size->num_branches == w->num_branches, "%" PRIu64 " branches foretold, %u built", size->num_branches,
          w->num_branches);
    check(size->num_tokens == w->num_tokens, "%" PRIu64 " tokens foretold, %" PRIu64 " built", size->num_tokens,
          w->num_tokens);
    workload_destroy(w);
}

enum { MAX_NODES = 40, MAX_STEPS = 30 };

/* Nodes may be empty, the root too. */
static void random_tree(trace_tree *tree, trace_node *nodes)
{
    *tree = (trace_tree){.num_nodes = 1 + test_below(MAX_NODES), .nodes = nodes};
    for (uint32_t i = 0; i < tree->num_nodes; i++) {
        uint32_t num_tokens = test_below(6), parent = i ? test_below(i) : TRACE_NONE;
        int32_t start = i ? nodes[parent].end + 1 : 1 - (int32_t)num_tokens;
        nodes[i] = (trace_node){parent, num_tokens, start, start + (int32_t)num_tokens - 1};
        if (nodes[i].end > (int32_t)tree->last_iteration)
            tree->last_iteration = (uint32_t)nodes[i].end;
    }
}

static void run_trees(const void *argument)
{
    (void)argument;
    trace_node nodes[MAX_NODES];
    for (int round = 0; round < 1000; round++) {
        trace_tree tree;
        random_tree(&tree, nodes);
        for (uint32_t max_steps = 0; max_steps <= tree.last_iteration + 1; max_steps++) {
            uint32_t prompt_tokens = test_below(3);
            workload *w = NULL;
            workload_size size = workload_size_from_tree(&tree, prompt_tokens, max_steps);
            kv_status status = workload_from_tree(&w, &tree, prompt_tokens, max_steps);
            expect_size(&size, status, w);
        }
    }
}

static void run_accepts(const void *argument)
{
    (void)argument;
    for (int round = 0; round < 300; round++) {
        uint32_t accepted[MAX_STEPS], num_leaves = 1 + test_below(5), prompt_tokens = test_below(3);
        trace_accept accept = {.num_steps = 1 + test_below(MAX_STEPS), .prompt_tokens = test_below(3),
                               .accepted = accepted};
        for (uint32_t i = 0; i < accept.num_steps; i++)
            accepted[i] = test_below(3);
        uint32_t parent[] = {TRACE_NONE, 0, 1, 0, 2}, rank[] = {0, 0, 0, 1, 0};
        trace_draft draft = {.num_nodes = 5, .depth = 3, .parent = parent, .rank = rank};
        for (uint32_t max_steps = 0; max_steps <= accept.num_steps + 1; max_steps++) {
            workload *w = NULL;
            workload_size size = workload_size_from_accept(&accept, num_leaves, prompt_tokens, max_steps);
            kv_status status = workload_from_accept(&w, &accept, num_leaves, prompt_tokens, max_steps);
            expect_size(&size, status, w);
            size = workload_size_from_accept_draft(&accept, &draft, prompt_tokens, max_steps);
            status = workload_from_accept_draft(&w, &accept, &draft, prompt_tokens, max_steps);
            expect_size(&size, status, w);
        }
    }
}

static void run_levels(const void *argument)
{
    static const char *const levels[][2] = {
        {"1", "1"}, {"1", "7"}, {"3", "1"}, {"2", "2"}, {"1,2,4", "8,4,2"}, {"2,3,3", "1,1,1"}, {"1,16,64", "9,8,1"},
        {"1,5", "3,1|2"}, {"2,7", "4|5,3|1|6"}};
    (void)argument;
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        workload *w = NULL;
        workload_size size;
        check(workload_size_levels(&size, levels[i][0], levels[i][1], NULL) == KV_OK, "%s", levels[i][0]);
        kv_status status = workload_levels(&w, levels[i][0], levels[i][1], NULL);
        expect_size(&size, status, w);
    }
    workload_size size = {.num_tokens = 7};
    kv_text_error error;
    check(workload_size_levels(&size, "1,x", "1,1", &error) == KV_FORMAT && error.column == 3, "refused alike");
    check(size.num_tokens == 7, "the size is untouched");
}

/* Built, these would take 100 GB and hours. */
static void run_hopeless(const void *argument)
{
    (void)argument;
    const uint32_t most = KV_MAX_LENGTH - 1;
    trace_node nodes[9] = {{TRACE_NONE, 1, 0, 0}};
    trace_tree tree = {.num_nodes = 9, .last_iteration = most, .nodes = nodes};
    for (uint32_t i = 1; i < 9; i++)
        nodes[i] = (trace_node){0, most, 1, (int32_t)most};
    workload *w = NULL;
    check(workload_from_tree(&w, &tree, 0, 0) == KV_RANGE && !w, "8 branches of 2^30 tokens");
    workload_size size = workload_size_from_tree(&tree, 0, 0);
    check(size.num_tokens == 8 * (uint64_t)most + 1 && size.num_branches == 9, "and it is known why");
    uint32_t accepted[5000] = {0};
    trace_accept accept = {.num_steps = 5000, .prompt_tokens = 1, .accepted = accepted};
    check(workload_from_accept(&w, &accept, KV_MAX_BRANCHES - 1, 0, 0) == KV_RANGE && !w, "2^20 leaves in each step");
    check(workload_from_accept(&w, &accept, KV_MAX_BRANCHES, 0, 1) == KV_RANGE && !w, "and the past beside them");
    const char *wide = "1048576,1048576,1048576", *deep = "1024,1024,2048";
    check(workload_levels(&w, wide, deep, NULL) == KV_RANGE && !w, "2^32 tokens");
    check(workload_levels(&w, "1,1048576", "1,1", NULL) == KV_RANGE && !w, "the parent lives beside 2^20 leaves");
    check(workload_few_shot(&w, 1, 1 << 19, 1 << 13) == KV_RANGE && !w, "2^32 tokens decoded");
}

/* --- needs of a replay -------------------------------------------------------------------------------------------- */

typedef struct needs_case {
    const char *name;
    workload_operation operations[14]; /* a STEP ends the list */
    uint32_t block_tokens;
    replay_needs needs;
} needs_case;

#define C(b) {WORKLOAD_CREATE, b, 0}
#define F(b, p) {WORKLOAD_FORK, b, p}
#define A(b, n) {WORKLOAD_APPEND, b, n}
#define D(b) {WORKLOAD_DECODE, b, 0}
#define Q(b) {WORKLOAD_QUERY, b, 0}
#define T(b, n) {WORKLOAD_TRUNCATE, b, n}
#define O(b, w) {WORKLOAD_ADOPT, b, w}
#define P(b) {WORKLOAD_PRUNE, b, 0}
#define S {WORKLOAD_STEP, 0, 0}

/* Blocks of 4 but where it says otherwise. needs: blocks, entries written and dropped, entries at once, S, queries. */
static const needs_case needs_cases[] = {
    {"a_prompt", {C(0), A(0, 9), S}, 4, {3, 3, 3, 0, 0}},
    {"a_prompt_and_its_end", {C(0), A(0, 9), P(0), S}, 4, {3, 6, 3, 0, 0}},
    {"blocks_of_one", {C(0), A(0, 9), S}, 1, {9, 9, 9, 0, 0}},
    {"a_decoded_token_in_the_last_block", {C(0), A(0, 3), D(0), S}, 4, {1, 1, 1, 4, 1}},
    {"a_decoded_token_in_a_new_block", {C(0), A(0, 4), D(0), S}, 4, {2, 2, 2, 5, 1}},
    {"a_query", {C(0), A(0, 9), Q(0), S}, 4, {3, 3, 3, 9, 1}},
    {"fork_of_full_blocks", {C(0), A(0, 8), F(1, 0), S}, 4, {2, 4, 4, 0, 0}},
    {"fork_inside_a_block", {C(0), A(0, 9), F(1, 0), S}, 4, {4, 6, 6, 0, 0}},
    {"two_children_the_last_takes_over", {C(0), A(0, 8), F(1, 0), F(2, 0), P(0), D(1), D(2), S}, 4,
     {4, 6, 6, 18, 2}},
    {"an_only_child", {C(0), A(0, 9), F(1, 0), P(0), S}, 4, {3, 3, 3, 0, 0}},
    {"prune_of_another", {C(0), C(1), A(0, 9), F(2, 0), P(1), S}, 4, {4, 6, 6, 0, 0}},
    {"truncate", {C(0), A(0, 16), T(0, 9), A(0, 1), S}, 4, {4, 5, 4, 0, 0}},
    {"truncate_inside_a_shared_block", {C(0), A(0, 8), F(1, 0), T(1, 7), A(1, 1), S}, 4, {3, 4, 4, 0, 0}},
    {"adopt", {C(0), A(0, 8), F(1, 0), A(1, 4), O(0, 1), D(0), S}, 4, {4, 8, 5, 13, 1}},
};

static void run_needs(const void *argument)
{
    const needs_case *c = argument;
    workload *w = workload_create();
    for (const workload_operation *o = c->operations; w->num_steps == 0; o++)
        workload_add(w, o->kind, o->branch, o->value);
    replay_needs needs;
    kv_status status = replay_count_needs(&needs, w, c->block_tokens);
    check(status == KV_OK, "counted, status %d", status);
    check(needs.most_blocks == c->needs.most_blocks, "%" PRIu64 " blocks, got %" PRIu64, c->needs.most_blocks,
          needs.most_blocks);
    check(needs.table_entries == c->needs.table_entries, "%" PRIu64 " entries, got %" PRIu64, c->needs.table_entries,
          needs.table_entries);
    check(needs.most_table_entries == c->needs.most_table_entries, "%" PRIu64 " entries at once, got %" PRIu64,
          c->needs.most_table_entries, needs.most_table_entries);
    check(needs.path_tokens == c->needs.path_tokens && needs.peak_queries == c->needs.peak_queries,
          "S %" PRIu64 ", got %" PRIu64 ", %u queries", c->needs.path_tokens, needs.path_tokens, needs.peak_queries);
    workload_destroy(w);
}

static void run_needs_refused(const void *argument)
{
    (void)argument;
    replay_needs needs = {.most_blocks = 77};
    workload *w = workload_create();
    workload_add(w, WORKLOAD_STEP, 0, 0);
    check(replay_count_needs(&needs, w, 3) == KV_INVAL && replay_count_needs(&needs, w, 512) == KV_INVAL, "3, 512");
    workload_add(w, WORKLOAD_PRUNE, 0, 0);
    check(replay_count_needs(&needs, w, 4) == KV_INVAL && needs.most_blocks == 77, "a list that the check refuses");
    workload_destroy(w);
}

/* A pool of most_blocks is enough, and what is known without a replay is what the replay counts. */
static void run_random(const void *argument)
{
    uint32_t block_tokens = *(const uint32_t *)argument;
    uint64_t blocks = 0, most_blocks = 0;
    for (int round = 0; round < 100; round++) {
        workload_random_config config = {test_random(), 30, 1 + test_below(12), 1 + test_below(3 * block_tokens)};
        workload *w;
        replay_needs needs;
        replay_totals totals;
        check(workload_random(&w, &config) == KV_OK, "built");
        check(replay_count_needs(&needs, w, block_tokens) == KV_OK, "counted");
        check(replay_measure(&totals, w, block_tokens) == KV_OK, "a pool of %" PRIu64 " blocks is enough",
              needs.most_blocks);
        check(totals.peak_blocks <= needs.most_blocks, "%u of %" PRIu64 " blocks", totals.peak_blocks,
              needs.most_blocks);
        check(totals.path_tokens_sum == needs.path_tokens, "S %" PRIu64, needs.path_tokens);
        check(totals.peak_queries == needs.peak_queries, "%u queries at most", needs.peak_queries);
        blocks += totals.peak_blocks;
        most_blocks += needs.most_blocks;
        workload_destroy(w);
    }
    test_note("peak_blocks=%" PRIu64 " most_blocks=%" PRIu64, blocks, most_blocks);
    check(most_blocks <= 4 * blocks, "a bound that says something: %" PRIu64 " for %" PRIu64, most_blocks, blocks);
}

/* --- a chain of one-token nodes ----------------------------------------------------------------------------------- */

static workload *chain(uint32_t num_nodes)
{
    trace_node *nodes = malloc(num_nodes * sizeof *nodes);
    trace_tree tree = {.num_nodes = num_nodes, .last_iteration = num_nodes - 1, .nodes = nodes};
    for (uint32_t i = 0; i < num_nodes; i++)
        nodes[i] = (trace_node){i - 1, 1, (int32_t)i, (int32_t)i};
    nodes[0].parent = TRACE_NONE;
    workload *w = NULL;
    check(workload_from_tree(&w, &tree, 0, 0) == KV_OK, "built");
    free(nodes);
    return w;
}

/* Grown tables move too, but each time they are twice as long. */
static void run_chain_moves(const void *argument)
{
    enum { NUM_NODES = 4000, BLOCK_TOKENS = 4, MOST_MOVES = 16 };
    (void)argument;
    workload *w = chain(NUM_NODES);
    kv_pool *pool;
    replay *r;
    replay_result step = {.done = false};
    kv_pool_config config = {.num_blocks = NUM_NODES, .block_tokens = BLOCK_TOKENS, .max_branches = 2};
    check(kv_pool_create(&pool, &config) == KV_OK && replay_create(&r, w, pool, NULL) == KV_OK, "created");
    const uint32_t *before = NULL;
    uint32_t num_moves = 0;
    while (replay_step(r, &step) == KV_OK && !step.done) {
        kv_table table;
        check(step.num_queries == 1 && kv_branch_table(pool, step.queries[0], &table) == KV_OK, "one query");
        check(table.length == step.iteration + 1, "length %u, got %u", step.iteration + 1, table.length);
        num_moves += table.blocks != before;
        before = table.blocks;
    }
    check(step.done && num_moves <= MOST_MOVES, "a child takes over its parent's table: %u copies", num_moves);
    replay_destroy(r);
    check(kv_pool_destroy(pool, false, NULL) == KV_OK, "nothing is left");
    workload_destroy(w);
}

static void run_chain_needs(const void *argument)
{
    (void)argument;
    for (uint32_t num_nodes = 1000; num_nodes <= 64000; num_nodes *= 2) {
        workload *w = chain(num_nodes);
        replay_needs needs;
        check(replay_count_needs(&needs, w, 1) == KV_OK, "counted");
        check(needs.table_entries == 2 * num_nodes, "an entry for each node, written and dropped: %" PRIu64,
              needs.table_entries);
        check(needs.most_blocks == num_nodes, "a block for each node");
        workload_destroy(w);
    }
}

int main(int argc, char **argv)
{
    static const uint32_t block_tokens[] = {1, 2, 16, 256};
    test_begin(argc, argv, "the cost of a workload and of its replay is known beforehand");
    test_add(run_trees, NULL, "size_of_trees");
    test_add(run_accepts, NULL, "size_of_accepts");
    test_add(run_levels, NULL, "size_of_levels");
    test_add(run_hopeless, NULL, "hopeless_sizes_are_refused_before_building");
    for (size_t i = 0; i < sizeof needs_cases / sizeof needs_cases[0]; i++)
        test_add(run_needs, &needs_cases[i], "needs_of_%s", needs_cases[i].name);
    test_add(run_needs_refused, NULL, "needs_refused");
    for (size_t i = 0; i < sizeof block_tokens / sizeof block_tokens[0]; i++)
        test_add(run_random, &block_tokens[i], "needs_of_random_forests_by_%u", block_tokens[i]);
    test_add(run_chain_moves, NULL, "a_chain_copies_no_table");
    test_add(run_chain_needs, NULL, "a_chain_takes_linear_time");
    return test_end();
}
