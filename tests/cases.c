/* Named trees of cases.h. Each is grown at least twice: in pools that double until it fits, then in one that fits. */
#include "cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

typedef struct grower {
    tree_case *c;
    uint64_t random;
    uint32_t number;   /* behind the colon */
    uint32_t capacity; /* of c->branches */
    bool full;         /* the pool ran out of blocks: all that follows is void */
    const char *spec;
} grower;

/* ---- operations ---- */

static uint32_t below(grower *g, uint32_t limit)
{
    uint64_t z = g->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) % limit);
}

static uint32_t keep_branch(grower *g, kv_branch branch)
{
    if (g->c->num_branches == g->capacity) {
        g->capacity = g->capacity ? 2 * g->capacity : 16;
        g->c->branches = realloc(g->c->branches, g->capacity * sizeof *g->c->branches);
        check(g->c->branches, "out of memory");
    }
    g->c->branches[g->c->num_branches] = branch;
    return g->c->num_branches++;
}

static void append(grower *g, uint32_t branch, uint32_t num_tokens)
{
    kv_append append_result;
    if (g->full) return;
    kv_status status = kv_branch_append(g->c->pool, g->c->branches[branch], num_tokens, &append_result);
    check(status == KV_OK || status == KV_NOBLOCKS, "append: %s", kv_status_string(status));
    g->full = status == KV_NOBLOCKS;
}

static uint32_t root(grower *g, uint32_t num_tokens)
{
    kv_branch branch;
    kv_status status = kv_branch_create(g->c->pool, &branch);
    check(status == KV_OK, "create: %s", kv_status_string(status));
    uint32_t index = keep_branch(g, branch);
    append(g, index, num_tokens);
    return index;
}

static uint32_t length_of(const grower *g, uint32_t branch)
{
    kv_table table;
    kv_status status = kv_branch_table(g->c->pool, g->c->branches[branch], &table);
    check(status == KV_OK, "table: %s", kv_status_string(status));
    return table.length;
}

static uint32_t fork_at(grower *g, uint32_t branch, uint32_t length, uint32_t num_tokens)
{
    kv_branch child;
    if (g->full) return branch;
    kv_status status = kv_branch_fork_at(g->c->pool, g->c->branches[branch], length, &child);
    check(status == KV_OK, "fork at %u: %s", length, kv_status_string(status));
    uint32_t index = keep_branch(g, child);
    append(g, index, num_tokens);
    return index;
}

/* The last branch takes its place in c->branches. */
static void prune(grower *g, uint32_t branch)
{
    kv_status status = kv_branch_prune(g->c->pool, g->c->branches[branch]);
    check(status == KV_OK, "prune: %s", kv_status_string(status));
    g->c->branches[branch] = g->c->branches[--g->c->num_branches];
}

/* ---- trees ---- */

static uint32_t read_levels(grower *g, const char **at, uint32_t *values, uint32_t max_values)
{
    uint32_t count = 0;
    for (char *end; count < max_values; *at = end + 1) {
        values[count++] = (uint32_t)strtoul(*at, &end, 10);
        check(end != *at, "%s: a number expected at '%s'", g->spec, *at);
        if (*end != ',') {
            *at = end;
            return count;
        }
    }
    test_fail(__FILE__, __LINE__, "levels", "%s: more than %u levels", g->spec, max_values);
}

/* A node's children fork from it, then it is pruned: the last child writes into the parent's part-filled block. */
static void levels(grower *g, const uint32_t *nodes, const uint32_t *tokens, uint32_t num_levels)
{
    for (uint32_t i = 0; i < nodes[0]; i++)
        root(g, tokens[0]);
    for (uint32_t level = 1; level < num_levels && !g->full; level++) {
        uint32_t above = nodes[level - 1];
        check(nodes[level] >= above, "%s: level %u is smaller than the one above", g->spec, level);
        for (uint32_t i = 0; i < nodes[level]; i++) {
            uint32_t parent = (uint32_t)((uint64_t)i * above / nodes[level]);
            fork_at(g, parent, length_of(g, parent), 0);
        }
        for (uint32_t i = 0; i < above; i++)
            check(kv_branch_prune(g->c->pool, g->c->branches[i]) == KV_OK, "prune");
        g->c->num_branches = nodes[level];
        memmove(g->c->branches, g->c->branches + above, nodes[level] * sizeof *g->c->branches);
        for (uint32_t i = 0; i < nodes[level]; i++)
            append(g, i, tokens[level]);
    }
}

static void grow_levels(grower *g)
{
    uint32_t nodes[TREE_CASE_MAX_LEVELS], tokens[TREE_CASE_MAX_LEVELS];
    const char *at = g->spec;
    uint32_t num_levels = read_levels(g, &at, nodes, TREE_CASE_MAX_LEVELS);
    check(*at == '/', "%s: '/' expected at '%s'", g->spec, at);
    at++;
    check(read_levels(g, &at, tokens, TREE_CASE_MAX_LEVELS) == num_levels && !*at,
          "%s: tokens for %u levels expected", g->spec, num_levels);
    levels(g, nodes, tokens, num_levels);
}

