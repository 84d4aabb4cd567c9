/* The oracle of pool_model.h. Nothing here is clever: counts, sums and views are recounted from the tables. */
#include "pool_model.h"

#include <stdlib.h>
#include <string.h>

#include "pool_keep_model.h"
#include "test.h"

/* ---- birth and death of the model ---- */

static void *must_calloc(size_t count, size_t bytes)
{
    void *memory = calloc(count, bytes);
    check(memory, "the test itself is out of memory");
    return memory;
}

pool_model *model_new(const kv_pool_config *config, bool thorough)
{
    pool_model *m = must_calloc(1, sizeof *m);
    check(kv_pool_create(&m->pool, config) == KV_OK, "a pool of %u blocks", config->num_blocks);
    kv_pool_stats stats;
    kv_pool_get_stats(m->pool, &stats);
    m->config = *config;
    m->config.block_tokens = stats.block_tokens;
    m->max_branches = config->max_branches;
    m->thorough = thorough;
    m->first_epoch = m->next_epoch = 1;
    m->branches = must_calloc(m->max_branches, sizeof *m->branches);
    size_t num_slots = (size_t)config->num_blocks * m->config.block_tokens;
    for (uint32_t i = 0; i < m->max_branches; i++) {
        m->branches[i].tokens = must_calloc(num_slots, sizeof(uint32_t));
        m->branches[i].table = must_calloc(config->num_blocks, sizeof(uint32_t));
        if (config->evicts) m->branches[i].kept = must_calloc(num_slots, sizeof(model_token));
    }
    m->slots = must_calloc(num_slots, sizeof *m->slots);
    m->count = must_calloc(config->num_blocks, sizeof *m->count);
    m->visible = must_calloc(config->num_blocks, sizeof *m->visible);
    m->holding = must_calloc(config->num_blocks, sizeof *m->holding);
    m->was = must_calloc(config->num_blocks, sizeof *m->was);
    m->was_seen = must_calloc(config->num_blocks, sizeof *m->was_seen);
    m->was_written = must_calloc(num_slots, sizeof *m->was_written);
    m->copying = must_calloc(config->num_blocks, sizeof *m->copying);
    m->last_seen = must_calloc(config->num_blocks, sizeof *m->last_seen);
    m->sorted = must_calloc(config->num_blocks, sizeof *m->sorted);
    m->at = must_calloc(num_slots, sizeof *m->at);
    m->held_by = must_calloc(config->num_blocks, sizeof *m->held_by);
    m->waiting = must_calloc(config->num_blocks, sizeof *m->waiting);
    m->released = must_calloc(config->num_blocks, sizeof *m->released);
    return m;
}

void model_end(pool_model *m)
{
    for (uint32_t i = 0; i < m->max_branches; i++)
        if (m->branches[i].live) model_prune(m, (int)i);
    if (m->next_epoch > m->first_epoch) model_epoch_retire(m, m->next_epoch - 1);
    model_check(m);
    kv_pool_stats stats;
    check(kv_pool_destroy(m->pool, false, &stats) == KV_OK, "an empty pool can be destroyed");
    check(stats.free_blocks == stats.num_blocks, "%u blocks lost", stats.num_blocks - stats.free_blocks);
    for (uint32_t i = 0; i < m->max_branches; i++) {
        free(m->branches[i].tokens);
        free(m->branches[i].table);
        free(m->branches[i].kept);
    }
    free(m->branches);
    free(m->slots);
    free(m->count);
    free(m->visible);
    free(m->holding);
    free(m->was);
    free(m->was_seen);
    free(m->was_written);
    free(m->copying);
    free(m->last_seen);
    free(m->sorted);
    free(m->at);
    free(m->held_by);
    free(m->waiting);
    free(m->released);
    free(m->before);
    free(m->after);
    free(m);
}

/* ---- recounting ---- */

