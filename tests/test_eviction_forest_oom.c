/* Claim: whichever allocation fails, a call of the forest returns KV_NOMEM and has changed nothing, nothing leaks, and
 * the same call succeeds when memory is back. */
#include <stdlib.h>
#include <string.h>

#include "eviction_forest.h"
#include "failing_malloc.h"
#include "test.h"

static uint64_t fail_at, num_calls; /* the fail_at-th call fails, counted from 1; 0: none */

static bool allocation_fails(void)
{
    return ++num_calls == fail_at;
}

enum { NUM_HEADS = 2, NUM_KV_HEADS = 1, HEAD_DIM = 4, QUERY_FLOATS = NUM_HEADS * HEAD_DIM, MAX_NEW = 40 };

typedef struct oom_state {
    eviction_forest *forest;
    kv_branch a, b, made;
    float query[2 * QUERY_FLOATS], key[2 * MAX_NEW * HEAD_DIM], value[2 * MAX_NEW * HEAD_DIM];
} oom_state;

static kv_status create_forest(oom_state *s)
{
    eviction_forest_config config = {.pool = {.num_blocks = 64, .block_tokens = 4, .max_branches = 8},
                                     .num_heads = NUM_HEADS,
                                     .num_kv_heads = NUM_KV_HEADS,
                                     .head_dim = HEAD_DIM,
                                     .policy = eviction_policy_from_name("snapkv"),
                                     .scope = KV_SCOPE_VOTE,
                                     .budget = 6,
                                     .compacts = true};
    return eviction_forest_create(&s->forest, &config);
}

static void set_up(oom_state *s)
{
    *s = (oom_state){.a = 0};
    for (size_t i = 0; i < sizeof s->key / sizeof s->key[0]; i++) {
        s->key[i] = (float)test_normal();
        s->value[i] = (float)test_normal();
    }
    for (uint32_t i = 0; i < 2 * QUERY_FLOATS; i++) s->query[i] = (float)test_normal();
    check(create_forest(s) == KV_OK && eviction_forest_branch(s->forest, &s->a) == KV_OK &&
              eviction_forest_append(s->forest, s->a, 9, s->key, s->value) == KV_OK &&
              eviction_forest_fork(s->forest, s->a, &s->b) == KV_OK,
          "the set-up has memory");
}

static kv_status step_by(oom_state *s, uint32_t num_new, eviction_forest_result *results)
{
    kv_branch family[2] = {s->a, s->b};
    uint32_t num_tokens[2] = {num_new, num_new};
    float out[2 * QUERY_FLOATS];
    return eviction_forest_step(s->forest, family, 2, num_tokens, out, s->query, s->key, s->value, results);
}

static kv_status call_create(oom_state *s)
{
    eviction_forest *held = s->forest;
    kv_status status = create_forest(s);
    if (status == KV_OK) eviction_forest_destroy(s->forest);
    s->forest = held;
    return status;
}

static kv_status call_branch(oom_state *s)
{
    return eviction_forest_branch(s->forest, &s->made);
}

static kv_status call_fork(oom_state *s)
{
    return eviction_forest_fork(s->forest, s->a, &s->made);
}

static kv_status call_append(oom_state *s)
{
    return eviction_forest_append(s->forest, s->b, MAX_NEW, s->key, s->value);
}

static kv_status call_step(oom_state *s)
{
    eviction_forest_result results[2];
    kv_status status = step_by(s, MAX_NEW, results);
    check(status != KV_OK || (results[0].num_victims > 0 && results[0].status == TREE_OK), "a step evicts");
    return status;
}

static kv_status call_tokens(oom_state *s)
{
    uint32_t positions[64];
    return eviction_forest_tokens(s->forest, s->a, NULL, positions);
}

static const struct named_call {
    const char *name;
    kv_status (*call)(oom_state *s);
} calls[] = {{"create", call_create}, {"branch", call_branch}, {"fork", call_fork},
             {"append", call_append}, {"step", call_step},     {"tokens", call_tokens}};

static size_t dump_of(const oom_state *s, char *text, size_t capacity)
{
    eviction_forest_parts parts;
    eviction_forest_get(s->forest, &parts);
    return kv_pool_dump(parts.pool, text, capacity);
}

static void run_call(const void *argument)
{
    const struct named_call *one = argument;
    static char before[16384], after[16384];
    uint64_t k = 1;
    for (kv_status status = KV_NOMEM; status != KV_OK; k++) {
        oom_state s;
        test_reseed();
        set_up(&s);
        check(dump_of(&s, before, sizeof before) <= sizeof before, "room for the dump");
        num_calls = 0;
        fail_at = k;
        status = one->call(&s);
        fail_at = 0;
        check(status == KV_NOMEM || (status == KV_OK && num_calls < k), "allocation %u fails: %s", (unsigned)k,
              kv_status_string(status));
        if (status == KV_NOMEM) {
            dump_of(&s, after, sizeof after);
            check(strcmp(before, after) == 0, "allocation %u fails: nothing has changed", (unsigned)k);
            check(one->call(&s) == KV_OK, "allocation %u fails: the call succeeds when memory is back", (unsigned)k);
        }
        char message[200] = "";
        eviction_forest_parts parts;
        eviction_forest_get(s.forest, &parts);
        check(kv_pool_check(parts.pool, message, sizeof message) == KV_OK, "%s", message);
        eviction_forest_destroy(s.forest);
    }
    test_note("%u allocations", (unsigned)(k - 2));
    check(k > 2, "the call allocates");
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "whichever allocation fails, a call of the forest returns KV_NOMEM and changes nothing");
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) test_add(run_call, &calls[i], "%s", calls[i].name);
    return test_end();
}
