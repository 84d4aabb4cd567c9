/* tree_attention_cpu without any particular instruction set: a "register" is an array of 4 floats, which the
 * compiler maps to the registers of the machine. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "half.h"
#include "tree_plan.h"

typedef struct vec {
    float lane[4];
} vec;
#define LANES 4
#define PANEL_VECS 2
#define BLOCK_ROWS 4
#define PAIRS 1
#define EACH_LANE(expression) \
    vec result; \
    for (int i = 0; i < LANES; i++) \
        result.lane[i] = (expression); \
    return result

static inline vec vec_zero(void) { return (vec){{0}}; }
static inline vec vec_set1(float x) { EACH_LANE(x); }
static inline vec vec_add(vec a, vec b) { EACH_LANE(a.lane[i] + b.lane[i]); }
static inline vec vec_sub(vec a, vec b) { EACH_LANE(a.lane[i] - b.lane[i]); }
static inline vec vec_mul(vec a, vec b) { EACH_LANE(a.lane[i] * b.lane[i]); }
static inline vec vec_fma(vec a, vec b, vec c) { EACH_LANE(a.lane[i] * b.lane[i] + c.lane[i]); }
static inline vec vec_max(vec a, vec b) { EACH_LANE(a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]); }
static inline vec vec_keep(vec v, uint32_t bits) { EACH_LANE(bits >> i & 1 ? v.lane[i] : -INFINITY); }

static inline vec vec_load(const float *from)
{
    vec v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline void vec_store(float *to, vec v) { memcpy(to, &v, sizeof v); }
static inline float vec_sum(vec v) { return (v.lane[0] + v.lane[2]) + (v.lane[1] + v.lane[3]); }

static inline float vec_largest(vec v)
{
    float a = v.lane[0] > v.lane[2] ? v.lane[0] : v.lane[2], b = v.lane[1] > v.lane[3] ? v.lane[1] : v.lane[3];
    return a > b ? a : b;
}

/* Multiplies by the float whose exponent is n, or by 0 if that is below 2^-126. n is NaN only where v is NaN. */
static inline vec vec_scale2(vec v, vec n)
{
    EACH_LANE(n.lane[i] >= -126.0f ? v.lane[i] * half_from_bits((uint32_t)((int32_t)n.lane[i] + 127) << 23)
              : v.lane[i] != v.lane[i] ? v.lane[i] : 0.0f);
}

static inline vec vec_split(vec v, vec *n)
{
    vec clamped = vec_max(vec_set1(-160.0f), v);
    for (int i = 0; i < LANES; i++)
        n->lane[i] = (clamped.lane[i] + 0x1.8p23f) - 0x1.8p23f;
    return vec_sub(clamped, *n);
}

static inline vec vec_dot(vec acc, uint32_t unit, vec v) { return vec_fma(vec_set1(half_from_bits(unit)), v, acc); }

static inline vec vec_units(const char *row, uint32_t unit, tree_storage storage)
{
    vec v;
    for (uint32_t i = 0; i < LANES; i++) {
        uint16_t half = 0;
        if (storage == TREE_FP32)
            memcpy(&v.lane[i], row + (unit + i) * 4, 4);
        else
            memcpy(&half, row + (unit + i) * 2, 2);
        if (storage == TREE_FP16)
            v.lane[i] = fp16_to_float(half);
        if (storage == TREE_BF16)
            v.lane[i] = bf16_to_float(half);
    }
    return v;
}

static inline void vec_transpose(vec v[LANES])
{
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < i; j++) {
            float lane = v[i].lane[j];
            v[i].lane[j] = v[j].lane[i];
            v[j].lane[i] = lane;
        }
}

static inline void vec_put_p(uint32_t *dest, vec v, vec w)
{
    memcpy(dest, &v, sizeof v);
    memcpy(dest + LANES, &w, sizeof w);
}

#include "tree_attention_cpu_body.h"

const cpu_kernel cpu_kernel_portable = CPU_KERNEL;
