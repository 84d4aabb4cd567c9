#include "product.h"

#include <stddef.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#ifdef MODEL_HAVE_BLAS
#include <cblas.h>
void openblas_set_num_threads(int num_threads) __attribute__((weak)); /* NULL in another BLAS */
char *openblas_get_corename(void) __attribute__((weak));
#endif

enum { STRIP_OUTPUTS = 16 };

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define TILE(strip) JOIN(strip, _tile)
#define VECTOR_TYPE(strip) JOIN(strip, _vector)

#define STRIP strip_portable
#define TARGET
#define VECTOR 4
#define ROWS 2
#include "product_body.h"

#ifdef __x86_64__
#define STRIP strip_avx2
#define TARGET __attribute__((target("avx2")))
#define VECTOR 8
#define ROWS 4
#include "product_body.h"

#define STRIP strip_avx512
#define TARGET __attribute__((target("avx512f")))
#define VECTOR 16
#define ROWS 8
#include "product_body.h"
#endif

uint32_t product_threads(uint32_t num_threads)
{
#ifdef _OPENMP
    return num_threads ? num_threads : (uint32_t)omp_get_max_threads();
#else
    (void)num_threads;
    return 1;
#endif
}

typedef void strip_function(float *y, const float *x, const float *w, uint32_t num_rows, size_t num_inputs,
                            size_t num_outputs, bool adds);

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

/* The last outputs, fewer than 16. */
static void narrow_strip(float *y, const float *x, const float *w, uint32_t num_rows, size_t num_inputs,
                         size_t num_outputs, size_t width, bool adds)
{
    for (uint32_t row = 0; row < num_rows; row++) {
        float sum[STRIP_OUTPUTS] = {0};
        for (size_t i = 0; i < num_inputs; i++)
            for (size_t output = 0; output < width; output++)
                sum[output] += x[row * num_inputs + i] * w[i * num_outputs + output];
        for (size_t output = 0; output < width; output++)
            y[row * num_outputs + output] = sum[output] + (adds ? y[row * num_outputs + output] : 0);
    }
}

static void product_plain(float *y, const float *x, const float *w, uint32_t num_rows, uint32_t num_inputs,
                          uint32_t num_outputs, bool adds, const product_config *config)
{
    strip_function *strip = strip_for(config->isa);
#pragma omp parallel for num_threads(config->num_threads) schedule(static)
    for (uint32_t first = 0; first < num_outputs; first += STRIP_OUTPUTS)
        if (num_outputs - first >= STRIP_OUTPUTS)
            strip(y + first, x, w + first, num_rows, num_inputs, num_outputs, adds);
        else
            narrow_strip(y + first, x, w + first, num_rows, num_inputs, num_outputs, num_outputs - first, adds);
}

#ifdef MODEL_HAVE_BLAS
static void product_blas(float *y, const float *x, const float *w, uint32_t num_rows, uint32_t num_inputs,
                         uint32_t num_outputs, bool adds, const product_config *config)
{
    uint32_t num_strips = (num_outputs + STRIP_OUTPUTS - 1) / STRIP_OUTPUTS;
    uint32_t num_parts = config->num_threads < num_strips ? config->num_threads : num_strips;
#pragma omp parallel for num_threads(config->num_threads) schedule(static)
    for (uint32_t part = 0; part < num_parts; part++) {
        uint32_t first = (uint32_t)((uint64_t)num_strips * part / num_parts) * STRIP_OUTPUTS;
        uint32_t end = (uint32_t)((uint64_t)num_strips * (part + 1) / num_parts) * STRIP_OUTPUTS;
        end = end < num_outputs ? end : num_outputs;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)num_rows, (int)(end - first), (int)num_inputs, 1, x,
                    (int)num_inputs, w + first, (int)num_outputs, adds ? 1 : 0, y + first, (int)num_outputs);
    }
}

bool product_has_blas(void) { return true; }

bool product_prefers_blas(void)
{
    const char *core = openblas_get_corename ? openblas_get_corename() : "";
    return strcmp(core, "Prescott") != 0 || !tree_isa_available(TREE_ISA_AVX2);
}

void product_prepare_blas(void)
{
    if (openblas_set_num_threads)
        openblas_set_num_threads(1);
}
#else
bool product_has_blas(void) { return false; }
bool product_prefers_blas(void) { return false; }
void product_prepare_blas(void) {}
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
    product_plain(y, x, w, num_rows, num_inputs, num_outputs, adds, config);
}
