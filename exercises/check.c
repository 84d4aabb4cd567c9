/* Properties, reports, numbers for cases. */
#include "check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *current;
static char fault[400];
static int num_passed, num_all;

static void report(void)
{
    if (!current) return;
    num_all++;
    num_passed += !fault[0];
    printf("%s %s%s%s\n", fault[0] ? "FAIL" : "pass", current, fault[0] ? "\t" : "", fault);
    fflush(stdout);
}

void property(const char *name)
{
    report();
    current = name;
    fault[0] = 0;
    printf("try %s\n", name);
    fflush(stdout);
}

bool expect(bool good, const char *format, ...)
{
    if (good || fault[0]) return good;
    va_list values;
    va_start(values, format);
    vsnprintf(fault, sizeof fault, format, values);
    va_end(values);
    return false;
}

bool expect_number(const char *where, uint64_t index, double expected, double got, double tolerance)
{
    double size = fabs(expected) > 1 ? fabs(expected) : 1;
    bool good = expected == got || fabs(expected - got) <= tolerance * size;
    return expect(good, "%s %llu: expected %.9g, got %.9g", where, (unsigned long long)index, expected, got);
}

void score(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    printf("score ");
    vprintf(format, values);
    printf("\n");
    va_end(values);
}

int finish(void)
{
    report();
    printf("end %d of %d\n", num_passed, num_all);
    return num_passed < num_all;
}

void must(bool good, const char *what)
{
    if (good) return;
    printf("stopped the check itself cannot go on: %s\n", what);
    exit(4);
}

uint32_t draw(uint32_t limit)
{
    static uint64_t state;
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ z >> 31) >> 32) % limit;
}
