/* Claim: whichever host allocation fails, the call returns KV_NOMEM, the pool is as it was, nothing leaks, and the same
 * call succeeds when memory is back; and tables that are not needed any more are given back. */
#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "failing_malloc.h"
#include "kv_evict.h"
#include "kv_pool_internal.h"
#include "test.h"

static uint64_t fail_at, injected; /* fail_at: that many allocations from now, one fails; 0: none */

static bool allocation_fails(void)
{
    if (fail_at == 0 || --fail_at > 0) return false;
    injected++;
    return true;
}

/* Bytes in use, freed ones in malloc's caches included; 0 under a sanitizer, which looks for leaks itself. */
static size_t bytes_in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* ---- one call, each of its allocations failing once ---- */

typedef struct state {
    kv_pool *pool, *made; /* made: by create or load */
    kv_branch a, b, c, new_branch;
    char text[8192];
} state;

static bool evicts; /* of the running case */

static kv_pool_config usual_config(void)
{
    return (kv_pool_config){.num_blocks = 600, .block_tokens = 2, .max_branches = 64, .evicts = evicts};
}

/* Branch a has a table, b shares it, c is empty; 8 records exist and all serve. */
static void set_up(state *s)
{
    kv_append append;
    kv_branch others[5];
    kv_pool_config config = usual_config();
    bool ok = kv_pool_create(&s->pool, &config) == KV_OK && kv_branch_create(s->pool, &s->a) == KV_OK &&
              kv_branch_append(s->pool, s->a, 15, &append) == KV_OK && kv_branch_fork(s->pool, s->a, &s->b) == KV_OK &&
              kv_branch_create(s->pool, &s->c) == KV_OK;
    for (int i = 0; i < 5; i++) ok = ok && kv_branch_create(s->pool, &others[i]) == KV_OK;
    check(ok, "the set-up has memory");
    check(kv_pool_dump(s->pool, s->text, sizeof s->text) <= sizeof s->text, "room for the dump");
    s->made = NULL;
}

static kv_status call_pool_create(state *s)
{
    kv_pool_config config = usual_config();
    return kv_pool_create(&s->made, &config);
}

static kv_status call_create(state *s)
{
    return kv_branch_create(s->pool, &s->new_branch);
}

static kv_status call_fork(state *s)
{
    return kv_branch_fork(s->pool, s->a, &s->new_branch);
}

static kv_status call_fork_at(state *s)
{
    return kv_branch_fork_at(s->pool, s->a, 7, &s->new_branch);
}

static kv_status call_append(state *s)
{
    kv_append append;
    return kv_branch_append(s->pool, s->a, 100, &append);
}

static kv_status call_append_many(state *s)
{
    const kv_branch branches[] = {s->c, s->a, s->b};
    const uint32_t num_tokens[] = {50, 100, 40};
    kv_append appends[3];
    return kv_branch_append_many(s->pool, branches, num_tokens, 3, appends);
}

static kv_status call_load(state *s)
{
    return kv_pool_load(&s->made, s->text, strlen(s->text), NULL);
}

static kv_status call_check(state *s)
{
    char message[160];
    return kv_pool_check(s->pool, message, sizeof message);
}

/* Calls that take no host memory at all: nothing fails, whatever is left. */
static kv_status call_evict(state *s)
{
    const uint32_t slots[] = {0, 1, 14};
    return kv_branch_evict(s->pool, s->a, KV_SCOPE_MASK, slots, 3);
}

static kv_status call_evict_shared(state *s)
{
    const kv_branch both[] = {s->a, s->b};
    return kv_evict_shared(s->pool, both, 2, 3, 1);
}

static kv_status call_compact_shared(state *s)
{
    kv_move moves[15];
    uint32_t num_moves;
    return kv_branch_compact_shared(s->pool, s->a, 0, moves, 15, &num_moves);
}

static kv_status call_compact(state *s)
{
    kv_move move;
    uint32_t num_moves;
    return kv_branch_compact(s->pool, s->a, &move, 1, &num_moves);
}

typedef struct call_case {
    const char *name;
    kv_status (*call)(state *s);
    uint64_t least_failures; /* fewer: the failure was not injected where the call allocates */
} call_case;

static const call_case calls[] = {
    {"pool_create", call_pool_create, 9}, {"branch_create", call_create, 1}, {"fork", call_fork, 2},
    {"fork_at", call_fork_at, 2},         {"append", call_append, 1},        {"append_many", call_append_many, 3},
    {"load", call_load, 14},              {"check", call_check, 2},
};

