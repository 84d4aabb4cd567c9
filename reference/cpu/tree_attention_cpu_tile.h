/* The part of the fast path that each instruction set implements: attention of some rows over one tile of tokens.
 *
 * A tile is two small matrix products with a softmax between them. The operands are packed so that both products are
 * the same loop:
 *
 *   scores [rows][tokens]   = query [rows][units] * key   [units][tokens]      units = head_dim / pairs
 *   o      [rows][head_dim] += p    [rows][units] * value [units][head_dim]    units = tokens   / pairs
 *
 * A unit is 32 bits: one float, or (avx512_bf16, amx) a pair of bf16 that one instruction multiplies and adds. */
#ifndef TREE_ATTENTION_CPU_TILE_H
#define TREE_ATTENTION_CPU_TILE_H

#include "exact_math_internal.h"
#include "tree_plan.h"

enum {
    CPU_TILE_TOKENS = 128,   /* packed K and V of a tile: 64 KB in bf16 at head_dim 128, half of a small L2 cache */
    CPU_PANEL = 64,          /* packed operands are padded to this many columns; a panel stays in the L1 cache */
    CPU_ROWS = 48,           /* rows that use a panel while it is in L1: their scores fit beside it */
    CPU_BLOCK_ROWS = 6,      /* most rows of one register block */
    CPU_PIECE_TILES = 32,    /* tiles that one float sum takes; the pieces of an item are added in double */
    CPU_QUERY_UNITS = 16,    /* a packed query has room for so many units at least: a tile of AMX is as wide */
    CPU_PREFETCH_RUNS = 2048 /* a power of two, at least 2 (CPU_QUEUE_TOKENS + CPU_TILE_TOKENS) */
};

_Static_assert(CPU_TILE_TOKENS % CPU_PANEL == 0 && CPU_PANEL % 64 == 0, "a tile is whole panels and whole mask words");

/* Up to CPU_TILE_TOKENS tokens of one item and KV head. */
typedef struct cpu_tile {
    const tree_item *item;
    uint32_t kv_head;
    bool first, last;      /* tile of its item and KV head; first: o holds nothing yet */
    bool ends_piece;       /* of an item that is summed in pieces */
    bool is_long;          /* its item is long: tree_attention_cpu_queue.c */
    uint32_t prefetch_end; /* end of its runs in cpu_prefetch */
    uint32_t num_tokens;
    const char *key[CPU_TILE_TOKENS], *value[CPU_TILE_TOKENS]; /* [head_dim] each, in the storage type; value NULL: 0 */
    bool masked;                    /* some token has a mask */
    uint32_t mask[CPU_TILE_TOKENS]; /* index into plan->masks, or TREE_NO_MASK */
    const uint64_t *visible;        /* [queries of the item][CPU_TILE_TOKENS / 64] bit t: the query sees token t */
    uint32_t visible_stride;        /* words from one query to the next; 0: all queries see the same tokens */
} cpu_tile;

/* Whether the item's states are sums of several pieces. */
static inline bool cpu_in_pieces(const tree_item *item)
{
    return item->num_tokens > CPU_PIECE_TILES * CPU_TILE_TOKENS;
}

/* The bytes that later tiles will read, in order. The products prefetch one line every few cycles: more misses at once
 * would fill the core's queue of misses, and further prefetches would be dropped or stall all loads. */
typedef struct cpu_run {
    const char *from, *end;
} cpu_run;

typedef struct cpu_prefetch {
    cpu_run run[CPU_PREFETCH_RUNS]; /* a ring */
    uint32_t next, end;             /* runs [next, end) are not prefetched to their end */
    const char *at;                 /* in run `next`; NULL: at its beginning */
} cpu_prefetch;

/* Into the L1 cache: lines that do not fit move on to L2. A prefetch into L2 alone ends in L3 on some machines; a
 * kernel that runs on no such machine defines CPU_PREFETCH_LEVEL 2. */
#ifndef CPU_PREFETCH_LEVEL
#define CPU_PREFETCH_LEVEL 3
#endif

