/* Claim: whatever is forked, appended, truncated, adopted and pruned, in whatever order, every branch reads back the
 * tokens that were written to it, every call costs what it must and no more, and in the end every block is free. */
#include "pool_model.h"
#include "test.h"

typedef struct random_case {
    const char *name;
    uint32_t num_blocks, block_tokens, max_branches, max_epochs, steps;
    kv_order order;
} random_case;

static const random_case random_cases[] = {
    {"one_block", 1, 2, 2, 1, 3000, KV_ORDER_LIFO},
    {"one_branch", 6, 4, 1, 2, 3000, KV_ORDER_LIFO},
    {"tokens_1", 24, 1, 6, 2, 3000, KV_ORDER_LIFO},
    {"tokens_1_fifo", 24, 1, 6, 2, 3000, KV_ORDER_FIFO},
    {"tokens_2", 12, 2, 4, 3, 4000, KV_ORDER_LIFO},
    {"tokens_2_fifo", 12, 2, 4, 3, 4000, KV_ORDER_FIFO},
    {"tokens_2_shuffle", 12, 2, 4, 3, 4000, KV_ORDER_SHUFFLE},
    {"tokens_4", 16, 4, 6, 2, 4000, KV_ORDER_LIFO},
    {"tokens_4_fifo", 16, 4, 6, 1, 4000, KV_ORDER_FIFO},
    {"tokens_4_shuffle", 16, 4, 6, 8, 4000, KV_ORDER_SHUFFLE},
    {"tokens_8", 32, 8, 12, 2, 3000, KV_ORDER_LIFO},
    {"tokens_16", 64, 16, 24, 4, 2000, KV_ORDER_LIFO},
    {"tokens_16_fifo", 64, 16, 24, 4, 2000, KV_ORDER_FIFO},
    {"tokens_16_shuffle", 64, 16, 24, 4, 2000, KV_ORDER_SHUFFLE},
    {"tokens_32", 40, 32, 12, 2, 1500, KV_ORDER_LIFO},
    {"tokens_64", 24, 64, 8, 2, 1500, KV_ORDER_SHUFFLE},
    {"tokens_128", 16, 128, 8, 2, 1000, KV_ORDER_FIFO},
    {"tokens_256", 12, 256, 6, 2, 1000, KV_ORDER_LIFO},
    {"crowd_of_branches", 20, 4, 60, 2, 2000, KV_ORDER_LIFO},
    {"roomy", 200, 16, 12, 8, 1000, KV_ORDER_LIFO},
};

static void run_case(const random_case *c, bool evicts)
{
    kv_pool_config config = {.num_blocks = c->num_blocks, .block_tokens = c->block_tokens,
                             .max_branches = c->max_branches, .max_epochs = c->max_epochs, .order = c->order,
                             .seed = test_random(), .evicts = evicts};
    pool_model *m = model_new(&config, true);
    for (uint32_t i = 0; i < c->steps; i++) model_step(m);
    model_coverage seen = m->coverage;
    check(seen.appends > 0 && seen.prunes > 0 && seen.refused_stale > 0, "the run reached the plain calls");
    bool can_copy = c->num_blocks > 1 && c->block_tokens > 1 && c->max_branches > 1;
    check(!can_copy || seen.copies > 0, "something was copied");
    test_note("%u calls, %llu tokens written, %llu copies, %llu refused for want of blocks", c->steps,
              (unsigned long long)seen.tokens_written, (unsigned long long)seen.copies,
              (unsigned long long)seen.refused_blocks);
    model_end(m);
}

static void run_random(const void *argument)
{
    run_case(argument, false);
}

static void run_evicting(const void *argument)
{
    run_case(argument, true);
}

/* The two cheapest ways to go wrong that only a small pool shows: it is full nearly all the time. */
static void run_many_seeds(const void *argument)
{
    kv_order order = *(const kv_order *)argument;
    uint64_t refused = 0, copies = 0;
    for (uint32_t i = 0; i < 150; i++) {
        kv_pool_config config = {.num_blocks = 1 + test_below(8), .block_tokens = 1u << test_below(4),
                                 .max_branches = 1 + test_below(5), .max_epochs = 1 + test_below(3), .order = order,
                                 .seed = test_random()};
        pool_model *m = model_new(&config, true);
        for (uint32_t j = 0; j < 150; j++) model_step(m);
        refused += m->coverage.refused_blocks;
        copies += m->coverage.copies;
        model_end(m);
    }
    check(refused > 1000 && copies > 100, "%llu refused, %llu copies", (unsigned long long)refused,
          (unsigned long long)copies);
}

int main(int argc, char **argv)
{
    static const kv_order orders[] = {KV_ORDER_LIFO, KV_ORDER_FIFO, KV_ORDER_SHUFFLE};
    static const char *const order_names[] = {"lifo", "fifo", "shuffle"};
    test_begin(argc, argv, "random calls against private copies of every branch");
    for (size_t i = 0; i < sizeof random_cases / sizeof random_cases[0]; i++)
        test_add(run_random, &random_cases[i], "random_%s", random_cases[i].name);
    for (size_t i = 0; i < sizeof random_cases / sizeof random_cases[0]; i++)
        test_add(run_evicting, &random_cases[i], "evicting_%s", random_cases[i].name);
    for (int i = 0; i < 3; i++) test_add(run_many_seeds, &orders[i], "tiny_pools_%s", order_names[i]);
    return test_end();
}
