/* Claim: the plans of cost are those that the formula of docs/plans.md finds cheapest: units, cuts and shares of random
 * trees, computed here a second time, slice by slice and token by token. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan_trees.h"
#include "test.h"

/* The table of docs/plans.md. */
typedef struct price_list {
    uint64_t token, partial, item, row, tile_rows, masked_rows, mask, largest_tile;
    uint64_t least_share, merge, wait, share_workers, cut, rest, part;
} price_list;

static const price_list prices[] = {
    [TREE_TARGET_GPU] = {512, 3120, 32768, 2, 16, 16, 64, 64, 3 * 32768, 0, 108800, 4, 64, 16, 4},
    [TREE_TARGET_CPU] = {512, 1040, 8192, 28, 1, UINT32_MAX, 128, 1024, 0, 0, 0, 0, 0, 0, 0},
};

/* Those of the caller, if there are any. */
static price_list prices_for(const tree_plan_config *config)
{
    const tree_prices *p = &config->prices;
    if (p->token_bytes == 0)
        return prices[config->target];
    return (price_list){p->token_bytes, p->partial_bytes, p->item_bytes, p->row_bytes, p->tile_rows, p->masked_rows,
                        p->mask_bytes, p->max_tile, p->share_bytes, p->merge_bytes, p->wait_bytes,
                        p->share_workers, p->cut_tokens, p->rest_tokens, p->rest_part};
}

/* What is decided about a node. */
typedef struct verdict {
    bool absorbed;
    bool whole;            /* its subtree, and perhaps siblings before it, are one unit */
    uint32_t first, end;   /* of its unit: nodes [first, end) */
    uint64_t tokens, masked, rows; /* of its unit */
    uint64_t rate;         /* bytes for each token that the tops of its subtree would absorb */
    uint64_t chained;
} verdict;

typedef struct model {
    const kv_tree *tree;
    price_list price;
    uint64_t group, max_rows, piece, num_workers;
    bool given, shares; /* in even shares */
    bool joins;         /* a short rest joins the piece before it */
    verdict *of;          /* [num_nodes] */
    uint32_t *is_inside;  /* [num_nodes] 1: belongs to a unit that begins before it */
    uint64_t share;
} model;

/* ---- the formula ---- */

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t tile_rows(const model *m, uint64_t rows)
{
    uint64_t all = 0;
    while (all < rows * m->group)
        all += m->price.tile_rows;
    return all;
}

static uint64_t open_token(const model *m, uint64_t rows) { return m->price.token + m->price.row * tile_rows(m, rows); }

static uint64_t masked_token(const model *m, uint64_t rows)
{
    return m->price.token + m->price.row * least(tile_rows(m, rows), m->price.masked_rows) + m->price.mask;
}

static uint64_t bytes_of(const model *m, uint64_t tokens, uint64_t masked, uint64_t rows)
{
    uint64_t bytes = rows * m->group * m->price.partial;
    for (uint64_t row = 0; row < rows; row += m->max_rows) {
        uint64_t slice = least(m->max_rows, rows - row);
        bytes += m->price.item + (tokens - masked) * open_token(m, slice) + masked * masked_token(m, slice);
    }
    return bytes;
}

static uint64_t rate_of(const model *m, uint64_t rows)
{
    uint64_t rate = 0;
    for (uint64_t row = 0; row < rows; row += m->max_rows)
        rate += open_token(m, least(m->max_rows, rows - row));
    return rate;
}

/* ---- packed, absorbed, own ---- */

static uint32_t after_subtree(const kv_tree *tree, uint32_t node)
{
    uint32_t end = node + 1;
    while (end < tree->num_nodes && tree->nodes[end].parent != KV_NONE && tree->nodes[end].parent >= node)
        end++;
    return end;
}

static uint64_t unit_bytes(const model *m, const verdict *v) { return bytes_of(m, v->tokens, v->masked, v->rows); }

/* Neighbours become one unit while that is not more expensive. Returns how many tops are left, their rates' sum, the
 * longest chain of absorbed ones, the queries, and in *last the unit that comes last. */
typedef struct tops {
    uint64_t count, rate, chained, rows;
    uint32_t last;
} tops;

static tops pack(model *m, uint32_t parent, uint32_t first, uint32_t end)
{
    tops t = {0, 0, 0, 0, KV_NONE};
    for (uint32_t n = first; n < end; n++) {
        if (m->tree->nodes[n].parent != parent)
            continue;
        verdict *v = &m->of[n], *before = t.last == KV_NONE ? NULL : &m->of[t.last];
        t.rows += m->tree->nodes[n].num_rows;
        if (before && before->whole && v->whole) {
            uint64_t tokens = before->tokens + v->tokens, rows = before->rows + v->rows;
            bool fits = m->shares ? rows <= m->max_rows : tokens <= m->piece;
            if (fits && bytes_of(m, tokens, tokens, rows) <= unit_bytes(m, before) + unit_bytes(m, v)) {
                t.rate += rate_of(m, rows) - before->rate;
                *before = (verdict){false, true, before->first, v->end, tokens, tokens, rows, rate_of(m, rows), 0};
                m->is_inside[n] = 1;
                continue;
            }
        }
        t.last = n;
        t.count++;
        t.rate += v->rate;
        t.chained = v->chained > t.chained ? v->chained : t.chained;
    }
    return t;
}

