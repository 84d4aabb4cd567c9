/* Claim: on the GPU, tokens that a query must not see never reach it, whatever their K and V: NaN, infinity, the
 * largest numbers of the type; and tokens that it sees reach it, and no query that does not see them: NaN, infinite
 * scores, each of two equal needles. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_support.h"
#include "test.h"

enum { MAX_STEPS = 16, NUM_QUERIES_TRIED = 6, NUM_SLOTS_TRIED = 8, NUM_PAIRS = 12 };

/* Tasks with masks and without, of more rows than a tile has, of more tokens than a pipeline holds. */
static const struct tree_size {
    const char *tree;
    uint32_t block_tokens;
    attention_size size;
    uint32_t draft_tokens; /* 0: a query for each table */
} tree_sizes[] = {
    {"1,2,4/19,23,9", 16, {2, 3, 64}, 0},
    {"comb:5", 4, {1, 4, 128}, 0},
    {"1,40/70,3", 16, {1, 4, 64}, 0},
    {"1,3/200,37", 16, {1, 1, 256}, 0},
    {"forked_inside_block", 16, {2, 2, 128}, 0},
    {"1,2/9,20", 4, {1, 5, 64}, 18},
};

enum { NUM_TREES = sizeof tree_sizes / sizeof tree_sizes[0] };

typedef struct decoy_case {
    const struct tree_size *tree;
    tree_storage storage;
} decoy_case;

/* A case on the device, K and V as they were built, and what each step made of them. */
typedef struct setting {
    attention_case c;
    gpu_case gpu;
    tree_plan *plan;
    float *key, *value;
    float *out[MAX_STEPS], *lse[MAX_STEPS];
} setting;

static float *copy_of(const float *array, uint64_t count)
{
    float *copy = malloc((count + 1) * sizeof *copy);
    check(copy, "%llu floats", (unsigned long long)count);
    memcpy(copy, array, count * sizeof *copy);
    return copy;
}

static void set_up(setting *s, const decoy_case *one, bool share_queries)
{
    const struct tree_size *tree = one->tree;
    const attention_backend *backend = storage_backend(one->storage);
    need_gpu();
    check(tree_gpu_num_steps <= MAX_STEPS, "room for all steps");
    memset(s, 0, sizeof *s);
    if (tree->draft_tokens)
        attention_case_build_drafts(&s->c, backend, tree->tree, tree->block_tokens, tree->size, tree->draft_tokens);
    else
        attention_case_build(&s->c, backend, tree->tree, tree->block_tokens, tree->size);
    if (share_queries)
        attention_share_queries(&s->c);
    s->key = copy_of(s->c.key, s->c.num_kv);
    s->value = copy_of(s->c.value, s->c.num_kv);
    gpu_case_create(&s->gpu, &s->c);
}

static void restore(setting *s)
{
    memcpy(s->c.key, s->key, s->c.num_kv * sizeof *s->key);
    memcpy(s->c.value, s->value, s->c.num_kv * sizeof *s->value);
}

static void forget_results(setting *s)
{
    for (uint32_t step = 0; step < MAX_STEPS; step++) {
        free(s->out[step]);
        free(s->lse[step]);
        s->out[step] = s->lse[step] = NULL;
    }
}

static void tear_down(setting *s)
{
    forget_results(s);
    tree_plan_destroy(s->plan);
    gpu_case_destroy(&s->gpu);
    attention_case_free(&s->c);
    free(s->key);
    free(s->value);
}

/* K and V as they were built, the plan of a strategy on the device. */
static void set_strategy(setting *s, tree_strategy strategy)
{
    tree_plan_destroy(s->plan);
    s->plan = attention_plan(&s->c, strategy, 0, 0);
    gpu_case_plan(&s->gpu, s->plan);
    restore(s);
}

