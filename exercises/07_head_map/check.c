/* Attention through the student's index. */
#include "exercise.h"

#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "forest.h"
#include "tree_attention.h"

static tree_shape shape_of(uint32_t num_heads, uint32_t num_kv_heads)
{
    return (tree_shape){1, num_heads, num_kv_heads, 4, 6, 4, TREE_FP32};
}

static uint64_t index_of(const tree_shape *s, uint64_t block, uint64_t kv_head, uint64_t slot)
{
    return ((block * s->num_kv_heads + kv_head) * s->block_tokens + slot) * s->head_dim;
}

static void expect_heads(uint32_t num_heads, uint32_t num_kv_heads)
{
    const tree_shape s = shape_of(num_heads, num_kv_heads);
    for (uint32_t head = 0; head < num_heads; head++)
        expect_number("block 0, slot 0, head", head, (double)index_of(&s, 0, head / (num_heads / num_kv_heads), 0),
                      (double)exercise_key_offset(&s, 0, head, 0), 0);
}

static void attend(forest *f)
{
    const tree_shape *s = &f->shape;
    uint32_t dim = s->head_dim, states = s->num_queries * s->num_heads;
    uint64_t elements = tree_kv_offset(s, s->num_blocks, 0, 0);
    float *out = calloc((size_t)states * dim, sizeof *out);
    float path_key[64 * 4], path_value[64 * 4];
    double alone[4];
    tree_plan *plan;
    must(out && tree_plan_build(&plan, f->tree, &(tree_plan_config){.strategy = TREE_NODE}) == TREE_OK, "no plan");
    must(tree_attention_ref(out, NULL, f->query, f->key, f->value, plan, s, f->scale) == TREE_OK, "no output");
    for (uint32_t qh = 0; qh < states; qh++) {
        const kv_table *table = &f->tables[qh / s->num_heads];
        for (uint32_t t = 0; t < table->length; t++) {
            uint64_t at =
                exercise_key_offset(s, table->blocks[t / s->block_tokens], qh % s->num_heads, t % s->block_tokens);
            if (!expect(at + dim <= elements, "token %u, head %u: index %llu, but the pool has %llu elements", t,
                        qh % s->num_heads, (unsigned long long)at, (unsigned long long)elements))
                at = 0;
            memcpy(path_key + t * dim, f->key + at, dim * sizeof *path_key);
            memcpy(path_value + t * dim, f->value + at, dim * sizeof *path_value);
        }
        attention_ref(alone, NULL, f->query + qh * dim, path_key, path_value, table->length, dim, f->scale);
        for (uint32_t d = 0; d < dim; d++)
            expect_number("out: (query * heads + head) * 4 + element", (uint64_t)qh * dim + d,
                          (double)out[qh * dim + d], alone[d], 1e-5);
    }
    tree_plan_destroy(plan);
    free(out);
}

/* Keys of one token: distinct places that the query heads touch. */
static uint32_t bytes_touched(uint32_t num_heads, uint32_t num_kv_heads)
{
    const tree_shape s = shape_of(num_heads, num_kv_heads);
    uint32_t distinct = 0;
    for (uint32_t head = 0; head < num_heads; head++) {
        bool known = false;
        for (uint32_t h = 0; h < head; h++)
            known |= exercise_key_offset(&s, 1, h, 2) == exercise_key_offset(&s, 1, head, 2);
        distinct += !known;
    }
    return distinct * s.head_dim * (uint32_t)sizeof(float);
}

int main(void)
{
    property("one KV head per query head: head h reads KV head h");
    expect_heads(4, 4);

    property("8 query heads, 2 KV heads: neighbours form a group");
    expect_heads(8, 2);

    property("12 query heads, 3 KV heads");
    expect_heads(12, 3);

    property("the slots of a block are head_dim elements apart");
    const tree_shape s = shape_of(8, 2);
    for (uint32_t slot = 0; slot < 4; slot++)
        expect_number("block 0, head 0, slot", slot, (double)index_of(&s, 0, 0, slot),
                      (double)exercise_key_offset(&s, 0, 0, slot), 0);

    property("a block holds the keys of all KV heads");
    for (uint32_t block = 0; block < 6; block++)
        expect_number("head 5, slot 3, block", block, (double)index_of(&s, block, 1, 3),
                      (double)exercise_key_offset(&s, block, 5, 3), 0);

    property("an index beyond 2^32");
    const tree_shape large = {1, 8, 8, 128, 1u << 20, 256, TREE_FP32};
    expect_number("block", 1000000, (double)index_of(&large, 1000000, 7, 255),
                  (double)exercise_key_offset(&large, 1000000, 7, 255), 0);

    property("attention over 10 random trees with 6 query heads and 2 KV heads");
    for (int i = 0; i < 10; i++) {
        forest f;
        forest_random(&f, 4, 6, 2, 4);
        attend(&f);
        forest_destroy(&f);
    }

    property("heads of a group read the same bytes");
    uint32_t bytes = bytes_touched(8, 2);
    score("bytes of keys that 8 query heads touch for one token: %u; a KV head for each would need 128", bytes);
    expect(bytes == 32, "expected 32 bytes, got %u", bytes);
    return finish();
}
