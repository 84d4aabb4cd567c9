/* Claim: in pools that evict, under random calls, seven invariants of forgetting in a shared tree hold, each recomputed
 * here from what the pool shows. The other invariants concern scores and outputs. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "pool_keep_model.h"
#include "test.h"

enum { MAX_BRANCHES = 6, MAX_BLOCKS = 24, MAX_SLOTS = MAX_BLOCKS * 8, NONE = -1 };

/* What one branch shows: position of the token that it keeps in each slot of the pool, or NONE. */
typedef struct shown {
    kv_branch handle;
    kv_table table;
    kv_keep keep;
    uint32_t blocks[MAX_BLOCKS];
    int64_t position[MAX_SLOTS];
} shown;

static shown look_at(const pool_model *m, int branch)
{
    shown s = {.handle = m->branches[branch].handle};
    uint32_t block_tokens = m->config.block_tokens;
    for (uint32_t i = 0; i < MAX_SLOTS; i++) s.position[i] = NONE;
    if (!m->branches[branch].live) {
        s.handle = 0;
        return s;
    }
    bool found =
        kv_branch_table(m->pool, s.handle, &s.table) == KV_OK && kv_branch_keep(m->pool, s.handle, &s.keep) == KV_OK;
    check(found, "the branch is alive");
    for (uint32_t j = 0; j < s.table.num_blocks; j++) s.blocks[j] = s.table.blocks[j];
    for (uint32_t slot = 0; slot < s.table.length; slot++) {
        uint32_t place = s.blocks[slot / block_tokens] * block_tokens + slot % block_tokens;
        if (kv_keep_slot(&s.keep, block_tokens, slot)) s.position[place] = kv_pool_positions(m->pool)[place];
    }
    return s;
}

static bool lists_block(const shown *s, uint32_t block)
{
    for (uint32_t j = 0; s->handle && j < s->table.num_blocks; j++)
        if (s->blocks[j] == block) return true;
    return false;
}

static int some_branch(pool_model *m)
{
    int branch = 0;
    if (m->num_live == 0) model_create(m, &branch);
    do branch = (int)test_below(m->max_branches);
    while (!m->branches[branch].live);
    return branch;
}

/* One call. With adoption and compaction only if `moves`. */
static void one_call(pool_model *m, bool moves)
{
    int branch = some_branch(m), other = some_branch(m);
    const model_branch *b = &m->branches[branch];
    uint32_t kind = test_below(moves ? 20 : 17),
             slot = b->num_kept > 0 ? model_slot_of(m, b, test_below(b->num_kept)) : 0;
    if (kind < 1)
        model_create(m, &other);
    else if (kind < 3)
        model_fork_at(m, branch, test_below(b->next_position + 1), &other);
    else if (kind < 4)
        model_fork_at(m, branch, b->next_position, &other);
    else if (kind < 8)
        model_append(m, branch, 1);
    else if (kind < 9)
        model_append(m, branch, 1 + test_below(2 * m->config.block_tokens));
    else if (kind < 10)
        model_append_many(m, (int[]){branch, other}, (uint32_t[]){1, 1}, 2);
    else if (kind < 11)
        model_truncate(m, branch, test_below(b->next_position + 1));
    else if (kind < 12)
        model_prune(m, branch);
    else if (kind < 16)
        model_evict(m, branch, test_below(4) ? KV_SCOPE_MASK : KV_SCOPE_PRIVATE, &slot, 1);
    else if (kind < 17)
        model_thaw(m, branch);
    else if (kind < 18)
        model_compact(m, branch, b->num_kept);
    else if (kind < 19)
        model_compact_shared(m, branch, test_below(b->num_blocks + 1), b->num_kept);
    else
        model_adopt(m, branch, other);
}

typedef struct invariant {
    const char *name;
    bool moves;
    void (*hold)(pool_model *m, const shown *before, const uint32_t *slots, const uint32_t *references);
} invariant;

/* ---- what holds after each call ---- */

