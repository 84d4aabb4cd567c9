/* Claim: a branch forgets tokens from its own view alone; holes, dead blocks, scopes and compaction are as kv_evict.h
 * says, call by call; and each refusal that it names leaves no trace. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "kv_evict.h"
#include "kv_tree.h"
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

static uint32_t append(kv_pool *pool, kv_branch branch, uint32_t num_tokens)
{
    kv_append append;
    must(kv_branch_append(pool, branch, num_tokens, &append));
    return append.hole;
}

static kv_branch root_of(kv_pool *pool, uint32_t num_tokens)
{
    kv_branch root;
    must(kv_branch_create(pool, &root));
    append(pool, root, num_tokens);
    return root;
}

static kv_branch fork_of(kv_pool *pool, kv_branch parent)
{
    kv_branch child;
    must(kv_branch_fork(pool, parent, &child));
    return child;
}

static void evict(kv_pool *pool, kv_branch branch, uint32_t first, uint32_t end)
{
    for (uint32_t slot = first; slot < end; slot++) must(kv_branch_evict(pool, branch, KV_SCOPE_MASK, &slot, 1));
}

static void expect_released(const kv_pool *pool, uint32_t block)
{
    const uint32_t *blocks;
    uint32_t num_blocks;
    kv_pool_released(pool, &blocks, &num_blocks);
    check(num_blocks == 1 && blocks[0] == block, "%u blocks released", num_blocks);
}

/* ---- holes ---- */

static void run_lowest_hole(const void *argument)
{
    uint32_t bt = *(const uint32_t *)argument;
    kv_pool *pool = new_pool(4, bt);
    kv_branch a = root_of(pool, 3 * bt);
    const uint32_t slots[] = {2 * bt + bt / 2, bt + 1, bt + bt - 1, 3};
    must(kv_branch_evict(pool, a, KV_SCOPE_PRIVATE, slots, 4));
    check(append(pool, a, 2) == KV_NO_HOLE, "several tokens go to the end");
    check(append(pool, a, 1) == 3 && append(pool, a, 1) == bt + 1 && append(pool, a, 1) == 2 * bt - 1, "lowest first");
    check(append(pool, a, 1) == 2 * bt + bt / 2 && append(pool, a, 1) == KV_NO_HOLE, "then the end");
    uint32_t slot;
    must(kv_branch_find(pool, a, 3 * bt + 3, &slot));
    check(slot == bt + 1, "position %u is in the second hole", 3 * bt + 3);
    check(kv_branch_find(pool, a, 3, &slot) == KV_RANGE, "position 3 is forgotten");
    expect_sound(pool);
    kv_pool_destroy(pool, true, NULL);
}

static void run_one_token_blocks(const void *argument)
{
    (void)argument;
    kv_pool *pool = new_pool(4, 1);
    kv_branch a = root_of(pool, 3);
    evict(pool, a, 1, 2);
    expect_released(pool, 1);
    expect_table(pool, a, "0:0 2:2");
    check(append(pool, a, 1) == KV_NO_HOLE, "a block of one token has no hole");
    expect_table(pool, a, "0:0 2:2 1:3");
    kv_pool_destroy(pool, true, NULL);
}

/* A hole opens where the others have gone, and not before. */
static void run_hole_of_a_shared_block(const void *argument)
{
    (void)argument;
    kv_pool *pool = new_pool(4, 4);
    kv_branch a = root_of(pool, 4), b = fork_of(pool, a);
    evict(pool, a, 1, 2);
    check(append(pool, a, 1) == KV_NO_HOLE, "b still reads the slot");
    must(kv_branch_prune(pool, b));
    check(append(pool, a, 1) == 1, "now it is a's alone");
    expect_table(pool, a, "0:0523 1:4");
    kv_pool_destroy(pool, true, NULL);
}

/* ---- last blocks ---- */

