/* explorer: one function between the page and the library. It plays a scenario and answers in numbers, so that the
 * page, node and a native program can compare them bit by bit.
 *
 * A scenario begins with branch 0, empty. Branches are numbered in the order of their creation, tokens in the order in
 * which they were appended. One head of head_dim 4, scale 1/2; keys, values and queries as in docs/book/tiny_tree.c,
 * or, with a seed, multiples of 1/4 in -2 .. 2. */
#ifndef EXPLORER_H
#define EXPLORER_H

#include <stdint.h>

enum {
    EXPLORER_MAX_SLOTS = 16384, /* of the pool */
    EXPLORER_MAX_BRANCHES = 96, /* ever created in a scenario */
    EXPLORER_MAX_LENGTH = 4096, /* tokens of a branch, for eviction */
    EXPLORER_MAX_OPERATIONS = 512,
    EXPLORER_TOO_LARGE = -100   /* beyond these; other statuses: kv_status, tree_status */
};

enum { EXPLORER_APPEND, EXPLORER_FORK, EXPLORER_PRUNE, EXPLORER_TRUNCATE };   /* operations */
enum { EXPLORER_TINY, EXPLORER_LARGE }; /* models: 1 head of 4 elements, fp32; 32/8 heads of 128 elements, fp16 */
enum { EXPLORER_ABSORB, EXPLORER_MERGE, EXPLORER_NORMALIZE };                 /* steps of a softmax */

/* What is called, with its arguments, and the numbers of its answer. */
enum {
    EXPLORER_BEGIN,    /* block_tokens, num_blocks, seed (0: the book's numbers) */
    EXPLORER_PLAY,     /* operation, branch, tokens to append or length to keep */
    EXPLORER_POOL,     /* num_blocks, block_tokens, used, shared, high-water blocks, logical_tokens, table_blocks,
                          physical_tokens, copies, copied_tokens; of the last operation: copied from block, to block,
                          tokens, new blocks; number of released blocks, these; [num_blocks] references; free list, the
                          next block first */
    EXPLORER_BRANCHES, /* number of branches; of each: living, length, number of blocks, these, [length] tokens */
    EXPLORER_TREE,     /* U, S, number of nodes; of each: parent or -1, first token, tokens, queries, their branches,
                          [tokens] slots of the pool */
    EXPLORER_BYTES,    /* model, piece_tokens. Of each strategy: items, loaded tokens, partials, masked pairs, bytes of
                          the plan's arrays, the 7 numbers of tree_traffic; these of standard and of dense_mask */
    EXPLORER_PLAN,     /* strategy, piece_tokens, model, workers. Items; of each: rows, tokens, ranges, branches of the
                          rows; of each range: tokens, masked, [tokens] slots. Workers; of each: tiles; of each: item,
                          KV head, tokens, cost of the start of its task, cost of its tokens */
    EXPLORER_SOFTMAX,  /* branch, strategy, piece_tokens. Of each step: kind, item, token, score, the factor of the old
                          sums, the weight of the token or factor of the item's sums, m, l, o[4]. The last one,
                          NORMALIZE, has in the places of item and score: 1 if tree_attention_ref gives the same bits,
                          lse; and behind o out[4] */
    EXPLORER_EVICT,    /* policy, scope, budget, decoding steps, 1: compact. Used blocks before, after, high-water;
                          evicted, voted tokens, freed blocks, queries above budget; branches; of each: number, error,
                          tokens seen, length; of each token: number, 0 or 1 + step of its eviction, importance */
    EXPLORER_POLICIES  /* letters of their names, a 0 behind each */
};

/* The count of numbers of the answer, or a negative status. The numbers are valid until the next call. */
int32_t explorer_call(uint32_t what, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e);
const double *explorer_numbers(void);

#endif
