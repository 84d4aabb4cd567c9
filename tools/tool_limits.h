/* tool_limits: how much memory and work a verb may use. A trace of a hundred bytes can stand for 10^9 operations, so a
 * verb states its needs before it starts: beyond a limit the program ends with status 2 and names the need, the limit
 * and the option that raises it.
 *
 * Memory: the list of operations, the pool and its block tables, K and V, plans.
 * Work, in millions of steps: operations, block table entries that are written or dropped (2 ns each), nodes on the
 * queries' paths, multiply-adds of the definition (6 ns each).
 *
 * bench counts every allocation that grows with its options and with the caches: the memory whose reading is timed
 * (4 times the largest cache and 64 MiB), the sets of K and V (about as much; more where a step uses a part of its
 * pool), query, out, plans, workspace, the host work. Its default limit is 512 MiB and 16 times the largest cache; the
 * replay of a trace, with K and V twice, may use 512 MiB of them. One step of bench's work is 256 multiply-adds of the
 * fast path (6 ns of an AVX2 core); the passes over memory are not counted. */
#ifndef TOOL_LIMITS_H
#define TOOL_LIMITS_H

#include "replay.h"
#include "tool_options.h"

enum { TOOL_MAX_MEMORY_MIB = 512, TOOL_MAX_WORK_MILLIONS = 20000 };

/* Rows for a verb's table of options. */
#define TOOL_LIMIT_OPTIONS \
    {"--max-memory", "MIB", "refuse input that needs more memory (512)"}, \
    TOOL_WORK_OPTION
#define TOOL_WORK_OPTION \
    {"--max-work", "MILLIONS", "refuse input that takes more steps, in millions (20000)"}

/* `what_format` names the thing to be made: "FILE: a workload of 7 operations". */
void tool_need_memory(const tool_call *call, double bytes, const char *what_format, ...)
    __attribute__((format(printf, 3, 4)));
void tool_need_work(const tool_call *call, double steps, const char *what_format, ...)
    __attribute__((format(printf, 3, 4)));

/* For a part that can be left out. */
bool tool_has_memory(const tool_call *call, double bytes);
unsigned tool_memory_limit(const tool_call *call); /* MiB */

/* Bytes of the list, its labels, and the notes that its check and its replay keep of each branch. */
double tool_workload_bytes(const workload_size *size);

/* Needs a replay of the workload on a pool of num_blocks (0: as many as it could use). Returns the bytes of workload,
 * pool and block tables; `needs` is filled. */
double tool_need_replay(const tool_call *call, const workload *work, uint32_t block_tokens, uint32_t num_blocks,
                        replay_needs *needs);

#endif
