/* kv_branch: one sequence = a block table and a length. Fork, append, truncate, prune.
 *
 * A branch writes only into blocks that it alone references. Where its part-filled last block is shared, append
 * takes a new block and returns a copy instruction; the caller copies first, then writes the new tokens. */
#ifndef KV_BRANCH_H
#define KV_BRANCH_H

#include "kv_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Copy the first num_tokens slots of from_block (for every layer and KV head, K and V) to to_block. */
typedef struct kv_copy {
    uint32_t from_block, to_block, num_tokens; /* num_tokens 0: nothing to copy */
} kv_copy;

typedef struct kv_append {
    uint32_t first_new_block; /* index in the branch's table; new ids are table.blocks[first_new_block ..] */
    uint32_t num_new_blocks;  /* the copy's to_block included */
    kv_copy copy;             /* carry out before the new tokens are written */
} kv_append;

/* An empty branch. KV_NOBRANCH, KV_NOMEM. O(1). */
kv_status kv_branch_create(kv_pool *pool, kv_branch *branch);

/* A branch with the same tokens: every block of the table gains a reference, no block is taken, nothing is copied.
 * fork_at keeps only the first `length` tokens. KV_STALE, KV_RANGE (length beyond the branch), KV_NOBRANCH, KV_NOMEM.
 * O(blocks of the new table); fork_at also takes one step for each length at which other branches end later in the new
 * branch's last block: at most block_tokens - 1. */
kv_status kv_branch_fork(kv_pool *pool, kv_branch branch, kv_branch *child);
kv_status kv_branch_fork_at(kv_pool *pool, kv_branch branch, uint32_t length, kv_branch *child);

/* length += num_tokens. KV_STALE, KV_RANGE (beyond KV_MAX_LENGTH), KV_NOBLOCKS, KV_NOMEM. O(new blocks). */
kv_status kv_branch_append(kv_pool *pool, kv_branch branch, uint32_t num_tokens, kv_append *append);

/* One decode step of a forest: appends num_tokens[i] to branches[i], all of them or none. Carry out all copies, then
 * all writes. KV_INVAL if a branch is named twice; otherwise as kv_branch_append.
 * appends: [count], written. Of two branches that share a part-filled block the first gets the copy, and the second,
 * its last holder, writes in place. */
kv_status kv_branch_append_many(kv_pool *pool, const kv_branch *branches, const uint32_t *num_tokens, uint32_t count,
                                kv_append *appends);

/* Keeps the first `length` tokens; a promise of reserve ends. Cannot run out of blocks.
 * KV_STALE, KV_RANGE (length beyond the branch). O(blocks dropped), and the steps of fork_at. */
kv_status kv_branch_truncate(kv_pool *pool, kv_branch branch, uint32_t length);

/* `branch` takes over the table of `winner`, and winner's handle dies: a draft path was accepted.
 * KV_STALE, KV_INVAL if both are the same. O(blocks that `branch` drops), and the steps of fork_at. The winner's
 * table is moved, not copied: create, then adopt, renames a branch at a cost that does not depend on its length. */
kv_status kv_branch_adopt(kv_pool *pool, kv_branch branch, kv_branch winner);

/* Drops a reference from every block, last block first; the handle dies. KV_STALE (also the second time).
 * O(blocks of the table). Its table's memory goes back to malloc; a pool keeps up to 4 MiB of such tables for the next
 * forks. A living branch has room for at most max(128, 4 times the entries that it lists). */
kv_status kv_branch_prune(kv_pool *pool, kv_branch branch);

/* Promise: the next num_tokens tokens appended to this branch, in one call or several, cannot fail for want of blocks,
 * even if the branch is forked in between at one point: once, or several times with no append to it between the forks.
 * (Forks at a second point may use up blocks of the promise.) A list of appends is refused as a whole, so it cannot
 * fail if all of its tokens are promised.
 * Sets aside the new blocks, one block for the copy after such a fork, and one more if the last block is shared
 * already. Blocks that were not needed are free again after the last promised token, and with truncate, adopt and
 * prune. Replaces an earlier promise; 0 cancels it. A fork gets none of it. KV_STALE, KV_RANGE, KV_NOBLOCKS. O(1). */
kv_status kv_branch_reserve(kv_pool *pool, kv_branch branch, uint32_t num_tokens);

/* KV_STALE. O(1). */
kv_status kv_branch_table(const kv_pool *pool, kv_branch branch, kv_table *table);

/* tables[i] of branches[i]: input of kv_tree_build. KV_STALE; nothing is written then. O(count). */
kv_status kv_branch_tables(const kv_pool *pool, const kv_branch *branches, uint32_t count, kv_table *tables);

#ifdef __cplusplus
}
#endif
#endif
