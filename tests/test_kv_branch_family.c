/* Claim: a family of branches, forked in any shape and pruned in any order, reads back its tokens to the last and
 * leaves every block free. */
#include <stddef.h>

#include "pool_model.h"
#include "test.h"

enum { MAX_FAMILY = 6 };

typedef enum family_shape { STAR, CHAIN, BINARY, NUM_SHAPES } family_shape;
static const char *const shape_name[] = {"star", "chain", "binary"};

typedef struct family_case {
    family_shape shape;
    uint32_t num_branches, block_tokens, prefix;
} family_case;

static pool_model *family_pool(uint32_t block_tokens)
{
    kv_pool_config config = {.num_blocks = 48, .block_tokens = block_tokens, .max_branches = MAX_FAMILY};
    return model_new(&config, true);
}

/* Branch i forks off its parent, then all append i + 1 tokens of their own. */
static void grow_family(pool_model *m, const family_case *c, int *branches)
{
    check(model_create(m, &branches[0]) == KV_OK, "a root");
    check(model_append(m, branches[0], c->prefix) == KV_OK, "a prefix");
    for (uint32_t i = 1; i < c->num_branches; i++) {
        uint32_t parent = c->shape == STAR ? 0 : c->shape == CHAIN ? i - 1 : (i - 1) / 2;
        model_fork_at(m, branches[parent], m->branches[branches[parent]].length, &branches[i]);
        if (c->shape != STAR) model_append(m, branches[i], 1);
    }
    for (uint32_t i = 0; i < c->num_branches; i++) model_append(m, branches[i], i + 1);
}

/* The permutation of 0..count-1 that comes after this one; false after the last. */
static bool next_permutation(uint32_t *order, uint32_t count)
{
    uint32_t i = count - 1;
    while (i > 0 && order[i - 1] >= order[i]) i--;
    if (i == 0) return false;
    uint32_t j = count - 1;
    while (order[j] <= order[i - 1]) j--;
    uint32_t swapped = order[i - 1];
    order[i - 1] = order[j];
    order[j] = swapped;
    for (j = count - 1; i < j; i++, j--) {
        swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
    return true;
}

static void run_every_order(const void *argument)
{
    const family_case *c = argument;
    pool_model *m = family_pool(c->block_tokens);
    uint32_t order[MAX_FAMILY], orders = 0, expected = 1;
    for (uint32_t i = 0; i < c->num_branches; i++) {
        order[i] = i;
        expected *= i + 1;
    }
    do {
        int branches[MAX_FAMILY];
        grow_family(m, c, branches);
        for (uint32_t i = 0; i < c->num_branches; i++) check(model_prune(m, branches[order[i]]) == KV_OK, "pruned");
        kv_pool_stats stats;
        kv_pool_get_stats(m->pool, &stats);
        check(stats.used_blocks == 0 && stats.physical_tokens == 0, "%u blocks left", stats.used_blocks);
        orders++;
    } while (next_permutation(order, c->num_branches));
    check(orders == expected, "%u orders of %u", orders, expected);
    check(m->coverage.copies > 0 || c->block_tokens == 1 || c->prefix % c->block_tokens == 0, "something was shared");
    test_note("%u orders, %llu copies", orders, (unsigned long long)m->coverage.copies);
    model_end(m);
}

/* Prune in the middle of growth, after each possible number of steps. */
static void run_interrupted(const void *argument)
{
    const family_case *c = argument;
    for (uint32_t stop = 0; stop <= 2 * c->num_branches; stop++) {
        pool_model *m = family_pool(c->block_tokens);
        int branches[MAX_FAMILY];
        uint32_t grown = 1, step = 0;
        model_create(m, &branches[0]);
        model_append(m, branches[0], c->prefix);
        for (; grown < c->num_branches && step < stop; grown++, step += 2) {
            model_fork_at(m, branches[grown - 1], m->branches[branches[grown - 1]].length, &branches[grown]);
            if (step + 1 < stop) model_append(m, branches[grown], 3);
        }
        for (uint32_t i = 0; i < grown; i++) model_prune(m, branches[i]);
        model_end(m);
    }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "a family pruned in any order leaves every block free");
    for (int shape = 0; shape < NUM_SHAPES; shape++) {
        for (uint32_t n = 2; n <= MAX_FAMILY; n++) {
            family_case c = {(family_shape)shape, n, 4, 6};
            test_add(run_every_order, &c, "every_order_%s_%u", shape_name[shape], n);
        }
    }
    static const uint32_t block_tokens[] = {1, 2, 16, 256};
    for (size_t i = 0; i < sizeof block_tokens / sizeof block_tokens[0]; i++) {
        family_case c = {BINARY, 4, block_tokens[i], 9};
        test_add(run_every_order, &c, "every_order_block_tokens_%u", block_tokens[i]);
        test_add(run_interrupted, &c, "interrupted_block_tokens_%u", block_tokens[i]);
    }
    return test_end();
}
