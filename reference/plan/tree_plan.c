/* tree_plan: each strategy as lists of nodes and places to cut; memory and merge lists of the plan.
 *
 *   strategy         for every       the list of nodes        rows: the queries that see   cut
 *   flash            query           its path                 (that query)                 never
 *   flash_decoding   query           its path                 (that query)                 every piece_tokens
 *   radix            query, node     one node of its path     (that query)                 every piece_tokens
 *   tree_mask        tree            all nodes, depth first   any node                     never
 *   node             node            that node                the node                     never
 *   node_chunk       node            that node                the node                     every piece_tokens
 *   flatten          tree            all nodes, depth first   any node of the piece        every piece_tokens
 *   cost             tree_plan_cost.c
 *
 * Price: two passes over the items (tree_plan_items.c), one over the partial states, one over the block entries. */
#include "tree_plan.h"

#include <stdlib.h>
#include <string.h>

#include "tree_plan_cost_internal.h"

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

/* ---- strategies ---- */

typedef struct builder {
    const kv_tree *tree;
    tree_plan_config config; /* defaults filled in */
    uint32_t *list;          /* [num_nodes] scratch; not for cost */
    plan_cost *cost;         /* for cost alone */
    plan_items items;
} builder;

/* The nodes from the root to `node`, in b->list; returns their number. */
static uint32_t list_path(builder *b, uint32_t node)
{
    uint32_t count = 0;
    for (uint32_t n = node; n != KV_NONE; n = b->tree->nodes[n].parent)
        count++;
    for (uint32_t i = count; i-- > 0; node = b->tree->nodes[node].parent)
        b->list[i] = node;
    return count;
}

static void add_by_query(builder *b, const plan_cut *cut, bool cut_at_nodes)
{
    const kv_tree *tree = b->tree;
    for (uint32_t row = 0; row < tree->num_queries; row++) {
        uint32_t count = list_path(b, tree->query_node[tree->rows[row]]);
        if (!cut_at_nodes)
            plan_add_list(&b->items, b->list, count, row, row + 1, cut);
        for (uint32_t i = 0; cut_at_nodes && i < count; i++)
            plan_add_list(&b->items, b->list + i, 1, row, row + 1, cut);
    }
}

static void add_by_node(builder *b, const plan_cut *cut)
{
    for (uint32_t node = 0; node < b->tree->num_nodes; node++)
        plan_add_list(&b->items, &node, 1, 0, b->tree->num_queries, cut);
}

static void add_whole_tree(builder *b, const plan_cut *cut)
{
    for (uint32_t node = 0; node < b->tree->num_nodes; node++)
        b->list[node] = node;
    plan_add_list(&b->items, b->list, b->tree->num_nodes, 0, b->tree->num_queries, cut);
}

static void add_items(builder *b)
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
    case TREE_COST: plan_cost_add(&b->items, b->cost); break;
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
        config->max_rows = config->max_rows ? config->max_rows : plan_max(tree->num_queries, 1);
        break;
    case TREE_COST: /* plan_cost_create fills in the rest */
        return plan_cost_prices(config);
    default:
        config->max_rows = config->max_rows ? config->max_rows : 32;
    }
    if (config->strategy == TREE_FLASH || config->strategy == TREE_TREE_MASK || config->strategy == TREE_NODE)
        config->piece_tokens = 0;
    else if (!config->piece_tokens)
        config->piece_tokens = 128;
    return TREE_OK;
}

/* Skips spare entries, which hold no block yet. Two accumulators break the dependency chain. */
static uint32_t largest_block(const kv_tree *tree)
{
    uint32_t even = 0, odd = 0;
    for (uint32_t i = 0; i < tree->num_nodes; i++) {
        const kv_node *node = &tree->nodes[i];
        const uint32_t *blocks = tree->blocks + node->first_block;
        uint32_t count = plan_node_blocks(node, node->num_tokens, tree->block_tokens);
        for (uint32_t j = 0; j + 1 < count; j += 2) {
            even = plan_max(even, blocks[j]);
            odd = plan_max(odd, blocks[j + 1]);
        }
        even = plan_max(even, blocks[count - 1]);
    }
    return plan_max(even, odd);
}

