/* Claim: planning, growing, masking, checking, counting and queueing a plan take time in proportion to what they read
 * and write, whatever the tree looks like: counted in steps of the program, not in seconds. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "keep_model.h"
#include "plan_queue.h"
#include "plan_trees.h"
#include "step_count.h"
#include "test.h"
#include "traffic.h"

/* Trees of n nodes of one or a few tokens. */
typedef enum shape { STAR, CHAIN, DRAFT_CHAIN, BINARY, CATERPILLAR, FOREST, BROOM, NUM_SHAPES } shape;
static const char *const shape_name[NUM_SHAPES] = {
    "star",        /* a root, and n - 1 leaves that ask */
    "chain",       /* the last node asks */
    "draft_chain", /* every node asks */
    "binary",      /* every node asks */
    "caterpillar", /* a spine of n / 2, and a leaf that asks at each of its nodes */
    "forest",      /* n roots that ask */
    "broom"        /* a chain of n - 40, and 40 leaves that ask */
};

static uint32_t parent_of(shape form, uint32_t i, uint32_t n)
{
    if (i == 0 || form == FOREST)
        return KV_NONE;
    switch (form) {
    case STAR: return 0;
    case BINARY: return (i - 1) / 2;
    case CATERPILLAR: return i < n / 2 ? i - 1 : i - n / 2;
    case BROOM: return i < n - 40 ? i - 1 : n - 41;
    default: return i - 1;
    }
}

static kv_tree *tree_of(shape form, uint32_t n, uint32_t spare_tokens)
{
    static uint32_t parent[1 << 17], num_tokens[1 << 17], num_ending[1 << 17];
    check(n <= 1 << 17, "%" PRIu32 " nodes", n);
    memset(num_ending, 0, sizeof num_ending);
    for (uint32_t i = 0; i < n; i++) {
        parent[i] = parent_of(form, i, n);
        num_tokens[i] = 1 + (form == BROOM ? i % 3 : 0);
        num_ending[i] = form == DRAFT_CHAIN || form == BINARY;
    }
    return plan_tree_create(&(plan_tree_nodes){n, parent, num_tokens,
                                               form == DRAFT_CHAIN || form == BINARY ? num_ending : NULL, 0}, 16,
                            spare_tokens);
}

/* ---- how much there is to read and write, and the steps that it takes ---- */

typedef struct growth {
    uint64_t work, steps;
} growth;

static uint64_t tree_size(const kv_tree *tree)
{
    return (uint64_t)tree->num_nodes + tree->num_queries + tree->num_blocks;
}

static uint64_t plan_size(const tree_plan *plan)
{
    return (uint64_t)plan->num_items + plan->num_ranges + plan->num_partials + plan->num_mask_words;
}

static tree_plan *planned(const kv_tree *tree, const tree_plan_config *config)
{
    tree_plan *plan = NULL;
    tree_status status = tree_plan_build(&plan, tree, config);
    check(status == TREE_OK, "%s: %s", tree_strategy_name[config->strategy], tree_status_string(status));
    return plan;
}

static growth of_build(shape form, uint32_t n, const tree_plan_config *config)
{
    kv_tree *tree = tree_of(form, n, 0);
    step_count_start();
    tree_plan *plan = planned(tree, config);
    growth g = {tree_size(tree) + plan_size(plan), step_count()};
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
    return g;
}

static growth of_grow(shape form, uint32_t n, const tree_plan_config *config)
{
    kv_tree *tree = tree_of(form, n, 40);
    tree_plan *plan = planned(tree, config);
    for (uint32_t q = 0; q < tree->num_queries; q++)
        check(plan_tree_grow(tree, q, 1), "room for query %" PRIu32, q);
    step_count_start();
    check(tree_plan_grow(plan, tree), "%s follows", tree_strategy_name[config->strategy]);
    growth g = {tree->num_queries, step_count()};
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
    return g;
}

static growth of_check(shape form, uint32_t n, const tree_plan_config *config)
{
    kv_tree *tree = tree_of(form, n, 0);
    tree_plan *plan = planned(tree, config);
    double log_blocks = log2(tree->num_blocks);
    growth g = {tree_size(tree) + plan_size(plan), 0};
    g.work += (uint64_t)(log_blocks * (double)tree->num_blocks);
    for (uint32_t i = 0; i < plan->num_items; i++)
        g.work += (uint64_t)plan->items[i].num_rows * plan->items[i].num_tokens;
    step_count_start();
    check(tree_plan_check(plan, tree, NULL, 0) == TREE_OK, "a right plan");
    g.steps = step_count();
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
    return g;
}

/* New keep words where every range has a mask. Nodes are short, so a row reads a word of each token that it sees: once
 * to decide whether the words fit, once to write the masks. Each pass searches the node of each range. */
