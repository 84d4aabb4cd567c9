/* Claim: under every plan, each query gets the attention over its own path, within the derived limit, and no token that
 * the query does not see has any influence. Every strategy, tree, group size, head_dim, block size and storage type
 * meets each value of the others. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_model.h"
#include "test.h"

static const char *const specs[] = {
    "one_token", "full_block", "partial_last_block", "star:5", "chain:5", "comb:5", "binary:3", "ragged",
    "empty_branch", "forked_inside_block", "forest", "random:7", "1,3,9/20,7,5",
};
static const uint32_t group_sizes[] = {1, 3, 4, 5, 7, 8, 71};
static const uint32_t head_dims[] = {1, 64, 80, 128, 256};
static const uint32_t block_sizes[] = {1, 16, 256};

enum { NUM_SPECS = sizeof specs / sizeof specs[0], NUM_CASES = NUM_SPECS * TREE_NUM_STRATEGIES };

typedef struct strategy_case {
    uint32_t spec, strategy, group, dim, block, storage;
} strategy_case;

static strategy_case cases[NUM_CASES];

/* Strides without a common divisor with the lists' lengths, so that all pairs meet: run_pairs counts them. */
static void fill_cases(void)
{
    for (uint32_t i = 0; i < NUM_CASES; i++) {
        uint32_t spec = i / TREE_NUM_STRATEGIES, strategy = i % TREE_NUM_STRATEGIES;
        cases[i] = (strategy_case){spec, strategy, (3 * spec + strategy) % 7, (spec + 2 * strategy) % 5,
                                   (spec + strategy) % 3, (spec + 2 * strategy) % 3};
    }
}

static void run_pairs(const void *unused)
{
    (void)unused;
    enum { NUM_FACTORS = 6 };
    const uint32_t sizes[NUM_FACTORS] = {NUM_SPECS, TREE_NUM_STRATEGIES, 7, 5, 3, 3};
    static bool met[NUM_FACTORS][NUM_FACTORS][16][16];
    for (uint32_t i = 0; i < NUM_CASES; i++) {
        const uint32_t value[NUM_FACTORS] = {cases[i].spec, cases[i].strategy, cases[i].group,
                                             cases[i].dim,  cases[i].block,    cases[i].storage};
        for (int a = 0; a < NUM_FACTORS; a++) {
            for (int b = 0; b < NUM_FACTORS; b++)
                met[a][b][value[a]][value[b]] = true;
        }
    }
    for (int a = 0; a < NUM_FACTORS; a++) {
        for (int b = a + 1; b < NUM_FACTORS; b++) {
            for (uint32_t x = 0; x < sizes[a]; x++) {
                for (uint32_t y = 0; y < sizes[b]; y++)
                    check(met[a][b][x][y], "factors %d and %d meet in values %u and %u", a, b, x, y);
            }
        }
    }
}

/* Long paths and wide groups multiply: one KV head for those. */
static attention_size size_of(const strategy_case *one)
{
    uint32_t group_size = group_sizes[one->group];
    return (attention_size){group_size < 5 ? 2 : 1, group_size, head_dims[one->dim]};
}

static void run_strategy(const attention_backend *backend, const void *argument)
{
    const strategy_case *one = argument;
    const float fillings[] = {NAN, INFINITY, backend->storage == TREE_FP16 ? 65504 : 1e30f};
    attention_case c;
    attention_case_build_small(&c, backend, specs[one->spec], block_sizes[one->block], size_of(one), 1500000);
    tree_plan *plan = attention_plan(&c, (tree_strategy)one->strategy, 0, 0);
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);

    attention_result clean = attention_run(&c, plan);
    double worst = check_attention(clean.out.data, clean.lse.data, &truth, &backend->u, "against the truth");
    for (int i = 0; i < (TEST_SANITIZED ? 1 : 3); i++) {
        attention_fill_unseen(&c, KV_NONE, fillings[i]);
        attention_result poisoned = attention_run(&c, plan);
        check_same_bits(poisoned.out.data, clean.out.data, c.num_out, "out with poison in every unseen slot");
        check_same_bits(poisoned.lse.data, clean.lse.data, c.num_lse, "lse with poison in every unseen slot");
        attention_result_free(&poisoned);
    }
    test_note("%s heads %u/%u head_dim %u items %u partials %u worst error/limit %.2g", c.grown.name,
              c.shape.num_heads, c.shape.num_kv_heads, c.shape.head_dim, plan->num_items, plan->num_partials, worst);
    attention_result_free(&clean);
    attention_truth_destroy(&truth);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

