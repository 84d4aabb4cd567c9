/* Shared by the rungs of gpu/eviction: their arguments, and the lists of tree_eviction_gpu. */
#ifndef EVICTION_INTERNAL_H
#define EVICTION_INTERNAL_H

#include "eviction_gpu.h"
#include "gpu_internal.h"
#include "plan_memory.cuh"

enum {
    SCORE_TOKENS = 32, /* most tokens of a score job: one for each lane of a warp */
    SCORE_ROUND = 32,  /* scores lie in pieces of so many tokens of a partial state and a head: 128 bytes */
    CHIP_ROWS = 8,     /* most rows of a task whose scores stay on the chip: one for every four lanes of warp 0 */
    CHIP_BYTES = 43776 /* of a worker's shared memory, for these scores: what two workers of a multiprocessor leave */
};

/* The policies of L2 as createpolicy.fractional.L2 makes them on sm_90. */
#define L2_EVICT_NORMAL 0x1000000000000000ull
#define L2_EVICT_LAST 0x14F0000000000000ull

/* What one warp scores at once: at most SCORE_TOKENS tokens of one query, neighbours in one of its partial states. Jobs
 * of a query follow each other. */
typedef struct score_job {
    uint32_t query;
    uint32_t first_row;  /* first_rows[partial] */
    uint32_t row_rounds; /* scores of a row, in units of SCORE_ROUND */
    uint32_t first;      /* first token, counted from the item's first */
    uint32_t kv_slots;   /* queue.kv_slots[kv_slots ..): where these tokens lie */
    uint32_t masks;      /* queue.masks[masks ..): whether the query sees them; QUEUE_NO_MASK: all */
    uint16_t num_tokens;
    uint16_t mask_bit;   /* of the query */
    uint32_t reserved;
} score_job;

/* Counts are those of the host, arrays are on the device. */
typedef struct eviction_lists {
    uint32_t num_jobs, num_blocks;
    uint32_t num_sum_jobs; /* the last ones: jobs of partial states whose scores stay on the chip (evict_5) */
    uint32_t chip_tiles, chip_tile_bytes; /* of these scores: tiles that a worker has room for, 0: none; bytes of one */
    uint64_t num_pairs;    /* scores of one head: rows of all partial states, each rounded up to SCORE_ROUND */
    score_job *jobs;       /* [num_jobs] */
    uint32_t *first_rows;  /* [num_partials + 1] where the scores of a partial state begin, in units of SCORE_ROUND x
                              num_heads scores */
    uint32_t *on_chip;     /* [num_partials] whether its scores stay on the chip: one task has them all and no other
                              query, its query has no other state, and the worker has room */
    uint32_t *table_index; /* [num_blocks] of each block id of the plan: its index in the tables that list it */
    uint64_t num_slots;    /* slots of the longest table */
} eviction_lists;

struct tree_eviction_gpu {
    tree_shape shape; /* that the plan was made for */
    uint32_t num_partials;
    eviction_lists lists;
    plan_memory memory;
};

/* Passed to each kernel by value. All pointers are device memory. lse is never NULL. */
struct eviction_arguments : attention_arguments {
    float *importance; /* [num_queries][num_slots] or NULL */
    uint64_t num_slots;
    uint64_t *victims; /* [num_queries] or NULL */
    const float *norm; /* [num_blocks][num_kv_heads][block_tokens] */
    const uint32_t *positions;        /* [num_blocks][block_tokens] */
    const eviction_range *candidates; /* [num_queries] or NULL: all */
    eviction_lists lists;
    void *scratch; /* [kernels->scratch_bytes] aligned to 256 bytes */
    uint64_t score_policy; /* of L2, for stores of scores: a policy of createpolicy.fractional.L2 */
    float *states; /* [num_partials][num_heads][2] in scratch: m x log2(e) and l of each partial state, unrounded */
    float *scores; /* in scratch: query x key, before the scale. Piece by piece of SCORE_ROUND tokens, from
                      lists.first_rows of their partial state on, [num_heads][SCORE_ROUND] */
};

/* Enqueues the kernels of a step. All arguments have been checked. */
typedef cudaError_t eviction_launch(const eviction_arguments *e, cudaStream_t stream);

struct tree_eviction_kernels {
    eviction_launch *launch;
    /* Of plan and lists only counts may be read: their arrays may be on the device. UINT64_MAX: too many. */
    uint64_t (*scratch_bytes)(const tree_plan *plan, const eviction_lists *counts, const tree_shape *shape);
};

/* gpu/eviction/ */
cudaError_t evict_0_materialised(const eviction_arguments *e, cudaStream_t stream);
cudaError_t evict_1_second_pass(const eviction_arguments *e, cudaStream_t stream);
cudaError_t evict_2_keys_again(const eviction_arguments *e, cudaStream_t stream);
cudaError_t evict_3_fused(const eviction_arguments *e, cudaStream_t stream);
cudaError_t evict_4_warpgroup(const eviction_arguments *e, cudaStream_t stream);
cudaError_t evict_5_on_chip(const eviction_arguments *e, cudaStream_t stream);

/* The scratch of evict_0: its tensors. */
uint64_t materialised_scratch_bytes(const tree_plan *plan, const eviction_lists *counts, const tree_shape *shape);

/* The scratch of the fused steps: places its arrays and chooses score_policy; and their bytes. */
void fused_place_scratch(eviction_arguments *e);
uint64_t fused_scratch_bytes(const tree_plan *plan, const eviction_lists *counts, const tree_shape *shape);

#endif
