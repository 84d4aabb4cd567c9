/* Claim: a block freed while an epoch is open is neither issued again nor called released before that epoch retires;
 * and free blocks are issued in the order that the pool was created with. */
#include <stddef.h>

#include "pool_model.h"
#include "test.h"

static kv_pool *pool_of(uint32_t num_blocks, uint32_t max_epochs, kv_order order, uint64_t seed)
{
    kv_pool_config config = {.num_blocks = num_blocks, .block_tokens = 4, .max_branches = 16,
                             .max_epochs = max_epochs, .order = order, .seed = seed};
    kv_pool *pool;
    check(kv_pool_create(&pool, &config) == KV_OK, "a pool");
    return pool;
}

static kv_branch branch_of(kv_pool *pool, uint32_t num_blocks)
{
    kv_branch branch;
    kv_append append;
    check(kv_branch_create(pool, &branch) == KV_OK, "a branch");
    check(kv_branch_append(pool, branch, 4 * num_blocks, &append) == KV_OK, "%u blocks", num_blocks);
    return branch;
}

static uint64_t begin(kv_pool *pool)
{
    uint64_t epoch = 0;
    check(kv_pool_epoch_begin(pool, &epoch) == KV_OK, "an epoch");
    return epoch;
}

static void expect_blocks(const kv_pool *pool, uint32_t num_free, uint32_t num_quarantined)
{
    kv_pool_stats stats;
    kv_pool_get_stats(pool, &stats);
    check(stats.free_blocks == num_free, "%u free, %u expected", stats.free_blocks, num_free);
    check(stats.quarantined_blocks == num_quarantined, "%u in quarantine, %u expected", stats.quarantined_blocks,
          num_quarantined);
    char message[160];
    check(kv_pool_check(pool, message, sizeof message) == KV_OK, "%s", message);
}

static void run_quarantine(const void *argument)
{
    (void)argument;
    kv_pool *pool = pool_of(4, 2, KV_ORDER_LIFO, 0);
    kv_branch a = branch_of(pool, 3), b = branch_of(pool, 0);
    kv_append append;
    uint64_t first = begin(pool);
    check(kv_branch_prune(pool, a) == KV_OK, "the kernel of epoch %llu still reads it", (unsigned long long)first);
    expect_blocks(pool, 1, 3);
    check(kv_branch_append(pool, b, 8, &append) == KV_NOBLOCKS, "quarantined blocks are not free");
    check(kv_branch_append(pool, b, 4, &append) == KV_OK, "the free one is");
    check(kv_pool_epoch_retire(pool, first) == KV_OK, "retired");
    expect_blocks(pool, 3, 0);
    check(kv_branch_append(pool, b, 8, &append) == KV_OK, "now they are");
    kv_pool_destroy(pool, true, NULL);
}

/* Frees carry the newest epoch: retiring an older one does not set them free. */
static void run_two_epochs(const void *argument)
{
    (void)argument;
    kv_pool *pool = pool_of(8, 4, KV_ORDER_LIFO, 0);
    kv_branch a = branch_of(pool, 2), b = branch_of(pool, 3), c = branch_of(pool, 1);
    uint64_t first = begin(pool);
    kv_branch_prune(pool, a);
    uint64_t second = begin(pool);
    kv_branch_prune(pool, b);
    expect_blocks(pool, 2, 5);
    check(kv_pool_epoch_retire(pool, first) == KV_OK, "the first");
    expect_blocks(pool, 4, 3);
    kv_branch_prune(pool, c);
    expect_blocks(pool, 4, 4);
    check(kv_pool_epoch_retire(pool, second) == KV_OK, "the second");
    expect_blocks(pool, 8, 0);
    check(kv_pool_destroy(pool, false, NULL) == KV_OK, "nothing is left");
}

static void expect_released(const kv_pool *pool, uint32_t count, const uint32_t *expected)
{
    const uint32_t *blocks;
    uint32_t num_blocks;
    kv_pool_released(pool, &blocks, &num_blocks);
    check(num_blocks == count, "%u blocks released, %u expected", num_blocks, count);
    for (uint32_t i = 0; i < count; i++) check(blocks[i] == expected[i], "block %u, not %u", blocks[i], expected[i]);
}

