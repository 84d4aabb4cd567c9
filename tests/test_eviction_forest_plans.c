/* Claim: plans over a forest that has evicted give each branch the outputs, importances and victims of the forest's own
 * sums by position, within rounding: every strategy, the reference and the fast path, holes and compaction included. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eviction_forest.h"
#include "test.h"
#include "tree_importance.h"
#include "tree_importance_cpu.h"
#include "tree_plan_keep.h"

enum {
    NUM_HEADS = 4,
    NUM_KV_HEADS = 2,
    HEAD_DIM = 8,
    QUERY_FLOATS = NUM_HEADS * HEAD_DIM,
    TOKEN_FLOATS = NUM_KV_HEADS * HEAD_DIM,
    MAX_BRANCHES = 6,
    MAX_TOKENS = 128,
    NUM_BLOCKS = 300
};

typedef struct plan_case {
    kv_scope scope;
    uint32_t budget, block_tokens;
    bool compacts;
} plan_case;

/* The forest's truth of one query. */
typedef struct truth {
    uint32_t num_tokens, positions[MAX_TOKENS];
    double out[QUERY_FLOATS], importance[MAX_TOKENS], largest;
} truth;

static void fill(float *numbers, uint32_t count, float scale)
{
    for (uint32_t i = 0; i < count; i++) numbers[i] = scale * (float)test_normal();
}

static void find_truth(truth *t, const eviction_forest *forest, const eviction_forest_parts *parts, kv_branch branch,
                       const float *query)
{
    static uint64_t slots[MAX_TOKENS];
    static double weights[NUM_HEADS * MAX_TOKENS];
    kv_keep keep;
    check(kv_branch_keep(parts->pool, branch, &keep) == KV_OK && keep.num_kept <= MAX_TOKENS, "room");
    check(eviction_forest_tokens(forest, branch, slots, t->positions) == KV_OK, "tokens");
    token_list tokens = {.num_tokens = keep.num_kept, .slots = slots, .positions = t->positions};
    t->num_tokens = keep.num_kept;
    attention_weights(weights, t->out, NULL, query, parts->key, parts->value, &tokens, &parts->shape, parts->scale);
    importance_ref(t->importance, weights, parts->norm, &tokens, &parts->shape);
    t->largest = 0;
    for (uint32_t i = 0; i < t->num_tokens; i++) t->largest = fmax(t->largest, t->importance[i]);
}

/* importance_q, positions [num_slots]: one query's. Returns the victim's key. */
static uint64_t check_query(const truth *t, const float *out, const float *importance_q, const uint32_t *positions,
                            const kv_keep *keep, const kv_table *table, uint64_t num_slots, uint32_t block_tokens,
                            double limit, const char *what)
{
    for (uint32_t i = 0; i < QUERY_FLOATS; i++)
        check(fabs(out[i] - t->out[i]) <= limit * 4, "%s: out %g, not %g", what, out[i], t->out[i]);
    uint32_t seen = 0;
    for (uint64_t s = 0; s < num_slots; s++) {
        bool kept = s < table->length && kv_keep_slot(keep, block_tokens, (uint32_t)s);
        check((importance_q[s] != -1) == kept, "%s: slot %u", what, (unsigned)s);
        if (!kept) continue;
        uint32_t i = 0;
        while (i < t->num_tokens && t->positions[i] != positions[s]) i++;
        check(i < t->num_tokens && fabs(importance_q[s] - t->importance[i]) <= limit * t->largest,
              "%s: importance of position %u", what, positions[s]);
        seen++;
    }
    check(seen == t->num_tokens, "%s: %u tokens, not %u", what, seen, t->num_tokens);
    return eviction_victim_of_slots(importance_q, positions, num_slots, (eviction_range){0, UINT32_MAX});
}

typedef struct plan_run {
    const eviction_forest_parts *parts;
    const tree_plan *plan;
    tree_shape shape;
    uint64_t num_slots;
    const float *query;
    float *out, *importance;
} plan_run;

static void run_ref(const plan_run *r)
{
    float lse[MAX_BRANCHES * NUM_HEADS];
    tree_status status = tree_importance_ref(r->out, lse, r->importance, r->num_slots, r->query, r->parts->key,
                                             r->parts->value, r->parts->norm, r->plan, &r->shape, r->parts->scale);
    check(status == TREE_OK, "%s", tree_status_string(status));
}

