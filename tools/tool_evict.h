/* tool_evict: runs policies over one workload, each in a forest of its own, step by step beside the full cache. */
#ifndef TOOL_EVICT_H
#define TOOL_EVICT_H

#include "eviction_forest.h"
#include "stream.h"
#include "tool_options.h"
#include "workload.h"

typedef struct evict_request {
    const workload *workload;
    stream_config stream; /* heads, head_dim, and the regime of keys, values and queries */
    bool is_stream;       /* one branch, whose tokens come from the stream; if false, each branch of the workload is a
                             topic of its own */
    uint32_t num_policies;
    const eviction_policy *const *policies; /* [num_policies] */
    kv_scope scope;
    uint32_t budget;
    uint32_t num_sinks, num_recent;
    uint32_t block_tokens, num_blocks; /* of each pool */
    bool compacts;
    uint32_t show_step; /* from 1; 0: no strips */
} evict_request;

/* The needs of a run, from the lengths of the branches alone. */
typedef struct evict_needs {
    uint32_t longest;      /* tokens of the longest branch */
    uint32_t peak_queries; /* of one step */
    uint32_t most_alive;   /* branches */
    uint32_t show_step;    /* the last step with as many branches alive */
    uint64_t num_queries;
    uint64_t path_tokens;  /* seen by the queries of the full cache */
    uint64_t kept_tokens;  /* the most that the queries of a forest under the budget can see */
} evict_needs;

/* budget and scope are those of kept_tokens. O(operations). */
evict_needs evict_count_needs(const workload *work, uint32_t budget, kv_scope scope);

typedef struct evict_result {
    const eviction_policy *policy;
    eviction_forest_counts counts;
    uint32_t peak_blocks, leaked_blocks;
    uint64_t step_bytes;    /* mean bytes of K and V that a step reads, each token once for all branches */
    uint64_t branch_bytes;  /* the same with per-branch reading */
    uint64_t num_compared;  /* queries whose full cache holds more tokens than the budget */
    double mean_error, max_error; /* of these: |out - full| / |full| over all heads; NaN if there are none */
    double seconds;         /* of the host, in its steps */
} evict_result;

/* A branch at the step that is shown. */
typedef struct evict_strip {
    char name[24];
    uint32_t length;  /* positions */
    uint32_t num_kept;
    uint32_t *positions; /* [num_kept] ascending */
    bool *shared;        /* [num_kept] in a block that other branches list too */
} evict_strip;

typedef struct evict_run {
    uint32_t num_results, num_strips, strip_step;
    evict_result *results; /* [num_policies] */
    evict_strip *strips;   /* [num_strips] of the first policy, at show_step */
} evict_run;

/* Whether the budget holds the tokens that the policy, --sinks and --recent protect. */
bool evict_pins_fit(const evict_request *request, const eviction_policy *policy);

/* Ends the program if a pool or memory runs out. progress may be NULL. */
evict_run evict_play(const evict_request *request, tool_progress *progress);
void evict_run_destroy(evict_run *run);

/* Bytes of K and V, pools, queries and outputs of a run. */
double evict_bytes(const evict_request *request, const evict_needs *needs);

/* One line of 80 columns for each strip, and a legend. */
void evict_write_strips(const evict_run *run, FILE *file);

#endif
