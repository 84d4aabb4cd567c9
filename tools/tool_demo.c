/* treeattn demo: a real search on the allocator, one screen. Breadth-first tree of thoughts on the Game of 24: the tree
 * before and after a prune, what sharing and grouping save at its widest step, the fast path against the reference. */
#include "tool_demo.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tool_agreement.h"
#include "tool_input.h"
#include "traffic.h"

enum { BLOCK_TOKENS = 16, NUM_HEADS = 32, NUM_KV_HEADS = 8, HEAD_DIM = 128, MAX_DEPTH = 8 };

const char demo_next_step[] = "treeattn step --wait   walks the softmax of one query token by token";

/* Where the search is cut to look at it. */
typedef struct demo_cut {
    uint32_t operation; /* the first fork of the next level */
    uint32_t iteration; /* the last of the level: its losers are still there */
    uint32_t widest_iteration, num_queries;
} demo_cut;

static demo_cut find_cut(const workload *work)
{
    demo_cut cut = {.operation = work->num_operations};
    uint32_t level = 0, step = 0, num_queries = 0;
    for (uint32_t i = 0; i < work->num_operations; i++) {
        workload_kind kind = work->operations[i].kind;
        num_queries += kind == WORKLOAD_DECODE;
        if (kind == WORKLOAD_STEP) {
            step++;
            if (num_queries >= cut.num_queries) {
                cut.num_queries = num_queries;
                cut.widest_iteration = step;
            }
            num_queries = 0;
        }
        if (kind == WORKLOAD_PRUNE && i > 0 && work->operations[i - 1].kind == WORKLOAD_STEP && ++level == DEMO_LEVEL)
            cut.iteration = step;
        if (kind == WORKLOAD_FORK && level == DEMO_LEVEL) {
            cut.operation = i;
            break;
        }
    }
    return cut;
}

/* The search up to the cut, and a step without queries, at which the replay stops. */
static workload *cut_workload(const workload *whole, const demo_cut *cut)
{
    workload *work = workload_create();
    if (work == NULL)
        tool_fail("out of memory");
    uint32_t branch = 0;
    for (uint32_t i = 0; i < cut->operation; i++) {
        const workload_operation *o = &whole->operations[i];
        if (o->kind == WORKLOAD_CREATE)
            workload_add_create(work, workload_label(whole, branch++));
        else if (o->kind == WORKLOAD_FORK)
            workload_add_fork(work, o->value, workload_label(whole, branch++));
        else
            workload_add(work, o->kind, o->branch, o->value);
    }
    workload_add(work, WORKLOAD_STEP, 0, 0);
    if (work->status != KV_OK)
        tool_fail("the search: %s", kv_status_string(work->status));
    return work;
}

static const game_of_24_thought *thought_of(const game_of_24 *game, uint32_t branch)
{
    for (uint32_t i = 0; i < game->num_thoughts; i++) {
        if (game->thoughts[i].branch == branch)
            return &game->thoughts[i];
    }
    return NULL;
}

/* Tokens of the prompt and of all thoughts up to this one; NULL: of the prompt. */
static uint32_t path_length(const game_of_24 *game, const game_of_24_thought *thought)
{
    uint32_t length = (uint32_t)strlen(game->prompt);
    while (thought != NULL) {
        length += thought->num_tokens;
        thought = thought->parent == TRACE_NONE ? NULL : &game->thoughts[thought->parent];
    }
    return length;
}

/* The thought on the branch's path that wrote the token at `position`; NULL: the prompt. */
static const game_of_24_thought *writer_of(const game_of_24 *game, uint32_t branch, uint32_t position)
{
    const game_of_24_thought *thought = thought_of(game, branch);
    while (thought != NULL) {
        const game_of_24_thought *parent = thought->parent == TRACE_NONE ? NULL : &game->thoughts[thought->parent];
        if (position >= path_length(game, parent))
            return thought;
        thought = parent;
    }
    return NULL;
}

static void add_line(demo_state *state, const demo_line *line)
{
    if (state->num_lines < DEMO_MAX_LINES)
        state->lines[state->num_lines++] = *line;
    else
        state->lines_left_out++;
}

/* Adds the lines that stand for several nodes, for depths greater than `depth`. */
static void flush(demo_state *state, demo_line pending[MAX_DEPTH], uint32_t depth)
{
    for (uint32_t d = MAX_DEPTH - 1; d > depth; d--) {
        if (pending[d].num_nodes == 0)
            continue;
        snprintf(pending[d].text, sizeof pending[d].text, "%u thoughts that lose", pending[d].num_nodes);
        add_line(state, &pending[d]);
        pending[d].num_nodes = 0;
    }
}

