/* tree_plan_check: whether a plan covers each query's path once, from the tree alone.
 *
 * Every slot that the tree uses gets a number, the tokens of node 0 first. Then each query in turn marks the slots
 * that its partial states cover: those of its path, each once, and nothing else. Shares no code with the builder. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tree_plan_keep.h"

typedef struct checker {
    const tree_plan *plan;
    const kv_tree *tree;
    const kv_keep *keeps; /* [num_queries]; NULL: every query keeps all tokens of its path */
    char *message;
    size_t message_bytes;

    uint64_t num_used;     /* different blocks that the tree uses */
    uint32_t *used;        /* [num_used] ascending */
    uint32_t *slot_node;   /* [num_used * block_tokens] node whose token the slot holds, or KV_NONE */
    uint32_t *slot_token;  /* [num_used * block_tokens] position of that token on its path */
    uint32_t *plan_used;   /* [plan->num_blocks] index in `used` of a block of the plan, or KV_NONE */
    uint32_t *covered_by;  /* [num_used * block_tokens] 1 + the query that covered it last */
    uint32_t *on_path_of;  /* [num_nodes] 1 + the query whose path was walked last */
    uint32_t *partial_item;/* [num_partials] item that writes it, or KV_NONE */
} checker;

__attribute__((format(printf, 2, 3))) static tree_status bad(checker *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (c->message && c->message_bytes)
        vsnprintf(c->message, c->message_bytes, format, arguments);
    va_end(arguments);
    return TREE_BAD_PLAN;
}

/* ---- the slots of the tree ---- */

static uint64_t run_blocks(const checker *c, uint64_t first_slot, uint64_t num_tokens)
{
    return (first_slot + num_tokens + c->tree->block_tokens - 1) / c->tree->block_tokens;
}

