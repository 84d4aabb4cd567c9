/* attention_model: shared by the attention tests. A table of the implementations under test, K and V for a named tree,
 * and runs of a plan between guard zones. */
#ifndef ATTENTION_MODEL_H
#define ATTENTION_MODEL_H

#include "cases.h"
#include "compare.h"
#include "tree_attention.h"
#include "tree_attention_cpu.h"
#include "tree_plan.h"

/* One implementation with one storage type. K and V come as floats that the storage type holds exactly. */
typedef struct attention_backend {
    const char *name;
    tree_storage storage;
    roundoffs u;
    tree_isa isa;         /* of tree_attention_cpu */
    uint32_t num_threads; /* of tree_attention_cpu */
    tree_status (*run)(const struct attention_backend *backend, float *out, float *lse, const float *query,
                       const float *key, const float *value, const tree_plan *plan, const tree_shape *shape,
                       float scale);
} attention_backend;

extern const attention_backend attention_ref_backend;

/* A case per family of backends (ref, portable, avx2 ...), NAME_FAMILY, that runs the body with each storage type; a
 * family that this machine cannot run is skipped with the reason. `argument` must live as long as the tests. */
typedef void attention_body(const attention_backend *backend, const void *argument);
void attention_add(attention_body *body, const void *argument, const char *name_format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with one storage type for each family: number `index` modulo their count. For tests in which the storage
 * type is one factor of several. */
void attention_add_one_storage(attention_body *body, const void *argument, uint32_t index, const char *name_format, ...)
    __attribute__((format(printf, 4, 5)));

/* All backends that this machine can run, one after another; NULL after the last. */
const attention_backend *attention_backend_at(uint32_t index);

typedef struct attention_size {
    uint32_t num_kv_heads, group_size, head_dim;
} attention_size;

typedef struct attention_case {
    const attention_backend *backend;
    tree_case grown;         /* branches and their tables */
    uint32_t num_tables;     /* the first num_tables of them have queries */
    kv_draft *drafts;        /* [num_tables], or NULL */
    kv_tree *tree;
    tree_shape shape;        /* storage is the backend's */
    float scale;
    uint64_t num_out, num_lse, num_kv;
    float *query, *key, *value; /* random, variance 1, rounded to the storage type */
    token_paths paths;
} attention_case;

void attention_case_build(attention_case *c, const attention_backend *backend, const char *spec, uint32_t block_tokens,
                          attention_size size);

/* Makes the case as small as possible: tables are left out, the last ones first, until path tokens * heads * head_dim
 * is at most max_elements (two tables stay), and K and V end 2 blocks after the last block that a query sees. */
void attention_case_build_small(attention_case *c, const attention_backend *backend, const char *spec,
                                uint32_t block_tokens, attention_size size, uint64_t max_elements);

/* The last draft_tokens of a table, no more than it has in blocks of its own, become a random draft tree; every fourth
 * table has none. */
void attention_case_build_drafts(attention_case *c, const attention_backend *backend, const char *spec,
                                 uint32_t block_tokens, attention_size size, uint32_t draft_tokens);

/* Random: tree, block size, number of heads, scale, mean of the values, and which of the head_dims. */
void attention_case_build_random(attention_case *c, const attention_backend *backend, const uint32_t *head_dims,
                                 uint32_t num_head_dims, uint64_t max_elements);

/* Only the first num_tables tables have queries: no query sees the other branches' own blocks. */
void attention_case_narrow(attention_case *c, uint32_t num_tables);

void attention_case_free(attention_case *c);

/* K and V of one slot (block * block_tokens + slot). */
float *attention_key(const attention_case *c, uint64_t slot, uint32_t kv_head);
float *attention_value(const attention_case *c, uint64_t slot, uint32_t kv_head);
float *attention_query(const attention_case *c, uint32_t query, uint32_t head);

/* Fills K and V of every slot that no query sees; of every slot that `query` does not see, if it is not KV_NONE. */
void attention_fill_unseen(attention_case *c, uint32_t query, float filling);

/* Makes token `slot` score `score` for all heads, whose queries must be equal within a group: share_queries. */
void attention_share_queries(attention_case *c);
void attention_lift_key(attention_case *c, uint64_t slot, float score);

/* A copy of the floats as the storage type holds them; the caller frees. */
void *attention_stored(const float *array, uint64_t count, tree_storage storage);

/* Checked with tree_plan_check; 0 for the strategy's own piece_tokens and max_rows. */
tree_plan *attention_plan(const attention_case *c, tree_strategy strategy, uint32_t piece_tokens, uint32_t max_rows);

typedef struct attention_result {
    guarded out, lse;
} attention_result;

/* Runs the case's backend. All of out and lse is written, and nothing beyond. */
attention_result attention_run(const attention_case *c, const tree_plan *plan);
void attention_result_free(attention_result *result);

/* Plans and runs all strategies in turn, and compares each with the truth. Notes the worst error / limit. */
void attention_check_strategies(const attention_case *c);

#endif
