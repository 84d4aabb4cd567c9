/* The size of a replay: predicted from the lengths of its branches, or measured in a pool. */
#include <stdlib.h>

#include "replay_internal.h"

/* --- what it will take, from lengths alone ------------------------------------------------------------------------ */

typedef struct needs_walk {
    const workload *score;
    uint32_t block_tokens;
    uint32_t *length;        /* [num_branches] by name */
    uint64_t taken_blocks;   /* if none were ever freed */
    uint64_t living_entries;
    uint32_t num_queries;
    replay_needs needs;
} needs_walk;

static uint32_t entries_of(const needs_walk *n, uint32_t length)
{
    return length / n->block_tokens + (length % n->block_tokens > 0);
}

/* A branch that ends inside a block that others may hold too: the first to append copies it. */
static void may_copy(needs_walk *n, uint32_t length)
{
    n->taken_blocks += length % n->block_tokens > 0;
}

static void set_length(needs_walk *n, uint32_t branch, uint32_t length)
{
    uint32_t before = entries_of(n, n->length[branch]), after = entries_of(n, length);
    n->needs.table_entries += before < after ? after - before : before - after;
    n->living_entries += (uint64_t)after - before;
    if (n->living_entries > n->needs.most_table_entries)
        n->needs.most_table_entries = n->living_entries;
    n->length[branch] = length;
}

static void lengthen(needs_walk *n, uint32_t branch, uint32_t num_tokens)
{
    uint32_t length = n->length[branch] + num_tokens;
    n->taken_blocks += entries_of(n, length) - entries_of(n, n->length[branch]);
    set_length(n, branch, length);
}

/* The table of `from` becomes that of `to`; no entry is touched. */
static void move_table(needs_walk *n, uint32_t to, uint32_t from)
{
    n->length[to] = n->length[from];
    n->length[from] = 0;
}

static void end_step(needs_walk *n)
{
    if (n->num_queries > n->needs.peak_queries)
        n->needs.peak_queries = n->num_queries;
    n->num_queries = 0;
}

static void count_query(needs_walk *n, const workload_operation *o)
{
    if (o->kind == WORKLOAD_DECODE)
        lengthen(n, o->branch, 1);
    n->needs.path_tokens += n->length[o->branch];
    n->num_queries++;
}

/* Returns the number of operations that were counted: 1, or 2 for a last child. */
static uint32_t count_operation(needs_walk *n, uint32_t i)
{
    const workload_operation *o = &n->score->operations[i];
    switch (o->kind) {
    case WORKLOAD_FORK:
        if (replay_is_last_child(n->score, i)) {
            move_table(n, o->branch, o->value);
            return 2;
        }
        set_length(n, o->branch, n->length[o->value]);
        may_copy(n, n->length[o->value]);
        break;
    case WORKLOAD_APPEND:
        lengthen(n, o->branch, o->value);
        break;
    case WORKLOAD_DECODE:
    case WORKLOAD_QUERY:
        count_query(n, o);
        break;
    case WORKLOAD_TRUNCATE:
        set_length(n, o->branch, o->value);
        may_copy(n, o->value);
        break;
    case WORKLOAD_ADOPT:
        set_length(n, o->branch, 0);
        move_table(n, o->branch, o->value);
        break;
    case WORKLOAD_PRUNE:
        set_length(n, o->branch, 0);
        break;
    case WORKLOAD_STEP:
        end_step(n);
        break;
    default: /* CREATE: empty */
        break;
    }
    return 1;
}

kv_status replay_count_needs(replay_needs *needs, const workload *score, uint32_t block_tokens)
{
    if (block_tokens > 256 || (block_tokens & (block_tokens - 1)) != 0)
        return KV_INVAL;
    kv_status status = workload_check(score, NULL, NULL, 0);
    if (status != KV_OK)
        return status;
    needs_walk n = {.score = score, .block_tokens = block_tokens ? block_tokens : 16};
    n.length = calloc((size_t)score->num_branches + 1, sizeof *n.length);
    if (!n.length)
        return KV_NOMEM;
    for (uint32_t i = 0; i < score->num_operations;)
        i += count_operation(&n, i);
    free(n.length);
    /* a block in use stands in a living table, and was taken once */
    n.needs.most_blocks = n.taken_blocks < n.needs.most_table_entries ? n.taken_blocks : n.needs.most_table_entries;
    *needs = n.needs;
    return KV_OK;
}

/* --- totals ------------------------------------------------------------------------------------------------------- */

static void count_end(replay_totals *totals, const kv_pool_stats *stats)
{
    totals->peak_blocks = stats->high_water_blocks;
    totals->copies = stats->copies;
    totals->copied_tokens = stats->copied_tokens;
    totals->leaked_blocks = stats->used_blocks;
}

void replay_count(replay_totals *totals, const kv_pool *pool, const replay_result *step)
{
    kv_pool_stats stats;
    kv_pool_get_stats(pool, &stats);
    if (step->done) {
        count_end(totals, &stats);
        return;
    }
    totals->iterations++;
    totals->queries_sum += step->num_queries;
    totals->unique_tokens_sum += stats.physical_tokens;
    for (uint32_t i = 0; i < step->num_queries; i++) {
        kv_table table;
        if (kv_branch_table(pool, step->queries[i], &table) == KV_OK)
            totals->path_tokens_sum += table.length;
    }
    if (step->num_queries > totals->peak_queries)
        totals->peak_queries = step->num_queries;
    if (stats.live_branches > totals->peak_branches)
        totals->peak_branches = stats.live_branches;
}

static kv_status measure_in(replay_totals *totals, const workload *score, kv_pool *pool)
{
    replay *r;
    kv_status status = replay_create(&r, score, pool, NULL);
    if (status != KV_OK)
        return status;
    replay_totals counted = {0};
    replay_result step = {.done = false};
    while (!step.done && (status = replay_step(r, &step)) == KV_OK)
        replay_count(&counted, pool, &step);
    if (status == KV_OK)
        *totals = counted;
    replay_destroy(r);
    return status;
}

kv_status replay_measure(replay_totals *totals, const workload *score, uint32_t block_tokens)
{
    replay_needs needs;
    kv_status status = replay_count_needs(&needs, score, block_tokens);
    if (status != KV_OK)
        return status;
    kv_pool_config config = {.block_tokens = block_tokens, .num_blocks = REPLAY_MEASURE_BLOCKS};
    if (needs.most_blocks < REPLAY_MEASURE_BLOCKS)
        config.num_blocks = needs.most_blocks ? (uint32_t)needs.most_blocks : 1;
    config.max_branches = score->max_live_branches ? score->max_live_branches : 1;
    kv_pool *pool;
    status = kv_pool_create(&pool, &config);
    if (status != KV_OK)
        return status;
    status = measure_in(totals, score, pool);
    kv_pool_destroy(pool, true, NULL);
    return status;
}
