/* Claim: every argument at its limit works, and one beyond it is refused with the documented status. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "kv_branch.h"
#include "test.h"

typedef struct config_case {
    const char *name;
    kv_pool_config config;
    kv_status status;
} config_case;

static const config_case config_cases[] = {
    {"smallest", {.num_blocks = 1, .block_tokens = 1, .max_branches = 1, .max_epochs = 1}, KV_OK},
    {"no_blocks", {.num_blocks = 0}, KV_INVAL},
    {"most_blocks", {.num_blocks = UINT32_MAX}, KV_INVAL},
    {"block_tokens_256", {.num_blocks = 1, .block_tokens = 256}, KV_OK},
    {"block_tokens_512", {.num_blocks = 1, .block_tokens = 512}, KV_INVAL},
    {"block_tokens_3", {.num_blocks = 1, .block_tokens = 3}, KV_INVAL},
    {"block_tokens_255", {.num_blocks = 1, .block_tokens = 255}, KV_INVAL},
    {"max_branches", {.num_blocks = 1, .max_branches = KV_MAX_BRANCHES}, KV_OK},
    {"too_many_branches", {.num_blocks = 1, .max_branches = KV_MAX_BRANCHES + 1}, KV_INVAL},
    {"max_epochs", {.num_blocks = 1, .max_epochs = KV_MAX_EPOCHS}, KV_OK},
    {"too_many_epochs", {.num_blocks = 1, .max_epochs = KV_MAX_EPOCHS + 1}, KV_INVAL},
    {"order_shuffle", {.num_blocks = 1, .order = KV_ORDER_SHUFFLE}, KV_OK},
    {"order_unknown", {.num_blocks = 1, .order = (kv_order)3}, KV_INVAL},
    {"bytes_2_47", {.num_blocks = 8, .block_bytes = UINT64_C(1) << 44}, KV_OK},
    {"bytes_beyond_2_47", {.num_blocks = 8, .block_bytes = (UINT64_C(1) << 44) + 1}, KV_OVERFLOW},
    {"bytes_that_wrap", {.num_blocks = 1u << 31, .block_bytes = UINT64_C(1) << 33}, KV_OVERFLOW},
    {"bytes_most", {.num_blocks = 2, .block_bytes = UINT64_MAX}, KV_OVERFLOW},
};

static void run_config(const void *argument)
{
    const config_case *c = argument;
    kv_pool *pool = NULL;
    kv_status status = kv_pool_create(&pool, &c->config);
    check(status == c->status, "%s", kv_status_string(status));
    check((status == KV_OK) == (pool != NULL), "a refused create leaves the pointer alone");
    if (!pool) return;
    kv_pool_stats stats;
    kv_pool_get_stats(pool, &stats);
    check(stats.block_tokens == (c->config.block_tokens ? c->config.block_tokens : 16), "16 tokens unless said");
    check(stats.free_blocks == c->config.num_blocks && stats.used_blocks == 0, "all free");
    check(kv_pool_destroy(pool, false, NULL) == KV_OK, "destroyed");
}

static void run_null(const void *argument)
{
    (void)argument;
    kv_pool_config config = {.num_blocks = 1};
    kv_pool *pool = NULL;
    check(kv_pool_create(NULL, &config) == KV_INVAL && kv_pool_create(&pool, NULL) == KV_INVAL, "no pool, no config");
}

static kv_pool *pool_of(uint32_t num_blocks, uint32_t block_tokens, uint32_t max_branches)
{
    kv_pool_config config = {.num_blocks = num_blocks, .block_tokens = block_tokens, .max_branches = max_branches};
    kv_pool *pool = NULL;
    check(kv_pool_create(&pool, &config) == KV_OK, "a pool of %u blocks", num_blocks);
    return pool;
}

/* A branch as long as a branch can be. */
static void run_longest_branch(const void *argument)
{
    (void)argument;
    kv_pool *pool = pool_of(KV_MAX_LENGTH / 256 + 1, 256, 2);
    kv_branch a, b;
    kv_append append = {.num_new_blocks = 99};
    kv_table table;
    kv_branch_create(pool, &a);
    check(kv_branch_append(pool, a, KV_MAX_LENGTH + 1, &append) == KV_RANGE, "one token too many");
    check(append.num_new_blocks == 99, "a refused append writes nothing");
    check(kv_branch_append(pool, a, KV_MAX_LENGTH, &append) == KV_OK, "as many as can be");
    check(append.num_new_blocks == KV_MAX_LENGTH / 256 && append.first_new_block == 0, "their blocks");
    check(kv_branch_append(pool, a, 1, &append) == KV_RANGE, "one more");
    check(kv_branch_append(pool, a, UINT32_MAX, &append) == KV_RANGE, "a sum that wraps 32 bits");
    check(kv_branch_reserve(pool, a, 1) == KV_RANGE, "a promise beyond");
    check(kv_branch_append(pool, a, 0, &append) == KV_OK, "nothing more");
    check(kv_branch_fork(pool, a, &b) == KV_OK && kv_branch_truncate(pool, b, KV_MAX_LENGTH - 1) == KV_OK, "a fork");
    check(kv_branch_append(pool, b, 1, &append) == KV_OK && append.copy.num_tokens == 255, "its copy");
    check(kv_branch_table(pool, a, &table) == KV_OK && table.blocks[table.num_blocks - 1] == KV_MAX_LENGTH / 256 - 1,
          "the last entry");
    kv_pool_destroy(pool, true, NULL);
}

