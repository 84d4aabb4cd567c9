/* Random calls on small pools against private copies: soak_kv_pool [CALLS [SEED]], 100 million by default.
 * After every call the tables, the copy, the released blocks and all statistics are compared and the touched branch
 * is read back; every 1,000 calls kv_pool_check runs and every branch is read back; every 100,000 a pool of another
 * shape begins, every other one with eviction. Prints one csv line of what happened; a counter that stayed 0 fails the
 * run. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool_model.h"
#include "test.h"

enum { CALLS_PER_POOL = 100000, CALLS_PER_CHECK = 1000 };

static const char *const counter_name[] = {
    "creates", "forks", "forks_inside_block", "appends", "appends_of_many", "truncates", "adopts", "prunes", "reserves",
    "epochs", "promises_needed", "copies", "copies_avoided", "tokens_written", "tokens_read", "blocks_released",
    "blocks_quarantined", "refused_blocks", "refused_branches", "refused_stale", "refused_range", "refused_invalid",
    "refused_busy", "full_checks", "evictions", "votes", "thaws", "compactions", "compactions_shared", "holes_taken",
    "blocks_died", "dead_blocks_shared", "tails_left", "tails_taken_over", "tokens_moved", "inherited_refused"};
enum { NUM_COUNTERS = sizeof counter_name / sizeof counter_name[0] };
_Static_assert(sizeof(model_coverage) == NUM_COUNTERS * sizeof(uint64_t), "a name for each counter");

static uint64_t total[NUM_COUNTERS];

static void run_pool(uint64_t calls)
{
    kv_pool_config config = {.num_blocks = 4 + test_below(29), .block_tokens = 1u << test_below(5),
                             .max_branches = 2 + test_below(9), .max_epochs = 1 + test_below(3),
                             .order = (kv_order)test_below(3), .seed = test_random(), .evicts = test_below(2)};
    pool_model *m = model_new(&config, false);
    for (uint64_t i = 1; i <= calls; i++) {
        model_step(m);
        if (i % CALLS_PER_CHECK == 0) model_check(m);
    }
    uint64_t counters[NUM_COUNTERS];
    memcpy(counters, &m->coverage, sizeof counters);
    for (int i = 0; i < NUM_COUNTERS; i++) total[i] += counters[i];
    model_end(m);
}

static void soak(const void *argument)
{
    uint64_t calls = *(const uint64_t *)argument;
    for (uint64_t done = 0; done < calls; done += CALLS_PER_POOL)
        run_pool(calls - done < CALLS_PER_POOL ? calls - done : CALLS_PER_POOL);
    for (int i = 0; i < NUM_COUNTERS; i++) check(total[i] > 0, "%s stayed 0: too few calls", counter_name[i]);
}

int main(int argc, char **argv)
{
    uint64_t calls = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000000;
    char *seeded[] = {argv[0], "--seed", argc > 2 ? argv[2] : "1", NULL};
    if (calls == 0 || argc > 3) {
        fprintf(stderr, "usage: soak_kv_pool [CALLS [SEED]]\n");
        return 2;
    }
    test_begin(3, seeded, "random calls against private copies, for long");
    test_add(soak, &calls, "soak");
    printf("seed,calls");
    for (int i = 0; i < NUM_COUNTERS; i++) printf(",%s", counter_name[i]);
    printf("\n%" PRIu64 ",%" PRIu64, test_seed(), calls);
    for (int i = 0; i < NUM_COUNTERS; i++) printf(",%" PRIu64, total[i]);
    printf("\n");
    return test_end();
}
