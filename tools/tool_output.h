/* tool_output: how the program writes: tables as text, csv or JSON; nested JSON; progress; colour.
 *
 * Numbers print the same everywhere (no locale). A value that is not known is empty in csv, null in JSON, - in text. */
#ifndef TOOL_OUTPUT_H
#define TOOL_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum tool_format { TOOL_TEXT, TOOL_CSV, TOOL_JSON } tool_format;

/* A table is collected row by row, then written at once. Every row puts the same columns in the same order; column
 * names are not copied. */
typedef struct tool_table tool_table;

tool_table *tool_table_create(void);
void tool_row(tool_table *table);
void tool_put_count(tool_table *table, const char *column, uint64_t value);
void tool_put_integer(tool_table *table, const char *column, int64_t value);
void tool_put_text(tool_table *table, const char *column, const char *value); /* copied; NULL: nothing */
/* Significant digits, or digits after the point. NaN and infinity: nothing. */
void tool_put_real(tool_table *table, const char *column, double value, int digits);
void tool_put_decimal(tool_table *table, const char *column, double value, int decimals);
void tool_put_nothing(tool_table *table, const char *column);

/* text: columns aligned, or one line per column if the table has a single row; csv: header and rows; JSON: an array of
 * objects, or the object alone if the table has a single row and `single` is set. Frees the table. */
void tool_table_write(tool_table *table, FILE *file, tool_format format, bool single);

/* JSON, indented. A key is NULL inside an array and for the outermost value. Text may be any bytes, as file names are:
 * a byte that is not UTF-8 becomes U+FFFD. */
#define TOOL_JSON_DEPTH 16
typedef struct tool_json {
    FILE *file;
    int depth;
    char closing[TOOL_JSON_DEPTH];
    bool first[TOOL_JSON_DEPTH];
} tool_json;

void tool_json_open(tool_json *json, const char *key, char bracket); /* '{' or '[' */
void tool_json_close(tool_json *json);                               /* the innermost; a newline after the outermost */
void tool_json_count(tool_json *json, const char *key, uint64_t value);
void tool_json_integer(tool_json *json, const char *key, int64_t value);
void tool_json_real(tool_json *json, const char *key, double value, int digits);
void tool_json_text(tool_json *json, const char *key, const char *value); /* NULL: null */
void tool_json_bool(tool_json *json, const char *key, bool value);

/* Whether `file` gets colour, and why: NO_COLOR beats CLICOLOR_FORCE beats CLICOLOR=0, TERM=dumb and not a terminal. */
bool tool_colour(FILE *file);
const char *tool_colour_reason(FILE *file);

/* "\033[1m" and the like, or "" where `file` gets no colour. */
typedef struct tool_palette {
    const char *bold, *dim, *good, *plain;
} tool_palette;
tool_palette tool_palette_for(FILE *file);

/* One line on stderr, rewritten at most ten times per second, and only on a terminal that can. */
typedef struct tool_progress {
    const char *label;
    bool enabled;
    double shown_at_s;
} tool_progress;
tool_progress tool_progress_begin(const char *label);
void tool_progress_show(tool_progress *progress, uint64_t done, uint64_t total);
void tool_progress_end(tool_progress *progress);

#endif
