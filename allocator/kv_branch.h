/* kv_branch: one sequence = a block table and a length. Fork, append, truncate, prune.
 *
 * A branch writes only into blocks that it alone references. If its part-filled last block is shared, append takes a
 * new block and returns a copy instruction; the caller copies first, then writes the new tokens. */
#ifndef KV_BRANCH_H
#define KV_BRANCH_H

#include "kv_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Copy the first num_tokens slots of from_block to to_block, for every layer and KV head: K and V, and value norms if the
 * caller has them. */
typedef struct kv_copy {
    uint32_t from_block, to_block, num_tokens; /* num_tokens 0: nothing to copy */
} kv_copy;

typedef struct kv_append {
    uint32_t first_new_block; /* index in the branch's table; new ids are table.blocks[first_new_block ..] */
    uint32_t num_new_blocks;  /* including the copy's to_block */
    kv_copy copy;             /* to be carried out before the new tokens are written */
    uint32_t hole;            /* slot of the table that the one new token takes, where an evicted token was; KV_NO_HOLE:
                                 the new tokens are at the end of the table, as always in a pool that does not evict */
} kv_append;

#define KV_NO_HOLE UINT32_MAX

/* Creates an empty branch. KV_NOBRANCH, KV_NOMEM. O(1). */
kv_status kv_branch_create(kv_pool *pool, kv_branch *branch);

/* Creates a branch with the same tokens: every block of the table gains a reference, no block is taken, nothing is
 * copied. fork_at keeps only the first `length` tokens. KV_STALE, KV_RANGE (length beyond the branch), KV_NOBRANCH,
 * KV_NOMEM. O(blocks of the new table); fork_at also takes one step for each distinct length at which another branch
 * ends further on in the new branch's last block: at most block_tokens - 1 steps.
 * In a pool that evicts, `length` is a position: the child keeps those of the parent's tokens that come before it, and
 * its table ends with the last of them. fork_at is O(slots) there. */
kv_status kv_branch_fork(kv_pool *pool, kv_branch branch, kv_branch *child);
kv_status kv_branch_fork_at(kv_pool *pool, kv_branch branch, uint32_t length, kv_branch *child);

/* length += num_tokens. KV_STALE, KV_RANGE (beyond KV_MAX_LENGTH), KV_NOBLOCKS, KV_NOMEM. O(new blocks).
 * In a pool that evicts, a single token takes the lowest hole, if there is one; then the table stays as it is. Several
 * tokens are always at the end, one behind the other. Also O(blocks of the table), to find a hole. A branch that keeps
 * no token of its shared, part-filled last block leaves that block to the others, and copies nothing. A branch that
 * alone keeps tokens of it writes in place, and the block leaves the tables of the others: O(blocks of all tables). */
kv_status kv_branch_append(kv_pool *pool, kv_branch branch, uint32_t num_tokens, kv_append *append);

/* One decode step of a forest: appends num_tokens[i] tokens to branches[i], for all branches or for none. Carry out all
 * copies, then all writes. KV_INVAL if a branch is named twice; otherwise as kv_branch_append.
 * appends: [count], written. If two branches share a part-filled block, the first gets the copy; the second, now the
 * only holder, writes in place. In a pool that evicts, holes are those before the call. */
kv_status kv_branch_append_many(kv_pool *pool, const kv_branch *branches, const uint32_t *num_tokens, uint32_t count,
                                kv_append *appends);

/* Keeps the first `length` tokens and cancels a promise of kv_branch_reserve. Takes no block, so it cannot run out of
 * them.
 * KV_STALE, KV_RANGE (length beyond the branch). O(blocks dropped), plus the steps of fork_at.
 * In a pool that evicts, `length` is a position, at most next_position: tokens at it or later are forgotten, and the
 * table is cut behind the last token that is left. At next_position nothing changes. O(slots), and, if a block dies
 * that others list, the blocks of all tables: the same for adopt and prune. */
kv_status kv_branch_truncate(kv_pool *pool, kv_branch branch, uint32_t length);

/* `branch` takes over the table of `winner`, whose handle dies: for a draft path that was accepted.
 * KV_STALE, KV_INVAL if both are the same. O(blocks that `branch` drops), plus the steps of fork_at. The winner's
 * table is moved, not copied: a new branch that adopts another renames it, at a cost that does not depend on its
 * length. */
kv_status kv_branch_adopt(kv_pool *pool, kv_branch branch, kv_branch winner);

/* Drops a reference from every block, last block first; the handle dies. KV_STALE (also if it was pruned before).
 * O(blocks of the table). The table's memory is freed, but the pool keeps up to 4 MiB of such tables for later forks.
 * The table of a living branch has room for at most max(128, 4 times its entries) entries. */
kv_status kv_branch_prune(kv_pool *pool, kv_branch branch);

/* Promise: the next num_tokens tokens appended to this branch, in one call or several, cannot fail for lack of blocks,
 * even if the branch is forked in between, once or several times, as long as no append to the branch separates the
 * forks. (Forks at a second point may use up blocks of the promise.) kv_branch_append_many cannot fail for lack of
 * blocks if all tokens of its list are promised; one unpromised token may fail the whole list.
 * Sets aside the new blocks, one block for the copy after such a fork, and one more if the last block is shared
 * already. Blocks that were not needed become free again with the last promised token, or with truncate, adopt or
 * prune. Replaces an earlier promise; 0 cancels it. A fork does not inherit the promise. KV_STALE, KV_RANGE,
 * KV_NOBLOCKS. O(1).
 * In a pool that evicts, the promise outlives evictions and compactions: where they make it need a block more, a block
 * that they freed is set aside. With one exception: while an epoch is open, that block waits; then another free block
 * is set aside, and if all of those are promised, the promise is a block short. */
kv_status kv_branch_reserve(kv_pool *pool, kv_branch branch, uint32_t num_tokens);

/* The branch's block table, as a view. KV_STALE. O(1). */
kv_status kv_branch_table(const kv_pool *pool, kv_branch branch, kv_table *table);

/* tables[i] of branches[i]: input of kv_tree_build. KV_STALE; nothing is written then. O(count). */
kv_status kv_branch_tables(const kv_pool *pool, const kv_branch *branches, uint32_t count, kv_table *tables);

#ifdef __cplusplus
}
#endif
#endif
