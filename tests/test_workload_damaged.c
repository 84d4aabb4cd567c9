/* Claim: for any contents of a list of operations, either workload_check refuses it without writing beyond its arrays,
 * or replay stays within its lists and returns living branches with the lengths that the operations give them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"
#include "test.h"
#include "workload_model.h"

/* Plays an accepted list to its end. */
static void play(const workload *w)
{
    kv_pool_config config = {.num_blocks = 1 << 16, .block_tokens = 4, .max_branches = w->max_live_branches + 1};
    kv_pool *pool;
    replay *r;
    replay_result step = {.done = false};
    workload_model model;
    check(kv_pool_create(&pool, &config) == KV_OK && replay_create(&r, w, pool, NULL) == KV_OK, "created");
    workload_model_begin(&model, w);
    while (replay_step(r, &step) == KV_OK && !step.done) {
        workload_model_step(&model);
        check(step.num_queries <= w->max_live_branches, "%u queries of %u branches", step.num_queries,
              w->max_live_branches);
        check(step.num_queries == model.num_queries, "%u queries, got %u", model.num_queries, step.num_queries);
        for (uint32_t i = 0; i < step.num_queries; i++) {
            kv_table table;
            const model_branch *branch = &model.branches[step.query_names[i]];
            check(kv_branch_table(pool, step.queries[i], &table) == KV_OK, "query %u is of a dead branch", i);
            check(table.length == branch->length, "length %u, got %u", branch->length, table.length);
        }
    }
    check(step.done, "played to the end");
    workload_model_end(&model);
    replay_destroy(r);
    check(kv_pool_destroy(pool, false, NULL) == KV_OK, "nothing is left in the pool");
}

/* Refused, or played. */
static kv_status try_list(const workload *w)
{
    uint32_t operation = UINT32_MAX;
    char message[120] = "";
    kv_status status = workload_check(w, &operation, message, sizeof message);
    if (status == KV_OK) {
        play(w);
        return status;
    }
    check(status == KV_INVAL || status == KV_RANGE, "status %d", status);
    check(operation <= w->num_operations && message[0], "refused: operation %u, '%s'", operation, message);
    replay *r = NULL;
    kv_pool *pool;
    kv_pool_config config = {.num_blocks = 1};
    check(kv_pool_create(&pool, &config) == KV_OK, "a pool");
    check(replay_create(&r, w, pool, NULL) == status && !r, "replay refuses it too");
    kv_pool_destroy(pool, true, NULL);
    return status;
}

/* One branch alive at a time, but a query of each in one step. */
static void run_queries_of_the_dead(const void *argument)
{
    uint32_t num_queries = *(const uint32_t *)argument;
    workload *w = workload_create();
    for (uint32_t i = 0; i < num_queries; i++) {
        uint32_t branch = workload_add_create(w, NULL);
        workload_add(w, WORKLOAD_APPEND, branch, 1);
        workload_add(w, WORKLOAD_QUERY, branch, 0);
        workload_add(w, WORKLOAD_PRUNE, branch, 0);
    }
    workload_add(w, WORKLOAD_STEP, 0, 0);
    check(try_list(w) == KV_INVAL, "a branch with a query is pruned before its STEP");
    workload_destroy(w);
}

/* Births by workload_add: counted like all others. */
static void run_births(const void *argument)
{
    const workload_kind kind = *(const workload_kind *)argument;
    workload *w = workload_create();
    workload_add_create(w, "root");
    for (uint32_t i = 1; i < 5000; i++)
        workload_add(w, kind, i, 0);
    for (uint32_t i = 0; i < 5000; i++)
        workload_add(w, WORKLOAD_DECODE, i, 0);
    workload_add(w, WORKLOAD_STEP, 0, 0);
    for (uint32_t i = 0; i < 5000; i++)
        workload_add(w, WORKLOAD_PRUNE, i, 0);
    check(w->num_branches == 5000 && w->max_live_branches == 5000, "%u branches", w->num_branches);
    check(!strcmp(workload_label(w, 0), "root") && !strcmp(workload_label(w, 1), "") &&
          !strcmp(workload_label(w, 4999), ""), "without labels of their own");
    check(try_list(w) == KV_OK, "accepted");
    check(workload_add_create(w, "next") == 5000 && !strcmp(workload_label(w, 5000), "next"), "names go on");
    workload_destroy(w);
}

/* The counts of a workload are public; one of them is off by `change`. */
static void run_counts(const void *argument)
{
    (void)argument;
    static const char *const name[] = {"num_branches", "live_branches", "max_live_branches", "num_steps", "num_tokens"};
    for (uint32_t field = 0; field < 5; field++) {
        for (int change = -1; change <= 1; change += 2) {
            workload *w;
            check(workload_few_shot(&w, 5, 40, 3) == KV_OK && try_list(w) == KV_OK, "built");
            uint32_t *counts[] = {&w->num_branches, &w->live_branches, &w->max_live_branches, &w->num_steps};
            if (field < 4)
                *counts[field] += (uint32_t)change;
            else
                w->num_tokens += (uint64_t)(int64_t)change;
            uint32_t operation;
            char message[120] = "";
            check(workload_check(w, &operation, message, sizeof message) == KV_INVAL, "%s is wrong", name[field]);
            check(strstr(message, name[field]), "'%s' in '%s'", name[field], message);
            bool one_born_too_many = field == 0 && change < 0;
            check(one_born_too_many == (operation < w->num_operations), "no operation is to blame, got %u", operation);
            workload_destroy(w);
        }
    }
}

/* Room for as many branches as a list that was written into the operations directly may want. */
static workload *empty_list(uint32_t num_operations)
{
    workload *w = workload_create();
    for (uint32_t i = 0; i < num_operations; i++)
        workload_add(w, WORKLOAD_STEP, 0, 0);
    return w;
}

