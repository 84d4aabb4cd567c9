/* The strategy `cost`: nodes are absorbed, packed or cut, whichever is cheapest by a model of the bytes.
 *
 *   unit      a list of nodes and the rows that see any of them; it becomes one item, or several where it is cut
 *   packed    neighbouring small subtrees, or a node and everything below it, form one unit with masks
 *   absorbed  a node's tokens join every unit directly below it; each unit reads them again, but no merge is needed
 *   own       a node is a unit, together with the absorbed nodes directly above it
 *   alone     all nodes are absorbed: each query is an item, and nothing is merged; or its path is cut, each piece an item
 *
 * The model counts bytes of one KV head; docs/plans.md explains formula and constants.
 * Price: O(nodes) before the items are added, and where `alone` is possible, these are counted once more. */
#include "tree_plan_cost_internal.h"
#include "exact_math_internal.h"

#include <math.h>
#include <stdlib.h>

static const tree_prices prices_of[] = {
    /* loading a token takes as long as multiplying it by 256 rows; 3 items are the least share */
    [TREE_TARGET_GPU] = {.token_bytes = 512, .item_bytes = 32768, .partial_bytes = 3120, .row_bytes = 2,
                         .mask_bytes = 64, .masked_rows = 16, .tile_rows = 16, .max_tile = 64,
                         .share_bytes = 98304, .merge_bytes = 0, .wait_bytes = 108800, .share_workers = 4,
                         .cut_tokens = 64, .rest_tokens = 16, .rest_part = 4},
    /* loading a token takes as long as 18 rows: 1.25 ns per row, 22 GB/s per core */
    [TREE_TARGET_CPU] = {.token_bytes = 512, .item_bytes = 8192, .partial_bytes = 1040, .row_bytes = 28,
                         .mask_bytes = 128, .masked_rows = UINT32_MAX, .tile_rows = 1, .max_tile = 1024,
                         .share_bytes = 0, .merge_bytes = 0, .wait_bytes = 0, .share_workers = 4, .cut_tokens = 64,
                         .rest_tokens = 16, .rest_part = 4},
};

enum {
    COST_MIN_PIECE = 64,
    COST_MAX_PIECE = 1024,
    COST_SECTION = 4096,        /* tokens that all rows of a unit use before the next ones, while these are in L2 */
    COST_SHARE_ROOM = 102,      /* percent of an even share: an idle worker costs less than a second round */
    COST_WORKERS_PER_ITEM = 2,  /* so that each worker has four tasks */
    COST_MAX_CHAIN = 32,        /* absorbed nodes above each other: bounds the ranges of an item */
    COST_LEAST_ALONE = 32,      /* queries: fewer were not measured (docs/plans.md) */
    COST_MOST_PIECES = 8,       /* of a path alone: more, with a worker each, were not measured */
    COST_LEAST_CUT_ROWS = 256,  /* queries x group_size: with fewer, cut paths were not measured */
    COST_PIECES_WAIT = 66       /* percent of the wait that the merge of the pieces of paths costs: docs/plans.md */
};

typedef struct cost_node {
    uint32_t subtree_end; /* nodes [n, subtree_end) are n and all below */
    uint32_t unit_end;    /* nodes [n, unit_end) form a unit; 0: absorbed */
    uint32_t num_rows;    /* of the unit; absorbed: queries whose path ends here */
    uint32_t num_chained; /* absorbed nodes on the longest path down, this one included */
    uint64_t num_tokens;  /* of the unit */
    uint64_t num_masked;  /* tokens of the unit that not all of its rows see */
    uint64_t rate;        /* bytes per token that the units at the top of this subtree would absorb */
} cost_node;

/* What a unit of so many rows costs: one item for each max_rows of them. */
typedef struct cost_of_rows {
    uint64_t num_items;
    uint64_t fixed;       /* items and partial states */
    uint64_t rate;        /* a token */
    uint64_t masked_rate; /* a token that not all of its rows see */
} cost_of_rows;

struct plan_cost {
    const kv_tree *tree;
    const tree_prices *prices; /* of the caller's config */
    cost_of_rows *rows;   /* [num_queries + 1]: a division for each decision would take most of the time */
    uint64_t group_size, max_rows, piece_tokens;
    uint64_t share_bytes; /* 0: pieces of one length */
    bool piece_is_given, is_alone;
    cost_node *nodes;     /* [num_nodes + 1]: each has a next one */

