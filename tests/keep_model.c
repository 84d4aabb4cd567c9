/* Keep words made by hand, and the coverage of a plan by brute force. */
#include "keep_model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

static void *zeros(uint64_t count, size_t bytes)
{
    void *array = calloc(count ? count : 1, bytes);
    check(array, "memory for a test");
    return array;
}

uint32_t keep_length(const kv_tree *tree, uint32_t query)
{
    uint32_t node = tree->query_node[query];
    return node == KV_NONE ? 0 : tree->nodes[node].first_token + tree->nodes[node].num_tokens;
}

/* ---- keep words ---- */

static uint64_t *word_of(const keep_set *set, uint32_t query, uint32_t slot, uint64_t *bit)
{
    const kv_keep *keep = &set->keeps[query];
    uint32_t in_block = slot % set->tree->block_tokens;
    *bit = UINT64_C(1) << in_block % 64;
    uint64_t index = (uint64_t)(slot / set->tree->block_tokens) * keep->words_per_block + in_block / 64;
    return set->words + (keep->words - set->words) + index;
}

keep_set keep_set_create(const kv_tree *tree)
{
    keep_set set = {.tree = tree, .keeps = zeros(tree->num_queries, sizeof *set.keeps),
                    .lengths = zeros(tree->num_queries, sizeof *set.lengths)};
    uint32_t words_per_block = tree->block_tokens > 64 ? tree->block_tokens / 64 : 1;
    uint64_t num_words = 0, bit;
    for (uint32_t q = 0; q < tree->num_queries; q++) {
        uint32_t num_blocks = (keep_length(tree, q) + tree->block_tokens - 1) / tree->block_tokens;
        set.keeps[q] = (kv_keep){.words_per_block = words_per_block, .num_blocks = num_blocks};
        num_words += (uint64_t)num_blocks * words_per_block;
    }
    uint64_t *next = set.words = zeros(num_words, sizeof *set.words);
    for (uint32_t q = 0; q < tree->num_queries; q++) {
        set.keeps[q].words = next;
        next += (uint64_t)set.keeps[q].num_blocks * words_per_block;
        set.keeps[q].num_kept = set.lengths[q] = keep_length(tree, q);
        for (uint32_t slot = 0; slot < set.lengths[q]; slot++)
            *word_of(&set, q, slot, &bit) |= bit;
    }
    return set;
}

keep_set keep_set_copy(const keep_set *set)
{
    keep_set copy = keep_set_create(set->tree);
    for (uint32_t q = 0; q < set->tree->num_queries; q++)
        for (uint32_t slot = 0; slot < set->lengths[q]; slot++)
            if (!kv_keep_slot(&set->keeps[q], set->tree->block_tokens, slot))
                keep_evict(&copy, q, slot);
    return copy;
}

void keep_set_free(keep_set *set)
{
    free(set->lengths);
    free(set->keeps);
    free(set->words);
}

void keep_evict(keep_set *set, uint32_t query, uint32_t slot)
{
    uint64_t bit;
    if (slot >= keep_length(set->tree, query))
        return;
    uint64_t *word = word_of(set, query, slot, &bit);
    set->keeps[query].num_kept -= (*word & bit) != 0;
    *word &= ~bit;
}

void keep_take_hole(keep_set *set, uint32_t query, uint32_t slot)
{
    uint64_t bit, *word = word_of(set, query, slot, &bit);
    set->keeps[query].num_kept += (*word & bit) == 0;
    *word |= bit;
}

void keep_evict_random(keep_set *set, uint32_t percent, bool only_private)
{
    const kv_tree *tree = set->tree;
    for (uint32_t q = 0; q < tree->num_queries; q++) {
        uint32_t kind = test_below(6), chance = kind == 0 ? 0 : kind == 1 ? 100 : percent;
        for (uint32_t n = tree->query_node[q]; n != KV_NONE; n = tree->nodes[n].parent) {
            const kv_node *node = &tree->nodes[n];
            for (uint32_t t = 0; t < node->num_tokens && (node->num_rows == 1 || !only_private); t++)
                if (test_below(100) < chance)
                    keep_evict(set, q, node->first_token + t);
        }
    }
}

void keep_filter_paths(token_paths *paths, const keep_set *set)
{
    uint64_t next = 0;
    for (uint32_t q = 0; q < paths->num_queries; q++) {
        uint64_t begin = paths->first[q], end = paths->first[q + 1];
        check(end - begin == keep_length(set->tree, q), "query %" PRIu32 " sees its table", q);
        if (q)
            paths->first[q] = next;
        for (uint64_t i = begin; i < end; i++)
            if (kv_keep_slot(&set->keeps[q], set->tree->block_tokens, (uint32_t)(i - begin)))
                paths->slots[next++] = paths->slots[i];
    }
    paths->first[paths->num_queries] = next;
}

/* ---- coverage ---- */

/* Where a token stands in the tables, by its block and slot. */
static uint32_t *positions_of(const kv_tree *tree)
{
    uint32_t largest = 0;
    for (uint32_t i = 0; i < tree->num_blocks; i++)
        largest = tree->blocks[i] != UINT32_MAX && tree->blocks[i] > largest ? tree->blocks[i] : largest;
    uint32_t *positions = zeros(((uint64_t)largest + 1) * tree->block_tokens, sizeof *positions);
    for (uint32_t n = 0; n < tree->num_nodes; n++) {
        const kv_node *node = &tree->nodes[n];
        for (uint32_t t = 0; t < node->num_tokens; t++) {
            uint32_t at = node->first_slot + t, block = tree->blocks[node->first_block + at / tree->block_tokens];
            positions[(uint64_t)block * tree->block_tokens + at % tree->block_tokens] = node->first_token + t;
        }
    }
    return positions;
}