static inline void cpu_prefetch_line(cpu_prefetch *prefetch)
{
    if (prefetch->next == prefetch->end)
        return;
    const cpu_run *run = &prefetch->run[prefetch->next % CPU_PREFETCH_RUNS];
    const char *at = prefetch->at ? prefetch->at : run->from;
    __builtin_prefetch(at, 0, CPU_PREFETCH_LEVEL);
    prefetch->at = at + 64;
    if (prefetch->at >= run->end) {
        prefetch->at = NULL;
        prefetch->next++;
    }
}

static inline void cpu_prefetch_lines(cpu_prefetch *prefetch, int count)
{
    for (int line = 0; line < count; line++)
        cpu_prefetch_line(prefetch);
}

/* The rows of one item and KV head: queries of the item x group_size. Pointers are at the first row. */
typedef struct cpu_rows {
    uint32_t num_rows, rows_per_query, head_dim;
    float score_scale;     /* scale * log2(e): softmax runs in base 2 */
    const uint32_t *query; /* [num_rows][query_stride] packed by pack_query */
    float *o;              /* [num_rows][o_stride] not normalised; columns from head_dim on do not matter */
    float *m, *l;          /* [num_rows] maximum (base 2) and sum */
    float *scores;         /* [num_rows][CPU_TILE_TOKENS] the scores of the next tile stay here; NULL: they do not */
    uint32_t query_stride, o_stride;
} cpu_rows;

/* Room for the operands of one tile. */
typedef struct cpu_operands {
    uint32_t *key, *value; /* packed tile */
    uint32_t *p;           /* [CPU_ROWS][CPU_TILE_TOKENS] first the scores, if rows->scores is NULL */
} cpu_operands;

/* The weights of the tokens of a tile for one query: exp2(score - m) * scale. */
typedef struct cpu_weights {
    uint32_t num_kv_heads, group_size;
    const float *scores; /* [num_kv_heads] matrices [group_size][CPU_TILE_TOKENS], score_stride apart */
    size_t score_stride;
    const float *norm;      /* [num_kv_heads][CPU_TILE_TOKENS] */
    const float *m, *scale; /* [num_heads] maximum (base 2), and 1 / (sum * num_heads * head_dim) */
} cpu_weights;

typedef struct cpu_kernel {
    uint32_t needs; /* features: tree_isa_internal.h */
    uint32_t (*query_units)(uint32_t head_dim); /* of a packed query */
    /* dest [query units] from source [head_dim], rounded to the storage type; units past head_dim are 0 */
    void (*pack_query)(uint32_t *dest, const float *source, uint32_t head_dim, tree_storage storage);
    /* operands->key and ->value from the tile's tokens */
    void (*pack_tile)(cpu_operands *operands, const cpu_tile *tile, uint32_t head_dim, tree_storage storage);
    /* absorbs the packed tile into (m, l, o) of every row; prefetches later tiles meanwhile */
    void (*absorb_tile)(const cpu_rows *rows, const cpu_tile *tile, cpu_prefetch *prefetch,
                        const cpu_operands *operands);
    /* total [head_dim] = total * keep + o * weight */
    void (*add_state)(double *total, double keep, const float *o, double weight, uint32_t head_dim);
    /* out [head_dim] = total * scale */
    void (*scale_state)(float *out, const double *total, double scale, uint32_t head_dim);
    /* importance [CPU_TILE_TOKENS] of num_tokens tokens; what is behind them does not matter */
    void (*weigh_tokens)(float *importance, const cpu_weights *weights, uint32_t num_tokens);
} cpu_kernel;

static inline uint32_t cpu_round_up(uint32_t value, uint32_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

/* The next `bytes` of the workspace, rounded up to 64; *used counts them. base NULL: counted only, returns NULL. */
static inline void *cpu_carve(char *base, size_t *used, size_t bytes)
{
    void *part = base ? base + *used : NULL;
    *used += (bytes + 63) & ~(size_t)63;
    return part;
}

#endif