static void judge(model *m, uint32_t n)
{
    const kv_node *node = &m->tree->nodes[n];
    uint32_t end = after_subtree(m->tree, n);
    tops below = pack(m, n, n + 1, end);
    uint64_t ending = node->num_rows - below.rows, own = bytes_of(m, node->num_tokens, 0, node->num_rows);
    verdict v = {false, end == n + 1, n, n + 1, node->num_tokens, 0, node->num_rows, rate_of(m, node->num_rows), 0};
    const verdict *child = below.count == 1 ? &m->of[below.last] : NULL;
    if (child && child->whole) {
        /* a query that ends here sees nothing of what is below */
        uint64_t masked = ending ? child->tokens : child->masked, tokens = node->num_tokens + child->tokens;
        if (bytes_of(m, tokens, masked, node->num_rows) <= own + unit_bytes(m, child)) {
            m->is_inside[below.last] = 1;
            m->of[n] = (verdict){false, true, n, end, tokens, masked, node->num_rows, v.rate, 0};
            return;
        }
    }
    uint64_t shared_out = node->num_tokens * below.rate + (ending ? bytes_of(m, node->num_tokens, 0, ending) : 0);
    if (below.count && shared_out < own && below.chained < 32)
        v = (verdict){true, false, n, n + 1, node->num_tokens, 0, ending, below.rate + rate_of(m, ending),
                      below.chained + 1};
    m->of[n] = v;
}

/* ---- items ---- */

/* A token of a unit's list: its place, and the rows that see it. */
typedef struct listed {
    uint32_t node, token;
} listed;

typedef struct expected_items {
    const tree_plan *plan;
    const kv_tree *tree;
    uint32_t item;
} expected_items;

/* The next item of the plan has the rows of [from_row, end_row) that see any of these tokens, and the tokens that any
 * of these rows sees, masked where not all rows do. */
static void expect_item(expected_items *e, const listed *tokens, uint64_t count, uint32_t from_row, uint32_t end_row)
{
    const tree_plan *plan = e->plan;
    const kv_node *nodes = e->tree->nodes;
    uint32_t first = KV_NONE, end = 0;
    for (uint64_t t = 0; t < count; t++) {
        uint32_t low = nodes[tokens[t].node].first_row, high = low + nodes[tokens[t].node].num_rows;
        low = low > from_row ? low : from_row;
        high = high < end_row ? high : end_row;
        if (low < high) {
            first = low < first ? low : first;
            end = high > end ? high : end;
        }
    }
    if (first >= end)
        return;
    check(e->item < plan->num_items, "an item for rows %" PRIu32 " to %" PRIu32, first, end);
    const tree_item *item = &plan->items[e->item];
    check(item->first_row == first && item->num_rows == end - first, "item %" PRIu32 " has rows %" PRIu32 " + %" PRIu32
          ", expected %" PRIu32 " to %" PRIu32, e->item, item->first_row, item->num_rows, first, end);
    uint32_t range = item->first_range, done = 0;
    for (uint64_t t = 0; t < count; t++) {
        const kv_node *node = &nodes[tokens[t].node];
        if (node->first_row >= end || node->first_row + node->num_rows <= first)
            continue;
        check(range < item->first_range + item->num_ranges, "item %" PRIu32 " ends early", e->item);
        uint64_t slot = node->first_slot + tokens[t].token;
        const tree_range *r = &plan->ranges[range];
        uint64_t at = (uint64_t)r->first_slot + done;
        check(r->first_block + at / plan->block_tokens == node->first_block + slot / plan->block_tokens
              && at % plan->block_tokens == slot % plan->block_tokens,
              "item %" PRIu32 " range %" PRIu32 ": token %" PRIu32 " of node %" PRIu32, e->item, range,
              tokens[t].token, tokens[t].node);
        bool all = node->first_row <= first && node->first_row + node->num_rows >= end;
        check(all == (r->mask == TREE_NO_MASK), "item %" PRIu32 " range %" PRIu32 " is masked", e->item, range);
        if (++done == r->num_tokens) {
            range++;
            done = 0;
        }
    }
    check(range == item->first_range + item->num_ranges && !done, "item %" PRIu32 " goes on", e->item);
    e->item++;
}

/* Rows that see some of the tokens, max_rows at a time from the first of them. */
static void expect_slices(expected_items *e, const model *m, const listed *tokens, uint64_t count, uint32_t first_row,
                          uint32_t end_row)
{
    uint32_t first = end_row, end = first_row;
    for (uint64_t t = 0; t < count; t++) {
        uint32_t low = e->tree->nodes[tokens[t].node].first_row;
        uint32_t high = low + e->tree->nodes[tokens[t].node].num_rows;
        first = low < first ? low : first;
        end = high > end ? high : end;
    }
    first = first > first_row ? first : first_row;
    end = end < end_row ? end : end_row;
    for (uint64_t row = first; row < end; row += m->max_rows)
        expect_item(e, tokens, count, (uint32_t)row, (uint32_t)least(row + m->max_rows, end));
}

/* The tokens of the absorbed nodes right above, then those of the unit. */
static uint64_t list_unit(const model *m, uint32_t n, listed *tokens)
{
    const kv_node *nodes = m->tree->nodes;
    uint32_t above[64], num_above = 0;
    uint64_t count = 0;
    for (uint32_t a = nodes[n].parent; a != KV_NONE && m->of[a].absorbed; a = nodes[a].parent) {
        check(num_above < 32, "at most 32 nodes are absorbed above each other");
        above[num_above++] = a;
    }
    while (num_above--)
        for (uint32_t t = 0; t < nodes[above[num_above]].num_tokens; t++)
            tokens[count++] = (listed){above[num_above], t};
    for (uint32_t i = n; i < m->of[n].end; i++)
        for (uint32_t t = 0; t < nodes[i].num_tokens; t++)
            tokens[count++] = (listed){i, t};
    return count;
}

