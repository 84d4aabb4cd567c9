/* tree_importance: attention by any plan, and the importance of every token for every query that sees it. */
#ifndef TREE_IMPORTANCE_H
#define TREE_IMPORTANCE_H

#include "importance.h"
#include "tree_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The smallest num_slots of a plan: (largest table_index of a range + 1) * block_tokens. The blocks of a longest table
 * always suffice. 2^32 * block_tokens in a plan over draft tokens, whose paths are not tables. O(num_ranges). */
uint64_t tree_importance_slots(const tree_plan *plan);

/* As tree_attention_ref, with the same bits in out and lse. Also:
 *   importance  [num_queries][num_slots]  by slot of the query's table (plan->table_index). Written for the tokens that
 *               the query sees; -1 for all others
 *   norm        [num_blocks][num_kv_heads][block_tokens]  value_norm of each token
 *   num_slots   at least tree_importance_slots
 * Also TREE_INVAL: num_slots too small, or a plan over draft tokens. Nothing is written on error.
 * Mirrors: cpu/tree_importance_cpu.c, gpu/ */
tree_status tree_importance_ref(float *out, float *lse, float *importance, uint64_t num_slots, const float *query,
                                const float *key, const float *value, const float *norm, const tree_plan *plan,
                                const tree_shape *shape, float scale);

/* The victim of one query from its row of importance [num_slots], which may be a sum over layers; positions [num_slots]
 * of the same slots of its table: those of kv_pool_positions, block by block. As eviction_victim; slots of importance
 * exactly -1 do not count, so keep -1 where you add layers. */
uint64_t eviction_victim_of_slots(const float *importance, const uint32_t *positions, uint64_t num_slots,
                                  eviction_range candidates);

#ifdef __cplusplus
}
#endif
#endif
