/* Claim: a shared part-filled block is copied before it is written: exactly then, exactly once per writer, exactly its
 * first length % block_tokens tokens; and a list of appends costs what the appends cost one by one. */
#include <stddef.h>

#include "pool_model.h"
#include "test.h"

static pool_model *pool_of(uint32_t num_blocks, uint32_t block_tokens, uint32_t max_branches)
{
    kv_pool_config config = {.num_blocks = num_blocks, .block_tokens = block_tokens, .max_branches = max_branches};
    return model_new(&config, true);
}

static int root_of(pool_model *m, uint32_t length)
{
    int root;
    check(model_create(m, &root) == KV_OK, "a root");
    check(model_append(m, root, length) == KV_OK, "%u tokens", length);
    return root;
}

static int fork_of(pool_model *m, int parent)
{
    int child;
    check(model_fork_at(m, parent, m->branches[parent].length, &child) == KV_OK, "a fork");
    return child;
}

/* Every part-filled length: the writer copies, the one that stays behind writes in place. */
static void run_partial_lengths(const void *argument)
{
    uint32_t block_tokens = *(const uint32_t *)argument;
    for (uint32_t partial = 1; partial < block_tokens; partial++) {
        pool_model *m = pool_of(8, block_tokens, 2);
        int root = root_of(m, block_tokens + partial), child = fork_of(m, root);
        check(model_append(m, child, 1) == KV_OK, "the child writes");
        check(m->coverage.copies == 1 && m->expected.copied_tokens == partial, "one copy of %u tokens", partial);
        check(model_append(m, root, 1) == KV_OK, "the root writes");
        check(m->coverage.copies == 1, "the last holder writes in place");
        model_end(m);
    }
}

static void run_full_block_is_not_copied(const void *argument)
{
    uint32_t block_tokens = *(const uint32_t *)argument;
    pool_model *m = pool_of(8, block_tokens, 2);
    int root = root_of(m, 2 * block_tokens), child = fork_of(m, root);
    check(model_append(m, child, 1) == KV_OK && model_append(m, root, 1) == KV_OK, "both write");
    check(m->coverage.copies == 0, "a full block is only shared");
    model_end(m);
}

/* num_writers of num_holders share a part-filled block and append in one call. */
typedef struct crowd_case {
    uint32_t num_holders, num_writers;
} crowd_case;

static void run_crowd(const void *argument)
{
    const crowd_case *c = argument;
    uint32_t copies = c->num_writers == c->num_holders ? c->num_writers - 1 : c->num_writers;
    for (uint32_t spare = copies > 0 ? copies - 1 : 0; spare <= copies; spare++) { /* one block too few, then enough */
        pool_model *m = pool_of(1 + spare, 8, 8);
        int branches[8];
        uint32_t ones[8];
        branches[0] = root_of(m, 5);
        for (uint32_t i = 1; i < c->num_holders; i++) branches[i] = fork_of(m, branches[0]);
        for (uint32_t i = 0; i < c->num_writers; i++) ones[i] = 1;
        kv_status status = model_append_many(m, branches, ones, c->num_writers);
        check(status == (spare < copies ? KV_NOBLOCKS : KV_OK), "%u spare blocks: %s", spare, kv_status_string(status));
        check(m->coverage.copies == (status == KV_OK ? copies : 0), "%u copies", copies);
        model_end(m);
    }
}

/* Handing nothing to a branch that shares its tail copies nothing and leaves the tail shared for the others. */
static void run_list_with_zeros(const void *argument)
{
    (void)argument;
    pool_model *m = pool_of(6, 4, 3);
    int a = root_of(m, 6), b = fork_of(m, a), c = fork_of(m, a);
    int list[] = {a, b, c};
    uint32_t numbers[] = {0, 1, 0};
    check(model_append_many(m, list, numbers, 3) == KV_OK, "one writer of three");
    check(m->coverage.copies == 1, "one copy");
    check(model_append_many(m, list, numbers, 0) == KV_OK, "an empty list");
    model_end(m);
}

static void run_named_twice(const void *argument)
{
    (void)argument;
    pool_model *m = pool_of(6, 4, 3);
    int a = root_of(m, 5), b = fork_of(m, a);
    int list[] = {a, b, a};
    uint32_t ones[] = {1, 1, 1};
    check(model_append_many(m, list, ones, 3) == KV_INVAL, "a branch is named twice");
    check(model_append_many(m, list, ones, 2) == KV_OK, "nothing of the refused list stuck");
    model_end(m);
}

