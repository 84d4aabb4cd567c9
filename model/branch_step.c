#include "branch_step.h"

#include <stdlib.h>

#include "tree_plan_keep.h"

model_status model_status_of_kv(kv_status status)
{
    switch (status) {
    case KV_OK: return MODEL_OK;
    case KV_NOMEM: return MODEL_NOMEM;
    case KV_NOBLOCKS: return MODEL_NOBLOCKS;
    case KV_NOBRANCH: return MODEL_NOBRANCH;
    case KV_STALE: return MODEL_STALE;
    default: return MODEL_INVAL;
    }
}

model_status branch_step_create(branch_step *step, kv_pool *pool, const tree_plan_config *config, uint32_t max_branches,
                                uint32_t context)
{
    kv_pool_stats stats;
    if (kv_pool_get_stats(pool, &stats) != KV_OK || config->strategy >= TREE_NUM_STRATEGIES || !max_branches ||
        max_branches > KV_MAX_BRANCHES)
        return MODEL_INVAL;
    *step = (branch_step){.pool = pool, .config = *config, .num_blocks = stats.num_blocks,
                          .block_tokens = stats.block_tokens, .max_branches = max_branches, .context = context,
                          .evicts = kv_pool_positions(pool) != NULL};
    step->appends = calloc(max_branches, sizeof *step->appends);
    step->tables = calloc(max_branches, sizeof *step->tables);
    step->keeps = calloc(max_branches, sizeof *step->keeps);
    step->positions = calloc(max_branches, sizeof *step->positions);
    step->slots = calloc(max_branches, sizeof *step->slots);
    step->ones = calloc(max_branches, sizeof *step->ones);
    if (!step->appends || !step->tables || !step->keeps || !step->positions || !step->slots || !step->ones) {
        branch_step_destroy(step);
        return MODEL_NOMEM;
    }
    for (uint32_t i = 0; i < max_branches; i++)
        step->ones[i] = 1;
    return MODEL_OK;
}

static void forget_plan(branch_step *step)
{
    kv_tree_destroy(step->tree);
    tree_plan_destroy(step->plan);
    step->tree = NULL, step->plan = NULL;
}

void branch_step_destroy(branch_step *step)
{
    forget_plan(step);
    free(step->appends);
    free(step->tables);
    free(step->keeps);
    free(step->positions);
    free(step->slots);
    free(step->ones);
    *step = (branch_step){.pool = NULL};
}

static kv_status read_tables(branch_step *step)
{
    kv_status status = kv_branch_tables(step->pool, step->branches, step->num_branches, step->tables);
    return status || !step->evicts ? status
                                   : kv_branch_keeps(step->pool, step->branches, step->num_branches, step->keeps);
}

model_status branch_step_append(branch_step *step, const kv_branch *branches, uint32_t num_branches)
{
    if (num_branches > step->max_branches)
        return MODEL_INVAL;
    step->branches = branches;
    step->num_branches = num_branches;
    kv_status status = read_tables(step);
    for (uint32_t i = 0; status == KV_OK && i < num_branches; i++) {
        step->positions[i] = step->evicts ? step->keeps[i].next_position : step->tables[i].length;
        if (step->positions[i] >= step->context)
            return MODEL_CONTEXT;
    }
    if (status == KV_OK)
        status = kv_branch_append_many(step->pool, branches, step->ones, num_branches, step->appends);
    if (status != KV_OK)
        return model_status_of_kv(status);
    read_tables(step); /* of living branches: it cannot fail */
    for (uint32_t i = 0; i < num_branches; i++) {
        uint32_t hole = step->appends[i].hole, slot = hole != KV_NO_HOLE ? hole : step->tables[i].length - 1;
        uint32_t block = step->tables[i].blocks[slot / step->block_tokens];
        step->slots[i] = (uint64_t)block * step->block_tokens + slot % step->block_tokens;
    }
    return MODEL_OK;
}

model_status branch_step_plan(branch_step *step)
{
    step->grown = step->tree && kv_tree_grow(step->tree, step->tables, step->num_branches) &&
                  tree_plan_grow(step->plan, step->tree) &&
                  (!step->evicts || tree_plan_set_keep(step->plan, step->tree, step->keeps));
    if (step->grown)
        return MODEL_OK;
    forget_plan(step);
    kv_status status =
        kv_tree_build(&step->tree, step->tables, step->num_branches, step->block_tokens, step->num_blocks);
    if (status != KV_OK)
        return model_status_of_kv(status);
    tree_status planned = step->evicts ? tree_plan_build_keep(&step->plan, step->tree, &step->config, step->keeps,
                                                              TREE_KEEP_NEEDED)
                                       : tree_plan_build(&step->plan, step->tree, &step->config);
    return planned == TREE_OK ? MODEL_OK : MODEL_NOMEM;
}

void branch_step_undo(branch_step *step)
{
    forget_plan(step);
    for (uint32_t i = 0; i < step->num_branches; i++)
        kv_branch_truncate(step->pool, step->branches[i], step->positions[i]);
}
