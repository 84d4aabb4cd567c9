/* The functions that the headers define as static inline, as symbols of libtreeattn.so for python/treeattn: inline_NAME
 * calls NAME. Those of half.h run over arrays of count elements. */
#include <treeattn.h>

#define EXPORT(type, name, parameters, arguments)                                                                      \
    type inline_##name parameters;                                                                                     \
    type inline_##name parameters { return name arguments; }

EXPORT(bool, kv_keep_slot, (const kv_keep *keep, uint32_t block_tokens, uint32_t slot), (keep, block_tokens, slot))
EXPORT(size_t, tree_storage_bytes, (tree_storage storage), (storage))
EXPORT(uint64_t, tree_kv_offset, (const tree_shape *shape, uint32_t block, uint32_t kv_head, uint32_t slot),
       (shape, block, kv_head, slot))
EXPORT(uint32_t, eviction_key_position, (uint64_t key), (key))
EXPORT(double, softmax_state_lse, (const softmax_state *state), (state))

#define EXPORT_VOID(name, parameters, arguments)                                                                       \
    void inline_##name parameters;                                                                                     \
    void inline_##name parameters { name arguments; }

EXPORT_VOID(softmax_state_empty, (softmax_state *state, uint32_t head_dim), (state, head_dim))
EXPORT_VOID(softmax_state_absorb, (softmax_state *state, double score, const float *value, uint32_t head_dim),
            (state, score, value, head_dim))
EXPORT_VOID(softmax_state_merge, (softmax_state *state, const softmax_state *other, uint32_t head_dim),
            (state, other, head_dim))
EXPORT_VOID(softmax_state_normalize, (float *out, const softmax_state *state, uint32_t head_dim),
            (out, state, head_dim))

#define EXPORT_ARRAY(to_type, from_type, name)                                                                         \
    void inline_##name(to_type *to, const from_type *from, size_t count);                                              \
    void inline_##name(to_type *to, const from_type *from, size_t count)                                               \
    {                                                                                                                  \
        for (size_t i = 0; i < count; i++)                                                                             \
            to[i] = name(from[i]);                                                                                     \
    }

EXPORT_ARRAY(float, uint32_t, half_from_bits)
EXPORT_ARRAY(uint32_t, float, half_bits)
EXPORT_ARRAY(float, uint16_t, bf16_to_float)
EXPORT_ARRAY(uint16_t, float, bf16_from_float)
EXPORT_ARRAY(float, uint16_t, fp16_to_float)
EXPORT_ARRAY(uint16_t, float, fp16_from_float)