static uint64_t power_of_two(uint64_t from)
{
    uint64_t power = 1;
    while (power < from)
        power <<= 1;
    return power;
}

static void expect_pieces(expected_items *e, const model *m, const listed *tokens, uint64_t count, uint32_t first_row,
                          uint64_t rows)
{
    uint64_t piece = m->piece, at = 0;
    if (!m->given && piece < 2 * m->group * least(rows, m->max_rows))
        piece = power_of_two(2 * m->group * least(rows, m->max_rows));
    while (at < count) {
        uint64_t rest = m->joins ? piece / 4 : 0, length = count - at <= piece + rest ? count - at : piece;
        expect_slices(e, m, tokens + at, length, first_row, first_row + (uint32_t)rows);
        at += length;
    }
}

/* Bytes of a slice of a unit's rows and all of its list. */
static uint64_t slice_bytes(const model *m, const verdict *v, uint64_t count, uint64_t rows)
{
    return (count - v->masked) * open_token(m, rows) + v->masked * masked_token(m, rows);
}

static void expect_shares(expected_items *e, const model *m, uint64_t *left, const verdict *v, const listed *tokens,
                          uint64_t count, uint32_t first_row)
{
    uint64_t section = v->rows > m->max_rows ? 4096 : count, item = m->price.item;
    for (uint64_t begin = 0; begin < count; begin += section) {
        for (uint64_t row = 0; row < v->rows; row += m->max_rows) {
            uint64_t rows = least(m->max_rows, v->rows - row), stop = least(begin + section, count);
            uint64_t rate = slice_bytes(m, v, count, rows) / count + 1;
            for (uint64_t at = begin, length; at < stop; at += length) {
                const uint64_t tile = m->price.cut;
                if (*left < item + tile * rate) /* not worth an item of a tile */
                    *left = m->share;
                /* whole tiles; one more where the share reaches a quarter into it; a short rest joins */
                uint64_t room = *left > item ? (*left - item) / rate : 0;
                uint64_t tiles = room / tile + (room % tile + tile * 3 / 4 >= tile);
                tiles = tiles ? tiles : 1;
                uint64_t rest = least(m->price.rest, tile * tiles / m->price.part);
                length = stop - at <= tile * tiles + rest ? stop - at : tile * tiles;
                expect_item(e, tokens + at, length, first_row + (uint32_t)row, first_row + (uint32_t)(row + rows));
                *left -= least(*left, item + length * rate);
            }
        }
    }
}

static uint64_t num_shares(const model *m)
{
    uint64_t count = m->num_workers / m->price.share_workers;
    return count ? count : 1;
}

/* The nodes, or the tokens, of the longest path by these. */
static uint64_t longest_path(const kv_tree *tree, bool by_nodes)
{
    uint64_t longest = 0;
    for (uint32_t n = 0; n < tree->num_nodes; n++) {
        uint64_t path = 0;
        for (uint32_t a = n; a != KV_NONE; a = tree->nodes[a].parent)
            path += by_nodes ? 1 : tree->nodes[a].num_tokens;
        longest = path > longest ? path : longest;
    }
    return longest;
}

static void set_share(model *m, listed *tokens)
{
    uint64_t all = 0;
    for (uint32_t n = 0; n < m->tree->num_nodes; n++) {
        if (m->is_inside[n])
            continue;
        uint64_t count = list_unit(m, n, tokens), rows = m->of[n].rows;
        for (uint64_t row = 0; row < rows; row += m->max_rows)
            all += m->price.item + slice_bytes(m, &m->of[n], count, least(m->max_rows, rows - row));
    }
    m->share = (all / num_shares(m) + m->price.item) * 102 / 100;
    double best = sqrt((double)longest_path(m->tree, false) * (double)open_token(m, 1) * (double)m->price.merge);
    if (m->price.merge && m->share < m->price.item + (uint64_t)best)
        m->share = m->price.item + (uint64_t)best;
    if (m->share < m->price.least_share)
        m->share = m->price.least_share;
}

/* ---- a whole plan ---- */

static model model_of(const kv_tree *tree, const tree_plan_config *config)
{
    model m = {.tree = tree, .price = prices_for(config), .group = config->group_size ? config->group_size : 4,
               .max_rows = config->max_rows, .piece = config->piece_tokens, .given = config->piece_tokens,
               .num_workers = config->num_workers ? config->num_workers : 132, .joins = true,
               .of = calloc(tree->num_nodes + 1, sizeof *m.of),
               .is_inside = calloc(tree->num_nodes + 1, sizeof *m.is_inside)};
    check(m.of && m.is_inside, "memory");
    m.shares = !m.given && m.price.least_share;
    if (!m.max_rows)
        m.max_rows = m.price.largest_tile / m.group ? m.price.largest_tile / m.group : 1;
    if (!m.given) {
        uint64_t read = 0;
        for (uint32_t n = 0; n < tree->num_nodes; n++)
            for (uint64_t row = 0; row < tree->nodes[n].num_rows; row += m.max_rows)
                read += tree->nodes[n].num_tokens;
        m.piece = power_of_two(read / ((m.num_workers + 1) / 2));
        m.piece = m.piece < 64 ? 64 : m.piece > 1024 ? 1024 : m.piece;
    }
    for (uint32_t n = tree->num_nodes; n-- > 0;)
        judge(&m, n);
    pack(&m, KV_NONE, 0, tree->num_nodes);
    /* what belongs to a unit that begins before it */
    for (uint32_t n = 0; n < tree->num_nodes; n++)
        for (uint32_t i = n + 1; !m.is_inside[n] && i < m.of[n].end; i++)
            m.is_inside[i] = 1;
    return m;
}

