/* tree_plan_keep: the plan of all tokens, then a mask for each range that needs one, then the evicted tokens cleared.
 *
 * In plans of trees without drafts, a position on a path is a slot of the query's table, so the tokens of a range are
 * consecutive bits of the keep words.
 *
 * Price of a build: one popcount for each row and keep word of its items, besides that of tree_plan_build. */
#include "tree_plan_keep.h"

#include "tree_plan_items_internal.h"

/* A range of an item, in the terms of the tree. */
typedef struct place {
    const tree_item *item;
    const tree_range *range;
    const kv_node *node;
    uint32_t first_seen, num_seen; /* rows of the item that lie below the node */
    uint64_t first_slot, end_slot; /* of the tables */
} place;

typedef struct keeper {
    tree_plan *plan;
    const kv_tree *tree;
    const kv_keep *keeps;
    uint32_t word_shift; /* a keep word holds 1 << word_shift slots */
} keeper;

/* ---- the words of one query ---- */

/* The bits of keep word `word` that belong to slots first .. end. */
static uint64_t slot_bits(const keeper *k, uint64_t word, uint64_t first, uint64_t end)
{
    uint64_t word_first = word << k->word_shift, word_end = word_first + (UINT64_C(1) << k->word_shift);
    uint64_t from = first > word_first ? first : word_first, to = end < word_end ? end : word_end;
    return UINT64_MAX >> (64 - (to - from)) << (from - word_first);
}

static const kv_keep *keep_of(const keeper *k, const place *p, uint32_t seen)
{
    return &k->keeps[k->plan->rows[p->item->first_row + p->first_seen + seen]];
}

/* Pairs of a row and a token of the range that the row sees. */
static uint64_t count_seen(const keeper *k, const place *p)
{
    uint64_t count = 0;
    for (uint32_t seen = 0; seen < p->num_seen; seen++) {
        const uint64_t *words = keep_of(k, p, seen)->words;
        count += p->range->num_tokens;
        for (uint64_t w = p->first_slot >> k->word_shift; w << k->word_shift < p->end_slot; w++) {
            uint64_t evicted = ~words[w] & slot_bits(k, w, p->first_slot, p->end_slot);
            count -= evicted ? (uint64_t)__builtin_popcountll(evicted) : 0;
        }
    }
    return count;
}

/* Clears the bits of one row where its query has evicted the token; returns how many. */
static uint64_t clear_evicted(const keeper *k, const place *p, uint32_t seen)
{
    const uint64_t *words = keep_of(k, p, seen)->words;
    uint64_t num_words = ((uint64_t)p->item->num_rows + 63) / 64, row = p->first_seen + seen, count = 0;
    uint64_t *masks = k->plan->masks + p->range->mask + row / 64;
    for (uint64_t w = p->first_slot >> k->word_shift; w << k->word_shift < p->end_slot; w++) {
        uint64_t evicted = ~words[w] & slot_bits(k, w, p->first_slot, p->end_slot);
        for (; evicted; evicted &= evicted - 1, count++) {
            uint64_t slot = (w << k->word_shift) + (uint64_t)__builtin_ctzll(evicted);
            masks[(slot - p->first_slot) * num_words] &= ~(UINT64_C(1) << row % 64);
        }
    }
    return count;
}

/* Writes the mask of a range; returns the pairs that it hides. */
static uint64_t fill_mask(const keeper *k, const place *p)
{
    uint32_t num_tokens = p->range->num_tokens, num_words = (uint32_t)(((uint64_t)p->item->num_rows + 63) / 64);
    uint64_t hidden = (uint64_t)(p->item->num_rows - p->num_seen) * num_tokens;
    plan_fill_masks(k->plan->masks + p->range->mask, num_words, p->first_seen, p->num_seen, num_tokens);
    for (uint32_t seen = 0; seen < p->num_seen; seen++)
        hidden += clear_evicted(k, p, seen);
    return hidden;
}

/* ---- ranges in the tree ---- */

