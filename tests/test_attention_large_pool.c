/* Claim: K and V may have more than 2^32 bytes and more than 2^32 elements: every path on the CPU reads the block that
 * the plan names. The arrays are reserved, not filled: only a few pages of 17 GB are touched. */
#define _DEFAULT_SOURCE /* MAP_NORESERVE */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "attention_model.h"
#include "half.h"
#include "kv_store.h"
#include "standard_attention.h"
#include "test.h"

/* 2^11 elements per block: 2^32 bytes end at block 2^19 (float) and 2^20 (half), 2^32 elements at 2^21. */
enum { BLOCK_TOKENS = 16, KV_HEADS = 2, HEADS = 4, HEAD_DIM = 64, BLOCK_ELEMENTS = KV_HEADS * BLOCK_TOKENS * HEAD_DIM };
enum { NUM_USED = 6, NUM_QUERIES = 2, NUM_OUT = NUM_QUERIES * HEADS * HEAD_DIM };

static const uint32_t far_blocks[NUM_USED] = {5, (1 << 18) + 1, (1 << 19) + 6, (1 << 20) + 2, (1 << 21) + 3,
                                              (1 << 21) + 4};
static const uint32_t near_blocks[NUM_USED] = {0, 1, 2, 3, 4, 5};

typedef struct pool {
    const uint32_t *blocks;
    uint32_t num_blocks;
    size_t bytes; /* of key and of value */
    char *key, *value;
} pool;

static pool pool_create(const uint32_t *blocks, tree_storage storage)
{
    pool made = {.blocks = blocks, .num_blocks = blocks[NUM_USED - 1] + 1};
    made.bytes = (size_t)made.num_blocks * BLOCK_ELEMENTS * tree_storage_bytes(storage);
    char **arrays[2] = {&made.key, &made.value};
    for (int i = 0; i < 2; i++) {
        void *array = mmap(NULL, made.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                           0);
        if (array == MAP_FAILED)
            test_skip("this machine reserves no %zu bytes", made.bytes);
        *arrays[i] = array;
    }
    return made;
}

static void pool_destroy(pool *p)
{
    munmap(p->key, p->bytes);
    munmap(p->value, p->bytes);
}

/* The same elements in the used blocks of both pools. */
static void fill_block(char *array, uint32_t block, tree_storage storage, uint64_t seed)
{
    for (uint64_t i = 0; i < BLOCK_ELEMENTS; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        float x = (float)(int32_t)(seed >> 32) * 0x1p-30f;
        uint64_t at = (uint64_t)block * BLOCK_ELEMENTS + i;
        uint16_t half = storage == TREE_FP16 ? fp16_from_float(x) : bf16_from_float(x);
        if (storage == TREE_FP32)
            memcpy(array + at * 4, &x, 4);
        else
            memcpy(array + at * 2, &half, 2);
    }
}

/* Two tables behind a common first block, with a part-filled block each. */
static kv_tree *build_tree(const pool *p)
{
    const uint32_t *b = p->blocks;
    const uint32_t first[4] = {b[0], b[1], b[3], b[4]}, second[3] = {b[0], b[2], b[5]};
    const kv_table tables[NUM_QUERIES] = {{first, 4, 3 * BLOCK_TOKENS + 7, 0}, {second, 3, 2 * BLOCK_TOKENS + 11, 0}};
    kv_tree *tree;
    check(kv_tree_build(&tree, tables, NUM_QUERIES, BLOCK_TOKENS, p->num_blocks) == KV_OK, "a tree");
    return tree;
}

static tree_shape shape_of(const pool *p, tree_storage storage)
{
    return (tree_shape){NUM_QUERIES, HEADS, KV_HEADS, HEAD_DIM, p->num_blocks, BLOCK_TOKENS, storage};
}

static tree_status run_plan(const attention_backend *backend, float *out, const float *query, const pool *p,
                            const tree_plan *plan)
{
    tree_shape shape = shape_of(p, backend->storage);
    if (backend == &attention_ref_backend)
        return tree_attention_ref(out, NULL, query, (float *)p->key, (float *)p->value, plan, &shape, 0.125f);
    size_t bytes = tree_attention_cpu_workspace_bytes(plan, &shape, 1);
    void *workspace = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    check(workspace, "%zu bytes", bytes);
    tree_status status = tree_attention_cpu(out, NULL, query, p->key, p->value, plan, &shape, 0.125f, workspace, bytes,
                                            1, backend->isa);
    free(workspace);
    return status;
}

