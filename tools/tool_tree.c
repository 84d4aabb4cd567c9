/* Builds the tree of the command line, then writes a key and a value for each token that a query sees. */
#include "tool_tree.h"

#include <math.h>
#include <stdlib.h>

/* ---- numbers ---- */

static const float query_rule[4] = {2, 0, 4, -2};

/* Number `index` of a stream of multiples of 1/4 in -2 .. 2. */
static float quarter(uint64_t seed, uint64_t index)
{
    uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (float)((int)((z ^ z >> 31) % 17) - 8) / 4;
}

void tool_tree_vector(const tool_tree *tree, uint32_t token, uint32_t kv_head, bool is_value, float *vector)
{
    uint32_t head_dim = tree->shape.head_dim;
    uint64_t queries = (uint64_t)tree->shape.num_queries * tree->shape.num_heads * head_dim;
    uint64_t first = queries + (((uint64_t)token * tree->shape.num_kv_heads + kv_head) * 2 + is_value) * head_dim;
    for (uint32_t d = 0; d < head_dim; d++) {
        if (tree->seeded)
            vector[d] = quarter(tree->seed, first + d);
        else if (!is_value)
            vector[d] = d == ((uint64_t)token + kv_head) % head_dim;
        else
            vector[d] = d == 0 ? (float)token : token % d == 0;
    }
}

static void write_queries(tool_tree *tree)
{
    uint64_t rows = (uint64_t)tree->shape.num_queries * tree->shape.num_heads;
    uint32_t head_dim = tree->shape.head_dim;
    tree->query = tool_allocate((size_t)rows * head_dim, sizeof *tree->query);
    for (uint64_t row = 0; row < rows; row++)
        for (uint32_t d = 0; d < head_dim; d++)
            tree->query[row * head_dim + d] =
                tree->seeded ? quarter(tree->seed, row * head_dim + d) : query_rule[(d + row) % 4];
}

/* ---- tokens ---- */

/* Numbers the tokens of all tables, and replaces the store's random keys and values by those of the rule. */
static void write_tokens(tool_tree *tree)
{
    kv_store *store = tree->scene.store;
    float *key = kv_store_key(store), *value = kv_store_value(store);
    uint32_t block_tokens = tree->shape.block_tokens;
    size_t num_slots = (size_t)tree->shape.num_blocks * block_tokens;
    tree->slot_token = tool_allocate(num_slots, sizeof *tree->slot_token);
    for (size_t slot = 0; slot < num_slots; slot++) tree->slot_token[slot] = KV_NONE;
    uint32_t *number = tool_allocate(tree->work->num_tokens, sizeof *number); /* by the replay's number; 0: none yet */
    for (uint32_t q = 0; q < tree->shape.num_queries; q++) {
        uint32_t length;
        const uint32_t *tokens = kv_store_tokens(store, tree->scene.step.query_names[q], &length);
        for (uint32_t t = 0; t < length; t++) {
            uint32_t block = tree->tables[q].blocks[t / block_tokens], slot = t % block_tokens;
            if (number[tokens[t]] == 0)
                number[tokens[t]] = ++tree->num_tokens;
            uint32_t token = number[tokens[t]] - 1, *known = &tree->slot_token[(size_t)block * block_tokens + slot];
            if (*known == token)
                continue; /* a query before this one lists the block too */
            *known = token;
            for (uint32_t kv_head = 0; kv_head < tree->shape.num_kv_heads; kv_head++) {
                uint64_t at = tree_kv_offset(&tree->shape, block, kv_head, slot);
                tool_tree_vector(tree, token, kv_head, false, key + at);
                tool_tree_vector(tree, token, kv_head, true, value + at);
            }
        }
    }
    free(number);
    tree->key = key;
    tree->value = value;
}

uint32_t tool_tree_token(const tool_tree *tree, uint32_t block, uint32_t slot)
{
    return tree->slot_token[(size_t)block * tree->shape.block_tokens + slot];
}

/* ---- the tree ---- */

/* A workload of levels decodes the last token of each leaf in a step of its own. Here a leaf appends all of its tokens
 * at once, as by hand: its blocks have consecutive ids. */
static workload *append_whole_leaves(workload *levels)
{
    workload *work = workload_create();
    if (work == NULL)
        tool_fail("out of memory");
    uint32_t *leaf_tokens = tool_allocate(levels->num_branches, sizeof *leaf_tokens); /* 0: no leaf */
    const workload_operation *end = levels->operations + levels->num_operations;
    for (const workload_operation *o = levels->operations; o < end; o++)
        leaf_tokens[o->branch] += o->kind == WORKLOAD_DECODE;
    for (const workload_operation *o = levels->operations; o < end; o++) {
        if (o->kind == WORKLOAD_APPEND && leaf_tokens[o->branch] > 0) {
            leaf_tokens[o->branch] += o->value;
        } else if (o->kind == WORKLOAD_DECODE) {
            workload_add(work, WORKLOAD_APPEND, o->branch, leaf_tokens[o->branch]);
            workload_add(work, WORKLOAD_QUERY, o->branch, 0);
        } else {
            workload_add(work, o->kind, o->branch, o->value);
        }
    }
    free(leaf_tokens);
    workload_destroy(levels);
    if (work->status != KV_OK)
        tool_fail("--tree: %s", kv_status_string(work->status));
    return work;
}

