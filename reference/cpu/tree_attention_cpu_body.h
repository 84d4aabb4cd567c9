/* The tile of tree_attention_cpu, written once for every instruction set. Include it after defining
 *
 *   vec             a register of LANES floats;  PAIRS 1 (a unit is a float) or 2 (a unit is two bf16)
 *   PANEL_VECS      registers across a register block, BLOCK_ROWS (at most CPU_BLOCK_ROWS) registers down
 *   vec_zero vec_set1 vec_load vec_store vec_add vec_sub vec_mul vec_fma
 *   vec_max(a, b)   lane-wise, b where either is NaN
 *   vec_keep(v, bits)          lanes whose bit is 0 become -infinity
 *   vec_largest(v) vec_sum(v)  over the lanes
 *   vec_scale2(v, n)           v * 2^n for integral n; 0 below the range
 *   vec_split(v, &n)           v = n + the result: n is the nearest integer. v <= 0; -infinity: n is at most -160
 *   vec_dot(acc, unit, v)      acc + the unit, broadcast, times the units of v
 *   vec_units(row, i, storage) LANES units of a stored key or value from unit i on
 *   vec_transpose(v)           v[LANES], units
 *   vec_pair(even, odd, part)  PAIRS 2: units (even[j], odd[j]) for half `part` of the columns
 *   vec_put_p(dest, v, w)      stores 2 LANES probabilities as 2 LANES / PAIRS units
 *   TILE_UNITS, multiply       only where tiles multiply (tree_attention_cpu_amx.c): the units that one instruction
 *                              takes, and the product that is defined below for registers, with the same arguments
 *   SOFTMAX_LINES              with TILE_UNITS: lines that the softmax of a row prefetches
 *
 * No token that a row does not see may touch its sums: scores are replaced (not added to) before the maximum, and the
 * caller never passes a tile in which a masked token's value is not finite. */
#include <math.h>
#include <string.h>

#include "half.h"
#include "tree_attention_cpu_tile.h"
#include "tree_isa_internal.h"

enum {
    COMPILED_FOR = 0
#ifdef __AVX2__
                   | CPU_AVX2
#endif
#ifdef __FMA__
                   | CPU_FMA
#endif
#ifdef __F16C__
                   | CPU_F16C
#endif
#ifdef __AVX512F__
                   | CPU_AVX512F
#endif
#ifdef __AVX512BW__
                   | CPU_AVX512BW
#endif
#ifdef __AVX512VL__
                   | CPU_AVX512VL
#endif
#ifdef __AVX512DQ__
                   | CPU_AVX512DQ
#endif
#ifdef __AVX512BF16__
                   | CPU_AVX512BF16
#endif
#if defined(__AMX_TILE__) || defined(__AMXTILE__) /* gcc's name and clang's */
                   | CPU_AMX_TILE
#endif
#if defined(__AMX_BF16__) || defined(__AMXBF16__)
                   | CPU_AMX_BF16
#endif
};

#define BLOCK_COLUMNS (PANEL_VECS * LANES)
#define always_inline inline __attribute__((always_inline))

_Static_assert(PANEL_VECS % 2 == 0, "weigh takes two registers at a time");

/* Units of a packed query or key: those past head_dim are 0. */
static uint32_t units_of(uint32_t head_dim)
{
#ifdef TILE_UNITS
    return cpu_round_up(cpu_round_up(head_dim, 2) / PAIRS, TILE_UNITS);
#else
    return cpu_round_up(head_dim, 2) / PAIRS;
#endif
}

/* 2^x by 2^n * 2^f, x <= 0, |f| <= 1/2; the polynomial is within 1e-8 and exact at 0. NaN stays NaN, -infinity gives
 * 0. */
static always_inline vec vec_exp2(vec x)
{
    vec n, f = vec_split(x, &n), p = vec_set1(0x1.44138ap-13f);
    p = vec_fma(p, f, vec_set1(0x1.5f0890p-10f));
    p = vec_fma(p, f, vec_set1(0x1.3b2a54p-7f));
    p = vec_fma(p, f, vec_set1(0x1.c6af6cp-5f));
    p = vec_fma(p, f, vec_set1(0x1.ebfbe0p-3f));
    p = vec_fma(p, f, vec_set1(0x1.62e430p-1f));
    p = vec_fma(p, f, vec_set1(1.0f));
    return vec_scale2(p, n);
}

