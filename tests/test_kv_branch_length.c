/* Claim: a branch cut short by fork_at or truncate, or replaced by adopt, is the branch that never had the rest; the
 * blocks that it dropped are released, last block first, and those that others still see stay. */
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

/* fork_at every length, then both sides write, then go in either order. */
static void run_fork_at_each_length(const void *argument)
{
    uint32_t block_tokens = *(const uint32_t *)argument, length = 3 * block_tokens + block_tokens / 2;
    for (uint32_t at = 0; at <= length; at += 1 + block_tokens / 8) {
        pool_model *m = pool_of(12, block_tokens);
        int root = root_of(m, length), child;
        check(model_fork_at(m, root, at, &child) == KV_OK, "fork at %u", at);
        check(model_fork_at(m, root, length + 1, &child) == KV_RANGE, "beyond the branch");
        check(model_append(m, child, 2) == KV_OK && model_append(m, root, 2) == KV_OK, "both write");
        check((m->coverage.copies > 0) == (at % block_tokens != 0),
              "a copy where the cut lies inside a block");
        model_prune(m, at % 2 ? root : child);
        model_end(m);
    }
}

static void run_truncate_each_length(const void *argument)
{
    uint32_t block_tokens = *(const uint32_t *)argument, length = 3 * block_tokens + block_tokens / 2;
    for (uint32_t shared = 0; shared < 2; shared++) {
        for (uint32_t at = 0; at <= length; at += 1 + block_tokens / 8) {
            pool_model *m = pool_of(12, block_tokens);
            int root = root_of(m, length), child;
            if (shared) model_fork_at(m, root, length, &child);
            check(model_truncate(m, root, at) == KV_OK, "cut to %u", at);
            check(m->branches[root].num_blocks == (at + block_tokens - 1) / block_tokens, "no block too many");
            check(model_truncate(m, root, at + 1) == KV_RANGE, "truncate does not grow");
            check(model_append(m, root, 2) == KV_OK, "it writes on");
            model_end(m);
        }
    }
}

static void run_truncate_in_full_pool(const void *argument)
{
    (void)argument;
    pool_model *m = pool_of(4, 4);
    int root = root_of(m, 16), child;
    model_fork_at(m, root, 16, &child);
    check(model_truncate(m, child, 7) == KV_OK, "truncate needs no block");
    check(model_append(m, child, 1) == KV_NOBLOCKS, "but to write into the shared block it does");
    check(model_truncate(m, root, 6) == KV_OK && model_append(m, child, 1) == KV_OK, "room again");
    model_end(m);
}

/* Three views of one block that see 5, 3 and 1 of its tokens: physical tokens follow the fullest that is left. */
static void run_views_of_one_block(const void *argument)
{
    uint32_t first_pruned = *(const uint32_t *)argument;
    for (uint32_t second = 0; second < 4; second++) {
        if (second == first_pruned) continue;
        pool_model *m = pool_of(4, 8);
        int views[4];
        views[0] = root_of(m, 5);
        static const uint32_t lengths[] = {5, 3, 1, 3};
        for (uint32_t i = 1; i < 4; i++) check(model_fork_at(m, views[0], lengths[i], &views[i]) == KV_OK, "a view");
        kv_pool_stats stats;
        model_prune(m, views[first_pruned]);
        kv_pool_get_stats(m->pool, &stats);
        check(stats.physical_tokens == (first_pruned == 0 ? 3 : 5), "%llu", (unsigned long long)stats.physical_tokens);
        check(stats.tail_waste_tokens == 8 - stats.physical_tokens, "the rest of the block is waste");
        model_prune(m, views[second]);
        model_end(m);
    }
}

/* Speculative decoding: fork drafts, verify, keep the winner's accepted part. */
static void run_adopt_winner(const void *argument)
{
    uint32_t accepted = *(const uint32_t *)argument;
    pool_model *m = pool_of(24, 4);
    int branch = root_of(m, 10), drafts[3];
    for (int i = 0; i < 3; i++) {
        check(model_fork_at(m, branch, 10, &drafts[i]) == KV_OK && model_append(m, drafts[i], 6) == KV_OK, "a draft");
    }
    check(model_truncate(m, drafts[1], 10 + accepted) == KV_OK, "the rejected tokens go");
    check(model_adopt(m, branch, drafts[1]) == KV_OK, "the winner's table is taken over");
    check(model_prune(m, drafts[0]) == KV_OK && model_prune(m, drafts[2]) == KV_OK, "the losers go");
    check(m->branches[branch].length == 10 + accepted, "length %u", m->branches[branch].length);
    check(model_append(m, branch, 3) == KV_OK, "decoding goes on");
    model_end(m);
}

