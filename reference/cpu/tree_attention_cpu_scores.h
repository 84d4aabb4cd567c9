/* The scores that the attention pass keeps, and the importance of each token from them. Only tree_importance_cpu keeps
 * scores. */
#ifndef TREE_ATTENTION_CPU_SCORES_H
#define TREE_ATTENTION_CPU_SCORES_H

#include "tree_attention_cpu_rows.h"

/* Up to CPU_TILE_TOKENS tokens of one item, as in the queue; for all KV heads. */
typedef struct cpu_scored_tile {
    const tree_item *item;
    uint32_t range, token, num_tokens; /* from token `token` of plan->ranges[range] on */
    uint64_t first_row;                /* of its scores */
} cpu_scored_tile;

typedef struct cpu_scores {
    float *importance; /* [num_queries][num_slots] of the caller */
    const float *norm; /* [num_blocks][num_kv_heads][block_tokens] of the caller */
    uint64_t num_slots;
    uint64_t num_rows;      /* rows x tiles, summed over the items: for one KV head */
    float *rows;            /* [num_kv_heads][num_rows][CPU_TILE_TOKENS] base 2; -infinity: hidden */
    uint64_t *first_row;    /* [num_items] the item's tiles follow each other: [tiles][rows of the item] */
    cpu_scored_tile *tiles; /* [num_tiles] */
    uint64_t num_tiles;
    float *m, *scale; /* [num_queries][num_heads] of the merged states: cpu_weights */
    float *tile_norm; /* [num_threads][num_kv_heads][CPU_TILE_TOKENS] */
} cpu_scores;

/* Places the arrays in a workspace, by cpu_carve; base not NULL: lists the tiles. The caller sets importance, norm and
 * num_slots. O(ranges + tiles). */
void cpu_scores_place(cpu_scores *scores, const cpu_call *call, uint32_t num_threads, char *base, size_t *used);

/* Where the scores of an item's first tile lie, for one KV head. Those of the next tile lie item rows x group_size
 * further on. */
float *cpu_scores_of(const cpu_scores *scores, const cpu_call *call, const tree_item *item, uint32_t kv_head);

/* The merged state of one query and head. */
void cpu_scores_put(const cpu_scores *scores, const cpu_call *call, uint32_t query, uint32_t head,
                    const cpu_merged *merged);

/* The importance of every token for every query, -1 in the other slots. For all threads of a parallel region to call,
 * after cpu_scores_put of every query and head; each takes its share. */
void cpu_scores_weigh(const cpu_scores *scores, const cpu_call *call, uint32_t thread);

#endif