/* What each step makes of K and V as they are now. */
static void keep_results(setting *s)
{
    forget_results(s);
    gpu_case_upload(&s->gpu);
    for (uint32_t step = 0; step < tree_gpu_num_steps; step++) {
        if (!takes_storage(&tree_gpu_steps[step], s->c.shape.storage))
            continue;
        gpu_case_run(&s->gpu, &tree_gpu_steps[step]);
        s->out[step] = copy_of(s->gpu.h_out, s->c.num_out);
        s->lse[step] = copy_of(s->gpu.h_lse, s->c.num_lse);
    }
}

/* One element of one token, of one KV head. */
typedef struct planted {
    uint64_t slot;
    uint32_t kv_head, element;
    enum { KEY_NAN, VALUE_NAN, SCORE_PLUS_INFINITY, NUM_PLANTED } what;
} planted;

static const char *const planted_name[NUM_PLANTED] = {"nan_in_a_key", "nan_in_a_value", "score_of_plus_infinity"};

static void check_row_kept(const setting *s, uint32_t step, uint64_t row, const char *what)
{
    uint64_t dim = s->c.shape.head_dim;
    check_same_bits(s->gpu.h_out + row * dim, s->out[step] + row * dim, dim, what);
    check_same_bits(s->gpu.h_lse + row, s->lse[step] + row, 1, what);
}

/* ---- what must not be seen ---- */

static float fill_value(uint32_t filling, tree_storage storage)
{
    const float huge = storage == TREE_FP16 ? 60000 : 3e38f, fillings[] = {NAN, INFINITY, huge};
    return fillings[filling];
}

static void check_unseen(setting *s, uint32_t query, float filling, tree_strategy strategy)
{
    char what[100];
    restore(s);
    attention_fill_unseen(&s->c, query, filling);
    gpu_case_upload(&s->gpu);
    for (uint32_t step = 0; step < tree_gpu_num_steps; step++) {
        if (!takes_storage(&tree_gpu_steps[step], s->c.shape.storage))
            continue;
        snprintf(what, sizeof what, "%s %s query %u between %g", tree_gpu_steps[step].name,
                 tree_strategy_name[strategy], query, (double)filling);
        gpu_case_run(&s->gpu, &tree_gpu_steps[step]);
        for (uint32_t h = 0; h < s->c.shape.num_heads; h++)
            check_row_kept(s, step, (uint64_t)query * s->c.shape.num_heads + h, what);
    }
}

/* The tokens of other branches, and slots that are not in use. */
static void run_unseen(const decoy_case *one)
{
    setting s;
    set_up(&s, one, false);
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        uint32_t num_queries = s.c.shape.num_queries, first = test_below(num_queries);
        set_strategy(&s, strategy);
        keep_results(&s);
        for (uint32_t i = 0; i < num_queries && i < NUM_QUERIES_TRIED; i++) {
            for (uint32_t filling = 0; filling < 3; filling++)
                check_unseen(&s, (first + i) % num_queries, fill_value(filling, s.c.shape.storage), strategy);
        }
    }
    tear_down(&s);
}

/* ---- what must be seen ---- */

/* The nth place to try: the first token of all, the last, then any token of any node. */
static uint64_t visible_slot(const attention_case *c, uint32_t n)
{
    const kv_tree *tree = c->tree;
    uint32_t last = tree->num_nodes - 1, index = n == 0 ? 0 : n == 1 ? last : test_below(tree->num_nodes);
    const kv_node *node = &tree->nodes[index];
    uint32_t token = n == 0 ? 0 : n == 1 ? node->num_tokens - 1 : test_below(node->num_tokens);
    uint32_t at = node->first_slot + token;
    uint64_t block = tree->blocks[node->first_block + at / tree->block_tokens];
    return block * tree->block_tokens + at % tree->block_tokens;
}

/* An element in which the shared queries of a KV head are above 0. */
static uint32_t positive_element(const attention_case *c, uint32_t kv_head)
{
    const float *q = attention_query(c, 0, kv_head * (c->shape.num_heads / c->shape.num_kv_heads));
    uint32_t element = test_below(c->shape.head_dim);
    for (uint32_t i = 0; i < c->shape.head_dim && !(q[element] > 0.1f); i++)
        element = (element + 1) % c->shape.head_dim;
    check(q[element] > 0.1f, "a query with an element above 0");
    return element;
}

