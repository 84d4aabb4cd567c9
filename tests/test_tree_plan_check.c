/* Claim: tree_plan_check notices every way in which a plan can be wrong, and names the fault. */
#include <inttypes.h>
#include <string.h>

#include "plan_trees.h"
#include "test.h"

typedef struct broken_case {
    const char *name;
    tree_strategy strategy;
    void (*damage)(tree_plan *plan);
    const char *message; /* part of what the check must say */
} broken_case;

/* An item with several ranges, one of them masked, and several rows. */
static tree_item *masked_item(tree_plan *plan)
{
    for (uint32_t i = 0; i < plan->num_items; i++) {
        tree_item *item = &plan->items[i];
        const tree_range *range = &plan->ranges[item->first_range];
        for (uint32_t r = 0; r < item->num_ranges && item->num_rows > 1 && item->num_ranges > 1; r++)
            if (range[r].mask != TREE_NO_MASK)
                return item;
    }
    check(false, "no item with a mask");
    return NULL;
}

static tree_range *masked_range(tree_plan *plan)
{
    tree_range *range = &plan->ranges[masked_item(plan)->first_range];
    while (range->mask == TREE_NO_MASK)
        range++;
    return range;
}

/* A query with at least two partials. */
static uint32_t *merge_list(tree_plan *plan)
{
    for (uint32_t q = 0; q < plan->num_queries; q++)
        if (plan->merge_first[q + 1] - plan->merge_first[q] >= 2)
            return &plan->merge_partials[plan->merge_first[q]];
    check(false, "no query that merges");
    return NULL;
}

static void set_tokens(tree_plan *plan, tree_item *item, tree_range *range, uint32_t num_tokens)
{
    item->num_tokens += num_tokens - range->num_tokens;
    plan->loaded_tokens += num_tokens;
    plan->loaded_tokens -= range->num_tokens;
    range->num_tokens = num_tokens;
}

