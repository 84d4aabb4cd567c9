/* replay: see replay.h. A cursor over the operations; the pool does the work. */
#include "replay.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "replay_internal.h"

struct replay {
    const workload *score;
    kv_pool *pool;
    replay_events events;
    uint32_t block_tokens;
    uint32_t next;       /* operation */
    uint32_t next_token; /* id */
    uint32_t iteration;
    bool step_ended;     /* the lists below belong to a step that was handed out */
    uint32_t num_queries, num_decodes;
    kv_branch *handle;      /* [num_branches] by name; 0: unborn or dead */
    kv_branch *queries;     /* [max_live_branches]: who asks lives until the STEP, so a step has no more queries */
    uint32_t *query_names;
    kv_branch *decodes;     /* [max_live_branches] the queries that append, in the same order */
    uint32_t *decode_names;
    uint32_t *ones;         /* num_tokens of each */
    kv_append *appends;
};

kv_status replay_create(replay **result, const workload *score, kv_pool *pool, const replay_events *events)
{
    kv_status status = workload_check(score, NULL, NULL, 0);
    if (status != KV_OK)
        return status;
    kv_pool_stats stats;
    kv_pool_get_stats(pool, &stats);
    size_t live = (size_t)score->max_live_branches + 1;
    replay *r = calloc(1, sizeof *r);
    if (!r)
        return KV_NOMEM;
    *r = (replay){.score = score, .pool = pool, .block_tokens = stats.block_tokens, .step_ended = true};
    if (events)
        r->events = *events;
    r->handle = calloc((size_t)score->num_branches + 1, sizeof *r->handle);
    r->queries = calloc(live, sizeof *r->queries);
    r->query_names = calloc(live, sizeof *r->query_names);
    r->decodes = calloc(live, sizeof *r->decodes);
    r->decode_names = calloc(live, sizeof *r->decode_names);
    r->ones = calloc(live, sizeof *r->ones);
    r->appends = calloc(live, sizeof *r->appends);
    if (!r->handle || !r->queries || !r->query_names || !r->decodes || !r->decode_names || !r->ones || !r->appends) {
        replay_destroy(r);
        return KV_NOMEM;
    }
    for (size_t i = 0; i < live; i++)
        r->ones[i] = 1;
    *result = r;
    return KV_OK;
}

void replay_destroy(replay *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; r->handle && i < r->score->num_branches; i++)
        if (r->handle[i])
            kv_branch_prune(r->pool, r->handle[i]);
    free(r->handle);
    free(r->queries);
    free(r->query_names);
    free(r->decodes);
    free(r->decode_names);
    free(r->ones);
    free(r->appends);
    free(r);
}

/* --- what the owner of K and V hears ------------------------------------------------------------------------------ */

static void tell_branch(const replay *r, workload_kind kind, uint32_t branch, uint32_t value)
{
    if (r->events.branch)
        r->events.branch(r->events.context, kind, branch, value);
}

static void tell_copy(const replay *r, const kv_append *append)
{
    if (append->copy.num_tokens && r->events.copy)
        r->events.copy(r->events.context, &append->copy);
}

/* The last num_tokens tokens of a branch are new. */
static void tell_tokens(replay *r, uint32_t name, uint32_t num_tokens)
{
    uint32_t first_token = r->next_token;
    r->next_token += num_tokens;
    if (!r->events.token)
        return;
    kv_table table;
    kv_branch_table(r->pool, r->handle[name], &table);
    uint32_t begin = table.length - num_tokens;
    for (uint32_t t = begin; t < table.length; t++)
        r->events.token(r->events.context, name, t, table.blocks[t / r->block_tokens], t % r->block_tokens,
                        first_token + (t - begin));
}

static void tell_released(const replay *r)
{
    const uint32_t *blocks;
    uint32_t num_blocks;
    if (!r->events.released)
        return;
    kv_pool_released(r->pool, &blocks, &num_blocks);
    if (num_blocks)
        r->events.released(r->events.context, blocks, num_blocks, 0);
}

/* After a truncate: the rest of the last block, if nobody else holds the block and no kernel may read it. */
static void tell_released_tail(const replay *r, uint32_t name)
{
    kv_table table;
    kv_pool_stats stats;
    kv_pool_get_stats(r->pool, &stats);
    if (!r->events.released || stats.open_epochs)
        return;
    kv_branch_table(r->pool, r->handle[name], &table);
    uint32_t used = table.length % r->block_tokens;
    if (used && kv_pool_references(r->pool, table.blocks[table.num_blocks - 1]) == 1)
        r->events.released(r->events.context, &table.blocks[table.num_blocks - 1], 1, used);
}

/* --- operations --------------------------------------------------------------------------------------------------- */

static kv_status play_append(replay *r, const workload_operation *o)
{
    kv_append append;
    kv_status status = kv_branch_append(r->pool, r->handle[o->branch], o->value, &append);
    if (status == KV_OK) {
        tell_copy(r, &append);
        tell_tokens(r, o->branch, o->value);
    }
    return status;
}

