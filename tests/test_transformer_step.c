/* Claim: a step that cannot be done says so and changes nothing: too few blocks, a full context, a bad token, a branch
 * named twice or pruned, an attention of the caller's that fails; afterwards the branches go on with the same logits.
 * 200 unrelated branches step at once as each does alone; the caller's attention sees the step that the transformer's
 * own would; counts are those of plans built apart. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "importance.h"
#include "test.h"
#include "traffic.h"
#include "transformer_forest_model.h"
#include "tree_importance.h"
#include "tree_importance_cpu.h"

enum { V = 26, MOST = 200 };

typedef struct bench {
    weights_file file;
    model_weights *weights;
    kv_pool *pool;
    transformer *t;
    kv_branch branches[MOST];
    float logits[MOST][V];
} bench;

static void set_up(bench *b, const transformer_config *config, uint32_t num_blocks, uint32_t block_tokens)
{
    memset(b, 0, sizeof *b);
    b->file = weights_file_random(&forest_shape);
    check(model_weights_parse(&b->weights, b->file.bytes, b->file.num_bytes, NULL, 0) == MODEL_OK, "weights");
    kv_pool_config pool = {.num_blocks = num_blocks, .block_tokens = block_tokens};
    check(kv_pool_create(&b->pool, &pool) == KV_OK, "pool");
    check(transformer_create(&b->t, b->weights, b->pool, config) == MODEL_OK, "transformer");
    check(kv_branch_create(b->pool, &b->branches[0]) == KV_OK, "a root");
}

static void tear_down(bench *b)
{
    transformer_destroy(b->t);
    kv_pool_destroy(b->pool, true, NULL);
    model_weights_destroy(b->weights);
    weights_file_destroy(&b->file);
}

static transformer_config plain(void)
{
    return (transformer_config){.plan.strategy = TREE_NODE, .reference = true, .num_threads = 1};
}

static void must_step(bench *b, const kv_branch *branches, const uint32_t *tokens, uint32_t count, float *logits)
{
    model_status status = transformer_step(b->t, branches, tokens, count, logits);
    check(status == MODEL_OK, "step: %s", model_status_string(status));
}

static void append_text(bench *b, kv_branch branch, uint32_t count, uint32_t first)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t token = (first + 7 * i) % V;
        must_step(b, &branch, &token, 1, b->logits[0]);
    }
}

static char *dump(const kv_pool *pool)
{
    size_t bytes = kv_pool_dump(pool, NULL, 0);
    char *text = malloc(bytes);
    check(text, "memory");
    kv_pool_dump(pool, text, bytes);
    return text;
}

/* The refused step of `count` branches leaves the pool's dump and the logits of a later step as they would be. */
static void check_refused(bench *b, const kv_branch *branches, const uint32_t *tokens, uint32_t count,
                          model_status wanted)
{
    char *before = dump(b->pool);
    float logits[9 * V], untouched = 12345;
    for (uint32_t i = 0; i < 9 * V; i++)
        logits[i] = untouched;
    model_status status = transformer_step(b->t, branches, tokens, count, logits);
    check(status == wanted, "%s, not %s", model_status_string(status), model_status_string(wanted));
    char *after = dump(b->pool);
    check(!strcmp(before, after), "the pool has not changed");
    for (uint32_t i = 0; i < 9 * V; i++)
        check(logits[i] == untouched, "no logits are written");
    free(before);
    free(after);
}

