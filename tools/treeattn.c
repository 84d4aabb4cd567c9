/* treeattn: the program. Each verb lies in its own file, tool_VERB.c. */
#define _POSIX_C_SOURCE 200809L
#include "tool_manual.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef TREEATTN_VERSION
#error "TREEATTN_VERSION comes from the build"
#endif

static const tool_verb *const verbs[] = {&tool_demo, &tool_think, &tool_replay, &tool_plan,  &tool_evict,  &tool_step,
                                         &tool_attend, &tool_bench, &tool_tune, &tool_doctor, NULL};

static void print_usage(FILE *file)
{
    fputs("treeattn: " TOOL_SUMMARY "\n\nUsage\n  treeattn VERB [options]\n  treeattn VERB --help\n"
          "  treeattn --version\n  treeattn --man                 the manual page: treeattn --man | man -l -\n"
          "  treeattn --completion bash     for bash: eval \"$(treeattn --completion bash)\"\n\nVerbs\n",
          file);
    for (const tool_verb *const *verb = verbs; *verb != NULL; verb++)
        fprintf(file, "  %-8s %s\n", (*verb)->name, (*verb)->summary);
    fputs("\nExamples\n  treeattn demo\n", file);
}

/* Options in the place of a verb. */
static bool print_page(int argc, char **argv)
{
    if (strcmp(argv[1], "--version") == 0)
        puts("treeattn " TREEATTN_VERSION);
    else if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
        print_usage(stdout);
    else if (strcmp(argv[1], "--man") == 0)
        tool_print_man(verbs, TREEATTN_VERSION);
    else if (strcmp(argv[1], "--completion") == 0 && argc == 3 && strcmp(argv[2], "bash") == 0)
        tool_print_completion(verbs);
    else if (strcmp(argv[1], "--completion") == 0)
        tool_bad_usage(NULL, "--completion: expected bash");
    else
        return false;
    return true;
}

/* At every exit: if a part of the output could not be written, a message says so and the status is 1. */
static void check_stdout(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("treeattn: could not write to standard output\n", stderr);
        _exit(TOOL_FAILED);
    }
}

/* A step of a small model is many short parallel regions. By default GCC's OpenMP lets a thread that waits between them
 * keep its core, so that on a machine with other work a search takes 40 times as long. The library reads this variable
 * when it is loaded: the program starts once more. A failure to do so costs time alone. */
static void wait_passively(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") == NULL && getenv("GOMP_SPINCOUNT") == NULL &&
        setenv("OMP_WAIT_POLICY", "passive", 0) == 0)
        execv("/proc/self/exe", argv);
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
    if (print_page(argc, argv))
        return TOOL_OK;
    for (const tool_verb *const *verb = verbs; *verb != NULL; verb++) {
        if (strcmp(argv[1], (*verb)->name) == 0) {
            tool_call call = tool_parse(*verb, argc, argv);
            if (*verb == &tool_think)
                wait_passively(argv);
            return (*verb)->run(&call);
        }
    }
    tool_bad_usage(NULL, "unknown verb '%s'", argv[1]);
}
