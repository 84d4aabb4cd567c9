/* Parses command lines and prints help, both from the table of a verb. */
#include "tool_options.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const format_names[] = {"text", "csv", "json"};
enum { NUM_FORMATS = sizeof format_names / sizeof format_names[0] };

void tool_write_escaped(FILE *file, const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            fprintf(file, "\\x%02x", (unsigned char)*text);
        else
            fputc(*text, file);
    }
}

static void print_message(const char *format, va_list arguments, const char *end)
{
    char message[2048];
    vsnprintf(message, sizeof message, format, arguments);
    fflush(stdout);
    fputs("treeattn: ", stderr);
    tool_write_escaped(stderr, message);
    fputs(end, stderr);
}

void tool_bad_usage(const tool_verb *verb, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_message(format, arguments, "; see 'treeattn ");
    va_end(arguments);
    fprintf(stderr, "%s%s--help'\n", verb != NULL ? verb->name : "", verb != NULL ? " " : "");
    exit(TOOL_BAD_INPUT);
}

void tool_bad_input(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_message(format, arguments, "\n");
    va_end(arguments);
    exit(TOOL_BAD_INPUT);
}

void tool_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_message(format, arguments, "\n");
    va_end(arguments);
    exit(TOOL_FAILED);
}

void tool_warn(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_message(format, arguments, "\n");
    va_end(arguments);
}

void *tool_allocate(size_t count, size_t bytes)
{
    void *memory = calloc(count > 0 ? count : 1, bytes);
    if (memory == NULL)
        tool_fail("out of memory: %zu x %zu bytes", count, bytes);
    return memory;
}

static int option_index(const tool_verb *verb, const char *name, size_t length)
{
    for (int i = 0; verb->options[i].name != NULL; i++) {
        if (strlen(verb->options[i].name) == length && memcmp(verb->options[i].name, name, length) == 0)
            return i;
    }
    return -1;
}

static bool word_in_list(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += length) {
        if ((at == list || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return length > 0;
    }
    return false;
}

static tool_format parse_format(const tool_verb *verb, const char *text)
{
    for (int f = 0; f < NUM_FORMATS; f++) {
        if (strcmp(text, format_names[f]) == 0 && word_in_list(verb->formats, text))
            return (tool_format)f;
    }
    tool_bad_usage(verb, "--format: expected one of '%s', got '%s'", verb->formats, text);
}

static tool_format default_format(const tool_verb *verb)
{
    for (int f = 0; f < NUM_FORMATS; f++) {
        size_t length = strlen(format_names[f]);
        if (strncmp(verb->formats, format_names[f], length) == 0)
            return (tool_format)f;
    }
    return TOOL_TEXT;
}

/* The value of an option: after '=', or the next word. */
static const char *take_value(const tool_verb *verb, const char *word, int argc, char **argv, int *i)
{
    const char *equals = strchr(word, '=');
    if (equals != NULL)
        return equals + 1;
    if (*i + 1 >= argc)
        tool_bad_usage(verb, "%s: expected a value after it", word);
    return argv[++*i];
}

static void parse_option(tool_call *call, int argc, char **argv, int *i)
{
    const tool_verb *verb = call->verb;
    const char *word = argv[*i];
    size_t length = strcspn(word, "=");
    if (length == strlen("--format") && strncmp(word, "--format", length) == 0) {
        call->format = parse_format(verb, take_value(verb, word, argc, argv, i));
        return;
    }
    int option = option_index(verb, word, length);
    if (option < 0)
        tool_bad_usage(verb, "%s: unknown option '%.*s'", verb->name, (int)length, word);
    if (verb->options[option].value != NULL)
        call->values[option] = take_value(verb, word, argc, argv, i);
    else if (word[length] == '=')
        tool_bad_usage(verb, "%s: takes no value", verb->options[option].name);
    else
        call->values[option] = "";
}

tool_call tool_parse(const tool_verb *verb, int argc, char **argv)
{
    tool_call call = {.program = argv[0], .verb = verb, .format = default_format(verb)};
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            tool_print_help(verb);
            exit(TOOL_OK);
        }
        if (argv[i][0] == '-' && argv[i][1] != '\0')
            parse_option(&call, argc, argv, &i);
        else if (verb->operand == NULL)
            tool_bad_usage(verb, "%s: takes no operand, got '%s'", verb->name, argv[i]);
        else if (call.operand != NULL)
            tool_bad_usage(verb, "%s: takes one %s, got '%s' too", verb->name, verb->operand, argv[i]);
        else
            call.operand = argv[i];
    }
    if (verb->operand != NULL && call.operand == NULL)
        tool_bad_usage(verb, "%s: expected %s", verb->name, verb->operand);
    return call;
}

