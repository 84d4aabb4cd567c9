/* The walk of pool_states_model.h: breadth first over a hash set of states, one pool rewritten for each call. */
#include "pool_states_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv_pool_internal.h"
#include "test.h"

enum { B = STATES_MAX_BRANCHES, N = STATES_MAX_BLOCKS, T = STATES_MAX_TOKENS, E = 2, MAX_CALLS = 1024 };

/* Forks behind a promise: none, behind its last append, before an append; the next point is one too many. */
typedef enum fork_point { NOT_FORKED, FORKED_NOW, FORKED_BEFORE } fork_point;

/* Compared and hashed as bytes; what is unused is 0. `guaranteed` and `forked` are not the pool's: they say by the
 * words of kv_branch_reserve how many tokens cannot be refused for want of blocks. */
typedef struct branch_state {
    uint8_t live, length, promised, credit, guaranteed, forked, table[N];
} branch_state;

typedef struct state {
    branch_state branch[B];
    uint8_t num_free, free_list[N], num_quarantined, quarantine[N], num_epochs, epoch_blocks[E];
} state;

/* What a refused call must leave as it was, beyond the state. */
typedef struct rest {
    state s;
    uint32_t generation[B], free_record, high_water;
    uint64_t version, copies, copied_tokens, operations, next_epoch;
} rest;

typedef enum call_kind { CREATE, FORK, APPEND, TRUNCATE, ADOPT, PRUNE, RESERVE, BEGIN, RETIRE, STALE } call_kind;
static const char *const call_name[] = {"create", "fork", "append", "truncate", "adopt",
                                        "prune", "reserve", "epoch_begin", "epoch_retire", "stale"};

typedef struct call {
    call_kind kind;
    uint8_t count, branch[3], number[3]; /* append: a list; adopt: branch[0] takes over branch[1] */
} call;

typedef struct walk {
    states_scope scope;
    kv_pool *pool;
    state *states;
    uint32_t *table; /* hash table of state indices + 1 */
    uint64_t num_states, state_capacity, table_size;
    states_count count;
    call calls[MAX_CALLS];
    uint32_t num_calls;
    const state *at;  /* the state that the calls start from */
    uint8_t owners[N]; /* of its blocks */
} walk;

/* What the branches must read after a call. */
typedef struct expectation {
    kv_status status;
    uint8_t live[B], length[B], token[B][T];
    uint8_t owners[N]; /* of the old blocks, after the call */
    uint32_t num_copies;
} expectation;

/* ---- states in and out of the pool ---- */

static uint32_t blocks_for(const walk *w, uint32_t length)
{
    return (length + w->scope.block_tokens - 1) / w->scope.block_tokens;
}

static void put_views(walk *w, const state *s)
{
    kv_pool *pool = w->pool;
    for (uint32_t tokens = 1; tokens < w->scope.block_tokens; tokens++) {
        for (uint32_t i = 0; i < w->scope.max_branches; i++) { /* in rising order, each in front */
            if (s->branch[i].length % w->scope.block_tokens != tokens) continue;
            uint32_t block = s->branch[i].table[blocks_for(w, s->branch[i].length) - 1];
            kv_record *record = &pool->records[i];
            record->previous = KV_NO_RECORD;
            record->next = pool->num_partial[block]++ ? pool->first_partial[block] : KV_NO_RECORD;
            record->far_end = i;
            if (record->next != KV_NO_RECORD) {
                const kv_record *next = &pool->records[record->next];
                if (next->length == record->length) { /* the last of this run stays, `i` is its first */
                    record->far_end = next->far_end;
                    pool->records[next->far_end].far_end = i;
                }
                pool->records[record->next].previous = i;
            }
            pool->first_partial[block] = i;
        }
    }
}

