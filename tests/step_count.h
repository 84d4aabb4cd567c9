/* Counts the work of library code without a clock: the basic blocks that run, each of which calls a counter inserted by
 * the compiler (-fsanitize-coverage=trace-pc). Programs named test_*_growth link the library compiled that way
 * (tests.cmake). The count is the same on every machine for one compiler; work inside libc (memcpy, qsort) is not
 * counted.
 *
 * A cost that the headers call linear: four times the input, at most 4.6 times the steps (exponent 1.1). */
#ifndef STEP_COUNT_H
#define STEP_COUNT_H

#include <stdint.h>

void step_count_start(void);
uint64_t step_count(void); /* since the start; one thread */

void __sanitizer_cov_trace_pc(void);

#endif
