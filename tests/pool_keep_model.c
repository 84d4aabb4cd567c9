/* The oracle of pool_keep_model.h. */
#include "pool_keep_model.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

/* ---- lists of tokens ---- */

static uint32_t num_slots(const pool_model *m)
{
    return m->config.num_blocks * m->config.block_tokens;
}

static size_t place_of(const pool_model *m, const model_token *token)
{
    return (size_t)token->block * m->config.block_tokens + token->slot;
}

/* m->at[place] = number of the branch's token there, from 1. */
static void mark(pool_model *m, const model_branch *b)
{
    memset(m->at, 0, num_slots(m) * sizeof *m->at);
    for (uint32_t i = 0; i < b->num_kept; i++) m->at[place_of(m, &b->kept[i])] = i + 1;
}

static uint32_t tokens_in(const model_branch *b, uint32_t block)
{
    uint32_t tokens = 0;
    for (uint32_t i = 0; i < b->num_kept; i++) tokens += b->kept[i].block == block;
    return tokens;
}

static uint32_t index_of(const model_branch *b, uint32_t block)
{
    uint32_t index = 0;
    while (index < b->num_blocks && b->table[index] != block) index++;
    return index;
}

static bool lists(const model_branch *b, uint32_t block)
{
    return b->live && index_of(b, block) < b->num_blocks;
}

uint32_t model_slot_of(const pool_model *m, const model_branch *b, uint32_t index)
{
    return index_of(b, b->kept[index].block) * m->config.block_tokens + b->kept[index].slot;
}

/* The table's length up to the last token below `limit`. */
static uint32_t length_below(const pool_model *m, const model_branch *b, uint32_t limit)
{
    uint32_t length = 0;
    if (limit == b->next_position) return b->length;
    for (uint32_t i = 0; i < b->num_kept && b->kept[i].position < limit; i++)
        if (length <= model_slot_of(m, b, i)) length = model_slot_of(m, b, i) + 1;
    return length;
}

static void forget_token(model_branch *b, uint32_t index)
{
    b->num_kept--;
    memmove(b->kept + index, b->kept + index + 1, (b->num_kept - index) * sizeof *b->kept);
}

void keep_model_recount(pool_model *m)
{
    memset(m->holding, 0, m->config.num_blocks * sizeof *m->holding);
    memset(m->last_seen, 0, m->config.num_blocks * sizeof *m->last_seen);
    for (uint32_t i = 0; i < m->max_branches; i++) {
        const model_branch *b = &m->branches[i];
        for (uint32_t j = 0; b->live && j < b->num_kept; j++) {
            uint32_t block = b->kept[j].block;
            m->holding[block] += m->last_seen[block] != i + 1;
            m->last_seen[block] = i + 1;
        }
    }
}

/* ---- what the pool must show ---- */

static void check_keep(pool_model *m, const model_branch *b, const kv_table *table)
{
    kv_keep keep;
    check(kv_branch_keep(m->pool, b->handle, &keep) == KV_OK, "the handle is alive");
    check(keep.num_kept == b->num_kept, "%u tokens kept, %u expected", keep.num_kept, b->num_kept);
    check(keep.num_blocks == table->num_blocks, "keep words for each block");
    check(keep.next_position == b->next_position, "next position %u, %u", keep.next_position, b->next_position);
    check(keep.first_private == b->first_private, "first private %u, %u", keep.first_private, b->first_private);
    const uint32_t *positions = kv_pool_positions(m->pool);
    uint32_t block_tokens = m->config.block_tokens;
    mark(m, b);
    for (uint32_t slot = 0; slot < table->num_blocks * block_tokens; slot++) {
        size_t place = (size_t)table->blocks[slot / block_tokens] * block_tokens + slot % block_tokens;
        bool kept = kv_keep_slot(&keep, block_tokens, slot);
        check(kept == (m->at[place] > 0), "slot %u is %s", slot, kept ? "kept" : "not kept");
        if (!kept) continue;
        const model_token *token = &b->kept[m->at[place] - 1];
        check(positions[place] == token->position, "position %u, %u expected", positions[place], token->position);
        check(m->slots[place] == token->signature, "position %u reads %u%s, %u was written", token->position,
              m->slots[place], m->slots[place] == POISON ? " (poison)" : "", token->signature);
    }
}

static void check_find(pool_model *m, const model_branch *b)
{
    uint32_t slot, absent = test_below(b->next_position + 2), number = test_below(b->num_kept + 1);
    if (number < b->num_kept) {
        check(kv_branch_find(m->pool, b->handle, b->kept[number].position, &slot) == KV_OK, "a kept position");
        check(slot == model_slot_of(m, b, number), "slot %u", slot);
    }
    for (uint32_t i = 0; i < b->num_kept; i++)
        if (b->kept[i].position == absent) return;
    check(kv_branch_find(m->pool, b->handle, absent, &slot) == KV_RANGE, "position %u is not kept", absent);
}

