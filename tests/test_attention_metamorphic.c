/* Claim: a change of the input that must not change the result does not, and one that must change it does so exactly.
 * The same attention is computed in two ways: with equal bits where the plan is the same or cuts at the same positions,
 * within the limit otherwise. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_model.h"
#include "test.h"

static const tree_strategy strategies[] = {TREE_FLASH, TREE_FLASH_DECODING, TREE_RADIX, TREE_TREE_MASK,
                                           TREE_NODE, TREE_NODE_CHUNK, TREE_FLATTEN, TREE_COST};
static const attention_size size = {2, 3, 24};
enum { PIECE = 24 };

static float *new_floats(uint64_t count)
{
    float *array = malloc((count + 1) * sizeof *array);
    check(array, "memory");
    for (uint64_t i = 0; i < count; i++)
        array[i] = NAN;
    return array;
}

static attention_result run_strategy(const attention_case *c, tree_strategy strategy)
{
    tree_plan *plan = attention_plan(c, strategy, PIECE, 0);
    attention_result result = attention_run(c, plan);
    tree_plan_destroy(plan);
    return result;
}

/* The same branches over other tables and other K and V; queries are the case's. */
typedef struct variant {
    attention_case c;
    kv_table *tables;
    uint32_t *blocks; /* table after table */
} variant;

static variant variant_create(const attention_case *c, uint32_t num_blocks)
{
    uint64_t num_entries = 0;
    variant v = {.c = *c};
    v.tables = malloc(c->num_tables * sizeof *v.tables);
    for (uint32_t i = 0; i < c->num_tables; i++)
        num_entries += 2 * (uint64_t)c->grown.tables[i].num_blocks + 1;
    v.blocks = calloc(num_entries + 1, sizeof *v.blocks);
    check(v.tables && v.blocks, "memory");
    memcpy(v.tables, c->grown.tables, c->num_tables * sizeof *v.tables);
    v.c.shape.num_blocks = num_blocks;
    v.c.num_kv = tree_kv_offset(&v.c.shape, num_blocks, 0, 0);
    v.c.key = new_floats(v.c.num_kv);
    v.c.value = new_floats(v.c.num_kv);
    return v;
}

static void variant_build(variant *v)
{
    kv_status status = kv_tree_build(&v->c.tree, v->tables, v->c.num_tables, v->c.shape.block_tokens,
                                     v->c.shape.num_blocks);
    check(status == KV_OK, "%s", kv_status_string(status));
}

static void variant_free(variant *v)
{
    kv_tree_destroy(v->c.tree);
    free(v->tables);
    free(v->blocks);
    free(v->c.key);
    free(v->c.value);
}

static void copy_slot(const attention_case *to, uint64_t to_slot, const attention_case *from, uint64_t from_slot)
{
    for (uint32_t h = 0; h < from->shape.num_kv_heads; h++) {
        memcpy(attention_key(to, to_slot, h), attention_key(from, from_slot, h), from->shape.head_dim * sizeof(float));
        memcpy(attention_value(to, to_slot, h), attention_value(from, from_slot, h),
               from->shape.head_dim * sizeof(float));
    }
}

static uint64_t slot_of(const kv_table *table, uint32_t t, uint32_t block_tokens)
{
    return (uint64_t)table->blocks[t / block_tokens] * block_tokens + t % block_tokens;
}

static void check_same(const attention_case *c, const attention_result *a, const attention_result *b, const char *what)
{
    check_same_bits(a->out.data, b->out.data, c->num_out, what);
    check_same_bits(a->lse.data, b->lse.data, c->num_lse, what);
}

