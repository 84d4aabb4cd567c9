/* Streams of tokens for tests of eviction. */
#include "eviction_cases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

static void *checked(void *memory)
{
    check(memory != NULL, "out of memory");
    return memory;
}

static eviction_stream create(uint32_t num_heads, uint32_t num_kv_heads, uint32_t head_dim, uint32_t num_tokens)
{
    eviction_stream s = {num_heads, num_kv_heads, head_dim, num_tokens, NULL, NULL, NULL, NULL};
    s.queries = checked(calloc((size_t)num_tokens * num_heads * head_dim + 1, sizeof *s.queries));
    s.keys = checked(calloc((size_t)num_tokens * num_kv_heads * head_dim + 1, sizeof *s.keys));
    s.values = checked(calloc((size_t)num_tokens * num_kv_heads * head_dim + 1, sizeof *s.values));
    return s;
}

static void fill_normal(float *array, size_t count, double size)
{
    for (size_t i = 0; i < count; i++)
        array[i] = (float)(size * test_normal());
}

eviction_stream eviction_stream_random(uint32_t num_heads, uint32_t num_kv_heads, uint32_t head_dim,
                                       uint32_t num_tokens, float score_std)
{
    eviction_stream s = create(num_heads, num_kv_heads, head_dim, num_tokens);
    size_t kv_floats = (size_t)num_kv_heads * head_dim;
    fill_normal(s.queries, (size_t)num_tokens * num_heads * head_dim, score_std);
    fill_normal(s.keys, num_tokens * kv_floats, 1);
    for (uint32_t t = 0; t < num_tokens; t++)
        fill_normal(s.values + t * kv_floats, kv_floats, exp(3 * test_uniform() - 1.5));
    return s;
}

static uint32_t *permutation(uint32_t count)
{
    uint32_t *order = checked(malloc(((size_t)count + 1) * sizeof *order));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t j = test_below(i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

eviction_stream eviction_stream_exact(uint32_t num_heads, uint32_t num_kv_heads, uint32_t head_dim,
                                      uint32_t num_tokens)
{
    check(num_tokens <= 28 * 128, "%u tokens: fp16 has 28 binades here, of 128 sizes each", num_tokens);
    eviction_stream s = create(num_heads, num_kv_heads, head_dim, num_tokens);
    size_t kv_floats = (size_t)num_kv_heads * head_dim;
    fill_normal(s.queries, (size_t)num_tokens * num_heads * head_dim, 1);
    s.ranks = permutation(num_tokens);
    for (uint32_t t = 0; t < num_tokens; t++) {
        uint32_t rank = s.ranks[t];
        float size = ldexpf(1 + (float)(rank % 128) / 128, (int)(rank / 128) - 14);
        for (size_t i = 0; i < kv_floats; i++)
            s.values[t * kv_floats + i] = test_below(2) ? size : -size;
    }
    return s;
}

void eviction_stream_destroy(eviction_stream *s)
{
    free(s->queries);
    free(s->keys);
    free(s->values);
    free(s->ranks);
}

eviction_pool eviction_pool_create(const eviction_stream *s, uint32_t block_tokens)
{
    uint32_t num_blocks = s->num_tokens / block_tokens + 2, num_slots = num_blocks * block_tokens;
    size_t heads = (size_t)num_slots * s->num_kv_heads;
    eviction_pool p = {.shape = {1, s->num_heads, s->num_kv_heads, s->head_dim, num_blocks, block_tokens, TREE_FP32}};
    p.key = checked(malloc(heads * s->head_dim * sizeof *p.key));
    p.value = checked(malloc(heads * s->head_dim * sizeof *p.value));
    p.norm = checked(malloc(heads * sizeof *p.norm));
    for (size_t i = 0; i < heads * s->head_dim; i++)
        p.key[i] = p.value[i] = NAN;
    for (size_t i = 0; i < heads; i++)
        p.norm[i] = NAN;
    uint32_t *order = permutation(num_slots);
    uint64_t *slots = checked(malloc(((size_t)s->num_tokens + 1) * sizeof *slots));
    uint32_t *positions = checked(malloc(((size_t)s->num_tokens + 1) * sizeof *positions));
    for (uint32_t t = 0; t < s->num_tokens; t++) {
        slots[t] = order[t];
        positions[t] = t;
        for (uint32_t g = 0; g < s->num_kv_heads; g++) {
            uint64_t offset = tree_kv_offset(&p.shape, order[t] / block_tokens, g, order[t] % block_tokens);
            const float *value = stream_value(s, t) + (size_t)g * s->head_dim;
            memcpy(p.key + offset, stream_key(s, t) + (size_t)g * s->head_dim, s->head_dim * sizeof *p.key);
            memcpy(p.value + offset, value, s->head_dim * sizeof *p.value);
            p.norm[offset / s->head_dim] = value_norm(value, s->head_dim);
        }
    }
    free(order);
    p.tokens = (token_list){s->num_tokens, slots, positions};
    return p;
}

void eviction_pool_destroy(eviction_pool *p)
{
    free(p->key);
    free(p->value);
    free(p->norm);
    free((void *)p->tokens.slots);
    free((void *)p->tokens.positions);
}
