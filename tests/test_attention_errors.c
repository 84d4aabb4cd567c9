/* Claim: an invalid shape or plan is refused with its own status before anything is written. */
#include <stdlib.h>
#include <string.h>

#include "attention_model.h"
#include "test.h"

typedef struct refusal {
    const char *name;
    tree_status status;
    void (*spoil)(tree_shape *shape, tree_plan *plan);
} refusal;

static void no_heads(tree_shape *s, tree_plan *p) { (void)p, s->num_heads = 0; }
static void no_kv_heads(tree_shape *s, tree_plan *p) { (void)p, s->num_kv_heads = 0; }
static void no_head_dim(tree_shape *s, tree_plan *p) { (void)p, s->head_dim = 0; }
static void no_blocks(tree_shape *s, tree_plan *p) { (void)p, s->num_blocks = 0; }
static void heads_do_not_divide(tree_shape *s, tree_plan *p) { (void)p, s->num_kv_heads = 4; }
static void fewer_heads_than_kv_heads(tree_shape *s, tree_plan *p) { (void)p, s->num_kv_heads = 12; }
static void block_of_0(tree_shape *s, tree_plan *p) { s->block_tokens = p->block_tokens = 0; }
static void block_of_24(tree_shape *s, tree_plan *p) { s->block_tokens = p->block_tokens = 24; }
static void block_of_512(tree_shape *s, tree_plan *p) { s->block_tokens = p->block_tokens = 512; }
static void too_many_elements(tree_shape *s, tree_plan *p)
{
    (void)p;
    s->num_blocks = UINT32_MAX;
    s->head_dim = 1 << 24;
}
static void too_large_query(tree_shape *s, tree_plan *p)
{
    s->num_queries = p->num_queries = UINT32_MAX;
    s->num_heads = 6u << 20;
}
static void unknown_storage(tree_shape *s, tree_plan *p) { (void)p, s->storage = (tree_storage)17; }
static void other_num_queries(tree_shape *s, tree_plan *p) { (void)s, p->num_queries++; }
static void other_block_tokens(tree_shape *s, tree_plan *p) { (void)p, s->block_tokens = 32; }
static void block_behind_the_pool(tree_shape *s, tree_plan *p) { p->max_block = s->num_blocks; }
static void pool_too_small(tree_shape *s, tree_plan *p) { s->num_blocks = p->max_block; }

static const refusal refusals[] = {
    {"num_heads_0", TREE_BAD_SHAPE, no_heads},
    {"num_kv_heads_0", TREE_BAD_SHAPE, no_kv_heads},
    {"head_dim_0", TREE_BAD_SHAPE, no_head_dim},
    {"num_blocks_0", TREE_BAD_SHAPE, no_blocks},
    {"heads_not_a_multiple_of_kv_heads", TREE_BAD_SHAPE, heads_do_not_divide},
    {"fewer_heads_than_kv_heads", TREE_BAD_SHAPE, fewer_heads_than_kv_heads},
    {"block_tokens_0", TREE_BAD_SHAPE, block_of_0},
    {"block_tokens_24", TREE_BAD_SHAPE, block_of_24},
    {"block_tokens_512", TREE_BAD_SHAPE, block_of_512},
    {"pool_beyond_2_48_elements", TREE_BAD_SHAPE, too_many_elements},
    {"query_beyond_2_48_elements", TREE_BAD_SHAPE, too_large_query},
    {"unknown_storage", TREE_BAD_SHAPE, unknown_storage},
    {"plan_of_other_num_queries", TREE_BAD_SHAPE, other_num_queries},
    {"plan_of_other_block_tokens", TREE_BAD_SHAPE, other_block_tokens},
    {"plan_names_block_behind_pool", TREE_BAD_PLAN, block_behind_the_pool},
    {"pool_smaller_than_plan", TREE_BAD_PLAN, pool_too_small},
};

