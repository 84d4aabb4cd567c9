/* Claim: tables and drafts that form no tree are refused, in whatever order they come, and nothing is written. */
#include <stdlib.h>
#include <string.h>

#include "hand_trees.h"
#include "test.h"

enum { BLOCK_TOKENS = 4, POOL_BLOCKS = 16, MAX_TABLES = 3, MAX_BLOCKS = 4, MAX_DRAFT = 4 };

typedef struct row {
    uint32_t length, num_blocks, blocks[MAX_BLOCKS];
} row;

typedef struct draft_row {
    uint32_t num_tokens, parent[MAX_DRAFT];
} draft_row;

typedef struct input {
    const char *name;
    kv_status status;
    uint32_t num_tables;
    row tables[MAX_TABLES];
} input;

typedef struct draft_input {
    input in;
    draft_row drafts[MAX_TABLES];
} draft_input;

static const input without_drafts[] = {
    {"block_twice", KV_INVAL, 1, {{12, 3, {0, 1, 0}}}},
    {"block_twice_in_a_row", KV_INVAL, 1, {{8, 2, {5, 5}}}},
    {"block_twice_behind_shared_prefix", KV_INVAL, 2, {{8, 2, {0, 1}}, {12, 3, {0, 1, 0}}}},
    {"two_predecessors", KV_INVAL, 2, {{8, 2, {0, 1}}, {8, 2, {2, 1}}}},
    {"two_predecessors_behind_shared_prefix", KV_INVAL, 2, {{12, 3, {0, 1, 2}}, {12, 3, {0, 3, 2}}}},
    {"front_of_one_inside_another", KV_INVAL, 2, {{8, 2, {0, 1}}, {4, 1, {1}}}},
    {"other_depth", KV_INVAL, 2, {{12, 3, {0, 1, 2}}, {8, 2, {0, 2}}}},
    {"cycle", KV_INVAL, 2, {{8, 2, {0, 1}}, {8, 2, {1, 0}}}},
    {"cycle_of_three", KV_INVAL, 3, {{8, 2, {0, 1}}, {8, 2, {1, 2}}, {8, 2, {2, 0}}}},
    {"joins_a_third", KV_INVAL, 3, {{8, 2, {0, 1}}, {8, 2, {2, 3}}, {8, 2, {0, 3}}}},
    {"part_filled_block_twice", KV_INVAL, 2, {{6, 2, {0, 1}}, {7, 2, {2, 1}}}},
    {"one_token_of_a_block_elsewhere", KV_INVAL, 2, {{12, 3, {0, 1, 2}}, {5, 2, {3, 2}}}},
    {"table_too_short", KV_INVAL, 2, {{9, 2, {0, 1}}, {4, 1, {2}}}},
    {"table_without_blocks", KV_INVAL, 1, {{1, 0, {0}}}},
    {"id_out_of_range", KV_RANGE, 1, {{4, 1, {POOL_BLOCKS}}}},
    {"id_none", KV_RANGE, 1, {{8, 2, {0, KV_NONE}}}},
    {"id_none_in_front", KV_RANGE, 1, {{4, 1, {KV_NONE}}}},
    {"id_none_behind_shared_prefix", KV_RANGE, 2, {{8, 2, {0, 1}}, {8, 2, {0, KV_NONE}}}},
    {"id_out_of_range_behind_shared_prefix", KV_RANGE, 2, {{8, 2, {0, 1}}, {8, 2, {0, POOL_BLOCKS}}}},
    {"id_out_of_range_behind_own_blocks", KV_RANGE, 2, {{8, 2, {0, 1}}, {12, 3, {0, 2, POOL_BLOCKS + 7}}}},
    {"length_out_of_range", KV_RANGE, 1, {{KV_MAX_LENGTH + 1, 4, {0, 1, 2, 3}}}},
};