static demo_line line_of(const game_of_24 *game, const tool_scene *scene, const kv_tree *tree, const uint32_t *names,
                         uint32_t n, uint32_t depth)
{
    const kv_node *node = &tree->nodes[n];
    const game_of_24_thought *thought =
        writer_of(game, names[tree->rows[node->first_row]], node->first_token + node->num_tokens - 1);
    demo_line line = {
        .depth = depth,
        .num_nodes = 1,
        .num_tokens = node->num_tokens,
        .num_blocks = (node->first_slot + node->num_tokens + tree->block_tokens - 1) / tree->block_tokens,
        .references = kv_pool_references(scene->pool, tree->blocks[node->first_block]),
        .kept = node->num_rows == 1 && thought != NULL && thought->kept && thought->level == DEMO_LEVEL,
    };
    const char *text = thought != NULL ? thought->text : game->prompt;
    snprintf(line.text, sizeof line.text, "%.*s", (int)strcspn(text, "\n"), text);
    return line;
}

static void add_nodes(demo_state *state, const game_of_24 *game, const tool_scene *scene, const kv_tree *tree,
                      const uint32_t *names)
{
    uint32_t *depths = tool_allocate(tree->num_nodes, sizeof *depths);
    demo_line pending[MAX_DEPTH] = {{.num_nodes = 0}};
    for (uint32_t n = 0; n < tree->num_nodes; n++) {
        uint32_t parent = tree->nodes[n].parent;
        depths[n] = parent == KV_NONE ? 0 : depths[parent] + 1;
        demo_line line = line_of(game, scene, tree, names, n, depths[n]);
        flush(state, pending, depths[n]);
        if (tree->nodes[n].num_rows > 1 || line.kept || depths[n] >= MAX_DEPTH) {
            add_line(state, &line);
            continue;
        }
        demo_line *group = &pending[depths[n]];
        if (group->num_nodes == 0)
            *group = (demo_line){.depth = line.depth, .references = line.references};
        group->num_nodes++;
        group->num_tokens += line.num_tokens;
        group->num_blocks += line.num_blocks;
    }
    for (uint32_t d = MAX_DEPTH - 1; d > 0; d--)
        flush(state, pending, d - 1);
    free(depths);
}

/* The tree of all living branches, as the pool has it now. */
static demo_state look(const game_of_24 *game, const tool_scene *scene)
{
    uint32_t num_names = scene->workload->num_branches;
    kv_branch *handles = tool_allocate(num_names, sizeof *handles);
    uint32_t *names = tool_allocate(num_names, sizeof *names);
    demo_state state = {.num_branches = 0};
    for (uint32_t name = 0; name < num_names; name++) {
        kv_branch handle = replay_handle(scene->replay, name);
        if (handle == 0)
            continue;
        handles[state.num_branches] = handle;
        names[state.num_branches++] = name;
    }
    kv_table *tables = tool_allocate(state.num_branches, sizeof *tables);
    kv_tree *tree;
    kv_status status = kv_branch_tables(scene->pool, handles, state.num_branches, tables);
    if (status == KV_OK)
        status = kv_tree_build(&tree, tables, state.num_branches, scene->block_tokens, scene->num_blocks);
    if (status != KV_OK)
        tool_fail("the tree of the living branches: %s", kv_status_string(status));
    kv_pool_stats stats;
    kv_pool_get_stats(scene->pool, &stats);
    state.used_blocks = stats.used_blocks;
    add_nodes(&state, game, scene, tree, names);
    kv_tree_destroy(tree);
    free(tables);
    free(handles);
    free(names);
    return state;
}

static tree_traffic traffic_of(const kv_tree *tree, const tree_shape *shape, const tree_plan_config *config)
{
    tree_plan *plan = tool_scene_plan(tree, config);
    tree_traffic traffic;
    tree_status status = tree_traffic_count(&traffic, plan, shape, TRAFFIC_PACKED);
    if (status != TREE_OK)
        tool_fail("byte counts: %s", tree_status_string(status));
    tree_plan_destroy(plan);
    return traffic;
}

/* Three ways to keep and read the step that was just played. */
static void compare_ways(demo_result *demo, const tool_scene *scene, const kv_tree *tree, const tree_shape *shape)
{
    kv_pool_stats stats;
    kv_pool_get_stats(scene->pool, &stats);
    tree_plan_config alone = {.strategy = TREE_FLASH}, grouped = {.strategy = TREE_NODE, .max_rows = tree->num_queries};
    tree_traffic each = traffic_of(tree, shape, &alone), once = traffic_of(tree, shape, &grouped);
    uint64_t block_bytes = (uint64_t)DEMO_LAYERS * 2 * NUM_KV_HEADS * HEAD_DIM * 2 * scene->block_tokens;
    demo->unique_tokens = tree->unique_tokens;
    demo->path_tokens = tree->path_tokens;
    demo->ways[0] = (demo_way){"copied per branch", stats.table_blocks, stats.table_blocks * block_bytes,
                               each.logical_bytes, each.plan_bytes};
    demo->ways[1] = (demo_way){"paged, shared", stats.used_blocks, stats.used_blocks * block_bytes, each.logical_bytes,
                               each.plan_bytes};
    demo->ways[2] = (demo_way){"shared and grouped", stats.used_blocks, stats.used_blocks * block_bytes,
                               once.logical_bytes, once.plan_bytes};
}

