/* Lists of nodes and cuts become items, ranges and masks.
 *
 * Price: two passes over the items and their ranges; per token, only masks are written. */
#include "tree_plan_items_internal.h"

#include <string.h>

void plan_items_begin(plan_items *items, tree_plan *plan)
{
    *items = (plan_items){.tree = items->tree, .plan = plan, .max_rows = items->max_rows, .mask_room = items->mask_room,
                          .skip_unseen = items->skip_unseen};
    items->block_shift = (uint32_t)__builtin_ctz(items->tree->block_tokens);
}

/* ---- emit: counts in the first pass, writes in the second; no other code knows which pass it is ---- */

/* Of more than one word, each copy doubles the tokens written so far: a call for each token would take most of a
 * build's time. */
void plan_fill_masks(uint64_t *masks, uint32_t num_words, uint32_t first_seen, uint32_t num_seen, uint32_t num_tokens)
{
    for (uint32_t w = 0; w < num_words; w++) {
        uint32_t from = plan_max(first_seen, 64 * w), to = plan_min(first_seen + num_seen, 64 * w + 64);
        masks[w] = from >= to ? 0 : UINT64_MAX >> (64 - (to - from)) << (from - 64 * w);
    }
    const uint64_t four[4] = {masks[0], masks[0], masks[0], masks[0]};
    uint32_t done = 1;
    for (; num_words == 1 && done + 4 <= num_tokens; done += 4)
        memcpy(masks + done, four, sizeof four);
    for (; num_words == 1 && done < num_tokens; done++)
        masks[done] = masks[0];
    for (uint64_t t = 1; num_words > 1 && t < num_tokens; t *= 2) {
        uint64_t num_copied = t < num_tokens - t ? t : num_tokens - t;
        memcpy(masks + t * num_words, masks, num_copied * num_words * sizeof *masks);
    }
}

/* Masks of num_tokens tokens, and room for more. Returns the index of the first word. */
static uint64_t emit_masks(plan_items *items, uint32_t num_rows, uint32_t first_seen, uint32_t num_seen,
                           uint32_t num_tokens, uint64_t room)
{
    uint64_t first_word = items->num_mask_words, num_words = ((uint64_t)num_rows + 63) / 64;
    if (items->plan) {
        uint64_t *masks = items->plan->masks + first_word;
        plan_fill_masks(masks, (uint32_t)num_words, first_seen, num_seen, num_tokens);
        memset(masks + num_tokens * num_words, 0, room * num_words * sizeof *masks);
    }
    items->num_mask_words += (num_tokens + room) * num_words;
    items->masked_pairs += (uint64_t)num_tokens * (num_rows - num_seen);
    return first_word;
}

/* The next range is where the path of this query ends. */
static void emit_growth(plan_items *items, uint32_t query, uint32_t node, uint64_t room)
{
    if (items->plan)
        items->plan->growth[query] =
            (struct tree_plan_growth){node, items->tree->nodes[node].num_tokens, (uint32_t)items->num_items,
                                      (uint32_t)items->num_ranges, (uint32_t)room};
}

/* Tokens from token `from` of the node on. */
static inline tree_range range_of(const plan_items *items, const kv_node *node, uint64_t from, uint32_t num_tokens,
                                  uint64_t mask)
{
    uint64_t slot = node->first_slot + from;
    return (tree_range){node->first_block + (uint32_t)(slot >> items->block_shift),
                        (uint32_t)slot & (items->tree->block_tokens - 1), num_tokens, (uint32_t)mask};
}

static void emit_range(plan_items *items, const kv_node *node, uint32_t from, uint32_t num_tokens, uint64_t mask)
{
    if (items->plan)
        items->plan->ranges[items->num_ranges] = range_of(items, node, from, num_tokens, mask);
    items->num_ranges++;
}

/* After the item's ranges. */
static void emit_item(plan_items *items, const tree_item *item)
{
    if (items->plan)
        items->plan->items[items->num_items] = *item;
    items->num_items++;
    items->num_partials += item->num_rows;
    items->loaded_tokens += item->num_tokens;
}

/* `count` equal pieces inside one node, for num_rows of its rows: each item has one range and no mask. Most pieces of
 * long nodes are of this kind, so they are counted without a loop. */
static void emit_equal_pieces(plan_items *items, const kv_node *node, uint32_t from, uint32_t num_tokens,
                              uint64_t count, uint32_t first_row, uint32_t num_rows)
{
    uint32_t max_rows = items->max_rows, end_row = first_row + num_rows, partial = (uint32_t)items->num_partials;
    uint64_t num_items = count * (num_rows / max_rows + (num_rows % max_rows != 0)), index = items->num_ranges;
    tree_item *item = items->plan ? items->plan->items + items->num_items : NULL;
    tree_range *range = items->plan ? items->plan->ranges + items->num_ranges : NULL;
    for (uint64_t i = 0; items->plan && i < count; i++) {
        const tree_range next = range_of(items, node, from + i * num_tokens, num_tokens, TREE_NO_MASK);
        for (uint32_t row = first_row, taken; row < end_row; row += taken, partial += taken) {
            taken = plan_min(max_rows, end_row - row);
            *item++ = (tree_item){row, taken, (uint32_t)index++, 1, num_tokens, partial};
            *range++ = next;
        }
    }
    items->num_items += num_items;
    items->num_ranges += num_items;
    items->num_partials += count * num_rows;
    items->loaded_tokens += num_items * num_tokens;
}