#ifndef TILE_UNITS
#define SOFTMAX_LINES 0 /* the products take long enough */

/* c [rows][BLOCK_COLUMNS] = keep[row] * c + a [rows][units] * b [units][CPU_PANEL]; keep NULL: c is overwritten. The
 * product is summed before c is added, so a sum has few terms, however many tokens c has absorbed. */
static always_inline void block_multiply(int num_rows, float *c, uint32_t c_stride, const uint32_t *a,
                                         uint32_t a_stride, const uint32_t *b, uint32_t num_units, const float *keep,
                                         cpu_prefetch *prefetch)
{
    vec acc[CPU_BLOCK_ROWS][PANEL_VECS];
    for (int row = 0; row < num_rows; row++)
        for (int v = 0; v < PANEL_VECS; v++)
            acc[row][v] = vec_zero();
    for (uint32_t unit = 0; unit < num_units; unit++) {
        cpu_prefetch_line(prefetch);
        vec b_u[PANEL_VECS];
        for (int v = 0; v < PANEL_VECS; v++)
            b_u[v] = vec_load((const float *)(b + (size_t)unit * CPU_PANEL + v * LANES));
        for (int row = 0; row < num_rows; row++)
            for (int v = 0; v < PANEL_VECS; v++)
                acc[row][v] = vec_dot(acc[row][v], a[row * a_stride + unit], b_u[v]);
    }
    for (int row = 0; keep && row < num_rows; row++)
        for (int v = 0; v < PANEL_VECS; v++)
            acc[row][v] = vec_fma(vec_load(c + row * c_stride + v * LANES), vec_set1(keep[row]), acc[row][v]);
    for (int row = 0; row < num_rows; row++)
        for (int v = 0; v < PANEL_VECS; v++)
            vec_store(c + row * c_stride + v * LANES, acc[row][v]);
}

/* c [rows][columns] likewise: b comes in panels [panel_units][CPU_PANEL], of which num_units are used. All rows use a
 * panel while it is in the L1 cache. The switch gives the compiler a constant number of rows, so that the sums stay
 * in registers. */
static always_inline void multiply(uint32_t num_rows, float *c, uint32_t c_stride, const uint32_t *a,
                                   uint32_t a_stride, const uint32_t *b, uint32_t panel_units, uint32_t num_units,
                                   uint32_t num_columns, const float *keep, cpu_prefetch *prefetch)
{
    for (uint32_t column = 0; column < num_columns; column += BLOCK_COLUMNS) {
        const uint32_t *b_c = b + (size_t)(column / CPU_PANEL) * panel_units * CPU_PANEL + column % CPU_PANEL;
        for (uint32_t row = 0; row < num_rows; row += BLOCK_ROWS) {
            float *c_rc = c + (size_t)row * c_stride + column;
            const uint32_t *a_r = a + (size_t)row * a_stride;
            const float *keep_r = keep ? keep + row : NULL;
            switch (num_rows - row) {
            case 1: block_multiply(1, c_rc, c_stride, a_r, a_stride, b_c, num_units, keep_r, prefetch); break;
            case 2: block_multiply(2, c_rc, c_stride, a_r, a_stride, b_c, num_units, keep_r, prefetch); break;
            case 3: block_multiply(3, c_rc, c_stride, a_r, a_stride, b_c, num_units, keep_r, prefetch); break;
#if BLOCK_ROWS > 4
            case 4: block_multiply(4, c_rc, c_stride, a_r, a_stride, b_c, num_units, keep_r, prefetch); break;
            case 5: block_multiply(5, c_rc, c_stride, a_r, a_stride, b_c, num_units, keep_r, prefetch); break;
#endif
            default:
                block_multiply(BLOCK_ROWS, c_rc, c_stride, a_r, a_stride, b_c, num_units, keep_r, prefetch);
                break;
            }
        }
    }
}

#endif

