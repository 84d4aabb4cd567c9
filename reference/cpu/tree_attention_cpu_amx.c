/* tree_attention_cpu on bf16 as stored, by the tiles of Intel AMX. A tile register is a small matrix, at most 16 rows
 * of 64 bytes; there are eight, tmm0 to tmm7, and one instruction multiplies two of them:
 *
 *   tdpbf16ps c, a, b     c [rows][16 columns] += a [rows][16 units] * b [16 units][16 columns]
 *
 * a, b and c are what the other kernels multiply too: a unit is a pair of bf16, and in b the two of a pair lie next to
 * each other. So this file replaces the product alone. Four tiles of sums take turns, since a sum waits for the one
 * before it: rows x 64 columns, the width of a panel.
 *
 * The shape of each tile is a setting of the thread (ldtilecfg). It is made for each product and dropped after it
 * (tilerelease), so tiles are in use inside of `multiply` alone. A signal or a thread switch that comes there saves and
 * restores them; anywhere else it has none to save. */
#define CPU_PREFETCH_LEVEL 2
#include "tree_attention_cpu_avx512_pairs.h"
#include "tree_attention_cpu_tile.h"

#define TILE_UNITS 16u
#define SOFTMAX_LINES 8 /* the softmax of a row takes as long as two steps of a product */
#define PRODUCT_LINES 4 /* of memory, prefetched beside four tile products */

enum { TILE_ROWS = 16, TILE_BYTES = 64, C_TILES = 4, A_TILE = 4, PANEL_BYTES = CPU_PANEL * 4 };

_Static_assert(CPU_PANEL == C_TILES * TILE_UNITS, "the tiles of sums are as wide as a panel");
_Static_assert(CPU_ROWS % TILE_ROWS == 0, "only the last rows of an item fill no tile");

/* The operand of ldtilecfg. */
typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

/* The compiler moves no load or store across: gcc's tile intrinsics do not tell which memory they touch. */
static inline void memory_is_seen(const void *object) { __asm__ volatile("" : : "r"(object) : "memory"); }

/* Sums and a of num_rows rows, b of 16 units. Tiles become 0. */
static inline void shape_tiles(uint32_t num_rows)
{
    tile_config config = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        config.row_bytes[tile] = TILE_BYTES;
        config.rows[tile] = (uint8_t)(tile <= A_TILE ? num_rows : TILE_UNITS);
    }
    memory_is_seen(&config);
    _tile_loadconfig(&config);
}

/* c [rows of the shape][CPU_PANEL] = c or 0, + a [rows][units] * b [units][CPU_PANEL] */
static inline void multiply_tiles(float *c, uint32_t c_stride, const uint32_t *a, uint32_t a_stride, const uint32_t *b,
                                  uint32_t num_units, bool adds, cpu_prefetch *prefetch)
{
    if (adds) {
        _tile_loadd(0, c, c_stride * 4);
        _tile_loadd(1, c + 16, c_stride * 4);
        _tile_loadd(2, c + 32, c_stride * 4);
        _tile_loadd(3, c + 48, c_stride * 4);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (uint32_t unit = 0; unit < num_units; unit += TILE_UNITS) {
        const uint32_t *b_u = b + (size_t)unit * CPU_PANEL;
        cpu_prefetch_lines(prefetch, PRODUCT_LINES);
        _tile_loadd(4, a + unit, a_stride * 4);
        _tile_loadd(5, b_u, PANEL_BYTES);
        _tile_dpbf16ps(0, 4, 5);
        _tile_loadd(6, b_u + 16, PANEL_BYTES);
        _tile_dpbf16ps(1, 4, 6);
        _tile_loadd(7, b_u + 32, PANEL_BYTES);
        _tile_dpbf16ps(2, 4, 7);
        _tile_loadd(5, b_u + 48, PANEL_BYTES);
        _tile_dpbf16ps(3, 4, 5);
    }
    _tile_stored(0, c, c_stride * 4);
    _tile_stored(1, c + 16, c_stride * 4);
    _tile_stored(2, c + 32, c_stride * 4);
    _tile_stored(3, c + 48, c_stride * 4);
}

/* Most tiles raise the maximum of no row: keep is 1. */
static inline void scale_rows(float *c, uint32_t c_stride, uint32_t num_rows, uint32_t num_columns, const float *keep)
{
    for (uint32_t row = 0; row < num_rows; row++) {
        float *c_r = c + (size_t)row * c_stride;
        for (uint32_t column = 0; keep[row] != 1 && column < num_columns; column += LANES)
            vec_store(c_r + column, vec_mul(vec_load(c_r + column), vec_set1(keep[row])));
    }
}

/* c [rows][columns] = keep[row] * c + a [rows][units] * b [units][columns], as in tree_attention_cpu_body.h */
static inline void multiply(uint32_t num_rows, float *c, uint32_t c_stride, const uint32_t *a, uint32_t a_stride,
                            const uint32_t *b, uint32_t panel_units, uint32_t num_units, uint32_t num_columns,
                            const float *keep, cpu_prefetch *prefetch)
{
    uint32_t shaped_for = 0;
    if (keep)
        scale_rows(c, c_stride, num_rows, num_columns, keep);
    memory_is_seen(c);
    for (uint32_t column = 0; column < num_columns; column += CPU_PANEL) {
        const uint32_t *b_c = b + (size_t)column * panel_units;
        for (uint32_t row = 0; row < num_rows; row += TILE_ROWS) {
            uint32_t tile_rows = num_rows - row < TILE_ROWS ? num_rows - row : TILE_ROWS;
            if (tile_rows != shaped_for)
                shape_tiles(shaped_for = tile_rows);
            multiply_tiles(c + (size_t)row * c_stride + column, c_stride, a + (size_t)row * a_stride, a_stride, b_c,
                           num_units, keep, prefetch);
        }
    }
    _tile_release();
}

#include "tree_attention_cpu_body.h"

const cpu_kernel cpu_kernel_amx = CPU_KERNEL;
