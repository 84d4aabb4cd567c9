/* tree_plan_keep: plans over branches that have evicted tokens. An evicted token becomes a cleared bit of the plan's
 * masks, so every strategy, the reference, the CPU path and every rung that takes masks run such a plan without a
 * change.
 *
 *   table slots   0 1 2 3 4 5          item q0 q1 over slots 0..3       keep of q1 has evicted slot 2
 *   keep of q0    1 1 1 1 1 0          mask of tokens 0 1 2 3           11 11 01 11   (bit 0: q0, bit 1: q1)
 *   keep of q1    1 1 0 1 1 1
 *
 * The tree says which blocks a branch lists; the keep words say which slots of these blocks it attends to. */
#ifndef TREE_PLAN_KEEP_H
#define TREE_PLAN_KEEP_H

#include "kv_evict.h"
#include "tree_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The ranges that get a mask, besides those that need one. */
typedef enum tree_keep_masks {
    TREE_KEEP_NEEDED = 0, /* none: a range gets a mask only if one of its rows has evicted one of its tokens */
    TREE_KEEP_PRIVATE,    /* ranges that one query alone reads: later evictions in scope private fit the plan */
    TREE_KEEP_ALL         /* all ranges: any later eviction fits the plan */
} tree_keep_masks;

/* As tree_plan_build, for the tokens that keeps[q] keeps of the table of query q. Items and ranges are those of
 * tree_plan_build. If no token is evicted, TREE_KEEP_NEEDED gives the same plan bit for bit. Tokens of a masked
 * range that no row sees are still loaded. If a row sees no token of its item, its partial state is empty.
 * Also TREE_INVAL: a keep that does not have as many blocks as its table has in the tree, an unknown value of masks,
 * or a tree with drafts. Also O(log(nodes)) for each range, and O(1) for each row and keep word of its items. Memory: 8
 * bytes more for each mask word: ceil(rows / 64) of each token, and of 32 tokens where a path ends.
 * tree_plan_grow follows as for other plans, but a masked end of a path grows by at most 32 tokens. New tokens count as
 * kept until the next tree_plan_set_keep. */
tree_status tree_plan_build_keep(tree_plan **plan, const kv_tree *tree, const tree_plan_config *config,
                                 const kv_keep *keeps, tree_keep_masks masks);

/* Rewrites the masks for new keep words of the same tables (versions as in the tree; evictions, and appends that took a
 * hole). In each step: kv_tree_grow and tree_plan_grow, which are true if no table changed, then this. false, and nothing
 * has changed: a token is evicted in a range that has no mask, so build again; or the tree is not that of the plan
 * (compared as tree_plan_grow does). Relies on num_kept. O(queries, ranges x log(nodes)), and for masked ranges O(rows x
 * keep words, mask words, evicted tokens); keep words of other ranges are not read. */
bool tree_plan_set_keep(tree_plan *plan, const kv_tree *tree, const kv_keep *keeps);

/* As tree_plan_check, but the plan must cover, for each query, the tokens that it keeps and no others. */
tree_status tree_plan_check_keep(const tree_plan *plan, const kv_tree *tree, const kv_keep *keeps, char *message,
                                 size_t message_bytes);

#ifdef __cplusplus
}
#endif
#endif
