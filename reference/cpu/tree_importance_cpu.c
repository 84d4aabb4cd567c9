/* tree_importance_cpu: attention that keeps its scores. */
#include "tree_importance_cpu.h"

#include "tree_attention_cpu_internal.h"
#include "tree_importance.h"

size_t tree_importance_cpu_workspace_bytes(const tree_plan *plan, const tree_shape *shape, uint32_t max_threads)
{
    return cpu_attention_workspace_bytes(plan, shape, true, max_threads);
}

tree_status tree_importance_cpu(float *out, float *lse, float *importance, uint64_t num_slots, const float *query,
                                const void *key, const void *value, const float *norm, const tree_plan *plan,
                                const tree_shape *shape, float scale, void *workspace, size_t workspace_bytes,
                                uint32_t num_threads, tree_isa isa)
{
    tree_status status = tree_plan_fits(plan, shape);
    if (status != TREE_OK)
        return status;
    if (num_slots < tree_importance_slots(plan))
        return TREE_INVAL;
    cpu_scores scores = {.importance = importance, .norm = norm, .num_slots = num_slots};
    return cpu_attention(out, lse, &scores, query, key, value, plan, shape, scale, workspace, workspace_bytes,
                         num_threads, isa);
}
