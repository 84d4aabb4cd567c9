/* Tables, JSON, progress and colour for a program that people and other programs read. */
#define _POSIX_C_SOURCE 200809L
#include "tool_output.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef enum cell_kind { CELL_NOTHING, CELL_NUMBER, CELL_TEXT } cell_kind;

typedef struct cell {
    cell_kind kind;
    char *text;
} cell;

struct tool_table {
    const char **columns;
    size_t num_columns, columns_capacity;
    cell *cells; /* [num_rows][num_columns] */
    size_t num_cells, cells_capacity;
    size_t num_rows;
};

static void *grown(void *memory, size_t *capacity, size_t wanted, size_t bytes)
{
    if (wanted <= *capacity)
        return memory;
    size_t larger = *capacity * 2 > wanted ? *capacity * 2 : wanted + 15;
    void *moved = realloc(memory, larger * bytes);
    if (moved == NULL) {
        fputs("treeattn: out of memory\n", stderr);
        exit(1);
    }
    *capacity = larger;
    return moved;
}

tool_table *tool_table_create(void)
{
    size_t none = 0;
    tool_table *table = grown(NULL, &none, 1, sizeof *table);
    memset(table, 0, sizeof *table);
    return table;
}

void tool_row(tool_table *table)
{
    assert(table->num_cells == table->num_rows * table->num_columns && "every row has all columns");
    table->num_rows++;
}

static void put(tool_table *table, const char *column, cell_kind kind, const char *text)
{
    assert(table->num_rows > 0 && "tool_row comes first");
    size_t index = table->num_cells - (table->num_rows - 1) * table->num_columns;
    if (table->num_rows == 1) {
        index = table->num_columns++;
        table->columns = grown(table->columns, &table->columns_capacity, index + 1, sizeof *table->columns);
        table->columns[index] = column;
    }
    assert(index < table->num_columns && strcmp(table->columns[index], column) == 0 && "same columns in every row");
    size_t bytes = strlen(text) + 1, none = 0;
    char *copy = grown(NULL, &none, bytes, 1);
    memcpy(copy, text, bytes);
    table->cells = grown(table->cells, &table->cells_capacity, table->num_cells + 1, sizeof *table->cells);
    table->cells[table->num_cells++] = (cell){kind, copy};
}

void tool_put_count(tool_table *table, const char *column, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, value);
    put(table, column, CELL_NUMBER, text);
}

void tool_put_integer(tool_table *table, const char *column, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    put(table, column, CELL_NUMBER, text);
}

void tool_put_real(tool_table *table, const char *column, double value, int digits)
{
    char text[48];
    snprintf(text, sizeof text, "%.*g", digits, value);
    put(table, column, isfinite(value) ? CELL_NUMBER : CELL_NOTHING, isfinite(value) ? text : "");
}

void tool_put_decimal(tool_table *table, const char *column, double value, int decimals)
{
    char text[352];
    snprintf(text, sizeof text, "%.*f", decimals, value);
    put(table, column, isfinite(value) ? CELL_NUMBER : CELL_NOTHING, isfinite(value) ? text : "");
}

void tool_put_text(tool_table *table, const char *column, const char *value)
{
    put(table, column, value != NULL ? CELL_TEXT : CELL_NOTHING, value != NULL ? value : "");
}

void tool_put_nothing(tool_table *table, const char *column)
{
    put(table, column, CELL_NOTHING, "");
}

static const cell *cell_at(const tool_table *table, size_t row, size_t column)
{
    return &table->cells[row * table->num_columns + column];
}

static const char *shown(const cell *c)
{
    return c->kind == CELL_NOTHING ? "-" : c->text;
}

static void write_list(const tool_table *table, FILE *file)
{
    int width = 0;
    for (size_t column = 0; column < table->num_columns; column++) {
        int length = (int)strlen(table->columns[column]);
        width = length > width ? length : width;
    }
    for (size_t column = 0; column < table->num_columns; column++)
        fprintf(file, "%-*s  %s\n", width, table->columns[column], shown(cell_at(table, 0, column)));
}

/* Of the heading and of the longest cell. */
static int column_width(const tool_table *table, size_t column)
{
    int width = (int)strlen(table->columns[column]);
    for (size_t row = 0; row < table->num_rows; row++) {
        int length = (int)strlen(shown(cell_at(table, row, column)));
        width = length > width ? length : width;
    }
    return width;
}

