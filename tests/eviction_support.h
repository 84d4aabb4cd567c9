/* eviction_support: an attention case with value norms, positions and candidates on the device, and every check that a
 * step of eviction has to pass. Shared by test_gpu_eviction and test_emulated_eviction. */
#ifndef EVICTION_SUPPORT_H
#define EVICTION_SUPPORT_H

#include "eviction_gpu.h"
#include "gpu_support.h"

typedef struct eviction_case {
    gpu_case gpu;
    const tree_plan *plan;
    tree_eviction_gpu *lists;
    bool has_evicted;           /* the plan hides tokens of the case's paths: out is not compared with the oracle */
    uint64_t num_slots;         /* of a table; row length of importance */
    uint64_t num_pool_slots;
    float *norm;                /* [num_blocks][num_kv_heads][block_tokens] of the case's values */
    uint32_t *positions;        /* [num_pool_slots] */
    eviction_range *candidates; /* [num_queries] */
    float *expected;            /* [num_queries][num_slots] by tree_importance_ref; -1: not seen */
    d_array d_norm, d_positions, d_candidates, importance, victims, workspace;
    size_t workspace_bytes;
    float *h_importance; /* of the last run */
    uint64_t *h_victims;
} eviction_case;

/* Positions are distinct in each table, and not in the order of slots; all positions are candidates. */
void eviction_case_create(eviction_case *e, const attention_case *c, const tree_plan *plan);
void eviction_case_destroy(eviction_case *e);

/* Another plan of the same tree; it must live as long as it is used. */
void eviction_case_plan(eviction_case *e, const tree_plan *plan);

/* Norms and expected importance anew, and everything to the device, after values, positions or candidates changed. */
void eviction_case_upload(eviction_case *e);

/* The position of a slot of a query's table. */
uint32_t eviction_case_position(const eviction_case *e, uint32_t query, uint64_t table_slot);

/* Leaves the results in gpu.h_out, gpu.h_lse, h_importance and h_victims; nothing else but the workspace is written. */
void eviction_case_run(eviction_case *e, const tree_eviction_step *step);

/* The results of the last run: importance within `tolerance` of the reference, relative, and untouched where the query
 * does not see the slot; each victim is the smallest key of the importance written, and by the reference at most
 * `tolerance` above the smallest. */
void eviction_case_check(const eviction_case *e, const char *what, double tolerance);

/* Every step that runs here on this plan: eviction_case_check, and out and lse have the bits of attention alone. */
void eviction_case_check_steps(eviction_case *e, double tolerance);

/* Whether a test runs this step with this storage; emulated, because fibers are slow, those that share most of their
 * lines run with one of the two. */
bool runs_eviction_step(const tree_eviction_step *step, tree_storage storage);

#endif
