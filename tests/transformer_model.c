#include "transformer_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

/* ---- files ---- */

static uint32_t crc_of(uint32_t crc, const char *bytes, size_t count)
{
    crc = ~crc;
    for (size_t i = 0; i < count; i++) {
        crc ^= (unsigned char)bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    return ~crc;
}

char *weights_file_join(const char *lines, const void *payload, size_t payload_bytes, size_t *num_bytes)
{
    size_t lines_bytes = strlen(lines);
    char *bytes = malloc(lines_bytes + payload_bytes + 32);
    check(bytes, "memory");
    uint32_t crc = crc_of(crc_of(0, lines, lines_bytes), payload, payload_bytes);
    memcpy(bytes, lines, lines_bytes);
    size_t header_bytes = lines_bytes + (size_t)sprintf(bytes + lines_bytes, "crc32 %08x\n\n", crc);
    memcpy(bytes + header_bytes, payload, payload_bytes);
    *num_bytes = header_bytes + payload_bytes;
    return bytes;
}

void weights_file_lines(const model_shape *s, uint64_t payload_bytes, char *text, size_t capacity)
{
    char vocabulary[2 * MODEL_MAX_VOCABULARY + 1] = "\\n";
    size_t used = 2;
    for (uint32_t token = 1; token < s->vocabulary; token++) {
        char c = (char)(' ' + token - 1);
        if (c == '"' || c == '\\')
            vocabulary[used++] = '\\';
        vocabulary[used++] = c;
    }
    vocabulary[used] = '\0';
    int bytes = snprintf(text, capacity,
                         "treeattn-reasoner 1\nvocabulary \"%s\"\n"
                         "layers %u\nwidth %u\nheads %u\nkv_heads %u\nhead_dim %u\n"
                         "hidden %u\nrope_base %.17g\nnorm_eps %.17g\ncontext %u\nencoding int8\ncommand none: random\n"
                         "commit 0\nseed %llu\nsplit none\nbytes %llu\n",
                         vocabulary, s->layers, s->width, s->heads, s->kv_heads, s->head_dim, s->hidden, s->rope_base,
                         s->norm_eps, s->context, (unsigned long long)test_seed(), (unsigned long long)payload_bytes);
    check(bytes > 0 && (size_t)bytes < capacity, "room for the header");
}

typedef struct writer {
    char *bytes;
    double *numbers;
    size_t num_bytes, num_numbers;
} writer;

static void write_float(writer *w, float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    for (int i = 0; i < 4; i++)
        w->bytes[w->num_bytes++] = (char)(bits >> 8 * i & 0xff);
}

static void write_norm(writer *w, uint32_t width)
{
    for (uint32_t i = 0; i < width; i++) {
        float number = (float)(0.5 + test_uniform());
        write_float(w, number);
        w->numbers[w->num_numbers++] = number;
    }
}

/* Elements of about `size`. */
static void write_matrix(writer *w, uint32_t rows, uint32_t columns, double size)
{
    float *scale = malloc(rows * sizeof *scale);
    check(scale, "memory");
    for (uint32_t row = 0; row < rows; row++) {
        scale[row] = (float)(size * (0.7 + 0.6 * test_uniform()) / 73);
        write_float(w, scale[row]);
    }
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t column = 0; column < columns; column++) {
            int number = (int)test_below(255) - 127;
            w->bytes[w->num_bytes++] = (char)number;
            w->numbers[w->num_numbers++] = scale[row] * (float)number;
        }
    free(scale);
}

weights_file weights_file_random(const model_shape *s)
{
    uint32_t q_width = s->heads * s->head_dim, kv_width = s->kv_heads * s->head_dim;
    size_t width = s->width, hidden = s->hidden;
    size_t of_layer = 8 * width + (q_width + 2 * kv_width + 2 * hidden) * (4 + width) + width * (8 + q_width + hidden);
    size_t most = s->vocabulary * (4 + width) + s->layers * of_layer + 4 * width;
    writer w = {.bytes = malloc(most), .numbers = malloc(most * sizeof(double))};
    check(w.bytes && w.numbers, "memory");
    double by_width = 1.5 / sqrt(s->width);
    write_matrix(&w, s->vocabulary, s->width, 0.3);
    for (uint32_t layer = 0; layer < s->layers; layer++) {
        write_norm(&w, s->width);
        write_matrix(&w, q_width, s->width, by_width);
        write_matrix(&w, kv_width, s->width, by_width);
        write_matrix(&w, kv_width, s->width, by_width);
        write_matrix(&w, s->width, q_width, 0.7 / sqrt(q_width));
        write_norm(&w, s->width);
        write_matrix(&w, s->hidden, s->width, by_width);
        write_matrix(&w, s->hidden, s->width, by_width);
        write_matrix(&w, s->width, s->hidden, 0.7 / sqrt(s->hidden));
    }
    write_norm(&w, s->width);
    check(w.num_bytes == most, "the payload has %zu bytes, not %zu", w.num_bytes, most);
    char lines[2000];
    weights_file_lines(s, w.num_bytes, lines, sizeof lines);
    weights_file file = {.shape = *s, .numbers = w.numbers, .num_numbers = w.num_numbers};
    file.bytes = weights_file_join(lines, w.bytes, w.num_bytes, &file.num_bytes);
    file.header_bytes = file.num_bytes - w.num_bytes;
    free(w.bytes);
    return file;
}