/* Scores of one row, scaled and masked; returns their maximum. */
static always_inline float keep_visible(float *scores, const uint64_t *visible, uint32_t num_tokens, float score_scale)
{
    vec largest = vec_set1(-INFINITY);
    for (uint32_t t = 0; t < num_tokens; t += BLOCK_COLUMNS) {
        uint64_t bits = visible[t / 64] >> (t % 64);
        for (uint32_t i = 0; i < BLOCK_COLUMNS; i += LANES) {
            vec score = vec_keep(vec_mul(vec_load(scores + t + i), vec_set1(score_scale)), (uint32_t)(bits >> i));
            vec_store(scores + t + i, score);
            largest = vec_max(largest, score);
        }
    }
    return vec_largest(largest);
}

/* Scores of one row to probabilities, which may take their place; returns the sum. */
static always_inline float weigh(uint32_t *p, const float *scores, uint32_t num_tokens, float m)
{
    float shift = m == -INFINITY ? 0 : m; /* nothing visible so far: exp2(-inf - 0) = 0, not NaN */
    vec sum = vec_zero();
    for (uint32_t t = 0; t < num_tokens; t += 2 * LANES) {
        vec weight = vec_exp2(vec_sub(vec_load(scores + t), vec_set1(shift)));
        vec next = vec_exp2(vec_sub(vec_load(scores + t + LANES), vec_set1(shift)));
        sum = vec_add(sum, vec_add(weight, next));
        vec_put_p(p + t / PAIRS, weight, next);
    }
    return vec_sum(sum);
}

/* Rows [first, first + num_rows) from scores to p; updates m and l. keep: the factor of the old o. Each step is a pass
 * over all rows, so that no row waits for another to finish. */
static always_inline void absorb_scores(const cpu_rows *rows, uint32_t first, uint32_t num_rows, const cpu_tile *tile,
                                        float *scores, uint32_t *p, uint32_t num_tokens, float *keep,
                                        cpu_prefetch *prefetch)
{
    float *m = rows->m + first, *l = rows->l + first, m_tile[CPU_ROWS];
    for (uint32_t r = 0; r < num_rows; r++) {
        size_t query = (first + r) / rows->rows_per_query;
        m_tile[r] = keep_visible(scores + r * CPU_TILE_TOKENS, tile->visible + query * tile->visible_stride, num_tokens,
                                 rows->score_scale);
    }
    for (uint32_t r = 0; r < num_rows; r++) {
        float m_new = m[r] >= m_tile[r] ? m[r] : m_tile[r];
        keep[r] = m[r] == -INFINITY ? 0 : m[r] == m_new ? 1 : exp2f(m[r] - m_new);
        m[r] = m_new;
    }
    for (uint32_t r = 0; r < num_rows; r++) {
        cpu_prefetch_lines(prefetch, SOFTMAX_LINES);
        l[r] = l[r] * keep[r] + weigh(p + r * CPU_TILE_TOKENS, scores + r * CPU_TILE_TOKENS, num_tokens, m[r]);
    }
}

static void absorb_tile(const cpu_rows *rows, const cpu_tile *tile, cpu_prefetch *prefetch,
                        const cpu_operands *operands)
{
    uint32_t query_units = units_of(rows->head_dim);
    uint32_t num_tokens = cpu_round_up(tile->num_tokens, BLOCK_COLUMNS);
    uint32_t o_columns = cpu_round_up(rows->head_dim, BLOCK_COLUMNS);
    for (uint32_t row = 0; row < rows->num_rows; row += CPU_ROWS) {
        uint32_t num_rows = rows->num_rows - row < CPU_ROWS ? rows->num_rows - row : CPU_ROWS;
        float *scores = rows->scores ? rows->scores + (size_t)row * CPU_TILE_TOKENS : (float *)operands->p;
        float keep[CPU_ROWS];
        multiply(num_rows, scores, CPU_TILE_TOKENS, rows->query + (size_t)row * rows->query_stride, rows->query_stride,
                 operands->key, query_units, query_units, num_tokens, NULL, prefetch);
        absorb_scores(rows, row, num_rows, tile, scores, operands->p, num_tokens, keep, prefetch);
        multiply(num_rows, rows->o + (size_t)row * rows->o_stride, rows->o_stride, operands->p, CPU_TILE_TOKENS,
                 operands->value, cpu_round_up(num_tokens, CPU_PANEL) / PAIRS, num_tokens / PAIRS, o_columns,
                 tile->first ? NULL : keep, prefetch);
    }
}

