/* The student's fork beside that of the project's pool. */
#include "exercise.h"

#include <stdlib.h>
#include <string.h>

#include "forest.h"

enum { MAX_BLOCKS = 64 };
static uint32_t before[MAX_BLOCKS], after[MAX_BLOCKS];
static kv_table child;
static uint32_t *blocks;

static kv_status fork_at(const kv_table *parent, uint32_t length, uint32_t block_tokens)
{
    uint32_t kept = length < parent->length ? length : parent->length;
    uint32_t needed = (kept + block_tokens - 1) / block_tokens;
    free(blocks);
    blocks = malloc(needed * sizeof *blocks + (needed == 0));
    must(blocks != NULL, "out of memory");
    memset(blocks, 0xff, needed * sizeof *blocks);
    child = (kv_table){blocks, UINT32_MAX, UINT32_MAX, 0};
    memcpy(after, before, sizeof after);
    return exercise_fork_at(&child, blocks, after, parent, length, block_tokens);
}

/* expected: the child's table as the project makes it. */
static bool expect_table(kv_status status, const kv_table *expected, uint32_t num_listed)
{
    bool good = expect(status == KV_OK, "expected KV_OK, got: %s", kv_status_string(status));
    good &= expect(child.length == expected->length, "length: expected %u, got %u", expected->length, child.length);
    good &= expect(child.num_blocks == expected->num_blocks, "number of blocks: expected %u, got %u",
                   expected->num_blocks, child.num_blocks);
    for (uint32_t i = 0; i < num_listed && good; i++)
        good = expect(blocks[i] == expected->blocks[i], "entry %u of the table: expected block %u, got block %u", i,
                      expected->blocks[i], blocks[i]);
    return good;
}

static bool expect_counts(const uint32_t *listed, uint32_t num_listed)
{
    uint32_t expected[MAX_BLOCKS];
    memcpy(expected, before, sizeof expected);
    for (uint32_t i = 0; i < num_listed; i++) expected[listed[i]]++;
    bool good = true;
    for (uint32_t block = 0; block < MAX_BLOCKS && good; block++)
        good = expect(expected[block] == after[block], "references of block %u: expected %u, got %u", block,
                      expected[block], after[block]);
    return good;
}

static void read_counts(const kv_pool *pool, uint32_t num_blocks)
{
    for (uint32_t block = 0; block < MAX_BLOCKS; block++)
        before[block] = block < num_blocks ? kv_pool_references(pool, block) : 7;
}

int main(void)
{
    static const uint32_t of_branch_0[] = {0, 2, 3};
    kv_branch branches[TINY_BRANCHES];
    kv_pool *pool = tiny_pool(branches, 4);
    kv_table parent;
    must(kv_branch_table(pool, branches[0], &parent) == KV_OK, "no table");
    read_counts(pool, 6);

    property("tiny tree: branch 0 forked at 6 has the table [0 2]");
    expect_table(fork_at(&parent, 6, 4), &(kv_table){of_branch_0, 2, 6, 0}, 2);

    property("each block that the child lists gains one reference");
    expect(after[0] == before[0] + 1 && after[2] == before[2] + 1, "blocks 0 and 2: expected %u and %u, got %u and %u",
           before[0] + 1, before[2] + 1, after[0], after[2]);

    property("no other block gains a reference");
    expect(after[3] == before[3] && after[1] == before[1], "blocks 1 and 3: expected %u and %u, got %u and %u",
           before[1], before[3], after[1], after[3]);

    property("a fork at the end of a block takes no block more");
    expect_table(fork_at(&parent, 4, 4), &(kv_table){of_branch_0, 1, 4, 0}, 1);

    property("a fork at the full length has the parent's table");
    expect_table(fork_at(&parent, 9, 4), &(kv_table){of_branch_0, 3, 9, 0}, 3);

    property("a fork at 0 is an empty branch");
    expect_table(fork_at(&parent, 0, 4), &(kv_table){of_branch_0, 0, 0, 0}, 0);
    expect_counts(of_branch_0, 0);

    property("more tokens than the parent has: KV_RANGE, and nothing is written");
    kv_status status = fork_at(&parent, 10, 4);
    expect(status == KV_RANGE, "expected KV_RANGE, got: %s", kv_status_string(status));
    expect(child.length == UINT32_MAX && child.num_blocks == UINT32_MAX, "the child was written");
    expect_counts(of_branch_0, 0);
    kv_pool_destroy(pool, true, NULL);

    property("200 forks of random branches equal those of the project's pool");
    bool good = true;
    for (int i = 0; i < 25 && good; i++) {
        forest f;
        forest_random(&f, 1u << draw(4), 1, 1, 1);
        for (int j = 0; j < 8 && good; j++) {
            uint32_t chosen = draw(f.num_branches), length = draw(f.tables[chosen].length + 1);
            kv_table expected;
            kv_branch real;
            read_counts(f.pool, f.shape.num_blocks);
            status = fork_at(&f.tables[chosen], length, f.shape.block_tokens);
            must(kv_branch_fork_at(f.pool, f.branches[chosen], length, &real) == KV_OK, "no fork");
            must(kv_branch_table(f.pool, real, &expected) == KV_OK, "no table");
            good = expect_table(status, &expected, expected.num_blocks) &&
                   expect_counts(expected.blocks, expected.num_blocks);
            must(kv_branch_prune(f.pool, real) == KV_OK, "no prune");
        }
        forest_destroy(&f);
    }
    free(blocks);
    return finish();
}