uint32_t model_blocks_for(const pool_model *m, uint64_t length)
{
    uint64_t blocks = length / m->config.block_tokens;
    return (uint32_t)(length % m->config.block_tokens ? blocks + 1 : blocks);
}

void model_recount(pool_model *m)
{
    memset(m->count, 0, m->config.num_blocks * sizeof *m->count);
    memset(m->visible, 0, m->config.num_blocks * sizeof *m->visible);
    for (uint32_t i = 0; i < m->max_branches; i++) {
        const model_branch *b = &m->branches[i];
        if (!b->live) continue;
        for (uint32_t j = 0; j < b->num_blocks; j++) {
            uint32_t seen = b->length - j * m->config.block_tokens, block = b->table[j];
            if (seen > m->config.block_tokens) seen = m->config.block_tokens;
            m->count[block]++;
            if (seen > m->visible[block]) m->visible[block] = seen;
        }
    }
    if (m->config.evicts) keep_model_recount(m);
}

kv_pool_stats model_recounted_stats(const pool_model *m)
{
    kv_pool_stats s = m->expected;
    s.num_blocks = m->config.num_blocks;
    s.block_tokens = m->config.block_tokens;
    for (uint32_t i = 0; i < m->config.num_blocks; i++) {
        s.used_blocks += m->count[i] > 0;
        s.shared_blocks += m->count[i] > 1;
        s.quarantined_blocks += m->held_by[i] > 0;
        s.physical_tokens += m->visible[i];
    }
    for (uint32_t i = 0; i < m->max_branches; i++) {
        if (!m->branches[i].live) continue;
        s.live_branches++;
        s.logical_tokens += m->branches[i].length;
        s.table_blocks += m->branches[i].num_blocks;
        s.reserved_blocks += m->branches[i].credit;
        s.kept_tokens += m->branches[i].num_kept;
    }
    s.open_epochs = (uint32_t)(m->next_epoch - m->first_epoch);
    s.free_blocks = s.num_blocks - s.used_blocks - s.quarantined_blocks;
    s.tail_waste_tokens = (uint64_t)s.used_blocks * s.block_tokens - s.physical_tokens;
    return s;
}

void model_compare_stats(pool_model *m)
{
    kv_pool_stats got;
    kv_pool_get_stats(m->pool, &got);
    kv_pool_stats want = model_recounted_stats(m);
    if (want.used_blocks > want.high_water_blocks) want.high_water_blocks = want.used_blocks;
    m->expected.high_water_blocks = want.high_water_blocks;
#define SAME(field) \
    check(got.field == want.field, #field " %llu, %llu expected", (unsigned long long)got.field, \
          (unsigned long long)want.field)
    SAME(num_blocks);
    SAME(block_tokens);
    SAME(free_blocks);
    SAME(used_blocks);
    SAME(quarantined_blocks);
    SAME(shared_blocks);
    SAME(reserved_blocks);
    SAME(high_water_blocks);
    SAME(open_epochs);
    SAME(live_branches);
    SAME(logical_tokens);
    SAME(table_blocks);
    SAME(physical_tokens);
    SAME(tail_waste_tokens);
    SAME(copies);
    SAME(copied_tokens);
    SAME(kept_tokens);
    SAME(evicted_tokens);
    SAME(moved_tokens);
    SAME(operations);
    SAME(failures);
#undef SAME
}

/* ---- around each call ---- */

static void dump(pool_model *m, char **text)
{
    size_t bytes = kv_pool_dump(m->pool, NULL, 0);
    if (bytes > m->dump_capacity) {
        m->dump_capacity = 2 * bytes;
        m->before = realloc(m->before, m->dump_capacity);
        m->after = realloc(m->after, m->dump_capacity);
        check(m->before && m->after, "the test itself is out of memory");
    }
    check(kv_pool_dump(m->pool, *text, m->dump_capacity) == bytes, "a dump is as long as measured");
}

