/* Claim: over branches that have evicted tokens, every strategy gives each query the attention over the tokens that it
 * keeps, within the derived limit; evicted tokens have no influence, whatever they hold; a query that keeps no token of
 * an item merges an empty state; and the place of a token in its block changes no more than rounding. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_model.h"
#include "keep_model.h"
#include "test.h"

static tree_plan_config config_of(const attention_case *c, tree_strategy strategy, uint32_t piece_tokens)
{
    return (tree_plan_config){.strategy = strategy, .piece_tokens = piece_tokens, .num_workers = 4,
                              .group_size = c->shape.num_heads / c->shape.num_kv_heads};
}

/* K and V of the case, to be restored. */
typedef struct saved_kv {
    float *key, *value;
} saved_kv;

static saved_kv save_kv(const attention_case *c)
{
    saved_kv saved = {malloc((c->num_kv + 1) * sizeof(float)), malloc((c->num_kv + 1) * sizeof(float))};
    check(saved.key && saved.value, "memory");
    memcpy(saved.key, c->key, c->num_kv * sizeof(float));
    memcpy(saved.value, c->value, c->num_kv * sizeof(float));
    return saved;
}

static void restore_kv(attention_case *c, const saved_kv *saved)
{
    memcpy(c->key, saved->key, c->num_kv * sizeof(float));
    memcpy(c->value, saved->value, c->num_kv * sizeof(float));
}

static void free_kv(saved_kv *saved)
{
    free(saved->key);
    free(saved->value);
}

/* Poison in every slot that no query keeps, then in every slot that one query does not keep: the first changes no bit
 * of any result, the second none of that query's. */
static void check_poison(attention_case *c, const tree_plan *plan, const attention_result *clean)
{
    const float fillings[] = {NAN, INFINITY, -INFINITY, c->shape.storage == TREE_FP16 ? 65504 : 1e30f};
    uint64_t heads = c->shape.num_heads, elements = heads * c->shape.head_dim;
    saved_kv saved = save_kv(c);
    for (int i = 0; i < 4; i++) {
        uint32_t q = test_below(c->shape.num_queries);
        attention_fill_unseen(c, KV_NONE, fillings[i]);
        attention_result result = attention_run(c, plan);
        check_same_bits(result.out.data, clean->out.data, c->num_out, "out with poison in evicted slots");
        check_same_bits(result.lse.data, clean->lse.data, c->num_lse, "lse with poison in evicted slots");
        attention_result_free(&result);
        attention_fill_unseen(c, q, fillings[i]);
        result = attention_run(c, plan);
        check_same_bits(result.out.data + q * elements, clean->out.data + q * elements, elements, "out of one query");
        check_same_bits(result.lse.data + q * heads, clean->lse.data + q * heads, heads, "lse of one query");
        attention_result_free(&result);
        restore_kv(c, &saved);
    }
    free_kv(&saved);
}

static const char *const specs[] = {"comb:4", "1,3,9/20,7,5", "star:5", "forked_inside_block", "forest", "ragged"};
enum { NUM_SPECS = sizeof specs / sizeof specs[0] };

static void run_random(const attention_backend *backend, const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    double worst = 0;
    for (uint32_t i = 0; i < NUM_SPECS; i++) {
        attention_case c;
        attention_case_build_small(&c, backend, specs[i], i % 2 ? 4 : 16, (attention_size){1 + i % 2, 1 + i, 16},
                                   60000);
        keep_set set = keep_set_create(c.tree);
        keep_evict_random(&set, 20 + 12 * i, false);
        keep_filter_paths(&c.paths, &set);
        tree_plan *plan = keep_plan(&set, config_of(&c, strategy, 32), (tree_keep_masks)(i % 3));
        attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
        attention_result clean = attention_run(&c, plan);
        worst = fmax(worst, check_attention(clean.out.data, clean.lse.data, &truth, &backend->u, specs[i]));
        check_poison(&c, plan, &clean);
        attention_result_free(&clean);
        attention_truth_destroy(&truth);
        tree_plan_destroy(plan);
        keep_set_free(&set);
        attention_case_free(&c);
    }
    test_note("worst error/limit %.2g", worst);
}

