/* Claim: tokens promised by reserve can be appended whatever others take, with forks at one point in between and a last
 * block that was shared before; the promise costs exactly its blocks and none of them is lost. */
#include <stddef.h>

#include "pool_model.h"
#include "test.h"

static pool_model *pool_of(uint32_t num_blocks, uint32_t block_tokens)
{
    kv_pool_config config = {.num_blocks = num_blocks, .block_tokens = block_tokens, .max_branches = 6};
    return model_new(&config, true);
}

static int root_of(pool_model *m, uint32_t length)
{
    int root;
    check(model_create(m, &root) == KV_OK && model_append(m, root, length) == KV_OK, "a root of %u tokens", length);
    return root;
}

static uint32_t reserved(const pool_model *m)
{
    kv_pool_stats stats;
    kv_pool_get_stats(m->pool, &stats);
    return stats.reserved_blocks;
}

/* Another branch takes every block that is not promised. */
static void fill_up(pool_model *m)
{
    int greedy;
    check(model_create(m, &greedy) == KV_OK, "a greedy branch");
    while (model_append(m, greedy, m->config.block_tokens) == KV_OK) continue;
}

typedef struct promise_case {
    uint32_t length, promised, piece;
    bool forked;
} promise_case;

static void run_promise(const void *argument)
{
    const promise_case *c = argument;
    for (uint32_t child_first = 0; child_first < 2; child_first++) {
        pool_model *m = pool_of(16, 4);
        int root = root_of(m, c->length), child = MODEL_NONE;
        check(model_reserve(m, root, c->promised) == KV_OK, "a promise of %u tokens", c->promised);
        check(reserved(m) == (c->length + c->promised + 3) / 4 - (c->length + 3) / 4 + 1, "%u blocks", reserved(m));
        if (c->forked) check(model_fork_at(m, root, c->length, &child) == KV_OK, "a fork");
        if (c->forked && child_first) check(model_append(m, child, 1) == KV_OK, "the fork writes first");
        fill_up(m);
        for (uint32_t done = 0; done < c->promised; done += c->piece) {
            uint32_t piece = c->promised - done < c->piece ? c->promised - done : c->piece;
            check(model_append(m, root, piece) == KV_OK, "token %u of %u promised", done, c->promised);
        }
        check(reserved(m) == 0, "%u blocks are still reserved", reserved(m));
        model_end(m);
    }
}

/* The last block is shared before the promise; forks come behind each number of appended tokens. The sharer stays,
 * goes, or writes first. */
typedef enum sharer { NONE, STAYS, GOES, WRITES, NUM_SHARERS } sharer;
static const char *const sharer_name[NUM_SHARERS] = {"unshared", "sharer_stays", "sharer_goes", "sharer_writes"};

static void promise_with_forks(sharer kind, uint32_t length, uint32_t promised, uint32_t forked_at, uint32_t num_forks)
{
    pool_model *m = pool_of(24, 4);
    int root = root_of(m, length), before = MODEL_NONE, child;
    if (kind != NONE) check(model_fork_at(m, root, length, &before) == KV_OK, "a fork before the promise");
    check(model_reserve(m, root, promised) == KV_OK, "a promise of %u tokens", promised);
    if (kind == GOES) model_prune(m, before);
    if (kind == WRITES) check(model_append(m, before, 1) == KV_OK, "the sharer writes");
    for (uint32_t done = 0; done < promised; done++) {
        for (uint32_t i = 0; done == forked_at && i < num_forks; i++)
            check(model_fork_at(m, root, m->branches[root].length, &child) == KV_OK, "fork %u", i);
        if (done == 0) fill_up(m);
        check(model_append(m, root, 1) == KV_OK, "token %u of %u, forked at %u", done, promised, forked_at);
    }
    check(reserved(m) == 0, "%u blocks are still reserved", reserved(m));
    model_end(m);
}

static void run_forked_in_between(const void *argument)
{
    for (uint32_t length = 3; length <= 8; length++)
        for (uint32_t promised = 1; promised <= 9; promised++)
            for (uint32_t forked_at = 0; forked_at < promised; forked_at++)
                for (uint32_t num_forks = 1; num_forks <= 2; num_forks++)
                    promise_with_forks(*(const sharer *)argument, length, promised, forked_at, num_forks);
}

/* What a promise sets aside: its new blocks, one for a copy behind a fork to come, one for a copy that is due now. */
static void run_price(const void *argument)
{
    (void)argument;
    pool_model *m = pool_of(12, 4);
    int root = root_of(m, 6), sharer_branch;
    check(model_reserve(m, root, 3) == KV_OK && reserved(m) == 1 + 1, "9 tokens need one more block");
    check(model_fork_at(m, root, 6, &sharer_branch) == KV_OK && reserved(m) == 2, "a fork costs nothing");
    check(model_reserve(m, root, 3) == KV_OK && reserved(m) == 1 + 1 + 1, "the last block is shared now");
    check(model_reserve(m, root, 2) == KV_OK && reserved(m) == 0 + 1 + 1, "8 tokens need no more block");
    model_prune(m, sharer_branch);
    check(model_append(m, root, 1) == KV_OK && reserved(m) == 1, "nothing was copied: the copy's block is given back");
    check(model_append(m, root, 1) == KV_OK && reserved(m) == 0, "all was appended");
    model_end(m);
}