static void run_tail_left(const void *argument)
{
    (void)argument;
    kv_pool *pool = new_pool(4, 4);
    kv_branch a = root_of(pool, 6), b = fork_of(pool, a);
    evict(pool, b, 4, 6);
    expect_table(pool, b, "0:0123 1:..");
    kv_append got;
    must(kv_branch_append(pool, b, 1, &got));
    check(got.copy.num_tokens == 0 && got.first_new_block == 1 && got.num_new_blocks == 1, "nothing to copy");
    expect_table(pool, b, "0:0123 2:6");
    expect_table(pool, a, "0:0123 1:45");
    kv_pool_destroy(pool, true, NULL);
}

static void run_tail_taken_over(const void *argument)
{
    (void)argument;
    kv_pool *pool = new_pool(4, 4);
    kv_branch a = root_of(pool, 6), b = fork_of(pool, a);
    evict(pool, b, 4, 6);
    kv_append got;
    must(kv_branch_append(pool, a, 1, &got));
    check(got.copy.num_tokens == 0 && got.num_new_blocks == 0, "a alone keeps tokens of block 1, and writes in place");
    expect_table(pool, a, "0:0123 1:456");
    expect_table(pool, b, "0:0123");
    kv_pool_destroy(pool, true, NULL);
}

/* A promise holds although the last block dies. */
static void run_promise(const void *argument)
{
    (void)argument;
    kv_pool *pool = new_pool(3, 4);
    kv_branch a = root_of(pool, 5), greedy;
    must(kv_branch_reserve(pool, a, 2));
    evict(pool, a, 4, 5);
    expect_table(pool, a, "0:0123");
    must(kv_branch_create(pool, &greedy));
    kv_append got;
    check(kv_branch_append(pool, greedy, 1, &got) == KV_NOBLOCKS, "two blocks are set aside");
    append(pool, a, 1);
    kv_branch b = fork_of(pool, a);
    append(pool, a, 1);
    expect_table(pool, a, "0:0123 2:56");
    expect_table(pool, b, "0:0123 1:5");
    kv_pool_destroy(pool, true, NULL);
}

/* ---- positions ---- */

static void run_positions(const void *argument)
{
    (void)argument;
    kv_pool *pool = new_pool(6, 4);
    kv_branch a = root_of(pool, 8), b;
    evict(pool, a, 1, 3);
    append(pool, a, 1);
    expect_table(pool, a, "0:08.3 1:4567");
    check(kv_branch_fork_at(pool, a, 10, &b) == KV_RANGE, "position 9 is the next one");
    must(kv_branch_fork_at(pool, a, 6, &b));
    expect_table(pool, b, "0:0..3 1:45");
    append(pool, b, 1);
    expect_table(pool, b, "0:0..3 2:456");
    must(kv_branch_truncate(pool, a, 4));
    expect_table(pool, a, "0:0..3");
    expect_table(pool, b, "0:0..3 2:456");
    kv_keep keep;
    must(kv_branch_keep(pool, a, &keep));
    check(keep.next_position == 4 && keep.first_private == 4, "next %u, private from %u", keep.next_position,
          keep.first_private);
    kv_pool_destroy(pool, true, NULL);
}

/* ---- votes and scopes ---- */

static void run_vote(const void *argument)
{
    (void)argument;
    kv_pool *pool = new_pool(6, 2);
    kv_branch a = root_of(pool, 2), b = fork_of(pool, a), c = fork_of(pool, b);
    kv_branch all[] = {c, a, b};
    append(pool, a, 1);
    append(pool, b, 1);
    evict(pool, c, 0, 1);
    must(kv_evict_shared(pool, all, 3, 0, 0));
    expect_table(pool, a, "0:.1 1:2");
    expect_table(pool, c, "0:.1");
    must(kv_evict_shared(pool, all, 3, 0, 1));
    expect_released(pool, 0);
    expect_table(pool, a, "1:2");
    expect_table(pool, b, "2:2");
    expect_table(pool, c, "");
    kv_pool_stats stats;
    kv_pool_get_stats(pool, &stats);
    check(stats.evicted_tokens == 6 && stats.kept_tokens == 2, "%llu bits cleared",
          (unsigned long long)stats.evicted_tokens);
    kv_pool_destroy(pool, true, NULL);
}

