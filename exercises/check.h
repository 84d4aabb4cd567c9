/* check: the properties of an exercise, one line for each. A property is named before it is tried, so that the name is
 * known if the student's function crashes. */
#ifndef EXERCISE_CHECK_H
#define EXERCISE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Begins a property; the report of the one before is printed. */
void property(const char *name);

/* Of the current property, the first failure is reported. Returns good. */
bool expect(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* expected and got differ by at most tolerance x max(1, |expected|); no NaN. where: "token %u" of `index`. */
bool expect_number(const char *where, uint64_t index, double expected, double got, double tolerance);

/* A line "score ..." that is no property. */
void score(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints the last report and a line "end PASSED of ALL". Exit status: 1 if a property failed. */
int finish(void);

/* Stops where no property can be tried any more: memory is out, the library refused a call. */
void must(bool good, const char *what);

/* splitmix64: the same cases on every machine. A number from 0 to limit - 1. */
uint32_t draw(uint32_t limit);

#ifdef __cplusplus
}
#endif
#endif