static void put_record(walk *w, const branch_state *b, uint32_t index)
{
    kv_pool *pool = w->pool;
    kv_record *record = &pool->records[index];
    record->live = b->live;
    record->generation = 2;
    record->version = index + 1;
    record->length = b->length;
    record->promised_tokens = b->promised;
    record->credit_blocks = b->credit;
    record->num_blocks = blocks_for(w, b->length);
    for (uint32_t i = 0; i < record->num_blocks; i++) {
        record->blocks[i] = b->table[i];
        pool->ref[b->table[i]]++;
    }
    pool->num_live += record->live;
    pool->kept_entries += record->live ? 0 : record->capacity;
    pool->reserved_blocks += record->credit_blocks;
    pool->logical_tokens += record->length;
    pool->table_blocks += record->num_blocks;
    if (record->live) return;
    record->next = pool->free_record;
    pool->free_record = index;
}

static void put_sums(walk *w, const state *s)
{
    kv_pool *pool = w->pool;
    for (uint32_t block = 0; block < w->scope.num_blocks; block++) {
        uint32_t visible = 0;
        for (uint32_t i = 0; i < w->scope.max_branches; i++) {
            const branch_state *b = &s->branch[i];
            for (uint32_t j = 0; j < blocks_for(w, b->length); j++) {
                uint32_t seen = b->length - j * w->scope.block_tokens;
                if (seen > w->scope.block_tokens) seen = w->scope.block_tokens;
                if (b->table[j] == block && seen > visible) visible = seen;
            }
        }
        pool->physical_tokens += visible;
        pool->shared_blocks += pool->ref[block] > 1;
    }
}

/* Written by hand, field by field, and not through the functions under test. */
static void put_state(walk *w, const state *s)
{
    kv_pool *pool = w->pool;
    memset(pool->ref, 0, w->scope.num_blocks * sizeof(uint32_t));
    memset(pool->num_partial, 0, w->scope.num_blocks * sizeof(uint32_t));
    pool->num_live = pool->reserved_blocks = pool->shared_blocks = pool->kept_entries = 0;
    pool->logical_tokens = pool->table_blocks = pool->physical_tokens = 0;
    pool->copies = pool->copied_tokens = 0;
    pool->version = B + 1;
    pool->free_record = KV_NO_RECORD;
    for (uint32_t i = w->scope.max_branches; i-- > 0;) put_record(w, &s->branch[i], i);
    put_views(w, s);
    put_sums(w, s);
    pool->free_head = pool->quarantine_head = 0;
    pool->num_free = s->num_free;
    pool->num_quarantined = s->num_quarantined;
    for (uint32_t i = 0; i < s->num_free; i++) pool->free_list[i] = s->free_list[i];
    for (uint32_t i = 0; i < s->num_quarantined; i++) pool->quarantine[i] = s->quarantine[i];
    pool->first_epoch = 1;
    pool->next_epoch = 1 + (uint64_t)s->num_epochs;
    for (uint32_t i = 0; i < s->num_epochs; i++)
        pool->epoch_blocks[(1 + i) % pool->config.max_epochs] = s->epoch_blocks[i];
    pool->high_water_blocks = w->scope.num_blocks - s->num_free - s->num_quarantined;
}

static state get_state(const walk *w)
{
    const kv_pool *pool = w->pool;
    state s = {0};
    for (uint32_t i = 0; i < w->scope.max_branches; i++) {
        const kv_record *record = &pool->records[i];
        s.branch[i].live = record->live;
        s.branch[i].length = (uint8_t)record->length;
        s.branch[i].promised = (uint8_t)record->promised_tokens;
        s.branch[i].credit = (uint8_t)record->credit_blocks;
        for (uint32_t j = 0; j < record->num_blocks; j++) s.branch[i].table[j] = (uint8_t)record->blocks[j];
    }
    s.num_free = (uint8_t)pool->num_free;
    for (uint32_t i = 0; i < pool->num_free; i++)
        s.free_list[i] = (uint8_t)pool->free_list[kv_ring_index(pool, pool->free_head, i)];
    s.num_quarantined = (uint8_t)pool->num_quarantined;
    for (uint32_t i = 0; i < pool->num_quarantined; i++)
        s.quarantine[i] = (uint8_t)pool->quarantine[kv_ring_index(pool, pool->quarantine_head, i)];
    s.num_epochs = (uint8_t)(pool->next_epoch - pool->first_epoch);
    for (uint32_t i = 0; i < s.num_epochs; i++)
        s.epoch_blocks[i] = (uint8_t)pool->epoch_blocks[(pool->first_epoch + i) % pool->config.max_epochs];
    return s;
}