/* Of a pool that evicts: each table has keep words beside it, the pool positions and keepers, the check a list. */
static const call_case evicting_calls[] = {
    {"pool_create", call_pool_create, 11}, {"branch_create", call_create, 1}, {"fork", call_fork, 3},
    {"fork_at", call_fork_at, 3},          {"append", call_append, 2},        {"append_many", call_append_many, 6},
    {"load", call_load, 19},               {"check", call_check, 3},          {"evict", call_evict, 0},
    {"evict_shared", call_evict_shared, 0}, {"compact", call_compact, 0},
    {"compact_shared", call_compact_shared, 0},
};

/* The call with its k-th allocation failing; false: it has fewer. */
static bool run_call_failing(const call_case *c, uint64_t k)
{
    static state s;
    char after[sizeof s.text];
    set_up(&s);
    kv_table view, same;
    kv_branch_table(s.pool, s.a, &view);
    uint64_t injected_before = injected;
    fail_at = k;
    kv_status status = c->call(&s);
    fail_at = 0;
    bool failed = injected > injected_before;
    check(status == (failed ? KV_NOMEM : KV_OK), "allocation %llu: %s", (unsigned long long)k,
          kv_status_string(status));
    if (failed) {
        kv_pool_dump(s.pool, after, sizeof after);
        check(!strcmp(s.text, after), "allocation %llu: the pool changed", (unsigned long long)k);
        check(!s.made, "nothing half made");
        kv_branch_table(s.pool, s.a, &same);
        check(view.blocks == same.blocks, "a view that was valid before the call is valid after it");
        check(c->call(&s) == KV_OK, "the same call succeeds with memory");
    }
    if (s.made) kv_pool_destroy(s.made, true, NULL);
    kv_pool_destroy(s.pool, true, NULL);
    return failed;
}

static void repeat_call(const call_case *c)
{
    enum { WARM_UP = 30, ROUNDS = 50, SMALLEST_CHUNK = 24 };
    size_t used_before = 0;
    for (int round = 0; round < WARM_UP + ROUNDS; round++) {
        if (round == WARM_UP) used_before = bytes_in_use(); /* by now malloc's own caches are full */
        injected = 0;
        for (uint64_t k = 1; run_call_failing(c, k); k++) continue;
        check(injected >= c->least_failures, "%llu failures injected", (unsigned long long)injected);
    }
    long long leaked = (long long)bytes_in_use() - (long long)used_before;
    check(leaked < ROUNDS * SMALLEST_CHUNK, "%lld bytes leaked in %d rounds", leaked, ROUNDS);
    test_note("%llu failures a round, %lld bytes more in use after %d", (unsigned long long)injected, leaked, ROUNDS);
}

static void run_call(const void *argument)
{
    evicts = false;
    repeat_call(argument);
}

static void run_evicting_call(const void *argument)
{
    evicts = true;
    repeat_call(argument);
}

/* ---- two pools, one of them short of memory ---- */

static kv_status random_call(kv_pool *pool, uint64_t random, kv_branch *branches, uint32_t *count)
{
    kv_branch branch = branches[random / 8 % *count];
    uint32_t n = (uint32_t)(random >> 32) % 70;
    kv_append append;
    kv_status status;
    switch (random % 8) {
    case 0:
        if (evicts && n % 2) return kv_branch_evict(pool, branch, KV_SCOPE_MASK, &n, 1);
        return kv_branch_truncate(pool, branch, n);
    case 1:
    case 2:
    case 3:
        status = kv_branch_fork(pool, branch, &branches[*count]);
        *count += status == KV_OK;
        return status;
    default: return kv_branch_append(pool, branch, n, &append);
    }
}

static void expect_same(const kv_pool *short_pool, const kv_pool *twin)
{
    static char one[1 << 17], two[1 << 17];
    size_t bytes = kv_pool_dump(short_pool, one, sizeof one);
    check(bytes <= sizeof one && kv_pool_dump(twin, two, sizeof two) == bytes, "%zu bytes", bytes);
    check(!strcmp(one, two), "the pool that was short of memory differs from its twin:\n%s\n%s", one, two);
}

