/* exact_math: included by every file that computes with float or double. Under -ffast-math the compiler may assume that
 * no score is infinite and no value NaN, and may reorder sums: tree attention would compile without a warning and be
 * wrong, because a score of -infinity is a hidden token and the plan fixes the order of every sum. */
#ifndef EXACT_MATH_INTERNAL_H
#define EXACT_MATH_INTERNAL_H

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "treeattn is wrong under -ffast-math, -Ofast, -ffinite-math-only and -fassociative-math: compile it without"
#endif

#endif
