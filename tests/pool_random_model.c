/* Random calls and refused handles for the oracle of pool_model.h. */
#include "pool_keep_model.h"
#include "test.h"

/* ---- handles that must be refused ---- */

static kv_branch bad_handle(const pool_model *m)
{
    kv_branch handle = 0;
    uint32_t kind = test_below(4);
    if (kind == 0) return 0;
    if (kind == 1 && m->num_dead > 0) return m->dead[test_below(m->num_dead < 64 ? m->num_dead : 64)];
    handle = test_random();
    if (kind == 2) handle = (uint64_t)test_below(1u << 20) << 32 | test_below(m->max_branches + 1);
    for (uint32_t i = 0; i < m->max_branches; i++)
        if (m->branches[i].live && m->branches[i].handle == handle) return 0;
    return handle;
}

static kv_status call_with(pool_model *m, kv_branch bad, uint32_t function)
{
    uint32_t any = test_below(m->max_branches), one = 1;
    const model_branch *other = &m->branches[any];
    kv_branch pair[2] = {other->live ? other->handle : bad, bad}, unused;
    kv_append appends[2];
    uint32_t ones[2] = {one, one};
    switch (function) {
    case 0: return kv_branch_fork(m->pool, bad, &unused);
    case 1: return kv_branch_fork_at(m->pool, bad, 0, &unused);
    case 2: return kv_branch_append(m->pool, bad, 1, appends);
    case 3: return kv_branch_append_many(m->pool, pair, ones, 2, appends);
    case 4: return kv_branch_truncate(m->pool, bad, 0);
    case 5: return kv_branch_adopt(m->pool, pair[0], bad);
    case 6: return kv_branch_adopt(m->pool, bad, pair[0]);
    case 7: return kv_branch_reserve(m->pool, bad, 0);
    case 9: return kv_branch_evict(m->pool, bad, KV_SCOPE_MASK, &one, 1);
    case 10: return kv_evict_shared(m->pool, &bad, 1, 0, 0);
    case 11: return kv_branch_thaw(m->pool, bad);
    case 12: return kv_branch_compact(m->pool, bad, NULL, 0, &one);
    case 13: return kv_branch_compact_shared(m->pool, bad, 0, NULL, 0, &one);
    default: return kv_branch_prune(m->pool, bad);
    }
}

void model_stale(pool_model *m)
{
    kv_branch bad = bad_handle(m);
    kv_table table;
    check(kv_branch_table(m->pool, bad, &table) == KV_STALE, "a table for handle %llx", (unsigned long long)bad);
    check(kv_branch_tables(m->pool, &bad, 1, &table) == KV_STALE, "tables for handle %llx", (unsigned long long)bad);
    model_before_call(m, KV_STALE);
    model_after_call(m, KV_STALE, call_with(m, bad, test_below(m->config.evicts ? 14 : 9)), "call with a bad handle");
    model_compare_stats(m);
}

/* ---- random calls ---- */

static int random_branch(const pool_model *m)
{
    if (m->num_live == 0) return MODEL_NONE;
    uint32_t skip = test_below(m->num_live);
    for (uint32_t i = 0;; i++)
        if (m->branches[i].live && skip-- == 0) return (int)i;
}

/* The largest argument of fork_at and truncate. */
static uint32_t longest_of(const pool_model *m, const model_branch *b)
{
    return m->config.evicts ? b->next_position : b->length;
}

/* Mostly a few tokens, at times a run that ends on a block edge, at times more than the pool holds. */
static uint32_t random_tokens(const pool_model *m, const model_branch *b)
{
    uint32_t block_tokens = m->config.block_tokens, kind = test_below(16);
    if (kind < 8) return 1 + test_below(4);
    if (kind < 12) return test_below(3 * block_tokens + 1);
    if (kind < 14) return block_tokens - b->length % block_tokens;
    if (kind == 14) return test_below(m->config.num_blocks * block_tokens + 2);
    return test_below(64) ? block_tokens : UINT32_MAX - test_below(3);
}

