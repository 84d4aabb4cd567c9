/* child_process: another program, started without a shell: no character of an argument has a special meaning. */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

/* How much of the program's output the caller reads; the rest, and standard input, is /dev/null. */
typedef enum process_reads { PROCESS_READS_NOTHING, PROCESS_READS_STDOUT, PROCESS_READS_ALL } process_reads;

typedef struct child_process {
    pid_t id;
    FILE *output; /* NULL if nothing is read */
    unsigned seconds;  /* the limit; 0: none */
    double deadline_s;
} child_process;

/* Starts argv[0], looked up in PATH, with the arguments argv[1] up to a NULL, in the folder `folder` (NULL: the
 * caller's). Relative entries of PATH count from that folder. Returns 0, or the errno of the failure: ENOENT if there
 * is no such program. */
int process_start(child_process *process, const char *folder, const char *const *argv, process_reads reads);

/* The same for a program that may hang. It gets a process group of its own, which process_wait kills `seconds` after
 * the start. Its output is read by process_read_line. */
int process_start_limited(child_process *process, const char *folder, const char *const *argv, process_reads reads,
                          unsigned seconds);

/* The next line of the output without its newline, cut to fit; false at its end and when the time is over. */
bool process_read_line(child_process *process, char *line, size_t line_bytes);

/* Closes the output, waits for the end, and describes it: "" if the program ended with status 0, otherwise "ended with
 * status 3", "was killed by signal 9" or "did not end within 20 s". Returns `how`. */
const char *process_wait(child_process *process, char *how, size_t how_bytes);

/* A path that begins in the folder of the running program: `rest` behind it. False if it is not known or too long. */
bool process_beside(char *path, size_t path_bytes, const char *rest);

#endif
