/* tool_manual: a bash completion and a manual page, made from the tables of the verbs, as --help is. */
#ifndef TOOL_MANUAL_H
#define TOOL_MANUAL_H

#include "tool_options.h"

/* verbs ends with NULL. Both go to standard output. */
void tool_print_completion(const tool_verb *const *verbs);
void tool_print_man(const tool_verb *const *verbs, const char *version);

#endif
