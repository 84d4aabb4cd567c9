/* The student's items as a plan of the project: coverage, attention, bytes. */
#include "exercise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forest.h"
#include "traffic.h"
#include "tree_attention.h"

enum { MAX_PARTIALS = EXERCISE_MAX_ITEMS * FOREST_MAX_BRANCHES, MAX_RANGES = EXERCISE_MAX_ITEMS * EXERCISE_MAX_NODES };

/* Fixed sizes of a model: 32 query heads, 8 KV heads, head_dim 128, fp16. */
static tree_shape model(const forest *f)
{
    tree_shape s = f->shape;
    s.num_heads = 32, s.num_kv_heads = 8, s.head_dim = 128, s.storage = TREE_FP16;
    return s;
}

/* ---- trees ---- */

static void begin(forest *f, uint32_t block_tokens, uint32_t prefix)
{
    kv_append append;
    const kv_pool_config config = {.num_blocks = 4096, .block_tokens = block_tokens};
    *f = (forest){.num_branches = 1};
    must(kv_pool_create(&f->pool, &config) == KV_OK && kv_branch_create(f->pool, &f->branches[0]) == KV_OK, "no pool");
    must(kv_branch_append(f->pool, f->branches[0], prefix, &append) == KV_OK, "no append");
}

/* Each branch forks in two, then all append. */
static void double_branches(forest *f, uint32_t num_tokens)
{
    kv_append append;
    uint32_t count = f->num_branches;
    for (uint32_t i = 0; i < count; i++)
        must(kv_branch_fork(f->pool, f->branches[i], &f->branches[f->num_branches++]) == KV_OK, "no fork");
    for (uint32_t i = 0; i < f->num_branches; i++)
        must(kv_branch_append(f->pool, f->branches[i], num_tokens, &append) == KV_OK, "no append");
}

static void end(forest *f, uint32_t block_tokens)
{
    f->shape = (tree_shape){f->num_branches, 1, 1, 4, 4096, block_tokens, TREE_FP32};
    must(kv_branch_tables(f->pool, f->branches, f->num_branches, f->tables) == KV_OK, "no tables");
    must(kv_tree_build(&f->tree, f->tables, f->num_branches, block_tokens, 4096) == KV_OK, "no tree");
}

static void long_prefix(forest *f)
{
    begin(f, 16, 512);
    for (int i = 0; i < 3; i++) double_branches(f, i < 2 ? 0 : 64);
    end(f, 16);
}

static void short_nodes(forest *f)
{
    begin(f, 1, 3);
    for (int i = 0; i < 3; i++) double_branches(f, 3);
    end(f, 1);
}

static void mixed(forest *f)
{
    begin(f, 1, 300);
    for (int i = 0; i < 3; i++) double_branches(f, i < 2 ? 3 : 40);
    end(f, 1);
}

/* ---- the student's items ---- */

static exercise_item *items; /* [EXERCISE_MAX_ITEMS] */
static uint32_t num_items;

static bool make_items(const kv_tree *tree, const tree_shape *shape)
{
    free(items);
    items = calloc(EXERCISE_MAX_ITEMS, sizeof *items);
    must(items != NULL, "out of memory");
    num_items = exercise_plan(items, tree, shape);
    if (!expect(num_items <= EXERCISE_MAX_ITEMS, "%u items, at most %d", num_items, EXERCISE_MAX_ITEMS)) return false;
    for (uint32_t i = 0; i < num_items; i++) {
        const exercise_item *item = &items[i];
        bool good = item->num_rows > 0 && item->first_row < tree->num_queries &&
                    item->num_rows <= tree->num_queries - item->first_row && item->num_nodes <= EXERCISE_MAX_NODES;
        for (uint32_t n = 0; n < item->num_nodes && good; n++) good = item->nodes[n] < tree->num_nodes;
        if (!expect(good, "item %u: rows %u + %u, %u nodes: the tree has %u queries and %u nodes", i, item->first_row,
                    item->num_rows, item->num_nodes, tree->num_queries, tree->num_nodes))
            return false;
    }
    return true;
}

static bool sees(const kv_node *node, uint32_t row)
{
    return row - node->first_row < node->num_rows;
}