static void run_refusals(const void *argument)
{
    (void)argument;
    bench b;
    transformer_config config = plain();
    config.max_branches = 3;
    set_up(&b, &config, 8, 4); /* 8 blocks */
    append_text(&b, b.branches[0], 6, 3);
    for (int i = 1; i < 5; i++)
        check(kv_branch_fork(b.pool, b.branches[0], &b.branches[i]) == KV_OK, "fork");
    float *expected = b.logits[8];
    kv_branch copy;
    check(transformer_copy_branch(b.t, b.branches[0], &copy) == MODEL_OK, "a copy takes 2 blocks");
    must_step(&b, &copy, &(uint32_t){5}, 1, expected);

    static const uint32_t tokens[5] = {5, 6, 7, 8, 9}, bad[3] = {5, V, 7};
    check_refused(&b, b.branches, bad, 3, MODEL_INVAL);
    check_refused(&b, b.branches, tokens, 4, MODEL_INVAL); /* more than max_branches */
    check_refused(&b, (kv_branch[]){b.branches[0], b.branches[1], b.branches[0]}, tokens, 3, MODEL_INVAL);
    check_refused(&b, (kv_branch[]){b.branches[0], 0, b.branches[1]}, tokens, 3, MODEL_STALE);
    kv_branch pruned = b.branches[4];
    check(kv_branch_prune(b.pool, pruned) == KV_OK, "prune");
    check_refused(&b, (kv_branch[]){b.branches[0], pruned}, tokens, 2, MODEL_STALE);
    check_refused(&b, b.branches, tokens, 0, MODEL_OK);

    /* 2 shared blocks and 2 of the copy: a branch that takes the last 4 leaves none for the others' own last blocks. */
    kv_branch large;
    kv_append append;
    check(kv_branch_create(b.pool, &large) == KV_OK && kv_branch_append(b.pool, large, 16, &append) == KV_OK, "large");
    check_refused(&b, b.branches, tokens, 3, MODEL_NOBLOCKS);
    check(transformer_copy_branch(b.t, b.branches[0], &copy) == MODEL_NOBLOCKS, "no blocks for a copy");
    check(transformer_copy_branch(b.t, pruned, &copy) == MODEL_STALE, "no copy of a dead branch");
    check(kv_branch_prune(b.pool, large) == KV_OK, "prune the large one");
    must_step(&b, b.branches, tokens, 3, b.logits[0]);
    check(!memcmp(b.logits[0], expected, V * sizeof(float)), "the logits of the copy, bit for bit");
    tear_down(&b);
}

static void run_context(const void *argument)
{
    (void)argument;
    bench b;
    transformer_config config = plain();
    set_up(&b, &config, 40, 4);
    append_text(&b, b.branches[0], forest_shape.context - 1, 1);
    check(kv_branch_create(b.pool, &b.branches[1]) == KV_OK, "another root");
    static const uint32_t tokens[2] = {1, 2};
    must_step(&b, b.branches, tokens, 2, b.logits[0]);
    check_refused(&b, b.branches, tokens, 2, MODEL_CONTEXT);
    must_step(&b, b.branches + 1, tokens, 1, b.logits[0]);
    tear_down(&b);
}

/* ---- the caller's attention ---- */

typedef struct listener {
    uint32_t fails_in; /* calls until one fails; 0: none */
    uint32_t num_calls, next_layer;
    uint64_t plan_bytes, logical_bytes, path_tokens;
    const model_shape *shape;
} listener;

