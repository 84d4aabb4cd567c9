/* Claim: a weights file gives its numbers, transposed, and its header's words; and a file that is cut off at any byte,
 * has any bit flipped, is too long, of another version, or claims sizes that are wrong or absurd is refused with one
 * sentence and a status, before memory is taken for it. */
#define _DEFAULT_SOURCE /* mkstemp, getrusage, P_tmpdir */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "test.h"
#include "transformer_model.h"
#include "weights.h"

static const model_shape small = {.vocabulary = 5, .layers = 2, .width = 3, .heads = 4, .kv_heads = 2, .head_dim = 2,
                                  .hidden = 7, .context = 9, .rope_base = 10000, .norm_eps = 1e-5};

/* The lines with the payload of another file. */
static char *join(const char *lines, const weights_file *payload, size_t *num_bytes)
{
    return weights_file_join(lines, payload->bytes + payload->header_bytes, payload->num_bytes - payload->header_bytes,
                             num_bytes);
}

static model_status parse(const void *bytes, size_t num_bytes, char *message, size_t message_bytes)
{
    model_weights *weights = NULL;
    if (message_bytes)
        message[0] = '\0';
    model_status status = model_weights_parse(&weights, bytes, num_bytes, message, message_bytes);
    check((status == MODEL_OK) == (weights != NULL), "weights only with MODEL_OK");
    model_weights_destroy(weights);
    return status;
}

static void check_matrix(const float *transposed, const double **next, uint32_t rows, uint32_t columns)
{
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t column = 0; column < columns; column++)
            check(transposed[column * rows + row] == (float)(*next)[row * columns + column], "row %u column %u", row,
                  column);
    *next += (size_t)rows * columns;
}

static void check_norm(const float *norm, const double **next, uint32_t width)
{
    for (uint32_t i = 0; i < width; i++)
        check(norm[i] == (float)(*next)[i], "norm %u", i);
    *next += width;
}

static void run_numbers(const void *argument)
{
    (void)argument;
    weights_file file = weights_file_random(&small);
    model_weights *w;
    check(model_weights_parse(&w, file.bytes, file.num_bytes, NULL, 0) == MODEL_OK, "parse");
    check(!memcmp(&w->shape, &small, sizeof small), "the shape");
    check(!strcmp(w->vocabulary, "\n !\"#") && !strcmp(w->command, "none: random") && !strcmp(w->commit, "0") &&
              !strcmp(w->seed, "1") && !strcmp(w->split, "none"),
          "the words");
    check(w->num_parameters == file.num_numbers, "%zu parameters", file.num_numbers);
    check(model_payload_bytes(&small) == file.num_bytes - file.header_bytes, "bytes of the payload");
    check(model_token(w, '\n') == 0 && model_token(w, '#') == 4 && model_token(w, '$') == -1 && model_token(w, 0) == -1,
          "tokens");
    const double *next = file.numbers;
    uint32_t q_width = small.heads * small.head_dim, kv_width = small.kv_heads * small.head_dim;
    for (uint32_t token = 0; token < small.vocabulary; token++)
        for (uint32_t i = 0; i < small.width; i++)
            check(w->embedding[token * small.width + i] == (float)next[token * small.width + i], "embedding");
    check_matrix(w->head, &next, small.vocabulary, small.width);
    for (uint32_t i = 0; i < small.layers; i++) {
        const model_layer *layer = &w->layer[i];
        check_norm(layer->attention_norm, &next, small.width);
        check_matrix(layer->wq, &next, q_width, small.width);
        check_matrix(layer->wk, &next, kv_width, small.width);
        check_matrix(layer->wv, &next, kv_width, small.width);
        check_matrix(layer->wo, &next, small.width, q_width);
        check_norm(layer->mlp_norm, &next, small.width);
        check_matrix(layer->w_gate, &next, small.hidden, small.width);
        check_matrix(layer->w_up, &next, small.hidden, small.width);
        check_matrix(layer->w_down, &next, small.width, small.hidden);
    }
    check_norm(w->final_norm, &next, small.width);
    check(next == file.numbers + file.num_numbers, "all numbers");
    model_weights_destroy(w);
    weights_file_destroy(&file);
}

static void run_crc32(const void *argument)
{
    (void)argument;
    check(model_crc32(0, "123456789", 9) == 0xcbf43926u, "the check value of this crc");
    check(model_crc32(model_crc32(0, "1234", 4), "56789", 5) == 0xcbf43926u, "in two parts");
}