#define NONE KV_NONE
static const draft_input with_drafts[] = {
    {{"draft_longer_than_table", KV_INVAL, 1, {{3, 1, {0}}}}, {{4, {NONE, 0, 1, 2}}}},
    {{"parent_is_itself", KV_INVAL, 1, {{4, 1, {0}}}}, {{2, {NONE, 1}}}},
    {{"parent_is_later", KV_INVAL, 1, {{4, 1, {0}}}}, {{3, {NONE, 2, 0}}}},
    {{"parent_beyond_draft", KV_INVAL, 1, {{4, 1, {0}}}}, {{2, {NONE, 7}}}},
    {{"two_drafts_in_a_block", KV_INVAL, 2, {{6, 2, {0, 1}}, {6, 2, {0, 1}}}}, {{1, {NONE}}, {1, {NONE}}}},
    {{"two_drafts_share_a_later_slot", KV_INVAL, 2, {{6, 2, {0, 1}}, {8, 2, {0, 1}}}}, {{1, {NONE}}, {1, {NONE}}}},
    {{"two_drafts_from_a_block_on", KV_INVAL, 2, {{6, 2, {0, 1}}, {8, 2, {0, 1}}}},
     {{2, {NONE, 0}}, {4, {NONE, 0, 1, 2}}}},
    {{"draft_in_a_past", KV_INVAL, 2, {{7, 2, {0, 1}}, {6, 2, {0, 1}}}}, {{2, {NONE, 0}}, {0, {0}}}},
    {{"draft_block_in_a_past", KV_INVAL, 2, {{7, 2, {0, 1}}, {5, 2, {0, 1}}}}, {{3, {NONE, 0, 1}}, {0, {0}}}},
    {{"draft_block_of_another_past", KV_INVAL, 2, {{7, 2, {0, 1}}, {8, 2, {1, 2}}}}, {{3, {NONE, 0, 1}}, {0, {0}}}},
    {{"second_draft_block_of_another_draft", KV_INVAL, 2, {{10, 3, {0, 1, 2}}, {10, 3, {3, 4, 2}}}},
     {{3, {NONE, 0, 1}}, {3, {NONE, 0, 1}}}},
    {{"draft_in_its_own_past", KV_INVAL, 1, {{10, 3, {0, 1, 0}}}}, {{2, {NONE, NONE}}}},
    {{"draft_block_twice", KV_INVAL, 1, {{9, 3, {0, 1, 1}}}}, {{4, {NONE, 0, 1, 2}}}},
    {{"draft_id_out_of_range", KV_RANGE, 1, {{6, 2, {0, POOL_BLOCKS}}}}, {{2, {NONE, NONE}}}},
    {{"past_no_tree", KV_INVAL, 2, {{9, 3, {0, 1, 2}}, {9, 3, {3, 1, 4}}}}, {{1, {NONE}}, {1, {NONE}}}},
};
#undef NONE

static const uint32_t orders[][MAX_TABLES] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

static void refuse(const input *in, const draft_row *drafts, const uint32_t *order, bool with_draft)
{
    kv_table tables[MAX_TABLES + 1] = {{(const uint32_t[]){15, 14}, 2, 7, 1}};
    kv_draft draft[MAX_TABLES + 1] = {{0, NULL}}; /* table 0 has nothing to do with the others */
    uint32_t num_tables = 1;
    for (uint32_t i = 0; i < MAX_TABLES; i++) {
        const row *r = &in->tables[order[i]];
        if (order[i] >= in->num_tables) continue;
        tables[num_tables] = (kv_table){r->blocks, r->num_blocks, r->length, 1};
        if (drafts) draft[num_tables] = (kv_draft){drafts[order[i]].num_tokens, drafts[order[i]].parent};
        num_tables++;
    }
    kv_tree *const untouched = (kv_tree *)tables, *tree = untouched;
    kv_status status = with_draft ? kv_tree_build_drafts(&tree, tables, draft, num_tables, BLOCK_TOKENS, POOL_BLOCKS)
                              : kv_tree_build(&tree, tables, num_tables, BLOCK_TOKENS, POOL_BLOCKS);
    check(status == in->status, "%s: status %d, expected %d", in->name, status, in->status);
    check(tree == untouched, "%s: the result was written", in->name);
    char message[160];
    status = kv_tree_explain(tables, with_draft ? draft : NULL, num_tables, BLOCK_TOKENS, POOL_BLOCKS, message,
                             sizeof message);
    check(status == in->status && !strncmp(message, "table ", 6), "%s: explained as %d, \"%s\"", in->name, status,
          message);
}

static void run_tables(const void *argument)
{
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        refuse(argument, NULL, orders[i], false);
        refuse(argument, NULL, orders[i], true); /* all drafts empty: the same rules */
    }
}

static void run_drafts(const void *argument)
{
    const draft_input *d = argument;
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        refuse(&d->in, d->drafts, orders[i], true);
}

static void run_block_tokens(const void *argument)
{
    static const uint32_t wrong[] = {0, 3, 12, 255, 257, 512, 1u << 31};
    (void)argument;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        kv_table table = {(const uint32_t[]){0}, 1, 1, 1};
        kv_tree *const untouched = (kv_tree *)&table, *tree = untouched;
        check(kv_tree_build(&tree, &table, 1, wrong[i], 1) == KV_INVAL && tree == untouched, "%u", wrong[i]);
    }
}