static int compare_blocks(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t find_used(const checker *c, uint32_t block)
{
    const uint32_t *found = bsearch(&block, c->used, c->num_used, sizeof block, compare_blocks);
    return found ? (uint32_t)(found - c->used) : KV_NONE;
}

static void collect_used(checker *c)
{
    uint64_t count = 0, kept = 0;
    for (uint32_t n = 0; n < c->tree->num_nodes; n++) {
        const kv_node *node = &c->tree->nodes[n];
        uint64_t num_blocks = run_blocks(c, node->first_slot, node->num_tokens);
        memcpy(c->used + count, c->tree->blocks + node->first_block, num_blocks * sizeof *c->used);
        count += num_blocks;
    }
    if (count)
        qsort(c->used, count, sizeof *c->used, compare_blocks);
    for (uint64_t i = 0; i < count; i++)
        if (!kept || c->used[i] != c->used[kept - 1])
            c->used[kept++] = c->used[i];
    c->num_used = kept;
}

static tree_status number_slots(checker *c)
{
    const kv_tree *tree = c->tree;
    for (uint32_t n = 0; n < tree->num_nodes; n++) {
        const kv_node *node = &tree->nodes[n];
        for (uint32_t t = 0; t < node->num_tokens; t++) {
            uint64_t at = (uint64_t)node->first_slot + t;
            uint32_t block = tree->blocks[node->first_block + at / tree->block_tokens];
            uint64_t slot = (uint64_t)find_used(c, block) * tree->block_tokens + at % tree->block_tokens;
            if (c->slot_node[slot] != KV_NONE)
                return bad(c, "tree: block %" PRIu32 " slot %" PRIu64 " stands in nodes %" PRIu32 " and %" PRIu32,
                           block, at % tree->block_tokens, c->slot_node[slot], n);
            c->slot_node[slot] = n;
            c->slot_token[slot] = node->first_token + t;
        }
    }
    return TREE_OK;
}

static void *filled(uint64_t count, int byte)
{
    void *array = malloc(count ? count * sizeof(uint32_t) : 1);
    if (array && count)
        memset(array, byte, count * sizeof(uint32_t));
    return array;
}

static tree_status prepare(checker *c)
{
    uint64_t num_listed = 0;
    for (uint32_t n = 0; n < c->tree->num_nodes; n++)
        num_listed += run_blocks(c, c->tree->nodes[n].first_slot, c->tree->nodes[n].num_tokens);
    if (!(c->used = filled(num_listed, 0)))
        return TREE_NOMEM;
    collect_used(c);
    c->slot_node = filled(c->num_used * c->tree->block_tokens, 0xff);
    c->slot_token = filled(c->num_used * c->tree->block_tokens, 0);
    c->covered_by = filled(c->num_used * c->tree->block_tokens, 0);
    c->on_path_of = filled(c->tree->num_nodes, 0);
    c->plan_used = filled(c->plan->num_blocks, 0xff);
    c->partial_item = filled(c->plan->num_partials, 0xff);
    if (!c->slot_node || !c->slot_token || !c->covered_by || !c->on_path_of || !c->plan_used || !c->partial_item)
        return TREE_NOMEM;
    for (uint32_t i = 0; i < c->plan->num_blocks; i++)
        c->plan_used[i] = find_used(c, c->plan->blocks[i]);
    return number_slots(c);
}

static void release(checker *c)
{
    free(c->used);
    free(c->slot_node);
    free(c->slot_token);
    free(c->covered_by);
    free(c->on_path_of);
    free(c->plan_used);
    free(c->partial_item);
}

/* ---- bounds and sums ---- */

static tree_status check_header(checker *c)
{
    const tree_plan *plan = c->plan;
    const kv_tree *tree = c->tree;
    if (plan->block_tokens != tree->block_tokens || plan->num_queries != tree->num_queries)
        return bad(c, "plan for %" PRIu32 " queries and blocks of %" PRIu32 ", tree of %" PRIu32 " and %" PRIu32,
                   plan->num_queries, plan->block_tokens, tree->num_queries, tree->block_tokens);
    if (plan->unique_tokens != tree->unique_tokens || plan->path_tokens != tree->path_tokens)
        return bad(c, "U %" PRIu64 ", S %" PRIu64 "; the tree has %" PRIu64 ", %" PRIu64, plan->unique_tokens,
                   plan->path_tokens, tree->unique_tokens, tree->path_tokens);
    for (uint32_t r = 0; r < plan->num_queries; r++)
        if (plan->rows[r] >= plan->num_queries)
            return bad(c, "row %" PRIu32 " is query %" PRIu32 " of %" PRIu32, r, plan->rows[r], plan->num_queries);
    return TREE_OK;
}

/* In a tree without drafts, the first token of a node has the same position on its path as in the tables. */
static tree_status check_table_index(checker *c)
{
    for (uint32_t n = 0; c->tree->versions && n < c->tree->num_nodes; n++) {
        const kv_node *node = &c->tree->nodes[n];
        uint64_t num_blocks = run_blocks(c, node->first_slot, node->num_tokens);
        for (uint64_t b = 0; b < num_blocks; b++) {
            uint64_t entry = node->first_block + b, index = node->first_token / c->tree->block_tokens + b;
            if (entry >= c->plan->num_blocks || c->plan->table_index[entry] != index)
                return bad(c, "node %" PRIu32 " block %" PRIu64 ": its index in the tables is %" PRIu64
                           ", not that of the plan", n, b, index);
        }
    }
    return TREE_OK;
}

static tree_status check_keeps(checker *c)
{
    uint32_t block_tokens = c->tree->block_tokens;
    for (uint32_t q = 0; c->keeps && q < c->tree->num_queries; q++) {
        uint32_t end = c->tree->query_node[q], length = 0;
        if (end != KV_NONE)
            length = c->tree->nodes[end].first_token + c->tree->nodes[end].num_tokens;
        if (!c->tree->versions || c->keeps[q].num_blocks != run_blocks(c, 0, length)
            || c->keeps[q].words_per_block != (block_tokens > 64 ? block_tokens / 64 : 1))
            return bad(c, "query %" PRIu32 ": keep words of %" PRIu32 " blocks are not those of %" PRIu32 " tokens", q,
                       c->keeps[q].num_blocks, length);
    }
    return TREE_OK;
}

static tree_status check_range(checker *c, uint32_t i, uint32_t r, uint64_t num_words)
{
    const tree_range *range = &c->plan->ranges[r];
    uint64_t blocks = run_blocks(c, range->first_slot, range->num_tokens);
    if (!range->num_tokens || range->first_slot >= c->plan->block_tokens)
        return bad(c, "item %" PRIu32 " range %" PRIu32 ": %" PRIu32 " tokens from slot %" PRIu32, i, r,
                   range->num_tokens, range->first_slot);
    if (range->first_block + blocks > c->plan->num_blocks)
        return bad(c, "item %" PRIu32 " range %" PRIu32 ": blocks %" PRIu32 " + %" PRIu64 " of %" PRIu32, i, r,
                   range->first_block, blocks, c->plan->num_blocks);
    if (range->mask != TREE_NO_MASK && range->mask + num_words * range->num_tokens > c->plan->num_mask_words)
        return bad(c, "item %" PRIu32 " range %" PRIu32 ": mask words %" PRIu32 " + %" PRIu64 " of %" PRIu32, i, r,
                   range->mask, num_words * range->num_tokens, c->plan->num_mask_words);
    return TREE_OK;
}

static tree_status check_item(checker *c, uint32_t i)
{
    const tree_plan *plan = c->plan;
    const tree_item *item = &plan->items[i];
    uint64_t num_tokens = 0;
    if (!item->num_rows || (uint64_t)item->first_row + item->num_rows > plan->num_queries)
        return bad(c, "item %" PRIu32 ": rows %" PRIu32 " + %" PRIu32 " of %" PRIu32, i, item->first_row,
                   item->num_rows, plan->num_queries);
    if ((uint64_t)item->first_range + item->num_ranges > plan->num_ranges)
        return bad(c, "item %" PRIu32 ": ranges %" PRIu32 " + %" PRIu32 " of %" PRIu32, i, item->first_range,
                   item->num_ranges, plan->num_ranges);
    if ((uint64_t)item->first_partial + item->num_rows > plan->num_partials)
        return bad(c, "item %" PRIu32 ": partials %" PRIu32 " + %" PRIu32 " of %" PRIu32, i, item->first_partial,
                   item->num_rows, plan->num_partials);
    for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
        tree_status status = check_range(c, i, r, ((uint64_t)item->num_rows + 63) / 64);
        if (status)
            return status;
        num_tokens += plan->ranges[r].num_tokens;
    }
    if (num_tokens != item->num_tokens)
        return bad(c, "item %" PRIu32 ": %" PRIu32 " tokens, its ranges have %" PRIu64, i, item->num_tokens,
                   num_tokens);
    for (uint32_t r = 0; r < item->num_rows; r++) {
        uint32_t *writer = &c->partial_item[item->first_partial + r];
        if (*writer != KV_NONE)
            return bad(c, "items %" PRIu32 " and %" PRIu32 " both write partial %" PRIu32, *writer, i,
                       item->first_partial + r);
        *writer = i;
    }
    return TREE_OK;
}