static tree_plan_config read_config(const tool_call *call, const tree_shape *shape)
{
    tree_plan_config config = {.strategy = TREE_NODE, .group_size = shape->num_heads / shape->num_kv_heads};
    if (tool_given(call, "--strategy"))
        config.strategy = tool_strategy(call, "--strategy");
    config.piece_tokens = tool_count(call, "--piece-tokens", 0, 1, 1u << 30);
    config.max_rows = tool_count(call, "--max-rows", 0, 1, 1u << 20);
    if (config.group_size > 1u << 16)
        tool_bad_usage(call->verb, "--heads: expected at most 65536 query heads for each KV head");
    return config;
}

/* Fills bytes; shape.num_blocks becomes the number of blocks that the tree needs. */
static void need_all(const tool_call *call, tool_tree *tree)
{
    enum { QUERY_BYTES = 160, BLOCK_BYTES = 12 }; /* of nodes and tables, as in tool_plan.c */
    tree_shape *shape = &tree->shape;
    replay_needs needs;
    tree->bytes = tool_need_replay(call, tree->work, shape->block_tokens, 0, &needs);
    tree->bytes += (double)needs.peak_queries * QUERY_BYTES;
    tool_need_memory(call, tree->bytes, "a tree of %u queries", needs.peak_queries);
    replay_totals totals;
    kv_status status = replay_measure(&totals, tree->work, shape->block_tokens);
    if (status != KV_OK)
        tool_fail("the tree cannot be built: %s", kv_status_string(status));
    shape->num_blocks = totals.peak_blocks > 0 ? totals.peak_blocks : 1;
    double num_slots = (double)shape->num_blocks * shape->block_tokens;
    double rows = (double)needs.peak_queries * shape->num_heads;
    tree->bytes += num_slots * (shape->num_kv_heads * (double)shape->head_dim * 2 * sizeof(float) + 4);
    tree->bytes += rows * shape->head_dim * sizeof(float) + (double)shape->num_blocks * BLOCK_BYTES;
    tree->bytes += (double)needs.path_tokens * 6 + 4.0 * (double)tree->work->num_tokens; /* lists of tokens, numbers */
    tool_need_memory(call, tree->bytes, "a tree of %u blocks and %u queries, with K and V,", shape->num_blocks,
                     needs.peak_queries);
}

static void build_plan(const tool_call *call, tool_tree *tree, const tree_plan_config *config)
{
    uint64_t plan_bytes = 0;
    tree_status status = tree_plan_bytes(&plan_bytes, tree->nodes, config);
    if (status == TREE_OVERFLOW)
        tool_bad_input("plan %s: %s", tree_strategy_name[config->strategy], tree_status_string(status));
    tree->bytes += (double)plan_bytes;
    tool_need_memory(call, tree->bytes, "plan %s", tree_strategy_name[config->strategy]);
    tree->plan = tool_scene_plan(tree->nodes, config);
}

tool_tree tool_tree_open(const tool_call *call)
{
    tool_tree tree = {.shape = {.num_heads = 1, .num_kv_heads = 1, .storage = TREE_FP32}};
    tool_heads(call, "--heads", &tree.shape.num_heads, &tree.shape.num_kv_heads);
    tree.shape.head_dim = tool_count(call, "--head-dim", 4, 1, 1024);
    tree.shape.block_tokens = tool_block_tokens(call);
    tree.scale = (float)(1 / sqrt(tree.shape.head_dim));
    tree.seeded = tool_given(call, "--seed");
    tree.seed = (uint64_t)tool_integer(call, "--seed", 0, 0, INT64_MAX);
    tree_plan_config config = read_config(call, &tree.shape);

    tree.work = tool_workload(call);
    if (tool_given(call, "--tree"))
        tree.work = append_whole_leaves(tree.work);
    need_all(call, &tree);
    tree.scene = tool_scene_open_with_kv(tree.work, &tree.shape, 1);
    tool_play_to(&tree.scene, tool_count(call, "--iteration", 0, 1, UINT32_MAX));
    tree.shape = kv_store_shape(tree.scene.store, tree.scene.step.num_queries, tree.shape.num_heads);
    tree.tables = tool_scene_tables(&tree.scene);
    tree.nodes = tool_scene_tree(&tree.scene);
    build_plan(call, &tree, &config);
    write_queries(&tree);
    write_tokens(&tree);
    return tree;
}

void tool_tree_close(tool_tree *tree)
{
    free(tree->query);
    free(tree->slot_token);
    free(tree->tables);
    tree_plan_destroy(tree->plan);
    kv_tree_destroy(tree->nodes);
    tool_scene_close(&tree->scene);
    workload_destroy(tree->work);
}

/* ---- choices ---- */

static uint32_t choice(const tool_call *call, const char *option, const char *things, uint32_t absent, uint32_t count)
{
    if (!tool_given(call, option))
        return absent;
    uint32_t number = tool_count(call, option, 0, 0, UINT32_MAX);
    if (number >= count)
        tool_bad_input("%s %u: expected 0 to %u, the %s of this tree", option, number, count - 1, things);
    return number;
}

uint32_t tool_tree_query(const tool_call *call, const tool_tree *tree, uint32_t absent)
{
    return choice(call, "--query", "queries", absent, tree->shape.num_queries);
}

uint32_t tool_tree_head(const tool_call *call, const tool_tree *tree, uint32_t absent)
{
    return choice(call, "--head", "query heads", absent, tree->shape.num_heads);
}
