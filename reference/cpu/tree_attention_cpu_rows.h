/* The rows of an item, from packed queries to partial states, and the merge of the partial states of a query. */
#ifndef TREE_ATTENTION_CPU_ROWS_H
#define TREE_ATTENTION_CPU_ROWS_H

#include "tree_attention_cpu_tile.h"

/* The constants of a call. Its arrays (query, K and V, partial states, out) are passed separately. */
typedef struct cpu_call {
    const tree_plan *plan;
    const tree_shape *shape;
    const cpu_kernel *kernel;
    float score_scale; /* scale * log2(e) */
    uint32_t group_size, most_query_units, o_stride; /* most: of any kernel */
    uint32_t max_queries;    /* of an item */
    uint32_t max_total_rows; /* of an item in pieces; 1 if there is none */
} cpu_call;

/* kernel: NULL to size the workspace alone. */
cpu_call cpu_call_of(const tree_plan *plan, const tree_shape *shape, float scale, const cpu_kernel *kernel);

/* Row r of item i has, for KV head k, state (k * num_partials + first_partial of i) * group_size + r. */
typedef struct cpu_partials {
    float *o;     /* [num_kv_heads][num_partials][group_size][o_stride] not normalised */
    float *m, *l; /* [num_kv_heads][num_partials][group_size] maximum (base 2) and sum */
} cpu_partials;

/* One query and head: the merged states. */
typedef struct cpu_merged {
    float m;
    double l;
    double *o; /* [head_dim] */
} cpu_merged;

/* The scratch of one thread. */
typedef struct cpu_row_scratch {
    uint32_t *query[2]; /* packed queries of the open short item, and of the open long one */
    cpu_operands operands;
    uint64_t *visible; /* [max_queries + 1][CPU_TILE_TOKENS / 64] */
    double *o;         /* [max_total_rows][o_stride] sums of the pieces so far, of one item; o of the merge */
    double *m, *l;     /* [max_total_rows] */
} cpu_row_scratch;

/* Place these arrays in a workspace, by cpu_carve. */
void cpu_partials_place(cpu_partials *partials, const cpu_call *call, char *base, size_t *used);
void cpu_row_scratch_place(cpu_row_scratch *scratch, const cpu_call *call, char *base, size_t *used);

/* The rows of the tile's item and KV head: queries packed, states empty. */
cpu_rows cpu_rows_begin(const cpu_partials *partials, const float *query, const cpu_call *call, const cpu_tile *tile,
                        cpu_row_scratch *scratch);

/* Absorbs the tile into the state of every row that sees some of it. Transposes its masks first. */
void cpu_rows_absorb(const cpu_rows *rows, cpu_tile *tile, const cpu_call *call, cpu_prefetch *prefetch,
                     cpu_row_scratch *scratch);

/* After the last tile of a piece. */
void cpu_rows_end_piece(const cpu_rows *rows, const cpu_tile *tile, const cpu_call *call, cpu_row_scratch *scratch);

cpu_merged cpu_rows_merge(const cpu_partials *partials, const cpu_call *call, uint32_t query, uint32_t head,
                          cpu_row_scratch *scratch);

/* out [head_dim], lse of one query and head; lse NULL: not wanted. */
void cpu_rows_normalize(float *out, float *lse, const cpu_merged *merged, const cpu_call *call);

#endif
