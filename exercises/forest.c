/* Trees for the checks. */
#include "forest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TINY_BLOCKS = 6, TINY_BLOCK_TOKENS = 4, TINY_DIM = 4, RANDOM_BLOCKS = 64, RANDOM_OPERATIONS = 24 };

kv_pool *tiny_pool(kv_branch branches[TINY_BRANCHES], int steps)
{
    kv_pool *pool;
    kv_append append;
    const kv_pool_config config = {.num_blocks = TINY_BLOCKS, .block_tokens = TINY_BLOCK_TOKENS};
    must(kv_pool_create(&pool, &config) == KV_OK && kv_branch_create(pool, &branches[0]) == KV_OK, "no pool");
    must(kv_branch_append(pool, branches[0], 6, &append) == KV_OK, "no append");
    if (steps > 1) must(kv_branch_fork(pool, branches[0], &branches[1]) == KV_OK, "no fork");
    if (steps > 2) must(kv_branch_append(pool, branches[0], 3, &append) == KV_OK, "no append");
    if (steps > 3) must(kv_branch_append(pool, branches[1], 4, &append) == KV_OK, "no append");
    return pool;
}

static float *floats(uint64_t count)
{
    float *array = malloc(count * sizeof *array);
    must(array != NULL, "out of memory");
    return array;
}

static void create_arrays(forest *f)
{
    const tree_shape *s = &f->shape;
    uint64_t pool_elements = tree_kv_offset(s, s->num_blocks, 0, 0);
    must(kv_branch_tables(f->pool, f->branches, f->num_branches, f->tables) == KV_OK, "no tables");
    must(kv_tree_build(&f->tree, f->tables, f->num_branches, s->block_tokens, s->num_blocks) == KV_OK, "no tree");
    f->query = floats((uint64_t)s->num_queries * s->num_heads * s->head_dim);
    f->key = floats(pool_elements);
    f->value = floats(pool_elements);
}

void forest_tiny(forest *f)
{
    static const float query[TINY_BRANCHES][TINY_DIM] = {{2, 0, 4, -2}, {0, 4, -2, 2}};
    static const int tokens[TINY_BLOCKS][TINY_BLOCK_TOKENS] = {{0, 1, 2, 3},    {4, 5, 9, 10},    {4, 5, 6, 7},
                                                               {8, -1, -1, -1}, {11, 12, -1, -1}, {-1, -1, -1, -1}};
    *f = (forest){.pool = tiny_pool(f->branches, 4),
                  .num_branches = TINY_BRANCHES,
                  .scale = 0.5f,
                  .branches = {f->branches[0], f->branches[1]},
                  .shape = {TINY_BRANCHES, 1, 1, TINY_DIM, TINY_BLOCKS, TINY_BLOCK_TOKENS, TREE_FP32}};
    create_arrays(f);
    memcpy(f->query, query, sizeof query);
    for (int place = 0; place < TINY_BLOCKS * TINY_BLOCK_TOKENS; place++) {
        int t = tokens[place / TINY_BLOCK_TOKENS][place % TINY_BLOCK_TOKENS];
        for (int d = 0; d < TINY_DIM; d++) {
            f->key[place * TINY_DIM + d] = t < 0 ? NAN : d == t % TINY_DIM;
            f->value[place * TINY_DIM + d] = t < 0 ? NAN : d == 0 ? (float)t : t % d == 0;
        }
    }
}

void forest_random(forest *f, uint32_t block_tokens, uint32_t num_heads, uint32_t num_kv_heads, uint32_t head_dim)
{
    kv_append append;
    const kv_pool_config config = {.num_blocks = RANDOM_BLOCKS, .block_tokens = block_tokens};
    *f = (forest){.num_branches = 1, .scale = 1 / sqrtf((float)head_dim)};
    must(kv_pool_create(&f->pool, &config) == KV_OK && kv_branch_create(f->pool, &f->branches[0]) == KV_OK, "no pool");
    must(kv_branch_append(f->pool, f->branches[0], 1 + draw(3 * block_tokens), &append) == KV_OK, "no append");
    for (uint32_t i = 0; i < RANDOM_OPERATIONS; i++) {
        kv_branch branch = f->branches[draw(f->num_branches)];
        kv_table table;
        must(kv_branch_table(f->pool, branch, &table) == KV_OK, "no table");
        if (f->num_branches < FOREST_MAX_BRANCHES && draw(3) == 0) {
            must(kv_branch_fork_at(f->pool, branch, 1 + draw(table.length), &f->branches[f->num_branches]) == KV_OK,
                 "no fork");
            f->num_branches++;
        } else if (table.length < 6 * block_tokens) {
            must(kv_branch_append(f->pool, branch, 1 + draw(block_tokens), &append) == KV_OK, "no append");
        }
    }
    f->shape = (tree_shape){f->num_branches, num_heads, num_kv_heads, head_dim, RANDOM_BLOCKS, block_tokens, TREE_FP32};
    create_arrays(f);
    uint64_t pool_elements = tree_kv_offset(&f->shape, RANDOM_BLOCKS, 0, 0);
    for (uint64_t i = 0; i < pool_elements; i++) {
        f->key[i] = (float)draw(2001) / 500 - 2;
        f->value[i] = (float)draw(2001) / 500 - 2;
    }
    for (uint64_t i = 0; i < (uint64_t)f->num_branches * num_heads * head_dim; i++)
        f->query[i] = (float)draw(2001) / 250 - 4;
}

void forest_destroy(forest *f)
{
    free(f->query);
    free(f->key);
    free(f->value);
    kv_tree_destroy(f->tree);
    kv_pool_destroy(f->pool, true, NULL);
}
