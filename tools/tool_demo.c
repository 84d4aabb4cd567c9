/* treeattn demo: a real search on the allocator, one screen. Breadth-first tree of thoughts on the Game of 24: the tree
 * before and after a prune, the memory and the reading that sharing and grouping save, the fast path against the
 * reference. */
#include "tool_demo.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tool_evict.h"
#include "tool_input.h"
#include "traffic.h"

enum { BLOCK_TOKENS = 16, NUM_HEADS = 32, NUM_KV_HEADS = 8, HEAD_DIM = 128, MAX_DEPTH = 8, BUDGET = 64 };

/* The point at which the search is stopped for a look at it. */
typedef struct demo_cut {
    uint32_t operation; /* the first fork of the next level */
    uint32_t iteration; /* the last of the level: its losers are still alive */
} demo_cut;

static demo_cut find_cut(const workload *work)
{
    demo_cut cut = {.operation = work->num_operations};
    uint32_t level = 0, step = 0;
    for (uint32_t i = 0; i < work->num_operations; i++) {
        workload_kind kind = work->operations[i].kind;
        step += kind == WORKLOAD_STEP;
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

/* NULL: the prompt. */
static uint32_t own_tokens(const game_of_24 *game, const game_of_24_thought *thought)
{
    return thought != NULL ? thought->num_tokens : (uint32_t)strlen(game->prompt);
}

/* Tokens of the prompt and of all thoughts up to this one; NULL: of the prompt. */
static uint32_t path_length(const game_of_24 *game, const game_of_24_thought *thought)
{
    uint32_t length = own_tokens(game, NULL);
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

/* Adds the pending lines of several thoughts at depths greater than `depth`. */
static void flush(demo_state *state, demo_line pending[MAX_DEPTH], uint32_t depth)
{
    for (uint32_t d = MAX_DEPTH - 1; d > depth; d--) {
        if (pending[d].num_thoughts == 0)
            continue;
        snprintf(pending[d].text, sizeof pending[d].text, "%u thoughts that lose", pending[d].num_thoughts);
        add_line(state, &pending[d]);
        pending[d].num_thoughts = 0;
    }
}

static demo_line line_of(const game_of_24 *game, const tool_scene *scene, const kv_tree *tree, uint32_t n,
                         uint32_t depth)
{
    const kv_node *node = &tree->nodes[n];
    uint32_t branch = scene->step.query_names[tree->rows[node->first_row]];
    const game_of_24_thought *thought = writer_of(game, branch, node->first_token + node->num_tokens - 1);
    demo_line line = {
        .depth = depth,
        .num_thoughts = 1,
        .own_tokens = own_tokens(game, thought),
        .num_tokens = node->num_tokens,
        .num_blocks = (node->first_slot + node->num_tokens + tree->block_tokens - 1) / tree->block_tokens,
        .first_block = tree->blocks[node->first_block],
        .references = kv_pool_references(scene->pool, tree->blocks[node->first_block]),
        .kept = node->num_rows == 1 && thought != NULL && thought->kept && thought->level == DEMO_LEVEL,
    };
    const char *text = thought != NULL ? thought->text : game->prompt;
    snprintf(line.text, sizeof line.text, "%.*s", (int)strcspn(text, "\n"), text);
    return line;
}

static void add_nodes(demo_state *state, const game_of_24 *game, const tool_scene *scene, const kv_tree *tree)
{
    uint32_t *depths = tool_allocate(tree->num_nodes, sizeof *depths);
    demo_line pending[MAX_DEPTH] = {{.num_thoughts = 0}};
    for (uint32_t n = 0; n < tree->num_nodes; n++) {
        uint32_t parent = tree->nodes[n].parent;
        depths[n] = parent == KV_NONE ? 0 : depths[parent] + 1;
        demo_line line = line_of(game, scene, tree, n, depths[n]);
        flush(state, pending, depths[n]);
        if (tree->nodes[n].num_rows > 1 || line.kept || depths[n] >= MAX_DEPTH) {
            add_line(state, &line);
            continue;
        }
        demo_line *group = &pending[depths[n]];
        if (group->num_thoughts == 0)
            *group = (demo_line){.depth = line.depth, .references = 1, .first_block = line.first_block};
        group->num_thoughts++;
        group->own_tokens += line.own_tokens;
        group->num_tokens += line.num_tokens;
        group->num_blocks += line.num_blocks;
    }
    for (uint32_t d = MAX_DEPTH - 1; d > 0; d--)
        flush(state, pending, d - 1);
    free(depths);
}

/* The pool and the tree of all living branches, each of which has a query in the scene. */
static demo_state look(const game_of_24 *game, const tool_scene *scene, const kv_tree *tree)
{
    kv_pool_stats stats;
    kv_pool_get_stats(scene->pool, &stats);
    demo_state state = {.num_branches = scene->step.num_queries, .used_blocks = stats.used_blocks};
    add_nodes(&state, game, scene, tree);
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

/* Three ways to store and read one step of all branches. */
static void compare_ways(demo_result *demo, const tool_scene *scene, const kv_tree *tree, const tree_shape *shape)
{
    kv_pool_stats stats;
    kv_pool_get_stats(scene->pool, &stats);
    tree_plan_config alone = {.strategy = TREE_FLASH}, grouped = {.strategy = TREE_NODE, .max_rows = tree->num_queries};
    tree_traffic each = traffic_of(tree, shape, &alone), once = traffic_of(tree, shape, &grouped);
    demo->token_bytes = 2 * (uint64_t)NUM_KV_HEADS * HEAD_DIM * tree_storage_bytes(shape->storage);
    uint64_t block_bytes = DEMO_LAYERS * demo->token_bytes * scene->block_tokens;
    demo->unique_tokens = tree->unique_tokens;
    demo->path_tokens = tree->path_tokens;
    demo->ways[0] = (demo_way){"copied per branch", stats.table_blocks, stats.table_blocks * block_bytes,
                               each.logical_bytes, each.plan_bytes};
    demo->ways[1] = (demo_way){"shared blocks", stats.used_blocks, stats.used_blocks * block_bytes, each.logical_bytes,
                               each.plan_bytes};
    demo->ways[2] = (demo_way){"shared, grouped reading", stats.used_blocks, stats.used_blocks * block_bytes,
                               once.logical_bytes, once.plan_bytes};
}

static void check_agreement(demo_result *demo, const tool_scene *scene, const kv_tree *tree)
{
    tool_queries queries = tool_queries_create(scene, NUM_HEADS, 24);
    for (int strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan_config config = {.strategy = (tree_strategy)strategy};
        tree_plan *plan = tool_scene_plan(tree, &config);
        tool_agreement_add(&demo->agreement, scene, &queries, plan);
        tree_plan_destroy(plan);
    }
    tool_queries_destroy(&queries);
}

static tool_picture draw(const demo_result *demo, const kv_tree *tree, const char *folder)
{
    char title[160];
    snprintf(title, sizeof title,
             "Level %d: %u branches see %" PRIu64 " tokens, %" PRIu64 " are stored; a rectangle for each node",
             DEMO_LEVEL, demo->before.num_branches, demo->path_tokens, demo->unique_tokens);
    return tool_picture_draw(tree, folder, title);
}

static tool_picture look_before(demo_result *demo, tool_scene *scene, const char *folder)
{
    tool_scene_query_all(scene);
    kv_tree *tree = tool_scene_tree(scene);
    tree_shape shape = kv_store_shape(scene->store, tree->num_queries, NUM_HEADS);
    demo->before = look(demo->game, scene, tree);
    compare_ways(demo, scene, tree, &shape);
    check_agreement(demo, scene, tree);
    tool_picture picture = draw(demo, tree, folder);
    kv_tree_destroy(tree);
    return picture;
}

static void look_after(demo_result *demo, tool_scene *scene)
{
    tool_scene_query_all(scene);
    kv_tree *tree = tool_scene_tree(scene);
    demo->after = look(demo->game, scene, tree);
    for (uint32_t i = 0; i < demo->before.num_lines; i++)
        demo->before.lines[i].references_after =
            kv_pool_references(scene->pool, demo->before.lines[i].first_block);
    for (uint32_t i = 0; i < demo->after.num_lines; i++)
        demo->after.lines[i].references_after = demo->after.lines[i].references;
    kv_tree_destroy(tree);
}

/* Plays the search up to the cut, and looks at it before and after the prune. Returns whether the picture was drawn. */
static tool_picture play_to_cut(demo_result *demo, const char *folder)
{
    demo_cut cut = find_cut(demo->game->workload);
    workload *work = cut_workload(demo->game->workload, &cut);
    tree_shape shape = {.num_heads = NUM_HEADS, .num_kv_heads = NUM_KV_HEADS, .head_dim = HEAD_DIM,
                        .num_blocks = demo->totals.peak_blocks, .block_tokens = BLOCK_TOKENS, .storage = TREE_BF16};
    tool_scene scene = tool_scene_open_with_kv(work, &shape, 24);
    tool_picture picture = TOOL_PICTURE_FAILED;
    while (tool_scene_next(&scene)) {
        if (scene.step.iteration == cut.iteration)
            picture = look_before(demo, &scene, folder);
        if (scene.step.iteration == cut.iteration + 1)
            look_after(demo, &scene);
    }
    tool_scene_close(&scene);
    workload_destroy(work);
    return picture;
}

/* With heads small enough for the reference. */
static void run_eviction(demo_result *demo)
{
    const eviction_policy *policies[] = {eviction_policy_from_name("longflow"), eviction_policy_from_name("random")};
    const workload *work = demo->game->workload;
    evict_request request = {.workload = work,
                             .stream = stream_preset_from_name("topics_slow")->config,
                             .num_policies = 2,
                             .policies = policies,
                             .scope = KV_SCOPE_VOTE,
                             .budget = BUDGET,
                             .block_tokens = BLOCK_TOKENS,
                             .num_blocks = demo->totals.peak_blocks + 2 * work->max_live_branches};
    request.stream.num_heads = 4;
    request.stream.num_kv_heads = 2;
    request.stream.head_dim = 32;
    evict_run run = evict_play(&request, NULL);
    const evict_result *longflow = &run.results[0];
    demo->eviction =
        (demo_eviction){.budget = BUDGET,
                        .peak_blocks = longflow->peak_blocks,
                        .kept_tokens = (double)longflow->counts.read_tokens / (double)longflow->counts.queries,
                        .mean_error = longflow->mean_error,
                        .random_error = run.results[1].mean_error};
    evict_run_destroy(&run);
}

static void write_result(const tool_call *call, const demo_result *demo, const demo_files *files)
{
    machine_info machine = machine_look();
    machine.isa = tree_isa_name[demo->agreement.isa];
    if (call->format == TOOL_JSON) {
        demo_write_json(demo, &machine, files);
    } else if (tool_given(call, "--verbose")) {
        demo_write_all(demo, &machine, files);
    } else {
        char more[TOOL_MAX_COMMAND];
        tool_command(call, more, "demo --verbose");
        demo_write_screen(demo, &machine, files, more);
    }
}

static int run(const tool_call *call)
{
    const char *folder = tool_text(call, "--out", "build/demo");
    demo_result *demo = tool_allocate(1, sizeof *demo);
    demo->agreement.isa = tool_isa(call);
    demo->block_tokens = BLOCK_TOKENS;
    if (folder[0] == '\0')
        tool_bad_usage(call->verb, "--out: expected a folder");
    if (!tool_make_folder(folder))
        tool_fail("%s: %s", folder, strerror(errno));
    game_of_24 *game;
    game_of_24_config config = {.breadth = 0};
    kv_status status = game_of_24_search(&game, &config);
    if (status != KV_OK)
        tool_fail("the search: %s", kv_status_string(status));
    demo->game = game;
    status = replay_measure(&demo->totals, game->workload, BLOCK_TOKENS);
    if (status != KV_OK)
        tool_fail("the search cannot be replayed: %s", kv_status_string(status));
    char next[TOOL_MAX_COMMAND];
    tool_command(call, next, "step --wait");
    demo_files files = {.folder = folder, .next = next};
    files.picture = play_to_cut(demo, folder);
    run_eviction(demo);
    write_result(call, demo, &files);
    bool good = demo->agreement.worst.text[0] == '\0' && demo->totals.leaked_blocks == 0 &&
                files.picture != TOOL_PICTURE_FAILED;
    game_of_24_destroy(game);
    free(demo);
    return good ? TOOL_OK : TOOL_FAILED;
}

static const tool_option options[] = {
    {"--verbose", NULL, "both trees in full, and a legend of every column"},
    {"--out", "FOLDER", "folder of tree.csv, .gp, .txt, .svg and .png, which are replaced (build/demo)"},
    TOOL_ISA_OPTION,
    {NULL, NULL, NULL},
};

const tool_verb tool_demo = {
    .name = "demo",
    .summary = "grows and prunes a real search tree: one screen and a picture",
    .formats = "text json",
    .options = options,
    .example = "  treeattn demo\n"
               "  treeattn demo --verbose --out my_folder\n",
    .run = run,
};
