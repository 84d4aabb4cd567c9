/* The state of a pool as text, and back.
 *
 *   kv_pool 1 blocks 4 block_tokens 4 max_branches 2 max_epochs 8 block_bytes 0 order lifo seed 0 random 0
 *   counters version 3 high_water 3 copies 1 copied_tokens 2 operations 4
 *   epochs 1                                      the oldest unretired epoch, then the blocks that each one holds back
 *   quarantine                                    oldest first
 *   free 2 3                                      the one to be taken next first
 *   dead 0 generation 2                           the records, in order
 *   branch 1 generation 1 version 3 length 7 promised 0 credit 0 blocks 0 1
 *   free_slots 0                                  the one to be used next first
 *   end
 *
 * A pool that evicts adds: ` evicts 1` behind seed; ` evicted 3 moved 0` behind operations; to each branch
 * ` next 8 private 0` behind credit, and behind the blocks ` keep` and words_per_block numbers for each of them; and
 * behind free_slots a line `positions BLOCK P...` for each listed block, one P for each slot that some branch sees.
 *
 * One space between words, no leading zeros: load accepts exactly the bytes that dump writes. A byte-order mark and
 * CRLF are refused by name. Refused calls leave no trace in the text, so `failures` is not part of it. */
#include "kv_pool_internal.h"
#include "kv_text_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const order_name[] = {"lifo", "fifo", "shuffle"};
enum { NUM_ORDERS = sizeof order_name / sizeof order_name[0], FIRST_RECORD_LINE = 6 };

/* ---- dump ---- */

typedef struct writer {
    char *text;
    size_t capacity, bytes; /* bytes: of the whole text so far, also beyond capacity */
} writer;

static void put_text(writer *w, const char *text)
{
    for (; *text; text++, w->bytes++)
        if (w->bytes + 1 < w->capacity) w->text[w->bytes] = *text;
}

