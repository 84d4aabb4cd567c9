/* Claim: whichever allocation fails, reading weights, making a transformer, a step and a copy of a branch return
 * MODEL_NOMEM and leak nothing; the branches have their tokens as before, and the step that is done again gives the
 * same bits. */
#define _DEFAULT_SOURCE /* mkstemp, P_tmpdir */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "failing_malloc.h"
#include "test.h"
#include "transformer_forest_model.h"

static uint64_t fail_at, injected; /* fail_at: that many allocations from now, one fails; 0: none */

static bool allocation_fails(void)
{
    if (fail_at == 0 || --fail_at > 0)
        return false;
    injected++;
    return true;
}

void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return allocation_fails() ? NULL : __real_aligned_alloc(alignment, bytes);
}

enum { V = 26, LENGTH = 6 };

static transformer_config usual_config(tree_strategy strategy)
{
    return (transformer_config){.max_branches = 3, .plan.strategy = strategy, .isa = TREE_ISA_PORTABLE,
                                .num_threads = 1, .keeps_norms = true};
}

static void run_weights(const void *argument)
{
    bool from_file = *(const bool *)argument;
    char path[] = P_tmpdir "/test_weights_XXXXXX";
    weights_file file = weights_file_random(&forest_shape);
    int descriptor = mkstemp(path);
    check(descriptor >= 0 && write(descriptor, file.bytes, file.num_bytes) == (ssize_t)file.num_bytes &&
              close(descriptor) == 0, "a temporary file");
    uint32_t failed = 0;
    model_status status = MODEL_NOMEM;
    for (uint64_t at = 1; status == MODEL_NOMEM; at++) {
        model_weights *w = NULL;
        char message[100] = "";
        fail_at = at;
        status = from_file ? model_weights_load(&w, path, message, sizeof message)
                           : model_weights_parse(&w, file.bytes, file.num_bytes, message, sizeof message);
        fail_at = 0;
        check((status == MODEL_OK) == (w != NULL), "%s", model_status_string(status));
        check(status == MODEL_OK || strstr(message, "out of memory for "), "'%s'", message);
        failed += status == MODEL_NOMEM;
        model_weights_destroy(w);
    }
    check(status == MODEL_OK && failed == (from_file ? 5u : 3u), "%u failures", failed);
    unlink(path);
    weights_file_destroy(&file);
}

/* A pool with one branch of LENGTH tokens, forked twice: a step copies a shared block twice. In a pool that evicts,
 * each branch has MORE tokens of its own and two holes among them: a step leaves the tables as they are. */
enum { MORE = 3 };

typedef struct bench {
    kv_pool *pool;
    transformer *t;
    kv_branch branches[3];
} bench;

static void set_up(bench *b, const model_weights *weights, tree_strategy strategy, bool evicts)
{
    kv_pool_config pool = {.num_blocks = 40, .block_tokens = 4, .evicts = evicts};
    transformer_config config = usual_config(strategy);
    static const uint32_t holes[2] = {LENGTH, LENGTH + 1};
    float logits[3 * V];
    check(kv_pool_create(&b->pool, &pool) == KV_OK, "pool");
    check(transformer_create(&b->t, weights, b->pool, &config) == MODEL_OK, "transformer");
    check(kv_branch_create(b->pool, &b->branches[0]) == KV_OK, "root");
    for (uint32_t i = 0; i < LENGTH; i++)
        check(transformer_step(b->t, b->branches, &(uint32_t){i}, 1, logits) == MODEL_OK, "step");
    check(kv_branch_fork(b->pool, b->branches[0], &b->branches[1]) == KV_OK &&
              kv_branch_fork(b->pool, b->branches[0], &b->branches[2]) == KV_OK, "forks");
    for (uint32_t i = 0; evicts && i < MORE; i++)
        check(transformer_step(b->t, b->branches, (uint32_t[]){i, 4, 5}, 3, logits) == MODEL_OK, "step");
    for (uint32_t i = 0; evicts && i < 3; i++)
        check(kv_branch_evict(b->pool, b->branches[i], KV_SCOPE_PRIVATE, holes, 2) == KV_OK, "evict");
}

static void tear_down(bench *b)
{
    transformer_destroy(b->t);
    kv_pool_destroy(b->pool, true, NULL);
}

