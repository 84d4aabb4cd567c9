/* Claim: a dump is the whole state: loading it gives a pool that dumps the same bytes and behaves alike from then on;
 * any other text is refused with line and column. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool_keep_model.h"
#include "test.h"

static const char golden[] =
    "kv_pool 1 blocks 10 block_tokens 4 max_branches 4 max_epochs 2 block_bytes 4096 order lifo seed 5 random 5\n"
    "counters version 7 high_water 5 copies 1 copied_tokens 2 operations 14\n"
    "epochs 1 1 1\n"
    "quarantine 4 3\n"
    "free 5 6 7 8 9\n"
    "branch 0 generation 1 version 1 length 10 promised 3 credit 2 blocks 0 1 2\n"
    "dead 1 generation 3\n"
    "branch 2 generation 1 version 4 length 8 promised 0 credit 0 blocks 0 1\n"
    "dead 3 generation 2\n"
    "free_slots 3 1\n"
    "end\n";

static const char golden_evicting[] =
    "kv_pool 1 blocks 6 block_tokens 4 max_branches 4 max_epochs 2 block_bytes 0 order lifo seed 0 evicts 1 random 0\n"
    "counters version 4 high_water 4 copies 1 copied_tokens 2 operations 8 evicted 5 moved 1\n"
    "epochs 1\n"
    "quarantine\n"
    "free 3 4 5\n"
    "branch 0 generation 1 version 1 length 6 promised 0 credit 0 next 6 private 6 blocks 0 1 keep 7 2\n"
    "branch 1 generation 1 version 4 length 8 promised 0 credit 0 next 10 private 6 blocks 0 2 keep 14 15\n"
    "free_slots\n"
    "positions 0 0 1 2 3\n"
    "positions 1 4 5\n"
    "positions 2 4 9 8 7\n"
    "end\n";

static char *dump_of(const kv_pool *pool)
{
    size_t bytes = kv_pool_dump(pool, NULL, 0);
    char *text = malloc(bytes);
    check(text, "the test itself is out of memory");
    check(kv_pool_dump(pool, text, bytes) == bytes && strlen(text) + 1 == bytes, "%zu bytes as measured", bytes);
    return text;
}

/* The calls behind the golden text. */
static kv_pool *golden_pool(void)
{
    kv_pool_config config = {.num_blocks = 10, .block_tokens = 4, .max_branches = 4, .max_epochs = 2,
                             .block_bytes = 4096, .seed = 5};
    kv_pool *pool;
    kv_branch a, b, c, d, e;
    kv_append append;
    uint64_t epoch;
    bool ok = kv_pool_create(&pool, &config) == KV_OK && kv_branch_create(pool, &a) == KV_OK &&
              kv_branch_append(pool, a, 10, &append) == KV_OK && kv_branch_fork(pool, a, &b) == KV_OK &&
              kv_branch_append(pool, b, 3, &append) == KV_OK && kv_branch_fork_at(pool, b, 8, &c) == KV_OK &&
              kv_pool_epoch_begin(pool, &epoch) == KV_OK && kv_branch_truncate(pool, b, 12) == KV_OK &&
              kv_pool_epoch_begin(pool, &epoch) == KV_OK && kv_branch_prune(pool, b) == KV_OK &&
              kv_branch_fork_at(pool, a, 0, &d) == KV_OK && kv_branch_create(pool, &e) == KV_OK &&
              kv_branch_prune(pool, d) == KV_OK && kv_branch_prune(pool, e) == KV_OK &&
              kv_branch_reserve(pool, a, 3) == KV_OK;
    check(ok, "the calls behind the golden text");
    return pool;
}

static void expect_same_dump(const kv_pool *pool, const char *text)
{
    char *got = dump_of(pool);
    check(!strcmp(got, text), "a dump:\n%s\nexpected:\n%s", got, text);
    free(got);
}

