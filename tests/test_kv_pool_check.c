/* Claim: kv_pool_check notices every kind of damage, names its invariant, and tells too many from too few. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv_evict.h"
#include "kv_pool_internal.h"
#include "test.h"

/* Branches in records 0 [0 1 2], 1 [0 1 3], 3 [0], two views of 3; record 2 dead; block 4 quarantined, others free */
static kv_pool *sound_pool(void)
{
    kv_pool_config config = {.num_blocks = 12, .block_tokens = 4, .max_branches = 6, .max_epochs = 2};
    kv_pool *pool;
    kv_branch a, b, c, d, e;
    kv_append append;
    uint64_t epoch;
    bool ok = kv_pool_create(&pool, &config) == KV_OK && kv_branch_create(pool, &a) == KV_OK &&
              kv_branch_append(pool, a, 10, &append) == KV_OK && kv_branch_fork(pool, a, &b) == KV_OK &&
              kv_branch_append(pool, b, 1, &append) == KV_OK && kv_branch_create(pool, &c) == KV_OK &&
              kv_branch_append(pool, c, 3, &append) == KV_OK && kv_pool_epoch_begin(pool, &epoch) == KV_OK &&
              kv_branch_fork_at(pool, a, 4, &d) == KV_OK && kv_branch_fork_at(pool, b, 10, &e) == KV_OK &&
              kv_branch_prune(pool, c) == KV_OK && kv_branch_reserve(pool, d, 4) == KV_OK;
    check(ok, "a pool with something of everything");
    return pool;
}

static void ref_too_high(kv_pool *pool) { pool->ref[0]++; }
static void ref_too_low(kv_pool *pool) { pool->ref[0]--; }
static void ref_of_free(kv_pool *pool) { pool->ref[11]++; }
static void block_lost(kv_pool *pool) { pool->num_free--; }
static void free_twice(kv_pool *pool) { pool->free_list[0] = pool->free_list[1]; }
static void free_but_used(kv_pool *pool) { pool->free_list[0] = 2; }
static void free_and_quarantined(kv_pool *pool) { pool->free_list[0] = 4; }
static void free_beyond(kv_pool *pool) { pool->free_list[0] = 12; }
static void free_count_wild(kv_pool *pool) { pool->num_free = 4000000000u; }
static void table_short(kv_pool *pool) { pool->records[0].num_blocks--; }
static void length_wild(kv_pool *pool) { pool->records[0].length = UINT32_MAX; }
static void table_beyond(kv_pool *pool) { pool->records[0].blocks[1] = 12; }
static void table_twice(kv_pool *pool) { pool->records[0].blocks[1] = 0; }

static void table_swapped(kv_pool *pool)
{
    pool->records[1].blocks[0] = 1;
    pool->records[1].blocks[1] = 0;
}

static void table_grafted(kv_pool *pool) { pool->records[1].blocks[1] = 7; }
static void credit_sum(kv_pool *pool) { pool->reserved_blocks++; }

static void credit_too_high(kv_pool *pool)
{
    pool->records[3].credit_blocks++;
    pool->reserved_blocks++;
}

static void promised_more_than_free(kv_pool *pool)
{
    pool->records[3].promised_tokens = 400;
    pool->records[3].credit_blocks = pool->reserved_blocks = 50;
}

static void dead_with_length(kv_pool *pool) { pool->records[2].length = 3; }
static void dead_with_credit(kv_pool *pool) { pool->records[2].credit_blocks = 1; }
static void shared_sum(kv_pool *pool) { pool->shared_blocks--; }
static void physical_sum(kv_pool *pool) { pool->physical_tokens++; }
static void logical_sum(kv_pool *pool) { pool->logical_tokens--; }
static void table_sum(kv_pool *pool) { pool->table_blocks++; }
static void high_water_low(kv_pool *pool) { pool->high_water_blocks = 1; }
static void copies_low(kv_pool *pool) { pool->copies = 0; }
static void kept_sum(kv_pool *pool) { pool->kept_entries++; }
static void kept_too_much(kv_pool *pool)
{
    pool->records[2].capacity += 1u << 21;
    pool->kept_entries += 1u << 21;
}

