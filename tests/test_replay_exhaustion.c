/* Claim: a pool that runs out of blocks stops the replay with a status and stays whole. Once there is room again the
 * same call continues, with the same result as without the stop. */
#include <stdlib.h>
#include <string.h>

#include "replay.h"
#include "test.h"

/* Branches of another user, which hold all but `room` blocks and give them back one by one. */
typedef struct squatter {
    kv_pool *pool;
    kv_branch *branches;
    uint32_t num_branches;
} squatter;

static void squat(squatter *s, kv_pool *pool, uint32_t num_blocks, uint32_t block_tokens)
{
    s->pool = pool;
    s->branches = calloc(num_blocks + 1, sizeof *s->branches);
    s->num_branches = num_blocks;
    for (uint32_t i = 0; i < num_blocks; i++) {
        kv_append append;
        check(kv_branch_create(pool, &s->branches[i]) == KV_OK, "a squatter");
        check(kv_branch_append(pool, s->branches[i], block_tokens, &append) == KV_OK, "with a block");
    }
}

static bool leave(squatter *s)
{
    if (s->num_branches == 0)
        return false;
    return kv_branch_prune(s->pool, s->branches[--s->num_branches]) == KV_OK;
}

static char *dump(const kv_pool *pool)
{
    size_t bytes = kv_pool_dump(pool, NULL, 0);
    char *text = malloc(bytes);
    kv_pool_dump(pool, text, bytes);
    return text;
}

typedef struct exhaustion_case {
    const char *name;
    uint64_t seed;
    uint32_t block_tokens, max_branches, max_tokens;
} exhaustion_case;

static const exhaustion_case exhaustion_cases[] = {
    {"one_token_blocks", 3, 1, 8, 6}, {"blocks_of_4", 4, 4, 12, 20}, {"blocks_of_16", 5, 16, 16, 50},
    {"one_branch", 6, 4, 1, 30},
};

/* Replays with a squatter that makes room only when it must. Returns how often it had to. */
static uint32_t replay_squeezed(const workload *w, const replay_totals *roomy, uint32_t block_tokens,
                                replay_totals *counted)
{
    kv_pool_config config = {.num_blocks = roomy->peak_blocks, .block_tokens = block_tokens};
    config.max_branches = w->max_live_branches + roomy->peak_blocks;
    kv_pool *pool = NULL;
    replay *r = NULL;
    squatter s;
    uint32_t refusals = 0;
    check(kv_pool_create(&pool, &config) == KV_OK, "pool");
    squat(&s, pool, roomy->peak_blocks, block_tokens);
    check(replay_create(&r, w, pool, NULL) == KV_OK, "replay");
    replay_result step = {.done = false};
    while (!step.done) {
        uint32_t position = replay_position(r);
        kv_status status = replay_step(r, &step);
        if (status == KV_NOBLOCKS) {
            char *before = dump(pool), message[200] = "";
            position = replay_position(r);
            check(replay_step(r, &step) == KV_NOBLOCKS, "refused again while nothing changed");
            char *after = dump(pool);
            check(kv_pool_check(pool, message, sizeof message) == KV_OK, "whole after a refusal: %s", message);
            check(replay_position(r) == position, "still before operation %u", position);
            check(strcmp(before, after) == 0, "the pool is as it was");
            free(before);
            free(after);
            refusals++;
            check(leave(&s), "the measured blocks are enough");
            continue;
        }
        check(status == KV_OK, "status %d at operation %u", status, position);
        if (!step.done) { /* what replay_count sums, without the squatter's share */
            counted->iterations++;
            counted->queries_sum += step.num_queries;
            for (uint32_t i = 0; i < step.num_queries; i++) {
                kv_table table;
                check(kv_branch_table(pool, step.queries[i], &table) == KV_OK, "lives");
                counted->path_tokens_sum += table.length;
            }
        }
    }
    kv_pool_stats stats;
    kv_pool_get_stats(pool, &stats);
    counted->copies = stats.copies;
    counted->copied_tokens = stats.copied_tokens;
    while (leave(&s))
        continue;
    replay_destroy(r);
    check(kv_pool_destroy(pool, false, NULL) == KV_OK, "nothing is left");
    free(s.branches);
    return refusals;
}

