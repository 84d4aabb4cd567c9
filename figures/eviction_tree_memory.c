/* eviction_tree_memory: tokens of KV memory that branches behind one prefix hold when each of them forgets, counted in
 * real runs of the allocator.
 *
 *   copies   every branch has a prefix of its own; nothing is forgotten
 *   shared   the branches are forks; nothing is forgotten
 *   private  forks that forget tokens of their own: the prefix stays
 *   cow      forks that forget any token, and copy the kept ones out of shared blocks (copy-on-write compaction)
 *   vote     forks that forget the oldest shared tokens, all at once, then tokens of their own
 *
 * Each branch decodes own_tokens tokens behind the prefix and keeps `budget` of them; private and cow forget at random.
 *
 * measure_eviction_tree_memory [CSV] */
#include <inttypes.h>

#include "kv_evict.h"
#include "provenance.h"

enum { BLOCK_TOKENS = 16, MAX_BRANCHES = 64, MAX_BUDGET = 4096 };

typedef struct setting {
    uint32_t prefix_tokens, own_tokens, budget;
} setting;

static const setting settings[] = {{8192, 512, 2048}, {512, 16384, 3200}};

typedef struct forest {
    kv_pool *pool;
    const setting *setting;
    uint32_t num_branches, shared_tokens; /* of the prefix, still kept: by vote all branches keep the same ones */
    kv_branch branches[MAX_BRANCHES];
    bool has_left[MAX_BRANCHES]; /* the shared blocks */
    uint64_t state;
} forest;

static void must(kv_status status)
{
    figure_check(status == KV_OK, kv_status_string(status));
}

/* splitmix64 */
static uint32_t random_below(forest *f, uint32_t limit)
{
    uint64_t z = f->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(((z ^ z >> 31) >> 32) * limit >> 32);
}

static uint32_t num_kept(const forest *f, uint32_t branch)
{
    kv_keep keep;
    must(kv_branch_keep(f->pool, f->branches[branch], &keep));
    return keep.num_kept;
}

/* Forgets a random one of the kept tokens in the table's slots from first_slot on. */
static void forget(forest *f, uint32_t branch, kv_scope scope, uint32_t first_slot)
{
    kv_keep keep;
    kv_table table;
    uint32_t slot;
    must(kv_branch_keep(f->pool, f->branches[branch], &keep));
    must(kv_branch_table(f->pool, f->branches[branch], &table));
    do
        slot = first_slot + random_below(f, table.length - first_slot);
    while (!kv_keep_slot(&keep, BLOCK_TOKENS, slot));
    must(kv_branch_evict(f->pool, f->branches[branch], scope, &slot, 1));
}

/* All branches forget the oldest token of the prefix: it is in the first block of every table. */
static void vote(forest *f)
{
    kv_keep keep;
    kv_table table;
    uint32_t slot = 0;
    must(kv_branch_keep(f->pool, f->branches[0], &keep));
    must(kv_branch_table(f->pool, f->branches[0], &table));
    while (!kv_keep_slot(&keep, BLOCK_TOKENS, slot))
        slot++;
    must(kv_evict_shared(f->pool, f->branches, f->num_branches, table.blocks[0], slot));
    f->shared_tokens--;
}

static void decode_private(forest *f)
{
    uint32_t prefix = f->setting->prefix_tokens;
    for (uint32_t i = 0; i < f->num_branches; i++)
        while (num_kept(f, i) > f->setting->budget && num_kept(f, i) > prefix + 1)
            forget(f, i, KV_SCOPE_PRIVATE, prefix);
}

/* A branch leaves the shared blocks when it first exceeds its budget, and packs the blocks that it alone lists then.
 * Later, the holes of forgotten tokens take the new ones, and nothing is copied. */