static void check_against_model(const kv_tree *tree, const tree_plan_config *config);

static uint64_t whole_tiles(const model *m, uint64_t count)
{
    while (count % m->price.cut)
        count++;
    return count;
}

/* *Alone*: tokens of a piece; more than the longest path: it is not cut; 0: no query is alone. The plan without this
 * rule is checked, then it says whether it merges. The merge stays where a query sees nothing. */
static uint64_t alone_piece(const model *m, const tree_plan_config *config)
{
    const uint64_t path = longest_path(m->tree, false), queries = m->tree->num_queries;
    if (!m->shares || !m->price.wait || config->max_rows || queries < 32 || queries > num_shares(m)
        || longest_path(m->tree, true) > 32 || m->tree->path_tokens > INT32_MAX)
        return 0;
    uint64_t workers = queries * m->group < 256 ? 1 : least(8, num_shares(m) / queries);
    uint64_t part = path / workers + (path % workers != 0);
    uint64_t whole = open_token(m, 1) * path, piece = whole_tiles(m, part), apart = open_token(m, 1) * piece;
    apart += m->price.wait * 66 / 100;
    bool cut = apart < open_token(m, 1) * whole_tiles(m, path);
    if (m->price.item + (cut ? apart : whole) > m->share + m->price.wait)
        return 0;
    tree_plan_config off = *config;
    off.prices = config->prices.token_bytes ? config->prices : *tree_prices_of(config->target);
    off.prices.wait_bytes = 0;
    check_against_model(m->tree, &off);
    tree_plan *plan = plan_tree_plan(m->tree, off);
    bool merges = false, all_see = true;
    for (uint32_t q = 0; q < plan->num_queries; q++) {
        merges = merges || plan->merge_first[q + 1] - plan->merge_first[q] > 1;
        all_see = all_see && m->tree->query_node[q] != KV_NONE;
    }
    tree_plan_destroy(plan);
    return merges && all_see ? cut ? piece : path + m->price.cut : 0;
}

/* Node by node, the whole path of the queries that end there. */
static void expect_alone(expected_items *e, model m, uint64_t piece, listed *tokens)
{
    m.piece = piece;
    m.given = true;
    m.joins = false;
    m.max_rows = 1;
    for (uint32_t n = 0; n < e->tree->num_nodes; n++) {
        uint32_t first_row = e->tree->nodes[n].first_row, num_ending = e->tree->nodes[n].num_rows;
        uint64_t count = 0;
        for (uint32_t i = 0; i < e->tree->num_nodes; i++) { /* parents come first */
            const kv_node *node = &e->tree->nodes[i];
            num_ending -= node->parent == n ? node->num_rows : 0;
            if (i <= n && node->first_row <= first_row && first_row < node->first_row + node->num_rows)
                for (uint32_t t = 0; t < node->num_tokens; t++)
                    tokens[count++] = (listed){i, t};
        }
        if (num_ending)
            expect_pieces(e, &m, tokens, count, first_row, num_ending);
    }
}

static void check_against_model(const kv_tree *tree, const tree_plan_config *config)
{
    tree_plan *plan = plan_tree_plan(tree, *config);
    model m = model_of(tree, config);
    uint64_t left = 0, longest = 0;
    for (uint32_t n = 0; n < tree->num_nodes; n++)
        longest += tree->nodes[n].num_tokens;
    listed *tokens = malloc((longest + 1) * sizeof *tokens);
    check(tokens, "memory");
    expected_items e = {plan, tree, 0};
    if (m.shares)
        set_share(&m, tokens);
    uint64_t alone = alone_piece(&m, config);
    m.max_rows = alone ? 1 : m.max_rows;
    check(plan->config.max_rows == m.max_rows && plan->config.piece_tokens == m.piece, "max_rows %" PRIu32 ", piece %"
          PRIu32 ", expected %" PRIu64 ", %" PRIu64, plan->config.max_rows, plan->config.piece_tokens, m.max_rows,
          m.piece);
    if (alone)
        expect_alone(&e, m, alone, tokens);
    for (uint32_t n = 0; n < tree->num_nodes && !alone; n++) {
        if (m.is_inside[n])
            continue;
        uint64_t count = list_unit(&m, n, tokens);
        if (m.shares)
            expect_shares(&e, &m, &left, &m.of[n], tokens, count, tree->nodes[n].first_row);
        else
            expect_pieces(&e, &m, tokens, count, tree->nodes[n].first_row, m.of[n].rows);
    }
    check(e.item == plan->num_items, "%" PRIu32 " items, the plan has %" PRIu32, e.item, plan->num_items);
    free(tokens);
    free(m.of);
    free(m.is_inside);
    tree_plan_destroy(plan);
}

/* ---- cases ---- */

static uint32_t random_price(uint32_t most) { return test_below(test_below(2) ? most : most / 32 + 1); }