static void run_adopt_odd_pairs(const void *argument)
{
    (void)argument;
    pool_model *m = pool_of(12, 4);
    int a = root_of(m, 9), empty, stranger = root_of(m, 5);
    model_create(m, &empty);
    check(model_adopt(m, a, a) == KV_INVAL, "a branch cannot adopt itself");
    check(model_adopt(m, a, stranger) == KV_OK, "an unrelated winner");
    check(model_adopt(m, a, empty) == KV_OK && m->branches[a].length == 0, "an empty winner");
    int b = root_of(m, 6);
    check(model_adopt(m, a, b) == KV_OK && m->branches[a].length == 6, "an empty branch adopts");
    check(model_append(m, a, 3) == KV_OK, "and writes on in place");
    check(m->coverage.copies == 0, "nothing was shared");
    model_end(m);
}

static void run_released_view(const void *argument)
{
    (void)argument;
    kv_pool_config config = {.num_blocks = 8, .block_tokens = 4};
    kv_pool *pool;
    kv_branch a, b;
    kv_append append;
    const uint32_t *blocks;
    uint32_t num_blocks;
    kv_pool_create(&pool, &config);
    kv_branch_create(pool, &a);
    kv_branch_append(pool, a, 16, &append);
    kv_branch_fork_at(pool, a, 8, &b);
    kv_pool_released(pool, &blocks, &num_blocks);
    check(num_blocks == 0, "nothing yet");
    check(kv_branch_prune(pool, a) == KV_OK, "pruned");
    kv_pool_released(pool, &blocks, &num_blocks);
    check(num_blocks == 2 && blocks[0] == 3 && blocks[1] == 2, "blocks 3 and 2, last first; 0 and 1 are shared");
    check(kv_branch_prune(pool, a) == KV_STALE, "a second prune");
    kv_pool_released(pool, &blocks, &num_blocks);
    check(num_blocks == 2, "a refused call leaves the view");
    check(kv_branch_append(pool, b, 1, &append) == KV_OK, "append");
    kv_pool_released(pool, &blocks, &num_blocks);
    check(num_blocks == 0, "an append releases nothing");
    check(kv_branch_truncate(pool, b, 4) == KV_OK, "truncate");
    kv_pool_released(pool, &blocks, &num_blocks);
    check(num_blocks == 2 && blocks[0] == 2 && blocks[1] == 1, "the new block 2, then block 1");
    kv_pool_destroy(pool, true, NULL);
}

static void run_versions(const void *argument)
{
    (void)argument;
    pool_model *m = pool_of(12, 4);
    int a = root_of(m, 3), b;
    uint64_t version = m->branches[a].version;
    model_append(m, a, 6);
    check(m->branches[a].version == version, "growth at the end, into new blocks too, keeps the version");
    model_fork_at(m, a, 9, &b);
    model_append(m, a, 1);
    check(m->branches[a].version > m->branches[b].version, "copy-on-write changes it");
    version = m->branches[a].version;
    model_truncate(m, a, 10);
    check(m->branches[a].version == version, "truncate to the same length changes nothing");
    model_truncate(m, a, 8);
    check(m->branches[a].version > version, "truncate changes it");
    model_end(m);
}

int main(int argc, char **argv)
{
    static const uint32_t block_tokens[] = {1, 2, 4, 16, 64}, indices[] = {0, 1, 2, 3}, accepted[] = {0, 1, 2, 5, 6};
    test_begin(argc, argv, "fork_at, truncate and adopt leave a branch that never had the rest");
    for (size_t i = 0; i < sizeof block_tokens / sizeof block_tokens[0]; i++) {
        test_add(run_fork_at_each_length, &block_tokens[i], "fork_at_block_tokens_%u", block_tokens[i]);
        test_add(run_truncate_each_length, &block_tokens[i], "truncate_block_tokens_%u", block_tokens[i]);
    }
    test_add(run_truncate_in_full_pool, NULL, "truncate_in_a_full_pool");
    for (int i = 0; i < 4; i++)
        test_add(run_views_of_one_block, &indices[i], "views_of_one_block_%u_first", indices[i]);
    for (int i = 0; i < 5; i++) test_add(run_adopt_winner, &accepted[i], "adopt_draft_accepting_%u", accepted[i]);
    test_add(run_adopt_odd_pairs, NULL, "adopt_odd_pairs");
    test_add(run_released_view, NULL, "released_view");
    test_add(run_versions, NULL, "versions");
    return test_end();
}