static void run_twins(const void *argument)
{
    evicts = *(const bool *)argument;
    injected = 0;
    for (uint32_t round = 0; round < 200; round++) {
        kv_pool_config config = usual_config();
        kv_pool *pools[2];
        kv_branch branches[2][64];
        uint32_t count[2] = {1, 1};
        for (int i = 0; i < 2; i++) {
            check(kv_pool_create(&pools[i], &config) == KV_OK, "a pool");
            check(kv_branch_create(pools[i], &branches[i][0]) == KV_OK, "a branch");
        }
        for (uint32_t step = 0; step < 40; step++) {
            uint64_t random = test_random();
            kv_status status = KV_NOMEM;
            for (uint64_t k = 1; status == KV_NOMEM; k++) {
                expect_same(pools[0], pools[1]);
                fail_at = k;
                status = random_call(pools[0], random, branches[0], &count[0]);
                fail_at = 0;
            }
            check(random_call(pools[1], random, branches[1], &count[1]) == status, "both answer alike");
        }
        expect_same(pools[0], pools[1]);
        for (int i = 0; i < 2; i++) kv_pool_destroy(pools[i], true, NULL);
    }
    check(injected > 3000, "%llu failures injected", (unsigned long long)injected);
    test_note("%llu failures injected", (unsigned long long)injected);
}

/* ---- memory that is given back ---- */

enum { NUM_FORKS = 200, LONG_TABLE = 100000 };
typedef enum ending { PRUNED, TRUNCATED, ADOPTED, NUM_ENDINGS } ending;
static const char *const ending_name[NUM_ENDINGS] = {"pruned", "truncated", "adopted_over"};
static const uint64_t little = NUM_FORKS * 1024, kept = 4 * KV_MAX_KEPT_ENTRIES; /* of 80 million bytes */

static uint64_t table_bytes(const kv_pool *pool)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < pool->num_records; i++)
        bytes += pool->records[i].capacity * sizeof *pool->records[i].blocks;
    return bytes;
}

static void end_branch(kv_pool *pool, kv_branch branch, ending how)
{
    kv_branch empty;
    if (how == PRUNED) check(kv_branch_prune(pool, branch) == KV_OK, "pruned");
    if (how == TRUNCATED) check(kv_branch_truncate(pool, branch, 3) == KV_OK, "cut");
    if (how != ADOPTED) return;
    check(kv_branch_create(pool, &empty) == KV_OK, "an empty branch");
    check(kv_branch_adopt(pool, branch, empty) == KV_OK, "adopted");
}

/* Many forks of a long branch; when they have ended, only so many of the dead may keep their tables. */
static void run_given_back(const void *argument)
{
    ending how = *(const ending *)argument;
    kv_pool_config config = {.num_blocks = LONG_TABLE, .block_tokens = 1, .max_branches = NUM_FORKS + 2};
    kv_pool *pool;
    kv_branch root, forks[NUM_FORKS];
    kv_append append;
    check(kv_pool_create(&pool, &config) == KV_OK && kv_branch_create(pool, &root) == KV_OK, "a pool");
    check(kv_branch_append(pool, root, LONG_TABLE, &append) == KV_OK, "a long branch");
    uint64_t used_before = bytes_in_use(), tables_before = table_bytes(pool);
    uint64_t all = (uint64_t)NUM_FORKS * LONG_TABLE * sizeof(uint32_t);
    for (uint32_t i = 0; i < NUM_FORKS; i++) check(kv_branch_fork(pool, root, &forks[i]) == KV_OK, "fork %u", i);
    check(table_bytes(pool) >= tables_before + all, "%llu bytes of tables", (unsigned long long)table_bytes(pool));
    check(used_before == 0 || bytes_in_use() >= used_before + all, "malloc counts them");
    for (uint32_t i = 0; i < NUM_FORKS; i++) end_branch(pool, forks[i], how);
    uint64_t tables = table_bytes(pool) - tables_before, used = bytes_in_use() - used_before;
    test_note("%llu bytes of tables, %llu bytes in use more than before the forks", (unsigned long long)tables,
              (unsigned long long)used);
    check(tables <= kept + little, "%llu bytes of tables are kept", (unsigned long long)tables);
    check(used_before == 0 || used <= kept + little, "%llu bytes are kept", (unsigned long long)used);
    kv_pool_destroy(pool, true, NULL);
}