static tree_prices random_prices(void)
{
    static const uint32_t any[] = {0, 1, 16, 40, UINT32_MAX};
    return (tree_prices){.token_bytes = 1 + random_price(2000), .item_bytes = random_price(100000),
                         .partial_bytes = random_price(20000), .row_bytes = random_price(40),
                         .mask_bytes = random_price(400), .masked_rows = any[test_below(5)],
                         .tile_rows = 1u << test_below(8), .max_tile = 1 + random_price(300),
                         .share_bytes = test_below(4) ? 1 + random_price(300000) : 0,
                         .merge_bytes = test_below(2) ? random_price(20000) : 0,
                         .wait_bytes = test_below(2) ? random_price(3000000) : 0,
                         .share_workers = 1 + test_below(10), .cut_tokens = 1 + random_price(200),
                         .rest_tokens = random_price(200), .rest_part = 1 + random_price(40)};
}

static tree_plan_config random_config(tree_target target)
{
    tree_plan_config config = {.strategy = TREE_COST, .target = target};
    static const uint32_t workers[] = {0, 1, 3, 4, 8, 40, 264, 1000};
    if (test_below(3))
        config.group_size = 1 + test_below(test_below(2) ? 8 : 80);
    config.num_workers = workers[test_below(8)];
    if (test_below(4) == 0)
        config.max_rows = 1 + test_below(40);
    if (test_below(4) == 0)
        config.piece_tokens = 1 + test_below(300);
    return config;
}

/* A third of them with prices of the caller's. */
static void run_random(const void *argument)
{
    tree_target target = *(const tree_target *)argument;
    for (int i = 0; i < 250; i++) {
        uint32_t max_tokens = test_below(4) ? 1 + test_below(300) : 2000;
        kv_tree *tree = plan_tree_random(1 + test_below(50), max_tokens, 1u << test_below(6), 0);
        tree_plan_config config = random_config(target);
        if (i % 3 == 0)
            config.prices = random_prices();
        check_against_model(tree, &config);
        plan_tree_destroy(tree);
    }
}

/* Shapes at which decisions turn: the lengths where packing, absorbing and cutting begin. */
static void run_turning_points(const void *argument)
{
    tree_target target = *(const tree_target *)argument;
    for (int i = 0; i < 200; i++) {
        char text[64];
        uint32_t a = 1 + test_below(40), b = 1 + test_below(test_below(2) ? 60 : 3000), c = 1 + test_below(400);
        if (i % 3 == 0)
            snprintf(text, sizeof text, "1,%" PRIu32 "/%" PRIu32 ",%" PRIu32, a, b, c);
        else if (i % 3 == 1)
            snprintf(text, sizeof text, "1,2,%" PRIu32 "/7,%" PRIu32 ",%" PRIu32, 2 * a, b, c);
        else
            snprintf(text, sizeof text, "%" PRIu32 ",%" PRIu32 "/%" PRIu32 ",40", a, a * (1 + test_below(3)), b);
        kv_tree *tree = plan_tree_levels(text, 16, 0);
        tree_plan_config config = random_config(target);
        check_against_model(tree, &config);
        plan_tree_destroy(tree);
    }
}

/* Trees on which one length turns a decision: two leaves are packed or not, a root is absorbed by two leaves or not, a
 * node at which a query ends is packed with its leaf or not. */
typedef enum turn { PACK_LEAVES, ABSORB_ROOT, PACK_BELOW, NUM_TURNS } turn;

static kv_tree *turning_tree(turn what, uint32_t length)
{
    static const uint32_t parent[] = {KV_NONE, 0, 0}, one_each[] = {1, 1};
    const uint32_t leaves[] = {3000, length, length}, root[] = {length, 3000, 2900}, chain[] = {50, length};
    if (what == PACK_BELOW)
        return plan_tree_create(&(plan_tree_nodes){2, parent, chain, one_each, 0}, 16, 0);
    return plan_tree_create(&(plan_tree_nodes){3, parent, what == PACK_LEAVES ? leaves : root, NULL, 0}, 16, 0);
}

/* The greatest length before the turn, 0 if there is none, and whether both sides are equal there. */
static uint32_t longest_before(const model *m, turn what, bool *equal)
{
    int64_t open = (int64_t)open_token(m, 1), both = (int64_t)open_token(m, 2), masked = (int64_t)masked_token(m, 2);
    int64_t extra;
    uint64_t saved;
    switch (what) {
    case PACK_LEAVES: saved = m->price.item; extra = 2 * (masked - open); break;
    case ABSORB_ROOT: saved = m->price.item + 2 * m->group * m->price.partial; extra = 2 * open - both; break;
    default: saved = m->price.item + m->group * m->price.partial; extra = masked - open; break;
    }
    *equal = extra > 0 && saved % (uint64_t)extra == 0;
    return extra > 0 ? (uint32_t)(saved / (uint64_t)extra) : 0;
}

static void run_ties(const void *argument)
{
    tree_target target = *(const tree_target *)argument;
    uint32_t num_equal[NUM_TURNS] = {0};
    for (int what = 0; what < NUM_TURNS; what++) {
        for (uint32_t group = 1; group <= 64; group++) {
            tree_plan_config config = {.strategy = TREE_COST, .target = target, .group_size = group, .max_rows = 2};
            model m = {.price = prices[target], .group = group};
            bool equal;
            uint32_t longest = longest_before(&m, (turn)what, &equal);
            num_equal[what] += equal;
            for (uint32_t length = longest > 1 ? longest - 1 : 1; longest && length <= longest + 1; length++) {
                kv_tree *tree = turning_tree((turn)what, length);
                check_against_model(tree, &config);
                plan_tree_destroy(tree);
            }
        }
    }
    test_note("equal: %" PRIu32 ", %" PRIu32 ", %" PRIu32 " of 64", num_equal[0], num_equal[1], num_equal[2]);
    check(num_equal[0] + num_equal[1] + num_equal[2] > 1, "sides that are equal");
}

