/* Implementations under test, and K and V for named trees. */
#include "attention_model.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "half.h"
#include "test.h"

/* ---- implementations ---- */

static tree_status run_ref(const attention_backend *backend, float *out, float *lse, const float *query,
                           const float *key, const float *value, const tree_plan *plan, const tree_shape *shape,
                           float scale)
{
    (void)backend;
    return tree_attention_ref(out, lse, query, key, value, plan, shape, scale);
}

void *attention_stored(const float *array, uint64_t count, tree_storage storage)
{
    void *stored = malloc(count * tree_storage_bytes(storage) + 1);
    check(stored, "%llu elements", (unsigned long long)count);
    uint16_t *codes = stored;
    if (storage == TREE_FP32)
        memcpy(stored, array, count * sizeof *array);
    for (uint64_t i = 0; storage != TREE_FP32 && i < count; i++)
        codes[i] = storage == TREE_FP16 ? fp16_from_float(array[i]) : bf16_from_float(array[i]);
    return stored;
}

/* The workspace is full of NaN, and the zone after it is checked. */
static tree_status run_cpu(const attention_backend *backend, float *out, float *lse, const float *query,
                           const float *key, const float *value, const tree_plan *plan, const tree_shape *shape,
                           float scale)
{
    enum { ZONE_BYTES = 256 };
    bool refused = tree_plan_fits(plan, shape) != TREE_OK;
    uint64_t num_kv = refused ? 0 : tree_kv_offset(shape, shape->num_blocks, 0, 0);
    size_t bytes = tree_attention_cpu_workspace_bytes(plan, shape, backend->num_threads);
    check(refused == (bytes == 0), "a workspace of %zu bytes", bytes);
    size_t room = (bytes + ZONE_BYTES + 63) & ~(size_t)63;
    unsigned char *workspace = aligned_alloc(64, room);
    check(workspace, "%zu bytes", room);
    memset(workspace, 0xff, room);
    void *stored_key = attention_stored(key, num_kv, shape->storage);
    void *stored_value = attention_stored(value, num_kv, shape->storage);
    tree_status status = tree_attention_cpu(out, lse, query, stored_key, stored_value, plan, shape, scale, workspace,
                                            bytes, backend->num_threads, backend->isa);
    for (size_t i = bytes; i < room; i++)
        check(workspace[i] == 0xff, "nothing is written %zu bytes behind the workspace", i - bytes);
    free(stored_key);
    free(stored_value);
    free(workspace);
    return status;
}

/* out and lse are float, all else double: 2^-50 leaves room for the sums of long paths. */
const attention_backend attention_ref_backend = {"ref", TREE_FP32, {0x1p-24, 0, 0x1p-50, 0}, TREE_ISA_AUTO, 1, run_ref};

#define FLOAT_SUMS {0x1p-24, 0x1p-24, 0x1p-24, 0}
#define CPU_BACKENDS(isa_name, isa) \
    { \
        {isa_name "_fp32", TREE_FP32, FLOAT_SUMS, isa, 1, run_cpu}, \
        {isa_name "_fp16", TREE_FP16, FLOAT_SUMS, isa, 1, run_cpu}, \
        {isa_name "_bf16", TREE_BF16, FLOAT_SUMS, isa, 1, run_cpu}, \
    }

static const attention_backend portable[] = CPU_BACKENDS("portable", TREE_ISA_PORTABLE);
static const attention_backend avx2[] = CPU_BACKENDS("avx2", TREE_ISA_AVX2);
static const attention_backend avx512[] = CPU_BACKENDS("avx512", TREE_ISA_AVX512);

/* exp(score - m) is rounded to bf16 before it meets V. */
#define ROUNDED_WEIGHTS {0x1p-24, 0x1p-8, 0x1p-24, 0}
static const attention_backend avx512_bf16 = {
    "avx512_bf16", TREE_BF16, ROUNDED_WEIGHTS, TREE_ISA_AVX512_BF16, 1, run_cpu};