static void run_branch_limit(const void *argument)
{
    uint32_t max_branches = *(const uint32_t *)argument;
    kv_pool *pool = pool_of(2, 4, max_branches);
    kv_branch branch, first = 0, none = 77;
    for (uint32_t i = 0; i < max_branches; i++) {
        check(kv_branch_create(pool, &branch) == KV_OK, "branch %u of %u", i, max_branches);
        if (i == 0) first = branch;
    }
    check(kv_branch_create(pool, &none) == KV_NOBRANCH && none == 77, "one too many");
    check(kv_branch_fork(pool, first, &none) == KV_NOBRANCH && none == 77, "a fork too many");
    check(kv_branch_prune(pool, first) == KV_OK, "prune");
    check(kv_branch_create(pool, &branch) == KV_OK && branch != first, "then retry; the old handle stays dead");
    check(kv_branch_prune(pool, first) == KV_STALE, "the old handle stays dead");
    kv_pool_destroy(pool, true, NULL);
}

/* A slot whose generations are used up never serves again, and takes no place from the living. */
static void run_last_generation(const void *argument)
{
    (void)argument;
    static const char text[] =
        "kv_pool 1 blocks 2 block_tokens 4 max_branches 1 max_epochs 8 block_bytes 0 order lifo seed 0 random 0\n"
        "counters version 1 high_water 1 copies 0 copied_tokens 0 operations 2\nepochs 1\nquarantine\nfree 1\n"
        "branch 0 generation 4294967295 version 1 length 3 promised 0 credit 0 blocks 0\nfree_slots\nend\n";
    kv_pool *pool;
    check(kv_pool_load(&pool, text, strlen(text), NULL) == KV_OK, "a slot in its last generation");
    kv_branch last = (uint64_t)UINT32_MAX << 32, next;
    check(kv_branch_prune(pool, last) == KV_OK && kv_branch_prune(pool, last) == KV_STALE, "it dies once");
    check(kv_branch_prune(pool, 0) == KV_STALE, "0 names no branch, not even the retired slot");
    check(kv_branch_create(pool, &next) == KV_OK && (uint32_t)next == 1, "another slot serves");
    check(kv_branch_create(pool, &next) == KV_NOBRANCH, "max_branches are alive");
    char message[160], again[600];
    check(kv_pool_check(pool, message, sizeof message) == KV_OK, "%s", message);
    kv_pool_dump(pool, again, sizeof again);
    check(strstr(again, "dead 0 generation 0\n"), "retired:\n%s", again);
    kv_pool *copy;
    check(kv_pool_load(&copy, again, strlen(again), NULL) == KV_OK, "and a dump keeps that");
    kv_pool_destroy(copy, true, NULL);
    kv_pool_destroy(pool, true, NULL);
}

