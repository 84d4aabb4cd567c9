#include "weights.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *model_status_string(model_status status)
{
    switch (status) {
    case MODEL_OK: return "ok";
    case MODEL_INVAL: return "an argument is outside its range";
    case MODEL_FILE: return "the weights file cannot be read";
    case MODEL_FORMAT: return "not a weights file of this version, cut off, or damaged";
    case MODEL_NOMEM: return "the host is out of memory";
    case MODEL_NOBLOCKS: return "the pool has not enough free blocks";
    case MODEL_NOBRANCH: return "the pool has as many branches as it may";
    case MODEL_STALE: return "a handle names no living branch";
    case MODEL_CONTEXT: return "a branch has as many tokens as the model's context";
    case MODEL_UNSUPPORTED: return "this build or machine lacks the instruction set or the BLAS";
    case MODEL_ATTENTION: return "the caller's attention reported an error";
    case MODEL_DEVICE: return "no GPU that can run this, or CUDA reported an error";
    }
    return "unknown status";
}

uint32_t model_crc32(uint32_t crc, const void *bytes, size_t num_bytes)
{
    uint32_t table[256]; /* the remainder of each byte by zlib's polynomial */
    for (uint32_t byte = 0; byte < 256; byte++) {
        table[byte] = byte;
        for (int bit = 0; bit < 8; bit++)
            table[byte] = table[byte] >> 1 ^ (table[byte] & 1 ? 0xedb88320u : 0);
    }
    const unsigned char *at = bytes;
    crc = ~crc;
    for (size_t i = 0; i < num_bytes; i++)
        crc = crc >> 8 ^ table[(crc ^ at[i]) & 0xff];
    return ~crc;
}

/* ---- the header ---- */

typedef struct reader {
    const char *name; /* of the file, for messages; NULL: none */
    char *message;
    size_t message_bytes;
    const char *at, *end;
    uint32_t line;
    char value[MODEL_MAX_TEXT + 1]; /* of the line read last */
} reader;

typedef struct header {
    model_weights weights; /* without arrays */
    uint64_t payload_bytes;
    size_t num_bytes;      /* of the header with the empty line */
    uint32_t crc32;        /* of the lines before the one that names it */
} header;

__attribute__((format(printf, 3, 4)))
static model_status fail(const reader *r, model_status status, const char *format, ...)
{
    int used = r->name && r->message ? snprintf(r->message, r->message_bytes, "%s: ", r->name) : 0;
    if (r->message && (size_t)used < r->message_bytes) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(r->message + used, r->message_bytes - (size_t)used, format, arguments);
        va_end(arguments);
    }
    return status;
}

static bool is_text(char c) { return c >= ' ' && c <= '~'; }

/* The next line must be `key value`; the value goes to r->value. */
static model_status read_line(reader *r, const char *key)
{
    size_t left = (size_t)(r->end - r->at), key_bytes = strlen(key);
    const char *end = left ? memchr(r->at, '\n', left) : NULL;
    r->line++;
    if (end ? (size_t)(end - r->at) <= key_bytes || memcmp(r->at, key, key_bytes) || r->at[key_bytes] != ' '
            : memcmp(r->at, key, left < key_bytes ? left : key_bytes) != 0)
        return fail(r, MODEL_FORMAT, "line %u: expected '%s ...'", r->line, key);
    if (!end)
        return fail(r, MODEL_FORMAT, "line %u: the file ends inside its header, at '%s ...'", r->line, key);
    const char *value = r->at + key_bytes + 1;
    size_t value_bytes = (size_t)(end - value);
    if (!value_bytes || value_bytes > MODEL_MAX_TEXT)
        return fail(r, MODEL_FORMAT, "line %u: %s has %zu characters, not 1 to %d", r->line, key, value_bytes,
                    MODEL_MAX_TEXT);
    for (size_t i = 0; i < value_bytes; i++)
        if (!is_text(value[i]))
            return fail(r, MODEL_FORMAT, "line %u: %s has a byte 0x%02x", r->line, key, (unsigned char)value[i]);
    memcpy(r->value, value, value_bytes);
    r->value[value_bytes] = '\0';
    r->at = end + 1;
    return MODEL_OK;
}

static model_status read_text(reader *r, const char *key, char *text)
{
    model_status status = read_line(r, key);
    if (status == MODEL_OK)
        strcpy(text, r->value);
    return status;
}

static model_status read_count(reader *r, const char *key, uint64_t limit, uint64_t *count)
{
    model_status status = read_line(r, key);
    if (status != MODEL_OK)
        return status;
    size_t digits = strspn(r->value, "0123456789");
    uint64_t number = digits && digits <= 18 ? strtoull(r->value, NULL, 10) : 0;
    if (r->value[digits] || digits > 18 || r->value[0] == '0' || number < 1 || number > limit)
        return fail(r, MODEL_FORMAT, "line %u: %s is '%.40s', not a number from 1 to %llu", r->line, key, r->value,
                    (unsigned long long)limit);
    *count = number;
    return MODEL_OK;
}