void weights_file_destroy(weights_file *file)
{
    free(file->bytes);
    free(file->numbers);
}

/* ---- the transformer ---- */

text_truth text_truth_create(const weights_file *file)
{
    const model_shape *s = &file->shape;
    size_t count = (size_t)(1 + NUM_NOISY) * s->layers * s->context * s->kv_heads * s->head_dim;
    text_truth truth = {.file = file, .kept = calloc(s->context, sizeof(bool)), .key = calloc(count, sizeof(double)),
                        .value = calloc(count, sizeof(double)), .logits = calloc(s->vocabulary, sizeof(double))};
    check(truth.kept && truth.key && truth.value && truth.logits, "memory");
    return truth;
}

text_truth text_truth_copy(const text_truth *truth)
{
    const model_shape *s = &truth->file->shape;
    size_t count = (size_t)(1 + NUM_NOISY) * s->layers * s->context * s->kv_heads * s->head_dim;
    text_truth copy = text_truth_create(truth->file);
    copy.length = truth->length;
    copy.limit = truth->limit;
    memcpy(copy.kept, truth->kept, s->context * sizeof(bool));
    memcpy(copy.key, truth->key, count * sizeof(double));
    memcpy(copy.value, truth->value, count * sizeof(double));
    memcpy(copy.logits, truth->logits, s->vocabulary * sizeof(double));
    return copy;
}

void text_truth_destroy(text_truth *truth)
{
    free(truth->kept);
    free(truth->key);
    free(truth->value);
    free(truth->logits);
}

static const double u = 0x1p-24;
static double noise_of(bool noisy) { return noisy ? 2 * test_uniform() - 1 : 0; }
static double stored(double x, bool noisy) { return x + 2 * u * x * noise_of(noisy); }

/* sum of a_i b_i, with steps between them */
static double dot(const double *a, const double *b, uint32_t count, bool noisy)
{
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < count; i++) {
        double product = a[i] * b[i];
        sum += product;
        squares += product * product;
    }
    return sum + sqrt(count) * u * sqrt(squares) * noise_of(noisy);
}

/* y = W x; W [rows][columns] is the next matrix of the file. */
static void multiply(double *y, const double **next, const double *x, uint32_t rows, uint32_t columns, bool noisy)
{
    for (uint32_t row = 0; row < rows; row++)
        y[row] = dot(*next + (size_t)row * columns, x, columns, noisy);
    *next += (size_t)rows * columns;
}

static void normalise(double *y, const double **next, const double *x, const model_shape *s, bool noisy)
{
    double mean = dot(x, x, s->width, noisy) / s->width;
    for (uint32_t i = 0; i < s->width; i++)
        y[i] = stored(x[i] / sqrt(mean + s->norm_eps) * (*next)[i], noisy);
    *next += s->width;
}

static void rotate(double *vectors, uint32_t num_heads, uint32_t position, const model_shape *s, bool noisy)
{
    for (uint32_t head = 0; head < num_heads; head++)
        for (uint32_t i = 0; i < s->head_dim / 2; i++) {
            double *a = &vectors[head * s->head_dim + i], *b = a + s->head_dim / 2, old = *a;
            double angle = position / pow(s->rope_base, 2.0 * i / s->head_dim);
            double cosine = stored(cos(angle), noisy), sine = stored(sin(angle), noisy);
            *a = stored(old * cosine, noisy) - stored(*b * sine, noisy);
            *b = stored(*b * cosine, noisy) + stored(old * sine, noisy);
        }
}

