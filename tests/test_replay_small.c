/* Claim: on small trees, a replay counts the same sums from the pool and its block tables as a count by hand. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"
#include "test.h"

typedef struct sums {
    const char *name;
    uint32_t block_tokens, iterations;
    uint64_t queries, unique, path;
    uint32_t peak_queries, peak_blocks;
    uint64_t copies;
} sums;

static void expect(const sums *c, workload *w)
{
    replay_totals t;
    kv_status status = replay_measure(&t, w, c->block_tokens);
    workload_destroy(w);
    check(status == KV_OK, "replayed, status %d", status);
    check(t.iterations == c->iterations, "%u iterations, got %u", c->iterations, t.iterations);
    check(t.queries_sum == c->queries, "Q %" PRIu64 ", got %" PRIu64, c->queries, t.queries_sum);
    check(t.unique_tokens_sum == c->unique, "U %" PRIu64 ", got %" PRIu64, c->unique, t.unique_tokens_sum);
    check(t.path_tokens_sum == c->path, "S %" PRIu64 ", got %" PRIu64, c->path, t.path_tokens_sum);
    check(t.peak_queries == c->peak_queries, "peak %u, got %u", c->peak_queries, t.peak_queries);
    check(t.peak_blocks == c->peak_blocks, "%u blocks, got %u", c->peak_blocks, t.peak_blocks);
    check(t.copies == c->copies, "%" PRIu64 " copies, got %" PRIu64, c->copies, t.copies);
    check(t.leaked_blocks == 0, "%u blocks leaked", t.leaked_blocks);
}

/* Prompt 3; node 1 lives 1..2 and has child 3 at 3..4; node 2 lives at 1.
 *   k  alive (tokens)                 U      S        Q
 *   1  prompt 3, node 1: 1, node 2: 1  5      4 + 4    2
 *   2  prompt 3, node 1: 2             5      5        1
 *   3  prompt 3, node 1: 2, node 3: 1  6      6        1
 *   4  prompt 3, node 1: 2, node 3: 2  7      7        1
 * With 4 tokens per block: at k = 1 both branches append to the shared prompt block: node 1 copies its 3 tokens, node
 * 2, the last to hold it, writes in place: U = 4 + 4. From k = 2 on node 1's path is alone. */
static const char chain[] = "ttr 1 reason x\ntree 0 0 4 4\nnode 0 -1 3 -2 0\nnode 1 0 2 1 2\nnode 2 0 1 1 1\n"
                            "node 3 1 2 3 4\nend 8 2 11\n";

/* Prompt 2; node 1 has 0 tokens and child 3 (1..2); node 2 (1..1) has child 4 of 0 tokens, which has child 5 (2..2).
 *   k  alive                            U           S        Q
 *   1  prompt 2, node 3: 1, node 2: 1    4           3 + 3    2
 *   2  prompt 2, node 3: 2, node 2: 1, node 5: 1   6   4 + 4   2 */
static const char empty_nodes[] = "ttr 1 reason x\ntree 0 0 6 2\nnode 0 -1 2 -1 0\nnode 1 0 0 1 0\nnode 2 0 1 1 1\n"
                                  "node 3 1 2 1 2\nnode 4 2 0 2 1\nnode 5 4 1 2 2\nend 6 2 8\n";

static const sums tree_sums[] = {
    {"chain_and_leaf_by_1", 1, 4, 5, 23, 26, 2, 7, 0},
    {"chain_and_leaf_by_4", 4, 4, 5, 8 + 5 + 6 + 7, 26, 2, 2, 1},
    {"chain_and_leaf_by_256", 256, 4, 5, 8 + 5 + 6 + 7, 26, 2, 2, 1},
    {"empty_nodes_by_1", 1, 2, 4, 10, 14, 2, 6, 0},
    {"empty_nodes_by_2", 2, 2, 4, 10, 14, 2, 3, 0},
    {"empty_nodes_by_4", 4, 2, 4, 6 + 8, 14, 2, 2, 1},
};

