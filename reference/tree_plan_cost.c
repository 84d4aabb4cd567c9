/* The strategy `cost`: nodes absorbed, packed or cut, whichever a model of the bytes finds cheapest.
 *
 *   unit      a list of nodes and the rows that see any of them; it becomes one item, or several where it is cut
 *   packed    neighbouring small subtrees, or a node and everything below it, are one unit with masks
 *   absorbed  a node's tokens join every unit right below it, which read them again but need no merge
 *   own       a node is a unit of its own, together with the absorbed nodes right above it
 *
 * The model counts in bytes of one KV head; formula and constants are explained in docs/plans.md.
 * Price: O(nodes) before the items are added. */
#include <stdlib.h>

#include "tree_plan_internal.h"

/* What things cost on a machine, in bytes that one of its processors could have read meanwhile. */
typedef struct cost_prices {
    uint32_t item_bytes;    /* starting and ending an item */
    uint32_t token_bytes;   /* K and V of a token: head_dim 128, two bytes an element */
    uint32_t tile_rows;     /* rows are computed in tiles of so many */
    uint32_t row_bytes;     /* one row of a tile and one token */
    uint32_t masked_rows;   /* that meet a masked token at most: where none of so many sees it, it is passed over */
    uint32_t mask_bytes;    /* a token that not all rows see: its mask words, and the tiles that obey them */
    uint32_t partial_bytes; /* a partial state of one row, fp32, written and read */
    uint32_t max_tile;      /* rows x group_size of an item */
    uint32_t share_percent; /* of a processor's even share of the work: the most that an item costs; 0: pieces of one
                               size */
} cost_prices;

static const cost_prices prices_of[] = {
    /* 64 rows cost as much as reading the token */
    [TREE_TARGET_GPU] = {24576, 512, 16, 8, 32, 64, 3120, 64, 60},
    /* 18 rows do: 1.25 ns a row at 22 GB/s a core */
    [TREE_TARGET_CPU] = {8192, 512, 1, 28, UINT32_MAX, 128, 1040, 1024, 0},
};

enum {
    COST_MIN_PIECE = 64,
    COST_MAX_PIECE = 1024,
    COST_KV_HEADS = 8,         /* tasks of an item */
    COST_SMALL_ITEM = 4,       /* times item_bytes: what costs no more may always be packed */
    COST_WORKERS_PER_ITEM = 2, /* so that there are four tasks for each worker */
    COST_MAX_CHAIN = 32        /* absorbed nodes above each other: bounds the ranges of an item */
};

typedef struct cost_node {
    uint32_t subtree_end; /* nodes [n, subtree_end) are n and all below */
    uint32_t unit_end;    /* nodes [n, unit_end) form a unit; 0: absorbed */
    uint32_t num_rows;    /* of the unit; absorbed: queries that end here */
    uint32_t num_chained; /* absorbed nodes on the longest way down, this one included */
    uint64_t num_tokens;  /* of the unit */
    uint64_t num_masked;  /* tokens of the unit that not all of its rows see */
    uint64_t rate;        /* bytes for each token that the units at the top of this subtree would absorb */
} cost_node;

struct plan_cost {
    const kv_tree *tree;
    const cost_prices *prices;
    uint64_t group_size, max_rows, piece_tokens;
    uint64_t most_bytes; /* an item costs at most; 0: the piece decides */
    bool piece_is_given;
    cost_node *nodes; /* [num_nodes + 1] so that each has a next one */
};

static uint64_t power_of_two_from(uint64_t least)
{
    uint64_t power = 1;
    while (power < least)
        power *= 2;
    return power;
}

/* ---- the model ---- */

/* Bytes for each token of an item, which meets up to most_rows rows of the tile. */
static uint64_t slice_rate(const plan_cost *c, uint64_t num_rows, uint64_t most_rows)
{
    const cost_prices *price = c->prices;
    uint64_t rows = (num_rows * c->group_size + price->tile_rows - 1) / price->tile_rows * price->tile_rows;
    return price->token_bytes + price->row_bytes * (rows < most_rows ? rows : most_rows);
}

/* Bytes for each token of a unit, which may be several items of max_rows. */
static uint64_t rate_up_to(const plan_cost *c, uint64_t num_rows, uint64_t most_rows)
{
    uint64_t rest = num_rows % c->max_rows;
    return num_rows / c->max_rows * slice_rate(c, c->max_rows, most_rows)
           + (rest ? slice_rate(c, rest, most_rows) : 0);
}

static uint64_t unit_rate(const plan_cost *c, uint64_t num_rows) { return rate_up_to(c, num_rows, UINT64_MAX); }