static kv_pool *load_text(const char *text)
{
    kv_pool *pool = NULL;
    kv_text_error error = {0};
    kv_status status = kv_pool_load(&pool, text, strlen(text), &error);
    check(status == KV_OK, "%s at %u:%u: %s", kv_status_string(status), error.line, error.column, error.message);
    char message[160];
    check(kv_pool_check(pool, message, sizeof message) == KV_OK, "%s", message);
    return pool;
}

static void run_golden_dump(const void *argument)
{
    (void)argument;
    kv_pool *pool = golden_pool();
    expect_same_dump(pool, golden);
    kv_pool_destroy(pool, true, NULL);
}

/* b evicts positions 0, 5 and 6, takes a hole, and packs two blocks into one; a evicts positions 3 and 4. */
static void run_golden_evicting(const void *argument)
{
    (void)argument;
    kv_pool_config config = {.num_blocks = 6, .block_tokens = 4, .max_branches = 4, .max_epochs = 2, .evicts = true};
    kv_pool *pool;
    kv_branch a, b;
    kv_append append;
    kv_move moves[8];
    kv_keep keep;
    uint32_t num_moves, slot;
    bool ok = kv_pool_create(&pool, &config) == KV_OK && kv_branch_create(pool, &a) == KV_OK &&
              kv_branch_append(pool, a, 6, &append) == KV_OK && kv_branch_fork(pool, a, &b) == KV_OK &&
              kv_branch_append(pool, b, 3, &append) == KV_OK &&
              kv_branch_evict(pool, b, KV_SCOPE_MASK, (uint32_t[]){0, 5, 6}, 3) == KV_OK &&
              kv_branch_append(pool, b, 1, &append) == KV_OK &&
              kv_branch_evict(pool, a, KV_SCOPE_MASK, (uint32_t[]){3, 4}, 2) == KV_OK &&
              kv_branch_compact(pool, b, moves, 8, &num_moves) == KV_OK;
    check(ok && num_moves == 1, "the calls behind the golden text");
    expect_same_dump(pool, golden_evicting);
    kv_pool_destroy(pool, true, NULL);
    pool = load_text(golden_evicting);
    expect_same_dump(pool, golden_evicting);
    check(kv_branch_keep(pool, b, &keep) == KV_OK && keep.num_kept == 7 && keep.next_position == 10, "b keeps 7");
    check(kv_branch_find(pool, b, 9, &slot) == KV_OK && slot == 5, "position 9 in slot %u", slot);
    kv_pool_destroy(pool, true, NULL);
}

static void run_golden_load(const void *argument)
{
    (void)argument;
    kv_pool *pool = load_text(golden);
    expect_same_dump(pool, golden);
    kv_pool_stats stats;
    kv_pool_get_stats(pool, &stats);
    check(stats.physical_tokens == 10 && stats.logical_tokens == 18 && stats.shared_blocks == 2, "the sums");
    check(stats.reserved_blocks == 2 && stats.live_branches == 2 && stats.quarantined_blocks == 2, "the counts");
    kv_table table;
    check(kv_branch_table(pool, (kv_branch)1 << 32 | 2, &table) == KV_OK && table.length == 8, "the same handles");
    check(kv_branch_table(pool, (kv_branch)1 << 32 | 1, &table) == KV_STALE, "the dead stay dead");
    kv_pool_destroy(pool, true, NULL);
}

