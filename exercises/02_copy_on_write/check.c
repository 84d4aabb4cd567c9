/* A small allocator that carries out the student's copies, beside the project's pool. */
#include "exercise.h"

#include <stdlib.h>
#include <string.h>

#include "forest.h"

enum { BLOCKS = 60, BLOCK_TOKENS = 4, BRANCHES = 6, MAX_LENGTH = 40 };

typedef struct small_branch {
    uint32_t blocks[BLOCKS], length, history[MAX_LENGTH];
    kv_branch real;
} small_branch;

static kv_pool *pool;
static uint32_t ref[BLOCKS], slots[BLOCKS][BLOCK_TOKENS], next_token;
static small_branch branches[BRANCHES];
static uint32_t num_branches;

static uint32_t blocks_of(uint32_t length)
{
    return (length + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
}

/* The table in memory of its own, so that a read before its first entry is noticed. */
static kv_copy ask(const small_branch *b, uint32_t num_tokens, uint32_t free_block)
{
    uint32_t count = blocks_of(b->length), *blocks = malloc(count * sizeof *blocks + (count == 0));
    must(blocks != NULL, "out of memory");
    memcpy(blocks, b->blocks, count * sizeof *blocks);
    const kv_table table = {blocks, count, b->length, 0};
    kv_copy copy = exercise_copy(&table, ref, BLOCK_TOKENS, num_tokens, free_block);
    free(blocks);
    return copy;
}

static void expect_copy(kv_copy expected, kv_copy got)
{
    if (expected.num_tokens == 0) {
        expect(got.num_tokens == 0, "expected nothing to copy, got %u tokens of block %u to block %u", got.num_tokens,
               got.from_block, got.to_block);
    } else {
        expect(got.from_block == expected.from_block && got.to_block == expected.to_block &&
                   got.num_tokens == expected.num_tokens,
               "expected %u tokens of block %u to block %u, got %u tokens of block %u to block %u", expected.num_tokens,
               expected.from_block, expected.to_block, got.num_tokens, got.from_block, got.to_block);
    }
}

static void fork_branch(uint32_t from)
{
    small_branch *child = &branches[num_branches];
    *child = branches[from];
    for (uint32_t i = 0; i < blocks_of(child->length); i++) ref[child->blocks[i]]++;
    must(kv_branch_fork(pool, branches[from].real, &child->real) == KV_OK, "no fork");
    num_branches++;
}

/* The pool goes first, and tells which blocks are new. The student's answer decides which slots are copied. */
static kv_copy append(uint32_t which, uint32_t num_tokens, kv_copy *expected)
{
    small_branch *b = &branches[which];
    kv_append answer;
    kv_table table;
    must(kv_branch_append(pool, b->real, num_tokens, &answer) == KV_OK, "no append");
    must(kv_branch_table(pool, b->real, &table) == KV_OK, "no table");
    *expected = answer.copy;
    kv_copy copy = ask(b, num_tokens, answer.copy.num_tokens > 0 ? answer.copy.to_block : BLOCKS - 1);
    if (copy.num_tokens > 0 && copy.num_tokens <= BLOCK_TOKENS && copy.from_block < BLOCKS && copy.to_block < BLOCKS) {
        memmove(slots[copy.to_block], slots[copy.from_block], copy.num_tokens * sizeof slots[0][0]);
        ref[copy.from_block]--;
        ref[copy.to_block] = 1;
        b->blocks[blocks_of(b->length) - (b->length > 0)] = copy.to_block;
    }
    for (uint32_t i = 0; i < num_tokens; i++, b->length++) {
        uint32_t at = b->length / BLOCK_TOKENS;
        if (b->length % BLOCK_TOKENS == 0) {
            b->blocks[at] = table.blocks[at];
            ref[b->blocks[at]] = 1;
        }
        slots[b->blocks[at]][b->length % BLOCK_TOKENS] = b->history[b->length] = next_token++;
    }
    return copy;
}

/* Each branch still reads its own tokens. */
static bool expect_histories(void)
{
    bool good = true;
    for (uint32_t q = 0; q < num_branches && good; q++)
        for (uint32_t t = 0; t < branches[q].length && good; t++) {
            uint32_t got = slots[branches[q].blocks[t / BLOCK_TOKENS]][t % BLOCK_TOKENS];
            good = expect(got == branches[q].history[t], "branch %u, token %u: expected token %u, got token %u", q, t,
                          branches[q].history[t], got);
        }
    return good;
}

static void begin(void)
{
    const kv_pool_config config = {.num_blocks = BLOCKS, .block_tokens = BLOCK_TOKENS};
    if (pool) kv_pool_destroy(pool, true, NULL);
    memset(ref, 0, sizeof ref);
    next_token = 0;
    num_branches = 1;
    branches[0].length = 0;
    must(kv_pool_create(&pool, &config) == KV_OK && kv_branch_create(pool, &branches[0].real) == KV_OK, "no pool");
}

int main(void)
{
    kv_copy expected, got;

    property("an empty branch has nothing to copy");
    begin();
    expect_copy((kv_copy){0, 0, 0}, ask(&branches[0], 1, 5));

    property("a branch that alone lists its last block copies nothing");
    append(0, 5, &expected);
    got = append(0, 1, &expected);
    expect_copy(expected, got);

    property("tiny tree: branch 0 copies 2 tokens of block 1 to block 2");
    fork_branch(0);
    got = append(0, 3, &expected);
    expect_copy((kv_copy){1, 2, 2}, got);

    property("tiny tree: then branch 1 writes into block 1 in place");
    begin();
    append(0, 6, &expected);
    fork_branch(0);
    ref[1] = 1; /* branch 0 has left block 1 */
    expect_copy((kv_copy){0, 0, 0}, ask(&branches[1], 4, 4));

    property("a full last block is never copied, shared or not");
    begin();
    append(0, 8, &expected);
    fork_branch(0);
    expect_copy((kv_copy){0, 0, 0}, ask(&branches[1], 3, 4));

    property("an append of 0 tokens copies nothing");
    begin();
    append(0, 6, &expected);
    fork_branch(0);
    expect_copy((kv_copy){0, 0, 0}, ask(&branches[1], 0, 4));

    property("no branch's tokens change in 40 random lives of forks and appends");
    bool good = true;
    for (int life = 0; life < 40 && good; life++) {
        begin();
        for (int i = 0; i < 14 && good; i++) {
            uint32_t chosen = draw(num_branches);
            if (num_branches < BRANCHES && draw(3) == 0)
                fork_branch(chosen);
            else if (branches[chosen].length < MAX_LENGTH - 6)
                append(chosen, 1 + draw(6), &expected);
            good = expect_histories();
        }
    }
    kv_pool_destroy(pool, true, NULL);
    return finish();
}