void model_before_call(pool_model *m, kv_status predicted)
{
    m->num_released = 0;
    m->version_before = m->newest_version;
    if (predicted != KV_OK) dump(m, &m->before);
    if (!m->config.evicts) return;
    memcpy(m->was, m->count, m->config.num_blocks * sizeof *m->was);
    memcpy(m->was_seen, m->visible, m->config.num_blocks * sizeof *m->was_seen);
    memcpy(m->was_written, m->slots, (size_t)m->config.num_blocks * m->config.block_tokens * sizeof *m->slots);
}

static void count_refusal(pool_model *m, kv_status status)
{
    m->expected.failures++;
    m->coverage.refused_blocks += status == KV_NOBLOCKS;
    m->coverage.refused_branches += status == KV_NOBRANCH;
    m->coverage.refused_stale += status == KV_STALE;
    m->coverage.refused_range += status == KV_RANGE;
    m->coverage.refused_invalid += status == KV_INVAL;
    m->coverage.refused_busy += status == KV_BUSY;
}

/* True if the call succeeded, as predicted. */
bool model_after_call(pool_model *m, kv_status predicted, kv_status status, const char *call)
{
    check(status == predicted, "%s: %s; predicted: %s", call, kv_status_string(status), kv_status_string(predicted));
    if (status == KV_OK) {
        m->expected.operations++;
        return true;
    }
    count_refusal(m, status);
    dump(m, &m->after);
    check(!strcmp(m->before, m->after), "a refused %s leaves no trace:\n%s\nbecame\n%s", call, m->before, m->after);
    return false;
}

void model_finish_call(pool_model *m)
{
    model_recount(m);
    model_compare_stats(m);
    if (m->thorough) model_check(m);
}

/* ---- tables and content ---- */

static void read_back(pool_model *m, const model_branch *b)
{
    if (m->config.evicts) {
        keep_model_read_back(m, b);
        return;
    }
    kv_table table;
    check(kv_branch_table(m->pool, b->handle, &table) == KV_OK, "the handle is alive");
    check(table.length == b->length, "length %u, %u expected", table.length, b->length);
    check(table.num_blocks == model_blocks_for(m, b->length), "%u blocks for %u tokens", table.num_blocks, b->length);
    check(table.version == b->version, "the version changed without a reason");
    for (uint32_t j = 0; j < table.num_blocks; j++)
        check(table.blocks[j] == b->table[j], "entry %u: block %u, %u expected", j, table.blocks[j], b->table[j]);
    for (uint32_t t = 0; t < b->length; t++) {
        uint64_t slot = (uint64_t)table.blocks[t / m->config.block_tokens] * m->config.block_tokens;
        uint32_t found = m->slots[slot + t % m->config.block_tokens];
        check(found == b->tokens[t], "token %u reads %u%s, %u was written", t, found,
              found == POISON ? " (poison)" : "", b->tokens[t]);
    }
    m->coverage.tokens_read += b->length;
}

void model_poison(pool_model *m, uint32_t block, uint32_t from)
{
    uint32_t *slots = m->slots + (size_t)block * m->config.block_tokens;
    for (uint32_t i = from; i < m->config.block_tokens; i++) slots[i] = POISON;
}

/* The version of a new or rewritten table: never seen before. */
void model_take_version(pool_model *m, model_branch *b)
{
    kv_table table;
    check(kv_branch_table(m->pool, b->handle, &table) == KV_OK, "the handle is alive");
    check(table.version > m->version_before, "version %llu was used before", (unsigned long long)table.version);
    b->version = table.version;
    if (m->newest_version < b->version) m->newest_version = b->version;
}

/* Predicts what dropping entries [kept, num_blocks) of a table releases: at once, or with the newest epoch, whose
 * kernel may still read it. */