static void drop_range(tree_plan *p)
{
    tree_item *item = &p->items[p->num_items - 1];
    item->num_ranges--;
    item->num_tokens -= p->ranges[item->first_range + item->num_ranges].num_tokens;
    p->loaded_tokens -= p->ranges[item->first_range + item->num_ranges].num_tokens;
}
static void drop_token(tree_plan *p) { set_tokens(p, p->items, p->ranges, p->ranges[0].num_tokens - 1); }
static void extra_token(tree_plan *p)
{
    tree_item *item = p->items;
    while (p->ranges[item->first_range].first_slot + p->ranges[item->first_range].num_tokens == p->block_tokens)
        item++;
    set_tokens(p, item, &p->ranges[item->first_range], p->ranges[item->first_range].num_tokens + 1);
}
static void duplicate_range(tree_plan *p)
{
    tree_item *item = &p->items[0];
    check(item->num_ranges >= 2, "an item of two ranges");
    tree_range *second = &p->ranges[item->first_range + 1];
    uint32_t num_tokens = p->ranges[item->first_range].num_tokens;
    set_tokens(p, item, second, num_tokens);
    *second = p->ranges[item->first_range];
}
static void shift_slot(tree_plan *p) { p->ranges[0].first_slot += 1; }
static void other_block(tree_plan *p) { p->blocks[p->ranges[0].first_block] = p->blocks[p->num_blocks - 1]; }
static void unknown_block(tree_plan *p)
{
    p->blocks[p->ranges[0].first_block] = 4000000000u;
    p->max_block = 4000000000u;
}
static void exchange_ranges_blocks(tree_plan *p)
{
    uint32_t swap = p->ranges[0].first_block;
    p->ranges[0].first_block = p->ranges[p->num_ranges - 1].first_block;
    p->ranges[p->num_ranges - 1].first_block = swap;
}
static void wrong_row(tree_plan *p) { p->items[p->num_items - 1].first_row -= 1; }
static void exchange_rows(tree_plan *p)
{
    uint32_t swap = p->rows[0];
    p->rows[0] = p->rows[p->num_queries - 1];
    p->rows[p->num_queries - 1] = swap;
}
static void row_beyond(tree_plan *p) { p->rows[0] = p->num_queries; }
static void rows_beyond(tree_plan *p) { p->items[0].first_row = p->num_queries - p->items[0].num_rows + 1; }
static void no_rows(tree_plan *p) { p->items[0].num_rows = 0; }
static void clear_mask_bit(tree_plan *p)
{
    p->masks[masked_range(p)->mask] &= p->masks[masked_range(p)->mask] - 1;
    p->masked_pairs++;
}
static void set_mask_bit(tree_plan *p)
{
    uint64_t *word = &p->masks[masked_range(p)->mask];
    uint64_t missing = ~*word & ((UINT64_C(2) << (masked_item(p)->num_rows - 1)) - 1);
    *word |= missing & (0 - missing);
    p->masked_pairs--;
}
static void move_mask_bit(tree_plan *p)
{
    uint64_t *word = &p->masks[masked_range(p)->mask];
    uint64_t missing = ~*word & ((UINT64_C(2) << (masked_item(p)->num_rows - 1)) - 1);
    *word = (*word & (*word - 1)) | (missing & (0 - missing));
}
static void mask_beyond_rows(tree_plan *p) { p->masks[masked_range(p)->mask] |= UINT64_C(1) << 63; }
static void mask_beyond(tree_plan *p) { masked_range(p)->mask = p->num_mask_words; }
static void forget_mask(tree_plan *p)
{
    tree_item *item = masked_item(p);
    uint64_t hidden = 0;
    for (uint32_t t = 0; t < masked_range(p)->num_tokens; t++)
        hidden += item->num_rows - (uint32_t)__builtin_popcountll(p->masks[masked_range(p)->mask + t]);
    p->masked_pairs -= hidden;
    masked_range(p)->mask = TREE_NO_MASK;
}
static void exchange_merge(tree_plan *p)
{
    uint32_t *list = merge_list(p), swap = list[0];
    list[0] = list[1];
    list[1] = swap;
}
static void merge_twice(tree_plan *p) { merge_list(p)[1] = merge_list(p)[0]; }
static void merge_of_another(tree_plan *p)
{
    uint32_t *list = merge_list(p);
    list[0] = list == p->merge_partials ? p->merge_partials[p->num_partials - 1] : p->merge_partials[0];
}
static void merge_beyond(tree_plan *p) { merge_list(p)[0] = p->num_partials; }
static void merge_short(tree_plan *p)
{
    for (uint32_t q = 1; q < p->num_queries; q++)
        if (p->merge_first[q] > p->merge_first[q - 1]) {
            p->merge_first[q]--;
            return;
        }
}
static void merge_backwards(tree_plan *p) { p->merge_first[1] = p->num_partials + 1; }
static void merge_total(tree_plan *p) { p->merge_first[p->num_queries]--; }
static void reuse_partial(tree_plan *p) { p->items[1].first_partial = p->items[0].first_partial; }
static void partial_beyond(tree_plan *p) { p->items[p->num_items - 1].first_partial += 1; }
static void range_beyond(tree_plan *p) { p->items[p->num_items - 1].num_ranges += 1; }
static void block_beyond(tree_plan *p) { p->ranges[p->num_ranges - 1].first_block = p->num_blocks; }
static void slot_beyond(tree_plan *p) { p->ranges[0].first_slot += p->block_tokens; }
static void empty_range(tree_plan *p) { set_tokens(p, p->items, p->ranges, 0); }
static void item_tokens(tree_plan *p) { p->items[0].num_tokens++; }
static void loaded_tokens(tree_plan *p) { p->loaded_tokens++; }
static void masked_pairs(tree_plan *p) { p->masked_pairs--; }
static void unique_tokens(tree_plan *p) { p->unique_tokens++; }
static void path_tokens(tree_plan *p) { p->path_tokens--; }
static void largest_block(tree_plan *p) { p->max_block--; }
static void larger_block(tree_plan *p) { p->max_block++; }
static void fewer_items(tree_plan *p) { p->num_items--; }
static void wrong_index(tree_plan *p) { p->table_index[p->ranges[0].first_block]++; }
static void other_paging(tree_plan *p) { p->block_tokens *= 2; }
static void other_queries(tree_plan *p) { p->num_queries--; }

