/* Claim: tokens and logits of every branch of a random forest that forks, prunes and truncates are those of the same
 * branch decoded alone in copied memory, and those of a transformer in double over its text, within the bound of
 * transformer_model.h: for every strategy, with plain loops and a BLAS, over the reference and the fast path. With
 * plain loops, the reference and the plan flash, shared and copied memory give the same bits. */
#include "test.h"
#include "transformer_forest_model.h"

typedef struct engine {
    const char *name;
    bool reference, blas;
    tree_isa isa;
    uint32_t num_threads;
} engine;

static const engine engines[] = {
    {"reference", true, false, TREE_ISA_PORTABLE, 1},
    {"cpu", false, false, TREE_ISA_AUTO, 2},
    {"blas", false, true, TREE_ISA_AUTO, 2},
};

typedef struct forest_case {
    const engine *engine;
    tree_strategy strategy;
} forest_case;

/* The running branches step in random order; some wait. */
static void random_step(forest *f)
{
    uint32_t order[FOREST_BRANCHES], count = 0;
    for (uint32_t i = 0; i < f->num_branches; i++)
        if (f->branches[i].truth.length < forest_shape.context && (count == 0 || test_below(8)))
            order[count++] = i;
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = test_below(i), last = order[i - 1];
        order[i - 1] = order[j];
        order[j] = last;
    }
    if (count)
        forest_step(f, order, count);
}

static void run_forest(const void *argument)
{
    const forest_case *c = argument;
    if (c->engine->blas && !transformer_has_blas())
        test_skip("no OpenBLAS");
    forest f;
    transformer_config config = {.max_branches = FOREST_BRANCHES, .plan = {.strategy = c->strategy, .piece_tokens = 8},
                                 .reference = c->engine->reference, .isa = c->engine->isa,
                                 .num_threads = c->engine->num_threads, .blas = c->engine->blas};
    for (uint32_t i = 0; i < (uint32_t)c->strategy; i++)
        test_random(); /* a forest of its own for each strategy */
    forest_create(&f, &config, 200, 4, FOREST_AND_ALONE);
    forest_add_root(&f);
    for (uint32_t i = 0; i < 10; i++)
        random_step(&f);
    uint32_t num_steps = TEST_SANITIZED ? 15 : 40;
    for (uint32_t step = 0; step < num_steps; step++) {
        uint32_t event = test_below(10), branch = test_below(f.num_branches);
        bool full = f.num_branches == FOREST_BRANCHES;
        if (event < 2 && full)
            forest_prune(&f, branch);
        else if (event < 4 && !full)
            forest_fork(&f, branch);
        else if (event == 4 && !full)
            forest_add_root(&f);
        else if (event == 5 && f.branches[branch].truth.length > 0)
            forest_truncate(&f, branch, 1 + test_below(f.branches[branch].truth.length));
        random_step(&f);
    }
    transformer_counts counts;
    transformer_get_counts(f.shared, &counts);
    test_note("%u tokens, %u close choices; error / limit %.3f, alone %.3f; %llu of %llu KiB planned of logical",
              f.num_checked, f.num_close, f.worst, f.worst_alone, (unsigned long long)counts.plan_bytes >> 10,
              (unsigned long long)counts.logical_bytes >> 10);
    check(f.worst > 0.001 && f.num_close <= f.num_checked / 100, "a bound that is not too wide");
    forest_destroy(&f);
}

int main(int argc, char **argv)
{
    static forest_case cases[sizeof engines / sizeof *engines * TREE_NUM_STRATEGIES];
    test_begin(argc, argv, "every branch of a forest decodes as it does alone, in copied memory and in double");
    uint32_t count = 0;
    for (uint32_t i = 0; i < sizeof engines / sizeof *engines; i++)
        for (uint32_t strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
            cases[count] = (forest_case){&engines[i], (tree_strategy)strategy};
            test_add(run_forest, &cases[count++], "%s_%s", engines[i].name, tree_strategy_name[strategy]);
        }
    return test_end();
}