static void run_cpu(const plan_run *r)
{
    float lse[MAX_BRANCHES * NUM_HEADS];
    size_t bytes = tree_importance_cpu_workspace_bytes(r->plan, &r->shape, 2);
    void *workspace = aligned_alloc(64, (bytes + 64) & ~(size_t)63);
    check(workspace, "memory");
    tree_status status =
        tree_importance_cpu(r->out, lse, r->importance, r->num_slots, r->query, r->parts->key, r->parts->value,
                            r->parts->norm, r->plan, &r->shape, r->parts->scale, workspace, bytes, 2, TREE_ISA_AUTO);
    free(workspace);
    check(status == TREE_OK, "%s", tree_status_string(status));
}

/* Victims by one plan: victims [count]. */
static void check_plan(const plan_run *r, const truth *truths, const kv_keep *keeps, const kv_table *tables,
                       const uint32_t *positions, double limit, const char *what)
{
    for (uint32_t q = 0; q < r->shape.num_queries; q++) {
        const truth *t = &truths[q];
        uint64_t key =
            check_query(t, r->out + q * QUERY_FLOATS, r->importance + q * r->num_slots, positions + q * r->num_slots,
                        &keeps[q], &tables[q], r->num_slots, r->shape.block_tokens, limit, what);
        double least = INFINITY, chosen = INFINITY;
        for (uint32_t i = 0; i < t->num_tokens; i++) {
            least = fmin(least, t->importance[i]);
            if (t->positions[i] == eviction_key_position(key)) chosen = t->importance[i];
        }
        check(chosen <= least * (1 + 1e-4) + 1e-12, "%s: victim of importance %g, the least is %g", what, chosen,
              least);
    }
}

/* All strategies, both ways to run them, for one query at the end of each branch. */
static void check_plans(eviction_forest *forest, const kv_branch *branches, uint32_t count, const float *query)
{
    eviction_forest_parts parts;
    eviction_forest_get(forest, &parts);
    kv_table tables[MAX_BRANCHES];
    kv_keep keeps[MAX_BRANCHES];
    static truth truths[MAX_BRANCHES];
    check(kv_branch_tables(parts.pool, branches, count, tables) == KV_OK &&
              kv_branch_keeps(parts.pool, branches, count, keeps) == KV_OK,
          "views");
    for (uint32_t q = 0; q < count; q++) find_truth(&truths[q], forest, &parts, branches[q], query + q * QUERY_FLOATS);
    kv_tree *tree;
    kv_status status = kv_tree_build(&tree, tables, count, parts.shape.block_tokens, parts.shape.num_blocks);
    check(status == KV_OK, "%s", kv_status_string(status));
    for (int strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan_config config = {.strategy = (tree_strategy)strategy,
                                   .piece_tokens = strategy == TREE_COST ? 0 : 8,
                                   .max_rows = 3,
                                   .group_size = NUM_HEADS / NUM_KV_HEADS};
        tree_plan *plan;
        tree_status built = tree_plan_build_keep(&plan, tree, &config, keeps, (tree_keep_masks)(strategy % 3));
        check(built == TREE_OK, "%s: %s", tree_strategy_name[strategy], tree_status_string(built));
        plan_run r = {.parts = &parts,
                      .plan = plan,
                      .shape = parts.shape,
                      .query = query,
                      .num_slots = tree_importance_slots(plan)};
        r.shape.num_queries = count;
        r.out = calloc(count * QUERY_FLOATS, sizeof *r.out);
        r.importance = calloc(count * r.num_slots, sizeof *r.importance);
        uint32_t *positions = calloc(count * r.num_slots, sizeof *positions);
        check(r.out && r.importance && positions, "memory");
        for (uint32_t q = 0; q < count; q++)
            for (uint32_t s = 0; s < tables[q].length; s++)
                positions[q * r.num_slots + s] = kv_pool_positions(
                    parts.pool)[tables[q].blocks[s / parts.shape.block_tokens] * parts.shape.block_tokens +
                                s % parts.shape.block_tokens];
        run_ref(&r);
        check_plan(&r, truths, keeps, tables, positions, 1e-6, tree_strategy_name[strategy]);
        run_cpu(&r);
        check_plan(&r, truths, keeps, tables, positions, 1e-5, "the fast path");
        free(r.out);
        free(r.importance);
        free(positions);
        tree_plan_destroy(plan);
    }
    kv_tree_destroy(tree);
}

