/* Claim: on random forests the replay, its events and the pool agree step by step with private lists of tokens. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"
#include "test.h"
#include "workload_model.h"

typedef struct random_case {
    const char *name;
    uint32_t block_tokens, max_branches, max_tokens, num_steps, num_seeds;
    kv_order order;
} random_case;

static const random_case random_cases[] = {
    {"one_token_blocks", 1, 12, 9, 40, 25, KV_ORDER_LIFO},     {"two_token_blocks", 2, 12, 9, 40, 25, KV_ORDER_LIFO},
    {"blocks_of_4_fifo", 4, 20, 9, 60, 25, KV_ORDER_FIFO},     {"blocks_of_16", 16, 20, 40, 60, 25, KV_ORDER_LIFO},
    {"blocks_of_16_shuffled", 16, 20, 40, 60, 25, KV_ORDER_SHUFFLE}, {"one_branch", 4, 1, 9, 60, 25, KV_ORDER_LIFO},
    {"blocks_of_256", 256, 8, 300, 30, 10, KV_ORDER_LIFO},
};

/* Which token lies in which slot, as the events tell; TRACE_NONE: released. */
typedef struct slots {
    uint32_t block_tokens, num_blocks;
    uint32_t *token; /* [num_blocks][block_tokens] */
    uint64_t num_copies, num_tokens;
} slots;

static void on_copy(void *context, const kv_copy *copy)
{
    slots *s = context;
    check(copy->from_block < s->num_blocks && copy->to_block < s->num_blocks, "copied blocks are the pool's");
    memcpy(s->token + (size_t)copy->to_block * s->block_tokens, s->token + (size_t)copy->from_block * s->block_tokens,
           copy->num_tokens * sizeof *s->token);
    s->num_copies++;
}

static void on_token(void *context, uint32_t branch, uint32_t position, uint32_t block, uint32_t slot, uint32_t token)
{
    slots *s = context;
    (void)branch;
    check(block < s->num_blocks && slot == position % s->block_tokens, "slot %u of position %u", slot, position);
    check(token == s->num_tokens, "token ids count up: %u", token);
    s->token[(size_t)block * s->block_tokens + slot] = token;
    s->num_tokens++;
}

static void on_released(void *context, const uint32_t *blocks, uint32_t num_blocks, uint32_t first_slot)
{
    slots *s = context;
    for (uint32_t i = 0; i < num_blocks; i++)
        for (uint32_t slot = first_slot; slot < s->block_tokens; slot++)
            s->token[(size_t)blocks[i] * s->block_tokens + slot] = TRACE_NONE;
}

static void check_branch(const slots *s, const kv_pool *pool, kv_branch handle, const model_branch *model)
{
    kv_table table;
    check(kv_branch_table(pool, handle, &table) == KV_OK, "the branch lives");
    check(table.length == model->length, "length %u, got %u", model->length, table.length);
    for (uint32_t t = 0; t < table.length; t++) {
        uint32_t token = s->token[(size_t)table.blocks[t / s->block_tokens] * s->block_tokens + t % s->block_tokens];
        check(token == model->tokens[t], "position %u holds token %u, got %u", t, model->tokens[t], token);
    }
}

static void check_step(const slots *s, const kv_pool *pool, const replay *r, const replay_result *step,
                       const workload_model *model)
{
    check(step->num_queries == model->num_queries, "%u queries", model->num_queries);
    for (uint32_t i = 0; i < step->num_queries; i++) {
        check(step->query_names[i] == model->queries[i], "query %u is branch %u", i, model->queries[i]);
        check(step->queries[i] == replay_handle(r, step->query_names[i]), "handle of query %u", i);
    }
    for (uint32_t name = 0; name < model->score->num_branches; name++) {
        check((replay_handle(r, name) != 0) == model->branches[name].alive, "branch %u lives or not", name);
        if (model->branches[name].alive)
            check_branch(s, pool, replay_handle(r, name), &model->branches[name]);
    }
    kv_pool_stats stats;
    char message[200] = "";
    kv_pool_get_stats(pool, &stats);
    uint64_t unique = workload_model_unique(model);
    check(stats.physical_tokens >= unique, "%" PRIu64 " unique tokens in slots", unique);
    check(s->block_tokens > 1 || stats.physical_tokens == unique, "U %" PRIu64, unique);
    check(kv_pool_check(pool, message, sizeof message) == KV_OK, "%s", message);
}

static void run_seed(const random_case *c, uint64_t seed)
{
    workload_random_config config = {seed, c->num_steps, c->max_branches, c->max_tokens};
    workload *w = NULL;
    kv_pool *pool = NULL;
    replay *r = NULL;
    replay_totals measured, counted = {0};
    check(workload_random(&w, &config) == KV_OK, "built");
    check(replay_measure(&measured, w, c->block_tokens) == KV_OK, "measured");
    slots s = {.block_tokens = c->block_tokens, .num_blocks = measured.peak_blocks ? measured.peak_blocks : 1};
    s.token = malloc((size_t)s.num_blocks * s.block_tokens * sizeof *s.token);
    kv_pool_config pool_config = {.num_blocks = s.num_blocks, .block_tokens = c->block_tokens,
                                  .max_branches = w->max_live_branches, .order = c->order, .seed = seed};
    replay_events events = {&s, NULL, on_copy, on_token, on_released};
    check(kv_pool_create(&pool, &pool_config) == KV_OK, "a pool of exactly the measured size");
    check(replay_create(&r, w, pool, &events) == KV_OK, "replay");
    workload_model model;
    workload_model_begin(&model, w);
    replay_result step;
    uint64_t path = 0;
    for (;;) {
        kv_status status = replay_step(r, &step);
        check(status == KV_OK, "step %u, status %d at operation %u", step.iteration, status, replay_position(r));
        check(workload_model_step(&model) == !step.done, "as many steps");
        replay_count(&counted, pool, &step);
        if (step.done)
            break;
        path += workload_model_path(&model);
        check_step(&s, pool, r, &step, &model);
    }
    check(replay_step(r, &step) == KV_OK && step.done, "done, at every further call");
    check(step.iteration == w->num_steps, "the iterations are those of the steps, got %u", step.iteration);
    check(counted.path_tokens_sum == path, "S %" PRIu64, path);
    check(counted.copies == s.num_copies && counted.leaked_blocks == 0, "every copy reported, no block leaked");
    check(counted.unique_tokens_sum == measured.unique_tokens_sum && counted.peak_blocks == measured.peak_blocks &&
          counted.copied_tokens == measured.copied_tokens, "measured beforehand");
    workload_model_end(&model);
    replay_destroy(r);
    check(kv_pool_destroy(pool, false, NULL) == KV_OK, "nothing is left in the pool");
    workload_destroy(w);
    free(s.token);
}

static void run_random(const void *argument)
{
    const random_case *c = argument;
    for (uint32_t i = 0; i < c->num_seeds; i++)
        run_seed(c, test_random());
    test_note("seeds=%u steps=%u", c->num_seeds, c->num_steps);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "on random forests the replay agrees step by step with private lists of tokens");
    for (size_t i = 0; i < sizeof random_cases / sizeof random_cases[0]; i++)
        test_add(run_random, &random_cases[i], "%s", random_cases[i].name);
    return test_end();
}
