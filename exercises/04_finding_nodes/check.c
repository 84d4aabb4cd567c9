/* The student's nodes beside those of kv_tree_build. */
#include "exercise.h"

#include <stdlib.h>
#include <string.h>

#include "forest.h"

enum { MAX_TABLES = FOREST_MAX_BRANCHES, MAX_NODES = 2 * MAX_TABLES };
static kv_node *nodes; /* [MAX_NODES] */

static uint32_t find(const kv_table *tables, uint32_t num_tables, uint32_t block_tokens)
{
    free(nodes);
    nodes = calloc(MAX_NODES, sizeof *nodes);
    must(nodes != NULL, "out of memory");
    return exercise_find_nodes(nodes, tables, 0, num_tables, 0, block_tokens);
}

static bool expect_nodes(const kv_node *expected, uint32_t num_expected, uint32_t num_nodes)
{
    bool good = true;
    for (uint32_t i = 0; i < num_expected && i < num_nodes && good; i++) {
        const kv_node *e = &expected[i], *n = &nodes[i];
        good = expect(e->first_token == n->first_token && e->num_tokens == n->num_tokens &&
                          e->first_row == n->first_row && e->num_rows == n->num_rows,
                      "node %u: expected %u tokens from %u, tables %u + %u, got %u tokens from %u, tables %u + %u", i,
                      e->num_tokens, e->first_token, e->first_row, e->num_rows, n->num_tokens, n->first_token,
                      n->first_row, n->num_rows);
    }
    return good && expect(num_nodes == num_expected, "expected %u nodes, got %u", num_expected, num_nodes);
}

static kv_node node(uint32_t first_token, uint32_t num_tokens, uint32_t first_row, uint32_t num_rows)
{
    return (kv_node){
        .first_token = first_token, .num_tokens = num_tokens, .first_row = first_row, .num_rows = num_rows};
}

int main(void)
{
    static const uint32_t a[] = {0, 2, 3}, b[] = {0, 1, 4}, c[] = {5};

    property("a single table is a single node");
    expect_nodes((kv_node[]){node(0, 9, 0, 1)}, 1, find((kv_table[]){{a, 3, 9, 0}}, 1, 4));

    property("tiny tree: nodes of 4, 5 and 6 tokens");
    expect_nodes((kv_node[]){node(0, 4, 0, 2), node(4, 5, 0, 1), node(4, 6, 1, 1)}, 3,
                 find((kv_table[]){{a, 3, 9, 0}, {b, 3, 10, 0}}, 2, 4));

    property("a child without tokens of its own: one node, seen by both");
    expect_nodes((kv_node[]){node(0, 9, 0, 2)}, 1, find((kv_table[]){{a, 3, 9, 0}, {a, 3, 9, 0}}, 2, 4));

    property("a table that ends inside a block of another cuts the node there");
    expect_nodes((kv_node[]){node(0, 6, 0, 2), node(6, 3, 1, 1)}, 2,
                 find((kv_table[]){{a, 2, 6, 0}, {a, 3, 9, 0}}, 2, 4));

    property("tables that share nothing have a node each");
    expect_nodes((kv_node[]){node(0, 9, 0, 1), node(0, 3, 1, 1)}, 2,
                 find((kv_table[]){{a, 3, 9, 0}, {c, 1, 3, 0}}, 2, 4));

    property("100 random trees: the nodes are those of kv_tree_build");
    bool good = true;
    for (int i = 0; i < 100 && good; i++) {
        forest f;
        kv_table ordered[MAX_TABLES];
        forest_random(&f, 1u << draw(4), 1, 1, 1);
        for (uint32_t row = 0; row < f.num_branches; row++) ordered[row] = f.tables[f.tree->rows[row]];
        good = expect_nodes(f.tree->nodes, f.tree->num_nodes, find(ordered, f.num_branches, f.shape.block_tokens));
        forest_destroy(&f);
    }
    free(nodes);
    return finish();
}