void keep_model_read_back(pool_model *m, const model_branch *b)
{
    kv_table table;
    check(kv_branch_table(m->pool, b->handle, &table) == KV_OK, "the handle is alive");
    check(table.length == b->length, "length %u, %u expected", table.length, b->length);
    check(table.num_blocks == model_blocks_for(m, b->length), "%u blocks for %u slots", table.num_blocks, b->length);
    check(table.version == b->version, "the version changed without a reason");
    for (uint32_t j = 0; j < table.num_blocks; j++)
        check(table.blocks[j] == b->table[j], "entry %u: block %u, %u expected", j, table.blocks[j], b->table[j]);
    check_keep(m, b, &table);
    check_find(m, b);
    m->coverage.tokens_read += b->num_kept;
}

/* What a branch appended after its last fork, no other branch keeps. */
void keep_model_check(pool_model *m)
{
    for (uint32_t i = 0; i < m->max_branches; i++) {
        const model_branch *b = &m->branches[i];
        if (!b->live) continue;
        mark(m, b);
        for (uint32_t j = 0; j < m->max_branches; j++) {
            const model_branch *other = &m->branches[j];
            for (uint32_t k = 0; j != i && other->live && k < other->num_kept; k++) {
                uint32_t number = m->at[place_of(m, &other->kept[k])];
                bool shared = number == 0 || b->kept[number - 1].position < b->first_private;
                check(shared, "a private token of two branches");
            }
        }
    }
}

/* Invariant 2: a block that several branches list before and after the call reads as it did. Blocks that others have
 * left are written, by write_tokens and take_moves, which look at the count at that moment. */
static void finish(pool_model *m)
{
    model_recount(m);
    for (uint32_t block = 0; block < m->config.num_blocks; block++) {
        if (m->was[block] < 2 || m->count[block] < 2) continue;
        size_t first = (size_t)block * m->config.block_tokens, seen = m->was_seen[block];
        if (seen > m->visible[block]) seen = m->visible[block]; /* truncated for all: the model poisons the rest */
        size_t bytes = seen * sizeof *m->slots;
        check(!memcmp(m->slots + first, m->was_written + first, bytes), "shared block %u was written", block);
    }
    model_finish_call(m);
}

/* ---- ends of tables, promises ---- */

static uint32_t end_of(const pool_model *m, const model_branch *b)
{
    uint32_t tail = b->length % m->config.block_tokens;
    bool leaves = tail > 0 && tokens_in(b, b->table[b->num_blocks - 1]) == 0;
    return leaves ? b->length - tail : b->length;
}

static uint32_t credit_needed(const pool_model *m, const model_branch *b, uint32_t num_tokens)
{
    uint64_t end = end_of(m, b);
    if (num_tokens == 0) return 0;
    bool copy = end % m->config.block_tokens != 0 && m->holding[b->table[b->num_blocks - 1]] > 1;
    return model_blocks_for(m, end + num_tokens) - model_blocks_for(m, end) + 1 + copy;
}

/* ---- blocks that leave tables ---- */

static void remove_block(pool_model *m, model_branch *b, uint32_t block)
{
    uint32_t index = index_of(b, block), block_tokens = m->config.block_tokens;
    check(tokens_in(b, block) == 0, "a block with tokens stays");
    b->length = index + 1 == b->num_blocks ? index * block_tokens : b->length - block_tokens;
    b->num_blocks--;
    memmove(b->table + index, b->table + index + 1, (b->num_blocks - index) * sizeof *b->table);
    model_take_version(m, b);
}

static void cap_credit(const pool_model *m, model_branch *b)
{
    uint32_t needed = credit_needed(m, b, b->promised);
    if (b->credit > needed) b->credit = needed;
}

static void predict_released(pool_model *m)
{
    for (uint32_t block = 0; block < m->config.num_blocks; block++) {
        if (m->was[block] == 0 || m->count[block] > 0) continue;
        if (m->next_epoch == m->first_epoch) {
            m->released[m->num_released++] = block;
        } else {
            m->held_by[block] = m->next_epoch - 1;
            m->waiting[m->num_waiting++] = block;
            m->coverage.blocks_quarantined++;
        }
    }
}

static void renew(pool_model *m, model_branch *b)
{
    kv_pool_stats now = model_recounted_stats(m);
    uint32_t lacking = credit_needed(m, b, b->promised) - b->credit, unpromised = now.free_blocks - now.reserved_blocks;
    b->credit += lacking < unpromised ? lacking : unpromised;
    if (lacking > unpromised && now.open_epochs > 0) b->guaranteed = 0; /* as kv_branch_reserve says */
}

/* A block without tokens leaves all tables. `caller`: NULL if it has died itself. */
static void bury(pool_model *m, model_branch *caller)
{
    bool caller_changed = false;
    model_recount(m);
    for (uint32_t i = 0; i < m->max_branches; i++) {
        model_branch *b = &m->branches[i];
        bool changed = false;
        for (uint32_t j = b->live ? b->num_blocks : 0; j-- > 0;) {
            if (m->holding[b->table[j]] > 0) continue;
            m->coverage.dead_blocks_shared += m->count[b->table[j]] > 1;
            m->coverage.blocks_died++;
            remove_block(m, b, b->table[j]);
            changed = true;
        }
        if (changed) cap_credit(m, b);
        caller_changed |= changed && b == caller;
    }
    model_recount(m);
    predict_released(m);
    if (caller_changed) renew(m, caller);
    model_check_released(m);
}

