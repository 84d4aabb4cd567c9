/* product: y = x W for a few rows x, by a plain loop or by a BLAS.
 *
 *   x  [num_rows][num_inputs]
 *   W  [num_inputs][num_outputs]
 *   y  [num_rows][num_outputs]   written; with `adds` the product is added to it
 *
 * The plain loop sums each element in the order of the inputs, each product rounded to float before it is added. So y
 * has the same bits for any number of rows and threads, and whichever instruction set the loop is compiled for. */
#ifndef PRODUCT_H
#define PRODUCT_H

#include <stdbool.h>
#include <stdint.h>

#include "tree_isa.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct product_config {
    uint32_t num_threads; /* at least 1 */
    tree_isa isa;         /* of the plain loop */
    bool blas;            /* only if product_has_blas() */
} product_config;

/* The number of threads to use: num_threads, or OpenMP's default for 0; 1 without OpenMP. */
uint32_t product_threads(uint32_t num_threads);

bool product_has_blas(void);

/* Whether the BLAS is the better choice here: false also for an OpenBLAS that is older than the CPU and falls back to its
 * kernels for SSE3, at half the speed of the plain loop with AVX2 or more. Nothing is timed. */
bool product_prefers_blas(void);

/* OpenMP divides the outputs, and each of its threads calls the BLAS for its part: here OpenBLAS, if it is that, learns
 * to start no threads of its own, in the whole process. */
void product_prepare_blas(void);

void product(float *y, const float *x, const float *w, uint32_t num_rows, uint32_t num_inputs, uint32_t num_outputs,
             bool adds, const product_config *config);

#ifdef __cplusplus
}
#endif
#endif