static void grow_one_token(grower *g) { root(g, 1); }

static void grow_full_block(grower *g) { root(g, g->c->block_tokens); }

static void grow_partial_last_block(grower *g) { root(g, 3 * g->c->block_tokens + 1); }

static void grow_star(grower *g)
{
    levels(g, (uint32_t[]){1, g->number ? g->number : 8}, (uint32_t[]){5 * g->c->block_tokens + 3, 21}, 2);
}

static void grow_chain(grower *g)
{
    uint32_t last = root(g, 7);
    for (uint32_t i = 1; i < (g->number ? g->number : 6); i++)
        last = fork_at(g, last, 7 * i, 7);
}

static void grow_comb(grower *g)
{
    uint32_t spine = root(g, 0);
    for (uint32_t i = 0; i < (g->number ? g->number : 8); i++) {
        append(g, spine, 21);
        if (g->full) return;
        fork_at(g, spine, length_of(g, spine), 5);
    }
}

static void grow_binary(grower *g)
{
    enum { MAX_LEVELS = 16 };
    uint32_t nodes[MAX_LEVELS], tokens[MAX_LEVELS], num_levels = g->number ? g->number : 4;
    check(num_levels <= MAX_LEVELS, "%s: at most %u levels", g->spec, (uint32_t)MAX_LEVELS);
    for (uint32_t i = 0; i < num_levels; i++) {
        nodes[i] = 1u << i;
        tokens[i] = 11;
    }
    levels(g, nodes, tokens, num_levels);
}

static void grow_ragged(grower *g)
{
    static const uint32_t keep[] = {300, 1, 13, 299, 150, 300, 17}, more[] = {1, 700, 2, 50, 333, 16, 7};
    uint32_t prefix = root(g, 300);
    for (uint32_t i = 0; i < sizeof keep / sizeof *keep && !g->full; i++)
        fork_at(g, prefix, keep[i], more[i]);
}

static void grow_empty_branch(grower *g)
{
    root(g, 0);
    uint32_t prefix = root(g, 20);
    root(g, 0);
    fork_at(g, prefix, g->full ? 0 : 20, 3);
    fork_at(g, prefix, 0, 0);
}

static void grow_forked_inside_block(grower *g)
{
    uint32_t block_tokens = g->c->block_tokens, step = block_tokens > 16 ? block_tokens / 16 : 1;
    uint32_t prefix = root(g, 3 * block_tokens);
    for (uint32_t slot = 0; slot <= block_tokens && !g->full; slot += step)
        fork_at(g, prefix, block_tokens + slot, slot / step % 3);
}

static void grow_forest(grower *g)
{
    uint32_t a = root(g, 40), b = root(g, 1), c = root(g, 100);
    if (g->full) return;
    fork_at(g, c, 64, 10);
    fork_at(g, a, 33, 2);
    fork_at(g, b, 1, 30);
}

static void grow_giant_leaf(grower *g)
{
    uint32_t prefix = root(g, 50);
    for (uint32_t i = 0; i < 16 && !g->full; i++)
        fork_at(g, prefix, 50, i == 7 ? 3000 : 1);
}

static void grow_random(grower *g)
{
    uint32_t num_steps = 20 + below(g, 41);
    for (uint32_t step = 0; step < num_steps && !g->full; step++) {
        uint32_t what = g->c->num_branches ? below(g, 8) : 0, size = below(g, 5 * g->c->block_tokens + 20);
        uint32_t branch = g->c->num_branches ? below(g, g->c->num_branches) : 0;
        if (what == 0) root(g, size);
        else if (what <= 3) fork_at(g, branch, length_of(g, branch), size % 4 ? size : 0);
        else if (what == 4) fork_at(g, branch, below(g, length_of(g, branch) + 1), size);
        else if (what <= 6) append(g, branch, size);
        else if (size % 2 && g->c->num_branches > 1) prune(g, branch);
        else check(kv_branch_truncate(g->c->pool, g->c->branches[branch], below(g, length_of(g, branch) + 1)) == KV_OK,
                   "truncate");
    }
}

static const struct {
    const char *name;
    void (*grow)(grower *g);
} growers[] = {
    {"one_token", grow_one_token},
    {"full_block", grow_full_block},
    {"partial_last_block", grow_partial_last_block},
    {"star", grow_star},
    {"chain", grow_chain},
    {"comb", grow_comb},
    {"binary", grow_binary},
    {"ragged", grow_ragged},
    {"empty_branch", grow_empty_branch},
    {"forked_inside_block", grow_forked_inside_block},
    {"forest", grow_forest},
    {"giant_leaf", grow_giant_leaf},
    {"random", grow_random},
};