static void run_missing_arguments(const void *argument)
{
    kv_table table = {(const uint32_t[]){0, 1}, 2, 5, 1};
    kv_draft draft = {2, NULL};
    kv_tree *const untouched = (kv_tree *)&table, *tree = untouched;
    (void)argument;
    check(kv_tree_build(NULL, &table, 1, 4, 2) == KV_INVAL, "no place for the result");
    check(kv_tree_build(&tree, NULL, 1, 4, 2) == KV_INVAL, "no tables");
    check(kv_tree_build(&tree, &(kv_table){NULL, 2, 5, 1}, 1, 4, 2) == KV_INVAL, "no blocks");
    check(kv_tree_build_drafts(&tree, &table, NULL, 1, 4, 2) == KV_INVAL, "no drafts");
    check(kv_tree_build_drafts(&tree, &table, &draft, 1, 4, 2) == KV_INVAL, "no parents");
    check(kv_tree_build(&tree, &table, 1, 4, 0) == KV_RANGE, "an empty pool");
    check(tree == untouched, "the result was written");
}

/* Entries behind a table's last token are not read. */
static void run_blocks_beyond_length(const void *argument)
{
    static const uint32_t first[] = {0, 1, 1, KV_NONE}, second[] = {0, 2, 0, 99};
    (void)argument;
    kv_table tables[] = {{first, 4, 8, 1}, {second, 4, 5, 2}, {second, 4, 0, 3}};
    kv_tree *tree = NULL;
    char message[200];
    check(kv_tree_build(&tree, tables, 3, BLOCK_TOKENS, 3) == KV_OK, "refused");
    check(tree->num_nodes == 3 && tree->unique_tokens == 9, "%u nodes", tree->num_nodes);
    check(kv_tree_check(tree, tables, 3, message, sizeof message) == KV_OK, "%s", message);
    kv_tree_destroy(tree);
}

/* 2^27 draft tokens, all of one list of parents: more than the tree's 32 bits can count, noticed before any block. */
static void run_too_many_queries(const void *argument)
{
    enum { NUM_TABLES = 128, NUM_TOKENS = 1 << 20 };
    static kv_table tables[NUM_TABLES];
    static kv_draft drafts[NUM_TABLES];
    static uint32_t blocks[NUM_TOKENS / 256]; /* of all tables: without the limit, KV_INVAL */
    (void)argument;
    uint32_t *parent = malloc(NUM_TOKENS * sizeof *parent);
    check(parent, "the test itself is out of memory");
    for (uint32_t i = 0; i < NUM_TOKENS; i++) parent[i] = KV_NONE;
    for (uint32_t i = 0; i < NUM_TOKENS / 256; i++) blocks[i] = i;
    for (uint32_t t = 0; t < NUM_TABLES; t++) {
        tables[t] = (kv_table){blocks, NUM_TOKENS / 256, NUM_TOKENS, 1 + t};
        drafts[t] = (kv_draft){NUM_TOKENS, parent};
    }
    kv_tree *const untouched = (kv_tree *)tables, *tree = untouched;
    kv_status status = kv_tree_build_drafts(&tree, tables, drafts, NUM_TABLES, 256, NUM_TOKENS / 256);
    check(status == KV_RANGE && tree == untouched, "%s", kv_status_string(status));
    char message[160];
    check(kv_tree_explain(tables, drafts, NUM_TABLES, 256, NUM_TOKENS / 256, message, sizeof message) == KV_RANGE
          && !strcmp(message, "268435456 queries and draft tokens, at most 268435455"), "%s", message);
    free(parent);
}

typedef struct sentence {
    draft_input input; /* its name is the sentence */
    uint32_t block_tokens;
} sentence;

