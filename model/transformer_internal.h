/* transformer_internal: a transformer's state. transformer_memory.c makes it, transformer.c runs it. */
#ifndef TRANSFORMER_INTERNAL_H
#define TRANSFORMER_INTERNAL_H

#include "branch_step.h"
#include "kv_memory.h"
#include "product.h"
#include "transformer.h"

struct transformer {
    const model_weights *weights;
    transformer_config config;
    product_config product;
    branch_step step;
    kv_memory kv;
    tree_shape shape;        /* of a layer's attention in this step */
    double *frequency;       /* [head_dim / 2] rope_base^(-2 i / head_dim) */
    /* A row for each branch of the step: */
    float *x, *h;            /* [width] the residual stream; its norm */
    float *q, *attended;     /* [heads][head_dim] */
    float *k, *v;            /* [kv_heads][head_dim] */
    float *gate, *up;        /* [hidden] */
    float *cosine, *sine;    /* [head_dim / 2] at the new token's position */
    float *rows;             /* all of them */
    void *workspace;
    size_t workspace_bytes;
    transformer_counts counts;
    double lap_us;           /* when the last part of the step ended */
};

#endif