/* ---- fork ---- */

kv_status keep_model_fork_at(pool_model *m, int parent, uint32_t length, int *child)
{
    model_branch *p = &m->branches[parent];
    kv_status predicted = m->num_live == m->max_branches ? KV_NOBRANCH : KV_OK;
    if (length > p->next_position) predicted = KV_RANGE;
    kv_branch handle = 0;
    model_before_call(m, predicted);
    kv_status status = length == p->next_position ? kv_branch_fork(m->pool, p->handle, &handle)
                                                  : kv_branch_fork_at(m->pool, p->handle, length, &handle);
    if (!model_after_call(m, predicted, status, "fork")) return predicted;
    *child = model_unused_branch(m);
    model_branch *c = &m->branches[*child];
    c->length = length_below(m, p, length);
    c->num_blocks = model_blocks_for(m, c->length);
    memcpy(c->table, p->table, c->num_blocks * sizeof *c->table);
    model_count_fork(p);
    model_make_live(m, *child, handle);
    while (c->num_kept < p->num_kept && p->kept[c->num_kept].position < length) {
        c->kept[c->num_kept] = p->kept[c->num_kept];
        c->num_kept++;
    }
    c->next_position = c->first_private = length;
    if (p->first_private < length) p->first_private = length;
    m->coverage.forks++;
    m->coverage.forks_inside_block += c->length % m->config.block_tokens != 0;
    finish(m);
    keep_model_read_back(m, c);
    return KV_OK;
}

/* ---- append ---- */

/* What one append of a list needs, given those before it. */
typedef struct need {
    bool hole, copy, leaves, takes_over;
    uint32_t block, slot; /* of the hole */
    uint32_t blocks;
} need;

/* The first slot of the table without a token, in a block of this branch alone. */
static void find_hole(pool_model *m, const model_branch *b, need *n)
{
    uint32_t block_tokens = m->config.block_tokens;
    mark(m, b);
    for (uint32_t slot = 0; slot < b->length; slot++) {
        uint32_t block = b->table[slot / block_tokens];
        if (m->count[block] > 1 || m->at[(size_t)block * block_tokens + slot % block_tokens] > 0) continue;
        n->hole = true;
        n->block = block;
        n->slot = slot % block_tokens;
        return;
    }
}

static need predict_need(pool_model *m, const model_branch *b, uint32_t num_tokens)
{
    need n = {0};
    if (num_tokens == 1) find_hole(m, b, &n);
    if (n.hole || num_tokens == 0) return n;
    uint32_t end = end_of(m, b), last = b->num_blocks > 0 ? b->table[b->num_blocks - 1] : 0;
    n.leaves = end < b->length;
    n.blocks = model_blocks_for(m, (uint64_t)end + num_tokens) - model_blocks_for(m, end);
    if (end % m->config.block_tokens == 0) return n;
    uint32_t listing = m->count[last] - m->copying[last], holding = m->holding[last] - m->copying[last];
    n.copy = holding > 1;
    n.takes_over = holding == 1 && listing > 1;
    n.blocks += n.copy;
    m->copying[last] += n.copy;
    return n;
}

static uint32_t credit_left(const pool_model *m, const model_branch *b, uint32_t num_tokens, const need *n)
{
    if (num_tokens == 0) return b->credit;
    if (num_tokens >= b->promised) return 0;
    uint32_t left = b->credit > n->blocks ? b->credit - n->blocks : 0;
    uint32_t end = end_of(m, b) + (n->hole ? 0 : num_tokens);
    uint32_t most = model_blocks_for(m, end + b->promised - num_tokens) - model_blocks_for(m, end) + 1;
    return left < most ? left : most;
}

static kv_status predict_append(pool_model *m, const int *branches, const uint32_t *num_tokens, uint32_t count,
                                need *needs)
{
    kv_pool_stats now = model_recounted_stats(m);
    uint64_t blocks = 0, reserved = now.reserved_blocks;
    memset(m->copying, 0, m->config.num_blocks * sizeof *m->copying);
    for (uint32_t i = 0; i < count; i++) {
        const model_branch *b = &m->branches[branches[i]];
        for (uint32_t j = 0; j < i; j++)
            if (branches[j] == branches[i]) return KV_INVAL;
        uint64_t end = end_of(m, b);
        if (end < b->next_position) end = b->next_position;
        if (end + num_tokens[i] > KV_MAX_LENGTH) return KV_RANGE;
        needs[i] = predict_need(m, b, num_tokens[i]);
        blocks += needs[i].blocks;
        reserved -= b->credit - credit_left(m, b, num_tokens[i], &needs[i]);
    }
    return blocks + reserved > now.free_blocks ? KV_NOBLOCKS : KV_OK;
}