static bool is_seen(const tree_plan *plan, const tree_item *item, const tree_range *range, uint32_t row, uint32_t t)
{
    uint32_t words = (item->num_rows + 63) / 64;
    return range->mask == TREE_NO_MASK
           || (plan->masks[range->mask + (uint64_t)t * words + row / 64] >> row % 64 & 1);
}

/* seen[first[query] + slot]: how often; returns the pairs that are hidden. */
static uint64_t count_covered(const tree_plan *plan, const kv_tree *tree, const uint64_t *first, uint8_t *seen)
{
    uint32_t *positions = positions_of(tree);
    uint64_t hidden = 0;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
            const tree_range *range = &plan->ranges[r];
            for (uint32_t t = 0; t < range->num_tokens; t++) {
                uint32_t at = range->first_slot + t, block = plan->blocks[range->first_block + at / plan->block_tokens];
                uint32_t slot = positions[(uint64_t)block * plan->block_tokens + at % plan->block_tokens];
                for (uint32_t row = 0; row < item->num_rows; row++) {
                    uint32_t query = plan->rows[item->first_row + row];
                    bool sees = is_seen(plan, item, range, row, t);
                    hidden += !sees;
                    check(!sees || slot < first[query + 1] - first[query], "query %" PRIu32 " has a slot %" PRIu32,
                          query, slot);
                    seen[sees ? first[query] + slot : first[plan->num_queries]] += sees;
                }
            }
        }
    }
    free(positions);
    return hidden;
}

void keep_expect_covered(const tree_plan *plan, const keep_set *set, const char *what)
{
    const kv_tree *tree = set->tree;
    char message[200] = "";
    uint64_t *first = zeros((uint64_t)tree->num_queries + 1, sizeof *first);
    for (uint32_t q = 0; q < tree->num_queries; q++)
        first[q + 1] = first[q] + keep_length(tree, q);
    uint8_t *seen = zeros(first[tree->num_queries] + 1, 1);
    uint64_t hidden = count_covered(plan, tree, first, seen);
    check(hidden == plan->masked_pairs, "%s: %" PRIu64 " pairs are hidden, not %" PRIu64, what, hidden,
          plan->masked_pairs);
    for (uint32_t q = 0; q < tree->num_queries; q++)
        for (uint32_t slot = 0; slot < keep_length(tree, q); slot++)
            check(seen[first[q] + slot] == kv_keep_slot(&set->keeps[q], tree->block_tokens, slot),
                  "%s: query %" PRIu32 " slot %" PRIu32 " is seen %d times", what, q, slot, seen[first[q] + slot]);
    tree_status status = tree_plan_check_keep(plan, tree, set->keeps, message, sizeof message);
    check(status == TREE_OK, "%s: %s", what, message);
    free(first);
    free(seen);
}

/* ---- plans ---- */

static void expect_same(const void *a, const void *b, uint64_t bytes, const char *array, const char *what)
{
    check(!bytes || !memcmp(a, b, bytes), "%s: the same %s", what, array);
}

void keep_expect_equal(const tree_plan *a, const tree_plan *b, const char *what)
{
    check(!memcmp(&a->config, &b->config, sizeof a->config), "%s: the same config", what);
    check(a->block_tokens == b->block_tokens && a->num_queries == b->num_queries && a->num_items == b->num_items
          && a->num_ranges == b->num_ranges && a->num_blocks == b->num_blocks && a->num_partials == b->num_partials
          && a->num_mask_words == b->num_mask_words && a->max_block == b->max_block
          && a->unique_tokens == b->unique_tokens && a->path_tokens == b->path_tokens
          && a->loaded_tokens == b->loaded_tokens && a->masked_pairs == b->masked_pairs, "%s: the same counts", what);
    expect_same(a->items, b->items, a->num_items * sizeof *a->items, "items", what);
    expect_same(a->ranges, b->ranges, a->num_ranges * sizeof *a->ranges, "ranges", what);
    expect_same(a->blocks, b->blocks, a->num_blocks * sizeof *a->blocks, "blocks", what);
    expect_same(a->table_index, b->table_index, a->num_blocks * sizeof *a->blocks, "indices in tables", what);
    expect_same(a->rows, b->rows, a->num_queries * sizeof *a->rows, "rows", what);
    expect_same(a->masks, b->masks, a->num_mask_words * sizeof *a->masks, "masks", what);
    expect_same(a->merge_first, b->merge_first, ((uint64_t)a->num_queries + 1) * sizeof *a->rows, "merge lists", what);
    expect_same(a->merge_partials, b->merge_partials, a->num_partials * sizeof *a->rows, "merge lists", what);
    /* private, but the last of the arrays of fixed size: 5 numbers for each query */
    expect_same(a->growth, b->growth, a->num_queries * 5 * sizeof(uint32_t), "growth", what);
}

tree_plan *keep_plan(const keep_set *set, tree_plan_config config, tree_keep_masks masks)
{
    tree_plan *plan;
    tree_status status = tree_plan_build_keep(&plan, set->tree, &config, set->keeps, masks);
    check(status == TREE_OK, "%s: %s", tree_strategy_name[config.strategy], tree_status_string(status));
    keep_expect_covered(plan, set, tree_strategy_name[config.strategy]);
    return plan;
}
