/* The walk of pool_keep_states_model.h: breadth first over a hash set of states. */
#include "pool_keep_states_model.h"

#include <stdlib.h>
#include <string.h>

#include "pool_keep_model.h"
#include "test.h"

enum { B = 3, N = 4, T = 16, KEY_BYTES = 160 };

/* What model and pool are restored from. */
typedef struct saved {
    char *text; /* of the pool */
    uint32_t table[B][N], slots[T], waiting[N];
    model_token kept[B][T];
    model_branch branch[B];
    pool_model model;
    uint64_t held_by[N];
} saved;

typedef struct state {
    uint8_t key[KEY_BYTES];
    saved from;
} state;

typedef struct walk {
    keep_scope scope;
    pool_model *m;
    state *states;
    uint32_t *table; /* hash table of state indices + 1 */
    uint64_t num_states, state_capacity, table_size, at;
    keep_count count;
} walk;

/* ---- save and restore ---- */

static char *dump_of(const kv_pool *pool)
{
    size_t bytes = kv_pool_dump(pool, NULL, 0);
    char *text = malloc(bytes);
    check(text && kv_pool_dump(pool, text, bytes) == bytes, "a dump of %zu bytes", bytes);
    return text;
}

static saved save(const walk *w)
{
    const pool_model *m = w->m;
    uint32_t num_slots = w->scope.num_blocks * w->scope.block_tokens;
    saved s = {.text = dump_of(m->pool), .model = *m};
    for (uint32_t i = 0; i < w->scope.max_branches; i++) {
        s.branch[i] = m->branches[i];
        memcpy(s.table[i], m->branches[i].table, w->scope.num_blocks * sizeof(uint32_t));
        memcpy(s.kept[i], m->branches[i].kept, num_slots * sizeof(model_token));
    }
    memcpy(s.slots, m->slots, num_slots * sizeof *m->slots);
    memcpy(s.waiting, m->waiting, w->scope.num_blocks * sizeof *m->waiting);
    memcpy(s.held_by, m->held_by, w->scope.num_blocks * sizeof *m->held_by);
    return s;
}

/* The scalars of the model come back with the struct; its arrays stay where they are. */
static void restore(walk *w, const saved *s)
{
    pool_model *m = w->m;
    uint32_t num_slots = w->scope.num_blocks * w->scope.block_tokens;
    pool_model now = *m;
    kv_pool_destroy(m->pool, true, NULL);
    *m = s->model;
    m->before = now.before;
    m->after = now.after;
    m->dump_capacity = now.dump_capacity;
    m->coverage = now.coverage;
    m->expected.failures = 0;
    check(kv_pool_load(&m->pool, s->text, strlen(s->text), NULL) == KV_OK, "a dump can be loaded:\n%s", s->text);
    for (uint32_t i = 0; i < w->scope.max_branches; i++) {
        m->branches[i] = s->branch[i];
        memcpy(m->branches[i].table, s->table[i], w->scope.num_blocks * sizeof(uint32_t));
        memcpy(m->branches[i].kept, s->kept[i], num_slots * sizeof(model_token));
    }
    memcpy(m->slots, s->slots, num_slots * sizeof *m->slots);
    memcpy(m->waiting, s->waiting, w->scope.num_blocks * sizeof *m->waiting);
    memcpy(m->held_by, s->held_by, w->scope.num_blocks * sizeof *m->held_by);
    model_recount(m);
}

/* ---- keys ---- */

/* In ascending order of positions, each kept place gets 1 + the number of the place before it in its branches: the same
 * for all histories that leave the same orders. */
static void number_places(const walk *w, uint8_t *number)
{
    const pool_model *m = w->m;
    memset(number, 0, T);
    for (bool changed = true; changed;) { /* no more rounds than tokens of a branch */
        changed = false;
        for (uint32_t i = 0; i < w->scope.max_branches; i++) {
            const model_branch *b = &m->branches[i];
            uint8_t before = 0;
            for (uint32_t j = 0; b->live && j < b->num_kept; j++) {
                uint8_t *own = &number[b->kept[j].block * w->scope.block_tokens + b->kept[j].slot];
                if (*own <= before) {
                    *own = (uint8_t)(before + 1);
                    changed = true;
                }
                before = *own;
            }
        }
    }
}

static uint8_t renamed(uint8_t *names, uint8_t *num_names, uint32_t block)
{
    if (names[block] == 0) names[block] = ++*num_names;
    return names[block];
}

static void put_branch(const walk *w, const model_branch *b, const uint8_t *number, uint8_t *names, uint8_t *num_names,
                       uint8_t **key)
{
    uint32_t inherited = 0, next = b->num_kept > 0 ? b->kept[b->num_kept - 1].position + 1 : 0;
    uint8_t kept[T] = {0};
    for (uint32_t i = 0; i < b->num_kept; i++) {
        inherited += b->kept[i].position < b->first_private;
        kept[model_slot_of(w->m, b, i)] = number[b->kept[i].block * w->scope.block_tokens + b->kept[i].slot];
    }
    const uint8_t head[] = {1,
                            (uint8_t)b->length,
                            (uint8_t)inherited,
                            b->next_position > next,
                            (uint8_t)b->promised,
                            (uint8_t)b->credit,
                            (uint8_t)b->guaranteed,
                            (uint8_t)(b->guaranteed > 0 ? b->forked_now + 2 * b->forked_once : 0)};
    memcpy(*key, head, sizeof head);
    *key += sizeof head;
    for (uint32_t j = 0; j < b->num_blocks; j++) *(*key)++ = renamed(names, num_names, b->table[j]);
    memcpy(*key, kept, b->length);
    *key += b->length;
}

