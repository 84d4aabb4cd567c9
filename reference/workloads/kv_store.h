/* kv_store: K and V for the blocks of a pool, filled with random keys and values that can be computed again without a
 * block table.
 *
 * The key and the value of a token depend on (seed, token, head) alone. An oracle's contiguous copy of a branch thus
 * needs only the branch's list of tokens, which the store keeps as a plain private copy: a wrong block, slot or block
 * copy shows as a difference. For tests and measurements; replay drives it through events. */
#ifndef KV_STORE_H
#define KV_STORE_H

#include "replay.h"
#include "tree_shape.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The contents of slots that no branch sees: at the start, and after they are released. A slot that a sibling saw keeps
 * its contents as long as other branches hold its block. */
typedef enum kv_poison {
    KV_POISON_OFF = 0, /* zeros at the start, then the old contents */
    KV_POISON_NAN,
    KV_POISON_INF,
    KV_POISON_DECOY,   /* harmless keys; values 1e30, in fp16 65504: a stale read shows as a wild but finite number */
    KV_NUM_POISONS
} kv_poison;

extern const char *const kv_poison_name[KV_NUM_POISONS]; /* "off", "nan", "inf", "decoy" */

typedef struct kv_store_config {
    tree_storage storage;
    uint32_t num_blocks, block_tokens, num_kv_heads, head_dim;
    uint64_t seed;
    kv_poison poison;
    float key_scale; /* standard deviation of keys, 0 means 1; that of values is 1 */
} kv_store_config;

typedef struct kv_store kv_store;

/* KV_INVAL (a count is 0, block_tokens no power of two up to 256, unknown storage or poison), KV_OVERFLOW, KV_NOMEM. */
kv_status kv_store_create(kv_store **result, const kv_store_config *config);
void kv_store_destroy(kv_store *store);

/* For replay_create. The store must outlive the replay, and have the num_blocks and block_tokens of its pool (asserted
 * for a block or slot beyond them). */
replay_events kv_store_events(kv_store *store);

/* KV_OK, or KV_NOMEM if an event since creation could not be followed: then the store is unusable. */
kv_status kv_store_status(const kv_store *store);

/* [num_blocks][num_kv_heads][block_tokens][head_dim] of config.storage, for tree_attention. Writable for tests. */
void *kv_store_key(kv_store *store);
void *kv_store_value(kv_store *store);

/* Shape for num_queries queries of num_heads heads over this store. */
tree_shape kv_store_shape(const kv_store *store, uint32_t num_queries, uint32_t num_heads);

/* The branch's tokens in order, by the workload's name; length 0 for a branch that is unborn or dead. */
const uint32_t *kv_store_tokens(const kv_store *store, uint32_t branch, uint32_t *length);

/* Contiguous K and V of a branch and KV head for the oracle: key and value [length][head_dim], rounded to the storage
 * type. Computed from the list of tokens; reads no block. Either may be NULL. */
void kv_store_gather(const kv_store *store, uint32_t branch, uint32_t kv_head, float *key, float *value);

/* The key or value [head_dim] of one token, rounded to the storage type. */
void kv_store_vector(const kv_store *store, uint32_t token, uint32_t kv_head, bool is_value, float *vector);

#ifdef __cplusplus
}
#endif
#endif