static void run_raw_births(const void *argument)
{
    (void)argument;
    workload *w = empty_list(5000);
    for (uint32_t i = 0; i < 5000; i++)
        w->operations[i] = (workload_operation){i ? WORKLOAD_FORK : WORKLOAD_CREATE, i, 0};
    char message[120] = "";
    uint32_t operation = 99;
    check(workload_check(w, &operation, message, sizeof message) == KV_INVAL && operation == 0, "refused at once");
    check(strstr(message, "one more than num_branches"), "'%s'", message);
    workload_destroy(w);
}

/* The list ends with a FORK; a PRUNE of the parent lies behind its end. */
static void run_end_of_list(const void *argument)
{
    (void)argument;
    workload *w = workload_create();
    uint32_t parent = workload_add_create(w, NULL), child = workload_add_fork(w, parent, NULL);
    workload_add(w, WORKLOAD_PRUNE, parent, 0);
    w->num_operations--;
    w->live_branches++;
    kv_pool_config config = {.num_blocks = 1};
    kv_pool *pool;
    replay *r;
    replay_result step;
    check(kv_pool_create(&pool, &config) == KV_OK && replay_create(&r, w, pool, NULL) == KV_OK, "created");
    check(replay_step(r, &step) == KV_OK && step.done, "played");
    check(replay_handle(r, parent) && replay_handle(r, child), "both live");
    check(replay_handle(r, parent) != replay_handle(r, child), "each by a handle of its own");
    replay_destroy(r);
    check(kv_pool_destroy(pool, false, NULL) == KV_OK, "nothing is left in the pool");
    workload_destroy(w);
}

/* Token ids have 32 bits; each branch for itself is short enough. */
static void run_raw_tokens(const void *argument)
{
    (void)argument;
    workload *w = workload_create();
    for (uint32_t i = 0; i < 4; i++)
        workload_add(w, WORKLOAD_APPEND, workload_add_create(w, NULL), 1);
    for (uint32_t i = 0; i < 4; i++)
        w->operations[2 * i + 1].value = KV_MAX_LENGTH;
    w->num_tokens = 4 * (uint64_t)KV_MAX_LENGTH;
    char message[120] = "";
    uint32_t operation = 99;
    check(workload_check(w, &operation, message, sizeof message) == KV_RANGE && operation == 7, "2^32 tokens");
    check(strstr(message, "4294967295 tokens in all"), "'%s'", message);
    workload_destroy(w);
}

/* One operation of a sound list is changed, exchanged, repeated or left out. */
static void damage(workload *w)
{
    uint32_t at = test_below(w->num_operations), other = test_below(w->num_operations);
    workload_operation *o = &w->operations[at], kept = *o;
    switch (test_below(5)) {
    case 0:
        o->kind = (workload_kind)test_below(WORKLOAD_NUM_KINDS + 1);
        break;
    case 1:
        o->branch = test_below(w->num_branches + 2);
        break;
    case 2:
        o->value = test_below(w->num_branches + 2);
        break;
    case 3:
        *o = w->operations[other];
        w->operations[other] = kept;
        break;
    default:
        memmove(o, o + 1, (w->num_operations - at - 1) * sizeof *o);
        w->num_operations--;
    }
}

/* The counts as the operations make them, so that the damage itself is what is looked at. */
static void count_again(workload *w)
{
    workload *counted = workload_create();
    for (uint32_t i = 0; i < w->num_operations; i++)
        if ((unsigned)w->operations[i].kind < WORKLOAD_NUM_KINDS)
            workload_add(counted, w->operations[i].kind, w->operations[i].branch, w->operations[i].value);
    w->num_branches = counted->num_branches;
    w->num_steps = counted->num_steps;
    w->num_tokens = counted->num_tokens;
    w->live_branches = counted->live_branches;
    w->max_live_branches = counted->max_live_branches;
    workload_destroy(counted);
}

static void run_damaged(const void *argument)
{
    (void)argument;
    uint32_t num_accepted = 0, num_rounds = 6000;
    for (uint32_t round = 0; round < num_rounds; round++) {
        workload_random_config config = {test_random(), 4, 1 + test_below(8), 9};
        workload *w;
        check(workload_random(&w, &config) == KV_OK, "built");
        for (uint32_t n = 1 + test_below(2); n > 0; n--)
            damage(w);
        if (test_below(4))
            count_again(w);
        num_accepted += try_list(w) == KV_OK;
        workload_destroy(w);
    }
    check(num_accepted > num_rounds / 20 && num_accepted < num_rounds * 9 / 10, "%u accepted", num_accepted);
    test_note("rounds=%u accepted=%u", num_rounds, num_accepted);
}

int main(int argc, char **argv)
{
    static const uint32_t one = 1, many = 10000;
    static const workload_kind create = WORKLOAD_CREATE, fork = WORKLOAD_FORK;
    test_begin(argc, argv, "a damaged list of operations is refused, or it is played within its lists");
    test_add(run_queries_of_the_dead, &one, "a_query_of_a_dead_branch_is_refused");
    test_add(run_queries_of_the_dead, &many, "many_queries_of_dead_branches_are_refused");
    test_add(run_births, &create, "creates_by_workload_add_are_counted");
    test_add(run_births, &fork, "forks_by_workload_add_are_counted");
    test_add(run_counts, NULL, "wrong_counts_are_refused");
    test_add(run_raw_births, NULL, "births_beyond_num_branches_are_refused");
    test_add(run_end_of_list, NULL, "nothing_behind_the_end_is_played");
    test_add(run_raw_tokens, NULL, "tokens_beyond_32_bits_are_refused");
    test_add(run_damaged, NULL, "random_damage");
    return test_end();
}
