/* Claim: in every reachable state of a small pool, every call does what it must, or is refused without a trace. */
#include <stddef.h>

#include "pool_keep_states_model.h"
#include "pool_states_model.h"
#include "test.h"

typedef struct scope_case {
    const char *name;
    states_scope scope;
    uint64_t states, numbered_states; /* another number is another allocator, or another walk */
} scope_case;

static const scope_case scope_cases[] = {
    {"1x1x1", {1, 1, 1, false, 0}, 3, 3},
    {"1x4x2", {1, 4, 2, false, 0}, 21, 36},
    {"2x1x3", {2, 1, 3, false, 0}, 44, 146},
    {"2x2x3", {2, 2, 3, false, 0}, 132, 528},
    {"3x2x2", {3, 2, 2, false, 0}, 264, 480},
    {"3x2x3", {3, 2, 3, false, 0}, 1040, 4704},
    {"4x1x2", {4, 1, 2, false, 0}, 624, 1104},
    {"4x2x3", {4, 2, 3, false, 0}, 9376, 45696},
    {"3x4x2", {3, 4, 2, false, 0}, 822, 1560},
    {"2x8x2", {2, 8, 2, false, 0}, 406, 776},
    {"2x2x2_promises", {2, 2, 2, true, 0}, 82, 152},
    {"3x2x2_promises", {3, 2, 2, true, 0}, 1176, 2304},
    {"3x2x3_promises", {3, 2, 3, true, 0}, 3494, 16674},
    {"3x2x2_epoch", {3, 2, 2, false, 1}, 744, 1320},
    {"3x2x2_epochs", {3, 2, 2, false, 2}, 1536, 2664},
    {"2x2x2_promises_epochs", {2, 2, 2, true, 2}, 330, 584},
};

static void run_scope(const void *argument)
{
    const scope_case *c = argument;
    states_count seen = states_walk(&c->scope);
    test_note("%llu states, %llu numbered, %llu calls, %llu copies, %llu refused for want of blocks",
              (unsigned long long)seen.states, (unsigned long long)seen.numbered_states,
              (unsigned long long)seen.transitions, (unsigned long long)seen.copies,
              (unsigned long long)seen.refused_blocks);
    check(seen.states == c->states, "%llu states expected", (unsigned long long)c->states);
    check(seen.numbered_states == c->numbered_states, "%llu numbered", (unsigned long long)c->numbered_states);
    check(seen.refused_blocks > 0 && seen.refused_stale > 0 && seen.refused_range > 0, "every kind of refusal");
    check(seen.refused_branches > 0 && seen.released > 0, "full of branches, and blocks released");
    bool can_copy = c->scope.block_tokens > 1 && c->scope.max_branches > 1 && c->scope.num_blocks > 1;
    check((seen.copies > 0) == can_copy, "%llu copies", (unsigned long long)seen.copies);
}

typedef struct keep_case {
    const char *name;
    keep_scope scope;
    uint64_t states;
} keep_case;

static const keep_case keep_cases[] = {
    {"1x1x1", {1, 1, 1, false, 0}, 4},
    {"1x4x1", {1, 4, 1, false, 0}, 141},
    {"2x2x1_promises_epoch", {2, 2, 1, true, 1}, 259},
    {"1x2x2_promises_epoch", {1, 2, 2, true, 1}, 190},
    {"1x2x3", {1, 2, 3, false, 0}, 315},
    {"2x1x2_promises_epoch", {2, 1, 2, true, 1}, 165},
    {"3x1x2", {3, 1, 2, false, 0}, 205},
};

static void run_keep_scope(const void *argument)
{
    const keep_case *c = argument;
    keep_count seen = keep_states_walk(&c->scope);
    test_note("%llu states, %llu calls, %llu holes taken, %llu dead blocks, %llu of them shared, %llu tails taken over",
              (unsigned long long)seen.states, (unsigned long long)seen.transitions,
              (unsigned long long)seen.holes_taken, (unsigned long long)seen.blocks_died,
              (unsigned long long)seen.dead_blocks_shared, (unsigned long long)seen.tails_taken_over);
    check(seen.states == c->states, "%llu states expected", (unsigned long long)c->states);
    check(seen.blocks_died > 0 && seen.refused_blocks > 0, "blocks died, and some calls found no block");
    check((seen.holes_taken > 0) == (c->scope.block_tokens > 1), "a hole is in a block with another token");
    check((seen.dead_blocks_shared > 0) == (c->scope.max_branches > 1), "shared blocks died");
    check((seen.compactions_shared > 0) == (c->scope.max_branches > 1), "shared blocks were compacted");
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "every reachable state of a small pool, blocks x block_tokens x branches");
    for (size_t i = 0; i < sizeof scope_cases / sizeof scope_cases[0]; i++)
        test_add(run_scope, &scope_cases[i], "all_states_%s", scope_cases[i].name);
    for (size_t i = 0; i < sizeof keep_cases / sizeof keep_cases[0]; i++)
        test_add(run_keep_scope, &keep_cases[i], "all_states_evicting_%s", keep_cases[i].name);
    return test_end();
}