static model_status read_size(reader *r, const char *key, uint32_t limit, uint32_t *size)
{
    uint64_t count = 0;
    model_status status = read_count(r, key, limit, &count);
    if (status == MODEL_OK)
        *size = (uint32_t)count;
    return status;
}

static model_status read_real(reader *r, const char *key, double low, double high, double *real)
{
    model_status status = read_line(r, key);
    if (status != MODEL_OK)
        return status;
    char *end = r->value;
    double number = strspn(r->value, "0123456789.e+-") == strlen(r->value) ? strtod(r->value, &end) : 0;
    if (end == r->value || *end || !(number > low && number < high))
        return fail(r, MODEL_FORMAT, "line %u: %s is '%.40s', not a number between %g and %g", r->line, key, r->value,
                    low, high);
    *real = number;
    return MODEL_OK;
}

/* "..." with \n, \" and \\. */
static model_status read_vocabulary(reader *r, model_weights *w)
{
    model_status status = read_line(r, "vocabulary");
    if (status != MODEL_OK)
        return status;
    const char *at = r->value;
    bool good = *at++ == '"';
    while (good && *at && *at != '"') {
        char c = *at++;
        if (c == '\\') {
            c = *at == 'n' ? '\n' : *at == '"' || *at == '\\' ? *at : '\0';
            at++;
        }
        good = c && !strchr(w->vocabulary, c); /* at most 96 different ones */
        if (good)
            w->vocabulary[w->shape.vocabulary++] = c;
    }
    if (!good || strcmp(at, "\"") || !w->shape.vocabulary)
        return fail(r, MODEL_FORMAT, "line %u: vocabulary is not \"...\" of distinct characters", r->line);
    return MODEL_OK;
}

static model_status read_crc32(reader *r, uint32_t *crc32)
{
    model_status status = read_line(r, "crc32");
    if (status != MODEL_OK)
        return status;
    if (strlen(r->value) != 8 || strspn(r->value, "0123456789abcdef") != 8)
        return fail(r, MODEL_FORMAT, "line %u: crc32 is not eight digits of 0 to 9 and a to f", r->line);
    *crc32 = (uint32_t)strtoul(r->value, NULL, 16);
    return MODEL_OK;
}

static model_status read_magic(reader *r)
{
    static const char magic[] = "treeattn-reasoner ";
    size_t left = (size_t)(r->end - r->at);
    if (!left)
        return fail(r, MODEL_FORMAT, "not a weights file: it is empty");
    if (memcmp(r->at, magic, left < sizeof magic - 1 ? left : sizeof magic - 1))
        return fail(r, MODEL_FORMAT, "not a weights file: it does not begin with '%s1'", magic);
    model_status status = read_line(r, "treeattn-reasoner");
    if (status == MODEL_OK && strcmp(r->value, "1"))
        return fail(r, MODEL_FORMAT, "a weights file of version %.40s; this program reads version 1", r->value);
    return status;
}

static model_status read_header(reader *r, header *h)
{
    const char *begin = r->at, *before_crc32 = NULL;
    model_weights *w = &h->weights;
    model_shape *s = &w->shape;
    model_status status;
    if ((status = read_magic(r)) || (status = read_vocabulary(r, w)) ||
        (status = read_size(r, "layers", 256, &s->layers)) || (status = read_size(r, "width", 16384, &s->width)) ||
        (status = read_size(r, "heads", 256, &s->heads)) || (status = read_size(r, "kv_heads", 256, &s->kv_heads)) ||
        (status = read_size(r, "head_dim", 256, &s->head_dim)) ||
        (status = read_size(r, "hidden", 65536, &s->hidden)) ||
        (status = read_real(r, "rope_base", 1, 1e12, &s->rope_base)) ||
        (status = read_real(r, "norm_eps", 0, 1, &s->norm_eps)) ||
        (status = read_size(r, "context", 1u << 20, &s->context)) || (status = read_line(r, "encoding")))
        return status;
    if (strcmp(r->value, "int8"))
        return fail(r, MODEL_FORMAT, "line %u: encoding is '%.40s', not int8", r->line, r->value);
    if ((status = read_text(r, "command", w->command)) || (status = read_text(r, "commit", w->commit)) ||
        (status = read_text(r, "seed", w->seed)) || (status = read_text(r, "split", w->split)) ||
        (status = read_count(r, "bytes", UINT64_MAX / 2, &h->payload_bytes)))
        return status;
    before_crc32 = r->at;
    if ((status = read_crc32(r, &w->crc32)))
        return status;
    if (r->at == r->end || *r->at != '\n')
        return fail(r, MODEL_FORMAT, "line %u: expected an empty line behind the header", r->line + 1);
    if (!model_payload_bytes(s))
        return fail(r, MODEL_FORMAT, "%u heads of %u are no multiple of %u KV heads, or head_dim is odd", s->heads,
                    s->head_dim, s->kv_heads);
    if (h->payload_bytes != model_payload_bytes(s))
        return fail(r, MODEL_FORMAT, "the header says %llu bytes of weights; its shape has %llu",
                    (unsigned long long)h->payload_bytes, (unsigned long long)model_payload_bytes(s));
    h->num_bytes = (size_t)(r->at + 1 - begin);
    h->crc32 = model_crc32(0, begin, (size_t)(before_crc32 - begin));
    return MODEL_OK;
}