static void references_count_entries(pool_model *m, const shown *before, const uint32_t *slots,
                                     const uint32_t *references)
{
    (void)before, (void)slots, (void)references;
    uint32_t entries[MAX_BLOCKS] = {0}, total = 0;
    for (int i = 0; i < MAX_BRANCHES; i++) {
        shown s = look_at(m, i);
        for (uint32_t j = 0; s.handle && j < s.table.num_blocks; j++) entries[s.blocks[j]]++;
    }
    kv_pool_stats stats;
    kv_pool_get_stats(m->pool, &stats);
    for (uint32_t block = 0; block < m->config.num_blocks; block++) {
        check(kv_pool_references(m->pool, block) == entries[block], "references of block %u", block);
        total += entries[block];
    }
    check(stats.table_blocks == total, "%u entries", total);
}

static void shared_blocks_do_not_change(pool_model *m, const shown *before, const uint32_t *slots,
                                        const uint32_t *references)
{
    (void)before;
    uint32_t block_tokens = m->config.block_tokens;
    for (uint32_t block = 0; block < m->config.num_blocks; block++) {
        if (references[block] < 2 || kv_pool_references(m->pool, block) < 2) continue;
        for (uint32_t i = block * block_tokens; i < block * block_tokens + m->visible[block]; i++)
            check(m->slots[i] == slots[i], "slot %u of shared block %u was written", i % block_tokens, block);
    }
}

/* A slot of the old table that was not kept is kept again only with a new position. */
static void kept_sets_shrink(pool_model *m, const shown *before, const uint32_t *slots, const uint32_t *references)
{
    (void)slots, (void)references;
    uint32_t block_tokens = m->config.block_tokens;
    for (int i = 0; i < MAX_BRANCHES; i++) {
        shown now = look_at(m, i);
        if (now.handle == 0 || now.handle != before[i].handle) continue;
        for (uint32_t place = 0; place < m->config.num_blocks * block_tokens; place++) {
            if (now.position[place] == NONE || !lists_block(&before[i], place / block_tokens)) continue;
            bool new = now.position[place] >= before[i].keep.next_position;
            check(new || now.position[place] == before[i].position[place], "a token came back");
        }
    }
}

static void positions_are_unique(pool_model *m, const shown *before, const uint32_t *slots, const uint32_t *references)
{
    (void)before, (void)slots, (void)references;
    for (int i = 0; i < MAX_BRANCHES; i++) {
        shown now = look_at(m, i);
        for (uint32_t a = 0; a < MAX_SLOTS; a++) {
            if (now.position[a] == NONE) continue;
            check(now.position[a] < now.keep.next_position, "position %lld", (long long)now.position[a]);
            for (uint32_t b = 0; b < a; b++) check(now.position[a] != now.position[b], "two tokens at one position");
        }
    }
}

static void nothing_leaks(pool_model *m, const shown *before, const uint32_t *slots, const uint32_t *references)
{
    (void)before, (void)slots, (void)references;
    bool reached[MAX_BLOCKS] = {false}, kept[MAX_BLOCKS] = {false};
    uint32_t num_reached = 0;
    for (int i = 0; i < MAX_BRANCHES; i++) {
        shown s = look_at(m, i);
        for (uint32_t j = 0; s.handle && j < s.table.num_blocks; j++) reached[s.blocks[j]] = true;
        for (uint32_t place = 0; place < MAX_SLOTS; place++)
            if (s.position[place] != NONE) kept[place / m->config.block_tokens] = true;
    }
    kv_pool_stats stats;
    kv_pool_get_stats(m->pool, &stats);
    for (uint32_t block = 0; block < m->config.num_blocks; block++) {
        num_reached += reached[block];
        check(kept[block] == reached[block], "block %u is listed, and no branch keeps a token of it", block);
    }
    check(stats.used_blocks == num_reached, "%u blocks in use, %u reached", stats.used_blocks, num_reached);
    check(stats.free_blocks + num_reached == stats.num_blocks, "%u blocks are free", stats.free_blocks);
}

