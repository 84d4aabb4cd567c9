/* tool_step: the two walks of treeattn step. */
#ifndef TOOL_STEP_H
#define TOOL_STEP_H

#include "tool_options.h"

/* The walk of one query over a tree: step --tree, step --trace. */
int tool_step_tree(const tool_call *call);

#endif
