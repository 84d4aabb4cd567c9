/* tool_input: the options by which several verbs choose a workload, a shape, a strategy. */
#ifndef TOOL_INPUT_H
#define TOOL_INPUT_H

#include "tool_scene.h"
#include "tree_attention_cpu.h"

/* Rows for a verb's table of options. */
#define TOOL_TRACE_OPTIONS(tree) \
    {tree, "NUMBER", "which tree: its ordinal in a reason file, its label in a draft file (the first)"}, \
    {"--record", "NAME", "which record of an accept file (the first)"}, \
    {"--star", "N", "accept file: N drafts of one token in each step, as in DeFT's driver (32)"}, \
    {"--draft", "FILE:LABEL", "accept file: a draft tree of a draft file instead of a star"}, \
    {"--prompt", "N", "tokens of the prompt (as in the trace)"}
#define TOOL_SHAPE_OPTIONS(heads, head_dim, storage) \
    {"--heads", "HEADS/KV", "query heads and KV heads (" heads ")"}, \
    {"--head-dim", "N", "dimension of a head, 1 to 1024 (" head_dim ")"}, \
    {"--storage", "fp32|fp16|bf16", "type of K and V (" storage ")"}

#define TOOL_ISA_OPTION \
    {"--isa", "auto|portable|avx2|avx512|avx512_bf16|amx", "instruction set of the fast path (auto: the machine's best)"}

#define TOOL_STRATEGIES "flash|flash_decoding|radix|tree_mask|node|node_chunk|flatten|cost"

/* The workload of a trace file of any kind; "-" is standard input. `tree_option` names the option that chooses the
 * tree. Bad input ends the program with status 2 and FILE:LINE:COLUMN: the expected text; so does a workload beyond the
 * limits of tool_limits.h, before it is built. */
workload *tool_workload_from_file(const tool_call *call, const char *file, const char *tree_option, uint32_t max_steps);

/* The workload of a level tree, "NODES / TOKENS", the value of `option`; refuses the options of a trace. */
workload *tool_workload_from_levels(const tool_call *call, const char *option, const char *levels);

/* The workload of --tree LEVELS or --trace FILE; of a trace only the steps up to --iteration. */
workload *tool_workload(const tool_call *call);

/* The iteration itself, or for 0 the one with the most queries (the first of them). One that the workload lacks ends the
 * program with status 2. */
uint32_t tool_iteration(const workload *work, uint32_t iteration);

/* Plays up to this iteration. */
void tool_play_to(tool_scene *scene, uint32_t iteration);

/* The shape without its num_queries and num_blocks, which are left 0. */
tree_shape tool_shape(const tool_call *call, uint32_t num_heads, uint32_t num_kv_heads, uint32_t head_dim,
                      tree_storage storage);

uint32_t tool_block_tokens(const tool_call *call);
tree_strategy tool_strategy(const tool_call *call, const char *option);

/* --isa, never TREE_ISA_AUTO; a set that the machine or the build lacks ends the program with status 1. */
tree_isa tool_isa(const tool_call *call);

#endif