static void run_tree(const void *argument)
{
    const sums *c = argument;
    const char *text = strstr(c->name, "chain") ? chain : empty_nodes;
    trace *t = NULL;
    workload *w = NULL;
    check(trace_read(&t, text, strlen(text), "built-in", NULL) == KV_OK, "read");
    check(workload_from_tree(&w, trace_find(t, 0), 0, 0) == KV_OK, "built");
    check(trace_find(t, 1) == NULL && trace_find(t, -1) == NULL, "no other ordinal");
    trace_destroy(t);
    expect(c, w);
}

/* Prompt 5, 3 branches, 2 steps: U = 5 + 3, 5 + 6; S = 3 * 6, 3 * 7. With 4 tokens per block the part-filled block of
 * one token is copied by two branches: 2 more slots per step. Blocks: 1 full + 3 of the branches. */
static const sums few_shot_sums[] = {
    {"few_shot_by_1", 1, 2, 6, 19, 39, 3, 11, 0},
    {"few_shot_by_4", 4, 2, 6, 23, 39, 3, 4, 2},
};

static void run_few_shot(const void *argument)
{
    workload *w = NULL;
    check(workload_few_shot(&w, 5, 3, 2) == KV_OK, "built");
    expect(argument, w);
}

/* "1,2,4" of "8,4,2": U = 8 + 8 + 8, S = 4 * 14, and with any block that divides 4 nothing is copied. */
static const sums level_sums[] = {
    {"levels_by_1", 1, 1, 4, 24, 56, 4, 24, 0},
    {"levels_by_4", 4, 1, 4, 24, 56, 4, 2 + 2 + 4, 0},
    /* by 8: a node of 4 is half a block; of its two children one copies the 4 tokens, the other writes on */
    {"levels_by_8", 8, 1, 4, 24 + 2 * 4, 56, 4, 1 + 4, 2},
};

static void run_levels(const void *argument)
{
    workload *w = NULL;
    check(workload_levels(&w, "1,2,4", "8,4,2", NULL) == KV_OK, "built");
    expect(argument, w);
}

/* Past 6, draft nodes 0 - {1, 2}, 2 - 3: U = 10, S = 7 + 8 + 8 + 9. By 4: the past's second block has 2 tokens and is
 * held by the past throughout, so node 0 copies it (2 more slots); node 0's block is full with node 1's or 2's token,
 * and each of them copies, as node 0 stays: 3 more each; node 3 begins a block. */
static const sums draft_sums[] = {
    {"draft_by_1", 1, 1, 4, 10, 32, 4, 10, 0},
    {"draft_by_4", 4, 1, 4, 10 + 2 + 3 + 3, 32, 4, 6, 3},
};

static void run_draft(const void *argument)
{
    const char *text = "ttr 1 draft x\ndraft 0 4 4 2\ndnode 0 -1 0\ndnode 1 0 0\ndnode 2 0 1\ndnode 3 2 0\nend 2 8\n";
    trace *t = NULL;
    workload *w = NULL;
    check(trace_read(&t, text, strlen(text), "built-in", NULL) == KV_OK, "read");
    check(workload_draft(&w, trace_find_draft(t, 4), 6) == KV_OK, "built");
    check(trace_find_draft(t, 5) == NULL, "no other label");
    trace_destroy(t);
    expect(argument, w);
}

/* Past 4, 2 leaves, accepted 1 2 (0 applied first): U = 4 + 2, 6 + 2; S = 2 * 5, 2 * 7. */
static const sums accept_sums[] = {
    {"accept_by_1", 1, 2, 4, 14, 24, 2, 8, 0},
    {"accept_by_4", 4, 2, 4, 6 + 8 + 4, 24, 2, 4, 2}, /* step 2: both leaves copy the past's 2 tokens */
};