/* ---- the payload ---- */

/* Counts, or, with bytes, also converts: the order of the file is written once. */
typedef struct payload {
    const unsigned char *bytes; /* NULL: count alone */
    float *to;
    uint64_t num_bytes, num_floats;
    bool good;                  /* all numbers are finite, and no byte is -128 */
} payload;

static float read_float(const unsigned char *at)
{
    uint32_t bits = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static float *read_norm(payload *p, uint64_t width)
{
    uint64_t first_byte = p->num_bytes, first_float = p->num_floats;
    p->num_bytes += 4 * width;
    p->num_floats += width;
    if (!p->bytes)
        return NULL;
    float *to = p->to + first_float;
    for (uint64_t i = 0; i < width; i++) {
        to[i] = read_float(p->bytes + first_byte + 4 * i);
        p->good &= isfinite(to[i]) != 0;
    }
    return to;
}

/* to [columns][rows]: transposed. */
static float *read_matrix(payload *p, uint64_t rows, uint64_t columns)
{
    uint64_t first_byte = p->num_bytes, first_float = p->num_floats;
    p->num_bytes += 4 * rows + rows * columns;
    p->num_floats += rows * columns;
    if (!p->bytes)
        return NULL;
    float *to = p->to + first_float;
    const unsigned char *scales = p->bytes + first_byte, *numbers = scales + 4 * rows;
    for (uint64_t row = 0; row < rows; row++) {
        float scale = read_float(scales + 4 * row);
        p->good &= isfinite(scale) != 0;
        for (uint64_t column = 0; column < columns; column++) {
            int number = numbers[row * columns + column];
            p->good &= number != 128;
            to[column * rows + row] = scale * (float)(number - (number > 127 ? 256 : 0));
        }
    }
    return to;
}

static void read_payload(payload *p, const model_shape *s, model_weights *w)
{
    uint64_t q_rows = (uint64_t)s->heads * s->head_dim, kv_rows = (uint64_t)s->kv_heads * s->head_dim;
    float *head = read_matrix(p, s->vocabulary, s->width), *final_norm;
    for (uint32_t i = 0; i < s->layers; i++) {
        model_layer layer;
        layer.attention_norm = read_norm(p, s->width);
        layer.wq = read_matrix(p, q_rows, s->width);
        layer.wk = read_matrix(p, kv_rows, s->width);
        layer.wv = read_matrix(p, kv_rows, s->width);
        layer.wo = read_matrix(p, s->width, q_rows);
        layer.mlp_norm = read_norm(p, s->width);
        layer.w_gate = read_matrix(p, s->hidden, s->width);
        layer.w_up = read_matrix(p, s->hidden, s->width);
        layer.w_down = read_matrix(p, s->width, s->hidden);
        if (w)
            w->layer[i] = layer;
    }
    final_norm = read_norm(p, s->width);
    if (w)
        w->head = head, w->final_norm = final_norm;
}

uint64_t model_payload_bytes(const model_shape *s)
{
    if (s->vocabulary < 1 || s->vocabulary > MODEL_MAX_VOCABULARY || s->layers < 1 || s->layers > 256 ||
        s->width < 1 || s->width > 16384 || s->heads < 1 || s->heads > 256 || s->kv_heads < 1 ||
        s->heads % s->kv_heads || s->head_dim < 2 || s->head_dim > 256 || s->head_dim % 2 || s->hidden < 1 ||
        s->hidden > 65536 || s->context < 1 || s->context > 1u << 20)
        return 0;
    payload count = {0};
    read_payload(&count, s, NULL);
    return count.num_bytes;
}

static model_status convert(const reader *r, const header *h, model_weights **weights)
{
    const model_shape *s = &h->weights.shape;
    payload p = {0};
    read_payload(&p, s, NULL);
    uint64_t num_embedding = (uint64_t)s->vocabulary * s->width;
    model_weights *w = malloc(sizeof *w);
    if (w) {
        *w = h->weights;
        w->num_parameters = p.num_floats;
        w->layer = calloc(s->layers, sizeof *w->layer);
        w->storage = calloc(p.num_floats + num_embedding, sizeof *w->storage);
    }
    if (!w || !w->layer || !w->storage) {
        model_weights_destroy(w);
        return fail(r, MODEL_NOMEM, "out of memory for %llu weights", (unsigned long long)p.num_floats);
    }
    p = (payload){.bytes = (const unsigned char *)r->at + 1, .to = w->storage, .good = true};
    read_payload(&p, s, w);
    if (!p.good) {
        model_weights_destroy(w);
        return fail(r, MODEL_FORMAT, "a weight is NaN or infinite, or a byte is -128");
    }
    w->embedding = w->storage + p.num_floats;
    for (uint32_t token = 0; token < s->vocabulary; token++)
        for (uint32_t i = 0; i < s->width; i++)
            w->embedding[(uint64_t)token * s->width + i] = w->head[(uint64_t)i * s->vocabulary + token];
    *weights = w;
    return MODEL_OK;
}

static model_status parse(model_weights **weights, reader *r)
{
    header h = {.num_bytes = 0};
    size_t num_bytes = (size_t)(r->end - r->at);
    model_status status = read_header(r, &h);
    if (status != MODEL_OK)
        return status;
    if (num_bytes - h.num_bytes < h.payload_bytes)
        return fail(r, MODEL_FORMAT, "cut off: %llu bytes of weights, not the %llu that the header says",
                    (unsigned long long)(num_bytes - h.num_bytes), (unsigned long long)h.payload_bytes);
    if (num_bytes - h.num_bytes > h.payload_bytes)
        return fail(r, MODEL_FORMAT, "too long: it goes on behind the %llu bytes of weights",
                    (unsigned long long)h.payload_bytes);
    uint32_t crc32 = model_crc32(h.crc32, r->at + 1, (size_t)h.payload_bytes);
    if (crc32 != h.weights.crc32)
        return fail(r, MODEL_FORMAT, "damaged: its crc32 is %08x, not %08x", crc32, h.weights.crc32);
    return convert(r, &h, weights);
}

model_status model_weights_parse(model_weights **weights, const void *bytes, size_t num_bytes, char *message,
                                 size_t message_bytes)
{
    reader r = {.message = message, .message_bytes = message_bytes, .at = bytes};
    r.end = r.at + num_bytes;
    return parse(weights, &r);
}

/* ---- the file ---- */

/* Reads until *bytes has `limit` bytes or the file ends; the buffer doubles as the bytes arrive. */
static model_status read_bytes(const reader *r, FILE *file, char **bytes, size_t *num_bytes, uint64_t limit)
{
    while (*num_bytes < limit) {
        size_t room = *num_bytes < 1u << 15 ? 1u << 16 : 2 * *num_bytes;
        room = room < limit ? room : (size_t)limit;
        char *larger = realloc(*bytes, room);
        if (!larger)
            return fail(r, MODEL_NOMEM, "out of memory for %zu bytes", room);
        *bytes = larger;
        errno = 0;
        size_t added = fread(*bytes + *num_bytes, 1, room - *num_bytes, file);
        *num_bytes += added;
        if (ferror(file))
            return fail(r, MODEL_FILE, "%s", strerror(errno ? errno : EIO));
        if (*num_bytes < room)
            return MODEL_OK;
    }
    return MODEL_OK;
}

model_status model_weights_load(model_weights **weights, const char *path, char *message, size_t message_bytes)
{
    reader r = {.name = path, .message = message, .message_bytes = message_bytes};
    FILE *file = fopen(path, "rb");
    if (!file)
        return fail(&r, MODEL_FILE, "%s", strerror(errno));
    char *bytes = NULL;
    size_t num_bytes = 0;
    model_status status = read_bytes(&r, file, &bytes, &num_bytes, 1u << 16); /* the header is shorter */
    header h = {.num_bytes = 0};
    if (status == MODEL_OK) {
        reader first = r;
        first.at = bytes, first.end = bytes + num_bytes;
        status = read_header(&first, &h);
    }
    if (status == MODEL_OK) /* one byte more, to see a file that is too long */
        status = read_bytes(&r, file, &bytes, &num_bytes, h.num_bytes + h.payload_bytes + 1);
    fclose(file);
    if (status == MODEL_OK) {
        r.at = bytes, r.end = bytes + num_bytes;
        status = parse(weights, &r);
    }
    free(bytes);
    return status;
}

void model_weights_destroy(model_weights *weights)
{
    if (weights) {
        free(weights->layer);
        free(weights->storage);
        free(weights);
    }
}

int model_token(const model_weights *weights, char character)
{
    const char *at = character ? strchr(weights->vocabulary, character) : NULL;
    return at ? (int)(at - weights->vocabulary) : -1;
}
