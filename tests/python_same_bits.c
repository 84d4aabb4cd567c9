/* For tests/test_python.sh: one replay, and all that the library computes at each of its steps, as bytes on standard
 * output. tests/python_results.py computes the same in Python and compares the bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <treeattn.h>

enum { BLOCK_TOKENS = 4, NUM_HEADS = 4, NUM_KV_HEADS = 2, HEAD_DIM = 8 };
#define SCALE 0.3535533905932738f

static void put(const void *bytes, size_t size)
{
    if (fwrite(bytes, 1, size, stdout) != size)
        exit(1);
}

static void *take(size_t size)
{
    void *memory = calloc(size ? size : 1, 1);
    if (!memory)
        exit(1);
    return memory;
}

static void must(int status)
{
    if (status) {
        fprintf(stderr, "python_same_bits: status %d\n", status);
        exit(1);
    }
}

static void put_strategy(const kv_tree *tree, const tree_shape *shape, const float *query, const float *key,
                         const float *value, const float *norm, tree_strategy strategy)
{
    tree_plan *plan;
    tree_plan_config config = {.strategy = strategy, .group_size = 2};
    must(tree_plan_build(&plan, tree, &config));
    put(plan->items, plan->num_items * sizeof *plan->items);
    put(plan->ranges, plan->num_ranges * sizeof *plan->ranges);
    put(plan->masks, plan->num_mask_words * sizeof *plan->masks);
    put(plan->merge_partials, plan->num_partials * sizeof *plan->merge_partials);

    size_t num_lses = (size_t)shape->num_queries * NUM_HEADS, num_outs = num_lses * HEAD_DIM;
    uint64_t num_slots = tree_importance_slots(plan);
    float *out = take(num_outs * sizeof *out), *lse = take(num_lses * sizeof *lse);
    float *importance = take(shape->num_queries * num_slots * sizeof *importance);
    must(tree_importance_ref(out, lse, importance, num_slots, query, key, value, norm, plan, shape, SCALE));
    put(out, num_outs * sizeof *out);
    put(lse, num_lses * sizeof *lse);
    put(importance, shape->num_queries * num_slots * sizeof *importance);

    size_t bytes = (tree_attention_cpu_workspace_bytes(plan, shape, 2) + 63) / 64 * 64;
    void *workspace = aligned_alloc(64, bytes);
    must(workspace ? 0 : 1);
    must(tree_attention_cpu(out, lse, query, key, value, plan, shape, SCALE, workspace, bytes, 2, TREE_ISA_AUTO));
    put(out, num_outs * sizeof *out);
    put(lse, num_lses * sizeof *lse);

    for (int variant = 0; variant < TRAFFIC_NUM_VARIANTS; variant++) {
        tree_traffic traffic;
        must(tree_traffic_count(&traffic, plan, shape, (traffic_variant)variant));
        put(&traffic, sizeof traffic);
    }
    free(workspace), free(out), free(lse), free(importance);
    tree_plan_destroy(plan);
}

int main(void)
{
    game_of_24 *game;
    game_of_24_config game_config = {{4, 9, 10, 13}, 2};
    replay_totals totals;
    must(game_of_24_search(&game, &game_config));
    must(replay_measure(&totals, game->workload, BLOCK_TOKENS));
    kv_pool *pool;
    kv_store *store;
    replay *player;
    stream *source;
    kv_pool_config pool_config = {.num_blocks = totals.peak_blocks, .block_tokens = BLOCK_TOKENS};
    kv_store_config store_config = {.num_blocks = totals.peak_blocks, .block_tokens = BLOCK_TOKENS,
                                    .num_kv_heads = NUM_KV_HEADS, .head_dim = HEAD_DIM, .seed = 7};
    stream_config settings = stream_preset_from_name("topics")->config;
    settings.num_heads = NUM_HEADS, settings.num_kv_heads = NUM_KV_HEADS, settings.head_dim = HEAD_DIM;
    must(kv_pool_create(&pool, &pool_config));
    must(kv_store_create(&store, &store_config));
    must(stream_create(&source, &settings));
    replay_events events = kv_store_events(store);
    must(replay_create(&player, game->workload, pool, &events));

    uint64_t num_norms = (uint64_t)totals.peak_blocks * NUM_KV_HEADS * BLOCK_TOKENS;
    float *norm = take(num_norms * sizeof *norm), token[NUM_KV_HEADS * HEAD_DIM], token_value[NUM_KV_HEADS * HEAD_DIM];
    replay_result step;
    for (int i = 0; i < 4; i++) {
        must(replay_step(player, &step));
        for (int skipped = 0; skipped < 20; skipped++)
            must(replay_step(player, &step));
        kv_table *tables = take(step.num_queries * sizeof *tables);
        kv_tree *tree;
        must(kv_branch_tables(pool, step.queries, step.num_queries, tables));
        must(kv_tree_build(&tree, tables, step.num_queries, BLOCK_TOKENS, totals.peak_blocks));
        put(tree->nodes, tree->num_nodes * sizeof *tree->nodes);
        put(tree->rows, tree->num_queries * sizeof *tree->rows);
        tree_shape shape = kv_store_shape(store, step.num_queries, NUM_HEADS);
        const float *value = kv_store_value(store);
        for (uint64_t n = 0; n < num_norms; n++)
            norm[n] = value_norm(value + n * HEAD_DIM, HEAD_DIM);
        float *query = take((size_t)step.num_queries * NUM_HEADS * HEAD_DIM * sizeof *query);
        for (uint32_t q = 0; q < step.num_queries; q++)
            stream_next(source, query + (size_t)q * NUM_HEADS * HEAD_DIM, token, token_value);
        for (int strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++)
            put_strategy(tree, &shape, query, kv_store_key(store), value, norm, (tree_strategy)strategy);
        free(tables), free(query);
        kv_tree_destroy(tree);
    }
    char *text = take(kv_pool_dump(pool, NULL, 0));
    size_t size = kv_pool_dump(pool, NULL, 0);
    kv_pool_dump(pool, text, size);
    put(text, size - 1);
    free(text), free(norm);
    replay_destroy(player), stream_destroy(source), kv_store_destroy(store), game_of_24_destroy(game);
    return kv_pool_destroy(pool, true, NULL);
}