static void run_truncated(const void *argument)
{
    (void)argument;
    weights_file file = weights_file_random(&small);
    char message[200];
    for (size_t length = 0; length < file.num_bytes; length++) {
        char *cut = malloc(length ? length : 1); /* of its own: a sanitizer sees a read behind its end */
        check(cut, "memory");
        memcpy(cut, file.bytes, length);
        check(parse(cut, length, message, sizeof message) == MODEL_FORMAT, "cut off at %zu", length);
        check(strlen(message) > 20 && !strchr(message, '\n'), "cut off at %zu: one sentence: '%s'", length, message);
        check(length < file.header_bytes || !strncmp(message, "cut off: ", 9), "cut off at %zu: '%s'", length, message);
        free(cut);
    }
    weights_file_destroy(&file);
}

static void run_flipped(const void *argument)
{
    (void)argument;
    weights_file file = weights_file_random(&small);
    char message[200];
    for (size_t i = 0; i < file.num_bytes; i++)
        for (int bit = 0; bit < 8; bit += TEST_SANITIZED ? 3 : 1) {
            file.bytes[i] ^= (char)(1 << bit);
            model_status status = parse(file.bytes, file.num_bytes, message, sizeof message);
            check(status == MODEL_FORMAT, "byte %zu bit %d", i, bit);
            check(strlen(message) > 20 && !strchr(message, '\n'), "byte %zu bit %d: '%s'", i, bit, message);
            file.bytes[i] ^= (char)(1 << bit);
        }
    check(parse(file.bytes, file.num_bytes, NULL, 0) == MODEL_OK, "as it was");
    weights_file_destroy(&file);
}

/* A line of the header is replaced, with a checksum that fits; the message must begin so. */
typedef struct header_case {
    const char *name, *key, *line, *message;
} header_case;

static const header_case header_cases[] = {
    {"same", "layers ", "layers 2\n", NULL},
    {"version", "treeattn-reasoner", "treeattn-reasoner 2\n",
     "a weights file of version 2; this program reads version 1"},
    {"version_long", "treeattn-reasoner", "treeattn-reasoner 11\n", "a weights file of version 11"},
    {"magic", "treeattn-reasoner", "treeattn_reasoner 1\n", "not a weights file: it does not begin with"},
    {"order", "layers ", "width 2\n", "line 3: expected 'layers ...'"},
    {"twice", "layers ", "layers 2\nlayers 2\n", "line 4: expected 'width ...'"},
    {"missing", "layers ", "", "line 3: expected 'layers ...'"},
    {"no_value", "layers ", "layers\n", "line 3: expected 'layers ...'"},
    {"empty_value", "layers ", "layers \n", "line 3: layers has 0 characters"},
    {"carriage_return", "layers ", "layers 2\r\n", "line 3: layers has a byte 0x0d"},
    {"zero", "layers ", "layers 0\n", "line 3: layers is '0', not a number from 1 to 256"},
    {"negative", "layers ", "layers -2\n", "line 3: layers is '-2', not a number"},
    {"leading_zero", "layers ", "layers 02\n", "line 3: layers is '02', not a number"},
    {"fraction", "layers ", "layers 2.0\n", "line 3: layers is '2.0', not a number"},
    {"more_layers", "layers ", "layers 3\n", "the header says"},
    {"too_many_layers", "layers ", "layers 257\n", "line 3: layers is '257', not a number"},
    {"huge", "width ", "width 99999999999999999999999\n", "line 4: width is '99999999999999999999999', not a number"},
    {"beyond_32_bits", "width ", "width 4294967299\n", "line 4: width is '4294967299', not a number"},
    {"odd_heads", "heads ", "heads 3\n", "3 heads of 2 are no multiple of 2 KV heads"},
    {"odd_head_dim", "head_dim ", "head_dim 3\n", "4 heads of 3 are no multiple of 2 KV heads, or head_dim is odd"},
    {"rope_base_low", "rope_base ", "rope_base 1\n", "line 9: rope_base is '1', not a number between 1 and"},
    {"rope_base_hex", "rope_base ", "rope_base 0x10\n", "line 9: rope_base is '0x10', not a number"},
    {"rope_base_nan", "rope_base ", "rope_base nan\n", "line 9: rope_base is 'nan', not a number"},
    {"eps_rest", "norm_eps ", "norm_eps 1e-5e\n", "line 10: norm_eps is '1e-5e', not a number"},
    {"eps_huge", "norm_eps ", "norm_eps 1e999\n", "line 10: norm_eps is '1e999', not a number"},
    {"encoding", "encoding ", "encoding fp16\n", "line 12: encoding is 'fp16', not int8"},
    {"vocabulary_bare", "vocabulary ", "vocabulary abcde\n", "line 2: vocabulary is not"},
    {"vocabulary_open", "vocabulary ", "vocabulary \"abcde\n", "line 2: vocabulary is not"},
    {"vocabulary_rest", "vocabulary ", "vocabulary \"abcde\" \n", "line 2: vocabulary is not"},
    {"vocabulary_twice", "vocabulary ", "vocabulary \"abcda\"\n", "line 2: vocabulary is not"},
    {"vocabulary_escape", "vocabulary ", "vocabulary \"abcd\\t\"\n", "line 2: vocabulary is not"},
    {"vocabulary_end", "vocabulary ", "vocabulary \"abcd\\\n", "line 2: vocabulary is not"},
    {"vocabulary_empty", "vocabulary ", "vocabulary \"\"\n", "line 2: vocabulary is not"},
    {"vocabulary_longer", "vocabulary ", "vocabulary \"abcdef\"\n", "the header says"},
    {"bytes", "bytes ", "bytes 1\n", "the header says 1 bytes of weights; its shape has"},
    {"bytes_huge", "bytes ", "bytes 1000000000000000000000\n", "line 17: bytes is '1000000000000000000000', not"},
};