/* Short branches do not live on in the tables of long ones that died before. */
static void run_reused(const void *argument)
{
    (void)argument;
    kv_pool_config config = {.num_blocks = LONG_TABLE, .block_tokens = 1, .max_branches = NUM_FORKS + 2};
    kv_pool *pool;
    kv_branch root, branch;
    kv_append append;
    check(kv_pool_create(&pool, &config) == KV_OK && kv_branch_create(pool, &root) == KV_OK, "a pool");
    check(kv_branch_append(pool, root, LONG_TABLE, &append) == KV_OK, "a long branch");
    uint64_t tables_before = table_bytes(pool);
    for (uint32_t i = 0; i < NUM_FORKS; i++) {
        check(kv_branch_fork(pool, root, &branch) == KV_OK && kv_branch_prune(pool, branch) == KV_OK, "a long one dies");
        check(table_bytes(pool) > tables_before + LONG_TABLE, "its table is kept for the next");
        check(kv_branch_fork_at(pool, root, i % 40, &branch) == KV_OK, "a short one is born");
    }
    uint64_t tables = table_bytes(pool) - tables_before;
    check(tables <= little, "%llu bytes of tables for short branches", (unsigned long long)tables);
    kv_pool_destroy(pool, true, NULL);
}

/* A record that serves no more keeps nothing. */
static void run_retired(const void *argument)
{
    (void)argument;
    kv_pool_config config = {.num_blocks = 300, .block_tokens = 1, .max_branches = 1};
    kv_pool *pool;
    kv_branch branch;
    kv_append append;
    char message[160];
    check(kv_pool_create(&pool, &config) == KV_OK && kv_branch_create(pool, &branch) == KV_OK, "a pool");
    check(kv_branch_append(pool, branch, 300, &append) == KV_OK, "a long branch");
    pool->records[0].generation = UINT32_MAX;
    check(kv_branch_prune(pool, kv_handle(0, UINT32_MAX)) == KV_OK && pool->num_retired == 1, "its last generation");
    check(table_bytes(pool) == 0, "%llu bytes that are of no use", (unsigned long long)table_bytes(pool));
    check(kv_pool_check(pool, message, sizeof message) == KV_OK, "%s", message);
    kv_pool_destroy(pool, true, NULL);
}

/* A shorter table that cannot be had: the cut succeeds all the same, in the memory that it has. */
static void run_cut_without_memory(const void *argument)
{
    (void)argument;
    kv_pool_config config = {.num_blocks = LONG_TABLE, .block_tokens = 1, .max_branches = 2};
    kv_pool *pool;
    kv_branch root;
    kv_append append;
    kv_table table;
    char message[160];
    check(kv_pool_create(&pool, &config) == KV_OK && kv_branch_create(pool, &root) == KV_OK, "a pool");
    check(kv_branch_append(pool, root, LONG_TABLE, &append) == KV_OK, "a long branch");
    injected = 0;
    fail_at = 1;
    check(kv_branch_truncate(pool, root, 3) == KV_OK, "cut");
    fail_at = 0;
    check(injected == 1, "%llu allocations failed", (unsigned long long)injected);
    check(kv_branch_table(pool, root, &table) == KV_OK && table.num_blocks == 3 && table.blocks[2] == 2, "its blocks");
    check(kv_pool_check(pool, message, sizeof message) == KV_OK, "%s", message);
    check(kv_branch_append(pool, root, 100, &append) == KV_OK, "it grows again");
    kv_pool_destroy(pool, true, NULL);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "every host allocation fails once, and no call loses anything");
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        test_add(run_call, &calls[i], "each_allocation_of_%s", calls[i].name);
    for (size_t i = 0; i < sizeof evicting_calls / sizeof evicting_calls[0]; i++)
        test_add(run_evicting_call, &evicting_calls[i], "evicting_each_allocation_of_%s", evicting_calls[i].name);
    static const bool no = false, yes = true;
    test_add(run_twins, &no, "twins");
    test_add(run_twins, &yes, "twins_evicting");
    for (ending how = 0; how < NUM_ENDINGS; how++)
        test_add(run_given_back, &how, "tables_of_%s_branches_are_given_back", ending_name[how]);
    test_add(run_reused, NULL, "tables_of_dead_branches_are_cut_for_short_ones");
    test_add(run_retired, NULL, "tables_of_retired_records_are_given_back");
    test_add(run_cut_without_memory, NULL, "cut_without_memory");
    return test_end();
}
