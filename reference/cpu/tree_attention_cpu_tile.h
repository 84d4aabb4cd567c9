/* What tree_attention_cpu.c asks of an instruction set: attention of some rows over one tile of tokens.
 *
 * A tile is two small matrix products with a softmax between them, on operands packed so that both products are the
 * same loop:
 *
 *   scores [rows][tokens]   = query [rows][units] * key   [units][tokens]      units = head_dim / pairs
 *   o      [rows][head_dim] += p    [rows][units] * value [units][head_dim]    units = tokens   / pairs
 *
 * A unit is 32 bits: one float, or (avx512_bf16) a pair of bf16 that one instruction multiplies and adds. */
#ifndef TREE_ATTENTION_CPU_TILE_H
#define TREE_ATTENTION_CPU_TILE_H

#include "exact_math_internal.h"
#include "tree_attention_cpu.h"

enum {
    CPU_TILE_TOKENS = 128, /* K and V of a tile, packed: 64 KB in bf16 at head_dim 128, half of a small L2 cache */
    CPU_PANEL = 64,        /* packed operands are padded to this many columns; a panel stays in the L1 cache */
    CPU_ROWS = 48,         /* rows that meet a panel while it is there: their scores fit beside it */
    CPU_BLOCK_ROWS = 6,    /* most rows that one register block holds */
    CPU_PIECE_TILES = 32,  /* that meet in one float sum; the pieces of an item are added in double */
    CPU_LONG_ITEM = 16384,  /* tokens x (16 + rows) from which the KV heads of an item are tasks of their own */
    CPU_AHEAD_TOKENS = 512, /* that are asked for before they are packed: 256 KB in bf16 at head_dim 128 */
    CPU_AHEAD_TILES = 16,
    CPU_AHEAD_RUNS = 2048   /* a power of two, at least 2 (CPU_AHEAD_TOKENS + CPU_TILE_TOKENS) */
};

/* The tokens of a tile, found by the caller in the plan's ranges. */
typedef struct cpu_tile {
    const tree_item *item;
    uint32_t kv_head;
    bool first, last;     /* of its item and KV head; first: o holds nothing yet */
    bool ends_piece;      /* of an item that has several */
    bool is_long;         /* the item is */
    uint32_t ahead_end;   /* its runs in cpu_ahead end here */
    uint32_t num_tokens;
    const char *key[CPU_TILE_TOKENS], *value[CPU_TILE_TOKENS]; /* [head_dim] each, in the storage type; value NULL: 0 */
    const uint64_t *visible;          /* [rows / rows_per_query][CPU_TILE_TOKENS / 64] bit t: the row sees token t */
    uint32_t visible_stride;          /* words from one query to the next: 0 if all rows see the same */
    uint32_t mask[CPU_TILE_TOKENS];   /* index into plan->masks, or TREE_NO_MASK */
    bool masked;                      /* some token has a mask */
} cpu_tile;

/* What later tiles will read, in order: runs of bytes. The multiplications ask for a line every few cycles; more at
 * once would fill the queue of misses, and what does not fit is dropped or stops everything. */
typedef struct cpu_run {
    const char *from, *end;
} cpu_run;

typedef struct cpu_ahead {
    cpu_run run[CPU_AHEAD_RUNS]; /* a ring */
    uint32_t next, end;          /* runs [next, end) were not asked for in full */
    const char *at;              /* in run `next`; NULL: at its beginning */
} cpu_ahead;

/* Into the L1 cache: what it cannot keep goes to L2, while a prefetch into L2 alone ends in L3 on some machines. */
static inline void cpu_fetch_ahead(cpu_ahead *ahead)
{
    if (ahead->next == ahead->end)
        return;
    const cpu_run *run = &ahead->run[ahead->next % CPU_AHEAD_RUNS];
    const char *at = ahead->at ? ahead->at : run->from;
    __builtin_prefetch(at, 0, 3);
    ahead->at = at + 64;
    if (ahead->at >= run->end) {
        ahead->at = NULL;
        ahead->next++;
    }
}

/* One item and KV head: all pointers already moved to it. rows = queries of the item x group_size. */
typedef struct cpu_rows {
    uint32_t num_rows, rows_per_query, head_dim;
    float score_scale;    /* scale * log2(e): softmax runs in base 2 */
    const uint32_t *query;/* [num_rows][query units] packed by pack_query */
    float *o;             /* [num_rows][o_stride] not normalised; first columns head_dim are meant */
    float *m, *l;         /* [num_rows] maximum (base 2) and sum */
    uint32_t query_stride, o_stride;
} cpu_rows;

/* Scratch of one thread. */
typedef struct cpu_scratch {
    uint32_t *key, *value; /* packed tile */
    float *scores;         /* [CPU_ROWS][CPU_TILE_TOKENS] */
    uint32_t *p;           /* [CPU_ROWS][CPU_TILE_TOKENS] */
} cpu_scratch;

/* What an object file of the fast path may use beyond the baseline. Each object says itself what it was compiled for
 * (cpu_kernel.needs, from the compiler's own macros), so that the choice asks for all that the flags allow. */
enum {
    CPU_AVX2 = 1 << 0,
    CPU_FMA = 1 << 1,
    CPU_F16C = 1 << 2,
    CPU_AVX512F = 1 << 3,
    CPU_AVX512BW = 1 << 4,
    CPU_AVX512VL = 1 << 5,
    CPU_AVX512DQ = 1 << 6,
    CPU_AVX512BF16 = 1 << 7,
    CPU_ALL_FEATURES = (1 << 8) - 1
};

/* Of this machine, with registers that the operating system saves. */
uint32_t cpu_machine_features(void);

/* Whether a machine of these features can run it, and the best that it can run. */
bool cpu_features_suffice(uint32_t features, tree_isa isa);
tree_isa cpu_best_isa(uint32_t features);

typedef struct cpu_kernel {
    uint32_t needs; /* features */
    /* dest [query units] from source [head_dim], rounded to the storage type; units past head_dim are 0 */
    void (*pack_query)(uint32_t *dest, const float *source, uint32_t head_dim, tree_storage storage);
    /* scratch->key and ->value from the tile's tokens */
    void (*pack_tile)(cpu_scratch *scratch, const cpu_tile *tile, uint32_t head_dim, tree_storage storage);
    /* absorbs the packed tile into (m, l, o) of every row; fetches ahead meanwhile */
    void (*absorb_tile)(const cpu_rows *rows, const cpu_tile *tile, cpu_ahead *ahead, const cpu_scratch *scratch);
    /* total [head_dim] = total * keep + o * weight */
    void (*add_state)(double *total, double keep, const float *o, double weight, uint32_t head_dim);
    /* out [head_dim] = total * scale */
    void (*scale_state)(float *out, const double *total, double scale, uint32_t head_dim);
} cpu_kernel;

extern const cpu_kernel cpu_kernel_portable, cpu_kernel_avx2, cpu_kernel_avx512, cpu_kernel_avx512_bf16;

static inline uint32_t cpu_round_up(uint32_t value, uint32_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

#endif
