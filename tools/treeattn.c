/* treeattn: the program. Each verb lies in its own file, tool_VERB.c. */
#define _POSIX_C_SOURCE 200809L
#include "tool_options.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef TREEATTN_VERSION
#error "TREEATTN_VERSION comes from the build"
#endif

static const tool_verb *const verbs[] = {&tool_demo, &tool_replay, &tool_plan, &tool_step, &tool_bench, &tool_doctor};
enum { NUM_VERBS = sizeof verbs / sizeof verbs[0] };

static void print_usage(FILE *file)
{
    fputs("treeattn: attention over trees of shared KV blocks\n\nUsage\n"
          "  treeattn VERB [options]      treeattn VERB --help      treeattn --version\n\nVerbs\n", file);
    for (int v = 0; v < NUM_VERBS; v++)
        fprintf(file, "  %-8s %s\n", verbs[v]->name, verbs[v]->summary);
    fputs("\nExample\n  treeattn demo\n", file);
}

/* At every exit: all output was written, or there is a message and status 1. */
static void check_stdout(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("treeattn: could not write to standard output\n", stderr);
        _exit(TOOL_FAILED);
    }
}

int main(int argc, char **argv)
{
    signal(SIGXFSZ, SIG_IGN); /* a write beyond the file size limit fails, as on a full disk */
    if (atexit(check_stdout) != 0)
        tool_fail("out of memory");
    if (argc < 2) {
        print_usage(stderr);
        return TOOL_BAD_INPUT;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("treeattn " TREEATTN_VERSION);
        return TOOL_OK;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return TOOL_OK;
    }
    for (int v = 0; v < NUM_VERBS; v++) {
        if (strcmp(argv[1], verbs[v]->name) == 0) {
            tool_call call = tool_parse(verbs[v], argc, argv);
            return verbs[v]->run(&call);
        }
    }
    tool_bad_usage(NULL, "unknown verb '%s'", argv[1]);
}
