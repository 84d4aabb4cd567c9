/* Claim: trees grown through the allocator are found again from its tables, and pruning them all returns every
 * block. */
#include "cases.h"
#include "test.h"

typedef struct shape {
    const char *spec;
    uint32_t block_tokens;
} shape;

static void run(const void *argument)
{
    const shape *s = argument;
    kv_pool_stats stats;
    for (kv_order order = KV_ORDER_LIFO; order <= KV_ORDER_SHUFFLE; order++) {
        tree_case c;
        tree_case_build(&c, s->spec, s->block_tokens, order);
        check(kv_pool_get_stats(c.pool, &stats) == KV_OK, "stats");
        check(c.tree->unique_tokens == stats.physical_tokens, "%llu unique tokens, the pool counts %llu slots in use",
              (unsigned long long)c.tree->unique_tokens, (unsigned long long)stats.physical_tokens);
        check(c.tree->path_tokens == stats.logical_tokens, "%llu path tokens, the pool counts %llu",
              (unsigned long long)c.tree->path_tokens, (unsigned long long)stats.logical_tokens);
        if (order == KV_ORDER_LIFO)
            test_note("branches=%u nodes=%u unique=%llu path=%llu blocks=%u", c.num_branches, c.tree->num_nodes,
                      (unsigned long long)c.tree->unique_tokens, (unsigned long long)c.tree->path_tokens,
                      c.num_blocks);
        tree_case_free(&c);
    }
}

/* Appending one token to every branch, over and over: grown where that is possible, built anew where not. */
static void run_steps(const void *argument)
{
    const shape *s = argument;
    tree_case c;
    uint32_t grown = 0, built = 0;
    tree_case_build(&c, s->spec, s->block_tokens, KV_ORDER_SHUFFLE);
    for (uint32_t step = 0; step <= s->block_tokens; step++) {
        char message[200];
        kv_append append;
        for (uint32_t i = 0; i < c.num_branches; i++)
            check(kv_branch_append(c.pool, c.branches[i], 1, &append) == KV_OK, "append at step %u", step);
        check(kv_branch_tables(c.pool, c.branches, c.num_branches, c.tables) == KV_OK, "tables");
        if (kv_tree_grow(c.tree, c.tables, c.num_branches)) {
            grown++;
            check(kv_tree_check(c.tree, c.tables, c.num_branches, message, sizeof message) == KV_OK, "%s", message);
        } else {
            built++;
            tree_case_refresh(&c);
        }
    }
    check(built <= 1, "%u of %u steps needed a new tree, expected only the first", built, grown + built);
    test_note("grown=%u built=%u", grown, built);
    tree_case_free(&c);
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {1, 2, 16, 256};
    static const char *const more[] = {"star:64", "random:1", "random:2", "random:3", "random:4", "random:5",
                                       "1,16,64/1024,256,32", "1,20/400,20", "3,7/33,1", "2/5"};
    test_begin(argc, argv, "trees grown through the allocator are found again, and pruning returns every block");
    for (uint32_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (uint32_t i = 0; i < num_tree_case_names; i++)
            test_add(run, &(shape){tree_case_names[i], sizes[s]}, "found_again_%s_tokens_%u", tree_case_names[i],
                     sizes[s]);
        for (uint32_t i = 0; i < sizeof more / sizeof *more; i++)
            test_add(run, &(shape){more[i], sizes[s]}, "found_again_%s_tokens_%u", more[i], sizes[s]);
    }
    for (uint32_t i = 0; i < num_tree_case_names; i++)
        test_add(run_steps, &(shape){tree_case_names[i], 16}, "steps_grow_in_place_%s", tree_case_names[i]);
    return test_end();
}