static void plant(setting *s, const planted *p)
{
    float *key = attention_key(&s->c, p->slot, p->kv_head), *value = attention_value(&s->c, p->slot, p->kv_head);
    restore(s);
    if (p->what == VALUE_NAN)
        value[p->element] = NAN;
    else
        key[p->element] = p->what == KEY_NAN ? NAN : INFINITY;
    gpu_case_upload(&s->gpu);
}

/* A NaN in a value is one in its element alone; in a score it is one everywhere. */
static void check_row_reached(const setting *s, uint32_t step, uint64_t row, const planted *p, const char *what)
{
    uint32_t dim = s->c.shape.head_dim;
    const float *out = s->gpu.h_out + row * dim, *kept = s->out[step] + row * dim;
    for (uint32_t d = 0; d < dim; d++) {
        if (p->what == VALUE_NAN && d != p->element)
            check_same_bits(&out[d], &kept[d], 1, what);
        else
            check(isnan(out[d]), "%s: out[%u] is %g", what, d, (double)out[d]);
    }
    if (p->what == VALUE_NAN)
        check_same_bits(&s->gpu.h_lse[row], &s->lse[step][row], 1, what);
    else
        check(isnan(s->gpu.h_lse[row]), "%s: lse is %g", what, (double)s->gpu.h_lse[row]);
}

static void check_planted(setting *s, const planted *p, tree_strategy strategy)
{
    const tree_shape *shape = &s->c.shape;
    plant(s, p);
    for (uint32_t step = 0; step < tree_gpu_num_steps; step++) {
        uint32_t num_reached = 0;
        if (!takes_storage(&tree_gpu_steps[step], shape->storage))
            continue;
        gpu_case_run(&s->gpu, &tree_gpu_steps[step]);
        for (uint32_t i = 0; i < shape->num_queries * shape->num_heads; i++) {
            char what[120];
            uint32_t query = i / shape->num_heads, head = i % shape->num_heads;
            bool sees = head / (shape->num_heads / shape->num_kv_heads) == p->kv_head
                        && query_sees(&s->c, query, p->slot);
            snprintf(what, sizeof what, "%s %s query %u head %u, which %s %s in slot %llu", tree_gpu_steps[step].name,
                     tree_strategy_name[strategy], query, head, sees ? "sees" : "does not see", planted_name[p->what],
                     (unsigned long long)p->slot);
            num_reached += sees;
            if (sees)
                check_row_reached(s, step, i, p, what);
            else
                check_row_kept(s, step, i, what);
        }
        check(num_reached > 0, "a query sees slot %llu", (unsigned long long)p->slot);
    }
}

static void run_planted(const decoy_case *one, int what)
{
    setting s;
    set_up(&s, one, what == SCORE_PLUS_INFINITY);
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        set_strategy(&s, strategy);
        keep_results(&s);
        for (uint32_t n = 0; n < NUM_SLOTS_TRIED; n++) {
            planted p = {visible_slot(&s.c, n), test_below(s.c.shape.num_kv_heads), 0, what};
            p.element = test_below(s.c.shape.head_dim);
            if (what == SCORE_PLUS_INFINITY)
                p.element = positive_element(&s.c, p.kv_head);
            check_planted(&s, &p, strategy);
        }
    }
    tear_down(&s);
}

static void run_key_nan(const decoy_case *one) { run_planted(one, KEY_NAN); }
static void run_value_nan(const decoy_case *one) { run_planted(one, VALUE_NAN); }
static void run_plus_infinity(const decoy_case *one) { run_planted(one, SCORE_PLUS_INFINITY); }

/* ---- scores of -infinity: no tokens ---- */

