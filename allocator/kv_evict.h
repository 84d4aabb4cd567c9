/* kv_evict: forgetting in a shared tree. A branch drops tokens from its own view; blocks that other branches read are
 * not written.
 *
 * In a pool created with config.evicts, every branch has keep words: block_tokens bits for each block of its table. Bit
 * j of a block is set while the branch attends to slot j. To forget a token, a branch clears its own bit and writes
 * nothing else, so no branch can change the tokens of another. Memory comes back by two rules:
 *
 *   hole    a cleared slot in a block that the branch alone lists. The next append of one token takes it
 *   dead    a block in which no branch keeps a token. It leaves every table that lists it, and is free
 *
 *   block_tokens 4               B evicts 1 and 5     B appends 6          A and B evict 0, 2, 3 (A: 1 too)
 *   block 0: 0 1 2 3   A, B      A 1111   B 1011      A 1111   B 1011      dead: A's table is [1], B's is [2]
 *   block 1: 4         A         A 1000               A 1000               A 1000
 *   block 2: 4 5       B                  B 1000               B 1100               B 1100 (6 in the hole of 5)
 *
 * Positions. A token has a position, counted from 0 in its branch, and the pool stores it for every slot. Without
 * eviction, position t is in slot t of the table. With eviction, slots are in no order, and `length` in kv_table counts
 * the slots of the table up to the last one that was written. truncate and fork_at take positions in such a pool.
 *
 * Scopes say which tokens a branch may forget:
 *   private  tokens appended after its last fork. Later forks and deaths of other branches do not change the choice
 *   mask     every token that it keeps. A shared token is hidden from this branch alone, and its memory stays
 *   vote     shared tokens, in all branches that list the block at once: kv_evict_shared
 *
 * One kept set serves all layers whose K and V lie in this pool's blocks. A caller that lets each layer choose its own
 * victims uses one pool for each layer. The pool handles integers only; reference/eviction scores tokens.
 *
 * A released block may hold the source of a move of the same call: carry out the moves before overwriting it.
 *
 * Source: LongFlow (arXiv 2603.11504) overwrites the victim in place, which is right only for a single reader. */
#ifndef KV_EVICT_H
#define KV_EVICT_H

#include "kv_branch.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum kv_scope { KV_SCOPE_PRIVATE = 0, KV_SCOPE_MASK, KV_SCOPE_VOTE, KV_NUM_SCOPES } kv_scope;

extern const char *const kv_scope_name[KV_NUM_SCOPES]; /* "private", "mask", "vote" */

/* The tokens that a branch keeps, as a view: valid until the pool next changes. Slot s of the table is slot
 * s % block_tokens of block table.blocks[s / block_tokens]. */
typedef struct kv_keep {
    const uint64_t *words;    /* [table.num_blocks][words_per_block] bit j % 64 of word j / 64: slot j is kept */
    uint32_t words_per_block; /* ceil(block_tokens / 64) */
    uint32_t num_blocks;      /* of the table */
    uint32_t num_kept;        /* bits that are set */
    uint32_t next_position;   /* of the next token */
    uint32_t first_private;   /* tokens at this position or later were appended after the last fork */
} kv_keep;

static inline bool kv_keep_slot(const kv_keep *keep, uint32_t block_tokens, uint32_t slot)
{
    uint32_t bit = slot % block_tokens;
    return keep->words[(uint64_t)(slot / block_tokens) * keep->words_per_block + bit / 64] >> bit % 64 & 1;
}

/* All functions: KV_STALE; KV_INVAL in a pool that was not created with config.evicts. */

/* O(1); keeps[i] of branches[i], O(count). */
kv_status kv_branch_keep(const kv_pool *pool, kv_branch branch, kv_keep *keep);
kv_status kv_branch_keeps(const kv_pool *pool, const kv_branch *branches, uint32_t count, kv_keep *keeps);

/* [num_blocks][block_tokens] position of the token in each slot of the pool; meaningless for slots that no branch
 * keeps. The same array for the pool's whole life: an append writes the slots of the new tokens and those of the block
 * that it copies to, compaction the slots that it moves to. NULL in a pool that does not evict. */
const uint32_t *kv_pool_positions(const kv_pool *pool);

/* The slot, in the branch's table, of a position that the branch keeps. KV_RANGE if it keeps none. O(slots), from the
 * end of the table on: the branch's own tokens are found first. */
kv_status kv_branch_find(const kv_pool *pool, kv_branch branch, uint32_t position, uint32_t *slot);

/* The branch forgets the tokens in `slots` [count] of its table, as it is before the call: all of them, or none on
 * error. Blocks that die leave the table, so the slots behind them move up by block_tokens each.
 * KV_RANGE: a slot beyond the table; KV_INVAL: not kept (evicted before, or named twice), or scope private and its
 * position is before first_private, or scope vote. O(count); also O(blocks of the table) if a block dies, and
 * O(blocks of all tables) if other branches list that block. The next append may overwrite the slots: order its write
 * behind the kernels that read them, as after truncate. */
kv_status kv_branch_evict(kv_pool *pool, kv_branch branch, kv_scope scope, const uint32_t *slots, uint32_t count);

/* By unanimous vote: the branches [count], all that list `block`, forget its slot. A branch that has already hidden
 * it agrees. KV_INVAL: one of the branches does not list the block, is named twice, or some branch that lists it is
 * missing (a branch that cannot vote keeps its tokens); or no branch keeps the slot. KV_RANGE: block or slot.
 * O(blocks of their tables); if the block dies, the blocks of all tables. */
kv_status kv_evict_shared(kv_pool *pool, const kv_branch *branches, uint32_t count, uint32_t block, uint32_t slot);

/* For a branch whose siblings are gone: makes tokens private that no other branch can read any more. Lowers
 * first_private to the lowest position from which on every kept token lies in a block that the branch alone lists.
 * O(slots). */
kv_status kv_branch_thaw(kv_pool *pool, kv_branch branch);

/* Copy one slot (for every layer and KV head, K, V and value norms). Moves of one call do not depend on each other. */
typedef struct kv_move {
    uint32_t from_block, from_slot, to_block, to_slot;
} kv_move;

/* Packs the kept tokens of the blocks that the branch alone lists into as few of these blocks as possible. The blocks
 * with the fewest tokens are emptied and become free. No block is taken. Nothing is moved if no block becomes free.
 * moves [max_moves] is written, *num_moves is their number, at most num_kept. KV_RANGE: more than max_moves are needed;
 * *num_moves says how many, and nothing has changed. O(blocks of the table + moves). */
kv_status kv_branch_compact(kv_pool *pool, kv_branch branch, kv_move *moves, uint32_t max_moves, uint32_t *num_moves);

/* Copy-on-write compaction: from block first_index of the table on, the blocks that are shared are replaced by new ones
 * that hold the branch's kept tokens, packed. The branch reads fewer blocks, but they are its own, and the others keep
 * theirs, so memory can grow (docs/eviction.md). As kv_branch_compact; also KV_RANGE: first_index beyond the table;
 * KV_NOBLOCKS: nothing has changed. If the branch alone kept tokens of such a block, the block dies: O(blocks of all
 * tables). */
kv_status kv_branch_compact_shared(kv_pool *pool, kv_branch branch, uint32_t first_index, kv_move *moves,
                                   uint32_t max_moves, uint32_t *num_moves);

#ifdef __cplusplus
}
#endif
#endif