static void run_named(const void *argument)
{
    tree_target target = *(const tree_target *)argument;
    for (int t = 0; t < num_plan_tree_cases; t++) {
        kv_tree *tree = plan_tree_case_create(&plan_tree_cases[t], 16, 0);
        tree_plan_config config = {.strategy = TREE_COST, .target = target};
        check_against_model(tree, &config);
        config.group_size = 1;
        check_against_model(tree, &config);
        plan_tree_destroy(tree);
    }
}

/* So many workers that only the least share counts, and that grows with the longest path. */
static void run_long_paths(const void *argument)
{
    (void)argument;
    uint32_t num_cut = 0;
    for (int i = 0; i < 60; i++) {
        kv_tree *tree = plan_tree_random(1 + test_below(12), 3000, 16, 0);
        tree_plan_config config = {.strategy = TREE_COST, .prices = *tree_prices_of(TREE_TARGET_GPU)};
        config.num_workers = 1 << 20;
        config.prices.share_workers = config.prices.share_bytes = 1;
        config.prices.item_bytes = test_below(3) * 10000;
        config.prices.merge_bytes = 1 + test_below(test_below(2) ? 1000 : 50000);
        check_against_model(tree, &config);
        tree_plan *plan = plan_tree_plan(tree, config);
        config.prices.merge_bytes = 0;
        tree_plan *without = plan_tree_plan(tree, config);
        num_cut += plan->num_items < without->num_items;
        tree_plan_destroy(plan);
        tree_plan_destroy(without);
        plan_tree_destroy(tree);
    }
    check(num_cut > 30, "fewer cuts in %" PRIu32 " of 60 plans", num_cut);
}

/* Pieces of the path that is cut most often, if queries are alone; otherwise 0. */
static uint32_t num_alone(const kv_tree *tree, const tree_plan_config *config)
{
    check_against_model(tree, config);
    tree_plan *plan = plan_tree_plan(tree, *config);
    uint32_t most = 0;
    for (uint32_t q = 0; q < plan->num_queries; q++) {
        uint32_t count = plan->merge_first[q + 1] - plan->merge_first[q];
        most = count > most ? count : most;
    }
    bool alone = plan->config.max_rows == 1;
    tree_plan_destroy(plan);
    return alone ? most : 0;
}

static void expect_pieces_of(const char *levels, tree_plan_config config, uint32_t pieces, const char *what)
{
    kv_tree *tree = plan_tree_levels(levels, 16, 0);
    uint32_t found = num_alone(tree, &config);
    check(found == pieces, "%s: %s: %" PRIu32 " pieces, expected %" PRIu32, levels, what, found, pieces);
    plan_tree_destroy(tree);
}

/* 264 shares; a path that is not cut may have (98304 + 108800 - 32768) / 544 = 320 tokens. */
static void run_alone(const void *argument)
{
    (void)argument;
    const tree_plan_config config = {.strategy = TREE_COST, .group_size = 16, .num_workers = 1056};
    tree_plan_config other = config;
    expect_pieces_of("1,140/288,32", config, 1, "the longest");
    expect_pieces_of("1,140/289,32", config, 0, "one token more");
    expect_pieces_of("1,264/256,32", config, 1, "a worker each");
    expect_pieces_of("1,265/256,32", config, 0, "one query more");
    expect_pieces_of("1,32/160,32", config, 1, "as few queries as were measured");
    expect_pieces_of("1,31/160,32", config, 0, "one query fewer");
    expect_pieces_of("32/192", config, 1, "cut without the rule");
    expect_pieces_of("32/64", config, 0, "what is not cut stays");
    other.prices = *tree_prices_of(TREE_TARGET_GPU);
    other.prices.wait_bytes = 108800 - 256; /* 320 tokens and an item leave 256 bytes of the default */
    expect_pieces_of("1,140/288,32", other, 1, "the wait decides");
    other.prices.wait_bytes--;
    expect_pieces_of("1,140/288,32", other, 0, "one byte less");
    other.prices.wait_bytes = 0;
    expect_pieces_of("1,2,64/8,256,32", other, 0, "off");
    other = config;
    other.max_rows = 4;
    expect_pieces_of("1,2,64/8,256,32", other, 0, "the caller's rows");
    other = config;
    other.piece_tokens = 128;
    expect_pieces_of("1,2,64/8,256,32", other, 0, "the caller's piece");
}

/* Shorter pieces, if there are workers for them, and if they save 66 % of the wait: 132 tokens, so three tiles. A piece
 * may have (98304 + 34 % of 108800 - 32768) / 544 = 188 tokens, so two tiles. */