static void decode_cow(forest *f)
{
    static kv_move moves[MAX_BUDGET];
    for (uint32_t i = 0; i < f->num_branches; i++) {
        if (num_kept(f, i) <= f->setting->budget)
            continue;
        while (num_kept(f, i) > f->setting->budget)
            forget(f, i, KV_SCOPE_MASK, 0);
        if (f->has_left[i])
            continue;
        uint32_t num_moves;
        must(kv_branch_compact_shared(f->pool, f->branches[i], 0, moves, MAX_BUDGET, &num_moves));
        must(kv_branch_compact(f->pool, f->branches[i], moves, MAX_BUDGET, &num_moves));
        f->has_left[i] = true;
    }
}

static void decode_vote(forest *f)
{
    while (num_kept(f, 0) > f->setting->budget && f->shared_tokens > 0)
        vote(f);
    for (uint32_t i = 0; i < f->num_branches; i++)
        while (num_kept(f, i) > f->setting->budget)
            forget(f, i, KV_SCOPE_PRIVATE, 0);
}

static const struct series {
    const char *name;
    bool is_forked;
    void (*decode)(forest *f); /* after each step */
} series[] = {
    {"copies", false, NULL},       {"shared", true, NULL},      {"private", true, decode_private},
    {"cow", true, decode_cow},     {"vote", true, decode_vote},
};

static void create_branches(forest *f, bool is_forked)
{
    kv_append append;
    for (uint32_t i = 0; i < f->num_branches; i++) {
        if (is_forked && i > 0) {
            must(kv_branch_fork(f->pool, f->branches[0], &f->branches[i]));
            continue;
        }
        must(kv_branch_create(f->pool, &f->branches[i]));
        must(kv_branch_append(f->pool, f->branches[i], f->setting->prefix_tokens, &append));
    }
}

static void run(FILE *csv, const setting *s, const struct series *what, uint32_t num_branches)
{
    uint32_t path_blocks = (s->prefix_tokens + s->own_tokens) / BLOCK_TOKENS;
    kv_pool_config config = {.num_blocks = (num_branches + 1) * path_blocks, .block_tokens = BLOCK_TOKENS,
                             .evicts = true};
    forest f = {.setting = s, .num_branches = num_branches, .shared_tokens = s->prefix_tokens, .state = 1};
    kv_append append;
    must(kv_pool_create(&f.pool, &config));
    create_branches(&f, what->is_forked);
    for (uint32_t step = 0; step < s->own_tokens; step++) {
        for (uint32_t i = 0; i < num_branches; i++)
            must(kv_branch_append(f.pool, f.branches[i], 1, &append));
        if (what->decode != NULL)
            what->decode(&f);
    }
    kv_pool_stats stats;
    char message[200];
    figure_check(kv_pool_check(f.pool, message, sizeof message) == KV_OK, message);
    must(kv_pool_destroy(f.pool, true, &stats));
    fprintf(csv, "%u,%u,%u,%s,%u,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", s->prefix_tokens, s->own_tokens,
            s->budget, what->name, num_branches, (uint64_t)stats.used_blocks * BLOCK_TOKENS,
            (uint64_t)stats.high_water_blocks * BLOCK_TOKENS, stats.kept_tokens / num_branches, stats.moved_tokens);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : TREEATTN_SOURCE_DIR "/figures/eviction_tree_memory.csv";
    FILE *csv = figure_open(path, "measure_eviction_tree_memory", "exact counts of the allocator, no clock");
    fprintf(csv, "# blocks of %d tokens; used, peak: blocks in use at the end and at most, in tokens; kept: tokens "
                 "that a branch attends to\n"
                 "prefix_tokens,own_tokens,budget,series,branches,used_tokens,peak_tokens,kept_tokens,moved_tokens\n",
            BLOCK_TOKENS);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        for (size_t k = 0; k < sizeof series / sizeof series[0]; k++)
            for (uint32_t num_branches = 1; num_branches <= MAX_BRANCHES; num_branches *= 2)
                run(csv, &settings[i], &series[k], num_branches);
    figure_close(csv);
    return 0;
}