static void run_header(const void *argument)
{
    const header_case *c = argument;
    weights_file file = weights_file_random(&small);
    char lines[2000], changed[2000], message[200];
    weights_file_lines(&small, file.num_bytes - file.header_bytes, lines, sizeof lines);
    char *line = lines;
    while (strncmp(line, c->key, strlen(c->key)))
        line = strchr(line, '\n') + 1;
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(line - lines), lines, c->line, strchr(line, '\n') + 1);
    size_t num_bytes;
    char *bytes = join(changed, &file, &num_bytes);
    model_status status = parse(bytes, num_bytes, message, sizeof message);
    check(status == (c->message ? MODEL_FORMAT : MODEL_OK), "%s", message);
    check(!c->message || !strncmp(message, c->message, strlen(c->message)), "'%s', not '%s'", message, c->message);
    free(bytes);
    weights_file_destroy(&file);
}

static void run_long_text(const void *argument)
{
    (void)argument;
    weights_file file = weights_file_random(&small);
    char text[MODEL_MAX_TEXT + 2], lines[3000], message[200];
    for (size_t length = MODEL_MAX_TEXT; length <= MODEL_MAX_TEXT + 1; length++) {
        memset(text, 'x', length);
        text[length] = '\0';
        weights_file_lines(&small, file.num_bytes - file.header_bytes, lines, 2000);
        char *commit = strstr(lines, "commit "), rest[1000];
        strcpy(rest, strchr(commit, '\n'));
        sprintf(commit, "commit %s%s", text, rest);
        size_t num_bytes;
        char *bytes = join(lines, &file, &num_bytes);
        model_status status = parse(bytes, num_bytes, message, sizeof message);
        check(status == (length > MODEL_MAX_TEXT ? MODEL_FORMAT : MODEL_OK), "%zu characters: %s", length, message);
        free(bytes);
    }
    weights_file_destroy(&file);
}

static void run_payload(const void *argument)
{
    (void)argument;
    char message[200];
    static const unsigned char nan_bytes[4] = {0, 0, 0xc0, 0x7f}, infinity[4] = {0, 0, 0x80, 0xff}, lowest[1] = {0x80};
    weights_file file = weights_file_random(&small);
    size_t first = 4 * small.vocabulary, first_norm = first + small.vocabulary * small.width;
    struct { size_t at, count; const unsigned char *bytes; } cases[] = {
        {0, 4, nan_bytes}, {4, 4, infinity}, {first_norm, 4, nan_bytes}, {first, 1, lowest},
        {first_norm - 1, 1, lowest}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weights_file bad = weights_file_random(&small);
        memcpy(bad.bytes + bad.header_bytes + cases[i].at, cases[i].bytes, cases[i].count);
        char lines[2000];
        weights_file_lines(&small, file.num_bytes - file.header_bytes, lines, sizeof lines);
        size_t num_bytes;
        char *bytes = join(lines, &bad, &num_bytes);
        check(parse(bytes, num_bytes, message, sizeof message) == MODEL_FORMAT, "case %zu", i);
        check(!strcmp(message, "a weight is NaN or infinite, or a byte is -128"), "case %zu: '%s'", i, message);
        free(bytes);
        weights_file_destroy(&bad);
    }
    char *longer = malloc(file.num_bytes + 1);
    check(longer, "memory");
    memcpy(longer, file.bytes, file.num_bytes);
    longer[file.num_bytes] = 0;
    check(parse(longer, file.num_bytes + 1, message, sizeof message) == MODEL_FORMAT, "a byte too long");
    check(!strncmp(message, "too long: ", 10), "'%s'", message);
    for (size_t room = 0; room < 20; room++)
        check(parse(longer, 100, message, room) == MODEL_FORMAT && (!room || strlen(message) < room), "room %zu", room);
    free(longer);
    weights_file_destroy(&file);
}

/* ---- files ---- */

