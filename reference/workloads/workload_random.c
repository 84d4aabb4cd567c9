/* Random forests: workload_random. */
#include <stdlib.h>

#include "workload_internal.h"

typedef struct forest {
    workload *w;
    const workload_random_config *config;
    uint64_t state;
    uint32_t num_live;
    uint32_t *live;   /* [max_branches] names */
    uint32_t *length; /* [max_branches] of live[i] */
} forest;

/* splitmix64 */
static uint32_t random_below(forest *f, uint32_t limit)
{
    uint64_t z = f->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(((z ^ z >> 31) >> 32) * limit >> 32);
}

static void forest_remove(forest *f, uint32_t i)
{
    f->live[i] = f->live[--f->num_live];
    f->length[i] = f->length[f->num_live];
}

static void forest_grow(forest *f, uint32_t i)
{
    uint32_t num_tokens = 1 + random_below(f, f->config->max_tokens);
    if (num_tokens > KV_MAX_LENGTH - f->length[i] - 1) /* one token is left for a DECODE */
        return;
    workload_add(f->w, WORKLOAD_APPEND, f->live[i], num_tokens);
    f->length[i] += num_tokens;
}

static void forest_fork(forest *f, uint32_t i)
{
    if (f->num_live == f->config->max_branches)
        return;
    f->live[f->num_live] = workload_add_fork(f->w, f->live[i], NULL);
    f->length[f->num_live++] = f->length[i];
}

static void forest_create(forest *f)
{
    if (f->num_live == f->config->max_branches)
        return;
    f->live[f->num_live] = workload_add_create(f->w, NULL);
    f->length[f->num_live++] = 0;
}

static void forest_adopt(forest *f, uint32_t i)
{
    uint32_t winner = random_below(f, f->num_live);
    if (winner == i)
        return;
    workload_add(f->w, WORKLOAD_ADOPT, f->live[i], f->live[winner]);
    f->length[i] = f->length[winner];
    forest_remove(f, winner);
}

static void forest_change(forest *f)
{
    if (f->num_live == 0) {
        forest_create(f);
        return;
    }
    uint32_t i = random_below(f, f->num_live), dice = random_below(f, 100);
    if (dice < 8) {
        forest_create(f);
    } else if (dice < 40) {
        forest_fork(f, i);
    } else if (dice < 70) {
        forest_grow(f, i);
    } else if (dice < 80) {
        f->length[i] = random_below(f, f->length[i] + 1);
        workload_add(f->w, WORKLOAD_TRUNCATE, f->live[i], f->length[i]);
    } else if (dice < 85) {
        forest_adopt(f, i);
    } else {
        workload_add(f->w, WORKLOAD_PRUNE, f->live[i], 0);
        forest_remove(f, i);
    }
}

/* Most branches decode, a few ask where they stand, a few wait. */
static void forest_step(forest *f)
{
    for (uint32_t i = 0; i < f->num_live; i++) {
        uint32_t dice = random_below(f, 100);
        if (dice < 70 && f->length[i] < KV_MAX_LENGTH) {
            workload_add(f->w, WORKLOAD_DECODE, f->live[i], 0);
            f->length[i]++;
        } else if (dice < 85 && f->length[i] > 0) {
            workload_add(f->w, WORKLOAD_QUERY, f->live[i], 0);
        }
    }
    workload_add(f->w, WORKLOAD_STEP, 0, 0);
}

kv_status workload_random(workload **result, const workload_random_config *config)
{
    if (config->max_branches == 0 || config->max_tokens == 0)
        return KV_INVAL;
    if (config->max_branches > KV_MAX_BRANCHES || config->max_tokens > KV_MAX_LENGTH)
        return KV_RANGE;
    uint32_t *arrays = calloc(2 * (size_t)config->max_branches, sizeof *arrays);
    forest f = {.w = workload_create(), .config = config, .state = config->seed};
    if (!arrays || !f.w) {
        free(arrays);
        workload_destroy(f.w);
        return KV_NOMEM;
    }
    f.live = arrays;
    f.length = arrays + config->max_branches;
    for (uint32_t k = 0; k < config->num_steps && f.w->status == KV_OK; k++) {
        for (uint32_t changes = 1 + random_below(&f, 4); changes > 0; changes--)
            forest_change(&f);
        forest_step(&f);
    }
    for (uint32_t i = 0; i < f.num_live; i++)
        workload_add(f.w, WORKLOAD_PRUNE, f.live[i], 0);
    free(arrays);
    return workload_finish(result, f.w);
}
