/* Plays workloads for the verbs. */
#include "tool_scene.h"

#include <stdlib.h>

static uint32_t enough_blocks(const workload *work, uint32_t block_tokens)
{
    replay_needs needs;
    kv_status status = replay_count_needs(&needs, work, block_tokens);
    if (status == KV_OK && needs.most_blocks >= UINT32_MAX)
        status = KV_RANGE;
    if (status != KV_OK)
        tool_fail("the workload cannot be replayed: %s", kv_status_string(status));
    return needs.most_blocks > 0 ? (uint32_t)needs.most_blocks : 1;
}

/* NaN lies where no branch sees it. */
static kv_store *create_store(const tree_shape *shape, uint64_t seed)
{
    kv_store_config config = {.storage = shape->storage, .num_blocks = shape->num_blocks,
                              .block_tokens = shape->block_tokens, .num_kv_heads = shape->num_kv_heads,
                              .head_dim = shape->head_dim, .seed = seed, .poison = KV_POISON_NAN};
    kv_store *store;
    kv_status status = kv_store_create(&store, &config);
    if (status != KV_OK)
        tool_fail("K and V of %u blocks: %s", shape->num_blocks, kv_status_string(status));
    return store;
}

static tool_scene open_scene(const workload *work, uint32_t block_tokens, uint32_t num_blocks, kv_store *store)
{
    tool_scene scene = {.workload = work, .store = store, .block_tokens = block_tokens, .num_blocks = num_blocks};
    kv_pool_config config = {.num_blocks = scene.num_blocks, .block_tokens = block_tokens,
                             .max_branches = work->max_live_branches > 0 ? work->max_live_branches : 1};
    kv_status status = kv_pool_create(&scene.pool, &config);
    if (status != KV_OK)
        tool_fail("a pool of %u blocks of %u tokens: %s", scene.num_blocks, block_tokens, kv_status_string(status));
    replay_events events = {.context = NULL};
    if (store != NULL)
        events = kv_store_events(store);
    status = replay_create(&scene.replay, work, scene.pool, &events);
    if (status != KV_OK)
        tool_fail("the workload cannot be replayed: %s", kv_status_string(status));
    return scene;
}

tool_scene tool_scene_open(const workload *work, uint32_t block_tokens, uint32_t num_blocks)
{
    return open_scene(work, block_tokens, num_blocks > 0 ? num_blocks : enough_blocks(work, block_tokens), NULL);
}

tool_scene tool_scene_open_with_kv(const workload *work, const tree_shape *shape, uint64_t seed)
{
    return open_scene(work, shape->block_tokens, shape->num_blocks, create_store(shape, seed));
}

static void free_queries(tool_scene *scene)
{
    free(scene->queries);
    free(scene->query_names);
    scene->queries = NULL;
    scene->query_names = NULL;
}

bool tool_scene_next(tool_scene *scene)
{
    free_queries(scene);
    uint32_t iteration = scene->step.iteration;
    kv_status status = replay_step(scene->replay, &scene->step);
    if (status == KV_NOBLOCKS)
        tool_fail("the pool of %u blocks of %u tokens is too small: after iteration %u, operation %u was refused; "
                  "nothing was lost, and a larger pool (or a prune) would let the replay continue",
                  scene->num_blocks, scene->block_tokens, iteration, replay_position(scene->replay));
    if (status != KV_OK)
        tool_fail("operation %u: %s", replay_position(scene->replay), kv_status_string(status));
    if (scene->store != NULL && kv_store_status(scene->store) != KV_OK)
        tool_fail("K and V: %s", kv_status_string(kv_store_status(scene->store)));
    return !scene->step.done;
}

void tool_scene_query_all(tool_scene *scene)
{
    uint32_t num_names = scene->workload->num_branches, num_queries = 0;
    free_queries(scene);
    scene->queries = tool_allocate(num_names, sizeof *scene->queries);
    scene->query_names = tool_allocate(num_names, sizeof *scene->query_names);
    for (uint32_t name = 0; name < num_names; name++) {
        kv_branch handle = replay_handle(scene->replay, name);
        if (handle == 0)
            continue;
        scene->queries[num_queries] = handle;
        scene->query_names[num_queries++] = name;
    }
    scene->step.num_queries = num_queries;
    scene->step.queries = scene->queries;
    scene->step.query_names = scene->query_names;
}

kv_table *tool_scene_tables(const tool_scene *scene)
{
    kv_table *tables = tool_allocate(scene->step.num_queries, sizeof *tables);
    kv_status status = kv_branch_tables(scene->pool, scene->step.queries, scene->step.num_queries, tables);
    if (status != KV_OK)
        tool_fail("block tables: %s", kv_status_string(status));
    return tables;
}

kv_tree *tool_scene_tree(const tool_scene *scene)
{
    kv_table *tables = tool_scene_tables(scene);
    kv_tree *tree;
    kv_status status = kv_tree_build(&tree, tables, scene->step.num_queries, scene->block_tokens, scene->num_blocks);
    if (status != KV_OK)
        tool_fail("the tree of the block tables: %s", kv_status_string(status));
    free(tables);
    return tree;
}

tree_plan *tool_scene_plan(const kv_tree *tree, const tree_plan_config *config)
{
    tree_plan *plan;
    tree_status status = tree_plan_build(&plan, tree, config);
    if (status != TREE_OK)
        tool_fail("plan %s: %s", tree_strategy_name[config->strategy], tree_status_string(status));
    return plan;
}

void tool_scene_close(tool_scene *scene)
{
    free_queries(scene);
    replay_destroy(scene->replay);
    kv_pool_destroy(scene->pool, true, NULL);
    if (scene->store != NULL)
        kv_store_destroy(scene->store);
}
