/* Trees for the tests of plans and traffic, made from parents and token counts. */
#include "plan_trees.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

static uint32_t *new_numbers(uint64_t count)
{
    uint32_t *numbers = calloc(count ? count : 1, sizeof *numbers);
    check(numbers, "memory for a test tree");
    return numbers;
}

static void shuffle(uint32_t *numbers, uint32_t count)
{
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = test_below(i), swap = numbers[i - 1];
        numbers[i - 1] = numbers[j];
        numbers[j] = swap;
    }
}

static uint32_t blocks_of(const kv_tree *tree, const kv_node *node, uint32_t num_tokens)
{
    return (node->first_slot + num_tokens + tree->block_tokens - 1) / tree->block_tokens;
}

/* order[i]: the node that comes i-th, depth first; place[]: the inverse. */
static void order_nodes(const plan_tree_nodes *nodes, uint32_t *order, uint32_t *place)
{
    uint32_t *child = new_numbers(nodes->num_nodes + 1), *sibling = new_numbers(nodes->num_nodes), count = 0;
    for (uint32_t n = nodes->num_nodes; n-- > 0;) { /* index + 1; 0: none; the roots hang at num_nodes */
        uint32_t *first = &child[nodes->parent[n] == KV_NONE ? nodes->num_nodes : nodes->parent[n]];
        sibling[n] = *first;
        *first = n + 1;
    }
    for (uint32_t n = child[nodes->num_nodes]; n;) {
        place[n - 1] = count;
        order[count++] = n - 1;
        uint32_t next = child[n - 1];
        while (!next && n) {
            next = sibling[n - 1];
            n = nodes->parent[n - 1] == KV_NONE ? 0 : nodes->parent[n - 1] + 1;
        }
        n = next;
    }
    check(count == nodes->num_nodes, "parents before children");
    free(child);
    free(sibling);
}

static uint32_t *count_ending(const plan_tree_nodes *nodes)
{
    uint32_t *ending = new_numbers(nodes->num_nodes);
    for (uint32_t n = 0; n < nodes->num_nodes; n++)
        ending[n] = nodes->num_ending ? nodes->num_ending[n] : 1;
    for (uint32_t n = 0; n < nodes->num_nodes && !nodes->num_ending; n++)
        if (nodes->parent[n] != KV_NONE)
            ending[nodes->parent[n]] = 0;
    return ending;
}

static void add_queries(kv_tree *tree, const plan_tree_nodes *nodes, const uint32_t *order, const uint32_t *ending)
{
    uint32_t row = 0;
    tree->num_queries = nodes->num_empty;
    for (uint32_t n = 0; n < nodes->num_nodes; n++)
        tree->num_queries += ending[n];
    tree->rows = new_numbers(tree->num_queries);
    tree->query_node = new_numbers(tree->num_queries);
    tree->versions = calloc(tree->num_queries + 1, sizeof *tree->versions);
    for (uint32_t q = 0; q < tree->num_queries; q++)
        tree->rows[q] = q;
    shuffle(tree->rows, tree->num_queries);
    for (uint32_t i = 0; i < tree->num_nodes; i++) {
        kv_node *node = &tree->nodes[i];
        node->first_row = row;
        for (uint32_t e = 0; e < ending[order[i]]; e++) {
            tree->query_node[tree->rows[row++]] = i;
            tree->path_tokens += node->first_token + node->num_tokens;
        }
        node->num_rows = ending[order[i]];
    }
    for (; row < tree->num_queries; row++)
        tree->query_node[tree->rows[row]] = KV_NONE;
    for (uint32_t i = tree->num_nodes; i-- > 0;)
        if (tree->nodes[i].parent != KV_NONE)
            tree->nodes[tree->nodes[i].parent].num_rows += tree->nodes[i].num_rows;
}

static void add_blocks(kv_tree *tree, uint32_t spare_tokens)
{
    for (uint32_t i = 0; i < tree->num_nodes; i++) {
        kv_node *node = &tree->nodes[i];
        bool ends = node->num_rows == 1 && (i + 1 == tree->num_nodes || tree->nodes[i + 1].parent != i);
        node->first_block = tree->num_blocks;
        tree->num_blocks += blocks_of(tree, node, node->num_tokens + (ends ? spare_tokens : 0));
    }
    tree->blocks = new_numbers(tree->num_blocks);
    uint32_t *ids = new_numbers(tree->num_blocks);
    for (uint32_t i = 0; i < tree->num_blocks; i++)
        ids[i] = i;
    shuffle(ids, tree->num_blocks);
    memset(tree->blocks, 0xff, tree->num_blocks * sizeof *tree->blocks);
    for (uint32_t i = 0; i < tree->num_nodes; i++) {
        const kv_node *node = &tree->nodes[i];
        uint32_t count = blocks_of(tree, node, node->num_tokens);
        memcpy(tree->blocks + node->first_block, ids + node->first_block, count * sizeof *ids);
    }
    free(ids);
}

