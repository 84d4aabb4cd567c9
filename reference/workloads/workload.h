/* workload: the life of a tree's branches as a list of operations, which replay plays on a kv_pool.
 *
 *   CREATE 0   APPEND 0 1104   FORK 1 0   FORK 2 0   PRUNE 0   DECODE 1   DECODE 2   STEP   ...   PRUNE 1   PRUNE 2
 *
 * A branch has a name: 0, 1, 2, ... in order of birth, never used again. A STEP ends an iteration: the tokens of all
 * DECODEs since the last STEP are appended together, then each DECODEd or QUERYed branch has one query, at its newest
 * token, in the order of the operations. Between DECODE or QUERY and STEP no other operation may touch that branch: it
 * is neither changed nor pruned before its query. Operations after a STEP belong to the next iteration. Every builder
 * ends with all branches pruned. */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include "kv_pool.h"
#include "trace.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum workload_kind {
    WORKLOAD_CREATE = 0, /* branch: empty */
    WORKLOAD_FORK,       /* branch: as the branch named value */
    WORKLOAD_APPEND,     /* value tokens: K and V only, no query */
    WORKLOAD_DECODE,     /* one token, appended at the next STEP, and a query at it */
    WORKLOAD_QUERY,      /* a query at the newest token, in the next STEP; nothing is appended */
    WORKLOAD_TRUNCATE,   /* keeps the first value tokens */
    WORKLOAD_ADOPT,      /* branch takes over the tokens of the branch named value, which dies */
    WORKLOAD_PRUNE,
    WORKLOAD_STEP,       /* branch and value are 0 */
    WORKLOAD_NUM_KINDS
} workload_kind;

extern const char *const workload_kind_name[WORKLOAD_NUM_KINDS]; /* "create", "fork", ... */

typedef struct workload_operation {
    workload_kind kind;
    uint32_t branch, value;
} workload_operation;

typedef struct workload {
    kv_status status; /* KV_OK, or the reason why an operation could not be added: all later ones were ignored */
    uint32_t num_operations, num_branches, num_steps;
    uint32_t live_branches, max_live_branches; /* now; the most at any time: the pool's max_branches is at least
                                                * that, and no step has more queries */
    uint64_t num_tokens; /* appended and decoded in all, at most 2^32 - 1 */
    workload_operation *operations; /* [num_operations] */
    size_t operations_capacity, labels_capacity, labels_bytes, label_of_capacity;
    char *labels;       /* texts, each closed by 0 */
    uint32_t *label_of; /* [num_branches] offset in labels; 0: the empty text */
} workload;

/* An empty list; NULL without memory. */
workload *workload_create(void);
void workload_destroy(workload *workload);

/* These add operations and return no status: read workload->status once at the end (KV_NOMEM, KV_RANGE). create and
 * fork return the new name, workload->num_branches so far. label: text for drawings, NULL for none. workload_add also
 * takes CREATE and FORK, without a label; workload_check refuses a name that is not the next one. */
uint32_t workload_add_create(workload *workload, const char *label);
uint32_t workload_add_fork(workload *workload, uint32_t parent, const char *label);
void workload_add(workload *workload, workload_kind kind, uint32_t branch, uint32_t value);

/* "" where there is none. Valid until the next fork or create. */
const char *workload_label(const workload *workload, uint32_t branch);

/* Checks the list, operation by operation, with a length for each branch: every named branch lives, none is touched
 * between DECODE or QUERY and STEP, a QUERY sees a token, lengths stay within KV_MAX_LENGTH and all tokens together
 * below 2^32, and the counts of the workload are those of its operations. KV_OK; or KV_INVAL or KV_RANGE with the index
 * of the operation in *operation (num_operations: a count is wrong) and the broken rule in message[message_bytes]. The
 * list may be hostile: nothing in it is trusted. KV_NOMEM. O(operations + branches). */
