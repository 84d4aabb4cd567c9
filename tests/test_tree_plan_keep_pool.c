/* Claim: over a pool that evicts, whatever its branches do, a plan shows each query the tokens that its branch has
 * appended or inherited and not evicted: by identity, not by slot. A plan that follows evictions, holes and growth in
 * place shows the same. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kv_branch.h"
#include "kv_evict.h"
#include "test.h"
#include "tree_plan_keep.h"

enum { NUM_BLOCKS = 120, MAX_BRANCHES = 7, MAX_TOKENS = 150, MAX_SLOTS = NUM_BLOCKS * 128, NUM_OPERATIONS = 250 };

typedef struct history {
    kv_branch branch;
    uint32_t num_tokens;
    uint32_t ids[MAX_TOKENS]; /* by position */
    bool kept[MAX_TOKENS];
} history;

typedef struct world {
    kv_pool *pool;
    uint32_t block_tokens, num_branches, num_ids;
    history *branches;         /* [MAX_BRANCHES], the first num_branches live; query i is branch i */
    uint32_t ids[MAX_SLOTS];   /* of the token in each slot of the pool, as K and V would be */
    tree_plan *plan;           /* of the last step, and its tree; NULL before the first */
    kv_tree *tree;
    uint32_t num_followed, num_built, num_holes, num_deaths;
} world;

static void must(kv_status status, const char *what)
{
    check(status == KV_OK, "%s: %s", what, kv_status_string(status));
}

static uint32_t table_of(const world *w, uint32_t b, kv_table *table, kv_keep *keep)
{
    must(kv_branch_table(w->pool, w->branches[b].branch, table), "a table");
    must(kv_branch_keep(w->pool, w->branches[b].branch, keep), "keep words");
    return table->length;
}

static uint32_t place_of(const world *w, const kv_table *table, uint32_t slot)
{
    return table->blocks[slot / w->block_tokens] * w->block_tokens + slot % w->block_tokens;
}

/* ---- operations ---- */

static void append(world *w, uint32_t b, uint32_t num_tokens)
{
    history *h = &w->branches[b];
    kv_append done;
    kv_table table;
    kv_keep keep;
    if (h->num_tokens + num_tokens > MAX_TOKENS)
        return;
    kv_status status = kv_branch_append(w->pool, h->branch, num_tokens, &done);
    if (status == KV_NOBLOCKS)
        return;
    must(status, "an append");
    for (uint32_t i = 0; i < done.copy.num_tokens; i++)
        w->ids[done.copy.to_block * w->block_tokens + i] = w->ids[done.copy.from_block * w->block_tokens + i];
    uint32_t length = table_of(w, b, &table, &keep);
    for (uint32_t i = 0; i < num_tokens; i++) {
        uint32_t slot = done.hole == KV_NO_HOLE ? length - num_tokens + i : done.hole;
        w->ids[place_of(w, &table, slot)] = w->num_ids;
        h->ids[h->num_tokens] = w->num_ids++;
        h->kept[h->num_tokens++] = true;
    }
    w->num_holes += done.hole != KV_NO_HOLE;
}

static void evict(world *w, uint32_t b, uint32_t slot)
{
    history *h = &w->branches[b];
    kv_table table;
    kv_keep keep;
    uint32_t length = table_of(w, b, &table, &keep), num_blocks = table.num_blocks;
    if (slot >= length || !kv_keep_slot(&keep, w->block_tokens, slot))
        return;
    uint32_t position = kv_pool_positions(w->pool)[place_of(w, &table, slot)];
    kv_scope scope = position >= keep.first_private ? KV_SCOPE_PRIVATE : KV_SCOPE_MASK;
    must(kv_branch_evict(w->pool, h->branch, scope, &slot, 1), "an eviction");
    h->kept[position] = false;
    table_of(w, b, &table, &keep);
    w->num_deaths += table.num_blocks < num_blocks;
}