static void put_number(writer *w, uint64_t number)
{
    char digits[21];
    char *first = digits + sizeof digits - 1;
    *first = 0;
    do {
        *--first = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    put_text(w, first);
}

static void put_field(writer *w, const char *name, uint64_t number)
{
    put_text(w, name);
    put_text(w, " ");
    put_number(w, number);
}

static void dump_config(writer *w, const kv_pool *pool)
{
    put_field(w, "kv_pool 1 blocks", pool->config.num_blocks);
    put_field(w, " block_tokens", pool->config.block_tokens);
    put_field(w, " max_branches", pool->config.max_branches);
    put_field(w, " max_epochs", pool->config.max_epochs);
    put_field(w, " block_bytes", pool->config.block_bytes);
    put_text(w, " order ");
    put_text(w, order_name[pool->config.order]);
    put_field(w, " seed", pool->config.seed);
    if (pool->config.evicts) put_field(w, " evicts", 1);
    put_field(w, " random", pool->random);
    put_field(w, "\ncounters version", pool->version);
    put_field(w, " high_water", pool->high_water_blocks);
    put_field(w, " copies", pool->copies);
    put_field(w, " copied_tokens", pool->copied_tokens);
    put_field(w, " operations", pool->operations);
    if (!pool->config.evicts) return;
    put_field(w, " evicted", pool->evicted_tokens);
    put_field(w, " moved", pool->moved_tokens);
}

static void dump_blocks(writer *w, const kv_pool *pool)
{
    put_field(w, "\nepochs", pool->first_epoch);
    for (uint64_t epoch = pool->first_epoch; epoch < pool->next_epoch; epoch++)
        put_field(w, "", pool->epoch_blocks[epoch % pool->config.max_epochs]);
    put_text(w, "\nquarantine");
    for (uint32_t i = 0; i < pool->num_quarantined; i++)
        put_field(w, "", pool->quarantine[kv_ring_index(pool, pool->quarantine_head, i)]);
    put_text(w, "\nfree");
    bool from_head = pool->config.order == KV_ORDER_FIFO;
    for (uint32_t i = 0; i < pool->num_free; i++) {
        uint32_t at = from_head ? i : pool->num_free - 1 - i;
        put_field(w, "", pool->free_list[kv_ring_index(pool, pool->free_head, at)]);
    }
}

static void dump_record(writer *w, const kv_pool *pool, uint32_t index)
{
    const kv_record *record = &pool->records[index];
    put_field(w, record->live ? "\nbranch" : "\ndead", index);
    put_field(w, " generation", record->generation);
    if (!record->live) return;
    put_field(w, " version", record->version);
    put_field(w, " length", record->length);
    put_field(w, " promised", record->promised_tokens);
    put_field(w, " credit", record->credit_blocks);
    if (pool->config.evicts) {
        put_field(w, " next", record->next_position);
        put_field(w, " private", record->first_private);
    }
    put_text(w, " blocks");
    for (uint32_t i = 0; i < record->num_blocks; i++) put_field(w, "", record->blocks[i]);
    if (!pool->config.evicts) return;
    put_text(w, " keep");
    uint64_t num_words = (uint64_t)record->num_blocks * pool->words_per_block;
    for (uint64_t i = 0; i < num_words; i++) put_field(w, "", record->words[i]);
}

static void dump_positions(writer *w, const kv_pool *pool)
{
    for (uint32_t block = 0; block < pool->config.num_blocks; block++) {
        if (pool->ref[block] == 0) continue;
        put_field(w, "\npositions", block);
        uint64_t first = (uint64_t)block * pool->config.block_tokens;
        for (uint32_t i = 0; i < kv_visible_tokens(pool, block); i++) put_field(w, "", pool->positions[first + i]);
    }
}

size_t kv_pool_dump(const kv_pool *pool, char *text, size_t capacity)
{
    writer w = {text, capacity, 0};
    dump_config(&w, pool);
    dump_blocks(&w, pool);
    for (uint32_t i = 0; i < pool->num_records; i++) dump_record(&w, pool, i);
    put_text(&w, "\nfree_slots");
    for (uint32_t i = pool->free_record; i != KV_NO_RECORD; i = pool->records[i].next) put_field(&w, "", i);
    if (pool->config.evicts) dump_positions(&w, pool);
    put_text(&w, "\nend\n");
    if (capacity > 0) text[w.bytes < capacity ? w.bytes : capacity - 1] = 0;
    return w.bytes + 1;
}

/* ---- load: reading words and numbers ---- */

typedef struct reader {
    const char *text;
    size_t length, at, line_start;
    size_t number_at;  /* start of the number that was read last */
    uint32_t line;
    kv_status status; /* the first error */
    kv_text_error error;
} reader;

/* CRLF and byte-order marks, which editors of other systems write, are refused by name. */
static void name_foreign_bytes(reader *r, size_t at)
{
    const char *message = NULL;
    if (r->text[at] == '\r') message = "expected a newline alone, found a carriage return (CRLF)";
    else if (kv_text_has_utf8_mark(r->text, r->length, at)) message = "expected no byte-order mark";
    else if (kv_text_has_utf16_mark(r->text, r->length, at)) message = "expected no byte-order mark (of UTF-16)";
    if (message) snprintf(r->error.message, sizeof r->error.message, "%s", message);
}

/* Always false, for `return wrong(...)`. The column is that of text[at]. */
static bool wrong(reader *r, kv_status status, size_t at, const char *expected)
{
    r->status = status;
    r->error.line = r->line;
    r->error.column = (uint32_t)(at - r->line_start + 1);
    snprintf(r->error.message, sizeof r->error.message, "%s", expected);
    if (status == KV_FORMAT && at < r->length) name_foreign_bytes(r, at);
    return false;
}

static bool no_memory(reader *r)
{
    return wrong(r, KV_NOMEM, r->at, kv_status_string(KV_NOMEM));
}

static bool next_is(const reader *r, char c)
{
    return r->at < r->length && r->text[r->at] == c;
}

static bool read_text(reader *r, const char *expected)
{
    char message[80];
    for (const char *c = expected; *c; c++, r->at++) {
        if (next_is(r, *c)) continue;
        bool newline = *expected == '\n';
        snprintf(message, sizeof message, newline ? "expected the end of the line" : "expected '%s'", expected);
        return wrong(r, KV_FORMAT, r->at, message);
    }
    return true;
}

static bool read_newline(reader *r)
{
    if (!read_text(r, "\n")) return false;
    r->line++;
    r->line_start = r->at;
    return true;
}

/* A decimal number without sign or leading zeros. */
static bool read_number(reader *r, uint64_t least, uint64_t most, uint64_t *number)
{
    size_t start = r->number_at = r->at;
    char message[80];
    snprintf(message, sizeof message, "expected a number from %llu to %llu", (unsigned long long)least,
             (unsigned long long)most);
    bool zero = next_is(r, '0');
    uint64_t value;
    if (!kv_text_number(r->text, r->length, &r->at, &value)) return wrong(r, KV_FORMAT, start, message);
    if (zero && r->at > start + 1) return wrong(r, KV_FORMAT, start, "expected a number without leading zeros");
    if (value < least || value > most) return wrong(r, KV_FORMAT, start, message);
    *number = value;
    return true;
}

static bool read_field64(reader *r, const char *name, uint64_t least, uint64_t most, uint64_t *number)
{
    return read_text(r, name) && read_text(r, " ") && read_number(r, least, most, number);
}

static bool read_field(reader *r, const char *name, uint32_t least, uint32_t most, uint32_t *number)
{
    uint64_t wide;
    if (!read_field64(r, name, least, most, &wide)) return false;
    *number = (uint32_t)wide;
    return true;
}

/* ---- load: records ---- */

enum { IDLE_MARK = 1, FIRST_RECORD_MARK = 2 }; /* in pool->leaving while loading: the list that named the block last */

static bool load_order(reader *r, kv_pool_config *config)
{
    if (!read_text(r, " order ")) return false;
    for (int i = 0; i < NUM_ORDERS; i++) {
        size_t bytes = strlen(order_name[i]);
        if (bytes >= r->length - r->at || memcmp(r->text + r->at, order_name[i], bytes) != 0) continue;
        config->order = (kv_order)i;
        r->at += bytes;
        return true;
    }
    return wrong(r, KV_FORMAT, r->at, "expected lifo, fifo or shuffle");
}

static bool load_config(reader *r, kv_pool_config *config)
{
    if (!read_field(r, "kv_pool 1 blocks", 1, UINT32_MAX - 1, &config->num_blocks)) return false;
    if (config->num_blocks > r->length / 2) /* the text lists each block, so memory stays below its length */
        return wrong(r, KV_CORRUPT, r->number_at, "expected no more blocks than the text can list");
    if (!read_field(r, " block_tokens", 1, 256, &config->block_tokens)) return false;
    if ((config->block_tokens & (config->block_tokens - 1)) != 0)
        return wrong(r, KV_FORMAT, r->number_at, "expected a power of two");
    if (!read_field(r, " max_branches", 1, KV_MAX_BRANCHES, &config->max_branches)) return false;
    if (!read_field(r, " max_epochs", 1, KV_MAX_EPOCHS, &config->max_epochs)) return false;
    if (!read_field64(r, " block_bytes", 0, UINT64_MAX, &config->block_bytes)) return false;
    if (kv_pool_config_check(config) != KV_OK)
        return wrong(r, KV_CORRUPT, r->number_at, kv_status_string(KV_OVERFLOW));
    if (!load_order(r, config) || !read_field64(r, " seed", 0, UINT64_MAX, &config->seed)) return false;
    uint32_t evicts = 0;
    if (kv_text_begins(r->text, r->length, r->at, " e") && !read_field(r, " evicts", 1, 1, &evicts)) return false;
    config->evicts = evicts;
    return true;
}

static bool load_counters(reader *r, kv_pool *pool)
{
    return read_field64(r, " random", 0, UINT64_MAX, &pool->random) && read_newline(r) &&
           read_field64(r, "counters version", 0, KV_MAX_COUNTER, &pool->version) &&
           read_field(r, " high_water", 0, pool->config.num_blocks, &pool->high_water_blocks) &&
           read_field64(r, " copies", 0, KV_MAX_COUNTER, &pool->copies) &&
           read_field64(r, " copied_tokens", 0, KV_MAX_COUNTER, &pool->copied_tokens) &&
           read_field64(r, " operations", 0, KV_MAX_COUNTER, &pool->operations) &&
           (!pool->config.evicts || (read_field64(r, " evicted", 0, KV_MAX_COUNTER, &pool->evicted_tokens) &&
                                     read_field64(r, " moved", 0, KV_MAX_COUNTER, &pool->moved_tokens))) &&
           read_newline(r);
}

static bool load_epochs(reader *r, kv_pool *pool)
{
    if (!read_field64(r, "epochs", 1, KV_MAX_COUNTER, &pool->first_epoch)) return false;
    pool->next_epoch = pool->first_epoch;
    while (next_is(r, ' ')) {
        if (pool->next_epoch - pool->first_epoch == pool->config.max_epochs)
            return wrong(r, KV_CORRUPT, r->at, "expected at most max_epochs epochs");
        uint32_t *num_blocks = &pool->epoch_blocks[pool->next_epoch++ % pool->config.max_epochs];
        if (!read_field(r, "", 0, pool->config.num_blocks, num_blocks)) return false;
    }
    return read_newline(r);
}

/* ` 7`: a block that no list read so far excludes from this one. */
static bool load_block(reader *r, kv_pool *pool, uint32_t mark, uint32_t *block)
{
    if (!read_field(r, "", 0, pool->config.num_blocks - 1, block)) return false;
    uint32_t *last_mark = &pool->leaving[*block];
    if (*last_mark == IDLE_MARK || *last_mark == mark)
        return wrong(r, KV_CORRUPT, r->number_at, "expected a block that is not listed yet");
    *last_mark = mark;
    return true;
}

static bool load_idle(reader *r, kv_pool *pool, const char *name, uint32_t *list, uint32_t *count)
{
    if (!read_text(r, name)) return false;
    for (*count = 0; next_is(r, ' '); ++*count) {
        uint32_t block;
        if (!load_block(r, pool, IDLE_MARK, &block)) return false;
        list[*count] = block;
    }
    return read_newline(r);
}

static void reverse(uint32_t *list, uint32_t count)
{
    for (uint32_t i = 0, j = count; i + 1 < j; i++) {
        uint32_t first = list[i];
        list[i] = list[--j];
        list[j] = first;
    }
}

/* Whether exactly `expected` numbers are left until a word or the end of the line: known before memory is taken. */
static bool numbers_follow(const reader *r, uint64_t expected)
{
    uint64_t listed = 0;
    for (size_t i = r->at; i < r->length && r->text[i] != '\n' && listed <= expected; i++) {
        if (kv_text_begins(r->text, r->length, i, " keep")) break;
        listed += r->text[i] == ' ';
    }
    return listed == expected;
}

static bool load_table(reader *r, kv_pool *pool, uint32_t index)
{
    kv_record *record = &pool->records[index];
    uint32_t expected = kv_blocks_of(pool, record->length);
    if (!numbers_follow(r, expected))
        return wrong(r, KV_CORRUPT, r->at, "expected as many blocks as the length needs");
    if (expected == 0) return true;
    record->blocks = malloc(expected * sizeof *record->blocks);
    if (!record->blocks) return no_memory(r);
    record->capacity = expected;
    for (; record->num_blocks < expected; record->num_blocks++)
        if (!load_block(r, pool, FIRST_RECORD_MARK + index, &record->blocks[record->num_blocks])) return false;
    return true;
}

static bool load_keep(reader *r, kv_pool *pool, kv_record *record)
{
    uint64_t expected = (uint64_t)record->num_blocks * pool->words_per_block;
    if (!read_text(r, " keep")) return false;
    if (!numbers_follow(r, expected)) return wrong(r, KV_CORRUPT, r->at, "expected keep words for each block");
    if (expected == 0) return true;
    record->words = malloc((size_t)expected * sizeof *record->words);
    if (!record->words) return no_memory(r);
    memset(record->words, 0, (size_t)expected * sizeof *record->words);
    for (uint64_t i = 0; i < expected; i++)
        if (!read_field64(r, "", 0, UINT64_MAX, &record->words[i])) return false;
    return true;
}

static bool load_next(reader *r, kv_record *record)
{
    return read_field(r, " next", 0, KV_MAX_LENGTH, &record->next_position) &&
           read_field(r, " private", 0, KV_MAX_LENGTH, &record->first_private);
}

static bool load_branch(reader *r, kv_pool *pool, uint32_t index)
{
    kv_record *record = &pool->records[index];
    record->live = true;
    return read_field(r, "branch", index, index, &index) &&
           read_field(r, " generation", 1, UINT32_MAX, &record->generation) &&
           read_field64(r, " version", 1, KV_MAX_COUNTER, &record->version) &&
           read_field(r, " length", 0, KV_MAX_LENGTH, &record->length) &&
           read_field(r, " promised", 0, KV_MAX_LENGTH, &record->promised_tokens) &&
           read_field(r, " credit", 0, pool->config.num_blocks, &record->credit_blocks) &&
           (!pool->config.evicts || load_next(r, record)) && read_text(r, " blocks") && load_table(r, pool, index) &&
           (!pool->config.evicts || load_keep(r, pool, record)) && read_newline(r);
}

static bool load_dead(reader *r, kv_pool *pool, uint32_t index)
{
    kv_record *record = &pool->records[index];
    if (!read_field(r, "dead", index, index, &index)) return false;
    if (!read_field(r, " generation", 0, UINT32_MAX, &record->generation)) return false;
    if (record->generation == 1)
        return wrong(r, KV_CORRUPT, r->number_at, "expected 0, or 2 and more: the record was used");
    return read_newline(r);
}

static bool load_records(reader *r, kv_pool *pool)
{
    while (next_is(r, 'b') || next_is(r, 'd')) {
        uint32_t index = pool->num_records;
        if (kv_records_reserve(pool, index + 1) != KV_OK) return no_memory(r);
        pool->records[index] = (kv_record){0};
        pool->num_records++;
        if (!(next_is(r, 'b') ? load_branch(r, pool, index) : load_dead(r, pool, index))) return false;
    }
    return true;
}

/* `listed` marks a record that was listed, so that none is listed twice; dead records have no other use for it. */
static bool load_free_records(reader *r, kv_pool *pool)
{
    if (!read_text(r, "free_slots")) return false;
    uint32_t last = KV_NO_RECORD, index;
    for (; next_is(r, ' '); last = index) {
        if (!read_field(r, "", 0, UINT32_MAX, &index)) return false;
        kv_record *record = index < pool->num_records ? &pool->records[index] : NULL;
        if (!record || record->live || record->generation == 0 || record->listed)
            return wrong(r, KV_CORRUPT, r->number_at, "expected a dead record that is not listed yet");
        record->listed = true;
        record->next = KV_NO_RECORD;
        if (last == KV_NO_RECORD) pool->free_record = index;
        else pool->records[last].next = index;
    }
    for (uint32_t i = pool->free_record; i != KV_NO_RECORD; i = pool->records[i].next) pool->records[i].listed = false;
    return read_newline(r);
}

/* After derive(): how many slots of a block are seen is known. */
static bool load_positions(reader *r, kv_pool *pool)
{
    for (uint32_t block = 0; block < pool->config.num_blocks; block++) {
        if (pool->ref[block] == 0) continue;
        uint64_t first = (uint64_t)block * pool->config.block_tokens;
        if (!read_field(r, "positions", block, block, &block)) return false;
        for (uint32_t i = 0; i < kv_visible_tokens(pool, block); i++)
            if (!read_field(r, "", 0, KV_MAX_LENGTH - 1, &pool->positions[first + i])) return false;
        if (!read_newline(r)) return false;
    }
    return true;
}

static bool load_end(reader *r)
{
    if (!read_text(r, "end") || !read_newline(r)) return false;
    return r->at == r->length || wrong(r, KV_FORMAT, r->at, "expected nothing after the end");
}

/* ---- load: the state that the text leaves implicit ---- */

static void derive(kv_pool *pool)
{
    memset(pool->leaving, 0, pool->config.num_blocks * sizeof *pool->leaving);
    for (uint32_t i = 0; i < pool->num_records; i++) {
        const kv_record *record = &pool->records[i];
        kv_blocks_load(pool, record->blocks, record->num_blocks);
        pool->num_live += record->live;
        pool->num_retired += record->generation == 0;
        pool->reserved_blocks += record->credit_blocks;
        pool->table_blocks += record->num_blocks;
        pool->logical_tokens += record->length;
        if (pool->config.evicts) kv_keep_loaded(pool, &pool->records[i]);
    }
    for (uint32_t i = 0; i < pool->num_records; i++) kv_tail_attach(pool, i, KV_NO_RECORD);
}

static bool check_loaded(reader *r, const kv_pool *pool)
{
    kv_violation v;
    kv_status status = kv_pool_find_violation(pool, &v);
    if (status == KV_OK) return true;
    if (status == KV_NOMEM) return no_memory(r);
    uint32_t line = 2; /* the counters; the next three lines are epochs, quarantine, free */
    if (v.invariant == 15) line = 3;
    if (v.invariant == 1) line = 5;
    if (v.invariant == 16) line = FIRST_RECORD_LINE + pool->num_records;
    if (v.record != KV_NO_RECORD) line = FIRST_RECORD_LINE + v.record;
    r->status = status;
    r->error = (kv_text_error){.line = line, .column = 1};
    kv_violation_write(&v, r->error.message, sizeof r->error.message);
    return false;
}

static bool load_state(reader *r, kv_pool *pool)
{
    pool->num_free = 0;
    if (!load_counters(r, pool) || !load_epochs(r, pool)) return false;
    if (!load_idle(r, pool, "quarantine", pool->quarantine, &pool->num_quarantined)) return false;
    if (!load_idle(r, pool, "free", pool->free_list, &pool->num_free)) return false;
    if (pool->config.order != KV_ORDER_FIFO) reverse(pool->free_list, pool->num_free);
    if (!load_records(r, pool) || !load_free_records(r, pool)) return false;
    derive(pool);
    return (!pool->config.evicts || load_positions(r, pool)) && load_end(r) && check_loaded(r, pool);
}

kv_status kv_pool_load(kv_pool **pool, const char *text, size_t length, kv_text_error *error)
{
    reader r = {.text = text, .length = length, .line = 1};
    kv_pool_config config = {0};
    kv_pool *loaded = NULL;
    if (load_config(&r, &config)) {
        if (kv_pool_create(&loaded, &config) != KV_OK) no_memory(&r);
        else if (!load_state(&r, loaded)) kv_pool_destroy(loaded, true, NULL);
    }
    if (r.status == KV_OK) *pool = loaded;
    else if (error) *error = r.error;
    return r.status;
}
