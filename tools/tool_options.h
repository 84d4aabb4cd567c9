/* tool_options: one table of options for each verb. The command line is parsed by it; --help, the manual page and the
 * completion are printed from it.
 *
 * A program may print and exit: bad usage and bad input end it with one line on stderr and status 2, any other failure
 * with status 1. */
#ifndef TOOL_OPTIONS_H
#define TOOL_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "tool_output.h"

enum { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_BAD_INPUT = 2 };

typedef struct tool_option {
    const char *name;  /* "--block-tokens" */
    const char *value; /* "N", a placeholder; "gpu|cpu", the choices; NULL: the option takes none */
    const char *help;  /* one line */
} tool_option;

typedef struct tool_call tool_call;

typedef struct tool_verb {
    const char *name;
    const char *summary;        /* one line */
    const char *operand;        /* "FILE.ttr", required; NULL: the verb takes none */
    const char *formats;        /* values of --format, the default first: "text csv json" */
    const tool_option *options; /* ends with a NULL name; --format and --help belong to every verb */
    const char *example;        /* lines printed under "Example", each ends with a newline */
    int (*run)(const tool_call *call); /* returns the exit status */
} tool_verb;

#define TOOL_MAX_OPTIONS 24

/* The command line of one verb, checked: no option is unknown, none lacks its value, the operand is there. */
struct tool_call {
    const char *program; /* as it was called: "build/treeattn" */
    const tool_verb *verb;
    const char *operand;                  /* NULL if the verb takes none */
    const char *values[TOOL_MAX_OPTIONS]; /* in the order of verb->options; NULL: not given, "": a flag */
    tool_format format;
};

/* Parses argv[2 .. argc), the words after the verb's name. --help prints the help and exits. */
tool_call tool_parse(const tool_verb *verb, int argc, char **argv);

/* A command line that calls this program the way it was called: "build/treeattn step --wait". */
enum { TOOL_MAX_COMMAND = 512 };
void tool_command(const tool_call *call, char command[TOOL_MAX_COMMAND], const char *arguments);

void tool_print_help(const tool_verb *verb);

/* Printed by --help and in the manual page. */
#define TOOL_SUMMARY "attention over trees of shared KV blocks"
#define TOOL_FORMAT_HELP "format of the output (the first)"
#define TOOL_STATUS_HELP "0 done, 1 failed, 2 bad usage or bad input."

/* The formats of a verb as the value of an option: "text|csv|json". */
enum { TOOL_MAX_FORMATS = 32 };
void tool_format_choices(const tool_verb *verb, char choices[TOOL_MAX_FORMATS]);

/* Values of options; `name` must stand in the verb's table. A value outside its limits ends the program with status 2
 * and the expected range. */
bool tool_given(const tool_call *call, const char *name);
const char *tool_text(const tool_call *call, const char *name, const char *absent);
uint32_t tool_count(const tool_call *call, const char *name, uint32_t absent, uint32_t least, uint32_t most);
double tool_real(const tool_call *call, const char *name, double absent, double least, double most);
int64_t tool_integer(const tool_call *call, const char *name, int64_t absent, int64_t least, int64_t most);

/* Ends the program with "OPTION: WHY" if one of these options was given although it would have no effect. names ends
 * with NULL. */
void tool_refuse(const tool_call *call, const char *const *names, const char *why_format, ...)
    __attribute__((format(printf, 3, 4)));

/* "32/8": two counts with a slash between them. */
void tool_heads(const tool_call *call, const char *name, uint32_t *num_heads, uint32_t *num_kv_heads);

void tool_bad_usage(const tool_verb *verb, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn)); /* names --help; status 2; verb may be NULL */
void tool_bad_input(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn)); /* status 2 */
void tool_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));      /* status 1 */

/* Prints the same line, and the program continues. */
void tool_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Names and values come from the user: a control byte is shown as a code, \x1b, so that a message stays one line. */
void tool_write_escaped(FILE *file, const char *text);

/* calloc that ends the program with status 1. */
void *tool_allocate(size_t count, size_t bytes);

extern const tool_verb tool_demo, tool_think, tool_replay, tool_plan, tool_evict, tool_step, tool_attend, tool_bench,
    tool_tune, tool_doctor;

#endif
