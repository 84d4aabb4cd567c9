/* tree_plan: the strategies of the literature, as lists of nodes and places to cut; memory, merge lists, growth.
 *
 *   strategy         for every       the list of nodes        rows                         cut
 *   flash            query           its path                 that query                   never
 *   flash_decoding   query           its path                 that query                   every piece_tokens
 *   radix            query, node     one node of its path     that query                   every piece_tokens
 *   tree_mask        tree            all nodes, depth first   who sees any of them         never
 *   node             node            that node                who sees it                  never
 *   node_chunk       node            that node                who sees it                  every piece_tokens
 *   flatten          tree            all nodes, depth first   who sees any of the piece    every piece_tokens
 *   cost             tree_plan_cost.c
 *
 * Price: two passes over the items and their ranges, one over the partial states, one copy of the block ids; nothing is
 * done for each token but masks. */
#include "tree_plan.h"

#include <stdlib.h>
#include <string.h>

#include "tree_plan_internal.h"

const char *const tree_strategy_name[TREE_NUM_STRATEGIES] = {
    "flash", "flash_decoding", "radix", "tree_mask", "node", "node_chunk", "flatten", "cost"};

bool tree_strategy_from_name(const char *name, tree_strategy *strategy)
{
    for (int i = 0; i < TREE_NUM_STRATEGIES; i++) {
        if (strcmp(name, tree_strategy_name[i]) == 0) {
            *strategy = (tree_strategy)i;
            return true;
        }
    }
    return false;
}

/* ---- items from lists ---- */

static uint32_t max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }
static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* The query whose path alone runs to the end of this node; KV_NONE: nobody's, or several. */
static uint32_t sole_query(const kv_tree *tree, uint32_t node)
{
    if (tree->nodes[node].num_rows != 1)
        return KV_NONE;
    uint32_t query = tree->rows[tree->nodes[node].first_row];
    return tree->query_node[query] == node ? query : KV_NONE;
}

/* Rows [low, high) of the item see the tokens: the same words for each. Each copy doubles what is there: one for each
 * token, mostly of a single word, would take most of a build's time. */
static void fill_masks(uint64_t *masks, uint32_t num_words, uint32_t low, uint32_t high, uint32_t num_tokens)
{
    for (uint32_t w = 0; w < num_words; w++) {
        uint32_t from = max_u32(low, 64 * w), to = min_u32(high, 64 * w + 64);
        masks[w] = from >= to ? 0 : UINT64_MAX >> (64 - (to - from)) << (from - 64 * w);
    }
    for (uint64_t t = 1; t < num_tokens; t *= 2) {
        uint64_t num_copied = t < num_tokens - t ? t : num_tokens - t;
        memcpy(masks + t * num_words, masks, num_copied * num_words * sizeof *masks);
    }
}

/* Tokens [from, to) of a node join the item. growth: tokens that the item may still take at the end of a path. */
static void add_range(plan_builder *b, tree_item *item, uint32_t node_index, uint32_t from, uint32_t to,
                      uint64_t growth)
{
    const kv_node *node = &b->tree->nodes[node_index];
    uint32_t end = item->first_row + item->num_rows;
    uint32_t low = max_u32(node->first_row, item->first_row), high = min_u32(node->first_row + node->num_rows, end);
    uint32_t num_seen = low < high ? high - low : 0, num_tokens = to - from;
    uint32_t query = to == node->num_tokens ? sole_query(b->tree, node_index) : KV_NONE;
    uint64_t mask = b->num_mask_words, num_words = ((uint64_t)item->num_rows + 63) / 64;
    bool masked = num_seen < item->num_rows;

    if (!num_seen && b->skip_unseen)
        return;
    if (masked) {
        uint64_t room = query != KV_NONE && num_seen ? b->mask_room : 0;
        growth = growth < room ? growth : room;
        b->num_mask_words += (num_tokens + room) * num_words;
        b->masked_pairs += (uint64_t)num_tokens * (item->num_rows - num_seen);
    }
    if (b->plan) {
        uint64_t slot = (uint64_t)node->first_slot + from;
        b->plan->ranges[b->num_ranges] = (tree_range){
            node->first_block + (uint32_t)(slot >> b->block_shift), (uint32_t)slot & (b->tree->block_tokens - 1),
            num_tokens, masked ? (uint32_t)mask : TREE_NO_MASK};
        if (masked)
            fill_masks(b->plan->masks + mask, (uint32_t)num_words, num_seen ? low - item->first_row : 0,
                       num_seen ? high - item->first_row : 0, num_tokens);
        if (query != KV_NONE && num_seen)
            b->growth[query] = (plan_growth){node_index, node->num_tokens, (uint32_t)b->num_items,
                                             (uint32_t)b->num_ranges, (uint32_t)growth};
    }
    item->num_tokens += num_tokens;
    item->num_ranges++;
    b->num_ranges++;
}