static const invariant invariants[] = {
    {"invariant_1_references_count_entries", true, references_count_entries},
    {"invariant_2_shared_blocks_do_not_change", true, shared_blocks_do_not_change},
    {"invariant_6_kept_sets_shrink", false, kept_sets_shrink},
    {"invariant_12_positions_are_unique", true, positions_are_unique},
    {"invariant_14_nothing_leaks", true, nothing_leaks},
};

static pool_model *random_pool(void)
{
    kv_pool_config config = {.num_blocks = 6 + test_below(MAX_BLOCKS - 5),
                             .block_tokens = 1u << test_below(4),
                             .max_branches = MAX_BRANCHES,
                             .max_epochs = 1,
                             .order = (kv_order)test_below(3),
                             .seed = test_random(),
                             .evicts = true};
    return model_new(&config, false);
}

static void run_invariant(const void *argument)
{
    const invariant *v = argument;
    for (int round = 0; round < 20; round++) {
        pool_model *m = random_pool();
        for (int i = 0; i < 150; i++) {
            shown before[MAX_BRANCHES];
            uint32_t slots[MAX_SLOTS], references[MAX_BLOCKS];
            for (int j = 0; j < MAX_BRANCHES; j++) before[j] = look_at(m, j);
            memcpy(slots, m->slots, m->config.num_blocks * m->config.block_tokens * sizeof *slots);
            for (uint32_t j = 0; j < m->config.num_blocks; j++) references[j] = kv_pool_references(m->pool, j);
            one_call(m, v->moves);
            v->hold(m, before, slots, references);
        }
        check(m->coverage.evictions > 0, "a run with evictions");
        model_end(m);
    }
}

/* ---- forks, and their end ---- */

static void expect_same_keep(const shown *a, const shown *b)
{
    check(a->keep.num_kept == b->keep.num_kept, "%u and %u tokens kept", a->keep.num_kept, b->keep.num_kept);
    check(a->keep.next_position == b->keep.next_position, "the same next position");
    check(!memcmp(a->position, b->position, sizeof a->position), "the same tokens in the same slots");
    check(a->table.length == b->table.length && a->table.num_blocks == b->table.num_blocks, "the same table");
    check(!memcmp(a->blocks, b->blocks, sizeof a->blocks), "the same blocks");
}

static void run_fork_is_neutral(const void *argument)
{
    (void)argument;
    for (int round = 0; round < 20; round++) {
        pool_model *m = random_pool();
        for (int i = 0; i < 150; i++) {
            one_call(m, true);
            int parent = some_branch(m), child;
            if (m->num_live == m->max_branches) continue;
            shown before = look_at(m, parent);
            kv_pool_stats was, is;
            kv_pool_get_stats(m->pool, &was);
            model_fork_at(m, parent, m->branches[parent].next_position, &child);
            kv_pool_get_stats(m->pool, &is);
            shown a = look_at(m, parent), b = look_at(m, child);
            expect_same_keep(&a, &before);
            expect_same_keep(&a, &b);
            check(was.used_blocks == is.used_blocks && was.physical_tokens == is.physical_tokens, "no memory is used");
            if (test_below(2)) model_prune(m, child);
        }
        model_end(m);
    }
}