static void predict_released(pool_model *m, const model_branch *b, uint32_t kept)
{
    bool at_once = m->next_epoch == m->first_epoch;
    for (uint32_t j = b->num_blocks; j-- > kept;) {
        uint32_t block = b->table[j];
        if (m->count[block] != 1) continue;
        if (at_once) {
            m->released[m->num_released++] = block;
        } else {
            m->held_by[block] = m->next_epoch - 1;
            m->waiting[m->num_waiting++] = block;
            m->coverage.blocks_quarantined++;
        }
    }
}

/* What the pool calls released may be overwritten from here on, and is. */
static int by_number(const void *a, const void *b)
{
    uint32_t na = *(const uint32_t *)a, nb = *(const uint32_t *)b;
    return (na > nb) - (na < nb);
}

void model_check_released(pool_model *m)
{
    const uint32_t *blocks;
    uint32_t num_blocks;
    kv_pool_released(m->pool, &blocks, &num_blocks);
    check(num_blocks == m->num_released, "%u blocks released, %u expected", num_blocks, m->num_released);
    if (m->config.evicts) { /* blocks may die in several tables at once: their order is not promised */
        memcpy(m->sorted, blocks, num_blocks * sizeof *m->sorted);
        qsort(m->sorted, num_blocks, sizeof *m->sorted, by_number);
        qsort(m->released, num_blocks, sizeof *m->released, by_number);
        blocks = m->sorted;
    }
    for (uint32_t i = 0; i < num_blocks; i++) {
        check(blocks[i] == m->released[i], "released block %u, %u expected", blocks[i], m->released[i]);
        check(m->held_by[blocks[i]] == 0, "block %u waits for an epoch: a kernel may still read it", blocks[i]);
        model_poison(m, blocks[i], 0);
    }
    m->coverage.blocks_released += num_blocks;
}

/* ---- create and fork ---- */

int model_unused_branch(const pool_model *m)
{
    for (uint32_t i = 0; i < m->max_branches; i++)
        if (!m->branches[i].live) return (int)i;
    return MODEL_NONE;
}

void model_forget_promise(model_branch *b)
{
    b->promised = b->credit = b->guaranteed = 0;
    b->forked_now = b->forked_once = false;
}

void model_make_live(pool_model *m, int branch, kv_branch handle)
{
    model_branch *b = &m->branches[branch];
    for (uint32_t i = 0; i < m->max_branches; i++)
        check(!m->branches[i].live || m->branches[i].handle != handle, "a handle was issued twice");
    check(handle != 0, "0 is never a handle");
    b->live = true;
    b->handle = handle;
    b->num_kept = b->next_position = b->first_private = 0;
    model_forget_promise(b);
    m->num_live++;
    model_take_version(m, b);
}

kv_status model_create(pool_model *m, int *branch)
{
    kv_status predicted = m->num_live == m->max_branches ? KV_NOBRANCH : KV_OK;
    kv_branch handle = 0;
    model_before_call(m, predicted);
    if (!model_after_call(m, predicted, kv_branch_create(m->pool, &handle), "create")) return predicted;
    *branch = model_unused_branch(m);
    m->branches[*branch].length = m->branches[*branch].num_blocks = 0;
    model_make_live(m, *branch, handle);
    m->coverage.creates++;
    model_finish_call(m);
    return KV_OK;
}

void model_count_fork(model_branch *b)
{
    if (b->forked_once) b->guaranteed = 0; /* a second time, with an append in between */
    b->forked_now = true;
}

kv_status model_fork_at(pool_model *m, int parent, uint32_t length, int *child)
{
    if (m->config.evicts) return keep_model_fork_at(m, parent, length, child);
    model_branch *p = &m->branches[parent];
    kv_status predicted = m->num_live == m->max_branches ? KV_NOBRANCH : KV_OK;
    if (length > p->length) predicted = KV_RANGE;
    kv_branch handle = 0;
    model_before_call(m, predicted);
    kv_status status = length == p->length ? kv_branch_fork(m->pool, p->handle, &handle)
                                           : kv_branch_fork_at(m->pool, p->handle, length, &handle);
    if (!model_after_call(m, predicted, status, "fork")) return predicted;
    *child = model_unused_branch(m);
    model_branch *c = &m->branches[*child];
    c->length = length;
    c->num_blocks = model_blocks_for(m, length);
    memcpy(c->tokens, p->tokens, length * sizeof *c->tokens);
    memcpy(c->table, p->table, c->num_blocks * sizeof *c->table);
    model_count_fork(p);
    model_make_live(m, *child, handle);
    read_back(m, c);
    m->coverage.forks++;
    m->coverage.forks_inside_block += length % m->config.block_tokens != 0;
    model_finish_call(m);
    return KV_OK;
}

