/* Reading untrusted text: the code that the readers of pool dumps and traces share. Each reader has its own rules for
 * lines (a dump refuses CRLF, a trace allows it) and its own messages.
 *
 * text[0 .. end) is never read beyond its end, and need not end with a 0. */
#ifndef KV_TEXT_INTERNAL_H
#define KV_TEXT_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool kv_text_begins(const char *text, size_t end, size_t at, const char *expected)
{
    size_t count = strlen(expected);
    return end - at >= count && memcmp(text + at, expected, count) == 0;
}

/* Byte-order marks, which some editors put in front of a text. */
static inline bool kv_text_has_utf8_mark(const char *text, size_t end, size_t at)
{
    return kv_text_begins(text, end, at, "\xef\xbb\xbf");
}

static inline bool kv_text_has_utf16_mark(const char *text, size_t end, size_t at)
{
    return kv_text_begins(text, end, at, "\xff\xfe") || kv_text_begins(text, end, at, "\xfe\xff");
}

static inline bool kv_text_is_digit(const char *text, size_t end, size_t at)
{
    return at < end && text[at] >= '0' && text[at] <= '9';
}

/* Reads the decimal digits that begin at *at, and moves *at past them. False: no digit, or a number beyond 64 bits. */
static inline bool kv_text_number(const char *text, size_t end, size_t *at, uint64_t *number)
{
    size_t start = *at;
    uint64_t value = 0;
    for (; kv_text_is_digit(text, end, *at); ++*at) {
        uint64_t digit = (uint64_t)(text[*at] - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *number = value;
    return *at > start;
}

#endif