/* Old positions in slots that are seen and were never written since would make a dump depend on the pool's past. */
static void run_unwritten_slots(const void *argument)
{
    (void)argument;
    kv_pool_config config = {.num_blocks = 5, .block_tokens = 4, .max_branches = 4, .evicts = true};
    kv_pool *pool;
    kv_branch a, b, past;
    kv_append append;
    kv_move moves[4];
    uint32_t num_moves;
    bool ok = kv_pool_create(&pool, &config) == KV_OK && kv_branch_create(pool, &past) == KV_OK &&
              kv_branch_append(pool, past, 4, &append) == KV_OK && kv_branch_create(pool, &a) == KV_OK &&
              kv_branch_append(pool, a, 8, &append) == KV_OK && kv_branch_fork(pool, a, &b) == KV_OK &&
              kv_branch_append(pool, b, 1, &append) == KV_OK &&
              kv_branch_evict(pool, b, KV_SCOPE_MASK, (uint32_t[]){0, 1, 2, 3, 4, 5, 6}, 7) == KV_OK &&
              kv_branch_prune(pool, past) == KV_OK;
    char *text = dump_of(pool);
    kv_pool *loaded = load_text(text);
    ok = ok && kv_branch_compact_shared(pool, b, 0, moves, 4, &num_moves) == KV_OK && moves[0].to_block == 0 &&
         kv_branch_compact_shared(loaded, b, 0, moves, 4, &num_moves) == KV_OK;
    check(ok && num_moves == 1, "one token moves into the block that `past` has left");
    free(text);
    text = dump_of(pool);
    expect_same_dump(loaded, text);
    free(text);
    kv_pool_destroy(pool, true, NULL);
    kv_pool_destroy(loaded, true, NULL);
}

static void run_cut_buffer(const void *argument)
{
    (void)argument;
    kv_pool *pool = load_text(golden);
    char text[sizeof golden + 8];
    for (size_t capacity = 0; capacity <= sizeof golden; capacity++) {
        memset(text, '#', sizeof text);
        check(kv_pool_dump(pool, text, capacity) == sizeof golden, "the whole size, whatever the buffer");
        check(text[capacity] == '#', "a byte beyond the buffer");
        if (capacity == 0) continue;
        check(text[capacity - 1] == 0 && !memcmp(text, golden, capacity - 1), "the beginning, and a 0");
    }
    kv_pool_destroy(pool, true, NULL);
}

/* Load in the middle of a random run, then let both pools go on: the same statuses, tables and dumps. */
static void go_on_alike(kv_pool *a, kv_pool *b, const kv_branch *branches, uint32_t count, uint32_t block_tokens)
{
    for (uint32_t i = 0; i < 40; i++) {
        kv_branch branch = branches[test_below(count)], x = 0, y = 0;
        kv_append got_a = {0}, got_b = {0};
        uint32_t kind = test_below(6), n = test_below(2 * block_tokens);
        kv_status sa = KV_OK, sb = KV_OK;
        if (kind < 2) {
            sa = kv_branch_append(a, branch, n, &got_a);
            sb = kv_branch_append(b, branch, n, &got_b);
        } else if (kind == 2) {
            sa = kv_branch_fork(a, branch, &x);
            sb = kv_branch_fork(b, branch, &y);
        } else if (kind == 3) {
            sa = kv_branch_prune(a, branch);
            sb = kv_branch_prune(b, branch);
        } else if (kind == 4 && test_below(2)) {
            kv_move moves[2][512] = {0};
            uint32_t num_a = 0, num_b = 0;
            sa = kv_branch_evict(a, branch, KV_SCOPE_MASK, &n, 1);
            sb = kv_branch_evict(b, branch, KV_SCOPE_MASK, &n, 1);
            check(sa == sb, "both evict alike");
            sa = kv_branch_compact(a, branch, moves[0], 512, &num_a);
            sb = kv_branch_compact(b, branch, moves[1], 512, &num_b);
            check(num_a == num_b && !memcmp(moves[0], moves[1], sizeof moves[0]), "the same moves");
        } else if (kind == 4) {
            sa = kv_branch_truncate(a, branch, n);
            sb = kv_branch_truncate(b, branch, n);
        } else {
            sa = kv_branch_reserve(a, branch, n);
            sb = kv_branch_reserve(b, branch, n);
        }
        check(sa == sb && x == y && !memcmp(&got_a, &got_b, sizeof got_a), "both answer alike");
    }
}