    uint32_t *list;       /* [num_nodes] nodes of the unit whose items are being added */
    uint64_t *list_start; /* [num_nodes + 1] tokens of the list before each of its nodes */
    uint32_t num_listed;
};

const tree_prices *tree_prices_of(tree_target target) { return &prices_of[target]; }

tree_status plan_cost_prices(tree_plan_config *config)
{
    enum { MOST = 1 << 24, MOST_WORK = 1 << 30, MOST_SIZE = 1 << 20 };
    tree_prices *p = &config->prices;
    if (p->token_bytes == 0) {
        *p = prices_of[config->target];
        return TREE_OK;
    }
    bool good = p->token_bytes <= MOST && p->item_bytes <= MOST_WORK && p->partial_bytes <= MOST && p->row_bytes <= MOST
                && p->mask_bytes <= MOST && p->tile_rows && !(p->tile_rows & (p->tile_rows - 1))
                && p->tile_rows <= MOST_SIZE && p->max_tile && p->max_tile <= MOST_SIZE && p->share_bytes <= MOST_WORK
                && p->merge_bytes <= MOST && p->wait_bytes <= MOST_WORK && p->share_workers
                && p->share_workers <= MOST_SIZE && p->cut_tokens && p->cut_tokens <= MOST_SIZE
                && p->rest_tokens <= MOST_SIZE && p->rest_part && p->rest_part <= MOST_SIZE;
    return good ? TREE_OK : TREE_INVAL;
}

static uint64_t power_of_two_from(uint64_t least)
{
    uint64_t power = 1;
    while (power < least)
        power *= 2;
    return power;
}

/* ---- the model ---- */

/* Bytes per token of an item, each computed against at most most_rows rows. */
static uint64_t item_rate(const plan_cost *c, uint64_t num_rows, uint64_t most_rows)
{
    const tree_prices *price = c->prices;
    uint64_t rows = (num_rows * c->group_size + price->tile_rows - 1) & ~(uint64_t)(price->tile_rows - 1);
    return price->token_bytes + price->row_bytes * (rows < most_rows ? rows : most_rows);
}

static cost_of_rows item_cost(const plan_cost *c, uint64_t num_rows)
{
    const tree_prices *price = c->prices;
    return (cost_of_rows){1, price->item_bytes + num_rows * c->group_size * price->partial_bytes,
                          item_rate(c, num_rows, UINT64_MAX),
                          item_rate(c, num_rows, price->masked_rows) + price->mask_bytes};
}

/* Fills c->rows. Beyond max_rows: what max_rows fewer cost, and a full item. */
static void price_rows(plan_cost *c)
{
    c->rows[0] = (cost_of_rows){0, 0, 0, 0};
    for (uint64_t n = 1; n <= c->tree->num_queries; n++) {
        c->rows[n] = item_cost(c, n < c->max_rows ? n : c->max_rows);
        if (n <= c->max_rows)
            continue;
        const cost_of_rows *rest = &c->rows[n - c->max_rows];
        c->rows[n].num_items += rest->num_items;
        c->rows[n].fixed += rest->fixed;
        c->rows[n].rate += rest->rate;
        c->rows[n].masked_rate += rest->masked_rate;
    }
}

static uint64_t unit_bytes(const plan_cost *c, uint64_t num_tokens, uint64_t num_masked, uint32_t num_rows)
{
    const cost_of_rows *of = &c->rows[num_rows];
    return of->fixed + (num_tokens - num_masked) * of->rate + num_masked * of->masked_rate;
}

static uint64_t node_bytes(const plan_cost *c, const cost_node *n)
{
    return unit_bytes(c, n->num_tokens, n->num_masked, n->num_rows);
}

/* ---- decisions, from the last node to the first ---- */

static bool in_shares(const plan_cost *c) { return c->prices->share_bytes && !c->piece_is_given; }

/* Whether the whole subtree is one unit. */
static bool is_whole(const cost_node *n) { return n->unit_end == n->subtree_end; }

static bool join(const plan_cost *c, cost_node *left, const cost_node *right)
{
    uint64_t num_tokens = left->num_tokens + right->num_tokens;
    uint32_t num_rows = left->num_rows + right->num_rows;
    uint64_t joined = unit_bytes(c, num_tokens, num_tokens, num_rows);
    bool is_large = in_shares(c) ? num_rows > c->max_rows : num_tokens > c->piece_tokens;
    if (is_large || joined > node_bytes(c, left) + node_bytes(c, right))
        return false;
    left->unit_end = right->unit_end;
    left->num_tokens = left->num_masked = num_tokens;
    left->num_rows = num_rows;
    left->rate = c->rows[num_rows].rate;
    return true;
}