static void run_alone_pieces(const void *argument)
{
    (void)argument;
    const tree_plan_config config = {.strategy = TREE_COST, .group_size = 16, .num_workers = 1056};
    tree_plan_config other = config;
    expect_pieces_of("1,2,64/8,256,32", config, 3, "four workers a query: pieces of two tiles instead of five");
    expect_pieces_of("1,64/160,32", config, 1, "one tile instead of three");
    expect_pieces_of("1,64/161,32", config, 4, "one token more: one tile instead of four");
    expect_pieces_of("1,72/256,32", config, 3, "a short rest does not join: pieces of two tiles");
    expect_pieces_of("1,64/480,32", config, 4, "the longest");
    expect_pieces_of("1,64/481,32", config, 0, "one token more");
    expect_pieces_of("1,66/480,32", config, 4, "264 pieces, 264 workers");
    expect_pieces_of("1,67/480,32", config, 0, "three workers a query");
    expect_pieces_of("1,32/480,32", config, 8, "eight workers a query: pieces of one tile");
    expect_pieces_of("1,132/256,32", config, 1, "two workers a query: three tiles instead of five");
    other.group_size = 8;
    expect_pieces_of("1,32/480,32", other, 8, "256 rows");
    other.group_size = 7;
    expect_pieces_of("1,32/480,32", other, 0, "224 rows");
    other.group_size = 16;
    other.num_workers = UINT32_MAX;
    expect_pieces_of("1,32/992,32", other, 8, "more workers do not make more pieces");
    expect_pieces_of("1,32/993,32", other, 0, "one token more: pieces of three tiles");
    other = config;
    other.prices = *tree_prices_of(TREE_TARGET_GPU);
    other.prices.wait_bytes = 158254; /* 66 %: 104447 bytes; three tiles: 104448 */
    expect_pieces_of("1,2,64/8,256,32", other, 3, "the wait decides");
    other.prices.wait_bytes++;
    expect_pieces_of("1,2,64/8,256,32", other, 1, "one byte more");
}

/* Random forests with several queries at a node, and no more items than shares: random trees with few queries and random
 * prices hardly ever reach the rule. */
static void run_alone_random(const void *argument)
{
    (void)argument;
    uint32_t num_uncut = 0, num_cut = 0;
    for (int i = 0; i < 300; i++) {
        kv_tree *tree = plan_tree_random(45 + test_below(30), 1 + test_below(100), 1u << test_below(6), 0);
        tree_plan_config config = {.strategy = TREE_COST, .group_size = 1 + test_below(32),
                                   .num_workers = 600 + test_below(4000), .prices = *tree_prices_of(TREE_TARGET_GPU)};
        if (i % 2) {
            config.prices.wait_bytes = 1 + test_below(1000000);
            config.prices.cut_tokens = 1 + random_price(100);
            config.prices.share_workers = 1 + test_below(6);
        }
        uint32_t pieces = num_alone(tree, &config);
        tree_plan *plan = plan_tree_plan(tree, config);
        check(!pieces || plan->num_items <= config.num_workers / config.prices.share_workers, "%" PRIu32 " items",
              plan->num_items);
        tree_plan_destroy(plan);
        plan_tree_destroy(tree);
        num_uncut += pieces == 1;
        num_cut += pieces > 1;
    }
    test_note("%" PRIu32 " uncut, %" PRIu32 " in pieces", num_uncut, num_cut);
    check(num_uncut > 8 && num_cut > 8, "both often");
}

/* A queue holds fewer than 2^31 tokens: where all paths together have more, they are merged, however long the wait. */
static void run_alone_limit(const void *argument)
{
    (void)argument;
    tree_plan_config config = {.strategy = TREE_COST, .num_workers = 4096, .prices = *tree_prices_of(TREE_TARGET_GPU)};
    config.prices.token_bytes = 1;
    config.prices.row_bytes = 0;
    config.prices.wait_bytes = 1 << 30;
    for (uint32_t count = 255; count <= 256; count++) {
        const uint32_t parent = KV_NONE, num_tokens = 1 << 23;
        tree_plan *plan = NULL;
        kv_tree *tree = plan_tree_create(&(plan_tree_nodes){1, &parent, &num_tokens, &count, 0}, 256, 0);
        check(tree_plan_build(&plan, tree, &config) == TREE_OK, "a plan");
        check((plan->config.max_rows == 1) == (count == 255), "%" PRIu32 " queries, %" PRIu64 " tokens", count,
              plan->loaded_tokens);
        tree_plan_destroy(plan);
        plan_tree_destroy(tree);
    }
}

/* A chain, and several queries that end in each node. One that sees nothing gets its zeros from the merge, which
 * stays. */
static void run_alone_chain(const void *argument)
{
    (void)argument;
    uint32_t parent[33], tokens[33], ending[33];
    for (uint32_t n = 0; n < 33; n++) {
        parent[n] = n ? n - 1 : KV_NONE;
        tokens[n] = 5;
        ending[n] = n < 32 ? n % 3 : 1;
    }
    ending[31] = 2;
    const tree_plan_config config = {.strategy = TREE_COST, .group_size = 16, .num_workers = 1056};
    for (uint32_t count = 32; count <= 33; count++) {
        for (uint32_t num_empty = 0; num_empty < 2; num_empty++) {
            kv_tree *tree = plan_tree_create(&(plan_tree_nodes){count, parent, tokens, ending, num_empty}, 16, 0);
            check(num_alone(tree, &config) == (count == 32 && !num_empty), "a path of %" PRIu32 " nodes, %" PRIu32
                  " without", count, num_empty);
            plan_tree_destroy(tree);
        }
    }
}

