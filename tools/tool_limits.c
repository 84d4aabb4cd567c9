/* Compares the needs of a verb with its limits. */
#include "tool_limits.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum { MAX_WHAT = 256, OPERATION_BYTES = sizeof(workload_operation), BRANCH_BYTES = 48, BLOCK_BYTES = 28 };

static const double MIB = 1 << 20;

unsigned tool_memory_limit(const tool_call *call)
{
    return tool_count(call, "--max-memory", TOOL_MAX_MEMORY_MIB, 1, 1u << 30);
}

bool tool_has_memory(const tool_call *call, double bytes)
{
    return bytes <= tool_memory_limit(call) * MIB;
}

/* Ends the program. */
static void refuse(const char *what_format, va_list arguments, const char *need, unsigned limit)
{
    char what[MAX_WHAT];
    vsnprintf(what, sizeof what, what_format, arguments);
    tool_bad_input("%s %s %u", what, need, limit);
}

void tool_need_memory(const tool_call *call, double bytes, const char *what_format, ...)
{
    if (tool_has_memory(call, bytes))
        return;
    char need[96];
    snprintf(need, sizeof need, "needs %.0f MiB of memory, more than --max-memory", ceil(bytes / MIB));
    va_list arguments;
    va_start(arguments, what_format);
    refuse(what_format, arguments, need, tool_memory_limit(call));
    va_end(arguments);
}

void tool_need_work(const tool_call *call, double steps, const char *what_format, ...)
{
    uint32_t millions = tool_count(call, "--max-work", TOOL_MAX_WORK_MILLIONS, 1, UINT32_MAX);
    if (steps <= millions * 1e6)
        return;
    char need[96];
    snprintf(need, sizeof need, "takes %.0f million steps, more than --max-work", ceil(steps / 1e6));
    va_list arguments;
    va_start(arguments, what_format);
    refuse(what_format, arguments, need, millions);
    va_end(arguments);
}

double tool_workload_bytes(const workload_size *size)
{
    return (double)size->num_operations * OPERATION_BYTES + (double)size->num_branches * BRANCH_BYTES;
}

double tool_need_replay(const tool_call *call, const workload *work, uint32_t block_tokens, uint32_t num_blocks,
                        replay_needs *needs)
{
    kv_status status = replay_count_needs(needs, work, block_tokens);
    if (status != KV_OK)
        tool_fail("the workload cannot be replayed: %s", kv_status_string(status));
    workload_size size = {.num_operations = work->num_operations, .num_branches = work->num_branches};
    double pool_blocks = num_blocks > 0 ? num_blocks : (double)needs->most_blocks;
    /* tables grow by doubling */
    double bytes = tool_workload_bytes(&size) + pool_blocks * BLOCK_BYTES + (double)needs->most_table_entries * 8;
    tool_need_memory(call, bytes, "a replay of %u operations on a pool of %.0f blocks", work->num_operations,
                     pool_blocks);
    tool_need_work(call, (double)needs->table_entries + work->num_operations,
                   "a replay of %u operations that write and drop %.0f million block table entries",
                   work->num_operations, (double)needs->table_entries / 1e6);
    return bytes;
}
