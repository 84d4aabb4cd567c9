/* The oracle of pool_model.h for pools that evict. A branch is a list of (position, signature) in the order of
 * positions, with the place in the pool where each token was put: no keep words and no counts. From the lists follows
 * all else: a block is kept by the branches that have a token in it, and a slot without a token may be a hole. */
#ifndef POOL_KEEP_MODEL_H
#define POOL_KEEP_MODEL_H

#include "kv_evict.h"
#include "pool_model.h"

/* What model_fork_at and its siblings do in such a pool. */
void keep_model_recount(pool_model *m);
void keep_model_read_back(pool_model *m, const model_branch *b);
void keep_model_check(pool_model *m);
kv_status keep_model_fork_at(pool_model *m, int parent, uint32_t length, int *child);
kv_status keep_model_append_many(pool_model *m, const int *branches, const uint32_t *num_tokens, uint32_t count);
kv_status keep_model_truncate(pool_model *m, int branch, uint32_t length);
kv_status keep_model_adopt(pool_model *m, int branch, int winner);
kv_status keep_model_prune(pool_model *m, int branch);
kv_status keep_model_reserve(pool_model *m, int branch, uint32_t num_tokens);

/* slots: of the branch's table. */
kv_status model_evict(pool_model *m, int branch, kv_scope scope, const uint32_t *slots, uint32_t count);
kv_status model_evict_shared(pool_model *m, const int *branches, uint32_t count, uint32_t block, uint32_t slot);
kv_status model_thaw(pool_model *m, int branch);
kv_status model_compact(pool_model *m, int branch, uint32_t max_moves);
kv_status model_compact_shared(pool_model *m, int branch, uint32_t first_index, uint32_t max_moves);

/* One random call of those five. */
void model_evict_step(pool_model *m);

/* The slot of the table that holds the branch's token number `index`, in the order of positions. */
uint32_t model_slot_of(const pool_model *m, const model_branch *b, uint32_t index);

#endif