/* By all branches that list the block. */
static void vote(world *w, uint32_t b, uint32_t slot)
{
    kv_table table;
    kv_keep keep;
    kv_branch voters[MAX_BRANCHES];
    uint32_t num_voters = 0, length = table_of(w, b, &table, &keep);
    if (slot >= length || !kv_keep_slot(&keep, w->block_tokens, slot))
        return;
    uint32_t block = table.blocks[slot / w->block_tokens], id = w->ids[place_of(w, &table, slot)];
    for (uint32_t i = 0; i < w->num_branches; i++) {
        table_of(w, i, &table, &keep);
        uint32_t index = 0;
        while (index < table.num_blocks && table.blocks[index] != block)
            index++;
        if (index == table.num_blocks)
            continue;
        voters[num_voters++] = w->branches[i].branch;
        for (uint32_t p = 0; p < w->branches[i].num_tokens; p++)
            w->branches[i].kept[p] &= w->branches[i].ids[p] != id;
    }
    must(kv_evict_shared(w->pool, voters, num_voters, block, slot % w->block_tokens), "a vote");
}

static void fork_branch(world *w, uint32_t b)
{
    if (w->num_branches == MAX_BRANCHES)
        return;
    history *child = &w->branches[w->num_branches];
    *child = w->branches[b];
    child->num_tokens = test_below(2) ? child->num_tokens : test_below(child->num_tokens + 1);
    must(kv_branch_fork_at(w->pool, w->branches[b].branch, child->num_tokens, &child->branch), "a fork");
    w->num_branches++;
}

static void prune_branch(world *w, uint32_t b)
{
    must(kv_branch_prune(w->pool, w->branches[b].branch), "a prune");
    w->branches[b] = w->branches[--w->num_branches];
}

static void compact(world *w, uint32_t b)
{
    static kv_move moves[MAX_TOKENS];
    uint32_t num_moves;
    must(kv_branch_compact(w->pool, w->branches[b].branch, moves, MAX_TOKENS, &num_moves), "a compaction");
    for (uint32_t i = 0; i < num_moves; i++)
        w->ids[moves[i].to_block * w->block_tokens + moves[i].to_slot]
            = w->ids[moves[i].from_block * w->block_tokens + moves[i].from_slot];
}

/* Mostly decode steps: every branch appends a token, and some evict one. */
static void operate(world *w)
{
    uint32_t b = test_below(w->num_branches), what = test_below(40);
    uint32_t length = w->branches[b].num_tokens, slot = test_below(MAX_TOKENS);
    for (uint32_t i = 0; what < 25 && i < w->num_branches; i++) {
        append(w, i, 1);
        for (uint32_t n = test_below(3); n > 0; n--)
            evict(w, i, test_below(w->branches[i].num_tokens + 1));
    }
    if (what >= 25 && what < 29)
        fork_branch(w, b);
    else if (what == 29 && w->num_branches > 1)
        prune_branch(w, b);
    else if (what == 30)
        append(w, b, 1 + test_below(20));
    else if (what == 31 && length) {
        w->branches[b].num_tokens = test_below(length);
        must(kv_branch_truncate(w->pool, w->branches[b].branch, w->branches[b].num_tokens), "a truncate");
    } else if (what == 32)
        compact(w, b);
    else if (what > 32)
        vote(w, b, slot % (length + 1));
}

/* ---- the plan ---- */

static void forget_plan(world *w)
{
    tree_plan_destroy(w->plan);
    if (w->plan)
        kv_tree_destroy(w->tree);
    w->plan = NULL;
}

static void expect_shown(const world *w, const tree_plan *plan)
{
    uint32_t words, shown[MAX_BRANCHES][MAX_TOKENS] = {{0}};
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        words = (item->num_rows + 63) / 64;
        for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++) {
            const tree_range *range = &plan->ranges[r];
            for (uint32_t n = 0; n < range->num_tokens * item->num_rows; n++) {
                uint32_t t = n / item->num_rows, row = n % item->num_rows, query = plan->rows[item->first_row + row];
                if (range->mask != TREE_NO_MASK && !(plan->masks[range->mask + t * words + row / 64] >> row % 64 & 1))
                    continue;
                uint32_t at = range->first_slot + t, block = plan->blocks[range->first_block + at / w->block_tokens];
                uint32_t place = block * w->block_tokens + at % w->block_tokens;
                uint32_t position = kv_pool_positions(w->pool)[place];
                const history *h = &w->branches[query];
                check(position < h->num_tokens && h->ids[position] == w->ids[place],
                      "query %" PRIu32 " sees token %" PRIu32 ", not its own at position %" PRIu32, query,
                      w->ids[place], position);
                shown[query][position]++;
            }
        }
    }
    for (uint32_t q = 0; q < w->num_branches; q++)
        for (uint32_t p = 0; p < w->branches[q].num_tokens; p++)
            check(shown[q][p] == w->branches[q].kept[p], "query %" PRIu32 " sees position %" PRIu32 " %" PRIu32
                  " times", q, p, shown[q][p]);
}

