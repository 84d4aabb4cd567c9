/* tool_think: the results of treeattn think, and the functions that write them. */
#ifndef TOOL_THINK_H
#define TOOL_THINK_H

#include "decoder_gpu.h"
#include "forgetting.h"
#include "machine.h"
#include "search.h"
#include "tool_options.h"

/* How the search goes on. */
typedef enum think_mode { THINK_TREE, THINK_CHAIN, THINK_WRITTEN } think_mode;

/* A place in which the search runs: copies, shared blocks, shared blocks with grouped reading. */
typedef enum think_place { THINK_COPIED, THINK_SHARED, THINK_GROUPED, THINK_NUM_PLACES } think_place;

extern const char *const think_place_name[THINK_NUM_PLACES];

/* One run of the search. */
typedef struct think_run {
    model_status status;
    search_result *result;     /* NULL unless status is MODEL_OK */
    transformer_counts counts;
    uint32_t num_blocks;       /* of the pool */
    uint64_t num_forgotten;    /* tokens, under a budget */
    double seconds;            /* prompt included, loading of the weights not */
} think_run;

typedef struct think_request {
    const char *weights_file;  /* NULL: the one that belongs to the program */
    game_state cards;
    think_mode mode;
    search_config search;      /* without its callbacks */
    tree_strategy strategy;    /* of grouped reading */
    tree_isa isa;
    bool blas, gpu;
    uint32_t block_tokens;
    uint32_t num_blocks;       /* of the pool; 0: enough for copies */
    uint32_t num_threads;      /* 0: all */
    bool brief, explain;
    forgetting_rule rule;      /* of every branch; without a policy, none forgets */
} think_request;

typedef struct think_outcome {
    const think_request *request;
    const model_weights *weights;
    bool solvable;             /* by the exhaustive solver */
    uint64_t num_states;       /* that it has visited: all of them, if it found none */
    uint64_t block_bytes;      /* K and V of a block, in all layers */
    think_run shown;
    think_run
        runs[THINK_NUM_PLACES]; /* of a tree: the same search in each kind of memory, the fastest of up to three runs */
    bool same_texts;           /* of all runs that ended */
} think_outcome;

/* Whether the same search runs in all kinds of memory: a tree that forgets nothing. */
bool think_compares(const think_request *request);

/* The probability of y, from the log odds of y against n. */
double think_value(double log_odds);

/* The least change of all logits by which a printed value changes: the distance to the next half of a percent. */
double think_value_margin(double log_odds);

/* As it goes: before the search, after each level or line, after all runs. */
void think_write_title(const think_outcome *outcome); /* with brief: a line on the machine and an empty one before it */
void think_write_level(const think_outcome *outcome, const search_result *result);
void think_write_line(const search_result *result);
void think_write_end(const think_outcome *outcome, const char *next);

void think_write_json(const think_outcome *outcome);

#endif