/* Sums over the children of a node, after small neighbours were packed. */
typedef struct children {
    uint32_t num_units; /* an absorbed child counts as one */
    uint32_t num_rows, num_chained;
    uint64_t rate;
} children;

/* Packs the siblings whose subtrees are nodes [first, end). */
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

/* Three outcomes; [..] is a unit:
 *
 *   own             packed              absorbed
 *   [n]             [n                  n
 *    |-- [x]         `-- x y]           |-- [n x]
 *    `-- [y]                            `-- [n y]
 *
 * packed: if x and y were joined to one unit before, and n with that unit costs no more than both apart.
 * absorbed: if reading n in every unit below, and for the queries whose path ends in n, costs less than a merge. */
static void decide_node(plan_cost *c, uint32_t index)
{
    const kv_node *node = &c->tree->nodes[index];
    cost_node *n = &c->nodes[index], *below = n + 1;
    children all = pack_siblings(c, index + 1, n->subtree_end);
    uint32_t num_ending = node->num_rows - all.num_rows;
    uint64_t own = unit_bytes(c, node->num_tokens, 0, node->num_rows);
    uint64_t absorbed = node->num_tokens * all.rate + unit_bytes(c, node->num_tokens, 0, num_ending);
    uint64_t num_masked = num_ending ? below->num_tokens : below->num_masked; /* if packed with all below */

    n->unit_end = index + 1;
    n->num_rows = node->num_rows;
    n->num_tokens = node->num_tokens;
    n->rate = c->rows[node->num_rows].rate;
    if (all.num_units == 1 && below->unit_end == n->subtree_end
        && unit_bytes(c, n->num_tokens + below->num_tokens, num_masked, n->num_rows) <= own + node_bytes(c, below)) {
        n->unit_end = n->subtree_end;
        n->num_tokens += below->num_tokens;
        n->num_masked = num_masked;
    } else if (all.num_units && absorbed < own && all.num_chained < COST_MAX_CHAIN) {
        n->unit_end = 0;
        n->num_rows = num_ending;
        n->rate = all.rate + c->rows[num_ending].rate;
        n->num_chained = all.num_chained + 1;
    }
}

static void decide_piece(plan_cost *c, const tree_plan_config *config)
{
    uint64_t num_tokens = 0;
    c->piece_is_given = config->piece_tokens != 0;
    c->piece_tokens = config->piece_tokens;
    if (c->piece_is_given)
        return;
    for (uint32_t i = 0; i < c->tree->num_nodes; i++) {
        const kv_node *node = &c->tree->nodes[i];
        num_tokens += node->num_tokens * c->rows[node->num_rows].num_items;
    }
    c->piece_tokens = power_of_two_from(num_tokens / (((uint64_t)config->num_workers + 1) / COST_WORKERS_PER_ITEM));
    c->piece_tokens = c->piece_tokens < COST_MIN_PIECE ? COST_MIN_PIECE : c->piece_tokens;
    c->piece_tokens = c->piece_tokens > COST_MAX_PIECE ? COST_MAX_PIECE : c->piece_tokens;
}

/* ---- shares: all units are laid end to end and cut where a worker's share is full ---- */

/* The list of a unit, absorbed nodes included, and its price for an item with some of the unit's rows. */
typedef struct cost_stretch {
    uint64_t num_tokens, num_bytes;
} cost_stretch;

static cost_stretch stretch_of(const plan_cost *c, uint32_t node, uint64_t num_rows)
{
    const cost_node *unit = &c->nodes[node];
    cost_stretch s = {unit->num_tokens, 0};
    for (uint32_t n = c->tree->nodes[node].parent; n != KV_NONE && !c->nodes[n].unit_end; n = c->tree->nodes[n].parent)
        s.num_tokens += c->tree->nodes[n].num_tokens;
    s.num_bytes = (s.num_tokens - unit->num_masked) * c->rows[num_rows].rate
                  + unit->num_masked * c->rows[num_rows].masked_rate;
    return s;
}

static uint64_t item_rows(const plan_cost *c, uint64_t left) { return left < c->max_rows ? left : c->max_rows; }

