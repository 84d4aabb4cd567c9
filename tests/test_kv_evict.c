/* Claim: the drawings of kv_evict.h, call by call, and each refusal that it names. */
#include <stddef.h>
#include <string.h>

#include "kv_evict.h"
#include "test.h"

static kv_pool *new_pool(uint32_t num_blocks, uint32_t block_tokens)
{
    kv_pool_config config = {.num_blocks = num_blocks, .block_tokens = block_tokens, .max_branches = 8, .evicts = true};
    kv_pool *pool;
    check(kv_pool_create(&pool, &config) == KV_OK, "a pool of %u blocks", num_blocks);
    return pool;
}

static void expect_sound(const kv_pool *pool)
{
    char message[160];
    check(kv_pool_check(pool, message, sizeof message) == KV_OK, "%s", message);
}

static void must(kv_status status)
{
    check(status == KV_OK, "%s", kv_status_string(status));
}

/* The branch's table as text, positions for kept slots: "0:0123 2:4" for blocks 0 and 2. */
static void expect_table(const kv_pool *pool, kv_branch branch, const char *expected)
{
    kv_table table;
    kv_keep keep;
    kv_pool_stats stats;
    char text[256], *at = text;
    must(kv_branch_table(pool, branch, &table));
    must(kv_branch_keep(pool, branch, &keep));
    kv_pool_get_stats(pool, &stats);
    const uint32_t *positions = kv_pool_positions(pool);
    for (uint32_t slot = 0; slot < table.length; slot++) {
        uint32_t block = table.blocks[slot / stats.block_tokens], bit = slot % stats.block_tokens;
        if (bit == 0) {
            if (slot > 0) *at++ = ' ';
            *at++ = (char)('0' + block);
            *at++ = ':';
        }
        bool kept = kv_keep_slot(&keep, stats.block_tokens, slot);
        *at++ = kept ? (char)('0' + positions[block * stats.block_tokens + bit]) : '.';
    }
    *at = 0;
    check(!strcmp(text, expected), "table %s, %s expected", text, expected);
    expect_sound(pool);
}

/* The drawing of kv_evict.h. */
static void run_drawing(const void *argument)
{
    (void)argument;
    kv_pool *pool = new_pool(4, 4);
    kv_branch a, b;
    kv_append append;
    must(kv_branch_create(pool, &a));
    must(kv_branch_append(pool, a, 4, &append));
    must(kv_branch_fork(pool, a, &b));
    must(kv_branch_append(pool, a, 1, &append));
    check(append.hole == KV_NO_HOLE && append.num_new_blocks == 1, "at the end");
    must(kv_branch_append(pool, b, 2, &append));
    expect_table(pool, a, "0:0123 1:4");
    expect_table(pool, b, "0:0123 2:45");
    must(kv_branch_evict(pool, b, KV_SCOPE_MASK, (uint32_t[]){1, 5}, 2));
    expect_table(pool, b, "0:0.23 2:4.");
    must(kv_branch_append(pool, b, 1, &append));
    check(append.hole == 5 && append.num_new_blocks == 0 && append.copy.num_tokens == 0, "into the hole");
    expect_table(pool, b, "0:0.23 2:46");
    must(kv_branch_evict(pool, a, KV_SCOPE_MASK, (uint32_t[]){0, 2, 3, 1}, 4));
    expect_table(pool, a, "0:.... 1:4");
    must(kv_branch_evict(pool, b, KV_SCOPE_MASK, (uint32_t[]){3, 0, 2}, 3));
    expect_table(pool, a, "1:4");
    expect_table(pool, b, "2:46");
    const uint32_t *blocks;
    uint32_t num_blocks;
    kv_pool_released(pool, &blocks, &num_blocks);
    check(num_blocks == 1 && blocks[0] == 0, "block 0 is free");
    kv_pool_destroy(pool, true, NULL);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "the drawings of kv_evict.h, call by call");
    test_add(run_drawing, NULL, "drawing");
    return test_end();
}
