/* provenance: the comment lines that open every recorded csv, and how it is replaced by a whole one. */
#ifndef PROVENANCE_H
#define PROVENANCE_H

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef TREEATTN_COMMIT
#define TREEATTN_COMMIT "unknown"
#endif

/* Ends a figure's program: figures are programs, not libraries. */
static inline void figure_check(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "%s\n", what);
        exit(1);
    }
}

/* "model name" of the first processor. */
static inline void figure_device(char *device, size_t device_bytes)
{
    snprintf(device, device_bytes, "unknown CPU");
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (file == NULL)
        return;
    char line[512];
    while (fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            colon[strcspn(colon, "\n")] = '\0';
            snprintf(device, device_bytes, "%s", colon + 1 + strspn(colon + 1, " "));
            break;
        }
    }
    fclose(file);
}

/* The csv, and the file beside it that holds its lines until it is complete ("": none). One csv at a time. */
static char figure_path[4096], figure_part[4096 + 32];

static inline void figure_fail(const char *path)
{
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    exit(1);
}

/* Opens the csv `path` for writing. A recorded csv stays as it is until figure_close: the lines go to PATH.part-PID,
 * and a program that ends early leaves that file behind. A pipe or a device, such as /dev/null, is written directly; a
 * link to a csv is replaced. */
static inline FILE *figure_begin(const char *path)
{
    struct stat found;
    int is_direct = stat(path, &found) == 0 && !S_ISREG(found.st_mode);
    signal(SIGXFSZ, SIG_IGN); /* a write beyond the file size limit fails, as on a full disk */
    int length = snprintf(figure_path, sizeof figure_path, "%s", path);
    figure_check(length < (int)sizeof figure_path, "the name of the csv is too long");
    figure_part[0] = '\0';
    if (!is_direct) {
        snprintf(figure_part, sizeof figure_part, "%s.part-%ld", path, (long)getpid());
        unlink(figure_part);
    }
    FILE *file = is_direct ? fopen(path, "w") : fopen(figure_part, "wx");
    if (file == NULL)
        figure_fail(path);
    return file;
}

/* Where a measurement comes from, each line behind `lead`. statistic: the kind of a value, "exact count" or "median of
 * ...". */
static inline void provenance_write(FILE *file, const char *lead, const char *device, const char *command,
                                    const char *statistic)
{
    fprintf(file, "%sdevice: %s\n%scommit: %s\n%scommand: %s\n%sstatistic: %s\n", lead, device, lead, TREEATTN_COMMIT,
            lead, command, lead, statistic);
}

/* Opens the csv `path` and writes its first lines, measured on this device. */
static inline FILE *figure_open_on(const char *path, const char *device, const char *command, const char *statistic)
{
    FILE *file = figure_begin(path);
    provenance_write(file, "# ", device, command, statistic);
    return file;
}

/* The same, measured on the processor. */
static inline FILE *figure_open(const char *path, const char *command, const char *statistic)
{
    char device[256];
    figure_device(device, sizeof device);
    return figure_open_on(path, device, command, statistic);
}

/* True if a figure's trace is there. Otherwise says on stderr that `part` of the figure keeps its recorded data. */
static inline int figure_has_trace(const char *figure, const char *part, const char *folder, const char *file)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    if (access(path, F_OK) == 0)
        return 1;
    fprintf(stderr, "%s: %s recorded data, because the trace %s was not found (looked in %s; scripts/deft_to_ttr.py "
                    "makes it)\n", figure, part, file, folder);
    return 0;
}

/* Copies the lines of the recorded csv that begin with one of `starts` (up to a NULL) into the new one, and before them
 * a comment with the commit of their recording. Returns their number. */
static inline int figure_keep(FILE *file, const char *const *starts)
{
    char line[4096], commit[256] = "unknown";
    int num_kept = 0;
    FILE *recorded = figure_part[0] != '\0' ? fopen(figure_path, "r") : NULL;
    while (recorded != NULL && fgets(line, sizeof line, recorded) != NULL) {
        sscanf(line, "# commit: %255s", commit);
        sscanf(line, "# kept from the recording of commit %255s", commit);
        for (const char *const *start = starts; *start != NULL; start++) {
            if (strncmp(line, *start, strlen(*start)) != 0)
                continue;
            if (num_kept++ == 0)
                fprintf(file, "# kept from the recording of commit %s\n", commit);
            fputs(line, file);
            break;
        }
    }
    if (recorded != NULL)
        fclose(recorded);
    return num_kept;
}

/* The field of a line of csv, which may have commas within quotes; column from 0. NULL: the line has fewer. */
static inline const char *figure_field(const char *line, int column)
{
    int is_quoted = 0;
    for (; column > 0 && *line != '\0'; line++) {
        is_quoted ^= *line == '"';
        column -= *line == ',' && !is_quoted;
    }
    return column == 0 ? line : NULL;
}

/* True if the csv `path` has a column dram_bytes and a line in which it was counted: a number other than -1. */
static inline int figure_has_counts(const char *path)
{
    static const char name[] = "dram_bytes";
    struct stat found;
    char line[4096];
    int column = -1, has_counts = 0;
    FILE *recorded = stat(path, &found) == 0 && S_ISREG(found.st_mode) ? fopen(path, "r") : NULL;
    while (recorded != NULL && !has_counts && fgets(line, sizeof line, recorded) != NULL) {
        const char *field;
        if (line[0] == '#')
            continue;
        if (column < 0) { /* the heading */
            for (column = 0; (field = figure_field(line, column)) != NULL; column++) {
                if (strncmp(field, name, sizeof name - 1) == 0 && strcspn(field, ",\r\n") == sizeof name - 1)
                    break;
            }
            if (field == NULL)
                break;
        } else {
            field = figure_field(line, column);
            has_counts = field != NULL && *field >= '0' && *field <= '9';
        }
    }
    if (recorded != NULL)
        fclose(recorded);
    return has_counts;
}

/* True if a run with this many counted lines must leave the csv `path` as it is: it counted nothing, and the csv has
 * counts. Then it says so on stderr. */
static inline int figure_keeps_counts(const char *path, size_t num_counted)
{
    if (num_counted > 0 || !figure_has_counts(path))
        return 0;
    const char *slash = strrchr(path, '/'), *figure = slash != NULL ? slash + 1 : path, *end = strrchr(figure, '.');
    int length = (int)(end != NULL ? (size_t)(end - figure) : strlen(figure));
    fprintf(stderr, "%.*s: %s keeps its recorded data, because ncu counted nothing and they have counts; the path of "
                    "another csv as the argument of measure_%.*s writes the new times there\n",
            length, figure, path, length, figure);
    return 1;
}

/* The csv is complete: it replaces the recorded one. If it could not be written, the recorded one stays as it was, and
 * the program ends with a message and status 1. */
static inline void figure_close(FILE *file)
{
    int failed = ferror(file);
    if (fclose(file) != 0 || failed || (figure_part[0] != '\0' && rename(figure_part, figure_path) != 0)) {
        int error = errno;
        unlink(figure_part);
        errno = error;
        figure_fail(figure_path);
    }
}

#endif