static uint64_t longest_path(const plan_cost *c)
{
    uint64_t longest = 0;
    for (uint32_t node = 0; node < c->tree->num_nodes; node++) {
        const uint32_t parent = c->tree->nodes[node].parent;
        c->list_start[node] = c->tree->nodes[node].num_tokens + (parent == KV_NONE ? 0 : c->list_start[parent]);
        longest = c->list_start[node] > longest ? c->list_start[node] : longest;
    }
    return longest;
}

/* Pieces of n bytes of a path of N bytes: the longer they are, the longer a worker takes, and the fewer partial states,
 * N / n, are merged. n + merge_bytes x N / n is least at n = sqrt(merge_bytes x N). */
static uint64_t least_share(const plan_cost *c)
{
    const tree_prices *price = c->prices;
    if (!price->merge_bytes)
        return price->share_bytes;
    double path_bytes = (double)longest_path(c) * (double)c->rows[c->tree->num_queries > 0].rate;
    uint64_t share = price->item_bytes + (uint64_t)sqrt(path_bytes * price->merge_bytes);
    return share > price->share_bytes ? share : price->share_bytes;
}

/* An even share of all units, but at least the least one. */
static void decide_share(plan_cost *c, uint64_t num_shares)
{
    uint64_t item_bytes = c->prices->item_bytes, least = least_share(c), all = 0;
    for (uint32_t node = 0; node < c->tree->num_nodes;) {
        const cost_node *unit = &c->nodes[node];
        uint64_t num_whole = unit->num_rows / c->max_rows, rest = unit->num_rows % c->max_rows;
        if (num_whole)
            all += num_whole * (item_bytes + stretch_of(c, node, c->max_rows).num_bytes);
        if (rest)
            all += item_bytes + stretch_of(c, node, rest).num_bytes;
        node = unit->unit_end ? unit->unit_end : node + 1;
    }
    c->share_bytes = (all / num_shares + item_bytes) * COST_SHARE_ROOM / 100;
    c->share_bytes = c->share_bytes < least ? least : c->share_bytes;
}

/* ---- alone: each query is an item of its own, or several ---- */

static uint64_t whole_tiles(uint64_t num_tokens, uint64_t tile) { return (num_tokens + tile - 1) / tile * tile; }

static uint32_t deepest_path(plan_cost *c)
{
    uint32_t deepest = 0;
    for (uint32_t node = 0; node < c->tree->num_nodes; node++) {
        const uint32_t parent = c->tree->nodes[node].parent;
        c->list[node] = 1 + (parent == KV_NONE ? 0 : c->list[parent]);
        deepest = plan_max(deepest, c->list[node]);
    }
    return deepest;
}

/* Whether some query of the plan as decided has two partial states, and each has at least one: the merge writes the
 * zeros of a query that sees nothing. */
static bool can_save_merge(plan_cost *c)
{
    plan_items items = {.tree = c->tree, .max_rows = (uint32_t)c->max_rows, .skip_unseen = true};
    for (uint32_t query = 0; query < c->tree->num_queries; query++)
        if (c->tree->query_node[query] == KV_NONE)
            return false;
    plan_items_begin(&items, NULL);
    plan_cost_add(&items, c);
    return items.num_partials > c->tree->num_queries;
}

/* A plan without a merge does without the wait of all workers for each other. It is made if there are many queries but
 * a worker for each, the longest path takes no longer than a share and the wait, and all paths together fit a GPU's
 * queue. Pieces are a tile longer than that path: nothing is cut, and each path may grow. Where there are workers for
 * several pieces of each path, the path is cut if that saves more than the merge of its pieces costs. */
static void decide_alone(plan_cost *c, uint64_t num_shares)
{
    const kv_tree *tree = c->tree;
    const uint64_t wait_bytes = c->prices->wait_bytes, longest = longest_path(c), tile = c->prices->cut_tokens;
    if (!wait_bytes || tree->num_queries < COST_LEAST_ALONE || tree->num_queries > num_shares
        || tree->path_tokens > INT32_MAX || deepest_path(c) > COST_MAX_CHAIN)
        return;
    const uint64_t rate = c->rows[1].rate, merge_bytes = wait_bytes * COST_PIECES_WAIT / 100;
    const uint64_t num_rows = tree->num_queries * c->group_size;
    const uint64_t workers = num_rows < COST_LEAST_CUT_ROWS ? 1 : num_shares / tree->num_queries;
    const uint64_t most_pieces = workers < COST_MOST_PIECES ? workers : COST_MOST_PIECES;
    const uint64_t piece = whole_tiles((longest + most_pieces - 1) / most_pieces, tile);
    const bool cuts = piece * rate + merge_bytes < whole_tiles(longest, tile) * rate;
    const uint64_t bytes = c->prices->item_bytes + (cuts ? piece * rate + merge_bytes : longest * rate);
    if (bytes > c->share_bytes + wait_bytes || !can_save_merge(c))
        return;
    for (uint32_t i = 0; i < tree->num_nodes; i++) {
        const kv_node *node = &tree->nodes[i];
        c->nodes[i] = (cost_node){.num_rows = node->num_rows};
        if (node->parent != KV_NONE)
            c->nodes[node->parent].num_rows -= node->num_rows;
    }
    c->max_rows = 1;
    c->piece_tokens = cuts ? piece : longest + tile;
    c->piece_is_given = c->is_alone = true;
}