static uint32_t times_covered(uint32_t row, uint32_t node)
{
    uint32_t times = 0;
    for (uint32_t i = 0; i < num_items; i++)
        for (uint32_t n = 0; n < items[i].num_nodes && row - items[i].first_row < items[i].num_rows; n++)
            times += items[i].nodes[n] == node;
    return times;
}

/* Each fault has a property of its own: a row that does not see a node, a pair that is missing, a pair that is there
 * twice. */
static bool expect_rows(const kv_tree *tree)
{
    bool good = true;
    for (uint32_t i = 0; i < num_items; i++)
        for (uint32_t n = 0; n < items[i].num_nodes; n++)
            for (uint32_t r = 0; r < items[i].num_rows; r++)
                good &= expect(sees(&tree->nodes[items[i].nodes[n]], items[i].first_row + r),
                               "item %u: row %u does not see node %u", i, items[i].first_row + r, items[i].nodes[n]);
    return good;
}

static bool expect_covered(const kv_tree *tree, bool twice)
{
    bool good = true;
    for (uint32_t row = 0; row < tree->num_queries; row++)
        for (uint32_t node = 0; node < tree->num_nodes; node++) {
            if (!sees(&tree->nodes[node], row)) continue;
            uint32_t times = times_covered(row, node);
            good &= expect(twice ? times <= 1 : times >= 1, "row %u and node %u: expected in 1 item, got %u", row, node,
                           times);
        }
    return good;
}

/* ---- as a plan ---- */

static tree_item plan_items[EXERCISE_MAX_ITEMS];
static tree_range ranges[MAX_RANGES];
static uint32_t merge_first[FOREST_MAX_BRANCHES + 1], merge_partials[MAX_PARTIALS];

static tree_plan plan_of(const kv_tree *tree)
{
    tree_plan plan = {.config = {.strategy = TREE_NODE},
                      .block_tokens = tree->block_tokens,
                      .num_queries = tree->num_queries,
                      .num_items = num_items,
                      .num_blocks = tree->num_blocks,
                      .items = plan_items,
                      .ranges = ranges,
                      .blocks = tree->blocks,
                      .rows = tree->rows,
                      .merge_first = merge_first,
                      .merge_partials = merge_partials,
                      .unique_tokens = tree->unique_tokens,
                      .path_tokens = tree->path_tokens};
    for (uint32_t i = 0; i < num_items; i++) {
        tree_item *item = &plan_items[i];
        *item = (tree_item){items[i].first_row, items[i].num_rows, plan.num_ranges, items[i].num_nodes, 0,
                            plan.num_partials};
        for (uint32_t n = 0; n < items[i].num_nodes; n++) {
            const kv_node *node = &tree->nodes[items[i].nodes[n]];
            ranges[plan.num_ranges++] =
                (tree_range){node->first_block, node->first_slot, node->num_tokens, TREE_NO_MASK};
            item->num_tokens += node->num_tokens;
        }
        plan.num_partials += item->num_rows;
        plan.loaded_tokens += item->num_tokens;
    }
    uint32_t merged = 0;
    for (uint32_t q = 0; q < tree->num_queries; q++) {
        merge_first[q] = merged;
        for (uint32_t i = 0; i < num_items; i++)
            for (uint32_t r = 0; r < plan_items[i].num_rows; r++)
                if (tree->rows[plan_items[i].first_row + r] == q)
                    merge_partials[merged++] = plan_items[i].first_partial + r;
    }
    merge_first[tree->num_queries] = merged;
    return plan;
}

static uint64_t bytes_of(const tree_plan *plan, const tree_shape *shape)
{
    tree_traffic t;
    must(tree_traffic_count(&t, plan, shape, TRAFFIC_PACKED) == TREE_OK, "no count");
    return t.plan_bytes + t.query_bytes + t.partial_bytes;
}

static uint64_t strategy_bytes(const forest *f, const tree_shape *shape, tree_strategy strategy)
{
    tree_plan *plan;
    must(tree_plan_build(&plan, f->tree, &(tree_plan_config){.strategy = strategy}) == TREE_OK, "no plan");
    uint64_t bytes = bytes_of(plan, shape);
    tree_plan_destroy(plan);
    return bytes;
}

typedef struct bytes {
    uint64_t flash, node, yours;
} bytes;

