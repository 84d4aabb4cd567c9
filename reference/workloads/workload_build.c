/* What the builders of workload.h share, and the simplest of them. */
#include <stdlib.h>

#include "workload_internal.h"

kv_status workload_begin(workload **w, const workload_size *size)
{
    if (size->num_operations > UINT32_MAX || size->num_tokens > UINT32_MAX)
        return KV_RANGE;
    *w = workload_create();
    if (!*w)
        return KV_NOMEM;
    (*w)->operations = malloc(size->num_operations * sizeof *(*w)->operations);
    if ((*w)->operations) {
        (*w)->operations_capacity = size->num_operations;
        return KV_OK;
    }
    workload_destroy(*w);
    return KV_NOMEM;
}

kv_status workload_finish(workload **result, workload *w)
{
    kv_status status = w->status;
    if (status == KV_OK && w->max_live_branches > KV_MAX_BRANCHES)
        status = KV_RANGE;
    if (status == KV_OK)
        status = workload_check(w, NULL, NULL, 0);
    if (status == KV_OK)
        *result = w;
    else
        workload_destroy(w);
    return status;
}

uint32_t workload_add_prompt(workload *w, uint32_t num_tokens, const char *label)
{
    uint32_t branch = workload_add_create(w, label);
    if (num_tokens)
        workload_add(w, WORKLOAD_APPEND, branch, num_tokens);
    return branch;
}

kv_status workload_few_shot(workload **result, uint32_t prompt_tokens, uint32_t num_branches, uint32_t num_steps)
{
    if (prompt_tokens == 0 || num_branches == 0 || num_steps == 0)
        return KV_INVAL;
    if (num_branches >= KV_MAX_BRANCHES) /* the prompt lives beside them */
        return KV_RANGE;
    workload_size size = {.num_operations = 3 + 2 * (uint64_t)num_branches + num_steps * ((uint64_t)num_branches + 1),
                          .num_branches = 1 + (uint64_t)num_branches,
                          .num_tokens = prompt_tokens + (uint64_t)num_branches * num_steps};
    workload *w;
    kv_status status = workload_begin(&w, &size);
    if (status != KV_OK)
        return status;
    uint32_t prompt = workload_add_prompt(w, prompt_tokens, "prompt");
    for (uint32_t i = 0; i < num_branches; i++)
        workload_add_fork(w, prompt, NULL);
    workload_add(w, WORKLOAD_PRUNE, prompt, 0);
    for (uint32_t k = 0; k < num_steps && w->status == KV_OK; k++) {
        for (uint32_t i = 1; i <= num_branches; i++)
            workload_add(w, WORKLOAD_DECODE, prompt + i, 0);
        workload_add(w, WORKLOAD_STEP, 0, 0);
    }
    for (uint32_t i = 1; i <= num_branches; i++)
        workload_add(w, WORKLOAD_PRUNE, prompt + i, 0);
    return workload_finish(result, w);
}