/* From the last node to the first, so that children are decided before their parent. */
static void decide_nodes(plan_cost *c)
{
    for (uint32_t i = c->tree->num_nodes; i-- > 0;) {
        uint32_t parent = c->tree->nodes[i].parent, end = c->nodes[i].subtree_end;
        c->nodes[i].subtree_end = end = end ? end : i + 1;
        if (parent != KV_NONE && !c->nodes[parent].subtree_end) /* i is its last child */
            c->nodes[parent].subtree_end = end;
        decide_node(c, i);
    }
    pack_siblings(c, 0, c->tree->num_nodes); /* roots of a forest */
}

tree_status plan_cost_create(plan_cost **cost, const kv_tree *tree, tree_plan_config *config)
{
    plan_cost *c = malloc(sizeof *c);
    size_t num_nodes = tree->num_nodes;
    if (!c)
        return TREE_NOMEM;
    *c = (plan_cost){.tree = tree, .prices = &config->prices, .group_size = config->group_size,
                     .max_rows = config->max_rows,
                     .rows = malloc(((size_t)tree->num_queries + 1) * sizeof *c->rows), .nodes = calloc(num_nodes + 1, sizeof *c->nodes),
                     .list = malloc((num_nodes + 1) * sizeof *c->list),
                     .list_start = malloc((num_nodes + 1) * sizeof *c->list_start)};
    if (!c->rows || !c->nodes || !c->list || !c->list_start) {
        plan_cost_destroy(c);
        return TREE_NOMEM;
    }
    bool rows_are_given = c->max_rows;
    if (!rows_are_given)
        c->max_rows = c->group_size < c->prices->max_tile ? c->prices->max_tile / c->group_size : 1;
    price_rows(c);
    decide_piece(c, config);
    config->piece_tokens = (uint32_t)c->piece_tokens;
    decide_nodes(c);
    if (in_shares(c)) {
        uint32_t share_workers = config->prices.share_workers;
        uint64_t num_shares = config->num_workers < share_workers ? 1 : config->num_workers / share_workers;
        decide_share(c, num_shares);
        if (!rows_are_given)
            decide_alone(c, num_shares);
    }
    config->max_rows = (uint32_t)c->max_rows;
    *cost = c;
    return TREE_OK;
}

void plan_cost_destroy(plan_cost *cost)
{
    if (!cost)
        return;
    free(cost->rows);
    free(cost->nodes);
    free(cost->list);
    free(cost->list_start);
    free(cost);
}

/* ---- units to pieces ---- */

/* The list of a unit: the absorbed nodes directly above `node`, topmost first, then nodes [node, end). */
static void list_unit(plan_cost *c, uint32_t node, uint32_t end)
{
    const kv_node *nodes = c->tree->nodes;
    uint32_t count = 0, above = nodes[node].parent;
    for (uint32_t n = above; n != KV_NONE && !c->nodes[n].unit_end; n = nodes[n].parent)
        count++;
    for (uint32_t i = count; i-- > 0; above = nodes[above].parent)
        c->list[i] = above;
    for (; node < end; node++)
        c->list[count++] = node;
    c->num_listed = count;
}

/* Fills list_start; returns the tokens of the list. */
static uint64_t measure_list(plan_cost *c)
{
    c->list_start[0] = 0;
    for (uint32_t i = 0; i < c->num_listed; i++)
        c->list_start[i + 1] = c->list_start[i] + c->tree->nodes[c->list[i]].num_tokens;
    return c->list_start[c->num_listed];
}