static const attention_backend amx = {"amx", TREE_BF16, ROUNDED_WEIGHTS, TREE_ISA_AMX, 1, run_cpu};

static const struct {
    const char *name;
    const attention_backend *backends;
    uint32_t num_backends;
} families[] = {
    {"ref", &attention_ref_backend, 1}, {"portable", portable, 3},          {"avx2", avx2, 3},
    {"avx512", avx512, 3},              {"avx512_bf16", &avx512_bf16, 1},   {"amx", &amx, 1},
};

enum { NUM_FAMILIES = sizeof families / sizeof families[0], MAX_CASES = 4096 };

typedef struct family_case {
    attention_body *body;
    const void *argument;
    uint32_t family;
    uint32_t first, end; /* of its backends */
} family_case;

static void run_family(const void *argument)
{
    const family_case *one = argument;
    for (uint32_t i = one->first; i < one->end; i++) {
        const attention_backend *backend = &families[one->family].backends[i];
        if (!tree_isa_available(backend->isa))
            test_skip("this machine cannot run %s", families[one->family].name);
        test_note("%s", backend->name);
        one->body(backend, one->argument);
    }
}

const attention_backend *attention_backend_at(uint32_t index)
{
    for (uint32_t f = 0; f < NUM_FAMILIES; f++) {
        if (!tree_isa_available(families[f].backends[0].isa))
            continue;
        if (index < families[f].num_backends)
            return &families[f].backends[index];
        index -= families[f].num_backends;
    }
    return NULL;
}

static void add_family(attention_body *body, const void *argument, const char *name, uint32_t family, uint32_t first,
                       uint32_t end)
{
    static family_case cases[MAX_CASES]; /* test_add keeps no copy */
    static uint32_t num_cases;
    family_case *one = &cases[num_cases++ % MAX_CASES];
    *one = (family_case){body, argument, family, first, end};
    test_add(run_family, one, "%s_%s", name, families[family].name);
}

void attention_add(attention_body *body, const void *argument, const char *name_format, ...)
{
    char name[200];
    va_list arguments;
    va_start(arguments, name_format);
    vsnprintf(name, sizeof name, name_format, arguments);
    va_end(arguments);
    for (uint32_t f = 0; f < NUM_FAMILIES; f++)
        add_family(body, argument, name, f, 0, families[f].num_backends);
}

void attention_add_one_storage(attention_body *body, const void *argument, uint32_t index, const char *name_format, ...)
{
    char name[200];
    va_list arguments;
    va_start(arguments, name_format);
    vsnprintf(name, sizeof name, name_format, arguments);
    va_end(arguments);
    for (uint32_t f = 0; f < NUM_FAMILIES; f++)
        add_family(body, argument, name, f, index % families[f].num_backends, index % families[f].num_backends + 1);
}

/* ---- cases ---- */

