/* transformer: one decoding step of many branches, in plain C over this project's public headers.
 *
 *   x = embedding[token]                          RMSNorm(x) = x / sqrt(mean of x^2 + norm_eps) * weight
 *   for each layer                                RoPE: the pairs (i, i + head_dim / 2) of each head of q and k are
 *     h = RMSNorm(x)                                    rotated by the angle position * rope_base^(-2 i / head_dim)
 *     q, k, v = RoPE(wq h), RoPE(wk h), wv h      attention: scale 1 / sqrt(head_dim); query head h reads KV head
 *     x += wo attention(q, K and V of the branch)       h / (heads / kv_heads)
 *     h = RMSNorm(x)                              silu(z) = z / (1 + exp(-z))
 *     x += w_down (silu(w_gate h) * w_up h)
 *   logits = embedding RMSNorm(x)                 the embedding is tied to the head
 *
 * The caller owns a pool and its branches: it forks, prunes, truncates and evicts by the functions of kv_branch.h and
 * kv_evict.h. The transformer owns K and V of the pool's blocks, in all layers. transformer_step does the rest: room
 * for the new tokens, copies of shared blocks, tree, plan, attention. Branches need not be related: 200 prompts are 200
 * roots in one pool. A prompt is appended one token per step.
 *
 *   kv_pool_create(&pool, ...), kv_branch_create(pool, &branches[0]);
 *   transformer_create(&t, weights, pool, &config);
 *   for each token of the prompt: transformer_step(t, branches, &token, 1, logits);
 *   kv_branch_fork(pool, branches[0], &branches[1]);
 *   tokens[0] = ..., tokens[1] = ... drawn from logits
 *   transformer_step(t, branches, tokens, 2, logits);
 *
 *   price    a step of n branches: 2 n num_parameters operations, K and V as the plan loads them
 *   bits     plain loops: a product has the same bits for any number of branches and threads, and on every CPU. With a
 *            BLAS they differ by rounding, as do those of attention by another plan or instruction set
 *   mirror   transformer_gpu.h */
#ifndef TRANSFORMER_H
#define TRANSFORMER_H

#include "kv_evict.h"
#include "tree_attention_cpu.h"
#include "weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Attention of one layer in a step, for a caller that computes it itself: eviction, which wants the importance of every
 * token; or a measurement. All is const, and valid during the call.
 * In a pool that evicts, `keeps` are those of the branches, and the plan has their masks. A caller that lets each layer
 * forget tokens of its own fills kv_keep structs of its own and builds a plan from `tree` by tree_plan_build_keep. */
typedef struct transformer_attention {
    uint32_t layer;
    uint32_t num_branches;
    const kv_branch *branches;  /* [num_branches] as given to transformer_step */
    const kv_table *tables;     /* [num_branches] with the new tokens */
    const kv_keep *keeps;       /* [num_branches] in a pool that evicts, otherwise NULL */
    const uint64_t *slots;      /* [num_branches] place of the new token: block * block_tokens + slot */
    const uint32_t *positions;  /* [num_branches] of the new token */
    const kv_tree *tree;
    const tree_plan *plan;
    const tree_shape *shape;    /* of query, key and value; storage fp32 */
    float scale;
    const float *query;         /* [num_branches][heads][head_dim] after RoPE */
    const float *key, *value;   /* of this layer, as tree_attention_ref takes them */
    const float *norm;          /* of this layer, as tree_importance_ref takes it; NULL without config.keeps_norms */
} transformer_attention;

/* Writes out [num_branches][heads][head_dim]. Anything but TREE_OK ends the step with MODEL_ATTENTION. May not change
 * the pool; evict after the step. */
typedef tree_status transformer_attend(void *context, float *out, const transformer_attention *attention);