static void scratch_left(kv_pool *pool) { pool->leaving[3] = 1; }
static void views_lost(kv_pool *pool) { pool->num_partial[3]--; }
static void views_linked_wrong(kv_pool *pool) { pool->records[pool->first_partial[3]].next = 77; }
static void run_end_lost(kv_pool *pool) { pool->records[pool->first_partial[3]].far_end = 77; }
static void run_too_long(kv_pool *pool) { pool->records[pool->records[pool->first_partial[3]].next].far_end = 1; }
static void views_wrong_order(kv_pool *pool)
{
    uint32_t first = pool->first_partial[3], second = pool->records[first].next;
    pool->first_partial[3] = second;
    pool->records[second].next = first;
    pool->records[second].previous = KV_NO_RECORD;
    pool->records[first].next = KV_NO_RECORD;
    pool->records[first].previous = second;
}
static void epoch_count(kv_pool *pool) { pool->epoch_blocks[1]--; }
static void epochs_wild(kv_pool *pool) { pool->next_epoch += 3; }
static void live_count(kv_pool *pool) { pool->num_live++; }
static void free_record_lost(kv_pool *pool) { pool->free_record = KV_NO_RECORD; }
static void free_record_alive(kv_pool *pool) { pool->free_record = 0; }
static void free_record_cycle(kv_pool *pool) { pool->records[2].next = 2; }
static void free_record_wild(kv_pool *pool) { pool->free_record = 99; }
static void version_future(kv_pool *pool) { pool->records[0].version += 1000; }
static void version_twice(kv_pool *pool) { pool->records[0].version = pool->records[1].version; }
static void version_none(kv_pool *pool) { pool->records[0].version = 0; }

/* ---- pools that evict ---- */

/* Branches in records 0 [0 1], 1 [0 2], 2 [0], 3 dead; record 1 hides a token of block 0 and has a hole in block 2. */
static kv_pool *evicting_pool(void)
{
    kv_pool_config config = {.num_blocks = 12, .block_tokens = 4, .max_branches = 6, .evicts = true};
    kv_pool *pool;
    kv_branch a, b, c, d;
    kv_append append;
    bool ok = kv_pool_create(&pool, &config) == KV_OK && kv_branch_create(pool, &a) == KV_OK &&
              kv_branch_append(pool, a, 4, &append) == KV_OK && kv_branch_fork(pool, a, &b) == KV_OK &&
              kv_branch_fork(pool, a, &c) == KV_OK && kv_branch_fork(pool, a, &d) == KV_OK &&
              kv_branch_append(pool, a, 2, &append) == KV_OK && kv_branch_append(pool, b, 3, &append) == KV_OK &&
              kv_branch_evict(pool, b, KV_SCOPE_MASK, (uint32_t[]){2, 5}, 2) == KV_OK &&
              kv_branch_prune(pool, d) == KV_OK;
    check(ok, "a pool with something of everything");
    return pool;
}

static void bit_lost(kv_pool *pool) { pool->records[0].words[0] &= ~UINT64_C(1); }
static void bit_behind_end(kv_pool *pool) { pool->records[0].words[1] |= 4; }
static void bit_behind_block(kv_pool *pool) { pool->records[1].words[0] |= UINT64_C(1) << 4; }
static void keeper_lost(kv_pool *pool) { pool->keepers[0]--; }
static void keeper_too_many(kv_pool *pool) { pool->keepers[2]++; }
static void keeper_of_free(kv_pool *pool) { pool->keepers[11] = 1; }

static void block_dead(kv_pool *pool)
{
    pool->keepers[1] = 0;
    pool->records[0].words[1] = 0;
    pool->records[0].num_kept -= 2;
    pool->kept_tokens -= 2;
}