static void run_thaw(const void *argument)
{
    (void)argument;
    kv_pool *pool = new_pool(6, 2);
    kv_branch a = root_of(pool, 4), b, c = fork_of(pool, a);
    uint32_t slot = 2;
    must(kv_branch_fork_at(pool, a, 2, &b));
    check(kv_branch_evict(pool, a, KV_SCOPE_PRIVATE, &slot, 1) == KV_INVAL, "inherited by c");
    must(kv_branch_prune(pool, c));
    check(kv_branch_evict(pool, a, KV_SCOPE_PRIVATE, &slot, 1) == KV_INVAL, "a death alone changes no choice");
    must(kv_branch_thaw(pool, a));
    must(kv_branch_evict(pool, a, KV_SCOPE_PRIVATE, &slot, 1));
    slot = 1;
    check(kv_branch_evict(pool, a, KV_SCOPE_PRIVATE, &slot, 1) == KV_INVAL, "b reads block 0");
    expect_table(pool, a, "0:01 1:.3");
    kv_pool_destroy(pool, true, NULL);
}

/* ---- compaction ---- */

static void run_compact(const void *argument)
{
    (void)argument;
    kv_pool *pool = new_pool(6, 4);
    kv_branch a = root_of(pool, 10);
    evict(pool, a, 0, 1);
    evict(pool, a, 4, 7);
    expect_table(pool, a, "0:.123 1:...7 2:89");
    kv_move moves[4];
    uint32_t num_moves;
    check(kv_branch_compact(pool, a, moves, 0, &num_moves) == KV_RANGE && num_moves == 1, "one move");
    must(kv_branch_compact(pool, a, moves, 4, &num_moves));
    check(num_moves == 1 && moves[0].from_block == 1 && moves[0].from_slot == 3, "the emptiest block is emptied");
    check(moves[0].to_block == 0 && moves[0].to_slot == 0, "into the lowest hole");
    expect_table(pool, a, "0:7123 2:89");
    must(kv_branch_compact(pool, a, moves, 0, &num_moves));
    check(num_moves == 0, "no block more can become free");
    kv_pool_destroy(pool, true, NULL);
}

static void run_compact_shared(const void *argument)
{
    (void)argument;
    kv_pool *pool = new_pool(5, 4);
    kv_branch a = root_of(pool, 14), b = fork_of(pool, a), c;
    append(pool, b, 1);
    evict(pool, b, 1, 4);
    evict(pool, b, 5, 10);
    expect_table(pool, b, "0:0... 1:4... 2:..:; 4:<=>"); /* characters behind 9 */
    kv_move moves[8];
    uint32_t num_moves;
    must(kv_branch_create(pool, &c));
    check(kv_branch_compact_shared(pool, b, 0, moves, 8, &num_moves) == KV_NOBLOCKS, "no block is free");
    must(kv_branch_truncate(pool, a, 12)); /* block 3 */
    check(kv_branch_compact_shared(pool, b, 5, moves, 8, &num_moves) == KV_RANGE, "an entry behind the table");
    check(kv_branch_compact_shared(pool, b, 0, moves, 3, &num_moves) == KV_RANGE && num_moves == 4, "four moves");
    must(kv_branch_compact_shared(pool, b, 0, moves, 4, &num_moves));
    expect_table(pool, b, "3:04:; 4:<=>");
    expect_table(pool, a, "0:0123 1:4567 2:89:;");
    must(kv_branch_compact_shared(pool, b, 0, moves, 0, &num_moves));
    check(num_moves == 0, "nothing is shared any more");
    kv_pool_destroy(pool, true, NULL);
}

/* ---- trees of such tables ---- */

