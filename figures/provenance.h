/* provenance: the comment lines that open every recorded csv. */
#ifndef PROVENANCE_H
#define PROVENANCE_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* Opens `path` for the csv and writes its first lines. statistic: what a value is, "exact count" or "median of ...". */
static inline FILE *figure_open(const char *path, const char *command, const char *statistic)
{
    char device[256];
    figure_device(device, sizeof device);
    FILE *file = fopen(path, "w");
    figure_check(file != NULL, path);
    fprintf(file, "# device: %s\n# commit: %s\n# command: %s\n# statistic: %s\n", device, TREEATTN_COMMIT, command,
            statistic);
    return file;
}

static inline void figure_close(FILE *file)
{
    int failed = ferror(file);
    figure_check(fclose(file) == 0 && !failed, "the csv could not be written");
}

#endif
