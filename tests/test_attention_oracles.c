/* Claim: no token is lost, counted twice, exchanged or invented. The data have an exactly known result: a needle and
 * twins at every position, a count, constant values, a single token, no token, and a NaN in one key. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_model.h"
#include "test.h"

static const char comb[] = "comb:4";

static uint64_t row_elements(const attention_case *c)
{
    return (uint64_t)c->shape.num_heads * c->shape.head_dim;
}

static bool query_sees(const attention_case *c, uint32_t q, uint64_t slot)
{
    for (uint64_t i = c->paths.first[q]; i < c->paths.first[q + 1]; i++) {
        if (c->paths.slots[i] == slot)
            return true;
    }
    return false;
}

/* Every slot that a query sees, once. Returns how many. */
static uint64_t visible_slots(const attention_case *c, uint64_t **slots)
{
    uint64_t num_slots = (uint64_t)c->shape.num_blocks * c->shape.block_tokens, count = 0;
    *slots = malloc((num_slots + 1) * sizeof **slots);
    check(*slots, "memory");
    for (uint64_t slot = 0; slot < num_slots; slot++) {
        for (uint32_t q = 0; q < c->shape.num_queries; q++) {
            if (query_sees(c, q, slot)) {
                (*slots)[count++] = slot;
                break;
            }
        }
    }
    return count;
}

typedef struct saved_slot {
    uint64_t slot;
    float *rows; /* K and V of every KV head */
} saved_slot;

static void copy_slot(const attention_case *c, saved_slot *saved, bool restore)
{
    uint32_t dim = c->shape.head_dim;
    for (uint32_t h = 0; h < c->shape.num_kv_heads; h++) {
        float *key = attention_key(c, saved->slot, h), *value = attention_value(c, saved->slot, h);
        float *key_row = saved->rows + 2 * h * dim, *value_row = key_row + dim;
        memcpy(restore ? key : key_row, restore ? key_row : key, dim * sizeof *key);
        memcpy(restore ? value : value_row, restore ? value_row : value, dim * sizeof *value);
    }
}

static saved_slot save_slot(const attention_case *c, uint64_t slot)
{
    saved_slot saved = {slot, malloc(2 * c->shape.num_kv_heads * c->shape.head_dim * sizeof(float))};
    check(saved.rows, "memory");
    copy_slot(c, &saved, false);
    return saved;
}

static void restore_slot(const attention_case *c, saved_slot *saved)
{
    copy_slot(c, saved, true);
    free(saved->rows);
}

/* The key at one slot scores 100, all others a few: a query that sees it returns its value, bit for bit; the result of
 * every other query does not change by a bit. */