/* out [head_dim] of one head over the kept tokens. key, value: of its KV head, a token every `stride` numbers. */
static void attend(double *out, const double *query, const double *key, const double *value, const text_truth *truth,
                   uint32_t head_dim, size_t stride, bool noisy)
{
    uint32_t length = truth->length + 1;
    double *weight = malloc(length * sizeof *weight), total = 0, largest = -INFINITY;
    check(weight, "memory");
    for (uint32_t t = 0; t < length; t++) {
        weight[t] = truth->kept[t] ? dot(query, key + t * stride, head_dim, noisy) / sqrt(head_dim) : -INFINITY;
        largest = fmax(largest, weight[t]);
    }
    for (uint32_t t = 0; t < length; t++)
        total += weight[t] = stored(exp(weight[t] - largest), noisy);
    for (uint32_t d = 0; d < head_dim; d++) {
        double sum = 0, squares = 0;
        for (uint32_t t = 0; t < length; t++) {
            double product = weight[t] / total * value[t * stride + d];
            sum += product;
            squares += product * product;
        }
        out[d] = stored(sum + sqrt(length) * u * sqrt(squares) * noise_of(noisy), noisy);
    }
    free(weight);
}

static void run(text_truth *truth, uint32_t token, uint32_t number, double *logits)
{
    const model_shape *s = &truth->file->shape;
    const double *next = truth->file->numbers, *embedding = next;
    bool noisy = number > 0;
    uint32_t q_width = s->heads * s->head_dim, kv_width = s->kv_heads * s->head_dim, group = s->heads / s->kv_heads;
    double *x = malloc((2 * s->width + 2 * q_width + 2 * s->hidden + s->width) * sizeof *x);
    check(x, "memory");
    double *h = x + s->width, *q = h + s->width, *out = q + q_width, *gate = out + q_width, *up = gate + s->hidden;
    double *added = up + s->hidden;
    memcpy(x, embedding + (size_t)token * s->width, s->width * sizeof *x);
    next += (size_t)s->vocabulary * s->width;
    for (uint32_t layer = 0; layer < s->layers; layer++) {
        size_t first = ((size_t)number * s->layers + layer) * s->context * kv_width;
        double *key = truth->key + first, *value = truth->value + first;
        normalise(h, &next, x, s, noisy);
        multiply(q, &next, h, q_width, s->width, noisy);
        multiply(key + (size_t)truth->length * kv_width, &next, h, kv_width, s->width, noisy);
        multiply(value + (size_t)truth->length * kv_width, &next, h, kv_width, s->width, noisy);
        rotate(q, s->heads, truth->length, s, noisy);
        rotate(key + (size_t)truth->length * kv_width, s->kv_heads, truth->length, s, noisy);
        for (uint32_t head = 0; head < s->heads; head++) {
            uint32_t at = head / group * s->head_dim;
            attend(out + head * s->head_dim, q + head * s->head_dim, key + at, value + at, truth, s->head_dim, kv_width,
                   noisy);
        }
        multiply(added, &next, out, s->width, q_width, noisy);
        for (uint32_t i = 0; i < s->width; i++)
            x[i] = stored(x[i] + added[i], noisy);
        normalise(h, &next, x, s, noisy);
        multiply(gate, &next, h, s->hidden, s->width, noisy);
        multiply(up, &next, h, s->hidden, s->width, noisy);
        for (uint32_t i = 0; i < s->hidden; i++)
            gate[i] = stored(stored(gate[i] / (1 + exp(-gate[i])), noisy) * up[i], noisy);
        multiply(added, &next, gate, s->width, s->hidden, noisy);
        for (uint32_t i = 0; i < s->width; i++)
            x[i] = stored(x[i] + added[i], noisy);
    }
    normalise(h, &next, x, s, noisy);
    multiply(logits, &embedding, h, s->vocabulary, s->width, noisy);
    check(next == truth->file->numbers + truth->file->num_numbers, "the whole file is used");
    free(x);
}

void text_truth_append(text_truth *truth, uint32_t token)
{
    const model_shape *s = &truth->file->shape;
    check(truth->length < s->context && token < s->vocabulary, "room for the token");
    truth->kept[truth->length] = true;
    double *noisy = malloc(s->vocabulary * sizeof *noisy), squares = 0;
    check(noisy, "memory");
    run(truth, token, 0, truth->logits);
    for (uint32_t number = 1; number <= NUM_NOISY; number++) {
        run(truth, token, number, noisy);
        for (uint32_t i = 0; i < s->vocabulary; i++)
            squares += (noisy[i] - truth->logits[i]) * (noisy[i] - truth->logits[i]);
    }
    truth->limit = 16 * sqrt(squares / (NUM_NOISY * s->vocabulary));
    truth->length++;
    free(noisy);
}

double text_truth_worst(const text_truth *truth, const float *logits)
{
    double worst = 0;
    for (uint32_t i = 0; i < truth->file->shape.vocabulary; i++) {
        double error = fabs(logits[i] - truth->logits[i]) / truth->limit;
        worst = error >= worst ? error : error < worst ? worst : INFINITY;
    }
    return worst;
}