/* ---- pieces to items ---- */

/* Tokens [from, to) of a node join the item. growth: as in plan_add_piece. */
static void add_range(plan_items *items, tree_item *item, uint32_t index, uint32_t from, uint32_t to, uint64_t growth)
{
    const kv_node *node = &items->tree->nodes[index];
    uint32_t first = plan_max(node->first_row, item->first_row);
    uint32_t end = plan_min(node->first_row + node->num_rows, item->first_row + item->num_rows);
    uint32_t num_seen = first < end ? end - first : 0, num_tokens = to - from, query = KV_NONE;
    uint64_t mask = TREE_NO_MASK;
    if (!num_seen && items->skip_unseen)
        return;
    if (num_seen && to == node->num_tokens)
        query = plan_sole_query(items->tree, index);
    if (num_seen < item->num_rows) {
        uint64_t room = query != KV_NONE ? items->mask_room : 0;
        growth = growth < room ? growth : room;
        mask = emit_masks(items, item->num_rows, first - item->first_row, num_seen, num_tokens, room);
    }
    if (query != KV_NONE)
        emit_growth(items, query, index, growth);
    emit_range(items, node, from, num_tokens, mask);
    item->num_tokens += num_tokens;
    item->num_ranges++;
}

/* If unseen ranges are left out: whether the rows of this node, and so those of all later nodes in a list, begin at
 * end_row or later. Without this test each item of a chain would visit all nodes of the chain. */
static bool is_passed(const plan_items *items, uint32_t node, uint32_t end_row)
{
    return items->skip_unseen && items->tree->nodes[node].first_row >= end_row;
}

static void add_item(plan_items *items, const uint32_t *list, const plan_piece *p, uint32_t first_row,
                     uint32_t num_rows, uint64_t growth)
{
    tree_item item = {first_row, num_rows, (uint32_t)items->num_ranges, 0, 0, (uint32_t)items->num_partials};
    for (uint32_t i = p->first; i <= p->last && !is_passed(items, list[i], first_row + num_rows); i++)
        add_range(items, &item, list[i], i == p->first ? p->from : 0,
                  i == p->last ? p->to : items->tree->nodes[list[i]].num_tokens, growth);
    emit_item(items, &item);
    items->max_item_tokens = items->max_item_tokens > p->num_tokens ? items->max_item_tokens : p->num_tokens;
}

void plan_add_piece(plan_items *items, const uint32_t *list, const plan_piece *piece, uint32_t first_row,
                    uint32_t end_row, uint64_t growth)
{
    uint32_t first = end_row, end = first_row, max_rows = items->max_rows;
    for (uint32_t i = piece->first; i <= piece->last && !is_passed(items, list[i], end_row); i++) {
        const kv_node *node = &items->tree->nodes[list[i]];
        first = plan_min(first, plan_max(node->first_row, first_row));
        end = plan_max(end, plan_min(node->first_row + node->num_rows, end_row));
    }
    for (uint32_t row = first; row < end; row += plan_min(max_rows, end - row))
        add_item(items, list, piece, row, plan_min(max_rows, end - row), growth);
}

/* ---- lists to pieces ---- */

void plan_add_list(plan_items *items, const uint32_t *list, uint32_t count, uint32_t first_row, uint32_t end_row,
                   const plan_cut *cut)
{
    const kv_node *nodes = items->tree->nodes;
    uint64_t left = 0;
    for (uint32_t i = 0; i < count; i++)
        left += nodes[list[i]].num_tokens;

    plan_piece p = {0, 0, 0, 0, 0};
    while (left) {
        uint64_t in_node = (nodes[list[p.first]].num_tokens - p.from - 1) / cut->piece_tokens;
        uint64_t in_list = left > cut->tail_tokens ? (left - cut->tail_tokens - 1) / cut->piece_tokens : 0;
        uint64_t num_equal = in_node < in_list ? in_node : in_list;
        if (num_equal) {
            const kv_node *node = &nodes[list[p.first]];
            uint32_t first = plan_max(node->first_row, first_row);
            emit_equal_pieces(items, node, p.from, (uint32_t)cut->piece_tokens, num_equal, first,
                              plan_min(node->first_row + node->num_rows, end_row) - first);
            p.from += (uint32_t)(num_equal * cut->piece_tokens);
            left -= num_equal * cut->piece_tokens;
        }
        p.num_tokens = left <= cut->piece_tokens + cut->tail_tokens ? left : cut->piece_tokens;
        uint64_t end = p.from + p.num_tokens; /* counted from the start of list[p.first] */
        for (p.last = p.first; end > nodes[list[p.last]].num_tokens; p.last++)
            end -= nodes[list[p.last]].num_tokens;
        p.to = (uint32_t)end;
        plan_add_piece(items, list, &p, first_row, end_row,
                       cut->grown_tokens > p.num_tokens ? cut->grown_tokens - p.num_tokens : 0);
        bool at_end = p.to == nodes[list[p.last]].num_tokens;
        p.first = at_end ? p.last + 1 : p.last;
        p.from = at_end ? 0 : p.to;
        left -= p.num_tokens;
    }
}