/* All tokens of a path after the first `skipped`. */
static void set_key_elements(setting *s, uint32_t query, uint64_t skipped, float element)
{
    for (uint32_t kv_head = 0; kv_head < s->c.shape.num_kv_heads; kv_head++) {
        uint32_t d = positive_element(&s->c, kv_head);
        for (uint64_t i = s->c.paths.first[query] + skipped; i < s->c.paths.first[query + 1]; i++)
            attention_key(&s->c, s->c.paths.slots[i], kv_head)[d] = element;
    }
}

/* A token that scores so low that it weighs 0 is no token either: the same bits. */
static void run_minus_infinity(const decoy_case *one)
{
    setting s;
    set_up(&s, one, true);
    uint32_t query = s.c.shape.num_queries - 1;
    uint64_t length = s.c.paths.first[query + 1] - s.c.paths.first[query];
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        set_strategy(&s, strategy);
        set_key_elements(&s, query, length / 2, -60000);
        keep_results(&s);
        restore(&s);
        set_key_elements(&s, query, length / 2, -INFINITY);
        gpu_case_upload(&s.gpu);
        for (uint32_t step = 0; step < tree_gpu_num_steps; step++) {
            if (!takes_storage(&tree_gpu_steps[step], s.c.shape.storage))
                continue;
            gpu_case_run(&s.gpu, &tree_gpu_steps[step]);
            check_same_bits(s.gpu.h_out, s.out[step], s.c.num_out, tree_gpu_steps[step].name);
            check_same_bits(s.gpu.h_lse, s.lse[step], s.c.num_lse, tree_gpu_steps[step].name);
        }
    }
    tear_down(&s);
}

static void check_nothing_seen(const setting *s, uint32_t query, const char *what)
{
    uint64_t num_heads = s->c.shape.num_heads, elements = num_heads * s->c.shape.head_dim;
    for (uint64_t i = 0; i < elements; i++)
        check(s->gpu.h_out[query * elements + i] == 0, "%s: out is %g", what,
              (double)s->gpu.h_out[query * elements + i]);
    for (uint64_t h = 0; h < num_heads; h++)
        check(s->gpu.h_lse[query * num_heads + h] == -INFINITY, "%s: lse is %g", what,
              (double)s->gpu.h_lse[query * num_heads + h]);
}

static void run_nothing_but_minus_infinity(const decoy_case *one)
{
    setting s;
    set_up(&s, one, true);
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        uint32_t query = test_below(s.c.shape.num_queries);
        set_strategy(&s, strategy);
        set_key_elements(&s, query, 0, -INFINITY);
        gpu_case_upload(&s.gpu);
        for (uint32_t step = 0; step < tree_gpu_num_steps; step++) {
            if (!takes_storage(&tree_gpu_steps[step], s.c.shape.storage))
                continue;
            gpu_case_run(&s.gpu, &tree_gpu_steps[step]);
            check_nothing_seen(&s, query, tree_gpu_steps[step].name);
        }
    }
    tear_down(&s);
}

/* ---- two equal needles ---- */

typedef struct twins {
    uint64_t slot[2];
    double score;      /* of both, about */
    uint32_t found[3]; /* queries that see none of them, one, both */
} twins;

static void check_twin_row(const setting *s, const twins *t, uint64_t row, const bool sees[2], const char *what)
{
    uint32_t dim = s->c.shape.head_dim, num_heads = s->c.shape.num_heads;
    uint32_t kv_head = (uint32_t)(row % num_heads) / (num_heads / s->c.shape.num_kv_heads);
    double tolerance = fmax(1e-4, 4 * storage_roundoff(s->c.shape.storage)), lse = (double)s->gpu.h_lse[row];
    if (!sees[0] && !sees[1]) {
        check(lse < t->score / 2, "%s: lse %g", what, lse);
        return;
    }
    check(fabs(lse - t->score - (sees[0] && sees[1] ? log(2) : 0)) < 0.25, "%s: lse %g", what, lse);
    for (uint32_t d = 0; d < dim; d++) {
        double mean = 0, got = (double)s->gpu.h_out[row * dim + d], size = 1;
        for (int i = 0; i < 2; i++) {
            double value = (double)attention_value(&s->c, t->slot[i], kv_head)[d];
            mean += sees[i] ? value / (sees[0] + sees[1]) : 0;
            size += fabs(value);
        }
        check(fabs(got - mean) <= tolerance * size, "%s: out[%u] is %g, the mean is %g", what, d, got, mean);
    }
}