static void run_again(const attention_backend *backend, const void *argument)
{
    attention_case c;
    attention_case_build(&c, backend, "comb:5", 16, size);
    tree_plan *plan = attention_plan(&c, *(const tree_strategy *)argument, PIECE, 0);
    attention_result first = attention_run(&c, plan);
    for (uint32_t threads = 1; threads <= 5; threads++) {
        attention_backend other = *backend;
        other.num_threads = threads;
        c.backend = &other;
        attention_result again = attention_run(&c, plan);
        check_same(&c, &again, &first, "the same plan, any number of threads");
        attention_result_free(&again);
    }
    attention_result_free(&first);
    tree_plan_destroy(plan);
    c.backend = backend;
    attention_case_free(&c);
}

static void run_other_blocks(const attention_backend *backend, const void *argument)
{
    attention_case c;
    attention_case_build(&c, backend, "comb:5", 16, size);
    variant v = variant_create(&c, c.shape.num_blocks);
    uint32_t *renamed = calloc(c.shape.num_blocks, sizeof *renamed), *next = v.blocks;
    check(renamed, "memory");
    for (uint32_t i = 0; i < c.shape.num_blocks; i++) {
        uint32_t other = test_below(i + 1);
        renamed[i] = renamed[other];
        renamed[other] = i;
    }
    for (uint32_t i = 0; i < c.num_tables; i++) {
        v.tables[i].blocks = next;
        for (uint32_t b = 0; b < c.grown.tables[i].num_blocks; b++)
            *next++ = renamed[c.grown.tables[i].blocks[b]];
    }
    uint64_t num_slots = (uint64_t)c.shape.num_blocks * 16;
    for (uint64_t slot = 0; slot < num_slots; slot++)
        copy_slot(&v.c, renamed[slot / 16] * (uint64_t)16 + slot % 16, &c, slot);
    variant_build(&v);
    attention_result here = run_strategy(&c, *(const tree_strategy *)argument);
    attention_result there = run_strategy(&v.c, *(const tree_strategy *)argument);
    check_same(&c, &there, &here, "the same tokens in other blocks");
    attention_result_free(&here);
    attention_result_free(&there);
    free(renamed);
    variant_free(&v);
    attention_case_free(&c);
}

/* The heads of each group in reverse order: so are their results. */
static void run_heads_permuted(const attention_backend *backend, const void *argument)
{
    attention_case c;
    attention_case_build(&c, backend, "comb:5", 16, size);
    attention_case other = c;
    uint32_t dim = size.head_dim, group = size.group_size;
    other.query = new_floats(c.num_out);
    attention_result plain = run_strategy(&c, *(const tree_strategy *)argument);
    for (uint64_t row = 0; row < c.num_lse; row++) {
        uint64_t mirrored = row / group * group + group - 1 - row % group;
        memcpy(other.query + mirrored * dim, c.query + row * dim, dim * sizeof(float));
    }
    attention_result permuted = run_strategy(&other, *(const tree_strategy *)argument);
    for (uint64_t row = 0; row < c.num_lse; row++) {
        uint64_t mirrored = row / group * group + group - 1 - row % group;
        check_same_bits(permuted.out.data + mirrored * dim, plain.out.data + row * dim, dim, "permuted heads");
    }
    attention_result_free(&plain);
    attention_result_free(&permuted);
    free(other.query);
    attention_case_free(&c);
}

static void run_scaled_values(const attention_backend *backend, const void *argument)
{
    const float factors[] = {8, 0.125f, -2};
    attention_case c;
    attention_case_build(&c, backend, "comb:5", 16, size);
    for (uint64_t i = 0; i < c.num_kv; i++) /* no denormals of fp16 after the division */
        c.value[i] = fabsf(c.value[i]) < 0.01f ? 0.01171875f : c.value[i];
    attention_result plain = run_strategy(&c, *(const tree_strategy *)argument);
    for (int f = 0; f < 3; f++) {
        for (uint64_t i = 0; i < c.num_kv; i++)
            c.value[i] *= factors[f];
        attention_result scaled = run_strategy(&c, *(const tree_strategy *)argument);
        for (uint64_t i = 0; i < c.num_out; i++)
            check(scaled.out.data[i] == plain.out.data[i] * factors[f], "V times %g: %.9g from %.9g", factors[f],
                  scaled.out.data[i], plain.out.data[i]);
        check_same_bits(scaled.lse.data, plain.lse.data, c.num_lse, "lse knows no values");
        for (uint64_t i = 0; i < c.num_kv; i++)
            c.value[i] /= factors[f];
        attention_result_free(&scaled);
    }
    attention_result_free(&plain);
    attention_case_free(&c);
}

