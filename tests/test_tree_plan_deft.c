/* Claim: node, node_chunk and flatten form the items that DeFT's own metadata builder forms. */
#include <inttypes.h>
#include <string.h>

#include "plan_trees.h"
#include "test.h"

/* One step of a run: the tree, and what the builder of the published code yields for it (32-query slices, 128-token
 * pieces, tokens paged one by one). */
typedef struct snapshot {
    const char *name, *levels;      /* levels NULL: parent and tokens */
    uint32_t num_nodes, num_queries;
    uint64_t unique_tokens, path_tokens;
    uint32_t flatten_items;
    uint64_t flatten_loaded;
    uint32_t flatten_partials;
    double masked_percent;          /* given with one decimal */
    uint32_t node_items;
    uint64_t node_loaded;
    uint32_t node_partials, node_longest;
    uint32_t chunk_items, chunk_partials;
    uint32_t parent[15], num_tokens[15];
} snapshot;

#define ROOT KV_NONE
static const snapshot snapshots[] = {
    {"few_shot_20", "1,20/4000,200", 21, 20, 8000, 84000, 63, 8000, 689, 4.7, 21, 8000, 40, 4000, 72, 680, {0}, {0}},
    {"few_shot_30", "1,30/4000,200", 31, 30, 10000, 126000, 79, 10000, 1034, 4.7, 31, 10000, 60, 4000, 92, 1020,
     {0}, {0}},
    {"few_shot_50", "1,50/4000,200", 51, 50, 14000, 210000, 142, 18096, 1724, 4.8, 52, 18000, 100, 4000, 164, 1700,
     {0}, {0}},
    {"sorting", NULL, 15, 11, 6012, 28644, 47, 6012, 243, 7.9, 15, 6012, 53, 1104, 57, 252,
     {ROOT, 0, 1, 1, 2, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4},
     {1104, 711, 195, 789, 303, 291, 291, 291, 291, 291, 291, 291, 291, 291, 291}},
    {"document", NULL, 10, 9, 6473, 15057, 51, 6473, 131, 9.9, 10, 6473, 18, 1073, 54, 126,
     {ROOT, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {1073, 600, 600, 600, 600, 600, 600, 600, 600, 600}},
    {"keyword", NULL, 13, 10, 2253, 16950, 18, 2253, 144, 7.5, 13, 2253, 40, 1445, 24, 150,
     {ROOT, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2}, {1445, 94, 94, 62, 62, 62, 62, 62, 62, 62, 62, 62, 62}},
    {"set", NULL, 15, 11, 1938, 19371, 16, 1938, 170, 8.2, 15, 1938, 52, 1611, 28, 185,
     {ROOT, 0, 0, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4}, {1611, 150, 60, 51, 36, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3}},
    {"star_32", "1,32/4000,1", 33, 32, 4032, 128032, 32, 4032, 1024, 0.8, 33, 4032, 64, 4000, 64, 1056, {0}, {0}},
    {"star_64", "1,64/4000,1", 65, 64, 4064, 256064, 64, 8128, 2048, 1.6, 66, 8064, 128, 4000, 128, 2112, {0}, {0}},
    {"star_128", "1,128/4000,1", 129, 128, 4128, 512128, 129, 16416, 4128, 2.5, 132, 16128, 256, 4000, 256, 4224,
     {0}, {0}},
    {"star_256", "1,256/4000,1", 257, 256, 4256, 1024256, 261, 33312, 8352, 3.9, 264, 32256, 512, 4000, 512, 8448,
     {0}, {0}},
};

static kv_tree *create_snapshot(const snapshot *s)
{
    kv_tree *tree = s->levels ? plan_tree_levels(s->levels, 1, 0)
                              : plan_tree_create(&(plan_tree_nodes){s->num_nodes, s->parent, s->num_tokens, NULL, 0},
                                                 1, 0);
    check(tree->num_nodes == s->num_nodes && tree->num_queries == s->num_queries, "nodes and queries");
    check(tree->unique_tokens == s->unique_tokens && tree->path_tokens == s->path_tokens, "U %" PRIu64 " S %" PRIu64,
          tree->unique_tokens, tree->path_tokens);
    return tree;
}

static uint32_t longest_item(const tree_plan *plan)
{
    uint32_t longest = 0;
    for (uint32_t i = 0; i < plan->num_items; i++)
        longest = plan->items[i].num_tokens > longest ? plan->items[i].num_tokens : longest;
    return longest;
}

static uint64_t pairs(const tree_plan *plan)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < plan->num_items; i++)
        sum += (uint64_t)plan->items[i].num_rows * plan->items[i].num_tokens;
    return sum;
}

static void check_counts(const tree_plan *plan, uint32_t num_items, uint64_t loaded, uint32_t num_partials)
{
    check(plan->num_items == num_items, "%" PRIu32 " items, expected %" PRIu32, plan->num_items, num_items);
    check(plan->loaded_tokens == loaded, "%" PRIu64 " tokens, expected %" PRIu64, plan->loaded_tokens, loaded);
    check(plan->num_partials == num_partials, "%" PRIu32 " partials, expected %" PRIu32, plan->num_partials,
          num_partials);
}

static void run_flatten(const void *argument)
{
    const snapshot *s = argument;
    kv_tree *tree = create_snapshot(s);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_FLATTEN});
    check_counts(plan, s->flatten_items, s->flatten_loaded, s->flatten_partials);
    check(longest_item(plan) == 128, "the longest item has %" PRIu32 " tokens", longest_item(plan));
    double percent = 100.0 * (double)plan->masked_pairs / (double)pairs(plan);
    check(percent >= s->masked_percent - 0.05 && percent < s->masked_percent + 0.05, "%.3f %% masked, expected %.1f",
          percent, s->masked_percent);
    test_note("masked=%.2f%%", percent);
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

static void run_node(const void *argument)
{
    const snapshot *s = argument;
    kv_tree *tree = create_snapshot(s);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_NODE});
    check_counts(plan, s->node_items, s->node_loaded, s->node_partials);
    check(longest_item(plan) == s->node_longest, "the longest item has %" PRIu32 " tokens", longest_item(plan));
    check(plan->masked_pairs == 0 && plan->num_mask_words == 0, "no masks");
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

static void run_node_chunk(const void *argument)
{
    const snapshot *s = argument;
    kv_tree *tree = create_snapshot(s);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_NODE_CHUNK});
    check_counts(plan, s->chunk_items, s->node_loaded, s->chunk_partials);
    check(longest_item(plan) == 128, "the longest item has %" PRIu32 " tokens", longest_item(plan));
    check(plan->masked_pairs == 0 && plan->num_mask_words == 0, "no masks");
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "node, node_chunk and flatten form the items that DeFT forms");
    for (size_t i = 0; i < sizeof snapshots / sizeof *snapshots; i++) {
        test_add(run_flatten, &snapshots[i], "flatten_%s", snapshots[i].name);
        test_add(run_node, &snapshots[i], "node_%s", snapshots[i].name);
        test_add(run_node_chunk, &snapshots[i], "node_chunk_%s", snapshots[i].name);
    }
    return test_end();
}
