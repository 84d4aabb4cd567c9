/* Claim: if any allocation fails, reading, building, replaying and storing return KV_NOMEM, write no result and leak
 * nothing; a replay continues where it stopped. */
#include <stdlib.h>
#include <string.h>

#include "failing_malloc.h"
#include "game_of_24.h"
#include "kv_store.h"
#include "replay.h"
#include "test.h"

static int64_t allocations_left = INT64_MAX;
static bool once; /* only one allocation fails, or all from there on */

static bool allocation_fails(void)
{
    allocations_left--;
    return once ? allocations_left == -1 : allocations_left < 0;
}

static const char reason_text[] = "ttr 1 reason x\ntree 0 0 4 4\nnode 0 -1 3 -2 0\nnode 1 0 2 1 2\nnode 2 0 1 1 1\n"
                                  "node 3 1 2 3 4\nend 8 2 11\n";
static const char draft_text[] = "ttr 1 draft x\ndraft 0 4 4 2\ndnode 0 -1 0\ndnode 1 0 0\ndnode 2 0 1\ndnode 3 2 0\n"
                                 "end 2 8\n";
static const char accept_text[] = "ttr 1 accept x\nrec a 4 1 3 3\nacc 1 2 3\nend 6\n";

/* Inputs of the calls, made with all the memory there is. */
static trace *reason, *draft, *accept_lengths;
static workload *forest;

typedef enum call {
    READ_REASON, READ_DRAFT, READ_ACCEPT, FROM_TREE, FROM_ACCEPT, FROM_ACCEPT_DRAFT, FEW_SHOT, LEVELS, DRAFT, RANDOM,
    CHECK, MEASURE, STORE, GAME, NUM_CALLS
} call;
static const char *const call_name[NUM_CALLS] = {
    "read_reason", "read_draft", "read_accept", "from_tree", "from_accept", "from_accept_draft", "few_shot", "levels",
    "draft", "random", "check", "measure", "store", "game_of_24"};

static kv_status read_text(const char *text)
{
    trace *t = NULL;
    kv_status status = trace_read(&t, text, strlen(text), "built-in", NULL);
    check((status == KV_OK) == (t != NULL), "a result only with KV_OK");
    trace_destroy(t);
    return status;
}

static kv_status build(call what)
{
    workload *w = NULL;
    kv_status status = KV_INVAL;
    const trace_accept *accept = trace_find_accept(accept_lengths, "a");
    if (what == FROM_TREE)
        status = workload_from_tree(&w, trace_find(reason, 0), 0, 0);
    else if (what == FROM_ACCEPT)
        status = workload_from_accept(&w, accept, 3, 0, 0);
    else if (what == FROM_ACCEPT_DRAFT)
        status = workload_from_accept_draft(&w, accept, trace_find_draft(draft, 4), 0, 0);
    else if (what == FEW_SHOT)
        status = workload_few_shot(&w, 4, 3, 20);
    else if (what == LEVELS)
        status = workload_levels(&w, "1,2,30", "3,2,1", NULL);
    else if (what == DRAFT)
        status = workload_draft(&w, trace_find_draft(draft, 4), 9);
    else
        status = workload_random(&w, &(workload_random_config){1, 20, 6, 9});
    check((status == KV_OK) == (w != NULL), "a result only with KV_OK");
    workload_destroy(w);
    return status;
}

static kv_status measure(void)
{
    replay_totals t = {.iterations = 77};
    kv_status status = replay_measure(&t, forest, 4);
    check((t.iterations == 77) == (status != KV_OK), "totals only with KV_OK");
    return status;
}

/* The store keeps a failure inside an event; the replay does not see it. */
static kv_status play_into_store(kv_store *store, kv_pool *pool)
{
    replay *r = NULL;
    replay_events events = kv_store_events(store);
    kv_status status = replay_create(&r, forest, pool, &events);
    replay_result step = {.done = false};
    while (status == KV_OK && !step.done)
        status = replay_step(r, &step);
    replay_destroy(r);
    return status == KV_OK ? kv_store_status(store) : status;
}

static kv_status store(void)
{
    kv_store *s = NULL;
    kv_pool *pool = NULL;
    kv_pool_config pool_config = {.num_blocks = 200, .block_tokens = 4};
    kv_store_config config = {TREE_BF16, 200, 4, 1, 3, 1, KV_POISON_NAN, 0};
    kv_status status = kv_store_create(&s, &config);
    check((status == KV_OK) == (s != NULL), "a store only with KV_OK");
    if (status == KV_OK)
        status = kv_pool_create(&pool, &pool_config);
    if (status == KV_OK)
        status = play_into_store(s, pool);
    kv_store_destroy(s);
    if (pool)
        check(kv_pool_destroy(pool, false, NULL) == KV_OK, "nothing is left in the pool");
    return status;
}

static kv_status game(void)
{
    game_of_24 *g = NULL;
    kv_status status = game_of_24_search(&g, &(game_of_24_config){{0, 0, 0, 0}, 2});
    check((status == KV_OK) == (g != NULL), "a game only with KV_OK");
    game_of_24_destroy(g);
    return status;
}