static void check_twins(setting *s, twins *t, tree_strategy strategy)
{
    const tree_shape *shape = &s->c.shape;
    restore(s);
    for (int i = 0; i < 2; i++)
        attention_lift_key(&s->c, t->slot[i], (float)t->score);
    gpu_case_upload(&s->gpu);
    for (uint32_t step = 0; step < tree_gpu_num_steps; step++) {
        if (!takes_storage(&tree_gpu_steps[step], shape->storage))
            continue;
        gpu_case_run(&s->gpu, &tree_gpu_steps[step]);
        for (uint32_t query = 0; query < shape->num_queries; query++) {
            bool sees[2] = {query_sees(&s->c, query, t->slot[0]), query_sees(&s->c, query, t->slot[1])};
            char what[120];
            snprintf(what, sizeof what, "%s %s query %u, twins in slots %llu (%s) and %llu (%s)",
                     tree_gpu_steps[step].name, tree_strategy_name[strategy], query, (unsigned long long)t->slot[0],
                     sees[0] ? "seen" : "not seen", (unsigned long long)t->slot[1], sees[1] ? "seen" : "not seen");
            t->found[sees[0] + sees[1]]++;
            for (uint32_t h = 0; h < shape->num_heads; h++)
                check_twin_row(s, t, (uint64_t)query * shape->num_heads + h, sees, what);
        }
    }
}

/* On one branch or on two, before a fork or behind it. */
static void run_twins(const decoy_case *one)
{
    setting s;
    twins t = {.score = 100};
    set_up(&s, one, true);
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        set_strategy(&s, strategy);
        for (uint32_t i = 0; i < NUM_PAIRS; i++) {
            t.slot[0] = visible_slot(&s.c, i);
            t.slot[1] = visible_slot(&s.c, 2);
            if (t.slot[0] != t.slot[1])
                check_twins(&s, &t, strategy);
        }
    }
    check(t.found[0] && t.found[1] && t.found[2], "queries that see none, one, both: %u %u %u", t.found[0], t.found[1],
          t.found[2]);
    tear_down(&s);
}

/* ---- all of it, with each storage type ---- */

static const struct decoy_body {
    const char *name;
    void (*run)(const decoy_case *one);
} bodies[] = {
    {"unseen", run_unseen},
    {"nan_in_a_key", run_key_nan},
    {"nan_in_a_value", run_value_nan},
    {"score_of_plus_infinity", run_plus_infinity},
    {"score_of_minus_infinity", run_minus_infinity},
    {"nothing_but_minus_infinity", run_nothing_but_minus_infinity},
    {"twin_needles", run_twins},
};

enum { NUM_BODIES = sizeof bodies / sizeof bodies[0] };

typedef struct decoy_test {
    const struct decoy_body *body;
    const struct tree_size *tree;
} decoy_test;

static void run_storages(const void *argument)
{
    const decoy_test *test = argument;
    for (tree_storage storage = TREE_FP32; storage <= TREE_BF16; storage++) {
        const decoy_case one = {test->tree, storage};
        test_note("%s", storage_name[storage]);
        test->body->run(&one);
    }
}

int main(int argc, char **argv)
{
    static decoy_test tests[NUM_BODIES * NUM_TREES];
    test_begin(argc, argv, "on the GPU, tokens reach the queries that see them and no other query");
    for (uint32_t i = 0; i < NUM_BODIES * NUM_TREES; i++) {
        tests[i] = (decoy_test){&bodies[i / NUM_TREES], &tree_sizes[i % NUM_TREES]};
        test_add(run_storages, &tests[i], "%s_%s", tests[i].body->name, tests[i].tree->tree);
    }
    return test_end();
}