#define NONE KV_NONE
static const sentence sentences[] = {
    {{{"table 1 index 2: block 5 for the second time", KV_INVAL, 2, {{4, 1, {0}}, {12, 3, {5, 6, 5}}}}, {{0}}}, 4},
    {{{"table 1 index 2: block 0 for the second time", KV_INVAL, 2, {{8, 2, {0, 1}}, {12, 3, {0, 1, 0}}}}, {{0}}}, 4},
    {{{"table 1 index 1: block 1 stands behind block 2, in table 0 index 1 behind block 0", KV_INVAL, 2,
       {{8, 2, {0, 1}}, {8, 2, {2, 1}}}}, {{0}}}, 4},
    {{{"table 2 index 0: block 1 stands at the front, in table 0 index 1 behind block 0", KV_INVAL, 3,
       {{8, 2, {0, 1}}, {4, 1, {2}}, {4, 1, {1}}}}, {{0}}}, 4},
    {{{"table 1 index 1: block 0 stands behind block 3, in table 0 index 0 at the front", KV_INVAL, 2,
       {{8, 2, {0, 1}}, {5, 2, {3, 0}}}}, {{0}}}, 4},
    {{{"table 1: 2 blocks, but its length of 9 needs 3", KV_INVAL, 2, {{4, 1, {0}}, {9, 2, {1, 2}}}}, {{0}}}, 4},
    {{{"table 0 index 1: block 16, but the pool has 16", KV_RANGE, 1, {{8, 2, {0, POOL_BLOCKS}}}}, {{0}}}, 4},
    {{{"table 0: length 1073741825, at most 1073741824", KV_RANGE, 1, {{KV_MAX_LENGTH + 1, 4, {0}}}}, {{0}}}, 4},
    {{{"block_tokens 12, expected a power of two from 1 to 256", KV_INVAL, 1, {{4, 1, {0}}}}, {{0}}}, 12},
    {{{"table 1: 4 draft tokens, but a length of 3", KV_INVAL, 2, {{4, 1, {0}}, {3, 1, {1}}}},
      {{0}, {4, {NONE, 0, 1, 2}}}}, 4},
    {{{"table 1: draft token 1 continues draft token 7, which is not before it", KV_INVAL, 2,
       {{4, 1, {0}}, {4, 1, {1}}}}, {{0}, {2, {NONE, 7}}}}, 4},
    {{{"table 1 index 1: block 1 holds draft tokens of table 0 already", KV_INVAL, 2,
       {{6, 2, {0, 1}}, {6, 2, {0, 1}}}}, {{1, {NONE}}, {1, {NONE}}}}, 4},
    {{{"table 0 index 1: block 1 for draft tokens holds tokens of table 1", KV_INVAL, 2,
       {{7, 2, {0, 1}}, {6, 2, {0, 1}}}}, {{2, {NONE, 0}}, {0}}}, 4},
    {{{"table 0 index 2: block 1 for the second time", KV_INVAL, 1, {{9, 3, {0, 1, 1}}}},
      {{4, {NONE, 0, 1, 2}}}}, 4},
    {{{"", KV_OK, 2, {{7, 2, {0, 1}}, {5, 2, {0, 1}}}}, {{2, {NONE, 0}}, {0}}}, 4},
};
#undef NONE

static void run_sentence(const void *argument)
{
    const sentence *s = argument;
    const input *in = &s->input.in;
    kv_table tables[MAX_TABLES];
    kv_draft drafts[MAX_TABLES];
    char message[160], cut[11] = "untouched";
    for (uint32_t t = 0; t < in->num_tables; t++) {
        tables[t] = (kv_table){in->tables[t].blocks, in->tables[t].num_blocks, in->tables[t].length, 1};
        drafts[t] = (kv_draft){s->input.drafts[t].num_tokens, s->input.drafts[t].parent};
    }
    kv_status status = kv_tree_explain(tables, drafts, in->num_tables, s->block_tokens, POOL_BLOCKS, message,
                                       sizeof message);
    check(status == in->status && !strcmp(message, in->name), "status %d, \"%s\", expected \"%s\"", status, message,
          in->name);
    check(kv_tree_explain(tables, drafts, in->num_tables, s->block_tokens, POOL_BLOCKS, NULL, 0) == status, "no room");
    kv_tree_explain(tables, drafts, in->num_tables, s->block_tokens, POOL_BLOCKS, cut, 9);
    check(strlen(cut) < 9 && !strncmp(cut, message, strlen(cut)) && cut[9] == 0, "cut at the end of its room");
}

static void run_missing_arrays(const void *argument)
{
    kv_table table = {(const uint32_t[]){0, 1}, 2, 5, 1};
    char message[160];
    (void)argument;
    check(kv_tree_explain(NULL, NULL, 2, 4, 2, message, sizeof message) == KV_INVAL
          && !strcmp(message, "2 tables, but no array of tables"), "%s", message);
    check(kv_tree_explain(&(kv_table){NULL, 2, 5, 1}, NULL, 1, 4, 2, message, sizeof message) == KV_INVAL
          && !strcmp(message, "table 0: length 5, but no array of blocks"), "%s", message);
    check(kv_tree_explain(&table, &(kv_draft){2, NULL}, 1, 4, 2, message, sizeof message) == KV_INVAL
          && !strcmp(message, "table 0: 2 draft tokens, but no parents"), "%s", message);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "tables and drafts that form no tree are refused, and nothing is written");
    for (size_t i = 0; i < sizeof without_drafts / sizeof *without_drafts; i++)
        test_add(run_tables, &without_drafts[i], "%s", without_drafts[i].name);
    for (size_t i = 0; i < sizeof with_drafts / sizeof *with_drafts; i++)
        test_add(run_drafts, &with_drafts[i], "%s", with_drafts[i].in.name);
    for (size_t i = 0; i < sizeof sentences / sizeof *sentences; i++)
        test_add(run_sentence, &sentences[i], "sentence_%zu", i);
    test_add(run_missing_arrays, NULL, "sentences_of_missing_arrays");
    test_add(run_block_tokens, NULL, "block_tokens");
    test_add(run_missing_arguments, NULL, "missing_arguments");
    test_add(run_blocks_beyond_length, NULL, "blocks_beyond_length");
    test_add(run_too_many_queries, NULL, "refuses_2_27_draft_tokens");
    return test_end();
}