static void *carve(char **at, uint64_t count, size_t bytes)
{
    void *part = *at;
    *at += count * bytes;
    return part;
}

/* Points the arrays of the plan into the memory behind it, by its counts; returns the bytes of all. masks come first:
 * plan_add_mask_words. */
static uint64_t lay_out(tree_plan *plan)
{
    char *at = (char *)(plan + 1);
    uint64_t num_queries = plan->num_queries;
    plan->masks = carve(&at, plan->num_mask_words, sizeof *plan->masks);
    plan->items = carve(&at, plan->num_items, sizeof *plan->items);
    plan->ranges = carve(&at, plan->num_ranges, sizeof *plan->ranges);
    plan->growth = carve(&at, num_queries, sizeof *plan->growth);
    plan->blocks = carve(&at, plan->num_blocks, sizeof *plan->blocks);
    plan->table_index = carve(&at, plan->num_blocks, sizeof *plan->table_index);
    plan->rows = carve(&at, num_queries, sizeof *plan->rows);
    plan->merge_first = carve(&at, num_queries + 2, sizeof *plan->merge_first);
    plan->merge_partials = carve(&at, plan->num_partials, sizeof *plan->merge_partials);
    return (uint64_t)(at - (char *)plan);
}

/* From the counts of the first pass. */
static tree_status count_bytes(const builder *b, uint64_t *bytes)
{
    const plan_items *items = &b->items;
    if (items->num_items >= KV_NONE || items->num_ranges >= KV_NONE || items->num_partials >= KV_NONE
        || items->num_mask_words >= TREE_NO_MASK || items->max_item_tokens >= KV_NONE)
        return TREE_OVERFLOW;
    uint64_t num_queries = b->tree->num_queries;
    *bytes = sizeof(tree_plan) + items->num_mask_words * sizeof(uint64_t) + items->num_items * sizeof(tree_item)
             + items->num_ranges * sizeof(tree_range) + num_queries * sizeof(struct tree_plan_growth)
             + (2 * (uint64_t)b->tree->num_blocks + 2 * num_queries + 2 + items->num_partials) * sizeof(uint32_t);
    return TREE_OK;
}

/* The plan and its arrays are one allocation: a plan that is rebuilt every step comes from the heap without page
 * faults. */
static tree_plan *allocate_plan(const builder *b, uint64_t bytes)
{
    const kv_tree *tree = b->tree;
    const plan_items *items = &b->items;
    tree_plan *plan = bytes <= SIZE_MAX ? malloc((size_t)bytes) : NULL;
    if (!plan)
        return NULL;
    *plan = (tree_plan){
        .config = b->config, .block_tokens = tree->block_tokens, .num_queries = tree->num_queries,
        .num_items = (uint32_t)items->num_items, .num_ranges = (uint32_t)items->num_ranges,
        .num_blocks = tree->num_blocks, .num_partials = (uint32_t)items->num_partials,
        .num_mask_words = (uint32_t)items->num_mask_words, .max_block = largest_block(tree),
        .unique_tokens = tree->unique_tokens, .path_tokens = tree->path_tokens,
        .loaded_tokens = items->loaded_tokens, .masked_pairs = items->masked_pairs};
    lay_out(plan);
    return plan;
}

tree_plan *plan_add_mask_words(tree_plan *plan, uint32_t num_words)
{
    uint64_t old_bytes = lay_out(plan), old_masks = plan->num_mask_words * sizeof *plan->masks;
    uint64_t added = num_words * sizeof *plan->masks, behind = old_bytes - sizeof *plan - old_masks;
    plan = old_bytes + added <= SIZE_MAX ? realloc(plan, (size_t)(old_bytes + added)) : NULL;
    if (!plan)
        return NULL;
    char *end = (char *)(plan + 1) + old_masks;
    memmove(end + added, end, (size_t)behind);
    memset(end, 0, (size_t)added);
    plan->num_mask_words += num_words;
    lay_out(plan);
    return plan;
}