static void check_promise(pool_model *m, const int *branches, const uint32_t *num_tokens, uint32_t count,
                          const need *needs, kv_status status)
{
    bool promised = true;
    uint32_t blocks = 0;
    for (uint32_t i = 0; i < count; i++) promised &= num_tokens[i] <= m->branches[branches[i]].guaranteed;
    check(!promised || status != KV_NOBLOCKS, "%u tokens of branch %d were promised", num_tokens[0], branches[0]);
    if (!promised || status != KV_OK) return;
    for (uint32_t i = 0; i < count; i++) blocks += needs[i].blocks;
    kv_pool_stats now = model_recounted_stats(m);
    m->coverage.promises_needed += blocks > now.free_blocks - now.reserved_blocks;
}

static void take_over(pool_model *m, const model_branch *b)
{
    uint32_t block = b->table[b->num_blocks - 1];
    for (uint32_t i = 0; i < m->max_branches; i++) {
        model_branch *other = &m->branches[i];
        if (other == b || !lists(other, block) || tokens_in(other, block) > 0) continue;
        remove_block(m, other, block);
        cap_credit(m, other);
    }
    m->coverage.tails_taken_over++;
}

static void take_copy(pool_model *m, model_branch *b, const kv_append *got)
{
    uint32_t from = b->table[b->num_blocks - 1], num_tokens = b->length % m->config.block_tokens;
    check(got->copy.from_block == from, "copy from %u, %u expected", got->copy.from_block, from);
    check(got->copy.num_tokens == num_tokens, "copy of %u slots, %u expected", got->copy.num_tokens, num_tokens);
    for (uint32_t i = 0; i < b->num_kept; i++)
        if (b->kept[i].block == from) b->kept[i].block = got->copy.to_block;
    m->expected.copies++;
    m->expected.copied_tokens += num_tokens;
    m->coverage.copies++;
}

static void take_appended(pool_model *m, model_branch *b, uint32_t num_tokens, const need *n, const kv_append *got)
{
    uint32_t hole = n->hole ? index_of(b, n->block) * m->config.block_tokens + n->slot : KV_NO_HOLE;
    check(got->hole == hole, "hole %u, %u expected", got->hole, hole);
    check(got->num_new_blocks == n->blocks, "%u new blocks, %u expected", got->num_new_blocks, n->blocks);
    b->credit = credit_left(m, b, num_tokens, n);
    model_count_append(b, num_tokens);
    m->coverage.holes_taken += n->hole;
    if (n->leaves && end_of(m, b) < b->length) { /* and not left already, as another took it over */
        b->length = end_of(m, b);
        b->num_blocks--;
        model_take_version(m, b);
        m->coverage.tails_left++;
    }
    check(got->first_new_block == b->num_blocks - n->copy, "first new block at %u", got->first_new_block);
    if (n->copy)
        take_copy(m, b, got);
    else
        check(got->copy.num_tokens == 0, "a copy that is not needed");
    m->coverage.copies_avoided += !n->copy && !n->hole && b->length % m->config.block_tokens != 0;
    kv_table table;
    check(kv_branch_table(m->pool, b->handle, &table) == KV_OK, "the handle is alive");
    check(table.num_blocks == got->first_new_block + got->num_new_blocks, "%u blocks", table.num_blocks);
    for (uint32_t j = got->first_new_block; j < table.num_blocks; j++) {
        model_check_new_block(m, table.blocks[j]);
        b->table[j] = table.blocks[j];
    }
    if (n->copy) check(b->table[got->first_new_block] == got->copy.to_block, "the copy goes into the table");
    if (n->copy) model_take_version(m, b);
    b->num_blocks = table.num_blocks;
}

static void carry_out_copy(pool_model *m, const kv_copy *copy)
{
    size_t block_tokens = m->config.block_tokens;
    memcpy(m->slots + copy->to_block * block_tokens, m->slots + copy->from_block * block_tokens,
           copy->num_tokens * sizeof *m->slots);
}

static void write_tokens(pool_model *m, model_branch *b, uint32_t num_tokens, const need *n)
{
    for (uint32_t i = 0; i < num_tokens; i++) {
        uint32_t slot = b->length + i;
        model_token token = {b->next_position++, model_new_signature(m), n->block, n->slot};
        if (!n->hole) token.block = b->table[slot / m->config.block_tokens];
        if (!n->hole) token.slot = slot % m->config.block_tokens;
        check(m->count[token.block] == 1, "position %u is written into block %u of %u owners", token.position,
              token.block, m->count[token.block]);
        m->slots[place_of(m, &token)] = token.signature;
        b->kept[b->num_kept++] = token;
    }
    if (!n->hole) b->length += num_tokens;
    m->coverage.tokens_written += num_tokens;
}