/* The forest's own step over the same tokens: the victim that the plans find is its victim. */
static void check_step(eviction_forest *forest, const kv_branch *branches, uint32_t count, const float *query,
                       kv_scope scope, uint32_t budget)
{
    static truth before[MAX_BRANCHES];
    static const uint32_t no_tokens[MAX_BRANCHES];
    eviction_forest_parts parts;
    float out[MAX_BRANCHES * QUERY_FLOATS], none[1] = {0};
    eviction_forest_result results[MAX_BRANCHES];
    eviction_forest_get(forest, &parts);
    for (uint32_t q = 0; q < count; q++) find_truth(&before[q], forest, &parts, branches[q], query + q * QUERY_FLOATS);
    check(eviction_forest_step(forest, branches, count, no_tokens, out, query, none, none, results) == KV_OK, "step");
    for (uint32_t q = 0; q < count; q++) {
        check(results[q].status == TREE_OK && results[q].num_tokens == before[q].num_tokens, "the same tokens");
        for (uint32_t i = 0; i < QUERY_FLOATS; i++)
            check(out[q * QUERY_FLOATS + i] == (float)before[q].out[i], "the same output");
        float victim = INFINITY, least = INFINITY;
        for (uint32_t i = 0; i < before[q].num_tokens; i++) {
            least = fminf(least, (float)before[q].importance[i]);
            if (results[q].num_victims == 1 && before[q].positions[i] == results[q].victims[0])
                victim = (float)before[q].importance[i];
        }
        check(scope != KV_SCOPE_MASK || before[q].num_tokens <= budget || victim == least,
              "the least important token goes");
    }
}

static void run_case(const void *argument)
{
    const plan_case *c = argument;
    eviction_forest_config config = {.pool = {.num_blocks = NUM_BLOCKS,
                                              .block_tokens = c->block_tokens,
                                              .max_branches = MAX_BRANCHES,
                                              .order = KV_ORDER_SHUFFLE},
                                     .num_heads = NUM_HEADS,
                                     .num_kv_heads = NUM_KV_HEADS,
                                     .head_dim = HEAD_DIM,
                                     .policy = eviction_policy_from_name("longflow"),
                                     .scope = c->scope,
                                     .budget = c->budget,
                                     .compacts = c->compacts};
    eviction_forest *forest;
    kv_branch branches[MAX_BRANCHES];
    uint32_t count = 1;
    float key[MAX_BRANCHES * TOKEN_FLOATS], value[MAX_BRANCHES * TOKEN_FLOATS], query[MAX_BRANCHES * QUERY_FLOATS];
    check(eviction_forest_create(&forest, &config) == KV_OK && eviction_forest_branch(forest, &branches[0]) == KV_OK,
          "a forest");
    for (uint32_t step = 0; step < 60; step++) {
        float out[MAX_BRANCHES * QUERY_FLOATS];
        eviction_forest_result results[MAX_BRANCHES];
        fill(query, count * QUERY_FLOATS, 2);
        fill(key, count * TOKEN_FLOATS, 1);
        fill(value, count * TOKEN_FLOATS, 1);
        if (step % 12 == 11) { /* append first, so that the plans see the tokens that the step sees */
            for (uint32_t q = 0; q < count; q++)
                check(eviction_forest_append(forest, branches[q], 1, key + q * TOKEN_FLOATS,
                                             value + q * TOKEN_FLOATS) == KV_OK,
                      "append");
            check_plans(forest, branches, count, query);
            check_step(forest, branches, count, query, c->scope, c->budget);
        } else {
            check(eviction_forest_step(forest, branches, count, NULL, out, query, key, value, results) == KV_OK,
                  "step");
        }
        if (step % 7 == 6 && count < MAX_BRANCHES) {
            check(eviction_forest_fork(forest, branches[test_below(count)], &branches[count]) == KV_OK, "fork");
            count++;
        } else if (step % 17 == 16) {
            check(eviction_forest_prune(forest, branches[0]) == KV_OK, "prune");
            branches[0] = branches[--count];
        }
    }
    eviction_forest_parts parts;
    eviction_forest_get(forest, &parts);
    check(parts.counts.evicted_tokens > 50, "%u victims", (unsigned)parts.counts.evicted_tokens);
    eviction_forest_destroy(forest);
}

int main(int argc, char **argv)
{
    static const plan_case cases[] = {{KV_SCOPE_PRIVATE, 24, 4, false}, {KV_SCOPE_PRIVATE, 6, 16, true},
                                      {KV_SCOPE_MASK, 12, 4, false},    {KV_SCOPE_MASK, 20, 2, true},
                                      {KV_SCOPE_VOTE, 12, 4, false},    {KV_SCOPE_VOTE, 16, 1, true}};
    test_begin(argc, argv, "plans over a forest that has evicted give its outputs, importances and victims");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        test_add(run_case, &cases[i], "%s_budget_%u_blocks_of_%u", kv_scope_name[cases[i].scope], cases[i].budget,
                 cases[i].block_tokens);
    return test_end();
}