/* Three places, thousands of branches: each handle is new, and those of the dead stay dead. */
static void run_handles_never_repeat(const void *argument)
{
    (void)argument;
    enum { ROUNDS = 3000 };
    static kv_branch seen[ROUNDS];
    static bool alive[ROUNDS];
    kv_pool *pool = pool_of(2, 4, 3);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        check(kv_branch_create(pool, &seen[i]) == KV_OK && seen[i] != 0, "branch %u", i);
        alive[i] = true;
        for (uint32_t j = 0; j < i; j++) check(seen[i] != seen[j], "handle %u came again as %u", j, i);
        uint32_t num_alive = 0, oldest = i;
        for (uint32_t j = i > 100 ? i - 100 : 0; j <= i; j++) {
            num_alive += alive[j];
            if (alive[j] && j < oldest) oldest = j;
        }
        if (num_alive < 3) continue;
        uint32_t pruned = i - oldest < 50 && test_below(2) ? i : oldest;
        check(kv_branch_prune(pool, seen[pruned]) == KV_OK, "branch %u was alive", pruned);
        check(kv_branch_prune(pool, seen[pruned]) == KV_STALE, "and is no more");
        alive[pruned] = false;
    }
    for (uint32_t i = 0; i < ROUNDS; i++)
        check(kv_branch_prune(pool, seen[i]) == (alive[i] ? KV_OK : KV_STALE), "branch %u at the end", i);
    check(kv_pool_destroy(pool, false, NULL) == KV_OK, "no branch is left");
}

static void run_tables_of_many(const void *argument)
{
    (void)argument;
    kv_pool *pool = pool_of(8, 4, 4);
    kv_branch branches[3];
    kv_append append;
    kv_table tables[3] = {{.length = 77}, {.length = 77}, {.length = 77}};
    for (uint32_t i = 0; i < 3; i++) {
        kv_branch_create(pool, &branches[i]);
        kv_branch_append(pool, branches[i], 4 * i, &append);
    }
    check(kv_branch_tables(pool, branches, 3, tables) == KV_OK, "three tables");
    for (uint32_t i = 0; i < 3; i++) check(tables[i].length == 4 * i && tables[i].num_blocks == i, "table %u", i);
    kv_branch_prune(pool, branches[2]);
    tables[0].length = 77;
    check(kv_branch_tables(pool, branches, 3, tables) == KV_STALE && tables[0].length == 77, "all or nothing");
    check(kv_branch_tables(pool, branches, 0, tables) == KV_OK, "none of them");
    kv_pool_destroy(pool, true, NULL);
}

/* A view stays valid across refused calls on its branch, and the final statistics come with destroy. */
static void run_view_and_destroy(const void *argument)
{
    (void)argument;
    kv_pool *pool = pool_of(3, 4, 4);
    kv_branch a, b;
    kv_append append;
    kv_table before, after;
    kv_pool_stats stats = {.num_blocks = 77};
    kv_branch_create(pool, &a);
    kv_branch_append(pool, a, 6, &append);
    kv_branch_fork(pool, a, &b);
    kv_branch_table(pool, a, &before);
    check(kv_branch_append(pool, a, 40, &append) == KV_NOBLOCKS, "too much");
    kv_branch_table(pool, a, &after);
    check(before.blocks == after.blocks && !memcmp(&before, &after, sizeof before), "the view is as it was");
    check(kv_pool_destroy(pool, false, &stats) == KV_BUSY && stats.num_blocks == 77, "branches live");
    check(kv_pool_destroy(pool, true, &stats) == KV_OK, "forced");
    check(stats.live_branches == 2 && stats.used_blocks == 2 && stats.failures == 2, "the final state");
}

static void run_status_strings(const void *argument)
{
    (void)argument;
    for (int i = 1; i >= -12; i--) {
        const char *text = kv_status_string((kv_status)i);
        check(text && strlen(text) > 5, "a sentence for %d", i);
        for (int j = -10; j < i && i <= 0; j++)
            check(strcmp(text, kv_status_string((kv_status)j)) != 0, "%d and %d differ", i, j);
    }
}

int main(int argc, char **argv)
{
    static const uint32_t limits[] = {1, 2, 9, 1000};
    test_begin(argc, argv, "every argument works at its limit and is refused beyond it");
    for (size_t i = 0; i < sizeof config_cases / sizeof config_cases[0]; i++)
        test_add(run_config, &config_cases[i], "config_%s", config_cases[i].name);
    test_add(run_null, NULL, "config_null");
    test_add(run_longest_branch, NULL, "longest_branch");
    for (int i = 0; i < 4; i++) test_add(run_branch_limit, &limits[i], "max_branches_%u", limits[i]);
    test_add(run_last_generation, NULL, "last_generation");
    test_add(run_handles_never_repeat, NULL, "handles_never_repeat");
    test_add(run_tables_of_many, NULL, "tables_of_many");
    test_add(run_view_and_destroy, NULL, "view_and_destroy");
    test_add(run_status_strings, NULL, "status_strings");
    return test_end();
}
