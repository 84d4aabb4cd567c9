/* Claim: on the GPU, a pool of more than 2^32 elements gives the bits of a small pool with the same K and V, for tables
 * with blocks at both of its ends; appends and copies at the far end land there and nowhere else. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_support.h"
#include "kv_gpu.h"
#include "test.h"

#define LARGE ((uint64_t)1 << 32)

enum { MAX_MARKS = 32 };

static const struct large_size {
    const char *tree;
    attention_size size;
    uint32_t block_tokens, num_blocks;
} large_sizes[] = {
    {"1,3,6/90,85,70", {2, 4, 128}, 16, (1u << 20) + 1000},
    {"1,3,6/90,85,70", {1, 3, 64}, 1, (1u << 26) + 1000},
    {"1,4,8/500,300,90", {4, 2, 256}, 64, (1u << 16) + 1000},
};

/* ---- the pool: NaN wherever nothing is written ---- */

typedef struct large_pool {
    tree_shape shape;
    uint64_t block_elements, block_bytes, bytes;
    char *key, *value;
    uint32_t marks[MAX_MARKS]; /* blocks where an index that is too narrow begins anew, those before them, both ends */
    uint32_t num_marks;
} large_pool;

static void mark(large_pool *pool, uint64_t block)
{
    for (uint32_t i = 0; i < pool->num_marks; i++) {
        if (pool->marks[i] == block)
            return;
    }
    check(pool->num_marks < MAX_MARKS && block < pool->shape.num_blocks, "block %llu", (unsigned long long)block);
    pool->marks[pool->num_marks++] = (uint32_t)block;
}

static void mark_blocks(large_pool *pool)
{
    uint32_t last = pool->shape.num_blocks - 1;
    mark(pool, 0);
    mark(pool, last);
    mark(pool, last - 1);
    for (uint64_t elements = LARGE; elements >= LARGE / 16; elements /= 2) {
        uint64_t blocks = elements / pool->block_elements;
        mark(pool, blocks);
        mark(pool, blocks - 1);
        mark(pool, last % blocks); /* where the last block would land */
    }
}

static void large_pool_free(large_pool *pool)
{
    cuda_ok(cudaFree(pool->key), "cudaFree");
    cuda_ok(cudaFree(pool->value), "cudaFree");
}

static void large_pool_create(large_pool *pool, const struct large_size *large)
{
    *pool = (large_pool){.shape = {1, large->size.num_kv_heads * large->size.group_size, large->size.num_kv_heads,
                                   large->size.head_dim, large->num_blocks, large->block_tokens, TREE_FP16}};
    uint64_t elements = tree_kv_offset(&pool->shape, large->num_blocks, 0, 0);
    check(elements > LARGE, "%llu elements", (unsigned long long)elements);
    pool->block_elements = elements / large->num_blocks;
    pool->block_bytes = pool->block_elements * sizeof(uint16_t);
    pool->bytes = elements * sizeof(uint16_t);
    mark_blocks(pool);
    cudaError_t error = cudaMalloc((void **)&pool->key, pool->bytes);
    if (!error)
        error = cudaMalloc((void **)&pool->value, pool->bytes);
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        large_pool_free(pool);
        test_skip("this GPU has no room for K and V of %.1f GB each", (double)pool->bytes * 1e-9);
    }
    cuda_ok(error, "cudaMalloc");
    cuda_ok(cudaMemset(pool->key, 0xff, pool->bytes), "cudaMemset");
    cuda_ok(cudaMemset(pool->value, 0xff, pool->bytes), "cudaMemset");
}

static void write_block(char *array, const large_pool *pool, uint32_t block, const void *h_data)
{
    cuda_ok(cudaMemcpy(array + block * pool->block_bytes, h_data, pool->block_bytes, cudaMemcpyHostToDevice),
            "a block");
}

/* ---- attention ---- */

static bool is_mark(const large_pool *pool, uint64_t block)
{
    for (uint32_t i = 0; i < pool->num_marks; i++) {
        if (pool->marks[i] == block)
            return true;
    }
    return false;
}