static bytes compare(const char *name, forest *f, const tree_shape *shape)
{
    bytes b = {strategy_bytes(f, shape, TREE_FLASH), strategy_bytes(f, shape, TREE_NODE), UINT64_MAX};
    if (make_items(f->tree, shape) && expect_rows(f->tree) && expect_covered(f->tree, false) &&
        expect_covered(f->tree, true)) {
        const tree_plan plan = plan_of(f->tree);
        b.yours = bytes_of(&plan, shape);
        score("%-12s  flash %9llu   node %9llu   yours %9llu bytes", name, (unsigned long long)b.flash,
              (unsigned long long)b.node, (unsigned long long)b.yours);
    }
    return b;
}

static void expect_bytes(const char *than, uint64_t limit, uint64_t got)
{
    expect(got <= limit, "expected at most %llu bytes (%s), got %llu", (unsigned long long)limit, than,
           (unsigned long long)got);
}

static void attend(const forest *f)
{
    float out[FOREST_MAX_BRANCHES * 4], expected[FOREST_MAX_BRANCHES * 4];
    tree_plan *node;
    const tree_plan plan = plan_of(f->tree);
    must(tree_plan_build(&node, f->tree, &(tree_plan_config){.strategy = TREE_NODE}) == TREE_OK, "no plan");
    must(tree_attention_ref(out, NULL, f->query, f->key, f->value, &plan, &f->shape, f->scale) == TREE_OK &&
             tree_attention_ref(expected, NULL, f->query, f->key, f->value, node, &f->shape, f->scale) == TREE_OK,
         "no output");
    for (uint32_t i = 0; i < f->num_branches * 4; i++)
        expect_number("out: query * 4 + element", i, (double)expected[i], (double)out[i], 1e-5);
    tree_plan_destroy(node);
}

int main(void)
{
    enum { RANDOM_TREES = 40 };
    static forest tiny, prefix, bushy, both, random[RANDOM_TREES];
    forest_tiny(&tiny), long_prefix(&prefix), short_nodes(&bushy), mixed(&both);
    for (int i = 0; i < RANDOM_TREES; i++) forest_random(&random[i], 4, 1, 1, 4);
    forest *all[RANDOM_TREES + 4] = {&tiny, &prefix, &bushy, &both};
    for (int i = 0; i < RANDOM_TREES; i++) all[4 + i] = &random[i];
    tree_shape shape;

    property("the rows of an item see all its nodes");
    for (int i = 0; i < RANDOM_TREES + 4; i++)
        if (shape = model(all[i]), make_items(all[i]->tree, &shape)) expect_rows(all[i]->tree);

    property("no token is missing from the path of a query");
    for (int i = 0; i < RANDOM_TREES + 4; i++)
        if (shape = model(all[i]), make_items(all[i]->tree, &shape)) expect_covered(all[i]->tree, false);

    property("no query sees a token twice");
    for (int i = 0; i < RANDOM_TREES + 4; i++)
        if (shape = model(all[i]), make_items(all[i]->tree, &shape)) expect_covered(all[i]->tree, true);

    property("attention by your plan has the output of strategy node");
    for (int i = 0; i < RANDOM_TREES + 4; i++) {
        shape = model(all[i]);
        if (all[i]->query && make_items(all[i]->tree, &shape) && expect_rows(all[i]->tree)) attend(all[i]);
    }

    property("a long prefix and 8 branches: not more bytes than node");
    shape = model(&prefix);
    bytes b = compare("long prefix", &prefix, &shape);
    expect_bytes("node", b.node, b.yours);

    property("a tree of short nodes: not more bytes than flash");
    shape = model(&bushy);
    b = compare("short nodes", &bushy, &shape);
    expect_bytes("flash", b.flash, b.yours);

    property("short and long nodes: fewer bytes than flash and node");
    shape = model(&both);
    b = compare("both", &both, &shape);
    expect_bytes("the better of flash and node, less 1", (b.flash < b.node ? b.flash : b.node) - 1, b.yours);

    property("the tiny tree with its own sizes: not more bytes than node");
    b = compare("tiny tree", &tiny, &tiny.shape);
    expect_bytes("node", b.node, b.yours);

    for (int i = 0; i < RANDOM_TREES + 4; i++) forest_destroy(all[i]);
    free(items);
    return finish();
}