static void kept_tokens_sum(kv_pool *pool) { pool->kept_tokens++; }
static void dead_left(kv_pool *pool) { pool->dead = KV_DEAD_OWN; }
static void dead_with_kept(kv_pool *pool) { pool->records[3].num_kept = 1; }
static void private_beyond(kv_pool *pool) { pool->records[2].first_private = 5; }
static void next_beyond(kv_pool *pool) { pool->records[2].next_position = KV_MAX_LENGTH + 1; }
static void next_too_low(kv_pool *pool) { pool->records[1].next_position = 6; }
static void position_twice(kv_pool *pool) { pool->positions[4] = 3; }
static void position_twice_first(kv_pool *pool) { pool->positions[1] = 0; }

typedef struct damage_case {
    const char *name;
    void (*damage)(kv_pool *pool);
    const char *begins, *contains;
} damage_case;

static const damage_case damages[] = {
    {"ref_too_high", ref_too_high, "I2 ", "5, expected 4 (+1), block 0"},
    {"ref_too_low", ref_too_low, "I2 ", "3, expected 4 (-1), block 0"},
    {"ref_of_free_block", ref_of_free, "I2 ", "(+1), block 11"},
    {"block_lost", block_lost, "I1 ", "(-1)"},
    {"free_twice", free_twice, "I3 ", "block 10"},
    {"free_but_used", free_but_used, "I3 ", "block 2"},
    {"free_and_quarantined", free_and_quarantined, "I3 ", "block 4"},
    {"free_beyond_pool", free_beyond, "I3 ", "12"},
    {"free_count_wild", free_count_wild, "I1 ", "+"},
    {"table_too_short", table_short, "I4 ", "(-1), branch record 0"},
    {"length_wild", length_wild, "I4 ", "branch record 0"},
    {"table_beyond_pool", table_beyond, "I5 ", "branch record 0"},
    {"table_twice", table_twice, "I5 ", "block 0, branch record 0"},
    {"table_swapped", table_swapped, "I8 ", "block 1, branch record 1"},
    {"table_grafted", table_grafted, "I9 ", "block 3, branch record 4"},
    {"credit_sum", credit_sum, "I10 ", "(+1)"},
    {"credit_too_high", credit_too_high, "I10 ", "branch record 3"},
    {"promised_more_than_free", promised_more_than_free, "I10 ", "reserved blocks: 50, expected 7 (+43)"},
    {"dead_with_length", dead_with_length, "I11 ", "branch record 2"},
    {"dead_with_credit", dead_with_credit, "I11 ", "branch record 2"},
    {"shared_sum", shared_sum, "I12 ", "shared blocks"},
    {"physical_sum", physical_sum, "I12 ", "physical tokens"},
    {"logical_sum", logical_sum, "I12 ", "(-1)"},
    {"table_sum", table_sum, "I12 ", "table blocks"},
    {"high_water_low", high_water_low, "I12 ", "high water"},
    {"copies_low", copies_low, "I12 ", "cop"},
    {"kept_sum", kept_sum, "I12 ", "kept in tables of dead branches"},
    {"kept_too_much", kept_too_much, "I12 ", "kept in tables of dead branches"},
    {"scratch_left", scratch_left, "I12 ", "block 3"},
    {"views_lost", views_lost, "I12 ", "partial views: 1, expected 2 (-1), block 3"},
    {"views_linked_wrong", views_linked_wrong, "I12 ", "record 77"},
    {"views_wrong_order", views_wrong_order, "I12 ", "tokens of a partial view"},
    {"run_end_lost", run_end_lost, "I12 ", "last view of a run: 77"},
    {"run_too_long", run_too_long, "I12 ", "view of a run"},
    {"epoch_count", epoch_count, "I15 ", "(+1)"},
    {"epochs_wild", epochs_wild, "I15 ", "unretired"},
    {"live_count", live_count, "I16 ", "live branches: 5, expected 4 (+1)"},
    {"free_record_lost", free_record_lost, "I16 ", "(-1)"},
    {"free_record_alive", free_record_alive, "I16 ", "branch record 0"},
    {"free_record_cycle", free_record_cycle, "I16 ", "+"},
    {"free_record_wild", free_record_wild, "I16 ", "99"},
    {"version_from_the_future", version_future, "I16 ", "version"},
    {"version_twice", version_twice, "I17 ", "one version"},
    {"version_none", version_none, "I17 ", "without"},
};