static growth of_set_keep(shape form, uint32_t n, const tree_plan_config *config)
{
    kv_tree *tree = tree_of(form, n, 0);
    keep_set set = keep_set_create(tree);
    tree_plan *plan = NULL;
    check(tree_plan_build_keep(&plan, tree, config, set.keeps, TREE_KEEP_ALL) == TREE_OK, "a plan");
    keep_evict_random(&set, 30, false);
    double log_nodes = log2(tree->num_nodes);
    growth g = {2 * tree->path_tokens + plan_size(plan) + (uint64_t)(2 * log_nodes * plan->num_ranges), 0};
    step_count_start();
    check(tree_plan_set_keep(plan, tree, set.keeps), "follows");
    g.steps = step_count();
    tree_plan_destroy(plan);
    keep_set_free(&set);
    plan_tree_destroy(tree);
    return g;
}

static tree_shape shape_of(const tree_plan *plan)
{
    return (tree_shape){plan->num_queries, 8, 2, 128, plan->max_block + 1, plan->block_tokens, TREE_BF16};
}

static growth of_traffic(shape form, uint32_t n, const tree_plan_config *config)
{
    kv_tree *tree = tree_of(form, n, 0);
    tree_plan *plan = planned(tree, config);
    tree_shape heads = shape_of(plan);
    tree_traffic traffic;
    growth g = {(uint64_t)plan->num_items + plan->num_ranges + plan->num_queries, 0};
    step_count_start();
    check(tree_traffic_count(&traffic, plan, &heads, TRAFFIC_PACKED) == TREE_OK, "counts");
    g.steps = step_count();
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
    return g;
}

static growth of_queue(shape form, uint32_t n, const tree_plan_config *config)
{
    kv_tree *tree = tree_of(form, n, 0);
    tree_plan *plan = planned(tree, config);
    tree_shape heads = shape_of(plan);
    plan_queue queue;
    step_count_start();
    check(plan_queue_build(&queue, plan, &heads, 264) == TREE_OK, "a queue");
    uint64_t num_tasks = (uint64_t)queue.num_tasks * heads.num_kv_heads;
    growth g = {plan_size(plan) + num_tasks + queue.num_tiles + queue.num_tokens + queue.num_masks + queue.num_partials,
                step_count()};
    plan_queue_free(&queue);
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
    return g;
}

/* ---- cases: a function and a strategy, on some trees of two sizes ---- */

typedef growth (*growth_function)(shape form, uint32_t n, const tree_plan_config *config);

typedef struct growth_case {
    growth_function measure;
    tree_plan_config config;
    shape first, last; /* trees */
    uint32_t smaller, larger;
} growth_case;

static void run(const void *argument)
{
    const growth_case *c = argument;
    for (shape form = c->first; form <= c->last; form++) {
        growth small = c->measure(form, c->smaller, &c->config), large = c->measure(form, c->larger, &c->config);
        double work = (double)large.work / (double)small.work, steps = (double)large.steps / (double)small.steps;
        double exponent = log(steps) / log(work);
        test_note("%s: work %" PRIu64 " and %" PRIu64 ", steps %" PRIu64 " and %" PRIu64 ", exponent %.3f",
                  shape_name[form], small.work, large.work, small.steps, large.steps, exponent);
        check(small.steps > 100, "steps are counted: %" PRIu64, small.steps);
        check(exponent <= 1.1, "%s: %.1f times the work takes %.1f times the steps, exponent %.3f", shape_name[form],
              work, steps, exponent);
    }
}

static void add(growth_case c, const char *name)
{
    static growth_case cases[64];
    static int num_cases;
    cases[num_cases] = c;
    test_add(run, &cases[num_cases++], "%s_%s", name, tree_strategy_name[c.config.strategy]);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "planning takes time in proportion to what it reads and writes");
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++) {
        const tree_plan_config config = {.strategy = (tree_strategy)s};
        add((growth_case){of_build, config, STAR, FOREST, 250, 1000}, "build");
        add((growth_case){of_traffic, config, STAR, FOREST, 150, 600}, "traffic");
        add((growth_case){of_check, config, STAR, FOREST, 200, 800}, "check");
        add((growth_case){of_queue, config, STAR, FOREST, 150, 600}, "queue");
        add((growth_case){of_set_keep, config, STAR, FOREST, 150, 600}, "set_keep");
        if (s != TREE_TREE_MASK && s != TREE_FLATTEN)
            add((growth_case){of_grow, config, FOREST, FOREST, 300, 1200}, "grow");
    }
    tree_plan_config cost = {.strategy = TREE_COST, .target = TREE_TARGET_CPU};
    add((growth_case){of_build, cost, STAR, FOREST, 300, 1200}, "build_for_a_cpu");
    /* long lists that are cut often; many slices of rows that go through them */
    cost = (tree_plan_config){.strategy = TREE_COST, .num_workers = 1u << 20};
    add((growth_case){of_build, cost, CHAIN, CHAIN, 20000, 80000}, "build_chain_for_many_workers");
    add((growth_case){of_build, cost, BROOM, BROOM, 20000, 80000}, "build_broom_for_many_workers");
    cost.group_size = 1;
    add((growth_case){of_build, cost, DRAFT_CHAIN, DRAFT_CHAIN, 3000, 9000}, "build_draft_chain_in_sections");
    cost.piece_tokens = 1u << 30;
    add((growth_case){of_build, cost, DRAFT_CHAIN, DRAFT_CHAIN, 1000, 4000}, "build_draft_chain_in_one_piece");
    return test_end();
}