/* Part of a list: from token `from` of list[first] up to token `to` of list[last]. */
typedef struct piece {
    uint32_t first, from, last, to;
    uint64_t num_tokens;
} piece;

/* So many pieces of equal length inside one node, none of them at its end: most of what is to be done for long nodes,
 * so without a detour. */
static void add_equal_pieces(plan_builder *b, const piece *p, uint32_t node_index, uint64_t count, uint32_t first_row,
                             uint32_t end_row)
{
    const kv_node *node = &b->tree->nodes[node_index];
    uint32_t max_rows = b->config.max_rows, num_tokens = (uint32_t)p->num_tokens;
    uint32_t first = max_u32(node->first_row, first_row), end = min_u32(node->first_row + node->num_rows, end_row);
    uint64_t num_slices = (end - first) / max_rows + ((end - first) % max_rows != 0), slot = node->first_slot + p->from;
    uint64_t item = b->num_items, range = b->num_ranges, partial = b->num_partials;
    for (uint64_t i = 0; b->plan && i < count; i++, slot += num_tokens) {
        for (uint32_t row = first; row < end; item++, range++) {
            uint32_t num_rows = min_u32(max_rows, end - row);
            b->plan->items[item] = (tree_item){row, num_rows, (uint32_t)range, 1, num_tokens, (uint32_t)partial};
            b->plan->ranges[range] = (tree_range){node->first_block + (uint32_t)(slot >> b->block_shift),
                                                  (uint32_t)slot & (b->tree->block_tokens - 1), num_tokens,
                                                  TREE_NO_MASK};
            row += num_rows;
            partial += num_rows;
        }
    }
    b->num_items += count * num_slices;
    b->num_ranges += count * num_slices;
    b->num_partials += count * (end - first);
    b->loaded_tokens += count * num_slices * num_tokens;
}

/* Whether the rows of the node, and so those of all nodes behind it in a list, begin at end_row or later: where unseen
 * ranges are left out, nothing is left to add. Otherwise each slice of a chain's rows would visit all of its nodes. */
static bool is_passed(const plan_builder *b, uint32_t node, uint32_t end_row)
{
    return b->skip_unseen && b->tree->nodes[node].first_row >= end_row;
}

static void add_item(plan_builder *b, const uint32_t *list, const piece *p, uint32_t first_row, uint32_t num_rows,
                     uint64_t growth)
{
    tree_item item = {first_row, num_rows, (uint32_t)b->num_ranges, 0, 0, (uint32_t)b->num_partials};
    for (uint32_t i = p->first; i <= p->last && !is_passed(b, list[i], first_row + num_rows); i++)
        add_range(b, &item, list[i], i == p->first ? p->from : 0,
                  i == p->last ? p->to : b->tree->nodes[list[i]].num_tokens, growth);
    if (b->plan)
        b->plan->items[b->num_items] = item;
    b->num_items++;
    b->num_partials += num_rows;
    b->loaded_tokens += item.num_tokens;
    b->max_item_tokens = b->max_item_tokens > p->num_tokens ? b->max_item_tokens : p->num_tokens;
}

static void add_piece(plan_builder *b, const uint32_t *list, const piece *p, uint32_t first_row, uint32_t end_row,
                      uint64_t growth)
{
    uint32_t first = end_row, end = first_row, max_rows = b->config.max_rows;
    for (uint32_t i = p->first; i <= p->last && !is_passed(b, list[i], end_row); i++) {
        const kv_node *node = &b->tree->nodes[list[i]];
        first = min_u32(first, max_u32(node->first_row, first_row));
        end = max_u32(end, min_u32(node->first_row + node->num_rows, end_row));
    }
    for (uint32_t row = first; row < end; row += min_u32(max_rows, end - row))
        add_item(b, list, p, row, min_u32(max_rows, end - row), growth);
}