/* The node whose run of blocks holds this entry of tree->blocks. */
static uint32_t node_of(const kv_tree *tree, uint32_t entry)
{
    uint32_t low = 0, high = tree->num_nodes;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (tree->nodes[middle].first_block <= entry)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static place find_place(const keeper *k, const tree_item *item, const tree_range *range)
{
    const kv_node *node = &k->tree->nodes[node_of(k->tree, range->first_block)];
    uint32_t first = plan_max(node->first_row, item->first_row);
    uint32_t end = plan_min(node->first_row + node->num_rows, item->first_row + item->num_rows);
    uint64_t slot = (uint64_t)k->plan->table_index[range->first_block] * k->plan->block_tokens + range->first_slot;
    return (place){item, range, node, first - item->first_row, first < end ? end - first : 0, slot,
                   slot + range->num_tokens};
}

static keeper keeper_of(tree_plan *plan, const kv_tree *tree, const kv_keep *keeps)
{
    uint32_t shift = (uint32_t)__builtin_ctz(tree->block_tokens);
    return (keeper){plan, tree, keeps, shift < 6 ? shift : 6};
}

static bool keeps_fit(const kv_tree *tree, const kv_keep *keeps)
{
    for (uint32_t q = 0; q < tree->num_queries; q++) {
        uint32_t end = tree->query_node[q];
        uint64_t length = end == KV_NONE ? 0 : (uint64_t)tree->nodes[end].first_token + tree->nodes[end].num_tokens;
        if (keeps[q].num_blocks != (length + tree->block_tokens - 1) / tree->block_tokens
            || keeps[q].words_per_block != (tree->block_tokens + 63) / 64)
            return false;
    }
    return tree->versions != NULL;
}

/* ---- build ---- */

static bool needs_mask(const keeper *k, const place *p, tree_keep_masks masks)
{
    if (masks == TREE_KEEP_ALL || (masks == TREE_KEEP_PRIVATE && p->node->num_rows == 1))
        return true;
    return count_seen(k, p) != (uint64_t)p->num_seen * p->range->num_tokens;
}

/* Mask words for a range, and for the tokens by which it may grow: the path of a query may end with it. */
static uint64_t give_mask(const keeper *k, const place *p, tree_range *range, uint64_t first_word)
{
    uint64_t num_words = ((uint64_t)p->item->num_rows + 63) / 64, room = 0;
    uint32_t query = plan_sole_query(k->tree, (uint32_t)(p->node - k->tree->nodes));
    if (query != KV_NONE && p->num_seen && p->end_slot == (uint64_t)p->node->first_token + p->node->num_tokens)
        room = k->plan->growth[query].room = plan_min(k->plan->growth[query].room, PLAN_MASK_ROOM);
    range->mask = (uint32_t)first_word;
    return (range->num_tokens + room) * num_words;
}

/* Returns the mask words that all ranges take. */
static uint64_t give_masks(const keeper *k, tree_keep_masks masks)
{
    uint64_t num_words = k->plan->num_mask_words;
    for (uint32_t i = 0; i < k->plan->num_items; i++) {
        const tree_item *item = &k->plan->items[i];
        for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
            const place p = find_place(k, item, &k->plan->ranges[r]);
            if (p.range->mask == TREE_NO_MASK && needs_mask(k, &p, masks))
                num_words += give_mask(k, &p, &k->plan->ranges[r], num_words);
        }
    }
    return num_words;
}

static void fill_masks(const keeper *k)
{
    k->plan->masked_pairs = 0;
    for (uint32_t i = 0; i < k->plan->num_items; i++) {
        const tree_item *item = &k->plan->items[i];
        for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
            if (k->plan->ranges[r].mask == TREE_NO_MASK)
                continue;
            const place p = find_place(k, item, &k->plan->ranges[r]);
            k->plan->masked_pairs += fill_mask(k, &p);
        }
    }
}

tree_status tree_plan_build_keep(tree_plan **plan, const kv_tree *tree, const tree_plan_config *config,
                                 const kv_keep *keeps, tree_keep_masks masks)
{
    tree_plan *made;
    if (!keeps_fit(tree, keeps) || (unsigned)masks > TREE_KEEP_ALL)
        return TREE_INVAL;
    tree_status status = tree_plan_build(&made, tree, config);
    if (status)
        return status;
    keeper k = keeper_of(made, tree, keeps);
    uint64_t num_words = give_masks(&k, masks);
    if (num_words >= TREE_NO_MASK) {
        status = TREE_OVERFLOW;
    } else if (num_words > made->num_mask_words) {
        k.plan = plan_add_mask_words(made, (uint32_t)num_words - made->num_mask_words);
        status = k.plan ? TREE_OK : TREE_NOMEM;
    }
    if (status) {
        tree_plan_destroy(made);
        return status;
    }
    fill_masks(&k);
    *plan = k.plan;
    return TREE_OK;
}

/* ---- new keep words ---- */

static bool is_tree_of(const tree_plan *plan, const kv_tree *tree)
{
    if (tree->num_queries != plan->num_queries || tree->num_blocks != plan->num_blocks
        || tree->block_tokens != plan->block_tokens || tree->unique_tokens != plan->unique_tokens
        || tree->path_tokens != plan->path_tokens)
        return false;
    for (uint32_t q = 0; q < plan->num_queries; q++) {
        uint32_t node = plan->growth[q].node;
        if (tree->rows[q] != plan->rows[q] || tree->query_node[q] != node
            || (node != KV_NONE && node >= tree->num_nodes)
            || (node != KV_NONE && tree->nodes[node].num_tokens != plan->growth[q].node_tokens))
            return false;
    }
    return true;
}

/* Whether the range lies in its node, so that the rows below the node have keep words for it. */
static bool is_in_node(const keeper *k, const place *p)
{
    uint64_t index = p->range->first_block - p->node->first_block;
    uint64_t slot = p->node->first_token - p->node->first_slot + index * k->plan->block_tokens + p->range->first_slot;
    return slot == p->first_slot && slot >= p->node->first_token
           && p->end_slot <= (uint64_t)p->node->first_token + p->node->num_tokens;
}

/* Each kept token of a query lies in one range. If the kept tokens of the masked ranges and all tokens of the other
 * ranges add up to num_kept, then no token of the others is evicted, and their keep words need not be read. */
static bool fits_masks(const keeper *k)
{
    uint64_t kept = 0, seen = 0;
    for (uint32_t q = 0; q < k->plan->num_queries; q++)
        kept += k->keeps[q].num_kept;
    for (uint32_t i = 0; i < k->plan->num_items; i++) {
        const tree_item *item = &k->plan->items[i];
        for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
            const place p = find_place(k, item, &k->plan->ranges[r]);
            if (!is_in_node(k, &p))
                return false;
            seen += p.range->mask == TREE_NO_MASK ? (uint64_t)p.num_seen * p.range->num_tokens : count_seen(k, &p);
        }
    }
    return kept == seen;
}

bool tree_plan_set_keep(tree_plan *plan, const kv_tree *tree, const kv_keep *keeps)
{
    if (!is_tree_of(plan, tree) || !keeps_fit(tree, keeps))
        return false;
    const keeper k = keeper_of(plan, tree, keeps);
    if (!fits_masks(&k))
        return false;
    fill_masks(&k);
    return true;
}