/* Nearly normal, of variance 1: the sum of four uniform numbers of 16 bits, cheap enough for whole pools. */
static float cheap_normal(void)
{
    uint64_t bits = test_random();
    int32_t sum = (int32_t)((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
    return (float)(sum - 2 * 0xffff) * (1.7320508f / 0xffff);
}

static float *random_array(uint64_t count, tree_storage storage)
{
    float *array = malloc((count + 1) * sizeof *array);
    check(array, "%llu floats", (unsigned long long)count);
    for (uint64_t i = 0; i < count; i++)
        array[i] = storage_round(cheap_normal(), storage);
    return array;
}

static void ask_tables(attention_case *c)
{
    const tree_case *grown = &c->grown;
    kv_status status = c->drafts ? kv_tree_build_drafts(&c->tree, grown->tables, c->drafts, c->num_tables,
                                                        grown->block_tokens, grown->num_blocks)
                                 : kv_tree_build(&c->tree, grown->tables, c->num_tables, grown->block_tokens,
                                                 grown->num_blocks);
    check(status == KV_OK, "a tree of %s: %s", grown->name, kv_status_string(status));
    c->paths = token_paths_create(grown->tables, c->drafts, c->num_tables, grown->block_tokens);
    c->shape.num_queries = c->paths.num_queries;
    check(c->tree->num_queries == c->shape.num_queries, "a query per path");
    c->num_lse = (uint64_t)c->shape.num_queries * c->shape.num_heads;
    c->num_out = c->num_lse * c->shape.head_dim;
}

static void forget_tables(attention_case *c)
{
    kv_tree_destroy(c->tree);
    token_paths_destroy(&c->paths);
}

void attention_case_narrow(attention_case *c, uint32_t num_tables)
{
    forget_tables(c);
    c->num_tables = num_tables;
    ask_tables(c);
}

static void shrink(attention_case *c, uint64_t max_elements)
{
    uint64_t row_elements = (uint64_t)c->shape.num_heads * c->shape.head_dim;
    uint32_t last_block = 0;
    while (c->num_tables > 2 && c->tree->path_tokens * row_elements > max_elements)
        attention_case_narrow(c, c->num_tables - (c->num_tables + 3) / 4);
    for (uint64_t i = 0; i < c->paths.first[c->shape.num_queries]; i++) {
        uint32_t block = (uint32_t)(c->paths.slots[i] / c->shape.block_tokens);
        last_block = block > last_block ? block : last_block;
    }
    if (last_block + 3 < c->shape.num_blocks)
        c->shape.num_blocks = last_block + 3;
}

/* max_elements 0: all tables, the whole pool */
static void fill_case(attention_case *c, attention_size size, uint64_t max_elements)
{
    c->num_tables = c->grown.num_branches;
    c->shape = (tree_shape){0, size.num_kv_heads * size.group_size, size.num_kv_heads, size.head_dim,
                            c->grown.num_blocks, c->grown.block_tokens, c->backend->storage};
    c->scale = 1 / sqrtf((float)size.head_dim);
    ask_tables(c);
    if (max_elements)
        shrink(c, max_elements);
    c->num_kv = tree_kv_offset(&c->shape, c->shape.num_blocks, 0, 0);
    c->query = random_array(c->num_out, c->backend->storage);
    c->key = random_array(c->num_kv, c->backend->storage);
    c->value = random_array(c->num_kv, c->backend->storage);
}

void attention_case_build_small(attention_case *c, const attention_backend *backend, const char *spec,
                                uint32_t block_tokens, attention_size size, uint64_t max_elements)
{
    memset(c, 0, sizeof *c);
    c->backend = backend;
    tree_case_build(&c->grown, spec, block_tokens, block_tokens < 256 ? KV_ORDER_SHUFFLE : KV_ORDER_LIFO);
    fill_case(c, size, max_elements);
}

void attention_case_build(attention_case *c, const attention_backend *backend, const char *spec, uint32_t block_tokens,
                          attention_size size)
{
    attention_case_build_small(c, backend, spec, block_tokens, size, 0);
}

void attention_case_build_random(attention_case *c, const attention_backend *backend, const uint32_t *head_dims,
                                 uint32_t num_head_dims, uint64_t max_elements)
{
    static const uint32_t block_sizes[] = {1, 4, 16, 64}, lengths[] = {1, 10, 100, 1000, 5000};
    static const float scales[] = {0.25f, 1, 1, 4}, means[] = {0, 0, 0.5f, 2};
    attention_size size = {1 + test_below(2), 1 + test_below(8), head_dims[test_below(num_head_dims)]};
    uint64_t most = max_elements / (size.num_kv_heads * size.group_size * size.head_dim) + 1;
    uint64_t length = lengths[test_below(5)];
    char spec[64];
    if (test_below(4) == 0)
        snprintf(spec, sizeof spec, "random:%u", test_below(1000000));
    else
        snprintf(spec, sizeof spec, "1,%u/%u,%u", 1 + test_below(8),
                 1 + test_below((uint32_t)(length < most ? length : most)), 1 + test_below(20));
    attention_case_build_small(c, backend, spec, block_sizes[test_below(4)], size, max_elements);
    float mean = means[test_below(4)];
    c->scale *= scales[test_below(4)];
    for (uint64_t i = 0; mean != 0 && i < c->num_kv; i++)
        c->value[i] = storage_round(c->value[i] + mean, backend->storage);
}

/* Tokens at the end of a table, in blocks that no other table lists. */
static uint32_t own_tokens(const tree_case *grown, uint32_t table)
{
    const kv_table *mine = &grown->tables[table];
    uint32_t first_own = mine->num_blocks;
    for (bool own = true; own && first_own > 0; first_own -= own) {
        for (uint32_t i = 0; i < grown->num_branches; i++) {
            for (uint32_t b = 0; i != table && b < grown->tables[i].num_blocks; b++)
                own &= grown->tables[i].blocks[b] != mine->blocks[first_own - 1];
        }
    }
    return first_own * grown->block_tokens < mine->length ? mine->length - first_own * grown->block_tokens : 0;
}

void attention_case_build_drafts(attention_case *c, const attention_backend *backend, const char *spec,
                                 uint32_t block_tokens, attention_size size, uint32_t draft_tokens)
{
    memset(c, 0, sizeof *c);
    c->backend = backend;
    tree_case_build(&c->grown, spec, block_tokens, KV_ORDER_SHUFFLE);
    c->drafts = calloc(c->grown.num_branches, sizeof *c->drafts);
    check(c->drafts, "memory");
    for (uint32_t i = 0; i < c->grown.num_branches; i++) {
        uint32_t most = own_tokens(&c->grown, i);
        kv_draft *draft = &c->drafts[i];
        draft->num_tokens = i % 4 == 3 ? 0 : draft_tokens < most ? draft_tokens : most;
        uint32_t *parent = calloc(draft->num_tokens + 1u, sizeof *parent);
        check(parent, "memory");
        for (uint32_t t = 0; t < draft->num_tokens; t++) {
            uint32_t choice = test_below(t + 1);
            parent[t] = choice == t ? KV_NONE : choice;
        }
        draft->parent = parent;
    }
    fill_case(c, size, 0);
}

void attention_case_free(attention_case *c)
{
    forget_tables(c);
    for (uint32_t i = 0; c->drafts && i < c->grown.num_branches; i++)
        free((uint32_t *)c->drafts[i].parent);
    free(c->drafts);
    free(c->query);
    free(c->key);
    free(c->value);
    tree_case_free(&c->grown);
}

static float *at_slot(const attention_case *c, float *array, uint64_t slot, uint32_t kv_head)
{
    uint32_t block = (uint32_t)(slot / c->shape.block_tokens), place = (uint32_t)(slot % c->shape.block_tokens);
    return array + tree_kv_offset(&c->shape, block, kv_head, place);
}

float *attention_key(const attention_case *c, uint64_t slot, uint32_t kv_head)
{
    return at_slot(c, c->key, slot, kv_head);
}

float *attention_value(const attention_case *c, uint64_t slot, uint32_t kv_head)
{
    return at_slot(c, c->value, slot, kv_head);
}

float *attention_query(const attention_case *c, uint32_t query, uint32_t head)
{
    return c->query + ((uint64_t)query * c->shape.num_heads + head) * c->shape.head_dim;
}

void attention_fill_unseen(attention_case *c, uint32_t query, float filling)
{
    uint64_t num_slots = (uint64_t)c->shape.num_blocks * c->shape.block_tokens;
    bool *seen = calloc(num_slots, sizeof *seen);
    check(seen, "memory");
    uint32_t first = query == KV_NONE ? 0 : query, end = query == KV_NONE ? c->shape.num_queries : query + 1;
    for (uint64_t i = c->paths.first[first]; i < c->paths.first[end]; i++)
        seen[c->paths.slots[i]] = true;
    for (uint64_t slot = 0; slot < num_slots; slot++) {
        for (uint32_t kv_head = 0; !seen[slot] && kv_head < c->shape.num_kv_heads; kv_head++) {
            float *key = attention_key(c, slot, kv_head), *value = attention_value(c, slot, kv_head);
            for (uint32_t d = 0; d < c->shape.head_dim; d++)
                key[d] = value[d] = storage_round(filling, c->shape.storage);
        }
    }
    free(seen);
}

void attention_share_queries(attention_case *c)
{
    uint32_t group_size = c->shape.num_heads / c->shape.num_kv_heads;
    for (uint32_t q = 0; q < c->shape.num_queries; q++) {
        for (uint32_t head = 0; head < c->shape.num_heads; head++)
            memmove(attention_query(c, q, head), attention_query(c, 0, head / group_size * group_size),
                    c->shape.head_dim * sizeof(float));
    }
}

void attention_lift_key(attention_case *c, uint64_t slot, float score)
{
    for (uint32_t kv_head = 0; kv_head < c->shape.num_kv_heads; kv_head++) {
        const float *q = attention_query(c, 0, kv_head * (c->shape.num_heads / c->shape.num_kv_heads));
        float *key = attention_key(c, slot, kv_head);
        double square = 0;
        for (uint32_t d = 0; d < c->shape.head_dim; d++)
            square += (double)q[d] * q[d];
        for (uint32_t d = 0; d < c->shape.head_dim; d++)
            key[d] = storage_round((float)(q[d] * score / (square * c->scale)), c->shape.storage);
    }
}

tree_plan *attention_plan(const attention_case *c, tree_strategy strategy, uint32_t piece_tokens, uint32_t max_rows)
{
    tree_plan_config config = {.strategy = strategy, .max_rows = max_rows, .piece_tokens = piece_tokens,
                               .group_size = c->shape.num_heads / c->shape.num_kv_heads, .num_workers = 4};
    tree_plan *plan = NULL;
    char message[200] = "";
    tree_status status = tree_plan_build(&plan, c->tree, &config);
    check(status == TREE_OK, "a %s plan of %s: %s", tree_strategy_name[strategy], c->grown.name,
          tree_status_string(status));
    status = tree_plan_check(plan, c->tree, message, sizeof message);
    check(status == TREE_OK, "%s plan of %s: %s", tree_strategy_name[strategy], c->grown.name, message);
    return plan;
}

attention_result attention_run(const attention_case *c, const tree_plan *plan)
{
    attention_result result = {guarded_create(c->num_out), guarded_create(c->num_lse)};
    tree_status status = c->backend->run(c->backend, result.out.data, result.lse.data, c->query, c->key, c->value, plan,
                                         &c->shape, c->scale);
    check(status == TREE_OK, "%s on %s: %s", c->backend->name, c->grown.name, tree_status_string(status));
    guarded_check(&result.out, "out");
    guarded_check(&result.lse, "lse");
    return result;
}

void attention_result_free(attention_result *result)
{
    guarded_destroy(&result->out);
    guarded_destroy(&result->lse);
}

void attention_check_strategies(const attention_case *c)
{
    attention_truth truth = attention_truth_create(c->query, c->key, c->value, &c->paths, &c->shape, c->scale);
    double worst = 0;
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(c, strategy, 0, 0);
        attention_result result = attention_run(c, plan);
        double ratio = check_attention(result.out.data, result.lse.data, &truth, &c->backend->u,
                                       tree_strategy_name[strategy]);
        worst = fmax(worst, ratio);
        attention_result_free(&result);
        tree_plan_destroy(plan);
    }
    test_note("worst error/limit %.2g", worst);
    attention_truth_destroy(&truth);
}