static kv_status make_call(call what)
{
    static const char *const text[] = {reason_text, draft_text, accept_text};
    if (what <= READ_ACCEPT)
        return read_text(text[what]);
    if (what == CHECK)
        return workload_check(forest, NULL, NULL, 0);
    return what == MEASURE ? measure() : what == STORE ? store() : what == GAME ? game() : build(what);
}

typedef struct failure {
    call what;
    bool once;
} failure;

static void prepare(void)
{
    check(trace_read(&reason, reason_text, strlen(reason_text), "", NULL) == KV_OK, "read");
    check(trace_read(&draft, draft_text, strlen(draft_text), "", NULL) == KV_OK, "read");
    check(trace_read(&accept_lengths, accept_text, strlen(accept_text), "", NULL) == KV_OK, "read");
    check(workload_random(&forest, &(workload_random_config){7, 20, 6, 9}) == KV_OK, "built");
}

static void tidy(void)
{
    trace_destroy(reason);
    trace_destroy(draft);
    trace_destroy(accept_lengths);
    workload_destroy(forest);
}

static void run(const void *argument)
{
    const failure *asked = argument;
    prepare();
    once = asked->once;
    int64_t failures = 0;
    for (kv_status status = KV_NOMEM; status != KV_OK; failures++) {
        check(failures < 1000, "still %d with %d allocations", status, (int)failures);
        allocations_left = failures;
        status = make_call(asked->what);
        allocations_left = INT64_MAX;
        check(status == KV_NOMEM || status == KV_OK, "status %d with %d allocations", status, (int)failures);
    }
    check(failures > 1, "nothing was allocated");
    test_note("allocations=%d", (int)failures - 1);
    tidy();
}

/* One allocation of the pool fails in mid-replay: the same call goes on, and the sums are those of a smooth replay. */
static void run_goes_on(const void *argument)
{
    (void)argument;
    prepare();
    replay_totals smooth;
    check(replay_measure(&smooth, forest, 4) == KV_OK, "measured");
    uint32_t refusals = 0;
    for (int64_t failing = 0; failing < 60; failing++) {
        kv_pool_config config = {.num_blocks = smooth.peak_blocks, .block_tokens = 4};
        kv_pool *pool = NULL;
        replay *r = NULL;
        replay_totals counted = {0};
        check(kv_pool_create(&pool, &config) == KV_OK && replay_create(&r, forest, pool, NULL) == KV_OK, "created");
        once = true;
        allocations_left = failing;
        replay_result step = {.done = false};
        while (!step.done) {
            kv_status status = replay_step(r, &step);
            check(status == KV_OK || status == KV_NOMEM, "status %d", status);
            if (status == KV_OK)
                replay_count(&counted, pool, &step);
            refusals += status == KV_NOMEM;
        }
        allocations_left = INT64_MAX;
        check(memcmp(&counted, &smooth, sizeof smooth) == 0, "the same sums with allocation %d refused", (int)failing);
        replay_destroy(r);
        check(kv_pool_destroy(pool, false, NULL) == KV_OK, "nothing is left");
    }
    check(refusals > 0, "a refusal reached the replay");
    test_note("refusals=%u", refusals);
    tidy();
}

/* A list that can never be finished is refused before any allocation: too many tokens, or too many operations. */
static void run_hopeless(const void *argument)
{
    (void)argument;
    const uint32_t most = KV_MAX_LENGTH - 1;
    trace_node nodes[5] = {{TRACE_NONE, 1, 0, 0}};
    for (uint32_t i = 1; i < 5; i++)
        nodes[i] = (trace_node){0, most, 1, (int32_t)most};
    trace_tree tree = {.num_nodes = 4, .last_iteration = most, .nodes = nodes}; /* 3 branches: tokens below 2^32 */
    workload_size size = workload_size_from_tree(&tree, 0, 0);
    check(size.num_tokens <= UINT32_MAX && size.num_operations > UINT32_MAX, "operations alone are too many");
    workload *w = NULL;
    once = false;
    allocations_left = 0;
    kv_status operations = workload_from_tree(&w, &tree, 0, 0);
    kv_status tokens = workload_levels(&w, "1024,1024,1024", "1048576,1048576,2097153", NULL);
    allocations_left = INT64_MAX;
    check(operations == KV_RANGE && tokens == KV_RANGE && !w, "statuses %d, %d", operations, tokens);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "whichever allocation fails, reading, building and replaying report it and leak nothing");
    for (call what = READ_REASON; what < NUM_CALLS; what++)
        for (int i = 0; i < 2; i++)
            test_add(run, &(failure){what, i == 0}, "%s_%s", call_name[what], i == 0 ? "one" : "from_one_on");
    test_add(run_goes_on, NULL, "replay_goes_on");
    test_add(run_hopeless, NULL, "hopeless_sizes_ask_for_no_memory");
    return test_end();
}