static void random_append_many(pool_model *m)
{
    int branches[16] = {0};
    uint32_t num_tokens[16], count = 1 + test_below(m->num_live < 15 ? m->num_live : 15);
    uint32_t first = test_below(m->max_branches), listed = 0;
    for (uint32_t i = 0; i < m->max_branches && listed < count; i++) {
        int branch = (int)((first + i) % m->max_branches);
        if (m->branches[branch].live) branches[listed++] = branch;
    }
    if (test_below(16) == 0) branches[listed - 1] = branches[0];
    for (uint32_t i = 0; i < listed; i++)
        num_tokens[i] = test_below(8) ? test_below(3) : random_tokens(m, &m->branches[branches[i]]);
    model_append_many(m, branches, num_tokens, listed);
}

static void random_epoch(pool_model *m)
{
    uint32_t kind = test_below(8);
    if (kind < 3) model_epoch_begin(m);
    else if (kind < 6) model_epoch_retire(m, m->next_epoch - 1);
    else model_epoch_retire(m, m->first_epoch + test_below(4) - 1);
}

/* Another branch takes every block that is not promised. */
static void fill_up(pool_model *m)
{
    int greedy;
    if (model_create(m, &greedy) != KV_OK) return;
    while (model_append(m, greedy, m->config.block_tokens) == KV_OK) continue;
    if (m->branches[greedy].length == 0) model_prune(m, greedy);
}

/* A promise, forks and appends in between, and a pool that others fill before the rest is appended. */
static void random_promise(pool_model *m, int branch)
{
    const model_branch *b = &m->branches[branch];
    int other;
    for (int i = 0; i < 3; i++) { /* room for the forks and for the greedy branch */
        other = random_branch(m);
        if (other != branch && m->num_live + 3 > m->max_branches) model_prune(m, other);
    }
    if (test_below(2)) model_fork_at(m, branch, longest_of(m, b), &other);
    if (model_reserve(m, branch, 1 + test_below(2 * m->config.block_tokens)) != KV_OK) return;
    uint32_t full_at = test_below(4);
    for (uint32_t i = 0; i < 8 && b->guaranteed > 0; i++) {
        if (i == full_at) fill_up(m);
        uint32_t longest = longest_of(m, b), length = test_below(4) ? longest : test_below(longest + 1);
        if (m->config.evicts && test_below(3) == 0) model_evict_step(m);
        else if (test_below(3) == 0) model_fork_at(m, branch, length, &other);
        else model_append(m, branch, 1 + test_below(i < 7 ? 2 : b->guaranteed));
    }
}

void model_step(pool_model *m)
{
    int branch = random_branch(m), other;
    uint32_t kind = test_below(100);
    if (branch == MODEL_NONE || kind < 6) {
        model_create(m, &other);
        return;
    }
    if (m->config.evicts && test_below(5) < 2) {
        model_evict_step(m);
        return;
    }
    const model_branch *b = &m->branches[branch];
    uint32_t longest = longest_of(m, b), length = test_below(longest + 1);
    if (kind < 20) model_fork_at(m, branch, longest, &other);
    else if (kind < 27) model_fork_at(m, branch, length + (test_below(32) == 0) * (longest + 1), &other);
    else if (kind < 55) model_append(m, branch, random_tokens(m, b));
    else if (kind < 65) random_append_many(m);
    else if (kind < 71) model_truncate(m, branch, length + (test_below(32) == 0) * (longest + 1));
    else if (kind < 75) model_adopt(m, branch, random_branch(m));
    else if (kind < 86) model_prune(m, branch);
    else if (kind < 89) model_reserve(m, branch, test_below(3) ? test_below(2 * m->config.block_tokens) : 0);
    else if (kind < 91) random_promise(m, branch);
    else if (kind < 96) random_epoch(m);
    else model_stale(m);
}