/* fork, append, evict, prune: everything is as before, the parent's first private position aside. */
static void run_prune_restores(const void *argument)
{
    (void)argument;
    uint64_t copies = 0, evictions = 0;
    for (int round = 0; round < 20; round++) {
        pool_model *m = random_pool();
        for (int i = 0; i < 100; i++) {
            one_call(m, true);
            int parent = some_branch(m), child;
            if (m->num_live == m->max_branches) continue;
            shown before[MAX_BRANCHES];
            uint32_t references[MAX_BLOCKS];
            kv_pool_stats was, is;
            for (int j = 0; j < MAX_BRANCHES; j++) before[j] = look_at(m, j);
            for (uint32_t j = 0; j < m->config.num_blocks; j++) references[j] = kv_pool_references(m->pool, j);
            kv_pool_get_stats(m->pool, &was);
            model_fork_at(m, parent, m->branches[parent].next_position, &child);
            const model_branch *c = &m->branches[child];
            for (int j = 0; j < 6; j++) {
                uint32_t slot = c->num_kept > 0 ? model_slot_of(m, c, test_below(c->num_kept)) : 0;
                if (test_below(2))
                    model_append(m, child, 1 + test_below(3));
                else
                    model_evict(m, child, KV_SCOPE_MASK, &slot, 1);
            }
            model_prune(m, child);
            kv_pool_get_stats(m->pool, &is);
            copies += is.copies - was.copies;
            evictions += is.evicted_tokens - was.evicted_tokens;
            check(was.free_blocks == is.free_blocks, "%u blocks free, %u before", is.free_blocks, was.free_blocks);
            for (uint32_t j = 0; j < m->config.num_blocks; j++)
                check(kv_pool_references(m->pool, j) == references[j], "references of block %u", j);
            for (int j = 0; j < MAX_BRANCHES; j++) {
                shown now = look_at(m, j);
                check(now.handle == before[j].handle, "the same branches");
                expect_same_keep(&now, &before[j]);
            }
        }
        model_end(m);
    }
    check(copies > 0 && evictions > 0, "%llu copies, %llu evictions", (unsigned long long)copies,
          (unsigned long long)evictions);
}

/* Two branches with the same history, token by token and eviction by eviction, have no block in common: the pool knows
 * neither the contents of a block nor a hash of them. */
static void run_only_a_fork_shares(const void *argument)
{
    (void)argument;
    kv_pool *pool;
    kv_pool_config config = {.num_blocks = 64, .block_tokens = 4, .evicts = true};
    kv_branch twins[2], child;
    check(kv_pool_create(&pool, &config) == KV_OK, "a pool");
    for (int i = 0; i < 2; i++) check(kv_branch_create(pool, &twins[i]) == KV_OK, "a branch");
    for (int step = 0; step < 100; step++) {
        kv_keep keep;
        check(kv_branch_keep(pool, twins[0], &keep) == KV_OK, "keep words");
        uint32_t victim = keep.num_kept > 8 ? test_below(4 * keep.num_blocks) : UINT32_MAX;
        bool evicts = victim != UINT32_MAX && kv_keep_slot(&keep, 4, victim);
        for (int i = 0; i < 2; i++) {
            kv_append append;
            check(kv_branch_append(pool, twins[i], 1, &append) == KV_OK, "a token");
            if (evicts) check(kv_branch_evict(pool, twins[i], KV_SCOPE_PRIVATE, &victim, 1) == KV_OK, "a victim");
        }
        kv_pool_stats stats;
        check(kv_pool_get_stats(pool, &stats) == KV_OK && stats.shared_blocks == 0, "%u blocks are shared",
              stats.shared_blocks);
    }
    check(kv_branch_fork(pool, twins[0], &child) == KV_OK, "a fork");
    kv_pool_stats stats;
    kv_table table;
    kv_pool_get_stats(pool, &stats);
    check(kv_branch_table(pool, child, &table) == KV_OK && stats.shared_blocks == table.num_blocks && table.num_blocks > 0,
          "%u of %u blocks are shared by a fork", stats.shared_blocks, table.num_blocks);
    kv_pool_destroy(pool, true, NULL);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "the invariants of forgetting in a shared tree");
    for (size_t i = 0; i < sizeof invariants / sizeof invariants[0]; i++)
        test_add(run_invariant, &invariants[i], "%s", invariants[i].name);
    test_add(run_fork_is_neutral, NULL, "invariant_4_fork_is_neutral");
    test_add(run_prune_restores, NULL, "invariant_5_prune_restores");
    test_add(run_only_a_fork_shares, NULL, "invariant_13_only_a_fork_shares");
    return test_end();
}