static void run_needle(const attention_backend *backend, const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    attention_case c;
    attention_case_build(&c, backend, comb, 16, (attention_size){2, 2, 32});
    attention_share_queries(&c);
    attention_fill_unseen(&c, KV_NONE, NAN);
    tree_plan *plan = attention_plan(&c, strategy, 24, 0);
    attention_result clean = attention_run(&c, plan);
    uint64_t *slots, num_slots = visible_slots(&c, &slots), found = 0;
    for (uint64_t i = 0; i < num_slots; i++) {
        saved_slot saved = save_slot(&c, slots[i]);
        attention_lift_key(&c, slots[i], 100);
        attention_result result = attention_run(&c, plan);
        for (uint32_t q = 0; q < c.shape.num_queries; q++) {
            bool sees = query_sees(&c, q, slots[i]);
            found += sees;
            for (uint32_t h = 0; h < c.shape.num_heads; h++) {
                uint64_t first = q * row_elements(&c) + (uint64_t)h * c.shape.head_dim;
                const float *row = attention_value(&c, slots[i], h / (c.shape.num_heads / c.shape.num_kv_heads));
                check_same_bits(result.out.data + first, sees ? row : clean.out.data + first, c.shape.head_dim,
                                sees ? "the needle's value" : "a query that does not see the needle");
            }
        }
        attention_result_free(&result);
        restore_slot(&c, &saved);
    }
    test_note("%u positions", (unsigned)num_slots);
    check(found == c.tree->path_tokens, "each position of each path was once the needle");
    free(slots);
    attention_result_free(&clean);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

/* Two keys of one query's path score 100, with values 1 and 0: out is one half exactly. */
static void run_twins(const attention_backend *backend, const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    attention_case c;
    attention_case_build(&c, backend, comb, 16, (attention_size){1, 2, 32});
    attention_share_queries(&c);
    tree_plan *plan = attention_plan(&c, strategy, 24, 0);
    uint32_t q = c.shape.num_queries - 1, dim = c.shape.head_dim;
    const uint64_t *path = c.paths.slots + c.paths.first[q];
    uint64_t length = c.paths.first[q + 1] - c.paths.first[q];
    for (uint64_t t = 0; t < length; t++) {
        saved_slot twin[2] = {save_slot(&c, path[t]), save_slot(&c, path[(t + length / 2) % length])};
        for (int i = 0; i < 2; i++) {
            attention_lift_key(&c, twin[i].slot, 100);
            for (uint32_t d = 0; d < dim; d++)
                attention_value(&c, twin[i].slot, 0)[d] = i == 0;
        }
        attention_result result = attention_run(&c, plan);
        for (uint64_t i = 0; i < row_elements(&c); i++) {
            float out = result.out.data[q * row_elements(&c) + i];
            check(out == 0.5f, "twins at %u and half the path on: %.9g", (unsigned)t, out);
        }
        attention_result_free(&result);
        restore_slot(&c, &twin[1]);
        restore_slot(&c, &twin[0]);
    }
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

/* Query 0: every weight is 1, so lse is the logarithm of the number of tokens. */
static void run_count(const attention_backend *backend, const void *argument)
{
    static const char *const trees[] = {"one_token", "star:5", "chain:6", "comb:5", "ragged", "forked_inside_block"};
    tree_strategy strategy = *(const tree_strategy *)argument;
    for (int i = 0; i < 6; i++) {
        attention_case c;
        attention_case_build(&c, backend, trees[i], i % 2 ? 16 : 4, (attention_size){1, 2, 16});
        memset(c.query, 0, c.num_out * sizeof *c.query);
        attention_fill_unseen(&c, KV_NONE, NAN);
        tree_plan *plan = attention_plan(&c, strategy, 0, 0);
        attention_result result = attention_run(&c, plan);
        for (uint64_t row = 0; row < c.num_lse; row++) {
            uint64_t q = row / c.shape.num_heads, length = c.paths.first[q + 1] - c.paths.first[q];
            double limit = 0x1p-24 * log((double)length) + 4 * 0x1p-24 * (1 + log((double)length));
            check(length < 50000 && fabs(result.lse.data[row] - log((double)length)) <= limit,
                  "%s query %u: lse %.9g for ln %u", trees[i], (unsigned)q, result.lse.data[row], (unsigned)length);
        }
        attention_result_free(&result);
        tree_plan_destroy(plan);
        attention_case_free(&c);
    }
}

/* V of KV head h is h + 1 everywhere: each head returns the constant of its own. */
static void run_constant(const attention_backend *backend, const void *unused)
{
    (void)unused;
    static const uint32_t group_sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20, 24, 71};
    for (size_t i = 0; i < sizeof group_sizes / sizeof group_sizes[0]; i++) {
        attention_case c;
        attention_case_build(&c, backend, "1,2/9,9", 4, (attention_size){3, group_sizes[i], 8});
        for (uint64_t e = 0; e < c.num_kv; e++)
            c.value[e] = (float)(e / c.shape.head_dim / c.shape.block_tokens % 3 + 1);
        tree_plan *plan = attention_plan(&c, (tree_strategy)(i % TREE_NUM_STRATEGIES), 5, 0);
        attention_result result = attention_run(&c, plan);
        for (uint64_t e = 0; e < c.num_out; e++) {
            float constant = (float)(e / c.shape.head_dim % c.shape.num_heads / group_sizes[i] + 1);
            double limit = (backend->u.out + backend->u.weight + 16 * backend->u.sum) * constant;
            check(fabs(result.out.data[e] - constant) <= limit, "group size %u: %.9g for %g", group_sizes[i],
                  result.out.data[e], constant);
        }
        attention_result_free(&result);
        tree_plan_destroy(plan);
        attention_case_free(&c);
    }
}

static void run_single_token(const attention_backend *backend, const void *unused)
{
    (void)unused;
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        attention_case c;
        attention_case_build(&c, backend, "one_token", 16, (attention_size){2, 3, 40});
        attention_fill_unseen(&c, KV_NONE, NAN);
        tree_plan *plan = attention_plan(&c, strategy, 0, 0);
        attention_result result = attention_run(&c, plan);
        for (uint32_t h = 0; h < 6; h++)
            check_same_bits(result.out.data + h * 40, attention_value(&c, c.paths.slots[0], h / 3), 40,
                            "the value of the only token");
        attention_result_free(&result);
        tree_plan_destroy(plan);
        attention_case_free(&c);
    }
}

static void check_nothing(const attention_case *c, const attention_result *result, uint32_t q)
{
    for (uint64_t i = 0; i < row_elements(c); i++)
        check(result->out.data[q * row_elements(c) + i] == 0, "query %u sees nothing: out 0", q);
    for (uint32_t h = 0; h < c->shape.num_heads; h++)
        check(result->lse.data[q * c->shape.num_heads + h] == -INFINITY, "query %u sees nothing: lse -infinity", q);
}