void plan_add_list(plan_builder *b, const uint32_t *list, uint32_t count, uint32_t first_row, uint32_t end_row,
                   const plan_cut *cut)
{
    uint64_t left = 0;
    for (uint32_t i = 0; i < count; i++)
        left += b->tree->nodes[list[i]].num_tokens;

    piece p = {0, 0, 0, 0, 0};
    while (left) {
        uint64_t in_node = (b->tree->nodes[list[p.first]].num_tokens - p.from - 1) / cut->piece_tokens;
        uint64_t in_list = left > cut->tail_tokens ? (left - cut->tail_tokens - 1) / cut->piece_tokens : 0;
        uint64_t num_equal = in_node < in_list ? in_node : in_list;
        if (num_equal) {
            p.num_tokens = cut->piece_tokens;
            add_equal_pieces(b, &p, list[p.first], num_equal, first_row, end_row);
            p.from += (uint32_t)(num_equal * cut->piece_tokens);
            left -= num_equal * cut->piece_tokens;
        }
        p.num_tokens = left <= cut->piece_tokens + cut->tail_tokens ? left : cut->piece_tokens;
        uint64_t end = p.from + p.num_tokens; /* counted from the start of list[p.first] */
        for (p.last = p.first; end > b->tree->nodes[list[p.last]].num_tokens; p.last++)
            end -= b->tree->nodes[list[p.last]].num_tokens;
        p.to = (uint32_t)end;
        add_piece(b, list, &p, first_row, end_row,
                  cut->grown_tokens > p.num_tokens ? cut->grown_tokens - p.num_tokens : 0);
        bool at_end = p.to == b->tree->nodes[list[p.last]].num_tokens;
        p.first = at_end ? p.last + 1 : p.last;
        p.from = at_end ? 0 : p.to;
        left -= p.num_tokens;
    }
}