/* The nth place for a block: the marks, then from both ends inwards. */
static uint32_t nth_place(const large_pool *pool, uint32_t n)
{
    if (n < pool->num_marks)
        return pool->marks[n];
    uint32_t seen = pool->num_marks;
    for (uint32_t i = 0;; i++) {
        uint32_t block = i % 2 ? pool->shape.num_blocks - 1 - i / 2 : i / 2;
        if (!is_mark(pool, block) && seen++ == n)
            return block;
    }
}

/* place[b]: where the large pool has block b of the case; KV_NONE: no query sees it. */
static uint32_t *create_places(const attention_case *c, const large_pool *pool)
{
    uint32_t num_used = 0, *place = malloc(c->shape.num_blocks * sizeof *place);
    uint32_t *used = malloc(c->shape.num_blocks * sizeof *used);
    check(place && used, "memory");
    memset(place, 0xff, c->shape.num_blocks * sizeof *place);
    for (uint64_t i = 0; i < c->paths.first[c->shape.num_queries]; i++) {
        uint32_t block = (uint32_t)(c->paths.slots[i] / c->shape.block_tokens);
        if (place[block] == KV_NONE)
            used[num_used++] = block;
        place[block] = 0;
    }
    check(num_used > pool->num_marks, "%u blocks, a block for each of %u marks", num_used, pool->num_marks);
    for (uint32_t n = 0; n < num_used; n++) {
        uint32_t other = n + test_below(num_used - n), block = used[other];
        used[other] = used[n];
        place[block] = nth_place(pool, n);
    }
    free(used);
    return place;
}

/* The tree of the same tables in the large pool. */
static kv_tree *create_moved_tree(const attention_case *c, const uint32_t *place, uint32_t num_blocks)
{
    uint32_t capacity = 0, *blocks;
    kv_tree *tree = NULL;
    kv_table *tables = malloc(c->num_tables * sizeof *tables);
    for (uint32_t i = 0; i < c->num_tables; i++)
        capacity += c->grown.tables[i].num_blocks;
    uint32_t *next = blocks = malloc(capacity * sizeof *blocks);
    check(tables && blocks, "memory");
    for (uint32_t i = 0; i < c->num_tables; i++) {
        tables[i] = c->grown.tables[i];
        tables[i].blocks = next;
        for (uint32_t b = 0; b < tables[i].num_blocks; b++)
            *next++ = place[c->grown.tables[i].blocks[b]];
    }
    kv_status status = kv_tree_build(&tree, tables, c->num_tables, c->shape.block_tokens, num_blocks);
    check(status == KV_OK, "the tree in the large pool: %s", kv_status_string(status));
    free(tables);
    free(blocks);
    return tree;
}

static void write_pool(const large_pool *pool, const attention_case *c, const uint32_t *place)
{
    uint16_t *key = stored_create(c->key, c->num_kv, TREE_FP16), *value = stored_create(c->value, c->num_kv, TREE_FP16);
    for (uint32_t b = 0; b < c->shape.num_blocks; b++) {
        if (place[b] == KV_NONE)
            continue;
        write_block(pool->key, pool, place[b], key + b * pool->block_elements);
        write_block(pool->value, pool, place[b], value + b * pool->block_elements);
    }
    free(key);
    free(value);
}

static void compare_pools(gpu_case *small, gpu_case *large, const attention_truth *truth, tree_strategy strategy)
{
    tree_plan *small_plan = attention_plan(small->c, strategy, 0, 0);
    tree_plan *large_plan = attention_plan(large->c, strategy, 0, 0);
    check(large_plan->max_block == large->c->shape.num_blocks - 1, "a path at the far end: %u", large_plan->max_block);
    gpu_case_plan(small, small_plan);
    gpu_case_plan(large, large_plan);
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
        const tree_gpu_step *step = &tree_gpu_steps[s];
        roundoffs u = gpu_roundoffs(step, TREE_FP16);
        if (!takes_storage(step, TREE_FP16))
            continue;
        gpu_case_run(small, step);
        check_attention(small->h_out, small->h_lse, truth, &u, step->name);
        gpu_case_run(large, step);
        check_same_bits(large->h_out, small->h_out, small->c->num_out, step->name);
        check_same_bits(large->h_lse, small->h_lse, small->c->num_lse, step->name);
    }
    tree_plan_destroy(small_plan);
    tree_plan_destroy(large_plan);
}