static void run_empty_branch(const attention_backend *backend, const void *unused)
{
    (void)unused;
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        attention_case c;
        uint32_t num_empty = 0;
        attention_case_build(&c, backend, "empty_branch", 16, (attention_size){2, 2, 24});
        attention_fill_unseen(&c, KV_NONE, NAN);
        tree_plan *plan = attention_plan(&c, strategy, 0, 0);
        attention_result result = attention_run(&c, plan);
        for (uint32_t q = 0; q < c.shape.num_queries; q++) {
            if (c.paths.first[q] == c.paths.first[q + 1]) {
                check_nothing(&c, &result, q);
                num_empty++;
            }
        }
        check(num_empty > 0 && num_empty < c.shape.num_queries, "some branches are empty, some are not");
        attention_result_free(&result);
        tree_plan_destroy(plan);
        attention_case_free(&c);
    }
}

/* Branches that were emptied, all of them: no item, and yet everything is written. */
static void run_all_empty(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, backend, "star:3", 16, (attention_size){2, 2, 24});
    for (uint32_t i = 0; i < c.grown.num_branches; i++)
        check(kv_branch_truncate(c.grown.pool, c.grown.branches[i], 0) == KV_OK, "truncate");
    tree_case_refresh(&c.grown);
    attention_case_narrow(&c, 3);
    attention_fill_unseen(&c, KV_NONE, NAN);
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(&c, strategy, 0, 0);
        attention_result result = attention_run(&c, plan);
        for (uint32_t q = 0; q < 3; q++)
            check_nothing(&c, &result, q);
        attention_result_free(&result);
        tree_plan_destroy(plan);
    }
    attention_case_free(&c);
}

typedef enum stain { STAIN_KEY, STAIN_VALUE } stain;

/* A NaN in one key makes every element NaN for the branches that see it and the heads that read it, in one value that
 * element; the others are what they were. */
static void run_visible_nan(const attention_backend *backend, const void *argument)
{
    stain where = *(const stain *)argument;
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        attention_case c;
        attention_case_build(&c, backend, "comb:3", 16, (attention_size){2, 2, 20});
        tree_plan *plan = attention_plan(&c, strategy, 0, 0);
        attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
        uint64_t *slots, num_slots = visible_slots(&c, &slots);
        for (uint64_t i = 0; i < num_slots; i += 7) {
            uint32_t kv_head = (uint32_t)(i % 2), stained = (uint32_t)(i % 20), num_nan = 0;
            saved_slot saved = save_slot(&c, slots[i]);
            (where == STAIN_KEY ? attention_key : attention_value)(&c, slots[i], kv_head)[stained] = NAN;
            attention_result result = attention_run(&c, plan);
            for (uint64_t e = 0; e < c.num_out; e++) {
                uint64_t row = e / 20, q = row / 4;
                bool reads = row % 4 / 2 == kv_head && query_sees(&c, (uint32_t)q, slots[i]);
                bool wanted = reads && (where == STAIN_KEY || e % 20 == stained);
                float out = result.out.data[e];
                check(isnan(out) == wanted, "%s: NaN at slot %u, query %u head %u element %u: %g",
                      tree_strategy_name[strategy], (unsigned)slots[i], (unsigned)q, (unsigned)(row % 4),
                      (unsigned)(e % 20), out);
                check(wanted || fabs(out - truth.out[e]) <= out_limit(&truth, e, &backend->u),
                      "%s: a neighbour of the NaN", tree_strategy_name[strategy]);
                check(isnan(result.lse.data[row]) == (reads && where == STAIN_KEY), "lse of query %u", (unsigned)q);
                num_nan += wanted;
            }
            check(num_nan > 0, "some query sees the NaN");
            attention_result_free(&result);
            restore_slot(&c, &saved);
        }
        free(slots);
        attention_truth_destroy(&truth);
        tree_plan_destroy(plan);
        attention_case_free(&c);
    }
}

int main(int argc, char **argv)
{
    static const tree_strategy strategies[] = {TREE_FLASH, TREE_FLASH_DECODING, TREE_RADIX, TREE_TREE_MASK,
                                               TREE_NODE, TREE_NODE_CHUNK, TREE_FLATTEN, TREE_COST};
    static const stain stains[] = {STAIN_KEY, STAIN_VALUE};
    test_begin(argc, argv, "not one token is lost, counted twice, exchanged or invented");
    for (uint32_t s = 0; s < TREE_NUM_STRATEGIES; s++) {
        attention_add_one_storage(run_needle, &strategies[s], s, "needle_%s", tree_strategy_name[s]);
        attention_add_one_storage(run_twins, &strategies[s], s + 1, "twins_%s", tree_strategy_name[s]);
        attention_add_one_storage(run_count, &strategies[s], s + 2, "count_%s", tree_strategy_name[s]);
    }
    attention_add(run_constant, NULL, "constant_value_of_each_kv_head");
    attention_add(run_single_token, NULL, "single_token");
    attention_add(run_empty_branch, NULL, "empty_branch");
    attention_add(run_all_empty, NULL, "all_branches_empty");
    attention_add(run_visible_nan, &stains[0], "nan_in_a_visible_key");
    attention_add(run_visible_nan, &stains[1], "nan_in_a_visible_value");
    return test_end();
}