static void run_step(const void *argument)
{
    bool evicts = *(const bool *)argument;
    static const uint32_t tokens[3] = {1, 2, 3};
    weights_file file = weights_file_random(&forest_shape);
    model_weights *weights;
    check(model_weights_parse(&weights, file.bytes, file.num_bytes, NULL, 0) == MODEL_OK, "weights");
    uint32_t total = 0;
    for (int strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        bench b;
        float expected[3 * V], logits[3 * V];
        uint32_t failed = 0;
        set_up(&b, weights, (tree_strategy)strategy, evicts);
        check(transformer_step(b.t, b.branches, tokens, 3, expected) == MODEL_OK, "expected");
        tear_down(&b);
        model_status status = MODEL_NOMEM;
        for (uint64_t at = 1; status == MODEL_NOMEM; at++) {
            set_up(&b, weights, (tree_strategy)strategy, evicts);
            fail_at = at;
            status = transformer_step(b.t, b.branches, tokens, 3, logits);
            fail_at = 0;
            check(status == MODEL_OK || status == MODEL_NOMEM, "%s", model_status_string(status));
            for (int i = 0; status == MODEL_NOMEM && i < 3; i++) {
                kv_table table;
                kv_keep keep = {.next_position = LENGTH + MORE, .num_kept = LENGTH + MORE - 2};
                check(kv_branch_table(b.pool, b.branches[i], &table) == KV_OK, "alive");
                check(!evicts || kv_branch_keep(b.pool, b.branches[i], &keep) == KV_OK, "alive");
                check(evicts || table.length == LENGTH, "length %u", table.length);
                check(keep.next_position == LENGTH + MORE && keep.num_kept == LENGTH + MORE - 2, "kept %u",
                      keep.num_kept);
            }
            failed += status == MODEL_NOMEM;
            if (status == MODEL_NOMEM)
                check(transformer_step(b.t, b.branches, tokens, 3, logits) == MODEL_OK, "again");
            check(!memcmp(logits, expected, sizeof logits), "failure %llu: the same bits",
                  (unsigned long long)at);
            check(kv_pool_check(b.pool, NULL, 0) == KV_OK, "the pool's invariants");
            tear_down(&b);
        }
        total += failed;
        check(evicts || failed >= 4, "%u failures", failed); /* tree, plan, their scratch, workspace */
    }
    check(total >= 20, "%u failures", total); /* with eviction, plans that have all masks already are only rewritten */
    model_weights_destroy(weights);
    weights_file_destroy(&file);
}

static void run_create(const void *argument)
{
    (void)argument;
    weights_file file = weights_file_random(&forest_shape);
    model_weights *weights;
    check(model_weights_parse(&weights, file.bytes, file.num_bytes, NULL, 0) == MODEL_OK, "weights");
    bench b;
    set_up(&b, weights, TREE_NODE, false);
    transformer_config config = usual_config(TREE_NODE);
    uint32_t failed = 0;
    model_status status = MODEL_NOMEM;
    for (uint64_t at = 1; status == MODEL_NOMEM; at++) {
        transformer *t = NULL;
        fail_at = at;
        status = transformer_create(&t, weights, b.pool, &config);
        fail_at = 0;
        check((status == MODEL_OK) == (t != NULL), "%s", model_status_string(status));
        failed += status == MODEL_NOMEM;
        transformer_destroy(t);
    }
    check(status == MODEL_OK && failed >= 10, "%u failures", failed);

    failed = 0;
    status = MODEL_NOMEM;
    for (uint64_t at = 1; status == MODEL_NOMEM; at++) {
        kv_branch copy = 0;
        kv_pool_stats before, after;
        kv_pool_get_stats(b.pool, &before);
        fail_at = at;
        status = transformer_copy_branch(b.t, b.branches[1], &copy);
        fail_at = 0;
        kv_pool_get_stats(b.pool, &after);
        check(status == MODEL_OK || (after.used_blocks == before.used_blocks && after.live_branches == 3), "as before");
        failed += status == MODEL_NOMEM;
    }
    check(status == MODEL_OK && failed >= 1, "%u failures of a copy", failed);
    tear_down(&b);
    model_weights_destroy(weights);
    weights_file_destroy(&file);
}

int main(int argc, char **argv)
{
    static const bool from_memory = false, from_file = true, keeps_all = false, evicts = true;
    test_begin(argc, argv, "every failing allocation is reported, and nothing is lost");
    test_add(run_weights, &from_memory, "weights_from_memory");
    test_add(run_weights, &from_file, "weights_from_a_file");
    test_add(run_create, NULL, "create_and_copy");
    test_add(run_step, &keeps_all, "step");
    test_add(run_step, &evicts, "step_evicting");
    return test_end();
}