/* The blocks of kv_pool_released may be overwritten after each call: no kernel reads them. */
static void run_released_when_overwritable(const void *argument)
{
    (void)argument;
    kv_pool *pool = pool_of(10, 4, KV_ORDER_LIFO, 0);
    kv_branch a = branch_of(pool, 2), b = branch_of(pool, 3), c = branch_of(pool, 2), d = branch_of(pool, 1), e;
    check(kv_branch_fork(pool, d, &e) == KV_OK, "a sharer of block 7");
    uint64_t first = begin(pool);
    kv_branch_prune(pool, a);
    expect_released(pool, 0, NULL);
    uint64_t second = begin(pool);
    kv_branch_truncate(pool, b, 4);
    expect_released(pool, 0, NULL);
    kv_branch_adopt(pool, b, c);
    expect_released(pool, 0, NULL);
    check(kv_pool_epoch_retire(pool, first) == KV_OK, "the first");
    expect_released(pool, 2, (const uint32_t[]){1, 0});
    check(kv_pool_epoch_retire(pool, first) == KV_RANGE, "refused");
    expect_released(pool, 2, (const uint32_t[]){1, 0}); /* the view stays */
    kv_branch_prune(pool, d);
    expect_released(pool, 0, NULL);
    check(kv_pool_epoch_retire(pool, second) == KV_OK, "the second");
    expect_released(pool, 3, (const uint32_t[]){4, 3, 2});
    kv_branch_prune(pool, b);
    expect_released(pool, 2, (const uint32_t[]){6, 5}); /* no epoch is open: at once */
    check(kv_pool_epoch_retire(pool, begin(pool)) == KV_OK, "an epoch in which nothing was freed");
    expect_released(pool, 0, NULL);
    kv_pool_destroy(pool, true, NULL);
}

static void run_retire_skips(const void *argument)
{
    (void)argument;
    kv_pool *pool = pool_of(8, 4, KV_ORDER_LIFO, 0);
    for (uint32_t i = 0; i < 3; i++) {
        kv_branch branch = branch_of(pool, 2);
        begin(pool);
        kv_branch_prune(pool, branch);
    }
    expect_blocks(pool, 2, 6);
    check(kv_pool_epoch_retire(pool, 3) == KV_OK, "retiring the third retires all");
    expect_blocks(pool, 8, 0);
    check(kv_pool_epoch_retire(pool, 2) == KV_RANGE, "the second is gone");
    kv_pool_destroy(pool, false, NULL);
}

static void run_limits(const void *argument)
{
    uint32_t max_epochs = *(const uint32_t *)argument;
    kv_pool *pool = pool_of(4, max_epochs, KV_ORDER_LIFO, 0);
    uint32_t limit = max_epochs ? max_epochs : 8;
    check(kv_pool_epoch_retire(pool, 0) == KV_RANGE && kv_pool_epoch_retire(pool, 1) == KV_RANGE, "none has begun");
    uint64_t epoch = 0;
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < limit; i++) check(begin(pool) == ++epoch, "epochs count up from 1");
        uint64_t none = 77;
        check(kv_pool_epoch_begin(pool, &none) == KV_BUSY && none == 77, "%u are unretired", limit);
        check(kv_pool_epoch_retire(pool, epoch + 1) == KV_RANGE, "an epoch that never began");
        check(kv_pool_destroy(pool, false, NULL) == KV_BUSY, "unretired epochs forbid to destroy");
        check(kv_pool_epoch_retire(pool, epoch) == KV_OK, "all retire");
        check(kv_pool_epoch_retire(pool, epoch) == KV_RANGE, "but once");
    }
    check(kv_pool_destroy(pool, false, NULL) == KV_OK, "nothing is left");
}

/* Decode steps that overlap: step i is launched before step i - 1 has finished, and a launched step reads the tables of
 * its launch. Every block that it reads must hold what it held then, until its epoch retires. */
static void run_overlapped_steps(const void *argument)
{
    uint32_t depth = *(const uint32_t *)argument;
    kv_pool_config config = {.num_blocks = 40, .block_tokens = 4, .max_branches = 8, .max_epochs = depth};
    pool_model *m = model_new(&config, true);
    uint32_t in_flight[4][40 * 4];
    bool reads[4][40];
    for (uint32_t step = 1; step <= 400; step++) {
        if (step > depth) {
            uint32_t *seen = in_flight[step % depth];
            for (uint32_t block = 0; block < 40; block++)
                for (uint32_t t = 0; reads[step % depth][block] && t < 4; t++)
                    check(seen[block * 4 + t] == POISON || m->slots[block * 4 + t] == seen[block * 4 + t],
                          "step %u reads block %u, which has a new owner", step - depth, block);
            model_epoch_retire(m, step - depth);
        }
        for (uint32_t i = 0; i < 40; i++) reads[step % depth][i] = m->count[i] > 0;
        for (uint32_t i = 0; i < 40 * 4; i++) {
            bool seen = m->visible[i / 4] > i % 4;
            in_flight[step % depth][i] = seen ? m->slots[i] : POISON;
        }
        model_epoch_begin(m);
        int branch = (int)test_below(8), other;
        if (!m->branches[branch].live) {
            if (m->num_live == 0) model_create(m, &other);
            for (int parent = 0; parent < 8; parent++)
                if (m->branches[parent].live) {
                    model_fork_at(m, parent, m->branches[parent].length, &other);
                    break;
                }
        } else if (test_below(3) == 0) {
            model_prune(m, branch);
        } else {
            model_append(m, branch, 1 + test_below(6));
        }
    }
    check(m->coverage.blocks_quarantined > 50 && m->coverage.copies > 20, "blocks were freed in flight");
    model_end(m);
}