static void write_columns(const tool_table *table, FILE *file)
{
    size_t capacity = 0;
    int *width = grown(NULL, &capacity, table->num_columns, sizeof *width);
    for (size_t column = 0; column < table->num_columns; column++)
        width[column] = column_width(table, column);
    for (size_t line = 0; line <= table->num_rows; line++) {
        for (size_t column = 0; column < table->num_columns; column++) {
            const char *text = line == 0 ? table->columns[column] : shown(cell_at(table, line - 1, column));
            bool left = table->num_rows > 0 && cell_at(table, 0, column)->kind == CELL_TEXT;
            bool last = column + 1 == table->num_columns;
            fprintf(file, "%s%*s", column > 0 ? "  " : "", left && last ? 0 : left ? -width[column] : width[column],
                    text);
        }
        fputc('\n', file);
    }
    free(width);
}

static void write_csv_text(FILE *file, const char *text)
{
    if (strpbrk(text, ",\"\n\r") == NULL) {
        fputs(text, file);
        return;
    }
    fputc('"', file);
    for (; *text != '\0'; text++) {
        if (*text == '"')
            fputc('"', file);
        fputc(*text, file);
    }
    fputc('"', file);
}

static void write_csv(const tool_table *table, FILE *file)
{
    for (size_t column = 0; column < table->num_columns; column++)
        fprintf(file, "%s%s", column > 0 ? "," : "", table->columns[column]);
    fputc('\n', file);
    for (size_t row = 0; row < table->num_rows; row++) {
        for (size_t column = 0; column < table->num_columns; column++) {
            if (column > 0)
                fputc(',', file);
            write_csv_text(file, cell_at(table, row, column)->text);
        }
        fputc('\n', file);
    }
}

/* Bytes of the UTF-8 character at `text` (RFC 3629); 0: it is none. */
static size_t utf8_bytes(const unsigned char *text)
{
    size_t bytes = text[0] < 0x80 ? 1 : text[0] < 0xc2 ? 0 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
    for (size_t i = 1; i < bytes; i++) {
        if (text[i] < 0x80 || text[i] > 0xbf)
            return 0;
    }
    bool too_long = (text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xf0 && text[1] < 0x90);
    bool surrogate = text[0] == 0xed && text[1] > 0x9f;
    bool beyond = text[0] > 0xf4 || (text[0] == 0xf4 && text[1] > 0x8f);
    return too_long || surrogate || beyond ? 0 : bytes;
}

static void write_json_text(FILE *file, const char *text)
{
    fputc('"', file);
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
        size_t bytes = utf8_bytes(at);
        if (bytes == 0)
            fputs("\\ufffd", file);
        else if (*at == '"' || *at == '\\')
            fprintf(file, "\\%c", *at);
        else if (*at < 0x20)
            fprintf(file, "\\u%04x", *at);
        else
            fwrite(at, 1, bytes, file);
        at += bytes > 0 ? bytes : 1;
    }
    fputc('"', file);
}

/* Comma, line break, indent and key: they come before any value. */
static void json_before(tool_json *json, const char *key)
{
    if (json->depth > 0) {
        fputs(json->first[json->depth - 1] ? "\n" : ",\n", json->file);
        json->first[json->depth - 1] = false;
        fprintf(json->file, "%*s", 2 * json->depth, "");
    }
    if (key != NULL) {
        write_json_text(json->file, key);
        fputs(": ", json->file);
    }
}

void tool_json_open(tool_json *json, const char *key, char bracket)
{
    assert(json->depth < TOOL_JSON_DEPTH);
    json_before(json, key);
    fputc(bracket, json->file);
    json->closing[json->depth] = bracket == '{' ? '}' : ']';
    json->first[json->depth++] = true;
}

void tool_json_close(tool_json *json)
{
    json->depth--;
    if (!json->first[json->depth])
        fprintf(json->file, "\n%*s", 2 * json->depth, "");
    fputc(json->closing[json->depth], json->file);
    if (json->depth == 0)
        fputc('\n', json->file);
}

void tool_json_count(tool_json *json, const char *key, uint64_t value)
{
    json_before(json, key);
    fprintf(json->file, "%" PRIu64, value);
}

