/* Claim: in the scopes private and mask, the outputs and victims of each branch of a forest equal, bit for bit, a solo
 * replay of its own history: siblings, and their forks, evictions and deaths, are invisible. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eviction_forest.h"
#include "test.h"

enum {
    NUM_HEADS = 4,
    NUM_KV_HEADS = 2,
    HEAD_DIM = 4,
    QUERY_FLOATS = NUM_HEADS * HEAD_DIM,
    TOKEN_FLOATS = NUM_KV_HEADS * HEAD_DIM,
    MAX_ALIVE = 6,
    MAX_NEW = 4,
    MAX_EVENTS = 400,
    MAX_POSITIONS = 600,
    NUM_BLOCKS = 400
};

typedef struct solo_case {
    const char *policy;
    kv_scope scope;
    uint32_t budget, num_sinks, num_recent, block_tokens, num_operations;
    uint32_t old_age; /* events of a branch that may die */
    bool compacts;
} solo_case;

/* ---- histories ---- */

typedef enum event_kind { EVENT_STEP, EVENT_APPEND, EVENT_FORK, EVENT_TRUNCATE } event_kind;

/* One operation on a branch: its input, and the outcome in the forest. */
typedef struct event {
    event_kind kind;
    uint32_t num_new; /* TRUNCATE: the length */
    float key[MAX_NEW * TOKEN_FLOATS], value[MAX_NEW * TOKEN_FLOATS], query[QUERY_FLOATS];
    tree_status status;
    uint32_t num_tokens, num_victims, victims[MAX_POSITIONS];
    float out[QUERY_FLOATS];
} event;

typedef struct history {
    kv_branch branch;
    uint32_t num_events, length;
    event *events[MAX_EVENTS]; /* a child shares those of its parent */
} history;

/* All events of a case, to be freed at its end. */
static event *all_events[8 * MAX_EVENTS];
static uint32_t num_all_events;

static event *add_event(history *h, event_kind kind, uint32_t num_new)
{
    check(num_all_events < sizeof all_events / sizeof all_events[0] && h->num_events < MAX_EVENTS, "room for an event");
    event *e = calloc(1, sizeof *e);
    check(e, "memory");
    e->kind = kind;
    e->num_new = num_new;
    all_events[num_all_events++] = h->events[h->num_events++] = e;
    return e;
}

static void free_events(void)
{
    while (num_all_events > 0) free(all_events[--num_all_events]);
}

/* Whole numbers now and then, so that scores tie. NaN: one key in fifty events. */
static void fill_event(event *e)
{
    bool coarse = test_below(3) == 0;
    for (uint32_t i = 0; i < e->num_new * TOKEN_FLOATS; i++) {
        e->key[i] = coarse ? (float)test_below(2) : (float)test_normal();
        e->value[i] = coarse ? (float)test_below(2) : (float)test_normal();
    }
    for (uint32_t i = 0; i < QUERY_FLOATS; i++) e->query[i] = coarse ? (float)test_below(2) : 2 * (float)test_normal();
    if (e->kind == EVENT_STEP && e->num_new > 0 && test_below(50) == 0)
        e->key[test_below(e->num_new * TOKEN_FLOATS)] = NAN;
}

static eviction_forest *open_forest(const solo_case *c, uint32_t num_blocks)
{
    eviction_forest_config config = {.pool = {.num_blocks = num_blocks,
                                              .block_tokens = c->block_tokens,
                                              .max_branches = MAX_ALIVE + 1,
                                              .order = KV_ORDER_SHUFFLE},
                                     .num_heads = NUM_HEADS,
                                     .num_kv_heads = NUM_KV_HEADS,
                                     .head_dim = HEAD_DIM,
                                     .policy = eviction_policy_from_name(c->policy),
                                     .scope = c->scope,
                                     .budget = c->budget,
                                     .num_sinks = c->num_sinks,
                                     .num_recent = c->num_recent,
                                     .compacts = c->compacts,
                                     .seed = 7};
    eviction_forest *forest;
    kv_status status = eviction_forest_create(&forest, &config);
    check(status == KV_OK, "%s", kv_status_string(status));
    return forest;
}

static void check_pool(const eviction_forest *forest)
{
    char message[200] = "";
    eviction_forest_parts parts;
    eviction_forest_get(forest, &parts);
    kv_status status = kv_pool_check(parts.pool, message, sizeof message);
    check(status == KV_OK, "%s", message);
}

/* ---- the forest ---- */