static void run_tree(const void *argument)
{
    (void)argument;
    kv_pool *pool = new_pool(8, 4);
    kv_branch a = root_of(pool, 8), branches[] = {a, fork_of(pool, a), fork_of(pool, a)};
    for (int i = 0; i < 3; i++) append(pool, branches[i], 2);
    for (int i = 0; i < 3; i++) evict(pool, branches[i], 0, 3);
    for (uint32_t slot = 3; slot < 4; slot++) must(kv_evict_shared(pool, branches, 3, 0, slot));
    kv_table tables[3];
    must(kv_branch_tables(pool, branches, 3, tables));
    kv_tree *tree;
    must(kv_tree_build(&tree, tables, 3, 4, 8));
    char message[160];
    check(kv_tree_check(tree, tables, 3, message, sizeof message) == KV_OK, "%s", message);
    check(tree->num_nodes == 4 && tree->nodes[0].num_tokens == 4 && tree->unique_tokens == 10, "block 0 has gone");
    kv_tree_destroy(tree);
    kv_pool_destroy(pool, true, NULL);
}

/* ---- refusals ---- */

static char *dump_of(const kv_pool *pool)
{
    size_t bytes = kv_pool_dump(pool, NULL, 0);
    char *text = malloc(bytes);
    check(text && kv_pool_dump(pool, text, bytes) == bytes, "a dump of %zu bytes", bytes);
    return text;
}

/* Branches a [0 1], b [0 2], c [0]; b hides position 1; block 3 is free; d is dead. */
typedef struct family {
    kv_pool *pool;
    kv_branch a, b, c, d;
} family;

static family new_family(void)
{
    family f = {.pool = new_pool(4, 4)};
    f.a = root_of(f.pool, 4);
    f.b = fork_of(f.pool, f.a);
    f.c = fork_of(f.pool, f.a);
    f.d = fork_of(f.pool, f.a);
    append(f.pool, f.a, 1);
    append(f.pool, f.b, 1);
    evict(f.pool, f.b, 1, 2);
    must(kv_branch_prune(f.pool, f.d));
    return f;
}

typedef struct refusal {
    const char *name;
    kv_status status;
    kv_scope scope;
    uint32_t count, slots[3]; /* of b */
} refusal;

static const refusal refusals[] = {
    {"evicted_before", KV_INVAL, KV_SCOPE_MASK, 2, {0, 1}},
    {"named_twice", KV_INVAL, KV_SCOPE_MASK, 3, {4, 0, 4}},
    {"beyond_the_table", KV_RANGE, KV_SCOPE_MASK, 2, {4, 5}},
    {"far_beyond", KV_RANGE, KV_SCOPE_MASK, 1, {UINT32_MAX}},
    {"private_inherited", KV_INVAL, KV_SCOPE_PRIVATE, 2, {4, 3}},
    {"scope_vote", KV_INVAL, KV_SCOPE_VOTE, 1, {4}},
    {"no_scope", KV_INVAL, KV_NUM_SCOPES, 1, {4}},
};

static void run_refusal(const void *argument)
{
    const refusal *r = argument;
    family f = new_family();
    char *before = dump_of(f.pool);
    kv_status status = kv_branch_evict(f.pool, f.b, r->scope, r->slots, r->count);
    check(status == r->status, "%s", kv_status_string(status));
    char *after = dump_of(f.pool);
    check(!strcmp(before, after), "%s\nbecame\n%s", before, after);
    expect_sound(f.pool);
    free(before);
    free(after);
    kv_pool_destroy(f.pool, true, NULL);
}