/* ---- append ---- */

/* What one append of a list needs, given the counts that earlier ones of the list leave behind. */
typedef struct need {
    uint32_t blocks, credit_left;
    bool copy;
} need;

static need predict_need(pool_model *m, const model_branch *b, uint32_t num_tokens)
{
    need n = {.blocks = model_blocks_for(m, (uint64_t)b->length + num_tokens) - b->num_blocks};
    bool part_filled = b->length % m->config.block_tokens != 0;
    if (num_tokens > 0 && part_filled && m->count[b->table[b->num_blocks - 1]] > 1) {
        n.copy = true;
        n.blocks++;
        m->count[b->table[b->num_blocks - 1]]--;
    }
    if (num_tokens < b->promised && b->credit > n.blocks) n.credit_left = b->credit - n.blocks;
    uint64_t all = (uint64_t)b->length + b->promised;
    uint32_t most = 0;
    if (num_tokens < b->promised) most = model_blocks_for(m, all) - model_blocks_for(m, b->length + num_tokens) + 1;
    if (num_tokens > 0 && n.credit_left > most) n.credit_left = most;
    return n;
}

static kv_status predict_append(pool_model *m, const int *branches, const uint32_t *num_tokens, uint32_t count)
{
    kv_pool_stats now = model_recounted_stats(m);
    uint64_t blocks = 0, reserved = now.reserved_blocks;
    kv_status predicted = KV_OK;
    for (uint32_t i = 0; i < count && predicted == KV_OK; i++) {
        const model_branch *b = &m->branches[branches[i]];
        for (uint32_t j = 0; j < i; j++)
            if (branches[j] == branches[i]) predicted = KV_INVAL;
        if (predicted == KV_OK && (uint64_t)b->length + num_tokens[i] > KV_MAX_LENGTH) predicted = KV_RANGE;
        if (predicted != KV_OK) break;
        need n = predict_need(m, b, num_tokens[i]);
        blocks += n.blocks;
        reserved -= b->credit - n.credit_left;
    }
    model_recount(m);
    if (predicted == KV_OK && blocks + reserved > now.free_blocks) predicted = KV_NOBLOCKS;
    return predicted;
}

/* The promise itself, as kv_branch_reserve states it: no list of promised tokens is refused for want of blocks. */
static void check_promise(pool_model *m, const int *branches, const uint32_t *num_tokens, uint32_t count,
                          kv_status status)
{
    bool promised = true;
    for (uint32_t i = 0; i < count; i++) promised &= num_tokens[i] <= m->branches[branches[i]].guaranteed;
    check(!promised || status != KV_NOBLOCKS, "%u tokens of branch %d were promised", num_tokens[0], branches[0]);
    if (!promised || status != KV_OK) return;
    kv_pool_stats now = model_recounted_stats(m);
    uint32_t blocks = 0;
    for (uint32_t i = 0; i < count; i++) blocks += predict_need(m, &m->branches[branches[i]], num_tokens[i]).blocks;
    model_recount(m);
    m->coverage.promises_needed += blocks > now.free_blocks - now.reserved_blocks;
}