/* Query 0 keeps no token of the prefix, query 1 none of its own, query 2 none at all. Evicted slots hold NaN. */
static void run_nothing_left(const attention_backend *backend, const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    attention_case c;
    attention_case_build(&c, backend, "1,4/40,23", 16, (attention_size){2, 3, 24});
    keep_set set = keep_set_create(c.tree);
    for (uint32_t slot = 0; slot < keep_length(c.tree, 2); slot++) {
        if (slot < 40)
            keep_evict(&set, 0, slot);
        else
            keep_evict(&set, 1, slot);
        keep_evict(&set, 2, slot);
    }
    keep_filter_paths(&c.paths, &set);
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    attention_fill_unseen(&c, KV_NONE, NAN);
    tree_plan *plan = keep_plan(&set, config_of(&c, strategy, 16), TREE_KEEP_NEEDED);
    attention_result result = attention_run(&c, plan);
    check_attention(result.out.data, result.lse.data, &truth, &backend->u, "tokens are left");
    uint64_t heads = c.shape.num_heads, elements = heads * c.shape.head_dim;
    for (uint64_t i = 2 * elements; i < 3 * elements; i++)
        check(result.out.data[i] == 0, "no token is left, and out is %g", (double)result.out.data[i]);
    for (uint64_t i = 2 * heads; i < 3 * heads; i++)
        check(result.lse.data[i] == -INFINITY, "no token is left, and lse is %g", (double)result.lse.data[i]);
    attention_result_free(&result);
    tree_plan_destroy(plan);
    attention_truth_destroy(&truth);
    keep_set_free(&set);
    attention_case_free(&c);
}

/* ---- slots ---- */

static void exchange(float *a, float *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        float swap = a[i];
        a[i] = b[i];
        b[i] = swap;
    }
}

/* Exchanges the tokens of two slots of a block: K, V, and the keep bits of every query below the node. */
static void exchange_slots(attention_case *c, keep_set *set, const kv_node *node, uint32_t a, uint32_t b)
{
    uint32_t block_tokens = c->shape.block_tokens, at = node->first_slot + a, to = node->first_slot + b;
    uint64_t block = c->tree->blocks[node->first_block + at / block_tokens];
    for (uint32_t kv_head = 0; kv_head < c->shape.num_kv_heads; kv_head++) {
        uint64_t from = block * block_tokens + at % block_tokens, into = block * block_tokens + to % block_tokens;
        exchange(attention_key(c, from, kv_head), attention_key(c, into, kv_head), c->shape.head_dim);
        exchange(attention_value(c, from, kv_head), attention_value(c, into, kv_head), c->shape.head_dim);
    }
    for (uint32_t row = node->first_row; row < node->first_row + node->num_rows; row++) {
        uint32_t q = c->tree->rows[row], slot_a = node->first_token + a, slot_b = node->first_token + b;
        bool keeps_a = kv_keep_slot(&set->keeps[q], block_tokens, slot_a);
        bool keeps_b = kv_keep_slot(&set->keeps[q], block_tokens, slot_b);
        if (keeps_a == keeps_b)
            continue;
        keep_evict(set, q, keeps_a ? slot_a : slot_b);
        keep_take_hole(set, q, keeps_a ? slot_b : slot_a);
    }
}

static void permute_slots(attention_case *c, keep_set *set)
{
    uint32_t block_tokens = c->shape.block_tokens, num_moved = 0;
    for (uint32_t n = 0; n < c->tree->num_nodes; n++) {
        const kv_node *node = &c->tree->nodes[n];
        for (uint32_t t = 1; t < node->num_tokens; t++) {
            uint32_t in_block = (node->first_slot + t) % block_tokens, below = in_block < t ? in_block : t;
            uint32_t other = t - test_below(below + 1);
            if (other != t)
                exchange_slots(c, set, node, t, other);
            num_moved += other != t;
        }
    }
    check(num_moved > 10, "%u tokens moved", num_moved);
}

static void run_permuted(const attention_backend *backend, const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    attention_case c;
    attention_case_build(&c, backend, "1,3,6/37,11,9", 16, (attention_size){1, 4, 16});
    keep_set set = keep_set_create(c.tree);
    keep_evict_random(&set, 40, false);
    keep_filter_paths(&c.paths, &set);
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    for (int i = 0; i < 2; i++) {
        tree_plan *plan = keep_plan(&set, config_of(&c, strategy, 16), TREE_KEEP_PRIVATE);
        attention_result result = attention_run(&c, plan);
        check_attention(result.out.data, result.lse.data, &truth, &backend->u, i ? "permuted" : "in order");
        attention_result_free(&result);
        tree_plan_destroy(plan);
        if (i == 0)
            permute_slots(&c, &set);
    }
    attention_truth_destroy(&truth);
    keep_set_free(&set);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    static tree_strategy strategies[TREE_NUM_STRATEGIES];
    test_begin(argc, argv, "every plan gives each query the attention over the tokens that it keeps");
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++) {
        strategies[s] = (tree_strategy)s;
        attention_add(run_random, &strategies[s], "%s_over_kept_tokens", tree_strategy_name[s]);
        attention_add(run_nothing_left, &strategies[s], "%s_where_nothing_is_left", tree_strategy_name[s]);
        attention_add(run_permuted, &strategies[s], "%s_slots_permuted", tree_strategy_name[s]);
    }
    return test_end();
}
