/* Claim: under every policy, each branch of a forest has the outputs and victims of an eviction_cache that is given the
 * same tokens and queries and forks where it does, bit for bit. A cache has no shared blocks and no siblings. */
#include <math.h>
#include <string.h>

#include "eviction_cache.h"
#include "eviction_forest.h"
#include "test.h"

enum {
    NUM_HEADS = 4,
    NUM_KV_HEADS = 2,
    HEAD_DIM = 3,
    QUERY_FLOATS = NUM_HEADS * HEAD_DIM,
    TOKEN_FLOATS = NUM_KV_HEADS * HEAD_DIM,
    MAX_ALIVE = 5,
    NUM_STEPS = 300
};

typedef struct flat_case {
    const eviction_policy *policy;
    kv_scope scope; /* private: the branches do not fork, as a cache knows nothing of inherited tokens */
    uint32_t budget, num_sinks, num_recent, block_tokens;
    float scale;
    bool compacts;
} flat_case;

typedef struct twin {
    kv_branch branch;
    eviction_cache *cache;
} twin;

static twin alive[MAX_ALIVE];
static uint32_t num_alive;

static eviction_forest *open_forest(const flat_case *c)
{
    eviction_forest_config config = {.pool = {.num_blocks = 1200 / c->block_tokens,
                                              .block_tokens = c->block_tokens,
                                              .max_branches = MAX_ALIVE,
                                              .order = KV_ORDER_SHUFFLE},
                                     .num_heads = NUM_HEADS,
                                     .num_kv_heads = NUM_KV_HEADS,
                                     .head_dim = HEAD_DIM,
                                     .policy = c->policy,
                                     .scope = c->scope,
                                     .budget = c->budget,
                                     .num_sinks = c->num_sinks,
                                     .num_recent = c->num_recent,
                                     .compacts = c->compacts,
                                     .scale = c->scale,
                                     .seed = 7};
    eviction_forest *forest;
    kv_status status = eviction_forest_create(&forest, &config);
    check(status == KV_OK, "%s", kv_status_string(status));
    return forest;
}

static void add_branch(eviction_forest *forest, const flat_case *c)
{
    eviction_config config = {.num_heads = NUM_HEADS,
                              .num_kv_heads = NUM_KV_HEADS,
                              .head_dim = HEAD_DIM,
                              .budget = c->budget,
                              .num_sinks = c->num_sinks,
                              .num_recent = c->num_recent,
                              .form = num_alive % 2 ? EVICTION_DEFERRED : EVICTION_EAGER,
                              .policy = c->policy,
                              .prompt_policy = c->policy,
                              .scale = c->scale,
                              .seed = 7};
    twin *t = &alive[num_alive++];
    tree_status status = eviction_cache_create(&t->cache, &config);
    check(status == TREE_OK, "%s", tree_status_string(status));
    check(eviction_forest_branch(forest, &t->branch) == KV_OK, "branch");
}

static void fork_branch(eviction_forest *forest, const twin *parent)
{
    twin *t = &alive[num_alive++];
    check(eviction_forest_fork(forest, parent->branch, &t->branch) == KV_OK, "fork");
    check(eviction_cache_fork(&t->cache, parent->cache) == TREE_OK, "fork of the cache");
}

static void prune_branch(eviction_forest *forest, twin *t)
{
    check(eviction_forest_prune(forest, t->branch) == KV_OK, "prune");
    eviction_cache_destroy(t->cache);
    *t = alive[--num_alive];
}

/* What makes a step not finite, once in forty: NaN or infinity in the query, the key or the value. */
static void spoil(float *query, float *key, float *value)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    float x = bad[test_below(3)];
    uint32_t what = test_below(120);
    if (what == 0) query[test_below(QUERY_FLOATS)] = x;
    if (what == 1) key[test_below(TOKEN_FLOATS)] = x;
    if (what == 2) value[test_below(TOKEN_FLOATS)] = x;
}

static void fill(float *numbers, uint32_t count, bool coarse, float scale)
{
    for (uint32_t i = 0; i < count; i++)
        numbers[i] = coarse ? (float)test_below(2) : scale * (float)test_normal();
}

