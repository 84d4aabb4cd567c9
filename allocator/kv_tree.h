/* kv_tree: finds the tree in a set of block tables.
 *
 * Branches that were forked from one another list the same blocks at the front of their tables. A node is a
 * maximal run of tokens that the same set of branches sees; the nodes form a forest, because only fork shares.
 *
 *   tables (block_tokens 4)              nodes
 *     branch 0: [ 0 1 2 ]  length 12     node 0: tokens 0..7   blocks 0 1   seen by branches 0 1 2
 *     branch 1: [ 0 1 3 ]  length 10       node 1: tokens 8..11  block 2    seen by branch 0
 *     branch 2: [ 0 1 ]    length  8       node 2: tokens 8..9   block 3    seen by branch 1
 *
 * Nothing but tables is needed, so an engine with an allocator of its own can start here.
 *
 * In a pool that evicts, a token means a slot of the table here, kept or not.
 *
 * Order: nodes are listed depth first, a parent before its children, children in order of the first table that
 * needs them. `rows` lists the queries in the same depth-first order (queries that end at a node come before those
 * of its children), so the queries that see a node are one contiguous run of `rows`, and so is the union over
 * nodes that follow each other in the list. Every plan relies on this. */
#ifndef KV_TREE_H
#define KV_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kv_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KV_NONE UINT32_MAX

typedef struct kv_node {
    uint32_t parent;       /* KV_NONE for a root; otherwise less than the node's own index */
    uint32_t first_token;  /* position of its first token on the path from the root */
    uint32_t num_tokens;   /* at least 1 */
    uint32_t first_block;  /* index into tree->blocks; its run is ceil((first_slot + num_tokens) / block_tokens) long */
    uint32_t first_slot;   /* slot of its first token in its first block; not 0 where a node starts inside a block */
    uint32_t first_row;    /* the queries that see it: tree->rows[first_row .. first_row + num_rows) */
    uint32_t num_rows;
} kv_node;

typedef struct kv_tree {
    uint32_t block_tokens;
    uint32_t num_nodes;
    uint32_t num_queries;   /* query i belongs to table i, or to a draft token: see kv_tree_build_drafts */
    uint32_t num_blocks;    /* length of `blocks`, spare entries for growth included */
    uint64_t unique_tokens; /* U: sum of num_tokens over the nodes */
    uint64_t path_tokens;   /* S: sum over the queries of the tokens each sees */
    kv_node *nodes;         /* [num_nodes] */
    uint32_t *blocks;       /* [num_blocks] block ids of the pool, node after node */
    uint32_t *rows;         /* [num_queries] query ids, depth first; queries that see nothing come last */
    uint32_t *query_node;   /* [num_queries] node where the query's path ends; KV_NONE: it sees no token */
    uint64_t *versions;     /* [num_queries] versions when built, for kv_tree_grow; NULL in a tree with drafts */
} kv_tree;

/* Draft tokens of one speculative step: the last num_tokens tokens of a table, in storage order, are not a chain but
 * a tree. parent[i] is the draft token that token i continues, less than i, or KV_NONE if it continues the past. */
typedef struct kv_draft {
    uint32_t num_tokens;
    const uint32_t *parent; /* [num_tokens] */
} kv_draft;

/* Finds the nodes of `tables`. pool_blocks bounds the block ids.
 * KV_INVAL: block_tokens is not a power of two from 1 to 256, a table is shorter than its length needs, or the
 * tables form no tree (a block stands behind two different blocks, or twice in a table); KV_RANGE: a block id
 * >= pool_blocks, a length beyond KV_MAX_LENGTH, counts beyond 32 bits; KV_NOMEM. On error *tree is untouched;
 * kv_tree_explain says which entry of which table is at fault.
 * Cost: O(sum of the tables' blocks), plus up to block_tokens - 1 steps for each table that ends inside a block of
 * other tables, whatever the block ids; no recursion. Scratch of 1.25 bytes per block of the pool. */
kv_status kv_tree_build(kv_tree **tree, const kv_table *tables, uint32_t num_tables, uint32_t block_tokens,
                        uint32_t pool_blocks);

/* As kv_tree_build, with drafts[i] describing the end of tables[i]. Queries are the draft tokens, numbered through
 * all tables in order; each sees the past, its ancestors and itself. A draft of 0 tokens gives its table one query
 * at its end, as kv_tree_build does. Each draft token is a node of its own.
 * Also KV_INVAL: a draft longer than its table, a parent not less than its token, a draft's slot that another table
 * lists as well. Cost: as kv_tree_build, and O(draft tokens). */
kv_status kv_tree_build_drafts(kv_tree **tree, const kv_table *tables, const kv_draft *drafts, uint32_t num_tables,
                               uint32_t block_tokens, uint32_t pool_blocks);

/* Why a build refused these arguments (drafts NULL: of kv_tree_build). Returns the status of the first fault, with a
 * sentence in message[message_bytes] that names the table and the index of the bad entry: "table 3 index 2: block 9
 * stands behind block 4, in table 1 index 2 behind block 7". KV_OK and an empty message: the arguments have no fault,
 * so the build ran out of memory or of 32 bits. KV_NOMEM: the explanation ran out of memory.
 * O(sum of the tables' blocks and draft tokens, pool_blocks); scratch of 28 bytes per block of the pool. */
kv_status kv_tree_explain(const kv_table *tables, const kv_draft *drafts, uint32_t num_tables, uint32_t block_tokens,
                          uint32_t pool_blocks, char *message, size_t message_bytes);

/* For a step without fork or prune: `tables` are those of the build, some of them longer. If each longer branch ends at
 * a node that no other branch sees, the nodes grow in place and the result is true. Otherwise, or if a node has no
 * spare block entry left, the result is false and nothing has changed: build again. Not for trees with drafts.
 * A table counts as the same if its version is the same; its old blocks are not compared. A table of version 0 never
 * counts as the same: false. An engine that assigns versions itself must assign a new one on every change to a table
 * except growth at the end into blocks that no other table lists. Cost: O(num_tables), and the new blocks. */
bool kv_tree_grow(kv_tree *tree, const kv_table *tables, uint32_t num_tables);

/* Checks the whole invariant of a tree against the tables (nodes' tokens add up, each path in order is its table, rows
 * are as above): KV_OK or KV_CORRUPT with a sentence in message[message_bytes].
 * Cost: O(sum of the tables' blocks and of the nodes on their paths, drafts aside), O(draft tokens), and a sort of the
 * nodes' blocks. */
kv_status kv_tree_check(const kv_tree *tree, const kv_table *tables, uint32_t num_tables, char *message,
                        size_t message_bytes);

/* The same for a tree of kv_tree_build_drafts. Both: KV_NOMEM if the host is out of memory. */
kv_status kv_tree_check_drafts(const kv_tree *tree, const kv_table *tables, const kv_draft *drafts,
                               uint32_t num_tables, char *message, size_t message_bytes);

void kv_tree_destroy(kv_tree *tree);

#ifdef __cplusplus
}
#endif
#endif