static void round_trips(kv_order order, bool evicts)
{
    for (uint32_t i = 0; i < 60; i++) {
        kv_pool_config config = {.num_blocks = 1 + test_below(40), .block_tokens = 1u << test_below(9),
                                 .max_branches = 1 + test_below(12), .max_epochs = 1 + test_below(3), .order = order,
                                 .seed = test_random(), .evicts = evicts};
        pool_model *m = model_new(&config, false);
        for (uint32_t step = test_below(200); step > 0; step--) model_step(m);
        char *text = dump_of(m->pool);
        kv_pool *one = load_text(text), *two = load_text(text);
        expect_same_dump(one, text);
        kv_branch branches[12];
        uint32_t count = 0;
        for (uint32_t j = 0; j < config.max_branches; j++)
            if (m->branches[j].live) branches[count++] = m->branches[j].handle;
        if (count > 0) go_on_alike(one, two, branches, count, config.block_tokens);
        char *after = dump_of(one);
        expect_same_dump(two, after);
        kv_pool_destroy(one, true, NULL);
        kv_pool_destroy(two, true, NULL);
        free(text);
        free(after);
        model_end(m);
    }
}

static void run_round_trip(const void *argument)
{
    round_trips(*(const kv_order *)argument, false);
}

static void run_round_trip_evicting(const void *argument)
{
    round_trips(*(const kv_order *)argument, true);
}

/* ---- what is refused ---- */

static void run_cut_at_every_byte(const void *argument)
{
    const char *whole = argument;
    for (size_t length = 0; length < strlen(whole); length++) {
        kv_pool *pool = NULL;
        kv_text_error error = {0};
        char *cut = malloc(length + 1); /* its own memory: a read beyond the end shows under a sanitizer */
        check(cut, "the test itself is out of memory");
        memcpy(cut, whole, length);
        kv_status status = kv_pool_load(&pool, cut, length, &error);
        free(cut);
        check(status == KV_FORMAT || status == KV_CORRUPT, "cut after %zu bytes: %s", length, kv_status_string(status));
        check(!pool && error.line >= 1 && error.column >= 1 && error.message[0], "where, and what was expected");
    }
}

/* Every byte replaced by others: refused, or the dump is the changed text itself. */
static void run_changed_at_every_byte(const void *argument)
{
    const char *whole = argument;
    static const char instead[] = "0129-+ \n.x\0#";
    uint32_t refused = 0, loaded = 0;
    char text[sizeof golden_evicting];
    for (size_t at = 0; at < strlen(whole); at++) {
        for (size_t i = 0; i + 1 < sizeof instead; i++) {
            strcpy(text, whole);
            text[at] = instead[i];
            kv_pool *pool = NULL;
            if (kv_pool_load(&pool, text, strlen(whole), NULL) == KV_OK) {
                expect_same_dump(pool, text);
                kv_pool_destroy(pool, true, NULL);
                loaded++;
            } else {
                refused++;
            }
        }
    }
    check(refused > 4000 && loaded > 100, "%u refused, %u loaded (the byte itself among them)", refused, loaded);
    test_note("%u refused, %u loaded", refused, loaded);
}

typedef struct wrong_case {
    const char *name, *find, *replace; /* in the golden text */
    kv_status status;
    uint32_t line, column;
} wrong_case;