/* In double, because one sum takes any number of pieces or partial states. */
static void add_state(double *total, double keep, const float *o, double weight, uint32_t head_dim)
{
    for (uint32_t d = 0; d < head_dim; d++)
        total[d] = total[d] * keep + weight * o[d];
}

static void scale_state(float *out, const double *total, double scale, uint32_t head_dim)
{
    for (uint32_t d = 0; d < head_dim; d++)
        out[d] = (float)(total[d] * scale);
}

/* The scores of one query lie far apart, a few lines for each KV head: those of the next KV head, or of the next query,
 * are prefetched. */
static void weigh_tokens(float *importance, const cpu_weights *weights, uint32_t num_tokens)
{
    size_t group_size = weights->group_size;
    memset(importance, 0, CPU_TILE_TOKENS * sizeof *importance);
    for (size_t kv_head = 0; kv_head < weights->num_kv_heads; kv_head++) {
        const float *scores = weights->scores + kv_head * weights->score_stride;
        const float *next = kv_head + 1 < weights->num_kv_heads ? scores + weights->score_stride
                                                                : weights->scores + group_size * CPU_TILE_TOKENS;
        const float *norm = weights->norm + kv_head * CPU_TILE_TOKENS;
        const float *m = weights->m + kv_head * group_size, *scale = weights->scale + kv_head * group_size;
        for (uint32_t t = 0; t < num_tokens; t += LANES) {
            vec mass = vec_zero();
            for (size_t h = 0; h < group_size; h++) {
                __builtin_prefetch(next + h * CPU_TILE_TOKENS + t, 0, 3);
                vec score = vec_load(scores + h * CPU_TILE_TOKENS + t);
                mass = vec_fma(vec_exp2(vec_sub(score, vec_set1(m[h]))), vec_set1(scale[h]), mass);
            }
            vec_store(importance + t, vec_fma(vec_load(norm + t), mass, vec_load(importance + t)));
        }
    }
}

/* How keys and values are stored. A compile-time constant for each loop, so that no loop branches on it. */
typedef struct stored {
    tree_storage storage;
    bool whole; /* head_dim is a multiple of CPU_PANEL: there is no last, partial register */
} stored;

/* The last, partial register goes through a copy, so that nothing past the key or value is read. */
static always_inline vec units_at(const char *row, uint32_t unit, uint32_t head_dim, stored type)
{
    tree_storage storage = type.storage;
    if (type.whole || (unit + LANES) * PAIRS <= head_dim)
        return vec_units(row, unit, storage);
    char copy[LANES * PAIRS * 4] = {0};
    size_t element = tree_storage_bytes(storage);
    if (unit * PAIRS < head_dim)
        memcpy(copy, row + unit * PAIRS * element, (head_dim - unit * PAIRS) * element);
    return vec_units(copy, 0, storage);
}

/* key [units][tokens] in panels: LANES tokens x LANES units at a time, transposed in registers. Columns past the last
 * token repeat the first: their scores are replaced. */
static always_inline void pack_key(uint32_t *dest, const cpu_tile *tile, uint32_t head_dim, stored type)
{
    uint32_t num_units = units_of(head_dim), width = cpu_round_up(tile->num_tokens, CPU_PANEL);
    for (uint32_t t = 0; t < width; t += LANES) {
        uint32_t *dest_t = dest + (size_t)(t / CPU_PANEL) * num_units * CPU_PANEL + t % CPU_PANEL;
        const char *row[LANES];
        for (uint32_t i = 0; i < LANES; i++)
            row[i] = tile->key[t + i < tile->num_tokens ? t + i : 0];
        for (uint32_t unit = 0; unit < num_units; unit += LANES) {
            vec v[LANES];
            for (uint32_t i = 0; i < LANES; i++)
                v[i] = units_at(row[i], unit, head_dim, type);
            vec_transpose(v);
            for (uint32_t i = 0; i < LANES && unit + i < num_units; i++)
                vec_store((float *)(dest_t + (size_t)(unit + i) * CPU_PANEL), v[i]);
        }
    }
}