/* Index in the measured list, at least `low`, of the node that holds token `token` of the list. */
static uint32_t find_in_list(const plan_cost *c, uint32_t low, uint64_t token)
{
    if (token < c->list_start[low + 1]) /* the usual case */
        return low;
    for (uint32_t high = c->num_listed - 1; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        if (c->list_start[middle + 1] > token)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Tokens [from, from + num_tokens) of the measured list, none of them in a node before list[low]. */
static plan_piece piece_of_list(const plan_cost *c, uint32_t low, uint64_t from, uint64_t num_tokens)
{
    uint64_t last_token = from + num_tokens - 1;
    uint32_t first = find_in_list(c, low, from), last = find_in_list(c, first, last_token);
    return (plan_piece){first, (uint32_t)(from - c->list_start[first]), last,
                        (uint32_t)(last_token - c->list_start[last]) + 1, num_tokens};
}

/* Adds tokens [from, end) of the list for the rows of one item. *left: bytes that the current worker may still take. */
static void add_shares(plan_items *items, const plan_cost *c, uint64_t *left, uint64_t from, uint64_t end,
                       cost_stretch stretch, uint32_t first_row, uint32_t end_row)
{
    uint64_t item_bytes = c->prices->item_bytes, rate = stretch.num_bytes / stretch.num_tokens + 1;
    uint64_t tile = c->prices->cut_tokens;
    plan_piece piece = {0, 0, 0, 0, 0};
    while (from < end) {
        if (*left < item_bytes + tile * rate)
            *left = c->share_bytes;
        uint64_t room = *left > item_bytes ? (*left - item_bytes) / rate : 0, num_tokens = end - from;
        uint64_t cut = (room + tile * 3 / 4) / tile * tile;
        cut = cut ? cut : tile;
        uint64_t rest = cut / c->prices->rest_part;
        rest = rest < c->prices->rest_tokens ? rest : c->prices->rest_tokens;
        if (num_tokens > cut + rest)
            num_tokens = cut;
        piece = piece_of_list(c, piece.last, from, num_tokens);
        plan_add_piece(items, c->list, &piece, first_row, end_row, num_tokens / 2 + tile);
        uint64_t price = item_bytes + num_tokens * rate;
        *left -= price < *left ? price : *left;
        from += num_tokens;
    }
}

/* Rows that do not fit one item go through a long list side by side, max_rows at a time, so that all but the first find
 * K and V in the L2 cache. */
static void add_unit_in_shares(plan_items *items, plan_cost *c, uint64_t *left, uint32_t node, uint32_t first_row,
                               uint32_t end_row)
{
    uint64_t num_tokens = measure_list(c);
    uint64_t section = end_row - first_row > c->max_rows ? COST_SECTION : num_tokens;
    for (uint64_t from = 0; from < num_tokens; from += section) {
        uint64_t end = from + section < num_tokens ? from + section : num_tokens;
        for (uint32_t row = first_row; row < end_row;) {
            uint32_t num_rows = (uint32_t)item_rows(c, end_row - row);
            add_shares(items, c, left, from, end, stretch_of(c, node, num_rows), row, row + num_rows);
            row += num_rows;
        }
    }
}

/* Pieces of one length. A cut at fewer than 2 x rows x group_size tokens would move more bytes of partial states than
 * of K and V. A short rest joins the piece before it, unless queries are alone: there it would add a tile. */
static void add_unit_in_pieces(plan_items *items, const plan_cost *c, uint32_t first_row, uint32_t end_row)
{
    uint64_t piece = c->piece_tokens, least = power_of_two_from(2 * c->group_size * item_rows(c, end_row - first_row));
    if (!c->piece_is_given && piece < least)
        piece = least;
    const plan_cut cut = {piece, c->is_alone ? 0 : piece / 4, piece + piece / 2};
    plan_add_list(items, c->list, c->num_listed, first_row, end_row, &cut);
}

void plan_cost_add(plan_items *items, plan_cost *c)
{
    uint64_t left = 0;
    for (uint32_t node = 0, end; node < c->tree->num_nodes; node = end) {
        const cost_node *unit = &c->nodes[node];
        uint32_t first_row = c->tree->nodes[node].first_row, end_row = first_row + unit->num_rows;
        end = unit->unit_end ? unit->unit_end : node + 1;
        if (!unit->num_rows) /* absorbed, and no path ends there */
            continue;
        list_unit(c, node, end);
        if (in_shares(c))
            add_unit_in_shares(items, c, &left, node, first_row, end_row);
        else
            add_unit_in_pieces(items, c, first_row, end_row);
    }
}