/* The guarantees of `next`, which the pool does not know, from those before the call. */
static void carry_guarantees(const walk *w, const call *c, state *next)
{
    branch_state *b = &next->branch[c->branch[0]];
    for (uint32_t i = 0; i < B; i++) {
        next->branch[i].guaranteed = w->at->branch[i].guaranteed;
        next->branch[i].forked = w->at->branch[i].forked;
    }
    if (c->kind == FORK && b->guaranteed > 0) {
        if (b->forked == FORKED_BEFORE) b->guaranteed = 0;
        else b->forked = FORKED_NOW;
    }
    for (uint32_t i = 0; c->kind == APPEND && i < c->count; i++) {
        branch_state *a = &next->branch[c->branch[i]];
        if (c->number[i] > 0 && a->forked == FORKED_NOW) a->forked = FORKED_BEFORE;
        a->guaranteed = a->guaranteed > c->number[i] ? (uint8_t)(a->guaranteed - c->number[i]) : 0;
    }
    if (c->kind == TRUNCATE || c->kind == PRUNE || c->kind == ADOPT) b->guaranteed = 0;
    if (c->kind == ADOPT) next->branch[c->branch[1]].guaranteed = 0;
    if (c->kind == RESERVE) {
        b->guaranteed = c->number[0];
        b->forked = NOT_FORKED;
    }
    for (uint32_t i = 0; i < B; i++)
        if (next->branch[i].guaranteed == 0) next->branch[i].forked = NOT_FORKED;
}

static rest get_rest(const walk *w)
{
    rest r;
    memset(&r, 0, sizeof r); /* compared as bytes, padding included */
    r.s = get_state(w);
    for (uint32_t i = 0; i < w->scope.max_branches; i++) r.generation[i] = w->pool->records[i].generation;
    r.free_record = w->pool->free_record;
    r.high_water = w->pool->high_water_blocks;
    r.version = w->pool->version;
    r.copies = w->pool->copies;
    r.copied_tokens = w->pool->copied_tokens;
    r.operations = w->pool->operations;
    r.next_epoch = w->pool->next_epoch;
    return r;
}

/* ---- the set of states ---- */