kv_status keep_model_append_many(pool_model *m, const int *branches, const uint32_t *num_tokens, uint32_t count)
{
    kv_append got[64];
    kv_branch handles[64];
    need needs[64];
    check(count <= 64, "lists of up to 64 branches");
    kv_status predicted = predict_append(m, branches, num_tokens, count, needs);
    for (uint32_t i = 0; i < count; i++) handles[i] = m->branches[branches[i]].handle;
    model_before_call(m, predicted);
    kv_status status = count == 1 ? kv_branch_append(m->pool, handles[0], num_tokens[0], got)
                                  : kv_branch_append_many(m->pool, handles, num_tokens, count, got);
    check_promise(m, branches, num_tokens, count, needs, status);
    if (!model_after_call(m, predicted, status, "append")) return predicted;
    model_check_released(m); /* none */
    for (uint32_t i = 0; i < count; i++)
        if (needs[i].takes_over) take_over(m, &m->branches[branches[i]]);
    model_recount(m);
    for (uint32_t i = 0; i < count; i++) take_appended(m, &m->branches[branches[i]], num_tokens[i], &needs[i], &got[i]);
    for (uint32_t i = 0; i < count; i++) carry_out_copy(m, &got[i].copy);
    model_recount(m);
    for (uint32_t i = 0; i < count; i++) write_tokens(m, &m->branches[branches[i]], num_tokens[i], &needs[i]);
    m->coverage.appends += count == 1;
    m->coverage.appends_of_many += count > 1;
    finish(m);
    for (uint32_t i = 0; i < count; i++) keep_model_read_back(m, &m->branches[branches[i]]);
    return KV_OK;
}

/* ---- truncate, adopt, prune, reserve ---- */

kv_status keep_model_truncate(pool_model *m, int branch, uint32_t length)
{
    model_branch *b = &m->branches[branch];
    kv_status predicted = length > b->next_position ? KV_RANGE : KV_OK;
    model_before_call(m, predicted);
    if (!model_after_call(m, predicted, kv_branch_truncate(m->pool, b->handle, length), "truncate")) return predicted;
    uint32_t table_length = length_below(m, b, length);
    if (table_length < b->length) model_take_version(m, b);
    while (b->num_kept > 0 && b->kept[b->num_kept - 1].position >= length) b->num_kept--;
    b->length = table_length;
    b->num_blocks = model_blocks_for(m, table_length);
    b->next_position = length;
    if (b->first_private > length) b->first_private = length;
    model_forget_promise(b);
    bury(m, b);
    if (b->num_blocks > 0) model_poison(m, b->table[b->num_blocks - 1], m->visible[b->table[b->num_blocks - 1]]);
    m->coverage.truncates++;
    finish(m);
    keep_model_read_back(m, b);
    return KV_OK;
}

kv_status keep_model_adopt(pool_model *m, int branch, int winner)
{
    model_branch *b = &m->branches[branch], *w = &m->branches[winner];
    kv_status predicted = branch == winner ? KV_INVAL : KV_OK;
    model_before_call(m, predicted);
    if (!model_after_call(m, predicted, kv_branch_adopt(m->pool, b->handle, w->handle), "adopt")) return predicted;
    memcpy(b->kept, w->kept, w->num_kept * sizeof *b->kept);
    memcpy(b->table, w->table, w->num_blocks * sizeof *b->table);
    b->length = w->length;
    b->num_blocks = w->num_blocks;
    b->num_kept = w->num_kept;
    b->next_position = w->next_position;
    b->first_private = w->first_private;
    w->num_kept = 0;
    model_forget_promise(b);
    model_make_dead(m, w);
    model_take_version(m, b);
    bury(m, b);
    m->coverage.adopts++;
    finish(m);
    keep_model_read_back(m, b);
    return KV_OK;
}

kv_status keep_model_prune(pool_model *m, int branch)
{
    model_branch *b = &m->branches[branch];
    model_before_call(m, KV_OK);
    model_after_call(m, KV_OK, kv_branch_prune(m->pool, b->handle), "prune");
    b->num_kept = 0;
    model_make_dead(m, b);
    bury(m, NULL);
    m->coverage.prunes++;
    finish(m);
    return KV_OK;
}

kv_status keep_model_reserve(pool_model *m, int branch, uint32_t num_tokens)
{
    model_branch *b = &m->branches[branch];
    kv_pool_stats now = model_recounted_stats(m);
    uint64_t length = b->length > b->next_position ? b->length : b->next_position;
    bool too_long = length + num_tokens > KV_MAX_LENGTH;
    uint32_t credit = too_long ? 0 : credit_needed(m, b, num_tokens);
    kv_status predicted = KV_OK;
    if ((uint64_t)now.reserved_blocks - b->credit + credit > now.free_blocks) predicted = KV_NOBLOCKS;
    if (too_long) predicted = KV_RANGE;
    model_before_call(m, predicted);
    if (!model_after_call(m, predicted, kv_branch_reserve(m->pool, b->handle, num_tokens), "reserve")) return predicted;
    model_forget_promise(b);
    b->promised = b->guaranteed = num_tokens;
    b->credit = credit;
    m->coverage.reserves++;
    finish(m);
    return KV_OK;
}

/* ---- evict, vote, thaw ---- */

/* The token in a slot of the branch's table; num_kept if none is kept there. */
static uint32_t token_in(const pool_model *m, const model_branch *b, uint32_t slot)
{
    uint32_t i = 0;
    while (i < b->num_kept && model_slot_of(m, b, i) != slot) i++;
    return i;
}