/* As an engine does it: tree and plan of the step before follow if they can. */
static void plan_step(world *w, const tree_plan_config *config, tree_keep_masks masks)
{
    kv_branch branches[MAX_BRANCHES];
    kv_table tables[MAX_BRANCHES];
    kv_keep keeps[MAX_BRANCHES];
    char message[200];
    for (uint32_t i = 0; i < w->num_branches; i++)
        branches[i] = w->branches[i].branch;
    must(kv_branch_tables(w->pool, branches, w->num_branches, tables), "tables");
    must(kv_branch_keeps(w->pool, branches, w->num_branches, keeps), "keep words");
    if (w->plan && kv_tree_grow(w->tree, tables, w->num_branches) && tree_plan_grow(w->plan, w->tree)
        && tree_plan_set_keep(w->plan, w->tree, keeps)) {
        w->num_followed++;
    } else {
        forget_plan(w);
        must(kv_tree_build(&w->tree, tables, w->num_branches, w->block_tokens, NUM_BLOCKS), "a tree");
        tree_status status = tree_plan_build_keep(&w->plan, w->tree, config, keeps, masks);
        check(status == TREE_OK, "a plan: %s", tree_status_string(status));
        w->num_built++;
    }
    check(tree_plan_check_keep(w->plan, w->tree, keeps, message, sizeof message) == TREE_OK, "%s", message);
    expect_shown(w, w->plan);
}

static void run(const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    static const uint32_t block_sizes[] = {4, 16, 128};
    for (uint32_t i = 0; i < 3; i++) {
        world *w = calloc(1, sizeof *w);
        check(w && (w->branches = calloc(MAX_BRANCHES, sizeof *w->branches)), "memory");
        w->block_tokens = block_sizes[i];
        const kv_pool_config pool = {.num_blocks = NUM_BLOCKS, .block_tokens = w->block_tokens,
                                     .max_branches = MAX_BRANCHES, .order = KV_ORDER_SHUFFLE, .seed = test_random(),
                                     .evicts = true};
        const tree_plan_config config = {.strategy = strategy, .piece_tokens = 20, .num_workers = 4};
        must(kv_pool_create(&w->pool, &pool), "a pool");
        must(kv_branch_create(w->pool, &w->branches[w->num_branches++].branch), "a branch");
        append(w, 0, 30);
        for (int n = 0; n < NUM_OPERATIONS; n++) {
            operate(w);
            plan_step(w, &config, (tree_keep_masks)i);
        }
        test_note("block_tokens %" PRIu32 ": %" PRIu32 " plans followed, %" PRIu32 " built; %" PRIu32
                  " holes taken, %" PRIu32 " blocks died", w->block_tokens, w->num_followed, w->num_built, w->num_holes,
                  w->num_deaths);
        check(w->num_followed && w->num_built && w->num_holes, "plans followed, plans were built, holes were taken");
        forget_plan(w);
        kv_pool_destroy(w->pool, true, NULL);
        free(w->branches);
        free(w);
    }
}

int main(int argc, char **argv)
{
    static tree_strategy strategies[TREE_NUM_STRATEGIES];
    test_begin(argc, argv, "over a pool that evicts, a plan shows each query the tokens that its branch keeps");
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++) {
        strategies[s] = (tree_strategy)s;
        test_add(run, &strategies[s], "%s", tree_strategy_name[s]);
    }
    return test_end();
}
