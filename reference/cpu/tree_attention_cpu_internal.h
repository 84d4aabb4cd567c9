/* tree_attention_cpu, with or without the scores: shared with tree_importance_cpu. */
#ifndef TREE_ATTENTION_CPU_INTERNAL_H
#define TREE_ATTENTION_CPU_INTERNAL_H

#include "tree_attention_cpu_scores.h"
#include "tree_isa.h"

/* As tree_attention_cpu_workspace_bytes. */
size_t cpu_attention_workspace_bytes(const tree_plan *plan, const tree_shape *shape, bool keeps_scores,
                                     uint32_t max_threads);

/* As tree_attention_cpu. scores: with importance, norm and num_slots set, the importance is written too; the workspace
 * must be that of keeps_scores. NULL: attention alone. */
tree_status cpu_attention(float *out, float *lse, cpu_scores *scores, const float *query, const void *key,
                          const void *value, const tree_plan *plan, const tree_shape *shape, float scale,
                          void *workspace, size_t workspace_bytes, uint32_t num_threads, tree_isa isa);

#endif
