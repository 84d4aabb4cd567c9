/* Claim: JSON holds any bytes of a name: bytes that are not UTF-8 (RFC 3629) become U+FFFD, the characters of JSON
 * itself are escaped, the rest stays as it is. */
/* The program's own code; it is in no library. */
#include "../tools/tool_output.c"

#include "test.h"

#define BAD "\\ufffd"

static const struct pair {
    const char *name, *text, *json;
} pairs[] = {
    {"plain", "a b/c.txt", "a b/c.txt"},
    {"quote_and_backslash", "a\"b\\", "a\\\"b\\\\"},
    {"control", "a\nb\x1b[0m\x1f", "a\\u000ab\\u001b[0m\\u001f"},
    {"two_bytes", "\xc2\x80\xdf\xbf", "\xc2\x80\xdf\xbf"},
    {"three_bytes", "\xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf", "\xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf"},
    {"four_bytes", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
    {"latin_1", "caf\xe9", "caf" BAD},
    {"lone_continuation", "\x80x\xbf", BAD "x" BAD},
    {"cut_character", "\xe2\x82", BAD BAD},
    {"cut_by_ascii", "\xf0\x9f\x98x", BAD BAD BAD "x"},
    {"lead_after_lead", "\xc3\xc3(", BAD BAD "("},
    {"too_long_2", "\xc0\xaf\xc1\xbf", BAD BAD BAD BAD},
    {"too_long_3", "\xe0\x9f\xbf", BAD BAD BAD},
    {"too_long_4", "\xf0\x8f\xbf\xbf", BAD BAD BAD BAD},
    {"surrogate", "\xed\xa0\x80", BAD BAD BAD},
    {"beyond_unicode", "\xf4\x90\x80\x80", BAD BAD BAD BAD},
    {"never_a_byte", "\xff\xfe\xf5\x80\x80\x80", BAD BAD BAD BAD BAD BAD},
};

static void run_pair(const void *argument)
{
    const struct pair *p = argument;
    char got[256], wanted[256];
    FILE *file = fmemopen(got, sizeof got, "w");
    check(file != NULL, "a stream");
    tool_json json = {.file = file};
    tool_json_open(&json, NULL, '{');
    tool_json_text(&json, p->text, p->text);
    tool_json_close(&json);
    check(fclose(file) == 0, "written");
    snprintf(wanted, sizeof wanted, "{\n  \"%s\": \"%s\"\n}\n", p->json, p->json);
    check(strcmp(got, wanted) == 0, "got %s, not %s", got, wanted);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "JSON holds any bytes of a name");
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) test_add(run_pair, &pairs[i], "%s", pairs[i].name);
    return test_end();
}