static void key_of_order(const walk *w, const uint8_t *order, const uint8_t *number, uint8_t *key)
{
    const pool_model *m = w->m;
    uint8_t names[N] = {0}, num_names = 0, *at = key;
    memset(key, 0, KEY_BYTES);
    for (uint32_t i = 0; i < w->scope.max_branches; i++)
        if (m->branches[order[i]].live)
            put_branch(w, &m->branches[order[i]], number, names, &num_names, &at);
        else
            *at++ = 2;
    *at++ = (uint8_t)(m->next_epoch - m->first_epoch);
    for (uint32_t i = 0; i < m->num_waiting; i++) *at++ = (uint8_t)(m->held_by[m->waiting[i]] - m->first_epoch + 1);
    check(at - key <= KEY_BYTES, "room for the key");
}

static void make_key(const walk *w, uint8_t *key)
{
    static const uint8_t orders[6][B] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    uint8_t number[T], other[KEY_BYTES];
    bool first = true;
    number_places(w, number);
    for (int i = 0; i < 6; i++) {
        bool fits = true;
        for (uint32_t j = 0; j < w->scope.max_branches; j++) fits &= orders[i][j] < w->scope.max_branches;
        if (!fits) continue;
        key_of_order(w, orders[i], number, other);
        if (first || memcmp(other, key, KEY_BYTES) < 0) memcpy(key, other, KEY_BYTES);
        first = false;
    }
}

/* ---- the set of states ---- */