typedef struct transformer_config {
    uint32_t max_branches;   /* of one step; 0: 64 */
    tree_plan_config plan;   /* strategy; group_size and num_workers are filled in where 0; target is the CPU */
    bool reference;          /* tree_attention_ref instead of tree_attention_cpu: the same bits on every CPU */
    tree_isa isa;            /* of tree_attention_cpu */
    uint32_t num_threads;    /* 0: OpenMP's default */
    bool blas;               /* products by the BLAS: MODEL_UNSUPPORTED if transformer_has_blas() is false */
    bool keeps_norms;        /* value norms of all tokens, for importance */
    transformer_attend *attend; /* NULL: the transformer's own */
    void *context;           /* of attend */
} transformer_config;

typedef struct transformer transformer;

/* Whether the build has a BLAS. It runs on one thread in each thread of OpenMP: with OpenBLAS, transformer_create
 * sets the number of OpenBLAS's own threads to 1, for the whole process. */
bool transformer_has_blas(void);

/* Whether it is faster than the plain loops on this CPU: product.h. */
bool transformer_prefers_blas(void);

/* weights and pool must live as long as the transformer. Tokens that the pool already has must not be used: their K and
 * V are unknown. MODEL_INVAL, MODEL_UNSUPPORTED, MODEL_NOMEM (K and V of the whole pool are allocated here); *t is
 * untouched then. */
model_status transformer_create(transformer **t, const model_weights *weights, kv_pool *pool,
                                const transformer_config *config);
void transformer_destroy(transformer *t);

/* Appends tokens[i] to branches[i], for all branches or for none.
 *   logits  [num_branches][vocabulary] of the next token, written; NULL if not wanted
 * MODEL_INVAL: a token outside the vocabulary, a branch named twice, more branches than max_branches; MODEL_CONTEXT;
 * MODEL_NOBLOCKS, MODEL_STALE: nothing has changed. MODEL_NOMEM, MODEL_ATTENTION: every branch has its tokens as
 * before, and logits are unspecified; but a branch may have a copy of its last block, and a promise of
 * kv_branch_reserve is cancelled. */
model_status transformer_step(transformer *t, const kv_branch *branches, const uint32_t *tokens, uint32_t num_branches,
                              float *logits);

/* As kv_branch_fork, but the child gets blocks of its own, with copies of K and V: decoding without sharing, to compare
 * with. MODEL_INVAL in a pool that evicts; MODEL_NOBLOCKS, MODEL_NOBRANCH, MODEL_STALE, MODEL_NOMEM: nothing has
 * changed. */
model_status transformer_copy_branch(transformer *t, kv_branch branch, kv_branch *child);

/* Copies K, V and norms of all layers, for the moves that kv_branch_compact returns (num_moves of them; carry them out
 * before the next step). */
void transformer_move(transformer *t, const kv_move *moves, uint32_t num_moves);

/* Sums over all steps since transformer_create. Bytes are of K and V in all layers: traffic.h, packed. */
typedef struct transformer_counts {
    uint64_t steps, tokens;
    uint64_t path_tokens;    /* tokens on the branches' paths, per layer */
    uint64_t unique_tokens;  /* the same, shared ones counted once */
    uint64_t logical_bytes;  /* of path_tokens: the bytes that decoding over copies would read */
    uint64_t plan_bytes;     /* the bytes that the plans load */
    uint64_t unique_bytes;   /* of unique_tokens */
    uint64_t weight_bytes;   /* that the products load, once per step */
    uint64_t copied_bytes;   /* written by copy-on-write, transformer_copy_branch and transformer_move */
    double products_us, attention_us;
    double host_us;          /* room, tree and plan */
    double rest_us;          /* norms, RoPE, K and V into blocks, copies */
} transformer_counts;

void transformer_get_counts(const transformer *t, transformer_counts *counts);

/* K and V of one layer, as in transformer_attention: for a test or a drawing. */
void transformer_kv(const transformer *t, uint32_t layer, const float **key, const float **value);

#ifdef __cplusplus
}
#endif
#endif