/* ---- orders ---- */

static void run_lifo(const void *argument)
{
    (void)argument;
    kv_pool *pool = pool_of(6, 1, KV_ORDER_LIFO, 0);
    kv_branch a = branch_of(pool, 2), b = branch_of(pool, 2), again;
    kv_table table;
    kv_branch_table(pool, a, &table);
    check(table.blocks[0] == 0 && table.blocks[1] == 1, "a new pool yields 0, 1");
    kv_branch_table(pool, b, &table);
    check(table.blocks[0] == 2 && table.blocks[1] == 3, "then 2, 3");
    kv_branch_prune(pool, a);
    again = branch_of(pool, 3);
    kv_branch_table(pool, again, &table);
    check(table.blocks[0] == 0 && table.blocks[1] == 1 && table.blocks[2] == 4, "freed last, taken first, same order");
    kv_pool_destroy(pool, true, NULL);
}

static void run_fifo(const void *argument)
{
    (void)argument;
    kv_pool *pool = pool_of(6, 1, KV_ORDER_FIFO, 0);
    kv_table table;
    for (uint32_t round = 0; round < 20; round++) {
        kv_branch a = branch_of(pool, 2);
        kv_branch_table(pool, a, &table);
        uint32_t first = 2 * round % 6;
        bool swapped = round / 3 % 2; /* a prune releases the last block first */
        check(table.blocks[swapped] == first && table.blocks[!swapped] == first + 1, "round %u: %u %u", round,
              table.blocks[0], table.blocks[1]);
        kv_branch_prune(pool, a);
    }
    kv_pool_destroy(pool, true, NULL);
}

static void run_shuffle(const void *argument)
{
    (void)argument;
    kv_table table[3];
    kv_pool *pool[3];
    for (int i = 0; i < 3; i++) {
        pool[i] = pool_of(64, 1, KV_ORDER_SHUFFLE, i == 2 ? 8 : 7);
        kv_branch_table(pool[i], branch_of(pool[i], 64), &table[i]);
    }
    uint32_t moved = 0, differ = 0, seen[64] = {0};
    for (uint32_t i = 0; i < 64; i++) {
        check(table[0].blocks[i] == table[1].blocks[i], "the same seed gives the same order");
        moved += table[0].blocks[i] != i;
        differ += table[0].blocks[i] != table[2].blocks[i];
        check(seen[table[0].blocks[i]]++ == 0, "each block once");
    }
    check(moved > 48 && differ > 48, "shuffled, and by the seed: %u moved, %u differ", moved, differ);
    for (int i = 0; i < 3; i++) kv_pool_destroy(pool[i], true, NULL);
}

int main(int argc, char **argv)
{
    static const uint32_t max_epochs[] = {0, 1, 2, 7}, depths[] = {1, 2, 4};
    test_begin(argc, argv, "blocks freed in an epoch wait until it retires; free blocks have an order");
    test_add(run_quarantine, NULL, "quarantine");
    test_add(run_two_epochs, NULL, "two_epochs");
    test_add(run_released_when_overwritable, NULL, "released_when_overwritable");
    test_add(run_retire_skips, NULL, "retire_the_newest_retires_all");
    for (int i = 0; i < 4; i++) test_add(run_limits, &max_epochs[i], "limits_max_epochs_%u", max_epochs[i]);
    for (int i = 0; i < 3; i++) test_add(run_overlapped_steps, &depths[i], "overlapped_steps_depth_%u", depths[i]);
    test_add(run_lifo, NULL, "order_lifo");
    test_add(run_fifo, NULL, "order_fifo");
    test_add(run_shuffle, NULL, "order_shuffle");
    return test_end();
}