/* Counts the pairs that a mask hides; no bit beyond the last row may be set. */
static tree_status check_masks(checker *c, uint32_t i, uint64_t *hidden)
{
    const tree_item *item = &c->plan->items[i];
    uint64_t num_words = ((uint64_t)item->num_rows + 63) / 64;
    for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
        const tree_range *range = &c->plan->ranges[r];
        if (range->mask == TREE_NO_MASK)
            continue;
        for (uint64_t w = 0; w < num_words * range->num_tokens; w++) {
            uint64_t word = c->plan->masks[range->mask + w];
            bool last = w % num_words == num_words - 1 && item->num_rows % 64;
            if (last && word >> item->num_rows % 64)
                return bad(c, "item %" PRIu32 " range %" PRIu32 ": mask bits beyond row %" PRIu32, i, r,
                           item->num_rows);
            *hidden -= (uint64_t)__builtin_popcountll(word);
        }
        *hidden += (uint64_t)item->num_rows * range->num_tokens;
    }
    return TREE_OK;
}

static tree_status check_items(checker *c)
{
    uint64_t loaded = 0, partials = 0, hidden = 0;
    for (uint32_t i = 0; i < c->plan->num_items; i++) {
        tree_status status = check_item(c, i);
        if (!status)
            status = check_masks(c, i, &hidden);
        if (status)
            return status;
        loaded += c->plan->items[i].num_tokens;
        partials += c->plan->items[i].num_rows;
    }
    if (loaded != c->plan->loaded_tokens || partials != c->plan->num_partials || hidden != c->plan->masked_pairs)
        return bad(c, "loaded %" PRIu64 ", partials %" PRIu32 ", masked %" PRIu64 "; the items have %" PRIu64
                   ", %" PRIu64 ", %" PRIu64, c->plan->loaded_tokens, c->plan->num_partials, c->plan->masked_pairs,
                   loaded, partials, hidden);
    return TREE_OK;
}

