/* The test harness: named cases, checks that report file and line, a last line that counts.
 *
 *   int main(int argc, char **argv)
 *   {
 *       test_begin(argc, argv, "forking then pruning returns every block");
 *       for (int i = 0; i < num_shapes; i++)
 *           test_add(run_shape, &shapes[i], "shape_%s", shapes[i].name);
 *       return test_end();
 *   }
 *
 * PROGRAM --list prints the names (CMake makes one CTest case of each), PROGRAM NAME... runs those, --seed N reseeds.
 * Before each case test_seed() is reset, so a case gives the same result alone and in the whole run.
 * Exit status: 0 passed, 1 failed or nothing ran, 77 all that ran was skipped. */
#ifndef TEST_H
#define TEST_H

#include <stdbool.h>
#include <stdint.h>

/* Whether this is a build with AddressSanitizer. Accesses are all the same there whatever the numbers are: a test may
 * leave out what it repeats for the sake of numbers alone. The plain build has everything. */
#ifdef __SANITIZE_ADDRESS__
enum { TEST_SANITIZED = 1 };
#else
enum { TEST_SANITIZED = 0 };
#endif

void test_begin(int argc, char **argv, const char *claim);
void test_add(void (*run)(const void *argument), const void *argument, const char *name_format, ...)
    __attribute__((format(printf, 3, 4)));
int test_end(void);

/* Ends the case as skipped (exit 77) with the reason. Does not return. */
void test_skip(const char *reason_format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* A line of detail for the log of the running case: shapes, largest error and its limit, counters. */
void test_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* check(condition, "what was expected, with %d values"): on failure prints file:line and leaves the case. A NaN must
 * fail: write check(error <= limit), never check(!(error > limit)). */
#define check(condition, ...) \
    do { \
        if (!(condition)) test_fail(__FILE__, __LINE__, #condition, __VA_ARGS__); \
    } while (0)
void test_fail(const char *file, int line, const char *condition, const char *format, ...)
    __attribute__((format(printf, 4, 5), noreturn));

/* splitmix64, reseeded before each case. */
uint64_t test_seed(void);          /* the seed of this run */
void test_reseed(void);            /* the same random numbers once more */
uint64_t test_random(void);        /* 64 random bits */
uint32_t test_below(uint32_t limit); /* 0 .. limit - 1; limit >= 1 */
double test_uniform(void);         /* 0 <= x < 1 */
double test_normal(void);          /* mean 0, variance 1 */

#endif