static void run_attention(const void *argument)
{
    const struct large_size *large = argument;
    large_pool pool;
    attention_case c;
    gpu_case gpu, large_gpu;
    need_gpu();
    attention_case_build(&c, storage_backend(TREE_FP16), large->tree, large->block_tokens, large->size);
    attention_fill_unseen(&c, KV_NONE, NAN);
    large_pool_create(&pool, large);
    uint32_t *place = create_places(&c, &pool);
    write_pool(&pool, &c, place);

    attention_case moved = c;
    moved.tree = create_moved_tree(&c, place, large->num_blocks);
    moved.shape.num_blocks = large->num_blocks;
    moved.num_kv = 0; /* K and V are there already */
    gpu_case_create(&gpu, &c);
    gpu_case_create(&large_gpu, &moved);
    large_gpu.key.data = pool.key;
    large_gpu.value.data = pool.value;
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    for (tree_strategy strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++)
        compare_pools(&gpu, &large_gpu, &truth, strategy);

    attention_truth_destroy(&truth);
    gpu_case_destroy(&large_gpu);
    gpu_case_destroy(&gpu);
    kv_tree_destroy(moved.tree);
    free(place);
    large_pool_free(&pool);
    attention_case_free(&c);
}

/* ---- appends and copies ---- */

/* What the marked blocks should hold. */
typedef struct mirror {
    const large_pool *pool;
    uint16_t *key, *value; /* [num_marks][block_elements] */
} mirror;

static uint16_t *mirror_block(const mirror *m, uint16_t *array, uint32_t block)
{
    uint32_t i = 0;
    while (i < m->pool->num_marks && m->pool->marks[i] != block)
        i++;
    check(i < m->pool->num_marks, "block %u is marked", block);
    return array + i * m->pool->block_elements;
}

static void fill(uint16_t *array, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        array[i] = (uint16_t)test_below(30000);
}

static mirror mirror_create(const large_pool *pool)
{
    uint64_t elements = pool->num_marks * pool->block_elements;
    mirror m = {pool, malloc(elements * sizeof *m.key), malloc(elements * sizeof *m.value)};
    check(m.key && m.value, "memory");
    memset(m.key, 0xff, elements * sizeof *m.key);
    memset(m.value, 0xff, elements * sizeof *m.value);
    return m;
}

static void mirror_compare_array(const mirror *m, const char *d_blocks, const uint16_t *expected, const char *what)
{
    const large_pool *pool = m->pool;
    uint16_t *got = malloc(pool->block_bytes);
    check(got, "memory");
    for (uint32_t i = 0; i < pool->num_marks; i++) {
        const char *from = d_blocks + pool->marks[i] * pool->block_bytes;
        cuda_ok(cudaMemcpy(got, from, pool->block_bytes, cudaMemcpyDeviceToHost), what);
        check(!memcmp(got, expected + i * pool->block_elements, pool->block_bytes), "%s: block %u of %u", what,
              pool->marks[i], pool->shape.num_blocks);
    }
    free(got);
}

static void mirror_compare(const mirror *m, const char *what)
{
    cuda_ok(cudaDeviceSynchronize(), what);
    mirror_compare_array(m, m->pool->key, m->key, what);
    mirror_compare_array(m, m->pool->value, m->value, what);
}

static void mirror_append(mirror *m, uint64_t slot, const uint16_t *key_row, const uint16_t *value_row)
{
    const tree_shape *shape = &m->pool->shape;
    uint32_t block = (uint32_t)(slot / shape->block_tokens), place = (uint32_t)(slot % shape->block_tokens);
    for (uint32_t h = 0; h < shape->num_kv_heads; h++) {
        uint64_t to = tree_kv_offset(shape, 0, h, place), from = (uint64_t)h * shape->head_dim;
        memcpy(mirror_block(m, m->key, block) + to, key_row + from, shape->head_dim * sizeof *key_row);
        memcpy(mirror_block(m, m->value, block) + to, value_row + from, shape->head_dim * sizeof *value_row);
    }
}