static tree_status listen(void *context, float *out, const transformer_attention *a)
{
    listener *l = context;
    l->num_calls++;
    check(a->layer == l->next_layer, "layers in order");
    l->next_layer = (a->layer + 1) % l->shape->layers;
    if (l->fails_in && !--l->fails_in) {
        l->next_layer = 0;
        return TREE_INVAL;
    }
    /* The importance of every token, as eviction needs it; out has the bits of attention alone. */
    uint64_t num_slots = tree_importance_slots(a->plan);
    size_t bytes = tree_importance_cpu_workspace_bytes(a->plan, a->shape, 1);
    void *workspace = aligned_alloc(64, (bytes + 63) / 64 * 64);
    float *importance = malloc(a->num_branches * num_slots * sizeof *importance);
    check(workspace && importance, "memory");
    tree_status status =
        tree_importance_cpu(out, NULL, importance, num_slots, a->query, a->key, a->value, a->norm, a->plan, a->shape,
                            a->scale, workspace, bytes, 1, TREE_ISA_PORTABLE);
    check(status == TREE_OK, "%s", tree_status_string(status));
    for (uint32_t i = 0; i < a->num_branches; i++) {
        double sum = 0;
        uint32_t num_seen = 0;
        for (uint64_t slot = 0; slot < num_slots; slot++)
            if (importance[i * num_slots + slot] >= 0) {
                sum += importance[i * num_slots + slot];
                num_seen++;
                uint64_t place = (uint64_t)a->tables[i].blocks[slot / a->shape->block_tokens] * a->shape->block_tokens +
                                 slot % a->shape->block_tokens;
                for (uint32_t kv_head = 0; kv_head < a->shape->num_kv_heads; kv_head++) {
                    uint64_t at = tree_kv_offset(a->shape, (uint32_t)(place / a->shape->block_tokens), kv_head,
                                                 (uint32_t)(place % a->shape->block_tokens));
                    check(a->norm[at / a->shape->head_dim] == value_norm(a->value + at, a->shape->head_dim),
                          "the norm of every value, copied ones too");
                }
                check(slot + 1 < a->tables[i].length || place == a->slots[i], "the new token's place");
            }
        check(sum > 0 && num_seen == a->tables[i].length && a->positions[i] + 1 == num_seen, "all tokens are seen");
    }
    tree_traffic traffic;
    check(tree_traffic_count(&traffic, a->plan, a->shape, TRAFFIC_PACKED) == TREE_OK, "traffic");
    l->plan_bytes += traffic.plan_bytes;
    l->logical_bytes += traffic.logical_bytes;
    for (uint32_t i = 0; i < a->num_branches; i++)
        l->path_tokens += a->layer ? 0 : a->tables[i].length;
    free(importance);
    free(workspace);
    return TREE_OK;
}

static void run_hook(const void *argument)
{
    (void)argument;
    bench b, own;
    listener l = {.shape = &forest_shape};
    transformer_config config = {.plan.strategy = TREE_COST, .isa = TREE_ISA_PORTABLE, .num_threads = 1};
    set_up(&own, &config, 60, 4);
    test_reseed();
    config.attend = listen, config.context = &l, config.keeps_norms = true;
    set_up(&b, &config, 60, 4);
    uint32_t num_branches = 1, tokens[6];
    for (uint32_t step = 0; step < 20; step++) {
        if (step > 8 && num_branches < 6) {
            uint32_t parent = test_below(num_branches);
            check(kv_branch_fork(b.pool, b.branches[parent], &b.branches[num_branches]) == KV_OK &&
                      kv_branch_fork(own.pool, own.branches[parent], &own.branches[num_branches]) == KV_OK, "forks");
            num_branches++;
        }
        for (uint32_t i = 0; i < num_branches; i++)
            tokens[i] = test_below(V);
        if (step == 7 || step == 12 || step == 18) { /* a failure in the first or second layer */
            l.fails_in = 1 + (step == 12);
            model_status status = transformer_step(b.t, b.branches, tokens, num_branches, b.logits[0]);
            check(status == MODEL_ATTENTION, "%s", model_status_string(status));
            for (uint32_t i = 0; i < num_branches; i++) {
                kv_table table;
                check(kv_branch_table(b.pool, b.branches[i], &table) == KV_OK && table.length == step, "as before");
            }
        }
        l.plan_bytes = l.logical_bytes = l.path_tokens = 0;
        transformer_counts before, after;
        transformer_get_counts(b.t, &before);
        must_step(&b, b.branches, tokens, num_branches, b.logits[0]);
        must_step(&own, own.branches, tokens, num_branches, own.logits[0]);
        check(!memcmp(b.logits, own.logits, num_branches * V * sizeof(float)) || step >= 7,
              "the bits of the transformer's own attention");
        for (uint32_t i = 0; i < num_branches; i++) /* after a failure: by a plan that was not grown */
            for (uint32_t j = 0; j < V; j++)
                check(fabsf(b.logits[i][j] - own.logits[i][j]) <= 1e-4f, "close to the transformer's own attention");
        transformer_get_counts(b.t, &after);
        check(after.steps - before.steps == 1 && after.tokens - before.tokens == num_branches, "steps and tokens");
        check(after.plan_bytes - before.plan_bytes == l.plan_bytes &&
                  after.logical_bytes - before.logical_bytes == l.logical_bytes &&
                  after.path_tokens - before.path_tokens == l.path_tokens &&
                  after.unique_bytes <= after.plan_bytes && after.unique_tokens <= after.path_tokens,
              "bytes are those of the plans that the layers ran");
        uint64_t token_bytes = 2 * forest_shape.layers * forest_shape.kv_heads * forest_shape.head_dim * sizeof(float);
        check(l.logical_bytes == l.path_tokens * token_bytes,
              "logical bytes are K and V of all tokens on the paths");
        check(after.weight_bytes - before.weight_bytes ==
                  4 * (b.weights->num_parameters - (2 * forest_shape.layers + 1) * forest_shape.width),
              "every matrix is read once");
        check(after.products_us > before.products_us && after.attention_us > before.attention_us &&
                  after.host_us > before.host_us && after.rest_us > before.rest_us, "time passes in each part");
    }
    check(l.num_calls == 20 * forest_shape.layers + 1 + 2 + 1, "%u calls", l.num_calls);
    tear_down(&b);
    tear_down(&own);
}

