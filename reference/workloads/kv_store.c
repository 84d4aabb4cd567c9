/* kv_store: see kv_store.h.
 *
 * Numerics notes. An element is the sum of eight uniform numbers, shifted and scaled to mean 0 and variance 1: within
 * 4.9 of zero, near enough to normal, and computed from integers, so every machine gets the same bits. */
#include "kv_store.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "exact_math_internal.h"
#include "half.h"

const char *const kv_poison_name[KV_NUM_POISONS] = {"off", "nan", "inf", "decoy"};

typedef struct token_list {
    uint32_t *tokens;
    uint32_t length, capacity;
} token_list;

struct kv_store {
    kv_store_config config;
    tree_shape shape;
    kv_status status;
    void *key, *value;
    token_list *lists; /* [num_lists] by the workload's name */
    uint32_t num_lists;
    float *vector;     /* [head_dim] scratch */
};

/* --- elements ----------------------------------------------------------------------------------------------------- */

static float store_round(tree_storage storage, float x)
{
    if (storage == TREE_BF16)
        return bf16_to_float(bf16_from_float(x));
    return storage == TREE_FP16 ? fp16_to_float(fp16_from_float(x)) : x;
}

static void store_element(tree_storage storage, void *array, uint64_t index, float x)
{
    if (storage == TREE_FP32)
        ((float *)array)[index] = x;
    else
        ((uint16_t *)array)[index] = storage == TREE_BF16 ? bf16_from_float(x) : fp16_from_float(x);
}