static bool fixed_cuts(tree_strategy strategy)
{
    return strategy == TREE_FLASH || strategy == TREE_FLASH_DECODING;
}

/* Tables, and their queries, last to first. */
static void run_branches_permuted(const attention_backend *backend, const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    attention_case c;
    attention_case_build(&c, backend, "comb:5", 16, size);
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    attention_result plain = run_strategy(&c, strategy);
    variant v = variant_create(&c, c.shape.num_blocks);
    uint64_t elements = c.num_out / c.num_tables, heads = c.shape.num_heads;
    memcpy(v.c.key, c.key, c.num_kv * sizeof *c.key);
    memcpy(v.c.value, c.value, c.num_kv * sizeof *c.value);
    v.c.query = new_floats(c.num_out);
    for (uint32_t i = 0; i < c.num_tables; i++) {
        uint32_t mirrored = c.num_tables - 1 - i;
        v.tables[mirrored] = c.grown.tables[i];
        memcpy(v.c.query + mirrored * elements, c.query + i * elements, elements * sizeof(float));
    }
    variant_build(&v);
    attention_result result = run_strategy(&v.c, strategy);
    attention_result back = {guarded_create(c.num_out), guarded_create(c.num_lse)};
    for (uint32_t i = 0; i < c.num_tables; i++) {
        uint32_t mirrored = c.num_tables - 1 - i;
        memcpy(back.out.data + i * elements, result.out.data + mirrored * elements, elements * sizeof(float));
        memcpy(back.lse.data + i * heads, result.lse.data + mirrored * heads, heads * sizeof(float));
    }
    check_attention(back.out.data, back.lse.data, &truth, &backend->u, "branches permuted");
    if (fixed_cuts(strategy))
        check_same(&c, &back, &plain, "branches permuted");
    attention_result_free(&plain);
    attention_result_free(&result);
    attention_result_free(&back);
    free(v.c.query);
    variant_free(&v);
    attention_truth_destroy(&truth);
    attention_case_free(&c);
}

/* Fewer and fewer tables have queries, down to one: the results of those that stay do not change. */
static void run_siblings_pruned(const attention_backend *backend, const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    attention_case c;
    attention_case_build(&c, backend, "comb:5", 16, size);
    attention_result all = run_strategy(&c, strategy);
    for (uint32_t num_tables = c.num_tables - 1; num_tables > 0; num_tables--) {
        attention_case_narrow(&c, num_tables);
        attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
        attention_result fewer = run_strategy(&c, strategy);
        check_attention(fewer.out.data, fewer.lse.data, &truth, &backend->u, "siblings pruned");
        if (fixed_cuts(strategy))
            check_same(&c, &fewer, &all, "siblings pruned");
        attention_truth_destroy(&truth);
        attention_result_free(&fewer);
    }
    attention_result_free(&all);
    attention_case_free(&c);
}

/* Every branch with blocks of its own, each token `copies` times in a row. */
static variant unshare(const attention_case *c, uint32_t copies)
{
    uint32_t num_blocks = 0, block_tokens = c->shape.block_tokens;
    for (uint32_t i = 0; i < c->num_tables; i++)
        num_blocks += (c->grown.tables[i].length * copies + block_tokens - 1) / block_tokens;
    variant v = variant_create(c, num_blocks);
    uint32_t *next = v.blocks, block = 0;
    for (uint32_t i = 0; i < c->num_tables; i++) {
        uint32_t length = c->grown.tables[i].length * copies;
        v.tables[i] = (kv_table){next, (length + block_tokens - 1) / block_tokens, length, i + 1};
        for (uint32_t b = 0; b < v.tables[i].num_blocks; b++)
            *next++ = block++;
        for (uint32_t t = 0; t < length; t++)
            copy_slot(&v.c, slot_of(&v.tables[i], t, block_tokens), c,
                      slot_of(&c->grown.tables[i], t / copies, block_tokens));
    }
    variant_build(&v);
    return v;
}