/* Query q's rows of `result` are those of `clean`, bit by bit. */
static void check_query(const attention_case *c, uint32_t q, const attention_result *result,
                        const attention_result *clean, const attention_truth *truth)
{
    uint64_t heads = c->shape.num_heads, elements = heads * c->shape.head_dim;
    float *out = result->out.data, *lse = result->lse.data;
    check_same_bits(out + q * elements, clean->out.data + q * elements, elements, "out of the clean query");
    check_same_bits(lse + q * heads, clean->lse.data + q * heads, heads, "lse of the clean query");
    for (uint64_t i = 0; i < c->num_out; i++)
        out[i] = i / elements == q ? out[i] : clean->out.data[i];
    for (uint64_t i = 0; i < c->num_lse; i++)
        lse[i] = i / heads == q ? lse[i] : clean->lse.data[i];
    check_attention(out, lse, truth, &c->backend->u, "the clean query");
}

/* Tokens that other rows of the same item see: each query in turn is the only one whose tokens are clean. The poison
 * of the others changes no bit of its result. */
static void run_strangers(const attention_backend *backend, const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    const char *const trees[] = {"comb:4", "forest", "1,3,9/20,7,5", "1,5/40,61"};
    const float fillings[] = {NAN, INFINITY, -INFINITY, backend->storage == TREE_FP16 ? 65504 : 1e30f};
    uint64_t masked_pairs = 0;
    for (int i = 0; i < 4; i++) {
        attention_case c;
        attention_case_build(&c, backend, trees[i], 16, (attention_size){2, 2, 16});
        tree_plan *plan = attention_plan(&c, strategy, 32, 0);
        attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
        attention_result clean = attention_run(&c, plan);
        float *key = malloc(c.num_kv * sizeof *key), *value = malloc(c.num_kv * sizeof *value);
        check(key && value, "memory");
        memcpy(key, c.key, c.num_kv * sizeof *key);
        memcpy(value, c.value, c.num_kv * sizeof *value);
        for (uint32_t q = 0; q < c.shape.num_queries; q++) {
            attention_fill_unseen(&c, q, fillings[q % 4]);
            attention_result poisoned = attention_run(&c, plan);
            check_query(&c, q, &poisoned, &clean, &truth);
            attention_result_free(&poisoned);
            memcpy(c.key, key, c.num_kv * sizeof *key);
            memcpy(c.value, value, c.num_kv * sizeof *value);
        }
        masked_pairs += plan->masked_pairs;
        free(key);
        free(value);
        attention_result_free(&clean);
        attention_truth_destroy(&truth);
        tree_plan_destroy(plan);
        attention_case_free(&c);
    }
    check(masked_pairs > 0 || (strategy != TREE_TREE_MASK && strategy != TREE_FLATTEN), "masks took part");
}

/* Branches without a query lie in the pool beside those that have one. */
static void run_other_branches(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, backend, "comb:6", 16, (attention_size){2, 3, 24});
    attention_case_narrow(&c, 3);
    attention_fill_unseen(&c, KV_NONE, NAN);
    attention_check_strategies(&c);
    attention_case_free(&c);
}

/* The result does not depend on where a strategy cuts and how many rows it joins. */
static void run_cuts(const attention_backend *backend, const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    const uint32_t pieces[] = {1, 2, 7, 15, 16, 17, 64, 100000};
    uint32_t most_partials = 0;
    attention_case c;
    attention_case_build(&c, backend, "comb:5", 16, (attention_size){1, 4, 32});
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    for (uint32_t i = 0; i < 8; i++) {
        tree_plan *plan = attention_plan(&c, strategy, pieces[i], i % 3);
        attention_result result = attention_run(&c, plan);
        check_attention(result.out.data, result.lse.data, &truth, &backend->u, "cut differently");
        most_partials = plan->num_partials > most_partials ? plan->num_partials : most_partials;
        attention_result_free(&result);
        tree_plan_destroy(plan);
    }
    test_note("up to %u partial states", most_partials);
    check(most_partials > c.shape.num_queries || strategy == TREE_FLASH || strategy == TREE_TREE_MASK,
          "partial states were merged");
    attention_truth_destroy(&truth);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    static const tree_strategy strategies[] = {TREE_FLASH, TREE_FLASH_DECODING, TREE_RADIX, TREE_TREE_MASK,
                                               TREE_NODE, TREE_NODE_CHUNK, TREE_FLATTEN, TREE_COST};
    test_begin(argc, argv, "every plan over the same blocks gives each query the attention over its own path");
    fill_cases();
    test_add(run_pairs, NULL, "all_pairs_meet");
    for (uint32_t i = 0; i < NUM_CASES; i++) {
        char spec[64];
        strcpy(spec, specs[cases[i].spec]);
        for (char *p = spec; *p; p++)
            *p = strchr(":,/", *p) ? '_' : *p;
        attention_add_one_storage(run_strategy, &cases[i], cases[i].storage, "%s_agrees_on_%s",
                                  tree_strategy_name[cases[i].strategy], spec);
    }
    for (uint32_t s = 0; s < TREE_NUM_STRATEGIES; s++) {
        attention_add(run_strangers, &strategies[s], "%s_tokens_of_strangers", tree_strategy_name[s]);
        attention_add(run_cuts, &strategies[s], "%s_cut_anywhere", tree_strategy_name[s]);
    }
    attention_add(run_other_branches, NULL, "branches_without_a_query");
    return test_end();
}
