/* product_body: the plain loop for one instruction set. product.c includes it once for each, with
 *   STRIP         the name of the function
 *   TARGET        its attribute
 *   VECTOR, ROWS  floats of a vector, rows of a tile: ROWS x 16 sums stay in registers
 * Each sum is in the order of the inputs, in one lane, and product.c is compiled without contraction into FMA: the
 * width of a vector changes no bit. */

typedef float VECTOR_TYPE(STRIP) __attribute__((vector_size(VECTOR * sizeof(float))));

/* 16 outputs of num_rows rows: a constant, so that the loops are unrolled. */
static inline __attribute__((always_inline)) TARGET void TILE(STRIP)(float *y, const float *x, const float *w,
                                                                      uint32_t num_rows, size_t num_inputs,
                                                                      size_t num_outputs, bool adds)
{
    typedef VECTOR_TYPE(STRIP) vector;
    enum { VECTORS = STRIP_OUTPUTS / VECTOR };
    vector sum[ROWS][VECTORS] = {{{0}}};
    for (size_t i = 0; i < num_inputs; i++)
        for (uint32_t j = 0; j < VECTORS; j++) {
            vector w_ij;
            memcpy(&w_ij, w + i * num_outputs + j * VECTOR, sizeof w_ij);
            for (uint32_t row = 0; row < num_rows; row++)
                sum[row][j] += x[row * num_inputs + i] * w_ij;
        }
    for (uint32_t row = 0; row < num_rows; row++)
        for (uint32_t j = 0; j < VECTORS; j++) {
            float *y_ij = y + row * num_outputs + j * VECTOR;
            vector old = {0};
            if (adds)
                memcpy(&old, y_ij, sizeof old);
            sum[row][j] += old;
            memcpy(y_ij, &sum[row][j], sizeof old);
        }
}

/* 16 outputs of all rows. */
static TARGET void STRIP(float *y, const float *x, const float *w, uint32_t num_rows, size_t num_inputs,
                         size_t num_outputs, bool adds)
{
    uint32_t row = 0;
    for (; row + ROWS <= num_rows; row += ROWS)
        TILE(STRIP)(y + row * num_outputs, x + row * num_inputs, w, ROWS, num_inputs, num_outputs, adds);
    for (; row + 2 <= num_rows; row += 2)
        TILE(STRIP)(y + row * num_outputs, x + row * num_inputs, w, 2, num_inputs, num_outputs, adds);
    if (row < num_rows)
        TILE(STRIP)(y + row * num_outputs, x + row * num_inputs, w, 1, num_inputs, num_outputs, adds);
}

#undef STRIP
#undef TARGET
#undef VECTOR
#undef ROWS