static history alive[MAX_ALIVE];
static uint32_t num_alive;

static void record_outcome(event *e, const eviction_forest_result *result, const float *out)
{
    e->status = result->status;
    e->num_tokens = result->num_tokens;
    e->num_victims = result->num_victims;
    check(result->num_victims <= MAX_POSITIONS, "room for victims");
    memcpy(e->victims, result->victims, result->num_victims * sizeof *e->victims);
    memcpy(e->out, out, sizeof e->out);
}

/* A random part of the branches steps, in a random order. */
static void random_step(eviction_forest *forest)
{
    kv_branch branches[MAX_ALIVE];
    uint32_t num_new[MAX_ALIVE], count = 0, num_tokens = 0, first = test_below(num_alive);
    event *events[MAX_ALIVE];
    history *histories[MAX_ALIVE];
    float out[MAX_ALIVE * QUERY_FLOATS], query[MAX_ALIVE * QUERY_FLOATS];
    float key[MAX_ALIVE * MAX_NEW * TOKEN_FLOATS], value[MAX_ALIVE * MAX_NEW * TOKEN_FLOATS];
    eviction_forest_result results[MAX_ALIVE];
    for (uint32_t i = 0; i < num_alive; i++) {
        history *h = &alive[(first + i) % num_alive];
        if (test_below(3) == 0) continue;
        event *e = add_event(h, EVENT_STEP, test_below(8) > 0 ? 1 : test_below(MAX_NEW + 1));
        fill_event(e);
        memcpy(key + num_tokens * TOKEN_FLOATS, e->key, e->num_new * TOKEN_FLOATS * sizeof *key);
        memcpy(value + num_tokens * TOKEN_FLOATS, e->value, e->num_new * TOKEN_FLOATS * sizeof *value);
        memcpy(query + count * QUERY_FLOATS, e->query, sizeof e->query);
        num_tokens += e->num_new;
        branches[count] = h->branch;
        num_new[count] = e->num_new;
        histories[count] = h;
        events[count++] = e;
    }
    kv_status status = eviction_forest_step(forest, branches, count, num_new, out, query, key, value, results);
    check(status == KV_OK, "%s", kv_status_string(status));
    for (uint32_t i = 0; i < count; i++) {
        record_outcome(events[i], &results[i], out + i * QUERY_FLOATS);
        histories[i]->length += results[i].status == TREE_OK ? num_new[i] : 0;
    }
}

static void random_append(eviction_forest *forest, history *h)
{
    event *e = add_event(h, EVENT_APPEND, 1 + test_below(MAX_NEW));
    fill_event(e);
    check(eviction_forest_append(forest, h->branch, e->num_new, e->key, e->value) == KV_OK, "append");
    h->length += e->num_new;
}

static void random_fork(eviction_forest *forest, history *h)
{
    if (num_alive == MAX_ALIVE) return;
    add_event(h, EVENT_FORK, 0);
    history *child = &alive[num_alive++];
    *child = *h;
    check(eviction_forest_fork(forest, h->branch, &child->branch) == KV_OK, "fork");
}

static void random_truncate(eviction_forest *forest, history *h)
{
    uint32_t back = test_below(4) == 0 ? test_below(h->length + 1) : test_below(3);
    uint32_t length = h->length > back ? h->length - back : 0;
    add_event(h, EVENT_TRUNCATE, length);
    check(eviction_forest_truncate(forest, h->branch, length) == KV_OK, "truncate to %u", length);
    h->length = length;
}

/* ---- the solo replay ---- */

static void replay_step(eviction_forest *solo, kv_branch branch, const event *e, uint32_t index)
{
    float out[QUERY_FLOATS];
    eviction_forest_result result;
    kv_status status = eviction_forest_step(solo, &branch, 1, &e->num_new, out, e->query, e->key, e->value, &result);
    check(status == KV_OK, "event %u: %s", index, kv_status_string(status));
    check(result.status == e->status, "event %u: %s, in the forest %s", index, tree_status_string(result.status),
          tree_status_string(e->status));
    check(result.num_tokens == e->num_tokens, "event %u: %u tokens, in the forest %u", index, result.num_tokens,
          e->num_tokens);
    check(result.num_victims == e->num_victims, "event %u: %u victims, in the forest %u", index, result.num_victims,
          e->num_victims);
    for (uint32_t v = 0; v < e->num_victims; v++)
        check(result.victims[v] == e->victims[v], "event %u: victim %u, in the forest %u", index, result.victims[v],
              e->victims[v]);
    if (e->status == TREE_OK) check(memcmp(out, e->out, sizeof out) == 0, "event %u: the same bits", index);
}

