/* tree_attention_cpu: the reference's five steps, in tiles that fit the cache.
 *
 *   idea    a task is one item and one KV head: each of its K and V tiles is packed once and used by all of its rows
 *   price   a partial state per (row, head) in the workspace, merged at the end as the reference does
 *   files   tree_attention_cpu_queue.c  which tile a thread computes next, and what it prefetches
 *           tree_attention_cpu_rows.c   the rows of an item, from packed queries to merged states
 *           tree_attention_cpu_body.h   the arithmetic of one tile, once for all instruction sets
 *           tree_attention_cpu_scores.c for tree_importance_cpu: the scores stay, and each token is weighed at the end
 *
 * Workspace: the partial states, the scores if they are kept, then the scratch of each thread. */
#include "tree_attention_cpu.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include "tree_attention_cpu_internal.h"
#include "tree_attention_cpu_queue.h"
#include "tree_isa_internal.h"

typedef struct thread_scratch {
    cpu_queue *queue;
    cpu_row_scratch rows;
} thread_scratch;

/* The partial states of the tasks that this thread takes. scores NULL: they are not kept. */
static void attend_tasks(const cpu_partials *partials, const cpu_scores *scores, const float *query, const void *key,
                         const void *value, const cpu_call *call, cpu_tickets *tickets, thread_scratch *scratch)
{
    cpu_rows rows_of_kind[CPU_NUM_KINDS]; /* one short item is open at a time, and one long item */
    cpu_queue_begin(scratch->queue, key, value, call->plan, call->shape, tickets);

    /* find this item's blocks */
    for (cpu_tile *tile; (tile = cpu_queue_next(scratch->queue)) != NULL;) {
        cpu_rows *rows = &rows_of_kind[tile->is_long];
        if (tile->first) {
            *rows = cpu_rows_begin(partials, query, call, tile, &scratch->rows);
            rows->scores = scores ? cpu_scores_of(scores, call, tile->item, tile->kv_head) : NULL;
        }

        /* score the keys - absorb into the running maximum and sum */
        cpu_rows_absorb(rows, tile, call, &scratch->queue->prefetch, &scratch->rows);
        if (scores)
            rows->scores += (size_t)rows->num_rows * CPU_TILE_TOKENS;
        if (tile->ends_piece)
            cpu_rows_end_piece(rows, tile, call, &scratch->rows);
    }
}

/* out and lse of one query and head. */
static void merge_query(float *out, float *lse, const cpu_scores *scores, const cpu_partials *partials,
                        const cpu_call *call, uint32_t query, uint32_t head, thread_scratch *scratch)
{
    /* merge partial states */
    cpu_merged merged = cpu_rows_merge(partials, call, query, head, &scratch->rows);

    /* normalize */
    uint64_t qh = (uint64_t)query * call->shape->num_heads + head;
    cpu_rows_normalize(out + qh * call->shape->head_dim, lse ? lse + qh : NULL, &merged, call);
    if (scores)
        cpu_scores_put(scores, call, query, head, &merged);
}

/* ---- workspace and threads ---- */

/* Both return the bytes. base NULL: nothing is placed. */
static size_t place_shared(cpu_partials *partials, cpu_scores *scores, const cpu_call *call, uint32_t num_threads,
                           char *base)
{
    size_t used = 0;
    cpu_partials_place(partials, call, base, &used);
    if (scores)
        cpu_scores_place(scores, call, num_threads, base, &used);
    return used;
}

static size_t place_scratch(thread_scratch *scratch, const cpu_call *call, char *base)
{
    size_t used = 0;
    scratch->queue = cpu_carve(base, &used, sizeof *scratch->queue);
    cpu_row_scratch_place(&scratch->rows, call, base, &used);
    return used;
}

static uint32_t threads_or_default(uint32_t num_threads)
{
#ifdef _OPENMP
    return num_threads ? num_threads : (uint32_t)omp_get_max_threads();
#else
    (void)num_threads;
    return 1;
#endif
}

static uint32_t this_thread(void)
{
#ifdef _OPENMP
    return (uint32_t)omp_get_thread_num();
#else
    return 0;
#endif
}

static size_t workspace_bytes_of(const cpu_call *call, bool keeps_scores, uint32_t num_threads)
{
    cpu_partials partials;
    cpu_scores scores;
    thread_scratch scratch;
    return place_shared(&partials, keeps_scores ? &scores : NULL, call, num_threads, NULL) +
           num_threads * place_scratch(&scratch, call, NULL);
}

size_t cpu_attention_workspace_bytes(const tree_plan *plan, const tree_shape *shape, bool keeps_scores,
                                     uint32_t max_threads)
{
    if (tree_plan_fits(plan, shape) != TREE_OK)
        return 0;
    cpu_call call = cpu_call_of(plan, shape, 1, NULL);
    return workspace_bytes_of(&call, keeps_scores, threads_or_default(max_threads));
}

tree_status cpu_attention(float *out, float *lse, cpu_scores *scores, const float *query, const void *key,
                          const void *value, const tree_plan *plan, const tree_shape *shape, float scale,
                          void *workspace, size_t workspace_bytes, uint32_t num_threads, tree_isa isa)
{
    tree_status status = tree_plan_fits(plan, shape);
    if (status != TREE_OK)
        return status;
    uint32_t features = cpu_machine_features();
    if (!cpu_features_suffice(features, isa))
        return TREE_UNSUPPORTED;
    if (isa == TREE_ISA_AUTO)
        isa = cpu_best_isa(features);
    num_threads = threads_or_default(num_threads);
    cpu_call call = cpu_call_of(plan, shape, scale, cpu_kernel_of(isa, shape->storage));
    if (!workspace || (uintptr_t)workspace % 64 || workspace_bytes < workspace_bytes_of(&call, scores, num_threads))
        return TREE_WORKSPACE;

    cpu_partials partials;
    cpu_tickets tickets;
    char *threads = (char *)workspace + place_shared(&partials, scores, &call, num_threads, workspace);
    int64_t num_outputs = (int64_t)shape->num_queries * shape->num_heads;
    cpu_tickets_begin(&tickets, plan, shape);
#pragma omp parallel num_threads(num_threads)
    {
        thread_scratch scratch;
        size_t scratch_bytes = place_scratch(&scratch, &call, NULL);
        place_scratch(&scratch, &call, threads + this_thread() * scratch_bytes);
        attend_tasks(&partials, scores, query, key, value, &call, &tickets, &scratch);
#pragma omp barrier
#pragma omp for schedule(static)
        for (int64_t i = 0; i < num_outputs; i++)
            merge_query(out, lse, scores, &partials, &call, (uint32_t)(i / shape->num_heads),
                        (uint32_t)(i % shape->num_heads), &scratch);
        if (scores)
            cpu_scores_weigh(scores, &call, this_thread());
    }
    return TREE_OK;
}

size_t tree_attention_cpu_workspace_bytes(const tree_plan *plan, const tree_shape *shape, uint32_t max_threads)
{
    return cpu_attention_workspace_bytes(plan, shape, false, max_threads);
}

tree_status tree_attention_cpu(float *out, float *lse, const float *query, const void *key, const void *value,
                               const tree_plan *plan, const tree_shape *shape, float scale, void *workspace,
                               size_t workspace_bytes, uint32_t num_threads, tree_isa isa)
{
    return cpu_attention(out, lse, NULL, query, key, value, plan, shape, scale, workspace, workspace_bytes,
                         num_threads, isa);
}