static uint64_t hash(const state *s)
{
    const unsigned char *bytes = (const unsigned char *)s;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < sizeof *s; i++) h = (h ^ bytes[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static void grow_set(walk *w)
{
    w->state_capacity = w->state_capacity ? 2 * w->state_capacity : 1024;
    w->table_size = 4 * w->state_capacity;
    w->states = realloc(w->states, w->state_capacity * sizeof *w->states);
    free(w->table);
    w->table = calloc(w->table_size, sizeof *w->table);
    check(w->states && w->table, "the test itself is out of memory");
    for (uint64_t i = 0; i < w->num_states; i++) {
        uint64_t at = hash(&w->states[i]) & (w->table_size - 1);
        while (w->table[at]) at = (at + 1) & (w->table_size - 1);
        w->table[at] = (uint32_t)(i + 1);
    }
}

static void add_state(walk *w, state s)
{
    for (uint32_t i = 1; i < B; i++) { /* branches in a fixed order: their numbering is no part of the state */
        for (uint32_t j = i; j > 0 && memcmp(&s.branch[j], &s.branch[j - 1], sizeof s.branch[j]) > 0; j--) {
            branch_state moved = s.branch[j];
            s.branch[j] = s.branch[j - 1];
            s.branch[j - 1] = moved;
        }
    }
    uint64_t at = hash(&s) & (w->table_size - 1);
    for (; w->table[at]; at = (at + 1) & (w->table_size - 1))
        if (!memcmp(&w->states[w->table[at] - 1], &s, sizeof s)) return;
    if (w->num_states == w->state_capacity) {
        grow_set(w);
        at = hash(&s) & (w->table_size - 1);
        while (w->table[at]) at = (at + 1) & (w->table_size - 1);
    }
    w->states[w->num_states++] = s;
    w->table[at] = (uint32_t)w->num_states;
}

/* ---- the calls of a state ---- */

static void add_call(walk *w, call_kind kind, uint32_t branch, uint32_t number)
{
    check(w->num_calls < MAX_CALLS, "room for the calls of a state");
    w->calls[w->num_calls++] = (call){kind, 1, {(uint8_t)branch}, {(uint8_t)number}};
}

static void add_lists(walk *w, uint32_t first)
{
    uint8_t bt = (uint8_t)w->scope.block_tokens, i = (uint8_t)first;
    for (uint8_t j = 0; j < w->scope.max_branches; j++) {
        if (!w->at->branch[j].live) continue;
        w->calls[w->num_calls++] = (call){APPEND, 2, {i, j}, {1, 1}}; /* i == j: named twice */
        w->calls[w->num_calls++] = (call){APPEND, 2, {i, j}, {1, (uint8_t)(bt + 1)}};
        if (i != j) w->calls[w->num_calls++] = (call){ADOPT, 2, {i, j}, {0}};
        for (uint8_t k = (uint8_t)(j + 1); j > i && k < w->scope.max_branches; k++)
            if (w->at->branch[k].live) w->calls[w->num_calls++] = (call){APPEND, 3, {i, j, k}, {1, 1, 1}};
    }
}

static void list_calls(walk *w)
{
    uint32_t most = w->scope.num_blocks * w->scope.block_tokens;
    w->num_calls = 0;
    add_call(w, CREATE, 0, 0);
    for (uint32_t i = 0; i < w->scope.max_branches; i++) {
        for (uint32_t way = 0; way < 9; way++) add_call(w, STALE, i, way);
        const branch_state *b = &w->at->branch[i];
        if (!b->live) continue;
        for (uint32_t n = 0; n <= b->length + 1u; n++) add_call(w, FORK, i, n);
        for (uint32_t n = 0; n <= b->length + 1u; n++) add_call(w, TRUNCATE, i, n);
        for (uint32_t n = 0; n + b->length <= most + 1; n++) add_call(w, APPEND, i, n);
        add_call(w, PRUNE, i, 0);
        add_lists(w, i);
        if (!w->scope.promises) continue;
        for (uint32_t n = 0; n + b->length <= most; n++) add_call(w, RESERVE, i, n);
    }
    if (w->scope.max_epochs == 0) return;
    add_call(w, BEGIN, 0, 0);
    for (uint32_t e = 0; e <= w->at->num_epochs + 1u; e++) add_call(w, RETIRE, 0, e);
}

/* ---- what a call must do ---- */

static void read_tokens(const walk *w, const state *s, uint32_t branch, uint8_t *token)
{
    const branch_state *b = &s->branch[branch];
    uint32_t bt = w->scope.block_tokens;
    for (uint32_t t = 0; t < b->length; t++) token[t] = (uint8_t)(1 + b->table[t / bt] * bt + t % bt);
}

static void disown(const walk *w, expectation *x, uint32_t branch, uint32_t kept)
{
    const branch_state *b = &w->at->branch[branch];
    for (uint32_t j = blocks_for(w, kept); j < blocks_for(w, b->length); j++) x->owners[b->table[j]]--;
    x->length[branch] = (uint8_t)kept;
}

static uint32_t reserved_by_all(const walk *w)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < B; i++) sum += w->at->branch[i].credit;
    return sum;
}