static void write_file(const char *path, const char *bytes, size_t num_bytes)
{
    FILE *out = fopen(path, "wb");
    check(out && fwrite(bytes, 1, num_bytes, out) == num_bytes && fclose(out) == 0, "write %s", path);
}

static void run_load(const void *argument)
{
    (void)argument;
    char path[] = P_tmpdir "/test_weights_XXXXXX", message[200], wanted[200];
    int descriptor = mkstemp(path);
    check(descriptor >= 0 && close(descriptor) == 0, "a temporary file");
    static const model_shape wide = {.vocabulary = 96, .layers = 1, .width = 300, .heads = 2, .kv_heads = 1,
                                     .head_dim = 4, .hidden = 200, .context = 8, .rope_base = 2, .norm_eps = 0.5};
    weights_file file = weights_file_random(&wide); /* longer than the first read */
    check(file.num_bytes > 2 << 16, "a long file");
    model_weights *w = NULL;
    write_file(path, file.bytes, file.num_bytes);
    check(model_weights_load(&w, path, message, sizeof message) == MODEL_OK, "load");
    check(w->embedding[7] == (float)file.numbers[7] && w->num_parameters == file.num_numbers, "its numbers");
    model_weights_destroy(w);

    w = NULL;
    write_file(path, file.bytes, file.num_bytes - 1);
    check(model_weights_load(&w, path, message, sizeof message) == MODEL_FORMAT && !w, "cut off");
    snprintf(wanted, sizeof wanted, "%s: cut off: ", path);
    check(!strncmp(message, wanted, strlen(wanted)), "'%s'", message);
    write_file(path, "", 0);
    check(model_weights_load(&w, path, message, sizeof message) == MODEL_FORMAT && !w, "empty");
    snprintf(wanted, sizeof wanted, "%s: not a weights file: it is empty", path);
    check(!strcmp(message, wanted), "'%s'", message);
    unlink(path);
    check(model_weights_load(&w, path, message, sizeof message) == MODEL_FILE && !w, "missing");
    snprintf(wanted, sizeof wanted, "%s: No such file or directory", path);
    check(!strcmp(message, wanted), "'%s'", message);
    check(model_weights_load(&w, P_tmpdir, message, sizeof message) == MODEL_FILE && !w, "a folder");
    check(!strcmp(message, P_tmpdir ": Is a directory"), "'%s'", message);
    check(model_weights_load(&w, "/dev/zero", message, sizeof message) == MODEL_FORMAT && !w, "an endless file");
    check(model_weights_load(&w, "/dev/null", NULL, 0) == MODEL_FORMAT && !w, "no message wanted");
    weights_file_destroy(&file);
}

/* A header within its limits that promises 2^41 bytes: refused before they are allocated. */
static void run_promise(const void *argument)
{
    (void)argument;
    char path[] = P_tmpdir "/test_weights_XXXXXX", message[200], lines[2000];
    int descriptor = mkstemp(path);
    check(descriptor >= 0 && close(descriptor) == 0, "a temporary file");
    static const model_shape most = {.vocabulary = 96, .layers = 256, .width = 16384, .heads = 256, .kv_heads = 256,
                                     .head_dim = 256, .hidden = 65536, .context = 1u << 20, .rope_base = 2,
                                     .norm_eps = 0.5};
    weights_file_lines(&most, model_payload_bytes(&most), lines, sizeof lines);
    size_t num_bytes;
    char *bytes = weights_file_join(lines, "1234", 4, &num_bytes);
    write_file(path, bytes, num_bytes);
    struct rusage before, after;
    check(getrusage(RUSAGE_SELF, &before) == 0, "rusage");
    model_weights *w = NULL;
    check(model_weights_load(&w, path, message, sizeof message) == MODEL_FORMAT, "refused");
    check(strstr(message, "cut off: 4 bytes of weights, not the 19"), "'%s'", message);
    check(getrusage(RUSAGE_SELF, &after) == 0 && after.ru_maxrss - before.ru_maxrss < 8 << 10, "no memory is taken");
    unlink(path);
    free(bytes);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "a weights file gives its numbers, and no damaged one is taken");
    test_add(run_numbers, NULL, "numbers");
    test_add(run_crc32, NULL, "crc32");
    test_add(run_truncated, NULL, "truncated_at_every_byte");
    test_add(run_flipped, NULL, "every_bit_flipped");
    for (size_t i = 0; i < sizeof header_cases / sizeof *header_cases; i++)
        test_add(run_header, &header_cases[i], "header_%s", header_cases[i].name);
    test_add(run_long_text, NULL, "long_text");
    test_add(run_payload, NULL, "payload");
    test_add(run_load, NULL, "load");
    test_add(run_promise, NULL, "promise");
    return test_end();
}