static tree_status check_max_block(checker *c)
{
    uint32_t largest = 0;
    for (uint32_t r = 0; r < c->plan->num_ranges; r++) {
        const tree_range *range = &c->plan->ranges[r];
        uint64_t end = range->first_block + run_blocks(c, range->first_slot, range->num_tokens);
        for (uint64_t i = range->first_block; i < end; i++)
            largest = c->plan->blocks[i] > largest ? c->plan->blocks[i] : largest;
    }
    if (largest != c->plan->max_block)
        return bad(c, "largest block %" PRIu32 ", the ranges name %" PRIu32, c->plan->max_block, largest);
    return TREE_OK;
}

/* ---- coverage ---- */

static bool row_sees(const tree_plan *plan, const tree_item *item, const tree_range *range, uint32_t row, uint64_t t)
{
    if (range->mask == TREE_NO_MASK)
        return true;
    uint64_t num_words = ((uint64_t)item->num_rows + 63) / 64;
    return plan->masks[range->mask + t * num_words + row / 64] >> row % 64 & 1;
}

static bool is_kept(const checker *c, uint32_t query, uint32_t token)
{
    return !c->keeps || kv_keep_slot(&c->keeps[query], c->tree->block_tokens, token);
}

/* The tokens that one partial state covers. first, last: positions on the path. */
typedef struct cover {
    uint32_t first, last;
    uint64_t count;
} cover;

static tree_status cover_token(checker *c, uint32_t query, uint32_t i, const tree_range *range, uint64_t t, cover *sum)
{
    uint64_t at = range->first_slot + t, in_block = at % c->plan->block_tokens;
    uint64_t entry = range->first_block + at / c->plan->block_tokens;
    uint32_t used = c->plan_used[entry];
    uint64_t slot = used == KV_NONE ? 0 : (uint64_t)used * c->plan->block_tokens + in_block;
    uint32_t node = used == KV_NONE ? KV_NONE : c->slot_node[slot];
    if (node == KV_NONE || c->on_path_of[node] != query + 1)
        return bad(c, "query %" PRIu32 " sees block %" PRIu32 " slot %" PRIu64 " in item %" PRIu32 ", not on its path",
                   query, c->plan->blocks[entry], in_block, i);
    if (c->covered_by[slot] == query + 1)
        return bad(c, "query %" PRIu32 " sees token %" PRIu32 " a second time in item %" PRIu32, query,
                   c->slot_token[slot], i);
    if (!is_kept(c, query, c->slot_token[slot]))
        return bad(c, "query %" PRIu32 " sees token %" PRIu32 " in item %" PRIu32 ", which it has evicted", query,
                   c->slot_token[slot], i);
    c->covered_by[slot] = query + 1;
    sum->first = c->slot_token[slot] < sum->first ? c->slot_token[slot] : sum->first;
    sum->last = c->slot_token[slot] > sum->last ? c->slot_token[slot] : sum->last;
    sum->count++;
    return TREE_OK;
}

static tree_status cover_partial(checker *c, uint32_t query, uint32_t partial, cover *sum)
{
    const tree_plan *plan = c->plan;
    uint32_t i = c->partial_item[partial];
    const tree_item *item = &plan->items[i];
    uint32_t row = partial - item->first_partial;
    if (plan->rows[item->first_row + row] != query)
        return bad(c, "query %" PRIu32 " merges partial %" PRIu32 " of query %" PRIu32, query, partial,
                   plan->rows[item->first_row + row]);
    for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
        for (uint64_t t = 0; t < plan->ranges[r].num_tokens; t++) {
            if (!row_sees(plan, item, &plan->ranges[r], row, t))
                continue;
            tree_status status = cover_token(c, query, i, &plan->ranges[r], t, sum);
            if (status)
                return status;
        }
    }
    return sum->count || c->keeps ? TREE_OK : bad(c, "query %" PRIu32 " sees nothing in item %" PRIu32, query, i);
}