/* Returns the number of victims. Coarse inputs make scores tie. */
static uint32_t compare_step(const twin *t, const eviction_forest_result *result, const float *out, const float *query,
                             const float *key, const float *value)
{
    float expected[QUERY_FLOATS];
    eviction_step step;
    tree_status status = eviction_cache_step(t->cache, expected, query, key, value, &step);
    check(result->status == status, "%s, of the cache %s", tree_status_string(result->status),
          tree_status_string(status));
    if (status != TREE_OK) {
        check(result->num_victims == 0, "no victim of a step that is refused");
        return 0;
    }
    check(result->num_tokens == step.num_tokens, "%u tokens, not %u", result->num_tokens, step.num_tokens);
    check(memcmp(out, expected, sizeof expected) == 0, "the output has the same bits");
    check(result->num_victims == step.num_victims, "%u victims, not %u", result->num_victims, step.num_victims);
    for (uint32_t v = 0; v < step.num_victims; v++)
        check(result->victims[v] == step.victims[v], "victim %u, not %u", result->victims[v], step.victims[v]);
    return step.num_victims;
}

static uint32_t random_step(eviction_forest *forest)
{
    kv_branch branches[MAX_ALIVE] = {0};
    const twin *twins[MAX_ALIVE];
    float out[MAX_ALIVE][QUERY_FLOATS], query[MAX_ALIVE][QUERY_FLOATS] = {{0}};
    float key[MAX_ALIVE][TOKEN_FLOATS] = {{0}}, value[MAX_ALIVE][TOKEN_FLOATS] = {{0}};
    eviction_forest_result results[MAX_ALIVE];
    uint32_t count = 0, num_victims = 0;
    for (uint32_t i = 0; i < num_alive; i++) {
        if (test_below(4) == 0) continue;
        bool coarse = test_below(3) == 0;
        fill(query[count], QUERY_FLOATS, coarse, 2);
        fill(key[count], TOKEN_FLOATS, coarse, 1);
        fill(value[count], TOKEN_FLOATS, coarse, 1);
        spoil(query[count], key[count], value[count]);
        twins[count] = &alive[i];
        branches[count++] = alive[i].branch;
    }
    kv_status status =
        eviction_forest_step(forest, branches, count, NULL, out[0], query[0], key[0], value[0], results);
    check(status == KV_OK, "%s", kv_status_string(status));
    for (uint32_t i = 0; i < count; i++)
        num_victims += compare_step(twins[i], &results[i], out[i], query[i], key[i], value[i]);
    return num_victims;
}

static void run_case(const void *argument)
{
    const flat_case *c = argument;
    eviction_forest *forest = open_forest(c);
    uint32_t num_victims = 0, num_forks = 0;
    num_alive = 0;
    for (uint32_t i = 0; i < NUM_STEPS; i++) {
        if (num_alive == 0) add_branch(forest, c);
        uint32_t draw = test_below(40);
        if (draw == 0 && num_alive < MAX_ALIVE)
            add_branch(forest, c);
        else if (draw < 3 && num_alive < MAX_ALIVE && c->scope == KV_SCOPE_MASK && ++num_forks)
            fork_branch(forest, &alive[test_below(num_alive)]);
        else if (draw == 3 && num_alive > 1)
            prune_branch(forest, &alive[1 + test_below(num_alive - 1)]);
        num_victims += random_step(forest);
    }
    check((num_victims > 50) == (c->policy->interval > 0), "%u victims", num_victims);
    check((num_forks > 3) == (c->scope == KV_SCOPE_MASK), "%u forks", num_forks);
    while (num_alive > 0) prune_branch(forest, &alive[0]);
    eviction_forest_destroy(forest);
}

int main(int argc, char **argv)
{
    static const flat_case variants[] = {
        {.budget = 9, .block_tokens = 4},
        {.budget = 1, .block_tokens = 2, .scale = .25f},
        {.budget = 24, .num_sinks = 1, .num_recent = 2, .block_tokens = 16, .scale = 1.5f, .compacts = true},
    };
    enum { NUM_VARIANTS = sizeof variants / sizeof variants[0] };
    static flat_case cases[256];
    uint32_t num_cases = 0;
    test_begin(argc, argv, "a branch of a forest has the outputs and victims of an eviction_cache, bit for bit");
    for (uint32_t p = 0; p < num_eviction_policies; p++) {
        for (int scope = KV_SCOPE_PRIVATE; scope <= KV_SCOPE_MASK; scope++) {
            for (uint32_t v = 0; v < NUM_VARIANTS; v++) {
                flat_case *c = &cases[num_cases++];
                *c = variants[v];
                c->policy = eviction_policies[p];
                c->scope = (kv_scope)scope;
                test_add(run_case, c, "%s_%s_budget_%u", c->policy->name, kv_scope_name[scope], c->budget);
            }
        }
    }
    return test_end();
}