kv_tree *plan_tree_create(const plan_tree_nodes *nodes, uint32_t block_tokens, uint32_t spare_tokens)
{
    kv_tree *tree = calloc(1, sizeof *tree);
    check(tree, "memory for a test tree");
    tree->block_tokens = block_tokens;
    tree->num_nodes = nodes->num_nodes;
    tree->nodes = calloc(nodes->num_nodes + 1, sizeof *tree->nodes);
    uint32_t *order = new_numbers(nodes->num_nodes), *place = new_numbers(nodes->num_nodes);
    uint32_t *ending = count_ending(nodes);
    order_nodes(nodes, order, place);
    for (uint32_t i = 0; i < tree->num_nodes; i++) {
        kv_node *node = &tree->nodes[i];
        uint32_t parent = nodes->parent[order[i]];
        node->parent = parent == KV_NONE ? KV_NONE : place[parent];
        node->num_tokens = nodes->num_tokens[order[i]];
        node->first_token = 0;
        if (parent != KV_NONE)
            node->first_token = tree->nodes[node->parent].first_token + tree->nodes[node->parent].num_tokens;
        node->first_slot = node->first_token % block_tokens;
        tree->unique_tokens += node->num_tokens;
    }
    add_queries(tree, nodes, order, ending);
    add_blocks(tree, spare_tokens);
    free(order);
    free(place);
    free(ending);
    return tree;
}

/* Reads "1,16,64" into counts; returns how many. */
static uint32_t read_numbers(const char **text, uint32_t *numbers)
{
    uint32_t count = 0;
    do {
        *text += **text == ',';
        numbers[count++] = (uint32_t)strtoul(*text, (char **)text, 10);
    } while (**text == ',' && count < 16);
    return count;
}

kv_tree *plan_tree_levels(const char *levels, uint32_t block_tokens, uint32_t spare_tokens)
{
    uint32_t counts[16], tokens[16], num_nodes = 0;
    uint32_t num_levels = read_numbers(&levels, counts);
    levels = strchr(levels, '/') + 1;
    check(read_numbers(&levels, tokens) == num_levels, "as many lengths as levels");
    for (uint32_t l = 0; l < num_levels; l++)
        num_nodes += counts[l];
    uint32_t *parent = new_numbers(num_nodes), *lengths = new_numbers(num_nodes);
    for (uint32_t l = 0, n = 0, above = 0; l < num_levels; above = n - counts[l], l++) {
        for (uint32_t i = 0; i < counts[l]; i++, n++) {
            parent[n] = l ? above + (uint32_t)((uint64_t)i * counts[l - 1] / counts[l]) : KV_NONE;
            lengths[n] = tokens[l];
        }
    }
    kv_tree *tree = plan_tree_create(&(plan_tree_nodes){num_nodes, parent, lengths, NULL, 0}, block_tokens,
                                     spare_tokens);
    free(parent);
    free(lengths);
    return tree;
}

kv_tree *plan_tree_random(uint32_t num_nodes, uint32_t max_tokens, uint32_t block_tokens, uint32_t spare_tokens)
{
    uint32_t *parent = new_numbers(num_nodes), *lengths = new_numbers(num_nodes), *ending = new_numbers(num_nodes);
    uint32_t *has_child = new_numbers(num_nodes), deep = test_below(4) + 1;
    for (uint32_t n = 0; n < num_nodes; n++) {
        uint32_t from = n > deep * 4 && test_below(2) ? n - deep * 4 : 0; /* near parents make deep trees */
        parent[n] = n == 0 || test_below(12) == 0 ? KV_NONE : from + test_below(n - from);
        lengths[n] = 1 + test_below(test_below(3) ? max_tokens : 3);
        if (parent[n] != KV_NONE)
            has_child[parent[n]] = 1;
    }
    for (uint32_t n = 0; n < num_nodes; n++)
        ending[n] = has_child[n] ? (test_below(3) ? 0 : test_below(3)) : 1 + (test_below(4) ? 0 : test_below(4));
    kv_tree *tree = plan_tree_create(&(plan_tree_nodes){num_nodes, parent, lengths, ending, test_below(3)},
                                     block_tokens, spare_tokens);
    free(parent);
    free(lengths);
    free(ending);
    free(has_child);
    return tree;
}

/* ---- trees made by code ---- */

static kv_tree *chain(uint32_t num_nodes, bool all_ask, bool comb, uint32_t block_tokens, uint32_t spare_tokens)
{
    uint32_t total = comb ? 2 * num_nodes : num_nodes;
    uint32_t *parent = new_numbers(total), *lengths = new_numbers(total), *ending = new_numbers(total);
    for (uint32_t n = 0; n < total; n++) {
        parent[n] = n == 0 ? KV_NONE : n < num_nodes ? n - 1 : n - num_nodes;
        lengths[n] = 1 + n % 3;
        ending[n] = all_ask || n >= num_nodes || n == total - 1;
    }
    kv_tree *tree = plan_tree_create(&(plan_tree_nodes){total, parent, lengths, ending, 0}, block_tokens, spare_tokens);
    free(parent);
    free(lengths);
    free(ending);
    return tree;
}