void tool_json_integer(tool_json *json, const char *key, int64_t value)
{
    json_before(json, key);
    fprintf(json->file, "%" PRId64, value);
}

void tool_json_real(tool_json *json, const char *key, double value, int digits)
{
    json_before(json, key);
    if (isfinite(value))
        fprintf(json->file, "%.*g", digits, value);
    else
        fputs("null", json->file);
}

void tool_json_text(tool_json *json, const char *key, const char *value)
{
    json_before(json, key);
    if (value != NULL)
        write_json_text(json->file, value);
    else
        fputs("null", json->file);
}

void tool_json_bool(tool_json *json, const char *key, bool value)
{
    json_before(json, key);
    fputs(value ? "true" : "false", json->file);
}

static void write_json(const tool_table *table, FILE *file, bool single)
{
    tool_json json = {.file = file};
    bool alone = single && table->num_rows == 1;
    if (!alone)
        tool_json_open(&json, NULL, '[');
    for (size_t row = 0; row < table->num_rows; row++) {
        tool_json_open(&json, NULL, '{');
        for (size_t column = 0; column < table->num_columns; column++) {
            const cell *c = cell_at(table, row, column);
            if (c->kind == CELL_NUMBER) {
                json_before(&json, table->columns[column]);
                fputs(c->text, file);
            } else {
                tool_json_text(&json, table->columns[column], c->kind == CELL_TEXT ? c->text : NULL);
            }
        }
        tool_json_close(&json);
    }
    if (!alone)
        tool_json_close(&json);
}

void tool_table_write(tool_table *table, FILE *file, tool_format format, bool single)
{
    if (format == TOOL_CSV)
        write_csv(table, file);
    else if (format == TOOL_JSON)
        write_json(table, file, single);
    else if (single && table->num_rows == 1)
        write_list(table, file);
    else
        write_columns(table, file);
    for (size_t i = 0; i < table->num_cells; i++)
        free(table->cells[i].text);
    free(table->cells);
    free(table->columns);
    free(table);
}

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

static bool colour_decision(FILE *file, const char **reason)
{
    const char *clicolor = getenv("CLICOLOR"), *force = getenv("CLICOLOR_FORCE"), *terminal = getenv("TERM");
    if (is_set("NO_COLOR"))
        return *reason = "NO_COLOR is set", false;
    if (is_set("CLICOLOR_FORCE") && strcmp(force, "0") != 0)
        return *reason = "CLICOLOR_FORCE is set", true;
    if (clicolor != NULL && strcmp(clicolor, "0") == 0)
        return *reason = "CLICOLOR is 0", false;
    if (terminal == NULL || terminal[0] == '\0' || strcmp(terminal, "dumb") == 0)
        return *reason = "TERM is dumb or unset", false;
    if (!isatty(fileno(file)))
        return *reason = "not a terminal", false;
    return *reason = "a terminal", true;
}

bool tool_colour(FILE *file)
{
    const char *reason;
    return colour_decision(file, &reason);
}

const char *tool_colour_reason(FILE *file)
{
    const char *reason;
    colour_decision(file, &reason);
    return reason;
}

tool_palette tool_palette_for(FILE *file)
{
    if (!tool_colour(file))
        return (tool_palette){"", "", "", ""};
    return (tool_palette){"\033[1m", "\033[2m", "\033[32m", "\033[0m"};
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

tool_progress tool_progress_begin(const char *label)
{
    const char *terminal = getenv("TERM");
    bool able = terminal != NULL && strcmp(terminal, "dumb") != 0 && isatty(STDERR_FILENO);
    return (tool_progress){.label = label, .enabled = able, .shown_at_s = now_s()};
}

void tool_progress_show(tool_progress *progress, uint64_t done, uint64_t total)
{
    if (!progress->enabled)
        return;
    double now = now_s();
    if (now - progress->shown_at_s < 0.1)
        return;
    progress->shown_at_s = now;
    fprintf(stderr, "\r%s %3.0f %%", progress->label, total > 0 ? 100.0 * (double)done / (double)total : 100.0);
    fflush(stderr);
}

void tool_progress_end(tool_progress *progress)
{
    if (progress->enabled)
        fprintf(stderr, "\r%*s\r", (int)strlen(progress->label) + 8, "");
}
