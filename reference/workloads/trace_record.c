/* A trace is read record by record: a cursor walks the lines and the fields of each. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "kv_text_internal.h"
#include "trace_internal.h"

enum { MAX_LINE = 160 };

/* --- errors ------------------------------------------------------------------------------------------------------- */

bool trace_fail_at(trace_reader *r, uint32_t line, size_t column, const char *format, ...)
{
    r->status = KV_FORMAT;
    if (r->error) {
        va_list arguments;
        va_start(arguments, format);
        r->error->file = r->file;
        r->error->line = line;
        r->error->column = (uint32_t)column;
        vsnprintf(r->error->message, sizeof r->error->message, format, arguments);
        va_end(arguments);
    }
    return false;
}

/* The word at byte `at` as a message may show it: short, and printable whatever the file holds. */
typedef struct shown_word {
    char text[28];
} shown_word;

static shown_word show_word(const trace_reader *r, size_t at)
{
    shown_word shown;
    size_t n = 0;
    if (kv_text_has_utf8_mark(r->text, r->length, at))
        return (shown_word){"a byte-order mark"};
    while (at < r->end && r->text[at] != ' ' && n < sizeof shown.text - 1) {
        unsigned char byte = (unsigned char)r->text[at++];
        shown.text[n++] = byte > 0x20 && byte < 0x7f ? (char)byte : '?';
    }
    shown.text[n] = 0;
    if (n == 0)
        strcpy(shown.text, at < r->end ? "a blank" : "the end of the line");
    return shown;
}

bool trace_fail_word(trace_reader *r, size_t at, const char *expected)
{
    shown_word shown = show_word(r, at);
    return trace_fail_at(r, r->line, at - r->begin + 1, "expected %s, found %s", expected, shown.text);
}

/* --- lines and fields --------------------------------------------------------------------------------------------- */

static bool step_line(trace_reader *r)
{
    if (r->next >= r->length)
        return false;
    const char *newline = memchr(r->text + r->next, '\n', r->length - r->next);
    r->begin = r->at = r->next;
    r->end = newline ? (size_t)(newline - r->text) : r->length;
    r->next = r->end + 1;
    r->line++;
    if (newline && r->end > r->begin && r->text[r->end - 1] == '\r') /* CRLF */
        r->end--;
    const char *stray = memchr(r->text + r->begin, '\r', r->end - r->begin);
    if (stray)
        return trace_fail_at(r, r->line, (size_t)(stray - r->text) - r->begin + 1,
                       "expected a newline after the carriage return");
    if (r->end - r->begin > MAX_LINE)
        return trace_fail_at(r, r->line, MAX_LINE + 1, "expected at most %d bytes in a line", MAX_LINE);
    if (!newline)
        return trace_fail_at(r, r->line, r->end - r->begin + 1,
                             "expected a newline at the end of the file: it was cut");
    return true;
}

bool trace_next_record(trace_reader *r)
{
    while (step_line(r))
        if (r->begin < r->end && r->text[r->begin] != '#')
            return true;
    return false;
}

bool trace_need_record(trace_reader *r, const char *expected)
{
    if (trace_next_record(r))
        return true;
    if (r->status == KV_OK)
        trace_fail_at(r, r->line + 1, 1, "expected %s, found the end of the file", expected);
    return false;
}

/* Length of the word at r->at. */
static size_t word_length(const trace_reader *r)
{
    size_t end = r->at;
    while (end < r->end && r->text[end] != ' ')
        end++;
    return end - r->at;
}

bool trace_is_word(const trace_reader *r, const char *word)
{
    return word_length(r) == strlen(word) && memcmp(r->text + r->at, word, strlen(word)) == 0;
}

bool trace_expect_word(trace_reader *r, const char *word)
{
    if (!trace_is_word(r, word))
        return trace_fail_word(r, r->at, word);
    r->at += strlen(word);
    return true;
}

bool trace_next_field(trace_reader *r, const char *expected)
{
    if (r->at >= r->end || r->text[r->at] != ' ')
        return trace_fail_word(r, r->at, expected);
    r->at++;
    if (word_length(r) == 0)
        return trace_fail_word(r, r->at, expected);
    return true;
}

bool trace_end_of_record(trace_reader *r)
{
    return r->at == r->end || trace_fail_word(r, r->at, "the end of the line");
}

bool trace_name_field(trace_reader *r, char *name, size_t name_bytes)
{
    if (!trace_next_field(r, "a name"))
        return false;
    size_t length = word_length(r);
    if (length >= name_bytes)
        return trace_fail_at(r, r->line, r->at - r->begin + 1, "expected a name of less than %zu bytes", name_bytes);
    memcpy(name, r->text + r->at, length);
    name[length] = 0;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] <= 0x20 || (unsigned char)name[i] >= 0x7f)
            return trace_fail_word(r, r->at + i, "a name of printable characters");
    r->at += length;
    return true;
}

bool trace_number_field(trace_reader *r, const char *what, int64_t minimum, int64_t maximum, int64_t *value)
{
    char expected[80];
    snprintf(expected, sizeof expected, "%s from %lld to %lld", what, (long long)minimum, (long long)maximum);
    if (!trace_next_field(r, expected))
        return false;
    size_t at = r->at, end = r->at + word_length(r);
    bool negative = r->text[at] == '-' && minimum < 0;
    uint64_t limit = negative ? (uint64_t)-minimum : maximum > 0 ? (uint64_t)maximum : 0, magnitude = 0;
    if (negative)
        at++;
    if (!kv_text_number(r->text, r->end, &at, &magnitude) || at < end || magnitude > limit)
        return trace_fail_word(r, r->at, expected);
    *value = negative ? -(int64_t)magnitude : (int64_t)magnitude;
    if (*value < minimum || *value > maximum)
        return trace_fail_word(r, r->at, expected);
    r->at = end;
    return true;
}

bool trace_count_field(trace_reader *r, const char *what, uint32_t minimum, uint32_t maximum, uint32_t *value)
{
    int64_t wide;
    if (!trace_number_field(r, what, minimum, maximum, &wide))
        return false;
    *value = (uint32_t)wide;
    return true;
}

bool trace_exact_field(trace_reader *r, const char *what, uint64_t computed)
{
    int64_t value;
    if (!trace_number_field(r, what, 0, INT64_C(1) << 58, &value))
        return false;
    size_t column = r->at - r->begin;
    while (column > 0 && r->text[r->begin + column - 1] != ' ')
        column--;
    if ((uint64_t)value != computed)
        return trace_fail_at(r, r->line, column + 1, "expected %s %llu, as counted, found %llu", what,
                       (unsigned long long)computed, (unsigned long long)value);
    return true;
}

bool trace_grow(trace_reader *r, void *array, uint32_t count, uint32_t *capacity, size_t element_bytes)
{
    if (count < *capacity)
        return true;
    uint32_t wanted = *capacity + *capacity / 2 + 4;
    void *grown, *old;
    memcpy(&old, array, sizeof old);
    grown = realloc(old, wanted * element_bytes);
    if (!grown) {
        r->status = KV_NOMEM;
        return false;
    }
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return true;
}