/* Names the first token of the path that no item covered. */
static tree_status report_missing(checker *c, uint32_t query, uint32_t length)
{
    uint32_t missing = length;
    for (uint64_t s = 0; s < c->num_used * c->tree->block_tokens; s++)
        if (c->slot_node[s] != KV_NONE && c->on_path_of[c->slot_node[s]] == query + 1
            && c->covered_by[s] != query + 1 && c->slot_token[s] < missing && is_kept(c, query, c->slot_token[s]))
            missing = c->slot_token[s];
    return bad(c, "query %" PRIu32 " never sees token %" PRIu32 " of %" PRIu32, query, missing, length);
}

static tree_status check_query(checker *c, uint32_t query)
{
    const tree_plan *plan = c->plan;
    uint32_t end = c->tree->query_node[query], length = 0, last = 0;
    uint64_t count = 0, num_evicted = 0;
    for (uint32_t n = end; n != KV_NONE; n = c->tree->nodes[n].parent)
        c->on_path_of[n] = query + 1;
    if (end != KV_NONE)
        length = c->tree->nodes[end].first_token + c->tree->nodes[end].num_tokens;
    for (uint32_t m = plan->merge_first[query]; m < plan->merge_first[query + 1]; m++) {
        uint32_t partial = plan->merge_partials[m];
        cover sum = {KV_NONE, 0, 0};
        if (partial >= plan->num_partials)
            return bad(c, "query %" PRIu32 " merges partial %" PRIu32 " of %" PRIu32, query, partial,
                       plan->num_partials);
        tree_status status = cover_partial(c, query, partial, &sum);
        if (status)
            return status;
        if (count && sum.count && sum.first < last)
            return bad(c, "query %" PRIu32 " merges token %" PRIu32 " (item %" PRIu32 ") after token %" PRIu32, query,
                       sum.first, c->partial_item[partial], last);
        last = sum.count ? sum.last : last;
        count += sum.count;
    }
    for (uint32_t token = 0; c->keeps && token < length; token++)
        num_evicted += !is_kept(c, query, token);
    return count + num_evicted == length ? TREE_OK : report_missing(c, query, length);
}

static tree_status check_merge_lists(checker *c)
{
    const tree_plan *plan = c->plan;
    if (plan->merge_first[0] != 0 || plan->merge_first[plan->num_queries] != plan->num_partials)
        return bad(c, "merge lists from %" PRIu32 " to %" PRIu32 ", partials %" PRIu32, plan->merge_first[0],
                   plan->merge_first[plan->num_queries], plan->num_partials);
    for (uint32_t q = 0; q < plan->num_queries; q++)
        if (plan->merge_first[q] > plan->merge_first[q + 1])
            return bad(c, "merge list of query %" PRIu32 " ends before it begins", q);
    return TREE_OK;
}

static tree_status check(const tree_plan *plan, const kv_tree *tree, const kv_keep *keeps, char *message,
                         size_t message_bytes)
{
    checker c = {.plan = plan, .tree = tree, .keeps = keeps, .message = message, .message_bytes = message_bytes};
    if (message && message_bytes)
        message[0] = 0;
    tree_status status = check_header(&c);
    if (!status)
        status = check_table_index(&c);
    if (!status)
        status = check_keeps(&c);
    if (!status)
        status = prepare(&c);
    if (!status)
        status = check_items(&c);
    if (!status)
        status = check_max_block(&c);
    if (!status)
        status = check_merge_lists(&c);
    for (uint32_t q = 0; !status && q < plan->num_queries; q++)
        status = check_query(&c, q);
    release(&c);
    return status;
}

tree_status tree_plan_check(const tree_plan *plan, const kv_tree *tree, char *message, size_t message_bytes)
{
    return check(plan, tree, NULL, message, message_bytes);
}

tree_status tree_plan_check_keep(const tree_plan *plan, const kv_tree *tree, const kv_keep *keeps, char *message,
                                 size_t message_bytes)
{
    return check(plan, tree, keeps, message, message_bytes);
}
