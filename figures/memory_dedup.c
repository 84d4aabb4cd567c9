/* memory_dedup: KV memory of branches that share a prefix, copied per branch and shared, from real allocator runs.
 *
 *   branches    1 .. 256 branches at a prefix of 2048 tokens and 64 of their own
 *   game_of_24  every iteration of a breadth-first search that forks and prunes
 *   sorting_t0  the same for a recorded search; without its trace the recorded lines stay
 *
 * measure_memory_dedup [CSV [TRACE_FOLDER]] */
#include <inttypes.h>

#include "game_of_24.h"
#include "kv_branch.h"
#include "provenance.h"
#include "replay.h"

enum { PREFIX_TOKENS = 2048, OWN_TOKENS = 64, MAX_BRANCHES = 256, BLOCK_TOKENS = 16 };

/* K and V of one token in a model of 32 layers, 8 KV heads, head_dim 128, bf16. */
static const uint64_t token_bytes = (uint64_t)32 * 2 * 8 * 128 * 2;

static void must(kv_status status)
{
    figure_check(status == KV_OK, kv_status_string(status));
}

static void write_row(FILE *csv, const char *series, uint32_t x, uint64_t copied_blocks, uint64_t shared_blocks)
{
    uint64_t block_bytes = token_bytes * BLOCK_TOKENS;
    double saved = copied_blocks > 0 ? 100 * (1 - (double)shared_blocks / (double)copied_blocks) : 0;
    fprintf(csv, "%s,%u,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%.2f\n", series, x, copied_blocks,
            shared_blocks, copied_blocks * block_bytes, shared_blocks * block_bytes, saved);
}

static uint64_t used_blocks(const kv_pool *pool)
{
    kv_pool_stats stats;
    must(kv_pool_get_stats(pool, &stats));
    return stats.used_blocks;
}

static kv_pool *create_pool(uint32_t num_blocks)
{
    kv_pool *pool;
    kv_pool_config config = {.num_blocks = num_blocks, .block_tokens = BLOCK_TOKENS, .max_branches = 2048};
    must(kv_pool_create(&pool, &config));
    return pool;
}

/* Every branch appends the prefix and its own tokens. */
static uint64_t run_copied(uint32_t num_branches)
{
    kv_pool *pool = create_pool(MAX_BRANCHES * ((PREFIX_TOKENS + OWN_TOKENS) / BLOCK_TOKENS + 1));
    for (uint32_t i = 0; i < num_branches; i++) {
        kv_branch branch;
        kv_append append;
        must(kv_branch_create(pool, &branch));
        must(kv_branch_append(pool, branch, PREFIX_TOKENS, &append));
        must(kv_branch_append(pool, branch, OWN_TOKENS, &append));
    }
    uint64_t used = used_blocks(pool);
    must(kv_pool_destroy(pool, true, NULL));
    return used;
}

/* The first branch appends the prefix, the others are its forks. */
static uint64_t run_shared(uint32_t num_branches)
{
    kv_pool *pool = create_pool(MAX_BRANCHES * ((PREFIX_TOKENS + OWN_TOKENS) / BLOCK_TOKENS + 1));
    kv_branch branches[MAX_BRANCHES];
    kv_append append;
    must(kv_branch_create(pool, &branches[0]));
    must(kv_branch_append(pool, branches[0], PREFIX_TOKENS, &append));
    for (uint32_t i = 1; i < num_branches; i++)
        must(kv_branch_fork(pool, branches[0], &branches[i]));
    for (uint32_t i = 0; i < num_branches; i++)
        must(kv_branch_append(pool, branches[i], OWN_TOKENS, &append));
    uint64_t used = used_blocks(pool);
    must(kv_pool_destroy(pool, true, NULL));
    return used;
}

/* After each step: blocks if every living branch had its own, and blocks in use. */
static void run_search(FILE *csv, const char *series, const workload *work)
{
    kv_pool *pool = create_pool((uint32_t)work->num_tokens + work->num_branches);
    replay *play;
    replay_result step;
    must(replay_create(&play, work, pool, NULL));
    for (;;) {
        must(replay_step(play, &step));
        if (step.done)
            break;
        kv_pool_stats stats;
        must(kv_pool_get_stats(pool, &stats));
        write_row(csv, series, step.iteration, stats.table_blocks, stats.used_blocks);
    }
    replay_destroy(play);
    must(kv_pool_destroy(pool, false, NULL));
}

static const char trace_file[] = "reason_sorting.ttr";

/* NULL: there is no such file. */
static trace *read_trace(const char *folder)
{
    char path[4096];
    trace *records = NULL;
    trace_error error;
    if (!figure_has_trace("memory_dedup", "panel 3 keeps its", folder, trace_file))
        return NULL;
    snprintf(path, sizeof path, "%s/%s", folder, trace_file);
    figure_check(trace_read_file(&records, path, &error) == KV_OK, error.message);
    figure_check(trace_find(records, 0) != NULL, "the trace has no tree of ordinal 0");
    return records;
}

static void run_trace(FILE *csv, trace *records)
{
    workload *work;
    must(workload_from_tree(&work, trace_find(records, 0), 0, 0));
    run_search(csv, "sorting_t0", work);
    workload_destroy(work);
    trace_destroy(records);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : TREEATTN_SOURCE_DIR "/figures/memory_dedup.csv";
    const char *folder = argc > 2 ? argv[2] : TREEATTN_SOURCE_DIR "/../shared/traces";
    static const char *const kept[] = {"sorting_t0,", NULL};
    trace *records = read_trace(folder);
    FILE *csv = figure_open(path, "measure_memory_dedup", "exact counts of the allocator, no clock");
    fprintf(csv, "# blocks of %d tokens; bytes of K and V in 32 layers, 8 KV heads, head_dim 128, bf16\n"
                 "# copied: every living branch has blocks of its own; shared: blocks in use\n"
                 "# x: branches (series branches), iteration (the others)\n"
                 "series,x,copied_blocks,shared_blocks,copied_bytes,shared_bytes,saved_percent\n", BLOCK_TOKENS);
    for (uint32_t num_branches = 1; num_branches <= MAX_BRANCHES; num_branches *= 2)
        write_row(csv, "branches", num_branches, run_copied(num_branches), run_shared(num_branches));
    game_of_24 *game;
    game_of_24_config standard_game = {.breadth = 0};
    must(game_of_24_search(&game, &standard_game));
    run_search(csv, "game_of_24", game->workload);
    game_of_24_destroy(game);
    if (records != NULL)
        run_trace(csv, records);
    else if (figure_keep(csv, kept) == 0)
        fprintf(stderr, "memory_dedup: there is no panel 3, because %s has no recorded data for it\n", path);
    figure_close(csv);
    return 0;
}
