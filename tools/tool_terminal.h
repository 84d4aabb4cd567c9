/* tool_terminal: a text of many steps, shown whole, or step by step on a terminal with keys. */
#ifndef TOOL_TERMINAL_H
#define TOOL_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct tool_steps {
    const void *context;
    size_t num_steps; /* at least 1 */
    void (*write)(FILE *file, const void *context, size_t step); /* whole lines */
    size_t (*next_item)(const void *context, size_t step);       /* the step to which the key n goes */
} tool_steps;

/* Writes all steps to standard output. With `wait`, on a terminal, they come one by one: Enter shows the next step, b
 * goes back, n goes to the next item, q ends. The keys are named in the bottom line. The terminal's settings and screen
 * are restored at every end, by a signal too, and the steps seen so far stay on it. If input or output is no terminal,
 * or a dumb one, a message says that nothing waits. */
void tool_show_steps(const tool_steps *steps, bool wait);

/* Whether standard input and output are a terminal, and with needs_screen not a dumb one; if not, a message says that
 * --wait goes on without stopping. */
bool tool_can_wait(bool needs_screen);

#endif
