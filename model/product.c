#include "product.h"

#include <stddef.h>
#include <string.h>

#ifdef MODEL_HAVE_BLAS
#include <cblas.h>
void openblas_set_num_threads(int num_threads) __attribute__((weak));
#endif

enum { VECTOR = 16, ROWS = 4 };
typedef float vector __attribute__((vector_size(VECTOR * sizeof(float)))); /* as many registers as the machine needs */

/* 16 outputs of num_rows rows, at most ROWS of them. The sums stay in registers. */
static inline __attribute__((always_inline)) void tile(float *y, const float *x, const float *w, uint32_t num_rows,
                                                       size_t num_inputs, size_t num_outputs, bool adds)
{
    vector sum[ROWS] = {{0}};
    for (size_t i = 0; i < num_inputs; i++) {
        vector w_i;
        memcpy(&w_i, w + i * num_outputs, sizeof w_i);
        for (uint32_t row = 0; row < num_rows; row++)
            sum[row] += x[row * num_inputs + i] * w_i;
    }
    for (uint32_t row = 0; row < num_rows; row++) {
        vector y_row = {0};
        if (adds)
            memcpy(&y_row, y + row * num_outputs, sizeof y_row);
        sum[row] = y_row + sum[row];
        memcpy(y + row * num_outputs, &sum[row], sizeof y_row);
    }
}

/* 16 outputs, or fewer at the end, of all rows. */
static inline __attribute__((always_inline)) void strip(float *y, const float *x, const float *w, uint32_t num_rows,
                                                        size_t num_inputs, size_t num_outputs, size_t width, bool adds)
{
    uint32_t row = width == VECTOR ? 0 : num_rows;
    for (; row + ROWS <= num_rows; row += ROWS)
        tile(y + row * num_outputs, x + row * num_inputs, w, ROWS, num_inputs, num_outputs, adds);
    for (; row < num_rows; row++)
        tile(y + row * num_outputs, x + row * num_inputs, w, 1, num_inputs, num_outputs, adds);
    if (width == VECTOR)
        return;
    for (row = 0; row < num_rows; row++)
        for (size_t output = 0; output < width; output++) {
            float sum = 0;
            for (size_t i = 0; i < num_inputs; i++)
                sum += x[row * num_inputs + i] * w[i * num_outputs + output];
            float *y_row = &y[row * num_outputs + output];
            *y_row = (adds ? *y_row : 0) + sum;
        }
}

typedef void strip_function(float *y, const float *x, const float *w, uint32_t num_rows, size_t num_inputs,
                            size_t num_outputs, size_t width, bool adds);

static void strip_portable(float *y, const float *x, const float *w, uint32_t num_rows, size_t num_inputs,
                           size_t num_outputs, size_t width, bool adds)
{
    strip(y, x, w, num_rows, num_inputs, num_outputs, width, adds);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static void strip_avx2(float *y, const float *x, const float *w, uint32_t num_rows,
                                                       size_t num_inputs, size_t num_outputs, size_t width, bool adds)
{
    strip(y, x, w, num_rows, num_inputs, num_outputs, width, adds);
}

__attribute__((target("avx512f"))) static void strip_avx512(float *y, const float *x, const float *w, uint32_t num_rows,
                                                            size_t num_inputs, size_t num_outputs, size_t width,
                                                            bool adds)
{
    strip(y, x, w, num_rows, num_inputs, num_outputs, width, adds);
}
#endif

static strip_function *strip_for(tree_isa isa)
{
#ifdef __x86_64__
    isa = tree_isa_for(isa, TREE_FP32);
    if (isa >= TREE_ISA_AVX512)
        return strip_avx512;
    if (isa == TREE_ISA_AVX2)
        return strip_avx2;
#else
    (void)isa;
#endif
    return strip_portable;
}

bool product_has_blas(void)
{
#ifdef MODEL_HAVE_BLAS
    return true;
#else
    return false;
#endif
}

void product_prepare_blas(void)
{
#ifdef MODEL_HAVE_BLAS
    if (openblas_set_num_threads)
        openblas_set_num_threads(1);
#endif
}

#ifdef MODEL_HAVE_BLAS
static void product_blas(float *y, const float *x, const float *w, uint32_t num_rows, uint32_t num_inputs,
                         uint32_t num_outputs, bool adds, const product_config *config)
{
    uint32_t num_strips = (num_outputs + VECTOR - 1) / VECTOR;
    uint32_t num_parts = config->num_threads < num_strips ? config->num_threads : num_strips;
#pragma omp parallel for num_threads(config->num_threads) schedule(static)
    for (uint32_t part = 0; part < num_parts; part++) {
        size_t first = (size_t)num_strips * part / num_parts * VECTOR;
        size_t end = (size_t)num_strips * (part + 1) / num_parts * VECTOR;
        end = end < num_outputs ? end : num_outputs;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)num_rows, (int)(end - first), (int)num_inputs, 1, x,
                    (int)num_inputs, w + first, (int)num_outputs, adds ? 1 : 0, y + first, (int)num_outputs);
    }
}
#endif

void product(float *y, const float *x, const float *w, uint32_t num_rows, uint32_t num_inputs, uint32_t num_outputs,
             bool adds, const product_config *config)
{
#ifdef MODEL_HAVE_BLAS
    if (config->blas) {
        product_blas(y, x, w, num_rows, num_inputs, num_outputs, adds, config);
        return;
    }
#endif
    strip_function *run = strip_for(config->isa);
#pragma omp parallel for num_threads(config->num_threads) schedule(static)
    for (uint32_t first = 0; first < num_outputs; first += VECTOR) {
        uint32_t width = num_outputs - first < VECTOR ? num_outputs - first : VECTOR;
        run(y + first, x, w + first, num_rows, num_inputs, num_outputs, width, adds);
    }
}