/* Each price at its bounds, and one beyond. */
static void run_bounds(const void *argument)
{
    static const struct {
        size_t offset;
        uint32_t least, most;
        const char *name;
    } bounds[] = {
        {offsetof(tree_prices, token_bytes), 1, 1 << 24, "token_bytes"},
        {offsetof(tree_prices, item_bytes), 0, 1 << 30, "item_bytes"},
        {offsetof(tree_prices, partial_bytes), 0, 1 << 24, "partial_bytes"},
        {offsetof(tree_prices, row_bytes), 0, 1 << 24, "row_bytes"},
        {offsetof(tree_prices, mask_bytes), 0, 1 << 24, "mask_bytes"},
        {offsetof(tree_prices, masked_rows), 0, UINT32_MAX, "masked_rows"},
        {offsetof(tree_prices, tile_rows), 1, 1 << 20, "tile_rows"},
        {offsetof(tree_prices, max_tile), 1, 1 << 20, "max_tile"},
        {offsetof(tree_prices, share_bytes), 0, 1 << 30, "share_bytes"},
        {offsetof(tree_prices, merge_bytes), 0, 1 << 24, "merge_bytes"},
        {offsetof(tree_prices, wait_bytes), 0, 1 << 30, "wait_bytes"},
        {offsetof(tree_prices, share_workers), 1, 1 << 20, "share_workers"},
        {offsetof(tree_prices, cut_tokens), 1, 1 << 20, "cut_tokens"},
        {offsetof(tree_prices, rest_tokens), 0, 1 << 20, "rest_tokens"},
        {offsetof(tree_prices, rest_part), 1, 1 << 20, "rest_part"},
    };
    (void)argument;
    kv_tree *tree = plan_tree_levels("1,5/300,40", 16, 0);
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        tree_plan_config config = {.strategy = TREE_COST, .prices = *tree_prices_of(TREE_TARGET_GPU)};
        uint32_t *price = (uint32_t *)((char *)&config.prices + bounds[i].offset);
        tree_plan *plan = NULL;
        for (int side = 0; side < 2; side++) {
            *price = side ? bounds[i].most : bounds[i].least;
            check_against_model(tree, &config);
            bool is_last = side ? *price == UINT32_MAX : *price == 0 || price == &config.prices.token_bytes;
            *price += side ? 1 : UINT32_MAX;
            check(is_last || tree_plan_build(&plan, tree, &config) == TREE_INVAL, "%s %" PRIu32 " is refused",
                  bounds[i].name, *price);
            check(!plan, "no plan");
        }
    }
    tree_plan_config config = {.strategy = TREE_COST, .prices = *tree_prices_of(TREE_TARGET_CPU)};
    config.prices.tile_rows = 12;
    tree_plan *plan = NULL;
    check(tree_plan_build(&plan, tree, &config) == TREE_INVAL && !plan, "12 is no power of two");
    config.strategy = TREE_NODE;
    check(tree_plan_build(&plan, tree, &config) == TREE_OK, "prices of cost mean nothing to other strategies");
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

/* The prices of a target, given by the caller, make the plan of that target; a plan says which prices it has. */
static void run_given(const void *argument)
{
    (void)argument;
    kv_tree *tree = plan_tree_levels("1,5,40/1300,40,17", 16, 0);
    for (int t = 0; t < 2; t++) {
        tree_target target = t ? TREE_TARGET_CPU : TREE_TARGET_GPU;
        tree_plan *own = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_COST, .target = target});
        tree_plan *given = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_COST, .target = !t ? TREE_TARGET_CPU
                                          : TREE_TARGET_GPU, .prices = *tree_prices_of(target)});
        check(memcmp(&own->config.prices, tree_prices_of(target), sizeof(tree_prices)) == 0, "the plan's prices");
        check(memcmp(&own->config.prices, &given->config.prices, sizeof(tree_prices)) == 0, "those of the caller");
        check(own->num_items == given->num_items && own->num_items > 1
              && memcmp(own->items, given->items, own->num_items * sizeof own->items[0]) == 0, "the same items");
        tree_plan_destroy(own);
        tree_plan_destroy(given);
    }
    plan_tree_destroy(tree);
}

int main(int argc, char **argv)
{
    static const tree_target targets[] = {TREE_TARGET_GPU, TREE_TARGET_CPU};
    static const char *const names[] = {"gpu", "cpu"};
    test_begin(argc, argv, "the plans of cost are those that the documented formula finds cheapest");
    for (int t = 0; t < 2; t++) {
        test_add(run_random, &targets[t], "random_trees_for_a_%s", names[t]);
        test_add(run_turning_points, &targets[t], "lengths_at_which_decisions_turn_for_a_%s", names[t]);
        test_add(run_ties, &targets[t], "one_token_before_and_behind_a_turn_for_a_%s", names[t]);
        test_add(run_named, &targets[t], "every_named_tree_for_a_%s", names[t]);
    }
    test_add(run_long_paths, NULL, "long_paths_are_cut_less_often");
    test_add(run_alone, NULL, "queries_alone_where_that_saves_the_wait");
    test_add(run_alone_pieces, NULL, "queries_alone_in_pieces_where_workers_are_left");
    test_add(run_alone_random, NULL, "queries_alone_in_random_trees");
    test_add(run_alone_limit, NULL, "queries_alone_with_as_many_tokens_as_a_queue_holds");
    test_add(run_alone_chain, NULL, "queries_alone_on_a_chain_of_32_nodes");
    test_add(run_bounds, NULL, "a_price_out_of_its_bounds");
    test_add(run_given, NULL, "prices_of_the_caller");
    return test_end();
}