void tool_command(const tool_call *call, char command[TOOL_MAX_COMMAND], const char *arguments)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._+-";
    const char *program = call->program;
    if (strlen(program) > TOOL_MAX_COMMAND / 2 || strspn(program, plain) != strlen(program))
        program = "treeattn"; /* a name that a shell would not take as it is */
    snprintf(command, TOOL_MAX_COMMAND, "%s %s", program, arguments);
}

void tool_format_choices(const tool_verb *verb, char choices[TOOL_MAX_FORMATS])
{
    snprintf(choices, TOOL_MAX_FORMATS, "%s", verb->formats);
    for (char *at = choices; *at != '\0'; at++)
        if (*at == ' ')
            *at = '|';
}

enum { HELP_COLUMN = 24 };

/* The help follows a short option on its line, and a long one on the next line. */
static void print_option(const char *name, const char *value, const char *help)
{
    int length = printf("  %s%s%s", name, value != NULL ? " " : "", value != NULL ? value : "") - 2;
    bool is_long = length > HELP_COLUMN;
    printf("%s%*s %s\n", is_long ? "\n  " : "", HELP_COLUMN - (is_long ? 0 : length), "", help);
}

void tool_print_help(const tool_verb *verb)
{
    char formats[TOOL_MAX_FORMATS];
    tool_format_choices(verb, formats);
    printf("treeattn %s: %s\n\nUsage\n  treeattn %s%s%s [options]\n\nOptions\n", verb->name, verb->summary, verb->name,
           verb->operand != NULL ? " " : "", verb->operand != NULL ? verb->operand : "");
    for (const tool_option *option = verb->options; option->name != NULL; option++)
        print_option(option->name, option->value, option->help);
    print_option("--format", formats, TOOL_FORMAT_HELP);
    print_option("--help", NULL, "this text");
    printf("\nExamples\n%s\nExit status: " TOOL_STATUS_HELP "\n", verb->example);
}

static const char *value_of(const tool_call *call, const char *name)
{
    int option = option_index(call->verb, name, strlen(name));
    assert(option >= 0 && "the option stands in the verb's table");
    return call->values[option];
}

bool tool_given(const tool_call *call, const char *name)
{
    return value_of(call, name) != NULL;
}

void tool_refuse(const tool_call *call, const char *const *names, const char *why_format, ...)
{
    char why[1024];
    va_list arguments;
    va_start(arguments, why_format);
    vsnprintf(why, sizeof why, why_format, arguments);
    va_end(arguments);
    for (; *names != NULL; names++)
        if (tool_given(call, *names))
            tool_bad_usage(call->verb, "%s: %s", *names, why);
}

const char *tool_text(const tool_call *call, const char *name, const char *absent)
{
    const char *value = value_of(call, name);
    return value != NULL ? value : absent;
}

int64_t tool_integer(const tool_call *call, const char *name, int64_t absent, int64_t least, int64_t most)
{
    const char *value = value_of(call, name);
    if (value == NULL)
        return absent;
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (errno != 0 || end == value || *end != '\0' || number < least || number > most)
        tool_bad_usage(call->verb, "%s: expected a whole number from %lld to %lld, got '%s'", name, (long long)least,
                       (long long)most, value);
    return number;
}

double tool_real(const tool_call *call, const char *name, double absent, double least, double most)
{
    const char *value = value_of(call, name);
    if (value == NULL)
        return absent;
    char *end;
    double number = strtod(value, &end);
    if (end == value || *end != '\0' || !(number >= least && number <= most))
        tool_bad_usage(call->verb, "%s: expected a number from %g to %g, got '%s'", name, least, most, value);
    return number;
}

uint32_t tool_count(const tool_call *call, const char *name, uint32_t absent, uint32_t least, uint32_t most)
{
    return (uint32_t)tool_integer(call, name, absent, least, most);
}

void tool_heads(const tool_call *call, const char *name, uint32_t *num_heads, uint32_t *num_kv_heads)
{
    const char *value = value_of(call, name);
    if (value == NULL)
        return;
    unsigned heads = 0, kv_heads = 0;
    int read = 0;
    if (strlen(value) > 9 || strspn(value, "0123456789/") != strlen(value) ||
        sscanf(value, "%u/%u%n", &heads, &kv_heads, &read) != 2 || value[read] != '\0' || kv_heads == 0 ||
        heads == 0 || heads % kv_heads != 0)
        tool_bad_usage(call->verb, "%s: expected HEADS/KV_HEADS, the first a multiple of the second, as in 32/8; "
                       "got '%s'", name, value);
    *num_heads = heads;
    *num_kv_heads = kv_heads;
}