/* A block that append handed out: of the pool, free, and nothing of its last owner is left in it. */
void model_check_new_block(pool_model *m, uint32_t block)
{
    check(block < m->config.num_blocks, "block %u of %u", block, m->config.num_blocks);
    check(m->count[block] == 0, "block %u was handed out but has %u owners", block, m->count[block]);
    check(m->held_by[block] == 0, "block %u was handed out before epoch %llu retired", block,
          (unsigned long long)m->held_by[block]);
    for (uint32_t i = 0; i < m->config.block_tokens; i++)
        check(m->slots[(size_t)block * m->config.block_tokens + i] == POISON, "a free block is poison");
    m->count[block] = 1;
}

static void check_copy(pool_model *m, const model_branch *b, const kv_append *got, bool copy)
{
    m->coverage.copies_avoided += !copy && b->length % m->config.block_tokens != 0;
    if (!copy) {
        check(got->copy.num_tokens == 0, "a copy that is not needed");
        return;
    }
    uint32_t from = b->table[b->num_blocks - 1], num_tokens = b->length % m->config.block_tokens;
    check(got->copy.from_block == from, "copy from %u, %u expected", got->copy.from_block, from);
    check(got->copy.num_tokens == num_tokens, "copy of %u tokens, %u expected", got->copy.num_tokens, num_tokens);
    m->expected.copies++;
    m->expected.copied_tokens += num_tokens;
    m->coverage.copies++;
}

void model_count_append(model_branch *b, uint32_t num_tokens)
{
    b->promised = num_tokens < b->promised ? b->promised - num_tokens : 0;
    b->guaranteed = num_tokens < b->guaranteed ? b->guaranteed - num_tokens : 0;
    if (num_tokens > 0) {
        b->forked_once |= b->forked_now;
        b->forked_now = false;
    }
}

/* The table after the append, entry by entry. */
static void take_appended(pool_model *m, model_branch *b, uint32_t num_tokens, const kv_append *got)
{
    need n = predict_need(m, b, num_tokens);
    check_copy(m, b, got, n.copy);
    kv_table table;
    check(kv_branch_table(m->pool, b->handle, &table) == KV_OK, "the handle is alive");
    check(got->num_new_blocks == n.blocks, "%u new blocks, %u expected", got->num_new_blocks, n.blocks);
    check(got->first_new_block == b->num_blocks - n.copy, "first new block at %u", got->first_new_block);
    check(table.num_blocks == got->first_new_block + got->num_new_blocks, "%u blocks", table.num_blocks);
    for (uint32_t j = got->first_new_block; j < table.num_blocks; j++) {
        model_check_new_block(m, table.blocks[j]);
        b->table[j] = table.blocks[j];
    }
    if (n.copy) {
        check(b->table[got->first_new_block] == got->copy.to_block, "the copy goes into the table");
        model_take_version(m, b);
    }
    b->num_blocks = table.num_blocks;
    b->credit = n.credit_left;
    model_count_append(b, num_tokens);
}

static void carry_out_copy(pool_model *m, const kv_copy *copy)
{
    if (copy->num_tokens == 0) return;
    size_t block_tokens = m->config.block_tokens;
    memcpy(m->slots + copy->to_block * block_tokens, m->slots + copy->from_block * block_tokens,
           copy->num_tokens * sizeof *m->slots);
}

uint32_t model_new_signature(pool_model *m)
{
    if (++m->next_signature == POISON) m->next_signature++;
    return m->next_signature;
}

static void write_tokens(pool_model *m, model_branch *b, uint32_t num_tokens)
{
    for (uint32_t t = b->length; t < b->length + num_tokens; t++) {
        uint32_t block = b->table[t / m->config.block_tokens];
        check(m->count[block] == 1, "token %u is written into block %u of %u owners", t, block, m->count[block]);
        b->tokens[t] = model_new_signature(m);
        m->slots[(size_t)block * m->config.block_tokens + t % m->config.block_tokens] = b->tokens[t];
    }
    b->length += num_tokens;
    m->coverage.tokens_written += num_tokens;
}

