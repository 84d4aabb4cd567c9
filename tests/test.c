/* The test harness of test.h. A case runs as soon as it is added; test_fail and test_skip leave it by longjmp. */
#include "test.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "amx_emulator.h"

enum { CASE_PASSED = 0, CASE_FAILED, CASE_SKIPPED, NUM_OUTCOMES };

static const char *const outcome_word[NUM_OUTCOMES] = {"pass", "FAIL", "skip"};

static struct {
    const char *claim;
    char **names; /* names on the command line; none: all cases */
    int num_names;
    bool *name_found; /* [num_names] */
    bool list;
    uint64_t seed, random_state;
    int count[NUM_OUTCOMES];
    jmp_buf leave;
    char text[1024]; /* the reason of a failure or skip, then notes */
} run = {.seed = 1};

static void usage(const char *program, const char *wrong)
{
    fprintf(stderr, "%s: %s\nusage: %s [--list] [--seed N] [NAME...]\n", program, wrong, program);
    exit(1);
}

static bool read_seed(const char *text)
{
    char *end;
    run.seed = strtoull(text, &end, 0);
    return end != text && !*end;
}

void test_begin(int argc, char **argv, const char *claim)
{
    amx_emulator_begin();
    run.claim = claim;
    run.names = calloc((size_t)argc + 1, sizeof *run.names);
    run.name_found = calloc((size_t)argc + 1, sizeof *run.name_found);
    if (!run.names || !run.name_found) usage(argv[0], "out of memory");
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--list")) {
            run.list = true;
        } else if (!strcmp(argv[i], "--seed")) {
            if (++i == argc || !read_seed(argv[i])) usage(argv[0], "--seed needs a number");
        } else if (argv[i][0] == '-') {
            usage(argv[0], "unknown option");
        } else {
            run.names[run.num_names++] = argv[i];
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* after a crash the cases before it are on the screen */
    if (!run.list) printf("# %s (seed %llu)\n", claim, (unsigned long long)run.seed);
}

static void append_text(const char *format, va_list arguments)
{
    size_t used = strlen(run.text);
    vsnprintf(run.text + used, sizeof run.text - used, format, arguments);
}

void test_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (run.text[0]) strncat(run.text, "; ", sizeof run.text - strlen(run.text) - 1);
    append_text(format, arguments);
    va_end(arguments);
}

void test_skip(const char *reason_format, ...)
{
    va_list arguments;
    va_start(arguments, reason_format);
    run.text[0] = 0;
    append_text(reason_format, arguments);
    va_end(arguments);
    longjmp(run.leave, CASE_SKIPPED);
}

void test_fail(const char *file, int line, const char *condition, const char *format, ...)
{
    char notes[sizeof run.text];
    va_list arguments;
    memcpy(notes, run.text, sizeof notes);
    run.text[0] = 0; /* the reason first: notes may fill the line */
    va_start(arguments, format);
    test_note("%s:%d: not (%s): ", file, line, condition);
    append_text(format, arguments);
    va_end(arguments);
    if (notes[0]) test_note("%s", notes);
    longjmp(run.leave, CASE_FAILED);
}

static bool wanted(const char *name)
{
    bool found = run.num_names == 0;
    for (int i = 0; i < run.num_names; i++) {
        if (strcmp(run.names[i], name)) continue;
        run.name_found[i] = true;
        found = true;
    }
    return found;
}

void test_add(void (*body)(const void *argument), const void *argument, const char *name_format, ...)
{
    static char name[256];
    va_list arguments;
    va_start(arguments, name_format);
    vsnprintf(name, sizeof name, name_format, arguments);
    va_end(arguments);
    if (run.list) printf("%s\n", name);
    if (run.list || !wanted(name)) return;

    run.text[0] = 0;
    test_reseed();
    static int outcome; /* static: its value survives the longjmp */
    outcome = setjmp(run.leave);
    if (outcome == CASE_PASSED) body(argument);
    run.count[outcome]++;
    printf("%s %s%s%s\n", outcome_word[outcome], name, run.text[0] ? " " : "", run.text);
}

int test_end(void)
{
    if (run.list) return 0;
    for (int i = 0; i < run.num_names; i++) {
        if (run.name_found[i]) continue;
        printf("FAIL %s no case has this name\n", run.names[i]);
        run.count[CASE_FAILED]++;
    }
    int passed = run.count[CASE_PASSED], failed = run.count[CASE_FAILED], skipped = run.count[CASE_SKIPPED];
    bool nothing_ran = passed + failed + skipped == 0;
    if (nothing_ran) printf("FAIL no case ran\n");
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    free(run.names);
    free(run.name_found);
    if (failed || nothing_ran) return 1;
    return passed ? 0 : 77;
}

void test_reseed(void) { run.random_state = run.seed; }

uint64_t test_seed(void)
{
    return run.seed;
}

uint64_t test_random(void)
{
    uint64_t z = run.random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint32_t test_below(uint32_t limit)
{
    return (uint32_t)((test_random() >> 32) * limit >> 32);
}

double test_uniform(void)
{
    return (double)(test_random() >> 11) * 0x1p-53;
}

double test_normal(void)
{
    double radius = sqrt(-2.0 * log(1.0 - test_uniform()));
    return radius * cos(6.283185307179586 * test_uniform());
}