static uint64_t hash(const uint8_t *key)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (int i = 0; i < KEY_BYTES; i++) h = (h ^ key[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static uint64_t find_key(const walk *w, const uint8_t *key)
{
    uint64_t at = hash(key) & (w->table_size - 1);
    for (; w->table[at]; at = (at + 1) & (w->table_size - 1))
        if (!memcmp(w->states[w->table[at] - 1].key, key, KEY_BYTES)) break;
    return at;
}

static void grow_set(walk *w)
{
    w->state_capacity = w->state_capacity ? 2 * w->state_capacity : 1024;
    w->table_size = 4 * w->state_capacity;
    w->states = realloc(w->states, w->state_capacity * sizeof *w->states);
    free(w->table);
    w->table = calloc(w->table_size, sizeof *w->table);
    check(w->states && w->table, "the test itself is out of memory");
    for (uint64_t i = 0; i < w->num_states; i++) w->table[find_key(w, w->states[i].key)] = (uint32_t)(i + 1);
}

static void add_state(walk *w)
{
    uint8_t key[KEY_BYTES];
    make_key(w, key);
    if (w->table[find_key(w, key)]) return;
    if (w->num_states == w->state_capacity) grow_set(w);
    state *added = &w->states[w->num_states++];
    memcpy(added->key, key, KEY_BYTES);
    added->from = save(w);
    w->table[find_key(w, key)] = (uint32_t)w->num_states;
}

/* ---- every call of a state ---- */

static pool_model *begin(walk *w)
{
    saved from = w->states[w->at].from; /* a copy: the array moves */
    restore(w, &from);
    w->count.transitions++;
    return w->m;
}

static void try_appends(walk *w, int branch)
{
    const saved *from = &w->states[w->at].from;
    uint32_t bt = w->scope.block_tokens, most = w->scope.num_blocks * bt + 1 - from->branch[branch].length, count = 0;
    uint32_t ones[B] = {1, 1, 1};
    bool live[B] = {false};
    int all[B];
    for (uint32_t i = 0; i < w->scope.max_branches; i++) { /* a list of all, each order that is a rotation */
        live[i] = from->branch[i].live;
        int rotated = (int)((i + (uint32_t)branch) % w->scope.max_branches);
        if (from->branch[rotated].live) all[count++] = rotated;
    }
    for (uint32_t n = 0; n <= most; n++) {
        model_append(begin(w), branch, n);
        add_state(w);
    }
    for (int other = 0; other < (int)w->scope.max_branches; other++) {
        if (!live[other]) continue;
        const int pair[2] = {branch, other};
        model_append_many(begin(w), pair, (uint32_t[]){1, 1}, 2);
        add_state(w);
        model_append_many(begin(w), pair, (uint32_t[]){1, bt + 1}, 2);
        add_state(w);
        if (other != branch) model_adopt(begin(w), branch, other);
        add_state(w);
    }
    model_append_many(begin(w), all, ones, count);
    add_state(w);
}

static void try_lengths(walk *w, int branch)
{
    uint32_t next = w->m->branches[branch].next_position;
    int child;
    for (uint32_t n = 0; n <= next + 1; n++) {
        model_fork_at(begin(w), branch, n, &child);
        add_state(w);
        model_truncate(begin(w), branch, n);
        add_state(w);
        if (!w->scope.promises || n > w->scope.num_blocks * w->scope.block_tokens) continue;
        model_reserve(begin(w), branch, n);
        add_state(w);
    }
    model_prune(begin(w), branch);
    add_state(w);
}

/* One slot, kept or not, in both scopes; each pair in scope mask; each block; and slots that are refused. */
static void try_evictions(walk *w, int branch)
{
    uint32_t length = w->m->branches[branch].length, bt = w->scope.block_tokens;
    for (uint32_t i = 0; i <= length; i++) {
        model_evict(begin(w), branch, KV_SCOPE_PRIVATE, &i, 1);
        add_state(w);
        model_evict(begin(w), branch, KV_SCOPE_MASK, &i, 1);
        add_state(w);
        for (uint32_t j = i; j < length; j++) {
            const uint32_t pair[2] = {i, j};
            model_evict(begin(w), branch, KV_SCOPE_MASK, pair, 2);
            add_state(w);
        }
    }
    for (uint32_t first = 0; first < length; first += bt) {
        uint32_t slots[T], count = 0;
        begin(w);
        for (uint32_t i = 0; i < w->m->branches[branch].num_kept; i++) {
            uint32_t slot = model_slot_of(w->m, &w->m->branches[branch], i);
            if (slot / bt == first / bt) slots[count++] = slot;
        }
        model_evict(w->m, branch, KV_SCOPE_MASK, slots, count);
        add_state(w);
    }
}

/* With all branches that list the block, and with one of them missing. */
static void try_votes(walk *w)
{
    for (uint32_t block = 0; block <= w->scope.num_blocks; block++) {
        for (uint32_t slot = 0; slot <= w->scope.block_tokens; slot++) {
            int voters[B];
            uint32_t count = 0;
            begin(w);
            for (uint32_t i = 0; i < w->scope.max_branches; i++) {
                const model_branch *b = &w->m->branches[i];
                for (uint32_t j = 0; b->live && j < b->num_blocks; j++)
                    if (b->table[j] == block) voters[count++] = (int)i;
            }
            model_evict_shared(w->m, voters, count, block, slot);
            add_state(w);
            if (count > 0) model_evict_shared(begin(w), voters, count - 1, block, slot);
        }
    }
}

static void try_compactions(walk *w, int branch)
{
    uint32_t num_kept = w->m->branches[branch].num_kept, num_blocks = w->m->branches[branch].num_blocks;
    model_thaw(begin(w), branch);
    add_state(w);
    model_compact(begin(w), branch, num_kept);
    add_state(w);
    model_compact(begin(w), branch, 0);
    add_state(w);
    for (uint32_t first = 0; first <= num_blocks + 1; first++) {
        model_compact_shared(begin(w), branch, first, num_kept);
        add_state(w);
    }
}

static void try_epochs(walk *w)
{
    uint64_t first = w->m->first_epoch, next = w->m->next_epoch;
    model_epoch_begin(begin(w));
    add_state(w);
    for (uint64_t epoch = first - 1; epoch <= next; epoch++) {
        model_epoch_retire(begin(w), epoch);
        add_state(w);
    }
}

static void try_all(walk *w)
{
    int created;
    model_create(begin(w), &created);
    add_state(w);
    for (int i = 0; i < (int)w->scope.max_branches; i++) {
        begin(w);
        if (!w->m->branches[i].live) continue;
        try_appends(w, i);
        begin(w);
        try_lengths(w, i);
        begin(w);
        try_evictions(w, i);
        begin(w);
        try_compactions(w, i);
    }
    try_votes(w);
    begin(w);
    if (w->scope.max_epochs > 0) try_epochs(w);
}

keep_count keep_states_walk(const keep_scope *scope)
{
    check(scope->num_blocks <= N && scope->num_blocks * scope->block_tokens <= T && scope->max_branches <= B, "small");
    kv_pool_config config = {.num_blocks = scope->num_blocks,
                             .block_tokens = scope->block_tokens,
                             .max_branches = scope->max_branches,
                             .max_epochs = scope->max_epochs,
                             .evicts = true};
    walk w = {.scope = *scope, .m = model_new(&config, true)};
    grow_set(&w);
    add_state(&w);
    for (; w.at < w.num_states; w.at++) try_all(&w);
    w.at = 0;
    begin(&w);
    model_coverage seen = w.m->coverage;
    model_end(w.m);
    w.count.states = w.num_states;
    w.count.holes_taken = seen.holes_taken;
    w.count.blocks_died = seen.blocks_died;
    w.count.dead_blocks_shared = seen.dead_blocks_shared;
    w.count.tails_left = seen.tails_left;
    w.count.tails_taken_over = seen.tails_taken_over;
    w.count.compactions = seen.compactions;
    w.count.compactions_shared = seen.compactions_shared;
    w.count.refused_blocks = seen.refused_blocks;
    for (uint64_t i = 0; i < w.num_states; i++) free(w.states[i].from.text);
    free(w.states);
    free(w.table);
    return w.count;
}
