/* weights: a trained transformer in one file, and the same as floats in memory.
 *
 * A file is a text header, an empty line, and the payload. Header lines end in '\n', have the form `key value`, and
 * stand in this order, each once:
 *
 *   treeattn-reasoner 1      magic and version of the format
 *   vocabulary "0123\n"      token i is the i-th character: 1 to 96 distinct ones, ' ' to '~' or newline, written \n;
 *                            \" and \\ stand for " and \
 *   layers 6                 1 to 256
 *   width 256                1 to 16384
 *   heads 4                  query heads, 1 to 256; a multiple of kv_heads
 *   kv_heads 2
 *   head_dim 64              even, 2 to 256
 *   hidden 640               of SwiGLU, 1 to 65536
 *   rope_base 10000          a decimal number, above 1 and below 1e12
 *   norm_eps 1e-05           a decimal number, above 0 and below 1
 *   context 1024             most tokens of one sequence, 1 to 1048576
 *   encoding int8
 *   command python3 ...      text to the end of the line, ' ' to '~', at most 500 characters, as the next three
 *   commit 0123456789ab
 *   seed 1
 *   split ...                how training and held-out card sets were separated
 *   bytes 4204136            of the payload: follows from the numbers above
 *   crc32 89abcdef           eight lower-case digits: of all lines before this one, then the payload
 *
 * Numbers have no sign, no leading zero and no spaces (rope_base, norm_eps: strtod reads the whole value). The checksum
 * is zlib's: in Python, zlib.crc32(payload, zlib.crc32(lines before crc32)). The file ends with the payload. No bit of
 * the file can change without an error.
 *
 * The payload, little-endian, without padding. A norm is fp32 [width]. A matrix is fp32 scale [rows], then int8
 * [rows][columns], and stands for W[row][column] = scale[row] * int8[row][column], used as y = W x: rows are outputs,
 * as in a weight of PyTorch's Linear. -128 does not occur. In this order:
 *
 *   embedding       matrix [vocabulary][width]     input, and transposed use in the head: logits = embedding x
 *   for each layer
 *     attention_norm  norm
 *     wq              matrix [heads * head_dim][width]     query head h: rows h * head_dim ..
 *     wk, wv          matrix [kv_heads * head_dim][width]
 *     wo              matrix [width][heads * head_dim]
 *     mlp_norm        norm
 *     w_gate, w_up    matrix [hidden][width]
 *     w_down          matrix [width][hidden]
 *   final_norm      norm
 *
 * What the transformer computes from them: transformer.h. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum model_status {
    MODEL_OK = 0,
    MODEL_INVAL = -1,       /* an argument is outside its documented range */
    MODEL_FILE = -2,        /* the file cannot be read */
    MODEL_FORMAT = -3,      /* not a weights file of this version, cut off, or damaged */
    MODEL_NOMEM = -4,       /* the host is out of memory */
    MODEL_NOBLOCKS = -5,    /* the pool has not enough free blocks: prune, then retry */
    MODEL_NOBRANCH = -6,    /* the pool has as many branches as it may: prune, then retry */
    MODEL_STALE = -7,       /* a handle names no living branch */
    MODEL_CONTEXT = -8,     /* a branch already has as many tokens as the model's context */
    MODEL_UNSUPPORTED = -9, /* this build or machine lacks the instruction set or the BLAS */
    MODEL_ATTENTION = -10,  /* the caller's attention reported an error */
    MODEL_DEVICE = -11      /* no GPU that can run this, or CUDA refused */
} model_status;

/* One sentence for a status, never NULL. */
const char *model_status_string(model_status status);

enum { MODEL_MAX_VOCABULARY = 96, MODEL_MAX_TEXT = 500 };

typedef struct model_shape {
    uint32_t vocabulary, layers, width, heads, kv_heads, head_dim, hidden, context;
    double rope_base, norm_eps;
} model_shape;

/* Matrices are transposed, [columns][rows] of the file: the outputs of one input lie together, so that both a plain
 * loop and a BLAS read them in order. */
typedef struct model_layer {
    float *attention_norm; /* [width] */
    float *wq;             /* [width][heads * head_dim] */
    float *wk, *wv;        /* [width][kv_heads * head_dim] */
    float *wo;             /* [heads * head_dim][width] */
    float *mlp_norm;       /* [width] */
    float *w_gate, *w_up;  /* [width][hidden] */
    float *w_down;         /* [hidden][width] */
} model_layer;

typedef struct model_weights {
    model_shape shape;
    char vocabulary[MODEL_MAX_VOCABULARY + 1];
    char command[MODEL_MAX_TEXT + 1], commit[MODEL_MAX_TEXT + 1], seed[MODEL_MAX_TEXT + 1], split[MODEL_MAX_TEXT + 1];
    uint32_t crc32;
    uint64_t num_parameters;
    float *embedding;      /* [vocabulary][width] as in the file: a token's row */
    float *head;           /* [width][vocabulary] the same, transposed */
    model_layer *layer;    /* [layers] */
    float *final_norm;     /* [width] */
    float *storage;        /* all of these arrays */
} model_weights;

/* Reads a file. MODEL_FILE, MODEL_FORMAT (with the line of the header, or the byte counts), MODEL_NOMEM: one sentence
 * that begins with the path in message[message_bytes] (may be NULL); *weights is untouched, nothing is kept. Memory is
 * 5 to 6 times the file, whatever its header claims: the payload's length is compared before anything is allocated. */
model_status model_weights_load(model_weights **weights, const char *path, char *message, size_t message_bytes);

/* The same from bytes in memory; the message has no path. */
model_status model_weights_parse(model_weights **weights, const void *bytes, size_t num_bytes, char *message,
                                 size_t message_bytes);

void model_weights_destroy(model_weights *weights);

/* The token of a character; -1 if the vocabulary lacks it. */
int model_token(const model_weights *weights, char character);

/* Bytes of the payload of a shape; 0 if the shape is outside the limits above. */
uint64_t model_payload_bytes(const model_shape *shape);

/* zlib's crc32: of `bytes` behind those that gave `crc`, which is 0 at first. */
uint32_t model_crc32(uint32_t crc, const void *bytes, size_t num_bytes);

#ifdef __cplusplus
}
#endif
#endif