/* New tokens are symbols 200, 201, ... in list order. */
static void expect_append(const walk *w, const call *c, expectation *x)
{
    uint32_t bt = w->scope.block_tokens, need = 0, reserved = reserved_by_all(w);
    uint8_t symbol = 200;
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t branch = c->branch[i], n = c->number[i];
        const branch_state *b = &w->at->branch[branch];
        for (uint32_t j = 0; j < i; j++)
            if (c->branch[j] == branch) x->status = KV_INVAL;
        if (x->status != KV_OK) return;
        uint32_t blocks = blocks_for(w, b->length + n) - blocks_for(w, b->length);
        if (n > 0 && b->length % bt != 0 && x->owners[b->table[b->length / bt]] > 1) {
            x->owners[b->table[b->length / bt]]--;
            x->num_copies++;
            blocks++;
        }
        uint32_t left = b->credit > blocks ? b->credit - blocks : 0, most = 0;
        if (n < b->promised) most = 1 + blocks_for(w, b->length + b->promised) - blocks_for(w, b->length + n);
        if (n > 0 && left > most) left = most;
        reserved -= b->credit - left;
        need += blocks;
        for (uint32_t t = 0; t < n && b->length + t < T; t++) x->token[branch][b->length + t] = symbol++;
        x->length[branch] = (uint8_t)(b->length + n);
    }
    if (need + reserved > w->at->num_free) x->status = KV_NOBLOCKS;
}

static uint32_t num_live(const walk *w)
{
    uint32_t live = 0;
    for (uint32_t i = 0; i < B; i++) live += w->at->branch[i].live;
    return live;
}

static uint32_t dead_branch(const walk *w)
{
    for (uint32_t i = 0; i < w->scope.max_branches; i++)
        if (!w->at->branch[i].live) return i;
    return 0;
}

static void expect_fork(const walk *w, const call *c, expectation *x)
{
    const branch_state *b = &w->at->branch[c->branch[0]];
    if (num_live(w) == w->scope.max_branches) x->status = KV_NOBRANCH;
    if (c->number[0] > b->length) x->status = KV_RANGE;
    if (x->status != KV_OK) return;
    uint32_t child = dead_branch(w);
    x->live[child] = 1;
    x->length[child] = c->number[0];
    memcpy(x->token[child], x->token[c->branch[0]], c->number[0]);
    for (uint32_t j = 0; j < blocks_for(w, c->number[0]); j++) x->owners[b->table[j]]++;
}

static void expect_reserve(const walk *w, const call *c, expectation *x)
{
    const branch_state *b = &w->at->branch[c->branch[0]];
    uint32_t n = c->number[0], credit = 0;
    if (n > 0) credit = blocks_for(w, b->length + n) - blocks_for(w, b->length) + 1;
    if (n > 0 && b->length % w->scope.block_tokens != 0)
        credit += w->owners[b->table[b->length / w->scope.block_tokens]] > 1;
    if (reserved_by_all(w) - b->credit + credit > w->at->num_free) x->status = KV_NOBLOCKS;
}

