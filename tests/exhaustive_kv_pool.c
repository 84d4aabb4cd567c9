/* Every reachable state of a pool of the given size, every call in each of them: exhaustive_kv_pool [BLOCKS
 * BLOCK_TOKENS BRANCHES [EPOCHS [PROMISES [EVICTS]]]]. Without arguments: 5 2 3, then smaller ones with epochs and
 * promises, then 2 2 2 and 1 4 2 with eviction.
 * Price: 5 2 3 takes a few seconds, 6 2 3 and 5 2 4 minutes and some hundred MiB; with eviction 2 2 2 takes ten
 * seconds, 2 2 3 minutes. Prints csv. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "pool_keep_states_model.h"
#include "pool_states_model.h"
#include "test.h"

static void walk_scope(const void *argument)
{
    const states_scope *s = argument;
    states_count c = states_walk(s);
    printf("%u,%u,%u,%u,%d", s->num_blocks, s->block_tokens, s->max_branches, s->max_epochs, s->promises);
    printf(",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", c.states, c.numbered_states, c.transitions,
           c.copies, c.refused_blocks);
    check(c.states > 1 && c.refused_blocks > 0, "a walk that went somewhere");
}

static void walk_evicting(const void *argument)
{
    const keep_scope *s = argument;
    keep_count c = keep_states_walk(s);
    printf("evicting: %u,%u,%u,%u,%d", s->num_blocks, s->block_tokens, s->max_branches, s->max_epochs, s->promises);
    printf(",%" PRIu64 ",,%" PRIu64 ",,%" PRIu64 "\n", c.states, c.transitions, c.refused_blocks);
    check(c.states > 1 && c.holes_taken > 0 && c.blocks_died > 0 && c.refused_blocks > 0, "a walk that went somewhere");
}

static uint32_t argument_at(int argc, char **argv, int index)
{
    if (index >= argc) return 0;
    char *end;
    unsigned long value = strtoul(argv[index], &end, 10);
    if (*end || value > 100) {
        fprintf(stderr, "usage: exhaustive_kv_pool [BLOCKS BLOCK_TOKENS BRANCHES [EPOCHS [PROMISES [EVICTS]]]]\n");
        exit(2);
    }
    return (uint32_t)value;
}

int main(int argc, char **argv)
{
    static const states_scope usual[] = {{5, 2, 3, false, 0}, {4, 2, 2, true, 2}, {3, 2, 3, true, 1}};
    static const keep_scope evicting[] = {{2, 2, 2, false, 0}, {1, 4, 2, false, 0}};
    char *no_names[] = {argv[0], NULL};
    test_begin(1, no_names, "every reachable state of a small pool");
    printf("blocks,block_tokens,branches,epochs,promises,states,numbered_states,transitions,copies,refused_blocks\n");
    states_scope asked = {argument_at(argc, argv, 1), argument_at(argc, argv, 2), argument_at(argc, argv, 3),
                          argument_at(argc, argv, 5) != 0, argument_at(argc, argv, 4)};
    keep_scope asked_evicting = {asked.num_blocks, asked.block_tokens, asked.max_branches, asked.promises,
                                 asked.max_epochs};
    bool evicts = argument_at(argc, argv, 6) != 0;
    if (argc > 1 && evicts) test_add(walk_evicting, &asked_evicting, "asked_evicting");
    else if (argc > 1) test_add(walk_scope, &asked, "asked");
    for (int i = 0; argc == 1 && i < 3; i++) test_add(walk_scope, &usual[i], "usual_%d", i);
    for (int i = 0; argc == 1 && i < 2; i++) test_add(walk_evicting, &evicting[i], "evicting_%d", i);
    return test_end();
}