/* Index in b->list of the node that holds token `token` of the list. */
static uint32_t find_in_list(const plan_builder *b, uint64_t token)
{
    uint32_t low = 0;
    for (uint32_t high = b->num_listed - 1; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        if (b->list_start[middle + 1] > token)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

uint64_t plan_measure_list(plan_builder *b, uint32_t count)
{
    b->num_listed = count;
    b->list_start[0] = 0;
    for (uint32_t i = 0; i < count; i++)
        b->list_start[i + 1] = b->list_start[i] + b->tree->nodes[b->list[i]].num_tokens;
    return b->list_start[count];
}

void plan_add_tokens(plan_builder *b, uint64_t from, uint64_t num_tokens, uint32_t first_row,
                     uint32_t end_row, uint64_t growth)
{
    uint64_t last_token = from + num_tokens - 1;
    piece p = {.first = find_in_list(b, from), .last = find_in_list(b, last_token), .num_tokens = num_tokens};
    p.from = (uint32_t)(from - b->list_start[p.first]);
    p.to = (uint32_t)(last_token - b->list_start[p.last]) + 1;
    add_piece(b, b->list, &p, first_row, end_row, growth);
}

uint32_t plan_path(plan_builder *b, uint32_t node)
{
    uint32_t count = 0;
    for (uint32_t n = node; n != KV_NONE; n = b->tree->nodes[n].parent)
        count++;
    for (uint32_t i = count; i-- > 0; node = b->tree->nodes[node].parent)
        b->list[i] = node;
    return count;
}

/* ---- strategies ---- */

static void add_by_query(plan_builder *b, const plan_cut *cut, bool cut_at_nodes)
{
    const kv_tree *tree = b->tree;
    for (uint32_t row = 0; row < tree->num_queries; row++) {
        uint32_t count = plan_path(b, tree->query_node[tree->rows[row]]);
        if (!cut_at_nodes)
            plan_add_list(b, b->list, count, row, row + 1, cut);
        for (uint32_t i = 0; cut_at_nodes && i < count; i++)
            plan_add_list(b, b->list + i, 1, row, row + 1, cut);
    }
}

static void add_by_node(plan_builder *b, const plan_cut *cut)
{
    for (uint32_t node = 0; node < b->tree->num_nodes; node++)
        plan_add_list(b, &node, 1, 0, b->tree->num_queries, cut);
}

static void add_whole_tree(plan_builder *b, const plan_cut *cut)
{
    for (uint32_t node = 0; node < b->tree->num_nodes; node++)
        b->list[node] = node;
    plan_add_list(b, b->list, b->tree->num_nodes, 0, b->tree->num_queries, cut);
}

static void add_items(plan_builder *b, const plan_cost *cost)
{
    const uint64_t length = b->config.piece_tokens;
    const plan_cut whole = {PLAN_UNCUT, 0, KV_MAX_LENGTH}, pieces = {length, 0, length + length / 4};
    const plan_cut whole_fixed = {PLAN_UNCUT, 0, 0}, pieces_fixed = {length, 0, 0};
    switch (b->config.strategy) {
    case TREE_FLASH: add_by_query(b, &whole, false); break;
    case TREE_FLASH_DECODING: add_by_query(b, &pieces, false); break;
    case TREE_RADIX: add_by_query(b, &pieces, true); break;
    case TREE_TREE_MASK: add_whole_tree(b, &whole_fixed); break;
    case TREE_NODE: add_by_node(b, &whole); break;
    case TREE_NODE_CHUNK: add_by_node(b, &pieces); break;
    case TREE_FLATTEN: add_whole_tree(b, &pieces_fixed); break;
    case TREE_COST: plan_cost_add(b, cost); break;
    case TREE_NUM_STRATEGIES: break;
    }
}

/* ---- build ---- */

static tree_status fill_defaults(tree_plan_config *config, const kv_tree *tree)
{
    if ((unsigned)config->strategy >= TREE_NUM_STRATEGIES || config->piece_tokens > 1u << 30
        || config->group_size > 1u << 16 || (unsigned)config->target > TREE_TARGET_CPU)
        return TREE_INVAL;
    config->group_size = config->group_size ? config->group_size : 4;
    config->num_workers = config->num_workers ? config->num_workers : 132;
    switch (config->strategy) {
    case TREE_FLASH: case TREE_FLASH_DECODING: case TREE_RADIX:
        config->max_rows = 1;
        break;
    case TREE_TREE_MASK:
        config->max_rows = config->max_rows ? config->max_rows : max_u32(tree->num_queries, 1);
        break;
    case TREE_COST: /* plan_cost_decide knows the rest */
        return TREE_OK;
    default:
        config->max_rows = config->max_rows ? config->max_rows : 32;
    }
    if (config->strategy == TREE_FLASH || config->strategy == TREE_TREE_MASK || config->strategy == TREE_NODE)
        config->piece_tokens = 0;
    else if (!config->piece_tokens)
        config->piece_tokens = 128;
    return TREE_OK;
}

static uint32_t node_blocks(const kv_node *node, uint32_t num_tokens, uint32_t block_tokens)
{
    return (uint32_t)(((uint64_t)node->first_slot + num_tokens + block_tokens - 1) / block_tokens);
}

/* Not all entries: the spare ones name nothing yet. Two maxima, or each comparison would wait for the one before. */
static uint32_t largest_block(const kv_tree *tree)
{
    uint32_t even = 0, odd = 0;
    for (uint32_t i = 0; i < tree->num_nodes; i++) {
        const kv_node *node = &tree->nodes[i];
        const uint32_t *blocks = tree->blocks + node->first_block;
        uint32_t count = node_blocks(node, node->num_tokens, tree->block_tokens);
        for (uint32_t j = 0; j + 1 < count; j += 2) {
            even = max_u32(even, blocks[j]);
            odd = max_u32(odd, blocks[j + 1]);
        }
        even = max_u32(even, blocks[count - 1]);
    }
    return max_u32(even, odd);
}

static void *carve(char **at, uint64_t count, size_t bytes)
{
    void *part = *at;
    *at += count * bytes;
    return part;
}

static tree_status count_bytes(const plan_builder *b, uint64_t *bytes)
{
    if (b->num_items >= KV_NONE || b->num_ranges >= KV_NONE || b->num_partials >= KV_NONE
        || b->num_mask_words >= TREE_NO_MASK || b->max_item_tokens >= KV_NONE)
        return TREE_OVERFLOW;
    uint64_t num_queries = b->tree->num_queries;
    *bytes = sizeof(tree_plan) + b->num_mask_words * sizeof(uint64_t) + b->num_items * sizeof(tree_item)
             + b->num_ranges * sizeof(tree_range) + num_queries * sizeof(plan_growth)
             + (b->tree->num_blocks + 2 * num_queries + 2 + b->num_partials) * sizeof(uint32_t);
    return TREE_OK;
}

/* The plan and its arrays are one allocation: built again and again, it returns from the heap without page faults. */
static tree_status allocate_plan(plan_builder *b, uint64_t bytes)
{
    const kv_tree *tree = b->tree;
    uint64_t num_queries = tree->num_queries;
    tree_plan *plan = bytes <= SIZE_MAX ? malloc((size_t)bytes) : NULL;
    if (!plan)
        return TREE_NOMEM;
    char *at = (char *)(plan + 1);
    *plan = (tree_plan){
        .config = b->config, .block_tokens = tree->block_tokens, .num_queries = tree->num_queries,
        .num_items = (uint32_t)b->num_items, .num_ranges = (uint32_t)b->num_ranges, .num_blocks = tree->num_blocks,
        .num_partials = (uint32_t)b->num_partials, .num_mask_words = (uint32_t)b->num_mask_words,
        .max_block = largest_block(tree), .unique_tokens = tree->unique_tokens, .path_tokens = tree->path_tokens,
        .loaded_tokens = b->loaded_tokens, .masked_pairs = b->masked_pairs};
    plan->masks = carve(&at, b->num_mask_words, sizeof *plan->masks);
    plan->items = carve(&at, b->num_items, sizeof *plan->items);
    plan->ranges = carve(&at, b->num_ranges, sizeof *plan->ranges);
    plan->growth = b->growth = carve(&at, num_queries, sizeof *b->growth);
    plan->blocks = carve(&at, tree->num_blocks, sizeof *plan->blocks);
    plan->rows = carve(&at, num_queries, sizeof *plan->rows);
    plan->merge_first = carve(&at, num_queries + 2, sizeof *plan->merge_first);
    plan->merge_partials = carve(&at, b->num_partials, sizeof *plan->merge_partials);
    b->plan = plan;
    return TREE_OK;
}

/* Items were added so that those of one query follow its path: to go through them in order is to sort the lists. */
static void fill_merge_lists(tree_plan *plan)
{
    uint32_t *next = plan->merge_first + 1; /* next[q + 1]: first the length of list q, then where to put its next */
    memset(plan->merge_first, 0, ((size_t)plan->num_queries + 2) * sizeof *plan->merge_first);
    for (uint32_t i = 0; i < plan->num_items; i++)
        for (uint32_t r = 0; r < plan->items[i].num_rows; r++)
            next[plan->rows[plan->items[i].first_row + r] + 1]++;
    for (uint32_t q = 0; q < plan->num_queries; q++)
        next[q + 1] += next[q];
    for (uint32_t i = 0; i < plan->num_items; i++)
        for (uint32_t r = 0; r < plan->items[i].num_rows; r++)
            plan->merge_partials[next[plan->rows[plan->items[i].first_row + r]]++] = plan->items[i].first_partial + r;
}

static void fill_plan(plan_builder *b, const plan_cost *cost)
{
    const kv_tree *tree = b->tree;
    tree_plan *plan = b->plan;
    if (plan->num_blocks)
        memcpy(plan->blocks, tree->blocks, plan->num_blocks * sizeof *plan->blocks);
    if (plan->num_queries)
        memcpy(plan->rows, tree->rows, plan->num_queries * sizeof *plan->rows);
    memset(plan->masks, 0, plan->num_mask_words * sizeof *plan->masks);
    for (uint32_t q = 0; q < plan->num_queries; q++) {
        uint32_t node = tree->query_node[q];
        b->growth[q] = (plan_growth){node, node == KV_NONE ? 0 : tree->nodes[node].num_tokens, 0, 0, 0};
    }
    b->num_items = b->num_ranges = b->num_mask_words = b->num_partials = 0;
    add_items(b, cost);
    fill_merge_lists(plan);
}

/* plan NULL: counts only. */
static tree_status build(tree_plan **plan, uint64_t *bytes, const kv_tree *tree, const tree_plan_config *config)
{
    plan_cost *cost = NULL;
    plan_builder b = {.tree = tree, .config = *config};
    while (tree->block_tokens >> b.block_shift > 1)
        b.block_shift++;
    tree_status status = fill_defaults(&b.config, tree);
    if (status)
        return status;
    if (!(b.list = malloc(((size_t)tree->num_nodes + 1) * sizeof *b.list)))
        return TREE_NOMEM;
    if (config->strategy == TREE_COST) {
        b.mask_room = PLAN_MASK_ROOM;
        b.skip_unseen = true;
        b.list_start = malloc(((size_t)tree->num_nodes + 1) * sizeof *b.list_start);
        status = b.list_start ? plan_cost_decide(&cost, tree, &b.config) : TREE_NOMEM;
    }
    if (!status) {
        add_items(&b, cost);
        status = count_bytes(&b, bytes);
    }
    if (!status && plan)
        status = allocate_plan(&b, *bytes);
    if (!status && plan) {
        fill_plan(&b, cost);
        *plan = b.plan;
    }
    plan_cost_destroy(cost);
    free(b.list_start);
    free(b.list);
    return status;
}

tree_status tree_plan_build(tree_plan **plan, const kv_tree *tree, const tree_plan_config *config)
{
    uint64_t bytes;
    return build(plan, &bytes, tree, config);
}

tree_status tree_plan_bytes(uint64_t *bytes, const kv_tree *tree, const tree_plan_config *config)
{
    uint64_t counted;
    tree_status status = build(NULL, &counted, tree, config);
    if (!status)
        *bytes = counted;
    return status;
}

void tree_plan_destroy(tree_plan *plan) { free(plan); }

/* ---- growth ---- */

static bool can_grow(const tree_plan *plan, const kv_tree *tree)
{
    const plan_growth *growth = plan->growth;
    uint64_t grown = 0;
    if (tree->num_queries != plan->num_queries || tree->num_blocks != plan->num_blocks
        || tree->block_tokens != plan->block_tokens)
        return false;
    for (uint32_t q = 0; q < plan->num_queries; q++) {
        uint32_t node = growth[q].node;
        if (tree->query_node[q] != node || (node != KV_NONE && node >= tree->num_nodes))
            return false;
        /* a shrunken node wraps to more than any room */
        uint32_t num_tokens = node == KV_NONE ? 0 : tree->nodes[node].num_tokens - growth[q].node_tokens;
        if (num_tokens > growth[q].room)
            return false;
        grown += num_tokens;
    }
    /* only the ends of paths are looked at: where another node differs, so do the sums */
    return tree->unique_tokens == plan->unique_tokens + grown && tree->path_tokens == plan->path_tokens + grown;
}

static void grow_masks(tree_plan *plan, const tree_item *item, const tree_range *range, uint32_t num_tokens)
{
    uint64_t num_words = ((uint64_t)item->num_rows + 63) / 64;
    const uint64_t *first = plan->masks + range->mask;
    for (uint64_t t = range->num_tokens; t < (uint64_t)range->num_tokens + num_tokens; t++)
        memcpy(plan->masks + range->mask + t * num_words, first, num_words * sizeof *first);
    plan->masked_pairs += (uint64_t)num_tokens * (item->num_rows - 1);
}

static void grow_query(tree_plan *plan, const kv_tree *tree, plan_growth *growth)
{
    const kv_node *node = &tree->nodes[growth->node];
    uint32_t num_tokens = node->num_tokens - growth->node_tokens;
    tree_item *item = &plan->items[growth->item];
    tree_range *range = &plan->ranges[growth->range];
    uint32_t block = node->first_block + node_blocks(node, growth->node_tokens, tree->block_tokens);
    uint32_t end = node->first_block + node_blocks(node, node->num_tokens, tree->block_tokens);
    for (; block < end; block++) {
        plan->blocks[block] = tree->blocks[block];
        plan->max_block = max_u32(plan->max_block, tree->blocks[block]);
    }
    if (range->mask != TREE_NO_MASK)
        grow_masks(plan, item, range, num_tokens);
    range->num_tokens += num_tokens;
    item->num_tokens += num_tokens;
    plan->loaded_tokens += num_tokens;
    growth->node_tokens += num_tokens;
    growth->room -= num_tokens;
}

bool tree_plan_grow(tree_plan *plan, const kv_tree *tree)
{
    if (!can_grow(plan, tree))
        return false;
    plan_growth *growth = plan->growth;
    for (uint32_t q = 0; q < plan->num_queries; q++)
        if (growth[q].node != KV_NONE && tree->nodes[growth[q].node].num_tokens != growth[q].node_tokens)
            grow_query(plan, tree, &growth[q]);
    plan->unique_tokens = tree->unique_tokens;
    plan->path_tokens = tree->path_tokens;
    return true;
}

tree_status tree_plan_fits(const tree_plan *plan, const tree_shape *shape)
{
    tree_status status = tree_shape_check(shape);
    if (status != TREE_OK)
        return status;
    if (plan->num_queries != shape->num_queries || plan->block_tokens != shape->block_tokens)
        return TREE_BAD_SHAPE;
    return plan->max_block < shape->num_blocks ? TREE_OK : TREE_BAD_PLAN;
}