static const broken_case cases[] = {
    {"drop_range", TREE_FLASH, drop_range, "never sees token"},
    {"drop_token", TREE_NODE, drop_token, "never sees token"},
    {"extra_token", TREE_FLASH, extra_token, "not on its path"},
    {"duplicate_range", TREE_FLASH, duplicate_range, "a second time"},
    {"shift_slot", TREE_NODE, shift_slot, "not on its path"},
    {"other_block", TREE_NODE_CHUNK, other_block, "not on its path"},
    {"unknown_block", TREE_RADIX, unknown_block, "not on its path"},
    {"exchange_blocks", TREE_NODE, exchange_ranges_blocks, ""},
    {"wrong_row", TREE_FLASH, wrong_row, "merges partial"},
    {"exchange_rows", TREE_NODE, exchange_rows, ""},
    {"row_beyond", TREE_NODE, row_beyond, "row 0 is query"},
    {"rows_beyond", TREE_NODE, rows_beyond, "item 0: rows"},
    {"no_rows", TREE_FLASH_DECODING, no_rows, "item 0: rows"},
    {"clear_mask_bit", TREE_FLATTEN, clear_mask_bit, "never sees token"},
    {"set_mask_bit", TREE_FLATTEN, set_mask_bit, "not on its path"},
    {"move_mask_bit", TREE_FLATTEN, move_mask_bit, "never sees token"},
    {"mask_beyond_rows", TREE_FLATTEN, mask_beyond_rows, "mask bits beyond row"},
    {"mask_beyond", TREE_FLATTEN, mask_beyond, "mask words"},
    {"forget_mask", TREE_FLATTEN, forget_mask, "not on its path"},
    {"exchange_merge", TREE_NODE_CHUNK, exchange_merge, "after token"},
    {"exchange_merge_flatten", TREE_FLATTEN, exchange_merge, "after token"},
    {"exchange_merge_cost", TREE_COST, exchange_merge, "after token"},
    {"merge_twice", TREE_NODE_CHUNK, merge_twice, "a second time"},
    {"merge_of_another", TREE_RADIX, merge_of_another, "merges partial"},
    {"merge_beyond", TREE_NODE, merge_beyond, "merges partial"},
    {"merge_short", TREE_NODE, merge_short, ""},
    {"merge_backwards", TREE_NODE, merge_backwards, "ends before it begins"},
    {"merge_total", TREE_NODE, merge_total, "merge lists from"},
    {"reuse_partial", TREE_NODE, reuse_partial, "both write partial"},
    {"partial_beyond", TREE_NODE, partial_beyond, ": partials"},
    {"range_beyond", TREE_NODE, range_beyond, ": ranges"},
    {"block_beyond", TREE_NODE, block_beyond, ": blocks"},
    {"slot_beyond", TREE_NODE, slot_beyond, "tokens from slot"},
    {"empty_range", TREE_NODE, empty_range, "tokens from slot"},
    {"item_tokens", TREE_COST, item_tokens, "its ranges have"},
    {"loaded_tokens", TREE_COST, loaded_tokens, "loaded"},
    {"masked_pairs", TREE_COST, masked_pairs, "masked"},
    {"unique_tokens", TREE_COST, unique_tokens, "the tree has"},
    {"path_tokens", TREE_COST, path_tokens, "the tree has"},
    {"largest_block", TREE_COST, largest_block, "largest block"},
    {"larger_block", TREE_NODE, larger_block, "largest block"},
    {"fewer_items", TREE_NODE, fewer_items, "the items have"},
    {"wrong_index", TREE_NODE, wrong_index, "in the tables"},
    {"other_paging", TREE_NODE, other_paging, "plan for"},
    {"other_queries", TREE_NODE, other_queries, "plan for"},
};