/* All copies before all writes: a copy may read the block into which a sibling writes. */
static kv_status play_step(replay *r)
{
    kv_status status = kv_branch_append_many(r->pool, r->decodes, r->ones, r->num_decodes, r->appends);
    if (status != KV_OK)
        return status;
    for (uint32_t i = 0; i < r->num_decodes; i++)
        tell_copy(r, &r->appends[i]);
    for (uint32_t i = 0; i < r->num_decodes; i++)
        tell_tokens(r, r->decode_names[i], 1);
    return KV_OK;
}

static void play_query(replay *r, const workload_operation *o)
{
    assert(r->num_queries < r->score->max_live_branches && "the workload stays as workload_check saw it");
    r->query_names[r->num_queries] = o->branch;
    r->queries[r->num_queries++] = r->handle[o->branch];
    if (o->kind == WORKLOAD_DECODE) {
        r->decode_names[r->num_decodes] = o->branch;
        r->decodes[r->num_decodes++] = r->handle[o->branch];
    }
}

/* TRUNCATE, ADOPT, PRUNE: what may free blocks. */
static kv_status play_shrink(replay *r, const workload_operation *o)
{
    kv_status status;
    if (o->kind == WORKLOAD_TRUNCATE)
        status = kv_branch_truncate(r->pool, r->handle[o->branch], o->value);
    else if (o->kind == WORKLOAD_ADOPT)
        status = kv_branch_adopt(r->pool, r->handle[o->branch], r->handle[o->value]);
    else
        status = kv_branch_prune(r->pool, r->handle[o->branch]);
    if (status != KV_OK)
        return status;
    tell_branch(r, o->kind, o->branch, o->value);
    tell_released(r);
    if (o->kind == WORKLOAD_TRUNCATE)
        tell_released_tail(r, o->branch);
    else
        r->handle[o->kind == WORKLOAD_ADOPT ? o->value : o->branch] = 0;
    return KV_OK;
}

static kv_status play_birth(replay *r, const workload_operation *o)
{
    kv_status status = o->kind == WORKLOAD_CREATE
                           ? kv_branch_create(r->pool, &r->handle[o->branch])
                           : kv_branch_fork(r->pool, r->handle[o->value], &r->handle[o->branch]);
    if (status == KV_OK)
        tell_branch(r, o->kind, o->branch, o->value);
    return status;
}

bool replay_is_last_child(const workload *score, uint32_t i)
{
    const workload_operation *o = &score->operations[i];
    return o->kind == WORKLOAD_FORK && i + 1 < score->num_operations && o[1].kind == WORKLOAD_PRUNE &&
           o[1].branch == o->value;
}

/* FORK and PRUNE of its parent in one: the parent's table moves to the child, no entry of it is copied. */
static kv_status play_last_child(replay *r, const workload_operation *o)
{
    kv_status status = kv_branch_create(r->pool, &r->handle[o->branch]);
    if (status != KV_OK)
        return status;
    status = kv_branch_adopt(r->pool, r->handle[o->branch], r->handle[o->value]);
    assert(status == KV_OK && "both branches live");
    r->handle[o->value] = 0;
    tell_branch(r, WORKLOAD_CREATE, o->branch, 0);
    tell_branch(r, WORKLOAD_ADOPT, o->branch, o->value);
    r->next++; /* the PRUNE */
    return status;
}

static kv_status play(replay *r, const workload_operation *o)
{
    if (replay_is_last_child(r->score, r->next))
        return play_last_child(r, o);
    switch (o->kind) {
    case WORKLOAD_CREATE:
    case WORKLOAD_FORK:
        return play_birth(r, o);
    case WORKLOAD_APPEND:
        return play_append(r, o);
    case WORKLOAD_DECODE:
    case WORKLOAD_QUERY:
        play_query(r, o);
        return KV_OK;
    case WORKLOAD_STEP:
        return play_step(r);
    default:
        return play_shrink(r, o);
    }
}

kv_status replay_step(replay *r, replay_result *result)
{
    if (r->step_ended) {
        r->num_queries = r->num_decodes = 0;
        r->step_ended = false;
    }
    while (r->next < r->score->num_operations && !r->step_ended) {
        const workload_operation *o = &r->score->operations[r->next];
        kv_status status = play(r, o);
        if (status != KV_OK)
            return status;
        r->next++;
        r->step_ended = o->kind == WORKLOAD_STEP;
    }
    r->iteration += r->step_ended;
    *result = (replay_result){.done = !r->step_ended, .iteration = r->iteration, .num_queries = r->num_queries,
                              .queries = r->queries, .query_names = r->query_names};
    return KV_OK;
}

kv_branch replay_handle(const replay *r, uint32_t branch)
{
    return branch < r->score->num_branches ? r->handle[branch] : 0;
}

uint32_t replay_position(const replay *r)
{
    return r->next;
}