/* The items of a query follow its path, so one pass over all items in order fills every list in order. */
static void fill_merge_lists(tree_plan *plan)
{
    uint32_t *next = plan->merge_first + 1; /* next[q + 1]: the length of list q, then the place of its next entry */
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

/* Spare entries too, so that a plan that grows needs no more. In a tree with drafts, a position on a path is not a slot
 * of a table. */
static void fill_table_index(tree_plan *plan, const kv_tree *tree)
{
    if (plan->num_blocks)
        memset(plan->table_index, 0xff, plan->num_blocks * sizeof *plan->table_index);
    for (uint32_t n = 0; tree->versions && n < tree->num_nodes; n++) {
        const kv_node *node = &tree->nodes[n];
        uint32_t end = n + 1 < tree->num_nodes ? node[1].first_block : tree->num_blocks;
        uint32_t index = (node->first_token - node->first_slot) / tree->block_tokens;
        for (uint32_t i = node->first_block; i < end; i++)
            plan->table_index[i] = index++;
    }
}

static void fill_plan(builder *b, tree_plan *plan)
{
    const kv_tree *tree = b->tree;
    if (plan->num_blocks)
        memcpy(plan->blocks, tree->blocks, plan->num_blocks * sizeof *plan->blocks);
    if (plan->num_queries)
        memcpy(plan->rows, tree->rows, plan->num_queries * sizeof *plan->rows);
    fill_table_index(plan, tree);
    for (uint32_t q = 0; q < plan->num_queries; q++) {
        uint32_t node = tree->query_node[q], num_tokens = node == KV_NONE ? 0 : tree->nodes[node].num_tokens;
        plan->growth[q] = (struct tree_plan_growth){node, num_tokens, KV_NONE, KV_NONE, 0};
    }
    plan_items_begin(&b->items, plan);
    add_items(b);
    fill_merge_lists(plan);
}

static tree_status prepare(builder *b)
{
    bool is_cost = b->config.strategy == TREE_COST;
    tree_status status = fill_defaults(&b->config, b->tree);
    if (!status && is_cost)
        status = plan_cost_create(&b->cost, b->tree, &b->config);
    if (!status && !is_cost && !(b->list = malloc(((size_t)b->tree->num_nodes + 1) * sizeof *b->list)))
        status = TREE_NOMEM;
    b->items = (plan_items){.tree = b->tree, .max_rows = b->config.max_rows,
                            .mask_room = is_cost ? PLAN_MASK_ROOM : 0, .skip_unseen = is_cost};
    plan_items_begin(&b->items, NULL);
    return status;
}

/* result NULL: counts only. */
static tree_status build(tree_plan **result, uint64_t *bytes, const kv_tree *tree, const tree_plan_config *config)
{
    builder b = {.tree = tree, .config = *config};
    tree_status status = prepare(&b);
    if (!status) {
        add_items(&b);
        status = count_bytes(&b, bytes);
    }
    if (!status && result) {
        tree_plan *plan = allocate_plan(&b, *bytes);
        status = plan ? TREE_OK : TREE_NOMEM;
        if (plan)
            fill_plan(&b, *result = plan);
    }
    plan_cost_destroy(b.cost);
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

tree_status tree_plan_fits(const tree_plan *plan, const tree_shape *shape)
{
    tree_status status = tree_shape_check(shape);
    if (status != TREE_OK)
        return status;
    if (plan->num_queries != shape->num_queries || plan->block_tokens != shape->block_tokens)
        return TREE_BAD_SHAPE;
    return plan->max_block < shape->num_blocks ? TREE_OK : TREE_BAD_PLAN;
}