kv_status model_append_many(pool_model *m, const int *branches, const uint32_t *num_tokens, uint32_t count)
{
    if (m->config.evicts) return keep_model_append_many(m, branches, num_tokens, count);
    kv_append got[64];
    kv_branch handles[64];
    check(count <= 64, "lists of up to 64 branches");
    kv_status predicted = predict_append(m, branches, num_tokens, count);
    for (uint32_t i = 0; i < count; i++) handles[i] = m->branches[branches[i]].handle;
    model_before_call(m, predicted);
    kv_status status = count == 1 ? kv_branch_append(m->pool, handles[0], num_tokens[0], got)
                                  : kv_branch_append_many(m->pool, handles, num_tokens, count, got);
    check_promise(m, branches, num_tokens, count, status);
    if (!model_after_call(m, predicted, status, "append")) return predicted;
    model_check_released(m);
    for (uint32_t i = 0; i < count; i++) take_appended(m, &m->branches[branches[i]], num_tokens[i], &got[i]);
    for (uint32_t i = 0; i < count; i++) carry_out_copy(m, &got[i].copy);
    model_recount(m);
    for (uint32_t i = 0; i < count; i++) write_tokens(m, &m->branches[branches[i]], num_tokens[i]);
    for (uint32_t i = 0; i < count; i++) read_back(m, &m->branches[branches[i]]);
    m->coverage.appends += count == 1;
    m->coverage.appends_of_many += count > 1;
    model_finish_call(m);
    return KV_OK;
}

kv_status model_append(pool_model *m, int branch, uint32_t num_tokens)
{
    return model_append_many(m, &branch, &num_tokens, 1);
}

/* ---- truncate, adopt, prune, reserve ---- */

kv_status model_truncate(pool_model *m, int branch, uint32_t length)
{
    if (m->config.evicts) return keep_model_truncate(m, branch, length);
    model_branch *b = &m->branches[branch];
    kv_status predicted = length > b->length ? KV_RANGE : KV_OK;
    model_before_call(m, predicted);
    if (predicted == KV_OK) predict_released(m, b, model_blocks_for(m, length));
    if (!model_after_call(m, predicted, kv_branch_truncate(m->pool, b->handle, length), "truncate")) return predicted;
    model_check_released(m);
    bool changed = length < b->length;
    b->length = length;
    b->num_blocks = model_blocks_for(m, length);
    model_forget_promise(b);
    if (changed) model_take_version(m, b);
    model_recount(m);
    if (b->num_blocks > 0) model_poison(m, b->table[b->num_blocks - 1], m->visible[b->table[b->num_blocks - 1]]);
    read_back(m, b);
    m->coverage.truncates++;
    model_finish_call(m);
    return KV_OK;
}

void model_make_dead(pool_model *m, model_branch *b)
{
    b->live = false;
    m->dead[m->num_dead++ % 64] = b->handle;
    m->num_live--;
}

kv_status model_adopt(pool_model *m, int branch, int winner)
{
    if (m->config.evicts) return keep_model_adopt(m, branch, winner);
    model_branch *b = &m->branches[branch], *w = &m->branches[winner];
    kv_status predicted = branch == winner ? KV_INVAL : KV_OK;
    model_before_call(m, predicted);
    if (predicted == KV_OK) predict_released(m, b, 0);
    if (!model_after_call(m, predicted, kv_branch_adopt(m->pool, b->handle, w->handle), "adopt")) return predicted;
    model_check_released(m);
    memcpy(b->tokens, w->tokens, w->length * sizeof *b->tokens);
    memcpy(b->table, w->table, w->num_blocks * sizeof *b->table);
    b->length = w->length;
    b->num_blocks = w->num_blocks;
    model_forget_promise(b);
    model_make_dead(m, w);
    model_take_version(m, b);
    read_back(m, b);
    m->coverage.adopts++;
    model_finish_call(m);
    return KV_OK;
}