static uint64_t unit_bytes(const plan_cost *c, uint64_t num_tokens, uint64_t num_masked, uint64_t num_rows)
{
    uint64_t num_slices = (num_rows + c->max_rows - 1) / c->max_rows;
    return num_slices * (c->prices->item_bytes + num_masked * c->prices->mask_bytes)
           + (num_tokens - num_masked) * unit_rate(c, num_rows)
           + num_masked * rate_up_to(c, num_rows, c->prices->masked_rows)
           + num_rows * c->group_size * c->prices->partial_bytes;
}

static uint64_t node_bytes(const plan_cost *c, const cost_node *n)
{
    return unit_bytes(c, n->num_tokens, n->num_masked, n->num_rows);
}

/* ---- decisions, from the last node to the first ---- */

/* A subtree that is one unit as a whole. */
static bool is_whole(const cost_node *n) { return n->unit_end == n->subtree_end; }

static bool join(const plan_cost *c, cost_node *left, const cost_node *right)
{
    uint64_t num_tokens = left->num_tokens + right->num_tokens, num_rows = (uint64_t)left->num_rows + right->num_rows;
    uint64_t joined = unit_bytes(c, num_tokens, num_tokens, num_rows);
    uint64_t most_bytes = COST_SMALL_ITEM * (uint64_t)c->prices->item_bytes;
    most_bytes = most_bytes > c->most_bytes ? most_bytes : c->most_bytes;
    bool is_large = c->most_bytes ? joined > most_bytes || num_rows > c->max_rows : num_tokens > c->piece_tokens;
    if (is_large || joined > node_bytes(c, left) + node_bytes(c, right))
        return false;
    left->unit_end = right->unit_end;
    left->num_tokens = left->num_masked = num_tokens;
    left->num_rows = (uint32_t)num_rows;
    left->rate = unit_rate(c, num_rows);
    return true;
}

/* What the children of a node amount to, once small neighbours are packed. */
typedef struct children {
    uint32_t num_units; /* absorbed children count as one here */
    uint32_t num_rows, num_chained;
    uint64_t rate;
} children;

/* The siblings whose subtrees are nodes [first, end). */
static children pack_siblings(plan_cost *c, uint32_t first, uint32_t end)
{
    children all = {0, 0, 0, 0};
    cost_node *left = NULL;
    for (uint32_t i = first; i < end; i = c->nodes[i].subtree_end) {
        cost_node *child = &c->nodes[i];
        uint64_t left_rate = left ? left->rate : 0;
        all.num_rows += c->tree->nodes[i].num_rows;
        if (left && is_whole(child) && join(c, left, child)) {
            all.rate += left->rate - left_rate;
            continue;
        }
        left = is_whole(child) ? child : NULL;
        all.num_units++;
        all.rate += child->rate;
        if (child->num_chained > all.num_chained)
            all.num_chained = child->num_chained;
    }
    return all;
}

static void decide_node(plan_cost *c, uint32_t index)
{
    const kv_node *node = &c->tree->nodes[index];
    cost_node *n = &c->nodes[index], *below = n + 1;
    children all = pack_siblings(c, index + 1, n->subtree_end);
    uint32_t num_ending = node->num_rows - all.num_rows;
    uint64_t own = unit_bytes(c, node->num_tokens, 0, node->num_rows);
    uint64_t absorbed = node->num_tokens * all.rate + (num_ending ? unit_bytes(c, node->num_tokens, 0, num_ending) : 0);
    uint64_t num_masked = num_ending ? below->num_tokens : below->num_masked; /* if packed with all below */

    n->unit_end = index + 1;
    n->num_rows = node->num_rows;
    n->num_tokens = node->num_tokens;
    n->rate = unit_rate(c, node->num_rows);
    if (all.num_units == 1 && below->unit_end == n->subtree_end
        && unit_bytes(c, n->num_tokens + below->num_tokens, num_masked, n->num_rows) <= own + node_bytes(c, below)) {
        n->unit_end = n->subtree_end;
        n->num_tokens += below->num_tokens;
        n->num_masked = num_masked;
    } else if (all.num_units && absorbed < own && all.num_chained < COST_MAX_CHAIN) {
        n->unit_end = 0;
        n->num_rows = num_ending;
        n->rate = all.rate + (num_ending ? unit_rate(c, num_ending) : 0);
        n->num_chained = all.num_chained + 1;
    }
}