static const wrong_case wrong_cases[] = {
    {"not_a_dump", "kv_pool", "kv_loop", KV_FORMAT, 1, 4},
    {"other_version", "kv_pool 1", "kv_pool 2", KV_FORMAT, 1, 9},
    {"no_blocks", "blocks 10", "blocks 0", KV_FORMAT, 1, 18},
    {"negative", "blocks 10", "blocks -1", KV_FORMAT, 1, 18},
    {"leading_zero", "blocks 10", "blocks 010", KV_FORMAT, 1, 18},
    {"plus", "blocks 10", "blocks +10", KV_FORMAT, 1, 18},
    {"hex", "blocks 10", "blocks 0x10", KV_FORMAT, 1, 18},
    {"two_spaces", "blocks 10", "blocks  10", KV_FORMAT, 1, 18},
    {"beyond_32_bits", "blocks 10", "blocks 4294967306", KV_FORMAT, 1, 18},
    {"beyond_64_bits", "blocks 10", "blocks 18446744073709551626", KV_FORMAT, 1, 18},
    {"very_long_number", "blocks 10", "blocks 10000000000000000000000000000000000000000", KV_FORMAT, 1, 18},
    {"huge_pool", "blocks 10", "blocks 4294967294", KV_CORRUPT, 1, 18},
    {"block_tokens_0", "block_tokens 4", "block_tokens 0", KV_FORMAT, 1, 34},
    {"block_tokens_3", "block_tokens 4", "block_tokens 3", KV_FORMAT, 1, 34},
    {"block_tokens_512", "block_tokens 4", "block_tokens 512", KV_FORMAT, 1, 34},
    {"too_many_branches", "max_branches 4", "max_branches 1048577", KV_FORMAT, 1, 49},
    {"too_many_epochs", "max_epochs 2", "max_epochs 1025", KV_FORMAT, 1, 62},
    {"too_many_bytes", "block_bytes 4096", "block_bytes 18446744073709551615", KV_CORRUPT, 1, 76},
    {"unknown_order", "lifo", "life", KV_FORMAT, 1, 87},
    {"windows_line_end", "random 5\n", "random 5\r\n", KV_FORMAT, 1, 107},
    {"high_water_too_low", "high_water 5", "high_water 2", KV_CORRUPT, 2, 1},
    {"high_water_too_high", "high_water 5", "high_water 11", KV_FORMAT, 2, 31},
    {"copied_nothing", "copied_tokens 2", "copied_tokens 0", KV_CORRUPT, 2, 1},
    {"copied_too_much", "copied_tokens 2", "copied_tokens 4", KV_CORRUPT, 2, 1},
    {"counter_near_wrapping", "operations 14", "operations 18446744073709551615", KV_FORMAT, 2, 69},
    {"epoch_0", "epochs 1 ", "epochs 0 ", KV_FORMAT, 3, 8},
    {"epochs_beyond_max", "epochs 1 1 1", "epochs 1 1 1 0", KV_CORRUPT, 3, 13},
    {"epochs_miss_a_block", "epochs 1 1 1", "epochs 1 1 0", KV_CORRUPT, 3, 1},
    {"quarantine_twice", "quarantine 4 3", "quarantine 4 4", KV_CORRUPT, 4, 14},
    {"quarantine_beyond", "quarantine 4 3", "quarantine 4 10", KV_FORMAT, 4, 14},
    {"free_twice", "free 5 6", "free 5 5", KV_CORRUPT, 5, 8},
    {"free_in_quarantine", "free 5 6", "free 5 3", KV_CORRUPT, 5, 8},
    {"block_lost", "free 5 6 7 8 9", "free 5 6 7 8", KV_CORRUPT, 5, 1},
    {"free_beyond", "free 5 6", "free 5 4294967295", KV_FORMAT, 5, 8},
    {"trailing_space", "free 5 6 7 8 9\n", "free 5 6 7 8 9 \n", KV_FORMAT, 5, 16},
    {"slot_out_of_order", "branch 0", "branch 1", KV_FORMAT, 6, 8},
    {"generation_0_alive", "branch 0 generation 1", "branch 0 generation 0", KV_FORMAT, 6, 21},
    {"version_0", "version 1 length", "version 0 length", KV_FORMAT, 6, 31},
    {"version_from_the_future", "version 1 length", "version 8 length", KV_CORRUPT, 6, 1},
    {"version_twice", "version 1 length", "version 4 length", KV_CORRUPT, 2, 1},
    {"length_beyond_limit", "length 10", "length 1073741825", KV_FORMAT, 6, 40},
    {"length_beyond_table", "length 10", "length 13", KV_CORRUPT, 6, 69},
    {"length_below_table", "length 10", "length 8", KV_CORRUPT, 6, 68},
    {"huge_length", "length 10", "length 1073741824", KV_CORRUPT, 6, 77},
    {"promise_beyond_limit", "promised 3", "promised 1073741820", KV_CORRUPT, 6, 1},
    {"credit_too_high", "credit 2", "credit 4", KV_CORRUPT, 6, 1}, /* 3: where the last block was shared */
    {"credit_without_promise", "promised 0 credit 0", "promised 0 credit 1", KV_CORRUPT, 8, 1},
    {"credit_beyond_pool", "credit 2", "credit 11", KV_FORMAT, 6, 61},
    {"table_entry_free", "blocks 0 1 2", "blocks 0 1 5", KV_CORRUPT, 6, 74},
    {"table_entry_quarantined", "blocks 0 1 2", "blocks 0 1 3", KV_CORRUPT, 6, 74},
    {"table_entry_twice", "blocks 0 1 2", "blocks 0 1 1", KV_CORRUPT, 6, 74},
    {"table_entry_beyond", "blocks 0 1 2", "blocks 0 1 10", KV_FORMAT, 6, 74},
    {"shared_at_another_index", "length 8 promised 0 credit 0 blocks 0 1",
     "length 8 promised 0 credit 0 blocks 1 0", KV_CORRUPT, 8, 1},
    {"shared_behind_another", "length 8 promised 0 credit 0 blocks 0 1",
     "length 8 promised 0 credit 0 blocks 2 1", KV_CORRUPT, 8, 1},
    {"dead_generation_1", "dead 1 generation 3", "dead 1 generation 1", KV_CORRUPT, 7, 19},
    {"dead_generation_too_high", "dead 1 generation 3", "dead 1 generation 4294967296", KV_FORMAT, 7, 19},
    {"unknown_record", "dead 1", "deaf 1", KV_FORMAT, 7, 4},
    {"too_many_alive", "max_branches 4", "max_branches 1", KV_CORRUPT, 10, 1},
    {"free_slot_missing", "free_slots 3 1", "free_slots 3", KV_CORRUPT, 10, 1},
    {"free_slot_twice", "free_slots 3 1", "free_slots 3 3", KV_CORRUPT, 10, 14},
    {"free_slot_alive", "free_slots 3 1", "free_slots 3 0", KV_CORRUPT, 10, 14},
    {"free_slot_unused", "free_slots 3 1", "free_slots 3 4", KV_CORRUPT, 10, 14},
    {"free_slot_retired", "dead 1 generation 3", "dead 1 generation 0", KV_CORRUPT, 10, 14},
    {"more_after_the_end", "end\n", "end\n\n", KV_FORMAT, 12, 1},
    {"no_end", "end\n", "", KV_FORMAT, 11, 1},
};