static kv_status predict_evict(pool_model *m, const model_branch *b, kv_scope scope, const uint32_t *slots,
                               uint32_t count)
{
    if (scope == KV_SCOPE_VOTE) return KV_INVAL;
    for (uint32_t i = 0; i < count; i++) {
        if (slots[i] >= b->length) return KV_RANGE;
        uint32_t token = token_in(m, b, slots[i]);
        for (uint32_t j = 0; j < i; j++)
            if (slots[j] == slots[i]) return KV_INVAL;
        if (token == b->num_kept) return KV_INVAL;
        bool inherited = b->kept[token].position < b->first_private;
        m->coverage.inherited_refused += scope == KV_SCOPE_PRIVATE && inherited;
        if (scope == KV_SCOPE_PRIVATE && inherited) return KV_INVAL;
    }
    return KV_OK;
}

kv_status model_evict(pool_model *m, int branch, kv_scope scope, const uint32_t *slots, uint32_t count)
{
    model_branch *b = &m->branches[branch];
    kv_status predicted = predict_evict(m, b, scope, slots, count);
    model_before_call(m, predicted);
    kv_status status = kv_branch_evict(m->pool, b->handle, scope, slots, count);
    if (!model_after_call(m, predicted, status, "evict")) return predicted;
    for (uint32_t i = 0; i < count; i++) forget_token(b, token_in(m, b, slots[i]));
    m->expected.evicted_tokens += count;
    bury(m, b);
    m->coverage.evictions += count;
    finish(m);
    keep_model_read_back(m, b);
    return KV_OK;
}

static uint32_t token_at(const model_branch *b, uint32_t block, uint32_t slot)
{
    uint32_t i = 0;
    while (i < b->num_kept && (b->kept[i].block != block || b->kept[i].slot != slot)) i++;
    return i;
}

static kv_status predict_vote(const pool_model *m, const int *branches, uint32_t count, uint32_t block, uint32_t slot)
{
    uint32_t votes = 0;
    if (block >= m->config.num_blocks || slot >= m->config.block_tokens) return KV_RANGE;
    for (uint32_t i = 0; i < count; i++) {
        const model_branch *b = &m->branches[branches[i]];
        for (uint32_t j = 0; j < i; j++)
            if (branches[j] == branches[i]) return KV_INVAL;
        if (!lists(b, block)) return KV_INVAL;
        votes += token_at(b, block, slot) < b->num_kept;
    }
    return votes > 0 && count == m->count[block] ? KV_OK : KV_INVAL;
}

kv_status model_evict_shared(pool_model *m, const int *branches, uint32_t count, uint32_t block, uint32_t slot)
{
    kv_branch handles[64];
    check(count <= 64, "lists of up to 64 branches");
    for (uint32_t i = 0; i < count; i++) handles[i] = m->branches[branches[i]].handle;
    kv_status predicted = predict_vote(m, branches, count, block, slot);
    model_before_call(m, predicted);
    kv_status status = kv_evict_shared(m->pool, handles, count, block, slot);
    if (!model_after_call(m, predicted, status, "vote")) return predicted;
    model_branch *last = NULL;
    for (uint32_t i = 0; i < count; i++) {
        model_branch *b = &m->branches[branches[i]];
        uint32_t token = token_at(b, block, slot);
        if (token == b->num_kept) continue;
        forget_token(b, token);
        m->expected.evicted_tokens++;
        last = b;
    }
    bury(m, last);
    m->coverage.votes++;
    finish(m);
    for (uint32_t i = 0; i < count; i++) keep_model_read_back(m, &m->branches[branches[i]]);
    return KV_OK;
}

kv_status model_thaw(pool_model *m, int branch)
{
    model_branch *b = &m->branches[branch];
    uint32_t first = 0;
    for (uint32_t i = 0; i < b->num_kept; i++)
        if (m->count[b->kept[i].block] > 1) first = b->kept[i].position + 1;
    model_before_call(m, KV_OK);
    model_after_call(m, KV_OK, kv_branch_thaw(m->pool, b->handle), "thaw");
    m->coverage.thaws += first < b->first_private;
    if (b->first_private > first) b->first_private = first;
    finish(m);
    keep_model_read_back(m, b);
    return KV_OK;
}

/* ---- compaction ---- */

static void take_moves(pool_model *m, model_branch *b, const kv_move *moves, uint32_t num_moves)
{
    size_t block_tokens = m->config.block_tokens;
    mark(m, b);
    for (uint32_t i = 0; i < num_moves; i++) { /* all read what was there before the call */
        size_t from = moves[i].from_block * block_tokens + moves[i].from_slot;
        size_t to = moves[i].to_block * block_tokens + moves[i].to_slot;
        uint32_t number = m->at[from];
        check(number > 0 && m->at[to] == 0, "a token moves to a slot without one");
        check(m->count[moves[i].to_block] == 1, "it moves into block %u of several branches", moves[i].to_block);
        m->slots[to] = m->was_written[from];
        b->kept[number - 1].block = moves[i].to_block;
        b->kept[number - 1].slot = moves[i].to_slot;
    }
    for (uint32_t i = 0; i < num_moves; i++)
        for (uint32_t j = 0; j < num_moves; j++)
            check(moves[i].from_block != moves[j].to_block, "a move that depends on another");
    m->expected.moved_tokens += num_moves;
    m->coverage.tokens_moved += num_moves;
}

static int by_count(const void *a, const void *b)
{
    uint32_t ca = *(const uint32_t *)a, cb = *(const uint32_t *)b;
    return (ca > cb) - (ca < cb);
}

