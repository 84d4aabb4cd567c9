/* Claim: if any allocation of a cache fails, the call returns TREE_NOMEM, the cache is as before, nothing leaks, and
 * the call succeeds when there is memory again. */
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "eviction_cache.h"
#include "eviction_cases.h"
#include "failing_malloc.h"
#include "test.h"

static int64_t allocations_left = INT64_MAX;
static bool allocation_fails(void) { return allocations_left-- == 0; }
enum { HEADS = 4, KV_HEADS = 2, DIM = 5, OUT = HEADS * DIM, BUDGET = 40, LENGTH = 200, PROMPT = 90 };

/* All outputs of a life, in which every call is tried again after each of its allocations has failed once. */
static uint32_t live(float out[][OUT], const eviction_stream *s, const eviction_config *config, bool prompt, bool fail)
{
    uint32_t num_failures = 0;
    eviction_cache *cache = NULL, *child = NULL;
    tree_status status;
#define TRY(call, untouched) \
    for (int64_t n = 0;; n++) { \
        allocations_left = fail ? n : INT64_MAX; \
        status = call; \
        allocations_left = INT64_MAX; \
        if (status != TREE_NOMEM) \
            break; \
        num_failures++; \
        check(untouched, "a failed call leaves a trace"); \
    } \
    check(status == TREE_OK, "%s", tree_status_string(status))

    eviction_step step = {77, 0, NULL};
    uint32_t t = 0;
    TRY(eviction_cache_create(&cache, config), cache == NULL);
    if (prompt) {
        TRY(eviction_cache_prompt(cache, s->queries, s->keys, s->values, PROMPT, &step), step.num_tokens == 77);
        t = PROMPT;
    }
    for (; t < LENGTH; t++) {
        eviction_view view;
        eviction_cache_view(cache, &view);
        uint32_t kept = view.tokens->num_tokens;
        step.num_tokens = 77;
        TRY(eviction_cache_step(cache, out[t], stream_query(s, t), stream_key(s, t), stream_value(s, t), &step),
            view.tokens->num_tokens == kept && step.num_tokens == 77);
        if (t == LENGTH / 2) { /* the child lives on */
            TRY(eviction_cache_fork(&child, cache), child == NULL);
            eviction_cache_destroy(cache);
            cache = child;
        }
    }
    eviction_cache_destroy(cache);
    return num_failures;
}

static void run(const void *argument)
{
    const char *name = *(const char *const *)argument;
    static float with[LENGTH][OUT], without[LENGTH][OUT];
    eviction_stream s = eviction_stream_random(HEADS, KV_HEADS, DIM, LENGTH, 1);
    for (int i = 0; i < 4; i++) {
        eviction_config config = {.num_heads = HEADS, .num_kv_heads = KV_HEADS, .head_dim = DIM, .budget = BUDGET,
                                  .form = (eviction_form)(i % 2), .policy = eviction_policy_from_name(name)};
        uint32_t num_failures = live(with, &s, &config, i >= 2, true);
        check(live(without, &s, &config, i >= 2, false) == 0, "failures without a refusal");
        check(num_failures >= 3 * 14, "only %u allocations failed", num_failures);
        uint32_t first = i >= 2 ? PROMPT : 0;
        check_same_bits(with[first], without[first], (uint64_t)(LENGTH - first) * OUT, "after failures");
        test_note("%u failures", num_failures);
    }
    eviction_stream_destroy(&s);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"longflow", "h2o", "rkv", "full"};
    test_begin(argc, argv, "if any allocation fails, a cache is as before");
    for (int i = 0; i < 4; i++)
        test_add(run, &names[i], "%s", names[i]);
    return test_end();
}