static void run_refused_votes(const void *argument)
{
    (void)argument;
    family f = new_family();
    char *before = dump_of(f.pool);
    const kv_branch all[] = {f.a, f.b, f.c}, missing[] = {f.a, f.b}, twice[] = {f.a, f.b, f.a},
                    dead[] = {f.a, f.b, f.d};
    check(kv_evict_shared(f.pool, missing, 2, 0, 0) == KV_INVAL, "c has not voted");
    check(kv_evict_shared(f.pool, twice, 3, 0, 0) == KV_INVAL, "a has two votes");
    check(kv_evict_shared(f.pool, all, 3, 1, 0) == KV_INVAL, "block 1 is a's alone");
    check(kv_evict_shared(f.pool, dead, 3, 0, 0) == KV_STALE, "d is dead");
    check(kv_evict_shared(f.pool, all, 3, 3, 0) == KV_INVAL, "block 3 is free");
    check(kv_evict_shared(f.pool, all, 0, 3, 0) == KV_INVAL, "no branch keeps it");
    check(kv_evict_shared(f.pool, all, 3, 4, 0) == KV_RANGE, "there is no block 4");
    check(kv_evict_shared(f.pool, all, 3, 0, 4) == KV_RANGE, "there is no slot 4");
    check(kv_evict_shared(f.pool, all, 1, 1, 1) == KV_INVAL, "slot 1 of block 1 was never written");
    char *after = dump_of(f.pool);
    check(!strcmp(before, after), "%s\nbecame\n%s", before, after);
    must(kv_evict_shared(f.pool, all, 3, 0, 0));
    check(kv_evict_shared(f.pool, all, 3, 0, 0) == KV_INVAL, "no branch keeps it a second time");
    free(before);
    free(after);
    kv_pool_destroy(f.pool, true, NULL);
}

/* A pool without config.evicts refuses all of them, and its appends take no holes. */
static void run_other_pool(const void *argument)
{
    (void)argument;
    kv_pool_config config = {.num_blocks = 4, .block_tokens = 4, .max_branches = 4};
    kv_pool *pool;
    must(kv_pool_create(&pool, &config));
    kv_branch a = root_of(pool, 5);
    kv_keep keep;
    kv_move move;
    uint32_t slot = 0;
    check(kv_branch_keep(pool, a, &keep) == KV_INVAL && kv_branch_keeps(pool, &a, 1, &keep) == KV_INVAL,
          "no keep words");
    check(kv_pool_positions(pool) == NULL && kv_branch_find(pool, a, 0, &slot) == KV_INVAL, "no positions");
    check(kv_branch_evict(pool, a, KV_SCOPE_MASK, &slot, 1) == KV_INVAL, "no eviction");
    check(kv_evict_shared(pool, &a, 1, 0, 0) == KV_INVAL && kv_branch_thaw(pool, a) == KV_INVAL, "no votes");
    check(kv_branch_compact(pool, a, &move, 1, &slot) == KV_INVAL, "no compaction");
    check(kv_branch_compact_shared(pool, a, 0, &move, 1, &slot) == KV_INVAL, "no compaction of shared blocks");
    check(append(pool, a, 1) == KV_NO_HOLE, "at the end");
    kv_pool_destroy(pool, true, NULL);
}

static void run_scope_names(const void *argument)
{
    (void)argument;
    static const char *const names[KV_NUM_SCOPES] = {"private", "mask", "vote"};
    for (int i = 0; i < KV_NUM_SCOPES; i++) check(!strcmp(kv_scope_name[i], names[i]), "scope %d", i);
}

int main(int argc, char **argv)
{
    static const uint32_t block_tokens[] = {4, 16, 64, 128, 256};
    test_begin(argc, argv, "a branch forgets tokens from its own view alone");
    test_add(run_drawing, NULL, "drawing");
    for (int i = 0; i < 5; i++) test_add(run_lowest_hole, &block_tokens[i], "lowest_hole_%u", block_tokens[i]);
    test_add(run_one_token_blocks, NULL, "blocks_of_one_token");
    test_add(run_hole_of_a_shared_block, NULL, "hole_of_a_shared_block");
    test_add(run_tail_left, NULL, "last_block_left");
    test_add(run_tail_taken_over, NULL, "last_block_taken_over");
    test_add(run_promise, NULL, "promise");
    test_add(run_positions, NULL, "positions");
    test_add(run_vote, NULL, "vote");
    test_add(run_thaw, NULL, "thaw");
    test_add(run_compact, NULL, "compact");
    test_add(run_compact_shared, NULL, "compact_shared");
    test_add(run_tree, NULL, "tree");
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        test_add(run_refusal, &refusals[i], "refused_%s", refusals[i].name);
    test_add(run_refused_votes, NULL, "refused_votes");
    test_add(run_other_pool, NULL, "pool_that_does_not_evict");
    test_add(run_scope_names, NULL, "scope_names");
    return test_end();
}