/* Columns column .. column + LANES * PAIRS of a value unit from its PAIRS rows; NULL: a row of zeros. */
static always_inline void pack_value_columns(uint32_t *dest, const char *const row[PAIRS], uint32_t column,
                                             uint32_t head_dim, stored type)
{
    vec v[PAIRS];
    for (uint32_t i = 0; i < PAIRS; i++)
        v[i] = row[i] ? units_at(row[i], column / PAIRS, head_dim, type) : vec_zero();
#if PAIRS == 1
    vec_store((float *)dest, v[0]);
#else
    vec_store((float *)dest, vec_pair(v[0], v[1], 0));
    vec_store((float *)(dest + LANES), vec_pair(v[0], v[1], 1));
#endif
}

static always_inline void pack_value_unit(uint32_t *dest_u, const char *const row[PAIRS], uint32_t panel_units,
                                          uint32_t head_dim, stored type)
{
    for (uint32_t panel = 0; panel < cpu_round_up(head_dim, CPU_PANEL); panel += CPU_PANEL)
        for (uint32_t column = 0; column < CPU_PANEL; column += LANES * PAIRS)
            pack_value_columns(dest_u + (size_t)panel * panel_units + column, row, panel + column, head_dim, type);
}

/* value [token units][head_dim] in panels; rows past the last token are 0. */
static always_inline void pack_value(uint32_t *dest, const cpu_tile *tile, uint32_t head_dim, stored type)
{
    uint32_t num_units = cpu_round_up(tile->num_tokens, CPU_PANEL) / PAIRS, unit = 0;
    for (; unit < tile->num_tokens / PAIRS; unit++)
        pack_value_unit(dest + (size_t)unit * CPU_PANEL, &tile->value[unit * PAIRS], num_units, head_dim, type);
    for (; unit < num_units; unit++) {
        const char *const row[2] = {unit * PAIRS < tile->num_tokens ? tile->value[unit * PAIRS] : NULL, NULL};
        pack_value_unit(dest + (size_t)unit * CPU_PANEL, row, num_units, head_dim, type);
    }
}

static always_inline void pack_stored(cpu_operands *operands, const cpu_tile *tile, uint32_t head_dim,
                                      tree_storage storage)
{
    if (head_dim % CPU_PANEL == 0) {
        pack_key(operands->key, tile, head_dim, (stored){storage, true});
        pack_value(operands->value, tile, head_dim, (stored){storage, true});
    } else {
        pack_key(operands->key, tile, head_dim, (stored){storage, false});
        pack_value(operands->value, tile, head_dim, (stored){storage, false});
    }
}

static void pack_tile(cpu_operands *operands, const cpu_tile *tile, uint32_t head_dim, tree_storage storage)
{
    if (PAIRS == 2 || storage == TREE_BF16)
        pack_stored(operands, tile, head_dim, TREE_BF16);
    else if (storage == TREE_FP16)
        pack_stored(operands, tile, head_dim, TREE_FP16);
    else
        pack_stored(operands, tile, head_dim, TREE_FP32);
}

static void pack_query(uint32_t *dest, const float *source, uint32_t head_dim, tree_storage storage)
{
#if PAIRS == 2
    (void)storage;
    uint32_t d = 0;
    for (; d + 2 * LANES <= head_dim; d += 2 * LANES)
        vec_put_p(dest + d / PAIRS, vec_load(source + d), vec_load(source + d + LANES));
    for (; d < head_dim; d += 2)
        dest[d / 2] = bf16_from_float(source[d]) |
                      (uint32_t)(d + 1 < head_dim ? bf16_from_float(source[d + 1]) : 0) << 16;
    for (uint32_t unit = cpu_round_up(head_dim, 2) / PAIRS; unit < units_of(head_dim); unit++)
        dest[unit] = 0;
#else
    for (uint32_t d = 0; d < head_dim; d++) {
        float rounded = storage == TREE_BF16   ? bf16_to_float(bf16_from_float(source[d]))
                        : storage == TREE_FP16 ? fp16_to_float(fp16_from_float(source[d]))
                                               : source[d];
        dest[d] = half_bits(rounded);
    }
    if (head_dim % 2)
        dest[head_dim] = 0;
#endif
}

#define CPU_KERNEL \
    {COMPILED_FOR, units_of, pack_query, pack_tile, absorb_tile, add_state, scale_state, weigh_tokens}