static void run_list_is_all_or_nothing(const void *argument)
{
    (void)argument;
    pool_model *m = pool_of(4, 4, 4);
    int list[4];
    uint32_t numbers[] = {1, 1, 1, 1};
    for (int i = 0; i < 4; i++) list[i] = root_of(m, i < 3 ? 4 : 3);
    check(model_append_many(m, list, numbers, 4) == KV_NOBLOCKS, "no room for the first");
    check(model_append_many(m, list + 3, numbers, 1) == KV_OK, "room for the last alone");
    model_prune(m, list[2]);
    model_prune(m, list[1]);
    check(model_append_many(m, list, numbers, 1) == KV_OK, "the same call succeeds after a prune");
    model_end(m);
}

/* A long list whose table memory must grow in the same call. */
static void run_long_list(const void *argument)
{
    (void)argument;
    pool_model *m = pool_of(64 * 10, 2, 64);
    int list[64];
    uint32_t numbers[64];
    for (int i = 0; i < 64; i++) list[i] = i == 0 ? root_of(m, 3) : fork_of(m, list[i / 2]);
    for (uint32_t round = 0; round < 6; round++) {
        for (uint32_t i = 0; i < 64; i++) numbers[i] = (i + round) % 4;
        check(model_append_many(m, list, numbers, 64) == KV_OK, "round %u", round);
    }
    check(m->coverage.copies >= 32, "%llu copies", (unsigned long long)m->coverage.copies);
    model_end(m);
}

/* The example of kv_pool.h, to the number. */
static void run_header_example(const void *argument)
{
    (void)argument;
    kv_pool_config config = {.num_blocks = 4, .block_tokens = 4, .max_branches = 4};
    kv_pool *pool;
    kv_branch a, b;
    kv_append append;
    kv_table table;
    check(kv_pool_create(&pool, &config) == KV_OK && kv_branch_create(pool, &a) == KV_OK, "a pool and a branch");
    check(kv_branch_append(pool, a, 10, &append) == KV_OK && append.num_new_blocks == 3, "10 tokens, 3 blocks");
    check(kv_branch_fork(pool, a, &b) == KV_OK && kv_pool_references(pool, 2) == 2, "a fork shares");
    check(kv_branch_append(pool, b, 1, &append) == KV_OK, "the fork writes");
    check(append.copy.from_block == 2 && append.copy.to_block == 3 && append.copy.num_tokens == 2, "copy 2 -> 3");
    check(append.first_new_block == 2 && append.num_new_blocks == 1, "the copy is the new block");
    check(kv_branch_prune(pool, a) == KV_OK && kv_branch_table(pool, b, &table) == KV_OK, "the parent goes");
    check(table.blocks[0] == 0 && table.blocks[1] == 1 && table.blocks[2] == 3, "the child keeps 0 1 3");
    for (uint32_t i = 0; i < 4; i++) check(kv_pool_references(pool, i) == (i != 2), "block %u", i);
    check(kv_pool_references(pool, 4) == 0, "0 beyond the pool");
    kv_pool_destroy(pool, true, NULL);
}

int main(int argc, char **argv)
{
    static const uint32_t block_tokens[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};
    static const crowd_case crowds[] = {{1, 1}, {2, 1}, {2, 2}, {3, 1}, {3, 2}, {3, 3}, {8, 7}, {8, 8}};
    test_begin(argc, argv, "copy-on-write: when, how often, how much");
    for (size_t i = 1; i < sizeof block_tokens / sizeof block_tokens[0]; i++)
        test_add(run_partial_lengths, &block_tokens[i], "each_partial_length_block_tokens_%u", block_tokens[i]);
    for (size_t i = 0; i < 3; i++)
        test_add(run_full_block_is_not_copied, &block_tokens[2 * i], "full_block_tokens_%u", block_tokens[2 * i]);
    for (size_t i = 0; i < sizeof crowds / sizeof crowds[0]; i++)
        test_add(run_crowd, &crowds[i], "list_%u_of_%u_holders", crowds[i].num_writers, crowds[i].num_holders);
    test_add(run_list_with_zeros, NULL, "list_with_zeros");
    test_add(run_named_twice, NULL, "list_names_a_branch_twice");
    test_add(run_list_is_all_or_nothing, NULL, "list_is_all_or_nothing");
    test_add(run_long_list, NULL, "list_of_64_with_growing_tables");
    test_add(run_header_example, NULL, "header_example");
    return test_end();
}
