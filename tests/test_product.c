/* Claim: a plain product has the bits of the obvious loop, for any number of rows, inputs, outputs and threads and on
 * every instruction set; and one by the BLAS is within the error of any order of its sums. Neither writes beyond y. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "product.h"
#include "test.h"

enum { MOST = 50 };

typedef struct size_case {
    uint32_t num_rows, num_inputs, num_outputs;
} size_case;

static const size_case sizes[] = {
    {1, 1, 1}, {1, 7, 16}, {2, 5, 15}, {3, 9, 17}, {4, 8, 32}, {5, 3, 26}, {7, 64, 48}, {8, 33, 16}, {9, 16, 33},
    {11, 2, 1}, {17, 19, 23}, {23, 40, 49},
};

static float y[2 + 23 * MOST], x[23 * 64], w[64 * MOST], expected[2 + 23 * MOST], bound[2 + 23 * MOST];

/* y has a number before it and one behind it, which must stay. */
static void fill(const size_case *c, bool adds)
{
    for (uint32_t i = 0; i < c->num_rows * c->num_inputs; i++)
        x[i] = (float)test_normal();
    for (uint32_t i = 0; i < c->num_inputs * c->num_outputs; i++)
        w[i] = (float)test_normal();
    for (uint32_t i = 0; i < c->num_rows * c->num_outputs + 2; i++)
        expected[i] = (float)test_normal();
    memcpy(y, expected, sizeof y);
    for (uint32_t row = 0; row < c->num_rows; row++)
        for (uint32_t output = 0; output < c->num_outputs; output++) {
            float sum = 0, *e = &expected[1 + row * c->num_outputs + output];
            double absolute = adds ? fabs(*e) : 0;
            for (uint32_t i = 0; i < c->num_inputs; i++) {
                float term = x[row * c->num_inputs + i] * w[i * c->num_outputs + output];
                sum += term;
                absolute += fabs(term);
            }
            *e = sum + (adds ? *e : 0);
            bound[1 + row * c->num_outputs + output] = (float)(2 * (c->num_inputs + 2) * 0x1p-24 * absolute);
        }
    if (!adds) /* what was in y does not matter */
        for (uint32_t i = 0; i < c->num_rows * c->num_outputs; i++)
            y[1 + i] = NAN;
}

static void run_plain(const void *argument)
{
    const size_case *c = argument;
    for (int isa = TREE_ISA_AUTO; isa <= TREE_ISA_AVX512; isa++) {
        if (!tree_isa_available((tree_isa)isa))
            continue;
        for (uint32_t num_threads = 1; num_threads <= 3; num_threads++)
            for (int adds = 0; adds <= 1; adds++) {
                fill(c, adds);
                product_config config = {.num_threads = num_threads, .isa = (tree_isa)isa};
                product(y + 1, x, w, c->num_rows, c->num_inputs, c->num_outputs, adds, &config);
                check(!memcmp(y, expected, (c->num_rows * c->num_outputs + 2) * sizeof *y), "%s, %u threads, adds %d",
                      tree_isa_name[isa], num_threads, adds);
            }
    }
}

static void run_blas(const void *argument)
{
    const size_case *c = argument;
    if (!product_has_blas())
        test_skip("no OpenBLAS");
    product_prepare_blas();
    for (uint32_t num_threads = 1; num_threads <= 3; num_threads++)
        for (int adds = 0; adds <= 1; adds++) {
            fill(c, adds);
            uint32_t count = c->num_rows * c->num_outputs;
            product_config config = {.num_threads = num_threads, .blas = true};
            product(y + 1, x, w, c->num_rows, c->num_inputs, c->num_outputs, adds, &config);
            check(y[0] == expected[0] && y[count + 1] == expected[count + 1], "nothing beyond y is written");
            for (uint32_t i = 1; i <= count; i++)
                check(fabsf(y[i] - expected[i]) <= bound[i], "%u threads, adds %d, element %u: %g, not %g", num_threads,
                      adds, i - 1, y[i], expected[i]);
        }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "plain products have the bits of the obvious loop, those of a BLAS are close");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_case *c = &sizes[i];
        test_add(run_plain, c, "plain_%ux%ux%u", c->num_rows, c->num_inputs, c->num_outputs);
        test_add(run_blas, c, "blas_%ux%ux%u", c->num_rows, c->num_inputs, c->num_outputs);
    }
    return test_end();
}
