/* The project's pool, with the student's function in place of kv_blocks_drop. */
#include "exercise.h"

#define kv_blocks_drop kv_blocks_drop_of_the_project
#include "../../allocator/kv_pool.c"
#undef kv_blocks_drop

#include "forest.h"

enum { MAX_FREED = 64 };
static uint32_t freed[MAX_FREED], num_freed;
static uint32_t wrongly_freed; /* frees of a block that still has references, or was free */

void exercise_free(kv_pool *pool, uint32_t block)
{
    bool is_free = block >= pool->config.num_blocks || pool->ref[block] > 0;
    for (uint32_t i = 0; i < pool->num_free; i++) is_free |= pool->free_list[i] == block;
    if (num_freed < MAX_FREED) freed[num_freed++] = block;
    wrongly_freed += is_free;
    if (!is_free) release_or_wait(pool, block);
}

/* The sums that go with the counts are kept here. */
void kv_blocks_drop(kv_pool *pool, const uint32_t *blocks, uint32_t count)
{
    exercise_drop(pool, pool->ref, blocks, count);
    for (uint32_t i = count; i-- > 0;) {
        uint32_t block = blocks[i];
        if (pool->ref[block] == pool->num_partial[block])
            pool->physical_tokens -= pool->config.block_tokens - kv_visible_tokens(pool, block);
        if (pool->ref[block] == 1) pool->shared_blocks--;
    }
}

static void reset(void)
{
    num_freed = wrongly_freed = 0;
}

static void random_life(void)
{
    kv_pool *pool;
    kv_branch branches[6];
    const kv_pool_config config = {.num_blocks = 40, .block_tokens = 4};
    char message[200];
    uint32_t num_branches = 1;
    must(kv_pool_create(&pool, &config) == KV_OK && kv_branch_create(pool, &branches[0]) == KV_OK, "no pool");
    for (uint32_t i = 0; i < 400; i++) {
        uint32_t chosen = draw(num_branches), what = draw(4);
        kv_append append;
        reset();
        if (what == 0 && num_branches < 6) {
            num_branches += kv_branch_fork(pool, branches[chosen], &branches[num_branches]) == KV_OK;
        } else if (what == 1 && num_branches > 1) {
            kv_branch_prune(pool, branches[chosen]);
            branches[chosen] = branches[--num_branches];
        } else {
            kv_branch_append(pool, branches[chosen], 1 + draw(6), &append);
        }
        bool sound = !wrongly_freed && kv_pool_check(pool, message, sizeof message) == KV_OK;
        if (!expect(sound, "operation %u: %s", i,
                    wrongly_freed ? "a block was freed that has references or is free" : message))
            break;
    }
    kv_pool_destroy(pool, true, NULL);
}

int main(void)
{
    static const uint32_t counts[] = {1, 1, 0, 0, 1, 0};
    kv_branch branches[TINY_BRANCHES];
    kv_pool *pool = tiny_pool(branches, 4);
    reset();

    property("each block of the table loses one reference");
    must(kv_branch_prune(pool, branches[0]) == KV_OK, "no prune");
    for (uint32_t block = 0; block < 6; block++)
        expect_number("count of block", block, counts[block], pool->ref[block], 0);

    property("a block that another branch lists is not freed");
    for (uint32_t i = 0; i < num_freed; i++) expect(freed[i] != 0, "block 0 was freed, and branch 1 lists it");

    property("a block without references is freed, once");
    for (uint32_t block = 2; block < 4; block++) {
        uint32_t times = 0;
        for (uint32_t i = 0; i < num_freed; i++) times += freed[i] == block;
        expect(times == 1, "block %u: expected to be freed once, got %u times", block, times);
    }

    property("a block is freed when its count is 0, not before");
    expect(!wrongly_freed && num_freed > 0,
           num_freed ? "a block was freed before its count was 0" : "no block was freed");

    property("the last block of the table is freed first");
    if (expect(num_freed > 1, "expected blocks 3 and 2 to be freed, got %u frees", num_freed)) {
        expect_number("free number", 0, 3, freed[0], 0);
        expect_number("free number", 1, 2, freed[1], 0);
    }
    kv_pool_destroy(pool, true, NULL);

    property("400 random appends, forks and prunes leave a sound pool");
    random_life();
    return finish();
}