static void run_refusal(const attention_backend *backend, const void *argument)
{
    const refusal *one = argument;
    attention_case c;
    attention_case_build(&c, backend, "comb:4", 16, (attention_size){2, 3, 8});
    tree_plan *plan = attention_plan(&c, TREE_FLATTEN, 0, 0);
    tree_plan spoiled = *plan;
    tree_shape shape = c.shape;
    guarded out = guarded_create(c.num_out), lse = guarded_create(c.num_lse);
    check(tree_plan_fits(plan, &shape) == TREE_OK, "sound before");
    one->spoil(&shape, &spoiled);
    tree_status status = tree_plan_fits(&spoiled, &shape);
    check(status == one->status, "tree_plan_fits: %s", tree_status_string(status));
    status = backend->run(backend, out.data, lse.data, c.query, c.key, c.value, &spoiled, &shape, c.scale);
    check(status == one->status, "%s: %s", backend->name, tree_status_string(status));
    check(guarded_untouched(&out) && guarded_untouched(&lse), "nothing is written on error");
    guarded_destroy(&out);
    guarded_destroy(&lse);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

static void run_shape_alone(const void *unused)
{
    (void)unused;
    const tree_shape sound = {0, 8, 2, 64, 10, 256, TREE_BF16};
    check(tree_shape_check(&sound) == TREE_OK, "no query is no error");
    for (uint32_t block_tokens = 0; block_tokens <= 1024; block_tokens++) {
        tree_shape shape = sound;
        shape.block_tokens = block_tokens;
        bool power = block_tokens && !(block_tokens & (block_tokens - 1)) && block_tokens <= 256;
        check(tree_shape_check(&shape) == (power ? TREE_OK : TREE_BAD_SHAPE), "block_tokens %u", block_tokens);
    }
    for (uint32_t num_heads = 1; num_heads <= 40; num_heads++) {
        for (uint32_t num_kv_heads = 1; num_kv_heads <= 40; num_kv_heads++) {
            tree_shape shape = sound;
            shape.num_heads = num_heads;
            shape.num_kv_heads = num_kv_heads;
            check(tree_shape_check(&shape) == (num_heads % num_kv_heads ? TREE_BAD_SHAPE : TREE_OK),
                  "%u heads on %u KV heads", num_heads, num_kv_heads);
        }
    }
}

static void run_ref_storage(const void *unused)
{
    (void)unused;
    for (tree_storage storage = TREE_FP16; storage <= TREE_BF16; storage++) {
        attention_case c;
        attention_case_build(&c, &attention_ref_backend, "one_token", 16, (attention_size){1, 1, 4});
        tree_plan *plan = attention_plan(&c, TREE_FLASH, 0, 0);
        guarded out = guarded_create(c.num_out);
        c.shape.storage = storage;
        tree_status status = tree_attention_ref(out.data, NULL, c.query, c.key, c.value, plan, &c.shape, 1);
        check(status == TREE_UNSUPPORTED && guarded_untouched(&out), "%s", tree_status_string(status));
        guarded_destroy(&out);
        tree_plan_destroy(plan);
        attention_case_free(&c);
    }
}

/* The fast path's own refusals. */
static void run_workspace(const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, &attention_ref_backend, "comb:4", 16, (attention_size){2, 3, 8});
    tree_plan *plan = attention_plan(&c, TREE_NODE, 0, 0);
    guarded out = guarded_create(c.num_out), lse = guarded_create(c.num_lse);
    size_t bytes = tree_attention_cpu_workspace_bytes(plan, &c.shape, 1);
    char *workspace = aligned_alloc(64, (bytes + 127) & ~(size_t)63);
    check(workspace && bytes > 0, "a workspace of %zu bytes", bytes);
    const struct {
        char *workspace;
        size_t bytes;
        tree_isa isa;
        tree_status status;
    } calls[] = {
        {workspace, bytes - 1, TREE_ISA_AUTO, TREE_WORKSPACE},
        {workspace, 0, TREE_ISA_AUTO, TREE_WORKSPACE},
        {workspace + 4, bytes, TREE_ISA_AUTO, TREE_WORKSPACE},
        {workspace, bytes, TREE_NUM_ISAS, TREE_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        tree_status status = tree_attention_cpu(out.data, lse.data, c.query, c.key, c.value, plan, &c.shape, c.scale,
                                                calls[i].workspace, calls[i].bytes, 1, calls[i].isa);
        check(status == calls[i].status, "call %zu: %s", i, tree_status_string(status));
        check(guarded_untouched(&out) && guarded_untouched(&lse), "call %zu: nothing is written on error", i);
    }
    free(workspace);
    guarded_destroy(&out);
    guarded_destroy(&lse);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

static void run_lse_not_wanted(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, backend, "comb:4", 16, (attention_size){2, 3, 8});
    tree_plan *plan = attention_plan(&c, TREE_FLATTEN, 0, 0);
    attention_result with = attention_run(&c, plan);
    guarded out = guarded_create(c.num_out);
    tree_status status = backend->run(backend, out.data, NULL, c.query, c.key, c.value, plan, &c.shape, c.scale);
    check(status == TREE_OK, "%s", tree_status_string(status));
    guarded_check(&out, "out");
    check_same_bits(out.data, with.out.data, c.num_out, "lse NULL");
    guarded_destroy(&out);
    attention_result_free(&with);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "an invalid shape or plan is refused before anything is written");
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        attention_add(run_refusal, &refusals[i], "%s", refusals[i].name);
    test_add(run_shape_alone, NULL, "shape_alone");
    test_add(run_ref_storage, NULL, "ref_takes_floats_only");
    test_add(run_workspace, NULL, "cpu_workspace_and_isa");
    attention_add(run_lse_not_wanted, NULL, "lse_not_wanted");
    return test_end();
}