static const damage_case evicting_damages[] = {
    {"bit_lost", bit_lost, "I18 ", "kept tokens"},
    {"bit_behind_the_end", bit_behind_end, "I18 ", "behind"},
    {"bit_behind_the_block", bit_behind_block, "I18 ", "behind"},
    {"keeper_lost", keeper_lost, "I19 ", "(-1), block 0"},
    {"keeper_too_many", keeper_too_many, "I19 ", "(+1), block 2"},
    {"keeper_of_a_free_block", keeper_of_free, "I19 ", "block 11"},
    {"dead_block_listed", block_dead, "I19 ", "dead block in a table"},
    {"private_beyond_next", private_beyond, "I20 ", "private"},
    {"next_beyond_limit", next_beyond, "I20 ", "next position"},
    {"position_not_reached", next_too_low, "I21 ", "branch record 1"},
    {"position_twice", position_twice, "I21 ", "one position"},
    {"position_twice_first", position_twice_first, "I21 ", "one position"},
    {"kept_tokens_sum", kept_tokens_sum, "I12 ", "kept tokens"},
    {"dead_blocks_left", dead_left, "I12 ", "dead blocks"},
    {"dead_record_keeps", dead_with_kept, "I11 ", "kept tokens of a dead record"},
};

static void expect_noticed(kv_pool *pool, const damage_case *c)
{
    char message[160] = "untouched", cut[8];
    check(kv_pool_check(pool, message, sizeof message) == KV_OK && !message[0], "sound before: %s", message);
    c->damage(pool);
    check(kv_pool_check(pool, message, sizeof message) == KV_CORRUPT, "the damage is noticed");
    test_note("%s", message);
    check(!strncmp(message, c->begins, strlen(c->begins)), "invariant %s", c->begins);
    check(strstr(message, c->contains), "'%s' in the message", c->contains);
    check(kv_pool_check(pool, NULL, 0) == KV_CORRUPT, "without a message");
    check(kv_pool_check(pool, cut, sizeof cut) == KV_CORRUPT && strlen(cut) == 7, "with a short one");
    kv_pool_destroy(pool, true, NULL);
}

static void run_damage(const void *argument)
{
    expect_noticed(sound_pool(), argument);
}

static void run_evicting_damage(const void *argument)
{
    expect_noticed(evicting_pool(), argument);
}

/* Code that counts by hand in many places forgets one: only hold and drop change a reference count. */
static void run_two_functions_count(const void *argument)
{
    (void)argument;
    static const char *const files[] = {"kv_pool.c", "kv_branch.c", "kv_pool_text.c", "kv_pool_check.c",
                                       "kv_keep.c", "kv_evict.c",  "kv_compact.c"};
    static const char *const changes[] = {"++pool->ref[", "--pool->ref[", "pool->ref[block]++", "pool->ref[block]--"};
    uint32_t found = 0, lines = 0;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[512], line[256];
        snprintf(path, sizeof path, "%s/allocator/%s", TREEATTN_SOURCE_DIR, files[i]);
        FILE *file = fopen(path, "r");
        if (!file) test_skip("no source at %s", path);
        while (fgets(line, sizeof line, file)) {
            lines += strstr(line, "ref[") != NULL;
            for (size_t j = 0; j < sizeof changes / sizeof changes[0]; j++) found += strstr(line, changes[j]) != NULL;
            check(!strstr(line, "ref[block] =") || strstr(line, "=="), "%s sets a count: %s", files[i], line);
        }
        fclose(file);
    }
    check(lines >= 8, "%u lines that name ref: another spelling?", lines);
    check(found == 2, "%u places that change a count", found);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "kv_pool_check notices every kind of damage and names it");
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++)
        test_add(run_damage, &damages[i], "damage_%s", damages[i].name);
    for (size_t i = 0; i < sizeof evicting_damages / sizeof evicting_damages[0]; i++)
        test_add(run_evicting_damage, &evicting_damages[i], "damage_evicting_%s", evicting_damages[i].name);
    test_add(run_two_functions_count, NULL, "two_functions_count");
    return test_end();
}