/* In the golden text of the pool that evicts. */
static const wrong_case wrong_evicting_cases[] = {
    {"evicts_0", "evicts 1", "evicts 0", KV_FORMAT, 1, 102},
    {"evicts_twice", "evicts 1", "evicts 1 evicts 1", KV_FORMAT, 1, 104},
    {"evicts_missing", " evicts 1", "", KV_FORMAT, 2, 70},
    {"evicted_missing", " evicted 5", "", KV_FORMAT, 2, 71},
    {"moved_missing", " moved 1", "", KV_FORMAT, 2, 80},
    {"evicted_near_wrapping", "evicted 5", "evicted 18446744073709551615", KV_FORMAT, 2, 79},
    {"next_missing", " next 6", "", KV_FORMAT, 6, 62},
    {"next_beyond_limit", "next 6", "next 1073741825", KV_FORMAT, 6, 67},
    {"next_too_low", "next 6 private 6", "next 5 private 5", KV_CORRUPT, 6, 1},
    {"private_beyond_next", "private 6 blocks 0 1", "private 7 blocks 0 1", KV_CORRUPT, 6, 1},
    {"keep_missing", " keep 7 2", "", KV_FORMAT, 6, 89},
    {"keep_word_missing", "keep 7 2", "keep 7", KV_CORRUPT, 6, 94},
    {"keep_word_too_many", "keep 7 2", "keep 7 2 1", KV_CORRUPT, 6, 94},
    {"keep_word_beyond_64_bits", "keep 7 2", "keep 7 18446744073709551616", KV_FORMAT, 6, 97},
    {"kept_behind_the_end", "keep 7 2", "keep 7 6", KV_CORRUPT, 6, 1},
    {"kept_behind_the_block", "keep 14 15", "keep 14 31", KV_CORRUPT, 7, 1},
    {"kept_bit_63", "keep 14 15", "keep 14 9223372036854775823", KV_CORRUPT, 7, 1},
    {"dead_block", "keep 7 2", "keep 7 0", KV_CORRUPT, 6, 1},
    {"positions_missing", "positions 1 4 5\n", "", KV_FORMAT, 10, 11},
    {"positions_of_a_free_block", "end\n", "positions 3\nend\n", KV_FORMAT, 12, 1},
    {"positions_of_another_block", "positions 1", "positions 2", KV_FORMAT, 10, 11},
    {"position_missing", "positions 1 4 5", "positions 1 4", KV_FORMAT, 10, 14},
    {"position_too_many", "positions 1 4 5", "positions 1 4 5 6", KV_FORMAT, 10, 16},
    {"position_beyond_limit", "positions 1 4 5", "positions 1 4 1073741824", KV_FORMAT, 10, 15},
    {"position_not_reached", "positions 1 4 5", "positions 1 4 6", KV_CORRUPT, 6, 1},
    {"position_twice", "positions 2 4 9", "positions 2 9 9", KV_CORRUPT, 7, 1},
};