kv_status model_prune(pool_model *m, int branch)
{
    if (m->config.evicts) return keep_model_prune(m, branch);
    model_branch *b = &m->branches[branch];
    model_before_call(m, KV_OK);
    predict_released(m, b, 0);
    model_after_call(m, KV_OK, kv_branch_prune(m->pool, b->handle), "prune");
    model_check_released(m);
    model_make_dead(m, b);
    m->coverage.prunes++;
    model_finish_call(m);
    return KV_OK;
}

kv_status model_reserve(pool_model *m, int branch, uint32_t num_tokens)
{
    if (m->config.evicts) return keep_model_reserve(m, branch, num_tokens);
    model_branch *b = &m->branches[branch];
    uint64_t length = (uint64_t)b->length + num_tokens;
    kv_pool_stats now = model_recounted_stats(m);
    uint32_t credit = num_tokens > 0 ? model_blocks_for(m, length) - b->num_blocks + 1 : 0;
    bool part_filled = b->length % m->config.block_tokens != 0;
    if (num_tokens > 0 && part_filled) credit += m->count[b->table[b->num_blocks - 1]] > 1;
    kv_status predicted = KV_OK;
    if ((uint64_t)now.reserved_blocks - b->credit + credit > now.free_blocks) predicted = KV_NOBLOCKS;
    if (length > KV_MAX_LENGTH) predicted = KV_RANGE;
    model_before_call(m, predicted);
    if (!model_after_call(m, predicted, kv_branch_reserve(m->pool, b->handle, num_tokens), "reserve")) return predicted;
    model_forget_promise(b);
    b->promised = b->guaranteed = num_tokens;
    b->credit = credit;
    m->coverage.reserves++;
    model_finish_call(m);
    return KV_OK;
}

/* ---- epochs ---- */

kv_status model_epoch_begin(pool_model *m)
{
    uint32_t max_epochs = m->config.max_epochs ? m->config.max_epochs : 8;
    kv_status predicted = m->next_epoch - m->first_epoch == max_epochs ? KV_BUSY : KV_OK;
    uint64_t epoch = 0;
    model_before_call(m, predicted);
    if (!model_after_call(m, predicted, kv_pool_epoch_begin(m->pool, &epoch), "epoch_begin")) return predicted;
    check(epoch == m->next_epoch, "epochs count up from 1");
    m->next_epoch++;
    m->coverage.epochs++;
    model_finish_call(m);
    return KV_OK;
}

static void predict_retired(pool_model *m, uint64_t epoch)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < m->num_waiting; i++) {
        uint32_t block = m->waiting[i];
        if (m->held_by[block] > epoch) {
            m->waiting[kept++] = block;
        } else {
            m->held_by[block] = 0;
            m->released[m->num_released++] = block;
        }
    }
    m->num_waiting = kept;
}

kv_status model_epoch_retire(pool_model *m, uint64_t epoch)
{
    kv_status predicted = epoch >= m->first_epoch && epoch < m->next_epoch ? KV_OK : KV_RANGE;
    model_before_call(m, predicted);
    if (predicted == KV_OK) predict_retired(m, epoch);
    if (!model_after_call(m, predicted, kv_pool_epoch_retire(m->pool, epoch), "epoch_retire")) return predicted;
    model_check_released(m);
    m->first_epoch = epoch + 1;
    model_finish_call(m);
    return KV_OK;
}

void model_check(pool_model *m)
{
    char message[160];
    kv_status status = kv_pool_check(m->pool, message, sizeof message);
    check(status == KV_OK, "kv_pool_check: %s", message);
    for (uint32_t i = 0; i < m->config.num_blocks; i++)
        check(kv_pool_references(m->pool, i) == m->count[i], "references of block %u", i);
    for (uint32_t i = 0; i < m->max_branches; i++)
        if (m->branches[i].live) read_back(m, &m->branches[i]);
    if (m->config.evicts) keep_model_check(m);
    m->coverage.full_checks++;
}