/* splitmix64's finish */
static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static int32_t sum_of_four(uint64_t bits)
{
    return (int32_t)((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
}

void kv_store_vector(const kv_store *store, uint32_t token, uint32_t kv_head, bool is_value, float *vector)
{
    const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);
    const float scale = 1.0f / (65536.0f * 0.81649658f); /* standard deviation of eight uniforms: sqrt(8 / 12) */
    float deviation = is_value ? 1.0f : store->config.key_scale;
    uint64_t state = mix(mix(store->config.seed + golden) + ((uint64_t)token << 32 | kv_head << 1 | is_value));
    for (uint32_t i = 0; i < store->config.head_dim; i++) {
        int32_t sum = sum_of_four(mix(state + golden)) + sum_of_four(mix(state + 2 * golden));
        state += 2 * golden;
        vector[i] = store_round(store->config.storage, (float)(sum - 4 * 65535) * scale * deviation);
    }
}

/* --- blocks ------------------------------------------------------------------------------------------------------- */

static void write_vector(kv_store *store, void *array, uint32_t block, uint32_t kv_head, uint32_t slot,
                         const float *vector)
{
    assert(block < store->config.num_blocks && slot < store->config.block_tokens && "store and pool are of one shape");
    uint64_t at = tree_kv_offset(&store->shape, block, kv_head, slot);
    for (uint32_t i = 0; i < store->config.head_dim; i++)
        store_element(store->config.storage, array, at + i, vector[i]);
}

static float poison_of(const kv_store *store, bool is_value)
{
    switch (store->config.poison) {
    case KV_POISON_NAN:
        return NAN;
    case KV_POISON_INF:
        return INFINITY;
    case KV_POISON_DECOY:
        return !is_value ? 0.0f : store->config.storage == TREE_FP16 ? 65504.0f : 1e30f;
    default:
        return 0.0f;
    }
}

/* Slots first_slot .. block_tokens - 1 of one block, all heads. */
static void poison_block(kv_store *store, uint32_t block, uint32_t first_slot)
{
    assert(block < store->config.num_blocks && first_slot < store->config.block_tokens &&
           "store and pool are of one shape");
    uint64_t count = (uint64_t)(store->config.block_tokens - first_slot) * store->config.head_dim;
    for (uint32_t kv_head = 0; kv_head < store->config.num_kv_heads; kv_head++) {
        uint64_t at = tree_kv_offset(&store->shape, block, kv_head, first_slot);
        for (uint64_t i = at; i < at + count; i++) {
            store_element(store->config.storage, store->key, i, poison_of(store, false));
            store_element(store->config.storage, store->value, i, poison_of(store, true));
        }
    }
}

static void copy_block(kv_store *store, void *array, const kv_copy *copy)
{
    assert(copy->from_block < store->config.num_blocks && copy->to_block < store->config.num_blocks &&
           copy->num_tokens <= store->config.block_tokens && "store and pool are of one shape");
    size_t element = tree_storage_bytes(store->config.storage);
    size_t bytes = (size_t)copy->num_tokens * store->config.head_dim * element;
    for (uint32_t kv_head = 0; kv_head < store->config.num_kv_heads; kv_head++)
        memcpy((char *)array + tree_kv_offset(&store->shape, copy->to_block, kv_head, 0) * element,
               (char *)array + tree_kv_offset(&store->shape, copy->from_block, kv_head, 0) * element, bytes);
}

/* --- lists of tokens ---------------------------------------------------------------------------------------------- */

static bool no_memory(kv_store *store)
{
    store->status = KV_NOMEM;
    return false;
}

static bool reserve_list(kv_store *store, token_list *list, uint32_t length)
{
    if (length <= list->capacity)
        return true;
    uint32_t wanted = length + length / 2 + 16;
    uint32_t *grown = realloc(list->tokens, wanted * sizeof *grown);
    if (!grown)
        return no_memory(store);
    list->tokens = grown;
    list->capacity = wanted;
    return true;
}

static void empty_list(token_list *list)
{
    free(list->tokens);
    *list = (token_list){NULL, 0, 0};
}

/* Room for the list of a name. */
static bool reserve_name(kv_store *store, uint32_t branch)
{
    if (branch < store->num_lists)
        return true;
    size_t wanted = (size_t)branch + branch / 2 + 64;
    token_list *grown = realloc(store->lists, wanted * sizeof *grown);
    if (!grown)
        return no_memory(store);
    memset(grown + store->num_lists, 0, (wanted - store->num_lists) * sizeof *grown);
    store->lists = grown;
    store->num_lists = (uint32_t)wanted;
    return true;
}

static void fork_list(kv_store *store, uint32_t branch, uint32_t parent)
{
    token_list *child = &store->lists[branch];
    const token_list *from = &store->lists[parent];
    if (!reserve_list(store, child, from->length + 1))
        return;
    if (from->length)
        memcpy(child->tokens, from->tokens, from->length * sizeof *from->tokens);
    child->length = from->length;
}

/* --- events ------------------------------------------------------------------------------------------------------- */

static void on_branch(void *context, workload_kind kind, uint32_t branch, uint32_t value)
{
    kv_store *store = context;
    if (store->status != KV_OK || !reserve_name(store, branch))
        return;
    switch (kind) {
    case WORKLOAD_FORK:
        fork_list(store, branch, value);
        break;
    case WORKLOAD_TRUNCATE:
        store->lists[branch].length = value;
        break;
    case WORKLOAD_ADOPT:
        empty_list(&store->lists[branch]);
        store->lists[branch] = store->lists[value];
        store->lists[value] = (token_list){NULL, 0, 0};
        break;
    case WORKLOAD_PRUNE:
        empty_list(&store->lists[branch]);
        break;
    default:
        break;
    }
}

static void on_copy(void *context, const kv_copy *copy)
{
    kv_store *store = context;
    copy_block(store, store->key, copy);
    copy_block(store, store->value, copy);
}

static void on_token(void *context, uint32_t branch, uint32_t position, uint32_t block, uint32_t slot, uint32_t token)
{
    kv_store *store = context;
    if (store->status != KV_OK)
        return;
    token_list *list = &store->lists[branch];
    assert(position == list->length && "tokens are appended in order");
    if (!reserve_list(store, list, position + 1))
        return;
    list->tokens[list->length++] = token;
    for (uint32_t kv_head = 0; kv_head < store->config.num_kv_heads; kv_head++) {
        kv_store_vector(store, token, kv_head, false, store->vector);
        write_vector(store, store->key, block, kv_head, slot, store->vector);
        kv_store_vector(store, token, kv_head, true, store->vector);
        write_vector(store, store->value, block, kv_head, slot, store->vector);
    }
}

static void on_released(void *context, const uint32_t *blocks, uint32_t num_blocks, uint32_t first_slot)
{
    kv_store *store = context;
    if (store->config.poison == KV_POISON_OFF)
        return;
    for (uint32_t i = 0; i < num_blocks; i++)
        poison_block(store, blocks[i], first_slot);
}

replay_events kv_store_events(kv_store *store)
{
    return (replay_events){store, on_branch, on_copy, on_token, on_released};
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static kv_status check_config(const kv_store_config *c, uint64_t *num_elements)
{
    uint32_t bs = c->block_tokens;
    if (c->num_blocks == 0 || c->num_kv_heads == 0 || c->head_dim == 0 || bs == 0 || bs > 256 || (bs & (bs - 1)) ||
        (unsigned)c->storage > TREE_BF16 || (unsigned)c->poison >= KV_NUM_POISONS)
        return KV_INVAL;
    uint64_t per_block;
    if (__builtin_mul_overflow((uint64_t)bs * c->num_kv_heads, (uint64_t)c->head_dim, &per_block) ||
        __builtin_mul_overflow(per_block, (uint64_t)c->num_blocks, num_elements) ||
        *num_elements > SIZE_MAX / 2 / tree_storage_bytes(c->storage) || *num_elements > UINT64_C(1) << 47)
        return KV_OVERFLOW;
    return KV_OK;
}

kv_status kv_store_create(kv_store **result, const kv_store_config *config)
{
    uint64_t num_elements;
    kv_status status = check_config(config, &num_elements);
    if (status != KV_OK)
        return status;
    kv_store *store = calloc(1, sizeof *store);
    if (!store)
        return KV_NOMEM;
    store->config = *config;
    if (store->config.key_scale == 0)
        store->config.key_scale = 1;
    store->shape = kv_store_shape(store, 0, config->num_kv_heads);
    store->key = calloc(num_elements, tree_storage_bytes(config->storage));
    store->value = calloc(num_elements, tree_storage_bytes(config->storage));
    store->vector = calloc(config->head_dim, sizeof *store->vector);
    if (!store->key || !store->value || !store->vector) {
        kv_store_destroy(store);
        return KV_NOMEM;
    }
    if (config->poison != KV_POISON_OFF)
        for (uint32_t block = 0; block < config->num_blocks; block++)
            poison_block(store, block, 0);
    *result = store;
    return KV_OK;
}

void kv_store_destroy(kv_store *store)
{
    if (!store)
        return;
    for (uint32_t i = 0; i < store->num_lists; i++)
        free(store->lists[i].tokens);
    free(store->lists);
    free(store->key);
    free(store->value);
    free(store->vector);
    free(store);
}

kv_status kv_store_status(const kv_store *store)
{
    return store->status;
}

void *kv_store_key(kv_store *store)
{
    return store->key;
}

void *kv_store_value(kv_store *store)
{
    return store->value;
}

tree_shape kv_store_shape(const kv_store *store, uint32_t num_queries, uint32_t num_heads)
{
    const kv_store_config *c = &store->config;
    return (tree_shape){.num_queries = num_queries, .num_heads = num_heads, .num_kv_heads = c->num_kv_heads,
                        .head_dim = c->head_dim, .num_blocks = c->num_blocks, .block_tokens = c->block_tokens,
                        .storage = c->storage};
}

const uint32_t *kv_store_tokens(const kv_store *store, uint32_t branch, uint32_t *length)
{
    *length = branch < store->num_lists ? store->lists[branch].length : 0;
    return *length ? store->lists[branch].tokens : NULL;
}

void kv_store_gather(const kv_store *store, uint32_t branch, uint32_t kv_head, float *key, float *value)
{
    uint32_t length;
    const uint32_t *tokens = kv_store_tokens(store, branch, &length);
    for (size_t t = 0; t < length; t++) {
        if (key)
            kv_store_vector(store, tokens[t], kv_head, false, key + t * store->config.head_dim);
        if (value)
            kv_store_vector(store, tokens[t], kv_head, true, value + t * store->config.head_dim);
    }
}