static uint32_t num_shared(const pool_model *m, const model_branch *b)
{
    uint32_t shared = 0;
    while (shared < b->num_blocks && m->count[b->table[shared]] > 1) shared++;
    for (uint32_t j = shared; j < b->num_blocks; j++) check(m->count[b->table[j]] == 1, "shared blocks come first");
    return shared;
}

/* Moves that empty as many blocks as can be emptied: those with the fewest tokens. */
static uint32_t predict_moves(const pool_model *m, const model_branch *b, uint32_t *num_emptied)
{
    uint32_t *tokens = calloc(b->num_blocks + 1, sizeof *tokens), first = num_shared(m, b), all = 0, moves = 0;
    check(tokens, "the test itself is out of memory");
    for (uint32_t j = first; j < b->num_blocks; j++) all += tokens[j] = tokens_in(b, b->table[j]);
    qsort(tokens + first, b->num_blocks - first, sizeof *tokens, by_count);
    *num_emptied = b->num_blocks - first - model_blocks_for(m, all);
    for (uint32_t j = first; j < first + *num_emptied; j++) moves += tokens[j];
    free(tokens);
    return moves;
}

static kv_move *new_moves(const model_branch *b)
{
    kv_move *moves = calloc(b->num_kept + 1, sizeof *moves);
    check(moves, "the test itself is out of memory");
    return moves;
}

kv_status model_compact(pool_model *m, int branch, uint32_t max_moves)
{
    model_branch *b = &m->branches[branch];
    uint32_t num_emptied, expected = predict_moves(m, b, &num_emptied), num_moves = 77, num_blocks = b->num_blocks;
    kv_status predicted = expected > max_moves ? KV_RANGE : KV_OK;
    kv_move *moves = new_moves(b);
    model_before_call(m, predicted);
    kv_status status = kv_branch_compact(m->pool, b->handle, moves, max_moves, &num_moves);
    check(num_moves == expected, "%u moves, %u expected", num_moves, expected);
    bool done = model_after_call(m, predicted, status, "compact");
    if (done) {
        take_moves(m, b, moves, num_moves);
        for (uint32_t i = 0; i < b->num_kept; i++) /* the last block may be filled further */
            if (b->length <= model_slot_of(m, b, i)) b->length = model_slot_of(m, b, i) + 1;
        bury(m, b);
        check(b->num_blocks + num_emptied == num_blocks, "%u blocks became free", num_blocks - b->num_blocks);
        m->coverage.compactions += num_emptied > 0;
        finish(m);
        keep_model_read_back(m, b);
    }
    free(moves);
    return predicted;
}

/* Tokens in the order of the table: m->at[rank]. */
static uint32_t rank_tokens(pool_model *m, const model_branch *b, uint32_t first, uint32_t end)
{
    uint32_t block_tokens = m->config.block_tokens, rank = 0;
    for (uint32_t slot = first * block_tokens; slot < end * block_tokens; slot++) {
        uint32_t token = token_in(m, b, slot);
        if (token < b->num_kept) m->at[rank++] = token;
    }
    return rank;
}

typedef struct shared_part {
    uint32_t first, end, num_new, length, credit;
} shared_part;

static shared_part predict_part(pool_model *m, const model_branch *b, uint32_t first, uint32_t tokens)
{
    uint32_t block_tokens = m->config.block_tokens;
    shared_part p = {first, num_shared(m, b), model_blocks_for(m, tokens), b->length, b->credit};
    if (p.end <= first) return p;
    p.length = first * block_tokens + tokens;
    if (p.end < b->num_blocks) p.length = b->length - (p.end - first - p.num_new) * block_tokens;
    uint64_t promised = (uint64_t)p.length + b->promised;
    p.credit = b->promised == 0 ? 0 : model_blocks_for(m, promised) - model_blocks_for(m, p.length) + 1;
    return p;
}

static void take_part(pool_model *m, model_branch *b, const shared_part *p, const kv_move *moves, uint32_t num_moves)
{
    kv_table table;
    check(kv_branch_table(m->pool, b->handle, &table) == KV_OK, "the handle is alive");
    uint32_t behind = b->num_blocks - p->end, block_tokens = m->config.block_tokens;
    rank_tokens(m, b, p->first, p->end);
    for (uint32_t i = 0; i < num_moves; i++) {
        const model_token *token = &b->kept[m->at[i]];
        check(moves[i].from_block == token->block && moves[i].from_slot == token->slot, "move %u comes from there", i);
        check(moves[i].to_block == table.blocks[p->first + i / block_tokens], "move %u goes on in the table", i);
        check(moves[i].to_slot == i % block_tokens, "moved tokens are packed");
    }
    memmove(b->table + p->first + p->num_new, b->table + p->end, behind * sizeof *b->table);
    for (uint32_t j = p->first; j < p->first + p->num_new; j++) {
        model_check_new_block(m, table.blocks[j]);
        b->table[j] = table.blocks[j];
    }
    b->num_blocks = p->first + p->num_new + behind;
    b->length = p->length;
    b->credit = p->credit;
    model_take_version(m, b);
    take_moves(m, b, moves, num_moves);
}