static void decide_piece(plan_cost *c, const tree_plan_config *config)
{
    uint64_t num_tokens = 0, num_bytes = 0, num_workers = config->num_workers;
    for (uint32_t i = 0; i < c->tree->num_nodes; i++) {
        const kv_node *node = &c->tree->nodes[i];
        num_tokens += node->num_tokens * ((node->num_rows + c->max_rows - 1) / c->max_rows);
        num_bytes += node->num_tokens * unit_rate(c, node->num_rows);
    }
    c->piece_is_given = config->piece_tokens != 0;
    c->piece_tokens = config->piece_tokens;
    if (c->piece_is_given)
        return;
    c->most_bytes = num_bytes * COST_KV_HEADS / num_workers * c->prices->share_percent / 100;
    c->piece_tokens = power_of_two_from(num_tokens / ((num_workers + 1) / COST_WORKERS_PER_ITEM));
    c->piece_tokens = c->piece_tokens < COST_MIN_PIECE ? COST_MIN_PIECE : c->piece_tokens;
    c->piece_tokens = c->piece_tokens > COST_MAX_PIECE ? COST_MAX_PIECE : c->piece_tokens;
}

tree_status plan_cost_decide(plan_cost **result, const kv_tree *tree, tree_plan_config *config)
{
    plan_cost *c = malloc(sizeof *c);
    if (!c)
        return TREE_NOMEM;
    *result = c; /* the caller destroys it, half made too */
    *c = (plan_cost){.tree = tree, .prices = &prices_of[config->target], .group_size = config->group_size,
                     .max_rows = config->max_rows, .nodes = calloc((size_t)tree->num_nodes + 1, sizeof *c->nodes)};
    if (!c->nodes)
        return TREE_NOMEM;
    if (!c->max_rows)
        c->max_rows = c->group_size < c->prices->max_tile ? c->prices->max_tile / c->group_size : 1;
    decide_piece(c, config);
    config->max_rows = (uint32_t)c->max_rows;
    config->piece_tokens = (uint32_t)c->piece_tokens;

    for (uint32_t i = tree->num_nodes; i-- > 0;) {
        uint32_t parent = tree->nodes[i].parent, end = c->nodes[i].subtree_end;
        c->nodes[i].subtree_end = end = end ? end : i + 1;
        if (parent != KV_NONE && !c->nodes[parent].subtree_end) /* the last child comes first */
            c->nodes[parent].subtree_end = end;
        decide_node(c, i);
    }
    pack_siblings(c, 0, tree->num_nodes); /* roots of a forest */
    return TREE_OK;
}

void plan_cost_destroy(plan_cost *cost)
{
    if (!cost)
        return;
    free(cost->nodes);
    free(cost);
}

/* ---- items ---- */

/* A cut at less than 2 x rows x group_size tokens would move more partial states than K and V. */
static plan_cut cut_for(const plan_cost *c, uint64_t num_rows)
{
    uint64_t piece = c->piece_tokens, slice_rows = num_rows < c->max_rows ? num_rows : c->max_rows;
    if (!c->piece_is_given) {
        uint64_t least = power_of_two_from(2 * c->group_size * slice_rows);
        if (c->most_bytes)
            piece = c->most_bytes / slice_rate(c, slice_rows, UINT64_MAX) / COST_MIN_PIECE * COST_MIN_PIECE;
        piece = piece < least ? least : piece;
        piece = piece < COST_MIN_PIECE ? COST_MIN_PIECE : piece;
    }
    return (plan_cut){piece, piece / 4, piece + piece / 2};
}

/* The absorbed nodes right above `node`, topmost first, in b->list. */
static uint32_t list_absorbed(plan_builder *b, const plan_cost *c, uint32_t node)
{
    const kv_node *nodes = b->tree->nodes;
    uint32_t count = 0, above = nodes[node].parent;
    for (uint32_t n = above; n != KV_NONE && !c->nodes[n].unit_end; n = nodes[n].parent)
        count++;
    for (uint32_t i = count; i-- > 0; above = nodes[above].parent)
        b->list[i] = above;
    return count;
}

void plan_cost_add(plan_builder *b, const plan_cost *c)
{
    for (uint32_t node = 0; node < b->tree->num_nodes;) {
        const cost_node *unit = &c->nodes[node];
        uint32_t first_row = b->tree->nodes[node].first_row, end = unit->unit_end ? unit->unit_end : node + 1;
        uint32_t count = list_absorbed(b, c, node);
        for (; node < end; node++)
            b->list[count++] = node;
        if (!unit->num_rows) /* absorbed, and no query ends there */
            continue;
        const plan_cut cut = cut_for(c, unit->num_rows);
        plan_add_list(b, b->list, count, first_row, first_row + unit->num_rows, &cut);
    }
}