/* ---- many roots, creation ---- */

static void run_roots(const void *argument)
{
    (void)argument;
    bench b;
    transformer_config config = {.max_branches = MOST, .plan.strategy = TREE_FLASH, .isa = TREE_ISA_PORTABLE};
    set_up(&b, &config, 500, 4);
    append_text(&b, b.branches[0], 1, 0); /* a small step first, so that memory must grow */
    check(kv_branch_truncate(b.pool, b.branches[0], 0) == KV_OK, "truncate");
    static uint32_t tokens[5][MOST];
    for (uint32_t i = 1; i < MOST; i++)
        check(kv_branch_create(b.pool, &b.branches[i]) == KV_OK, "root %u", i);
    for (uint32_t step = 0; step < 5; step++) {
        for (uint32_t i = 0; i < MOST; i++)
            tokens[step][i] = test_below(V);
        must_step(&b, b.branches, tokens[step], MOST, b.logits[0]);
    }
    for (uint32_t i = 0; i < MOST; i += 13) {
        kv_branch alone;
        float logits[V];
        check(kv_branch_create(b.pool, &alone) == KV_OK, "alone");
        for (uint32_t step = 0; step < 5; step++)
            must_step(&b, &alone, &tokens[step][i], 1, logits);
        check(!memcmp(logits, b.logits[i], sizeof logits), "root %u: its bits alone", i);
        check(kv_branch_prune(b.pool, alone) == KV_OK, "prune");
    }
    tear_down(&b);
}

static void run_create(const void *argument)
{
    (void)argument;
    bench b;
    transformer_config config = plain();
    set_up(&b, &config, 8, 4);
    transformer *t = NULL;
    config.plan.strategy = TREE_NUM_STRATEGIES;
    check(transformer_create(&t, b.weights, b.pool, &config) == MODEL_INVAL && !t, "an unknown strategy");
    config = plain();
    config.isa = TREE_NUM_ISAS;
    check(transformer_create(&t, b.weights, b.pool, &config) == MODEL_UNSUPPORTED && !t, "an unknown instruction set");
    config = plain();
    config.blas = true;
    model_status status = transformer_create(&t, b.weights, b.pool, &config);
    check(status == (transformer_has_blas() ? MODEL_OK : MODEL_UNSUPPORTED) && (status == MODEL_OK) == (t != NULL),
          "a BLAS where there is one");
    check(transformer_has_blas() || !transformer_prefers_blas(), "no preference for a BLAS that is not there");
    transformer_destroy(t);
    transformer_destroy(NULL);
    for (int i = 1; i >= -11; i--)
        check(strlen(model_status_string((model_status)i)) > 1, "a sentence for status %d", i);
    tear_down(&b);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "a step is done for all of its branches, or says why and changes nothing");
    test_add(run_refusals, NULL, "refusals");
    test_add(run_context, NULL, "context");
    test_add(run_hook, NULL, "callers_attention");
    test_add(run_roots, NULL, "200_roots");
    test_add(run_create, NULL, "create");
    return test_end();
}