kv_status model_compact_shared(pool_model *m, int branch, uint32_t first_index, uint32_t max_moves)
{
    model_branch *b = &m->branches[branch];
    kv_pool_stats now = model_recounted_stats(m);
    bool outside = first_index > b->num_blocks;
    uint32_t end = num_shared(m, b), num_moves = 77, tokens = 0;
    if (!outside && first_index < end) tokens = rank_tokens(m, b, first_index, end);
    shared_part p = predict_part(m, b, first_index, tokens);
    kv_status predicted = KV_OK;
    if ((uint64_t)now.reserved_blocks - b->credit + p.credit + p.num_new > now.free_blocks) predicted = KV_NOBLOCKS;
    if (tokens > max_moves || outside) predicted = KV_RANGE;
    kv_move *moves = new_moves(b);
    model_before_call(m, predicted);
    kv_status status = kv_branch_compact_shared(m->pool, b->handle, first_index, moves, max_moves, &num_moves);
    check(num_moves == tokens, "%u moves, %u expected", num_moves, tokens);
    bool done = model_after_call(m, predicted, status, "compact_shared");
    if (done && first_index < end) {
        take_part(m, b, &p, moves, num_moves);
        model_recount(m);
        kv_pool_stats grown = model_recounted_stats(m); /* the new blocks, before any dies */
        if (grown.used_blocks > m->expected.high_water_blocks) m->expected.high_water_blocks = grown.used_blocks;
        bury(m, b);
        m->coverage.compactions_shared++;
    }
    if (done) finish(m);
    if (done) keep_model_read_back(m, b);
    free(moves);
    return predicted;
}

/* ---- random calls ---- */

static int random_branch(const pool_model *m)
{
    uint32_t skip = test_below(m->num_live);
    for (uint32_t i = 0;; i++)
        if (m->branches[i].live && skip-- == 0) return (int)i;
}

/* Mostly a few kept tokens, at times a whole block or the whole branch, at times a slot that is refused. */
static void random_eviction(pool_model *m, int branch)
{
    const model_branch *b = &m->branches[branch];
    uint32_t slots[64], count = 0, kind = test_below(16), block_tokens = m->config.block_tokens;
    kv_scope scope = test_below(8) == 0 ? KV_SCOPE_VOTE : test_below(2) ? KV_SCOPE_MASK : KV_SCOPE_PRIVATE;
    uint32_t block = b->num_blocks > 0 ? b->table[test_below(b->num_blocks)] : 0;
    uint32_t tail = b->num_blocks > 0 ? b->table[b->num_blocks - 1] : 0;
    for (uint32_t i = 0; i < b->num_kept && count < 60; i++) {
        bool chosen = test_below(b->num_kept) < 2;
        if (kind < 4) chosen = b->kept[i].block == block;
        if (kind == 4) chosen = b->kept[i].block == tail;
        if (kind == 5) chosen = test_below(8) > 0;
        if (scope == KV_SCOPE_PRIVATE && kind < 12) chosen &= b->kept[i].position >= b->first_private;
        if (chosen) slots[count++] = model_slot_of(m, b, i);
    }
    if (test_below(16) == 0) slots[count++] = test_below(b->length + 1);
    if (test_below(32) == 0) slots[count++] = b->length + test_below(block_tokens);
    if (test_below(16) == 0 && count > 0) slots[count++] = slots[0];
    model_evict(m, branch, scope, slots, count);
}

static void random_vote(pool_model *m, int branch)
{
    const model_branch *b = &m->branches[branch];
    int voters[64];
    uint32_t count = 0, block = test_below(m->config.num_blocks + 1), slot = test_below(m->config.block_tokens + 1);
    if (b->num_kept > 0 && test_below(8)) {
        const model_token *token = &b->kept[test_below(b->num_kept)];
        block = token->block;
        slot = token->slot;
    }
    for (uint32_t i = 0; i < m->max_branches && count < 62; i++)
        if (lists(&m->branches[i], block)) voters[count++] = (int)i;
    if (test_below(16) == 0) voters[count++] = branch;
    if (test_below(16) == 0 && count > 0) count--;
    if (count > 0 && m->count[block < m->config.num_blocks ? block : 0] > 64) return;
    uint32_t votes = 1 + (test_below(4) == 0) * m->config.block_tokens; /* at times for the whole block */
    for (uint32_t i = 0; i < votes; i++)
        model_evict_shared(m, voters, count, block, (slot + i) % (m->config.block_tokens + 1));
}

void model_evict_step(pool_model *m)
{
    int branch = random_branch(m);
    const model_branch *b = &m->branches[branch];
    uint32_t kind = test_below(16);
    if (kind < 8)
        random_eviction(m, branch);
    else if (kind < 11)
        random_vote(m, branch);
    else if (kind < 12)
        model_thaw(m, branch);
    else if (kind < 14)
        model_compact(m, branch, test_below(8) ? b->num_kept : test_below(b->num_kept + 1));
    else
        model_compact_shared(m, branch, test_below(b->num_blocks + 2), test_below(8) ? b->num_kept : 1);
}