static kv_tree *few_nodes(const char *name, uint32_t block_tokens, uint32_t spare_tokens)
{
    static const uint32_t none[] = {KV_NONE, KV_NONE, KV_NONE}, roots[] = {5, 40, 1};
    static const uint32_t ragged_parent[] = {KV_NONE, 0, 0, 1, 1, 0, 5, 6, 6};
    static const uint32_t ragged_tokens[] = {37, 1, 130, 16, 17, 129, 5, 300, 2};
    static const uint32_t ragged_ending[] = {1, 0, 3, 1, 1, 0, 2, 1, 70};
    if (!strcmp(name, "no_query"))
        return plan_tree_create(&(plan_tree_nodes){0, none, roots, roots, 0}, block_tokens, spare_tokens);
    if (!strcmp(name, "empty_queries"))
        return plan_tree_create(&(plan_tree_nodes){0, none, roots, roots, 3}, block_tokens, spare_tokens);
    if (!strcmp(name, "forest_and_empty"))
        return plan_tree_create(&(plan_tree_nodes){3, none, roots, NULL, 2}, block_tokens, spare_tokens);
    return plan_tree_create(&(plan_tree_nodes){9, ragged_parent, ragged_tokens, ragged_ending, 1}, block_tokens,
                            spare_tokens);
}

const plan_tree_case plan_tree_cases[] = {
    {"one_token", "1/1"},
    {"full_block", "1/16"},
    {"partial_last_block", "1/133"},
    {"star", "1,20/400,20"},
    {"star_of_one_token", "1,256/1000,1"},
    {"long_leaves", "1,3/5,700"},
    {"binary", "1,2,4,8,16/33,17,9,5,3"},
    {"levels", "1,4,16,64/100,40,20,10"},
    {"rows_33", "1,33/64,2"},
    {"rows_65", "1,65/64,2"},
    {"rows_4096", "1,4096/3,1"},
    {"forest", "5,10/20,30"},
    {"ragged", NULL},
    {"no_query", NULL},
    {"empty_queries", NULL},
    {"forest_and_empty", NULL},
    {"chain_1000", NULL},
    {"chain_300_all_ask", NULL},
    {"comb_200", NULL},
};
const int num_plan_tree_cases = sizeof plan_tree_cases / sizeof *plan_tree_cases;

kv_tree *plan_tree_case_create(const plan_tree_case *tree, uint32_t block_tokens, uint32_t spare_tokens)
{
    if (tree->levels)
        return plan_tree_levels(tree->levels, block_tokens, spare_tokens);
    if (!strcmp(tree->name, "chain_1000"))
        return chain(1000, false, false, block_tokens, spare_tokens);
    if (!strcmp(tree->name, "chain_300_all_ask"))
        return chain(300, true, false, block_tokens, spare_tokens);
    if (!strcmp(tree->name, "comb_200"))
        return chain(200, false, true, block_tokens, spare_tokens);
    return few_nodes(tree->name, block_tokens, spare_tokens);
}

/* ---- growth, plans ---- */

bool plan_tree_grow(kv_tree *tree, uint32_t query, uint32_t num_tokens)
{
    uint32_t i = tree->query_node[query];
    if (i == KV_NONE || tree->nodes[i].num_rows != 1)
        return false;
    kv_node *node = &tree->nodes[i];
    uint32_t end = i + 1 < tree->num_nodes ? node[1].first_block : tree->num_blocks;
    uint32_t first = node->first_block + blocks_of(tree, node, node->num_tokens);
    uint32_t needed = node->first_block + blocks_of(tree, node, node->num_tokens + num_tokens);
    if (needed > end)
        return false;
    for (uint32_t b = first; b < needed; b++)
        tree->blocks[b] = tree->num_blocks + b; /* an id that no other entry has */
    node->num_tokens += num_tokens;
    tree->unique_tokens += num_tokens;
    tree->path_tokens += num_tokens;
    return true;
}

void plan_tree_destroy(kv_tree *tree)
{
    free(tree->nodes);
    free(tree->blocks);
    free(tree->rows);
    free(tree->query_node);
    free(tree->versions);
    free(tree);
}

tree_plan *plan_tree_plan(const kv_tree *tree, tree_plan_config config)
{
    char message[200];
    tree_plan *plan = NULL;
    tree_status status = tree_plan_build(&plan, tree, &config);
    check(status == TREE_OK, "%s: %s", tree_strategy_name[config.strategy], tree_status_string(status));
    status = tree_plan_check(plan, tree, message, sizeof message);
    check(status == TREE_OK, "%s: %s", tree_strategy_name[config.strategy], message);
    return plan;
}