static void run_stored_once_or_often(const attention_backend *backend, const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    attention_case c;
    attention_case_build(&c, backend, "comb:5", 16, size);
    variant v = unshare(&c, 1);
    check(v.c.tree->unique_tokens == c.tree->path_tokens, "nothing is shared");
    check(c.tree->unique_tokens < c.tree->path_tokens, "something was");
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    attention_result shared = run_strategy(&c, strategy), often = run_strategy(&v.c, strategy);
    check_attention(often.out.data, often.lse.data, &truth, &backend->u, "prefixes stored for each branch");
    if (fixed_cuts(strategy))
        check_same(&c, &often, &shared, "prefixes stored for each branch");
    attention_result_free(&shared);
    attention_result_free(&often);
    attention_truth_destroy(&truth);
    variant_free(&v);
    attention_case_free(&c);
}

static void run_tokens_doubled(const attention_backend *backend, const void *argument)
{
    attention_case c;
    attention_case_build(&c, backend, "comb:4", 16, size);
    variant v = unshare(&c, 2);
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    for (uint64_t row = 0; row < c.num_lse; row++)
        truth.lse[row] += log(2);
    attention_result twice = run_strategy(&v.c, *(const tree_strategy *)argument);
    check_attention(twice.out.data, twice.lse.data, &truth, &backend->u, "every token twice: lse + ln 2");
    attention_result_free(&twice);
    attention_truth_destroy(&truth);
    variant_free(&v);
    attention_case_free(&c);
}

/* A spare feature: 1 in the query, `shift` in every key. */
static void run_scores_shifted(const attention_backend *backend, const void *argument)
{
    const float shifts[] = {1, -16, 512};
    attention_case c;
    attention_case_build(&c, backend, "comb:4", 16, size);
    uint32_t dim = size.head_dim;
    for (uint64_t row = 0; row < c.num_lse; row++)
        c.query[row * dim] = 1;
    for (uint64_t i = 0; i < c.num_kv; i += dim)
        c.key[i] = 0;
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    for (int s = 0; s < 3; s++) {
        for (uint64_t i = 0; i < c.num_kv; i += dim)
            c.key[i] = shifts[s];
        for (uint64_t row = 0; row < c.num_lse; row++) {
            truth.lse[row] += (double)c.scale * shifts[s];
            truth.score[row] += fabs((double)c.scale * shifts[s]);
            truth.typical_score[row] += fabs((double)c.scale * shifts[s]);
        }
        attention_result shifted = run_strategy(&c, *(const tree_strategy *)argument);
        check_attention(shifted.out.data, shifted.lse.data, &truth, &backend->u, "every score shifted");
        attention_result_free(&shifted);
        for (uint64_t row = 0; row < c.num_lse; row++) {
            truth.lse[row] -= (double)c.scale * shifts[s];
            truth.score[row] -= fabs((double)c.scale * shifts[s]);
            truth.typical_score[row] -= fabs((double)c.scale * shifts[s]);
        }
    }
    attention_truth_destroy(&truth);
    attention_case_free(&c);
}

