/* Claim: a program is started with exactly the arguments and in the folder that the caller names, and the caller learns
 * how it ended. */
/* The program's own code; it is in no library. */
#include "../measure/process.c"

#include <string.h>

#include "test.h"

/* argv of `printf '[%s]' ARGUMENT`, and what it prints. */
static void run_argument(const void *argument)
{
    const char *const argv[] = {"printf", "[%s]", argument, NULL};
    char how[64], wanted[256], got[256];
    child_process process;
    check(process_start(&process, NULL, argv, PROCESS_READS_STDOUT) == 0, "printf starts");
    got[fread(got, 1, sizeof got - 1, process.output)] = '\0';
    check(process_wait(&process, how, sizeof how)[0] == '\0', "printf %s", how);
    snprintf(wanted, sizeof wanted, "[%s]", (const char *)argument);
    check(strcmp(got, wanted) == 0, "printf got '%s', not '%s'", got, wanted);
}

typedef struct ending {
    const char *name, *script;
    process_reads reads;
    const char *output, *how;
} ending;

static const ending endings[] = {
    {"status_0", "exit 0", PROCESS_READS_STDOUT, "", ""},
    {"status_3", "echo before; exit 3", PROCESS_READS_STDOUT, "before\n", "ended with status 3"},
    {"signal", "kill -KILL $$", PROCESS_READS_STDOUT, "", "was killed by signal 9"},
    {"stderr_is_read", "echo a; echo b >&2", PROCESS_READS_ALL, "a\nb\n", ""},
    {"stderr_is_dropped", "echo a; echo b >&2", PROCESS_READS_STDOUT, "a\n", ""},
    {"nothing_is_read", "echo a; exit 4", PROCESS_READS_NOTHING, NULL, "ended with status 4"},
    {"stdin_is_empty", "cat; echo end", PROCESS_READS_STDOUT, "end\n", ""},
};

static void run_ending(const void *argument)
{
    const ending *e = argument;
    const char *const argv[] = {"sh", "-c", e->script, NULL};
    char how[64], got[256];
    child_process process;
    check(process_start(&process, NULL, argv, e->reads) == 0, "sh starts");
    check((process.output == NULL) == (e->output == NULL), "output only if it is read");
    if (process.output != NULL) {
        got[fread(got, 1, sizeof got - 1, process.output)] = '\0';
        check(strcmp(got, e->output) == 0, "read '%s', not '%s'", got, e->output);
    }
    check(strcmp(process_wait(&process, how, sizeof how), e->how) == 0, "it %s, not '%s'", how, e->how);
}

static void run_folder(const void *argument)
{
    (void)argument;
    static const char *const argv[] = {"pwd", "-P", NULL};
    char how[64], got[64] = "";
    child_process process;
    check(process_start(&process, "/", argv, PROCESS_READS_STDOUT) == 0, "pwd starts");
    check(fgets(got, sizeof got, process.output) != NULL && strcmp(got, "/\n") == 0, "it was in '%s'", got);
    check(process_wait(&process, how, sizeof how)[0] == '\0', "pwd %s", how);
}

/* A shell and its child; both have to be gone in time. */
static void run_limit(const void *argument)
{
    const char *const argv[] = {"sh", "-c", argument, NULL};
    char how[64], line[8], rest[8];
    child_process process;
    double start_s = clock_s();
    check(process_start_limited(&process, NULL, argv, PROCESS_READS_STDOUT, 1) == 0, "sh starts");
    check(process_read_line(&process, line, sizeof line) && strcmp(line, "first") == 0, "read '%s'", line);
    process_read_line(&process, rest, sizeof rest);
    process_wait(&process, how, sizeof how);
    check(strcmp(how, "did not end within 1 s") == 0, "it %s", how);
    check(strncmp("cut after 7", rest, strlen(rest)) == 0, "the rest is '%s'", rest);
    check(clock_s() - start_s < 30, "not after its sleep");
}

static void run_in_time(const void *argument)
{
    const char *const argv[] = {"sh", "-c", "echo a; echo b; exit 3", NULL};
    char how[64], line[8];
    child_process process;
    (void)argument;
    check(process_start_limited(&process, NULL, argv, PROCESS_READS_STDOUT, 60) == 0, "sh starts");
    check(process_read_line(&process, line, sizeof line) && strcmp(line, "a") == 0, "line 1 is '%s'", line);
    check(process_read_line(&process, line, sizeof line) && strcmp(line, "b") == 0, "line 2 is '%s'", line);
    check(!process_read_line(&process, line, sizeof line) && line[0] == '\0', "the end");
    check(strcmp(process_wait(&process, how, sizeof how), "ended with status 3") == 0, "it %s", how);
}

static void run_absent(const void *argument)
{
    const char *const argv[] = {argument, NULL};
    child_process process;
    check(process_start(&process, NULL, argv, PROCESS_READS_ALL) == ENOENT, "there is no such program");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name, *text;
    } arguments[] = {
        {"empty", ""},        {"quote", "it's"},      {"double_quote", "a\"b"}, {"dollar", "$(id)"},
        {"star", "*"},        {"backquotes", "`id`"}, {"backslash", "a\\n"},    {"newline", "a\nid"},
        {"semicolon", ";id"}, {"percent", "%s%n"},    {"option", "--help"},     {"pipe", "|id;#"},
    };
    test_begin(argc, argv, "a program gets exactly its arguments");
    for (size_t i = 0; i < sizeof arguments / sizeof arguments[0]; i++)
        test_add(run_argument, arguments[i].text, "argument_%s", arguments[i].name);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        test_add(run_ending, &endings[i], "%s", endings[i].name);
    test_add(run_folder, NULL, "runs_in_its_folder");
    test_add(run_limit, "echo first; sleep 100", "limit_while_it_sleeps");
    test_add(run_limit, "echo first; printf 'cut after 7'; kill -STOP $$", "limit_in_the_middle_of_a_line");
    test_add(run_limit, "echo first; exec >&- 2>&-; sleep 100", "limit_after_its_output");
    test_add(run_in_time, NULL, "limit_that_is_not_reached");
    test_add(run_absent, "no program; by this name", "absent_program_is_told");
    test_add(run_absent, "", "empty_name_is_told");
    return test_end();
}