static void expect_wrong(const char *whole, const wrong_case *c)
{
    const char *found = strstr(whole, c->find);
    check(found, "the golden text has '%s'", c->find);
    char text[2 * sizeof golden_evicting];
    size_t head = (size_t)(found - whole);
    snprintf(text, sizeof text, "%.*s%s%s", (int)head, whole, c->replace, found + strlen(c->find));
    kv_pool *pool = NULL;
    kv_text_error error = {0};
    kv_status status = kv_pool_load(&pool, text, strlen(text), &error);
    test_note("%u:%u %s", error.line, error.column, error.message);
    check(status == c->status, "%s expected, got %s", kv_status_string(c->status), kv_status_string(status));
    check(error.line == c->line && error.column == c->column, "at %u:%u", c->line, c->column);
    check(!pool && error.message[0], "no pool, but a message");
}

static void run_wrong(const void *argument)
{
    expect_wrong(golden, argument);
}

static void run_wrong_evicting(const void *argument)
{
    expect_wrong(golden_evicting, argument);
}

typedef struct foreign_case {
    const char *name, *find, *replace, *message;
} foreign_case;

static const foreign_case foreign_cases[] = {
    {"crlf", "\n", "\r\n", "found a carriage return (CRLF)"},
    {"crlf_in_a_list", "quarantine 4 3\n", "quarantine 4 3\r\n", "found a carriage return (CRLF)"},
    {"crlf_in_a_table", "blocks 0 1 2\n", "blocks 0 1 2\r\n", "found a carriage return (CRLF)"},
    {"byte_order_mark", "kv_pool", "\xef\xbb\xbfkv_pool", "expected no byte-order mark"},
    {"utf_16_little_endian", "kv_pool", "\xff\xfekv_pool", "byte-order mark (of UTF-16)"},
    {"utf_16_big_endian", "kv_pool", "\xfe\xffkv_pool", "byte-order mark (of UTF-16)"},
};