/* A fork changes which tokens are the branch's own, so the replay forks too, and prunes at once. */
static void replay_solo(const solo_case *c, const history *h)
{
    eviction_forest *solo = open_forest(c, NUM_BLOCKS);
    kv_branch branch, child;
    check(eviction_forest_branch(solo, &branch) == KV_OK, "branch");
    for (uint32_t i = 0; i < h->num_events; i++) {
        const event *e = h->events[i];
        if (e->kind == EVENT_STEP)
            replay_step(solo, branch, e, i);
        else if (e->kind == EVENT_APPEND)
            check(eviction_forest_append(solo, branch, e->num_new, e->key, e->value) == KV_OK, "append");
        else if (e->kind == EVENT_TRUNCATE)
            check(eviction_forest_truncate(solo, branch, e->num_new) == KV_OK, "truncate");
        else
            check(eviction_forest_fork(solo, branch, &child) == KV_OK && eviction_forest_prune(solo, child) == KV_OK,
                  "fork and prune");
    }
    eviction_forest_destroy(solo);
}

static void random_prune(const solo_case *c, eviction_forest *forest, history *h)
{
    replay_solo(c, h);
    check(eviction_forest_prune(forest, h->branch) == KV_OK, "prune");
    *h = alive[--num_alive];
}

static void run_case(const void *argument)
{
    const solo_case *c = argument;
    eviction_forest *forest = open_forest(c, NUM_BLOCKS);
    num_alive = 0;
    free_events();
    for (uint32_t i = 0; i < c->num_operations; i++) {
        if (num_alive == 0) {
            alive[num_alive++] = (history){.length = 0};
            check(eviction_forest_branch(forest, &alive[0].branch) == KV_OK, "branch");
        }
        history *h = &alive[test_below(num_alive)];
        uint32_t draw = test_below(100);
        if (draw < 70)
            random_step(forest);
        else if (draw < 76)
            random_append(forest, h);
        else if (draw < 80)
            random_fork(forest, h);
        else if (draw < 86)
            random_truncate(forest, h);
        else if (draw < 94 && h->num_events >= c->old_age) /* so that not all branches inherit most of their tokens */
            random_prune(c, forest, h);
        check_pool(forest);
    }
    eviction_forest_parts parts;
    eviction_forest_get(forest, &parts);
    test_note("%llu queries, %llu victims, %llu above budget", (unsigned long long)parts.counts.queries,
              (unsigned long long)parts.counts.evicted_tokens, (unsigned long long)parts.counts.above_budget);
    check(parts.counts.evicted_tokens > 0 || strcmp(c->policy, "full") == 0, "there were victims");
    while (num_alive > 0) random_prune(c, forest, &alive[0]);
    kv_pool_stats stats;
    kv_pool_get_stats(parts.pool, &stats);
    check(stats.free_blocks == NUM_BLOCKS && stats.kept_tokens == 0, "no block is left");
    eviction_forest_destroy(forest);
    free_events();
}

int main(int argc, char **argv)
{
    static const char *const policies[] = {"longflow", "h2o", "sink_window", "rkv", "snapkv", "random"};
    static solo_case cases[64];
    uint32_t num_cases = 0;
    test_begin(argc, argv, "outputs and victims of each branch equal a solo replay of its history, bit for bit");
    for (size_t p = 0; p < sizeof policies / sizeof policies[0]; p++) {
        for (int scope = KV_SCOPE_PRIVATE; scope <= KV_SCOPE_MASK; scope++) {
            for (uint32_t variant = 0; variant < 3; variant++) {
                static const uint32_t budgets[] = {9, 1, 24}, blocks[] = {4, 2, 16};
                solo_case *c = &cases[num_cases++];
                *c = (solo_case){.policy = policies[p],
                                 .scope = (kv_scope)scope,
                                 .budget = budgets[variant],
                                 .num_sinks = variant == 2,
                                 .num_recent = variant == 2 ? 2 : 0,
                                 .block_tokens = blocks[variant],
                                 .num_operations = 300,
                                 .old_age = 30,
                                 .compacts = variant == 2};
                if (eviction_policy_from_name(c->policy)->interval > 1) {
                    c->num_operations = 700;
                    c->old_age = 250;
                }
                test_add(run_case, c, "%s_%s_budget_%u", policies[p], kv_scope_name[scope], c->budget);
            }
        }
    }
    return test_end();
}