/* A KV head for each head, equal within a group: grouped-query attention spelled out. */
static void run_kv_heads_repeated(const attention_backend *backend, const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    attention_case c;
    attention_case_build(&c, backend, "comb:5", 16, size);
    attention_case other = c;
    other.shape.num_kv_heads = c.shape.num_heads;
    other.num_kv = tree_kv_offset(&other.shape, other.shape.num_blocks, 0, 0);
    other.key = new_floats(other.num_kv);
    other.value = new_floats(other.num_kv);
    for (uint64_t slot = 0; slot < (uint64_t)c.shape.num_blocks * 16; slot++) {
        for (uint32_t h = 0; h < c.shape.num_heads; h++) {
            size_t bytes = size.head_dim * sizeof(float);
            memcpy(attention_key(&other, slot, h), attention_key(&c, slot, h / size.group_size), bytes);
            memcpy(attention_value(&other, slot, h), attention_value(&c, slot, h / size.group_size), bytes);
        }
    }
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    attention_result grouped = run_strategy(&c, strategy), repeated = run_strategy(&other, strategy);
    check_attention(repeated.out.data, repeated.lse.data, &truth, &backend->u, "KV heads repeated");
    if (fixed_cuts(strategy))
        check_same(&c, &repeated, &grouped, "KV heads repeated");
    attention_result_free(&grouped);
    attention_result_free(&repeated);
    attention_truth_destroy(&truth);
    free(other.key);
    free(other.value);
    attention_case_free(&c);
}

/* Tokens are appended, with the block copy that this needs, written and truncated again: the result is the same. */
static void run_tokens_rejected(const attention_backend *backend, const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    attention_case c;
    attention_case_build(&c, backend, "star:3", 16, size);
    kv_branch child;
    kv_append append;
    uint32_t length = c.grown.tables[0].length;
    check(kv_branch_fork(c.grown.pool, c.grown.branches[0], &child) == KV_OK, "fork");
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    attention_result before = run_strategy(&c, strategy);
    check(kv_branch_append(c.grown.pool, c.grown.branches[0], 21, &append) == KV_OK, "append");
    for (uint32_t i = 0; i < append.copy.num_tokens; i++)
        copy_slot(&c, append.copy.to_block * (uint64_t)16 + i, &c, append.copy.from_block * (uint64_t)16 + i);
    tree_case_refresh(&c.grown);
    for (uint32_t t = length; t < length + 21; t++)
        attention_key(&c, slot_of(&c.grown.tables[0], t, 16), 0)[0] = NAN;
    check(kv_branch_truncate(c.grown.pool, c.grown.branches[0], length) == KV_OK, "truncate");
    tree_case_refresh(&c.grown);
    attention_case_narrow(&c, c.num_tables);
    attention_result after = run_strategy(&c, strategy);
    check_attention(after.out.data, after.lse.data, &truth, &backend->u, "tokens rejected");
    if (fixed_cuts(strategy))
        check_same(&c, &after, &before, "tokens rejected");
    check(kv_branch_prune(c.grown.pool, child) == KV_OK, "prune");
    attention_result_free(&before);
    attention_result_free(&after);
    attention_truth_destroy(&truth);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        attention_body *body;
    } relations[] = {
        {"run_again_with_more_threads", run_again},
        {"other_physical_blocks", run_other_blocks},
        {"heads_of_a_group_permuted", run_heads_permuted},
        {"values_times_a_power_of_two", run_scaled_values},
        {"branches_permuted", run_branches_permuted},
        {"siblings_pruned", run_siblings_pruned},
        {"prefix_stored_once_or_often", run_stored_once_or_often},
        {"every_token_twice", run_tokens_doubled},
        {"every_score_shifted", run_scores_shifted},
        {"kv_heads_repeated", run_kv_heads_repeated},
        {"tokens_rejected", run_tokens_rejected},
    };
    test_begin(argc, argv, "a change that must not matter does not, and one that must matter does so exactly");
    for (size_t r = 0; r < sizeof relations / sizeof relations[0]; r++) {
        for (uint32_t s = 0; s < TREE_NUM_STRATEGIES; s++)
            attention_add(relations[r].body, &strategies[s], "%s_%s", relations[r].name, tree_strategy_name[s]);
    }
    return test_end();
}