static void check_agreement(demo_result *demo, const tool_scene *scene, const kv_tree *tree)
{
    tool_agreement agreement = {.isa = demo->isa};
    tool_queries queries = tool_queries_create(scene, NUM_HEADS, 24);
    for (int strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan_config config = {.strategy = (tree_strategy)strategy};
        tree_plan *plan = tool_scene_plan(tree, &config);
        tool_agreement_add(&agreement, scene, &queries, plan);
        tree_plan_destroy(plan);
    }
    demo->num_strategies = agreement.num_plans;
    demo->agreement = agreement.worst.text[0] == '\0';
    tool_queries_destroy(&queries);
}

static tool_picture look_at_widest_step(demo_result *demo, const tool_scene *scene, const char *folder)
{
    kv_tree *tree = tool_scene_tree(scene);
    tree_shape shape = kv_store_shape(scene->store, tree->num_queries, NUM_HEADS);
    compare_ways(demo, scene, tree, &shape);
    check_agreement(demo, scene, tree);
    char title[160];
    snprintf(title, sizeof title,
             "Iteration %u: %u queries see %" PRIu64 " tokens, %" PRIu64 " are stored: their nodes",
             demo->widest_iteration, tree->num_queries, tree->path_tokens, tree->unique_tokens);
    tool_picture picture = tool_picture_draw(tree, folder, title);
    kv_tree_destroy(tree);
    return picture;
}

/* Plays the search up to the cut, looking at it three times. Returns whether the picture was drawn. */
static tool_picture play_to_cut(demo_result *demo, const char *folder)
{
    demo_cut cut = find_cut(demo->game->workload);
    workload *work = cut_workload(demo->game->workload, &cut);
    demo->widest_iteration = cut.widest_iteration;
    demo->num_queries = cut.num_queries;
    tree_shape shape = {.num_heads = NUM_HEADS, .num_kv_heads = NUM_KV_HEADS, .head_dim = HEAD_DIM,
                        .num_blocks = demo->totals.peak_blocks, .block_tokens = BLOCK_TOKENS, .storage = TREE_BF16};
    tool_scene scene = tool_scene_open_with_kv(work, &shape, 24);
    tool_picture picture = TOOL_PICTURE_FAILED;
    while (tool_scene_next(&scene)) {
        if (scene.step.iteration == cut.widest_iteration)
            picture = look_at_widest_step(demo, &scene, folder);
        if (scene.step.iteration == cut.iteration)
            demo->before = look(demo->game, &scene);
        if (scene.step.iteration == cut.iteration + 1) {
            demo->after = look(demo->game, &scene);
            break;
        }
    }
    tool_scene_close(&scene);
    workload_destroy(work);
    return picture;
}

static int run(const tool_call *call)
{
    const char *folder = tool_text(call, "--out", "build/demo");
    tree_isa isa = tool_isa(call);
    if (folder[0] == '\0')
        tool_bad_usage(call->verb, "--out: expected a folder");
    if (!tool_make_folder(folder))
        tool_fail("%s: %s", folder, strerror(errno));
    game_of_24 *game;
    game_of_24_config config = {.breadth = 0};
    kv_status status = game_of_24_search(&game, &config);
    if (status != KV_OK)
        tool_fail("the search: %s", kv_status_string(status));
    demo_result *demo = tool_allocate(1, sizeof *demo);
    demo->game = game;
    demo->block_tokens = BLOCK_TOKENS;
    demo->isa = isa;
    status = replay_measure(&demo->totals, game->workload, BLOCK_TOKENS);
    if (status != KV_OK)
        tool_fail("the search cannot be played: %s", kv_status_string(status));
    tool_picture picture = play_to_cut(demo, folder);
    machine_info machine = machine_look();
    machine.isa = tree_isa_name[isa];
    if (call->format == TOOL_JSON)
        demo_write_json(demo, &machine, folder, picture);
    else
        demo_write_text(demo, &machine, folder, picture);
    bool good = demo->agreement && demo->totals.leaked_blocks == 0 && picture != TOOL_PICTURE_FAILED;
    game_of_24_destroy(game);
    free(demo);
    return good ? TOOL_OK : TOOL_FAILED;
}

static const tool_option options[] = {
    {"--out", "FOLDER", "for tree.csv, .gp, .txt, .svg and .png; replaces files and links of these names (build/demo)"},
    TOOL_ISA_OPTION,
    {NULL, NULL, NULL},
};

const tool_verb tool_demo = {
    .name = "demo",
    .summary = "grows and prunes a real search tree: one screen and a picture",
    .formats = "text json",
    .options = options,
    .example = "  treeattn demo --out my_folder\n",
    .run = run,
};