const char *const tree_case_names[] = {
    "one_token", "full_block", "partial_last_block", "star", "chain", "comb", "binary", "ragged", "empty_branch",
    "forked_inside_block", "forest", "giant_leaf", "random",
};
const uint32_t num_tree_case_names = sizeof tree_case_names / sizeof *tree_case_names;

/* ---- building and freeing ---- */

static void (*find_grower(grower *g))(grower *)
{
    size_t length = strcspn(g->spec, ":");
    if (strchr(g->spec, '/')) return grow_levels;
    if (g->spec[length]) {
        char *end;
        g->number = (uint32_t)strtoul(g->spec + length + 1, &end, 10);
        check(end != g->spec + length + 1 && !*end, "%s: a number expected behind the colon", g->spec);
    }
    for (size_t i = 0; i < sizeof growers / sizeof *growers; i++)
        if (strlen(growers[i].name) == length && !strncmp(growers[i].name, g->spec, length)) return growers[i].grow;
    test_fail(__FILE__, __LINE__, "spec", "no tree is named '%s'", g->spec);
}

/* false: it does not fit into num_blocks blocks. */
static bool grow_in(tree_case *c, const char *spec, uint32_t num_blocks, kv_order order)
{
    grower g = {.c = c, .spec = spec};
    void (*grow)(grower *) = find_grower(&g);
    kv_pool_config config = {.num_blocks = num_blocks, .block_tokens = c->block_tokens, .max_branches = 1u << 14,
                             .order = order, .seed = test_seed()};
    kv_status status = kv_pool_create(&c->pool, &config);
    check(status == KV_OK, "pool of %u blocks: %s", num_blocks, kv_status_string(status));
    g.random = strchr(spec, ':') ? g.number : test_seed();
    c->num_blocks = num_blocks;
    c->branches = NULL;
    c->num_branches = 0;
    grow(&g);
    return !g.full;
}

static uint32_t drop_pool(tree_case *c)
{
    kv_pool_stats stats;
    kv_status status = kv_pool_destroy(c->pool, true, &stats);
    check(status == KV_OK, "destroy: %s", kv_status_string(status));
    free(c->branches);
    return stats.high_water_blocks;
}

void tree_case_refresh(tree_case *c)
{
    char message[200];
    kv_tree_destroy(c->tree);
    free(c->tables);
    c->tree = NULL;
    c->tables = malloc((c->num_branches + 1) * sizeof *c->tables);
    check(c->tables, "out of memory");
    kv_status status = kv_branch_tables(c->pool, c->branches, c->num_branches, c->tables);
    check(status == KV_OK, "tables: %s", kv_status_string(status));
    status = kv_tree_build(&c->tree, c->tables, c->num_branches, c->block_tokens, c->num_blocks);
    check(status == KV_OK, "tree: %s", kv_status_string(status));
    status = kv_tree_check(c->tree, c->tables, c->num_branches, message, sizeof message);
    check(status == KV_OK, "tree: %s", message);
}

void tree_case_build(tree_case *c, const char *spec, uint32_t block_tokens, kv_order order)
{
    static const char *const order_name[] = {"lifo", "fifo", "shuffle"};
    uint32_t num_blocks = 64;
    *c = (tree_case){.block_tokens = block_tokens};
    snprintf(c->name, sizeof c->name, "%s block_tokens=%u %s", spec, block_tokens, order_name[order]);
    while (!grow_in(c, spec, num_blocks, order)) {
        drop_pool(c);
        check(num_blocks < 1u << 26, "%s: more than %u blocks", spec, num_blocks);
        num_blocks *= 2;
    }
    uint32_t num_branches = c->num_branches;
    num_blocks = drop_pool(c) + 2 * num_branches + 1; /* room for a step or two of appends */
    check(grow_in(c, spec, num_blocks, order), "%s: %u blocks do not suffice", spec, num_blocks);
    tree_case_refresh(c);
}

void tree_case_free(tree_case *c)
{
    char message[200];
    kv_pool_stats stats;
    check(kv_pool_check(c->pool, message, sizeof message) == KV_OK, "pool: %s", message);
    for (uint32_t i = 0; i < c->num_branches; i++)
        check(kv_branch_prune(c->pool, c->branches[i]) == KV_OK, "prune of branch %u", i);
    check(kv_pool_check(c->pool, message, sizeof message) == KV_OK, "pool after pruning all: %s", message);
    check(kv_pool_destroy(c->pool, false, &stats) == KV_OK, "destroy");
    check(stats.free_blocks == stats.num_blocks, "%u of %u blocks came back", stats.free_blocks, stats.num_blocks);
    kv_tree_destroy(c->tree);
    free(c->tables);
    free(c->branches);
    memset(c, 0, sizeof *c);
}