/* A fork gets none of the credit. */
static void run_fork_gets_none(const void *argument)
{
    (void)argument;
    pool_model *m = pool_of(4, 4);
    int root = root_of(m, 4), child;
    check(model_reserve(m, root, 8) == KV_OK && reserved(m) == 3, "all that is free");
    check(model_fork_at(m, root, 4, &child) == KV_OK, "a fork");
    check(model_append(m, child, 1) == KV_NOBLOCKS, "nothing is left for it");
    check(model_append(m, root, 8) == KV_OK, "the promise holds");
    check(model_append(m, child, 1) == KV_OK, "and what it did not need is free again");
    model_end(m);
}

static void run_replaced(const void *argument)
{
    (void)argument;
    pool_model *m = pool_of(4, 4);
    int root = root_of(m, 2);
    check(model_reserve(m, root, 10) == KV_OK && reserved(m) == 3, "the whole rest");
    check(model_reserve(m, root, 11) == KV_NOBLOCKS && reserved(m) == 3, "too much: the old promise stays");
    check(model_reserve(m, root, 3) == KV_OK && reserved(m) == 2, "a smaller one replaces it");
    check(model_reserve(m, root, 10) == KV_OK && reserved(m) == 3, "its own credit counts");
    check(model_reserve(m, root, 0) == KV_OK && reserved(m) == 0, "0 gives it back");
    check(model_reserve(m, root, KV_MAX_LENGTH) == KV_RANGE, "beyond KV_MAX_LENGTH");
    check(model_reserve(m, root, KV_MAX_LENGTH - 2) == KV_NOBLOCKS, "up to KV_MAX_LENGTH");
    model_end(m);
}

typedef enum give_back { BY_TRUNCATE, BY_ADOPTING, BY_BEING_ADOPTED, BY_PRUNE, NUM_WAYS } give_back;

static void run_given_back(const void *argument)
{
    give_back way = *(const give_back *)argument;
    pool_model *m = pool_of(12, 4);
    int root = root_of(m, 5), other = root_of(m, 5);
    check(model_reserve(m, root, 9) == KV_OK && reserved(m) > 0, "a promise");
    if (way == BY_TRUNCATE) model_truncate(m, root, 5);
    if (way == BY_ADOPTING) model_adopt(m, root, other);
    if (way == BY_BEING_ADOPTED) model_adopt(m, other, root);
    if (way == BY_PRUNE) model_prune(m, root);
    check(reserved(m) == 0, "%u blocks are still reserved", reserved(m));
    model_end(m);
}

/* What one append of a list gives back, another of the same list may take. */
static void run_list_shares_leftovers(const void *argument)
{
    (void)argument;
    pool_model *m = pool_of(4, 4);
    int a = root_of(m, 4), b = root_of(m, 4), list[2] = {b, a};
    uint32_t numbers[2] = {1, 4};
    check(model_reserve(m, a, 4) == KV_OK && reserved(m) == 2, "one block and one for a copy");
    check(model_append(m, b, 1) == KV_NOBLOCKS, "all that is free is promised");
    check(model_append_many(m, list, numbers, 2) == KV_OK, "together they fit");
    check(reserved(m) == 0, "%u blocks are still reserved", reserved(m));
    model_end(m);
}

int main(int argc, char **argv)
{
    static const promise_case promises[] = {
        {0, 1, 1, false},  {0, 9, 2, false},  {3, 1, 1, false}, {3, 6, 4, false}, {4, 4, 4, false}, {7, 20, 3, false},
        {0, 5, 5, true},   {3, 1, 1, true},   {3, 6, 1, true},  {4, 8, 3, true},  {6, 13, 13, true}, {7, 20, 5, true}};
    static const give_back ways[] = {BY_TRUNCATE, BY_ADOPTING, BY_BEING_ADOPTED, BY_PRUNE};
    static const char *const way_name[] = {"truncate", "adopting", "being_adopted", "prune"};
    test_begin(argc, argv, "promised tokens can be appended, and no promised block is lost");
    for (size_t i = 0; i < sizeof promises / sizeof promises[0]; i++)
        test_add(run_promise, &promises[i], "length_%u_promised_%u_by_%u%s", promises[i].length, promises[i].promised,
                 promises[i].piece, promises[i].forked ? "_forked" : "");
    for (sharer kind = 0; kind < NUM_SHARERS; kind++)
        test_add(run_forked_in_between, &kind, "forked_in_between_%s", sharer_name[kind]);
    test_add(run_price, NULL, "price_with_a_shared_last_block");
    test_add(run_fork_gets_none, NULL, "fork_gets_none");
    test_add(run_replaced, NULL, "replaced");
    for (int i = 0; i < NUM_WAYS; i++) test_add(run_given_back, &ways[i], "given_back_by_%s", way_name[i]);
    test_add(run_list_shares_leftovers, NULL, "list_shares_leftovers");
    return test_end();
}