static void run_squeezed(const void *argument)
{
    const exhaustion_case *c = argument;
    uint32_t refusals = 0;
    for (uint64_t i = 0; i < 10; i++) {
        workload_random_config config = {c->seed + 100 * i, 30, c->max_branches, c->max_tokens};
        workload *w = NULL;
        replay_totals roomy, squeezed = {0};
        check(workload_random(&w, &config) == KV_OK, "built");
        check(replay_measure(&roomy, w, c->block_tokens) == KV_OK, "measured");
        refusals += replay_squeezed(w, &roomy, c->block_tokens, &squeezed);
        check(squeezed.iterations == roomy.iterations && squeezed.queries_sum == roomy.queries_sum &&
              squeezed.path_tokens_sum == roomy.path_tokens_sum && squeezed.copies == roomy.copies &&
              squeezed.copied_tokens == roomy.copied_tokens, "the same replay as in a pool with room");
        workload_destroy(w);
    }
    check(refusals > 10, "the pool ran out, got %u refusals", refusals);
    test_note("refusals=%u", refusals);
}

static void run_one_block_short(const void *argument)
{
    (void)argument;
    workload *w = NULL;
    replay_totals t;
    check(workload_few_shot(&w, 33, 5, 20) == KV_OK, "built");
    check(replay_measure(&t, w, 16) == KV_OK, "measured");
    for (uint32_t missing = 0; missing < 3; missing++) {
        kv_pool_config config = {.num_blocks = t.peak_blocks - missing, .block_tokens = 16};
        kv_pool *pool = NULL;
        replay *r = NULL;
        replay_result step = {.done = false};
        check(kv_pool_create(&pool, &config) == KV_OK && replay_create(&r, w, pool, NULL) == KV_OK, "created");
        kv_status status = KV_OK;
        while (status == KV_OK && !step.done)
            status = replay_step(r, &step);
        check(status == (missing ? KV_NOBLOCKS : KV_OK), "%u blocks missing: status %d", missing, status);
        check(missing == 0 || w->operations[replay_position(r)].kind == WORKLOAD_STEP, "it stopped at a STEP");
        replay_destroy(r);
        check(kv_pool_destroy(pool, false, NULL) == KV_OK, "a replay destroyed half way leaves nothing in the pool");
    }
    workload_destroy(w);
}

static void run_no_branch(const void *argument)
{
    (void)argument;
    workload *w = NULL;
    check(workload_few_shot(&w, 4, 3, 2) == KV_OK, "built");
    kv_pool_config config = {.num_blocks = 20, .block_tokens = 4, .max_branches = 4};
    kv_pool *pool = NULL;
    kv_branch other;
    replay *r = NULL;
    replay_result step = {.done = false};
    check(kv_pool_create(&pool, &config) == KV_OK && kv_branch_create(pool, &other) == KV_OK, "one slot is taken");
    check(replay_create(&r, w, pool, NULL) == KV_OK, "created");
    check(replay_step(r, &step) == KV_NOBRANCH && replay_step(r, &step) == KV_NOBRANCH, "no room for a branch");
    check(kv_branch_prune(pool, other) == KV_OK, "room is made");
    uint32_t steps = 0;
    while (replay_step(r, &step) == KV_OK && !step.done)
        steps++;
    check(step.done && steps == 2, "and it goes on to the end, %u steps", steps);
    replay_destroy(r);
    check(kv_pool_destroy(pool, false, NULL) == KV_OK, "nothing is left");
    workload_destroy(w);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "a pool that runs out stops the replay, and the same call continues once there is room");
    for (size_t i = 0; i < sizeof exhaustion_cases / sizeof exhaustion_cases[0]; i++)
        test_add(run_squeezed, &exhaustion_cases[i], "squeezed_%s", exhaustion_cases[i].name);
    test_add(run_one_block_short, NULL, "one_block_short");
    test_add(run_no_branch, NULL, "no_branch_slot");
    return test_end();
}