static expectation expect(const walk *w, const call *c)
{
    expectation x = {.status = KV_OK};
    uint32_t first = c->branch[0];
    for (uint32_t i = 0; i < w->scope.max_branches; i++) {
        x.live[i] = w->at->branch[i].live;
        x.length[i] = w->at->branch[i].length;
        read_tokens(w, w->at, i, x.token[i]);
    }
    memcpy(x.owners, w->owners, sizeof x.owners);
    switch (c->kind) {
    case CREATE:
        if (num_live(w) == w->scope.max_branches) x.status = KV_NOBRANCH;
        else x.live[dead_branch(w)] = 1;
        break;
    case FORK: expect_fork(w, c, &x); break;
    case APPEND: expect_append(w, c, &x); break;
    case TRUNCATE:
        if (c->number[0] > w->at->branch[first].length) x.status = KV_RANGE;
        else disown(w, &x, first, c->number[0]);
        break;
    case ADOPT:
        disown(w, &x, first, 0);
        x.length[first] = x.length[c->branch[1]];
        memcpy(x.token[first], x.token[c->branch[1]], T);
        x.live[c->branch[1]] = x.length[c->branch[1]] = 0;
        break;
    case PRUNE:
        disown(w, &x, first, 0);
        x.live[first] = 0;
        break;
    case RESERVE: expect_reserve(w, c, &x); break;
    case BEGIN: x.status = w->at->num_epochs == w->scope.max_epochs ? KV_BUSY : KV_OK; break;
    case RETIRE: x.status = c->number[0] == 0 || c->number[0] > w->at->num_epochs ? KV_RANGE : KV_OK; break;
    case STALE: x.status = KV_STALE; break;
    }
    return x;
}

/* ---- the call itself ---- */

static kv_status call_stale(walk *w, const call *c, kv_append *appends)
{
    bool live = w->at->branch[c->branch[0]].live;
    kv_branch bad = kv_handle(c->branch[0], live ? 1 : 2), out;
    uint32_t ones[2] = {1, 1};
    uint32_t live_branch = 0;
    while (live_branch + 1 < w->scope.max_branches && !w->at->branch[live_branch].live) live_branch++;
    kv_branch pair[2] = {kv_handle(live_branch, 2), bad};
    switch (c->number[0]) {
    case 0: return kv_branch_fork(w->pool, bad, &out);
    case 1: return kv_branch_fork_at(w->pool, bad, 0, &out);
    case 2: return kv_branch_append(w->pool, bad, 1, appends);
    case 3: return kv_branch_append_many(w->pool, pair, ones, 2, appends);
    case 4: return kv_branch_truncate(w->pool, bad, 0);
    case 5: return kv_branch_adopt(w->pool, pair[0], bad);
    case 6: return kv_branch_adopt(w->pool, bad, pair[0]);
    case 7: return kv_branch_reserve(w->pool, bad, 0);
    default: return kv_branch_prune(w->pool, bad);
    }
}

static kv_status make_call(walk *w, const call *c, kv_append *appends)
{
    kv_branch handles[3], out;
    uint32_t numbers[3];
    uint64_t epoch;
    for (uint32_t i = 0; i < 3; i++) {
        handles[i] = kv_handle(c->branch[i], 2);
        numbers[i] = c->number[i];
    }
    switch (c->kind) {
    case CREATE: return kv_branch_create(w->pool, &out);
    case FORK:
        if (numbers[0] == w->at->branch[c->branch[0]].length) return kv_branch_fork(w->pool, handles[0], &out);
        return kv_branch_fork_at(w->pool, handles[0], numbers[0], &out);
    case APPEND: return kv_branch_append_many(w->pool, handles, numbers, c->count, appends);
    case TRUNCATE: return kv_branch_truncate(w->pool, handles[0], numbers[0]);
    case ADOPT: return kv_branch_adopt(w->pool, handles[0], handles[1]);
    case PRUNE: return kv_branch_prune(w->pool, handles[0]);
    case RESERVE: return kv_branch_reserve(w->pool, handles[0], numbers[0]);
    case BEGIN: return kv_pool_epoch_begin(w->pool, &epoch);
    case RETIRE: return kv_pool_epoch_retire(w->pool, numbers[0]);
    default: return call_stale(w, c, appends);
    }
}