static void run_accept(const void *argument)
{
    const char *text = "ttr 1 accept x\nrec a 4 1 2 2\nacc 1 2\nend 3\n";
    trace *t = NULL;
    workload *w = NULL;
    check(trace_read(&t, text, strlen(text), "built-in", NULL) == KV_OK, "read");
    check(workload_from_accept(&w, trace_find_accept(t, "a"), 2, 0, 0) == KV_OK, "built");
    trace_destroy(t);
    expect(argument, w);
}

/* What the owner of K and V hears of births and deaths, in the letters of test_workload.c. */
static void write_event(void *context, workload_kind kind, uint32_t branch, uint32_t value)
{
    char *text = context;
    size_t used = strlen(text);
    snprintf(text + used, 200 - used, "%s %u %u, ", workload_kind_name[kind], branch, value);
}

/* Of three children the last takes over the prompt's table; an only child does so at once. */
static void run_events(const void *argument)
{
    (void)argument;
    const char *text = "ttr 1 reason x\ntree 0 0 5 2\nnode 0 -1 3 -2 0\nnode 1 0 1 1 1\nnode 2 0 1 1 1\n"
                       "node 3 0 1 1 1\nnode 4 2 1 2 2\nend 7 3 13\n";
    char events_text[200] = "";
    replay_events events = {.context = events_text, .branch = write_event};
    kv_pool_config config = {.num_blocks = 20, .block_tokens = 4};
    trace *t = NULL;
    workload *w = NULL;
    kv_pool *pool;
    replay *r;
    replay_result step = {.done = false};
    check(trace_read(&t, text, strlen(text), "built-in", NULL) == KV_OK, "read");
    check(workload_from_tree(&w, trace_find(t, 0), 0, 0) == KV_OK, "built");
    check(kv_pool_create(&pool, &config) == KV_OK && replay_create(&r, w, pool, &events) == KV_OK, "created");
    while (replay_step(r, &step) == KV_OK && !step.done)
        continue;
    check(!strcmp(events_text, "create 0 0, fork 1 0, fork 2 0, create 3 0, adopt 3 0, prune 1 0, create 4 0, "
                               "adopt 4 2, prune 3 0, prune 4 0, "), "got %s", events_text);
    replay_destroy(r);
    check(kv_pool_destroy(pool, false, NULL) == KV_OK, "nothing is left");
    workload_destroy(w);
    trace_destroy(t);
}

static void run_refused(const void *argument)
{
    (void)argument;
    workload *w = workload_create();
    replay_totals t = {.iterations = 77};
    workload_add(w, WORKLOAD_STEP, 0, 0);
    check(replay_measure(&t, w, 3) == KV_INVAL, "block_tokens 3");
    check(replay_measure(&t, w, 512) == KV_INVAL, "block_tokens 512");
    workload_add(w, WORKLOAD_PRUNE, 0, 0);
    check(replay_measure(&t, w, 16) == KV_INVAL, "a list that workload_check refuses");
    check(t.iterations == 77, "the totals are untouched");
    workload_destroy(w);
    w = workload_create();
    workload_add(w, WORKLOAD_APPEND, workload_add_create(w, NULL), 1u << 25);
    check(replay_measure(&t, w, 1) == KV_NOBLOCKS, "more blocks than a dry run may take");
    workload_destroy(w);
}

int main(int argc, char **argv)
{
#define ADD(run, table) \
    for (size_t i = 0; i < sizeof(table) / sizeof(table)[0]; i++) \
        test_add(run, &(table)[i], "%s", (table)[i].name)
    test_begin(argc, argv, "a replay of small trees counts the same sums as a count by hand");
    ADD(run_tree, tree_sums);
    ADD(run_few_shot, few_shot_sums);
    ADD(run_levels, level_sums);
    ADD(run_draft, draft_sums);
    ADD(run_accept, accept_sums);
    test_add(run_events, NULL, "the_last_child_takes_over");
    test_add(run_refused, NULL, "refused");
    return test_end();
}