kv_status workload_check(const workload *workload, uint32_t *operation, char *message, size_t message_bytes);

/* Builders. On error *result is untouched. All: KV_NOMEM, KV_RANGE beyond KV_MAX_BRANCHES, KV_MAX_LENGTH, 2^32 - 1
 * operations or tokens (operations and tokens are checked before anything is built). prompt_tokens 0: the trace's own.
 * max_steps 0: to the end.
 * Cost: O(operations), 12 bytes each, and one node of a trace may mean 2^30 of them. If the input may be hostile,
 * compute the size of its workload first. */

/* The size of the workload that the builder of the same name makes from the same arguments: exact, O(input), without an
 * allocation. */
typedef struct workload_size {
    uint64_t num_operations, num_branches, num_tokens;
} workload_size;

workload_size workload_size_from_tree(const trace_tree *tree, uint32_t prompt_tokens, uint32_t max_steps);
workload_size workload_size_from_accept(const trace_accept *accept, uint32_t num_leaves, uint32_t prompt_tokens,
                                        uint32_t max_steps);
workload_size workload_size_from_accept_draft(const trace_accept *accept, const trace_draft *draft,
                                              uint32_t prompt_tokens, uint32_t max_steps);
/* KV_FORMAT as workload_levels; *size is untouched then. */
kv_status workload_size_levels(workload_size *size, const char *nodes, const char *tokens, kv_text_error *error);

/* A reasoning tree: the prompt, then node by node as trace_node says; after its end a node forks into its children, if
 * it has any, and is pruned. Branch names are not the node ids; labels are. */
kv_status workload_from_tree(workload **result, const trace_tree *tree, uint32_t prompt_tokens, uint32_t max_steps);

/* Speculative decoding as DeFT drives it: in every step num_leaves branches of one token fork from the past and are
 * pruned again; then the past gains accepted[k] tokens, independent of the leaves. */
kv_status workload_from_accept(workload **result, const trace_accept *accept, uint32_t num_leaves,
                               uint32_t prompt_tokens, uint32_t max_steps);

/* Speculative decoding with a real draft tree: every draft token is a branch and a query; then the past adopts the
 * path to the first node of depth accepted[k] - 1 and the others are pruned. KV_INVAL if more than depth + 1 tokens
 * were accepted. */
kv_status workload_from_accept_draft(workload **result, const trace_accept *accept, const trace_draft *draft,
                                     uint32_t prompt_tokens, uint32_t max_steps);

/* num_branches branches after a common prompt, each decodes num_steps tokens. KV_INVAL if a count is 0. */
kv_status workload_few_shot(workload **result, uint32_t prompt_tokens, uint32_t num_branches, uint32_t num_steps);

/* One step over a tree given by levels: nodes "1,16,64" of tokens "1024,256,32". Level i + 1 has at least as many
 * nodes as level i; node j hangs under node j * nodes[i] / nodes[i + 1], so that children are spread evenly. The
 * leaves have the queries. Lengths of one level that differ are separated by bars and used in turn: with "1,4" and
 * "1024,6|9" the leaves have 6, 9, 6, 9 tokens. KV_FORMAT with *error filled (line 1: nodes, line 2: tokens); error may
 * be NULL. */
kv_status workload_levels(workload **result, const char *nodes, const char *tokens, kv_text_error *error);

/* One step of speculative decoding: past_tokens, then the draft tree, every node a query. */
kv_status workload_draft(workload **result, const trace_draft *draft, uint32_t past_tokens);

/* A random forest that grows, forks, shrinks and dies. A seed gives the same forest on every machine. */
typedef struct workload_random_config {
    uint64_t seed;
    uint32_t num_steps;
    uint32_t max_branches; /* alive at once, at least 1 */
    uint32_t max_tokens;   /* of one append, at least 1 */
} workload_random_config;
kv_status workload_random(workload **result, const workload_random_config *config);

#ifdef __cplusplus
}
#endif
#endif