/* Storage after the call: copies carried out, then the new tokens written where the tables say. */
static void fill_storage(walk *w, const call *c, const kv_append *appends, uint8_t *storage)
{
    uint32_t bt = w->scope.block_tokens;
    uint8_t symbol = 200;
    for (uint32_t i = 0; i < w->scope.num_blocks * bt; i++)
        storage[i] = w->owners[i / bt] > 0 ? (uint8_t)(1 + i) : 0;
    if (c->kind != APPEND) return;
    for (uint32_t i = 0; i < c->count; i++) {
        const kv_copy *copy = &appends[i].copy;
        memcpy(storage + copy->to_block * bt, storage + copy->from_block * bt, copy->num_tokens);
    }
    for (uint32_t i = 0; i < c->count; i++) {
        const kv_record *record = &w->pool->records[c->branch[i]];
        for (uint32_t t = w->at->branch[c->branch[i]].length; t < record->length; t++)
            storage[record->blocks[t / bt] * bt + t % bt] = symbol++;
    }
}

#define require(condition, what) \
    do { \
        if (!(condition)) fail_call(w, c, what, #condition); \
    } while (0)

static void fail_call(const walk *w, const call *c, const char *what, const char *condition)
{
    char text[600];
    int used = 0;
    for (uint32_t i = 0; i < w->scope.max_branches; i++) {
        const branch_state *b = &w->at->branch[i];
        used += snprintf(text + used, sizeof text - (size_t)used, " %s%u:", b->live ? "branch" : "dead", i);
        for (uint32_t j = 0; j < blocks_for(w, b->length); j++)
            used += snprintf(text + used, sizeof text - (size_t)used, " %u", b->table[j]);
        used += snprintf(text + used, sizeof text - (size_t)used, " length %u;", b->length);
    }
    test_fail(__FILE__, __LINE__, condition, "transition %llu: %s %u.%u %u.%u %u.%u:%s; %s",
              (unsigned long long)w->count.transitions, call_name[c->kind], c->branch[0], c->number[0], c->branch[1],
              c->number[1], c->branch[2], c->number[2], text, what);
}

static bool is_free(const kv_pool *pool, uint32_t block)
{
    for (uint32_t i = 0; i < pool->num_free; i++)
        if (pool->free_list[kv_ring_index(pool, pool->free_head, i)] == block) return true;
    return false;
}

static void check_outcome(walk *w, const call *c, const expectation *x, const kv_append *appends)
{
    uint8_t storage[N * T];
    fill_storage(w, c, appends, storage);
    for (uint32_t i = 0; i < w->scope.max_branches; i++) {
        const kv_record *record = &w->pool->records[i];
        require(record->live == x->live[i], "the branch lives or not");
        require(record->length == x->length[i], "its length");
        require(record->num_blocks == blocks_for(w, record->length), "its table's length");
        for (uint32_t t = 0; t < record->length; t++) {
            uint32_t bt = w->scope.block_tokens, block = record->blocks[t / bt];
            require(block < w->scope.num_blocks, "a block of the pool");
            require(storage[block * bt + t % bt] == x->token[i][t], "every token reads back");
        }
    }
    require(w->pool->copies == x->num_copies, "as many copies as needed");
    uint32_t released = 0;
    for (uint32_t i = 0; i < w->scope.num_blocks; i++) released += w->owners[i] > 0 && x->owners[i] == 0;
    if (w->at->num_epochs > 0) released = 0; /* a kernel may still read them */
    for (uint32_t e = 0; c->kind == RETIRE && e < c->number[0]; e++) released += w->at->epoch_blocks[e];
    bool frees = c->kind == APPEND || c->kind == TRUNCATE || c->kind == ADOPT || c->kind == PRUNE || c->kind == RETIRE;
    require(!frees || w->pool->num_released == released, "as many released blocks as may be overwritten");
    for (uint32_t i = 0; frees && i < released; i++)
        require(is_free(w->pool, w->pool->released[i]), "a released block is free");
    w->count.copies += x->num_copies;
    w->count.released += released;
}

/* Promised tokens are not refused for want of blocks, and promises of others are no reason to refuse them. */
static void check_guarantee(const walk *w, const call *c, kv_status status)
{
    bool guaranteed = c->kind == APPEND;
    for (uint32_t i = 0; i < c->count; i++) guaranteed &= c->number[i] <= w->at->branch[c->branch[i]].guaranteed;
    require(!guaranteed || status != KV_NOBLOCKS, "promised tokens were refused");
}

static void try_call(walk *w, const call *c)
{
    kv_append appends[3];
    expectation x = expect(w, c);
    put_state(w, w->at);
    rest before = get_rest(w);
    kv_status status = make_call(w, c, appends);
    w->count.transitions++;
    check_guarantee(w, c, status);
    require(status == x.status, kv_status_string(status));
    char message[160];
    require(kv_pool_check(w->pool, message, sizeof message) == KV_OK, message);
    if (status == KV_OK) {
        check_outcome(w, c, &x, appends);
        state next = get_state(w);
        carry_guarantees(w, c, &next);
        add_state(w, next);
        return;
    }
    rest after = get_rest(w);
    require(!memcmp(&before, &after, sizeof before), "a refused call leaves no trace");
    w->count.refused_blocks += status == KV_NOBLOCKS;
    w->count.refused_branches += status == KV_NOBRANCH;
    w->count.refused_range += status == KV_RANGE;
    w->count.refused_stale += status == KV_STALE;
}

/* ---- the walk ---- */

/* How many states with numbered branches this one stands for: orders of its branches, equal ones alike. */
static uint64_t num_orders(const walk *w, const state *s)
{
    uint64_t orders = 1, alike = 1;
    for (uint32_t i = 1; i < w->scope.max_branches; i++) {
        alike = memcmp(&s->branch[i], &s->branch[i - 1], sizeof s->branch[i]) == 0 ? alike + 1 : 1;
        orders = orders * (i + 1) / alike;
    }
    return orders;
}

/* A pool whose records all exist, with tables for the longest branch: put_state never allocates. */
static kv_pool *new_pool(const states_scope *scope)
{
    kv_pool_config config = {.num_blocks = scope->num_blocks, .block_tokens = scope->block_tokens,
                             .max_branches = scope->max_branches, .max_epochs = scope->max_epochs};
    kv_pool *pool;
    check(kv_pool_create(&pool, &config) == KV_OK, "a small pool");
    kv_branch branches[B];
    kv_append append;
    for (uint32_t i = 0; i < scope->max_branches; i++) {
        check(kv_branch_create(pool, &branches[i]) == KV_OK, "a branch");
        kv_status status = kv_branch_append(pool, branches[i], scope->num_blocks * scope->block_tokens, &append);
        check(status == KV_OK, "a table for all blocks");
        check(kv_branch_truncate(pool, branches[i], 0) == KV_OK, "an empty table");
    }
    for (uint32_t i = 0; i < scope->max_branches; i++) kv_branch_prune(pool, branches[i]);
    return pool;
}

states_count states_walk(const states_scope *scope)
{
    bool fits = scope->num_blocks <= N && scope->max_branches <= B && scope->max_epochs <= E;
    check(fits && scope->num_blocks * scope->block_tokens <= T, "at most %d blocks, %d branches, %d tokens", N, B, T);
    walk w = {.scope = *scope, .pool = new_pool(scope)};
    grow_set(&w);
    add_state(&w, get_state(&w));
    for (uint64_t i = 0; i < w.num_states; i++) {
        state at = w.states[i]; /* a copy: the array moves */
        w.count.numbered_states += num_orders(&w, &at);
        w.at = &at;
        memset(w.owners, 0, sizeof w.owners);
        for (uint32_t j = 0; j < scope->max_branches; j++)
            for (uint32_t k = 0; k < blocks_for(&w, at.branch[j].length); k++) w.owners[at.branch[j].table[k]]++;
        list_calls(&w);
        for (uint32_t j = 0; j < w.num_calls; j++) try_call(&w, &w.calls[j]);
    }
    w.count.states = w.num_states;
    kv_pool_destroy(w.pool, true, NULL);
    free(w.states);
    free(w.table);
    return w.count;
}