/* The two that materialise, in the place of strategies. */
static tree_status run_standard(int which, float *out, const float *query, const pool *p, const kv_tree *tree)
{
    tree_shape shape = shape_of(p, TREE_FP32);
    return (which ? dense_mask_attention_ref : standard_attention_ref)(out, NULL, query, (float *)p->key,
                                                                       (float *)p->value, tree, &shape, 0.125f, NULL);
}

static void attend(const attention_backend *backend, float *out, const float *query, const pool *p, int way)
{
    kv_tree *tree = build_tree(p);
    tree_status status;
    if (way < TREE_NUM_STRATEGIES) {
        tree_plan *plan;
        tree_plan_config config = {.strategy = (tree_strategy)way};
        check(tree_plan_build(&plan, tree, &config) == TREE_OK, "a plan");
        status = run_plan(backend, out, query, p, plan);
        tree_plan_destroy(plan);
    } else {
        status = run_standard(way - TREE_NUM_STRATEGIES, out, query, p, tree);
    }
    check(status == TREE_OK, "%s", tree_status_string(status));
    kv_tree_destroy(tree);
}

static void run_far_blocks(const attention_backend *backend, const void *unused)
{
    (void)unused;
    pool far = pool_create(far_blocks, backend->storage), near = pool_create(near_blocks, backend->storage);
    for (uint32_t i = 0; i < NUM_USED; i++) {
        fill_block(far.key, far_blocks[i], backend->storage, 2 * i);
        fill_block(near.key, near_blocks[i], backend->storage, 2 * i);
        fill_block(far.value, far_blocks[i], backend->storage, 2 * i + 1);
        fill_block(near.value, near_blocks[i], backend->storage, 2 * i + 1);
    }
    float query[NUM_OUT], expected[NUM_OUT], out[NUM_OUT];
    for (int i = 0; i < NUM_OUT; i++)
        query[i] = storage_round((float)test_normal(), backend->storage);
    int num_ways = TREE_NUM_STRATEGIES + (backend == &attention_ref_backend ? 2 : 0);
    for (int way = 0; way < num_ways; way++) {
        attend(backend, expected, query, &near, way);
        attend(backend, out, query, &far, way);
        check_same_bits(out, expected, NUM_OUT, way < TREE_NUM_STRATEGIES ? tree_strategy_name[way] : "standard");
    }
    pool_destroy(&far);
    pool_destroy(&near);
}

/* Tokens are written, and blocks copied, behind the first 2^32 elements. */
static void run_kv_store(const void *unused)
{
    (void)unused;
#ifdef __SANITIZE_ADDRESS__
    test_skip("the sanitizer's shadow of such arrays takes real memory");
#endif
    kv_store_config config = {.storage = TREE_BF16, .num_blocks = far_blocks[NUM_USED - 1] + 1,
                              .block_tokens = BLOCK_TOKENS, .num_kv_heads = KV_HEADS, .head_dim = HEAD_DIM, .seed = 3};
    kv_store *store;
    if (kv_store_create(&store, &config) == KV_NOMEM)
        test_skip("this machine reserves no arrays of 8.6 GB");
    replay_events events = kv_store_events(store);
    const uint32_t written = far_blocks[4], copied = far_blocks[5];
    events.branch(events.context, WORKLOAD_CREATE, 0, 0);
    events.token(events.context, 0, 0, written, 0, 17);
    events.copy(events.context, &(kv_copy){.from_block = written, .to_block = copied, .num_tokens = 1});
    float row[HEAD_DIM];
    for (uint32_t kv_head = 0; kv_head < KV_HEADS; kv_head++) {
        kv_store_vector(store, 17, kv_head, true, row);
        for (uint64_t d = 0; d < HEAD_DIM; d++) {
            const uint16_t *value = kv_store_value(store);
            uint64_t at = kv_head * BLOCK_TOKENS * HEAD_DIM + d;
            check(value[(uint64_t)written * BLOCK_ELEMENTS + at] == bf16_from_float(row[d]), "written far away");
            check(value[(uint64_t)copied * BLOCK_ELEMENTS + at] == bf16_from_float(row[d]), "copied far away");
            check(value[3 * BLOCK_ELEMENTS + at] == 0 && value[4 * BLOCK_ELEMENTS + at] == 0, "and not nearby");
        }
    }
    kv_store_destroy(store);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "K and V may be larger than 2^32 bytes and elements");
    attention_add(run_far_blocks, NULL, "far_blocks");
    test_add(run_kv_store, NULL, "kv_store_writes_far_blocks");
    return test_end();
}