static void mirror_copy(mirror *m, const kv_copy *copy)
{
    const tree_shape *shape = &m->pool->shape;
    size_t bytes = (size_t)copy->num_tokens * shape->head_dim * sizeof(uint16_t);
    for (uint32_t h = 0; h < shape->num_kv_heads; h++) {
        uint64_t at = tree_kv_offset(shape, 0, h, 0);
        memcpy(mirror_block(m, m->key, copy->to_block) + at, mirror_block(m, m->key, copy->from_block) + at, bytes);
        memcpy(mirror_block(m, m->value, copy->to_block) + at, mirror_block(m, m->value, copy->from_block) + at, bytes);
    }
}

/* A row for each slot but the last two, which are behind the pool. */
static void check_appends(mirror *m)
{
    enum { NUM_ROWS = 7 };
    const tree_shape *shape = &m->pool->shape;
    uint64_t tokens = shape->block_tokens, last = shape->num_blocks - 1, boundary = LARGE / m->pool->block_elements;
    uint64_t slots[NUM_ROWS] = {last * tokens + tokens - 1, (last - 1) * tokens, boundary * tokens,
                                (boundary - 1) * tokens + tokens - 1, tokens / 2, (last + 1) * tokens, KV_SKIP_SLOT};
    uint64_t row = (uint64_t)shape->num_kv_heads * shape->head_dim;
    uint16_t *key_rows = malloc(NUM_ROWS * row * sizeof *key_rows);
    uint16_t *value_rows = malloc(NUM_ROWS * row * sizeof *value_rows);
    int cuda_error = -1;
    check(key_rows && value_rows, "memory");
    fill(key_rows, NUM_ROWS * row);
    fill(value_rows, NUM_ROWS * row);
    d_array d_key_rows = d_copy_of(key_rows, NUM_ROWS * row * sizeof *key_rows);
    d_array d_value_rows = d_copy_of(value_rows, NUM_ROWS * row * sizeof *value_rows);
    d_array d_slots = d_copy_of(slots, sizeof slots);
    gpu_ok(kv_append_gpu(m->pool->key, m->pool->value, d_key_rows.data, d_value_rows.data, (uint64_t *)d_slots.data,
                         NUM_ROWS, shape, NULL, &cuda_error),
           &cuda_error, "an append at the far end");
    for (uint32_t i = 0; i < NUM_ROWS - 2; i++)
        mirror_append(m, slots[i], key_rows + i * row, value_rows + i * row);
    mirror_compare(m, "after the append");
    d_destroy(&d_key_rows);
    d_destroy(&d_value_rows);
    d_destroy(&d_slots);
    free(key_rows);
    free(value_rows);
}

/* From one end to the other and back, and over the boundary: the last block has what came from the first one. */
static void check_copies(mirror *m)
{
    uint32_t last = m->pool->shape.num_blocks - 1, tokens = m->pool->shape.block_tokens;
    uint32_t boundary = (uint32_t)(LARGE / m->pool->block_elements);
    const kv_copy copies[] = {
        {last, boundary, tokens},
        {0, last - 1, tokens},
        {last - 1, boundary - 1, (tokens + 1) / 2},
        {boundary, 0, tokens},
        {boundary - 1, last, tokens},
    };
    uint32_t num_copies = sizeof copies / sizeof copies[0];
    int cuda_error = -1;
    gpu_ok(kv_copy_gpu(m->pool->key, m->pool->value, copies, num_copies, &m->pool->shape, NULL, &cuda_error),
           &cuda_error, "copies at the far end");
    for (uint32_t i = 0; i < num_copies; i++)
        mirror_copy(m, &copies[i]);
    mirror_compare(m, "after the copies");
}

static void run_appends_and_copies(const void *argument)
{
    large_pool pool;
    need_gpu();
    large_pool_create(&pool, argument);
    mirror m = mirror_create(&pool);
    mirror_compare(&m, "before");
    check_appends(&m);
    check_copies(&m);
    free(m.key);
    free(m.value);
    large_pool_free(&pool);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "on the GPU, a pool of more than 2^32 elements gives the bits of a small one");
    for (size_t i = 0; i < sizeof large_sizes / sizeof large_sizes[0]; i++) {
        const struct large_size *large = &large_sizes[i];
        test_add(run_attention, large, "attention_head_dim_%u_block_%u", large->size.head_dim, large->block_tokens);
        test_add(run_appends_and_copies, large, "appends_and_copies_head_dim_%u_block_%u", large->size.head_dim,
                 large->block_tokens);
    }
    return test_end();
}