static void run(const void *argument)
{
    const broken_case *c = argument;
    char message[160] = "untouched";
    kv_tree *tree = plan_tree_levels("1,3,9/50,21,10", 16, 0);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = c->strategy, .piece_tokens = 40});
    c->damage(plan);
    tree_status status = tree_plan_check(plan, tree, message, sizeof message);
    check(status == TREE_BAD_PLAN, "damage noticed, not: %s", tree_status_string(status));
    check(message[0] && strstr(message, c->message), "'%s' in '%s'", c->message, message);
    test_note("%s", message);
    check(tree_plan_check(plan, tree, NULL, 0) == TREE_BAD_PLAN, "without a message as well");
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* Every single bit of every mask word of a plan matters. */
static void run_every_mask_bit(const void *argument)
{
    (void)argument;
    char message[160];
    kv_tree *tree = plan_tree_levels("1,70/9,2", 4, 0);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_TREE_MASK});
    check(plan->num_mask_words == 280, "two words for each token of the leaves: %" PRIu32, plan->num_mask_words);
    for (uint32_t bit = 0; bit < 64 * plan->num_mask_words; bit += 1 + test_below(3)) {
        plan->masks[bit / 64] ^= UINT64_C(1) << bit % 64;
        check(tree_plan_check(plan, tree, message, sizeof message) == TREE_BAD_PLAN, "bit %" PRIu32, bit);
        plan->masks[bit / 64] ^= UINT64_C(1) << bit % 64;
    }
    check(tree_plan_check(plan, tree, message, sizeof message) == TREE_OK, "restored: %s", message);
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* A row of an item that sees none of its tokens would merge nothing. */
static void run_row_that_sees_nothing(const void *argument)
{
    (void)argument;
    char message[160];
    kv_tree *tree = plan_tree_levels("2/9", 4, 0);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_TREE_MASK});
    for (uint32_t w = 0; w < plan->num_mask_words; w++) {
        plan->masked_pairs += plan->masks[w] & 1;
        plan->masks[w] &= ~UINT64_C(1);
    }
    check(tree_plan_check(plan, tree, message, sizeof message) == TREE_BAD_PLAN && strstr(message, "sees nothing"),
          "'%s'", message);
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

static void run_message_is_cut(const void *argument)
{
    (void)argument;
    char message[12];
    memset(message, '#', sizeof message);
    kv_tree *tree = plan_tree_levels("1,2/8,8", 4, 0);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_NODE});
    plan->loaded_tokens++;
    check(tree_plan_check(plan, tree, message, 8) == TREE_BAD_PLAN, "damage noticed");
    check(!strcmp(message, "loaded ") && message[8] == '#', "8 bytes, the last one 0");
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* A tree that is none: two nodes share a slot. */
static void run_tree_with_a_slot_twice(const void *argument)
{
    (void)argument;
    char message[160];
    kv_tree *tree = plan_tree_levels("1,2/8,8", 4, 0);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_NODE});
    tree->blocks[tree->nodes[2].first_block] = tree->blocks[tree->nodes[1].first_block];
    check(tree_plan_check(plan, tree, message, sizeof message) == TREE_BAD_PLAN && strstr(message, "stands in nodes"),
          "'%s'", message);
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "tree_plan_check notices every way in which a plan can be wrong");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        test_add(run, &cases[i], "%s", cases[i].name);
    test_add(run_every_mask_bit, NULL, "every_mask_bit");
    test_add(run_row_that_sees_nothing, NULL, "row_that_sees_nothing");
    test_add(run_message_is_cut, NULL, "message_is_cut");
    test_add(run_tree_with_a_slot_twice, NULL, "tree_with_a_slot_twice");
    return test_end();
}