static void run_foreign(const void *argument)
{
    const foreign_case *c = argument;
    const char *found = strstr(golden, c->find);
    char text[2 * sizeof golden];
    snprintf(text, sizeof text, "%.*s%s%s", (int)(found - golden), golden, c->replace, found + strlen(c->find));
    kv_pool *pool = NULL;
    kv_text_error error = {0};
    check(kv_pool_load(&pool, text, strlen(text), &error) == KV_FORMAT && !pool, "refused");
    check(strstr(error.message, c->message), "'%s' in '%s'", c->message, error.message);
}

/* Views of one block, each seeing less than the one before: sorted in one by one, they would cost their square. */
static void run_large_hostile_text(const void *argument)
{
    (void)argument;
    enum { BRANCHES = 200000 };
    char *text = malloc((size_t)BRANCHES * 100 + 1000);
    check(text, "the test itself is out of memory");
    int used = sprintf(text,
                       "kv_pool 1 blocks 1 block_tokens 256 max_branches %d max_epochs 1 block_bytes 0 order lifo "
                       "seed 0 random 0\ncounters version %d high_water 1 copies 0 copied_tokens 0 operations %d\n"
                       "epochs 1\nquarantine\nfree\n", BRANCHES, BRANCHES, BRANCHES);
    for (int i = 0; i < BRANCHES; i++)
        used += sprintf(text + used, "branch %d generation 1 version %d length %d promised 0 credit 0 blocks 0\n", i,
                        i + 1, 255 - i / (BRANCHES / 200));
    used += sprintf(text + used, "free_slots\nend\n");
    kv_pool *pool = load_text(text);
    kv_pool_stats stats;
    kv_pool_get_stats(pool, &stats);
    check(stats.live_branches == BRANCHES && stats.physical_tokens == 255, "all of them");
    expect_same_dump(pool, text);
    kv_pool_destroy(pool, true, NULL);
    free(text);
}

int main(int argc, char **argv)
{
    static const kv_order orders[] = {KV_ORDER_LIFO, KV_ORDER_FIFO, KV_ORDER_SHUFFLE};
    static const char *const order_names[] = {"lifo", "fifo", "shuffle"};
    test_begin(argc, argv, "a dump is the whole state, and nothing else can be loaded");
    test_add(run_golden_dump, NULL, "golden_dump");
    test_add(run_golden_load, NULL, "golden_load");
    test_add(run_cut_buffer, NULL, "dump_into_every_buffer_size");
    for (int i = 0; i < 3; i++) test_add(run_round_trip, &orders[i], "round_trip_%s", order_names[i]);
    test_add(run_golden_evicting, NULL, "golden_evicting");
    test_add(run_unwritten_slots, NULL, "unwritten_slots");
    for (int i = 0; i < 3; i++)
        test_add(run_round_trip_evicting, &orders[i], "round_trip_evicting_%s", order_names[i]);
    test_add(run_cut_at_every_byte, golden, "cut_at_every_byte");
    test_add(run_cut_at_every_byte, golden_evicting, "evicting_cut_at_every_byte");
    test_add(run_changed_at_every_byte, golden, "changed_at_every_byte");
    test_add(run_changed_at_every_byte, golden_evicting, "evicting_changed_at_every_byte");
    for (size_t i = 0; i < sizeof wrong_cases / sizeof wrong_cases[0]; i++)
        test_add(run_wrong, &wrong_cases[i], "refused_%s", wrong_cases[i].name);
    for (size_t i = 0; i < sizeof wrong_evicting_cases / sizeof wrong_evicting_cases[0]; i++)
        test_add(run_wrong_evicting, &wrong_evicting_cases[i], "evicting_refused_%s", wrong_evicting_cases[i].name);
    for (size_t i = 0; i < sizeof foreign_cases / sizeof foreign_cases[0]; i++)
        test_add(run_foreign, &foreign_cases[i], "named_%s", foreign_cases[i].name);
    test_add(run_large_hostile_text, NULL, "large_hostile_text");
    return test_end();
}
